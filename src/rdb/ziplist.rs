//! The ziplist, which listpacks replaced in Redis 7.0; older servers still dump it.
//!
//! ```text
//! total bytes 4, LE | offset of the last entry 4, LE | entries 2, LE | entry ... | FF
//!
//! entry: length of the entry before, 1 byte, or FE and 4 bytes LE; then
//!   00nnnnnn                    + n bytes        a string
//!   01nnnnnn nnnnnnnn           + n bytes        a string
//!   10______ + 4, big endian    + n bytes        a string
//!   11000000, 11010000, 11100000 + 2, 4, 8       an integer, signed, LE
//!   11110000, 11111110           + 3, 1          an integer, signed, LE
//!   11110001 to 11111101                         an integer 0 to 12
//! ```
//! A count of 65535 means that many or more.

use std::borrow::Cow;

use super::input::Input;
use super::integer_text;

/// Bytes before the first entry.
const HEADER_BYTES: usize = 4 + 4 + 2;

/// The byte that ends the list.
const END: u8 = 0xFF;

/// Calls `take` with the elements of a ziplist, in order; returns `None` when the ziplist is
/// malformed anywhere or `take` returns `None`, which invalidates the elements before.
pub(super) fn read<'a>(
    packed: &'a [u8],
    mut take: impl FnMut(Cow<'a, [u8]>) -> Option<()>,
) -> Option<()> {
    let mut header = Input::new(packed);
    let total = u32::from_le_bytes(header.array()?);
    let last = u32::from_le_bytes(header.array()?);
    let count = u16::from_le_bytes(header.array()?);
    let (&END, body) = header.rest().split_last()? else { return None };
    let mut input = Input::new(body);
    let mut found = 0_usize;
    let mut offset = HEADER_BYTES;
    let mut previous = 0;
    while !input.is_empty() {
        offset += previous;
        let before = input.rest().len();
        take(entry(&mut input, previous)?)?;
        previous = before - input.rest().len();
        found += 1;
    }
    let sized = usize::try_from(total) == Ok(packed.len());
    let placed = usize::try_from(last) == Ok(offset);
    let counted = count == u16::MAX || usize::from(count) == found;
    (sized && placed && counted).then_some(())
}

/// Reads an entry that follows one of `previous` bytes.
fn entry<'a>(input: &mut Input<'a>, previous: usize) -> Option<Cow<'a, [u8]>> {
    let claimed = match input.byte()? {
        0xFE => usize::try_from(u32::from_le_bytes(input.array()?)).ok()?,
        END => return None,
        short => usize::from(short),
    };
    if claimed != previous {
        return None;
    }
    Some(match input.byte()? {
        first @ 0x00..=0x3F => Cow::Borrowed(input.take(usize::from(first))?),
        first @ 0x40..=0x7F => {
            let length = usize::from(first & 0x3F) << 8 | usize::from(input.byte()?);
            Cow::Borrowed(input.take(length)?)
        }
        0x80..=0xBF => {
            let length = usize::try_from(u32::from_be_bytes(input.array()?)).ok()?;
            Cow::Borrowed(input.take(length)?)
        }
        0xC0 => integer_text(i16::from_le_bytes(input.array()?).into()),
        0xD0 => integer_text(i32::from_le_bytes(input.array()?).into()),
        0xE0 => integer_text(i64::from_le_bytes(input.array()?)),
        0xF0 => integer_text(input.i24()?.into()),
        0xFE => integer_text(i8::from_le_bytes(input.array()?).into()),
        first @ 0xF1..=0xFD => integer_text(i64::from(first & 0x0F) - 1),
        _ => return None,
    })
}
