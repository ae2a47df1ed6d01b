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
    pub fn with_hint(bytes: &'k [u8], slot: Slot, hint: KeyHint) -> Self {
        Self { bytes, slot, hint }
    }
}

/// What is known of a key before it is looked up: its hash, and where it may be.
#[derive(Clone, Copy, Debug)]
pub struct KeyHint {
    pub(super) hash: u64,
    /// The position in its table where it may be, or any other number.
    pub(super) position: u32,
}

impl KeyHint {
    /// Makes a hint from a hash, without a position.
    #[must_use]
    pub fn from_hash(hash: u64) -> Self {
        Self { hash, position: u32::MAX }
    }
}
