//! Keys whatever they hold: whether they are there, what type they hold, how they go, are renamed
//! and copied.

use super::spec::access::{ACCESS, DELETE, INSERT, OW, RM, RO, RW, UPDATE};
use super::spec::flag::{DENYOOM, FAST, NOSCRIPT, READ, WRITE};
use super::spec::{
    Arity::{AtLeast, Exactly},
    BASE, Keys, Run, Spec, acl, check,
};
use super::{Args, Cx, Outcome, Refusal, ServerCx};
use crate::keyspace::{Edited, Entry, Key, Keyspace, Ttl, Value, event};
use crate::replication::ReplicaWait;
use crate::resp::Sink;
use crate::text::number::parse_i64;
use crate::topology::Family;

/// What the rows share.
const GENERIC: Spec = Spec { acl: acl::KEYSPACE, ..BASE };
/// What the rows share that count how many keys it happened to.
const COUNTS: Spec = Spec {
    arity: AtLeast(2),
    tips: &["request_policy:multi_shard", "response_policy:agg_sum"],
    ..GENERIC
};

pub(super) const ROWS: &[Spec] = &[
    Spec {
        name: "copy",
        arity: AtLeast(3),
        flags: WRITE | DENYOOM,
        keys: &[Keys::at(RO | ACCESS, 1), Keys::at(OW | UPDATE, 2)],
        since: "6.2.0",
        complexity: "O(N) worst case for collections, where N is the number of nested items. O(1) for string values.",
        summary: "Copies a value to another key.",
        run: Run::Shard(copy),
        ..GENERIC
    },
    Spec {
        name: "del",
        flags: WRITE,
        keys: &[Keys::range(RM | DELETE, 1, -1, 1)],
        complexity: "O(N) where N is the number of keys that will be removed. When a key to remove holds a value other than a string, the individual complexity for this key is O(M) where M is the number of elements in the list, set, sorted set or hash. Removing a single key that holds a string value is O(1).",
        summary: "Removes keys.",
        run: Run::Shard(del),
        ..COUNTS
    },
    Spec {
        name: "exists",
        flags: READ | FAST,
        keys: &[Keys::range(RO, 1, -1, 1)],
        complexity: "O(N) where N is the number of keys to check.",
        summary: "Counts how many of the keys are there.",
        run: Run::Shard(exists),
        ..COUNTS
    },
    Spec {
        name: "rename",
        arity: Exactly(3),
        flags: WRITE,
        keys: &[Keys::at(RW | ACCESS | DELETE, 1), Keys::at(OW | UPDATE, 2)],
        summary: "Gives a value another key, whatever was there.",
        run: Run::Shard(rename),
        ..GENERIC
    },
    Spec {
        name: "renamenx",
        arity: Exactly(3),
        flags: WRITE | FAST,
        keys: &[Keys::at(RW | ACCESS | DELETE, 1), Keys::at(OW | INSERT, 2)],
        summary: "Gives a value another key if nothing is there.",
        run: Run::Shard(renamenx),
        ..GENERIC
    },
    Spec {
        name: "touch",
        flags: READ | FAST,
        keys: &[Keys::range(RO, 1, -1, 1)],
        since: "3.2.1",
        complexity: "O(N) where N is the number of keys that will be touched.",
        summary: "Counts how many of the keys are there, as a use of each.",
        run: Run::Shard(touch),
        ..COUNTS
    },
    Spec {
        name: "type",
        arity: Exactly(2),
        flags: READ | FAST,
        keys: &[Keys::at(RO, 1)],
        summary: "Names the type of the value at a key.",
        run: Run::Shard(type_),
        ..GENERIC
    },
    Spec {
        name: "unlink",
        flags: WRITE | FAST,
        keys: &[Keys::range(RM | DELETE, 1, -1, 1)],
        since: "4.0.0",
        complexity: "O(1) for each key removed regardless of its size. Then the command does O(N) work in a different thread in order to reclaim memory, where N is the number of allocations the deleted objects where composed of.",
        summary: "Removes keys; here the same as DEL.",
        run: Run::Shard(del),
        ..COUNTS
    },
    Spec {
        name: "wait",
        arity: Exactly(3),
        flags: NOSCRIPT,
        acl: acl::CONNECTION,
        tips: &["request_policy:all_shards", "response_policy:agg_min"],
        since: "3.0.0",
        summary: "Tells how many replicas have what this connection has written.",
        run: Run::Server(wait),
        ..BASE
    },
];
const _: () = check(ROWS);

/// Requests of many keys tell the pace after this many.
const STRIDE_KEYS: usize = 1000;

/// For how many of the keys from argument 1 on `happens` says yes.
fn count_keys(
    cx: &mut Cx<'_>,
    args: Args<'_>,
    out: &mut Sink<'_>,
    mut happens: impl FnMut(&mut Cx<'_>, Key<'_>) -> bool,
) -> Outcome {
    let mut count = 0;
    for (i, key) in args.from(1).enumerate() {
        if i % STRIDE_KEYS == STRIDE_KEYS - 1 {
            cx.pace.step(STRIDE_KEYS);
        }
        let key = cx.key(key);
        count += usize::from(happens(cx, key));
    }
    out.count(count);
    Ok(())
}

fn del(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    count_keys(cx, args, out, |cx, key| {
        let is_gone = cx.keyspace.delete(key);
        if is_gone {
            cx.keyspace.announce(event::GENERIC, "del", key.bytes);
        }
        is_gone
    })
}

fn exists(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    count_keys(cx, args, out, |cx, key| cx.keyspace.inspect(key).is_some())
}

fn touch(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    count_keys(cx, args, out, |cx, key| {
        let is_there = cx.keyspace.read(key).is_some();
        // This is meant as a use of the key even under CLIENT NO-TOUCH.
        cx.keyspace.set_idle(key, 0);
        is_there
    })
}

fn type_(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let key = cx.key(args.at(1));
    out.simple(cx.keyspace.inspect(key).map_or("none", |entry| entry.value().type_name()));
    Ok(())
}

fn rename(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    rekey(cx, args, true)?;
    out.ok();
    Ok(())
}

fn renamenx(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    out.int(rekey(cx, args, false)?.into());
    Ok(())
}

/// Whether a key is there that a command wants to write to. Even if the command then leaves it
/// alone, Redis takes the look for a use of the key, and so does this.
pub(super) fn is_taken(keyspace: &mut Keyspace, key: Key<'_>) -> bool {
    keyspace.edit(key, |_| Edited::Kept(())).is_some()
}

/// Moves the value at argument 1, with its expiry, to argument 2; says whether it did.
fn rekey(cx: &mut Cx<'_>, args: Args<'_>, replace: bool) -> Result<bool, Refusal> {
    let (from, to) = (cx.key(args.at(1)), cx.key(args.at(2)));
    if !is_taken(cx.keyspace, from) {
        return Err(Refusal::NO_SUCH_KEY);
    }
    // A key that is renamed to itself stays as it is, and who watches it is not told.
    if from.bytes == to.bytes || is_taken(cx.keyspace, to) && !replace {
        return Ok(false);
    }
    let expires_at = cx.keyspace.peek(from).and_then(Entry::expires_at);
    let ttl = expires_at.map_or(Ttl::Clear, Ttl::At);
    if let Some(value) = cx.keyspace.remove(from) {
        put_anew(cx.keyspace, to, value, ttl);
        cx.keyspace.announce(event::GENERIC, "rename_from", from.bytes);
        cx.keyspace.announce(event::GENERIC, "rename_to", to.bytes);
    }
    Ok(true)
}

/// Sets a key as if it had not been there before: that is how Redis tells of it.
pub(super) fn put_anew(keyspace: &mut Keyspace, key: Key<'_>, value: Value, ttl: Ttl) {
    if keyspace.events_wanted & event::NEW != 0 && keyspace.peek(key).is_some() {
        keyspace.announce(event::NEW, "new", key.bytes);
    }
    keyspace.set(key, value, ttl);
}

/// How many databases Redis has by default: an index below it is known, though a cluster uses
/// only database 0.
const DATABASES: i64 = 16;

/// The options of COPY: REPLACE, and the database that DB names, number 0 without.
fn copy_options(args: Args<'_>) -> Result<(bool, i64), Refusal> {
    let (mut replace, mut database, mut i) = (false, 0, 3);
    while i < args.len() {
        if args.is(i, "replace") {
            replace = true;
        } else if args.is(i, "db") && i + 1 < args.len() {
            i += 1;
            database = args.int(i)?;
            if i32::try_from(database).is_err() {
                return Err(Refusal::of(
                    "ERR value is out of range, value must between -2147483648 and 2147483647",
                ));
            }
            if !(0..DATABASES).contains(&database) {
                return Err(Refusal::of("ERR DB index is out of range"));
            }
        } else {
            return Err(Refusal::SYNTAX);
        }
        i += 1;
    }
    Ok((replace, database))
}

/// Whether COPY with these arguments would write to a database other than number 0.
pub(super) fn copies_to_other_database(args: Args<'_>) -> bool {
    copy_options(args).is_ok_and(|(_, database)| database != 0)
}

fn copy(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let (replace, database) = copy_options(args)?;
    if database != 0 {
        return Err(Refusal::of("ERR Copying to another database is not allowed in cluster mode"));
    }
    let (from, to) = (cx.key(args.at(1)), cx.key(args.at(2)));
    if from.bytes == to.bytes {
        return Err(Refusal::of("ERR source and destination objects are the same"));
    }
    let units = cx.keyspace.read(from).map(Value::weight);
    let Some(units) = units.filter(|_| replace || !is_taken(cx.keyspace, to)) else {
        out.int(0);
        return Ok(());
    };
    cx.pace.step(units);
    if let Some(entry) = cx.keyspace.peek(from) {
        let (value, ttl) = (entry.value().clone(), entry.expires_at().map_or(Ttl::Clear, Ttl::At));
        put_anew(cx.keyspace, to, value, ttl);
        cx.keyspace.announce(event::GENERIC, "copy_to", to.bytes);
    }
    out.int(1);
    Ok(())
}

/// WAIT replicas timeout: replicas in step have what is written before it is answered, so that
/// there is nothing to wait for; for those that lag there is a vigil.
fn wait(cx: &mut ServerCx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let Family::Master(replicas) = cx.server.topology.family(cx.port) else {
        return Err(Refusal::of(
            "ERR WAIT cannot be used with replica instances. Please also note that since Redis 4.0 if a replica \
             is configured to be writable (which is not the default) writes to replicas are just local and are \
             not propagated.",
        ));
    };
    let wanted = args.int(1)?;
    let timeout = parse_i64(args.at(2));
    let timeout = timeout.ok_or(Refusal::of("ERR timeout is not an integer or out of range"))?;
    if timeout < 0 {
        return Err(Refusal::of("ERR timeout is negative"));
    }
    let feeds: Vec<_> =
        replicas.iter().filter_map(|replica| cx.server.feeds.of(replica.shard)).collect();
    if feeds.is_empty() {
        out.count(replicas.len());
        return Ok(());
    }
    let until = (timeout != 0).then(|| cx.now.saturating_add(timeout));
    cx.replica_wait = Some(ReplicaWait::new(feeds, usize::try_from(wanted).unwrap_or(0), until));
    Ok(())
}
