//! What a node answers to a request for keys of a slot: serve, redirect, or refuse.

use super::{DownRules, NodeNumber, Port, Role, Topology};
use crate::slot::Slot;

/// Which keys of a request a node has, for a slot that is migrating or importing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyPresence {
    /// Keys that are here.
    pub here: usize,
    /// Keys that are not.
    pub missing: usize,
    /// Whether there is more than one distinct key.
    pub several: bool,
}

/// The properties of a request that routing depends on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestFlags {
    /// The client has sent ASKING.
    pub asking: bool,
    /// The client has sent READONLY.
    pub may_read_replica: bool,
    /// It is about shard channels, which are served even while the cluster is down, and by
    /// replicas.
    pub is_about_channels: bool,
    /// It may write.
    pub writes: bool,
    /// It is EXEC, which a cluster that is down but serves reads does not refuse as a write.
    pub is_exec: bool,
    /// It is MIGRATE, which acts on migrating slots.
    pub migrates: bool,
    /// It is only queued, and where its keys are is judged when it runs.
    pub keys_come_later: bool,
}

/// A node's answer to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// Serve it here.
    Here,
    /// `-MOVED`: another node owns the slot.
    Moved(NodeNumber),
    /// `-ASK`: the keys may be at that node already.
    Ask(NodeNumber),
    /// `-TRYAGAIN`: some keys are here and some are not.
    TryAgain,
    /// `-CLUSTERDOWN`: the slot has no owner.
    Unassigned,
    /// `-CLUSTERDOWN`: the cluster state is not ok.
    Down,
    /// `-CLUSTERDOWN`: the cluster state is not ok, and only reads are served.
    DownForWrites,
}

/// What happens to a blocked request when the topology changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaiterRoute {
    /// It stays blocked.
    Wait,
    /// The request is routed again.
    Retry,
    /// It is answered with `-CLUSTERDOWN`.
    Down,
    /// The node became a replica: it is answered with an error, and the connection is closed.
    Demoted,
}

impl Topology {
    /// Returns the answer of `node` to a request for keys of `slot`: the first rule that applies,
    /// in Redis' order (`getNodeByQuery`). The caller has checked that all keys share the slot.
    /// `presence` looks the keys up; it is called only if the slot is migrating or importing.
    pub fn route(
        &self,
        node: NodeNumber,
        slot: Slot,
        request_flags: RequestFlags,
        presence: impl FnOnce() -> KeyPresence,
    ) -> Route {
        let map = self.map.read();
        let me = map.node(node);
        let Some(owner) = self.owner_seen_by(&map, node, slot) else {
            return Route::Unassigned;
        };
        if !map.cluster_ok[node] {
            let DownRules { reads_when_down, channels_when_down, .. } = me.down_rules;
            let is_about_channels = request_flags.is_about_channels;
            if !(if is_about_channels { channels_when_down } else { reads_when_down }) {
                return Route::Down;
            }
            if request_flags.writes && !request_flags.is_exec && !is_about_channels {
                return Route::DownForWrites;
            }
        }
        if !me.is_up {
            // Only the router reaches a node that is down, and it has no other node to ask.
            return Route::Unassigned;
        }
        // Another node has assigned the slot to this one, which has not received the assignment
        // itself.
        let unclaimed = if owner == node { me.importing.get(&slot).copied() } else { None };
        let owner = unclaimed.unwrap_or(owner);
        let migrating = if owner == node { me.migrating.get(&slot).copied() } else { None };
        let importing = migrating.is_none() && me.importing.contains_key(&slot);
        if (migrating.is_some() || importing) && request_flags.migrates {
            return Route::Here;
        }
        if let Some(target) = migrating {
            return match presence() {
                KeyPresence { missing: 0, .. } => Route::Here,
                // Source and target are one node: serve it here.
                KeyPresence { here: 0, .. } if target == node => Route::Here,
                KeyPresence { here: 0, .. } => Route::Ask(target),
                KeyPresence { .. } => Route::TryAgain,
            };
        }
        if importing && request_flags.asking {
            let KeyPresence { missing, several, .. } = presence();
            return if missing > 0 && several { Route::TryAgain } else { Route::Here };
        }
        let reads = (request_flags.may_read_replica || request_flags.is_about_channels)
            && !request_flags.writes;
        if owner == node || reads && me.role == Role::ReplicaOf(owner) {
            return Route::Here;
        }
        Route::Moved(owner)
    }

    /// Returns what happens to a client of `port` that is blocked on `shard` for a key of `slot`.
    #[must_use]
    pub fn route_waiter(&self, slot: Slot, shard: usize, port: Port) -> WaiterRoute {
        let Port::Node(node) = port else {
            return if self.serves_directly(slot, shard, port) {
                WaiterRoute::Wait
            } else {
                WaiterRoute::Retry
            };
        };
        let request_flags = RequestFlags { asking: true, writes: true, ..RequestFlags::default() };
        let here = || KeyPresence { here: 1, missing: 0, several: false };
        if self.shard_of_node(node) == shard
            && self.route(node, slot, request_flags, here) == Route::Here
        {
            return WaiterRoute::Wait;
        }
        if self.is_replica(port) {
            return WaiterRoute::Demoted;
        }
        // For blocked clients, Redis checks the cluster state first.
        if self.map.read().cluster_ok[node] { WaiterRoute::Retry } else { WaiterRoute::Down }
    }

    /// Returns whether a client of `port` may stay subscribed to shard channels of `slot`.
    #[must_use]
    pub fn serves_channel(&self, slot: Slot, port: Port) -> bool {
        let Port::Node(node) = port else { return true };
        let map = self.map.read();
        let owner = self.owner_seen_by(&map, node, slot);
        owner == Some(node) || owner.is_some_and(|o| map.node(node).role == Role::ReplicaOf(o))
    }
}
