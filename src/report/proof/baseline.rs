//! The baseline of known violations: a run passes with these and fails with any other, so that
//! their number can only fall.
//!
//! ```text
//! # comment
//! cross-slot-command mget user:<int>
//! cross-slot-transaction "multi: set, incr" {bar}<int> {foo}<int>
//! ```
//!
//! A line per kind of violation: rule, command, patterns of the keys; words with spaces are quoted.
//! The lines are sorted and hold nothing that changes from run to run.

use super::rows::ViolationRow;
use crate::ledger::Rule;
use std::collections::BTreeSet;
use std::fmt::Write;

/// The beginning of a written file.
const HEAD: &str = "\
# Known violations, which slotway run and slotway check let pass with --allow: rule, command,
# patterns of the keys. Any other fails. --update-baseline rewrites this file.
";

/// Known kinds of violations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Baseline(BTreeSet<String>);

impl Baseline {
    /// Reads a file.
    ///
    /// # Errors
    /// A line does not begin with the name of a rule.
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        let mut lines = BTreeSet::new();
        for (number, line) in (1..).zip(text.lines().map(str::trim)) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let rule = line.split(' ').next().unwrap_or_default();
            rule.parse::<Rule>().map_err(|why| format!("line {number}: {why}"))?;
            lines.insert(line.to_owned());
        }
        Ok(Self(lines))
    }

    /// Returns the baseline of these violations.
    #[must_use]
    pub(crate) fn of<'v>(rows: impl Iterator<Item = &'v ViolationRow>) -> Self {
        Self(rows.map(line).collect())
    }

    /// Whether the kind of a violation is known.
    #[must_use]
    pub(crate) fn knows(&self, row: &ViolationRow) -> bool {
        self.0.contains(&line(row))
    }

    /// Returns the lines of kinds that are not among these rows.
    #[must_use]
    pub(crate) fn gone(&self, rows: &[ViolationRow]) -> Vec<String> {
        let seen: BTreeSet<String> = rows.iter().map(line).collect();
        self.0.difference(&seen).cloned().collect()
    }

    /// Returns the text of the file.
    #[must_use]
    pub(crate) fn text(&self) -> String {
        let mut text = HEAD.to_owned();
        for line in &self.0 {
            text.push_str(line);
            text.push('\n');
        }
        text
    }
}

/// A row's line.
fn line(row: &ViolationRow) -> String {
    let mut line = row.rule.to_owned();
    for word in std::iter::once(&row.command).chain(&row.patterns) {
        let is_plain = !word.is_empty() && !word.contains(|c: char| c.is_whitespace() || c == '"');
        // Writing into memory does not fail.
        let _ = if is_plain { write!(line, " {word}") } else { write!(line, " {word:?}") };
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(rule: Rule, command: &str, patterns: &[&str]) -> ViolationRow {
        ViolationRow {
            rule: rule.name(),
            title: "",
            weight: rule.weight().name(),
            command: command.to_owned(),
            patterns: patterns.iter().map(|&pattern| pattern.to_owned()).collect(),
            count: 7,
            units: 7,
            within: None,
            refused: 0,
            is_known: false,
            first_ms: None,
            last_ms: None,
            clients: Vec::new(),
            other_clients: 0,
            examples: Vec::new(),
            advice: None,
            group: None,
            of: rule,
        }
    }

    #[test]
    fn what_is_written_is_known_when_it_is_read() {
        let rows = [
            row(Rule::CrossSlotTransaction, "multi: set, incr", &["a\"b<int>", "c d", ""]),
            row(Rule::CrossSlotCommand, "mget", &["user:<int>"]),
            row(Rule::CrossSlotCommand, "mget", &["user:<int>"]),
        ];
        let text = Baseline::of(rows.iter()).text();
        let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(
            lines,
            [
                "cross-slot-command mget user:<int>",
                "cross-slot-transaction \"multi: set, incr\" \"a\\\"b<int>\" \"c d\" \"\"",
            ]
        );
        let read = Baseline::read(&text.replace('\n', "\r\n")).expect("as written");
        assert_eq!(read, Baseline::of(rows.iter()));
        assert!(rows.iter().all(|row| read.knows(row)) && read.0.len() == 2);
        let other = row(Rule::CrossSlotCommand, "mset", &["user:<int>"]);
        assert!(!read.knows(&other));
        assert_eq!(read.gone(&[other, rows[0].clone()]), ["cross-slot-command mget user:<int>"]);
    }

    #[test]
    fn a_line_without_a_rule_is_an_error() {
        let error = Baseline::read("# one\n\n<<<<<<< HEAD\n").expect_err("no rule");
        assert!(error.starts_with("line 3: no rule is named"), "{error}");
        assert!(Baseline::read("").expect("empty").0.is_empty());
    }
}
