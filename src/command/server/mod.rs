//! Commands on the server as a whole: its size, its time, its role, flushing it, stopping it.
//! CONFIG, INFO, SLOWLOG, COMMANDLOG, LATENCY, MEMORY and DEBUG have a file each.

mod config;
mod info;
mod slowlog;
mod commandlog;
mod latency;
mod memory;
mod debug;
mod refused;

use super::cluster::end_flushed_migrations;
use super::script::shards_in_view;
use super::slotway::stop_node;
use super::spec::flag::{
    ADMIN, ALL_DATABASES, ALLOW_BUSY, FAST, LOADING, NO_ASYNC_LOADING, NO_MULTI, NODE_LOCAL,
    NOSCRIPT, READ, STALE, WRITE,
};
use super::spec::{
    Arity::AtLeast, Arity::Exactly, BASE, Doc, Group, Run, SessionCommand, Spec, acl, check,
};
use super::{Args, Outcome, Refusal, ServerCx};
use crate::replication::ReplicaStatus;
use crate::resp::{Sink, until_nul};
use crate::state::VERSION;
use crate::text::number::parse_i64;
use crate::topology::{Node, Port, ReplicationRole};

/// Defaults of the rows.
const SERVER: Spec = Spec { group: Group::Server, ..BASE };

/// Defaults of FLUSHALL and FLUSHDB.
const FLUSH: Spec = Spec {
    arity: AtLeast(1),
    flags: WRITE | NODE_LOCAL,
    acl: acl::KEYSPACE | acl::DANGEROUS,
    tips: &["request_policy:all_shards", "response_policy:all_succeeded"],
    run: Run::Cluster(flush),
    ..SERVER
};

pub(super) const ROWS: &[Spec] = &[
    Spec {
        name: "dbsize",
        arity: Exactly(1),
        flags: READ | FAST | NODE_LOCAL,
        acl: acl::KEYSPACE,
        tips: &["request_policy:all_shards", "response_policy:agg_sum"],
        summary: "Returns the number of keys.",
        run: Run::Cluster(dbsize),
        ..SERVER
    },
    Spec {
        name: "flushall",
        flags: FLUSH.flags | ALL_DATABASES,
        complexity: "O(N) where N is the total number of keys in all databases",
        summary: "Removes all keys of all databases.",
        ..FLUSH
    },
    Spec {
        name: "flushdb",
        complexity: "O(N) where N is the number of keys in the selected database",
        summary: "Removes all keys of the selected database.",
        ..FLUSH
    },
    Spec {
        name: "time",
        arity: Exactly(1),
        flags: LOADING | STALE | FAST,
        since: "2.6.0",
        tips: &["nondeterministic_output"],
        summary: "Returns the Unix time in seconds, and the microseconds of that second.",
        run: Run::Server(time),
        ..SERVER
    },
    Spec {
        name: "lastsave",
        arity: Exactly(1),
        flags: LOADING | STALE | FAST,
        acl: acl::ADMIN | acl::DANGEROUS,
        tips: &["nondeterministic_output"],
        summary: "Returns the Unix time of the last save: here, the start of the server.",
        run: Run::Server(lastsave),
        ..SERVER
    },
    Spec {
        name: "monitor",
        arity: Exactly(1),
        flags: ADMIN | NOSCRIPT | LOADING | STALE,
        complexity: "",
        summary: "Streams all commands that run to this connection, until RESET.",
        run: Run::Session(SessionCommand::Monitor),
        ..SERVER
    },
    Spec {
        name: "role",
        arity: Exactly(1),
        flags: NOSCRIPT | LOADING | STALE | FAST,
        acl: acl::ADMIN | acl::DANGEROUS,
        since: "2.8.12",
        summary: "Returns the role in replication, with the replicas or the master.",
        run: Run::Server(role),
        ..SERVER
    },
    Spec {
        name: "shutdown",
        arity: AtLeast(1),
        flags: ADMIN | NOSCRIPT | LOADING | STALE | NO_MULTI | ALLOW_BUSY,
        complexity: "O(N) when saving, where N is the total number of keys in all databases when saving data, \
                     otherwise O(1)",
        summary: "Stops the node, or at the router port the process, after the running requests. Data are not saved.",
        run: Run::Whole(shutdown),
        ..SERVER
    },
    Spec {
        name: "lolwut",
        arity: AtLeast(1),
        flags: READ | FAST,
        since: "5.0.0",
        complexity: "",
        summary: "Returns the version, with a picture of the slots.",
        run: Run::Server(lolwut),
        ..SERVER
    },
    info::ROW,
    commandlog::ROW,
    config::ROW,
    slowlog::ROW,
    latency::ROW,
    memory::ROW,
    debug::ROW,
    refused::REPLICAOF_ROW,
    refused::SLAVEOF_ROW,
    refused::FAILOVER_ROW,
    refused::MODULE_ROW,
];
const _: () = check(ROWS);

fn dbsize(cx: &mut ServerCx<'_>, _: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    out.count(cx.shards.iter().map(|shard| shard.len()).sum());
    Ok(())
}

fn flush(cx: &mut ServerCx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    // Both modes are the same here: large values are always freed on another thread.
    if args.len() > 2 || (args.len() == 2 && !args.is(1, "async") && !args.is(1, "sync")) {
        return Err(Refusal::SYNTAX);
    }
    for shard in &mut cx.shards {
        shard.clear();
    }
    end_flushed_migrations(cx.server, &cx.view, cx.now);
    out.ok();
    Ok(())
}

fn time(cx: &mut ServerCx<'_>, _: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    out.array(2);
    out.bulk_int(cx.now.div_euclid(1000));
    out.bulk_int(cx.now.rem_euclid(1000) * 1000);
    Ok(())
}

fn role(cx: &mut ServerCx<'_>, _: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let endpoint = |port| cx.server.announce.endpoint(port, cx.me.local);
    let standing = |node: &Node| standing(cx, node);
    match cx.server.topology.replication_role(cx.port) {
        ReplicationRole::Master(replicas) => {
            out.array(3);
            out.bulk(b"master");
            out.int(master_offset(&replicas, standing));
            out.array(replicas.len());
            for replica in replicas {
                let (host, port) = endpoint(replica.port);
                out.array(3);
                out.bulk(host.as_bytes());
                out.bulk(port.to_string().as_bytes());
                out.bulk(standing(&replica).applied.to_string().as_bytes());
            }
        }
        ReplicationRole::ReplicaOf(master) => {
            let (host, port) = endpoint(master.port);
            out.array(5);
            out.bulk(b"slave");
            out.bulk(host.as_bytes());
            out.int(port.into());
            out.bulk(if master.is_up { b"connected" } else { b"connect" });
            out.int(own_standing(cx).applied as i64);
        }
    }
    Ok(())
}

/// How much of the stream a replica has applied; all zero without a lag.
fn standing(cx: &ServerCx<'_>, replica: &Node) -> ReplicaStatus {
    cx.server
        .replication_streams
        .of_shard(replica.shard)
        .map_or(ReplicaStatus::default(), |feed| feed.status(cx.now))
}

/// The same for the node of the client's port.
fn own_standing(cx: &ServerCx<'_>) -> ReplicaStatus {
    match cx.port {
        Port::Node(me) => standing(cx, &cx.server.topology.node(me)),
        Port::Router => ReplicaStatus::default(),
    }
}

/// The replication offset of a master: the furthest that was written for any of its replicas.
fn master_offset(replicas: &[Node], standing: impl Fn(&Node) -> ReplicaStatus) -> i64 {
    replicas.iter().map(|replica| standing(replica).written).max().unwrap_or(0) as i64
}

/// SHUTDOWN [NOSAVE|SAVE] [NOW] [FORCE] [ABORT]
fn shutdown(cx: &mut ServerCx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let is_given = |word: &str| (1..args.len()).any(|at| args.is(at, word));
    let known = ["nosave", "save", "now", "force", "abort"];
    let is_known = |at: usize| known.iter().any(|word| args.is(at, word));
    let others = ["nosave", "save", "now", "force"].iter().any(|word| is_given(word));
    if !(1..args.len()).all(is_known)
        || (is_given("nosave") && is_given("save"))
        || (is_given("abort") && others)
    {
        return Err(Refusal::SYNTAX);
    }
    if is_given("abort") {
        return Err(Refusal::of("ERR No shutdown in progress."));
    }
    if cx.shards.is_empty() {
        // Scripts keep the shards busy.
        let (running, view) = (&cx.server.running_scripts, shards_in_view(cx));
        if let Some(kind) = running.busy_of(view.clone()).filter(|_| !is_given("nosave")) {
            return Err(Refusal::busy(kind));
        }
        running.stop(view);
        return Ok(());
    }
    if is_given("save") {
        // There is nowhere to save to: the server keeps running rather than lose the data.
        return Err(Refusal::of("ERR Errors trying to SHUTDOWN. Check logs."));
    }
    tracing::info!(client = cx.me.id, port = ?cx.port, "SHUTDOWN received");
    match cx.port {
        Port::Router => cx.server.shutdown.request(),
        // The other nodes go on, as the processes that they stand for would.
        Port::Node(node) => stop_node(cx, node)?,
    }
    cx.me.close_after_reply();
    let _no_reply = out;
    Ok(())
}

/// LOLWUT [VERSION version [argument ...]]: a bar of the slots, shaded by shard.
fn lolwut(cx: &mut ServerCx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    const COLUMNS: usize = 64;
    const SHADES: [char; 4] = ['\u{2591}', '\u{2592}', '\u{2593}', '\u{2588}'];
    for at in (1..args.len()).skip(1) {
        if args.is(1, "version") {
            args.int(at)?;
        }
    }
    let shade = |column: usize| SHADES[column * cx.server.identity.shards / COLUMNS % SHADES.len()];
    let slots: String = (0..COLUMNS).map(shade).collect();
    let text = format!("{slots}\nSlotway {VERSION}. Redis ver. {}\n", cx.product.redis_version);
    out.verbatim(*b"txt", text.as_bytes());
    Ok(())
}

fn lastsave(cx: &mut ServerCx<'_>, _: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    out.int(cx.server.identity.started_at / 1000);
    Ok(())
}
