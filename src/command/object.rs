//! OBJECT: how a value is stored.
//!
//! None of these reads counts as a use of the key, or OBJECT IDLETIME would always be 0.

use super::spec::access::RO;
use super::spec::flag::{LOADING, READ, STALE};
use super::spec::{
    Arity::{AtLeast, Exactly},
    BASE, Keys, Run, Spec, acl, check,
};
use super::{Args, Cx, Outcome, Refusal};
use crate::dialect::Product;
use crate::keyspace::{Entry, SHARED_INTEGERS, Value};
use crate::resp::Sink;

/// Defaults of the subcommands that inspect a key.
const INSPECT: Spec = Spec {
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
    summary: "Holds the commands that show how the value at a key is stored.",
    run: Run::Container,
    subcommands: &[
        Spec {
            name: "encoding",
            summary: "Returns the encoding of the value in memory.",
            run: Run::Shard(encoding),
            ..INSPECT
        },
        Spec {
            name: "freq",
            since: "4.0.0",
            summary: "Returns how often the key is used; needs an LFU eviction policy.",
            run: Run::Shard(freq),
            ..INSPECT
        },
        Spec {
            name: "help",
            arity: Exactly(2),
            flags: LOADING | STALE,
            keys: &[],
            tips: &[],
            since: "6.2.0",
            summary: "Lists the subcommands.",
            run: Run::Shard(help),
            ..INSPECT
        },
        Spec {
            name: "idletime",
            summary: "Returns for how many seconds the key has not been used.",
            run: Run::Shard(idletime),
            ..INSPECT
        },
        Spec {
            name: "refcount",
            summary: "Returns the number of references to the value.",
            run: Run::Shard(refcount),
            ..INSPECT
        },
    ],
    ..BASE
};

pub(super) const ROWS: &[Spec] = &[OBJECT];
const _: () = check(ROWS);

/// Redis' reference count of an object that is never freed.
const REFCOUNT_SHARED: i64 = i32::MAX as i64;

fn entry<'c>(cx: &'c mut Cx<'_>, args: Args<'_>) -> Option<&'c Entry> {
    let key = cx.key(args.at(2));
    cx.keyspace.inspect_without_event(key)
}

fn encoding(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let product = cx.product;
    let shown = entry(cx, args).map(|entry| encoding_of(entry.value(), product));
    out.bulk_or_null(shown.map(str::as_bytes));
    Ok(())
}

/// Returns the encoding of a value as a server names it.
pub(super) fn encoding_of(value: &Value, product: &Product) -> &'static str {
    match value.encoding() {
        // Valkey has no small form of a hash whose fields expire.
        "listpackex" if product.has_valkey_field_options => "hashtable",
        name => name,
    }
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

fn help(cx: &mut Cx<'_>, _args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    super::help(&OBJECT, cx.product, out);
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
