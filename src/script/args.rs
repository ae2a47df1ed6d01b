//! Arguments of library functions: what Lua converts, and the errors of what it does not.

use super::api::append_text;
use super::number::truncated;
use super::raised::Raised;
use mlua::{Lua, MultiValue, Value};

/// The arguments of a call.
pub(super) struct LuaArgs<'a> {
    lua: &'a Lua,
    values: &'a MultiValue,
}

impl<'a> LuaArgs<'a> {
    pub(super) fn new(lua: &'a Lua, values: &'a MultiValue) -> Self {
        Self { lua, values }
    }

    /// Returns the interpreter.
    pub(super) fn lua(&self) -> &'a Lua {
        self.lua
    }

    /// Returns how many there are.
    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    /// Returns argument `number`, from 1; `None` after the last.
    pub(super) fn get(&self, number: usize) -> Option<&'a Value> {
        self.values.get(number - 1)
    }

    /// Returns whether an argument is left out, or nil.
    pub(super) fn is_none(&self, number: usize) -> bool {
        self.get(number).is_none_or(Value::is_nil)
    }

    /// Returns an argument that is a string, or a number as Lua writes it.
    pub(super) fn bytes(&self, number: usize) -> mlua::Result<Vec<u8>> {
        let mut text = Vec::new();
        match self.get(number) {
            Some(value) if append_text(&mut text, value) => Ok(text),
            other => Err(Raised::expected(self.lua, number, "string", other)),
        }
    }

    /// Returns an argument that is a number, or a string that is one.
    pub(super) fn number(&self, number: usize) -> mlua::Result<f64> {
        let value = match self.get(number) {
            Some(Value::Number(value)) => Some(*value),
            Some(Value::Integer(value)) => Some(*value as f64),
            Some(value @ Value::String(_)) => self.lua.coerce_number(value.clone())?,
            _ => None,
        };
        value.ok_or_else(|| Raised::expected(self.lua, number, "number", self.get(number)))
    }

    /// Returns an argument that is a number, without its fraction.
    pub(super) fn integer(&self, number: usize) -> mlua::Result<i64> {
        self.number(number).map(truncated)
    }

    /// Returns the error of an argument.
    pub(super) fn bad(&self, number: usize, why: &str) -> mlua::Error {
        Raised::argument(self.lua, number, why)
    }
}
