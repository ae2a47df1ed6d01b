//! Connection and traffic counters, since the start or the last CONFIG RESETSTAT.

use crate::keyspace::Millis;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A counter.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub(super) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// Returns the count.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn reset(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

/// The counters of a port. Those of traffic are updated once per read batch.
#[derive(Debug, Default)]
pub struct Stats {
    /// The router port's, if these are a node's: it counts the clients of all ports.
    whole: Option<Arc<Self>>,
    /// Connections accepted.
    pub connections_received: Counter,
    /// Connections rejected: too many, or from other machines in protected mode.
    pub connections_rejected: Counter,
    /// Requests received: for the rate only, since calls are counted in the command statistics.
    pub requests: Counter,
    /// Bytes received.
    pub bytes_in: Counter,
    /// Bytes sent.
    pub bytes_out: Counter,
    /// Reads from sockets that brought something.
    pub reads: Counter,
    /// Writes of replies and messages.
    pub writes: Counter,
    /// Clients closed because they sent more than they may without its being executed.
    pub input_limit_closes: Counter,
    /// Requests and transactions refused because their keys are in several slots.
    pub crossslot_refusals: Counter,
    rates: Mutex<Rates>,
    expiry: Mutex<ExpiryCycle>,
}

/// The removal of expired keys that no command reads.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ExpiryCycle {
    /// Of the keys with an expiry, how many of a hundred were found expired lately.
    pub stale_percent: f64,
    /// How often a cycle ended by its bounds, with more to remove.
    pub cut_short: u64,
    /// The time that it took.
    pub nanos: u64,
}

/// The share of the latest cycle in [`ExpiryCycle::stale_percent`].
const LATEST_SHARE: f64 = 0.05;

impl ExpiryCycle {
    /// Counts a cycle over so many keys with an expiry, of which some had expired.
    fn note(&mut self, volatile: usize, removed: usize, cut_short: bool, nanos: u64) {
        if volatile > 0 {
            let percent = 100.0 * removed as f64 / volatile as f64;
            self.stale_percent += (percent - self.stale_percent) * LATEST_SHARE;
        }
        self.cut_short += u64::from(cut_short);
        self.nanos += nanos;
    }
}

impl Stats {
    /// Makes the counters of a node, whose traffic `whole` counts too.
    #[must_use]
    pub fn of_node(whole: &Arc<Self>) -> Self {
        Self { whole: Some(Arc::clone(whole)), ..Self::default() }
    }

    /// Adds `n` to a counter.
    pub fn add(&self, counter: impl Fn(&Self) -> &Counter, n: u64) {
        counter(self).add(n);
        if let Some(whole) = &self.whole {
            counter(whole).add(n);
        }
    }

    /// Counts a read of so many bytes; of none there was no read.
    pub fn note_read(&self, len: usize) {
        if len > 0 {
            self.add(|it| &it.reads, 1);
            self.add(|it| &it.bytes_in, len as u64);
        }
    }

    /// Counts a write of so many bytes; of none there was no write.
    pub fn note_write(&self, len: usize) {
        if len > 0 {
            self.add(|it| &it.writes, 1);
            self.add(|it| &it.bytes_out, len as u64);
        }
    }

    /// Counts a cycle of the removal of expired keys, here and in the whole.
    pub fn note_expiry(&self, volatile: usize, removed: usize, cut_short: bool, nanos: u64) {
        for stats in std::iter::once(self).chain(self.whole.as_deref()) {
            stats.expiry.lock().note(volatile, removed, cut_short, nanos);
        }
    }

    /// Returns the counts of the removal of expired keys.
    #[must_use]
    pub fn expiry(&self) -> ExpiryCycle {
        *self.expiry.lock()
    }

    /// Resets the counters.
    pub fn reset(&self) {
        *self.expiry.lock() = ExpiryCycle::default();
        let mut rates = self.rates.lock();
        for counter in [
            &self.connections_received,
            &self.connections_rejected,
            &self.requests,
            &self.bytes_in,
            &self.bytes_out,
            &self.crossslot_refusals,
            &self.reads,
            &self.writes,
            &self.input_limit_closes,
        ] {
            counter.reset();
        }
        *rates = Rates::default();
    }

    /// Samples the traffic counters: to be called about ten times a second.
    pub fn sample(&self, now: Millis) {
        let totals = [&self.requests, &self.bytes_in, &self.bytes_out].map(Counter::get);
        self.rates.lock().sample(now, totals);
    }

    /// Returns the recent traffic, per second.
    #[must_use]
    pub fn rate(&self) -> Rate {
        self.rates.lock().rate()
    }
}

/// Traffic per second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rate {
    /// Requests.
    pub requests: f64,
    /// Bytes received.
    pub bytes_in: f64,
    /// Bytes sent.
    pub bytes_out: f64,
}

/// Samples per mean.
const SAMPLES: usize = 16;

/// Samples of the recent traffic.
#[derive(Debug, Default)]
struct Rates {
    /// The time and totals of the last sample.
    last: Option<(Millis, [u64; 3])>,
    /// Per second, between two samples; a ring buffer.
    samples: [[f64; 3]; SAMPLES],
    next: usize,
}

impl Rates {
    fn sample(&mut self, now: Millis, totals: [u64; 3]) {
        if let Some((then, before)) = self.last {
            if now <= then {
                return;
            }
            let seconds = (now - then) as f64 / 1000.0;
            self.samples[self.next] =
                std::array::from_fn(|i| totals[i].saturating_sub(before[i]) as f64 / seconds);
            self.next = (self.next + 1) % SAMPLES;
        }
        self.last = Some((now, totals));
    }

    fn rate(&self) -> Rate {
        let mean =
            |i: usize| self.samples.iter().map(|sample| sample[i]).sum::<f64>() / SAMPLES as f64;
        Rate { requests: mean(0), bytes_in: mean(1), bytes_out: mean(2) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_means_of_the_last_samples() {
        let stats = Stats::default();
        assert_eq!(stats.rate(), Rate::default());
        for tick in 0..=SAMPLES as i64 {
            stats.sample(tick * 100);
            stats.add(|it| &it.requests, 10);
            stats.add(|it| &it.bytes_in, 1000);
        }
        assert_eq!(stats.rate(), Rate { requests: 100.0, bytes_in: 10_000.0, bytes_out: 0.0 });
        stats.sample(1600);
        assert_eq!(stats.rate().requests, 100.0, "a clock that stands still adds nothing");
        stats.reset();
        stats.sample(1700);
        assert_eq!(stats.rate(), Rate::default());
    }

    #[test]
    fn the_router_port_counts_what_nodes_count() {
        let whole = Arc::new(Stats::default());
        let nodes = [Stats::of_node(&whole), Stats::of_node(&whole)];
        nodes[0].add(|it| &it.bytes_in, 3);
        whole.add(|it| &it.bytes_in, 1);
        let counts = || [&nodes[0], &nodes[1], &whole].map(|stats| stats.bytes_in.get());
        assert_eq!(counts(), [3, 0, 4]);
        nodes[0].reset();
        assert_eq!(counts(), [0, 0, 4]);
    }
}
