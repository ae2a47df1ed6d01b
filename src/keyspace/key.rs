//! A key as a command names it, with what is computed before the look-up.

use crate::slot::Slot;

/// A key as a command names it: bytes, slot and hash.
#[derive(Clone, Copy, Debug)]
pub struct Key<'k> {
    /// The key's bytes.
    pub bytes: &'k [u8],
    /// Its slot.
    pub slot: Slot,
    pub(super) hint: KeyHint,
}

impl<'k> Key<'k> {
    /// Makes a key of `slot` that was probed before: `hint` must hold the key's hash.
    #[must_use]
    #[inline]
    pub fn with_hint(bytes: &'k [u8], slot: Slot, hint: KeyHint) -> Self {
        Self { bytes, slot, hint }
    }

    /// Returns what is known of it.
    #[must_use]
    #[inline]
    pub fn hint(&self) -> KeyHint {
        self.hint
    }
}

/// What is known of a key before it is looked up: its hash, and where it may be.
#[derive(Clone, Copy, Debug)]
pub struct KeyHint {
    pub(super) hash: u32,
    /// The position in its table where it may be, or any other number.
    pub(super) position: u32,
}

impl KeyHint {
    /// Nothing is known.
    pub const NONE: Self = Self { hash: 0, position: u32::MAX };

    /// Makes a hint from a hash, without a position.
    #[must_use]
    #[inline]
    pub fn from_hash(hash: u32) -> Self {
        Self { hash, position: u32::MAX }
    }
}
