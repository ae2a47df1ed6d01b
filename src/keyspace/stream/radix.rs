//! The radix tree in which Redis keeps the nodes of a stream. There is none here, but XINFO STREAM
//! shows how many nodes it has, and that follows from the keys alone.

use super::log::StreamLog;

/// Bytes of a key.
const KEY_LEN: u32 = 16;

impl StreamLog {
    /// Returns the number of nodes of the radix tree.
    ///
    /// A leaf per key; a node per place where keys part; a node per run of bytes between such places,
    /// however long it is.
    #[must_use]
    pub fn radix_nodes(&self) -> usize {
        let keys = self.nodes.keys().map(|id| u128::from(id.ms) << 64 | u128::from(id.seq));
        let (mut count, mut before, mut depth_before) = (1, None::<u128>, None);
        // The depths of the places where the last key has parted from others, ascending.
        let mut open: Vec<u32> = Vec::new();
        let run = |from: u32, to: u32| usize::from(to > from);
        for key in keys {
            let depth = before.map(|before| (before ^ key).leading_zeros() / 8);
            if before.is_none() {
                count = 0;
            } else if let Some(depth) = depth {
                // The run that ends in the leaf before.
                count +=
                    run(depth_before.map_or(depth, |before: u32| before.max(depth)) + 1, KEY_LEN);
                while let Some(&last) = open.last().filter(|&&last| last > depth) {
                    open.pop();
                    let parent = open.last().map_or(depth, |&other| other.max(depth));
                    count += 1 + run(parent + 1, last);
                }
                if open.last() != Some(&depth) {
                    open.push(depth);
                }
            }
            count += 1;
            (before, depth_before) = (Some(key), depth);
        }
        if before.is_some() {
            count += run(depth_before.map_or(0, |depth| depth + 1), KEY_LEN);
        }
        while let Some(last) = open.pop() {
            count += 1 + run(open.last().map_or(0, |parent| parent + 1), last);
        }
        count
    }
}
