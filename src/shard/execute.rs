//! Runs a unit: the only EXEC, the only WATCH and the only check of a guard.
//!
//! ```text
//! Command, Blocking   call ─► reply, or the client blocks
//! Watch               the guard is filed under each key ─► +OK
//! Exec                guard whole? ─► *n ─► call, call, call …      else nil
//! then                a key has got a value that a client is blocked on? ─► that client is served
//! ```
//!
//! The [`Executor`] decides where a unit runs: on one shard ([`Running`]), also when it comes from
//! the shard's queue, or over all shards that the router holds for it.

use super::context::BatchContext;
use super::engine::Engine;
use super::executor::{Executor, InjectedReply};
use super::outcome::{Blocked, Outcome};
use super::script;
use super::waiters::Serve;
use crate::command::{Invocation, Pace, Refusal, Run, SessionCommand, Spec, Wait, flag};
use crate::keyspace::Guard;
use crate::resp::{Proto, Sink};
use crate::session::{Transaction, Unit, Watched};
use crate::slot::Slot;
use crate::state::clients::Client;
use crate::state::{CommandStats, Observer};
use crate::topology::Port;
use std::sync::Arc;

/// Runs a unit and writes its reply.
pub(crate) fn execute(unit: &Unit<'_>, on: &mut impl Executor, out: &mut Sink<'_>) -> Outcome {
    match unit {
        Unit::Command(invocation) => {
            if let Some(wait) = on.call(invocation, out) {
                wait.null_reply.write(out);
            }
            on.serve_blocked();
        }
        Unit::Blocking(invocation) => {
            let wait = on.call(invocation, out);
            let blocked = wait.and_then(|wait| Blocked::begin(invocation, on.client(), wait, out));
            if let Some(blocked) = &blocked {
                on.block(invocation, blocked, out.proto);
            }
            on.serve_blocked();
            return Outcome::of_blocked(blocked);
        }
        Unit::Watch(invocation, guard) => {
            on.watch(invocation, guard);
            out.ok();
        }
        Unit::Exec(transaction) => exec(transaction, on, out),
    }
    Outcome::Replied
}

/// Runs a transaction if its guard is whole.
fn exec(transaction: &Transaction, on: &mut impl Executor, out: &mut Sink<'_>) {
    let watched = transaction.watched.as_deref();
    let injected = match watched.is_some_and(|watched| on.guard_is_lost(watched)) {
        true => Some(InjectedReply::Null),
        false => on.injected_reply(transaction),
    };
    match injected {
        Some(InjectedReply::Null) => {
            on.stats().exec_lost();
            watched.inspect(|watched| watched.lose(on.observer()));
            out.null_array();
        }
        Some(InjectedReply::Error(refusal)) => out.error(refusal),
        None => {
            watched.inspect(|watched| watched.keep(on.observer()));
            let counts_slots = on.engine().instrumentation.counts_slots;
            if counts_slots {
                on.engine().slot_use.begin_exec(out.len(), transaction.slot);
            }
            out.array(transaction.queue.len());
            for invocation in transaction.queue.iter() {
                on.call_queued(&invocation, out);
            }
            if counts_slots {
                let mut slot_use = std::mem::take(&mut on.engine().slot_use);
                slot_use.end_exec(on.observer(), out.len());
            }
            on.serve_blocked();
        }
    }
}

/// One engine, with the context of the unit that it runs.
pub struct Running<'e> {
    /// Its shard is held.
    pub engine: &'e mut Engine,
    /// The context of the batch.
    pub batch: &'e BatchContext,
    /// The runtime's side of the batch.
    pub pace: &'e dyn Pace,
    /// The client that the unit is run for.
    pub client: &'e Arc<Client>,
}

impl Executor for Running<'_> {
    fn client(&self) -> &Arc<Client> {
        self.client
    }

    fn observer(&self) -> &Observer {
        self.engine.observer()
    }

    fn stats(&mut self) -> &mut CommandStats {
        &mut self.engine.tally
    }

    fn engine(&mut self) -> &mut Engine {
        self.engine
    }

    fn port(&self) -> Port {
        self.batch.port
    }

    fn pace(&self) -> &dyn Pace {
        self.pace
    }

    fn call(&mut self, invocation: &Invocation<'_>, out: &mut Sink<'_>) -> Option<Wait> {
        if let Run::Script(command) = invocation.spec.run {
            script::run(self, invocation, command, out);
            return None;
        }
        self.engine.call(invocation, None, None, self.batch, self.pace, out)
    }

    fn call_queued(&mut self, invocation: &Invocation<'_>, out: &mut Sink<'_>) {
        self.pace.step(1);
        match invocation.spec.run {
            Run::Script(command) => script::run(self, invocation, command, out),
            _ => self.engine.run(invocation, self.batch, self.pace, out),
        }
    }

    fn call_from_script(&mut self, invocation: &Invocation<'_>, out: &mut Sink<'_>) {
        match invocation.spec.run {
            Run::Shard(_) | Run::Blocks(_) => {
                self.engine.run(invocation, self.batch, self.pace, out);
            }
            // Over all keys, it sees those of this shard, as on a node of a cluster.
            Run::Server(function) | Run::Cluster(function)
                if self.may_run_here(invocation.spec) =>
            {
                let Self { engine, batch, pace, client } = self;
                engine.run_process(function, invocation, client, batch, *pace, out);
            }
            Run::Whole(_) if invocation.spec.has(flag::OTHER_DATABASE) => {
                let name = invocation.spec.name.to_ascii_uppercase();
                out.error(format!("ERR {name} is not allowed in cluster mode"));
            }
            Run::Server(_) | Run::Cluster(_) | Run::Whole(_) => {
                out.error(Refusal::SCRIPT_NEEDS_ALL_SHARDS);
            }
            Run::Session(SessionCommand::Select) => match invocation.args.int(1) {
                Ok(0) => out.ok(),
                Ok(_) => {
                    out.error(Refusal::no_database(self.batch.product, self.batch.port, "SELECT"));
                }
                Err(refusal) => out.error(refusal),
            },
            Run::Session(_) => out.ok(),
            Run::Script(_) | Run::Container => {
                out.error(Refusal::impossible("a script in a script"));
            }
        }
    }

    fn remember_read_of_script(
        &mut self,
        invocation: &Invocation<'_>,
        declared: &mut dyn Iterator<Item = &[u8]>,
    ) {
        self.engine.remember_read_of_script(invocation, declared, self.batch, self.pace);
    }

    fn is_local(&mut self, slot: Slot, invocation: &Invocation<'_>) -> bool {
        self.engine.serves_directly(slot, self.batch)
            || self.engine.still_has(slot, invocation, self.batch)
    }

    fn held_shards(&self) -> Vec<usize> {
        vec![self.engine.number()]
    }

    fn refuse_waiting(&mut self, busy: &Refusal) {
        self.engine.refuse_waiting(busy);
    }

    fn begin_script(&mut self, invocation: &Invocation<'_>) -> u64 {
        let began = self.engine.begin_script(invocation, self.pace);
        self.engine.instrumentation.in_script = true;
        began
    }

    fn end_script(
        &mut self,
        invocation: &Invocation<'_>,
        began: u64,
        error: Option<&Refusal>,
        reply_len: usize,
    ) {
        self.engine.instrumentation.in_script = false;
        self.engine.end_script(invocation, began, error, reply_len, self.pace);
    }

    fn block(&mut self, invocation: &Invocation<'_>, blocked: &Blocked, proto: Proto) {
        let keys = invocation.spec.awaited_keys(invocation.args);
        self.engine.block_client(blocked, self.client, proto, &keys, Serve::Here);
    }

    fn watch(&mut self, invocation: &Invocation<'_>, guard: &Guard) {
        let keyspace = &mut self.engine.keyspace;
        invocation.spec.each_key(invocation.args, |bytes| {
            let slot = invocation.slot().unwrap_or_else(|| Slot::of(bytes));
            keyspace.watch(keyspace.key(slot, bytes), guard);
        });
    }

    fn guard_is_lost(&mut self, watched: &Watched) -> bool {
        // A guard that is also filed elsewhere belongs to a slot that has moved since.
        let is_elsewhere = watched.shards.iter().any(|&shard| shard != self.engine.number());
        self.engine.unwatch(watched) || is_elsewhere
    }

    fn serve_blocked(&mut self) {
        self.engine.serve_blocked(self.batch, self.pace);
    }
}

impl Running<'_> {
    /// Returns whether a script may run a command of the process on this shard alone: one that
    /// removes all keys needs all shards.
    fn may_run_here(&self, spec: &Spec) -> bool {
        match self.batch.port {
            Port::Node(_) => true,
            Port::Router => {
                !spec.writes() || self.engine.topology.shards_of_masters() == [self.engine.number()]
            }
        }
    }
}
