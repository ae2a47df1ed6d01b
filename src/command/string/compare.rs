//! Conditions on the string at a key, of newer servers: SET with IFEQ, IFNE, IFDEQ and IFDNE, DELEX, DELIFEQ,
//! and DIGEST, with whose result the last two of them compare.

use crate::command::{Args, Cx, Outcome, Refusal};
use crate::keyspace::{Key, event};
use crate::resp::Sink;
use twox_hash::XxHash3_64;

/// How many hexadecimal digits a digest has.
const DIGEST_LEN: usize = 16;

/// What a condition compares the string with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Comparison<'a> {
    /// With its digest, else with the string itself.
    is_of_digest: bool,
    /// They have to be equal, else they must not be.
    wants_equal: bool,
    operand: &'a [u8],
}

impl<'a> Comparison<'a> {
    /// The condition that an option asks for, and what it compares with.
    pub(super) fn of(option: &[u8], operand: &'a [u8]) -> Option<Self> {
        let is = |name: &[u8]| option.eq_ignore_ascii_case(name);
        let (is_of_digest, wants_equal) = match () {
            () if is(b"IFEQ") => (false, true),
            () if is(b"IFNE") => (false, false),
            () if is(b"IFDEQ") => (true, true),
            () if is(b"IFDNE") => (true, false),
            () => return None,
        };
        Some(Self { is_of_digest, wants_equal, operand })
    }

    /// Whether it is IFEQ.
    pub(super) fn is_plain(self) -> bool {
        !self.is_of_digest && self.wants_equal
    }

    /// Whether two conditions are the same but for what they compare with.
    pub(super) fn is_like(self, other: Self) -> bool {
        (self.is_of_digest, self.wants_equal) == (other.is_of_digest, other.wants_equal)
    }

    /// Whether a missing key meets the condition.
    pub(super) fn holds_without(self) -> bool {
        !self.wants_equal
    }

    /// Whether a key with this string meets the condition.
    pub(super) fn holds(self, text: &[u8]) -> Result<bool, Refusal> {
        if !self.is_of_digest {
            return Ok((text == self.operand) == self.wants_equal);
        }
        if self.operand.len() != DIGEST_LEN {
            return Err(Refusal::of("ERR must be exactly 16 hexadecimal characters"));
        }
        let is_equal = digest_of(text).as_bytes().eq_ignore_ascii_case(self.operand);
        Ok(is_equal == self.wants_equal)
    }
}

/// Returns the digest of a string: XXH3 of 64 bits, in hexadecimal digits.
fn digest_of(text: &[u8]) -> String {
    format!("{:016x}", XxHash3_64::oneshot(text))
}

/// DIGEST key
pub(super) fn digest(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let key = cx.key(args.at(1));
    let digest = cx.text(key)?.map(|text| digest_of(&text));
    out.bulk_or_null(digest.as_ref().map(String::as_bytes));
    Ok(())
}

/// DELIFEQ key value
pub(super) fn delifeq(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let key = cx.key(args.at(1));
    let is_equal = cx.text(key)?.is_some_and(|text| *text == *args.at(2));
    out.int((is_equal && remove(cx, key)).into());
    Ok(())
}

/// DELEX key [IFEQ value | IFNE value | IFDEQ digest | IFDNE digest]
pub(super) fn delex(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let key = cx.key(args.at(1));
    let goes = match args.len() {
        2 => true,
        4 => match cx.keyspace.read(key) {
            None => false,
            Some(value) => {
                let text = value.as_text().ok_or(Refusal::of(
                    "ERR Key should be of string type if conditions are specified",
                ))?;
                let comparison = Comparison::of(args.at(2), args.at(3))
                    .ok_or(Refusal::of("ERR Invalid condition. Use IFEQ, IFNE, IFDEQ, or IFDNE"))?;
                comparison.holds(&text)?
            }
        },
        _ => return Err(Refusal::arity("delex")),
    };
    out.int((goes && remove(cx, key)).into());
    Ok(())
}

/// Removes a key; returns whether it was there.
fn remove(cx: &mut Cx<'_>, key: Key<'_>) -> bool {
    let was_there = cx.keyspace.delete(key);
    if was_there {
        cx.keyspace.notify_event(event::GENERIC, "del", key.bytes);
    }
    was_there
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_those_of_redis() {
        for (text, digest) in [
            (&b"hello"[..], "9555e8555c62dcfd"),
            (b"12345", "f34099ede96b5581"),
            (b"", "2d06800538d394c2"),
        ] {
            assert_eq!(digest_of(text), digest);
        }
    }

    #[test]
    fn comparisons() {
        for (option, operand, expected) in [
            ("ifeq", "hello", Ok(true)),
            ("IFEQ", "hell", Ok(false)),
            ("ifne", "hello", Ok(false)),
            ("ifdeq", "9555E8555C62DCFD", Ok(true)),
            ("ifdne", "9555e8555c62dcfd", Ok(false)),
            ("ifdne", "not hexadecimal!", Ok(true)),
            ("ifdeq", "9555e8555c62dcf", Err(())),
        ] {
            let comparison = Comparison::of(option.as_bytes(), operand.as_bytes()).expect(option);
            assert_eq!(comparison.holds(b"hello").map_err(|_| ()), expected, "{option} {operand}");
        }
        assert_eq!(Comparison::of(b"if", b""), None);
    }
}
