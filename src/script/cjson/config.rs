//! The settings of the library, and the functions that change them.

use super::super::args::LuaArgs;
use mlua::{MultiValue, Value};

/// The settings of an instance.
#[derive(Clone, Debug)]
pub(in crate::script) struct Config {
    /// A table with few of many elements becomes an object, and not an error.
    pub(super) sparse_convert: bool,
    /// How many times as many elements as it has a table may seem to have; 0 for any.
    pub(super) sparse_ratio: i32,
    /// Up to how many elements that does not matter.
    pub(super) sparse_safe: i32,
    pub(super) encode_depth_max: i32,
    pub(super) decode_depth_max: i32,
    /// What becomes of numbers that JSON has not.
    pub(super) encode_invalid: Invalid,
    /// Numbers are read that JSON has not.
    pub(super) decode_invalid: bool,
    /// How many digits numbers are written with.
    pub(super) precision: i32,
    keep_buffer: bool,
}

/// What becomes of NaN and the infinities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Invalid {
    /// An error.
    Off,
    /// Their names.
    On,
    /// null.
    Null,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            sparse_convert: false,
            sparse_ratio: 2,
            sparse_safe: 10,
            encode_depth_max: 1000,
            decode_depth_max: 1000,
            encode_invalid: Invalid::Off,
            decode_invalid: true,
            precision: 14,
            keep_buffer: true,
        }
    }
}

type Set = fn(&mut Config, &LuaArgs<'_>) -> mlua::Result<MultiValue>;

/// The functions that change settings, and return them.
pub(super) const FUNCTIONS: &[(&str, Set)] = &[
    ("encode_sparse_array", |config, args| {
        few(args, 3)?;
        let convert = switch(args, 1, &mut config.sparse_convert)?;
        let ratio = integer(args, 2, &mut config.sparse_ratio, (0, i32::MAX))?;
        let safe = integer(args, 3, &mut config.sparse_safe, (0, i32::MAX))?;
        Ok(MultiValue::from_vec(vec![convert, ratio, safe]))
    }),
    ("encode_max_depth", |config, args| {
        few(args, 1)?;
        one(integer(args, 1, &mut config.encode_depth_max, (1, i32::MAX)))
    }),
    ("decode_max_depth", |config, args| {
        few(args, 1)?;
        one(integer(args, 1, &mut config.decode_depth_max, (1, i32::MAX)))
    }),
    ("encode_number_precision", |config, args| {
        few(args, 1)?;
        one(integer(args, 1, &mut config.precision, (1, 14)))
    }),
    ("encode_keep_buffer", |config, args| {
        few(args, 1)?;
        one(switch(args, 1, &mut config.keep_buffer))
    }),
    ("encode_invalid_numbers", |config, args| {
        few(args, 1)?;
        if let Some(choice) = choice(args, 1, &["off", "on", "null"])? {
            config.encode_invalid = [Invalid::Off, Invalid::On, Invalid::Null][choice];
        }
        one(match config.encode_invalid {
            Invalid::Off => Ok(Value::Boolean(false)),
            Invalid::On => Ok(Value::Boolean(true)),
            Invalid::Null => args.lua().create_string("null").map(Value::String),
        })
    }),
    ("decode_invalid_numbers", |config, args| {
        few(args, 1)?;
        one(switch(args, 1, &mut config.decode_invalid))
    }),
];

fn one(value: mlua::Result<Value>) -> mlua::Result<MultiValue> {
    value.map(|value| MultiValue::from_vec(vec![value]))
}

fn few(args: &LuaArgs<'_>, max: usize) -> mlua::Result<()> {
    match args.len() <= max {
        true => Ok(()),
        false => Err(args.bad(max + 1, "found too many arguments")),
    }
}

fn integer(
    args: &LuaArgs<'_>,
    number: usize,
    setting: &mut i32,
    (min, max): (i32, i32),
) -> mlua::Result<Value> {
    if !args.is_none(number) {
        let value = args.integer(number)? as i32;
        if !(min..=max).contains(&value) {
            return Err(args.bad(1, &format!("expected integer between {min} and {max}")));
        }
        *setting = value;
    }
    Ok(Value::Number((*setting).into()))
}

fn switch(args: &LuaArgs<'_>, number: usize, setting: &mut bool) -> mlua::Result<Value> {
    if let Some(choice) = choice(args, number, &["off", "on"])? {
        *setting = choice == 1;
    }
    Ok(Value::Boolean(*setting))
}

/// Returns which of several names an argument is; a boolean is one of the first two.
fn choice(args: &LuaArgs<'_>, number: usize, names: &[&str]) -> mlua::Result<Option<usize>> {
    match args.get(number) {
        None | Some(Value::Nil) => Ok(None),
        Some(Value::Boolean(value)) => Ok(Some((*value).into())),
        Some(_) => {
            let name = args.bytes(number)?;
            let found = names.iter().position(|known| known.as_bytes() == name);
            let name = String::from_utf8_lossy(&name);
            found.map(Some).ok_or_else(|| args.bad(number, &format!("invalid option '{name}'")))
        }
    }
}
