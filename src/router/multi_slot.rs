//! What asks for several slots at once, where that is allowed (`cross-slot audit`, `cross-slot split`).
//!
//! ```text
//! audit    the shards of all its slots, held ─► their tables lent to a stage ─► the command runs there
//!          ─► the tables go home ─► who watches or awaits what was changed is told
//!          a transaction holds all shards, and does so for each of its commands
//! split    part by part, each as a command of its own on its own shard; then the replies become one
//! ```
//!
//! So nothing but the command itself decides what it does, and the shards, their slots and their
//! moves are the same under every policy.

use super::{Done, Router, Turn};
use crate::command::{Invocation, Pace, Refusal, Wait, resolve};
use crate::keyspace::Keyspace;
use crate::resp::Sink;
use crate::session::Session;
use crate::shard::Hold;
use crate::shard::engine::{Blocked, Engine, Serve};
use crate::slot::Slot;
use crate::topology::{KeyPresence, Port, RequestFlags, Route};
use parking_lot::Mutex;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Engines without slots of their own, for commands over several: as many as there were such commands
/// at one time.
#[derive(Debug, Default)]
pub(super) struct Stages {
    idle: Mutex<Vec<Engine>>,
    /// How many there have ever been, so that chance differs from one to the next.
    made: AtomicU64,
}

/// Shards that are held, in ascending order.
type Holds<'r> = [(usize, Hold<'r>)];

/// By slot: which of the shards that are held has its keys, by its place among them.
type Homes = BTreeMap<Slot, usize>;

impl Router {
    /// Runs a lone command over the slots of its keys; it may wait for them if it is one that does.
    pub(super) fn run_across<'r>(
        &'r self,
        session: &Session,
        invocation: &Invocation<'_>,
        turn: &mut Turn<'r>,
        out: &mut Sink<'_>,
    ) -> Done {
        let spec = invocation.spec;
        if let Some(shard) = self.shard_of_database(session) {
            return self.run_in_database(session, shard, invocation, turn, out);
        }
        let mut holds = self.hold_all_of(invocation, turn);
        if session.client().is_closing() {
            // Closed while this waited.
            release(holds, turn);
            return Done::Sever;
        }
        let request_flags = session.request_flags(spec, spec.flags);
        if let Some(refusal) = self.refuses(&[*invocation], request_flags, session.client().local) {
            if let Some((_, hold)) = holds.first_mut() {
                hold.engine().refuse(spec, &refusal, out);
            }
            release(holds, turn);
            return Done::Replied;
        }
        let mut done = Done::Replied;
        if let Some(wait) = self.run_on_stage(session, &mut holds, invocation, turn, out)
            && let Some(blocked) = Blocked::begin(invocation, session.client(), wait, out)
        {
            self.file(session, &mut holds, invocation, &blocked, turn.pace, out);
            done = Done::Block(Box::new(blocked));
        }
        holds.iter_mut().for_each(|(_, hold)| hold.settle(turn.pace));
        release(holds, turn);
        done
    }

    /// The shard of the database that the client has chosen, if that is not number 0, which all the
    /// others make up.
    pub(super) fn shard_of_database(&self, session: &Session) -> Option<usize> {
        let number = (session.database() as usize).checked_sub(1)?;
        Some(self.topology.shards() + number)
    }

    /// Runs a lone command in another database than number 0.
    fn run_in_database<'r>(
        &'r self,
        session: &Session,
        shard: usize,
        invocation: &Invocation<'_>,
        turn: &mut Turn<'r>,
        out: &mut Sink<'_>,
    ) -> Done {
        let spec = invocation.spec;
        let refusal = self.refuses(
            &[*invocation],
            session.request_flags(spec, spec.flags),
            session.client().local,
        );
        let mut hold = self.hold_one(shard, turn);
        let mut done = Done::Replied;
        if session.client().is_closing() {
            // Closed while this waited.
            done = Done::Sever;
        } else if let Some(refusal) = refusal {
            hold.engine().refuse(spec, &refusal, out);
        } else if let Some(blocked) = hold.run_or_wait(invocation, session.client(), turn.pace, out)
        {
            done = Done::Block(blocked);
        }
        hold.release(turn.pace);
        done
    }

    /// Files the session's guard under keys of several slots, or of another database than number 0.
    pub(super) fn watch_across<'r>(
        &'r self,
        session: &mut Session,
        invocation: &Invocation<'_>,
        turn: &mut Turn<'r>,
        out: &mut Sink<'_>,
    ) -> Done {
        let Some(guard) = session.watched().map(|watched| watched.guard.clone()) else {
            return Done::Replied;
        };
        if let Some(shard) = self.shard_of_database(session) {
            let mut hold = self.hold_one(shard, turn);
            hold.engine().watch(invocation, &guard, out);
            session.note_guard_filed(shard, None);
            hold.release(turn.pace);
            return Done::Replied;
        }
        let mut holds = self.hold_all_of(invocation, turn);
        invocation.spec.each_key(invocation.args, |key| {
            let slot = Slot::of(key);
            let (source, target) = self.places_of(&holds, slot);
            for at in source.into_iter().chain(target) {
                let (shard, hold) = &mut holds[at];
                let keyspace = &mut hold.engine().keyspace;
                keyspace.watch(keyspace.key(slot, key), &guard);
                session.note_guard_filed(*shard, Some(slot));
            }
        });
        out.ok();
        release(holds, turn);
        Done::Replied
    }

    /// Runs a command slot by slot.
    pub(super) fn run_split<'r>(
        &'r self,
        session: &mut Session,
        invocation: &Invocation<'_>,
        turn: &mut Turn<'r>,
        out: &mut Sink<'_>,
    ) -> Done {
        let (spec, args) = (invocation.spec, invocation.args);
        let Some(divided) = spec.divide(args) else {
            // It is malformed: whichever shard runs it says so.
            return self.run_across(session, invocation, turn, out);
        };
        let mut replies = Vec::new();
        for part in divided.parts(args) {
            let mut reply = Vec::new();
            let mut sink = Sink::new(&mut reply, session.proto());
            match resolve(part) {
                Ok(part) => {
                    let close = super::redirect::Close::Run(&part);
                    if let Done::Sever = self.run_closely(session, &close, turn, &mut sink) {
                        return Done::Sever;
                    }
                }
                Err(refusal) => sink.error(refusal),
            }
            replies.push(reply);
        }
        divided.answer(&replies, out);
        Done::Replied
    }

    /// Whether the slots of these requests are served; if not, what is said.
    pub(super) fn refuses(
        &self,
        requests: &[Invocation<'_>],
        request_flags: RequestFlags,
        local: SocketAddr,
    ) -> Option<Refusal> {
        let mut refusal = None;
        for slot in requests.iter().flat_map(slots_of) {
            if refusal.is_none() && !self.topology.is_stable(slot) {
                refusal = self.refuses_slot(slot, request_flags, local);
            }
        }
        refusal
    }

    /// What the router port has against a slot: that nobody serves it. The router follows it
    /// wherever it moves.
    pub(super) fn refuses_slot(
        &self,
        slot: Slot,
        request_flags: RequestFlags,
        local: SocketAddr,
    ) -> Option<Refusal> {
        let Some(owner) = self.topology.owner_of(slot) else { return Some(Refusal::UNSERVED) };
        let all_here = || KeyPresence { here: 1, missing: 0, several: false };
        match self.topology.route(
            owner,
            slot,
            RequestFlags { asking: true, ..request_flags },
            all_here,
        ) {
            Route::Here | Route::Moved(_) | Route::Ask(_) | Route::TryAgain => None,
            verdict => self.refusal(verdict, slot, local),
        }
    }

    /// Holds every shard where a key of the request may be: all that have keys, if it reads some that it
    /// does not name.
    fn hold_all_of<'r>(
        &'r self,
        invocation: &Invocation<'_>,
        turn: &mut Turn<'r>,
    ) -> Vec<(usize, Hold<'r>)> {
        let slots = slots_of(invocation);
        let wanted = || {
            let mut shards: Vec<usize> = match invocation.spec.reads_unnamed(invocation.args) {
                true => (0..self.topology.shards()).collect(),
                false => slots
                    .iter()
                    .flat_map(|&slot| {
                        let (from, to) = self.shards_of(Some(slot), Port::Router);
                        [from].into_iter().chain(to)
                    })
                    .collect(),
            };
            shards.sort_unstable();
            shards.dedup();
            shards
        };
        loop {
            let shards = wanted();
            let holds = self.hold_each(&shards, turn);
            if wanted() == shards {
                return holds;
            }
            // A slot has moved while this waited.
            release(holds, turn);
        }
    }

    /// Runs one command over the slots of its keys, all of whose shards are held; gives what it waits for
    /// if there is nothing for it yet. Where keys of a slot that is on the move have gone ahead, the
    /// others follow them.
    pub(super) fn run_on_stage<'r>(
        &'r self,
        session: &Session,
        holds: &mut Holds<'r>,
        invocation: &Invocation<'_>,
        turn: &mut Turn<'r>,
        out: &mut Sink<'_>,
    ) -> Option<Wait> {
        if let Some(shard) = self.shard_of_database(session) {
            let (_, hold) = holds.iter_mut().find(|(number, _)| *number == shard)?;
            hold.engine().keyspace.no_touch = session.client().no_touch();
            hold.engine().reset_timer();
            hold.run_within(invocation, turn.pace, out);
            return None;
        }
        let homes = self.homes(holds, invocation, turn.pace);
        let counting = first_home(&homes, invocation).unwrap_or(0);
        let mut stage = self.stages.idle.lock().pop().unwrap_or_else(|| self.new_stage());
        stage.begin(turn.batch);
        // Some may have been waited for since.
        let now = holds.iter_mut().map(|(_, hold)| hold.engine().keyspace.now()).max();
        stage.advance(now.unwrap_or(turn.batch.now));
        stage.keyspace.no_touch = session.client().no_touch();
        stage.sees_all = invocation.spec.reads_unnamed(invocation.args);
        for (&slot, &at) in &homes {
            holds[at].1.engine().keyspace.transfer_slot(slot, &mut stage.keyspace);
        }
        swap_counts(&mut stage, holds[counting].1.engine());
        let wait = stage.run_or_tell(invocation, turn.batch, turn.pace, out);
        swap_counts(&mut stage, holds[counting].1.engine());
        for (&slot, &at) in &homes {
            stage.keyspace.transfer_slot(slot, &mut holds[at].1.engine().keyspace);
        }
        let touched = stage.keyspace.take_touched();
        holds.iter_mut().for_each(|(_, hold)| hold.engine().set_writer(invocation.spec));
        for key in &touched.keys {
            if let Some(&at) = homes.get(&Slot::of(key)) {
                holds[at].1.engine().keyspace.touch_transferred(key);
            }
        }
        if touched.all {
            holds.iter_mut().for_each(|(_, hold)| hold.engine().keyspace.touch_all_transferred());
        }
        holds.iter_mut().for_each(|(_, hold)| hold.engine().clear_writer());
        if let Some(dead) = stage.keyspace.take_lazy_free() {
            turn.pace.dispose(Box::new(dead));
        }
        self.stages.idle.lock().push(stage);
        wait
    }

    /// Where the slots of a request have their tables, those of keys that it does not name included.
    /// Where keys of a slot that is on the move have gone ahead, the request's follow them.
    fn homes(
        &self,
        holds: &mut Holds<'_>,
        invocation: &Invocation<'_>,
        pace: &mut dyn Pace,
    ) -> Homes {
        let mut homes = Homes::new();
        let mut on_the_move: BTreeMap<Slot, (usize, usize, Vec<&[u8]>)> = BTreeMap::new();
        invocation.spec.each_key(invocation.args, |key| {
            let slot = Slot::of(key);
            if let Some((_, _, keys)) = on_the_move.get_mut(&slot) {
                keys.push(key);
            } else if let Entry::Vacant(home) = homes.entry(slot) {
                match self.places_of(holds, slot) {
                    (Some(source), Some(target)) => {
                        on_the_move.insert(slot, (source, target, vec![key]));
                    }
                    (Some(source), None) => _ = home.insert(source),
                    (None, _) => {}
                }
            }
        });
        for (slot, (source, target, keys)) in on_the_move {
            let Ok([from, to]) = holds.get_disjoint_mut([source, target]) else { continue };
            let (from, to) = (from.1.engine(), to.1.engine());
            let all_here = keys.iter().all(|key| from.has(key));
            if !all_here {
                keys.iter().for_each(|key| from.move_key(key, to));
            }
            homes.insert(slot, if all_here { source } else { target });
        }
        if invocation.spec.reads_unnamed(invocation.args) {
            self.add_unnamed(holds, &mut homes, invocation, pace);
        }
        homes
    }

    /// Adds the slots of keys that the request reads without naming them.
    fn add_unnamed(
        &self,
        holds: &mut Holds<'_>,
        homes: &mut Homes,
        invocation: &Invocation<'_>,
        pace: &mut dyn Pace,
    ) {
        let Some(first) = first_home(homes, invocation) else { return };
        let keyspace = &holds[first].1.engine().keyspace;
        for slot in invocation.spec.unnamed_slots(keyspace, invocation.args, pace) {
            match self.places_of(holds, slot) {
                (Some(source), Some(target)) => {
                    // Nobody has asked which of its keys these are: all follow those that have gone ahead.
                    if let Ok([from, to]) = holds.get_disjoint_mut([source, target]) {
                        let to = &mut to.1.engine().keyspace;
                        if to.slot_len(slot) > 0 {
                            from.1.engine().keyspace.merge_slot(slot, to);
                        }
                        homes.insert(slot, if to.slot_len(slot) > 0 { target } else { source });
                    }
                }
                (Some(source), None) => _ = homes.entry(slot).or_insert(source),
                (None, _) => {}
            }
        }
    }

    /// The shards, by their places among the held, that have keys of a slot of database 0: its own, and the
    /// one that takes it over.
    fn places_of(&self, holds: &Holds<'_>, slot: Slot) -> (Option<usize>, Option<usize>) {
        let place = |shard| holds.binary_search_by_key(&shard, |(number, _)| *number).ok();
        let (from, to) = self.shards_of(Some(slot), Port::Router);
        (place(from), to.filter(|&to| to != from).and_then(place))
    }

    /// Has the client wait at each of its keys' homes.
    fn file(
        &self,
        session: &Session,
        holds: &mut Holds<'_>,
        invocation: &Invocation<'_>,
        blocked: &Blocked,
        pace: &mut dyn Pace,
        out: &Sink<'_>,
    ) {
        let mut keys = 0;
        invocation.spec.each_key(invocation.args, |_| keys += 1);
        let awaited = invocation.spec.awaited_keys(invocation.args);
        // What goes elsewhere needs that shard as well.
        let serve = if awaited.len() == keys { Serve::Here } else { Serve::Elsewhere };
        let homes = self.homes(holds, invocation, pace);
        for (at, (_, hold)) in holds.iter_mut().enumerate() {
            let lives_here = |key: &&&[u8]| homes.get(&Slot::of(key)) == Some(&at);
            let here: Vec<&[u8]> = awaited.iter().filter(lives_here).copied().collect();
            if !here.is_empty() {
                hold.engine().file(blocked, session.client(), out.proto, &here, serve);
            }
        }
    }

    fn new_stage(&self) -> Engine {
        let made = self.stages.made.fetch_add(1, Ordering::Relaxed);
        let seed = self.hasher.hash(&made.to_le_bytes());
        let mut keyspace = Keyspace::new(std::iter::empty(), self.hasher.clone(), seed);
        keyspace.set_journaling(true);
        let (observer, pubsub) =
            (Arc::clone(&self.server.observer), Arc::clone(&self.server.pubsub));
        // Nothing asks it for its number but for which database it is of.
        Engine::new(keyspace, 0, Arc::clone(&self.topology), observer, pubsub)
    }
}

/// Counts what runs on the stage where the command's first key lives.
fn swap_counts(stage: &mut Engine, home: &mut Engine) {
    std::mem::swap(&mut stage.tally, &mut home.tally);
    stage.keyspace.swap_counts(&mut home.keyspace);
}

/// Where the first key of a request lives.
fn first_home(homes: &Homes, invocation: &Invocation<'_>) -> Option<usize> {
    let first = invocation.spec.nth_key(invocation.args, 0)?;
    homes.get(&Slot::of(first)).copied()
}

/// The slots of a request's keys, each once, that of the first key first.
fn slots_of(invocation: &Invocation<'_>) -> Vec<Slot> {
    let (mut slots, mut seen) = (Vec::new(), BTreeSet::new());
    invocation.spec.each_key(invocation.args, |key| {
        let slot = Slot::of(key);
        if seen.insert(slot) {
            slots.push(slot);
        }
    });
    slots
}

fn release<'r>(holds: Vec<(usize, Hold<'r>)>, turn: &mut Turn<'r>) {
    holds.into_iter().for_each(|(_, hold)| hold.release(turn.pace));
}
