//! LATENCY: slow commands recorded as spikes, once `latency-monitor-threshold` is set.

use crate::keyspace::Millis;
use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};

/// Samples kept per event.
const SAMPLES_MAX: usize = 160;

/// The longest time within a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Seconds since the epoch.
    pub at_s: i64,
    /// The longest time within that second, in milliseconds.
    pub millis: u64,
}

/// The samples of one event, and its maximum.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LatencySpike {
    /// The oldest first, one per second.
    pub samples: VecDeque<Sample>,
    /// The longest time since the last reset, in milliseconds.
    pub millis_max: u64,
}

/// The events, by their names.
#[derive(Debug, Default)]
pub struct LatencyMonitor {
    events: Mutex<BTreeMap<&'static str, LatencySpike>>,
}

impl LatencyMonitor {
    /// Records that `event` took `millis`.
    pub fn note(&self, event: &'static str, now: Millis, millis: u64) {
        let at_s = now.div_euclid(1000);
        let mut events = self.events.lock();
        let spike = events.entry(event).or_default();
        spike.millis_max = spike.millis_max.max(millis);
        match spike.samples.back_mut() {
            Some(last) if last.at_s == at_s => last.millis = last.millis.max(millis),
            _ => {
                if spike.samples.len() == SAMPLES_MAX {
                    spike.samples.pop_front();
                }
                spike.samples.push_back(Sample { at_s, millis });
            }
        }
    }

    /// Returns every event with its samples.
    #[must_use]
    pub fn all(&self) -> Vec<(&'static str, LatencySpike)> {
        self.events.lock().iter().map(|(name, spike)| (*name, spike.clone())).collect()
    }

    /// Returns the event of this name; case matters.
    #[must_use]
    pub fn get(&self, event: &[u8]) -> Option<LatencySpike> {
        let events = self.events.lock();
        events.iter().find(|(name, _)| name.as_bytes() == event).map(|(_, spike)| spike.clone())
    }

    /// Removes the named events, or all if none is named; returns how many.
    pub fn reset<'a>(&self, names: impl ExactSizeIterator<Item = &'a [u8]>) -> usize {
        let mut events = self.events.lock();
        let before = events.len();
        if names.len() == 0 {
            events.clear();
        }
        for name in names {
            events.retain(|event, _| !name.eq_ignore_ascii_case(event.as_bytes()));
        }
        before - events.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_sample_a_second_and_so_many_of_them() {
        let spikes = LatencyMonitor::default();
        for second in 0..200 {
            spikes.note("command", second * 1000, 5);
            spikes.note("command", second * 1000 + 999, if second == 0 { 900 } else { 7 });
            spikes.note("command", second * 1000 + 999, 6);
        }
        let spike = spikes.get(b"command").expect("noted");
        assert_eq!((spike.samples.len(), spike.millis_max), (SAMPLES_MAX, 900));
        assert_eq!(spike.samples.back(), Some(&Sample { at_s: 199, millis: 7 }));
        assert_eq!(spikes.reset([&b"nosuch"[..]].into_iter()), 0);
        assert_eq!(spikes.reset([].into_iter()), 1);
        assert!(spikes.all().is_empty());
    }
}
