//! Prefetches the memory of keys that will be looked up soon; decides nothing.
//!
//! A look-up reads the slot's table, its fingerprints, the entry and sometimes a value on the heap,
//! one after the other. Key by key, each look-up waits for memory four times; stage by stage for
//! all keys of a batch, the waits overlap.

use super::prefetch::prefetch;
use super::{INLINE_LEN_MAX, KeyHint, Keyspace, SlotTable, Value};
use crate::slot::Slot;

/// The stages of a probe, each named after what it prefetches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProbeStage {
    Slot,
    Fingerprints,
    Entry,
    Value,
    /// Of a string that was changed in place, which is one step further away.
    Bytes,
}

impl Keyspace {
    /// Prefetches the memory that `stage` of a key's look-up will read; each stage reads what the one
    /// before has prefetched. The entry stage sets the hint's position.
    #[inline(always)]
    pub fn probe(&self, slot: Slot, hint: &mut KeyHint, stage: ProbeStage) {
        let Some(slot) = self.probed_table(slot) else { return };
        match stage {
            ProbeStage::Slot => prefetch(slot),
            ProbeStage::Fingerprints => slot.table.prefetch(hint.hash),
            ProbeStage::Entry => {
                if let Some((at, entry)) = slot.table.guess(hint.hash) {
                    hint.position = at as u32;
                    prefetch(entry);
                }
            }
            ProbeStage::Value => slot.prefetch_value(hint),
            ProbeStage::Bytes => {
                if let Some(Value::Raw(bytes)) = slot.value_at(hint) {
                    bytes.chunks(64).take(2).for_each(prefetch);
                }
            }
        }
    }

    /// Returns whether the value that was probed is a string that was changed in place.
    #[must_use]
    pub fn is_raw(&self, slot: Slot, hint: &KeyHint) -> bool {
        let slot = self.probed_table(slot);
        matches!(slot.and_then(|slot| slot.value_at(hint)), Some(Value::Raw(_)))
    }

    #[inline]
    fn probed_table(&self, slot: Slot) -> Option<&SlotTable> {
        self.slots.get(self.table_of_slot[slot.index()] as usize)
    }
}

impl SlotTable {
    fn prefetch_value(&self, hint: &KeyHint) {
        match self.value_at(hint) {
            // The first lines: the hardware prefetcher takes the rest.
            Some(Value::Str(bytes)) if bytes.len() > INLINE_LEN_MAX => {
                bytes.chunks(64).take(4).for_each(prefetch);
            }
            Some(Value::Raw(bytes)) => prefetch(&**bytes),
            _ => {}
        }
    }

    /// Returns the value at the position that a hint has.
    fn value_at(&self, hint: &KeyHint) -> Option<&Value> {
        self.table.entries().get(hint.position as usize).map(|entry| &entry.value)
    }
}
