//! One value with conditions and an expiry: SET, the commands that SET has replaced, and GETEX,
//! which shares its words for time.
//!
//! ```text
//! SET k v [NX | XX] [GET] [EX s | PX ms | EXAT s | PXAT ms | KEEPTTL]
//! GETEX k                 [EX s | PX ms | EXAT s | PXAT ms | PERSIST]
//! ```
//!
//! The words may stand in any order. Each bar is an either-or; the same word may be said twice,
//! and then the last number counts.

use crate::command::{Args, Cx, Outcome, Refusal};
use crate::keyspace::{Edited, Key, Keyspace, Millis, Ttl, Value, event};
use crate::resp::Sink;
use crate::text::number::parse_i64;

/// What must hold of the key for it to be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Condition {
    Always,
    /// NX
    Missing,
    /// XX
    There,
}

/// How a word counts time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Clock {
    unit_ms: i64,
    /// Since the epoch, else from now on.
    absolute: bool,
}

const EX: Clock = Clock { unit_ms: 1000, absolute: false };
const PX: Clock = Clock { unit_ms: 1, absolute: false };
const EXAT: Clock = Clock { unit_ms: 1000, absolute: true };
const PXAT: Clock = Clock { unit_ms: 1, absolute: true };

/// What was said about the expiry. The number is read later: a missing key or a wrong type may
/// come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expiry<'a> {
    Unsaid,
    /// KEEPTTL
    Keep,
    /// PERSIST
    Drop,
    At(Clock, &'a [u8]),
}

impl Clock {
    /// The word's clock.
    fn of(word: &[u8]) -> Option<Self> {
        let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
        match () {
            () if is(b"EX") => Some(EX),
            () if is(b"PX") => Some(PX),
            () if is(b"EXAT") => Some(EXAT),
            () if is(b"PXAT") => Some(PXAT),
            () => None,
        }
    }

    /// The millisecond that `number` means, for the error text of `command`.
    fn deadline(self, number: &[u8], command: &str, now: Millis) -> Result<Millis, Refusal> {
        let number = parse_i64(number).ok_or(Refusal::NOT_AN_INTEGER)?;
        let from = if self.absolute { 0 } else { now };
        match number.checked_mul(self.unit_ms).and_then(|ms| ms.checked_add(from)) {
            Some(at) if number > 0 => Ok(at),
            _ => Err(Refusal::invalid_expire(command)),
        }
    }
}

/// The words behind SET's value.
#[derive(Debug, PartialEq, Eq)]
struct SetWords<'a> {
    condition: Condition,
    get: bool,
    expiry: Expiry<'a>,
}

impl<'a> SetWords<'a> {
    fn read(args: Args<'a>) -> Result<Self, Refusal> {
        let mut words = Self { condition: Condition::Always, get: false, expiry: Expiry::Unsaid };
        let mut i = 3;
        while let Some(word) = args.get(i) {
            if word.eq_ignore_ascii_case(b"NX") && words.condition != Condition::There {
                words.condition = Condition::Missing;
            } else if word.eq_ignore_ascii_case(b"XX") && words.condition != Condition::Missing {
                words.condition = Condition::There;
            } else if word.eq_ignore_ascii_case(b"GET") {
                words.get = true;
            } else if word.eq_ignore_ascii_case(b"KEEPTTL") {
                words.expiry = words.expiry.or(Expiry::Keep)?;
            } else {
                words.expiry = words.expiry.or(timed(word, args.get(i + 1))?)?;
                i += 1;
            }
            i += 1;
        }
        Ok(words)
    }
}

impl<'a> Expiry<'a> {
    /// What now holds if `next` is said after this.
    fn or(self, next: Self) -> Result<Self, Refusal> {
        match (self, next) {
            (Self::Unsaid, _) => Ok(next),
            (Self::At(a, _), Self::At(b, _)) if a == b => Ok(next),
            _ if self == next => Ok(next),
            _ => Err(Refusal::SYNTAX),
        }
    }

    /// The words behind GETEX's key.
    fn read_for_getex(args: Args<'a>) -> Result<Self, Refusal> {
        let mut expiry = Expiry::Unsaid;
        let mut i = 2;
        while let Some(word) = args.get(i) {
            if word.eq_ignore_ascii_case(b"PERSIST") {
                expiry = expiry.or(Expiry::Drop)?;
            } else {
                expiry = expiry.or(timed(word, args.get(i + 1))?)?;
                i += 1;
            }
            i += 1;
        }
        Ok(expiry)
    }
}

/// The expiry that a word for time and the number behind it say.
fn timed<'a>(word: &[u8], number: Option<&'a [u8]>) -> Result<Expiry<'a>, Refusal> {
    match (Clock::of(word), number) {
        (Some(clock), Some(number)) => Ok(Expiry::At(clock, number)),
        _ => Err(Refusal::SYNTAX),
    }
}

/// Whether a key is there, as a write asks: not counted as a hit or a miss.
pub(super) fn is_there(cx: &mut Cx<'_>, key: Key<'_>) -> bool {
    cx.keyspace.edit(key, |_| Edited::Kept(())).is_some()
}

/// Sets a key to a string and says so.
fn put(keyspace: &mut Keyspace, key: Key<'_>, bytes: &[u8], ttl: Ttl) {
    keyspace.set(key, Value::string(bytes), ttl);
    keyspace.notify_event(event::STRING, "set", key.bytes);
    if let Ttl::At(_) = ttl {
        keyspace.notify_event(event::GENERIC, "expire", key.bytes);
    }
}

/// SET key value [NX | XX] [GET] [EX seconds | …]
pub(super) fn set(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let words = SetWords::read(args)?;
    let ttl = match words.expiry {
        Expiry::Unsaid | Expiry::Drop => Ttl::Clear,
        Expiry::Keep => Ttl::Keep,
        Expiry::At(clock, number) => Ttl::At(clock.deadline(number, "set", cx.now())?),
    };
    let key = cx.key(args.at(1));
    let found = if words.get {
        let old = cx.text(key)?;
        out.bulk_or_null(old.as_deref());
        old.is_some()
    } else {
        words.condition != Condition::Always && is_there(cx, key)
    };
    let met = match words.condition {
        Condition::Always => true,
        Condition::Missing => !found,
        Condition::There => found,
    };
    if met {
        put(cx.keyspace, key, args.at(2), ttl);
    }
    if !words.get {
        if met {
            out.ok();
        } else {
            out.null();
        }
    }
    Ok(())
}

/// SETNX key value
pub(super) fn setnx(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let key = cx.key(args.at(1));
    let missing = !is_there(cx, key);
    if missing {
        put(cx.keyspace, key, args.at(2), Ttl::Clear);
    }
    out.int(i64::from(missing));
    Ok(())
}

/// SETEX key seconds value
pub(super) fn setex(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    set_for(cx, args, EX.deadline(args.at(2), "setex", cx.now())?, out)
}

/// PSETEX key milliseconds value
pub(super) fn psetex(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    set_for(cx, args, PX.deadline(args.at(2), "psetex", cx.now())?, out)
}

fn set_for(cx: &mut Cx<'_>, args: Args<'_>, until: Millis, out: &mut Sink<'_>) -> Outcome {
    let key = cx.key(args.at(1));
    put(cx.keyspace, key, args.at(3), Ttl::At(until));
    out.ok();
    Ok(())
}

/// GETSET key value
pub(super) fn getset(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let key = cx.key(args.at(1));
    out.bulk_or_null(cx.text(key)?.as_deref());
    put(cx.keyspace, key, args.at(2), Ttl::Clear);
    Ok(())
}

/// GETEX key [PERSIST | EX seconds | …]
pub(super) fn getex(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let expiry = Expiry::read_for_getex(args)?;
    let (key, now) = (cx.key(args.at(1)), cx.now());
    let Some(text) = cx.text(key)? else {
        out.null();
        return Ok(());
    };
    let ttl = match expiry {
        Expiry::At(clock, number) => Ttl::At(clock.deadline(number, "getex", now)?),
        Expiry::Drop => Ttl::Clear,
        Expiry::Unsaid | Expiry::Keep => Ttl::Keep,
    };
    out.bulk(&text);
    if ttl != Ttl::Keep {
        // PERSIST of a key that stays anyway changes nothing. A time that has passed takes the key
        // away at once, where SET leaves it to be found expired.
        let changed = cx.keyspace.edit_expiry(key, |until| match until {
            None if ttl == Ttl::Clear => Ttl::Keep,
            _ => ttl,
        });
        if changed {
            let name = match ttl {
                Ttl::At(at) if at <= now => "del",
                Ttl::At(_) => "expire",
                Ttl::Clear | Ttl::Keep => "persist",
            };
            cx.keyspace.notify_event(event::GENERIC, name, key.bytes);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::Span;

    /// Calls `check` with the arguments of `line`, whose words are single spaces apart.
    fn with(line: &str, check: impl FnOnce(Args<'_>)) {
        let mut at = 0;
        let spans: Vec<Span> = line
            .split(' ')
            .map(|word| {
                let span = Span::new(at, word.len());
                at += word.len() + 1;
                span
            })
            .collect();
        check(Args::new(line.as_bytes(), &spans));
    }

    #[test]
    fn words_of_set() {
        for (line, expected) in [
            ("set k v", Some((Condition::Always, false, Expiry::Unsaid))),
            ("set k v nx get", Some((Condition::Missing, true, Expiry::Unsaid))),
            ("set k v XX xx KEEPTTL keepttl", Some((Condition::There, false, Expiry::Keep))),
            ("set k v EX 1 ex 2", Some((Condition::Always, false, Expiry::At(EX, b"2")))),
            ("set k v PXAT x GET NX", Some((Condition::Missing, true, Expiry::At(PXAT, b"x")))),
            ("set k v NX XX", None),
            ("set k v XX NX", None),
            ("set k v EX", None),
            ("set k v EX 1 PX 1", None),
            ("set k v EX 1 EXAT 1", None),
            ("set k v KEEPTTL PX 1", None),
            ("set k v PX 1 KEEPTTL", None),
            ("set k v PERSIST", None),
            ("set k v foo", None),
        ] {
            with(line, |args| {
                let words = SetWords::read(args).map(|w| (w.condition, w.get, w.expiry));
                assert_eq!(words, expected.ok_or(Refusal::SYNTAX), "{line}");
            });
        }
    }

    #[test]
    fn words_of_getex() {
        for (line, reads) in [
            ("getex k", true),
            ("getex k persist PERSIST", true),
            ("getex k exat 1 EXAT 2", true),
            ("getex k persist ex 1", false),
            ("getex k ex 1 persist", false),
            ("getex k keepttl", false),
            ("getex k px", false),
        ] {
            with(line, |args| {
                assert_eq!(Expiry::read_for_getex(args).is_ok(), reads, "{line}");
            });
        }
    }

    #[test]
    fn deadlines() {
        const NOW: Millis = 1_000_000;
        let invalid = Err(Refusal::invalid_expire("set"));
        for (clock, number, expected) in [
            (EX, "2", Ok(NOW + 2000)),
            (PX, "2", Ok(NOW + 2)),
            (EXAT, "2", Ok(2000)),
            (PXAT, "2", Ok(2)),
            (EX, "0", invalid.clone()),
            (PXAT, "-1", invalid.clone()),
            (EX, "9223372036854775", invalid.clone()),
            (EXAT, "9223372036854775", Ok(9_223_372_036_854_775_000)),
            (EXAT, "9223372036854776", invalid.clone()),
            (EX, "-9223372036854775808", invalid.clone()),
            (PX, "9223372036854775807", invalid),
            (PXAT, "9223372036854775807", Ok(Millis::MAX)),
            (EX, "1.5", Err(Refusal::NOT_AN_INTEGER)),
        ] {
            let deadline = clock.deadline(number.as_bytes(), "set", NOW);
            assert_eq!(deadline, expected, "{clock:?} {number}");
        }
    }
}
