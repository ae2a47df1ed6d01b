//! The keys that clients have read, each with the ids of its readers.
//!
//! A key is in the table from a read until it changes or is evicted: whoever is notified of a change
//! has to read the key again before it is notified again. Readers that have disconnected leave their
//! ids behind, which are removed when they may be half of a key's.

use crate::keyspace::{KeyHasher, Keyed, Table};
use parking_lot::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Keys are locked in this many groups.
const STRIPES: usize = 64;
/// Most keys, whatever `tracking-table-max-keys` says.
const TRACKED_KEYS_MAX: usize = 1 << 26;
/// Most bytes of the names of all keys.
const TRACKED_BYTES_MAX: usize = 1 << 30;
/// Fewer readers than this are not worth a look at who has disconnected.
const SWEEP_MIN: usize = 16;

/// A key that clients have read.
#[derive(Debug)]
struct TrackedKey {
    key: Box<[u8]>,
    readers: Readers,
}

/// The ids of the clients that have read a key, in order.
#[derive(Debug)]
struct Readers {
    ids: Vec<u64>,
    /// When there are as many as this, those that have disconnected are removed.
    sweep_at: usize,
}

impl Keyed for TrackedKey {
    fn key(&self) -> &[u8] {
        &self.key
    }
}

impl Readers {
    fn of(reader: u64) -> Self {
        Self { ids: vec![reader], sweep_at: SWEEP_MIN }
    }

    /// Adds a reader; returns by how many there are more.
    fn add(&mut self, reader: u64, is_connected: impl Fn(u64) -> bool) -> isize {
        let Err(at) = self.ids.binary_search(&reader) else { return 0 };
        self.ids.insert(at, reader);
        if self.ids.len() < self.sweep_at {
            return 1;
        }
        let before = self.ids.len();
        self.ids.retain(|&id| id == reader || is_connected(id));
        self.sweep_at = SWEEP_MIN.max(2 * self.ids.len());
        1 - (before - self.ids.len()) as isize
    }
}

/// The keys that clients have read.
#[derive(Debug)]
pub(super) struct TrackedKeys {
    stripes: Box<[Mutex<Table<TrackedKey>>]>,
    hasher: KeyHasher,
    rng: Mutex<fastrand::Rng>,
    keys: AtomicUsize,
    readers: AtomicUsize,
    bytes: AtomicUsize,
}

impl TrackedKeys {
    /// Returns an empty table; `seed` feeds its hash and the choice of keys that are evicted.
    pub(super) fn new(seed: u64) -> Self {
        Self {
            stripes: (0..STRIPES).map(|_| Mutex::default()).collect(),
            hasher: KeyHasher::new(seed),
            rng: Mutex::new(fastrand::Rng::with_seed(seed)),
            keys: AtomicUsize::new(0),
            readers: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
        }
    }

    /// Returns the number of keys.
    pub(super) fn keys(&self) -> usize {
        self.keys.load(Ordering::Relaxed)
    }

    /// Returns the number of readers of all keys.
    pub(super) fn readers(&self) -> usize {
        self.readers.load(Ordering::Relaxed)
    }

    fn stripe_of(&self, hash: u64) -> &Mutex<Table<TrackedKey>> {
        // The table uses the upper bits.
        &self.stripes[hash as usize % STRIPES]
    }

    /// Remembers that a client has read a key.
    pub(super) fn add(&self, key: &[u8], reader: u64, is_connected: impl Fn(u64) -> bool) {
        let hash = self.hasher.hash(key);
        let mut table = self.stripe_of(hash).lock();
        let more = match table.find(key, hash) {
            Some(at) => table.at_mut(at).readers.add(reader, is_connected),
            None => {
                let entry = TrackedKey { key: key.into(), readers: Readers::of(reader) };
                table.insert(entry, hash, &self.hasher);
                self.keys.fetch_add(1, Ordering::Relaxed);
                self.bytes.fetch_add(key.len(), Ordering::Relaxed);
                1
            }
        };
        if more != 0 {
            // Wrapping, as the sum of additions and subtractions that are each exact.
            self.readers.fetch_add(more as usize, Ordering::Relaxed);
        }
    }

    /// Forgets a key; returns the ids of its readers.
    pub(super) fn take(&self, key: &[u8]) -> Vec<u64> {
        let hash = self.hasher.hash(key);
        let mut table = self.stripe_of(hash).lock();
        match table.find(key, hash) {
            Some(at) => self.remove(&mut table, at).1,
            None => Vec::new(),
        }
    }

    fn remove(&self, table: &mut Table<TrackedKey>, at: usize) -> (Box<[u8]>, Vec<u64>) {
        let TrackedKey { key, readers } = table.remove(at, &self.hasher);
        self.keys.fetch_sub(1, Ordering::Relaxed);
        self.bytes.fetch_sub(key.len(), Ordering::Relaxed);
        self.readers.fetch_sub(readers.ids.len(), Ordering::Relaxed);
        (key, readers.ids)
    }

    /// Returns whether there are more keys than `keys_max`, 0 for no limit, or than ever.
    pub(super) fn is_over(&self, keys_max: usize) -> bool {
        let keys_max = if keys_max == 0 { TRACKED_KEYS_MAX } else { keys_max };
        self.keys() > keys_max.min(TRACKED_KEYS_MAX)
            || self.bytes.load(Ordering::Relaxed) > TRACKED_BYTES_MAX
    }

    /// Forgets a key chosen at random; returns it with the ids of its readers.
    pub(super) fn take_any(&self) -> Option<(Box<[u8]>, Vec<u64>)> {
        let (first, pick) = {
            let mut rng = self.rng.lock();
            (rng.usize(..STRIPES), rng.u64(..))
        };
        for stripe in 0..STRIPES {
            let mut table = self.stripes[(first + stripe) % STRIPES].lock();
            let len = table.len();
            if len > 0 {
                let at = (u128::from(pick) * len as u128) >> 64;
                return Some(self.remove(&mut table, at as usize));
            }
        }
        None
    }

    /// Forgets all keys.
    pub(super) fn clear(&self) {
        for stripe in &self.stripes {
            let mut table = stripe.lock();
            while let Some(last) = table.len().checked_sub(1) {
                self.remove(&mut table, last);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeMap, BTreeSet};

    fn counts(table: &TrackedKeys) -> (usize, usize, usize) {
        (table.keys(), table.readers(), table.bytes.load(Ordering::Relaxed))
    }

    #[test]
    fn a_key_has_each_reader_once_until_it_is_taken() {
        let table = TrackedKeys::new(1);
        for reader in [7, 3, 7, 5] {
            table.add(b"a", reader, |_| true);
        }
        table.add(b"bc", 3, |_| true);
        assert_eq!(counts(&table), (2, 4, 3));
        assert_eq!(table.take(b"a"), [3, 5, 7]);
        assert!(table.take(b"a").is_empty() && table.take(b"none").is_empty());
        assert_eq!(counts(&table), (1, 1, 2));
        table.clear();
        assert_eq!(counts(&table), (0, 0, 0));
    }

    #[test]
    fn readers_that_have_disconnected_do_not_pile_up() {
        let table = TrackedKeys::new(1);
        for reader in 1..100_000 {
            // The latest two are connected.
            table.add(b"a", reader, |id| id + 1 >= reader);
        }
        assert!(table.readers() <= SWEEP_MIN, "{}", table.readers());
        let readers = table.take(b"a");
        assert_eq!(readers.last(), Some(&99_999));
        assert_eq!(counts(&table), (0, 0, 0));
    }

    #[test]
    fn keys_beyond_the_limit_are_taken_at_random() {
        let table = TrackedKeys::new(1);
        for key in 0..1000u32 {
            table.add(&key.to_be_bytes(), 1, |_| true);
        }
        assert!(table.is_over(999) && !table.is_over(1000) && !table.is_over(0));
        let mut taken = BTreeSet::new();
        while table.is_over(10) {
            let (key, readers) = table.take_any().expect("there are keys");
            assert_eq!(readers, [1]);
            assert!(taken.insert(key), "no key is taken twice");
        }
        assert_eq!((taken.len(), counts(&table)), (990, (10, 10, 40)));
        let early = taken.iter().filter(|key| ***key < *500u32.to_be_bytes().as_slice()).count();
        assert!((300..700).contains(&early), "not only the oldest or the newest: {early}");
    }

    /// The table against a plain map, over a random history.
    #[test]
    fn it_remembers_what_a_plain_map_does() {
        let seed = fastrand::u64(..);
        let mut rng = fastrand::Rng::with_seed(seed);
        let (table, mut model) = (TrackedKeys::new(seed), BTreeMap::new());
        for step in 0..20_000 {
            let key = rng.u16(..400).to_string().into_bytes();
            if rng.u8(..4) > 0 {
                let reader = rng.u64(1..40);
                table.add(&key, reader, |_| true);
                model.entry(key).or_insert_with(BTreeSet::new).insert(reader);
            } else {
                let wanted = model.remove(&key).unwrap_or_default();
                let got = table.take(&key);
                assert!(got.iter().eq(&wanted), "seed {seed}, step {step}: {got:?}");
            }
        }
        let readers = model.values().map(BTreeSet::len).sum();
        let bytes = model.keys().map(Vec::len).sum();
        assert_eq!(counts(&table), (model.len(), readers, bytes), "seed {seed}");
    }
}
