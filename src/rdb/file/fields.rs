//! What records and values consist of: numbers, strings, and what modules write.
//!
//! ```text
//! 00nnnnnn                  a length below 64
//! 01nnnnnn nnnnnnnn         below 16384
//! 80 + 4, 81 + 8            of 32 and 64 bits, BE
//! C0 + 1, C1 + 2, C2 + 4    in place of a string's length: an integer, LE
//! C3 length length          …: compressed, the stored length and the true one
//! ```

use super::KEY_LEN_MAX;
use crate::rdb::file_window::FileWindow;
use crate::rdb::lzf;
use crate::text::number::write_i64;

/// Why something could not be read.
pub(super) enum Failure {
    /// The file ends.
    Ended,
    /// What is wrong, and the offset of it.
    Malformed(u64, String),
}

/// A file and the latest string that was read from it.
pub(super) struct Fields<'f, 'r> {
    pub(super) window: &'f mut FileWindow<'r>,
    text: Vec<u8>,
}

/// A length, or the mark of an encoded string.
enum Length {
    Plain(u64),
    Encoded(u8),
}

impl<'f, 'r> Fields<'f, 'r> {
    pub(super) fn new(window: &'f mut FileWindow<'r>) -> Self {
        Self { window, text: Vec::new() }
    }

    /// Fails at this place.
    pub(super) fn malformed<T>(&self, why: impl Into<String>) -> Result<T, Failure> {
        Err(Failure::Malformed(self.window.offset(), why.into()))
    }

    /// Reads a length, and as many of something.
    pub(super) fn many(
        &mut self,
        mut one: impl FnMut(&mut Self) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        // The claimed length is not trusted: each iteration needs bytes that exist.
        for _ in 0..self.length()? {
            one(self)?;
        }
        Ok(())
    }

    pub(super) fn byte(&mut self) -> Result<u8, Failure> {
        self.array().map(|[byte]| byte)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Failure> {
        let array = *self.window.more(N).first_chunk().ok_or(Failure::Ended)?;
        self.window.take(N);
        Ok(array)
    }

    pub(super) fn skip(&mut self, len: u64) -> Result<(), Failure> {
        if self.window.skip(len) { Ok(()) } else { Err(Failure::Ended) }
    }

    fn any_length(&mut self) -> Result<Length, Failure> {
        Ok(Length::Plain(match self.byte()? {
            first @ 0x00..=0x3F => first.into(),
            first @ 0x40..=0x7F => u64::from(first & 0x3F) << 8 | u64::from(self.byte()?),
            0x80 => u32::from_be_bytes(self.array()?).into(),
            0x81 => u64::from_be_bytes(self.array()?),
            first @ 0xC0..=0xC3 => return Ok(Length::Encoded(first)),
            _ => return self.malformed("an invalid length"),
        }))
    }

    pub(super) fn length(&mut self) -> Result<u64, Failure> {
        match self.any_length()? {
            Length::Plain(length) => Ok(length),
            Length::Encoded(_) => self.malformed("a string in place of a length"),
        }
    }

    /// Skips lengths.
    pub(super) fn lengths(&mut self, count: usize) -> Result<(), Failure> {
        (0..count).try_for_each(|_| self.length().map(drop))
    }

    /// Skips strings.
    pub(super) fn strings(&mut self, count: u64) -> Result<(), Failure> {
        for _ in 0..count {
            match self.any_length()? {
                Length::Plain(len) => self.skip(len)?,
                Length::Encoded(0xC0) => self.skip(1)?,
                Length::Encoded(0xC1) => self.skip(2)?,
                Length::Encoded(0xC2) => self.skip(4)?,
                Length::Encoded(_) => {
                    let stored = self.length()?;
                    self.lengths(1)?;
                    self.skip(stored)?;
                }
            }
        }
        Ok(())
    }

    /// Skips what a module wrote: fields, each behind its opcode, and the opcode of the end.
    pub(super) fn module(&mut self) -> Result<(), Failure> {
        loop {
            match self.length()? {
                0 => return Ok(()),
                // A number, with sign or without.
                1 | 2 => self.lengths(1)?,
                // A float, a double.
                3 => self.skip(4)?,
                4 => self.skip(8)?,
                5 => self.strings(1)?,
                other => {
                    return self.malformed(format!("a module's field of unknown type {other}"));
                }
            }
        }
    }

    /// Returns the string that was read last.
    pub(super) fn text_read(&self) -> &[u8] {
        &self.text
    }

    /// Reads a string.
    pub(super) fn text(&mut self) -> Result<(), Failure> {
        self.text.clear();
        let integer = match self.any_length()? {
            Length::Plain(len) => {
                let len = self.bounded(len)?;
                let text = self.window.more(len).get(..len).ok_or(Failure::Ended)?;
                self.text.extend_from_slice(text);
                self.window.take(len);
                return Ok(());
            }
            Length::Encoded(0xC0) => i64::from(i8::from_le_bytes(self.array()?)),
            Length::Encoded(0xC1) => i64::from(i16::from_le_bytes(self.array()?)),
            Length::Encoded(0xC2) => i64::from(i32::from_le_bytes(self.array()?)),
            Length::Encoded(_) => {
                let (stored, len) = (self.length()?, self.length()?);
                let (stored, len) = (self.bounded(stored)?, self.bounded(len)?);
                let text = self.window.more(stored).get(..stored).ok_or(Failure::Ended)?;
                let Some(text) = lzf::decompress(text, len) else {
                    return self.malformed("malformed compressed bytes");
                };
                self.text = text;
                self.window.take(stored);
                return Ok(());
            }
        };
        write_i64(&mut self.text, integer);
        Ok(())
    }

    fn bounded(&self, len: u64) -> Result<usize, Failure> {
        match usize::try_from(len) {
            Ok(short) if len <= KEY_LEN_MAX => Ok(short),
            _ => self.malformed(format!("a name of {len} bytes; at most {KEY_LEN_MAX} are read")),
        }
    }
}
