//! Fields that are numbers: integers of 64 bits, and fractions in the 80-bit arithmetic of
//! [`Extended`]. A missing field counts as 0, and so does every field of a missing key.

use super::change;
use crate::command::{Args, Cx, Outcome, Refusal};
use crate::keyspace::{Edited, event};
use crate::resp::Sink;
use crate::text::number::extended::Extended;
use crate::text::number::{parse_i64, write_i64};

/// HINCRBY key field number
pub(super) fn hincrby(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let by = args.int(3)?;
    let mut sum = 0;
    add(cx, args, |old, digits| {
        let old = match old {
            Some(old) => parse_i64(old).ok_or(Refusal::of("ERR hash value is not an integer"))?,
            None => 0,
        };
        let overflow = Refusal::of("ERR increment or decrement would overflow");
        sum = old.checked_add(by).ok_or(overflow)?;
        write_i64(digits, sum);
        Ok(())
    })?;
    cx.keyspace.notify_event(event::HASH, "hincrby", args.at(1));
    out.int(sum);
    Ok(())
}

/// HINCRBYFLOAT key field number
pub(super) fn hincrbyfloat(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let by = Extended::parse(args.at(3)).ok_or(Refusal::NOT_A_FLOAT)?;
    if !by.is_finite() {
        return Err(Refusal::of("ERR value is NaN or Infinity"));
    }
    let sum = add(cx, args, |old, digits| {
        let old = Extended::parse(old.unwrap_or(b"0"));
        let sum = old.ok_or(Refusal::of("ERR hash value is not a float"))? + by;
        if !sum.is_finite() {
            return Err(Refusal::of("ERR increment would produce NaN or Infinity"));
        }
        sum.write_human(digits);
        Ok(())
    })?;
    let hset = event::Replicated::once(event::HASH, "hset");
    cx.keyspace.notify_replicated(event::HASH, "hincrbyfloat", args.at(1), hset);
    out.bulk(&sum);
    Ok(())
}

/// Sets the field to what `sum` writes, which is given the field's value; returns it.
fn add(
    cx: &mut Cx<'_>,
    args: Args<'_>,
    mut sum: impl FnMut(Option<&[u8]>, &mut Vec<u8>) -> Outcome,
) -> Result<Vec<u8>, Refusal> {
    let (limits, hasher) = (cx.keyspace.limits.hash, cx.keyspace.hasher().clone());
    let (key, name) = (cx.key(args.at(1)), args.at(2));
    change(cx.keyspace, key, |hash| {
        let mut digits = Vec::with_capacity(24);
        if let Err(refusal) = sum(hash.get(name, &hasher).as_deref(), &mut digits) {
            return Edited::Kept(Err(refusal));
        }
        hash.update(name, &digits, limits, &hasher);
        Edited::Changed(Ok(digits))
    })
}
