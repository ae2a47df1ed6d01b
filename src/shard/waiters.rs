//! The clients that wait for keys of a shard, served in order of arrival.
//!
//! ```text
//! by_key   key ──► 7, 9, 12 …      numbers of waiters, in the order they came
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
    /// No queue is empty.
    by_key: HashMap<Box<[u8]>, VecDeque<Number>>,
    waiters: HashMap<Number, Waiter>,
    last: Number,
    /// The number of entries in the queues, dead ones included.
    filed: usize,
    /// When `filed` reaches this, the dead numbers are removed.
    sweep_at: usize,
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
            let queue = match self.by_key.get_mut(key) {
                Some(queue) => queue,
                None => {
                    keyspace.set_awaited(key, true);
                    self.by_key.entry(key.into()).or_default()
                }
            };
            if queue.back() != Some(&self.last) {
                queue.push_back(self.last);
                self.filed += 1;
                waiter.keys += 1;
            }
        }
        self.waiters.insert(self.last, waiter);
    }

    /// Takes out the first waiter for `key` that can use its value and still waits; returns it with
    /// the claim to end that wait.
    pub(super) fn claim(
        &mut self,
        key: &[u8],
        fits: impl Fn(&Waiter, &Keyspace) -> bool,
        keyspace: &mut Keyspace,
    ) -> Option<(Waiter, Claim)> {
        let Self { by_key, waiters, filed, .. } = self;
        let queue = by_key.get_mut(key)?;
        let (mut at, mut claimed) = (0, None);
        while let Some(&number) = queue.get(at) {
            match waiters.get(&number) {
                Some(waiter) if !waiter.call.is_over() && !fits(waiter, keyspace) => at += 1,
                _ => {
                    queue.remove(at);
                    *filed -= 1;
                    let waiter = waiters.remove(&number);
                    claimed = waiter.and_then(|waiter| {
                        let claim = waiter.call.claim()?;
                        if waiter.serve == Serve::Elsewhere {
                            // A client that disconnects at this moment needs no reply.
                            let _gone = claim.end(Ending::Elsewhere);
                            return None;
                        }
                        (!waiter.client.is_closing()).then_some((waiter, claim))
                    });
                    if claimed.is_some() {
                        break;
                    }
                }
            }
        }
        if queue.is_empty() {
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
        by_key.retain(|key, queue| {
            let before = queue.len();
            queue.retain(|number| waiters.contains_key(number));
            *filed -= before - queue.len();
            if queue.is_empty() {
                keyspace.set_awaited(key, false);
            }
            !queue.is_empty()
        });
        by_key.shrink_to(2 * by_key.len());
        waiters.shrink_to(2 * waiters.len());
        *sweep_at = 2 * *filed;
    }
}
