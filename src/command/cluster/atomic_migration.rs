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
use crate::script::Existing;
use crate::slot::Slot;
use crate::state::{MigrationEnd, ServerState, SlotMigrationJob};
use crate::topology::{Node, NodeNumber, Port, Role, Topology};

/// How long a migration that the target has begun waits, in milliseconds, before it is tried again.
const RETRY_MS: Millis = 500;

/// Carries the migrations that run as far as they can go.
pub(crate) fn advance_migrations(access: &mut ClusterAccess<'_, '_>) {
    let (server, now) = (access.server, access.now);
    let is_held = server.faults.all().iter().any(|it| it.kind == FaultKind::HoldMigrations);
    for job in server.slot_migrations.running() {
        if job.retry_at.is_none_or(|at| at <= now)
            && let Some(end) = advance(&job, access, is_held)
        {
            end_or_retry(&job, end, server, now);
        }
    }
    server.faults.set_work_due(server.slot_migrations.next_retry());
}

/// Ends the migrations that cannot go on after a change of the cluster.
pub(crate) fn end_lost_migrations(server: &ServerState, now: Millis) {
    for job in server.slot_migrations.running() {
        if let Some(end) = lost(&job, server) {
            end_or_retry(&job, end, server, now);
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
        end_or_retry(&job, end, server, now);
    }
}

/// Ends a migration, or, if the target has begun it and knows no reason not to, has it tried again.
pub(super) fn end_or_retry(
    job: &SlotMigrationJob,
    end: MigrationEnd,
    server: &ServerState,
    now: Millis,
) {
    let migrations = &server.slot_migrations;
    let is_temporary = matches!(
        end,
        MigrationEnd::Cancelled
            | MigrationEnd::Refused(_)
            | MigrationEnd::Unreachable
            | MigrationEnd::Disconnected
            | MigrationEnd::SourceFlushed
    );
    if !(job.is_import && is_temporary) {
        return migrations.end(job.number, end, now);
    }
    if job.is_copied || job.retry_at.is_none_or(|at| at <= now) {
        migrations.fail(job.number, end, now.saturating_add(RETRY_MS), now);
        server.faults.set_work_due(migrations.next_retry());
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
        let accepted = match job.is_import {
            true => check_source(job, server),
            false => check_node(&server.topology, job.target),
        };
        if let Err(error) = accepted {
            return Some(MigrationEnd::Refused(error));
        }
        let is_replica = |node: &Node| node.role == Role::ReplicaOf(job.target);
        let replicas = server.topology.with_nodes(|nodes| {
            let all = nodes.iter().enumerate();
            all.filter(|(_, node)| is_replica(node)).map(|(number, _)| number).collect::<Vec<_>>()
        });
        if job.is_import {
            copy_functions(job, server);
        }
        copy_events::notify(job, access);
        server.slot_migrations.note_copied(job.number, &replicas, access.now);
    }
    if is_held || !job.is_import && server.slot_migrations.is_held(job.source) {
        return None;
    }
    hand_over(job, access);
    Some(MigrationEnd::Success)
}

/// Checks that the source of a migration by CLUSTER MIGRATION can begin it: it takes part in one at a
/// time.
fn check_source(job: &SlotMigrationJob, server: &ServerState) -> Result<(), &'static str> {
    check_stable(&server.topology, job.source)?;
    let takes_part = |other: &SlotMigrationJob| {
        other.is_copied && (other.source == job.source || other.target == job.source)
    };
    match server.slot_migrations.running().iter().any(takes_part) {
        true => Err("ERR another ASM task is already in progress"),
        false => Ok(()),
    }
}

/// Refuses a migration by CLUSTER MIGRATION while slots of a node are moved by CLUSTER SETSLOT.
///
/// # Errors
/// Redis' error.
pub(super) fn check_stable(topology: &Topology, node: NodeNumber) -> Result<(), &'static str> {
    let node = topology.node(node);
    match node.migrating.is_empty() && node.importing.is_empty() {
        true => Ok(()),
        false => Err("ERR all slot states must be STABLE to start a slot migration task."),
    }
}

/// Replaces the functions of the target by those of the source, as Redis does.
fn copy_functions(job: &SlotMigrationJob, server: &ServerState) {
    let libraries = server.node(Port::Node(job.source)).functions.all();
    let functions = &server.node(Port::Node(job.target)).functions;
    functions.flush();
    // They fit together at the source.
    let _fit = functions.add(&libraries, Existing::Keep);
}

/// Returns how a migration ends whose source or target has changed; `None` if they have not.
fn lost(job: &SlotMigrationJob, server: &ServerState) -> Option<MigrationEnd> {
    let topology = &server.topology;
    let (source, target) = (topology.node(job.source), topology.node(job.target));
    // A slot that its owner has given up is still at its place with Valkey.
    let is_elsewhere = |slot| match topology.owner_of(slot) {
        Some(owner) => owner != job.source,
        None => job.is_import,
    };
    if source.role != Role::Master || !target.knows(job.source) || job.slots().any(is_elsewhere) {
        return Some(MigrationEnd::SlotsLost);
    }
    if (job.is_copied || job.is_import) && target.role != Role::Master {
        return Some(MigrationEnd::TargetDemoted);
    }
    let other = if job.is_import { &source } else { &target };
    if !other.is_up && !job.is_copied {
        return Some(MigrationEnd::Unreachable);
    }
    let are_connected = source.is_up && target.is_up && source.knows(job.target);
    (!are_connected).then_some(MigrationEnd::Disconnected)
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
            if job.is_import {
                continue;
            }
            // The source itself says nothing of it.
            let del = event::Replicated::DEL;
            access.shards[from].notify_replicated(event::ON_REPLICAS, "", &key, del);
        }
    }
    topology.hand_over(&slots, job.source, job.target);
    if topology.is_replica(Port::Node(job.source)) {
        // It has no slots left, and copies all of the target: its own are those of slots given up before.
        access.shards[topology.node(job.source).own_shard].clear();
        if !job.is_import {
            access.server.slot_migrations.clear_log(job.source);
        }
    }
}
