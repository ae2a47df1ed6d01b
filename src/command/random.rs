//! Random picks from a collection, shared by HRANDFIELD, SRANDMEMBER and ZRANDMEMBER.
//!
//! A positive count asks for that many different elements, a negative one for that many elements
//! with repeats.

use super::{Args, Refusal};
use std::collections::HashSet;

/// Longest reply to a negative count, in bytes: a few bytes of request can ask for any number of
/// repeats.
pub(super) const REPEATS_LEN_MAX: usize = 512 * 1024 * 1024;
/// The shortest byte string in a reply: `$0\r\n\r\n`.
const BULK_LEN_MIN: usize = 6;
/// More repeats than this make a reply that is too long, whatever the elements.
pub(super) const REPEATS_MAX: u64 = (REPEATS_LEN_MAX / BULK_LEN_MIN) as u64;
/// Picking positions at random is quicker than one pass over the collection if fewer than one in
/// this many elements are wanted.
const SPARSE: usize = 3;

/// Argument 2 as a count of either sign.
///
/// # Errors
/// It is not an integer, or the one integer without a positive counterpart.
pub(super) fn count(args: Args<'_>) -> Result<i64, Refusal> {
    match args.int(2)? {
        i64::MIN => Err(Refusal::of(
            "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807",
        )),
        count => Ok(count),
    }
}

/// Whether `wanted` of `len` elements are better picked by [`distinct`] than by [`in_order`].
pub(super) fn is_sparse(wanted: usize, len: usize) -> bool {
    wanted < len / SPARSE
}

/// Returns `wanted` different numbers below `len`, which is several times as large.
pub(super) fn distinct(
    wanted: usize,
    len: usize,
    rng: &mut fastrand::Rng,
) -> impl Iterator<Item = usize> {
    let mut taken = HashSet::with_capacity(wanted);
    std::iter::repeat_with(move || rng.usize(..len))
        .filter(move |&at| taken.insert(at))
        .take(wanted)
}

/// Returns `wanted` of the `len` elements, in their order: selection sampling, Knuth's algorithm S
/// (TAOCP 3.4.2), which takes each with the probability of those still wanted among those left.
pub(super) fn in_order<E>(
    elements: impl Iterator<Item = E>,
    mut wanted: usize,
    len: usize,
    rng: &mut fastrand::Rng,
) -> impl Iterator<Item = E> {
    let mut left = len;
    elements.filter(move |_| {
        let taken = rng.usize(..left) < wanted;
        left -= 1;
        wanted -= usize::from(taken);
        taken
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Picks three of nine in many rounds, by both algorithms, and counts how often each is picked.
    #[test]
    fn picks_are_distinct_and_uniform() {
        const ROUNDS: usize = 30_000;
        let mut rng = fastrand::Rng::with_seed(1);
        let (mut sampled, mut drawn) = ([0_usize; 9], [0_usize; 9]);
        for _ in 0..ROUNDS {
            let picks: Vec<usize> = in_order(0..9, 3, 9, &mut rng).collect();
            assert!(picks.len() == 3 && picks.is_sorted_by(|a, b| a < b));
            picks.iter().for_each(|&at| sampled[at] += 1);
            let picks: HashSet<usize> = distinct(3, 9, &mut rng).collect();
            assert_eq!(picks.len(), 3);
            picks.iter().for_each(|&at| drawn[at] += 1);
        }
        // A third of the rounds each; six standard deviations are 490.
        for times in sampled.into_iter().chain(drawn) {
            assert!(times.abs_diff(ROUNDS / 3) < 490, "{times} of {ROUNDS}");
        }
    }
}
