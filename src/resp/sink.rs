//! Replies are written, not built: each call encodes straight into the connection's output.
//!
//! The sink knows which protocol the client speaks, so that a command says *what* it answers (a
//! map of two pairs, a null, a double) and never how that looks in RESP2 or RESP3.

use crate::text::number::{write_f64, write_i64};

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
    /// The version as `HELLO` names it: 2 or 3.
    #[must_use]
    pub const fn version(self) -> u8 {
        match self {
            Self::Resp2 => 2,
            Self::Resp3 => 3,
        }
    }
}

/// Where a command writes its reply.
#[derive(Debug)]
pub struct Sink<'o> {
    out: &'o mut Vec<u8>,
    /// The protocol of the client that reads this.
    pub proto: Proto,
}

impl<'o> Sink<'o> {
    /// A sink that appends to `out`.
    pub fn new(out: &'o mut Vec<u8>, proto: Proto) -> Self {
        Self { out, proto }
    }

    /// How many bytes of output there are, with what stood there before.
    #[must_use]
    pub fn len(&self) -> usize {
        self.out.len()
    }

    /// The output, for what is RESP already and has its place elsewhere than at the end.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        self.out
    }

    /// Whether the output is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.out.is_empty()
    }

    /// Takes back everything written after the output was `len` long.
    pub fn truncate(&mut self, len: usize) {
        self.out.truncate(len);
    }

    /// Bytes that are already RESP.
    #[inline]
    pub fn raw(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    /// `+OK`.
    pub fn ok(&mut self) {
        self.raw(b"+OK\r\n");
    }

    /// A simple string; it must hold no line break.
    pub fn simple(&mut self, text: &str) {
        debug_assert!(!text.contains(['\r', '\n']));
        self.out.push(b'+');
        self.raw(text.as_bytes());
        self.crlf();
    }

    /// An error, text with its code and without the `-`. Whatever a client put into it stays one
    /// line: breaks at its end go, others are shown as spaces.
    pub fn error(&mut self, text: impl AsRef<[u8]>) {
        let is_break = |&b: &u8| b == b'\r' || b == b'\n';
        let text = text.as_ref();
        let len = text.iter().rposition(|b| !is_break(b)).map_or(0, |last| last + 1);
        self.out.push(b'-');
        self.out.extend(text[..len].iter().map(|b| if is_break(b) { b' ' } else { *b }));
        self.crlf();
    }

    /// An integer.
    pub fn int(&mut self, value: i64) {
        self.head(b':', value);
    }

    /// A length or a count as an integer.
    pub fn count(&mut self, value: usize) {
        self.int(value as i64);
    }

    /// A byte string.
    #[inline]
    pub fn bulk(&mut self, bytes: &[u8]) {
        self.out.reserve(bytes.len() + 32);
        // Most are this short.
        match bytes.len() {
            len @ 0..10 => self.raw(&[b'$', b'0' + len as u8, b'\r', b'\n']),
            len @ 10..100 => {
                let (tens, ones) = (len as u8 / 10, len as u8 % 10);
                self.raw(&[b'$', b'0' + tens, b'0' + ones, b'\r', b'\n']);
            }
            len => self.head(b'$', len as i64),
        }
        self.raw(bytes);
        self.crlf();
    }

    /// An integer as a byte string.
    pub fn bulk_int(&mut self, value: i64) {
        let mut digits = Vec::with_capacity(20);
        write_i64(&mut digits, value);
        self.bulk(&digits);
    }

    /// Text of a format that RESP3 names (`txt`, `mkd`); a byte string in RESP2.
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

    /// The absent byte string.
    pub fn null(&mut self) {
        self.raw(match self.proto {
            Proto::Resp2 => b"$-1\r\n",
            Proto::Resp3 => b"_\r\n",
        });
    }

    /// The absent array.
    pub fn null_array(&mut self) {
        self.raw(match self.proto {
            Proto::Resp2 => b"*-1\r\n",
            Proto::Resp3 => b"_\r\n",
        });
    }

    /// A byte string, or null.
    pub fn bulk_or_null(&mut self, bytes: Option<&[u8]>) {
        match bytes {
            Some(bytes) => self.bulk(bytes),
            None => self.null(),
        }
    }

    /// A floating-point number; a byte string in RESP2.
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

    /// A truth value; 1 or 0 in RESP2.
    pub fn boolean(&mut self, value: bool) {
        match self.proto {
            Proto::Resp2 => self.int(i64::from(value)),
            Proto::Resp3 => self.raw(if value { b"#t\r\n" } else { b"#f\r\n" }),
        }
    }

    /// The head of an array; `len` replies follow.
    pub fn array(&mut self, len: usize) {
        self.head(b'*', len as i64);
    }

    /// The head of a map; `pairs` times a key and a value follow. A flat array in RESP2.
    pub fn map(&mut self, pairs: usize) {
        match self.proto {
            Proto::Resp2 => self.head(b'*', 2 * pairs as i64),
            Proto::Resp3 => self.head(b'%', pairs as i64),
        }
    }

    /// The head of a set; `len` replies follow. An array in RESP2.
    pub fn set(&mut self, len: usize) {
        match self.proto {
            Proto::Resp2 => self.head(b'*', len as i64),
            Proto::Resp3 => self.head(b'~', len as i64),
        }
    }

    /// The head of what is sent unasked; `len` replies follow. An array in RESP2.
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
