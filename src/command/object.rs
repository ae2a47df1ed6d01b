//! OBJECT: how a value is kept.
//!
//! None of these reads counts as a use of the key, or OBJECT IDLETIME would always say 0.

use super::spec::access::RO;
use super::spec::flag::{LOADING, READ, STALE};
use super::spec::{
    Arity::{AtLeast, Exactly},
    BASE, Keys, Run, Spec, acl, check,
};
use super::{Args, Cx, Outcome, Refusal};
use crate::keyspace::{Entry, SHARED_INTEGERS, Value};
use crate::resp::Sink;

/// What the subcommands that look at a key share.
const LOOKS: Spec = Spec {
    parent: "object",
    arity: Exactly(3),
    flags: READ,
    acl: acl::KEYSPACE,
    keys: &[Keys::at(RO, 2)],
    tips: &["nondeterministic_output"],
    since: "2.2.3",
    ..BASE
};

const OBJECT: Spec = Spec {
    name: "object",
    arity: AtLeast(2),
    since: "2.2.3",
    complexity: "Depends on subcommand.",
    summary: "Tells how the value at a key is kept.",
    run: Run::Container,
    subcommands: &[
        Spec {
            name: "encoding",
            summary: "Tells how the value is laid out in memory.",
            run: Run::Shard(encoding),
            ..LOOKS
        },
        Spec {
            name: "freq",
            since: "4.0.0",
            summary: "Tells how often the key is used; needs an LFU eviction policy.",
            run: Run::Shard(freq),
            ..LOOKS
        },
        Spec {
            name: "help",
            arity: Exactly(2),
            flags: LOADING | STALE,
            keys: &[],
            tips: &[],
            since: "6.2.0",
            summary: "Lists these subcommands.",
            run: Run::Shard(help),
            ..LOOKS
        },
        Spec {
            name: "idletime",
            summary: "Tells for how many seconds the key has not been used.",
            run: Run::Shard(idletime),
            ..LOOKS
        },
        Spec {
            name: "refcount",
            summary: "Tells how often the value is referred to.",
            run: Run::Shard(refcount),
            ..LOOKS
        },
    ],
    ..BASE
};

pub(super) const ROWS: &[Spec] = &[OBJECT];
const _: () = check(ROWS);

/// What Redis counts for an object that is never freed.
const REFCOUNT_SHARED: i64 = i32::MAX as i64;

fn entry<'c>(cx: &'c mut Cx<'_>, args: Args<'_>) -> Option<&'c Entry> {
    let key = cx.key(args.at(2));
    cx.keyspace.inspect_without_event(key)
}

fn encoding(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    out.bulk_or_null(entry(cx, args).map(|entry| entry.value().encoding().as_bytes()));
    Ok(())
}

fn freq(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    if entry(cx, args).is_some() {
        return Err(Refusal::of(
            "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when switching between policies at runtime LRU and LFU data will take some time to adjust.",
        ));
    }
    out.null();
    Ok(())
}

fn help(_cx: &mut Cx<'_>, _args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    super::help(&OBJECT, out);
    Ok(())
}

fn idletime(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let second = cx.now() / 1000;
    match entry(cx, args) {
        Some(entry) => out.int((second - i64::from(entry.accessed_at())).max(0)),
        None => out.null(),
    }
    Ok(())
}

fn refcount(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    match entry(cx, args).map(Entry::value) {
        Some(Value::Int(0..SHARED_INTEGERS)) => out.int(REFCOUNT_SHARED),
        Some(_) => out.int(1),
        None => out.null(),
    }
    Ok(())
}
