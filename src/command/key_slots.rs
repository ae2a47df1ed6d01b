//! The slots of the keys of a request that asks for several.

use super::Invocation;
use crate::slot::{Footprint, Slot};
use std::cell::Cell;

/// The slots of a request's keys, for one that asks for several: each key is hashed once, here or in
/// the footprint.
#[derive(Debug)]
pub struct KeySlots<'a> {
    keys: Vec<(&'a [u8], Slot)>,
    /// Where the next key is likely to be asked for: commands take their keys in order.
    next: Cell<usize>,
}

impl<'a> KeySlots<'a> {
    /// Those of the keys of `invocation`, in their order.
    #[must_use]
    pub fn of(invocation: &Invocation<'a>) -> Self {
        let mut keys = Vec::with_capacity(invocation.args.len());
        invocation.spec.each_key(invocation.args, |key| {
            let slot = match invocation.footprint {
                Footprint::In(slot) => slot,
                Footprint::Crossing { first, at, .. } if keys.len() < at => first,
                Footprint::Crossing { other, at, .. } if keys.len() == at => other,
                Footprint::Crossing { .. } | Footprint::Anywhere => Slot::of(key),
            };
            keys.push((key, slot));
        });
        Self { keys, next: Cell::new(0) }
    }

    /// The keys with their slots, in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&'a [u8], Slot)> {
        self.keys.iter().copied()
    }

    /// The slot of one of these keys, or of another.
    #[must_use]
    pub fn slot_of(&self, key: &[u8]) -> Slot {
        let at = self.next.get();
        let is_it = |(known, _): &&(&[u8], Slot)| std::ptr::eq(*known, key) || *known == key;
        if let Some((_, slot)) = self.keys.get(at).filter(is_it) {
            self.next.set(at + 1);
            return *slot;
        }
        let found = self.keys.iter().position(|entry| is_it(&entry));
        self.next.set(found.map_or(at, |found| found + 1));
        found.map_or_else(|| Slot::of(key), |found| self.keys[found].1)
    }
}
