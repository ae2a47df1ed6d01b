//! A set of integers as one ordered array, a fifth of the size of a table.
//!
//! ```text
//! width: u8 | member | member | …      ascending, each little-endian in `width` bytes: 2, 4 or 8
//! ```
//!
//! The width is that of the widest member there ever was: it grows and never shrinks, as in Redis,
//! whose DUMP shows it. An array has no spare capacity: the allocator's size classes, an eighth
//! apart, are the room to grow.

/// Bytes before the first member.
const HEAD_LEN: usize = 1;

/// Integers in ascending order, none twice.
#[derive(Clone, Debug, Default)]
pub(super) struct Ints {
    /// As in the picture; empty while there are no members.
    bytes: Box<[u8]>,
}

impl Ints {
    /// Makes the array of `members`, which must ascend, each in at least `width_min` bytes.
    pub(super) fn ascending(members: &[i64], width_min: usize) -> Self {
        debug_assert!(members.is_sorted_by(|a, b| a < b), "members ascend");
        let (Some(first), Some(last)) = (members.first(), members.last()) else {
            return Self::default();
        };
        let width = width_of(*first).max(width_of(*last)).max(width_min);
        Self { bytes: written(width, members.len(), members.iter().copied()) }
    }

    /// Returns how many bytes of memory it takes.
    pub(super) fn memory(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn len(&self) -> usize {
        match self.bytes.split_first() {
            // The width is a power of two; a division would take as long as the rest of a look-up.
            Some((width, members)) => members.len() >> width.trailing_zeros(),
            None => 0,
        }
    }

    /// Returns how many bytes each member has; 2 while there are none.
    pub(super) fn width(&self) -> usize {
        self.bytes.first().map_or(2, |&width| width.into())
    }

    /// Returns member number `n`, counted from the smallest.
    ///
    /// # Panics
    /// If there are fewer members.
    pub(super) fn at(&self, n: usize) -> i64 {
        let (width, members) = (self.width(), &self.bytes[HEAD_LEN..]);
        match width {
            2 => read(&members.as_chunks::<2>().0[n]),
            4 => read(&members.as_chunks::<4>().0[n]),
            _ => read(&members.as_chunks::<8>().0[n]),
        }
    }

    /// Returns the members from number `from` up to, but not including, number `end`.
    pub(super) fn between(&self, from: usize, end: usize) -> impl Iterator<Item = i64> + Clone {
        (from..end).map(|n| self.at(n))
    }

    pub(super) fn contains(&self, value: i64) -> bool {
        self.find(value).is_ok()
    }

    /// Returns the number of the member `value`, or as an error the number that it would get.
    fn find(&self, value: i64) -> Result<usize, usize> {
        let Some((width, members)) = self.bytes.split_first() else { return Err(0) };
        match width {
            2 => find::<2>(members, value),
            4 => find::<4>(members, value),
            _ => find::<8>(members, value),
        }
    }

    /// Adds a member; returns whether it is new.
    pub(super) fn add(&mut self, value: i64) -> bool {
        let Err(n) = self.find(value) else { return false };
        let width = self.width();
        if self.bytes.is_empty() || width_of(value) > width {
            self.widen(value);
            return true;
        }
        let mut bytes = std::mem::take(&mut self.bytes).into_vec();
        let (at, len) = (HEAD_LEN + n * width, bytes.len());
        bytes.reserve_exact(width);
        bytes.resize(len + width, 0);
        bytes.copy_within(at..len, at + width);
        bytes[at..at + width].copy_from_slice(&value.to_le_bytes()[..width]);
        self.bytes = bytes.into_boxed_slice();
        true
    }

    /// Adds a member that is wider than all others, and so the smallest or the greatest.
    fn widen(&mut self, value: i64) {
        let (before, after) = if value < 0 { (Some(value), None) } else { (None, Some(value)) };
        let members = before.into_iter().chain(self.between(0, self.len())).chain(after);
        self.bytes = written(width_of(value), self.len() + 1, members);
    }

    /// Removes a member; returns whether it was there.
    pub(super) fn remove(&mut self, value: i64) -> bool {
        let found = self.find(value);
        if let Ok(n) = found {
            self.remove_at(n);
        }
        found.is_ok()
    }

    /// Removes member number `n`.
    pub(super) fn remove_at(&mut self, n: usize) {
        let width = self.width();
        let mut bytes = std::mem::take(&mut self.bytes).into_vec();
        let at = HEAD_LEN + n * width;
        bytes.copy_within(at + width.., at);
        bytes.truncate(bytes.len() - width);
        // No key holds an empty set, so losing the width is never visible.
        if bytes.len() > HEAD_LEN {
            self.bytes = bytes.into_boxed_slice();
        }
    }

    /// Checks the invariants.
    #[cfg(test)]
    pub(super) fn assert_invariants(&self) {
        if let Some((&width, members)) = self.bytes.split_first() {
            assert!([2, 4, 8].contains(&width) && !members.is_empty());
            assert!(members.len().is_multiple_of(width.into()));
        }
        assert!(self.between(0, self.len()).is_sorted_by(|a, b| a < b));
    }
}

/// Returns how many bytes hold `value`: 2, 4 or 8.
fn width_of(value: i64) -> usize {
    if i16::try_from(value).is_ok() {
        2
    } else if i32::try_from(value).is_ok() {
        4
    } else {
        8
    }
}

/// Makes an array of `len` members, which fit `width` bytes.
fn written(width: usize, len: usize, members: impl Iterator<Item = i64>) -> Box<[u8]> {
    let mut bytes = Vec::with_capacity(HEAD_LEN + len * width);
    bytes.push(width as u8);
    members.for_each(|member| bytes.extend_from_slice(&member.to_le_bytes()[..width]));
    bytes.into_boxed_slice()
}

#[inline]
fn read<const WIDTH: usize>(member: &[u8; WIDTH]) -> i64 {
    // The bytes go to the top, so that the arithmetic shift extends the sign.
    let mut bytes = [0; 8];
    bytes[8 - WIDTH..].copy_from_slice(member);
    i64::from_le_bytes(bytes) >> (64 - 8 * WIDTH)
}

fn find<const WIDTH: usize>(members: &[u8], value: i64) -> Result<usize, usize> {
    let (members, _) = members.as_chunks::<WIDTH>();
    // Numbers are often added in ascending order.
    if members.last().is_some_and(|last| read(last) < value) {
        return Err(members.len());
    }
    members.binary_search_by(|member| read(member).cmp(&value))
}
