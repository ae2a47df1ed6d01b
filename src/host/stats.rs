//! What the process counts from its start, or the last CONFIG RESETSTAT, on.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Counts `n` more.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// What was counted.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn reset(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

/// The process's counters. Those of traffic are brought up to date once per read batch.
#[derive(Debug, Default)]
pub struct Stats {
    /// Connections accepted.
    pub connections_received: Counter,
    /// Connections turned away: too many, or strangers to a protected server.
    pub connections_rejected: Counter,
    /// Commands run, queued ones when their EXEC ran them.
    pub commands: Counter,
    /// Commands answered with an error.
    pub errors: Counter,
    /// Bytes received.
    pub bytes_in: Counter,
    /// Bytes sent.
    pub bytes_out: Counter,
    /// Requests and transactions refused because their keys live in several slots.
    pub crossslot_refusals: Counter,
    /// EXECs that ran.
    pub execs_run: Counter,
    /// EXECs that answered nil because a watched key had been touched.
    pub execs_lost: Counter,
    /// EXECs refused: EXECABORT, CROSSSLOT.
    pub execs_refused: Counter,
}

impl Stats {
    /// Counts from zero again.
    pub fn reset(&self) {
        for counter in [
            &self.connections_received,
            &self.connections_rejected,
            &self.commands,
            &self.errors,
            &self.bytes_in,
            &self.bytes_out,
            &self.crossslot_refusals,
            &self.execs_run,
            &self.execs_lost,
            &self.execs_refused,
        ] {
            counter.reset();
        }
    }
}
