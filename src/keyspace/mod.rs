//! What a shard remembers: one table per slot, values with their expiry, and who watches what.
//!
//! ```text
//! Keyspace
//!  ├─ place[slot] ──► slots[i] ──► Table of Entry { key, value, expires_at, accessed }
//!  └─ watchers: key ──► guards to trip
//! ```
//!
//! A table per slot bounds how long a growing table can stall the shard, gives SCAN a cursor that
//! survives growth, counts keys per slot for nothing, and makes moving a slot the move of one
//! table. Time and chance come in from outside: [`Keyspace::begin`] sets the time once per batch.
//!
//! A key that has expired is gone for whoever asks; the first to meet it takes it away, and
//! [`Keyspace::expire_some`] takes away what nobody meets.

mod blob;
mod journal;
pub mod event;
mod hash;
mod packed_item;
mod slot_transfer;
mod list;
mod probe;
mod prefetch;
mod set;
mod table;
mod value;
mod scan;
mod watch;
mod zset;

pub use blob::{Blob, INLINE_LEN_MAX};
pub use event::{Event, EventClass};
pub use hash::{Hash, Indexed, PackLimits, Pair, Pairs};
pub use journal::Changes;
pub use list::{EncodedElement, End, Iter as Elements, List, PieceLimit};
pub use probe::{KeyHint, ProbeStage};
pub use set::{BorrowedMember, Member, Set};
pub use slot_transfer::TouchedKeys;
pub use table::{KeyHasher, Keyed, Table};
pub use value::{Digits, EMBSTR_LEN_MAX, SHARED_INTEGERS, Text, Value};
pub use watch::{Cause, Guard, Watchers, Writer};
pub use zset::{LexBound, ScoreBound, Zset, ZsetBuilder};

use crate::slot::{SLOTS, Slot};
use journal::Journal;
use std::collections::HashSet;

/// Milliseconds since the Unix epoch.
pub type Millis = i64;

/// A value with more elements than this is freed away from the shard.
pub const LAZY_FREE_LEN: usize = 4096;

/// Stands in [`Entry::expires_at`] for a key that never expires. As an unsigned number it is later
/// than every moment, so that one comparison knows what has expired.
const NEVER: Millis = -1;

/// A key with what it holds: one cache line, and never across two.
#[derive(Debug)]
#[repr(align(64))]
pub struct Entry {
    key: Blob,
    value: Value,
    /// The last millisecond at which it is still there, from 0; [`NEVER`] if it stays.
    expires_at: Millis,
    /// When it was last read or written, in seconds since the epoch, for `OBJECT IDLETIME`.
    accessed: u32,
}

impl Keyed for Entry {
    fn key(&self) -> &[u8] {
        &self.key
    }
}

impl Entry {
    /// What the key holds.
    #[must_use]
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// When it expires, if ever.
    #[must_use]
    pub fn expires_at(&self) -> Option<Millis> {
        (self.expires_at != NEVER).then_some(self.expires_at)
    }

    /// About how many bytes of memory it takes, with its key, its value and its place in the index.
    #[must_use]
    pub fn memory(&self) -> usize {
        size_of::<Self>() + size_of::<u64>() + self.key.memory() + self.value.memory()
    }

    /// When it was last read or written, in seconds since the epoch.
    #[must_use]
    pub fn accessed_at(&self) -> u32 {
        self.accessed
    }

    fn has_expired(&self, now: Millis) -> bool {
        now as u64 > self.expires_at as u64
    }
}

/// A key as a command names it: its bytes, its slot and its hash.
#[derive(Clone, Copy, Debug)]
pub struct Key<'k> {
    /// The key's bytes.
    pub bytes: &'k [u8],
    /// The slot it lives in.
    pub slot: Slot,
    hint: KeyHint,
}

impl<'k> Key<'k> {
    /// A key of `slot` that was looked at before: `seen` must have been made of its hash.
    #[must_use]
    pub fn with_hint(bytes: &'k [u8], slot: Slot, hint: KeyHint) -> Self {
        Self { bytes, slot, hint }
    }
}

/// What a write does to the key's expiry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ttl {
    /// The key no longer expires.
    Clear,
    /// An expiry that is there stays.
    Keep,
    /// The key expires after this millisecond.
    At(Millis),
}

impl Ttl {
    /// What an entry stores, given what it has stored until now.
    fn apply(self, before: Millis) -> Millis {
        match self {
            Self::Clear => NEVER,
            Self::Keep => before,
            Self::At(at) => at.max(0),
        }
    }
}

/// Up to where collections keep their small forms (`hash-max-listpack-entries` and its kin).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Hashes that stay packed.
    pub hash: PackLimits,
    /// Sorted sets that stay packed.
    pub zset: PackLimits,
    /// Members of a set of integers (`set-max-intset-entries`).
    pub intset_len_max: usize,
    /// The size of a list's pieces (`list-max-listpack-size`): elements if positive, else one of
    /// five byte sizes, -1 for 4 KiB to -5 for 64 KiB.
    pub list_piece: i64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            hash: PackLimits::default(),
            zset: PackLimits { entries_max: 128, value_len_max: 64 },
            intset_len_max: 512,
            list_piece: -2,
        }
    }
}

/// What a key held, on its way to another keyspace of the same process.
#[derive(Clone, Debug)]
pub struct DetachedValue {
    /// The value.
    pub value: Value,
    /// When it expires, if ever.
    pub expires_at: Option<Millis>,
}

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

/// One slot's keys.
#[derive(Debug, Default)]
struct SlotTable {
    table: Table<Entry>,
    /// How many of the entries have an expiry.
    volatile: u32,
}

/// What the keyspace has counted since its start or the last reset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Reads that met their key.
    pub hits: u64,
    /// Reads that did not.
    pub misses: u64,
    /// Keys that went because their time had come.
    pub expired: u64,
}

/// A shard's keys.
#[derive(Debug)]
pub struct Keyspace {
    /// Where each slot's table lies in `slots`; `NO_TABLE` for a slot that never had a key here.
    table_of_slot: Box<[u16]>,
    slots: Vec<SlotTable>,
    hasher: KeyHasher,
    rng: fastrand::Rng,
    watchers: Watchers,
    now: Millis,
    /// How many entries all tables hold.
    len: usize,
    /// How many of them have an expiry.
    volatile: usize,
    /// Where the next round of [`Keyspace::expire_some`] begins.
    next_expire_slot: usize,
    counts: Counts,
    /// Up to where collections keep their small forms at this moment.
    pub limits: Limits,
    /// The classes of events that somebody wants to be told of.
    pub events_wanted: EventClass,
    /// What happened and was not told yet.
    events: Vec<Event>,
    /// Keys that somebody waits for.
    awaited: HashSet<Box<[u8]>>,
    /// Those of them that came to be and were not taken note of yet, in order.
    ready: Vec<Box<[u8]>>,
    /// While true, keys that are there keep their access times, whatever is done to them.
    pub no_touch: bool,
    /// What is slow to free; whoever holds the shard frees it after letting go.
    lazy_free: LazyFree,
    /// What has changed and was not told yet, if another keyspace follows this one.
    journal: Option<Box<Journal>>,
    /// This one follows another: what has expired is not shown, and goes when that one says so.
    pub is_replica: bool,
}

const NO_TABLE: u16 = u16::MAX;

/// Removed values that are slow to free; dropping the graveyard frees them.
#[derive(Default)]
pub struct LazyFree(Vec<Box<dyn Send>>);

impl std::fmt::Debug for LazyFree {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Graveyard({})", self.0.len())
    }
}

impl Keyspace {
    /// An empty keyspace for `slots`. `hasher` is shared by all shards of a cluster, so that a
    /// [`Key`] made for one is good for all; `seed` feeds the random commands.
    pub fn new(slots: impl Iterator<Item = Slot>, hasher: KeyHasher, seed: u64) -> Self {
        let mut table_of_slot = vec![NO_TABLE; SLOTS as usize].into_boxed_slice();
        let mut count = 0;
        for slot in slots {
            table_of_slot[slot.index()] = count;
            count += 1;
        }
        Self {
            table_of_slot,
            slots: std::iter::repeat_with(SlotTable::default).take(count as usize).collect(),
            hasher,
            rng: fastrand::Rng::with_seed(seed),
            watchers: Watchers::default(),
            now: 0,
            len: 0,
            volatile: 0,
            next_expire_slot: 0,
            counts: Counts::default(),
            limits: Limits::default(),
            events_wanted: 0,
            events: Vec::new(),
            awaited: HashSet::new(),
            ready: Vec::new(),
            no_touch: false,
            lazy_free: LazyFree::default(),
            journal: None,
            is_replica: false,
        }
    }

    /// Begins a batch: `now` is the time until the next one begins.
    pub fn begin(&mut self, now: Millis) {
        self.now = now;
    }

    /// The time of this batch.
    #[must_use]
    pub fn now(&self) -> Millis {
        self.now
    }

    /// Names a key of `slot`.
    #[must_use]
    pub fn key<'k>(&self, slot: Slot, bytes: &'k [u8]) -> Key<'k> {
        Key { bytes, slot, hint: KeyHint::from_hash(self.hasher.hash(bytes)) }
    }

    /// A number that is uniform over all `u64`, for the random commands.
    pub fn random(&mut self) -> u64 {
        self.rng.u64(..)
    }

    /// The keyed hash that tables of this keyspace use.
    #[must_use]
    pub fn hasher(&self) -> &KeyHasher {
        &self.hasher
    }

    /// How many keys there are; expired ones that nobody has met yet still count, as in Redis.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no keys.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many keys have an expiry.
    #[must_use]
    pub fn volatile(&self) -> usize {
        self.volatile
    }

    /// What was counted.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Counts from zero again.
    pub fn reset_counts(&mut self) {
        self.counts = Counts::default();
    }

    /// How many slots have a table here.
    #[must_use]
    pub fn slots(&self) -> usize {
        self.slots.len()
    }

    // ── reading ───────────────────────────────────────────────────────────────────────────────

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

    // ── writing ───────────────────────────────────────────────────────────────────────────────

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
            journal.all();
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
            journal.whole();
        }
    }

    // ── telling ───────────────────────────────────────────────────────────────────────────────

    /// Says what happened to a key, for those who asked for events of this class. Commands call
    /// this where Redis notifies, after the change.
    #[inline]
    pub fn notify_event(&mut self, class: EventClass, name: &'static str, key: &[u8]) {
        if self.events_wanted & class != 0 {
            self.events.push(Event { class, name, key: key.into() });
        }
    }

    /// Whether something happened that was not told yet.
    #[must_use]
    #[inline]
    pub fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// Takes what happened since this was last asked, in order.
    pub fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    // ── waiting ───────────────────────────────────────────────────────────────────────────────

    /// Whether to note when `key` is set, for those who wait for it.
    pub fn set_awaited(&mut self, key: &[u8], wanted: bool) {
        if wanted {
            self.awaited.insert(key.into());
        } else {
            self.awaited.remove(key);
            if self.awaited.capacity() > 4 * self.awaited.len().max(16) {
                self.awaited.shrink_to(2 * self.awaited.len());
            }
        }
    }

    /// Whether a key that somebody waits for was set.
    #[must_use]
    #[inline]
    pub fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    #[cold]
    fn note_ready(&mut self, key: &[u8]) {
        if self.awaited.contains(key) && self.ready.last().is_none_or(|last| **last != *key) {
            self.ready.push(key.into());
        }
    }

    /// Takes the keys that were set and that somebody waits for, in order.
    pub fn take_ready(&mut self) -> Vec<Box<[u8]>> {
        std::mem::take(&mut self.ready)
    }

    // ── watching ──────────────────────────────────────────────────────────────────────────────

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

    // ── inside ────────────────────────────────────────────────────────────────────────────────

    /// The place of a slot's table; one that has none gets one.
    #[inline]
    fn slot_table(&mut self, slot: Slot) -> usize {
        let place = &mut self.table_of_slot[slot.index()];
        if *place == NO_TABLE {
            // There are fewer slots than NO_TABLE.
            *place = self.slots.len() as u16;
            self.slots.push(SlotTable::default());
        }
        *place as usize
    }

    #[inline]
    fn find_even_expired(&self, key: Key<'_>) -> Option<(usize, usize)> {
        let s = self.table_of_slot[key.slot.index()] as usize;
        let table = &self.slots.get(s)?.table;
        if let Some(entry) = table.entries().get(key.hint.position as usize)
            && *entry.key == *key.bytes
        {
            return Some((s, key.hint.position as usize));
        }
        Some((s, table.find(key.bytes, key.hint.hash)?))
    }

    /// Finds a key that has not expired; one that has is taken away.
    #[inline]
    fn find(&mut self, key: Key<'_>) -> Option<(usize, usize)> {
        let (s, at) = self.find_even_expired(key)?;
        if self.slots[s].table.entries()[at].has_expired(self.now) {
            self.remove_expired(s, at);
            return None;
        }
        Some((s, at))
    }

    #[cold]
    fn remove_expired(&mut self, s: usize, at: usize) {
        if self.is_replica {
            return;
        }
        let entry = self.remove_at(s, at);
        self.counts.expired += 1;
        self.notify_event(event::EXPIRED, "expired", &entry.key);
        self.touch(&entry.key, true);
        self.free_lazily(entry.value);
    }

    fn remove_at(&mut self, s: usize, at: usize) -> Entry {
        let entry = self.slots[s].table.remove(at, &self.hasher);
        self.len -= 1;
        self.count_volatile(s, -i32::from(entry.expires_at != NEVER));
        entry
    }

    fn count_volatile(&mut self, s: usize, change: i32) {
        if change != 0 {
            let slot = &mut self.slots[s];
            slot.volatile = slot.volatile.wrapping_add_signed(change);
            self.volatile = self.volatile.wrapping_add_signed(change as isize);
        }
    }

    /// Tells whoever watches a key that it was changed; `gone` says that it is not there any more.
    /// Every change here does so by itself.
    pub fn touch(&mut self, key: &[u8], gone: bool) {
        if !self.watchers.is_empty() {
            self.watchers.touch(key, gone, self.now);
        }
        if let Some(journal) = &mut self.journal {
            journal.key(key);
        }
    }
}
