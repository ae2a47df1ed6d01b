//! The cluster, a slot and the faults, told for people; a test reads single lines of it.

use crate::command::{Args, Outcome, Refusal, ServerCx};
use crate::resp::Sink;
use crate::slot::Slot;
use crate::topology::{Node, NodeNumber, Role};
use std::fmt::Write;

/// A node with the runs of slots that it owns.
struct Line {
    number: NodeNumber,
    id: String,
    role: Role,
    epoch: u64,
    port: u16,
    shard: usize,
    is_up: bool,
    is_alone: bool,
    /// The slots that it gives away, and to whom.
    moves: Vec<(Slot, NodeNumber)>,
    runs: Vec<(u16, u16)>,
}

fn lines(cx: &ServerCx<'_>) -> Vec<Line> {
    let topology = &cx.server.topology;
    let line = |(number, node): (NodeNumber, &Node)| Line {
        number,
        id: node.id.clone(),
        role: node.role,
        epoch: node.epoch,
        port: node.port,
        shard: node.shard,
        is_up: node.is_up,
        is_alone: node.is_alone(),
        moves: node.migrating.iter().map(|(&slot, &to)| (slot, to)).collect(),
        runs: Vec::new(),
    };
    let mut lines: Vec<Line> =
        topology.with_nodes(|nodes| nodes.iter().enumerate().map(line).collect());
    for slot in Slot::all() {
        let Some(owner) = topology.owner_of(slot) else { continue };
        let (runs, slot) = (&mut lines[owner].runs, slot.number());
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == slot => *last = slot,
            _ => runs.push((slot, slot)),
        }
    }
    lines
}

/// Where a node is told to be.
fn endpoint(cx: &ServerCx<'_>, port: u16) -> String {
    if port == 0 {
        return "no port".to_owned();
    }
    let (server, port) = cx.server.announce.endpoint(port, cx.me.local);
    format!("{server}:{port}")
}

pub(super) fn cluster(cx: &mut ServerCx<'_>, _: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let (view, lines) = (cx.server.topology.view_of_router(), lines(cx));
    let is_down = if view.is_ok { "ok" } else { "down" };
    let mut text = format!("cluster {is_down}, epoch {}\nnodes\n", view.epoch);
    // Writing into memory does not fail.
    for line in &lines {
        let role = match line.role {
            Role::ReplicaOf(master) => format!("replica of {master}"),
            Role::Master if line.is_alone && line.runs.is_empty() => "alone".to_owned(),
            Role::Master => "master".to_owned(),
        };
        let state = match (line.is_up, cx.server.faults.stopped(line.number)) {
            (true, _) => "up",
            (false, Some(true)) => "hangs",
            (false, _) => "stopped",
        };
        let (number, epoch, at) = (line.number, line.epoch, endpoint(cx, line.port));
        let _ = write!(text, "  {number} {at} {role}, {state}, epoch {epoch}, id {}", line.id);
        if line.role == Role::Master {
            let keys = cx.shards[line.shard].len();
            let slots: Vec<String> = line
                .runs
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
        for &(slot, to) in &line.moves {
            let way = way(cx, slot, line.number, to);
            let _ = writeln!(text, "  slot {}: {way}", slot.number());
        }
    }
    text.push_str("faults\n");
    for fault in cx.server.faults.all() {
        let _ = writeln!(text, "  {}", fault.line(cx.now));
    }
    out.verbatim(*b"txt", text.as_bytes());
    Ok(())
}

/// A slot on its way.
fn way(cx: &ServerCx<'_>, slot: Slot, from: NodeNumber, to: NodeNumber) -> String {
    let topology = &cx.server.topology;
    let keys = |node| cx.shards[topology.shard_of_node(node)].slot_len(slot);
    format!("from {from} to {to}, {} keys to move, {} moved", keys(from), keys(to))
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
            let _ = write!(text, "node {owner} ({}), {keys} keys", endpoint(cx, node.port));
            if let Some(&to) = node.migrating.get(&slot) {
                let _ = write!(text, "; on the move {}", way(cx, slot, owner, to));
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

/// How far a scenario has come: a line, and one more for each step that was refused.
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
