//! Records for the proof what happens while the server runs: violations, keys that are used together,
//! transactions that lost.
//!
//! ```text
//! where it happens ─ Note ─► bounded queue ─► settle: at the end of a turn, by one thread at a time ─► Ledger
//!   (a shard may be held)      full: counted   settle_all: SLOTWAY VIOLATIONS … ──────────────────────┘
//! ```
//!
//! Nothing waits where a shard is held: a note is put into the queue or dropped, and dropped notes are
//! counted. To keep the queue from filling up, a connection that ends its turn while the queue is half
//! full enters the notes itself, and waits for its turn to do so, away from the runtime's workers.
//!
//! Requests that break no rule are sampled: of the requests, and of the transactions, the first
//! [`ALL_OF`] are noted, then one in [`ONE_IN`], which counts as that many.

use super::Counter;
use crate::keyspace::Millis;
use crate::ledger::conflict::{ATTEMPTS, LostExec};
use crate::ledger::lru::LruTable;
use crate::ledger::violation::{Breach, Fate, TEXT_CHARS_MAX};
use crate::ledger::{FromArgument, KeyList, Ledger, Origin, Rule, Spot, pattern};
use crate::state::clients::{Client, Clients};
use parking_lot::{Mutex, MutexGuard};
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Notes in the queue; further ones are dropped.
pub(crate) const NOTES_MAX: usize = 4096;
/// Samples in their queue; further ones are left out.
pub(crate) const SAMPLES_MAX: usize = 512;
/// So many requests are all noted.
pub(crate) const ALL_OF: u64 = 1000;
/// After that one request in so many is. A sampled one costs some 2,500 instructions, which is five
/// for each.
pub(crate) const ONE_IN: u64 = 512;
/// Clients whose names are kept because they tripped guards.
pub(crate) const WINNERS_MAX: usize = 256;
/// Names of clients that have a running test of their own.
pub(crate) const NAMED_TESTS_MAX: usize = 1024;
/// Notes that are entered at the end of one turn.
const SETTLED_MAX: usize = 256;

/// Something to be entered.
#[derive(Debug)]
pub struct Note {
    /// The client it is about; `None` if the client has left already.
    pub client: Option<Arc<Client>>,
    /// The keys concerned.
    pub keys: KeyList,
    /// What happened.
    pub about: About,
}

/// What a note is about.
#[derive(Debug)]
pub enum About {
    /// A rule was broken.
    Breach {
        /// The rule.
        rule: Rule,
        /// The command, or `multi:` with those of the transaction.
        command: String,
        /// The command's place in its transaction, from 1.
        place: Option<usize>,
        /// Of a key that a script was not given: the argument that it was made from.
        from: Option<FromArgument>,
        /// Whether it was refused.
        fate: Fate,
        /// The number of its unit; `None` for a unit by itself.
        unit: Option<NonZeroU64>,
    },
    /// A further command of a transaction that has been noted: these keys are used together, too.
    More,
    /// A sampled request.
    Request {
        /// How many it counts as.
        of: u64,
        /// Its keys are in one slot.
        together: bool,
    },
    /// A sampled transaction that is run.
    Transaction {
        /// How many it counts as.
        of: u64,
    },
    /// The name of a command that servers have and Slotway has not.
    Refused(Box<[u8]>),
    /// The name of a command that no server in the tables has.
    Unknown(Box<[u8]>),
    /// The client has tripped a guard: its name is kept for the conflict that follows.
    Winner,
    /// An EXEC answered nil. The key is the one that was changed.
    Lost {
        /// The command that changed it; empty if it has expired, or moved.
        command: String,
        /// The id of the client that sent that, or 0.
        winner: u64,
        /// How long the key had been watched, in milliseconds.
        age_ms: Option<u64>,
    },
}

/// The queues of notes, and the ledger that they are entered into.
#[derive(Debug)]
pub struct Recorder {
    notes: SyncSender<Note>,
    samples: SyncSender<Note>,
    /// The notes and samples in the queues: raised before one is sent, lowered after it was received.
    waiting: AtomicUsize,
    dropped: Counter,
    /// Requests and transactions of which a sample has been taken.
    requests: AtomicU64,
    transactions: AtomicU64,
    /// Units that have a number.
    units: AtomicU64,
    /// Commands that were divided by slot.
    divided: Counter,
    /// A part of the ledger has been reset.
    was_reset: AtomicBool,
    /// Commits of transactions with a WATCH, by the attempts they took.
    commits: [Counter; ATTEMPTS],
    entries: Mutex<Entries>,
}

/// The receiving side.
#[derive(Debug)]
struct Entries {
    notes: Receiver<Note>,
    samples: Receiver<Note>,
    ledger: Ledger,
    /// The clients that have tripped guards, by their ids.
    winners: LruTable<u64, Origin>,
    tests: RunningTests,
}

/// The tests that are running (SLOTWAY TEST).
#[derive(Debug)]
struct RunningTests {
    /// Those of clients with a name, by this name.
    named: LruTable<Box<[u8]>, String>,
    /// That of all others, or nothing.
    other: String,
}

impl RunningTests {
    /// Returns the test of a client with this name, or without one.
    fn of(&self, client_name: &[u8]) -> &str {
        self.named.get(client_name).unwrap_or(&self.other)
    }
}

impl Default for Recorder {
    fn default() -> Self {
        let (notes, notes_out) = sync_channel(NOTES_MAX);
        let (samples, samples_out) = sync_channel(SAMPLES_MAX);
        let ledger = Ledger { is_sampled: true, ..Ledger::default() };
        Self {
            notes,
            samples,
            waiting: AtomicUsize::new(0),
            dropped: Counter::default(),
            requests: AtomicU64::new(0),
            transactions: AtomicU64::new(0),
            units: AtomicU64::new(0),
            divided: Counter::default(),
            was_reset: AtomicBool::new(false),
            commits: Default::default(),
            entries: Mutex::new(Entries {
                notes: notes_out,
                samples: samples_out,
                ledger,
                winners: LruTable::new(WINNERS_MAX),
                tests: RunningTests { named: LruTable::new(NAMED_TESTS_MAX), other: String::new() },
            }),
        }
    }
}

/// How full the queues are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pressure {
    /// Empty.
    None,
    /// Not half full.
    Some,
    /// Half full or more: notes may soon be dropped.
    Much,
}

/// A part of the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The violations.
    Violations,
    /// The conflicts.
    Conflicts,
    /// The groups and the statistics of keys.
    Groups,
}

impl Recorder {
    /// Queues a note, or counts it as dropped if the queue is full. Never waits.
    #[cold]
    pub fn take(&self, note: Note) {
        let is_sample = matches!(note.about, About::Request { .. } | About::Transaction { .. });
        let queue = if is_sample { &self.samples } else { &self.notes };
        self.waiting.fetch_add(1, Ordering::Relaxed);
        if queue.try_send(note).is_err() {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            self.dropped.add(u64::from(!is_sample));
        }
    }

    /// Returns how full the queues are.
    #[must_use]
    #[inline]
    pub fn pressure(&self) -> Pressure {
        match self.waiting.load(Ordering::Relaxed) {
            0 => Pressure::None,
            waiting if waiting < (NOTES_MAX + SAMPLES_MAX) / 2 => Pressure::Some,
            _ => Pressure::Much,
        }
    }

    /// Counts a transaction that is run. Returns how many it counts as if the sample takes it.
    #[inline]
    pub fn transaction(&self) -> Option<u64> {
        of_how_many(self.transactions.fetch_add(1, Ordering::Relaxed))
    }

    /// Returns a number for a unit that may break several rules, to count it once.
    #[must_use]
    pub fn unit(&self) -> NonZeroU64 {
        let before = self.units.fetch_add(1, Ordering::Relaxed);
        NonZeroU64::MIN.saturating_add(before)
    }

    /// Counts `count` requests. Returns the number of the first.
    #[inline]
    pub fn requests(&self, count: u64) -> u64 {
        self.requests.fetch_add(count, Ordering::Relaxed)
    }

    /// Counts a command that is divided by slot.
    pub fn divided(&self) {
        self.divided.add(1);
    }

    /// Counts the commit of a transaction with a WATCH that took `attempts` attempts.
    pub fn committed(&self, attempts: u64) {
        let class = usize::try_from(attempts.max(1) - 1).unwrap_or(usize::MAX);
        self.commits[class.min(ATTEMPTS - 1)].add(1);
    }

    /// Enters some of the queued notes, unless another thread does.
    pub fn settle(&self, clients: &Clients, now: Millis) {
        // A note that comes after the other thread has looked is entered at the end of the next turn.
        if let Some(mut entries) = self.entries.try_lock() {
            let entered = entries.enter_queued(SETTLED_MAX, clients, now);
            self.waiting.fetch_sub(entered, Ordering::Relaxed);
        }
    }

    /// Enters all queued notes; waits for another thread that does so, which blocks this one.
    pub fn settle_all(&self, clients: &Clients, now: Millis) {
        drop(self.up_to_date(clients, now));
    }

    fn up_to_date(&self, clients: &Clients, now: Millis) -> MutexGuard<'_, Entries> {
        let mut entries = self.entries.lock();
        // No more than the queues hold: others add notes meanwhile.
        let entered = entries.enter_queued(NOTES_MAX + SAMPLES_MAX, clients, now);
        self.waiting.fetch_sub(entered, Ordering::Relaxed);
        entries
    }

    /// Returns the ledger with all notes so far.
    #[must_use]
    pub fn ledger(&self, clients: &Clients, now: Millis) -> Ledger {
        let mut ledger = self.up_to_date(clients, now).ledger.clone();
        ledger.dropped = self.dropped.get();
        ledger.counts.commands = self.requests.load(Ordering::Relaxed);
        ledger.counts.transactions = self.transactions.load(Ordering::Relaxed);
        ledger.counts.divided = self.divided.get();
        ledger.was_reset = self.was_reset.load(Ordering::Relaxed);
        for (into, commits) in ledger.conflicts.commits_by_attempts.iter_mut().zip(&self.commits) {
            *into = commits.get();
        }
        ledger
    }

    /// Forgets a part of the ledger.
    pub fn reset(&self, part: Part, clients: &Clients, now: Millis) {
        self.was_reset.store(true, Ordering::Relaxed);
        let mut entries = self.up_to_date(clients, now);
        let ledger = &mut entries.ledger;
        match part {
            Part::Violations => {
                ledger.violations = Default::default();
                ledger.refused = Default::default();
                ledger.unknown = Default::default();
                self.divided.reset();
            }
            Part::Conflicts => {
                ledger.conflicts = Default::default();
                self.commits.iter().for_each(Counter::reset);
            }
            Part::Groups => {
                ledger.key_groups = Default::default();
                ledger.key_stats = Default::default();
                // The sample begins anew, too.
                self.requests.store(0, Ordering::Relaxed);
                self.transactions.store(0, Ordering::Relaxed);
            }
        }
    }

    /// Sets the test that is running, to which everything noted from now on is attributed: of the
    /// clients with this name, or, if it is empty, of all for whose name no test is set. An empty
    /// `test` for none.
    pub fn begin_test(&self, client_name: &[u8], test: &[u8], clients: &Clients, now: Millis) {
        let tests = &mut self.up_to_date(clients, now).tests;
        let shown = pattern::shown(test, TEXT_CHARS_MAX);
        if client_name.is_empty() {
            tests.other = shown;
        } else if test.is_empty() {
            tests.named.remove(client_name);
        } else {
            *tests.named.row(client_name, || client_name.into(), String::new) = shown;
        }
    }
}

/// Returns how many the request with this `number`, counted from 0, counts as, if the sample takes it.
#[must_use]
#[inline]
pub(crate) fn of_how_many(number: u64) -> Option<u64> {
    match number {
        _ if number < ALL_OF => Some(1),
        _ if number == picked(number / ONE_IN) => Some(ONE_IN),
        _ => None,
    }
}

/// Whether the sample takes any of `count` numbers from `first` on.
#[must_use]
#[inline]
pub(crate) fn takes_any(first: u64, count: u64) -> bool {
    let end = first + count;
    let in_block = |block| (first..end).contains(&picked(block));
    first < ALL_OF || (first / ONE_IN..=end / ONE_IN).any(in_block)
}

/// Returns which number of a block is taken: a pseudo-random one, because traffic may be periodic.
fn picked(block: u64) -> u64 {
    const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;
    block * ONE_IN + (block.wrapping_mul(GOLDEN) >> 32) % ONE_IN
}

impl Entries {
    /// Enters at most `notes_max` notes, samples last. Returns how many there were.
    fn enter_queued(&mut self, notes_max: usize, clients: &Clients, now: Millis) -> usize {
        for entered in 0..notes_max {
            let next = self.notes.try_recv().or_else(|_| self.samples.try_recv());
            let Ok(note) = next else { return entered };
            self.enter(&note, clients, now);
        }
        notes_max
    }

    fn enter(&mut self, note: &Note, clients: &Clients, now: Millis) {
        let keys: Vec<&[u8]> = note.keys.iter().collect();
        let at_ms = u64::try_from(now).ok();
        if let About::Breach { rule, command, place, from, fate, unit } = &note.about {
            let origin = origin(note.client.as_deref(), &self.tests);
            return self.ledger.enter_together(&Breach {
                rule: *rule,
                command,
                keys: &keys,
                keys_hidden: note.keys.hidden(),
                place: *place,
                from: *from,
                origin: &origin,
                at_ms,
                spot: Spot::Live,
                fate: *fate,
                unit: unit.map(NonZeroU64::get),
            });
        }
        let Ledger { conflicts, key_groups, key_stats, refused, unknown, .. } = &mut self.ledger;
        match &note.about {
            About::Breach { .. } => {}
            About::More => key_groups.enter(&keys),
            About::Refused(name) => refused.enter(name),
            About::Unknown(name) => unknown.enter(name),
            About::Request { of, together: share_a_slot } => {
                keys.iter().for_each(|key| key_stats.used_times(key, *of));
                if *share_a_slot {
                    key_groups.enter_times(&keys, *of);
                }
            }
            About::Transaction { of } => key_groups.enter_times(&keys, *of),
            About::Winner => {
                if let Some(client) = &note.client {
                    let origin = origin(Some(client), &self.tests);
                    *self.winners.row(&client.id, || client.id, Origin::default) = origin;
                }
            }
            About::Lost { command, winner, age_ms } => {
                // This note overtook the one with the winner's name; the winner is still connected then.
                let present = || origin(clients.get(*winner).as_deref(), &self.tests);
                let winner = self.winners.get(winner).cloned().unwrap_or_else(present);
                conflicts.enter(&LostExec {
                    key: keys.first().copied().unwrap_or_default(),
                    command,
                    winner: &winner,
                    loser: &origin(note.client.as_deref(), &self.tests),
                    age_ms: *age_ms,
                    at_ms,
                });
            }
        }
    }
}

/// Returns what is known of a client.
fn origin(client: Option<&Client>, tests: &RunningTests) -> Origin {
    let Some(client) = client else {
        return Origin { test: tests.other.clone(), ..Origin::default() };
    };
    let labels = client.labels();
    let test = tests.of(&labels.name).to_owned();
    let text = |bytes: &[u8]| pattern::shown(bytes, TEXT_CHARS_MAX);
    let mut library = text(&labels.lib_name);
    if !labels.lib_ver.is_empty() {
        library = format!("{library} {}", text(&labels.lib_ver));
    }
    Origin { name: text(&labels.name), library, address: client.peer.to_string(), test }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breach(keys: &[&str]) -> Note {
        Note {
            client: None,
            keys: keys.iter().map(|key| key.as_bytes()).collect(),
            about: About::Breach {
                rule: Rule::CrossSlotCommand,
                command: "mget".to_owned(),
                place: None,
                from: None,
                fate: Fate::Refused,
                unit: None,
            },
        }
    }

    #[test]
    fn taking_a_note_never_waits_and_drops_are_counted() {
        let (record, clients) = (Recorder::default(), Clients::default());
        let held = record.entries.lock();
        let sample = || Note { about: About::Transaction { of: 1 }, ..breach(&["c", "d"]) };
        (0..SAMPLES_MAX + 5).for_each(|_| record.take(sample()));
        for _ in 0..NOTES_MAX + 5 {
            record.take(breach(&["a", "b"]));
            record.settle(&clients, 1);
        }
        drop(held);
        record.settle(&clients, 1);
        assert_eq!(record.entries.lock().ledger.violations.total, SETTLED_MAX as u64);
        assert_eq!(record.pressure(), Pressure::Much);
        let ledger = record.ledger(&clients, 1);
        assert_eq!((ledger.violations.total, ledger.dropped), (NOTES_MAX as u64, 5));
        assert_eq!(ledger.key_groups.groups()[0].crossing, NOTES_MAX as u64);
        assert_eq!(record.pressure(), Pressure::None);
    }

    #[test]
    fn a_test_owns_what_is_noted_while_it_runs() {
        let (record, clients) = (Recorder::default(), Clients::default());
        for (test, key) in [("one", "a:1"), ("two", "b:1"), ("", "c:1")] {
            record.begin_test(b"", test.as_bytes(), &clients, 1);
            record.take(breach(&[key, "x"]));
        }
        let ledger = record.ledger(&clients, 1);
        let mut tests: Vec<String> = ledger
            .violations
            .rows()
            .iter()
            .map(|(kind, row)| format!("{} {}", kind.patterns[0], row.clients[0].0.test))
            .collect();
        tests.sort();
        assert_eq!(tests, ["a:<int> one", "b:<int> two", "c:<int> "]);
        record.reset(Part::Violations, &clients, 1);
        let ledger = record.ledger(&clients, 1);
        assert_eq!((ledger.violations.total, ledger.key_groups.groups().len()), (0, 1));
        record.reset(Part::Groups, &clients, 1);
        assert!(record.ledger(&clients, 1).key_groups.groups().is_empty());
    }

    #[test]
    fn a_sample_counts_as_all() {
        let all = ALL_OF + 100 * ONE_IN;
        let taken: Vec<u64> = (0..all).filter(|&number| of_how_many(number).is_some()).collect();
        let counted: u64 = (0..all).filter_map(of_how_many).sum();
        assert!(counted.abs_diff(all) <= 2 * ONE_IN, "{counted}");
        assert!((taken.len() as u64).abs_diff(ALL_OF + 100) <= 1, "{}", taken.len());
        // Not the same number of every block.
        let places = taken.iter().filter(|&&n| n >= ALL_OF).map(|n| n % ONE_IN);
        let places: std::collections::BTreeSet<u64> = places.collect();
        assert!(places.len() > 60, "{places:?}");
        for first in 0..all - 3 {
            let any = (first..first + 3).any(|number| of_how_many(number).is_some());
            assert_eq!(takes_any(first, 3), any, "{first}");
        }
    }
}
