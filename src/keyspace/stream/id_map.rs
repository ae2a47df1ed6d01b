//! A sorted map from ids to small values: the pending entries of a group and those of a consumer.
//!
//! ```text
//! chunks   first id ──► [(id, value), (id, value), …]     sorted, at most 64
//! ```
//!
//! Ids mostly arrive in order and leave in about that order. So a full chunk stays full, and a pending
//! entry takes hardly more than its own bytes.

use super::id::StreamId;
use std::collections::BTreeMap;

/// Most pairs of a chunk.
const CHUNK_LEN_MAX: usize = 64;
/// Adjacent chunks of no more pairs together than this are merged.
const MERGED_LEN_MAX: usize = CHUNK_LEN_MAX / 2;

/// A sorted map from ids to `V`.
#[derive(Clone, Debug)]
pub struct IdMap<V> {
    /// By an id that is no greater than any in the chunk, and greater than any in the one before. No
    /// chunk is empty.
    chunks: BTreeMap<StreamId, Vec<(StreamId, V)>>,
    len: usize,
}

impl<V> Default for IdMap<V> {
    fn default() -> Self {
        Self { chunks: BTreeMap::new(), len: 0 }
    }
}

fn place<V>(chunk: &[(StreamId, V)], id: StreamId) -> Result<usize, usize> {
    chunk.binary_search_by(|(its, _)| its.cmp(&id))
}

impl<V> IdMap<V> {
    /// Returns how many pairs there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Returns whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns the value of `id`.
    #[must_use]
    pub fn get(&self, id: StreamId) -> Option<&V> {
        let (_, chunk) = self.chunks.range(..=id).next_back()?;
        let at = place(chunk, id).ok()?;
        Some(&chunk[at].1)
    }

    /// Returns the value of `id`, to be changed.
    pub fn get_mut(&mut self, id: StreamId) -> Option<&mut V> {
        let (_, chunk) = self.chunks.range_mut(..=id).next_back()?;
        let at = place(chunk, id).ok()?;
        Some(&mut chunk[at].1)
    }

    /// Sets the value of `id`; returns the one before.
    pub fn insert(&mut self, id: StreamId, value: V) -> Option<V> {
        if let Some(mut last) = self.chunks.last_entry()
            && let chunk = last.get_mut()
            && chunk.last().is_some_and(|(last, _)| *last < id)
        {
            self.len += 1;
            if chunk.len() < CHUNK_LEN_MAX {
                chunk.push((id, value));
            } else {
                self.chunks.insert(id, vec![(id, value)]);
            }
            return None;
        }
        let Some((_, chunk)) = self.chunks.range_mut(..=id).next_back() else {
            self.insert_first(id, value);
            return None;
        };
        let at = match place(chunk, id) {
            Ok(at) => return Some(std::mem::replace(&mut chunk[at].1, value)),
            Err(at) => at,
        };
        self.len += 1;
        if chunk.len() < CHUNK_LEN_MAX {
            chunk.insert(at, (id, value));
            return None;
        }
        let mut upper = chunk.split_off(CHUNK_LEN_MAX / 2);
        match at.checked_sub(CHUNK_LEN_MAX / 2) {
            Some(at) => upper.insert(at, (id, value)),
            None => chunk.insert(at, (id, value)),
        }
        self.chunks.insert(upper[0].0, upper);
        None
    }

    /// Inserts an id that is less than the key of every chunk.
    #[cold]
    fn insert_first(&mut self, id: StreamId, value: V) {
        self.len += 1;
        let mut chunk = match self.chunks.first_entry() {
            Some(first) if first.get().len() < CHUNK_LEN_MAX => first.remove(),
            _ => Vec::new(),
        };
        chunk.insert(0, (id, value));
        self.chunks.insert(id, chunk);
    }

    /// Removes `id`; returns its value.
    pub fn remove(&mut self, id: StreamId) -> Option<V> {
        let (&key, chunk) = self.chunks.range_mut(..=id).next_back()?;
        let at = place(chunk, id).ok()?;
        let (_, value) = chunk.remove(at);
        self.len -= 1;
        if chunk.is_empty() {
            self.chunks.remove(&key);
        } else if 4 * chunk.len() <= chunk.capacity() {
            self.compact(key);
        }
        Some(value)
    }

    /// Merges a chunk that has become small with the next one, or gives back its memory.
    #[cold]
    fn compact(&mut self, key: StreamId) {
        let after = (std::ops::Bound::Excluded(key), std::ops::Bound::Unbounded);
        let next = self.chunks.range(after).next().map(|(&key, next)| (key, next.len()));
        let Some(len) = self.chunks.get(&key).map(Vec::len) else { return };
        let mut merged = match next {
            Some((next, next_len)) if len + next_len <= MERGED_LEN_MAX => {
                self.chunks.remove(&next).unwrap_or_default()
            }
            _ => Vec::new(),
        };
        if let Some(chunk) = self.chunks.get_mut(&key) {
            chunk.append(&mut merged);
            chunk.shrink_to(2 * chunk.len());
        }
    }

    /// Returns the pairs from `from` on, in order.
    pub fn range(&self, from: StreamId) -> impl Iterator<Item = (StreamId, &V)> {
        // The chunk that may have `from` begins at it or before.
        let first = self.chunks.range(..=from).next_back().map_or(from, |(&key, _)| key);
        self.chunks
            .range(first..)
            .flat_map(|(_, chunk)| chunk)
            .map(|(id, value)| (*id, value))
            .skip_while(move |(id, _)| *id < from)
    }

    /// Returns all pairs in order.
    pub fn iter(&self) -> impl Iterator<Item = (StreamId, &V)> {
        self.chunks.values().flatten().map(|(id, value)| (*id, value))
    }

    /// Returns the first id.
    #[must_use]
    pub fn first(&self) -> Option<StreamId> {
        Some(self.chunks.first_key_value()?.1.first()?.0)
    }

    /// Returns the last id.
    #[must_use]
    pub fn last(&self) -> Option<StreamId> {
        Some(self.chunks.last_key_value()?.1.last()?.0)
    }

    /// Returns about how many bytes of memory it takes besides itself.
    #[must_use]
    pub fn memory(&self) -> usize {
        let of_key = 2 * (size_of::<StreamId>() + size_of::<Vec<(StreamId, V)>>());
        // Nearly every chunk is full, so that counting them all is not needed.
        self.chunks.len() * of_key + self.len * size_of::<(StreamId, V)>()
    }
}
