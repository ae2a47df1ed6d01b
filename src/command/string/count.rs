//! Strings that are numbers: integers of 64 bits, and fractions in the 80-bit arithmetic of
//! [`Extended`].
//!
//! A missing key counts as 0. The key keeps its expiry: a counter is changed, not replaced.

use crate::command::{Args, Cx, Outcome, Refusal};
use crate::keyspace::{Blob, Edited, Ttl, Value, event};
use crate::resp::Sink;
use crate::text::number::extended::Extended;
use crate::text::number::parse_i64;

/// INCR key
pub(super) fn incr(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    add(cx, args, 1, out)
}

/// DECR key
pub(super) fn decr(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    add(cx, args, -1, out)
}

/// INCRBY key number
pub(super) fn incrby(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    add(cx, args, args.int(2)?, out)
}

/// DECRBY key number
pub(super) fn decrby(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let by = args.int(2)?.checked_neg().ok_or(Refusal::of("ERR decrement would overflow"))?;
    add(cx, args, by, out)
}

fn add(cx: &mut Cx<'_>, args: Args<'_>, by: i64, out: &mut Sink<'_>) -> Outcome {
    const OVERFLOW: Refusal = Refusal::of("ERR increment or decrement would overflow");
    let key = cx.key(args.at(1));
    let changed = cx.keyspace.edit(key, |value| {
        match integer(value).and_then(|old| old.checked_add(by).ok_or(OVERFLOW)) {
            Ok(sum) => {
                *value = Value::Int(sum);
                Edited::Changed(Ok(sum))
            }
            Err(refusal) => Edited::Kept(Err(refusal)),
        }
    });
    let sum = match changed {
        Some(changed) => changed?,
        None => {
            cx.keyspace.set(key, Value::Int(by), Ttl::Clear);
            by
        }
    };
    cx.keyspace.notify_event(event::STRING, "incrby", key.bytes);
    out.int(sum);
    Ok(())
}

/// Reads a value as an integer.
pub(super) fn integer(value: &Value) -> Result<i64, Refusal> {
    if let Value::Int(integer) = value {
        return Ok(*integer);
    }
    let text = value.as_text().ok_or(Refusal::WRONG_TYPE)?;
    parse_i64(&text).ok_or(Refusal::NOT_AN_INTEGER)
}

/// INCRBYFLOAT key number
pub(super) fn incrbyfloat(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let (key, by) = (cx.key(args.at(1)), args.at(2));
    let changed = cx.keyspace.edit(key, |value| {
        let Some(old) = value.as_text() else { return Edited::Kept(Err(Refusal::WRONG_TYPE)) };
        match sum(&old, by) {
            Ok(sum) => {
                out.bulk(&sum);
                // Stored as text even if it is whole, as in Redis.
                *value = Value::Str(sum);
                Edited::Changed(Ok(()))
            }
            Err(refusal) => Edited::Kept(Err(refusal)),
        }
    });
    match changed {
        Some(outcome) => outcome?,
        None => {
            let sum = sum(b"0", by)?;
            out.bulk(&sum);
            cx.keyspace.set(key, Value::Str(sum), Ttl::Clear);
        }
    }
    let set = event::Replicated::once(event::STRING, "set");
    cx.keyspace.notify_replicated(event::STRING, "incrbyfloat", key.bytes, set);
    Ok(())
}

/// Returns the sum of two numbers as text.
fn sum(old: &[u8], by: &[u8]) -> Result<Blob, Refusal> {
    let number = |text| Extended::parse(text).ok_or(Refusal::NOT_A_FLOAT);
    let sum = number(old)? + number(by)?;
    if !sum.is_finite() {
        return Err(Refusal::of("ERR increment would produce NaN or Infinity"));
    }
    let mut text = Vec::with_capacity(24);
    sum.write_human(&mut text);
    Ok(text.into())
}
