//! Writes the reply to a request whose slot is not served here: the only code that writes MOVED,
//! ASK, TRYAGAIN and CLUSTERDOWN.
//!
//! Holds no shard, and waits for none while the topology's own lock is held.

use super::Router;
use crate::command::{KeySlots, Queue, Refusal};
use crate::slot::{Footprint, Slot};
use crate::topology::{KeyPresence, NodeNumber, Port, RequestFlags, Route};
use std::net::SocketAddr;

impl Router {
    /// Returns the reply for a route, to a client that has reached `asked` under `local`; `None` if
    /// the request runs here.
    pub(super) fn refusal(
        &self,
        route: Route,
        slot: Slot,
        (asked, local): (Port, SocketAddr),
    ) -> Option<Refusal> {
        let to = |word: &str, node: NodeNumber| {
            let (host, port) = self.server.endpoint(asked, Port::Node(node), local);
            Refusal::new(format!("{word} {} {host}:{port}", slot.number()))
        };
        Some(match route {
            Route::Here => return None,
            Route::Moved(node) => to("MOVED", node),
            Route::Ask(node) => to("ASK", node),
            Route::TryAgain => {
                Refusal::of("TRYAGAIN Multiple keys request during rehashing of slot")
            }
            Route::Unassigned => Refusal::SLOT_NOT_SERVED,
            Route::Down => Refusal::CLUSTER_DOWN,
            Route::DownForWrites => {
                Refusal::of("CLUSTERDOWN The cluster is down and only accepts read commands")
            }
        })
    }

    /// Returns the router port's reply to a request for slots of which one is not served. The
    /// router port follows a slot wherever it moves.
    pub(super) fn refuses_slots(
        &self,
        slots: impl IntoIterator<Item = Slot>,
        flags: RequestFlags,
        local: SocketAddr,
    ) -> Option<Refusal> {
        let mut unclear = slots.into_iter().filter(|&slot| !self.topology.is_stable(slot));
        unclear.find_map(|slot| {
            let Some(owner) = self.topology.owner_of(slot) else {
                return Some(Refusal::SLOT_NOT_SERVED);
            };
            let all_here = || KeyPresence { here: 1, missing: 0, several: false };
            let flags = RequestFlags { asking: true, ..flags };
            match self.topology.route(owner, slot, flags, all_here) {
                Route::Here | Route::Moved(_) | Route::Ask(_) | Route::TryAgain => None,
                route => self.refusal(route, slot, (Port::Router, local)),
            }
        })
    }

    /// Returns the same for the commands of a transaction.
    pub(super) fn refuses_queue(
        &self,
        queue: &Queue,
        flags: RequestFlags,
        local: SocketAddr,
    ) -> Option<Refusal> {
        queue.iter().find_map(|it| match it.footprint {
            Footprint::Anywhere => None,
            Footprint::In(slot) => self.refuses_slots([slot], flags, local),
            Footprint::Crossing { .. } => {
                let slots = KeySlots::of(&it);
                self.refuses_slots(slots.iter().map(|(_, slot)| slot), flags, local)
            }
        })
    }
}
