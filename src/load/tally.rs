//! The counts of one client thread. Nothing is shared during the run: the tallies of all threads
//! are merged after it. Only the slices of the time series are sent when their interval ends.

use super::keys::shown;
use super::report::{KindTally, Latency, Point, Refusal, ShardShare, SlotShare, Totals, ratio};
use super::script::Nanos;
use super::target::Layout;
use crate::slot::{SLOTS, Slot};
use std::time::Duration;

/// Most kinds of error replies that are counted separately; the rest is one kind, `other`.
const REFUSALS_MAX: usize = 64;
/// Longest kind of an error reply, in bytes.
const REFUSAL_LEN_MAX: usize = 32;
/// Buckets of the histogram of attempts per commit.
const ATTEMPTS_BUCKETS: usize = 64;
/// Most shards with a latency histogram.
const SHARDS_MEASURED_MAX: usize = 128;

/// What a transaction is counted under.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subject {
    /// Its kind.
    pub kind: usize,
    /// Its slot.
    pub slot: Slot,
    /// Whether it crosses slots on purpose: then a refusal is expected, and it does not count as
    /// given up.
    pub crosses: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct SlotTally {
    committed: u64,
    attempts: u64,
    aborted: u64,
}

#[derive(Clone, Debug)]
struct RefusalTally {
    kind: Vec<u8>,
    count: u64,
    expected: bool,
    example: String,
}

/// One interval of the time series, as one thread counted it.
#[derive(Clone, Debug)]
pub(crate) struct Slice {
    /// Which interval, from 0.
    pub index: u64,
    committed: u64,
    attempts: u64,
    aborted: u64,
    refused: u64,
    unknown: u64,
    latency: Latency,
}

impl Slice {
    /// An empty slice.
    #[must_use]
    pub(crate) fn new(index: u64) -> Self {
        let latency = Latency::new(2);
        Self { index, committed: 0, attempts: 0, aborted: 0, refused: 0, unknown: 0, latency }
    }

    /// Adds another thread's counts of the same interval.
    pub(crate) fn add(&mut self, other: &Self) {
        self.committed += other.committed;
        self.attempts += other.attempts;
        self.aborted += other.aborted;
        self.refused += other.refused;
        self.unknown += other.unknown;
        self.latency.add(&other.latency);
    }

    /// The point of the report, cut off at `end`.
    #[must_use]
    pub(crate) fn point(&self, interval: Duration, end: Duration, warmup: Duration) -> Point {
        let at = interval.saturating_mul(u32::try_from(self.index).unwrap_or(u32::MAX));
        Point {
            at,
            width: interval.min(end.saturating_sub(at)),
            is_warmup: at < warmup,
            committed: self.committed,
            attempts: self.attempts,
            aborted: self.aborted,
            refused: self.refused,
            unknown: self.unknown,
            p50_ns: self.latency.quantile_ns(0.5),
            p99_ns: self.latency.quantile_ns(0.99),
            p999_ns: self.latency.quantile_ns(0.999),
            max_ns: self.latency.max_ns(),
        }
    }
}

/// One thread's counts.
pub(crate) struct Tally {
    /// Whether the warm-up is over. During it only slices are counted.
    pub is_measuring: bool,
    /// Transactions committed so far, those of the warm-up too.
    pub ever_committed: u64,
    /// The totals.
    pub totals: Totals,
    transactions: Latency,
    attempts: Latency,
    kinds: Vec<KindTally>,
    refusals: Vec<RefusalTally>,
    attempts_per_commit: Vec<u64>,
    /// The shard of each slot.
    owner: Box<[u16]>,
    shards: Vec<Latency>,
    slots: Box<[SlotTally]>,
    slice: Slice,
}

impl Tally {
    /// A tally with nothing counted.
    #[must_use]
    pub(crate) fn new(kinds: &[String], layout: &Layout) -> Self {
        let kind = |name: &String| KindTally {
            name: name.clone(),
            committed: 0,
            declined: 0,
            given_up: 0,
            attempts: 0,
            aborted: 0,
            refused: 0,
            latency: Latency::default(),
        };
        let measured =
            if layout.names.len() > 1 { layout.names.len().min(SHARDS_MEASURED_MAX) } else { 0 };
        Self {
            is_measuring: false,
            ever_committed: 0,
            totals: Totals::default(),
            transactions: Latency::default(),
            attempts: Latency::default(),
            kinds: kinds.iter().map(kind).collect(),
            refusals: Vec::new(),
            attempts_per_commit: vec![0; ATTEMPTS_BUCKETS],
            owner: layout.owner.clone(),
            shards: (0..measured).map(|_| Latency::default()).collect(),
            slots: vec![SlotTally::default(); SLOTS as usize].into(),
            slice: Slice::new(0),
        }
    }

    /// Ends the current interval and returns its slice.
    pub(crate) fn next_slice(&mut self) -> Slice {
        let next = Slice::new(self.slice.index + 1);
        std::mem::replace(&mut self.slice, next)
    }

    /// The number of the current interval.
    #[must_use]
    pub(crate) fn slice_index(&self) -> u64 {
        self.slice.index
    }

    /// Counts an attempt that took this long.
    pub(crate) fn attempt(&mut self, of: Subject, took: Nanos) {
        self.slice.attempts += 1;
        if self.is_measuring {
            self.totals.attempts += 1;
            self.attempts.record(took);
            self.kinds[of.kind].attempts += 1;
            self.slots[of.slot.index()].attempts += 1;
        }
    }

    /// Counts an aborted attempt.
    pub(crate) fn aborted(&mut self, of: Subject) {
        self.slice.aborted += 1;
        if self.is_measuring {
            self.totals.aborted += 1;
            self.kinds[of.kind].aborted += 1;
            self.slots[of.slot.index()].aborted += 1;
        }
    }

    /// Counts a committed transaction that took this long and this many attempts.
    pub(crate) fn committed(&mut self, of: Subject, took: Nanos, attempts: u32) {
        self.slice.committed += 1;
        self.ever_committed += 1;
        self.slice.latency.record(took);
        if !self.is_measuring {
            return;
        }
        self.totals.committed += 1;
        self.transactions.record(took);
        let several = self.kinds.len() > 1;
        let kind = &mut self.kinds[of.kind];
        kind.committed += 1;
        if several {
            kind.latency.record(took);
        }
        let place = (attempts.max(1) as usize - 1).min(ATTEMPTS_BUCKETS - 1);
        self.attempts_per_commit[place] += 1;
        self.slots[of.slot.index()].committed += 1;
        if let Some(shard) = self.shards.get_mut(self.owner[of.slot.index()] as usize) {
            shard.record(took);
        }
    }

    /// Counts a transaction that declined.
    pub(crate) fn declined(&mut self, of: Subject) {
        if self.is_measuring {
            self.totals.declined += 1;
            self.kinds[of.kind].declined += 1;
        }
    }

    /// Counts a transaction that was given up.
    pub(crate) fn given_up(&mut self, of: Subject) {
        if self.is_measuring {
            self.totals.given_up += u64::from(!of.crosses);
            self.kinds[of.kind].given_up += 1;
        }
    }

    /// Counts a transaction of unknown outcome.
    pub(crate) fn unknown(&mut self) {
        self.slice.unknown += 1;
        self.totals.unknown += u64::from(self.is_measuring);
    }

    /// Counts an attempt that an error reply refused.
    pub(crate) fn refused(&mut self, of: Subject, error: &[u8]) {
        self.slice.refused += 1;
        if self.is_measuring {
            self.totals.refused += 1;
            self.kinds[of.kind].refused += 1;
            self.count_error(error, of.crosses);
        }
    }

    /// Counts a redirection that was followed.
    pub(crate) fn redirected(&mut self, error: &[u8]) {
        if self.is_measuring {
            self.totals.redirected += 1;
            self.count_error(error, false);
        }
    }

    fn count_error(&mut self, error: &[u8], expected: bool) {
        let word = error.split(|&byte| byte == b' ').next().unwrap_or_default();
        let word = &word[..word.len().min(REFUSAL_LEN_MAX)];
        let known = self.refusals.iter().position(|refusal| refusal.kind == word);
        let at = match known {
            Some(at) => at,
            None => {
                let is_full = self.refusals.len() >= REFUSALS_MAX - 1;
                let kind = if is_full { b"other".to_vec() } else { word.to_vec() };
                let other = self.refusals.iter().position(|refusal| refusal.kind == kind);
                other.unwrap_or_else(|| {
                    let (count, example) = (0, shown(error));
                    self.refusals.push(RefusalTally { kind, count, expected: true, example });
                    self.refusals.len() - 1
                })
            }
        };
        self.refusals[at].count += 1;
        self.refusals[at].expected &= expected;
    }

    /// Adds another thread's counts.
    pub(crate) fn add(&mut self, other: &Self) {
        self.ever_committed += other.ever_committed;
        let (mine, theirs) = (&mut self.totals, &other.totals);
        for (sum, more) in [
            (&mut mine.committed, theirs.committed),
            (&mut mine.declined, theirs.declined),
            (&mut mine.given_up, theirs.given_up),
            (&mut mine.unknown, theirs.unknown),
            (&mut mine.attempts, theirs.attempts),
            (&mut mine.aborted, theirs.aborted),
            (&mut mine.refused, theirs.refused),
            (&mut mine.redirected, theirs.redirected),
            (&mut mine.reconnects, theirs.reconnects),
            (&mut mine.malformed, theirs.malformed),
            (&mut mine.commands, theirs.commands),
            (&mut mine.bytes_sent, theirs.bytes_sent),
            (&mut mine.bytes_received, theirs.bytes_received),
            (&mut mine.never_started, theirs.never_started),
        ] {
            *sum += more;
        }
        self.transactions.add(&other.transactions);
        self.attempts.add(&other.attempts);
        for (mine, theirs) in self.kinds.iter_mut().zip(&other.kinds) {
            mine.committed += theirs.committed;
            mine.declined += theirs.declined;
            mine.given_up += theirs.given_up;
            mine.attempts += theirs.attempts;
            mine.aborted += theirs.aborted;
            mine.refused += theirs.refused;
            mine.latency.add(&theirs.latency);
        }
        for theirs in &other.refusals {
            match self.refusals.iter_mut().find(|mine| mine.kind == theirs.kind) {
                Some(mine) => {
                    mine.count += theirs.count;
                    mine.expected &= theirs.expected;
                }
                None => self.refusals.push(theirs.clone()),
            }
        }
        let counts = self.attempts_per_commit.iter_mut().zip(&other.attempts_per_commit);
        counts.for_each(|(mine, theirs)| *mine += theirs);
        self.shards.iter_mut().zip(&other.shards).for_each(|(mine, theirs)| mine.add(theirs));
        for (mine, theirs) in self.slots.iter_mut().zip(&other.slots) {
            mine.committed += theirs.committed;
            mine.attempts += theirs.attempts;
            mine.aborted += theirs.aborted;
        }
    }

    /// The counted part of a report.
    #[must_use]
    pub(crate) fn into_summary(mut self, layout: &Layout) -> TallySummary {
        if let [only] = &mut self.kinds[..] {
            only.latency = self.transactions.clone();
        }
        let mut refusals: Vec<Refusal> = self
            .refusals
            .into_iter()
            .map(|refusal| Refusal {
                kind: shown(&refusal.kind),
                count: refusal.count,
                expected: refusal.expected,
                example: refusal.example,
            })
            .collect();
        refusals.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.kind.cmp(&b.kind)));
        let committed: u64 = self.slots.iter().map(|slot| slot.committed).sum();
        let mut shards: Vec<ShardShare> = layout
            .names
            .iter()
            .map(|name| ShardShare {
                name: name.clone(),
                slots: 0,
                committed: 0,
                attempts: 0,
                aborted: 0,
                share: 0.0,
                fair: 0.0,
                latency: Latency::default(),
            })
            .collect();
        let mut slots = Vec::new();
        for (number, slot) in self.slots.iter().enumerate() {
            let shard = layout.owner[number];
            let of = &mut shards[shard as usize];
            of.slots += 1;
            of.committed += slot.committed;
            of.attempts += slot.attempts;
            of.aborted += slot.aborted;
            if slot.attempts > 0 {
                slots.push(SlotShare {
                    slot: number as u16,
                    shard,
                    committed: slot.committed,
                    attempts: slot.attempts,
                    aborted: slot.aborted,
                    share: ratio(slot.committed, committed),
                });
            }
        }
        let is_one = shards.len() == 1;
        for (at, shard) in shards.iter_mut().enumerate() {
            shard.share = ratio(shard.committed, committed);
            shard.fair = f64::from(shard.slots) / f64::from(SLOTS);
            if is_one {
                shard.latency = self.transactions.clone();
            } else if let Some(latency) = self.shards.get(at) {
                shard.latency = latency.clone();
            }
        }
        let last = self.attempts_per_commit.iter().rposition(|&count| count > 0);
        self.attempts_per_commit.truncate(last.map_or(0, |last| last + 1));
        TallySummary {
            totals: self.totals,
            transaction_latency: self.transactions,
            attempt_latency: self.attempts,
            kinds: self.kinds,
            refusals,
            attempts_per_commit: self.attempts_per_commit,
            shards,
            slots,
        }
    }
}

/// The counted part of a report.
pub(crate) struct TallySummary {
    pub(super) totals: Totals,
    pub(super) transaction_latency: Latency,
    pub(super) attempt_latency: Latency,
    pub(super) kinds: Vec<KindTally>,
    pub(super) refusals: Vec<Refusal>,
    pub(super) attempts_per_commit: Vec<u64>,
    pub(super) shards: Vec<ShardShare>,
    pub(super) slots: Vec<SlotShare>,
}
