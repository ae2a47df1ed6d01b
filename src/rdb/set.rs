//! Sets in payloads.
//!
//! ```text
//! plain      length, then as many strings
//! packed     a string holding a listpack of members
//! integers   a string: width 4, LE | members 4, LE | member in `width` bytes, LE | …
//! ```
//!
//! The width is 2, 4 or 8, the members ascend.

use std::collections::HashSet;
use std::ops::Deref;

use super::input::{self, Input};
use super::{Decoded, kind, listpack, seal};

/// Bytes before the first member.
const HEADER_BYTES: usize = 4 + 4;

/// Encodes a set of `len` members. They must differ and there must be at least one; otherwise
/// decoding refuses the payload.
#[must_use]
pub(crate) fn encode_set(
    len: usize,
    members: impl IntoIterator<Item: Deref<Target = [u8]>>,
) -> Vec<u8> {
    let mut payload = vec![kind::SET];
    input::write_length(&mut payload, len);
    for member in members {
        input::write_string(&mut payload, &member);
    }
    seal(payload)
}

/// Encodes a set of `len` integers, which must ascend and fit `width` bytes: 2, 4 or 8. There must
/// be at least one.
/// 8. There must be one at least.
#[must_use]
pub(crate) fn encode_integers(
    width: usize,
    len: usize,
    members: impl IntoIterator<Item = i64>,
) -> Vec<u8> {
    let mut packed = Vec::with_capacity(HEADER_BYTES + len * width);
    packed.extend_from_slice(&(width as u32).to_le_bytes());
    packed.extend_from_slice(&(len as u32).to_le_bytes());
    for member in members {
        packed.extend_from_slice(&member.to_le_bytes()[..width]);
    }
    let mut payload = vec![kind::SET_INTEGERS];
    input::write_string(&mut payload, &packed);
    seal(payload)
}

/// Reads a plain set; `None` when it is empty or repeats a member.
pub(super) fn plain(input: &mut Input<'_>) -> Option<Decoded> {
    let mut members = HashSet::new();
    let mut ordered = Vec::new();
    // The claimed length is not trusted: each iteration needs bytes that exist.
    for _ in 0..input.length()? {
        let member = input.string()?;
        // Noticed at once, so that a payload of many copies of the shortest member stays small.
        if !members.insert(member.clone()) {
            return None;
        }
        ordered.push(member.into_owned());
    }
    (!ordered.is_empty()).then_some(Decoded::Set(ordered))
}

/// Reads a packed set; `None` when it is empty or repeats a member.
pub(super) fn packed(packed: &[u8]) -> Option<Decoded> {
    let (mut members, mut ordered) = (HashSet::new(), Vec::new());
    listpack::read(packed, |member| {
        ordered.push(member.to_vec());
        members.insert(member).then_some(())
    })?;
    (!ordered.is_empty()).then_some(Decoded::Set(ordered))
}

/// Reads a set of integers; `None` when it is empty or its members do not ascend.
pub(super) fn integers(packed: &[u8]) -> Option<Decoded> {
    let mut header = Input::new(packed);
    let width = u32::from_le_bytes(header.array()?) as usize;
    let len = u32::from_le_bytes(header.array()?) as usize;
    let members = header.rest();
    if ![2, 4, 8].contains(&width) || len.checked_mul(width)? != members.len() {
        return None;
    }
    let read = |member: &[u8]| {
        // The bytes go to the top, so that the arithmetic shift extends the sign.
        let mut bytes = [0; 8];
        bytes[8 - width..].copy_from_slice(member);
        i64::from_le_bytes(bytes) >> (64 - 8 * width)
    };
    let members: Vec<i64> = members.chunks(width).map(read).collect();
    let ascend = members.is_sorted_by(|a, b| a < b);
    (ascend && !members.is_empty()).then_some(Decoded::Integers { width, members })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rdb::tests::decode_known;
    use crate::rdb::{FOOTER_BYTES, RestoreError};
    use proptest::prelude::*;

    fn sealed(value: &[u8]) -> Result<Decoded, RestoreError> {
        decode_known(&seal(value.to_vec()))
    }

    /// Recorded from the reference server's DUMP.
    #[test]
    fn payloads_are_the_references() {
        let payload = b"\x02\x01\x05hello\n\x004\x98\xac\x0e\xe7\xd46a";
        assert_eq!(encode_set(1, [&b"hello"[..]]), payload);
        assert_eq!(decode_known(payload), Ok(Decoded::Set(vec![b"hello".to_vec()])));
        let integers: &[(&[i64], usize, &[u8])] = &[
            (&[1], 2, b"\x0b\n\x02\0\0\0\x01\0\0\0\x01\0\n\0\x05oa)\x0cI\x054"),
            (
                &[-2, 1, 300],
                2,
                b"\x0b\x0e\x02\0\0\0\x03\0\0\0\xfe\xff\x01\0,\x01\n\0[\n\xa8b\xf7\x94`\n",
            ),
            (
                &[1, 70_000],
                4,
                b"\x0b\x10\x04\0\0\0\x02\0\0\0\x01\0\0\0p\x11\x01\0\n\0'5Cn\xfdfV\xc4",
            ),
        ];
        for &(members, width, payload) in integers {
            assert_eq!(encode_integers(width, members.len(), members.iter().copied()), payload);
            let members = members.to_vec();
            assert_eq!(decode_known(payload), Ok(Decoded::Integers { width, members }));
        }
        // Compressed.
        let payload = b"\x0b\xc3\x12\x18\x04\x08\0\0\0\x02 \x03\xa0\0\x01\x80\x05`\x08\x01\0\0\n\0\
                        3\xd9\xd0't@&\xbc";
        let members = vec![i64::MIN, 5];
        assert_eq!(decode_known(payload), Ok(Decoded::Integers { width: 8, members }));
    }

    #[test]
    fn bad_sets_are_refused() {
        let ints = |packed: &[u8]| [&[11, packed.len() as u8][..], packed].concat();
        let cases: &[(&str, Vec<u8>)] = &[
            ("nothing", b"\x02\x00".to_vec()),
            ("a member twice", b"\x02\x02\x01a\x01a".to_vec()),
            ("a member twice, once as an integer", b"\x02\x02\xc0\x01\x011".to_vec()),
            ("cut short", b"\x02\x02\x01a".to_vec()),
            ("a claim of 2^64", b"\x02\x81\xff\xff\xff\xff\xff\xff\xff\xff\x01a".to_vec()),
            ("no integers", ints(b"\x02\0\0\0\0\0\0\0")),
            ("a header alone", ints(b"\x02\0\0\0\x01\0\0\0")),
            ("half a header", ints(b"\x02\0\0\0\x01\0")),
            ("a width of 3", ints(b"\x03\0\0\0\x01\0\0\0\x01\0\0")),
            ("a width of 0", ints(b"\0\0\0\0\x01\0\0\0")),
            ("fewer than claimed", ints(b"\x02\0\0\0\x02\0\0\0\x01\0")),
            ("more than claimed", ints(b"\x02\0\0\0\x01\0\0\0\x01\0\x02\0")),
            ("a claim of 2^32", ints(b"\x08\0\0\0\xff\xff\xff\xff\x01\0\0\0\0\0\0\0")),
            ("equal ones", ints(b"\x02\0\0\0\x02\0\0\0\x01\0\x01\0")),
            ("descending ones", ints(b"\x02\0\0\0\x02\0\0\0\x01\0\xff\xff")),
        ];
        for (what, value) in cases {
            assert_eq!(sealed(value), Err(RestoreError::BadFormat), "{what}");
        }
        let wide = ints(b"\x04\0\0\0\x02\0\0\0\xff\xff\xff\xff\x01\0\0\0");
        assert_eq!(sealed(&wide), Ok(Decoded::Integers { width: 4, members: vec![-1, 1] }));
    }

    proptest! {
        #[test]
        fn sets_come_back(members in prop::collection::hash_set(prop::collection::vec(any::<u8>(), 0..30), 1..40)) {
            let members: Vec<_> = members.into_iter().collect();
            prop_assert_eq!(decode_known(&encode_set(members.len(), members.iter().map(Vec::as_slice))), Ok(Decoded::Set(members)));
        }

        #[test]
        fn integers_come_back(
            members in prop::collection::btree_set(any::<i64>(), 1..40),
            width in prop::sample::select(&[2_usize, 4, 8][..]),
        ) {
            let mut members: Vec<_> = members.into_iter().map(|n| n >> (64 - 8 * width)).collect();
            members.dedup();
            let payload = encode_integers(width, members.len(), members.iter().copied());
            prop_assert_eq!(decode_known(&payload), Ok(Decoded::Integers { width, members }));
        }

        /// An accepted payload must be sound: its value encodes and decodes again.
        #[test]
        fn changed_sets_are_refused_or_sound(
            members in prop::collection::btree_set(-300_i64..300, 1..12),
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
            plain: bool,
        ) {
            let mut payload = if plain {
                encode_set(members.len(), members.iter().map(|n| n.to_string().into_bytes()))
            } else {
                encode_integers(2, members.len(), members)
            };
            payload.truncate(payload.len() - FOOTER_BYTES);
            for (at, byte) in changes {
                let at = 1 + at.index(payload.len() - 1);
                payload[at] = byte;
            }
            match sealed(&payload) {
                Ok(Decoded::Set(members)) => {
                    let again = encode_set(members.len(), members.iter().map(Vec::as_slice));
                    prop_assert_eq!(decode_known(&again), Ok(Decoded::Set(members)));
                }
                Ok(Decoded::Integers { width, members }) => {
                    let again = encode_integers(width, members.len(), members.iter().copied());
                    prop_assert_eq!(decode_known(&again), Ok(Decoded::Integers { width, members }));
                }
                Ok(other) => prop_assert!(false, "{:?}", other),
                Err(error) => prop_assert_eq!(error, RestoreError::BadFormat),
            }
        }
    }
}
