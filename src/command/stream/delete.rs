//! XDEL, XDELEX and XACKDEL.

use super::ids::{id_of, ids_from};
use super::trim::references_of;
use crate::command::collection::change;
use crate::command::pace::Strides;
use crate::command::{Args, Cx, Outcome, Refusal};
use crate::keyspace::{Deletion, Edited, Eraser, Key, References, Stream, StreamId, event};
use crate::resp::Sink;

/// XDEL key id [id …]
pub(super) fn xdel(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let (key, mut strides) = (cx.key(args.at(1)), Strides::new(cx.pace));
    let deleted = change(cx.keyspace, key, |stream: &mut Stream| {
        let ids = match ids_from(args, 2) {
            Ok(ids) => ids,
            Err(refusal) => return Edited::Kept(Err(refusal)),
        };
        let mut deleted = 0;
        for id in ids {
            strides.step(1);
            deleted += usize::from(stream.log.delete(id));
        }
        if deleted > 0 { Edited::Changed(Ok(deleted)) } else { Edited::Kept(Ok(0)) }
    })?;
    let deleted = deleted.transpose()?.unwrap_or(0);
    if deleted > 0 {
        cx.keyspace.notify_event(event::STREAM, "xdel", key.bytes);
    }
    out.count(deleted);
    Ok(())
}

/// The arguments of XDELEX behind its key, or of XACKDEL behind its group.
#[derive(Clone, Copy, Debug)]
struct Options {
    references: References,
    /// Where the ids begin, and how many there are.
    ids: (usize, usize),
}

impl Options {
    /// Reads `[KEEPREF|DELREF|ACKED] IDS count id [id …]`, in any order; the last IDS counts.
    fn of(args: Args<'_>, first: usize) -> Result<Self, Refusal> {
        let (mut references, mut ids, mut i) = (None, None, first);
        while i < args.len() {
            if references.is_none()
                && let Some(wanted) = references_of(args, i)
            {
                references = Some(wanted);
                i += 1;
            } else if args.is(i, "ids") && i + 1 < args.len() {
                let count = args.int(i + 1).ok().filter(|count| *count > 0);
                let count =
                    count.ok_or(Refusal::of("ERR Number of IDs must be a positive integer"))?;
                let left = args.len() - (i + 2);
                let count = usize::try_from(count).ok().filter(|count| *count <= left);
                let count = count.ok_or(Refusal::of(
                    "ERR The `numids` parameter must match the number of arguments",
                ))?;
                ids = Some((i + 2, count));
                i += 2 + count;
            } else {
                return Err(Refusal::SYNTAX);
            }
        }
        let ids = ids.ok_or(Refusal::SYNTAX)?;
        Ok(Self { references: references.unwrap_or_default(), ids })
    }

    fn ids(self, args: Args<'_>) -> Result<Vec<StreamId>, Refusal> {
        let (first, count) = self.ids;
        (first..first + count).map(|at| id_of(args.at(at))).collect()
    }
}

/// Deletes the entries of a request one by one. Returns what became of each, `None` if there is no
/// stream, or not the `group`.
fn delete_each(
    cx: &mut Cx<'_>,
    args: Args<'_>,
    (first, group): (usize, Option<&[u8]>),
) -> Result<(usize, Option<Vec<Deletion>>), Refusal> {
    let (key, mut strides) = (cx.key(args.at(1)), Strides::new(cx.pace));
    let mut has_deleted = false;
    let done = change(cx.keyspace, key, |stream: &mut Stream| {
        let options = match Options::of(args, first) {
            Ok(options) => options,
            Err(refusal) => return Edited::Kept(Err(refusal)),
        };
        let is_there = group.is_none_or(|group| stream.group(group).is_some());
        let ids = match options.ids(args) {
            _ if !is_there => return Edited::Kept(Ok((options.ids.1, None))),
            Ok(ids) => ids,
            Err(refusal) => return Edited::Kept(Err(refusal)),
        };
        let mut eraser = Eraser::new(stream, options.references);
        let each = ids.into_iter().map(|id| {
            strides.step(eraser.weight());
            match group {
                None => eraser.delete(id),
                Some(group) => eraser.acknowledge(group, id),
            }
        });
        let done = Ok((options.ids.1, Some(each.collect())));
        has_deleted = eraser.has_deleted;
        match () {
            () if has_deleted => Edited::Changed(done),
            // No guard is tripped by what changes groups alone.
            () if eraser.has_released => Edited::Unwatched(done),
            () => Edited::Kept(done),
        }
    })?;
    if has_deleted {
        cx.keyspace.notify_event(event::STREAM, "xdel", key.bytes);
    }
    // Without a stream the arguments are read all the same, but for the ids.
    done.unwrap_or_else(|| Ok((Options::of(args, first)?.ids.1, None)))
}

fn write_each((count, done): (usize, Option<Vec<Deletion>>), out: &mut Sink<'_>) {
    out.array(count);
    for at in 0..count {
        out.int(match done.as_ref().and_then(|done| done.get(at)) {
            Some(Deletion::Deleted) => 1,
            Some(Deletion::Referenced) => 2,
            Some(Deletion::Missing) | None => -1,
        });
    }
}

/// XDELEX key [KEEPREF|DELREF|ACKED] IDS count id [id …]
pub(super) fn xdelex(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    const REST: usize = 2;
    let done = delete_each(cx, args, (REST, None))?;
    write_each(done, out);
    Ok(())
}

/// XACKDEL key group [KEEPREF|DELREF|ACKED] IDS count id [id …]
pub(super) fn xackdel(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    const REST: usize = 3;
    let key = cx.key(args.at(1));
    let done = delete_each(cx, args, (REST, Some(args.at(2))));
    count_as_reader(cx, key);
    write_each(done?, out);
    Ok(())
}

/// Counts a hit or a miss, though the command writes.
fn count_as_reader(cx: &mut Cx<'_>, key: Key<'_>) {
    if cx.keyspace.get(key).is_some() {
        cx.keyspace.count_hit();
    } else {
        let _ = cx.keyspace.read(key);
    }
}
