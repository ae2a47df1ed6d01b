//! Strings: the plainest value, and the family that everything else is measured by.
//!
//! ```text
//! string        the rows; whole values (GET, MSET ...) and parts of them (APPEND, SETRANGE ...)
//! string/set    one value with conditions and an expiry: SET and what came before it; GETEX
//! string/count  strings that are numbers: INCR and its kin
//! string/lcs    the longest common subsequence of two strings
//! ```
//!
//! A string that is set is kept as small as it can be, as an integer if it is one. A string that
//! was grown or changed in place is [`Value::Raw`] from then on, as `OBJECT ENCODING` tells.

mod count;
mod lcs;
mod set;

use super::spec::access::{ACCESS, DELETE, INSERT, OW, RO, RW, UPDATE, VARIABLE_FLAGS};
use super::spec::flag::{DENYOOM, FAST, READ, WRITE};
use super::spec::{
    Arity::{AtLeast, Exactly},
    BASE, Group, Keys, Run, Spec, acl, check,
};
use super::{Args, Cx, Outcome, Refusal};
use crate::keyspace::{Edited, Ttl, Value, event};
use crate::resp::Sink;

/// What all strings' rows share.
const STRING: Spec = Spec { group: Group::String, acl: acl::STRING, ..BASE };

/// One key that is read and changed.
const CHANGED: &[Keys] = &[Keys::at(RW | ACCESS | UPDATE, 1)];
/// One key whose value is read to the client.
const GIVEN: &[Keys] = &[Keys::at(RO | ACCESS, 1)];
/// One key that is set, whatever it holds.
const REPLACED: &[Keys] = &[Keys::at(OW | UPDATE, 1)];

const GETRANGE: Spec = Spec {
    name: "getrange",
    arity: Exactly(4),
    flags: READ,
    keys: GIVEN,
    since: "2.4.0",
    complexity: "O(N) where N is the length of the returned string. The complexity is ultimately \
                 determined by the returned length, but because creating a substring from an \
                 existing string is very cheap, it can be considered O(1) for small strings.",
    summary: "Reads the bytes of a string between two positions, both included.",
    run: Run::Shard(getrange),
    ..STRING
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
        summary: "Adds bytes to the end of a string, which is created if it is missing.",
        run: Run::Shard(append),
        ..STRING
    },
    Spec {
        name: "decr",
        arity: Exactly(2),
        flags: WRITE | DENYOOM | FAST,
        keys: CHANGED,
        summary: "Subtracts one from an integer; a missing key counts as 0.",
        run: Run::Shard(count::decr),
        ..STRING
    },
    Spec {
        name: "decrby",
        arity: Exactly(3),
        flags: WRITE | DENYOOM | FAST,
        keys: CHANGED,
        summary: "Subtracts a number from an integer; a missing key counts as 0.",
        run: Run::Shard(count::decrby),
        ..STRING
    },
    Spec {
        name: "get",
        arity: Exactly(2),
        flags: READ | FAST,
        keys: GIVEN,
        summary: "Reads the string at a key.",
        run: Run::Shard(get),
        ..STRING
    },
    Spec {
        name: "getdel",
        arity: Exactly(2),
        flags: WRITE | FAST,
        keys: &[Keys::at(RW | ACCESS | DELETE, 1)],
        since: "6.2.0",
        summary: "Reads the string at a key and removes the key.",
        run: Run::Shard(getdel),
        ..STRING
    },
    Spec {
        name: "getex",
        arity: AtLeast(2),
        flags: WRITE | FAST,
        keys: &[Keys::at(RW | ACCESS | UPDATE, 1).noted("RW and UPDATE because it changes the TTL")],
        since: "6.2.0",
        summary: "Reads the string at a key and changes when it expires, if asked to.",
        run: Run::Shard(set::getex),
        ..STRING
    },
    GETRANGE,
    Spec {
        name: "getset",
        arity: Exactly(3),
        flags: WRITE | DENYOOM | FAST,
        keys: CHANGED,
        summary: "Sets a key and gives the string that it held before.",
        run: Run::Shard(set::getset),
        ..STRING
    },
    Spec {
        name: "incr",
        arity: Exactly(2),
        flags: WRITE | DENYOOM | FAST,
        keys: CHANGED,
        summary: "Adds one to an integer; a missing key counts as 0.",
        run: Run::Shard(count::incr),
        ..STRING
    },
    Spec {
        name: "incrby",
        arity: Exactly(3),
        flags: WRITE | DENYOOM | FAST,
        keys: CHANGED,
        summary: "Adds a number to an integer; a missing key counts as 0.",
        run: Run::Shard(count::incrby),
        ..STRING
    },
    Spec {
        name: "incrbyfloat",
        arity: Exactly(3),
        flags: WRITE | DENYOOM | FAST,
        keys: CHANGED,
        since: "2.6.0",
        summary: "Adds a number, which may have a fraction, to another; a missing key counts as 0.",
        run: Run::Shard(count::incrbyfloat),
        ..STRING
    },
    Spec {
        name: "lcs",
        arity: AtLeast(3),
        flags: READ,
        keys: &[Keys::range(RO | ACCESS, 1, 1, 1)],
        since: "7.0.0",
        complexity: "O(N*M) where N and M are the lengths of s1 and s2, respectively",
        summary: "Finds the longest common subsequence of two strings.",
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
        summary: "Reads the strings at several keys; what is no string reads as missing.",
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
        summary: "Sets several keys, each to its own string.",
        run: Run::Shard(mset),
        ..STRING
    },
    Spec {
        name: "msetnx",
        arity: AtLeast(3),
        flags: WRITE | DENYOOM,
        keys: &[Keys::range(OW | INSERT, 1, -1, 2)],
        tips: &["request_policy:multi_shard", "response_policy:agg_min"],
        since: "1.0.1",
        complexity: "O(N) where N is the number of keys to set.",
        summary: "Sets several keys if none of them is there yet, else none.",
        run: Run::Shard(msetnx),
        ..STRING
    },
    Spec {
        name: "psetex",
        arity: Exactly(4),
        flags: WRITE | DENYOOM,
        keys: REPLACED,
        since: "2.6.0",
        summary: "Sets a key that expires after so many milliseconds.",
        run: Run::Shard(set::psetex),
        ..STRING
    },
    Spec {
        name: "set",
        arity: AtLeast(3),
        flags: WRITE | DENYOOM,
        keys: &[Keys::at(RW | ACCESS | UPDATE | VARIABLE_FLAGS, 1)
            .noted("RW and ACCESS due to the optional `GET` argument")],
        summary: "Sets a key to a string, on conditions and with an expiry if asked to.",
        run: Run::Shard(set::set),
        ..STRING
    },
    Spec {
        name: "setex",
        arity: Exactly(4),
        flags: WRITE | DENYOOM,
        keys: REPLACED,
        since: "2.0.0",
        summary: "Sets a key that expires after so many seconds.",
        run: Run::Shard(set::setex),
        ..STRING
    },
    Spec {
        name: "setnx",
        arity: Exactly(3),
        flags: WRITE | DENYOOM | FAST,
        keys: &[Keys::at(OW | INSERT, 1)],
        summary: "Sets a key if it is not there yet.",
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
        summary: "Writes over the bytes of a string from a position on, with zeros up to there.",
        run: Run::Shard(setrange),
        ..STRING
    },
    Spec {
        name: "strlen",
        arity: Exactly(2),
        flags: READ | FAST,
        keys: &[Keys::at(RO, 1)],
        since: "2.2.0",
        summary: "Tells how many bytes the string at a key has.",
        run: Run::Shard(strlen),
        ..STRING
    },
    Spec {
        name: "substr",
        since: "1.0.0",
        summary: "Reads the bytes of a string between two positions: GETRANGE by its old name.",
        ..GETRANGE
    },
];
const _: () = check(ROWS);

/// A loop over keys tells its pace after this many.
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
    paired(args, "mset")?;
    set_pairs(cx, args);
    out.ok();
    Ok(())
}

fn msetnx(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    paired(args, "msetnx")?;
    for (i, bytes) in args.from(1).step_by(2).enumerate() {
        let key = cx.key(bytes);
        if set::is_there(cx, key) {
            out.int(0);
            return Ok(());
        }
        pace(cx, i);
    }
    set_pairs(cx, args);
    out.int(1);
    Ok(())
}

/// Refuses a key without a value, which the arity alone cannot.
fn paired(args: Args<'_>, command: &str) -> Outcome {
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
    out.bulk(&text[between(first, last, text.len())]);
    Ok(())
}

/// The part of a string of `len` bytes from `first` to `last`, both included; negative positions
/// count from the end, and what lies outside is cut off.
fn between(first: i64, last: i64, len: usize) -> std::ops::Range<usize> {
    // Cutting both ends at the beginning would make one byte of a range that ends before it
    // begins.
    if first < 0 && last < 0 && first > last {
        return 0..0;
    }
    let place = |at: i64| {
        let distance = usize::try_from(at.unsigned_abs()).unwrap_or(usize::MAX);
        if at < 0 { len.saturating_sub(distance) } else { distance }
    };
    let end = place(last).saturating_add(1).min(len);
    place(first).min(end)..end
}

fn append(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let (key, tail) = (cx.key(args.at(1)), args.at(2));
    let len_max = cx.string_len_max;
    let grown = cx.keyspace.edit(key, |value| {
        let Some(text) = value.as_text() else { return Edited::Kept(Err(Refusal::WRONG_TYPE)) };
        if let Err(refusal) = fits(text.len(), tail.len(), len_max) {
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
    let room = fits(from, part.len(), cx.string_len_max);
    let changed = cx.keyspace.edit(key, |value| {
        let Some(text) = value.as_text() else { return Edited::Kept(Err(Refusal::WRONG_TYPE)) };
        if part.is_empty() {
            return Edited::Kept(Ok(text.len()));
        }
        if let Err(refusal) = &room {
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
            room?;
            // Zeros of a new vector cost nothing before they are touched; grown ones are written.
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

/// Writes `part` at `from`, over what is there and zeros up to it.
fn write_at(bytes: &mut Vec<u8>, from: usize, part: &[u8]) {
    let end = from + part.len();
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    bytes[from..end].copy_from_slice(part);
}

/// Refuses a string of `len` and `more` bytes that would be longer than `len_max`.
fn fits(len: usize, more: usize, len_max: u64) -> Outcome {
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
            assert_eq!(between(first, last, len), expected, "{first} {last} of {len}");
        }
    }

    #[test]
    fn lengths_up_to_the_longest_fit() {
        assert_eq!(fits(3, 2, 5), Ok(()));
        assert_eq!(fits(3, 3, 5), Err(Refusal::TOO_LONG));
        assert_eq!(fits(usize::MAX, 1, u64::MAX), Err(Refusal::TOO_LONG));
    }
}
