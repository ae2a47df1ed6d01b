//! Sorted sets: members in the order of their scores.
//!
//! ```text
//! zset           the rows; scores and ranks read, members removed
//! zset/add       ZADD, ZINCRBY
//! zset/range     ranges of ranks, scores and names: read, stored, counted, removed
//! zset/pop       members taken from an end: ZPOPMIN and its kin, and those that wait
//! zset/combine   what several sorted sets have together: ZUNION, ZINTER, ZDIFF
//! zset/random    members by chance: ZRANDMEMBER
//! zset/scan      members page by page: ZSCAN
//! ```
//!
//! A missing key is an empty sorted set, and one that loses its last member is a missing key.

mod add;
mod combine;
mod pop;
mod random;
mod range;
mod scan;

use super::collection::{announce_loss, change, read_at};
use super::pace::{Strides, units};
use super::spec::access::{ACCESS, DELETE, OW, RO, RW, UPDATE};
use super::spec::flag::{BLOCKING, DENYOOM, FAST, MOVABLE_KEYS, NOSCRIPT, READ, WRITE};
use super::spec::{
    Arity::{AtLeast, Exactly},
    BASE, Begin, Find, Group, Keys, Run, Spec, acl, check,
};
use super::{Args, Cx, Outcome, Refusal};
use crate::keyspace::{Edited, Key, Keyspace, Zset, event};
use crate::resp::{Proto, Sink};
use crate::text::number::write_f64;

/// What all sorted sets' rows share.
const ZSET: Spec = Spec { group: Group::SortedSet, acl: acl::SORTEDSET, since: "1.2.0", ..BASE };

/// One key that is read to the client.
const GIVEN: &[Keys] = &[Keys::at(RO | ACCESS, 1)];
/// One key of which only the size is told.
const JUDGED: &[Keys] = &[Keys::at(RO, 1)];
/// One key of which members go to the client.
const TAKEN: &[Keys] = &[Keys::at(RW | ACCESS | DELETE, 1)];
/// One key of which members go.
const REMOVED: &[Keys] = &[Keys::at(RW | DELETE, 1)];

/// Keys behind the number of them, which is argument `at`.
const fn numbered(access: u16, at: u8) -> Keys {
    let find = Find::Count { at: 0, first: 1, step: 1 };
    Keys { access, begin: Begin::Index(at), find, notes: "" }
}

pub(super) const ROWS: &[Spec] = &[
    Spec {
        name: "bzmpop",
        arity: AtLeast(5),
        flags: WRITE | BLOCKING | MOVABLE_KEYS,
        keys: &[numbered(RW | ACCESS | DELETE, 2)],
        since: "7.0.0",
        complexity: "O(K) + O(M*log(N)) where K is the number of provided keys, N being the \
                     number of elements in the sorted set, and M being the number of \
                     elements popped.",
        summary: "Takes members from one end of the first sorted set that has any, or waits for one.",
        run: Run::Blocks(pop::bzmpop),
        ..ZSET
    },
    Spec {
        name: "bzpopmax",
        arity: AtLeast(3),
        flags: WRITE | NOSCRIPT | BLOCKING | FAST,
        keys: &[Keys::range(RW | ACCESS | DELETE, 1, -2, 1)],
        since: "5.0.0",
        complexity: "O(log(N)) with N being the number of elements in the sorted set.",
        summary: "Takes the last member of the first sorted set that has any, or waits for one.",
        run: Run::Blocks(pop::bzpopmax),
        ..ZSET
    },
    Spec {
        name: "bzpopmin",
        arity: AtLeast(3),
        flags: WRITE | NOSCRIPT | BLOCKING | FAST,
        keys: &[Keys::range(RW | ACCESS | DELETE, 1, -2, 1)],
        since: "5.0.0",
        complexity: "O(log(N)) with N being the number of elements in the sorted set.",
        summary: "Takes the first member of the first sorted set that has any, or waits for one.",
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
        summary: "Adds members with their scores, or changes the scores of those that are there.",
        run: Run::Shard(add::zadd),
        ..ZSET
    },
    Spec {
        name: "zcard",
        arity: Exactly(2),
        flags: READ | FAST,
        keys: JUDGED,
        summary: "Counts the members of a sorted set.",
        run: Run::Shard(zcard),
        ..ZSET
    },
    Spec {
        name: "zcount",
        arity: Exactly(4),
        flags: READ | FAST,
        keys: GIVEN,
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
        keys: &[numbered(RO | ACCESS, 1)],
        since: "6.2.0",
        complexity: "O(L + (N-K)log(N)) worst case where L is the total number of elements \
                     in all the sets, N is the size of the first set, and K is the size of \
                     the result set.",
        summary: "Reads the members of the first sorted set that no other has.",
        run: Run::Shard(combine::zdiff),
        ..ZSET
    },
    Spec {
        name: "zdiffstore",
        arity: AtLeast(4),
        flags: WRITE | DENYOOM | MOVABLE_KEYS,
        keys: &[Keys::at(OW | UPDATE, 1), numbered(RO | ACCESS, 2)],
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
        keys: &[numbered(RO | ACCESS, 1)],
        since: "6.2.0",
        complexity: "O(N*K)+O(M*log(M)) worst case with N being the smallest input sorted \
                     set, K being the number of input sorted sets and M being the number of \
                     elements in the resulting sorted set.",
        summary: "Reads the members that all sorted sets have.",
        run: Run::Shard(combine::zinter),
        ..ZSET
    },
    Spec {
        name: "zintercard",
        arity: AtLeast(3),
        flags: READ | MOVABLE_KEYS,
        keys: &[numbered(RO | ACCESS, 1)],
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
        keys: &[Keys::at(OW | UPDATE, 1), numbered(RO | ACCESS, 2)],
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
        keys: GIVEN,
        since: "2.8.9",
        complexity: "O(log(N)) with N being the number of elements in the sorted set.",
        summary: "Counts the members between two names, in a sorted set of one score.",
        run: Run::Shard(range::zlexcount),
        ..ZSET
    },
    Spec {
        name: "zmpop",
        arity: AtLeast(4),
        flags: WRITE | MOVABLE_KEYS,
        keys: &[numbered(RW | ACCESS | DELETE, 1)],
        since: "7.0.0",
        complexity: "O(K) + O(M*log(N)) where K is the number of provided keys, N being the \
                     number of elements in the sorted set, and M being the number of \
                     elements popped.",
        summary: "Takes members from one end of the first sorted set that has any.",
        run: Run::Shard(pop::zmpop),
        ..ZSET
    },
    Spec {
        name: "zmscore",
        arity: AtLeast(3),
        flags: READ | FAST,
        keys: GIVEN,
        since: "6.2.0",
        complexity: "O(N) where N is the number of members being requested.",
        summary: "Reads the scores of several members.",
        run: Run::Shard(zmscore),
        ..ZSET
    },
    Spec {
        name: "zpopmax",
        arity: AtLeast(2),
        flags: WRITE | FAST,
        keys: TAKEN,
        since: "5.0.0",
        complexity: "O(log(N)*M) with N being the number of elements in the sorted set, and \
                     M being the number of elements popped.",
        summary: "Takes the members with the highest scores.",
        run: Run::Shard(pop::zpopmax),
        ..ZSET
    },
    Spec {
        name: "zpopmin",
        arity: AtLeast(2),
        flags: WRITE | FAST,
        keys: TAKEN,
        since: "5.0.0",
        complexity: "O(log(N)*M) with N being the number of elements in the sorted set, and \
                     M being the number of elements popped.",
        summary: "Takes the members with the lowest scores.",
        run: Run::Shard(pop::zpopmin),
        ..ZSET
    },
    Spec {
        name: "zrandmember",
        arity: AtLeast(2),
        flags: READ,
        keys: GIVEN,
        tips: &["nondeterministic_output"],
        since: "6.2.0",
        complexity: "O(N) where N is the number of elements returned",
        summary: "Picks members of a sorted set at random.",
        run: Run::Shard(random::zrandmember),
        ..ZSET
    },
    Spec {
        name: "zrange",
        arity: AtLeast(4),
        flags: READ,
        keys: GIVEN,
        complexity: "O(log(N)+M) with N being the number of elements in the sorted set and \
                     M the number of elements returned.",
        summary: "Reads the members within a range of ranks, scores or names.",
        run: Run::Shard(range::zrange),
        ..ZSET
    },
    Spec {
        name: "zrangebylex",
        arity: AtLeast(4),
        flags: READ,
        keys: GIVEN,
        since: "2.8.9",
        complexity: "O(log(N)+M) with N being the number of elements in the sorted set and \
                     M the number of elements being returned. If M is constant (e.g. always \
                     asking for the first 10 elements with LIMIT), you can consider it \
                     O(log(N)).",
        summary: "Reads the members between two names, in a sorted set of one score.",
        run: Run::Shard(range::zrangebylex),
        ..ZSET
    },
    Spec {
        name: "zrangebyscore",
        arity: AtLeast(4),
        flags: READ,
        keys: GIVEN,
        since: "1.0.5",
        complexity: "O(log(N)+M) with N being the number of elements in the sorted set and \
                     M the number of elements being returned. If M is constant (e.g. always \
                     asking for the first 10 elements with LIMIT), you can consider it \
                     O(log(N)).",
        summary: "Reads the members whose scores are within a range.",
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
        flags: READ | FAST,
        keys: GIVEN,
        since: "2.0.0",
        complexity: "O(log(N))",
        summary: "Tells how many members stand before one.",
        run: Run::Shard(zrank),
        ..ZSET
    },
    Spec {
        name: "zrem",
        arity: AtLeast(3),
        flags: WRITE | FAST,
        keys: REMOVED,
        complexity: "O(M*log(N)) with N being the number of elements in the sorted set and \
                     M the number of elements to be removed.",
        summary: "Removes members and counts those that were there.",
        run: Run::Shard(zrem),
        ..ZSET
    },
    Spec {
        name: "zremrangebylex",
        arity: Exactly(4),
        flags: WRITE,
        keys: REMOVED,
        since: "2.8.9",
        complexity: "O(log(N)+M) with N being the number of elements in the sorted set and \
                     M the number of elements removed by the operation.",
        summary: "Removes the members between two names, in a sorted set of one score.",
        run: Run::Shard(range::zremrangebylex),
        ..ZSET
    },
    Spec {
        name: "zremrangebyrank",
        arity: Exactly(4),
        flags: WRITE,
        keys: REMOVED,
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
        keys: REMOVED,
        complexity: "O(log(N)+M) with N being the number of elements in the sorted set and \
                     M the number of elements removed by the operation.",
        summary: "Removes the members whose scores are within a range.",
        run: Run::Shard(range::zremrangebyscore),
        ..ZSET
    },
    Spec {
        name: "zrevrange",
        arity: AtLeast(4),
        flags: READ,
        keys: GIVEN,
        complexity: "O(log(N)+M) with N being the number of elements in the sorted set and \
                     M the number of elements returned.",
        summary: "Reads the members within a range of ranks, counted and answered from the end.",
        run: Run::Shard(range::zrevrange),
        ..ZSET
    },
    Spec {
        name: "zrevrangebylex",
        arity: AtLeast(4),
        flags: READ,
        keys: GIVEN,
        since: "2.8.9",
        complexity: "O(log(N)+M) with N being the number of elements in the sorted set and \
                     M the number of elements being returned. If M is constant (e.g. always \
                     asking for the first 10 elements with LIMIT), you can consider it \
                     O(log(N)).",
        summary: "Reads the members between two names backwards, in a sorted set of one score.",
        run: Run::Shard(range::zrevrangebylex),
        ..ZSET
    },
    Spec {
        name: "zrevrangebyscore",
        arity: AtLeast(4),
        flags: READ,
        keys: GIVEN,
        since: "2.2.0",
        complexity: "O(log(N)+M) with N being the number of elements in the sorted set and \
                     M the number of elements being returned. If M is constant (e.g. always \
                     asking for the first 10 elements with LIMIT), you can consider it \
                     O(log(N)).",
        summary: "Reads the members whose scores are within a range, backwards.",
        run: Run::Shard(range::zrevrangebyscore),
        ..ZSET
    },
    Spec {
        name: "zrevrank",
        arity: Exactly(3),
        flags: READ | FAST,
        keys: GIVEN,
        since: "2.0.0",
        complexity: "O(log(N))",
        summary: "Tells how many members stand behind one.",
        run: Run::Shard(zrevrank),
        ..ZSET
    },
    Spec {
        name: "zscan",
        arity: AtLeast(3),
        flags: READ,
        keys: GIVEN,
        tips: &["nondeterministic_output"],
        since: "2.8.0",
        complexity: "O(1) for every call. O(N) for a complete iteration, including enough \
                     command calls for the cursor to return back to 0. N is the number of \
                     elements inside the collection..",
        summary: "Reads the members of a sorted set page by page.",
        run: Run::Shard(scan::zscan),
        ..ZSET
    },
    Spec {
        name: "zscore",
        arity: Exactly(3),
        flags: READ | FAST,
        keys: GIVEN,
        summary: "Reads the score of a member.",
        run: Run::Shard(zscore),
        ..ZSET
    },
    Spec {
        name: "zunion",
        arity: AtLeast(3),
        flags: READ | MOVABLE_KEYS,
        keys: &[numbered(RO | ACCESS, 1)],
        since: "6.2.0",
        complexity: "O(N)+O(M*log(M)) with N being the sum of the sizes of the input sorted \
                     sets, and M being the number of elements in the resulting sorted set.",
        summary: "Reads the members that any of the sorted sets has.",
        run: Run::Shard(combine::zunion),
        ..ZSET
    },
    Spec {
        name: "zunionstore",
        arity: AtLeast(4),
        flags: WRITE | DENYOOM | MOVABLE_KEYS,
        keys: &[Keys::at(OW | UPDATE, 1), numbered(RO | ACCESS, 2)],
        since: "2.0.0",
        complexity: "O(N)+O(M log(M)) with N being the sum of the sizes of the input sorted \
                     sets, and M being the number of elements in the resulting sorted set.",
        summary: "Stores the members that any of the sorted sets has.",
        run: Run::Shard(combine::zunionstore),
        ..ZSET
    },
];
const _: () = check(ROWS);

/// The sorted set at `key`, as a read that counts.
fn zset_at<'k>(keyspace: &'k mut Keyspace, key: Key<'_>) -> Result<Option<&'k Zset>, Refusal> {
    read_at(keyspace, key)
}

/// Members on their way out, one after the other: with their scores, a pair is an array of two in
/// RESP3 and two elements in RESP2.
struct Reply<'s, 'o, 'p> {
    out: &'s mut Sink<'o>,
    strides: Strides<'p>,
    with_scores: bool,
    is_nested: bool,
    /// The digits of the score at hand.
    digits: Vec<u8>,
}

impl<'s, 'o, 'p> Reply<'s, 'o, 'p> {
    fn new(out: &'s mut Sink<'o>, strides: Strides<'p>, with_scores: bool) -> Self {
        let is_nested = with_scores && out.proto == Proto::Resp3;
        Self { out, strides, with_scores, is_nested, digits: Vec::new() }
    }

    fn head(&mut self, members: usize) {
        let flat = self.with_scores && !self.is_nested;
        self.out.array(if flat { 2 * members } else { members });
    }

    fn member(&mut self, name: &[u8], score: f64) {
        self.strides.step(units(name.len()));
        if self.is_nested {
            self.out.array(2);
        }
        self.out.bulk(name);
        if self.with_scores {
            self.score(score);
        }
    }

    fn score(&mut self, score: f64) {
        match self.out.proto {
            // As the sink does it, but with one allocation for all.
            Proto::Resp2 => {
                self.digits.clear();
                write_f64(&mut self.digits, score);
                self.out.bulk(&self.digits);
            }
            Proto::Resp3 => self.out.double(score),
        }
    }
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
        announce_loss(cx.keyspace, event::ZSET, "zrem", key.bytes, emptied);
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

fn rank(
    cx: &mut Cx<'_>,
    args: Args<'_>,
    out: &mut Sink<'_>,
    delivered: impl Fn(usize, usize) -> usize,
) -> Outcome {
    let (key, hasher) = (cx.key(args.at(1)), cx.keyspace.hasher().clone());
    let zset = zset_at(cx.keyspace, key)?;
    match zset.and_then(|zset| Some(delivered(zset.rank(args.at(2), &hasher)?, zset.len()))) {
        Some(rank) => out.count(rank),
        None => out.null(),
    }
    Ok(())
}
