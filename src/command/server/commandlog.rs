//! COMMANDLOG: the slow log as Valkey has it, beside logs of large requests and replies, which are not
//! kept here: their thresholds are -1, for none.

use super::super::help;
use super::slowlog::put_entries;
use super::*;
use crate::dialect::servers;

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
                out.count(match Log::parse(args.at(2))? {
                    Log::Slow => cx.node.observer.slowlog.len(),
                    Log::Large => 0,
                });
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
                if Log::parse(args.at(2))? == Log::Slow {
                    cx.covered().iter().for_each(|node| node.observer.slowlog.reset());
                }
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

/// A log.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Log {
    Slow,
    /// Of requests or replies: always empty.
    Large,
}

impl Log {
    fn parse(word: &[u8]) -> Result<Self, Refusal> {
        match &*word.to_ascii_lowercase() {
            b"slow" => Ok(Self::Slow),
            b"large-request" | b"large-reply" => Ok(Self::Large),
            _ => Err(Refusal::of(
                "ERR type should be one of the following: slow, large-request, large-reply",
            )),
        }
    }
}

/// COMMANDLOG GET count type
fn get(cx: &mut ServerCx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let count = match parse_i64(args.at(2)) {
        Some(-1) => usize::MAX,
        Some(count @ 0..) => usize::try_from(count).unwrap_or(usize::MAX),
        _ => return Err(Refusal::of("ERR count should be greater than or equal to -1")),
    };
    match Log::parse(args.at(3))? {
        Log::Slow => put_entries(cx, count, out),
        Log::Large => out.array(0),
    }
    Ok(())
}
