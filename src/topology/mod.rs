//! Who owns which slot, who the nodes are, and what a node says to a request.
//!
//! ```text
//! words   one per slot, read on every request:   look closer? | shard | owner
//! map     nodes, epochs, slots on the move:      behind a lock; for CLUSTER, and where a word
//!                                                says to look closer
//! ```
//!
//! A *node* is what clients see: an id, an address, slots that it owns. A *shard* is what runs the
//! commands of a slot: where its table lies. Each master has a shard of its own; its replicas
//! serve from the same one, or, if they are to lag, each from its own that follows. There is one map for all nodes, so that a change is known everywhere
//! at once, where a real cluster would gossip; but each node has its own list of the nodes it has
//! met, so that clusters can be put together and taken apart.
//!
//! Whoever changes a slot's owner holds the shards of the old and the new one, so that a request
//! that has looked at the slot's word while it holds the shard may rely on it.

mod map;
mod announce;
mod error;
mod route;
mod view;
mod change;

pub use announce::{Announce, AnnouncedHost, Port};
pub use error::TopologyError;
pub use map::{LAG_MS_MAX, Node, NodeNumber, Plan, Role, SlotMigration};
pub use route::{KeyPresence, RequestFlags, Route, WaiterRoute};
pub use view::{NodeView, View};

use crate::keyspace::Millis;
use crate::slot::{SLOTS, Slot};
use map::Map;
use parking_lot::RwLock;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// Most shards of one process: what Redis recommends as the most nodes of a cluster.
pub const SHARDS_MAX: usize = 1000;
/// Most nodes, replicas and spares counted.
pub const NODES_MAX: usize = 4 * SHARDS_MAX;

/// Stands for the owner of a slot that nobody owns.
const NO_OWNER: u32 = 0xFFFF;
/// Where a word has the shard.
const SHARD_SHIFT: u32 = 16;
/// The owner alone does not say what becomes of a request: ask [`Topology::judge`].
const SLOW_PATH: u32 = 1 << 31;

/// Slots, nodes, and what is on the move.
#[derive(Debug)]
pub struct Topology {
    words: Box<[AtomicU32]>,
    /// By node: the shard it serves from.
    shard_of_nodes: Box<[AtomicU32]>,
    map: RwLock<Map>,
    masters: usize,
    /// Whether replicas serve from their masters' shards.
    replicas_share_shards: bool,
    /// How far they are behind at the start.
    replica_lag_ms: Option<Millis>,
    /// `cluster-require-full-coverage`.
    needs_all_slots: AtomicBool,
    /// `cluster-allow-reads-when-down`.
    reads_when_down: AtomicBool,
    /// How often anything of this has changed.
    version: AtomicU64,
}

/// A node's part in replication.
#[derive(Clone, Debug)]
pub enum ReplicationRole {
    /// A master with these replicas.
    Master(Vec<Node>),
    /// A replica of this one.
    ReplicaOf(Box<Node>),
}

/// A shard that follows another, late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplicaLink {
    /// The replica's.
    pub shard: usize,
    /// Its master's.
    pub master_shard: usize,
    /// Whether the master is up.
    pub is_up: bool,
}

impl Topology {
    /// Deals all slots out to the masters of a plan, 1 to [`SHARDS_MAX`] of them, in contiguous
    /// runs: the same runs that `redis-cli --cluster create` would give them, so that nobody has to
    /// learn a new layout.
    ///
    /// # Panics
    /// If there are fewer or more masters, or more than [`NODES_MAX`] nodes.
    #[must_use]
    pub fn new(plan: Plan) -> Self {
        let masters = plan.masters;
        assert!((1..=SHARDS_MAX).contains(&masters), "1 to {SHARDS_MAX} shards");
        assert!(plan.nodes() <= NODES_MAX, "at most {NODES_MAX} nodes");
        let per_master = f64::from(SLOTS) / masters as f64;
        let mut words = Vec::with_capacity(SLOTS as usize);
        for master in 0..masters {
            let end = match master + 1 {
                last if last == masters => SLOTS as usize,
                next => (next as f64 * per_master - 1.0).round() as usize + 1,
            };
            words.resize_with(end, || AtomicU32::new(word(master, master)));
        }
        let map = Map::of(&plan);
        let topology = Self {
            words: words.into_boxed_slice(),
            shard_of_nodes: map
                .nodes
                .iter()
                .map(|node| AtomicU32::new(node.shard as u32))
                .collect(),
            map: RwLock::new(map),
            masters,
            replicas_share_shards: plan.replica_lag_ms.is_none(),
            replica_lag_ms: plan.replica_lag_ms,
            needs_all_slots: AtomicBool::new(true),
            reads_when_down: AtomicBool::new(false),
            version: AtomicU64::new(0),
        };
        topology.refresh(&mut topology.map.write());
        topology
    }

    /// So many masters, alone.
    ///
    /// # Panics
    /// As [`Topology::new`].
    #[must_use]
    pub fn even(masters: usize) -> Self {
        Self::new(Plan::of_masters(masters, 0))
    }

    /// Returns how many shards there are: one for each node, though a replica may never need its
    /// own.
    #[must_use]
    pub fn shards(&self) -> usize {
        self.shard_of_nodes.len()
    }

    /// Returns how many nodes there are.
    #[must_use]
    pub fn nodes(&self) -> usize {
        self.shard_of_nodes.len()
    }

    /// Returns how many masters there were at the start.
    #[must_use]
    pub fn masters(&self) -> usize {
        self.masters
    }

    /// Returns whether replicas serve from their masters' shards, and so are never behind.
    #[must_use]
    pub fn replicas_share_shards(&self) -> bool {
        self.replicas_share_shards
    }

    /// By how many milliseconds replicas lag at the start, if they do.
    #[must_use]
    pub fn replica_lag_ms(&self) -> Option<Millis> {
        self.replica_lag_ms
    }

    /// Returns which shards follow others: replicas that serve from a shard of their own.
    #[must_use]
    pub fn desired_replica_links(&self) -> Vec<ReplicaLink> {
        let map = self.map.read();
        let following = |node: &Node| {
            let Role::ReplicaOf(master) = node.role else { return None };
            let (master, shard) = (map.node(master), node.shard);
            let (master_shard, is_up) = (master.shard, master.is_up);
            (master_shard != shard).then_some(ReplicaLink { shard, master_shard, is_up })
        };
        map.nodes.iter().filter_map(following).collect()
    }

    /// Returns whether the node that serves from `shard` as a master took that place by force.
    #[must_use]
    pub fn loses_backlog(&self, shard: usize) -> bool {
        let map = self.map.read();
        map.nodes
            .iter()
            .any(|node| node.shard == shard && node.role == Role::Master && node.loses_backlog)
    }

    /// Returns the shard that `node` serves from. Sure while that shard is held.
    #[must_use]
    #[inline]
    pub fn shard_of_node(&self, node: NodeNumber) -> usize {
        self.shard_of_nodes[node].load(Ordering::Relaxed) as usize
    }

    /// Returns the shards that masters of the cluster serve from, ascending: together they hold
    /// every key.
    #[must_use]
    pub fn shards_of_masters(&self) -> Vec<usize> {
        let map = self.map.read();
        let met = &map.node(self.router_node(&map)).met;
        let masters = met.iter().map(|&number| map.node(number)).filter(|n| n.role == Role::Master);
        let mut shards: Vec<usize> = masters.map(|node| node.shard).collect();
        shards.sort_unstable();
        shards.dedup();
        shards
    }

    /// Returns the shard that runs `slot`. Sure while that shard is held.
    #[must_use]
    #[inline]
    pub fn shard_of(&self, slot: Slot) -> usize {
        ((self.word(slot) & !SLOW_PATH) >> SHARD_SHIFT) as usize
    }

    /// Returns whether a request for `slot` that came in at `port` runs on `shard`, whatever its
    /// manner and whichever its keys. If not, look closer.
    #[must_use]
    #[inline]
    pub fn serves_directly(&self, slot: Slot, shard: usize, port: Port) -> bool {
        let word = self.word(slot);
        match port {
            Port::Router => word >> SHARD_SHIFT == shard as u32,
            Port::Node(node) => word == self::word(node, shard),
        }
    }

    /// Returns the slots that `shard` runs, ascending.
    pub fn slots_of(&self, shard: usize) -> impl Iterator<Item = Slot> {
        Slot::all().filter(move |&slot| self.shard_of(slot) == shard)
    }

    /// Returns how often anything of this has changed.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Returns whether `slot` has an owner that serves, and is not on the move.
    #[must_use]
    #[inline]
    pub fn is_stable(&self, slot: Slot) -> bool {
        self.word(slot) & SLOW_PATH == 0
    }

    /// Returns the node that owns `slot`.
    #[must_use]
    pub fn owner_of(&self, slot: Slot) -> Option<NodeNumber> {
        let owner = self.word(slot) & NO_OWNER;
        (owner != NO_OWNER).then_some(owner as NodeNumber)
    }

    #[inline]
    fn word(&self, slot: Slot) -> u32 {
        self.words[slot.index()].load(Ordering::Relaxed)
    }

    /// Returns whether `node` sees a cluster that serves: with `cluster-require-full-coverage`, one
    /// where every slot has an owner that it knows and that is up.
    fn is_cluster_ok(&self, map: &Map, node: NodeNumber) -> bool {
        if map.is_down {
            return false;
        }
        if !self.needs_all_slots.load(Ordering::Relaxed) {
            return true;
        }
        let me = map.node(node);
        // Most slots come in runs of one owner.
        let mut last = None;
        self.words.iter().all(|word| {
            let owner = word.load(Ordering::Relaxed) & NO_OWNER;
            if last == Some(owner) {
                return true;
            }
            last = Some(owner);
            owner != NO_OWNER && me.knows(owner as usize) && map.node(owner as usize).is_up
        })
    }

    /// Returns whether `slot` has an owner that `node` has met.
    #[must_use]
    pub fn is_owner_known(&self, slot: Slot, node: NodeNumber) -> bool {
        self.owner_of(slot).is_some_and(|owner| self.map.read().node(node).knows(owner))
    }

    /// Returns what is known of `node` at this moment.
    #[must_use]
    pub fn node(&self, node: NodeNumber) -> Node {
        self.map.read().node(node).clone()
    }

    /// Looks at all nodes at this moment, in the order of their numbers.
    pub fn with_nodes<R>(&self, look: impl FnOnce(&[Node]) -> R) -> R {
        look(&self.map.read().nodes)
    }

    /// Returns the node that listens on `port`.
    #[must_use]
    pub fn node_at(&self, port: u16) -> Option<NodeNumber> {
        self.map.read().nodes.iter().position(|node| node.port == port && port != 0)
    }

    /// Who a client of `port` speaks to, as replication has it: a replica with its master, or a
    /// master with its replicas that are up. The router has neither.
    #[must_use]
    pub fn replication_role(&self, port: Port) -> ReplicationRole {
        let Port::Node(me) = port else { return ReplicationRole::Master(Vec::new()) };
        let map = self.map.read();
        match map.node(me).role {
            Role::ReplicaOf(master) => {
                ReplicationRole::ReplicaOf(Box::new(map.node(master).clone()))
            }
            Role::Master => {
                let is_mine = |node: &&Node| node.role == Role::ReplicaOf(me) && node.is_up;
                ReplicationRole::Master(map.nodes.iter().filter(is_mine).cloned().collect())
            }
        }
    }

    /// Returns the port that `node` listens on; 0 if it listens nowhere.
    #[must_use]
    pub fn port_of(&self, node: NodeNumber) -> u16 {
        self.map.read().node(node).port
    }

    /// Returns whether it is a replica that a client speaks to.
    #[must_use]
    pub fn is_replica(&self, port: Port) -> bool {
        match port {
            Port::Router => false,
            Port::Node(node) => matches!(self.map.read().node(node).role, Role::ReplicaOf(_)),
        }
    }

    /// Returns whether a slot's table is being moved, and from which shard to which.
    #[must_use]
    pub fn migration_of(&self, slot: Slot) -> Option<SlotMigration> {
        let map = self.map.read();
        let owner = self.owner_of(slot)?;
        let target = *map.node(owner).migrating.get(&slot)?;
        let (from, to) = (map.node(owner).shard, map.node(target).shard);
        (from != to).then_some(SlotMigration { from, to })
    }
}

fn word(owner: NodeNumber, shard: usize) -> u32 {
    owner as u32 | (shard as u32) << SHARD_SHIFT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_dealt_out_as_redis_cli_does() {
        let ends = |shards| {
            let topology = Topology::even(shards);
            let range = |s| {
                let slots: Vec<u16> = topology.slots_of(s).map(Slot::number).collect();
                assert!(slots.windows(2).all(|w| w[1] == w[0] + 1));
                (slots[0], slots[slots.len() - 1])
            };
            (0..shards).map(range).collect::<Vec<_>>()
        };
        assert_eq!(ends(1), [(0, 16383)]);
        assert_eq!(ends(3), [(0, 5460), (5461, 10922), (10923, 16383)]);
        assert_eq!(ends(4), [(0, 4095), (4096, 8191), (8192, 12287), (12288, 16383)]);
        assert_eq!(ends(SHARDS_MAX).len(), SHARDS_MAX);
    }
}
