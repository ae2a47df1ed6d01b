//! A histogram of times: counts in buckets whose width grows with the time.
//!
//! ```text
//! ticks      0 1 2 … 15 │ 16 … 31 │ 32 34 … 62 │ 64 68 … 124 │ …
//! width          1      │    1    │     2      │      4      │      16 buckets per doubling
//! ```
//!
//! Every command records here, so a bucket is found by counting leading zeros and a shift. Values
//! are exact to a sixteenth; 4 KiB cover half a minute in ticks of a nanosecond. (The HDR histogram
//! of Redis is exact to a hundredth and takes six times as much, which here would be needed for
//! each command on each shard.)

/// Buckets per doubling.
const STEPS: usize = 16;
/// Values of up to so many bits have buckets of their own; longer ones fall into the last bucket.
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
    // Below 16 the value is its own bucket, as if it had five bits.
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
    /// Records a time of `ticks`.
    #[inline]
    pub fn record(&mut self, ticks: u64) {
        self.counts[bucket(ticks)] += 1;
    }

    /// Adds the counts of `other`.
    pub fn add(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
    }

    /// Returns the number of recorded times.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Returns the percentile: the ticks that `percent` of the times do not exceed; 0 without any
    /// times.
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

    /// Returns the non-empty buckets, ascending: the longest time of each in ticks, and its count.
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
