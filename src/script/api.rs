//! The interface `redis` that scripts call: commands, errors, the log.

use super::host::host;
use super::number::{as_number, write_g};
use super::raised::Raised;
use super::reply::{FieldNames, to_lua};
use super::source::ScriptSha;
use crate::resp::{Proto, Span};
use mlua::{Lua, MultiValue, Table, Value};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The state of the interface that outlives a call.
#[derive(Debug)]
pub(super) struct Api {
    names: FieldNames,
    buffers: Mutex<Buffers>,
    /// Whether the running script has chosen RESP3.
    is_resp3: AtomicBool,
}

/// Memory for the arguments and the reply of a call.
#[derive(Debug, Default)]
struct Buffers {
    args: Vec<u8>,
    spans: Vec<Span>,
    reply: Vec<u8>,
}

/// Buffers that have grown beyond this are given back after a call, in bytes.
const BUFFER_KEPT_MAX: usize = 64 * 1024;
/// Most bytes of arguments in one call: spans address them with 32 bits.
const ARGS_BYTES_MAX: usize = u32::MAX as usize;

const NO_ARGUMENTS: &str = "ERR Please specify at least one argument for this redis lib call";
const OUTSIDE: &str = "ERR redis.call/pcall can only be called inside a script invocation";
const BAD_ARGUMENTS: &str = "ERR Lua redis lib command arguments must be strings or integers";

/// The levels of `redis.log`, from the least important.
const LOG_LEVELS: [&str; 4] = ["LOG_DEBUG", "LOG_VERBOSE", "LOG_NOTICE", "LOG_WARNING"];
/// The constants of `redis.set_repl`.
const REPLICATION: [(&str, u8); 5] =
    [("REPL_NONE", 0), ("REPL_AOF", 1), ("REPL_SLAVE", 2), ("REPL_REPLICA", 2), ("REPL_ALL", 3)];

impl Api {
    pub(super) fn new(names: FieldNames) -> Self {
        Self { names, buffers: Mutex::default(), is_resp3: AtomicBool::new(false) }
    }

    /// Returns the names of the fields of replies.
    pub(super) fn names(&self) -> &FieldNames {
        &self.names
    }

    /// Returns the protocol that the running script has chosen.
    pub(super) fn proto(&self) -> Proto {
        if self.is_resp3.load(Ordering::Relaxed) { Proto::Resp3 } else { Proto::Resp2 }
    }

    /// Forgets what the last script has chosen.
    pub(super) fn reset(&self) {
        self.is_resp3.store(false, Ordering::Relaxed);
    }

    /// `redis.call` and `redis.pcall`: runs a command and returns its reply.
    fn call(&self, lua: &Lua, args: &MultiValue) -> mlua::Result<Result<Value, Raised>> {
        let mut buffers = self.buffers.lock();
        if let Err(error) = buffers.take_args(args) {
            return Ok(Err(Raised::Table(error.as_bytes().to_vec())));
        }
        let Buffers { args, spans, reply } = &mut *buffers;
        reply.clear();
        let line_of = |debug: &mlua::Debug<'_>| debug.current_line().filter(|line| *line > 0);
        let line = || lua.inspect_stack(1, line_of).flatten();
        let outcome = host(|host| host.call(args, spans, self.proto(), &line, reply));
        let value = match outcome {
            Some(Ok(())) if reply.first() == Some(&b'-') => {
                let text = reply[1..].strip_suffix(b"\r\n").unwrap_or(&reply[1..]);
                Err(Raised::Counted(text.to_vec()))
            }
            Some(Ok(())) => Ok(to_lua(lua, &self.names, reply)?),
            Some(Err(error)) => Err(Raised::Counted(error.into_owned())),
            None => Err(Raised::Table(OUTSIDE.as_bytes().to_vec())),
        };
        buffers.give_back();
        Ok(value)
    }

    /// `redis.acl_check_cmd`: there are no ACLs, so that every command is allowed.
    fn check_command(&self, args: &MultiValue) -> mlua::Result<bool> {
        let mut buffers = self.buffers.lock();
        buffers.take_args(args).map_err(Raised::table)?;
        let is_known = host(|host| host.has_command(&buffers.args, &buffers.spans));
        match is_known {
            Some(true) => Ok(true),
            _ => Err(Raised::table("ERR Invalid command passed to redis.acl_check_cmd()")),
        }
    }

    fn set_proto(&self, args: &MultiValue) -> mlua::Result<()> {
        if args.len() != 1 {
            return Err(Raised::table("ERR redis.setresp() requires one argument."));
        }
        let version = args.front().and_then(as_number).map(f64::trunc);
        if version != Some(2.0) && version != Some(3.0) {
            return Err(Raised::table("ERR RESP version must be 2 or 3."));
        }
        self.is_resp3.store(version == Some(3.0), Ordering::Relaxed);
        Ok(())
    }
}

impl Buffers {
    /// Copies the arguments of a call: strings, and numbers as `%.17g` writes them.
    fn take_args(&mut self, args: &MultiValue) -> Result<(), &'static str> {
        self.args.clear();
        self.spans.clear();
        if args.is_empty() {
            return Err(NO_ARGUMENTS);
        }
        for arg in args {
            let start = self.args.len();
            match arg {
                Value::String(text) => {
                    let bytes = text.as_bytes();
                    if bytes.len() > ARGS_BYTES_MAX - start {
                        return Err("ERR the arguments of this redis lib call are too long");
                    }
                    self.args.extend_from_slice(&bytes);
                }
                Value::Number(number) => write_g(&mut self.args, *number, 17),
                Value::Integer(number) => write_g(&mut self.args, *number as f64, 17),
                _ => return Err(BAD_ARGUMENTS),
            }
            self.spans.push(Span::new(start, self.args.len() - start));
        }
        Ok(())
    }

    /// Gives back the memory of an unusually large call.
    fn give_back(&mut self) {
        self.args.clear();
        self.reply.clear();
        self.args.shrink_to(BUFFER_KEPT_MAX);
        self.reply.shrink_to(BUFFER_KEPT_MAX);
        self.spans.clear();
        self.spans.shrink_to(BUFFER_KEPT_MAX / size_of::<Span>());
    }
}

/// Appends a string, or a number as Lua writes it; returns whether the value is one of them.
pub(super) fn append_text(out: &mut Vec<u8>, value: &Value) -> bool {
    match value {
        Value::String(text) => out.extend_from_slice(&text.as_bytes()),
        Value::Number(number) => write_g(out, *number, 14),
        Value::Integer(number) => write_g(out, *number as f64, 14),
        _ => return false,
    }
    true
}

/// Returns the table `redis` as a library sees it while it is loaded.
pub(super) fn table_on_load(lua: &Lua, version: &str) -> mlua::Result<Table> {
    let redis = lua.create_table()?;
    redis.raw_set("log", lua.create_function(|_, args: MultiValue| log(&args))?)?;
    put_constants(&redis, version)?;
    Ok(redis)
}

/// Returns the table `redis`; `version` is what it says the server's is.
pub(super) fn table(lua: &Lua, api: &Arc<Api>, version: &str) -> mlua::Result<Table> {
    let redis = lua.create_table()?;
    let of = Arc::clone(api);
    let call = lua.create_function(move |lua, args: MultiValue| {
        of.call(lua, &args)?.map_err(mlua::Error::external)
    })?;
    redis.raw_set("call", call)?;
    let of = Arc::clone(api);
    let pcall = lua.create_function(move |lua, args: MultiValue| match of.call(lua, &args)? {
        Ok(value) => Ok(value),
        Err(raised) => raised.into_value(lua),
    })?;
    redis.raw_set("pcall", pcall)?;
    let of = Arc::clone(api);
    let check = lua.create_function(move |_, args: MultiValue| of.check_command(&args))?;
    redis.raw_set("acl_check_cmd", check)?;
    let of = Arc::clone(api);
    redis
        .raw_set("setresp", lua.create_function(move |_, args: MultiValue| of.set_proto(&args))?)?;
    let of = Arc::clone(api);
    let error_reply = lua.create_function(move |lua, args: MultiValue| {
        let text = only_string(&args).map(|text| with_code(&text.as_bytes()));
        of.names.error(lua, &text.unwrap_or_else(|| WRONG_ARGUMENTS.to_vec()))
    })?;
    redis.raw_set("error_reply", error_reply)?;
    let of = Arc::clone(api);
    let status_reply =
        lua.create_function(move |lua, args: MultiValue| match only_string(&args) {
            Some(text) => of.names.status(lua, &text.as_bytes()),
            None => of.names.error(lua, WRONG_ARGUMENTS),
        })?;
    redis.raw_set("status_reply", status_reply)?;
    redis.raw_set("sha1hex", lua.create_function(sha1hex)?)?;
    redis.raw_set("log", lua.create_function(|_, args: MultiValue| log(&args))?)?;
    redis
        .raw_set("set_repl", lua.create_function(|_, args: MultiValue| set_replication(&args))?)?;
    redis.raw_set("replicate_commands", lua.create_function(|_, ()| Ok(true))?)?;
    redis.raw_set("breakpoint", lua.create_function(|_, ()| Ok(false))?)?;
    redis.raw_set("debug", lua.create_function(|_, _: MultiValue| Ok(()))?)?;
    for (name, value) in REPLICATION {
        redis.raw_set(name, value)?;
    }
    put_constants(&redis, version)?;
    Ok(redis)
}

fn put_constants(redis: &Table, version: &str) -> mlua::Result<()> {
    for (level, name) in LOG_LEVELS.iter().enumerate() {
        redis.raw_set(*name, level)?;
    }
    redis.raw_set("REDIS_VERSION", version)?;
    let parts = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    redis.raw_set("REDIS_VERSION_NUM", parts.fold(0, |number, part| number << 8 | part))?;
    Ok(())
}

const WRONG_ARGUMENTS: &[u8] = b"ERR wrong number or type of arguments";

fn only_string(args: &MultiValue) -> Option<&mlua::String> {
    match args.front() {
        Some(Value::String(text)) if args.len() == 1 => Some(text),
        _ => None,
    }
}

/// Returns an error's text with its code: a text of one word gets one. The text may begin with `-`.
fn with_code(text: &[u8]) -> Vec<u8> {
    let text = text.strip_prefix(b"-").unwrap_or(text);
    match text.contains(&b' ') {
        true => text.to_vec(),
        false => [b"ERR ", text].concat(),
    }
}

fn sha1hex(lua: &Lua, args: MultiValue) -> mlua::Result<mlua::String> {
    if args.len() != 1 {
        return Err(Raised::table("ERR wrong number of arguments"));
    }
    let mut text = Vec::new();
    args.front().map(|arg| append_text(&mut text, arg));
    lua.create_string(ScriptSha::of(&text).digits())
}

fn log(args: &MultiValue) -> mlua::Result<()> {
    let mut args = args.iter();
    let (Some(level), rest) = (args.next(), args) else {
        return Err(Raised::table("ERR redis.log() requires two arguments or more."));
    };
    if rest.len() == 0 {
        return Err(Raised::table("ERR redis.log() requires two arguments or more."));
    }
    let Some(level) = as_number(level) else {
        return Err(Raised::table("ERR First argument must be a number (log level)."));
    };
    if !(0.0..LOG_LEVELS.len() as f64).contains(&level.trunc()) {
        return Err(Raised::table("ERR Invalid debug level."));
    }
    let mut text = Vec::new();
    for arg in rest {
        let end = text.len();
        if end > 0 {
            text.push(b' ');
        }
        if !append_text(&mut text, arg) {
            text.truncate(end);
        }
    }
    let text = String::from_utf8_lossy(&text);
    match level as u8 {
        0 => tracing::trace!(script = true, "{text}"),
        1 => tracing::debug!(script = true, "{text}"),
        2 => tracing::info!(script = true, "{text}"),
        _ => tracing::warn!(script = true, "{text}"),
    }
    Ok(())
}

/// `redis.set_repl`: what a script writes always reaches all replicas.
fn set_replication(args: &MultiValue) -> mlua::Result<()> {
    if args.len() != 1 {
        return Err(Raised::table("ERR redis.set_repl() requires two arguments."));
    }
    match args.front().and_then(as_number) {
        Some(flags) if (0.0..4.0).contains(&flags) => Ok(()),
        _ => Err(Raised::table(
            "ERR Invalid replication flags. Use REPL_AOF, REPL_REPLICA, REPL_ALL or REPL_NONE.",
        )),
    }
}
