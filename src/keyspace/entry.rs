//! A key's entry in its slot's table: the key, its value, its expiry and its access time.

use super::table::Keyed;
use super::{Blob, Millis, Value};

/// Stands in [`Entry::expires_at`] for a key that never expires. As an unsigned number it is later
/// than every moment, so that one comparison knows what has expired.
pub(super) const NEVER: Millis = -1;

/// A key with what it holds: one cache line, and never across two.
#[derive(Debug)]
#[repr(align(64))]
pub struct Entry {
    pub(super) key: Blob,
    pub(super) value: Value,
    /// The last millisecond at which it is still there, from 0; [`NEVER`] if it stays.
    pub(super) expires_at: Millis,
    /// When it was last read or written, in seconds since the epoch, for `OBJECT IDLETIME`.
    pub(super) accessed: u32,
}

impl Keyed for Entry {
    fn key(&self) -> &[u8] {
        &self.key
    }
}

impl Entry {
    /// What the key holds.
    #[must_use]
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// When it expires, if ever.
    #[must_use]
    pub fn expires_at(&self) -> Option<Millis> {
        (self.expires_at != NEVER).then_some(self.expires_at)
    }

    /// About how many bytes of memory it takes, with its key, its value and its place in the index.
    #[must_use]
    pub fn memory(&self) -> usize {
        size_of::<Self>() + size_of::<u64>() + self.key.memory() + self.value.memory()
    }

    /// When it was last read or written, in seconds since the epoch.
    #[must_use]
    pub fn accessed_at(&self) -> u32 {
        self.accessed
    }

    pub(super) fn has_expired(&self, now: Millis) -> bool {
        now as u64 > self.expires_at as u64
    }
}

/// What a write does to the key's expiry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ttl {
    /// The key no longer expires.
    Clear,
    /// An expiry that is there stays.
    Keep,
    /// The key expires after this millisecond.
    At(Millis),
}

impl Ttl {
    /// What an entry stores, given what it has stored until now.
    pub(super) fn apply(self, before: Millis) -> Millis {
        match self {
            Self::Clear => NEVER,
            Self::Keep => before,
            Self::At(at) => at.max(0),
        }
    }
}

/// What a key held, on its way to another keyspace of the same process.
#[derive(Clone, Debug)]
pub struct DetachedValue {
    /// The value.
    pub value: Value,
    /// When it expires, if ever.
    pub expires_at: Option<Millis>,
}
