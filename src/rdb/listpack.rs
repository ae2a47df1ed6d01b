//! The listpack: a compact list of byte strings and integers.
//!
//! ```text
//! total bytes 4, LE | elements 2, LE | element ... | FF
//!
//! element: encoding and content                 | length of that, for walking backwards
//!   0vvvvvvv                                    an integer 0 to 127
//!   10nnnnnn             + n bytes              a string
//!   110vvvvv vvvvvvvv                           an integer of 13 bits, signed
//!   1110nnnn nnnnnnnn    + n bytes              a string
//!   11110000 + 4, LE     + n bytes              a string
//!   11110001 to 11110100 + 2, 3, 4, 8 bytes     an integer, signed, LE
//! ```
//! A count of 65535 means that many or more.

use std::borrow::Cow;

use super::input::Input;
use super::integer_text;
use crate::text::number;

/// Bytes before the first element.
pub(crate) const LISTPACK_HEADER_BYTES: usize = 4 + 2;

/// The byte that ends the list.
const END: u8 = 0xFF;

/// The largest element lengths whose backward length takes 1, 2, 3 and 4 bytes. All but the first
/// stop one short of what 7 bits a byte could hold, as in the reference server.
const BACKWARD_MAX: [usize; 4] = [(1 << 7) - 1, (1 << 14) - 2, (1 << 21) - 2, (1 << 28) - 2];

/// Encodes elements, each as an integer where that reads back as the same text. Their number must
/// be below 65535 and their bytes below 2^32 in all; collections stay far below both.
pub(super) fn encode<'a>(elements: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut writer = Writer::default();
    elements.for_each(|element| writer.push(element));
    writer.finish()
}

/// Encodes a listpack element by element, with the limits of [`encode`].
pub(super) struct Writer {
    out: Vec<u8>,
    count: u16,
}

impl Default for Writer {
    fn default() -> Self {
        Self { out: vec![0; LISTPACK_HEADER_BYTES], count: 0 }
    }
}

impl Writer {
    pub(super) fn push(&mut self, element: &[u8]) {
        push_text(&mut self.out, element);
        self.count += 1;
    }

    /// Returns how many bytes the listpack has with the elements pushed so far.
    pub(super) fn size(&self) -> usize {
        self.out.len() + 1
    }

    pub(super) fn count(&self) -> u16 {
        self.count
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        self.out.push(END);
        let total = self.out.len() as u32;
        self.out[..4].copy_from_slice(&total.to_le_bytes());
        self.out[4..LISTPACK_HEADER_BYTES].copy_from_slice(&self.count.to_le_bytes());
        self.out
    }
}

/// Appends an element, as an integer if that reads back as the same text.
#[inline]
pub(crate) fn push_text(out: &mut Vec<u8>, element: &[u8]) {
    if let Some(integer) = number::parse_i64(element) {
        return push_integer(out, integer);
    }
    let start = out.len();
    write_string(out, element);
    let length = out.len() - start;
    if length <= BACKWARD_MAX[0] { out.push(length as u8) } else { out.extend(backward(length)) }
}

/// Appends an element that is an integer.
#[inline]
pub(crate) fn push_integer(out: &mut Vec<u8>, value: i64) {
    let start = out.len();
    write_integer(out, value);
    out.push((out.len() - start) as u8);
}

fn write_integer(out: &mut Vec<u8>, value: i64) {
    let bytes = value.to_le_bytes();
    match value {
        0..=127 => out.push(bytes[0]),
        -4096..=4095 => out.extend_from_slice(&[0xC0 | bytes[1] & 0x1F, bytes[0]]),
        -0x8000..=0x7FFF => {
            out.push(0xF1);
            out.extend_from_slice(&bytes[..2]);
        }
        -0x80_0000..=0x7F_FFFF => {
            out.push(0xF2);
            out.extend_from_slice(&bytes[..3]);
        }
        -0x8000_0000..=0x7FFF_FFFF => {
            out.push(0xF3);
            out.extend_from_slice(&bytes[..4]);
        }
        _ => {
            out.push(0xF4);
            out.extend_from_slice(&bytes);
        }
    }
}

fn write_string(out: &mut Vec<u8>, text: &[u8]) {
    match text.len() {
        length @ 0..64 => out.push(0x80 | length as u8),
        length @ 64..4096 => out.extend_from_slice(&(0xE000 | length as u16).to_be_bytes()),
        length => {
            out.push(0xF0);
            out.extend_from_slice(&(length as u32).to_le_bytes());
        }
    }
    out.extend_from_slice(text);
}

/// Returns how many bytes [`backward`] returns.
#[inline]
pub(super) fn backward_len(length: usize) -> usize {
    match length <= BACKWARD_MAX[0] {
        true => 1,
        false => 1 + BACKWARD_MAX.iter().filter(|&&max| length > max).count(),
    }
}

/// Returns the length of an element in a form that can be read from its last byte: 7 bits a byte,
/// the highest first, and all but the first marked by the top bit.
fn backward(length: usize) -> impl Iterator<Item = u8> {
    let more = BACKWARD_MAX.iter().filter(|&&max| length > max).count();
    (0..=more).rev().map(move |at| {
        let mark = if at == more { 0 } else { 0x80 };
        (length >> (7 * at)) as u8 & 0x7F | mark
    })
}

/// Calls `take` with the elements of a listpack, in order; returns `None` when the listpack is
/// malformed anywhere or `take` returns `None`, which invalidates the elements before.
pub(super) fn read<'a>(
    packed: &'a [u8],
    mut take: impl FnMut(Cow<'a, [u8]>) -> Option<()>,
) -> Option<()> {
    let mut header = Input::new(packed);
    let total = u32::from_le_bytes(header.array()?);
    let count = u16::from_le_bytes(header.array()?);
    let (&END, body) = header.rest().split_last()? else { return None };
    let mut input = Input::new(body);
    let mut found = 0_usize;
    while !input.is_empty() {
        take(element(&mut input)?)?;
        found += 1;
    }
    let sized = usize::try_from(total) == Ok(packed.len());
    let counted = count == u16::MAX || usize::from(count) == found;
    (sized && counted).then_some(())
}

fn element<'a>(input: &mut Input<'a>) -> Option<Cow<'a, [u8]>> {
    let before = input.rest().len();
    let element = match input.byte()? {
        first @ 0x00..=0x7F => integer_text(first.into()),
        first @ 0x80..=0xBF => Cow::Borrowed(input.take(usize::from(first & 0x3F))?),
        first @ 0xC0..=0xDF => {
            // The 13 bits go to the top, so that the shift back extends their sign.
            let bits = i16::from_be_bytes([first, input.byte()?]) << 3;
            integer_text((bits >> 3).into())
        }
        first @ 0xE0..=0xEF => {
            let length = usize::from(first & 0x0F) << 8 | usize::from(input.byte()?);
            Cow::Borrowed(input.take(length)?)
        }
        0xF0 => {
            let length = usize::try_from(u32::from_le_bytes(input.array()?)).ok()?;
            Cow::Borrowed(input.take(length)?)
        }
        0xF1 => integer_text(i16::from_le_bytes(input.array()?).into()),
        0xF2 => integer_text(input.i24()?.into()),
        0xF3 => integer_text(i32::from_le_bytes(input.array()?).into()),
        0xF4 => integer_text(i64::from_le_bytes(input.array()?)),
        _ => return None,
    };
    let length = before - input.rest().len();
    for expected in backward(length) {
        if input.byte()? != expected {
            return None;
        }
    }
    Some(element)
}
