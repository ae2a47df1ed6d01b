//! The index of a large table: the positions of its entries, sorted by their hashes.
//!
//! ```text
//! slots   [ . | 07 → 3 | 09 → 0 | 0a → 5 | . | 31 → 2 | . … ]      hash → position, or empty
//! ```
//!
//! Open addressing with linear probing, in which the first slot of a hash grows with the hash, and
//! a smaller hash stands before a greater one where they collide. So the slots as a whole are
//! sorted. A scan walks them in an order that neither removals nor growth change.

/// A slot without a position. Above all others, so that a search ends here.
const EMPTY: u64 = u64::MAX;
/// Slots beyond those that hashes are mapped to, for what is displaced from the last ones.
const OVERFLOW: usize = 16;
/// The fewest slots that hashes are mapped to.
const RANGE_MIN: usize = 64;

/// Positions by the hashes of their entries.
#[derive(Clone, Debug)]
pub(super) struct Index {
    /// The hash in the upper half, the position in the lower. The last one is always empty.
    slots: Vec<u64>,
    /// The number of slots that hashes are mapped to.
    range: usize,
    len: usize,
}

/// Returns the slot of a hash and its position.
fn slot(hash: u32, at: usize) -> u64 {
    let at = u32::try_from(at).ok().filter(|&at| at != u32::MAX);
    u64::from(hash) << 32 | u64::from(at.expect("a table holds fewer than 2^32 entries"))
}

/// Returns the hash of a slot.
fn hash_of(slot: u64) -> u32 {
    (slot >> 32) as u32
}

/// Returns the position of a slot.
fn position_of(slot: u64) -> usize {
    slot as u32 as usize
}

impl Index {
    /// Returns an index with room for `len` positions.
    pub(super) fn with_capacity(len: usize) -> Self {
        let range = (len + len / 2).max(RANGE_MIN);
        Self { slots: vec![EMPTY; range + OVERFLOW], range, len: 0 }
    }

    /// Returns how many positions there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Returns the first slot that a hash may be in.
    #[inline]
    fn first(&self, hash: u32) -> usize {
        ((u64::from(hash) * self.range as u64) >> 32) as usize
    }

    /// Returns the slot of the smallest hash from this one on, or an empty one before it.
    #[inline]
    fn lower_bound(&self, hash: u32) -> usize {
        let (mut i, wanted) = (self.first(hash), u64::from(hash) << 32);
        while self.slots[i] < wanted {
            i += 1;
        }
        i
    }

    /// Returns the slot that a search for this hash begins at, to be prefetched.
    #[inline]
    pub(super) fn memory_of(&self, hash: u32) -> &u64 {
        &self.slots[self.first(hash)]
    }

    /// Returns the position with this hash for which `is_it` is true.
    #[inline]
    pub(super) fn find(&self, hash: u32, is_it: impl Fn(usize) -> bool) -> Option<usize> {
        let mut i = self.lower_bound(hash);
        while hash_of(self.slots[i]) == hash && self.slots[i] != EMPTY {
            let at = position_of(self.slots[i]);
            if is_it(at) {
                return Some(at);
            }
            i += 1;
        }
        None
    }

    /// Adds a position.
    pub(super) fn insert(&mut self, hash: u32, at: usize) {
        // Four fifths full at most: a search then passes about two slots.
        if self.len + 1 > self.range / 5 * 4 {
            self.resize(self.range + self.range / 2);
        }
        let i = self.lower_bound(hash);
        let mut end = i;
        while self.slots[end] != EMPTY {
            end += 1;
        }
        if end + 1 == self.slots.len() {
            self.slots.reserve_exact(OVERFLOW);
            self.slots.push(EMPTY);
        }
        self.slots.copy_within(i..end, i + 1);
        self.slots[i] = slot(hash, at);
        self.len += 1;
    }

    /// Returns the slot of this hash and position.
    fn slot_of(&self, hash: u32, at: usize) -> Option<usize> {
        let (mut i, wanted) = (self.lower_bound(hash), slot(hash, at));
        while self.slots[i] != wanted {
            if hash_of(self.slots[i]) != hash || self.slots[i] == EMPTY {
                return None;
            }
            i += 1;
        }
        Some(i)
    }

    /// Removes a position. What it has displaced moves back.
    pub(super) fn remove(&mut self, hash: u32, at: usize) {
        let Some(i) = self.slot_of(hash, at) else { return };
        let mut end = i + 1;
        while self.slots[end] != EMPTY && self.first(hash_of(self.slots[end])) < end {
            end += 1;
        }
        self.slots.copy_within(i + 1..end, i);
        self.slots[end - 1] = EMPTY;
        self.len -= 1;
    }

    /// Replaces a position.
    pub(super) fn replace(&mut self, hash: u32, at: usize, by: usize) {
        if let Some(i) = self.slot_of(hash, at) {
            self.slots[i] = slot(hash, by);
        }
    }

    /// Gives memory back if most of it is unused.
    pub(super) fn shrink(&mut self) {
        if self.range > 4 * self.len + RANGE_MIN {
            self.resize((2 * self.len).max(RANGE_MIN));
        }
    }

    /// Returns the hashes from `hash` on, in ascending order, with their positions.
    pub(super) fn from(&self, hash: u32) -> impl Iterator<Item = (u32, usize)> {
        let slots = self.slots[self.lower_bound(hash)..].iter();
        slots.filter(|&&slot| slot != EMPTY).map(|&slot| (hash_of(slot), position_of(slot)))
    }

    /// Maps hashes to so many slots.
    fn resize(&mut self, range: usize) {
        let slots = std::mem::replace(&mut self.slots, vec![EMPTY; range + OVERFLOW]);
        self.range = range;
        let mut next = 0;
        for slot in slots.into_iter().filter(|&slot| slot != EMPTY) {
            next = self.first(hash_of(slot)).max(next);
            if next + 1 == self.slots.len() {
                self.slots.reserve_exact(OVERFLOW);
                self.slots.push(EMPTY);
            }
            self.slots[next] = slot;
            next += 1;
        }
    }

    /// Checks the invariants stated beside the fields.
    #[cfg(test)]
    pub(super) fn assert_invariants(&self) {
        assert_eq!(self.slots.last(), Some(&EMPTY));
        let full: Vec<(usize, u64)> =
            self.slots.iter().copied().enumerate().filter(|&(_, slot)| slot != EMPTY).collect();
        assert_eq!(full.len(), self.len);
        assert!(full.is_sorted_by_key(|&(_, slot)| hash_of(slot)));
        for (i, slot) in full {
            let first = self.first(hash_of(slot));
            assert!(first <= i && self.slots[first..i].iter().all(|&slot| slot != EMPTY));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    /// Hashes that collide: few different ones, and the greatest.
    fn hash() -> impl Strategy<Value = u32> {
        prop_oneof![any::<u32>(), 0_u32..9, (u32::MAX - 40)..=u32::MAX]
    }

    proptest! {
        #[test]
        fn behaves_as_a_set(steps in prop::collection::vec((0_u8..4, hash(), 0_usize..4), 0..900)) {
            let (mut index, mut model) = (Index::with_capacity(0), BTreeSet::new());
            for (kind, hash, at) in steps {
                let is_there = index.find(hash, |found| found == at).is_some();
                prop_assert_eq!(is_there, model.contains(&(hash, at)));
                match kind {
                    0 if is_there => {
                        index.remove(hash, at);
                        model.remove(&(hash, at));
                        index.shrink();
                    }
                    1 if is_there && model.insert((hash, at + 9)) => {
                        index.replace(hash, at, at + 9);
                        model.remove(&(hash, at));
                    }
                    _ if !is_there => {
                        index.insert(hash, at);
                        model.insert((hash, at));
                    }
                    _ => {}
                }
            }
            index.assert_invariants();
            prop_assert_eq!(index.from(0).collect::<BTreeSet<_>>(), model.clone());
            let from = 1 << 31;
            let above: BTreeSet<_> = model.into_iter().filter(|&(hash, _)| hash >= from).collect();
            prop_assert_eq!(index.from(from).collect::<BTreeSet<_>>(), above);
        }
    }
}
