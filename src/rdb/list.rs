//! Lists in payloads: nodes of elements, and the older forms of them.
//!
//! ```text
//! 18   nodes, then for each its kind, and a string
//!        2   that holds a listpack of elements                              read, written
//!        1   that is one long element                                       read, written
//! 14   nodes, then for each a string that holds a ziplist                   read
//! 10   a string that holds a ziplist                                        read
//! 1    length, then as many strings                                         read
//! ```
//!
//! A node without elements is skipped, but a list must have at least one element.

use std::ops::Deref;

use super::input::{self, Input};
use super::{Decoded, kind, listpack, seal, ziplist};

/// The kinds of nodes.
mod node {
    pub(super) const PLAIN: usize = 1;
    pub(super) const PACKED: usize = 2;
}

/// An element of this length or more is stored as a node of its own, without a listpack around it.
const PLAIN_BYTES: usize = 1 << 30;
/// The overhead that Redis assumes for an element in a listpack when it checks whether a node has
/// room for it.
const ENTRY_BYTES: usize = 8;
/// A node limited by its number of elements stays below this size, whatever the number.
const NODE_BYTES_MAX: usize = 8192;

/// The elements of a list in one buffer, since a small payload may hold very many.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Elements(
    /// A length and as many bytes for each.
    Vec<u8>,
);

impl Elements {
    fn push(&mut self, element: &[u8]) {
        input::write_length(&mut self.0, element.len());
        self.0.extend_from_slice(element);
    }

    /// Returns the elements in their order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let mut input = Input::new(&self.0);
        std::iter::from_fn(move || {
            let length = input.length()?;
            input.take(length)
        })
    }

    fn finish(self) -> Option<Decoded> {
        (!self.0.is_empty()).then_some(Decoded::List(self))
    }
}

/// Encodes a list in nodes as `list-max-listpack-size` says: a number of elements if positive, else
/// -1 to -5 for 4 KiB to 64 KiB. The nodes are those that RPUSH of all elements would make in
/// Redis.
#[must_use]
pub(crate) fn encode_list(
    elements: impl IntoIterator<Item: Deref<Target = [u8]>>,
    node_setting: i64,
) -> Vec<u8> {
    let (mut nodes, mut body, mut open) = (0, Vec::new(), listpack::Writer::default());
    let mut write = |kind: usize, bytes: &[u8]| {
        nodes += 1;
        input::write_length(&mut body, kind);
        input::write_string(&mut body, bytes);
    };
    for element in elements {
        let is_plain = element.len() >= PLAIN_BYTES;
        let fits = !is_plain && has_room(&open, element.len(), node_setting);
        if open.count() > 0 && !fits {
            write(node::PACKED, &std::mem::take(&mut open).finish());
        }
        if is_plain {
            write(node::PLAIN, &element);
        } else {
            open.push(&element);
        }
    }
    if open.count() > 0 {
        write(node::PACKED, &open.finish());
    }
    let mut payload = vec![kind::LIST_NODES];
    input::write_length(&mut payload, nodes);
    payload.extend_from_slice(&body);
    seal(payload)
}

/// Returns whether Redis would put an element of `length` bytes into the node.
fn has_room(node: &listpack::Writer, length: usize, node_setting: i64) -> bool {
    let size = node.size() + length + ENTRY_BYTES;
    match node_setting {
        ..=-1 => size <= (4096 << (-1 - node_setting.max(-5))),
        count_max => size <= NODE_BYTES_MAX && i64::from(node.count()) < count_max,
    }
}

/// Reads a sequence of strings; `None` when it is empty.
pub(super) fn strings(input: &mut Input<'_>) -> Option<Decoded> {
    let mut elements = Elements::default();
    // The claimed length is not trusted: each iteration needs bytes that exist.
    for _ in 0..input.length()? {
        elements.push(&input.string()?);
    }
    elements.finish()
}

/// Reads a single ziplist.
pub(super) fn zipped(input: &mut Input<'_>) -> Option<Decoded> {
    let mut elements = Elements::default();
    read_ziplist(input, &mut elements)?;
    elements.finish()
}

/// Reads nodes that are ziplists.
pub(super) fn zipped_nodes(input: &mut Input<'_>) -> Option<Decoded> {
    let mut elements = Elements::default();
    for _ in 0..input.length()? {
        read_ziplist(input, &mut elements)?;
    }
    elements.finish()
}

/// Reads nodes, each of its kind.
pub(super) fn nodes(input: &mut Input<'_>) -> Option<Decoded> {
    let mut elements = Elements::default();
    for _ in 0..input.length()? {
        let kind = input.length()?;
        let bytes = input.string()?;
        match kind {
            node::PLAIN if !bytes.is_empty() => elements.push(&bytes),
            node::PACKED => listpack::read(&bytes, |element| {
                elements.push(&element);
                Some(())
            })?,
            _ => return None,
        }
    }
    elements.finish()
}

fn read_ziplist(input: &mut Input<'_>, elements: &mut Elements) -> Option<()> {
    ziplist::read(&input.string()?, |element| {
        elements.push(&element);
        Some(())
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::decode_known;
    use super::super::{FOOTER_BYTES, RestoreError};
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    /// Payloads in parts, and the elements in them.
    type Cases<'a> = [(&'a [&'a [u8]], &'a [&'a [u8]])];

    fn elements_of(value: &[u8]) -> Result<Vec<Vec<u8>>, RestoreError> {
        decode_known(&seal(value.to_vec())).map(|decoded| match decoded {
            Decoded::List(elements) => elements.iter().map(<[u8]>::to_vec).collect(),
            other => panic!("{other:?} is no list"),
        })
    }

    const ONE: &[u8] = b"\x0a\x0a\0\0\0\x01\0\x81a\x02\xff";
    const NONE: &[u8] = b"\x07\x07\0\0\0\0\0\xff";
    const ZIP: &[u8] = b"\x0e\x0e\0\0\0\x0a\0\0\0\x01\0\0\x01b\xff";
    const ZIP_NONE: &[u8] = b"\x0b\x0b\0\0\0\x0a\0\0\0\0\0\xff";

    /// What the reference server was seen to restore, and to what.
    #[test]
    fn every_form_is_read() {
        let cases: &Cases<'_> = &[
            (&[b"\x01\x02\x01a\x01b"], &[b"a", b"b"]),
            (&[b"\x01\x02\x00\xc0\x05 and more"], &[b"", b"5"]),
            (&[b"\x0a", ZIP], &[b"b"]),
            (&[b"\x0e\x02", ZIP, ZIP], &[b"b", b"b"]),
            (&[b"\x0e\x02", ZIP_NONE, ZIP], &[b"b"]),
            (&[b"\x12\x01\x02", ONE], &[b"a"]),
            (&[b"\x12\x01\x40\x02", ONE], &[b"a"]),
            (&[b"\x12\x02\x02", NONE, b"\x02", ONE], &[b"a"]),
            (&[b"\x12\x02\x01\x03abc\x02", ONE], &[b"abc", b"a"]),
            (&[b"\x12\x01\x01\xc0\x05"], &[b"5"]),
        ];
        for &(value, elements) in cases {
            let value = value.concat();
            assert_eq!(
                elements_of(&value).as_deref(),
                Ok(&elements.iter().map(|e| e.to_vec()).collect::<Vec<_>>()[..]),
                "{}",
                value.escape_ascii()
            );
        }
    }

    /// What the reference server was seen to refuse.
    #[test]
    fn what_is_malformed_or_empty_is_refused() {
        let cases: [&[&[u8]]; 13] = [
            &[b"\x01\x00"],
            &[b"\x01\x02\x01a"],
            &[b"\x01\x81\xff\xff\xff\xff\xff\xff\xff\xff\x01a"],
            &[b"\x0a", ZIP_NONE],
            &[b"\x0e\x00"],
            &[b"\x0e\x01", ZIP_NONE],
            &[b"\x12\x00"],
            &[b"\x12\x01\x02", NONE],
            &[b"\x12\x01\x01\x00"],
            &[b"\x12\x01\x03", ONE],
            &[b"\x12\x02\x02", ONE],
            &[b"\x12\x02\x02", ONE, b"\x02\x01x"],
            &[b"\x12\x81\xff\xff\xff\xff\xff\xff\xff\xff"],
        ];
        for value in cases {
            let value = value.concat();
            assert_eq!(
                elements_of(&value),
                Err(RestoreError::BadFormat),
                "{}",
                value.escape_ascii()
            );
        }
    }

    /// Recorded from the reference server's DUMP.
    #[test]
    fn a_small_list_is_the_reference_servers_bytes() {
        let elements: [&[u8]; 6] = [b"a", b"1", b"300", b"-5000", b"70000", b"hello world"];
        let payload = b"\x12\x01\x02%%\x00\x00\x00\x06\x00\x81a\x02\x01\x01\xc1,\x02\xf1x\xec\x03\
            \xf2p\x11\x01\x04\x8bhello world\x0c\xff\n\x00\x91\xa7\xd6)l\xf4\x853";
        assert_eq!(encode_list(elements, -2), payload);
    }

    #[test]
    fn long_lists_come_back_from_many_nodes() {
        for setting in [-5, -2, -1, 0, 1, 7] {
            let elements: Vec<_> = (0..5000_usize)
                .map(
                    |n| if n % 1000 == 0 { vec![b'x'; 20 * n] } else { n.to_string().into_bytes() },
                )
                .collect();
            let payload = encode_list(elements.iter().map(|element| &element[..]), setting);
            assert_eq!(elements_of(&payload[..payload.len() - 10]), Ok(elements));
        }
    }

    proptest! {
        /// A valid footer may follow any bytes. An accepted payload must be sound: its value
        /// encodes and decodes again.
        #[test]
        fn changed_payloads_are_refused_or_sound(
            elements in vec(vec(any::<u8>(), 0..20), 1..9),
            form in 0..4,
            changes in vec((any::<prop::sample::Index>(), any::<u8>(), 0_u8..3), 0..4),
        ) {
            let mut payload = match form {
                0 => encode_list(elements.iter().map(|element| &element[..]), 2),
                1 => [&b"\x0e\x02"[..], ZIP, ZIP_NONE, &[0; FOOTER_BYTES]].concat(),
                2 => [&b"\x0a"[..], ZIP, &[0; FOOTER_BYTES]].concat(),
                _ => b"\x01\x02\x01a\x01b0123456789".to_vec(),
            };
            payload.truncate(payload.len() - FOOTER_BYTES);
            for (at, byte, how) in changes {
                let at = at.index(payload.len());
                match how {
                    0 => payload[at] = byte,
                    1 => payload.insert(at, byte),
                    _ if payload.len() > 1 => drop(payload.remove(at)),
                    _ => {}
                }
            }
            match decode_known(&seal(payload)) {
                Ok(Decoded::List(elements)) => {
                    let again = encode_list(elements.iter(), -2);
                    prop_assert_eq!(decode_known(&again), Ok(Decoded::List(elements)));
                }
                // The first byte may have become another type's.
                Ok(_) => {}
                Err(error) => prop_assert_eq!(error, RestoreError::BadFormat),
            }
        }
    }
}
