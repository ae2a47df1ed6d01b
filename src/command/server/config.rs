//! CONFIG: reads and changes the parameters of [`crate::state::settings`].

use super::super::spec::ON_ALL_NODES_SINCE_7_2;
use super::super::spec::flag::{LOADING, STALE};
use super::super::{Secret, help};
use super::*;
use crate::state::CommandStats;

/// Defaults of the subcommands' rows.
const CONFIG: Spec = Spec {
    parent: "config",
    arity: Exactly(2),
    flags: ADMIN | NOSCRIPT | LOADING | STALE,
    since: "2.0.0",
    ..SERVER
};

pub(super) const ROW: Spec = Spec {
    name: "config",
    arity: AtLeast(2),
    since: "2.0.0",
    complexity: "Depends on subcommand.",
    summary: "Holds the commands about the server's parameters.",
    subcommands: &[
        Spec {
            name: "get",
            arity: AtLeast(3),
            complexity: "O(N) when N is the number of configuration parameters provided",
            summary: "Returns the values of parameters, by name or glob pattern.",
            run: Run::Server(get),
            ..CONFIG
        },
        Spec {
            name: "set",
            arity: AtLeast(4),
            // Those that a product does not have are hidden, too: a client may set them all the same.
            secrets: &[
                secret_parameter("requirepass"),
                secret_parameter("masterauth"),
                secret_parameter("masteruser"),
                secret_parameter("primaryauth"),
                secret_parameter("primaryuser"),
                secret_parameter("tls-key-file-pass"),
                secret_parameter("tls-client-key-file-pass"),
            ],
            complexity: "O(N) when N is the number of configuration parameters provided",
            tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
            summary: "Changes parameters: all of the given ones, or none.",
            run: Run::Server(set),
            ..CONFIG
        },
        Spec {
            name: "resetstat",
            variants: ON_ALL_NODES_SINCE_7_2,
            summary: "Resets the counters that INFO shows.",
            flags: CONFIG.flags | ALL_DATABASES,
            run: Run::Cluster(resetstat),
            ..CONFIG
        },
        Spec {
            name: "rewrite",
            variants: ON_ALL_NODES_SINCE_7_2,
            since: "2.8.0",
            summary: "Refused: the server does not write configuration files.",
            run: Run::Server(|_, _, _| {
                Err(Refusal::of("ERR The server is running without a config file"))
            }),
            ..CONFIG
        },
        Spec {
            name: "help",
            flags: LOADING | STALE,
            since: "5.0.0",
            summary: "Lists the subcommands.",
            run: Run::Server(|cx, _, out| {
                help(&ROW, cx.product, out);
                Ok(())
            }),
            ..CONFIG
        },
    ],
    ..SERVER
};

/// The value of CONFIG SET's parameter of this name.
const fn secret_parameter(name: &'static str) -> Secret {
    Secret::After { word: name, from: 2, step: 2, count: 1 }
}

fn get(cx: &mut ServerCx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let found = cx.node.settings.get(args.from(2));
    out.map(found.len());
    for (name, value) in &found {
        out.bulk(name);
        match [&b"replicaof"[..], b"slaveof"].iter().any(|it| name.eq_ignore_ascii_case(it)) {
            true => out.bulk(master(cx).as_bytes()),
            false => out.bulk(value),
        }
    }
    Ok(())
}

/// The address of a replica's master, as `replicaof` has it; nothing at a master.
fn master(cx: &ServerCx<'_>) -> String {
    match cx.server.topology.replication_role(cx.port) {
        ReplicationRole::Master(_) => String::new(),
        ReplicationRole::ReplicaOf(master) => {
            let (host, port) = cx.server.announce.endpoint(master.port, cx.me.local);
            format!("{host} {port}")
        }
    }
}

fn set(cx: &mut ServerCx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    if !args.len().is_multiple_of(2) {
        return Err(Refusal::SYNTAX);
    }
    let pairs: Vec<_> =
        (2..args.len()).step_by(2).map(|at| (args.at(at), args.at(at + 1))).collect();
    cx.server.nodes.set(cx.port, &pairs).map_err(|error| Refusal::new(error.text()))?;
    out.ok();
    Ok(())
}

fn resetstat(cx: &mut ServerCx<'_>, _: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    for node in cx.covered() {
        node.stats.reset();
        node.settings.outbox_limits().reset_closed();
        node.observer.commandstats.each(CommandStats::reset);
        node.observer.slot_traffic.reset(|_| true);
    }
    cx.shards.iter_mut().for_each(|shard| shard.reset_counts());
    cx.tallies.iter_mut().for_each(|tally| tally.reset());
    out.ok();
    Ok(())
}
