//! Moving slots between keyspaces. A command whose keys live on several shards runs on a scratch
//! keyspace that borrows the slots' tables meanwhile.
//!
//! ```text
//! shard A ── table of slot 7 ──► scratch ── the command runs ──► table of slot 7 ──► shard A
//! shard B ── table of slot 9 ──►         ── touched: k, l    ──► touched on their shards
//! ```
//!
//! A table moves as a whole, at a cost that depends on neither the number of keys nor their sizes.
//! Watchers, blocked clients and the journal stay with the shard's own keyspace, and are notified
//! when the table is back.

use super::Keyspace;
use super::journal::TouchedKeys;
use super::table::Keyed;
use crate::slot::Slot;

impl Keyspace {
    /// Moves the table of `slot` to `other`, which must have no keys of that slot; does nothing if
    /// there is no table.
    pub fn transfer_slot(&mut self, slot: Slot, other: &mut Self) {
        let Some(lent) = self.slots.get_mut(self.table_of_slot[slot.index()] as usize) else {
            return;
        };
        let lent = std::mem::take(lent);
        let (len, volatile) = (lent.table.len(), lent.volatile as usize);
        let with_ends = lent.with_ends as usize;
        self.len -= len;
        self.volatile -= volatile;
        self.with_ends -= with_ends;
        let at = other.slot_table(slot);
        debug_assert_eq!(other.slots[at].table.len(), 0, "a slot's keys are in one place");
        other.slots[at] = lent;
        other.count_slot(at);
    }

    /// Exchanges the keys of `slot` with those of `other`.
    pub fn swap_slot(&mut self, slot: Slot, other: &mut Self) {
        if self.slot_len(slot) + other.slot_len(slot) == 0 {
            return;
        }
        let (own, its) = (self.slot_table(slot), other.slot_table(slot));
        self.uncount_slot(own);
        other.uncount_slot(its);
        std::mem::swap(&mut self.slots[own], &mut other.slots[its]);
        self.count_slot(own);
        other.count_slot(its);
    }

    /// Takes the keys of a table off the sums.
    fn uncount_slot(&mut self, at: usize) {
        let table = &self.slots[at];
        self.len -= table.table.len();
        self.volatile -= table.volatile as usize;
        self.with_ends -= table.with_ends as usize;
    }

    /// Adds the keys of a table to the sums.
    fn count_slot(&mut self, at: usize) {
        let table = &self.slots[at];
        self.len += table.table.len();
        self.volatile += table.volatile as usize;
        self.with_ends += table.with_ends as usize;
    }

    /// Moves every key of `slot` to `other`, which may have keys of that slot; of a key that both
    /// have, this one's value wins.
    pub fn merge_slot(&mut self, slot: Slot, other: &mut Self) {
        let mut keys: Vec<Box<[u8]>> = Vec::with_capacity(self.slot_len(slot));
        self.walk_slot(slot, |entry| {
            keys.push(entry.key().into());
            true
        });
        for bytes in keys {
            let key = self.key(slot, &bytes);
            if let Some(value) = self.detach(key) {
                other.insert_detached(key, value);
            }
        }
    }

    /// Swaps the counters with those of `other`.
    pub fn swap_counts(&mut self, other: &mut Self) {
        std::mem::swap(&mut self.counts, &mut other.counts);
    }

    /// Takes the keys touched since the last call, if changes are recorded
    /// ([`Keyspace::set_journaling`]).
    pub fn take_touched(&mut self) -> TouchedKeys {
        let Some(journal) = &mut self.journal else { return TouchedKeys::default() };
        journal.take_keys()
    }

    /// Marks `key`, changed while its slot was lent in a way that trips no guard, as changed.
    pub fn touch_transferred_unwatched(&mut self, key: &[u8]) {
        if let Some(journal) = &mut self.journal {
            journal.mark_unwatched(key);
        }
        self.signal_ready(key);
    }

    /// Marks `key`, changed while its slot was lent, as changed: notifies watchers, blocked clients
    /// and the journal.
    pub fn touch_transferred(&mut self, slot: Slot, key: &[u8]) {
        let is_there = self.find_even_expired(self.key(slot, key)).is_some();
        self.touch(key, !is_there);
        // Also if it is gone: it may have been a stream.
        self.signal_ready(key);
    }

    /// Marks every existing watched, awaited or replicated key as changed: for what Redis does
    /// unnoticed by clients that track keys.
    pub fn touch_all_existing(&mut self) {
        let events_wanted = std::mem::take(&mut self.events_wanted);
        let is_there = |key: &[u8]| self.find_even_expired(self.key(Slot::of(key), key)).is_some();
        let observed = self.watchers.keys().chain(self.awaited.iter().map(|key| &**key));
        let present: Vec<Box<[u8]>> =
            observed.filter(|key| is_there(key)).map(Into::into).collect();
        present.iter().for_each(|key| self.touch_transferred(Slot::of(key), key));
        // What is gone may have been a stream, whose consumers wait for its end as well.
        let awaited: Vec<Box<[u8]>> = self.awaited.iter().cloned().collect();
        awaited.iter().for_each(|key| self.note_ready(key));
        self.events_wanted = events_wanted;
        if let Some(journal) = &mut self.journal {
            journal.mark_everything();
        }
    }

    /// Marks every watched, awaited or replicated key as changed: which ones have changed is
    /// unknown.
    pub fn touch_all_transferred(&mut self) {
        let observed = self.watchers.keys().chain(self.awaited.iter().map(|key| &**key));
        let observed: Vec<Box<[u8]>> = observed.map(Into::into).collect();
        observed.iter().for_each(|key| self.touch_transferred(Slot::of(key), key));
        self.note_emptied();
        if let Some(journal) = &mut self.journal {
            journal.mark_everything();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyspace::{Entry, Guard, KeyHasher, Ttl, Value};

    fn keyspace() -> Keyspace {
        let mut keyspace = Keyspace::new(std::iter::empty(), KeyHasher::new(1), 1);
        keyspace.begin(1000);
        keyspace
    }

    fn set(keyspace: &mut Keyspace, key: &[u8], number: i64, ttl: Ttl) {
        let key = keyspace.key(Slot::of(key), key);
        keyspace.set(key, Value::Int(number), ttl);
    }

    #[test]
    fn a_table_moves_with_its_keys_and_its_counts() {
        let (mut home, mut stage) = (keyspace(), keyspace());
        set(&mut home, b"{a}1", 1, Ttl::Clear);
        set(&mut home, b"{a}2", 2, Ttl::At(5000));
        set(&mut home, b"{b}", 3, Ttl::At(5000));
        let slot = Slot::of(b"{a}1");
        home.transfer_slot(slot, &mut stage);
        assert_eq!((home.len(), home.volatile()), (1, 1));
        assert_eq!((stage.len(), stage.volatile()), (2, 1));
        let key = stage.key(slot, b"{a}2");
        assert!(stage.delete(key));
        stage.transfer_slot(slot, &mut home);
        assert_eq!((home.len(), home.volatile(), stage.len()), (2, 1, 0));
        let key = home.key(slot, b"{a}1");
        assert!(matches!(home.peek(key).map(Entry::value), Some(Value::Int(1))));
        // A slot that never had a key can be lent as well.
        home.transfer_slot(Slot::of(b"{c}"), &mut stage);
        set(&mut stage, b"{c}", 1, Ttl::Clear);
        stage.transfer_slot(Slot::of(b"{c}"), &mut home);
        assert_eq!((home.len(), stage.len()), (3, 0));
    }

    #[test]
    fn the_keys_of_a_slot_are_exchanged_with_their_counts() {
        let (mut one, mut other) = (keyspace(), keyspace());
        set(&mut one, b"{a}1", 1, Ttl::Clear);
        set(&mut one, b"{a}2", 2, Ttl::At(5000));
        set(&mut other, b"{a}3", 3, Ttl::At(5000));
        set(&mut other, b"{b}", 4, Ttl::Clear);
        one.swap_slot(Slot::of(b"a"), &mut other);
        assert_eq!((one.len(), one.volatile(), other.len(), other.volatile()), (1, 1, 3, 1));
        let is_there = |keyspace: &mut Keyspace, key: &[u8]| {
            let key = keyspace.key(Slot::of(key), key);
            keyspace.peek(key).is_some()
        };
        assert!(is_there(&mut one, b"{a}3") && is_there(&mut other, b"{a}1"));
        assert!(is_there(&mut other, b"{b}"));
        // A slot without keys gets no table.
        let tables = (one.slots.len(), other.slots.len());
        Slot::all().skip(9000).take(1000).for_each(|slot| one.swap_slot(slot, &mut other));
        assert_eq!((one.slots.len(), other.slots.len()), tables);
    }

    #[test]
    fn watchers_and_blocked_clients_are_notified_of_changes_only() {
        let (mut home, mut stage) = (keyspace(), keyspace());
        stage.set_journaling(true);
        let slot = Slot::of(b"{a}");
        let guards = [b"{a}1", b"{a}2", b"{a}3"].map(|key| {
            let guard = Guard::default();
            home.watch(home.key(slot, key), &guard);
            guard
        });
        home.set_awaited(b"{a}3", true);
        set(&mut home, b"{a}1", 1, Ttl::Clear);
        set(&mut home, b"{a}2", 2, Ttl::Clear);
        let guard = Guard::default();
        home.watch(home.key(slot, b"{a}2"), &guard);
        home.transfer_slot(slot, &mut stage);
        let read = stage.key(slot, b"{a}2");
        assert!(stage.read(read).is_some());
        set(&mut stage, b"{a}3", 3, Ttl::Clear);
        assert!(!guards[2].is_tripped() && !home.has_ready());
        stage.transfer_slot(slot, &mut home);
        let touched = stage.take_touched();
        assert!(!touched.all);
        touched.keys.iter().for_each(|key| home.touch_transferred(Slot::of(key), key));
        assert!(guards[2].is_tripped() && home.has_ready());
        assert!(!guard.is_tripped(), "what was only read is as it was");
        home.touch_all_transferred();
        assert!(guard.is_tripped());
    }
}
