//! How many entries of a stream a group has read, and how many it has not: from counters, as long as no
//! deleted entry makes them wrong. Each server has its own rule ([`Lags`]), found with random streams.

use super::group::Group;
use super::id::StreamId;
use super::log::StreamLog;
use crate::dialect::Lags;

/// The number of entries read is not known.
const UNKNOWN: i64 = -1;

impl StreamLog {
    /// Returns whether an entry from `start` on may have been deleted, other than from the front.
    fn has_tombstones(&self, start: StreamId, lags: Lags) -> bool {
        if self.len == 0 || self.max_deleted_id == StreamId::MIN {
            return false;
        }
        start <= self.max_deleted_id
            && (lags == Lags::Valkey9 || self.first_id <= self.max_deleted_id)
    }

    /// Returns how many entries there have been up to `id`; -1 if that is not known.
    #[must_use]
    pub fn estimate_read(&self, id: StreamId, lags: Lags) -> i64 {
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
        // Valkey counts nothing between the start and an entry that was deleted.
        let is_clear = lags != Lags::Valkey9 || id == StreamId::MIN || id >= self.max_deleted_id;
        let before_first = added.wrapping_sub(self.len as i64);
        match id.cmp(&self.first_id) {
            std::cmp::Ordering::Less if is_whole && is_clear => before_first,
            std::cmp::Ordering::Equal if is_whole => before_first.wrapping_add(1),
            _ => UNKNOWN,
        }
    }

    /// Returns how many entries a group has not read yet; `None` if that is not known.
    #[must_use]
    pub fn lag(&self, group: &Group, lags: Lags) -> Option<i64> {
        let added = self.entries_added as i64;
        if added == 0 {
            return Some(0);
        }
        if lags == Lags::Redis8 {
            if self.len == 0 {
                return Some(0);
            }
            if group.last_id < self.first_id && self.max_deleted_id < self.first_id {
                return Some(self.len as i64);
            }
        }
        if group.entries_read != UNKNOWN && !self.has_tombstones(group.last_id, lags) {
            return Some(added.wrapping_sub(group.entries_read));
        }
        let read = self.estimate_read(group.last_id, lags);
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
        lags: Lags,
    ) -> (StreamId, i64) {
        if id <= last_id {
            return (last_id, entries_read);
        }
        let counts_on = match lags {
            Lags::Redis7 => !self.has_tombstones(id, lags),
            Lags::Redis8 | Lags::Valkey9 => {
                last_id >= self.first_id && !self.has_tombstones(last_id, lags)
            }
        };
        let entries_read = match entries_read {
            known if known != UNKNOWN && counts_on => known.wrapping_add(1),
            _ if self.entries_added > 0 => self.estimate_read(id, lags),
            kept => kept,
        };
        (id, entries_read)
    }
}
