//! Decides where a unit runs: finds its slots, holds the shards of their keys, picks one of them.
//!
//! ```text
//! node port    the node's shard ─ route ─► here │ MOVED, ASK, TRYAGAIN, CLUSTERDOWN
//! router port  of each slot the owner's shard and, while it moves, the target's
//!              ─ all keys at the owner ──► they run there
//!              ─ some or none ───────────► the rest is moved, they run at the target
//! ```
//!
//! So a client of the router port never sees a slot move. All shards of a unit are held in ascending
//! order, and looked up again once they are held: the topology changes only while all shards are
//! held, so what is found then stays true until they are released.

use super::Router;
use super::held::{HeldShards, KeptHold, SlotShards};
use super::homes::{Homes, home_in};
use crate::command::{Invocation, KeySlots, Refusal, Run, flag};
use crate::resp::Sink;
use crate::session::{Reach, Scope, Session, Transaction, Unit};
use crate::shard::{Engine, Hold, Turn};
use crate::slot::Slot;
use crate::state::ScriptKind;
use crate::topology::{NodeNumber, Port, RequestFlags};
use std::net::SocketAddr;

/// The outcome of trying to hold the shard of a unit.
pub(super) enum Direct<'h, 'r> {
    /// It is held, and runs the unit.
    Held(&'h mut Hold<'r>),
    /// Another turn holds it, or another process runs it: the unit is submitted there.
    Elsewhere(usize),
    /// Its slot is not simply served there: the unit has to be placed.
    Unclear,
}

/// The shards that are held for a unit, and the one of them that runs it.
pub(super) struct Placement<'r> {
    pub(super) held: HeldShards<'r>,
    /// The one that runs commands with one slot or none.
    pub(super) own: usize,
    /// The shards where a guard of the unit's keys has to be filed to be whole.
    pub(super) shards: Vec<usize>,
    /// The slots of a command that needs several, with their keys.
    pub(super) homes: Homes,
    /// The reply of a cluster, or of this node, in place of running it.
    pub(super) refusal: Option<Refusal>,
    /// The replica that received the request, whose commands are counted separately.
    counts_for: Option<NodeNumber>,
    /// The positions of shards where keys have got a value that clients are blocked on, in the
    /// order in which that happened; its own is not among them.
    ready: Vec<usize>,
}

impl Drop for Placement<'_> {
    fn drop(&mut self) {
        self.count_for(None);
    }
}

impl<'r> Placement<'r> {
    fn of(held: HeldShards<'r>) -> Self {
        Self {
            held,
            own: 0,
            shards: Vec::new(),
            homes: Homes::new(),
            refusal: None,
            counts_for: None,
            ready: Vec::new(),
        }
    }

    /// Counts the following commands for this replica, or for the masters again.
    fn count_for(&mut self, replica: Option<NodeNumber>) {
        let before = std::mem::replace(&mut self.counts_for, replica);
        for node in before.into_iter().chain(replica) {
            self.own().engine().swap_stats(node);
        }
    }

    pub(super) fn own(&mut self) -> &mut Hold<'r> {
        self.held.at(self.own)
    }

    pub(super) fn engine(&mut self) -> &mut Engine {
        self.held.engine(self.own)
    }

    /// Lends the holds of a view, in its order, to `run`. Replies an error if one of them is
    /// missing: the view of a transaction is fixed when it is queued.
    pub(super) fn with_view(
        &mut self,
        view: &[usize],
        out: &mut Sink<'_>,
        run: impl FnOnce(&mut [(usize, Hold<'r>)], &mut Sink<'_>),
    ) {
        let holds = &mut self.held.0;
        let own = holds[self.own].0;
        holds.sort_by_key(|(number, _)| (!view.contains(number), *number));
        let shown = holds.partition_point(|(number, _)| view.contains(number));
        match shown == view.len() {
            true => run(&mut holds[..shown], out),
            false => out.error(Refusal::impossible("a command sees a shard that is not held")),
        }
        holds.sort_by_key(|(number, _)| *number);
        // The same shards as before, in their order again.
        if let Some(at) = holds.iter().position(|(number, _)| *number == own) {
            self.own = at;
        }
    }

    /// Returns the position of this slot's keys, for a command that needs several slots.
    pub(super) fn home(&self, slot: Slot) -> Option<usize> {
        home_in(&self.homes, slot)
    }

    /// Records the shards where a key has got a value that a client is blocked on.
    pub(super) fn note_ready(&mut self) {
        for (at, engine) in self.held.engines().enumerate() {
            if engine.keyspace.has_ready() && !self.ready.contains(&at) {
                self.ready.push(at);
            }
        }
    }

    /// Serves the clients that are blocked on keys which the unit has given a value.
    pub(super) fn serve_blocked(&mut self) {
        for at in std::mem::take(&mut self.ready) {
            self.held.at(at).serve_blocked();
        }
        self.own().serve_blocked();
    }
}

impl Router {
    /// Holds the shard that runs a unit of `slot`, if it is free; the hold of the previous command
    /// is kept if the shard is the same.
    #[inline(always)]
    pub(super) fn hold_directly<'h, 'r>(
        &'r self,
        slot: Option<Slot>,
        kept: &'h mut KeptHold<'r>,
        turn: &'r Turn<'r>,
    ) -> Direct<'h, 'r> {
        let port = turn.batch.port;
        let shard = match (port, slot, &kept) {
            (Port::Node(node), ..) => self.topology.shard_of_node(node),
            (Port::Router, Some(slot), _) => self.topology.shard_of(slot),
            (Port::Router, None, Some((held, _))) => *held,
            (Port::Router, None, None) => 0,
        };
        if kept.as_ref().is_none_or(|(held, _)| *held != shard) {
            self.keep(shard, kept, turn);
        }
        match kept {
            // Certain only now that the shard is held.
            Some(_) if slot.is_some_and(|it| !self.topology.serves_directly(it, shard, port)) => {
                Direct::Unclear
            }
            Some((_, hold)) => Direct::Held(hold),
            None => Direct::Elsewhere(shard),
        }
    }

    /// Holds this shard in place of the one before, if it is here and free.
    fn keep<'r>(&'r self, shard: usize, kept: &mut KeptHold<'r>, turn: &'r Turn<'r>) {
        *kept = None;
        if self.remotes.is_empty() || !self.remotes.contains_key(&shard) {
            *kept = self.shards[shard].try_hold(turn).map(|hold| (shard, hold));
        }
    }

    /// Holds everything that a unit needs, and determines where it runs. `slots` are those of the
    /// keys of a lone command that needs several.
    ///
    /// # Errors
    /// What makes others wait for one of the shards, and would make the unit wait.
    pub(super) fn place<'r>(
        &'r self,
        session: &Session,
        unit: &Unit<'_>,
        scope: Scope,
        slots: Option<&KeySlots<'_>>,
        turn: &'r Turn<'r>,
    ) -> Result<Placement<'r>, ScriptKind> {
        let wanted = || self.shards_wanted(session, unit, scope, slots);
        let mut placement = loop {
            let shards = wanted();
            let held = match unit {
                // A server accepts it at any time.
                Unit::Watch(..) => self.hold_each(&shards, turn),
                _ => self.hold_each_if_idle(&shards, turn)?,
            };
            if wanted() == shards {
                break Placement::of(held);
            }
            // A slot has moved since.
        };
        if placement.held.0.iter().any(|(shard, _)| self.remotes.contains_key(shard)) {
            placement.refusal = Some(Refusal::REMOTE_SHARD);
            return Ok(placement);
        }
        let (flags, local) = (session.request_flags_of(unit), session.client().local);
        match (scope, unit) {
            (Scope::Slot(slot), _) => {
                self.place_in_slot(&mut placement, slot, unit, flags, (local, turn));
            }
            (Scope::Slots, Unit::Exec(transaction)) => {
                placement.shards = placement.held.numbers();
                placement.refusal = self.refuses_queue(&transaction.queue, flags, local);
            }
            (Scope::Database(_), Unit::Exec(_)) => {
                placement.refusal = Some(Refusal::impossible("a transaction in one database"));
            }
            (_, Unit::Command(it) | Unit::Blocking(it) | Unit::Watch(it, _)) => {
                let each = slots.into_iter().flat_map(KeySlots::iter).map(|(_, slot)| slot);
                placement.refusal = self.refuses_slots(each, flags, local);
                if scope == Scope::Slots && placement.refusal.is_none() {
                    self.place_in_slots(&mut placement, it, slots, turn);
                }
            }
        }
        Ok(placement)
    }

    /// Returns the shards that a unit needs, ascending.
    fn shards_wanted(
        &self,
        session: &Session,
        unit: &Unit<'_>,
        scope: Scope,
        slots: Option<&KeySlots<'_>>,
    ) -> Vec<usize> {
        let port = session.port();
        let mut shards = match (scope, unit) {
            (Scope::Slot(slot), _) => self.shards_of(slot, port).all().collect(),
            (Scope::Database(database), _) => {
                self.shard_of_database(database).into_iter().collect()
            }
            (Scope::Slots, Unit::Exec(transaction)) => self.shards_of_queue(session, transaction),
            (Scope::Slots, Unit::Command(it) | Unit::Blocking(it) | Unit::Watch(it, _)) => {
                match it.spec.run {
                    // It may use any key of any database.
                    Run::Script(_) => (0..self.shards.len()).collect(),
                    _ if it.spec.reads_unnamed(it.args) => (0..self.topology.shards()).collect(),
                    _ => self.shards_of_slots(slots, port),
                }
            }
        };
        if let Unit::Exec(transaction) = unit {
            match transaction.reach {
                Reach::Shard | Reach::Server => {}
                Reach::Cluster => shards.extend(self.view(session, transaction.flags)),
                Reach::Whole => shards.extend(0..self.shards.len()),
            }
        }
        if shards.is_empty() {
            // Without keys any shard does.
            shards.push(0);
        }
        shards.sort_unstable();
        shards.dedup();
        shards
    }

    /// Returns the shards that may have keys of these slots. They are few, and looked up once or
    /// twice per command.
    fn shards_of_slots(&self, slots: Option<&KeySlots<'_>>, port: Port) -> Vec<usize> {
        let mut shards = Vec::with_capacity(8);
        for (_, slot) in slots.into_iter().flat_map(KeySlots::iter) {
            let SlotShards { from, to } = self.shards_of(Some(slot), port);
            if !shards.contains(&from) {
                shards.push(from);
            }
            shards.extend(to);
        }
        shards
    }

    /// Returns the shards of a transaction that may use any slot: those of database 0, or all.
    fn shards_of_queue(&self, session: &Session, transaction: &Transaction) -> Vec<usize> {
        let is_of_database = |shard: &usize| *shard >= self.topology.shards();
        let stays_in_0 = session.database() == 0
            && !transaction.selects
            && transaction.flags & flag::ALL_DATABASES == 0
            && !transaction.watched.iter().any(|w| w.shards.iter().any(is_of_database));
        match stays_in_0 {
            true => (0..self.topology.shards()).collect(),
            false => (0..self.shards.len()).collect(),
        }
    }

    /// Determines where a unit of one slot, or of none, runs.
    fn place_in_slot(
        &self,
        placement: &mut Placement<'_>,
        slot: Option<Slot>,
        unit: &Unit<'_>,
        flags: RequestFlags,
        (local, turn): (SocketAddr, &Turn<'_>),
    ) {
        let port = turn.batch.port;
        let shards = self.shards_of(slot, port);
        placement.shards = shards.all().collect();
        let Some(from) = placement.held.position(shards.from) else {
            placement.refusal = Some(Refusal::impossible("the shard of a unit's slot is not held"));
            return;
        };
        placement.own = from;
        if let Port::Node(node) = port
            && self.topology.is_replica(port)
        {
            placement.count_for(Some(node));
        }
        let Some(slot) = slot else { return };
        match port {
            Port::Node(node) => {
                let engine = placement.held.engine(from);
                let presence = || engine.key_presence(slot, &keys_of(unit));
                let route = self.topology.route(node, slot, flags, presence);
                placement.refusal = self.refusal(route, slot, (port, local));
            }
            Port::Router => {
                placement.refusal = self.refuses_slots([slot], flags, local);
                if placement.refusal.is_none() && shards.to.is_some() {
                    match self.home_of_moving(&mut placement.held, slot, &keys_of(unit)) {
                        Some(home) => placement.own = home,
                        None => {
                            let what = "the shards of a slot that moves are not held";
                            placement.refusal = Some(Refusal::impossible(what));
                        }
                    }
                }
            }
        }
    }

    /// Determines where the slots of a command that needs several have their keys.
    fn place_in_slots(
        &self,
        placement: &mut Placement<'_>,
        invocation: &Invocation<'_>,
        slots: Option<&KeySlots<'_>>,
        turn: &Turn<'_>,
    ) {
        let Some(slots) = slots else {
            placement.refusal =
                Some(Refusal::impossible("a command of several slots without them"));
            return;
        };
        placement.homes = self.homes(&mut placement.held, invocation, slots, turn.pace);
        let first = slots.iter().next().and_then(|(_, slot)| home_in(&placement.homes, slot));
        match first {
            Some(first) => placement.own = first,
            // A command that contradicts its row names no keys: any shard says what is wrong.
            None if slots.iter().next().is_none() => {}
            None => {
                let what = "the shard of a command's first key is not held";
                placement.refusal = Some(Refusal::impossible(what));
            }
        }
    }
}

/// Returns the keys of a unit that has one slot.
fn keys_of<'a>(unit: &'a Unit<'_>) -> Vec<&'a [u8]> {
    let mut keys = Vec::new();
    match unit {
        Unit::Command(it) | Unit::Blocking(it) | Unit::Watch(it, _) => {
            it.spec.each_key(it.args, |key| keys.push(key));
        }
        Unit::Exec(transaction) => {
            transaction.queue.iter().for_each(|it| it.spec.each_key(it.args, |key| keys.push(key)));
        }
    }
    keys
}
