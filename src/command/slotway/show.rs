//! The cluster, a slot and the faults as text for people; a test may read single lines of it.

use crate::command::{Args, Outcome, Refusal, ServerCx};
use crate::resp::Sink;
use crate::slot::Slot;
use crate::state::SlotMigrationJob;
use crate::topology::{Node, NodeNumber, Port, Role};
use std::fmt::Write;

/// A node with the ranges of slots that it owns.
struct NodeLine {
    number: NodeNumber,
    id: String,
    role: Role,
    epoch: u64,
    shard: usize,
    is_up: bool,
    is_alone: bool,
    /// The slots that it is migrating, with their targets.
    migrations: Vec<(Slot, NodeNumber)>,
    ranges: Vec<(u16, u16)>,
}

fn lines(cx: &ServerCx<'_>) -> Vec<NodeLine> {
    let topology = &cx.server.topology;
    let line = |(number, node): (NodeNumber, &Node)| NodeLine {
        number,
        id: node.id.clone(),
        role: node.role,
        epoch: node.epoch,
        shard: node.shard,
        is_up: node.is_up,
        is_alone: node.is_alone(),
        migrations: node.migrating.iter().map(|(&slot, &to)| (slot, to)).collect(),
        ranges: Vec::new(),
    };
    let mut lines: Vec<NodeLine> =
        topology.with_nodes(|nodes| nodes.iter().enumerate().map(line).collect());
    for slot in Slot::all() {
        let Some(owner) = topology.owner_of(slot) else { continue };
        let (ranges, slot) = (&mut lines[owner].ranges, slot.number());
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == slot => *last = slot,
            _ => ranges.push((slot, slot)),
        }
    }
    lines
}

/// The advertised address of a node.
fn endpoint(cx: &ServerCx<'_>, node: NodeNumber) -> String {
    if cx.server.topology.port_of(node) == 0 {
        return "no port".to_owned();
    }
    let (host, port) = cx.server.address_of(Port::Node(node), cx.me.local);
    format!("{host}:{port}")
}

/// SLOTWAY CLUSTER
pub(super) fn cluster(cx: &mut ServerCx<'_>, _: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let (view, lines) = (cx.server.topology.view_of_router(), lines(cx));
    let state = if view.is_ok { "ok" } else { "down" };
    let mut text = format!("cluster {state}, epoch {}\nnodes\n", view.epoch);
    // Writing into memory does not fail.
    for line in &lines {
        let role = match line.role {
            Role::ReplicaOf(master) => format!("replica of {master}"),
            Role::Master if line.is_alone && line.ranges.is_empty() => "alone".to_owned(),
            Role::Master => "master".to_owned(),
        };
        let state = match (line.is_up, cx.server.faults.stopped(line.number)) {
            (true, _) => "up",
            (false, Some(true)) => "hangs",
            (false, _) => "stopped",
        };
        let (number, epoch, at) = (line.number, line.epoch, endpoint(cx, line.number));
        let _ = write!(text, "  {number} {at} {role}, {state}, epoch {epoch}, id {}", line.id);
        if line.role == Role::Master {
            let keys = cx.shards[line.shard].len();
            let slots: Vec<String> = line
                .ranges
                .iter()
                .map(|(first, last)| match first == last {
                    true => first.to_string(),
                    false => format!("{first}-{last}"),
                })
                .collect();
            let slots = if slots.is_empty() { "none".to_owned() } else { slots.join(" ") };
            let _ = write!(text, ", keys {keys}, slots {slots}");
        }
        text.push('\n');
    }
    text.push_str("moves\n");
    for line in &lines {
        for &(slot, to) in &line.migrations {
            let migration = migration(cx, slot, line.number, to);
            let _ = writeln!(text, "  slot {}: {migration}", slot.number());
        }
    }
    for job in cx.server.slot_migrations.running() {
        let Some(&(first, last)) = job.ranges.first() else { continue };
        let more = if job.ranges.len() > 1 { " and others" } else { "" };
        let (first, last, whole) = (first.number(), last.number(), as_a_whole(&job));
        let _ = writeln!(text, "  slots {first}-{last}{more}: from {} {whole}", job.source);
    }
    text.push_str("faults\n");
    for fault in cx.server.faults.all() {
        let _ = writeln!(text, "  {}", fault.line(cx.now));
    }
    out.verbatim(*b"txt", text.as_bytes());
    Ok(())
}

/// Describes the migration of a slot.
fn migration(cx: &ServerCx<'_>, slot: Slot, from: NodeNumber, to: NodeNumber) -> String {
    let topology = &cx.server.topology;
    let keys = |node| cx.shards[topology.shard_of_node(node)].slot_len(slot);
    format!("from {from} to {to}, {} keys to move, {} moved", keys(from), keys(to))
}

/// Describes a migration of whole slots.
fn as_a_whole(job: &SlotMigrationJob) -> String {
    let stage = if job.is_copied { "copied" } else { "not copied yet" };
    format!("to {} as a whole, {stage}", job.target)
}

/// SLOTWAY SLOT slot
pub(super) fn slot(cx: &mut ServerCx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let number = u16::try_from(args.int(2)?).ok();
    let slot = number.and_then(Slot::new);
    let slot = slot.ok_or(Refusal::of("ERR Invalid or out of range slot"))?;
    let topology = &cx.server.topology;
    let mut text = format!("slot {}: ", slot.number());
    match topology.owner_of(slot) {
        None => text.push_str("nobody's"),
        Some(owner) => {
            let node = topology.node(owner);
            let keys = cx.shards[topology.shard_of_node(owner)].slot_len(slot);
            let _ = write!(text, "node {owner} ({}), {keys} keys", endpoint(cx, owner));
            if let Some(&to) = node.migrating.get(&slot) {
                let _ = write!(text, "; on the move {}", migration(cx, slot, owner, to));
            }
            let running = cx.server.slot_migrations.running();
            if let Some(job) = running.iter().find(|job| job.has(slot)) {
                let _ = write!(text, "; on the move {}", as_a_whole(job));
            }
        }
    }
    text.push('\n');
    out.verbatim(*b"txt", text.as_bytes());
    Ok(())
}

/// SLOTWAY FAULTS
pub(super) fn faults(cx: &mut ServerCx<'_>, _: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let all = cx.server.faults.all();
    out.array(all.len());
    all.iter().for_each(|fault| out.bulk(fault.line(cx.now).as_bytes()));
    Ok(())
}

/// Replies with the progress of a scenario: a line, and one more for each step that was refused.
pub(super) fn progress(cx: &ServerCx<'_>, out: &mut Sink<'_>) -> Outcome {
    let text = match cx.server.faults.scenario_progress() {
        None => "no scenario\n".to_owned(),
        Some(progress) => {
            let (done, steps) = (progress.done, progress.steps);
            let state = if done == steps { "done" } else { "running" };
            let mut text = format!("{state}: {done} of {steps} steps\n");
            for mistake in progress.refused {
                let _ = writeln!(text, "{mistake}");
            }
            text
        }
    };
    out.verbatim(*b"txt", text.as_bytes());
    Ok(())
}
