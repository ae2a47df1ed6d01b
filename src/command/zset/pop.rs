//! ZPOPMIN, ZPOPMAX, ZMPOP and their blocking forms: pops members from an end.

use super::Reply;
use crate::command::collection::{announce_removal, change};
use crate::command::pace::Strides;
use crate::command::wait::{NullReply, Wait, WaitKind};
use crate::command::{Args, Cx, Outcome, Refusal};
use crate::keyspace::{Edited, Zset, event};
use crate::resp::{Proto, Sink};
use crate::text::number::parse_i64;

/// The end that members are popped from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Min,
    Max,
}

impl Side {
    fn event(self) -> &'static str {
        match self {
            Self::Min => "zpopmin",
            Self::Max => "zpopmax",
        }
    }
}

/// The form of popped members in the reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// Member, score, member, score.
    Flat,
    /// An array of pairs.
    Pairs,
    /// Key, member, score.
    FlatWithKey,
    /// The key, and an array of pairs.
    PairsWithKey,
}

/// ZPOPMIN key [count]
pub(super) fn zpopmin(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    zpop(cx, args, Side::Min, out)
}

/// ZPOPMAX key [count]
pub(super) fn zpopmax(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    zpop(cx, args, Side::Max, out)
}

fn zpop(cx: &mut Cx<'_>, args: Args<'_>, side: Side, out: &mut Sink<'_>) -> Outcome {
    let (count, shape) = match args.len() {
        2 => (1, Shape::Flat),
        3 => {
            let count = parse_i64(args.at(2)).and_then(|count| usize::try_from(count).ok());
            let negative = Refusal::of("ERR value is out of range, must be positive");
            let shape = if out.proto == Proto::Resp3 { Shape::Pairs } else { Shape::Flat };
            (count.ok_or(negative)?, shape)
        }
        _ => return Err(Refusal::SYNTAX),
    };
    if !pop(cx, args.at(1), side, count, shape, out)? {
        out.array(0);
    }
    Ok(())
}

/// ZMPOP numkeys key [key ...] MIN|MAX [COUNT count]
pub(super) fn zmpop(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    if !MultiPop::of(args, 1)?.run(cx, args, out)? {
        out.null_array();
    }
    Ok(())
}

/// BZPOPMIN key [key ...] timeout
pub(super) fn bzpopmin(
    cx: &mut Cx<'_>,
    args: Args<'_>,
    out: &mut Sink<'_>,
) -> Result<Option<Wait>, Refusal> {
    bzpop(cx, args, Side::Min, out)
}

/// BZPOPMAX key [key ...] timeout
pub(super) fn bzpopmax(
    cx: &mut Cx<'_>,
    args: Args<'_>,
    out: &mut Sink<'_>,
) -> Result<Option<Wait>, Refusal> {
    bzpop(cx, args, Side::Max, out)
}

fn bzpop(
    cx: &mut Cx<'_>,
    args: Args<'_>,
    side: Side,
    out: &mut Sink<'_>,
) -> Result<Option<Wait>, Refusal> {
    let last = args.len() - 1;
    let wait = Wait::of(args, last, cx.now(), WaitKind::Zset, NullReply::NullArray)?;
    for key in args.from(1).take(last - 1) {
        if cx.may_take_from(key) && pop(cx, key, side, 1, Shape::FlatWithKey, out)? {
            return Ok(None);
        }
    }
    Ok(Some(wait))
}

/// BZMPOP timeout numkeys key [key ...] MIN|MAX [COUNT count]
pub(super) fn bzmpop(
    cx: &mut Cx<'_>,
    args: Args<'_>,
    out: &mut Sink<'_>,
) -> Result<Option<Wait>, Refusal> {
    let request = MultiPop::of(args, 2)?;
    let wait = Wait::of(args, 1, cx.now(), WaitKind::Zset, NullReply::NullArray)?;
    Ok(if request.run(cx, args, out)? { None } else { Some(wait) })
}

/// The arguments of ZMPOP and BZMPOP.
struct MultiPop {
    /// The argument that is the first key.
    first: usize,
    keys: usize,
    side: Side,
    count: usize,
}

impl MultiPop {
    /// Reads the arguments from `at` on, the number of keys.
    fn of(args: Args<'_>, at: usize) -> Result<Self, Refusal> {
        let positive = |at: usize| {
            parse_i64(args.at(at)).and_then(|n| usize::try_from(n).ok()).filter(|&n| n > 0)
        };
        let none = Refusal::of("ERR numkeys should be greater than 0");
        let keys = positive(at).ok_or(none)?;
        let first = at + 1;
        let side = first.saturating_add(keys);
        let side_is = |word| args.is(side, word);
        let (side, mut i) = match (side_is("min"), side_is("max")) {
            (true, _) => (Side::Min, side + 1),
            (_, true) => (Side::Max, side + 1),
            _ => return Err(Refusal::SYNTAX),
        };
        let mut count = None;
        while i < args.len() {
            if count.is_some() || !args.is(i, "count") || i + 1 == args.len() {
                return Err(Refusal::SYNTAX);
            }
            let none = Refusal::of("ERR count should be greater than 0");
            count = Some(positive(i + 1).ok_or(none)?);
            i += 2;
        }
        Ok(Self { first, keys, side, count: count.unwrap_or(1) })
    }

    /// Pops from the first key that exists. Returns whether one does.
    fn run(&self, cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Result<bool, Refusal> {
        let (side, count) = (self.side, self.count);
        for key in args.from(self.first).take(self.keys) {
            if cx.may_take_from(key) && pop(cx, key, side, count, Shape::PairsWithKey, out)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Pops up to `count` members and replies with them. Returns `false`, and writes nothing, if there
/// are none or `count` is 0.
fn pop(
    cx: &mut Cx<'_>,
    name: &[u8],
    side: Side,
    count: usize,
    shape: Shape,
    out: &mut Sink<'_>,
) -> Result<bool, Refusal> {
    let hasher = cx.keyspace.hasher().clone();
    let key = cx.key(name);
    let mut reply = Reply::new(out, Strides::new(cx.pace), true);
    let emptied = change(cx.keyspace, key, |zset: &mut Zset| {
        let len = zset.len();
        let count = count.min(len);
        if count == 0 {
            return Edited::Kept(None);
        }
        reply.is_nested = matches!(shape, Shape::Pairs | Shape::PairsWithKey);
        match shape {
            Shape::Flat | Shape::Pairs => reply.head(count),
            Shape::FlatWithKey => {
                reply.out.array(1 + 2 * count);
                reply.out.bulk(name);
            }
            Shape::PairsWithKey => {
                reply.out.array(2);
                reply.out.bulk(name);
                reply.head(count);
            }
        }
        let ranks = if side == Side::Max { len - count..len } else { 0..count };
        for (member, score) in zset.range(ranks.clone(), side == Side::Max) {
            reply.member(&member, score);
        }
        if count == len {
            return Edited::Emptied(Some(true));
        }
        zset.remove_ranks(ranks, &hasher, || reply.strides.step(1));
        Edited::Changed(Some(false))
    })?;
    let Some(emptied) = emptied.flatten() else { return Ok(false) };
    announce_removal(cx.keyspace, event::ZSET, side.event(), key.bytes, emptied);
    Ok(true)
}
