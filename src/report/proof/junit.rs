//! The report as JUnit XML: a test case per rule, which fails if the rule was broken, and one per
//! file, which fails if it could not be read.

use super::Report;
use crate::ledger::Weight;
use crate::ledger::rule::ROWS;
use crate::text::display::{escaped, plural, printable};
use std::fmt::Write;

/// The report.
#[must_use]
pub fn junit(report: &Report) -> String {
    let mut cases = String::new();
    let mut failures = 0;
    let mut case = |class: &str, name: &str, failure: Option<(String, String)>| {
        let (class, name) = (escaped(class), escaped(&printable(name)));
        let begin = format!("    <testcase classname=\"{class}\" name=\"{name}\"");
        let _infallible = match failure {
            None => writeln!(cases, "{begin}/>"),
            Some((message, text)) => {
                failures += 1;
                writeln!(
                    cases,
                    "{begin}>\n      <failure message=\"{}\">{}</failure>\n    </testcase>",
                    escaped(&message),
                    lines(&text)
                )
            }
        };
    };
    for row in ROWS {
        let own: Vec<_> = report.violations.iter().filter(|v| v.of == row.rule).collect();
        let counts = row.weight == Weight::Error || report.is_strict;
        let known: u64 = own.iter().filter(|v| v.is_known).map(|v| v.count).sum();
        let times = report.rules.iter().find(|r| r.of == row.rule).map_or(0, |r| r.count) - known;
        let failure = (counts && times > 0).then(|| {
            let mut text = String::new();
            for violation in own.iter().filter(|v| !v.is_known) {
                let patterns = violation.patterns.join("  ");
                let times = plural(violation.count, "time");
                let _infallible = writeln!(text, "{}  {patterns}  {times}", violation.command);
            }
            let _infallible = write!(text, "{}", row.way_out);
            (format!("{}: {}", row.title, plural(times, "time")), text)
        });
        case("slotway.rules", row.name, failure);
    }
    for source in &report.sources {
        let failure = source.trouble.as_ref().map(|trouble| {
            let text = format!("{}: {}", trouble.at, trouble.why);
            ("not read to its end".to_owned(), text)
        });
        case("slotway.input", &source.name, failure);
    }
    let tests = ROWS.len() + report.sources.len();
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n  <testsuite name=\"{}\" \
         tests=\"{tests}\" failures=\"{failures}\" errors=\"0\">\n{cases}  </testsuite>\n</testsuites>\n",
        report.title
    )
}

/// Escaped, but for line breaks.
fn lines(text: &str) -> String {
    text.lines().map(escaped).collect::<Vec<_>>().join("\n")
}
