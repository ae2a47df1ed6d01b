//! XGROUP and XACK.

use super::ids::{id_of, ids_from, open_id_of};
use super::{XGROUP_CONTAINER, no_group_for_key};
use crate::command::collection::change;
use crate::command::container;
use crate::command::pace::Strides;
use crate::command::{Args, Cx, Outcome, Refusal, too_many_arguments};
use crate::dialect::Lags;
use crate::keyspace::{Edited, Group, Stream, StreamId, StreamLog, Ttl, Value, event};
use crate::resp::Sink;

/// The arguments of the subcommands: key, group, and what follows.
const KEY: usize = 2;
const GROUP: usize = 3;
const REST: usize = 4;

const NO_STREAM: Refusal = Refusal::of(
    "ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to use \
     the MKSTREAM option to create an empty stream automatically.",
);

/// The options behind the id of CREATE and SETID.
#[derive(Default)]
struct Options {
    makes_stream: bool,
    entries_read: i64,
}

impl Options {
    fn of(args: Args<'_>, arguments_max: usize, may_make: bool) -> Result<Self, Refusal> {
        if args.len() > arguments_max {
            return Err(too_many_arguments(args));
        }
        let mut options = Self { makes_stream: false, entries_read: -1 };
        let mut i = REST + 1;
        while i < args.len() {
            if may_make && args.is(i, "mkstream") {
                options.makes_stream = true;
                i += 1;
            } else if args.is(i, "entriesread") && i + 1 < args.len() {
                options.entries_read = args.int(i + 1)?;
                if options.entries_read < -1 {
                    return Err(Refusal::of("ERR value for ENTRIESREAD must be positive or -1"));
                }
                i += 2;
            } else {
                return Err(too_many_arguments(args));
            }
        }
        Ok(options)
    }

    /// Returns how many entries the group is to have read; in Redis 8 no more than there have been.
    fn entries_read(&self, log: &StreamLog, lags: Lags) -> i64 {
        match lags {
            Lags::Redis8 => self.entries_read.min(log.entries_added as i64),
            Lags::Redis7 | Lags::Valkey9 => self.entries_read,
        }
    }
}

/// Changes a group of the stream at the key, which must exist.
fn change_group<R>(
    cx: &mut Cx<'_>,
    args: Args<'_>,
    edit: impl FnOnce(&StreamLog, &mut Group) -> Edited<Result<R, Refusal>>,
) -> Result<R, Refusal> {
    let (key, name) = (cx.key(args.at(KEY)), args.at(GROUP));
    let changed =
        change(cx.keyspace, key, |stream: &mut Stream| match stream.log_and_group(name) {
            Some((log, group)) => edit(log, group),
            None => Edited::Kept(Err(no_group_for_key(key.bytes, name))),
        })?;
    changed.ok_or(NO_STREAM)?
}

/// XGROUP CREATE key group id|$ [MKSTREAM] [ENTRIESREAD count]
pub(super) fn create(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    const ARGUMENTS_MAX: usize = 8;
    let options = Options::of(args, ARGUMENTS_MAX, true)?;
    let (key, name, lags) = (cx.key(args.at(KEY)), args.at(GROUP), cx.product.lags);
    let id_in = |last_id| if args.at(REST) == b"$" { Ok(last_id) } else { id_of(args.at(REST)) };
    let created = change(cx.keyspace, key, |stream: &mut Stream| {
        let id = match id_in(stream.log.last_id) {
            Ok(id) => id,
            Err(refusal) => return Edited::Kept(Err(refusal)),
        };
        let entries_read = options.entries_read(&stream.log, lags);
        match stream.add_group(name, Group::new(id, entries_read)) {
            true => Edited::Unwatched(Ok(())),
            false => Edited::Kept(Err(Refusal::of("BUSYGROUP Consumer Group name already exists"))),
        }
    })?;
    match created {
        Some(created) => created?,
        None if options.makes_stream => {
            let id = id_in(StreamId::MIN)?;
            let mut stream = Stream::default();
            let entries_read = options.entries_read(&stream.log, lags);
            stream.add_group(name, Group::new(id, entries_read));
            cx.keyspace.set(key, Value::Stream(Box::new(stream)), Ttl::Clear);
        }
        None => return Err(NO_STREAM),
    }
    cx.keyspace.notify_event(event::STREAM, "xgroup-create", key.bytes);
    out.ok();
    Ok(())
}

/// XGROUP SETID key group id|$ [ENTRIESREAD count]
pub(super) fn set_id(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    const ARGUMENTS_MAX: usize = 7;
    let options = Options::of(args, ARGUMENTS_MAX, false)?;
    let lags = cx.product.lags;
    change_group(cx, args, |log, group| {
        let id = if args.at(REST) == b"$" { Ok(log.last_id) } else { open_id_of(args.at(REST)) };
        match id {
            Ok(id) => {
                (group.last_id, group.entries_read) = (id, options.entries_read(log, lags));
                Edited::Unwatched(Ok(()))
            }
            Err(refusal) => Edited::Kept(Err(refusal)),
        }
    })?;
    cx.keyspace.notify_event(event::STREAM, SET_ID, args.at(KEY));
    out.ok();
    Ok(())
}

/// XGROUP DESTROY key group
pub(super) fn destroy(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let (key, name) = (cx.key(args.at(KEY)), args.at(GROUP));
    let removed =
        change(cx.keyspace, key, |stream: &mut Stream| match stream.remove_group(name) {
            None => Edited::Kept(None),
            removed => Edited::Unwatched(removed),
        })?;
    let removed = removed.ok_or(NO_STREAM)?;
    out.int(removed.is_some().into());
    if let Some(group) = removed {
        cx.keyspace.free_group_lazily(group);
        cx.keyspace.notify_event(event::STREAM, "xgroup-destroy", key.bytes);
        cx.keyspace.signal_ready(key.bytes);
    }
    Ok(())
}

/// XGROUP CREATECONSUMER key group consumer
pub(super) fn create_consumer(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let (now, name) = (cx.now(), args.at(REST));
    let is_new = change_group(cx, args, |_, group| match group.find(name) {
        Some(_) => Edited::Kept(Ok(false)),
        None => {
            group.add_consumer(name, now);
            Edited::Unwatched(Ok(true))
        }
    })?;
    if is_new {
        note_new_consumer(cx, args.at(KEY), true);
    }
    out.int(is_new.into());
    Ok(())
}

/// The event of a new consumer.
const NEW_CONSUMER: &str = "xgroup-createconsumer";
/// The event of an id that is set.
const SET_ID: &str = "xgroup-setid";

/// Publishes the event of a new consumer, also of one that a command has created along the way: of that,
/// replicas publish it only if the command is sent to them.
pub(super) fn note_new_consumer(cx: &mut Cx<'_>, key: &[u8], is_sent: bool) {
    let replicated = match is_sent {
        true => event::Replicated::once(event::STREAM, NEW_CONSUMER),
        false => event::Replicated::NOTHING,
    };
    cx.keyspace.notify_replicated(event::STREAM, NEW_CONSUMER, key, replicated);
}

/// Publishes, on replicas alone, that a group has read on: they are sent its id.
pub(super) fn note_moved_id(cx: &mut Cx<'_>, key: &[u8]) {
    let set_id = event::Replicated::once(event::STREAM, SET_ID);
    cx.keyspace.notify_replicated(event::ON_REPLICAS, SET_ID, key, set_id);
}

/// XGROUP DELCONSUMER key group consumer
pub(super) fn delete_consumer(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let (name, mut strides) = (args.at(REST), Strides::new(cx.pace));
    let pending =
        change_group(cx, args, |_, group| match group.remove_consumer(name, || strides.step(1)) {
            None => Edited::Kept(Ok(None)),
            pending => Edited::Unwatched(Ok(pending)),
        })?;
    if pending.is_some() {
        cx.keyspace.notify_event(event::STREAM, "xgroup-delconsumer", args.at(KEY));
    }
    out.count(pending.unwrap_or(0));
    Ok(())
}

/// XGROUP HELP
pub(super) fn help(cx: &mut Cx<'_>, _: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    container::help(&XGROUP_CONTAINER, cx.product, out);
    Ok(())
}

/// XACK key group id [id …]
pub(super) fn xack(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let (key, name, mut strides) = (cx.key(args.at(1)), args.at(2), Strides::new(cx.pace));
    let acknowledged = change(cx.keyspace, key, |stream: &mut Stream| {
        let Some(group) = stream.group_mut(name) else { return Edited::Kept(Ok(0)) };
        let ids = match ids_from(args, 3) {
            Ok(ids) => ids,
            Err(refusal) => return Edited::Kept(Err(refusal)),
        };
        let mut acknowledged = 0;
        for id in ids {
            strides.step(1);
            acknowledged += usize::from(group.acknowledge(id));
        }
        match acknowledged {
            0 => Edited::Kept(Ok(0)),
            acknowledged => Edited::Unwatched(Ok(acknowledged)),
        }
    });
    // It counts as a reader.
    match acknowledged {
        Ok(None) => drop(cx.keyspace.read(key)),
        Ok(Some(_)) | Err(_) => cx.keyspace.count_hit(),
    }
    out.count(acknowledged?.unwrap_or(Ok(0))?);
    Ok(())
}
