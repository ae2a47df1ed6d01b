//! Samples the traffic (which keys are used, and which together) and enters the notes in the
//! record.

use super::Router;
use super::pipeline::{Scratch, args_of};
use crate::shard::Turn;
use crate::state::NodeState;
use crate::state::recorder::Pressure;
use crate::state::{About, Note, NoteKeys, recorder};

impl Router {
    /// Counts the requests of a batch, and notes those that the sample takes.
    #[inline]
    pub(super) fn sample(&self, node: &NodeState, input: &[u8], scratch: &Scratch) {
        let count = scratch.requests.len() as u64;
        let first = node.observer.recorder.requests(count);
        if recorder::takes_any(first, count) {
            self.note_sample(node, input, scratch, first);
        }
    }

    /// Enters the notes so far: at the end of a turn, when no shard is held.
    #[inline]
    pub(super) fn flush_notes(&self, node: &NodeState, turn: &Turn<'_>) {
        let record = &node.observer.recorder;
        let (clients, now) = (&node.clients, turn.batch.now);
        match record.pressure() {
            Pressure::None => {}
            Pressure::Some => record.settle(clients, now),
            Pressure::Much => turn.pace.outside(&mut || record.settle_all(clients, now)),
        }
    }

    #[cold]
    fn note_sample(&self, node: &NodeState, input: &[u8], scratch: &Scratch, first: u64) {
        for (number, request) in (first..).zip(&scratch.requests) {
            let (Some(of), Some(spec)) = (recorder::of_how_many(number), request.spec) else {
                continue;
            };
            let mut keys = NoteKeys::default();
            spec.each_key(args_of(input, scratch, request), |key| keys.add(key));
            if keys.is_empty() {
                continue;
            }
            // A command that crosses slots is recorded where it is refused.
            let together = request.slot().is_some();
            let about = About::Request { of, together };
            node.observer.recorder.take(Note { client: None, keys, about });
        }
    }
}
