//! HRANDFIELD: fields picked uniformly, each at most once or as chance has it.

use super::{hash_at, units};
use crate::command::scan::Strides;
use crate::command::{Args, Cx, Outcome, Refusal};
use crate::keyspace::{Hash, Pair};
use crate::resp::{Proto, Sink};
use std::collections::HashSet;

/// Longest reply to a negative count, in bytes. A few bytes of request can ask for any number of
/// repeats, so that something must stop them before memory does.
const REPEATS_LEN_MAX: usize = 512 * 1024 * 1024;
/// The shortest byte string in a reply: `$0\r\n\r\n`.
const BULK_LEN_MIN: u64 = 6;
/// Picking at random from the whole is quicker than passing over it once if fewer than one in
/// this many fields are wanted.
const SPARSE: usize = 3;

/// HRANDFIELD key [count [WITHVALUES]]
pub(super) fn hrandfield(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let wanted = if args.len() == 2 { None } else { Some(count(args)?) };
    let with_values = args.len() > 3;
    let mut chance = fastrand::Rng::with_seed(cx.keyspace.random());
    let key = cx.key(args.at(1));
    let hash = hash_at(cx.keyspace, key)?;
    let Some(wanted) = wanted else {
        let name = hash.and_then(|hash| hash.pairs().nth(chance.usize(..hash.len())));
        out.bulk_or_null(name.as_ref().map(|(name, _)| &**name));
        return Ok(());
    };
    let Some(hash) = hash.filter(|_| wanted != 0) else {
        out.array(0);
        return Ok(());
    };
    let mut reply = Reply { out, with_values, strides: Strides::new(cx.pace) };
    if wanted < 0 {
        let times = wanted.unsigned_abs();
        let start = reply.out.len();
        if times > REPEATS_LEN_MAX as u64 / BULK_LEN_MIN {
            return Err(Refusal::OUT_OF_RANGE);
        }
        let pairs = hash.numbered();
        reply.head(times as usize);
        for _ in 0..times {
            let (name, value) = pairs.at(chance.usize(..hash.len()));
            reply.pair(name, value);
            if reply.out.len() - start > REPEATS_LEN_MAX {
                reply.out.truncate(start);
                return Err(Refusal::OUT_OF_RANGE);
            }
        }
        return Ok(());
    }
    let wanted = usize::try_from(wanted).map_or(hash.len(), |wanted| wanted.min(hash.len()));
    reply.head(wanted);
    if wanted < hash.len() / SPARSE {
        let pairs = hash.numbered();
        for at in distinct(wanted, hash.len(), &mut chance) {
            let (name, value) = pairs.at(at);
            reply.pair(name, value);
        }
    } else {
        for (name, value) in sample(hash, wanted, &mut chance) {
            reply.pair(&name, &value);
        }
    }
    Ok(())
}

/// The count, and whether what follows it may follow it.
fn count(args: Args<'_>) -> Result<i64, Refusal> {
    let count = args.int(2)?;
    if count == i64::MIN {
        return Err(Refusal::of(
            "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807",
        ));
    }
    if args.len() > 4 || (args.len() == 4 && !args.is(3, "withvalues")) {
        return Err(Refusal::SYNTAX);
    }
    // The reply to that many pairs is twice as long.
    if args.len() == 4 && !(-(i64::MAX / 2)..=i64::MAX / 2).contains(&count) {
        return Err(Refusal::OUT_OF_RANGE);
    }
    Ok(count)
}

/// `wanted` of the pairs, in their order: each is taken with the chance that is left for it.
fn sample<'h>(
    hash: &'h Hash,
    mut wanted: usize,
    chance: &mut fastrand::Rng,
) -> impl Iterator<Item = Pair<'h>> {
    let mut left = hash.len();
    hash.pairs().filter(move |_| {
        let taken = chance.usize(..left) < wanted;
        left -= 1;
        wanted -= usize::from(taken);
        taken
    })
}

/// `wanted` different numbers below `len`, of which there are several times as many.
fn distinct(wanted: usize, len: usize, chance: &mut fastrand::Rng) -> impl Iterator<Item = usize> {
    let mut taken = HashSet::with_capacity(wanted);
    std::iter::repeat_with(move || chance.usize(..len))
        .filter(move |&at| taken.insert(at))
        .take(wanted)
}

/// The fields on their way out: in RESP3 a pair is an array of two.
struct Reply<'s, 'o, 'p> {
    out: &'s mut Sink<'o>,
    with_values: bool,
    strides: Strides<'p>,
}

impl Reply<'_, '_, '_> {
    fn is_nested(&self) -> bool {
        self.with_values && self.out.proto == Proto::Resp3
    }

    fn head(&mut self, fields: usize) {
        let flat = self.with_values && !self.is_nested();
        self.out.array(if flat { 2 * fields } else { fields });
    }

    fn pair(&mut self, name: &[u8], value: &[u8]) {
        self.strides.step(units(name.len() + value.len()));
        if self.is_nested() {
            self.out.array(2);
        }
        self.out.bulk(name);
        if self.with_values {
            self.out.bulk(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyspace::{KeyHasher, PackLimits};

    /// Picks three of nine very often, by both ways, and counts how often each field comes up.
    #[test]
    fn picks_are_distinct_and_uniform() {
        const ROUNDS: usize = 30_000;
        let hasher = KeyHasher::new(1);
        let mut hash = Hash::default();
        for n in 0..9 {
            hash.set(n.to_string().as_bytes(), b"", PackLimits::default(), &hasher);
        }
        let mut chance = fastrand::Rng::with_seed(1);
        let (mut sampled, mut drawn) = ([0_usize; 9], [0_usize; 9]);
        for _ in 0..ROUNDS {
            let picks: Vec<usize> = sample(&hash, 3, &mut chance)
                .map(|(name, _)| usize::from(name[0] - b'0'))
                .collect();
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
