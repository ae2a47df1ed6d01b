//! Who is subscribed to what, and how a message gets to them.
//!
//! ```text
//! Subscriptions (a session's) ──► channels:       name    ─► its subscribers
//!        │ dropped: leaves all    shard channels: name    ─► its subscribers
//!        └───────────────────────► patterns:       pattern ─► its subscribers
//! publish ─ the name's turn ─► each of the subscribers: Client::mail ─► whom to wake
//! ```
//!
//! Messages of one channel are published one at a time, so that all who hear them, by its name or
//! by a pattern, hear them in one order. A message is encoded once for each protocol that its
//! subscribers speaks, and copied into their mailboxes; the connections send by themselves.
//!
//! A name is here as long as it has an subscribers. A client has at most [`SUBSCRIPTIONS_MAX`], of
//! names that together are at most [`NAMES_LEN_MAX`] long, and loses them with its session.

use crate::keyspace::{Event, EventClass, Millis, event};
use crate::resp::{Proto, Sink};
use crate::slot::Slot;
use crate::state::clients::{Client, Outbox, OutputLimits, SubscriptionCounts};
use crate::text::glob;
use crate::topology::Port;
use dashmap::{DashMap, Entry};
use parking_lot::{Mutex, RwLock};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::Waker;

pub use crate::state::clients::ChannelKind;

/// Most subscriptions of one client, of all kinds together.
pub const SUBSCRIPTIONS_MAX: usize = 1 << 20;
/// Most bytes in the names that one client is subscribed to.
pub const NAMES_LEN_MAX: usize = 256 << 20;
/// Channels take turns in this many groups; those of different groups are published to at once.
const TURNS: usize = 64;

/// The name of a channel, or a pattern.
pub type ChannelName = Arc<[u8]>;

/// Told of every subscriber that got a message, and of every pattern that was tried; the caller
/// wakes whom it is given once its batch is done.
pub type OnDelivery<'t> = &'t mut dyn FnMut(Option<Waker>);

/// Subscribers by their ids. The names of empty ones are not kept.
type Subscribers = BTreeMap<u64, Arc<Client>>;

/// Every subscription of the process.
#[derive(Debug)]
pub struct PubSub {
    channels: DashMap<ChannelName, Subscribers>,
    shard_channels: DashMap<ChannelName, Subscribers>,
    patterns: RwLock<BTreeMap<ChannelName, Subscribers>>,
    /// How many there are, for those who publish while there are none.
    patterns_count: AtomicUsize,
    /// How many subscriptions to shard channels have ended because a slot moved away.
    forced_unsubscribes: AtomicU64,
    /// Whoever publishes holds the one that the channel's name hashes to. Taken before any lock
    /// above; those of mailboxes are taken last.
    turns: [Mutex<()>; TURNS],
}

impl Default for PubSub {
    fn default() -> Self {
        Self {
            channels: DashMap::new(),
            shard_channels: DashMap::new(),
            patterns: RwLock::default(),
            patterns_count: AtomicUsize::new(0),
            forced_unsubscribes: AtomicU64::new(0),
            turns: [const { Mutex::new(()) }; TURNS],
        }
    }
}

/// How many names have an subscribers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the number of what its name says")]
pub struct Counts {
    pub channels: usize,
    pub patterns: usize,
    pub shard_channels: usize,
}

impl PubSub {
    /// Returns how many names have an subscribers, as clients of `port` are told.
    #[must_use]
    pub fn counts(&self, port: Port) -> Counts {
        let heard = |names: &DashMap<ChannelName, Subscribers>| match port {
            Port::Router => names.len(),
            Port::Node(_) => {
                names.iter().filter(|subscribers| count_for(subscribers, port) > 0).count()
            }
        };
        let patterns = match port {
            Port::Router => self.patterns_count.load(Ordering::Relaxed),
            Port::Node(_) => {
                let patterns = self.patterns.read();
                patterns.values().filter(|subscribers| count_for(subscribers, port) > 0).count()
            }
        };
        Counts {
            channels: heard(&self.channels),
            patterns,
            shard_channels: heard(&self.shard_channels),
        }
    }

    /// Sends a message to whoever is subscribed to `channel`, or to a pattern that it matches, and
    /// returns how many times it was heard, as clients of `port` are told.
    pub fn publish(
        &self,
        channel: &[u8],
        message: &[u8],
        port: Port,
        now: Millis,
        delivered: OnDelivery<'_>,
    ) -> usize {
        let mut delivery = Delivery::for_client_of(port);
        let turn = self.turn_of(channel);
        if let Some(subscribers) = self.channels.get(channel) {
            delivery.send(&subscribers, &[b"message", channel, message], now);
        }
        if self.patterns_count.load(Ordering::Acquire) > 0 {
            for (pattern, subscribers) in &*self.patterns.read() {
                delivery.awake += 1;
                if glob::matches(pattern, channel) {
                    delivery.send(subscribers, &[b"pmessage", pattern, channel, message], now);
                }
            }
        }
        drop(turn);
        delivery.wake(delivered)
    }

    /// Sends a message to whoever is subscribed to the shard channel, and returns how many they
    /// are, as clients of `port` are told.
    pub fn publish_to_shard(
        &self,
        channel: &[u8],
        message: &[u8],
        port: Port,
        now: Millis,
        delivered: OnDelivery<'_>,
    ) -> usize {
        let mut delivery = Delivery::for_client_of(port);
        let turn = self.turn_of(channel);
        if let Some(subscribers) = self.shard_channels.get(channel) {
            delivery.send(&subscribers, &[b"smessage", channel, message], now);
        }
        drop(turn);
        delivery.wake(delivered)
    }

    /// Signs clients off from the shard channels that their port does not serve any more, as
    /// `serves` says of a port and a channel's slot, and tells them so.
    pub fn unsubscribe_moved(
        &self,
        serves: impl Fn(Port, Slot) -> bool,
        now: Millis,
        delivered: OnDelivery<'_>,
    ) {
        let mut wakers = Vec::new();
        self.shard_channels.retain(|name, subscribers| {
            let slot = Slot::of(name);
            subscribers.retain(|_, client| {
                let stays = serves(client.port, slot);
                if !stays {
                    self.forced_unsubscribes.fetch_add(1, Ordering::AcqRel);
                    let left = client.outbox().map_or(0, Outbox::remove_shard_channel);
                    let mut encoded = Vec::new();
                    wakers.push(client.push_output(now, |proto| {
                        let mut sink = Sink::new(&mut encoded, proto);
                        sink.push(3);
                        sink.bulk(b"sunsubscribe");
                        sink.bulk(name);
                        sink.count(left);
                        &encoded
                    }));
                }
                stays
            });
            !subscribers.is_empty()
        });
        wakers.into_iter().for_each(delivered);
    }

    /// Publishes what happened to keys, in the ways that `wanted` names.
    pub fn publish_events(
        &self,
        events: &[Event],
        wanted: EventClass,
        database: usize,
        now: Millis,
        delivered: OnDelivery<'_>,
    ) {
        let mut channel = Vec::new();
        let prefixes = ["keyspace", "keyevent"].map(|word| format!("__{word}@{database}__:"));
        for Event { name, key, .. } in events {
            for (way, prefix, about, message) in [
                (event::BY_KEY, &prefixes[0], &**key, name.as_bytes()),
                (event::BY_NAME, &prefixes[1], name.as_bytes(), &**key),
            ] {
                if wanted & way != 0 {
                    channel.clear();
                    channel.extend_from_slice(prefix.as_bytes());
                    channel.extend_from_slice(about);
                    self.publish(&channel, message, Port::Router, now, delivered);
                }
            }
        }
    }

    /// Returns the channels, or shard channels, that have an subscribers on `port` and match
    /// `pattern`.
    #[must_use]
    pub fn matching(
        &self,
        kind: ChannelKind,
        pattern: Option<&[u8]>,
        port: Port,
    ) -> Vec<ChannelName> {
        let fits = |name: &[u8]| pattern.is_none_or(|pattern| glob::matches(pattern, name));
        let Some(names) = self.names(kind) else { return Vec::new() };
        let heard = names.iter().filter(|it| fits(it.key()) && count_for(it.value(), port) > 0);
        heard.map(|name| Arc::clone(name.key())).collect()
    }

    /// Returns how many clients of `port` are subscribed to this channel, or shard channel.
    #[must_use]
    pub fn subscriber_count(&self, kind: ChannelKind, channel: &[u8], port: Port) -> usize {
        let names = self.names(kind);
        names.and_then(|names| names.get(channel).map(|all| count_for(&all, port))).unwrap_or(0)
    }

    fn turn_of(&self, channel: &[u8]) -> parking_lot::MutexGuard<'_, ()> {
        // `hash_usize` says where in the map; any spread is good enough here.
        self.turns[self.channels.hash_usize(&channel) % TURNS].lock()
    }

    /// Returns what is subscribed to by exact names.
    fn names(&self, kind: ChannelKind) -> Option<&DashMap<ChannelName, Subscribers>> {
        match kind {
            ChannelKind::Channel => Some(&self.channels),
            ChannelKind::ShardChannel => Some(&self.shard_channels),
            ChannelKind::Pattern => None,
        }
    }

    /// Adds `client` to the subscribers; returns the name as everybody shares it.
    fn join(&self, kind: ChannelKind, name: &[u8], client: &Arc<Client>) -> ChannelName {
        let (name, client) = (ChannelName::from(name), Arc::clone(client));
        match self.names(kind) {
            Some(names) => {
                let mut entry = names.entry(name).or_default();
                entry.insert(client.id, client);
                Arc::clone(entry.key())
            }
            None => {
                let mut patterns = self.patterns.write();
                let shared =
                    patterns.get_key_value(&name).map_or(name, |(name, _)| Arc::clone(name));
                patterns.entry(Arc::clone(&shared)).or_default().insert(client.id, client);
                self.patterns_count.store(patterns.len(), Ordering::Release);
                shared
            }
        }
    }

    /// Takes the client out of the subscribers: when this returns, nothing more is sent to it there.
    fn leave(&self, kind: ChannelKind, name: &ChannelName, client: u64) {
        match self.names(kind) {
            Some(names) => {
                if let Entry::Occupied(mut subscribers) = names.entry(Arc::clone(name)) {
                    subscribers.get_mut().remove(&client);
                    if subscribers.get().is_empty() {
                        subscribers.remove();
                    }
                }
            }
            None => {
                let mut patterns = self.patterns.write();
                if let Some(subscribers) = patterns.get_mut(name) {
                    subscribers.remove(&client);
                    if subscribers.is_empty() {
                        patterns.remove(name);
                    }
                }
                self.patterns_count.store(patterns.len(), Ordering::Release);
            }
        }
    }
}

/// Returns how many of an subscribers clients of `port` are told of: a node knows of its own only.
fn count_for(subscribers: &Subscribers, port: Port) -> usize {
    match port {
        Port::Router => subscribers.len(),
        Port::Node(_) => subscribers.values().filter(|client| client.port == port).count(),
    }
}

/// Who got a message, and is to be told of it once no lock is held any more: telling may take its
/// time.
struct Delivery {
    /// Whose clients are told how many heard it.
    port: Port,
    receivers: usize,
    wakers: Vec<Waker>,
    /// Steps that woke nobody: delivery who were awake, and patterns that were tried.
    awake: usize,
}

impl Delivery {
    fn for_client_of(port: Port) -> Self {
        Self { port, receivers: 0, wakers: Vec::new(), awake: 0 }
    }

    /// Writes a message of these parts to the subscribers, encoded once for each protocol.
    fn send(&mut self, subscribers: &Subscribers, parts: &[&[u8]], now: Millis) {
        let (mut resp2, mut resp3) = (Vec::new(), Vec::new());
        for client in subscribers.values() {
            let wakers = client.push_output(now, |proto| {
                let encoded = match proto {
                    Proto::Resp2 => &mut resp2,
                    Proto::Resp3 => &mut resp3,
                };
                if encoded.is_empty() {
                    let mut sink = Sink::new(encoded, proto);
                    sink.push(parts.len());
                    parts.iter().for_each(|part| sink.bulk(part));
                }
                encoded
            });
            match wakers {
                Some(wakers) => self.wakers.push(wakers),
                None => self.awake += 1,
            }
        }
        self.receivers += count_for(subscribers, self.port);
    }

    /// Tells of everybody; returns how many heard the message.
    fn wake(self, delivered: OnDelivery<'_>) -> usize {
        (0..self.awake).for_each(|_| delivered(None));
        self.wakers.into_iter().for_each(|wakers| delivered(Some(wakers)));
        self.receivers
    }
}

/// What one client is subscribed to. It leaves everything when this is dropped.
#[derive(Debug)]
pub struct Subscriptions {
    pubsub: Arc<PubSub>,
    client: Arc<Client>,
    channels: BTreeSet<ChannelName>,
    patterns: BTreeSet<ChannelName>,
    shard_channels: BTreeSet<ChannelName>,
    /// The length of all names together.
    names_len: usize,
    /// How many subscriptions of anybody had been ended from outside when this was last seen to.
    forced_unsubscribes: u64,
}

/// A client has as many subscriptions as it may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManySubscriptions;

impl Subscriptions {
    /// None yet, of a client that speaks `proto`. It gets a mailbox with these limits.
    #[must_use]
    pub fn new(
        pubsub: Arc<PubSub>,
        client: Arc<Client>,
        limits: &Arc<OutputLimits>,
        proto: Proto,
    ) -> Self {
        client.open_outbox(limits, proto);
        let forced_unsubscribes = pubsub.forced_unsubscribes.load(Ordering::Acquire);
        Self {
            forced_unsubscribes,
            pubsub,
            client,
            channels: BTreeSet::new(),
            patterns: BTreeSet::new(),
            shard_channels: BTreeSet::new(),
            names_len: 0,
        }
    }

    /// Subscribes to `name`, unless that is so already. Messages go to the client's mailbox from
    /// now on.
    ///
    /// # Errors
    /// The client has too many subscriptions.
    pub fn add(&mut self, kind: ChannelKind, name: &[u8]) -> Result<(), TooManySubscriptions> {
        if self.of(kind).contains(name) {
            return Ok(());
        }
        let count = self.channels.len() + self.patterns.len() + self.shard_channels.len();
        if count >= SUBSCRIPTIONS_MAX || self.names_len + name.len() > NAMES_LEN_MAX {
            return Err(TooManySubscriptions);
        }
        let name = self.pubsub.join(kind, name, &self.client);
        self.names_len += name.len();
        self.of_mut(kind).insert(name);
        self.note();
        Ok(())
    }

    /// Ends the subscription to `name`, if there is one: nothing more comes from there.
    pub fn remove(&mut self, kind: ChannelKind, name: &[u8]) {
        if let Some(name) = self.of_mut(kind).take(name) {
            self.pubsub.leave(kind, &name, self.client.id);
            self.names_len -= name.len();
            self.note();
        }
    }

    /// Forgets the shard channels that the client was signed off from.
    pub fn drop_moved_channels(&mut self) {
        let forced_unsubscribes = self.pubsub.forced_unsubscribes.load(Ordering::Acquire);
        if forced_unsubscribes
            != std::mem::replace(&mut self.forced_unsubscribes, forced_unsubscribes)
        {
            let Self { pubsub, client, shard_channels, names_len, .. } = self;
            shard_channels.retain(|name| {
                let all = pubsub.shard_channels.get(name);
                let stays = all.is_some_and(|subscribers| subscribers.contains_key(&client.id));
                *names_len -= if stays { 0 } else { name.len() };
                stays
            });
        }
    }

    /// Returns the names of one kind, in order.
    #[must_use]
    pub fn of(&self, kind: ChannelKind) -> &BTreeSet<ChannelName> {
        match kind {
            ChannelKind::Channel => &self.channels,
            ChannelKind::Pattern => &self.patterns,
            ChannelKind::ShardChannel => &self.shard_channels,
        }
    }

    fn of_mut(&mut self, kind: ChannelKind) -> &mut BTreeSet<ChannelName> {
        match kind {
            ChannelKind::Channel => &mut self.channels,
            ChannelKind::Pattern => &mut self.patterns,
            ChannelKind::ShardChannel => &mut self.shard_channels,
        }
    }

    /// Returns whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.channels.is_empty() && self.patterns.is_empty() && self.shard_channels.is_empty()
    }

    /// Returns how many there are of the kind that `kind` counts with: channels count with
    /// patterns.
    #[must_use]
    pub fn count(&self, kind: ChannelKind) -> usize {
        match kind {
            ChannelKind::Channel | ChannelKind::Pattern => {
                self.channels.len() + self.patterns.len()
            }
            ChannelKind::ShardChannel => self.shard_channels.len(),
        }
    }

    /// Tells others what the client is subscribed to.
    fn note(&self) {
        if let Some(outbox) = self.client.outbox() {
            outbox.set_subscription_counts(SubscriptionCounts {
                channels: self.channels.len() as u32,
                patterns: self.patterns.len() as u32,
                shard_channels: self.shard_channels.len() as u32,
            });
        }
    }
}

impl Drop for Subscriptions {
    fn drop(&mut self) {
        for kind in [ChannelKind::Channel, ChannelKind::Pattern, ChannelKind::ShardChannel] {
            for name in std::mem::take(self.of_mut(kind)) {
                self.pubsub.leave(kind, &name, self.client.id);
            }
        }
        self.note();
    }
}

#[cfg(test)]
mod tests;
