//! A run of a list's elements in one piece of memory, with room at both ends.
//!
//! ```text
//! front: u16 | back: u16 | count: u16 | room | element | element | … | room
//!     └─ the length of each room            └─ see element.rs          └─
//! ```
//!
//! A push writes into the room at its end, and a pop leaves room behind, so that neither moves the
//! elements between. When an end has no room left, either the elements move a little, to share what
//! room the other end has, or the piece grows by a size class of the allocator; both happen only
//! after a number of bytes was pushed that is in proportion to the bytes moved.

use super::element::{self, Element};
use std::ops::Range;

/// Bytes before the room at the front.
const HEAD_LEN: usize = 6;
/// Pieces of up to this many bytes are not shrunk.
const SMALL_SIZE: usize = 64;
/// Pieces of up to this many bytes move their elements for any amount of room.
const MOVABLE_SIZE: usize = 1024;
/// Largest piece of several elements, in bytes; each room is shorter.
const SIZE_MAX: usize = 1 << 16;

/// One end of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The left end, where the first element is.
    Front,
    /// The right one.
    Back,
}

impl End {
    /// Returns the other end.
    #[must_use]
    pub fn opposite(self) -> Self {
        match self {
            Self::Front => Self::Back,
            Self::Back => Self::Front,
        }
    }
}

/// How large the pieces of a list may become (`list-max-listpack-size`). A longer element gets a
/// piece of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PieceLimit {
    /// Bytes, header and rooms included.
    size_max: usize,
    /// Elements.
    count_max: usize,
}

impl PieceLimit {
    /// Returns the limit for a setting: elements if positive, else -1 to -5 for 4 KiB to 64 KiB.
    #[must_use]
    pub fn of(setting: i64) -> Self {
        match setting {
            ..=-1 => {
                let size_max = SIZE_MAX >> (setting + 5).max(0);
                Self { size_max, count_max: usize::MAX }
            }
            _ => Self { size_max: 8192, count_max: usize::try_from(setting).unwrap_or(1).max(1) },
        }
    }
}

/// Consecutive elements; never empty except by [`Default`], which takes no memory.
#[derive(Clone, Debug, Default)]
pub(super) struct Piece(Box<[u8]>);

/// Returns the size class that the allocator uses for `size` bytes: four classes per doubling.
pub(super) fn class(size: usize) -> usize {
    if size > SIZE_MAX {
        return size;
    }
    let step = (1 << (size - 1).ilog2()) / 4;
    size.next_multiple_of(step.max(16))
}

impl Piece {
    /// Makes a piece of one element, with room at `end` if any.
    pub(super) fn of(element: &Element<'_>, end: End, limit: PieceLimit) -> Self {
        let used = HEAD_LEN + element.len();
        let mut piece = Self(Self::space(class(used).min(limit.size_max.max(used))));
        let room = piece.0.len() - used;
        piece.set_rooms(if end == End::Front { (room, 0) } else { (0, room) });
        piece.set_count(1);
        let at = piece.start();
        element.write_to(&mut piece.0[at..at + element.len()]);
        piece
    }

    fn space(size: usize) -> Box<[u8]> {
        vec![0; size].into_boxed_slice()
    }

    fn field(&self, n: usize) -> usize {
        self.0
            .get(2 * n..)
            .and_then(<[u8]>::first_chunk)
            .map_or(0, |b| u16::from_le_bytes(*b).into())
    }

    fn set_field(&mut self, n: usize, value: usize) {
        let value = u16::try_from(value).expect("a piece of several elements is small");
        self.0[2 * n..2 * n + 2].copy_from_slice(&value.to_le_bytes());
    }

    fn rooms(&self) -> (usize, usize) {
        (self.field(0), self.field(1))
    }

    fn set_rooms(&mut self, (front, back): (usize, usize)) {
        self.set_field(0, front);
        self.set_field(1, back);
    }

    /// Returns how many elements there are.
    pub(super) fn count(&self) -> usize {
        self.field(2)
    }

    fn set_count(&mut self, count: usize) {
        self.set_field(2, count);
    }

    fn start(&self) -> usize {
        HEAD_LEN + self.field(0)
    }

    fn end(&self) -> usize {
        self.0.len() - self.field(1)
    }

    /// Returns the elements' bytes.
    #[inline]
    pub(super) fn content(&self) -> &[u8] {
        if self.0.is_empty() { &[] } else { &self.0[self.start()..self.end()] }
    }

    /// Returns how many bytes of memory it takes.
    pub(super) fn size(&self) -> usize {
        self.0.len()
    }

    /// Returns how many bytes of memory it would take without its rooms.
    fn used(&self) -> usize {
        let (front, back) = self.rooms();
        self.0.len() - front - back
    }

    /// Adds an element at an end; returns `false`, with nothing changed, if there is no room for
    /// it.
    #[inline]
    pub(super) fn push(&mut self, end: End, element: &Element<'_>, limit: PieceLimit) -> bool {
        let count = self.count();
        if count >= limit.count_max {
            return false;
        }
        let len = element.len();
        let has_room = |piece: &Self| piece.field(end as usize) >= len;
        if !has_room(self) && !self.make_room(end, len, limit) {
            return false;
        }
        let room = self.field(end as usize) - len;
        let at = match end {
            End::Front => HEAD_LEN + room,
            End::Back => self.end(),
        };
        element.write_to(&mut self.0[at..at + len]);
        self.set_field(end as usize, room);
        self.set_count(count + 1);
        true
    }

    /// Makes `len` bytes of room at `end`, if the piece may grow to that.
    #[cold]
    fn make_room(&mut self, end: End, len: usize, limit: PieceLimit) -> bool {
        let size_max = limit.size_max;
        let (used, size) = (self.used(), self.0.len());
        if used + len > size_max {
            return false;
        }
        let room = size - used;
        // At least a quarter of what is moved: then few bytes move for each byte pushed.
        let (rooms, size) = if room >= len && (4 * room >= used || size <= MOVABLE_SIZE) {
            let there = len.max(room / 2);
            (there, size)
        } else {
            let larger = class((used + len).max(size + 1));
            // The largest allowed size may lie between two classes.
            let larger = if larger > size_max && size < size_max { size_max } else { larger };
            if larger > size_max || larger < used + len {
                return false;
            }
            (len.max(larger - used - self.field(end.opposite() as usize)), larger)
        };
        let other = size - used - rooms;
        self.rebuild(size, if end == End::Front { (rooms, other) } else { (other, rooms) });
        true
    }

    /// Moves the elements so that `rooms` remain in `size` bytes.
    fn rebuild(&mut self, size: usize, rooms: (usize, usize)) {
        if size == self.0.len() {
            let elements = self.start()..self.end();
            self.0.copy_within(elements, HEAD_LEN + rooms.0);
        } else {
            let mut bytes = Vec::with_capacity(size);
            bytes.extend_from_slice(&self.0[..HEAD_LEN]);
            bytes.resize(HEAD_LEN + rooms.0, 0);
            bytes.extend_from_slice(self.content());
            bytes.resize(size, 0);
            self.0 = bytes.into_boxed_slice();
        }
        self.set_rooms(rooms);
    }

    /// Removes `count` elements, the first or last `len` bytes, but never all.
    #[inline]
    pub(super) fn pop(&mut self, end: End, len: usize, count: usize) {
        let (room, count) = (self.field(end as usize) + len, self.count() - count);
        debug_assert!(count > 0, "a piece is never empty");
        if self.used() - len <= self.0.len() / 2 && self.0.len() > SMALL_SIZE {
            return self.cut(end, len, count);
        }
        self.set_field(end as usize, room);
        self.set_count(count);
    }

    /// Removes the first or last `len` bytes so that `count` elements stay, and gives back memory.
    #[cold]
    fn cut(&mut self, end: End, len: usize, count: usize) {
        let content = self.content();
        let kept = match end {
            End::Front => &content[len..],
            End::Back => &content[..content.len() - len],
        };
        *self = Self::compact(&[kept], count);
    }

    /// Makes a piece of `count` elements from `parts`, without spare room.
    fn compact(parts: &[&[u8]], count: usize) -> Self {
        let used = HEAD_LEN + parts.iter().map(|part| part.len()).sum::<usize>();
        // One element may be of any length; several are never more than the largest piece.
        let size = if count == 1 { used } else { class(used).min(SIZE_MAX.max(used)) };
        let mut bytes = Vec::with_capacity(size);
        bytes.resize(HEAD_LEN, 0);
        parts.iter().for_each(|part| bytes.extend_from_slice(part));
        bytes.resize(size, 0);
        let mut piece = Self(bytes.into_boxed_slice());
        piece.set_rooms((0, size - used));
        piece.set_count(count);
        piece
    }

    /// Removes the elements at `places`, which ascend and do not overlap, but never all elements.
    pub(super) fn remove(&mut self, places: &[Range<usize>]) {
        let (start, count) = (self.start(), self.count() - places.len());
        let content_len = self.content().len();
        // The elements between two removed ones move down to the last one that stays.
        let mut end = places.first().map_or(content_len, |place| place.start);
        for (i, place) in places.iter().enumerate() {
            let until = places.get(i + 1).map_or(content_len, |next| next.start);
            self.0.copy_within(start + place.end..start + until, start + end);
            end += until - place.end;
        }
        let freed = content_len - end;
        if self.0.len() > SMALL_SIZE && self.used() - freed <= self.0.len() / 2 {
            *self = Self::compact(&[&self.0[start..start + end]], count);
        } else {
            self.set_field(1, self.field(1) + freed);
            self.set_count(count);
        }
    }

    /// Replaces the bytes `old`, one element or none, by `element`; returns `false`, with nothing
    /// changed, if there is no room for it.
    pub(super) fn put(
        &mut self,
        old: Range<usize>,
        element: &Element<'_>,
        limit: PieceLimit,
    ) -> bool {
        let len = element.len();
        let at = self.start() + old.start;
        if old.len() == len {
            element.write_to(&mut self.0[at..at + len]);
            return true;
        }
        let count = self.count() + usize::from(old.is_empty());
        let used = self.used() - old.len() + len;
        if count > 1 && (used > limit.size_max || count > limit.count_max && old.is_empty()) {
            return false;
        }
        let content = self.content();
        let tail_len = content.len() - old.end;
        let back = self.field(1);
        // The space of a long element is not for several to share.
        let stays = self.0.len() <= limit.size_max
            && (self.0.len() <= SMALL_SIZE || used > self.0.len() / 2);
        if stays && old.len() + back >= len {
            let tail = at + old.len()..at + old.len() + tail_len;
            self.0.copy_within(tail, at + len);
            self.set_field(1, old.len() + back - len);
            self.set_count(count);
            element.write_to(&mut self.0[at..at + len]);
        } else {
            let parts = [&content[..old.start], &element.to_vec(), &content[old.end..]];
            *self = Self::compact(&parts, count);
        }
        true
    }

    /// Splits into the elements before `at` and those from `to` on, `before` and `after` of them;
    /// `None` for an empty half.
    pub(super) fn split(
        &self,
        (at, to): (usize, usize),
        (before, after): (usize, usize),
    ) -> (Option<Self>, Option<Self>) {
        let content = self.content();
        let half = |part: &[u8], count| (count > 0).then(|| Self::compact(&[part], count));
        (half(&content[..at], before), half(&content[to..], after))
    }

    /// Merges two pieces, if the result is at most half full.
    pub(super) fn joined(&self, next: &Self, limit: PieceLimit) -> Option<Self> {
        let used = self.used() + next.used() - HEAD_LEN;
        let count = self.count() + next.count();
        let fits = used <= limit.size_max / 2 && count <= limit.count_max;
        fits.then(|| Self::compact(&[self.content(), next.content()], count))
    }

    /// Returns the offset of element number `n`, counting from the nearer end.
    pub(super) fn place_of(&self, n: usize) -> usize {
        let (content, count) = (self.content(), self.count());
        if n <= count / 2 {
            (0..n).fold(0, |at, _| at + element::first_len(&content[at..]))
        } else {
            (n..count).fold(content.len(), |end, _| end - element::last_len(&content[..end]))
        }
    }

    /// Returns whether it takes less than half of the smallest limit in bytes.
    pub(super) fn is_small(&self) -> bool {
        self.0.len() <= 2048
    }

    /// Checks the invariants.
    #[cfg(test)]
    pub(super) fn assert_invariants(&self, limit: PieceLimit) {
        let content = self.content();
        let (mut at, mut count) = (0, 0);
        let mut places = Vec::new();
        while at < content.len() {
            let len = element::first_len(&content[at..]);
            let text = element::text_of(&content[at..at + len]);
            assert_eq!(Element::of(&text).to_vec(), &content[at..at + len], "one spelling");
            assert_eq!(element::last_len(&content[..at + len]), len);
            places.push(at);
            (at, count) = (at + len, count + 1);
        }
        assert_eq!(at, content.len());
        assert_eq!(count, self.count());
        assert!(count > 0, "never empty");
        for (n, place) in places.into_iter().enumerate() {
            assert_eq!(self.place_of(n), place);
        }
        assert!(
            count == 1 || self.0.len() <= limit.size_max.max(SMALL_SIZE),
            "{} bytes",
            self.0.len()
        );
        assert!(count <= limit.count_max);
        assert!(self.0.len() <= SMALL_SIZE || self.used() > self.0.len() / 2, "memory follows");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_sizes_or_counts() {
        let limit = |size_max, count_max| PieceLimit { size_max, count_max };
        for (setting, expected) in [
            (-1, limit(4096, usize::MAX)),
            (-2, limit(8192, usize::MAX)),
            (-5, limit(65_536, usize::MAX)),
            (-6, limit(65_536, usize::MAX)),
            (i64::MIN, limit(65_536, usize::MAX)),
            (0, limit(8192, 1)),
            (128, limit(8192, 128)),
        ] {
            assert_eq!(PieceLimit::of(setting), expected, "{setting}");
        }
    }

    #[test]
    fn classes_are_a_quarter_apart_at_most() {
        for size in 17..=SIZE_MAX {
            let class = class(size);
            assert!(class >= size && (class - size) * 4 < size.max(64), "{size} {class}");
        }
    }
}
