//! Lists: elements in an order, pushed and popped at both ends.
//!
//! ```text
//! list          the rows; pushing, reading
//! list/pop      what is taken off an end: LPOP, LMPOP, BLPOP
//! list/shift    from one list to another: LMOVE, BLMOVE, RPOPLPUSH
//! list/edit     changes within: LSET, LINSERT, LREM, LTRIM
//! list/seek     where an element stands: LPOS
//! ```
//!
//! A missing key is an empty list, and a list that loses its last element is a missing key.

mod edit;
mod pop;
mod lpos;
mod lmove;

use super::collection::{change, read_at, units};
use super::scan::Strides;
use super::spec::access::{ACCESS, DELETE, INSERT, RO, RW, UPDATE};
use super::spec::flag::{BLOCKING, DENYOOM, FAST, MOVABLE_KEYS, NOSCRIPT, READ, WRITE};
use super::spec::{
    Arity::{AtLeast, Exactly},
    BASE, Begin, Find, Group, Keys, Run, Spec, acl, check,
};
use super::{Args, Cx, Outcome, Refusal};
use crate::keyspace::{Edited, End, Key, Keyspace, List, PieceLimit, Ttl, Value, event};
use crate::resp::Sink;
use std::ops::Range;

/// What all lists' rows share.
const LIST: Spec = Spec { group: Group::List, acl: acl::LIST, ..BASE };

/// One key that is read to the client.
const GIVEN: &[Keys] = &[Keys::at(RO | ACCESS, 1)];
/// One key that gets elements.
const GROWN: &[Keys] = &[Keys::at(RW | INSERT, 1)];
/// One key that elements are taken off and given.
const TAKEN: &[Keys] = &[Keys::at(RW | ACCESS | DELETE, 1)];
/// One key that loses elements.
const SHRUNK: &[Keys] = &[Keys::at(RW | DELETE, 1)];
/// Keys that elements are taken off, up to the timeout.
const AWAITED: &[Keys] = &[Keys::range(RW | ACCESS | DELETE, 1, -2, 1)];
/// A key that an element is taken off, and one that gets it.
const SHIFTED: &[Keys] = &[Keys::at(RW | ACCESS | DELETE, 1), Keys::at(RW | INSERT, 2)];

/// As many keys as the argument `at` says, which elements are taken off.
const fn counted(at: u8) -> Keys {
    let find = Find::Count { at: 0, first: 1, step: 1 };
    Keys { access: RW | ACCESS | DELETE, begin: Begin::Index(at), find, notes: "" }
}

const PUSHED: &str = "O(1) for each element added, so O(N) to add N elements when the command is \
                      called with multiple arguments.";
const POPPED: &str = "O(N) where N is the number of elements returned";
const MPOPPED: &str =
    "O(N+M) where N is the number of provided keys and M is the number of elements returned.";
const TRIED: &str = "O(N) where N is the number of provided keys.";

pub(super) const ROWS: &[Spec] = &[
    Spec {
        name: "blmove",
        arity: Exactly(6),
        flags: WRITE | DENYOOM | NOSCRIPT | BLOCKING,
        keys: SHIFTED,
        since: "6.2.0",
        summary: "Moves an element from an end of one list to an end of another, and waits for one.",
        run: Run::Blocks(lmove::blmove),
        ..LIST
    },
    Spec {
        name: "blmpop",
        arity: AtLeast(5),
        flags: WRITE | BLOCKING | MOVABLE_KEYS,
        keys: &[counted(2)],
        since: "7.0.0",
        complexity: MPOPPED,
        summary: "Takes elements off an end of the first list that has any, and waits for one.",
        run: Run::Blocks(pop::blmpop),
        ..LIST
    },
    Spec {
        name: "blpop",
        arity: AtLeast(3),
        flags: WRITE | NOSCRIPT | BLOCKING,
        keys: AWAITED,
        since: "2.0.0",
        complexity: TRIED,
        summary: "Takes the first element off the first list that has any, and waits for one.",
        run: Run::Blocks(|cx, args, out| pop::bpop(cx, args, End::Front, out)),
        ..LIST
    },
    Spec {
        name: "brpop",
        arity: AtLeast(3),
        flags: WRITE | NOSCRIPT | BLOCKING,
        keys: AWAITED,
        since: "2.0.0",
        complexity: TRIED,
        summary: "Takes the last element off the first list that has any, and waits for one.",
        run: Run::Blocks(|cx, args, out| pop::bpop(cx, args, End::Back, out)),
        ..LIST
    },
    Spec {
        name: "brpoplpush",
        arity: Exactly(4),
        flags: WRITE | DENYOOM | NOSCRIPT | BLOCKING,
        keys: SHIFTED,
        since: "2.2.0",
        summary: "Moves the last element of a list to the front of another, and waits for one.",
        run: Run::Blocks(lmove::brpoplpush),
        ..LIST
    },
    Spec {
        name: "lindex",
        arity: Exactly(3),
        flags: READ,
        keys: GIVEN,
        complexity: "O(N) where N is the number of elements to traverse to get to the element at \
                     index. This makes asking for the first or the last element of the list O(1).",
        summary: "Reads the element at an index.",
        run: Run::Shard(lindex),
        ..LIST
    },
    Spec {
        name: "linsert",
        arity: Exactly(5),
        flags: WRITE | DENYOOM,
        keys: GROWN,
        since: "2.2.0",
        complexity: "O(N) where N is the number of elements to traverse before seeing the value \
                     pivot. This means that inserting somewhere on the left end on the list (head) \
                     can be considered O(1) and inserting somewhere on the right end (tail) is \
                     O(N).",
        summary: "Puts an element before or behind another one.",
        run: Run::Shard(edit::linsert),
        ..LIST
    },
    Spec {
        name: "llen",
        arity: Exactly(2),
        flags: READ | FAST,
        keys: &[Keys::at(RO, 1)],
        summary: "Counts the elements of a list.",
        run: Run::Shard(llen),
        ..LIST
    },
    Spec {
        name: "lmove",
        arity: Exactly(5),
        flags: WRITE | DENYOOM,
        keys: SHIFTED,
        since: "6.2.0",
        summary: "Moves an element from an end of one list to an end of another.",
        run: Run::Shard(lmove::lmove),
        ..LIST
    },
    Spec {
        name: "lmpop",
        arity: AtLeast(4),
        flags: WRITE | MOVABLE_KEYS,
        keys: &[counted(1)],
        since: "7.0.0",
        complexity: MPOPPED,
        summary: "Takes elements off an end of the first list that has any.",
        run: Run::Shard(pop::lmpop),
        ..LIST
    },
    Spec {
        name: "lpop",
        arity: AtLeast(2),
        flags: WRITE | FAST,
        keys: TAKEN,
        complexity: POPPED,
        summary: "Takes the first elements off a list.",
        run: Run::Shard(|cx, args, out| pop::pop(cx, args, End::Front, out)),
        ..LIST
    },
    Spec {
        name: "lpos",
        arity: AtLeast(3),
        flags: READ,
        keys: GIVEN,
        since: "6.0.6",
        complexity: "O(N) where N is the number of elements in the list, for the average case. \
                     When searching for elements near the head or the tail of the list, or when \
                     the MAXLEN option is provided, the command may run in constant time.",
        summary: "Tells the index of an element.",
        run: Run::Shard(lpos::lpos),
        ..LIST
    },
    Spec {
        name: "lpush",
        arity: AtLeast(3),
        flags: WRITE | DENYOOM | FAST,
        keys: GROWN,
        complexity: PUSHED,
        summary: "Puts elements before the first one.",
        run: Run::Shard(|cx, args, out| push(cx, args, End::Front, out)),
        ..LIST
    },
    Spec {
        name: "lpushx",
        arity: AtLeast(3),
        flags: WRITE | DENYOOM | FAST,
        keys: GROWN,
        since: "2.2.0",
        complexity: PUSHED,
        summary: "Puts elements before the first one of a list that is there.",
        run: Run::Shard(|cx, args, out| push_if_there(cx, args, End::Front, out)),
        ..LIST
    },
    Spec {
        name: "lrange",
        arity: Exactly(4),
        flags: READ,
        keys: GIVEN,
        complexity: "O(S+N) where S is the distance of start offset from HEAD for small lists, \
                     from nearest end (HEAD or TAIL) for large lists; and N is the number of \
                     elements in the specified range.",
        summary: "Reads the elements from one index to another.",
        run: Run::Shard(lrange),
        ..LIST
    },
    Spec {
        name: "lrem",
        arity: Exactly(4),
        flags: WRITE,
        keys: SHRUNK,
        complexity: "O(N+M) where N is the length of the list and M is the number of elements \
                     removed.",
        summary: "Removes elements that are equal to one.",
        run: Run::Shard(edit::lrem),
        ..LIST
    },
    Spec {
        name: "lset",
        arity: Exactly(4),
        flags: WRITE | DENYOOM,
        keys: &[Keys::at(RW | UPDATE, 1)],
        complexity: "O(N) where N is the length of the list. Setting either the first or the last \
                     element of the list is O(1).",
        summary: "Replaces the element at an index.",
        run: Run::Shard(edit::lset),
        ..LIST
    },
    Spec {
        name: "ltrim",
        arity: Exactly(4),
        flags: WRITE,
        keys: SHRUNK,
        complexity: "O(N) where N is the number of elements to be removed by the operation.",
        summary: "Removes all elements but those from one index to another.",
        run: Run::Shard(edit::ltrim),
        ..LIST
    },
    Spec {
        name: "rpop",
        arity: AtLeast(2),
        flags: WRITE | FAST,
        keys: TAKEN,
        complexity: POPPED,
        summary: "Takes the last elements off a list.",
        run: Run::Shard(|cx, args, out| pop::pop(cx, args, End::Back, out)),
        ..LIST
    },
    Spec {
        name: "rpoplpush",
        arity: Exactly(3),
        flags: WRITE | DENYOOM,
        keys: SHIFTED,
        since: "1.2.0",
        summary: "Moves the last element of a list to the front of another.",
        run: Run::Shard(lmove::rpoplpush),
        ..LIST
    },
    Spec {
        name: "rpush",
        arity: AtLeast(3),
        flags: WRITE | DENYOOM | FAST,
        keys: GROWN,
        complexity: PUSHED,
        summary: "Puts elements behind the last one.",
        run: Run::Shard(|cx, args, out| push(cx, args, End::Back, out)),
        ..LIST
    },
    Spec {
        name: "rpushx",
        arity: AtLeast(3),
        flags: WRITE | DENYOOM | FAST,
        keys: GROWN,
        since: "2.2.0",
        complexity: PUSHED,
        summary: "Puts elements behind the last one of a list that is there.",
        run: Run::Shard(|cx, args, out| push_if_there(cx, args, End::Back, out)),
        ..LIST
    },
];
const _: () = check(ROWS);

/// The list at `key`, as a read that counts.
fn list_at<'k>(keyspace: &'k mut Keyspace, key: Key<'_>) -> Result<Option<&'k List>, Refusal> {
    read_at(keyspace, key)
}

/// What a removal of elements did to a list, with what it tells.
fn shrunk<R>(list: &List, delivered: R) -> Edited<R> {
    if list.is_empty() { Edited::Emptied(delivered) } else { Edited::Changed(delivered) }
}

/// The size that pieces of lists may have now.
fn piece_limit(keyspace: &Keyspace) -> PieceLimit {
    PieceLimit::of(keyspace.limits.list_piece)
}

/// The event of a push at `end`.
fn push_event(end: End) -> &'static str {
    if end == End::Front { "lpush" } else { "rpush" }
}

/// The event of a pop at `end`.
fn pop_event(end: End) -> &'static str {
    if end == End::Front { "lpop" } else { "rpop" }
}

/// LEFT or RIGHT.
fn end_of(args: Args<'_>, at: usize) -> Result<End, Refusal> {
    if args.is(at, "left") {
        Ok(End::Front)
    } else if args.is(at, "right") {
        Ok(End::Back)
    } else {
        Err(Refusal::SYNTAX)
    }
}

/// The elements that two indices name, which count from the end if negative and may lie outside.
fn range_of(start: i64, stop: i64, len: usize) -> Range<usize> {
    let len = len as i64;
    let from_front = |index: i64| if index < 0 { index.saturating_add(len) } else { index };
    let start = from_front(start).max(0);
    let end = from_front(stop).min(len - 1) + 1;
    if start >= end { 0..0 } else { start as usize..end as usize }
}

/// LPUSH, RPUSH key element [element ...]
fn push(cx: &mut Cx<'_>, args: Args<'_>, end: End, out: &mut Sink<'_>) -> Outcome {
    let len = match push_to_present(cx, args, end)? {
        Some(len) => len,
        None => {
            let (key, limit) = (cx.key(args.at(1)), piece_limit(cx.keyspace));
            let mut list = List::default();
            push_all(&mut list, args, end, limit, &mut Strides::new(cx.pace));
            let len = list.len();
            cx.keyspace.set(key, Value::List(list), Ttl::Clear);
            cx.keyspace.notify_event(event::LIST, push_event(end), args.at(1));
            len
        }
    };
    out.count(len);
    Ok(())
}

/// LPUSHX, RPUSHX key element [element ...]
fn push_if_there(cx: &mut Cx<'_>, args: Args<'_>, end: End, out: &mut Sink<'_>) -> Outcome {
    let len = push_to_present(cx, args, end)?;
    out.count(len.unwrap_or(0));
    Ok(())
}

/// Pushes onto a list that is there; gives its length.
fn push_to_present(cx: &mut Cx<'_>, args: Args<'_>, end: End) -> Result<Option<usize>, Refusal> {
    let (key, limit) = (cx.key(args.at(1)), piece_limit(cx.keyspace));
    let mut strides = Strides::new(cx.pace);
    let len = change(cx.keyspace, key, |list: &mut List| {
        push_all(list, args, end, limit, &mut strides);
        Edited::Changed(list.len())
    })?;
    if len.is_some() {
        cx.keyspace.notify_event(event::LIST, push_event(end), args.at(1));
    }
    Ok(len)
}

fn push_all(
    list: &mut List,
    args: Args<'_>,
    end: End,
    limit: PieceLimit,
    strides: &mut Strides<'_>,
) {
    for element in args.from(2) {
        list.push(end, element, limit);
        strides.step(units(element.len()));
    }
}

/// LLEN key
fn llen(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let key = cx.key(args.at(1));
    out.count(list_at(cx.keyspace, key)?.map_or(0, List::len));
    Ok(())
}

/// LINDEX key index
fn lindex(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let key = cx.key(args.at(1));
    let Some(list) = list_at(cx.keyspace, key)? else {
        // Redis does not look at the index of nothing.
        out.null();
        return Ok(());
    };
    let index = place_of(args.int(2)?, list.len());
    out.bulk_or_null(index.and_then(|index| list.get(index)).as_deref());
    Ok(())
}

/// The place that an index names, which counts from the end if negative.
fn place_of(index: i64, len: usize) -> Option<usize> {
    let index = if index < 0 { index.saturating_add(len as i64) } else { index };
    usize::try_from(index).ok().filter(|&index| index < len)
}

/// LRANGE key start stop
fn lrange(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let (start, stop) = (args.int(2)?, args.int(3)?);
    let key = cx.key(args.at(1));
    let Some(list) = list_at(cx.keyspace, key)? else {
        out.array(0);
        return Ok(());
    };
    let range = range_of(start, stop, list.len());
    give(list, End::Front, range.start, range.len(), &mut Strides::new(cx.pace), out);
    Ok(())
}

/// Writes `count` elements, which are there, as an array: those from `end` on without the first
/// `skipped` of them.
fn give(
    list: &List,
    end: End,
    skipped: usize,
    count: usize,
    strides: &mut Strides<'_>,
    out: &mut Sink<'_>,
) {
    out.array(count);
    for text in list.iter_from(end, skipped).take(count) {
        out.bulk(&text);
        strides.step(units(text.len()));
    }
}
