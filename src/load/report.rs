//! The report of a run, finished or cut short. Plain data; `output` formats it.
//!
//! A *transaction* is one unit of work of a user; it takes one or more *attempts*. An attempt
//! commits, is aborted (EXEC returned nil, or a lock was held), is refused (an error reply; nothing
//! was done), or its outcome is unknown (the connection broke after the request was sent).
//!
//! Latencies are in nanoseconds. Counts are of the measured time, after the warm-up, unless said
//! otherwise; what invariants compare covers the whole run.

use super::failure::Failure;
use super::plan::{Axis, Plan};
use hdrhistogram::Histogram;
use std::time::Duration;

/// A transaction's evidence shows at most this many transactions.
pub(crate) const EVIDENCE_TRACES_MAX: usize = 32;
/// Most pieces of evidence of one invariant; further ones are only counted.
pub(crate) const EVIDENCE_MAX: usize = 16;
/// The highest latency: an hour. Longer ones count as this one, which bounds the memory of a
/// histogram.
pub(crate) const LATENCY_NS_MAX: u64 = 3_600_000_000_000;
/// Most points of a time series.
pub(crate) const SERIES_POINTS_MAX: usize = 3600;

/// One run.
#[derive(Clone, Debug)]
pub struct Report {
    /// The plan of the run.
    pub plan: Plan,
    /// Name and version of the target: `redis 7.0.15`, `slotway 0.1.0 in this process, 3 shards`.
    pub target: String,
    /// How it ended.
    pub ending: Ending,
    /// When it began: milliseconds since the epoch.
    pub started_at_ms: u64,
    /// How long was measured: from the end of the warm-up to the end of the last transaction
    /// counted.
    pub elapsed: Duration,
    /// The totals.
    pub totals: Totals,
    /// From the start of a transaction (open loop: its intended start) to its commit, with all
    /// its attempts and pauses. Only of those that committed.
    pub transaction_latency: Latency,
    /// From sending an attempt's first request to its outcome; of every attempt that had one.
    pub attempt_latency: Latency,
    /// Kinds of transactions that the workload mixes (a file's, or the cross-slot share), in order.
    /// A workload of one kind has one entry.
    pub kinds: Vec<KindTally>,
    /// Error replies by their kind, most frequent first.
    pub refusals: Vec<Refusal>,
    /// How many transactions took how many attempts: index 0 is one attempt; the last element
    /// counts all from there up. Only of those that committed.
    pub attempts_per_commit: Vec<u64>,
    /// Shares by shard. One entry if the target has no slot map.
    pub shards: Vec<ShardShare>,
    /// Shares by slot, ascending; only slots that were used.
    pub slots: Vec<SlotShare>,
    /// The time series.
    pub series: Series,
    /// What the client used of its machine.
    pub client: ClientUse,
    /// The invariants and the results of their checks.
    pub invariants: Vec<Invariant>,
    /// What became of the keys.
    pub keys: RunKeys,
    /// Warnings that do not follow from the other fields, as sentences, each with what to do about
    /// it. `output::warnings` adds those that do (the client was the limit, the run was
    /// short, the rate was not reached).
    pub warnings: Vec<String>,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// As planned.
    Finished,
    /// Stopped by the user; the results cover the time until then.
    Stopped,
    /// The target was lost; the results cover the time until then.
    TargetLost {
        /// What happened, and what to do.
        why: String,
    },
}

/// The keys of a run on its target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunKeys {
    /// How all of them begin: `{bench:`.
    pub begin_with: String,
    /// Keys of earlier runs that were there before this one, and were removed.
    pub old: u64,
    /// What became of them after the run.
    pub ending: KeysEnding,
}

/// What became of the keys of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeysEnding {
    /// They were removed, or ended with the cluster in this process.
    Removed,
    /// They were left because the plan says so.
    Kept,
    /// They were left as the evidence of a broken invariant.
    Evidence,
    /// They could not be removed, or not all of them.
    NotRemoved {
        /// Why.
        why: String,
    },
}

/// The counts of the measured time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Transactions that committed.
    pub committed: u64,
    /// Transactions that, because of what they read, had nothing to change (the balance was too
    /// low): neither committed nor failed.
    pub declined: u64,
    /// Transactions given up after the last attempt that the retry policy allows.
    pub given_up: u64,
    /// Transactions whose outcome is unknown: never sent again.
    pub unknown: u64,
    /// Attempts that had an outcome, with those of declined transactions.
    pub attempts: u64,
    /// Attempts that were aborted: another client was faster.
    pub aborted: u64,
    /// Attempts that an error reply refused, without the redirections that were followed.
    pub refused: u64,
    /// MOVED and ASK that were followed.
    pub redirected: u64,
    /// Connections that were lost and opened again.
    pub reconnects: u64,
    /// Replies of a wrong type or with a wrong value.
    pub malformed: u64,
    /// Commands sent.
    pub commands: u64,
    /// Bytes sent.
    pub bytes_sent: u64,
    /// Bytes received.
    pub bytes_received: u64,
    /// Open loop: transactions whose time had come before the end, but that never started because
    /// every connection was busy.
    pub never_started: u64,
}

impl Totals {
    /// Aborted attempts among all attempts, 0 to 1.
    #[must_use]
    pub fn abort_rate(&self) -> f64 {
        ratio(self.aborted, self.attempts)
    }

    /// Attempts among committed transactions (and declined ones); 0 without any.
    #[must_use]
    pub fn attempts_per_commit(&self) -> f64 {
        ratio(self.attempts, self.committed + self.declined)
    }
}

pub(super) fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

impl Report {
    /// Committed transactions per second.
    #[must_use]
    pub fn committed_per_second(&self) -> f64 {
        let seconds = self.elapsed.as_secs_f64();
        if seconds > 0.0 { self.totals.committed as f64 / seconds } else { 0.0 }
    }

    /// Whether an invariant was broken.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.invariants.iter().any(|invariant| matches!(invariant.verdict, Verdict::Broken { .. }))
    }

    /// Whether an invariant is neither held nor broken.
    #[must_use]
    pub fn is_undecided(&self) -> bool {
        self.invariants
            .iter()
            .any(|invariant| matches!(invariant.verdict, Verdict::Undecided { .. }))
    }

    /// The exit code of this run, `--fail-if` aside: a broken invariant has precedence over a lost
    /// target and over an invariant that could not be checked.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self.ending {
            _ if self.is_broken() => super::EXIT_BROKEN,
            _ if self.is_undecided() => super::EXIT_FAILED,
            Ending::TargetLost { .. } => super::EXIT_FAILED,
            Ending::Finished | Ending::Stopped => 0,
        }
    }

    /// The busiest shard's share over the share that its slots would give it: 1 is even.
    #[must_use]
    pub fn imbalance(&self) -> f64 {
        self.shards
            .iter()
            .map(|s| if s.fair > 0.0 { s.share / s.fair } else { 0.0 })
            .fold(0.0, f64::max)
    }
}

/// A histogram of nanoseconds, exact to three digits.
#[derive(Clone, Debug)]
pub struct Latency {
    /// The histogram, in nanoseconds.
    pub histogram: Histogram<u64>,
}

impl Default for Latency {
    fn default() -> Self {
        Self::new(3)
    }
}

impl Latency {
    /// An empty histogram, exact to this many digits (1 to 5).
    #[must_use]
    pub fn new(digits: u8) -> Self {
        let mut histogram = Histogram::new(digits.clamp(1, 5)).expect("1 to 5 digits are valid");
        histogram.auto(true);
        Self { histogram }
    }

    /// Records a latency; above [`LATENCY_NS_MAX`] it counts as that.
    pub fn record(&mut self, ns: u64) {
        // Not `saturating_record`, which would clamp to the current size instead of growing. This
        // one fails only if it may not grow, and it may.
        let _cannot_fail = self.histogram.record(ns.min(LATENCY_NS_MAX));
    }

    /// Adds the latencies of another histogram.
    pub fn add(&mut self, other: &Self) {
        // Fails only where the histogram may not grow, and this one may.
        let _cannot_fail = self.histogram.add(&other.histogram);
    }

    /// The number of latencies.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.histogram.len()
    }

    /// The latency that this share (0 to 1) did not exceed, in nanoseconds; 0 if there is none.
    #[must_use]
    pub fn quantile_ns(&self, share: f64) -> u64 {
        if self.histogram.is_empty() { 0 } else { self.histogram.value_at_quantile(share) }
    }

    /// The maximum, in nanoseconds.
    #[must_use]
    pub fn max_ns(&self) -> u64 {
        self.histogram.max()
    }

    /// The mean, in nanoseconds.
    #[must_use]
    pub fn mean_ns(&self) -> f64 {
        self.histogram.mean()
    }
}

/// One kind of transaction of a mixed workload.
#[derive(Clone, Debug)]
pub struct KindTally {
    /// Its name: the workload's, `cross-slot`, or the name in the file.
    pub name: String,
    /// Transactions that committed.
    pub committed: u64,
    /// Transactions that had nothing to change.
    pub declined: u64,
    /// Transactions given up.
    pub given_up: u64,
    /// Attempts.
    pub attempts: u64,
    /// Aborted attempts.
    pub aborted: u64,
    /// Refused attempts.
    pub refused: u64,
    /// As [`Report::transaction_latency`], of this kind.
    pub latency: Latency,
}

/// Error replies of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The first word of the error: `CROSSSLOT`, `MOVED`, `TRYAGAIN`, `ERR` …; where EXEC only
    /// says EXECABORT, the error that was the cause.
    pub kind: String,
    /// How often.
    pub count: u64,
    /// Whether only transactions that cross slots on purpose got it.
    pub expected: bool,
    /// The first such reply, at most 200 bytes, printable.
    pub example: String,
}

/// One shard's part of the load.
#[derive(Clone, Debug)]
pub struct ShardShare {
    /// Its address, or `shard 0`.
    pub name: String,
    /// How many slots it owns.
    pub slots: u32,
    /// Committed transactions.
    pub committed: u64,
    /// Attempts.
    pub attempts: u64,
    /// Aborted attempts.
    pub aborted: u64,
    /// Its share of all committed transactions, 0 to 1.
    pub share: f64,
    /// Its share of all slots, 0 to 1.
    pub fair: f64,
    /// As [`Report::transaction_latency`], of this shard's.
    pub latency: Latency,
}

/// One slot's part of the load.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SlotShare {
    /// The slot.
    pub slot: u16,
    /// The shard, as an index into [`Report::shards`].
    pub shard: u16,
    /// Committed transactions.
    pub committed: u64,
    /// Attempts.
    pub attempts: u64,
    /// Aborted attempts.
    pub aborted: u64,
    /// Its share of all committed transactions, 0 to 1.
    pub share: f64,
}

/// The time series of a run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series {
    /// The width of a point: one second; a tenth of one if the run is planned shorter than 10
    /// seconds; more if there would be more than [`SERIES_POINTS_MAX`] points.
    pub interval: Duration,
    /// In the order of time; the first begins with the run, the warm-up included.
    pub points: Vec<Point>,
    /// Points that were left out at the end because there were too many.
    pub left_out: u64,
}

/// One interval of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Point {
    /// Where it begins, from the start of the run.
    pub at: Duration,
    /// How long it is: the series' interval; the last one may be shorter.
    pub width: Duration,
    /// Whether it begins in the warm-up.
    pub is_warmup: bool,
    /// Transactions that committed in it.
    pub committed: u64,
    /// Attempts that ended in it.
    pub attempts: u64,
    /// Aborted attempts.
    pub aborted: u64,
    /// Refused attempts.
    pub refused: u64,
    /// Transactions of unknown outcome.
    pub unknown: u64,
    /// Median of the transactions' latency, in nanoseconds; 0 without any.
    pub p50_ns: u64,
    /// 99 % took at most this, in nanoseconds.
    pub p99_ns: u64,
    /// 99.9 % took at most this, in nanoseconds.
    pub p999_ns: u64,
    /// The longest, in nanoseconds.
    pub max_ns: u64,
}

/// What the client used of its machine while it measured.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClientUse {
    /// For each client thread, the share of the time that it ran on a processor, 0 to 1.
    pub threads: Vec<f64>,
    /// The share of the whole machine that this process used (with the cluster inside it, if there
    /// is one), 0 to 1.
    pub process: f64,
    /// Processors of this machine that this process may use.
    pub processors: usize,
    /// Whether the numbers are the client's and not the target's.
    pub limit: Limit,
}

/// What limited the throughput, as far as the client can see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Limit {
    /// The client had time left.
    #[default]
    NotClient,
    /// The client's threads were busy all the time: use more `--threads`.
    Client,
    /// The client often waited for a processor of this machine.
    Machine,
}

/// An invariant and the result of its checks.
#[derive(Clone, Debug)]
pub struct Invariant {
    /// The invariant as a sentence: `the sum of the accounts of each group stays the same`.
    pub name: String,
    /// How often it was checked while the load ran.
    pub checks_during: u64,
    /// How many things (groups, keys, lists) it was checked on after the run.
    pub checks_after: u64,
    /// What the checks cover, if not everything: `the first 4000000 of 9812345 appends`.
    pub coverage: Option<String>,
    /// The result.
    pub verdict: Verdict,
}

/// The result of the checks of an invariant.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// It held.
    Held,
    /// It could not be checked (the target was lost or lacks a command), or its checks prove nothing
    /// (nothing was committed; keys vanished for another reason).
    Undecided {
        /// Why.
        why: String,
    },
    /// It was broken.
    Broken {
        /// How often; at least as many as there is evidence.
        times: u64,
        /// The first ones.
        evidence: Vec<Evidence>,
    },
}

/// One violation of an invariant, with the values and transactions that show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// When it was found, from the start of the run; `None`: in the check after the run.
    pub at: Option<Duration>,
    /// What is wrong, as a sentence with both numbers.
    pub what: String,
    /// The keys and their values.
    pub values: Vec<(String, String)>,
    /// The last transactions known to have touched these keys, oldest first.
    pub transactions: Vec<Trace>,
}

/// One attempt of a transaction, as evidence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// When its outcome was known, from the start of the run.
    pub at: Duration,
    /// The connection, from 0.
    pub connection: u32,
    /// Its number on that connection, from 0.
    pub number: u64,
    /// Which kind of transaction.
    pub kind: String,
    /// What it read: keys and values.
    pub read: Vec<(String, String)>,
    /// What it wrote.
    pub wrote: Vec<(String, String)>,
    /// Its outcome: `committed` or `unknown`.
    pub outcome: String,
}

/// A contention curve: the same plan with one setting varied.
#[derive(Clone, Debug)]
pub struct SweepReport {
    /// What varied.
    pub axis: Axis,
    /// The runs in their order. If one lost its target, it is the last.
    pub runs: Vec<(f64, Report)>,
    /// Why there were no further runs, if one could not begin.
    pub cut_short: Option<Failure>,
}

/// Two targets in alternating rounds: `a b b a a b …`.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// The first target's runs.
    pub a: Vec<Report>,
    /// The second target's runs.
    pub b: Vec<Report>,
    /// What is compared: `a / b` with its spread over the rounds.
    pub ratios: Vec<Ratio>,
    /// Why there were no further runs, if one could not begin.
    pub cut_short: Option<Failure>,
}

/// A number of the first target over that of the second.
#[derive(Clone, Debug, PartialEq)]
pub struct Ratio {
    /// What: `committed/s`, `p99`, `abort rate`.
    pub name: &'static str,
    /// Whether a larger one is better.
    pub more_is_better: bool,
    /// The first target's median over its rounds. Latencies in nanoseconds.
    pub a: f64,
    /// The second target's median over its rounds.
    pub b: f64,
    /// The median of the rounds' ratios a / b; NaN if b was 0.
    pub median: f64,
    /// The smallest ratio of a round.
    pub min: f64,
    /// The largest ratio of a round.
    pub max: f64,
}
