//! Iterating over a list from either end.

use super::element::{Element, first_len, last_len, text_of};
use super::piece::Piece;
use super::{End, List, Repr};
use crate::keyspace::Text;

/// A byte string as a list encodes it, to compare many elements with it.
pub struct EncodedElement(Vec<u8>);

impl EncodedElement {
    /// Encodes `text`.
    #[must_use]
    pub fn of(text: &[u8]) -> Self {
        Self(Element::of(text).to_vec())
    }
}

/// An iterator over elements from one end to the other.
#[derive(Clone)]
pub struct Iter<'l> {
    pub(super) list: &'l List,
    /// The end where it started.
    pub(super) end: End,
    /// The rest of the current piece.
    pub(super) rest: &'l [u8],
    /// The next piece; from the back, one more than its number.
    pub(super) next: usize,
    /// How many elements are left.
    pub(super) left: usize,
}

impl List {
    /// Returns piece number `n`.
    pub(super) fn piece(&self, n: usize) -> &Piece {
        match &self.0 {
            Repr::One(piece) => piece,
            Repr::Many(many) => &many.pieces[n].piece,
        }
    }
}

impl<'l> Iter<'l> {
    /// Returns the next element, encoded.
    #[inline]
    fn element(&mut self) -> Option<&'l [u8]> {
        self.left = self.left.checked_sub(1)?;
        match self.end {
            End::Front => {
                if self.rest.is_empty() {
                    self.rest = self.list.piece(self.next).content();
                    self.next += 1;
                }
                let (element, rest) = self.rest.split_at(first_len(self.rest));
                self.rest = rest;
                Some(element)
            }
            End::Back => {
                if self.rest.is_empty() {
                    self.next -= 1;
                    self.rest = self.list.piece(self.next).content();
                }
                let (rest, element) = self.rest.split_at(self.rest.len() - last_len(self.rest));
                self.rest = rest;
                Some(element)
            }
        }
    }

    /// Returns whether the next element equals `sought`; `None` at the end.
    #[inline]
    pub fn next_is(&mut self, sought: &EncodedElement) -> Option<bool> {
        self.element().map(|element| element == sought.0)
    }
}

impl<'l> Iterator for Iter<'l> {
    type Item = Text<'l>;

    #[inline]
    fn next(&mut self) -> Option<Text<'l>> {
        self.element().map(text_of)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Iter<'_> {}
