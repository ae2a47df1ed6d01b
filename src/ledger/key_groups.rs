//! Groups of keys that commands, transactions and WATCHes use together, so that they have to share a
//! slot.
//!
//! ```text
//! sets of keys          kinds of sets                 groups
//! {a:1, b:1} {b:2, c:2}  {a:<int>, b:<int>}  512      a:<int> ─ b:<int> ─ c:<int>
//! {d, e} …               {b:<int>, c:<int>}   31      d ─ e
//! ```
//!
//! A kind of set keeps a sample of its sets; patterns that occur in one set, directly or by way of
//! others, are a group. From its sets follow the hashtag for a group, and its price.

use super::hashtag::{self, Pair, Set, Tag};
use super::key_stats::KeyStats;
use super::lru::LruTable;
use super::pattern::pattern;
use crate::slot::{SLOTS, Slot};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Kinds of sets that are kept.
pub const KINDS_MAX: usize = 1024;
/// Sets of each kind that are kept.
pub const SETS_MAX: usize = 16;
/// Keys of a set that are kept: the first ones.
pub const SET_KEYS_MAX: usize = 16;
/// Sets of a group from which its hashtag is derived.
pub const GROUP_SETS_MAX: usize = 128;

/// What is kept of one kind of set.
#[derive(Clone, Debug, Default)]
struct SetKind {
    count: u64,
    /// How many of them cross slots.
    crossing: u64,
    /// A sample: each set was equally likely to be kept.
    sets: Vec<Vec<Box<[u8]>>>,
}

/// Kinds of sets, each with its patterns.
type SetKinds<'a> = Vec<(&'a Vec<Arc<str>>, &'a SetKind)>;

/// The kinds of sets of keys that are used together.
#[derive(Clone, Debug)]
pub struct KeyGroups {
    kinds: LruTable<Vec<Arc<str>>, SetKind>,
    chance: fastrand::Rng,
}

impl Default for KeyGroups {
    fn default() -> Self {
        Self { kinds: LruTable::new(KINDS_MAX), chance: fastrand::Rng::with_seed(0) }
    }
}

/// Patterns whose keys are used together.
#[derive(Clone, Debug)]
pub struct Group {
    /// The patterns, sorted.
    pub patterns: Vec<Arc<str>>,
    /// How often keys of them were used together.
    pub count: u64,
    /// How often those were in different slots.
    pub crossing: u64,
    /// A key of each pattern.
    pub examples: Vec<Vec<u8>>,
    /// What the group needs.
    pub verdict: Verdict,
}

/// What a group needs to be in one slot wherever its keys are used together.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// Nothing: every set was in one slot.
    Fits,
    /// This hashtag puts every set that was seen into one slot.
    Tag(Tag),
    /// No hashtag does. These pairs have nothing in common; none if only all together have not.
    Apart(Vec<Pair>),
}

/// The effect of a hashtag on the distribution of the keys, or of their uses: shares from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Share {
    /// The group's fullest slot, with the tag.
    pub slot: f64,
    /// The fullest slot now.
    pub slot_now: f64,
    /// The busiest shard's, with the tag.
    pub shard: f64,
    /// The busiest shard's now.
    pub shard_now: f64,
}

impl KeyGroups {
    /// Enters keys that were used together. Fewer than two are ignored.
    pub fn enter(&mut self, keys: &[&[u8]]) {
        self.enter_times(keys, 1);
    }

    /// Enters keys that were used together `times` times, at least once.
    pub fn enter_times(&mut self, keys: &[&[u8]], times: u64) {
        if keys.len() < 2 {
            return;
        }
        let different: BTreeSet<&[u8]> = keys.iter().take(SET_KEYS_MAX).copied().collect();
        if different.len() < 2 {
            return;
        }
        let patterns: BTreeSet<String> = different.iter().map(|key| pattern(key)).collect();
        let kind: Vec<Arc<str>> = patterns.into_iter().map(Arc::from).collect();
        let sort = self.kinds.row(&kind, || kind.clone(), SetKind::default);
        sort.count += times;
        let first = Slot::of(keys[0]);
        let crosses = keys.iter().any(|key| Slot::of(key) != first);
        sort.crossing += if crosses { times } else { 0 };
        let place = match usize::try_from(self.chance.u64(..sort.count) / times) {
            _ if sort.sets.len() < SETS_MAX => {
                sort.sets.push(Vec::new());
                sort.sets.len() - 1
            }
            Ok(at) => at,
            Err(_) => return,
        };
        if let Some(set) = sort.sets.get_mut(place) {
            *set = different.into_iter().map(Box::from).collect();
        }
    }

    /// Returns how many kinds of sets made room for others.
    #[must_use]
    pub fn forgotten(&self) -> u64 {
        self.kinds.forgotten()
    }

    /// Returns the groups: those that cross slots most often first.
    #[must_use]
    pub fn groups(&self) -> Vec<Group> {
        let mut kinds: SetKinds<'_> = self.kinds.iter().collect();
        kinds.sort_by_key(|(kind, _)| *kind);
        let mut union = Union::default();
        for (kind, _) in &kinds {
            for pattern in *kind {
                union.join(&kind[0], pattern);
            }
        }
        let mut members: BTreeMap<usize, SetKinds<'_>> = BTreeMap::new();
        for (kind, sort) in kinds {
            members.entry(union.root_of(&kind[0])).or_default().push((kind, sort));
        }
        let mut groups: Vec<Group> = members.into_values().map(|kinds| group(&kinds)).collect();
        groups.sort_by(|a, b| {
            (b.crossing, b.count)
                .cmp(&(a.crossing, a.count))
                .then_with(|| a.patterns.cmp(&b.patterns))
        });
        groups
    }
}

fn group(kinds: &[(&Vec<Arc<str>>, &SetKind)]) -> Group {
    let patterns: BTreeSet<&Arc<str>> = kinds.iter().flat_map(|(kind, _)| kind.iter()).collect();
    let patterns: Vec<Arc<str>> = patterns.into_iter().map(Arc::clone).collect();
    let number = |key: &[u8]| {
        let text = pattern(key);
        patterns.binary_search_by(|pattern| (**pattern).cmp(&text)).expect("of the group")
    };
    // A set of every kind before the second set of any.
    let rounds = (0..SETS_MAX).flat_map(|at| kinds.iter().filter_map(move |(_, s)| s.sets.get(at)));
    let sets: Vec<Set> = rounds
        .take(GROUP_SETS_MAX)
        .map(|set| set.iter().map(|key| (number(key), key.to_vec())).collect())
        .collect();
    let examples = (0..patterns.len()).map(|of| {
        let key = sets.iter().flatten().find(|(other, _)| *other == of);
        key.map_or_else(Vec::new, |(_, key)| key.clone())
    });
    let crossing = kinds.iter().map(|(_, sort)| sort.crossing).sum();
    let verdict = if crossing == 0 {
        Verdict::Fits
    } else {
        match hashtag::find(&patterns, &sets) {
            Ok(tag) => Verdict::Tag(tag),
            Err(pairs) => Verdict::Apart(pairs),
        }
    };
    Group {
        examples: examples.collect(),
        count: kinds.iter().map(|(_, sort)| sort.count).sum(),
        crossing,
        patterns,
        verdict,
    }
}

impl Group {
    /// Returns the number of a key's pattern in the group, if it is one of the group's.
    #[must_use]
    pub fn number(&self, key: &[u8]) -> Option<usize> {
        let text = pattern(key);
        self.patterns.binary_search_by(|pattern| (**pattern).cmp(&text)).ok()
    }

    /// Returns the effect of `tag` on the distribution of the keys, and of their uses, over `shards`
    /// shards; `None` where there are none.
    #[must_use]
    pub fn price(
        &self,
        tag: &Tag,
        key_stats: &KeyStats,
        shards: usize,
        shard_of: &dyn Fn(Slot) -> usize,
    ) -> (Option<Share>, Option<Share>) {
        let share = |sample: &mut dyn Iterator<Item = &[u8]>| {
            let mut now = Spread::new(shards);
            let mut then = Spread::new(shards);
            let mut group = Spread::new(shards);
            for key in sample {
                let slot = Slot::of(key);
                now.add(slot, shard_of);
                let tagged = self.number(key).and_then(|of| tag.write(of, key));
                if let Some(tagged) = tagged {
                    group.add(Slot::of(&tagged), shard_of);
                    then.add(Slot::of(&tagged), shard_of);
                } else {
                    then.add(slot, shard_of);
                }
            }
            let all = now.all as f64;
            (now.all > 0).then(|| Share {
                slot: group.slot_max() as f64 / all,
                slot_now: now.slot_max() as f64 / all,
                shard: then.shard_max() as f64 / all,
                shard_now: now.shard_max() as f64 / all,
            })
        };
        (share(&mut key_stats.sample_of_keys()), share(&mut key_stats.sample_of_uses()))
    }
}

/// Counts by slot and by shard.
struct Spread {
    all: u64,
    slots: Vec<u64>,
    shards: Vec<u64>,
}

impl Spread {
    fn new(shards: usize) -> Self {
        Self { all: 0, slots: vec![0; SLOTS.into()], shards: vec![0; shards] }
    }

    fn add(&mut self, slot: Slot, shard_of: &dyn Fn(Slot) -> usize) {
        self.all += 1;
        self.slots[slot.index()] += 1;
        if let Some(shard) = self.shards.get_mut(shard_of(slot)) {
            *shard += 1;
        }
    }

    fn slot_max(&self) -> u64 {
        self.slots.iter().copied().max().unwrap_or(0)
    }

    fn shard_max(&self) -> u64 {
        self.shards.iter().copied().max().unwrap_or(0)
    }
}

/// Union-find over patterns.
#[derive(Default)]
struct Union<'a> {
    numbers: BTreeMap<&'a Arc<str>, usize>,
    /// By number; a root is its own parent.
    parents: Vec<usize>,
}

impl<'a> Union<'a> {
    fn number(&mut self, pattern: &'a Arc<str>) -> usize {
        let next = self.parents.len();
        let number = *self.numbers.entry(pattern).or_insert(next);
        if number == next {
            self.parents.push(next);
        }
        number
    }

    fn root(&mut self, mut at: usize) -> usize {
        while self.parents[at] != at {
            // Halves the path for the next search.
            self.parents[at] = self.parents[self.parents[at]];
            at = self.parents[at];
        }
        at
    }

    fn root_of(&mut self, pattern: &'a Arc<str>) -> usize {
        let number = self.number(pattern);
        self.root(number)
    }

    fn join(&mut self, a: &'a Arc<str>, b: &'a Arc<str>) {
        let (a, b) = (self.root_of(a), self.root_of(b));
        self.parents[b] = a;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enter(key_groups: &mut KeyGroups, keys: &[&str]) {
        let keys: Vec<&[u8]> = keys.iter().map(|key| key.as_bytes()).collect();
        key_groups.enter(&keys);
    }

    #[test]
    fn groups_join_what_meets() {
        let mut key_groups = KeyGroups::default();
        for n in 0..1000 {
            let key = |prefix: &str| format!("{prefix}:{n}");
            enter(&mut key_groups, &[&key("a"), &key("b")]);
            enter(&mut key_groups, &[&key("b"), &key("c")]);
            enter(&mut key_groups, &[&format!("{{{n}}}x"), &format!("{{{n}}}y")]);
            enter(&mut key_groups, &[&key("alone"), &key("alone")]);
        }
        let groups = key_groups.groups();
        assert_eq!(groups.len(), 2);
        assert_eq!(groups[0].patterns, ["a:<int>", "b:<int>", "c:<int>"].map(Arc::from));
        assert_eq!(groups[0].count, 2000);
        assert!(matches!(&groups[0].verdict, Verdict::Tag(tag) if tag.values > 1));
        assert_eq!(groups[1].crossing, 0);
        assert!(matches!(groups[1].verdict, Verdict::Fits));
    }

    #[test]
    fn a_tag_for_all_has_its_price() {
        let (mut key_groups, mut key_stats) = (KeyGroups::default(), KeyStats::default());
        for n in 0..100 {
            let keys = [format!("user:{n}"), format!("user:{}", n + 1)];
            enter(&mut key_groups, &[&keys[0], &keys[1]]);
            key_stats.used(keys[0].as_bytes());
            key_stats.used(format!("other:{n}").as_bytes());
        }
        let groups = key_groups.groups();
        let Verdict::Tag(tag) = &groups[0].verdict else { panic!("{:?}", groups[0].verdict) };
        assert_eq!(tag.shown, "{user}");
        let half = |slot: Slot| usize::from(slot.number() >= SLOTS / 2);
        let (keys, uses) = groups[0].price(tag, &key_stats, 2, &half);
        let (keys, uses) = (keys.expect("keys"), uses.expect("uses"));
        assert!((keys.slot - 0.5).abs() < 1e-9 && (uses.slot - 0.5).abs() < 1e-9, "{keys:?}");
        assert!(keys.slot_now < 0.05 && uses.shard > uses.shard_now, "{uses:?}");
    }
}
