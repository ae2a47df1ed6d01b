//! Who is watching which keys.
//!
//! A session that WATCHes holds a [`Guard`]; the keyspace files it under each watched key and
//! trips it when that key is touched. EXEC then reads one flag. A flag, not a version: a version
//! per key misses create-then-delete, and costs every key its bytes.
//!
//! ```text
//! session ──Arc──► Guard { dirty } ◄──Arc── watchers[key] ◄── keyspace.touch(key)
//! ```
//!
//! A session that unwatches or leaves just drops its side; what it registered is dead weight that the
//! next [`Watchers::file`] or touch clears away, so the table stays within twice what is alive.

use super::{Key, Keyspace, Millis};
use crate::slot::Slot;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};

/// One session's set of WATCHes, from the first WATCH to the EXEC, UNWATCH or DISCARD that ends it.
#[derive(Clone, Debug, Default)]
pub struct Guard(Arc<Guarded>);

#[derive(Debug, Default)]
struct Guarded {
    is_tripped: AtomicBool,
    /// When the first key was filed; 0 before.
    since: AtomicI64,
    cause: OnceLock<Cause>,
}

/// What tripped a guard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// The key that was touched.
    pub key: Box<[u8]>,
    /// When.
    pub at: Millis,
    /// Who did it; nobody, if the key expired or moved.
    pub writer: Option<Writer>,
}

/// Who changes keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Writer {
    /// A client's id.
    pub client: u64,
    /// The number of a command's row.
    pub command: u16,
}

impl Guard {
    /// Whether a watched key has been touched. Exact while the keys' shard is held.
    #[must_use]
    pub fn is_tripped(&self) -> bool {
        self.0.is_tripped.load(Ordering::Acquire)
    }

    /// Marks the guarded transaction as lost.
    pub fn trip(&self) {
        self.0.is_tripped.store(true, Ordering::Release);
    }

    /// When its first key was registered.
    #[must_use]
    pub fn since(&self) -> Millis {
        self.0.since.load(Ordering::Relaxed)
    }

    /// What tripped it first, if a key was touched.
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
    /// The key had expired when it was watched but still lay there: its removal changes nothing.
    expired: bool,
}

/// A keyspace's watched keys. Every list in it is non-empty.
#[derive(Debug, Default)]
pub struct Watchers {
    by_key: HashMap<Box<[u8]>, Vec<Watcher>>,
    /// How many watchers are registered, dead ones too.
    registered: usize,
    /// When `filed` reaches this, the dead are cleared away.
    sweep_at: usize,
    /// Who changes keys at this moment.
    pub writer: Option<Writer>,
    /// Whether a guard was tripped since somebody last asked.
    pub has_tripped: bool,
}

/// Fewer registered watchers than this are not worth a sweep.
const SWEEP_MIN: usize = 1024;

impl Watchers {
    /// Whether nobody watches anything: the one test that a write makes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    /// Files `guard` under `key`; `expired` says that the key lies there but has expired.
    pub fn add(&mut self, key: &[u8], guard: &Guard, expired: bool, now: Millis) {
        // A guard has several keys; its age is the first one's.
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

    /// Takes `guard` out of the lists of `keys`.
    pub fn remove<'k>(&mut self, keys: impl Iterator<Item = &'k [u8]>, guard: &Guard) {
        for key in keys {
            self.retain(key, |watcher| !watcher.guard.is(guard));
        }
    }

    /// The key was changed, created or removed. `gone` says that it is not there any more: who
    /// began to watch it when it had already expired then sees no change.
    pub fn touch(&mut self, key: &[u8], gone: bool, now: Millis) {
        let (writer, mut has_tripped) = (self.writer, self.has_tripped);
        self.retain(key, |watcher| {
            if watcher.expired && gone {
                watcher.expired = false;
                return true;
            }
            if !watcher.guard.is_tripped() {
                // A guard over several slots may be tripped on another shard at this moment: then that
                // one is the cause.
                let _ = watcher.guard.0.cause.set(Cause { key: key.into(), at: now, writer });
                has_tripped = true;
            }
            watcher.guard.trip();
            false
        });
        self.has_tripped = has_tripped;
    }

    /// Whether `guard` was registered under `key` when the key had expired already.
    #[must_use]
    pub fn was_expired(&self, key: &[u8], guard: &Guard) -> bool {
        let watchers = self.by_key.get(key).map_or(&[][..], Vec::as_slice);
        watchers.iter().any(|w| w.expired && w.guard.is(guard))
    }

    /// Every watched key.
    pub fn keys(&self) -> impl Iterator<Item = &[u8]> {
        self.by_key.keys().map(|key| &**key)
    }

    /// Drops what sessions have abandoned.
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
    /// Trips `guard` when `key` is touched from now on.
    pub fn watch(&mut self, key: Key<'_>, guard: &Guard) {
        let now = self.now;
        let expired = self
            .find_even_expired(key)
            .is_some_and(|(s, at)| self.slots[s].table.entries()[at].has_expired(now));
        self.watchers.add(key.bytes, guard, expired, now);
    }

    /// Ends the watch of `keys` by `guard` and says whether it had been lost: a key was touched,
    /// or has expired since, even if nobody has taken it away yet.
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

    /// Whether somebody watches a key, or did and has left.
    #[must_use]
    #[inline]
    pub fn is_watched(&self) -> bool {
        !self.watchers.is_empty()
    }

    /// Says who changes keys from now on: whose guards are tripped gets to know; nobody, if it is
    /// time itself.
    #[inline]
    pub fn set_writer(&mut self, writer: Option<Writer>) {
        self.watchers.writer = writer;
    }

    /// Whether a guard was tripped since this was last asked.
    pub fn take_tripped(&mut self) -> bool {
        std::mem::take(&mut self.watchers.has_tripped)
    }

    /// Forgets watches that their sessions have abandoned.
    pub fn sweep_watchers(&mut self) {
        self.watchers.sweep();
    }

    /// How many keys are watched, by sessions that may have left since.
    #[must_use]
    pub fn watched(&self) -> usize {
        self.watchers.keys().count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_touch_trips_who_watches_the_key() {
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
    fn a_guard_knows_what_tripped_it_first_and_who() {
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
    fn the_removal_of_what_had_expired_is_no_change() {
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
