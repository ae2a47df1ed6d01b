//! The id of an entry: a time, and a number among the entries of that time.

/// An id; ids are ordered by time, then by number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId {
    /// Milliseconds, usually since the epoch.
    pub ms: u64,
    /// The number among the entries of that millisecond.
    pub seq: u64,
}

impl StreamId {
    /// The least id, which no entry has.
    pub const MIN: Self = Self { ms: 0, seq: 0 };
    /// The greatest id.
    pub const MAX: Self = Self { ms: u64::MAX, seq: u64::MAX };

    /// Returns the id after this one; `None` after the greatest.
    #[must_use]
    pub fn next(self) -> Option<Self> {
        match (self.ms.checked_add(1), self.seq.checked_add(1)) {
            (_, Some(seq)) => Some(Self { seq, ..self }),
            (Some(ms), None) => Some(Self { ms, seq: 0 }),
            (None, None) => None,
        }
    }

    /// Returns the id before this one; `None` before the least.
    #[must_use]
    pub fn previous(self) -> Option<Self> {
        match (self.ms.checked_sub(1), self.seq.checked_sub(1)) {
            (_, Some(seq)) => Some(Self { seq, ..self }),
            (Some(ms), None) => Some(Self { ms, seq: u64::MAX }),
            (None, None) => None,
        }
    }

    /// Returns the id of which `self` is the base and `(ms, seq)` the difference, as a node stores it.
    #[must_use]
    pub(super) fn plus(self, ms: i64, seq: i64) -> Self {
        Self { ms: self.ms.wrapping_add(ms as u64), seq: self.seq.wrapping_add(seq as u64) }
    }

    /// Returns the difference to `base`, as a node stores it.
    #[must_use]
    pub(super) fn minus(self, base: Self) -> (i64, i64) {
        (self.ms.wrapping_sub(base.ms) as i64, self.seq.wrapping_sub(base.seq) as i64)
    }
}
