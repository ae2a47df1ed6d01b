//! The faults that act on a request: delayed replies, requests that count towards a scenario, and
//! EXECs that fail or reply as those of a cluster might.

use super::Router;
use super::held::HeldShards;
use super::pipeline::{Scratch, args_of};
use crate::command::Refusal;
use crate::command::{Group, ReplyDelay, Run, SessionCommand, Spec, named};
use crate::faults::{ExecAnswer, RequestKind};
use crate::keyspace::{Blob, Millis};
use crate::session::{Session, Transaction};
use crate::shard::{InjectedReply, Turn};
use crate::slot::{Footprint, Slot};
use crate::topology::{NodeNumber, Port, Route};
use std::net::SocketAddr;
use std::time::Duration;

impl Router {
    /// Counts the next request for a scenario, and delays its reply if a fault requires it.
    #[cold]
    pub(super) fn inject_faults(
        &self,
        session: &Session,
        input: &[u8],
        scratch: &Scratch,
        turn: &Turn<'_>,
    ) {
        let Some(request) = scratch.requests.first() else { return };
        let named = request.spec.or_else(|| named(args_of(input, scratch, request)));
        if named.is_some_and(|spec| spec.group == Group::Slotway) {
            // Commands that end faults are never subject to them.
            return;
        }
        let is_exec = matches!(named, Some(Spec { run: Run::Session(SessionCommand::Exec), .. }));
        if turn.armed.counts_requests() {
            let event = match named {
                Some(_) if is_exec => RequestKind::Exec,
                Some(spec) if spec.writes() => RequestKind::Write,
                _ => RequestKind::Request,
            };
            self.server.faults.count_request(&[RequestKind::Request, event]);
        }
        if !turn.armed.delays_replies() {
            return;
        }
        let slot = match request.footprint(args_of(input, scratch, request)) {
            _ if is_exec => session.transaction_slot(),
            Footprint::In(slot) | Footprint::Crossing { first: slot, .. } => Some(slot),
            Footprint::Anywhere => None,
        };
        let node = self.node_of(slot, turn.batch.port);
        if let Some(ms) = self.server.faults.latency(turn.batch.now, node, slot) {
            let delay = Duration::from_millis(ms.unsigned_abs());
            turn.pace.delay_reply(ReplyDelay::For(delay));
        }
    }

    /// Touches the keys that a transaction watches, if a fault requires it, as another client's
    /// write would.
    #[cold]
    pub(super) fn make_conflict(
        &self,
        transaction: &Transaction,
        held: &mut HeldShards<'_>,
        now: Millis,
    ) {
        let Some(watched) = &transaction.watched else { return };
        if watched.guard.is_tripped() {
            return;
        }
        for key in self.server.faults.conflicts(now, |key| watched.keys.contains(&Blob::from(key)))
        {
            held.engines().for_each(|engine| engine.keyspace.touch(&key, false));
        }
    }

    /// Returns the reply that a fault gives to an EXEC that would run. MOVED names the node that
    /// owns the slot, so that a client which follows it succeeds.
    #[cold]
    pub(super) fn injected_exec_reply(
        &self,
        slot: Option<Slot>,
        local: SocketAddr,
        turn: &Turn<'_>,
    ) -> Option<InjectedReply> {
        let node = self.node_of(slot, turn.batch.port);
        let route = match self.server.faults.exec_answer(turn.batch.now, node, slot)? {
            ExecAnswer::Nil => return Some(InjectedReply::Null),
            ExecAnswer::ExecAbort => return Some(InjectedReply::Error(Refusal::EXEC_ABORT)),
            ExecAnswer::TryAgain => Route::TryAgain,
            ExecAnswer::ClusterDown => Route::Down,
            ExecAnswer::Moved => match slot.and_then(|slot| self.topology.owner_of(slot)) {
                Some(owner) => Route::Moved(owner),
                None => return Some(InjectedReply::Null),
            },
        };
        let slot = slot.or_else(|| Slot::new(0))?;
        self.refusal(route, slot, (turn.batch.port, local)).map(InjectedReply::Error)
    }

    /// Returns the node that a request addresses: that of the port, or the owner of its slot.
    fn node_of(&self, slot: Option<Slot>, port: Port) -> Option<NodeNumber> {
        match port {
            Port::Node(node) => Some(node),
            Port::Router => slot.and_then(|slot| self.topology.owner_of(slot)),
        }
    }
}
