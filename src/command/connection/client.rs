//! CLIENT: names of connections, lists of them, pausing, unblocking and closing them.

use super::super::spec::flag::{
    ADMIN, ALLOW_BUSY, KEEPS_CACHING, LABELS_CLIENT, LOADING, NO_MULTI, NOSCRIPT, STALE,
};
use super::super::spec::{
    Arity::AtLeast, Arity::Exactly, BASE, BUSY_IN_VALKEY, Group, ON_ALL_NODES_SINCE_7_2, Run, SAME,
    SessionCommand, Spec, Variant, acl,
};
use super::super::{Args, Outcome, Refusal, ServerCx, help, too_many_arguments};
use super::client_filter::{Filter, Kind};
use super::client_line::describe;
use super::tracking::{redirection, trackinginfo};
use crate::dialect::servers;
use crate::resp::{Sink, until_nul};
use crate::state::Paused;
use crate::state::clients::{Client, Ending, Label};
use crate::text::number::parse_i64;
use std::sync::Arc;

/// Defaults of the subcommands' rows.
const CLIENT: Spec = Spec {
    parent: "client",
    arity: Exactly(2),
    flags: NOSCRIPT | LOADING | STALE | KEEPS_CACHING,
    group: Group::Connection,
    acl: acl::CONNECTION,
    ..BASE
};

/// How many clients are listed or closed between two calls of the pace.
const CLIENTS_PER_STEP: usize = 16;

pub(super) const ROW: Spec = Spec {
    name: "client",
    arity: AtLeast(2),
    group: Group::Connection,
    since: "2.4.0",
    complexity: "Depends on subcommand.",
    summary: "Holds the commands about clients.",
    subcommands: &[
        Spec {
            name: "id",
            variants: BUSY_IN_VALKEY,
            since: "5.0.0",
            summary: "Returns the id of this connection.",
            run: Run::Server(|cx, _, out| {
                out.int(cx.me.id.cast_signed());
                Ok(())
            }),
            ..CLIENT
        },
        Spec {
            name: "getname",
            variants: BUSY_IN_VALKEY,
            since: "2.6.9",
            summary: "Returns the name of this connection.",
            run: Run::Server(getname),
            ..CLIENT
        },
        Spec {
            name: "setname",
            arity: Exactly(3),
            variants: &[
                ON_ALL_NODES_SINCE_7_2[0],
                Variant { servers: servers::VALKEY9, with: ALLOW_BUSY, ..SAME },
            ],
            since: "2.6.9",
            summary: "Sets the name of this connection; the empty name removes it.",
            run: Run::Server(|cx, args, out| set(cx.me, Label::Name, args.at(2), out)),
            ..CLIENT
        },
        Spec {
            name: "setinfo",
            flags: NOSCRIPT | LOADING | STALE | LABELS_CLIENT,
            arity: Exactly(4),
            variants: BUSY_IN_VALKEY,
            servers: servers::SINCE_7_2,
            since: "7.2.0",
            tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
            summary: "Sets the name or version of the client library of this connection.",
            run: Run::Server(setinfo),
            ..CLIENT
        },
        Spec {
            name: "info",
            since: "6.2.0",
            tips: &["nondeterministic_output"],
            summary: "Returns information about this connection.",
            run: Run::Server(info),
            ..CLIENT
        },
        Spec {
            name: "list",
            arity: AtLeast(2),
            flags: ADMIN | NOSCRIPT | LOADING | STALE | KEEPS_CACHING,
            since: "2.4.0",
            complexity: "O(N) where N is the number of client connections",
            tips: &["nondeterministic_output"],
            summary: "Lists connections, all or those that match filters.",
            run: Run::Server(list),
            ..CLIENT
        },
        Spec {
            name: "kill",
            arity: AtLeast(3),
            flags: ADMIN | NOSCRIPT | LOADING | STALE | KEEPS_CACHING,
            since: "2.4.0",
            complexity: "O(N) where N is the number of client connections",
            summary: "Closes connections, by address or those that match filters.",
            run: Run::Server(kill),
            ..CLIENT
        },
        Spec {
            name: "unblock",
            arity: AtLeast(3),
            flags: ADMIN | NOSCRIPT | LOADING | STALE | KEEPS_CACHING,
            since: "5.0.0",
            complexity: "O(log N) where N is the number of client connections",
            summary: "Unblocks another connection, with a timeout or with an error.",
            run: Run::Server(unblock),
            ..CLIENT
        },
        Spec {
            name: "pause",
            arity: AtLeast(3),
            flags: ADMIN | NOSCRIPT | LOADING | STALE | KEEPS_CACHING,
            since: "2.9.50",
            summary: "Suspends all clients' commands, or those that write, for some milliseconds.",
            run: Run::Server(pause),
            ..CLIENT
        },
        Spec {
            name: "unpause",
            flags: ADMIN | NOSCRIPT | LOADING | STALE | KEEPS_CACHING,
            since: "6.2.0",
            complexity: "O(N) Where N is the number of paused clients",
            summary: "Ends a pause.",
            run: Run::Server(|cx, _, out| {
                cx.covered().iter().for_each(|node| node.pause.end());
                out.ok();
                Ok(())
            }),
            ..CLIENT
        },
        Spec {
            name: "getredir",
            variants: BUSY_IN_VALKEY,
            since: "6.0.0",
            summary: "Returns the client id that tracking is redirected to: 0 for none, -1 without tracking.",
            run: Run::Server(|cx, _, out| {
                out.int(redirection(cx.me));
                Ok(())
            }),
            ..CLIENT
        },
        Spec {
            name: "tracking",
            arity: AtLeast(3),
            since: "6.0.0",
            complexity: "O(1). Some options may introduce additional complexity.",
            summary: "Switches notifications of changed keys on or off, for client-side caches.",
            run: Run::Session(SessionCommand::ClientTracking),
            ..CLIENT
        },
        Spec {
            name: "caching",
            arity: Exactly(3),
            variants: BUSY_IN_VALKEY,
            since: "6.0.0",
            summary: "Sets whether the keys that the next command reads are tracked.",
            run: Run::Session(SessionCommand::ClientCaching),
            ..CLIENT
        },
        Spec {
            name: "trackinginfo",
            since: "6.2.0",
            summary: "Returns how the keys that this connection reads are tracked.",
            run: Run::Server(trackinginfo),
            ..CLIENT
        },
        Spec {
            name: "reply",
            arity: Exactly(3),
            variants: &[Variant { servers: servers::VALKEY9, with: ALLOW_BUSY | NO_MULTI, ..SAME }],
            since: "3.2.0",
            summary: "Turns replies to this connection on, off, or off for the next command.",
            run: Run::Session(SessionCommand::ClientReply),
            ..CLIENT
        },
        Spec {
            name: "capa",
            arity: AtLeast(3),
            flags: NOSCRIPT | LOADING | STALE | ALLOW_BUSY,
            servers: servers::VALKEY9,
            since: "8.0.0",
            summary: "Says what replies this connection understands: redirect, which a cluster never sends.",
            run: Run::Server(capa),
            ..CLIENT
        },
        Spec {
            name: "import-source",
            arity: Exactly(3),
            servers: servers::VALKEY9,
            since: "8.1.0",
            summary: "Refuses to make this connection a source of imports, which the server never takes.",
            run: Run::Server(|_, args, out| match args.is(2, "off") {
                true => {
                    out.ok();
                    Ok(())
                }
                false => Err(Refusal::of("ERR Server is not in import mode")),
            }),
            ..CLIENT
        },
        Spec {
            name: "no-evict",
            arity: Exactly(3),
            variants: BUSY_IN_VALKEY,
            flags: ADMIN | NOSCRIPT | LOADING | STALE | KEEPS_CACHING,
            since: "7.0.0",
            summary: "Sets whether this connection is exempt from eviction.",
            run: Run::Server(|cx, args, out| switch(args, out, |on| cx.me.set_no_evict(on))),
            ..CLIENT
        },
        Spec {
            name: "no-touch",
            arity: Exactly(3),
            variants: BUSY_IN_VALKEY,
            servers: servers::SINCE_7_2,
            since: "7.2.0",
            summary: "Sets whether commands of this connection count as a use of their keys.",
            run: Run::Server(|cx, args, out| switch(args, out, |on| cx.me.set_no_touch(on))),
            ..CLIENT
        },
        Spec {
            name: "help",
            flags: LOADING | STALE | KEEPS_CACHING,
            since: "5.0.0",
            summary: "Lists the subcommands.",
            run: Run::Server(|cx, _, out| {
                help(&ROW, cx.product, out);
                Ok(())
            }),
            ..CLIENT
        },
    ],
    ..BASE
};

fn getname(cx: &mut ServerCx<'_>, _: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let name = cx.me.labels().name;
    out.bulk_or_null((!name.is_empty()).then_some(&name));
    Ok(())
}

fn setinfo(cx: &mut ServerCx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let Some(label) = label(args) else {
        return Err(Refusal::new(
            [b"ERR Unrecognized option '", until_nul(args.at(2)), b"'"].concat(),
        ));
    };
    set(cx.me, label, args.at(3), out)
}

/// Labels a client by a CLIENT SETINFO that its server does not have: reports show its library.
pub(crate) fn label_client(client: &Client, args: Args<'_>) {
    if let (Some(label), Some(text)) = (label(args), args.get(3)) {
        // What is no label is none.
        let _ = client.set_label(label, text);
    }
}

/// Returns which label a CLIENT SETINFO sets.
fn label(args: Args<'_>) -> Option<Label> {
    let labels = [("lib-name", Label::LibName), ("lib-ver", Label::LibVer)];
    let named = |name: &str| args.get(2).is_some() && args.is(2, name);
    labels.into_iter().find_map(|(name, label)| named(name).then_some(label))
}

fn set(me: &Client, label: Label, text: &[u8], out: &mut Sink<'_>) -> Outcome {
    let what = match label {
        Label::Name => "Client names",
        Label::LibName => "lib-name",
        Label::LibVer => "lib-ver",
    };
    me.set_label(label, text).map_err(|_unfit| {
        Refusal::new(format!("ERR {what} cannot contain spaces, newlines or special characters."))
    })?;
    out.ok();
    Ok(())
}

/// CLIENT CAPA capability …; others than `redirect` are ignored, as they may be newer.
fn capa(cx: &mut ServerCx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    if (2..args.len()).any(|at| args.is(at, "redirect")) {
        cx.me.set_understands_redirect();
    }
    out.ok();
    Ok(())
}

fn switch(args: Args<'_>, out: &mut Sink<'_>, set: impl FnOnce(bool)) -> Outcome {
    let on = args.is(2, "on");
    if !on && !args.is(2, "off") {
        return Err(Refusal::SYNTAX);
    }
    set(on);
    out.ok();
    Ok(())
}

fn info(cx: &mut ServerCx<'_>, _: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let mut text = Vec::with_capacity(400);
    describe(cx.me, cx.now, cx.product, &mut text);
    out.verbatim(*b"txt", &text);
    Ok(())
}

fn list(cx: &mut ServerCx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let shown = match cx.product.servers & servers::VALKEY9 != 0 {
        true => matching(cx, &Filter::parse(cx, args, None)?),
        false => listed(cx, args)?,
    };
    let mut text = Vec::new();
    for (i, client) in shown.iter().enumerate() {
        if i % CLIENTS_PER_STEP == 0 {
            cx.pace.step(1000);
        }
        describe(client, cx.now, cx.product, &mut text);
    }
    out.verbatim(*b"txt", &text);
    Ok(())
}

/// Returns the clients that match, in the order of their ids.
fn matching(cx: &ServerCx<'_>, filter: &Filter<'_>) -> Vec<Arc<Client>> {
    let mut all = match filter.ids() {
        Some(ids) => ids.iter().filter_map(|&id| cx.node.client(id)).collect(),
        None => cx.node.clients(),
    };
    all.sort_unstable_by_key(|client| client.id);
    all.dedup_by_key(|client| client.id);
    all.retain(|client| filter.fits(client, cx.now));
    all
}

/// Returns the clients that CLIENT LIST shows where it takes one filter, TYPE or ID.
fn listed(cx: &ServerCx<'_>, args: Args<'_>) -> Result<Vec<Arc<Client>>, Refusal> {
    if args.len() == 2 {
        return Ok(cx.node.clients());
    }
    if args.len() == 4 && args.is(2, "type") {
        let kind = Kind::parse(args.at(3))?;
        let mut all = cx.node.clients();
        all.retain(|client| Kind::of(client) == kind);
        return Ok(all);
    }
    if args.len() < 4 || !args.is(2, "id") {
        return Err(Refusal::SYNTAX);
    }
    let invalid = || Refusal::of("ERR Invalid client ID");
    let ids =
        args.from(3).map(|id| parse_i64(id).ok_or_else(invalid)).collect::<Result<Vec<_>, _>>()?;
    let found = ids.into_iter().filter_map(|id| cx.node.client(u64::try_from(id).ok()?));
    Ok(found.collect())
}

/// CLIENT PAUSE milliseconds [WRITE|ALL]
fn pause(cx: &mut ServerCx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let paused = match args.len() {
        3 => Paused::All,
        4 if args.is(3, "write") => Paused::Writes,
        4 if args.is(3, "all") => Paused::All,
        4 => return Err(Refusal::of("ERR CLIENT PAUSE mode must be WRITE or ALL")),
        _ => return Err(too_many_arguments(args)),
    };
    let timeout = Refusal::of("ERR timeout is not an integer or out of range");
    let millis = parse_i64(args.at(2)).ok_or(timeout)?;
    if millis < 0 {
        return Err(Refusal::of("ERR timeout is negative"));
    }
    // A time out of range wraps into the past, as in Redis: no pause at all.
    let until = cx.now.wrapping_add(millis);
    cx.covered().iter().for_each(|node| node.pause.begin(cx.now, until, paused));
    out.ok();
    Ok(())
}

/// CLIENT UNBLOCK id [TIMEOUT|ERROR]
fn unblock(cx: &mut ServerCx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let ending = match args.len() {
        3 => Ending::TimedOut,
        4 if args.is(3, "timeout") => Ending::TimedOut,
        4 if args.is(3, "error") => Ending::Unblocked,
        4 => {
            return Err(Refusal::of("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR"));
        }
        _ => {
            let before = b"ERR unknown subcommand or wrong number of arguments for '";
            let name = until_nul(args.at(1));
            return Err(Refusal::new([before, name, b"'. Try CLIENT HELP."].concat()));
        }
    };
    let id = u64::try_from(args.int(2)?).ok();
    let client = id.and_then(|id| cx.node.client(id));
    out.int(client.is_some_and(|client| client.unblock(ending)).into());
    Ok(())
}

fn kill(cx: &mut ServerCx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    // The old form, CLIENT KILL addr:port, may also close this connection, and replies with OK.
    let is_old_form = args.len() == 3;
    let found = if is_old_form {
        let mut all = cx.node.clients();
        all.retain(|client| client.peer.to_string().as_bytes() == args.at(2));
        all
    } else {
        matching(cx, &Filter::parse(cx, args, Some(cx.me.id))?)
    };
    if is_old_form && found.is_empty() {
        return Err(Refusal::of("ERR No such client"));
    }
    for (i, client) in found.iter().enumerate() {
        if i % CLIENTS_PER_STEP == 0 {
            cx.pace.step(100);
        }
        if client.id == cx.me.id {
            client.close_after_reply();
        } else {
            client.close();
        }
    }
    if is_old_form {
        out.ok();
    } else {
        out.count(found.len());
    }
    Ok(())
}
