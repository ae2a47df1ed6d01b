//! The slots that migrate as a whole, by CLUSTER MIGRATESLOTS or CLUSTER MIGRATION: the migrations that run,
//! and what each node's log says of them.
//!
//! ```text
//! begun ──► copied ──► success        source: its keys and slots go to the target at once
//!    └────────┴──────► cancelled, failed: everything stays where it is
//! ```
//!
//! Until a migration has succeeded, its slots are served by the source as if there were none. Source and
//! target each have a record of it, as each of them sees it; with Valkey the target's replicas, too.

use super::migration_end::{MigrationEnd, MigrationPart, MigrationState};
use crate::keyspace::Millis;
use crate::slot::Slot;
use crate::topology::NodeNumber;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// Most records of a node's log, whatever its settings say.
const RECORDS_MAX: usize = 10_000;
/// Most ranges of slots in all records of a node's log.
const RANGES_MAX: usize = 100_000;
/// Digits of a migration's name.
const NAME_LEN: usize = 40;

/// The first and the last slot of a range.
pub(crate) type SlotRange = (Slot, Slot);

/// A migration that runs.
#[derive(Clone, Debug)]
pub struct SlotMigrationJob {
    /// Its number: counted from 1, never reused.
    pub number: u64,
    /// The node that owns the slots.
    pub source: NodeNumber,
    /// The node that is to get them.
    pub target: NodeNumber,
    /// The slots, in the order in which they were named.
    pub ranges: Arc<[SlotRange]>,
    /// Whether the target has a copy of the keys, and only the slots are to be handed over.
    pub is_copied: bool,
    /// Whether the target has begun it, as with Redis; else the source, as with Valkey.
    pub is_import: bool,
    /// It has failed, and is tried again then.
    pub retry_at: Option<Millis>,
}

impl SlotMigrationJob {
    /// Returns its slots.
    pub fn slots(&self) -> impl Iterator<Item = Slot> {
        let of = |&(first, last): &SlotRange| first.number()..=last.number();
        self.ranges.iter().flat_map(of).filter_map(Slot::new)
    }

    /// Returns whether this slot is one of its slots.
    #[must_use]
    pub fn has(&self, slot: Slot) -> bool {
        self.ranges.iter().any(|&(first, last)| first <= slot && slot <= last)
    }
}

/// What a node's log says of a migration.
#[derive(Clone, Debug)]
pub struct MigrationRecord {
    number: u64,
    /// Its name: 40 hexadecimal digits.
    pub name: Arc<str>,
    /// What the node has to do with it.
    pub part: MigrationPart,
    /// Its slots.
    pub ranges: Arc<[SlotRange]>,
    /// The ids of source and target.
    pub ids: [Arc<str>; 2],
    /// Where it is.
    pub state: MigrationState,
    /// Why it has failed, or nothing.
    pub message: String,
    /// When it began.
    pub begun_at: Millis,
    /// When it was last tried.
    pub started_at: Option<Millis>,
    /// When its state last changed.
    pub updated_at: Millis,
    /// When it ended for good.
    pub ended_at: Option<Millis>,
    /// How often it was tried again.
    pub retries: i64,
    is_import: bool,
}

impl MigrationRecord {
    /// Sets what a migration that ends so is to this node from then on.
    fn end(&mut self, end: MigrationEnd, now: Millis) {
        (self.state, self.message) = match self.is_import {
            true => end.of_import(self.part, self.state, std::mem::take(&mut self.message)),
            false => end.of_export(self.part),
        };
        self.updated_at = now;
        // With Redis, one that has failed may be tried again.
        let is_final = !self.is_import || self.state != MigrationState::Failed;
        self.ended_at = is_final.then_some(now);
    }
}

/// All migrations of the process.
#[derive(Debug)]
pub struct SlotMigrations(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    running: Vec<SlotMigrationJob>,
    /// By node, the newest first.
    logs: BTreeMap<NodeNumber, VecDeque<MigrationRecord>>,
    /// The nodes that hand no slots over.
    held: BTreeSet<NodeNumber>,
    begun: u64,
    chance: fastrand::Rng,
}

impl SlotMigrations {
    /// Makes a process without migrations; their names derive from the seed.
    pub(super) fn new(seed: u64) -> Self {
        Self(Mutex::new(Inner {
            running: Vec::new(),
            logs: BTreeMap::new(),
            held: BTreeSet::new(),
            begun: 0,
            chance: fastrand::Rng::with_seed(seed),
        }))
    }

    /// Begins the migrations of one command, each with the ids of its source and its target. Returns the
    /// name of the last one.
    pub fn begin(&self, jobs: Vec<(SlotMigrationJob, [Arc<str>; 2])>, now: Millis) -> Arc<str> {
        let inner = &mut *self.0.lock();
        let mut records = Vec::with_capacity(jobs.len());
        for (mut job, ids) in jobs {
            inner.begun += 1;
            job.number = inner.begun;
            let digits = (0..NAME_LEN).filter_map(|_| char::from_digit(inner.chance.u32(..16), 16));
            let record = MigrationRecord {
                number: job.number,
                name: digits.collect::<String>().into(),
                part: if job.is_import { MigrationPart::Target } else { MigrationPart::Source },
                ranges: Arc::clone(&job.ranges),
                ids,
                state: MigrationState::Begun,
                message: String::new(),
                begun_at: now,
                started_at: None,
                updated_at: now,
                ended_at: None,
                retries: 0,
                is_import: job.is_import,
            };
            records.push((if job.is_import { job.target } else { job.source }, record));
            inner.running.push(job);
        }
        let last = records.last().map_or(Arc::from(""), |(_, record)| Arc::clone(&record.name));
        // They stand in the order in which they were named, before older ones.
        records.into_iter().rev().for_each(|(node, record)| inner.record(node, record));
        last
    }

    /// Returns the migrations that run, in the order in which they began.
    #[must_use]
    pub fn running(&self) -> Vec<SlotMigrationJob> {
        self.0.lock().running.clone()
    }

    /// Returns the name of a migration.
    #[must_use]
    pub fn name_of(&self, number: u64) -> Option<Arc<str>> {
        let inner = self.0.lock();
        let mut all = inner.logs.values().flatten();
        all.find(|record| record.number == number).map(|record| Arc::clone(&record.name))
    }

    /// Returns whether a node exports, and whether it imports slots by CLUSTER MIGRATESLOTS.
    #[must_use]
    pub fn parts_of(&self, node: NodeNumber) -> (bool, bool) {
        let running = &self.0.lock().running;
        let mut exports = running.iter().filter(|job| !job.is_import);
        let is_target = exports.clone().any(|job| job.target == node && job.is_copied);
        (exports.any(|job| job.source == node), is_target)
    }

    /// Returns whether a node is importing a slot by CLUSTER MIGRATION, or another one is importing it
    /// from there.
    #[must_use]
    pub fn is_importing(&self, node: NodeNumber, slot: Slot) -> bool {
        let concerns = |job: &SlotMigrationJob| {
            job.is_import && job.has(slot) && (job.target == node || job.source == node)
        };
        self.0.lock().running.iter().any(concerns)
    }

    /// Records that the target, whose replicas these are, has a copy of the keys.
    pub fn note_copied(&self, number: u64, replicas: &[NodeNumber], now: Millis) {
        let inner = &mut *self.0.lock();
        let Some(job) = inner.running.iter_mut().find(|job| job.number == number) else { return };
        job.is_copied = true;
        let is_retry = job.retry_at.take().is_some();
        let (begun_at_node, other) = match job.is_import {
            true => (job.target, (job.source, MigrationPart::Source)),
            false => (job.source, (job.target, MigrationPart::Target)),
        };
        let log = inner.logs.entry(begun_at_node).or_default();
        let Some(record) = log.iter_mut().find(|record| record.number == number) else { return };
        (record.state, record.updated_at) = (MigrationState::Copied, now);
        record.started_at = Some(now);
        record.retries += i64::from(is_retry);
        let record = MigrationRecord { begun_at: now, retries: 0, ..record.clone() };
        if record.is_import {
            inner.end_failed(other.0, now);
        } else {
            for &replica in replicas {
                let record = MigrationRecord { part: MigrationPart::Replica, ..record.clone() };
                inner.record(replica, record);
            }
        }
        let message = if record.is_import { String::new() } else { record.message.clone() };
        inner.record(other.0, MigrationRecord { part: other.1, message, ..record });
    }

    /// Ends a migration.
    pub fn end(&self, number: u64, end: MigrationEnd, now: Millis) {
        let inner = &mut *self.0.lock();
        inner.running.retain(|job| job.number != number);
        inner.end_records(number, end, now);
    }

    /// Records that a migration by CLUSTER MIGRATION has failed, and is to be tried again at `retry_at`.
    pub fn fail(&self, number: u64, end: MigrationEnd, retry_at: Millis, now: Millis) {
        let inner = &mut *self.0.lock();
        let Some(job) = inner.running.iter_mut().find(|job| job.number == number) else { return };
        (job.is_copied, job.retry_at) = (false, Some(retry_at));
        inner.end_records(number, end, now);
    }

    /// Returns when the next migration that has failed is to be tried again.
    #[must_use]
    pub fn next_retry(&self) -> Option<Millis> {
        self.0.lock().running.iter().filter_map(|job| job.retry_at).min()
    }

    /// Returns what a node's log says, the newest first, once it is cut to so many records of
    /// migrations that have ended.
    #[must_use]
    pub fn log(&self, node: NodeNumber, ended_max: usize) -> Vec<MigrationRecord> {
        let inner = &mut *self.0.lock();
        let Some(log) = inner.logs.get_mut(&node) else { return Vec::new() };
        let mut ended = 0;
        log.retain(|record| {
            ended += usize::from(record.ended_at.is_some());
            record.ended_at.is_none() || ended <= ended_max
        });
        log.iter().cloned().collect()
    }

    /// Empties a node's log: it has become a replica that copies all of its master.
    pub fn clear_log(&self, node: NodeNumber) {
        self.0.lock().logs.remove(&node);
    }

    /// Sets whether a node hands no slots over, so that its migrations stay where the keys are copied
    /// (`DEBUG SLOTMIGRATION PREVENT-PAUSE`).
    pub fn set_held(&self, node: NodeNumber, is_held: bool) {
        let held = &mut self.0.lock().held;
        let _changed = if is_held { held.insert(node) } else { held.remove(&node) };
    }

    /// Returns whether a node hands no slots over.
    #[must_use]
    pub fn is_held(&self, node: NodeNumber) -> bool {
        self.0.lock().held.contains(&node)
    }
}

impl Inner {
    fn end_records(&mut self, number: u64, end: MigrationEnd, now: Millis) {
        let all = self.logs.values_mut().flatten();
        all.filter(|record| record.number == number && record.ended_at.is_none())
            .for_each(|record| record.end(end, now));
    }

    /// Ends the records of exports that have failed: another one begins at this node.
    fn end_failed(&mut self, node: NodeNumber, now: Millis) {
        for record in self.logs.entry(node).or_default() {
            if record.state == MigrationState::Failed && record.part == MigrationPart::Source {
                record.end(MigrationEnd::Superseded, now);
            }
        }
    }

    /// Enters a record, in place of the oldest ones if there are too many.
    fn record(&mut self, node: NodeNumber, record: MigrationRecord) {
        let log = self.logs.entry(node).or_default();
        log.push_front(record);
        let mut ranges: usize = log.iter().map(|record| record.ranges.len()).sum();
        while log.len() > RECORDS_MAX || ranges > RANGES_MAX {
            let Some(oldest) = log.iter().rposition(|it| it.ended_at.is_some()) else { break };
            ranges -= log.remove(oldest).map_or(0, |record| record.ranges.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(first: u16, last: u16) -> (SlotMigrationJob, [Arc<str>; 2]) {
        let slot = |number| Slot::new(number).expect("a slot");
        let ranges = Arc::from([(slot(first), slot(last))]);
        let job = SlotMigrationJob {
            number: 0,
            source: 0,
            target: 1,
            ranges,
            is_copied: false,
            is_import: false,
            retry_at: None,
        };
        (job, ["a".into(), "b".into()])
    }

    #[test]
    fn source_target_and_its_replicas_each_have_a_record() {
        let all = SlotMigrations::new(1);
        all.begin(vec![job(1, 2), job(7, 7)], 10);
        let names =
            |node| all.log(node, 9).iter().map(|it| it.ranges[0].0.number()).collect::<Vec<_>>();
        assert_eq!((names(0), names(1)), (vec![1, 7], vec![]));
        let running = all.running();
        running.iter().for_each(|job| all.note_copied(job.number, &[4], 20));
        assert_eq!((names(1).len(), names(4).len(), all.parts_of(1)), (2, 2, (false, true)));
        all.end(running[0].number, MigrationEnd::Cancelled, 30);
        let states = |node| all.log(node, 9).iter().map(|it| it.state).collect::<Vec<_>>();
        assert_eq!(states(0), [MigrationState::Cancelled, MigrationState::Copied]);
        assert_eq!(states(4), [MigrationState::Copied, MigrationState::Failed]);
        // What runs stays in the log, however short it is.
        assert_eq!((all.log(0, 0).len(), all.running().len()), (1, 1));
    }

    #[test]
    fn an_import_that_fails_is_tried_again_until_it_is_cancelled() {
        let all = SlotMigrations::new(1);
        let (one, ids) = job(1, 2);
        all.begin(vec![(SlotMigrationJob { is_import: true, ..one }, ids)], 10);
        let number = all.running()[0].number;
        assert!(all.log(0, 9).is_empty() && all.log(1, 9)[0].state == MigrationState::Begun);
        all.note_copied(number, &[4], 20);
        assert_eq!((all.log(0, 9).len(), all.log(4, 9).len()), (1, 0));
        all.fail(number, MigrationEnd::SourceFlushed, 500, 30);
        assert_eq!(all.next_retry(), Some(500));
        let seen = |node| all.log(node, 9).into_iter().map(|it| (it.state, it.retries)).collect();
        let seen = |node| -> Vec<(MigrationState, i64)> { seen(node) };
        assert_eq!(
            (seen(0), seen(1)),
            (vec![(MigrationState::Cancelled, 0)], vec![(MigrationState::Failed, 0)])
        );
        all.note_copied(number, &[], 500);
        assert_eq!(seen(0), [(MigrationState::Copied, 0), (MigrationState::Cancelled, 0)]);
        all.end(number, MigrationEnd::CancelledByTarget, 600);
        assert_eq!(seen(1), [(MigrationState::Cancelled, 1)]);
        assert_eq!(seen(0)[0], (MigrationState::Failed, 0));
        assert!(all.running().is_empty());
    }

    #[test]
    fn a_log_is_bounded_whatever_the_settings_say() {
        let all = SlotMigrations::new(1);
        for number in 1..=RECORDS_MAX as u64 + 5 {
            all.begin(vec![job(1, 2)], 10);
            all.end(number, MigrationEnd::Unreachable, 10);
        }
        assert_eq!(all.log(0, usize::MAX).len(), RECORDS_MAX);
    }
}
