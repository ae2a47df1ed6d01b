//! Sorted sets: members ordered by score.
//!
//! ```text
//! zset           the rows; reading scores and ranks, removing members
//! zset/reply     the form of members in replies
//! zset/add       ZADD, ZINCRBY
//! zset/range     ranges by rank, score and name: returned, stored, counted, removed
//! zset/pop       members popped from an end: ZPOPMIN, ZPOPMAX, ZMPOP and their blocking forms
//! zset/combine   union, intersection and difference: ZUNION, ZINTER, ZDIFF, ZINTERCARD, *STORE
//! zset/random    random members: ZRANDMEMBER
//! zset/scan      members page by page: ZSCAN
//! ```
//!
//! A missing key is an empty sorted set, and one that loses its last member is a missing key.

mod reply;
mod add;
mod range;
mod pop;
mod combine;
mod random;
mod scan;

pub(super) use add::{AddConditions, add_members};
use reply::Reply;

use super::collection::{announce_removal, change, read_at};
use super::pace::{Strides, units};
use super::spec::access::{ACCESS, DELETE, OW, RO, RW, UPDATE};
use super::spec::flag::{BLOCKING, DENYOOM, FAST, MOVABLE_KEYS, NOSCRIPT, READ, WRITE};
use super::spec::{
    Arity::{AtLeast, Exactly},
    BASE, Begin, Doc, Find, Group, IN_SCRIPTS_SINCE_7_2, Keys, Run, SAME, Spec, Variant, acl,
    check,
};
use super::{Args, Cx, Outcome, Refusal};
use crate::dialect::servers;
use crate::keyspace::{Edited, Key, Keyspace, Zset, event};
use crate::resp::Sink;

/// Defaults of the rows.
const ZSET: Spec = Spec { group: Group::SortedSet, acl: acl::SORTEDSET, since: "1.2.0", ..BASE };

/// One key whose data are returned.
const READ_KEY: &[Keys] = &[Keys::at(RO | ACCESS, 1)];
/// One key of which only the size is returned.
const INSPECTED_KEY: &[Keys] = &[Keys::at(RO, 1)];
/// One key that members are removed from and returned.
const POPPED_KEY: &[Keys] = &[Keys::at(RW | ACCESS | DELETE, 1)];
/// One key that members are removed from.
const REDUCED_KEY: &[Keys] = &[Keys::at(RW | DELETE, 1)];

/// As many keys as the argument `at` says.
const fn counted(access: u16, at: u8) -> Keys {
    let find = Find::Count { at: 0, first: 1, step: 1 };
    Keys { access, begin: Begin::Index(at), find, notes: "" }
}

const WITHSCORE_SINCE_7_2: &[Variant] =
    &[Variant { servers: servers::SINCE_7_2, arity: Some(AtLeast(3)), ..SAME }];

pub(super) const ROWS: &[Spec] = &[
    Spec {
        name: "bzmpop",
        arity: AtLeast(5),
        flags: WRITE | BLOCKING | MOVABLE_KEYS,
        keys: &[counted(RW | ACCESS | DELETE, 2)],
        since: "7.0.0",
        complexity: "O(K) + O(M*log(N)) where K is the number of provided keys, N being the \
                     number of elements in the sorted set, and M being the number of \
                     elements popped.",
        summary: "Pops members from an end of the first sorted set that has any; blocks until one has.",
        run: Run::Blocks(pop::bzmpop),
        ..ZSET
    },
    Spec {
        name: "bzpopmax",
        arity: AtLeast(3),
        variants: IN_SCRIPTS_SINCE_7_2,
        flags: WRITE | NOSCRIPT | BLOCKING | FAST,
        keys: &[Keys::range(RW | ACCESS | DELETE, 1, -2, 1)],
        since: "5.0.0",
        complexity: "O(log(N)) with N being the number of elements in the sorted set.",
        summary: "Pops the last member of the first sorted set that has any; blocks until one has.",
        run: Run::Blocks(pop::bzpopmax),
        ..ZSET
    },
    Spec {
        name: "bzpopmin",
        arity: AtLeast(3),
        variants: IN_SCRIPTS_SINCE_7_2,
        flags: WRITE | NOSCRIPT | BLOCKING | FAST,
        keys: &[Keys::range(RW | ACCESS | DELETE, 1, -2, 1)],
        since: "5.0.0",
        complexity: "O(log(N)) with N being the number of elements in the sorted set.",
        summary: "Pops the first member of the first sorted set that has any; blocks until one has.",
        run: Run::Blocks(pop::bzpopmin),
        ..ZSET
    },
    Spec {
        name: "zadd",
        arity: AtLeast(4),
        flags: WRITE | DENYOOM | FAST,
        keys: &[Keys::at(RW | UPDATE, 1)],
        complexity: "O(log(N)) for each item added, where N is the number of elements in \
                     the sorted set.",
        summary: "Adds members with their scores, or changes the scores of existing members.",
        run: Run::Shard(add::zadd),
        ..ZSET
    },
    Spec {
        name: "zcard",
        arity: Exactly(2),
        flags: READ | FAST,
        keys: INSPECTED_KEY,
        summary: "Counts the members of a sorted set.",
        run: Run::Shard(zcard),
        ..ZSET
    },
    Spec {
        name: "zcount",
        arity: Exactly(4),
        flags: READ | FAST,
        keys: READ_KEY,
        since: "2.0.0",
        complexity: "O(log(N)) with N being the number of elements in the sorted set.",
        summary: "Counts the members whose scores are within a range.",
        run: Run::Shard(range::zcount),
        ..ZSET
    },
    Spec {
        name: "zdiff",
        arity: AtLeast(3),
        flags: READ | MOVABLE_KEYS,
        keys: &[counted(RO | ACCESS, 1)],
        since: "6.2.0",
        complexity: "O(L + (N-K)log(N)) worst case where L is the total number of elements \
                     in all the sets, N is the size of the first set, and K is the size of \
                     the result set.",
        summary: "Returns the members of the first sorted set that no other has.",
        run: Run::Shard(combine::zdiff),
        ..ZSET
    },
    Spec {
        name: "zdiffstore",
        arity: AtLeast(4),
        flags: WRITE | DENYOOM | MOVABLE_KEYS,
        keys: &[Keys::at(OW | UPDATE, 1), counted(RO | ACCESS, 2)],
        since: "6.2.0",
        complexity: "O(L + (N-K)log(N)) worst case where L is the total number of elements \
                     in all the sets, N is the size of the first set, and K is the size of \
                     the result set.",
        summary: "Stores the members of the first sorted set that no other has.",
        run: Run::Shard(combine::zdiffstore),
        ..ZSET
    },
    Spec {
        name: "zincrby",
        arity: Exactly(4),
        flags: WRITE | DENYOOM | FAST,
        keys: &[Keys::at(RW | ACCESS | UPDATE, 1)],
        complexity: "O(log(N)) where N is the number of elements in the sorted set.",
        summary: "Adds a number to the score of a member; a missing member counts as 0.",
        run: Run::Shard(add::zincrby),
        ..ZSET
    },
    Spec {
        name: "zinter",
        arity: AtLeast(3),
        flags: READ | MOVABLE_KEYS,
        keys: &[counted(RO | ACCESS, 1)],
        since: "6.2.0",
        complexity: "O(N*K)+O(M*log(M)) worst case with N being the smallest input sorted \
                     set, K being the number of input sorted sets and M being the number of \
                     elements in the resulting sorted set.",
        summary: "Returns the members that all sorted sets have.",
        run: Run::Shard(combine::zinter),
        ..ZSET
    },
    Spec {
        name: "zintercard",
        arity: AtLeast(3),
        flags: READ | MOVABLE_KEYS,
        keys: &[counted(RO | ACCESS, 1)],
        since: "7.0.0",
        complexity: "O(N*K) worst case with N being the smallest input sorted set, K being \
                     the number of input sorted sets.",
        summary: "Counts the members that all sorted sets have.",
        run: Run::Shard(combine::zintercard),
        ..ZSET
    },
    Spec {
        name: "zinterstore",
        arity: AtLeast(4),
        flags: WRITE | DENYOOM | MOVABLE_KEYS,
        keys: &[Keys::at(OW | UPDATE, 1), counted(RO | ACCESS, 2)],
        since: "2.0.0",
        complexity: "O(N*K)+O(M*log(M)) worst case with N being the smallest input sorted \
                     set, K being the number of input sorted sets and M being the number of \
                     elements in the resulting sorted set.",
        summary: "Stores the members that all sorted sets have.",
        run: Run::Shard(combine::zinterstore),
        ..ZSET
    },
    Spec {
        name: "zlexcount",
        arity: Exactly(4),
        flags: READ | FAST,
        keys: READ_KEY,
        since: "2.8.9",
        complexity: "O(log(N)) with N being the number of elements in the sorted set.",
        summary: "Counts the members between two names; all must have the same score.",
        run: Run::Shard(range::zlexcount),
        ..ZSET
    },
    Spec {
        name: "zmpop",
        arity: AtLeast(4),
        flags: WRITE | MOVABLE_KEYS,
        keys: &[counted(RW | ACCESS | DELETE, 1)],
        since: "7.0.0",
        complexity: "O(K) + O(M*log(N)) where K is the number of provided keys, N being the \
                     number of elements in the sorted set, and M being the number of \
                     elements popped.",
        summary: "Pops members from an end of the first sorted set that has any.",
        run: Run::Shard(pop::zmpop),
        ..ZSET
    },
    Spec {
        name: "zmscore",
        arity: AtLeast(3),
        flags: READ | FAST,
        keys: READ_KEY,
        since: "6.2.0",
        complexity: "O(N) where N is the number of members being requested.",
        summary: "Returns the scores of several members.",
        run: Run::Shard(zmscore),
        ..ZSET
    },
    Spec {
        name: "zpopmax",
        arity: AtLeast(2),
        flags: WRITE | FAST,
        keys: POPPED_KEY,
        since: "5.0.0",
        complexity: "O(log(N)*M) with N being the number of elements in the sorted set, and \
                     M being the number of elements popped.",
        summary: "Pops the members with the highest scores.",
        run: Run::Shard(pop::zpopmax),
        ..ZSET
    },
    Spec {
        name: "zpopmin",
        arity: AtLeast(2),
        flags: WRITE | FAST,
        keys: POPPED_KEY,
        since: "5.0.0",
        complexity: "O(log(N)*M) with N being the number of elements in the sorted set, and \
                     M being the number of elements popped.",
        summary: "Pops the members with the lowest scores.",
        run: Run::Shard(pop::zpopmin),
        ..ZSET
    },
    Spec {
        name: "zrandmember",
        arity: AtLeast(2),
        flags: READ,
        keys: READ_KEY,
        tips: &["nondeterministic_output"],
        since: "6.2.0",
        complexity: "O(N) where N is the number of elements returned",
        summary: "Returns random members of a sorted set.",
        run: Run::Shard(random::zrandmember),
        ..ZSET
    },
    Spec {
        name: "zrange",
        arity: AtLeast(4),
        flags: READ,
        keys: READ_KEY,
        complexity: "O(log(N)+M) with N being the number of elements in the sorted set and \
                     M the number of elements returned.",
        summary: "Returns the members within a range of ranks, scores or names.",
        run: Run::Shard(range::zrange),
        ..ZSET
    },
    Spec {
        name: "zrangebylex",
        doc: Doc::not_in_redis("6.2.0", "`ZRANGE … BYLEX`"),
        arity: AtLeast(4),
        flags: READ,
        keys: READ_KEY,
        since: "2.8.9",
        complexity: "O(log(N)+M) with N being the number of elements in the sorted set and \
                     M the number of elements being returned. If M is constant (e.g. always \
                     asking for the first 10 elements with LIMIT), you can consider it \
                     O(log(N)).",
        summary: "Returns the members between two names; all must have the same score.",
        run: Run::Shard(range::zrangebylex),
        ..ZSET
    },
    Spec {
        name: "zrangebyscore",
        doc: Doc::not_in_redis("6.2.0", "`ZRANGE … BYSCORE`"),
        arity: AtLeast(4),
        flags: READ,
        keys: READ_KEY,
        since: "1.0.5",
        complexity: "O(log(N)+M) with N being the number of elements in the sorted set and \
                     M the number of elements being returned. If M is constant (e.g. always \
                     asking for the first 10 elements with LIMIT), you can consider it \
                     O(log(N)).",
        summary: "Returns the members whose scores are within a range.",
        run: Run::Shard(range::zrangebyscore),
        ..ZSET
    },
    Spec {
        name: "zrangestore",
        arity: AtLeast(5),
        flags: WRITE | DENYOOM,
        keys: &[Keys::at(OW | UPDATE, 1), Keys::at(RO | ACCESS, 2)],
        since: "6.2.0",
        complexity: "O(log(N)+M) with N being the number of elements in the sorted set and \
                     M the number of elements stored into the destination key.",
        summary: "Stores the members within a range of ranks, scores or names.",
        run: Run::Shard(range::zrangestore),
        ..ZSET
    },
    Spec {
        name: "zrank",
        arity: Exactly(3),
        variants: WITHSCORE_SINCE_7_2,
        flags: READ | FAST,
        keys: READ_KEY,
        since: "2.0.0",
        complexity: "O(log(N))",
        summary: "Returns the rank of a member, from the lowest score.",
        run: Run::Shard(zrank),
        ..ZSET
    },
    Spec {
        name: "zrem",
        arity: AtLeast(3),
        flags: WRITE | FAST,
        keys: REDUCED_KEY,
        complexity: "O(M*log(N)) with N being the number of elements in the sorted set and \
                     M the number of elements to be removed.",
        summary: "Removes members; returns how many existed.",
        run: Run::Shard(zrem),
        ..ZSET
    },
    Spec {
        name: "zremrangebylex",
        arity: Exactly(4),
        flags: WRITE,
        keys: REDUCED_KEY,
        since: "2.8.9",
        complexity: "O(log(N)+M) with N being the number of elements in the sorted set and \
                     M the number of elements removed by the operation.",
        summary: "Removes the members between two names; all must have the same score.",
        run: Run::Shard(range::zremrangebylex),
        ..ZSET
    },
    Spec {
        name: "zremrangebyrank",
        arity: Exactly(4),
        flags: WRITE,
        keys: REDUCED_KEY,
        since: "2.0.0",
        complexity: "O(log(N)+M) with N being the number of elements in the sorted set and \
                     M the number of elements removed by the operation.",
        summary: "Removes the members within a range of ranks.",
        run: Run::Shard(range::zremrangebyrank),
        ..ZSET
    },
    Spec {
        name: "zremrangebyscore",
        arity: Exactly(4),
        flags: WRITE,
        keys: REDUCED_KEY,
        complexity: "O(log(N)+M) with N being the number of elements in the sorted set and \
                     M the number of elements removed by the operation.",
        summary: "Removes the members whose scores are within a range.",
        run: Run::Shard(range::zremrangebyscore),
        ..ZSET
    },
    Spec {
        name: "zrevrange",
        doc: Doc::not_in_redis("6.2.0", "`ZRANGE … REV`"),
        arity: AtLeast(4),
        flags: READ,
        keys: READ_KEY,
        complexity: "O(log(N)+M) with N being the number of elements in the sorted set and \
                     M the number of elements returned.",
        summary: "Returns the members within a range of ranks, in descending order.",
        run: Run::Shard(range::zrevrange),
        ..ZSET
    },
    Spec {
        name: "zrevrangebylex",
        doc: Doc::not_in_redis("6.2.0", "`ZRANGE … BYLEX REV`"),
        arity: AtLeast(4),
        flags: READ,
        keys: READ_KEY,
        since: "2.8.9",
        complexity: "O(log(N)+M) with N being the number of elements in the sorted set and \
                     M the number of elements being returned. If M is constant (e.g. always \
                     asking for the first 10 elements with LIMIT), you can consider it \
                     O(log(N)).",
        summary: "Returns the members between two names, in descending order; all must have the same score.",
        run: Run::Shard(range::zrevrangebylex),
        ..ZSET
    },
    Spec {
        name: "zrevrangebyscore",
        doc: Doc::not_in_redis("6.2.0", "`ZRANGE … BYSCORE REV`"),
        arity: AtLeast(4),
        flags: READ,
        keys: READ_KEY,
        since: "2.2.0",
        complexity: "O(log(N)+M) with N being the number of elements in the sorted set and \
                     M the number of elements being returned. If M is constant (e.g. always \
                     asking for the first 10 elements with LIMIT), you can consider it \
                     O(log(N)).",
        summary: "Returns the members whose scores are within a range, in descending order.",
        run: Run::Shard(range::zrevrangebyscore),
        ..ZSET
    },
    Spec {
        name: "zrevrank",
        arity: Exactly(3),
        variants: WITHSCORE_SINCE_7_2,
        flags: READ | FAST,
        keys: READ_KEY,
        since: "2.0.0",
        complexity: "O(log(N))",
        summary: "Returns the rank of a member, from the highest score.",
        run: Run::Shard(zrevrank),
        ..ZSET
    },
    Spec {
        name: "zscan",
        arity: AtLeast(3),
        flags: READ,
        keys: READ_KEY,
        tips: &["nondeterministic_output"],
        since: "2.8.0",
        complexity: "O(1) for every call. O(N) for a complete iteration, including enough \
                     command calls for the cursor to return back to 0. N is the number of \
                     elements inside the collection..",
        summary: "Iterates over the members of a sorted set page by page.",
        run: Run::Shard(scan::zscan),
        ..ZSET
    },
    Spec {
        name: "zscore",
        arity: Exactly(3),
        flags: READ | FAST,
        keys: READ_KEY,
        summary: "Returns the score of a member.",
        run: Run::Shard(zscore),
        ..ZSET
    },
    Spec {
        name: "zunion",
        arity: AtLeast(3),
        flags: READ | MOVABLE_KEYS,
        keys: &[counted(RO | ACCESS, 1)],
        since: "6.2.0",
        complexity: "O(N)+O(M*log(M)) with N being the sum of the sizes of the input sorted \
                     sets, and M being the number of elements in the resulting sorted set.",
        summary: "Returns the members that any of the sorted sets has.",
        run: Run::Shard(combine::zunion),
        ..ZSET
    },
    Spec {
        name: "zunionstore",
        arity: AtLeast(4),
        flags: WRITE | DENYOOM | MOVABLE_KEYS,
        keys: &[Keys::at(OW | UPDATE, 1), counted(RO | ACCESS, 2)],
        since: "2.0.0",
        complexity: "O(N)+O(M log(M)) with N being the sum of the sizes of the input sorted \
                     sets, and M being the number of elements in the resulting sorted set.",
        summary: "Stores the members that any of the sorted sets has.",
        run: Run::Shard(combine::zunionstore),
        ..ZSET
    },
];
const _: () = check(ROWS);

/// Reads the sorted set at `key` and counts a hit or a miss.
fn zset_at<'k>(keyspace: &'k mut Keyspace, key: Key<'_>) -> Result<Option<&'k Zset>, Refusal> {
    read_at(keyspace, key)
}

/// ZREM key member [member ...]
fn zrem(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let hasher = cx.keyspace.hasher().clone();
    let key = cx.key(args.at(1));
    let mut strides = Strides::new(cx.pace);
    let removed = change(cx.keyspace, key, |zset: &mut Zset| {
        let mut removed = 0;
        for member in args.from(2) {
            removed += usize::from(zset.remove(member, &hasher));
            strides.step(units(member.len()));
            if zset.is_empty() {
                return Edited::Emptied((removed, true));
            }
        }
        if removed == 0 { Edited::Kept((0, false)) } else { Edited::Changed((removed, false)) }
    })?;
    let (removed, emptied) = removed.unwrap_or_default();
    if removed > 0 {
        announce_removal(cx.keyspace, event::ZSET, "zrem", key.bytes, emptied);
    }
    out.count(removed);
    Ok(())
}

/// ZCARD key
fn zcard(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let key = cx.key(args.at(1));
    out.count(zset_at(cx.keyspace, key)?.map_or(0, Zset::len));
    Ok(())
}

/// ZSCORE key member
fn zscore(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let (key, hasher) = (cx.key(args.at(1)), cx.keyspace.hasher().clone());
    let zset = zset_at(cx.keyspace, key)?;
    match zset.and_then(|zset| zset.score(args.at(2), &hasher)) {
        Some(score) => out.double(score),
        None => out.null(),
    }
    Ok(())
}

/// ZMSCORE key member [member ...]
fn zmscore(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let (key, hasher) = (cx.key(args.at(1)), cx.keyspace.hasher().clone());
    let zset = zset_at(cx.keyspace, key)?;
    out.array(args.len() - 2);
    let mut reply = Reply::new(out, Strides::new(cx.pace), true);
    for member in args.from(2) {
        reply.strides.step(units(member.len()));
        match zset.and_then(|zset| zset.score(member, &hasher)) {
            Some(score) => reply.score(score),
            None => reply.out.null(),
        }
    }
    Ok(())
}

/// ZRANK key member
fn zrank(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    rank(cx, args, out, |rank, _| rank)
}

/// ZREVRANK key member
fn zrevrank(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    rank(cx, args, out, |rank, len| len - 1 - rank)
}

/// The word is checked before the key is looked up.
fn rank(
    cx: &mut Cx<'_>,
    args: Args<'_>,
    out: &mut Sink<'_>,
    of_rank_and_len: impl Fn(usize, usize) -> usize,
) -> Outcome {
    if args.len() > 4 {
        return Err(Refusal::arity(&String::from_utf8_lossy(args.at(0)).to_ascii_lowercase()));
    }
    let with_score = args.len() == 4;
    if with_score && !args.is(3, "withscore") {
        return Err(Refusal::SYNTAX);
    }
    let (key, hasher, member) = (cx.key(args.at(1)), cx.keyspace.hasher().clone(), args.at(2));
    let zset = zset_at(cx.keyspace, key)?;
    let found = zset.and_then(|zset| Some((zset, zset.rank(member, &hasher)?)));
    match found {
        Some((zset, rank)) => {
            if with_score {
                out.array(2);
            }
            out.count(of_rank_and_len(rank, zset.len()));
            if with_score {
                out.double(zset.score(member, &hasher).unwrap_or_default());
            }
        }
        None if with_score => out.null_array(),
        None => out.null(),
    }
    Ok(())
}
