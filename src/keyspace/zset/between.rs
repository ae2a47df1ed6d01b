//! The members whose scores are within a range. Of a member that is passed over only the score is
//! read: its name may be far away in memory.

use super::packed::Entries;
use super::rank_tree::RankIter;
use super::{Member, Repr, Text, Zset};

/// A member's name that has not been read yet.
pub(crate) struct UnreadName<'z>(Unread<'z>);

enum Unread<'z> {
    Read(Text<'z>),
    Stored(&'z Member),
}

impl<'z> UnreadName<'z> {
    /// Reads the name.
    #[must_use]
    pub(crate) fn read(self) -> Text<'z> {
        match self.0 {
            Unread::Read(name) => name,
            Unread::Stored(member) => Text::Bytes(&member.name),
        }
    }
}

/// The iterator of [`Zset::between_scores`].
pub(crate) struct BetweenScores<'z>(Rest<'z>);

enum Rest<'z> {
    /// With the lowest score, and the lowest one behind.
    Packed(Entries<'z>, f64, f64),
    Large(&'z [Member], RankIter<'z>),
}

impl Zset {
    /// Returns the members whose scores are `low` or more and less than `high`, in order.
    pub(crate) fn between_scores(&self, (low, high): (f64, f64)) -> BetweenScores<'_> {
        BetweenScores(match &self.0 {
            Repr::Packed(packed) => Rest::Packed(packed.entries(), low, high),
            Repr::Large(large) => {
                let rank = |end: f64| large.order.rank(|entry| entry.score < end);
                let start = rank(low);
                let ranks = start..rank(high).max(start);
                Rest::Large(large.table.entries(), large.order.range(ranks))
            }
        })
    }
}

impl<'z> Iterator for BetweenScores<'z> {
    type Item = (UnreadName<'z>, f64);

    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.0 {
            Rest::Packed(entries, low, high) => {
                let (name, score) = entries.find(|&(_, score)| score >= *low)?;
                (score < *high).then_some((UnreadName(Unread::Read(name)), score))
            }
            Rest::Large(members, ranked) => {
                let entry = ranked.next()?;
                let member = &members[entry.place as usize];
                Some((UnreadName(Unread::Stored(member)), entry.score))
            }
        }
    }
}
