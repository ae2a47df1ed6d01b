//! CLUSTER SETSLOT: a slot that is moved key by key, and its owner.

use super::slot_argument::slot;
use super::{CHANGE, node};
use crate::command::spec::{Arity::AtLeast, Run, Spec};
use crate::command::{Args, Outcome, Refusal, ServerCx};
use crate::resp::Sink;

pub(super) const ROW: Spec = Spec {
    name: "setslot",
    arity: AtLeast(4),
    summary: "Marks a slot as migrating, importing or stable, or changes its owner.",
    run: Run::Whole(setslot),
    ..CHANGE
};

/// CLUSTER SETSLOT slot MIGRATING|IMPORTING|NODE id, CLUSTER SETSLOT slot STABLE
fn setslot(cx: &mut ServerCx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let me = node(cx)?;
    let topology = &cx.server.topology;
    if topology.is_replica(cx.port) {
        return Err(Refusal::of("ERR Please use SETSLOT only with masters."));
    }
    match cx.server.slot_migrations.parts_of(me) {
        (_, true) => return Err(Refusal::of("ERR Slot import in progress.")),
        (true, _) => return Err(Refusal::of("ERR Slot export in progress.")),
        (false, false) => {}
    }
    let slot = slot(args.at(2))?;
    if cx.server.slot_migrations.is_importing(me, slot) {
        return Err(Refusal::new(format!(
            "ERR Slot {} is currently in an active atomic slot migration. CLUSTER SETSLOT cannot be used at \
             this time. To perform a legacy slot migration instead, first cancel the ongoing task with CLUSTER \
             MIGRATION CANCEL",
            slot.number()
        )));
    }
    match args.len() {
        5 if args.is(3, "migrating") => topology.set_migrating(me, slot, args.at(4))?,
        5 if args.is(3, "importing") => topology.set_importing(me, slot, args.at(4))?,
        4 if args.is(3, "stable") => topology.set_stable(me, slot),
        5 if args.is(3, "node") => {
            let keys = cx.shards[topology.shard_of_node(me)].slot_len(slot);
            let owner = topology.owner_of(slot);
            let before = owner.map(|owner| topology.shard_of_node(owner));
            topology.assign(me, slot, args.at(4), keys)?;
            // As in Redis, a node that has lost a slot drops the keys that were not migrated, and
            // one that has become a replica drops all of its own.
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
