//! Streams: entries under ascending ids, and the groups that consume them.
//!
//! ```text
//! stream/id        the id of an entry
//! stream/node      a run of entries, packed
//! stream/id_map    a sorted map from ids to small values
//! stream/group     a consumer group and its consumers
//! stream/log       the entries and their counters
//! stream/range     the entries between two ids, both ways
//! stream/lag       how many entries a group has not read
//! stream/radix     how many nodes the radix tree of Redis would have
//!
//! Stream
//!  ├─ log      first id ──► Node
//!  └─ groups   name ──► Group { pending, consumers }
//! ```
//!
//! The one collection that may be empty: a stream stays when its last entry goes.

mod id;
mod node;
mod id_map;
mod group;
mod log;
mod range;
mod lag;
mod references;
mod radix;

pub(crate) use group::{Consumer, ConsumerNumber, Group, Pending};
pub(crate) use id::StreamId;
pub(crate) use log::{NODE_BYTES_MAX, NodeLimits, StreamLog, TrimTo};
pub(crate) use range::StreamEntry;
pub(crate) use references::{Deletion, Eraser, References};

use crate::dialect::Lags;
use crate::rdb::{ConsumerParts, GroupParts, PendingParts, StreamParts};
use node::Node;
use std::collections::BTreeMap;

/// Groups by their names.
type Groups = BTreeMap<Box<[u8]>, Group>;

/// A stream.
#[derive(Clone, Debug, Default)]
pub struct Stream {
    /// Its entries.
    pub log: StreamLog,
    groups: Groups,
}

impl Stream {
    /// Returns a group.
    #[must_use]
    pub fn group(&self, name: &[u8]) -> Option<&Group> {
        self.groups.get(name)
    }

    /// Returns a group, to be changed.
    pub fn group_mut(&mut self, name: &[u8]) -> Option<&mut Group> {
        self.groups.get_mut(name)
    }

    /// Returns the entries together with a group, to be changed.
    pub fn log_and_group(&mut self, name: &[u8]) -> Option<(&StreamLog, &mut Group)> {
        Some((&self.log, self.groups.get_mut(name)?))
    }

    /// Returns the groups in the order of their names.
    pub fn groups(&self) -> impl ExactSizeIterator<Item = (&[u8], &Group)> {
        self.groups.iter().map(|(name, group)| (&**name, group))
    }

    /// Adds a group; returns whether there was none of this name.
    pub fn add_group(&mut self, name: &[u8], group: Group) -> bool {
        let is_new = !self.groups.contains_key(name);
        if is_new {
            self.groups.insert(name.into(), group);
        }
        is_new
    }

    /// Removes a group.
    pub fn remove_group(&mut self, name: &[u8]) -> Option<Group> {
        self.groups.remove(name)
    }

    /// Returns about how many steps copying it takes, in the unit of `Pace`.
    #[must_use]
    pub fn weight(&self) -> usize {
        /// For a node of the usual size.
        const NODE_STEPS: usize = 16;
        let pending: usize = self.groups.values().map(|group| group.pending().len()).sum();
        NODE_STEPS * self.log.nodes.len() + pending
    }

    /// Returns about how many bytes of memory it takes.
    #[must_use]
    pub fn memory(&self) -> usize {
        let of_node = 2 * (size_of::<StreamId>() + size_of::<Node>());
        let nodes: usize = self.log.nodes.values().map(|node| of_node + node.memory()).sum();
        let groups: usize =
            self.groups.iter().map(|(name, group)| 2 * name.len() + group.memory()).sum();
        size_of::<Self>() + nodes + groups
    }

    /// Makes a stream from the parts of a payload, which are valid.
    #[must_use]
    pub(crate) fn from_parts(parts: StreamParts) -> Self {
        let id = |(ms, seq): (u64, u64)| StreamId { ms, seq };
        let nodes = parts.nodes.into_iter();
        let mut log = StreamLog {
            nodes: nodes.map(|(at, packed)| (id(at), Node::from_packed(packed))).collect(),
            len: parts.len,
            last_id: id(parts.last_id),
            first_id: StreamId::MIN,
            max_deleted_id: id(parts.max_deleted_id),
            entries_added: parts.entries_added,
        };
        log.find_first_id();
        let mut stream = Self { log, groups: BTreeMap::new() };
        for parts in parts.groups {
            let GroupParts { name, last_id, entries_read, pending, consumers } = parts;
            let last_id = id(last_id);
            // What earlier servers did not store is worked out, if it can be.
            let entries_read =
                entries_read.unwrap_or_else(|| stream.log.estimate_read(last_id, Lags::Redis8));
            let mut group = Group::new(last_id, entries_read);
            for ConsumerParts { name, seen_at, active_at, pending: ids } in consumers {
                let number = group.add_consumer(&name, seen_at);
                // As Redis 7.2 does with what earlier servers did not store.
                group.consumer_mut(number).active_at = active_at.unwrap_or(seen_at);
                for at in ids {
                    if let Some(of) = pending.get(&at) {
                        group.assign(id(at), number, of.delivered_at, of.deliveries);
                    }
                }
            }
            stream.add_group(&name, group);
        }
        stream
    }

    /// Returns the parts of its payload.
    #[must_use]
    pub(crate) fn parts(&self) -> StreamParts {
        let pair = |id: StreamId| (id.ms, id.seq);
        let nodes = self.log.nodes.iter().map(|(&id, node)| (pair(id), node.packed().to_vec()));
        let groups = self.groups.iter().map(|(name, group)| {
            let pending = group.pending().iter().map(|(id, pending)| {
                let &Pending { delivered_at, deliveries, .. } = pending;
                (pair(id), PendingParts { delivered_at, deliveries })
            });
            let consumers = group.consumers().map(|consumer| ConsumerParts {
                name: consumer.name().to_vec(),
                seen_at: consumer.seen_at,
                active_at: Some(consumer.active_at),
                pending: consumer.pending().iter().map(|(id, ())| pair(id)).collect(),
            });
            GroupParts {
                name: name.to_vec(),
                last_id: pair(group.last_id),
                entries_read: Some(group.entries_read),
                pending: pending.collect(),
                consumers: consumers.collect(),
            }
        });
        StreamParts {
            nodes: nodes.collect(),
            len: self.log.len,
            last_id: pair(self.log.last_id),
            first_id: pair(self.log.first_id),
            max_deleted_id: pair(self.log.max_deleted_id),
            entries_added: self.log.entries_added,
            groups: groups.collect(),
        }
    }
}

#[cfg(test)]
mod tests;
