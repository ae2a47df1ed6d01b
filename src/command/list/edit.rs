//! Changes within a list: LSET, LINSERT, LREM, LTRIM.

use super::{after_removal, index_of, piece_limit, range_of};
use crate::command::collection::{announce_removal, change};
use crate::command::pace::Strides;
use crate::command::{Args, Cx, Outcome, Refusal};
use crate::keyspace::{Edited, End, List, event};
use crate::resp::Sink;

/// LSET key index element
pub(super) fn lset(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let (key, limit) = (cx.key(args.at(1)), piece_limit(cx.keyspace));
    // Redis parses the index only if the list exists.
    let set = change(cx.keyspace, key, |list: &mut List| {
        let index = match args.int(2) {
            Ok(index) => index_of(index, list.len()),
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
    let is_after = args.is(2, "after");
    if !is_after && !args.is(2, "before") {
        return Err(Refusal::SYNTAX);
    }
    let (key, limit) = (cx.key(args.at(1)), piece_limit(cx.keyspace));
    let mut strides = Strides::new(cx.pace);
    let len = change(cx.keyspace, key, |list: &mut List| {
        let step = |visited| strides.step(visited);
        if list.insert_beside(args.at(3), is_after, args.at(4), limit, step) {
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
            removed => after_removal(list, (removed, list.is_empty())),
        }
    })?;
    let (removed, emptied) = removed.unwrap_or_default();
    if removed > 0 {
        announce_removal(cx.keyspace, event::LIST, "lrem", args.at(1), emptied);
    }
    out.count(removed);
    Ok(())
}

/// LTRIM key start stop
pub(super) fn ltrim(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let (start, stop) = (args.int(2)?, args.int(3)?);
    let (key, keeps) = (cx.key(args.at(1)), cx.product.keeps_untrimmed);
    let mut trims = true;
    let emptied = change(cx.keyspace, key, |list: &mut List| {
        let before = list.len();
        list.keep(range_of(start, stop, before));
        trims = list.len() != before;
        match !trims && keeps {
            true => Edited::Kept(false),
            // A trim that removes nothing still counts as a change, as in Redis.
            false => after_removal(list, list.is_empty()),
        }
    })?;
    match emptied {
        None => {}
        Some(emptied) if trims => {
            announce_removal(cx.keyspace, event::LIST, "ltrim", args.at(1), emptied);
        }
        // It is not replicated.
        Some(_) => {
            let nothing = event::Replicated::NOTHING;
            cx.keyspace.notify_replicated(event::LIST, "ltrim", args.at(1), nothing);
        }
    }
    out.ok();
    Ok(())
}
