//! What the commands of each slot take: time, bytes of requests, bytes of replies (CLUSTER SLOT-STATS, with
//! `cluster-slot-stats-enabled`).

use crate::slot::{SLOTS, Slot};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// What commands have taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SlotUse {
    /// Time, in nanoseconds.
    pub nanos: u64,
    /// Bytes of their requests.
    pub bytes_in: u64,
    /// Bytes of their replies.
    pub bytes_out: u64,
}

/// The same by slot. Takes memory once something is counted.
#[derive(Debug, Default)]
pub struct SlotTraffic(OnceLock<Box<[Counters]>>);

#[derive(Debug, Default)]
struct Counters {
    nanos: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
}

impl Counters {
    fn reset(&self) {
        for cell in [&self.nanos, &self.bytes_in, &self.bytes_out] {
            cell.store(0, Ordering::Relaxed);
        }
    }
}

impl SlotTraffic {
    /// Adds what a command has taken.
    pub fn add(&self, slot: Slot, used: SlotUse) {
        let slots = self.0.get_or_init(|| (0..SLOTS).map(|_| Counters::default()).collect());
        let Counters { nanos, bytes_in, bytes_out } = &slots[slot.index()];
        nanos.fetch_add(used.nanos, Ordering::Relaxed);
        bytes_in.fetch_add(used.bytes_in, Ordering::Relaxed);
        bytes_out.fetch_add(used.bytes_out, Ordering::Relaxed);
    }

    /// Returns what the commands of a slot have taken.
    #[must_use]
    pub fn of(&self, slot: Slot) -> SlotUse {
        let Some(slots) = self.0.get() else { return SlotUse::default() };
        let Counters { nanos, bytes_in, bytes_out } = &slots[slot.index()];
        SlotUse {
            nanos: nanos.load(Ordering::Relaxed),
            bytes_in: bytes_in.load(Ordering::Relaxed),
            bytes_out: bytes_out.load(Ordering::Relaxed),
        }
    }

    /// Sets the slots for which `ends` is true to nothing.
    pub fn reset(&self, ends: impl Fn(Slot) -> bool) {
        let Some(slots) = self.0.get() else { return };
        Slot::all().zip(slots).filter(|(slot, _)| ends(*slot)).for_each(|(_, it)| it.reset());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_counted_and_reset_one_by_one() {
        let all = SlotTraffic::default();
        let (a, b) = (Slot::of(b"a"), Slot::of(b"b"));
        all.reset(|_| true);
        let used = SlotUse { nanos: 5, bytes_in: 29, bytes_out: 4 };
        [a, a, b].into_iter().for_each(|slot| all.add(slot, used));
        assert_eq!(all.of(a), SlotUse { nanos: 10, bytes_in: 58, bytes_out: 8 });
        all.reset(|slot| slot == a);
        assert_eq!((all.of(a), all.of(b)), (SlotUse::default(), used));
    }
}
