//! Reading keys: with or without a hit counted, an access time, an event for a miss.

use super::{Entry, Key, Keyspace, Value, event};

impl Keyspace {
    /// Reads a key: counts a hit or a miss and notes the access.
    #[inline]
    pub fn read(&mut self, key: Key<'_>) -> Option<&Value> {
        let Some((s, at)) = self.find(key) else {
            self.miss(key.bytes);
            return None;
        };
        self.counts.hits += 1;
        let second = (self.now / 1000) as u32;
        let entry = self.slots[s].table.at_mut(at);
        // A write to a line that was only read costs more than the comparison.
        if entry.accessed != second && !self.no_touch {
            entry.accessed = second;
        }
        Some(&entry.value)
    }

    /// Looks at a key as a read that counts a hit or a miss, but is no use of it: its access time
    /// stays. TYPE and TTL read so.
    pub fn inspect(&mut self, key: Key<'_>) -> Option<&Entry> {
        let Some((s, at)) = self.find(key) else {
            self.miss(key.bytes);
            return None;
        };
        self.counts.hits += 1;
        Some(&self.slots[s].table.entries()[at])
    }

    /// The same, but nobody is told of a miss. OBJECT reads so.
    pub fn inspect_without_event(&mut self, key: Key<'_>) -> Option<&Entry> {
        let Some((s, at)) = self.find(key) else {
            self.counts.misses += 1;
            return None;
        };
        self.counts.hits += 1;
        Some(&self.slots[s].table.entries()[at])
    }

    /// Looks at a key without leaving a trace: no count, no access time.
    pub fn peek(&mut self, key: Key<'_>) -> Option<&Entry> {
        let (s, at) = self.find(key)?;
        Some(&self.slots[s].table.entries()[at])
    }

    /// Looks at a key that was read just now, so that several can be looked at at once. One that
    /// has expired is not there, but nobody takes it away.
    #[must_use]
    pub fn get(&self, key: Key<'_>) -> Option<&Value> {
        let (s, at) = self.find_even_expired(key)?;
        let entry = &self.slots[s].table.entries()[at];
        (!entry.has_expired(self.now)).then_some(&entry.value)
    }

    /// Counts and tells a read that did not meet its key.
    fn miss(&mut self, key: &[u8]) {
        self.counts.misses += 1;
        self.notify_event(event::MISS, "keymiss", key);
    }
}
