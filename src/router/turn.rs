//! One turn of a connection: runs the received requests one after the other, until no whole request
//! is left, the connection has to wait, or other connections are due.

use super::Router;
use super::gate::TurnGate;
use super::held::KeptHold;
use super::pipeline::{AHEAD_MAX, Ahead, LONG_BYTES, Scratch, args_of};
use super::placement::Direct;
use crate::command::{
    Args, Commands, Group, Invocation, Pace, Refusal, Run, SessionCommand, Spec, named,
};
use crate::keyspace::Millis;
use crate::resp::{Decoder, Sink};
use crate::session::{OwnedUnit, Reply, Scope, Session, Step, Unit};
use crate::shard::{OUTPUT_LEN_MAX, Outcome, Pending, Turn, WaitFor, execute};
use crate::state::Paused;
use crate::state::clients::Traffic;
use crate::topology::Port;

/// The input and the output of a turn.
pub struct TurnIo<'t> {
    /// The decoding progress of the first request of `input`.
    pub decoder: &'t mut Decoder,
    /// The bytes that the client has sent.
    pub input: &'t mut [u8],
    /// Memory for the requests.
    pub scratch: &'t mut Scratch,
    /// The output that replies are appended to.
    pub out: &'t mut Vec<u8>,
}

/// The progress of a turn.
#[derive(Default)]
struct Progress {
    /// Bytes of the input whose requests are complete.
    taken: usize,
    commands: u64,
    /// The row of the last command.
    latest: Option<&'static Spec>,
    /// The kind of requests that CLIENT PAUSE holds up, and until when.
    pause: Option<(Paused, Millis)>,
}

impl Router {
    /// Runs the requests at the front of the input and appends their replies to the output. Returns
    /// how many bytes were consumed and why it stopped. Nothing begins for a client that was
    /// closed.
    pub fn process(
        &self,
        session: &mut Session,
        mut io: TurnIo<'_>,
        now: Millis,
        pace: &dyn Pace,
    ) -> (usize, Outcome) {
        if session.client().is_closing() {
            return (0, Outcome::Sever);
        }
        let armed = self.server.faults.armed();
        if armed.hangs_nodes()
            && let Port::Node(node) = session.port()
            && self.server.faults.stopped(node) == Some(true)
        {
            return (0, Outcome::wait(WaitFor::Node(node)));
        }
        let turn = Turn { batch: self.batch_of(session, now), armed, pace };
        let mut progress = Progress::default();
        let outcome = loop {
            if let Some(outcome) = self.run_round(session, &mut io, &turn, &mut progress) {
                break outcome;
            }
        };
        session.node().stats.add(|it| &it.requests, progress.commands);
        if self.server.nodes.tracking_is_due() {
            self.settle_tracking(session, &turn, &outcome, io.out);
        }
        let traffic = Traffic {
            bytes_in: progress.taken as u64,
            bytes_out: io.out.len() as u64,
            commands: progress.commands,
        };
        session.note_activity(now, progress.latest, traffic);
        (progress.taken, outcome)
    }

    /// Notifies the clients that track prefixes of the keys that have changed in this turn; its own
    /// client behind its replies.
    #[cold]
    fn settle_tracking(
        &self,
        session: &Session,
        turn: &Turn<'_>,
        outcome: &Outcome,
        out: &mut Vec<u8>,
    ) {
        let delivered = &mut |sleeper| turn.pace.delivered(sleeper);
        self.server.nodes.settle_tracking(turn.batch.now, delivered);
        if !matches!(outcome, Outcome::Wait { .. }) {
            session.append_invalidations(out);
        }
    }

    /// Decodes some requests ahead and runs them; returns why the turn stops, if it does.
    #[inline]
    fn run_round(
        &self,
        session: &mut Session,
        io: &mut TurnIo<'_>,
        turn: &Turn<'_>,
        progress: &mut Progress,
    ) -> Option<Outcome> {
        let TurnIo { decoder, input, scratch, out } = io;
        let (input_from, output_from) = (progress.taken, out.len());
        progress.pause = session.node().pause.at(turn.batch.now);
        let line = progress.pause.and_then(|_| inline(&input[input_from..])).map(<[u8]>::to_vec);
        let each = turn.armed.affects_each_request();
        let ahead_max = if each { 1 } else { AHEAD_MAX };
        let ahead = self.decode_ahead(session, decoder, input, input_from, ahead_max, scratch);
        self.sample(session.node(), input, scratch);
        self.probe_keys(input, scratch, turn);
        if each {
            self.inject_faults(session, input, scratch, turn);
        }
        let mut stop = self.run_requests(session, input, scratch, turn, progress, out);
        self.flush_notes(session.node(), turn);
        if each && stop.is_none() && !scratch.requests.is_empty() {
            // Each reply is delayed by its own time, and scenarios count each request.
            stop = Some(Outcome::Flush);
        }
        let bytes = (progress.taken - input_from) + (out.len() - output_from.min(out.len()));
        scratch.values_are_long = bytes > LONG_BYTES * scratch.requests.len();
        if let Some(stop) = stop {
            if let (Outcome::Wait { wait: WaitFor::Pause(_), .. }, Some(line)) = (&stop, &line)
                && progress.taken == input_from
            {
                input[input_from..input_from + line.len()].copy_from_slice(line);
            }
            decoder.rewind();
            return Some(stop);
        }
        if session.client().is_closing() {
            return Some(Outcome::Close);
        }
        match ahead {
            Ok(Ahead::More { taken }) => {
                progress.taken = taken;
                None
            }
            Ok(Ahead::Missing { taken, missing }) => {
                progress.taken = taken;
                Some(Outcome::Drained { missing })
            }
            Err(error) => {
                tracing::debug!(client = session.client().id, %error, "protocol error");
                Sink::new(out, session.proto()).error([b"ERR ", &error.text()[..]].concat());
                Some(Outcome::Close)
            }
        }
    }

    /// Runs the decoded requests; returns why the turn stops, if it does.
    #[inline]
    fn run_requests(
        &self,
        session: &mut Session,
        input: &[u8],
        scratch: &Scratch,
        turn: &Turn<'_>,
        progress: &mut Progress,
        out: &mut Vec<u8>,
    ) -> Option<Outcome> {
        let mut kept = None;
        let (mut next, mut latest, mut pause) = (0, progress.latest, progress.pause);
        let (mut taken, mut held_up) = (progress.taken, 0);
        let stop = loop {
            let Some(request) = scratch.requests.get(next) else { break None };
            let (before, taken_before) = (out.len(), taken);
            next += 1;
            taken = request.end;
            let args = args_of(input, scratch, request);
            latest = request.spec.or(latest);
            let (outcome, reply) = match request.spec {
                None => {
                    latest = Some(named(args).unwrap_or(&Spec::BASE));
                    self.refuse_request(session, args, turn, out)
                }
                Some(spec) => {
                    let invocation = request.invocation(spec, args);
                    if pause.is_some() || !session.runs_directly(&invocation) {
                        self.run_admitted(session, &invocation, &mut kept, turn, &mut pause, out)
                    } else {
                        match self.hold_directly(invocation.slot(), &mut kept, turn) {
                            Direct::Held(hold) => {
                                hold.run(&invocation, &mut Sink::new(out, session.proto()));
                                (Outcome::Replied, Reply::Done)
                            }
                            Direct::Elsewhere(shard) => {
                                let plain = (session.port(), shard, session.is_plain());
                                let queue =
                                    self.gather(plain, &invocation, input, scratch, &mut next);
                                taken = scratch.requests[next - 1].end;
                                let unit = OwnedUnit::Commands(queue);
                                (self.submit(session, shard, unit, turn), Reply::Done)
                            }
                            Direct::Unclear => {
                                kept = None;
                                let scope = Scope::Slot(invocation.slot());
                                let unit = Unit::Command(&invocation);
                                (
                                    self.run_placed(session, (&unit, true), scope, turn, out),
                                    Reply::Done,
                                )
                            }
                        }
                    }
                }
            };
            if matches!(outcome, Outcome::Replied)
                && session.hears_replies_only()
                && out.len() <= OUTPUT_LEN_MAX
            {
                if session.client().is_closing() {
                    break None;
                }
                continue;
            }
            if let Outcome::Wait { wait: WaitFor::Pause(_), .. } = outcome {
                (taken, held_up) = (taken_before, 1);
                break Some(outcome);
            }
            let stop = conclude(session, outcome, reply, before, out);
            if stop.is_some() || session.client().is_closing() {
                break stop;
            }
        };
        progress.commands += (next - held_up) as u64;
        (progress.taken, progress.latest) = (taken, latest);
        stop
    }

    /// Refuses a request that fits no row.
    fn refuse_request(
        &self,
        session: &mut Session,
        args: Args<'_>,
        turn: &Turn<'_>,
        out: &mut Vec<u8>,
    ) -> (Outcome, Reply) {
        let refusal =
            Commands::of(turn.batch.product).resolve(args).err().unwrap_or(Refusal::SYNTAX);
        let before = out.len();
        let mut sink = Sink::new(out, session.proto());
        let step = session.refuse_unknown(&self.server, args, &refusal, &mut sink);
        match step {
            Step::Replied(reply) => {
                self.note_refused(named(args), &out[before..], turn);
                (Outcome::Replied, reply)
            }
            _ => (Outcome::Sever, Reply::Done),
        }
    }

    /// Runs a request as the session admits it.
    #[inline]
    fn run_admitted<'r>(
        &'r self,
        session: &mut Session,
        invocation: &Invocation<'_>,
        kept: &mut KeptHold<'r>,
        turn: &'r Turn<'r>,
        pause: &mut Option<(Paused, Millis)>,
        out: &mut Vec<u8>,
    ) -> (Outcome, Reply) {
        let between = session.between_databases(invocation);
        let invocation = between.as_ref().unwrap_or(invocation);
        let (spec, before) = (invocation.spec, out.len());
        let is_of_session = matches!(spec.run, Run::Session(_)) || session.gets_pong(invocation);
        // The engine has a timer of its own, and so have commands of the process.
        let began = if is_of_session { turn.pace.ticks() } else { 0 };
        let paused = pause.map(|(paused, _)| paused);
        let local = session.client().local;
        let mut gate = TurnGate { router: self, local, kept: &mut *kept, turn };
        let mut sink = Sink::new(out, session.proto());
        let step = session.admit(&self.server, invocation, &mut gate, paused, &mut sink);
        if let (Step::Pause, Some((_, until))) = (&step, *pause) {
            return (Outcome::wait(WaitFor::Pause(until)), Reply::Done);
        }
        let has_run = step.has_run();
        let ran = !matches!(step, Step::Replied(_));
        let mut reply = Reply::Done;
        let mut outcome = match step {
            Step::Replied(kind) => {
                reply = kind;
                Outcome::Replied
            }
            Step::Run(unit, scope) => {
                if let Unit::Exec(_) = unit {
                    reply = Reply::Exec;
                }
                self.run_unit(session, unit, scope, kept, turn, out)
            }
            Step::Split => {
                *kept = None;
                session.node().observer.recorder.divided();
                self.run_split(session, invocation, turn, out)
            }
            Step::Process => {
                let mut sink = Sink::new(out, session.proto());
                self.run_process_command(session, invocation, kept, turn, &mut sink)
            }
            Step::Pause | Step::Close => Outcome::Close,
            Step::Sever => Outcome::Sever,
        };
        if let (Run::Session(SessionCommand::ClientTracking), Some((_, hold))) = (spec.run, kept) {
            // Changes of keys may be wanted from now on.
            hold.engine().read_settings();
        }
        if matches!(spec.run, Run::Server(_) | Run::Cluster(_) | Run::Whole(_) | Run::Session(_)) {
            // It may have begun or ended a pause.
            *pause = session.node().pause.at(turn.batch.now);
        }
        match reply {
            Reply::Refused => self.note_refused(Some(spec), &out[before..], turn),
            _ if is_of_session && has_run => {
                let ticks = turn.pace.ticks().wrapping_sub(began);
                let written = out.get(before..).unwrap_or_default();
                self.note_command(invocation, ticks, written, &turn.batch);
            }
            _ => {}
        }
        if matches!(outcome, Outcome::Replied) && !self.still_holds(session, spec, ran, turn) {
            outcome = Outcome::Flush;
        }
        (outcome, reply)
    }

    /// Runs a unit on its slot's shard, or, if that cannot run it, where it is placed.
    fn run_unit<'r>(
        &'r self,
        session: &mut Session,
        unit: Unit<'_>,
        scope: Scope,
        kept: &mut KeptHold<'r>,
        turn: &'r Turn<'r>,
        out: &mut Vec<u8>,
    ) -> Outcome {
        let is_direct = match &unit {
            Unit::Exec(transaction) => transaction.is_plain() && !turn.armed.affects_exec(),
            _ => true,
        };
        if let Scope::Slot(slot) = scope
            && is_direct
        {
            match self.hold_directly(slot, kept, turn) {
                Direct::Held(hold) => {
                    let mut sink = Sink::new(out, session.proto());
                    let mut running = hold.running(session.client());
                    let outcome = execute(&unit, &mut running, &mut sink);
                    let shard = running.engine.number();
                    match unit {
                        Unit::Watch(..) => session.note_guard_filed(shard, slot),
                        Unit::Exec(transaction) => transaction.recycle(),
                        Unit::Command(_) | Unit::Blocking(_) => {}
                    }
                    return outcome;
                }
                Direct::Elsewhere(shard) => {
                    return self.submit(session, shard, unit.into_owned(), turn);
                }
                Direct::Unclear => {}
            }
        }
        *kept = None;
        self.run_placed(session, (&unit, true), scope, turn, out)
    }

    /// Submits a unit to a shard that another turn holds, or that another process runs.
    fn submit(
        &self,
        session: &mut Session,
        shard: usize,
        unit: OwnedUnit,
        turn: &Turn<'_>,
    ) -> Outcome {
        if let OwnedUnit::Watch(..) = unit {
            session.note_guard_filed(shard, unit.slot());
        }
        Outcome::wait(WaitFor::Shard(self.submit_to(session, shard, unit, turn)))
    }

    fn submit_to(
        &self,
        session: &Session,
        shard: usize,
        unit: OwnedUnit,
        turn: &Turn<'_>,
    ) -> Pending {
        let (client, proto) = (session.client(), session.proto());
        let (batch, pace) = (&turn.batch, turn.pace);
        match self.remotes.get(&shard) {
            Some(remote) => remote.submit(client, unit, proto, batch),
            None => self.shards[shard].submit(client, unit, proto, batch, pace),
        }
    }

    /// Continues a unit that a shard has not finished: its slot has moved, or much output had to be
    /// sent first. Its replies follow those that were sent before.
    pub fn resume(
        &self,
        session: &mut Session,
        unit: OwnedUnit,
        now: Millis,
        pace: &dyn Pace,
    ) -> Pending {
        let batch = self.batch_of(session, now);
        let turn = &Turn { batch, armed: self.server.faults.armed(), pace };
        let shard = self.shard_for(unit.slot(), batch.port);
        let is_direct = |slot| self.topology.serves_directly(slot, shard, batch.port);
        match unit.scope(session.database()) {
            Scope::Slot(slot) if slot.is_none_or(is_direct) => {
                if let OwnedUnit::Watch(..) = unit {
                    session.note_guard_filed(shard, unit.slot());
                }
                self.submit_to(session, shard, unit, turn)
            }
            _ => self.resume_placed(session, unit, turn),
        }
    }

    /// Counts a request that was refused before it ran or was queued.
    #[cold]
    fn note_refused(&self, spec: Option<&Spec>, reply: &[u8], turn: &Turn<'_>) {
        let client = turn.batch.instrumentation.client;
        self.server.node(turn.batch.port).observer.commandstats.count(client, |tally| {
            tally.rejected(spec.map_or(0, |spec| spec.id), reply.get(1..).unwrap_or_default());
        });
    }

    /// Returns whether a turn may keep its batch context after a command that may have changed the
    /// state it was read from; `ran` if it was more than a reply of the session.
    fn still_holds(&self, session: &Session, spec: &Spec, ran: bool, turn: &Turn<'_>) -> bool {
        let (client, batch) = (session.client(), turn.batch);
        let reader = client.constant_reader_number();
        if client.no_touch() != batch.no_touch || reader != batch.instrumentation.reader {
            return false;
        }
        // What a hold of a shard reads again is not compared: whole commands end the present one.
        let observed = || session.node().observer.instrumentation(client.id);
        !ran || (spec.group != Group::Slotway
            && observed().with_reader(reader) == batch.instrumentation)
    }
}

/// Ends a request that needed more than a plain reply. Drops the reply if the client has muted it;
/// moves messages from other clients before the reply, which begins at `before`. Returns why the
/// turn stops here, if it does.
fn conclude(
    session: &mut Session,
    outcome: Outcome,
    reply: Reply,
    before: usize,
    out: &mut Vec<u8>,
) -> Option<Outcome> {
    let muted = session.is_muted() && reply != Reply::Always;
    if muted {
        out.truncate(before);
    }
    if session.listens() && !matches!(reply, Reply::Always | Reply::Exec) {
        session.insert_pushes_before(before, out);
    }
    session.end_request();
    if !matches!(outcome, Outcome::Wait { .. }) {
        session.append_invalidations(out);
    }
    match outcome {
        Outcome::Replied if out.len() > OUTPUT_LEN_MAX => Some(Outcome::Flush),
        Outcome::Replied => None,
        Outcome::Flush if session.client().is_closing() => Some(Outcome::Close),
        Outcome::Wait { wait: WaitFor::Shard(mut pending), .. } => match pending.try_recv() {
            Ok(served) => {
                if !muted {
                    out.extend_from_slice(&served.replies);
                }
                if served.then.is_none() {
                    session.append_invalidations(out);
                }
                served.then.map(|wait| Outcome::Wait { wait, muted })
            }
            Err(_) => Some(Outcome::Wait { wait: WaitFor::Shard(pending), muted }),
        },
        Outcome::Wait { wait, .. } => Some(Outcome::Wait { wait, muted }),
        outcome => Some(outcome),
    }
}

/// Returns the inline request at the front of `input`, if there is one: decoding unquotes it in
/// place, so that it has to be put back when it is held up.
fn inline(input: &[u8]) -> Option<&[u8]> {
    let first = input.first()?;
    (*first != b'*').then(|| &input[..input.iter().position(|b| *b == b'\n').unwrap_or(0)])
}
