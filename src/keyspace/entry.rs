//! A key's entry in its slot's table: key, value, expiry and access time.

use super::table::Keyed;
use super::{Blob, Hash, Millis, Value};

/// The time at which what never expires does. As an unsigned number it is
/// later than every time, so that one comparison decides.
pub(super) const NEVER: Millis = -1;

/// A key with its value: one cache line, never across two.
#[derive(Debug)]
#[repr(align(64))]
pub struct Entry {
    pub(super) key: Blob,
    pub(super) value: Value,
    /// The last millisecond at which all of this exists, from 0; [`NEVER`] if nothing expires. That
    /// is when the key expires, or the first field of a hash that does before: such a hash keeps the
    /// expiry of its key itself.
    due_at: Millis,
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

    /// Returns a new entry with a key that expires at this time, or [`NEVER`].
    pub(super) fn new(key: Blob, value: Value, expires_at: Millis, accessed: u32) -> Self {
        let mut entry = Self { key, value, due_at: expires_at, accessed };
        entry.set_expiry(expires_at);
        entry
    }

    /// Returns the time at which the key expires, if it does.
    #[must_use]
    pub fn expires_at(&self) -> Option<Millis> {
        let expires_at = self.expiry();
        (expires_at != NEVER).then_some(expires_at)
    }

    /// The same, or [`NEVER`].
    pub(super) fn expiry(&self) -> Millis {
        let kept = self.value.as_hash().and_then(Hash::times);
        kept.map_or(self.due_at, |(expires_at, _)| expires_at.unwrap_or(self.due_at))
    }

    /// Sets the expiry of the key, or [`NEVER`].
    pub(super) fn set_expiry(&mut self, expires_at: Millis) {
        self.due_at = expires_at;
        if let Value::Hash(hash) = &mut self.value
            && let Some((_, next_field)) = hash.times()
        {
            hash.set_key_expiry(expires_at);
            // As unsigned numbers, NEVER is the latest.
            self.due_at = (next_field as u64).min(expires_at as u64) as Millis;
        }
    }

    /// Finds out anew what is due, after the value was changed in place.
    #[inline]
    pub(super) fn value_changed(&mut self) {
        if self.is_timed() {
            self.set_expiry(self.expiry());
        }
    }

    /// Returns whether its value is a string that is freed at once, and it does not expire.
    #[inline]
    pub(super) fn is_lasting_string(&self) -> bool {
        self.due_at == NEVER && self.value.is_simple_string()
    }

    /// Returns whether its value is a hash whose fields expire, or once did.
    #[inline]
    pub(super) fn is_timed(&self) -> bool {
        self.value.as_hash().is_some_and(Hash::is_timed)
    }

    /// Returns what of it expires, of a key whose value was not a hash of which fields expire when its
    /// expiry was set.
    pub(super) fn expiring_alone(&self) -> Expiring {
        let any = self.due_at != NEVER;
        Expiring { any, key: any, fields: false }
    }

    /// Returns what of it expires.
    pub(super) fn expiring(&self) -> Expiring {
        if !self.is_timed() {
            return self.expiring_alone();
        }
        let fields = self.value.as_hash().is_some_and(|hash| hash.ends() > 0);
        Expiring { any: self.due_at != NEVER, key: self.expiry() != NEVER, fields }
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

    /// Returns whether the key has expired, or a field of its hash.
    #[inline]
    pub(super) fn is_due(&self, now: Millis) -> bool {
        now as u64 > self.due_at as u64
    }

    /// Returns whether nothing of it is left.
    pub(super) fn has_expired(&self, now: Millis) -> bool {
        self.is_due(now) && (now as u64 > self.expiry() as u64 || self.has_lost_all_fields(now))
    }

    /// Returns whether its value is a hash whose fields have all expired.
    pub(super) fn has_lost_all_fields(&self, now: Millis) -> bool {
        let hash = self.value.as_hash();
        hash.is_some_and(|hash| hash.is_empty() || hash.last_end().is_some_and(|end| end < now))
    }
}

/// What of an entry expires.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Expiring {
    /// Anything.
    pub any: bool,
    /// The key.
    pub key: bool,
    /// A field of its hash.
    pub fields: bool,
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
