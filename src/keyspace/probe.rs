//! A first look at keys that will be needed soon: it asks for their memory and decides nothing.
//!
//! A look-up reads the slot's table, its prints, the entry and at times a value on the heap, each
//! after the other. Done for one key after the other, each waits for memory four times; done for
//! all keys of a batch round by round, the waits overlap.

use super::prefetch::prefetch;
use super::{INLINE_LEN_MAX, KeyHint, Keyspace, Value};
use crate::slot::Slot;

/// The rounds of a first look at a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is what it asks for")]
pub enum ProbeStage {
    Slot,
    Fingerprints,
    Entry,
    Value,
}

impl ProbeStage {
    /// In their order.
    pub const ALL: [Self; 4] = [Self::Slot, Self::Fingerprints, Self::Entry, Self::Value];
}

impl Keyspace {
    /// Asks for the memory that round `round` of a first look at a key will have to read; each
    /// round reads what the one before has asked for. The last one gives a hint where the key lies.
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
                    // The first lines; the processor sees by itself that the others follow.
                    bytes.chunks(64).take(4).for_each(prefetch);
                }
            }
        }
    }
}
