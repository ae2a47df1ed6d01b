//! Commands between databases. A cluster has but number 0, and refuses them; so does the router port, unless
//! keys of several slots may be used together there (`cross-slot audit`).
//!
//! Number 0 is what the topology's shards make up; each of the others has one shard behind them.

use super::spec::access::{ACCESS, RW, UPDATE};
use super::spec::flag::{FAST, OTHER_DATABASE, WRITE};
use super::spec::{Arity::Exactly, BASE, Group, Keys, Run, Spec, acl, check};
use super::{Args, Outcome, Refusal, ServerCx};
use crate::keyspace::{Keyspace, event};
use crate::resp::Sink;
use crate::slot::Slot;
use crate::state::settings::CrossSlot;
use crate::topology::Port;
use std::collections::BTreeSet;

/// What the rows share.
const BETWEEN: Spec =
    Spec { arity: Exactly(3), flags: WRITE | FAST | OTHER_DATABASE, acl: acl::KEYSPACE, ..BASE };

pub(super) const ROWS: &[Spec] = &[
    Spec {
        name: "move",
        keys: &[Keys::at(RW | ACCESS | UPDATE, 1)],
        summary: "Moves a key to another database, of which a cluster has none.",
        run: Run::Whole(move_),
        ..BETWEEN
    },
    Spec {
        name: "swapdb",
        group: Group::Server,
        acl: acl::KEYSPACE | acl::DANGEROUS,
        since: "4.0.0",
        complexity: "O(N) where N is the count of clients watching or blocking on keys from both databases.",
        summary: "Swaps two databases, of which a cluster has but one.",
        run: Run::Whole(swapdb),
        ..BETWEEN
    },
];
const _: () = check(ROWS);

/// Whether clients of this port may choose databases.
fn may_choose(cx: &ServerCx<'_>) -> bool {
    cx.me.database() != 0
        || (cx.port == Port::Router && cx.server.settings.cross_slot() == CrossSlot::Audit)
}

/// The shards that have the keys of a slot in a database: its own, and the one that takes the slot over.
fn homes(cx: &ServerCx<'_>, database: usize, slot: Slot) -> (usize, Option<usize>) {
    let topology = &cx.server.topology;
    match (database.checked_sub(1), topology.move_of(slot)) {
        (Some(number), _) => (topology.shards() + number, None),
        (None, Some(it)) => (it.from, Some(it.to).filter(|&to| to != it.from)),
        (None, None) => (topology.shard_of(slot), None),
    }
}

/// The shard where a key is, or comes to be.
fn home(cx: &mut ServerCx<'_>, database: usize, key: &[u8]) -> usize {
    let slot = Slot::of(key);
    let (from, to) = homes(cx, database, slot);
    let key = cx.shards[from].key(slot, key);
    match to {
        // In a slot that is on the move it may have gone ahead.
        Some(to) if cx.shards[from].peek(key).is_none() => to,
        _ => from,
    }
}

/// MOVE key db
fn move_(cx: &mut ServerCx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    if !may_choose(cx) {
        return Err(Refusal::of("ERR MOVE is not allowed in cluster mode"));
    }
    let target = number(cx, args.at(2), Refusal::NOT_AN_INTEGER)?
        .ok_or(Refusal::of("ERR DB index is out of range"))?;
    let source = cx.me.database() as usize;
    if source == target {
        return Err(Refusal::of("ERR source and destination objects are the same"));
    }
    let (from, to) = (home(cx, source, args.at(1)), home(cx, target, args.at(1)));
    let key = cx.shards[from].key(Slot::of(args.at(1)), args.at(1));
    if cx.shards[from].peek(key).is_none() || cx.shards[to].peek(key).is_some() {
        out.int(0);
        return Ok(());
    }
    if let Some(parcel) = cx.shards[from].pack(key) {
        cx.shards[to].unpack(key, parcel);
    }
    cx.shards[from].announce(event::GENERIC, "move_from", key.bytes);
    cx.shards[to].announce(event::GENERIC, "move_to", key.bytes);
    out.int(1);
    Ok(())
}

/// SWAPDB index1 index2
fn swapdb(cx: &mut ServerCx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    if !may_choose(cx) {
        return Err(Refusal::of("ERR SWAPDB is not allowed in cluster mode"));
    }
    let first = number(cx, args.at(1), Refusal::of("ERR invalid first DB index"))?;
    let second = number(cx, args.at(2), Refusal::of("ERR invalid second DB index"))?;
    let (Some(first), Some(second)) = (first, second) else {
        return Err(Refusal::of("ERR DB index is out of range"));
    };
    if first != second {
        let mut homes = Vec::with_capacity(Slot::all().count());
        for slot in Slot::all() {
            let homes_of_both = [first, second].map(|database| {
                let (from, to) = self::homes(cx, database, slot);
                // Where some keys of a slot on the move have gone ahead, the others follow them.
                let ahead = to.filter(|&to| cx.shards[to].slot_len(slot) > 0);
                if let Some(to) = ahead
                    && let Ok([from, to]) = cx.shards.get_disjoint_mut([from, to])
                {
                    from.merge_slot(slot, to);
                }
                ahead.unwrap_or(from)
            });
            homes.push((slot, homes_of_both[0], homes_of_both[1]));
        }
        let shards: BTreeSet<usize> = homes.iter().flat_map(|&(_, a, b)| [a, b]).collect();
        // Who watches or awaits a key is told if it is there before or after.
        for &shard in &shards {
            cx.shards[shard].touch_present();
        }
        let mut aside = Keyspace::new(std::iter::empty(), cx.shards[0].hasher().clone(), 0);
        for (slot, a, b) in homes {
            let Ok([a, b]) = cx.shards.get_disjoint_mut([a, b]) else { continue };
            a.transfer_slot(slot, &mut aside);
            b.transfer_slot(slot, a);
            aside.transfer_slot(slot, b);
            cx.pace.step(1);
        }
        for &shard in &shards {
            cx.shards[shard].touch_present();
        }
    }
    out.ok();
    Ok(())
}

/// The database that an argument names; `None` if there is none of this number.
fn number(cx: &ServerCx<'_>, arg: &[u8], unfit: Refusal) -> Result<Option<usize>, Refusal> {
    let number = crate::text::number::parse_i64(arg).and_then(|number| i32::try_from(number).ok());
    let number = number.ok_or(unfit)?;
    Ok(usize::try_from(number).ok().filter(|&number| number < cx.server.settings.databases()))
}
