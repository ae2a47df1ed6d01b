//! A run of a stream's entries in one piece of memory, byte for byte as Redis keeps it, so that DUMP
//! and RESTORE copy it.
//!
//! ```text
//! listpack of   live | deleted | n | field × n | 0 | entry | entry | …
//! entry         flags | ms | seq |     value × n             | count     fields as at the beginning
//!               flags | ms | seq | m | (field, value) × m    | count
//! ```
//!
//! `live` and `deleted` count entries; `ms` and `seq` are differences to the id of the first entry,
//! the key of the node; `count` is the number of elements before it in its entry, for walking
//! backwards. An entry that is deleted stays, with a flag, until the node is removed with the last one.

use super::id::StreamId;
use crate::rdb::listpack::{self, LISTPACK_HEADER_BYTES as HEADER_BYTES};
use crate::rdb::listpack_cursor::{PackedElement, after, before, element_at};
use crate::rdb::{ENTRY_DELETED as DELETED, ENTRY_SAME_FIELDS as SAME_FIELDS};

/// The byte that ends a listpack.
const END: u8 = 0xFF;
/// A node with less room than this grows before an entry is added, which usually needs no more.
const ROOM_MIN: usize = 64;
/// Elements before the fields or values of an entry: its flags and its id.
const HEAD_ELEMENTS: usize = 3;

/// A node; never without an entry, be it a deleted one.
#[derive(Clone, Debug)]
pub(super) struct Node(Vec<u8>);

/// What a trim does with an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is deleted.
    Goes,
    /// It stays, and the trim goes on.
    Stays,
    /// It stays, and so do those behind it.
    Stop,
}

/// The beginning of a node.
#[derive(Clone, Copy, Debug)]
pub(super) struct Master {
    live: u64,
    deleted: u64,
    /// How many fields there are.
    fields: usize,
    /// The offset of the first field.
    fields_at: usize,
}

impl Master {
    /// Returns how many entries there are, deleted or not.
    pub(super) fn entries(&self) -> u64 {
        self.live.saturating_add(self.deleted)
    }
}

/// An entry of a node, deleted or not.
#[derive(Clone, Copy, Debug)]
pub(super) struct RawEntry<'a> {
    node: &'a [u8],
    /// Its id.
    pub(super) id: StreamId,
    flags: i64,
    /// The offset of the flags.
    at: usize,
    /// How many fields it has.
    fields: usize,
    /// The offset of the node's first field, if it has the node's fields.
    names_at: Option<usize>,
    /// The offset of its first field or value.
    body_at: usize,
}

impl<'a> RawEntry<'a> {
    pub(super) fn is_deleted(&self) -> bool {
        self.flags & DELETED != 0
    }

    pub(super) fn fields(&self) -> usize {
        self.fields
    }

    /// Returns its fields with their values.
    pub(super) fn pairs(&self) -> Pairs<'a> {
        Pairs { node: self.node, left: self.fields, names_at: self.names_at, at: self.body_at }
    }

    /// Returns the offset behind it.
    fn end(&self) -> Option<usize> {
        let elements = if self.names_at.is_some() { self.fields } else { 2 * self.fields };
        let mut at = self.body_at;
        // The count behind the values as well.
        for _ in 0..=elements {
            at = after(self.node, at)?;
        }
        Some(at)
    }
}

/// The fields of an entry with their values.
#[derive(Clone, Debug)]
pub(super) struct Pairs<'a> {
    node: &'a [u8],
    left: usize,
    names_at: Option<usize>,
    at: usize,
}

impl<'a> Iterator for Pairs<'a> {
    type Item = (PackedElement<'a>, PackedElement<'a>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let name_at = self.names_at.as_mut().unwrap_or(&mut self.at);
        let (name, next) = element_at(self.node, *name_at)?;
        *name_at = next;
        let (value, next) = element_at(self.node, self.at)?;
        self.at = next;
        Some((name, value))
    }
}

/// A walk over the entries of a node.
#[derive(Clone, Debug)]
pub(super) struct Walk<'a> {
    node: &'a [u8],
    first_id: StreamId,
    master: Master,
    /// The offset of the next entry; backwards, the offset behind it.
    at: usize,
}

impl<'a> Walk<'a> {
    fn entry_at(&self, at: usize) -> Option<RawEntry<'a>> {
        let integer = |at| {
            let (element, next) = element_at(self.node, at)?;
            Some((element.integer()?, next))
        };
        let (flags, next) = integer(at)?;
        let (ms, next) = integer(next)?;
        let (seq, mut body_at) = integer(next)?;
        let is_same = flags & SAME_FIELDS != 0;
        let mut fields = self.master.fields;
        if !is_same {
            let (count, next) = integer(body_at)?;
            (fields, body_at) = (usize::try_from(count).ok()?, next);
        }
        let names_at = is_same.then_some(self.master.fields_at);
        let id = self.first_id.plus(ms, seq);
        Some(RawEntry { node: self.node, id, flags, at, fields, names_at, body_at })
    }

    /// Returns the next entry.
    #[inline]
    pub(super) fn next(&mut self) -> Option<RawEntry<'a>> {
        let entry = self.entry_at(self.at)?;
        self.at = entry.end()?;
        Some(entry)
    }

    /// Returns the entry before, which is the last one at first; only after [`Node::walk_back`].
    pub(super) fn previous(&mut self) -> Option<RawEntry<'a>> {
        let count_at = before(self.node, self.at)?;
        let (count, _) = element_at(self.node, count_at)?;
        // The beginning of the node ends with 0.
        let count = usize::try_from(count.integer()?).ok().filter(|&count| count > 0)?;
        let mut at = count_at;
        for _ in 0..count {
            at = before(self.node, at)?;
        }
        self.at = at;
        self.entry_at(at)
    }
}

impl Node {
    /// Makes a node of one entry, with room for about `size` bytes.
    pub(super) fn of<'b>(
        pairs: impl Iterator<Item = (&'b [u8], &'b [u8])> + Clone,
        size: usize,
    ) -> Self {
        let mut bytes = Vec::with_capacity(size);
        bytes.resize(HEADER_BYTES, 0);
        let fields = pairs.clone().count();
        for number in [1, 0, fields as i64] {
            listpack::push_integer(&mut bytes, number);
        }
        pairs.clone().for_each(|(field, _)| listpack::push_text(&mut bytes, field));
        listpack::push_integer(&mut bytes, 0);
        bytes.push(END);
        let mut node = Self(bytes);
        node.set_element_count(4 + fields);
        node.push_entry(0, 0, SAME_FIELDS, fields, pairs);
        node
    }

    /// Takes a node as DUMP has it; it must be valid.
    pub(super) fn from_packed(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// Returns the node as DUMP has it.
    pub(super) fn packed(&self) -> &[u8] {
        &self.0
    }

    /// Returns its size as a node of Redis, in bytes.
    pub(super) fn size(&self) -> usize {
        self.0.len()
    }

    pub(super) fn memory(&self) -> usize {
        self.0.capacity()
    }

    /// Gives back what was allocated for further entries, as a whole: the next node can have it, and
    /// the allocator is not left with pieces that fit none. Returns how many bytes that is.
    pub(super) fn shrink(&mut self) -> usize {
        let allocated = self.0.capacity();
        if allocated > self.0.len() {
            self.0 = self.0.as_slice().to_vec();
        }
        allocated
    }

    pub(super) fn master(&self) -> Master {
        let read = || {
            let (live, at) = element_at(&self.0, HEADER_BYTES)?;
            let (deleted, at) = element_at(&self.0, at)?;
            let (fields, fields_at) = element_at(&self.0, at)?;
            let number = |element: PackedElement<'_>| u64::try_from(element.integer()?).ok();
            Some(Master {
                live: number(live)?,
                deleted: number(deleted)?,
                fields: number(fields)? as usize,
                fields_at,
            })
        };
        read().unwrap_or(Master { live: 0, deleted: 0, fields: 0, fields_at: self.0.len() })
    }

    /// Returns how many entries are not deleted.
    pub(super) fn live(&self) -> u64 {
        self.master().live
    }

    /// Returns a walk from the first entry on. `first_id` is the id of the first entry.
    pub(super) fn walk(&self, first_id: StreamId) -> Walk<'_> {
        let master = self.master();
        let mut at = master.fields_at;
        for _ in 0..=master.fields {
            at = after(&self.0, at).unwrap_or(self.0.len());
        }
        Walk { node: &self.0, first_id, master, at }
    }

    /// Returns a walk from the last entry backwards.
    pub(super) fn walk_back(&self, first_id: StreamId) -> Walk<'_> {
        let at = self.0.len().saturating_sub(1);
        Walk { node: &self.0, first_id, master: self.master(), at }
    }

    /// Returns the id of the last entry, deleted or not.
    pub(super) fn last_id(&self, first_id: StreamId) -> StreamId {
        self.walk_back(first_id).previous().map_or(first_id, |entry| entry.id)
    }

    /// Adds an entry behind the others, to a node with this beginning.
    pub(super) fn push<'b>(
        &mut self,
        master: Master,
        first_id: StreamId,
        id: StreamId,
        pairs: impl Iterator<Item = (&'b [u8], &'b [u8])> + Clone,
    ) {
        let Master { live, fields, fields_at, .. } = master;
        let (count, mut at, mut is_same) = (pairs.clone().count(), fields_at, true);
        if count == fields {
            for (field, _) in pairs.clone() {
                match element_at(&self.0, at) {
                    Some((name, next)) if name.is(field) => at = next,
                    _ => {
                        is_same = false;
                        break;
                    }
                }
            }
        } else {
            is_same = false;
        }
        self.replace_integer(HEADER_BYTES, live as i64 + 1);
        let (ms, seq) = id.minus(first_id);
        self.push_entry(ms, seq, if is_same { SAME_FIELDS } else { 0 }, count, pairs);
    }

    fn push_entry<'b>(
        &mut self,
        ms: i64,
        seq: i64,
        flags: i64,
        fields: usize,
        pairs: impl Iterator<Item = (&'b [u8], &'b [u8])>,
    ) {
        let out = &mut self.0;
        out.pop();
        let room = out.capacity() - out.len();
        if room < ROOM_MIN {
            // Doubling would leave the allocator with pieces that fit no other node.
            out.reserve_exact((out.len() / 4).max(2 * ROOM_MIN));
        }
        for number in [flags, ms, seq] {
            listpack::push_integer(out, number);
        }
        let is_same = flags & SAME_FIELDS != 0;
        if !is_same {
            listpack::push_integer(out, fields as i64);
        }
        for (field, value) in pairs {
            if !is_same {
                listpack::push_text(out, field);
            }
            listpack::push_text(out, value);
        }
        let elements = HEAD_ELEMENTS + if is_same { fields } else { 1 + 2 * fields };
        listpack::push_integer(out, elements as i64);
        out.push(END);
        let before = self.element_count();
        self.set_element_count(if before == usize::from(u16::MAX) {
            before
        } else {
            before + elements + 1
        });
    }

    /// Marks the entry whose flags are at `at` as deleted.
    fn mark_deleted(&mut self, at: usize, flags: i64) {
        self.replace_integer(at, flags | DELETED);
    }

    /// Deletes the entry `id`. Returns whether there is one that was not deleted.
    pub(super) fn delete(&mut self, first_id: StreamId, id: StreamId) -> bool {
        let mut walk = self.walk(first_id);
        let found = std::iter::from_fn(|| walk.next()).find(|entry| entry.id >= id);
        let Some(RawEntry { at, flags, .. }) =
            found.filter(|entry| entry.id == id && !entry.is_deleted())
        else {
            return false;
        };
        self.mark_deleted(at, flags);
        self.count_deleted(1);
        true
    }

    /// Deletes entries from the first on, as `verdict` says of the id and of how many were deleted before.
    /// Returns how many that were.
    pub(super) fn delete_first(
        &mut self,
        first_id: StreamId,
        mut verdict: impl FnMut(StreamId, u64) -> Verdict,
    ) -> u64 {
        let mut walk = self.walk(first_id);
        let (mut marks, mut deleted) = (Vec::new(), 0);
        while let Some(entry) = walk.next() {
            if entry.is_deleted() {
                continue;
            }
            match verdict(entry.id, deleted) {
                Verdict::Goes => {
                    marks.push((entry.at, entry.flags));
                    deleted += 1;
                }
                Verdict::Stays => {}
                Verdict::Stop => break,
            }
        }
        // From the last one on: an integer that became longer would move those behind it.
        for (at, flags) in marks.into_iter().rev() {
            self.mark_deleted(at, flags);
        }
        self.count_deleted(deleted);
        deleted
    }

    /// Counts entries as deleted that were live before.
    fn count_deleted(&mut self, count: u64) {
        let Master { live, deleted, .. } = self.master();
        self.replace_integer(HEADER_BYTES, live.saturating_sub(count) as i64);
        if let Some(at) = after(&self.0, HEADER_BYTES) {
            self.replace_integer(at, deleted.saturating_add(count) as i64);
        }
    }

    /// Replaces the element at `at` by an integer.
    fn replace_integer(&mut self, at: usize, value: i64) {
        let Some(end) = after(&self.0, at) else { return };
        // Nearly always a small number, which replaces a small number.
        if let (Ok(small @ 0..=0x7F), 2) = (u8::try_from(value), end - at) {
            self.0[at] = small;
            return;
        }
        let mut element = Vec::with_capacity(10);
        listpack::push_integer(&mut element, value);
        self.0.splice(at..end, element);
        self.set_total();
    }

    fn element_count(&self) -> usize {
        self.0
            .get(4..HEADER_BYTES)
            .and_then(<[u8]>::first_chunk)
            .map_or(0, |count| u16::from_le_bytes(*count).into())
    }

    /// Sets the number of elements, and the number of bytes.
    fn set_element_count(&mut self, count: usize) {
        let count = u16::try_from(count).unwrap_or(u16::MAX);
        self.0[4..HEADER_BYTES].copy_from_slice(&count.to_le_bytes());
        self.set_total();
    }

    fn set_total(&mut self) {
        let total = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        self.0[..4].copy_from_slice(&total.to_le_bytes());
    }
}
