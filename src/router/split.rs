//! Runs commands that are split by slot (`cross-slot split`): each part runs as a command of its
//! own on its own shard, and the replies are merged into one.

use super::Router;
use crate::command::{Commands, Invocation, KeySlots};
use crate::resp::Sink;
use crate::session::{Scope, Session, Unit};
use crate::shard::{Outcome, Turn};

impl Router {
    /// Runs a command slot by slot.
    pub(super) fn run_split<'r>(
        &'r self,
        session: &mut Session,
        invocation: &Invocation<'_>,
        turn: &'r Turn<'r>,
        out: &mut Vec<u8>,
    ) -> Outcome {
        let (spec, args) = (invocation.spec, invocation.args);
        let Some(split) = spec.split(args, &KeySlots::of(invocation)) else {
            // The command is malformed: any shard that runs it reports the error.
            let unit = Unit::Command(invocation);
            return self.run_placed(session, (&unit, false), Scope::Slots, turn, out);
        };
        let mut replies = Vec::new();
        for part in split.parts(args) {
            let mut reply = Vec::new();
            match Commands::of(turn.batch.product).resolve(part) {
                Ok(part) => {
                    let (scope, unit) = (Scope::Slot(part.slot()), Unit::Command(&part));
                    let outcome = self.run_placed(session, (&unit, false), scope, turn, &mut reply);
                    if let Outcome::Sever = outcome {
                        return outcome;
                    }
                }
                Err(refusal) => Sink::new(&mut reply, session.proto()).error(refusal),
            }
            replies.push(reply);
        }
        split.merge_replies(&replies, &mut Sink::new(out, session.proto()));
        Outcome::Replied
    }
}
