//! The clients that wait for keys of a shard, served in order of arrival.
//!
//! ```text
//! by_key   key ──► 7, 9, 12 …      numbers of waiters, in the order they came, by the kind they wait for
//! waiters  number ──► Waiter { the request, how to call its client }
//! ```
//!
//! A waiter that was served leaves the table at once. Its number under other keys is dead, and so
//! is that of a waiter whose client has stopped waiting: both are skipped, and removed when half of
//! the filed numbers may be dead.

use crate::command::{Queue, Refusal, WaitKind};
use crate::keyspace::Keyspace;
use crate::resp::{Proto, Sink};
use crate::slot::{Footprint, Slot};
use crate::state::clients::{Claim, Client, Ending, WaitHandle};
use crate::topology::WaiterRoute;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// How a waiter is served once its key has a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Serve {
    /// The shard runs its request, for that key.
    Here,
    /// Its request needs more than this shard has: it has to be run again.
    Elsewhere,
}

/// A client that waits.
#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) client: Arc<Client>,
    /// Ends the wait.
    pub(super) call: Arc<WaitHandle>,
    /// Its request: one command.
    pub(super) request: Arc<Queue>,
    /// The kinds of value that it can use.
    pub(super) kind: WaitKind,
    /// The protocol of its reply.
    pub(super) proto: Proto,
    pub(super) serve: Serve,
    /// The slots of those of its keys that are here, if its request has several.
    pub(super) slots: Vec<Slot>,
    /// The number of keys that it was filed under.
    pub(super) keys: usize,
}

/// A waiter's number; a later one is higher.
type Number = u64;

/// The waiters of a shard.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    /// No key is without numbers.
    by_key: HashMap<Box<[u8]>, Queues>,
    waiters: WaiterMap,
    last: Number,
    /// The number of entries in the queues, dead ones included.
    filed: usize,
    /// When `filed` reaches this, the dead numbers are removed.
    sweep_at: usize,
}

/// The number of no waiter.
const DEAD: Number = 0;
/// Kinds of waiters.
const KINDS: usize = 3;
/// The kind whose waiters differ in what they can use.
const STREAM: usize = kind_index(WaitKind::Stream);

/// Returns the place of a kind's queue.
const fn kind_index(kind: WaitKind) -> usize {
    match kind {
        WaitKind::List => 0,
        WaitKind::Zset => 1,
        WaitKind::Stream => 2,
    }
}

/// The numbers that are filed under a key, by the kind of value that they wait for.
#[derive(Debug, Default)]
struct Queues {
    of: [VecDeque<Number>; KINDS],
}

/// How far the waiters for a key have been looked at while it is served: so that each is looked at once,
/// and not again for each that is served behind it. Serving a waiter for a stream never makes the stream
/// useful for one before it.
#[derive(Debug, Default)]
pub(super) struct Pass {
    /// Waiters for streams before this one cannot use the value.
    stream_at: usize,
    /// The value was a stream when that was found.
    was_stream: bool,
}

impl Pass {
    /// To be called before each look at the waiters.
    pub(super) fn see(&mut self, is_stream: bool) {
        if self.was_stream != is_stream {
            *self = Self { stream_at: 0, was_stream: is_stream };
        }
    }
}

type WaiterMap = HashMap<Number, Waiter>;

impl Queues {
    /// Returns the kind and the position of the first waiter that can use the value. Dead numbers at the
    /// front are removed.
    fn first(
        &mut self,
        waiters: &mut WaiterMap,
        fits: impl Fn(&Waiter) -> bool,
        pass: &mut Pass,
        filed: &mut usize,
    ) -> Option<(usize, usize)> {
        let mut first: Option<(Number, usize, usize)> = None;
        for (kind, queue) in self.of.iter_mut().enumerate() {
            let mut at = if kind == STREAM { pass.stream_at } else { 0 };
            while let Some(&number) = queue.get(at) {
                match waiters.get(&number).filter(|waiter| !waiter.call.is_over()) {
                    None if at == 0 => {
                        queue.pop_front();
                        waiters.remove(&number);
                        *filed -= 1;
                    }
                    None => at += 1,
                    Some(waiter) if fits(waiter) => {
                        if first.is_none_or(|(other, ..)| number < other) {
                            first = Some((number, kind, at));
                        }
                        break;
                    }
                    Some(_) if kind == STREAM => at += 1,
                    Some(_) => break,
                }
            }
            if kind == STREAM {
                pass.stream_at = at;
            }
        }
        first.map(|(_, kind, at)| (kind, at))
    }

    /// Takes the number at a position; behind the front a dead one stays in its place.
    fn take(&mut self, kind: usize, at: usize, filed: &mut usize) -> Number {
        let queue = &mut self.of[kind];
        match at {
            0 => {
                *filed -= 1;
                queue.pop_front().unwrap_or(DEAD)
            }
            at => std::mem::replace(&mut queue[at], DEAD),
        }
    }

    /// Returns whether nothing is left; dead numbers at the end are removed.
    fn is_empty(&mut self, waiters: &mut WaiterMap, filed: &mut usize) -> bool {
        for queue in &mut self.of {
            while let Some(number) = queue.back() {
                if waiters.get(number).is_some_and(|waiter| !waiter.call.is_over()) {
                    break;
                }
                waiters.remove(number);
                queue.pop_back();
                *filed -= 1;
            }
        }
        self.of.iter().all(VecDeque::is_empty)
    }
}

/// Fewer numbers than this are not worth a sweep.
const SWEEP_MIN: usize = 1024;

/// Returns the end of a wait that is refused.
fn refused(waiter: &Waiter, refusal: &Refusal) -> Ending {
    let mut reply = Vec::new();
    Sink::new(&mut reply, waiter.proto).error(refusal);
    Ending::Served(reply)
}

impl Waiters {
    /// Files a waiter under `keys`, each of them once; has the keyspace report those keys.
    pub(super) fn file(&mut self, mut waiter: Waiter, keys: &[&[u8]], keyspace: &mut Keyspace) {
        if self.filed >= self.sweep_at.max(SWEEP_MIN) {
            self.sweep(keyspace);
        }
        self.last += 1;
        for &key in keys {
            let queues = match self.by_key.get_mut(key) {
                Some(queues) => queues,
                None => {
                    keyspace.set_awaited(key, true);
                    self.by_key.entry(key.into()).or_default()
                }
            };
            let queue = &mut queues.of[kind_index(waiter.kind)];
            if queue.back() != Some(&self.last) {
                queue.push_back(self.last);
                self.filed += 1;
                waiter.keys += 1;
            }
        }
        self.waiters.insert(self.last, waiter);
    }

    /// Takes out the first waiter for `key` that can use its value and still waits; returns it with
    /// the claim to end that wait. Waiters of one kind can use the value all or none, except those of
    /// streams: `pass` remembers which of them cannot, from one call to the next for a key.
    pub(super) fn claim(
        &mut self,
        key: &[u8],
        fits: impl Fn(&Waiter, &Keyspace) -> bool,
        (keyspace, pass): (&mut Keyspace, &mut Pass),
    ) -> Option<(Waiter, Claim)> {
        let Self { by_key, waiters, filed, .. } = self;
        let queues = by_key.get_mut(key)?;
        let claimed = loop {
            let fits = |waiter: &Waiter| fits(waiter, keyspace);
            let first = queues.first(waiters, fits, pass, filed);
            let Some((kind, at)) = first else { break None };
            let number = queues.take(kind, at, filed);
            let Some(waiter) = waiters.remove(&number) else { continue };
            let Some(claim) = waiter.call.claim() else { continue };
            if waiter.serve == Serve::Elsewhere {
                // A client that disconnects at this moment needs no reply.
                let _gone = claim.end(Ending::Elsewhere);
            } else if !waiter.client.is_closing() {
                break Some((waiter, claim));
            }
        };
        if queues.is_empty(waiters, filed) {
            by_key.remove(key);
            keyspace.set_awaited(key, false);
        }
        claimed
    }

    /// Ends the wait of every client whose slot is not served here any more, as `judge` decides.
    pub(super) fn unblock_moved(
        &mut self,
        keyspace: &mut Keyspace,
        keeps_blocked: bool,
        judge: impl Fn(&Client, Slot) -> WaiterRoute,
    ) {
        let mut unblocked = false;
        for waiter in self.waiters.values() {
            let Some(request) = waiter.request.iter().next() else { continue };
            let judged = match request.footprint {
                Footprint::In(slot) => judge(&waiter.client, slot),
                Footprint::Crossing { .. } => {
                    let judged = waiter.slots.iter().map(|&slot| judge(&waiter.client, slot));
                    judged.fold(WaiterRoute::Wait, |one, other| match (one, other) {
                        (WaiterRoute::Wait, other) => other,
                        (one, _) => one,
                    })
                }
                Footprint::Anywhere => continue,
            };
            let ending = match judged {
                WaiterRoute::Wait => continue,
                WaiterRoute::Retry => Ending::Elsewhere,
                WaiterRoute::Down => refused(waiter, &Refusal::CLUSTER_DOWN),
                WaiterRoute::Demoted if keeps_blocked => Ending::Elsewhere,
                WaiterRoute::Demoted => Ending::Demoted,
            };
            waiter.call.end(ending);
            unblocked = true;
        }
        if unblocked {
            self.sweep(keyspace);
        }
    }

    /// Removes dead numbers, if they outnumber the live ones. Counts over the waiters, of which
    /// there are only as many as waiting clients, to decide whether to scan all their keys.
    pub(super) fn sweep_if_worthwhile(&mut self, keyspace: &mut Keyspace) {
        let alive = self.waiters.values().filter(|waiter| !waiter.call.is_over());
        if self.filed > 2 * alive.map(|waiter| waiter.keys).sum::<usize>() {
            self.sweep(keyspace);
        }
    }

    /// Removes waiters that have stopped waiting or were served under another key.
    fn sweep(&mut self, keyspace: &mut Keyspace) {
        let Self { by_key, waiters, filed, sweep_at, .. } = self;
        waiters.retain(|_, waiter| !waiter.call.is_over());
        by_key.retain(|key, queues| {
            for queue in &mut queues.of {
                let before = queue.len();
                queue.retain(|number| waiters.contains_key(number));
                *filed -= before - queue.len();
            }
            let is_awaited = queues.of.iter().any(|queue| !queue.is_empty());
            if !is_awaited {
                keyspace.set_awaited(key, false);
            }
            is_awaited
        });
        by_key.shrink_to(2 * by_key.len());
        waiters.shrink_to(2 * waiters.len());
        *sweep_at = 2 * *filed;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{Args, resolve};
    use crate::keyspace::KeyHasher;
    use crate::resp::Span;
    use crate::state::clients::{Clients, Waiting};
    use crate::topology::Port;
    use std::cell::Cell;
    use std::net::SocketAddr;

    /// The waiters of a key, how many were looked at, and those that still wait.
    struct Scene {
        waiters: Waiters,
        keyspace: Keyspace,
        client: Arc<Client>,
        waiting: Vec<Waiting>,
        looked: Cell<usize>,
    }

    impl Scene {
        fn new() -> Self {
            let address = SocketAddr::from(([127, 0, 0, 1], 1));
            let clients = Arc::new(Clients::default());
            let seat = clients.register(address, address, Port::Router, 3, 0, 1).expect("a seat");
            Self {
                waiters: Waiters::default(),
                keyspace: Keyspace::new(Slot::all(), KeyHasher::new(7), 7),
                client: Arc::clone(&seat),
                waiting: Vec::new(),
                looked: Cell::new(0),
            }
        }

        /// Files a waiter; `proto` is what the tests tell waiters by.
        fn file(&mut self, kind: WaitKind, proto: Proto) {
            let (bytes, spans) = (b"ping", [Span::new(0, 4)]);
            let invocation = resolve(Args::new(bytes, &spans)).expect("a command");
            let (call, waiting) = WaitHandle::new();
            let waiter = Waiter {
                client: Arc::clone(&self.client),
                call,
                request: Arc::new(Queue::of(&invocation)),
                kind,
                proto,
                serve: Serve::Here,
                slots: Vec::new(),
                keys: 0,
            };
            self.waiters.file(waiter, &[b"key"], &mut self.keyspace);
            self.waiting.push(waiting);
        }

        /// Serves as many waiters as can be; returns how many.
        fn serve(&mut self, fits: impl Fn(&Waiter) -> bool) -> usize {
            let mut pass = Pass::default();
            let fits = |waiter: &Waiter, _: &Keyspace| {
                self.looked.set(self.looked.get() + 1);
                fits(waiter)
            };
            let mut served = 0;
            while let Some((_, claim)) =
                self.waiters.claim(b"key", fits, (&mut self.keyspace, &mut pass))
            {
                claim.end(Ending::Served(Vec::new()));
                served += 1;
            }
            served
        }
    }

    #[test]
    fn waiters_that_cannot_use_a_value_are_not_looked_at_again_for_each_that_can() {
        const MANY: usize = 500;
        for (of, kind) in [(WaitKind::Zset, WaitKind::List), (WaitKind::Stream, WaitKind::Stream)] {
            let mut scene = Scene::new();
            (0..MANY).for_each(|_| scene.file(of, Proto::Resp2));
            (0..MANY).for_each(|_| scene.file(kind, Proto::Resp3));
            let can = |waiter: &Waiter| waiter.kind == kind && waiter.proto == Proto::Resp3;
            assert_eq!(scene.serve(can), MANY);
            let looked = scene.looked.get();
            assert!(looked <= 4 * MANY, "{looked} looks for {of:?} before {kind:?}");
            assert_eq!((scene.waiters.waiters.len(), scene.serve(|_| true)), (MANY, MANY));
            assert!(scene.waiters.by_key.is_empty() && scene.waiters.filed == 0);
        }
    }

    #[test]
    fn waiters_of_all_kinds_are_served_in_the_order_of_arrival() {
        let mut scene = Scene::new();
        let kinds = [WaitKind::Stream, WaitKind::List, WaitKind::Zset, WaitKind::Stream];
        kinds.iter().for_each(|kind| scene.file(*kind, Proto::Resp2));
        let mut pass = Pass::default();
        let mut served = Vec::new();
        let keyspace = &mut scene.keyspace;
        while let Some((waiter, _)) =
            scene.waiters.claim(b"key", |_, _| true, (keyspace, &mut pass))
        {
            served.push(waiter.kind);
        }
        assert_eq!(served, kinds);
    }

    #[test]
    fn those_that_have_stopped_waiting_are_passed_over_and_removed() {
        let mut scene = Scene::new();
        let kinds = [WaitKind::List, WaitKind::Stream, WaitKind::List, WaitKind::Stream];
        kinds.iter().for_each(|kind| scene.file(*kind, Proto::Resp2));
        scene.waiting.drain(..2);
        assert_eq!(scene.serve(|_| true), 2);
        assert!(scene.waiters.by_key.is_empty() && scene.waiters.waiters.is_empty());
        scene.file(WaitKind::Stream, Proto::Resp2);
        scene.file(WaitKind::Stream, Proto::Resp3);
        scene.waiting.clear();
        assert_eq!((scene.serve(|_| true), scene.waiters.filed), (0, 0));
    }
}
