//! Changing keys: every change marks the key as touched, see [`Keyspace::touch`].

use super::entry::NEVER;
use super::{DetachedValue, Entry, Key, Keyspace, Millis, SlotTable, Ttl, Value, event};
use crate::slot::Slot;

/// What an edit did to a value, with what the editor wants to tell its caller.
#[derive(Debug)]
pub enum Edited<R> {
    /// Nothing changed: nobody who watches the key is told.
    Kept(R),
    /// The value changed.
    Changed(R),
    /// The value changed and nothing is left of it: the key goes.
    Emptied(R),
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
    /// Sets a key, whatever was there before.
    pub fn set(&mut self, key: Key<'_>, value: Value, ttl: Ttl) {
        let accessed = (self.now / 1000) as u32;
        if let Some((s, at)) = self.find(key) {
            let slot = &mut self.slots[s];
            let entry = slot.table.at_mut(at);
            let old = std::mem::replace(&mut entry.value, value);
            if !self.no_touch {
                entry.accessed = accessed;
            }
            let expires_at = ttl.apply(entry.expires_at);
            let change = i32::from(expires_at != NEVER) - i32::from(entry.expires_at != NEVER);
            entry.expires_at = expires_at;
            self.count_volatile(s, change);
            self.free_lazily(old);
        } else {
            let expires_at = ttl.apply(NEVER);
            let entry = Entry { key: key.bytes.into(), value, expires_at, accessed };
            let s = self.slot_table(key.slot);
            self.slots[s].table.insert(entry, key.hint.hash, &self.hasher);
            self.len += 1;
            self.count_volatile(s, i32::from(expires_at != NEVER));
            self.notify_event(event::NEW, "new", key.bytes);
        }
        self.touch(key.bytes, false);
        if !self.awaited.is_empty() {
            self.note_ready(key.bytes);
        }
    }

    /// Changes the value of a key that is there, telling whoever watches it if `edit` says so.
    /// `None` if the key is not there.
    pub fn edit<R>(
        &mut self,
        key: Key<'_>,
        edit: impl FnOnce(&mut Value) -> Edited<R>,
    ) -> Option<R> {
        let (s, at) = self.find(key)?;
        let accessed = (self.now / 1000) as u32;
        let entry = self.slots[s].table.at_mut(at);
        if !self.no_touch {
            entry.accessed = accessed;
        }
        Some(match edit(&mut entry.value) {
            Edited::Kept(result) => result,
            Edited::Changed(result) => {
                self.touch(key.bytes, false);
                result
            }
            Edited::Emptied(result) => {
                let gone = self.remove_at(s, at);
                self.touch(key.bytes, true);
                // An editor that takes all need not take it out one by one.
                self.free_lazily(gone.value);
                result
            }
        })
    }

    /// Removes a key; gives what it held.
    pub fn remove(&mut self, key: Key<'_>) -> Option<Value> {
        let (s, at) = self.find(key)?;
        let entry = self.remove_at(s, at);
        self.touch(key.bytes, true);
        Some(entry.value)
    }

    /// Removes a key to hand it over to another keyspace; nobody is told but who watches it.
    pub fn detach(&mut self, key: Key<'_>) -> Option<DetachedValue> {
        let (s, at) = self.find(key)?;
        let entry = self.remove_at(s, at);
        self.touch(key.bytes, true);
        let expires_at = entry.expires_at();
        Some(DetachedValue { value: entry.value, expires_at })
    }

    /// Sets a key to what another keyspace has handed over, whatever was there before.
    pub fn insert_detached(&mut self, key: Key<'_>, value: DetachedValue) {
        let ttl = value.expires_at.map_or(Ttl::Clear, Ttl::At);
        self.set(key, value.value, ttl);
    }

    /// Removes a key and frees what it held; says whether it was there.
    pub fn delete(&mut self, key: Key<'_>) -> bool {
        let gone = self.remove(key);
        let was_there = gone.is_some();
        if let Some(value) = gone {
            self.free_lazily(value);
        }
        was_there
    }

    /// Changes when a key expires, telling whoever watches it; says whether the key was there.
    /// A time that has passed takes the key away at once.
    pub fn set_expiry(&mut self, key: Key<'_>, expires_at: Option<Millis>) -> bool {
        self.edit_expiry(key, |_| expires_at.map_or(Ttl::Clear, Ttl::At))
    }

    /// Changes when a key expires as `decide` says, who is told when it expires so far; with
    /// [`Ttl::Keep`] nothing changes and nobody is told. Says whether it changed. A time that has
    /// passed takes the key away at once.
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
                self.free_lazily(gone.value);
            }
            Ttl::Clear | Ttl::At(_) => {
                let expires_at = ttl.apply(NEVER);
                let change = i32::from(expires_at != NEVER) - i32::from(entry.expires_at != NEVER);
                entry.expires_at = expires_at;
                self.count_volatile(s, change);
                self.touch(key.bytes, false);
            }
        }
        true
    }

    /// Makes a key look as if it had last been used `idle_s` seconds ago; nobody is told.
    pub fn set_idle(&mut self, key: Key<'_>, idle_s: u64) {
        if let Some((s, at)) = self.find(key) {
            let second = (self.now / 1000) as u64;
            self.slots[s].table.at_mut(at).accessed = second.saturating_sub(idle_s) as u32;
        }
    }

    /// Removes every key; gives how many there were. Watchers of keys that were there are told.
    pub fn clear(&mut self) -> usize {
        let watched: Vec<Box<[u8]>> = self.watchers.keys().map(Into::into).collect();
        for bytes in watched {
            let key = self.key(Slot::of(&bytes), &bytes);
            if self.find_even_expired(key).is_some() {
                self.watchers.touch(&bytes, true, self.now);
            }
        }
        if self.len > 0 {
            let empty = std::iter::repeat_with(SlotTable::default).take(self.slots.len()).collect();
            let gone = std::mem::replace(&mut self.slots, empty);
            self.lazy_free.0.push(Box::new(gone));
        }
        self.volatile = 0;
        if let Some(journal) = &mut self.journal {
            journal.mark_cleared();
        }
        std::mem::take(&mut self.len)
    }

    /// Hands a removed value over to be freed, away from the shard if that takes long.
    pub fn free_lazily(&mut self, value: Value) {
        if value.is_slow_to_free() {
            self.lazy_free.0.push(Box::new(value));
        }
    }

    /// Whether something slow to free was removed.
    #[must_use]
    pub fn has_lazy_free(&self) -> bool {
        !self.lazy_free.0.is_empty()
    }

    /// What is slow to free, if there is any: dropping it frees it.
    pub fn take_lazy_free(&mut self) -> Option<LazyFree> {
        (!self.lazy_free.0.is_empty()).then(|| std::mem::take(&mut self.lazy_free))
    }

    /// Makes tables and counts agree with the entries again, after a panic amid a change.
    pub fn rebuild_index(&mut self) {
        for slot in &mut self.slots {
            slot.table.rebuild_index(&self.hasher);
            slot.volatile =
                slot.table.entries().iter().filter(|e| e.expires_at != NEVER).count() as u32;
        }
        self.len = self.slots.iter().map(|slot| slot.table.len()).sum();
        self.volatile = self.slots.iter().map(|slot| slot.volatile as usize).sum();
        if let Some(journal) = &mut self.journal {
            journal.mark_everything();
        }
    }
}
