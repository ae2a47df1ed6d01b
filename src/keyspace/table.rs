//! A table of keyed entries, dense in memory: it holds a slot's keys and a large hash's fields.
//!
//! ```text
//! entries  [ e0 | e1 | e2 | … ]         in one piece, no holes: removal moves the last one down
//! fingerprints   [ p0 | p1 | p2 | … ]         16 bits of each entry's hash, up to DENSE_LEN_MAX entries:
//!                                       a look-up scans them, one or two cache lines
//! index    hash -> position                above that, an open-addressing table instead of the fingerprints
//! ```
//!
//! With a million keys a slot holds some sixty of them, so the usual look-up reads the table's
//! header, a line of fingerprints and the entry. The dense array makes a uniform random pick O(1)
//! and a scan simple: a scan walks *down* from the end; removal only ever moves the last entry to a
//! lower position, so an entry that stays is visited at least once, whatever is added or removed
//! meanwhile.

use super::prefetch::prefetch;
use hashbrown::HashTable;
use std::hash::{BuildHasher, Hasher};

/// Up to this many entries a table is searched by its fingerprints; above, by an index.
pub(super) const DENSE_LEN_MAX: usize = 128;
/// Fingerprints that are compared at once: four vector registers of baseline x86-64.
const GROUP: usize = 32;
/// A table that shrinks below this drops its index. Far enough from [`DENSE_LEN_MAX`] that a table
/// at the border does not switch at every step.
const INDEX_LEN_MIN: usize = DENSE_LEN_MAX / 2;

/// The keyed hash of keys and fields. Its key is a random seed from outside, so that clients cannot
/// choose colliding keys.
#[derive(Clone, Debug)]
pub struct KeyHasher(foldhash::fast::FixedState);

impl KeyHasher {
    /// Makes a hasher with this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(foldhash::fast::FixedState::with_seed(seed))
    }

    /// Returns the hash of `bytes`.
    #[must_use]
    pub fn hash(&self, bytes: &[u8]) -> u64 {
        let mut hasher = self.0.build_hasher();
        hasher.write(bytes);
        hasher.finish()
    }
}

/// Something that is stored in a [`Table`] under its key.
pub trait Keyed {
    /// Returns the key; it never changes while the entry is in a table.
    fn key(&self) -> &[u8];
}

/// Entries by key; no key twice.
#[derive(Clone, Debug)]
pub struct Table<E> {
    entries: Vec<E>,
    /// As long as `entries` while there is no index, else empty.
    fingerprints: Vec<u16>,
    /// Present from `DENSE_LEN_MAX + 1` entries on until fewer than `INDEX_LEN_MIN` are left.
    index: Option<Box<HashTable<Place>>>,
}

/// An index entry: enough of the hash to grow the index without touching the entries.
#[derive(Clone, Copy, Debug)]
struct Place {
    hash: u32,
    at: u32,
}

fn fingerprint_of(hash: u64) -> u16 {
    (hash >> 48) as u16
}

/// Returns the hash that the index uses for a position: its top bits and its low bits both vary.
fn spread(hash: u32) -> u64 {
    u64::from(hash) << 32 | u64::from(hash)
}

impl<E> Default for Table<E> {
    fn default() -> Self {
        Self { entries: Vec::new(), fingerprints: Vec::new(), index: None }
    }
}

impl<E: Keyed> Table<E> {
    /// Returns how many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Returns the entries by position. Positions change when an entry is removed.
    #[must_use]
    pub fn entries(&self) -> &[E] {
        &self.entries
    }

    /// Returns the entry at a position that [`Table::find`] returned.
    pub fn at_mut(&mut self, at: usize) -> &mut E {
        &mut self.entries[at]
    }

    /// Returns the entries, to change anything but their keys.
    pub fn entries_mut(&mut self) -> &mut [E] {
        &mut self.entries
    }

    /// Returns the position of the entry with this key, whose hash is `hash`.
    #[must_use]
    pub fn find(&self, key: &[u8], hash: u64) -> Option<usize> {
        if let Some(index) = &self.index {
            let is_it =
                |p: &Place| p.hash == hash as u32 && self.entries[p.at as usize].key() == key;
            return index.find(spread(hash as u32), is_it).map(|p| p.at as usize);
        }
        let fingerprint = fingerprint_of(hash);
        // Comparing all of a group and branching once lets the compiler use vector instructions;
        // nearly every group is without a match.
        let (groups, rest) = self.fingerprints.as_chunks::<GROUP>();
        for (g, group) in groups.iter().enumerate() {
            if group.iter().fold(false, |any, &p| any | (p == fingerprint))
                && let Some(at) = self.find_among(group, g * GROUP, fingerprint, key)
            {
                return Some(at);
            }
        }
        self.find_among(rest, groups.len() * GROUP, fingerprint, key)
    }

    /// Returns the position of the entry with this key if it is one of those whose `fingerprints`
    /// begin at `base`.
    fn find_among(
        &self,
        fingerprints: &[u16],
        base: usize,
        fingerprint: u16,
        key: &[u8],
    ) -> Option<usize> {
        let matches = fingerprints.iter().enumerate().filter(|&(_, &p)| p == fingerprint);
        matches.map(|(i, _)| base + i).find(|&at| self.entries[at].key() == key)
    }

    /// Prefetches the memory that [`Table::guess`] will read first.
    #[inline]
    pub fn prefetch(&self, hash: u64) {
        if let Some(index) = &self.index {
            // The index offers no prefetch, so the look-up itself brings its memory.
            let _place = index.find(spread(hash as u32), |p| p.hash == hash as u32);
            return;
        }
        for line in self.fingerprints.chunks(64 / size_of::<u16>()) {
            prefetch(line);
        }
    }

    /// Returns the entry that most likely has a key of this hash, with its position: nearly always
    /// the right one, if there is one.
    #[must_use]
    pub fn guess(&self, hash: u64) -> Option<(usize, &E)> {
        let at = match &self.index {
            Some(index) => index.find(spread(hash as u32), |p| p.hash == hash as u32)?.at as usize,
            None => {
                let fingerprint = fingerprint_of(hash);
                let (groups, rest) = self.fingerprints.as_chunks::<GROUP>();
                let has = |group: &[u16; GROUP]| {
                    group.iter().fold(false, |any, &p| any | (p == fingerprint))
                };
                let (base, group) = match groups.iter().position(has) {
                    Some(g) => (g * GROUP, &groups[g][..]),
                    None => (groups.len() * GROUP, rest),
                };
                base + group.iter().position(|&p| p == fingerprint)?
            }
        };
        Some((at, self.entries.get(at)?))
    }

    /// Adds an entry whose key, with hash `hash`, is not in the table; returns its position.
    pub fn insert(&mut self, entry: E, hash: u64, hasher: &KeyHasher) -> usize {
        debug_assert!(self.find(entry.key(), hash).is_none());
        let at = self.entries.len();
        grow(&mut self.entries);
        self.entries.push(entry);
        match &mut self.index {
            Some(index) => {
                index.insert_unique(spread(hash as u32), Place::new(hash, at), |p| spread(p.hash));
            }
            None if at < DENSE_LEN_MAX => {
                grow(&mut self.fingerprints);
                self.fingerprints.push(fingerprint_of(hash));
            }
            None => self.build_index(hasher),
        }
        at
    }

    /// Removes the entry at `at`; the last entry moves into its position.
    pub fn remove(&mut self, at: usize, hasher: &KeyHasher) -> E {
        if let Some(index) = &mut self.index {
            let last = self.entries.len() - 1;
            let hash_at = |at: usize| hasher.hash(self.entries[at].key()) as u32;
            let gone = hash_at(at);
            if let Ok(place) = index.find_entry(spread(gone), |p| p.at as usize == at) {
                place.remove();
            }
            if last != at
                && let Some(place) =
                    index.find_mut(spread(hash_at(last)), |p| p.at as usize == last)
            {
                place.at = at as u32;
            }
        } else {
            self.fingerprints.swap_remove(at);
        }
        let entry = self.entries.swap_remove(at);
        if self.index.is_some() && self.entries.len() < INDEX_LEN_MIN {
            self.index = None;
            self.fingerprints =
                self.entries.iter().map(|e| fingerprint_of(hasher.hash(e.key()))).collect();
        }
        let len = self.entries.len();
        if self.entries.capacity() > 4 * len + 16 {
            self.entries.shrink_to(2 * len);
            self.fingerprints.shrink_to(2 * self.fingerprints.len());
        }
        entry
    }

    /// Calls `each` for the entries below position `from` (`usize::MAX` for all), downwards, until
    /// it returns false; returns the position to go on from, 0 at the end.
    pub fn walk_down<'t>(&'t self, from: usize, mut each: impl FnMut(&'t E) -> bool) -> usize {
        let mut at = from.min(self.entries.len());
        while at > 0 {
            at -= 1;
            if !each(&self.entries[at]) {
                break;
            }
        }
        at
    }

    /// Returns the entry chosen by `pick`, a number that is uniform over all `u64`.
    #[must_use]
    pub fn random(&self, pick: u64) -> Option<&E> {
        let at = (u128::from(pick) * self.entries.len() as u128) >> 64;
        self.entries.get(at as usize)
    }

    /// Rebuilds fingerprints and index from the entries.
    pub fn rebuild_index(&mut self, hasher: &KeyHasher) {
        self.index = None;
        self.fingerprints =
            self.entries.iter().map(|e| fingerprint_of(hasher.hash(e.key()))).collect();
        if self.entries.len() > DENSE_LEN_MAX {
            self.build_index(hasher);
        }
    }

    fn build_index(&mut self, hasher: &KeyHasher) {
        let mut index = HashTable::with_capacity(2 * self.entries.len());
        for (at, entry) in self.entries.iter().enumerate() {
            let hash = hasher.hash(entry.key());
            index.insert_unique(spread(hash as u32), Place::new(hash, at), |p| spread(p.hash));
        }
        self.index = Some(Box::new(index));
        self.fingerprints = Vec::new();
    }

    /// Checks the invariants stated beside the fields.
    #[cfg(test)]
    pub(crate) fn assert_invariants(&self, hasher: &KeyHasher) {
        match &self.index {
            Some(index) => {
                assert!(self.entries.len() >= INDEX_LEN_MIN && self.fingerprints.is_empty());
                assert_eq!(index.len(), self.entries.len());
            }
            None => assert_eq!(self.fingerprints.len(), self.entries.len()),
        }
        for (at, entry) in self.entries.iter().enumerate() {
            assert_eq!(self.find(entry.key(), hasher.hash(entry.key())), Some(at));
        }
    }
}

impl Place {
    fn new(hash: u64, at: usize) -> Self {
        Self {
            hash: hash as u32,
            at: u32::try_from(at).expect("a table holds fewer than 2^32 entries"),
        }
    }
}

/// Grows by a quarter where `Vec` would double: tables are many and small, and half-empty ones
/// would cost more than an extra copy.
fn grow<T>(items: &mut Vec<T>) {
    if items.len() == items.capacity() {
        let len = items.len();
        items.reserve_exact(if len < 4 * DENSE_LEN_MAX { (len / 4).max(2) } else { len / 2 });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[derive(Debug)]
    struct Pair(Vec<u8>, u32);

    impl Keyed for Pair {
        fn key(&self) -> &[u8] {
            &self.0
        }
    }

    proptest! {
        #[test]
        fn behaves_as_a_map(steps in prop::collection::vec((any::<bool>(), 0u32..400), 0..1500)) {
            let hasher = KeyHasher::new(7);
            let (mut table, mut model) = (Table::<Pair>::default(), BTreeMap::new());
            for (step, (add, n)) in steps.into_iter().enumerate() {
                let key = n.to_string().into_bytes();
                let hash = hasher.hash(&key);
                match (table.find(&key, hash), add) {
                    (Some(at), true) => {
                        table.at_mut(at).1 = step as u32;
                        model.insert(key, step as u32);
                    }
                    (Some(at), false) => {
                        let gone = table.remove(at, &hasher);
                        prop_assert_eq!(model.remove(&key), Some(gone.1));
                    }
                    (None, true) => {
                        prop_assert!(!model.contains_key(&key));
                        table.insert(Pair(key.clone(), step as u32), hash, &hasher);
                        model.insert(key, step as u32);
                    }
                    (None, false) => prop_assert!(!model.contains_key(&key)),
                }
                if step % 97 == 0 {
                    table.assert_invariants(&hasher);
                }
            }
            table.assert_invariants(&hasher);
            let all: BTreeMap<_, _> = table.entries().iter().map(|p| (p.0.clone(), p.1)).collect();
            prop_assert_eq!(all, model);
        }

        /// Redis' guarantee: what is present during the whole scan is returned at least once.
        #[test]
        fn a_scan_meets_what_stays(
            stay in 0u32..300,
            steps in prop::collection::vec((any::<bool>(), 1000u32..1300, 1usize..20), 0..200),
        ) {
            let hasher = KeyHasher::new(9);
            let mut table = Table::default();
            let flip = |table: &mut Table<Pair>, n: u32, add: bool| {
                let key = n.to_string().into_bytes();
                let hash = hasher.hash(&key);
                match table.find(&key, hash) {
                    None if add => { table.insert(Pair(key, n), hash, &hasher); }
                    Some(at) if !add => { table.remove(at, &hasher); }
                    _ => {}
                }
            };
            for n in 0..150 { flip(&mut table, 1000 + n, true); }
            for n in 0..stay { flip(&mut table, n, true); }
            let mut met = std::collections::BTreeSet::new();
            let mut from = usize::MAX;
            let mut steps = steps.into_iter().cycle();
            loop {
                let mut left = 7;
                from = table.walk_down(from, |pair| { met.insert(pair.1); left -= 1; left > 0 });
                if from == 0 { break; }
                if let Some((add, n, times)) = steps.next() {
                    for i in 0..times { flip(&mut table, 1000 + (n + i as u32 * 7) % 300, add); }
                }
            }
            prop_assert!((0..stay).all(|n| met.contains(&n)));
        }
    }
}
