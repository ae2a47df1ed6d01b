//! A sorted set: members, each once, in the order of their scores.
//!
//! ```text
//! small   Packed            all members in one piece of memory, in order; see packed
//! large   Table<Member>     members with their scores, found by hash, in no order
//!         RankTree          score and table position, in order, with ranks; see rank_tree
//! ```
//!
//! Members with equal scores are ordered by their bytes. A member's name is stored once: the tree
//! holds scores and table positions, and looks a name up only where scores tie. A removal moves the
//! table's last member into the hole, so the tree is updated with its new position.
//!
//! A sorted set starts packed and becomes large when a member is added that is longer, or one more,
//! than [`PackLimits`] allow. It never becomes packed again unless it is stored anew, as in Redis.
//!
//! Why the tree is our own: the maintained crate with ranks (indexset 0.16, measured) compares keys
//! by `Ord`, which sees the key alone, so names would have to be stored twice; beside the table it
//! takes 39 bytes for each of a million members with names of up to 24 bytes. The tree here takes
//! 19 bytes a member, 14 when scores arrive ascending, 26 when descending; with its table a sorted
//! set of 950,000 short members takes 79 bytes for each, and Redis 7.0.15 takes 129. In the same
//! run, pipelined by 16, ZADD of a new or known member cost 4.4 µs of CPU against Redis' 15.0,
//! ZRANK 3.2 against 7.3, kernel included.

mod score;
mod packed;
mod rank_tree;
mod bound;
mod builder;
mod between;

pub(crate) use bound::{LexBound, ScoreBound};
pub(crate) use builder::ZsetBuilder;

use super::packed_item::HEAD_LEN_MAX;
use super::{Blob, INLINE_LEN_MAX, KeyHasher, Keyed, PackLimits, Table, Text};
use packed::{Entries, Found, Packed};
use rank_tree::{RankEntry, RankIter, RankTree};
use score::SCORE_LEN_MAX;
use std::cmp::Ordering;
use std::ops::Range;

/// A pack that would grow beyond this many bytes becomes large, whatever the limits say.
const PACK_SIZE_MAX: usize = 1 << 30;

/// A member of a large set.
#[derive(Clone, Debug)]
struct Member {
    name: Blob,
    score: f64,
}

impl Keyed for Member {
    fn key(&self) -> &[u8] {
        &self.name
    }
}

/// Members by score; see the top of the file.
#[derive(Clone, Debug)]
pub struct Zset(Repr);

#[derive(Clone, Debug)]
enum Repr {
    Packed(Packed),
    Large(Box<Large>),
}

/// The tree has exactly one entry for every member of the table.
#[derive(Clone, Debug, Default)]
struct Large {
    table: Table<Member>,
    order: RankTree,
}

impl Default for Zset {
    fn default() -> Self {
        Self(Repr::Packed(Packed::default()))
    }
}

impl Zset {
    /// Returns the representation as `OBJECT ENCODING` names it.
    #[must_use]
    pub fn encoding(&self) -> &'static str {
        match self.0 {
            Repr::Packed(_) => "listpack",
            Repr::Large(_) => "skiplist",
        }
    }

    /// Returns whether it is packed.
    #[must_use]
    pub fn is_packed(&self) -> bool {
        matches!(self.0, Repr::Packed(_))
    }

    /// Returns the integer that a score is, if it is one and not too large: in a packed sorted set
    /// Redis stores such a score as an integer, which ZSCAN and DUMP show.
    #[must_use]
    pub fn packed_integer(score: f64) -> Option<i64> {
        let is_integer = score.fract() == 0.0 && score.abs() <= (i64::MAX / 2) as f64;
        is_integer.then_some(score as i64)
    }

    /// Returns how many members there are.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.0 {
            Repr::Packed(packed) => packed.len(),
            Repr::Large(large) => large.table.len(),
        }
    }

    /// Returns whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns about how many bytes of memory it takes besides itself.
    #[must_use]
    pub fn memory(&self) -> usize {
        match &self.0 {
            Repr::Packed(packed) => packed.size(),
            Repr::Large(large) => {
                let entries = large.table.entries();
                let apart = |member: &Member| match member.name.len() {
                    0..=INLINE_LEN_MAX => 0,
                    len => len,
                };
                size_of::<Large>()
                    + entries.len() * (size_of::<Member>() + size_of::<u64>())
                    + entries.iter().map(apart).sum::<usize>()
                    + large.order.memory()
            }
        }
    }

    /// Returns the score of a member.
    #[must_use]
    pub fn score(&self, member: &[u8], hasher: &KeyHasher) -> Option<f64> {
        match &self.0 {
            Repr::Packed(packed) => packed.find(member).map(|found| found.score),
            Repr::Large(large) => {
                large.find(member, hasher).map(|at| large.table.entries()[at].score)
            }
        }
    }

    /// Returns how many members come before this one.
    #[must_use]
    pub fn rank(&self, member: &[u8], hasher: &KeyHasher) -> Option<usize> {
        match &self.0 {
            Repr::Packed(packed) => packed.find(member).map(|found| found.rank),
            Repr::Large(large) => {
                let at = large.find(member, hasher)?;
                let compare_old = large.comparator(at);
                Some(large.order.rank(|entry| compare_old(entry).is_lt()))
            }
        }
    }

    /// Calls `decide` with the score of a member, `None` if it is missing, and sets the score that
    /// it returns, if any; it must not be NaN. A missing member is added.
    pub fn update(
        &mut self,
        member: &[u8],
        limits: PackLimits,
        hasher: &KeyHasher,
        decide: impl FnOnce(Option<f64>) -> Option<f64>,
    ) {
        if let Repr::Packed(packed) = &mut self.0 {
            let found = packed.find(member);
            let old = found.as_ref().map(|found| found.score);
            let Some(new) = decide(old) else { return };
            if let Some(found) = found {
                if found.score != new {
                    packed.rescore(&found, member, new);
                }
                return;
            }
            let fits = member.len() <= limits.value_len_max
                && packed.len() < limits.entries_max
                && packed.size() + member.len() + HEAD_LEN_MAX + SCORE_LEN_MAX <= PACK_SIZE_MAX;
            if fits {
                packed.insert(member, new);
            } else {
                let hash = hasher.hash(member);
                self.unpack(hasher).insert(member, new, hash, hasher);
            }
            return;
        }
        let (large, hash) = (self.unpack(hasher), hasher.hash(member));
        match large.table.find(member, hash) {
            Some(at) => {
                let old = large.table.entries()[at].score;
                if let Some(new) = decide(Some(old)).filter(|&new| new != old) {
                    large.rescore(at, new);
                }
            }
            None => {
                if let Some(new) = decide(None) {
                    large.insert(member, new, hash, hasher);
                }
            }
        }
    }

    /// Sets the score of a member, which must not be NaN; returns whether the member is new.
    pub fn set(
        &mut self,
        member: &[u8],
        score: f64,
        limits: PackLimits,
        hasher: &KeyHasher,
    ) -> bool {
        let mut is_new = false;
        self.update(member, limits, hasher, |old| {
            is_new = old.is_none();
            Some(score)
        });
        is_new
    }

    /// Removes a member; returns whether it was there.
    pub fn remove(&mut self, member: &[u8], hasher: &KeyHasher) -> bool {
        match &mut self.0 {
            Repr::Packed(packed) => {
                let found = packed.find(member);
                found.map(|found: Found| packed.remove(&found)).is_some()
            }
            Repr::Large(large) => {
                let found = large.find(member, hasher);
                found.map(|at| large.remove(at, hasher)).is_some()
            }
        }
    }

    /// Removes the members of these ranks, which must exist; calls `each` after each one.
    pub fn remove_ranks(
        &mut self,
        ranks: Range<usize>,
        hasher: &KeyHasher,
        mut each: impl FnMut(),
    ) {
        match &mut self.0 {
            Repr::Packed(packed) => packed.remove_ranks(ranks),
            Repr::Large(large) => {
                for _ in ranks.clone() {
                    let place = large.order.at(ranks.start).place;
                    large.remove(place as usize, hasher);
                    each();
                }
            }
        }
    }

    /// Returns the ranks of the members whose scores are from `min` to `max`.
    #[must_use]
    pub fn ranks_by_score(&self, min: ScoreBound, max: ScoreBound) -> Range<usize> {
        let is_below = |score| score < min.score || (min.is_exclusive && score == min.score);
        let is_within = |score| score < max.score || (!max.is_exclusive && score == max.score);
        let (start, end) = match &self.0 {
            Repr::Packed(packed) => {
                let start = packed.entries().take_while(|&(_, score)| is_below(score)).count();
                (start, packed.entries().take_while(|&(_, score)| is_within(score)).count())
            }
            Repr::Large(large) => (
                large.order.rank(|entry| is_below(entry.score)),
                large.order.rank(|entry| is_within(entry.score)),
            ),
        };
        start..end.max(start)
    }

    /// Returns the ranks of the members from `min` to `max`, in a set whose members all have equal
    /// scores. With other scores the result is unspecified, but equals that of Redis while the set
    /// is packed: the first run of members within the range, or the last one with `from_end`.
    #[must_use]
    pub fn ranks_by_lex(
        &self,
        min: LexBound<'_>,
        max: LexBound<'_>,
        from_end: bool,
    ) -> Range<usize> {
        let is_nothing = match (min, max) {
            (LexBound::Last, _) | (_, LexBound::First) => true,
            (LexBound::Inclusive(min), LexBound::Inclusive(max)) => min > max,
            (
                LexBound::Inclusive(min) | LexBound::Exclusive(min),
                LexBound::Inclusive(max) | LexBound::Exclusive(max),
            ) => min >= max,
            _ => false,
        };
        if is_nothing {
            return 0..0;
        }
        match &self.0 {
            Repr::Large(large) => {
                let name = |entry: RankEntry| &*large.table.entries()[entry.place as usize].name;
                let start = large.order.rank(|entry| min.is_behind(name(entry)));
                let end = large.order.rank(|entry| max.is_reached_from(name(entry)));
                start..end.max(start)
            }
            Repr::Packed(packed) => {
                let names: Vec<Text<'_>> = packed.entries().map(|(name, _)| name).collect();
                let (Some(first), Some(last)) = (names.first(), names.last()) else { return 0..0 };
                if min.is_behind(last) || !max.is_reached_from(first) {
                    return 0..0;
                }
                let is_at_least = |name: &Text<'_>| !min.is_behind(name);
                let is_at_most = |name: &Text<'_>| max.is_reached_from(name);
                if from_end {
                    let end = names.iter().rposition(is_at_most).map_or(0, |last| last + 1);
                    end - names[..end].iter().rev().take_while(|n| is_at_least(n)).count()..end
                } else {
                    let start = names.iter().position(is_at_least).unwrap_or(names.len());
                    start..start + names[start..].iter().take_while(|n| is_at_most(n)).count()
                }
            }
        }
    }

    /// Returns the members of these ranks, which must exist, with their scores; in descending order
    /// if `backwards`.
    #[must_use]
    pub fn range(&self, ranks: Range<usize>, backwards: bool) -> Members<'_> {
        Members(match &self.0 {
            Repr::Packed(packed) => {
                let mut entries = packed.entries();
                entries.pass(ranks.start);
                if backwards {
                    Rest::Back(entries.take(ranks.len()).collect())
                } else {
                    Rest::Packed(entries.take(ranks.len()))
                }
            }
            Repr::Large(large) => {
                Rest::Large(large.table.entries(), large.order.range(ranks), backwards)
            }
        })
    }

    /// Returns all members with their scores, in order.
    #[must_use]
    pub fn members(&self) -> Members<'_> {
        self.range(0..self.len(), false)
    }

    /// Returns the members in no particular order, for access by index.
    #[must_use]
    pub fn indexed(&self) -> Indexed<'_> {
        Indexed(match &self.0 {
            Repr::Packed(packed) => Line::Packed(packed.entries().collect()),
            Repr::Large(large) => Line::Large(large.table.entries()),
        })
    }

    /// Returns the page of a scan that starts at `cursor`, about `count` members long, and the
    /// cursor of the page after it; both start and end are 0. A small set is one page.
    #[must_use]
    pub fn page(
        &self,
        cursor: u64,
        count: usize,
        hasher: &KeyHasher,
    ) -> (Vec<(Text<'_>, f64)>, u64) {
        let Repr::Large(large) = &self.0 else { return (self.members().collect(), 0) };
        let (members, next) = large.table.page(cursor, count, hasher);
        let pairs = members.into_iter().map(|member| (Text::Bytes(&member.name), member.score));
        (pairs.collect(), next)
    }

    /// Returns the large form, converting a packed set first.
    fn unpack(&mut self, hasher: &KeyHasher) -> &mut Large {
        if let Repr::Packed(packed) = &self.0 {
            let mut large = Box::<Large>::default();
            for (name, score) in packed.entries() {
                let hash = hasher.hash(&name);
                large.table.insert(Member { name: (&*name).into(), score }, hash, hasher);
            }
            let ranked = large.table.entries().iter().zip(0..);
            large.order = RankTree::of_sorted(
                ranked.map(|(member, place)| RankEntry { score: member.score, place }),
            );
            self.0 = Repr::Large(large);
        }
        match &mut self.0 {
            Repr::Large(large) => large,
            Repr::Packed(_) => unreachable!("the pack has just become large"),
        }
    }

    /// Checks the invariants.
    #[cfg(test)]
    pub(crate) fn assert_invariants(&self, hasher: &KeyHasher) {
        match &self.0 {
            Repr::Packed(packed) => packed.assert_invariants(),
            Repr::Large(large) => {
                large.table.assert_invariants(hasher);
                let entries = large.table.entries();
                large.order.assert_invariants(|a, b| {
                    let name = |entry: RankEntry| &entries[entry.place as usize].name;
                    a.score < b.score || (a.score == b.score && name(a) < name(b))
                });
                assert_eq!(large.order.len(), entries.len());
                for entry in large.order.range(0..entries.len()) {
                    let score = entries[entry.place as usize].score;
                    assert_eq!(entry.score.to_bits(), score.to_bits());
                }
            }
        }
    }
}

/// Compares scores, which are never NaN; -0 and 0 are equal.
fn compare(a: f64, b: f64) -> Ordering {
    a.partial_cmp(&b).unwrap_or(Ordering::Equal)
}

/// Returns a comparison of entries with a member of this score and name; `names` is the table.
fn against<'t>(
    names: &'t [Member],
    score: f64,
    name: &'t [u8],
) -> impl Fn(RankEntry) -> Ordering + 't {
    move |entry| {
        compare(entry.score, score).then_with(|| (*names[entry.place as usize].name).cmp(name))
    }
}

impl Large {
    fn find(&self, member: &[u8], hasher: &KeyHasher) -> Option<usize> {
        self.table.find(member, hasher.hash(member))
    }

    /// Returns a comparison of entries with the member at this position.
    fn comparator(&self, at: usize) -> impl Fn(RankEntry) -> Ordering + '_ {
        let entries = self.table.entries();
        against(entries, entries[at].score, &entries[at].name)
    }

    fn insert(&mut self, name: &[u8], score: f64, hash: u32, hasher: &KeyHasher) {
        let at = self.table.insert(Member { name: name.into(), score }, hash, hasher);
        let entry = RankEntry { score, place: at as u32 };
        self.order.insert(entry, against(self.table.entries(), score, name));
    }

    fn rescore(&mut self, at: usize, score: f64) {
        let Self { table, order } = self;
        {
            let entries = table.entries();
            let Member { name, score: old } = &entries[at];
            let compare_old = against(entries, *old, name);
            let compare_new = against(entries, score, name);
            if !order.rescore(&compare_old, score, &compare_new) {
                order.remove(compare_old);
                order.insert(RankEntry { score, place: at as u32 }, compare_new);
            }
        }
        table.at_mut(at).score = score;
    }

    fn remove(&mut self, at: usize, hasher: &KeyHasher) {
        let Self { table, order } = self;
        let entries = table.entries();
        let last = entries.len() - 1;
        order.remove(against(entries, entries[at].score, &entries[at].name));
        if last != at {
            let moving = &entries[last];
            order.repoint(against(entries, moving.score, &moving.name), at as u32);
        }
        table.remove(at, hasher);
    }
}

/// The iterator of [`Zset::range`] and [`Zset::members`].
pub struct Members<'z>(Rest<'z>);

enum Rest<'z> {
    Packed(std::iter::Take<Entries<'z>>),
    /// In descending order.
    Back(Vec<(Text<'z>, f64)>),
    Large(&'z [Member], RankIter<'z>, bool),
}

impl<'z> Iterator for Members<'z> {
    type Item = (Text<'z>, f64);

    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.0 {
            Rest::Packed(entries) => entries.next(),
            Rest::Back(entries) => entries.pop(),
            Rest::Large(entries, ranked, backwards) => {
                let entry = if *backwards { ranked.next_back() } else { ranked.next() }?;
                Some((Text::Bytes(&entries[entry.place as usize].name), entry.score))
            }
        }
    }
}

/// Members by index, as [`Zset::indexed`] returns them.
pub struct Indexed<'z>(Line<'z>);

enum Line<'z> {
    Packed(Vec<(Text<'z>, f64)>),
    Large(&'z [Member]),
}

impl Indexed<'_> {
    /// Returns member number `n` and its score.
    ///
    /// # Panics
    /// If there are fewer members.
    #[must_use]
    pub fn at(&self, n: usize) -> (&[u8], f64) {
        match &self.0 {
            Line::Packed(entries) => (&entries[n].0, entries[n].1),
            Line::Large(entries) => (&entries[n].name, entries[n].score),
        }
    }
}

#[cfg(test)]
mod tests;
