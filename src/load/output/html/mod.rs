//! The report as one HTML file: style and charts are inside, nothing is fetched, nothing is run. It is
//! well-formed XML, too, so that a test can hold it to account.

mod charts;

use super::command::command;
use super::form::{self, percent, quantile, rate, times};
use super::svg::{self, Range, escaped};
use super::tables::{self, Table};
use super::warnings::{of_several, warnings};
use super::{Finding, Results, next};
use crate::load::report::{Comparison, Evidence, Invariant, Report, SweepReport, Trace, Verdict};
use crate::report::html::Page;

/// Beyond what all pages have: the charts.
const STYLE: &str = include_str!("charts.css");

/// The page.
#[must_use]
pub fn html(results: &Results, findings: &[Finding]) -> String {
    let runs = results.runs();
    let title = match (runs.first(), results) {
        (None, _) => "slotway bench".to_owned(),
        (Some(run), Results::Run(_)) => format!("{}: a run", tables::workload(&run.report.plan)),
        (Some(run), Results::Sweep(sweep)) => {
            format!("{}: a sweep of {}", tables::workload(&run.report.plan), sweep.axis.name())
        }
        (Some(run), Results::Comparison(_)) => {
            format!("{}: a beside b", tables::workload(&run.report.plan))
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
         digits. <code>docs/bench.md</code> says what everything means.",
    )
}

impl Page {
    fn run(&mut self, report: &Report, findings: &[Finding]) {
        self.place("", report);
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
        self.told(&warnings(report));
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
        self.note(&format!("To repeat it: {}", command(&report.plan)));
    }

    fn sweep(&mut self, sweep: &SweepReport, warnings: &[String], findings: &[Finding]) {
        if let Some((_, report)) = sweep.runs.first() {
            self.place("", report);
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
        self.told(warnings);
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
                self.place(&format!("{side}: "), report);
            }
        }
        self.lead(&tables::verdicts(comparison));
        self.told(warnings);
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
            let what =
                "the dot is the median of the rounds, the bar reaches from one end to the other";
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

    /// One of several runs, folded up unless something is wrong with it.
    fn fold(&mut self, label: &str, report: &Report) {
        let open = if report.exit_code() == 0 { "" } else { " open=\"open\"" };
        let text = format!(
            "{label}: {} commits/s, p99 {}, {} aborted",
            rate(report.committed_per_second()),
            quantile(&report.transaction_latency, 0.99),
            percent(report.totals.abort_rate())
        );
        self.push(&format!("<details{open}><summary>{}</summary>\n", escaped(&text)));
        self.told(&warnings(report));
        self.invariants(report);
        self.details(report);
        self.push("</details>\n");
    }

    fn place(&mut self, prefix: &str, report: &Report) {
        let url =
            report.plan.target.url.as_ref().map(|url| format!(" at {url}")).unwrap_or_default();
        self.note(&format!(
            "{prefix}{}{url}; {} measured, from {}",
            report.target,
            form::time(report.elapsed),
            form::date(report.started_at_ms)
        ));
    }

    fn lead(&mut self, numbers: &[(String, String)]) {
        self.push("<div class=\"lead\">");
        for (number, what) in numbers {
            self.push(&format!(
                "<div><b>{}</b><span>{}</span></div>",
                escaped(number),
                escaped(what)
            ));
        }
        self.push("</div>\n");
    }

    fn told(&mut self, warnings: &[String]) {
        for warning in warnings {
            self.push(&format!("<p class=\"careful\">{}</p>\n", escaped(warning)));
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
            Verdict::Undecided { why } => ("open", "cannot be said", format!(": {why}")),
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
            self.push("<details><summary>transactions that touched them, oldest first</summary>");
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

    fn table(&mut self, table: &Table) {
        self.tag("h2", table.title);
        self.push("<div class=\"scroll\"><table><thead><tr>");
        let class = |at: usize| if table.text_at == Some(at) { " class=\"text\"" } else { "" };
        for (at, name) in table.head.iter().enumerate() {
            self.push(&format!("<th{}>{}</th>", class(at), escaped(name)));
        }
        self.push("</tr></thead><tbody>");
        for row in &table.rows {
            self.push("<tr>");
            for (at, cell) in row.iter().enumerate() {
                self.push(&format!("<td{}>{}</td>", class(at), escaped(cell)));
            }
            self.push("</tr>");
        }
        self.push("</tbody></table></div>\n");
        if let Some(note) = &table.note {
            self.push(&format!("<p class=\"note\">{}</p>\n", escaped(note)));
        }
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
