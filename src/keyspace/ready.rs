//! Keys that blocked clients wait for, and which of them were set.

use super::Keyspace;

impl Keyspace {
    /// Adds `key` to the keys that blocked clients wait for, or removes it.
    pub fn set_awaited(&mut self, key: &[u8], wanted: bool) {
        if wanted {
            self.awaited.insert(key.into());
        } else {
            self.awaited.remove(key);
            if self.awaited.capacity() > 4 * self.awaited.len().max(16) {
                self.awaited.shrink_to(2 * self.awaited.len());
            }
        }
    }

    /// Returns whether an awaited key was set.
    #[must_use]
    #[inline]
    pub fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    #[cold]
    pub(super) fn note_ready(&mut self, key: &[u8]) {
        if self.awaited.contains(key) && self.ready.last().is_none_or(|last| **last != *key) {
            self.ready.push(key.into());
        }
    }

    /// Takes the awaited keys that were set, in order.
    pub fn take_ready(&mut self) -> Vec<Box<[u8]>> {
        std::mem::take(&mut self.ready)
    }
}
