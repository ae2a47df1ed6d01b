//! A list: elements in order, fast at both ends.
//!
//! ```text
//! small   Piece                             all elements in one piece of memory; see list/piece
//! large   pieces: [ Piece | Piece | … ]     a deque of pieces, each beside its count
//!                     └─ elements in a row, with room at both ends; see list/element
//! ```
//!
//! Pushes go to the first and the last piece; a piece without room for an element gets a neighbour.
//! An index is found by the counts of whole pieces, from the nearer end, and then within one piece.
//! Pieces that lose elements give memory back, and are merged with a neighbour when both are small.

mod element;
mod piece;
mod iter;

pub(crate) use iter::{EncodedElement, Iter};
pub(crate) use piece::{End, PieceLimit};

use super::Text;
use element::{Element, first_len, last_len};
use piece::Piece;
use std::collections::VecDeque;
use std::ops::Range;

/// Elements in order; see the top of the file.
#[derive(Clone, Debug)]
pub struct List(Repr);

// One word less than the sum of the parts: the piece's pointer is never null.
#[derive(Clone, Debug)]
enum Repr {
    One(Piece),
    Many(Box<Pieces>),
}

#[derive(Clone, Debug, Default)]
struct Pieces {
    pieces: VecDeque<Counted>,
    /// How many elements all pieces have.
    len: usize,
}

/// A piece with its count, so that it can be skipped without reading it.
#[derive(Clone, Debug)]
struct Counted {
    piece: Piece,
    count: u32,
}

impl Counted {
    fn of(piece: Piece) -> Self {
        Self { count: piece.count() as u32, piece }
    }
}

/// The position of an element.
#[derive(Clone, Copy, Debug)]
struct Place {
    piece: usize,
    /// Elements before it in the piece.
    nth: usize,
    /// Its offset in the piece's content.
    at: usize,
}

impl Default for List {
    fn default() -> Self {
        Self(Repr::One(Piece::default()))
    }
}

impl List {
    /// Returns the representation as `OBJECT ENCODING` names it.
    #[must_use]
    pub fn encoding(&self) -> &'static str {
        "quicklist"
    }

    /// Returns how many elements there are.
    #[must_use]
    #[inline]
    pub fn len(&self) -> usize {
        match &self.0 {
            Repr::One(piece) => piece.count(),
            Repr::Many(many) => many.len,
        }
    }

    /// Returns whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns how many bytes of memory it takes besides itself.
    #[must_use]
    pub fn memory(&self) -> usize {
        match &self.0 {
            Repr::One(piece) => piece.size(),
            Repr::Many(many) => {
                let places = many.pieces.capacity() * size_of::<Counted>();
                let pieces: usize = many.pieces.iter().map(|counted| counted.piece.size()).sum();
                size_of::<Pieces>() + places + pieces
            }
        }
    }

    // ── reading ───────────────────────────────────────────────────────────────────────────────

    /// Returns the first or the last element.
    #[must_use]
    #[inline]
    pub fn peek(&self, end: End) -> Option<Text<'_>> {
        self.iter_from(end, 0).next()
    }

    /// Returns element number `index`, from 0.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<Text<'_>> {
        let (end, skipped) = self.nearer(index)?;
        self.iter_from(end, skipped).next()
    }

    /// Returns all elements in their order.
    #[must_use]
    pub fn iter(&self) -> Iter<'_> {
        self.iter_from(End::Front, 0)
    }

    /// Returns the elements, starting at `end`, without the first `skipped` of them.
    #[must_use]
    #[inline]
    pub fn iter_from(&self, end: End, skipped: usize) -> Iter<'_> {
        let len = self.len();
        let skipped = skipped.min(len);
        let mut iter = Iter { list: self, end, rest: &[], next: 0, left: len - skipped };
        if iter.left == 0 {
            return iter;
        }
        // The position of the first element to return, counted from the front.
        let index = if end == End::Front { skipped } else { len - 1 - skipped };
        let Place { piece, at, .. } = self.place_of(index);
        let content = self.piece(piece).content();
        match end {
            End::Front => (iter.rest, iter.next) = (&content[at..], piece + 1),
            End::Back => {
                let after = at + first_len(&content[at..]);
                (iter.rest, iter.next) = (&content[..after], piece);
            }
        }
        iter
    }

    /// Returns the end that element `index` is nearer to, and how many elements lie between.
    fn nearer(&self, index: usize) -> Option<(End, usize)> {
        let after = self.len().checked_sub(index + 1)?;
        Some(if index <= after { (End::Front, index) } else { (End::Back, after) })
    }

    /// Returns the position of an existing element.
    fn place_of(&self, index: usize) -> Place {
        let len = self.len();
        let (piece, nth) = match &self.0 {
            Repr::One(_) => (0, index),
            Repr::Many(many) if index <= len / 2 => {
                let (mut piece, mut nth) = (0, index);
                while nth >= many.pieces[piece].count as usize {
                    nth -= many.pieces[piece].count as usize;
                    piece += 1;
                }
                (piece, nth)
            }
            Repr::Many(many) => {
                // `first` is the index of the piece's first element.
                let mut piece = many.pieces.len() - 1;
                let mut first = len - many.pieces[piece].count as usize;
                while first > index {
                    piece -= 1;
                    first -= many.pieces[piece].count as usize;
                }
                (piece, index - first)
            }
        };
        Place { piece, nth, at: self.piece(piece).place_of(nth) }
    }

    fn pieces(&self) -> usize {
        match &self.0 {
            Repr::One(_) => 1,
            Repr::Many(many) => many.pieces.len(),
        }
    }

    // ── changing ──────────────────────────────────────────────────────────────────────────────

    /// Adds an element at an end.
    #[inline]
    pub fn push(&mut self, end: End, text: &[u8], limit: PieceLimit) {
        let element = Element::of(text);
        match &mut self.0 {
            Repr::One(piece) => {
                if piece.count() == 0 {
                    *piece = Piece::of(&element, end, limit);
                } else if !piece.push(end, &element, limit) {
                    self.push_piece(end, &element, limit);
                }
            }
            Repr::Many(many) => {
                let counted = match end {
                    End::Front => many.pieces.front_mut(),
                    End::Back => many.pieces.back_mut(),
                };
                if let Some(counted) = counted
                    && counted.piece.push(end, &element, limit)
                {
                    counted.count += 1;
                    many.len += 1;
                } else {
                    self.push_piece(end, &element, limit);
                }
            }
        }
    }

    #[cold]
    fn push_piece(&mut self, end: End, element: &Element<'_>, limit: PieceLimit) {
        let n = if end == End::Front { 0 } else { self.pieces() };
        self.insert_piece(n, Piece::of(element, end, limit));
    }

    /// Removes the first or last elements, `count` of them or all.
    #[inline]
    pub fn pop(&mut self, end: End, count: usize) {
        let mut left = count;
        while left > 0 && !self.is_empty() {
            let n = if end == End::Front { 0 } else { self.pieces() - 1 };
            let there = self.count_of(n);
            if there <= left {
                left -= there;
                self.remove_piece(n);
                continue;
            }
            self.edit(n, |piece| {
                let len = bytes_of(piece, end, left);
                piece.pop(end, len, left);
            });
            left = 0;
        }
        self.shrink();
    }

    /// Keeps the elements of `range`, which lies within the list, and no others.
    pub fn keep(&mut self, range: Range<usize>) {
        if range.is_empty() {
            *self = Self::default();
            return;
        }
        self.pop(End::Back, self.len() - range.end);
        self.pop(End::Front, range.start);
    }

    /// Replaces element number `index`; returns whether it exists.
    pub fn set(&mut self, index: usize, text: &[u8], limit: PieceLimit) -> bool {
        if index >= self.len() {
            return false;
        }
        let place = self.place_of(index);
        let len = first_len(&self.piece(place.piece).content()[place.at..]);
        self.put(place, len, &Element::of(text), limit);
        true
    }

    /// Inserts an element before or after the first one equal to `pivot`; returns whether there is
    /// one. Calls `step` with the number of elements visited.
    pub fn insert_beside(
        &mut self,
        pivot: &[u8],
        is_behind: bool,
        text: &[u8],
        limit: PieceLimit,
        mut step: impl FnMut(usize),
    ) -> bool {
        let pivot = Element::of(pivot).to_vec();
        for n in 0..self.pieces() {
            let content = self.piece(n).content();
            step(self.count_of(n));
            let (mut at, mut nth) = (0, 0);
            while at < content.len() {
                if content[at..].starts_with(&pivot) {
                    let (at, nth) = if is_behind { (at + pivot.len(), nth + 1) } else { (at, nth) };
                    self.put(Place { piece: n, nth, at }, 0, &Element::of(text), limit);
                    return true;
                }
                at += first_len(&content[at..]);
                nth += 1;
            }
        }
        false
    }

    /// Removes up to `count_max` elements equal to `text`, the nearest to `end` first; returns how
    /// many. Calls `step` with the number of elements visited.
    pub fn remove(
        &mut self,
        text: &[u8],
        end: End,
        count_max: usize,
        limit: PieceLimit,
        mut step: impl FnMut(usize),
    ) -> usize {
        let sought = Element::of(text).to_vec();
        let mut removed = 0;
        let mut places = Vec::new();
        // Pieces yet to be visited lie between these; changes beyond them do not matter.
        let (mut first, mut last) = (0, self.pieces());
        while first < last && removed < count_max {
            let n = if end == End::Front { first } else { last - 1 };
            let count = self.count_of(n);
            step(count);
            places_of(self.piece(n).content(), &sought, &mut places);
            let excess = places.len().saturating_sub(count_max - removed);
            match end {
                End::Front => places.truncate(places.len() - excess),
                End::Back => drop(places.drain(..excess)),
            }
            removed += places.len();
            if places.len() == count {
                self.edit(n, |piece| *piece = Piece::default());
            } else if !places.is_empty() {
                self.edit(n, |piece| piece.remove(&places));
            }
            match end {
                End::Front => first = n + 1,
                End::Back => last = n,
            }
        }
        if removed > 0 {
            let visited = if end == End::Front { first } else { self.pieces() - last };
            self.tidy(end, visited, limit);
        }
        self.shrink();
        removed
    }

    /// Removes the empty ones of the `visited` pieces nearest to `end`, and merges small
    /// neighbours: in one pass, since each removal from the middle of the deque would move half of
    /// it.
    fn tidy(&mut self, end: End, visited: usize, limit: PieceLimit) {
        let Repr::Many(many) = &mut self.0 else { return };
        let mut kept: Vec<Counted> = Vec::new();
        for _ in 0..visited {
            let next = match end {
                End::Front => many.pieces.pop_front(),
                End::Back => many.pieces.pop_back(),
            };
            let Some(next) = next.filter(|counted| counted.count > 0) else { continue };
            let joined = kept.last().and_then(|last| match end {
                End::Front => last.piece.joined(&next.piece, limit),
                End::Back => next.piece.joined(&last.piece, limit),
            });
            match (joined, kept.last_mut()) {
                (Some(joined), Some(last)) => *last = Counted::of(joined),
                _ => kept.push(next),
            }
        }
        while let Some(counted) = kept.pop() {
            match end {
                End::Front => many.pieces.push_front(counted),
                End::Back => many.pieces.push_back(counted),
            }
        }
        if many.pieces.is_empty() {
            *self = Self::default();
        }
    }

    /// Replaces the element of `old_len` bytes at `place`, or inserts before it if that is 0.
    fn put(&mut self, place: Place, old_len: usize, element: &Element<'_>, limit: PieceLimit) {
        let Place { piece: n, nth, at } = place;
        let old = at..at + old_len;
        if self.edit(n, |piece| piece.put(old.clone(), element, limit)) {
            return;
        }
        let after = self.count_of(n) - nth - usize::from(old_len > 0);
        let (before, behind) = self.piece(n).split((at, old.end), (nth, after));
        self.remove_piece(n);
        let mut n = n;
        if let Some(before) = before {
            self.insert_piece(n, before);
            n += 1;
        }
        // It goes into the half that has room for it.
        let has_place =
            n > 0 && nth > 0 && self.edit(n - 1, |piece| piece.push(End::Back, element, limit));
        if !has_place {
            self.insert_piece(n, Piece::of(element, End::Back, limit));
            n += 1;
        }
        if let Some(behind) = behind {
            self.insert_piece(n, behind);
            if !has_place {
                self.join(n - 1, n, limit);
            }
        }
    }

    // ── pieces ────────────────────────────────────────────────────────────────────────────────

    fn count_of(&self, n: usize) -> usize {
        match &self.0 {
            Repr::One(piece) => piece.count(),
            Repr::Many(many) => many.pieces[n].count as usize,
        }
    }

    /// Changes a piece, and the counts with it.
    #[inline]
    fn edit<R>(&mut self, n: usize, edit: impl FnOnce(&mut Piece) -> R) -> R {
        match &mut self.0 {
            Repr::One(piece) => edit(piece),
            Repr::Many(many) => {
                let counted = &mut many.pieces[n];
                let result = edit(&mut counted.piece);
                let count = counted.piece.count();
                many.len = many.len - counted.count as usize + count;
                counted.count = count as u32;
                result
            }
        }
    }

    fn insert_piece(&mut self, n: usize, piece: Piece) {
        let many = match &mut self.0 {
            Repr::One(one) if one.count() == 0 => {
                *one = piece;
                return;
            }
            Repr::One(one) => {
                let first = Counted::of(std::mem::take(one));
                let many = Pieces { len: first.count as usize, pieces: VecDeque::from([first]) };
                self.0 = Repr::Many(Box::new(many));
                return self.insert_piece(n, piece);
            }
            Repr::Many(many) => many,
        };
        many.len += piece.count();
        // By a quarter: the deque must not cost more than the pointers of a linked list would.
        let pieces = many.pieces.len();
        if pieces == many.pieces.capacity() {
            many.pieces.reserve_exact(pieces / 4 + 1);
        }
        many.pieces.insert(n, Counted::of(piece));
    }

    fn remove_piece(&mut self, n: usize) {
        match &mut self.0 {
            Repr::One(piece) => *piece = Piece::default(),
            Repr::Many(many) => {
                let gone = many.pieces.remove(n);
                many.len -= gone.map_or(0, |counted| counted.count as usize);
                if many.pieces.is_empty() {
                    *self = Self::default();
                }
            }
        }
    }

    /// Merges two neighbouring pieces if both exist and are small; returns whether it did.
    fn join(&mut self, n: usize, next: usize, limit: PieceLimit) -> bool {
        let Repr::Many(many) = &mut self.0 else { return false };
        let (Some(first), Some(second)) = (many.pieces.get(n), many.pieces.get(next)) else {
            return false;
        };
        let Some(joined) = first.piece.joined(&second.piece, limit) else { return false };
        many.pieces[n] = Counted::of(joined);
        many.pieces.remove(next);
        true
    }

    /// Frees what the deque of pieces no longer needs, after elements were removed.
    #[inline]
    fn shrink(&mut self) {
        let Repr::Many(many) = &mut self.0 else { return };
        let pieces = many.pieces.len();
        if pieces == 1 {
            self.collapse_to_one();
        } else if many.pieces.capacity() > 4 * pieces.max(4) {
            many.pieces.shrink_to(2 * pieces);
        }
    }

    /// A single piece needs no deque. It stays while the piece is so full that the next push may
    /// well need it again.
    fn collapse_to_one(&mut self) {
        if let Repr::Many(many) = &mut self.0
            && let Some(counted) = many.pieces.front_mut()
            && counted.piece.is_small()
        {
            self.0 = Repr::One(std::mem::take(&mut counted.piece));
        }
    }

    /// Checks the invariants.
    #[cfg(test)]
    fn assert_invariants(&self, limit: PieceLimit) {
        match &self.0 {
            Repr::One(piece) if piece.count() == 0 => assert_eq!(piece.size(), 0),
            Repr::One(piece) => piece.assert_invariants(limit),
            Repr::Many(many) => {
                assert!(!many.pieces.is_empty());
                for Counted { piece, count } in &many.pieces {
                    piece.assert_invariants(limit);
                    assert_eq!(piece.count(), *count as usize);
                }
                assert_eq!(many.len, many.pieces.iter().map(|c| c.count as usize).sum::<usize>());
            }
        }
    }
}

/// Returns how many bytes the first or last `count` elements of a piece take.
fn bytes_of(piece: &Piece, end: End, count: usize) -> usize {
    let content = piece.content();
    match (end, count) {
        (End::Front, 1) => first_len(content),
        (End::Back, 1) => last_len(content),
        (End::Front, _) => piece.place_of(count),
        (End::Back, _) => content.len() - piece.place_of(piece.count() - count),
    }
}

/// Finds every element equal to `sought`.
fn places_of(content: &[u8], sought: &[u8], places: &mut Vec<Range<usize>>) {
    places.clear();
    let mut at = 0;
    while at < content.len() {
        let end = at + first_len(&content[at..]);
        if &content[at..end] == sought {
            places.push(at..end);
        }
        at = end;
    }
}

#[cfg(test)]
mod tests;
