//! The cluster as a node sees it, in the forms that clients and tools read: SLOTS, SHARDS, NODES,
//! REPLICAS, INFO, LINKS.

use super::super::{Args, Outcome, Refusal, ServerCx};
use super::bus::BusMessages;
use crate::keyspace::Millis;
use crate::resp::Sink;
use crate::state::settings::EndpointType;
use crate::topology::{NodeView, Port, Role, TopologyError, View};
use std::fmt::Write;

/// A node's bus port is by so much higher than the one it listens on, or the one that is mapped to it,
/// unless it announces another.
const BUS_PORT_OFFSET: u32 = 10_000;

/// The cluster as seen by the node of the port, or by the router.
pub(super) fn view(cx: &ServerCx<'_>) -> View {
    match cx.port {
        Port::Node(node) => cx.server.topology.view(node),
        Port::Router if cx.server.announce.router_only => {
            cx.server.topology.view_as_one(cx.server.identity.port)
        }
        Port::Router => cx.server.topology.view_of_router(),
    }
}

/// The port that a node of a view stands for: the router's own, if that alone is announced.
fn shown_port(cx: &ServerCx<'_>, node: &NodeView) -> Port {
    match cx.port {
        Port::Router if cx.server.announce.router_only => Port::Router,
        _ => Port::Node(node.number),
    }
}

/// The hostname that a node announces, or nothing.
fn hostname(cx: &ServerCx<'_>, node: &NodeView) -> String {
    cx.server.node(shown_port(cx, node)).settings.hostname()
}

/// The advertised address of a node: host (empty for the one that the client connected to) and
/// port.
fn endpoint(cx: &ServerCx<'_>, node: &NodeView) -> (String, u16) {
    let (host, port) = cx.server.address_of(shown_port(cx, node), cx.me.local);
    // A node does not know its own address before it has met another.
    let is_new = !node.node.has_met && node.ranges.is_empty();
    (if is_new { String::new() } else { host }, port)
}

/// The endpoint that clients shall connect to, if it is not the address.
fn preferred(cx: &ServerCx<'_>, node: &NodeView) -> Option<String> {
    let prefers_ip = cx.node.settings.endpoint_type() == EndpointType::Ip;
    (!prefers_ip).then(|| cx.server.endpoint(cx.port, shown_port(cx, node), cx.me.local).0)
}

/// Writes a host. Null means the host that the client has connected to.
fn host(out: &mut Sink<'_>, host: &str) {
    out.bulk_or_null((!host.is_empty()).then_some(host.as_bytes()));
}

pub(super) fn slots(cx: &mut ServerCx<'_>, _: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let view = view(cx);
    let mut runs: Vec<_> = view
        .nodes
        .iter()
        .flat_map(|owner| owner.ranges.iter().map(move |&(first, last)| (first, last, owner)))
        .collect();
    runs.sort_unstable_by_key(|&(first, ..)| first);
    out.array(runs.len());
    for (first, last, owner) in runs {
        let serving: Vec<&NodeView> = std::iter::once(owner)
            .chain(view.replicas_of(owner.number).filter(|replica| replica.node.is_up))
            .collect();
        out.array(2 + serving.len());
        out.int(first.number().into());
        out.int(last.number().into());
        for node in serving {
            let ((at, port), preferred) = (endpoint(cx, node), preferred(cx, node));
            let name = hostname(cx, node);
            out.array(4);
            host(out, preferred.as_ref().unwrap_or(&at));
            out.int(port.into());
            out.bulk(node.node.id.as_bytes());
            // Then the node's other addresses.
            let shows_name =
                !name.is_empty() && cx.node.settings.endpoint_type() != EndpointType::Hostname;
            out.map(usize::from(preferred.is_some()) + usize::from(shows_name));
            if preferred.is_some() {
                out.bulk(b"ip");
                out.bulk(at.as_bytes());
            }
            if shows_name {
                out.bulk(b"hostname");
                out.bulk(name.as_bytes());
            }
        }
    }
    Ok(())
}

pub(super) fn shards(cx: &mut ServerCx<'_>, _: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let view = view(cx);
    let masters: Vec<&NodeView> =
        view.nodes.iter().filter(|node| node.node.role == Role::Master).collect();
    out.array(masters.len());
    for master in masters {
        let shows_id = cx.product.shows_shard_ids;
        out.map(2 + usize::from(shows_id));
        out.bulk(b"slots");
        out.array(2 * master.ranges.len());
        for (first, last) in &master.ranges {
            out.int(first.number().into());
            out.int(last.number().into());
        }
        out.bulk(b"nodes");
        let nodes: Vec<&NodeView> =
            std::iter::once(master).chain(view.replicas_of(master.number)).collect();
        out.array(nodes.len());
        for node in nodes {
            let ((at, port), name) = (endpoint(cx, node), hostname(cx, node));
            out.map(7 + usize::from(!name.is_empty()));
            out.bulk(b"id");
            out.bulk(node.node.id.as_bytes());
            out.bulk(b"port");
            out.int(port.into());
            out.bulk(b"ip");
            out.bulk(at.as_bytes());
            out.bulk(b"endpoint");
            match preferred(cx, node) {
                Some(preferred) => out.bulk(preferred.as_bytes()),
                None if !node.node.has_met => out.bulk(at.as_bytes()),
                None => host(out, &at),
            }
            if !name.is_empty() {
                out.bulk(b"hostname");
                out.bulk(name.as_bytes());
            }
            out.bulk(b"role");
            out.bulk(match node.node.role {
                Role::Master => b"master",
                Role::ReplicaOf(_) => b"replica",
            });
            out.bulk(b"replication-offset");
            out.int(0);
            out.bulk(b"health");
            out.bulk(if node.node.is_up { b"online" } else { b"fail" });
        }
        if shows_id {
            out.bulk(b"id");
            out.bulk(master.node.shard_id.as_bytes());
        }
    }
    Ok(())
}

/// A node's line in CLUSTER NODES.
fn line(cx: &ServerCx<'_>, view: &View, node: &NodeView, now: Millis) -> String {
    let (at, port) = endpoint(cx, node);
    let is_me = match cx.port {
        Port::Node(number) => number == node.number,
        // With `--announce router` it is the only node shown.
        Port::Router => cx.server.announce.router_only,
    };
    let mut flags = Vec::new();
    if is_me {
        flags.push("myself");
    }
    let master = match node.node.role {
        Role::Master => {
            flags.push("master");
            "-"
        }
        Role::ReplicaOf(master) => {
            flags.push("slave");
            view.get(master).map_or("-", |master| master.node.id.as_str())
        }
    };
    if !node.node.is_up {
        flags.push("fail");
    }
    if cx.server.node(shown_port(cx, node)).settings.refuses_failover() {
        flags.push("nofailover");
    }
    let link = if node.node.is_up { "connected" } else { "disconnected" };
    // A node does not ping itself.
    let pong = if is_me { 0 } else { now };
    // A replica shows its master's epoch.
    let epoch = match node.node.role {
        Role::ReplicaOf(master) => view.get(master).map_or(0, |master| master.node.epoch),
        Role::Master => node.node.epoch,
    };
    // An announced port for clients does not change that of the bus.
    let bus = cx.server.node(shown_port(cx, node)).settings.announced_bus_port();
    let mapped = || u32::from(cx.server.mapped_port(shown_port(cx, node))) + BUS_PORT_OFFSET;
    let bus = bus.map_or_else(mapped, u32::from);
    let name = match hostname(cx, node) {
        name if name.is_empty() => name,
        name => format!(",{name}"),
    };
    let mut line = format!(
        "{} {at}:{port}@{bus}{name} {} {master} 0 {pong} {epoch} {link}",
        node.node.id,
        flags.join(",")
    );
    // Writing into memory does not fail.
    for (first, last) in &node.ranges {
        let _ = match first == last {
            true => write!(line, " {}", first.number()),
            false => write!(line, " {}-{}", first.number(), last.number()),
        };
    }
    if is_me {
        let id = |number| view.get(number).map_or("", |node| node.node.id.as_str());
        for (slot, &to) in &node.node.migrating {
            let _ = write!(line, " [{}->-{}]", slot.number(), id(to));
        }
        for (slot, &from) in &node.node.importing {
            let _ = write!(line, " [{}-<-{}]", slot.number(), id(from));
        }
    }
    line
}

pub(super) fn nodes(cx: &mut ServerCx<'_>, _: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let view = view(cx);
    let mut text = String::new();
    for node in &view.nodes {
        text.push_str(&line(cx, &view, node, cx.now));
        text.push('\n');
    }
    out.verbatim(*b"txt", text.as_bytes());
    Ok(())
}

/// CLUSTER REPLICAS id
pub(super) fn replicas(cx: &mut ServerCx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let view = view(cx);
    let master = view.nodes.iter().find(|node| node.node.id.as_bytes() == args.at(2));
    let Some(master) = master else {
        return Err(TopologyError::Unknown(args.at(2).to_vec()).into());
    };
    if master.node.role != Role::Master {
        return Err(Refusal::of("ERR The specified node is not a master"));
    }
    let lines: Vec<String> =
        view.replicas_of(master.number).map(|replica| line(cx, &view, replica, cx.now)).collect();
    out.array(lines.len());
    lines.iter().for_each(|line| out.bulk(line.as_bytes()));
    Ok(())
}

pub(super) fn info(cx: &mut ServerCx<'_>, _: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    out.verbatim(*b"txt", info_lines(cx).as_bytes());
    Ok(())
}

/// Returns the lines of CLUSTER INFO.
pub(in crate::command) fn info_lines(cx: &ServerCx<'_>) -> String {
    let view = view(cx);
    let size = view.nodes.iter().filter(|node| !node.ranges.is_empty()).count();
    let me = view.myself();
    let my_epoch = match me.node.role {
        Role::ReplicaOf(master) => view.get(master).map_or(0, |master| master.node.epoch),
        Role::Master => me.node.epoch,
    };
    let state = if view.is_ok { "ok" } else { "fail" };
    let is_first = view.nodes.first().is_some_and(|first| first.number == view.me);
    let age_ms = u64::try_from(cx.now - cx.server.identity.started_at).unwrap_or(0);
    let messages = BusMessages::of(view.nodes.len().saturating_sub(1), is_first, age_ms);
    let (mut failed, mut bytes) = (String::new(), String::new());
    if cx.product.details_cluster {
        (failed, bytes) = (failed_nodes(&view), messages.byte_lines());
    }
    format!(
        "cluster_state:{state}\r\ncluster_slots_assigned:{}\r\ncluster_slots_ok:{}\r\n\
         cluster_slots_pfail:0\r\ncluster_slots_fail:{}\r\n{failed}cluster_known_nodes:{}\r\n\
         cluster_size:{size}\r\ncluster_current_epoch:{}\r\ncluster_my_epoch:{my_epoch}\r\n\
         {}{bytes}total_cluster_links_buffer_limit_exceeded:0\r\n",
        view.assigned,
        view.served,
        view.assigned - view.served,
        view.nodes.len(),
        view.epoch,
        messages.lines(),
    )
}

/// The lines of CLUSTER INFO about nodes that are down, which Valkey has.
fn failed_nodes(view: &View) -> String {
    let down = || view.nodes.iter().filter(|node| !node.node.is_up);
    let voting = down().filter(|node| node.node.role == Role::Master && !node.ranges.is_empty());
    format!(
        "cluster_nodes_pfail:0\r\ncluster_nodes_fail:{}\r\ncluster_voting_nodes_pfail:0\r\n\
         cluster_voting_nodes_fail:{}\r\n",
        down().count(),
        voting.count(),
    )
}

/// CLUSTER LINKS. Within one process there are none; shown are those that separate nodes would
/// have.
pub(super) fn links(cx: &mut ServerCx<'_>, _: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let view = view(cx);
    let others: Vec<&NodeView> =
        view.nodes.iter().filter(|node| node.number != view.me && node.node.is_up).collect();
    out.array(2 * others.len());
    for node in others {
        for direction in ["to", "from"] {
            out.map(6);
            out.bulk(b"direction");
            out.bulk(direction.as_bytes());
            out.bulk(b"node");
            out.bulk(node.node.id.as_bytes());
            out.bulk(b"create-time");
            out.int(cx.server.identity.started_at);
            out.bulk(b"events");
            out.bulk(b"r");
            out.bulk(b"send-buffer-allocated");
            out.int(0);
            out.bulk(b"send-buffer-used");
            out.int(0);
        }
    }
    Ok(())
}
