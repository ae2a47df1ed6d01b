//! CLUSTER FLUSHSLOT, of Valkey: removes the keys of a slot.

use super::slot_argument::slot;
use super::{QUERY, too_many_arguments};
use crate::command::spec::flag::{ADMIN, NO_ASYNC_LOADING, WRITE};
use crate::command::spec::{Arity::AtLeast, Run, Spec, acl};
use crate::command::{Args, Outcome, Refusal, ServerCx};
use crate::dialect::servers;
use crate::keyspace::{Keyed, event};
use crate::resp::Sink;
use crate::topology::Port;

pub(super) const ROW: Spec = Spec {
    name: "flushslot",
    arity: AtLeast(3),
    servers: servers::VALKEY9,
    flags: WRITE | ADMIN | NO_ASYNC_LOADING,
    acl: acl::KEYSPACE,
    since: "9.0.0",
    complexity: "O(N) where N is the number of keys in the slot",
    summary: "Removes the keys of a slot.",
    run: Run::Whole(flushslot),
    ..QUERY
};

/// CLUSTER FLUSHSLOT slot [ASYNC | SYNC]; a slot of another node has no keys here
fn flushslot(cx: &mut ServerCx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    if args.len() > 4 {
        return Err(too_many_arguments(args));
    }
    let slot = slot(args.at(2))?;
    if args.len() == 4 && !args.is(3, "async") && !args.is(3, "sync") {
        return Err(Refusal::SYNTAX);
    }
    let Port::Node(me) = cx.port else { return Err(Refusal::NO_CLUSTER) };
    let shard = cx.server.topology.shard_of_node(me);
    let (keyspace, mut names) = (&mut cx.shards[shard], Vec::<Box<[u8]>>::new());
    keyspace.walk_slot(slot, |entry| {
        names.push(entry.key().into());
        true
    });
    for name in names {
        cx.pace.step(1);
        let key = keyspace.key(slot, &name);
        if keyspace.delete(key) {
            keyspace.notify_event(event::GENERIC, "del", &name);
        }
    }
    out.ok();
    Ok(())
}
