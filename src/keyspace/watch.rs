//! WATCH: which guards are tripped by a change of which keys.
//!
//! A session that watches keys holds a [`Guard`]; the keyspace registers it under each watched key
//! and trips it when that key changes. EXEC then reads one flag. A flag rather than a version per
//! key: a version misses create-then-delete, and costs every key its bytes.
//!
//! ```text
//! session ──Arc──► Guard { dirty } ◄──Arc── watchers[key] ◄── keyspace.touch(key)
//! ```
//!
//! A session that disconnects just drops its side. The registrations left behind are removed by the
//! next [`Watchers::add`] that finds too many or by a touch, so the table stays within twice the
//! live ones.

use super::{Key, Keyspace, Millis};
use crate::slot::Slot;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};

/// One session's watches, from the first WATCH to the EXEC, UNWATCH or DISCARD that ends them.
#[derive(Clone, Debug, Default)]
pub struct Guard(Arc<Guarded>);

#[derive(Debug, Default)]
struct Guarded {
    is_tripped: AtomicBool,
    /// When the first key was watched; 0 before.
    since: AtomicI64,
    cause: OnceLock<Cause>,
}

/// What tripped a guard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// The changed key.
    pub key: Box<[u8]>,
    /// When.
    pub at: Millis,
    /// The client and command; `None` if the key expired or moved.
    pub writer: Option<Writer>,
}

/// The client and the command that change keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Writer {
    /// A client's id.
    pub client: u64,
    /// The number of the command's row.
    pub command: u16,
}

impl Guard {
    /// Returns whether a watched key has changed. Exact while the keys' shard is held.
    #[must_use]
    pub fn is_tripped(&self) -> bool {
        self.0.is_tripped.load(Ordering::Acquire)
    }

    /// Marks the guarded transaction as lost.
    pub fn trip(&self) {
        self.0.is_tripped.store(true, Ordering::Release);
    }

    /// Returns when its first key was watched.
    #[must_use]
    pub fn since(&self) -> Millis {
        self.0.since.load(Ordering::Relaxed)
    }

    /// Returns what tripped it first, if a key did.
    #[must_use]
    pub fn cause(&self) -> Option<&Cause> {
        self.0.cause.get()
    }

    fn is_abandoned(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }

    fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

#[derive(Debug)]
struct Watcher {
    guard: Guard,
    /// The key had expired, but was still in the table, when it was watched: its removal changes
    /// nothing.
    expired: bool,
}

/// A keyspace's watched keys. No list is empty.
#[derive(Debug, Default)]
pub struct Watchers {
    by_key: HashMap<Box<[u8]>, Vec<Watcher>>,
    /// Registered watchers, abandoned ones included.
    registered: usize,
    /// When `filed` reaches this, abandoned watchers are removed.
    sweep_at: usize,
    /// The client and command that change keys now, recorded as the cause.
    pub writer: Option<Writer>,
    /// Whether a guard was tripped since this was last cleared.
    pub has_tripped: bool,
}

/// Fewer registered watchers than this are not worth a sweep.
const SWEEP_MIN: usize = 1024;

impl Watchers {
    /// Returns whether there are no watchers: the one test that a write makes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    /// Registers `guard` under `key`; `expired` means that the key is in the table but has expired.
    pub fn add(&mut self, key: &[u8], guard: &Guard, expired: bool, now: Millis) {
        // A guard's age is that of its first key.
        let _ = guard.0.since.compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed);
        if self.registered >= self.sweep_at.max(SWEEP_MIN) {
            self.sweep();
        }
        let watchers = match self.by_key.get_mut(key) {
            Some(watchers) => watchers,
            None => self.by_key.entry(key.into()).or_default(),
        };
        if !watchers.iter().any(|w| w.guard.is(guard)) {
            watchers.push(Watcher { guard: guard.clone(), expired });
            self.registered += 1;
        }
    }

    /// Removes `guard` from the lists of `keys`.
    pub fn remove<'k>(&mut self, keys: impl Iterator<Item = &'k [u8]>, guard: &Guard) {
        for key in keys {
            self.retain(key, |watcher| !watcher.guard.is(guard));
        }
    }

    /// Trips the guards that watch `key`, which was changed, created or removed. `gone` means that
    /// it does not exist any more: a guard registered when the key had already expired then sees no
    /// change.
    pub fn touch(&mut self, key: &[u8], gone: bool, now: Millis) {
        let (writer, mut has_tripped) = (self.writer, self.has_tripped);
        self.retain(key, |watcher| {
            if watcher.expired && gone {
                watcher.expired = false;
                return true;
            }
            if !watcher.guard.is_tripped() {
                // A guard over several slots may be tripped on another shard at this moment: then
                // that change is the cause.
                let _ = watcher.guard.0.cause.set(Cause { key: key.into(), at: now, writer });
                has_tripped = true;
            }
            watcher.guard.trip();
            false
        });
        self.has_tripped = has_tripped;
    }

    /// Returns whether `guard` was registered under `key` when the key had already expired.
    #[must_use]
    pub fn was_expired(&self, key: &[u8], guard: &Guard) -> bool {
        let watchers = self.by_key.get(key).map_or(&[][..], Vec::as_slice);
        watchers.iter().any(|w| w.expired && w.guard.is(guard))
    }

    /// Returns every watched key.
    pub fn keys(&self) -> impl Iterator<Item = &[u8]> {
        self.by_key.keys().map(|key| &**key)
    }

    /// Removes abandoned watchers.
    pub fn sweep(&mut self) {
        self.by_key.retain(|_, watchers| {
            watchers.retain(|w| !w.guard.is_abandoned());
            !watchers.is_empty()
        });
        self.registered = self.by_key.values().map(Vec::len).sum();
        self.sweep_at = 2 * self.registered;
        self.by_key.shrink_to(2 * self.by_key.len());
    }

    fn retain(&mut self, key: &[u8], keep: impl FnMut(&mut Watcher) -> bool) {
        let Some(watchers) = self.by_key.get_mut(key) else { return };
        let before = watchers.len();
        watchers.retain_mut(keep);
        self.registered -= before - watchers.len();
        if watchers.is_empty() {
            self.by_key.remove(key);
        }
    }
}

impl Keyspace {
    /// Registers `guard`: a change of `key` trips it from now on.
    pub fn watch(&mut self, key: Key<'_>, guard: &Guard) {
        let now = self.now;
        let expired = self
            .find_even_expired(key)
            .is_some_and(|(s, at)| self.slots[s].table.entries()[at].has_expired(now));
        self.watchers.add(key.bytes, guard, expired, now);
    }

    /// Ends the watch of `keys` by `guard`; returns whether the guard is lost: a key was changed,
    /// or has expired since, even if it is still in the table.
    pub fn unwatch<'k>(
        &mut self,
        keys: impl Iterator<Item = &'k [u8]> + Clone,
        guard: &Guard,
    ) -> bool {
        let now = self.now;
        let lost = guard.is_tripped()
            || keys.clone().any(|bytes| {
                let key = self.key(Slot::of(bytes), bytes);
                let place = self.find_even_expired(key);
                place.is_some_and(|(s, at)| self.slots[s].table.entries()[at].has_expired(now))
                    && !self.watchers.was_expired(bytes, guard)
            });
        self.watchers.remove(keys, guard);
        lost
    }

    /// Returns whether any key is watched, by live or abandoned guards.
    #[must_use]
    #[inline]
    pub fn is_watched(&self) -> bool {
        !self.watchers.is_empty()
    }

    /// Sets the writer recorded in the guards tripped from now on; `None` for time itself.
    #[inline]
    pub fn set_writer(&mut self, writer: Option<Writer>) {
        self.watchers.writer = writer;
    }

    /// Returns whether a guard was tripped since the last call.
    pub fn take_tripped(&mut self) -> bool {
        std::mem::take(&mut self.watchers.has_tripped)
    }

    /// Removes watches that sessions have abandoned.
    pub fn sweep_watchers(&mut self) {
        self.watchers.sweep();
    }

    /// Returns the number of watched keys, abandoned watches included.
    #[must_use]
    pub fn watched(&self) -> usize {
        self.watchers.keys().count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_touch_trips_the_guards_of_the_key() {
        let (mut watchers, mine, other) = (Watchers::default(), Guard::default(), Guard::default());
        watchers.add(b"a", &mine, false, 5);
        watchers.add(b"b", &other, false, 5);
        watchers.touch(b"a", false, 7);
        assert!(mine.is_tripped() && !other.is_tripped());
        watchers.remove([&b"b"[..]].into_iter(), &other);
        watchers.touch(b"b", true, 7);
        assert!(!other.is_tripped() && watchers.is_empty() && watchers.registered == 0);
    }

    #[test]
    fn a_guard_records_what_tripped_it_first() {
        let (mut watchers, guard) = (Watchers::default(), Guard::default());
        watchers.add(b"a", &guard, false, 5);
        watchers.add(b"b", &guard, false, 6);
        watchers.touch(b"other", false, 7);
        assert!(!watchers.has_tripped && guard.cause().is_none());
        let writer = Some(Writer { client: 3, command: 9 });
        watchers.writer = writer;
        watchers.touch(b"b", true, 8);
        assert!(watchers.has_tripped);
        watchers.writer = None;
        watchers.touch(b"a", false, 9);
        assert_eq!(guard.since(), 5);
        assert_eq!(guard.cause(), Some(&Cause { key: b"b"[..].into(), at: 8, writer }));
    }

    #[test]
    fn the_removal_of_an_expired_key_is_no_change() {
        let (mut watchers, guard) = (Watchers::default(), Guard::default());
        watchers.add(b"a", &guard, true, 5);
        watchers.touch(b"a", true, 7);
        assert!(!guard.is_tripped());
        watchers.touch(b"a", false, 7);
        assert!(guard.is_tripped());
    }

    #[test]
    fn abandoned_watches_do_not_pile_up() {
        let mut watchers = Watchers::default();
        let alive = Guard::default();
        watchers.add(b"alive", &alive, false, 5);
        for i in 0..100_000u32 {
            watchers.add(&i.to_le_bytes(), &Guard::default(), false, 5);
        }
        assert!(watchers.registered <= 2 * SWEEP_MIN, "{}", watchers.registered);
        watchers.touch(b"alive", false, 7);
        assert!(alive.is_tripped());
    }
}
