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
//! others, are a group. From its sets follow the hashtags for a group.

use super::common_part::{self, Pair, Set};
use super::hashtag::{self, Tag, TagKind};
use super::lru::LruTable;
use super::namespace::Library;
use super::pattern::{pattern, shown, write_pattern};
use crate::slot::Slot;
use hashbrown::Equivalent;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// Kinds of sets that are kept.
pub(crate) const KINDS_MAX: usize = 1024;
/// Sets of each kind that are kept.
pub(crate) const SETS_MAX: usize = 16;
/// Keys of a set that are kept: the first ones.
pub(crate) const SET_KEYS_MAX: usize = 16;
/// Sets of a group from which its hashtag is derived.
pub(crate) const GROUP_SETS_MAX: usize = 128;
/// Accidental hashtags of a group that are named.
pub(crate) const ACCIDENTS_MAX: usize = 4;
/// Characters of such a hashtag.
const ACCIDENT_CHARS_MAX: usize = 40;

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
    /// The patterns of the latest set: a buffer that is used again.
    text: String,
}

/// The patterns of a set, to find its kind by.
struct Patterns<'a>(&'a [&'a str]);

impl Hash for Patterns<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // As that of a vector of them.
        self.0.hash(state);
    }
}

impl Equivalent<Vec<Arc<str>>> for Patterns<'_> {
    fn equivalent(&self, kind: &Vec<Arc<str>>) -> bool {
        self.0.len() == kind.len() && self.0.iter().zip(kind).all(|(a, b)| **a == **b)
    }
}

impl Default for KeyGroups {
    fn default() -> Self {
        Self {
            kinds: LruTable::new(KINDS_MAX),
            chance: fastrand::Rng::with_seed(0),
            text: String::new(),
        }
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
    /// The hashtags of which each puts every set that was seen into one slot, the easiest to set first;
    /// none if all sets were in one slot.
    pub choices: Vec<Tag>,
    /// If no part of the keys is among them: pairs that have nothing in common; none if only all
    /// together have not.
    pub strangers: Vec<Pair>,
    /// Hashtags that its keys have by accident, with their braces, for display.
    pub accidents: Vec<String>,
    /// The libraries that its keys look like keys of.
    pub(crate) libraries: Vec<&'static Library>,
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
        let mut text = std::mem::take(&mut self.text);
        text.clear();
        let mut ends = [0; SET_KEYS_MAX];
        for (key, end) in keys.iter().zip(&mut ends) {
            write_pattern(key, &mut text);
            *end = text.len();
        }
        // Each pattern once, in order: only a new kind costs an allocation.
        let (mut found, mut len, mut start) = ([""; SET_KEYS_MAX], 0, 0);
        for end in &ends[..keys.len().min(SET_KEYS_MAX)] {
            let pattern = &text[std::mem::replace(&mut start, *end)..*end];
            if let Err(at) = found[..len].binary_search(&pattern) {
                found.copy_within(at..len, at + 1);
                found[at] = pattern;
                len += 1;
            }
        }
        let kind = Patterns(&found[..len]);
        self.enter_kind(keys, &kind, times, || kind.0.iter().map(|&text| text.into()).collect());
        self.text = text;
    }

    /// The same, given the patterns of the first [`SET_KEYS_MAX`] keys.
    pub(crate) fn enter_of_kind(&mut self, keys: &[&[u8]], kind: &[Arc<str>], times: u64) {
        self.enter_kind(keys, kind, times, || kind.to_vec());
    }

    fn enter_kind<Q: Hash + Equivalent<Vec<Arc<str>>> + ?Sized>(
        &mut self,
        keys: &[&[u8]],
        kind: &Q,
        times: u64,
        own: impl FnOnce() -> Vec<Arc<str>>,
    ) {
        let considered = &keys[..keys.len().min(SET_KEYS_MAX)];
        if considered.iter().all(|key| *key == considered[0]) {
            return;
        }
        let sort = self.kinds.row(kind, own, SetKind::default);
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
            let different: BTreeSet<&[u8]> = considered.iter().copied().collect();
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
    let (choices, strangers) =
        if crossing == 0 { Default::default() } else { hashtag::choices(&patterns, &sets) };
    let keys = || sets.iter().flatten().map(|(_, key)| key.as_slice());
    let mut libraries: Vec<&'static Library> = Vec::new();
    for library in keys().filter_map(Library::of) {
        if !libraries.contains(&library) {
            libraries.push(library);
        }
    }
    Group {
        examples: examples.collect(),
        count: kinds.iter().map(|(_, sort)| sort.count).sum(),
        crossing,
        choices,
        strangers,
        accidents: accidents(keys()),
        libraries,
        patterns,
    }
}

/// Returns hashtags that keys have by accident, with their braces, for display.
pub(crate) fn accidents<'a>(keys: impl Iterator<Item = &'a [u8]>) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for tag in keys.filter_map(common_part::accident) {
        let text = format!("{{{}}}", shown(tag, ACCIDENT_CHARS_MAX));
        if found.len() < ACCIDENTS_MAX && !found.contains(&text) {
            found.push(text);
        }
    }
    found
}

impl Group {
    /// Returns a key, whose pattern is given, with one of the group's tags. A beginning is the beginning
    /// of further keys, too; other tags are only for the keys of the group: `None` for others.
    #[must_use]
    pub fn rewrite(&self, tag: &Tag, key: &[u8], pattern: &str) -> Option<Vec<u8>> {
        let number = || self.patterns.binary_search_by(|own| (**own).cmp(pattern)).ok();
        match tag.kind() {
            TagKind::Beginning => tag.write(0, key),
            TagKind::Part | TagKind::Prefix => tag.write(number()?, key),
        }
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
    use crate::ledger::key_stats::KeyStats;
    use crate::ledger::price::Market;
    use crate::slot::SLOTS;

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
        assert_eq!(groups[0].choices[0].kind(), TagKind::Part);
        assert!(groups[0].choices[0].values > 1);
        assert_eq!(groups[1].crossing, 0);
        assert!(groups[1].choices.is_empty());
    }

    #[test]
    fn a_kind_is_found_by_its_patterns_in_any_order() {
        let mut key_groups = KeyGroups::default();
        for set in [["b:1", "a:1", "b:2"], ["a:7", "b:7", "a:8"], ["a:1", "b:1", "c:1"]] {
            enter(&mut key_groups, &set);
        }
        let keys: [&[u8]; 2] = [b"a:1", b"b:1"];
        key_groups.enter_of_kind(&keys, &["a:<int>", "b:<int>"].map(Arc::from), 1);
        let mut counts: Vec<u64> = key_groups.kinds.iter().map(|(_, kind)| kind.count).collect();
        counts.sort_unstable();
        assert_eq!(counts, [1, 3]);
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
        let tag = &groups[0].choices[0];
        assert_eq!((tag.shown.as_str(), tag.kind()), ("{user}", TagKind::Beginning));
        let half = |slot: Slot| usize::from(slot.number() >= SLOTS / 2);
        let market = Market::new(&key_stats, 2, &half);
        let (keys, uses) = market.price(&|key, pattern| groups[0].rewrite(tag, key, pattern));
        let (keys, uses) = (keys.expect("keys"), uses.expect("uses"));
        assert!((keys.slot - 0.5).abs() < 1e-9 && (uses.slot - 0.5).abs() < 1e-9, "{keys:?}");
        assert!(keys.slot_now < 0.05 && uses.shard > uses.shard_now, "{uses:?}");
    }
}
