//! Steps over the elements of a listpack that is known to be valid, forwards and backwards: those of
//! the nodes of a stream, which are kept as listpacks. Payloads are validated by [`super::listpack`].
//!
//! Offsets are those of an element's first byte. A malformed listpack ends a walk early.

use super::listpack;
use crate::text::number;

/// An element as it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PackedElement<'a> {
    /// An integer.
    Int(i64),
    /// A string.
    Text(&'a [u8]),
}

impl PackedElement<'_> {
    /// Returns whether its text is `text`.
    #[must_use]
    #[inline]
    pub(crate) fn is(self, text: &[u8]) -> bool {
        match self {
            Self::Text(its) => its == text,
            Self::Int(value) => number::parse_i64(text) == Some(value),
        }
    }

    /// Returns the integer that it is, also as a text.
    #[must_use]
    #[inline]
    pub(crate) fn integer(self) -> Option<i64> {
        match self {
            Self::Int(value) => Some(value),
            Self::Text(text) => number::parse_i64(text),
        }
    }
}

/// Returns the bytes of an element's encoding and content, without its backward length.
#[inline]
fn content_len(bytes: &[u8], at: usize) -> Option<usize> {
    Some(match *bytes.get(at)? {
        0x00..=0x7F => 1,
        first @ 0x80..=0xBF => 1 + usize::from(first & 0x3F),
        0xC0..=0xDF => 2,
        first @ 0xE0..=0xEF => {
            2 + (usize::from(first & 0x0F) << 8 | usize::from(*bytes.get(at + 1)?))
        }
        0xF0 => {
            let len = bytes.get(at + 1..)?.first_chunk()?;
            5 + usize::try_from(u32::from_le_bytes(*len)).ok()?
        }
        0xF1 => 3,
        0xF2 => 4,
        0xF3 => 5,
        0xF4 => 9,
        _ => return None,
    })
}

/// Returns the offset behind the element at `at`.
#[inline]
pub(crate) fn after(bytes: &[u8], at: usize) -> Option<usize> {
    let len = content_len(bytes, at)?;
    Some(at + len + listpack::backward_len(len))
}

/// Returns the element at `at` and the offset behind it; `None` at the end of the listpack.
#[inline]
pub(crate) fn element_at(bytes: &[u8], at: usize) -> Option<(PackedElement<'_>, usize)> {
    let len = content_len(bytes, at)?;
    let content = bytes.get(at..at + len)?;
    let text = |head: usize| PackedElement::Text(&content[head..]);
    let element = match *content {
        [first @ 0x00..=0x7F] => PackedElement::Int(first.into()),
        [0x80..=0xBF, ..] => text(1),
        [first @ 0xC0..=0xDF, low] => {
            // The 13 bits go to the top, so that the shift back extends their sign.
            PackedElement::Int((i16::from_be_bytes([first, low]) << 3 >> 3).into())
        }
        [0xE0..=0xEF, ..] => text(2),
        [0xF0, ..] => text(5),
        [0xF1, a, b] => PackedElement::Int(i16::from_le_bytes([a, b]).into()),
        [0xF2, a, b, c] => PackedElement::Int((i32::from_le_bytes([0, a, b, c]) >> 8).into()),
        [0xF3, a, b, c, d] => PackedElement::Int(i32::from_le_bytes([a, b, c, d]).into()),
        [0xF4, ..] => PackedElement::Int(i64::from_le_bytes(*content.get(1..)?.first_chunk()?)),
        _ => return None,
    };
    Some((element, at + len + listpack::backward_len(len)))
}

/// Returns the offset of the element before `end`, which is the offset of another one or of the end.
#[inline]
pub(crate) fn before(bytes: &[u8], end: usize) -> Option<usize> {
    let (mut len, mut at) = (0, end);
    for shift in (0..35).step_by(7) {
        at = at.checked_sub(1)?;
        let byte = *bytes.get(at)?;
        len |= usize::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            break;
        }
    }
    at.checked_sub(len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    proptest! {
        /// Both directions visit the elements that were encoded.
        #[test]
        fn walks_visit_every_element(
            elements in vec(
                prop_oneof![
                    vec(any::<u8>(), 0..200),
                    any::<i64>().prop_map(|n| n.to_string().into_bytes()),
                    (-5000..5000_i64).prop_map(|n| n.to_string().into_bytes()),
                    (0..40_000_usize).prop_map(|len| vec![b'x'; len]),
                ],
                0..20,
            ),
        ) {
            let packed = listpack::encode(elements.iter().map(|element| &element[..]));
            let (mut at, mut offsets) = (listpack::LISTPACK_HEADER_BYTES, Vec::new());
            for element in &elements {
                offsets.push(at);
                let (found, next) = element_at(&packed, at).expect("an element");
                prop_assert!(found.is(element));
                prop_assert_eq!(after(&packed, at), Some(next));
                at = next;
            }
            prop_assert_eq!(element_at(&packed, at), None);
            for &offset in offsets.iter().rev() {
                at = before(&packed, at).expect("an element before");
                prop_assert_eq!(at, offset);
            }
        }

        /// Arbitrary bytes end a walk, and nothing else.
        #[test]
        fn malformed_bytes_do_not_panic(bytes in vec(any::<u8>(), 0..40), at in 0..50_usize) {
            let _element = (element_at(&bytes, at), after(&bytes, at), before(&bytes, at));
        }
    }
}
