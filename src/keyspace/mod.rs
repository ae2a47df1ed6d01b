//! A shard's keys: one table per slot, values with their expiry, and the guards that watch keys.
//!
//! ```text
//! Keyspace
//!  ├─ table_of_slot[slot] ──► slots[i] ──► Table of Entry { key, value, expires_at, accessed }
//!  └─ watchers: key ──► guards to trip
//! ```
//!
//! A table per slot bounds how long a growing table can stall the shard, gives SCAN a cursor that
//! survives growth, counts keys per slot at no cost, and makes moving a slot the move of one table.
//! Time and randomness come from outside: [`Keyspace::begin`] sets the time once per batch.
//!
//! An expired key is invisible to every command. The first access removes it;
//! [`Keyspace::expire_some`] removes those that are never accessed.

mod blob;
mod text;
mod packed_item;
pub(crate) mod large;
mod prefetch;
mod index;
mod table;
mod hash;
mod list;
mod set;
mod zset;
mod stream;
#[cfg(feature = "json")]
mod json;
mod value;
mod key;
mod entry;
mod journal;
pub(crate) mod event;
mod watch;
mod ready;
mod read;
mod write;
mod probe;
mod scan;
mod slot_transfer;
mod changes;

pub(crate) use blob::{Blob, INLINE_LEN_MAX};
pub(crate) use changes::Changes;
pub(crate) use entry::{DetachedValue, Entry, Ttl};
pub(crate) use event::{Event, EventClass};
pub(crate) use hash::{Hash, PackLimits, Pair};
pub(crate) use journal::TouchedKeys;
#[cfg(feature = "json")]
pub(crate) use json::{
    DEPTH_MAX, Json, Kind, Layout, Number, Ref, STRING_LEN_MAX, Scalar, write_string,
};
pub(crate) use key::{Key, KeyHint};
pub(crate) use list::{EncodedElement, End, List, PieceLimit};
pub(crate) use probe::ProbeStage;
pub(crate) use set::{BorrowedMember, Member, Set};
pub(crate) use stream::{
    Consumer, ConsumerNumber, Deletion, Eraser, Group, NODE_BYTES_MAX, NodeLimits, Pending,
    References, Stream, StreamEntry, StreamId, StreamLog, TrimTo,
};
pub(crate) use table::{KeyHasher, Keyed, Table};
pub(crate) use text::{Digits, Text};
pub(crate) use value::{SHARED_INTEGERS, Value};
pub(crate) use watch::{Guard, Watchers, Writer};
pub(crate) use write::{Edited, LazyFree};
pub(crate) use zset::{LexBound, ScoreBound, Zset, ZsetBuilder};

use crate::slot::{SLOTS, Slot};
use crate::text::short::are_equal;
use entry::Expiring;
use journal::Journal;
use std::collections::HashSet;

/// Milliseconds since the Unix epoch.
pub(crate) type Millis = i64;

/// The sizes up to which collections keep their compact encodings (`hash-max-listpack-entries` and
/// the like).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// For hashes.
    pub hash: PackLimits,
    /// For sorted sets.
    pub zset: PackLimits,
    /// Most members of an intset (`set-max-intset-entries`).
    pub intset_len_max: usize,
    /// The size of a list's pieces (`list-max-listpack-size`): elements if positive, else one of
    /// five byte sizes, -1 for 4 KiB to -5 for 64 KiB.
    pub list_piece: i64,
    /// The longest HyperLogLog in the sparse form, in bytes (`hll-sparse-max-bytes`).
    pub sparse_len_max: usize,
    /// The size of a stream's nodes.
    pub stream_node: NodeLimits,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            hash: PackLimits::default(),
            zset: PackLimits { entries_max: 128, value_len_max: 64 },
            intset_len_max: 512,
            list_piece: -2,
            sparse_len_max: 3000,
            stream_node: NodeLimits::default(),
        }
    }
}

/// One slot's keys.
#[derive(Debug, Default)]
struct SlotTable {
    table: Table<Entry>,
    /// In how many of the entries something expires.
    expiring: u32,
    /// How many keys expire.
    volatile: u32,
    /// How many hashes have fields that expire.
    with_ends: u32,
}

/// Counters since the start or the last reset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Reads that found their key.
    pub hits: u64,
    /// Reads that did not.
    pub misses: u64,
    /// Keys removed because they had expired.
    pub expired: u64,
    /// Fields of hashes removed because they had expired.
    pub expired_fields: u64,
    /// Removed values that were slow to free, and so were freed beside the shard.
    pub freed_lazily: u64,
    /// Payloads of RESTORE that held a collection, each checked to the last byte.
    pub payloads_checked: u64,
}

/// A shard's keys.
#[derive(Debug)]
pub struct Keyspace {
    /// Index into `slots` by slot number; [`NO_TABLE`] for a slot that never had a key here.
    table_of_slot: Box<[u16]>,
    slots: Vec<SlotTable>,
    hasher: KeyHasher,
    rng: fastrand::Rng,
    watchers: Watchers,
    now: Millis,
    /// The same in seconds.
    second: u32,
    /// Entries in all tables.
    len: usize,
    /// How many of `len` have an expiry.
    volatile: usize,
    /// How many hashes have fields that expire.
    with_ends: usize,
    /// The slot table that the next [`Keyspace::expire_some`] begins with.
    next_expire_slot: usize,
    counts: Counts,
    /// The limits of the compact encodings at this moment.
    pub limits: Limits,
    /// The event classes that `notify-keyspace-events` asks for; 0 while it is off.
    pub events_wanted: EventClass,
    /// Events not published yet, in order.
    events: Vec<Event>,
    /// Keys that blocked clients wait for.
    awaited: HashSet<Box<[u8]>>,
    /// Awaited keys that were set since [`Keyspace::take_ready`], in order.
    ready: Vec<Box<[u8]>>,
    /// While true, commands do not update access times (`CLIENT NO-TOUCH`).
    pub no_touch: bool,
    /// Removed values that are slow to free: dropped after the shard is released.
    lazy_free: LazyFree,
    /// What has changed since [`Keyspace::take_changes`]; present while changes are recorded.
    journal: Option<Box<Journal>>,
    /// Whether this is a replica's keyspace: expired keys are hidden but only removed when the
    /// master's changes remove them.
    pub is_replica: bool,
}

const NO_TABLE: u16 = u16::MAX;

impl Keyspace {
    /// Creates an empty keyspace for `slots`. All shards of a cluster share `hasher`, so that a
    /// [`Key`] hashed by one is valid in all; `seed` feeds the random commands.
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
            second: 0,
            len: 0,
            volatile: 0,
            with_ends: 0,
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

    /// Begins a batch of commands that all run at `now`.
    pub fn begin(&mut self, now: Millis) {
        self.now = now;
        self.second = (now / 1000) as u32;
    }

    /// Returns the time of this batch.
    #[must_use]
    pub fn now(&self) -> Millis {
        self.now
    }

    /// Builds a key of `slot`, hashed but without a position hint.
    #[must_use]
    pub fn key<'k>(&self, slot: Slot, bytes: &'k [u8]) -> Key<'k> {
        Key { bytes, slot, hint: KeyHint::from_hash(self.hasher.hash(bytes)) }
    }

    /// Returns a uniformly distributed random number, for the random commands.
    pub fn random(&mut self) -> u64 {
        self.rng.u64(..)
    }

    /// Returns the keyed hash that the tables of this keyspace use.
    #[must_use]
    pub fn hasher(&self) -> &KeyHasher {
        &self.hasher
    }

    /// Returns the number of keys; expired keys that are not removed yet count, as in Redis.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Returns whether there are no keys.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns the number of keys with an expiry.
    #[must_use]
    pub fn volatile(&self) -> usize {
        self.volatile
    }

    /// Returns the number of hashes with fields that expire.
    #[must_use]
    pub fn with_ends(&self) -> usize {
        self.with_ends
    }

    /// Returns the counters.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Counts a payload of RESTORE that was checked.
    pub fn count_payload(&mut self) {
        self.counts.payloads_checked += 1;
    }

    /// Resets the counters.
    pub fn reset_counts(&mut self) {
        self.counts = Counts::default();
    }

    /// Returns the number of slots that have a table here.
    #[must_use]
    pub fn slots(&self) -> usize {
        self.slots.len()
    }

    // ── for the files of this folder ───────────────────────────────────────────────────────

    /// Returns the index of a slot's table, creating the table if the slot has none.
    #[inline]
    fn slot_table(&mut self, slot: Slot) -> usize {
        let place = &mut self.table_of_slot[slot.index()];
        if *place == NO_TABLE {
            // The cast is lossless: there are fewer slots than NO_TABLE.
            *place = self.slots.len() as u16;
            self.slots.push(SlotTable::default());
        }
        *place as usize
    }

    #[inline(always)]
    fn find_even_expired(&self, key: Key<'_>) -> Option<(usize, usize)> {
        let s = self.table_of_slot[key.slot.index()] as usize;
        let at = key.hint.position as usize;
        if let Some(entry) = self.slots.get(s)?.table.entries().get(at)
            && are_equal(&entry.key, key.bytes)
        {
            return Some((s, at));
        }
        self.search(s, key)
    }

    /// Searches a slot's table for a key.
    #[inline(never)]
    fn search(&self, s: usize, key: Key<'_>) -> Option<(usize, usize)> {
        Some((s, self.slots[s].table.find(key.bytes, key.hint.hash)?))
    }

    /// Finds a key; an expired one is removed and not found, and so are expired fields of a hash.
    #[inline]
    fn find(&mut self, key: Key<'_>) -> Option<(usize, usize)> {
        let (s, at) = self.find_even_expired(key)?;
        if self.slots[s].table.entries()[at].is_due(self.now) && !self.expire(s, at) {
            return None;
        }
        Some((s, at))
    }

    /// Removes what has expired of an entry in which something has; returns whether the key is left.
    /// A replica keeps its keys until the master's changes remove them, and does not show them.
    #[cold]
    fn expire(&mut self, s: usize, at: usize) -> bool {
        let entry = self.slots[s].table.at_mut(at);
        if self.now as u64 > entry.expiry() as u64 {
            self.remove_expired(s, at);
            return false;
        }
        if entry.has_lost_all_fields(self.now) {
            self.remove_with_fields(s, at);
            return false;
        }
        let before = entry.expiring();
        let Value::Hash(hash) = &mut entry.value else { return true };
        let removed = hash.take_due(self.now, &self.hasher);
        self.value_changed(s, at, before);
        if !self.is_replica {
            self.counts.expired_fields += removed as u64;
            let key = self.slots[s].table.entries()[at].key.clone();
            self.touch(&key, false);
            self.note_fields_expired(&key);
        }
        true
    }

    /// Removes a hash whose fields have all expired: as a whole, so that it costs the same however
    /// many they are.
    fn remove_with_fields(&mut self, s: usize, at: usize) {
        if self.is_replica {
            return;
        }
        let entry = self.remove_at(s, at);
        self.counts.expired_fields += entry.value.len() as u64;
        self.touch(&entry.key, true);
        self.note_fields_expired(&entry.key);
        self.notify_event(event::GENERIC, "del", &entry.key);
        self.free_lazily(entry.value);
    }

    /// Publishes that fields have expired.
    pub fn note_fields_expired(&mut self, key: &[u8]) {
        let hdel = event::Replicated::once(event::HASH, "hdel");
        self.notify_replicated(event::HASH, "hexpired", key, hdel);
    }

    /// Finds out anew what expires of an entry whose value was changed in place.
    fn value_changed(&mut self, s: usize, at: usize, before: Expiring) {
        let entry = self.slots[s].table.at_mut(at);
        entry.value_changed();
        let after = entry.expiring();
        self.count_expiring(s, before, after);
    }

    #[cold]
    fn remove_expired(&mut self, s: usize, at: usize) {
        if self.is_replica {
            return;
        }
        let entry = self.remove_at(s, at);
        self.note_expired(&entry.key);
        self.touch(&entry.key, true);
        self.note_stream_gone(&entry.key, &entry.value);
        self.free_lazily(entry.value);
    }

    /// Counts a key that has expired, and publishes its event.
    pub fn note_expired(&mut self, key: &[u8]) {
        self.counts.expired += 1;
        let del = event::Replicated::DEL;
        self.notify_replicated(event::EXPIRED, "expired", key, del);
    }

    fn remove_at(&mut self, s: usize, at: usize) -> Entry {
        let entry = self.slots[s].table.remove(at, &self.hasher);
        self.len -= 1;
        self.count_expiring(s, entry.expiring(), Expiring::default());
        entry
    }

    #[inline]
    fn count_expiring(&mut self, s: usize, before: Expiring, after: Expiring) {
        if before != after {
            let change = |before: bool, after: bool| i32::from(after) - i32::from(before);
            let slot = &mut self.slots[s];
            slot.expiring = slot.expiring.wrapping_add_signed(change(before.any, after.any));
            let key = change(before.key, after.key);
            slot.volatile = slot.volatile.wrapping_add_signed(key);
            self.volatile = self.volatile.wrapping_add_signed(key as isize);
            let fields = change(before.fields, after.fields);
            slot.with_ends = slot.with_ends.wrapping_add_signed(fields);
            self.with_ends = self.with_ends.wrapping_add_signed(fields as isize);
        }
    }

    /// Marks a key as changed: trips the guards that watch it, records it in the journal and for the
    /// clients that track it. `gone` means that the key does not exist any more. Every change made
    /// through this type calls this itself.
    #[inline]
    pub fn touch(&mut self, key: &[u8], gone: bool) {
        let is_tracked = self.events_wanted & event::CHANGED != 0;
        if is_tracked | !self.watchers.is_empty() | self.journal.is_some() {
            self.touch_observed(key, gone);
        }
    }

    #[cold]
    fn touch_observed(&mut self, key: &[u8], gone: bool) {
        if !self.watchers.is_empty() {
            self.watchers.touch(key, gone, self.now);
        }
        self.note_changed(key);
        self.record_unwatched(key);
    }

    /// Marks a key as changed for replicas only: the change trips no WATCH.
    pub fn record_unwatched(&mut self, key: &[u8]) {
        if let Some(journal) = &mut self.journal {
            journal.mark_key(key);
        }
    }
}
