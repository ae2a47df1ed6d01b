//! A key as commands name it, with what was computed of it before the look-up.

use crate::slot::Slot;

/// A key as a command names it: its bytes, its slot and its hash.
#[derive(Clone, Copy, Debug)]
pub struct Key<'k> {
    /// The key's bytes.
    pub bytes: &'k [u8],
    /// The slot it lives in.
    pub slot: Slot,
    pub(super) hint: KeyHint,
}

impl<'k> Key<'k> {
    /// A key of `slot` that was looked at before: `seen` must have been made of its hash.
    #[must_use]
    pub fn with_hint(bytes: &'k [u8], slot: Slot, hint: KeyHint) -> Self {
        Self { bytes, slot, hint }
    }
}

/// What is known of a key before it is looked up: its hash, and a hint of where it lies.
#[derive(Clone, Copy, Debug)]
pub struct KeyHint {
    pub(super) hash: u64,
    /// The place in its table where it may lie, or any other number.
    pub(super) position: u32,
}

impl KeyHint {
    /// A hash, and no hint.
    #[must_use]
    pub fn from_hash(hash: u64) -> Self {
        Self { hash, position: u32::MAX }
    }
}
