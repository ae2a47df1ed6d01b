//! Who is subscribed to what, and how a message gets to them.
//!
//! ```text
//! Subscriptions (a session's) ──► channels:       name    ─► its audience
//!        │ dropped: leaves all    shard channels: name    ─► its audience
//!        └───────────────────────► patterns:       pattern ─► its audience
//! publish ─ the name's turn ─► each of the audience: Client::mail ─► whom to wake
//! ```
//!
//! Messages of one channel are published one at a time, so that all who hear them, by its name or
//! by a pattern, hear them in one order. A message is encoded once for each protocol that its
//! audience speaks, and copied into their mailboxes; the connections send by themselves.
//!
//! A name is here as long as it has an audience. A client has at most [`SUBSCRIPTIONS_MAX`], of
//! names that together are at most [`NAMES_LEN_MAX`] long, and loses them with its session.

use crate::keyspace::{Event, EventClass, Millis, event};
use crate::resp::{Proto, Sink};
use crate::slot::Slot;
use crate::state::clients::{Client, Listening, Outbox, OutputLimits};
use crate::text::glob;
use crate::topology::Port;
use dashmap::{DashMap, Entry};
use parking_lot::{Mutex, RwLock};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::Waker;

pub use crate::state::clients::Scope;

/// Most subscriptions of one client, of all kinds together.
pub const SUBSCRIPTIONS_MAX: usize = 1 << 20;
/// Most bytes in the names that one client is subscribed to.
pub const NAMES_LEN_MAX: usize = 256 << 20;
/// Channels take turns in this many groups; those of different groups are published to at once.
const TURNS: usize = 64;

/// The name of a channel, or a pattern.
pub type Name = Arc<[u8]>;

/// Told of every subscriber that got a message, and of every pattern that was tried; the caller
/// wakes whom it is given once its batch is done.
pub type OnDelivery<'t> = &'t mut dyn FnMut(Option<Waker>);

/// Subscribers by their ids. The names of empty ones are not kept.
type Audience = BTreeMap<u64, Arc<Client>>;

/// Every subscription of the process.
#[derive(Debug)]
pub struct PubSub {
    channels: DashMap<Name, Audience>,
    shard_channels: DashMap<Name, Audience>,
    patterns: RwLock<BTreeMap<Name, Audience>>,
    /// How many there are, for those who publish while there are none.
    patterns_count: AtomicUsize,
    /// How many subscriptions to shard channels have ended because a slot moved away.
    signed_off: AtomicU64,
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
            signed_off: AtomicU64::new(0),
            turns: [const { Mutex::new(()) }; TURNS],
        }
    }
}

/// How many names have an audience.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the number of what its name says")]
pub struct Counts {
    pub channels: usize,
    pub patterns: usize,
    pub shard_channels: usize,
}

impl PubSub {
    /// How many names have an audience, as clients of `port` are told.
    #[must_use]
    pub fn counts(&self, port: Port) -> Counts {
        let heard = |names: &DashMap<Name, Audience>| match port {
            Port::Router => names.len(),
            Port::Node(_) => names.iter().filter(|audience| counted(audience, port) > 0).count(),
        };
        let patterns = match port {
            Port::Router => self.patterns_count.load(Ordering::Relaxed),
            Port::Node(_) => {
                let patterns = self.patterns.read();
                patterns.values().filter(|audience| counted(audience, port) > 0).count()
            }
        };
        Counts {
            channels: heard(&self.channels),
            patterns,
            shard_channels: heard(&self.shard_channels),
        }
    }

    /// Sends a message to whoever is subscribed to `channel`, or to a pattern that it matches, and
    /// gives how many times it was heard, as clients of `port` are told.
    pub fn publish(
        &self,
        channel: &[u8],
        message: &[u8],
        port: Port,
        now: Millis,
        delivered: OnDelivery<'_>,
    ) -> usize {
        let mut hearers = Hearers::for_client_of(port);
        let turn = self.turn_of(channel);
        if let Some(audience) = self.channels.get(channel) {
            hearers.tell(&audience, &[b"message", channel, message], now);
        }
        if self.patterns_count.load(Ordering::Acquire) > 0 {
            for (pattern, audience) in &*self.patterns.read() {
                hearers.awake += 1;
                if glob::matches(pattern, channel) {
                    hearers.tell(audience, &[b"pmessage", pattern, channel, message], now);
                }
            }
        }
        drop(turn);
        hearers.wake(delivered)
    }

    /// Sends a message to whoever is subscribed to the shard channel, and gives how many they are,
    /// as clients of `port` are told.
    pub fn publish_to_shard(
        &self,
        channel: &[u8],
        message: &[u8],
        port: Port,
        now: Millis,
        delivered: OnDelivery<'_>,
    ) -> usize {
        let mut hearers = Hearers::for_client_of(port);
        let turn = self.turn_of(channel);
        if let Some(audience) = self.shard_channels.get(channel) {
            hearers.tell(&audience, &[b"smessage", channel, message], now);
        }
        drop(turn);
        hearers.wake(delivered)
    }

    /// Signs clients off from the shard channels that their port does not serve any more, as
    /// `serves` says of a port and a channel's slot, and tells them so.
    pub fn sign_off(
        &self,
        serves: impl Fn(Port, Slot) -> bool,
        now: Millis,
        delivered: OnDelivery<'_>,
    ) {
        let mut sleepers = Vec::new();
        self.shard_channels.retain(|name, audience| {
            let slot = Slot::of(name);
            audience.retain(|_, client| {
                let stays = serves(client.port, slot);
                if !stays {
                    self.signed_off.fetch_add(1, Ordering::AcqRel);
                    let left = client.outbox().map_or(0, Outbox::lose_shard_channel);
                    let mut letter = Vec::new();
                    sleepers.push(client.mail(now, |proto| {
                        let mut sink = Sink::new(&mut letter, proto);
                        sink.push(3);
                        sink.bulk(b"sunsubscribe");
                        sink.bulk(name);
                        sink.count(left);
                        &letter
                    }));
                }
                stays
            });
            !audience.is_empty()
        });
        sleepers.into_iter().for_each(delivered);
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

    /// The channels, or shard channels, that have an audience on `port` and match `pattern`.
    #[must_use]
    pub fn matching(&self, scope: Scope, pattern: Option<&[u8]>, port: Port) -> Vec<Name> {
        let fits = |name: &[u8]| pattern.is_none_or(|pattern| glob::matches(pattern, name));
        let Some(names) = self.names(scope) else { return Vec::new() };
        let heard = names.iter().filter(|it| fits(it.key()) && counted(it.value(), port) > 0);
        heard.map(|name| Arc::clone(name.key())).collect()
    }

    /// How many clients of `port` are subscribed to this channel, or shard channel.
    #[must_use]
    pub fn audience(&self, scope: Scope, channel: &[u8], port: Port) -> usize {
        let names = self.names(scope);
        names.and_then(|names| names.get(channel).map(|all| counted(&all, port))).unwrap_or(0)
    }

    fn turn_of(&self, channel: &[u8]) -> parking_lot::MutexGuard<'_, ()> {
        // `hash_usize` says where in the map; any spread is good enough here.
        self.turns[self.channels.hash_usize(&channel) % TURNS].lock()
    }

    /// What is subscribed to by exact names.
    fn names(&self, scope: Scope) -> Option<&DashMap<Name, Audience>> {
        match scope {
            Scope::Channel => Some(&self.channels),
            Scope::ShardChannel => Some(&self.shard_channels),
            Scope::Pattern => None,
        }
    }

    /// Adds `client` to the audience; gives the name as everybody shares it.
    fn join(&self, scope: Scope, name: &[u8], client: &Arc<Client>) -> Name {
        let (name, client) = (Name::from(name), Arc::clone(client));
        match self.names(scope) {
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

    /// Takes the client out of the audience: when this returns, nothing more is sent to it there.
    fn leave(&self, scope: Scope, name: &Name, client: u64) {
        match self.names(scope) {
            Some(names) => {
                if let Entry::Occupied(mut audience) = names.entry(Arc::clone(name)) {
                    audience.get_mut().remove(&client);
                    if audience.get().is_empty() {
                        audience.remove();
                    }
                }
            }
            None => {
                let mut patterns = self.patterns.write();
                if let Some(audience) = patterns.get_mut(name) {
                    audience.remove(&client);
                    if audience.is_empty() {
                        patterns.remove(name);
                    }
                }
                self.patterns_count.store(patterns.len(), Ordering::Release);
            }
        }
    }
}

/// How many of an audience clients of `port` are told of: a node knows of its own only.
fn counted(audience: &Audience, port: Port) -> usize {
    match port {
        Port::Router => audience.len(),
        Port::Node(_) => audience.values().filter(|client| client.port == port).count(),
    }
}

/// Who got a message, and is to be told of it once no lock is held any more: telling may take its
/// time.
struct Hearers {
    /// Whose clients are told how many heard it.
    port: Port,
    heard: usize,
    sleepers: Vec<Waker>,
    /// Steps that woke nobody: hearers who were awake, and patterns that were tried.
    awake: usize,
}

impl Hearers {
    fn for_client_of(port: Port) -> Self {
        Self { port, heard: 0, sleepers: Vec::new(), awake: 0 }
    }

    /// Writes a message of these parts to the audience, encoded once for each protocol.
    fn tell(&mut self, audience: &Audience, parts: &[&[u8]], now: Millis) {
        let (mut resp2, mut resp3) = (Vec::new(), Vec::new());
        for client in audience.values() {
            let sleeper = client.mail(now, |proto| {
                let letter = match proto {
                    Proto::Resp2 => &mut resp2,
                    Proto::Resp3 => &mut resp3,
                };
                if letter.is_empty() {
                    let mut sink = Sink::new(letter, proto);
                    sink.push(parts.len());
                    parts.iter().for_each(|part| sink.bulk(part));
                }
                letter
            });
            match sleeper {
                Some(sleeper) => self.sleepers.push(sleeper),
                None => self.awake += 1,
            }
        }
        self.heard += counted(audience, self.port);
    }

    /// Tells of everybody; gives how many heard the message.
    fn wake(self, delivered: OnDelivery<'_>) -> usize {
        (0..self.awake).for_each(|_| delivered(None));
        self.sleepers.into_iter().for_each(|sleeper| delivered(Some(sleeper)));
        self.heard
    }
}

/// What one client is subscribed to. It leaves everything when this is dropped.
#[derive(Debug)]
pub struct Subscriptions {
    pubsub: Arc<PubSub>,
    client: Arc<Client>,
    channels: BTreeSet<Name>,
    patterns: BTreeSet<Name>,
    shard_channels: BTreeSet<Name>,
    /// The length of all names together.
    names_len: usize,
    /// How many subscriptions of anybody had been ended from outside when this was last seen to.
    signed_off: u64,
}

/// A client has as many subscriptions as it may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMany;

impl Subscriptions {
    /// None yet, of a client that speaks `proto`. It gets a mailbox with these limits.
    #[must_use]
    pub fn new(
        pubsub: Arc<PubSub>,
        client: Arc<Client>,
        limits: &Arc<OutputLimits>,
        proto: Proto,
    ) -> Self {
        client.listen(limits, proto);
        let signed_off = pubsub.signed_off.load(Ordering::Acquire);
        Self {
            signed_off,
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
    pub fn add(&mut self, scope: Scope, name: &[u8]) -> Result<(), TooMany> {
        if self.of(scope).contains(name) {
            return Ok(());
        }
        let count = self.channels.len() + self.patterns.len() + self.shard_channels.len();
        if count >= SUBSCRIPTIONS_MAX || self.names_len + name.len() > NAMES_LEN_MAX {
            return Err(TooMany);
        }
        let name = self.pubsub.join(scope, name, &self.client);
        self.names_len += name.len();
        self.of_mut(scope).insert(name);
        self.note();
        Ok(())
    }

    /// Ends the subscription to `name`, if there is one: nothing more comes from there.
    pub fn remove(&mut self, scope: Scope, name: &[u8]) {
        if let Some(name) = self.of_mut(scope).take(name) {
            self.pubsub.leave(scope, &name, self.client.id);
            self.names_len -= name.len();
            self.note();
        }
    }

    /// Forgets the shard channels that the client was signed off from.
    pub fn see_to_losses(&mut self) {
        let signed_off = self.pubsub.signed_off.load(Ordering::Acquire);
        if signed_off != std::mem::replace(&mut self.signed_off, signed_off) {
            let Self { pubsub, client, shard_channels, names_len, .. } = self;
            shard_channels.retain(|name| {
                let all = pubsub.shard_channels.get(name);
                let stays = all.is_some_and(|audience| audience.contains_key(&client.id));
                *names_len -= if stays { 0 } else { name.len() };
                stays
            });
        }
    }

    /// The names of one kind, in order.
    #[must_use]
    pub fn of(&self, scope: Scope) -> &BTreeSet<Name> {
        match scope {
            Scope::Channel => &self.channels,
            Scope::Pattern => &self.patterns,
            Scope::ShardChannel => &self.shard_channels,
        }
    }

    fn of_mut(&mut self, scope: Scope) -> &mut BTreeSet<Name> {
        match scope {
            Scope::Channel => &mut self.channels,
            Scope::Pattern => &mut self.patterns,
            Scope::ShardChannel => &mut self.shard_channels,
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.channels.is_empty() && self.patterns.is_empty() && self.shard_channels.is_empty()
    }

    /// How many there are of the kind that `scope` counts with: channels count with patterns.
    #[must_use]
    pub fn count(&self, scope: Scope) -> usize {
        match scope {
            Scope::Channel | Scope::Pattern => self.channels.len() + self.patterns.len(),
            Scope::ShardChannel => self.shard_channels.len(),
        }
    }

    /// Tells others what the client is subscribed to.
    fn note(&self) {
        if let Some(outbox) = self.client.outbox() {
            outbox.set_listening(Listening {
                channels: self.channels.len() as u32,
                patterns: self.patterns.len() as u32,
                shard_channels: self.shard_channels.len() as u32,
            });
        }
    }
}

impl Drop for Subscriptions {
    fn drop(&mut self) {
        for scope in [Scope::Channel, Scope::Pattern, Scope::ShardChannel] {
            for name in std::mem::take(self.of_mut(scope)) {
                self.pubsub.leave(scope, &name, self.client.id);
            }
        }
        self.note();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::clients::{Clients, Seat};
    use std::net::SocketAddr;

    /// A registry and clients that listen to it.
    struct World {
        pubsub: Arc<PubSub>,
        seats: Vec<Seat>,
    }

    fn world(clients: usize) -> World {
        let (registry, address) = (Arc::new(Clients::default()), ([127, 0, 0, 1], 1));
        let address = SocketAddr::from(address);
        let seat =
            |_| registry.register(address, address, Port::Router, 7, 0, clients).expect("a seat");
        World { pubsub: Arc::default(), seats: (0..clients).map(seat).collect() }
    }

    impl World {
        fn subscriptions(&self, of: usize) -> Subscriptions {
            let client = Arc::clone(&self.seats[of]);
            Subscriptions::new(Arc::clone(&self.pubsub), client, &Arc::default(), Proto::Resp2)
        }

        fn publish(&self, channel: &str, message: &str) -> usize {
            self.pubsub.publish(
                channel.as_bytes(),
                message.as_bytes(),
                Port::Router,
                0,
                &mut |_| (),
            )
        }

        fn mail(&self, of: usize) -> String {
            let mut mail = Vec::new();
            self.seats[of].outbox().expect("it listens").take(&mut mail);
            String::from_utf8(mail).expect("text").replace("\r\n", " ")
        }
    }

    #[test]
    fn a_message_goes_to_channels_first_and_to_each_pattern() {
        let world = world(2);
        let (mut one, mut two) = (world.subscriptions(0), world.subscriptions(1));
        for (scope, name) in
            [(Scope::Channel, "ab"), (Scope::Pattern, "a*"), (Scope::Pattern, "*b")]
        {
            one.add(scope, name.as_bytes()).expect("room");
            one.add(scope, name.as_bytes()).expect("it is there already");
        }
        two.add(Scope::ShardChannel, b"ab").expect("room");
        two.add(Scope::Pattern, b"*c").expect("room");
        assert_eq!(
            (world.publish("ab", "x"), world.publish("b", "y"), world.publish("d", "z")),
            (3, 1, 0)
        );
        assert_eq!(
            world.mail(0),
            "*3 $7 message $2 ab $1 x *4 $8 pmessage $2 *b $2 ab $1 x *4 $8 pmessage $2 a* $2 ab $1 x \
             *4 $8 pmessage $2 *b $1 b $1 y "
        );
        assert_eq!(world.pubsub.publish_to_shard(b"ab", b"s", Port::Router, 0, &mut |_| ()), 1);
        assert_eq!(world.mail(1), "*3 $8 smessage $2 ab $1 s ");
        let counts = Counts { channels: 1, patterns: 3, shard_channels: 1 };
        assert_eq!(world.pubsub.counts(Port::Router), counts);
        assert_eq!(
            world.seats[0].listening(),
            Listening { channels: 1, patterns: 2, shard_channels: 0 }
        );
        assert_eq!((one.count(Scope::Channel), one.count(Scope::ShardChannel)), (3, 0));
    }

    #[test]
    fn names_go_with_the_last_of_their_audience() {
        let world = world(2);
        let (mut one, mut two) = (world.subscriptions(0), world.subscriptions(1));
        for scope in [Scope::Channel, Scope::Pattern, Scope::ShardChannel] {
            one.add(scope, b"n").expect("room");
            two.add(scope, b"n").expect("room");
            one.add(scope, b"own").expect("room");
            two.remove(scope, b"own");
        }
        assert_eq!(world.pubsub.audience(Scope::Channel, b"n", Port::Router), 2);
        one.remove(Scope::Channel, b"n");
        assert!(!one.is_empty() && world.pubsub.audience(Scope::Channel, b"n", Port::Router) == 1);
        drop(one);
        assert!(world.seats[0].listening().is_nothing());
        assert_eq!(
            world.pubsub.counts(Port::Router),
            Counts { channels: 1, patterns: 1, shard_channels: 1 }
        );
        assert_eq!(
            world.pubsub.matching(Scope::ShardChannel, Some(b"?"), Port::Router),
            [Name::from(*b"n")]
        );
        drop(two);
        assert_eq!(
            world.pubsub.counts(Port::Router),
            Counts { channels: 0, patterns: 0, shard_channels: 0 }
        );
        assert_eq!(world.publish("n", "x"), 0);
    }

    #[test]
    fn the_length_of_a_clients_names_is_bounded() {
        let world = world(1);
        let mut one = world.subscriptions(0);
        let long = vec![b'n'; NAMES_LEN_MAX / 2 + 1];
        one.add(Scope::Channel, &long).expect("half of what is allowed");
        assert_eq!(one.add(Scope::Pattern, &long), Err(TooMany));
        assert_eq!(one.add(Scope::Channel, &long), Ok(()), "it is subscribed to that");
        one.remove(Scope::Channel, &long);
        one.add(Scope::Pattern, &long).expect("there is room again");
    }

    #[test]
    fn events_are_told_in_the_ways_that_are_wanted() {
        let world = world(1);
        let mut one = world.subscriptions(0);
        one.add(Scope::Pattern, b"*").expect("room");
        let happened = |name, key: &[u8]| Event { class: event::STRING, name, key: key.into() };
        let events = [happened("set", b"k"), happened("append", b"l")];
        let by_key = "*4 $8 pmessage $1 * $16 __keyspace@0__:";
        let by_name = "*4 $8 pmessage $1 * $18 __keyevent@0__:";
        for (wanted, heard) in [
            (event::BY_KEY, [format!("{by_key}k $3 set "), String::new()]),
            (event::BY_NAME, [String::new(), format!("{by_name}set $1 k ")]),
            (
                event::BY_KEY | event::BY_NAME,
                [format!("{by_key}k $3 set "), format!("{by_name}set $1 k ")],
            ),
            (event::STRING, [String::new(), String::new()]),
        ] {
            world.pubsub.publish_events(&events[..1], wanted, 0, 0, &mut |_| ());
            assert_eq!(world.mail(0), heard.concat());
        }
        world.pubsub.publish_events(&events, event::BY_KEY, 0, 0, &mut |_| ());
        assert_eq!(world.mail(0), format!("{by_key}k $3 set {by_key}l $6 append "));
    }
}
