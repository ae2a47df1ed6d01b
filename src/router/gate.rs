//! Checks a request's slots before it is queued, or runs as a command of the session: a client gets
//! a MOVED or a CLUSTERDOWN when it queues a command, not only at EXEC.

use super::Router;
use super::held::KeptHold;
use crate::command::{Invocation, KeySlots, Refusal, flag};
use crate::session::SlotGate;
use crate::shard::Turn;
use crate::slot::Footprint;
use crate::state::settings::CrossSlot;
use crate::topology::{KeyPresence, NodeNumber, Port, RequestFlags};
use std::net::SocketAddr;

/// The slots as one turn of one client sees them.
pub(super) struct TurnGate<'g, 'r> {
    pub(super) router: &'r Router,
    /// The address by which the client has reached this server.
    pub(super) local: SocketAddr,
    pub(super) kept: &'g mut KeptHold<'r>,
    pub(super) turn: &'r Turn<'r>,
}

impl SlotGate for TurnGate<'_, '_> {
    fn refuses(&mut self, invocation: &Invocation<'_>, flags: RequestFlags) -> Option<Refusal> {
        match self.turn.batch.port {
            Port::Router => self.refuses_at_router(invocation, flags),
            Port::Node(node) => self.refuses_at_node(node, invocation, flags),
        }
    }
}

impl TurnGate<'_, '_> {
    fn refuses_at_router(
        &self,
        invocation: &Invocation<'_>,
        flags: RequestFlags,
    ) -> Option<Refusal> {
        let (router, local) = (self.router, self.local);
        match invocation.footprint {
            // The slot may move at this moment; the code that runs the request follows it.
            Footprint::In(slot) => router.refuses_slots([slot], flags, local),
            // Where several slots are not allowed, that error comes first.
            Footprint::Crossing { .. }
                if router.server.node(self.turn.batch.port).settings.cross_slot()
                    == CrossSlot::Audit =>
            {
                let slots = KeySlots::of(invocation);
                router.refuses_slots(slots.iter().map(|(_, slot)| slot), flags, local)
            }
            Footprint::Crossing { .. } | Footprint::Anywhere => None,
        }
    }

    fn refuses_at_node(
        &mut self,
        node: NodeNumber,
        invocation: &Invocation<'_>,
        flags: RequestFlags,
    ) -> Option<Refusal> {
        let (router, turn) = (self.router, self.turn);
        let (topology, port) = (&router.topology, turn.batch.port);
        let slot = match invocation.footprint {
            Footprint::Anywhere => {
                let writes = invocation.spec.flags & flag::WRITE != 0;
                return (writes && topology.is_replica(port)).then_some(Refusal::READ_ONLY_REPLICA);
            }
            // The session refuses requests that cross slots.
            Footprint::Crossing { first, .. } => {
                return (!topology.is_owner_known(first, node)).then_some(Refusal::SLOT_NOT_SERVED);
            }
            Footprint::In(slot) => slot,
        };
        let shard = topology.shard_of_node(node);
        if topology.serves_directly(slot, shard, port) {
            return None;
        }
        let asked = (port, self.local);
        if flags.keys_come_later {
            let all_here = || KeyPresence { here: 1, missing: 0, several: false };
            return router.refusal(topology.route(node, slot, flags, all_here), slot, asked);
        }
        // Held before the topology is asked: to change it, all shards are held.
        if !topology.is_stable(slot) && self.kept.as_ref().is_none_or(|(held, _)| *held != shard) {
            *self.kept = None;
            *self.kept = Some((shard, router.hold_one(shard, turn)));
        }
        // If the slot begins to move at this moment, it is checked again when the request runs.
        let presence = || match self.kept {
            Some((held, hold)) if *held == shard => {
                let mut keys = Vec::new();
                invocation.spec.each_key(invocation.args, |key| keys.push(key));
                hold.engine().key_presence(slot, &keys)
            }
            _ => KeyPresence::default(),
        };
        router.refusal(topology.route(node, slot, flags, presence), slot, asked)
    }
}
