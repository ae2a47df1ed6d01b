//! Statistics of keys, stored and used: by slot, by pattern, and two samples of bounded size from
//! which the price of a hashtag is estimated.
//!
//! ```text
//! uses    a reservoir: every use of a key was equally likely to be kept           share of traffic
//! keys    the keys with the smallest hashes: every key, however often used        share of keys
//! ```
//!
//! Both are exact while what they are a sample of fits into them ([`SAMPLE_MAX`]); beyond that a
//! share is off by a percentage point or so.

use super::lru::LruTable;
use super::pattern::{PatternBytes, ShortPattern, shown, write_pattern};
use super::violation::TEXT_CHARS_MAX;
use crate::slot::{SLOTS, Slot};
use std::collections::BTreeMap;
use std::hash::BuildHasher;
use std::sync::Arc;

/// Patterns that are counted.
pub(crate) const PATTERNS_MAX: usize = 1024;
/// Keys of each sample.
pub(crate) const SAMPLE_MAX: usize = 4096;
/// Longer keys than this are not sampled, in bytes.
pub(crate) const SAMPLED_KEY_LEN_MAX: usize = 1024;
/// The largest keys that are named.
pub(crate) const BIG_MAX: usize = 16;

/// What is counted by pattern.
#[derive(Clone, Debug)]
pub struct PatternStats {
    /// How often keys of it were used by commands.
    pub uses: u64,
    /// How many keys of it are stored.
    pub keys: u64,
    /// Bytes that they are stored in.
    pub bytes: u64,
    /// Bytes of the largest of them.
    pub bytes_max: u64,
    /// One of its keys, for display.
    pub example: String,
    /// The slots that its keys are in, a bit each.
    slots: Box<[u64; SLOTS as usize / 64]>,
}

impl PatternStats {
    fn new(key: &[u8]) -> Self {
        let slots = Box::new([0; SLOTS as usize / 64]);
        let example = shown(key, TEXT_CHARS_MAX);
        Self { uses: 0, keys: 0, bytes: 0, bytes_max: 0, example, slots }
    }

    fn lies_in(&mut self, slot: Slot) {
        self.slots[slot.index() / 64] |= 1 << (slot.index() % 64);
    }

    /// Returns in how many slots its keys are.
    #[must_use]
    pub fn slots(&self) -> u32 {
        self.slots.iter().map(|word| word.count_ones()).sum()
    }
}

/// A large key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LargeKey {
    /// Bytes that it is stored in.
    pub bytes: u64,
    /// The key, for display.
    pub key: String,
    /// Its type: `string`, `hash`, `ReJSON-RL` …
    pub kind: String,
    /// Its slot.
    pub slot: Slot,
}

/// The statistics of keys.
#[derive(Clone, Debug)]
pub struct KeyStats {
    /// Uses of keys by commands.
    pub uses: u64,
    /// Stored keys.
    pub keys: u64,
    /// Bytes that they are stored in.
    pub bytes: u64,
    patterns: LruTable<Arc<str>, PatternStats>,
    uses_by_slot: Vec<u64>,
    keys_by_slot: Vec<u64>,
    bytes_by_slot: Vec<u64>,
    /// The largest keys, the largest first; at most [`BIG_MAX`].
    big: Vec<LargeKey>,
    sampled_uses: Vec<Box<[u8]>>,
    sampled_keys: BTreeMap<u64, Box<[u8]>>,
    /// The largest hash in a full sample of keys, which keys from there on are not part of.
    hash_limit: Option<u64>,
    chance: fastrand::Rng,
    hasher: foldhash::quality::FixedState,
    /// The pattern of the latest long key: a buffer that is used again.
    text: String,
}

impl Default for KeyStats {
    fn default() -> Self {
        Self {
            uses: 0,
            keys: 0,
            bytes: 0,
            patterns: LruTable::new(PATTERNS_MAX),
            uses_by_slot: vec![0; SLOTS.into()],
            keys_by_slot: vec![0; SLOTS.into()],
            bytes_by_slot: vec![0; SLOTS.into()],
            big: Vec::new(),
            sampled_uses: Vec::new(),
            sampled_keys: BTreeMap::new(),
            hash_limit: None,
            // The same file gives the same report.
            chance: fastrand::Rng::with_seed(0),
            hasher: foldhash::quality::FixedState::with_seed(0),
            text: String::new(),
        }
    }
}

impl KeyStats {
    fn row(&mut self, key: &[u8], slot: Slot) -> &mut PatternStats {
        let mut short = ShortPattern::default();
        let pattern = match short.of(key) {
            Some(pattern) => pattern,
            None => {
                self.text.clear();
                write_pattern(key, &mut self.text);
                PatternBytes(self.text.as_bytes())
            }
        };
        let new = || PatternStats::new(key);
        let stats = self.patterns.row(&pattern, || pattern.to_text(), new);
        stats.lies_in(slot);
        stats
    }

    /// Counts a use of a key by a command.
    pub fn used(&mut self, key: &[u8]) {
        self.used_times(key, 1);
    }

    /// Counts a use of a key whose slot is known.
    pub(crate) fn used_in(&mut self, slot: Slot, key: &[u8]) {
        self.used_times_in(slot, key, 1);
    }

    /// Counts `times` uses of a key, at least one.
    pub fn used_times(&mut self, key: &[u8], times: u64) {
        self.used_times_in(Slot::of(key), key, times);
    }

    #[inline]
    fn used_times_in(&mut self, slot: Slot, key: &[u8], times: u64) {
        self.uses += times;
        self.uses_by_slot[slot.index()] += times;
        self.row(key, slot).uses += times;
        if key.len() <= SAMPLED_KEY_LEN_MAX {
            if self.sampled_uses.len() < SAMPLE_MAX {
                self.sampled_uses.push(key.into());
            } else {
                let at = self.chance.u64(..self.uses);
                let at = if times == 1 { at } else { at / times };
                if let Some(place) =
                    usize::try_from(at).ok().and_then(|at| self.sampled_uses.get_mut(at))
                {
                    *place = key.into();
                }
            }
        }
        self.meet(key);
    }

    /// Counts a stored key of so many bytes and this type. Each key is to be given once.
    pub fn stored(&mut self, key: &[u8], bytes: u64, kind: &str) {
        let slot = Slot::of(key);
        self.keys += 1;
        self.bytes += bytes;
        self.keys_by_slot[slot.index()] += 1;
        self.bytes_by_slot[slot.index()] += bytes;
        let stats = self.row(key, slot);
        stats.keys += 1;
        stats.bytes += bytes;
        stats.bytes_max = stats.bytes_max.max(bytes);
        self.meet(key);
        if bytes > 0
            && (self.big.len() < BIG_MAX || self.big.last().is_some_and(|b| b.bytes < bytes))
        {
            let at = self.big.partition_point(|big| big.bytes >= bytes);
            let (key, kind) = (shown(key, TEXT_CHARS_MAX), kind.to_owned());
            self.big.insert(at, LargeKey { bytes, key, kind, slot });
            self.big.truncate(BIG_MAX);
        }
    }

    /// Adds a key to the sample of keys if its hash is among the smallest.
    fn meet(&mut self, key: &[u8]) {
        if key.len() > SAMPLED_KEY_LEN_MAX {
            return;
        }
        let hash = self.hasher.hash_one(key);
        if self.hash_limit.is_some_and(|limit| hash >= limit) {
            return;
        }
        self.sampled_keys.entry(hash).or_insert_with(|| key.into());
        if self.sampled_keys.len() > SAMPLE_MAX {
            self.sampled_keys.pop_last();
        }
        if self.sampled_keys.len() >= SAMPLE_MAX {
            self.hash_limit = self.sampled_keys.last_key_value().map(|(&last, _)| last);
        }
    }

    /// Returns how many different keys there were: exact as long as all are in the sample.
    #[must_use]
    pub fn different_keys(&self) -> u64 {
        let len = self.sampled_keys.len();
        match self.sampled_keys.last_key_value() {
            Some((&last, _)) if len >= SAMPLE_MAX => {
                // Hashes are spread evenly: so many lie in this part of their range.
                let part = last as f64 / u64::MAX as f64;
                ((len - 1) as f64 / part) as u64
            }
            _ => len as u64,
        }
    }

    /// Whether [`KeyStats::different_keys`] is exact and the samples are complete.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        self.sampled_keys.len() < SAMPLE_MAX && self.uses <= SAMPLE_MAX as u64
    }

    /// Returns the sample of the different keys.
    pub fn sample_of_keys(&self) -> impl Iterator<Item = &[u8]> {
        self.sampled_keys.values().map(|key| &**key)
    }

    /// Returns the sample of the uses.
    pub fn sample_of_uses(&self) -> impl Iterator<Item = &[u8]> {
        self.sampled_uses.iter().map(|key| &**key)
    }

    /// Returns the patterns: the most used and those of most keys first.
    #[must_use]
    pub fn patterns(&self) -> Vec<(&Arc<str>, &PatternStats)> {
        let mut rows: Vec<_> = self.patterns.iter().collect();
        rows.sort_by(|(a, x), (b, y)| {
            (y.uses, y.keys).cmp(&(x.uses, x.keys)).then_with(|| a.cmp(b))
        });
        rows
    }

    /// Returns how many patterns made room for others.
    #[must_use]
    pub fn forgotten(&self) -> u64 {
        self.patterns.forgotten()
    }

    /// Returns by slot: uses, stored keys and their bytes.
    pub fn slots(&self) -> impl Iterator<Item = (Slot, u64, u64, u64)> {
        Slot::all().map(|slot| {
            let at = slot.index();
            (slot, self.uses_by_slot[at], self.keys_by_slot[at], self.bytes_by_slot[at])
        })
    }

    /// Returns the largest keys, the largest first.
    #[must_use]
    pub fn big(&self) -> &[LargeKey] {
        &self.big
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_counts_are_exact() {
        let mut key_stats = KeyStats::default();
        for n in 0..100 {
            key_stats.used(format!("user:{}", n % 10).as_bytes());
        }
        key_stats.stored(b"big", 1000, "hash");
        key_stats.stored(b"small", 10, "string");
        assert!(key_stats.is_exact());
        assert_eq!(
            (key_stats.different_keys(), key_stats.uses, key_stats.keys, key_stats.bytes),
            (12, 100, 2, 1010)
        );
        let patterns = key_stats.patterns();
        assert_eq!(
            (&**patterns[0].0, patterns[0].1.uses, patterns[0].1.slots()),
            ("user:<int>", 100, 10)
        );
        assert_eq!(key_stats.sample_of_uses().count(), 100);
        assert_eq!(
            key_stats.big().iter().map(|big| big.key.as_str()).collect::<Vec<_>>(),
            ["big", "small"]
        );
        let uses: u64 = key_stats.slots().map(|(_, uses, ..)| uses).sum();
        assert_eq!(uses, 100);
    }

    #[test]
    fn large_counts_are_estimated_in_bounded_memory() {
        let mut key_stats = KeyStats::default();
        for n in 0..200_000_u32 {
            key_stats.used(format!("a:{}", n % 100_000).as_bytes());
        }
        let keys = key_stats.different_keys();
        assert!((90_000..110_000).contains(&keys), "{keys}");
        assert!(!key_stats.is_exact());
        assert_eq!(
            (key_stats.sample_of_keys().count(), key_stats.sample_of_uses().count()),
            (SAMPLE_MAX, SAMPLE_MAX)
        );
        for n in 0..100 {
            key_stats.stored(format!("b:{n}").as_bytes(), n, "string");
        }
        assert_eq!(key_stats.big().len(), BIG_MAX);
        assert_eq!(key_stats.big()[0].bytes, 99);
    }
}
