//! Intersection, union and difference of sets; returned, counted or stored.
//!
//! ```text
//! SINTER   looks up every member of the smallest set in the others
//! SUNION   adds all members to one new set
//! SDIFF    looks up every member of the first set in the others, or removes the others' members
//!          from a copy of it, whichever is less work
//! ```
//!
//! A result that is only returned borrows its members from the source sets. A result whose members
//! are all integers is a set of integers, up to the limit on its size: it is returned in ascending
//! order, whatever the encodings of the source sets.

use super::{Reply, units};
use crate::command::collection;
use crate::command::pace::Strides;
use crate::command::{Args, Cx, Outcome, Refusal};
use crate::keyspace::{BorrowedMember, Key, KeyHasher, Keyed, Keyspace, Member, Set, Value, event};
use crate::resp::Sink;
use crate::text::number::parse_i64;

/// A set operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Inter,
    Union,
    Diff,
}

/// SINTER key [key ...]
pub(super) fn sinter(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    reply(cx, args, Operation::Inter, out)
}

/// SUNION key [key ...]
pub(super) fn sunion(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    reply(cx, args, Operation::Union, out)
}

/// SDIFF key [key ...]
pub(super) fn sdiff(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    reply(cx, args, Operation::Diff, out)
}

/// SINTERSTORE destination key [key ...]
pub(super) fn sinterstore(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    store(cx, args, Operation::Inter, "sinterstore", out)
}

/// SUNIONSTORE destination key [key ...]
pub(super) fn sunionstore(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    store(cx, args, Operation::Union, "sunionstore", out)
}

/// SDIFFSTORE destination key [key ...]
pub(super) fn sdiffstore(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    store(cx, args, Operation::Diff, "sdiffstore", out)
}

/// SINTERCARD numkeys key [key ...] [LIMIT limit]
pub(super) fn sintercard(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    count(cx, args, Operation::Inter, out)
}

/// SUNIONCARD numkeys key [key ...] [APPROX] [LIMIT limit]
pub(super) fn sunioncard(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    count(cx, args, Operation::Union, out)
}

/// SDIFFCARD numkeys key [key ...] [LIMIT limit]
pub(super) fn sdiffcard(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    count(cx, args, Operation::Diff, out)
}

fn count(cx: &mut Cx<'_>, args: Args<'_>, operation: Operation, out: &mut Sink<'_>) -> Outcome {
    let number = parse_i64(args.at(1)).and_then(|n| usize::try_from(n).ok());
    let none = Refusal::of("ERR numkeys should be greater than 0");
    let number = number.filter(|&n| n > 0).ok_or(none)?;
    if number > args.len() - 2 {
        return Err(Refusal::of("ERR Number of keys can't be greater than number of args"));
    }
    let mut limit = 0;
    let mut i = 2 + number;
    while i < args.len() {
        // What may be approximate is exact here.
        if operation == Operation::Union && args.is(i, "approx") {
            i += 1;
            continue;
        }
        let Some(value) = args.get(i + 1).filter(|_| args.is(i, "limit")) else {
            return Err(Refusal::SYNTAX);
        };
        let value = parse_i64(value).and_then(|n| usize::try_from(n).ok());
        limit = value.ok_or(Refusal::of("ERR LIMIT can't be negative"))?;
        i += 2;
    }
    let keys: Vec<_> = args.from(2).take(number).map(|key| cx.key(key)).collect();
    read_all(cx.keyspace, &keys)?;
    // LIMIT 0 means no limit.
    let limit = if limit > 0 { limit } else { usize::MAX };
    let (ints_max, hasher) = (cx.keyspace.limits.intset_len_max, cx.keyspace.hasher());
    let (sets, strides) = (sets_at(cx.keyspace, &keys), Strides::new(cx.pace));
    out.count(match operation {
        Operation::Inter => intersect(&sets, hasher, strides).take(limit).count(),
        Operation::Union | Operation::Diff => {
            combine::<BorrowedMember<'_>>(operation, &sets, ints_max, hasher, strides)
                .len()
                .min(limit)
        }
    });
    Ok(())
}

fn reply(cx: &mut Cx<'_>, args: Args<'_>, operation: Operation, out: &mut Sink<'_>) -> Outcome {
    let keys: Vec<_> = args.from(1).map(|key| cx.key(key)).collect();
    read_all(cx.keyspace, &keys)?;
    let sets = sets_at(cx.keyspace, &keys);
    let (ints_max, hasher) = (cx.keyspace.limits.intset_len_max, cx.keyspace.hasher());
    if operation == Operation::Inter {
        // An intersection has no repeats and is in the right order without a result set.
        let common: Vec<_> = intersect(&sets, hasher, Strides::new(cx.pace)).collect();
        out.set(common.len());
        let mut reply = Reply::new(out, Strides::new(cx.pace));
        common.into_iter().for_each(|member| reply.member(member));
        return Ok(());
    }
    let result =
        combine::<BorrowedMember<'_>>(operation, &sets, ints_max, hasher, Strides::new(cx.pace));
    out.set(result.len());
    let mut reply = Reply::new(out, Strides::new(cx.pace));
    result.members().for_each(|member| reply.member(member));
    Ok(())
}

fn store(
    cx: &mut Cx<'_>,
    args: Args<'_>,
    operation: Operation,
    name: &'static str,
    out: &mut Sink<'_>,
) -> Outcome {
    let to = cx.key(args.at(1));
    let keys: Vec<_> = args.from(2).map(|key| cx.key(key)).collect();
    read_all(cx.keyspace, &keys)?;
    let sets = sets_at(cx.keyspace, &keys);
    let (ints_max, hasher) = (cx.keyspace.limits.intset_len_max, cx.keyspace.hasher());
    let result: Set = combine(operation, &sets, ints_max, hasher, Strides::new(cx.pace));
    collection::store(cx.keyspace, to, Value::Set(result), event::SET, name, out);
    Ok(())
}

/// Reads every key and counts a hit or a miss for each.
///
/// # Errors
/// WRONGTYPE if one of them holds another type.
fn read_all(keyspace: &mut Keyspace, keys: &[Key<'_>]) -> Outcome {
    for &key in keys {
        if keyspace.read(key).is_some_and(|value| !matches!(value, Value::Set(_))) {
            return Err(Refusal::WRONG_TYPE);
        }
    }
    Ok(())
}

/// Returns the sets at keys that were just read; `None` for a key that does not exist.
fn sets_at<'k>(keyspace: &'k Keyspace, keys: &[Key<'_>]) -> Vec<Option<&'k Set>> {
    let set = |key: &Key<'_>| match keyspace.get(*key) {
        Some(Value::Set(set)) => Some(set),
        _ => None,
    };
    keys.iter().map(set).collect()
}

/// Returns the members that all sets have, in the order of the smallest set.
fn intersect<'s>(
    sets: &[Option<&'s Set>],
    hasher: &KeyHasher,
    mut strides: Strides<'_>,
) -> impl Iterator<Item = Member<'s>> {
    // If one of the keys does not exist, the intersection is empty.
    let mut sets = sets.iter().copied().collect::<Option<Vec<_>>>().unwrap_or_default();
    sets.sort_by_key(|set| set.len());
    let smallest = sets.first().copied();
    // The smallest set may be named more than once: it need not be looked up in itself.
    sets.retain(|&set| !smallest.is_some_and(|smallest| std::ptr::eq(set, smallest)));
    smallest.into_iter().flat_map(Set::members).filter(move |&member| {
        strides.step(sets.len() + units(member));
        sets.iter().all(|set| set.contains(member, hasher))
    })
}

/// Returns the result of an operation on several sets.
fn combine<'s, M: Keyed + From<Member<'s>>>(
    operation: Operation,
    sets: &[Option<&'s Set>],
    ints_max: usize,
    hasher: &KeyHasher,
    mut strides: Strides<'_>,
) -> Set<M> {
    let mut result = Set::default();
    let add = |result: &mut Set<M>, member| {
        result.add(member, ints_max, hasher);
    };
    match operation {
        Operation::Inter => {
            intersect(sets, hasher, strides).for_each(|member| add(&mut result, member));
        }
        Operation::Union => {
            for member in sets.iter().flatten().flat_map(|set| set.members()) {
                strides.step(units(member));
                add(&mut result, member);
            }
        }
        Operation::Diff => {
            let Some((Some(first), others)) = sets.split_first() else { return result };
            let mut others: Vec<&Set> = others.iter().copied().flatten().collect();
            if others.iter().any(|other| std::ptr::eq(*other, *first)) {
                return result;
            }
            // Redis' rule. It also decides the encoding of the result: in the second branch a set
            // from which all but integers were removed stays a table.
            let total: usize = first.len() + others.iter().map(|set| set.len()).sum::<usize>();
            if first.len() * (1 + others.len()) / 2 <= total {
                // The largest set is the most likely to have a member.
                others.sort_by_key(|set| std::cmp::Reverse(set.len()));
                for member in first.members() {
                    strides.step(others.len() + units(member));
                    if !others.iter().any(|other| other.contains(member, hasher)) {
                        add(&mut result, member);
                    }
                }
            } else {
                for member in first.members() {
                    strides.step(units(member));
                    add(&mut result, member);
                }
                for member in others.iter().flat_map(|other| other.members()) {
                    strides.step(units(member));
                    result.remove(member, hasher);
                    if result.is_empty() {
                        break;
                    }
                }
            }
        }
    }
    result
}
