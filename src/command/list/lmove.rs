//! LMOVE, RPOPLPUSH and their blocking forms: one element moves from an end of a list to an end of
//! another, or of the same.

use super::{after_removal, end_of, piece_limit, pop_event, push_event};
use crate::command::collection::{announce_removal, change};
use crate::command::wait::{NullReply, Wait, WaitKind};
use crate::command::{Args, Cx, Outcome, Refusal};
use crate::keyspace::{Edited, End, Entry, List, Ttl, Value, event};
use crate::resp::Sink;

/// The end that the element is popped from, and the end that it is pushed to.
type Ends = (End, End);

/// The ends of RPOPLPUSH.
const RPOPLPUSH: Ends = (End::Back, End::Front);

/// LMOVE source destination LEFT|RIGHT LEFT|RIGHT
pub(super) fn lmove(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let ends = (end_of(args, 3)?, end_of(args, 4)?);
    move_or_null(cx, args, ends, out)
}

/// RPOPLPUSH source destination
pub(super) fn rpoplpush(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    move_or_null(cx, args, RPOPLPUSH, out)
}

fn move_or_null(cx: &mut Cx<'_>, args: Args<'_>, ends: Ends, out: &mut Sink<'_>) -> Outcome {
    if !move_element(cx, args, ends, out)? {
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
    move_or_block(cx, args, ends, 5, out)
}

/// BRPOPLPUSH source destination timeout
pub(super) fn brpoplpush(
    cx: &mut Cx<'_>,
    args: Args<'_>,
    out: &mut Sink<'_>,
) -> Result<Option<Wait>, Refusal> {
    move_or_block(cx, args, RPOPLPUSH, 3, out)
}

fn move_or_block(
    cx: &mut Cx<'_>,
    args: Args<'_>,
    ends: Ends,
    timeout_at: usize,
    out: &mut Sink<'_>,
) -> Result<Option<Wait>, Refusal> {
    let wait = Wait::of(args, timeout_at, cx.now(), WaitKind::List, NullReply::Null)?;
    Ok(if move_element(cx, args, ends, out)? { None } else { Some(wait) })
}

/// Moves an element from the list at argument 1 to the one at argument 2 and replies with it.
/// Returns `false`, and does nothing, if the source does not exist.
fn move_element(
    cx: &mut Cx<'_>,
    args: Args<'_>,
    ends: Ends,
    out: &mut Sink<'_>,
) -> Result<bool, Refusal> {
    let (from, to) = (args.at(1), args.at(2));
    let (source, destination) = (cx.key(from), cx.key(to));
    let limit = piece_limit(cx.keyspace);
    if from == to {
        let rotated = change(cx.keyspace, source, |list: &mut List| {
            let element = list.peek(ends.0).map(|text| text.to_vec()).unwrap_or_default();
            list.pop(ends.0, 1);
            list.push(ends.1, &element, limit);
            out.bulk(&element);
            Edited::Changed(())
        })?;
        if rotated.is_some() {
            cx.keyspace.notify_event(event::LIST, push_event(ends.1), from);
            announce_removal(cx.keyspace, event::LIST, pop_event(ends.0), from, false);
        }
        return Ok(rotated.is_some());
    }
    match cx.keyspace.peek(source).map(Entry::value) {
        None => return Ok(false),
        Some(Value::List(_)) => {}
        Some(_) => return Err(Refusal::WRONG_TYPE),
    }
    // Checked before the pop: on an error the element stays in the source.
    if !matches!(cx.keyspace.peek(destination).map(Entry::value), None | Some(Value::List(_))) {
        return Err(Refusal::WRONG_TYPE);
    }
    let popped = change(cx.keyspace, source, |list: &mut List| {
        let element = list.peek(ends.0).map(|text| text.to_vec()).unwrap_or_default();
        list.pop(ends.0, 1);
        after_removal(list, (element, list.is_empty()))
    })?;
    let Some((element, emptied)) = popped else { return Ok(false) };
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
    // The events are in this order in Redis.
    cx.keyspace.notify_event(event::LIST, push_event(ends.1), to);
    announce_removal(cx.keyspace, event::LIST, pop_event(ends.0), from, emptied);
    Ok(true)
}
