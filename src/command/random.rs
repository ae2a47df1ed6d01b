//! What the commands share that pick elements of a collection by chance.
//!
//! A positive count asks for so many different elements, a negative one for so many that may come
//! twice.

use super::{Args, Refusal};
use std::collections::HashSet;

/// Longest reply to a negative count, in bytes. A few bytes of request can ask for any number of
/// repeats, so that something must stop them before memory does.
pub(super) const REPEATS_LEN_MAX: usize = 512 * 1024 * 1024;
/// The shortest byte string in a reply: `$0\r\n\r\n`.
const BULK_LEN_MIN: usize = 6;
/// More repeats than this make a reply that is too long, whatever they are.
pub(super) const REPEATS_MAX: u64 = (REPEATS_LEN_MAX / BULK_LEN_MIN) as u64;
/// Picking at random from the whole is quicker than passing over it once if fewer than one in
/// this many elements are wanted.
const SPARSE: usize = 3;

/// Argument 2 as a count of either sign.
///
/// # Errors
/// It is no integer, or the one that has no negative.
pub(super) fn count(args: Args<'_>) -> Result<i64, Refusal> {
    match args.int(2)? {
        i64::MIN => Err(Refusal::of(
            "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807",
        )),
        count => Ok(count),
    }
}

/// Whether `wanted` of `len` elements are so few that [`distinct`] is the way to pick them, else
/// [`in_order`].
pub(super) fn is_sparse(wanted: usize, len: usize) -> bool {
    wanted < len / SPARSE
}

/// `wanted` different numbers below `len`, of which there are several times as many.
pub(super) fn distinct(
    wanted: usize,
    len: usize,
    chance: &mut fastrand::Rng,
) -> impl Iterator<Item = usize> {
    let mut taken = HashSet::with_capacity(wanted);
    std::iter::repeat_with(move || chance.usize(..len))
        .filter(move |&at| taken.insert(at))
        .take(wanted)
}

/// `wanted` of `elements`, which are `len`, in their order: each is taken with the chance that is
/// left for it.
pub(super) fn in_order<E>(
    elements: impl Iterator<Item = E>,
    mut wanted: usize,
    len: usize,
    chance: &mut fastrand::Rng,
) -> impl Iterator<Item = E> {
    let mut left = len;
    elements.filter(move |_| {
        let taken = chance.usize(..left) < wanted;
        left -= 1;
        wanted -= usize::from(taken);
        taken
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Picks three of nine very often, by both ways, and counts how often each comes up.
    #[test]
    fn picks_are_distinct_and_uniform() {
        const ROUNDS: usize = 30_000;
        let mut chance = fastrand::Rng::with_seed(1);
        let (mut sampled, mut drawn) = ([0_usize; 9], [0_usize; 9]);
        for _ in 0..ROUNDS {
            let picks: Vec<usize> = in_order(0..9, 3, 9, &mut chance).collect();
            assert!(picks.len() == 3 && picks.is_sorted_by(|a, b| a < b));
            picks.iter().for_each(|&at| sampled[at] += 1);
            let picks: HashSet<usize> = distinct(3, 9, &mut chance).collect();
            assert_eq!(picks.len(), 3);
            picks.iter().for_each(|&at| drawn[at] += 1);
        }
        // A third of the rounds each; six standard deviations are 490.
        for times in sampled.into_iter().chain(drawn) {
            assert!(times.abs_diff(ROUNDS / 3) < 490, "{times} of {ROUNDS}");
        }
    }
}
