//! Which keys of a keyspace have changed, while that is recorded.

use super::event::Event;
use crate::slot::Slot;
use std::collections::BTreeSet;

/// What has changed since the changes were last taken. Ordered, so that replicas apply the same
/// sequence in every run.
#[derive(Debug, Default)]
pub(super) struct Journal {
    /// Anything may have changed.
    pub(super) everything: bool,
    /// The keyspace was emptied; what follows happened afterwards.
    pub(super) cleared: bool,
    /// Slots that were emptied.
    pub(super) slots: BTreeSet<Slot>,
    pub(super) keys: BTreeSet<Box<[u8]>>,
    /// Keys whose changes have tripped no guard; some may be in `keys` as well.
    pub(super) unwatched: BTreeSet<Box<[u8]>>,
    /// What was published of the changes.
    pub(super) events: Vec<Event>,
}

/// The keys that changed while tables were lent.
#[derive(Debug, Default)]
pub struct TouchedKeys {
    /// The changed keys, in order.
    pub keys: Vec<Box<[u8]>>,
    /// Keys with changes that trip no guard.
    pub unwatched: Vec<Box<[u8]>>,
    /// Other keys may have changed as well.
    pub all: bool,
}

impl Journal {
    pub(super) fn mark_key(&mut self, key: &[u8]) {
        if !self.keys.contains(key) {
            self.keys.insert(key.into());
        }
    }

    pub(super) fn mark_unwatched(&mut self, key: &[u8]) {
        if !self.unwatched.contains(key) {
            self.unwatched.insert(key.into());
        }
    }

    pub(super) fn mark_slot(&mut self, slot: Slot) {
        self.slots.insert(slot);
    }

    pub(super) fn mark_cleared(&mut self) {
        let events = std::mem::take(&mut self.events);
        *self = Self { cleared: true, everything: self.everything, events, ..Self::default() };
    }

    pub(super) fn mark_everything(&mut self) {
        self.everything = true;
    }

    /// Takes the changed keys.
    pub(super) fn take_keys(&mut self) -> TouchedKeys {
        let Self { everything, cleared, slots, keys, unwatched, events: _ } = std::mem::take(self);
        let all = everything || cleared || !slots.is_empty();
        TouchedKeys {
            keys: keys.into_iter().collect(),
            unwatched: unwatched.into_iter().collect(),
            all,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        let has_changes = self.everything || self.cleared || !self.slots.is_empty();
        !has_changes && self.keys.is_empty() && self.unwatched.is_empty() && self.events.is_empty()
    }
}
