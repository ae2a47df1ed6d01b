//! Keyspace events (`notify-keyspace-events`).
//!
//! A command reports what it did with [`Keyspace::notify_event`]; unless events of that class are
//! wanted, that is one test of a bit. The holder of the shard publishes the events before it
//! releases the shard, so that they arrive in the order of the changes.

use super::Keyspace;

/// A set of event classes of `notify-keyspace-events`, one bit each.
pub type EventClass = u16;

/// `g`: commands for keys of any type, such as DEL and EXPIRE.
pub const GENERIC: EventClass = 1;
/// `$`
pub const STRING: EventClass = 1 << 1;
/// `l`
pub const LIST: EventClass = 1 << 2;
/// `s`
pub const SET: EventClass = 1 << 3;
/// `h`
pub const HASH: EventClass = 1 << 4;
/// `z`
pub const ZSET: EventClass = 1 << 5;
/// `x`: a key expired.
pub const EXPIRED: EventClass = 1 << 6;
/// `e`: a key was evicted to make room.
pub const EVICTED: EventClass = 1 << 7;
/// `t`
pub const STREAM: EventClass = 1 << 8;
/// `m`: a command read a key that does not exist. Not in `A`.
pub const MISS: EventClass = 1 << 9;
/// `n`: a key was created. Not in `A`.
pub const NEW: EventClass = 1 << 10;
/// `d`: events of modules, of which there are none.
pub const MODULE: EventClass = 1 << 11;

/// `K`, not a class but a way to publish: to the channel named after the key.
pub const BY_KEY: EventClass = 1 << 14;
/// `E`: to the channel named after the event.
pub const BY_NAME: EventClass = 1 << 15;

/// What happened to a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its class: one bit.
    pub class: EventClass,
    /// Its name: `set`, `lpush`, `expired`.
    pub name: &'static str,
    /// The key.
    pub key: Box<[u8]>,
}

impl Keyspace {
    /// Records an event if its class is wanted. Commands call this where Redis notifies, after the
    /// change.
    #[inline]
    pub fn notify_event(&mut self, class: EventClass, name: &'static str, key: &[u8]) {
        if self.events_wanted & class != 0 {
            self.events.push(Event { class, name, key: key.into() });
        }
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
