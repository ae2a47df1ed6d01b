//! Keyspace events (`notify-keyspace-events`).
//!
//! A command reports what it did with [`Keyspace::notify_event`]; unless events of that class are
//! wanted, that is one test of a bit. The holder of the shard publishes the events before it
//! releases the shard, so that they arrive in the order of the changes.

use super::Keyspace;

/// A set of event classes of `notify-keyspace-events`, one bit each.
pub(crate) type EventClass = u16;

/// `g`: commands for keys of any type, such as DEL and EXPIRE.
pub(crate) const GENERIC: EventClass = 1;
/// `$`
pub(crate) const STRING: EventClass = 1 << 1;
/// `l`
pub(crate) const LIST: EventClass = 1 << 2;
/// `s`
pub(crate) const SET: EventClass = 1 << 3;
/// `h`
pub(crate) const HASH: EventClass = 1 << 4;
/// `z`
pub(crate) const ZSET: EventClass = 1 << 5;
/// `x`: a key expired.
pub(crate) const EXPIRED: EventClass = 1 << 6;
/// `e`: a key was evicted to make room.
pub(crate) const EVICTED: EventClass = 1 << 7;
/// `t`
pub(crate) const STREAM: EventClass = 1 << 8;
/// `m`: a command read a key that does not exist. Not in `A`.
pub(crate) const MISS: EventClass = 1 << 9;
/// `n`: a key was created. Not in `A`.
pub(crate) const NEW: EventClass = 1 << 10;
/// `d`: events of modules, of which there are none.
pub(crate) const MODULE: EventClass = 1 << 11;

/// Every class.
pub(crate) const ANY: EventClass = (1 << 12) - 1;

/// A key has changed, or all have ([`EMPTIED`]). No class of Redis': it is published in no channel, but
/// to the clients that track the key (CLIENT TRACKING).
pub(crate) const CHANGED: EventClass = 1 << 12;
/// The event of class [`CHANGED`] of a keyspace that was emptied, or where any key may have changed.
pub(crate) const EMPTIED: &str = "emptied";

/// No class, and wanted by none: what happens on replicas alone.
pub(crate) const ON_REPLICAS: EventClass = 1 << 13;

/// `K`, not a class but a way to publish: to the channel named after the key.
pub(crate) const BY_KEY: EventClass = 1 << 14;
/// `E`: to the channel named after the event.
pub(crate) const BY_NAME: EventClass = 1 << 15;

/// What happened to a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its class: one bit.
    pub class: EventClass,
    /// Its name: `set`, `lpush`, `expired`.
    pub name: &'static str,
    /// The key.
    pub key: Box<[u8]>,
    /// What happens on replicas instead.
    pub replicated: Replicated,
}

/// The event of a replica that does what its master replicates: where a command's own effect there
/// would differ (a random choice, a number with rounding, an expiry), it is another command. So
/// measured with redis-server 7.0.15 (`tests/transcripts/node-events.txt`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replicated {
    /// Its class: one bit.
    pub class: EventClass,
    /// Its name.
    pub name: &'static str,
    /// How often it happens; 0 if nothing is replicated.
    pub times: usize,
}

impl Replicated {
    /// Nothing is replicated.
    pub const NOTHING: Self = Self { class: GENERIC, name: "", times: 0 };
    /// The key is deleted.
    pub const DEL: Self = Self::once(GENERIC, "del");

    /// One event.
    #[must_use]
    pub const fn once(class: EventClass, name: &'static str) -> Self {
        Self { class, name, times: 1 }
    }
}

impl Event {
    /// Returns an event that is the same on the key's master and on its replicas.
    #[must_use]
    pub fn new(class: EventClass, name: &'static str, key: &[u8]) -> Self {
        Self { class, name, key: key.into(), replicated: Replicated { class, name, times: 1 } }
    }

    /// Returns the event of a key that has changed; a replica's own keyspace has its own.
    #[must_use]
    pub fn changed(key: &[u8]) -> Self {
        Self { replicated: Replicated::NOTHING, ..Self::new(CHANGED, "", key) }
    }

    /// Returns the events that a replica publishes for this one of its master.
    pub fn on_replica(&self) -> impl Iterator<Item = Self> {
        let Replicated { class, name, times } = self.replicated;
        (0..times).map(move |_| Self::new(class, name, &self.key))
    }
}

impl Keyspace {
    /// Records an event if its class is wanted. Commands call this where Redis notifies, after the
    /// change.
    #[inline]
    pub fn notify_event(&mut self, class: EventClass, name: &'static str, key: &[u8]) {
        if self.events_wanted & class != 0 {
            self.events.push(Event::new(class, name, key));
        }
    }

    /// Records an event, if its class or that of its replicas' is wanted, that is another one on
    /// replicas.
    #[inline]
    pub fn notify_replicated(
        &mut self,
        class: EventClass,
        name: &'static str,
        key: &[u8],
        replicated: Replicated,
    ) {
        if self.events_wanted & (class | replicated.class) != 0 {
            self.events.push(Event { replicated, ..Event::new(class, name, key) });
        }
    }

    /// Records that a key has changed, if clients track keys.
    #[inline]
    pub(super) fn note_changed(&mut self, key: &[u8]) {
        if self.events_wanted & CHANGED != 0 {
            self.push_changed(key);
        }
    }

    #[cold]
    fn push_changed(&mut self, key: &[u8]) {
        self.events.push(Event::changed(key));
    }

    /// Records that any key may have changed, if clients track keys.
    pub(super) fn note_emptied(&mut self) {
        if self.events_wanted & CHANGED != 0 {
            self.events.push(Event { name: EMPTIED, ..Event::changed(b"") });
        }
    }

    /// Takes those events out that say that any key may have changed; returns whether there were any.
    pub fn take_emptied(&mut self) -> bool {
        let before = self.events.len();
        self.events.retain(|event| event.name != EMPTIED);
        self.events.len() < before
    }

    /// Returns whether there are events to publish.
    #[must_use]
    #[inline]
    pub fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// Takes the events recorded since the last call, in order.
    pub fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }
}
