//! Byte strings as they are read from a value, however they are stored.

use crate::text::number::{I64_BYTES_MAX, spell_i64};
use std::ops::Deref;

/// The bytes of a string value, borrowed from it or written out from its integer.
#[derive(Debug)]
pub enum Text<'v> {
    /// Stored as bytes.
    Bytes(&'v [u8]),
    /// Stored as an integer.
    Digits(Digits),
}

impl Deref for Text<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Text::Bytes(bytes) => bytes,
            Text::Digits(digits) => digits,
        }
    }
}

/// An integer's decimal digits, in place.
#[derive(Debug)]
pub struct Digits {
    /// Where the digits begin; they reach to the end.
    start: u8,
    bytes: [u8; I64_BYTES_MAX],
}

impl Digits {
    pub(super) fn of(value: i64) -> Self {
        let mut bytes = [0; I64_BYTES_MAX];
        let start = spell_i64(&mut bytes, value) as u8;
        Self { start, bytes }
    }
}

impl Deref for Digits {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[self.start as usize..]
    }
}
