//! Sorted sets in payloads.
//!
//! ```text
//! pairs      length, then as many times: member, a string | score, 8 bytes, LE          from the end
//! texts      the same with the score as text: its length in a byte, then its digits;
//!            FD, FE and FF stand for not a number, infinite and negative infinite
//! packed     a string holding a listpack, or a ziplist, of member, score, member, …     in order
//! ```
//!
//! Packed scores are their digits. A payload's members may come in any order.

use std::borrow::Cow;
use std::collections::HashSet;
use std::ops::Deref;

use super::input::{self, Input};
use super::{Decoded, kind, listpack, seal};
use crate::text::number::{parse_f64, write_f64, write_i64};

/// Marks in place of a text length.
const TEXT_NAN: u8 = 0xFD;
const TEXT_INFINITE: u8 = 0xFE;
const TEXT_NEGATIVE_INFINITE: u8 = 0xFF;

/// Encodes a large sorted set of `len` members, given with their scores in descending order. They
/// must differ and there must be at least one; otherwise decoding refuses the payload.
#[must_use]
pub(crate) fn encode_zset(
    len: usize,
    members: impl IntoIterator<Item = (impl Deref<Target = [u8]>, f64)>,
) -> Vec<u8> {
    let mut payload = vec![kind::ZSET_PAIRS];
    input::write_length(&mut payload, len);
    for (member, score) in members {
        input::write_string(&mut payload, &member);
        payload.extend_from_slice(&score.to_le_bytes());
    }
    seal(payload)
}

/// Encodes a small sorted set, given its members with their scores in order: fewer than 32,768, of
/// less than 2^32 bytes. Scores for which `integer` returns an integer are stored as one.
#[must_use]
pub(crate) fn encode_packed_zset(
    members: impl IntoIterator<Item = (impl Deref<Target = [u8]>, f64)>,
    integer: impl Fn(f64) -> Option<i64>,
) -> Vec<u8> {
    let mut elements: Vec<Vec<u8>> = Vec::new();
    for (member, score) in members {
        let mut digits = Vec::with_capacity(24);
        match integer(score) {
            Some(whole) => write_i64(&mut digits, whole),
            None => write_f64(&mut digits, score),
        }
        elements.extend([member.to_vec(), digits]);
    }
    let mut payload = vec![kind::ZSET_LISTPACK];
    input::write_string(&mut payload, &listpack::encode(elements.iter().map(Vec::as_slice)));
    seal(payload)
}

/// Reads pairs with scores of 8 bytes.
pub(super) fn pairs(input: &mut Input<'_>) -> Option<Decoded> {
    read(input, |input| Some(f64::from_le_bytes(input.array()?)))
}

/// Reads pairs with scores that are text.
pub(super) fn texts(input: &mut Input<'_>) -> Option<Decoded> {
    read(input, |input| match input.byte()? {
        TEXT_NAN => None,
        TEXT_INFINITE => Some(f64::INFINITY),
        TEXT_NEGATIVE_INFINITE => Some(f64::NEG_INFINITY),
        len => parse_f64(input.take(len.into())?),
    })
}

fn read<'a>(
    input: &mut Input<'a>,
    mut score: impl FnMut(&mut Input<'a>) -> Option<f64>,
) -> Option<Decoded> {
    let mut zset = Builder::default();
    // The claimed length is not trusted: each iteration needs bytes that exist.
    for _ in 0..input.length()? {
        let member = input.string()?;
        let score = score(input)?;
        zset.push(member, score)?;
    }
    zset.finish()
}

/// Reads members and scores from `elements`, the reader of a listpack or a ziplist.
pub(super) fn packed<'a>(
    packed: &'a [u8],
    elements: impl FnOnce(&'a [u8], &mut dyn FnMut(Cow<'a, [u8]>) -> Option<()>) -> Option<()>,
) -> Option<Decoded> {
    let (mut zset, mut member) = (Builder::default(), None);
    elements(packed, &mut |element| match member.take() {
        None => {
            member = Some(element);
            Some(())
        }
        Some(member) => zset.push(member, parse_f64(&element)?),
    })?;
    if member.is_some() {
        return None;
    }
    zset.finish()
}

/// A sorted set that is built member by member. A repeated member is noticed at once, not at the
/// end, so a payload of many copies of the shortest cannot make this large.
#[derive(Default)]
struct Builder<'a> {
    members: Vec<(Vec<u8>, f64)>,
    seen: HashSet<Cow<'a, [u8]>>,
}

impl<'a> Builder<'a> {
    /// Adds a member; `None` when it is repeated or its score is NaN.
    fn push(&mut self, member: Cow<'a, [u8]>, score: f64) -> Option<()> {
        self.members.push((member.to_vec(), score));
        (!score.is_nan() && self.seen.insert(member)).then_some(())
    }

    /// Returns the sorted set; `None` when it is empty.
    fn finish(self) -> Option<Decoded> {
        (!self.members.is_empty()).then_some(Decoded::Zset(self.members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rdb::RestoreError;
    use crate::rdb::tests::decode_known;
    use proptest::prelude::*;

    fn sealed(value: &[u8]) -> Result<Decoded, RestoreError> {
        decode_known(&seal(value.to_vec()))
    }

    fn whole(score: f64) -> Option<i64> {
        (score.fract() == 0.0).then_some(score as i64)
    }

    fn members(members: &[(&[u8], f64)]) -> Vec<(Vec<u8>, f64)> {
        members.iter().map(|&(member, score)| (member.to_vec(), score)).collect()
    }

    /// Recorded from the reference server's DUMP.
    #[test]
    fn payloads_are_the_references() {
        let small: [(&[u8], f64, &[u8]); 3] = [
            (
                b"m",
                1.0,
                b"\x11\x0c\x0c\x00\x00\x00\x02\x00\x81m\x02\x01\x01\xff\x0a\x00&\xe3\xfd\x9d\xdd}n\xcb",
            ),
            (
                b"b",
                0.5,
                b"\x11\x0f\x0f\x00\x00\x00\x02\x00\x81b\x02\x830.5\x04\xff\x0a\x00\xc5\xbbx\x9e%\xe3\
                  \x22!",
            ),
            (
                b"m",
                1e17,
                b"\x11\x14\x14\x00\x00\x00\x02\x00\x81m\x02\xf4\x00\x00\x8a]xEc\x01\x09\xff\x0a\x00\
                  \xa5c_\xc8\xa0\xa2KM",
            ),
        ];
        for (member, score, payload) in small {
            assert_eq!(encode_packed_zset([(member, score)], whole), payload);
            assert_eq!(decode_known(payload), Ok(Decoded::Zset(members(&[(member, score)]))));
        }
        let all: [(&[u8], f64); 3] = [(b"b", 2.5), (b"a", 1.0), (b"12", f64::NEG_INFINITY)];
        let payload =
            b"\x05\x03\x01b\x00\x00\x00\x00\x00\x00\x04@\x01a\x00\x00\x00\x00\x00\x00\xf0?\
                        \xc0\x0c\x00\x00\x00\x00\x00\x00\xf0\xff\x0a\x00N\xf7o\xac(w\xe3|";
        assert_eq!(encode_zset(all.len(), all), payload);
        assert_eq!(decode_known(payload), Ok(Decoded::Zset(members(&all))));
    }

    #[test]
    fn older_forms_are_read() {
        let texts = b"\x03\x03\x01a\x011\x01b\xfe\x01c\xff";
        let all = members(&[(b"a", 1.0), (b"b", f64::INFINITY), (b"c", f64::NEG_INFINITY)]);
        assert_eq!(sealed(texts), Ok(Decoded::Zset(all)));
        let ziplist = b"\x0c\x13\x13\0\0\0\x0d\0\0\0\x02\0\0\x01a\x03\x032.5\xff";
        assert_eq!(sealed(ziplist), Ok(Decoded::Zset(members(&[(b"a", 2.5)]))));
    }

    #[test]
    fn bad_sorted_sets_are_refused() {
        let one = 1.0_f64.to_le_bytes();
        let pairs = |count: &[u8], members: &[&[u8]]| {
            [&[kind::ZSET_PAIRS], count, &members.concat()].concat()
        };
        let listed = |elements: &[&[u8]]| {
            let packed = listpack::encode(elements.iter().copied());
            [&[kind::ZSET_LISTPACK, packed.len() as u8], &packed[..]].concat()
        };
        let claim = [0x81, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF];
        let nan = f64::NAN.to_le_bytes();
        let cases: &[(&str, Vec<u8>)] = &[
            ("nothing", pairs(&[0], &[])),
            ("a score cut short", pairs(&[1], &[b"\x01a", &one[..7]])),
            ("no score", pairs(&[1], &[b"\x01a"])),
            ("fewer than claimed", pairs(&[2], &[b"\x01a", &one])),
            ("a claim of 2^64", pairs(&claim, &[b"\x01a", &one])),
            ("not a number", pairs(&[1], &[b"\x01a", &nan])),
            ("a member twice", pairs(&[2], &[b"\x01a", &one, b"\x01a", &one])),
            ("twice, once as an integer", pairs(&[2], &[b"\xc0\x01", &one, b"\x011", &one])),
            ("texts of nothing", b"\x03\x00".to_vec()),
            ("a text that is not a number", b"\x03\x01\x01a\xfd".to_vec()),
            ("a text that is none", b"\x03\x01\x01a\x01x".to_vec()),
            ("a text cut short", b"\x03\x01\x01a\x051".to_vec()),
            ("a listpack of nothing", listed(&[])),
            ("a listpack of a member alone", listed(&[b"a"])),
            ("a listpack with a member twice", listed(&[b"a", b"1", b"a", b"2"])),
            ("a listpack with a score that is none", listed(&[b"a", b"b"])),
            ("a listpack with nan", listed(&[b"a", b"nan"])),
            ("a listpack with no score in the end", listed(&[b"a", b"1", b"b"])),
        ];
        for (what, value) in cases {
            assert_eq!(sealed(value), Err(RestoreError::BadFormat), "{what}");
        }
    }

    proptest! {
        #[test]
        fn sorted_sets_come_back(
            all in prop::collection::btree_map(
                prop::collection::vec(any::<u8>(), 0..80),
                prop::num::f64::NORMAL | prop::num::f64::ZERO | prop::num::f64::INFINITE,
                1..50,
            ),
        ) {
            let all: Vec<(Vec<u8>, f64)> = all.into_iter().collect();
            let pairs = || all.iter().map(|(member, score)| (&member[..], *score));
            let decoded = Ok(Decoded::Zset(all.clone()));
            prop_assert_eq!(decode_known(&encode_zset(all.len(), pairs())), decoded.clone());
            prop_assert_eq!(decode_known(&encode_packed_zset(pairs(), |_| None)), decoded);
        }
    }
}
