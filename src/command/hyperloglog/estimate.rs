//! The cardinality that registers stand for: the improved estimator of Otmar Ertl, "New cardinality
//! estimation algorithms for HyperLogLog sketches" (arXiv:1702.01284), which Redis uses, too.

use super::registers::{Histogram, REGISTERS, VALUE_MAX};

/// 1 / (2 ln 2).
const ALPHA: f64 = 0.721_347_520_444_481_7;

/// Returns the estimate for registers that are so many of each value.
pub(super) fn estimate(counts: &Histogram) -> u64 {
    let registers = REGISTERS as f64;
    let saturated = f64::from(counts[VALUE_MAX]);
    let mut sum = registers * tau((registers - saturated) / registers);
    for &count in counts[1..VALUE_MAX].iter().rev() {
        sum = (sum + f64::from(count)) * 0.5;
    }
    sum += registers * sigma(f64::from(counts[0]) / registers);
    let estimate = (ALPHA * registers * registers / sum).round();
    // Registers that no elements give: C converts a number too large to the lowest integer.
    if estimate < i64::MAX as f64 { estimate as u64 } else { i64::MIN as u64 }
}

/// Σ over k of x^(2^k) · 2^(k-1), and x.
fn sigma(mut x: f64) -> f64 {
    if x == 1.0 {
        return f64::INFINITY;
    }
    let (mut weight, mut sum) = (1.0, x);
    loop {
        x *= x;
        let before = sum;
        sum += x * weight;
        weight += weight;
        if sum == before {
            return sum;
        }
    }
}

/// A third of 1 - x - Σ over k of (1 - x^(2^-k))² · 2^-k.
fn tau(mut x: f64) -> f64 {
    if x == 0.0 || x == 1.0 {
        return 0.0;
    }
    let (mut weight, mut sum) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = sum;
        weight *= 0.5;
        sum -= (1.0 - x) * (1.0 - x) * weight;
        if sum == before {
            return sum / 3.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Registers that are all of these values, in equal shares.
    fn of(values: &[usize]) -> u64 {
        let mut counts = [0; 64];
        for value in values {
            counts[*value] += (REGISTERS / values.len()) as u32;
        }
        estimate(&counts)
    }

    #[test]
    fn extremes() {
        assert_eq!(of(&[0]), 0);
        assert_eq!(of(&[VALUE_MAX]), i64::MIN as u64);
        // Values that no hash gives.
        assert_eq!(of(&[63]), i64::MIN as u64);
        assert!(of(&[VALUE_MAX - 1]) > 1 << 60);
        assert!(of(&[0, 1]) < of(&[1]) && of(&[1]) < of(&[2]) && of(&[2]) < of(&[20, 30]));
    }
}
