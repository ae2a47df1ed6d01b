//! Writing keys. Every change calls [`Keyspace::touch`].

use super::entry::{Expiring, NEVER};
use super::value::LAZY_FREE_LEN;
use super::{DetachedValue, Entry, Group, Key, Keyspace, Millis, SlotTable, Ttl, Value, event};
use crate::slot::Slot;

/// What an edit did to a value, with the editor's result.
#[derive(Debug)]
pub enum Edited<R> {
    /// Nothing changed: no guard is tripped.
    Kept(R),
    /// The value changed.
    Changed(R),
    /// The value changed and is empty now: the key is removed.
    Emptied(R),
    /// The value changed in a way that trips no guard: a consumer group did.
    Unwatched(R),
}

/// Removed values that are slow to free; dropping this frees them.
#[derive(Default)]
pub struct LazyFree(Vec<Box<dyn Send>>);

impl std::fmt::Debug for LazyFree {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LazyFree({})", self.0.len())
    }
}

impl Keyspace {
    /// Sets a key, overwriting any previous value.
    #[inline]
    pub fn set(&mut self, key: Key<'_>, value: Value, ttl: Ttl) {
        self.put(key, value, ttl);
        self.touch(key.bytes, false);
        if !self.awaited.is_empty() {
            self.note_ready(key.bytes);
        }
    }

    /// As [`Keyspace::set`], but trips no guard: for what Redis does unnoticed.
    pub fn set_unwatched(&mut self, key: Key<'_>, value: Value, ttl: Ttl) {
        self.put(key, value, ttl);
        self.record_unwatched(key.bytes);
    }

    #[inline]
    fn put(&mut self, key: Key<'_>, value: Value, ttl: Ttl) {
        let (accessed, no_touch) = (self.second, self.no_touch);
        if let Some(entry) = self.whole_entry(&key)
            // A string in place of another, and neither expires: nothing is to be counted.
            && !matches!(ttl, Ttl::At(_))
            && entry.is_lasting_string()
            && value.is_simple_string()
        {
            entry.value = value;
            if !no_touch {
                entry.accessed = accessed;
            }
            return;
        }
        self.put_any(key, value, ttl);
    }

    #[inline(never)]
    fn put_any(&mut self, key: Key<'_>, value: Value, ttl: Ttl) {
        let accessed = self.second;
        if let Some((s, at)) = self.find(key) {
            let slot = &mut self.slots[s];
            let entry = slot.table.at_mut(at);
            let (before, expires_at) = (entry.expiring(), ttl.apply(entry.expiry()));
            let old = std::mem::replace(&mut entry.value, value);
            if !self.no_touch {
                entry.accessed = accessed;
            }
            entry.set_expiry(expires_at);
            let after = entry.expiring();
            self.count_expiring(s, before, after);
            self.free_lazily(old);
        } else {
            let expires_at = ttl.apply(NEVER);
            let entry = Entry::new(key.bytes.into(), value, expires_at, accessed);
            let (s, after) = (self.slot_table(key.slot), entry.expiring());
            self.slots[s].table.insert(entry, key.hint.hash, &self.hasher);
            self.len += 1;
            self.count_expiring(s, Expiring::default(), after);
            self.notify_event(event::NEW, "new", key.bytes);
        }
    }

    /// Edits the value of an existing key in place and touches the key if `edit` says that it
    /// changed. Returns `None` if there is no such key.
    pub fn edit<R>(
        &mut self,
        key: Key<'_>,
        edit: impl FnOnce(&mut Value) -> Edited<R>,
    ) -> Option<R> {
        let (s, at) = self.find(key)?;
        let accessed = self.second;
        let entry = self.slots[s].table.at_mut(at);
        if !self.no_touch {
            entry.accessed = accessed;
        }
        let before = entry.is_timed().then(|| entry.expiring());
        let edited = edit(&mut entry.value);
        if before.is_some() || entry.is_timed() {
            let before = before.unwrap_or_else(|| entry.expiring_alone());
            self.value_changed(s, at, before);
        }
        Some(match edited {
            Edited::Kept(result) => result,
            Edited::Changed(result) => {
                self.touch(key.bytes, false);
                result
            }
            Edited::Emptied(result) => {
                let gone = self.remove_at(s, at);
                self.touch(key.bytes, true);
                // An editor that empties a collection may leave the elements in it.
                self.free_lazily(gone.value);
                result
            }
            Edited::Unwatched(result) => {
                if let Some(journal) = &mut self.journal {
                    journal.mark_unwatched(key.bytes);
                }
                result
            }
        })
    }

    /// Removes a key and returns its value.
    pub fn remove(&mut self, key: Key<'_>) -> Option<Value> {
        let (s, at) = self.find(key)?;
        let entry = self.remove_at(s, at);
        self.touch(key.bytes, true);
        self.note_stream_gone(key.bytes, &entry.value);
        Some(entry.value)
    }

    /// Removes a key to move it to another keyspace; notifies watchers only, publishes no event.
    pub fn detach(&mut self, key: Key<'_>) -> Option<DetachedValue> {
        let (s, at) = self.find(key)?;
        let entry = self.remove_at(s, at);
        self.touch(key.bytes, true);
        let expires_at = entry.expires_at();
        Some(DetachedValue { value: entry.value, expires_at })
    }

    /// Sets a key to a value detached from another keyspace, overwriting any previous value.
    pub fn insert_detached(&mut self, key: Key<'_>, value: DetachedValue) {
        let ttl = value.expires_at.map_or(Ttl::Clear, Ttl::At);
        self.set(key, value.value, ttl);
    }

    /// Removes a key and frees its value; returns whether the key existed.
    pub fn delete(&mut self, key: Key<'_>) -> bool {
        let gone = self.remove(key);
        let was_there = gone.is_some();
        if let Some(value) = gone {
            self.free_lazily(value);
        }
        was_there
    }

    /// Sets or removes the expiry of a key and touches the key; returns whether the key exists. An
    /// expiry in the past removes the key at once.
    pub fn set_expiry(&mut self, key: Key<'_>, expires_at: Option<Millis>) -> bool {
        self.edit_expiry(key, |_| expires_at.map_or(Ttl::Clear, Ttl::At))
    }

    /// Changes the expiry of a key as `decide` says, given the present expiry; [`Ttl::Keep`]
    /// changes nothing and touches nothing. Returns whether it changed. An expiry in the past
    /// removes the key at once.
    pub fn edit_expiry(
        &mut self,
        key: Key<'_>,
        decide: impl FnOnce(Option<Millis>) -> Ttl,
    ) -> bool {
        let Some((s, at)) = self.find(key) else { return false };
        let now = self.now;
        let entry = self.slots[s].table.at_mut(at);
        if !self.no_touch {
            entry.accessed = (now / 1000) as u32;
        }
        let ttl = decide(entry.expires_at());
        match ttl {
            Ttl::Keep => return false,
            Ttl::At(end) if end <= now => {
                let gone = self.remove_at(s, at);
                self.touch(key.bytes, true);
                self.note_stream_gone(key.bytes, &gone.value);
                self.free_lazily(gone.value);
            }
            Ttl::Clear | Ttl::At(_) => {
                let before = entry.expiring();
                entry.set_expiry(ttl.apply(NEVER));
                let after = entry.expiring();
                self.count_expiring(s, before, after);
                self.touch(key.bytes, false);
            }
        }
        true
    }

    /// Sets a key's access time to `idle_s` seconds ago; touches nothing.
    pub fn set_idle(&mut self, key: Key<'_>, idle_s: u64) {
        if let Some((s, at)) = self.find(key) {
            let second = (self.now / 1000) as u64;
            self.slots[s].table.at_mut(at).accessed = second.saturating_sub(idle_s) as u32;
        }
    }

    /// Removes every key and returns how many there were. Trips the guards of keys that existed.
    pub fn clear(&mut self) -> usize {
        let watched: Vec<Box<[u8]>> = self.watchers.keys().map(Into::into).collect();
        for bytes in watched {
            let key = self.key(Slot::of(&bytes), &bytes);
            if self.find_even_expired(key).is_some() {
                self.watchers.touch(&bytes, true, self.now);
            }
        }
        self.note_streams_gone();
        self.note_emptied();
        if self.len > 0 {
            let empty = std::iter::repeat_with(SlotTable::default).take(self.slots.len()).collect();
            let gone = std::mem::replace(&mut self.slots, empty);
            self.lazy_free.0.push(Box::new(gone));
            self.counts.freed_lazily += self.len as u64;
        }
        (self.volatile, self.with_ends) = (0, 0);
        if let Some(journal) = &mut self.journal {
            journal.mark_cleared();
        }
        std::mem::take(&mut self.len)
    }

    /// Frees a removed value; one that is slow to free is kept until the shard is released.
    pub fn free_lazily(&mut self, value: Value) {
        if value.is_slow_to_free() {
            self.lazy_free.0.push(Box::new(value));
            self.counts.freed_lazily += 1;
        }
    }

    /// Frees a consumer group that was removed; one that is slow to free is kept as a value is.
    pub fn free_group_lazily(&mut self, group: Group) {
        if group.pending().len() > LAZY_FREE_LEN {
            self.lazy_free.0.push(Box::new(group));
            self.counts.freed_lazily += 1;
        }
    }

    /// Returns whether a removed value waits to be freed.
    #[must_use]
    pub fn has_lazy_free(&self) -> bool {
        !self.lazy_free.0.is_empty()
    }

    /// Takes the values that wait to be freed, if any: dropping them frees them.
    pub fn take_lazy_free(&mut self) -> Option<LazyFree> {
        (!self.lazy_free.0.is_empty()).then(|| std::mem::take(&mut self.lazy_free))
    }

    /// Rebuilds indexes and counts from the entries, after a panic in the middle of a change.
    pub fn rebuild_index(&mut self) {
        for slot in &mut self.slots {
            slot.table.rebuild_index(&self.hasher);
            (slot.expiring, slot.volatile, slot.with_ends) = (0, 0, 0);
            for Expiring { any, key, fields } in slot.table.entries().iter().map(Entry::expiring) {
                slot.expiring += u32::from(any);
                slot.volatile += u32::from(key);
                slot.with_ends += u32::from(fields);
            }
        }
        self.len = self.slots.iter().map(|slot| slot.table.len()).sum();
        self.volatile = self.slots.iter().map(|slot| slot.volatile as usize).sum();
        self.with_ends = self.slots.iter().map(|slot| slot.with_ends as usize).sum();
        self.note_emptied();
        if let Some(journal) = &mut self.journal {
            journal.mark_everything();
        }
    }
}
