//! A table of keyed entries, dense in memory: it holds a slot's keys and a large hash's fields.
//!
//! ```text
//! entries  [ e0 | e1 | e2 | … ]         in one piece, no holes: removal moves the last one down
//! fingerprints   [ p0 | p1 | p2 | … ]         16 bits of each entry's hash, up to DENSE_LEN_MAX entries:
//!                                       a look-up scans them, one or two cache lines
//! index    hash -> position                above that, sorted by hash, instead of the fingerprints
//! ```
//!
//! With a million keys a slot holds some sixty of them, so the usual look-up reads the table's
//! header, a line of fingerprints and the entry. The dense array makes a uniform random pick O(1).
//!
//! A scan goes by hash, from the smallest up, since positions change with removals. Fingerprints and
//! index are both the upper bits of the hash, so that a cursor stays valid when a table grows or
//! shrinks: an entry that stays is returned exactly once, whatever is added or removed meanwhile.

use super::index::Index;
use super::prefetch::prefetch;
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

    /// Returns the hash of `bytes`: 32 bits are all that a table uses.
    #[must_use]
    #[inline]
    pub fn hash(&self, bytes: &[u8]) -> u32 {
        (self.wide_hash(bytes) >> 32) as u32
    }

    /// Returns a hash of `bytes` of 64 bits, for other tables.
    #[must_use]
    #[inline]
    pub fn wide_hash(&self, bytes: &[u8]) -> u64 {
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
pub(crate) struct Table<E> {
    entries: Vec<E>,
    /// As long as `entries` while there is no index, else empty.
    fingerprints: Vec<u16>,
    /// Present from `DENSE_LEN_MAX + 1` entries on until fewer than `INDEX_LEN_MIN` are left.
    index: Option<Box<Index>>,
}

/// Returns the fingerprint: the upper half of a hash.
fn fingerprint_of(hash: u32) -> u16 {
    (hash >> 16) as u16
}

impl<E> Default for Table<E> {
    fn default() -> Self {
        Self { entries: Vec::new(), fingerprints: Vec::new(), index: None }
    }
}

impl<E: Keyed> Table<E> {
    /// Returns how many entries there are.
    #[must_use]
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns the entries by position. Positions change when an entry is removed.
    #[must_use]
    pub(crate) fn entries(&self) -> &[E] {
        &self.entries
    }

    /// Returns the entry at a position, if there is one.
    #[inline]
    pub(crate) fn get_mut(&mut self, at: usize) -> Option<&mut E> {
        self.entries.get_mut(at)
    }

    /// Returns the entry at a position that [`Table::find`] returned.
    pub(crate) fn at_mut(&mut self, at: usize) -> &mut E {
        &mut self.entries[at]
    }

    /// Returns the position of the entry with this key, whose hash is `hash`.
    #[must_use]
    #[inline(never)]
    pub(crate) fn find(&self, key: &[u8], hash: u32) -> Option<usize> {
        if let Some(index) = &self.index {
            return index.find(hash, |at| self.entries[at].key() == key);
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
    pub(crate) fn prefetch(&self, hash: u32) {
        if let Some(index) = &self.index {
            prefetch(index.memory_of(hash));
            return;
        }
        for line in self.fingerprints.chunks(64 / size_of::<u16>()) {
            prefetch(line);
        }
    }

    /// Returns the entry that most likely has a key of this hash, with its position: nearly always
    /// the right one, if there is one.
    #[must_use]
    pub(crate) fn guess(&self, hash: u32) -> Option<(usize, &E)> {
        let at = match &self.index {
            Some(index) => index.find(hash, |_| true)?,
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
    pub(crate) fn insert(&mut self, entry: E, hash: u32, hasher: &KeyHasher) -> usize {
        debug_assert!(self.find(entry.key(), hash).is_none());
        let at = self.entries.len();
        grow(&mut self.entries);
        self.entries.push(entry);
        match &mut self.index {
            Some(index) => index.insert(hash, at),
            None if at < DENSE_LEN_MAX => {
                grow(&mut self.fingerprints);
                self.fingerprints.push(fingerprint_of(hash));
            }
            None => self.build_index(hasher),
        }
        at
    }

    /// Removes the entry at `at`; the last entry moves into its position.
    pub(crate) fn remove(&mut self, at: usize, hasher: &KeyHasher) -> E {
        if let Some(index) = &mut self.index {
            let last = self.entries.len() - 1;
            let hash_at = |at: usize| hasher.hash(self.entries[at].key());
            index.remove(hash_at(at), at);
            if last != at {
                index.replace(hash_at(last), last, at);
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
            if let Some(index) = &mut self.index {
                index.shrink();
            }
        }
        entry
    }

    /// Returns the page of a scan that starts at `cursor`: about `count` entries, from 1, and the
    /// cursor of the page after it. Both start and end are 0, and any number is a cursor. More than
    /// `count` are returned where hashes are equal, since no cursor is between those.
    #[must_use]
    pub(crate) fn page(&self, cursor: u64, count: usize, hasher: &KeyHasher) -> (Vec<&E>, u64) {
        let (from, count) = (cursor as u32, count.max(1));
        let mut page = Vec::new();
        let Some(index) = &self.index else {
            let next = self.dense_page(from, count, hasher, &mut page);
            return (page, next);
        };
        let mut last = None;
        for (hash, at) in index.from(from) {
            if page.len() >= count && last != Some(hash) {
                return (page, hash.into());
            }
            page.push(&self.entries[at]);
            last = Some(hash);
        }
        (page, 0)
    }

    /// As [`Table::page`], by fingerprints. A cursor is between two of them unless it is from a time
    /// when there was an index.
    fn dense_page<'t>(
        &'t self,
        from: u32,
        count: usize,
        hasher: &KeyHasher,
        page: &mut Vec<&'t E>,
    ) -> u64 {
        let first = (from >> 16) as u16;
        let mut buffer = [0; DENSE_LEN_MAX];
        let mut len = 0;
        for &fingerprint in self.fingerprints.iter().filter(|&&it| it >= first) {
            buffer[len] = fingerprint;
            len += 1;
        }
        let (mut last, mut next) = (u16::MAX, None);
        if count < len {
            let (_, &mut greatest, above) = buffer[..len].select_nth_unstable(count - 1);
            last = greatest;
            next = above.iter().copied().filter(|&it| it > last).min();
        }
        for (entry, &it) in self.entries.iter().zip(&self.fingerprints) {
            let is_seen = |entry: &E| hasher.hash(entry.key()) < from;
            if (first..=last).contains(&it) && !(it == first && from as u16 != 0 && is_seen(entry))
            {
                page.push(entry);
            }
        }
        next.map_or(0, |next| u64::from(next) << 16)
    }

    /// Rebuilds fingerprints and index from the entries.
    pub(crate) fn rebuild_index(&mut self, hasher: &KeyHasher) {
        self.index = None;
        self.fingerprints =
            self.entries.iter().map(|e| fingerprint_of(hasher.hash(e.key()))).collect();
        if self.entries.len() > DENSE_LEN_MAX {
            self.build_index(hasher);
        }
    }

    fn build_index(&mut self, hasher: &KeyHasher) {
        let mut index = Index::with_capacity(self.entries.len());
        for (at, entry) in self.entries.iter().enumerate() {
            index.insert(hasher.hash(entry.key()), at);
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
                index.assert_invariants();
            }
            None => assert_eq!(self.fingerprints.len(), self.entries.len()),
        }
        for (at, entry) in self.entries.iter().enumerate() {
            assert_eq!(self.find(entry.key(), hasher.hash(entry.key())), Some(at));
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

        /// Redis guarantees at least once for what is present during the whole scan.
        #[test]
        fn a_scan_meets_what_stays_once(
            stay in 0u32..300,
            others in 0u32..1500,
            count in 1usize..20,
            steps in prop::collection::vec((any::<bool>(), 0u32..1500, 1usize..400), 0..60),
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
            for n in 0..others { flip(&mut table, 1000 + n, true); }
            for n in 0..stay { flip(&mut table, n, true); }
            let (mut met, mut cursor, mut steps) = (Vec::new(), 0, steps.into_iter());
            loop {
                let (page, next) = table.page(cursor, count, &hasher);
                // Four equal fingerprints in one table are hardly ever seen.
                prop_assert!(page.len() <= count + 2);
                met.extend(page.iter().map(|pair| pair.1).filter(|&n| n < stay));
                cursor = next;
                if cursor == 0 { break; }
                // Runs of additions or removals, so that the table grows and shrinks.
                if let Some((add, n, times)) = steps.next() {
                    for i in 0..times { flip(&mut table, 1000 + (n + i as u32) % 1500, add); }
                }
            }
            met.sort_unstable();
            prop_assert!(met.into_iter().eq(0..stay));
        }

        #[test]
        fn any_number_is_a_cursor(len in 0u32..400, cursor in any::<u64>(), count in 0usize..500) {
            let (hasher, mut table) = (KeyHasher::new(3), Table::default());
            for n in 0..len {
                let key = n.to_string().into_bytes();
                let hash = hasher.hash(&key);
                table.insert(Pair(key, n), hash, &hasher);
            }
            let (page, next) = table.page(cursor, count, &hasher);
            prop_assert!(page.len() <= len as usize);
            prop_assert!(next == 0 || next > cursor & u64::from(u32::MAX));
        }
    }
}
