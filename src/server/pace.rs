//! What the middle asks of threads and timers, on tokio's multi-thread runtime.
//!
//! Work starts where it is, on a runtime worker. When it has used up its budget of thread CPU
//! time, the worker's place in the runtime is given to another thread and the work goes on
//! outside: cheap commands never pay for that, and a slow one stalls nobody but its own shard.

use super::clock;
use crate::command::{Errand, Pace};
use crate::keyspace::Millis;
use rustix::time::{ClockId, clock_gettime};
use std::time::Duration;
use tokio::task::{block_in_place, spawn_blocking};

/// Thread CPU time that a batch may use on a runtime worker.
const BUDGET: Duration = Duration::from_millis(5);
/// Steps between two looks at the clock; a step takes some 10 to 100 ns.
const STEPS_PER_LOOK: usize = 4096;
/// How long the worker's successor is given to take over. Taking over is a thread wake-up; when
/// that comes too late for once, the next look at the clock tries again.
const HAND_OVER: Duration = Duration::from_micros(300);
/// Hand-overs tried for one batch; each costs [`HAND_OVER`].
const HAND_OVERS_MAX: u32 = 4;

/// The pace of one batch.
#[derive(Debug, Default)]
pub(super) struct WorkerPace {
    steps: usize,
    /// Thread CPU time at the first look, once there was one.
    began: Option<Duration>,
    hand_overs: u32,
}

impl WorkerPace {
    #[cold]
    fn look(&mut self) {
        let now = clock_gettime(ClockId::ThreadCPUTime);
        let now = Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs() as u32);
        let began = *self.began.get_or_insert(now);
        if now.saturating_sub(began) > BUDGET && self.hand_overs < HAND_OVERS_MAX {
            self.hand_overs += 1;
            self.began = Some(now);
            block_in_place(|| rest(HAND_OVER));
        }
    }
}

impl Pace for WorkerPace {
    fn step(&mut self, units: usize) {
        self.steps += units;
        if self.steps >= STEPS_PER_LOOK {
            self.steps = 0;
            self.look();
        }
    }

    fn now(&self) -> Millis {
        clock::now()
    }

    fn sleep(&mut self, time: Duration) {
        block_in_place(|| rest(time));
    }

    fn outside(&mut self, work: &mut dyn FnMut()) {
        block_in_place(work);
    }

    fn dispose(&mut self, dead: Box<dyn Send>) {
        spawn_blocking(move || drop(dead));
    }

    fn later(&mut self, work: Errand) {
        tokio::spawn(async move { work(&mut Self::default()) });
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the rim that everybody else is sent to")]
fn rest(time: Duration) {
    std::thread::sleep(time);
}
