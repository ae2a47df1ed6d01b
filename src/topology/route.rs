//! What a node answers to a request for keys of a slot: serve, redirect, or refuse.

use super::{NodeNumber, Port, Role, Topology};
use crate::slot::Slot;
use std::sync::atomic::Ordering;

/// What a node knows of the keys of a request whose slot is on the move.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyPresence {
    /// How many of them are here.
    pub here: usize,
    /// How many are not.
    pub missing: usize,
    /// Whether they are not all the same key.
    pub several: bool,
}

/// How a request comes to a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestFlags {
    /// After ASKING.
    pub asking: bool,
    /// Of a client that said READONLY.
    pub may_read_replica: bool,
    /// It is about shard channels, which a cluster that is not whole serves, and replicas too.
    pub is_about_channels: bool,
    /// It may write.
    pub writes: bool,
    /// It is EXEC, of which a node that is to serve only reads asks no more.
    pub is_exec: bool,
    /// It is MIGRATE, which works on what is on the move.
    pub migrates: bool,
}

/// What a node says to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// It runs here.
    Here,
    /// Another node owns the slot.
    Moved(NodeNumber),
    /// The keys may have been moved already: ask that node this once.
    Ask(NodeNumber),
    /// Some keys are here and some are not.
    TryAgain,
    /// Nobody owns the slot.
    Unassigned,
    /// The cluster is not whole.
    Down,
    /// The cluster is not whole, and only reads are served.
    DownForWrites,
}

/// What becomes of a wait when the topology changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaiterRoute {
    /// It goes on.
    Wait,
    /// The request has to be made again.
    Retry,
    /// The cluster is not whole: that is the answer.
    Down,
    /// The node is a master no more: that is the answer, and the end of the connection.
    Demoted,
}

impl Topology {
    /// Returns what `node` says to a request for keys of `slot` (the first rule that applies, in
    /// Redis' order; that all keys share the slot was seen to before). `presence` looks for the
    /// keys, and is asked only if the slot is on the move.
    pub fn route(
        &self,
        node: NodeNumber,
        slot: Slot,
        request_flags: RequestFlags,
        presence: impl FnOnce() -> KeyPresence,
    ) -> Route {
        let map = self.map.read();
        let me = map.node(node);
        let Some(owner) = self.owner_of(slot).filter(|&owner| me.knows(owner)) else {
            return Route::Unassigned;
        };
        if !map.cluster_ok[node] && !request_flags.is_about_channels {
            if !self.reads_when_down.load(Ordering::Relaxed) {
                return Route::Down;
            }
            if request_flags.writes && !request_flags.is_exec {
                return Route::DownForWrites;
            }
        }
        if !me.is_up {
            // Nobody speaks to it but the router, for whom there is nobody else to ask.
            return Route::Unassigned;
        }
        // Somebody has given the slot to this node, which has not been told so itself.
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
                // Who sends a slot to itself serves it.
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

    /// Returns what becomes of a client of `port` that waits on `shard` for a key of `slot`.
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
        // Of who waits it is asked first whether the cluster serves.
        if self.map.read().cluster_ok[node] { WaiterRoute::Retry } else { WaiterRoute::Down }
    }

    /// Returns whether a client of `port` may go on listening to shard channels of `slot`.
    #[must_use]
    pub fn serves_channel(&self, slot: Slot, port: Port) -> bool {
        let Port::Node(node) = port else { return true };
        let map = self.map.read();
        let owner = self.owner_of(slot);
        owner == Some(node) || owner.is_some_and(|o| map.node(node).role == Role::ReplicaOf(o))
    }
}
