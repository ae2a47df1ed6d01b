//! Which shard runs a slot.
//!
//! Slots are dealt out in contiguous runs, the same runs that `redis-cli --cluster create` would
//! give as many masters, so that nobody has to learn a new layout.

use crate::slot::{SLOTS, Slot};

/// Most shards of one process: what Redis recommends as the most nodes of a cluster.
pub const SHARDS_MAX: usize = 1000;

/// The owner of every slot.
#[derive(Debug)]
pub struct Topology {
    /// Shard by slot; every value is below `shards`.
    owner: Box<[u16]>,
    shards: usize,
}

impl Topology {
    /// Deals all slots out to `shards` shards, 1 to [`SHARDS_MAX`] of them.
    ///
    /// # Panics
    /// If `shards` is outside that range.
    #[must_use]
    pub fn even(shards: usize) -> Self {
        assert!((1..=SHARDS_MAX).contains(&shards), "1 to {SHARDS_MAX} shards");
        let per_shard = f64::from(SLOTS) / shards as f64;
        let mut owner = Vec::with_capacity(SLOTS as usize);
        for shard in 0..shards {
            let end = match shard + 1 {
                last if last == shards => SLOTS as usize,
                next => (next as f64 * per_shard - 1.0).round() as usize + 1,
            };
            owner.resize(end, shard as u16);
        }
        Self { owner: owner.into_boxed_slice(), shards }
    }

    /// How many shards there are.
    #[must_use]
    pub fn shards(&self) -> usize {
        self.shards
    }

    /// The shard that runs `slot`.
    #[must_use]
    pub fn shard_of(&self, slot: Slot) -> usize {
        self.owner[slot.index()] as usize
    }

    /// The slots that `shard` runs, ascending.
    pub fn slots_of(&self, shard: usize) -> impl Iterator<Item = Slot> {
        Slot::all().filter(move |&slot| self.shard_of(slot) == shard)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_dealt_out_as_redis_cli_does() {
        let ends = |shards| {
            let topology = Topology::even(shards);
            let range = |s| {
                let slots: Vec<u16> = topology.slots_of(s).map(Slot::number).collect();
                assert!(slots.windows(2).all(|w| w[1] == w[0] + 1));
                (slots[0], slots[slots.len() - 1])
            };
            (0..shards).map(range).collect::<Vec<_>>()
        };
        assert_eq!(ends(1), [(0, 16383)]);
        assert_eq!(ends(3), [(0, 5460), (5461, 10922), (10923, 16383)]);
        assert_eq!(ends(4), [(0, 4095), (4096, 8191), (8192, 12287), (12288, 16383)]);
        assert_eq!(ends(SHARDS_MAX).len(), SHARDS_MAX);
    }
}
