//! SET with its conditions and expiry, the older commands that it replaces, and GETEX, which has
//! the same options for the expiry.
//!
//! ```text
//! SET k v [NX | XX | IFEQ text | …] [GET] [EX s | PX ms | EXAT s | PXAT ms | KEEPTTL]
//! GETEX k                 [EX s | PX ms | EXAT s | PXAT ms | PERSIST]
//! ```
//!
//! The options may be in any order. Those separated by a bar exclude each other; the same option
//! may be given twice, and then the last number counts.

use super::compare::Comparison;
use crate::command::{Args, Cx, Outcome, Refusal};
use crate::dialect::{Product, servers};
use crate::keyspace::{Edited, Key, Keyspace, Millis, Ttl, Value, event};
use crate::resp::Sink;
use crate::text::number::parse_i64;

/// Whether the key must exist for it to be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Condition<'a> {
    Always,
    /// NX
    Missing,
    /// XX
    Exists,
    /// IFEQ of Valkey and Redis 8.10, or IFNE, IFDEQ or IFDNE of the latter.
    Compares(Comparison<'a>),
}

impl Condition<'_> {
    /// The condition if an option asks for this one besides.
    fn or(self, other: Self) -> Result<Self, Refusal> {
        if self == Self::Always || self == other { Ok(other) } else { Err(Refusal::SYNTAX) }
    }
}

/// How an option gives a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TimeFormat {
    unit_ms: i64,
    /// Since the epoch, else from now on.
    absolute: bool,
}

const EX: TimeFormat = TimeFormat { unit_ms: 1000, absolute: false };
const PX: TimeFormat = TimeFormat { unit_ms: 1, absolute: false };
const EXAT: TimeFormat = TimeFormat { unit_ms: 1000, absolute: true };
const PXAT: TimeFormat = TimeFormat { unit_ms: 1, absolute: true };

/// The option for the expiry. Its number is parsed later: in Redis a missing key or a wrong type is
/// checked first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expiry<'a> {
    NotGiven,
    /// KEEPTTL
    Keep,
    /// PERSIST
    Remove,
    At(TimeFormat, &'a [u8]),
}

impl TimeFormat {
    fn of(option: &[u8]) -> Option<Self> {
        let is = |name: &[u8]| option.eq_ignore_ascii_case(name);
        match () {
            () if is(b"EX") => Some(EX),
            () if is(b"PX") => Some(PX),
            () if is(b"EXAT") => Some(EXAT),
            () if is(b"PXAT") => Some(PXAT),
            () => None,
        }
    }

    /// Returns the time that `number` means, in milliseconds since the epoch; `command` is for the
    /// error.
    fn deadline(self, number: &[u8], command: &str, now: Millis) -> Result<Millis, Refusal> {
        let number = parse_i64(number).ok_or(Refusal::NOT_AN_INTEGER)?;
        let from = if self.absolute { 0 } else { now };
        match number.checked_mul(self.unit_ms).and_then(|ms| ms.checked_add(from)) {
            Some(at) if number > 0 => Ok(at),
            _ => Err(Refusal::invalid_expire(command)),
        }
    }
}

/// The conditions on the string that SET takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparisons {
    None,
    /// IFEQ, once.
    Valkey,
    /// All of them; one may be given again, and then the last one counts.
    Redis,
}

impl Comparisons {
    fn of(product: &Product) -> Self {
        match () {
            () if product.is_of(servers::VALKEY9) => Self::Valkey,
            () if product.is_of(servers::REDIS8_10) => Self::Redis,
            () => Self::None,
        }
    }

    /// Whether a comparison may follow a condition.
    fn admit(self, before: Condition<'_>, next: Comparison<'_>) -> bool {
        match (self, before) {
            (Self::None, _) => false,
            (Self::Valkey, before) => before == Condition::Always && next.is_plain(),
            (Self::Redis, Condition::Compares(before)) => next.is_like(before),
            (Self::Redis, before) => before == Condition::Always,
        }
    }
}

/// SET's options.
#[derive(Debug, PartialEq, Eq)]
struct SetOptions<'a> {
    condition: Condition<'a>,
    get: bool,
    expiry: Expiry<'a>,
}

impl<'a> SetOptions<'a> {
    fn of(args: Args<'a>, comparisons: Comparisons) -> Result<Self, Refusal> {
        let mut options =
            Self { condition: Condition::Always, get: false, expiry: Expiry::NotGiven };
        let mut i = 3;
        while let Some(option) = args.get(i) {
            if option.eq_ignore_ascii_case(b"NX") {
                options.condition = options.condition.or(Condition::Missing)?;
            } else if option.eq_ignore_ascii_case(b"XX") {
                options.condition = options.condition.or(Condition::Exists)?;
            } else if let Some(operand) = args.get(i + 1)
                && let Some(comparison) = Comparison::of(option, operand)
                && comparisons.admit(options.condition, comparison)
            {
                i += 1;
                options.condition = Condition::Compares(comparison);
            } else if option.eq_ignore_ascii_case(b"GET") {
                options.get = true;
            } else if option.eq_ignore_ascii_case(b"KEEPTTL") {
                options.expiry = options.expiry.then(Expiry::Keep)?;
            } else {
                options.expiry = options.expiry.then(timed(option, args.get(i + 1))?)?;
                i += 1;
            }
            i += 1;
        }
        Ok(options)
    }
}

impl<'a> Expiry<'a> {
    /// The expiry if the option `next` follows this one.
    pub(super) fn then(self, next: Self) -> Result<Self, Refusal> {
        match (self, next) {
            (Self::NotGiven, _) => Ok(next),
            (Self::At(a, _), Self::At(b, _)) if a == b => Ok(next),
            _ if self == next => Ok(next),
            _ => Err(Refusal::SYNTAX),
        }
    }

    /// GETEX's options.
    fn of_getex(args: Args<'a>) -> Result<Self, Refusal> {
        let mut expiry = Expiry::NotGiven;
        let mut i = 2;
        while let Some(option) = args.get(i) {
            if option.eq_ignore_ascii_case(b"PERSIST") {
                expiry = expiry.then(Expiry::Remove)?;
            } else {
                expiry = expiry.then(timed(option, args.get(i + 1))?)?;
                i += 1;
            }
            i += 1;
        }
        Ok(expiry)
    }
}

/// The expiry that an option with a number gives.
pub(super) fn timed<'a>(option: &[u8], number: Option<&'a [u8]>) -> Result<Expiry<'a>, Refusal> {
    match (TimeFormat::of(option), number) {
        (Some(format), Some(number)) => Ok(Expiry::At(format, number)),
        _ => Err(Refusal::SYNTAX),
    }
}

/// Whether a key exists, for a write: counts neither a hit nor a miss.
pub(super) fn exists(cx: &mut Cx<'_>, key: Key<'_>) -> bool {
    cx.keyspace.edit(key, |_| Edited::Kept(())).is_some()
}

/// Sets a key to a string and publishes the events of that.
#[inline]
pub(super) fn put(keyspace: &mut Keyspace, key: Key<'_>, bytes: &[u8], ttl: Ttl) {
    keyspace.set(key, Value::string(bytes), ttl);
    keyspace.notify_event(event::STRING, "set", key.bytes);
    if let Ttl::At(_) = ttl {
        keyspace.notify_event(event::GENERIC, "expire", key.bytes);
    }
}

/// SET key value [NX | XX] [GET] [EX seconds | …]
pub(super) fn set(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let key = cx.key(args.at(1));
    if args.len() == 3 {
        // Most are without options.
        put(cx.keyspace, key, args.at(2), Ttl::Clear);
        out.ok();
        return Ok(());
    }
    let comparisons = Comparisons::of(cx.product);
    let options = SetOptions::of(args, comparisons)?;
    let ttl = expiry_of(cx, options.expiry, "set")?;
    let (mut found, mut holds) = (false, false);
    if let Condition::Compares(comparison) = options.condition {
        let is_redis = comparisons == Comparisons::Redis;
        // Redis looks twice for GET, and without it counts no miss.
        let old = match is_redis && !options.get && !exists(cx, key) {
            true => None,
            false => cx.text(key)?,
        };
        found = old.is_some();
        holds = match &old {
            Some(old) => comparison.holds(old)?,
            None => comparison.holds_without(),
        };
        if options.get {
            out.bulk_or_null(old.as_deref());
        }
        if options.get && found && is_redis {
            cx.keyspace.count_hit();
        }
    } else if options.get {
        let old = cx.text(key)?;
        found = old.is_some();
        out.bulk_or_null(old.as_deref());
    } else if options.condition != Condition::Always {
        found = exists(cx, key);
    }
    let met = match options.condition {
        Condition::Always => true,
        Condition::Missing => !found,
        Condition::Exists => found,
        Condition::Compares(_) => holds,
    };
    if met {
        put_until(cx, key, args.at(2), ttl);
    }
    if !options.get {
        if met {
            out.ok();
        } else {
            out.null();
        }
    }
    Ok(())
}

/// Returns what an option for the expiry does to the expiry of a key that is set.
pub(super) fn expiry_of(cx: &Cx<'_>, expiry: Expiry<'_>, command: &str) -> Result<Ttl, Refusal> {
    Ok(match expiry {
        Expiry::NotGiven | Expiry::Remove => Ttl::Clear,
        Expiry::Keep => Ttl::Keep,
        Expiry::At(format, number) => Ttl::At(format.deadline(number, command, cx.now())?),
    })
}

/// Sets a key to a string. Where a time in the past removes the key at once, it is not stored.
fn put_until(cx: &mut Cx<'_>, key: Key<'_>, bytes: &[u8], ttl: Ttl) {
    match ttl {
        Ttl::At(at) if at <= cx.now() && cx.product.expires_at_once => {
            if cx.keyspace.delete(key) {
                cx.note_past_expiry(key);
            }
        }
        _ => put(cx.keyspace, key, bytes, ttl),
    }
}

/// SETNX key value
pub(super) fn setnx(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let key = cx.key(args.at(1));
    let missing = !exists(cx, key);
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
    let expiry = Expiry::of_getex(args)?;
    let (key, now) = (cx.key(args.at(1)), cx.now());
    let Some(text) = cx.text(key)? else {
        out.null();
        return Ok(());
    };
    let ttl = match expiry {
        Expiry::At(format, number) => Ttl::At(format.deadline(number, "getex", now)?),
        Expiry::Remove => Ttl::Clear,
        Expiry::NotGiven | Expiry::Keep => Ttl::Keep,
    };
    out.bulk(&text);
    if ttl != Ttl::Keep {
        // PERSIST of a key without an expiry changes nothing. A time in the past removes the key at
        // once, whereas Redis' SET leaves it to expire.
        let changed = cx.keyspace.edit_expiry(key, |until| match until {
            None if ttl == Ttl::Clear => Ttl::Keep,
            _ => ttl,
        });
        match ttl {
            _ if !changed => {}
            Ttl::At(at) if at <= now => cx.note_past_expiry(key),
            Ttl::At(_) => cx.keyspace.notify_event(event::GENERIC, "expire", key.bytes),
            Ttl::Clear | Ttl::Keep => {
                cx.keyspace.notify_event(event::GENERIC, "persist", key.bytes);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::args::with_words;

    #[test]
    fn options_of_set() {
        for (line, expected) in [
            ("set k v", Some((Condition::Always, false, Expiry::NotGiven))),
            ("set k v nx get", Some((Condition::Missing, true, Expiry::NotGiven))),
            ("set k v XX xx KEEPTTL keepttl", Some((Condition::Exists, false, Expiry::Keep))),
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
            with_words(line, |args| {
                let options =
                    SetOptions::of(args, Comparisons::None).map(|o| (o.condition, o.get, o.expiry));
                assert_eq!(options, expected.ok_or(Refusal::SYNTAX), "{line}");
            });
        }
    }

    #[test]
    fn options_of_getex() {
        for (line, is_valid) in [
            ("getex k", true),
            ("getex k persist PERSIST", true),
            ("getex k exat 1 EXAT 2", true),
            ("getex k persist ex 1", false),
            ("getex k ex 1 persist", false),
            ("getex k keepttl", false),
            ("getex k px", false),
        ] {
            with_words(line, |args| {
                assert_eq!(Expiry::of_getex(args).is_ok(), is_valid, "{line}");
            });
        }
    }

    #[test]
    fn deadlines() {
        const NOW: Millis = 1_000_000;
        let invalid = Err(Refusal::invalid_expire("set"));
        for (format, number, expected) in [
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
            let deadline = format.deadline(number.as_bytes(), "set", NOW);
            assert_eq!(deadline, expected, "{format:?} {number}");
        }
    }
}
