//! CLUSTER SLOT-STATS: the number of keys by slot and, with `cluster-slot-stats-enabled`, what their
//! commands have taken.

use super::super::{Args, Outcome, Refusal, ServerCx, too_many_arguments};
use super::QUERY;
use super::slot_argument::slot;
use crate::command::spec::flag::{LOADING, STALE};
use crate::command::spec::{Arity::AtLeast, Run, Spec};
use crate::dialect::servers;
use crate::resp::Sink;
use crate::slot::{SLOTS, Slot};
use crate::state::settings::{SLOT_BYTES, SLOT_TIME};
use crate::state::{ServerState, SlotUse};
use crate::text::number::parse_i64;
use crate::topology::{Port, Role};

pub(super) const ROW: Spec = Spec {
    name: "slot-stats",
    arity: AtLeast(4),
    servers: servers::SINCE_7_2,
    flags: LOADING | STALE,
    since: "8.0.0",
    tips: &["nondeterministic_output", "request_policy:all_shards"],
    complexity: "O(N) where N is the total number of slots based on arguments. O(N*log(N)) with ORDERBY subcommand.",
    summary: "Returns the number of keys by slot, and what commands have taken of time and network if that is counted; for a range of slots, or ordered by one of these.",
    run: Run::Cluster(slot_stats),
    ..QUERY
};

/// What is known of a slot.
struct SlotStats {
    slot: Slot,
    keys: usize,
    used: SlotUse,
    /// What is counted: [`SLOT_TIME`], [`SLOT_BYTES`].
    metrics: u8,
}

/// A metric of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Metric {
    KeyCount,
    CpuMicros,
    BytesIn,
    BytesOut,
}

impl Metric {
    const ALL: [Self; 4] = [Self::KeyCount, Self::CpuMicros, Self::BytesIn, Self::BytesOut];

    /// Its name in requests and replies.
    fn name(self) -> &'static str {
        match self {
            Self::KeyCount => "key-count",
            Self::CpuMicros => "cpu-usec",
            Self::BytesIn => "network-bytes-in",
            Self::BytesOut => "network-bytes-out",
        }
    }

    /// Returns its value; `None` if it is not counted.
    fn of(self, stats: &SlotStats) -> Option<u64> {
        match self {
            Self::KeyCount => Some(stats.keys as u64),
            Self::CpuMicros => Some(stats.used.nanos / 1000),
            Self::BytesIn => Some(stats.used.bytes_in),
            Self::BytesOut => Some(stats.used.bytes_out),
        }
        .filter(|_| self.is_counted(stats.metrics))
    }

    fn is_counted(self, metrics: u8) -> bool {
        match self {
            Self::KeyCount => true,
            Self::CpuMicros => metrics & SLOT_TIME != 0,
            Self::BytesIn | Self::BytesOut => metrics & SLOT_BYTES != 0,
        }
    }
}

/// CLUSTER SLOT-STATS SLOTSRANGE first last
/// CLUSTER SLOT-STATS ORDERBY metric [LIMIT limit] [ASC|DESC]
fn slot_stats(cx: &mut ServerCx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let all = if args.is(2, "slotsrange") && args.len() == 5 {
        let (first, last) = (slot(args.at(3))?, slot(args.at(4))?);
        if first > last {
            return Err(Refusal::new(format!(
                "ERR Start slot number {} is greater than end slot number {}",
                first.number(),
                last.number()
            )));
        }
        stats_of(cx, (first.number()..=last.number()).filter_map(Slot::new))
    } else if args.is(2, "orderby") {
        let Order { metric, limit, ascends } = Order::of(args, cx.node.settings.slot_metrics())?;
        let mut all = stats_of(cx, Slot::all());
        // A stable sort: slots with the same value stay in their order.
        all.sort_by(|a, b| {
            let (a, b) = (metric.of(a), metric.of(b));
            if ascends { a.cmp(&b) } else { b.cmp(&a) }
        });
        all.truncate(limit);
        all
    } else {
        return Err(too_many_arguments(args));
    };
    cx.pace.step(SLOTS as usize);
    out.array(all.len());
    for stats in all {
        out.array(2);
        out.int(stats.slot.number().into());
        let counted = Metric::ALL.into_iter().filter_map(|it| it.of(&stats).map(|n| (it, n)));
        out.map(counted.clone().count());
        for (metric, value) in counted {
            out.bulk(metric.name().as_bytes());
            out.int(value.cast_signed());
        }
    }
    Ok(())
}

/// Returns what is known of those of these slots that the port serves, a replica those of its master.
fn stats_of(cx: &ServerCx<'_>, slots: impl Iterator<Item = Slot>) -> Vec<SlotStats> {
    let topology = &cx.server.topology;
    let served_by = match cx.port {
        Port::Router => None,
        Port::Node(node) => Some(match topology.node(node).role {
            Role::ReplicaOf(master) => master,
            Role::Master => node,
        }),
    };
    let is_served = |&slot: &Slot| match (topology.owner_of(slot), served_by) {
        (owner, Some(node)) => owner == Some(node),
        (owner, None) => owner.is_some(),
    };
    let metrics = cx.node.settings.slot_metrics();
    let stats = |slot| SlotStats {
        slot,
        keys: cx.shards.iter().map(|shard| shard.slot_len(slot)).sum(),
        used: cx.node.observer.slot_traffic.of(slot),
        metrics,
    };
    slots.filter(is_served).map(stats).collect()
}

/// Forgets what was counted of slots that nodes do not serve any more.
pub(crate) fn forget_lost_slots(server: &ServerState) {
    for port in server.nodes.covered(Port::Router) {
        let Port::Node(node) = port.port else { continue };
        let owner = match server.topology.node(node).role {
            Role::ReplicaOf(master) => master,
            Role::Master => node,
        };
        let is_lost = |slot| server.topology.owner_of(slot) != Some(owner);
        port.observer.slot_traffic.reset(is_lost);
    }
}

/// The options of ORDERBY.
struct Order {
    metric: Metric,
    /// How many slots are returned at most.
    limit: usize,
    ascends: bool,
}

impl Order {
    /// Parses the options; `metrics` is what is counted besides keys.
    fn of(args: Args<'_>, metrics: u8) -> Result<Self, Refusal> {
        let mut known = Metric::ALL.into_iter().filter(|metric| metric.is_counted(metrics));
        let metric = known.find(|metric| args.is(3, metric.name()));
        let metric = metric.ok_or(Refusal::of("ERR Unrecognized sort metric for ORDERBY."))?;
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
        Ok(Self {
            metric,
            limit: limit.unwrap_or(SLOTS as usize),
            ascends: ascends.unwrap_or(false),
        })
    }
}
