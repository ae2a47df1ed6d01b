//! A long file through a window of constant size.
//!
//! ```text
//! file      ........................................................
//! window                  [taken | at hand              ]
//!                                ^ offset                  more() fetches what is missing
//! ```
//!
//! A read error ends the file early; [`FileWindow::failure`] returns it. What is taken can be
//! checksummed on the way, in large pieces, which is what makes the checksum cheap.

use crc_fast::Digest;
use std::io::{self, ErrorKind, Read};

/// Bytes that are read at a time.
pub(crate) const PIECE_LEN: usize = 1 << 20;
/// Longest line; longer ones are skipped.
pub(crate) const LINE_LEN_MAX: usize = 16 << 20;

/// A file being read from its beginning to its end.
pub(crate) struct FileWindow<'r> {
    from: &'r mut dyn Read,
    /// Called with the number of bytes read, once for each piece.
    progress: &'r mut dyn FnMut(u64),
    /// What was read; `start..end` is not taken yet. `summed <= start` is included in the checksum.
    window: Vec<u8>,
    start: usize,
    end: usize,
    summed: usize,
    sum: Option<Digest>,
    /// The offset of `window[0]` in the file.
    base: u64,
    has_ended: bool,
    failure: Option<io::Error>,
}

/// A line without its newline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Line<'a> {
    /// A whole one.
    Whole(&'a [u8]),
    /// The last one, without a newline.
    Last(&'a [u8]),
    /// One of more than [`LINE_LEN_MAX`] bytes.
    TooLong,
}

impl<'r> FileWindow<'r> {
    /// Makes a window at the beginning of `from`. `progress` is called with the number of bytes
    /// read so far.
    pub(crate) fn new(from: &'r mut dyn Read, progress: &'r mut dyn FnMut(u64)) -> Self {
        Self {
            from,
            progress,
            window: Vec::new(),
            start: 0,
            end: 0,
            summed: 0,
            sum: None,
            base: 0,
            has_ended: false,
            failure: None,
        }
    }

    /// Returns the offset in the file of the next byte to take.
    #[must_use]
    pub(crate) fn offset(&self) -> u64 {
        self.base + self.start as u64
    }

    /// Returns the read error that ended the file early, if one did.
    #[must_use]
    pub(crate) fn failure(&self) -> Option<&io::Error> {
        self.failure.as_ref()
    }

    /// Returns at least `want` of the next bytes, without taking them; fewer only at the end.
    #[inline]
    pub(crate) fn more(&mut self, want: usize) -> &[u8] {
        if self.end - self.start < want {
            self.fetch(want);
        }
        &self.window[self.start..self.end]
    }

    #[cold]
    fn fetch(&mut self, want: usize) {
        self.sum_up();
        self.window.copy_within(self.start..self.end, 0);
        self.base += self.start as u64;
        (self.end, self.start, self.summed) = (self.end - self.start, 0, 0);
        while self.end < want && !self.has_ended {
            if self.window.len() < self.end + PIECE_LEN {
                self.window.resize(self.end + PIECE_LEN, 0);
            }
            match self.from.read(&mut self.window[self.end..]) {
                Ok(0) => self.has_ended = true,
                Ok(len) => self.end += len,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    self.failure = Some(error);
                    self.has_ended = true;
                }
            }
            (self.progress)(self.base + self.end as u64);
        }
    }

    /// Takes `len` bytes that [`FileWindow::more`] has returned.
    ///
    /// # Panics
    /// If there are fewer.
    #[inline]
    pub(crate) fn take(&mut self, len: usize) -> &[u8] {
        assert!(len <= self.end - self.start, "only what was shown is taken");
        self.start += len;
        &self.window[self.start - len..self.start]
    }

    /// Skips `len` bytes; returns whether there were as many.
    pub(crate) fn skip(&mut self, mut len: u64) -> bool {
        loop {
            let here = usize::try_from(len).unwrap_or(usize::MAX).min(self.end - self.start);
            self.start += here;
            len -= here as u64;
            if len == 0 {
                return true;
            }
            if self.more(1).is_empty() {
                return false;
            }
        }
    }

    /// Takes the next line; `None` at the end.
    pub(crate) fn line(&mut self) -> Option<Line<'_>> {
        let mut looked = 0;
        loop {
            let at_hand = self.more(looked + 1);
            if let Some(at) = memchr::memchr(b'\n', &at_hand[looked.min(at_hand.len())..]) {
                let len = looked + at;
                self.start += len + 1;
                return Some(Line::Whole(&self.window[self.start - len - 1..self.start - 1]));
            }
            if at_hand.len() <= looked {
                let len = at_hand.len();
                return (len > 0).then(|| Line::Last(self.take(len)));
            }
            looked = at_hand.len();
            if looked > LINE_LEN_MAX {
                self.skip_line();
                return Some(Line::TooLong);
            }
        }
    }

    fn skip_line(&mut self) {
        loop {
            let at_hand = self.more(1);
            if at_hand.is_empty() {
                return;
            }
            let end = memchr::memchr(b'\n', at_hand).map(|at| at + 1);
            let len = end.unwrap_or(at_hand.len());
            self.take(len);
            if end.is_some() {
                return;
            }
        }
    }

    /// Starts a checksum over what is taken from here on.
    pub(crate) fn begin_sum(&mut self, sum: Digest) {
        self.summed = self.start;
        self.sum = Some(sum);
    }

    /// Ends the checksum and returns it.
    pub(crate) fn end_sum(&mut self) -> Option<u64> {
        self.sum_up();
        self.sum.take().map(|sum: Digest| sum.finalize())
    }

    fn sum_up(&mut self) {
        if let Some(sum) = &mut self.sum {
            sum.update(&self.window[self.summed..self.start]);
        }
        self.summed = self.start;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crc_fast::CrcAlgorithm::Crc64Redis;

    /// Yields a few bytes at a time.
    struct Drops<'a>(&'a [u8], usize);

    impl Read for Drops<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let len = self.1.min(self.0.len()).min(into.len());
            let (now, later) = self.0.split_at(len);
            into[..len].copy_from_slice(now);
            self.0 = later;
            Ok(len)
        }
    }

    #[test]
    fn lines_come_whole_however_they_are_read() {
        for drop in [1, 2, 3, 100] {
            let (mut from, mut fetched) = (Drops(b"one\n\ntwo\nlast", drop), 0);
            let mut progress = |bytes| fetched = bytes;
            let mut window = FileWindow::new(&mut from, &mut progress);
            assert_eq!(window.line(), Some(Line::Whole(b"one")));
            assert_eq!(window.line(), Some(Line::Whole(b"")));
            assert_eq!(window.offset(), 5);
            assert_eq!(window.line(), Some(Line::Whole(b"two")));
            assert_eq!(window.line(), Some(Line::Last(b"last")));
            assert_eq!(window.line(), None);
            assert_eq!(fetched, 13);
        }
    }

    #[test]
    fn a_line_that_is_too_long_is_passed_over() {
        let mut text = vec![b'x'; LINE_LEN_MAX + 2 * PIECE_LEN];
        text.extend(b"\nnext\n");
        let (mut from, mut progress) = (&text[..], |_| ());
        let mut window = FileWindow::new(&mut from, &mut progress);
        assert_eq!(window.line(), Some(Line::TooLong));
        assert_eq!(window.line(), Some(Line::Whole(b"next")));
        assert!(window.window.len() <= LINE_LEN_MAX + 3 * PIECE_LEN, "{}", window.window.len());
    }

    #[test]
    fn what_is_taken_is_summed_up_over_pieces() {
        let bytes: Vec<u8> = (0..3 * PIECE_LEN).map(|n| n as u8).collect();
        let (mut from, mut progress) = (Drops(&bytes, 77_777), |_| ());
        let mut window = FileWindow::new(&mut from, &mut progress);
        window.begin_sum(Digest::new(Crc64Redis));
        let len = window.more(10).len().min(10);
        window.take(len);
        assert!(window.skip(2 * PIECE_LEN as u64));
        let expected = crc_fast::checksum(Crc64Redis, &bytes[..10 + 2 * PIECE_LEN]);
        assert_eq!(window.end_sum(), Some(expected));
        assert!(!window.skip(2 * PIECE_LEN as u64));
    }
}
