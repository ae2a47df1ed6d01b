//! Decodes ahead: the requests of a read are decoded, matched with their rows and placed in slots
//! before the first of them runs, and their keys are probed.

use super::{LatestContext, Router};
use crate::command::{Args, Commands, Invocation, KnownKey, Queue, Run, Spec, flag};
use crate::keyspace::{Key, KeyHint, ProbeStage};
use crate::resp::{Decoded, Decoder, Limits, ProtocolError, Span, short_request};
use crate::session::Session;
use crate::shard::{Look, Turn, TurnNumbers};
use crate::slot::{Footprint, Slot};
use crate::topology::Port;

/// Most requests that are decoded ahead of their execution.
pub(super) const AHEAD_MAX: usize = 128;
/// From this many bytes of request and reply on, values are likely to be on the heap.
pub(super) const LONG_BYTES: usize = 128;
/// No shard has this number.
const NO_SHARD: u16 = u16::MAX;
/// Batches of fewer requests are run without a probe.
const WARM_MIN: usize = 4;
/// With more shards than this, holding them takes longer than a probe saves.
const WARM_SHARDS_MAX: usize = 64;

/// Buffers that belong to a thread and are lent to the connection that runs on it.
#[derive(Debug, Default)]
pub struct Scratch {
    pub(super) turns: TurnNumbers,
    pub(super) latest: LatestContext,
    pub(super) spans: Vec<Span>,
    pub(super) requests: Vec<Request>,
    /// Whether the last batch had many bytes per request, in or out: the next one likely has, too.
    pub(super) values_are_long: bool,
    /// Whether a value of the last batch was a string that was changed in place.
    values_are_raw: bool,
}

/// A decoded request: `spans[first..first + count]`; the next one begins at `end` of the input.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request {
    /// Its row; `None` if it fits none.
    pub(super) spec: Option<&'static Spec>,
    first: u32,
    count: u32,
    end: u32,
    /// What is known of its only key, if there is one.
    hint: KeyHint,
    place: Place,
    /// The shard on which its only key is probed, or [`NO_SHARD`].
    shard: u16,
    /// The argument that is its only key, or 0.
    only_key: u8,
    /// Whether a plain session has it run on its slot's shard.
    pub(super) is_direct: bool,
}

/// Where the keys of a request are.
#[derive(Clone, Copy, Debug)]
enum Place {
    /// There are none.
    Anywhere,
    In(Slot),
    /// In several slots.
    Crossing,
}

/// The bytes that a client has sent.
#[derive(Debug)]
pub enum Input<'t> {
    /// Inline requests are unquoted in place.
    Own(&'t mut [u8]),
    /// A large request of which a part has been decoded, and maybe more behind it, which is left.
    Shared(&'t [u8]),
}

impl Input<'_> {
    /// Returns the bytes.
    #[must_use]
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Own(bytes) => bytes,
            Self::Shared(bytes) => bytes,
        }
    }
}

/// What requests are decoded from.
trait Source {
    fn bytes(&self) -> &[u8];

    /// Decodes the next request at `at`.
    fn decode(
        &mut self,
        decoder: &mut Decoder,
        at: usize,
        limits: Limits,
        spans: &mut Vec<Span>,
    ) -> Result<Decoded, ProtocolError>;
}

impl Source for &mut [u8] {
    #[inline]
    fn bytes(&self) -> &[u8] {
        self
    }

    #[inline]
    fn decode(
        &mut self,
        decoder: &mut Decoder,
        at: usize,
        limits: Limits,
        spans: &mut Vec<Span>,
    ) -> Result<Decoded, ProtocolError> {
        decoder.next(self, at, limits, spans)
    }
}

/// The input of [`Input::Shared`].
struct Large<'t>(&'t [u8]);

impl Source for Large<'_> {
    fn bytes(&self) -> &[u8] {
        self.0
    }

    fn decode(
        &mut self,
        decoder: &mut Decoder,
        at: usize,
        limits: Limits,
        spans: &mut Vec<Span>,
    ) -> Result<Decoded, ProtocolError> {
        decoder.resume(self.0, at, limits, spans)
    }
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
        let footprint = self.footprint(args);
        let known = match (self.only_key, self.place) {
            (at, Place::In(slot)) if at > 0 => {
                Some(KnownKey { at, key: Key::with_hint(args.at(at.into()), slot, self.hint) })
            }
            _ => None,
        };
        Invocation { spec, args, footprint, known }
    }

    /// Returns the slots of its keys.
    #[inline]
    pub(super) fn footprint(&self, args: Args<'_>) -> Footprint {
        match (self.place, self.spec) {
            (Place::In(slot), _) => Footprint::In(slot),
            // They are few.
            (Place::Crossing, Some(spec)) => spec.footprint(args),
            _ => Footprint::Anywhere,
        }
    }

    /// Returns the slot that all its keys live in.
    #[inline]
    pub(super) fn slot(&self) -> Option<Slot> {
        if let Place::In(slot) = self.place { Some(slot) } else { None }
    }

    /// Returns the offset of the first byte behind it.
    #[inline]
    pub(super) fn end(&self) -> usize {
        self.end as usize
    }
}

#[inline]
pub(super) fn args_of<'i>(input: &'i [u8], scratch: &'i Scratch, request: &Request) -> Args<'i> {
    let first = request.first as usize;
    Args::new(input, &scratch.spans[first..first + request.count as usize])
}

/// The shards that are looked at during a probe, by number.
type Looks<'s> = [Option<Look<'s>>; WARM_SHARDS_MAX];

/// Probes the only keys of requests whose shards are looked at.
#[inline(always)]
fn probe(requests: &mut [Request], looks: &Looks<'_>, stage: ProbeStage) {
    for request in requests {
        if let (Some(slot), Some(Some(look))) = (request.slot(), looks.get(request.shard as usize))
        {
            look.keyspace().probe(slot, &mut request.hint, stage);
        }
    }
}

impl Router {
    /// Decodes requests from `input[from..]` into the scratch, `ahead_max` of them at the most.
    #[inline]
    pub(super) fn decode_ahead(
        &self,
        session: &Session,
        decoder: &mut Decoder,
        input: &mut Input<'_>,
        from: usize,
        ahead_max: usize,
        scratch: &mut Scratch,
    ) -> Result<Ahead, ProtocolError> {
        match input {
            Input::Own(input) => {
                self.decode_from(session, decoder, &mut **input, from, ahead_max, scratch)
            }
            Input::Shared(input) => self.decode_shared(session, decoder, input, from, scratch),
        }
    }

    /// The same of a large request that has been decoded in part before.
    #[cold]
    fn decode_shared(
        &self,
        session: &Session,
        decoder: &mut Decoder,
        input: &[u8],
        from: usize,
        scratch: &mut Scratch,
    ) -> Result<Ahead, ProtocolError> {
        self.decode_from(session, decoder, Large(input), from, 1, scratch)
    }

    fn decode_from(
        &self,
        session: &Session,
        decoder: &mut Decoder,
        mut input: impl Source,
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
        loop {
            if limits.authenticated && !decoder.is_midway() {
                at = self.decode_usual(commands, input.bytes(), at, ahead_max, scratch);
            }
            if scratch.requests.len() >= ahead_max {
                break;
            }
            // An inline request is unquoted in place, so it must not be decoded twice: it is taken
            // only when nothing before it can make this turn stop short of it.
            if !scratch.requests.is_empty() && input.bytes().get(at).is_some_and(|&b| b != b'*') {
                break;
            }
            let first = scratch.spans.len();
            match input.decode(decoder, at, limits, &mut scratch.spans)? {
                Decoded::Request { end } => {
                    let args = Args::new(input.bytes(), &scratch.spans[first..]);
                    scratch.requests.push(self.any_request(commands, args, first, end));
                    at = end;
                }
                Decoded::Nothing { end } => {
                    at = end;
                    // Skipped input is consumed: if the inline request behind it were held up, it
                    // would have to be put back at its own place.
                    if input.bytes().get(at).is_some_and(|&b| b != b'*') {
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

    /// Decodes requests in the usual form, until there is another, or `ahead_max` of them; returns
    /// where it stopped.
    #[inline(never)] // Else what surrounds it takes its registers.
    fn decode_usual(
        &self,
        commands: &Commands,
        input: &[u8],
        mut at: usize,
        ahead_max: usize,
        scratch: &mut Scratch,
    ) -> usize {
        let Scratch { spans, requests, .. } = scratch;
        while requests.len() < ahead_max {
            let first = spans.len();
            let Some(end) = short_request(input, at, spans) else { break };
            let args = Args::new(input, &spans[first..]);
            let request = match commands.indexed(args) {
                Some(row) if row.only_key > 0 && usize::from(row.only_key) < args.len() => {
                    let key = args.at(row.only_key.into());
                    Request {
                        spec: Some(row.spec),
                        first: first as u32,
                        count: args.len() as u32,
                        end: end as u32,
                        // All shards hash alike.
                        hint: KeyHint::from_hash(self.hasher.hash(key)),
                        place: Place::In(Slot::of(key)),
                        shard: NO_SHARD,
                        only_key: row.only_key,
                        is_direct: row.is_direct,
                    }
                }
                Some(row) if row.is_keyless => Request {
                    spec: Some(row.spec),
                    first: first as u32,
                    count: args.len() as u32,
                    end: end as u32,
                    hint: KeyHint::NONE,
                    place: Place::Anywhere,
                    shard: NO_SHARD,
                    only_key: 0,
                    is_direct: row.is_direct,
                },
                _ => self.any_request(commands, args, first, end),
            };
            requests.push(request);
            at = end;
        }
        at
    }

    /// Returns the request that `args` are, whatever it is.
    #[inline(never)]
    fn any_request(
        &self,
        commands: &Commands,
        args: Args<'_>,
        first: usize,
        end: usize,
    ) -> Request {
        let resolved = commands.resolve(args).ok();
        let spec = resolved.as_ref().map(|it| it.spec);
        let only_key = spec
            .and_then(Spec::only_key)
            // A module's row admits requests without keys.
            .filter(|&at| usize::from(at) < args.len());
        let hash = |at: u8| KeyHint::from_hash(self.hasher.hash(args.at(at.into())));
        let place = match resolved.as_ref().map(|it| it.footprint) {
            Some(Footprint::In(slot)) => Place::In(slot),
            Some(Footprint::Crossing { .. }) => Place::Crossing,
            Some(Footprint::Anywhere) | None => Place::Anywhere,
        };
        Request {
            spec,
            first: first as u32,
            count: args.len() as u32,
            end: end as u32,
            hint: only_key.map_or(KeyHint::NONE, hash),
            place,
            shard: NO_SHARD,
            only_key: only_key.unwrap_or(0),
            is_direct: spec.is_some_and(Spec::runs_directly) && !matches!(place, Place::Crossing),
        }
    }

    /// Probes the only keys of a batch's requests before the first of them runs. So the memory that
    /// each needs is fetched while the others' is requested; look-ups one after the other would
    /// each wait for theirs. Nothing is decided here: the position where a key was seen is only a
    /// hint. The shards are held meanwhile, those that are free, for as long as it takes to request
    /// the memory of a batch.
    #[inline(never)]
    pub(super) fn probe_keys(&self, scratch: &mut Scratch, turn: &Turn<'_>) {
        let Scratch { requests, values_are_long, values_are_raw, .. } = scratch;
        if requests.len() < WARM_MIN || self.topology.shards() > WARM_SHARDS_MAX {
            return;
        }
        let mut looks: Looks<'_> = [const { None }; WARM_SHARDS_MAX];
        for request in requests.iter_mut() {
            if let Some(slot) = request.slot()
                && request.only_key > 0
            {
                let shard = self.topology.shard_of(slot);
                if looks[shard].is_none() {
                    looks[shard] = self.shards[shard].try_look();
                }
                request.shard = shard as u16;
            }
        }
        probe(requests, &looks, ProbeStage::Slot);
        probe(requests, &looks, ProbeStage::Fingerprints);
        probe(requests, &looks, ProbeStage::Entry);
        // More pays off only where values lie on the heap.
        if *values_are_long || *values_are_raw {
            probe(requests, &looks, ProbeStage::Value);
        }
        if *values_are_raw {
            probe(requests, &looks, ProbeStage::Bytes);
        }
        // One value stands for those of the next batch.
        let first = requests.iter().find_map(|request| {
            let look = looks.get(request.shard as usize)?.as_ref()?;
            Some(look.keyspace().is_raw(request.slot()?, &request.hint))
        });
        *values_are_raw = first.unwrap_or(false);
        for (look, shard) in looks.into_iter().zip(&self.shards) {
            if let Some(look) = look {
                look.end(shard, turn);
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
