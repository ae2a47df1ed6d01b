//! Random members: SRANDMEMBER reads them, SPOP removes them.

use super::{Reply, set_at, write_member};
use crate::command::collection::change;
use crate::command::pace::Strides;
use crate::command::random::{REPEATS_LEN_MAX, REPEATS_MAX, count, distinct, in_order, is_sparse};
use crate::command::{Args, Cx, Outcome, Refusal};
use crate::keyspace::{BorrowedMember, Edited, KeyHasher, Member, Set, Value, event};
use crate::resp::Sink;
use crate::text::number::parse_i64;

/// If fewer members stay than a fifth of those that are removed, SPOP picks those that stay.
const FEW_STAY: usize = 5;

/// SRANDMEMBER key [count]
pub(super) fn srandmember(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let wanted = match args.len() {
        2 => None,
        3 => Some(count(args)?),
        _ => return Err(Refusal::SYNTAX),
    };
    let mut rng = fastrand::Rng::with_seed(cx.keyspace.random());
    let key = cx.key(args.at(1));
    let set = set_at(cx.keyspace, key)?;
    let Some(wanted) = wanted else {
        match set {
            Some(set) => write_member(out, set.at(rng.usize(..set.len()))),
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
            reply.member(set.at(rng.usize(..len)));
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
        distinct(wanted, len, &mut rng).for_each(|n| reply.member(set.at(n)));
    } else {
        in_order(set.members(), wanted, len, &mut rng).for_each(|member| reply.member(member));
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
        write_member(out, set.at(n));
        set.remove_at(n, &hasher);
        if set.is_empty() { Edited::Emptied(true) } else { Edited::Changed(false) }
    })?;
    let Some(emptied) = emptied else {
        out.null();
        return Ok(());
    };
    announce_pop(cx, key.bytes, emptied, 1);
    Ok(())
}

fn spop_many(cx: &mut Cx<'_>, args: Args<'_>, wanted: usize, out: &mut Sink<'_>) -> Outcome {
    let (ints_max, hasher) = (cx.keyspace.limits.intset_len_max, cx.keyspace.hasher().clone());
    let mut rng = fastrand::Rng::with_seed(cx.keyspace.random());
    let key = cx.key(args.at(1));
    let len = change(cx.keyspace, key, |set: &mut Set| Edited::Kept(set.len()))?;
    let Some(len) = len.filter(|_| wanted > 0) else {
        out.set(0);
        return Ok(());
    };
    let dead = if wanted >= len {
        let Some(Value::Set(all)) = cx.keyspace.remove(key) else { return Ok(()) };
        out.set(len);
        let mut reply = Reply::new(out, Strides::new(cx.pace));
        // Redis replies with the union of this one set, in which integers that were in a table are
        // in ascending order if they are few enough.
        let mut union = Set::<BorrowedMember<'_>>::default();
        if len <= ints_max && all.members().all(|member| member.integer().is_some()) {
            for member in all.members() {
                union.add(member, ints_max, &hasher);
            }
            union.members().for_each(|member| reply.member(member));
        } else {
            all.members().for_each(|member| reply.member(member));
        }
        Some(all)
    } else {
        out.set(wanted);
        let mut reply = Reply::new(out, Strides::new(cx.pace));
        change(cx.keyspace, key, |set: &mut Set| {
            let each = |member: Member<'_>| reply.member(member);
            Edited::Changed(remove_random(set, wanted, ints_max, &hasher, &mut rng, each))
        })?
        .flatten()
    };
    // A set that is taken as a whole is deleted on replicas.
    let (emptied, removed) = if wanted >= len { (true, 0) } else { (false, wanted) };
    announce_pop(cx, key.bytes, emptied, removed);
    if let Some(dead) = dead {
        cx.keyspace.free_lazily(Value::Set(dead));
    }
    Ok(())
}

/// Reports that members were taken out of a set, which is replicated as the removal of so many.
fn announce_pop(cx: &mut Cx<'_>, key: &[u8], emptied: bool, removed: usize) {
    let times = removed.div_ceil(cx.product.pops_per_removal);
    let srem = event::Replicated { class: event::SET, name: "srem", times };
    cx.keyspace.notify_replicated(event::SET, "spop", key, srem);
    if emptied {
        cx.keyspace.notify_event(event::GENERIC, "del", key);
    }
}

/// Removes `wanted` random members from a set that has more, and calls `each` with them. Returns
/// what is left to be freed.
fn remove_random(
    set: &mut Set,
    wanted: usize,
    ints_max: usize,
    hasher: &KeyHasher,
    rng: &mut fastrand::Rng,
    mut each: impl FnMut(Member<'_>),
) -> Option<Set> {
    let len = set.len();
    if (len - wanted) * FEW_STAY > wanted {
        for _ in 0..wanted {
            let n = rng.usize(..set.len());
            each(set.at(n));
            set.remove_at(n, hasher);
        }
        return None;
    }
    // The members that stay make a new set, which may again be one of integers, as in Redis.
    let mut stays = Set::default();
    for left in (wanted + 1..=len).rev() {
        let n = rng.usize(..left);
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
        /// Each member is either removed, once, or stays.
        #[test]
        fn removed_and_remaining_members_make_up_the_set(
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
            let mut rng = fastrand::Rng::with_seed(seed);
            let mut removed = Vec::new();
            let text = |member: Member<'_>| String::from_utf8_lossy(&member.text()).into_owned();
            remove_random(&mut set, wanted, ints_max, &hasher, &mut rng, |m| removed.push(text(m)));
            prop_assert_eq!(removed.len(), wanted);
            prop_assert_eq!(set.len(), members.len() - wanted);
            let all = removed.into_iter().chain(set.members().map(text));
            prop_assert_eq!(all.collect::<BTreeSet<_>>(), members);
        }
    }

    /// Over many rounds, by both algorithms, each member is removed equally often.
    #[test]
    fn removed_members_are_uniform() {
        const ROUNDS: usize = 30_000;
        let hasher = KeyHasher::new(1);
        let mut rng = fastrand::Rng::with_seed(1);
        for (len, wanted) in [(9, 3), (12, 11)] {
            let mut times = vec![0_usize; len];
            for _ in 0..ROUNDS {
                let mut set = Set::default();
                for n in 0..len {
                    set.add(Member::Int(n as i64), 4, &hasher);
                }
                remove_random(&mut set, wanted, 4, &hasher, &mut rng, |member| {
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
