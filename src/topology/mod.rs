//! The cluster's topology: nodes, owners of slots, and how a node answers a request.
//!
//! ```text
//! words   one per slot, read on every request:     slow path? | shard | owner
//! map     nodes, epochs, migrating slots:          behind a lock; for CLUSTER, and for the slow
//!                                                  path
//! ```
//!
//! A *node* is what clients see: an id, an address, the slots it owns. A *shard* is what executes
//! the commands of a slot and holds its table. Each master has a shard of its own; its replicas
//! share it, or, if they lag, each has its own, which follows the master's. All nodes share one
//! map, so a change is visible everywhere at once, where a real cluster would gossip; but each node
//! has its own list of the nodes it has met, so that clusters can be joined and split.
//!
//! A change of a slot's owner is made while the shards of the old and the new owner are held, so a
//! request that reads the slot's word while it holds the shard may rely on it.

mod map;
mod announce;
mod error;
mod route;
mod view;
mod change;

pub use announce::{Announce, AnnouncedHost, Port};
pub(crate) use error::TopologyError;
pub use map::Plan;
pub(crate) use map::{DownRules, LAG_MS_MAX, Node, NodeNumber, Role, SlotMigration};
pub(crate) use route::{KeyPresence, RequestFlags, Route, WaiterRoute};
pub(crate) use view::{NodeView, View};

use crate::keyspace::Millis;
use crate::slot::{SLOTS, Slot};
use map::Map;
use parking_lot::RwLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Most shards of one process: the most nodes that Redis recommends for a cluster.
pub(crate) const SHARDS_MAX: usize = 1000;
/// Most nodes, including replicas and spares.
pub(crate) const NODES_MAX: usize = 4 * SHARDS_MAX;

/// The owner of a slot without an owner.
const NO_OWNER: u32 = 0xFFFF;
/// The position of the shard in a word.
const SHARD_SHIFT: u32 = 16;
/// Marks a word whose owner alone does not decide: [`Topology::route`] does.
const SLOW_PATH: u32 = 1 << 31;

/// Slots, nodes and migrations.
#[derive(Debug)]
pub struct Topology {
    words: Box<[AtomicU32]>,
    /// By node: the shard it serves from.
    shard_of_nodes: Box<[AtomicU32]>,
    map: RwLock<Map>,
    masters: usize,
    /// Whether replicas share their masters' shards.
    replicas_share_shards: bool,
    /// The replicas' lag at the start.
    replica_lag_ms: Option<Millis>,
    /// Counts changes.
    version: AtomicU64,
}

/// A node's role in replication.
#[derive(Clone, Debug)]
pub enum ReplicationRole {
    /// A master with these replicas.
    Master(Vec<Node>),
    /// A replica of this one.
    ReplicaOf(Box<Node>),
}

/// The replication of one shard to another, with a lag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplicaLink {
    /// The replica's shard.
    pub shard: usize,
    /// The master's shard.
    pub master_shard: usize,
    /// Whether the master is up.
    pub is_up: bool,
}

/// A node that has the keys of a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyHolder {
    /// The node.
    pub node: NodeNumber,
    /// Whether it is a replica.
    pub is_replica: bool,
    /// Whether it has them in a shard of its own, which follows this one with a lag.
    pub lags: bool,
}

impl Topology {
    /// Assigns all slots to the masters of a plan, 1 to [`SHARDS_MAX`] of them, in the contiguous
    /// runs of `redis-cli --cluster create`.
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
            version: AtomicU64::new(0),
        };
        topology.refresh(&mut topology.map.write());
        topology
    }

    /// Makes a topology of masters only.
    ///
    /// # Panics
    /// As [`Topology::new`].
    #[must_use]
    pub fn even(masters: usize) -> Self {
        Self::new(Plan::of_masters(masters, 0))
    }

    /// Returns the number of shards: one for each node, though a replica may never use its own.
    #[must_use]
    pub fn shards(&self) -> usize {
        self.shard_of_nodes.len()
    }

    /// Returns the database whose keys this shard has: the shards of the topology make up number 0,
    /// and each of the others has one of its own, numbered after them.
    #[must_use]
    pub fn database_of_shard(&self, shard: usize) -> usize {
        (shard + 1).saturating_sub(self.shards())
    }

    /// Returns the number of nodes.
    #[must_use]
    pub fn nodes(&self) -> usize {
        self.shard_of_nodes.len()
    }

    /// Returns the number of masters at the start.
    #[must_use]
    pub fn masters(&self) -> usize {
        self.masters
    }

    /// Returns whether replicas share their masters' shards, and so never lag.
    #[must_use]
    pub fn replicas_share_shards(&self) -> bool {
        self.replicas_share_shards
    }

    /// Returns the replicas' lag at the start in milliseconds, if they lag.
    #[must_use]
    pub fn replica_lag_ms(&self) -> Option<Millis> {
        self.replica_lag_ms
    }

    /// Returns which shard should replicate to which: one link for each replica with a shard of its
    /// own.
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

    /// Returns whether the master that serves from `shard` was promoted by force.
    #[must_use]
    pub fn loses_backlog(&self, shard: usize) -> bool {
        let map = self.map.read();
        map.nodes
            .iter()
            .any(|node| node.shard == shard && node.role == Role::Master && node.loses_backlog)
    }

    /// Returns the nodes that serve the keys of `shard`, or replicate it with a lag.
    #[must_use]
    pub fn nodes_with_keys_of(&self, shard: usize) -> Vec<KeyHolder> {
        let map = self.map.read();
        let holder = |(number, node): (NodeNumber, &Node)| {
            let master = match node.role {
                Role::Master => number,
                Role::ReplicaOf(master) => master,
            };
            let lags = node.shard != shard;
            let is_replica = node.role != Role::Master;
            (map.node(master).shard == shard || !lags).then_some(KeyHolder {
                node: number,
                is_replica,
                lags,
            })
        };
        map.nodes.iter().enumerate().filter_map(holder).collect()
    }

    /// Returns the shard that `node` serves from. Exact while that shard is held.
    #[must_use]
    #[inline]
    pub fn shard_of_node(&self, node: NodeNumber) -> usize {
        self.shard_of_nodes[node].load(Ordering::Relaxed) as usize
    }

    /// Returns the shards of the cluster's masters, ascending: together they hold every key.
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

    /// Returns the shard that executes `slot`. Exact while that shard is held.
    #[must_use]
    #[inline]
    pub fn shard_of(&self, slot: Slot) -> usize {
        ((self.word(slot) & !SLOW_PATH) >> SHARD_SHIFT) as usize
    }

    /// Returns whether `shard` serves any request for `slot` that came in at `port`, whatever its
    /// flags and keys. If not, [`Topology::route`] decides.
    #[must_use]
    #[inline]
    pub fn serves_directly(&self, slot: Slot, shard: usize, port: Port) -> bool {
        let word = self.word(slot);
        match port {
            Port::Router => word >> SHARD_SHIFT == shard as u32,
            Port::Node(node) => word == self::word(node, shard),
        }
    }

    /// Returns the slots that `shard` executes, ascending.
    pub fn slots_of(&self, shard: usize) -> impl Iterator<Item = Slot> {
        Slot::all().filter(move |&slot| self.shard_of(slot) == shard)
    }

    /// Returns a counter that every change increments.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Returns whether `slot` has an owner that is up, and is neither migrating nor importing.
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

    /// Returns whether the cluster state of `node` is ok: with `cluster-require-full-coverage`,
    /// whether every slot has an owner that it knows and that is up.
    fn is_cluster_ok(&self, map: &Map, node: NodeNumber) -> bool {
        if map.is_down {
            return false;
        }
        if !map.node(node).down_rules.needs_all_slots {
            return true;
        }
        // Most slots come in runs of one owner.
        let mut last = NO_OWNER;
        Slot::all().all(|slot| {
            let owner = self.word(slot) & NO_OWNER;
            if owner != NO_OWNER && owner == last {
                return true;
            }
            last = owner;
            self.owner_seen_by(map, node, slot).is_some_and(|owner| map.node(owner).is_up)
        })
    }

    /// Returns the owner of a slot on the map of `node`.
    fn owner_seen_by(&self, map: &Map, node: NodeNumber, slot: Slot) -> Option<NodeNumber> {
        let owner = self.owner_of(slot).or_else(|| {
            let given_up = map.given_up.get(&slot)?;
            (!given_up.unassigned_at.contains(&node)).then_some(given_up.by)
        });
        owner.filter(|&owner| map.node(node).knows(owner))
    }

    /// Returns whether `slot` has an owner on the map of `node`.
    #[must_use]
    pub fn is_owner_known(&self, slot: Slot, node: NodeNumber) -> bool {
        self.owner_seen_by(&self.map.read(), node, slot).is_some()
    }

    /// Returns a copy of `node`.
    #[must_use]
    pub fn node(&self, node: NodeNumber) -> Node {
        self.map.read().node(node).clone()
    }

    /// Calls `look` with all nodes, in the order of their numbers.
    pub fn with_nodes<R>(&self, look: impl FnOnce(&[Node]) -> R) -> R {
        look(&self.map.read().nodes)
    }

    /// Returns the node that listens on `port`.
    #[must_use]
    pub fn node_at(&self, port: u16) -> Option<NodeNumber> {
        self.map.read().nodes.iter().position(|node| node.port == port && port != 0)
    }

    /// Returns the replication role of `port`: a replica with its master, or a master with its
    /// replicas that are up. The router has neither.
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

    /// Returns the port that `node` listens on; 0 if it does not listen.
    #[must_use]
    pub fn port_of(&self, node: NodeNumber) -> u16 {
        self.map.read().node(node).port
    }

    /// Returns whether `port` is a replica's.
    #[must_use]
    pub fn is_replica(&self, port: Port) -> bool {
        match port {
            Port::Router => false,
            Port::Node(node) => matches!(self.map.read().node(node).role, Role::ReplicaOf(_)),
        }
    }

    /// Returns from which shard to which a slot is migrating, if it is.
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
