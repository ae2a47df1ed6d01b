//! Runs a unit on the shards that are held for it: the router's [`Executor`].
//!
//! A unit is run here when its slot's shard alone cannot run it: its slot moves or belongs to
//! another node, or the unit needs several slots, another database, or more than one shard.

use super::Router;
use super::homes::Homes;
use super::placement::Placement;
use crate::command::{Invocation, KeySlots, Pace, Refusal, Run, SessionCommand, Wait};
use crate::keyspace::Guard;
use crate::resp::{Proto, Sink};
use crate::session::{OwnedUnit, Scope, Session, Transaction, Unit, Watched};
use crate::shard::{
    Blocked, Engine, Executor, InjectedReply, Outcome, Pending, Serve, Served, Turn, WaitFor,
    execute, run_script,
};
use crate::slot::Slot;
use crate::state::clients::Client;
use crate::state::{CommandStats, Observer};
use crate::topology::Port;
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::sync::oneshot;

/// A unit that is being run, with everything that is held for it.
struct Execution<'x, 'r> {
    router: &'r Router,
    session: &'x mut Session,
    client: Arc<Client>,
    placement: Placement<'r>,
    /// What is recorded follows the settings as a transaction's commands change them.
    turn: Turn<'r>,
    scope: Scope,
    /// The slots of a lone command's keys, if it has several.
    slots: Option<&'x KeySlots<'x>>,
    /// Whether a queued SELECT may choose a database.
    may_select: bool,
    /// The position in the output where the reply begins.
    head: usize,
    /// The database that the client had chosen before the script that runs.
    database_before_script: u32,
}

impl Router {
    /// Places a unit and runs it there, or replies with the reason why it does not run. A command
    /// over several slots is recorded once it is placed, if `is_new`: the client has just sent it.
    pub(super) fn run_placed<'r>(
        &'r self,
        session: &mut Session,
        (unit, is_new): (&Unit<'_>, bool),
        scope: Scope,
        turn: &'r Turn<'r>,
        out: &mut Vec<u8>,
    ) -> Outcome {
        // It may leave shards in another state than it found them in.
        turn.forget();
        let slots = match (scope, unit) {
            (Scope::Slot(_), _) | (_, Unit::Exec(_)) => None,
            (_, Unit::Command(it) | Unit::Blocking(it) | Unit::Watch(it, _)) => {
                Some(KeySlots::of(it))
            }
        };
        let slots = slots.as_ref();
        let placement = self.place(session, unit, scope, slots, turn);
        let client = Arc::clone(session.client());
        if client.is_closing() {
            // The client was closed during the wait.
            return Outcome::Sever;
        }
        let mut placement = match placement {
            Ok(placement) => placement,
            Err(kind) => return self.refuse_unit(session, unit, kind, turn, out),
        };
        let refusal = match unit {
            Unit::Exec(transaction) => {
                let refusal = self.refuses_exec(session, transaction, &mut placement, turn);
                // The reply contains no messages: those that are in the output stand before it, and
                // so do those that were received before a subscription ended.
                session.insert_pushes_before(out.len(), out);
                refusal
            }
            _ => placement.refusal.take(),
        };
        let head = out.len();
        let mut sink = Sink::new(out, session.proto());
        if let Some(refusal) = refusal {
            match unit {
                Unit::Exec(_) => sink.error(refusal),
                Unit::Command(it) | Unit::Blocking(it) => {
                    placement.engine().refuse(it.spec, &refusal, &mut sink);
                }
                Unit::Watch(it, _) => {
                    session.note_watch_refused();
                    placement.engine().refuse(it.spec, &refusal, &mut sink);
                }
            }
            return Outcome::Replied;
        }
        if let (Unit::Command(it) | Unit::Blocking(it), Scope::Slots | Scope::Database(_)) =
            (unit, scope)
            && is_new
        {
            session.note_over_slots(&self.server, it);
        }
        placement.held.engines().for_each(|engine| engine.set_reader(&client));
        let may_select = match unit {
            Unit::Exec(transaction) => transaction.selects,
            // A script that may holds the shards of all databases.
            _ => !matches!(scope, Scope::Slot(_)),
        };
        let mut on = Execution {
            router: self,
            session,
            client,
            placement,
            turn: turn.clone(),
            scope,
            slots,
            may_select,
            head,
            database_before_script: 0,
        };
        execute(unit, &mut on, &mut sink)
    }

    /// Returns the reason why a transaction is not run, whatever the state of its guard.
    fn refuses_exec(
        &self,
        session: &Session,
        transaction: &Transaction,
        placement: &mut Placement<'_>,
        turn: &Turn<'_>,
    ) -> Option<Refusal> {
        let mut refusal = placement.refusal.take();
        let is_lost = transaction.watched.as_ref().is_some_and(|w| w.guard.is_tripped());
        if is_lost && turn.batch.port == Port::Router {
            // None of it would run.
            return None;
        }
        if transaction.crosses && refusal != Some(Refusal::SLOT_NOT_SERVED) {
            refusal = Some(session.crossing_at_exec(transaction));
        } else if refusal.is_none() && transaction.poisoned {
            refusal = Some(Refusal::EXEC_ABORT);
        }
        if turn.armed.affects_exec() && refusal.is_none() {
            self.make_conflict(transaction, &mut placement.held, turn.batch.now);
        }
        refusal
    }

    /// Continues with a unit that has to be placed; if it has several commands, with the first.
    pub(super) fn resume_placed<'r>(
        &'r self,
        session: &mut Session,
        unit: OwnedUnit,
        turn: &'r Turn<'r>,
    ) -> Pending {
        let (reply, pending) = oneshot::channel();
        let scope = unit.scope(session.database());
        let (mut replies, mut rest) = (Vec::new(), None);
        let mut run = |unit: Option<Unit<'_>>| match unit {
            Some(unit) => self.run_placed(session, (&unit, false), scope, turn, &mut replies),
            None => Outcome::Replied,
        };
        let outcome = match unit {
            OwnedUnit::Commands(mut queue) => {
                let outcome = run(queue.iter().next().as_ref().map(Unit::Command));
                queue.skip(1);
                rest = (!queue.is_empty()).then_some(OwnedUnit::Commands(queue));
                outcome
            }
            OwnedUnit::Blocking(queue) => run(queue.iter().next().as_ref().map(Unit::Blocking)),
            OwnedUnit::Watch(queue, guard) => {
                run(queue.iter().next().as_ref().map(|watch| Unit::Watch(watch, guard)))
            }
            OwnedUnit::Exec(transaction) => run(Some(Unit::Exec(transaction))),
        };
        let then = match outcome {
            Outcome::Wait { wait, .. } => Some(wait),
            // Nothing is sent: the client was closed.
            Outcome::Sever | Outcome::Close => return pending,
            _ => rest.map(|rest| WaitFor::Resume(Box::new(rest))),
        };
        // The connection that resumed the unit waits for this.
        let _received = reply.send(Served { replies, then });
        pending
    }
}

impl Executor for Execution<'_, '_> {
    fn client(&self) -> &Arc<Client> {
        &self.client
    }

    fn observer(&self) -> &Observer {
        &self.router.server.node(self.turn.batch.port).observer
    }

    fn stats(&mut self) -> &mut CommandStats {
        &mut self.placement.engine().tally
    }

    fn engine(&mut self) -> &mut Engine {
        self.placement.engine()
    }

    fn port(&self) -> Port {
        self.turn.batch.port
    }

    fn pace(&self) -> &dyn Pace {
        self.turn.pace
    }

    fn call(&mut self, invocation: &Invocation<'_>, out: &mut Sink<'_>) -> Option<Wait> {
        if let Run::Script(command) = invocation.spec.run {
            run_script(self, invocation, command, out);
            return None;
        }
        let (batch, pace) = (&self.turn.batch, self.turn.pace);
        match (self.scope, self.slots) {
            (Scope::Slots, Some(slots)) => {
                let homes = std::mem::take(&mut self.placement.homes);
                let wait = self.run_over(&homes, invocation, slots, out);
                self.placement.homes = homes;
                wait
            }
            _ => self.placement.engine().call(invocation, None, None, batch, pace, out),
        }
    }

    fn call_queued(&mut self, invocation: &Invocation<'_>, out: &mut Sink<'_>) {
        self.turn.pace.step(1);
        match invocation.spec.run {
            Run::Shard(_) if self.session.pong(invocation, out) => {}
            Run::Shard(_) | Run::Blocks(_) => self.call_queued_on_shard(invocation, out),
            Run::Server(function) => {
                let Self { router, session, turn, .. } = self;
                let wait = router.call_process(session, function, invocation, &mut [], &*turn, out);
                if let Some(wait) = wait {
                    // No command waits within a transaction.
                    wait.reply(turn.batch.now, out);
                }
            }
            Run::Cluster(function) => {
                let view = self.router.view(self.session, invocation.spec.flags);
                let (router, session, turn) = (self.router, &*self.session, self.turn.clone());
                self.placement.with_view(&view, out, |holds, out| {
                    router.call_process(session, function, invocation, holds, &turn, out);
                });
            }
            Run::Whole(function) => {
                let Self { router, session, placement, turn, .. } = self;
                let holds = &mut placement.held.0;
                router.call_process(session, function, invocation, holds, turn, out);
                placement.note_ready();
            }
            Run::Session(command) => self.call_session(command, invocation, out),
            Run::Script(command) => run_script(self, invocation, command, out),
            Run::Container => out.error(Refusal::impossible("a container in a queue")),
        }
        if matches!(invocation.spec.run, Run::Server(_)) {
            // It may have been CONFIG SET.
            let observer = &self.router.server.node(self.turn.batch.port).observer;
            self.turn.batch.instrumentation = observer.instrumentation(self.client.id);
        }
    }

    fn call_from_script(&mut self, invocation: &Invocation<'_>, out: &mut Sink<'_>) {
        let needed = match invocation.spec.run {
            Run::Cluster(_) => self.router.view(self.session, invocation.spec.flags),
            Run::Whole(_) => (0..self.router.shards.len()).collect(),
            _ => Vec::new(),
        };
        let are_held = needed.iter().all(|&shard| self.placement.held.position(shard).is_some());
        match invocation.spec.run {
            _ if are_held => self.call_queued(invocation, out),
            Run::Cluster(function) if !invocation.spec.writes() => {
                let (client, Turn { batch, pace, .. }) = (&self.client, self.turn.clone());
                let engine = self.placement.engine();
                engine.run_process(function, invocation, client, &batch, pace, out);
            }
            _ => out.error(Refusal::SCRIPT_NEEDS_ALL_SHARDS),
        }
    }

    fn remember_read_of_script(
        &mut self,
        invocation: &Invocation<'_>,
        declared: &mut dyn Iterator<Item = &[u8]>,
    ) {
        let Turn { batch, pace, .. } = self.turn;
        self.placement.engine().remember_read_of_script(invocation, declared, &batch, pace);
    }

    fn is_local(&mut self, slot: Slot, invocation: &Invocation<'_>) -> bool {
        let batch = self.turn.batch;
        let engine = self.placement.engine();
        if engine.serves_directly(slot, &batch) {
            return true;
        }
        // The slot of its own keys moves: those that are here can be used.
        let Scope::Slot(Some(own)) = self.scope else { return false };
        let mut all_here = own == slot;
        invocation
            .spec
            .each_key(invocation.args, |key| all_here = all_here && engine.has(slot, key));
        all_here
    }

    fn reaches_all_slots(&self) -> bool {
        !matches!(self.scope, Scope::Slot(_))
    }

    fn held_shards(&self) -> Vec<usize> {
        self.placement.held.numbers()
    }

    fn refuse_waiting(&mut self, busy: &Refusal) {
        self.placement.held.engines().for_each(|engine| engine.refuse_waiting(busy));
    }

    fn begin_script(&mut self, invocation: &Invocation<'_>) -> u64 {
        let pace = self.turn.pace;
        let began = self.placement.engine().begin_script(invocation, pace);
        self.set_in_script(true);
        self.database_before_script = self.session.database();
        began
    }

    fn end_script(
        &mut self,
        invocation: &Invocation<'_>,
        began: u64,
        error: Option<&Refusal>,
        reply_len: usize,
    ) {
        self.session.restore_database(self.database_before_script);
        self.set_in_script(false);
        let pace = self.turn.pace;
        self.placement.engine().end_script(invocation, began, error, reply_len, pace);
    }

    fn block(&mut self, invocation: &Invocation<'_>, blocked: &Blocked, proto: Proto) {
        let awaited = invocation.spec.awaited_keys(invocation.args);
        let (Scope::Slots, Some(slots)) = (self.scope, self.slots) else {
            let engine = self.placement.engine();
            return engine.block_client(blocked, &self.client, proto, &awaited, Serve::Here);
        };
        // A command that writes elsewhere needs that shard as well.
        let is_all = awaited.len() == slots.iter().count();
        let serve = if is_all { Serve::Here } else { Serve::Elsewhere };
        for at in 0..self.placement.held.0.len() {
            let is_here = |key: &&&[u8]| self.placement.home(slots.slot_of(key)) == Some(at);
            let here: Vec<&[u8]> = awaited.iter().filter(is_here).copied().collect();
            if !here.is_empty() {
                let engine = self.placement.held.engine(at);
                engine.block_client(blocked, &self.client, proto, &here, serve);
            }
        }
    }

    fn watch(&mut self, invocation: &Invocation<'_>, guard: &Guard) {
        invocation.spec.each_key(invocation.args, |bytes| {
            let slot = match (invocation.slot(), self.slots) {
                (Some(slot), _) => slot,
                (None, Some(slots)) => slots.slot_of(bytes),
                (None, None) => Slot::of(bytes),
            };
            let of_database = matches!(self.scope, Scope::Database(_));
            for (shard, hold) in &mut self.placement.held.0 {
                let shards = self.router.shards_of(Some(slot), self.turn.batch.port);
                if of_database || shards.all().any(|may_have_it| may_have_it == *shard) {
                    let keyspace = &mut hold.engine().keyspace;
                    keyspace.watch(keyspace.key(slot, bytes), guard);
                    self.session.note_guard_filed(*shard, (!of_database).then_some(slot));
                }
            }
        });
    }

    fn guard_is_lost(&mut self, watched: &Watched) -> bool {
        let Self { router, placement, .. } = self;
        let over_slots = self.scope == Scope::Slots;
        let mut lost = match over_slots {
            // The guard must have been filed at every shard where a watched slot's keys may be now.
            true => {
                let filed: BTreeSet<(Slot, usize)> = watched.places.iter().copied().collect();
                filed.iter().any(|&(slot, _)| {
                    let shards = router.shards_of(Some(slot), Port::Router);
                    shards.all().any(|shard| !filed.contains(&(slot, shard)))
                })
            }
            false => watched.shards.iter().any(|shard| !placement.shards.contains(shard)),
        };
        for (number, hold) in &mut placement.held.0 {
            lost |= match watched.shards.contains(number) {
                _ if !placement.shards.contains(number) => false,
                true => hold.engine().unwatch(watched),
                false if over_slots => false,
                // A key that is here now was moved here or created since.
                false => watched.keys.iter().any(|key| hold.engine().has(Slot::of(key), key)),
            };
        }
        lost
    }

    fn injected_reply(&mut self, transaction: &Transaction) -> Option<InjectedReply> {
        if !self.turn.armed.affects_exec() {
            return None;
        }
        self.router.injected_exec_reply(transaction.slot, self.client.local, &self.turn)
    }

    fn serve_blocked(&mut self) {
        self.placement.serve_blocked();
    }
}

impl Execution<'_, '_> {
    /// Sets whether the commands that follow are those of a script.
    fn set_in_script(&mut self, in_script: bool) {
        self.turn.batch.instrumentation.in_script = in_script;
        self.placement.engine().instrumentation.in_script = in_script;
    }

    /// Runs a command over several slots.
    fn run_over(
        &mut self,
        homes: &Homes,
        invocation: &Invocation<'_>,
        slots: &KeySlots<'_>,
        out: &mut Sink<'_>,
    ) -> Option<Wait> {
        let (held, client) = (&mut self.placement.held, &self.client);
        let wait =
            self.router.run_over_slots(held, homes, (invocation, slots), client, &self.turn, out);
        self.placement.note_ready();
        wait
    }

    /// Runs a queued command on the shard of its transaction, or where its own slots are.
    fn call_queued_on_shard(&mut self, invocation: &Invocation<'_>, out: &mut Sink<'_>) {
        let (batch, pace) = (&self.turn.batch, self.turn.pace);
        let database = self.router.shard_of_database(self.session.database());
        let wait = match (self.scope, database) {
            (Scope::Slots, None) => {
                let slots = KeySlots::of(invocation);
                let held = &mut self.placement.held;
                let homes = self.router.homes(held, invocation, &slots, pace);
                self.run_over(&homes, invocation, &slots, out)
            }
            (Scope::Slots, Some(shard)) => match self.placement.held.position(shard) {
                Some(at) => {
                    let engine = self.placement.held.engine(at);
                    engine.keyspace.no_touch = self.client.no_touch();
                    engine.set_instrumentation(batch.instrumentation);
                    engine.set_reader(&self.client);
                    engine.reset_timer();
                    let wait = engine.call(invocation, None, None, batch, pace, out);
                    self.placement.note_ready();
                    wait
                }
                None => {
                    out.error(Refusal::impossible("the shard of a database is not held"));
                    None
                }
            },
            (Scope::Slot(_) | Scope::Database(_), _) => {
                let engine = self.placement.engine();
                // A command before this one may have changed it.
                engine.keyspace.no_touch = self.client.no_touch();
                engine.set_instrumentation(batch.instrumentation);
                engine.set_reader(&self.client);
                engine.reset_timer();
                engine.call(invocation, None, None, batch, pace, out)
            }
        };
        if let Some(wait) = wait {
            // No command waits within a transaction.
            wait.null_reply.write(out);
        }
    }

    /// Runs a queued command of the session itself.
    fn call_session(
        &mut self,
        command: SessionCommand,
        invocation: &Invocation<'_>,
        out: &mut Sink<'_>,
    ) {
        let (began, before) = (self.turn.pace.ticks(), out.len());
        let (server, args) = (&self.router.server, invocation.args);
        self.session.run_queued(server, self.may_select, command, args, out);
        let ticks = self.turn.pace.ticks().wrapping_sub(began);
        let reply = out.buffer().get(before..).unwrap_or_default();
        self.router.note_command(invocation, ticks, reply, &self.turn);
        if command == SessionCommand::ClientTracking {
            // Changes of keys may be wanted from now on.
            self.placement.held.engines().for_each(Engine::read_settings);
        }
        if !matches!(command, SessionCommand::Subscribe(_)) {
            self.session.insert_pushes_before(self.head, out.buffer());
        }
    }
}
