//! Commands on keys of any type: existence, type, removal, renaming and copying; and WAIT.

use super::spec::access::{ACCESS, DELETE, INSERT, OW, RM, RO, RW, UPDATE};
use super::spec::flag::{BLOCKING, DENYOOM, FAST, NAMES_DATABASE, NOSCRIPT, READ, WRITE};
use super::spec::{
    Arity::{AtLeast, Exactly},
    BASE, Keys, Run, SAME, Spec, Variant, acl, check,
};
use super::{Args, Cx, Outcome, Refusal, ServerCx};
use crate::dialect::servers;
use crate::keyspace::{Edited, Entry, Key, Keyspace, Millis, Ttl, Value, event};
use crate::replication::ReplicaWait;
use crate::resp::Sink;
use crate::text::number::parse_i64;
use crate::topology::ReplicationRole;

/// Defaults of the rows.
const GENERIC: Spec = Spec { acl: acl::KEYSPACE, ..BASE };
/// Defaults of the rows that count keys.
const COUNT: Spec = Spec {
    arity: AtLeast(2),
    tips: &["request_policy:multi_shard", "response_policy:agg_sum"],
    ..GENERIC
};

pub(super) const ROWS: &[Spec] = &[
    Spec {
        name: "copy",
        arity: AtLeast(3),
        flags: WRITE | DENYOOM | NAMES_DATABASE,
        keys: &[Keys::at(RO | ACCESS, 1), Keys::at(OW | UPDATE, 2)],
        since: "6.2.0",
        complexity: "O(N) worst case for collections, where N is the number of nested items. O(1) for string values.",
        summary: "Copies the value at a key to another key.",
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
        ..COUNT
    },
    Spec {
        name: "exists",
        flags: READ | FAST,
        keys: &[Keys::range(RO, 1, -1, 1)],
        complexity: "O(N) where N is the number of keys to check.",
        summary: "Counts how many of the keys exist.",
        run: Run::Shard(exists),
        ..COUNT
    },
    Spec {
        name: "rename",
        arity: Exactly(3),
        flags: WRITE,
        keys: &[Keys::at(RW | ACCESS | DELETE, 1), Keys::at(OW | UPDATE, 2)],
        summary: "Renames a key, overwriting the destination.",
        run: Run::Shard(rename),
        ..GENERIC
    },
    Spec {
        name: "renamenx",
        arity: Exactly(3),
        flags: WRITE | FAST,
        keys: &[Keys::at(RW | ACCESS | DELETE, 1), Keys::at(OW | INSERT, 2)],
        summary: "Renames a key unless the destination exists.",
        run: Run::Shard(renamenx),
        ..GENERIC
    },
    Spec {
        name: "touch",
        flags: READ | FAST,
        keys: &[Keys::range(RO, 1, -1, 1)],
        since: "3.2.1",
        complexity: "O(N) where N is the number of keys that will be touched.",
        summary: "Counts how many of the keys exist and marks them as used now.",
        run: Run::Shard(touch),
        ..COUNT
    },
    Spec {
        name: "type",
        arity: Exactly(2),
        flags: READ | FAST,
        keys: &[Keys::at(RO, 1)],
        summary: "Returns the type of the value at a key.",
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
        ..COUNT
    },
    Spec {
        name: "wait",
        arity: Exactly(3),
        variants: &[Variant {
            servers: servers::SINCE_7_2,
            without: NOSCRIPT,
            with: BLOCKING,
            ..SAME
        }],
        flags: NOSCRIPT,
        acl: acl::CONNECTION,
        tips: &["request_policy:all_shards", "response_policy:agg_min"],
        since: "3.0.0",
        summary: "Waits until replicas have this connection's writes; returns how many have.",
        run: Run::Server(wait),
        ..BASE
    },
    Spec {
        name: "waitaof",
        arity: Exactly(4),
        servers: servers::SINCE_7_2,
        flags: BLOCKING,
        acl: acl::CONNECTION,
        tips: &["request_policy:all_shards", "response_policy:agg_min"],
        since: "7.2.0",
        summary: "Waits until replicas have this connection's writes in their append-only files, of which there are none.",
        run: Run::Server(waitaof),
        ..BASE
    },
];
const _: () = check(ROWS);

/// Requests with many keys call the pace after this many.
const STRIDE_KEYS: usize = 1000;

/// Replies with the number of keys, from argument 1 on, that `counts` returns true for.
fn count_keys(
    cx: &mut Cx<'_>,
    args: Args<'_>,
    out: &mut Sink<'_>,
    mut counts: impl FnMut(&mut Cx<'_>, Key<'_>) -> bool,
) -> Outcome {
    let mut count = 0;
    for (i, key) in args.from(1).enumerate() {
        if i % STRIDE_KEYS == STRIDE_KEYS - 1 {
            cx.pace.step(STRIDE_KEYS);
        }
        let key = cx.key(key);
        count += usize::from(counts(cx, key));
    }
    out.count(count);
    Ok(())
}

fn del(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    count_keys(cx, args, out, |cx, key| {
        let deleted = cx.keyspace.delete(key);
        if deleted {
            cx.keyspace.notify_event(event::GENERIC, "del", key.bytes);
        }
        deleted
    })
}

fn exists(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    count_keys(cx, args, out, |cx, key| cx.keyspace.inspect(key).is_some())
}

fn touch(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    count_keys(cx, args, out, |cx, key| {
        let exists = cx.keyspace.read(key).is_some();
        // TOUCH counts as a use of the key even under CLIENT NO-TOUCH.
        cx.keyspace.set_idle(key, 0);
        exists
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

/// Whether the key that a command may overwrite exists. As in Redis this counts as a use of the
/// key, even if the command then does not write to it.
pub(super) fn is_taken(keyspace: &mut Keyspace, key: Key<'_>) -> bool {
    keyspace.edit(key, |_| Edited::Kept(())).is_some()
}

/// Moves the value at argument 1, with its expiry, to argument 2. Returns whether it was moved.
fn rekey(cx: &mut Cx<'_>, args: Args<'_>, replace: bool) -> Result<bool, Refusal> {
    let (from, to) = (cx.key(args.at(1)), cx.key(args.at(2)));
    if !is_taken(cx.keyspace, from) {
        return Err(Refusal::NO_SUCH_KEY);
    }
    // Renaming a key to itself changes nothing and touches no watch.
    if from.bytes == to.bytes || is_taken(cx.keyspace, to) && !replace {
        return Ok(false);
    }
    let expires_at = cx.keyspace.peek(from).and_then(Entry::expires_at);
    let ttl = expires_at.map_or(Ttl::Clear, Ttl::At);
    if let Some(value) = cx.keyspace.remove(from) {
        put_anew(cx.keyspace, to, value, ttl);
        cx.keyspace.notify_event(event::GENERIC, "rename_from", from.bytes);
        cx.keyspace.notify_event(event::GENERIC, "rename_to", to.bytes);
    }
    Ok(true)
}

/// Sets a key as if it had not existed before: Redis sends a `new` event here even if it existed.
pub(super) fn put_anew(keyspace: &mut Keyspace, key: Key<'_>, value: Value, ttl: Ttl) {
    if keyspace.events_wanted & event::NEW != 0 && keyspace.peek(key).is_some() {
        keyspace.notify_event(event::NEW, "new", key.bytes);
    }
    keyspace.set(key, value, ttl);
}

/// Redis' default number of databases: where there is only number 0, COPY accepts an index below it.
pub(super) const DATABASES: usize = 16;

/// The options of COPY.
pub(super) struct CopyOptions {
    /// It may overwrite the key.
    pub(super) replace: bool,
    /// The number after the last DB, below that of the databases.
    pub(super) database: Option<usize>,
}

impl CopyOptions {
    /// Reads the options of COPY, where there are so many databases.
    pub(super) fn of(args: Args<'_>, databases: usize) -> Result<Self, Refusal> {
        let (mut replace, mut database, mut i) = (false, None, 3);
        while i < args.len() {
            if args.is(i, "replace") {
                replace = true;
            } else if args.is(i, "db") && i + 1 < args.len() {
                i += 1;
                let number = i32::try_from(args.int(i)?).map_err(|_too_far| {
                    Refusal::of(
                        "ERR value is out of range, value must between -2147483648 and 2147483647",
                    )
                })?;
                let number = usize::try_from(number).ok().filter(|&number| number < databases);
                database = Some(number.ok_or(Refusal::NO_SUCH_DATABASE)?);
            } else {
                return Err(Refusal::SYNTAX);
            }
            i += 1;
        }
        Ok(Self { replace, database })
    }

    /// Whether COPY would write to a database other than number 0.
    pub(super) fn leaves_database_0(&self) -> bool {
        self.database.is_some_and(|number| number != 0)
    }
}

/// Copying a key to itself.
pub(super) const SAME_OBJECTS: Refusal =
    Refusal::of("ERR source and destination objects are the same");

/// The refusal of COPY to a database that does not exist here.
pub(super) const COPY_ELSEWHERE: Refusal =
    Refusal::of("ERR Copying to another database is not allowed in cluster mode");

/// COPY where there is only database 0, and within the client's database.
fn copy(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let options = CopyOptions::of(args, DATABASES)?;
    if options.leaves_database_0() {
        return Err(COPY_ELSEWHERE);
    }
    let (from, to) = (cx.key(args.at(1)), cx.key(args.at(2)));
    if from.bytes == to.bytes {
        return Err(SAME_OBJECTS);
    }
    let units = cx.keyspace.read(from).map(Value::weight);
    let Some(units) = units.filter(|_| options.replace || !is_taken(cx.keyspace, to)) else {
        out.int(0);
        return Ok(());
    };
    cx.pace.step(units);
    if let Some(entry) = cx.keyspace.peek(from) {
        let (value, ttl) = (entry.value().clone(), entry.expires_at().map_or(Ttl::Clear, Ttl::At));
        put_copy(cx.keyspace, to, value, ttl);
    }
    out.int(1);
    Ok(())
}

/// Sets a key to the copy of a value, overwriting any previous one.
pub(super) fn put_copy(keyspace: &mut Keyspace, key: Key<'_>, value: Value, ttl: Ttl) {
    put_anew(keyspace, key, value, ttl);
    keyspace.notify_event(event::GENERIC, "copy_to", key.bytes);
}

/// WAIT replicas timeout: a replica without lag has every write before it is replied to. Else, or if
/// more replicas are wanted than there are, the connection waits.
fn wait(cx: &mut ServerCx<'_>, args: Args<'_>, _: &mut Sink<'_>) -> Outcome {
    let ReplicationRole::Master(replicas) = cx.server.topology.replication_role(cx.port) else {
        return Err(Refusal::of(
            "ERR WAIT cannot be used with replica instances. Please also note that since Redis 4.0 if a replica \
             is configured to be writable (which is not the default) writes to replicas are just local and are \
             not propagated.",
        ));
    };
    let (wanted, until) = (args.int(1)?, deadline(args.at(2), cx.now)?);
    let feeds: Vec<_> = replicas
        .iter()
        .filter_map(|replica| cx.server.replication_streams.of_shard(replica.shard))
        .collect();
    let (sharing, wanted) = (replicas.len() - feeds.len(), usize::try_from(wanted).unwrap_or(0));
    cx.replica_wait = Some(ReplicaWait::new(feeds, sharing, wanted, until));
    Ok(())
}

/// Returns when a timeout of milliseconds is over; `None` for 0, which means never.
fn deadline(timeout: &[u8], now: Millis) -> Result<Option<Millis>, Refusal> {
    let timeout = parse_i64(timeout);
    let timeout = timeout.ok_or(Refusal::of("ERR timeout is not an integer or out of range"))?;
    if timeout < 0 {
        return Err(Refusal::of("ERR timeout is negative"));
    }
    Ok((timeout != 0).then(|| now.saturating_add(timeout)))
}

/// WAITAOF local replicas timeout, as with `appendonly no`: no replica ever says that its file has the
/// writes.
fn waitaof(cx: &mut ServerCx<'_>, args: Args<'_>, _: &mut Sink<'_>) -> Outcome {
    let local = args.int(1)?;
    if !(0..=1).contains(&local) {
        return Err(Refusal::of("ERR value is out of range, value must between 0 and 1"));
    }
    let wanted = parse_i64(args.at(2)).and_then(|wanted| usize::try_from(wanted).ok());
    let wanted = wanted.ok_or(Refusal::of("ERR value is out of range, must be positive"))?;
    let until = deadline(args.at(3), cx.now)?;
    if cx.server.topology.is_replica(cx.port) {
        return Err(Refusal::of(
            "ERR WAITAOF cannot be used with replica instances. Please also note that writes to replicas are \
             just local and are not propagated.",
        ));
    }
    if local > 0 {
        return Err(Refusal::of(
            "ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.",
        ));
    }
    cx.replica_wait = Some(ReplicaWait::for_files(wanted, until));
    Ok(())
}
