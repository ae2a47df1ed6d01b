//! The keyspace events at the target of a migration of whole slots: those of the commands that bring it
//! its copy of the keys. With Redis, RESTORE brings all but strings.

use crate::command::slotway::ClusterAccess;
use crate::keyspace::{EventClass, Hash, Keyed, Keyspace, Stream, Value, event};
use crate::state::SlotMigrationJob;

/// How many elements of a collection one command brings.
const ELEMENTS_PER_COMMAND: usize = 64;

/// Records at the target the events of the commands that bring it the keys of a migration.
pub(super) fn notify(job: &SlotMigrationJob, access: &mut ClusterAccess<'_, '_>) {
    let topology = &access.server.topology;
    let shards = [job.source, job.target].map(|node| topology.shard_of_node(node));
    let Ok([from, to]) = access.shards.get_disjoint_mut(shards) else { return };
    if to.events_wanted == 0 {
        return;
    }
    for slot in job.slots() {
        from.walk_slot(slot, |entry| {
            access.pace.step(1);
            let is_text = matches!(entry.value(), Value::Int(_) | Value::Str(_) | Value::Raw(_));
            if job.is_import && !is_text {
                to.notify_event(event::GENERIC, "restore", entry.key());
                return true;
            }
            notify_value(to, entry.key(), entry.value());
            if entry.expires_at().is_some() {
                to.notify_event(event::GENERIC, "expire", entry.key());
            }
            true
        });
    }
}

/// Records the events of the commands that make such a value.
fn notify_value(to: &mut Keyspace, key: &[u8], value: &Value) {
    let (class, name, elements): (EventClass, _, _) = match value {
        Value::Int(_) | Value::Str(_) | Value::Raw(_) | Value::Received(_) => {
            (event::STRING, "set", 1)
        }
        Value::List(list) => (event::LIST, "rpush", list.len()),
        Value::Set(set) => (event::SET, "sadd", set.len()),
        Value::Zset(zset) => (event::ZSET, "zadd", zset.len()),
        Value::Hash(hash) => return notify_hash(to, key, hash),
        Value::Stream(stream) => return notify_stream(to, key, stream),
        #[cfg(feature = "json")]
        Value::Json(_) => (event::GENERIC, "restore", 1),
    };
    for _ in 0..elements.div_ceil(ELEMENTS_PER_COMMAND) {
        to.notify_event(class, name, key);
    }
}

/// Records those of a hash: fields that expire come first, by themselves.
fn notify_hash(to: &mut Keyspace, key: &[u8], hash: &Hash) {
    let timed = hash.ends();
    for _ in 0..timed {
        to.notify_event(event::HASH, "hset", key);
        to.notify_event(event::HASH, "hexpire", key);
    }
    for _ in 0..hash.len().saturating_sub(timed).div_ceil(ELEMENTS_PER_COMMAND) {
        to.notify_event(event::HASH, "hset", key);
    }
}

/// Records those of a stream. An empty one comes as an entry that is trimmed.
fn notify_stream(to: &mut Keyspace, key: &[u8], stream: &Stream) {
    let mut notify = |name| to.notify_event(event::STREAM, name, key);
    match stream.log.len() {
        0 => ["xadd", "xtrim"].into_iter().for_each(&mut notify),
        len => (0..len).for_each(|_| notify("xadd")),
    }
    notify("xsetid");
    for (_, group) in stream.groups() {
        notify("xgroup-create");
        group.consumers().for_each(|_| notify("xgroup-createconsumer"));
    }
}
