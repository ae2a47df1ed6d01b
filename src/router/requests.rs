//! Runs the decoded requests of a batch in their order: those that only need their shard at once, and
//! those that a transaction queues; any other as the session admits it.

use super::Router;
use super::held::KeptHold;
use super::pipeline::{Request, Scratch, args_of};
use super::placement::Direct;
use crate::command::{Args, Commands, Refusal, Spec, named};
use crate::keyspace::Millis;
use crate::resp::Sink;
use crate::session::{OwnedUnit, Reply, Scope, Session, Step, Unit};
use crate::shard::{OUTPUT_LEN_MAX, Outcome, Turn, WaitFor};
use crate::state::Paused;

/// The progress of a turn.
#[derive(Default)]
pub(super) struct Progress {
    /// Bytes of the input whose requests are complete.
    pub(super) taken: usize,
    pub(super) commands: u64,
    /// The row of the last command.
    pub(super) latest: Option<&'static Spec>,
    /// The kind of requests that CLIENT PAUSE holds up, and until when.
    pub(super) pause: Option<(Paused, Millis)>,
}

impl Router {
    /// Runs the decoded requests; returns why the turn stops, if it does.
    #[inline]
    pub(super) fn run_requests(
        &self,
        session: &mut Session,
        input: &[u8],
        scratch: &Scratch,
        turn: &Turn<'_>,
        progress: &mut Progress,
        out: &mut Vec<u8>,
    ) -> Option<Outcome> {
        turn.reset_timer();
        let (mut kept, mut pause, mut next) = (None, progress.pause, 0);
        // Only what is not direct can change this.
        let mut is_simple = pause.is_none() && session.is_simple();
        // Where slots are counted, so is what is queued.
        let may_queue = !turn.batch.instrumentation.counts_slots;
        let mut queues = may_queue && pause.is_none() && session.queues_directly();
        let stop = loop {
            let Some(request) = scratch.requests.get(next) else { break None };
            next += 1;
            let args = args_of(input, scratch, request);
            if self.run_simply(session, (request, args), (is_simple, queues), &mut kept, turn, out)
            {
                match (out.len() > OUTPUT_LEN_MAX, session.client().is_closing()) {
                    (false, false) => continue,
                    (too_much, _) => break too_much.then_some(Outcome::Flush),
                }
            }
            let before = out.len();
            let after = (input, scratch, &mut next);
            let (outcome, reply) = self.run_request(
                session,
                (request, args),
                after,
                (&mut kept, &mut pause),
                turn,
                out,
            );
            is_simple = pause.is_none() && session.is_simple();
            queues = may_queue && pause.is_none() && session.queues_directly();
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
                // It was not begun.
                next -= 1;
                progress.latest = row_of(request, args);
                break Some(outcome);
            }
            let stop = conclude(session, outcome, reply, before, out);
            if stop.is_some() || session.client().is_closing() {
                break stop;
            }
        };
        if let Some(last) = next.checked_sub(1).and_then(|last| scratch.requests.get(last)) {
            progress.commands += next as u64;
            progress.taken = last.end();
            if !matches!(stop, Some(Outcome::Wait { wait: WaitFor::Pause(_), .. })) {
                progress.latest = row_of(last, args_of(input, scratch, last));
            }
        }
        stop
    }

    /// Runs a direct request in a simple session whose shard is free, or has one that queues directly
    /// queue it; returns whether it could.
    #[inline(always)]
    fn run_simply<'r>(
        &'r self,
        session: &mut Session,
        (request, args): (&Request, Args<'_>),
        (is_simple, queues): (bool, bool),
        kept: &mut KeptHold<'r>,
        turn: &'r Turn<'r>,
        out: &mut Vec<u8>,
    ) -> bool {
        let Some(spec) = request.spec.filter(|_| request.is_direct) else { return false };
        if is_simple {
            let Direct::Held(hold) = self.hold_directly(request.slot(), kept, turn) else {
                return false;
            };
            let invocation = request.invocation(spec, args);
            hold.run(&invocation, &mut Sink::new(out, session.proto()));
            return true;
        }
        let Some(slot) = request.slot().filter(|_| queues) else { return false };
        let invocation = request.invocation(spec, args);
        let mut sink = Sink::new(out, session.proto());
        session.queue_directly(&self.server, slot, &invocation, &mut sink)
    }

    /// Runs a request, whatever the state of the session; those behind it, too, if they have to wait for
    /// the same shard.
    fn run_request<'r>(
        &'r self,
        session: &mut Session,
        (request, args): (&Request, Args<'_>),
        (input, scratch, next): (&[u8], &Scratch, &mut usize),
        (kept, pause): (&mut KeptHold<'r>, &mut Option<(Paused, Millis)>),
        turn: &'r Turn<'r>,
        out: &mut Vec<u8>,
    ) -> (Outcome, Reply) {
        let Some(spec) = request.spec else {
            return self.refuse_request(session, args, turn, out);
        };
        let invocation = request.invocation(spec, args);
        if pause.is_some() || !request.is_direct || !session.is_plain() {
            return self.run_admitted(session, &invocation, kept, turn, pause, out);
        }
        let outcome = match self.hold_directly(invocation.slot(), kept, turn) {
            Direct::Held(hold) => {
                hold.run(&invocation, &mut Sink::new(out, session.proto()));
                Outcome::Replied
            }
            Direct::Elsewhere(shard) => {
                let plain = (session.port(), shard, session.is_plain());
                let queue = self.gather(plain, &invocation, input, scratch, next);
                self.submit(session, shard, OwnedUnit::Commands(queue), turn)
            }
            Direct::Unclear => {
                *kept = None;
                let scope = Scope::Slot(invocation.slot());
                self.run_placed(session, (&Unit::Command(&invocation), true), scope, turn, out)
            }
        };
        (outcome, Reply::Done)
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
}

/// Returns the row that a request names.
fn row_of(request: &Request, args: Args<'_>) -> Option<&'static Spec> {
    request.spec.or_else(|| Some(named(args).unwrap_or(&Spec::BASE)))
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
