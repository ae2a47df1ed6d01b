//! CLUSTER MIGRATESLOTS, GETSLOTMIGRATIONS and CANCELSLOTMIGRATIONS, of Valkey: slots that migrate as a
//! whole. What a migration does once it has begun is in `atomic_migration`.

use super::show;
use super::{CHANGE, node};
use crate::command::spec::{
    Arity::{AtLeast, Exactly},
    Run, Spec,
};
use crate::command::{Args, Outcome, Refusal, ServerCx};
use crate::dialect::servers;
use crate::keyspace::Millis;
use crate::resp::Sink;
use crate::slot::Slot;
use crate::state::{
    MigrationEnd, MigrationPart, MigrationRecord, MigrationState, SlotMigrationJob, SlotRange,
};
use crate::text::number::parse_i64;
use crate::topology::{NodeNumber, Port, Topology};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::sync::Arc;

/// Digits of a node's id.
const ID_LEN: usize = 40;

/// Defaults of the rows.
const MIGRATION: Spec =
    Spec { servers: servers::VALKEY9, since: "9.0.0", arity: Exactly(2), ..CHANGE };

pub(super) const MIGRATE: Spec = Spec {
    name: "migrateslots",
    arity: AtLeast(4),
    complexity: "O(N) where N is the total number of the slots between all start slot and end slot arguments.",
    summary: "Begins to migrate ranges of this node's slots, with their keys, to other nodes.",
    run: Run::Server(migrateslots),
    ..MIGRATION
};
pub(super) const GET: Spec = Spec {
    name: "getslotmigrations",
    complexity: "O(N), where N is the number of active slot import and export jobs.",
    summary: "Lists the migrations of slots from and to this node that run or have ended.",
    run: Run::Server(getslotmigrations),
    ..MIGRATION
};
pub(super) const CANCEL: Spec = Spec {
    name: "cancelslotmigrations",
    complexity: "O(N), where N is the number of slot migration operations being cancelled.",
    summary: "Cancels the migrations of slots from this node.",
    run: Run::Server(cancelslotmigrations),
    ..MIGRATION
};

/// Refuses to begin or to accept a migration at this node.
///
/// # Errors
/// It is a replica, or slots are moved there by CLUSTER SETSLOT.
pub(super) fn check_node(topology: &Topology, node: NodeNumber) -> Result<(), &'static str> {
    let state = topology.node(node);
    if topology.is_replica(Port::Node(node)) {
        return Err("ERR Slot migration can only be used on primary nodes.");
    }
    if !state.migrating.is_empty() {
        return Err("ERR Slots are being manually migrated");
    }
    if !state.importing.is_empty() {
        return Err("ERR Slots are being manually imported");
    }
    Ok(())
}

/// CLUSTER MIGRATESLOTS SLOTSRANGE first last [first last ...] NODE id
/// [SLOTSRANGE first last [first last ...] NODE id ...]
fn migrateslots(cx: &mut ServerCx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let me = node(cx)?;
    check_node(&cx.server.topology, me).map_err(Refusal::of)?;
    let view = show::view(cx);
    let running = cx.server.slot_migrations.running();
    let (mut at, mut jobs, mut taken) = (2, Vec::new(), BTreeSet::new());
    while at < args.len() {
        if !args.is(at, "slotsrange") {
            return Err(Refusal::SYNTAX);
        }
        let ranges = ranges(args, &mut at)?;
        let target = SlotMigrationJob {
            number: 0,
            source: me,
            target: me,
            ranges: ranges.into(),
            is_copied: false,
            is_import: false,
            retry_at: None,
        };
        check_slots(cx, me, &target, &running)?;
        if !target.slots().all(|slot| taken.insert(slot)) {
            return Err(Refusal::of("ERR Slot ranges in migrations overlap"));
        }
        if !args.get(at).is_some_and(|word| word.eq_ignore_ascii_case(b"node")) {
            return Err(Refusal::SYNTAX);
        }
        let id = args.get(at + 1).ok_or(Refusal::SYNTAX)?;
        let shown = String::from_utf8_lossy(id);
        if id.len() != ID_LEN {
            return Err(Refusal::new(format!("ERR Invalid node name: {shown}")));
        }
        let found = view.nodes.iter().find(|node| node.node.id.as_bytes() == id);
        let found = found.ok_or_else(|| Refusal::new(format!("ERR Unknown node name: {shown}")))?;
        if found.number == me {
            return Err(Refusal::of("ERR Target node can not be this node."));
        }
        let ids = [&view.myself().node.id, &found.node.id].map(|id| Arc::from(id.as_str()));
        jobs.push((SlotMigrationJob { target: found.number, ..target }, ids));
        at += 2;
    }
    cx.server.slot_migrations.begin(jobs, cx.now);
    cx.server.faults.set_work_due(Some(cx.now));
    out.ok();
    Ok(())
}

/// Parses the ranges that follow SLOTSRANGE; moves `at` behind them.
fn ranges(args: Args<'_>, at: &mut usize) -> Result<Vec<SlotRange>, Refusal> {
    let invalid = Refusal::of("ERR Invalid or out of range slot");
    let slot = |number: i64| u16::try_from(number).ok().and_then(Slot::new);
    let mut ranges = Vec::<SlotRange>::new();
    *at += 1;
    while let Some(first) = args.get(*at).and_then(parse_i64) {
        let Some(last) = args.get(*at + 1) else {
            return Err(Refusal::of("ERR No end slot for final slot range"));
        };
        let Some((first, last)) = slot(first).zip(parse_i64(last).and_then(slot)) else {
            return Err(invalid);
        };
        if first > last {
            return Err(Refusal::new(format!(
                "ERR Start slot number {} is greater than end slot number {}.",
                first.number(),
                last.number()
            )));
        }
        // Ranges that do not overlap are at most as many as there are slots.
        if let Some(other) = ranges.iter().find(|it| it.0 <= last && first <= it.1) {
            return Err(Refusal::new(format!(
                "ERR Slot range {}-{} overlaps with previous range {}-{}.",
                first.number(),
                last.number(),
                other.0.number(),
                other.1.number()
            )));
        }
        ranges.push((first, last));
        *at += 2;
    }
    if ranges.is_empty() {
        return Err(Refusal::of("ERR No slot ranges specified"));
    }
    Ok(ranges)
}

/// Checks that this node serves the slots of a migration, and that none of them is migrating.
fn check_slots(
    cx: &ServerCx<'_>,
    me: NodeNumber,
    job: &SlotMigrationJob,
    running: &[SlotMigrationJob],
) -> Result<(), Refusal> {
    let mut common = None;
    for slot in job.slots() {
        let Some(owner) = cx.server.topology.owner_of(slot) else {
            let number = slot.number();
            return Err(Refusal::new(format!("ERR Slot {number} has no node served.")));
        };
        if *common.get_or_insert(owner) != owner {
            return Err(Refusal::of("ERR Requested slots span multiple shards"));
        }
    }
    if common != Some(me) {
        return Err(Refusal::of("ERR Slots are not served by this node."));
    }
    let migrating =
        |slot: &Slot| running.iter().any(|other| other.source == me && other.has(*slot));
    match job.slots().find(migrating) {
        Some(slot) => {
            let number = slot.number();
            Err(Refusal::new(format!("ERR I am already migrating slot {number}.")))
        }
        None => Ok(()),
    }
}

/// CLUSTER GETSLOTMIGRATIONS
fn getslotmigrations(cx: &mut ServerCx<'_>, _: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let log = match cx.port {
        Port::Node(me) => {
            let len = cx.node.settings.slot_migrations_logged();
            cx.server.slot_migrations.log(me, len)
        }
        Port::Router => Vec::new(),
    };
    cx.pace.step(log.len());
    out.array(log.len());
    log.iter().for_each(|record| show_record(record, cx.now, out));
    Ok(())
}

fn show_record(record: &MigrationRecord, now: Millis, out: &mut Sink<'_>) {
    let is_replica = record.part == MigrationPart::Replica;
    let mut ranges = String::new();
    for (first, last) in record.ranges.iter() {
        let gap = if ranges.is_empty() { "" } else { " " };
        // Writing into memory does not fail.
        let _ = write!(ranges, "{gap}{}-{}", first.number(), last.number());
    }
    let operation: &[u8] = match record.part {
        MigrationPart::Source => b"EXPORT",
        MigrationPart::Target | MigrationPart::Replica => b"IMPORT",
    };
    let runs = matches!(record.state, MigrationState::Begun | MigrationState::Copied);
    let acked_at = if runs && !is_replica { now } else { record.updated_at };
    out.map(if is_replica { 10 } else { 12 });
    let text = |out: &mut Sink<'_>, name: &[u8], value: &[u8]| {
        out.bulk(name);
        out.bulk(value);
    };
    let number = |out: &mut Sink<'_>, name: &[u8], value: i64| {
        out.bulk(name);
        out.int(value);
    };
    text(out, b"name", record.name.as_bytes());
    text(out, b"operation", operation);
    text(out, b"slot_ranges", ranges.as_bytes());
    if !is_replica {
        text(out, b"target_node", record.ids[1].as_bytes());
        text(out, b"source_node", record.ids[0].as_bytes());
    }
    number(out, b"create_time", record.begun_at / 1000);
    number(out, b"last_update_time", record.updated_at / 1000);
    number(out, b"last_ack_time", acked_at / 1000);
    text(out, b"state", state_name(record.state, record.part));
    text(out, b"message", record.message.as_bytes());
    number(out, b"cow_size", 0);
    number(out, b"remaining_repl_size", 0);
}

/// The name of a state at the source, the target or its replicas.
fn state_name(state: MigrationState, part: MigrationPart) -> &'static [u8] {
    match (state, part) {
        (MigrationState::Success, _) => b"success",
        (MigrationState::Cancelled, _) => b"cancelled",
        (MigrationState::Failed, _) => b"failed",
        (MigrationState::Begun, _) => b"connecting",
        (MigrationState::Copied, MigrationPart::Source) => b"waiting-to-pause",
        (MigrationState::Copied, MigrationPart::Target) => b"waiting-for-paused",
        (MigrationState::Copied, MigrationPart::Replica) => b"occurring-on-primary",
    }
}

/// CLUSTER CANCELSLOTMIGRATIONS
fn cancelslotmigrations(cx: &mut ServerCx<'_>, _: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let me = node(cx)?;
    let migrations = &cx.server.slot_migrations;
    let mut own = migrations.running();
    own.retain(|job| job.source == me);
    if own.is_empty() {
        return Err(Refusal::of("ERR No migrations ongoing"));
    }
    own.iter().for_each(|job| migrations.end(job.number, MigrationEnd::Cancelled, cx.now));
    out.ok();
    Ok(())
}
