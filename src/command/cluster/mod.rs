//! CLUSTER: who owns which slot, and how that changes.
//!
//! ```text
//! cluster         the rows; slots counted, assigned, moved; nodes met, forgotten, replaced
//! cluster/show    the cluster told: SLOTS, SHARDS, NODES, INFO, LINKS
//! cluster/migrate keys moved from one node to another
//! ```
//!
//! A node port answers for its node. The router port answers as the first node would, so that a
//! cluster client which is given that address finds the nodes; what changes a node is refused
//! there, as there is no node to change.

mod migrate;
mod show;

use super::spec::flag::{ADMIN, FAST, LOADING, NO_ASYNC_LOADING, NOSCRIPT, STALE};
use super::spec::{
    Arity::{AtLeast, Exactly},
    BASE, Group, Run, SessionCommand, Spec, acl, check,
};
use super::{Args, Outcome, Refusal, ServerCx, help, too_many_arguments};
use crate::keyspace::Keyed;
use crate::resp::Sink;
use crate::slot::{SLOTS, Slot};
use crate::text::number::parse_i64;
use crate::topology::{NodeNumber, Port, TopologyError};

/// What the subcommands' rows share.
const ASKS: Spec = Spec {
    parent: "cluster",
    arity: Exactly(2),
    flags: STALE,
    group: Group::Cluster,
    since: "3.0.0",
    ..BASE
};
/// What the rows share that change something.
const CHANGES: Spec = Spec { flags: ADMIN | NO_ASYNC_LOADING | STALE, arity: Exactly(3), ..ASKS };

const VARYING: &[&str] = &["nondeterministic_output"];

/// What the rows share that say how a client's next requests come to their slots.
const COMES: Spec = Spec {
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
        summary: "Has a node that takes a slot over serve the next request for it.",
        run: Run::Session(SessionCommand::Asking),
        ..COMES
    },
    Spec {
        name: "readonly",
        summary: "Has a replica answer this connection's reads.",
        run: Run::Session(SessionCommand::ReadOnly),
        ..COMES
    },
    Spec {
        name: "readwrite",
        summary: "Has a replica send this connection's reads to its master again.",
        run: Run::Session(SessionCommand::ReadWrite),
        ..COMES
    },
    CLUSTER,
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
            summary: "Gives slots that nobody owns to this node.",
            run: Run::Whole(|cx, args, out| assign(cx, &slots(args)?, true, out)),
            ..CHANGES
        },
        Spec {
            name: "addslotsrange",
            arity: AtLeast(4),
            since: "7.0.0",
            complexity: "O(N) where N is the total number of the slots between the start slot and end slot arguments.",
            summary: "Gives runs of slots that nobody owns to this node.",
            run: Run::Whole(|cx, args, out| assign(cx, &ranges(args)?, true, out)),
            ..CHANGES
        },
        Spec {
            name: "bumpepoch",
            arity: Exactly(2),
            tips: VARYING,
            summary: "Gives this node the latest configuration epoch.",
            run: Run::Server(bumpepoch),
            ..CHANGES
        },
        Spec {
            name: "count-failure-reports",
            arity: Exactly(3),
            flags: ADMIN | STALE,
            tips: VARYING,
            complexity: "O(N) where N is the number of failure reports",
            summary: "Counts the nodes that say of a node that it failed.",
            run: Run::Server(count_failure_reports),
            ..ASKS
        },
        Spec {
            name: "countkeysinslot",
            arity: Exactly(3),
            summary: "Counts the keys of a slot.",
            run: Run::Cluster(countkeysinslot),
            ..ASKS
        },
        Spec {
            name: "delslots",
            arity: AtLeast(3),
            complexity: "O(N) where N is the total number of hash slot arguments",
            summary: "Takes slots from their owner.",
            run: Run::Whole(|cx, args, out| assign(cx, &slots(args)?, false, out)),
            ..CHANGES
        },
        Spec {
            name: "delslotsrange",
            arity: AtLeast(4),
            since: "7.0.0",
            complexity: "O(N) where N is the total number of the slots between the start slot and end slot arguments.",
            summary: "Takes runs of slots from their owners.",
            run: Run::Whole(|cx, args, out| assign(cx, &ranges(args)?, false, out)),
            ..CHANGES
        },
        Spec {
            name: "failover",
            arity: AtLeast(2),
            summary: "Puts this replica in its master's place.",
            run: Run::Whole(failover),
            ..CHANGES
        },
        Spec {
            name: "flushslots",
            arity: Exactly(2),
            summary: "Takes all slots from this node, which must hold no keys.",
            run: Run::Whole(flushslots),
            ..CHANGES
        },
        Spec {
            name: "forget",
            summary: "Strikes a node from those that this node has met.",
            run: Run::Whole(|cx, args, out| {
                let me = node(cx)?;
                done(cx.server.topology.forget(me, args.at(2)), out)
            }),
            ..CHANGES
        },
        Spec {
            name: "getkeysinslot",
            arity: Exactly(4),
            tips: VARYING,
            complexity: "O(log(N)) where N is the number of requested keys",
            summary: "Names some keys of a slot.",
            run: Run::Cluster(getkeysinslot),
            ..ASKS
        },
        Spec {
            name: "help",
            flags: LOADING | STALE,
            since: "5.0.0",
            summary: "Lists the subcommands.",
            run: Run::Server(|_, _, out| {
                help(&CLUSTER, out);
                Ok(())
            }),
            ..ASKS
        },
        Spec {
            name: "info",
            tips: VARYING,
            summary: "Tells how the cluster is.",
            run: Run::Server(show::info),
            ..ASKS
        },
        Spec {
            name: "keyslot",
            arity: Exactly(3),
            complexity: "O(N) where N is the number of bytes in the key",
            summary: "Tells the slot of a key.",
            run: Run::Server(|_, args, out| {
                out.int(Slot::of(args.at(2)).number().into());
                Ok(())
            }),
            ..ASKS
        },
        Spec {
            name: "links",
            since: "7.0.0",
            tips: VARYING,
            complexity: "O(N) where N is the total number of Cluster nodes",
            summary: "Tells this node's links to the others.",
            run: Run::Server(show::links),
            ..ASKS
        },
        Spec {
            name: "meet",
            arity: AtLeast(4),
            summary: "Brings this node's cluster together with that of another node of this process.",
            run: Run::Whole(meet),
            ..CHANGES
        },
        Spec {
            name: "myid",
            summary: "Tells this node's id.",
            run: Run::Server(|cx, _, out| {
                out.bulk(show::view(cx).myself().node.id.as_bytes());
                Ok(())
            }),
            ..ASKS
        },
        Spec {
            name: "myshardid",
            since: "7.2.0",
            tips: VARYING,
            summary: "Tells the id that this node shares with its replicas.",
            run: Run::Server(|cx, _, out| {
                out.bulk(show::view(cx).myself().node.shard_id.as_bytes());
                Ok(())
            }),
            ..ASKS
        },
        Spec {
            name: "nodes",
            tips: VARYING,
            complexity: "O(N) where N is the total number of Cluster nodes",
            summary: "Tells the nodes and their slots, a line each.",
            run: Run::Server(show::nodes),
            ..ASKS
        },
        Spec {
            name: "replicas",
            arity: Exactly(3),
            flags: ADMIN | STALE,
            since: "5.0.0",
            tips: VARYING,
            summary: "Tells the replicas of a master.",
            run: Run::Server(show::replicas),
            ..ASKS
        },
        Spec {
            name: "replicate",
            summary: "Makes this node a replica of another.",
            run: Run::Whole(replicate),
            ..CHANGES
        },
        Spec {
            name: "reset",
            arity: AtLeast(2),
            flags: ADMIN | NOSCRIPT | STALE,
            complexity: "O(N) where N is the number of known nodes. The command may execute a FLUSHALL as a side effect.",
            summary: "Makes this node one that owns nothing and has met nobody.",
            run: Run::Whole(reset),
            ..CHANGES
        },
        Spec {
            name: "saveconfig",
            arity: Exactly(2),
            summary: "Saves the node's configuration, of which nothing is kept here.",
            run: Run::Server(|_, _, out| {
                out.ok();
                Ok(())
            }),
            ..CHANGES
        },
        Spec {
            name: "set-config-epoch",
            summary: "Gives a node that has met nobody its first configuration epoch.",
            run: Run::Server(set_config_epoch),
            ..CHANGES
        },
        Spec {
            name: "setslot",
            arity: AtLeast(4),
            summary: "Says where a slot is on its way to or from, or whose it is.",
            run: Run::Whole(setslot),
            ..CHANGES
        },
        Spec {
            name: "shards",
            since: "7.0.0",
            tips: VARYING,
            complexity: "O(N) where N is the total number of cluster nodes",
            summary: "Tells the masters with their slots and replicas.",
            run: Run::Server(show::shards),
            ..ASKS
        },
        Spec {
            name: "slaves",
            arity: Exactly(3),
            flags: ADMIN | STALE,
            tips: VARYING,
            summary: "Tells the replicas of a master.",
            run: Run::Server(show::replicas),
            ..ASKS
        },
        Spec {
            name: "slot-stats",
            arity: AtLeast(4),
            since: "8.0.0",
            tips: &["nondeterministic_output", "request_policy:all_shards"],
            complexity: "O(N) where N is the total number of slots based on arguments. O(N*log(N)) with ORDERBY subcommand.",
            summary: "Counts the keys of slots: of a run of them, or of those that have the most.",
            run: Run::Cluster(slot_stats),
            ..ASKS
        },
        Spec {
            name: "slots",
            tips: VARYING,
            complexity: "O(N) where N is the total number of Cluster nodes",
            summary: "Tells which slots are served where.",
            run: Run::Server(show::slots),
            ..ASKS
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
            "ERR the router port is no node: send this to a node port (CLUSTER SLOTS tells them)",
        )),
    }
}

fn done(outcome: Result<(), TopologyError>, out: &mut Sink<'_>) -> Outcome {
    outcome?;
    out.ok();
    Ok(())
}

fn slot(text: &[u8]) -> Result<Slot, Refusal> {
    let number = parse_i64(text).and_then(|number| u16::try_from(number).ok());
    number.and_then(Slot::new).ok_or(Refusal::of("ERR Invalid or out of range slot"))
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
            // Some stand there twice, which is found out below.
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

/// CLUSTER SETSLOT slot MIGRATING|IMPORTING|NODE id, CLUSTER SETSLOT slot STABLE
fn setslot(cx: &mut ServerCx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let me = node(cx)?;
    let topology = &cx.server.topology;
    if topology.is_replica(cx.port) {
        return Err(Refusal::of("ERR Please use SETSLOT only with masters."));
    }
    let slot = slot(args.at(2))?;
    match args.len() {
        5 if args.is(3, "migrating") => topology.set_migrating(me, slot, args.at(4))?,
        5 if args.is(3, "importing") => topology.set_importing(me, slot, args.at(4))?,
        4 if args.is(3, "stable") => topology.set_stable(me, slot),
        5 if args.is(3, "node") => {
            let keys = cx.shards[topology.shard_of_node(me)].slot_len(slot);
            let owner = topology.owner_of(slot);
            let before = owner.map(|owner| topology.shard_of_node(owner));
            topology.assign(me, slot, args.at(4), keys)?;
            // Who has lost a slot forgets the keys that did not leave in time, as in Redis; who has
            // become a replica, all.
            if let Some(shard) = before.filter(|&shard| shard != topology.shard_of(slot)) {
                cx.shards[shard].clear_slot(slot);
            }
            if topology.is_replica(cx.port) {
                cx.shards[topology.node(me).own_shard].clear();
            }
        }
        _ => {
            return Err(Refusal::of(
                "ERR Invalid CLUSTER SETSLOT action or number of arguments. Try CLUSTER HELP",
            ));
        }
    }
    out.ok();
    Ok(())
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
    // One map for all: nobody has to be told that a node failed.
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
    // A node is met under the port that it is told with.
    done(cx.server.topology.meet(me, &host, cx.server.announce.listening_port(number)), out)
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
        // What it had of its master is not its own.
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

/// CLUSTER SLOT-STATS SLOTSRANGE first last
/// CLUSTER SLOT-STATS ORDERBY KEY-COUNT [LIMIT limit] [ASC|DESC]
///
/// As Valkey 8 answers it; of its metrics there is the one that costs nothing.
fn slot_stats(cx: &mut ServerCx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let keys = |slot| cx.shards.iter().map(|shard| shard.slot_len(slot)).sum::<usize>();
    let is_ours = |&slot: &Slot| match cx.port {
        Port::Router => cx.server.topology.owner_of(slot).is_some(),
        Port::Node(node) => cx.server.topology.owner_of(slot) == Some(node),
    };
    let mut delivered: Vec<(Slot, usize)> = if args.is(2, "slotsrange") && args.len() == 5 {
        let (first, last) = (slot(args.at(3))?, slot(args.at(4))?);
        if first > last {
            return Err(Refusal::new(format!(
                "ERR Start slot number {} is greater than end slot number {}",
                first.number(),
                last.number()
            )));
        }
        let run = (first.number()..=last.number()).filter_map(Slot::new);
        run.filter(is_ours).map(|slot| (slot, keys(slot))).collect()
    } else if args.is(2, "orderby") {
        if !args.is(3, "key-count") {
            return Err(Refusal::of("ERR Unrecognized sort metric for ORDERBY."));
        }
        let (mut limit, mut ascends, mut i) = (None, None, 4);
        while i < args.len() {
            let again = Refusal::of("ERR Multiple filters of the same type are disallowed.");
            if args.is(i, "limit") && i + 1 < args.len() {
                let wanted = parse_i64(args.at(i + 1)).and_then(|n| usize::try_from(n).ok());
                let wanted = wanted.filter(|n| (1..=SLOTS as usize).contains(n));
                let wanted = wanted.ok_or(Refusal::of(
                    "ERR Limit has to lie in between 1 and 16384 (maximum number of slots).",
                ))?;
                if limit.replace(wanted).is_some() {
                    return Err(again);
                }
                i += 1;
            } else if args.is(i, "asc") || args.is(i, "desc") {
                if ascends.replace(args.is(i, "asc")).is_some() {
                    return Err(again);
                }
            } else {
                return Err(Refusal::SYNTAX);
            }
            i += 1;
        }
        let (limit, ascends) = (limit.unwrap_or(SLOTS as usize), ascends.unwrap_or(false));
        let mut all: Vec<_> = Slot::all().filter(is_ours).map(|slot| (slot, keys(slot))).collect();
        // Stable: slots with as many keys stay in their order.
        all.sort_by(|a, b| if ascends { a.1.cmp(&b.1) } else { b.1.cmp(&a.1) });
        all.truncate(limit);
        all
    } else {
        return Err(too_many_arguments(args));
    };
    cx.pace.step(SLOTS as usize);
    out.array(delivered.len());
    for (slot, keys) in delivered.drain(..) {
        out.array(2);
        out.int(slot.number().into());
        out.map(1);
        out.bulk(b"key-count");
        out.count(keys);
    }
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
            shard.walk_slot(slot, usize::MAX, |entry| {
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
