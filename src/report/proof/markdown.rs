//! The report as Markdown, for a comment on a change: short, with folded details.

use super::Report;
use super::next::{divided, division, next};
use super::rows::{GroupRow, options};
use super::tables;
use crate::report::table::Table;
use crate::text::display::{count, plural, printable};
use std::fmt::Write;

/// Kinds of violations, and groups, in the report; the JSON has all.
const ROWS_MAX: usize = 20;

/// The report.
#[must_use]
pub(crate) fn markdown(report: &Report) -> String {
    let mut text = String::new();
    let totals = &report.totals;
    line(&mut text, &format!("## {}: {}", report.title, report.verdict()));
    line(&mut text, "");
    way_out(report, &mut text);
    let read = [
        plural(totals.commands, "command"),
        plural(totals.transactions, "transaction"),
        plural(totals.different_keys, "key"),
        plural(totals.warnings, "warning"),
    ];
    line(&mut text, &format!("{}.", read.join(", ")));
    for source in &report.sources {
        if let Some(trouble) = &source.trouble {
            let (name, why) = (code(&source.name), escaped(&trouble.why));
            line(&mut text, &format!("\n> **Not read to its end:** {name}, {}: {why}", trouble.at));
        }
    }
    for gap in &report.gaps {
        line(&mut text, &format!("\n> **Not proven:** {}", escaped(gap)));
    }
    if report.totals.warnings > 0 {
        line(&mut text, &format!("\nWarnings: {}.", escaped(&report.other_results())));
    }
    for note in division(report).into_iter().chain(divided(report)) {
        line(&mut text, &format!("\n{}.", escaped(&note)));
    }
    violations(report, &mut text);
    groups(report, &mut text);
    tables::all(report).iter().for_each(|table| folded(table, &mut text));
    line(&mut text, &format!("\nNext: {}", escaped(&next(report))));
    text
}

/// What has to be done, and its price.
fn way_out(report: &Report, text: &mut String) {
    for (at, way) in report.way_out.iter().enumerate() {
        let mark = if at == 0 { "**Fix:**" } else { "Or:" };
        let (tags, more) = way.named();
        let tags: Vec<String> = tags.iter().map(|tag| code(tag)).collect();
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        line(text, &format!("{mark} {}{more} {}.\n", tags.join(", "), escaped(&way.shown())));
    }
}

/// A table that is folded until a click.
fn folded(table: &Table, text: &mut String) {
    line(text, &format!("\n<details><summary>{}</summary>\n", table.title));
    row(text, table.head.iter().map(|name| escaped(name)));
    let is_text = |at| table.is_text(at);
    row(text, (0..table.head.len()).map(|at| if is_text(at) { "---" } else { "---:" }.to_owned()));
    for cells in &table.rows {
        let cells = cells.iter().enumerate();
        row(text, cells.map(|(at, cell)| if at == 0 { code(cell) } else { escaped(cell) }));
    }
    line(text, "\n</details>");
}

fn violations(report: &Report, text: &mut String) {
    if report.violations.is_empty() {
        return;
    }
    line(text, "\n### Violations\n");
    row(text, ["", "rule", "command", "keys", "times", "first seen", "fix"].map(str::to_owned));
    row(text, ["---", "---", "---", "---", "---:", "---", "---"].map(str::to_owned));
    let leading = report.leading();
    let lines = leading.iter().take(ROWS_MAX);
    let lines = lines.flat_map(|(row, with)| [*row].into_iter().chain(with.iter().copied()));
    for violation in lines {
        let mark = match violation.weight {
            _ if violation.units == 0 => "with",
            _ if violation.is_known => "known",
            "error" => "❌",
            _ => "⚠️",
        };
        let patterns: Vec<String> = violation.patterns.iter().take(6).map(|p| code(p)).collect();
        let advice = violation.advice.iter().map(|advice| escaped(advice));
        let tag = report.tag_for(violation);
        let first = violation.examples.first();
        let spot = first.and_then(|example| example.spot.clone()).unwrap_or_default();
        let client = first.map(|example| escaped(&example.client)).unwrap_or_default();
        row(
            text,
            [
                mark.to_owned(),
                code(violation.rule),
                code(&violation.command),
                patterns.join("<br>"),
                violation.often(),
                format!("{spot} {client}").trim().to_owned(),
                advice.chain(tag.map(code)).collect::<Vec<_>>().join("<br>"),
            ],
        );
    }
    more(leading.len(), "kind", text);
}

fn groups(report: &Report, text: &mut String) {
    let crossing = || report.groups.iter().filter(|group| group.crossing > 0);
    if crossing().next().is_none() {
        return;
    }
    line(text, "\n### Keys used together");
    for group in crossing().take(ROWS_MAX) {
        let often = plural(group.count, "time");
        let across = count(group.crossing);
        line(text, &format!("\n{often}, {across} across slots:\n"));
        row(text, ["now", "with a hashtag"].map(str::to_owned));
        row(text, ["---", "---"].map(str::to_owned));
        for one in group.rewritten.iter().take(ROWS_MAX) {
            row(text, [code(&one.pattern), code(&one.new_pattern)]);
        }
        more(group.rewritten.len(), "key", text);
        if let Some(options) = options(&group.options) {
            line(text, &format!("\nSet it by {}.", escaped(&options)));
        }
        for (price, of) in [(&group.key_price, "keys"), (&group.use_price, "uses")] {
            if let Some(price) = price {
                line(text, &format!("\nPrice: {}.", price.shown(of)));
            }
        }
        for other in &group.other_tags {
            line(text, &format!("\nOr {} {}.", code(&other.tag), other.shown()));
        }
        for note in group.notes() {
            line(text, &format!("\nNote: {}.", escaped(&note)));
        }
        apart(group, text);
    }
    more(crossing().count(), "group", text);
}

/// The keys that have no common part.
fn apart(group: &GroupRow, text: &mut String) {
    if group.verdict == "apart" {
        line(text, "\nNo part common to all of these keys could be the hashtag.\n");
    }
    for pair in &group.strangers {
        let [a, b] = pair.keys.each_ref().map(|key| code(key));
        line(text, &format!("- {a} and {b} have no common part"));
    }
}

/// What is left out of so many.
fn more(all: usize, what: &str, text: &mut String) {
    let hidden = all.saturating_sub(ROWS_MAX);
    if hidden > 0 {
        line(text, &format!("\n… and {} more.", plural(hidden as u64, what)));
    }
}

fn line(text: &mut String, line: &str) {
    text.push_str(line);
    text.push('\n');
}

fn row(text: &mut String, cells: impl IntoIterator<Item = String>) {
    for cell in cells {
        let _infallible = write!(text, "| {cell} ");
    }
    text.push_str("|\n");
}

/// Foreign text as code. A backtick would end it, and a bar would end the cell.
fn code(text: &str) -> String {
    if text.is_empty() {
        return String::new();
    }
    let text = printable(text).replace('`', "'").replace('|', "\\|");
    format!("`{text}`")
}

/// Foreign text with everything escaped that has a meaning in Markdown or HTML.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for c in printable(text).chars() {
        match c {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '#' | '!' | '@' => {
                escaped.push('\\');
                escaped.push(c);
            }
            c => escaped.push(c),
        }
    }
    escaped
}
