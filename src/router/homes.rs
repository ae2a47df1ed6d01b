//! Finds the position of each slot's keys among the shards that are held: the owner's, or, while a
//! slot moves, the target's, once the rest of the request's keys is moved there.

use super::Router;
use super::held::HeldShards;
use crate::command::{Invocation, KeySlots, Pace};
use crate::slot::Slot;
use crate::topology::Port;

/// Maps each slot, ascending, to the position among the held shards that has its keys.
pub(super) type Homes = Vec<(Slot, usize)>;

/// Returns the position that has the keys of `slot`.
pub(super) fn home_in(homes: &Homes, slot: Slot) -> Option<usize> {
    homes.binary_search_by_key(&slot, |(slot, _)| *slot).ok().map(|at| homes[at].1)
}

impl Router {
    /// Returns the positions of all slots of a command, including those that it does not name.
    pub(super) fn homes(
        &self,
        held: &mut HeldShards<'_>,
        invocation: &Invocation<'_>,
        slots: &KeySlots<'_>,
        pace: &dyn Pace,
    ) -> Homes {
        let mut named: Vec<Slot> = slots.iter().map(|(_, slot)| slot).collect();
        named.sort_unstable();
        named.dedup();
        let mut homes = Homes::with_capacity(named.len());
        for slot in named {
            let (source, target) = self.places_of(held, slot);
            let home = match target {
                None => source,
                Some(_) => {
                    let of_slot = slots.iter().filter(|(_, of)| *of == slot);
                    let keys: Vec<&[u8]> = of_slot.map(|(key, _)| key).collect();
                    self.home_of_moving(held, slot, &keys)
                }
            };
            homes.extend(home.map(|home| (slot, home)));
        }
        if invocation.spec.reads_unnamed(invocation.args) {
            self.add_unnamed(held, &mut homes, invocation, slots, pace);
        }
        homes
    }

    /// Returns the position of `keys`, all of a slot that is being moved: its source if all of them
    /// are there. Otherwise moves the keys that are still at the source to the target. Returns
    /// `None` if the source is not held.
    pub(super) fn home_of_moving(
        &self,
        held: &mut HeldShards<'_>,
        slot: Slot,
        keys: &[&[u8]],
    ) -> Option<usize> {
        let (source, target) = self.places_of(held, slot);
        let (source, Some(target)) = (source?, target) else { return source };
        let (from, to) = held.two(source, target)?;
        if keys.iter().all(|key| from.has(slot, key)) {
            return Some(source);
        }
        keys.iter().for_each(|key| from.move_key(slot, key, to));
        Some(target)
    }

    /// Adds the slots of keys that the command reads without naming them.
    fn add_unnamed(
        &self,
        held: &mut HeldShards<'_>,
        homes: &mut Homes,
        invocation: &Invocation<'_>,
        slots: &KeySlots<'_>,
        pace: &dyn Pace,
    ) {
        let first = slots.iter().next().and_then(|(_, slot)| home_in(homes, slot));
        let Some(first) = first else { return };
        let keyspace = &held.engine(first).keyspace;
        for slot in invocation.spec.unnamed_slots(keyspace, invocation.args, pace) {
            let (Some(source), target) = self.places_of(held, slot) else { continue };
            let mut home = home_in(homes, slot).unwrap_or(source);
            if let Some(target) = target
                && let Some((from, to)) = held.two(source, target)
            {
                // It is unknown which of its keys are used: all of them are moved to the target.
                if to.keyspace.slot_len(slot) > 0 {
                    from.keyspace.merge_slot(slot, &mut to.keyspace);
                }
                home = if to.keyspace.slot_len(slot) > 0 { target } else { source };
            }
            match homes.binary_search_by_key(&slot, |(slot, _)| *slot) {
                Ok(at) => homes[at].1 = home,
                Err(at) => homes.insert(at, (slot, home)),
            }
        }
    }

    /// Returns the positions among the held shards that may have keys of a slot of database 0: its
    /// owner's shard, and the shard that imports it.
    pub(super) fn places_of(
        &self,
        held: &HeldShards<'_>,
        slot: Slot,
    ) -> (Option<usize>, Option<usize>) {
        let shards = self.shards_of(Some(slot), Port::Router);
        let target = shards.to.filter(|&to| to != shards.from);
        (held.position(shards.from), target.and_then(|to| held.position(to)))
    }
}
