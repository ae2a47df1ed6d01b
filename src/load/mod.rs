//! The transactional load generator: real client loops with invariants, against any Redis endpoint.
//!
//! ```text
//! Plan ─► run ─► Report          plain data at both ends; `cli` reads the one and shows the other
//!
//! run           starts the client threads and collects what they count
//! custody       the keys: claimed, written, checked, judged, removed
//! event_loop    one thread: sockets and the clock                           all I/O of the load
//! users         its users: bytes and times in, bytes and socket actions out         without I/O
//! workload      what one user does, as a state machine, and its invariants          without I/O
//! verifier      checks and violations, with the transactions involved
//! setup_client  blocking requests before and after: first values, checks, removal
//! ```
//!
//! With the same seed every connection makes the same sequence of choices, whatever the target
//! replies: random numbers are drawn when a transaction is chosen, never in reaction to a reply.

pub(crate) mod random;
pub(crate) mod claim;
pub(crate) mod custody;
pub(crate) mod health;
pub(crate) mod removal;
pub(crate) mod setup_client;
pub(crate) mod users;
pub(crate) mod event_loop;
pub(crate) mod failure;
pub(crate) mod local_cluster;
pub(crate) mod keys;
pub(crate) mod output;
pub(crate) mod plan;
pub(crate) mod verifier;
pub(crate) mod report;
pub mod run;
pub(crate) mod script;
pub(crate) mod several;
pub(crate) mod tally;
pub(crate) mod target;
pub(crate) mod tls;
pub(crate) mod url;
pub(crate) mod workload;

pub use failure::Cause;
pub(crate) use failure::{EXIT_BOUND, EXIT_BROKEN, EXIT_FAILED, Failure};
pub(crate) use plan::Plan;
pub(crate) use report::Report;
pub use run::run;
pub use several::{compare, sweep};
pub use url::Url;

use report::Point;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// The progress of a run, and the flag that stops it. Shared by reference or in an `Arc`: the run
/// writes, the live line reads.
#[derive(Debug, Default)]
pub struct Progress {
    stop: AtomicBool,
    phase: AtomicU64,
    elapsed_ms: AtomicU64,
    /// Rates of the last whole interval, not sums, so that a reader needs no state.
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

/// The progress of a run at one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Snapshot {
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
    /// Violations of invariants found so far.
    pub broken: u64,
}

impl Progress {
    /// Stops the run early; what was measured until then is reported.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Whether [`Progress::stop`] was called.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn set_phase(&self, phase: Phase) {
        self.phase.store(phase as u64, Ordering::Relaxed);
        if phase == Phase::Preparing {
            self.elapsed_ms.store(0, Ordering::Relaxed);
            self.committed.store(0, Ordering::Relaxed);
        }
    }

    fn update_elapsed(&self, elapsed: Duration, broken: u64) {
        let ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        self.elapsed_ms.store(ms, Ordering::Relaxed);
        self.broken.store(broken, Ordering::Relaxed);
    }

    fn update_rates(&self, point: &Point, committed: u64) {
        let per_second = point.committed as f64 / point.width.as_secs_f64().max(1e-9);
        let aborted = 1e6 * report::ratio(point.aborted, point.attempts);
        self.committed_per_second.store(per_second as u64, Ordering::Relaxed);
        self.abort_per_million.store(aborted as u64, Ordering::Relaxed);
        self.p99_ns.store(point.p99_ns, Ordering::Relaxed);
        self.committed.store(committed, Ordering::Relaxed);
    }

    /// Returns the current progress.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let read = |number: &AtomicU64| number.load(Ordering::Relaxed);
        Snapshot {
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
