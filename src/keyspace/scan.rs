//! Walking a keyspace: SCAN, KEYS, RANDOMKEY, and the removal of expired keys.

use super::{Entry, Keyspace};
use crate::slot::{SLOTS, Slot};

impl Keyspace {
    /// Returns the first slot from `slot` on that has keys here.
    #[must_use]
    pub fn next_slot_with_keys(&self, slot: Slot) -> Option<Slot> {
        (slot.number()..SLOTS).filter_map(Slot::new).find(|&slot| self.slot_len(slot) > 0)
    }

    /// Returns the number of keys of `slot` here.
    #[must_use]
    pub fn slot_len(&self, slot: Slot) -> usize {
        self.slots.get(self.table_of_slot[slot.index()] as usize).map_or(0, |s| s.table.len())
    }

    /// Calls `each` for the unexpired keys of `slot` until it returns false.
    pub fn walk_slot<'k>(&'k self, slot: Slot, each: impl FnMut(&'k Entry) -> bool) {
        if let Some(slot) = self.slots.get(self.table_of_slot[slot.index()] as usize) {
            let mut live = slot.table.entries().iter().rev().filter(|e| !e.has_expired(self.now));
            let _ended = live.all(each);
        }
    }

    /// Returns the page of a scan of `slot` that starts at `cursor`, and the cursor of the page after
    /// it, as [`Table::page`](super::Table::page) does; expired keys count, and are left out.
    pub fn page_of_slot(&self, slot: Slot, cursor: u64, count: usize) -> (Vec<&Entry>, u64) {
        let Some(slot) = self.slots.get(self.table_of_slot[slot.index()] as usize) else {
            return (Vec::new(), 0);
        };
        let (mut page, next) = slot.table.page(cursor, count, &self.hasher);
        page.retain(|entry| !entry.has_expired(self.now));
        (page, next)
    }

    /// Removes the keys of `slot` and returns how many there were. Watchers are not notified, as in
    /// Redis: the keys belong to another node now.
    pub fn clear_slot(&mut self, slot: Slot) -> usize {
        let place = self.table_of_slot[slot.index()] as usize;
        let mut removed = 0;
        if let Some(journal) = &mut self.journal {
            journal.mark_slot(slot);
        }
        while let Some(last) = self.slots.get(place).and_then(|s| s.table.len().checked_sub(1)) {
            let entry = self.remove_at(place, last);
            self.note_changed(&entry.key);
            self.free_lazily(entry.value);
            removed += 1;
        }
        removed
    }

    /// Returns a uniformly chosen key, which may have expired.
    pub fn random_key(&mut self) -> Option<&Entry> {
        let pick = self.random();
        let mut at = ((u128::from(pick) * self.len as u128) >> 64) as usize;
        for slot in &self.slots {
            match slot.table.entries().get(at) {
                Some(entry) => return Some(entry),
                None => at -= slot.table.len(),
            }
        }
        None
    }

    /// Removes expired keys, and expired fields of hashes, from up to `slots_max` slots, starting
    /// where the last call ended, and visiting about `entries_max` entries. Returns how many entries
    /// it visited and how many keys it removed.
    pub fn expire_some(&mut self, slots_max: usize, entries_max: usize) -> (usize, usize) {
        let (mut visited, mut removed) = (0, 0);
        if self.volatile + self.with_ends == 0 || self.is_replica {
            return (0, 0);
        }
        for _ in 0..slots_max.min(self.slots.len()) {
            let s = self.next_expire_slot % self.slots.len();
            if visited >= entries_max {
                break;
            }
            self.next_expire_slot = s + 1;
            if self.slots[s].expiring == 0 {
                continue;
            }
            let mut at = self.slots[s].table.len();
            visited += at;
            while at > 0 {
                at -= 1;
                if self.slots[s].table.entries()[at].is_due(self.now) && !self.expire(s, at) {
                    removed += 1;
                }
            }
        }
        (visited, removed)
    }
}
