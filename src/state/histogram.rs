//! How long something took, many times over: counts in buckets whose width grows with the time.
//!
//! ```text
//! ticks      0 1 2 … 15 │ 16 … 31 │ 32 34 … 62 │ 64 68 … 124 │ …
//! width          1      │    1    │     2      │      4      │      16 buckets per doubling
//! ```
//!
//! Every command records here, so a bucket is found by a count of leading zeros and a shift. A
//! value is known to a sixteenth of itself; 4 KiB hold half a minute of ticks of a nanosecond.
//! (The HDR histogram that Redis keeps knows values to a hundredth and takes six times as much,
//! which here would be needed for each command on each shard.)

/// Buckets per doubling.
const STEPS: usize = 16;
/// Values of so many bits have buckets of their own; longer ones fall into the last.
const BITS: usize = 36;
const BUCKETS: usize = (BITS - 3) * STEPS;

/// A histogram of ticks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram {
    counts: [u64; BUCKETS],
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: [0; BUCKETS] }
    }
}

#[inline]
fn bucket(ticks: u64) -> usize {
    // Below 16 the value is its own bucket: as if it had the highest of five bits.
    let shift = 59 - (ticks | STEPS as u64).leading_zeros();
    let at = shift as usize * STEPS + (ticks >> shift) as usize;
    at.min(BUCKETS - 1)
}

/// Returns the largest value that falls into a bucket.
fn top(bucket: usize) -> u64 {
    let shift = (bucket / STEPS).saturating_sub(1);
    let first = ((bucket - shift * STEPS) as u64) << shift;
    first + (1 << shift) - 1
}

impl Histogram {
    /// Counts one more that took `ticks`.
    #[inline]
    pub fn record(&mut self, ticks: u64) {
        self.counts[bucket(ticks)] += 1;
    }

    /// Adds what another has counted.
    pub fn add(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
    }

    /// Returns how many were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Returns the ticks that `percent` of all took at the most; 0 of none.
    #[must_use]
    pub fn percentile(&self, percent: f64) -> u64 {
        let count = self.count();
        let wanted = ((count as f64 * percent.clamp(0.0, 100.0) / 100.0).round() as u64).max(1);
        let mut seen = 0;
        let found = self.counts.iter().position(|count| {
            seen += count;
            seen >= wanted
        });
        found.map_or(0, top)
    }

    /// Returns what was counted, from short to long: the longest time of a bucket in ticks, and its
    /// count.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, u64)> {
        self.counts.iter().enumerate().filter(|(_, count)| **count > 0).map(|(i, &n)| (top(i), n))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_follow_one_another_without_a_gap() {
        let mut before = None;
        for i in 0..BUCKETS {
            let first = before.map_or(0, |top| top + 1);
            assert_eq!((bucket(first), bucket(top(i))), (i, i), "{first}");
            assert!(top(i) - first <= first / STEPS as u64, "a sixteenth at the most");
            before = Some(top(i));
        }
        assert_eq!(before, Some((1 << BITS) - 1));
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn percentiles_are_those_of_the_values() {
        let mut all = Histogram::default();
        assert_eq!(all.percentile(50.0), 0);
        let mut half = Histogram::default();
        for value in 1..=1000 {
            if value % 2 == 0 { &mut all } else { &mut half }.record(value);
        }
        all.add(&half);
        assert_eq!(all.count(), 1000);
        for (percent, value) in [(0.0, 1), (1.0, 10), (50.0, 500), (99.9, 999), (100.0, 1000)] {
            assert_eq!(all.percentile(percent), top(bucket(value)), "{percent}");
        }
        assert_eq!(all.buckets().map(|(_, count)| count).sum::<u64>(), 1000);
    }
}
