//! Streams in payloads.
//!
//! ```text
//! nodes      length, then as many times: id of the first entry, a string of 16 bytes | listpack, a string
//! numbers    entries | last id | 2, 3: first id | 2, 3: greatest deleted id | 2, 3: entries ever added
//! groups     length, then as many times:
//!              name, a string | last id | 2, 3: entries read | pending: length, then as many times:
//!                id, 16 bytes | time of delivery, 8, LE | count of deliveries
//!              consumers: length, then as many times:
//!                name, a string | time seen, 8, LE | 3: time active, 8, LE | pending: length, then ids
//! ```
//!
//! An id in bytes is its time and its number, 8 bytes each, big endian; in numbers it is two lengths.
//! Type 15 is version 1 of this, 19 version 2 (Redis 7.0), 21 version 3 (Redis 7.2, Valkey). The
//! listpack is described in `keyspace/stream/node.rs`.
//!
//! Beyond what the reference server verifies, the number of entries has to be that of the nodes.

use std::collections::{BTreeMap, BTreeSet};

use super::input::{self, Input};
use super::listpack_cursor::{PackedElement, element_at};
use super::{Decoded, Known, kind, listpack, seal_as};

/// The bytes of an id.
const ID_BYTES: usize = 16;
/// Flag of an entry that is deleted.
pub(crate) const ENTRY_DELETED: i64 = 1;
/// Flag of an entry that has the fields of the node's beginning.
pub(crate) const ENTRY_SAME_FIELDS: i64 = 2;

/// An id: time and number.
pub(crate) type IdPair = (u64, u64);

/// A stream in the parts of its payload.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct StreamParts {
    /// The id of each node's first entry, and the node's listpack.
    pub(crate) nodes: Vec<(IdPair, Vec<u8>)>,
    /// The number of entries.
    pub(crate) len: u64,
    pub(crate) last_id: IdPair,
    /// The id of the first entry, 0-0 if there is none. Not read, as the nodes have it.
    pub(crate) first_id: IdPair,
    pub(crate) max_deleted_id: IdPair,
    pub(crate) entries_added: u64,
    pub(crate) groups: Vec<GroupParts>,
}

/// A consumer group.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct GroupParts {
    pub(crate) name: Vec<u8>,
    pub(crate) last_id: IdPair,
    /// -1 if it is not known; `None` if the payload does not say.
    pub(crate) entries_read: Option<i64>,
    /// Each is pending with one of the consumers.
    pub(crate) pending: BTreeMap<IdPair, PendingParts>,
    pub(crate) consumers: Vec<ConsumerParts>,
}

/// A pending entry.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct PendingParts {
    pub(crate) delivered_at: i64,
    pub(crate) deliveries: u64,
}

/// A consumer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ConsumerParts {
    pub(crate) name: Vec<u8>,
    pub(crate) seen_at: i64,
    /// -1 if it was never active; `None` if the payload does not say.
    pub(crate) active_at: Option<i64>,
    pub(crate) pending: Vec<IdPair>,
}

/// Encodes a stream in the newest form that a server of these payloads has.
#[must_use]
pub(crate) fn encode_stream(parts: &StreamParts, known: Known) -> Vec<u8> {
    let has_activity = known != Known::Redis7;
    let mut out = vec![if has_activity { kind::STREAM_3 } else { kind::STREAM_2 }];
    input::write_length(&mut out, parts.nodes.len());
    for (id, packed) in &parts.nodes {
        input::write_string(&mut out, &id_bytes(*id));
        input::write_string(&mut out, packed);
    }
    write_number(&mut out, parts.len);
    for (ms, seq) in [parts.last_id, parts.first_id, parts.max_deleted_id] {
        write_number(&mut out, ms);
        write_number(&mut out, seq);
    }
    write_number(&mut out, parts.entries_added);
    input::write_length(&mut out, parts.groups.len());
    for group in &parts.groups {
        input::write_string(&mut out, &group.name);
        write_number(&mut out, group.last_id.0);
        write_number(&mut out, group.last_id.1);
        write_number(&mut out, group.entries_read.unwrap_or(-1) as u64);
        input::write_length(&mut out, group.pending.len());
        for (&id, pending) in &group.pending {
            out.extend(id_bytes(id));
            out.extend(pending.delivered_at.to_le_bytes());
            write_number(&mut out, pending.deliveries);
        }
        input::write_length(&mut out, group.consumers.len());
        for consumer in &group.consumers {
            input::write_string(&mut out, &consumer.name);
            out.extend(consumer.seen_at.to_le_bytes());
            if has_activity {
                out.extend(consumer.active_at.unwrap_or(-1).to_le_bytes());
            }
            input::write_length(&mut out, consumer.pending.len());
            consumer.pending.iter().for_each(|&id| out.extend(id_bytes(id)));
        }
    }
    seal_as(out, known.version())
}

fn write_number(out: &mut Vec<u8>, number: u64) {
    input::write_length(out, number as usize);
}

fn id_bytes((ms, seq): IdPair) -> [u8; ID_BYTES] {
    (u128::from(ms) << 64 | u128::from(seq)).to_be_bytes()
}

fn id_of(bytes: [u8; ID_BYTES]) -> IdPair {
    let both = u128::from_be_bytes(bytes);
    ((both >> 64) as u64, both as u64)
}

/// Reads a stream of a version of the layout, from 1.
pub(super) fn read(input: &mut Input<'_>, version: u8) -> Option<Decoded> {
    let mut parts = StreamParts::default();
    let (mut live, mut ids) = (0_u64, BTreeSet::new());
    for _ in 0..input.length()? {
        let id = id_of((*input.string()?).try_into().ok()?);
        let packed = input.string()?.into_owned();
        live = live.checked_add(live_entries(&packed)?)?;
        if !ids.insert(id) {
            return None;
        }
        parts.nodes.push((id, packed));
    }
    parts.len = number(input)?;
    parts.last_id = id(input)?;
    if version >= 2 {
        parts.first_id = id(input)?;
        parts.max_deleted_id = id(input)?;
        parts.entries_added = number(input)?;
    } else {
        parts.entries_added = parts.len;
    }
    if parts.len != live {
        return None;
    }
    let mut names = BTreeSet::new();
    for _ in 0..input.length()? {
        let group = group(input, version)?;
        if !names.insert(group.name.clone()) {
            return None;
        }
        parts.groups.push(group);
    }
    Some(Decoded::Stream(Box::new(parts)))
}

fn number(input: &mut Input<'_>) -> Option<u64> {
    input.length().map(|number| number as u64)
}

fn id(input: &mut Input<'_>) -> Option<IdPair> {
    Some((number(input)?, number(input)?))
}

fn time(input: &mut Input<'_>) -> Option<i64> {
    input.array().map(i64::from_le_bytes)
}

fn group(input: &mut Input<'_>, version: u8) -> Option<GroupParts> {
    let name = input.string()?.into_owned();
    let last_id = id(input)?;
    let entries_read = match version {
        1 => None,
        _ => Some(number(input)? as i64),
    };
    let mut pending = BTreeMap::new();
    for _ in 0..input.length()? {
        let id = id_of(input.array()?);
        let of = PendingParts { delivered_at: time(input)?, deliveries: number(input)? };
        if pending.insert(id, of).is_some() {
            return None;
        }
    }
    let (mut consumers, mut names, mut owned) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
    for _ in 0..input.length()? {
        let name = input.string()?.into_owned();
        if !names.insert(name.clone()) {
            return None;
        }
        let seen_at = time(input)?;
        let active_at = if version >= 3 { Some(time(input)?) } else { None };
        let mut ids = Vec::new();
        for _ in 0..input.length()? {
            let id = id_of(input.array()?);
            if !pending.contains_key(&id) || !owned.insert(id) {
                return None;
            }
            ids.push(id);
        }
        consumers.push(ConsumerParts { name, seen_at, active_at, pending: ids });
    }
    let is_owned = owned.len() == pending.len();
    is_owned.then_some(GroupParts { name, last_id, entries_read, pending, consumers })
}

/// Verifies a node to its last byte; returns how many of its entries are not deleted.
fn live_entries(packed: &[u8]) -> Option<u64> {
    listpack::read(packed, |_| Some(()))?;
    let mut at = listpack::LISTPACK_HEADER_BYTES;
    let mut next = || {
        let (element, behind) = element_at(packed, at)?;
        at = behind;
        Some(element)
    };
    let integer = |element: PackedElement<'_>| match element {
        PackedElement::Int(value) => Some(value),
        PackedElement::Text(_) => None,
    };
    let count = |value: i64| u64::try_from(value).ok();
    let live = count(integer(next()?)?)?;
    let deleted = count(integer(next()?)?)?;
    let fields = count(integer(next()?)?)?;
    for _ in 0..fields {
        next()?;
    }
    if integer(next()?)? != 0 {
        return None;
    }
    let mut marked = 0;
    for _ in 0..live.checked_add(deleted)? {
        let flags = integer(next()?)?;
        // The id.
        integer(next()?)?;
        integer(next()?)?;
        marked += u64::from(flags & ENTRY_DELETED != 0);
        let elements = match flags & ENTRY_SAME_FIELDS {
            0 => {
                let own = count(integer(next()?)?)?;
                own.checked_mul(2)?.checked_add(1)?
            }
            _ => fields,
        };
        for _ in u64::from(flags & ENTRY_SAME_FIELDS == 0)..elements {
            next()?;
        }
        if count(integer(next()?)?)? != elements.checked_add(3)? {
            return None;
        }
    }
    let is_whole = next().is_none() && marked == deleted;
    is_whole.then_some(live)
}
