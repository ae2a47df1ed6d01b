//! Streams: entries under ascending ids, read by clients and by groups of consumers.
//!
//! ```text
//! stream            the rows
//! stream/ids        ids as arguments and in replies
//! stream/reply      entries as replies
//! stream/trim       how a stream is trimmed: the arguments of XADD and XTRIM
//! stream/edit       XADD, XTRIM, XSETID
//! stream/delete     XDEL, XDELEX, XACKDEL
//! stream/range      XLEN, XRANGE, XREVRANGE
//! stream/group      XGROUP, XACK
//! stream/read_args  the arguments of XREAD and XREADGROUP, and what wakes a client blocked in them
//! stream/read       XREAD, XREADGROUP
//! stream/pending    XPENDING
//! stream/claim      XCLAIM, XAUTOCLAIM
//! stream/info       XINFO
//! ```
//!
//! A stream that loses its last entry stays. What changes a group alone trips no WATCH.

mod ids;
mod reply;
mod trim;
mod edit;
mod delete;
mod range;
mod group;
mod read_args;
mod read;
mod pending;
mod claim;
mod info;

pub(crate) use read_args::ends_wait_for_stream;

use super::collection::read_at;
use super::spec::access::{ACCESS, DELETE, INCOMPLETE, INSERT, RO, RW, UPDATE};
use super::spec::flag::{
    BLOCKING, DENYOOM, FAST, LOADING, MOVABLE_KEYS, READ, STALE, UNWATCHED, WRITE,
};
use super::spec::{
    Arity::{AtLeast, Exactly},
    BASE, Begin, Find, Group, Keys, Run, SAME, Spec, Variant, acl, check,
};
use super::{Args, Cx, Refusal};
use crate::dialect::servers;
use crate::keyspace::{Key, Stream};
use crate::resp::until_nul;

/// Defaults of the rows.
const STREAM: Spec = Spec { group: Group::Stream, acl: acl::STREAM, since: "5.0.0", ..BASE };
/// Defaults of the subcommands of XGROUP and XINFO.
const XGROUP: Spec = Spec { parent: "xgroup", ..STREAM };
const XINFO: Spec = Spec { parent: "xinfo", flags: READ, keys: INFO_KEY, ..STREAM };
/// Defaults of a container.
const CONTAINER: Spec =
    Spec { acl: 0, arity: AtLeast(2), complexity: "Depends on subcommand.", ..STREAM };

/// One key whose entries are returned.
const READ_KEY: &[Keys] = &[Keys::at(RO | ACCESS, 1)];
/// One key, and what is done to it.
const UPDATED_KEY: &[Keys] = &[Keys::at(RW | UPDATE, 1)];
const REDUCED_KEY: &[Keys] = &[Keys::at(RW | DELETE, 1)];
/// The same behind a subcommand.
const INFO_KEY: &[Keys] = &[Keys::at(RO | ACCESS, 2)];
const GROUP_KEY: &[Keys] = &[Keys::at(RW | INSERT, 2)];
const GROUP_UPDATED_KEY: &[Keys] = &[Keys::at(RW | UPDATE, 2)];
const GROUP_REDUCED_KEY: &[Keys] = &[Keys::at(RW | DELETE, 2)];
const ADDED_KEY: &[Keys] = &[Keys::at(RW | UPDATE, 1)
    .noted("UPDATE instead of INSERT because of the optional trimming feature")];

/// The first half of what is behind STREAMS: keys. The other half are ids.
const fn streams(begin: Begin) -> Keys {
    let find = Find::Range { last: -1, step: 1, limit: 2 };
    Keys { access: RO | ACCESS, begin, find, notes: "" }
}

/// The same as Redis 8.10 describes them.
const fn incomplete(keys: Keys, notes: &'static str) -> Keys {
    Keys { access: keys.access | INCOMPLETE, notes, ..keys }
}

/// Where the keys of XREADGROUP begin: behind the first STREAMS that is no group or consumer.
fn behind_streams(args: Args<'_>) -> Option<usize> {
    let mut at = 1;
    while at < args.len() {
        at += match () {
            () if args.is(at, "streams") => return Some(at + 1),
            // The values of the other options are numbers.
            () if args.is(at, "group") => 3,
            () => 1,
        };
    }
    None
}

const RANDOM: &[&str] = &["nondeterministic_output"];

const RANGE_COMPLEXITY: &str = "O(N) with N being the number of elements being returned. If N is \
    constant (e.g. always asking for the first 10 elements with COUNT), you can consider it O(1).";
const REVRANGE_COMPLEXITY: &str = "O(N) with N being the number of elements returned. If N is \
    constant (e.g. always asking for the first 10 elements with COUNT), you can consider it O(1).";

pub(super) const ROWS: &[Spec] = &[
    Spec {
        name: "xack",
        arity: AtLeast(4),
        flags: WRITE | FAST | UNWATCHED,
        keys: UPDATED_KEY,
        complexity: "O(1) for each message ID processed.",
        summary: "Removes entries from those that are pending in a group; returns how many were.",
        run: Run::Shard(group::xack),
        ..STREAM
    },
    Spec {
        name: "xackdel",
        servers: servers::REDIS8,
        arity: AtLeast(6),
        flags: WRITE | FAST,
        keys: &[Keys::at(RW | UPDATE | DELETE, 1)],
        since: "8.2.0",
        complexity: "O(1) for each message ID processed.",
        summary: "Removes entries from those that are pending in a group, and deletes them.",
        run: Run::Shard(delete::xackdel),
        ..STREAM
    },
    Spec {
        name: "xadd",
        arity: AtLeast(5),
        flags: WRITE | DENYOOM | FAST,
        keys: ADDED_KEY,
        tips: RANDOM,
        complexity: "O(1) when adding a new entry, O(N) when trimming where N being the number of entries evicted.",
        summary: "Adds an entry to a stream, and trims the stream if asked to; returns the entry's id.",
        run: Run::Shard(edit::xadd),
        ..STREAM
    },
    Spec {
        name: "xautoclaim",
        arity: AtLeast(6),
        flags: WRITE | FAST | UNWATCHED,
        keys: REDUCED_KEY,
        tips: RANDOM,
        since: "6.2.0",
        complexity: "O(1) if COUNT is small.",
        summary: "Passes entries that are pending for long to another consumer, page by page.",
        run: Run::Shard(claim::xautoclaim),
        ..STREAM
    },
    Spec {
        name: "xclaim",
        arity: AtLeast(6),
        flags: WRITE | FAST | UNWATCHED,
        keys: UPDATED_KEY,
        tips: RANDOM,
        complexity: "O(log N) with N being the number of messages in the PEL of the consumer group.",
        summary: "Passes entries that are pending to another consumer.",
        run: Run::Shard(claim::xclaim),
        ..STREAM
    },
    Spec {
        name: "xdel",
        arity: AtLeast(3),
        flags: WRITE | FAST,
        keys: REDUCED_KEY,
        complexity: "O(1) for each single item to delete in the stream, regardless of the stream size.",
        summary: "Deletes entries; returns how many there were.",
        run: Run::Shard(delete::xdel),
        ..STREAM
    },
    Spec {
        name: "xdelex",
        servers: servers::REDIS8,
        arity: AtLeast(5),
        flags: WRITE | FAST,
        keys: REDUCED_KEY,
        since: "8.2.0",
        complexity: "O(1) for each single item to delete in the stream, regardless of the stream size.",
        summary: "Deletes entries, with the references of groups to them or if there are none.",
        run: Run::Shard(delete::xdelex),
        ..STREAM
    },
    XGROUP_CONTAINER,
    XINFO_CONTAINER,
    Spec {
        name: "xlen",
        arity: Exactly(2),
        flags: READ | FAST,
        keys: &[Keys::at(RO, 1)],
        summary: "Counts the entries of a stream.",
        run: Run::Shard(range::xlen),
        ..STREAM
    },
    Spec {
        name: "xpending",
        arity: AtLeast(3),
        flags: READ,
        keys: READ_KEY,
        tips: RANDOM,
        complexity: "O(N) with N being the number of elements returned, so asking for a small fixed number of entries per call is O(1). O(M), where M is the total number of entries scanned when used with the IDLE filter. When the command returns just the summary and the list of consumers is small, it runs in O(1) time; otherwise, an additional O(N) time for iterating every consumer.",
        summary: "Returns which entries are pending in a group, or how many with which consumer.",
        run: Run::Shard(pending::xpending),
        ..STREAM
    },
    Spec {
        name: "xrange",
        arity: AtLeast(4),
        flags: READ,
        keys: READ_KEY,
        complexity: RANGE_COMPLEXITY,
        summary: "Returns the entries between two ids.",
        run: Run::Shard(|cx, args, out| range::xrange(cx, args, false, out)),
        ..STREAM
    },
    Spec {
        name: "xread",
        arity: AtLeast(4),
        flags: READ | BLOCKING | MOVABLE_KEYS,
        keys: &[streams(Begin::Keyword("STREAMS", 1))],
        variants: &[Variant {
            servers: servers::REDIS8_10,
            keys: Some(&[incomplete(
                streams(Begin::Keyword("STREAMS", 1)),
                "Incomplete because a stream key named STREAMS (or options before it) can shift the \
                 STREAMS keyword; fall back to xreadGetKeys",
            )]),
            ..SAME
        }],
        complexity: "For each stream mentioned: O(N) with N being the number of elements being returned, it means that XREAD-ing with a fixed COUNT is O(1). Note that when the BLOCK option is used, XADD will pay O(M) time in order to serve the M clients blocked on the stream getting new data.",
        summary: "Returns the entries of several streams that are behind the given ids; can wait for one.",
        run: Run::Blocks(read::xread),
        ..STREAM
    },
    Spec {
        name: "xreadgroup",
        arity: AtLeast(7),
        flags: WRITE | BLOCKING | MOVABLE_KEYS | UNWATCHED,
        keys: &[streams(Begin::KeywordFound("STREAMS", 4, behind_streams))],
        variants: &[Variant {
            servers: servers::REDIS8_10,
            keys: Some(&[incomplete(
                streams(Begin::KeywordFound("STREAMS", 4, behind_streams)),
                "Incomplete because a consumer/group named STREAMS (or options before GROUP) can shift \
                 the STREAMS keyword; fall back to xreadGetKeys",
            )]),
            ..SAME
        }],
        complexity: "For each stream mentioned: O(M) with M being the number of elements returned. If M is constant (e.g. always asking for the first 10 elements with COUNT), you can consider it O(1). On the other side when XREADGROUP blocks, XADD will pay the O(N) time in order to serve the N clients blocked on the stream getting new data.",
        summary: "Returns entries to a consumer of a group, new ones or its own pending ones; can wait for one.",
        run: Run::Blocks(read::xreadgroup),
        ..STREAM
    },
    Spec {
        name: "xrevrange",
        arity: AtLeast(4),
        flags: READ,
        keys: READ_KEY,
        complexity: REVRANGE_COMPLEXITY,
        summary: "Returns the entries between two ids, the last one first.",
        run: Run::Shard(|cx, args, out| range::xrange(cx, args, true, out)),
        ..STREAM
    },
    Spec {
        name: "xsetid",
        arity: AtLeast(3),
        flags: WRITE | DENYOOM | FAST | UNWATCHED,
        keys: UPDATED_KEY,
        summary: "Sets the last id of a stream, and its counters.",
        run: Run::Shard(edit::xsetid),
        ..STREAM
    },
    Spec {
        name: "xtrim",
        arity: AtLeast(4),
        flags: WRITE,
        keys: REDUCED_KEY,
        tips: RANDOM,
        complexity: "O(N), with N being the number of evicted entries. Constant times are very small however, since entries are organized in macro nodes containing multiple entries that can be released with a single deallocation.",
        summary: "Deletes the oldest entries of a stream; returns how many.",
        run: Run::Shard(edit::xtrim),
        ..STREAM
    },
];
const _: () = check(ROWS);

const XGROUP_CONTAINER: Spec = Spec {
    name: "xgroup",
    summary: "Holds the commands for the groups of a stream.",
    run: Run::Container,
    subcommands: XGROUP_ROWS,
    ..CONTAINER
};

const XINFO_CONTAINER: Spec = Spec {
    name: "xinfo",
    summary: "Holds the commands that show what is in a stream.",
    run: Run::Container,
    subcommands: XINFO_ROWS,
    ..CONTAINER
};

const XGROUP_ROWS: &[Spec] = &[
    Spec {
        name: "create",
        arity: AtLeast(5),
        flags: WRITE | DENYOOM,
        keys: GROUP_KEY,
        summary: "Creates a group.",
        run: Run::Shard(group::create),
        ..XGROUP
    },
    Spec {
        name: "createconsumer",
        arity: Exactly(5),
        flags: WRITE | DENYOOM | UNWATCHED,
        keys: GROUP_KEY,
        since: "6.2.0",
        summary: "Creates a consumer of a group; returns 1 if it is new.",
        run: Run::Shard(group::create_consumer),
        ..XGROUP
    },
    Spec {
        name: "delconsumer",
        arity: Exactly(5),
        flags: WRITE | UNWATCHED,
        keys: GROUP_REDUCED_KEY,
        summary: "Deletes a consumer of a group; returns how many entries were pending with it.",
        run: Run::Shard(group::delete_consumer),
        ..XGROUP
    },
    Spec {
        name: "destroy",
        arity: Exactly(4),
        flags: WRITE | UNWATCHED,
        keys: GROUP_REDUCED_KEY,
        complexity: "O(N) where N is the number of entries in the group's pending entries list (PEL).",
        summary: "Deletes a group; returns 1 if there was one.",
        run: Run::Shard(group::destroy),
        ..XGROUP
    },
    Spec {
        name: "help",
        arity: Exactly(2),
        flags: LOADING | STALE,
        summary: "Lists the subcommands.",
        run: Run::Shard(group::help),
        ..XGROUP
    },
    Spec {
        name: "setid",
        arity: AtLeast(5),
        flags: WRITE | UNWATCHED,
        keys: GROUP_UPDATED_KEY,
        summary: "Sets the id up to which a group has read.",
        run: Run::Shard(group::set_id),
        ..XGROUP
    },
];

const XINFO_ROWS: &[Spec] = &[
    Spec {
        name: "consumers",
        arity: Exactly(4),
        tips: RANDOM,
        summary: "Returns the consumers of a group.",
        run: Run::Shard(info::consumers),
        ..XINFO
    },
    Spec {
        name: "groups",
        arity: Exactly(3),
        summary: "Returns the groups of a stream.",
        run: Run::Shard(info::groups),
        ..XINFO
    },
    Spec {
        name: "help",
        arity: Exactly(2),
        flags: LOADING | STALE,
        keys: &[],
        summary: "Lists the subcommands.",
        run: Run::Shard(info::help),
        ..XINFO
    },
    Spec {
        name: "stream",
        arity: AtLeast(3),
        summary: "Returns the counters of a stream; with FULL, its entries and groups as well.",
        run: Run::Shard(info::stream),
        ..XINFO
    },
];

/// Reads the stream at `key` and counts a hit or a miss.
fn stream_at<'k>(cx: &'k mut Cx<'_>, key: Key<'_>) -> Result<Option<&'k Stream>, Refusal> {
    read_at(cx.keyspace, key)
}

/// The error for a group that does not exist, or whose stream does not.
fn no_group(key: &[u8], group: &[u8]) -> Refusal {
    let (key, group) = (until_nul(key), until_nul(group));
    Refusal::new([b"NOGROUP No such key '", key, b"' or consumer group '", group, b"'"].concat())
}

/// The same for commands on groups.
fn no_group_for_key(key: &[u8], group: &[u8]) -> Refusal {
    let (key, group) = (until_nul(key), until_nul(group));
    Refusal::new(
        [b"NOGROUP No such consumer group '", group, b"' for key name '", key, b"'"].concat(),
    )
}
