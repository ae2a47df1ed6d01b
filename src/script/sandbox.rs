//! The globals that scripts see: those of Redis 7.0, none of which they can change.

use super::api;
use super::args::LuaArgs;
use super::raised::{Raised, SANDBOX, position, type_name};
use super::raw::Runner;
use super::reply::FieldNames;
use super::{bit, cjson, cmsgpack, structs};
use crate::resp::until_nul;
use mlua::{ChunkMode, Function, Lua, MultiValue, Table, Value};
use std::sync::Arc;

/// The globals of Lua that scripts of Redis have not.
const REMOVED: [&str; 9] =
    ["dofile", "loadfile", "print", "newproxy", "getfenv", "setfenv", "module", "require", "debug"];

/// What libraries are loaded with.
pub(super) struct Globals {
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
            _ => Ok(value),
        }
    })?;
    // Raises the error of the first argument of a function of the sandbox.
    let bad_argument = lua.create_function(
        |lua, (name, wanted, got): (mlua::String, mlua::String, MultiValue)| -> mlua::Result<()> {
            let mut text = position(lua, 2);
            text.extend_from_slice(b"bad argument #1 to '");
            text.extend_from_slice(&name.as_bytes());
            text.extend_from_slice(b"' (");
            text.extend_from_slice(&wanted.as_bytes());
            text.extend_from_slice(b" expected, got ");
            text.extend_from_slice(got.front().map_or("no value", type_name).as_bytes());
            text.push(b')');
            Err(mlua::Error::external(Raised::Text(text)))
        },
    )?;
    let chunk = lua.load(include_str!("sandbox.lua")).set_name(format!("={SANDBOX}"));
    let (globals, noted, clean, on_load, environment): (
        Table,
        Table,
        Function,
        Function,
        Function,
    ) = chunk.call((&real, deny, undefined, plain, bad_argument))?;
    lua.set_globals(globals)?;
    let runner = Runner::new(lua, &real, handler, &noted, &clean)?;
    Ok((Globals { on_load, environment }, runner, cjson))
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
    match lua.load(text).set_name(name).set_mode(ChunkMode::Text).into_function() {
        Ok(function) => Ok((Value::Function(function), None)),
        Err(mlua::Error::SyntaxError { message, .. }) => {
            Ok((Value::Nil, Some(lua.create_string(message)?)))
        }
        Err(error) => Err(error),
    }
}
