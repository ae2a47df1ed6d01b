//! Running a batch on a shard: one synchronous call with nothing in between.
//!
//! ```text
//! one command ──────────────► run ─► reply
//! EXEC: guard whole? ─► *n ─► run, run, run …          else nil
//! then: has a key come to be that somebody waits for? ─► run what waited, reply to its client
//! ```
//!
//! A command that panics answers an error; the shard mends its tables from its entries and serves
//! on. Nothing here knows connections, locks or the clock.

use super::OUTPUT_LEN_MAX;
pub use super::blocked::Serve;
use super::blocked::{Waiter, Waiters};
use crate::command::{Cx, Invocation, Pace, Queue, Refusal, Run, Spec, Wait, WaitKind, flag};
use crate::keyspace::{Changes, EventClass, Guard, Keyspace, Limits, Millis, Writer};
use crate::replication::{ReplicationLinks, ReplicationStream};
use crate::resp::{Proto, Sink};
use crate::session::{Watched, note_failed};
use crate::slot::{Footprint, Slot};
use crate::state::clients::{Claim, Client, Ending, WaitHandle, Waiting};
use crate::state::pubsub::PubSub;
use crate::state::{CommandStats, Instrumentation, ObservedCommand, Observer};
use crate::topology::{KeyPresence, NodeNumber, Port, Topology};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::AtomicI64;

/// What holds for a whole batch.
#[derive(Clone, Copy, Debug)]
pub struct BatchContext {
    /// The time, in milliseconds since the epoch: read once per batch.
    pub now: Millis,
    /// Longest string that a command may make, in bytes.
    pub string_len_max: u64,
    /// Up to where collections keep their small forms.
    pub limits: Limits,
    /// The classes of events that somebody wants to be told of.
    pub events_wanted: EventClass,
    /// Keys that are used keep their access times (`CLIENT NO-TOUCH`).
    pub no_touch: bool,
    /// What is to be noted of the commands.
    pub instrumentation: Instrumentation,
    /// Where the batch came in.
    pub port: Port,
}

/// A shard's state, for whoever holds it.
#[derive(Debug)]
pub struct Engine {
    /// The shard's keys.
    pub keyspace: Keyspace,
    /// What was counted of the commands that ran here.
    pub tally: CommandStats,
    /// The same of commands that came in at replicas which serve from here.
    replicas: BTreeMap<NodeNumber, CommandStats>,
    /// What a command reads without naming it lies here for now, see [`Cx::sees_all`].
    pub sees_all: bool,
    /// Whose commands run at this moment, and what is to be noted of them.
    pub instrumentation: Instrumentation,
    /// Which shard this is.
    number: usize,
    /// Which slots it runs: sure while this is held.
    topology: Arc<Topology>,
    observer: Arc<Observer>,
    /// The clock when the last command ended, whose end is the next one's beginning; 0 when it has
    /// to be looked at.
    lap: u64,
    waiters: Waiters,
    /// Whom this shard follows, and who follows it, late.
    links: ReplicationLinks,
    /// Where what happens to keys is published.
    pubsub: Arc<PubSub>,
}

/// A wait that has begun.
#[derive(Debug)]
pub struct Blocked {
    /// Ends it.
    pub call: Arc<WaitHandle>,
    /// Where its end arrives.
    pub waiting: Waiting,
    /// How long it lasts.
    pub wait: Wait,
    /// The request, a single command, in case it has to be made again.
    pub request: Arc<Queue>,
}

impl Blocked {
    /// Has `client` wait; `None` if its request is too long to be kept: then it is answered that there
    /// is nothing.
    pub fn begin(
        invocation: &Invocation<'_>,
        client: &Arc<Client>,
        wait: Wait,
        out: &mut Sink<'_>,
    ) -> Option<Self> {
        let mut request = Queue::default();
        if !request.push(invocation) {
            wait.absent.write(out);
            return None;
        }
        let (call, waiting) = client.begin_wait();
        Some(Self { call, waiting, wait, request: Arc::new(request) })
    }
}

impl Engine {
    /// The engine of shard `number` over `keyspace`, which tells `pubsub` what happens there.
    #[must_use]
    pub fn new(
        keyspace: Keyspace,
        number: usize,
        topology: Arc<Topology>,
        observer: Arc<Observer>,
        pubsub: Arc<PubSub>,
    ) -> Self {
        Self {
            keyspace,
            tally: CommandStats::default(),
            replicas: BTreeMap::new(),
            sees_all: false,
            instrumentation: Instrumentation::NONE,
            number,
            topology,
            observer,
            lap: 0,
            waiters: Waiters::default(),
            links: ReplicationLinks::default(),
            pubsub,
        }
    }

    /// Puts what is counted for a replica in the place of what is counted for its master, or back.
    pub fn swap_stats(&mut self, replica: NodeNumber) {
        std::mem::swap(self.replicas.entry(replica).or_default(), &mut self.tally);
    }

    /// Whether requests for `slot` that come in by these terms run here without a closer look.
    #[must_use]
    #[inline]
    pub fn serves_directly(&self, slot: Slot, batch: &BatchContext) -> bool {
        self.topology.serves_directly(slot, self.number, batch.port)
    }

    /// How many of some requests' keys are here, and how many are not.
    pub fn key_presence(&mut self, requests: &[Invocation<'_>]) -> KeyPresence {
        let (mut count, mut first) = (KeyPresence::default(), None);
        let each = |found: &mut dyn FnMut(&[u8])| {
            requests.iter().for_each(|it| it.spec.each_key(it.args, &mut *found));
        };
        each(&mut |bytes| {
            count.several |= first.get_or_insert_with(|| bytes.to_vec()) != bytes;
            let key = self.keyspace.key(Slot::of(bytes), bytes);
            match self.keyspace.peek(key) {
                Some(_) => count.here += 1,
                None => count.missing += 1,
            }
        });
        count
    }

    /// Whether a key is here.
    pub fn has(&mut self, bytes: &[u8]) -> bool {
        let key = self.keyspace.key(Slot::of(bytes), bytes);
        self.keyspace.peek(key).is_some()
    }

    /// Hands a key, if it is here, over to the shard that takes its slot.
    pub fn move_key(&mut self, bytes: &[u8], target: &mut Self) {
        let key = self.keyspace.key(Slot::of(bytes), bytes);
        if let Some(parcel) = self.keyspace.detach(key) {
            target.keyspace.insert_detached(key, parcel);
        }
    }

    /// Begins a batch.
    #[inline]
    pub fn begin(&mut self, batch: &BatchContext) {
        // What changes without a command: a key's time is over, a master tells of it.
        self.keyspace.set_writer(None);
        self.advance(batch.now);
        self.keyspace.limits = batch.limits;
        self.keyspace.events_wanted = batch.events_wanted;
        self.keyspace.no_touch = batch.no_touch;
        self.instrumentation = batch.instrumentation;
        self.reset_timer();
    }

    /// Sets the time of what is to come; what this shard follows is here as far as it is due then.
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

    /// Tells those who follow this shard what has changed: when a batch is done, so that they get to
    /// know of a transaction as a whole.
    #[inline]
    pub fn propagate(&mut self) {
        if self.keyspace.has_changes() {
            let changes = self.keyspace.take_changes();
            self.links.propagate(self.keyspace.now(), changes);
        }
    }

    /// Has this shard follow another one from now on, which is brought up to date at once.
    pub fn follow(&mut self, leader: &mut Self, lag_ms: &Arc<AtomicI64>) -> Arc<ReplicationStream> {
        leader.propagate();
        self.keyspace.apply_changes(leader.keyspace.snapshot());
        self.keyspace.is_replica = true;
        leader.keyspace.set_journaling(true);
        let feed = leader.links.add_replica(leader.number, Arc::clone(lag_ms));
        self.links.set_source(Arc::clone(&feed));
        feed
    }

    /// Has this shard follow nobody. What is still on its way to it is brought, or lost.
    pub fn unfollow(&mut self, brings_rest: bool) {
        let rest = self.links.remove_source(brings_rest);
        if brings_rest {
            rest.into_iter().for_each(|changes| self.keyspace.apply_changes(changes));
        } else if !rest.is_empty() {
            let changes = rest.iter().map(Changes::len).sum::<usize>();
            tracing::info!(shard = self.number, changes, "lost what its master had not told it");
        }
        self.keyspace.is_replica = false;
    }

    /// Tells a follower nothing any more.
    pub fn drop_follower(&mut self, feed: &Arc<ReplicationStream>) {
        self.links.remove_replica(feed);
        self.keyspace.set_journaling(self.links.has_replicas());
    }

    /// What this shard follows.
    #[must_use]
    pub fn source(&self) -> Option<&Arc<ReplicationStream>> {
        self.links.source()
    }

    /// Says that time has passed since the last command which is not the next one's.
    #[inline]
    pub fn reset_timer(&mut self) {
        self.lap = 0;
    }

    /// Runs one command; where it would wait, it answers that there is nothing.
    pub fn run(
        &mut self,
        invocation: &Invocation<'_>,
        batch: &BatchContext,
        pace: &mut dyn Pace,
        out: &mut Sink<'_>,
    ) {
        if let Some(wait) = self.call(invocation, None, batch, pace, out) {
            wait.absent.write(out);
        }
    }

    /// Runs one command, for the key `ready` alone if it has waited for that; gives what it waits
    /// for if there is nothing for it yet.
    fn call(
        &mut self,
        invocation: &Invocation<'_>,
        ready: Option<&[u8]>,
        batch: &BatchContext,
        pace: &mut dyn Pace,
        out: &mut Sink<'_>,
    ) -> Option<Wait> {
        let &Invocation { spec, args, .. } = invocation;
        let before = out.len();
        if self.lap == 0 {
            self.lap = pace.ticks();
        }
        let is_watched = self.keyspace.is_watched();
        if is_watched {
            self.set_writer(spec);
        }
        let (keyspace, sees_all) = (&mut self.keyspace, self.sees_all);
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let (slot, known) = (invocation.slot(), invocation.known());
            let string_len_max = batch.string_len_max;
            let pace = &mut *pace;
            let mut cx = Cx { keyspace, slot, known, string_len_max, pace, ready, sees_all };
            match spec.run {
                Run::Shard(function) => function(&mut cx, args, out).map(|()| None),
                Run::Blocks(function) => function(&mut cx, args, out),
                _ => Err(Refusal::NOT_IN_MULTI),
            }
        }));
        let wait = match outcome {
            Ok(Ok(wait)) => wait,
            Ok(Err(refusal)) => {
                debug_assert_eq!(out.len(), before, "{} wrote before it refused", spec.name);
                self.tally.failed(spec.id, refusal.text());
                note_failed(&self.observer, self.instrumentation.client, invocation, &refusal);
                out.error(refusal);
                None
            }
            Err(_panic) => {
                tracing::error!(command = %spec.full_name(), "a command panicked; mending its shard");
                out.truncate(before);
                self.tally.failed(spec.id, Refusal::SHARD_PANIC.text());
                out.error(Refusal::SHARD_PANIC);
                self.keyspace.rebuild_index();
                None
            }
        };
        self.publish_events(pace);
        if is_watched {
            self.clear_writer();
        }
        let now = pace.ticks();
        let ticks = now.wrapping_sub(self.lap);
        self.lap = now;
        if ready.is_none() {
            self.tally.ran(spec.id, ticks, self.instrumentation.tracks);
        } else {
            self.tally.resumed(spec.id, ticks);
        }
        if ticks >= self.instrumentation.slow_ticks || self.instrumentation.monitored {
            self.tell(invocation, ready.is_some(), ticks);
        }
        wait
    }

    /// Whose guards this command trips will know who it was, and by what.
    pub fn set_writer(&mut self, spec: &Spec) {
        // What only reads may find a key whose time is over.
        let writer = Writer { client: self.instrumentation.client, command: spec.id };
        self.keyspace.set_writer(spec.writes().then_some(writer));
    }

    /// The command is done. Whom it has beaten may ask for the client's name when that has left.
    pub fn clear_writer(&mut self) {
        self.keyspace.set_writer(None);
        if self.keyspace.take_tripped() {
            self.observer.note_winner(self.instrumentation.client);
        }
    }

    /// Publishes what happened to keys and was not told yet: after every command, and before
    /// somebody else gets the shard.
    #[inline]
    pub fn publish_events(&mut self, pace: &mut dyn Pace) {
        if self.keyspace.has_events() {
            self.publish(pace);
        }
    }

    #[cold]
    fn publish(&mut self, pace: &mut dyn Pace) {
        let events = self.keyspace.take_events();
        let (wanted, now) = (self.keyspace.events_wanted, self.keyspace.now());
        // Those of no database of their own are of number 0, and run over several slots or one.
        let database = (self.number + 1).saturating_sub(self.topology.shards());
        let delivered = &mut |sleeper| pace.delivered(sleeper);
        self.pubsub.publish_events(&events, wanted, database, now, delivered);
    }

    /// Tells the observer of a command that was slow, or that somebody wants to see.
    #[cold]
    fn tell(&self, &Invocation { spec, args, .. }: &Invocation<'_>, again: bool, ticks: u64) {
        let Instrumentation { client, slow_ticks, monitored, .. } = self.instrumentation;
        let seen = ObservedCommand { args: args.from(0), client, now: self.keyspace.now() };
        if monitored && !again && spec.is_shown() {
            self.observer.feed_monitors(seen.clone());
        }
        if ticks >= slow_ticks {
            let is_fast = spec.flags & flag::FAST != 0;
            self.observer.record_slow(seen, ticks, is_fast, !spec.is_logged());
        }
    }

    /// Answers a command that is not run, and counts it.
    pub fn refuse(&mut self, spec: &Spec, refusal: &Refusal, out: &mut Sink<'_>) {
        self.tally.rejected(spec.id, refusal.text());
        out.error(refusal);
    }

    /// Runs one command that may wait for `client`; gives the wait if it has begun.
    pub fn run_or_wait(
        &mut self,
        invocation: &Invocation<'_>,
        client: &Arc<Client>,
        batch: &BatchContext,
        pace: &mut dyn Pace,
        out: &mut Sink<'_>,
    ) -> Option<Blocked> {
        let wait = self.call(invocation, None, batch, pace, out)?;
        let blocked = Blocked::begin(invocation, client, wait, out)?;
        let keys = invocation.spec.awaited_keys(invocation.args);
        self.file(&blocked, client, out.proto, &keys, Serve::Here);
        Some(blocked)
    }

    /// Runs one command; gives what it waits for if there is nothing for it yet.
    pub fn run_or_tell(
        &mut self,
        invocation: &Invocation<'_>,
        batch: &BatchContext,
        pace: &mut dyn Pace,
        out: &mut Sink<'_>,
    ) -> Option<Wait> {
        self.call(invocation, None, batch, pace, out)
    }

    /// Has `client` be served when one of `keys` comes to be here.
    pub fn file(
        &mut self,
        blocked: &Blocked,
        client: &Arc<Client>,
        proto: Proto,
        keys: &[&[u8]],
        serve: Serve,
    ) {
        let waiter = Waiter {
            client: Arc::clone(client),
            call: Arc::clone(&blocked.call),
            request: Arc::clone(&blocked.request),
            kind: blocked.wait.kind,
            proto,
            serve,
            slots: match blocked.request.iter().next().map(|request| request.footprint) {
                Some(Footprint::Crossing { .. }) => keys.iter().map(|key| Slot::of(key)).collect(),
                _ => Vec::new(),
            },
            keys: 0,
        };
        self.waiters.file(waiter, keys, &mut self.keyspace);
    }

    /// Ends the waits of those whose slot is not served here any more: they have to ask again.
    pub fn unblock_moved(&mut self) {
        let Self { keyspace, waiters, topology, number, .. } = self;
        // A database of its own has nothing to do with slots.
        if *number < topology.shards() {
            let judge = |client: &Client, slot| topology.route_waiter(slot, *number, client.port);
            waiters.dismiss(keyspace, judge);
        }
    }

    /// Serves those who waited for keys that have come to be since this was last done: to be
    /// called when a command that stands alone, or a transaction, is done.
    #[inline]
    pub fn settle(&mut self, batch: &BatchContext, pace: &mut dyn Pace) {
        if self.keyspace.has_ready() {
            self.serve(batch, pace);
        }
    }

    /// Serves the keys in the order in which they came to be, as Redis 7.0 does, and for each key
    /// those who wait in the order in which they came. To serve one may make another key ready.
    #[cold]
    fn serve(&mut self, batch: &BatchContext, pace: &mut dyn Pace) {
        let (no_touch, client) = (self.keyspace.no_touch, self.instrumentation.client);
        while self.keyspace.has_ready() {
            for bytes in self.keyspace.take_ready() {
                while let Some((waiter, claim)) = self.next_waiter(&bytes) {
                    self.keyspace.no_touch = waiter.client.no_touch();
                    self.instrumentation.client = waiter.client.id;
                    let mut reply = Vec::new();
                    let mut out = Sink::new(&mut reply, waiter.proto);
                    for request in waiter.request.iter() {
                        if let Some(wait) = self.call(&request, Some(&bytes), batch, pace, &mut out)
                        {
                            // Never so: the key holds what the waiter can use.
                            debug_assert!(false, "{} left its key", request.spec.name);
                            wait.absent.write(&mut out);
                        }
                    }
                    // He may go to a replica at once.
                    self.propagate();
                    // One who leaves at this very moment was served before, as in Redis.
                    let _gone = claim.end(Ending::Served(reply));
                }
            }
        }
        self.keyspace.no_touch = no_touch;
        self.instrumentation.client = client;
    }

    /// Whose turn it is at `bytes`, if there is something there for anybody.
    fn next_waiter(&mut self, bytes: &[u8]) -> Option<(Waiter, Claim)> {
        let Self { keyspace, waiters, .. } = self;
        let key = keyspace.key(Slot::of(bytes), bytes);
        let value = keyspace.peek(key)?.value();
        let is_list = WaitKind::List.fits(value);
        let is_zset = WaitKind::Zset.fits(value);
        let fits = |kind| match kind {
            WaitKind::List => is_list,
            WaitKind::Zset => is_zset,
        };
        waiters.claim(bytes, fits, keyspace)
    }

    /// Forgets waiters who have given up.
    pub fn sweep_waiters(&mut self) {
        self.waiters.sweep_if_worthwhile(&mut self.keyspace);
    }

    /// Runs commands that each stand alone, until there is much to reply; gives how many were run.
    pub fn run_each(
        &mut self,
        queue: &Queue,
        batch: &BatchContext,
        pace: &mut dyn Pace,
        out: &mut Sink<'_>,
    ) -> usize {
        for (before, invocation) in queue.iter().enumerate() {
            let has_moved =
                invocation.slot().is_some_and(|slot| !self.serves_directly(slot, batch));
            if out.len() > OUTPUT_LEN_MAX || has_moved {
                return before;
            }
            self.run(&invocation, batch, pace, out);
            self.settle(batch, pace);
        }
        queue.len()
    }

    /// Runs a transaction whose commands all run on a shard.
    pub fn exec(
        &mut self,
        queue: &Queue,
        watched: Option<&Watched>,
        batch: &BatchContext,
        pace: &mut dyn Pace,
        out: &mut Sink<'_>,
    ) {
        if self.is_lost(watched) {
            self.tally.exec_lost();
            watched.inspect(|watched| watched.lose(&self.observer));
            return out.null_array();
        }
        watched.inspect(|watched| watched.keep(&self.observer));
        out.array(queue.len());
        for invocation in queue.iter() {
            pace.step(1);
            self.run(&invocation, batch, pace, out);
        }
        self.settle(batch, pace);
    }

    /// Ends the watch and says whether the transaction that it guards is lost.
    pub fn is_lost(&mut self, watched: Option<&Watched>) -> bool {
        watched.is_some_and(|w| {
            // What was watched elsewhere has moved since.
            let is_elsewhere = w.shards.iter().any(|&shard| shard != self.number);
            self.unwatch(w) || is_elsewhere
        })
    }

    /// Ends the watch as far as it was filed here, and says whether it is lost.
    pub fn unwatch(&mut self, watched: &Watched) -> bool {
        self.keyspace.unwatch(watched.keys.iter().map(|key| &**key), &watched.guard)
    }

    /// Files `guard` under the keys of a WATCH.
    pub fn watch(&mut self, watch: &Invocation<'_>, guard: &Guard, out: &mut Sink<'_>) {
        watch.spec.each_key(watch.args, |bytes| {
            let key = self.keyspace.key(Slot::of(bytes), bytes);
            self.keyspace.watch(key, guard);
        });
        out.ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{Args, Arity, Outcome};
    use crate::keyspace::KeyHasher;
    use crate::resp::Span;
    use crate::shard::tests::Later;
    use crate::slot::Footprint;

    fn bad(cx: &mut Cx<'_>, _: Args<'_>, out: &mut Sink<'_>) -> Outcome {
        out.int(1);
        let key = cx.key(b"half");
        cx.keyspace.set(key, crate::keyspace::Value::Int(1), crate::keyspace::Ttl::Clear);
        panic!("as a bug would");
    }

    /// A panic is answered; what follows on the same shard runs.
    #[test]
    fn a_panic_stays_with_its_command() {
        static BAD: Spec =
            Spec { name: "bad", arity: Arity::Exactly(1), run: Run::Shard(bad), ..Spec::BASE };
        let mut engine = Engine::new(
            Keyspace::new(Slot::all(), KeyHasher::new(1), 1),
            0,
            Arc::new(Topology::even(1)),
            Arc::default(),
            Arc::default(),
        );
        let limits = Limits::default();
        let batch = BatchContext {
            now: 1,
            string_len_max: 1 << 20,
            limits,
            events_wanted: 0,
            no_touch: false,
            instrumentation: Instrumentation::NONE,
            port: Port::Router,
        };
        engine.begin(&batch);
        let (buf, span) = (b"bad".to_vec(), [Span::new(0, 3)]);
        let mut queue = Queue::default();
        let footprint = Footprint::Anywhere;
        assert!(queue.push(&Invocation {
            spec: &BAD,
            args: Args::new(&buf, &span),
            footprint,
            only_key: None,
            seen: None
        }));
        let get = b"get half";
        let spans = [Span::new(0, 3), Span::new(4, 4)];
        let invocation = crate::command::resolve(Args::new(get, &spans)).expect("GET is a command");
        assert!(queue.push(&invocation));
        let mut out = Vec::new();
        engine.exec(
            &queue,
            None,
            &batch,
            &mut Later::default(),
            &mut Sink::new(&mut out, Proto::Resp2),
        );
        let error = String::from_utf8_lossy(Refusal::SHARD_PANIC.text()).into_owned();
        assert_eq!(String::from_utf8_lossy(&out), format!("*2\r\n-{error}\r\n$1\r\n1\r\n"));
    }
}
