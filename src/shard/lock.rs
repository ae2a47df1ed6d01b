//! The lock of a shard, which no thread of the runtime ever blocks on.
//!
//! ```text
//! hold      try the lock, spin a little; else copy the unit into the shard's queue, try once more,
//!           and await the reply
//! release   run the jobs that were queued meanwhile, unlock, look at the queue once more
//! ```
//!
//! The holder of a lock serves the jobs that arrived meanwhile (a combining queue): a hot shard
//! costs one copy per batch instead of a context switch. The second look after the unlock ensures
//! that no job is forgotten: a submitter tries the lock after counting its job, a holder reads the
//! count after unlocking, and both are read-modify-writes of the same counter, so that one of them
//! sees the other. A [`Hold`] releases the lock when it is dropped, also while a panic unwinds.

use super::context::{BatchContext, Turn};
use super::engine::Engine;
use super::execute::{Running, execute};
use super::outcome::{Outcome, Pending, RefuseWaiting, Served, WaitFor};
use crate::command::{Invocation, Pace, Queue, Refusal};
use crate::resp::{Proto, Sink};
use crate::session::{OwnedUnit, Unit};
use crate::state::clients::Client;
use parking_lot::{Mutex, MutexGuard};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use tokio::sync::oneshot;

/// Most attempts to take a held lock before a job is queued: about the time of a few commands.
const SPINS_MAX: u32 = 40;
/// Most jobs of other clients that one holder serves before another holder takes over.
const DRAIN_MAX: usize = 64;
/// Execution stops when a connection has more unsent output than this, in bytes.
pub(crate) const OUTPUT_LEN_MAX: usize = 1 << 20;

/// A shard. The queue is bounded by the number of clients: each has at most one job in it.
#[derive(Debug)]
pub struct Shard {
    engine: Mutex<Engine>,
    queue: Mutex<VecDeque<Job>>,
    /// The number of queued jobs. Raised after the job is in the queue, lowered after it is out.
    waiting: AtomicUsize,
}

/// A unit that waits for its shard.
#[derive(Debug)]
struct Job {
    /// Once this client is closed, no part of the job runs.
    client: Arc<Client>,
    unit: OwnedUnit,
    proto: Proto,
    /// The submitter's time: the holder's own may be seconds old.
    batch: BatchContext,
    reply: oneshot::Sender<Served>,
}

/// A held shard. Dropping it serves the queue and unlocks.
#[derive(Debug)]
pub struct Hold<'s> {
    // Dropped first: this releases the lock.
    engine: MutexGuard<'s, Engine>,
    // Dropped last: this checks the queue once more.
    after: AfterUnlock<'s>,
}

/// The second check of the queue.
struct AfterUnlock<'s> {
    shard: &'s Arc<Shard>,
    turn: &'s Turn<'s>,
    /// The number of jobs that this holder has served.
    served: usize,
}

impl std::fmt::Debug for AfterUnlock<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AfterUnlock").field("served", &self.served).finish_non_exhaustive()
    }
}

impl Shard {
    /// Returns a shard that runs `engine`.
    #[must_use]
    pub fn new(engine: Engine) -> Arc<Self> {
        let shard = Arc::new(Self {
            engine: Mutex::new(engine),
            queue: Mutex::default(),
            waiting: AtomicUsize::new(0),
        });
        let waiting: Weak<Self> = Arc::downgrade(&shard);
        shard.engine.lock().set_waiting(waiting);
        shard
    }

    /// Holds the shard if it is free, or becomes free within a few moments.
    #[must_use]
    #[inline]
    pub fn try_hold<'s>(self: &'s Arc<Self>, turn: &'s Turn<'s>) -> Option<Hold<'s>> {
        for _ in 0..SPINS_MAX {
            if let Some(engine) = self.engine.try_lock() {
                return Some(self.held(engine, turn));
            }
            std::hint::spin_loop();
        }
        None
    }

    /// Holds the shard, blocking the thread until it is free: never on a runtime worker.
    #[must_use]
    pub fn hold<'s>(self: &'s Arc<Self>, turn: &'s Turn<'s>) -> Hold<'s> {
        self.held(self.engine.lock(), turn)
    }

    #[inline]
    fn held<'s>(
        self: &'s Arc<Self>,
        mut engine: MutexGuard<'s, Engine>,
        turn: &'s Turn<'s>,
    ) -> Hold<'s> {
        engine.begin(&turn.batch);
        Hold { engine, after: AfterUnlock { shard: self, turn, served: 0 } }
    }

    /// Queues a unit for the holder of the shard, and runs it at once if no holder is left. Nothing
    /// is ever received if the client was closed before its turn.
    pub fn submit(
        self: &Arc<Self>,
        client: &Arc<Client>,
        unit: OwnedUnit,
        proto: Proto,
        batch: &BatchContext,
        pace: &dyn Pace,
    ) -> Pending {
        let (reply, pending) = oneshot::channel();
        let job = Job { client: Arc::clone(client), unit, proto, batch: *batch, reply };
        self.queue.lock().push_back(job);
        self.waiting.fetch_add(1, Ordering::AcqRel);
        if let Some(engine) = self.engine.try_lock() {
            drop(self.held(engine, &Turn::new(*batch, pace)));
        }
        pending
    }

    /// Returns the number of waiting jobs.
    fn waiting(&self) -> usize {
        // A read-modify-write that no compiler turns into a plain load: see the top.
        match self.waiting.compare_exchange(0, 0, Ordering::AcqRel, Ordering::Acquire) {
            Ok(none) => none,
            Err(some) => some,
        }
    }

    fn next_job(&self) -> Option<Job> {
        if self.waiting.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let job = self.queue.lock().pop_front()?;
        self.waiting.fetch_sub(1, Ordering::AcqRel);
        Some(job)
    }

    /// Serves up to `jobs_max` jobs; returns how many it served.
    #[cold]
    fn serve_queue(&self, engine: &mut Engine, jobs_max: usize, pace: &dyn Pace) -> usize {
        let mut served = 0;
        while served < jobs_max
            && let Some(job) = self.next_job()
        {
            job.run(engine, pace);
            served += 1;
        }
        finish(engine, pace);
        served
    }
}

impl RefuseWaiting for Shard {
    fn refuse_waiting(&self, busy: &Refusal) {
        // Only those that wait now: what keeps waiting goes to the end of the queue.
        for _ in 0..self.waiting() {
            let Some(job) = self.next_job() else { break };
            if let Some(job) = job.refuse(busy) {
                self.queue.lock().push_back(job);
                self.waiting.fetch_add(1, Ordering::AcqRel);
            }
        }
    }
}

/// Completes what is due before a shard is unlocked: publishes events, passes changes on to
/// replicas, has large values dropped elsewhere.
#[inline(always)]
fn finish(engine: &mut Engine, pace: &dyn Pace) {
    engine.publish_events(pace);
    engine.propagate();
    if engine.keyspace.has_lazy_free()
        && let Some(dead) = engine.keyspace.take_lazy_free()
    {
        pace.dispose(Box::new(dead));
    }
}

impl Drop for Hold<'_> {
    #[inline]
    fn drop(&mut self) {
        let after = &mut self.after;
        finish(&mut self.engine, after.turn.pace);
        if after.shard.waiting.load(Ordering::Relaxed) != 0 {
            after.served = after.shard.serve_queue(&mut self.engine, DRAIN_MAX, after.turn.pace);
        }
    }
}

impl Drop for AfterUnlock<'_> {
    #[inline]
    fn drop(&mut self) {
        if self.shard.waiting() != 0 {
            self.serve_again();
        }
    }
}

impl AfterUnlock<'_> {
    /// Serves the jobs that were queued while the shard was being unlocked.
    #[cold]
    fn serve_again(&mut self) {
        while self.shard.waiting() != 0 {
            if self.served >= DRAIN_MAX {
                // Jobs keep arriving: a separate task continues, unless another holder comes first.
                let (shard, batch) = (Arc::clone(self.shard), self.turn.batch);
                return self.turn.pace.later(Box::new(move |pace| {
                    if let Some(engine) = shard.engine.try_lock() {
                        drop(shard.held(engine, &Turn::new(batch, pace)));
                    }
                }));
            }
            // The present holder checks the queue after unlocking.
            let Some(mut engine) = self.shard.engine.try_lock() else { return };
            self.served +=
                self.shard.serve_queue(&mut engine, DRAIN_MAX - self.served, self.turn.pace);
        }
    }
}

impl Hold<'_> {
    /// Returns the engine.
    #[inline]
    pub fn engine(&mut self) -> &mut Engine {
        &mut self.engine
    }

    /// Returns the engine, with the context of this batch.
    #[inline]
    pub fn running<'e>(&'e mut self, client: &'e Arc<Client>) -> Running<'e> {
        let turn = self.after.turn;
        Running { engine: &mut self.engine, batch: &turn.batch, pace: turn.pace, client }
    }

    /// Runs one command that stands alone.
    #[inline]
    pub fn run(&mut self, invocation: &Invocation<'_>, out: &mut Sink<'_>) {
        let Turn { batch, pace, .. } = self.after.turn;
        self.engine.run(invocation, batch, *pace, out);
        self.engine.serve_blocked(batch, *pace);
    }

    /// Serves the clients that are blocked on keys which have got a value.
    pub fn serve_blocked(&mut self) {
        let Turn { batch, pace, .. } = self.after.turn;
        self.engine.serve_blocked(batch, *pace);
    }
}

impl Job {
    /// Replies that a script runs; returns the job if it keeps waiting.
    fn refuse(self, busy: &Refusal) -> Option<Self> {
        if let OwnedUnit::Watch(..) = self.unit {
            return Some(self);
        }
        let mut replies = Vec::new();
        let mut out = Sink::new(&mut replies, self.proto);
        match &self.unit {
            OwnedUnit::Commands(queue) => queue.iter().for_each(|_| out.error(busy)),
            OwnedUnit::Exec(_) => {
                let text = [b"EXECABORT Transaction discarded because of: ", busy.text()].concat();
                out.error(text);
            }
            OwnedUnit::Blocking(_) | OwnedUnit::Watch(..) => out.error(busy),
        }
        let _disconnected = self.reply.send(Served { replies, then: None });
        None
    }

    fn run(self, engine: &mut Engine, pace: &dyn Pace) {
        let Self { client, unit, proto, batch, reply } = self;
        if client.is_closing() {
            return;
        }
        let batch = &BatchContext { now: pace.now(), ..batch };
        engine.begin(batch);
        engine.keyspace.no_touch = client.no_touch();
        engine.instrumentation.client = client.id;
        let mut replies = Vec::new();
        let mut out = Sink::new(&mut replies, proto);
        let then = if unit.slot().is_some_and(|slot| !engine.serves_directly(slot, batch)) {
            // The slot has left, or is about to, since the submission.
            Some(WaitFor::Resume(Box::new(unit)))
        } else {
            run_owned(unit, &mut Running { engine, batch, pace, client: &client }, &mut out)
        };
        // The client may have disconnected while its job waited; then its replies are not read.
        let _disconnected = reply.send(Served { replies, then });
    }
}

/// Runs a unit from a queue; returns what its connection has to wait for or to resume.
fn run_owned(unit: OwnedUnit, on: &mut Running<'_>, out: &mut Sink<'_>) -> Option<WaitFor> {
    let mut run = |unit: Unit<'_>| match execute(&unit, on, out) {
        Outcome::Wait { wait, .. } => Some(wait),
        _ => None,
    };
    match unit {
        OwnedUnit::Commands(mut queue) => {
            queue.skip(run_each(&queue, on, out));
            let rest = (!queue.is_empty()).then_some(OwnedUnit::Commands(queue));
            rest.map(|rest| WaitFor::Resume(Box::new(rest)))
        }
        OwnedUnit::Blocking(queue) => run(Unit::Blocking(&queue.iter().next()?)),
        OwnedUnit::Watch(queue, guard) => run(Unit::Watch(&queue.iter().next()?, guard)),
        OwnedUnit::Exec(transaction) => run(Unit::Exec(transaction)),
    }
}

/// Runs lone commands, until there is much output to send or a slot has left; returns how many it
/// ran.
fn run_each(queue: &Queue, on: &mut Running<'_>, out: &mut Sink<'_>) -> usize {
    for (before, invocation) in queue.iter().enumerate() {
        let (engine, batch) = (&mut *on.engine, on.batch);
        let has_left = invocation.slot().is_some_and(|slot| !engine.serves_directly(slot, batch));
        if out.len() > OUTPUT_LEN_MAX || has_left {
            return before;
        }
        execute(&Unit::Command(&invocation), on, out);
    }
    queue.len()
}

#[cfg(test)]
#[path = "lock_tests.rs"]
mod tests;
