//! The threads and timers of the core, on tokio's runtimes.
//!
//! Work starts on the present runtime worker. When there are several threads and it has used up its
//! budget of thread CPU time, the worker's place in the runtime passes to another thread, and the
//! work continues outside: cheap commands never pay for that, and a slow one stalls only its own
//! shard. On a single thread a slow command delays all others, as in Redis: so that they keep their
//! order.

use super::clock;
use super::runtime::{aside, has_several_threads};
use crate::command::{DeferredWork, Pace, ReplyDelay};
use crate::keyspace::Millis;
use rustix::time::{ClockId, clock_gettime};
use std::cell::{Cell, RefCell};
use std::task::Waker;
use std::time::Duration;
use tokio::task::{spawn_blocking, yield_now};

/// Thread CPU time that a batch may use on a runtime worker.
const BUDGET: Duration = Duration::from_millis(5);
/// Steps between two looks at the clock; a step takes some 10 to 100 ns.
const STEPS_PER_LOOK: usize = 4096;
/// The time that the worker's successor gets to take over. Taking over is a thread wake-up; when a
/// wake-up is late, the next look at the clock tries again.
const HAND_OVER: Duration = Duration::from_micros(300);
/// Hand-overs tried in short succession; each costs [`HAND_OVER`]. Where the machine is so busy that none
/// of them succeeds, clients that this thread wakes would wait for the end of the batch: it goes on trying,
/// each time after twice as long.
const HAND_OVERS_AT_ONCE: u32 = 4;
/// How often the time until the next try is doubled at most.
const DOUBLED_MAX: u32 = 5;

/// Most sleepers that are woken at once; further ones are woken in steps.
const ROUSED_FIRST: usize = 32;

/// The pace of one batch.
#[derive(Debug, Default)]
pub(super) struct WorkerPace {
    steps: Cell<usize>,
    /// Thread CPU time at the first look, if there was one.
    began: Cell<Option<Duration>>,
    hand_overs: Cell<u32>,
    /// Woken when this is dropped, so that the messages which a batch queued for them are sent at
    /// once.
    sleepers: RefCell<Vec<Waker>>,
    has_delivered: Cell<bool>,
    reply_delay: Cell<Option<ReplyDelay>>,
}

impl Drop for WorkerPace {
    fn drop(&mut self) {
        let sleepers = self.sleepers.get_mut();
        if sleepers.is_empty() {
            return;
        }
        if sleepers.len() <= ROUSED_FIRST {
            sleepers.drain(..).for_each(Waker::wake);
        } else {
            tokio::spawn(rouse(std::mem::take(sleepers)));
        }
    }
}

/// Wakes many connections that have messages to send, a few at first and twice as many each time;
/// in between, other tasks run. Messages that are published meanwhile go out with the same write:
/// with a thousand subscribers, the writes are nearly all the work.
async fn rouse(sleepers: Vec<Waker>) {
    let mut sleepers = sleepers.into_iter();
    let mut count = ROUSED_FIRST;
    while sleepers.len() > 0 {
        sleepers.by_ref().take(count).for_each(Waker::wake);
        count *= 2;
        yield_now().await;
    }
}

impl WorkerPace {
    /// Returns whether the batch queued messages for other clients.
    pub(super) fn has_delivered(&self) -> bool {
        self.has_delivered.get()
    }

    /// Takes the reason why the replies of the batch are to be delayed, if they are.
    pub(super) fn take_reply_delay(&self) -> Option<ReplyDelay> {
        self.reply_delay.take()
    }

    #[cold]
    fn look(&self) {
        if !has_several_threads() {
            return;
        }
        let now = clock_gettime(ClockId::ThreadCPUTime);
        let now = Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs() as u32);
        let began = self.began.get().unwrap_or(now);
        self.began.set(Some(began));
        let doubled = self.hand_overs.get().saturating_sub(HAND_OVERS_AT_ONCE).min(DOUBLED_MAX);
        if now.saturating_sub(began) > BUDGET * 2_u32.pow(doubled) {
            self.hand_overs.set(self.hand_overs.get() + 1);
            self.began.set(Some(now));
            aside(|| rest(HAND_OVER));
        }
    }
}

impl Pace for WorkerPace {
    fn step(&self, units: usize) {
        self.steps.set(self.steps.get() + units);
        if self.steps.get() >= STEPS_PER_LOOK {
            self.steps.set(0);
            self.look();
        }
    }

    fn now(&self) -> Millis {
        clock::now()
    }

    #[inline]
    fn ticks(&self) -> u64 {
        clock::ticks()
    }

    fn is_alone(&self) -> bool {
        !has_several_threads()
    }

    fn sleep(&self, time: Duration) {
        aside(|| rest(time));
    }

    fn outside(&self, work: &mut dyn FnMut()) {
        aside(work);
    }

    fn dispose(&self, dead: Box<dyn Send>) {
        spawn_blocking(move || drop(dead));
    }

    fn delay_reply(&self, why: ReplyDelay) {
        self.reply_delay.set(Some(why));
    }

    fn later(&self, work: DeferredWork) {
        tokio::spawn(async move { work(&Self::default()) });
    }

    fn delivered(&self, sleeper: Option<Waker>) {
        self.has_delivered.set(true);
        self.step(1);
        self.sleepers.borrow_mut().extend(sleeper);
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the rim that all other code goes through")]
fn rest(time: Duration) {
    std::thread::sleep(time);
}
