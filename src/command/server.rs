//! What concerns the server as a whole: its size, its clock, emptying it. CONFIG, INFO and DEBUG
//! have a file each.

mod config;
mod debug;
mod info;

use super::spec::flag::{ADMIN, FAST, LOADING, NOSCRIPT, READ, STALE, WRITE};
use super::spec::{Arity::AtLeast, Arity::Exactly, BASE, Group, Run, Spec, acl, check};
use super::{Args, HostCx, Outcome, Refusal};
use crate::resp::Sink;

/// What all servers' rows share.
const SERVER: Spec = Spec { group: Group::Server, ..BASE };

/// What FLUSHALL and FLUSHDB share: there is one database.
const FLUSH: Spec = Spec {
    arity: AtLeast(1),
    flags: WRITE,
    acl: acl::KEYSPACE | acl::DANGEROUS,
    tips: &["request_policy:all_shards", "response_policy:all_succeeded"],
    run: Run::Cluster(flush),
    ..SERVER
};

pub(super) const ROWS: &[Spec] = &[
    Spec {
        name: "dbsize",
        arity: Exactly(1),
        flags: READ | FAST,
        acl: acl::KEYSPACE,
        tips: &["request_policy:all_shards", "response_policy:agg_sum"],
        summary: "Counts the keys.",
        run: Run::Cluster(dbsize),
        ..SERVER
    },
    Spec {
        name: "flushall",
        complexity: "O(N) where N is the total number of keys in all databases",
        summary: "Removes every key.",
        ..FLUSH
    },
    Spec {
        name: "flushdb",
        complexity: "O(N) where N is the number of keys in the selected database",
        summary: "Removes every key of the database.",
        ..FLUSH
    },
    Spec {
        name: "time",
        arity: Exactly(1),
        flags: LOADING | STALE | FAST,
        since: "2.6.0",
        tips: &["nondeterministic_output"],
        summary: "Tells the time in seconds, and the microseconds of that second.",
        run: Run::Host(time),
        ..SERVER
    },
    Spec {
        name: "lastsave",
        arity: Exactly(1),
        flags: LOADING | STALE | FAST,
        acl: acl::ADMIN | acl::DANGEROUS,
        tips: &["nondeterministic_output"],
        summary: "Tells when the data were last saved: here, when the server started.",
        run: Run::Host(lastsave),
        ..SERVER
    },
    info::ROW,
    config::ROW,
    debug::ROW,
];
const _: () = check(ROWS);

fn dbsize(cx: &mut HostCx<'_>, _: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    out.count(cx.shards.iter().map(|shard| shard.len()).sum());
    Ok(())
}

fn flush(cx: &mut HostCx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    // Both ways are the same here: what is slow to free is always freed away from the shard.
    if args.len() > 2 || (args.len() == 2 && !args.is(1, "async") && !args.is(1, "sync")) {
        return Err(Refusal::SYNTAX);
    }
    for shard in &mut cx.shards {
        shard.clear();
    }
    out.ok();
    Ok(())
}

fn time(cx: &mut HostCx<'_>, _: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    out.array(2);
    out.bulk_int(cx.now.div_euclid(1000));
    out.bulk_int(cx.now.rem_euclid(1000) * 1000);
    Ok(())
}

fn lastsave(cx: &mut HostCx<'_>, _: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    out.int(cx.host.identity.started_at / 1000);
    Ok(())
}
