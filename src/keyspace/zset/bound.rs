//! The ends of ranges: ZRANGE by score and by member.

/// One end of a range of scores.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScoreBound {
    /// The score; any but NaN.
    pub score: f64,
    /// Whether the score itself is excluded.
    pub is_exclusive: bool,
}

/// One end of a range of members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LexBound<'m> {
    /// Before all members.
    First,
    /// At this member, included.
    Inclusive(&'m [u8]),
    /// At this member, excluded.
    Exclusive(&'m [u8]),
    /// After all members.
    Last,
}

impl LexBound<'_> {
    /// Returns whether `member` lies before the range that starts here.
    pub(super) fn is_behind(self, member: &[u8]) -> bool {
        match self {
            Self::First => false,
            Self::Inclusive(bound) => member < bound,
            Self::Exclusive(bound) => member <= bound,
            Self::Last => true,
        }
    }

    /// Returns whether `member` does not lie after the range that ends here.
    pub(super) fn is_reached_from(self, member: &[u8]) -> bool {
        match self {
            Self::First => false,
            Self::Inclusive(bound) => member <= bound,
            Self::Exclusive(bound) => member < bound,
            Self::Last => true,
        }
    }
}
