//! Commands between databases: MOVE, SWAPDB, and COPY with DB. A cluster has only database 0 and
//! refuses them; so does the router port, unless keys of several slots may be used together there
//! (`cross-slot audit`).
//!
//! Database 0 is spread over the shards of the topology; each of the others is one shard of its
//! own, numbered after them.

use super::generic::{self, CopyOptions, is_taken, put_copy};
use super::spec::access::{ACCESS, RW, UPDATE};
use super::spec::flag::{FAST, OTHER_DATABASE, WRITE};
use super::spec::{Arity::Exactly, BASE, Group, Keys, Run, Spec, acl, check};
use super::{Args, Outcome, Refusal, ServerCx};
use crate::keyspace::{Ttl, Value, event};
use crate::resp::Sink;
use crate::slot::Slot;
use crate::state::settings::CrossSlot;
use crate::text::number::parse_i64;
use crate::topology::Port;
use std::collections::BTreeSet;
use std::ops::Range;

/// Defaults of the rows.
const DATABASE: Spec =
    Spec { arity: Exactly(3), flags: WRITE | FAST | OTHER_DATABASE, acl: acl::KEYSPACE, ..BASE };

pub(super) const ROWS: &[Spec] = &[
    Spec {
        name: "move",
        keys: &[Keys::at(RW | ACCESS | UPDATE, 1)],
        summary: "Moves a key to another database. A cluster has only database 0.",
        run: Run::Whole(move_),
        ..DATABASE
    },
    Spec {
        name: "swapdb",
        group: Group::Server,
        acl: acl::KEYSPACE | acl::DANGEROUS,
        since: "4.0.0",
        complexity: "O(N) where N is the count of clients watching or blocking on keys from both databases.",
        summary: "Swaps two databases. A cluster has only database 0.",
        run: Run::Whole(swapdb),
        ..DATABASE
    },
];
const _: () = check(ROWS);

/// Whether this client may use databases other than number 0.
fn has_databases(cx: &ServerCx<'_>) -> bool {
    cx.me.database() != 0
        || (cx.port == Port::Router && cx.node.settings.cross_slot() == CrossSlot::Audit)
}

/// The shards with the keys of a slot in a database: the owner's and, if the slot is being
/// migrated, the one of the node that imports it.
fn shards_of(cx: &ServerCx<'_>, database: usize, slot: Slot) -> (usize, Option<usize>) {
    let topology = &cx.server.topology;
    match (database.checked_sub(1), topology.migration_of(slot)) {
        (Some(number), _) => (topology.shards() + number, None),
        (None, Some(it)) => (it.from, Some(it.to).filter(|&to| to != it.from)),
        (None, None) => (topology.shard_of(slot), None),
    }
}

/// All shards that may have keys of a database.
fn all_shards_of(cx: &ServerCx<'_>, database: usize) -> Range<usize> {
    let shards = cx.server.topology.shards();
    match database.checked_sub(1) {
        Some(number) => shards + number..shards + number + 1,
        None => 0..shards,
    }
}

/// The shard that holds a key, or would hold it if it existed.
fn shard_of_key(cx: &mut ServerCx<'_>, database: usize, key: &[u8]) -> usize {
    let slot = Slot::of(key);
    let (from, to) = shards_of(cx, database, slot);
    let key = cx.shards[from].key(slot, key);
    match to {
        // If its slot is being migrated, the key may already be at the target.
        Some(to) if cx.shards[from].peek(key).is_none() => to,
        _ => from,
    }
}

/// MOVE key db
fn move_(cx: &mut ServerCx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    if !has_databases(cx) {
        let is_node = cx.product.numbers_databases && cx.port != Port::Router;
        if is_node && args.int(2)? == 0 {
            return Err(generic::SAME_OBJECTS);
        }
        return Err(Refusal::no_database(cx.product, cx.port, "MOVE"));
    }
    let target = number(cx, args.at(2), Refusal::NOT_AN_INTEGER)?;
    let target = target.ok_or(Refusal::NO_SUCH_DATABASE)?;
    let source = cx.me.database() as usize;
    if source == target {
        return Err(generic::SAME_OBJECTS);
    }
    let (from, to) = (shard_of_key(cx, source, args.at(1)), shard_of_key(cx, target, args.at(1)));
    let key = cx.shards[from].key(Slot::of(args.at(1)), args.at(1));
    if cx.shards[from].peek(key).is_none() || cx.shards[to].peek(key).is_some() {
        out.int(0);
        return Ok(());
    }
    if let Some(parcel) = cx.shards[from].detach(key) {
        cx.shards[to].insert_detached(key, parcel);
        // Of a stream, its consumers wait for the end as well.
        cx.shards[from].signal_ready(key.bytes);
    }
    cx.publish_events(to);
    cx.shards[from].notify_event(event::GENERIC, "move_from", key.bytes);
    cx.publish_events(from);
    cx.shards[to].notify_event(event::GENERIC, "move_to", key.bytes);
    out.int(1);
    Ok(())
}

/// COPY source destination DB destination-db [REPLACE], where there are databases: the client's own
/// is one of them.
pub(super) fn copy(cx: &mut ServerCx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let has_databases = has_databases(cx);
    let databases = match has_databases {
        true => cx.node.settings.databases(),
        false => generic::DATABASES,
    };
    let options = CopyOptions::of(args, databases)?;
    if !has_databases && options.leaves_database_0() {
        return Err(generic::COPY_ELSEWHERE);
    }
    let source = cx.me.database() as usize;
    let target = options.database.unwrap_or(source);
    let (from, to) = (args.at(1), args.at(2));
    if source == target && from == to {
        return Err(generic::SAME_OBJECTS);
    }
    let (here, there) = (shard_of_key(cx, source, from), shard_of_key(cx, target, to));
    let (from, to) =
        (cx.shards[here].key(Slot::of(from), from), cx.shards[there].key(Slot::of(to), to));
    let units = cx.shards[here].read(from).map(Value::weight);
    cx.publish_events(here);
    let Some(units) = units.filter(|_| options.replace || !is_taken(cx.shards[there], to)) else {
        out.int(0);
        return Ok(());
    };
    cx.pace.step(units);
    if let Some(entry) = cx.shards[here].peek(from) {
        let (value, ttl) = (entry.value().clone(), entry.expires_at().map_or(Ttl::Clear, Ttl::At));
        put_copy(cx.shards[there], to, value, ttl);
    }
    out.int(1);
    Ok(())
}

/// SWAPDB index1 index2
fn swapdb(cx: &mut ServerCx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    if !has_databases(cx) {
        return Err(Refusal::of("ERR SWAPDB is not allowed in cluster mode"));
    }
    let first = number(cx, args.at(1), Refusal::of("ERR invalid first DB index"))?;
    let second = number(cx, args.at(2), Refusal::of("ERR invalid second DB index"))?;
    let (Some(first), Some(second)) = (first, second) else {
        return Err(Refusal::NO_SUCH_DATABASE);
    };
    if first != second {
        swap(cx, first, second);
    }
    out.ok();
    Ok(())
}

/// Swaps the keys of two databases, slot by slot; slots without keys are passed over, and if there are no
/// keys at all, so are all.
fn swap(cx: &mut ServerCx<'_>, first: usize, second: usize) {
    let shards: BTreeSet<usize> =
        [first, second].into_iter().flat_map(|database| all_shards_of(cx, database)).collect();
    // Before and after: a watched or awaited key is touched if it exists at either time.
    let mut slots = Vec::new();
    if shards.iter().any(|&shard| !cx.shards[shard].is_empty()) {
        slots.extend(Slot::all().filter_map(|slot| {
            let both = [first, second].map(|database| place_together(cx, database, slot));
            both.into_iter()
                .any(|shard| cx.shards[shard].slot_len(slot) > 0)
                .then_some((slot, both))
        }));
    }
    for &shard in &shards {
        cx.shards[shard].touch_all_existing();
    }
    for &(slot, both) in &slots {
        let Ok([a, b]) = cx.shards.get_disjoint_mut(both) else { continue };
        a.swap_slot(slot, b);
        cx.pace.step(1);
    }
    if !slots.is_empty() {
        for &shard in &shards {
            cx.shards[shard].touch_all_existing();
        }
    }
}

/// Returns the shard that has the keys of a slot. If some of a migrating slot are already at the target,
/// moves the others there.
fn place_together(cx: &mut ServerCx<'_>, database: usize, slot: Slot) -> usize {
    let (from, to) = shards_of(cx, database, slot);
    let target = to.filter(|&to| cx.shards[to].slot_len(slot) > 0);
    if let Some(to) = target
        && let Ok([from, to]) = cx.shards.get_disjoint_mut([from, to])
    {
        from.merge_slot(slot, to);
    }
    target.unwrap_or(from)
}

/// The database that an argument names; `None` if there is none of this number.
fn number(cx: &ServerCx<'_>, arg: &[u8], invalid: Refusal) -> Result<Option<usize>, Refusal> {
    let number = parse_i64(arg).and_then(|number| i32::try_from(number).ok());
    let number = number.ok_or(invalid)?;
    Ok(usize::try_from(number).ok().filter(|&number| number < cx.node.settings.databases()))
}
