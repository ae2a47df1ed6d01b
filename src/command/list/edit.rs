//! Changes within a list: at an index, beside an element, of all elements that are equal to one.

use super::{piece_limit, place_of, range_of, shrunk};
use crate::command::collection::{announce_loss, change};
use crate::command::scan::Strides;
use crate::command::{Args, Cx, Outcome, Refusal};
use crate::keyspace::{Edited, End, List, event};
use crate::resp::Sink;

/// LSET key index element
pub(super) fn lset(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let (key, limit) = (cx.key(args.at(1)), piece_limit(cx.keyspace));
    // Redis looks at the index only when there is a list.
    let set = change(cx.keyspace, key, |list: &mut List| {
        let index = match args.int(2) {
            Ok(index) => place_of(index, list.len()),
            Err(refusal) => return Edited::Kept(Err(refusal)),
        };
        match index {
            Some(index) => {
                list.set(index, args.at(3), limit);
                Edited::Changed(Ok(()))
            }
            None => Edited::Kept(Err(Refusal::of("ERR index out of range"))),
        }
    })?;
    set.ok_or(Refusal::NO_SUCH_KEY)??;
    cx.keyspace.notify_event(event::LIST, "lset", args.at(1));
    out.ok();
    Ok(())
}

/// LINSERT key BEFORE|AFTER pivot element
pub(super) fn linsert(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let is_behind = args.is(2, "after");
    if !is_behind && !args.is(2, "before") {
        return Err(Refusal::SYNTAX);
    }
    let (key, limit) = (cx.key(args.at(1)), piece_limit(cx.keyspace));
    let mut strides = Strides::new(cx.pace);
    let len = change(cx.keyspace, key, |list: &mut List| {
        let step = |visited| strides.step(visited);
        if list.insert_beside(args.at(3), is_behind, args.at(4), limit, step) {
            Edited::Changed(Some(list.len()))
        } else {
            Edited::Kept(None)
        }
    })?;
    match len {
        None => out.int(0),
        Some(None) => out.int(-1),
        Some(Some(len)) => {
            cx.keyspace.notify_event(event::LIST, "linsert", args.at(1));
            out.count(len);
        }
    }
    Ok(())
}

/// LREM key count element
pub(super) fn lrem(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let count = args.int(2)?;
    let end = if count < 0 { End::Back } else { End::Front };
    let count_max = if count == 0 { usize::MAX } else { count.unsigned_abs() as usize };
    let (key, limit) = (cx.key(args.at(1)), piece_limit(cx.keyspace));
    let mut strides = Strides::new(cx.pace);
    let removed = change(cx.keyspace, key, |list: &mut List| {
        let step = |visited| strides.step(visited);
        match list.remove(args.at(3), end, count_max, limit, step) {
            0 => Edited::Kept((0, false)),
            removed => shrunk(list, (removed, list.is_empty())),
        }
    })?;
    let (removed, is_gone) = removed.unwrap_or_default();
    if removed > 0 {
        announce_loss(cx.keyspace, event::LIST, "lrem", args.at(1), is_gone);
    }
    out.count(removed);
    Ok(())
}

/// LTRIM key start stop
pub(super) fn ltrim(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let (start, stop) = (args.int(2)?, args.int(3)?);
    let key = cx.key(args.at(1));
    // A trim that removes nothing is a change all the same, as in Redis.
    let is_gone = change(cx.keyspace, key, |list: &mut List| {
        list.keep(range_of(start, stop, list.len()));
        shrunk(list, list.is_empty())
    })?;
    if let Some(is_gone) = is_gone {
        announce_loss(cx.keyspace, event::LIST, "ltrim", args.at(1), is_gone);
    }
    out.ok();
    Ok(())
}
