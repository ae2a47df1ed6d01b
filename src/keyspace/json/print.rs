//! A document as text.

use super::packed::{Number, Scalar};
use super::view::{Kind, Ref};
use crate::text::number::write_i64;

/// What stands between the parts of a text: nothing by default.
#[derive(Clone, Copy, Debug, Default)]
pub struct Layout<'a> {
    /// At the beginning of each line, once for each container around it.
    pub indent: &'a [u8],
    /// Before and behind each child.
    pub newline: &'a [u8],
    /// Behind the colon.
    pub space: &'a [u8],
}

impl Layout<'_> {
    /// Writes what stands before a child, or before the end of a container, at this depth.
    pub fn line(&self, out: &mut Vec<u8>, depth: usize) {
        out.extend_from_slice(self.newline);
        if !self.indent.is_empty() {
            for _ in 0..depth {
                out.extend_from_slice(self.indent);
            }
        }
    }
}

impl Ref<'_> {
    /// Appends the text; `depth` is how many containers are around it.
    pub fn write(self, out: &mut Vec<u8>, layout: &Layout<'_>, depth: usize) {
        let (open, close) = match self.kind() {
            Kind::Scalar(scalar) => return scalar.write(out),
            Kind::Array(_) => (b'[', b']'),
            Kind::Object(_) => (b'{', b'}'),
        };
        out.push(open);
        let mut is_first = true;
        for (key, value) in self.children() {
            if !std::mem::take(&mut is_first) {
                out.push(b',');
            }
            layout.line(out, depth + 1);
            if let Some(key) = key {
                write_string(out, key);
                out.push(b':');
                out.extend_from_slice(layout.space);
            }
            value.write(out, layout, depth + 1);
        }
        if !is_first {
            layout.line(out, depth);
        }
        out.push(close);
    }

    /// Returns the text without spaces.
    #[must_use]
    pub fn to_text(self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&mut out, &Layout::default(), 0);
        out
    }
}

impl Scalar<'_> {
    /// Appends the text.
    pub fn write(self, out: &mut Vec<u8>) {
        match self {
            Self::Null => out.extend_from_slice(b"null"),
            Self::Bool(false) => out.extend_from_slice(b"false"),
            Self::Bool(true) => out.extend_from_slice(b"true"),
            Self::Number(number) => number.write(out),
            Self::String(text) => write_string(out, text),
        }
    }
}

impl Number {
    /// Appends the text.
    pub fn write(self, out: &mut Vec<u8>) {
        match self {
            Self::Int(int) => write_i64(out, int),
            Self::Uint(int) => out.extend_from_slice(int.to_string().as_bytes()),
            // RedisJSON prints with the same library.
            Self::Float(float) => {
                out.extend_from_slice(ryu::Buffer::new().format_finite(float).as_bytes());
            }
        }
    }
}

/// Appends a string in quotes, with escapes for what needs them.
pub(crate) fn write_string(out: &mut Vec<u8>, text: &[u8]) {
    out.reserve(text.len() + 2);
    out.push(b'"');
    let mut from = 0;
    for (at, &byte) in text.iter().enumerate() {
        if byte >= b' ' && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.extend_from_slice(&text[from..at]);
        from = at + 1;
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            8 => out.extend_from_slice(b"\\b"),
            9 => out.extend_from_slice(b"\\t"),
            10 => out.extend_from_slice(b"\\n"),
            12 => out.extend_from_slice(b"\\f"),
            13 => out.extend_from_slice(b"\\r"),
            _ => {
                let digit = |half: u8| b"0123456789abcdef"[usize::from(half)];
                out.extend_from_slice(b"\\u00");
                out.extend_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
            }
        }
    }
    out.extend_from_slice(&text[from..]);
    out.push(b'"');
}
