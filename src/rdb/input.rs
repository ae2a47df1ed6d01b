//! Lengths and strings, the parts of all payloads.
//!
//! ```text
//! 00nnnnnn                        a length below 64
//! 01nnnnnn nnnnnnnn               a length below 16384
//! 10000000 + 4 bytes, big endian  a length below 2^32
//! 10000001 + 8 bytes, big endian  any length
//! 11000000 + 1 byte               a string that is an integer; signed, little endian
//! 11000001 + 2 bytes
//! 11000010 + 4 bytes
//! 11000011 + two lengths          a string compressed with LZF: its stored and its true length
//! ```
//! A length may be encoded longer than needed; a string is a length and its bytes, or one of the
//! last four.

use std::borrow::Cow;

use super::{integer_text, lzf};
use crate::text::number;

/// Most bytes that the compressed strings of one payload may expand to: the size of the longest
/// string. LZF expands up to 88 times, so without this a payload of a few megabytes would cost
/// gigabytes.
const DECOMPRESSED_BYTES_MAX: usize = 512 * 1024 * 1024;

/// The longest text of an integer that is tried as one: `-2147483648`.
const INTEGER_BYTES_MAX: usize = 11;

/// The unread part of a payload. Every reader returns `None` at its end.
pub(super) struct Input<'a> {
    rest: &'a [u8],
    /// What is left of [`DECOMPRESSED_BYTES_MAX`].
    decompressed_left: usize,
}

impl<'a> Input<'a> {
    pub(super) fn new(rest: &'a [u8]) -> Self {
        Self { rest, decompressed_left: DECOMPRESSED_BYTES_MAX }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Returns the bytes still to be read.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(super) fn byte(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(*array)
    }

    pub(super) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(taken)
    }

    /// Reads a signed integer of three bytes, little endian.
    pub(super) fn i24(&mut self) -> Option<i32> {
        let [low, middle, high] = self.array()?;
        // At the top, so that the shift back extends the sign.
        Some(i32::from_le_bytes([0, low, middle, high]) >> 8)
    }

    /// Reads a length; `None` for an encoded string, or a length beyond this machine's `usize`.
    pub(super) fn length(&mut self) -> Option<usize> {
        let first = self.byte()?;
        self.length_after(first)
    }

    fn length_after(&mut self, first: u8) -> Option<usize> {
        match first {
            0x00..=0x3F => Some(usize::from(first)),
            0x40..=0x7F => Some(usize::from(first & 0x3F) << 8 | usize::from(self.byte()?)),
            0x80 => usize::try_from(u32::from_be_bytes(self.array()?)).ok(),
            0x81 => usize::try_from(u64::from_be_bytes(self.array()?)).ok(),
            _ => None,
        }
    }

    /// Reads a string.
    pub(super) fn string(&mut self) -> Option<Cow<'a, [u8]>> {
        match self.byte()? {
            0xC0 => Some(integer_text(i8::from_le_bytes(self.array()?).into())),
            0xC1 => Some(integer_text(i16::from_le_bytes(self.array()?).into())),
            0xC2 => Some(integer_text(i32::from_le_bytes(self.array()?).into())),
            0xC3 => {
                let stored = self.length()?;
                let length = self.length()?;
                self.decompressed_left = self.decompressed_left.checked_sub(length)?;
                lzf::decompress(self.take(stored)?, length).map(Cow::Owned)
            }
            first => {
                let length = self.length_after(first)?;
                self.take(length).map(Cow::Borrowed)
            }
        }
    }
}

/// Appends a length in its shortest form.
pub(super) fn write_length(out: &mut Vec<u8>, length: usize) {
    match length {
        0..=0x3F => out.push(length as u8),
        0x40..=0x3FFF => out.extend_from_slice(&(0x4000 | length as u16).to_be_bytes()),
        _ => match u32::try_from(length) {
            Ok(length) => {
                out.push(0x80);
                out.extend_from_slice(&length.to_be_bytes());
            }
            Err(_) => {
                out.push(0x81);
                out.extend_from_slice(&(length as u64).to_be_bytes());
            }
        },
    }
}

/// Appends a string, encoded as an integer where that reads back as the same text.
pub(super) fn write_string(out: &mut Vec<u8>, text: &[u8]) {
    let short = text.len() <= INTEGER_BYTES_MAX;
    let integer = if short { number::parse_i64(text) } else { None };
    if let Some(integer) = integer {
        if let Ok(integer) = i8::try_from(integer) {
            out.push(0xC0);
            out.extend_from_slice(&integer.to_le_bytes());
            return;
        } else if let Ok(integer) = i16::try_from(integer) {
            out.push(0xC1);
            out.extend_from_slice(&integer.to_le_bytes());
            return;
        } else if let Ok(integer) = i32::try_from(integer) {
            out.push(0xC2);
            out.extend_from_slice(&integer.to_le_bytes());
            return;
        }
    }
    write_length(out, text.len());
    out.extend_from_slice(text);
}
