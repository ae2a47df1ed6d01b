//! What the families of collections share: the collection at a key, read or changed, or WRONGTYPE;
//! one that was computed, stored; and how it is told that something went.

use super::Refusal;
use crate::keyspace::{
    Edited, EventClass, Hash, Key, Keyspace, List, Set, Ttl, Value, Zset, event,
};
use crate::resp::Sink;

/// So many bytes are copied in about the time of one step of the pace.
pub(super) const BYTES_PER_STEP: usize = 100;

/// What reading or writing a name or a value of `len` bytes costs, in steps of the pace.
pub(super) fn units(len: usize) -> usize {
    1 + len / BYTES_PER_STEP
}

/// A type of collection.
pub(super) trait Collection: Sized {
    /// The value as this type, if it is one.
    fn of(value: &Value) -> Option<&Self>;
    /// The same, to be changed.
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

/// The collection at `key`, as a read that counts.
pub(super) fn read_at<'k, T: Collection + 'k>(
    keyspace: &'k mut Keyspace,
    key: Key<'_>,
) -> Result<Option<&'k T>, Refusal> {
    let Some(value) = keyspace.read(key) else { return Ok(None) };
    T::of(value).map(Some).ok_or(Refusal::WRONG_TYPE)
}

/// Changes the collection at `key`; `None` if there is none.
pub(super) fn change<T: Collection, R>(
    keyspace: &mut Keyspace,
    key: Key<'_>,
    change: impl FnOnce(&mut T) -> Edited<R>,
) -> Result<Option<R>, Refusal> {
    let changed = keyspace.edit(key, |value| match T::of_mut(value).map(change) {
        Some(Edited::Kept(delivered)) => Edited::Kept(Ok(delivered)),
        Some(Edited::Changed(delivered)) => Edited::Changed(Ok(delivered)),
        Some(Edited::Emptied(delivered)) => Edited::Emptied(Ok(delivered)),
        None => Edited::Kept(Err(Refusal::WRONG_TYPE)),
    });
    changed.transpose()
}

/// Says that elements of `key` went, and if it was emptied, that it went too.
pub(super) fn announce_loss(
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

/// Sets `key` to a collection that was computed, or removes it if there is nothing in that; answers
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
