//! The entries of a stream between two ids, from either end.

use super::id::StreamId;
use super::log::StreamLog;
use super::node;
use super::node::{Node, RawEntry, Walk};
use crate::rdb::listpack_cursor::PackedElement;
use std::collections::btree_map;

/// An entry that is not deleted.
#[derive(Clone, Copy, Debug)]
pub struct StreamEntry<'a>(RawEntry<'a>);

impl<'a> StreamEntry<'a> {
    /// Returns its id.
    #[must_use]
    pub fn id(&self) -> StreamId {
        self.0.id
    }

    /// Returns how many fields it has.
    #[must_use]
    pub fn fields(&self) -> usize {
        self.0.fields()
    }

    /// Returns its fields with their values.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (PackedElement<'a>, PackedElement<'a>)> {
        let pairs: node::Pairs<'a> = self.0.pairs();
        pairs
    }
}

/// The entries between two ids, both included, in one direction.
#[derive(Debug)]
pub struct StreamRange<'a> {
    nodes: btree_map::Range<'a, StreamId, Node>,
    walk: Option<Walk<'a>>,
    start: StreamId,
    end: StreamId,
    backwards: bool,
}

impl StreamLog {
    /// Returns the entries from `start` to `end`, both included.
    #[must_use]
    pub fn range(&self, start: StreamId, end: StreamId) -> StreamRange<'_> {
        self.entries(start, end, false)
    }

    /// Returns the entries from `end` back to `start`, both included.
    #[must_use]
    pub fn range_back(&self, start: StreamId, end: StreamId) -> StreamRange<'_> {
        self.entries(start, end, true)
    }

    fn entries(&self, start: StreamId, end: StreamId, backwards: bool) -> StreamRange<'_> {
        // The node that may have `start` begins at it or before.
        let first = self.nodes.range(..=start).next_back().map_or(start, |(&first, _)| first);
        let nodes = match first <= end {
            true => self.nodes.range(first..=end),
            false => self.nodes.range(StreamId::MIN..StreamId::MIN),
        };
        StreamRange { nodes, walk: None, start, end, backwards }
    }

    /// Returns the entry with this id.
    #[must_use]
    pub fn entry(&self, id: StreamId) -> Option<StreamEntry<'_>> {
        self.range(id, id).next()
    }

    /// Returns the id of the last entry; 0-0 if there is none.
    #[must_use]
    pub fn last_entry_id(&self) -> StreamId {
        let Some((&first_id, node)) = self.nodes.last_key_value() else { return StreamId::MIN };
        match node.walk_back(first_id).previous() {
            Some(last) if !last.is_deleted() => last.id,
            _ => {
                let last = self.range_back(StreamId::MIN, StreamId::MAX).next();
                last.map_or(StreamId::MIN, |entry| entry.id())
            }
        }
    }
}

impl<'a> StreamRange<'a> {
    /// Returns the next entry, deleted or not.
    #[inline]
    fn raw(&mut self) -> Option<RawEntry<'a>> {
        loop {
            if let Some(walk) = &mut self.walk {
                let entry = if self.backwards { walk.previous() } else { walk.next() };
                if entry.is_some() {
                    return entry;
                }
            }
            self.walk = Some(match self.backwards {
                false => {
                    let (&first_id, node) = self.nodes.next()?;
                    node.walk(first_id)
                }
                true => {
                    let (&first_id, node) = self.nodes.next_back()?;
                    node.walk_back(first_id)
                }
            });
        }
    }
}

impl<'a> Iterator for StreamRange<'a> {
    type Item = StreamEntry<'a>;

    #[inline]
    fn next(&mut self) -> Option<StreamEntry<'a>> {
        loop {
            let entry = self.raw()?;
            let is_past = match self.backwards {
                false => entry.id > self.end,
                true => entry.id < self.start,
            };
            if is_past {
                return None;
            }
            if !entry.is_deleted() && (self.start..=self.end).contains(&entry.id) {
                return Some(StreamEntry(entry));
            }
        }
    }
}
