//! Hashes: fields with values at one key.
//!
//! ```text
//! hash          the rows; reading, setting and removing fields
//! hash/count    values that are numbers: HINCRBY, HINCRBYFLOAT
//! hash/ends     fields that expire: HEXPIRE, HTTL, HPERSIST and their kin
//! hash/until    HGETEX, HSETEX, HGETDEL
//! hash/options  the options of these, as Redis and as Valkey reads them
//! hash/random   random fields: HRANDFIELD
//! hash/scan     fields page by page: HSCAN
//! ```
//!
//! A missing key is an empty hash, and a hash that loses its last field is a missing key.

mod count;
mod options;
mod ends;
mod until;
mod random;
mod scan;

use super::collection::{announce_removal, read_at};
use super::pace::{Strides, units};
use super::spec::access::{ACCESS, DELETE, INSERT, RO, RW, UPDATE};
use super::spec::flag::{DENYOOM, FAST, READ, WRITE};
use super::spec::{
    Arity::{AtLeast, Exactly},
    BASE, Doc, Group, Keys, Run, SAME, Spec, Variant, acl, check,
};
use super::{Args, Cx, Outcome, Refusal};
use crate::dialect::servers;
use crate::keyspace::{Edited, Hash, Key, Keyspace, Pair, Ttl, Value, event};
use crate::resp::Sink;

/// Defaults of the rows.
const HASH: Spec = Spec { group: Group::Hash, acl: acl::HASH, since: "2.0.0", ..BASE };

/// One key whose data are returned.
const READ_KEY: &[Keys] = &[Keys::at(RO | ACCESS, 1)];
/// One key of which only a size or an existence is returned.
const INSPECTED_KEY: &[Keys] = &[Keys::at(RO, 1)];
/// One key of which a value is changed and returned.
const MODIFIED_KEY: &[Keys] = &[Keys::at(RW | ACCESS | UPDATE, 1)];
/// One key in which values are set.
const UPDATED_KEY: &[Keys] = &[Keys::at(RW | UPDATE, 1)];

const RANDOM: &[&str] = &["nondeterministic_output"];
/// Valkey has no hint for them.
const PLAIN_IN_VALKEY: &[Variant] =
    &[Variant { servers: servers::VALKEY9, tips: Some(&[]), ..SAME }];
const UNORDERED: &[&str] = &["nondeterministic_output_order"];

pub(super) const ROWS: &[Spec] = &[
    Spec {
        name: "hdel",
        arity: AtLeast(3),
        flags: WRITE | FAST,
        keys: &[Keys::at(RW | DELETE, 1)],
        complexity: "O(N) where N is the number of fields to be removed.",
        summary: "Removes fields from a hash; returns how many existed.",
        run: Run::Shard(hdel),
        ..HASH
    },
    Spec {
        name: "hexists",
        arity: Exactly(3),
        flags: READ | FAST,
        keys: INSPECTED_KEY,
        summary: "Returns whether a hash has a field.",
        run: Run::Shard(hexists),
        ..HASH
    },
    Spec {
        name: "hget",
        arity: Exactly(3),
        flags: READ | FAST,
        keys: READ_KEY,
        summary: "Returns the value of a field.",
        run: Run::Shard(hget),
        ..HASH
    },
    Spec {
        name: "hgetall",
        arity: Exactly(2),
        flags: READ,
        keys: READ_KEY,
        tips: UNORDERED,
        complexity: "O(N) where N is the size of the hash.",
        summary: "Returns all fields of a hash with their values.",
        run: Run::Shard(hgetall),
        ..HASH
    },
    Spec {
        name: "hincrby",
        arity: Exactly(4),
        flags: WRITE | DENYOOM | FAST,
        keys: MODIFIED_KEY,
        summary: "Adds a number to an integer in a field; a missing field counts as 0.",
        run: Run::Shard(count::hincrby),
        ..HASH
    },
    Spec {
        name: "hincrbyfloat",
        arity: Exactly(4),
        flags: WRITE | DENYOOM | FAST,
        keys: MODIFIED_KEY,
        since: "2.6.0",
        summary: "Adds a floating-point number to the one in a field; a missing field counts as 0.",
        run: Run::Shard(count::hincrbyfloat),
        ..HASH
    },
    Spec {
        name: "hkeys",
        arity: Exactly(2),
        flags: READ,
        keys: READ_KEY,
        tips: UNORDERED,
        complexity: "O(N) where N is the size of the hash.",
        summary: "Returns the names of all fields of a hash.",
        run: Run::Shard(hkeys),
        ..HASH
    },
    Spec {
        name: "hlen",
        arity: Exactly(2),
        flags: READ | FAST,
        keys: INSPECTED_KEY,
        summary: "Counts the fields of a hash.",
        run: Run::Shard(hlen),
        ..HASH
    },
    Spec {
        name: "hmget",
        arity: AtLeast(3),
        flags: READ | FAST,
        keys: READ_KEY,
        complexity: "O(N) where N is the number of fields being requested.",
        summary: "Returns the values of several fields.",
        run: Run::Shard(hmget),
        ..HASH
    },
    Spec {
        name: "hmset",
        doc: Doc::not_in_redis("4.0.0", "`HSET`"),
        arity: AtLeast(4),
        flags: WRITE | DENYOOM | FAST,
        keys: UPDATED_KEY,
        complexity: "O(N) where N is the number of fields being set.",
        summary: "Sets several fields.",
        run: Run::Shard(hmset),
        ..HASH
    },
    Spec {
        name: "hrandfield",
        arity: AtLeast(2),
        flags: READ,
        keys: READ_KEY,
        tips: RANDOM,
        since: "6.2.0",
        complexity: "O(N) where N is the number of fields returned",
        summary: "Returns random fields of a hash.",
        run: Run::Shard(random::hrandfield),
        ..HASH
    },
    Spec {
        name: "hscan",
        arity: AtLeast(3),
        flags: READ,
        keys: READ_KEY,
        tips: RANDOM,
        since: "2.8.0",
        complexity: "O(1) for every call. O(N) for a complete iteration, including enough command \
                     calls for the cursor to return back to 0. N is the number of elements inside \
                     the collection..",
        summary: "Iterates over the fields of a hash page by page.",
        run: Run::Shard(scan::hscan),
        ..HASH
    },
    Spec {
        name: "hset",
        arity: AtLeast(4),
        flags: WRITE | DENYOOM | FAST,
        keys: UPDATED_KEY,
        complexity: "O(1) for each field/value pair added, so O(N) to add N field/value pairs when \
                     the command is called with multiple field/value pairs.",
        summary: "Sets one or more fields; returns how many are new.",
        run: Run::Shard(hset),
        ..HASH
    },
    Spec {
        name: "hsetnx",
        arity: Exactly(4),
        flags: WRITE | DENYOOM | FAST,
        keys: &[Keys::at(RW | INSERT, 1)],
        summary: "Sets a field unless it exists.",
        run: Run::Shard(hsetnx),
        ..HASH
    },
    Spec {
        name: "hstrlen",
        arity: Exactly(3),
        flags: READ | FAST,
        keys: INSPECTED_KEY,
        since: "3.2.0",
        summary: "Returns the length of a field's value in bytes.",
        run: Run::Shard(hstrlen),
        ..HASH
    },
    Spec {
        name: "hvals",
        arity: Exactly(2),
        flags: READ,
        keys: READ_KEY,
        tips: UNORDERED,
        complexity: "O(N) where N is the size of the hash.",
        summary: "Returns all values of a hash.",
        run: Run::Shard(hvals),
        ..HASH
    },
    Spec {
        name: "hexpire",
        arity: AtLeast(6),
        flags: WRITE | FAST,
        keys: UPDATED_KEY,
        servers: servers::SINCE_7_2,
        since: "7.4.0",
        complexity: "O(N) where N is the number of specified fields",
        summary: "Sets when fields expire, in seconds from now.",
        run: Run::Shard(ends::hexpire),
        ..HASH
    },
    Spec {
        name: "hpexpire",
        arity: AtLeast(6),
        flags: WRITE | FAST,
        keys: UPDATED_KEY,
        servers: servers::SINCE_7_2,
        since: "7.4.0",
        complexity: "O(N) where N is the number of specified fields",
        summary: "Sets when fields expire, in milliseconds from now.",
        run: Run::Shard(ends::hpexpire),
        ..HASH
    },
    Spec {
        name: "hexpireat",
        arity: AtLeast(6),
        flags: WRITE | FAST,
        keys: UPDATED_KEY,
        servers: servers::SINCE_7_2,
        since: "7.4.0",
        complexity: "O(N) where N is the number of specified fields",
        summary: "Sets when fields expire, as a Unix time in seconds.",
        run: Run::Shard(ends::hexpireat),
        ..HASH
    },
    Spec {
        name: "hpexpireat",
        arity: AtLeast(6),
        flags: WRITE | FAST,
        keys: UPDATED_KEY,
        servers: servers::SINCE_7_2,
        since: "7.4.0",
        complexity: "O(N) where N is the number of specified fields",
        summary: "Sets when fields expire, as a Unix time in milliseconds.",
        run: Run::Shard(ends::hpexpireat),
        ..HASH
    },
    Spec {
        name: "httl",
        variants: PLAIN_IN_VALKEY,
        arity: AtLeast(5),
        flags: READ | FAST,
        keys: READ_KEY,
        servers: servers::SINCE_7_2,
        tips: &["nondeterministic_output"],
        since: "7.4.0",
        complexity: "O(N) where N is the number of specified fields",
        summary: "Returns in how many seconds fields expire.",
        run: Run::Shard(ends::httl),
        ..HASH
    },
    Spec {
        name: "hpttl",
        variants: PLAIN_IN_VALKEY,
        arity: AtLeast(5),
        flags: READ | FAST,
        keys: READ_KEY,
        servers: servers::SINCE_7_2,
        tips: &["nondeterministic_output"],
        since: "7.4.0",
        complexity: "O(N) where N is the number of specified fields",
        summary: "Returns in how many milliseconds fields expire.",
        run: Run::Shard(ends::hpttl),
        ..HASH
    },
    Spec {
        name: "hexpiretime",
        arity: AtLeast(5),
        flags: READ | FAST,
        keys: READ_KEY,
        servers: servers::SINCE_7_2,
        since: "7.4.0",
        complexity: "O(N) where N is the number of specified fields",
        summary: "Returns when fields expire, as Unix times in seconds.",
        run: Run::Shard(ends::hexpiretime),
        ..HASH
    },
    Spec {
        name: "hpexpiretime",
        arity: AtLeast(5),
        flags: READ | FAST,
        keys: READ_KEY,
        servers: servers::SINCE_7_2,
        since: "7.4.0",
        complexity: "O(N) where N is the number of specified fields",
        summary: "Returns when fields expire, as Unix times in milliseconds.",
        run: Run::Shard(ends::hpexpiretime),
        ..HASH
    },
    Spec {
        name: "hpersist",
        arity: AtLeast(5),
        flags: WRITE | FAST,
        keys: UPDATED_KEY,
        servers: servers::SINCE_7_2,
        since: "7.4.0",
        complexity: "O(N) where N is the number of specified fields",
        summary: "Makes fields stay that were to expire.",
        run: Run::Shard(ends::hpersist),
        ..HASH
    },
    Spec {
        name: "hgetex",
        variants: &[Variant {
            servers: servers::VALKEY9,
            keys: Some(&[Keys::at(RW | ACCESS | UPDATE, 1)]),
            ..SAME
        }],
        arity: AtLeast(5),
        flags: WRITE | FAST,
        keys: &[Keys::at(RW | ACCESS | UPDATE, 1).noted("RW and UPDATE because it changes the TTL")],
        servers: servers::SINCE_7_2,
        since: "8.0.0",
        complexity: "O(N) where N is the number of specified fields",
        summary: "Returns the values of fields, and sets when they expire.",
        run: Run::Shard(until::hgetex),
        ..HASH
    },
    Spec {
        name: "hsetex",
        variants: &[Variant {
            servers: servers::VALKEY9,
            keys: Some(&[Keys::at(RW | INSERT, 1)]),
            ..SAME
        }],
        arity: AtLeast(6),
        flags: WRITE | DENYOOM | FAST,
        keys: UPDATED_KEY,
        servers: servers::SINCE_7_2,
        since: "8.0.0",
        complexity: "O(N) where N is the number of specified fields",
        summary: "Sets fields, and when they expire.",
        run: Run::Shard(until::hsetex),
        ..HASH
    },
    Spec {
        name: "hgetdel",
        arity: AtLeast(5),
        flags: WRITE | FAST,
        keys: &[Keys::at(RW | ACCESS | DELETE, 1)],
        servers: servers::SINCE_7_2,
        since: "8.0.0",
        complexity: "O(N) where N is the number of specified fields",
        summary: "Returns the values of fields and removes the fields.",
        run: Run::Shard(until::hgetdel),
        ..HASH
    },
];
const _: () = check(ROWS);

/// Reads the hash at `key` and counts a hit or a miss.
fn hash_at<'k>(keyspace: &'k mut Keyspace, key: Key<'_>) -> Result<Option<&'k Hash>, Refusal> {
    read_at(keyspace, key)
}

/// Changes the hash at `key`. A missing key is created if the change leaves a field in it.
fn change<R>(
    keyspace: &mut Keyspace,
    key: Key<'_>,
    mut change: impl FnMut(&mut Hash) -> Edited<Result<R, Refusal>>,
) -> Result<R, Refusal> {
    let changed = keyspace.edit(key, |value| match value {
        Value::Hash(hash) => change(hash),
        _ => Edited::Kept(Err(Refusal::WRONG_TYPE)),
    });
    if let Some(result) = changed {
        return result;
    }
    let mut hash = Hash::default();
    let (Edited::Kept(result)
    | Edited::Changed(result)
    | Edited::Emptied(result)
    | Edited::Unwatched(result)) = change(&mut hash);
    if !hash.is_empty() {
        keyspace.set(key, Value::Hash(hash), Ttl::Clear);
    }
    result
}

/// HSET key field value [field value ...]
fn hset(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let new = set_pairs(cx, args, "hset")?;
    out.count(new);
    Ok(())
}

/// HMSET key field value [field value ...]
fn hmset(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    set_pairs(cx, args, "hmset")?;
    out.ok();
    Ok(())
}

/// Sets all fields; returns how many are new.
fn set_pairs(cx: &mut Cx<'_>, args: Args<'_>, command: &str) -> Result<usize, Refusal> {
    if !args.len().is_multiple_of(2) {
        return Err(Refusal::arity(command));
    }
    let (limits, hasher) = (cx.keyspace.limits.hash, cx.keyspace.hasher().clone());
    let key = cx.key(args.at(1));
    let new = change(cx.keyspace, key, |hash| {
        let (mut new, mut strides) = (0, Strides::new(cx.pace));
        for i in (2..args.len()).step_by(2) {
            let (name, value) = (args.at(i), args.at(i + 1));
            new += usize::from(hash.set(name, value, limits, &hasher));
            strides.step(units(name.len() + value.len()));
        }
        Edited::Changed(Ok(new))
    })?;
    cx.keyspace.notify_event(event::HASH, "hset", key.bytes);
    Ok(new)
}

/// HSETNX key field value
fn hsetnx(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let (limits, hasher) = (cx.keyspace.limits.hash, cx.keyspace.hasher().clone());
    let (key, name) = (cx.key(args.at(1)), args.at(2));
    let set = change(cx.keyspace, key, |hash| {
        if hash.contains(name, &hasher) {
            return Edited::Kept(Ok(false));
        }
        hash.set(name, args.at(3), limits, &hasher);
        Edited::Changed(Ok(true))
    })?;
    if set {
        cx.keyspace.notify_event(event::HASH, "hset", key.bytes);
    }
    out.int(set.into());
    Ok(())
}

/// HDEL key field [field ...]
fn hdel(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let hasher = cx.keyspace.hasher().clone();
    let key = cx.key(args.at(1));
    let (removed, emptied) = change(cx.keyspace, key, |hash| {
        let (mut removed, mut strides) = (0, Strides::new(cx.pace));
        for name in args.from(2) {
            removed += usize::from(hash.remove(name, &hasher));
            strides.step(units(name.len()));
        }
        match removed {
            0 => Edited::Kept(Ok((0, false))),
            _ if hash.is_empty() => Edited::Emptied(Ok((removed, true))),
            _ => Edited::Changed(Ok((removed, false))),
        }
    })?;
    if removed > 0 {
        announce_removal(cx.keyspace, event::HASH, "hdel", key.bytes, emptied);
    }
    out.count(removed);
    Ok(())
}

/// HGET key field
fn hget(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let (key, hasher) = (cx.key(args.at(1)), cx.keyspace.hasher().clone());
    let hash = hash_at(cx.keyspace, key)?;
    out.bulk_or_null(hash.and_then(|hash| hash.get(args.at(2), &hasher)).as_deref());
    Ok(())
}

/// HMGET key field [field ...]
fn hmget(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let (key, hasher) = (cx.key(args.at(1)), cx.keyspace.hasher().clone());
    let hash = hash_at(cx.keyspace, key)?;
    out.array(args.len() - 2);
    let mut strides = Strides::new(cx.pace);
    for name in args.from(2) {
        let value = hash.and_then(|hash| hash.get(name, &hasher));
        out.bulk_or_null(value.as_deref());
        strides.step(units(value.map_or(0, |value| value.len())));
    }
    Ok(())
}

/// HEXISTS key field
fn hexists(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let (key, hasher) = (cx.key(args.at(1)), cx.keyspace.hasher().clone());
    let hash = hash_at(cx.keyspace, key)?;
    out.int(hash.is_some_and(|hash| hash.contains(args.at(2), &hasher)).into());
    Ok(())
}

/// HSTRLEN key field
fn hstrlen(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let (key, hasher) = (cx.key(args.at(1)), cx.keyspace.hasher().clone());
    let hash = hash_at(cx.keyspace, key)?;
    out.count(hash.and_then(|hash| hash.get(args.at(2), &hasher)).map_or(0, |value| value.len()));
    Ok(())
}

/// HLEN key
fn hlen(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let key = cx.key(args.at(1));
    out.count(hash_at(cx.keyspace, key)?.map_or(0, Hash::len));
    Ok(())
}

/// HGETALL key
fn hgetall(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    each_pair(cx, args, out, Sink::map, |out, (name, value)| {
        out.bulk(&name);
        out.bulk(&value);
    })
}

/// HKEYS key
fn hkeys(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    each_pair(cx, args, out, Sink::array, |out, (name, _)| out.bulk(&name))
}

/// HVALS key
fn hvals(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    each_pair(cx, args, out, Sink::array, |out, (_, value)| out.bulk(&value))
}

/// Writes a head for all fields of the hash, then `each` of them.
fn each_pair<'o>(
    cx: &mut Cx<'_>,
    args: Args<'_>,
    out: &mut Sink<'o>,
    head: impl Fn(&mut Sink<'o>, usize),
    each: impl Fn(&mut Sink<'o>, Pair<'_>),
) -> Outcome {
    let key = cx.key(args.at(1));
    let hash = hash_at(cx.keyspace, key)?;
    head(out, hash.map_or(0, Hash::len));
    let mut strides = Strides::new(cx.pace);
    for pair in hash.into_iter().flat_map(Hash::pairs) {
        strides.step(units(pair.0.len() + pair.1.len()));
        each(out, pair);
    }
    Ok(())
}
