//! Prefetches the memory of keys that will be looked up soon; decides nothing.
//!
//! A look-up reads the slot's table, its fingerprints, the entry and sometimes a value on the heap,
//! one after the other. Key by key, each look-up waits for memory four times; stage by stage for
//! all keys of a batch, the waits overlap.

use super::prefetch::prefetch;
use super::{INLINE_LEN_MAX, KeyHint, Keyspace, Value};
use crate::slot::Slot;

/// The stages of a probe, each named after what it prefetches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is named after what it prefetches")]
pub enum ProbeStage {
    Slot,
    Fingerprints,
    Entry,
    Value,
}

impl ProbeStage {
    /// All stages in their order.
    pub const ALL: [Self; 4] = [Self::Slot, Self::Fingerprints, Self::Entry, Self::Value];
}

impl Keyspace {
    /// Prefetches the memory that `stage` of a key's look-up will read; each stage reads what the
    /// one before has prefetched. The entry stage sets the hint's position.
    #[inline]
    pub fn probe(&self, slot: Slot, hint: &mut KeyHint, stage: ProbeStage) {
        let Some(slot) = self.slots.get(self.table_of_slot[slot.index()] as usize) else { return };
        match stage {
            ProbeStage::Slot => prefetch(slot),
            ProbeStage::Fingerprints => slot.table.prefetch(hint.hash),
            ProbeStage::Entry => {
                if let Some((at, entry)) = slot.table.guess(hint.hash) {
                    hint.position = at as u32;
                    prefetch(entry);
                }
            }
            ProbeStage::Value => {
                let entry = slot.table.entries().get(hint.position as usize);
                if let Some(Value::Str(bytes)) = entry.map(|entry| &entry.value)
                    && bytes.len() > INLINE_LEN_MAX
                {
                    // The first lines: the hardware prefetcher takes the rest.
                    bytes.chunks(64).take(4).for_each(prefetch);
                }
            }
        }
    }
}
