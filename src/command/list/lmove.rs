//! Moving one element from an end of a list to an end of another, or of the same.

use super::{end_of, piece_limit, pop_event, push_event, shrunk};
use crate::command::collection::{announce_loss, change};
use crate::command::wait::{Absent, Wait, WaitKind};
use crate::command::{Args, Cx, Outcome, Refusal};
use crate::keyspace::{Edited, End, Entry, List, Ttl, Value, event};
use crate::resp::Sink;

/// The end that an element is taken off, and the end that it is put to.
type Ends = (End, End);

/// Of RPOPLPUSH.
const OVER: Ends = (End::Back, End::Front);

/// LMOVE source destination LEFT|RIGHT LEFT|RIGHT
pub(super) fn lmove(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let ends = (end_of(args, 3)?, end_of(args, 4)?);
    shift_or_null(cx, args, ends, out)
}

/// RPOPLPUSH source destination
pub(super) fn rpoplpush(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    shift_or_null(cx, args, OVER, out)
}

fn shift_or_null(cx: &mut Cx<'_>, args: Args<'_>, ends: Ends, out: &mut Sink<'_>) -> Outcome {
    if !shift(cx, args, ends, out)? {
        out.null();
    }
    Ok(())
}

/// BLMOVE source destination LEFT|RIGHT LEFT|RIGHT timeout
pub(super) fn blmove(
    cx: &mut Cx<'_>,
    args: Args<'_>,
    out: &mut Sink<'_>,
) -> Result<Option<Wait>, Refusal> {
    let ends = (end_of(args, 3)?, end_of(args, 4)?);
    shift_or_wait(cx, args, ends, 5, out)
}

/// BRPOPLPUSH source destination timeout
pub(super) fn brpoplpush(
    cx: &mut Cx<'_>,
    args: Args<'_>,
    out: &mut Sink<'_>,
) -> Result<Option<Wait>, Refusal> {
    shift_or_wait(cx, args, OVER, 3, out)
}

fn shift_or_wait(
    cx: &mut Cx<'_>,
    args: Args<'_>,
    ends: Ends,
    timeout_at: usize,
    out: &mut Sink<'_>,
) -> Result<Option<Wait>, Refusal> {
    let wait = Wait::of(args, timeout_at, cx.now(), WaitKind::List, Absent::Null)?;
    Ok(if shift(cx, args, ends, out)? { None } else { Some(wait) })
}

/// Moves an element from the list at argument 1 to the one at argument 2 and answers it; `false`,
/// and nothing done, if there is no first list.
fn shift(cx: &mut Cx<'_>, args: Args<'_>, ends: Ends, out: &mut Sink<'_>) -> Result<bool, Refusal> {
    let (from, to) = (args.at(1), args.at(2));
    let (source, destination) = (cx.key(from), cx.key(to));
    let limit = piece_limit(cx.keyspace);
    if from == to {
        let turned = change(cx.keyspace, source, |list: &mut List| {
            let element = list.peek(ends.0).map(|text| text.to_vec()).unwrap_or_default();
            list.pop(ends.0, 1);
            list.push(ends.1, &element, limit);
            out.bulk(&element);
            Edited::Changed(())
        })?;
        if turned.is_some() {
            cx.keyspace.notify_event(event::LIST, push_event(ends.1), from);
            announce_loss(cx.keyspace, event::LIST, pop_event(ends.0), from, false);
        }
        return Ok(turned.is_some());
    }
    match cx.keyspace.peek(source).map(Entry::value) {
        None => return Ok(false),
        Some(Value::List(_)) => {}
        Some(_) => return Err(Refusal::WRONG_TYPE),
    }
    // Before anything is taken: what does not fit there stays here.
    if !matches!(cx.keyspace.peek(destination).map(Entry::value), None | Some(Value::List(_))) {
        return Err(Refusal::WRONG_TYPE);
    }
    let taken = change(cx.keyspace, source, |list: &mut List| {
        let element = list.peek(ends.0).map(|text| text.to_vec()).unwrap_or_default();
        list.pop(ends.0, 1);
        shrunk(list, (element, list.is_empty()))
    })?;
    let Some((element, is_gone)) = taken else { return Ok(false) };
    let pushed = change(cx.keyspace, destination, |list: &mut List| {
        list.push(ends.1, &element, limit);
        Edited::Changed(())
    })?;
    if pushed.is_none() {
        let mut list = List::default();
        list.push(ends.1, &element, limit);
        cx.keyspace.set(destination, Value::List(list), Ttl::Clear);
    }
    out.bulk(&element);
    // In this order, as in Redis.
    cx.keyspace.notify_event(event::LIST, push_event(ends.1), to);
    announce_loss(cx.keyspace, event::LIST, pop_event(ends.0), from, is_gone);
    Ok(true)
}
