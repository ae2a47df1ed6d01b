//! Seeded random numbers: one generator per transaction loop, so that the same seed gives every
//! loop the same sequence of choices.

use super::plan::{Distribution, Shape};

/// A random number generator.
pub(crate) type Rng = fastrand::Rng;

/// What a generator is for. Each purpose has its own, so that the numbers drawn for one do not
/// change those of another.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Purpose {
    /// The choice of transactions and keys.
    Choices,
    /// Pauses between attempts.
    Pauses,
    /// The start times of an open loop.
    Arrivals,
}

/// Makes the generator of loop (or thread) number `index`, for this seed and purpose.
#[must_use]
pub(crate) fn rng(seed: u64, index: u64, purpose: Purpose) -> Rng {
    Rng::with_seed(mix(mix(mix(seed) ^ index) ^ purpose as u64))
}

/// Mixes the bits of a number: the finalizer of splitmix64.
fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Picks one of `count` things.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Picker {
    count: u64,
    law: Law,
}

#[derive(Clone, Copy, Debug)]
enum Law {
    Uniform,
    Zipf(Zipf),
    /// This share goes to number 0.
    Hot(f64),
}

impl Picker {
    /// A picker of groups.
    #[must_use]
    pub(crate) fn of_groups(shape: &Shape, seed: u64) -> Self {
        let law = match shape.distribution {
            Distribution::Hot { share } if shape.groups > 1 => Law::Hot(share),
            Distribution::Zipfian { theta } if theta > 0.0 && shape.groups > 1 => {
                Law::Zipf(Zipf::new(shape.groups as u64, theta, seed))
            }
            _ => Law::Uniform,
        };
        Self { count: shape.groups as u64, law }
    }

    /// A picker of the keys of a group.
    #[must_use]
    pub(crate) fn of_keys(shape: &Shape, seed: u64) -> Self {
        let law = match shape.distribution {
            Distribution::Zipfian { theta } if theta > 0.0 && shape.keys_per_group > 1 => {
                Law::Zipf(Zipf::new(shape.keys_per_group as u64, theta, !seed))
            }
            _ => Law::Uniform,
        };
        Self { count: shape.keys_per_group as u64, law }
    }

    /// Picks one, from 0.
    pub(crate) fn pick(&self, rng: &mut Rng) -> u64 {
        match &self.law {
            Law::Uniform => rng.u64(0..self.count),
            Law::Zipf(zipf) => zipf.pick(rng),
            Law::Hot(share) => {
                if rng.f64() < *share {
                    0
                } else {
                    rng.u64(1..self.count)
                }
            }
        }
    }

    /// Picks one that is not `not`. There must be at least two.
    pub(crate) fn pick_other(&self, not: u64, rng: &mut Rng) -> u64 {
        // A very skewed law could pick the same for long: after a few tries any other will do.
        for _ in 0..4 {
            let picked = self.pick(rng);
            if picked != not {
                return picked;
            }
        }
        (not + rng.u64(1..self.count)) % self.count
    }
}

/// Zipf's law over `0..count` by rejection-inversion (Hörmann and Derflinger, 1996): constant time
/// and no table, whatever the count. A seeded bijection maps ranks to numbers, so that the popular
/// ones are not next to each other.
#[derive(Clone, Copy, Debug)]
struct Zipf {
    count: u64,
    theta: f64,
    h_first: f64,
    h_last: f64,
    squeeze: f64,
    multiplier: u64,
    offset: u64,
}

impl Zipf {
    fn new(count: u64, theta: f64, seed: u64) -> Self {
        let mut zipf = Self {
            count,
            theta,
            h_first: 0.0,
            h_last: 0.0,
            squeeze: 0.0,
            multiplier: coprime(count, mix(seed)),
            offset: mix(!seed) % count,
        };
        zipf.h_first = zipf.h(1.5) - 1.0;
        zipf.h_last = zipf.h(count as f64 + 0.5);
        zipf.squeeze = 2.0 - zipf.h_inverse(zipf.h(2.5) - 2_f64.powf(-theta));
        zipf
    }

    /// The integral of `x^-theta` from 1 to `x`.
    fn h(&self, x: f64) -> f64 {
        let power = 1.0 - self.theta;
        if power.abs() < 1e-9 { x.ln() } else { (power * x.ln()).exp_m1() / power }
    }

    fn h_inverse(&self, y: f64) -> f64 {
        let power = 1.0 - self.theta;
        if power.abs() < 1e-9 { y.exp() } else { ((power * y).ln_1p() / power).exp() }
    }

    fn pick(&self, rng: &mut Rng) -> u64 {
        loop {
            let u = self.h_last + rng.f64() * (self.h_first - self.h_last);
            let x = self.h_inverse(u);
            let rank = x.round().clamp(1.0, self.count as f64);
            if rank - x <= self.squeeze || u >= self.h(rank + 0.5) - rank.powf(-self.theta) {
                let place = u128::from(rank as u64 - 1) * u128::from(self.multiplier);
                return ((place + u128::from(self.offset)) % u128::from(self.count)) as u64;
            }
        }
    }
}

/// Returns a number below `count` (or 1) that is coprime to it, searching from `start`.
fn coprime(count: u64, start: u64) -> u64 {
    let gcd = |mut a: u64, mut b: u64| {
        while b > 0 {
            (a, b) = (b, a % b);
        }
        a
    };
    let start = start % count;
    (start..count).chain(1..=start).find(|&n| n > 0 && gcd(n, count) == 1).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(distribution: Distribution, groups: usize) -> Vec<u64> {
        let shape = Shape { distribution, groups, ..Shape::default() };
        let picker = Picker::of_groups(&shape, 7);
        let mut rng = rng(7, 0, Purpose::Choices);
        let mut counts = vec![0; groups];
        (0..100_000).for_each(|_| counts[picker.pick(&mut rng) as usize] += 1);
        counts
    }

    #[test]
    fn zipf_follows_its_law() {
        for theta in [0.5, 0.99, 1.0, 1.5] {
            let mut counts = counts(Distribution::Zipfian { theta }, 100);
            counts.sort_unstable_by(|a, b| b.cmp(a));
            let sum: f64 = (1..=100).map(|rank| f64::from(rank).powf(-theta)).sum();
            for rank in [1, 2, 5, 20] {
                let expected = 100_000.0 * f64::from(rank).powf(-theta) / sum;
                let seen = counts[rank as usize - 1] as f64;
                assert!((seen / expected - 1.0).abs() < 0.1, "{theta} {rank}: {seen} {expected}");
            }
        }
    }

    #[test]
    fn hot_and_uniform() {
        let hot = counts(Distribution::Hot { share: 0.9 }, 10);
        assert!((89_000..91_000).contains(&hot[0]), "{hot:?}");
        let even = counts(Distribution::Uniform, 10);
        assert!(even.iter().all(|count| (9_300..10_700).contains(count)), "{even:?}");
    }

    #[test]
    fn the_same_seed_makes_the_same_choices() {
        let first = |seed, index, purpose| rng(seed, index, purpose).u64(..);
        assert_eq!(first(1, 2, Purpose::Choices), first(1, 2, Purpose::Choices));
        let all = [
            first(1, 2, Purpose::Choices),
            first(1, 3, Purpose::Choices),
            first(2, 2, Purpose::Choices),
            first(1, 2, Purpose::Pauses),
        ];
        assert!((0..4).all(|i| (0..i).all(|j| all[i] != all[j])));
    }

    #[test]
    fn the_other_one_is_another_one() {
        let shape = Shape {
            distribution: Distribution::Zipfian { theta: 9.0 },
            keys_per_group: 2,
            ..Shape::default()
        };
        let picker = Picker::of_keys(&shape, 1);
        let mut rng = rng(1, 1, Purpose::Choices);
        for _ in 0..1000 {
            let one = picker.pick(&mut rng);
            let other = picker.pick_other(one, &mut rng);
            assert!(one != other && other < 2);
        }
    }
}
