//! Commands on the client's own connection: PING, ECHO, and the rows of those that the session
//! runs. CLIENT has files of its own.

mod tracking;
mod client_line;
mod client_filter;
mod client;

use super::spec::flag::{ALLOW_BUSY, FAST, LOADING, NO_AUTH, NOSCRIPT, STALE, WHILE_SUBSCRIBED};
use super::spec::{
    Arity::AtLeast, Arity::Exactly, BASE, BUSY_IN_VALKEY, Doc, Group, Run, Secret, SessionCommand,
    Spec, acl, check,
};
use super::{Args, Cx, Outcome, Refusal};
use crate::resp::Sink;

/// Defaults of the rows.
const CONNECTION: Spec = Spec { group: Group::Connection, acl: acl::CONNECTION, ..BASE };
/// Defaults of the rows that a client may send before it has authenticated.
const NO_LOGIN: Spec =
    Spec { flags: NOSCRIPT | LOADING | STALE | FAST | NO_AUTH | ALLOW_BUSY, ..CONNECTION };

pub(crate) use client::label_client;

pub(super) const ROWS: &[Spec] = &[
    Spec {
        name: "ping",
        arity: AtLeast(1),
        flags: FAST | WHILE_SUBSCRIBED,
        tips: &["request_policy:all_shards", "response_policy:all_succeeded"],
        summary: "Replies with PONG, or with its argument.",
        run: Run::Shard(ping),
        ..CONNECTION
    },
    Spec {
        name: "echo",
        arity: Exactly(2),
        flags: LOADING | STALE | FAST,
        summary: "Replies with its argument.",
        run: Run::Shard(echo),
        ..CONNECTION
    },
    Spec {
        name: "select",
        arity: Exactly(2),
        variants: BUSY_IN_VALKEY,
        flags: LOADING | STALE | FAST,
        summary: "Selects a database. A cluster has only database 0.",
        run: Run::Session(SessionCommand::Select),
        ..CONNECTION
    },
    Spec {
        name: "auth",
        arity: AtLeast(2),
        secrets: &[Secret::From(1)],
        complexity: "O(N) where N is the number of passwords defined for the user",
        summary: "Authenticates the connection with a password.",
        run: Run::Session(SessionCommand::Auth),
        ..NO_LOGIN
    },
    Spec {
        name: "hello",
        arity: AtLeast(1),
        secrets: &[Secret::After { word: "auth", from: 2, step: 1, count: 2 }],
        since: "6.0.0",
        summary: "Selects RESP2 or RESP3; may also authenticate the connection and set its name.",
        run: Run::Session(SessionCommand::Hello),
        ..NO_LOGIN
    },
    Spec {
        name: "quit",
        doc: Doc::not_in_redis8("7.2.0", "closing the connection"),
        arity: AtLeast(1),
        flags: NO_LOGIN.flags | WHILE_SUBSCRIBED,
        summary: "Closes the connection.",
        run: Run::Session(SessionCommand::Quit),
        ..NO_LOGIN
    },
    Spec {
        name: "reset",
        arity: Exactly(1),
        flags: NO_LOGIN.flags | WHILE_SUBSCRIBED,
        since: "6.2.0",
        summary: "Resets the connection to its initial state.",
        run: Run::Session(SessionCommand::Reset),
        ..NO_LOGIN
    },
    client::ROW,
];
const _: () = check(ROWS);

fn ping(_: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    match args.len() {
        1 => out.simple("PONG"),
        2 => out.bulk(args.at(1)),
        _ => return Err(Refusal::arity("ping")),
    }
    Ok(())
}

fn echo(_: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    out.bulk(args.at(1));
    Ok(())
}
