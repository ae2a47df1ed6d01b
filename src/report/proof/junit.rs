//! The report as JUnit XML: a test case per rule, which fails if the rule was broken; one per file,
//! which fails if it could not be read; and one that fails if nothing is proven, in which case no other
//! passes: it is skipped. The only file that names `quick_junit`.

use super::Report;
use super::rows::SourceRow;
use crate::ledger::Weight;
use crate::ledger::rule::{ROWS, Row};
use crate::text::display::{plural, printable};
use quick_junit::{NonSuccessKind, TestCase, TestCaseStatus, TestSuite};

/// The report.
///
/// # Panics
/// Never: it is written to memory.
#[must_use]
pub(crate) fn junit(report: &Report) -> String {
    let mut suite = TestSuite::new(report.title);
    let is_proven = report.gaps.is_empty();
    for row in ROWS {
        suite.add_test_case(case("slotway.rules", row.name, broken(report, row), is_proven));
    }
    let gaps = (!is_proven).then(|| ("not proven".to_owned(), report.gaps.join("\n")));
    suite.add_test_case(case("slotway.proof", "everything was run and judged", gaps, is_proven));
    for source in &report.sources {
        suite.add_test_case(case("slotway.input", &source.name, unread(source), is_proven));
    }
    let mut document = quick_junit::Report::new(report.title);
    document.add_test_suite(suite);
    document.to_string().expect("written to memory")
}

/// A test case, failed if there is a message with its description, skipped if it proves nothing. Control characters would be left
/// out of XML without a trace, so they are escaped here.
fn case(class: &str, name: &str, failure: Option<(String, String)>, is_proven: bool) -> TestCase {
    let status = match failure {
        None if is_proven => TestCaseStatus::success(),
        None => {
            let mut status = TestCaseStatus::skipped();
            status.set_message("not proven");
            status
        }
        Some((message, description)) => {
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
            status.set_message(printable(&message)).set_description(description);
            status
        }
    };
    let mut case = TestCase::new(printable(name), status);
    case.set_classname(class);
    case
}

/// How often a rule was broken, by kind of violation, unless all of these kinds are known.
fn broken(report: &Report, row: &Row) -> Option<(String, String)> {
    let own = || report.violations.iter().filter(|violation| violation.of == row.rule);
    let is_failing = row.weight == Weight::Error || report.is_strict;
    let all = report.rules.iter().find(|rule| rule.of == row.rule).map_or(0, |rule| rule.count);
    let known: u64 = own().filter(|violation| violation.is_known).map(|one| one.count).sum();
    if !is_failing || all == known {
        return None;
    }
    let mut lines: Vec<String> = own()
        .filter(|violation| !violation.is_known)
        .map(|violation| {
            let (patterns, times) =
                (violation.patterns.join("  "), plural(violation.count, "time"));
            let advice = violation.advice.as_ref().map(|advice| format!("  ({advice})"));
            let advice = advice.unwrap_or_default();
            let line = format!("{}  {patterns}  {times}{advice}", violation.command);
            printable(&line).into_owned()
        })
        .collect();
    lines.push(row.way_out.to_owned());
    Some((format!("{}: {}", row.title, plural(all - known, "time")), lines.join("\n")))
}

/// Why a file was not read, or not to its end.
fn unread(source: &SourceRow) -> Option<(String, String)> {
    let trouble = source.trouble.as_ref()?;
    let why = format!("{}: {}", trouble.at, printable(&trouble.why));
    Some(("not read to its end".to_owned(), why))
}
