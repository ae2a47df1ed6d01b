//! Reading keys: with or without a hit counted, the access time updated, a `keymiss` event.

use super::{Entry, Key, Keyspace, Millis, SlotTable, Value, event};
use crate::text::short::are_equal;

/// Returns the entry of a key, if there is one of which nothing is due.
#[inline(always)]
fn whole_in<'t>(
    tables: &'t mut [SlotTable],
    table_of_slot: &[u16],
    key: &Key<'_>,
    now: Millis,
) -> Option<&'t mut Entry> {
    let table = &mut tables.get_mut(table_of_slot[key.slot.index()] as usize)?.table;
    let mut at = key.hint.position as usize;
    if !table.entries().get(at).is_some_and(|entry| are_equal(&entry.key, key.bytes)) {
        at = table.find(key.bytes, key.hint.hash)?;
    }
    let entry = table.get_mut(at)?;
    (!entry.is_due(now)).then_some(entry)
}

impl Keyspace {
    /// Returns the entry of a key, if there is one of which nothing is due.
    #[inline(always)]
    pub(super) fn whole_entry(&mut self, key: &Key<'_>) -> Option<&mut Entry> {
        whole_in(&mut self.slots, &self.table_of_slot, key, self.now)
    }

    /// Reads a key as [`Keyspace::read`] does, if there is one of which nothing is due; else there is no
    /// effect.
    #[inline(always)]
    pub fn read_whole(&mut self, key: &Key<'_>) -> Option<&Value> {
        let entry = whole_in(&mut self.slots, &self.table_of_slot, key, self.now)?;
        self.counts.hits += 1;
        if entry.accessed != self.second && !self.no_touch {
            entry.accessed = self.second;
        }
        Some(&entry.value)
    }

    /// Reads a key: counts a hit or a miss and updates the access time.
    #[inline]
    pub fn read(&mut self, key: Key<'_>) -> Option<&Value> {
        let Some((s, at)) = self.find(key) else {
            self.miss(key.bytes);
            return None;
        };
        self.counts.hits += 1;
        let second = self.second;
        let entry = self.slots[s].table.at_mut(at);
        // Writing to a clean cache line costs more than the comparison.
        if entry.accessed != second && !self.no_touch {
            entry.accessed = second;
        }
        Some(&entry.value)
    }

    /// Reads a key without updating its access time; counts a hit or a miss. For TYPE and TTL.
    pub fn inspect(&mut self, key: Key<'_>) -> Option<&Entry> {
        let Some((s, at)) = self.find(key) else {
            self.miss(key.bytes);
            return None;
        };
        self.counts.hits += 1;
        Some(&self.slots[s].table.entries()[at])
    }

    /// As [`Keyspace::inspect`], without a `keymiss` event. For OBJECT.
    pub fn inspect_without_event(&mut self, key: Key<'_>) -> Option<&Entry> {
        let Some((s, at)) = self.find(key) else {
            self.counts.misses += 1;
            return None;
        };
        self.counts.hits += 1;
        Some(&self.slots[s].table.entries()[at])
    }

    /// Reads a key without side effects on counters and access time; an expired key is removed.
    pub fn peek(&mut self, key: Key<'_>) -> Option<&Entry> {
        let (s, at) = self.find(key)?;
        Some(&self.slots[s].table.entries()[at])
    }

    /// Reads a key without any side effect, so that several values can be borrowed at once. An
    /// expired key is not found, but stays in the table.
    #[must_use]
    pub fn get(&self, key: Key<'_>) -> Option<&Value> {
        let (s, at) = self.find_even_expired(key)?;
        let entry = &self.slots[s].table.entries()[at];
        (!entry.has_expired(self.now)).then_some(&entry.value)
    }

    /// Counts a hit: for a command that changes a value in place and counts as one that reads it.
    pub fn count_hit(&mut self) {
        self.counts.hits += 1;
    }

    /// Counts a miss and publishes its event.
    fn miss(&mut self, key: &[u8]) {
        self.counts.misses += 1;
        self.notify_replicated(event::MISS, "keymiss", key, event::Replicated::NOTHING);
    }
}
