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
use super::outcome::{Blocked, Outcome};
use super::waiters::Serve;
use crate::command::{Invocation, Pace, Refusal, Wait};
use crate::keyspace::Guard;
use crate::resp::{Proto, Sink};
use crate::session::{Transaction, Unit, Watched};
use crate::slot::Slot;
use crate::state::clients::Client;
use crate::state::{CommandStats, Observer};
use std::sync::Arc;

/// Runs the parts of a unit on the shards that are held.
pub(crate) trait Executor {
    /// Returns the client that the unit is run for.
    fn client(&self) -> &Arc<Client>;
    /// Returns the observer that records lost and committed transactions.
    fn observer(&self) -> &Observer;
    /// Returns the counts that include the unit.
    fn stats(&mut self) -> &mut CommandStats;
    /// Runs one command; returns what it waits for if no key has a value for it yet.
    fn call(&mut self, invocation: &Invocation<'_>, out: &mut Sink<'_>) -> Option<Wait>;
    /// Runs one command of a transaction, which never waits.
    fn call_queued(&mut self, invocation: &Invocation<'_>, out: &mut Sink<'_>);
    /// Blocks the client on the keys of its command.
    fn block(&mut self, invocation: &Invocation<'_>, blocked: &Blocked, proto: Proto);
    /// Files a guard under the keys of a WATCH.
    fn watch(&mut self, invocation: &Invocation<'_>, guard: &Guard);
    /// Ends a watch and returns whether its guard is lost: a watched key was touched, or has moved
    /// to a shard where the guard is not filed.
    fn guard_is_lost(&mut self, watched: &Watched) -> bool;
    /// Returns the reply that a fault gives to an EXEC in place of running it.
    fn injected_reply(&mut self, _: &Transaction) -> Option<InjectedReply> {
        None
    }
    /// Serves the clients that are blocked on keys which the unit has given a value.
    fn serve_blocked(&mut self);
}

/// The reply that a fault gives to an EXEC.
#[derive(Debug)]
pub(crate) enum InjectedReply {
    /// As if its guard were lost.
    Null,
    /// This error.
    Error(Refusal),
}

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
            out.array(transaction.queue.len());
            for invocation in transaction.queue.iter() {
                on.call_queued(&invocation, out);
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

    fn call(&mut self, invocation: &Invocation<'_>, out: &mut Sink<'_>) -> Option<Wait> {
        self.engine.call(invocation, None, None, self.batch, self.pace, out)
    }

    fn call_queued(&mut self, invocation: &Invocation<'_>, out: &mut Sink<'_>) {
        self.pace.step(1);
        self.engine.run(invocation, self.batch, self.pace, out);
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
