//! EVAL, EVALSHA and SCRIPT: scripts that run on the shard that owns their keys.
//!
//! The shard runs the script itself (`shard/script.rs`), as it may call any command. What is here
//! besides the rows is the registry of scripts.

use super::spec::access::{ACCESS, RO, RW, UPDATE};
use super::spec::flag::{
    ALLOW_BUSY, LOADING, MAY_REPLICATE, MOVABLE_KEYS, NO_MANDATORY_KEYS, NOSCRIPT, READ,
    SCRIPT_RUNNER, SKIP_MONITOR, STALE,
};
use super::spec::{
    Arity::{AtLeast, Exactly},
    BASE, Begin, Find, Group, Keys, Run, SAME, ScriptCommand, Spec, Variant, acl, check,
};
use super::{Args, Outcome, Refusal, ServerCx, help};
use crate::dialect::servers;
use crate::resp::Sink;
use crate::script::{Script, ScriptSha, check_syntax};
use crate::state::{Killed, ScriptKind};
use crate::topology::Port;
use std::ops::Range;
use std::sync::Arc;

/// The keys of a script: as many as its second argument says.
const fn counted(access: u16) -> Keys {
    let find = Find::Count { at: 0, first: 1, step: 1 };
    Keys { access, begin: Begin::Index(2), find, notes: "" }
}

/// What a script does to its keys is unknown.
pub(super) const WRITES: Keys = counted(RW | ACCESS | UPDATE);
/// It reads them.
pub(super) const READS: Keys = counted(RO | ACCESS);

/// The properties of the commands that run scripts.
pub(super) const RUNS: u64 = NOSCRIPT | STALE | SKIP_MONITOR | NO_MANDATORY_KEYS | MOVABLE_KEYS;

/// Defaults of the rows that run scripts.
pub(super) const EVAL: Spec = Spec {
    arity: AtLeast(3),
    flags: RUNS | MAY_REPLICATE,
    variants: &[Variant { servers: servers::REDIS8_10, with: SCRIPT_RUNNER, ..SAME }],
    acl: acl::SCRIPTING,
    group: Group::Scripting,
    since: "2.6.0",
    complexity: "Depends on the script that is executed.",
    ..BASE
};
/// Defaults of the subcommands' rows.
pub(super) const SCRIPT: Spec = Spec {
    parent: "script",
    arity: Exactly(2),
    flags: NOSCRIPT,
    acl: acl::SCRIPTING,
    group: Group::Scripting,
    since: "2.6.0",
    ..BASE
};

pub(super) const ROWS: &[Spec] = &[
    Spec {
        name: "eval",
        keys: &[WRITES.noted(
            "We cannot tell how the keys will be used so we assume the worst, RW and UPDATE",
        )],
        summary: "Runs a script on the shard that owns its keys.",
        run: Run::Script(ScriptCommand::Eval { by_sha: false, reads_only: false }),
        ..EVAL
    },
    Spec {
        name: "evalsha",
        keys: &[WRITES],
        summary: "Runs a script that was loaded before, by its SHA-1.",
        run: Run::Script(ScriptCommand::Eval { by_sha: true, reads_only: false }),
        ..EVAL
    },
    Spec {
        name: "eval_ro",
        flags: RUNS | READ,
        keys: &[READS.noted(
            "We cannot tell how the keys will be used so we assume the worst, RO and ACCESS",
        )],
        since: "7.0.0",
        summary: "Runs a script that only reads.",
        run: Run::Script(ScriptCommand::Eval { by_sha: false, reads_only: true }),
        ..EVAL
    },
    Spec {
        name: "evalsha_ro",
        flags: RUNS | READ,
        keys: &[READS],
        since: "7.0.0",
        summary: "Runs a script that only reads and was loaded before, by its SHA-1.",
        run: Run::Script(ScriptCommand::Eval { by_sha: true, reads_only: true }),
        ..EVAL
    },
    Spec {
        name: "script",
        parent: "",
        arity: AtLeast(2),
        flags: 0,
        acl: 0,
        complexity: "Depends on subcommand.",
        summary: "Holds the commands about scripts.",
        subcommands: SUBCOMMANDS,
        ..SCRIPT
    },
];
const _: () = check(ROWS);

const SUBCOMMANDS: &[Spec] = &[
    Spec {
        name: "load",
        arity: Exactly(3),
        flags: NOSCRIPT | STALE,
        complexity: "O(N) with N being the length in bytes of the script body.",
        tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
        summary: "Keeps a script for EVALSHA, and returns its SHA-1.",
        run: Run::Server(load),
        ..SCRIPT
    },
    Spec {
        name: "exists",
        arity: AtLeast(3),
        variants: &[Variant { servers: servers::VALKEY9, with: STALE, ..SAME }],
        complexity: "O(N) with N being the number of scripts to check (so checking a single script is an O(1) operation).",
        tips: &["request_policy:all_shards", "response_policy:agg_logical_and"],
        summary: "Returns of each SHA-1 whether EVALSHA finds a script.",
        run: Run::Server(exists),
        ..SCRIPT
    },
    Spec {
        name: "show",
        arity: Exactly(3),
        flags: NOSCRIPT | STALE,
        servers: servers::VALKEY9,
        since: "8.0.0",
        complexity: "O(1).",
        summary: "Returns the text of a script that was loaded before, by its SHA-1.",
        run: Run::Server(show),
        ..SCRIPT
    },
    Spec {
        name: "flush",
        arity: AtLeast(2),
        variants: &[Variant { servers: servers::VALKEY9, with: STALE, ..SAME }],
        complexity: "O(N) with N being the number of scripts in cache",
        tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
        summary: "Forgets all scripts.",
        run: Run::Server(flush),
        ..SCRIPT
    },
    Spec {
        name: "kill",
        flags: NOSCRIPT | ALLOW_BUSY,
        tips: &["request_policy:all_shards", "response_policy:one_succeeded"],
        summary: "Ends the script that makes others wait, unless it has written.",
        run: Run::Server(kill),
        ..SCRIPT
    },
    Spec {
        name: "debug",
        arity: Exactly(3),
        variants: &[Variant { servers: servers::VALKEY9, arity: Some(AtLeast(3)), ..SAME }],
        since: "3.2.0",
        summary: "Refuses the debugger of scripts, which Slotway has not; turns it off.",
        run: Run::Server(debug),
        ..SCRIPT
    },
    Spec {
        name: "help",
        flags: LOADING | STALE,
        since: "5.0.0",
        summary: "Lists the subcommands.",
        run: Run::Server(|cx, _, out| {
            help(container(), cx.product, out);
            Ok(())
        }),
        ..SCRIPT
    },
];

/// The row that SCRIPT HELP is about.
fn container() -> &'static Spec {
    &ROWS[ROWS.len() - 1]
}

/// `SCRIPT LOAD script`: for clients of the router port on all nodes.
fn load(cx: &mut ServerCx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let script = Arc::new(Script::new(args.at(2)).map_err(Refusal::new)?);
    check_syntax(&script).map_err(Refusal::new)?;
    for_each_registry(cx, |scripts| scripts.add(&script));
    out.bulk(script.sha.digits());
    Ok(())
}

/// Calls `act` with the scripts of the client's node; for a client of the router port also with
/// those of all nodes.
fn for_each_registry(cx: &ServerCx<'_>, act: impl Fn(&crate::script::Scripts)) {
    act(&cx.node.scripts);
    if cx.port == Port::Router {
        for node in 0..cx.server.topology.nodes() {
            act(&cx.server.node(Port::Node(node)).scripts);
        }
    }
}

/// `SCRIPT SHOW sha1`
fn show(cx: &mut ServerCx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let script = ScriptSha::parse(args.at(2)).and_then(|sha| cx.node.scripts.get(&sha));
    let script = script.ok_or(Refusal::of("NOSCRIPT No matching script."))?;
    out.bulk(&script.text);
    Ok(())
}

/// `SCRIPT EXISTS sha1 [sha1 …]`
fn exists(cx: &mut ServerCx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    out.array(args.len() - 2);
    for sha in args.from(2) {
        let found = ScriptSha::parse(sha).and_then(|sha| cx.node.scripts.get(&sha));
        out.int(found.is_some().into());
    }
    Ok(())
}

/// `SCRIPT FLUSH [ASYNC|SYNC]`
fn flush(cx: &mut ServerCx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let has_mode = args.len() == 3 && (args.is(2, "async") || args.is(2, "sync"));
    if args.len() > 2 && !has_mode {
        return Err(Refusal::of("ERR SCRIPT FLUSH only support SYNC|ASYNC option"));
    }
    for_each_registry(cx, crate::script::Scripts::flush);
    out.ok();
    Ok(())
}

/// `SCRIPT KILL`
fn kill(cx: &mut ServerCx<'_>, _: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    kill_running(cx, ScriptKind::Script, out)
}

/// Returns the shards in view of the port.
pub(super) fn shards_in_view(cx: &ServerCx<'_>) -> Range<usize> {
    let topology = &cx.server.topology;
    match cx.port {
        Port::Router => 0..topology.shards(),
        Port::Node(node) => topology.shard_of_node(node)..topology.shard_of_node(node) + 1,
    }
}

/// Ends the scripts, or the functions, in view of the port that make others wait and have not
/// written.
pub(super) fn kill_running(cx: &mut ServerCx<'_>, kind: ScriptKind, out: &mut Sink<'_>) -> Outcome {
    match cx.server.running_scripts.kill(kind, shards_in_view(cx)) {
        Killed::Yes => {
            out.ok();
            Ok(())
        }
        Killed::HasWritten => Err(Refusal::of(
            "UNKILLABLE Sorry the script already executed write commands against the dataset. You can \
             either wait the script termination or kill the server in a hard way using the SHUTDOWN \
             NOSAVE command.",
        )),
        Killed::OtherRuns if kind == ScriptKind::Script => Err(Refusal::BUSY_FUNCTION),
        Killed::OtherRuns => Err(Refusal::BUSY_SCRIPT),
        Killed::NoneRuns => Err(Refusal::of("NOTBUSY No scripts in execution right now.")),
    }
}

/// `SCRIPT DEBUG YES|SYNC|NO`
fn debug(_: &mut ServerCx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    if args.is(2, "no") {
        out.ok();
        return Ok(());
    }
    Err(Refusal::of(match args.is(2, "yes") || args.is(2, "sync") {
        true => "ERR Slotway has no debugger of scripts",
        false => "ERR Use SCRIPT DEBUG YES/SYNC/NO",
    }))
}
