//! How many entries of a stream a group has read, and how many it has not, as Redis 7 works it out:
//! from counters, as long as no deleted entry makes them wrong.

use super::group::Group;
use super::id::StreamId;
use super::log::StreamLog;

/// The number of entries read is not known.
const UNKNOWN: i64 = -1;

impl StreamLog {
    /// Returns whether an entry from `start` on may have been deleted, other than from the front.
    fn has_tombstones(&self, start: StreamId) -> bool {
        if self.len == 0 || self.max_deleted_id == StreamId::MIN {
            return false;
        }
        start <= self.max_deleted_id && self.first_id <= self.max_deleted_id
    }

    /// Returns how many entries there have been up to `id`; -1 if that is not known.
    #[must_use]
    pub fn estimate_read(&self, id: StreamId) -> i64 {
        let added = self.entries_added as i64;
        if added == 0 {
            return 0;
        }
        if id == self.last_id || self.len == 0 && id < self.last_id {
            return added;
        }
        if id > self.last_id {
            return UNKNOWN;
        }
        let is_whole = self.max_deleted_id == StreamId::MIN || self.max_deleted_id < self.first_id;
        let before_first = added.wrapping_sub(self.len as i64);
        match id.cmp(&self.first_id) {
            std::cmp::Ordering::Less if is_whole => before_first,
            std::cmp::Ordering::Equal if is_whole => before_first.wrapping_add(1),
            _ => UNKNOWN,
        }
    }

    /// Returns how many entries a group has not read yet; `None` if that is not known.
    #[must_use]
    pub fn lag(&self, group: &Group) -> Option<i64> {
        let added = self.entries_added as i64;
        if added == 0 {
            return Some(0);
        }
        if group.entries_read != UNKNOWN && !self.has_tombstones(group.last_id) {
            return Some(added.wrapping_sub(group.entries_read));
        }
        let read = self.estimate_read(group.last_id);
        (read != UNKNOWN).then(|| added.wrapping_sub(read))
    }

    /// Returns the count of entries read, and the last id, of a group that is given the entry `id` as
    /// a new one.
    #[must_use]
    pub fn read_up_to(
        &self,
        last_id: StreamId,
        entries_read: i64,
        id: StreamId,
    ) -> (StreamId, i64) {
        if id <= last_id {
            return (last_id, entries_read);
        }
        let entries_read = match entries_read {
            UNKNOWN if self.entries_added > 0 => self.estimate_read(id),
            UNKNOWN => UNKNOWN,
            _ if self.has_tombstones(id) => self.estimate_read(id),
            known => known.wrapping_add(1),
        };
        (id, entries_read)
    }
}
