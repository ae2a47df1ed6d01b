//! FUNCTION and FCALL: libraries of scripts that are called by name.

use super::script::{EVAL, READS, RUNS, SCRIPT, WRITES, kill_running, shards_in_view};
use super::spec::flag::{ALLOW_BUSY, DENYOOM, LOADING, NOSCRIPT, READ, STALE, UNWATCHED, WRITE};
use super::spec::{
    Arity::{AtLeast, Exactly},
    Run, ScriptCommand, Spec, check,
};
use super::{Args, Outcome, Refusal, ServerCx, help, too_many_arguments};
use crate::dialect::Product;
use crate::rdb;
use crate::resp::Sink;
use crate::script::{Existing, FunctionSet, Functions, Library};
use crate::state::ScriptKind;
use crate::text::glob;
use crate::topology::Port;
use std::sync::Arc;

/// Defaults of the subcommands' rows.
const FUNCTION: Spec =
    Spec { parent: "function", arity: Exactly(2), flags: NOSCRIPT, since: "7.0.0", ..SCRIPT };

pub(super) const ROWS: &[Spec] = &[
    Spec {
        name: "fcall",
        keys: &[WRITES.noted(
            "We cannot tell how the keys will be used so we assume the worst, RW and UPDATE",
        )],
        since: "7.0.0",
        complexity: "Depends on the function that is executed.",
        summary: "Calls a function on the shard that owns its keys.",
        run: Run::Script(ScriptCommand::Fcall { reads_only: false }),
        ..EVAL
    },
    Spec {
        name: "fcall_ro",
        flags: RUNS | READ,
        keys: &[READS.noted(
            "We cannot tell how the keys will be used so we assume the worst, RO and ACCESS",
        )],
        since: "7.0.0",
        complexity: "Depends on the function that is executed.",
        summary: "Calls a function that only reads.",
        run: Run::Script(ScriptCommand::Fcall { reads_only: true }),
        ..EVAL
    },
    Spec {
        name: "function",
        parent: "",
        arity: AtLeast(2),
        flags: 0,
        acl: 0,
        complexity: "Depends on subcommand.",
        summary: "Holds the commands about functions.",
        subcommands: SUBCOMMANDS,
        ..FUNCTION
    },
];
const _: () = check(ROWS);

const SUBCOMMANDS: &[Spec] = &[
    Spec {
        name: "load",
        arity: AtLeast(3),
        flags: WRITE | DENYOOM | NOSCRIPT | UNWATCHED,
        complexity: "O(1) (considering compilation time is redundant)",
        tips: &["request_policy:all_shards", "response_policy:all_succeeded"],
        summary: "Loads a library.",
        run: Run::Server(load),
        ..FUNCTION
    },
    Spec {
        name: "list",
        arity: AtLeast(2),
        complexity: "O(N) where N is the number of functions",
        tips: &["nondeterministic_output_order"],
        summary: "Returns the libraries with their functions.",
        run: Run::Server(list),
        ..FUNCTION
    },
    Spec {
        name: "delete",
        arity: Exactly(3),
        flags: WRITE | NOSCRIPT | UNWATCHED,
        tips: &["request_policy:all_shards", "response_policy:all_succeeded"],
        summary: "Removes a library.",
        run: Run::Server(delete),
        ..FUNCTION
    },
    Spec {
        name: "flush",
        arity: AtLeast(2),
        flags: WRITE | NOSCRIPT | UNWATCHED,
        complexity: "O(N) where N is the number of functions deleted",
        tips: &["request_policy:all_shards", "response_policy:all_succeeded"],
        summary: "Removes all libraries.",
        run: Run::Server(flush),
        ..FUNCTION
    },
    Spec {
        name: "dump",
        complexity: "O(N) where N is the number of functions",
        summary: "Returns all libraries as bytes for FUNCTION RESTORE.",
        run: Run::Server(dump),
        ..FUNCTION
    },
    Spec {
        name: "restore",
        arity: AtLeast(3),
        flags: WRITE | DENYOOM | NOSCRIPT | UNWATCHED,
        complexity: "O(N) where N is the number of functions on the payload",
        tips: &["request_policy:all_shards", "response_policy:all_succeeded"],
        summary: "Loads the libraries that FUNCTION DUMP has returned.",
        run: Run::Server(restore),
        ..FUNCTION
    },
    Spec {
        name: "stats",
        flags: NOSCRIPT | ALLOW_BUSY,
        tips: &["nondeterministic_output", "request_policy:all_shards", "response_policy:special"],
        summary: "Returns the function that makes others wait, and how many libraries and functions there are.",
        run: Run::Server(stats),
        ..FUNCTION
    },
    Spec {
        name: "kill",
        flags: NOSCRIPT | ALLOW_BUSY,
        tips: &["request_policy:all_shards", "response_policy:one_succeeded"],
        summary: "Ends the function that makes others wait, unless it has written.",
        run: Run::Server(kill),
        ..FUNCTION
    },
    Spec {
        name: "help",
        flags: LOADING | STALE,
        summary: "Lists the subcommands.",
        run: Run::Server(|cx, _, out| {
            help(&ROWS[ROWS.len() - 1], cx.product, out);
            Ok(())
        }),
        ..FUNCTION
    },
];

/// Calls `act` with the libraries of the client's node; for a client of the router port also with
/// those of all nodes. The first error counts.
fn for_each_registry(
    cx: &ServerCx<'_>,
    act: impl Fn(&Functions) -> Result<(), Vec<u8>>,
) -> Outcome {
    act(&cx.node.functions).map_err(Refusal::new)?;
    if cx.port == Port::Router {
        for node in 0..cx.server.topology.nodes() {
            act(&cx.server.node(Port::Node(node)).functions).map_err(Refusal::new)?;
        }
    }
    Ok(())
}

/// Returns the library of this text, which has run once.
fn library(product: &Product, code: &[u8]) -> Result<Arc<Library>, Refusal> {
    let mut set = FunctionSet::new(product.redis_version, 0).map_err(Refusal::new)?;
    set.load(code).map(Arc::new).map_err(Refusal::new)
}

/// `FUNCTION LOAD [REPLACE] code`
fn load(cx: &mut ServerCx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let options = args.len() - 3;
    let replaces = options > 0 && args.is(2, "replace");
    if let Some(option) = (2 + usize::from(replaces)..2 + options).next() {
        return Err(Refusal::new([b"ERR Unknown option given: ", args.at(option)].concat()));
    }
    let existing = if replaces { Existing::Replace } else { Existing::Keep };
    let code = args.at(args.len() - 1);
    let name = Library::name_of(code).map_err(Refusal::new)?;
    if !replaces && cx.node.functions.all().iter().any(|other| other.name == name) {
        return Err(Refusal::new([b"ERR Library '", &name[..], b"' already exists"].concat()));
    }
    let library = library(cx.product, code)?;
    for_each_registry(cx, |functions| functions.add(&[Arc::clone(&library)], existing))?;
    out.bulk(&library.name);
    Ok(())
}

/// `FUNCTION LIST [LIBRARYNAME pattern] [WITHCODE]`
fn list(cx: &mut ServerCx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let (mut at, mut pattern, mut with_code) = (2, None, false);
    while at < args.len() {
        if !with_code && args.is(at, "withcode") {
            with_code = true;
            at += 1;
        } else if pattern.is_none() && args.is(at, "libraryname") {
            let given = args.get(at + 1);
            pattern = Some(given.ok_or(Refusal::of("ERR library name argument was not given"))?);
            at += 2;
        } else {
            return Err(Refusal::new([b"ERR Unknown argument ", args.at(at)].concat()));
        }
    }
    let mut libraries = cx.node.functions.all();
    if let Some(pattern) = pattern {
        libraries.retain(|library| glob::matches_nocase(pattern, &library.name));
    }
    out.array(libraries.len());
    for library in &libraries {
        out.map(if with_code { 4 } else { 3 });
        out.bulk(b"library_name");
        out.bulk(&library.name);
        out.bulk(b"engine");
        out.bulk(b"LUA");
        out.bulk(b"functions");
        out.array(library.functions.len());
        for function in &library.functions {
            out.map(3);
            out.bulk(b"name");
            out.bulk(&function.name);
            out.bulk(b"description");
            out.bulk_or_null(function.description.as_deref());
            out.bulk(b"flags");
            let names: Vec<&str> = function.flags.names().collect();
            out.set(names.len());
            names.iter().for_each(|name| out.simple(name));
        }
        if with_code {
            out.bulk(b"library_code");
            out.bulk(&library.code);
        }
    }
    Ok(())
}

/// `FUNCTION DELETE library`
fn delete(cx: &mut ServerCx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let name = args.at(2);
    if !cx.node.functions.all().iter().any(|library| library.name == name) {
        return Err(Refusal::of("ERR Library not found"));
    }
    for_each_registry(cx, |functions| {
        functions.remove(name);
        Ok(())
    })?;
    out.ok();
    Ok(())
}

/// `FUNCTION FLUSH [ASYNC|SYNC]`
fn flush(cx: &mut ServerCx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    if args.len() > 3 {
        return Err(too_many_arguments(args));
    }
    if args.len() == 3 && !args.is(2, "async") && !args.is(2, "sync") {
        return Err(Refusal::of("ERR FUNCTION FLUSH only supports SYNC|ASYNC option"));
    }
    for_each_registry(cx, |functions| {
        functions.flush();
        Ok(())
    })?;
    out.ok();
    Ok(())
}

/// `FUNCTION DUMP`
fn dump(cx: &mut ServerCx<'_>, _: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let libraries = cx.node.functions.all();
    out.bulk(&rdb::encode_libraries(libraries.iter().map(|library| &library.code[..])));
    Ok(())
}

/// `FUNCTION RESTORE bytes [FLUSH|APPEND|REPLACE]`
fn restore(cx: &mut ServerCx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    if args.len() > 4 {
        return Err(too_many_arguments(args));
    }
    let existing = match args.len() {
        3 => Existing::Keep,
        _ if args.is(3, "append") => Existing::Keep,
        _ if args.is(3, "replace") => Existing::Replace,
        _ if args.is(3, "flush") => Existing::Remove,
        _ => {
            return Err(Refusal::of(
                "ERR Wrong restore policy given, value should be either FLUSH, APPEND or REPLACE.",
            ));
        }
    };
    let codes = rdb::decode_libraries(args.at(2));
    let codes = codes.map_err(|error| Refusal::new(error.to_string()))?;
    let libraries =
        codes.iter().map(|code| library(cx.product, code)).collect::<Result<Vec<_>, Refusal>>()?;
    for_each_registry(cx, |functions| functions.add(&libraries, existing))?;
    out.ok();
    Ok(())
}

/// `FUNCTION STATS`: of the functions in view of the port that make others wait the first, unless a
/// script does so.
fn stats(cx: &mut ServerCx<'_>, _: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let (running, shards) = (&cx.server.running_scripts, shards_in_view(cx));
    let function = running.function(shards.clone());
    if function.is_none() && running.busy_of(shards) == Some(ScriptKind::Script) {
        return Err(Refusal::BUSY_SCRIPT);
    }
    let libraries = cx.node.functions.all();
    out.map(2);
    out.bulk(b"running_script");
    match function {
        None => out.null(),
        Some(function) => {
            out.map(3);
            out.bulk(b"name");
            out.bulk(&function.name);
            out.bulk(b"command");
            out.array(function.command.len());
            function.command.iter().for_each(|word| out.bulk(word));
            out.bulk(b"duration_ms");
            out.int(cx.now.saturating_sub(function.began).max(0));
        }
    }
    out.bulk(b"engines");
    out.map(1);
    out.bulk(b"LUA");
    out.map(2);
    out.bulk(b"libraries_count");
    out.count(libraries.len());
    out.bulk(b"functions_count");
    out.count(libraries.iter().map(|library| library.functions.len()).sum());
    Ok(())
}

/// `FUNCTION KILL`
fn kill(cx: &mut ServerCx<'_>, _: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    kill_running(cx, ScriptKind::Function, out)
}
