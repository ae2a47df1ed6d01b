//! A Lua state: runs scripts, one after the other.
//!
//! Each shard has one, made when it first runs a script. A script leaves nothing behind in it that
//! another could see: the globals cannot be changed, and the state is dropped when all scripts are
//! forgotten or when its memory has run out.

use super::cjson;
use super::compile::into_function;
use super::host::Host;
use super::raised::{Raised, SANDBOX, TAIL_CALL, sandbox_position};
use super::raw::{Buffers, Current, Ended, Kept, Runner, ScriptArgs, current, with_current};
use super::reply::{FieldNames, Plain, plain_to_resp, to_resp};
use super::sandbox::{self, Globals};
use super::source::{Script, ScriptSha};
use super::work::{KILLED, OUT_OF_MEMORY};
use crate::resp::{Proto, Sink, until_nul};
use foldhash::fast::RandomState;
use mlua::{Function, HookTriggers, Lua, LuaOptions, StdLib, Value, VmState};
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Instructions from one look at the server to the next ([`Host::tick`]): some 100 µs.
pub(super) const STEPS: u32 = 10_000;
/// How many times [`STEPS`] the code of a library may run while it is loaded: about half a second.
const LOAD_TICKS_MAX: u64 = 5_000;
/// Most memory of one state, in bytes. A script that needs more ends with an error.
const MEMORY_MAX: usize = 512 << 20;
/// How many percent of what is alive the memory of a state is before it is looked through again. With
/// Lua's 200 the collection took 573 of the instructions of a released lock, with this 407 (callgrind).
const GC_PAUSE: i32 = 400;
/// Most compiled scripts in a state.
const COMPILED_MAX: usize = 10_000;
/// The chunk's name in errors.
const CHUNK_NAME: &str = "@user_script";

/// A Lua state.
pub(crate) struct Interpreter {
    lua: Lua,
    running: Running,
    globals: Globals,
    /// Turns an error into a table that says where it was raised.
    handler: Function,
    /// How often the hook was called while no script ran: only the code of a library runs then.
    alone: Arc<AtomicU64>,
    /// The scripts that have run here.
    compiled: HashMap<ScriptSha, Kept, RandomState>,
    /// How often all scripts had been forgotten when the state was made.
    generation: u64,
    /// The memory that the state used when it was last looked at, in bytes.
    memory: usize,
}

impl std::fmt::Debug for Interpreter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Interpreter")
            .field("compiled", &self.compiled.len())
            .finish_non_exhaustive()
    }
}

impl Interpreter {
    /// Returns a new state for this generation of scripts; `version` is what scripts see as the
    /// server's.
    ///
    /// # Errors
    /// The text of an error: there is no memory for it.
    pub(crate) fn new(version: &str, generation: u64) -> Result<Self, Vec<u8>> {
        Self::make(version, generation)
            .map_err(|error| [b"ERR ", error.to_string().as_bytes()].concat())
    }

    fn make(version: &str, generation: u64) -> mlua::Result<Self> {
        let libraries = StdLib::STRING | StdLib::TABLE | StdLib::MATH;
        let lua = Lua::new_with(libraries, LuaOptions::new())?;
        let names = Arc::new(FieldNames::new(&lua)?);
        let handler = lua.create_function(locate)?;
        let (globals, runner, cjson) = sandbox::install(&lua, &names, &handler, version)?;
        let alone = Arc::new(AtomicU64::new(0));
        watch(&lua, &alone)?;
        lua.set_memory_limit(MEMORY_MAX)?;
        lua.gc_set_pause(GC_PAUSE);
        // What making it has left is not kept by an idle shard.
        lua.gc_collect()?;
        Ok(Self {
            lua,
            running: Running { names, buffers: Buffers::default(), runner, cjson },
            globals,
            handler,
            alone,
            compiled: HashMap::default(),
            generation,
            memory: 0,
        })
    }

    /// Returns the memory that the state used when [`Interpreter::take_growth`] was last called, in
    /// bytes.
    #[must_use]
    pub(crate) fn memory(&self) -> usize {
        self.memory
    }

    /// Returns by how much the memory that the state uses has grown since the last call, as a
    /// number that is added with overflow.
    pub(crate) fn take_growth(&mut self) -> u64 {
        let now = self.lua.used_memory();
        (now as u64).wrapping_sub(std::mem::replace(&mut self.memory, now) as u64)
    }

    /// Returns the generation of scripts that the state was made for.
    #[must_use]
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// Compiles a script, unless that was done before.
    ///
    /// # Errors
    /// The text of an error reply: it does not compile.
    pub(crate) fn compile(&mut self, script: &Script) -> Result<(), Vec<u8>> {
        if self.compiled.contains_key(&script.sha) {
            return Ok(());
        }
        let failed = |error: mlua::Error| [b"ERR ", error.to_string().as_bytes()].concat();
        let function = compile(&self.lua, script.body())?;
        if self.compiled.len() == COMPILED_MAX {
            for (_, kept) in self.compiled.drain() {
                kept.release(&self.lua).map_err(failed)?;
            }
        }
        let kept = Kept::new(&self.lua, function).map_err(failed)?;
        self.compiled.insert(script.sha, kept);
        Ok(())
    }

    /// Runs a script that was compiled, with its keys and arguments, and writes its reply.
    ///
    /// # Errors
    /// The error that it has ended with.
    pub(crate) fn run(
        &mut self,
        sha: &ScriptSha,
        args: ScriptArgs<'_>,
        server: &mut dyn Host,
        out: &mut Sink<'_>,
    ) -> Result<(), RunError> {
        let before = out.len();
        let Self { compiled, running, .. } = self;
        let result = match compiled.get(sha) {
            Some(script) => running.run(script, (args, false), server, out),
            None => Err(mlua::Error::external("the script is not compiled")),
        };
        conclude(result, sha, before, out)
    }

    /// The same for a function of a library, which gets its keys and arguments as tables.
    pub(super) fn run_function(
        &mut self,
        function: &Kept,
        name: &dyn std::fmt::Display,
        args: ScriptArgs<'_>,
        server: &mut dyn Host,
        out: &mut Sink<'_>,
    ) -> Result<(), RunError> {
        let before = out.len();
        let result = self.running.run(function, (args, true), server, out);
        conclude(result, name, before, out)
    }

    /// Returns the state.
    pub(super) fn lua(&self) -> &Lua {
        &self.lua
    }

    /// Returns the globals of scripts.
    pub(super) fn globals(&self) -> &Globals {
        &self.globals
    }

    /// Calls a function that runs no commands; it has to end soon. Returns the error that it has
    /// ended with, if it has.
    pub(super) fn call_alone(&self, function: &Function) -> mlua::Result<Result<(), Value>> {
        self.alone.store(0, Ordering::Relaxed);
        let (ok, value) = self.globals.first.call::<(bool, Value)>((function, &self.handler))?;
        Ok(if ok { Ok(()) } else { Err(value) })
    }
}

/// What scripts are run with.
struct Running {
    names: Arc<FieldNames>,
    buffers: Buffers,
    runner: Runner,
    cjson: cjson::Settings,
}

impl Running {
    /// Runs a script, or a function of a library; writes its value as its reply, or returns its
    /// error.
    fn run(
        &mut self,
        script: &Kept,
        (args, as_arguments): (ScriptArgs<'_>, bool),
        host: &mut dyn Host,
        out: &mut Sink<'_>,
    ) -> mlua::Result<Result<(), Value>> {
        let Self { names, buffers, runner, cjson } = self;
        cjson::reset(cjson);
        let mut running = Current { host, proto: Proto::Resp2, buffers };
        let show = |value: Plain<'_>| {
            let proto = current(|current| current.proto).unwrap_or(Proto::Resp2);
            plain_to_resp(value, proto, out);
        };
        let ended = with_current(&mut running, || runner.run(script, args, as_arguments, show));
        let proto = running.proto;
        buffers.give_back();
        Ok(match ended? {
            Ended::Plain => Ok(()),
            Ended::Value(value) => Ok(to_resp(names, &value, proto, out)?),
            Ended::Error(error) => Err(error),
        })
    }
}

/// Returns the error that a script has ended with; what it has written is removed then.
fn conclude(
    result: mlua::Result<Result<(), Value>>,
    name: &dyn std::fmt::Display,
    before: usize,
    out: &mut Sink<'_>,
) -> Result<(), RunError> {
    let text = match result {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(error)) => error_text(&error, name),
        Err(error) => {
            let raised = Raised::of(&error);
            [b"ERR ", raised.to_string().as_bytes()].concat()
        }
    };
    out.truncate(before);
    // What a killed script has left is not looked into.
    let is_spent = text.ends_with(OUT_OF_MEMORY.as_bytes())
        || text.ends_with(NO_HANDLER)
        || text.starts_with(KILLED.as_bytes());
    Err(RunError { text, is_spent })
}

/// A script that has ended with an error.
#[derive(Debug)]
pub(crate) struct RunError {
    /// The text of its reply, code first.
    pub(crate) text: Vec<u8>,
    /// The state has no memory left, and has to be dropped.
    pub(crate) is_spent: bool,
}

/// How the error of a script ends whose error could not be handled.
const NO_HANDLER: &[u8] = b"error in error handling";

/// Returns the text of the error that a script has ended with.
fn error_text(error: &Value, name: &dyn std::fmt::Display) -> Vec<u8> {
    let Value::Table(table) = error else {
        // Only an error without a handler: there was no memory, or it failed itself.
        let mut text = b"ERR Error running script ".to_vec();
        text.extend_from_slice(format!("{name}, ").as_bytes());
        match error {
            Value::Error(raised) => {
                text.extend_from_slice(Raised::of(raised).to_string().as_bytes());
            }
            other if super::api::append_text(&mut text, other) => {}
            _ => text.extend_from_slice(b"execution failure"),
        }
        return text;
    };
    let field = |name: &str| table.raw_get::<Value>(name).unwrap_or(Value::Nil);
    let mut text = Vec::new();
    if !super::api::append_text(&mut text, &field("err")) {
        text.extend_from_slice(b"ERR unknown error");
    }
    text.truncate(until_nul(&text).len());
    let (mut source, mut line) = (Vec::new(), Vec::new());
    if super::api::append_text(&mut source, &field("source"))
        && super::api::append_text(&mut line, &field("line"))
    {
        text.extend_from_slice(format!(" script: {name}, on ").as_bytes());
        text.extend_from_slice(&[&source[..], b":", &line, b"."].concat());
    }
    text
}

/// Returns the table of an error, with the place where it was raised: that of the function that has
/// raised it, or of its caller if it is not written in Lua.
fn locate(lua: &Lua, error: Value) -> mlua::Result<Value> {
    let error = match &error {
        Value::Error(raised) => Raised::of(raised).into_value(lua)?,
        _ => error,
    };
    let (table, text) = match error {
        Value::Table(table) => (table, None),
        other => {
            let mut text = b"ERR ".to_vec();
            if !super::api::append_text(&mut text, &other) {
                text.extend_from_slice(other.to_string()?.as_bytes());
            }
            (lua.create_table()?, Some(text))
        }
    };
    let place = |level| {
        lua.inspect_stack(level, |debug| {
            let source = debug.source();
            let is_c = source.what == "C";
            let line = debug.current_line().map_or(-1, |line| line as i64);
            (is_c, source.source.map(Cow::into_owned), line)
        })
    };
    let mut level = 1;
    let mut at = place(level);
    if at.as_ref().is_some_and(|(is_c, ..)| *is_c) {
        level = 2;
        at = place(level);
    }
    // A function of the sandbox stands for one that is not written in Lua.
    let mut is_within = false;
    while let Some((_, Some(source), _)) = &at
        && (source.strip_prefix('=') == Some(SANDBOX) || is_within && source == TAIL_CALL)
    {
        is_within = true;
        level += 1;
        at = place(level);
    }
    if let Some(mut text) = text {
        let end = 4 + sandbox_position(&text[4..]);
        let caller = match &at {
            Some((_, Some(source), line @ 1..)) if end > 4 && is_within => {
                format!("{}:{line}: ", source.trim_start_matches('@'))
            }
            _ => String::new(),
        };
        text.splice(4..end, caller.into_bytes());
        table.raw_set("err", lua.create_string(text)?)?;
    }
    if let Some((_, Some(source), line)) = at {
        table.raw_set("source", source)?;
        table.raw_set("line", line)?;
    }
    Ok(Value::Table(table))
}

/// Looks at the server as a script goes on, and ends it if the server says so.
fn watch(lua: &Lua, alone: &Arc<AtomicU64>) -> mlua::Result<()> {
    let alone = Arc::clone(alone);
    lua.set_global_hook(HookTriggers::new().every_nth_instruction(STEPS), move |lua, _| {
        match current(|current| current.host.tick()) {
            Some(false) => return Ok(VmState::Continue),
            Some(true) => {}
            None if alone.fetch_add(1, Ordering::Relaxed) < LOAD_TICKS_MAX => {
                return Ok(VmState::Continue);
            }
            None => return Err(Raised::table("ERR FUNCTION LOAD timeout")),
        }
        // Each further line fails as well, so that no function that catches errors keeps it alive.
        lua.set_global_hook(HookTriggers::EVERY_LINE, |_, _| Err(killed()))?;
        Err(killed())
    })
}

fn killed() -> mlua::Error {
    Raised::table(KILLED)
}

fn compile(lua: &Lua, body: &[u8]) -> Result<Function, Vec<u8>> {
    chunk(lua, body, CHUNK_NAME)
        .map_err(|why| [b"ERR Error compiling script (new function): ", &why[..]].concat())
}

/// Compiles a text.
///
/// # Errors
/// What is wrong with it.
pub(super) fn chunk(lua: &Lua, body: &[u8], name: &str) -> Result<Function, Vec<u8>> {
    into_function(lua, body, name).map_err(|error| match error {
        mlua::Error::SyntaxError { message, .. } => message.into_bytes(),
        other => other.to_string().into_bytes(),
    })
}

/// Checks whether a script compiles.
///
/// # Errors
/// The text of an error reply: it does not.
pub(crate) fn check_syntax(script: &Script) -> Result<(), Vec<u8>> {
    let lua = Lua::new_with(StdLib::NONE, LuaOptions::new())
        .map_err(|error| [b"ERR ", error.to_string().as_bytes()].concat())?;
    compile(&lua, script.body()).map(drop)
}
