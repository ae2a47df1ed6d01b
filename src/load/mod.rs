//! The transactional load generator: real client loops with invariants, against any Redis endpoint.
//!
//! ```text
//! Plan ─► run ─► Report          plain data at both ends; `cli` reads the one and shows the other
//!
//! run        prepares, starts a thread for each part, checks the invariants afterwards
//! drive      one thread: sockets and the clock                                the only rim
//! crew       its users: bytes and times in, bytes and orders out              without I/O
//! workload   what one user does, as a state machine, and what must hold       without I/O
//! referee    what was found wrong, with the transactions involved
//! courier    blocking errands before and after: first values, checks, removal
//! ```
//!
//! With the same seed every connection makes the same sequence of choices, whatever the target
//! answers: chance is drawn when a transaction is chosen, never in reply to something.

pub mod chance;
pub mod setup_client;
pub mod users;
pub mod event_loop;
pub mod failure;
pub mod local_cluster;
pub mod keys;
pub mod output;
pub mod plan;
pub mod verifier;
pub mod report;
pub mod run;
pub mod script;
pub mod tally;
pub mod target;
pub mod tls;
pub mod url;
pub mod workload;

pub use failure::{Blame, EXIT_BOUND, EXIT_BROKEN, EXIT_FAILED, Failure};
pub use plan::{Plan, Sweep};
pub use report::{Comparison, Report, SweepReport};
pub use run::{compare, run, sweep};
pub use url::Url;

use report::Point;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// A look at a run from outside while it goes on, and the way to end it. Shared by reference or in
/// an `Arc`; the run writes, the live line reads.
#[derive(Debug, Default)]
pub struct Progress {
    stop: AtomicBool,
    phase: AtomicU64,
    elapsed_ms: AtomicU64,
    /// Rates of the last whole interval, not sums, so that a reader need not remember anything.
    committed_per_second: AtomicU64,
    abort_per_million: AtomicU64,
    p99_ns: AtomicU64,
    committed: AtomicU64,
    broken: AtomicU64,
}

/// What a run is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Connecting and writing the keys' first values.
    Preparing,
    /// Running, not yet measuring.
    WarmingUp,
    /// Measuring.
    Running,
    /// Reading the keys and checking the invariants.
    Checking,
    /// Done.
    Finished,
}

/// What a live line shows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Glance {
    /// What the run is doing.
    pub phase: Phase,
    /// Time since the load began, in milliseconds (warm-up included); 0 before.
    pub elapsed_ms: u64,
    /// Committed transactions per second in the last interval.
    pub committed_per_second: u64,
    /// Aborted attempts among all in the last interval, 0 to 1.
    pub abort_rate: f64,
    /// 99 % of the last interval's transactions took at most this, in nanoseconds.
    pub p99_ns: u64,
    /// Transactions committed since the load began.
    pub committed: u64,
    /// Breaks of invariants seen so far.
    pub broken: u64,
}

impl Progress {
    /// Asks the run to end soon; what was measured until then is reported.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Whether the run was asked to end.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn enter(&self, phase: Phase) {
        self.phase.store(phase as u64, Ordering::Relaxed);
        if phase == Phase::Preparing {
            self.elapsed_ms.store(0, Ordering::Relaxed);
            self.committed.store(0, Ordering::Relaxed);
        }
    }

    fn look(&self, elapsed: Duration, broken: u64) {
        let ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        self.elapsed_ms.store(ms, Ordering::Relaxed);
        self.broken.store(broken, Ordering::Relaxed);
    }

    fn show(&self, point: &Point, committed: u64) {
        let per_second = point.committed as f64 / point.width.as_secs_f64().max(1e-9);
        let aborted = 1e6 * report::ratio(point.aborted, point.attempts);
        self.committed_per_second.store(per_second as u64, Ordering::Relaxed);
        self.abort_per_million.store(aborted as u64, Ordering::Relaxed);
        self.p99_ns.store(point.p99_ns, Ordering::Relaxed);
        self.committed.store(committed, Ordering::Relaxed);
    }

    /// What is going on at this moment.
    #[must_use]
    pub fn glance(&self) -> Glance {
        let read = |number: &AtomicU64| number.load(Ordering::Relaxed);
        Glance {
            phase: match read(&self.phase) {
                0 => Phase::Preparing,
                1 => Phase::WarmingUp,
                2 => Phase::Running,
                3 => Phase::Checking,
                _ => Phase::Finished,
            },
            elapsed_ms: read(&self.elapsed_ms),
            committed_per_second: read(&self.committed_per_second),
            abort_rate: read(&self.abort_per_million) as f64 / 1e6,
            p99_ns: read(&self.p99_ns),
            committed: read(&self.committed),
            broken: read(&self.broken),
        }
    }
}
