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
//! shards is the client's. What needs all shards holds them in ascending order, and where it must
//! wait for one it does so away from the runtime's workers.

mod ahead;

pub use ahead::Scratch;

use crate::command::{HostCx, HostFn, Invocation, Pace, Queue, Refusal, Run, Spec, named, resolve};
use crate::host::Host;
use crate::keyspace::{KeyHasher, Keyspace};
use crate::resp::{Decoder, Sink};
use crate::session::{Reach, Session, Step, Transaction};
use crate::shard::engine::{Engine, Terms};
use crate::shard::{Hold, OUTPUT_LEN_MAX, Pending, Shard, Work};
use crate::slot::{Footprint, Slot};
use crate::topology::Topology;
use ahead::{Ahead, LONG_BYTES, Request, args_of};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// What a client that has yet to authenticate may leave unread, in bytes.
pub const UNAUTHENTICATED_OUTPUT_MAX: usize = 17 * 1024;

/// All shards behind one endpoint.
#[derive(Debug)]
pub struct Router {
    /// The process: settings, clients, counters.
    pub host: Host,
    topology: Topology,
    shards: Vec<Arc<Shard>>,
    /// The hash that every shard's tables use.
    hasher: KeyHasher,
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
    /// There is much output: send it, then [`Router::resume`] these commands, then come again.
    Rest(Box<Queue>),
    /// Send the output, then close.
    Close,
    /// Close at once.
    Sever,
}

/// What one request came to.
enum Done {
    Replied,
    /// The reply is written; the terms do not hold for what follows.
    NewTerms,
    Wait(Pending),
    Close,
    Sever,
}

/// What a turn works with besides the session.
struct Turn<'t> {
    terms: &'t Terms,
    pace: &'t mut dyn Pace,
}

impl Router {
    /// A router over fresh, empty shards. `seed` is where all chance comes from.
    #[must_use]
    pub fn new(host: Host, topology: Topology, seed: u64) -> Self {
        let hasher = KeyHasher::new(seed);
        let shards = (0..topology.shards())
            .map(|shard| {
                let seed = seed.wrapping_add(shard as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
                Shard::new(Engine::new(Keyspace::new(
                    topology.slots_of(shard),
                    hasher.clone(),
                    seed,
                )))
            })
            .collect();
        Self { host, topology, shards, hasher }
    }

    /// The shards, in the order of the topology.
    #[must_use]
    pub fn shards(&self) -> &[Arc<Shard>] {
        &self.shards
    }

    /// What holds for a batch that begins at `now`, by the settings of this moment.
    #[must_use]
    pub fn terms(&self, now: i64) -> Terms {
        let settings = &self.host.settings;
        let (string_len_max, pack) = (settings.bulk_len_max(), settings.pack_limits());
        Terms { now, string_len_max, pack, no_touch: false }
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
        let terms = Terms { no_touch: session.client().no_touch(), ..self.terms(now) };
        let mut turn = Turn { terms: &terms, pace };
        let (mut taken, mut commands, mut latest) = (0, 0, None);
        let progress = loop {
            let (input_from, output_from) = (taken, out.len());
            let ahead = self.decode_ahead(session, decoder, input, taken, scratch);
            self.warm(input, scratch, &mut turn);
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
                let step = if request.spec.is_some() {
                    latest = Some(spec);
                    session.admit(&self.host, &invocation, &mut sink)
                } else {
                    latest = Some(named(args).unwrap_or(&Spec::BASE));
                    let refusal = resolve(args).err().unwrap_or(Refusal::SYNTAX);
                    session.turn_away(args, &refusal, &mut sink)
                };
                let done = match step {
                    Step::Replied if session.client().no_touch() == terms.no_touch => Done::Replied,
                    Step::Run => match self.hold(invocation.slot(), &mut hold, &mut turn) {
                        Some(held) => {
                            held.run(&invocation, turn.pace, &mut sink);
                            // Nothing below concerns the common case.
                            if session.hears_all() && out.len() <= OUTPUT_LEN_MAX {
                                if session.client().is_closing() {
                                    break;
                                }
                                continue;
                            }
                            Done::Replied
                        }
                        None => {
                            let queue =
                                self.follow(session, &invocation, input, scratch, &mut next);
                            taken = scratch.requests[next - 1].end;
                            self.submit(session, invocation.slot(), Work::Each(queue), &mut turn)
                        }
                    },
                    step => match self.steer(session, step, &invocation, &mut hold, &mut turn, out)
                    {
                        Done::Replied if session.client().no_touch() != terms.no_touch => {
                            Done::NewTerms
                        }
                        done => done,
                    },
                };
                if matches!(done, Done::Replied)
                    && session.hears_all()
                    && out.len() <= OUTPUT_LEN_MAX
                {
                    if session.client().is_closing() {
                        break;
                    }
                    continue;
                }
                let muted = session.is_muted();
                if muted {
                    out.truncate(before);
                }
                session.settle();
                stop = match done {
                    Done::Replied if out.len() > OUTPUT_LEN_MAX => Some(Progress::Full),
                    Done::Replied => None,
                    Done::NewTerms => Some(Progress::Full),
                    Done::Wait(mut pending) => match pending.try_recv() {
                        Ok(served) => {
                            if !muted {
                                out.extend_from_slice(&served.replies);
                            }
                            served.rest.map(Progress::Rest)
                        }
                        Err(_) => Some(Progress::Wait { pending, muted }),
                    },
                    Done::Close => Some(Progress::Close),
                    Done::Sever => Some(Progress::Sever),
                };
                if stop.is_some() || session.client().is_closing() {
                    break;
                }
            }
            release(&mut hold, &mut turn);
            let bytes = (taken - input_from) + (out.len() - output_from.min(out.len()));
            scratch.values_are_long = bytes > LONG_BYTES * scratch.requests.len();
            if let Some(stop) = stop {
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
        self.host.stats.commands.add(commands);
        session.record(now, latest);
        (taken, progress)
    }

    /// The hold of the shard that runs `slot`, kept from the command before if it was the same.
    fn hold<'h, 'r>(
        &'r self,
        slot: Option<Slot>,
        hold: &'h mut Option<(usize, Hold<'r>)>,
        turn: &mut Turn<'r>,
    ) -> Option<&'h mut Hold<'r>> {
        let shard = match (slot, &hold) {
            (Some(slot), _) => self.topology.shard_of(slot),
            (None, Some((held, _))) => *held,
            (None, None) => 0,
        };
        if hold.as_ref().is_none_or(|(held, _)| *held != shard) {
            release(hold, turn);
            *hold = Some((shard, self.shards[shard].try_hold(turn.terms)?));
        }
        hold.as_mut().map(|(_, hold)| hold)
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
        let mut queue = Queue::default();
        let mut fits = queue.push(invocation);
        debug_assert!(fits, "one request fits an empty queue");
        let shard = invocation.slot().map(|slot| self.topology.shard_of(slot));
        while session.is_plain()
            && fits
            && let Some(request) = scratch.requests.get(*next)
        {
            let Some(spec) = request.spec else { break };
            let Run::Shard(_) = spec.run else { break };
            let Footprint::In(slot) = request.footprint else { break };
            if Some(self.topology.shard_of(slot)) != shard {
                break;
            }
            let args = args_of(input, scratch, request);
            let &Request { footprint, only_key, seen, .. } = request;
            fits = queue.push(&Invocation { spec, args, footprint, only_key, seen });
            *next += usize::from(fits);
        }
        queue
    }

    /// Goes on with commands that each stand alone and belong to one shard; their replies follow
    /// what was sent for those before them.
    pub fn resume(&self, session: &Session, rest: Queue, now: i64, pace: &mut dyn Pace) -> Pending {
        let terms = self.terms(now);
        let slot = rest.iter().next().and_then(|invocation| invocation.slot());
        let shard = slot.map_or(0, |slot| self.topology.shard_of(slot));
        self.shards[shard].submit(session.client(), Work::Each(rest), session.proto(), &terms, pace)
    }

    fn submit(
        &self,
        session: &Session,
        slot: Option<Slot>,
        work: Work,
        turn: &mut Turn<'_>,
    ) -> Done {
        let shard = slot.map_or(0, |slot| self.topology.shard_of(slot));
        Done::Wait(self.shards[shard].submit(
            session.client(),
            work,
            session.proto(),
            turn.terms,
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
            Step::Replied | Step::Run => Done::Replied,
            Step::Close => Done::Close,
            Step::Sever => Done::Sever,
            Step::Host => {
                // It may show the client to itself.
                session.record(turn.terms.now, Some(invocation.spec));
                let mut sink = Sink::new(out, session.proto());
                match invocation.spec.run {
                    Run::Host(function) => {
                        self.call(session, function, invocation, Vec::new(), turn, &mut sink);
                    }
                    Run::Cluster(function) => {
                        release(hold, turn);
                        let mut holds = self.hold_all(turn);
                        if session.client().is_closing() {
                            // Closed while this waited.
                            holds.into_iter().for_each(|hold| hold.release(turn.pace));
                            return Done::Sever;
                        }
                        let shards = holds.iter_mut().map(|h| &mut h.engine().keyspace).collect();
                        self.call(session, function, invocation, shards, turn, &mut sink);
                        holds.into_iter().for_each(|hold| hold.release(turn.pace));
                    }
                    Run::Shard(_) | Run::Session(_) | Run::Container => sink.error(Refusal::SYNTAX),
                }
                Done::Replied
            }
            Step::Watch(slot) => {
                let Some(watched) = session.watched() else { return Done::Replied };
                match self.hold(Some(slot), hold, turn) {
                    Some(held) => {
                        let mut sink = Sink::new(out, session.proto());
                        held.engine().watch(invocation, slot, &watched.guard, &mut sink);
                        Done::Replied
                    }
                    None => {
                        let mut queue = Queue::default();
                        let fits = queue.push(invocation);
                        debug_assert!(fits, "one request fits an empty queue");
                        let work = Work::Watch(queue, slot, watched.guard.clone());
                        self.submit(session, Some(slot), work, turn)
                    }
                }
            }
            Step::Exec(transaction) if transaction.reach == Reach::Shard => {
                let slot = transaction.slot;
                match self.hold(slot, hold, turn) {
                    Some(held) => {
                        let watched = transaction.watched.as_deref();
                        let mut sink = Sink::new(out, session.proto());
                        held.exec(&transaction.queue, watched, turn.pace, &mut sink);
                        transaction.recycle();
                        Done::Replied
                    }
                    None => {
                        let Transaction { queue, watched, .. } = *transaction;
                        self.submit(session, slot, Work::Exec(queue, watched), turn)
                    }
                }
            }
            Step::Exec(transaction) => {
                release(hold, turn);
                self.exec_wide(session, &transaction, turn, out)
            }
        }
    }

    /// Runs a transaction that touches more than its shard: the session, the process, all shards.
    fn exec_wide<'r>(
        &'r self,
        session: &mut Session,
        transaction: &Transaction,
        turn: &mut Turn<'r>,
        out: &mut Vec<u8>,
    ) -> Done {
        let pinned = transaction.slot.map_or(0, |slot| self.topology.shard_of(slot));
        let (mut holds, own) = match transaction.reach {
            Reach::Cluster => (self.hold_all(turn), pinned),
            Reach::Shard | Reach::Host => (vec![self.hold_one(pinned, turn)], 0),
        };
        if session.client().is_closing() {
            // Closed while this waited.
            holds.into_iter().for_each(|hold| hold.release(turn.pace));
            return Done::Sever;
        }
        let mut sink = Sink::new(out, session.proto());
        if holds[own].engine().is_lost(transaction.watched.as_deref()) {
            sink.null_array();
        } else {
            sink.array(transaction.queue.len());
            for invocation in transaction.queue.iter() {
                match invocation.spec.run {
                    Run::Shard(_) => {
                        // A command before this one may have changed it.
                        holds[own].engine().keyspace.no_touch = session.client().no_touch();
                        holds[own].run(&invocation, turn.pace, &mut sink);
                    }
                    Run::Host(function) => {
                        self.call(session, function, &invocation, Vec::new(), turn, &mut sink);
                    }
                    Run::Cluster(function) => {
                        let shards = holds.iter_mut().map(|h| &mut h.engine().keyspace).collect();
                        self.call(session, function, &invocation, shards, turn, &mut sink);
                    }
                    Run::Session(steer) => {
                        session.steer_queued(&self.host, steer, invocation.args, &mut sink);
                    }
                    Run::Container => sink.error(Refusal::SYNTAX),
                }
            }
        }
        holds.into_iter().for_each(|hold| hold.release(turn.pace));
        Done::Replied
    }

    /// Calls a function of the process; a panic in it stays with its command.
    fn call(
        &self,
        session: &Session,
        function: HostFn,
        invocation: &Invocation<'_>,
        shards: Vec<&mut Keyspace>,
        turn: &mut Turn<'_>,
        out: &mut Sink<'_>,
    ) {
        let before = out.len();
        let (now, pace) = (turn.terms.now, &mut *turn.pace);
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let mut cx = HostCx { host: &self.host, me: session.client(), shards, now, pace };
            function(&mut cx, invocation.args, out)
        }));
        match outcome {
            Ok(Ok(())) => {}
            Ok(Err(refusal)) => out.error(refusal),
            Err(_panic) => {
                tracing::error!(command = %invocation.spec.full_name(), "a command panicked");
                out.truncate(before);
                out.error(Refusal::SHARD_PANIC);
            }
        }
    }

    fn hold_all<'r>(&'r self, turn: &mut Turn<'r>) -> Vec<Hold<'r>> {
        (0..self.shards.len()).map(|shard| self.hold_one(shard, turn)).collect()
    }

    fn hold_one<'r>(&'r self, shard: usize, turn: &mut Turn<'r>) -> Hold<'r> {
        let (shard, terms) = (&self.shards[shard], turn.terms);
        let mut hold = shard.try_hold(terms);
        if hold.is_none() {
            turn.pace.outside(&mut || hold = Some(shard.hold(terms)));
            if let Some(hold) = &mut hold {
                hold.engine().keyspace.begin(turn.pace.now());
            }
        }
        hold.unwrap_or_else(|| shard.hold(terms))
    }
}

fn release(hold: &mut Option<(usize, Hold<'_>)>, turn: &mut Turn<'_>) {
    if let Some((_, hold)) = hold.take() {
        hold.release(turn.pace);
    }
}
