//! XREAD and XREADGROUP.

use super::group::{note_moved_id, note_new_consumer};
use super::ids::{id_of, push_id, write_id};
use super::read_args::{ReadArgs, Reader};
use super::reply::{Aggregate, write_counted, write_entry, write_range};
use super::{no_group, stream_at};
use crate::command::collection::change;
use crate::command::pace::Strides;
use crate::command::wait::Wait;
use crate::command::{Args, Cx, Refusal};
use crate::dialect::Lags;
use crate::keyspace::{
    ConsumerNumber, Edited, Group, Key, Millis, Stream, StreamId, StreamLog, Value,
};
use crate::resp::{Proto, Sink};

/// Where a command begins to read a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum From {
    /// Behind this id; for a group, among the pending entries of the consumer.
    Id(StreamId),
    /// `>`: behind what the group has read.
    Unread,
}

/// When a stream is part of the reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Serve {
    /// If it has an entry for the command.
    IfAny,
    /// Always: it has woken the command.
    Always,
}

/// XREAD [COUNT count] [BLOCK milliseconds] STREAMS key [key …] id [id …]
pub(super) fn xread(
    cx: &mut Cx<'_>,
    args: Args<'_>,
    out: &mut Sink<'_>,
) -> Result<Option<Wait>, Refusal> {
    read(cx, args, false, out)
}

/// XREADGROUP GROUP group consumer [COUNT count] [BLOCK milliseconds] [NOACK] STREAMS key [key …] id [id …]
pub(super) fn xreadgroup(
    cx: &mut Cx<'_>,
    args: Args<'_>,
    out: &mut Sink<'_>,
) -> Result<Option<Wait>, Refusal> {
    read(cx, args, true, out)
}

fn read(
    cx: &mut Cx<'_>,
    args: Args<'_>,
    for_group: bool,
    out: &mut Sink<'_>,
) -> Result<Option<Wait>, Refusal> {
    let reader = Reader::of(cx, for_group);
    let read = ReadArgs::of(args, reader)?;
    if let Some(ready) = cx.ready
        && let Some(n) = (0..read.streams).find(|&n| read.key(n) == ready)
        // Since Redis 7.2 the command runs again as a whole, if all of its streams are here.
        && !(cx.product.has_new_streams && cx.slot().is_some())
    {
        wake(cx, &read, n, out)?;
        return Ok(None);
    }
    // Most commands read one stream.
    let (mut few, mut many) = ([From::Unread; 2], Vec::new());
    let from = if read.streams <= few.len() {
        &mut few[..read.streams]
    } else {
        many.resize(read.streams, From::Unread);
        &mut many[..]
    };
    for (n, from) in from.iter_mut().enumerate() {
        *from = from_of(cx, &read, n)?;
    }
    let begin = out.len();
    let served = write_counted(shape(out), out, |out| {
        let mut served = 0;
        for (n, &from) in from.iter().enumerate() {
            served += usize::from(read_stream(cx, &read, n, from, Serve::IfAny, out));
        }
        served
    });
    if served > 0 {
        return Ok(None);
    }
    out.truncate(begin);
    Ok(match read.wait.clone() {
        Some(wait) => Some(Wait { resolved: resolved(&read, from), ..wait }),
        None => {
            out.null_array();
            None
        }
    })
}

/// The reply: for each stream its key and its entries.
fn shape(out: &Sink<'_>) -> Aggregate {
    if out.proto == Proto::Resp3 { Aggregate::Map } else { Aggregate::Array }
}

/// Reads the id of a stream; the stream, and the group, must exist if there is a group.
fn from_of(cx: &mut Cx<'_>, read: &ReadArgs<'_>, n: usize) -> Result<From, Refusal> {
    let (key, text, has_last) = (cx.key(read.key(n)), read.id_text(n), cx.product.has_new_streams);
    let stream = stream_at(cx, key)?;
    if let Some((group, _)) = read.group
        && stream.and_then(|stream| stream.group(group)).is_none()
    {
        return Err(no_group_to_read(key.bytes, group));
    }
    match text {
        b"$" if read.group.is_some() => Err(Refusal::of(
            "ERR The $ ID is meaningless in the context of XREADGROUP: you want to read the history of \
             this consumer by specifying a proper ID, or use the > ID to get new messages. The $ ID \
             would just return an empty result set.",
        )),
        b"+" if has_last && read.group.is_some() => Err(Refusal::of(
            "ERR The + ID is meaningless in the context of XREADGROUP: you want to read the history of \
             this consumer by specifying a proper ID, or use the > ID to get new messages. The + ID \
             would just return an empty result set.",
        )),
        b"$" => Ok(From::Id(stream.map_or(StreamId::MIN, |stream| stream.log.last_id))),
        b"+" if has_last => {
            let last = stream.map_or(StreamId::MIN, |stream| stream.log.last_entry_id());
            Ok(From::Id(last.previous().unwrap_or(StreamId::MIN)))
        }
        b">" if read.group.is_none() => Err(Refusal::of(
            "ERR The > ID can be specified only when calling XREADGROUP using the GROUP <group> \
             <consumer> option.",
        )),
        b">" => Ok(From::Unread),
        text => match id_of(text)? {
            // Redis marks `>` with this id.
            StreamId::MAX if read.group.is_some() => Ok(From::Unread),
            id => Ok(From::Id(id)),
        },
    }
}

fn no_group_to_read(key: &[u8], group: &[u8]) -> Refusal {
    let text = no_group(key, group).into_text();
    Refusal::new([&text[..], b" in XREADGROUP with GROUP option"].concat())
}

/// Returns the request with the ids that it has now, if they differ from those that were sent.
fn resolved(
    read: &ReadArgs<'_>,
    from: &[From],
) -> Option<Box<crate::command::wait::ResolvedRequest>> {
    let is_open = |n: usize| matches!(read.id_text(n), b"$" | b"+");
    if !(0..read.streams).any(is_open) {
        return None;
    }
    let ids = from.iter().map(|from| {
        let mut text = Vec::new();
        match from {
            From::Id(id) => push_id(&mut text, *id),
            From::Unread => text.push(b'>'),
        }
        text
    });
    Some(read.resolved(&ids.collect::<Vec<_>>()))
}

/// Runs a command again that was blocked, for the stream that has woken it.
fn wake(cx: &mut Cx<'_>, read: &ReadArgs<'_>, n: usize, out: &mut Sink<'_>) -> Result<(), Refusal> {
    let (key, is_new) = (cx.key(read.key(n)), cx.product.has_new_streams);
    if let Some((group, _)) = read.group {
        let (is_stream, has_group) = match cx.keyspace.get(key) {
            Some(Value::Stream(stream)) => (true, stream.group(group).is_some()),
            Some(_) if is_new => return Err(Refusal::WRONG_TYPE),
            _ => (false, false),
        };
        match (is_stream, has_group) {
            (_, true) => {}
            (_, false) if is_new => return Err(no_group_to_read(key.bytes, group)),
            (true, false) => {
                return Err(Refusal::of(
                    "NOGROUP the consumer group this client was blocked on no longer exists",
                ));
            }
            (false, false) => {
                return Err(Refusal::of("UNBLOCKED the stream key no longer exists"));
            }
        }
    }
    let from = match read.group {
        Some(_) => From::Unread,
        None => From::Id(id_of(read.id_text(n))?),
    };
    write_counted(shape(out), out, |out| {
        usize::from(read_stream(cx, read, n, from, Serve::Always, out))
    });
    Ok(())
}

/// Reads one stream; returns whether it is part of the reply.
fn read_stream(
    cx: &mut Cx<'_>,
    read: &ReadArgs<'_>,
    n: usize,
    from: From,
    serve: Serve,
    out: &mut Sink<'_>,
) -> bool {
    let key = cx.key(read.key(n));
    match (read.group, from) {
        (None, From::Id(id)) => {
            let Some(Value::Stream(stream)) = cx.keyspace.get(key) else { return false };
            if serve == Serve::IfAny && !has_unread(&stream.log, id) {
                return false;
            }
            begin_stream(key, out);
            let range = (id.next().unwrap_or(StreamId::MIN), StreamId::MAX);
            write_range(&stream.log, range, false, read.count, &mut Strides::new(cx.pace), out);
            true
        }
        (Some(names), from) => read_for_group(cx, key, read, names, from, serve, out),
        (None, From::Unread) => false,
    }
}

fn has_unread(log: &StreamLog, id: StreamId) -> bool {
    log.last_id > id && log.last_entry_id() > id
}

/// Writes what is before the entries of a stream.
fn begin_stream(key: Key<'_>, out: &mut Sink<'_>) {
    if out.proto != Proto::Resp3 {
        out.array(2);
    }
    out.bulk(key.bytes);
}

fn read_for_group(
    cx: &mut Cx<'_>,
    key: Key<'_>,
    read: &ReadArgs<'_>,
    (group, consumer): (&[u8], &[u8]),
    from: From,
    serve: Serve,
    out: &mut Sink<'_>,
) -> bool {
    let (now, always_creates, lags) = (cx.now(), cx.product.has_new_streams, cx.product.lags);
    let mut strides = Strides::new(cx.pace);
    let done = change(cx.keyspace, key, |stream: &mut Stream| {
        let mut done = Done::default();
        let Some((log, group)) = stream.log_and_group(group) else { return Edited::Kept(done) };
        done.is_served = match from {
            From::Id(_) => true,
            From::Unread => serve == Serve::Always || has_unread(log, group.last_id),
        };
        if !done.is_served && !always_creates {
            return Edited::Kept(done);
        }
        let found = group.find(consumer);
        done.is_new = found.is_none();
        let number = found.unwrap_or_else(|| group.add_consumer(consumer, now));
        group.consumer_mut(number).seen_at = now;
        if done.is_served {
            begin_stream(key, out);
            let delivery = Delivery { log, group, number, now, count: read.count, lags };
            match from {
                From::Id(id) => delivery.again(id, &mut strides, out),
                From::Unread => {
                    let delivered = delivery.first(read.no_ack, &mut strides, out);
                    done.has_delivered = delivered > 0;
                    done.moves_id = (read.no_ack || always_creates) && delivered > 0;
                }
            }
        }
        Edited::Unwatched(done)
    });
    let done = done.ok().flatten().unwrap_or_default();
    note_read(cx, key, &done);
    done.is_served
}

/// What reading for a group did.
#[derive(Clone, Copy, Debug, Default)]
struct Done {
    /// The stream is part of the reply.
    is_served: bool,
    /// The consumer is new.
    is_new: bool,
    /// New entries were delivered.
    has_delivered: bool,
    /// The group has read on, and replicas are sent its id by itself.
    moves_id: bool,
}

/// Publishes the events of reading for a group. Replicas publish that of a new consumer only together
/// with entries, and that of an id that is set always since Redis 7.2, before if entries do not become pending:
/// so measured.
fn note_read(cx: &mut Cx<'_>, key: Key<'_>, done: &Done) {
    if done.is_new {
        note_new_consumer(cx, key.bytes, done.has_delivered);
    }
    if done.moves_id {
        note_moved_id(cx, key.bytes);
    }
}

/// A delivery of entries to a consumer.
struct Delivery<'s> {
    log: &'s StreamLog,
    group: &'s mut Group,
    number: ConsumerNumber,
    now: Millis,
    /// Most entries; 0 means all.
    count: usize,
    lags: Lags,
}

impl Delivery<'_> {
    fn count_max(&self) -> usize {
        if self.count == 0 { usize::MAX } else { self.count }
    }

    /// Delivers the entries that the group has not read; returns how many.
    fn first(self, no_ack: bool, strides: &mut Strides<'_>, out: &mut Sink<'_>) -> usize {
        let count_max = self.count_max();
        let Self { log, group, number, now, lags, .. } = self;
        let start = group.last_id.next().unwrap_or(StreamId::MIN);
        let delivered = write_counted(Aggregate::Array, out, |out| {
            let mut delivered = 0;
            for entry in log.range(start, StreamId::MAX).take(count_max) {
                let id = entry.id();
                (group.last_id, group.entries_read) =
                    log.read_up_to(group.last_id, group.entries_read, id, lags);
                write_entry(&entry, strides, out);
                if !no_ack {
                    group.assign(id, number, now, 1);
                }
                delivered += 1;
            }
            delivered
        });
        // Being handed entries without keeping them does not count.
        if delivered > 0 && !no_ack {
            group.consumer_mut(number).active_at = now;
        }
        delivered
    }

    /// Delivers pending entries of the consumer again, those behind `id`.
    fn again(self, id: StreamId, strides: &mut Strides<'_>, out: &mut Sink<'_>) {
        let count_max = self.count_max();
        let Self { log, group, number, now, .. } = self;
        let start = id.next().unwrap_or(StreamId::MIN);
        let pending = group.consumer(number).pending().range(start).take(count_max);
        let ids: Vec<StreamId> = pending.map(|(id, ())| id).collect();
        out.array(ids.len());
        for id in ids {
            match log.entry(id) {
                Some(entry) => {
                    write_entry(&entry, strides, out);
                    if let Some(pending) = group.pending_mut(id) {
                        pending.delivered_at = now;
                        pending.deliveries = pending.deliveries.wrapping_add(1);
                    }
                }
                None => {
                    strides.step(1);
                    out.array(2);
                    write_id(out, id);
                    out.null_array();
                }
            }
        }
    }
}
