//! Walking over a keyspace: SCAN, KEYS, RANDOMKEY, and the keys whose time has come.

use super::{Entry, Keyspace};
use crate::slot::{SLOTS, Slot};

impl Keyspace {
    /// The first slot from `slot` up that lives here and has keys.
    #[must_use]
    pub fn next_slot_with_keys(&self, slot: Slot) -> Option<Slot> {
        (slot.number()..SLOTS).filter_map(Slot::new).find(|&slot| self.slot_len(slot) > 0)
    }

    /// How many keys `slot` has here.
    #[must_use]
    pub fn slot_len(&self, slot: Slot) -> usize {
        self.slots.get(self.table_of_slot[slot.index()] as usize).map_or(0, |s| s.table.len())
    }

    /// Walks `slot`'s unexpired keys down from place `from` (`usize::MAX` for all) until `each`
    /// says stop; gives the place to go on from, 0 at the end. What stays is met at least once.
    pub fn walk_slot<'k>(
        &'k self,
        slot: Slot,
        from: usize,
        mut each: impl FnMut(&'k Entry) -> bool,
    ) -> usize {
        let Some(slot) = self.slots.get(self.table_of_slot[slot.index()] as usize) else {
            return 0;
        };
        slot.table.walk_down(from, |entry| entry.has_expired(self.now) || each(entry))
    }

    /// Forgets the keys of `slot`; gives how many there were. Nobody is told, as in Redis: whose
    /// they are now is another node's affair.
    pub fn clear_slot(&mut self, slot: Slot) -> usize {
        let place = self.table_of_slot[slot.index()] as usize;
        let mut removed = 0;
        if let Some(journal) = &mut self.journal {
            journal.mark_slot(slot);
        }
        while let Some(last) = self.slots.get(place).and_then(|s| s.table.len().checked_sub(1)) {
            let entry = self.remove_at(place, last);
            self.free_lazily(entry.value);
            removed += 1;
        }
        removed
    }

    /// A key picked uniformly; it may have expired.
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

    /// Looks at up to `slots_max` slots, from where the last call ended, and removes what has
    /// expired there, `entries_max` looked at in all; gives how many entries it looked at and how
    /// many it removed.
    pub fn expire_some(&mut self, slots_max: usize, entries_max: usize) -> (usize, usize) {
        let (mut looked, mut removed) = (0, 0);
        if self.volatile == 0 || self.is_replica {
            return (0, 0);
        }
        for _ in 0..slots_max.min(self.slots.len()) {
            let s = self.next_expire_slot % self.slots.len();
            if looked >= entries_max {
                break;
            }
            self.next_expire_slot = s + 1;
            if self.slots[s].volatile == 0 {
                continue;
            }
            let mut at = self.slots[s].table.len();
            looked += at;
            while at > 0 {
                at -= 1;
                if self.slots[s].table.entries()[at].has_expired(self.now) {
                    self.remove_expired(s, at);
                    removed += 1;
                }
            }
        }
        (looked, removed)
    }
}
