//! Sets: different members in no order.
//!
//! ```text
//! set           the rows; adding, removing, moving and testing members
//! set/combine   intersection, union and difference: SINTER, SUNION, SDIFF, SINTERCARD, *STORE
//! set/random    random members: SPOP, SRANDMEMBER
//! set/scan      members page by page: SSCAN
//! ```
//!
//! A missing key is an empty set, and a set that loses its last member is a missing key.

mod combine;
mod random;
mod scan;

use super::collection::{announce_removal, change, read_at};
use super::pace::{self, Strides};
use super::spec::access::{ACCESS, DELETE, INSERT, OW, RO, RW, UPDATE};
use super::spec::flag::{DENYOOM, FAST, MOVABLE_KEYS, READ, WRITE};
use super::spec::{
    Arity::{AtLeast, Exactly},
    BASE, Begin, Find, Group, Keys, Run, SAME, Spec, Variant, acl, check,
};
use super::{Args, Cx, Outcome, Refusal};
use crate::dialect::servers;
use crate::keyspace::{Edited, Key, Keyspace, Member, Set, Ttl, Value, event};
use crate::resp::Sink;
use crate::text::number::write_i64;

/// Defaults of the rows.
const SET: Spec = Spec { group: Group::Set, acl: acl::SET, ..BASE };

/// One key whose members are returned.
const READ_KEY: &[Keys] = &[Keys::at(RO | ACCESS, 1)];
/// One key of which only a size or an existence is returned.
const INSPECTED_KEY: &[Keys] = &[Keys::at(RO, 1)];
/// All arguments: keys that are read.
const SOURCES: Keys = Keys::range(RO | ACCESS, 1, -1, 1);
/// The same after a destination.
const SOURCES_AFTER_DESTINATION: Keys = Keys::range(RO | ACCESS, 2, -1, 1);

const RANDOM: &[&str] = &["nondeterministic_output"];
const UNORDERED: &[&str] = &["nondeterministic_output_order"];

const INTER_COMPLEXITY: &str = "O(N*M) worst case where N is the cardinality of the smallest set and M \
                            is the number of sets.";
const UNION_COMPLEXITY: &str = "O(N) where N is the total number of elements in all given sets.";

pub(super) const ROWS: &[Spec] = &[
    Spec {
        name: "sadd",
        arity: AtLeast(3),
        flags: WRITE | DENYOOM | FAST,
        keys: &[Keys::at(RW | INSERT, 1)],
        complexity: "O(1) for each element added, so O(N) to add N elements when the command is \
                     called with multiple arguments.",
        summary: "Adds members to a set; returns how many are new.",
        run: Run::Shard(sadd),
        ..SET
    },
    Spec {
        name: "scard",
        arity: Exactly(2),
        flags: READ | FAST,
        keys: INSPECTED_KEY,
        summary: "Counts the members of a set.",
        run: Run::Shard(scard),
        ..SET
    },
    Spec {
        name: "sdiff",
        arity: AtLeast(2),
        flags: READ,
        keys: &[SOURCES],
        tips: UNORDERED,
        complexity: UNION_COMPLEXITY,
        summary: "Returns the members of the first set that are in none of the others.",
        run: Run::Shard(combine::sdiff),
        ..SET
    },
    Spec {
        name: "sdiffstore",
        arity: AtLeast(3),
        flags: WRITE | DENYOOM,
        keys: &[Keys::at(OW | UPDATE, 1), SOURCES_AFTER_DESTINATION],
        complexity: UNION_COMPLEXITY,
        summary: "Stores the members of the first set that are in none of the others.",
        run: Run::Shard(combine::sdiffstore),
        ..SET
    },
    Spec {
        name: "sinter",
        arity: AtLeast(2),
        flags: READ,
        keys: &[SOURCES],
        tips: UNORDERED,
        complexity: INTER_COMPLEXITY,
        summary: "Returns the members that all sets have.",
        run: Run::Shard(combine::sinter),
        ..SET
    },
    Spec {
        name: "sdiffcard",
        servers: servers::REDIS8_10,
        arity: AtLeast(3),
        flags: READ | MOVABLE_KEYS,
        keys: &[Keys {
            access: RO | ACCESS,
            begin: Begin::Index(1),
            find: Find::Count { at: 0, first: 1, step: 1 },
            notes: "",
        }],
        since: "8.10.0",
        complexity: "O(N) where N is the total number of elements in all given sets.",
        summary: "Counts the members of a set that others do not have, up to a limit if one is given.",
        run: Run::Shard(combine::sdiffcard),
        ..SET
    },
    Spec {
        name: "sintercard",
        arity: AtLeast(3),
        flags: READ | MOVABLE_KEYS,
        keys: &[Keys {
            access: RO | ACCESS,
            begin: Begin::Index(1),
            find: Find::Count { at: 0, first: 1, step: 1 },
            notes: "",
        }],
        since: "7.0.0",
        complexity: INTER_COMPLEXITY,
        summary: "Counts the members that all sets have, up to a limit if one is given.",
        run: Run::Shard(combine::sintercard),
        ..SET
    },
    Spec {
        name: "sunioncard",
        servers: servers::REDIS8_10,
        arity: AtLeast(3),
        flags: READ | MOVABLE_KEYS,
        keys: &[Keys {
            access: RO | ACCESS,
            begin: Begin::Index(1),
            find: Find::Count { at: 0, first: 1, step: 1 },
            notes: "",
        }],
        since: "8.10.0",
        complexity: "O(N) where N is the total number of elements in all given sets.",
        summary: "Counts the members that any of several sets has, up to a limit if one is given.",
        run: Run::Shard(combine::sunioncard),
        ..SET
    },
    Spec {
        name: "sinterstore",
        arity: AtLeast(3),
        variants: &[Variant {
            servers: servers::SINCE_7_2,
            keys: Some(&[Keys::at(OW | UPDATE, 1), SOURCES_AFTER_DESTINATION]),
            ..SAME
        }],
        flags: WRITE | DENYOOM,
        keys: &[Keys::at(RW | UPDATE, 1), SOURCES_AFTER_DESTINATION],
        complexity: INTER_COMPLEXITY,
        summary: "Stores the members that all sets have.",
        run: Run::Shard(combine::sinterstore),
        ..SET
    },
    Spec {
        name: "sismember",
        arity: Exactly(3),
        flags: READ | FAST,
        keys: INSPECTED_KEY,
        summary: "Returns whether a set has a member.",
        run: Run::Shard(sismember),
        ..SET
    },
    Spec {
        name: "smembers",
        arity: Exactly(2),
        flags: READ,
        keys: READ_KEY,
        tips: UNORDERED,
        complexity: "O(N) where N is the set cardinality.",
        summary: "Returns all members of a set.",
        run: Run::Shard(smembers),
        ..SET
    },
    Spec {
        name: "smismember",
        arity: AtLeast(3),
        flags: READ | FAST,
        keys: READ_KEY,
        since: "6.2.0",
        complexity: "O(N) where N is the number of elements being checked for membership",
        summary: "Returns for each of several members whether a set has it.",
        run: Run::Shard(smismember),
        ..SET
    },
    Spec {
        name: "smove",
        arity: Exactly(4),
        flags: WRITE | FAST,
        keys: &[Keys::at(RW | ACCESS | DELETE, 1), Keys::at(RW | INSERT, 2)],
        summary: "Moves a member from one set to another.",
        run: Run::Shard(smove),
        ..SET
    },
    Spec {
        name: "spop",
        arity: AtLeast(2),
        flags: WRITE | FAST,
        keys: &[Keys::at(RW | ACCESS | DELETE, 1)],
        tips: RANDOM,
        complexity: "Without the count argument O(1), otherwise O(N) where N is the value of the \
                     passed count.",
        summary: "Removes and returns random members of a set.",
        run: Run::Shard(random::spop),
        ..SET
    },
    Spec {
        name: "srandmember",
        arity: AtLeast(2),
        flags: READ,
        keys: READ_KEY,
        tips: RANDOM,
        complexity: "Without the count argument O(1), otherwise O(N) where N is the absolute value \
                     of the passed count.",
        summary: "Returns random members of a set.",
        run: Run::Shard(random::srandmember),
        ..SET
    },
    Spec {
        name: "srem",
        arity: AtLeast(3),
        flags: WRITE | FAST,
        keys: &[Keys::at(RW | DELETE, 1)],
        complexity: "O(N) where N is the number of members to be removed.",
        summary: "Removes members from a set; returns how many existed.",
        run: Run::Shard(srem),
        ..SET
    },
    Spec {
        name: "sscan",
        arity: AtLeast(3),
        flags: READ,
        keys: READ_KEY,
        tips: RANDOM,
        since: "2.8.0",
        complexity: "O(1) for every call. O(N) for a complete iteration, including enough command \
                     calls for the cursor to return back to 0. N is the number of elements inside \
                     the collection..",
        summary: "Iterates over the members of a set page by page.",
        run: Run::Shard(scan::sscan),
        ..SET
    },
    Spec {
        name: "sunion",
        arity: AtLeast(2),
        flags: READ,
        keys: &[SOURCES],
        tips: UNORDERED,
        complexity: UNION_COMPLEXITY,
        summary: "Returns the members that any of the sets has.",
        run: Run::Shard(combine::sunion),
        ..SET
    },
    Spec {
        name: "sunionstore",
        arity: AtLeast(3),
        flags: WRITE | DENYOOM,
        keys: &[Keys::at(OW | UPDATE, 1), SOURCES_AFTER_DESTINATION],
        complexity: UNION_COMPLEXITY,
        summary: "Stores the members that any of the sets has.",
        run: Run::Shard(combine::sunionstore),
        ..SET
    },
];
const _: () = check(ROWS);

/// The cost of reading or writing a member, in steps of the pace.
fn units(member: Member<'_>) -> usize {
    match member {
        Member::Int(_) => 1,
        Member::Bytes(bytes) => pace::units(bytes.len()),
    }
}

/// Reads the set at `key` and counts a hit or a miss.
fn set_at<'k>(keyspace: &'k mut Keyspace, key: Key<'_>) -> Result<Option<&'k Set>, Refusal> {
    read_at(keyspace, key)
}

/// Writes one member as the reply.
fn write_member(out: &mut Sink<'_>, member: Member<'_>) {
    match member {
        Member::Bytes(bytes) => out.bulk(bytes),
        Member::Int(value) => out.bulk_int(value),
    }
}

/// Writes members, one after the other.
struct Reply<'s, 'o, 'p> {
    out: &'s mut Sink<'o>,
    strides: Strides<'p>,
    /// The digits of the current integer, reused so that all of them take one allocation.
    digits: Vec<u8>,
}

impl<'s, 'o, 'p> Reply<'s, 'o, 'p> {
    fn new(out: &'s mut Sink<'o>, strides: Strides<'p>) -> Self {
        Self { out, strides, digits: Vec::new() }
    }

    fn member(&mut self, member: Member<'_>) {
        self.strides.step(units(member));
        match member {
            Member::Bytes(bytes) => self.out.bulk(bytes),
            Member::Int(value) => {
                self.digits.clear();
                write_i64(&mut self.digits, value);
                self.out.bulk(&self.digits);
            }
        }
    }
}

/// SADD key member [member ...]
fn sadd(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let (ints_max, hasher) = (cx.keyspace.limits.intset_len_max, cx.keyspace.hasher().clone());
    let key = cx.key(args.at(1));
    let mut strides = Strides::new(cx.pace);
    let mut add = |set: &mut Set| {
        let mut added = 0;
        for member in args.from(2).map(Member::Bytes) {
            added += usize::from(set.add(member, ints_max, &hasher));
            strides.step(units(member));
        }
        added
    };
    let changed = change(cx.keyspace, key, |set: &mut Set| match add(set) {
        0 => Edited::Kept(0),
        added => Edited::Changed(added),
    })?;
    let added = match changed {
        Some(added) => added,
        None => {
            let mut set = Set::default();
            let added = add(&mut set);
            cx.keyspace.set(key, Value::Set(set), Ttl::Clear);
            added
        }
    };
    if added > 0 {
        cx.keyspace.notify_event(event::SET, "sadd", key.bytes);
    }
    out.count(added);
    Ok(())
}

/// SREM key member [member ...]
fn srem(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let hasher = cx.keyspace.hasher().clone();
    let key = cx.key(args.at(1));
    let changed = change(cx.keyspace, key, |set: &mut Set| {
        let (mut removed, mut strides) = (0, Strides::new(cx.pace));
        for member in args.from(2).map(Member::Bytes) {
            removed += usize::from(set.remove(member, &hasher));
            strides.step(units(member));
        }
        match removed {
            0 => Edited::Kept((0, false)),
            _ if set.is_empty() => Edited::Emptied((removed, true)),
            _ => Edited::Changed((removed, false)),
        }
    })?;
    let (removed, emptied) = changed.unwrap_or_default();
    if removed > 0 {
        announce_removal(cx.keyspace, event::SET, "srem", key.bytes, emptied);
    }
    out.count(removed);
    Ok(())
}

/// SMOVE source destination member
fn smove(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let (ints_max, hasher) = (cx.keyspace.limits.intset_len_max, cx.keyspace.hasher().clone());
    let (from, to, member) = (cx.key(args.at(1)), cx.key(args.at(2)), Member::Bytes(args.at(3)));
    let is_set = |value: &mut Value| Edited::Kept(matches!(value, Value::Set(_)));
    // As in Redis, a missing source is checked before the type of the destination. Both types are
    // checked before anything changes.
    let source = cx.keyspace.edit(from, |value| match value {
        Value::Set(set) => Edited::Kept(Some(set.contains(member, &hasher))),
        _ => Edited::Kept(None),
    });
    let destination = cx.keyspace.edit(to, is_set);
    let moved = match (source, destination) {
        (None, _) => false,
        (Some(None), _) | (_, Some(false)) => return Err(Refusal::WRONG_TYPE),
        (Some(Some(has)), _) => has,
    };
    out.int(moved.into());
    if !moved || from.bytes == to.bytes {
        return Ok(());
    }
    let emptied = change(cx.keyspace, from, |set: &mut Set| {
        set.remove(member, &hasher);
        if set.is_empty() { Edited::Emptied(true) } else { Edited::Changed(false) }
    })?;
    announce_removal(cx.keyspace, event::SET, "srem", from.bytes, emptied == Some(true));
    let added =
        change(cx.keyspace, to, |set: &mut Set| match set.add(member, ints_max, &hasher) {
            true => Edited::Changed(true),
            false => Edited::Kept(false),
        })?;
    if added.is_none() {
        let mut set = Set::default();
        set.add(member, ints_max, &hasher);
        cx.keyspace.set(to, Value::Set(set), Ttl::Clear);
    }
    if added != Some(false) {
        cx.keyspace.notify_event(event::SET, "sadd", to.bytes);
    }
    Ok(())
}

/// SISMEMBER key member
fn sismember(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let (key, hasher) = (cx.key(args.at(1)), cx.keyspace.hasher().clone());
    let set = set_at(cx.keyspace, key)?;
    out.int(set.is_some_and(|set| set.contains(Member::Bytes(args.at(2)), &hasher)).into());
    Ok(())
}

/// SMISMEMBER key member [member ...]
fn smismember(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let (key, hasher) = (cx.key(args.at(1)), cx.keyspace.hasher().clone());
    let set = set_at(cx.keyspace, key)?;
    out.array(args.len() - 2);
    let mut strides = Strides::new(cx.pace);
    for member in args.from(2).map(Member::Bytes) {
        out.int(set.is_some_and(|set| set.contains(member, &hasher)).into());
        strides.step(units(member));
    }
    Ok(())
}

/// SCARD key
fn scard(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let key = cx.key(args.at(1));
    out.count(set_at(cx.keyspace, key)?.map_or(0, Set::len));
    Ok(())
}

/// SMEMBERS key
fn smembers(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let key = cx.key(args.at(1));
    let set = set_at(cx.keyspace, key)?;
    out.set(set.map_or(0, Set::len));
    let mut reply = Reply::new(out, Strides::new(cx.pace));
    set.into_iter().flat_map(Set::members).for_each(|member| reply.member(member));
    Ok(())
}
