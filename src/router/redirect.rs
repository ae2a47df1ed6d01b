//! The closer look: what runs where a slot's word alone does not say so, and what takes more than
//! the slot's shard.
//!
//! ```text
//! node port    the node's shard, held ─ judge ─► here: run it │ MOVED, ASK, TRYAGAIN, CLUSTERDOWN
//! router port  the shard of the owner, and the one that takes the slot over, both held
//!              ─ all keys with the owner ─► run it there
//!              ─ none ────────────────────► run it at the new owner
//!              ─ some ────────────────────► bring them over, run it at the new owner
//! ```
//!
//! So a client of the router port never sees a slot move. The topology changes only while all
//! shards are held: what was found out while one is held stays true until it is let go. So nobody
//! waits for a shard while the topology's own lock is held.

use super::{Done, Router, Turn};
use crate::command::{Invocation, Refusal, Run, SessionCommand, flag};
use crate::faults::ExecAnswer;
use crate::keyspace::{Blob, Guard, Millis};
use crate::resp::Sink;
use crate::session::{Judge, Reach, Session, Transaction};
use crate::shard::engine::{Blocked, Engine};
use crate::shard::{Hold, Pending, Served, Work};
use crate::slot::{Footprint, Slot};
use crate::state::settings::CrossSlot;
use crate::topology::{KeyPresence, NodeNumber, Port, RequestFlags, Route, SlotMigration};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use tokio::sync::oneshot;

/// Where requests are judged before they are queued.
pub(super) struct Bench<'b, 'r> {
    pub(super) router: &'r Router,
    /// The address that the client has reached us under.
    pub(super) local: SocketAddr,
    pub(super) hold: &'b mut Option<(usize, Hold<'r>)>,
    pub(super) turn: &'b mut Turn<'r>,
}

impl Judge for Bench<'_, '_> {
    fn judge(
        &mut self,
        invocation: &Invocation<'_>,
        request_flags: RequestFlags,
    ) -> Option<Refusal> {
        let (router, port) = (self.router, self.turn.batch.port);
        let topology = &router.topology;
        let Port::Node(node) = port else {
            let slot = match invocation.footprint {
                Footprint::In(slot) if !topology.is_stable(slot) => slot,
                // If it may not ask for several slots, that comes first.
                Footprint::Crossing { .. }
                    if router.server.settings.cross_slot() == CrossSlot::Audit =>
                {
                    return router.refuses(&[*invocation], request_flags, self.local);
                }
                _ => return None,
            };
            // The slot may move at this very moment; whoever runs the request follows it.
            return router.refuses_slot(slot, request_flags, self.local);
        };
        let spec = invocation.spec;
        match invocation.footprint {
            Footprint::Anywhere => (spec.flags & flag::WRITE != 0 && topology.is_replica(port))
                .then_some(Refusal::of("READONLY You can't write against a read only replica.")),
            Footprint::Crossing { first, .. } if !topology.is_owner_known(first, node) => {
                Some(Refusal::UNSERVED)
            }
            // The session refuses what crosses slots.
            Footprint::Crossing { .. } => None,
            Footprint::In(slot) => {
                let shard_of_node = topology.shard_of_node(node);
                if topology.serves_directly(slot, shard_of_node, port) {
                    return None;
                }
                // Held before the topology is asked: who changes that holds all shards first.
                if !topology.is_stable(slot)
                    && self.hold.as_ref().is_none_or(|(held, _)| *held != shard_of_node)
                {
                    super::release(self.hold, self.turn);
                    *self.hold = Some((shard_of_node, router.hold_one(shard_of_node, self.turn)));
                }
                // Should the slot have begun to move at this very moment, whoever runs the request
                // looks again.
                let presence = || match self.hold {
                    Some((held, hold)) if *held == shard_of_node => {
                        hold.engine().key_presence(&[*invocation])
                    }
                    _ => KeyPresence::default(),
                };
                let verdict = topology.route(node, slot, request_flags, presence);
                router.refusal(verdict, slot, self.local)
            }
        }
    }
}

/// A lone command that is to be looked at closely.
pub(super) enum Close<'a> {
    Run(&'a Invocation<'a>),
    Block(&'a Invocation<'a>),
    Watch(&'a Invocation<'a>, &'a Guard),
}

/// Shards that are held for a request.
struct Place<'r> {
    /// In ascending order.
    holds: Vec<(usize, Hold<'r>)>,
    /// Which of them runs it, by its place among them.
    own: usize,
    /// Where a key of the request may be or come to be.
    shards: Vec<usize>,
    /// The replica that the request came in at, whose commands are counted apart.
    counts_for: Option<NodeNumber>,
    /// Where keys have come to be that somebody may wait for, in the order in which the first of them
    /// did, by their places among the held; besides its own.
    ready: Vec<usize>,
}

impl<'r> Place<'r> {
    /// Has what runs from now on be counted for this replica, or for the masters again.
    fn count_for(&mut self, replica: Option<NodeNumber>) {
        let before = std::mem::replace(&mut self.counts_for, replica);
        for node in before.into_iter().chain(replica) {
            self.own().engine().swap_stats(node);
        }
    }

    fn own(&mut self) -> &mut Hold<'r> {
        &mut self.holds[self.own].1
    }

    /// Takes note of the shards that have brought what somebody waits for.
    fn note_ready(&mut self) {
        for (at, (_, hold)) in self.holds.iter_mut().enumerate() {
            if hold.engine().keyspace.has_ready() && !self.ready.contains(&at) {
                self.ready.push(at);
            }
        }
    }

    /// Serves those who waited for what a transaction has brought.
    fn settle(&mut self, turn: &mut Turn<'r>) {
        for at in std::mem::take(&mut self.ready) {
            self.holds[at].1.settle(turn.pace);
        }
        self.own().settle(turn.pace);
    }

    fn release(mut self, turn: &mut Turn<'r>) {
        self.count_for(None);
        self.holds.into_iter().for_each(|(_, hold)| hold.release(turn.pace));
    }

    /// The engines of two shards among those held.
    fn two(&mut self, a: usize, b: usize) -> Option<(&mut Engine, &mut Engine)> {
        let at = |shard| self.holds.iter().position(|(number, _)| *number == shard);
        let (a, b) = (at(a)?, at(b)?);
        let [first, second] = self.holds.get_disjoint_mut([a, b]).ok()?;
        Some((first.1.engine(), second.1.engine()))
    }
}

impl Router {
    /// What a verdict is to a client that has reached us under `local`.
    pub(super) fn refusal(&self, verdict: Route, slot: Slot, local: SocketAddr) -> Option<Refusal> {
        let to = |word: &str, node: NodeNumber| {
            // A node without a port of its own is reached through the router's.
            let port = match self.topology.port_of(node) {
                0 => self.server.identity.port,
                port => port,
            };
            let (host, port) = self.server.endpoint(port, local);
            Refusal::new(format!("{word} {} {host}:{port}", slot.number()))
        };
        Some(match verdict {
            Route::Here => return None,
            Route::Moved(node) => to("MOVED", node),
            Route::Ask(node) => to("ASK", node),
            Route::TryAgain => {
                Refusal::of("TRYAGAIN Multiple keys request during rehashing of slot")
            }
            Route::Unassigned => Refusal::UNSERVED,
            Route::Down => Refusal::CLUSTER_DOWN,
            Route::DownForWrites => {
                Refusal::of("CLUSTERDOWN The cluster is down and only accepts read commands")
            }
        })
    }

    /// Where keys of `slot` may be, as `port` sees it: its shard, and the one that takes it over.
    pub(super) fn shards_of(&self, slot: Option<Slot>, port: Port) -> (usize, Option<usize>) {
        match (port, slot) {
            (Port::Node(node), _) => (self.topology.shard_of_node(node), None),
            (Port::Router, None) => (0, None),
            (Port::Router, Some(slot)) => match self.topology.migration_of(slot) {
                Some(SlotMigration { from, to }) => (from, Some(to)),
                None => (self.topology.shard_of(slot), None),
            },
        }
    }

    /// Holds what a request for `slot` needs, with the shards `more`, and finds out where among them
    /// it runs. `requests` are what it consists of.
    fn place<'r>(
        &'r self,
        slot: Option<Slot>,
        request_flags: RequestFlags,
        more: &[usize],
        requests: &[Invocation<'_>],
        local: SocketAddr,
        turn: &mut Turn<'r>,
    ) -> (Place<'r>, Option<Refusal>) {
        let port = turn.batch.port;
        let (mut place, from, to) = loop {
            let (from, to) = self.shards_of(slot, port);
            let mut numbers: Vec<usize> = more.iter().copied().chain([from]).chain(to).collect();
            numbers.sort_unstable();
            numbers.dedup();
            let place = Place {
                holds: self.hold_each(&numbers, turn),
                own: 0,
                shards: Vec::new(),
                counts_for: None,
                ready: Vec::new(),
            };
            if self.shards_of(slot, port) == (from, to) {
                break (place, from, to);
            }
            // The slot has moved while this waited.
            place.release(turn);
        };
        let own = |place: &Place<'_>, shard| {
            place.holds.iter().position(|(number, _)| *number == shard).unwrap_or(0)
        };
        place.own = own(&place, from);
        place.shards = [from].into_iter().chain(to).collect();
        if let Port::Node(node) = port
            && self.topology.is_replica(port)
        {
            place.count_for(Some(node));
        }
        let Some(slot) = slot else { return (place, None) };
        let judge = match port {
            Port::Node(node) => Some(node),
            Port::Router => self.topology.owner_of(slot),
        };
        let Some(judge) = judge else { return (place, Some(Refusal::UNSERVED)) };
        let presence = || place.own().engine().key_presence(requests);
        // The router asks as who was sent there.
        let asking = request_flags.asking || port == Port::Router;
        let verdict =
            self.topology.route(judge, slot, RequestFlags { asking, ..request_flags }, presence);
        match (port, to, verdict) {
            (Port::Router, Some(to), Route::Ask(_)) => place.own = own(&place, to),
            (Port::Router, Some(to), Route::TryAgain) => {
                if let Some((source, target)) = place.two(from, to) {
                    for request in requests {
                        request.spec.each_key(request.args, |bytes| source.move_key(bytes, target));
                    }
                }
                place.own = own(&place, to);
            }
            // A target in the same shard, or a slot that is only imported.
            (Port::Router, _, Route::Ask(_) | Route::TryAgain) => {}
            _ => return (place, self.refusal(verdict, slot, local)),
        }
        (place, None)
    }

    /// Runs a lone command after a closer look at its slot.
    pub(super) fn run_closely<'r>(
        &'r self,
        session: &mut Session,
        what: &Close<'_>,
        turn: &mut Turn<'r>,
        out: &mut Sink<'_>,
    ) -> Done {
        let (Close::Run(invocation) | Close::Block(invocation) | Close::Watch(invocation, _)) =
            what;
        let spec = invocation.spec;
        let crosses = matches!(invocation.footprint, Footprint::Crossing { .. });
        if crosses || session.database() != 0 {
            return self.run_across(session, invocation, turn, out);
        }
        let request_flags = session.request_flags(spec, spec.flags);
        let (slot, local) = (invocation.slot(), session.client().local);
        let (mut place, refusal) =
            self.place(slot, request_flags, &[], &[**invocation], local, turn);
        if session.client().is_closing() {
            // Closed while this waited.
            place.release(turn);
            return Done::Sever;
        }
        if let Some(refusal) = refusal {
            place.own().engine().refuse(spec, &refusal, out);
            place.release(turn);
            return Done::Replied;
        }
        let mut done = Done::Replied;
        match what {
            Close::Run(invocation) => place.own().run(invocation, turn.pace, out),
            Close::Block(invocation) => {
                let blocked = place.own().run_or_wait(invocation, session.client(), turn.pace, out);
                done = blocked.map_or(Done::Replied, Done::Block);
            }
            Close::Watch(watch, guard) => {
                let before = out.len();
                for at in 0..place.holds.len() {
                    let (shard, hold) = &mut place.holds[at];
                    out.truncate(before);
                    hold.engine().watch(watch, guard, out);
                    session.note_guard_filed(*shard, slot);
                }
            }
        }
        place.release(turn);
        done
    }

    /// Goes on with work that needs a closer look, here and now.
    pub(super) fn resume_closely<'r>(
        &'r self,
        session: &mut Session,
        work: Work,
        turn: &mut Turn<'r>,
    ) -> Pending {
        let (reply, pending) = oneshot::channel();
        let (mut replies, mut rest, mut done) = (Vec::new(), None, Done::Replied);
        match work {
            Work::Each(mut queue) => {
                if let Some(first) = queue.iter().next() {
                    let mut sink = Sink::new(&mut replies, session.proto());
                    done = self.run_closely(session, &Close::Run(&first), turn, &mut sink);
                }
                queue.skip(1);
                rest = (!queue.is_empty()).then(|| Box::new(Work::Each(queue)));
            }
            Work::Block(queue) => {
                for first in queue.iter() {
                    let mut sink = Sink::new(&mut replies, session.proto());
                    done = self.run_closely(session, &Close::Block(&first), turn, &mut sink);
                }
            }
            Work::Watch(queue, guard) => {
                for first in queue.iter() {
                    let mut sink = Sink::new(&mut replies, session.proto());
                    let what = Close::Watch(&first, &guard);
                    done = self.run_closely(session, &what, turn, &mut sink);
                }
            }
            Work::Exec(transaction) => {
                done = self.exec_closely(session, &transaction, turn, &mut replies);
            }
        }
        let blocked: Option<Box<Blocked>> = match done {
            Done::Block(blocked) => Some(blocked),
            // The sender is dropped: the client was closed.
            Done::Sever | Done::Close => return pending,
            _ => None,
        };
        // Whoever gave us the work waits for this.
        let _heard = reply.send(Served { replies, rest, blocked });
        pending
    }

    /// Runs a transaction that needs a closer look at its slot, or touches more than its shard: the
    /// session, the process, all shards.
    pub(super) fn exec_closely<'r>(
        &'r self,
        session: &mut Session,
        transaction: &Transaction,
        turn: &mut Turn<'r>,
        out: &mut Vec<u8>,
    ) -> Done {
        let everywhere = || -> Vec<usize> { (0..self.shards.len()).collect() };
        let all = || match self.stays(session, transaction) {
            true => (0..self.topology.shards()).collect(),
            false => everywhere(),
        };
        let more = match transaction.reach {
            _ if transaction.is_multi_slot && transaction.reach != Reach::Whole => all(),
            Reach::Shard | Reach::ServerState => Vec::new(),
            Reach::Cluster => self.view(session, transaction.flags),
            Reach::Whole => everywhere(),
        };
        let requests: Vec<Invocation<'_>> = transaction.queue.iter().collect();
        let local = session.client().local;
        // What asks for several slots has no place: each command finds its own.
        let slot = transaction.slot.filter(|_| !transaction.is_multi_slot);
        let (mut place, mut refusal) =
            self.place(slot, transaction.request_flags, &more, &requests, local, turn);
        if transaction.is_multi_slot {
            place.shards = place.holds.iter().map(|(shard, _)| *shard).collect();
            refusal = refusal.or_else(|| self.refuses(&requests, transaction.request_flags, local));
        }
        if session.client().is_closing() {
            // Closed while this waited.
            place.release(turn);
            return Done::Sever;
        }
        if transaction.crosses && refusal != Some(Refusal::UNSERVED) {
            refusal = Some(session.crossing_at_exec(&self.server, transaction));
        } else if refusal.is_none() && transaction.poisoned {
            refusal = Some(Refusal::SPOILED);
        }
        if turn.armed.affects_exec() && refusal.is_none() {
            self.make_conflict(transaction, &mut place, turn.batch.now);
        }
        // No message stands within the reply: those that are here come before it, and so do those
        // that came before a subscription ended.
        let head = out.len();
        session.insert_pushes_before(head, out);
        if let Some(refusal) = refusal {
            Sink::new(out, session.proto()).error(refusal);
        } else if self.is_lost(transaction, &mut place) {
            place.own().engine().tally.exec_lost();
            transaction.watched.as_deref().inspect(|w| w.lose(&self.server.observer));
            Sink::new(out, session.proto()).null_array();
        } else if let Some(answer) = self.false_answer(transaction.slot, turn) {
            match self.false_refusal(answer, transaction.slot, local) {
                Some(refusal) => Sink::new(out, session.proto()).error(refusal),
                None => {
                    place.own().engine().tally.exec_lost();
                    transaction.watched.as_deref().inspect(|w| w.lose(&self.server.observer));
                    Sink::new(out, session.proto()).null_array();
                }
            }
        } else {
            transaction.watched.as_deref().inspect(|w| w.keep(&self.server.observer));
            self.run_all(session, transaction, &mut place, turn, out);
            place.settle(turn);
        }
        place.release(turn);
        Done::Replied
    }

    /// Whether a transaction has to do with database 0 alone.
    fn stays(&self, session: &Session, transaction: &Transaction) -> bool {
        let is_of_databases = |shard: &usize| *shard >= self.topology.shards();
        session.database() == 0
            && !transaction.selects
            && transaction.flags & flag::ALL_DATABASES == 0
            && !transaction.watched.iter().any(|w| w.shards.iter().any(is_of_databases))
    }

    /// Touches what a transaction watches, if a fault says so, as another client's write would.
    #[cold]
    fn make_conflict(&self, transaction: &Transaction, place: &mut Place<'_>, now: Millis) {
        let Some(watched) = &transaction.watched else { return };
        if watched.guard.is_tripped() {
            return;
        }
        for key in self.server.faults.conflicts(now, |key| watched.keys.contains(&Blob::from(key)))
        {
            for (_, hold) in &mut place.holds {
                hold.engine().keyspace.touch(&key, false);
            }
        }
    }

    /// What a fault has an EXEC answer that would run.
    fn false_answer(&self, slot: Option<Slot>, turn: &Turn<'_>) -> Option<ExecAnswer> {
        if !turn.armed.affects_exec() {
            return None;
        }
        let node = match turn.batch.port {
            Port::Node(node) => Some(node),
            Port::Router => slot.and_then(|slot| self.topology.owner_of(slot)),
        };
        self.server.faults.exec_answer(turn.batch.now, node, slot)
    }

    /// That answer's error; `None` if it is nil. MOVED names the node that owns the slot, so that
    /// who follows it succeeds.
    #[cold]
    fn false_refusal(
        &self,
        answer: ExecAnswer,
        slot: Option<Slot>,
        local: SocketAddr,
    ) -> Option<Refusal> {
        let verdict = match answer {
            ExecAnswer::Nil => return None,
            ExecAnswer::ExecAbort => return Some(Refusal::SPOILED),
            ExecAnswer::TryAgain => Route::TryAgain,
            ExecAnswer::ClusterDown => Route::Down,
            ExecAnswer::Moved => Route::Moved(slot.and_then(|slot| self.topology.owner_of(slot))?),
        };
        self.refusal(verdict, slot.or_else(|| Slot::new(0))?, local)
    }

    /// Runs the commands of a transaction, one after the other.
    fn run_all<'r>(
        &'r self,
        session: &mut Session,
        transaction: &Transaction,
        place: &mut Place<'r>,
        turn: &mut Turn<'r>,
        out: &mut Vec<u8>,
    ) {
        let head = out.len();
        let mut sink = Sink::new(out, session.proto());
        sink.array(transaction.queue.len());
        for invocation in transaction.queue.iter() {
            match invocation.spec.run {
                Run::Shard(_) if session.pong(&invocation, &mut sink) => {}
                Run::Shard(_) | Run::Blocks(_) if transaction.is_multi_slot => {
                    let holds = &mut place.holds;
                    let wait = self.run_on_stage(session, holds, &invocation, turn, &mut sink);
                    place.note_ready();
                    if let Some(wait) = wait {
                        // Nothing waits within a transaction.
                        wait.absent.write(&mut sink);
                    }
                }
                Run::Shard(_) | Run::Blocks(_) => {
                    // A command before this one may have changed it.
                    let own = place.own();
                    own.engine().keyspace.no_touch = session.client().no_touch();
                    own.engine().reset_timer();
                    own.run_within(&invocation, turn.pace, &mut sink);
                }
                Run::Server(function) => {
                    let call = self.call(session, function, &invocation, &mut [], turn, &mut sink);
                    if let Some(replica_wait) = call {
                        // Nothing waits within a transaction.
                        sink.count(replica_wait.count(turn.batch.now));
                    }
                }
                Run::Cluster(function) => {
                    // All shards may be held: those that the port shows come first, in their order.
                    let view = self.view(session, invocation.spec.flags);
                    let own = place.holds[place.own].0;
                    place.holds.sort_by_key(|(number, _)| (!view.contains(number), *number));
                    let shown = place.holds.partition_point(|(number, _)| view.contains(number));
                    if shown == view.len() {
                        let shown = &mut place.holds[..shown];
                        self.call(session, function, &invocation, shown, turn, &mut sink);
                    } else {
                        // Never so: what is in view was known when the transaction was queued.
                        debug_assert!(false, "{} sees what is not held", invocation.spec.name);
                        sink.error(Refusal::SHARD_PANIC);
                    }
                    place.holds.sort_by_key(|(number, _)| *number);
                    place.own = place.holds.iter().position(|(n, _)| *n == own).unwrap_or(0);
                }
                Run::Whole(function) => {
                    let all = &mut place.holds;
                    self.call(session, function, &invocation, all, turn, &mut sink);
                    place.note_ready();
                }
                Run::Session(steer) => {
                    let (began, before) = (turn.pace.ticks(), sink.len());
                    session.steer_queued(
                        &self.server,
                        transaction,
                        steer,
                        invocation.args,
                        &mut sink,
                    );
                    let ticks = turn.pace.ticks().wrapping_sub(began);
                    let reply = sink.buffer().get(before..).unwrap_or_default();
                    self.note(&invocation, ticks, reply, turn.batch);
                    if !matches!(steer, SessionCommand::Subscribe(_)) {
                        session.insert_pushes_before(head, sink.buffer());
                    }
                }
                Run::Container => sink.error(Refusal::SYNTAX),
            }
        }
    }
}

impl Router {
    /// Ends a watch and says whether it was lost: something was touched, or the slot has moved to where
    /// nothing guards it.
    fn is_lost(&self, transaction: &Transaction, place: &mut Place<'_>) -> bool {
        let Some(watched) = transaction.watched.as_deref() else { return false };
        let mut lost = match transaction.is_multi_slot {
            // Wherever a watched slot's keys may be now, the guard must have been filed.
            true => {
                let filed: BTreeSet<(Slot, usize)> = watched.places.iter().copied().collect();
                filed.iter().any(|&(slot, _)| {
                    let (from, to) = self.shards_of(Some(slot), Port::Router);
                    [from].into_iter().chain(to).any(|shard| !filed.contains(&(slot, shard)))
                })
            }
            false => watched.shards.iter().any(|shard| !place.shards.contains(shard)),
        };
        for (number, hold) in &mut place.holds {
            lost |= match watched.shards.contains(number) {
                _ if !place.shards.contains(number) => false,
                true => hold.engine().unwatch(watched),
                false if transaction.is_multi_slot => false,
                // Whatever is here now was brought or made since.
                false => watched.keys.iter().any(|key| hold.engine().has(key)),
            };
        }
        lost
    }
}
