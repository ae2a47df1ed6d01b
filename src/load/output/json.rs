//! The JSON document. Its fields are promised in docs/bench.md, which a test compares with what is
//! written here; an incompatible change increments the number of [`SCHEMA`].
//!
//! Names end with their unit: `_ns`, `_ms`, `_per_second`; shares and rates are 0 to 1. What could
//! not be measured is null.

use super::command::command;
use super::{Finding, Next, Results, next, warnings};
use crate::load::plan::Plan;
use crate::load::report::{self, Ending, KeysEnding, Limit, Report, Verdict};
use serde::Serialize;

/// The name and number of the schema.
pub(crate) const SCHEMA: &str = "slotway-bench/1";

/// The document, in one line.
///
/// # Panics
/// Never: all map keys are strings, and every number is finite.
#[must_use]
pub(crate) fn json(results: &Results, findings: &[Finding]) -> String {
    json_with_exit_code(results, findings, results.exit_code(findings))
}

/// The document of a program that ends with this exit code, for a reason that is not in the results.
///
/// # Panics
/// Never, as [`json`].
#[must_use]
pub(crate) fn json_with_exit_code(results: &Results, findings: &[Finding], code: u8) -> String {
    let document = Document { exit_code: code, ..Document::of(results, findings) };
    serde_json::to_string(&document).expect("names are strings")
}

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    version: &'static str,
    kind: &'static str,
    exit_code: u8,
    bounds: Vec<Bound<'a>>,
    cut_short: Option<&'a str>,
    axis: Option<&'static str>,
    ratios: Vec<Ratio>,
    runs: Vec<Run<'a>>,
    next: NextCommand,
}

#[derive(Serialize)]
struct Bound<'a> {
    bound: &'a str,
    run: &'a str,
    value: Option<f64>,
    is_failed: bool,
}

#[derive(Serialize)]
struct Ratio {
    name: &'static str,
    more_is_better: bool,
    a: Option<f64>,
    b: Option<f64>,
    median: Option<f64>,
    min: Option<f64>,
    max: Option<f64>,
}

#[derive(Serialize)]
struct NextCommand {
    command: String,
    why: String,
}

#[derive(Serialize)]
struct Run<'a> {
    label: String,
    value: Option<f64>,
    command: String,
    target: &'a str,
    started_at_ms: u64,
    elapsed_ns: u64,
    ending: &'static str,
    ending_why: Option<&'a str>,
    committed_per_second: f64,
    p99_ns: Option<u64>,
    abort_rate: f64,
    attempts_per_commit: f64,
    totals: Totals,
    transaction_latency: Latency,
    attempt_latency: Latency,
    commits_by_attempts: &'a [u64],
    kinds: Vec<Kind<'a>>,
    refusals: Vec<Refusal<'a>>,
    imbalance: f64,
    shards: Vec<Shard<'a>>,
    slots: Vec<Slot>,
    series: Series,
    client: Client<'a>,
    invariants: Vec<Invariant<'a>>,
    keys: Keys<'a>,
    warnings: Vec<String>,
    plan: &'a Plan,
}

#[derive(Serialize)]
struct Totals {
    committed: u64,
    declined: u64,
    given_up: u64,
    unknown: u64,
    never_started: u64,
    attempts: u64,
    aborted: u64,
    refused: u64,
    redirected: u64,
    reconnects: u64,
    malformed: u64,
    commands: u64,
    bytes_sent: u64,
    bytes_received: u64,
}

#[derive(Serialize)]
struct Latency {
    count: u64,
    min_ns: Option<u64>,
    mean_ns: Option<f64>,
    stdev_ns: Option<f64>,
    p50_ns: Option<u64>,
    p75_ns: Option<u64>,
    p90_ns: Option<u64>,
    p95_ns: Option<u64>,
    p99_ns: Option<u64>,
    p999_ns: Option<u64>,
    p9999_ns: Option<u64>,
    max_ns: Option<u64>,
}

#[derive(Serialize)]
struct Kind<'a> {
    name: &'a str,
    committed: u64,
    declined: u64,
    given_up: u64,
    attempts: u64,
    aborted: u64,
    refused: u64,
    latency: Latency,
}

#[derive(Serialize)]
struct Refusal<'a> {
    kind: &'a str,
    count: u64,
    expected: bool,
    example: &'a str,
}

#[derive(Serialize)]
struct Shard<'a> {
    name: &'a str,
    slots: u32,
    committed: u64,
    committed_per_second: f64,
    attempts: u64,
    aborted: u64,
    share: f64,
    fair: f64,
    latency: Latency,
}

#[derive(Serialize)]
struct Slot {
    slot: u16,
    shard: u16,
    committed: u64,
    attempts: u64,
    aborted: u64,
    share: f64,
}

#[derive(Serialize)]
struct Series {
    interval_ns: u64,
    left_out: u64,
    points: Vec<Point>,
}

#[derive(Serialize)]
struct Point {
    at_ns: u64,
    width_ns: u64,
    is_warmup: bool,
    committed: u64,
    attempts: u64,
    aborted: u64,
    refused: u64,
    unknown: u64,
    p50_ns: Option<u64>,
    p99_ns: Option<u64>,
    p999_ns: Option<u64>,
    max_ns: Option<u64>,
}

#[derive(Serialize)]
struct Client<'a> {
    threads: &'a [f64],
    process: f64,
    processors: usize,
    limit: &'static str,
}

#[derive(Serialize)]
struct Invariant<'a> {
    name: &'a str,
    verdict: &'static str,
    checks_during: u64,
    checks_after: u64,
    coverage: Option<&'a str>,
    undecided_why: Option<&'a str>,
    broken_times: u64,
    evidence: Vec<Evidence<'a>>,
}

#[derive(Serialize)]
struct Keys<'a> {
    begin_with: &'a str,
    old: u64,
    ending: &'static str,
    ending_why: Option<&'a str>,
}

#[derive(Serialize)]
struct Evidence<'a> {
    at_ns: Option<u64>,
    what: &'a str,
    values: Vec<Pair<'a>>,
    transactions: Vec<Trace<'a>>,
}

#[derive(Serialize)]
struct Trace<'a> {
    at_ns: u64,
    connection: u32,
    number: u64,
    kind: &'a str,
    read: Vec<Pair<'a>>,
    wrote: Vec<Pair<'a>>,
    outcome: &'a str,
}

#[derive(Serialize)]
struct Pair<'a> {
    key: &'a str,
    value: &'a str,
}

fn pairs(pairs: &[(String, String)]) -> Vec<Pair<'_>> {
    pairs.iter().map(|(key, value)| Pair { key, value }).collect()
}

fn ns(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// JSON has no NaN.
fn finite(number: f64) -> Option<f64> {
    number.is_finite().then_some(number)
}

impl<'a> Document<'a> {
    fn of(results: &'a Results, findings: &'a [Finding]) -> Self {
        let (kind, axis, ratios) = match results {
            Results::Run(_) => ("run", None, Vec::new()),
            Results::Sweep(sweep) => ("sweep", Some(sweep.axis.name()), Vec::new()),
            Results::Comparison(c) => {
                ("comparison", None, c.ratios.iter().map(Ratio::of).collect())
            }
        };
        let Next { command, why } = next(results, findings, false);
        Self {
            cut_short: results.cut_short().map(|failure| failure.message.as_str()),
            schema: SCHEMA,
            version: env!("CARGO_PKG_VERSION"),
            kind,
            exit_code: results.exit_code(findings),
            bounds: findings.iter().map(Bound::of).collect(),
            axis,
            ratios,
            runs: results.runs().into_iter().map(Run::of).collect(),
            next: NextCommand { command, why },
        }
    }
}

impl<'a> Bound<'a> {
    fn of(finding: &'a Finding) -> Self {
        let Finding { bound, run, value, shown: _, is_failed } = finding;
        Self { bound, run, value: value.and_then(finite), is_failed: *is_failed }
    }
}

impl Ratio {
    fn of(ratio: &report::Ratio) -> Self {
        Self {
            name: ratio.name,
            more_is_better: ratio.more_is_better,
            a: finite(ratio.a),
            b: finite(ratio.b),
            median: finite(ratio.median),
            min: finite(ratio.min),
            max: finite(ratio.max),
        }
    }
}

impl<'a> Run<'a> {
    fn of(run: super::Run<'a>) -> Self {
        let super::Run { label, value, report } = run;
        let (ending, ending_why) = match &report.ending {
            Ending::Finished => ("finished", None),
            Ending::Stopped => ("stopped", None),
            Ending::TargetLost { why } => ("target-lost", Some(why.as_str())),
        };
        let transaction_latency = Latency::of(&report.transaction_latency);
        Self {
            label,
            value,
            command: command(&report.plan),
            target: &report.target,
            started_at_ms: report.started_at_ms,
            elapsed_ns: ns(report.elapsed),
            ending,
            ending_why,
            committed_per_second: report.committed_per_second(),
            p99_ns: transaction_latency.p99_ns,
            abort_rate: report.totals.abort_rate(),
            attempts_per_commit: report.totals.attempts_per_commit(),
            totals: Totals::of(&report.totals),
            transaction_latency,
            attempt_latency: Latency::of(&report.attempt_latency),
            commits_by_attempts: &report.attempts_per_commit,
            kinds: report.kinds.iter().map(Kind::of).collect(),
            refusals: report.refusals.iter().map(Refusal::of).collect(),
            imbalance: report.imbalance(),
            shards: report.shards.iter().map(|shard| Shard::of(shard, report)).collect(),
            slots: report.slots.iter().map(Slot::of).collect(),
            series: Series::of(&report.series),
            client: Client::of(&report.client),
            invariants: report.invariants.iter().map(Invariant::of).collect(),
            keys: Keys::of(&report.keys),
            warnings: warnings(report),
            plan: &report.plan,
        }
    }
}

impl Totals {
    fn of(totals: &report::Totals) -> Self {
        // Destructured, so that a new field is a compile error here.
        let report::Totals {
            committed,
            declined,
            given_up,
            unknown,
            attempts,
            aborted,
            refused,
            redirected,
            reconnects,
            malformed,
            commands,
            bytes_sent,
            bytes_received,
            never_started,
        } = *totals;
        Self {
            committed,
            declined,
            given_up,
            unknown,
            never_started,
            attempts,
            aborted,
            refused,
            redirected,
            reconnects,
            malformed,
            commands,
            bytes_sent,
            bytes_received,
        }
    }
}

impl Latency {
    fn of(latency: &report::Latency) -> Self {
        let count = latency.count();
        let quantile = |share| (count > 0).then(|| latency.quantile_ns(share));
        let histogram = &latency.histogram;
        Self {
            count,
            min_ns: (count > 0).then(|| histogram.min()),
            mean_ns: (count > 0).then(|| histogram.mean()),
            stdev_ns: (count > 0).then(|| histogram.stdev()),
            p50_ns: quantile(0.5),
            p75_ns: quantile(0.75),
            p90_ns: quantile(0.9),
            p95_ns: quantile(0.95),
            p99_ns: quantile(0.99),
            p999_ns: quantile(0.999),
            p9999_ns: quantile(0.9999),
            max_ns: (count > 0).then(|| latency.max_ns()),
        }
    }
}

impl<'a> Kind<'a> {
    fn of(kind: &'a report::KindTally) -> Self {
        let report::KindTally {
            name,
            committed,
            declined,
            given_up,
            attempts,
            aborted,
            refused,
            latency,
        } = kind;
        Self {
            name,
            committed: *committed,
            declined: *declined,
            given_up: *given_up,
            attempts: *attempts,
            aborted: *aborted,
            refused: *refused,
            latency: Latency::of(latency),
        }
    }
}

impl<'a> Refusal<'a> {
    fn of(refusal: &'a report::Refusal) -> Self {
        let report::Refusal { kind, count, expected, example } = refusal;
        Self { kind, count: *count, expected: *expected, example }
    }
}

impl<'a> Shard<'a> {
    fn of(shard: &'a report::ShardShare, report: &Report) -> Self {
        let seconds = report.elapsed.as_secs_f64();
        Self {
            name: &shard.name,
            slots: shard.slots,
            committed: shard.committed,
            committed_per_second: if seconds > 0.0 {
                shard.committed as f64 / seconds
            } else {
                0.0
            },
            attempts: shard.attempts,
            aborted: shard.aborted,
            share: shard.share,
            fair: shard.fair,
            latency: Latency::of(&shard.latency),
        }
    }
}

impl Slot {
    fn of(share: &report::SlotShare) -> Self {
        let report::SlotShare { slot, shard, committed, attempts, aborted, share } = *share;
        Self { slot, shard, committed, attempts, aborted, share }
    }
}

impl Series {
    fn of(series: &report::Series) -> Self {
        Self {
            interval_ns: ns(series.interval),
            left_out: series.left_out,
            points: series.points.iter().map(Point::of).collect(),
        }
    }
}

impl Point {
    fn of(point: &report::Point) -> Self {
        let latency = |ns| (point.committed > 0).then_some(ns);
        Self {
            at_ns: ns(point.at),
            width_ns: ns(point.width),
            is_warmup: point.is_warmup,
            committed: point.committed,
            attempts: point.attempts,
            aborted: point.aborted,
            refused: point.refused,
            unknown: point.unknown,
            p50_ns: latency(point.p50_ns),
            p99_ns: latency(point.p99_ns),
            p999_ns: latency(point.p999_ns),
            max_ns: latency(point.max_ns),
        }
    }
}

impl<'a> Client<'a> {
    fn of(client: &'a report::ClientUse) -> Self {
        Self {
            threads: &client.threads,
            process: client.process,
            processors: client.processors,
            limit: match client.limit {
                Limit::NotClient => "not-client",
                Limit::Client => "client",
                Limit::Machine => "machine",
            },
        }
    }
}

impl<'a> Invariant<'a> {
    fn of(invariant: &'a report::Invariant) -> Self {
        let (verdict, undecided_why, broken_times, evidence) = match &invariant.verdict {
            Verdict::Held => ("held", None, 0, &[][..]),
            Verdict::Undecided { why } => ("undecided", Some(why.as_str()), 0, &[][..]),
            Verdict::Broken { times, evidence } => ("broken", None, *times, &evidence[..]),
        };
        Self {
            name: &invariant.name,
            verdict,
            checks_during: invariant.checks_during,
            checks_after: invariant.checks_after,
            coverage: invariant.coverage.as_deref(),
            undecided_why,
            broken_times,
            evidence: evidence.iter().map(Evidence::of).collect(),
        }
    }
}

impl<'a> Keys<'a> {
    fn of(keys: &'a report::RunKeys) -> Self {
        let report::RunKeys { begin_with, old, ending } = keys;
        let (ending, ending_why) = match ending {
            KeysEnding::Removed => ("removed", None),
            KeysEnding::Kept => ("kept", None),
            KeysEnding::Evidence => ("evidence", None),
            KeysEnding::NotRemoved { why } => ("not-removed", Some(why.as_str())),
        };
        Self { begin_with, old: *old, ending, ending_why }
    }
}

impl<'a> Evidence<'a> {
    fn of(evidence: &'a report::Evidence) -> Self {
        Self {
            at_ns: evidence.at.map(ns),
            what: &evidence.what,
            values: pairs(&evidence.values),
            transactions: evidence.transactions.iter().map(Trace::of).collect(),
        }
    }
}

impl<'a> Trace<'a> {
    fn of(trace: &'a report::Trace) -> Self {
        Self {
            at_ns: ns(trace.at),
            connection: trace.connection,
            number: trace.number,
            kind: &trace.kind,
            read: pairs(&trace.read),
            wrote: pairs(&trace.wrote),
            outcome: &trace.outcome,
        }
    }
}
