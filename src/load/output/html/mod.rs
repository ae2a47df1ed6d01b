//! The report as one HTML file, with charts.

mod charts;

use super::command::command;
use super::form::{self, percent, quantile, rate, times};
use super::svg::{self, Range, escaped};
use super::tables;
use super::warnings::{of_several, warnings};
use super::{Finding, Results, next};
use crate::load::report::{Comparison, Evidence, Invariant, Report, SweepReport, Trace, Verdict};
use crate::report::html::Page;

/// Beyond the style of all pages: the charts.
const STYLE: &str = include_str!("charts.css");

/// The page.
#[must_use]
pub(crate) fn html(results: &Results, findings: &[Finding]) -> String {
    let runs = results.runs();
    let title = match (runs.first(), results) {
        (None, _) => "slotway bench".to_owned(),
        (Some(run), Results::Run(_)) => format!("{}: a run", tables::workload(&run.report.plan)),
        (Some(run), Results::Sweep(sweep)) => {
            format!("{}: a sweep of {}", tables::workload(&run.report.plan), sweep.axis.name())
        }
        (Some(run), Results::Comparison(_)) => {
            format!("{}: a and b compared", tables::workload(&run.report.plan))
        }
    };
    let mut page = Page::begin(&format!("slotway bench {title}"), &title, STYLE);
    if let Some(run) = runs.first() {
        page.note(&tables::load(&run.report.plan));
    }
    match results {
        Results::Run(report) => page.run(report, findings),
        Results::Sweep(sweep) => page.sweep(sweep, &of_several(results), findings),
        Results::Comparison(comparison) => {
            page.comparison(comparison, &of_several(results), findings);
        }
    }
    let next = next(results, findings, true);
    page.tag("h2", "Next");
    page.note(&next.why);
    page.push(&format!("<pre>{}</pre>", escaped(&next.command)));
    page.end(
        "Latencies of transactions include all their attempts and pauses; percentiles are exact to three \
         digits. See <code>docs/bench.md</code> for the meaning of each number.",
    )
}

impl Page {
    fn run(&mut self, report: &Report, findings: &[Finding]) {
        self.target("", report);
        self.lead(&[
            (rate(report.committed_per_second()), "committed transactions per second".to_owned()),
            (quantile(&report.transaction_latency, 0.99), "p99 of a transaction".to_owned()),
            (
                percent(report.totals.abort_rate()),
                format!(
                    "of the attempts aborted; {} attempts per commit",
                    rate(report.totals.attempts_per_commit())
                ),
            ),
        ]);
        self.warnings(&warnings(report));
        self.findings(findings);
        self.invariants(report);
        self.details(report);
    }

    /// Charts and tables of one run.
    fn details(&mut self, report: &Report) {
        self.over_time(&report.series);
        if report.transaction_latency.count() > 0 {
            self.push("<div class=\"pair\">");
            self.histogram(&report.transaction_latency);
            self.percentiles(report);
            self.push("</div>\n");
        }
        if report.shards.len() > 1 {
            self.balance(report);
        }
        for table in tables::of_run(report) {
            self.table(&table);
        }
        self.note(&format!("To repeat: {}", command(&report.plan)));
    }

    fn sweep(&mut self, sweep: &SweepReport, warnings: &[String], findings: &[Finding]) {
        if let Some((_, report)) = sweep.runs.first() {
            self.target("", report);
        }
        let name = sweep.axis.name();
        let leads: Vec<(String, String)> = tables::ends(sweep)
            .map(|(value, report)| {
                let latency = quantile(&report.transaction_latency, 0.99);
                let aborted = percent(report.totals.abort_rate());
                (
                    rate(report.committed_per_second()),
                    format!("commits/s at {name}={value}; p99 {latency}, {aborted} aborted"),
                )
            })
            .collect();
        self.lead(&leads);
        self.warnings(warnings);
        self.findings(findings);
        self.curve(sweep);
        self.table(&tables::curve(sweep));
        self.tag("h2", "The runs");
        for (value, report) in &sweep.runs {
            self.fold(&format!("{name}={value}"), report);
        }
    }

    fn comparison(&mut self, comparison: &Comparison, warnings: &[String], findings: &[Finding]) {
        let sides = [("a", &comparison.a), ("b", &comparison.b)];
        for (side, runs) in sides {
            if let Some(report) = runs.first() {
                self.target(&format!("{side}: "), report);
            }
        }
        self.lead(&tables::verdicts(comparison));
        self.warnings(warnings);
        self.findings(findings);
        let rows: Vec<Range> = comparison
            .ratios
            .iter()
            .filter(|ratio| ratio.median.is_finite() && ratio.min > 0.0)
            .map(|ratio| Range {
                name: ratio.name.to_owned(),
                min: ratio.min,
                median: ratio.median,
                max: ratio.max,
                shown: format!("{} ({})", times(ratio.median), tables::spread(ratio)),
            })
            .collect();
        if !rows.is_empty() {
            let chart = svg::ranges(&rows, "ratios of a and b with their spread");
            let what = "the dot is the median of the rounds, the bar spans all of them";
            self.figure("a / b", what, &[], &chart);
        }
        self.table(&tables::ratios(comparison));
        self.tag("h2", "The rounds");
        for (side, runs) in sides {
            for (at, report) in runs.iter().enumerate() {
                self.fold(&format!("{side}, round {}", at + 1), report);
            }
        }
    }

    /// One of several runs, folded unless it failed.
    fn fold(&mut self, label: &str, report: &Report) {
        let open = if report.exit_code() == 0 { "" } else { " open=\"open\"" };
        let text = format!(
            "{label}: {} commits/s, p99 {}, {} aborted",
            rate(report.committed_per_second()),
            quantile(&report.transaction_latency, 0.99),
            percent(report.totals.abort_rate())
        );
        self.push(&format!("<details{open}><summary>{}</summary>\n", escaped(&text)));
        self.warnings(&warnings(report));
        self.invariants(report);
        self.details(report);
        self.push("</details>\n");
    }

    fn target(&mut self, prefix: &str, report: &Report) {
        let url =
            report.plan.target.url.as_ref().map(|url| format!(" at {url}")).unwrap_or_default();
        self.note(&format!(
            "{prefix}{}{url}; {} measured, from {}",
            report.target,
            form::time(report.elapsed),
            form::date(report.started_at_ms)
        ));
    }

    fn warnings(&mut self, warnings: &[String]) {
        for warning in warnings {
            self.paragraph("careful", warning);
        }
    }

    fn findings(&mut self, findings: &[Finding]) {
        if findings.is_empty() {
            return;
        }
        self.tag("h2", "Bounds");
        for finding in findings {
            let (class, word) =
                if finding.is_failed { ("broken", "failed") } else { ("held", "kept") };
            let run =
                if finding.run.is_empty() { String::new() } else { format!(" in {}", finding.run) };
            self.push(&format!(
                "<p><span class=\"verdict {class}\">{word}</span> <code>{}</code>{}: {}</p>\n",
                escaped(&finding.bound),
                escaped(&run),
                escaped(&finding.shown)
            ));
        }
    }

    fn invariants(&mut self, report: &Report) {
        if report.invariants.is_empty() {
            return;
        }
        self.tag("h2", "Invariants");
        report.invariants.iter().for_each(|invariant| self.invariant(invariant));
    }

    fn invariant(&mut self, invariant: &Invariant) {
        let (class, word, more) = match &invariant.verdict {
            Verdict::Held => ("held", "held", String::new()),
            Verdict::Undecided { why } => ("open", "undecided", format!(": {why}")),
            Verdict::Broken { times, .. } => {
                ("broken", "BROKEN", format!(" {}", form::plural(*times, "time")))
            }
        };
        let coverage = invariant
            .coverage
            .as_ref()
            .map(|coverage| format!(", on {coverage}"))
            .unwrap_or_default();
        let checked = format!(
            "checked {} during the run and {} after it{coverage}",
            form::plural(invariant.checks_during, "time"),
            form::plural(invariant.checks_after, "time")
        );
        self.push(&format!(
            "<p><span class=\"verdict {class}\">{word}</span> {}{} <span class=\"note\">({})</span></p>\n",
            escaped(&invariant.name),
            escaped(&more),
            escaped(&checked)
        ));
        if let Verdict::Broken { evidence, .. } = &invariant.verdict {
            evidence.iter().for_each(|piece| self.evidence(piece));
        }
    }

    fn evidence(&mut self, evidence: &Evidence) {
        let at =
            evidence.at.map_or("after the run".to_owned(), |at| format!("at {}", form::time(at)));
        self.push(&format!(
            "<div class=\"bad\"><p><b>{}</b>: {}</p>",
            escaped(&at),
            escaped(&evidence.what)
        ));
        if !evidence.values.is_empty() {
            let values: Vec<String> =
                evidence.values.iter().map(|(key, value)| format!("{key} = {value}")).collect();
            self.push("<details open=\"open\"><summary>values</summary>");
            self.lines(&values);
            self.push("</details>");
        }
        if !evidence.transactions.is_empty() {
            let lines: Vec<String> = evidence.transactions.iter().map(trace).collect();
            self.push("<details><summary>transactions on these keys, oldest first</summary>");
            self.lines(&lines);
            self.push("</details>");
        }
        self.push("</div>\n");
    }

    fn lines(&mut self, lines: &[String]) {
        let lines: Vec<String> = lines.iter().map(|line| escaped(line)).collect();
        self.push(&format!("<pre>{}</pre>", lines.join("\n")));
    }

    fn figure(&mut self, title: &str, what: &str, keys: &[(&str, &str)], chart: &str) {
        let keys: String = keys
            .iter()
            .map(|(class, name)| format!(" <span class=\"key {class}\">{}</span>", escaped(name)))
            .collect();
        self.push(&format!(
            "<figure><figcaption><b>{}</b> {}{keys}</figcaption>{chart}</figure>\n",
            escaped(title),
            escaped(what)
        ));
    }
}

fn trace(trace: &Trace) -> String {
    let pairs = |pairs: &[(String, String)]| {
        pairs.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(" ")
    };
    format!(
        "{}  connection {} no. {}  {}  read {}  wrote {}  {}",
        form::time(trace.at),
        trace.connection,
        trace.number,
        trace.kind,
        pairs(&trace.read),
        pairs(&trace.wrote),
        trace.outcome
    )
}
