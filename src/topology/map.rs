//! The nodes: what each is, whom it has met, and what it has on the move.

use crate::keyspace::Millis;
use crate::slot::Slot;
use std::collections::{BTreeMap, BTreeSet};

/// Which node: counted from 0, and never given to another.
pub type NodeNumber = usize;

/// Digits of a node's id.
pub(super) const ID_LEN: usize = 40;

/// What a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It may own slots.
    Master,
    /// It stands in for this master.
    ReplicaOf(NodeNumber),
}

/// A slot's table on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotMigration {
    /// The shard where its keys were.
    pub from: usize,
    /// The shard where they go.
    pub to: usize,
}

/// A node.
#[derive(Clone, Debug)]
pub struct Node {
    /// 40 hexadecimal digits.
    pub id: String,
    /// 40 more, the same for a master and its replicas.
    pub shard_id: String,
    /// The shard that runs what it serves.
    pub shard: usize,
    /// The shard that is its own, whoever it stands in for: a replica in step with its master
    /// serves from that one's.
    pub own_shard: usize,
    /// Master or replica.
    pub role: Role,
    /// The epoch of its configuration.
    pub epoch: u64,
    /// The port it is known by; 0 while it listens nowhere.
    pub port: u16,
    /// Whether it serves.
    pub is_up: bool,
    /// When it ceased to be a replica, it did not wait for what its master had yet to tell it.
    pub loses_backlog: bool,
    /// The slots it gives away, and to whom.
    pub migrating: BTreeMap<Slot, NodeNumber>,
    /// The slots it takes over, and from whom.
    pub importing: BTreeMap<Slot, NodeNumber>,
    /// It has met somebody at some time, and so been told its address.
    pub has_met: bool,
    /// The slot that was its last one, until it has been told itself that this is gone.
    pub(super) last_slot_lost: Option<Slot>,
    /// The nodes it has met; itself is always among them.
    pub(super) met: BTreeSet<NodeNumber>,
}

impl Node {
    /// Returns whether it has met that node.
    #[must_use]
    pub fn knows(&self, node: NodeNumber) -> bool {
        self.met.contains(&node)
    }

    /// Returns whether it has met nobody.
    #[must_use]
    pub fn is_alone(&self) -> bool {
        self.met.len() == 1
    }
}

/// All nodes.
#[derive(Debug)]
pub(super) struct Map {
    /// By number; never empty, never shrinks.
    pub(super) nodes: Vec<Node>,
    /// The latest epoch of all.
    pub(super) epoch: u64,
    /// The whole cluster was told to be down.
    pub(super) is_down: bool,
    /// By node: whether it sees a cluster that serves.
    pub(super) cluster_ok: Vec<bool>,
    rng: fastrand::Rng,
}

/// Longest lag of replicas, in milliseconds: an hour.
pub const LAG_MS_MAX: Millis = 3_600_000;

/// Which nodes there are at the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Masters, who share all slots.
    pub masters: usize,
    /// Replicas of each of them.
    pub replicas: usize,
    /// Nodes that have met nobody and own nothing.
    pub spares: usize,
    /// By how many milliseconds replicas lag, up to [`LAG_MS_MAX`]: each then has keys of its own.
    /// `None` if they serve from their masters' shards, and are never behind.
    pub replica_lag_ms: Option<Millis>,
    /// Where the nodes' ids come from.
    pub seed: u64,
}

impl Plan {
    /// So many masters, alone.
    #[must_use]
    pub fn of_masters(masters: usize, seed: u64) -> Self {
        Self { masters, replicas: 0, spares: 0, replica_lag_ms: None, seed }
    }

    /// Returns whether there can be such nodes.
    ///
    /// # Errors
    /// What is wrong, in a sentence.
    pub fn check(&self) -> Result<(), &'static str> {
        if !(1..=super::SHARDS_MAX).contains(&self.masters) {
            return Err("there must be 1 to 1000 shards");
        }
        if self.nodes() > super::NODES_MAX {
            return Err("there can be at most 4000 nodes");
        }
        if self.replica_lag_ms.is_some_and(|lag_ms| !(0..=LAG_MS_MAX).contains(&lag_ms)) {
            return Err("replicas can lag by an hour at the most");
        }
        Ok(())
    }

    /// Returns how many nodes that makes.
    #[must_use]
    pub fn nodes(&self) -> usize {
        self.masters.saturating_mul(self.replicas.saturating_add(1)).saturating_add(self.spares)
    }
}

impl Map {
    /// Returns the nodes of a plan: masters with the epochs that `redis-cli --cluster create`
    /// gives, then the first replica of each, the second, …, then the spares.
    pub(super) fn of(plan: &Plan) -> Self {
        let mut map = Self {
            nodes: Vec::with_capacity(plan.nodes()),
            epoch: (plan.masters * (plan.replicas + 1)) as u64,
            is_down: false,
            cluster_ok: vec![true; plan.nodes()],
            rng: fastrand::Rng::with_seed(plan.seed),
        };
        let clustered = plan.masters * (plan.replicas + 1);
        for number in 0..plan.nodes() {
            let (id, mut shard_id) = (map.new_id(), map.new_id());
            let (mut role, mut shard) = (Role::Master, number);
            let epoch = if number < clustered { number as u64 + 1 } else { 0 };
            if (plan.masters..clustered).contains(&number) {
                let master = number % plan.masters;
                role = Role::ReplicaOf(master);
                shard_id.clone_from(&map.nodes[master].shard_id);
                if plan.replica_lag_ms.is_none() {
                    shard = master;
                }
            }
            let met = if number < clustered {
                (0..clustered).collect()
            } else {
                BTreeSet::from([number])
            };
            map.nodes.push(Node {
                id,
                shard_id,
                shard,
                own_shard: number,
                role,
                epoch,
                port: 0,
                is_up: true,
                loses_backlog: false,
                migrating: BTreeMap::new(),
                importing: BTreeMap::new(),
                has_met: number < clustered,
                last_slot_lost: None,
                met,
            });
        }
        map
    }

    /// Returns a fresh id.
    pub(super) fn new_id(&mut self) -> String {
        let digit = |rng: &mut fastrand::Rng| char::from_digit(rng.u32(..16), 16);
        (0..ID_LEN).filter_map(|_| digit(&mut self.rng)).collect()
    }

    pub(super) fn node(&self, number: NodeNumber) -> &Node {
        &self.nodes[number]
    }

    /// Returns the node of this id, if `me` has met it.
    pub(super) fn met_by(&self, me: NodeNumber, id: &[u8]) -> Option<NodeNumber> {
        let is_it = |&number: &NodeNumber| self.nodes[number].id.as_bytes() == id;
        self.nodes[me].met.iter().copied().find(is_it)
    }
}
