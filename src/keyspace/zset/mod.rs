//! A sorted set: members that are each there once, in the order of their scores.
//!
//! ```text
//! small   Packed            all members in one piece of memory, in order; see packed
//! large   Table<Member>     members with their scores, found by hash, in no order
//!         RankTree             score and place in the table, in order, with ranks; see order
//! ```
//!
//! Members of one score stand in the order of their bytes. A member's name is stored once: the order
//! holds scores and places, and looks a name up only where scores tie. The table moves its last
//! member into the hole that a removal leaves, so the order is told of the new place.
//!
//! A sorted set starts small and becomes large when a member is added that is longer, or one more,
//! than [`PackLimits`] allow. It never becomes small again but by being stored anew, as in Redis.
//!
//! Why the order is our own: the maintained crate that knows ranks (indexset 0.16, measured) compares
//! keys by `Ord`, which sees the key alone, so that names would have to be stored twice. Beside the
//! table it takes 39 bytes for each of a million members with names of up to 24 bytes. The tree here
//! takes 19 bytes a member, 14 when scores ascend as they arrive, 26 when they descend; with its table
//! a sorted set of 950,000 short members takes 79 bytes for each, and Redis 7.0.15 takes 129. In the
//! same run, pipelined by 16, ZADD of a new or known member cost 4.4 µs of CPU to Redis' 15.0, ZRANK
//! 3.2 to 7.3, kernel and all.

mod score;
mod packed;
mod rank_tree;

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

/// One end of a range of scores.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScoreBound {
    /// The score; any but NaN.
    pub score: f64,
    /// Whether the score itself is outside.
    pub is_exclusive: bool,
}

/// One end of a range of members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LexBound<'m> {
    /// Before all members.
    First,
    /// At this member, which is inside.
    Inclusive(&'m [u8]),
    /// At this member, which is outside.
    Exclusive(&'m [u8]),
    /// Behind all members.
    Last,
}

impl LexBound<'_> {
    /// Whether `member` is before the range that starts here.
    fn is_behind(self, member: &[u8]) -> bool {
        match self {
            Self::First => false,
            Self::Inclusive(bound) => member < bound,
            Self::Exclusive(bound) => member <= bound,
            Self::Last => true,
        }
    }

    /// Whether `member` is not behind the range that ends here.
    fn is_reached_from(self, member: &[u8]) -> bool {
        match self {
            Self::First => false,
            Self::Inclusive(bound) => member <= bound,
            Self::Exclusive(bound) => member < bound,
            Self::Last => true,
        }
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

/// The entry of every member of the table is in the order, once, and no other is.
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
    /// The representation as `OBJECT ENCODING` names it.
    #[must_use]
    pub fn encoding(&self) -> &'static str {
        match self.0 {
            Repr::Packed(_) => "listpack",
            Repr::Large(_) => "skiplist",
        }
    }

    /// Whether it is packed.
    #[must_use]
    pub fn is_packed(&self) -> bool {
        matches!(self.0, Repr::Packed(_))
    }

    /// The integer that a score is, if it is one and not too large: Redis keeps it so in a small
    /// sorted set, which ZSCAN and DUMP show.
    #[must_use]
    pub fn packed_integer(score: f64) -> Option<i64> {
        let is_integer = score.fract() == 0.0 && score.abs() <= (i64::MAX / 2) as f64;
        is_integer.then_some(score as i64)
    }

    /// How many members there are.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.0 {
            Repr::Packed(packed) => packed.len(),
            Repr::Large(large) => large.table.len(),
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// About how many bytes of memory it takes besides itself.
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

    /// The score of a member.
    #[must_use]
    pub fn score(&self, member: &[u8], hasher: &KeyHasher) -> Option<f64> {
        match &self.0 {
            Repr::Packed(packed) => packed.find(member).map(|found| found.score),
            Repr::Large(large) => {
                large.find(member, hasher).map(|at| large.table.entries()[at].score)
            }
        }
    }

    /// How many members stand before this one.
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

    /// Shows `decide` the score of a member, `None` if it is not there, and gives the member the
    /// score that comes back, if one does; it must not be NaN. A member that is not there is added.
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

    /// Gives a member a score, which must not be NaN; says whether the member is new.
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

    /// Removes a member; says whether it was there.
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

    /// Removes the members of these ranks, which must be there; calls `each` after each one.
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

    /// The ranks of the members whose scores are from `min` to `max`.
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

    /// The ranks of the members from `min` to `max`, in a set whose members all have one score. Of
    /// others the answer means nothing, but is that of Redis while the set is small: the first run
    /// of members within the range, or the last one if they are sought from the end.
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

    /// The members of these ranks, which must be there, with their scores; from the last to the first
    /// if they are wanted `backwards`.
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

    /// All members with their scores, in order.
    #[must_use]
    pub fn members(&self) -> Members<'_> {
        self.range(0..self.len(), false)
    }

    /// The members by number, in no order of note, for a caller that wants many here and there.
    #[must_use]
    pub fn indexed(&self) -> Indexed<'_> {
        Indexed(match &self.0 {
            Repr::Packed(packed) => Line::Packed(packed.entries().collect()),
            Repr::Large(large) => Line::Large(large.table.entries()),
        })
    }

    /// The page of a scan that starts at `cursor`, about `count` members long, and the cursor of the
    /// page after it; both start and end are 0. A small set is one page.
    ///
    /// A large set is walked from its table's last place down: as removals only ever move the last
    /// member to a lower place, whatever stays during a scan is met at least once.
    #[must_use]
    pub fn page(&self, cursor: u64, count: usize) -> (Members<'_>, u64) {
        let Repr::Large(large) = &self.0 else { return (self.members(), 0) };
        let entries = large.table.entries();
        let end = match usize::try_from(cursor) {
            Ok(cursor @ 1..) if cursor < entries.len() => cursor,
            _ => entries.len(),
        };
        let start = end.saturating_sub(count);
        (Members(Rest::Table(entries[start..end].iter())), start as u64)
    }

    /// The large form, made from the small one if that is what there was.
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

    /// Checks what the comments promise.
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

/// Collects members and their scores, and then puts them in order all at once: for a set that is
/// computed from others.
#[derive(Debug, Default)]
pub struct ZsetBuilder {
    table: Table<Member>,
    name_len_max: usize,
}

impl ZsetBuilder {
    /// How many members there are so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there are none so far.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Adds a member with this score, or gives it what `combine` makes of the score that it has. No
    /// score may be NaN.
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

    /// All members with their scores, in order: for an answer that is not kept.
    pub fn in_order(&self) -> impl ExactSizeIterator<Item = (&[u8], f64)> {
        let entries = self.table.entries();
        self.places().into_iter().map(|place| {
            let member = &entries[place as usize];
            (&*member.name, member.score)
        })
    }

    /// The members' places in the table, in the members' order.
    fn places(&self) -> Vec<u32> {
        let entries = self.table.entries();
        let mut places: Vec<u32> = (0..entries.len() as u32).collect();
        places.sort_unstable_by(|&a, &b| {
            let (a, b) = (&entries[a as usize], &entries[b as usize]);
            compare(a.score, b.score).then_with(|| a.name.cmp(&b.name))
        });
        places
    }

    /// The sorted set, small if the limits allow.
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

/// Scores are never NaN, so this is their total order; -0 and 0 are equal.
fn compare(a: f64, b: f64) -> Ordering {
    a.partial_cmp(&b).unwrap_or(Ordering::Equal)
}

/// Where ranked stand against a member of this score and name, which `names` are those of the table.
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

    /// Where ranked stand against the member at this place.
    fn comparator(&self, at: usize) -> impl Fn(RankEntry) -> Ordering + '_ {
        let entries = self.table.entries();
        against(entries, entries[at].score, &entries[at].name)
    }

    fn insert(&mut self, name: &[u8], score: f64, hash: u64, hasher: &KeyHasher) {
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

/// Members with their scores, one after the other: what [`Zset::range`] and [`Zset::page`] give.
pub struct Members<'z>(Rest<'z>);

enum Rest<'z> {
    Packed(std::iter::Take<Entries<'z>>),
    /// From the last to the first.
    Back(Vec<(Text<'z>, f64)>),
    Large(&'z [Member], RankIter<'z>, bool),
    Table(std::slice::Iter<'z, Member>),
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
            Rest::Table(members) => {
                members.next().map(|member| (Text::Bytes(&member.name), member.score))
            }
        }
    }
}

/// Members by number: what [`Zset::numbered`] gives.
pub struct Indexed<'z>(Line<'z>);

enum Line<'z> {
    Packed(Vec<(Text<'z>, f64)>),
    Large(&'z [Member]),
}

impl Indexed<'_> {
    /// Member number `n` and its score.
    ///
    /// # Panics
    /// If there are not that many.
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
