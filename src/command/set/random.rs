//! Members by chance: SRANDMEMBER reads them, SPOP takes them out.

use super::{Reply, answer, set_at};
use crate::command::collection::{announce_loss, change};
use crate::command::random::{REPEATS_LEN_MAX, REPEATS_MAX, count, distinct, in_order, is_sparse};
use crate::command::scan::Strides;
use crate::command::{Args, Cx, Outcome, Refusal};
use crate::keyspace::{BorrowedMember, Edited, KeyHasher, Member, Set, Value, event};
use crate::resp::Sink;
use crate::text::number::parse_i64;

/// When fewer members stay than one in this many of those that go, SPOP picks those that stay.
const FEW_STAY: usize = 5;

/// SRANDMEMBER key [count]
pub(super) fn srandmember(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let wanted = match args.len() {
        2 => None,
        3 => Some(count(args)?),
        _ => return Err(Refusal::SYNTAX),
    };
    let mut chance = fastrand::Rng::with_seed(cx.keyspace.random());
    let key = cx.key(args.at(1));
    let set = set_at(cx.keyspace, key)?;
    let Some(wanted) = wanted else {
        match set {
            Some(set) => answer(out, set.at(chance.usize(..set.len()))),
            None => out.null(),
        }
        return Ok(());
    };
    let Some(set) = set.filter(|_| wanted != 0) else {
        out.array(0);
        return Ok(());
    };
    let len = set.len();
    let mut reply = Reply::new(out, Strides::new(cx.pace));
    if wanted < 0 {
        let (times, start) = (wanted.unsigned_abs(), reply.out.len());
        if times > REPEATS_MAX {
            return Err(Refusal::OUT_OF_RANGE);
        }
        reply.out.array(times as usize);
        for _ in 0..times {
            reply.member(set.at(chance.usize(..len)));
            if reply.out.len() - start > REPEATS_LEN_MAX {
                reply.out.truncate(start);
                return Err(Refusal::OUT_OF_RANGE);
            }
        }
        return Ok(());
    }
    let wanted = usize::try_from(wanted).map_or(len, |wanted| wanted.min(len));
    reply.out.array(wanted);
    if is_sparse(wanted, len) {
        distinct(wanted, len, &mut chance).for_each(|n| reply.member(set.at(n)));
    } else {
        in_order(set.members(), wanted, len, &mut chance).for_each(|member| reply.member(member));
    }
    Ok(())
}

/// SPOP key [count]
pub(super) fn spop(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    match args.len() {
        2 => spop_one(cx, args, out),
        3 => {
            let wanted = parse_i64(args.at(2)).and_then(|wanted| usize::try_from(wanted).ok());
            let negative = Refusal::of("ERR value is out of range, must be positive");
            spop_many(cx, args, wanted.ok_or(negative)?, out)
        }
        _ => Err(Refusal::SYNTAX),
    }
}

fn spop_one(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let (hasher, pick) = (cx.keyspace.hasher().clone(), cx.keyspace.random());
    let key = cx.key(args.at(1));
    let emptied = change(cx.keyspace, key, |set: &mut Set| {
        let n = ((u128::from(pick) * set.len() as u128) >> 64) as usize;
        answer(out, set.at(n));
        set.remove_at(n, &hasher);
        if set.is_empty() { Edited::Emptied(true) } else { Edited::Changed(false) }
    })?;
    let Some(emptied) = emptied else {
        out.null();
        return Ok(());
    };
    announce_loss(cx.keyspace, event::SET, "spop", key.bytes, emptied);
    Ok(())
}

fn spop_many(cx: &mut Cx<'_>, args: Args<'_>, wanted: usize, out: &mut Sink<'_>) -> Outcome {
    let (ints_max, hasher) = (cx.keyspace.limits.intset_len_max, cx.keyspace.hasher().clone());
    let mut chance = fastrand::Rng::with_seed(cx.keyspace.random());
    let key = cx.key(args.at(1));
    let len = change(cx.keyspace, key, |set: &mut Set| Edited::Kept(set.len()))?;
    let Some(len) = len.filter(|_| wanted > 0) else {
        out.set(0);
        return Ok(());
    };
    let gone = if wanted >= len {
        let Some(Value::Set(gone)) = cx.keyspace.remove(key) else { return Ok(()) };
        out.set(len);
        let mut reply = Reply::new(out, Strides::new(cx.pace));
        // Redis answers the union of this one set, in which integers that were in a table are in
        // their order if they are few enough.
        let mut union = Set::<BorrowedMember<'_>>::default();
        if len <= ints_max && gone.members().all(|member| member.integer().is_some()) {
            for member in gone.members() {
                union.add(member, ints_max, &hasher);
            }
            union.members().for_each(|member| reply.member(member));
        } else {
            gone.members().for_each(|member| reply.member(member));
        }
        Some(gone)
    } else {
        out.set(wanted);
        let mut reply = Reply::new(out, Strides::new(cx.pace));
        change(cx.keyspace, key, |set: &mut Set| {
            let each = |member: Member<'_>| reply.member(member);
            Edited::Changed(take_out(set, wanted, ints_max, &hasher, &mut chance, each))
        })?
        .flatten()
    };
    announce_loss(cx.keyspace, event::SET, "spop", key.bytes, wanted >= len);
    if let Some(gone) = gone {
        cx.keyspace.free_lazily(Value::Set(gone));
    }
    Ok(())
}

/// Takes `wanted` members, of which there are more, out of a set and calls `each` with them. Gives
/// what is left to be freed.
fn take_out(
    set: &mut Set,
    wanted: usize,
    ints_max: usize,
    hasher: &KeyHasher,
    chance: &mut fastrand::Rng,
    mut each: impl FnMut(Member<'_>),
) -> Option<Set> {
    let len = set.len();
    if (len - wanted) * FEW_STAY > wanted {
        for _ in 0..wanted {
            let n = chance.usize(..set.len());
            each(set.at(n));
            set.remove_at(n, hasher);
        }
        return None;
    }
    // Those that stay make a new set, which may again be one of integers, as in Redis.
    let mut stays = Set::default();
    for left in (wanted + 1..=len).rev() {
        let n = chance.usize(..left);
        stays.add(set.at(n), ints_max, hasher);
        set.remove_at(n, hasher);
    }
    set.members().for_each(each);
    Some(std::mem::replace(set, stays))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        /// Each member either goes, once, or stays.
        #[test]
        fn what_goes_and_what_stays_make_the_set(
            members in prop::collection::btree_set("[a-c]?[0-9]{1,3}", 1..200),
            part in any::<prop::sample::Index>(),
            ints_max in 0_usize..60,
            seed: u64,
        ) {
            let hasher = KeyHasher::new(1);
            let mut set = Set::default();
            for member in &members {
                set.add(Member::Bytes(member.as_bytes()), ints_max, &hasher);
            }
            let wanted = part.index(members.len());
            let mut chance = fastrand::Rng::with_seed(seed);
            let mut met = Vec::new();
            let text = |member: Member<'_>| String::from_utf8_lossy(&member.text()).into_owned();
            take_out(&mut set, wanted, ints_max, &hasher, &mut chance, |m| met.push(text(m)));
            prop_assert_eq!(met.len(), wanted);
            prop_assert_eq!(set.len(), members.len() - wanted);
            met.extend(set.members().map(text));
            prop_assert_eq!(met.into_iter().collect::<BTreeSet<_>>(), members);
        }
    }

    /// Very often, by both ways: each member goes equally often.
    #[test]
    fn what_goes_is_uniform() {
        const ROUNDS: usize = 30_000;
        let hasher = KeyHasher::new(1);
        let mut chance = fastrand::Rng::with_seed(1);
        for (len, wanted) in [(9, 3), (12, 11)] {
            let mut times = vec![0_usize; len];
            for _ in 0..ROUNDS {
                let mut set = Set::default();
                for n in 0..len {
                    set.add(Member::Int(n as i64), 4, &hasher);
                }
                take_out(&mut set, wanted, 4, &hasher, &mut chance, |member| {
                    times[member.integer().expect("an integer") as usize] += 1;
                });
            }
            // Six standard deviations are below 500.
            for times in times {
                let expected = ROUNDS * wanted / len;
                assert!(times.abs_diff(expected) < 500, "{times}, expected {expected}");
            }
        }
    }
}
