//! Fields that expire: when they do, and that they do not.

use super::options::{ExpireOptions, Fields, Unit};
use super::{change, hash_at};
use crate::command::collection::announce_removal;
use crate::command::pace::{Strides, units};
use crate::command::{Args, Cx, Outcome, Refusal};
use crate::keyspace::{Edited, Hash, Key, KeyHasher, Millis, event};
use crate::resp::Sink;

const SECONDS: Millis = 1000;

/// What a command replies for a field that is not there.
const NO_FIELD: i64 = -2;
/// What it replies for a field that does not expire.
const NO_END: i64 = -1;
/// What HEXPIRE replies for a field that is removed at once, as its time is past.
const REMOVED: i64 = 2;

/// HEXPIRE key seconds [NX | XX | GT | LT] FIELDS number field [field ...]
pub(super) fn hexpire(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    expire(cx, args, out, Unit { ms: SECONDS, from_now: true })
}

/// HPEXPIRE, the same in milliseconds
pub(super) fn hpexpire(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    expire(cx, args, out, Unit { ms: 1, from_now: true })
}

/// HEXPIREAT, the same in seconds since the epoch
pub(super) fn hexpireat(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    expire(cx, args, out, Unit { ms: SECONDS, from_now: false })
}

/// HPEXPIREAT, the same in milliseconds since the epoch
pub(super) fn hpexpireat(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    expire(cx, args, out, Unit { ms: 1, from_now: false })
}

fn expire(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>, unit: Unit) -> Outcome {
    let key = cx.key(args.at(1));
    check_first(cx, key)?;
    let ExpireOptions { time, conditions, fields } = ExpireOptions::of(cx, args, unit)?;
    let (now, hasher) = (cx.now(), cx.keyspace.hasher().clone());
    let (replies, emptied) = change(cx.keyspace, key, |hash| {
        let mut strides = Strides::new(cx.pace);
        let replies: Vec<i64> = fields
            .names()
            .map(|name| {
                strides.step(units(name.len()));
                if !hash.contains(name, &hasher) {
                    return NO_FIELD;
                }
                if !conditions.admit(hash.end(name, &hasher), time) {
                    return 0;
                }
                set_end(hash, name, time, now, &hasher)
            })
            .collect();
        match replies.iter().any(|&reply| reply > 0) {
            false => Edited::Kept(Ok((replies, false))),
            true if hash.is_empty() => Edited::Emptied(Ok((replies, true))),
            true => Edited::Changed(Ok((replies, false))),
        }
    })?;
    if replies.contains(&REMOVED) {
        announce_past(cx, key, emptied);
    } else if replies.contains(&1) {
        cx.keyspace.notify_event(event::HASH, "hexpire", key.bytes);
    }
    write_all(out, &replies);
    Ok(())
}

/// Sets when a field expires, which is there; it is removed if that is past. Returns what HEXPIRE
/// replies.
pub(super) fn set_end(
    hash: &mut Hash,
    name: &[u8],
    time: Millis,
    now: Millis,
    hasher: &KeyHasher,
) -> i64 {
    if time <= now {
        hash.remove(name, hasher);
        return REMOVED;
    }
    hash.set_end(name, time, hasher);
    1
}

/// Publishes that fields are gone that were given an end in the past.
pub(super) fn announce_past(cx: &mut Cx<'_>, key: Key<'_>, emptied: bool) {
    match cx.product.expires_at_once {
        true => {
            cx.keyspace.note_fields_expired(key.bytes);
            if emptied {
                cx.keyspace.notify_event(event::GENERIC, "del", key.bytes);
            }
        }
        false => announce_removal(cx.keyspace, event::HASH, "hdel", key.bytes, emptied),
    }
}

/// Redis looks at the type of the value before it reads the options.
pub(super) fn check_first(cx: &mut Cx<'_>, key: Key<'_>) -> Outcome {
    if cx.product.has_valkey_field_options { Ok(()) } else { check_type(cx, key) }
}

/// Refuses a value of another type.
pub(super) fn check_type(cx: &mut Cx<'_>, key: Key<'_>) -> Outcome {
    match cx.keyspace.peek(key).map(|entry| entry.value().as_hash()) {
        Some(None) => Err(Refusal::WRONG_TYPE),
        _ => Ok(()),
    }
}

fn write_all(out: &mut Sink<'_>, replies: &[i64]) {
    out.array(replies.len());
    replies.iter().for_each(|&reply| out.int(reply));
}

/// HTTL key FIELDS number field [field ...]
pub(super) fn httl(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    query(cx, args, out, SECONDS, cx.now())
}

/// HPTTL, the same in milliseconds
pub(super) fn hpttl(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    query(cx, args, out, 1, cx.now())
}

/// HEXPIRETIME, the same in seconds since the epoch
pub(super) fn hexpiretime(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    query(cx, args, out, SECONDS, 0)
}

/// HPEXPIRETIME, the same in milliseconds since the epoch
pub(super) fn hpexpiretime(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    query(cx, args, out, 1, 0)
}

/// Replies with the end of each field: the time since `from` in units of `unit` milliseconds.
fn query(
    cx: &mut Cx<'_>,
    args: Args<'_>,
    out: &mut Sink<'_>,
    unit: Millis,
    from: Millis,
) -> Outcome {
    let key = cx.key(args.at(1));
    check_first(cx, key)?;
    let fields = Fields::at_2(cx, args, true)?;
    let more = if cx.product.has_valkey_field_options { unit / 2 } else { unit - 1 };
    let (hasher, mut strides) = (cx.keyspace.hasher().clone(), Strides::new(cx.pace));
    let hash = hash_at(cx.keyspace, key)?;
    out.array(fields.len());
    for name in fields.names() {
        strides.step(units(name.len()));
        let is_there = hash.is_some_and(|hash| hash.contains(name, &hasher));
        out.int(match hash.and_then(|hash| hash.end(name, &hasher)) {
            // Unsigned, so that rounding the last time of all does not overflow.
            Some(at) => (((at - from).max(0) as u64 + more as u64) / unit as u64) as i64,
            None if is_there => NO_END,
            None => NO_FIELD,
        });
    }
    Ok(())
}

/// HPERSIST key FIELDS number field [field ...]
pub(super) fn hpersist(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let key = cx.key(args.at(1));
    check_first(cx, key)?;
    let fields = Fields::at_2(cx, args, false)?;
    let hasher = cx.keyspace.hasher().clone();
    let replies = change(cx.keyspace, key, |hash| {
        let mut strides = Strides::new(cx.pace);
        let replies: Vec<i64> = fields
            .names()
            .map(|name| {
                strides.step(units(name.len()));
                match () {
                    () if hash.clear_end(name, &hasher) => 1,
                    () if hash.contains(name, &hasher) => NO_END,
                    () => NO_FIELD,
                }
            })
            .collect();
        match replies.contains(&1) {
            true => Edited::Changed(Ok(replies)),
            false => Edited::Kept(Ok(replies)),
        }
    })?;
    if replies.contains(&1) {
        cx.keyspace.notify_event(event::HASH, "hpersist", key.bytes);
    }
    write_all(out, &replies);
    Ok(())
}
