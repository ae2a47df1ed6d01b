//! Publish/subscribe: subscriptions, and the delivery of messages.
//!
//! ```text
//! Subscriptions (a session's) ──► channels:       name    ─► its subscribers
//!        │ dropped: leaves all    shard channels: name    ─► its subscribers
//!        └───────────────────────► patterns:       pattern ─► its subscribers
//! publish ─ the name's lock ─► for each subscriber: Client::push_output ─► wakers
//! ```
//!
//! Messages of one channel are published one at a time, so that all its subscribers, by name or by
//! pattern, receive them in the same order. A message is encoded once per protocol in use and
//! copied into the subscribers' outboxes; the connections send by themselves.
//!
//! A name exists as long as it has subscribers. A client has at most [`SUBSCRIPTIONS_MAX`]
//! subscriptions, with names of at most [`NAMES_LEN_MAX`] bytes together, and loses them with its
//! session.

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

pub(crate) use crate::state::clients::ChannelKind;

/// Most subscriptions of one client, of all kinds together.
pub(crate) const SUBSCRIPTIONS_MAX: usize = 1 << 20;
/// Most bytes in the names that one client is subscribed to.
pub(crate) const NAMES_LEN_MAX: usize = 256 << 20;
/// Channels are locked in this many groups; channels of different groups are published to in
/// parallel.
const LOCKS: usize = 64;

/// The name of a channel, or a pattern.
pub(crate) type ChannelName = Arc<[u8]>;

/// Called for every subscriber that received a message, with its waker if it sleeps, and for every
/// pattern that was tried. The caller wakes the wakers at the end of its batch.
pub(crate) type OnDelivery<'t> = &'t mut dyn FnMut(Option<Waker>);

/// Subscribers by client id. Names without subscribers are not kept.
type Subscribers = BTreeMap<u64, Arc<Client>>;

/// All subscriptions of the process.
#[derive(Debug)]
pub struct PubSub {
    channels: DashMap<ChannelName, Subscribers>,
    shard_channels: DashMap<ChannelName, Subscribers>,
    patterns: RwLock<BTreeMap<ChannelName, Subscribers>>,
    /// The number of patterns: while it is 0, publishing takes no lock on them.
    patterns_count: AtomicUsize,
    /// Counts the shard-channel subscriptions ended because their slot moved away.
    forced_unsubscribes: AtomicU64,
    /// A publisher holds the one that the channel's name hashes to. Locked before any lock above;
    /// those of outboxes are locked last.
    locks: [Mutex<()>; LOCKS],
}

impl Default for PubSub {
    fn default() -> Self {
        Self {
            channels: DashMap::new(),
            shard_channels: DashMap::new(),
            patterns: RwLock::default(),
            patterns_count: AtomicUsize::new(0),
            forced_unsubscribes: AtomicU64::new(0),
            locks: [const { Mutex::new(()) }; LOCKS],
        }
    }
}

/// The numbers of names with subscribers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    pub channels: usize,
    pub patterns: usize,
    pub shard_channels: usize,
}

impl PubSub {
    /// Returns the numbers of names with subscribers, as reported to clients of `port`.
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

    /// Sends a message to the subscribers of `channel` and of patterns that match it; returns the
    /// number of receivers, as reported to clients of `port`.
    pub fn publish(
        &self,
        channel: &[u8],
        message: &[u8],
        port: Port,
        now: Millis,
        delivered: OnDelivery<'_>,
    ) -> usize {
        self.deliver(channel, message, port, |_| true, now, delivered)
    }

    /// Sends a message to those subscribers whose port `hears` it.
    fn deliver(
        &self,
        channel: &[u8],
        message: &[u8],
        port: Port,
        hears: impl Fn(Port) -> bool,
        now: Millis,
        delivered: OnDelivery<'_>,
    ) -> usize {
        let mut delivery = Delivery::for_client_of(port, hears);
        let lock = self.lock_of(channel);
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
        drop(lock);
        delivery.wake(delivered)
    }

    /// Sends a message to the subscribers of a shard channel; returns their number, as reported to
    /// clients of `port`.
    pub fn publish_to_shard(
        &self,
        channel: &[u8],
        message: &[u8],
        port: Port,
        now: Millis,
        delivered: OnDelivery<'_>,
    ) -> usize {
        let mut delivery = Delivery::for_client_of(port, |_| true);
        let lock = self.lock_of(channel);
        if let Some(subscribers) = self.shard_channels.get(channel) {
            delivery.send(&subscribers, &[b"smessage", channel, message], now);
        }
        drop(lock);
        delivery.wake(delivered)
    }

    /// Unsubscribes clients from shard channels that their port does not serve any more, as
    /// `serves` decides by port and slot, and notifies them.
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

    /// Publishes a keyspace event in its two channels to the subscribers of those ports for which
    /// `hears`, given the event's class and the channel's way to publish, is true.
    pub fn publish_event(
        &self,
        Event { class, name, key, .. }: &Event,
        database: usize,
        now: Millis,
        delivered: OnDelivery<'_>,
        hears: impl Fn(Port, EventClass) -> bool,
    ) {
        for (way, word, about, message) in [
            (event::BY_KEY, "keyspace", &**key, name.as_bytes()),
            (event::BY_NAME, "keyevent", name.as_bytes(), &**key),
        ] {
            let mut channel = format!("__{word}@{database}__:").into_bytes();
            channel.extend_from_slice(about);
            let hears = |port| hears(port, class | way);
            self.deliver(&channel, message, Port::Router, hears, now, delivered);
        }
    }

    /// Returns the channels, or shard channels, that have subscribers on `port` and match
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

    /// Returns the number of subscribers of a channel, or shard channel, on `port`.
    #[must_use]
    pub fn subscriber_count(&self, kind: ChannelKind, channel: &[u8], port: Port) -> usize {
        let names = self.names(kind);
        names.and_then(|names| names.get(channel).map(|all| count_for(&all, port))).unwrap_or(0)
    }

    fn lock_of(&self, channel: &[u8]) -> parking_lot::MutexGuard<'_, ()> {
        // `hash_usize` is meant for the map's shards; any spread is good enough here.
        self.locks[self.channels.hash_usize(&channel) % LOCKS].lock()
    }

    /// Returns the map of a kind that is subscribed to by exact names.
    fn names(&self, kind: ChannelKind) -> Option<&DashMap<ChannelName, Subscribers>> {
        match kind {
            ChannelKind::Channel => Some(&self.channels),
            ChannelKind::ShardChannel => Some(&self.shard_channels),
            ChannelKind::Pattern => None,
        }
    }

    /// Adds a subscriber; returns the name, shared by all its subscribers.
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

    /// Removes a subscriber: when this returns, nothing more is sent to it from there.
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

/// Returns the number of subscribers as reported to clients of `port`: a node reports its own
/// clients only.
fn count_for(subscribers: &Subscribers, port: Port) -> usize {
    match port {
        Port::Router => subscribers.len(),
        Port::Node(_) => subscribers.values().filter(|client| client.port == port).count(),
    }
}

/// The receivers of a message, to be reported once no lock is held any more: `OnDelivery` may take
/// time.
struct Delivery<F> {
    /// The port whose clients the count is reported to.
    port: Port,
    /// Whether clients of a port get the message.
    hears: F,
    receivers: usize,
    wakers: Vec<Waker>,
    /// Steps without a waker: receivers that are awake, and patterns that were tried.
    awake: usize,
}

impl<F: Fn(Port) -> bool> Delivery<F> {
    fn for_client_of(port: Port, hears: F) -> Self {
        Self { port, hears, receivers: 0, wakers: Vec::new(), awake: 0 }
    }

    /// Sends a message of these parts to the subscribers, encoded once per protocol.
    fn send(&mut self, subscribers: &Subscribers, parts: &[&[u8]], now: Millis) {
        let (mut resp2, mut resp3) = (Vec::new(), Vec::new());
        for client in subscribers.values().filter(|client| (self.hears)(client.port)) {
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

    /// Calls `delivered` for every step; returns the number of receivers.
    fn wake(self, delivered: OnDelivery<'_>) -> usize {
        (0..self.awake).for_each(|_| delivered(None));
        self.wakers.into_iter().for_each(|wakers| delivered(Some(wakers)));
        self.receivers
    }
}

/// One client's subscriptions. Dropping them unsubscribes the client from everything.
#[derive(Debug)]
pub(crate) struct Subscriptions {
    pubsub: Arc<PubSub>,
    client: Arc<Client>,
    channels: BTreeSet<ChannelName>,
    patterns: BTreeSet<ChannelName>,
    shard_channels: BTreeSet<ChannelName>,
    /// The bytes of all names.
    names_len: usize,
    /// The value of [`PubSub::forced_unsubscribes`] when it was last checked.
    forced_unsubscribes: u64,
}

/// The error for a subscription beyond the limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooManySubscriptions;

impl Subscriptions {
    /// Makes an empty set of subscriptions for a client that uses `proto`, and its outbox with
    /// these limits.
    #[must_use]
    pub(crate) fn new(
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

    /// Subscribes to `name`, if not subscribed yet. Messages go to the client's outbox from now on.
    ///
    /// # Errors
    /// The client has too many subscriptions.
    pub(crate) fn add(
        &mut self,
        kind: ChannelKind,
        name: &[u8],
    ) -> Result<(), TooManySubscriptions> {
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

    /// Unsubscribes from `name`, if subscribed: no further message comes from there.
    pub(crate) fn remove(&mut self, kind: ChannelKind, name: &[u8]) {
        if let Some(name) = self.of_mut(kind).take(name) {
            self.pubsub.leave(kind, &name, self.client.id);
            self.names_len -= name.len();
            self.note();
        }
    }

    /// Drops the shard channels that the client was unsubscribed from because their slot moved
    /// away.
    pub(crate) fn drop_moved_channels(&mut self) {
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
    pub(crate) fn of(&self, kind: ChannelKind) -> &BTreeSet<ChannelName> {
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
    pub(crate) fn is_empty(&self) -> bool {
        self.channels.is_empty() && self.patterns.is_empty() && self.shard_channels.is_empty()
    }

    /// Returns how many subscriptions there are of this kind; channels count together with
    /// patterns.
    #[must_use]
    pub(crate) fn count(&self, kind: ChannelKind) -> usize {
        match kind {
            ChannelKind::Channel | ChannelKind::Pattern => {
                self.channels.len() + self.patterns.len()
            }
            ChannelKind::ShardChannel => self.shard_channels.len(),
        }
    }

    /// Records the numbers of subscriptions in the client's outbox.
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
