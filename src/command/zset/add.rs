//! ZADD and ZINCRBY: adds members, sets or increments scores.

use super::{change, units};
use crate::command::pace::Strides;
use crate::command::{Args, Cx, Outcome, Refusal};
use crate::keyspace::{Edited, Ttl, Value, Zset, event};
use crate::resp::Sink;

/// ZADD's options.
#[derive(Clone, Copy, Debug, Default)]
struct Options {
    /// NX: only add members.
    only_new: bool,
    /// XX: only update members.
    only_existing: bool,
    /// GT: only raise the scores of existing members.
    only_greater: bool,
    /// LT: only lower the scores of existing members.
    only_less: bool,
    /// CH: count changed scores too.
    count_changed: bool,
    /// INCR: add to the current score.
    increment: bool,
}

impl Options {
    /// Reads the options. Returns them and the position of the first score.
    fn of(args: Args<'_>) -> Result<(Self, usize), Refusal> {
        let (mut options, mut i) = (Self::default(), 2);
        while i < args.len() {
            let option = if args.is(i, "nx") {
                &mut options.only_new
            } else if args.is(i, "xx") {
                &mut options.only_existing
            } else if args.is(i, "gt") {
                &mut options.only_greater
            } else if args.is(i, "lt") {
                &mut options.only_less
            } else if args.is(i, "ch") {
                &mut options.count_changed
            } else if args.is(i, "incr") {
                &mut options.increment
            } else {
                break;
            };
            *option = true;
            i += 1;
        }
        let arguments = args.len() - i;
        if arguments == 0 || !arguments.is_multiple_of(2) {
            return Err(Refusal::SYNTAX);
        }
        if options.only_new && options.only_existing {
            return Err(Refusal::of("ERR XX and NX options at the same time are not compatible"));
        }
        let conditions = [options.only_new, options.only_greater, options.only_less];
        if conditions.into_iter().filter(|&is_set| is_set).count() > 1 {
            return Err(Refusal::of(
                "ERR GT, LT, and/or NX options at the same time are not compatible",
            ));
        }
        if options.increment && arguments > 2 {
            return Err(Refusal::of("ERR INCR option supports a single increment-element pair"));
        }
        Ok((options, i))
    }
}

/// The outcome for all members.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    added: usize,
    updated: usize,
    /// The new score of the last member that the options admitted.
    passed: Option<f64>,
}

impl Tally {
    /// Returns the score to set for one member, `None` to leave it as it is; counts the outcome.
    fn decide(
        &mut self,
        options: Options,
        old: Option<f64>,
        score: f64,
    ) -> Result<Option<f64>, Refusal> {
        let Some(old) = old else {
            if options.only_existing {
                return Ok(None);
            }
            self.added += 1;
            self.passed = Some(score);
            return Ok(Some(score));
        };
        if options.only_new {
            return Ok(None);
        }
        let new = if options.increment { old + score } else { score };
        if new.is_nan() {
            return Err(Refusal::of("ERR resulting score is not a number (NaN)"));
        }
        if (options.only_less && new >= old) || (options.only_greater && new <= old) {
            return Ok(None);
        }
        self.passed = Some(new);
        if new == old {
            return Ok(None);
        }
        self.updated += 1;
        Ok(Some(new))
    }
}

/// ZADD key [NX | XX] [GT | LT] [CH] [INCR] score member [score member ...]
pub(super) fn zadd(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let (options, first) = Options::of(args)?;
    let tally = add(cx, args, options, first)?;
    match tally.passed {
        _ if !options.increment => {
            out.count(tally.added + if options.count_changed { tally.updated } else { 0 });
        }
        Some(score) => out.double(score),
        None => out.null(),
    }
    Ok(())
}

/// ZINCRBY key increment member
pub(super) fn zincrby(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let tally = add(cx, args, Options { increment: true, ..Options::default() }, 2)?;
    match tally.passed {
        Some(score) => out.double(score),
        None => out.null(),
    }
    Ok(())
}

/// Adds the pairs of score and member from argument `first` on.
fn add(cx: &mut Cx<'_>, args: Args<'_>, options: Options, first: usize) -> Result<Tally, Refusal> {
    // All scores are parsed before the first member is added. A single one needs no allocation.
    let score = args.float(first)?;
    let scores = (first + 2..args.len()).step_by(2).map(|i| args.float(i));
    let scores = scores.collect::<Result<Vec<f64>, Refusal>>()?;
    let scores = std::iter::once(score).chain(scores.iter().copied());
    let members = scores.enumerate().map(|(n, score)| (score, args.at(first + 1 + 2 * n)));
    add_scored(cx, args.at(1), options, members)
}

/// The options of ZADD that GEOADD has, too.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::command) struct AddConditions {
    /// NX: only add members.
    pub(in crate::command) only_new: bool,
    /// XX: only update members.
    pub(in crate::command) only_existing: bool,
    /// CH: count changed scores too.
    pub(in crate::command) count_changed: bool,
}

/// Adds members with their scores as ZADD does; returns the number that it replies with.
pub(in crate::command) fn add_members(
    cx: &mut Cx<'_>,
    key: &[u8],
    conditions: AddConditions,
    members: &[(f64, &[u8])],
) -> Result<usize, Refusal> {
    let AddConditions { only_new, only_existing, count_changed } = conditions;
    let options = Options { only_new, only_existing, count_changed, ..Options::default() };
    let tally = add_scored(cx, key, options, members.iter().copied())?;
    Ok(tally.added + if count_changed { tally.updated } else { 0 })
}

/// Adds members with their scores.
fn add_scored<'m>(
    cx: &mut Cx<'_>,
    key: &[u8],
    options: Options,
    members: impl Iterator<Item = (f64, &'m [u8])> + Clone,
) -> Result<Tally, Refusal> {
    let (limits, hasher) = (cx.keyspace.limits.zset, cx.keyspace.hasher().clone());
    let key = cx.key(key);
    let mut strides = Strides::new(cx.pace);
    let mut add_all = |zset: &mut Zset| {
        let mut tally = Tally::default();
        for (score, member) in members.clone() {
            let mut refused = None;
            zset.update(member, limits, &hasher, |old| {
                tally.decide(options, old, score).unwrap_or_else(|refusal| {
                    refused = Some(refusal);
                    None
                })
            });
            // Only INCR can fail, and it has only one member: nothing was added before it.
            if let Some(refusal) = refused {
                return Err(refusal);
            }
            strides.step(units(member.len()));
        }
        Ok(tally)
    };
    let changed = change(cx.keyspace, key, |zset: &mut Zset| match add_all(zset) {
        Ok(tally) if tally.added + tally.updated > 0 => Edited::Changed(Ok(tally)),
        unchanged => Edited::Kept(unchanged),
    })?;
    let tally = match changed {
        Some(tally) => tally?,
        None => {
            let mut zset = Zset::default();
            let tally = add_all(&mut zset)?;
            if !zset.is_empty() {
                cx.keyspace.set(key, Value::Zset(zset), Ttl::Clear);
            }
            tally
        }
    };
    if tally.added + tally.updated > 0 {
        let name = if options.increment { "zincr" } else { "zadd" };
        cx.keyspace.notify_event(event::ZSET, name, key.bytes);
    }
    Ok(tally)
}
