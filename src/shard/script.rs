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
use crate::command::{Args, ArgsFrom, Invocation, Refusal, ScriptCommand, flag, named, resolve};
use crate::dialect::REDIS_VERSION;
use crate::keyspace::Millis;
use crate::ledger::judge::{self, Declared, ScriptName};
use crate::ledger::{Fate, FromArgument};
use crate::resp::{Proto, Sink, Span};
use crate::script::{
    CallError, Flags, FunctionSet, Host, Interpreter, RunError, Script, ScriptArgs, ScriptSha,
    Scripts,
};
use crate::session::{note_lacking_of_script, note_scope_of_script, note_stray_key};
use crate::slot::{Footprint, Slot};
use crate::state::{RunningFunction, ScriptKind, ServerState};
use crate::topology::Port;
use std::borrow::Cow;
use std::iter::Take;
use std::num::NonZeroU64;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Where the keys and arguments of a script begin.
const KEYS_FROM: usize = 3;
/// How many steps of the pace are counted for each look at the server.
const STEPS_PER_TICK: usize = 1024;

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
    on.end_script(invocation, began, refusal.as_ref());
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
            Box::new(Interpreter::new(REDIS_VERSION, generation).map_err(Refusal::new)?)
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
            let mut set = FunctionSet::new(REDIS_VERSION, generation).map_err(Refusal::new)?;
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

const NON_LOCAL: Refusal =
    Refusal::of("ERR Script attempted to access a non local key in a cluster node");
const OTHER_SLOT: Refusal =
    Refusal::of("ERR Script attempted to access keys that do not hash to the same slot");

/// Most calls of one run of a script that are reported.
const JUDGED_MAX: usize = 8;

/// A script that runs, as the server that its commands run on.
struct RunningScript<'x, E> {
    on: &'x mut E,
    /// Its command, its SHA-1 and its first line, for reports.
    name: ScriptName<'x>,
    /// The command that runs it.
    args: Args<'x>,
    /// The keys that it was given.
    declared: Take<ArgsFrom<'x>>,
    /// The slot of all of them.
    declared_slot: Option<Slot>,
    /// Its arguments that are no keys.
    arguments: ArgsFrom<'x>,
    /// How many of its calls were reported.
    judged: usize,
    /// The number of its unit in reports.
    unit: Option<NonZeroU64>,
    /// Of a script without keys, the first key that it was reported for.
    first_used: Option<Vec<u8>>,
    /// It has asked for the keys of its node.
    has_scanned: bool,
    flags: Flags,
    /// It may not write.
    reads_only: bool,
    /// It runs on a replica, which clients may not write to.
    is_replica: bool,
    has_written: bool,
    /// The time of its batch.
    began: Millis,
    /// After how many milliseconds others are refused.
    busy_ms: Option<i64>,
    /// The shards whose other clients are refused.
    busy: Vec<usize>,
    server: &'x ServerState,
    /// The slot of its keys; without any, that of the first key that it uses.
    slot: Option<Slot>,
}

impl<E: Executor> Host for RunningScript<'_, E> {
    fn call(
        &mut self,
        bytes: &[u8],
        spans: &[Span],
        proto: Proto,
        line: &dyn Fn() -> Option<usize>,
        reply: &mut Vec<u8>,
    ) -> Result<(), CallError> {
        let args = Args::new(bytes, spans);
        let invocation = match resolve(args) {
            Ok(invocation) => invocation,
            Err(_) => return Err(self.refuse_unknown(args, line)),
        };
        let allowed = self.allows(&invocation);
        if !matches!(invocation.footprint, Footprint::Anywhere)
            && (invocation.slot().is_none() || invocation.slot() != self.declared_slot)
        {
            self.judge(&invocation, line, allowed.is_ok());
        }
        if invocation.spec.has(flag::NODE_LOCAL) {
            self.note_scope(&invocation);
        }
        if let Err(error) = allowed {
            self.on.stats().rejected(invocation.spec.id, error.text());
            return Err(error.into_text());
        }
        self.on.call_from_script(&invocation, &mut Sink::new(reply, proto));
        Ok(())
    }

    fn has_command(&mut self, bytes: &[u8], spans: &[Span]) -> bool {
        named(Args::new(bytes, spans)).is_some()
    }

    fn tick(&mut self) -> bool {
        let pace = self.on.pace();
        pace.step(STEPS_PER_TICK);
        let ran_ms = pace.now().saturating_sub(self.began);
        if self.server.running_scripts.has_to_end(self.began) {
            return true;
        }
        match self.busy_ms {
            Some(busy_ms) if ran_ms >= busy_ms => self.keep_busy(ran_ms),
            _ => false,
        }
    }
}

impl<'x, E: Executor> RunningScript<'x, E> {
    fn new(
        on: &'x mut E,
        name: ScriptName<'x>,
        (invocation, keys): (&Invocation<'x>, usize),
        (flags, reads_only): (Flags, bool),
        server: &'x ServerState,
    ) -> Self {
        let (port, began) = (on.port(), on.engine().keyspace.now());
        Self {
            on,
            name,
            args: invocation.args,
            declared: invocation.args.from(KEYS_FROM).take(keys),
            declared_slot: invocation.slot(),
            arguments: invocation.args.from(KEYS_FROM + keys),
            judged: 0,
            unit: None,
            first_used: None,
            has_scanned: false,
            flags,
            reads_only: reads_only || flags.has(Flags::NO_WRITES),
            is_replica: server.topology.is_replica(port),
            has_written: false,
            began,
            busy_ms: server.node(port).settings.busy_ms(),
            busy: Vec::new(),
            server,
            slot: invocation.slot(),
        }
    }
}

impl<E> Drop for RunningScript<'_, E> {
    fn drop(&mut self) {
        self.busy.iter().for_each(|shard| self.server.running_scripts.end(*shard));
    }
}

impl<E: Executor> RunningScript<'_, E> {
    /// Returns the function as FUNCTION STATS shows it, if it is one.
    fn as_function(&self) -> Option<RunningFunction> {
        let ScriptName::Function { name, .. } = self.name else { return None };
        Some(RunningFunction::new(name, self.args.from(0), self.began))
    }

    /// Refuses the clients that wait for this script; returns whether it has to end.
    #[cold]
    fn keep_busy(&mut self, ran_ms: Millis) -> bool {
        let (running, has_written) = (&self.server.running_scripts, self.has_written);
        let kind = match self.name {
            ScriptName::Script { .. } => ScriptKind::Script,
            ScriptName::Function { .. } => ScriptKind::Function,
        };
        if self.busy.is_empty() {
            tracing::warn!(
                ran_ms,
                "a script runs for long; SCRIPT KILL or FUNCTION KILL ends it unless it has written"
            );
            self.busy = self.on.held_shards();
            running.begin(&self.busy, self.as_function());
        }
        let mut ends = false;
        for shard in &self.busy {
            ends |= running.keep_busy(*shard, has_written);
        }
        // Now that SCRIPT KILL finds the script.
        self.on.refuse_waiting(&Refusal::busy(kind));
        // With one thread no client can send it.
        ends || (self.on.pace().is_alone() && !has_written)
    }

    /// Records a key that the script was not given, in another slot than those that it was given.
    #[cold]
    fn judge(
        &mut self,
        invocation: &Invocation<'_>,
        line: &dyn Fn() -> Option<usize>,
        is_allowed: bool,
    ) {
        let port = self.on.port();
        // Such a script was sent to this node for the keys of this node.
        let is_of_node = self.has_scanned && self.declared_slot.is_none() && port != Port::Router;
        if self.judged == JUDGED_MAX || is_of_node && is_allowed {
            return;
        }
        let keys = self.declared.clone();
        let declared = Declared {
            first: keys.clone().next(),
            contains: &|key| keys.clone().any(|declared| declared == key),
            first_used: self.first_used.as_deref(),
            argument: &|key| FromArgument::of(key, self.arguments.clone()),
        };
        let call = judge::Call { script: self.name, line: line() };
        let shard_of = |slot| self.server.topology.shard_of(slot);
        let Some(finding) = judge::script(&call, declared, invocation, &shard_of) else { return };
        self.judged += 1;
        if self.first_used.is_none() {
            self.first_used = finding.keys.iter().next().map(<[u8]>::to_vec);
        }
        let fate = if is_allowed { Fate::Ran } else { Fate::Refused };
        let observer = &self.server.node(port).observer;
        let unit = *self.unit.get_or_insert_with(|| observer.recorder.unit());
        note_stray_key(observer, self.on.client(), finding, fate, unit);
    }

    /// Records a command whose scope is all keys: those of the node.
    #[cold]
    fn note_scope(&mut self, invocation: &Invocation<'_>) {
        self.has_scanned = true;
        if self.judged < JUDGED_MAX {
            self.judged += 1;
            note_scope_of_script(self.server, self.on.client(), self.on.port(), invocation);
        }
    }

    /// Records that a script called a command that Slotway does not have; its keys are judged all the same.
    #[cold]
    fn record_lacking(&mut self, args: Args<'_>, line: &dyn Fn() -> Option<usize>) {
        if self.judged == JUDGED_MAX {
            return;
        }
        self.judged += 1;
        let lacking = note_lacking_of_script(self.server, self.on.client(), args);
        if let Some(invocation) = lacking.filter(|one| one.slot() != self.declared_slot) {
            self.judge(&invocation, line, false);
        }
    }

    fn refuse_unknown(&mut self, args: Args<'_>, line: &dyn Fn() -> Option<usize>) -> CallError {
        let spec = named(args);
        if spec.is_none() {
            self.record_lacking(args, line);
        }
        let error = match spec {
            Some(_) => "ERR Wrong number of args calling Redis command from script",
            None => "ERR Unknown Redis command called from script",
        };
        self.on.stats().rejected(spec.map_or(0, |spec| spec.id), error.as_bytes());
        Cow::Borrowed(error.as_bytes())
    }

    /// Checks whether a script may call this command.
    fn allows(&mut self, invocation: &Invocation<'_>) -> Result<(), Refusal> {
        let spec = invocation.spec;
        if spec.has(flag::NOSCRIPT) {
            return Err(Refusal::of("ERR This Redis command is not allowed from script"));
        }
        if self.reads_only && spec.has(flag::WRITE | flag::MAY_REPLICATE) {
            return Err(Refusal::of("ERR Write commands are not allowed from read-only scripts."));
        }
        if spec.writes() {
            if self.is_replica && !self.has_written {
                return Err(Refusal::READ_ONLY_REPLICA);
            }
            self.has_written = true;
        }
        self.reaches(invocation)
    }

    /// Checks whether the keys of a command are within a script's reach.
    fn reaches(&mut self, invocation: &Invocation<'_>) -> Result<(), Refusal> {
        let slot = match invocation.footprint {
            Footprint::Anywhere => return Ok(()),
            _ if self.on.reaches_all_slots() => return Ok(()),
            Footprint::Crossing { .. } => return Err(NON_LOCAL),
            Footprint::In(slot) => slot,
        };
        if !self.on.is_local(slot, invocation) {
            return Err(NON_LOCAL);
        }
        if !self.flags.has(Flags::COMPATIBLE | Flags::ALLOW_CROSS_SLOT_KEYS)
            && *self.slot.get_or_insert(slot) != slot
        {
            return Err(OTHER_SLOT);
        }
        Ok(())
    }
}
