//! Strings.
//!
//! ```text
//! string        the rows; whole values (GET, MSET, …) and parts of them (APPEND, SETRANGE, …)
//! string/set    conditions and an expiry: SET, the older commands that it replaces, and GETEX
//! string/compare conditions on strings: DELEX, DELIFEQ, DIGEST
//! string/msetex MSETEX, of newer servers
//! string/increx INCREX, of Redis 8.10
//! string/count  strings that are numbers: INCR, DECR, INCRBYFLOAT, …
//! string/lcs    the longest common subsequence of two strings
//! ```
//!
//! A string that is set is stored as compactly as possible, as an integer if it is one. A string
//! that was changed in place is [`Value::Raw`] from then on, as `OBJECT ENCODING` shows.

mod count;
mod lcs;
mod compare;
mod set;
mod msetex;
mod increx;

use super::spec::access::{ACCESS, DELETE, INSERT, OW, RM, RO, RW, UPDATE, VARIABLE_FLAGS};
use super::spec::flag::{DENYOOM, FAST, MOVABLE_KEYS, READ, WRITE};
use super::spec::{
    Arity::{AtLeast, Exactly},
    BASE, Begin, Doc, Find, Group, Keys, Run, SAME, Spec, Variant, acl, check,
};
use super::{Args, Cx, Outcome, Refusal};
use crate::dialect::servers;
use crate::keyspace::{Edited, Ttl, Value, event};
use crate::resp::Sink;

/// Defaults of the rows.
const STRING: Spec = Spec { group: Group::String, acl: acl::STRING, ..BASE };

/// One key whose value is returned.
const READ_KEY: &[Keys] = &[Keys::at(RO | ACCESS, 1)];
/// One key whose value is changed and returned.
const MODIFIED_KEY: &[Keys] = &[Keys::at(RW | ACCESS | UPDATE, 1)];
/// One key that is set, whatever its value.
const OVERWRITTEN_KEY: &[Keys] = &[Keys::at(OW | UPDATE, 1)];

const GETRANGE: Spec = Spec {
    name: "getrange",
    arity: Exactly(4),
    flags: READ,
    keys: READ_KEY,
    since: "2.4.0",
    complexity: "O(N) where N is the length of the returned string. The complexity is ultimately \
                 determined by the returned length, but because creating a substring from an \
                 existing string is very cheap, it can be considered O(1) for small strings.",
    summary: "Returns the bytes of a string between two positions, both included.",
    run: Run::Shard(getrange),
    ..STRING
};

/// Keys with values, as many as the first argument says.
const COUNTED_PAIRS: Keys = Keys {
    access: OW | UPDATE,
    begin: Begin::Index(1),
    find: Find::Count { at: 0, first: 1, step: 2 },
    notes: "",
};

pub(super) const ROWS: &[Spec] = &[
    Spec {
        name: "append",
        arity: Exactly(3),
        flags: WRITE | DENYOOM | FAST,
        keys: &[Keys::at(RW | INSERT, 1)],
        since: "2.0.0",
        complexity: "O(1). The amortized time complexity is O(1) assuming the appended value is \
                     small and the already present value is of any size, since the dynamic string \
                     library used by Redis will double the free space available on every \
                     reallocation.",
        summary: "Appends bytes to a string, which is created if it does not exist.",
        run: Run::Shard(append),
        ..STRING
    },
    Spec {
        name: "decr",
        arity: Exactly(2),
        flags: WRITE | DENYOOM | FAST,
        keys: MODIFIED_KEY,
        summary: "Subtracts one from an integer; a missing key counts as 0.",
        run: Run::Shard(count::decr),
        ..STRING
    },
    Spec {
        name: "decrby",
        arity: Exactly(3),
        flags: WRITE | DENYOOM | FAST,
        keys: MODIFIED_KEY,
        summary: "Subtracts a number from an integer; a missing key counts as 0.",
        run: Run::Shard(count::decrby),
        ..STRING
    },
    Spec {
        name: "delex",
        arity: AtLeast(2),
        flags: WRITE | FAST,
        keys: &[Keys::at(RW | DELETE | VARIABLE_FLAGS, 1)],
        servers: servers::REDIS8_10,
        since: "8.4.0",
        summary: "Removes a key if its string meets a condition.",
        run: Run::Shard(compare::delex),
        ..STRING
    },
    Spec {
        name: "digest",
        arity: Exactly(2),
        flags: READ | FAST,
        keys: READ_KEY,
        servers: servers::REDIS8_10,
        since: "8.4.0",
        complexity: "O(N) where N is the length of the string value.",
        summary: "Returns the XXH3 hash of the string at a key, as IFDEQ and IFDNE take it.",
        run: Run::Shard(compare::digest),
        ..STRING
    },
    Spec {
        name: "delifeq",
        arity: Exactly(3),
        flags: WRITE | FAST,
        keys: &[Keys::at(RM | DELETE, 1)],
        servers: servers::VALKEY9,
        since: "9.0.0",
        summary: "Removes a key if it holds this string.",
        run: Run::Shard(compare::delifeq),
        ..STRING
    },
    Spec {
        name: "get",
        arity: Exactly(2),
        flags: READ | FAST,
        keys: READ_KEY,
        summary: "Returns the string at a key.",
        run: Run::Shard(get),
        ..STRING
    },
    Spec {
        name: "getdel",
        arity: Exactly(2),
        flags: WRITE | FAST,
        keys: &[Keys::at(RW | ACCESS | DELETE, 1)],
        since: "6.2.0",
        summary: "Returns the string at a key and removes the key.",
        run: Run::Shard(getdel),
        ..STRING
    },
    Spec {
        name: "getex",
        arity: AtLeast(2),
        flags: WRITE | FAST,
        keys: &[Keys::at(RW | ACCESS | UPDATE, 1).noted("RW and UPDATE because it changes the TTL")],
        since: "6.2.0",
        summary: "Returns the string at a key; may also change the key's expiry.",
        run: Run::Shard(set::getex),
        ..STRING
    },
    GETRANGE,
    Spec {
        name: "getset",
        doc: Doc::not_in_redis("6.2.0", "`SET … GET`"),
        arity: Exactly(3),
        flags: WRITE | DENYOOM | FAST,
        keys: MODIFIED_KEY,
        summary: "Sets a key to a string and returns the previous one.",
        run: Run::Shard(set::getset),
        ..STRING
    },
    Spec {
        name: "incr",
        arity: Exactly(2),
        flags: WRITE | DENYOOM | FAST,
        keys: MODIFIED_KEY,
        summary: "Adds one to an integer; a missing key counts as 0.",
        run: Run::Shard(count::incr),
        ..STRING
    },
    Spec {
        name: "incrby",
        arity: Exactly(3),
        flags: WRITE | DENYOOM | FAST,
        keys: MODIFIED_KEY,
        summary: "Adds a number to an integer; a missing key counts as 0.",
        run: Run::Shard(count::incrby),
        ..STRING
    },
    Spec {
        name: "incrbyfloat",
        arity: Exactly(3),
        flags: WRITE | DENYOOM | FAST,
        keys: MODIFIED_KEY,
        since: "2.6.0",
        summary: "Adds a floating-point number to a number; a missing key counts as 0.",
        run: Run::Shard(count::incrbyfloat),
        ..STRING
    },
    Spec {
        name: "increx",
        arity: AtLeast(2),
        flags: WRITE | DENYOOM | FAST,
        keys: MODIFIED_KEY,
        servers: servers::REDIS8_10,
        since: "8.8.0",
        summary: "Adds a number to a counter within bounds, and sets when it expires.",
        run: Run::Shard(increx::increx),
        ..STRING
    },
    Spec {
        name: "lcs",
        arity: AtLeast(3),
        flags: READ,
        keys: &[Keys::range(RO | ACCESS, 1, 1, 1)],
        since: "7.0.0",
        complexity: "O(N*M) where N and M are the lengths of s1 and s2, respectively",
        summary: "Returns the longest common subsequence of two strings.",
        run: Run::Shard(lcs::lcs),
        ..STRING
    },
    Spec {
        name: "mget",
        arity: AtLeast(2),
        flags: READ | FAST,
        keys: &[Keys::range(RO | ACCESS, 1, -1, 1)],
        tips: &["request_policy:multi_shard"],
        complexity: "O(N) where N is the number of keys to retrieve.",
        summary: "Returns the strings at several keys; null for a key of another type.",
        run: Run::Shard(mget),
        ..STRING
    },
    Spec {
        name: "mset",
        arity: AtLeast(3),
        flags: WRITE | DENYOOM,
        keys: &[Keys::range(OW | UPDATE, 1, -1, 2)],
        tips: &["request_policy:multi_shard", "response_policy:all_succeeded"],
        since: "1.0.1",
        complexity: "O(N) where N is the number of keys to set.",
        summary: "Sets several keys, each to a string of its own.",
        run: Run::Shard(mset),
        ..STRING
    },
    Spec {
        name: "msetnx",
        arity: AtLeast(3),
        variants: &[Variant { servers: servers::SINCE_7_2, tips: Some(&[]), ..SAME }],
        flags: WRITE | DENYOOM,
        keys: &[Keys::range(OW | INSERT, 1, -1, 2)],
        tips: &["request_policy:multi_shard", "response_policy:agg_min"],
        since: "1.0.1",
        complexity: "O(N) where N is the number of keys to set.",
        summary: "Sets several keys if none of them exists, else none.",
        run: Run::Shard(msetnx),
        ..STRING
    },
    Spec {
        name: "msetex",
        tips: &["request_policy:multi_shard", "response_policy:all_succeeded"],
        arity: AtLeast(4),
        flags: WRITE | DENYOOM | MOVABLE_KEYS,
        keys: &[COUNTED_PAIRS],
        servers: servers::VALKEY9 | servers::REDIS8_10,
        since: "8.4.0",
        complexity: "O(N) where N is the number of keys to set.",
        summary: "Sets several keys, and when they expire, if all or none of them exist.",
        run: Run::Shard(msetex::msetex),
        ..STRING
    },
    Spec {
        name: "psetex",
        doc: Doc::not_in_redis8("2.6.12", "`SET … PX`"),
        arity: Exactly(4),
        flags: WRITE | DENYOOM,
        keys: OVERWRITTEN_KEY,
        since: "2.6.0",
        summary: "Sets a key with a time to live in milliseconds.",
        run: Run::Shard(set::psetex),
        ..STRING
    },
    Spec {
        name: "set",
        arity: AtLeast(3),
        flags: WRITE | DENYOOM,
        keys: &[Keys::at(RW | ACCESS | UPDATE | VARIABLE_FLAGS, 1)
            .noted("RW and ACCESS due to the optional `GET` argument")],
        summary: "Sets a key to a string, with optional conditions and expiry.",
        run: Run::Shard(set::set),
        ..STRING
    },
    Spec {
        name: "setex",
        doc: Doc::not_in_redis8("2.6.12", "`SET … EX`"),
        arity: Exactly(4),
        flags: WRITE | DENYOOM,
        keys: OVERWRITTEN_KEY,
        since: "2.0.0",
        summary: "Sets a key with a time to live in seconds.",
        run: Run::Shard(set::setex),
        ..STRING
    },
    Spec {
        name: "setnx",
        doc: Doc::not_in_redis8("2.6.12", "`SET … NX`"),
        arity: Exactly(3),
        flags: WRITE | DENYOOM | FAST,
        keys: &[Keys::at(OW | INSERT, 1)],
        summary: "Sets a key unless it exists.",
        run: Run::Shard(set::setnx),
        ..STRING
    },
    Spec {
        name: "setrange",
        arity: Exactly(4),
        flags: WRITE | DENYOOM,
        keys: &[Keys::at(RW | UPDATE, 1)],
        since: "2.2.0",
        complexity: "O(1), not counting the time taken to copy the new string in place. Usually, \
                     this string is very small so the amortized complexity is O(1). Otherwise, \
                     complexity is O(M) with M being the length of the value argument.",
        summary: "Overwrites the bytes of a string from a position on; pads it with zeros up to there.",
        run: Run::Shard(setrange),
        ..STRING
    },
    Spec {
        name: "strlen",
        arity: Exactly(2),
        flags: READ | FAST,
        keys: &[Keys::at(RO, 1)],
        since: "2.2.0",
        summary: "Returns the length of the string at a key in bytes.",
        run: Run::Shard(strlen),
        ..STRING
    },
    Spec {
        name: "substr",
        doc: Doc::not_in_redis("2.0.0", "`GETRANGE`"),
        since: "1.0.0",
        summary: "Returns the bytes of a string between two positions: the old name of GETRANGE.",
        ..GETRANGE
    },
];
const _: () = check(ROWS);

/// A loop over keys calls the pace after this many.
const KEYS_PER_STEP: usize = 1000;

// ── whole values ──────────────────────────────────────────────────────────────────────────────

fn get(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let key = cx.key(args.at(1));
    cx.answer_text(key, out)
}

fn getdel(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let key = cx.key(args.at(1));
    let text = cx.text(key)?;
    let found = text.is_some();
    out.bulk_or_null(text.as_deref());
    if found {
        cx.keyspace.delete(key);
        cx.keyspace.notify_event(event::GENERIC, "del", key.bytes);
    }
    Ok(())
}

fn strlen(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let key = cx.key(args.at(1));
    out.count(cx.text(key)?.map_or(0, |text| text.len()));
    Ok(())
}

fn mget(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    out.array(args.len() - 1);
    for (i, bytes) in args.from(1).enumerate() {
        let key = cx.key(bytes);
        out.bulk_or_null(cx.value(key).and_then(Value::as_text).as_deref());
        pace(cx, i);
    }
    Ok(())
}

fn mset(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    require_pairs(args, "mset")?;
    set_pairs(cx, args);
    out.ok();
    Ok(())
}

fn msetnx(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    require_pairs(args, "msetnx")?;
    for (i, bytes) in args.from(1).step_by(2).enumerate() {
        let key = cx.key(bytes);
        if set::exists(cx, key) {
            out.int(0);
            return Ok(());
        }
        pace(cx, i);
    }
    set_pairs(cx, args);
    out.int(1);
    Ok(())
}

/// Rejects a key without a value, which the arity cannot express.
fn require_pairs(args: Args<'_>, command: &str) -> Outcome {
    if args.len().is_multiple_of(2) { Err(Refusal::arity(command)) } else { Ok(()) }
}

fn set_pairs(cx: &mut Cx<'_>, args: Args<'_>) {
    for i in (1..args.len()).step_by(2) {
        let key = cx.key(args.at(i));
        cx.keyspace.set(key, Value::string(args.at(i + 1)), Ttl::Clear);
        cx.keyspace.notify_event(event::STRING, "set", key.bytes);
        pace(cx, i / 2);
    }
}

fn pace(cx: &mut Cx<'_>, i: usize) {
    if i % KEYS_PER_STEP == KEYS_PER_STEP - 1 {
        cx.pace.step(KEYS_PER_STEP);
    }
}

// ── parts of values ───────────────────────────────────────────────────────────────────────────

fn getrange(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let (first, last) = (args.int(2)?, args.int(3)?);
    let key = cx.key(args.at(1));
    let text = cx.text(key)?;
    let text = text.as_deref().unwrap_or_default();
    out.bulk(&text[byte_range(first, last, text.len())]);
    Ok(())
}

/// The range of a string of `len` bytes from `first` to `last`, both included. Negative positions
/// count from the end; the range is cut to the string.
fn byte_range(first: i64, last: i64, len: usize) -> std::ops::Range<usize> {
    // Cut at the beginning of the string, both ends of an inverted range would be 0: one byte.
    if first < 0 && last < 0 && first > last {
        return 0..0;
    }
    let position = |at: i64| {
        let distance = usize::try_from(at.unsigned_abs()).unwrap_or(usize::MAX);
        if at < 0 { len.saturating_sub(distance) } else { distance }
    };
    let end = position(last).saturating_add(1).min(len);
    position(first).min(end)..end
}

fn append(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let (key, tail) = (cx.key(args.at(1)), args.at(2));
    let len_max = cx.string_len_max;
    let grown = cx.keyspace.edit(key, |value| {
        let Some(text) = value.as_text() else { return Edited::Kept(Err(Refusal::WRONG_TYPE)) };
        if let Err(refusal) = check_len(text.len(), tail.len(), len_max) {
            return Edited::Kept(Err(refusal));
        }
        let Some(bytes) = value.as_raw_mut() else { return Edited::Kept(Err(Refusal::WRONG_TYPE)) };
        bytes.extend_from_slice(tail);
        Edited::Changed(Ok(bytes.len()))
    });
    let len = match grown {
        Some(grown) => grown?,
        None => {
            cx.keyspace.set(key, Value::string(tail), Ttl::Clear);
            tail.len()
        }
    };
    cx.keyspace.notify_event(event::STRING, "append", key.bytes);
    out.count(len);
    Ok(())
}

fn setrange(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let (key, part) = (cx.key(args.at(1)), args.at(3));
    let Ok(from) = usize::try_from(args.int(2)?) else {
        return Err(Refusal::of("ERR offset is out of range"));
    };
    let fits = check_len(from, part.len(), cx.string_len_max);
    let changed = cx.keyspace.edit(key, |value| {
        let Some(text) = value.as_text() else { return Edited::Kept(Err(Refusal::WRONG_TYPE)) };
        if part.is_empty() {
            return Edited::Kept(Ok(text.len()));
        }
        if let Err(refusal) = &fits {
            return Edited::Kept(Err(refusal.clone()));
        }
        let Some(bytes) = value.as_raw_mut() else { return Edited::Kept(Err(Refusal::WRONG_TYPE)) };
        write_at(bytes, from, part);
        Edited::Changed(Ok(bytes.len()))
    });
    let len = match changed {
        Some(changed) => changed?,
        None if part.is_empty() => 0,
        None => {
            fits?;
            // The zeros of a new vector are not written until they are touched; those of a resized
            // one are.
            let mut bytes = vec![0; from + part.len()];
            write_at(&mut bytes, from, part);
            let len = bytes.len();
            cx.keyspace.set(key, Value::Raw(Box::new(bytes)), Ttl::Clear);
            len
        }
    };
    if !part.is_empty() {
        cx.keyspace.notify_event(event::STRING, "setrange", key.bytes);
    }
    out.count(len);
    Ok(())
}

/// Overwrites the bytes from `from` on with `part`; pads with zeros up to there.
fn write_at(bytes: &mut Vec<u8>, from: usize, part: &[u8]) {
    let end = from + part.len();
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    bytes[from..end].copy_from_slice(part);
}

/// Rejects a string of `len` and `more` bytes if it is longer than `len_max`.
fn check_len(len: usize, more: usize, len_max: u64) -> Outcome {
    match len.checked_add(more) {
        Some(sum) if sum as u64 <= len_max => Ok(()),
        _ => Err(Refusal::TOO_LONG),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_bytes() {
        for (first, last, len, expected) in [
            (0, -1, 5, 0..5),
            (1, 3, 5, 1..4),
            (-3, -1, 5, 2..5),
            (-100, 100, 5, 0..5),
            (-100, -100, 5, 0..1),
            (-99, -100, 5, 0..0),
            (0, -100, 5, 0..1),
            (3, 1, 5, 2..2),
            (5, 9, 5, 5..5),
            (0, 0, 0, 0..0),
            (i64::MIN, i64::MAX, 5, 0..5),
            (i64::MAX, i64::MAX, 5, 5..5),
            (i64::MAX, i64::MIN, 5, 1..1),
        ] {
            assert_eq!(byte_range(first, last, len), expected, "{first} {last} of {len}");
        }
    }

    #[test]
    fn lengths_up_to_the_longest_fit() {
        assert_eq!(check_len(3, 2, 5), Ok(()));
        assert_eq!(check_len(3, 3, 5), Err(Refusal::TOO_LONG));
        assert_eq!(check_len(usize::MAX, 1, u64::MAX), Err(Refusal::TOO_LONG));
    }
}
