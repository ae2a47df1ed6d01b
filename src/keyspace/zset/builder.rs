//! Building a sorted set from members in any order.

use super::packed::Packed;
use super::rank_tree::{RankEntry, RankTree};
use super::score::SCORE_LEN_MAX;
use super::{Large, Member, PACK_SIZE_MAX, Repr, Zset, compare};
use crate::keyspace::packed_item::HEAD_LEN_MAX;
use crate::keyspace::{KeyHasher, PackLimits, Table};

/// Collects members with scores and sorts them once at the end: for a set that is computed from
/// others.
#[derive(Debug, Default)]
pub struct ZsetBuilder {
    table: Table<Member>,
    name_len_max: usize,
}

impl ZsetBuilder {
    /// Returns how many members there are so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Returns whether there are none so far.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Adds a member with this score, or replaces its score by what `combine` returns for the
    /// present one. No score may be NaN.
    pub fn put(
        &mut self,
        member: &[u8],
        score: f64,
        hasher: &KeyHasher,
        combine: impl FnOnce(f64) -> f64,
    ) {
        let hash = hasher.hash(member);
        if let Some(at) = self.table.find(member, hash) {
            let member = self.table.at_mut(at);
            member.score = combine(member.score);
        } else {
            self.table.insert(Member { name: member.into(), score }, hash, hasher);
            self.name_len_max = self.name_len_max.max(member.len());
        }
    }

    /// Returns all members with their scores, in order, for a reply that is not stored.
    pub fn in_order(&self) -> impl ExactSizeIterator<Item = (&[u8], f64)> {
        let entries = self.table.entries();
        self.places().into_iter().map(|place| {
            let member = &entries[place as usize];
            (&*member.name, member.score)
        })
    }

    /// Returns the members' table positions, in the members' order.
    fn places(&self) -> Vec<u32> {
        let entries = self.table.entries();
        let mut places: Vec<u32> = (0..entries.len() as u32).collect();
        places.sort_unstable_by(|&a, &b| {
            let (a, b) = (&entries[a as usize], &entries[b as usize]);
            compare(a.score, b.score).then_with(|| a.name.cmp(&b.name))
        });
        places
    }

    /// Returns the sorted set, small if the limits allow.
    #[must_use]
    pub fn finish(self, limits: PackLimits) -> Zset {
        let entries = self.table.entries();
        let size_max =
            entries.len().saturating_mul(self.name_len_max + HEAD_LEN_MAX + SCORE_LEN_MAX);
        let is_small = entries.len() <= limits.entries_max
            && self.name_len_max <= limits.value_len_max
            && size_max <= PACK_SIZE_MAX;
        if is_small {
            let mut packed = Packed::default();
            packed.append(self.in_order());
            return Zset(Repr::Packed(packed));
        }
        let entry = |place: u32| RankEntry { score: entries[place as usize].score, place };
        let order = RankTree::of_sorted(self.places().into_iter().map(entry));
        Zset(Repr::Large(Box::new(Large { table: self.table, order })))
    }
}
