//! XINFO.

use super::ids::write_id;
use super::reply::{write_entry, write_range};
use super::{XINFO_CONTAINER, no_group_for_key, stream_at};
use crate::command::container;
use crate::command::pace::Strides;
use crate::command::{Args, Cx, Outcome, Refusal, too_many_arguments};
use crate::dialect::{Lags, servers};
use crate::keyspace::{Consumer, Group, Stream, StreamId, StreamLog};
use crate::resp::Sink;

/// The arguments: key, and what follows.
const KEY: usize = 2;
const REST: usize = 3;
/// How many entries, pending entries and the like FULL shows of each unless COUNT says otherwise.
const FULL_COUNT: usize = 10;

/// What Redis 8.10 shows of producers whose entries are not added twice, which there are none of here:
/// the defaults, and how many there are.
const OF_PRODUCERS: [(&str, i64); 6] = [
    ("idmp-duration", 100),
    ("idmp-maxsize", 100),
    ("pids-tracked", 0),
    ("iids-tracked", 0),
    ("iids-added", 0),
    ("iids-duplicates", 0),
];

/// XINFO HELP
pub(super) fn help(cx: &mut Cx<'_>, _: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    container::help(&XINFO_CONTAINER, cx.product, out);
    Ok(())
}

/// The stream at the key, which must exist.
fn existing<'k>(cx: &'k mut Cx<'_>, args: Args<'_>) -> Result<&'k Stream, Refusal> {
    let key = cx.key(args.at(KEY));
    stream_at(cx, key)?.ok_or(Refusal::NO_SUCH_KEY)
}

/// XINFO CONSUMERS key group
pub(super) fn consumers(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let (now, shows_activity) = (cx.now(), cx.product.has_new_streams);
    let (key, name, mut strides) = (args.at(KEY), args.at(REST), Strides::new(cx.pace));
    let group = existing(cx, args)?.group(name).ok_or_else(|| no_group_for_key(key, name))?;
    out.array(group.consumers().len());
    for consumer in group.consumers() {
        strides.step(1);
        out.map(if shows_activity { 4 } else { 3 });
        out.bulk(b"name");
        out.bulk(consumer.name());
        out.bulk(b"pending");
        out.count(consumer.pending().len());
        out.bulk(b"idle");
        out.int(now.saturating_sub(consumer.seen_at).max(0));
        if shows_activity {
            out.bulk(b"inactive");
            out.int(match consumer.active_at {
                -1 => -1,
                at => now.saturating_sub(at).max(0),
            });
        }
    }
    Ok(())
}

/// XINFO GROUPS key
pub(super) fn groups(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let (lags, mut strides) = (cx.product.lags, Strides::new(cx.pace));
    let stream = existing(cx, args)?;
    out.array(stream.groups().len());
    for (name, group) in stream.groups() {
        strides.step(1);
        out.map(6);
        out.bulk(b"name");
        out.bulk(name);
        out.bulk(b"consumers");
        out.count(group.consumers().len());
        out.bulk(b"pending");
        out.count(group.pending().len());
        write_progress(&stream.log, group, lags, out);
    }
    Ok(())
}

/// Writes how far a group has read.
fn write_progress(log: &StreamLog, group: &Group, lags: Lags, out: &mut Sink<'_>) {
    out.bulk(b"last-delivered-id");
    write_id(out, group.last_id);
    out.bulk(b"entries-read");
    match group.entries_read {
        -1 => out.null(),
        count => out.int(count),
    }
    out.bulk(b"lag");
    match log.lag(group, lags) {
        None => out.null(),
        Some(lag) => out.int(lag),
    }
}

/// XINFO STREAM key [FULL [COUNT count]]
pub(super) fn stream(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let (shows_activity, lags) = (cx.product.has_new_streams, cx.product.lags);
    let is_newest = cx.product.is_of(servers::REDIS8_10);
    let mut strides = Strides::new(cx.pace);
    let stream = existing(cx, args)?;
    let full = match args.len() - REST {
        0 => None,
        1 | 3 if !args.is(REST, "full") => return Err(too_many_arguments(args)),
        1 => Some(FULL_COUNT),
        3 if args.is(REST + 1, "count") => {
            Some(usize::try_from(args.int(REST + 2)?).unwrap_or(FULL_COUNT))
        }
        _ => return Err(too_many_arguments(args)),
    };
    let log = &stream.log;
    strides.step(log.nodes());
    let fields = if full.is_some() { 9 } else { 10 };
    out.map(if is_newest { fields + OF_PRODUCERS.len() } else { fields });
    // Redis 8.10 no longer counts the leaves.
    let leaves = if is_newest { log.nodes() } else { 0 };
    let radix_nodes = log.radix_nodes().saturating_sub(leaves);
    for (name, count) in [
        ("length", log.len() as i64),
        ("radix-tree-keys", log.nodes() as i64),
        ("radix-tree-nodes", radix_nodes as i64),
    ] {
        out.bulk(name.as_bytes());
        out.int(count);
    }
    out.bulk(b"last-generated-id");
    write_id(out, log.last_id);
    out.bulk(b"max-deleted-entry-id");
    write_id(out, log.max_deleted_id);
    out.bulk(b"entries-added");
    out.int(log.entries_added as i64);
    out.bulk(b"recorded-first-entry-id");
    write_id(out, log.first_id());
    for (name, number) in OF_PRODUCERS.iter().filter(|_| is_newest) {
        out.bulk(name.as_bytes());
        out.int(*number);
    }
    match full {
        Some(count) => {
            Details { count, shows_activity, is_newest, lags }.write(stream, &mut strides, out);
        }
        None => write_ends(stream, &mut strides, out),
    }
    Ok(())
}

/// Writes the number of groups, and the first and the last entry.
fn write_ends(stream: &Stream, strides: &mut Strides<'_>, out: &mut Sink<'_>) {
    let log = &stream.log;
    out.bulk(b"groups");
    out.count(stream.groups().len());
    let first = log.range(StreamId::MIN, StreamId::MAX).next();
    let last = log.range_back(StreamId::MIN, StreamId::MAX).next();
    for (name, entry) in [("first-entry", first), ("last-entry", last)] {
        out.bulk(name.as_bytes());
        match entry {
            Some(entry) => write_entry(&entry, strides, out),
            None => out.null(),
        }
    }
}

/// What FULL shows.
struct Details {
    /// Most of each; 0 means all.
    count: usize,
    shows_activity: bool,
    /// As of Redis 8.10.
    is_newest: bool,
    lags: Lags,
}

impl Details {
    fn count_of(&self, len: usize) -> usize {
        if self.count == 0 { len } else { len.min(self.count) }
    }

    fn write(&self, stream: &Stream, strides: &mut Strides<'_>, out: &mut Sink<'_>) {
        out.bulk(b"entries");
        write_range(&stream.log, (StreamId::MIN, StreamId::MAX), false, self.count, strides, out);
        out.bulk(b"groups");
        out.array(stream.groups().len());
        for (name, group) in stream.groups() {
            out.map(if self.is_newest { 8 } else { 7 });
            out.bulk(b"name");
            out.bulk(name);
            write_progress(&stream.log, group, self.lags, out);
            out.bulk(b"pel-count");
            out.count(group.pending().len());
            if self.is_newest {
                // There is no XNACK.
                out.bulk(b"nacked-count");
                out.int(0);
            }
            out.bulk(b"pending");
            let count = self.count_of(group.pending().len());
            out.array(count);
            for (id, pending) in group.pending().iter().take(count) {
                strides.step(1);
                out.array(4);
                write_id(out, id);
                out.bulk(group.consumer_of(pending).name());
                out.int(pending.delivered_at);
                out.int(pending.deliveries as i64);
            }
            out.bulk(b"consumers");
            out.array(group.consumers().len());
            group
                .consumers()
                .for_each(|consumer| self.write_consumer(group, consumer, strides, out));
        }
    }

    fn write_consumer(
        &self,
        group: &Group,
        consumer: &Consumer,
        strides: &mut Strides<'_>,
        out: &mut Sink<'_>,
    ) {
        out.map(if self.shows_activity { 5 } else { 4 });
        out.bulk(b"name");
        out.bulk(consumer.name());
        out.bulk(b"seen-time");
        out.int(consumer.seen_at);
        if self.shows_activity {
            out.bulk(b"active-time");
            out.int(consumer.active_at);
        }
        out.bulk(b"pel-count");
        out.count(consumer.pending().len());
        out.bulk(b"pending");
        let count = self.count_of(consumer.pending().len());
        out.array(count);
        for (id, ()) in consumer.pending().iter().take(count) {
            strides.step(1);
            let pending = group.pending().get(id);
            out.array(3);
            write_id(out, id);
            out.int(pending.map_or(0, |pending| pending.delivered_at));
            out.int(pending.map_or(0, |pending| pending.deliveries as i64));
        }
    }
}
