//! The next command to try: the last line of a page. It depends on the results, the most urgent
//! question first.

use super::command::command;
use super::{Finding, Results, tables};
use crate::load::plan::{Axis, Kind, Plan, Shape};
use crate::load::report::{Comparison, Ending, Limit, Report, SweepReport};
use crate::load::url::Url;
use crate::load::{EXIT_BROKEN, EXIT_FAILED};
use std::time::Duration;

/// Above this share of aborted attempts, contention is worth a sweep.
const ABORTS_MANY: f64 = 0.05;
/// The share of the measured throughput at which latency is measured next.
const RATE_HELD: f64 = 0.8;

/// A command, and why to run it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Next {
    /// The command, quoted for a shell.
    pub command: String,
    /// What it shows, as a fragment of a sentence.
    pub why: String,
}

impl Next {
    fn new(command: String, why: impl Into<String>) -> Self {
        Self { command, why: why.into() }
    }
}

/// What to try after these results. `has_report`: an HTML report was written.
#[must_use]
pub(crate) fn next(results: &Results, findings: &[Finding], has_report: bool) -> Next {
    match results {
        Results::Run(report) => after_run(report, findings, has_report),
        Results::Sweep(sweep) => after_sweep(sweep, has_report),
        Results::Comparison(comparison) => after_comparison(comparison),
    }
}

/// The command of a sweep from this plan, without the option that varies.
fn sweep_over(plan: &Plan, axis: Axis, values: &str) -> String {
    let usual = Plan::default();
    let base = with(plan, |plan| match axis {
        Axis::Groups => plan.shape.groups = usual.shape.groups,
        Axis::Keys => plan.shape.keys_per_group = usual.shape.keys_per_group,
        Axis::Clients => plan.shape.connections = usual.shape.connections,
        Axis::Rate => plan.shape.rate = None,
        Axis::Theta => plan.shape.distribution = usual.shape.distribution,
        Axis::Pipeline => plan.shape.pipeline = usual.shape.pipeline,
        Axis::Cross => plan.workload.cross = usual.workload.cross,
    });
    format!("{base} --sweep {}={values}", axis.name())
}

fn with(plan: &Plan, change: impl FnOnce(&mut Plan)) -> String {
    let mut plan = plan.clone();
    change(&mut plan);
    command(&plan)
}

fn after_run(report: &Report, findings: &[Finding], has_report: bool) -> Next {
    let plan = &report.plan;
    let shape = &plan.shape;
    if report.is_broken() {
        return Next::new(
            format!("{} --json=broken.json", command(plan)),
            "the same run (same seed) with all evidence in a file",
        );
    }
    if let Ending::TargetLost { .. } = report.ending {
        return match &plan.target.url {
            Some(url) => Next::new(ping(url), "check whether the target is up"),
            None => Next::new(command(plan), "the same run again"),
        };
    }
    if report.totals.committed == 0 {
        return Next::new(
            with(plan, |plan| {
                plan.workload.kind = Kind::Incr;
                plan.workload.file = None;
                plan.workload.cross = 0.0;
            }),
            "whether the simplest workload commits",
        );
    }
    if report.is_undecided() {
        return Next::new(command(plan), "the same run, once its invariants can be checked");
    }
    if report.client.limit == Limit::Client && shape.threads < report.client.processors {
        let threads = (shape.threads * 2).min(report.client.processors).min(shape.connections);
        if threads > shape.threads {
            return Next::new(
                with(plan, |plan| plan.shape.threads = threads),
                "the throughput of the target when the client is not the limit",
            );
        }
    }
    if report.ending == Ending::Finished && report.elapsed < Duration::from_secs(3) {
        return Next::new(
            with(plan, |plan| {
                plan.shape.duration_ms = Some(30_000);
                plan.shape.transactions = None;
            }),
            "a run that is long enough to be reliable",
        );
    }
    if findings.iter().any(|finding| finding.is_failed) && !has_report {
        return Next::new(
            format!("{} --html report.html", command(plan)),
            "charts of the failed bound over time",
        );
    }
    if report.totals.abort_rate() > ABORTS_MANY {
        return Next::new(
            sweep_over(plan, Axis::Groups, &around(shape.groups)),
            "aborts and latency by contention",
        );
    }
    if shape.rate.is_none() && shape.pipeline == 1 {
        let rate = (report.committed_per_second() * RATE_HELD).max(1.0);
        // Two digits are enough for a suggestion.
        let unit = 10_f64.powf(rate.log10().floor() - 1.0);
        let rate = if unit >= 1.0 { (rate / unit).round() * unit } else { rate.round() };
        return Next::new(
            with(plan, |plan| {
                plan.shape.rate = Some(rate);
                plan.shape.think_us = 0;
            }),
            "latency at a load that the target can sustain, from the intended start",
        );
    }
    if !has_report {
        return Next::new(
            format!("{} --html report.html", command(plan)),
            "the same run with charts",
        );
    }
    Next::new(
        sweep_over(plan, Axis::Clients, &around(shape.connections)),
        "throughput by the number of clients",
    )
}

fn after_sweep(sweep: &SweepReport, has_report: bool) -> Next {
    let Some((_, last)) = sweep.runs.last() else {
        return Next::new("slotway bench".to_owned(), "a single run");
    };
    let is_worst = |code: u8| sweep.runs.iter().find(|(_, report)| report.exit_code() == code);
    if let Some((_, report)) = is_worst(EXIT_BROKEN).or_else(|| is_worst(EXIT_FAILED)) {
        return after_run(report, &[], has_report);
    }
    if !has_report {
        let values: Vec<String> = sweep.runs.iter().map(|(value, _)| value.to_string()).collect();
        return Next::new(
            format!("{} --html report.html", sweep_over(&last.plan, sweep.axis, &values.join(","))),
            "the same sweep with charts",
        );
    }
    let fastest = sweep
        .runs
        .iter()
        .max_by(|(_, a), (_, b)| a.committed_per_second().total_cmp(&b.committed_per_second()));
    let plan = &fastest.map_or(last, |(_, report)| report).plan;
    Next::new(
        with(plan, |plan| plan.shape.duration_ms = Some(30_000)),
        "a longer run of the fastest configuration",
    )
}

fn after_comparison(comparison: &Comparison) -> Next {
    let all = || comparison.a.iter().chain(&comparison.b);
    let worst = |code: u8| all().find(|report| report.exit_code() == code);
    if let Some(report) = worst(EXIT_BROKEN).or_else(|| worst(EXIT_FAILED)) {
        return after_run(report, &[], true);
    }
    let (Some(a), Some(b)) = (comparison.a.first(), comparison.b.first()) else {
        // One of them could not start.
        return all().next().map_or_else(
            || Next::new("slotway bench".to_owned(), "a single run"),
            |report| after_run(report, &[], true),
        );
    };
    let name = |report: &Report| {
        report.plan.target.url.as_ref().map_or_else(|| "own".to_owned(), ToString::to_string)
    };
    let rounds = tables::rounds(comparison);
    let winner = comparison.ratios.first().map_or("", |ratio| tables::winner(ratio, rounds));
    let again = |seconds: u64, rounds: usize| {
        let alone = with(&a.plan, |plan| {
            plan.target.url = None;
            plan.shape.duration_ms = Some(seconds * 1000);
        });
        format!("{alone} --compare {} {} --rounds {rounds}", name(a), name(b))
    };
    let seconds = a.plan.shape.duration().unwrap_or(Shape::DURATION_DEFAULT).as_secs().max(1);
    if !["a", "b"].contains(&winner) {
        return Next::new(
            again(seconds * 2, comparison.a.len().saturating_mul(2).clamp(2, 50)),
            "more and longer rounds, as this difference may be chance",
        );
    }
    let slower = if winner == "a" { b } else { a };
    Next::new(
        sweep_over(&slower.plan, Axis::Clients, "1,10,50,200"),
        "at which number of clients the slower target falls behind",
    )
}

fn ping(url: &Url) -> String {
    format!("redis-cli -u {url} ping")
}

/// Four values around this one, each four times the previous one.
fn around(value: usize) -> String {
    let from = (value / 16).max(1);
    let values: Vec<String> = (0..4).map(|step| (from << (2 * step)).to_string()).collect();
    values.join(",")
}
