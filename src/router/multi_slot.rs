//! Runs commands over several slots, where that is allowed (`cross-slot audit`).
//!
//! ```text
//! the shards of all its slots, held ─► their tables lent to a scratch shard ─► the command runs there
//! ─► the tables return ─► watched, awaited and replicated keys that changed are noted at their homes
//! ```
//!
//! So the command's own code alone decides its effect, and the shards, their slots and their moves
//! are the same under every policy.

use super::Router;
use super::held::HeldShards;
use super::homes::{Homes, home_in};
use crate::command::{Invocation, KeySlots, Pace, Refusal, Wait};
use crate::keyspace::{KeyHasher, Keyspace, TouchedKeys};
use crate::resp::Sink;
use crate::shard::{Engine, Turn};
use crate::state::ServerState;
use crate::state::clients::Client;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Engines without slots of their own: as many as the most commands over several slots at one time.
#[derive(Debug)]
pub(super) struct ScratchShards {
    idle: Mutex<Vec<Engine>>,
    /// How many there have ever been, so that random choices differ from one to the next.
    made: AtomicU64,
    /// The hash that every shard's tables use.
    hasher: KeyHasher,
}

impl ScratchShards {
    pub(super) fn new(hasher: KeyHasher) -> Self {
        Self { idle: Mutex::default(), made: AtomicU64::new(0), hasher }
    }

    fn take(&self, server: &ServerState) -> Engine {
        self.idle.lock().pop().unwrap_or_else(|| self.make(server))
    }

    fn make(&self, server: &ServerState) -> Engine {
        let made = self.made.fetch_add(1, Ordering::Relaxed);
        let seed = self.hasher.wide_hash(&made.to_le_bytes());
        let mut keyspace = Keyspace::new(std::iter::empty(), self.hasher.clone(), seed);
        keyspace.set_journaling(true);
        Engine::scratch(keyspace, Arc::clone(&server.topology), Arc::clone(&server.nodes))
    }
}

impl Router {
    /// Runs one command over the slots of its keys, whose shards are held; returns what it waits
    /// for if no key has a value for it yet.
    pub(super) fn run_over_slots(
        &self,
        held: &mut HeldShards<'_>,
        homes: &Homes,
        (invocation, slots): (&Invocation<'_>, &KeySlots<'_>),
        client: &Client,
        turn: &Turn<'_>,
        out: &mut Sink<'_>,
    ) -> Option<Wait> {
        let first = slots.iter().next().and_then(|(_, slot)| home_in(homes, slot));
        let Some(counting) = first.or_else(|| (!held.0.is_empty()).then_some(0)) else {
            out.error(Refusal::impossible("a command over several slots without a shard"));
            return None;
        };
        let mut scratch = self.scratch.take(&self.server);
        scratch.begin_batch(&turn.batch);
        // The batch may have waited for some of the shards since it began.
        let now = held.engines().map(|engine| engine.keyspace.now()).max();
        scratch.advance(now.unwrap_or(turn.batch.now));
        scratch.keyspace.no_touch = client.no_touch();
        scratch.set_reader(client);
        scratch.sees_all = invocation.spec.reads_unnamed(invocation.args);
        for &(slot, at) in homes {
            held.engine(at).keyspace.transfer_slot(slot, &mut scratch.keyspace);
        }
        swap_counts(&mut scratch, held.engine(counting));
        let wait = scratch.call(invocation, Some(slots), None, &turn.batch, turn.pace, out);
        swap_counts(&mut scratch, held.engine(counting));
        for &(slot, at) in homes {
            scratch.keyspace.transfer_slot(slot, &mut held.engine(at).keyspace);
        }
        let touched = scratch.keyspace.take_touched();
        if touched.all || !touched.keys.is_empty() || !touched.unwatched.is_empty() {
            note_touched(held, homes, (invocation, slots), &touched, turn.pace);
        }
        if let Some(dead) = scratch.keyspace.take_lazy_free() {
            turn.pace.dispose(Box::new(dead));
        }
        self.scratch.idle.lock().push(scratch);
        wait
    }
}

/// Records, at their own shards, the keys that a command has changed on the scratch shard.
fn note_touched(
    held: &mut HeldShards<'_>,
    homes: &Homes,
    (invocation, slots): (&Invocation<'_>, &KeySlots<'_>),
    touched: &TouchedKeys,
    pace: &dyn Pace,
) {
    held.engines().for_each(|engine| engine.set_writer(invocation.spec));
    for key in &touched.keys {
        let slot = slots.slot_of(key);
        if let Some(at) = home_in(homes, slot) {
            let engine = held.engine(at);
            engine.keyspace.touch_transferred(slot, key);
            // In one order, on whatever shards they are.
            engine.publish_events(pace);
        }
    }
    for key in &touched.unwatched {
        if let Some(at) = home_in(homes, slots.slot_of(key)) {
            held.engine(at).keyspace.touch_transferred_unwatched(key);
        }
    }
    if touched.all {
        held.engines().for_each(|engine| engine.keyspace.touch_all_transferred());
    }
    for engine in held.engines() {
        engine.publish_events(pace);
        engine.clear_writer();
    }
}

/// Counts a command that runs on the scratch shard at the shard of its first key.
fn swap_counts(scratch: &mut Engine, home: &mut Engine) {
    std::mem::swap(&mut scratch.tally, &mut home.tally);
    scratch.keyspace.swap_counts(&mut home.keyspace);
}
