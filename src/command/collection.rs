//! What the families of collections share: reading or changing the collection at a key, or
//! WRONGTYPE; storing a computed one; the keyspace events of a removal.

use super::Refusal;
use crate::keyspace::{
    Edited, EventClass, Hash, Key, Keyspace, List, Set, Stream, Ttl, Value, Zset, event,
};
use crate::resp::Sink;

/// A type of collection.
pub(super) trait Collection: Sized {
    /// The value as this type, if it is of this type.
    fn of(value: &Value) -> Option<&Self>;
    /// The same, mutable.
    fn of_mut(value: &mut Value) -> Option<&mut Self>;
}

macro_rules! collections {
    ($($name:ident)*) => {$(
        impl Collection for $name {
            fn of(value: &Value) -> Option<&Self> {
                if let Value::$name(its) = value { Some(its) } else { None }
            }

            fn of_mut(value: &mut Value) -> Option<&mut Self> {
                if let Value::$name(its) = value { Some(its) } else { None }
            }
        }
    )*};
}

collections! { Hash List Set Zset }

impl Collection for Stream {
    fn of(value: &Value) -> Option<&Self> {
        if let Value::Stream(its) = value { Some(its) } else { None }
    }

    fn of_mut(value: &mut Value) -> Option<&mut Self> {
        if let Value::Stream(its) = value { Some(its) } else { None }
    }
}

/// Reads the collection at `key` and counts a hit or a miss.
pub(super) fn read_at<'k, T: Collection + 'k>(
    keyspace: &'k mut Keyspace,
    key: Key<'_>,
) -> Result<Option<&'k T>, Refusal> {
    let Some(value) = keyspace.read(key) else { return Ok(None) };
    T::of(value).map(Some).ok_or(Refusal::WRONG_TYPE)
}

/// Changes the collection at `key`; `None` if the key does not exist.
pub(super) fn change<T: Collection, R>(
    keyspace: &mut Keyspace,
    key: Key<'_>,
    change: impl FnOnce(&mut T) -> Edited<R>,
) -> Result<Option<R>, Refusal> {
    let changed = keyspace.edit(key, |value| match T::of_mut(value).map(change) {
        Some(Edited::Kept(result)) => Edited::Kept(Ok(result)),
        Some(Edited::Changed(result)) => Edited::Changed(Ok(result)),
        Some(Edited::Emptied(result)) => Edited::Emptied(Ok(result)),
        Some(Edited::Unwatched(result)) => Edited::Unwatched(Ok(result)),
        None => Edited::Kept(Err(Refusal::WRONG_TYPE)),
    });
    changed.transpose()
}

/// Publishes the event of a removal from `key`, and the key's own if the collection became empty.
pub(super) fn announce_removal(
    keyspace: &mut Keyspace,
    class: EventClass,
    name: &'static str,
    key: &[u8],
    emptied: bool,
) {
    keyspace.notify_event(class, name, key);
    if emptied {
        keyspace.notify_event(event::GENERIC, "del", key);
    }
}

/// Sets `key` to a computed collection, or removes the key if the collection is empty; replies with
/// the number of elements.
pub(super) fn store(
    keyspace: &mut Keyspace,
    key: Key<'_>,
    value: Value,
    class: EventClass,
    name: &'static str,
    out: &mut Sink<'_>,
) {
    out.count(value.len());
    if !value.is_empty() {
        keyspace.set(key, value, Ttl::Clear);
        keyspace.notify_event(class, name, key.bytes);
    } else if keyspace.delete(key) {
        keyspace.notify_event(event::GENERIC, "del", key.bytes);
    }
}
