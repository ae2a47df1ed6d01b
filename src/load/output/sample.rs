//! Reports of fixed numbers, for the tests of their formats.

use super::Results;
use crate::load::plan::{Axis, Distribution, Kind, Plan};
use crate::load::report::*;
use std::time::Duration;

/// A histogram in which the numbers grow evenly, with a longer tail.
fn latency(count: u64, from_ns: u64, step_ns: u64) -> Latency {
    let mut latency = Latency::default();
    for at in 0..count {
        let tail = if at % 500 == 499 { 20 } else { 1 };
        latency.record((from_ns + at % 1000 * step_ns) * tail);
    }
    latency
}

fn shard(index: u16, slots: u32, committed: u64) -> ShardShare {
    ShardShare {
        name: format!("127.0.0.1:{}", 7000 + index),
        slots,
        committed,
        attempts: committed * 5 / 4,
        aborted: committed / 4,
        share: committed as f64 / 480_000.0,
        fair: f64::from(slots) / 16_384.0,
        latency: latency(1000, 300_000 + u64::from(index) * 50_000, 900),
    }
}

fn series(committed: u64) -> Series {
    let point = |second: u64| Point {
        at: Duration::from_secs(second),
        width: Duration::from_secs(1),
        is_warmup: second < 2,
        committed: committed / 10 + second % 3 * 700,
        attempts: committed / 8 + second % 3 * 900,
        aborted: committed / 40 + second % 3 * 200,
        refused: 3,
        unknown: 0,
        p50_ns: 800_000 + second % 4 * 20_000,
        p99_ns: 1_840_000 + second % 5 * 100_000,
        p999_ns: 4_000_000 + second % 7 * 900_000,
        max_ns: 9_000_000 + second % 3 * 4_000_000,
    };
    let mut points: Vec<Point> = (0..12).map(point).collect();
    // A second in which the server stalled.
    points[7] =
        Point { at: Duration::from_secs(7), width: Duration::from_secs(1), ..Point::default() };
    Series { interval: Duration::from_secs(1), points, left_out: 0 }
}

/// The plan of a run against a cluster.
fn plan() -> Plan {
    let mut plan = Plan { seed: 7, ..Plan::default() };
    plan.target.url = Some("redis://bench:secret@127.0.0.1:7000".parse().expect("an address"));
    plan.target.cluster = true;
    plan.shape.duration_ms = Some(10_000);
    plan.shape.warmup_ms = 2000;
    plan.shape.distribution = Distribution::Zipfian { theta: 0.99 };
    plan.workload.cross = 0.01;
    plan
}

fn kind(name: &str, committed: u64, refused: u64) -> KindTally {
    KindTally {
        name: name.to_owned(),
        committed,
        declined: 0,
        given_up: 0,
        attempts: committed * 5 / 4 + refused,
        aborted: committed / 4,
        refused,
        latency: latency(committed.min(2000), 300_000, 900),
    }
}

fn refusal(kind: &str, count: u64, expected: bool, example: &str) -> Refusal {
    Refusal { kind: kind.to_owned(), count, expected, example: example.to_owned() }
}

fn slot(slot: u16, shard: u16, committed: u64) -> SlotShare {
    SlotShare {
        slot,
        shard,
        committed,
        attempts: committed * 5 / 4,
        aborted: committed / 4,
        share: committed as f64 / 480_000.0,
    }
}

fn invariant(name: &str, checks_after: u64) -> Invariant {
    Invariant {
        name: name.to_owned(),
        checks_during: 812,
        checks_after,
        coverage: None,
        verdict: Verdict::Held,
    }
}

fn keys(ending: KeysEnding) -> RunKeys {
    RunKeys { begin_with: "{bench:".to_owned(), old: 0, ending }
}

fn totals() -> Totals {
    Totals {
        committed: 480_000,
        declined: 1200,
        given_up: 3,
        unknown: 0,
        attempts: 606_050,
        aborted: 120_000,
        refused: 4850,
        redirected: 12,
        reconnects: 0,
        malformed: 0,
        commands: 2_900_000,
        bytes_sent: 98_000_000,
        bytes_received: 41_000_000,
        never_started: 0,
    }
}

/// A run without a fault.
pub(super) fn good() -> Report {
    let crossing = "CROSSSLOT Keys in request don't hash to the same slot";
    let moving = "TRYAGAIN Multiple keys request during rehashing of slot";
    Report {
        plan: plan(),
        target: "redis 7.0.15, 3 nodes".to_owned(),
        ending: Ending::Finished,
        started_at_ms: 1_767_225_600_000,
        elapsed: Duration::from_millis(10_001),
        totals: totals(),
        transaction_latency: latency(20_000, 300_000, 900),
        attempt_latency: latency(25_000, 200_000, 600),
        kinds: vec![kind("transfer", 480_000, 0), kind("cross-slot", 0, 4850)],
        refusals: vec![
            refusal("CROSSSLOT", 4848, true, crossing),
            refusal("TRYAGAIN", 2, false, moving),
        ],
        attempts_per_commit: vec![400_000, 60_000, 15_000, 4000, 1000],
        shards: vec![shard(0, 5461, 120_000), shard(1, 5462, 150_000), shard(2, 5461, 210_000)],
        slots: vec![slot(93, 0, 120_000), slot(5500, 1, 150_000), slot(16_383, 2, 210_000)],
        series: series(480_000),
        client: ClientUse {
            threads: vec![0.81],
            process: 0.41,
            processors: 2,
            limit: Limit::NotClient,
        },
        invariants: vec![
            invariant("the sum of the accounts of a group stays", 64),
            invariant("no account falls below zero", 1024),
        ],
        keys: keys(KeysEnding::Removed),
        warnings: vec!["An observation of the run itself, with what to do about it.".to_owned()],
    }
}

/// A run whose invariant was broken, with replies that a terminal or a browser would interpret.
pub(super) fn broken() -> Report {
    let mut report = good();
    report.plan.target.url = None;
    report.plan.target.cluster = false;
    report.target = "slotway 0.1.0 in this process, 3 shards".to_owned();
    report.client.limit = Limit::Client;
    report.client.threads = vec![0.993];
    report.elapsed = Duration::from_millis(1200);
    report.refusals[1].example = "<script>alert(1)</script>\x1b[31m".to_owned();
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let trace = |number, outcome: &str| Trace {
        at: Duration::from_micros(600_000 + number * 300),
        connection: 12,
        number,
        kind: "transfer".to_owned(),
        read: vec![pair("3", "220"), pair("9", "80")],
        wrote: vec![pair("3", "120"), pair("9", "180")],
        outcome: outcome.to_owned(),
    };
    report.invariants[0].verdict = Verdict::Broken {
        times: 17,
        evidence: vec![
            Evidence {
                at: Some(Duration::from_millis(604)),
                what: "the accounts of group 7 hold 15900, not 16000".to_owned(),
                values: (0..8).map(|at| pair(&format!("{{bench:7}}:{at}"), "120")).collect(),
                transactions: vec![trace(3400, "committed"), trace(3401, "refused: ERR \x07no")],
            },
            Evidence {
                at: None,
                what: "the accounts of group 9 hold 16100, not 16000".to_owned(),
                values: vec![pair("{bench:9}:0", "<b>1100</b>")],
                transactions: Vec::new(),
            },
        ],
    };
    report.invariants[1].verdict =
        Verdict::Undecided { why: "the target was lost before the accounts were read".to_owned() };
    report.keys = RunKeys { old: 3, ..keys(KeysEnding::Evidence) };
    report.invariants[1].coverage = Some("the first 4000000 of 9812345 transfers".to_owned());
    report
}

/// A run that proves nothing of one invariant, and whose keys stayed.
pub(super) fn undecided() -> Report {
    let mut report = good();
    let why = "the target does not have a command of this workload: ERR unknown command 'MGET'";
    report.invariants[1].verdict = Verdict::Undecided { why: why.to_owned() };
    report.keys = keys(KeysEnding::NotRemoved { why: "ERR unknown command 'DEL'".to_owned() });
    report
}

/// A run whose target died before anything was committed.
pub(super) fn lost() -> Report {
    Report {
        plan: plan(),
        target: "redis 7.0.15".to_owned(),
        ending: Ending::TargetLost {
            why: "127.0.0.1:7000 closed the connection and does not accept another one; is it still running?"
                .to_owned(),
        },
        started_at_ms: 1_767_225_600_000,
        elapsed: Duration::from_millis(40),
        totals: Totals { attempts: 3, unknown: 3, commands: 6, ..Totals::default() },
        transaction_latency: Latency::default(),
        attempt_latency: Latency::default(),
        kinds: Vec::new(),
        refusals: Vec::new(),
        attempts_per_commit: Vec::new(),
        shards: Vec::new(),
        slots: Vec::new(),
        series: Series::default(),
        client: ClientUse::default(),
        invariants: Vec::new(),
        keys: keys(KeysEnding::NotRemoved { why: "connection refused by 127.0.0.1:7000".to_owned() }),
        warnings: Vec::new(),
    }
}

/// A sweep over the number of groups.
pub(super) fn sweep() -> Results {
    let run = |(at, groups): (u32, usize)| {
        let mut report = good();
        report.plan.shape.groups = groups;
        report.totals.committed = 90_000 + 130_000 * u64::from(at);
        report.totals.aborted = 400_000 / (1 + u64::from(at) * u64::from(at) * 4);
        report.transaction_latency = latency(20_000, 300_000, 9000 / (1 + u64::from(at)));
        (groups as f64, report)
    };
    let runs = [1_usize, 4, 16, 64].into_iter().zip(0..).map(|(groups, at)| run((at, groups)));
    Results::Sweep(SweepReport { axis: Axis::Groups, runs: runs.collect(), cut_short: None })
}

/// A comparison of two targets.
pub(super) fn comparison() -> Results {
    let of = |committed: u64, target: &str, port: u16| {
        let mut report = good();
        report.plan.workload.kind = Kind::Counter;
        report.plan.target.url = format!("redis://127.0.0.1:{port}").parse().ok();
        report.totals.committed = committed;
        report.target = target.to_owned();
        report
    };
    let a = [480_000, 470_000, 490_000].map(|n| of(n, "slotway 0.1.0, 3 shards", 7000));
    let b = [400_000, 405_000, 398_000].map(|n| of(n, "redis 7.0.15", 6379));
    let ratio = |name, more_is_better, [a, b, median, min, max]: [f64; 5]| Ratio {
        name,
        more_is_better,
        a,
        b,
        median,
        min,
        max,
    };
    Results::Comparison(Comparison {
        a: a.to_vec(),
        b: b.to_vec(),
        ratios: vec![
            ratio("committed/s", true, [47_995.0, 39_996.0, 1.2, 1.16, 1.23]),
            ratio("p99", false, [1.19e6, 1.31e6, 0.91, 0.88, 1.02]),
            ratio("abort rate", false, [0.198, 0.0, f64::NAN, f64::NAN, f64::NAN]),
        ],
        cut_short: None,
    })
}

/// One run, as results.
pub(super) fn single(report: Report) -> Results {
    Results::Run(Box::new(report))
}
