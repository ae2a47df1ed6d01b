//! CLUSTER: the owners of slots and the nodes, and changes to them.
//!
//! ```text
//! cluster             the rows; changes: ADDSLOTS, MEET, REPLICATE, FAILOVER, RESET, …
//! cluster/show        the view of a node: SLOTS, SHARDS, NODES, INFO, LINKS
//! cluster/bus         the messages that INFO counts
//! cluster/set_slot    SETSLOT
//! cluster/slot_stats  SLOT-STATS
//! cluster/cluster_scan  CLUSTERSCAN
//! cluster/migrate     MIGRATE
//! cluster/migrateslots      MIGRATESLOTS, GETSLOTMIGRATIONS, CANCELSLOTMIGRATIONS
//! cluster/migration         CLUSTER MIGRATION
//! cluster/copy_events       the keyspace events of the keys' copies
//! cluster/atomic_migration  what a migration of whole slots does once it has begun
//! ```
//!
//! A node port replies for its node. The router port replies as the first node would, so that a
//! cluster client that is given its address finds the nodes. Commands that change a node are
//! refused there, as the router is not a node.

mod slot_argument;
mod bus;
mod show;
mod slot_stats;
mod cluster_scan;
mod flush_slot;
mod set_slot;
mod migrate;
mod migrateslots;
mod copy_events;
mod atomic_migration;
mod migration;

pub(super) use atomic_migration::end_flushed_migrations;
pub(crate) use atomic_migration::{advance_migrations, end_lost_migrations};
pub(super) use show::info_lines;
pub(crate) use slot_stats::forget_lost_slots;

use super::spec::flag::{ADMIN, FAST, LOADING, NO_ASYNC_LOADING, NOSCRIPT, STALE};
use super::spec::{
    Arity::{AtLeast, Exactly},
    BASE, Doc, Group, LOADING_IN_NEWEST, LOADING_IN_REDIS8_10, LOADING_SINCE_7_2, Run, SAME,
    SessionCommand, Spec, Variant, acl, check,
};
use super::{Args, Outcome, Refusal, ServerCx, help, too_many_arguments};
use crate::dialect::servers;
use crate::keyspace::Keyed;
use crate::resp::Sink;
use crate::slot::{SLOTS, Slot};
use crate::text::number::parse_i64;
use crate::topology::{NodeNumber, Port, TopologyError};
use slot_argument::slot;

/// Defaults of the subcommands' rows.
const QUERY: Spec = Spec {
    parent: "cluster",
    arity: Exactly(2),
    flags: STALE,
    group: Group::Cluster,
    since: "3.0.0",
    ..BASE
};
/// Defaults of the rows that change the cluster.
const CHANGE: Spec = Spec { flags: ADMIN | NO_ASYNC_LOADING | STALE, arity: Exactly(3), ..QUERY };

const VARYING: &[&str] = &["nondeterministic_output"];

/// Defaults of the rows that change how a node redirects this connection.
const REDIRECTION: Spec = Spec {
    arity: Exactly(1),
    flags: FAST | LOADING | STALE,
    acl: acl::CONNECTION,
    group: Group::Cluster,
    since: "3.0.0",
    ..BASE
};

pub(super) const ROWS: &[Spec] = &[
    Spec {
        name: "asking",
        flags: FAST,
        summary: "Makes a node serve the next request for a slot that it is importing.",
        run: Run::Session(SessionCommand::Asking),
        ..REDIRECTION
    },
    Spec {
        name: "readonly",
        summary: "Makes a replica serve this connection's reads.",
        run: Run::Session(SessionCommand::ReadOnly),
        ..REDIRECTION
    },
    Spec {
        name: "readwrite",
        summary: "Makes a replica redirect this connection's reads to its master again.",
        run: Run::Session(SessionCommand::ReadWrite),
        ..REDIRECTION
    },
    CLUSTER,
    cluster_scan::ROW,
    migrate::ROW,
];
const _: () = check(ROWS);

const CLUSTER: Spec = Spec {
    name: "cluster",
    arity: AtLeast(2),
    group: Group::Cluster,
    since: "3.0.0",
    complexity: "Depends on subcommand.",
    summary: "Holds the commands about the cluster.",
    subcommands: &[
        Spec {
            name: "addslots",
            arity: AtLeast(3),
            complexity: "O(N) where N is the total number of hash slot arguments",
            summary: "Assigns slots without an owner to this node.",
            run: Run::Whole(|cx, args, out| assign(cx, &slots(args)?, true, out)),
            ..CHANGE
        },
        Spec {
            name: "addslotsrange",
            arity: AtLeast(4),
            since: "7.0.0",
            complexity: "O(N) where N is the total number of the slots between the start slot and end slot arguments.",
            summary: "Assigns ranges of slots without an owner to this node.",
            run: Run::Whole(|cx, args, out| assign(cx, &ranges(args)?, true, out)),
            ..CHANGE
        },
        Spec {
            name: "bumpepoch",
            arity: Exactly(2),
            tips: VARYING,
            summary: "Raises this node's configuration epoch above all others.",
            run: Run::Server(bumpepoch),
            ..CHANGE
        },
        Spec {
            name: "count-failure-reports",
            variants: LOADING_IN_REDIS8_10,
            arity: Exactly(3),
            flags: ADMIN | STALE,
            tips: VARYING,
            complexity: "O(N) where N is the number of failure reports",
            summary: "Returns the number of failure reports about a node.",
            run: Run::Server(count_failure_reports),
            ..QUERY
        },
        Spec {
            name: "countkeysinslot",
            arity: Exactly(3),
            summary: "Returns the number of keys in a slot.",
            run: Run::Cluster(countkeysinslot),
            ..QUERY
        },
        Spec {
            name: "delslots",
            arity: AtLeast(3),
            complexity: "O(N) where N is the total number of hash slot arguments",
            summary: "Removes slots from their owners.",
            run: Run::Whole(|cx, args, out| assign(cx, &slots(args)?, false, out)),
            ..CHANGE
        },
        Spec {
            name: "delslotsrange",
            arity: AtLeast(4),
            since: "7.0.0",
            complexity: "O(N) where N is the total number of the slots between the start slot and end slot arguments.",
            summary: "Removes ranges of slots from their owners.",
            run: Run::Whole(|cx, args, out| assign(cx, &ranges(args)?, false, out)),
            ..CHANGE
        },
        Spec {
            name: "failover",
            arity: AtLeast(2),
            summary: "Promotes this replica to be the master.",
            run: Run::Whole(failover),
            ..CHANGE
        },
        Spec {
            name: "flushslots",
            arity: Exactly(2),
            summary: "Removes all slots from this node, which must have no keys.",
            run: Run::Whole(flushslots),
            ..CHANGE
        },
        Spec {
            name: "forget",
            summary: "Removes a node from those that this node knows.",
            run: Run::Whole(|cx, args, out| {
                let me = node(cx)?;
                done(cx.server.topology.forget(me, args.at(2)), out)
            }),
            ..CHANGE
        },
        Spec {
            name: "getkeysinslot",
            arity: Exactly(4),
            tips: VARYING,
            complexity: "O(log(N)) where N is the number of requested keys",
            summary: "Returns keys in a slot, up to a number.",
            run: Run::Cluster(getkeysinslot),
            ..QUERY
        },
        Spec {
            name: "help",
            flags: LOADING | STALE,
            since: "5.0.0",
            summary: "Lists the subcommands.",
            run: Run::Server(|cx, _, out| {
                help(&CLUSTER, cx.product, out);
                Ok(())
            }),
            ..QUERY
        },
        Spec {
            name: "info",
            variants: LOADING_IN_NEWEST,
            tips: VARYING,
            summary: "Returns the state of the cluster.",
            run: Run::Server(show::info),
            ..QUERY
        },
        Spec {
            name: "keyslot",
            variants: LOADING_IN_REDIS8_10,
            arity: Exactly(3),
            complexity: "O(N) where N is the number of bytes in the key",
            summary: "Returns the slot of a key.",
            run: Run::Server(|_, args, out| {
                out.int(Slot::of(args.at(2)).number().into());
                Ok(())
            }),
            ..QUERY
        },
        Spec {
            name: "links",
            variants: LOADING_IN_REDIS8_10,
            since: "7.0.0",
            tips: VARYING,
            complexity: "O(N) where N is the total number of Cluster nodes",
            summary: "Returns this node's links to the others.",
            run: Run::Server(show::links),
            ..QUERY
        },
        Spec {
            name: "meet",
            arity: AtLeast(4),
            summary: "Joins this node's cluster with that of another node of this process.",
            run: Run::Whole(meet),
            ..CHANGE
        },
        Spec {
            name: "myid",
            variants: LOADING_IN_NEWEST,
            summary: "Returns the id of this node.",
            run: Run::Server(|cx, _, out| {
                out.bulk(show::view(cx).myself().node.id.as_bytes());
                Ok(())
            }),
            ..QUERY
        },
        Spec {
            name: "myshardid",
            variants: LOADING_IN_NEWEST,
            servers: servers::SINCE_7_2,
            since: "7.2.0",
            tips: VARYING,
            summary: "Returns the shard id, which a master shares with its replicas.",
            run: Run::Server(|cx, _, out| {
                out.bulk(show::view(cx).myself().node.shard_id.as_bytes());
                Ok(())
            }),
            ..QUERY
        },
        Spec {
            name: "nodes",
            variants: LOADING_IN_NEWEST,
            tips: VARYING,
            complexity: "O(N) where N is the total number of Cluster nodes",
            summary: "Lists the nodes and their slots, a line each.",
            run: Run::Server(show::nodes),
            ..QUERY
        },
        Spec {
            name: "replicas",
            variants: LOADING_IN_REDIS8_10,
            arity: Exactly(3),
            flags: ADMIN | STALE,
            since: "5.0.0",
            tips: VARYING,
            summary: "Lists the replicas of a master.",
            run: Run::Server(show::replicas),
            ..QUERY
        },
        Spec {
            name: "replicate",
            variants: &[Variant { servers: servers::VALKEY9, arity: Some(AtLeast(3)), ..SAME }],
            summary: "Makes this node a replica of another.",
            run: Run::Whole(replicate),
            ..CHANGE
        },
        Spec {
            name: "reset",
            arity: AtLeast(2),
            flags: ADMIN | NOSCRIPT | STALE,
            complexity: "O(N) where N is the number of known nodes. The command may execute a FLUSHALL as a side effect.",
            summary: "Resets this node: it owns no slots and knows no other nodes.",
            run: Run::Whole(reset),
            ..CHANGE
        },
        Spec {
            name: "saveconfig",
            arity: Exactly(2),
            summary: "Does nothing: the configuration of a node is not saved.",
            run: Run::Server(|_, _, out| {
                out.ok();
                Ok(())
            }),
            ..CHANGE
        },
        Spec {
            name: "set-config-epoch",
            summary: "Sets the first configuration epoch of a node that knows no other nodes.",
            run: Run::Server(set_config_epoch),
            ..CHANGE
        },
        set_slot::ROW,
        Spec {
            name: "shards",
            variants: LOADING_SINCE_7_2,
            since: "7.0.0",
            tips: VARYING,
            complexity: "O(N) where N is the total number of cluster nodes",
            summary: "Returns the masters with their slots and replicas.",
            run: Run::Server(show::shards),
            ..QUERY
        },
        Spec {
            name: "slaves",
            variants: LOADING_IN_REDIS8_10,
            doc: Doc::nowhere("5.0.0", "`CLUSTER REPLICAS`"),
            arity: Exactly(3),
            flags: ADMIN | STALE,
            tips: VARYING,
            summary: "Lists the replicas of a master.",
            run: Run::Server(show::replicas),
            ..QUERY
        },
        flush_slot::ROW,
        migrateslots::MIGRATE,
        migrateslots::GET,
        migrateslots::CANCEL,
        migration::ROW,
        slot_stats::ROW,
        Spec {
            name: "slots",
            doc: Doc::not_in_redis("7.0.0", "`CLUSTER SHARDS`"),
            variants: LOADING_SINCE_7_2,
            tips: VARYING,
            complexity: "O(N) where N is the total number of Cluster nodes",
            summary: "Returns the ranges of slots with the nodes that serve them.",
            run: Run::Server(show::slots),
            ..QUERY
        },
    ],
    ..BASE
};

impl From<TopologyError> for Refusal {
    fn from(error: TopologyError) -> Self {
        Self::new(error.to_string())
    }
}

/// The node that a request changes.
fn node(cx: &ServerCx<'_>) -> Result<NodeNumber, Refusal> {
    match cx.port {
        Port::Node(node) => Ok(node),
        Port::Router => Err(Refusal::of(
            "ERR the router port is not a node: send this to a node port (CLUSTER SLOTS lists them)",
        )),
    }
}

fn done(outcome: Result<(), TopologyError>, out: &mut Sink<'_>) -> Outcome {
    outcome?;
    out.ok();
    Ok(())
}

fn slots(args: Args<'_>) -> Result<Vec<Slot>, Refusal> {
    args.from(2).map(slot).collect()
}

/// Pairs of first and last slot.
fn ranges(args: Args<'_>) -> Result<Vec<Slot>, Refusal> {
    if args.len() % 2 == 1 {
        return Err(Refusal::arity(&format!(
            "cluster|{}",
            String::from_utf8_lossy(args.at(1)).to_ascii_lowercase()
        )));
    }
    let mut all = Vec::new();
    for i in (2..args.len()).step_by(2) {
        let (first, last) = (slot(args.at(i))?, slot(args.at(i + 1))?);
        if first > last {
            return Err(Refusal::new(format!(
                "ERR start slot number {} is greater than end slot number {}",
                first.number(),
                last.number()
            )));
        }
        all.extend((first.number()..=last.number()).filter_map(Slot::new));
        if all.len() > 2 * SLOTS as usize {
            // Some slots occur twice, which is rejected later.
            break;
        }
    }
    Ok(all)
}

fn assign(cx: &mut ServerCx<'_>, slots: &[Slot], add: bool, out: &mut Sink<'_>) -> Outcome {
    let me = node(cx)?;
    if add {
        done(cx.server.topology.add_slots(me, slots), out)
    } else {
        done(cx.server.topology.del_slots(me, slots), out)
    }
}

/// Whether this node's shard holds a key.
fn has_keys(cx: &ServerCx<'_>, node: NodeNumber) -> bool {
    !cx.shards[cx.server.topology.shard_of_node(node)].is_empty()
}

fn flushslots(cx: &mut ServerCx<'_>, _: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let me = node(cx)?;
    done(cx.server.topology.flush_slots(me, has_keys(cx, me)), out)
}

fn bumpepoch(cx: &mut ServerCx<'_>, _: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let (bumped, epoch) = cx.server.topology.bump_epoch(node(cx)?);
    out.simple(&format!("{} {epoch}", if bumped { "BUMPED" } else { "STILL" }));
    Ok(())
}

fn set_config_epoch(cx: &mut ServerCx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let epoch = args.int(2)?;
    let epoch = u64::try_from(epoch)
        .map_err(|_| Refusal::new(format!("ERR Invalid config epoch specified: {epoch}")))?;
    done(cx.server.topology.set_epoch(node(cx)?, epoch), out)
}

fn count_failure_reports(cx: &mut ServerCx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let view = show::view(cx);
    if !view.nodes.iter().any(|node| node.node.id.as_bytes() == args.at(2)) {
        return Err(TopologyError::Unknown(args.at(2).to_vec()).into());
    }
    // All nodes share one topology: no node reports failures to another.
    out.int(0);
    Ok(())
}

/// CLUSTER MEET host port [bus-port]
fn meet(cx: &mut ServerCx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    if args.len() > 5 {
        return Err(too_many_arguments(args));
    }
    let me = node(cx)?;
    let text = |at: usize| String::from_utf8_lossy(args.at(at)).into_owned();
    let port = |at: usize, what: &str| {
        parse_i64(args.at(at))
            .ok_or_else(|| Refusal::new(format!("ERR Invalid {what} specified: {}", text(at))))
    };
    let number = port(3, "TCP base port")?;
    let bus = if args.len() == 5 { port(4, "TCP bus port")? } else { number };
    let host = text(2);
    let invalid =
        || Refusal::new(format!("ERR Invalid node address specified: {host}:{}", text(3)));
    host.parse::<std::net::IpAddr>().map_err(|_| invalid())?;
    let [number, _bus] = [number, bus].map(|port| u16::try_from(port).ok().filter(|&p| p != 0));
    let (Some(number), Some(_bus)) = (number, _bus) else { return Err(invalid()) };
    // A node is met at its advertised port.
    let met = cx.server.node_announced_at(number).map(|node| cx.server.topology.port_of(node));
    done(cx.server.topology.meet(me, &host, met.unwrap_or(number)), out)
}

fn replicate(cx: &mut ServerCx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let me = node(cx)?;
    done(cx.server.topology.replicate(me, args.at(2), has_keys(cx, me)), out)
}

/// CLUSTER FAILOVER [FORCE|TAKEOVER]
fn failover(cx: &mut ServerCx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let force = match args.len() {
        2 => false,
        3 if args.is(2, "force") || args.is(2, "takeover") => true,
        4.. => return Err(too_many_arguments(args)),
        _ => return Err(Refusal::SYNTAX),
    };
    done(cx.server.topology.fail_over(node(cx)?, force), out)
}

/// CLUSTER RESET [HARD|SOFT]
fn reset(cx: &mut ServerCx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let hard = match args.len() {
        2 => false,
        3 if args.is(2, "hard") => true,
        3 if args.is(2, "soft") => false,
        4.. => return Err(too_many_arguments(args)),
        _ => return Err(Refusal::SYNTAX),
    };
    let me = node(cx)?;
    let topology = &cx.server.topology;
    let was_replica = topology.is_replica(cx.port);
    topology.reset(me, hard, has_keys(cx, me))?;
    if was_replica {
        // A replica's keys were its master's.
        cx.shards[topology.shard_of_node(me)].clear();
    }
    out.ok();
    Ok(())
}

fn countkeysinslot(cx: &mut ServerCx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let number = args.int(2)?;
    let slot = u16::try_from(number).ok().and_then(Slot::new);
    let slot = slot.ok_or(Refusal::of("ERR Invalid slot"))?;
    out.count(cx.shards.iter().map(|shard| shard.slot_len(slot)).sum());
    Ok(())
}

fn getkeysinslot(cx: &mut ServerCx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let invalid = Refusal::of("ERR Invalid slot or number of keys");
    let (number, count) = (args.int(2)?, args.int(3)?);
    let slot = u16::try_from(number).ok().and_then(Slot::new);
    let (Some(slot), Ok(count)) = (slot, usize::try_from(count)) else { return Err(invalid) };
    let mut keys = Vec::new();
    for shard in &cx.shards {
        if keys.len() < count {
            shard.walk_slot(slot, |entry| {
                keys.push(entry.key());
                keys.len() < count
            });
        }
    }
    cx.pace.step(keys.len());
    out.array(keys.len());
    keys.into_iter().for_each(|key| out.bulk(key));
    Ok(())
}
