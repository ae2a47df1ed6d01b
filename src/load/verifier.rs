//! What was checked and what was found wrong, and the notes from which the transactions involved in
//! a break are told. Shared by all client threads; a lock here is held for nanoseconds and, but for
//! notes of the same few groups, by one thread at a time.
//!
//! Only transactions that changed something, or may have, are noted. Notes are bounded: the last
//! [`NOTES_MAX`] of each bundle of groups, [`BUNDLES_MAX`] bundles.

use super::report::{EVIDENCE_MAX, EVIDENCE_TRACES_MAX, Evidence, Invariant, Trace, Verdict};
use super::script::{Moment, Nanos};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Transactions remembered for each bundle of groups.
pub const NOTES_MAX: usize = 256;
/// Bundles that the groups are dealt out to.
pub const BUNDLES_MAX: usize = 256;
/// Keys whose values one piece of evidence shows.
pub const VALUES_SHOWN_MAX: usize = 64;

/// A key of a group, as its workload numbers them, and a value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fact {
    /// The key.
    pub key: u32,
    /// The value read or written.
    pub value: i64,
}

/// Up to four facts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    len: u8,
    facts: [Fact; 4],
}

impl Facts {
    /// These; those past the fourth are left out.
    #[must_use]
    pub fn of(facts: &[(u32, i64)]) -> Self {
        let mut all = Self::default();
        for (place, &(key, value)) in all.facts.iter_mut().zip(facts) {
            *place = Fact { key, value };
            all.len += 1;
        }
        all
    }

    fn iter(&self) -> impl Iterator<Item = &Fact> {
        self.facts[..self.len as usize].iter()
    }
}

/// A transaction that changed something, or may have.
#[derive(Clone, Copy, Debug)]
pub struct Note {
    /// When its outcome was known, and whose it was.
    pub moment: Moment,
    /// The group of its keys.
    pub group: u64,
    /// Its kind, as an index into the workload's kinds.
    pub kind: usize,
    /// What it read.
    pub read: Facts,
    /// What it wrote.
    pub wrote: Facts,
    /// Whether it is unknown if it was done.
    pub unknown: bool,
}

/// How a workload names what it numbers.
pub trait Names: Send + Sync {
    /// The name of a key of a group.
    fn key(&self, group: u64, key: u32) -> String;
    /// The name of a kind of transaction.
    fn kind(&self, kind: usize) -> String;
}

#[derive(Debug, Default)]
struct Case {
    name: String,
    checks_during: u64,
    checks_after: u64,
    coverage: Option<String>,
    broken: u64,
    evidence: Vec<Evidence>,
    undecided: Option<String>,
}

/// Collects what is checked and what is broken.
pub struct Referee {
    cases: Mutex<Vec<Case>>,
    bundles: Box<[Mutex<VecDeque<Note>>]>,
    names: Box<dyn Names>,
    broken: AtomicU64,
}

impl Referee {
    /// For these invariants.
    #[must_use]
    pub fn new(invariants: Vec<String>, groups: usize, names: Box<dyn Names>) -> Self {
        let case = |name| Case { name, ..Case::default() };
        Self {
            cases: Mutex::new(invariants.into_iter().map(case).collect()),
            bundles: (0..groups.clamp(1, BUNDLES_MAX)).map(|_| Mutex::default()).collect(),
            names,
            broken: AtomicU64::new(0),
        }
    }

    /// How many invariants there are.
    #[must_use]
    pub fn invariants(&self) -> usize {
        self.cases.lock().len()
    }

    /// How many breaks have been seen.
    #[must_use]
    pub fn broken(&self) -> u64 {
        self.broken.load(Ordering::Relaxed)
    }

    /// Remembers a transaction.
    pub fn note(&self, note: Note) {
        let mut notes = self.bundle(note.group).lock();
        if notes.len() == NOTES_MAX {
            notes.pop_front();
        }
        notes.push_back(note);
    }

    fn bundle(&self, group: u64) -> &Mutex<VecDeque<Note>> {
        &self.bundles[(group % self.bundles.len() as u64) as usize]
    }

    /// An invariant was checked so many times while the load ran.
    pub fn checked_during(&self, invariant: usize, times: u64) {
        self.cases.lock()[invariant].checks_during += times;
    }

    /// An invariant was checked on so many things after the run.
    pub fn checked_after(&self, invariant: usize, things: u64) {
        self.cases.lock()[invariant].checks_after += things;
    }

    /// An invariant's checks do not cover everything.
    pub fn covers(&self, invariant: usize, coverage: String) {
        self.cases.lock()[invariant].coverage = Some(coverage);
    }

    /// All invariants that are not broken cannot be decided.
    pub fn undecided(&self, why: &str) {
        for case in &mut *self.cases.lock() {
            case.undecided.get_or_insert_with(|| why.to_owned());
        }
    }

    /// An invariant is broken in `group`. `keys` names the keys involved as the workload numbers
    /// them; none stands for the whole group.
    pub fn break_in(
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
        let touches = |note: &Note| {
            let both = || note.read.iter().chain(note.wrote.iter());
            note.group == group
                && (keys.is_empty()
                    || both().any(|fact| keys.iter().any(|(key, _)| *key == fact.key)))
        };
        self.break_with(invariant, at, what, values, &[group], touches);
    }

    /// An invariant is broken over several groups.
    pub fn break_over(
        &self,
        invariant: usize,
        at: Option<Nanos>,
        what: impl FnOnce() -> String,
        groups: &[u64],
        values: Vec<(String, String)>,
    ) {
        self.break_with(
            invariant,
            at,
            what,
            || values,
            groups,
            |note| groups.contains(&note.group),
        );
    }

    fn break_with(
        &self,
        invariant: usize,
        at: Option<Nanos>,
        what: impl FnOnce() -> String,
        values: impl FnOnce() -> Vec<(String, String)>,
        groups: &[u64],
        touches: impl Fn(&Note) -> bool,
    ) {
        self.broken.fetch_add(1, Ordering::Relaxed);
        let mut cases = self.cases.lock();
        let case = &mut cases[invariant];
        case.broken += 1;
        if case.evidence.len() >= EVIDENCE_MAX {
            return;
        }
        let mut notes: Vec<Note> = Vec::new();
        for &group in groups {
            notes.extend(self.bundle(group).lock().iter().filter(|note| touches(note)));
        }
        notes.sort_by_key(|note| note.moment.at);
        let first = notes.len().saturating_sub(EVIDENCE_TRACES_MAX);
        case.evidence.push(Evidence {
            at: at.map(Duration::from_nanos),
            what: what(),
            values: values(),
            transactions: notes[first..].iter().map(|note| self.trace(note)).collect(),
        });
    }

    fn trace(&self, note: &Note) -> Trace {
        let told = |facts: &Facts| {
            let name = |fact: &Fact| (self.names.key(note.group, fact.key), fact.value.to_string());
            facts.iter().map(name).collect()
        };
        Trace {
            at: Duration::from_nanos(note.moment.at),
            connection: note.moment.connection,
            number: note.moment.number,
            kind: self.names.kind(note.kind),
            read: told(&note.read),
            wrote: told(&note.wrote),
            outcome: if note.unknown { "unknown" } else { "committed" }.to_owned(),
        }
    }

    /// The verdicts.
    #[must_use]
    pub fn verdicts(&self) -> Vec<Invariant> {
        let of = |case: Case| Invariant {
            verdict: match case.undecided {
                _ if case.broken > 0 => {
                    Verdict::Broken { times: case.broken, evidence: case.evidence }
                }
                Some(why) => Verdict::Undecided { why },
                None => Verdict::Held,
            },
            name: case.name,
            checks_during: case.checks_during,
            checks_after: case.checks_after,
            coverage: case.coverage,
        };
        std::mem::take(&mut *self.cases.lock()).into_iter().map(of).collect()
    }
}
