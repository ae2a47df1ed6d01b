//! Splits a line into the words of a command, as redis-cli does and MONITOR quotes them.
//!
//! ```text
//! set "a key\x00" 'it''s' plain      "…" with \n \r \t \a \b \\ \" \xHH      '…' with \'
//! ```

use crate::command::Args;
use crate::resp::Span;

/// The words of one command, in memory that is used again.
#[derive(Clone, Debug, Default)]
pub struct Words {
    bytes: Vec<u8>,
    spans: Vec<Span>,
}

impl Words {
    /// Forgets all words.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.spans.clear();
    }

    /// Appends a word.
    pub fn push(&mut self, word: &[u8]) {
        self.spans.push(Span::new(self.bytes.len(), word.len()));
        self.bytes.extend_from_slice(word);
    }

    /// Returns the bytes of all words together.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there is no word.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// Returns the words as a request; `None` without words.
    #[must_use]
    pub fn args(&self) -> Option<Args<'_>> {
        (!self.spans.is_empty()).then(|| Args::new(&self.bytes, &self.spans))
    }

    /// Returns all words.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.spans.iter().map(|span| span.of(&self.bytes))
    }

    /// Appends the words of `line`.
    ///
    /// # Errors
    /// A quote is left open, or a closing one is not followed by a space.
    pub fn split(&mut self, line: &[u8]) -> Result<(), Quotes> {
        let mut rest = line.trim_ascii_start();
        while !rest.is_empty() {
            let start = self.bytes.len();
            rest = self.word(rest)?;
            self.spans.push(Span::new(start, self.bytes.len() - start));
            rest = rest.trim_ascii_start();
        }
        Ok(())
    }

    /// Appends the bytes of the word that `rest` begins with. Returns what is left.
    fn word<'l>(&mut self, mut rest: &'l [u8]) -> Result<&'l [u8], Quotes> {
        while let Some((&byte, behind)) = rest.split_first() {
            match byte {
                b'"' => return closed(self.double(behind)?),
                b'\'' => return closed(self.single(behind)?),
                byte if byte.is_ascii_whitespace() => return Ok(rest),
                byte => self.bytes.push(byte),
            }
            rest = behind;
        }
        Ok(rest)
    }

    fn double<'l>(&mut self, mut rest: &'l [u8]) -> Result<&'l [u8], Quotes> {
        loop {
            let plain = quote_or_escape(rest).ok_or(Quotes)?;
            self.bytes.extend_from_slice(&rest[..plain]);
            rest = match rest[plain..] {
                [] => return Err(Quotes),
                [b'"', ref behind @ ..] => return Ok(behind),
                [b'\\', b'x', a, b, ref behind @ ..]
                    if a.is_ascii_hexdigit() && b.is_ascii_hexdigit() =>
                {
                    self.bytes.push(digit(a) << 4 | digit(b));
                    behind
                }
                [b'\\', escaped, ref behind @ ..] => {
                    self.bytes.push(match escaped {
                        b'n' => b'\n',
                        b'r' => b'\r',
                        b't' => b'\t',
                        b'b' => 8,
                        b'a' => 7,
                        other => other,
                    });
                    behind
                }
                // A backslash at the end.
                [_, ..] => return Err(Quotes),
            };
        }
    }

    fn single<'l>(&mut self, mut rest: &'l [u8]) -> Result<&'l [u8], Quotes> {
        loop {
            rest = match *rest {
                [] => return Err(Quotes),
                [b'\\', b'\'', ref behind @ ..] => {
                    self.bytes.push(b'\'');
                    behind
                }
                [b'\'', ref behind @ ..] => return Ok(behind),
                [byte, ref behind @ ..] => {
                    self.bytes.push(byte);
                    behind
                }
            };
        }
    }
}

/// Finds the words of a line that has nothing but words in double quotes without escapes, as most of
/// MONITOR's are: appends their spans, moved by `by`. Returns whether it is one; if not, what was
/// appended means nothing.
pub(super) fn split_plain(line: &[u8], by: usize, spans: &mut Vec<Span>) -> bool {
    let mut rest = line;
    loop {
        rest = match rest {
            // Nearly always between two words.
            [b' ', b'"', word @ ..] | [b'"', word @ ..] => {
                let Some(len) = quote_or_escape(word) else { return false };
                let [b'"', behind @ ..] = &word[len..] else { return false };
                spans.push(Span::new(by + line.len() - word.len(), len));
                behind
            }
            [] => return true,
            [byte, behind @ ..] if byte.is_ascii_whitespace() => behind,
            _ => return false,
        };
        if !ends_word(rest) {
            return false;
        }
    }
}

/// Returns the position of the first double quote or backslash. Most words are short: eight bytes at a
/// time, and a call to `memchr2` behind them.
#[inline]
fn quote_or_escape(bytes: &[u8]) -> Option<usize> {
    const SHORT: usize = 24;
    const ONES: u64 = u64::MAX / 255;
    let zeros = |word: u64| word.wrapping_sub(ONES) & !word & (ONES << 7);
    let (eights, _) = bytes[..bytes.len().min(SHORT)].as_chunks::<8>();
    for (at, eight) in eights.iter().enumerate() {
        let word = u64::from_le_bytes(*eight);
        // The lowest mark of a zero byte is always a true one.
        let marks =
            zeros(word ^ (ONES * u64::from(b'"'))) | zeros(word ^ (ONES * u64::from(b'\\')));
        if marks != 0 {
            return Some(8 * at + marks.trailing_zeros() as usize / 8);
        }
    }
    let looked = 8 * eights.len();
    let rest = &bytes[looked..];
    let found = match rest.len() {
        0..8 => rest.iter().position(|byte| matches!(byte, b'"' | b'\\')),
        _ => memchr::memchr2(b'"', b'\\', rest),
    };
    found.map(|at| looked + at)
}

/// Whether a word may end before these bytes.
fn ends_word(rest: &[u8]) -> bool {
    rest.first().is_none_or(u8::is_ascii_whitespace)
}

/// The error for unbalanced quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quotes;

/// Checks that a word ends behind its closing quote.
fn closed(rest: &[u8]) -> Result<&[u8], Quotes> {
    if ends_word(rest) { Ok(rest) } else { Err(Quotes) }
}

fn digit(hex: u8) -> u8 {
    char::from(hex).to_digit(16).unwrap_or_default() as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn split(line: &[u8]) -> Result<Vec<Vec<u8>>, Quotes> {
        let mut words = Words::default();
        words.split(line)?;
        Ok(words.iter().map(<[u8]>::to_vec).collect())
    }

    #[test]
    fn words_are_those_of_the_reference() {
        let good: &[(&[u8], &[&[u8]])] = &[
            (b"get a", &[b"get", b"a"]),
            (b"  get\t a \r", &[b"get", b"a"]),
            (b"\"a key\\\"with\\\\x\" 'it\\'s' \"\"", &[b"a key\"with\\x", b"it's", b""]),
            (b"\"b\\x00\\xff\\n\\q\"", &[b"b\x00\xff\nq"]),
            (b"'\\n'", &[b"\\n"]),
            (b"", &[]),
        ];
        for (line, words) in good {
            let words = words.iter().map(|word| word.to_vec()).collect();
            assert_eq!(split(line), Ok(words), "{}", line.escape_ascii());
        }
        for line in [&b"\"a"[..], b"'a", b"\"a\"b", b"\"a\\", b"'a'b"] {
            assert_eq!(split(line), Err(Quotes), "{}", line.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(line in prop::collection::vec(any::<u8>(), 0..80)) {
            let _any = split(&line);
        }
    }
}
