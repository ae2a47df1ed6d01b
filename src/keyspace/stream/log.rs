//! The entries of a stream and their counters.

use super::id::StreamId;
use super::node::{Node, Verdict};
use crate::keyspace::Millis;
use std::collections::BTreeMap;
use std::ops::Bound;

/// How large the nodes of a stream may become (`stream-node-max-entries`, `stream-node-max-bytes`); 0
/// means no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeLimits {
    /// Entries, deleted ones included.
    pub entries_max: u64,
    /// Bytes.
    pub bytes_max: u64,
}

impl Default for NodeLimits {
    fn default() -> Self {
        Self { entries_max: 100, bytes_max: 4096 }
    }
}

/// Most bytes of a node, and of the fields and values of one entry.
pub(crate) const NODE_BYTES_MAX: usize = 1 << 30;

/// Most bytes that are allocated for a node before it has entries.
const SIZE_HINT_MAX: usize = 8192;

/// What a stream is trimmed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrimTo {
    /// This many entries.
    Len(u64),
    /// The entries from this id on.
    Id(StreamId),
}

/// The entries of a stream.
#[derive(Clone, Debug, Default)]
pub struct StreamLog {
    /// By the id of their first entry.
    pub(super) nodes: BTreeMap<StreamId, Node>,
    pub(super) len: u64,
    /// The id of the first entry that is not deleted; 0-0 if there is none.
    pub(super) first_id: StreamId,
    /// The id of the last entry that was added.
    pub last_id: StreamId,
    /// The greatest id of an entry that XDEL deleted.
    pub max_deleted_id: StreamId,
    /// How many entries were ever added.
    pub entries_added: u64,
}

impl StreamLog {
    /// Returns the number of entries.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Returns the number of nodes.
    #[must_use]
    pub fn nodes(&self) -> usize {
        self.nodes.len()
    }

    /// Returns the id of the first entry; 0-0 if there is none.
    #[must_use]
    pub fn first_id(&self) -> StreamId {
        self.first_id
    }

    /// Returns the id that an entry gets which is added now; `None` if there is none left.
    #[must_use]
    pub fn next_id(&self, now: Millis) -> Option<StreamId> {
        let now = u64::try_from(now).unwrap_or(0);
        if now > self.last_id.ms {
            return Some(StreamId { ms: now, seq: 0 });
        }
        self.last_id.next()
    }

    /// Adds an entry. Its id must be greater than the last one; its fields and values may have
    /// [`NODE_BYTES_MAX`] bytes.
    pub fn add<'b>(
        &mut self,
        id: StreamId,
        pairs: impl Iterator<Item = (&'b [u8], &'b [u8])> + Clone,
        limits: NodeLimits,
    ) {
        let mut size = 0;
        let last = self.nodes.last_entry().and_then(|mut last| {
            let bytes: usize = pairs.clone().map(|(name, value)| name.len() + value.len()).sum();
            let bytes_max = match usize::try_from(limits.bytes_max) {
                Ok(bytes_max @ 1..=NODE_BYTES_MAX) => bytes_max,
                _ => NODE_BYTES_MAX,
            };
            let master = last.get().master();
            let is_full = last.get().size() + bytes >= bytes_max
                || limits.entries_max > 0 && master.entries() >= limits.entries_max;
            // XSETID may have set the last id back to before a deleted entry.
            if is_full && *last.key() < id {
                // The next node is likely to become as large.
                size = last.get_mut().shrink().min(SIZE_HINT_MAX);
                return None;
            }
            Some((last, master))
        });
        match last {
            Some((mut last, master)) => {
                let first_id = *last.key();
                last.get_mut().push(master, first_id, id, pairs);
            }
            None => {
                self.nodes.insert(id, Node::of(pairs, size));
            }
        }
        self.len += 1;
        self.entries_added = self.entries_added.wrapping_add(1);
        self.last_id = id;
        if self.len == 1 {
            self.first_id = id;
        }
    }

    /// Deletes an entry; returns whether there was one.
    pub fn delete(&mut self, id: StreamId) -> bool {
        let Some((&first_id, node)) = self.nodes.range_mut(..=id).next_back() else { return false };
        let is_last = node.live() == 1;
        if !node.delete(first_id, id) {
            return false;
        }
        if is_last {
            self.nodes.remove(&first_id);
        }
        self.len -= 1;
        self.max_deleted_id = self.max_deleted_id.max(id);
        if id == self.first_id {
            self.find_first_id();
        }
        true
    }

    pub(super) fn find_first_id(&mut self) {
        let first = self.range(StreamId::MIN, StreamId::MAX).next();
        self.first_id = first.map_or(StreamId::MIN, |entry| entry.id());
    }

    /// Removes entries from the first on, no more than `limit` of them unless that is 0. An approximate
    /// trim removes whole nodes only. Returns how many entries went. Calls `step` with the number of
    /// entries of each node.
    pub fn trim(
        &mut self,
        to: TrimTo,
        is_approximate: bool,
        limit: u64,
        mut step: impl FnMut(u64),
    ) -> u64 {
        let mut deleted = 0;
        while let Some(mut first) = self.nodes.first_entry() {
            let (first_id, live) = (*first.key(), first.get().live());
            let goes = match to {
                TrimTo::Len(len_max) if self.len <= len_max => break,
                TrimTo::Len(len_max) => self.len - live.min(self.len) >= len_max,
                TrimTo::Id(id) => first.get().last_id(first_id) < id,
            };
            if limit > 0 && deleted + live > limit {
                break;
            }
            step(live);
            if goes {
                first.remove();
                self.len -= live.min(self.len);
                deleted += live;
                continue;
            }
            if is_approximate {
                break;
            }
            let len = self.len;
            let gone = first.get_mut().delete_first(first_id, |its, gone| {
                if to.spares(its, len - gone) { Verdict::Stop } else { Verdict::Goes }
            });
            self.len -= gone.min(self.len);
            deleted += gone;
            break;
        }
        if deleted > 0 {
            self.find_first_id();
        }
        deleted
    }

    /// The same of entries of which `goes` says so, entry by entry; the others stay. Nodes count towards the
    /// limit as in an approximate trim. The first node that cannot go as a whole is the last one, also if
    /// entries stay in it that could not go.
    pub(super) fn trim_those(
        &mut self,
        to: TrimTo,
        limit: u64,
        mut goes: impl FnMut(StreamId) -> bool,
        mut step: impl FnMut(u64),
    ) -> u64 {
        let (mut deleted, mut from) = (0, Bound::Unbounded);
        while let Some((&first_id, node)) = self.nodes.range_mut((from, Bound::Unbounded)).next() {
            let live = node.live();
            if limit > 0 && deleted + live > limit {
                break;
            }
            step(live);
            let len = self.len;
            let is_whole = match to {
                TrimTo::Len(len_max) => len.saturating_sub(live) >= len_max,
                TrimTo::Id(id) => node.last_id(first_id) < id,
            };
            let gone = node.delete_first(first_id, |its, gone| match () {
                () if to.spares(its, len.saturating_sub(gone)) => Verdict::Stop,
                () if goes(its) => Verdict::Goes,
                () => Verdict::Stays,
            });
            if is_whole && gone == live {
                self.nodes.remove(&first_id);
            }
            self.len -= gone.min(self.len);
            deleted += gone;
            if !is_whole {
                break;
            }
            from = Bound::Excluded(first_id);
        }
        if deleted > 0 {
            self.find_first_id();
        }
        deleted
    }
}

impl TrimTo {
    /// Whether a trim ends at an entry, of a stream of this length.
    fn spares(self, its: StreamId, len: u64) -> bool {
        match self {
            Self::Len(len_max) => len <= len_max,
            Self::Id(id) => its >= id,
        }
    }
}
