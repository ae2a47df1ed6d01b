//! Properties of a command, a bit each.
//!
//! Those in [`NAMES`] are Redis' own and go into COMMAND's reply. Those in [`INTERNAL`] are for the
//! other modules, which look at a flag instead of matching a command's name; no reply shows them.

pub const WRITE: u64 = 1;
pub const READ: u64 = 1 << 1;
pub const DENYOOM: u64 = 1 << 2;
pub const ADMIN: u64 = 1 << 3;
pub const PUBSUB: u64 = 1 << 4;
pub const NOSCRIPT: u64 = 1 << 5;
pub const BLOCKING: u64 = 1 << 6;
pub const LOADING: u64 = 1 << 7;
pub const STALE: u64 = 1 << 8;
pub const SKIP_MONITOR: u64 = 1 << 9;
pub const SKIP_SLOWLOG: u64 = 1 << 10;
pub const ASKING: u64 = 1 << 11;
pub const FAST: u64 = 1 << 12;
pub const NO_AUTH: u64 = 1 << 13;
pub const NO_MANDATORY_KEYS: u64 = 1 << 15;
pub const NO_ASYNC_LOADING: u64 = 1 << 16;
pub const NO_MULTI: u64 = 1 << 17;
pub const ALLOW_BUSY: u64 = 1 << 18;
/// Its keys cannot all be found by the first-last-step rule.
pub const MOVABLE_KEYS: u64 = 1 << 19;

/// CLIENT PAUSE WRITE pauses it although it is no write: PUBLISH.
pub const MAY_REPLICATE: u64 = 1 << 14;
/// It works on keys of a slot that is being migrated: MIGRATE.
pub const MIGRATES: u64 = 1 << 20;
/// It may read keys that it does not name ([`super::Spec::reads_unnamed`]): SORT.
pub const READS_UNNAMED: u64 = 1 << 21;
/// It acts on all databases, not only on the client's: FLUSHALL.
pub const ALL_DATABASES: u64 = 1 << 22;
/// A subscriber that speaks RESP2 may send it.
pub const WHILE_SUBSCRIBED: u64 = 1 << 23;
/// It needs a database other than number 0, which a cluster does not have: MOVE, SWAPDB.
pub const OTHER_DATABASE: u64 = 1 << 24;
/// It names no keys and reads or writes all there are: on a node of a cluster, all of that node.
pub const NODE_LOCAL: u64 = 1 << 25;
/// It writes, and trips no WATCH: XACK.
pub const UNWATCHED: u64 = 1 << 26;
/// An option of it names a database: COPY with DB.
pub const NAMES_DATABASE: u64 = 1 << 27;
/// It reads, and may keep in the key what it has computed, which trips a WATCH: PFCOUNT.
pub const CACHES: u64 = 1 << 28;

/// Valkey's name for [`SKIP_SLOWLOG`].
pub const SKIP_COMMANDLOG: u64 = 1 << 29;

/// It labels its client for reports, also where the server does not have it: CLIENT SETINFO.
pub const LABELS_CLIENT: u64 = 1 << 30;

/// CLIENT CACHING before it is about the command after it: CLIENT.
pub const KEEPS_CACHING: u64 = 1 << 31;

/// It is a module's: JSON.SET.
pub const MODULE: u64 = 1 << 32;

/// It runs scripts, as Redis 8.10 shows it.
pub const SCRIPT_RUNNER: u64 = 1 << 33;

/// Every flag that COMMAND shows, with its name there, in the order shown.
pub const NAMES: &[(u64, &str)] = &[
    (WRITE, "write"),
    (READ, "readonly"),
    (DENYOOM, "denyoom"),
    (MODULE, "module"),
    (ADMIN, "admin"),
    (PUBSUB, "pubsub"),
    (NOSCRIPT, "noscript"),
    (BLOCKING, "blocking"),
    (LOADING, "loading"),
    (STALE, "stale"),
    (SKIP_MONITOR, "skip_monitor"),
    (SKIP_SLOWLOG, "skip_slowlog"),
    (SKIP_COMMANDLOG, "skip_commandlog"),
    (ASKING, "asking"),
    (FAST, "fast"),
    (NO_AUTH, "no_auth"),
    (NO_MANDATORY_KEYS, "no_mandatory_keys"),
    (NO_ASYNC_LOADING, "no_async_loading"),
    (NO_MULTI, "no_multi"),
    (MOVABLE_KEYS, "movablekeys"),
    (ALLOW_BUSY, "allow_busy"),
    (SCRIPT_RUNNER, "script_runner"),
];

/// Every flag that COMMAND does not show.
pub const INTERNAL: u64 = MAY_REPLICATE
    | MIGRATES
    | READS_UNNAMED
    | ALL_DATABASES
    | WHILE_SUBSCRIBED
    | OTHER_DATABASE
    | NODE_LOCAL
    | UNWATCHED
    | NAMES_DATABASE
    | CACHES
    | KEEPS_CACHING;

// A bit that stood in both lists would leak into COMMAND's reply.
const _: () = {
    let mut i = 0;
    while i < NAMES.len() {
        assert!(NAMES[i].0 & INTERNAL == 0, "COMMAND shows no internal flag");
        i += 1;
    }
};
