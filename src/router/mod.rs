//! From requests to replies: each batch to the shard that owns its slot.
//!
//! ```text
//! input ─ decode ahead ─► requests ─ session.admit ─► step ─► shard │ host │ all shards ─► output
//!                                                      └─ the shard is taken: a job in its queue,
//!                                                         and the connection waits for that
//! ```
//!
//! [`Router::process`] is the whole path of a request as a plain function: bytes in, bytes out, no
//! socket and no clock. Consecutive commands for one shard share one hold of it; the order across
//! shards is the client's. What needs several shards, or a closer look at the slot it asks for,
//! holds them in ascending order, and where it must wait for one it does so away from the runtime's
//! workers (`closely`).

mod multi_slot;
mod pipeline;
mod redirect;
mod replica_links;
mod sampling;

pub use pipeline::Scratch;

use crate::command::{
    Group, Invocation, Pace, Queue, Refusal, ReplyDelay, Run, ServerCx, ServerFn, SessionCommand,
    Spec, flag, named, resolve, slotway,
};
use crate::faults::{ArmedFaults, Order, RequestKind};
use crate::keyspace::{KeyHasher, Keyspace, Millis};
use crate::replication::ReplicaWait;
use crate::resp::{Decoder, Sink};
use crate::session::{Dialect, Session, Step, note_failed};
use crate::shard::engine::{BatchContext, Blocked, Engine};
use crate::shard::{Hold, OUTPUT_LEN_MAX, Pending, Shard, Work};
use crate::slot::{Footprint, Slot};
use crate::state::clients::Client;
use crate::state::{ObservedCommand, ServerState};
use crate::topology::{NodeNumber, Port, Topology};
use multi_slot::Stages;
use pipeline::{AHEAD_MAX, Ahead, LONG_BYTES, Request, args_of};
use redirect::{Bench, Close};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

/// What a client that has yet to authenticate may leave unread, in bytes.
pub const UNAUTHENTICATED_OUTPUT_MAX: usize = 17 * 1024;

/// All shards behind one endpoint.
#[derive(Debug)]
pub struct Router {
    /// The process: settings, clients, counters.
    pub server: ServerState,
    topology: Arc<Topology>,
    /// What the node ports speak.
    dialect: &'static Dialect,
    /// The topology's shards, which make up database 0, then one for each database above.
    shards: Vec<Arc<Shard>>,
    /// The hash that every shard's tables use.
    hasher: KeyHasher,
    /// Where what asks for several slots runs.
    stages: Stages,
}

/// Why [`Router::process`] stopped.
#[derive(Debug)]
pub enum Progress {
    /// Every whole request has been answered; at least `missing` bytes make the next one whole.
    Drained {
        /// From 1.
        missing: usize,
    },
    /// There is much output, or the rest goes by other terms: send it, then come again.
    Full,
    /// A shard was taken: await the replies, send them unless `muted`, then come again.
    Wait {
        /// The replies, once the shard has run the job.
        pending: Pending,
        /// The client does not want to see them.
        muted: bool,
    },
    /// The client waits for a key: send the output, await the end of the wait, answer unless
    /// `muted`, then come again.
    Block {
        /// The wait.
        blocked: Box<Blocked>,
        /// The client does not want to see the answer.
        muted: bool,
    },
    /// The client waits for replicas: send the output, come back to the vigil when it says so, answer
    /// how many there are when it is over unless `muted`, then come again.
    ReplicaWait {
        /// The wait.
        replica_wait: Box<ReplicaWait>,
        /// The client does not want to see the answer.
        muted: bool,
    },
    /// The node does not answer for now: keep what came, await the end of that, then come again.
    Hang(NodeNumber),
    /// The next request is held up: send the output, await the end of the pause, then come again.
    Paused {
        /// When it ends by itself.
        until: Millis,
    },
    /// Send the output, then [`Router::resume`] this, then come again; the client does not want to
    /// see the replies if it says so.
    Rest(Box<Work>, bool),
    /// Send the output, then close.
    Close,
    /// Close at once.
    Sever,
}

/// What one request came to.
enum Done {
    Replied,
    /// What is written goes out even if the client wants no replies.
    Told,
    /// The reply is written; the terms do not hold for what follows.
    NewTerms,
    Wait(Pending),
    Block(Box<Blocked>),
    ReplicaWait(ReplicaWait),
    Close,
    Sever,
}

/// What became of the wish to hold the shard of a command.
enum Held<'h, 'r> {
    /// It is held, and runs the command.
    Here(&'h mut Hold<'r>),
    /// Somebody else holds it: submit a job.
    Taken,
    /// It is held, but the slot is not plainly its own: look closer.
    Closer,
}

/// What a turn works with besides the session.
struct Turn<'t> {
    batch: &'t BatchContext,
    /// What is to be looked up of what goes wrong on purpose.
    armed: ArmedFaults,
    pace: &'t mut dyn Pace,
}

impl Router {
    /// A router over fresh, empty shards, whose node ports speak `dialect`. `seed` is where all
    /// chance comes from.
    #[must_use]
    pub fn new(server: ServerState, dialect: &'static Dialect, seed: u64) -> Self {
        let topology = Arc::clone(&server.topology);
        let hasher = KeyHasher::new(seed);
        let (engine_shards, databases) = (topology.shards(), server.settings.databases());
        let mut engines: Vec<Engine> = (0..topology.shards() + databases - 1)
            .map(|shard| {
                let seed = seed.wrapping_add(shard as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
                let slots = topology.slots_of(shard);
                let keyspace = Keyspace::new(slots, hasher.clone(), seed);
                let (observer, pubsub) = (Arc::clone(&server.observer), Arc::clone(&server.pubsub));
                let topology = Arc::clone(&topology);
                let mut engine = Engine::new(keyspace, shard, topology, observer, pubsub);
                // A database above number 0 has one shard.
                engine.sees_all = shard >= engine_shards;
                engine
            })
            .collect();
        replica_links::settle(&server, &mut engines.iter_mut().collect::<Vec<_>>());
        let shards = engines.into_iter().map(Shard::new).collect();
        Self { server, topology, dialect, shards, hasher, stages: Stages::default() }
    }

    /// A session for a client that has come to `port`.
    #[must_use]
    pub fn session(&self, client: Arc<Client>, port: Port) -> Session {
        let dialect = match port {
            Port::Router => &Dialect::ROUTER,
            Port::Node(_) => self.dialect,
        };
        Session::new(client, port, dialect, !self.server.settings.needs_password())
    }

    /// The shards, in the order of the topology, then those of the databases above number 0.
    #[must_use]
    pub fn shards(&self) -> &[Arc<Shard>] {
        &self.shards
    }

    /// What holds for a batch that begins at `now`, by the settings of this moment.
    #[must_use]
    pub fn batch(&self, now: i64) -> BatchContext {
        let settings = &self.server.settings;
        let (string_len_max, limits) = (settings.bulk_len_max(), settings.limits());
        let events_wanted = settings.events_wanted();
        let instrumentation = self.server.observer.instrumentation(0);
        let port = Port::Router;
        BatchContext {
            now,
            string_len_max,
            limits,
            events_wanted,
            no_touch: false,
            instrumentation,
            port,
        }
    }

    /// Whether a batch may go on by these terms, after a command that may have changed them.
    fn still_hold(&self, batch: &BatchContext, session: &Session) -> bool {
        let client = session.client();
        client.no_touch() == batch.no_touch
            && self.server.settings.events_wanted() == batch.events_wanted
            && self.server.observer.instrumentation(client.id) == batch.instrumentation
    }

    /// Runs the requests at the front of `input` and appends their replies to `out`; gives how
    /// many bytes were taken and why it stopped. Nothing is begun for a client that was closed.
    #[expect(clippy::too_many_arguments, reason = "the whole state of a turn, named one by one")]
    pub fn process(
        &self,
        session: &mut Session,
        decoder: &mut Decoder,
        input: &mut [u8],
        scratch: &mut Scratch,
        out: &mut Vec<u8>,
        now: i64,
        pace: &mut dyn Pace,
    ) -> (usize, Progress) {
        if session.client().is_closing() {
            return (0, Progress::Sever);
        }
        let mut batch = self.batch(now);
        (batch.no_touch, batch.port) = (session.client().no_touch(), session.port());
        batch.instrumentation.client = session.client().id;
        let armed = self.server.faults.armed();
        if armed.hangs_nodes()
            && let Port::Node(node) = batch.port
            && self.server.faults.stopped(node) == Some(true)
        {
            return (0, Progress::Hang(node));
        }
        let mut turn = Turn { batch: &batch, armed, pace };
        let (mut taken, mut commands, mut latest) = (0, 0, None);
        let progress = loop {
            let (input_from, output_from) = (taken, out.len());
            let mut pause = self.server.pause.at(now);
            let line = pause.and_then(|_| inline(&input[taken..])).map(<[u8]>::to_vec);
            let ahead_max = if armed.affects_each_request() { 1 } else { AHEAD_MAX };
            let ahead = self.decode_ahead(session, decoder, input, taken, ahead_max, scratch);
            self.sample(input, scratch);
            self.warm(input, scratch, &mut turn);
            if armed.affects_each_request() {
                self.concern(session, input, scratch, &mut turn);
            }
            let mut hold = None;
            let mut stop = None;
            let mut next = 0;
            while let Some(request) = scratch.requests.get(next) {
                let before = out.len();
                let args = args_of(input, scratch, request);
                (next, taken, commands) = (next + 1, request.end, commands + 1);
                let proto = session.proto();
                let mut sink = Sink::new(out, proto);
                let &Request { footprint, only_key, seen, .. } = request;
                let spec = request.spec.unwrap_or(&Spec::BASE);
                // Handed on by reference: the compiler would copy it anew at every call.
                let invocation = Invocation { spec, args, footprint, only_key, seen };
                if let Some((paused, until)) = pause
                    && request.spec.is_some()
                    && session.is_held_up(&self.server, &invocation, paused)
                {
                    latest = Some(spec);
                    taken = next.checked_sub(2).map_or(input_from, |i| scratch.requests[i].end);
                    commands -= 1;
                    stop = Some(Progress::Paused { until });
                    break;
                }
                // The engine has a clock of its own, and so has a function of the process.
                let is_ours = matches!(spec.run, Run::Session(_));
                let began = if is_ours { turn.pace.ticks() } else { 0 };
                let step = if request.spec.is_some() {
                    latest = Some(spec);
                    let local = session.client().local;
                    let mut bench = Bench { router: self, local, hold: &mut hold, turn: &mut turn };
                    session.admit(&self.server, &invocation, &mut bench, &mut sink)
                } else {
                    latest = Some(named(args).unwrap_or(&Spec::BASE));
                    let refusal = resolve(args).err().unwrap_or(Refusal::SYNTAX);
                    self.note_unknown(args);
                    session.turn_away(args, &refusal, &mut sink)
                };
                let (refused, ran) = (matches!(step, Step::Refused), step.has_run());
                // These two put what others write to the client into its place themselves.
                let has_delivered = matches!(step, Step::Told | Step::Exec(_));
                let done = match step {
                    Step::Told => Done::Told,
                    Step::Replied | Step::Refused | Step::Queued
                        if session.client().no_touch() == batch.no_touch =>
                    {
                        Done::Replied
                    }
                    Step::Run => match self.hold(invocation.slot(), &mut hold, &mut turn) {
                        Held::Here(held) => {
                            held.run(&invocation, turn.pace, &mut sink);
                            // Nothing below concerns the common case.
                            if session.hears_replies_only() && out.len() <= OUTPUT_LEN_MAX {
                                if session.client().is_closing() {
                                    break;
                                }
                                continue;
                            }
                            Done::Replied
                        }
                        Held::Taken => {
                            let more = &mut next;
                            let queue = match pause {
                                None => self.follow(session, &invocation, input, scratch, more),
                                Some(_) => alone(&invocation),
                            };
                            taken = scratch.requests[next - 1].end;
                            self.submit(session, Work::Each(queue), &mut turn)
                        }
                        Held::Closer => {
                            release(&mut hold, &mut turn);
                            let what = Close::Run(&invocation);
                            self.run_closely(session, &what, &mut turn, &mut sink)
                        }
                    },
                    step => match self.steer(session, step, &invocation, &mut hold, &mut turn, out)
                    {
                        Done::Replied
                            if spec.group == Group::Slotway
                                || !self.still_hold(&batch, session) =>
                        {
                            Done::NewTerms
                        }
                        done => done,
                    },
                };
                if pause.is_some() || is_of_process(spec) {
                    // It may have begun or ended one.
                    pause = self.server.pause.at(now);
                }
                if refused {
                    let id = latest.map_or(0, |spec| spec.id);
                    self.server.observer.commandstats.count(
                        batch.instrumentation.client,
                        |tally| {
                            tally.rejected(id, out.get(before + 1..).unwrap_or_default());
                        },
                    );
                } else if is_ours && ran {
                    let reply = out.get(before..).unwrap_or_default();
                    let ticks = turn.pace.ticks().wrapping_sub(began);
                    self.note(&invocation, ticks, reply, &batch);
                }
                if matches!(done, Done::Replied)
                    && session.hears_replies_only()
                    && out.len() <= OUTPUT_LEN_MAX
                {
                    if session.client().is_closing() {
                        break;
                    }
                    continue;
                }
                stop = conclude(session, done, has_delivered, before, out);
                if stop.is_some() || session.client().is_closing() {
                    break;
                }
            }
            release(&mut hold, &mut turn);
            self.settle_notes(&mut turn);
            if armed.affects_each_request() && stop.is_none() && !scratch.requests.is_empty() {
                // Each reply is late by its own time, and what counts is looked at anew.
                stop = Some(Progress::Full);
            }
            let bytes = (taken - input_from) + (out.len() - output_from.min(out.len()));
            scratch.values_are_long = bytes > LONG_BYTES * scratch.requests.len();
            if let Some(stop) = stop {
                if let (Progress::Paused { .. }, Some(line)) = (&stop, &line)
                    && taken == input_from
                {
                    input[taken..taken + line.len()].copy_from_slice(line);
                }
                decoder.rewind();
                break stop;
            }
            if session.client().is_closing() {
                break Progress::Close;
            }
            match ahead {
                Ok(Ahead::More { taken: at }) => taken = at,
                Ok(Ahead::Missing { taken: at, missing }) => {
                    taken = at;
                    break Progress::Drained { missing };
                }
                Err(error) => {
                    tracing::debug!(client = session.client().id, %error, "protocol error");
                    Sink::new(out, session.proto()).error([b"ERR ", &error.text()[..]].concat());
                    break Progress::Close;
                }
            }
        };
        self.server.stats.requests.add(commands);
        session.note_activity(now, latest);
        (taken, progress)
    }

    /// The hold of the shard that runs `slot`, kept from the command before if it was the same.
    #[inline]
    fn hold<'h, 'r>(
        &'r self,
        slot: Option<Slot>,
        hold: &'h mut Option<(usize, Hold<'r>)>,
        turn: &mut Turn<'r>,
    ) -> Held<'h, 'r> {
        let port = turn.batch.port;
        let shard = match (port, slot, &hold) {
            (Port::Node(node), ..) => self.topology.shard_of_node(node),
            (Port::Router, Some(slot), _) => self.topology.shard_of(slot),
            (Port::Router, None, Some((held, _))) => *held,
            (Port::Router, None, None) => 0,
        };
        if hold.as_ref().is_none_or(|(held, _)| *held != shard) {
            release(hold, turn);
            let Some(held) = self.shards[shard].try_hold(turn.batch) else { return Held::Taken };
            *hold = Some((shard, held));
        }
        // Sure only now that the shard is held.
        if slot.is_some_and(|slot| !self.topology.serves_directly(slot, shard, port)) {
            return Held::Closer;
        }
        hold.as_mut().map_or(Held::Taken, |(_, hold)| Held::Here(hold))
    }

    /// Where a command is to be submitted that found its shard taken.
    fn shard_for(&self, slot: Option<Slot>, port: Port) -> usize {
        match (port, slot) {
            (Port::Node(node), _) => self.topology.shard_of_node(node),
            (Port::Router, slot) => slot.map_or(0, |slot| self.topology.shard_of(slot)),
        }
    }

    /// Carries out an order of no client's: a scenario's, a test's.
    ///
    /// # Errors
    /// It cannot be; then nothing was changed.
    pub fn carry_out(
        &self,
        order: &Order,
        now: Millis,
        pace: &mut dyn Pace,
    ) -> Result<Option<u64>, Refusal> {
        self.with_hands(now, pace, |access| slotway::carry_out(order, access))
    }

    /// Ends the faults that are over at `now`, and does what a scenario has come to.
    pub fn tend_faults(&self, now: Millis, pace: &mut dyn Pace) {
        self.with_hands(now, pace, slotway::do_what_is_due);
    }

    /// Does something with the whole cluster, all of whose shards are held meanwhile.
    fn with_hands<R>(
        &self,
        now: Millis,
        pace: &mut dyn Pace,
        work: impl FnOnce(&mut slotway::ClusterAccess<'_, '_>) -> R,
    ) -> R {
        let batch = self.batch(now);
        let mut turn = Turn { batch: &batch, armed: ArmedFaults::default(), pace };
        let all: Vec<usize> = (0..self.shards.len()).collect();
        let mut holds = self.hold_each(&all, &mut turn);
        let mut shards: Vec<&mut Keyspace> =
            holds.iter_mut().map(|(_, hold)| &mut hold.engine().keyspace).collect();
        let version = self.topology.version();
        let (server, pace) = (&self.server, &mut *turn.pace);
        let result =
            work(&mut slotway::ClusterAccess { server, me: None, shards: &mut shards, now, pace });
        if self.topology.version() != version {
            self.tell_of_change(&mut holds, &mut turn);
        }
        holds.into_iter().for_each(|(_, hold)| hold.release(turn.pace));
        result
    }

    /// Counts the request that comes next, for a scenario, and has its reply be late if it is to be.
    #[cold]
    fn concern(&self, session: &Session, input: &[u8], scratch: &Scratch, turn: &mut Turn<'_>) {
        let Some(request) = scratch.requests.first() else { return };
        let named = request.spec.or_else(|| named(args_of(input, scratch, request)));
        if named.is_some_and(|spec| spec.group == Group::Slotway) {
            // Who makes faults must be able to end them.
            return;
        }
        if turn.armed.counts_requests() {
            let event = match named {
                Some(Spec { run: Run::Session(SessionCommand::Exec), .. }) => RequestKind::Exec,
                Some(spec) if spec.writes() => RequestKind::Write,
                _ => RequestKind::Request,
            };
            self.server.faults.count_request(&[RequestKind::Request, event]);
        }
        if !turn.armed.delays_replies() {
            return;
        }
        let slot = match named.map(|spec| spec.run) {
            Some(Run::Session(SessionCommand::Exec)) => session.transaction_slot(),
            _ => match request.footprint {
                Footprint::In(slot) | Footprint::Crossing { first: slot, .. } => Some(slot),
                Footprint::Anywhere => None,
            },
        };
        let node = match turn.batch.port {
            Port::Node(node) => Some(node),
            Port::Router => slot.and_then(|slot| self.topology.owner_of(slot)),
        };
        if let Some(ms) = self.server.faults.latency(turn.batch.now, node, slot) {
            turn.pace.delay_reply(ReplyDelay::For(Duration::from_millis(ms.unsigned_abs())));
        }
    }

    /// The command that found its shard taken, with those that follow it and go there too.
    fn follow(
        &self,
        session: &Session,
        invocation: &Invocation<'_>,
        input: &[u8],
        scratch: &Scratch,
        next: &mut usize,
    ) -> Queue {
        let (mut queue, mut fits) = (alone(invocation), true);
        let port = session.port();
        let shard = self.shard_for(invocation.slot(), port);
        while session.is_plain()
            && fits
            && let Some(request) = scratch.requests.get(*next)
        {
            let Some(spec) = request.spec else { break };
            let Run::Shard(_) = spec.run else { break };
            let Footprint::In(slot) = request.footprint else { break };
            if !self.topology.serves_directly(slot, shard, port) {
                break;
            }
            let args = args_of(input, scratch, request);
            let &Request { footprint, only_key, seen, .. } = request;
            fits = queue.push(&Invocation { spec, args, footprint, only_key, seen });
            *next += usize::from(fits);
        }
        queue
    }

    /// Goes on with what a shard has not done: its slot has moved, or much had to be sent first. Its
    /// replies follow what was sent for those before it.
    pub fn resume(
        &self,
        session: &mut Session,
        work: Work,
        now: i64,
        pace: &mut dyn Pace,
    ) -> Pending {
        let mut batch = self.batch(now);
        (batch.no_touch, batch.port) = (session.client().no_touch(), session.port());
        batch.instrumentation.client = session.client().id;
        let shard = self.shard_for(work.slot(), batch.port);
        let is_plain = |slot| self.topology.serves_directly(slot, shard, batch.port);
        let is_plain_work = !work.crosses() && session.database() == 0;
        if is_plain_work && work.slot().is_none_or(is_plain) {
            let client = session.client();
            return self.shards[shard].submit(client, work, session.proto(), &batch, pace);
        }
        let armed = self.server.faults.armed();
        self.resume_closely(session, work, &mut Turn { batch: &batch, armed, pace })
    }

    fn submit(&self, session: &mut Session, work: Work, turn: &mut Turn<'_>) -> Done {
        let shard = self.shard_for(work.slot(), turn.batch.port);
        if let Work::Watch(..) = work {
            session.note_guard_filed(shard, work.slot());
        }
        Done::Wait(self.shards[shard].submit(
            session.client(),
            work,
            session.proto(),
            turn.batch,
            turn.pace,
        ))
    }

    /// Does what is not a lone command on a shard.
    fn steer<'r>(
        &'r self,
        session: &mut Session,
        step: Step,
        invocation: &Invocation<'_>,
        hold: &mut Option<(usize, Hold<'r>)>,
        turn: &mut Turn<'r>,
        out: &mut Vec<u8>,
    ) -> Done {
        match step {
            Step::Replied | Step::Refused | Step::Queued | Step::Told | Step::Run => Done::Replied,
            Step::Close => Done::Close,
            Step::Sever => Done::Sever,
            Step::ServerState => {
                // It may show the client to itself.
                session.note_activity(turn.batch.now, Some(invocation.spec));
                let mut sink = Sink::new(out, session.proto());
                match invocation.spec.run {
                    Run::Server(function) => {
                        if let Some((_, hold)) = hold {
                            // It may ask who knows of what the client has just written.
                            hold.engine().propagate();
                            hold.engine().reset_timer();
                        }
                        let replica_wait =
                            self.call(session, function, invocation, &mut [], turn, &mut sink);
                        if let Some(replica_wait) = replica_wait {
                            match replica_wait.next_check(turn.batch.now) {
                                Some(_) => return Done::ReplicaWait(replica_wait),
                                None => sink.count(replica_wait.count(turn.batch.now)),
                            }
                        }
                    }
                    Run::Cluster(function) | Run::Whole(function) => {
                        release(hold, turn);
                        let numbers = match invocation.spec.run {
                            Run::Whole(_) => (0..self.shards.len()).collect(),
                            _ => self.view(session, invocation.spec.flags),
                        };
                        let mut holds = self.hold_each(&numbers, turn);
                        if session.client().is_closing() {
                            // Closed while this waited.
                            holds.into_iter().for_each(|(_, hold)| hold.release(turn.pace));
                            return Done::Sever;
                        }
                        // A replica that serves from its master's shard tells what it ran itself.
                        let replica = match (turn.batch.port, &mut holds[..]) {
                            (Port::Node(node), [(_, hold)])
                                if self.topology.is_replica(turn.batch.port) =>
                            {
                                hold.engine().swap_stats(node);
                                Some(node)
                            }
                            _ => None,
                        };
                        self.call(session, function, invocation, &mut holds, turn, &mut sink);
                        if let (Some(node), [(_, hold)]) = (replica, &mut holds[..]) {
                            hold.engine().swap_stats(node);
                        }
                        // It may have brought what somebody waits for.
                        holds.iter_mut().for_each(|(_, hold)| hold.settle(turn.pace));
                        holds.into_iter().for_each(|(_, hold)| hold.release(turn.pace));
                    }
                    Run::Shard(_) | Run::Blocks(_) | Run::Session(_) | Run::Container => {
                        sink.error(Refusal::SYNTAX);
                    }
                }
                Done::Replied
            }
            Step::Block => match self.hold(invocation.slot(), hold, turn) {
                Held::Here(held) => {
                    let mut sink = Sink::new(out, session.proto());
                    let blocked =
                        held.run_or_wait(invocation, session.client(), turn.pace, &mut sink);
                    blocked.map_or(Done::Replied, Done::Block)
                }
                Held::Taken => self.submit(session, Work::Block(Arc::new(alone(invocation))), turn),
                Held::Closer => {
                    release(hold, turn);
                    let mut sink = Sink::new(out, session.proto());
                    self.run_closely(session, &Close::Block(invocation), turn, &mut sink)
                }
            },
            Step::Across => {
                release(hold, turn);
                let mut sink = Sink::new(out, session.proto());
                self.run_across(session, invocation, turn, &mut sink)
            }
            Step::Split => {
                release(hold, turn);
                let mut sink = Sink::new(out, session.proto());
                self.run_split(session, invocation, turn, &mut sink)
            }
            Step::WatchAcross => {
                release(hold, turn);
                let mut sink = Sink::new(out, session.proto());
                self.watch_across(session, invocation, turn, &mut sink)
            }
            Step::Watch(slot) => {
                let Some(watched) = session.watched() else { return Done::Replied };
                let guard = watched.guard.clone();
                match self.hold(Some(slot), hold, turn) {
                    Held::Here(held) => {
                        let mut sink = Sink::new(out, session.proto());
                        held.engine().watch(invocation, &guard, &mut sink);
                        session.note_guard_filed(
                            self.shard_for(Some(slot), turn.batch.port),
                            Some(slot),
                        );
                        Done::Replied
                    }
                    Held::Taken => {
                        self.submit(session, Work::Watch(alone(invocation), guard), turn)
                    }
                    Held::Closer => {
                        release(hold, turn);
                        let mut sink = Sink::new(out, session.proto());
                        let what = Close::Watch(invocation, &guard);
                        self.run_closely(session, &what, turn, &mut sink)
                    }
                }
            }
            Step::Exec(transaction) if transaction.is_plain() && !turn.armed.affects_exec() => {
                match self.hold(transaction.slot, hold, turn) {
                    Held::Here(held) => {
                        let watched = transaction.watched.as_deref();
                        let mut sink = Sink::new(out, session.proto());
                        held.exec(&transaction.queue, watched, turn.pace, &mut sink);
                        transaction.recycle();
                        Done::Replied
                    }
                    Held::Taken => self.submit(session, Work::Exec(transaction), turn),
                    Held::Closer => {
                        release(hold, turn);
                        self.exec_closely(session, &transaction, turn, out)
                    }
                }
            }
            Step::Exec(transaction) => {
                release(hold, turn);
                self.exec_closely(session, &transaction, turn, out)
            }
        }
    }

    /// Has everybody whose request is pending on a shard know that the topology has changed: all
    /// shards are held.
    fn tell_of_change(&self, holds: &mut [(usize, Hold<'_>)], turn: &mut Turn<'_>) {
        if holds.len() == self.shards.len() {
            let mut engines: Vec<_> = holds.iter_mut().map(|(_, hold)| hold.engine()).collect();
            replica_links::settle(&self.server, &mut engines);
        }
        for (_, hold) in holds {
            hold.engine().unblock_moved();
        }
        let topology = &self.topology;
        let delivered = &mut |sleeper| turn.pace.delivered(sleeper);
        let serves = |port, slot| topology.serves_channel(slot, port);
        self.server.pubsub.unsubscribe_moved(serves, turn.batch.now, delivered);
    }

    /// Calls a function of the process; a panic in it stays with its command. Gives what it waits
    /// for, if it has not answered yet.
    fn call(
        &self,
        session: &Session,
        function: ServerFn,
        invocation: &Invocation<'_>,
        holds: &mut [(usize, Hold<'_>)],
        turn: &mut Turn<'_>,
        out: &mut Sink<'_>,
    ) -> Option<ReplicaWait> {
        let (before, began) = (out.len(), turn.pace.ticks());
        let (now, pace) = (turn.batch.now, &mut *turn.pace);
        let (port, mut view) = (session.port(), Vec::with_capacity(holds.len()));
        let parts = holds.iter_mut().map(|(number, hold)| {
            view.push(*number);
            let engine = hold.engine();
            engine.set_writer(invocation.spec);
            (&mut engine.keyspace, &mut engine.tally)
        });
        let (shards, tallies) = parts.unzip();
        let version = self.topology.version();
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let (server, me) = (&self.server, session.client());
            let replica_wait = None;
            let mut cx =
                ServerCx { server, me, port, shards, view, tallies, now, pace, replica_wait };
            function(&mut cx, invocation.args, out).map(|()| cx.replica_wait)
        }));
        let mut replica_wait = None;
        match outcome {
            Ok(Ok(kept)) => replica_wait = kept,
            Ok(Err(refusal)) => {
                let client = session.client().id;
                note_failed(&self.server.observer, client, invocation, &refusal);
                out.error(refusal);
            }
            Err(_panic) => {
                tracing::error!(command = %invocation.spec.full_name(), "a command panicked");
                out.truncate(before);
                out.error(Refusal::SHARD_PANIC);
                holds.iter_mut().for_each(|(_, hold)| hold.engine().keyspace.rebuild_index());
            }
        }
        holds.iter_mut().for_each(|(_, hold)| hold.engine().clear_writer());
        let ticks = turn.pace.ticks().wrapping_sub(began);
        let reply = out.buffer().get(before..).unwrap_or_default();
        self.note(invocation, ticks, reply, turn.batch);
        if self.topology.version() != version {
            self.tell_of_change(holds, turn);
        }
        replica_wait
    }

    /// Counts a command that ran on no shard, and tells of it whoever wants to know.
    fn note(&self, invocation: &Invocation<'_>, ticks: u64, reply: &[u8], batch: &BatchContext) {
        let &Invocation { spec, args, .. } = invocation;
        let (observer, instrumentation) = (&self.server.observer, &batch.instrumentation);
        observer.commandstats.count(instrumentation.client, |tally| {
            tally.ran(spec.id, ticks, instrumentation.tracks);
            if let Some((b'-', error)) = reply.split_first() {
                tally.failed(spec.id, error);
            }
        });
        if instrumentation.monitored || ticks >= instrumentation.slow_ticks {
            let (shown, client, now) =
                (spec.without_secrets(args), instrumentation.client, batch.now);
            let seen = ObservedCommand { args: shown.iter().copied(), client, now };
            if instrumentation.monitored && spec.is_shown() {
                observer.feed_monitors(seen.clone());
            }
            if ticks >= instrumentation.slow_ticks {
                observer.record_slow(seen, ticks, spec.flags & flag::FAST != 0, !spec.is_logged());
            }
        }
    }

    /// The shards that a command with these flags is shown, ascending: those of the client's port and
    /// database.
    fn view(&self, session: &Session, flags: u32) -> Vec<usize> {
        match session.port() {
            Port::Router if flags & flag::ALL_DATABASES != 0 => {
                let databases = self.topology.shards()..self.shards.len();
                self.topology.shards_of_masters().into_iter().chain(databases).collect()
            }
            Port::Router => match self.shard_of_database(session) {
                Some(shard) => vec![shard],
                None => self.topology.shards_of_masters(),
            },
            Port::Node(node) => vec![self.topology.shard_of_node(node)],
        }
    }

    /// Holds shards, which must be named in ascending order.
    fn hold_each<'r>(&'r self, shards: &[usize], turn: &mut Turn<'r>) -> Vec<(usize, Hold<'r>)> {
        shards.iter().map(|&shard| (shard, self.hold_one(shard, turn))).collect()
    }

    fn hold_one<'r>(&'r self, shard: usize, turn: &mut Turn<'r>) -> Hold<'r> {
        let (shard, batch) = (&self.shards[shard], turn.batch);
        let mut hold = shard.try_hold(batch);
        if hold.is_none() {
            turn.pace.outside(&mut || hold = Some(shard.hold(batch)));
            if let Some(hold) = &mut hold {
                hold.engine().advance(turn.pace.now());
            }
        }
        hold.unwrap_or_else(|| shard.hold(batch))
    }
}

/// Whether a command may change what holds for the process.
fn is_of_process(spec: &Spec) -> bool {
    matches!(spec.run, Run::Server(_) | Run::Cluster(_) | Run::Whole(_) | Run::Session(_))
}

/// Ends a request that was done with otherwise than by a plain reply: what the client does not want to see
/// goes, what others have written to it meanwhile comes before the reply, which begins at `before`. Gives why
/// the turn stops here, if it does.
fn conclude(
    session: &mut Session,
    done: Done,
    has_delivered: bool,
    before: usize,
    out: &mut Vec<u8>,
) -> Option<Progress> {
    let muted = session.is_muted() && !matches!(done, Done::Told);
    if muted {
        out.truncate(before);
    }
    if session.listens() && !has_delivered {
        session.insert_pushes_before(before, out);
    }
    session.settle();
    match done {
        Done::Replied | Done::Told if out.len() > OUTPUT_LEN_MAX => Some(Progress::Full),
        Done::Replied | Done::Told => None,
        Done::NewTerms if session.client().is_closing() => Some(Progress::Close),
        Done::NewTerms => Some(Progress::Full),
        Done::Wait(mut pending) => match pending.try_recv() {
            Ok(served) => {
                if !muted {
                    out.extend_from_slice(&served.replies);
                }
                let block = |blocked| Progress::Block { blocked, muted };
                let rest = |rest| Progress::Rest(rest, muted);
                served.blocked.map(block).or(served.rest.map(rest))
            }
            Err(_) => Some(Progress::Wait { pending, muted }),
        },
        Done::Block(blocked) => Some(Progress::Block { blocked, muted }),
        Done::ReplicaWait(replica_wait) => {
            Some(Progress::ReplicaWait { replica_wait: Box::new(replica_wait), muted })
        }
        Done::Close => Some(Progress::Close),
        Done::Sever => Some(Progress::Sever),
    }
}

/// A queue of one.
fn alone(invocation: &Invocation<'_>) -> Queue {
    let mut queue = Queue::default();
    let fits = queue.push(invocation);
    debug_assert!(fits, "one request fits an empty queue");
    queue
}

/// The inline request at the front of `input`, if there is one: decoding unquotes it in place, so
/// that it has to be put back when it is held up.
fn inline(input: &[u8]) -> Option<&[u8]> {
    let first = input.first()?;
    (*first != b'*').then(|| &input[..input.iter().position(|b| *b == b'\n').unwrap_or(0)])
}

fn release(hold: &mut Option<(usize, Hold<'_>)>, turn: &mut Turn<'_>) {
    if let Some((_, hold)) = hold.take() {
        hold.release(turn.pace);
    }
}
