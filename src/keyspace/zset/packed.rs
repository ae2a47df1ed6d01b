//! A small sorted set in one piece of memory, which costs less than the pointers of a tree would.
//!
//! ```text
//! pack   count: u32 | member | score | member | score | …      in the order of the set
//!                     │        └─ see score.rs
//!                     └─ an item, see packed_item.rs
//! ```
//!
//! A pack has no spare capacity: the allocator's size classes, an eighth apart, are the room to
//! grow.

use super::score::{PackedScore, score_len, score_of};
use crate::keyspace::Text;
use crate::keyspace::packed_item::{Item, item_len, text_of};
use std::ops::Range;

/// Bytes of the count at the front, little-endian.
const COUNT_LEN: usize = size_of::<u32>();

/// Members with their scores in order; no member twice.
#[derive(Clone, Debug, Default)]
pub(super) struct Packed {
    /// As in the picture; empty while there are no members.
    pack: Box<[u8]>,
}

/// A member that was found.
pub(super) struct Found {
    /// Its rank.
    pub(super) rank: usize,
    pub(super) score: f64,
    /// Its bytes in the pack, with the score.
    at: Range<usize>,
}

impl Packed {
    pub(super) fn len(&self) -> usize {
        self.pack.first_chunk().map_or(0, |count| u32::from_le_bytes(*count) as usize)
    }

    /// Returns how many bytes the pack takes.
    pub(super) fn size(&self) -> usize {
        self.pack.len()
    }

    /// Finds a member; the first and the last byte are compared before all are.
    pub(super) fn find(&self, member: &[u8]) -> Option<Found> {
        let member = Item::of(member);
        let (first, last) = (member.first(), member.last());
        let (mut at, mut rank) = (COUNT_LEN, 0);
        while at < self.pack.len() {
            let score = at + item_len(&self.pack[at..]);
            let end = score + score_len(&self.pack[score..]);
            if self.pack[at] == first
                && self.pack[score - 1] == last
                && member.is(&self.pack[at..score])
            {
                return Some(Found { rank, score: score_of(&self.pack[score..end]), at: at..end });
            }
            at = end;
            rank += 1;
        }
        None
    }

    /// Inserts a member that does not exist yet.
    pub(super) fn insert(&mut self, member: &[u8], score: f64) {
        let pack = std::mem::take(&mut self.pack).into_vec();
        self.put(pack, member, score, 1);
    }

    /// Fills an empty pack with members in order.
    pub(super) fn append<'m>(&mut self, members: impl Iterator<Item = (&'m [u8], f64)>) {
        debug_assert!(self.pack.is_empty());
        let (mut pack, mut count) = (vec![0; COUNT_LEN], 0);
        for (member, score) in members {
            Item::of(member).append_to(&mut pack);
            pack.extend_from_slice(PackedScore::of(score).bytes());
            count += 1;
        }
        if count > 0 {
            self.put_back(pack, count);
        }
    }

    /// Changes the score of a found member.
    pub(super) fn rescore(&mut self, found: &Found, member: &[u8], score: f64) {
        let mut pack = std::mem::take(&mut self.pack).into_vec();
        pack.drain(found.at.clone());
        self.put(pack, member, score, 0);
    }

    /// Removes a found member.
    pub(super) fn remove(&mut self, found: &Found) {
        self.cut(found.at.clone(), 1);
    }

    /// Removes the members of these ranks, which must exist.
    pub(super) fn remove_ranks(&mut self, ranks: Range<usize>) {
        let offset = |entries: &Entries<'_>| self.pack.len() - entries.rest.len();
        let mut entries = self.entries();
        entries.pass(ranks.start);
        let start = offset(&entries);
        entries.pass(ranks.len());
        let end = offset(&entries);
        self.cut(start..end, ranks.len());
    }

    pub(super) fn entries(&self) -> Entries<'_> {
        Entries { rest: self.pack.get(COUNT_LEN..).unwrap_or_default() }
    }

    fn cut(&mut self, bytes: Range<usize>, members: usize) {
        if members == self.len() {
            self.pack = Box::default();
            return;
        }
        let mut pack = std::mem::take(&mut self.pack).into_vec();
        pack.drain(bytes);
        self.put_back(pack, -(members as i32));
    }

    /// Inserts a member into `pack`, whose count is still the old one, at its position in the
    /// order.
    fn put(&mut self, mut pack: Vec<u8>, member: &[u8], score: f64, change: i32) {
        let (item, packed) = (Item::of(member), PackedScore::of(score));
        let old_len = pack.len().max(COUNT_LEN);
        let new = item.len() + packed.bytes().len();
        pack.reserve_exact(old_len - pack.len() + new);
        pack.resize(old_len, 0);
        let mut entries = Entries { rest: &pack[COUNT_LEN..] };
        let mut at = COUNT_LEN;
        while let Some((other, other_score)) = entries.entry() {
            let is_before =
                other_score < score || (other_score == score && *text_of(other) < *member);
            if !is_before {
                break;
            }
            at = old_len - entries.rest.len();
        }
        pack.resize(old_len + new, 0);
        pack.copy_within(at..old_len, at + new);
        item.write_to(&mut pack[at..at + item.len()]);
        pack[at + item.len()..at + new].copy_from_slice(packed.bytes());
        self.put_back(pack, change);
    }

    /// Stores the changed pack after adding `change` to its count.
    fn put_back(&mut self, mut pack: Vec<u8>, change: i32) {
        if let Some(count) = pack.first_chunk_mut() {
            *count = u32::from_le_bytes(*count).wrapping_add_signed(change).to_le_bytes();
        }
        self.pack = pack.into_boxed_slice();
    }

    /// Checks the invariants.
    #[cfg(test)]
    pub(super) fn assert_invariants(&self) {
        let mut names = std::collections::HashSet::new();
        let all: Vec<(Vec<u8>, f64)> =
            self.entries().map(|(text, score)| (text.to_vec(), score)).collect();
        assert_eq!(all.len(), self.len());
        assert!(all.iter().all(|(name, _)| names.insert(name)));
        assert!(all.windows(2).all(|w| w[0].1 < w[1].1 || (w[0].1 == w[1].1 && w[0].0 < w[1].0)));
    }
}

/// The members of a pack with their scores, in order.
#[derive(Clone)]
pub(super) struct Entries<'p> {
    /// The rest of the pack; starts with a member.
    rest: &'p [u8],
}

impl<'p> Entries<'p> {
    /// Returns the next member's item and its score.
    fn entry(&mut self) -> Option<(&'p [u8], f64)> {
        if self.rest.is_empty() {
            return None;
        }
        let (item, rest) = self.rest.split_at(item_len(self.rest));
        let (score, rest) = rest.split_at(score_len(rest));
        self.rest = rest;
        Some((item, score_of(score)))
    }

    /// Skips `n` members, which must exist, without decoding.
    pub(super) fn pass(&mut self, n: usize) {
        for _ in 0..n {
            let score = &self.rest[item_len(self.rest)..];
            self.rest = &score[score_len(score)..];
        }
    }
}

impl<'p> Iterator for Entries<'p> {
    type Item = (Text<'p>, f64);

    fn next(&mut self) -> Option<Self::Item> {
        self.entry().map(|(item, score)| (text_of(item), score))
    }
}
