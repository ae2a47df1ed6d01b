//! Runs a script as one unit: the commands that it calls run one after the other on the shards that
//! are held for it.
//!
//! ```text
//! EVAL ─ script found or compiled ─ may it run here? ─► interpreter
//!        redis.call ─ known, allowed, local? ─► the command's own function
//! ```
//!
//! Nothing runs in between, and time stands still: a script sees the time of its batch.

use super::executor::Executor;
use super::running_script::{KEYS_FROM, RunningScript};
use crate::command::{Args, Invocation, Refusal, ScriptCommand};
use crate::ledger::judge::ScriptName;
use crate::resp::Sink;
use crate::script::{
    Flags, FunctionSet, Interpreter, RunError, Script, ScriptArgs, ScriptSha, Scripts,
};
use crate::state::ServerState;
use crate::topology::Port;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Runs a command that runs a script, and writes its reply.
pub(crate) fn run<E: Executor>(
    on: &mut E,
    invocation: &Invocation<'_>,
    command: ScriptCommand,
    out: &mut Sink<'_>,
) {
    let before = out.len();
    let began = on.begin_script(invocation);
    let outcome = catch_unwind(AssertUnwindSafe(|| evaluate(on, invocation, command, out)));
    let refusal = match outcome {
        Ok(Ok(())) => None,
        Ok(Err(refusal)) => Some(refusal),
        Err(_panic) => {
            tracing::error!(command = invocation.spec.name, "a script panicked");
            Some(Refusal::SHARD_PANIC)
        }
    };
    if let Some(refusal) = &refusal {
        out.truncate(before);
        out.error(refusal);
    }
    on.end_script(invocation, began, refusal.as_ref(), out.len() - before);
}

/// Finds the script, runs it and writes its reply.
fn evaluate<E: Executor>(
    on: &mut E,
    invocation: &Invocation<'_>,
    command: ScriptCommand,
    out: &mut Sink<'_>,
) -> Result<(), Refusal> {
    let Some(server) = on.engine().server().cloned() else {
        return Err(Refusal::impossible("a script without a server"));
    };
    match command {
        ScriptCommand::Eval { by_sha, reads_only } => {
            eval(on, invocation, &server, (by_sha, reads_only), out)
        }
        ScriptCommand::Fcall { reads_only } => fcall(on, invocation, &server, reads_only, out),
    }
}

/// Runs a script.
fn eval<E: Executor>(
    on: &mut E,
    invocation: &Invocation<'_>,
    server: &ServerState,
    (by_sha, reads_only): (bool, bool),
    out: &mut Sink<'_>,
) -> Result<(), Refusal> {
    let args = invocation.args;
    let keys = keys_of(args, Refusal::NOT_AN_INTEGER)?;
    let scripts = &server.node(on.port()).scripts;
    let (script, is_new) = find_script(scripts, args.at(1), by_sha)?;
    let generation = scripts.generation();
    let mut interpreter = match on.engine().interpreter.take() {
        Some(interpreter) if interpreter.generation() == generation => interpreter,
        // All scripts were forgotten since.
        old => {
            let memory = old.map_or(0, |old| old.memory() as u64);
            server.script_memory.fetch_sub(memory, Ordering::Relaxed);
            Box::new(
                Interpreter::new(server.product.redis_version, generation).map_err(Refusal::new)?,
            )
        }
    };
    let compiled = interpreter.compile(&script).map_err(Refusal::new);
    if is_new && compiled.is_ok() {
        scripts.add(&script);
    }
    let allowed = may_run(server, on.port(), script.flags, reads_only);
    let (outcome, is_spent) = match compiled.and(allowed) {
        Err(refusal) => (Err(refusal), false),
        Ok(()) => {
            let name = ScriptName::Script {
                command: invocation.spec.name,
                sha: script.sha.digits(),
                text: Some(script.body()),
            };
            let flags = (script.flags, reads_only);
            let mut running = RunningScript::new(on, name, (invocation, keys), flags, server);
            ended(interpreter.run(&script.sha, given(args, keys), &mut running, out))
        }
    };
    server.script_memory.fetch_add(interpreter.take_growth(), Ordering::Relaxed);
    if is_spent {
        server.script_memory.fetch_sub(interpreter.memory() as u64, Ordering::Relaxed);
    } else {
        on.engine().interpreter = Some(interpreter);
    }
    outcome
}

/// Returns the script that a request names, and whether it is new.
fn find_script(
    scripts: &Scripts,
    text: &[u8],
    by_sha: bool,
) -> Result<(Arc<Script>, bool), Refusal> {
    let sha = match by_sha {
        true => ScriptSha::parse(text),
        false => Some(ScriptSha::of(text)),
    };
    match (sha.and_then(|sha| scripts.get(&sha)), sha) {
        (Some(script), _) => Ok((script, false)),
        (None, Some(sha)) if !by_sha => {
            let script = Script::named(sha, text).map_err(Refusal::new)?;
            Ok((Arc::new(script), true))
        }
        (None, _) => Err(Refusal::of("NOSCRIPT No matching script. Please use EVAL.")),
    }
}

/// Calls a function.
fn fcall<E: Executor>(
    on: &mut E,
    invocation: &Invocation<'_>,
    server: &ServerState,
    reads_only: bool,
    out: &mut Sink<'_>,
) -> Result<(), Refusal> {
    let args = invocation.args;
    let functions = &server.node(on.port()).functions;
    let generation = functions.generation();
    let mut set = match on.engine().functions.take() {
        Some(set) if set.generation() == generation => set,
        // The libraries have changed since.
        old => {
            let memory = old.map_or(0, |old| old.memory() as u64);
            server.script_memory.fetch_sub(memory, Ordering::Relaxed);
            let mut set =
                FunctionSet::new(server.product.redis_version, generation).map_err(Refusal::new)?;
            for library in functions.all() {
                // It was loaded before, elsewhere.
                if let Err(error) = set.load(&library.code) {
                    let error = String::from_utf8_lossy(&error).into_owned();
                    tracing::error!(%error, "a library was not loaded again");
                }
            }
            Box::new(set)
        }
    };
    let (name, flags) = (args.at(1), set.flags(args.at(1)));
    let keys = flags.ok_or(Refusal::of("ERR Function not found")).and_then(|flags| {
        let keys = keys_of(args, Refusal::of("ERR Bad number of keys provided"))?;
        may_run(server, on.port(), flags, reads_only).map(|()| (keys, flags))
    });
    let (outcome, is_spent) = match keys {
        Err(refusal) => (Err(refusal), false),
        Ok((keys, flags)) => {
            let label = ScriptName::Function { command: invocation.spec.name, name };
            let flags = (flags, reads_only);
            let mut running = RunningScript::new(on, label, (invocation, keys), flags, server);
            ended(set.run(name, given(args, keys), &mut running, out))
        }
    };
    server.script_memory.fetch_add(set.take_growth(), Ordering::Relaxed);
    if is_spent {
        server.script_memory.fetch_sub(set.memory() as u64, Ordering::Relaxed);
    } else {
        on.engine().functions = Some(set);
    }
    outcome
}

/// Returns what a script is run with: so many keys, and the arguments after them.
fn given(args: Args<'_>, keys: usize) -> ScriptArgs<'_> {
    let (bytes, spans) = args.parts();
    let rest = spans.get(KEYS_FROM..).unwrap_or_default();
    let (keys, args) = rest.split_at_checked(keys).unwrap_or((rest, &[]));
    ScriptArgs { bytes, keys, args }
}

/// Returns the reply's error, and whether the state that has run the script has to be dropped.
fn ended(result: Result<(), RunError>) -> (Result<(), Refusal>, bool) {
    match result {
        Ok(()) => (Ok(()), false),
        Err(error) => (Err(Refusal::new(error.text)), error.is_spent),
    }
}

/// Returns how many keys a script has.
fn keys_of(args: Args<'_>, no_number: Refusal) -> Result<usize, Refusal> {
    let count = args.int(2).map_err(|_| no_number)?;
    if count > (args.len() - KEYS_FROM) as i64 {
        return Err(Refusal::of("ERR Number of keys can't be greater than number of args"));
    }
    usize::try_from(count).map_err(|_negative| Refusal::of("ERR Number of keys can't be negative"))
}

/// Checks whether the flags of a script allow that it runs here.
fn may_run(
    server: &ServerState,
    port: Port,
    flags: Flags,
    reads_only: bool,
) -> Result<(), Refusal> {
    if flags.has(Flags::COMPATIBLE) {
        return Ok(());
    }
    if flags.has(Flags::NO_CLUSTER) && server.is_clustered(port) {
        return Err(Refusal::of("ERR Can not run script on cluster, 'no-cluster' flag is set."));
    }
    if !flags.has(Flags::NO_WRITES) {
        if server.topology.is_replica(port) {
            return Err(Refusal::READ_ONLY_REPLICA);
        }
        if reads_only {
            return Err(Refusal::of(
                "ERR Can not execute a script with write flag using *_ro command.",
            ));
        }
    }
    Ok(())
}
