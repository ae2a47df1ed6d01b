//! The price of a hashtag: how it would concentrate the keys, or their uses, on a slot and a shard.

use super::key_stats::KeyStats;
use super::pattern::pattern;
use crate::slot::{SLOTS, Slot};

/// The effect of a hashtag on the distribution of the keys, or of their uses: shares from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Share {
    /// The fullest slot of the keys with the tag.
    pub slot: f64,
    /// The fullest slot now.
    pub slot_now: f64,
    /// The busiest shard's, with the tag.
    pub shard: f64,
    /// The busiest shard's now.
    pub shard_now: f64,
}

/// The price by the keys, and by their uses; `None` where there are none.
pub(crate) type Price = (Option<Share>, Option<Share>);

/// A rewriting, which is given a key and its pattern and leaves a key as it is by `None`.
pub(crate) type Rewriting<'r> = dyn Fn(&[u8], &str) -> Option<Vec<u8>> + 'r;

/// What prices are computed from: the samples of the keys and their uses, each with its pattern, and
/// the owners of the slots.
pub(crate) struct Market<'a> {
    keys: Vec<(&'a [u8], String)>,
    uses: Vec<(&'a [u8], String)>,
    shards: usize,
    shard_of: &'a dyn Fn(Slot) -> usize,
}

impl<'a> Market<'a> {
    /// Prepares the samples for `shards` shards.
    #[must_use]
    pub(crate) fn new(
        key_stats: &'a KeyStats,
        shards: usize,
        shard_of: &'a dyn Fn(Slot) -> usize,
    ) -> Self {
        let with_pattern = |key: &'a [u8]| (key, pattern(key));
        Self {
            keys: key_stats.sample_of_keys().map(with_pattern).collect(),
            uses: key_stats.sample_of_uses().map(with_pattern).collect(),
            shards,
            shard_of,
        }
    }

    /// Returns the price of a rewriting.
    #[must_use]
    pub(crate) fn price(&self, rewrite: &Rewriting<'_>) -> Price {
        (self.share(&self.keys, rewrite), self.share(&self.uses, rewrite))
    }

    fn share(&self, sample: &[(&[u8], String)], rewrite: &Rewriting<'_>) -> Option<Share> {
        let [mut now, mut then, mut tagged] = [(); 3].map(|()| Spread::new(self.shards));
        for (key, pattern) in sample {
            let slot = Slot::of(key);
            now.add(slot, self.shard_of);
            let new = rewrite(key, pattern).map(|key| Slot::of(&key));
            new.iter().for_each(|&slot| tagged.add(slot, self.shard_of));
            then.add(new.unwrap_or(slot), self.shard_of);
        }
        let all = now.all as f64;
        (now.all > 0).then(|| Share {
            slot: tagged.slot_max() as f64 / all,
            slot_now: now.slot_max() as f64 / all,
            shard: then.shard_max() as f64 / all,
            shard_now: now.shard_max() as f64 / all,
        })
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
