//! A table of bounded length: the least recently used rows make room for new ones and are counted.

use hashbrown::{Equivalent, HashMap};
use std::hash::Hash;

/// The share of a full table that is evicted at once (one row in so many): finding the oldest row
/// takes a look at all of them.
const SHARE_GIVEN_UP: usize = 8;

/// Rows by key.
#[derive(Clone, Debug)]
pub struct LruTable<K, V> {
    rows: HashMap<K, Row<V>, foldhash::fast::FixedState>,
    /// Never more rows than this.
    rows_max: usize,
    /// Counts the uses of rows.
    clock: u64,
    forgotten: u64,
}

#[derive(Clone, Debug)]
struct Row<V> {
    seen: u64,
    value: V,
}

impl<K: Hash + Eq + Clone, V> LruTable<K, V> {
    /// An empty table for `rows_max` rows, at least one.
    #[must_use]
    pub fn new(rows_max: usize) -> Self {
        let rows = HashMap::with_hasher(foldhash::fast::FixedState::with_seed(0));
        Self { rows, rows_max: rows_max.max(1), clock: 0, forgotten: 0 }
    }

    /// Returns the row of `key`, which counts as a use. If there is none it is made; `own` makes the key
    /// that is kept.
    pub fn row<Q: Hash + Equivalent<K> + ?Sized>(
        &mut self,
        key: &Q,
        own: impl FnOnce() -> K,
        new: impl FnOnce() -> V,
    ) -> &mut V {
        self.clock += 1;
        if !self.rows.contains_key(key) {
            if self.rows.len() >= self.rows_max {
                self.make_room();
            }
            self.rows.insert(own(), Row { seen: self.clock, value: new() });
        }
        let row = self.rows.get_mut(key).expect("it is there, or has just been put there");
        row.seen = self.clock;
        &mut row.value
    }

    fn make_room(&mut self) {
        let mut seen: Vec<u64> = self.rows.values().map(|row| row.seen).collect();
        let last = self.rows_max.div_ceil(SHARE_GIVEN_UP) - 1;
        let (_, &mut oldest, _) = seen.select_nth_unstable(last);
        let before = self.rows.len();
        self.rows.retain(|_, row| row.seen > oldest);
        self.forgotten += (before - self.rows.len()) as u64;
    }

    /// Returns the row of `key`; this does not count as a use.
    pub fn get<Q: Hash + Equivalent<K> + ?Sized>(&self, key: &Q) -> Option<&V> {
        self.rows.get(key).map(|row| &row.value)
    }

    /// Returns the row of `key`; this does not count as a use.
    pub fn get_mut<Q: Hash + Equivalent<K> + ?Sized>(&mut self, key: &Q) -> Option<&mut V> {
        self.rows.get_mut(key).map(|row| &mut row.value)
    }

    /// Removes a row.
    pub fn remove<Q: Hash + Equivalent<K> + ?Sized>(&mut self, key: &Q) -> Option<V> {
        self.rows.remove(key).map(|row| row.value)
    }

    /// Returns all rows, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.rows.iter().map(|(key, row)| (key, &row.value))
    }

    /// Returns how many rows there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Returns how many rows made room for others.
    #[must_use]
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_seen_make_room() {
        let mut table: LruTable<u32, u32> = LruTable::new(16);
        for key in 0..16 {
            *table.row(&key, || key, || 0) += 1;
        }
        *table.row(&0, || 0, || 0) += 1;
        *table.row(&99, || 99, || 0) += 1;
        assert_eq!((table.len(), table.forgotten()), (15, 2));
        assert_eq!((table.get(&0), table.get(&1), table.get(&2)), (Some(&2), None, None));
        assert_eq!((table.get(&3), table.get(&99)), (Some(&1), Some(&1)));
        for key in 100..100_000 {
            table.row(&key, || key, || 0);
        }
        assert!(table.len() <= 16);
    }

    #[test]
    fn a_table_of_one_row() {
        let mut table: LruTable<u32, ()> = LruTable::new(0);
        table.row(&1, || 1, || ());
        table.row(&2, || 2, || ());
        assert_eq!((table.len(), table.forgotten()), (1, 1));
        assert!(table.remove(&2).is_some() && table.is_empty());
    }
}
