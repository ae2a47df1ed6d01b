//! Bitmaps: strings as arrays of bits. Bit 0 is the highest of the first byte.
//!
//! ```text
//! bitmap          the rows; single bits: SETBIT, GETBIT
//! bitmap/words    many bytes at a time: counting, searching, combining
//! bitmap/count    bits within a range: BITCOUNT, BITPOS
//! bitmap/combine  strings bit by bit: BITOP
//! bitmap/field    integers of any width: BITFIELD, BITFIELD_RO
//! ```
//!
//! A string behaves as if zeros without end followed it. What writes a bit makes the string long
//! enough, and leaves it as [`Value::Raw`], as `OBJECT ENCODING` shows.

mod words;
mod count;
mod combine;
mod field;

use super::spec::access::{ACCESS, OW, RO, RW, UPDATE, VARIABLE_FLAGS};
use super::spec::flag::{DENYOOM, FAST, READ, WRITE};
use super::spec::{
    Arity::{AtLeast, Exactly},
    BASE, Group, Keys, Run, Spec, acl, check,
};
use super::{Args, Cx, Outcome, Refusal};
use crate::keyspace::{Edited, Key, Ttl, Value, event};
use crate::resp::Sink;
use crate::text::number::parse_i64;

/// Defaults of the rows.
const BITMAP: Spec = Spec { group: Group::Bitmap, acl: acl::BITMAP, since: "2.2.0", ..BASE };

/// One key whose bits are returned.
const READ_KEY: &[Keys] = &[Keys::at(RO | ACCESS, 1)];

pub(super) const ROWS: &[Spec] = &[
    Spec {
        name: "bitcount",
        arity: AtLeast(2),
        flags: READ,
        keys: READ_KEY,
        since: "2.6.0",
        complexity: "O(N)",
        summary: "Counts the bits that are set in a string, or in a part of it.",
        run: Run::Shard(count::bitcount),
        ..BITMAP
    },
    Spec {
        name: "bitfield",
        arity: AtLeast(2),
        flags: WRITE | DENYOOM,
        keys: &[Keys::at(RW | ACCESS | UPDATE | VARIABLE_FLAGS, 1)
            .noted("This command allows both access and modification of the key")],
        since: "3.2.0",
        complexity: "O(1) for each subcommand specified",
        summary: "Reads, sets and increments integers of any width within a string.",
        run: Run::Shard(field::bitfield),
        ..BITMAP
    },
    Spec {
        name: "bitfield_ro",
        arity: AtLeast(2),
        flags: READ | FAST,
        keys: READ_KEY,
        since: "6.0.0",
        complexity: "O(1) for each subcommand specified",
        summary: "Reads integers of any width within a string.",
        run: Run::Shard(field::bitfield_ro),
        ..BITMAP
    },
    Spec {
        name: "bitop",
        arity: AtLeast(4),
        flags: WRITE | DENYOOM,
        keys: &[Keys::at(OW | UPDATE, 2), Keys::range(RO | ACCESS, 3, -1, 1)],
        since: "2.6.0",
        complexity: "O(N)",
        summary: "Stores the result of AND, OR, XOR or NOT over the bits of strings.",
        run: Run::Shard(combine::bitop),
        ..BITMAP
    },
    Spec {
        name: "bitpos",
        arity: AtLeast(3),
        flags: READ,
        keys: READ_KEY,
        since: "2.8.7",
        complexity: "O(N)",
        summary: "Finds the first bit that is set, or clear, in a string or in a part of it.",
        run: Run::Shard(count::bitpos),
        ..BITMAP
    },
    Spec {
        name: "getbit",
        arity: Exactly(3),
        flags: READ | FAST,
        keys: READ_KEY,
        summary: "Returns one bit of a string.",
        run: Run::Shard(getbit),
        ..BITMAP
    },
    Spec {
        name: "setbit",
        arity: Exactly(4),
        flags: WRITE | DENYOOM,
        keys: &[Keys::at(RW | ACCESS | UPDATE, 1)],
        summary: "Sets or clears one bit of a string; returns what it was.",
        run: Run::Shard(setbit),
        ..BITMAP
    },
];
const _: () = check(ROWS);

/// Up to this length a string that grows doubles its capacity; beyond it gets this much more.
const SPARE_MAX: usize = 1 << 20;

/// Reads a position in bits. Written as `#n` it counts integers of `width` bits; without a width
/// that is no number.
fn offset(arg: &[u8], width: Option<u32>, string_len_max: u64) -> Result<u64, Refusal> {
    const INVALID: Refusal = Refusal::of("ERR bit offset is not an integer or out of range");
    let (digits, unit) = match (arg.strip_prefix(b"#"), width) {
        (Some(digits), Some(width)) => (digits, i64::from(width)),
        _ => (arg, 1),
    };
    // The product wraps around, as in Redis.
    let offset = parse_i64(digits).map(|number| number.wrapping_mul(unit));
    let offset = offset.and_then(|offset| u64::try_from(offset).ok());
    offset.filter(|offset| offset >> 3 < string_len_max).ok_or(INVALID)
}

/// Lengthens a string to at least `len` bytes with zeros; returns whether it was shorter.
fn lengthen(bytes: &mut Vec<u8>, len: usize) -> bool {
    if bytes.len() >= len {
        return false;
    }
    if bytes.capacity() < len {
        let capacity = len + len.min(SPARE_MAX);
        // The zeros of a new vector are not written until they are touched; those of a resized one
        // are.
        let mut longer = vec![0; capacity];
        longer[..bytes.len()].copy_from_slice(bytes);
        longer.truncate(len);
        *bytes = longer;
    } else {
        bytes.resize(len, 0);
    }
    true
}

/// Changes the bytes of the string at `key`, made at least `len` long before. `change` gets the bytes
/// and whether they were shorter; it returns its result and whether anything changed. If nothing
/// did, no WATCH is tripped, even if the string has become longer.
fn change_bytes<R>(
    cx: &mut Cx<'_>,
    key: Key<'_>,
    len: usize,
    change: impl FnOnce(&mut [u8], bool) -> (R, bool),
) -> Result<(R, bool), Refusal> {
    let (mut change, mut was_shorter) = (Some(change), false);
    let changed = cx.keyspace.edit(key, |value| {
        let (Some(bytes), Some(change)) = (value.as_raw_mut(), change.take()) else {
            return Edited::Kept(Err(Refusal::WRONG_TYPE));
        };
        was_shorter = lengthen(bytes, len);
        match change(bytes, was_shorter) {
            (result, true) => Edited::Changed(Ok((result, true))),
            (result, false) => Edited::Kept(Ok((result, false))),
        }
    });
    match (changed, change) {
        (Some(changed), _) => {
            if was_shorter && matches!(changed, Ok((_, false))) {
                cx.keyspace.record_unwatched(key.bytes);
            }
            changed
        }
        (None, Some(change)) => {
            let mut bytes = vec![0; len];
            let (result, has_changed) = change(&mut bytes, true);
            let value = Value::Raw(Box::new(bytes));
            match has_changed {
                true => cx.keyspace.set(key, value, Ttl::Clear),
                false => cx.keyspace.set_unwatched(key, value, Ttl::Clear),
            }
            Ok((result, has_changed))
        }
        (None, None) => Err(Refusal::impossible("a key that is missing was edited")),
    }
}

/// SETBIT key offset value
fn setbit(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    const INVALID: Refusal = Refusal::of("ERR bit is not an integer or out of range");
    let offset = offset(args.at(2), None, cx.string_len_max)?;
    let bit = parse_i64(args.at(3)).filter(|bit| matches!(bit, 0 | 1)).ok_or(INVALID)? as u8;
    let (at, shift) = ((offset >> 3) as usize, 7 - (offset & 7));
    let key = cx.key(args.at(1));
    let (old, changed) = change_bytes(cx, key, at + 1, |bytes, was_shorter| {
        let old = bytes[at] >> shift & 1;
        bytes[at] ^= (old ^ bit) << shift;
        (old, was_shorter || old != bit)
    })?;
    if changed {
        cx.keyspace.notify_event(event::STRING, "setbit", key.bytes);
    }
    out.int(i64::from(old));
    Ok(())
}

/// GETBIT key offset
fn getbit(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let offset = offset(args.at(2), None, cx.string_len_max)?;
    let key = cx.key(args.at(1));
    let text = cx.text(key)?;
    let byte = text.as_deref().and_then(|bytes| bytes.get((offset >> 3) as usize));
    out.int(byte.map_or(0, |byte| i64::from(byte >> (7 - (offset & 7)) & 1)));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets() {
        const LEN_MAX: u64 = 512 << 20;
        for (arg, width, expected) in [
            ("0", None, Some(0)),
            ("4294967295", None, Some(4_294_967_295)),
            ("4294967296", None, None),
            ("-1", None, None),
            ("+1", None, None),
            ("01", None, None),
            ("", None, None),
            ("#1", None, None),
            ("#1", Some(5), Some(5)),
            ("#536870911", Some(8), Some(4_294_967_288)),
            ("#536870912", Some(8), None),
            ("#-1", Some(8), None),
            ("#", Some(8), None),
            // 2^61 + 1 times 8 is 8, modulo 2^64.
            ("#2305843009213693953", Some(8), Some(8)),
        ] {
            assert_eq!(offset(arg.as_bytes(), width, LEN_MAX).ok(), expected, "{arg}");
        }
    }

    #[test]
    fn a_string_grows_with_zeros() {
        let mut bytes = b"abc".to_vec();
        assert!(!lengthen(&mut bytes, 3));
        assert!(lengthen(&mut bytes, 100) && bytes.len() == 100);
        assert!(bytes.starts_with(b"abc\0") && bytes[3..].iter().all(|&byte| byte == 0));
        bytes.fill(1);
        let capacity = bytes.capacity();
        assert!(lengthen(&mut bytes, capacity) && bytes.capacity() == capacity);
        assert!(bytes[..100].iter().all(|&byte| byte == 1));
        assert!(bytes[100..].iter().all(|&byte| byte == 0));
    }
}
