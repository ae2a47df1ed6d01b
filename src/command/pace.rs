//! What the runtime does for commands while a batch runs: time, yielding, waking, deferring.
//!
//! Commands are plain synchronous code. [`Pace`] is their one way to the threads, clocks and timers
//! of `server/`. Its methods take `&self`, so that a hold can keep a reference to it and let go of itself
//! when it is dropped.

use crate::keyspace::Millis;
use std::task::Waker;
use std::time::Duration;

/// The runtime as a command sees it. It knows threads, clocks and timers.
pub trait Pace {
    /// Counts `units` cheap steps (an element visited, a hundred bytes compared). Long work calls
    /// this every thousand steps or so, and the runtime gets its worker thread back in between.
    fn step(&self, units: usize);
    /// The time, in milliseconds since the epoch: for work that had to wait, since the time that
    /// its batch was given may be long past.
    fn now(&self) -> Millis;
    /// A counter that grows steadily, to measure how long commands take; 0 if nothing is measured.
    fn ticks(&self) -> u64 {
        0
    }
    /// Returns whether no other client is served while this thread works.
    fn is_alone(&self) -> bool {
        false
    }
    /// Sleeps, away from the runtime's workers.
    fn sleep(&self, time: Duration);
    /// Does `work`, which may block the thread, away from the runtime's workers.
    fn outside(&self, work: &mut dyn FnMut());
    /// Drops a value that takes long to drop, on another thread.
    fn dispose(&self, dead: Box<dyn Send>);
    /// Delays the replies of this connection's turn; no other connection waits for them.
    fn delay_reply(&self, _: ReplyDelay) {}
    /// Does `work` soon, in a turn of its own.
    fn later(&self, work: DeferredWork);
    /// Counts a message delivered to another client as a step. If that client's connection sleeps,
    /// its waker is given, and it is woken at the latest soon after the batch is done.
    fn delivered(&self, sleeper: Option<Waker>) {
        self.step(1);
        if let Some(sleeper) = sleeper {
            sleeper.wake();
        }
    }
}

/// Why replies are delayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyDelay {
    /// For this time, on purpose.
    For(Duration),
    /// Until the listeners have opened and closed as the stopped nodes require.
    Listeners,
}

/// Work for later; it is given a pace of its own when it is done.
pub(crate) type DeferredWork = Box<dyn FnOnce(&dyn Pace) + Send>;

/// A pace without threads: everything happens at once, at a fixed time. For tests, and for whatever
/// else runs the router as a plain function.
#[derive(Clone, Copy, Debug, Default)]
pub struct Immediate(pub Millis);

impl Pace for Immediate {
    fn step(&self, _: usize) {}
    fn now(&self) -> Millis {
        self.0
    }
    fn sleep(&self, _: Duration) {}
    fn outside(&self, work: &mut dyn FnMut()) {
        work();
    }
    fn dispose(&self, dead: Box<dyn Send>) {
        drop(dead);
    }
    fn later(&self, work: DeferredWork) {
        work(self);
    }
}

/// How many steps are counted before the pace is called.
const STRIDE_UNITS: usize = 1000;
/// This many bytes are copied in about the time of one step of the pace.
pub(super) const BYTES_PER_STEP: usize = 100;

/// The cost of reading or writing `len` bytes, in steps of the pace.
pub(super) fn units(len: usize) -> usize {
    1 + len / BYTES_PER_STEP
}

/// Counts many small steps and passes them to the pace in strides.
pub(super) struct Strides<'p> {
    pace: &'p dyn Pace,
    units: usize,
}

impl<'p> Strides<'p> {
    pub(super) fn new(pace: &'p dyn Pace) -> Self {
        Self { pace, units: 0 }
    }

    pub(super) fn step(&mut self, units: usize) {
        self.units += units;
        if self.units >= STRIDE_UNITS {
            self.pace.step(std::mem::take(&mut self.units));
        }
    }
}
