//! Runs commands of the process (CONFIG, CLIENT, INFO, CLUSTER …). They see settings and clients;
//! some of them also see shards, which are then held.

use super::Router;
use super::held::{HeldShards, KeptHold};
use crate::command::{Group, Invocation, Refusal, Run, ServerCx, ServerFn, Spec, flag};
use crate::replication::ReplicaWait;
use crate::resp::Sink;
use crate::session::{Session, Unit, note_choice, note_failed};
use crate::shard::{Hold, Outcome, Turn, WaitFor, count_request};
use crate::state::clients::Traffic;
use crate::state::{Instrumentation, ObservedCommand, ScriptKind};
use crate::topology::Port;
use std::panic::{AssertUnwindSafe, catch_unwind};

impl Router {
    /// Runs a lone command of the process.
    pub(super) fn run_process_command<'r>(
        &'r self,
        session: &Session,
        invocation: &Invocation<'_>,
        kept: &mut KeptHold<'r>,
        turn: &'r Turn<'r>,
        out: &mut Sink<'_>,
    ) -> Outcome {
        // It may show the client its own entry.
        session.note_activity(turn.batch.now, Some(invocation.spec), Traffic::default());
        // It may change settings.
        turn.forget();
        match invocation.spec.run {
            Run::Server(function) => {
                if let Some((_, hold)) = kept {
                    // It may ask which replicas have the client's latest writes.
                    hold.engine().propagate();
                    hold.engine().reset_timer();
                }
                let wait = self.call_process(session, function, invocation, &mut [], turn, out);
                if let Some((_, hold)) = kept {
                    // It may be CONFIG SET.
                    hold.engine().read_settings();
                }
                if let Some(wait) = wait {
                    match wait.next_check(turn.batch.now) {
                        Some(_) => return Outcome::wait(WaitFor::Replicas(Box::new(wait))),
                        None => wait.reply(turn.batch.now, out),
                    }
                }
                Outcome::Replied
            }
            Run::Cluster(function) => {
                *kept = None;
                let view = self.view(session, invocation.spec.flags);
                self.run_on_shards(session, function, invocation, &view, turn, out)
            }
            Run::Whole(function) => {
                *kept = None;
                let all: Vec<usize> = (0..self.shards.len()).collect();
                self.run_on_shards(session, function, invocation, &all, turn, out)
            }
            Run::Shard(_) | Run::Blocks(_) | Run::Session(_) | Run::Script(_) | Run::Container => {
                out.error(Refusal::impossible("a command of the process that is none"));
                Outcome::Replied
            }
        }
    }

    /// Runs a lone command that sees these shards, which are named in ascending order.
    fn run_on_shards<'r>(
        &'r self,
        session: &Session,
        function: ServerFn,
        invocation: &Invocation<'_>,
        shards: &[usize],
        turn: &'r Turn<'r>,
        out: &mut Sink<'_>,
    ) -> Outcome {
        if shards.iter().any(|shard| self.remotes.contains_key(shard)) {
            out.error(Refusal::REMOTE_SHARD);
            return Outcome::Replied;
        }
        let held = self.hold_each_if_idle(shards, turn);
        if session.client().is_closing() {
            // The client was closed during the wait.
            return Outcome::Sever;
        }
        let mut held = match held {
            Ok(held) => held,
            Err(_) if invocation.spec.has(flag::ALLOW_BUSY) => {
                // It refuses, or ends what makes it wait.
                let before = out.len();
                self.call_process(session, function, invocation, &mut [], turn, out);
                if out.len() > before {
                    return Outcome::Replied;
                }
                self.hold_each(shards, turn)
            }
            Err(kind) => {
                self.refuse_waiting(invocation.spec, kind, turn, out);
                return Outcome::Replied;
            }
        };
        // A replica that serves from its master's shard shows its own counts.
        let replica = match (turn.batch.port, &held.0[..]) {
            (Port::Node(node), [_]) if self.topology.is_replica(turn.batch.port) => Some(node),
            _ => None,
        };
        let swap = |held: &mut HeldShards<'_>| {
            replica.inspect(|&node| held.engine(0).swap_stats(node));
        };
        swap(&mut held);
        self.call_process(session, function, invocation, &mut held.0, turn, out);
        swap(&mut held);
        held.serve_blocked();
        Outcome::Replied
    }

    /// Calls a function of the process; a panic in it ends only its command. Returns what it waits
    /// for, if it has not replied yet.
    pub(super) fn call_process(
        &self,
        session: &Session,
        function: ServerFn,
        invocation: &Invocation<'_>,
        holds: &mut [(usize, Hold<'_>)],
        turn: &Turn<'_>,
        out: &mut Sink<'_>,
    ) -> Option<ReplicaWait> {
        let (before, began) = (out.len(), turn.pace.ticks());
        let (now, pace) = (turn.batch.now, turn.pace);
        let (port, mut view) = (session.port(), Vec::with_capacity(holds.len()));
        let parts = holds.iter_mut().map(|(number, hold)| {
            view.push(*number);
            let engine = hold.engine();
            engine.set_writer(invocation.spec);
            (&mut engine.keyspace, &mut engine.tally)
        });
        let (shards, tallies) = parts.unzip();
        let version = self.topology.version();
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let (server, me) = (&self.server, session.client());
            if invocation.spec.group == Group::Cluster && !server.is_clustered(port) {
                return Err(Refusal::NO_CLUSTER);
            }
            let node = server.node(port);
            let (product, replica_wait) = (turn.batch.product, None);
            let mut cx = ServerCx {
                server,
                node,
                me,
                port,
                product,
                shards,
                view,
                tallies,
                now,
                pace,
                replica_wait,
            };
            function(&mut cx, invocation.args, out).map(|()| cx.replica_wait)
        }));
        let mut wait = None;
        match outcome {
            Ok(Ok(begun)) => wait = begun,
            Ok(Err(refusal)) => {
                let client = session.client().id;
                note_failed(&session.node().observer, client, invocation, &refusal);
                out.error(refusal);
            }
            Err(_panic) => {
                tracing::error!(command = %invocation.spec.full_name(), "a command panicked");
                out.truncate(before);
                out.error(Refusal::SHARD_PANIC);
                holds.iter_mut().for_each(|(_, hold)| hold.engine().keyspace.rebuild_index());
            }
        }
        note_choice(&session.node().observer, session.client(), invocation);
        self.publish_all(holds, turn);
        let ticks = turn.pace.ticks().wrapping_sub(began);
        let reply = out.buffer().get(before..).unwrap_or_default();
        self.note_command(invocation, ticks, reply, turn);
        if self.topology.version() != version {
            self.apply_topology(holds, turn);
        }
        wait
    }

    /// Publishes what a command has done to the shards that it held.
    fn publish_all(&self, holds: &mut [(usize, Hold<'_>)], turn: &Turn<'_>) {
        // A client is notified once, of however many shards.
        let emptied = |(number, hold): &mut (usize, Hold<'_>)| {
            hold.engine().keyspace.take_emptied().then_some(*number)
        };
        let emptied: Vec<usize> = holds.iter_mut().filter_map(emptied).collect();
        if !emptied.is_empty() {
            let delivered = &mut |sleeper| turn.pace.delivered(sleeper);
            self.server.nodes.note_emptied(&emptied, turn.batch.now, delivered);
        }
        for (_, hold) in holds.iter_mut() {
            hold.engine().clear_writer();
            // Before those of a transaction's next command, for which settings may have changed.
            hold.engine().publish_events(turn.pace);
            hold.engine().read_settings();
        }
    }

    /// Refuses a command that would wait for a script, or for a function.
    #[cold]
    pub(super) fn refuse_waiting(
        &self,
        spec: &Spec,
        kind: ScriptKind,
        turn: &Turn<'_>,
        out: &mut Sink<'_>,
    ) {
        let (busy, client) = (Refusal::busy(kind), turn.batch.instrumentation.client);
        let observer = &self.server.node(turn.batch.port).observer;
        observer.commandstats.count(client, |tally| tally.rejected(spec.id, busy.text()));
        out.error(busy);
    }

    /// Refuses a unit whose shards are busy with a script of this kind.
    #[cold]
    pub(super) fn refuse_unit(
        &self,
        session: &mut Session,
        unit: &Unit<'_>,
        kind: ScriptKind,
        turn: &Turn<'_>,
        out: &mut Vec<u8>,
    ) -> Outcome {
        if let Unit::Exec(_) = unit {
            session.insert_pushes_before(out.len(), out);
        }
        let mut out = Sink::new(out, session.proto());
        match unit {
            Unit::Exec(_) => out.error(Refusal::busy_at_exec(&Refusal::busy(kind))),
            Unit::Command(it) | Unit::Blocking(it) | Unit::Watch(it, _) => {
                self.refuse_waiting(it.spec, kind, turn, &mut out);
            }
        }
        Outcome::Replied
    }

    /// Counts a command that ran on no shard, and records it if it was slow or is monitored.
    pub(super) fn note_command(
        &self,
        invocation: &Invocation<'_>,
        ticks: u64,
        reply: &[u8],
        turn: &Turn<'_>,
    ) {
        let (&Invocation { spec, args, .. }, batch) = (invocation, &turn.batch);
        let observer = &self.server.node(batch.port).observer;
        // The thresholds in force now that it has run: it may have been CONFIG SET. A monitor that
        // joined meanwhile is not shown what had begun before.
        let instrumentation = match observer.settings_versions() == turn.settings.get() {
            true => batch.instrumentation,
            false => Instrumentation {
                monitored: batch.instrumentation.monitored,
                in_script: batch.instrumentation.in_script,
                ..observer.instrumentation(batch.instrumentation.client)
            },
        };
        observer.commandstats.count(instrumentation.client, |tally| {
            tally.ran(spec.id, ticks, instrumentation.tracks);
            if let Some((b'-', error)) = reply.split_first() {
                tally.failed(spec.id, error);
            }
        });
        if ticks >= instrumentation.looked_at_from {
            let (shown, client) = (spec.without_secrets(args), instrumentation.client);
            let (now, in_script) = (batch.now, instrumentation.in_script);
            let (request_len, reply_len) = (args.wire_len(), reply.len());
            let args = shown.iter().copied();
            let seen = ObservedCommand { args, client, now, in_script, request_len, reply_len };
            if instrumentation.monitored && spec.is_shown() {
                observer.feed_monitors(seen.clone());
            }
            if ticks >= instrumentation.slow_ticks {
                observer.record_slow(seen, ticks, spec.flags & flag::FAST != 0, !spec.is_logged());
            }
            if instrumentation.counts_slots {
                count_request(observer, invocation, ticks, reply_len);
            }
        }
    }
}
