//! SLOWLOG: the latest commands that took longer than a threshold.

use super::super::{help, too_many_arguments};
use super::*;
use crate::state::Slowlog;

/// Defaults of the subcommands' rows.
const SLOWLOG: Spec = Spec {
    parent: "slowlog",
    arity: Exactly(2),
    flags: ADMIN | LOADING | STALE,
    since: "2.2.12",
    ..SERVER
};

/// How many entries GET returns by default.
const COUNT_DEFAULT: usize = 10;

pub(super) const ROW: Spec = Spec {
    name: "slowlog",
    arity: AtLeast(2),
    since: "2.2.12",
    complexity: "Depends on subcommand.",
    summary: "Holds the commands about slow commands.",
    subcommands: &[
        Spec {
            name: "get",
            arity: AtLeast(2),
            complexity: "O(N) where N is the number of entries returned",
            tips: &["request_policy:all_nodes", "nondeterministic_output"],
            summary: "Returns the latest slow commands: ten, or the given number, or all with -1.",
            run: Run::Server(get),
            ..SLOWLOG
        },
        Spec {
            name: "len",
            tips: &[
                "request_policy:all_nodes",
                "response_policy:agg_sum",
                "nondeterministic_output",
            ],
            summary: "Returns the number of entries.",
            run: Run::Server(|cx, _, out| {
                out.count(cx.node.observer.slowlog.len());
                Ok(())
            }),
            ..SLOWLOG
        },
        Spec {
            name: "reset",
            complexity: "O(N) where N is the number of entries in the slowlog",
            tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
            summary: "Removes all entries.",
            run: Run::Server(|cx, _, out| {
                cx.covered().iter().for_each(|node| node.observer.slowlog.reset());
                out.ok();
                Ok(())
            }),
            ..SLOWLOG
        },
        Spec {
            name: "help",
            flags: LOADING | STALE,
            since: "6.2.0",
            summary: "Lists the subcommands.",
            run: Run::Server(|cx, _, out| {
                help(&ROW, cx.product, out);
                Ok(())
            }),
            ..SLOWLOG
        },
    ],
    ..SERVER
};

/// SLOWLOG GET [count]
fn get(cx: &mut ServerCx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let count = match args.len() {
        2 => COUNT_DEFAULT,
        3 => match parse_i64(args.at(2)) {
            Some(-1) => usize::MAX,
            Some(count @ 0..) => usize::try_from(count).unwrap_or(usize::MAX),
            _ => {
                return Err(Refusal::of("ERR count should be greater than or equal to -1"));
            }
        },
        _ => return Err(too_many_arguments(args)),
    };
    put_entries(&cx.node.observer.slowlog, count, out);
    Ok(())
}

/// Writes the newest entries.
pub(super) fn put_entries(log: &Slowlog, count: usize, out: &mut Sink<'_>) {
    let entries = log.newest(count);
    out.array(entries.len());
    for entry in &entries {
        out.array(6);
        out.int(entry.id.cast_signed());
        out.int(entry.at_s);
        out.int(entry.amount.cast_signed());
        out.array(entry.args.len());
        entry.args.iter().for_each(|arg| out.bulk(arg));
        out.bulk(entry.peer.as_bytes());
        out.bulk(&entry.name);
    }
}
