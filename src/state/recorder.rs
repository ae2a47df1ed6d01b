//! What the server notes while it runs, for the proof: refusals, keys that are used together,
//! transactions that lost.
//!
//! ```text
//! where it happens ─ Note ─► a queue with a bound ─► settle: whoever ends a turn and finds the book free
//!   (a shard may be held)      full: counted          ─► Ledger ◄── SLOTWAY VIOLATIONS … (settles first)
//! ```
//!
//! Nothing waits where a shard is held: a note is put into the queue or dropped, and what was dropped
//! is counted and told. So that this hardly ever happens, a connection that ends its turn while half of
//! the room is taken waits for the book, away from the runtime's workers. What is noted of a request that goes well is a sample: of the requests and
//! of the transactions all of the first [`ALL_OF`], then one in [`ONE_IN`], which stands for that many.

use super::Counter;
use crate::keyspace::Millis;
use crate::ledger::conflict::{ATTEMPTS, LostExec};
use crate::ledger::lru::LruTable;
use crate::ledger::violation::{Breach, Fate, TEXT_CHARS_MAX};
use crate::ledger::{Ledger, Origin, Rule, Spot, pattern};
use crate::state::clients::{Client, Clients};
use parking_lot::{Mutex, MutexGuard};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Notes that wait to be entered; further ones are dropped.
pub const NOTES_MAX: usize = 4096;
/// Samples that wait to be entered; what finds no room is passed over.
pub const SAMPLES_MAX: usize = 512;
/// Keys of a note; the first ones of more.
pub const NOTE_KEYS_MAX: usize = 128;
/// Bytes of the keys of a note: keys beyond that are left out.
pub const NOTE_BYTES_MAX: usize = 4 * 1024;
/// Of a sample, so many are taken as they come.
pub const ALL_OF: u64 = 1000;
/// Then one in so many. A sampled request costs some 2,500 instructions, of which each then bears
/// five.
pub const ONE_IN: u64 = 512;
/// Clients who tripped guards that are kept in mind.
pub const WINNERS_MAX: usize = 256;
/// Notes that one turn enters.
const SETTLED_MAX: usize = 256;

/// Keys of a note, copied.
#[derive(Clone, Debug, Default)]
pub struct Keys {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    hidden: usize,
}

impl Keys {
    /// Adds a key, unless there are too many already. One that is there already is not added again.
    pub fn add(&mut self, key: &[u8]) {
        if self.iter().any(|other| other == key) {
            return;
        }
        let fits =
            self.ends.len() < NOTE_KEYS_MAX && self.bytes.len() + key.len() <= NOTE_BYTES_MAX;
        if !fits {
            self.hidden += 1;
            return;
        }
        self.bytes.extend_from_slice(key);
        self.ends.push(self.bytes.len());
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The keys.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.ends.iter().enumerate().map(|(at, &end)| {
            let from = if at == 0 { 0 } else { self.ends[at - 1] };
            &self.bytes[from..end]
        })
    }
}

impl<'k> FromIterator<&'k [u8]> for Keys {
    fn from_iter<I: IntoIterator<Item = &'k [u8]>>(keys: I) -> Self {
        let mut all = Self::default();
        keys.into_iter().for_each(|key| all.add(key));
        all
    }
}

/// Something to be entered.
#[derive(Debug)]
pub struct Note {
    /// Whose it is; none, if it has left already.
    pub client: Option<Arc<Client>>,
    /// The keys concerned.
    pub keys: Keys,
    /// What it is.
    pub about: About,
}

/// What a note is about.
#[derive(Debug)]
pub enum About {
    /// A rule was broken.
    Breach {
        /// Which.
        rule: Rule,
        /// By what: a command, or `multi:` with those of the transaction.
        command: String,
        /// Of a transaction: the place of the command, from 1.
        place: Option<usize>,
        /// Whether it was refused.
        fate: Fate,
    },
    /// A further command of a transaction that has been noted: it belongs to the same keys.
    More,
    /// A sample of the traffic: a request, which stands for so many.
    Request {
        /// Of how many it is one.
        of: u64,
        /// Its keys were used together, in one slot.
        together: bool,
    },
    /// A sample: a transaction that is run.
    Transaction {
        /// Of how many it is one.
        of: u64,
    },
    /// A command of this name is not known here.
    Unknown(Box<[u8]>),
    /// The client has tripped a guard: whoever lost by that will ask for its name.
    Winner,
    /// An EXEC answered nil. The key is the one that was changed.
    Lost {
        /// What changed it; empty if nobody did: it has expired, or moved.
        command: String,
        /// Who sent that: a client's id, or 0.
        winner: u64,
        /// How long the key had been watched, in milliseconds.
        age_ms: Option<u64>,
    },
}

/// The notes, and the ledger that they go to.
#[derive(Debug)]
pub struct Recorder {
    notes: SyncSender<Note>,
    samples: SyncSender<Note>,
    /// How many notes and samples wait: raised before one is sent, lowered after it was received.
    waiting: AtomicUsize,
    dropped: Counter,
    /// Requests and transactions of which a sample has been taken.
    requests: AtomicU64,
    transactions: AtomicU64,
    /// Commits of transactions with a WATCH, by the attempts they took.
    commits: [Counter; ATTEMPTS],
    book: Mutex<Book>,
}

#[derive(Debug)]
struct Book {
    notes: Receiver<Note>,
    samples: Receiver<Note>,
    ledger: Ledger,
    /// Who has tripped guards, by their ids.
    winners: LruTable<u64, Origin>,
    /// The test that is running, if somebody has said so.
    test: String,
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
            commits: Default::default(),
            book: Mutex::new(Book {
                notes: notes_out,
                samples: samples_out,
                ledger,
                winners: LruTable::new(WINNERS_MAX),
                test: String::new(),
            }),
        }
    }
}

/// How much waits to be entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pressure {
    /// Nothing.
    None,
    /// It can wait a while longer.
    Some,
    /// There may soon be no room.
    Much,
}

/// What of the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// What broke a rule.
    Violations,
    /// Which transactions lost.
    Conflicts,
    /// What was used together, and the key_stats.
    Groups,
}

impl Recorder {
    /// Takes a note, or counts that there was no room for it. Never waits.
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

    /// How much waits to be entered.
    #[must_use]
    #[inline]
    pub fn pressure(&self) -> Pressure {
        match self.waiting.load(Ordering::Relaxed) {
            0 => Pressure::None,
            waiting if waiting < (NOTES_MAX + SAMPLES_MAX) / 2 => Pressure::Some,
            _ => Pressure::Much,
        }
    }

    /// Counts a transaction that is run; if it is to be noted, says of how many it is one.
    #[inline]
    pub fn transaction(&self) -> Option<u64> {
        of_how_many(self.transactions.fetch_add(1, Ordering::Relaxed))
    }

    /// Counts `count` requests that come next, from some place on; gives the number of the first.
    #[inline]
    pub fn requests(&self, count: u64) -> u64 {
        self.requests.fetch_add(count, Ordering::Relaxed)
    }

    /// Counts the commit of a transaction with a WATCH, which took so many attempts.
    pub fn committed(&self, attempts: u64) {
        let class = usize::try_from(attempts.max(1) - 1).unwrap_or(usize::MAX);
        self.commits[class.min(ATTEMPTS - 1)].add(1);
    }

    /// Enters some of what waits, if nobody else is at it.
    pub fn settle(&self, clients: &Clients, now: Millis) {
        // Who is at it may have looked before the last note came: somebody comes again.
        if let Some(mut book) = self.book.try_lock() {
            let entered = book.settle(SETTLED_MAX, clients, now);
            self.waiting.fetch_sub(entered, Ordering::Relaxed);
        }
    }

    /// Enters what waits, after whoever is at it: blocks the thread.
    pub fn settle_all(&self, clients: &Clients, now: Millis) {
        drop(self.settled(clients, now));
    }

    fn settled(&self, clients: &Clients, now: Millis) -> MutexGuard<'_, Book> {
        let mut book = self.book.lock();
        // No more than can have waited: others go on while this is done.
        let entered = book.settle(NOTES_MAX + SAMPLES_MAX, clients, now);
        self.waiting.fetch_sub(entered, Ordering::Relaxed);
        book
    }

    /// What has been noted until now.
    #[must_use]
    pub fn ledger(&self, clients: &Clients, now: Millis) -> Ledger {
        let mut ledger = self.settled(clients, now).ledger.clone();
        ledger.dropped = self.dropped.get();
        ledger.counts.commands = self.requests.load(Ordering::Relaxed);
        ledger.counts.transactions = self.transactions.load(Ordering::Relaxed);
        for (into, commits) in ledger.conflicts.commits_by_attempts.iter_mut().zip(&self.commits) {
            *into = commits.get();
        }
        ledger
    }

    /// Forgets a part of what has been noted.
    pub fn reset(&self, part: Part, clients: &Clients, now: Millis) {
        let mut book = self.settled(clients, now);
        let ledger = &mut book.ledger;
        match part {
            Part::Violations => {
                ledger.violations = Default::default();
                ledger.unknown = Default::default();
            }
            Part::Conflicts => {
                ledger.conflicts = Default::default();
                self.commits.iter().for_each(Counter::reset);
            }
            Part::Groups => {
                ledger.key_groups = Default::default();
                ledger.key_stats = Default::default();
                // A new beginning, for the sample as well.
                self.requests.store(0, Ordering::Relaxed);
                self.transactions.store(0, Ordering::Relaxed);
            }
        }
    }

    /// Says which test is running: everything that is noted from now on is its. Empty for none.
    pub fn begin_test(&self, name: &[u8], clients: &Clients, now: Millis) {
        self.settled(clients, now).test = pattern::shown(name, TEXT_CHARS_MAX);
    }
}

/// Of a sample's `number`, counted from 0: for how many it stands, if it is taken.
#[must_use]
#[inline]
pub fn of_how_many(number: u64) -> Option<u64> {
    match number {
        _ if number < ALL_OF => Some(1),
        _ if number == picked(number / ONE_IN) => Some(ONE_IN),
        _ => None,
    }
}

/// Whether any of `count` numbers from `first` on is taken.
#[must_use]
#[inline]
pub fn takes_any(first: u64, count: u64) -> bool {
    let end = first + count;
    let in_block = |block| (first..end).contains(&picked(block));
    first < ALL_OF || (first / ONE_IN..=end / ONE_IN).any(in_block)
}

/// Which of a block of numbers is taken: by chance, as traffic has rhythms of its own.
fn picked(block: u64) -> u64 {
    const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;
    block * ONE_IN + (block.wrapping_mul(GOLDEN) >> 32) % ONE_IN
}

impl Book {
    /// Enters so many notes at the most, samples last; gives how many there were.
    fn settle(&mut self, notes_max: usize, clients: &Clients, now: Millis) -> usize {
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
        let Ledger { violations, conflicts, key_groups, key_stats, unknown, .. } = &mut self.ledger;
        match &note.about {
            About::Breach { rule, command, place, fate } => {
                let origin = origin(note.client.as_deref(), &self.test);
                violations.enter(&Breach {
                    rule: *rule,
                    command,
                    keys: &keys,
                    keys_hidden: note.keys.hidden,
                    place: *place,
                    origin: &origin,
                    at_ms,
                    spot: Spot::Live,
                    fate: *fate,
                });
                key_groups.enter(&keys);
            }
            About::More => key_groups.enter(&keys),
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
                    let origin = origin(Some(client), &self.test);
                    *self.winners.row(&client.id, || client.id, Origin::default) = origin;
                }
            }
            About::Lost { command, winner, age_ms } => {
                // It was quicker than the note on who won, who then is still there.
                let present = || origin(clients.get(*winner).as_deref(), &self.test);
                let winner = self.winners.get(winner).cloned().unwrap_or_else(present);
                conflicts.enter(&LostExec {
                    key: keys.first().copied().unwrap_or_default(),
                    command,
                    winner: &winner,
                    loser: &origin(note.client.as_deref(), &self.test),
                    age_ms: *age_ms,
                    at_ms,
                });
            }
        }
    }
}

/// Who a client is, as far as it has said so.
fn origin(client: Option<&Client>, test: &str) -> Origin {
    let test = test.to_owned();
    let Some(client) = client else {
        return Origin { test, ..Origin::default() };
    };
    let labels = client.labels();
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
                fate: Fate::Refused,
            },
        }
    }

    #[test]
    fn nobody_waits_and_what_is_dropped_is_counted() {
        let (record, clients) = (Recorder::default(), Clients::default());
        let held = record.book.lock();
        let sample = || Note { about: About::Transaction { of: 1 }, ..breach(&["c", "d"]) };
        (0..SAMPLES_MAX + 5).for_each(|_| record.take(sample()));
        for _ in 0..NOTES_MAX + 5 {
            record.take(breach(&["a", "b"]));
            record.settle(&clients, 1);
        }
        drop(held);
        record.settle(&clients, 1);
        assert_eq!(record.book.lock().ledger.violations.total, SETTLED_MAX as u64);
        assert_eq!(record.pressure(), Pressure::Much);
        let ledger = record.ledger(&clients, 1);
        assert_eq!((ledger.violations.total, ledger.dropped), (NOTES_MAX as u64, 5));
        assert_eq!(ledger.key_groups.groups()[0].crossing, NOTES_MAX as u64);
        assert_eq!(record.pressure(), Pressure::None);
    }

    #[test]
    fn a_note_is_bounded() {
        let long = vec![b'x'; NOTE_BYTES_MAX + 1];
        let many: Vec<Vec<u8>> = (0..NOTE_KEYS_MAX + 2).map(|n| n.to_string().into()).collect();
        let given = [&long[..], b"a", b"b", b"a"].into_iter();
        let keys: Keys = given.chain(many.iter().map(Vec::as_slice)).collect();
        assert_eq!((keys.iter().count(), keys.hidden), (NOTE_KEYS_MAX, 5));
        assert_eq!(keys.iter().take(3).collect::<Vec<_>>(), [&b"a"[..], b"b", b"0"]);
    }

    #[test]
    fn a_test_owns_what_is_noted_while_it_runs() {
        let (record, clients) = (Recorder::default(), Clients::default());
        for (test, key) in [("one", "a:1"), ("two", "b:1"), ("", "c:1")] {
            record.begin_test(test.as_bytes(), &clients, 1);
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
    fn a_sample_stands_for_all() {
        let all = ALL_OF + 100 * ONE_IN;
        let taken: Vec<u64> = (0..all).filter(|&number| of_how_many(number).is_some()).collect();
        let counted: u64 = (0..all).filter_map(of_how_many).sum();
        assert!(counted.abs_diff(all) <= 2 * ONE_IN, "{counted}");
        assert!((taken.len() as u64).abs_diff(ALL_OF + 100) <= 1, "{}", taken.len());
        // Not every time the same of the block.
        let places = taken.iter().filter(|&&n| n >= ALL_OF).map(|n| n % ONE_IN);
        let places: std::collections::BTreeSet<u64> = places.collect();
        assert!(places.len() > 60, "{places:?}");
        for first in 0..all - 3 {
            let any = (first..first + 3).any(|number| of_how_many(number).is_some());
            assert_eq!(takes_any(first, 3), any, "{first}");
        }
    }
}
