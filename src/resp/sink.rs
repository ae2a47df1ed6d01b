//! Replies are written, not built: each call encodes straight into the connection's output.
//!
//! The sink knows the client's protocol, so that a command says *what* it replies (a map of two
//! pairs, a null, a double) and never how RESP2 or RESP3 encodes it.

use crate::text::number::{I64_BYTES_MAX, spell_i64, write_f64, write_i64};
use crate::text::short;

/// The protocol version that a connection speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Proto {
    /// RESP2, what every connection starts with.
    #[default]
    Resp2,
    /// RESP3, after `HELLO 3`.
    Resp3,
}

impl Proto {
    /// Returns the version as `HELLO` names it: 2 or 3.
    #[must_use]
    pub const fn version(self) -> u8 {
        match self {
            Self::Resp2 => 2,
            Self::Resp3 => 3,
        }
    }
}

/// Byte strings of up to this length are put together before they are appended.
const SHORT_LEN_MAX: usize = 16;

/// Where a command writes its reply.
#[derive(Debug)]
pub struct Sink<'o> {
    out: &'o mut Vec<u8>,
    /// The client's protocol.
    pub proto: Proto,
}

impl<'o> Sink<'o> {
    /// Makes a sink that appends to `out`.
    pub fn new(out: &'o mut Vec<u8>, proto: Proto) -> Self {
        Self { out, proto }
    }

    /// Returns the length of the output, in bytes, including what was there before.
    #[must_use]
    pub fn len(&self) -> usize {
        self.out.len()
    }

    /// Returns the output, to insert RESP elsewhere than at the end.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        self.out
    }

    /// Returns whether the output is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.out.is_empty()
    }

    /// Removes everything written after the output was `len` long.
    pub fn truncate(&mut self, len: usize) {
        self.out.truncate(len);
    }

    /// Writes bytes that are already RESP.
    #[inline]
    pub fn raw(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    /// Writes `+OK`.
    pub fn ok(&mut self) {
        self.raw(b"+OK\r\n");
    }

    /// Writes a simple string, which must hold no line break.
    pub fn simple(&mut self, text: &str) {
        debug_assert!(!text.contains(['\r', '\n']));
        self.out.push(b'+');
        self.raw(text.as_bytes());
        self.crlf();
    }

    /// Writes an error: text with its code, without the `-`. It stays one line whatever a client
    /// put into it: line breaks at its end are removed, others are written as spaces.
    pub fn error(&mut self, text: impl AsRef<[u8]>) {
        let is_break = |&b: &u8| b == b'\r' || b == b'\n';
        let text = text.as_ref();
        let len = text.iter().rposition(|b| !is_break(b)).map_or(0, |last| last + 1);
        self.out.push(b'-');
        self.out.extend(text[..len].iter().map(|b| if is_break(b) { b' ' } else { *b }));
        self.crlf();
    }

    /// Writes an integer.
    pub fn int(&mut self, value: i64) {
        self.head(b':', value);
    }

    /// Writes a length or a count as an integer.
    pub fn count(&mut self, value: usize) {
        self.int(value as i64);
    }

    /// Writes a byte string.
    #[inline]
    pub fn bulk(&mut self, bytes: &[u8]) {
        // Most are short: those are put together first, and appended at once.
        if bytes.len() <= SHORT_LEN_MAX { self.short_bulk(bytes) } else { self.long_bulk(bytes) }
    }

    #[inline]
    fn short_bulk(&mut self, bytes: &[u8]) {
        let (mut whole, len) = ([0; 32], bytes.len());
        let digit = b'0' + (len % 10) as u8;
        let start = match len {
            0..10 => {
                whole[..4].copy_from_slice(&[b'$', digit, b'\r', b'\n']);
                4
            }
            _ => {
                whole[..5].copy_from_slice(&[b'$', b'1', digit, b'\r', b'\n']);
                5
            }
        };
        let to = &mut whole[start..];
        short::copy(bytes, to);
        to[len..len + 2].copy_from_slice(b"\r\n");
        let before = self.out.len();
        self.out.extend_from_slice(&whole);
        self.out.truncate(before + start + len + 2);
    }

    fn long_bulk(&mut self, bytes: &[u8]) {
        self.out.reserve(bytes.len() + 32);
        self.head(b'$', bytes.len() as i64);
        self.raw(bytes);
        self.crlf();
    }

    /// Writes an integer as a byte string.
    pub fn bulk_int(&mut self, value: i64) {
        let mut digits = [0; I64_BYTES_MAX];
        let start = spell_i64(&mut digits, value);
        self.bulk(&digits[start..]);
    }

    /// Writes text of a format that RESP3 names (`txt`, `mkd`); a byte string in RESP2.
    pub fn verbatim(&mut self, format: [u8; 3], text: &[u8]) {
        match self.proto {
            Proto::Resp2 => self.bulk(text),
            Proto::Resp3 => {
                self.head(b'=', text.len() as i64 + 4);
                self.raw(&format);
                self.out.push(b':');
                self.raw(text);
                self.crlf();
            }
        }
    }

    /// Writes the null byte string.
    pub fn null(&mut self) {
        self.raw(match self.proto {
            Proto::Resp2 => b"$-1\r\n",
            Proto::Resp3 => b"_\r\n",
        });
    }

    /// Writes the null array.
    pub fn null_array(&mut self) {
        self.raw(match self.proto {
            Proto::Resp2 => b"*-1\r\n",
            Proto::Resp3 => b"_\r\n",
        });
    }

    /// Writes a byte string, or null.
    pub fn bulk_or_null(&mut self, bytes: Option<&[u8]>) {
        match bytes {
            Some(bytes) => self.bulk(bytes),
            None => self.null(),
        }
    }

    /// Writes a floating-point number; a byte string in RESP2.
    pub fn double(&mut self, value: f64) {
        let mut text = Vec::with_capacity(24);
        write_f64(&mut text, value);
        match self.proto {
            Proto::Resp2 => self.bulk(&text),
            Proto::Resp3 => {
                self.out.push(b',');
                self.raw(&text);
                self.crlf();
            }
        }
    }

    /// Writes a boolean; 1 or 0 in RESP2.
    pub fn boolean(&mut self, value: bool) {
        match self.proto {
            Proto::Resp2 => self.int(i64::from(value)),
            Proto::Resp3 => self.raw(if value { b"#t\r\n" } else { b"#f\r\n" }),
        }
    }

    /// Writes the head of an array; `len` replies follow.
    pub fn array(&mut self, len: usize) {
        self.head(b'*', len as i64);
    }

    /// Writes the head of a map; `pairs` times a key and a value follow. A flat array in RESP2.
    pub fn map(&mut self, pairs: usize) {
        match self.proto {
            Proto::Resp2 => self.head(b'*', 2 * pairs as i64),
            Proto::Resp3 => self.head(b'%', pairs as i64),
        }
    }

    /// Writes the head of a set; `len` replies follow. An array in RESP2.
    pub fn set(&mut self, len: usize) {
        match self.proto {
            Proto::Resp2 => self.head(b'*', len as i64),
            Proto::Resp3 => self.head(b'~', len as i64),
        }
    }

    /// Writes the head of a push message; `len` replies follow. An array in RESP2.
    pub fn push(&mut self, len: usize) {
        match self.proto {
            Proto::Resp2 => self.head(b'*', len as i64),
            Proto::Resp3 => self.head(b'>', len as i64),
        }
    }

    #[inline]
    fn head(&mut self, kind: u8, number: i64) {
        self.out.push(kind);
        write_i64(self.out, number);
        self.crlf();
    }

    fn crlf(&mut self) {
        self.raw(b"\r\n");
    }
}
