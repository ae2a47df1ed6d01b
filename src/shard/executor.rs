//! What runs the parts of a unit: a shard alone, or the router over the shards that it holds.

use super::engine::Engine;
use super::outcome::Blocked;
use crate::command::{Invocation, Pace, Refusal, Wait};
use crate::keyspace::Guard;
use crate::resp::{Proto, Sink};
use crate::session::{Transaction, Watched};
use crate::slot::Slot;
use crate::state::clients::Client;
use crate::state::{CommandStats, Observer};
use crate::topology::Port;
use std::sync::Arc;

/// Runs the parts of a unit on the shards that are held.
pub(crate) trait Executor {
    /// Returns the client that the unit is run for.
    fn client(&self) -> &Arc<Client>;
    /// Returns the observer that records lost and committed transactions.
    fn observer(&self) -> &Observer;
    /// Returns the counts that include the unit.
    fn stats(&mut self) -> &mut CommandStats;
    /// Returns the engine that runs the commands of the unit's slot.
    fn engine(&mut self) -> &mut Engine;
    /// Returns the port that the unit was received at.
    fn port(&self) -> Port;
    /// Returns the runtime's side of the batch.
    fn pace(&self) -> &dyn Pace;
    /// Runs one command; returns what it waits for if no key has a value for it yet.
    fn call(&mut self, invocation: &Invocation<'_>, out: &mut Sink<'_>) -> Option<Wait>;
    /// Runs one command of a transaction, which never waits.
    fn call_queued(&mut self, invocation: &Invocation<'_>, out: &mut Sink<'_>);
    /// Runs one command of a script, which never waits.
    fn call_from_script(&mut self, invocation: &Invocation<'_>, out: &mut Sink<'_>);
    /// Remembers what a command of a script has read, for a client that tracks keys; `declared` are the
    /// keys that the script was given.
    fn remember_read_of_script(
        &mut self,
        invocation: &Invocation<'_>,
        declared: &mut dyn Iterator<Item = &[u8]>,
    );
    /// Returns whether a command of a script finds the keys of its slot here.
    fn is_local(&mut self, slot: Slot, invocation: &Invocation<'_>) -> bool;
    /// Returns the shards that a script makes others wait for.
    fn held_shards(&self) -> Vec<usize>;
    /// Refuses the units that wait for these shards now.
    fn refuse_waiting(&mut self, busy: &Refusal);
    /// Returns whether a script may use keys of any slot.
    fn reaches_all_slots(&self) -> bool {
        false
    }
    /// Begins a command that runs a script; returns when it began.
    fn begin_script(&mut self, invocation: &Invocation<'_>) -> u64;
    /// Ends what [`Executor::begin_script`] began.
    /// The reply has so many bytes.
    fn end_script(
        &mut self,
        invocation: &Invocation<'_>,
        began: u64,
        error: Option<&Refusal>,
        reply_len: usize,
    );
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
