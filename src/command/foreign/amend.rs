//! What a server's COMMAND does not say about its commands, or says wrongly.
//!
//! Found by asking the servers themselves: each command was sent over slots and to the wrong node of a
//! cluster, and each one that writes to a key that another client watches.

use crate::command::{Begin, Find, Keys, Spec, access, flag};
use access::{RO, RW, UNDECLARED};

/// Amends the row of another server's command.
pub(super) fn amend(spec: &mut Spec) {
    let full_name = spec.full_name();
    if let Some((_, keys)) = KEYS.iter().find(|(name, _)| *name == full_name) {
        spec.keys = keys;
    }
    if WRITERS.contains(&&*full_name) {
        spec.flags |= flag::WRITE;
    }
    // What writes and names no key changes none: FUNCTION LOAD.
    if UNWATCHED.contains(&&*full_name) || spec.keys.is_empty() {
        spec.flags |= flag::UNWATCHED;
    }
}

/// As many keys as this argument says, and the keys behind it.
const fn counted(access: u16, at: u8, step: u8) -> Keys {
    let find = Find::Count { at: 0, first: 1, step };
    Keys { access, begin: Begin::Index(at), find, notes: "" }
}

/// Commands whose keys stand elsewhere than COMMAND says, or in more places, or are read only.
const KEYS: &[(&str, &[Keys])] = &[
    // Redis Stack 7.4.1 declares the first key alone. It looks for the others on the node of the first:
    // null, or "does not exist", where their own node has them.
    #[cfg(not(feature = "json"))]
    ("json.mget", &[Keys::at(RO, 1), Keys::range(RO | UNDECLARED, 2, -2, 1)]),
    ("cms.merge", &[Keys::at(RW, 1), counted(RO | UNDECLARED, 2, 1)]),
    ("tdigest.merge", &[Keys::at(RW, 1), counted(RO | UNDECLARED, 2, 1)]),
    ("ts.createrule", &[Keys::at(RW, 1), Keys::at(RW | UNDECLARED, 2)]),
    ("ts.deleterule", &[Keys::at(RW, 1), Keys::at(RW | UNDECLARED, 2)]),
    // Redis Stack declares the keys of these, and Valkey 9.1 those of MSETEX, and routes by none of them:
    // they run on the node that is asked.
    ("tfcall", &[counted(RW | UNDECLARED, 2, 1)]),
    ("tfcallasync", &[counted(RW | UNDECLARED, 2, 1)]),
    // The index and the graph are read: their WATCH stays whole.
    ("ft.add", INDEX_AND_DOCUMENT),
    ("ft.safeadd", INDEX_AND_DOCUMENT),
    ("ft.del", INDEX_AND_DOCUMENT),
    ("graph.copy", &[Keys::at(RO, 1), Keys::at(RW, 2)]),
];

const INDEX_AND_DOCUMENT: &[Keys] = &[Keys::at(RO, 1), Keys::at(RW, 2)];

/// Commands that COMMAND calls readers and that may trip a WATCH of their key.
const WRITERS: &[&str] = &["cf.compact"];

/// Commands that write and leave a WATCH of their keys alone, whatever they do: an EXEC afterwards
/// runs.
const UNWATCHED: &[&str] = &[
    "cms.incrby",
    "ft._alterifnx",
    "ft._createifnx",
    "ft._dropifx",
    "ft._dropindexifx",
    "ft.alter",
    "ft.create",
    "ft.drop",
    "ft.dropindex",
    "ft.sugdel",
    "ft.synadd",
    "ft.synupdate",
    "graph.explain",
    "topk.count",
    "xcfgset",
    "xidmprecord",
    "xnack",
];

/// Every command that is amended.
#[cfg(test)]
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    let keys = KEYS.iter().map(|(name, _)| *name);
    keys.chain(WRITERS.iter().chain(UNWATCHED).copied())
}
