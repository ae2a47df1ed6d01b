//! The keys that clients have read, each with the numbers of its readers.
//!
//! A key is in the table from a read until it changes or is evicted: whoever is notified of a change
//! has to read the key again before it is notified again. A client that leaves leaves its number
//! behind; numbers are used again after [`TrackedKeys::forget_readers`].

use crate::keyspace::{Blob, KeyHasher, Keyed, Table};
use parking_lot::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Keys are locked in this many groups.
const STRIPES: usize = 64;
/// Most keys, whatever `tracking-table-max-keys` says.
const TRACKED_KEYS_MAX: usize = 1 << 26;
/// Most bytes of the names of all keys.
const TRACKED_BYTES_MAX: usize = 1 << 30;

/// A key that clients have read.
#[derive(Debug)]
struct TrackedKey {
    key: Blob,
    readers: Readers,
}

/// The numbers of the clients that have read a key: a bit each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Readers {
    /// Those below 64.
    first: u64,
    rest: Vec<u64>,
}

impl Keyed for TrackedKey {
    fn key(&self) -> &[u8] {
        &self.key
    }
}

impl Readers {
    /// Adds a reader; returns whether it was not there.
    fn add(&mut self, number: u32) -> bool {
        let (word, bit) = ((number / 64) as usize, 1 << (number % 64));
        let word = match word.checked_sub(1) {
            None => &mut self.first,
            Some(at) => {
                if self.rest.len() <= at {
                    self.rest.reserve_exact(at + 1 - self.rest.len());
                    self.rest.resize(at + 1, 0);
                }
                &mut self.rest[at]
            }
        };
        let is_new = *word & bit == 0;
        *word |= bit;
        is_new
    }

    fn words(&self) -> impl Iterator<Item = u64> {
        std::iter::once(self.first).chain(self.rest.iter().copied())
    }

    /// Returns how many there are.
    fn len(&self) -> usize {
        self.words().map(|word| word.count_ones() as usize).sum()
    }

    /// Returns whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.words().all(|word| word == 0)
    }

    /// Returns the numbers, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = u32> {
        let of_word = |(at, word): (usize, u64)| {
            (0..u64::BITS)
                .filter(move |bit| word & (1 << bit) != 0)
                .map(move |bit| at as u32 * 64 + bit)
        };
        self.words().enumerate().flat_map(of_word)
    }

    /// Removes those of `others`.
    fn remove(&mut self, others: &Self) {
        self.first &= !others.first;
        self.rest.iter_mut().zip(&others.rest).for_each(|(word, other)| *word &= !other);
    }
}

impl FromIterator<u32> for Readers {
    fn from_iter<I: IntoIterator<Item = u32>>(numbers: I) -> Self {
        let mut all = Self::default();
        numbers.into_iter().for_each(|number| _ = all.add(number));
        all
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

    fn stripe_of(&self, hash: u32) -> &Mutex<Table<TrackedKey>> {
        // The table uses the upper bits.
        &self.stripes[hash as usize % STRIPES]
    }

    /// Remembers that a client has read a key.
    pub(super) fn add(&self, key: &[u8], reader: u32) {
        let hash = self.hasher.hash(key);
        let mut table = self.stripe_of(hash).lock();
        let is_new = match table.find(key, hash) {
            Some(at) => table.at_mut(at).readers.add(reader),
            None => {
                let readers = std::iter::once(reader).collect();
                table.insert(TrackedKey { key: key.into(), readers }, hash, &self.hasher);
                self.keys.fetch_add(1, Ordering::Relaxed);
                self.bytes.fetch_add(key.len(), Ordering::Relaxed);
                true
            }
        };
        if is_new {
            self.readers.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Forgets a key; returns its readers.
    pub(super) fn take(&self, key: &[u8]) -> Option<Readers> {
        let hash = self.hasher.hash(key);
        let mut table = self.stripe_of(hash).lock();
        let at = table.find(key, hash)?;
        Some(self.remove(&mut table, at).1)
    }

    fn remove(&self, table: &mut Table<TrackedKey>, at: usize) -> (Blob, Readers) {
        let TrackedKey { key, readers } = table.remove(at, &self.hasher);
        self.keys.fetch_sub(1, Ordering::Relaxed);
        self.bytes.fetch_sub(key.len(), Ordering::Relaxed);
        self.readers.fetch_sub(readers.len(), Ordering::Relaxed);
        (key, readers)
    }

    /// Returns whether there are more keys than `keys_max`, 0 for no limit, or than ever.
    pub(super) fn is_over(&self, keys_max: usize) -> bool {
        let keys_max = if keys_max == 0 { TRACKED_KEYS_MAX } else { keys_max };
        self.keys() > keys_max.min(TRACKED_KEYS_MAX)
            || self.bytes.load(Ordering::Relaxed) > TRACKED_BYTES_MAX
    }

    /// Forgets a key chosen at random; returns it with its readers.
    pub(super) fn take_any(&self) -> Option<(Blob, Readers)> {
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

    /// Forgets these readers of all keys, so that their numbers can be used again.
    pub(super) fn forget_readers(&self, gone: &Readers) {
        for stripe in &self.stripes {
            let mut table = stripe.lock();
            let mut at = 0;
            while at < table.len() {
                let readers = &mut table.at_mut(at).readers;
                let before = readers.len();
                readers.remove(gone);
                let removed = before - readers.len();
                self.readers.fetch_sub(removed, Ordering::Relaxed);
                if readers.is_empty() {
                    // The last one takes its place.
                    self.remove(&mut table, at);
                } else {
                    at += 1;
                }
            }
        }
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

    fn numbers(readers: Option<Readers>) -> Vec<u32> {
        readers.iter().flat_map(Readers::iter).collect()
    }

    #[test]
    fn a_key_has_each_reader_once_until_it_is_taken() {
        let table = TrackedKeys::new(1);
        for reader in [7, 300, 7, 64] {
            table.add(b"a", reader);
        }
        table.add(b"bc", 3);
        assert_eq!(counts(&table), (2, 4, 3));
        assert_eq!(numbers(table.take(b"a")), [7, 64, 300]);
        assert!(table.take(b"a").is_none() && table.take(b"none").is_none());
        assert_eq!(counts(&table), (1, 1, 2));
        table.clear();
        assert_eq!(counts(&table), (0, 0, 0));
    }

    #[test]
    fn readers_are_forgotten_with_the_keys_that_only_they_have_read() {
        let table = TrackedKeys::new(1);
        for key in 0..500u32 {
            table.add(&key.to_be_bytes(), key % 3);
            table.add(&key.to_be_bytes(), 100 + key % 2);
        }
        table.forget_readers(&[0, 100, 101, 900].into_iter().collect());
        assert_eq!(counts(&table), (333, 333, 4 * 333));
        assert_eq!(numbers(table.take(&4u32.to_be_bytes())), [1]);
        assert!(table.take(&3u32.to_be_bytes()).is_none());
    }

    #[test]
    fn keys_beyond_the_limit_are_taken_at_random() {
        let table = TrackedKeys::new(1);
        for key in 0..1000u32 {
            table.add(&key.to_be_bytes(), 1);
        }
        assert!(table.is_over(999) && !table.is_over(1000) && !table.is_over(0));
        let mut taken = BTreeSet::new();
        while table.is_over(10) {
            let (key, readers) = table.take_any().expect("there are keys");
            assert_eq!(numbers(Some(readers)), [1]);
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
        let (table, mut model) = (TrackedKeys::new(seed), BTreeMap::<_, BTreeSet<u32>>::new());
        for step in 0..20_000 {
            let key = rng.u16(..400).to_string().into_bytes();
            match rng.u16(..2000) {
                0 => {
                    let gone: BTreeSet<u32> = (0..50).map(|_| rng.u32(1..200)).collect();
                    table.forget_readers(&gone.iter().copied().collect());
                    model.values_mut().for_each(|readers| readers.retain(|it| !gone.contains(it)));
                    model.retain(|_, readers: &mut BTreeSet<u32>| !readers.is_empty());
                }
                1..1500 => {
                    let reader = rng.u32(1..200);
                    table.add(&key, reader);
                    model.entry(key).or_default().insert(reader);
                }
                _ => {
                    let wanted = model.remove(&key).unwrap_or_default();
                    let got = numbers(table.take(&key));
                    assert!(got.iter().eq(&wanted), "seed {seed}, step {step}: {got:?}");
                }
            }
        }
        let readers = model.values().map(BTreeSet::len).sum();
        let bytes = model.keys().map(Vec::len).sum();
        assert_eq!(counts(&table), (model.len(), readers, bytes), "seed {seed}");
    }
}
