//! The formats of fixed reports, compared with reviewed snapshots (`snapshots/`;
//! `INSTA_UPDATE=always cargo test --lib load::output` updates them).

use super::bounds::Bounds;
use super::text::{COLUMNS, Paint, page};
use super::{Finding, Results, csv, form, hgrm, html, json, next, sample};
use crate::load::report::{Ending, Limit, Report};
use insta::assert_snapshot;
use std::collections::BTreeSet;

fn bounds(text: &str, results: &Results) -> Vec<Finding> {
    text.parse::<Bounds>().expect("good bounds").judge(results)
}

fn plain(results: &Results) -> String {
    page(results, &[], &[], Paint::Off)
}

fn all() -> [(&'static str, Results); 5] {
    [
        ("good", sample::single(sample::good())),
        ("broken", sample::single(sample::broken())),
        ("lost", sample::single(sample::lost())),
        ("sweep", sample::sweep()),
        ("comparison", sample::comparison()),
    ]
}

// ── the page in the terminal ──────────────────────────────────────────────────────────────────────

#[test]
fn pages() {
    for (name, results) in all() {
        assert_snapshot!(format!("page-{name}"), plain(&results));
    }
}

#[test]
fn a_page_shows_bounds_and_files() {
    let results = sample::single(sample::good());
    let findings = bounds("p99>5ms, abort>=10%,committed<1k", &results);
    let written = ["report.html".to_owned(), "series.csv".to_owned()];
    let page = page(&results, &findings, &written, Paint::Off);
    let end = page.find("Bounds").map(|at| &page[at..]);
    assert_snapshot!(end.expect("the bounds are shown"));
}

#[test]
fn the_two_numbers_lead_and_the_next_command_ends() {
    for (name, results) in all() {
        let page = plain(&results);
        let mut lines = page.lines().skip_while(|line| !line.is_empty());
        let lead: Vec<&str> = lines.by_ref().skip(1).take(2).collect();
        let is_led = match name {
            "sweep" => lead.iter().all(|line| line.contains("commits/s with p99")),
            "comparison" => {
                lead[0].contains("committed/s, a / b") && lead[1].contains("p99, a / b")
            }
            _ => lead[0].contains("committed transactions per second") && lead[1].contains("p99"),
        };
        assert!(is_led, "{name}: {lead:?}");
        let last = page.lines().last().expect("a line").trim_start();
        assert!(
            last.starts_with("slotway bench ") || last.starts_with("redis-cli "),
            "{name}: {last}"
        );
    }
}

#[test]
fn pages_fit_80_columns_but_for_the_command_to_copy() {
    for (name, results) in all() {
        let page = plain(&results);
        let lines: Vec<&str> = page.lines().collect();
        for line in &lines[..lines.len() - 1] {
            assert!(form::width(line) <= COLUMNS, "{name}: {} columns: {line}", form::width(line));
        }
    }
}

#[test]
fn colours_add_nothing_but_escapes() {
    for (name, results) in all() {
        let painted = page(&results, &[], &[], Paint::On);
        assert!(painted.contains("\x1b[1m"), "{name} has colours");
        let mut bare = String::new();
        let mut rest = painted.as_str();
        while let Some(at) = rest.find('\x1b') {
            bare.push_str(&rest[..at]);
            rest = &rest[at..];
            rest = &rest[rest.find('m').expect("the end of an escape") + 1..];
        }
        bare.push_str(rest);
        let strip = |text: &str| text.lines().map(|l| l.trim_end().to_owned()).collect::<Vec<_>>();
        assert_eq!(strip(&bare), strip(&plain(&results)), "{name}");
    }
}

#[test]
fn replies_cannot_control_the_terminal() {
    let page = plain(&sample::single(sample::broken()));
    assert!(page.contains("<script>alert(1)"), "the text is shown");
    assert!(page.chars().all(|c| c == '\n' || !c.is_control()), "no control characters: {page:?}");
}

// ── what comes next ───────────────────────────────────────────────────────────────────────────────

#[test]
fn the_next_command_follows_from_what_was_seen() {
    let calm = || {
        let mut report = sample::good();
        report.totals.aborted = 10;
        report
    };
    let after = |change: fn(&mut Report), has_report| {
        let mut report = calm();
        change(&mut report);
        next(&sample::single(report), &[], has_report).command
    };
    for (change, has_report, part) in [
        ((|_| {}) as fn(&mut Report), false, "--rate 38000"),
        (|r| r.plan.shape.rate = Some(1000.0), false, "--html report.html"),
        (|r| r.plan.shape.rate = Some(1000.0), true, "--sweep clients=3,12,48,192"),
        (|r| r.totals.aborted = 100_000, true, "--sweep groups=4,16,64,256"),
        (|r| r.client.limit = Limit::Client, false, "--threads 2"),
        (|r| r.elapsed /= 100, false, "--duration 30s"),
        (|r| r.totals.committed = 0, false, "bench incr"),
        (|r| r.ending = Ending::TargetLost { why: String::new() }, false, "redis-cli -u redis://"),
    ] {
        let command = after(change, has_report);
        assert!(command.contains(part), "{part} is not in {command}");
    }
    let broken = next(&sample::single(sample::broken()), &[], false).command;
    assert!(broken.contains("--json=broken.json") && broken.contains("--seed 7"), "{broken}");
}

// ── bounds ────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn bounds_are_judged_by_their_measure_and_unit() {
    let results = sample::single(sample::good());
    let report = sample::good();
    let p99 = report.transaction_latency.quantile_ns(0.99);
    for (text, is_failed) in [
        (format!("p99>{p99}ns"), false),
        (format!("p99>={p99}ns"), true),
        (format!("p99<{p99}ns"), false),
        (format!("p99<={p99}ns"), true),
        ("p99.9>0.001s".to_owned(), true),
        ("max>1s".to_owned(), false),
        ("mean < 1us".to_owned(), false),
        ("attempt-p50>1s".to_owned(), false),
        ("abort>19.7%".to_owned(), true),
        ("abort>0.2".to_owned(), false),
        // 4848 of the 4850 refusals are meant to be.
        ("refused>0%".to_owned(), true),
        ("refused>0.001%".to_owned(), false),
        ("given-up>1%".to_owned(), false),
        ("committed<48k".to_owned(), true),
        ("committed<0.01M".to_owned(), false),
        ("attempts>1.2".to_owned(), true),
        ("unknown>0".to_owned(), false),
        ("malformed>=0".to_owned(), true),
        ("imbalance>1.3".to_owned(), true),
    ] {
        let findings = bounds(&text, &results);
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].is_failed, is_failed, "{text}: {:?}", findings[0]);
    }
}

#[test]
fn a_bound_without_anything_to_measure_is_failed() {
    let findings = bounds("p99>5ms,abort>20%,unknown>9", &sample::single(sample::lost()));
    let failed: Vec<bool> = findings.iter().map(|finding| finding.is_failed).collect();
    // Three attempts had an outcome: none was aborted.
    assert_eq!(failed, [true, false, false], "{findings:?}");
    assert_eq!(findings[0].value, None);
}

#[test]
fn bounds_hold_for_every_run() {
    let findings = bounds("committed<30k", &sample::sweep());
    let failed: Vec<(&str, bool)> =
        findings.iter().map(|finding| (finding.run.as_str(), finding.is_failed)).collect();
    assert_eq!(
        failed,
        [("groups=1", true), ("groups=4", true), ("groups=16", false), ("groups=64", false)]
    );
}

#[test]
fn a_malformed_bound_is_refused_with_an_example() {
    for (text, part) in [
        ("", "p99>5ms"),
        ("p99", "p99>5ms"),
        ("p99>5", "such as 5ms"),
        ("p99>-5ms", "such as 5ms"),
        ("p99>5ms,", "p99>5ms"),
        ("abort>lots", "such as 20%"),
        ("abort>NaN%", "such as 20%"),
        ("committed<1x", "such as 20000"),
        ("p101>1s", "there is no measure"),
        ("speed>1", "imbalance"),
    ] {
        let failure = text.parse::<Bounds>().expect_err(text);
        assert!(failure.message.contains(part), "{text}: {}", failure.message);
    }
}

#[test]
fn the_most_serious_exit_code_takes_precedence() {
    let good = sample::single(sample::good());
    let failed = bounds("p99>0ns", &good);
    assert_eq!(good.exit_code(&[]), 0);
    assert_eq!(good.exit_code(&failed), 4);
    assert_eq!(sample::single(sample::lost()).exit_code(&failed), 2);
    assert_eq!(sample::single(sample::broken()).exit_code(&failed), 3);
    let Results::Sweep(mut sweep) = sample::sweep() else { panic!("a sweep") };
    sweep.runs.push((128.0, sample::lost()));
    assert_eq!(Results::Sweep(sweep.clone()).exit_code(&[]), 2);
    sweep.runs.insert(0, (0.0, sample::broken()));
    assert_eq!(Results::Sweep(sweep).exit_code(&[]), 3);
}

#[test]
fn what_proves_nothing_is_no_success_and_every_format_says_so_first() {
    let results = sample::single(sample::undecided());
    let failed = bounds("p99>0ns", &results);
    assert_eq!((results.exit_code(&[]), results.exit_code(&failed)), (2, 2));
    let notes = |page: String| {
        let notes: Vec<String> =
            page.lines().filter(|l| l.contains("Note")).map(str::to_owned).collect();
        notes
    };
    let page = notes(plain(&results));
    assert!(page[0].contains("1 of 2 invariants is undecided"), "{page:?}");
    assert!(page[1].contains("{bench: were not all removed"), "{page:?}");
    let document: serde_json::Value =
        serde_json::from_str(&json::json(&results, &[])).expect("JSON");
    assert_eq!(document["exit_code"], 2);
    let run = &document["runs"][0];
    assert!(run["warnings"][0].as_str().is_some_and(|text| text.contains("undecided")), "{run}");
    assert_eq!(run["keys"]["ending"], "not-removed");
    let page = html::html(&results, &[]);
    let said = page.find("1 of 2 invariants is undecided").expect("it is said");
    assert!(said < page.find("<h2>").expect("sections"), "before everything else");
    assert!(next(&results, &[], false).why.contains("can be checked"));

    // Of several runs, both are said of the one concerned, and it decides the exit code.
    let Results::Sweep(mut sweep) = sample::sweep() else { panic!("a sweep") };
    sweep.runs[1].1 = sample::undecided();
    let results = Results::Sweep(sweep);
    assert_eq!(results.exit_code(&[]), 2);
    let page = notes(plain(&results)).join(" ");
    for part in ["groups=4: 1 of 2 invariants is undecided", "groups=4: The keys that begin"] {
        assert!(page.contains(part), "no {part:?} in {page}");
    }
    assert!(next(&results, &[], false).why.contains("can be checked"));
}

// ── files ─────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn csv_of_a_run_and_of_a_sweep() {
    assert_snapshot!("csv", csv::csv(&sample::single(sample::good())));
    let sweep = csv::csv(&sample::sweep());
    assert_eq!(sweep.lines().count(), 1 + 4 * 12);
    for line in sweep.lines() {
        assert_eq!(line.split(',').count(), csv::HEAD.len(), "{line}");
    }
}

#[test]
fn hgrm_of_a_run_and_of_several() {
    let files = hgrm::files(&sample::single(sample::good()));
    assert_eq!(files.len(), 1);
    assert_snapshot!("hgrm", files[0].1);
    let names = |results: &Results| {
        hgrm::files(results).into_iter().map(|(name, _)| name).collect::<Vec<_>>()
    };
    assert_eq!(names(&sample::sweep()), ["groups-1", "groups-4", "groups-16", "groups-64"]);
    assert_eq!(names(&sample::comparison()), ["a", "b"]);
}

#[test]
fn hgrm_counts_everything_up_to_the_maximum() {
    let report = sample::good();
    let text = hgrm::hgrm(&report.transaction_latency);
    let last = text.lines().rfind(|line| !line.starts_with('#')).expect("rows");
    let cells: Vec<&str> = last.split_whitespace().collect();
    let max = format!("{:.3}", report.transaction_latency.max_ns() as f64 / 1e6);
    assert_eq!(cells, [max.as_str(), "1.000000000000", "20000"]);
}

#[test]
fn json_of_a_run() {
    let results = sample::single(sample::broken());
    let findings = bounds("p99>1ms", &results);
    let value: serde_json::Value =
        serde_json::from_str(&json::json(&results, &findings)).expect("JSON");
    assert_snapshot!("json", serde_json::to_string_pretty(&value).expect("JSON"));
}

/// Every path of a document: `runs[].totals.committed`.
fn paths(value: &serde_json::Value, at: &str, into: &mut BTreeSet<String>) {
    match value {
        // The plan has the format of plan files, which is documented elsewhere.
        serde_json::Value::Object(_) if at == "runs[].plan" => {
            into.insert(at.to_owned());
        }
        serde_json::Value::Object(fields) => {
            for (name, value) in fields {
                let at = if at.is_empty() { name.clone() } else { format!("{at}.{name}") };
                paths(value, &at, into);
            }
        }
        serde_json::Value::Array(values) if !values.is_empty() => {
            values.iter().for_each(|value| paths(value, &format!("{at}[]"), into));
        }
        _ => {
            into.insert(at.to_owned());
        }
    }
}

#[test]
fn the_schema_is_as_documented() {
    let mut written = BTreeSet::new();
    for (_, results) in all() {
        let findings = bounds("p99>1ms", &results);
        let document = serde_json::from_str(&json::json(&results, &findings)).expect("JSON");
        paths(&document, "", &mut written);
    }
    // An array that is empty in one document has elements in another.
    let full = written.clone();
    written.retain(|path| !full.iter().any(|other| other.starts_with(&format!("{path}["))));
    let page = include_str!("../../../docs/bench.md");
    let (_, schema) = page.split_once("## The JSON document").expect("the section");
    let schema = schema.split("\n## ").next().unwrap_or_default();
    let documented: BTreeSet<String> = schema
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .flat_map(expanded)
        .collect();
    let missing: Vec<_> = written.difference(&documented).collect();
    let stale: Vec<_> = documented.difference(&written).collect();
    assert!(missing.is_empty(), "docs/bench.md lacks {missing:#?}");
    assert!(stale.is_empty(), "docs/bench.md has fields that are not written: {stale:#?}");
    assert!(page.contains(json::SCHEMA));
}

/// `a.{b,c}.d` is `a.b.d` and `a.c.d`.
fn expanded(path: &str) -> Vec<String> {
    let Some((before, rest)) = path.split_once('{') else { return vec![path.to_owned()] };
    let (names, after) = rest.split_once('}').expect("a closed brace");
    names.split(',').flat_map(|name| expanded(&format!("{before}{}{after}", name.trim()))).collect()
}

// ── HTML ──────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn html_of_a_run() {
    let results = sample::single(sample::broken());
    let page = html::html(&results, &bounds("p99>1ms", &results));
    let body = page.split("</style>").nth(1).expect("a body");
    assert_snapshot!("html", body.replace("><", ">\n<"));
}

#[test]
fn html_is_whole_and_fetches_nothing() {
    for (name, results) in all() {
        let page = html::html(&results, &bounds("p99>1ms", &results));
        for part in
            ["<script", "http:", "https:", "//", "src=", "href=", "url(", "@import", "onload"]
        {
            assert!(
                !page.contains(part) || part == "//" && is_only_redis(&page),
                "{name} has {part}"
            );
        }
        assert!(!page.contains("NaN") && !page.contains("\"inf"), "{name} has numbers only");
        check_tags(name, &page);
    }
}

/// Whether every `//` belongs to a target's address.
fn is_only_redis(page: &str) -> bool {
    page.match_indices("//").all(|(at, _)| page[..at].ends_with("redis:"))
}

/// Every tag is closed, in order; every attribute is quoted.
fn check_tags(name: &str, page: &str) {
    let mut open: Vec<&str> = Vec::new();
    let mut rest = page.strip_prefix("<!DOCTYPE html>").expect("the kind of document");
    while let Some(at) = rest.find('<') {
        rest = &rest[at + 1..];
        let end = rest.find('>').unwrap_or_else(|| panic!("{name}: a tag without its end"));
        let tag = &rest[..end];
        rest = &rest[end + 1..];
        if let Some(closed) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(closed), "{name}: closed in order, before {:.80}", rest);
        } else {
            assert_eq!(tag.matches('"').count() % 2, 0, "{name}: quotes of <{tag}>");
            assert!(!tag.contains('<'), "{name}: <{tag}>");
            if !tag.ends_with('/') {
                open.push(tag.split_whitespace().next().unwrap_or_default());
            }
        }
    }
    assert_eq!(open, Vec::<&str>::new(), "{name}: everything is closed");
}

#[test]
fn charts_are_drawn_where_there_are_numbers() {
    let count = |results: &Results, label: &str| {
        html::html(results, &[]).matches(&format!("aria-label=\"{label}")).count()
    };
    let good = sample::single(sample::good());
    for label in ["commits and aborts", "latency of", "histogram", "latency by", "share of"] {
        assert_eq!(count(&good, label), 1, "{label}");
    }
    let sweep = sample::sweep();
    for label in ["abort rate by", "latency by the parameter", "commits per second by"] {
        assert_eq!(count(&sweep, label), 1, "{label}");
    }
    assert_eq!(count(&sample::comparison(), "ratios"), 1);
    assert_eq!(count(&sample::single(sample::lost()), ""), 0, "nothing to draw");
}
