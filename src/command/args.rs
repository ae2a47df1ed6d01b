//! A request's arguments, borrowed from the buffer that holds its bytes.
//!
//! The same type reads a request in the connection's read buffer, a command queued in a MULTI and
//! a batch that waits for its shard: bytes, and a span for each argument.

use super::Refusal;
use crate::resp::Span;
use crate::text::number::{parse_f64, parse_i64};
use std::ops::Index;

/// The arguments of one request, the command's name first; never empty.
#[derive(Clone, Copy)]
pub struct Args<'a> {
    buf: &'a [u8],
    spans: &'a [Span],
}

impl<'a> Args<'a> {
    /// The arguments at `spans` in `buf`.
    ///
    /// # Panics
    /// If there are none: a request is never empty.
    #[must_use]
    #[inline]
    pub fn new(buf: &'a [u8], spans: &'a [Span]) -> Self {
        assert!(!spans.is_empty(), "a request is never empty");
        Self { buf, spans }
    }

    /// How many arguments there are, the name included.
    #[must_use]
    pub fn len(self) -> usize {
        self.spans.len()
    }

    /// Returns how many bytes the request has, as a client sends it.
    #[must_use]
    pub fn wire_len(self) -> usize {
        let header = |count: usize| 1 + count.max(1).ilog10() as usize + 1 + 2;
        let arguments = self.from(0).map(|arg| header(arg.len()) + arg.len() + 2);
        header(self.len()) + arguments.sum::<usize>()
    }

    /// Argument `i`, or `None` after the last.
    #[must_use]
    #[inline]
    pub fn get(self, i: usize) -> Option<&'a [u8]> {
        Some(self.spans.get(i)?.of(self.buf))
    }

    /// Argument `i`, borrowed for as long as the request. The row's arity guarantees that it
    /// exists.
    ///
    /// # Panics
    /// If there is no argument `i`.
    #[must_use]
    #[inline]
    pub fn at(self, i: usize) -> &'a [u8] {
        self.spans[i].of(self.buf)
    }

    /// The first eight bytes of argument `i`, zeros after a shorter one, as a little-endian number.
    ///
    /// # Panics
    /// If there is no argument `i`.
    #[inline]
    pub(super) fn word(self, i: usize) -> u64 {
        let (arg, start) = (self.at(i), self.spans[i].start as usize);
        // Behind an argument there are other bytes nearly always.
        match self.buf.get(start..).and_then(<[u8]>::first_chunk) {
            Some(eight) => u64::from_le_bytes(*eight) & low_bytes(arg.len()),
            None => word_of(arg),
        }
    }

    /// The arguments from `first` on.
    pub fn from(self, first: usize) -> ArgsFrom<'a> {
        ArgsFrom { buf: self.buf, spans: self.spans[first.min(self.spans.len())..].iter() }
    }

    /// Whether argument `i` exists and is `word`, in any case.
    #[must_use]
    pub fn is(self, i: usize, word: &str) -> bool {
        self.get(i).is_some_and(|arg| arg.eq_ignore_ascii_case(word.as_bytes()))
    }

    /// Argument `i` as a 64-bit integer.
    ///
    /// # Errors
    /// `ERR value is not an integer or out of range`.
    pub fn int(self, i: usize) -> Result<i64, Refusal> {
        parse_i64(self.at(i)).ok_or(Refusal::NOT_AN_INTEGER)
    }

    /// Argument `i` as a floating-point number.
    ///
    /// # Errors
    /// `ERR value is not a valid float`.
    pub fn float(self, i: usize) -> Result<f64, Refusal> {
        parse_f64(self.at(i)).ok_or(Refusal::NOT_A_FLOAT)
    }

    /// The buffer and the spans of the arguments in it: what a copy of the request needs.
    #[must_use]
    pub fn parts(self) -> (&'a [u8], &'a [Span]) {
        (self.buf, self.spans)
    }
}

/// Returns a mask of as many bytes, the lowest, up to all eight.
#[inline]
fn low_bytes(count: usize) -> u64 {
    if count < 8 { (1 << (8 * count)) - 1 } else { u64::MAX }
}

/// The first eight bytes, zeros after fewer, as a little-endian number.
pub(super) fn word_of(bytes: &[u8]) -> u64 {
    bytes.iter().take(8).rev().fold(0, |word, &byte| word << 8 | u64::from(byte))
}

/// The arguments from some one on, in order.
#[derive(Clone, Debug)]
pub struct ArgsFrom<'a> {
    buf: &'a [u8],
    spans: std::slice::Iter<'a, Span>,
}

impl<'a> Iterator for ArgsFrom<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        self.spans.next().map(|span| span.of(self.buf))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.spans.size_hint()
    }
}

impl DoubleEndedIterator for ArgsFrom<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.spans.next_back().map(|span| span.of(self.buf))
    }
}

impl ExactSizeIterator for ArgsFrom<'_> {}

impl Index<usize> for Args<'_> {
    type Output = [u8];

    fn index(&self, i: usize) -> &[u8] {
        self.at(i)
    }
}

impl std::fmt::Debug for Args<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.from(0).map(|arg| arg.escape_ascii().to_string())).finish()
    }
}

/// Calls `then` with the arguments of a line, whose words are single spaces apart.
#[cfg(test)]
pub(super) fn with_words<R>(line: &str, then: impl FnOnce(Args<'_>) -> R) -> R {
    let mut at = 0;
    let spans: Vec<Span> = line
        .split(' ')
        .map(|word| {
            let span = Span::new(at, word.len());
            at += word.len() + 1;
            span
        })
        .collect();
    then(Args::new(line.as_bytes(), &spans))
}
