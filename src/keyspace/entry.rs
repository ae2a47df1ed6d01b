//! A key's entry in its slot's table: key, value, expiry and access time.

use super::table::Keyed;
use super::{Blob, Millis, Value};

/// The value of [`Entry::expires_at`] for a key that never expires. As an unsigned number it is
/// later than every time, so that one comparison decides.
pub(super) const NEVER: Millis = -1;

/// A key with its value: one cache line, never across two.
#[derive(Debug)]
#[repr(align(64))]
pub struct Entry {
    pub(super) key: Blob,
    pub(super) value: Value,
    /// The last millisecond at which the key exists, from 0; [`NEVER`] without an expiry.
    pub(super) expires_at: Millis,
    /// Last access in seconds since the epoch, for `OBJECT IDLETIME`.
    pub(super) accessed: u32,
}

impl Keyed for Entry {
    fn key(&self) -> &[u8] {
        &self.key
    }
}

impl Entry {
    /// Returns the value.
    #[must_use]
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// Returns the time at which the key expires, if it does.
    #[must_use]
    pub fn expires_at(&self) -> Option<Millis> {
        (self.expires_at != NEVER).then_some(self.expires_at)
    }

    /// Returns about how many bytes of memory the key, its value and its index entry take.
    #[must_use]
    pub fn memory(&self) -> usize {
        size_of::<Self>() + size_of::<u64>() + self.key.memory() + self.value.memory()
    }

    /// Returns the last access, in seconds since the epoch.
    #[must_use]
    pub fn accessed_at(&self) -> u32 {
        self.accessed
    }

    pub(super) fn has_expired(&self, now: Millis) -> bool {
        now as u64 > self.expires_at as u64
    }
}

/// What a write does to a key's expiry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ttl {
    /// Removes the expiry.
    Clear,
    /// Keeps the expiry, if there is one.
    Keep,
    /// Sets the expiry to this time.
    At(Millis),
}

impl Ttl {
    /// Returns the stored form of the new expiry, given the stored form of the old one.
    pub(super) fn apply(self, before: Millis) -> Millis {
        match self {
            Self::Clear => NEVER,
            Self::Keep => before,
            Self::At(at) => at.max(0),
        }
    }
}

/// A value with its expiry, on its way from one keyspace to another.
#[derive(Clone, Debug)]
pub struct DetachedValue {
    /// The value.
    pub value: Value,
    /// The time at which it expires, if it does.
    pub expires_at: Option<Millis>,
}
