//! What happened to keys, for those who want to be told (`notify-keyspace-events`).
//!
//! A command says what it did with [`super::Keyspace::announce`]; unless somebody asked for events
//! of that class, that is one test of a bit. Whoever holds the shard takes the events and publishes
//! them before anybody else gets the shard, so that they come in the order of the changes.

use super::Keyspace;

/// A class of events, as `notify-keyspace-events` tells them apart.
pub type EventClass = u16;

/// `g`: what any key may meet, as DEL and EXPIRE.
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
/// `x`: a key's time had come.
pub const EXPIRED: EventClass = 1 << 6;
/// `e`: a key was evicted to make room.
pub const EVICTED: EventClass = 1 << 7;
/// `t`
pub const STREAM: EventClass = 1 << 8;
/// `m`: somebody asked for a key that is not there. Not in `A`.
pub const MISS: EventClass = 1 << 9;
/// `n`: a key came to be. Not in `A`.
pub const NEW: EventClass = 1 << 10;
/// `d`: what modules tell, of which there are none.
pub const MODULE: EventClass = 1 << 11;

/// `K`, no class but a way to tell: to channels that are named by the key.
pub const BY_KEY: EventClass = 1 << 14;
/// `E`: to channels that are named by the event.
pub const BY_NAME: EventClass = 1 << 15;

/// What happened to a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its class: one bit.
    pub class: EventClass,
    /// What it is called: `set`, `lpush`, `expired`.
    pub name: &'static str,
    /// The key.
    pub key: Box<[u8]>,
}

impl Keyspace {
    /// Says what happened to a key, for those who asked for events of this class. Commands call
    /// this where Redis notifies, after the change.
    #[inline]
    pub fn notify_event(&mut self, class: EventClass, name: &'static str, key: &[u8]) {
        if self.events_wanted & class != 0 {
            self.events.push(Event { class, name, key: key.into() });
        }
    }

    /// Whether something happened that was not told yet.
    #[must_use]
    #[inline]
    pub fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// Takes what happened since this was last asked, in order.
    pub fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }
}
