//! The nodes: role, shard, known nodes, migrating and importing slots.

use crate::keyspace::Millis;
use crate::slot::Slot;
use std::collections::{BTreeMap, BTreeSet};

/// A node's number: counted from 0, never reused.
pub(crate) type NodeNumber = usize;

/// Digits of a node's id.
pub(super) const ID_LEN: usize = 40;

/// A node's role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A master, which may own slots.
    Master,
    /// A replica of this master.
    ReplicaOf(NodeNumber),
}

/// A slot's move from one shard to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotMigration {
    /// The source shard.
    pub from: usize,
    /// The target shard.
    pub to: usize,
}

/// When a node serves although its cluster is down, by its settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DownRules {
    /// Whether the cluster is down unless every slot has an owner that is up.
    pub needs_all_slots: bool,
    /// Whether a cluster that is down serves reads.
    pub reads_when_down: bool,
    /// Whether a cluster that is down serves shard channels.
    pub channels_when_down: bool,
}

impl Default for DownRules {
    fn default() -> Self {
        Self { needs_all_slots: true, reads_when_down: false, channels_when_down: true }
    }
}

/// A node.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its id: 40 hexadecimal digits.
    pub id: String,
    /// Its shard id, 40 hexadecimal digits: equal for a master and its replicas.
    pub shard_id: String,
    /// The shard that executes its commands.
    pub shard: usize,
    /// Its own shard. A replica that shares its master's shard serves from that one instead.
    pub own_shard: usize,
    /// Master or replica.
    pub role: Role,
    /// Its configuration epoch.
    pub epoch: u64,
    /// Its port; 0 while it does not listen.
    pub port: u16,
    /// Whether it is up.
    pub is_up: bool,
    pub(super) down_rules: DownRules,
    /// It was promoted or reset without waiting for what its master had yet to send.
    pub loses_backlog: bool,
    /// Its migrating slots, with their targets.
    pub migrating: BTreeMap<Slot, NodeNumber>,
    /// Its importing slots, with their sources.
    pub importing: BTreeMap<Slot, NodeNumber>,
    /// It has met another node at some time, and so knows its own address.
    pub has_met: bool,
    /// The last slot it owned, lost while it had not received the `SETSLOT … NODE` for it.
    pub(super) last_slot_lost: Option<Slot>,
    /// The nodes it has met, itself included.
    pub(super) met: BTreeSet<NodeNumber>,
}

impl Node {
    /// Returns whether it has met that node.
    #[must_use]
    pub fn knows(&self, node: NodeNumber) -> bool {
        self.met.contains(&node)
    }

    /// Returns whether it has met no other node.
    #[must_use]
    pub fn is_alone(&self) -> bool {
        self.met.len() == 1
    }
}

/// A slot without an owner, as nodes see it that have not been asked to drop it: a node that stops
/// serving a slot says so to nobody, and the others keep it in their maps until one takes it.
#[derive(Clone, Debug)]
pub(super) struct GivenUp {
    /// Its last owner.
    pub(super) by: NodeNumber,
    /// The nodes on whose maps it has no owner.
    pub(super) unassigned_at: BTreeSet<NodeNumber>,
}

/// All nodes.
#[derive(Debug)]
pub(super) struct Map {
    /// By number; never empty, never shrinks.
    pub(super) nodes: Vec<Node>,
    /// The highest epoch.
    pub(super) epoch: u64,
    /// The whole cluster was taken down.
    pub(super) is_down: bool,
    /// Nodes whose role has changed since that was last asked for.
    pub(super) new_roles: BTreeSet<NodeNumber>,
    /// Slots that had an owner and have none.
    pub(super) given_up: BTreeMap<Slot, GivenUp>,
    /// By node: whether its cluster state is ok.
    pub(super) cluster_ok: Vec<bool>,
    rng: fastrand::Rng,
}

/// Longest lag of replicas, in milliseconds: an hour.
pub(crate) const LAG_MS_MAX: Millis = 3_600_000;

/// The nodes at the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Masters, which share all slots.
    pub masters: usize,
    /// Replicas of each master.
    pub replicas: usize,
    /// Spare nodes: they have met no other node and own no slots.
    pub spares: usize,
    /// The replicas' lag in milliseconds, up to 3,600,000: each replica then has keys of its
    /// own. `None` if they share their masters' shards and never lag.
    pub replica_lag_ms: Option<Millis>,
    /// Seed of the nodes' ids.
    pub seed: u64,
}

impl Plan {
    /// A plan of masters only.
    #[must_use]
    pub fn of_masters(masters: usize, seed: u64) -> Self {
        Self { masters, replicas: 0, spares: 0, replica_lag_ms: None, seed }
    }

    /// Checks the numbers of nodes and the lag.
    ///
    /// # Errors
    /// What is wrong, as a sentence.
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

    /// Returns the number of nodes.
    #[must_use]
    pub fn nodes(&self) -> usize {
        self.masters.saturating_mul(self.replicas.saturating_add(1)).saturating_add(self.spares)
    }
}

impl Map {
    /// Makes the nodes of a plan: masters with the epochs that `redis-cli --cluster create` gives,
    /// then the first replica of each, the second, …, then the spares.
    pub(super) fn of(plan: &Plan) -> Self {
        let mut map = Self {
            nodes: Vec::with_capacity(plan.nodes()),
            epoch: (plan.masters * (plan.replicas + 1)) as u64,
            is_down: false,
            new_roles: BTreeSet::new(),
            given_up: BTreeMap::new(),
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
                down_rules: DownRules::default(),
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

    /// Makes a new id.
    pub(super) fn new_id(&mut self) -> String {
        let digit = |rng: &mut fastrand::Rng| char::from_digit(rng.u32(..16), 16);
        (0..ID_LEN).filter_map(|_| digit(&mut self.rng)).collect()
    }

    pub(super) fn node(&self, number: NodeNumber) -> &Node {
        &self.nodes[number]
    }

    /// Returns the node with this id, if `me` has met it.
    pub(super) fn met_by(&self, me: NodeNumber, id: &[u8]) -> Option<NodeNumber> {
        let is_it = |&number: &NodeNumber| self.nodes[number].id.as_bytes() == id;
        self.nodes[me].met.iter().copied().find(is_it)
    }
}
