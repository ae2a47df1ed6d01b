//! Lists: elements in order, pushed and popped at both ends.
//!
//! ```text
//! list          the rows; pushing and reading
//! list/edit     changes within a list: LSET, LINSERT, LREM, LTRIM
//! list/lpos     the index of an element: LPOS
//! list/pop      removal at an end: LPOP, LMPOP, BLPOP
//! list/lmove    from one list to another: LMOVE, BLMOVE, RPOPLPUSH
//! list/lmovem   several elements at once: LMOVEM, of Redis 8.10
//! ```
//!
//! A missing key is an empty list, and a list that loses its last element is a missing key.

mod edit;
mod lpos;
mod pop;
mod lmove;
mod lmovem;

use super::collection::{change, read_at};
use super::pace::{Strides, units};
use super::spec::access::{ACCESS, DELETE, INSERT, RO, RW, UPDATE};
use super::spec::flag::{BLOCKING, DENYOOM, FAST, MOVABLE_KEYS, NOSCRIPT, READ, WRITE};
use super::spec::{
    Arity::{AtLeast, Exactly},
    BASE, Begin, Doc, Find, Group, IN_SCRIPTS_SINCE_7_2, Keys, Run, Spec, acl, check,
};
use super::{Args, Cx, Outcome, Refusal};
use crate::dialect::servers;
use crate::keyspace::{Edited, End, Key, Keyspace, List, PieceLimit, Ttl, Value, event};
use crate::resp::Sink;
use std::ops::Range;

/// Defaults of the rows.
const LIST: Spec = Spec { group: Group::List, acl: acl::LIST, ..BASE };

/// One key whose elements are returned.
const READ_KEY: &[Keys] = &[Keys::at(RO | ACCESS, 1)];
/// One key that elements are added to.
const EXTENDED_KEY: &[Keys] = &[Keys::at(RW | INSERT, 1)];
/// One key that elements are removed from and returned.
const POPPED_KEY: &[Keys] = &[Keys::at(RW | ACCESS | DELETE, 1)];
/// One key that elements are removed from.
const REDUCED_KEY: &[Keys] = &[Keys::at(RW | DELETE, 1)];
/// The keys before the timeout, from which elements are removed and returned.
const AWAITED_KEYS: &[Keys] = &[Keys::range(RW | ACCESS | DELETE, 1, -2, 1)];
/// A key that an element is removed from, and one that it is added to.
const SOURCE_AND_DESTINATION: &[Keys] =
    &[Keys::at(RW | ACCESS | DELETE, 1), Keys::at(RW | INSERT, 2)];

/// As many keys as the argument `at` says, from which elements are removed and returned.
const fn counted(at: u8) -> Keys {
    let find = Find::Count { at: 0, first: 1, step: 1 };
    Keys { access: RW | ACCESS | DELETE, begin: Begin::Index(at), find, notes: "" }
}

const PUSH_COMPLEXITY: &str = "O(1) for each element added, so O(N) to add N elements when the command is \
                      called with multiple arguments.";
const POP_COMPLEXITY: &str = "O(N) where N is the number of elements returned";
const MPOP_COMPLEXITY: &str =
    "O(N+M) where N is the number of provided keys and M is the number of elements returned.";
const BPOP_COMPLEXITY: &str = "O(N) where N is the number of provided keys.";

pub(super) const ROWS: &[Spec] = &[
    Spec {
        name: "blmove",
        arity: Exactly(6),
        variants: IN_SCRIPTS_SINCE_7_2,
        flags: WRITE | DENYOOM | NOSCRIPT | BLOCKING,
        keys: SOURCE_AND_DESTINATION,
        since: "6.2.0",
        summary: "Moves an element from an end of a list to an end of another; blocks until there is one.",
        run: Run::Blocks(lmove::blmove),
        ..LIST
    },
    Spec {
        name: "blmpop",
        arity: AtLeast(5),
        flags: WRITE | BLOCKING | MOVABLE_KEYS,
        keys: &[counted(2)],
        since: "7.0.0",
        complexity: MPOP_COMPLEXITY,
        summary: "Pops elements from an end of the first list that has any; blocks until one has.",
        run: Run::Blocks(pop::blmpop),
        ..LIST
    },
    Spec {
        name: "blpop",
        arity: AtLeast(3),
        variants: IN_SCRIPTS_SINCE_7_2,
        flags: WRITE | NOSCRIPT | BLOCKING,
        keys: AWAITED_KEYS,
        since: "2.0.0",
        complexity: BPOP_COMPLEXITY,
        summary: "Pops the first element of the first list that has any; blocks until one has.",
        run: Run::Blocks(|cx, args, out| pop::bpop(cx, args, End::Front, out)),
        ..LIST
    },
    Spec {
        name: "brpop",
        arity: AtLeast(3),
        variants: IN_SCRIPTS_SINCE_7_2,
        flags: WRITE | NOSCRIPT | BLOCKING,
        keys: AWAITED_KEYS,
        since: "2.0.0",
        complexity: BPOP_COMPLEXITY,
        summary: "Pops the last element of the first list that has any; blocks until one has.",
        run: Run::Blocks(|cx, args, out| pop::bpop(cx, args, End::Back, out)),
        ..LIST
    },
    Spec {
        name: "brpoplpush",
        doc: Doc::not_in_redis("6.2.0", "`BLMOVE … RIGHT LEFT`"),
        arity: Exactly(4),
        variants: IN_SCRIPTS_SINCE_7_2,
        flags: WRITE | DENYOOM | NOSCRIPT | BLOCKING,
        keys: SOURCE_AND_DESTINATION,
        since: "2.2.0",
        summary: "Moves the last element of a list to the front of another; blocks until there is one.",
        run: Run::Blocks(lmove::brpoplpush),
        ..LIST
    },
    Spec {
        name: "lindex",
        arity: Exactly(3),
        flags: READ,
        keys: READ_KEY,
        complexity: "O(N) where N is the number of elements to traverse to get to the element at \
                     index. This makes asking for the first or the last element of the list O(1).",
        summary: "Returns the element at an index.",
        run: Run::Shard(lindex),
        ..LIST
    },
    Spec {
        name: "linsert",
        arity: Exactly(5),
        flags: WRITE | DENYOOM,
        keys: EXTENDED_KEY,
        since: "2.2.0",
        complexity: "O(N) where N is the number of elements to traverse before seeing the value \
                     pivot. This means that inserting somewhere on the left end on the list (head) \
                     can be considered O(1) and inserting somewhere on the right end (tail) is \
                     O(N).",
        summary: "Inserts an element before or after another one.",
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
        keys: SOURCE_AND_DESTINATION,
        since: "6.2.0",
        summary: "Moves an element from an end of a list to an end of another.",
        run: Run::Shard(lmove::lmove),
        ..LIST
    },
    Spec {
        name: "lmovem",
        arity: AtLeast(5),
        flags: WRITE | DENYOOM,
        keys: SOURCE_AND_DESTINATION,
        servers: servers::REDIS8_10,
        since: "8.10.0",
        complexity: "O(N) where N is the number of elements moved.",
        summary: "Moves several elements from an end of a list to an end of another.",
        run: Run::Shard(lmovem::lmovem),
        ..LIST
    },
    Spec {
        name: "lmpop",
        arity: AtLeast(4),
        flags: WRITE | MOVABLE_KEYS,
        keys: &[counted(1)],
        since: "7.0.0",
        complexity: MPOP_COMPLEXITY,
        summary: "Pops elements from an end of the first list that has any.",
        run: Run::Shard(pop::lmpop),
        ..LIST
    },
    Spec {
        name: "lpop",
        arity: AtLeast(2),
        flags: WRITE | FAST,
        keys: POPPED_KEY,
        complexity: POP_COMPLEXITY,
        summary: "Pops the first elements of a list.",
        run: Run::Shard(|cx, args, out| pop::pop(cx, args, End::Front, out)),
        ..LIST
    },
    Spec {
        name: "lpos",
        arity: AtLeast(3),
        flags: READ,
        keys: READ_KEY,
        since: "6.0.6",
        complexity: "O(N) where N is the number of elements in the list, for the average case. \
                     When searching for elements near the head or the tail of the list, or when \
                     the MAXLEN option is provided, the command may run in constant time.",
        summary: "Returns the index of an element.",
        run: Run::Shard(lpos::lpos),
        ..LIST
    },
    Spec {
        name: "lpush",
        arity: AtLeast(3),
        flags: WRITE | DENYOOM | FAST,
        keys: EXTENDED_KEY,
        complexity: PUSH_COMPLEXITY,
        summary: "Pushes elements to the front of a list.",
        run: Run::Shard(|cx, args, out| push(cx, args, End::Front, out)),
        ..LIST
    },
    Spec {
        name: "lpushx",
        arity: AtLeast(3),
        flags: WRITE | DENYOOM | FAST,
        keys: EXTENDED_KEY,
        since: "2.2.0",
        complexity: PUSH_COMPLEXITY,
        summary: "Pushes elements to the front of a list if it exists.",
        run: Run::Shard(|cx, args, out| push_if_exists(cx, args, End::Front, out)),
        ..LIST
    },
    Spec {
        name: "lrange",
        arity: Exactly(4),
        flags: READ,
        keys: READ_KEY,
        complexity: "O(S+N) where S is the distance of start offset from HEAD for small lists, \
                     from nearest end (HEAD or TAIL) for large lists; and N is the number of \
                     elements in the specified range.",
        summary: "Returns the elements between two indices, both included.",
        run: Run::Shard(lrange),
        ..LIST
    },
    Spec {
        name: "lrem",
        arity: Exactly(4),
        flags: WRITE,
        keys: REDUCED_KEY,
        complexity: "O(N+M) where N is the length of the list and M is the number of elements \
                     removed.",
        summary: "Removes elements that are equal to the given one.",
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
        keys: REDUCED_KEY,
        complexity: "O(N) where N is the number of elements to be removed by the operation.",
        summary: "Removes all elements outside a range of indices.",
        run: Run::Shard(edit::ltrim),
        ..LIST
    },
    Spec {
        name: "rpop",
        arity: AtLeast(2),
        flags: WRITE | FAST,
        keys: POPPED_KEY,
        complexity: POP_COMPLEXITY,
        summary: "Pops the last elements of a list.",
        run: Run::Shard(|cx, args, out| pop::pop(cx, args, End::Back, out)),
        ..LIST
    },
    Spec {
        name: "rpoplpush",
        doc: Doc::not_in_redis("6.2.0", "`LMOVE … RIGHT LEFT`"),
        arity: Exactly(3),
        flags: WRITE | DENYOOM,
        keys: SOURCE_AND_DESTINATION,
        since: "1.2.0",
        summary: "Moves the last element of a list to the front of another.",
        run: Run::Shard(lmove::rpoplpush),
        ..LIST
    },
    Spec {
        name: "rpush",
        arity: AtLeast(3),
        flags: WRITE | DENYOOM | FAST,
        keys: EXTENDED_KEY,
        complexity: PUSH_COMPLEXITY,
        summary: "Pushes elements to the back of a list.",
        run: Run::Shard(|cx, args, out| push(cx, args, End::Back, out)),
        ..LIST
    },
    Spec {
        name: "rpushx",
        arity: AtLeast(3),
        flags: WRITE | DENYOOM | FAST,
        keys: EXTENDED_KEY,
        since: "2.2.0",
        complexity: PUSH_COMPLEXITY,
        summary: "Pushes elements to the back of a list if it exists.",
        run: Run::Shard(|cx, args, out| push_if_exists(cx, args, End::Back, out)),
        ..LIST
    },
];
const _: () = check(ROWS);

/// Reads the list at `key` and counts a hit or a miss.
fn list_at<'k>(keyspace: &'k mut Keyspace, key: Key<'_>) -> Result<Option<&'k List>, Refusal> {
    read_at(keyspace, key)
}

/// The outcome of a removal of elements, with its result.
fn after_removal<R>(list: &List, result: R) -> Edited<R> {
    if list.is_empty() { Edited::Emptied(result) } else { Edited::Changed(result) }
}

/// The limit on the size of a list's pieces, as configured now.
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

/// Reads LEFT or RIGHT.
fn end_of(args: Args<'_>, at: usize) -> Result<End, Refusal> {
    if args.is(at, "left") {
        Ok(End::Front)
    } else if args.is(at, "right") {
        Ok(End::Back)
    } else {
        Err(Refusal::SYNTAX)
    }
}

/// The range between two indices, which count from the end if negative and may be out of bounds.
fn range_of(start: i64, stop: i64, len: usize) -> Range<usize> {
    let len = len as i64;
    let from_front = |index: i64| if index < 0 { index.saturating_add(len) } else { index };
    let start = from_front(start).max(0);
    let end = from_front(stop).min(len - 1) + 1;
    if start >= end { 0..0 } else { start as usize..end as usize }
}

/// LPUSH, RPUSH key element [element ...]
fn push(cx: &mut Cx<'_>, args: Args<'_>, end: End, out: &mut Sink<'_>) -> Outcome {
    let len = match push_to_existing(cx, args, end)? {
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
fn push_if_exists(cx: &mut Cx<'_>, args: Args<'_>, end: End, out: &mut Sink<'_>) -> Outcome {
    let len = push_to_existing(cx, args, end)?;
    out.count(len.unwrap_or(0));
    Ok(())
}

/// Pushes onto a list that exists; returns its length.
fn push_to_existing(cx: &mut Cx<'_>, args: Args<'_>, end: End) -> Result<Option<usize>, Refusal> {
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
        // Redis does not parse the index if the key does not exist.
        out.null();
        return Ok(());
    };
    let index = index_of(args.int(2)?, list.len());
    out.bulk_or_null(index.and_then(|index| list.get(index)).as_deref());
    Ok(())
}

/// The index counted from the front, of one that counts from the end if negative; `None` if it is
/// out of bounds.
fn index_of(index: i64, len: usize) -> Option<usize> {
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
    write_elements(list, End::Front, range.start, range.len(), &mut Strides::new(cx.pace), out);
    Ok(())
}

/// Writes `count` elements, which must exist, as an array: those from `end` on, after the first
/// `skipped`.
fn write_elements(
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
