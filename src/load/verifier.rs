//! The checks and violations of invariants, and the last transactions on each group, which are
//! named as evidence. Shared by all client threads: a lock here is held for nanoseconds and, except
//! for records of the same few groups, is not contended.
//!
//! Only transactions that changed data, or may have, are recorded. Records are bounded: the last
//! [`RECORDS_MAX`] of each bucket of groups, in [`GROUP_BUCKETS_MAX`] buckets.

use super::report::{EVIDENCE_MAX, EVIDENCE_TRACES_MAX, Evidence, Invariant, Trace, Verdict};
use super::script::{Moment, Nanos};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Most transactions recorded for each bucket of groups.
pub(crate) const RECORDS_MAX: usize = 256;
/// Most buckets that the groups are distributed over.
pub(crate) const GROUP_BUCKETS_MAX: usize = 256;
/// Most keys whose values one piece of evidence shows.
pub(crate) const VALUES_SHOWN_MAX: usize = 64;

/// A key of a group, as its workload numbers them, and a value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct KeyValue {
    /// The key.
    pub key: u32,
    /// The value read or written.
    pub value: i64,
}

/// Up to four keys with their values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct KeyValues {
    len: u8,
    facts: [KeyValue; 4],
}

impl KeyValues {
    /// Takes the first four; the rest are left out.
    #[must_use]
    pub(crate) fn of(facts: &[(u32, i64)]) -> Self {
        let mut all = Self::default();
        for (place, &(key, value)) in all.facts.iter_mut().zip(facts) {
            *place = KeyValue { key, value };
            all.len += 1;
        }
        all
    }

    fn iter(&self) -> impl Iterator<Item = &KeyValue> {
        self.facts[..self.len as usize].iter()
    }
}

/// A transaction that changed data, or may have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record {
    /// When its outcome was known, and which transaction it was.
    pub moment: Moment,
    /// The group of its keys.
    pub group: u64,
    /// Its kind, as an index into the workload's kinds.
    pub kind: usize,
    /// What it read.
    pub read: KeyValues,
    /// What it wrote.
    pub wrote: KeyValues,
    /// Whether its outcome is unknown.
    pub is_unknown: bool,
}

/// The names of the keys and transactions that a workload numbers.
pub(crate) trait KeyNames: Send + Sync {
    /// The name of a key of a group.
    fn key(&self, group: u64, key: u32) -> String;
    /// The name of a kind of transaction.
    fn kind(&self, kind: usize) -> String;
}

#[derive(Debug, Default)]
struct InvariantState {
    name: String,
    checks_during: u64,
    checks_after: u64,
    coverage: Option<String>,
    broken: u64,
    evidence: Vec<Evidence>,
    undecided: Option<String>,
}

/// Collects the checks and violations of a run.
pub(crate) struct Verifier {
    invariants: Mutex<Vec<InvariantState>>,
    buckets: Box<[Mutex<VecDeque<Record>>]>,
    names: Box<dyn KeyNames>,
    broken: AtomicU64,
}

impl Verifier {
    /// Makes a verifier for these invariants.
    #[must_use]
    pub(crate) fn new(invariants: Vec<String>, groups: usize, names: Box<dyn KeyNames>) -> Self {
        let state = |name| InvariantState { name, ..InvariantState::default() };
        Self {
            invariants: Mutex::new(invariants.into_iter().map(state).collect()),
            buckets: (0..groups.clamp(1, GROUP_BUCKETS_MAX)).map(|_| Mutex::default()).collect(),
            names,
            broken: AtomicU64::new(0),
        }
    }

    /// The number of invariants.
    #[must_use]
    pub(crate) fn invariant_count(&self) -> usize {
        self.invariants.lock().len()
    }

    /// The number of violations found.
    #[must_use]
    pub(crate) fn broken(&self) -> u64 {
        self.broken.load(Ordering::Relaxed)
    }

    /// Records a transaction.
    pub(crate) fn record(&self, record: Record) {
        let mut records = self.bucket(record.group).lock();
        if records.len() == RECORDS_MAX {
            records.pop_front();
        }
        records.push_back(record);
    }

    fn bucket(&self, group: u64) -> &Mutex<VecDeque<Record>> {
        &self.buckets[(group % self.buckets.len() as u64) as usize]
    }

    /// Counts `times` checks of an invariant during the run.
    pub(crate) fn checked_during(&self, invariant: usize, times: u64) {
        self.invariants.lock()[invariant].checks_during += times;
    }

    /// Counts checks of an invariant after the run, one for each of `things`.
    pub(crate) fn checked_after(&self, invariant: usize, things: u64) {
        self.invariants.lock()[invariant].checks_after += things;
    }

    /// Notes what the checks of an invariant cover if that is not everything.
    pub(crate) fn set_coverage(&self, invariant: usize, coverage: String) {
        self.invariants.lock()[invariant].coverage = Some(coverage);
    }

    /// Marks every invariant as undecided; one that is broken stays broken.
    pub(crate) fn mark_undecided(&self, why: &str) {
        for state in &mut *self.invariants.lock() {
            state.undecided.get_or_insert_with(|| why.to_owned());
        }
    }

    /// Marks one invariant as undecided, unless it is broken.
    pub(crate) fn mark_undecided_in(&self, invariant: usize, why: impl FnOnce() -> String) {
        self.invariants.lock()[invariant].undecided.get_or_insert_with(why);
    }

    /// Takes back all violations: with this other cause they prove nothing about the target. The
    /// invariants concerned are undecided.
    pub(crate) fn excuse(&self, why: &str) {
        for state in &mut *self.invariants.lock() {
            if state.broken > 0 {
                let times = std::mem::take(&mut state.broken);
                state.evidence.clear();
                state.undecided = Some(format!("seen broken {times} times, but {why}"));
            }
        }
        self.broken.store(0, Ordering::Relaxed);
    }

    /// Records a violation in `group`. `keys` are the keys involved, as the workload numbers them,
    /// and their values; no keys means the whole group.
    pub(crate) fn record_violation(
        &self,
        invariant: usize,
        at: Option<Nanos>,
        what: impl FnOnce() -> String,
        group: u64,
        keys: &[(u32, String)],
    ) {
        let shown = keys.iter().take(VALUES_SHOWN_MAX);
        let values =
            || shown.map(|(key, value)| (self.names.key(group, *key), value.clone())).collect();
        let touches = |record: &Record| {
            let both = || record.read.iter().chain(record.wrote.iter());
            record.group == group
                && (keys.is_empty()
                    || both().any(|fact| keys.iter().any(|(key, _)| *key == fact.key)))
        };
        self.record_violation_with(invariant, at, what, values, &[group], touches);
    }

    /// Records a violation that involves several groups.
    pub(crate) fn record_violation_in(
        &self,
        invariant: usize,
        at: Option<Nanos>,
        what: impl FnOnce() -> String,
        groups: &[u64],
        values: Vec<(String, String)>,
    ) {
        self.record_violation_with(
            invariant,
            at,
            what,
            || values,
            groups,
            |record| groups.contains(&record.group),
        );
    }

    fn record_violation_with(
        &self,
        invariant: usize,
        at: Option<Nanos>,
        what: impl FnOnce() -> String,
        values: impl FnOnce() -> Vec<(String, String)>,
        groups: &[u64],
        touches: impl Fn(&Record) -> bool,
    ) {
        self.broken.fetch_add(1, Ordering::Relaxed);
        let mut invariants = self.invariants.lock();
        let state = &mut invariants[invariant];
        state.broken += 1;
        if state.evidence.len() >= EVIDENCE_MAX {
            return;
        }
        let mut records: Vec<Record> = Vec::new();
        for &group in groups {
            records.extend(self.bucket(group).lock().iter().filter(|record| touches(record)));
        }
        records.sort_by_key(|record| record.moment.at);
        let first = records.len().saturating_sub(EVIDENCE_TRACES_MAX);
        state.evidence.push(Evidence {
            at: at.map(Duration::from_nanos),
            what: what(),
            values: values(),
            transactions: records[first..].iter().map(|record| self.trace(record)).collect(),
        });
    }

    fn trace(&self, record: &Record) -> Trace {
        let named = |values: &KeyValues| {
            let name =
                |fact: &KeyValue| (self.names.key(record.group, fact.key), fact.value.to_string());
            values.iter().map(name).collect()
        };
        Trace {
            at: Duration::from_nanos(record.moment.at),
            connection: record.moment.connection,
            number: record.moment.number,
            kind: self.names.kind(record.kind),
            read: named(&record.read),
            wrote: named(&record.wrote),
            outcome: if record.is_unknown { "unknown" } else { "committed" }.to_owned(),
        }
    }

    /// Takes the results.
    #[must_use]
    pub(crate) fn verdicts(&self) -> Vec<Invariant> {
        let of = |state: InvariantState| Invariant {
            verdict: match state.undecided {
                _ if state.broken > 0 => {
                    Verdict::Broken { times: state.broken, evidence: state.evidence }
                }
                Some(why) => Verdict::Undecided { why },
                None if state.checks_during + state.checks_after == 0 => {
                    Verdict::Undecided { why: "it was never checked".to_owned() }
                }
                None => Verdict::Held,
            },
            name: state.name,
            checks_during: state.checks_during,
            checks_after: state.checks_after,
            coverage: state.coverage,
        };
        std::mem::take(&mut *self.invariants.lock()).into_iter().map(of).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Numbers;

    impl KeyNames for Numbers {
        fn key(&self, group: u64, key: u32) -> String {
            format!("{group}/{key}")
        }

        fn kind(&self, kind: usize) -> String {
            kind.to_string()
        }
    }

    fn verifier() -> Verifier {
        Verifier::new(vec!["a".to_owned(), "b".to_owned()], 1, Box::new(Numbers))
    }

    fn whys(verifier: &Verifier) -> Vec<String> {
        let why = |invariant: Invariant| match invariant.verdict {
            Verdict::Held => "held".to_owned(),
            Verdict::Undecided { why } => why,
            Verdict::Broken { times, .. } => format!("broken {times}"),
        };
        verifier.verdicts().into_iter().map(why).collect()
    }

    #[test]
    fn what_was_not_checked_is_undecided() {
        let unchecked = verifier();
        unchecked.checked_during(0, 1);
        assert_eq!(whys(&unchecked), ["held", "it was never checked"]);
        let lost = verifier();
        lost.checked_after(0, 1);
        lost.record_violation(1, None, || "wrong".to_owned(), 0, &[]);
        lost.mark_undecided("lost");
        assert_eq!(whys(&lost), ["lost", "broken 1"]);
        let odd = verifier();
        odd.checked_after(0, 1);
        odd.checked_after(1, 1);
        odd.mark_undecided_in(1, || "odd".to_owned());
        assert_eq!(whys(&odd), ["held", "odd"]);
    }

    #[test]
    fn violations_with_another_cause_are_taken_back() {
        let excused = verifier();
        excused.checked_after(0, 1);
        excused.record_violation(1, None, || "wrong".to_owned(), 0, &[]);
        excused.record_violation(1, None, || "wrong".to_owned(), 0, &[]);
        excused.excuse("the keys were evicted");
        assert_eq!(excused.broken(), 0);
        assert_eq!(whys(&excused), ["held", "seen broken 2 times, but the keys were evicted"]);
    }
}
