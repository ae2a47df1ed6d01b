//! The library `cjson`: values to and from JSON.
//!
//! ```text
//! config   its settings, which last until the script ends
//! encode   values to JSON
//! decode   JSON to values
//! ```

mod config;
mod encode;
mod decode;

use super::args::LuaArgs;
use config::Config;
use mlua::{Lua, MultiValue, Table, Value};
use parking_lot::Mutex;
use std::sync::Arc;

/// The settings of an instance of the library.
pub(super) type Settings = Arc<Mutex<Config>>;

/// Returns the table `cjson`, and its settings.
pub(super) fn table(lua: &Lua) -> mlua::Result<(Table, Settings)> {
    let settings = Settings::default();
    Ok((instance(lua, &settings)?, settings))
}

/// Sets the settings to their defaults.
pub(super) fn reset(settings: &Settings) {
    *settings.lock() = Config::default();
}

fn instance(lua: &Lua, settings: &Settings) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    let of = Arc::clone(settings);
    let encode = lua.create_function(move |lua, args: MultiValue| {
        let args = LuaArgs::new(lua, &args);
        match args.get(1) {
            Some(value) if args.len() == 1 => {
                lua.create_string(encode::encode(lua, &of.lock().clone(), value)?)
            }
            _ => Err(args.bad(1, "expected 1 argument")),
        }
    })?;
    table.raw_set("encode", encode)?;
    let of = Arc::clone(settings);
    let decode = lua.create_function(move |lua, args: MultiValue| {
        let args = LuaArgs::new(lua, &args);
        if args.len() != 1 {
            return Err(args.bad(1, "expected 1 argument"));
        }
        decode::decode(lua, &of.lock().clone(), &args.bytes(1)?)
    })?;
    table.raw_set("decode", decode)?;
    for (name, set) in config::FUNCTIONS {
        let of = Arc::clone(settings);
        let function = lua.create_function(move |lua, args: MultiValue| {
            set(&mut of.lock(), &LuaArgs::new(lua, &args))
        })?;
        table.raw_set(*name, function)?;
    }
    table.raw_set(
        "new",
        lua.create_function(|lua, _: MultiValue| instance(lua, &Settings::default()))?,
    )?;
    table.raw_set("null", Value::NULL)?;
    table.raw_set("_NAME", "cjson")?;
    table.raw_set("_VERSION", "2.1.0")?;
    Ok(table)
}
