//! CLIENT TRACKING: which clients are notified of a changed key, for their caches.
//!
//! ```text
//! a command has read keys    ─► remember ─► TrackedKeys: key ─► its readers
//! a keyspace has touched one ─► note_change ─► its readers: an invalidation each, at once
//!                                         └─► Prefixes: noted ─► settle, at the end of the turn
//! ```
//!
//! A port has a table of its own, as each node of a cluster has: the router port's clients are
//! notified whichever shard a key changes on, a node's of the changes on the shard that the node
//! serves from. Both happen while the shard is held, so that no change falls between a read and its
//! entry in the table.
//!
//! An invalidation goes to the reader, which speaks RESP3, or to the client that it has chosen
//! (REDIRECT), which may instead be a subscriber that speaks RESP2.

mod message;
mod prefixes;
mod table;

use crate::keyspace::Millis;
use crate::state::clients::{Client, Clients, TrackingMode};
use crate::state::pubsub::OnDelivery;
use crate::topology::Port;
use message::Invalidation;
use parking_lot::Mutex;
use prefixes::Prefixes;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::Waker;
use table::{Readers, TrackedKeys};

/// Most prefixes of one client.
pub(crate) const PREFIXES_MAX: usize = 1 << 12;
/// Most keys that are evicted at a time.
const EVICTED_MAX: usize = 1000;

/// The tracking clients of a port, the keys that they have read, and their prefixes.
#[derive(Debug)]
pub struct Tracking {
    port: Port,
    clients: Arc<Clients>,
    /// Made when the first client switches tracking on.
    keys: OnceLock<Box<TrackedKeys>>,
    seed: u64,
    prefixes: Mutex<Prefixes>,
    has_prefixes: AtomicBool,
    /// Those that have switched tracking on, whether or not it is on now.
    seated: Mutex<Seated>,
    /// The number of those for which it is on.
    on: AtomicUsize,
}

/// The clients that have switched tracking on, by their numbers.
#[derive(Debug, Default)]
struct Seated {
    by_number: Vec<Option<Arc<Client>>>,
    /// Numbers that no client has, and no key.
    free: Vec<u32>,
    /// Numbers that no client has any more; keys may have them.
    gone: Vec<u32>,
}

/// Fewer numbers than this are not worth a look at all keys.
const GONE_MIN: usize = 64;

/// The command that events and changes of keys are due to.
#[derive(Clone, Copy, Debug)]
pub struct Origin {
    /// The port that it was received at.
    pub port: Port,
    /// The client that has sent it; 0 for none.
    pub client: u64,
    /// A script of the client has called it.
    pub in_script: bool,
}

/// Numbers for INFO.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TrackingCounts {
    /// Clients with tracking on.
    pub clients: usize,
    /// Keys that clients have read.
    pub keys: usize,
    /// Readers of all keys.
    pub items: usize,
    /// Prefixes.
    pub prefixes: usize,
}

impl Seated {
    /// Returns the clients that still have these numbers.
    fn numbered(&self, readers: &Readers) -> Vec<Arc<Client>> {
        let client = |number: u32| self.by_number.get(number as usize).cloned().flatten();
        readers.iter().filter_map(client).collect()
    }
}

impl Tracking {
    /// Returns the tracking of a port without clients.
    pub(super) fn new(port: Port, clients: Arc<Clients>, seed: u64) -> Self {
        Self {
            port,
            clients,
            keys: OnceLock::new(),
            seed,
            prefixes: Mutex::default(),
            has_prefixes: AtomicBool::new(false),
            seated: Mutex::default(),
            on: AtomicUsize::new(0),
        }
    }

    /// Returns the port that it belongs to.
    pub(super) fn port(&self) -> Port {
        self.port
    }

    /// Returns the numbers of clients, keys and prefixes.
    #[must_use]
    pub fn counts(&self) -> TrackingCounts {
        let keys = self.keys.get();
        TrackingCounts {
            clients: self.on.load(Ordering::Relaxed),
            keys: keys.map_or(0, |keys| keys.keys()),
            items: keys.map_or(0, |keys| keys.readers()),
            prefixes: self.prefixes.lock().len(),
        }
    }

    /// Returns the prefixes of a client, in order.
    #[must_use]
    pub fn prefixes_of(&self, client: u64) -> Vec<Box<[u8]>> {
        self.prefixes.lock().of(client)
    }

    /// Returns whether there is a client that could be notified.
    #[inline]
    pub(super) fn is_in_use(&self) -> bool {
        self.keys.get().is_some_and(|keys| keys.keys() > 0) || self.on.load(Ordering::Relaxed) > 0
    }

    /// Remembers that the client of this number has read the keys that `each_key` names. If there are more than `keys_max` then, 0 for no
    /// limit, forgets some and notifies their readers. Returns whether there are still too many.
    pub(super) fn remember(
        &self,
        each_key: impl FnOnce(&mut dyn FnMut(&[u8])),
        reader: u32,
        keys_max: usize,
        now: Millis,
        delivered: OnDelivery<'_>,
    ) -> bool {
        let keys = self.keys.get_or_init(|| Box::new(TrackedKeys::new(self.seed)));
        each_key(&mut |key| keys.add(key, reader));
        self.evict(keys_max, now, delivered)
    }

    /// Forgets keys while there are more than `keys_max`, 0 for no limit, and notifies their readers: up
    /// to [`EVICTED_MAX`] of them. Returns whether there are still too many.
    fn evict(&self, keys_max: usize, now: Millis, delivered: OnDelivery<'_>) -> bool {
        let Some(keys) = self.keys.get() else { return false };
        for _ in 0..EVICTED_MAX {
            if !keys.is_over(keys_max) {
                return false;
            }
            let Some((key, readers)) = keys.take_any() else { return false };
            self.notify(&readers, 0, &mut Invalidation::of_key(&key), now, delivered);
        }
        true
    }

    /// Does what is due at the end of a turn: [`Tracking::broadcast`], and keeps the table within
    /// `keys_max` keys. Returns whether there are still too many.
    pub(super) fn settle(&self, keys_max: usize, now: Millis, delivered: OnDelivery<'_>) -> bool {
        self.broadcast(now, delivered);
        self.evict(keys_max, now, delivered)
    }

    /// Notifies the readers of a key that has changed; notes it for [`Tracking::broadcast`], where, as
    /// on the servers, what a client's script has changed is not the client's own change. Returns whether
    /// that has something to do.
    pub(super) fn note_change(
        &self,
        key: &[u8],
        origin: Origin,
        now: Millis,
        delivered: OnDelivery<'_>,
    ) -> bool {
        let writer = if origin.in_script { 0 } else { origin.client };
        let is_noted =
            self.has_prefixes.load(Ordering::Acquire) && self.prefixes.lock().note(key, writer);
        if let Some(readers) = self.keys.get().and_then(|keys| keys.take(key)) {
            self.notify(&readers, origin.client, &mut Invalidation::of_key(key), now, delivered);
        }
        is_noted
    }

    fn notify(
        &self,
        readers: &Readers,
        writer: u64,
        invalidation: &mut Invalidation<'_>,
        now: Millis,
        delivered: OnDelivery<'_>,
    ) {
        // No lock is held while they are notified.
        let readers = self.seated.lock().numbered(readers);
        for reader in readers {
            let mode = reader.tracking();
            let is_looped = reader.id == writer && mode.has(TrackingMode::NOLOOP);
            if mode.has(TrackingMode::ON) && !mode.has(TrackingMode::BCAST) && !is_looped {
                delivered(self.send(&reader, invalidation, now));
            }
        }
    }

    /// Notifies every client, whatever it has read, that any key may have changed; forgets all keys.
    pub(super) fn note_emptied(&self, now: Millis, delivered: OnDelivery<'_>) {
        if let Some(keys) = self.keys.get() {
            keys.clear();
        }
        let mut seated: Vec<_> = self.seated.lock().by_number.iter().flatten().cloned().collect();
        seated.sort_unstable_by_key(|client| client.id);
        let mut invalidation = Invalidation::of_all();
        for client in seated.iter().filter(|client| client.tracking().has(TrackingMode::ON)) {
            delivered(self.send(client, &mut invalidation, now));
        }
    }

    /// Notifies the clients in broadcast mode of the keys that have changed since the last call.
    fn broadcast(&self, now: Millis, delivered: OnDelivery<'_>) {
        if !self.has_prefixes.load(Ordering::Acquire) {
            return;
        }
        let changed = self.prefixes.lock().take();
        for (keys, clients) in changed {
            let mut of_all = Invalidation::of_keys(keys.keys().map(|key| &**key));
            for id in clients {
                let Some(client) = self.clients.get(id) else { continue };
                let mode = client.tracking();
                if !mode.has(TrackingMode::BCAST) {
                    continue;
                }
                let is_looped = mode.has(TrackingMode::NOLOOP) && keys.values().any(|&it| it == id);
                let sleeper = match is_looped {
                    false => self.send(&client, &mut of_all, now),
                    true => {
                        let others = keys.iter().filter(|&(_, &writer)| writer != id);
                        let mut rest = Invalidation::of_keys(others.map(|(key, _)| &**key));
                        if rest.is_empty() {
                            continue;
                        }
                        self.send(&client, &mut rest, now)
                    }
                };
                delivered(sleeper);
            }
        }
    }

    /// Sends an invalidation to a client, or to the one that it has chosen; returns the waker of
    /// that if it sleeps.
    fn send(
        &self,
        client: &Client,
        invalidation: &mut Invalidation<'_>,
        now: Millis,
    ) -> Option<Waker> {
        let redirect = client.tracking_redirect();
        if redirect == 0 || redirect == client.id {
            let is_redirected = redirect != 0;
            return client.push_invalidation(now, true, |proto, is_subscriber| {
                invalidation.encoded(proto, is_redirected && is_subscriber)
            });
        }
        let chosen = self.clients.covered(self.port, redirect);
        match chosen.filter(|chosen| !chosen.is_closing()) {
            Some(chosen) => chosen.push_invalidation(now, false, |proto, is_subscriber| {
                invalidation.encoded(proto, is_subscriber)
            }),
            None => {
                client.note_broken_redirect();
                let broken = message::redirect_broken(redirect);
                client.push_invalidation(now, true, |proto, _| message::if_resp3(proto, &broken))
            }
        }
    }

    /// Makes a client known that will switch tracking on, and gives it a number.
    pub(super) fn enter(&self, client: &Arc<Client>) {
        let mut seated = self.seated.lock();
        let number = seated.free.pop().unwrap_or_else(|| {
            // No client has number 0.
            let number = seated.by_number.len().max(1);
            seated.by_number.resize(number + 1, None);
            number as u32
        });
        seated.by_number[number as usize] = Some(Arc::clone(client));
        client.set_tracking_number(number);
    }

    /// Forgets a client, for which tracking is off.
    pub(super) fn leave(&self, client: &Client) {
        let number = client.tracking_number();
        let mut seated = self.seated.lock();
        if let Some(place) = seated.by_number.get_mut(number as usize) {
            *place = None;
        }
        seated.gone.push(number);
        let left = seated.by_number.len() - seated.free.len() - seated.gone.len();
        if left <= 1 {
            // Nobody is left who could be notified.
            *seated = Seated::default();
            if let Some(keys) = self.keys.get() {
                keys.clear();
            }
        } else if seated.gone.len() >= GONE_MIN.max(left) {
            let gone = std::mem::take(&mut seated.gone);
            if let Some(keys) = self.keys.get() {
                keys.forget_readers(&gone.iter().copied().collect());
            }
            seated.free.extend(gone);
        }
    }

    /// Switches tracking on for a client, or to another mode and client to notify. Prefixes are added
    /// to those that there are.
    pub(super) fn switch_on<'p>(
        &self,
        client: &Client,
        mode: TrackingMode,
        redirect: u64,
        prefixes: impl Iterator<Item = &'p [u8]>,
    ) {
        let before = client.tracking();
        if !before.has(TrackingMode::ON) {
            self.on.fetch_add(1, Ordering::AcqRel);
        }
        if mode.has(TrackingMode::BCAST) {
            let mut registered = self.prefixes.lock();
            prefixes.for_each(|prefix| registered.add(prefix, client.id));
            self.has_prefixes.store(registered.len() > 0, Ordering::Release);
        }
        let caching = before.has(TrackingMode::CACHING);
        let mode = mode.with(TrackingMode::ON);
        let mode = if caching { mode.with(TrackingMode::CACHING) } else { mode };
        client.set_tracking(mode, redirect);
    }

    /// Switches tracking off for a client. What it has read stays in the table.
    pub(super) fn switch_off(&self, client: &Client) {
        let before = client.tracking();
        if !before.has(TrackingMode::ON) {
            return;
        }
        client.set_tracking(TrackingMode::OFF, 0);
        self.on.fetch_sub(1, Ordering::AcqRel);
        if before.has(TrackingMode::BCAST) {
            let mut registered = self.prefixes.lock();
            registered.remove(client.id);
            self.has_prefixes.store(registered.len() > 0, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests;
