//! A table of bounded length: the least recently used rows make room for new ones and are counted.

use hashbrown::{Equivalent, HashTable};
use std::hash::{BuildHasher, Hash, Hasher};

/// The share of a full table that is evicted at once (one row in so many): finding the oldest row
/// takes a look at all of them.
const SHARE_GIVEN_UP: usize = 8;

/// Bytes to find a row by. Empty ones are compared without a call: `memcmp` of the C library reads from the
/// address of an empty slice, which is none, with a mask that suppresses the fault, at the cost of hundreds
/// of instructions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Name<'a>(pub(crate) &'a [u8]);

impl Hash for Name<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl Equivalent<Vec<u8>> for Name<'_> {
    fn equivalent(&self, key: &Vec<u8>) -> bool {
        self.0.len() == key.len() && (key.is_empty() || self.0 == key.as_slice())
    }
}

/// Rows by key.
#[derive(Clone, Debug)]
pub(crate) struct LruTable<K, V> {
    rows: Vec<Row<K, V>>,
    /// The places of the rows by the hash of their keys.
    places: HashTable<u32>,
    hasher: foldhash::fast::FixedState,
    /// Never more rows than this.
    rows_max: usize,
    /// Counts the uses of rows.
    clock: u64,
    forgotten: u64,
}

#[derive(Clone, Debug)]
struct Row<K, V> {
    seen: u64,
    hash: u64,
    key: K,
    value: V,
}

impl<K: Hash + Eq + Clone, V> LruTable<K, V> {
    /// An empty table for `rows_max` rows, at least one.
    #[must_use]
    pub(crate) fn new(rows_max: usize) -> Self {
        Self {
            rows: Vec::new(),
            places: HashTable::new(),
            hasher: foldhash::fast::FixedState::with_seed(0),
            rows_max: rows_max.max(1),
            clock: 0,
            forgotten: 0,
        }
    }

    /// Returns the row of `key`, which counts as a use. If there is none it is made; `own` makes the key
    /// that is kept.
    pub(crate) fn row<Q: Hash + Equivalent<K> + ?Sized>(
        &mut self,
        key: &Q,
        own: impl FnOnce() -> K,
        new: impl FnOnce() -> V,
    ) -> &mut V {
        let place = self.place(key, own, new);
        self.at(place)
    }

    /// Returns the place of such a row, where [`LruTable::at`] finds it until the next row is made or
    /// removed.
    pub(crate) fn place<Q: Hash + Equivalent<K> + ?Sized>(
        &mut self,
        key: &Q,
        own: impl FnOnce() -> K,
        new: impl FnOnce() -> V,
    ) -> usize {
        self.clock += 1;
        let hash = self.hasher.hash_one(key);
        if let Some(place) = self.find(hash, key) {
            self.rows[place].seen = self.clock;
            return place;
        }
        if self.rows.len() >= self.rows_max {
            self.make_room();
        }
        let place = self.rows.len();
        self.rows.push(Row { seen: self.clock, hash, key: own(), value: new() });
        let rows = &self.rows;
        self.places.insert_unique(hash, place as u32, |&at| rows[at as usize].hash);
        place
    }

    /// Returns the row at a place.
    ///
    /// # Panics
    /// There are fewer rows.
    pub(crate) fn at(&mut self, place: usize) -> &mut V {
        &mut self.rows[place].value
    }

    fn find<Q: Equivalent<K> + ?Sized>(&self, hash: u64, key: &Q) -> Option<usize> {
        let is_it = |&at: &u32| key.equivalent(&self.rows[at as usize].key);
        self.places.find(hash, is_it).map(|&at| at as usize)
    }

    fn find_key<Q: Hash + Equivalent<K> + ?Sized>(&self, key: &Q) -> Option<usize> {
        self.find(self.hasher.hash_one(key), key)
    }

    fn make_room(&mut self) {
        let mut seen: Vec<u64> = self.rows.iter().map(|row| row.seen).collect();
        let last = self.rows_max.div_ceil(SHARE_GIVEN_UP) - 1;
        let (_, &mut oldest, _) = seen.select_nth_unstable(last);
        let before = self.rows.len();
        self.rows.retain(|row| row.seen > oldest);
        self.forgotten += (before - self.rows.len()) as u64;
        self.places.clear();
        let rows = &self.rows;
        for (at, row) in rows.iter().enumerate() {
            self.places.insert_unique(row.hash, at as u32, |&at| rows[at as usize].hash);
        }
    }

    /// Returns the row of `key`; this does not count as a use.
    pub(crate) fn get<Q: Hash + Equivalent<K> + ?Sized>(&self, key: &Q) -> Option<&V> {
        self.find_key(key).map(|at| &self.rows[at].value)
    }

    /// Returns the row of `key`; this does not count as a use.
    pub(crate) fn get_mut<Q: Hash + Equivalent<K> + ?Sized>(&mut self, key: &Q) -> Option<&mut V> {
        self.find_key(key).map(|at| &mut self.rows[at].value)
    }

    /// Removes a row.
    pub(crate) fn remove<Q: Hash + Equivalent<K> + ?Sized>(&mut self, key: &Q) -> Option<V> {
        let at = self.find_key(key)?;
        let last = self.rows.len() - 1;
        let entry = self.places.find_entry(self.rows[at].hash, |&other| other as usize == at);
        entry.ok()?.remove();
        let row = self.rows.swap_remove(at);
        if at < last {
            // The last row has taken its place.
            let hash = self.rows[at].hash;
            if let Some(place) = self.places.find_mut(hash, |&other| other as usize == last) {
                *place = at as u32;
            }
        }
        Some(row.value)
    }

    /// Returns all rows, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.rows.iter().map(|row| (&row.key, &row.value))
    }

    /// Returns how many rows made room for others.
    #[must_use]
    pub(crate) fn forgotten(&self) -> u64 {
        self.forgotten
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_least_recently_seen_make_room() {
        let mut table: LruTable<u32, u32> = LruTable::new(16);
        for key in 0..16 {
            *table.row(&key, || key, || 0) += 1;
        }
        *table.row(&0, || 0, || 0) += 1;
        *table.row(&99, || 99, || 0) += 1;
        assert_eq!((table.rows.len(), table.forgotten()), (15, 2));
        assert_eq!((table.get(&0), table.get(&1), table.get(&2)), (Some(&2), None, None));
        assert_eq!((table.get(&3), table.get(&99)), (Some(&1), Some(&1)));
        for key in 100..100_000 {
            table.row(&key, || key, || 0);
        }
        assert!(table.rows.len() <= 16);
    }

    proptest! {
        /// Uses, removals and evictions leave what a plain list of rows has.
        #[test]
        fn rows_are_found_where_they_are(
            calls in prop::collection::vec((any::<bool>(), 0_u32..24), 0..200)
        ) {
            let mut table: LruTable<u32, u32> = LruTable::new(16);
            let mut list: Vec<(u32, u32)> = Vec::new();
            for (is_use, key) in calls {
                let at = list.iter().position(|(other, _)| *other == key);
                if is_use {
                    *table.row(&key, || key, || 0) += 1;
                    let row = at.map_or((key, 0), |at| list.remove(at));
                    if list.len() == 16 {
                        list.drain(..2);
                    }
                    list.push((key, row.1 + 1));
                } else {
                    prop_assert_eq!(table.remove(&key), at.map(|at| list.remove(at).1));
                }
                let mut rows: Vec<(u32, u32)> = table.iter().map(|(k, v)| (*k, *v)).collect();
                rows.sort_unstable();
                let mut expected = list.clone();
                expected.sort_unstable();
                prop_assert_eq!(rows, expected);
                prop_assert!(list.iter().all(|(key, uses)| table.get(key) == Some(uses)));
            }
        }
    }

    #[test]
    fn a_table_of_one_row() {
        let mut table: LruTable<u32, ()> = LruTable::new(0);
        table.row(&1, || 1, || ());
        table.row(&2, || 2, || ());
        assert_eq!((table.rows.len(), table.forgotten()), (1, 1));
        assert!(table.remove(&2).is_some() && table.rows.is_empty());
    }
}
