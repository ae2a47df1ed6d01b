//! What becomes of an entry that groups still refer to when it is to be deleted, as Redis has it since 8.2.
//!
//! An entry is referred to by a group in which it is pending, and by one that has not read up to it. There
//! is no index of references: to look for those of an id is O(groups × log pending), and takes no memory
//! from streams that never ask.

use super::id::StreamId;
use super::log::TrimTo;
use super::{Groups, Stream};

/// What becomes of the references to an entry that is to be deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum References {
    /// They stay: the entry is gone and pending all the same.
    #[default]
    Keep,
    /// They go, in every group.
    Delete,
    /// An entry that has references is not deleted.
    Acked,
}

/// What became of an entry that was to be deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deletion {
    /// There is none.
    Missing,
    /// It is deleted.
    Deleted,
    /// It stays, as it is referred to.
    Referenced,
}

/// Returns the id up to which every group has read.
fn least_read(groups: &Groups) -> StreamId {
    groups.values().map(|group| group.last_id).min().unwrap_or(StreamId::MAX)
}

fn is_pending(groups: &Groups, id: StreamId) -> bool {
    groups.values().any(|group| group.pending().get(id).is_some())
}

/// Removes an entry from those that are pending in any group; returns whether there was one.
fn acknowledge_all(groups: &mut Groups, id: StreamId) -> bool {
    let mut was_pending = false;
    for group in groups.values_mut() {
        was_pending |= group.acknowledge(id);
    }
    was_pending
}

/// Deletes entries of a stream one by one.
#[derive(Debug)]
pub(crate) struct Eraser<'s> {
    stream: &'s mut Stream,
    references: References,
    /// The id up to which every group has read; it does not change meanwhile.
    least_read: StreamId,
    /// Entries were deleted.
    pub(crate) has_deleted: bool,
    /// Groups no longer refer to entries, deleted or not.
    pub(crate) has_released: bool,
}

impl<'s> Eraser<'s> {
    /// Makes one that does this with references.
    pub(crate) fn new(stream: &'s mut Stream, references: References) -> Self {
        let least_read = match references {
            References::Acked => least_read(&stream.groups),
            References::Keep | References::Delete => StreamId::MAX,
        };
        Self { stream, references, least_read, has_deleted: false, has_released: false }
    }

    /// Returns about how many steps it takes to delete an entry, in the unit of `Pace`.
    #[must_use]
    pub(crate) fn weight(&self) -> usize {
        match self.references {
            References::Keep => 1,
            References::Delete | References::Acked => 1 + self.stream.groups.len(),
        }
    }

    /// Deletes an entry.
    pub(crate) fn delete(&mut self, id: StreamId) -> Deletion {
        match self.references {
            References::Keep => {}
            References::Delete => {
                self.has_released |= acknowledge_all(&mut self.stream.groups, id);
            }
            References::Acked if id > self.least_read || is_pending(&self.stream.groups, id) => {
                return Deletion::Referenced;
            }
            References::Acked => {}
        }
        if !self.stream.log.delete(id) {
            return Deletion::Missing;
        }
        self.has_deleted = true;
        Deletion::Deleted
    }

    /// Acknowledges an entry in a group, and deletes it then; `Missing` if it is not pending there.
    pub(crate) fn acknowledge(&mut self, group: &[u8], id: StreamId) -> Deletion {
        if !self.stream.group_mut(group).is_some_and(|group| group.acknowledge(id)) {
            return Deletion::Missing;
        }
        self.has_released = true;
        match self.delete(id) {
            Deletion::Referenced => Deletion::Referenced,
            // The entry may have been deleted before.
            Deletion::Deleted | Deletion::Missing => Deletion::Deleted,
        }
    }
}

impl Stream {
    /// Removes entries from the first on as [`StreamLog::trim`](super::StreamLog::trim) does. Unless
    /// references are kept, it goes entry by entry, also if it is approximate.
    pub(crate) fn trim(
        &mut self,
        to: TrimTo,
        is_approximate: bool,
        limit: u64,
        references: References,
        mut step: impl FnMut(u64),
    ) -> u64 {
        let Self { log, groups } = self;
        let count = groups.len() as u64;
        let step_all = |entries: u64| step(entries.saturating_mul(1 + count));
        match references {
            References::Keep => log.trim(to, is_approximate, limit, step),
            References::Delete => {
                let goes = |id| {
                    acknowledge_all(groups, id);
                    true
                };
                log.trim_those(to, limit, goes, step_all)
            }
            References::Acked => {
                let least_read = least_read(groups);
                let goes = |id| id <= least_read && !is_pending(groups, id);
                log.trim_those(to, limit, goes, step_all)
            }
        }
    }
}
