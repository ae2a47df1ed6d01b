//! CLUSTER MIGRATION, of Redis 8.4: IMPORT, STATUS, CANCEL. The target of a migration of whole slots begins
//! it. What it does then is in `atomic_migration`.

use super::atomic_migration::{check_stable, end_or_retry};
use super::slot_argument::slot;
use super::{CHANGE, node, show};
use crate::command::spec::{Arity::AtLeast, Run, Spec};
use crate::command::{Args, Outcome, Refusal, ServerCx};
use crate::dialect::servers;
use crate::resp::Sink;
use crate::slot::Slot;
use crate::state::{
    MigrationEnd, MigrationPart, MigrationRecord, MigrationState, SlotMigrationJob, SlotRange,
};
use crate::topology::{NodeNumber, Port, TopologyError};
use std::collections::BTreeSet;
use std::sync::Arc;

pub(super) const ROW: Spec = Spec {
    name: "migration",
    arity: AtLeast(4),
    servers: servers::REDIS8_10,
    since: "8.4.0",
    complexity: "O(N) where N is the total number of the slots between the start slot and end slot arguments.",
    summary: "Begins to migrate ranges of other nodes' slots, with their keys, to this node; shows such migrations, or cancels them.",
    run: Run::Server(migration),
    ..CHANGE
};

/// How many migrations that have ended a node remembers.
const ENDED_MAX: usize = 32;

/// CLUSTER MIGRATION IMPORT first last [first last ...]
/// CLUSTER MIGRATION STATUS ID id | ALL
/// CLUSTER MIGRATION CANCEL ID id | ALL
fn migration(cx: &mut ServerCx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    if args.is(2, "import") {
        return import(cx, args, out);
    }
    let is_status = args.is(2, "status");
    if !is_status && !args.is(2, "cancel") {
        return Err(UNKNOWN_ARGUMENT);
    }
    let id = match args.len() {
        4 if args.is(3, "all") => None,
        5 if args.is(3, "id") => Some(args.at(4)),
        _ if args.is(3, "all") || args.is(3, "id") => return Err(wrong_number()),
        _ => return Err(UNKNOWN_ARGUMENT),
    };
    let is_meant = |name: &str| id.is_none_or(|id| id == name.as_bytes());
    match is_status {
        true => status(cx, is_meant, out),
        false => cancel(cx, is_meant, out),
    }
    Ok(())
}

const UNKNOWN_ARGUMENT: Refusal = Refusal::of("ERR unknown argument");

fn wrong_number() -> Refusal {
    Refusal::arity("cluster|migration")
}

fn import(cx: &mut ServerCx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let ranges = ranges(args)?;
    let me = node(cx)?;
    let (server, now) = (cx.server, cx.now);
    if server.topology.is_replica(cx.port) {
        return Err(Refusal::of("ERR slot migration not allowed on replica."));
    }
    check_stable(&server.topology, me).map_err(Refusal::of)?;
    let running = server.slot_migrations.running();
    let mine = |job: &&SlotMigrationJob| job.is_import && (job.target == me || job.source == me);
    let (failed, active): (Vec<_>, Vec<_>) =
        running.iter().filter(mine).partition(|job| job.retry_at.is_some() && job.target == me);
    let imports = active.iter().filter(|job| job.target == me);
    let overlaps = |range: &&SlotRange| {
        let mut all = imports.clone().flat_map(|job| job.ranges.iter());
        all.any(|other| other.0 <= range.1 && range.0 <= other.1)
    };
    if let Some((first, last)) = ranges.iter().find(overlaps) {
        return Err(Refusal::new(format!(
            "ERR overlapping import exists for slot range: {}-{}",
            first.number(),
            last.number()
        )));
    }
    let source = source_of(cx, me, &ranges)?;
    if !active.is_empty() {
        return Err(Refusal::of("ERR another ASM task is already in progress"));
    }
    for job in failed {
        server.slot_migrations.end(job.number, MigrationEnd::Superseded, now);
    }
    let view = show::view(cx);
    let id_of = |number: NodeNumber| view.get(number).map_or("", |node| node.node.id.as_str());
    let ids = [source, me].map(|number| Arc::from(id_of(number)));
    let job = SlotMigrationJob {
        number: 0,
        source,
        target: me,
        ranges: ranges.into(),
        is_copied: false,
        is_import: true,
        retry_at: None,
    };
    let name = server.slot_migrations.begin(vec![(job, ids)], now);
    server.faults.set_work_due(Some(now));
    out.bulk(name.as_bytes());
    Ok(())
}

/// Parses the ranges of IMPORT, and joins those that are neighbours.
fn ranges(args: Args<'_>) -> Result<Vec<SlotRange>, Refusal> {
    if args.len() < 5 || args.len().is_multiple_of(2) {
        return Err(wrong_number());
    }
    let mut slots = BTreeSet::new();
    for i in (3..args.len()).step_by(2) {
        let (first, last) = (slot(args.at(i))?, slot(args.at(i + 1))?);
        if first > last {
            return Err(Refusal::new(format!(
                "ERR start slot number {} is greater than end slot number {}",
                first.number(),
                last.number()
            )));
        }
        for number in first.number()..=last.number() {
            if let Some(twice) = Slot::new(number).filter(|&slot| !slots.insert(slot)) {
                return Err(TopologyError::Twice(twice).into());
            }
        }
    }
    let mut ranges = Vec::<SlotRange>::new();
    for slot in slots {
        match ranges.last_mut() {
            Some((_, last)) if last.number() + 1 == slot.number() => *last = slot,
            _ => ranges.push((slot, slot)),
        }
    }
    Ok(ranges)
}

/// Returns the node that owns all of these slots.
fn source_of(
    cx: &ServerCx<'_>,
    me: NodeNumber,
    ranges: &[SlotRange],
) -> Result<NodeNumber, Refusal> {
    let mut source = None;
    let all = ranges.iter().flat_map(|(first, last)| first.number()..=last.number());
    for slot in all.filter_map(Slot::new) {
        let Some(owner) = cx.server.topology.owner_of(slot) else {
            return Err(Refusal::new(format!("ERR slot has no owner: {}", slot.number())));
        };
        if *source.get_or_insert(owner) != owner {
            return Err(Refusal::of("ERR slots belong to different source nodes"));
        }
    }
    source
        .filter(|&source| source != me)
        .ok_or(Refusal::of("ERR this node is already the owner of the slot range"))
}

fn status(cx: &ServerCx<'_>, is_meant: impl Fn(&str) -> bool, out: &mut Sink<'_>) {
    let mut log = match cx.port {
        Port::Node(me) => cx.server.slot_migrations.log(me, ENDED_MAX),
        Port::Router => Vec::new(),
    };
    log.retain(|record| is_meant(&record.name));
    cx.pace.step(log.len());
    out.array(log.len());
    log.iter().for_each(|record| show_record(record, out));
}

fn show_record(record: &MigrationRecord, out: &mut Sink<'_>) {
    let is_source = record.part == MigrationPart::Source;
    let state = match (record.state, is_source) {
        (MigrationState::Begun, _) => "none",
        (MigrationState::Copied, true) => "send-bulk-and-stream",
        (MigrationState::Copied, false) => "accumulate-buffer",
        (MigrationState::Success, _) => "completed",
        (MigrationState::Cancelled, _) => "canceled",
        (MigrationState::Failed, _) => "failed",
    };
    let range = |(first, last): &SlotRange| format!("{}-{}", first.number(), last.number());
    let slots: Vec<String> = record.ranges.iter().map(range).collect();
    let texts: [(&str, &str); 7] = [
        ("id", &record.name),
        ("slots", &slots.join(" ")),
        ("source", &record.ids[0]),
        ("dest", &record.ids[1]),
        ("operation", if is_source { "migrate" } else { "import" }),
        ("state", state),
        ("last_error", &record.message),
    ];
    let numbers = [
        ("retries", record.retries),
        ("create_time", record.begun_at),
        ("start_time", record.started_at.unwrap_or(-1)),
        ("end_time", record.ended_at.unwrap_or(-1)),
        // The slots are handed over at one moment.
        ("write_pause_ms", 0),
    ];
    out.map(texts.len() + numbers.len());
    for (name, value) in texts {
        out.bulk(name.as_bytes());
        out.bulk(value.as_bytes());
    }
    for (name, value) in numbers {
        out.bulk(name.as_bytes());
        out.int(value);
    }
}

fn cancel(cx: &ServerCx<'_>, is_meant: impl Fn(&str) -> bool, out: &mut Sink<'_>) {
    let Port::Node(me) = cx.port else { return out.int(0) };
    let migrations = &cx.server.slot_migrations;
    let mut count = 0;
    for job in migrations.running() {
        let name = migrations.name_of(job.number);
        if !job.is_import || !name.is_some_and(|name| is_meant(&name)) {
            continue;
        }
        if job.target == me {
            migrations.end(job.number, MigrationEnd::CancelledByTarget, cx.now);
        } else if job.source == me && job.is_copied {
            end_or_retry(&job, MigrationEnd::Cancelled, cx.server, cx.now);
        } else {
            continue;
        }
        count += 1;
    }
    out.count(count);
}
