//! INCREX, of Redis 8.10: a counter with bounds and an expiry.

use super::count::integer;
use super::set::{Expiry, expiry_of, timed};
use crate::command::{Args, Cx, Outcome, Refusal};
use crate::keyspace::{Blob, Edited, Key, Millis, Ttl, Value, event};
use crate::resp::{Proto, Sink};
use crate::text::number::extended::Extended;
use crate::text::number::parse_i64;
use std::cmp::Ordering;

/// The options, whose numbers are read later.
#[derive(Default)]
struct Options<'a> {
    by_integer: Option<&'a [u8]>,
    by_float: Option<&'a [u8]>,
    lower: Option<&'a [u8]>,
    upper: Option<&'a [u8]>,
    /// What is beyond a bound becomes that bound; else nothing changes.
    saturates: bool,
    /// The expiry is set only if there is none.
    if_none: bool,
    expiry: Option<Expiry<'a>>,
}

impl<'a> Options<'a> {
    /// Reads them; none may be given twice.
    fn of(args: Args<'a>) -> Result<Self, Refusal> {
        let mut options = Self::default();
        let mut at = 2;
        while at < args.len() {
            let is = |word: &str| args.is(at, word);
            let number = match () {
                () if is("byint") => Some(&mut options.by_integer),
                () if is("byfloat") => Some(&mut options.by_float),
                () if is("lbound") => Some(&mut options.lower),
                () if is("ubound") => Some(&mut options.upper),
                () => None,
            };
            if let Some(number) = number {
                let value = args.get(at + 1).ok_or(Refusal::SYNTAX)?;
                if number.replace(value).is_some() {
                    return Err(Refusal::SYNTAX);
                }
                at += 2;
                continue;
            }
            let was_given = match () {
                () if is("saturate") => std::mem::replace(&mut options.saturates, true),
                () if is("enx") => std::mem::replace(&mut options.if_none, true),
                () if is("persist") => options.expiry.replace(Expiry::Remove).is_some(),
                () => {
                    let expiry = timed(args.at(at), args.get(at + 1))?;
                    at += 1;
                    options.expiry.replace(expiry).is_some()
                }
            };
            if was_given {
                return Err(Refusal::SYNTAX);
            }
            at += 1;
        }
        let excludes = options.by_integer.is_some() && options.by_float.is_some()
            || options.if_none && options.expiry == Some(Expiry::Remove);
        if excludes { Err(Refusal::SYNTAX) } else { Ok(options) }
    }

    /// Returns what becomes of the expiry.
    fn ttl(&self, cx: &Cx<'_>) -> Result<Option<Ttl>, Refusal> {
        match self.expiry {
            None if self.if_none => Err(Refusal::of("ERR ENX flag requires an expiration")),
            None => Ok(None),
            Some(expiry) => expiry_of(cx, expiry, "increx").map(Some),
        }
    }
}

/// A counter's value, what was added, and the value that is stored.
enum Step<N> {
    /// It would be beyond a bound.
    Stays(N),
    Goes {
        new: N,
        applied: N,
    },
}

const TOO_LARGE: Refusal = Refusal::of("ERR LBOUND can't be greater than UBOUND");

/// INCREX key [BYINT number | BYFLOAT number] [LBOUND number] [UBOUND number] [SATURATE]
/// [EX s | PX ms | EXAT s | PXAT ms | PERSIST] [ENX]
pub(super) fn increx(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let options = Options::of(args)?;
    match options.by_float {
        Some(by) => add_float(cx, args, &options, by, out),
        None => add_integer(cx, args, &options, out),
    }
}

fn add_integer(
    cx: &mut Cx<'_>,
    args: Args<'_>,
    options: &Options<'_>,
    out: &mut Sink<'_>,
) -> Outcome {
    let read = |text: Option<&[u8]>, otherwise: i64, refusal: Refusal| match text {
        None => Ok(otherwise),
        Some(text) => parse_i64(text).ok_or(refusal),
    };
    let not_integer = Refusal::of("ERR Increment is not an integer or out of range");
    let by = read(options.by_integer, 1, not_integer)?;
    let lower = Refusal::of("ERR LBOUND is not an integer or out of range");
    let lower = read(options.lower, i64::MIN, lower)?;
    let upper = Refusal::of("ERR UBOUND is not an integer or out of range");
    let upper = read(options.upper, i64::MAX, upper)?;
    if lower > upper {
        return Err(TOO_LARGE);
    }
    let ttl = options.ttl(cx)?;
    let key = cx.key(args.at(1));
    let old = cx.keyspace.edit(key, |value| Edited::Kept(integer(value))).unwrap_or(Ok(0))?;
    let (lower, upper) = (i128::from(lower), i128::from(upper));
    let sum = i128::from(old) + i128::from(by);
    let step = match sum.clamp(lower, upper) {
        new if new == sum || options.saturates => {
            let applied = i64::try_from(new - i128::from(old))
                .map_err(|_| Refusal::of("ERR applied increment would overflow"))?;
            Step::Goes { new: new as i64, applied }
        }
        _ => Step::Stays(old),
    };
    out.array(2);
    match step {
        Step::Stays(old) => {
            out.int(old);
            out.int(0);
        }
        Step::Goes { new, applied } => {
            put(cx, key, Value::Int(new), (ttl, options.if_none), "incrby");
            out.int(new);
            out.int(applied);
        }
    }
    Ok(())
}

/// A bound of fractions: a number, or none in that direction.
fn bound(text: Option<&[u8]>, refusal: Refusal) -> Result<Option<Extended>, Refusal> {
    let Some(text) = text else { return Ok(None) };
    let bound = Extended::parse(text).ok_or(refusal)?;
    Ok(bound.is_finite().then_some(bound))
}

fn add_float(
    cx: &mut Cx<'_>,
    args: Args<'_>,
    options: &Options<'_>,
    by: &[u8],
    out: &mut Sink<'_>,
) -> Outcome {
    let by = Extended::parse(by).ok_or(Refusal::of("ERR Increment is not a valid float"))?;
    if !by.is_finite() {
        return Err(Refusal::of("ERR BYFLOAT increment cannot be Infinity"));
    }
    let lower = bound(options.lower, Refusal::of("ERR LBOUND is not a valid float"))?;
    let upper = bound(options.upper, Refusal::of("ERR UBOUND is not a valid float"))?;
    let is_greater = |a: Extended, b: Extended| a.compared(b) == Ordering::Greater;
    if lower.zip(upper).is_some_and(|(lower, upper)| is_greater(lower, upper)) {
        return Err(TOO_LARGE);
    }
    let ttl = options.ttl(cx)?;
    let key = cx.key(args.at(1));
    let old = cx.keyspace.edit(key, |value| {
        let text = value.as_text().ok_or(Refusal::WRONG_TYPE);
        Edited::Kept(text.and_then(|text| Extended::parse(&text).ok_or(Refusal::NOT_A_FLOAT)))
    });
    let zero = || Extended::parse(b"0").ok_or(Refusal::NOT_A_FLOAT);
    let old = old.unwrap_or_else(zero)?;
    let sum = old + by;
    let beyond = match () {
        () if !sum.is_finite() => return Err(Refusal::of(OVERFLOW)),
        () if lower.is_some_and(|lower| is_greater(lower, sum)) => lower,
        () if upper.is_some_and(|upper| is_greater(sum, upper)) => upper,
        () => None,
    };
    let step = match beyond {
        Some(_) if !options.saturates => Step::Stays(old),
        beyond => {
            let new = beyond.unwrap_or(sum);
            Step::Goes { new, applied: new + old.negated() }
        }
    };
    out.array(2);
    match step {
        Step::Stays(old) => {
            write_float(old, out);
            write_float(zero()?, out);
        }
        Step::Goes { new, applied } => {
            let text: Blob = human(new).into();
            put(cx, key, Value::Str(text), (ttl, options.if_none), "incrbyfloat");
            write_float(new, out);
            write_float(applied, out);
        }
    }
    Ok(())
}

const OVERFLOW: &str = "ERR increment would produce NaN or Infinity";

fn human(number: Extended) -> Vec<u8> {
    let mut text = Vec::with_capacity(24);
    number.write_human(&mut text);
    text
}

fn write_float(number: Extended, out: &mut Sink<'_>) {
    let text = human(number);
    match out.proto {
        Proto::Resp2 => out.bulk(&text),
        Proto::Resp3 => {
            out.raw(b",");
            out.raw(&text);
            out.raw(b"\r\n");
        }
    }
}

/// Stores a counter, whose expiry stays unless it is to change. A time in the past removes it instead.
fn put(
    cx: &mut Cx<'_>,
    key: Key<'_>,
    value: Value,
    (ttl, if_none): (Option<Ttl>, bool),
    name: &'static str,
) {
    let now: Millis = cx.now();
    let mut has_expiry = false;
    cx.keyspace.edit_expiry(key, |until| {
        has_expiry = until.is_some();
        Ttl::Keep
    });
    let ttl = ttl.filter(|_| !(if_none && has_expiry));
    if matches!(ttl, Some(Ttl::At(at)) if at <= now) {
        if cx.keyspace.delete(key) {
            cx.note_past_expiry(key);
        }
        return;
    }
    cx.keyspace.set(key, value, ttl.unwrap_or(Ttl::Keep));
    let set = event::Replicated::once(event::STRING, "set");
    cx.keyspace.notify_replicated(event::STRING, name, key.bytes, set);
    match ttl {
        Some(Ttl::At(_)) => cx.keyspace.notify_event(event::GENERIC, "expire", key.bytes),
        Some(Ttl::Clear) if has_expiry => {
            cx.keyspace.notify_event(event::GENERIC, "persist", key.bytes);
        }
        _ => {}
    }
}
