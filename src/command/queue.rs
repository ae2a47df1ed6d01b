//! Commands kept for later: the queue of a MULTI, or a batch that waits for a busy shard.
//!
//! The bytes of all commands are in one buffer, so that queueing a command is one copy and running
//! the queue is a walk; [`Args`] reads it as it reads the connection's buffer.

use super::{Args, Invocation, KnownKey, Spec};
use crate::keyspace::{Key, KeyHint};
use crate::resp::Span;
use crate::slot::Footprint;

/// Commands with copies of their arguments, in order.
#[derive(Debug, Default)]
pub struct Queue {
    bytes: Vec<u8>,
    spans: Vec<Span>,
    commands: Vec<Queued>,
}

/// A queued command. `spans[spans_from..spans_to]` is never empty and within `bytes`.
#[derive(Debug)]
struct Queued {
    spec: &'static Spec,
    footprint: Footprint,
    /// The argument that is its only key, if there is one, and what is known of that.
    known: Option<(u8, KeyHint)>,
    spans_from: u32,
    spans_to: u32,
}

/// The most bytes of arguments in a queue: spans address them with 32 bits.
pub(crate) const QUEUE_BYTES_MAX: usize = u32::MAX as usize;

impl Queue {
    /// A queue of one command. A request is always shorter than [`QUEUE_BYTES_MAX`].
    #[must_use]
    pub fn of(invocation: &Invocation<'_>) -> Self {
        let mut queue = Self::default();
        let fits = queue.push(invocation);
        debug_assert!(fits, "one request fits an empty queue");
        queue
    }

    /// Removes all commands and keeps the allocated memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.spans.clear();
        self.commands.clear();
    }

    /// The memory that the queue has allocated, in bytes.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.bytes.capacity()
            + self.spans.capacity() * size_of::<Span>()
            + self.commands.capacity() * size_of::<Queued>()
    }

    /// Appends a copy of a command. Returns whether it fits within [`QUEUE_BYTES_MAX`]; if not, the
    /// queue is unchanged.
    #[must_use]
    pub fn push(&mut self, invocation: &Invocation<'_>) -> bool {
        let (buf, spans) = invocation.args.parts();
        // One copy takes the arguments together with the few header bytes between them.
        let from = spans[0].start as usize;
        let last = spans[spans.len() - 1];
        let to = last.start as usize + last.len as usize;
        if self.bytes.len() + (to - from) > QUEUE_BYTES_MAX {
            return false;
        }
        let moved = self.bytes.len();
        self.bytes.extend_from_slice(&buf[from..to]);
        let spans_from = self.spans.len() as u32;
        let shifted =
            |s: &Span| Span { start: (s.start as usize - from + moved) as u32, len: s.len };
        self.spans.extend(spans.iter().map(shifted));
        let spans_to = self.spans.len() as u32;
        let &Invocation { spec, footprint, known, .. } = invocation;
        let known = known.map(|KnownKey { at, key }| (at, key.hint()));
        self.commands.push(Queued { spec, footprint, known, spans_from, spans_to });
        true
    }

    /// Removes the first `count` commands, or all if there are fewer.
    pub fn skip(&mut self, count: usize) {
        self.commands.drain(..count.min(self.commands.len()));
    }

    /// How many commands there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.commands.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.commands.is_empty()
    }

    /// How many bytes the arguments take up.
    #[must_use]
    pub fn bytes_len(&self) -> usize {
        self.bytes.len()
    }

    /// The commands in order.
    pub fn iter(&self) -> impl Iterator<Item = Invocation<'_>> {
        self.commands.iter().map(|c| {
            let spans = &self.spans[c.spans_from as usize..c.spans_to as usize];
            let &Queued { spec, footprint, known, .. } = c;
            let args = Args::new(&self.bytes, spans);
            let known = match (known, footprint) {
                (Some((at, hint)), Footprint::In(slot)) => {
                    Some(KnownKey { at, key: Key::with_hint(args.at(at.into()), slot, hint) })
                }
                _ => None,
            };
            Invocation { spec, args, footprint, known }
        })
    }
}
