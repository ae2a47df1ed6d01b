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
//!
//! Jobs that run scripts are left to a task of their own, with those behind them: a script may take
//! long, and the holder's client still waits for its reply, as do the clients of the shards that it
//! holds beside this one.

use super::context::{BatchContext, Turn};
use super::engine::Engine;
use super::execute::{Running, execute};
use super::outcome::{Outcome, Pending, RefuseWaiting, Served, WaitFor};
use crate::command::{Invocation, Pace, Queue, Refusal, Run};
use crate::keyspace::Keyspace;
use crate::resp::{Proto, Sink};
use crate::session::{OwnedUnit, Unit};
use crate::state::clients::Client;
use parking_lot::{Mutex, MutexGuard};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::oneshot;

/// Most attempts to take a held lock before a job is queued: about the time of a few commands.
const SPINS_MAX: u32 = 40;
/// Most jobs of other clients that one holder serves before another holder takes over.
const DRAIN_MAX: usize = 64;
/// How often a thread that waits for a shard asks whether it still should.
const ASKED_EVERY: Duration = Duration::from_millis(10);
/// Execution stops when a connection has more unsent output than this, in bytes.
pub(crate) const OUTPUT_LEN_MAX: usize = 1 << 20;

/// A shard. The queue is bounded by the number of clients: each has at most one job in it.
#[derive(Debug)]
pub struct Shard {
    engine: Mutex<Engine>,
    queue: Mutex<VecDeque<Job>>,
    /// The number of queued jobs. Raised after the job is in the queue, lowered after it is out.
    waiting: AtomicUsize,
    /// A task will serve the queue.
    is_left: AtomicBool,
}

/// A unit that waits for its shard.
#[derive(Debug)]
struct Job {
    /// Once this client is closed, no part of the job runs.
    client: Arc<Client>,
    unit: OwnedUnit,
    runs_script: bool,
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

/// A look at the keys of a shard, which [`Look::end`] has to end.
#[derive(Debug)]
pub struct Look<'s> {
    engine: MutexGuard<'s, Engine>,
}

impl Look<'_> {
    /// Returns the keys.
    #[must_use]
    #[inline]
    pub fn keyspace(&self) -> &Keyspace {
        &self.engine.keyspace
    }

    /// Unlocks the shard, and serves those that have queued a job meanwhile.
    #[inline]
    pub fn end(self, shard: &Arc<Shard>, turn: &Turn<'_>) {
        let after = AfterUnlock { shard, turn, is_task: false, served: 0 };
        drop(self.engine);
        drop(after);
    }
}

/// The second check of the queue.
struct AfterUnlock<'s> {
    shard: &'s Arc<Shard>,
    turn: &'s Turn<'s>,
    /// It is a task that serves the queue for no client of its own.
    is_task: bool,
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
            is_left: AtomicBool::new(false),
        });
        let waiting: Weak<Self> = Arc::downgrade(&shard);
        shard.engine.lock().set_waiting(waiting);
        shard
    }

    /// Holds the shard if it is free, or becomes free within a few moments.
    #[must_use]
    #[inline]
    pub fn try_hold<'s>(self: &'s Arc<Self>, turn: &'s Turn<'s>) -> Option<Hold<'s>> {
        let engine = self.engine.try_lock().or_else(|| self.spin())?;
        Some(self.held(engine, turn))
    }

    /// Tries again for a few moments.
    #[cold]
    fn spin(&self) -> Option<MutexGuard<'_, Engine>> {
        (1..SPINS_MAX).find_map(|_| {
            std::hint::spin_loop();
            self.engine.try_lock()
        })
    }

    /// Holds the shard for a look at its keys, if it is free: nothing is prepared for a command.
    #[must_use]
    #[inline]
    pub fn try_look(&self) -> Option<Look<'_>> {
        self.engine.try_lock().map(|engine| Look { engine })
    }

    /// Holds the shard, blocking the thread until it is free: never on a runtime worker.
    #[must_use]
    pub fn hold<'s>(self: &'s Arc<Self>, turn: &'s Turn<'s>) -> Hold<'s> {
        turn.reset_timer();
        self.held(self.engine.lock(), turn)
    }

    /// Does the same, unless `gives_up` says that it is no use to wait on: it is asked again and again.
    #[must_use]
    pub fn hold_unless<'s>(
        self: &'s Arc<Self>,
        turn: &'s Turn<'s>,
        gives_up: &dyn Fn() -> bool,
    ) -> Option<Hold<'s>> {
        turn.reset_timer();
        loop {
            if let Some(engine) = self.engine.try_lock_for(ASKED_EVERY) {
                return Some(self.held(engine, turn));
            }
            if gives_up() {
                return None;
            }
        }
    }

    #[inline]
    fn held<'s>(
        self: &'s Arc<Self>,
        mut engine: MutexGuard<'s, Engine>,
        turn: &'s Turn<'s>,
    ) -> Hold<'s> {
        engine.begin(turn);
        Hold { engine, after: AfterUnlock { shard: self, turn, is_task: false, served: 0 } }
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
        let (client, runs_script) = (Arc::clone(client), runs_script(&unit));
        let job = Job { client, unit, runs_script, proto, batch: *batch, reply };
        self.queue.lock().push_back(job);
        self.waiting.fetch_add(1, Ordering::AcqRel);
        if let Some(engine) = self.engine.try_lock() {
            drop(self.held(engine, &Turn::new(*batch, pace)));
        }
        pending
    }

    /// Returns whether the first job in the queue runs a script.
    fn has_script_next(&self) -> bool {
        self.queue.lock().front().is_some_and(|job| job.runs_script)
    }

    /// Returns the number of waiting jobs.
    fn waiting(&self) -> usize {
        // A read-modify-write that no compiler turns into a plain load: see the top.
        match self.waiting.compare_exchange(0, 0, Ordering::AcqRel, Ordering::Acquire) {
            Ok(none) => none,
            Err(some) => some,
        }
    }

    /// Takes the first job out of the queue; a job that runs a script stays, unless it `may_be_slow`.
    fn next_job(&self, may_be_slow: bool) -> Option<Job> {
        if self.waiting.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let mut queue = self.queue.lock();
        let job = queue.pop_front_if(|job| may_be_slow || !job.runs_script)?;
        drop(queue);
        self.waiting.fetch_sub(1, Ordering::AcqRel);
        Some(job)
    }

    /// Serves up to `jobs_max` jobs, those that run scripts only if they `may_be_slow`; returns how many
    /// it served.
    #[cold]
    fn serve_queue(
        &self,
        engine: &mut Engine,
        jobs_max: usize,
        may_be_slow: bool,
        pace: &dyn Pace,
    ) -> usize {
        let mut served = 0;
        while served < jobs_max
            && let Some(job) = self.next_job(may_be_slow)
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
            let Some(job) = self.next_job(true) else { break };
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
        after.turn.lap.set(self.engine.lap);
        finish(&mut self.engine, after.turn.pace);
        if after.shard.waiting.load(Ordering::Relaxed) != 0 {
            let (shard, pace) = (after.shard, after.turn.pace);
            after.turn.reset_timer();
            after.served = shard.serve_queue(&mut self.engine, DRAIN_MAX, after.is_task, pace);
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
        self.turn.reset_timer();
        while self.shard.waiting() != 0 {
            if self.served >= DRAIN_MAX || !self.is_task && self.shard.has_script_next() {
                return self.leave();
            }
            // The present holder checks the queue after unlocking.
            let Some(mut engine) = self.shard.engine.try_lock() else { return };
            let (left, pace) = (DRAIN_MAX - self.served, self.turn.pace);
            self.served += self.shard.serve_queue(&mut engine, left, self.is_task, pace);
        }
    }

    /// Leaves the jobs to a separate task, unless another holder serves them first. A task that was
    /// already left some, and has not begun, will see these as well.
    fn leave(&self) {
        if self.shard.is_left.swap(true, Ordering::AcqRel) {
            return;
        }
        let (shard, batch) = (Arc::clone(self.shard), self.turn.batch);
        self.turn.pace.later(Box::new(move |pace| {
            shard.is_left.store(false, Ordering::Release);
            if let Some(engine) = shard.engine.try_lock() {
                let turn = Turn::new(batch, pace);
                let mut hold = shard.held(engine, &turn);
                hold.after.is_task = true;
                drop(hold);
            }
        }));
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
        self.engine.set_reader(client);
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
            OwnedUnit::Exec(_) => out.error(Refusal::busy_at_exec(busy)),
            OwnedUnit::Blocking(_) | OwnedUnit::Watch(..) => out.error(busy),
        }
        let _disconnected = self.reply.send(Served { replies, then: None });
        None
    }

    fn run(self, engine: &mut Engine, pace: &dyn Pace) {
        let Self { client, unit, proto, batch, reply, .. } = self;
        if client.is_closing() {
            return;
        }
        let batch = &BatchContext { now: pace.now(), ..batch };
        engine.begin_batch(batch);
        engine.keyspace.no_touch = client.no_touch();
        engine.set_reader(&client);
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

/// Returns whether a unit runs a script, and so may take long.
fn runs_script(unit: &OwnedUnit) -> bool {
    let any = |queue: &Queue| queue.iter().any(|it| matches!(it.spec.run, Run::Script(_)));
    match unit {
        OwnedUnit::Commands(queue) => any(queue),
        OwnedUnit::Exec(transaction) => any(&transaction.queue),
        OwnedUnit::Blocking(_) | OwnedUnit::Watch(..) => false,
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
