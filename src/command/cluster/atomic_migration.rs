//! What a migration of whole slots does once it has begun: the target gets a copy of the keys, then, at
//! one moment, the slots. Until then nothing changes for clients.
//!
//! As all nodes are in one process, there is no copy: the keys themselves go to the target when it gets
//! the slots. What is visible of a copy are its events, and what the nodes' logs say.

use super::copy_events;
use super::migrateslots::check_node;
use crate::command::slotway::ClusterAccess;
use crate::faults::FaultKind;
use crate::keyspace::{Millis, event};
use crate::slot::Slot;
use crate::state::{MigrationEnd, ServerState, SlotMigrationJob};
use crate::topology::{Node, Port, Role};

/// Carries the migrations that run as far as they can go.
pub(crate) fn advance_migrations(access: &mut ClusterAccess<'_, '_>) {
    let (server, now) = (access.server, access.now);
    server.faults.set_work_due(None);
    let is_held = server.faults.all().iter().any(|it| it.kind == FaultKind::HoldMigrations);
    for job in server.slot_migrations.running() {
        let end = advance(&job, access, is_held);
        if let Some(end) = end {
            server.slot_migrations.end(job.number, end, now);
        }
    }
}

/// Ends the migrations that cannot go on after a change of the cluster.
pub(crate) fn end_lost_migrations(server: &ServerState, now: Millis) {
    for job in server.slot_migrations.running() {
        if let Some(end) = lost(&job, server) {
            server.slot_migrations.end(job.number, end, now);
        }
    }
}

/// Ends the migrations from and to nodes whose keys were all removed.
pub(crate) fn end_flushed_migrations(server: &ServerState, shards: &[usize], now: Millis) {
    for job in server.slot_migrations.running() {
        let was_flushed = |node| shards.contains(&server.topology.shard_of_node(node));
        let end = match (was_flushed(job.source), job.is_copied && was_flushed(job.target)) {
            (true, _) => MigrationEnd::SourceFlushed,
            (false, true) => MigrationEnd::TargetFlushed,
            (false, false) => continue,
        };
        server.slot_migrations.end(job.number, end, now);
    }
}

/// Takes a migration's next steps; returns how it ends, if it does.
fn advance(
    job: &SlotMigrationJob,
    access: &mut ClusterAccess<'_, '_>,
    is_held: bool,
) -> Option<MigrationEnd> {
    let server = access.server;
    if let Some(end) = lost(job, server) {
        return Some(end);
    }
    if !job.is_copied {
        if let Err(error) = check_node(&server.topology, job.target) {
            return Some(MigrationEnd::Refused(error));
        }
        let is_replica = |node: &Node| node.role == Role::ReplicaOf(job.target);
        let replicas = server.topology.with_nodes(|nodes| {
            let all = nodes.iter().enumerate();
            all.filter(|(_, node)| is_replica(node)).map(|(number, _)| number).collect::<Vec<_>>()
        });
        copy_events::notify(job, access);
        server.slot_migrations.note_copied(job.number, &replicas, access.now);
    }
    if is_held || server.slot_migrations.is_held(job.source) {
        return None;
    }
    hand_over(job, access);
    Some(MigrationEnd::Success)
}

/// Returns how a migration ends whose source or target has changed; `None` if they have not.
fn lost(job: &SlotMigrationJob, server: &ServerState) -> Option<MigrationEnd> {
    let topology = &server.topology;
    let (source, target) = (topology.node(job.source), topology.node(job.target));
    // A slot that its owner has given up is still at its place.
    let is_elsewhere = |slot| topology.owner_of(slot).is_some_and(|owner| owner != job.source);
    if source.role != Role::Master || !target.knows(job.source) || job.slots().any(is_elsewhere) {
        return Some(MigrationEnd::SlotsLost);
    }
    if !target.is_up && !job.is_copied {
        return Some(MigrationEnd::Unreachable);
    }
    if !source.is_up || !target.is_up || !source.knows(job.target) {
        return Some(MigrationEnd::Disconnected);
    }
    (job.is_copied && target.role != Role::Master).then_some(MigrationEnd::TargetDemoted)
}

/// Gives the target the slots of a migration with all their keys.
fn hand_over(job: &SlotMigrationJob, access: &mut ClusterAccess<'_, '_>) {
    let topology = &access.server.topology;
    let slots: Vec<Slot> = job.slots().collect();
    let to = topology.shard_of_node(job.target);
    for &slot in &slots {
        // Also of a slot that the source has given up meanwhile.
        let from = topology.shard_of_node(job.source);
        for key in access.move_keys(slot, from, to) {
            // The source itself says nothing of it.
            let del = event::Replicated::DEL;
            access.shards[from].notify_replicated(event::ON_REPLICAS, "", &key, del);
        }
    }
    topology.hand_over(&slots, job.source, job.target);
    if topology.is_replica(Port::Node(job.source)) {
        // It has no slots left, and copies all of the target: its own are those of slots given up before.
        access.shards[topology.node(job.source).own_shard].clear();
        access.server.slot_migrations.clear_log(job.source);
    }
}
