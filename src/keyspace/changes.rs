//! What has changed in a keyspace, for another one that follows it: state, not commands.
//!
//! ```text
//! touch ─► Notes: which keys       batch done ─► Changes: what they hold now ─► the follower
//! ```
//!
//! Nothing is noted while nobody follows. A key that was changed twice within a batch is copied once,
//! as it is at the end, so that the follower never sees half a transaction.

use super::journal::Journal;
use super::{DetachedValue, Entry, Key, Keyspace, Ttl};
use crate::slot::Slot;
use std::collections::{BTreeMap, BTreeSet};

/// About what a changed key takes besides its bytes and its value.
const KEY_OVERHEAD: usize = 64;

/// What became of a keyspace between two moments: first it was emptied, if it was, then slots were,
/// then these keys came to hold what they hold.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    cleared: bool,
    slots: BTreeSet<Slot>,
    /// `None` for a key that is gone.
    keys: BTreeMap<Box<[u8]>, Option<DetachedValue>>,
}

impl Changes {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        usize::from(self.cleared) + self.slots.len() + self.keys.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// About how many bytes of memory they take.
    #[must_use]
    pub fn memory(&self) -> usize {
        let of = |held: &Option<DetachedValue>| held.as_ref().map_or(0, |held| held.value.memory());
        let keys: usize =
            self.keys.iter().map(|(key, held)| KEY_OVERHEAD + key.len() + of(held)).sum();
        size_of::<Self>() + size_of::<Slot>() * self.slots.len() + keys
    }

    /// Adds what happened after these, so that both are one step.
    pub fn then(&mut self, later: Self) {
        if later.cleared {
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
    /// Whether changes are noted from now on, for [`Keyspace::take_changes`].
    pub fn set_journaling(&mut self, wanted: bool) {
        if !wanted {
            self.journal = None;
        } else if self.journal.is_none() {
            self.journal = Some(Box::default());
        }
    }

    /// Whether something has changed that was noted and not taken yet.
    #[must_use]
    #[inline]
    pub fn has_changes(&self) -> bool {
        self.journal.as_ref().is_some_and(|journal| !journal.is_empty())
    }

    /// Takes what has changed since this was last asked.
    pub fn take_changes(&mut self) -> Changes {
        let Some(journal) = &mut self.journal else { return Changes::default() };
        let Journal { everything, cleared, slots, keys } = std::mem::take(&mut **journal);
        if everything {
            return self.snapshot();
        }
        let copied = keys.into_iter().map(|bytes| {
            let held = self.entry_even_expired(&bytes).map(copy_of);
            (bytes, held)
        });
        Changes { cleared, slots, keys: copied.collect() }
    }

    /// All keys, as changes of an empty keyspace.
    #[must_use]
    pub fn snapshot(&self) -> Changes {
        let entries = self.slots.iter().flat_map(|slot| slot.table.entries());
        let keys = entries.map(|entry| ((*entry.key).into(), Some(copy_of(entry)))).collect();
        Changes { cleared: true, slots: BTreeSet::new(), keys }
    }

    /// Makes changes of another keyspace here. Who watches a key is told; the events were told where
    /// the commands ran.
    pub fn apply_changes(&mut self, changes: Changes) {
        let wanted = std::mem::take(&mut self.events_wanted);
        let Changes { cleared, slots, keys } = changes;
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
        self.events_wanted = wanted;
    }

    /// Puts what another keyspace has under a key in place of whatever is here, be it expired.
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

    /// The entry of a key, expired or not.
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
    use crate::keyspace::{Edited, KeyHasher, Value};
    use proptest::prelude::*;

    fn keyspace() -> Keyspace {
        let mut keyspace = Keyspace::new(std::iter::empty(), KeyHasher::new(1), 1);
        keyspace.begin(1000);
        keyspace
    }

    /// What a client could tell keyspaces apart by.
    fn contents(keyspace: &Keyspace) -> Vec<(Vec<u8>, Vec<u8>, Option<i64>)> {
        let entries = keyspace.slots.iter().flat_map(|slot| slot.table.entries());
        let mut all: Vec<_> = entries
            .map(|entry| {
                let text = entry.value.as_text().map(|text| text.to_vec()).unwrap_or_default();
                (entry.key.to_vec(), text, entry.expires_at())
            })
            .collect();
        all.sort();
        all
    }

    /// Something that changes a keyspace.
    #[derive(Clone, Debug)]
    enum Act {
        Set(u8, i64),
        SetFor(u8, i64),
        Add(u8),
        Delete(u8),
        Expire(u8, i64),
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
        /// However what happens is cut into batches, and however batches are put together on their
        /// way, the follower ends up with what the other has.
        #[test]
        fn a_follower_becomes_what_it_follows(
            acts in prop::collection::vec((act(), any::<bool>(), any::<bool>()), 0..40),
        ) {
            let (mut leader, mut follower) = (keyspace(), keyspace());
            leader.set_journaling(true);
            let mut late = Changes::default();
            for (act, ends, arrives) in &acts {
                perform(&mut leader, act);
                if *ends {
                    late.then(leader.take_changes());
                }
                if *arrives {
                    follower.apply_changes(std::mem::take(&mut late));
                }
            }
            late.then(leader.take_changes());
            follower.apply_changes(late);
            prop_assert_eq!(contents(&follower), contents(&leader));
            prop_assert_eq!(follower.len(), leader.len());
            prop_assert_eq!(follower.volatile(), leader.volatile());
            prop_assert!(!leader.has_changes());
            let mut anew = keyspace();
            anew.apply_changes(leader.snapshot());
            prop_assert_eq!(contents(&anew), contents(&leader));
        }
    }

    #[test]
    fn nothing_is_noted_while_nobody_follows() {
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

    /// A follower does not decide that a key is gone: it does not show it, and waits to be told.
    #[test]
    fn what_has_expired_goes_when_the_other_says_so() {
        let (mut leader, mut follower) = (keyspace(), keyspace());
        leader.set_journaling(true);
        follower.is_replica = true;
        perform(&mut leader, &Act::SetFor(1, 10));
        follower.apply_changes(leader.take_changes());
        for keyspace in [&mut leader, &mut follower] {
            keyspace.begin(1011);
        }
        let bytes = b"{1}1";
        let key = follower.key(Slot::of(bytes), bytes);
        assert!(follower.peek(key).is_none() && follower.len() == 1);
        assert_eq!(follower.expire_some(follower.slots(), 100), (0, 0));
        assert!(leader.peek(key).is_none() && leader.is_empty());
        follower.apply_changes(leader.take_changes());
        assert!(follower.is_empty() && follower.counts().expired == 0);
        perform(&mut leader, &Act::SetFor(1, 10));
        follower.apply_changes(leader.take_changes());
        follower.begin(2000);
        perform(&mut leader, &Act::Set(1, 5));
        follower.apply_changes(leader.take_changes());
        assert_eq!(contents(&follower), contents(&leader));
    }
}
