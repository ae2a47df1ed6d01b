//! The interface `redis` that scripts call: commands, errors, the log.

use super::number::{as_number, write_g};
use super::raised::Raised;
use super::raw::{Current, call_functions, current};
use super::reply::FieldNames;
use super::source::ScriptSha;
use crate::resp::Proto;
use mlua::{Lua, MultiValue, Table, Value};
use std::sync::Arc;

/// The levels of `redis.log`, from the least important.
const LOG_LEVELS: [&str; 4] = ["LOG_DEBUG", "LOG_VERBOSE", "LOG_NOTICE", "LOG_WARNING"];
/// The constants of `redis.set_repl`.
const REPLICATION: [(&str, u8); 5] =
    [("REPL_NONE", 0), ("REPL_AOF", 1), ("REPL_SLAVE", 2), ("REPL_REPLICA", 2), ("REPL_ALL", 3)];

/// `redis.acl_check_cmd`: there are no ACLs, so that every command is allowed.
fn check_command(args: &MultiValue) -> mlua::Result<bool> {
    let is_known = current(|Current { host, buffers, .. }| {
        buffers.take_values(args.iter()).map_err(Raised::table)?;
        let (args, spans) = buffers.args();
        mlua::Result::Ok(host.has_command(args, spans))
    });
    match is_known {
        Some(Ok(true)) => Ok(true),
        Some(Err(error)) => Err(error),
        _ => Err(Raised::table("ERR Invalid command passed to redis.acl_check_cmd()")),
    }
}

fn set_proto(args: &MultiValue) -> mlua::Result<()> {
    if args.len() != 1 {
        return Err(Raised::table("ERR redis.setresp() requires one argument."));
    }
    let version = args.front().and_then(as_number).map(f64::trunc);
    if version != Some(2.0) && version != Some(3.0) {
        return Err(Raised::table("ERR RESP version must be 2 or 3."));
    }
    let proto = if version == Some(3.0) { Proto::Resp3 } else { Proto::Resp2 };
    current(|current| current.proto = proto);
    Ok(())
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
pub(super) fn table(lua: &Lua, names: &Arc<FieldNames>, version: &str) -> mlua::Result<Table> {
    let redis = lua.create_table()?;
    let (call, pcall) = call_functions(lua)?;
    redis.raw_set("call", call)?;
    redis.raw_set("pcall", pcall)?;
    let check = lua.create_function(|_, args: MultiValue| check_command(&args))?;
    redis.raw_set("acl_check_cmd", check)?;
    redis.raw_set("setresp", lua.create_function(|_, args: MultiValue| set_proto(&args))?)?;
    let of = Arc::clone(names);
    let error_reply = lua.create_function(move |lua, args: MultiValue| {
        let text = only_string(&args).map(|text| with_code(&text.as_bytes()));
        of.error(lua, &text.unwrap_or_else(|| WRONG_ARGUMENTS.to_vec()))
    })?;
    redis.raw_set("error_reply", error_reply)?;
    let of = Arc::clone(names);
    let status_reply =
        lua.create_function(move |lua, args: MultiValue| match only_string(&args) {
            Some(text) => of.status(lua, &text.as_bytes()),
            None => of.error(lua, WRONG_ARGUMENTS),
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
