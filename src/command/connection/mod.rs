//! What concerns one's own connection: PING, ECHO, SELECT, and the rows of what steers it.
//! `CLIENT` has a file of its own.

mod client;

use super::spec::flag::{ALLOW_BUSY, FAST, LOADING, NO_AUTH, NOSCRIPT, STALE, WHILE_SUBSCRIBED};
use super::spec::{
    Arity::AtLeast, Arity::Exactly, BASE, Group, Run, Secret, SessionCommand, Spec, acl, check,
};
use super::{Args, Cx, Outcome, Refusal};
use crate::resp::Sink;

/// What all connections' rows share.
const CONNECTION: Spec = Spec { group: Group::Connection, acl: acl::CONNECTION, ..BASE };
/// What the rows share that a client may send before it has authenticated.
const GATE: Spec =
    Spec { flags: NOSCRIPT | LOADING | STALE | FAST | NO_AUTH | ALLOW_BUSY, ..CONNECTION };

pub(super) const ROWS: &[Spec] = &[
    Spec {
        name: "ping",
        arity: AtLeast(1),
        flags: FAST | WHILE_SUBSCRIBED,
        tips: &["request_policy:all_shards", "response_policy:all_succeeded"],
        summary: "Answers PONG, or what it was given.",
        run: Run::Shard(ping),
        ..CONNECTION
    },
    Spec {
        name: "echo",
        arity: Exactly(2),
        flags: LOADING | STALE | FAST,
        summary: "Answers what it was given.",
        run: Run::Shard(echo),
        ..CONNECTION
    },
    Spec {
        name: "select",
        arity: Exactly(2),
        flags: LOADING | STALE | FAST,
        summary: "Chooses a database, of which a cluster has but number 0.",
        run: Run::Session(SessionCommand::Select),
        ..CONNECTION
    },
    Spec {
        name: "auth",
        arity: AtLeast(2),
        secrets: &[Secret::From(1)],
        complexity: "O(N) where N is the number of passwords defined for the user",
        summary: "Authenticates the connection by a password.",
        run: Run::Session(SessionCommand::Auth),
        ..GATE
    },
    Spec {
        name: "hello",
        arity: AtLeast(1),
        secrets: &[Secret::After { word: "auth", from: 2, step: 1, count: 2 }],
        since: "6.0.0",
        summary: "Shakes hands: chooses RESP2 or RESP3, authenticates and names the client if asked to.",
        run: Run::Session(SessionCommand::Hello),
        ..GATE
    },
    Spec {
        name: "quit",
        arity: AtLeast(1),
        flags: GATE.flags | WHILE_SUBSCRIBED,
        summary: "Closes the connection.",
        run: Run::Session(SessionCommand::Quit),
        ..GATE
    },
    Spec {
        name: "reset",
        arity: Exactly(1),
        flags: GATE.flags | WHILE_SUBSCRIBED,
        since: "6.2.0",
        summary: "Makes the connection as it was when it was new.",
        run: Run::Session(SessionCommand::Reset),
        ..GATE
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
