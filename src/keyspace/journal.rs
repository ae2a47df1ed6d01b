//! Which keys of a keyspace have changed, while that is recorded.

use crate::slot::Slot;
use std::collections::BTreeSet;

/// What was changed since it was last told. In order, so that followers are alike in every run.
#[derive(Debug, Default)]
pub(super) struct Journal {
    /// Who knows: everything may have changed.
    pub(super) everything: bool,
    pub(super) cleared: bool,
    pub(super) slots: BTreeSet<Slot>,
    pub(super) keys: BTreeSet<Box<[u8]>>,
}

impl Journal {
    pub(super) fn mark_key(&mut self, key: &[u8]) {
        if !self.keys.contains(key) {
            self.keys.insert(key.into());
        }
    }

    pub(super) fn mark_slot(&mut self, slot: Slot) {
        self.slots.insert(slot);
    }

    pub(super) fn mark_cleared(&mut self) {
        *self = Self { cleared: true, everything: self.everything, ..Self::default() };
    }

    pub(super) fn mark_everything(&mut self) {
        self.everything = true;
    }

    /// Takes the keys, and whether anything besides may have changed.
    pub(super) fn take_keys(&mut self) -> (Vec<Box<[u8]>>, bool) {
        let Self { everything, cleared, slots, keys } = std::mem::take(self);
        (keys.into_iter().collect(), everything || cleared || !slots.is_empty())
    }

    pub(super) fn is_empty(&self) -> bool {
        !self.everything && !self.cleared && self.slots.is_empty() && self.keys.is_empty()
    }
}
