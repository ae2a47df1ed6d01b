//! A shard's state. This module does not use connections, locks or the clock.

use super::context::{BatchContext, Turn};
use super::outcome::RefuseWaiting;
use super::slot_use::SlotUseState;
use super::tracking::Reader;
use super::waiters::Waiters;
use crate::command::{Invocation, Pace, Refusal, Spec, flag};
use crate::keyspace::{Changes, Keyspace, Millis, Writer};
use crate::replication::{ReplicationLinks, ReplicationStream};
use crate::resp::Sink;
use crate::script::{FunctionSet, Interpreter};
use crate::session::Watched;
use crate::slot::Slot;
use crate::state::clients::Client;
use crate::state::tracking::Origin;
use crate::state::{CommandStats, Instrumentation, Nodes, ObservedCommand, Observer, ServerState};
use crate::topology::{KeyPresence, NodeNumber, Port, Topology};
use std::collections::BTreeMap;
use std::sync::atomic::AtomicI64;
use std::sync::{Arc, Weak};

/// The state of a shard, for its holder.
#[derive(Debug)]
pub struct Engine {
    /// The shard's keys.
    pub keyspace: Keyspace,
    /// Counts of the commands that ran here.
    pub tally: CommandStats,
    /// The same for commands that replicas received which serve from this shard.
    replicas: BTreeMap<NodeNumber, CommandStats>,
    /// Whether keys that a command reads without naming them are here, see [`Cx::sees_all`].
    pub sees_all: bool,
    /// The client whose commands run now, and which of their effects are recorded.
    pub instrumentation: Instrumentation,
    /// This shard's number.
    pub(super) number: usize,
    /// Whether it has no slots of its own and runs commands over those of several shards.
    is_scratch: bool,
    /// The slots that the shard serves: certain while it is held.
    pub(super) topology: Arc<Topology>,
    /// What observes commands, and who hears of keyspace events.
    nodes: Arc<Nodes>,
    /// The port that the present batch was received at.
    port: Port,
    /// The number of the turn that the engine is prepared for, or 0.
    turn: u64,
    /// The tick at which the last command ended, which is when the next one begins; 0 if the clock
    /// has to be read.
    pub(super) lap: u64,
    /// What is remembered while the commands of slots are counted.
    pub(super) slot_use: SlotUseState,
    pub(super) waiters: Waiters,
    /// The shard that this one replicates, and those that replicate it, with a lag.
    links: ReplicationLinks,
    /// The state of the process, for commands of scripts.
    server: Option<Arc<ServerState>>,
    /// The units that wait for this shard.
    waiting: Option<Weak<dyn RefuseWaiting>>,
    /// Runs scripts; made when the first one runs.
    pub(super) interpreter: Option<Box<Interpreter>>,
    /// Runs functions; made when the first one runs.
    pub(super) functions: Option<Box<FunctionSet>>,
}

impl Engine {
    /// Returns the engine of shard `number` over `keyspace`.
    #[must_use]
    pub fn new(
        keyspace: Keyspace,
        number: usize,
        topology: Arc<Topology>,
        nodes: Arc<Nodes>,
    ) -> Self {
        Self {
            keyspace,
            tally: CommandStats::default(),
            replicas: BTreeMap::new(),
            sees_all: false,
            instrumentation: Instrumentation::NONE,
            number,
            is_scratch: false,
            topology,
            nodes,
            port: Port::Router,
            turn: 0,
            lap: 0,
            slot_use: SlotUseState::default(),
            waiters: Waiters::default(),
            links: ReplicationLinks::default(),
            server: None,
            waiting: None,
            interpreter: None,
            functions: None,
        }
    }

    /// Returns an engine without slots, for commands over several slots of database 0.
    #[must_use]
    pub fn scratch(keyspace: Keyspace, topology: Arc<Topology>, nodes: Arc<Nodes>) -> Self {
        Self { is_scratch: true, ..Self::new(keyspace, 0, topology, nodes) }
    }

    /// Returns the state of the process; an engine that runs no scripts need not have it.
    #[must_use]
    pub fn server(&self) -> Option<&Arc<ServerState>> {
        self.server.as_ref()
    }

    /// Gives the engine the queue of the units that wait for it.
    pub(super) fn set_waiting(&mut self, waiting: Weak<dyn RefuseWaiting>) {
        self.waiting = Some(waiting);
    }

    /// Replies to the units that wait for this shard that a script runs.
    #[cold]
    pub fn refuse_waiting(&self, busy: &Refusal) {
        if let Some(waiting) = self.waiting.as_ref().and_then(Weak::upgrade) {
            waiting.refuse_waiting(busy);
        }
    }

    /// Gives the engine the state of the process, which scripts need.
    pub fn set_server(&mut self, server: &Arc<ServerState>) {
        self.server = Some(Arc::clone(server));
    }

    /// Returns this shard's number.
    #[must_use]
    pub fn number(&self) -> usize {
        self.number
    }

    /// Returns the observer that records slow, monitored and failed commands.
    #[must_use]
    pub fn observer(&self) -> &Observer {
        &self.nodes.at(self.port).observer
    }

    /// Exchanges the counts of a replica that serves from here with those of its master.
    pub fn swap_stats(&mut self, replica: NodeNumber) {
        std::mem::swap(self.replicas.entry(replica).or_default(), &mut self.tally);
    }

    /// Returns whether requests for `slot` of this batch run here, whatever else they need.
    #[must_use]
    #[inline]
    pub fn serves_directly(&self, slot: Slot, batch: &BatchContext) -> bool {
        self.topology.serves_directly(slot, self.number, batch.port)
    }

    /// Counts which of `keys`, all of `slot`, are here.
    pub fn key_presence(&mut self, slot: Slot, keys: &[&[u8]]) -> KeyPresence {
        let mut count = KeyPresence::default();
        for bytes in keys {
            count.several |= *bytes != keys[0];
            match self.has(slot, bytes) {
                true => count.here += 1,
                false => count.missing += 1,
            }
        }
        count
    }

    /// Returns whether the keys of a command, all of `slot`, are here while the slot moves away.
    #[cold]
    pub fn still_has(
        &mut self,
        slot: Slot,
        invocation: &Invocation<'_>,
        batch: &BatchContext,
    ) -> bool {
        let is_ours = match batch.port {
            Port::Node(node) => self.topology.owner_of(slot) == Some(node),
            Port::Router => self.topology.shard_of(slot) == self.number,
        };
        let mut all = is_ours;
        invocation.spec.each_key(invocation.args, |key| all = all && self.has(slot, key));
        all
    }

    /// Returns whether a key of `slot` is here.
    pub fn has(&mut self, slot: Slot, bytes: &[u8]) -> bool {
        let key = self.keyspace.key(slot, bytes);
        self.keyspace.peek(key).is_some()
    }

    /// Moves a key of `slot`, if it is here, to another shard.
    pub fn move_key(&mut self, slot: Slot, bytes: &[u8], target: &mut Self) {
        let key = self.keyspace.key(slot, bytes);
        if let Some(parcel) = self.keyspace.detach(key) {
            target.keyspace.insert_detached(key, parcel);
        }
    }

    /// Begins a hold of a turn.
    #[inline]
    pub(super) fn begin(&mut self, turn: &Turn<'_>) {
        if turn.number() == 0 || turn.number() != self.turn {
            self.begin_batch(&turn.batch);
            self.turn = turn.number();
        }
        self.lap = turn.lap.take();
    }

    /// Begins a batch.
    pub fn begin_batch(&mut self, batch: &BatchContext) {
        self.turn = 0;
        // Until a command runs, changes have no writer: keys expire, a master's changes arrive.
        self.keyspace.set_writer(None);
        self.advance(batch.now);
        self.keyspace.limits = batch.limits;
        self.port = batch.port;
        self.read_settings();
        self.keyspace.no_touch = batch.no_touch;
        self.instrumentation = batch.instrumentation;
        self.reset_timer();
    }

    /// Reads what the ports' settings say of this shard.
    #[inline]
    pub fn read_settings(&mut self) {
        self.keyspace.events_wanted = self.nodes.events_wanted(self.events_from());
    }

    /// Sets what is recorded of the commands that follow in the batch.
    pub fn set_instrumentation(&mut self, instrumentation: Instrumentation) {
        self.instrumentation = instrumentation;
    }

    /// Sets the time; applies those changes of the replicated shard that are due by then.
    #[inline]
    pub fn advance(&mut self, now: Millis) {
        self.propagate();
        self.keyspace.begin(now);
        if self.links.is_due(now) {
            self.catch_up(now);
        }
    }

    #[cold]
    fn catch_up(&mut self, now: Millis) {
        for changes in self.links.take_due(now) {
            self.keyspace.apply_changes(changes);
        }
    }

    /// Passes the changes of a finished batch to all replicas of this shard, which so get a
    /// transaction as a whole.
    #[inline]
    pub fn propagate(&mut self) {
        if self.keyspace.has_changes() {
            let changes = self.keyspace.take_changes();
            self.links.propagate(self.keyspace.now(), changes);
        }
    }

    /// Makes this shard a replica of `leader`, with a copy of all its keys.
    pub fn follow(&mut self, leader: &mut Self, lag_ms: &Arc<AtomicI64>) -> Arc<ReplicationStream> {
        leader.propagate();
        self.keyspace.apply_changes(leader.keyspace.snapshot());
        self.keyspace.is_replica = true;
        leader.keyspace.set_journaling(true);
        let feed = leader.links.add_replica(leader.number, Arc::clone(lag_ms));
        self.links.set_source(Arc::clone(&feed));
        feed
    }

    /// Ends replication. Changes that are still under way are applied, or lost.
    pub fn unfollow(&mut self, brings_rest: bool) {
        let rest = self.links.remove_source(brings_rest);
        if brings_rest {
            rest.into_iter().for_each(|changes| self.keyspace.apply_changes(changes));
        } else if !rest.is_empty() {
            let changes = rest.iter().map(Changes::len).sum::<usize>();
            tracing::info!(
                shard = self.number,
                changes,
                "changes from its master that were not applied yet are lost"
            );
        }
        self.keyspace.is_replica = false;
    }

    /// Ends the stream to a replica.
    pub fn drop_follower(&mut self, feed: &Arc<ReplicationStream>) {
        self.links.remove_replica(feed);
        self.keyspace.set_journaling(self.links.has_replicas());
    }

    /// Returns the stream that this shard applies.
    #[must_use]
    pub fn source(&self) -> Option<&Arc<ReplicationStream>> {
        self.links.source()
    }

    /// Counts a command for its slot.
    pub(super) fn count_slot_of(
        &mut self,
        invocation: &Invocation<'_>,
        ticks: u64,
        ends: (usize, usize),
    ) {
        let Self { nodes, port, slot_use, .. } = self;
        let (observer, in_script) = (&nodes.at(*port).observer, self.instrumentation.in_script);
        slot_use.count_command(observer, invocation, in_script, ticks, ends);
    }

    /// Resets the command timer: the time since the last command must not be charged to the next.
    #[inline]
    pub fn reset_timer(&mut self) {
        self.lap = 0;
    }

    /// Sets whose reads the following commands are: whether they are remembered.
    #[inline]
    pub fn set_reader(&mut self, client: &Client) {
        let reader = client.reader_number();
        if reader != self.instrumentation.reader {
            self.instrumentation = self.instrumentation.with_reader(reader);
        }
    }

    /// Returns the present client, if its reads are remembered.
    pub(super) fn reader(&self) -> Option<Reader<'_>> {
        let Instrumentation { client, reader: number, .. } = self.instrumentation;
        let (nodes, port, now) = (&*self.nodes, self.port, self.keyspace.now());
        (number != 0).then_some(Reader { nodes, port, client, number, now })
    }

    /// Makes this command the writer that the guards it trips record.
    pub fn set_writer(&mut self, spec: &Spec) {
        // A command that only reads may find an expired key.
        let writer = Writer { client: self.instrumentation.client, command: spec.id };
        self.keyspace.set_writer(spec.trips_watch().then_some(writer));
    }

    /// Ends what [`Engine::set_writer`] began. The writer's name is kept: the client of a lost
    /// WATCH may ask for it after the writer has disconnected.
    pub fn clear_writer(&mut self) {
        self.keyspace.set_writer(None);
        if self.keyspace.take_tripped() {
            self.observer().note_winner(self.instrumentation.client);
        }
    }

    /// Publishes the keyspace events since the last call: after every command, and before the shard
    /// is released.
    #[inline]
    pub fn publish_events(&mut self, pace: &dyn Pace) {
        if self.keyspace.has_events() {
            self.publish(pace);
        }
    }

    #[cold]
    fn publish(&mut self, pace: &dyn Pace) {
        let (events, now) = (self.keyspace.take_events(), self.keyspace.now());
        let delivered = &mut |sleeper| pace.delivered(sleeper);
        let from = self.events_from();
        // A replica's keys are changed by its master.
        let Instrumentation { client, in_script, .. } = self.instrumentation;
        let client = if self.keyspace.is_replica { 0 } else { client };
        let origin = Origin { port: self.port, client, in_script };
        let rest = self.nodes.publish_events(from, events, origin, now, delivered);
        self.keyspace.record_events(rest.into_iter());
    }

    /// The shard whose events those of this engine are; `None` if each event's key decides.
    #[inline]
    fn events_from(&self) -> Option<usize> {
        (!self.is_scratch).then_some(self.number)
    }

    /// Records a command that was slow, or that MONITOR shows.
    #[cold]
    pub(super) fn observe(
        &self,
        &Invocation { spec, args, .. }: &Invocation<'_>,
        again: bool,
        ticks: u64,
        (request_len, reply_len): (usize, usize),
    ) {
        let Instrumentation { client, slow_ticks, monitored, in_script, .. } = self.instrumentation;
        let now = self.keyspace.now();
        let args = args.from(0);
        let seen = ObservedCommand { args, client, now, in_script, request_len, reply_len };
        if monitored && !again && spec.is_shown() {
            self.observer().feed_monitors(seen.clone());
        }
        if ticks >= slow_ticks {
            let is_fast = spec.flags & flag::FAST != 0;
            self.observer().record_slow(seen, ticks, is_fast, !spec.is_logged());
        }
    }

    /// Replies an error to a command that is not run, and counts it.
    pub fn refuse(&mut self, spec: &Spec, refusal: &Refusal, out: &mut Sink<'_>) {
        self.tally.rejected(spec.id, refusal.text());
        out.error(refusal);
    }

    /// Ends a watch as far as it is filed here; returns whether it is lost.
    pub fn unwatch(&mut self, watched: &Watched) -> bool {
        self.keyspace.unwatch(watched.keys.iter().map(|key| &**key), &watched.guard)
    }
}

#[cfg(test)]
#[path = "engine_tests.rs"]
mod tests;
