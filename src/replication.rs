//! Replication with a lag: changes of a master's shard reach the shard of a replica after a delay.
//!
//! ```text
//! master's shard ── end of batch: values of changed keys ──► stream ── due? ──► replica's shard
//!                   written at t                              t + lag            its next holder
//! ```
//!
//! A batch becomes visible on the replica exactly from `t + lag` on, as one step, by the clock of
//! the reading batch. What a master has written and a replica has not applied is in the stream
//! alone: a failover that does not wait for it loses it, as it would between two machines.
//!
//! The stream is the only thing that both shards touch; its lock is held only while a batch is put
//! in or taken out, and never together with another one.

use crate::keyspace::{Changes, Millis};
use crate::resp::Sink;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

/// Most bytes of memory, approximately, that may be in a stream. Beyond that the oldest batches
/// become due early: they are merged, so that each key is kept once, and are applied when the
/// replica's shard is held next, at the latest by the cron.
pub(crate) const BACKLOG_BYTES_MAX: usize = 64 << 20;
/// The due time of an empty stream.
const NOT_DUE: Millis = Millis::MAX;
/// How often to check whether a replica has caught up whose due time is unknown, in milliseconds.
const CHECK_EVERY_MS: Millis = 100;

/// The changes on their way from one shard to another.
#[derive(Debug)]
pub struct ReplicationStream {
    /// The master's shard.
    from: usize,
    /// The lag, in milliseconds.
    lag_ms: Arc<AtomicI64>,
    /// When the next batch is due, readable without the lock.
    due_next: AtomicI64,
    backlog: Mutex<Backlog>,
}

#[derive(Debug)]
struct Backlog {
    /// In the order of writing, so their times ascend.
    queue: VecDeque<Batch>,
    /// Memory of the batches in the queue.
    bytes: usize,
    /// Merged batches that exceeded the limit and are due at once.
    early: Changes,
    /// The master's offset up to which changes were taken, early ones included.
    applied: u64,
    /// The master's offset up to which changes were written.
    written: u64,
    /// Nothing is due while the master is down.
    is_up: bool,
}

#[derive(Debug)]
struct Batch {
    written_at: Millis,
    due: Millis,
    /// The master's offset at its end.
    offset: u64,
    /// Shared with the streams of the master's other replicas.
    changes: Arc<Changes>,
    bytes: usize,
}

/// A replica's offsets and lag.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReplicaStatus {
    /// The master's offset, in changes.
    pub written: u64,
    /// The replica's offset, in changes.
    pub applied: u64,
    /// Age of the oldest change that it does not have, in milliseconds; 0 if it has all.
    pub behind_ms: Millis,
}

impl ReplicationStream {
    /// Makes an empty stream from shard `from` at `offset`.
    #[must_use]
    pub fn new(from: usize, lag_ms: Arc<AtomicI64>, offset: u64) -> Self {
        let backlog = Backlog {
            queue: VecDeque::new(),
            bytes: 0,
            early: Changes::default(),
            applied: offset,
            written: offset,
            is_up: true,
        };
        Self { from, lag_ms, due_next: AtomicI64::new(NOT_DUE), backlog: Mutex::new(backlog) }
    }

    /// Returns the master's shard.
    #[must_use]
    pub fn from(&self) -> usize {
        self.from
    }

    /// Appends what was written at `now`, up to `offset`.
    fn push(&self, now: Millis, offset: u64, changes: &Arc<Changes>, bytes: usize) {
        let lag_ms = self.lag_ms.load(Ordering::Relaxed);
        let mut backlog = self.backlog.lock();
        // With no lag, changes are visible even to a batch that began earlier. The clock may have
        // been set back: due times never descend.
        let due = if lag_ms == 0 { Millis::MIN } else { now.saturating_add(lag_ms) };
        let due = backlog.queue.back().map_or(due, |last| last.due.max(due));
        let changes = Arc::clone(changes);
        backlog.queue.push_back(Batch { written_at: now, due, offset, changes, bytes });
        backlog.written = offset;
        backlog.bytes += bytes;
        while backlog.bytes > BACKLOG_BYTES_MAX
            && let Some(oldest) = backlog.pop()
        {
            backlog.early.then(oldest);
        }
        self.update_due_next(&backlog);
    }

    /// Returns whether something is due at `now`.
    #[must_use]
    #[inline]
    pub fn is_due(&self, now: Millis) -> bool {
        self.due_next.load(Ordering::Acquire) <= now
    }

    /// Takes what is due at `now`, in order.
    #[must_use]
    fn take_due(&self, now: Millis) -> Vec<Changes> {
        let mut backlog = self.backlog.lock();
        let mut due = Vec::new();
        if !backlog.is_up {
            return due;
        }
        if !backlog.early.is_empty() {
            due.push(std::mem::take(&mut backlog.early));
        }
        while backlog.queue.front().is_some_and(|batch| batch.due <= now)
            && let Some(changes) = backlog.pop()
        {
            due.push(changes);
        }
        self.update_due_next(&backlog);
        due
    }

    /// Closes the stream; returns what it still held, in order.
    #[must_use]
    fn close(&self) -> Vec<Changes> {
        let mut backlog = self.backlog.lock();
        let mut rest = vec![std::mem::take(&mut backlog.early)];
        rest.extend(
            std::mem::take(&mut backlog.queue).into_iter().map(|batch| unshared(batch.changes)),
        );
        (backlog.bytes, backlog.is_up) = (0, false);
        self.update_due_next(&backlog);
        rest.retain(|changes| !changes.is_empty());
        rest
    }

    /// Sets whether the master is up; while it is down, nothing is due.
    pub fn set_up(&self, is_up: bool) {
        let mut backlog = self.backlog.lock();
        backlog.is_up = is_up;
        self.update_due_next(&backlog);
    }

    /// Returns the replica's status at `now`.
    #[must_use]
    pub fn status(&self, now: Millis) -> ReplicaStatus {
        let backlog = self.backlog.lock();
        let oldest_missing = backlog.queue.iter().find(|batch| !backlog.is_up || batch.due > now);
        let behind_ms =
            oldest_missing.map_or(0, |batch| now.saturating_sub(batch.written_at).max(0));
        let applied = backlog.offset_at(now);
        ReplicaStatus { written: backlog.written, applied, behind_ms }
    }

    /// Returns the memory of the changes on their way, in bytes.
    fn memory(&self) -> usize {
        let backlog = self.backlog.lock();
        backlog.bytes + backlog.early.memory()
    }

    /// Returns when the change at `offset` becomes due, if it is still in the queue and the master
    /// is up.
    fn due_for(&self, offset: u64) -> Option<Millis> {
        let backlog = self.backlog.lock();
        let batch = backlog.queue.iter().find(|batch| batch.offset >= offset)?;
        backlog.is_up.then_some(batch.due)
    }

    fn update_due_next(&self, backlog: &Backlog) {
        let next = match backlog.queue.front() {
            _ if !backlog.is_up => NOT_DUE,
            _ if !backlog.early.is_empty() => Millis::MIN,
            Some(batch) => batch.due,
            None => NOT_DUE,
        };
        self.due_next.store(next, Ordering::Release);
    }
}

impl Backlog {
    /// Removes the oldest batch from the queue.
    fn pop(&mut self) -> Option<Changes> {
        let Batch { offset, changes, bytes, .. } = self.queue.pop_front()?;
        self.bytes -= bytes;
        self.applied = offset;
        Some(unshared(changes))
    }

    /// Returns the replica's offset by the clock, whether or not its shard has been held since.
    fn offset_at(&self, now: Millis) -> u64 {
        let due = self.queue.iter().take_while(|batch| self.is_up && batch.due <= now).last();
        due.map_or(self.applied, |batch| batch.offset)
    }
}

/// Returns the changes themselves if they are not shared any more, else a copy.
fn unshared(changes: Arc<Changes>) -> Changes {
    Arc::try_unwrap(changes).unwrap_or_else(|shared| (*shared).clone())
}

/// A shard's replication links: the stream it applies, and those it feeds.
#[derive(Debug, Default)]
pub(crate) struct ReplicationLinks {
    source: Option<Arc<ReplicationStream>>,
    replicas: Vec<Arc<ReplicationStream>>,
    /// The offset: changes made or applied here while there was a link.
    offset: u64,
}

impl ReplicationLinks {
    /// Returns the stream that it applies.
    #[must_use]
    pub(crate) fn source(&self) -> Option<&Arc<ReplicationStream>> {
        self.source.as_ref()
    }

    /// Returns whether it has replicas.
    #[must_use]
    pub(crate) fn has_replicas(&self) -> bool {
        !self.replicas.is_empty()
    }

    /// Returns whether its source has changes due at `now`.
    #[must_use]
    #[inline]
    pub(crate) fn is_due(&self, now: Millis) -> bool {
        self.source.as_ref().is_some_and(|stream| stream.is_due(now))
    }

    /// Takes what is due at `now`, in order.
    #[must_use]
    pub(crate) fn take_due(&self, now: Millis) -> Vec<Changes> {
        self.source.as_ref().map(|stream| stream.take_due(now)).unwrap_or_default()
    }

    /// Appends changes written at `now` to the streams of all replicas.
    pub(crate) fn propagate(&mut self, now: Millis, changes: Changes) {
        self.offset += changes.len() as u64;
        let bytes = changes.memory();
        let changes = Arc::new(changes);
        self.replicas.iter().for_each(|stream| stream.push(now, self.offset, &changes, bytes));
    }

    /// Sets the stream to apply from now on.
    pub(crate) fn set_source(&mut self, source: Arc<ReplicationStream>) {
        self.source = Some(source);
    }

    /// Removes the source; returns what its stream still held. `brings_rest` says whether the
    /// caller applies that, which determines the offset.
    pub(crate) fn remove_source(&mut self, brings_rest: bool) -> Vec<Changes> {
        let Some(stream) = self.source.take() else { return Vec::new() };
        let rest = stream.close();
        let backlog = stream.backlog.lock();
        self.offset = if brings_rest { backlog.written } else { backlog.applied };
        rest
    }

    /// Adds a replica that has all of this shard's keys now; `from` is this shard's number. Returns
    /// its stream.
    pub(crate) fn add_replica(
        &mut self,
        from: usize,
        lag_ms: Arc<AtomicI64>,
    ) -> Arc<ReplicationStream> {
        let stream = Arc::new(ReplicationStream::new(from, lag_ms, self.offset));
        self.replicas.push(Arc::clone(&stream));
        stream
    }

    /// Removes a replica's stream.
    pub(crate) fn remove_replica(&mut self, stream: &Arc<ReplicationStream>) {
        self.replicas.retain(|other| !Arc::ptr_eq(other, stream));
    }
}

/// The replicas' streams, for commands that report on them.
#[derive(Debug, Default)]
pub struct ReplicationStreams(Mutex<Vec<(usize, Arc<ReplicationStream>)>>);

impl ReplicationStreams {
    /// Sets the streams by the replica's shard.
    pub fn set(&self, streams: Vec<(usize, Arc<ReplicationStream>)>) {
        *self.0.lock() = streams;
    }

    /// Returns the stream that `shard` applies.
    #[must_use]
    pub fn of_shard(&self, shard: usize) -> Option<Arc<ReplicationStream>> {
        self.0.lock().iter().find(|(it, _)| *it == shard).map(|(_, stream)| Arc::clone(stream))
    }

    /// Returns the memory of all changes on their way, in bytes.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.0.lock().iter().map(|(_, stream)| stream.memory()).sum()
    }

    /// Returns the shards of replicas.
    #[must_use]
    pub fn replica_shards(&self) -> Vec<usize> {
        self.0.lock().iter().map(|(shard, _)| *shard).collect()
    }
}

/// WAIT: waits until replicas have what was written so far. WAITAOF: until they have it in their files,
/// of which there are none.
#[derive(Debug)]
pub struct ReplicaWait {
    /// How many replicas share the master's shard, and so have everything always.
    sharing: usize,
    /// The replicas' streams, and the offset that each has to reach.
    targets: Vec<(Arc<ReplicationStream>, u64)>,
    /// How many replicas are enough.
    wanted: usize,
    /// The deadline; `None` for none.
    until: Option<Millis>,
    /// It is WAITAOF.
    is_for_files: bool,
}

impl ReplicaWait {
    /// Makes a wait for the files of so many replicas.
    #[must_use]
    pub fn for_files(wanted: usize, until: Option<Millis>) -> Self {
        Self { is_for_files: true, ..Self::new(Vec::new(), 0, wanted, until) }
    }

    /// Writes how many replicas have everything at `now`; for WAITAOF, before that, how many files
    /// here.
    pub fn reply(&self, now: Millis, out: &mut Sink<'_>) {
        if self.is_for_files {
            out.array(2);
            out.int(0);
        }
        out.count(self.count(now));
    }

    /// Makes a wait for `wanted` of the replicas of these streams and of `sharing` others, which
    /// share the master's shard.
    #[must_use]
    pub fn new(
        streams: Vec<Arc<ReplicationStream>>,
        sharing: usize,
        wanted: usize,
        until: Option<Millis>,
    ) -> Self {
        let target = |stream: Arc<ReplicationStream>| {
            let written = stream.backlog.lock().written;
            (stream, written)
        };
        let targets = streams.into_iter().map(target).collect();
        Self { sharing, targets, wanted, until, is_for_files: false }
    }

    /// Returns whether it ends after some time.
    #[must_use]
    pub fn has_timeout(&self) -> bool {
        self.until.is_some()
    }

    /// Returns how many replicas have everything at `now`.
    #[must_use]
    pub fn count(&self, now: Millis) -> usize {
        let has_all = |(stream, offset): &&(Arc<ReplicationStream>, u64)| {
            stream.status(now).applied >= *offset
        };
        self.sharing + self.targets.iter().filter(has_all).count()
    }

    /// Returns when to check again; `None` if the wait is over at `now`.
    #[must_use]
    pub fn next_check(&self, now: Millis) -> Option<Millis> {
        if self.until.is_some_and(|until| until <= now) || self.count(now) >= self.wanted {
            return None;
        }
        let due_times = self.targets.iter().filter_map(|(stream, offset)| stream.due_for(*offset));
        let recheck = now.saturating_add(CHECK_EVERY_MS);
        due_times.filter(|at| *at > now).chain(self.until).chain([recheck]).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyspace::{Entry, KeyHasher, Keyspace, Ttl, Value};
    use crate::slot::Slot;

    fn keyspace() -> Keyspace {
        Keyspace::new(std::iter::empty(), KeyHasher::new(1), 1)
    }

    fn lag(ms: Millis) -> Arc<AtomicI64> {
        Arc::new(AtomicI64::new(ms))
    }

    /// A master's keyspace and its replica's, and the links between them.
    struct Pair {
        master: Keyspace,
        replica: Keyspace,
        master_links: ReplicationLinks,
        replica_links: ReplicationLinks,
    }

    impl Pair {
        fn new(lag_ms: Millis) -> Self {
            let (mut master_links, mut replica_links) =
                (ReplicationLinks::default(), ReplicationLinks::default());
            replica_links.set_source(master_links.add_replica(0, lag(lag_ms)));
            let mut master = keyspace();
            master.set_journaling(true);
            Self { master, replica: keyspace(), master_links, replica_links }
        }

        fn write(&mut self, now: Millis, keys: &[&[u8]], value: i64) {
            self.master.begin(now);
            for bytes in keys {
                let key = self.master.key(Slot::of(bytes), bytes);
                self.master.set(key, Value::Int(value), Ttl::Clear);
            }
            let changes = self.master.take_changes();
            self.master_links.propagate(now, changes);
        }

        fn read(&mut self, now: Millis, bytes: &[u8]) -> Option<i64> {
            self.replica.begin(now);
            if self.replica_links.is_due(now) {
                for changes in self.replica_links.take_due(now) {
                    self.replica.apply_changes(changes);
                }
            }
            let key = self.replica.key(Slot::of(bytes), bytes);
            match self.replica.peek(key).map(Entry::value) {
                Some(Value::Int(value)) => Some(*value),
                _ => None,
            }
        }
    }

    #[test]
    fn a_write_is_seen_exactly_when_the_lag_is_over() {
        let mut pair = Pair::new(50);
        pair.write(1000, &[b"a"], 1);
        pair.write(1010, &[b"a", b"b"], 2);
        for (now, a, b) in [
            (1000, None, None),
            (1049, None, None),
            (1050, Some(1), None),
            (1059, Some(1), None),
            (1060, Some(2), Some(2)),
        ] {
            assert_eq!((pair.read(now, b"a"), pair.read(now, b"b")), (a, b), "at {now}");
        }
        assert_eq!(pair.read(1000, b"a"), Some(2), "what was seen stays seen");
    }

    #[test]
    fn without_a_lag_a_write_is_visible_to_earlier_batches() {
        let mut pair = Pair::new(0);
        pair.write(1000, &[b"a"], 1);
        assert_eq!(pair.read(990, b"a"), Some(1));
    }

    #[test]
    fn a_clock_that_is_set_back_does_not_change_the_order() {
        let mut pair = Pair::new(50);
        pair.write(1000, &[b"a"], 1);
        pair.write(900, &[b"a"], 2);
        assert_eq!((pair.read(960, b"a"), pair.read(1050, b"a")), (None, Some(2)));
    }

    #[test]
    fn what_does_not_fit_arrives_early_and_is_kept_once() {
        let mut pair = Pair::new(1000);
        let long = vec![b'x'; BACKLOG_BYTES_MAX / 4];
        for round in 0..20 {
            pair.master.begin(round);
            let key = pair.master.key(Slot::of(b"a"), b"a");
            pair.master.set(key, Value::string(&long), Ttl::Clear);
            let key = pair.master.key(Slot::of(b"n"), b"n");
            pair.master.set(key, Value::Int(round), Ttl::Clear);
            let changes = pair.master.take_changes();
            pair.master_links.propagate(round, changes);
        }
        let stream = Arc::clone(pair.replica_links.source().expect("a stream"));
        let (bytes, early) = {
            let backlog = stream.backlog.lock();
            (backlog.bytes, backlog.early.memory())
        };
        assert!(bytes <= BACKLOG_BYTES_MAX && early < BACKLOG_BYTES_MAX / 2, "{bytes} {early}");
        let seen = pair.read(20, b"n").expect("the first ones have arrived");
        assert!((10..19).contains(&seen), "and the last have not: {seen}");
        assert_eq!(pair.read(1019, b"n"), Some(19));
    }

    #[test]
    fn a_wait_ends_when_enough_replicas_have_it() {
        let (mut links, mut streams) = (ReplicationLinks::default(), vec![]);
        for ms in [50, 200] {
            streams.push(links.add_replica(0, lag(ms)));
        }
        let mut keyspace = keyspace();
        keyspace.set_journaling(true);
        let mut write = |now| {
            keyspace.begin(now);
            let key = keyspace.key(Slot::of(b"a"), b"a");
            keyspace.set(key, Value::Int(now), Ttl::Clear);
            links.propagate(now, keyspace.take_changes());
        };
        write(1000);
        let replica_wait = |wanted, until| ReplicaWait::new(streams.clone(), 0, wanted, until);
        let (one, two, timed) =
            (replica_wait(1, None), replica_wait(2, None), replica_wait(2, Some(1080)));
        assert_eq!((one.count(1049), one.next_check(1049)), (0, Some(1050)));
        assert_eq!((one.count(1050), one.next_check(1050)), (1, None));
        assert_eq!((two.count(1050), two.next_check(1150)), (1, Some(1200)));
        assert_eq!((timed.count(1080), timed.next_check(1080)), (1, None));
        // Later writes do not matter to a wait for earlier ones.
        write(1100);
        assert_eq!((two.count(1200), two.next_check(1200)), (2, None));
        assert_eq!(replica_wait(2, None).next_check(1200), Some(1300));
        // A master that is down sends nothing; a replica promoted by force has lost the rest.
        let late = replica_wait(2, None);
        streams[1].set_up(false);
        assert_eq!((late.count(2000), late.next_check(2000)), (1, Some(2100)));
        streams[1].set_up(true);
        assert_eq!(late.count(2000), 2);
        let lost = replica_wait(2, Some(5000));
        write(3000);
        let lost_too = replica_wait(2, Some(5000));
        let mut promoted = ReplicationLinks::default();
        promoted.set_source(Arc::clone(&streams[1]));
        assert_eq!(promoted.remove_source(false).len(), 3, "none of them was applied");
        assert_eq!((lost.count(4000), lost_too.count(4000)), (1, 1));
    }

    #[test]
    fn how_far_behind() {
        let mut pair = Pair::new(50);
        let stream = Arc::clone(pair.replica_links.source().expect("a stream"));
        let status = |now| stream.status(now);
        assert_eq!(status(1000), ReplicaStatus { written: 0, applied: 0, behind_ms: 0 });
        pair.write(1000, &[b"a", b"b"], 1);
        pair.write(1020, &[b"a"], 1);
        assert_eq!(status(1030), ReplicaStatus { written: 3, applied: 0, behind_ms: 30 });
        assert_eq!(status(1060), ReplicaStatus { written: 3, applied: 2, behind_ms: 40 });
        pair.read(1060, b"a");
        assert_eq!(status(1070), ReplicaStatus { written: 3, applied: 3, behind_ms: 0 });
    }
}
