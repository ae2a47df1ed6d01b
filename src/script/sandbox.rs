//! The globals that scripts see: those of Redis 7.0, none of which they can change.

use super::api;
use super::args::LuaArgs;
use super::compile::into_function;
use super::raised::{Raised, SANDBOX, TAIL_CALL, sandbox_position};
use super::raw::Runner;
use super::reply::FieldNames;
use super::work::KILLED;
use super::{bit, cjson, cmsgpack, structs};
use crate::resp::until_nul;
use mlua::{Function, Lua, MultiValue, Table, Value};
use std::borrow::Cow;
use std::sync::Arc;

/// The globals of Lua that scripts of Redis have not.
const REMOVED: [&str; 9] =
    ["dofile", "loadfile", "print", "newproxy", "getfenv", "setfenv", "module", "require", "debug"];

/// What libraries are loaded with.
pub(super) struct Globals {
    /// Calls the code of a library, with a function that sees an error where it is raised.
    pub(super) first: Function,
    on_load: Function,
    environment: Function,
}

impl Globals {
    /// Returns what a library sees while it is loaded: this table as `redis`.
    pub(super) fn on_load(&self, redis: Table) -> mlua::Result<Table> {
        self.on_load.call(redis)
    }

    /// Returns the globals of a library, and the metatable whose `__index` says what they are.
    pub(super) fn environment(&self, names: &Table) -> mlua::Result<(Table, Table)> {
        self.environment.call(names)
    }
}

/// Makes the globals of scripts those of `lua`; `handler` sees errors where they are raised. Returns
/// what libraries are loaded with, what runs scripts, and what they set in the library `cjson`.
pub(super) fn install(
    lua: &Lua,
    names: &Arc<FieldNames>,
    handler: &Function,
    version: &str,
) -> mlua::Result<(Globals, Runner, cjson::Settings)> {
    let real = lua.globals();
    for name in REMOVED {
        real.raw_set(name, Value::Nil)?;
    }
    real.raw_set("redis", api::table(lua, names, version)?)?;
    real.raw_set("bit", bit::table(lua)?)?;
    real.raw_set("struct", structs::table(lua)?)?;
    real.raw_set("cmsgpack", cmsgpack::table(lua)?)?;
    let (json, cjson) = cjson::table(lua)?;
    real.raw_set("cjson", json)?;
    real.raw_set("loadstring", lua.create_function(load_string)?)?;
    let deny = lua.create_function(|lua, ()| -> mlua::Result<()> {
        Err(Raised::text(lua, "Attempt to modify a readonly table"))
    })?;
    let undefined = lua.create_function(|lua, (_, name): (Value, Value)| -> mlua::Result<()> {
        let mut text = b"Script attempted to access nonexistent global variable '".to_vec();
        if !api::append_text(&mut text, &name) {
            text.extend_from_slice(b"(null)");
        }
        text.push(b'\'');
        Err(Raised::text(lua, text))
    })?;
    // Returns an error as scripts see it; `as_text` is how pcall returns that of a table.
    let plain = lua.create_function(|lua, (error, as_text): (Value, Option<bool>)| {
        let value = match &error {
            Value::Error(raised) => Raised::of(raised).into_value(lua)?,
            _ => error,
        };
        match &value {
            Value::Table(table) if as_text == Some(true) => match table.raw_get::<Value>("err")? {
                text @ (Value::String(_) | Value::Number(_) | Value::Integer(_)) => Ok(text),
                _ => Ok(value),
            },
            Value::String(text) => match sandbox_position(&text.as_bytes()) {
                0 => Ok(value),
                end => Ok(Value::String(lua.create_string(&text.as_bytes()[end..])?)),
            },
            _ => Ok(value),
        }
    })?;
    // Returns the name by which a function of the sandbox was called, as errors have it.
    let called_as = lua.create_function(|lua, name: mlua::String| {
        // Above this function are the one that checks the argument and the one of the sandbox.
        let given = lua.inspect_stack(2, |debug| debug.names().name.map(Cow::into_owned));
        let is_tail = |lua: &Lua| {
            let source = lua.inspect_stack(3, |debug| debug.source().source.map(Cow::into_owned));
            source.flatten().is_some_and(|source| source == TAIL_CALL)
        };
        match given.flatten() {
            Some(given) => lua.create_string(given),
            None if is_tail(lua) => Ok(name),
            None => lua.create_string("?"),
        }
    })?;
    let chunk = lua.load(include_str!("sandbox.lua")).set_name(format!("={SANDBOX}"));
    let (globals, noted, clean, first, on_load, environment): (
        Table,
        Table,
        Function,
        Function,
        Function,
        Function,
    ) = chunk.call((&real, deny, undefined, plain, called_as, KILLED))?;
    lua.set_globals(globals)?;
    let runner = Runner::new(lua, &real, handler, &noted, &clean)?;
    Ok((Globals { first, on_load, environment }, runner, cjson))
}

/// The first byte of a compiled chunk.
const COMPILED: u8 = 27;

/// `loadstring(text [, name])`: compiles a chunk, or returns nil and the error. Chunks are text: one
/// that begins as a compiled one is read as the text that it is not.
fn load_string(lua: &Lua, args: MultiValue) -> mlua::Result<(Value, Option<mlua::String>)> {
    let args = LuaArgs::new(lua, &args);
    let text = args.bytes(1)?;
    let name = if args.is_none(2) { text.clone() } else { args.bytes(2)? };
    let name = String::from_utf8_lossy(until_nul(&name)).into_owned();
    let text = if text.first() == Some(&COMPILED) { [b" ", &text[..]].concat() } else { text };
    match into_function(lua, &text, &name) {
        Ok(function) => Ok((Value::Function(function), None)),
        Err(mlua::Error::SyntaxError { message, .. }) => {
            Ok((Value::Nil, Some(lua.create_string(message)?)))
        }
        Err(error) => Err(error),
    }
}
