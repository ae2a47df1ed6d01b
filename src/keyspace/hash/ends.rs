//! When the fields of a hash expire.
//!
//! ```text
//! by_name   Table<End>: a field's end
//! due       BTreeSet<(end, name)>: the next fields to expire
//! ```
//!
//! A name that expires is stored three times, once with its value; a hash without ends stores nothing of
//! this. Fields that have expired are taken out before a command sees the hash: the entry of its key is
//! due with the first of them (see `entry`).

use crate::keyspace::entry::NEVER;
use crate::keyspace::{Blob, KeyHasher, Keyed, Millis, Table};
use std::collections::BTreeSet;

/// The last millisecond at which a field exists.
#[derive(Clone, Debug)]
struct End {
    name: Blob,
    at: Millis,
}

impl Keyed for End {
    fn key(&self) -> &[u8] {
        &self.name
    }
}

/// See the top of the file.
#[derive(Clone, Debug, Default)]
pub(super) struct Ends {
    by_name: Table<End>,
    due: BTreeSet<(Millis, Blob)>,
    /// When the key expires, in the form of an entry; `None` before an entry has taken the hash in.
    pub(super) key_expires_at: Option<Millis>,
}

impl Ends {
    /// Returns how many fields expire.
    pub(super) fn len(&self) -> usize {
        self.due.len()
    }

    /// Returns the end of a field, if it has one.
    pub(super) fn get(&self, name: &[u8], hasher: &KeyHasher) -> Option<Millis> {
        let at = self.by_name.find(name, hasher.hash(name))?;
        Some(self.by_name.entries()[at].at)
    }

    /// Sets the end of a field, which exists.
    pub(super) fn set(&mut self, name: &[u8], at: Millis, hasher: &KeyHasher) {
        let hash = hasher.hash(name);
        if let Some(place) = self.by_name.find(name, hash) {
            let end = self.by_name.at_mut(place);
            let before = std::mem::replace(&mut end.at, at);
            self.due.remove(&(before, end.name.clone()));
        } else {
            self.by_name.insert(End { name: name.into(), at }, hash, hasher);
        }
        self.due.insert((at, name.into()));
    }

    /// Removes the end of a field; returns whether it had one.
    pub(super) fn clear(&mut self, name: &[u8], hasher: &KeyHasher) -> bool {
        let Some(place) = self.by_name.find(name, hasher.hash(name)) else { return false };
        let End { name, at } = self.by_name.remove(place, hasher);
        self.due.remove(&(at, name))
    }

    /// Returns when the next field expires, in the form of an entry.
    pub(super) fn next(&self) -> Millis {
        self.due.first().map_or(NEVER, |&(at, _)| at)
    }

    /// Returns when the last field that expires does.
    pub(super) fn last(&self) -> Option<Millis> {
        self.due.last().map(|&(at, _)| at)
    }

    /// Removes the end of the first field that has expired; returns the field's name.
    pub(super) fn pop_due(&mut self, now: Millis, hasher: &KeyHasher) -> Option<Blob> {
        let (_, name) = self.due.first().filter(|(at, _)| *at < now)?;
        let name = name.clone();
        self.clear(&name, hasher);
        Some(name)
    }

    /// Returns about how many bytes of memory it takes.
    pub(super) fn memory(&self) -> usize {
        /// Of a tree's node of up to 11 elements the part of one, which is two thirds full.
        const BYTES_PER_DUE: usize = size_of::<(Millis, Blob)>() * 3 / 2;
        let apart = |end: &End| 2 * end.name.memory();
        let ends = self.by_name.entries();
        size_of::<Self>()
            + ends.len() * (size_of::<End>() + size_of::<u64>() + BYTES_PER_DUE)
            + ends.iter().map(apart).sum::<usize>()
    }

    /// Checks the invariants.
    #[cfg(test)]
    pub(super) fn assert_invariants(&self, hasher: &KeyHasher, is_there: impl Fn(&[u8]) -> bool) {
        self.by_name.assert_invariants(hasher);
        assert_eq!(self.by_name.len(), self.due.len());
        for End { name, at } in self.by_name.entries() {
            assert!(self.due.contains(&(*at, name.clone())) && is_there(name));
        }
    }
}
