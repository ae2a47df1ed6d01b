//! `slotway explain`: one rule in detail, or a list of all rules.

use super::Failure;
use super::check::show;
use crate::ledger::Rule;
use crate::ledger::rule::ROWS;
use crate::text::display::wrap;
use std::process::ExitCode;

/// Columns of the page.
const COLUMNS: usize = 80;

/// The options of `explain`.
#[derive(clap::Args, Debug)]
pub(super) struct Options {
    /// Name of the rule, as in reports; without it, list all rules
    rule: Option<Rule>,
}

/// Explains a rule, or lists them.
pub(super) fn run(options: &Options) -> Result<ExitCode, Failure> {
    show(&options.rule.map_or_else(list, page))?;
    Ok(ExitCode::SUCCESS)
}

fn list() -> String {
    let columns = ROWS.iter().map(|row| row.name.len()).max().unwrap_or(0);
    let mut text = String::new();
    for row in ROWS {
        text.push_str(&format!("{:columns$}  {:7}  {}\n", row.name, row.weight.name(), row.title));
    }
    text.push_str("\nNext: slotway explain cross-slot-command\n");
    text
}

fn page(rule: Rule) -> String {
    let row = rule.row();
    let mut text = format!("{}: {} ({})\n\n", row.name, row.title, row.weight.name());
    let mut paragraph = |words: &str| {
        wrap(words, COLUMNS).iter().for_each(|line| text.push_str(&format!("{line}\n")));
        text.push('\n');
    };
    paragraph(row.why);
    let mut example = String::new();
    row.example.lines().for_each(|line| example.push_str(&format!("    {line}\n")));
    text.push_str(&example);
    text.push('\n');
    wrap(&format!("Fix: {}", row.way_out), COLUMNS)
        .iter()
        .for_each(|line| text.push_str(&format!("{line}\n")));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::display::width;

    #[test]
    fn every_rule_has_a_page_that_fits() {
        for row in ROWS {
            let text = page(row.rule);
            for part in [row.name, row.title] {
                assert!(text.contains(part), "{text}");
            }
            let is_prose = |line: &&str| !line.starts_with("    ");
            let too_long = text.lines().filter(is_prose).find(|line| width(line) > COLUMNS);
            assert_eq!(too_long, None);
        }
        assert_eq!(list().lines().count(), ROWS.len() + 2);
    }
}
