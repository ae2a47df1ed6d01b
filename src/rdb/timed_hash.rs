//! A hash some of whose fields expire.
//!
//! ```text
//! Redis   24   the earliest end, 8 bytes LE | length | end, field, value, ...
//!              an end is a length: 0 for none, else 1 more than the milliseconds after the earliest
//! Redis   25   the earliest end | a string holding a listpack of field, value, end, ...
//!              in the order of the ends, which are times; 0 for none, and last
//! Valkey  22   length | field, value, end as 8 bytes LE, ...; -1 for none
//! ```
//!
//! Ends are milliseconds since the epoch. Measured on Redis 8.2.3 and Valkey 9.1.2.

use super::input::{self, Input};
use super::{Decoded, Known, listpack};
use std::collections::HashSet;

/// A field, its value, and its end.
type Triple = (Vec<u8>, Vec<u8>, Option<i64>);

/// The same, borrowed.
pub(crate) type TimedPair<'a> = (&'a [u8], &'a [u8], Option<i64>);

pub(super) mod kind {
    pub(in crate::rdb) const VALKEY: u8 = 22;
    pub(in crate::rdb) const PLAIN: u8 = 24;
    pub(in crate::rdb) const LISTPACK: u8 = 25;
}

/// The end of a field that does not expire, in Valkey's payload.
const NEVER: i64 = -1;

/// Encodes a hash of which at least one field expires, without a footer; the fields must differ.
/// `is_packed` means that it is small enough for a listpack.
pub(super) fn encode(mut pairs: Vec<TimedPair<'_>>, known: Known, is_packed: bool) -> Vec<u8> {
    let mut payload = Vec::new();
    if known == Known::Valkey9 {
        payload.push(kind::VALKEY);
        input::write_length(&mut payload, pairs.len());
        for (field, value, end) in pairs {
            input::write_string(&mut payload, field);
            input::write_string(&mut payload, value);
            payload.extend(end.unwrap_or(NEVER).to_le_bytes());
        }
        return payload;
    }
    let earliest = pairs.iter().filter_map(|(.., end)| *end).min().unwrap_or_default();
    payload.push(if is_packed { kind::LISTPACK } else { kind::PLAIN });
    payload.extend(earliest.to_le_bytes());
    if is_packed {
        pairs.sort_by_key(|(.., end)| end.map_or(u64::MAX, |end| end as u64));
        let ends: Vec<String> =
            pairs.iter().map(|(.., end)| end.unwrap_or_default().to_string()).collect();
        let all = pairs.iter().zip(&ends);
        let elements = all.flat_map(|(&(field, value, _), end)| [field, value, end.as_bytes()]);
        input::write_string(&mut payload, &listpack::encode(elements));
        return payload;
    }
    input::write_length(&mut payload, pairs.len());
    for (field, value, end) in pairs {
        let after = end.map_or(0, |end| end.abs_diff(earliest) + 1);
        input::write_length(&mut payload, usize::try_from(after).unwrap_or(usize::MAX));
        input::write_string(&mut payload, field);
        input::write_string(&mut payload, value);
    }
    payload
}

/// Reads the value of a type of Redis or of Valkey.
pub(super) fn read(input: &mut Input<'_>, kind: u8) -> Option<Decoded> {
    let mut hash = Builder::default();
    match kind {
        kind::VALKEY => {
            for _ in 0..input.length()? {
                let (field, value) = (input.string()?.into_owned(), input.string()?.into_owned());
                let end = i64::from_le_bytes(input.array()?);
                hash.push((field, value, (end != NEVER).then_some(end)))?;
            }
        }
        kind::PLAIN => {
            let earliest = i64::from_le_bytes(input.array()?);
            for _ in 0..input.length()? {
                let end = match input.length()? {
                    0 => None,
                    after => Some(earliest.checked_add(i64::try_from(after - 1).ok()?)?),
                };
                let (field, value) = (input.string()?.into_owned(), input.string()?.into_owned());
                hash.push((field, value, end))?;
            }
        }
        _ => {
            let _earliest: [u8; 8] = input.array()?;
            let packed = input.string()?;
            let mut elements = Vec::new();
            listpack::read(&packed, |element| {
                elements.push(element.into_owned());
                let [_, _, end] = &elements[..] else { return Some(()) };
                let end = std::str::from_utf8(end).ok()?.parse::<i64>().ok()?;
                let (value, field) = (elements.swap_remove(1), elements.swap_remove(0));
                elements.clear();
                hash.push((field, value, (end != 0).then_some(end)))
            })?;
            if !elements.is_empty() {
                return None;
            }
        }
    }
    hash.finish()
}

/// A hash that is built field by field; see `HashBuilder`.
#[derive(Default)]
struct Builder {
    triples: Vec<Triple>,
    fields: HashSet<Vec<u8>>,
}

impl Builder {
    /// Adds a field; `None` if it is there already, or its end is not a time.
    fn push(&mut self, triple: Triple) -> Option<()> {
        let is_time = triple.2.is_none_or(|end| end >= 0);
        (is_time && self.fields.insert(triple.0.clone())).then(|| self.triples.push(triple))
    }

    /// Returns the hash; `None` when it is empty.
    fn finish(self) -> Option<Decoded> {
        (!self.triples.is_empty()).then_some(Decoded::TimedHash(self.triples))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rdb::{decode, encode_timed_hash};
    use proptest::prelude::*;

    fn triple() -> impl Strategy<Value = (Vec<u8>, Vec<u8>, Option<i64>)> {
        let text = || {
            prop_oneof![
                any::<i64>().prop_map(|n| n.to_string().into_bytes()),
                prop::collection::vec(any::<u8>(), 0..90),
            ]
        };
        (
            text(),
            text(),
            prop::option::of(prop_oneof![0..1_i64 << 46, 1_900_000_000_000..1_900_000_009_999_i64]),
        )
    }

    proptest! {
        #[test]
        fn reads_what_it_writes(triples in prop::collection::vec(triple(), 1..40)) {
            let mut seen = HashSet::new();
            // An end of 0 cannot be told from none in a listpack.
            let mut triples: Vec<Triple> = triples.into_iter()
                .map(|(field, value, end)| (field, value, end.filter(|&end| end > 0)))
                .filter(|(field, ..)| seen.insert(field.clone()))
                .collect();
            triples[0].2 = Some(1);
            triples.sort();
            for known in [Known::Redis8, Known::Valkey9] {
                let pairs = triples.iter().map(|(field, value, end)| (&field[..], &value[..], *end));
                let payload = encode_timed_hash(pairs.collect(), known);
                let Ok(Decoded::TimedHash(mut decoded)) = decode(&payload, known) else {
                    panic!("a payload is not read: {payload:?}")
                };
                decoded.sort();
                prop_assert_eq!(&decoded, &triples);
                prop_assert!(decode(&payload, Known::Redis7).is_err());
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200), kind in 22_u8..26) {
            let _ = read(&mut Input::new(&bytes), kind);
        }
    }
}
