//! XLEN, XRANGE and XREVRANGE.

use super::ids::{end_of, start_of};
use super::reply::write_range;
use super::stream_at;
use crate::command::pace::Strides;
use crate::command::{Args, Cx, Outcome, Refusal};
use crate::resp::Sink;

/// XLEN key
pub(super) fn xlen(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let key = cx.key(args.at(1));
    out.int(stream_at(cx, key)?.map_or(0, |stream| stream.log.len() as i64));
    Ok(())
}

/// XRANGE key start end [COUNT count]; XREVRANGE key end start [COUNT count]
pub(super) fn xrange(
    cx: &mut Cx<'_>,
    args: Args<'_>,
    backwards: bool,
    out: &mut Sink<'_>,
) -> Outcome {
    let (start, end) = if backwards { (3, 2) } else { (2, 3) };
    let range = (start_of(args.at(start))?, end_of(args.at(end))?);
    let mut count = None;
    let mut i = 4;
    while i < args.len() {
        if !args.is(i, "count") || i + 1 == args.len() {
            return Err(Refusal::SYNTAX);
        }
        count = Some(usize::try_from(args.int(i + 1)?).unwrap_or(0));
        i += 2;
    }
    let (key, mut strides) = (cx.key(args.at(1)), Strides::new(cx.pace));
    match stream_at(cx, key)? {
        None => out.array(0),
        Some(_) if count == Some(0) => out.null_array(),
        Some(stream) => {
            write_range(&stream.log, range, backwards, count.unwrap_or(0), &mut strides, out);
        }
    }
    Ok(())
}
