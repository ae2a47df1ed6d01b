//! Keys that blocked clients wait for, and which of them were set.

use super::Keyspace;

impl Keyspace {
    /// Whether to note when `key` is set, for those who wait for it.
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

    /// Whether a key that somebody waits for was set.
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

    /// Takes the keys that were set and that somebody waits for, in order.
    pub fn take_ready(&mut self) -> Vec<Box<[u8]>> {
        std::mem::take(&mut self.ready)
    }
}
