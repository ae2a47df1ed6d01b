//! A first look at keys that will be needed soon: it asks for their memory and decides nothing.
//!
//! A look-up reads the slot's table, its prints, the entry and at times a value on the heap, each
//! after the other. Done for one key after the other, each waits for memory four times; done for
//! all keys of a batch round by round, the waits overlap.

use super::prefetch::prefetch;
use super::{INLINE_LEN_MAX, Keyspace, Value};
use crate::slot::Slot;

/// What is known of a key before it is looked up: its hash, and a hint of where it lies.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    pub(super) hash: u64,
    /// The place in its table where it may lie, or any other number.
    pub(super) hint: u32,
}

impl Seen {
    /// A hash, and no hint.
    #[must_use]
    pub fn unplaced(hash: u64) -> Self {
        Self { hash, hint: u32::MAX }
    }
}

/// The rounds of a first look at a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is what it asks for")]
pub enum Round {
    Slot,
    Prints,
    Entry,
    Value,
}

impl Round {
    /// In their order.
    pub const ALL: [Self; 4] = [Self::Slot, Self::Prints, Self::Entry, Self::Value];
}

impl Keyspace {
    /// Asks for the memory that round `round` of a first look at a key will have to read; each
    /// round reads what the one before has asked for. The last one gives a hint where the key lies.
    #[inline]
    pub fn probe(&self, slot: Slot, seen: &mut Seen, round: Round) {
        let Some(slot) = self.slots.get(self.place[slot.index()] as usize) else { return };
        match round {
            Round::Slot => prefetch(slot),
            Round::Prints => slot.table.prefetch(seen.hash),
            Round::Entry => {
                if let Some((at, entry)) = slot.table.guess(seen.hash) {
                    seen.hint = at as u32;
                    prefetch(entry);
                }
            }
            Round::Value => {
                let entry = slot.table.entries().get(seen.hint as usize);
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
