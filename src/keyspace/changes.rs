//! Changes of a master's keyspace for its replicas: state, not commands.
//!
//! ```text
//! touch ─► Journal: which keys      end of batch ─► Changes: their values now ─► replica
//! ```
//!
//! Nothing is recorded without a replica. A key that changes twice within a batch is copied once,
//! as it is at the end, so that a replica never sees half a transaction.

use super::event::{CHANGED, Event};
use super::journal::Journal;
use super::{DetachedValue, Entry, Key, Keyspace, Ttl};
use crate::slot::Slot;
use std::collections::{BTreeMap, BTreeSet};

/// Approximate memory of a changed key besides its bytes and its value.
const KEY_OVERHEAD: usize = 64;

/// What happened to a keyspace between two moments: it was emptied, if `cleared`; then `slots` were
/// emptied; then `keys` got these values.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    cleared: bool,
    slots: BTreeSet<Slot>,
    /// `None` for a key that was removed.
    keys: BTreeMap<Box<[u8]>, Option<DetachedValue>>,
    /// The keyspace events of the changes, in order, if a replica's clients want any.
    events: Vec<Event>,
}

impl Changes {
    /// Returns the number of changes.
    #[must_use]
    pub fn len(&self) -> usize {
        usize::from(self.cleared) + self.slots.len() + self.keys.len()
    }

    /// Returns whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0 && self.events.is_empty()
    }

    /// Returns about how many bytes of memory they take.
    #[must_use]
    pub fn memory(&self) -> usize {
        let of = |held: &Option<DetachedValue>| held.as_ref().map_or(0, |held| held.value.memory());
        let keys: usize =
            self.keys.iter().map(|(key, held)| KEY_OVERHEAD + key.len() + of(held)).sum();
        let of_event = |event: &Event| size_of::<Event>() + event.key.len();
        let events: usize = self.events.iter().map(of_event).sum();
        size_of::<Self>() + size_of::<Slot>() * self.slots.len() + keys + events
    }

    /// Appends later changes, so that both are applied as one step.
    pub fn then(&mut self, mut later: Self) {
        self.events.append(&mut later.events);
        if later.cleared {
            later.events = std::mem::take(&mut self.events);
            *self = later;
            return;
        }
        if !later.slots.is_empty() {
            self.keys.retain(|key, _| !later.slots.contains(&Slot::of(key)));
            self.slots.extend(later.slots);
        }
        self.keys.extend(later.keys);
    }
}

impl Keyspace {
    /// Starts or stops recording changes for [`Keyspace::take_changes`].
    pub fn set_journaling(&mut self, wanted: bool) {
        if !wanted {
            self.journal = None;
        } else if self.journal.is_none() {
            self.journal = Some(Box::default());
        }
    }

    /// Returns whether a recorded change has not been taken yet.
    #[must_use]
    #[inline]
    pub fn has_changes(&self) -> bool {
        self.journal.as_ref().is_some_and(|journal| !journal.is_empty())
    }

    /// Records events for [`Keyspace::take_changes`], if changes are recorded.
    pub fn record_events(&mut self, events: impl Iterator<Item = Event>) {
        if let Some(journal) = &mut self.journal {
            journal.events.extend(events);
        }
    }

    /// Takes what has changed since the last call.
    pub fn take_changes(&mut self) -> Changes {
        let Some(journal) = &mut self.journal else { return Changes::default() };
        let Journal { everything, cleared, slots, mut keys, mut unwatched, events } =
            std::mem::take(&mut **journal);
        keys.append(&mut unwatched);
        if everything {
            return Changes { events, ..self.snapshot() };
        }
        let copied = keys.into_iter().map(|bytes| {
            let held = self.entry_even_expired(&bytes).map(copy_of);
            (bytes, held)
        });
        Changes { cleared, slots, keys: copied.collect(), events }
    }

    /// Returns all keys, as changes to an empty keyspace.
    #[must_use]
    pub fn snapshot(&self) -> Changes {
        let entries = self.slots.iter().flat_map(|slot| slot.table.entries());
        let keys = entries.map(|entry| ((*entry.key).into(), Some(copy_of(entry)))).collect();
        Changes { cleared: true, slots: BTreeSet::new(), keys, events: Vec::new() }
    }

    /// Applies the changes of another keyspace. Watchers are notified; the events are those that
    /// came along, since the other keyspace knows what happened.
    pub fn apply_changes(&mut self, changes: Changes) {
        let wanted = self.events_wanted;
        self.events_wanted &= CHANGED;
        let Changes { cleared, slots, keys, events } = changes;
        if cleared {
            self.clear();
        }
        for slot in slots {
            self.clear_slot(slot);
        }
        for (bytes, held) in keys {
            let key = self.key(Slot::of(&bytes), &bytes);
            self.replace(key, held);
        }
        self.events.extend(events);
        self.events_wanted = wanted;
    }

    /// Replaces a key, expired or not, by the other keyspace's value.
    fn replace(&mut self, key: Key<'_>, held: Option<DetachedValue>) {
        if let Some((s, at)) = self.find_even_expired(key) {
            let gone = self.remove_at(s, at);
            self.touch(key.bytes, true);
            self.free_lazily(gone.value);
        }
        if let Some(DetachedValue { value, expires_at }) = held {
            self.set(key, value, expires_at.map_or(Ttl::Clear, Ttl::At));
        }
    }

    /// Returns the entry of a key, expired or not.
    fn entry_even_expired(&self, bytes: &[u8]) -> Option<&Entry> {
        let key = self.key(Slot::of(bytes), bytes);
        let (s, at) = self.find_even_expired(key)?;
        Some(&self.slots[s].table.entries()[at])
    }
}

fn copy_of(entry: &Entry) -> DetachedValue {
    DetachedValue { value: entry.value.clone(), expires_at: entry.expires_at() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyspace::{Edited, Hash, KeyHasher, SlotTable, Value};
    use proptest::prelude::*;

    fn keyspace() -> Keyspace {
        let mut keyspace = Keyspace::new(std::iter::empty(), KeyHasher::new(1), 1);
        keyspace.begin(1000);
        keyspace
    }

    /// Everything by which a client could distinguish keyspaces.
    fn contents(keyspace: &Keyspace) -> Vec<(Vec<u8>, Vec<u8>, Option<i64>)> {
        let entries = keyspace.slots.iter().flat_map(|slot| slot.table.entries());
        let mut all: Vec<_> = entries
            .map(|entry| {
                let mut text = entry.value.as_text().map(|text| text.to_vec()).unwrap_or_default();
                for (name, _) in entry.value.as_hash().into_iter().flat_map(Hash::pairs) {
                    let end = entry.value.as_hash().and_then(|it| it.end(&name, &keyspace.hasher));
                    text.extend(format!("{name:?} ends {end:?} ").into_bytes());
                }
                (entry.key.to_vec(), text, entry.expires_at())
            })
            .collect();
        all.sort();
        all
    }

    /// One step that may change a keyspace.
    #[derive(Clone, Debug)]
    enum Act {
        Set(u8, i64),
        SetFor(u8, i64),
        Add(u8),
        Delete(u8),
        Expire(u8, i64),
        SetField(u8, u8, Option<i64>),
        Pass(i64),
        Look(u8),
        ClearSlot(u8),
        Clear,
        Mend,
    }

    fn act() -> impl Strategy<Value = Act> {
        let key = || 0..6u8;
        prop_oneof![
            4 => (key(), 0..9i64).prop_map(|(key, n)| Act::Set(key, n)),
            2 => (key(), 1..30i64).prop_map(|(key, ms)| Act::SetFor(key, ms)),
            3 => key().prop_map(Act::Add),
            2 => key().prop_map(Act::Delete),
            2 => (key(), -5..30i64).prop_map(|(key, ms)| Act::Expire(key, ms)),
            3 => (key(), 0..3u8, prop::option::of(1..30i64))
                .prop_map(|(key, field, ms)| Act::SetField(key, field, ms)),
            2 => (1..20i64).prop_map(Act::Pass),
            1 => key().prop_map(Act::Look),
            1 => key().prop_map(Act::ClearSlot),
            1 => Just(Act::Clear),
            1 => Just(Act::Mend),
        ]
    }

    fn perform(keyspace: &mut Keyspace, act: &Act) {
        let name = |n: u8| format!("{{{}}}{n}", n % 3).into_bytes();
        let now = keyspace.now();
        match *act {
            Act::Set(n, value) => {
                let bytes = name(n);
                let key = keyspace.key(Slot::of(&bytes), &bytes);
                keyspace.set(key, Value::Int(value), Ttl::Keep);
            }
            Act::SetFor(n, ms) => {
                let bytes = name(n);
                let key = keyspace.key(Slot::of(&bytes), &bytes);
                keyspace.set(key, Value::Int(7), Ttl::At(now + ms));
            }
            Act::Add(n) => {
                let bytes = name(n);
                let key = keyspace.key(Slot::of(&bytes), &bytes);
                keyspace.edit(key, |value| {
                    let Value::Int(number) = value else { return Edited::Kept(()) };
                    *number += 1;
                    Edited::Changed(())
                });
            }
            Act::Delete(n) => {
                let bytes = name(n);
                let key = keyspace.key(Slot::of(&bytes), &bytes);
                keyspace.delete(key);
            }
            Act::Expire(n, ms) => {
                let bytes = name(n);
                let key = keyspace.key(Slot::of(&bytes), &bytes);
                keyspace.set_expiry(key, Some(now + ms));
            }
            Act::SetField(n, field, ms) => {
                let bytes = name(n);
                let key = keyspace.key(Slot::of(&bytes), &bytes);
                let (limits, hasher) = (keyspace.limits.hash, keyspace.hasher().clone());
                if !matches!(keyspace.peek(key).map(Entry::value), Some(Value::Hash(_))) {
                    let mut hash = Hash::default();
                    hash.set(b"stays", b"1", limits, &hasher);
                    keyspace.set(key, Value::Hash(hash), Ttl::Keep);
                }
                keyspace.edit(key, |value| {
                    let Value::Hash(hash) = value else { return Edited::Kept(()) };
                    if field == 2 {
                        hash.remove(b"stays", &hasher);
                    }
                    hash.set(&[field], b"1", limits, &hasher);
                    if let Some(ms) = ms {
                        hash.set_end(&[field], now + ms, &hasher);
                    }
                    Edited::Changed(())
                });
            }
            Act::Pass(ms) => keyspace.begin(now + ms),
            Act::Look(n) => {
                let bytes = name(n);
                let key = keyspace.key(Slot::of(&bytes), &bytes);
                keyspace.peek(key);
            }
            Act::ClearSlot(n) => {
                keyspace.clear_slot(Slot::of(&name(n)));
            }
            Act::Clear => {
                keyspace.clear();
            }
            Act::Mend => keyspace.rebuild_index(),
        }
    }

    proptest! {
        /// However the steps are split into batches, and however batches are joined on their way,
        /// the replica ends with the master's keys.
        #[test]
        fn a_replica_becomes_its_master(
            acts in prop::collection::vec((act(), any::<bool>(), any::<bool>()), 0..40),
        ) {
            let (mut master, mut replica) = (keyspace(), keyspace());
            master.set_journaling(true);
            let mut late = Changes::default();
            for (act, ends, arrives) in &acts {
                perform(&mut master, act);
                if *ends {
                    late.then(master.take_changes());
                }
                if *arrives {
                    replica.apply_changes(std::mem::take(&mut late));
                }
            }
            late.then(master.take_changes());
            replica.apply_changes(late);
            prop_assert_eq!(contents(&replica), contents(&master));
            prop_assert_eq!(replica.len(), master.len());
            prop_assert_eq!(replica.volatile(), master.volatile());
            prop_assert_eq!(replica.with_ends(), master.with_ends());
            let slots = |keyspace: &Keyspace| -> Vec<(u32, u32, u32)> {
                let of = |slot: &SlotTable| (slot.expiring, slot.volatile, slot.with_ends);
                keyspace.slots.iter().map(of).collect()
            };
            let counted = (slots(&master), master.volatile(), master.with_ends());
            master.rebuild_index();
            prop_assert_eq!((slots(&master), master.volatile(), master.with_ends()), counted);
            master.take_changes();
            prop_assert!(!master.has_changes());
            let mut anew = keyspace();
            anew.apply_changes(master.snapshot());
            prop_assert_eq!(contents(&anew), contents(&master));
        }
    }

    #[test]
    fn nothing_is_recorded_without_a_replica() {
        let mut keyspace = keyspace();
        perform(&mut keyspace, &Act::Set(1, 1));
        assert!(!keyspace.has_changes() && keyspace.take_changes().is_empty());
        keyspace.set_journaling(true);
        perform(&mut keyspace, &Act::Look(1));
        assert!(!keyspace.has_changes(), "what was only read has not changed");
        perform(&mut keyspace, &Act::Add(1));
        perform(&mut keyspace, &Act::Add(1));
        assert!(keyspace.has_changes() && keyspace.take_changes().len() == 1);
        keyspace.set_journaling(false);
        perform(&mut keyspace, &Act::Add(1));
        assert!(!keyspace.has_changes());
    }

    /// A replica hides an expired key, but only removes it when the master's changes do.
    #[test]
    fn a_hash_goes_with_its_last_field() {
        let mut master = keyspace();
        let add = |keyspace: &mut Keyspace, key: &[u8]| {
            let (limits, hasher) = (keyspace.limits.hash, keyspace.hasher().clone());
            let mut hash = Hash::default();
            for name in [b"a", b"b"] {
                hash.set(name, b"1", limits, &hasher);
                hash.set_end(name, 1005, &hasher);
            }
            let key = keyspace.key(Slot::of(key), key);
            keyspace.set(key, Value::Hash(hash), Ttl::Clear);
        };
        add(&mut master, b"k");
        let mut replica = keyspace();
        replica.apply_changes(master.snapshot());
        replica.is_replica = true;
        for keyspace in [&mut master, &mut replica] {
            assert_eq!(keyspace.with_ends(), 1);
            keyspace.begin(1006);
            assert!(keyspace.peek(keyspace.key(Slot::of(b"k"), b"k")).is_none());
        }
        assert_eq!((master.len(), master.with_ends(), master.counts().expired_fields), (0, 0, 2));
        // A replica hides it, until the master's change arrives or it is a master itself.
        assert_eq!(
            (replica.len(), replica.with_ends(), replica.counts().expired_fields),
            (1, 1, 0)
        );
        replica.is_replica = false;
        assert!(replica.peek(replica.key(Slot::of(b"k"), b"k")).is_none());
        assert_eq!(
            (replica.len(), replica.with_ends(), replica.counts().expired_fields),
            (0, 0, 2)
        );
    }

    #[test]
    fn expired_keys_go_when_the_master_removes_them() {
        let (mut master, mut replica) = (keyspace(), keyspace());
        master.set_journaling(true);
        replica.is_replica = true;
        perform(&mut master, &Act::SetFor(1, 10));
        replica.apply_changes(master.take_changes());
        for keyspace in [&mut master, &mut replica] {
            keyspace.begin(1011);
        }
        let bytes = b"{1}1";
        let key = replica.key(Slot::of(bytes), bytes);
        assert!(replica.peek(key).is_none() && replica.len() == 1);
        assert_eq!(replica.expire_some(replica.slots(), 100), (0, 0));
        assert!(master.peek(key).is_none() && master.is_empty());
        replica.apply_changes(master.take_changes());
        assert!(replica.is_empty() && replica.counts().expired == 0);
        perform(&mut master, &Act::SetFor(1, 10));
        replica.apply_changes(master.take_changes());
        replica.begin(2000);
        perform(&mut master, &Act::Set(1, 5));
        replica.apply_changes(master.take_changes());
        assert_eq!(contents(&replica), contents(&master));
    }
}
