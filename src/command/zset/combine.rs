//! Union, intersection and difference of sorted sets; returned, counted or stored.
//!
//! Plain sets are accepted too: all their members have the score 1. Scores are multiplied by a
//! weight per key and then combined by sum, minimum or maximum, from the smallest set to the
//! largest: the order matters to sums of fractions. NaN counts as 0.

use super::{Reply, units};
use crate::command::collection::store;
use crate::command::pace::Strides;
use crate::command::{Args, Cx, Outcome, Refusal};
use crate::keyspace::{Key, KeyHasher, Keyspace, Member, Set, Value, Zset, ZsetBuilder, event};
use crate::resp::Sink;
use crate::text::number::{parse_f64, parse_i64};

/// A set operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Union,
    Inter,
    Diff,
}

/// How two scores of one member are combined.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Aggregate {
    #[default]
    Sum,
    Min,
    Max,
}

impl Aggregate {
    fn apply(self, score: f64, other: f64) -> f64 {
        match self {
            Self::Sum => number_or_0(score + other),
            // Written so that NaN never wins.
            Self::Min => {
                if other < score {
                    other
                } else {
                    score
                }
            }
            Self::Max => {
                if other > score {
                    other
                } else {
                    score
                }
            }
        }
    }
}

fn number_or_0(score: f64) -> f64 {
    if score.is_nan() { 0.0 } else { score }
}

/// The value of a source key.
#[derive(Clone, Copy)]
enum Source<'k> {
    Zset(&'k Zset),
    Set(&'k Set),
    Missing,
}

impl<'k> Source<'k> {
    fn len(self) -> usize {
        match self {
            Self::Zset(zset) => zset.len(),
            Self::Set(set) => set.len(),
            Self::Missing => 0,
        }
    }

    fn score(self, member: &[u8], hasher: &KeyHasher) -> Option<f64> {
        match self {
            Self::Zset(zset) => zset.score(member, hasher),
            Self::Set(set) => set.contains(Member::Bytes(member), hasher).then_some(1.0),
            Self::Missing => None,
        }
    }

    /// Calls `each` with every member, until it returns `false`.
    fn each(self, mut each: impl FnMut(&[u8], f64) -> bool) {
        let _all = match self {
            Self::Zset(zset) => zset.members().all(|(name, score)| each(&name, score)),
            Self::Set(set) => set.members().all(|member| each(&member.text(), 1.0)),
            Self::Missing => true,
        };
    }
}

/// The arguments of a command of this file.
struct Query {
    /// The argument that is the first key.
    first: usize,
    keys: usize,
    /// One per key; empty if all are 1.
    weights: Vec<f64>,
    aggregate: Aggregate,
    with_scores: bool,
    /// LIMIT: how many are counted at most, 0 for all.
    limit: usize,
}

/// What a command does with the result; the options that it takes depend on that.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    Return(Operation),
    Store(Operation),
    Count,
}

impl Query {
    /// Reads the keys; their number is argument `at`.
    fn keys_of(args: Args<'_>, at: usize, command: &str) -> Result<Self, Refusal> {
        let keys = args.int(at)?;
        if keys < 1 {
            return Err(Refusal::new(format!(
                "ERR at least 1 input key is needed for '{command}' command"
            )));
        }
        let first = at + 1;
        match usize::try_from(keys) {
            Ok(keys) if keys <= args.len() - first => Ok(Self {
                first,
                keys,
                weights: Vec::new(),
                aggregate: Aggregate::Sum,
                with_scores: false,
                limit: 0,
            }),
            _ => Err(Refusal::SYNTAX),
        }
    }

    /// Reads the options after the keys.
    fn read_options(&mut self, args: Args<'_>, usage: Use) -> Outcome {
        let operation = match usage {
            Use::Return(operation) | Use::Store(operation) => Some(operation),
            Use::Count => None,
        };
        let is_scored = matches!(operation, Some(Operation::Union | Operation::Inter));
        let mut i = self.first + self.keys;
        while i < args.len() {
            let left = args.len() - i - 1;
            if is_scored && left >= self.keys && args.is(i, "weights") {
                let float = Refusal::of("ERR weight value is not a float");
                let weights = args.from(i + 1).take(self.keys).map(parse_f64);
                self.weights = weights.collect::<Option<_>>().ok_or(float)?;
                i += self.keys;
            } else if is_scored && left >= 1 && args.is(i, "aggregate") {
                self.aggregate = if args.is(i + 1, "sum") {
                    Aggregate::Sum
                } else if args.is(i + 1, "min") {
                    Aggregate::Min
                } else if args.is(i + 1, "max") {
                    Aggregate::Max
                } else {
                    return Err(Refusal::SYNTAX);
                };
                i += 1;
            } else if matches!(usage, Use::Return(_)) && args.is(i, "withscores") {
                self.with_scores = true;
            } else if usage == Use::Count && left >= 1 && args.is(i, "limit") {
                let limit = parse_i64(args.at(i + 1)).and_then(|n| usize::try_from(n).ok());
                self.limit = limit.ok_or(Refusal::of("ERR LIMIT can't be negative"))?;
                i += 1;
            } else {
                return Err(Refusal::SYNTAX);
            }
            i += 1;
        }
        Ok(())
    }

    /// Returns the values at the keys, with the keys' weights.
    fn sources<'k>(&self, keyspace: &'k Keyspace, keys: &[Key<'_>]) -> Vec<(Source<'k>, f64)> {
        let source = |key: &Key<'_>| match keyspace.get(*key) {
            Some(Value::Zset(zset)) => Source::Zset(zset),
            Some(Value::Set(set)) => Source::Set(set),
            _ => Source::Missing,
        };
        let weights = self.weights.iter().copied().chain(std::iter::repeat(1.0));
        keys.iter().map(source).zip(weights).collect()
    }
}

/// Parses the arguments, reads every key and counts a hit or a miss for each.
fn read_query<'a: 'k, 'k>(
    cx: &mut Cx<'a>,
    args: Args<'k>,
    at: usize,
    usage: Use,
    command: &str,
) -> Result<(Query, Vec<Key<'k>>), Refusal> {
    let mut query = Query::keys_of(args, at, command)?;
    let keys: Vec<_> = args.from(query.first).take(query.keys).map(|key| cx.key(key)).collect();
    for &key in &keys {
        if !matches!(cx.keyspace.read(key), None | Some(Value::Zset(_) | Value::Set(_))) {
            return Err(Refusal::WRONG_TYPE);
        }
    }
    query.read_options(args, usage)?;
    Ok((query, keys))
}

/// ZUNION numkeys key [key ...] [WEIGHTS weight ...] [AGGREGATE SUM | MIN | MAX] [WITHSCORES]
pub(super) fn zunion(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    reply(cx, args, Operation::Union, "zunion", out)
}

/// ZINTER numkeys key [key ...] [WEIGHTS weight ...] [AGGREGATE SUM | MIN | MAX] [WITHSCORES]
pub(super) fn zinter(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    reply(cx, args, Operation::Inter, "zinter", out)
}

/// ZDIFF numkeys key [key ...] [WITHSCORES]
pub(super) fn zdiff(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    reply(cx, args, Operation::Diff, "zdiff", out)
}

/// ZUNIONSTORE destination numkeys key [key ...] [WEIGHTS weight ...] [AGGREGATE SUM | MIN | MAX]
pub(super) fn zunionstore(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    store_result(cx, args, Operation::Union, "zunionstore", out)
}

/// ZINTERSTORE destination numkeys key [key ...] [WEIGHTS weight ...] [AGGREGATE SUM | MIN | MAX]
pub(super) fn zinterstore(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    store_result(cx, args, Operation::Inter, "zinterstore", out)
}

/// ZDIFFSTORE destination numkeys key [key ...]
pub(super) fn zdiffstore(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    store_result(cx, args, Operation::Diff, "zdiffstore", out)
}

/// ZINTERCARD numkeys key [key ...] [LIMIT limit]
pub(super) fn zintercard(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let (query, keys) = read_query(cx, args, 1, Use::Count, "zintercard")?;
    let sources = query.sources(cx.keyspace, &keys);
    let limit = if query.limit > 0 { query.limit } else { usize::MAX };
    let mut count = 0;
    let hasher = cx.keyspace.hasher();
    intersect(&sources, Aggregate::Sum, hasher, &mut Strides::new(cx.pace), |_, _| {
        count += 1;
        count < limit
    });
    out.count(count);
    Ok(())
}

fn reply(
    cx: &mut Cx<'_>,
    args: Args<'_>,
    operation: Operation,
    command: &str,
    out: &mut Sink<'_>,
) -> Outcome {
    let (query, keys) = read_query(cx, args, 1, Use::Return(operation), command)?;
    let result = combine(cx, &query, &keys, operation);
    let mut reply = Reply::new(out, Strides::new(cx.pace), query.with_scores);
    reply.head(result.len());
    result.in_order().for_each(|(name, score)| reply.member(name, score));
    Ok(())
}

fn store_result(
    cx: &mut Cx<'_>,
    args: Args<'_>,
    operation: Operation,
    command: &'static str,
    out: &mut Sink<'_>,
) -> Outcome {
    let to = cx.key(args.at(1));
    let (query, keys) = read_query(cx, args, 2, Use::Store(operation), command)?;
    let zset = combine(cx, &query, &keys, operation).finish(cx.keyspace.limits.zset);
    store(cx.keyspace, to, Value::Zset(zset), event::ZSET, command, out);
    Ok(())
}

/// Returns the result of the operation on the sources.
fn combine(cx: &mut Cx<'_>, query: &Query, keys: &[Key<'_>], operation: Operation) -> ZsetBuilder {
    let mut sources = query.sources(cx.keyspace, keys);
    let hasher = cx.keyspace.hasher();
    let mut strides = Strides::new(cx.pace);
    let mut result = ZsetBuilder::default();
    match operation {
        Operation::Union => {
            sources.sort_by_key(|(source, _)| source.len());
            for (source, weight) in sources {
                source.each(|name, score| {
                    strides.step(units(name.len()));
                    let score = number_or_0(weight * score);
                    result.put(name, score, hasher, |old| query.aggregate.apply(old, score));
                    true
                });
            }
        }
        Operation::Inter => {
            intersect(&sources, query.aggregate, hasher, &mut strides, |name, score| {
                result.put(name, score, hasher, |old| old);
                true
            });
        }
        Operation::Diff => {
            let Some(((first, _), others)) = sources.split_first() else { return result };
            first.each(|name, score| {
                strides.step(others.len() + units(name.len()));
                if others.iter().all(|(other, _)| other.score(name, hasher).is_none()) {
                    result.put(name, score, hasher, |old| old);
                }
                true
            });
        }
    }
    result
}

/// Calls `each` with the members that all sources have, until it returns `false`.
fn intersect(
    sources: &[(Source<'_>, f64)],
    aggregate: Aggregate,
    hasher: &KeyHasher,
    strides: &mut Strides<'_>,
    mut each: impl FnMut(&[u8], f64) -> bool,
) {
    let mut sources = sources.to_vec();
    sources.sort_by_key(|(source, _)| source.len());
    let Some((&(smallest, weight), others)) = sources.split_first() else { return };
    smallest.each(|name, score| {
        strides.step(others.len() + units(name.len()));
        let mut combined = number_or_0(weight * score);
        for (other, weight) in others {
            let Some(score) = other.score(name, hasher) else { return true };
            combined = aggregate.apply(combined, weight * score);
        }
        each(name, combined)
    });
}
