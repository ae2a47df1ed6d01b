//! CLUSTER SLOT-STATS: the number of keys by slot, as Valkey 8 replies; of its metrics only this
//! one, which costs nothing to keep.

use super::super::{Args, Outcome, Refusal, ServerCx, too_many_arguments};
use super::QUERY;
use super::slot_argument::slot;
use crate::command::spec::flag::{LOADING, STALE};
use crate::command::spec::{Arity::AtLeast, Run, Spec};
use crate::dialect::servers;
use crate::resp::Sink;
use crate::slot::{SLOTS, Slot};
use crate::text::number::parse_i64;
use crate::topology::Port;

pub(super) const ROW: Spec = Spec {
    name: "slot-stats",
    arity: AtLeast(4),
    servers: servers::SINCE_7_2,
    flags: LOADING | STALE,
    since: "8.0.0",
    tips: &["nondeterministic_output", "request_policy:all_shards"],
    complexity: "O(N) where N is the total number of slots based on arguments. O(N*log(N)) with ORDERBY subcommand.",
    summary: "Returns the number of keys by slot, for a range of slots or ordered by number.",
    run: Run::Cluster(slot_stats),
    ..QUERY
};

/// CLUSTER SLOT-STATS SLOTSRANGE first last
/// CLUSTER SLOT-STATS ORDERBY KEY-COUNT [LIMIT limit] [ASC|DESC]
fn slot_stats(cx: &mut ServerCx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let counts = if args.is(2, "slotsrange") && args.len() == 5 {
        let (first, last) = (slot(args.at(3))?, slot(args.at(4))?);
        if first > last {
            return Err(Refusal::new(format!(
                "ERR Start slot number {} is greater than end slot number {}",
                first.number(),
                last.number()
            )));
        }
        key_counts(cx, (first.number()..=last.number()).filter_map(Slot::new))
    } else if args.is(2, "orderby") {
        let Order { limit, ascends } = Order::of(args)?;
        let mut counts = key_counts(cx, Slot::all());
        // A stable sort: slots with the same number of keys stay in their order.
        counts.sort_by(|a, b| if ascends { a.1.cmp(&b.1) } else { b.1.cmp(&a.1) });
        counts.truncate(limit);
        counts
    } else {
        return Err(too_many_arguments(args));
    };
    cx.pace.step(SLOTS as usize);
    out.array(counts.len());
    for (slot, keys) in counts {
        out.array(2);
        out.int(slot.number().into());
        out.map(1);
        out.bulk(b"key-count");
        out.count(keys);
    }
    Ok(())
}

/// The number of keys in each of the slots that the port serves.
fn key_counts(cx: &ServerCx<'_>, slots: impl Iterator<Item = Slot>) -> Vec<(Slot, usize)> {
    let is_served = |&slot: &Slot| match cx.port {
        Port::Router => cx.server.topology.owner_of(slot).is_some(),
        Port::Node(node) => cx.server.topology.owner_of(slot) == Some(node),
    };
    let keys = |slot| cx.shards.iter().map(|shard| shard.slot_len(slot)).sum();
    slots.filter(is_served).map(|slot| (slot, keys(slot))).collect()
}

/// The options of ORDERBY.
struct Order {
    /// How many slots are returned at most.
    limit: usize,
    ascends: bool,
}

impl Order {
    fn of(args: Args<'_>) -> Result<Self, Refusal> {
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
        Ok(Self { limit: limit.unwrap_or(SLOTS as usize), ascends: ascends.unwrap_or(false) })
    }
}
