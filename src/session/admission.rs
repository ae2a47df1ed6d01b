//! Decides whether a request may run or be queued now: one list of checks, made once, in Redis'
//! order.

use super::{Session, SlotGate};
use crate::command::{Invocation, Refusal, Run, SessionCommand, flag};
use crate::slot::Footprint;
use crate::state::{Paused, ScriptKind, ServerState};
use crate::topology::Port;

/// The decision on a request that is to run.
pub(super) enum Admission {
    /// It runs, or is queued.
    Go,
    /// CLIENT PAUSE holds it up.
    Pause,
    /// It does not run, and its transaction is poisoned.
    Refuse(Refusal),
}

impl Session {
    /// Returns whether a request may run or be queued now. Does not change the session.
    pub(super) fn admission(
        &self,
        server: &ServerState,
        invocation: &Invocation<'_>,
        gate: &mut dyn SlotGate,
        paused: Option<Paused>,
    ) -> Admission {
        let spec = invocation.spec;
        if !self.authenticated && spec.flags & flag::NO_AUTH == 0 {
            return Admission::Refuse(Refusal::NO_AUTH);
        }
        if let Some(refusal) = self.forbids(spec) {
            return Admission::Refuse(refusal);
        }
        let touches = flag::READ | flag::WRITE | flag::MAY_REPLICATE;
        if self.monitors && spec.flags & touches != 0 {
            return Admission::Refuse(Refusal::of("ERR Replica can't interact with the keyspace"));
        }
        let is_paused = paused.is_some_and(|paused| self.is_paused(paused, invocation));
        if self.is_checked_at_gate(server, invocation, is_paused)
            && let Some(refusal) = gate.refuses(invocation, self.request_flags(spec, spec.flags))
        {
            return Admission::Refuse(refusal);
        }
        if server.running_scripts.any_busy()
            && let Some(kind) = self.waits_for_script(server, invocation)
        {
            return Admission::Refuse(Refusal::busy(kind));
        }
        let is_refused = self.is_refused_crossing(invocation);
        if self.is_bound()
            && !is_refused
            && let Some(refusal) = Self::bound(spec)
        {
            return Admission::Refuse(refusal);
        }
        if is_paused && !is_refused { Admission::Pause } else { Admission::Go }
    }

    /// Returns what makes a request wait, a script or a function. One for a single shard that is held is refused
    /// from that shard's queue as well; what needs several shards would wait for the script.
    #[cold]
    fn waits_for_script(
        &self,
        server: &ServerState,
        invocation: &Invocation<'_>,
    ) -> Option<ScriptKind> {
        let (spec, running) = (invocation.spec, &server.running_scripts);
        if spec.has(flag::ALLOW_BUSY) {
            return None;
        }
        let (slot, is_exec) = match (spec.run, &self.transaction) {
            (Run::Session(SessionCommand::Exec), Some(transaction)) => (transaction.slot, true),
            _ => (invocation.slot(), false),
        };
        match (self.port, slot) {
            (Port::Node(node), _) => running.busy(server.topology.shard_of_node(node)),
            _ if self.is_multi_slot() || invocation.crosses() => running.first_busy(),
            (Port::Router, Some(slot)) => running.busy(server.topology.shard_of(slot)),
            (Port::Router, None) => {
                let sees_all = is_exec || matches!(spec.run, Run::Cluster(_) | Run::Whole(_));
                running.first_busy().filter(|_| sees_all)
            }
        }
    }

    /// Returns whether the slots of a request are checked before it is queued or runs. A command
    /// that runs on its shards at once is checked there, while they are held, and only there. One that
    /// is paused does not run at once; a redirection does not wait for the end of the pause.
    fn is_checked_at_gate(
        &self,
        server: &ServerState,
        invocation: &Invocation<'_>,
        is_paused: bool,
    ) -> bool {
        let is_checked = is_paused
            || self.transaction.is_some()
            || self.is_bound()
            || !matches!(invocation.spec.run, Run::Shard(_) | Run::Blocks(_) | Run::Script(_))
            || (self.port != Port::Router && invocation.slot().is_none());
        // The router port accepts most requests: one look at the slot's word decides it.
        is_checked
            && match (self.port, invocation.footprint) {
                (Port::Router, Footprint::Anywhere) => false,
                (Port::Router, Footprint::In(slot)) => !server.topology.is_stable(slot),
                _ => true,
            }
    }

    /// Returns whether a request is refused because its own keys live in several slots. Its command
    /// or the queue reports that before any other error.
    fn is_refused_crossing(&self, invocation: &Invocation<'_>) -> bool {
        invocation.crosses()
            && !self.is_multi_slot()
            && !(self.transaction.is_none() && self.splits(invocation))
    }

    /// Returns whether a pause of this kind applies to this request: it would do what is paused.
    fn is_paused(&self, paused: Paused, invocation: &Invocation<'_>) -> bool {
        let writes = |flags| flags & (flag::WRITE | flag::MAY_REPLICATE) != 0;
        match (paused, invocation.spec.run) {
            (Paused::All, _) => true,
            (Paused::Writes, Run::Session(SessionCommand::Exec)) => {
                self.transaction.as_ref().is_some_and(|transaction| writes(transaction.flags))
            }
            (Paused::Writes, _) => writes(invocation.spec.flags),
        }
    }
}
