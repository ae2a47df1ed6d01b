//! Keys that blocked clients wait for, and which of them were set.
//!
//! A client that waits as a consumer of a stream also waits for the end of that stream, or of the group.

use super::{Keyspace, Value};
use crate::slot::Slot;

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

    /// Notes that a key may have something for the clients that wait for it: for a value that was
    /// changed in place.
    #[inline]
    pub fn signal_ready(&mut self, key: &[u8]) {
        if !self.awaited.is_empty() {
            self.note_ready(key);
        }
    }

    /// Notes that a key which held a stream is gone.
    #[inline]
    pub(super) fn note_stream_gone(&mut self, key: &[u8], value: &Value) {
        if matches!(value, Value::Stream(_)) {
            self.signal_ready(key);
        }
    }

    /// Notes that all streams are gone.
    pub(super) fn note_streams_gone(&mut self) {
        let is_stream = |key: &[u8]| {
            let value = self.get(self.key(Slot::of(key), key));
            matches!(value, Some(Value::Stream(_)))
        };
        let gone: Vec<Box<[u8]>> =
            self.awaited.iter().filter(|key| is_stream(key)).cloned().collect();
        gone.iter().for_each(|key| self.note_ready(key));
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
