//! Runs a request as the session admits it, and the unit that it makes up.

use super::Router;
use super::gate::TurnGate;
use super::held::KeptHold;
use super::placement::Direct;
use crate::command::{Group, Invocation, Pace, Run, SessionCommand, Spec};
use crate::keyspace::Millis;
use crate::resp::Sink;
use crate::session::{OwnedUnit, Reply, Scope, Session, Step, Unit};
use crate::shard::{Outcome, Pending, Turn, WaitFor, count_request, execute};
use crate::state::Paused;

impl Router {
    /// Runs a request as the session admits it.
    #[inline]
    pub(super) fn run_admitted<'r>(
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
            turn.forget();
        }
        if matches!(spec.run, Run::Server(_) | Run::Cluster(_) | Run::Whole(_) | Run::Session(_)) {
            // It may have begun or ended a pause.
            *pause = session.node().pause.at(turn.batch.now);
        }
        match reply {
            Reply::Refused => self.note_refused(Some(spec), &out[before..], turn),
            Reply::Queued if turn.batch.instrumentation.counts_slots => {
                count_request(&session.node().observer, invocation, 0, 0);
            }
            _ if is_of_session && has_run => {
                let ticks = turn.pace.ticks().wrapping_sub(began);
                let written = out.get(before..).unwrap_or_default();
                self.note_command(invocation, ticks, written, turn);
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
    pub(super) fn submit(
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
        let batch = self.batch_of(session, now, &mut super::LatestContext::default());
        let turn = &Turn::numbered(0, batch, self.server.faults.armed(), pace);
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
    pub(super) fn note_refused(&self, spec: Option<&Spec>, reply: &[u8], turn: &Turn<'_>) {
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
        let observer = &session.node().observer;
        !ran || (spec.group != Group::Slotway
            && observer.is_monitored() == batch.instrumentation.monitored
            && observer.settings_versions() == turn.settings.get())
    }
}
