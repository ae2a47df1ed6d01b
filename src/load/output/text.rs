//! The page in the terminal, in 80 columns: the two numbers that matter, what to know before believing
//! them, the tables, the invariants, and the next command to try.

pub use crate::text::display::Paint;

use super::form::{self, count, percent, printable, quantile, rate, width};
use super::next::next;
use super::tables::{self, Table};
use super::warnings::{of_several, warnings};
use super::{Finding, Results, Run};
use crate::load::report::{Comparison, Evidence, Invariant, Report, SweepReport, Trace, Verdict};

/// Columns of the page.
pub const COLUMNS: usize = 80;
/// Pieces of evidence that the page shows of one invariant; the JSON has more.
const EVIDENCE_SHOWN: usize = 2;
/// Values, and transactions, that it shows of one piece.
const DETAILS_SHOWN: usize = 6;
/// Columns of the numbers that lead.
const LEAD: usize = 12;

/// The page. `written` are the files that hold more.
#[must_use]
pub fn page(results: &Results, findings: &[Finding], written: &[String], paint: Paint) -> String {
    let mut page = Page { text: String::new(), paint };
    match results {
        Results::Run(report) => page.run(report),
        Results::Sweep(sweep) => page.sweep(sweep, &of_several(results)),
        Results::Comparison(comparison) => page.comparison(comparison, results),
    }
    page.invariants(results);
    page.findings(findings);
    page.end(results, findings, written);
    page.text
}

struct Page {
    text: String,
    paint: Paint,
}

impl Page {
    fn line(&mut self, text: &str) {
        self.text.push_str(text.trim_end());
        self.text.push('\n');
    }

    /// A paragraph whose lines begin below each other, behind a mark.
    fn item(&mut self, mark: &str, painted: &str, text: &str) {
        let indent = width(mark) + 2;
        for (at, line) in form::wrap(text, COLUMNS - indent - 2).iter().enumerate() {
            let begin = if at == 0 { format!("  {painted}  ") } else { " ".repeat(indent + 2) };
            self.line(&format!("{begin}{line}"));
        }
    }

    fn head(&mut self, report: &Report, what: &str, before: &str) {
        let title = format!("slotway bench {}{what}", tables::workload(&report.plan));
        self.line(&self.paint.bold(&form::fit(&title, COLUMNS)));
        let load = tables::load(&report.plan);
        let length = form::time(report.elapsed);
        for line in form::wrap(&format!("{before}{load}; {length} measured"), COLUMNS) {
            self.line(&self.paint.dim(&line));
        }
    }

    fn place(&mut self, prefix: &str, report: &Report) {
        let url = report.plan.target.url.as_ref().map(|url| format!(" at {url}"));
        let text = format!("{prefix}{}{}", printable(&report.target), url.unwrap_or_default());
        for line in form::wrap(&text, COLUMNS) {
            self.line(&self.paint.dim(&line));
        }
    }

    fn lead(&mut self, number: &str, what: &str) {
        let number = self.paint.bold(&format!("{number:>LEAD$}"));
        self.line(&format!("{number}  {what}"));
    }

    fn run(&mut self, report: &Report) {
        self.head(report, "", "");
        self.place("on ", report);
        self.line("");
        self.lead(&rate(report.committed_per_second()), "committed transactions per second");
        self.lead(
            &quantile(&report.transaction_latency, 0.99),
            "p99 of a transaction, with all its attempts",
        );
        let totals = &report.totals;
        self.lead(
            &percent(totals.abort_rate()),
            &format!(
                "of the attempts aborted; {} attempts per commit",
                rate(totals.attempts_per_commit())
            ),
        );
        self.warnings(&warnings(report));
        for table in tables::of_run(report) {
            self.table(&table);
        }
        let client = &report.client;
        if !client.threads.is_empty() {
            let busiest = client.threads.iter().copied().fold(0.0, f64::max);
            let text = format!(
                "The client's busiest thread ran {} of the time; this process used {} of {}.",
                percent(busiest),
                percent(client.process),
                form::plural(client.processors as u64, "processor")
            );
            self.line("");
            for line in form::wrap(&text, COLUMNS) {
                self.line(&line);
            }
        }
    }

    fn sweep(&mut self, sweep: &SweepReport, warnings: &[String]) {
        let Some((_, first)) = sweep.runs.first() else { return };
        let name = sweep.axis.name();
        self.head(first, &format!(", a sweep of {name}"), "the first run: ");
        self.place("on ", first);
        self.line("");
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
        self.table(&tables::curve(sweep));
    }

    fn comparison(&mut self, comparison: &Comparison, results: &Results) {
        let (Some(a), Some(b)) = (comparison.a.first(), comparison.b.first()) else {
            // Ended in the first round: one run is all there is.
            results.runs().iter().for_each(|run| self.run(run.report));
            let why = results.cut_short().map(|failure| {
                format!("There is nothing to compare it with: {}", printable(&failure.message))
            });
            return self.warnings(&why.into_iter().collect::<Vec<_>>());
        };
        let rounds = form::plural(comparison.a.len() as u64, "round");
        self.head(a, &format!(", a beside b, {rounds} each"), "each run: ");
        self.place("a  ", a);
        self.place("b  ", b);
        self.line("");
        for (number, what) in tables::verdicts(comparison) {
            self.lead(&number, &what);
        }
        self.warnings(&of_several(results));
        self.table(&tables::ratios(comparison));
    }

    fn warnings(&mut self, warnings: &[String]) {
        if !warnings.is_empty() {
            self.line("");
        }
        for warning in warnings {
            self.item("Note", &self.paint.careful("Note"), warning);
        }
    }

    fn table(&mut self, table: &Table) {
        self.line("");
        let columns = table.head.len();
        let mut widths: Vec<usize> = (0..columns)
            .map(|at| {
                let cells = table.rows.iter().filter_map(|row| row.get(at));
                let head = if at == 0 { table.title } else { table.head[at] };
                cells.map(|cell| width(cell)).chain([width(head)]).max().unwrap_or(0)
            })
            .collect();
        // Names give way to numbers.
        let total: usize = widths.iter().sum::<usize>() + 2 * (columns - 1);
        widths[0] = widths[0].saturating_sub(total.saturating_sub(COLUMNS)).max(12);
        let cell = |at: usize, text: &str| {
            let text = form::fit(text, widths[at]);
            let space = " ".repeat(widths[at] - width(&text));
            let is_left = at == 0 || table.text_at == Some(at);
            if is_left { format!("{text}{space}") } else { format!("{space}{text}") }
        };
        let title = if table.head[0].is_empty() { table.title } else { table.head[0] };
        let title = self.paint.bold(&cell(0, title));
        let names: Vec<String> =
            (1..columns).map(|at| self.paint.dim(&cell(at, table.head[at]))).collect();
        self.line(&format!("{title}  {}", names.join("  ")));
        for row in &table.rows {
            let cells: Vec<String> =
                row.iter().enumerate().map(|(at, text)| cell(at, text)).collect();
            self.line(&cells.join("  "));
        }
        if let Some(note) = &table.note {
            for line in form::wrap(note, COLUMNS) {
                self.line(&self.paint.dim(&line));
            }
        }
    }

    fn invariants(&mut self, results: &Results) {
        let runs = results.runs();
        if runs.iter().all(|run| run.report.invariants.is_empty()) {
            return;
        }
        self.line("");
        self.line(&self.paint.bold("Invariants"));
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
            let mark = self.paint.good("held");
            self.item("held", &mark, &format!("in {good} of {} runs, all of them", runs.len()));
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
                let mark = self.paint.good("held");
                self.item("held", &mark, &format!("{name} ({checked})"));
            }
            Verdict::Undecided { why } => {
                let mark = self.paint.careful("open");
                self.item("open", &mark, &format!("{name}: cannot be said, {}", printable(why)));
            }
            Verdict::Broken { times, evidence } => {
                let mark = self.paint.bad("BROKEN");
                let often = form::plural(*times, "time");
                self.item("BROKEN", &mark, &format!("{name}, {often} ({checked})"));
                evidence.iter().take(EVIDENCE_SHOWN).for_each(|piece| self.evidence(piece));
                let hidden = times.saturating_sub(evidence.len().min(EVIDENCE_SHOWN) as u64);
                if hidden > 0 {
                    self.line(&format!("          … and {} more: see --json", count(hidden)));
                }
            }
        }
    }

    fn evidence(&mut self, evidence: &Evidence) {
        let at =
            evidence.at.map_or("after the run".to_owned(), |at| format!("at {}", form::time(at)));
        let text = format!("{at}: {}", printable(&evidence.what));
        for line in form::wrap(&text, COLUMNS - 10) {
            self.line(&format!("          {line}"));
        }
        for (key, value) in evidence.values.iter().take(DETAILS_SHOWN) {
            let text = format!("{} = {}", printable(key), printable(value));
            self.line(&format!("            {}", form::fit(&text, COLUMNS - 12)));
        }
        self.hidden(evidence.values.len(), "more value");
        self.hidden(evidence.transactions.len(), "earlier transaction");
        let skipped = evidence.transactions.len().saturating_sub(DETAILS_SHOWN);
        evidence.transactions.iter().skip(skipped).for_each(|trace| self.trace(trace));
    }

    /// Tells of what does not fit here.
    fn hidden(&mut self, all: usize, what: &str) {
        let hidden = all.saturating_sub(DETAILS_SHOWN);
        if hidden > 0 {
            self.line(&format!("            … {}", form::plural(hidden as u64, what)));
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
        self.line(&format!("            {}", form::fit(&head, COLUMNS - 12)));
        for (what, pairs) in [("read", &trace.read), ("wrote", &trace.wrote)] {
            if !pairs.is_empty() {
                let pairs: Vec<String> = pairs
                    .iter()
                    .map(|(key, value)| format!("{}={}", printable(key), printable(value)))
                    .collect();
                let text = form::fit(&format!("{what} {}", pairs.join(" ")), COLUMNS - 14);
                self.line(&format!("              {text}"));
            }
        }
    }

    fn findings(&mut self, findings: &[Finding]) {
        if findings.is_empty() {
            return;
        }
        self.line("");
        self.line(&self.paint.bold("Bounds"));
        for finding in findings {
            let run =
                if finding.run.is_empty() { String::new() } else { format!(" in {}", finding.run) };
            let text = format!("{}{run}: {}", printable(&finding.bound), finding.shown);
            if finding.is_failed {
                self.item("FAILED", &self.paint.bad("FAILED"), &text);
            } else {
                self.item("kept", &self.paint.good("kept"), &text);
            }
        }
    }

    fn end(&mut self, results: &Results, findings: &[Finding], written: &[String]) {
        self.line("");
        if !written.is_empty() {
            for line in form::wrap(&format!("Written: {}", written.join(", ")), COLUMNS) {
                self.line(&line);
            }
        }
        let has_report = written.iter().any(|name| name.ends_with(".html"));
        let next = next(results, findings, has_report);
        for line in form::wrap(&format!("Next: {}", next.why), COLUMNS) {
            self.line(&line);
        }
        // The command stays in one line, however long, to be copied.
        self.line(&format!("  {}", self.paint.bold(&next.command)));
    }
}
