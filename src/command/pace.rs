//! What the middle asks of threads, clocks and timers while a batch runs.

use crate::keyspace::Millis;
use std::task::Waker;
use std::time::Duration;

/// The runtime's side of a batch. Methods take `&self`, so that everything that is held for the batch
/// can keep a reference to it and give itself back when it is dropped.
pub trait Pace {
    /// Counts `units` cheap steps (an element visited, a hundred bytes compared). Long work reports
    /// them every thousand steps or so, and the runtime gets its worker back.
    fn step(&self, units: usize);
    /// The time, in milliseconds since the epoch, for work that had to wait: the time at which its
    /// batch began may be long past.
    fn now(&self) -> Millis;
    /// A count that grows steadily and measures how long commands take; 0 where that is not measured.
    fn ticks(&self) -> u64 {
        0
    }
    /// Waits, away from the runtime's workers.
    fn sleep(&self, time: Duration);
    /// Runs `work`, which may block the thread, away from the runtime's workers.
    fn outside(&self, work: &mut dyn FnMut());
    /// Drops a value that takes long to drop, on another thread.
    fn dispose(&self, dead: Box<dyn Send>);
    /// Delays the replies of this turn; no other client waits for that.
    fn delay_reply(&self, _: ReplyDelay) {}
    /// Runs `work` soon, as a task of its own.
    fn later(&self, work: DeferredWork);
    /// Counts a message that was queued for another client, and wakes its connection, if that sleeps,
    /// when the batch is done at the latest.
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
    /// By this time, as a fault demands.
    For(Duration),
    /// Until the listeners have opened or closed as ordered.
    Doors,
}

/// Work for later, which is run with a pace of its own.
pub type DeferredWork = Box<dyn FnOnce(&dyn Pace) + Send>;

/// A pace without threads: everything happens at once, at a fixed time. For tests, and for whatever
/// else drives the router as a plain function.
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
