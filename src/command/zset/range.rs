//! Ranges of members by rank, score or name: returned, stored, counted or removed. Every range is
//! converted to ranks first.

use super::{Reply, zset_at};
use crate::command::collection::{announce_removal, change, store};
use crate::command::pace::Strides;
use crate::command::{Args, Cx, Outcome, Refusal};
use crate::keyspace::{Edited, LexBound, ScoreBound, Value, Zset, ZsetBuilder, event};
use crate::resp::{Sink, until_nul};
use crate::text::number::parse_f64;
use std::ops::Range;

/// What a range is bounded by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Rank,
    Score,
    Lex,
}

/// The bounds of a range.
#[derive(Clone, Copy, Debug)]
enum Bounds<'a> {
    /// The first and the last rank; negative ones count from the end.
    Ranks(i64, i64),
    Scores(ScoreBound, ScoreBound),
    Lex(LexBound<'a>, LexBound<'a>),
}

impl<'a> Bounds<'a> {
    fn of(by: By, min: &'a [u8], max: &'a [u8]) -> Result<Self, Refusal> {
        match by {
            By::Rank => {
                let rank =
                    |text| crate::text::number::parse_i64(text).ok_or(Refusal::NOT_AN_INTEGER);
                Ok(Self::Ranks(rank(min)?, rank(max)?))
            }
            By::Score => {
                let edges = edge(min).zip(edge(max));
                let (min, max) = edges.ok_or(Refusal::of("ERR min or max is not a float"))?;
                Ok(Self::Scores(min, max))
            }
            By::Lex => {
                let edges = lex_edge(min).zip(lex_edge(max));
                let refusal = Refusal::of("ERR min or max not valid string range item");
                let (min, max) = edges.ok_or(refusal)?;
                Ok(Self::Lex(min, max))
            }
        }
    }

    /// The ranks within the bounds. Ranks as bounds count in the direction of the range.
    fn ranks(self, zset: &Zset, backwards: bool) -> Range<usize> {
        match self {
            Self::Ranks(first, last) => {
                let len = zset.len() as i64;
                let from_end = |rank: i64| if rank < 0 { rank.saturating_add(len) } else { rank };
                let (first, last) = (from_end(first).max(0), from_end(last).min(len - 1));
                if first > last {
                    return 0..0;
                }
                let (first, end) = (first as usize, last as usize + 1);
                if backwards { zset.len() - end..zset.len() - first } else { first..end }
            }
            Self::Scores(min, max) => zset.ranks_by_score(min, max),
            Self::Lex(min, max) => zset.ranks_by_lex(min, max, backwards),
        }
    }
}

/// Reads a score, after a `(` if it is excluded, as C's `strtod` does, because Redis does: leading
/// spaces are skipped, the empty text is 0, a number out of range is infinite.
fn edge(text: &[u8]) -> Option<ScoreBound> {
    let (text, is_exclusive) = match text.strip_prefix(b"(") {
        Some(text) => (text, true),
        None => (text, false),
    };
    let text = until_nul(text);
    let number = {
        let is_space = |byte: &u8| byte.is_ascii_whitespace() || *byte == 0x0B;
        &text[text.iter().take_while(|byte| is_space(byte)).count()..]
    };
    let score = if text.is_empty() {
        0.0
    } else if let Some(score) = parse_f64(number) {
        score
    } else {
        // Numbers that the stricter parser rejects are too large or too small for a double.
        str::from_utf8(number).ok()?.parse().ok().filter(|score: &f64| !score.is_nan())?
    };
    Some(ScoreBound { score, is_exclusive })
}

/// Reads `-`, `+`, or a name after a `[` or a `(`.
fn lex_edge(text: &[u8]) -> Option<LexBound<'_>> {
    match text {
        [b'-'] | [b'-', 0, ..] => Some(LexBound::First),
        [b'+'] | [b'+', 0, ..] => Some(LexBound::Last),
        [b'[', name @ ..] => Some(LexBound::Inclusive(name)),
        [b'(', name @ ..] => Some(LexBound::Exclusive(name)),
        _ => None,
    }
}

/// The range and the options of ZRANGE and its older forms.
#[derive(Clone, Copy, Debug)]
struct Query<'a> {
    bounds: Bounds<'a>,
    backwards: bool,
    with_scores: bool,
    /// LIMIT: how many to skip, and how many to return at most; all if that is negative.
    limit: Option<(i64, i64)>,
}

impl<'a> Query<'a> {
    /// Reads the range from argument `first` on and the options after it. `by` and `backwards` are
    /// given if they follow from the command's name.
    fn of(
        args: Args<'a>,
        first: usize,
        mut by: Option<By>,
        mut backwards: Option<bool>,
        is_store: bool,
    ) -> Result<Self, Refusal> {
        let (mut with_scores, mut limit) = (false, None);
        let mut i = first + 2;
        while i < args.len() {
            if !is_store && args.is(i, "withscores") {
                with_scores = true;
            } else if args.is(i, "limit") && i + 2 < args.len() {
                limit = Some((args.int(i + 1)?, args.int(i + 2)?));
                i += 2;
            } else if backwards.is_none() && args.is(i, "rev") {
                backwards = Some(true);
            } else if by.is_none() && args.is(i, "bylex") {
                by = Some(By::Lex);
            } else if by.is_none() && args.is(i, "byscore") {
                by = Some(By::Score);
            } else {
                return Err(Refusal::SYNTAX);
            }
            i += 1;
        }
        let (by, backwards) = (by.unwrap_or(By::Rank), backwards.unwrap_or(false));
        if by == By::Rank && limit.is_some_and(|(_, count)| count != -1) {
            return Err(Refusal::of(
                "ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX",
            ));
        }
        if by == By::Lex && with_scores {
            return Err(Refusal::of(
                "ERR syntax error, WITHSCORES not supported in combination with BYLEX",
            ));
        }
        let (min, max) = (args.at(first), args.at(first + 1));
        let is_swapped = backwards && by != By::Rank;
        let (min, max) = if is_swapped { (max, min) } else { (min, max) };
        // LIMIT 0 -1 is allowed with ranks, where it has no effect.
        let limit = limit.filter(|_| by != By::Rank);
        Ok(Self { bounds: Bounds::of(by, min, max)?, backwards, with_scores, limit })
    }

    fn ranks(&self, zset: &Zset) -> Range<usize> {
        let Range { mut start, mut end } = self.bounds.ranks(zset, self.backwards);
        let Some((offset, count)) = self.limit else { return start..end };
        // A negative offset skips all, as in Redis.
        let offset = usize::try_from(offset).unwrap_or(usize::MAX).min(end - start);
        let count = usize::try_from(count).unwrap_or(usize::MAX).min(end - start - offset);
        if self.backwards {
            end -= offset;
            start = end - count;
        } else {
            start += offset;
            end = start + count;
        }
        start..end
    }
}

/// ZRANGE key start stop [BYSCORE | BYLEX] [REV] [LIMIT offset count] [WITHSCORES]
pub(super) fn zrange(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    reply(cx, args, None, None, out)
}

/// ZREVRANGE key start stop [WITHSCORES]
pub(super) fn zrevrange(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    reply(cx, args, Some(By::Rank), Some(true), out)
}

/// ZRANGEBYSCORE key min max [WITHSCORES] [LIMIT offset count]
pub(super) fn zrangebyscore(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    reply(cx, args, Some(By::Score), Some(false), out)
}

/// ZREVRANGEBYSCORE key max min [WITHSCORES] [LIMIT offset count]
pub(super) fn zrevrangebyscore(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    reply(cx, args, Some(By::Score), Some(true), out)
}

/// ZRANGEBYLEX key min max [LIMIT offset count]
pub(super) fn zrangebylex(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    reply(cx, args, Some(By::Lex), Some(false), out)
}

/// ZREVRANGEBYLEX key max min [LIMIT offset count]
pub(super) fn zrevrangebylex(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    reply(cx, args, Some(By::Lex), Some(true), out)
}

fn reply(
    cx: &mut Cx<'_>,
    args: Args<'_>,
    by: Option<By>,
    backwards: Option<bool>,
    out: &mut Sink<'_>,
) -> Outcome {
    let query = Query::of(args, 2, by, backwards, false)?;
    let key = cx.key(args.at(1));
    let Some(zset) = zset_at(cx.keyspace, key)? else {
        out.array(0);
        return Ok(());
    };
    let ranks = query.ranks(zset);
    let mut reply = Reply::new(out, Strides::new(cx.pace), query.with_scores);
    reply.head(ranks.len());
    for (name, score) in zset.range(ranks, query.backwards) {
        reply.member(&name, score);
    }
    Ok(())
}

/// ZRANGESTORE destination source start stop [BYSCORE | BYLEX] [REV] [LIMIT offset count]
pub(super) fn zrangestore(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let query = Query::of(args, 3, None, None, true)?;
    let (to, from) = (cx.key(args.at(1)), cx.key(args.at(2)));
    let (limits, hasher) = (cx.keyspace.limits.zset, cx.keyspace.hasher().clone());
    let mut found = ZsetBuilder::default();
    if let Some(zset) = zset_at(cx.keyspace, from)? {
        let mut strides = Strides::new(cx.pace);
        for (name, score) in zset.range(query.ranks(zset), query.backwards) {
            strides.step(super::units(name.len()));
            found.put(&name, score, &hasher, |score| score);
        }
    }
    store(cx.keyspace, to, Value::Zset(found.finish(limits)), event::ZSET, "zrangestore", out);
    Ok(())
}

/// ZCOUNT key min max
pub(super) fn zcount(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    count(cx, args, By::Score, out)
}

/// ZLEXCOUNT key min max
pub(super) fn zlexcount(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    count(cx, args, By::Lex, out)
}

fn count(cx: &mut Cx<'_>, args: Args<'_>, by: By, out: &mut Sink<'_>) -> Outcome {
    let bounds = Bounds::of(by, args.at(2), args.at(3))?;
    let key = cx.key(args.at(1));
    let zset = zset_at(cx.keyspace, key)?;
    out.count(zset.map_or(0, |zset| bounds.ranks(zset, false).len()));
    Ok(())
}

/// ZREMRANGEBYRANK key start stop
pub(super) fn zremrangebyrank(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    remove(cx, args, By::Rank, "zremrangebyrank", out)
}

/// ZREMRANGEBYSCORE key min max
pub(super) fn zremrangebyscore(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    remove(cx, args, By::Score, "zremrangebyscore", out)
}

/// ZREMRANGEBYLEX key min max
pub(super) fn zremrangebylex(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    remove(cx, args, By::Lex, "zremrangebylex", out)
}

fn remove(
    cx: &mut Cx<'_>,
    args: Args<'_>,
    by: By,
    name: &'static str,
    out: &mut Sink<'_>,
) -> Outcome {
    let bounds = Bounds::of(by, args.at(2), args.at(3))?;
    let hasher = cx.keyspace.hasher().clone();
    let key = cx.key(args.at(1));
    let mut strides = Strides::new(cx.pace);
    let removed = change(cx.keyspace, key, |zset: &mut Zset| {
        let ranks = bounds.ranks(zset, false);
        let removed = ranks.len();
        if removed == 0 {
            return Edited::Kept((0, false));
        }
        if removed == zset.len() {
            return Edited::Emptied((removed, true));
        }
        zset.remove_ranks(ranks, &hasher, || strides.step(1));
        Edited::Changed((removed, false))
    })?;
    let (removed, emptied) = removed.unwrap_or_default();
    if removed > 0 {
        announce_removal(cx.keyspace, event::ZSET, name, key.bytes, emptied);
    }
    out.count(removed);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edge_of(score: f64, is_exclusive: bool) -> Option<ScoreBound> {
        Some(ScoreBound { score, is_exclusive })
    }

    #[test]
    fn edges_read_as_in_c() {
        let inf = f64::INFINITY;
        let (at, beyond) = (|score| edge_of(score, false), |score| edge_of(score, true));
        let cases: [(&[u8], Option<ScoreBound>); 22] = [
            (b"", at(0.0)),
            (b"(", beyond(0.0)),
            (b"1", at(1.0)),
            (b"(1.5", beyond(1.5)),
            (b"((1", None),
            (b" 1", at(1.0)),
            (b"\x0b\t1", at(1.0)),
            (b" (1", None),
            (b"( 1", beyond(1.0)),
            (b"1 ", None),
            (b" ", None),
            (b"1\0x", at(1.0)),
            (b"\0", at(0.0)),
            (b"inf", at(inf)),
            (b"(-INFINITY", beyond(-inf)),
            (b"1e400", at(inf)),
            (b"-1e400", at(-inf)),
            (b"1e-400", at(0.0)),
            (b"0x10", at(16.0)),
            (b"nan", None),
            (b"1x", None),
            (b"+", None),
        ];
        for (text, expected) in cases {
            assert_eq!(edge(text), expected, "{}", text.escape_ascii());
        }
    }
}
