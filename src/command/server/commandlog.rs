//! COMMANDLOG: the slow log as Valkey has it, beside logs of large requests and of large replies.

use super::super::help;
use super::slowlog::put_entries;
use super::*;
use crate::dialect::servers;
use crate::state::{Observer, Slowlog};

/// Defaults of the rows.
const COMMANDLOG: Spec = Spec {
    parent: "commandlog",
    arity: Exactly(3),
    flags: ADMIN | LOADING | STALE,
    servers: servers::VALKEY9,
    since: "8.1.0",
    ..SERVER
};

pub(super) const ROW: Spec = Spec {
    name: "commandlog",
    arity: AtLeast(2),
    servers: servers::VALKEY9,
    since: "8.1.0",
    complexity: "Depends on subcommand.",
    summary: "Holds the commands about slow commands, large requests and large replies.",
    subcommands: &[
        Spec {
            name: "get",
            arity: Exactly(4),
            complexity: "O(N) where N is the number of entries returned",
            tips: &["request_policy:all_nodes", "nondeterministic_output"],
            summary: "Returns the latest entries of a log: so many, or all with -1.",
            run: Run::Server(get),
            ..COMMANDLOG
        },
        Spec {
            name: "len",
            tips: &[
                "request_policy:all_nodes",
                "response_policy:agg_sum",
                "nondeterministic_output",
            ],
            summary: "Returns the number of entries of a log.",
            run: Run::Server(|cx, args, out| {
                out.count(log_of(args.at(2))?(&cx.node.observer).len());
                Ok(())
            }),
            ..COMMANDLOG
        },
        Spec {
            name: "reset",
            complexity: "O(N) where N is the number of entries in the commandlog",
            tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
            summary: "Removes all entries of a log.",
            run: Run::Server(|cx, args, out| {
                let log = log_of(args.at(2))?;
                cx.covered().iter().for_each(|node| log(&node.observer).reset());
                out.ok();
                Ok(())
            }),
            ..COMMANDLOG
        },
        Spec {
            name: "help",
            arity: Exactly(2),
            flags: LOADING | STALE,
            summary: "Lists the subcommands.",
            run: Run::Server(|cx, _, out| {
                help(&ROW, cx.product, out);
                Ok(())
            }),
            ..COMMANDLOG
        },
    ],
    ..SERVER
};

/// Returns how to find the log that a word names.
fn log_of(word: &[u8]) -> Result<fn(&Observer) -> &Slowlog, Refusal> {
    match &*word.to_ascii_lowercase() {
        b"slow" => Ok(|observer| &observer.slowlog),
        b"large-request" => Ok(|observer| &observer.large_requests),
        b"large-reply" => Ok(|observer| &observer.large_replies),
        _ => Err(Refusal::of(
            "ERR type should be one of the following: slow, large-request, large-reply",
        )),
    }
}

/// COMMANDLOG GET count type
fn get(cx: &mut ServerCx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let count = match parse_i64(args.at(2)) {
        Some(-1) => usize::MAX,
        Some(count @ 0..) => usize::try_from(count).unwrap_or(usize::MAX),
        _ => return Err(Refusal::of("ERR count should be greater than or equal to -1")),
    };
    put_entries(log_of(args.at(3))?(&cx.node.observer), count, out);
    Ok(())
}
