//! Decodes ahead: the requests of a read are decoded, matched with their rows and placed in slots
//! before the first of them runs, and their keys are probed.

use super::Router;
use crate::command::{Args, Commands, Invocation, Queue, Run, Spec, flag};
use crate::keyspace::{KeyHint, ProbeStage};
use crate::resp::{Decoded, Decoder, Limits, ProtocolError, Span};
use crate::session::Session;
use crate::shard::Turn;
use crate::slot::{Footprint, Slot};
use crate::topology::Port;

/// Most requests that are decoded ahead of their execution.
pub(super) const AHEAD_MAX: usize = 128;
/// From this many bytes of request and reply on, values are likely to be on the heap.
pub(super) const LONG_BYTES: usize = 128;
/// Ends a chain of requests.
const NO_REQUEST: u16 = u16::MAX;
/// Batches of fewer requests are run without a probe.
const WARM_MIN: usize = 4;
/// With more shards than this, a batch has few keys to probe on each of them.
const WARM_SHARDS_MAX: usize = 64;

/// Buffers that belong to a thread and are lent to the connection that runs on it.
#[derive(Debug, Default)]
pub struct Scratch {
    pub(super) spans: Vec<Span>,
    pub(super) requests: Vec<Request>,
    /// The first request of the batch for each shard, or [`NO_REQUEST`].
    first_there: Vec<u16>,
    /// Whether the last batch had many bytes per request, in or out: the next one likely has, too.
    pub(super) values_are_long: bool,
    /// Whether a value of the last batch was a string that was changed in place.
    values_are_raw: bool,
}

/// A decoded request: `spans[first..first + count]`; the next one begins at `end` of the input.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request {
    pub(super) first: usize,
    pub(super) count: usize,
    pub(super) end: usize,
    /// Its row; `None` if it fits none.
    pub(super) spec: Option<&'static Spec>,
    pub(super) footprint: Footprint,
    /// The argument that is its only key, if there is one.
    pub(super) only_key: Option<u8>,
    /// The result of probing its only key, if it was probed.
    pub(super) seen: Option<KeyHint>,
    /// The next request for the same shard in the batch, or [`NO_REQUEST`].
    next_there: u16,
}

/// Where decoding ahead stopped; `taken` is the offset of the first undecoded byte.
pub(super) enum Ahead {
    More { taken: usize },
    Missing { taken: usize, missing: usize },
}

impl Request {
    /// Returns the request as an invocation. (Passed by reference: the compiler would copy it at
    /// every call.)
    #[inline]
    pub(super) fn invocation<'i>(&self, spec: &'static Spec, args: Args<'i>) -> Invocation<'i> {
        let &Self { footprint, only_key, seen, .. } = self;
        Invocation { spec, args, footprint, only_key, seen }
    }

    /// Returns the slot that all its keys live in.
    pub(super) fn slot(&self) -> Option<Slot> {
        if let Footprint::In(slot) = self.footprint { Some(slot) } else { None }
    }
}

#[inline]
pub(super) fn args_of<'i>(input: &'i [u8], scratch: &'i Scratch, request: &Request) -> Args<'i> {
    Args::new(input, &scratch.spans[request.first..request.first + request.count])
}

impl Router {
    /// Decodes requests from `input[from..]` into the scratch, `ahead_max` of them at the most.
    pub(super) fn decode_ahead(
        &self,
        session: &Session,
        decoder: &mut Decoder,
        input: &mut [u8],
        from: usize,
        ahead_max: usize,
        scratch: &mut Scratch,
    ) -> Result<Ahead, ProtocolError> {
        scratch.spans.clear();
        scratch.requests.clear();
        // Before AUTH the limits may change with every request.
        let ahead_max = if session.is_authenticated() { ahead_max } else { 1 };
        let limits = Limits {
            bulk_len_max: session.node().settings.bulk_len_max(),
            authenticated: session.is_authenticated(),
        };
        let commands = Commands::of(self.server.product);
        let mut at = from;
        while scratch.requests.len() < ahead_max {
            // An inline request is unquoted in place, so it must not be decoded twice: it is taken
            // only when nothing before it can make this turn stop short of it.
            if !scratch.requests.is_empty() && input.get(at).is_some_and(|&b| b != b'*') {
                break;
            }
            let first = scratch.spans.len();
            match decoder.next(input, at, limits, &mut scratch.spans)? {
                Decoded::Request { end } => {
                    let (spec, footprint, only_key) =
                        match commands.resolve(Args::new(input, &scratch.spans[first..])) {
                            Ok(Invocation { spec, footprint, only_key, .. }) => {
                                (Some(spec), footprint, only_key)
                            }
                            Err(_) => (None, Footprint::Anywhere, None),
                        };
                    let count = scratch.spans.len() - first;
                    let (seen, next_there) = (None, NO_REQUEST);
                    scratch.requests.push(Request {
                        first,
                        count,
                        end,
                        spec,
                        footprint,
                        only_key,
                        seen,
                        next_there,
                    });
                    at = end;
                }
                Decoded::Nothing { end } => {
                    at = end;
                    // Skipped input is consumed: if the inline request behind it were held up, it
                    // would have to be put back at its own place.
                    if input.get(at).is_some_and(|&b| b != b'*') {
                        break;
                    }
                }
                Decoded::Incomplete { missing } => {
                    return Ok(Ahead::Missing { taken: at, missing });
                }
            }
        }
        Ok(Ahead::More { taken: at })
    }

    /// Probes the only keys of a batch's requests before the first of them runs. So the memory that
    /// each needs is fetched while the others' is requested; look-ups one after the other would
    /// each wait for theirs. Nothing is decided here: the position where a key was seen is only a
    /// hint. Each round holds a shard only while it probes.
    pub(super) fn probe_keys(&self, input: &[u8], scratch: &mut Scratch, turn: &Turn<'_>) {
        let Scratch { spans, requests, first_there, values_are_long, values_are_raw } = scratch;
        if requests.len() < WARM_MIN || self.topology.shards() > WARM_SHARDS_MAX {
            return;
        }
        // The last rounds pay off only where values lie on the heap.
        let last = match (*values_are_raw, *values_are_long) {
            (true, _) => ProbeStage::Bytes,
            (false, true) => ProbeStage::Value,
            (false, false) => ProbeStage::Entry,
        };
        first_there.clear();
        first_there.resize(self.topology.shards(), NO_REQUEST);
        for (i, request) in requests.iter_mut().enumerate().rev() {
            if let (Some(slot), Some(at)) = (request.slot(), request.only_key) {
                let key = spans[request.first + at as usize].of(input);
                request.seen = Some(KeyHint::from_hash(self.hasher.hash(key)));
                let first = &mut first_there[self.topology.shard_of(slot)];
                request.next_there = std::mem::replace(first, i as u16);
            }
        }
        for round in ProbeStage::ALL.into_iter().take_while(|&round| round <= last) {
            for (shard, &first) in first_there.iter().enumerate() {
                if first == NO_REQUEST {
                    continue;
                }
                let Some(mut hold) = self.shards[shard].try_hold(turn) else {
                    continue;
                };
                let keyspace = &hold.engine().keyspace;
                let mut i = first;
                while let Some(request) = requests.get_mut(i as usize) {
                    i = request.next_there;
                    if let (Some(slot), Some(seen)) = (request.slot(), &mut request.seen) {
                        keyspace.probe(slot, seen, round);
                    }
                }
                if round == last
                    && let Some(request) = requests.get(first as usize)
                    && let (Some(slot), Some(seen)) = (request.slot(), &request.seen)
                {
                    // One value stands for those of the next batch.
                    *values_are_raw = keyspace.is_raw(slot, seen);
                }
            }
        }
    }

    /// Returns the command that found its shard taken, and those after it that need the same shard.
    pub(super) fn gather(
        &self,
        (port, shard, is_plain): (Port, usize, bool),
        invocation: &Invocation<'_>,
        input: &[u8],
        scratch: &Scratch,
        next: &mut usize,
    ) -> Queue {
        let (mut queue, mut fits) = (Queue::of(invocation), true);
        while is_plain
            && fits
            && let Some(request) = scratch.requests.get(*next)
        {
            let Some(spec) = request.spec else { break };
            let (Run::Shard(_), Some(slot)) = (spec.run, request.slot()) else { break };
            if spec.has(flag::READS_UNNAMED | flag::NAMES_DATABASE) {
                break;
            }
            if !self.topology.serves_directly(slot, shard, port) {
                break;
            }
            fits = queue.push(&request.invocation(spec, args_of(input, scratch, request)));
            *next += usize::from(fits);
        }
        queue
    }
}
