//! CLIENT: names of connections, lists of them, pausing, unblocking and closing them.

use super::super::spec::flag::{
    ADMIN, ALLOW_BUSY, KEEPS_CACHING, LABELS_CLIENT, LOADING, NO_MULTI, NOSCRIPT, STALE,
};
use super::super::spec::{
    Arity::AtLeast, Arity::Exactly, BASE, BUSY_IN_VALKEY, Group, ON_ALL_NODES_SINCE_7_2, Run, SAME,
    SessionCommand, Spec, Variant, acl,
};
use super::super::{Args, Outcome, Refusal, ServerCx, help, too_many_arguments};
use super::tracking::{redirection, trackinginfo};
use crate::dialect::servers;
use crate::keyspace::Millis;
use crate::resp::{Sink, until_nul};
use crate::state::Paused;
use crate::state::clients::{Client, Ending, Label, Outbox, TrackingMode};
use crate::text::number::parse_i64;
use std::io::Write;
use std::net::SocketAddr;
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
            summary: "Lists connections, all or by type or id.",
            run: Run::Server(list),
            ..CLIENT
        },
        Spec {
            name: "kill",
            arity: AtLeast(3),
            flags: ADMIN | NOSCRIPT | LOADING | STALE | KEEPS_CACHING,
            since: "2.4.0",
            complexity: "O(N) where N is the number of client connections",
            summary: "Closes connections, by address, id, type or user.",
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
    describe(cx.me, cx.now, &mut text);
    out.verbatim(*b"txt", &text);
    Ok(())
}

fn list(cx: &mut ServerCx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let shown = if args.len() == 2 {
        cx.node.clients()
    } else if args.len() == 4 && args.is(2, "type") {
        let kind = Kind::parse(args.at(3))?;
        let mut all = cx.node.clients();
        all.retain(|client| Kind::of(client) == kind);
        all
    } else if args.len() > 3 && args.is(2, "id") {
        let invalid = || Refusal::of("ERR Invalid client ID");
        let ids = args
            .from(3)
            .map(|id| parse_i64(id).ok_or_else(invalid))
            .collect::<Result<Vec<_>, _>>()?;
        let found = ids.into_iter().filter_map(|id| cx.node.client(u64::try_from(id).ok()?));
        found.collect()
    } else {
        return Err(Refusal::SYNTAX);
    };
    let mut text = Vec::new();
    for (i, client) in shown.iter().enumerate() {
        if i % CLIENTS_PER_STEP == 0 {
            cx.pace.step(1000);
        }
        describe(client, cx.now, &mut text);
    }
    out.verbatim(*b"txt", &text);
    Ok(())
}

/// Appends a client's line of CLIENT LIST.
fn describe(client: &Client, now: Millis, text: &mut Vec<u8>) {
    let Client { id, peer, local, fd, connected_at, .. } = client;
    let (at, labels, listening) =
        (client.activity(), client.labels(), client.subscription_counts());
    let seconds_since = |then: Millis| (now - then).max(0) / 1000;
    let (mode, redir) = (client.tracking(), redirection(client));
    let mut flags = String::new();
    for (letter, is_set) in [
        ('O', at.monitors),
        ('P', !listening.is_empty()),
        ('x', at.queued.is_some()),
        ('b', at.blocked),
        ('t', mode.has(TrackingMode::ON)),
        ('R', mode.has(TrackingMode::BROKEN)),
        ('B', mode.has(TrackingMode::BCAST)),
        ('d', at.dirty),
        ('c', client.is_closing()),
        ('r', client.reads_replicas()),
        ('e', client.no_evict()),
        ('T', client.no_touch()),
    ] {
        if is_set {
            flags.push(letter);
        }
    }
    if flags.is_empty() {
        flags.push('N');
    }
    let queued = at.queued.map_or(-1, i64::from);
    let unsent = client.outbox().map_or(at.unsent, Outbox::waiting);
    let total = client.memory();
    let events = if unsent > 0 { "rw" } else { "r" };
    let command = match (at.container, at.command) {
        ("", "") => "NULL".to_owned(),
        ("", command) => command.to_owned(),
        (container, command) => format!("{container}|{command}"),
    };
    // Writing into memory does not fail. A field that is always 0 is for something that Slotway
    // does not have, such as buffers kept between batches.
    let _ = write!(text, "id={id} addr={peer} laddr={local} fd={fd} name=");
    text.extend(&*labels.name);
    let _ = write!(
        text,
        " age={} idle={} flags={flags} db={} sub={} psub={} ssub={} multi={queued} watch={} qbuf={} qbuf-free={} \
         argv-mem=0 multi-mem={} rbs=0 rbp=0 obl={} oll=0 omem={} tot-mem={total} events={events} cmd={command} \
         user=default redir={redir} resp={}",
        seconds_since(*connected_at),
        seconds_since(at.last_active),
        client.database(),
        listening.channels,
        listening.patterns,
        listening.shard_channels,
        at.watched,
        at.unread,
        at.unread_room,
        at.queued_bytes,
        unsent,
        unsent,
        at.resp,
    );
    for (label, value) in [(" lib-name=", &labels.lib_name), (" lib-ver=", &labels.lib_ver)] {
        if !value.is_empty() {
            text.extend(label.as_bytes());
            text.extend(&**value);
        }
    }
    text.push(b'\n');
}

/// The types of clients in filters.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Normal,
    /// No client is one: replicas have no connection to their master.
    Master,
    Replica,
    Pubsub,
}

impl Kind {
    fn of(client: &Client) -> Self {
        if client.subscription_counts().is_empty() { Self::Normal } else { Self::Pubsub }
    }

    fn parse(name: &[u8]) -> Result<Self, Refusal> {
        match &*name.to_ascii_lowercase() {
            b"normal" => Ok(Self::Normal),
            b"master" => Ok(Self::Master),
            b"slave" | b"replica" => Ok(Self::Replica),
            b"pubsub" => Ok(Self::Pubsub),
            _ => Err(Refusal::new([b"ERR Unknown client type '", until_nul(name), b"'"].concat())),
        }
    }
}

/// Which clients CLIENT KILL closes: those that match every filter.
#[derive(Default)]
struct Filter<'a> {
    id: Option<u64>,
    kind: Option<Kind>,
    peer: Option<&'a [u8]>,
    local: Option<&'a [u8]>,
    /// The client with this id is skipped: the one that sends the command, unless SKIPME no.
    skipped: Option<u64>,
}

impl<'a> Filter<'a> {
    fn parse(args: Args<'a>, me: &Client) -> Result<Self, Refusal> {
        let mut filter = Self { skipped: Some(me.id), ..Self::default() };
        let mut at = 2;
        while at < args.len() {
            let value = args.get(at + 1).ok_or(Refusal::SYNTAX)?;
            if args.is(at, "id") {
                let id =
                    parse_i64(value).and_then(|id| u64::try_from(id).ok()).filter(|&id| id > 0);
                filter.id = Some(id.ok_or(Refusal::of("ERR client-id should be greater than 0"))?);
            } else if args.is(at, "type") {
                filter.kind = Some(Kind::parse(value)?);
            } else if args.is(at, "addr") {
                filter.peer = Some(value);
            } else if args.is(at, "laddr") {
                filter.local = Some(value);
            } else if args.is(at, "user") {
                // Every client is the default user, the only one.
                if value != b"default" {
                    return Err(Refusal::new(
                        [b"ERR No such user '", until_nul(value), b"'"].concat(),
                    ));
                }
            } else if args.is(at, "skipme") && value.eq_ignore_ascii_case(b"yes") {
                filter.skipped = Some(me.id);
            } else if args.is(at, "skipme") && value.eq_ignore_ascii_case(b"no") {
                filter.skipped = None;
            } else {
                return Err(Refusal::SYNTAX);
            }
            at += 2;
        }
        Ok(filter)
    }

    fn fits(&self, client: &Client) -> bool {
        let is = |address: SocketAddr, text: &[u8]| address.to_string().as_bytes() == text;
        self.skipped != Some(client.id)
            && self.id.is_none_or(|id| id == client.id)
            && self.kind.is_none_or(|kind| kind == Kind::of(client))
            && self.peer.is_none_or(|text| is(client.peer, text))
            && self.local.is_none_or(|text| is(client.local, text))
    }
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
    let filter = if is_old_form {
        Filter { peer: Some(args.at(2)), ..Filter::default() }
    } else {
        Filter::parse(args, cx.me)?
    };
    let named = |id| cx.node.client(id).into_iter().collect();
    let mut found: Vec<Arc<Client>> = filter.id.map_or_else(|| cx.node.clients(), named);
    found.retain(|client| filter.fits(client));
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
