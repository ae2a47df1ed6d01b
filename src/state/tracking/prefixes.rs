//! The prefixes that clients in broadcast mode are notified of, and the keys that have changed since
//! the clients were last notified.

use std::collections::{BTreeMap, BTreeSet};

/// Changed keys, each with the client that changed it last; 0 if none did.
pub(super) type ChangedKeys = BTreeMap<Box<[u8]>, u64>;

/// A prefix that clients have registered.
#[derive(Debug, Default)]
pub(super) struct Prefix {
    clients: BTreeSet<u64>,
    changed: ChangedKeys,
}

/// The registered prefixes. None is without clients.
#[derive(Debug, Default)]
pub(super) struct Prefixes(BTreeMap<Box<[u8]>, Prefix>);

impl Prefixes {
    /// Returns the number of prefixes.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Registers a prefix for a client.
    pub(super) fn add(&mut self, prefix: &[u8], client: u64) {
        if !self.0.contains_key(prefix) {
            self.0.insert(prefix.into(), Prefix::default());
        }
        if let Some(registered) = self.0.get_mut(prefix) {
            registered.clients.insert(client);
        }
    }

    /// Removes all prefixes of a client.
    pub(super) fn remove(&mut self, client: u64) {
        self.0.retain(|_, prefix| {
            prefix.clients.remove(&client);
            !prefix.clients.is_empty()
        });
    }

    /// Returns the prefixes of a client, in order.
    pub(super) fn of(&self, client: u64) -> Vec<Box<[u8]>> {
        let own = self.0.iter().filter(|(_, prefix)| prefix.clients.contains(&client));
        own.map(|(name, _)| name.clone()).collect()
    }

    /// Notes that a client, 0 for none, has changed a key; returns whether it has a prefix.
    pub(super) fn note(&mut self, key: &[u8], writer: u64) -> bool {
        let mut is_wanted = false;
        for (_, prefix) in self.0.iter_mut().filter(|(name, _)| key.starts_with(name)) {
            is_wanted = true;
            match prefix.changed.get_mut(key) {
                Some(last) => *last = writer,
                None => _ = prefix.changed.insert(key.into(), writer),
            }
        }
        is_wanted
    }

    /// Takes the keys that have changed, by prefix, with the clients to be notified.
    pub(super) fn take(&mut self) -> Vec<(ChangedKeys, Vec<u64>)> {
        let changed = self.0.values_mut().filter(|prefix| !prefix.changed.is_empty());
        let take = |prefix: &mut Prefix| {
            (std::mem::take(&mut prefix.changed), prefix.clients.iter().copied().collect())
        };
        changed.map(take).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_noted_under_each_prefix_with_its_last_writer() {
        let mut prefixes = Prefixes::default();
        for (prefix, client) in [(&b"ab"[..], 1), (b"", 2), (b"ab", 3), (b"x", 3)] {
            prefixes.add(prefix, client);
        }
        assert_eq!((prefixes.len(), prefixes.of(3)), (3, vec![b"ab"[..].into(), b"x"[..].into()]));
        assert!(prefixes.note(b"abc", 9) && prefixes.note(b"a", 9) && prefixes.note(b"abc", 8));
        let names = |keys: &ChangedKeys| {
            keys.iter().map(|(key, writer)| (key.to_vec(), *writer)).collect::<Vec<_>>()
        };
        let taken: Vec<_> =
            prefixes.take().iter().map(|(keys, clients)| (names(keys), clients.clone())).collect();
        let (a, abc) = ((b"a".to_vec(), 9), (b"abc".to_vec(), 8));
        assert_eq!(taken, [(vec![a, abc.clone()], vec![2]), (vec![abc], vec![1, 3])]);
        assert!(prefixes.take().is_empty());
        prefixes.remove(3);
        prefixes.remove(2);
        assert_eq!((prefixes.len(), prefixes.of(1)), (1, vec![b"ab"[..].into()]));
        assert!(!prefixes.note(b"x", 1));
    }
}
