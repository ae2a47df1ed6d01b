//! The page in the terminal, in 80 columns: the two numbers that matter, what to know before
//! trusting them, the tables, the invariants, and the next command to try.

pub use crate::text::display::Paint;

use super::form::{self, count, fit, percent, printable, quantile, rate, wrap};
use super::next::next;
use super::tables;
use super::warnings::{of_several, warnings};
use super::{Finding, Results, Run};
use crate::load::report::{Comparison, Evidence, Invariant, Report, SweepReport, Trace, Verdict};
use crate::report::terminal::{self, Terminal};

/// Columns of the page.
pub const COLUMNS: usize = terminal::COLUMNS;
/// Pieces of evidence of an invariant on the page; the JSON has more.
const EVIDENCE_SHOWN: usize = 2;
/// Values, and transactions, of a piece of evidence on the page.
const DETAILS_SHOWN: usize = 6;
/// Indent of a piece of evidence, and of its details.
const EVIDENCE_INDENT: usize = 10;
const DETAIL_INDENT: usize = 12;

/// The page. `written` names the report files.
#[must_use]
pub fn page(results: &Results, findings: &[Finding], written: &[String], paint: Paint) -> String {
    let mut page = Page { out: Terminal::new(COLUMNS, paint) };
    match results {
        Results::Run(report) => page.run(report),
        Results::Sweep(sweep) => page.sweep(sweep, &of_several(results)),
        Results::Comparison(comparison) => page.comparison(comparison, results),
    }
    page.invariants(results);
    page.findings(findings);
    page.end(results, findings, written);
    page.out.end()
}

struct Page {
    out: Terminal,
}

impl Page {
    fn head(&mut self, report: &Report, what: &str, before: &str) {
        self.out.title(&format!("slotway bench {}{what}", tables::workload(&report.plan)));
        let (load, length) = (tables::load(&report.plan), form::time(report.elapsed));
        self.out.remark(&format!("{before}{load}; {length} measured"));
    }

    fn target(&mut self, prefix: &str, report: &Report) {
        let url = report.plan.target.url.as_ref().map(|url| format!(" at {url}"));
        let url = url.unwrap_or_default();
        self.out.remark(&format!("{prefix}{}{url}", printable(&report.target)));
    }

    fn lead(&mut self, number: &str, what: &str) {
        self.out.lead(number, Paint::bold, what);
    }

    fn run(&mut self, report: &Report) {
        self.head(report, "", "");
        self.target("on ", report);
        self.out.gap();
        self.lead(&rate(report.committed_per_second()), "committed transactions per second");
        self.lead(
            &quantile(&report.transaction_latency, 0.99),
            "p99 of a transaction, with all its attempts",
        );
        let totals = &report.totals;
        let attempts = rate(totals.attempts_per_commit());
        self.lead(
            &percent(totals.abort_rate()),
            &format!("of the attempts aborted; {attempts} attempts per commit"),
        );
        self.warnings(&warnings(report));
        tables::of_run(report).iter().for_each(|table| self.out.table(table));
        let client = &report.client;
        if !client.threads.is_empty() {
            let busiest = client.threads.iter().copied().fold(0.0, f64::max);
            self.out.gap();
            self.out.paragraph(&format!(
                "Client: the busiest thread was busy {} of the time; this process used {} of {}.",
                percent(busiest),
                percent(client.process),
                form::plural(client.processors as u64, "processor")
            ));
        }
    }

    fn sweep(&mut self, sweep: &SweepReport, warnings: &[String]) {
        let Some((_, first)) = sweep.runs.first() else { return };
        let name = sweep.axis.name();
        self.head(first, &format!(", a sweep of {name}"), "first run: ");
        self.target("on ", first);
        self.out.gap();
        for (value, report) in tables::ends(sweep) {
            self.lead(
                &rate(report.committed_per_second()),
                &format!(
                    "commits/s with p99 {} and {} aborted at {name}={value}",
                    quantile(&report.transaction_latency, 0.99),
                    percent(report.totals.abort_rate())
                ),
            );
        }
        self.warnings(warnings);
        self.out.table(&tables::curve(sweep));
    }

    fn comparison(&mut self, comparison: &Comparison, results: &Results) {
        let (Some(a), Some(b)) = (comparison.a.first(), comparison.b.first()) else {
            // Ended in the first round: one run is all there is.
            results.runs().iter().for_each(|run| self.run(run.report));
            let why = results
                .cut_short()
                .map(|failure| format!("Nothing to compare with: {}", printable(&failure.message)));
            return self.warnings(&why.into_iter().collect::<Vec<_>>());
        };
        let rounds = form::plural(comparison.a.len() as u64, "round");
        self.head(a, &format!(", a and b compared in {rounds}"), "each run: ");
        self.target("a: ", a);
        self.target("b: ", b);
        self.out.gap();
        for (number, what) in tables::verdicts(comparison) {
            self.lead(&number, &what);
        }
        self.warnings(&of_several(results));
        self.out.table(&tables::ratios(comparison));
    }

    fn warnings(&mut self, warnings: &[String]) {
        if !warnings.is_empty() {
            self.out.gap();
        }
        warnings.iter().for_each(|warning| self.out.item("Note", Paint::careful, warning));
    }

    fn invariants(&mut self, results: &Results) {
        let runs = results.runs();
        if runs.iter().all(|run| run.report.invariants.is_empty()) {
            return;
        }
        self.out.heading("Invariants");
        for run in &runs {
            let is_alone = runs.len() == 1;
            for invariant in &run.report.invariants {
                let has_held = matches!(invariant.verdict, Verdict::Held);
                if is_alone || !has_held {
                    let label = if is_alone { "" } else { &run.label };
                    self.invariant(label, invariant);
                }
            }
        }
        let held = |run: &Run<'_>| {
            run.report.invariants.iter().all(|i| matches!(i.verdict, Verdict::Held))
        };
        let good = runs.iter().filter(|run| held(run)).count();
        if runs.len() > 1 && good > 0 {
            let text = format!("all invariants in {good} of {} runs", runs.len());
            self.out.item("held", Paint::good, &text);
        }
    }

    fn invariant(&mut self, label: &str, invariant: &Invariant) {
        let before = if label.is_empty() { String::new() } else { format!("{label}: ") };
        let name = format!("{before}{}", printable(&invariant.name));
        let covered = invariant
            .coverage
            .as_ref()
            .map_or(String::new(), |coverage| format!(", on {}", printable(coverage)));
        let checked = format!(
            "checked {} during the run and {} after it{covered}",
            form::plural(invariant.checks_during, "time"),
            form::plural(invariant.checks_after, "time")
        );
        match &invariant.verdict {
            Verdict::Held => {
                self.out.item("held", Paint::good, &format!("{name} ({checked})"));
            }
            Verdict::Undecided { why } => {
                let text = format!("{name}: undecided, {}", printable(why));
                self.out.item("open", Paint::careful, &text);
            }
            Verdict::Broken { times, evidence } => {
                let often = form::plural(*times, "time");
                self.out.item("BROKEN", Paint::bad, &format!("{name}, {often} ({checked})"));
                evidence.iter().take(EVIDENCE_SHOWN).for_each(|piece| self.evidence(piece));
                let hidden = times.saturating_sub(evidence.len().min(EVIDENCE_SHOWN) as u64);
                if hidden > 0 {
                    let more = format!("… and {} more in the JSON report", count(hidden));
                    self.indented(EVIDENCE_INDENT, &more);
                }
            }
        }
    }

    /// A line behind an indent; one that is too long loses its middle.
    fn indented(&mut self, indent: usize, text: &str) {
        self.out.line(&format!("{}{}", " ".repeat(indent), fit(text, COLUMNS - indent)));
    }

    fn evidence(&mut self, evidence: &Evidence) {
        let at =
            evidence.at.map_or("after the run".to_owned(), |at| format!("at {}", form::time(at)));
        let text = format!("{at}: {}", printable(&evidence.what));
        for line in wrap(&text, COLUMNS - EVIDENCE_INDENT) {
            self.indented(EVIDENCE_INDENT, &line);
        }
        for pair in evidence.values.iter().take(DETAILS_SHOWN) {
            self.indented(DETAIL_INDENT, &shown(pair, " = "));
        }
        self.hidden(evidence.values.len(), "more value");
        evidence.transactions.iter().take(DETAILS_SHOWN).for_each(|trace| self.trace(trace));
        self.hidden(evidence.transactions.len(), "more transaction");
    }

    /// The number of details that are not on the page.
    fn hidden(&mut self, all: usize, what: &str) {
        let hidden = all.saturating_sub(DETAILS_SHOWN);
        if hidden > 0 {
            self.indented(DETAIL_INDENT, &format!("… {}", form::plural(hidden as u64, what)));
        }
    }

    fn trace(&mut self, trace: &Trace) {
        let head = format!(
            "{}  connection {} no. {}  {}: {}",
            form::time(trace.at),
            trace.connection,
            trace.number,
            printable(&trace.kind),
            printable(&trace.outcome)
        );
        self.indented(DETAIL_INDENT, &head);
        for (what, pairs) in [("read", &trace.read), ("wrote", &trace.wrote)] {
            if !pairs.is_empty() {
                let pairs: Vec<String> = pairs.iter().map(|pair| shown(pair, "=")).collect();
                self.indented(DETAIL_INDENT + 2, &format!("{what} {}", pairs.join(" ")));
            }
        }
    }

    fn findings(&mut self, findings: &[Finding]) {
        if findings.is_empty() {
            return;
        }
        self.out.heading("Bounds");
        for finding in findings {
            let run =
                if finding.run.is_empty() { String::new() } else { format!(" in {}", finding.run) };
            let text = format!("{}{run}: {}", printable(&finding.bound), finding.shown);
            if finding.is_failed {
                self.out.item("FAILED", Paint::bad, &text);
            } else {
                self.out.item("kept", Paint::good, &text);
            }
        }
    }

    fn end(&mut self, results: &Results, findings: &[Finding], written: &[String]) {
        self.out.gap();
        self.out.written(written);
        let has_report = written.iter().any(|name| name.ends_with(".html"));
        let next = next(results, findings, has_report);
        self.out.paragraph(&format!("Next: {}", next.why));
        // The command stays in one line, however long, to be copied.
        self.out.line(&format!("  {}", self.out.paint.bold(&next.command)));
    }
}

/// A key and its value.
fn shown((key, value): &(String, String), between: &str) -> String {
    format!("{}{between}{}", printable(key), printable(value))
}
