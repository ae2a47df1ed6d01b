//! XADD, XTRIM and XSETID.

use super::ids::{AddedId, id_of, write_id};
use super::trim::{Options, Trim};
use crate::command::collection::change;
use crate::command::pace::Strides;
use crate::command::{Args, Cx, Outcome, Refusal};
use crate::dialect::Product;
use crate::keyspace::{Edited, Millis, NODE_BYTES_MAX, Stream, StreamId, Ttl, Value, event};
use crate::resp::Sink;

const NOT_GREATER: Refusal =
    Refusal::of("ERR The ID specified in XADD is equal or smaller than the target stream top item");
const TOO_LARGE: Refusal = Refusal::of("ERR Elements are too large to be stored");

/// The fields of an entry with their values: arguments in pairs.
#[derive(Clone, Copy)]
struct AddedPairs<'a> {
    args: Args<'a>,
    first: usize,
}

impl<'a> AddedPairs<'a> {
    fn iter(self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone {
        let count = (self.args.len() - self.first) / 2;
        (0..count)
            .map(move |n| (self.args.at(self.first + 2 * n), self.args.at(self.first + 2 * n + 1)))
    }

    fn is_too_large(self) -> bool {
        self.args.from(self.first).map(<[u8]>::len).sum::<usize>() > NODE_BYTES_MAX
    }
}

/// The id that an entry gets.
fn next_id(
    stream: &Stream,
    wanted: Option<AddedId>,
    now: Millis,
    product: &Product,
) -> Result<StreamId, Refusal> {
    let last = stream.log.last_id;
    if last == StreamId::MAX {
        return Err(Refusal::of(
            "ERR The stream has exhausted the last possible ID, unable to add more items",
        ));
    }
    let id = match wanted {
        None => stream.log.next_id(now).unwrap_or(StreamId::MAX),
        Some(AddedId { id, is_partial: true }) if id.ms == last.ms => {
            // There is no next number of that time, which Redis 7.0 takes for another mistake.
            let refusal = if product.has_new_streams { NOT_GREATER } else { TOO_LARGE };
            StreamId { seq: last.seq.checked_add(1).ok_or(refusal)?, ..last }
        }
        Some(AddedId { id, .. }) => id,
    };
    if id <= last {
        return Err(NOT_GREATER);
    }
    Ok(id)
}

/// XADD key [NOMKSTREAM] [KEEPREF|DELREF|ACKED] [MAXLEN|MINID [=|~] threshold [LIMIT count]] *|id field value
/// [field value …]
pub(super) fn xadd(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let nodes = cx.keyspace.limits.stream_node;
    let options = Options::of(args, true, nodes, cx.product)?;
    let first = options.id_at + 1;
    if args.len() < first + 2 || (args.len() - first) % 2 == 1 {
        return Err(Refusal::arity("xadd"));
    }
    if options.id == Some(AddedId { id: StreamId::MIN, is_partial: false }) {
        return Err(Refusal::of("ERR The ID specified in XADD must be greater than 0-0"));
    }
    let (key, now, product) = (cx.key(args.at(1)), cx.now(), cx.product);
    let pairs = AddedPairs { args, first };
    let mut strides = Strides::new(cx.pace);
    let add = |stream: &mut Stream, strides: &mut Strides<'_>| {
        let id = next_id(stream, options.id, now, product)?;
        if pairs.is_too_large() {
            return Err(TOO_LARGE);
        }
        stream.log.add(id, pairs.iter(), nodes);
        let trimmed = options.trim.map_or(0, |trim| run_trim(stream, trim, strides));
        Ok((id, trimmed))
    };
    let added = change(cx.keyspace, key, |stream: &mut Stream| match add(stream, &mut strides) {
        Ok(added) => Edited::Changed(Ok(added)),
        Err(refusal) => Edited::Kept(Err(refusal)),
    })?;
    let (id, trimmed) = match added {
        Some(added) => added?,
        None if options.no_stream => {
            out.null();
            return Ok(());
        }
        None => {
            let mut stream = Stream::default();
            let added = add(&mut stream, &mut strides)?;
            cx.keyspace.set(key, Value::Stream(Box::new(stream)), Ttl::Clear);
            added
        }
    };
    write_id(out, id);
    cx.keyspace.notify_event(event::STREAM, "xadd", key.bytes);
    if trimmed > 0 {
        cx.keyspace.notify_event(event::STREAM, "xtrim", key.bytes);
    }
    cx.keyspace.signal_ready(key.bytes);
    Ok(())
}

fn run_trim(stream: &mut Stream, trim: Trim, strides: &mut Strides<'_>) -> u64 {
    let Trim { to, is_approximate, limit, references } = trim;
    stream.trim(to, is_approximate, limit, references, |entries| strides.step(entries as usize))
}

/// XTRIM key MAXLEN|MINID [=|~] threshold [LIMIT count] [KEEPREF|DELREF|ACKED]
pub(super) fn xtrim(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let Options { trim, .. } =
        Options::of(args, false, cx.keyspace.limits.stream_node, cx.product)?;
    let (key, mut strides) = (cx.key(args.at(1)), Strides::new(cx.pace));
    let trimmed = change(cx.keyspace, key, |stream: &mut Stream| {
        match trim.map_or(0, |trim| run_trim(stream, trim, &mut strides)) {
            0 => Edited::Kept(0),
            trimmed => Edited::Changed(trimmed),
        }
    })?;
    let trimmed = trimmed.unwrap_or(0);
    if trimmed > 0 {
        cx.keyspace.notify_event(event::STREAM, "xtrim", key.bytes);
    }
    out.int(trimmed as i64);
    Ok(())
}

/// XSETID key id [ENTRIESADDED count] [MAXDELETEDID id]
pub(super) fn xsetid(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let id = id_of(args.at(2))?;
    let (mut entries_added, mut max_deleted) = (None, StreamId::MIN);
    let mut i = 3;
    while i < args.len() {
        if args.is(i, "entriesadded") && i + 1 < args.len() {
            let count = u64::try_from(args.int(i + 1)?);
            let negative = Refusal::of("ERR entries_added must be positive");
            entries_added = Some(count.map_err(|_| negative)?);
        } else if args.is(i, "maxdeletedid") && i + 1 < args.len() {
            max_deleted = id_of(args.at(i + 1))?;
            if id < max_deleted {
                return Err(Refusal::of(
                    "ERR The ID specified in XSETID is smaller than the provided max_deleted_entry_id",
                ));
            }
        } else {
            return Err(Refusal::SYNTAX);
        }
        i += 2;
    }
    let (key, looks_back) = (cx.key(args.at(1)), cx.product.has_new_streams);
    let set = change(cx.keyspace, key, |stream: &mut Stream| {
        let log = &mut stream.log;
        if looks_back && id < log.max_deleted_id {
            return Edited::Kept(Err(Refusal::of(
                "ERR The ID specified in XSETID is smaller than current max_deleted_entry_id",
            )));
        }
        if log.len() > 0 && id < log.last_entry_id() {
            return Edited::Kept(Err(Refusal::of(
                "ERR The ID specified in XSETID is smaller than the target stream top item",
            )));
        }
        if entries_added.is_some_and(|added| log.len() > added) {
            return Edited::Kept(Err(Refusal::of(
                "ERR The entries_added specified in XSETID is smaller than the target stream length",
            )));
        }
        log.last_id = id;
        log.entries_added = entries_added.unwrap_or(log.entries_added);
        if max_deleted != StreamId::MIN {
            log.max_deleted_id = max_deleted;
        }
        Edited::Unwatched(Ok(()))
    })?;
    set.ok_or(Refusal::NO_SUCH_KEY)??;
    cx.keyspace.notify_event(event::STREAM, "xsetid", key.bytes);
    out.ok();
    Ok(())
}
