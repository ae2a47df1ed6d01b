//! XPENDING.

use super::ids::{end_of, start_of, write_id};
use super::reply::{Aggregate, write_counted};
use super::{no_group, stream_at};
use crate::command::pace::Strides;
use crate::command::{Args, Cx, Outcome, Refusal};
use crate::keyspace::{Group, Millis, Pending, StreamId};
use crate::resp::Sink;

/// What is asked for beyond a summary.
struct Query<'a> {
    start: StreamId,
    end: StreamId,
    count: usize,
    /// Entries that were delivered later than this long ago are left out.
    idle_min: i64,
    consumer: Option<&'a [u8]>,
}

impl<'a> Query<'a> {
    /// Reads `[IDLE milliseconds] start end count [consumer]`.
    fn of(args: Args<'a>) -> Result<Option<Self>, Refusal> {
        let (idle_min, at) = match args.len() {
            3 => return Ok(None),
            6..=9 if args.is(3, "idle") => {
                let idle_min = args.int(4)?;
                if args.len() < 8 {
                    return Err(Refusal::SYNTAX);
                }
                (idle_min, 5)
            }
            6..=9 => (0, 3),
            _ => return Err(Refusal::SYNTAX),
        };
        let count = usize::try_from(args.int(at + 2)?).unwrap_or(0);
        let (start, end) = (start_of(args.at(at))?, end_of(args.at(at + 1))?);
        Ok(Some(Self { start, end, count, idle_min, consumer: args.get(at + 3) }))
    }
}

/// XPENDING key group [[IDLE milliseconds] start end count [consumer]]
pub(super) fn xpending(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let query = Query::of(args)?;
    let (key, name, now) = (cx.key(args.at(1)), args.at(2), cx.now());
    let mut strides = Strides::new(cx.pace);
    let group = stream_at(cx, key)?.and_then(|stream| stream.group(name));
    let group = group.ok_or_else(|| no_group(key.bytes, name))?;
    match query {
        Some(query) => write_entries(group, &query, now, &mut strides, out),
        None => write_summary(group, &mut strides, out),
    }
    Ok(())
}

fn write_summary(group: &Group, strides: &mut Strides<'_>, out: &mut Sink<'_>) {
    out.array(4);
    out.count(group.pending().len());
    let (Some(first), Some(last)) = (group.pending().first(), group.pending().last()) else {
        out.null();
        out.null();
        out.null_array();
        return;
    };
    write_id(out, first);
    write_id(out, last);
    write_counted(Aggregate::Array, out, |out| {
        let mut consumers = 0;
        for consumer in group.consumers() {
            strides.step(1);
            let pending = consumer.pending().len();
            if pending > 0 {
                out.array(2);
                out.bulk(consumer.name());
                out.bulk_int(pending as i64);
                consumers += 1;
            }
        }
        consumers
    });
}

fn write_entries(
    group: &Group,
    query: &Query<'_>,
    now: Millis,
    strides: &mut Strides<'_>,
    out: &mut Sink<'_>,
) {
    let &Query { start, end, count, idle_min, consumer } = query;
    let idle = |pending: &Pending| now.saturating_sub(pending.delivered_at);
    let write = |id, pending: &Pending, out: &mut Sink<'_>| {
        out.array(4);
        write_id(out, id);
        out.bulk(group.consumer_of(pending).name());
        out.int(idle(pending).max(0));
        out.int(pending.deliveries as i64);
    };
    let mut fits = |pending: &Pending| {
        strides.step(1);
        idle_min == 0 || idle(pending) >= idle_min
    };
    let is_within = |id: StreamId| id <= end;
    write_counted(Aggregate::Array, out, |out| {
        let mut written = 0;
        match consumer {
            None => {
                let within = group.pending().range(start).take_while(|(id, _)| is_within(*id));
                for (id, pending) in within.filter(|(_, pending)| fits(pending)).take(count) {
                    write(id, pending, out);
                    written += 1;
                }
            }
            Some(name) => {
                let Some(number) = group.find(name) else { return 0 };
                let of_consumer = group.consumer(number).pending().range(start);
                let pending = of_consumer
                    .take_while(|(id, ())| is_within(*id))
                    .filter_map(|(id, ())| Some((id, group.pending().get(id)?)));
                for (id, pending) in pending.filter(|(_, pending)| fits(pending)).take(count) {
                    write(id, pending, out);
                    written += 1;
                }
            }
        }
        written
    });
}
