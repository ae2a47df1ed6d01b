//! A byte string as an item: how the compact collections store their elements one after the other.
//!
//! ```text
//! item   a head, then as many bytes as the head says
//!
//! head   0lllllll                              up to 127 bytes of text
//!        10llllll llllllll                     up to 16,383 bytes of text
//!        11000000 and the length in 4 bytes    longer text
//!        1101wwww                              an integer, little-endian in 1 to 8 bytes
//! ```
//!
//! Text that is the decimal spelling of an integer of two characters or more is stored as the
//! integer, in as few bytes as hold it. So every byte string has exactly one encoding, and a
//! look-up compares items without decoding them. No item is as long as its entry in Redis'
//! listpack, whose entries repeat their length at the end.

use super::{Digits, Text};
use crate::text::number::parse_i64;

/// Longest head of an item, in bytes.
pub(super) const HEAD_LEN_MAX: usize = 5;

/// Text shorter than this has its length in the head's one byte.
const SHORT_END: usize = 0x80;
/// Text shorter than this has its length in the head's two bytes, marked by the first bit.
const MIDDLE_END: usize = 0x4000;
/// The first byte of the head of longer text.
const LONG: u8 = 0xC0;
/// An integer's head, without its width.
const INTEGER: u8 = 0xD0;
/// Longest text that may be an integer: `-9223372036854775808`.
const INTEGER_TEXT_LEN_MAX: usize = 20;

/// An encoded byte string: a head and then a body.
pub(super) struct Item<'t> {
    head: [u8; 9],
    head_len: u8,
    /// Empty for an integer, which consists of the head alone.
    body: &'t [u8],
}

impl<'t> Item<'t> {
    pub(super) fn of(text: &'t [u8]) -> Self {
        let mut head = [0; 9];
        let mut body = text;
        let head_len = if let Some(value) = integer_of(text) {
            let width = width_of(value);
            head[0] = INTEGER | width as u8;
            head[1..].copy_from_slice(&value.to_le_bytes());
            body = &[];
            1 + width
        } else if text.len() < SHORT_END {
            head[0] = text.len() as u8;
            1
        } else if text.len() < MIDDLE_END {
            head[..2].copy_from_slice(&(0x8000 | text.len() as u16).to_be_bytes());
            2
        } else {
            let len = u32::try_from(text.len()).expect("an argument is shorter than 4 GiB");
            head[0] = LONG;
            head[1..5].copy_from_slice(&len.to_be_bytes());
            HEAD_LEN_MAX
        };
        Self { head, head_len: head_len as u8, body }
    }

    fn head(&self) -> &[u8] {
        &self.head[..self.head_len as usize]
    }

    pub(super) fn len(&self) -> usize {
        self.head_len as usize + self.body.len()
    }

    /// Returns the first byte of the item.
    pub(super) fn first(&self) -> u8 {
        self.head[0]
    }

    /// Returns the last byte of the item.
    pub(super) fn last(&self) -> u8 {
        self.body.last().copied().unwrap_or(self.head[self.head_len as usize - 1])
    }

    /// Returns whether `item` equals this one. Heads hold the length, so unequal lengths never
    /// share a head.
    pub(super) fn is(&self, item: &[u8]) -> bool {
        item.len() == self.len() && item.starts_with(self.head()) && item.ends_with(self.body)
    }

    pub(super) fn append_to(&self, pack: &mut Vec<u8>) {
        pack.extend_from_slice(self.head());
        pack.extend_from_slice(self.body);
    }

    /// Writes the item to a slice of its length.
    pub(super) fn write_to(&self, place: &mut [u8]) {
        let (head, body) = place.split_at_mut(self.head_len as usize);
        head.copy_from_slice(self.head());
        body.copy_from_slice(self.body);
    }
}

/// Returns the integer that `text` is stored as. A single digit is as short in text.
fn integer_of(text: &[u8]) -> Option<i64> {
    match text {
        [b'-' | b'1'..=b'9', _, ..] if text.len() <= INTEGER_TEXT_LEN_MAX => parse_i64(text),
        _ => None,
    }
}

/// Returns how many bytes hold `value` in two's complement, 1 to 8.
fn width_of(value: i64) -> usize {
    let magnitude_bits = 64 - (value ^ (value >> 63)).leading_zeros() as usize;
    (magnitude_bits + 1).div_ceil(8)
}

/// Returns the length of the item that `pack` starts with.
pub(super) fn item_len(pack: &[u8]) -> usize {
    match pack[0] {
        head @ 0..0x80 => 1 + head as usize,
        head @ 0x80..LONG => 2 + (((head & 0x3F) as usize) << 8 | pack[1] as usize),
        LONG => HEAD_LEN_MAX + u32::from_be_bytes([pack[1], pack[2], pack[3], pack[4]]) as usize,
        head => 1 + (head & 0x0F) as usize,
    }
}

/// Returns the byte string that an item encodes.
pub(super) fn text_of(item: &[u8]) -> Text<'_> {
    match item[0] {
        0..0x80 => Text::Bytes(&item[1..]),
        0x80..LONG => Text::Bytes(&item[2..]),
        LONG => Text::Bytes(&item[HEAD_LEN_MAX..]),
        _ => {
            // The bytes go to the top, so that the arithmetic shift extends the sign.
            let mut bytes = [0; 8];
            let unused = 9 - item.len();
            bytes[unused..].copy_from_slice(&item[1..]);
            Text::Digits(Digits::of(i64::from_le_bytes(bytes) >> (8 * unused)))
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Returns what an entry of a listpack takes: encoding, bytes, and the length of both again.
    pub(in crate::keyspace) fn listpack_entry_len(text: &[u8]) -> usize {
        let body = match parse_i64(text) {
            Some(0..=127) => 1,
            Some(-4096..=4095) => 2,
            Some(-0x8000..=0x7FFF) => 3,
            Some(-0x80_0000..=0x7F_FFFF) => 4,
            Some(-0x8000_0000..=0x7FFF_FFFF) => 5,
            Some(_) => 9,
            None if text.len() < 64 => 1 + text.len(),
            None if text.len() < 4096 => 2 + text.len(),
            None => 5 + text.len(),
        };
        body + match body {
            0..128 => 1,
            128..16_384 => 2,
            _ => 3,
        }
    }

    pub(in crate::keyspace) fn texts() -> Vec<Vec<u8>> {
        let mut texts: Vec<Vec<u8>> = [0, 1, 63, 64, 127, 128, 300, 4096, 16_383, 16_384, 70_000]
            .map(|len| vec![b'x'; len])
            .into();
        for shift in 0..63 {
            for near in [-1, 0, 1] {
                let value = (1_i64 << shift) + near;
                texts.push(value.to_string().into());
                texts.push((-value).to_string().into());
            }
        }
        let odd = ["-", "-0", "00", "01", "+1", "1.", "9223372036854775807", "9223372036854775808"];
        texts.extend(odd.map(|text| text.as_bytes().to_vec()));
        texts.push(i64::MIN.to_string().into());
        texts.sort();
        texts.dedup();
        texts
    }

    #[test]
    fn every_text_reads_back_and_takes_no_more_than_in_a_listpack() {
        for text in texts() {
            let item = Item::of(&text);
            let mut pack = Vec::new();
            item.append_to(&mut pack);
            assert_eq!(pack.len(), item.len());
            assert_eq!(item_len(&pack), item.len());
            assert_eq!(&*text_of(&pack), &text[..]);
            assert!(item.len() <= listpack_entry_len(&text), "{} bytes", text.len());
        }
    }
}
