//! The slots that migrate as a whole, by CLUSTER MIGRATESLOTS: the migrations that run, and what each
//! node's log says of them.
//!
//! ```text
//! begun ──► copied ──► success        source: its keys and slots go to the target at once
//!    └────────┴──────► cancelled, failed: everything stays where it is
//! ```
//!
//! Until a migration has succeeded, its slots are served by the source as if there were none. Source,
//! target and the target's replicas each have a record of it, as each of them sees it.

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

/// What a node has to do with a migration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MigrationPart {
    /// It is the source.
    Source,
    /// It is the target.
    Target,
    /// It is a replica of the target.
    Replica,
}

/// Where a migration is, as a node's record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MigrationState {
    /// It has begun.
    Begun,
    /// The target has a copy of the keys.
    Copied,
    /// The target owns the slots.
    Success,
    /// It was cancelled at this node.
    Cancelled,
    /// It has failed.
    Failed,
}

/// How a migration ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MigrationEnd {
    /// The target owns the slots.
    Success,
    /// The source was asked to.
    Cancelled,
    /// The target refused it with this error.
    Refused(&'static str),
    /// The target does not listen.
    Unreachable,
    /// Source or target was stopped.
    Disconnected,
    /// The source's keys were removed.
    SourceFlushed,
    /// The target's keys were removed.
    TargetFlushed,
    /// The source owns the slots no longer.
    SlotsLost,
    /// The target is a master no longer.
    TargetDemoted,
}

const SOURCE_LOST: &str = "Connection lost to source. Check CLUSTER GETSLOTMIGRATIONS on the source node for more information.";
const TARGET_LOST: &str = "Connection lost to target. Check CLUSTER GETSLOTMIGRATIONS on the target node for more information.";
const FLUSHED: &str = "Data was flushed";

impl MigrationEnd {
    /// Returns the state that a node's record has from then on, and its message.
    fn as_seen_by(self, part: MigrationPart) -> (MigrationState, String) {
        let (at_source, at_target) = match self {
            Self::Success => return (MigrationState::Success, String::new()),
            Self::Cancelled if part == MigrationPart::Source => {
                return (MigrationState::Cancelled, String::new());
            }
            Self::Refused(error) => {
                let why = format!("Received error during handshake to target: -{error}\r\n");
                return (MigrationState::Failed, why);
            }
            Self::Unreachable => {
                ("Unable to connect to target node: Connection refused", SOURCE_LOST)
            }
            Self::Cancelled | Self::Disconnected => (TARGET_LOST, SOURCE_LOST),
            Self::SourceFlushed => (FLUSHED, SOURCE_LOST),
            Self::TargetFlushed => (TARGET_LOST, FLUSHED),
            Self::SlotsLost => {
                ("Slots are no longer owned by myself", "Slots are no longer owned by source node")
            }
            Self::TargetDemoted => (TARGET_LOST, "A failover occurred during slot import"),
        };
        let why = if part == MigrationPart::Source { at_source } else { at_target };
        (MigrationState::Failed, why.to_owned())
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
    /// When its state last changed.
    pub updated_at: Millis,
}

impl MigrationRecord {
    fn runs(&self) -> bool {
        matches!(self.state, MigrationState::Begun | MigrationState::Copied)
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

    /// Begins the migrations of one command, each with the ids of its source and its target.
    pub fn begin(&self, jobs: Vec<(SlotMigrationJob, [Arc<str>; 2])>, now: Millis) {
        let inner = &mut *self.0.lock();
        let mut records = Vec::with_capacity(jobs.len());
        for (mut job, ids) in jobs {
            inner.begun += 1;
            job.number = inner.begun;
            let digits = (0..NAME_LEN).filter_map(|_| char::from_digit(inner.chance.u32(..16), 16));
            let record = MigrationRecord {
                number: job.number,
                name: digits.collect::<String>().into(),
                part: MigrationPart::Source,
                ranges: Arc::clone(&job.ranges),
                ids,
                state: MigrationState::Begun,
                message: String::new(),
                begun_at: now,
                updated_at: now,
            };
            records.push((job.source, record));
            inner.running.push(job);
        }
        // They stand in the order in which they were named, before older ones.
        records.into_iter().rev().for_each(|(source, record)| inner.record(source, record));
    }

    /// Returns the migrations that run, in the order in which they began.
    #[must_use]
    pub fn running(&self) -> Vec<SlotMigrationJob> {
        self.0.lock().running.clone()
    }

    /// Returns whether a node is the source, and whether it is the target of a migration that runs.
    #[must_use]
    pub fn parts_of(&self, node: NodeNumber) -> (bool, bool) {
        let running = &self.0.lock().running;
        let is_target = running.iter().any(|job| job.target == node && job.is_copied);
        (running.iter().any(|job| job.source == node), is_target)
    }

    /// Records that the target, whose replicas these are, has a copy of the keys.
    pub fn note_copied(&self, number: u64, replicas: &[NodeNumber], now: Millis) {
        let inner = &mut *self.0.lock();
        let Some(job) = inner.running.iter_mut().find(|job| job.number == number) else { return };
        job.is_copied = true;
        let (source, target) = (job.source, job.target);
        let log = inner.logs.entry(source).or_default();
        let Some(record) = log.iter_mut().find(|record| record.number == number) else { return };
        (record.state, record.updated_at) = (MigrationState::Copied, now);
        let record = MigrationRecord { begun_at: now, ..record.clone() };
        for &replica in replicas {
            inner.record(
                replica,
                MigrationRecord { part: MigrationPart::Replica, ..record.clone() },
            );
        }
        inner.record(target, MigrationRecord { part: MigrationPart::Target, ..record });
    }

    /// Ends a migration.
    pub fn end(&self, number: u64, end: MigrationEnd, now: Millis) {
        let inner = &mut *self.0.lock();
        inner.running.retain(|job| job.number != number);
        let all = inner.logs.values_mut().flatten();
        for record in all.filter(|record| record.number == number && record.runs()) {
            (record.state, record.message) = end.as_seen_by(record.part);
            record.updated_at = now;
        }
    }

    /// Returns what a node's log says, the newest first, once it is cut to so many records of
    /// migrations that have ended.
    #[must_use]
    pub fn log(&self, node: NodeNumber, ended_max: usize) -> Vec<MigrationRecord> {
        let inner = &mut *self.0.lock();
        let Some(log) = inner.logs.get_mut(&node) else { return Vec::new() };
        let mut ended = 0;
        log.retain(|record| {
            ended += usize::from(!record.runs());
            record.runs() || ended <= ended_max
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
    /// Enters a record, in place of the oldest ones if there are too many.
    fn record(&mut self, node: NodeNumber, record: MigrationRecord) {
        let log = self.logs.entry(node).or_default();
        log.push_front(record);
        let mut ranges: usize = log.iter().map(|record| record.ranges.len()).sum();
        while log.len() > RECORDS_MAX || ranges > RANGES_MAX {
            let Some(oldest) = log.iter().rposition(|record| !record.runs()) else { break };
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
        let job = SlotMigrationJob { number: 0, source: 0, target: 1, ranges, is_copied: false };
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
    fn a_log_is_bounded_whatever_the_settings_say() {
        let all = SlotMigrations::new(1);
        for number in 1..=RECORDS_MAX as u64 + 5 {
            all.begin(vec![job(1, 2)], 10);
            all.end(number, MigrationEnd::Unreachable, 10);
        }
        assert_eq!(all.log(0, usize::MAX).len(), RECORDS_MAX);
    }
}
