//! MULTI, EXEC, DISCARD, WATCH and UNWATCH: rows only. The session runs them, as they change what
//! it does with the requests that follow.

use super::spec::access::RO;
use super::spec::flag::{
    ALLOW_BUSY, FAST, LOADING, NO_MULTI, NOSCRIPT, SKIP_COMMANDLOG, SKIP_SLOWLOG, STALE,
};
use super::spec::{
    Arity::AtLeast, Arity::Exactly, BASE, Group, Keys, Run, SAME, SessionCommand, Spec, Variant,
    acl, check,
};
use crate::dialect::servers;

/// Defaults of the rows.
const TRANSACTION: Spec = Spec {
    group: Group::Transactions,
    acl: acl::TRANSACTION,
    flags: NOSCRIPT | LOADING | STALE | FAST | ALLOW_BUSY,
    arity: Exactly(1),
    ..BASE
};

pub(super) const ROWS: &[Spec] = &[
    Spec {
        name: "multi",
        variants: &[Variant { servers: servers::VALKEY9, with: NO_MULTI, ..SAME }],
        since: "1.2.0",
        summary: "Starts a transaction: the commands that follow are queued until EXEC.",
        run: Run::Session(SessionCommand::Multi),
        ..TRANSACTION
    },
    Spec {
        name: "exec",
        variants: &[Variant {
            servers: servers::VALKEY9,
            without: SKIP_SLOWLOG,
            with: SKIP_COMMANDLOG,
            ..SAME
        }],
        flags: NOSCRIPT | LOADING | STALE | SKIP_SLOWLOG,
        since: "1.2.0",
        complexity: "Depends on commands in the transaction",
        summary: "Runs the commands queued since MULTI as one, unless a watched key was touched.",
        run: Run::Session(SessionCommand::Exec),
        ..TRANSACTION
    },
    Spec {
        name: "discard",
        since: "2.0.0",
        complexity: "O(N), when N is the number of queued commands",
        summary: "Drops the commands queued since MULTI and stops watching keys.",
        run: Run::Session(SessionCommand::Discard),
        ..TRANSACTION
    },
    Spec {
        name: "watch",
        arity: AtLeast(2),
        variants: &[Variant { servers: servers::VALKEY9, with: NO_MULTI, ..SAME }],
        keys: &[Keys::range(RO, 1, -1, 1)],
        since: "2.2.0",
        complexity: "O(1) for every key.",
        summary: "Makes the next EXEC run nothing if one of the keys is touched before it.",
        run: Run::Session(SessionCommand::Watch),
        ..TRANSACTION
    },
    Spec {
        name: "unwatch",
        since: "2.2.0",
        summary: "Stops watching all keys.",
        run: Run::Session(SessionCommand::Unwatch),
        ..TRANSACTION
    },
];
const _: () = check(ROWS);
