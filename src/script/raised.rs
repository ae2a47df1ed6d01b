//! The errors that library functions raise.
//!
//! An interpreter written in C raises any value; a function of ours raises a [`Raised`], which the
//! functions that catch errors (`pcall`, `xpcall`, `coroutine.resume` and the end of the script)
//! turn into the value that a script of Redis would get there.

use mlua::{Error, Lua, Value};
use std::borrow::Cow;
use std::fmt;

/// An error that a library function raises.
#[derive(Clone, Debug)]
pub(super) enum Raised {
    /// A table with this text, code first, in its field `err`.
    Table(Vec<u8>),
    /// A string.
    Text(Vec<u8>),
}

impl fmt::Display for Raised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Table(text) | Self::Text(text)) = self;
        f.write_str(&String::from_utf8_lossy(text))
    }
}

impl std::error::Error for Raised {}

impl Raised {
    /// Returns the error of the interface `redis`: a table.
    pub(super) fn table(text: impl Into<Vec<u8>>) -> Error {
        Error::external(Self::Table(text.into()))
    }

    /// Returns the error of a library of Lua: a string that begins with the line of the call.
    pub(super) fn text(lua: &Lua, text: impl AsRef<[u8]>) -> Error {
        let mut at = position(lua, 1);
        at.extend_from_slice(text.as_ref());
        Error::external(Self::Text(at))
    }

    /// Returns a string that does not begin with the line.
    pub(super) fn bare(text: impl Into<Vec<u8>>) -> Error {
        Error::external(Self::Text(text.into()))
    }

    /// Returns the error of an argument that a library function does not take; `number` counts from
    /// 1.
    pub(super) fn argument(lua: &Lua, number: usize, why: &str) -> Error {
        let name = lua.inspect_stack(0, |debug| debug.names().name.map(Cow::into_owned));
        let name = name.flatten().unwrap_or_else(|| "?".to_owned());
        Self::text(lua, format!("bad argument #{number} to '{name}' ({why})"))
    }

    /// Returns the error of an argument of another type.
    pub(super) fn expected(lua: &Lua, number: usize, wanted: &str, got: Option<&Value>) -> Error {
        let got = got.map_or("no value", type_name);
        Self::argument(lua, number, &format!("{wanted} expected, got {got}"))
    }

    /// Returns the error that a library function has raised, if `error` is one.
    pub(super) fn of(error: &Error) -> Self {
        let mut error = error;
        loop {
            match error {
                Error::CallbackError { cause, .. } => error = cause,
                Error::WithContext { cause, .. } => error = cause,
                Error::ExternalError(external) => {
                    return match external.downcast_ref::<Self>() {
                        Some(raised) => raised.clone(),
                        None => Self::Text(external.to_string().into_bytes()),
                    };
                }
                Error::MemoryError(_) => return Self::Text(b"not enough memory".to_vec()),
                Error::RuntimeError(text) => {
                    // Only the first line: the rest is a trace of the stack.
                    let text = text.split('\n').next().unwrap_or_default();
                    return Self::Text(text.as_bytes().to_vec());
                }
                other => return Self::Text(other.to_string().into_bytes()),
            }
        }
    }

    /// Returns the value that a script gets: a table, or a string.
    pub(super) fn into_value(self, lua: &Lua) -> mlua::Result<Value> {
        match self {
            Self::Text(text) => Ok(Value::String(lua.create_string(text)?)),
            Self::Table(text) => {
                let table = lua.create_table()?;
                table.raw_set("err", lua.create_string(text)?)?;
                Ok(Value::Table(table))
            }
        }
    }
}

/// Returns the name of a value's type, as Lua's own errors have it.
pub(super) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Nil => "nil",
        Value::Boolean(_) => "boolean",
        Value::Integer(_) | Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Table(_) => "table",
        Value::Function(_) => "function",
        Value::Thread(_) => "thread",
        _ => "userdata",
    }
}

/// The source of a function that has called another at its end, and so is no longer on the stack.
pub(super) const TAIL_CALL: &str = "=(tail call)";
/// The name of the chunk that makes the globals of scripts.
pub(super) const SANDBOX: &str = "sandbox";

/// Returns the length of a position in the sandbox, `sandbox:12: `, at the beginning of an error, or 0.
pub(super) fn sandbox_position(text: &[u8]) -> usize {
    let number = text.strip_prefix(SANDBOX.as_bytes()).and_then(|rest| rest.strip_prefix(b":"));
    let Some(number) = number else { return 0 };
    let digits = number.iter().take_while(|byte| byte.is_ascii_digit()).count();
    match number[digits..].starts_with(b": ") {
        true => text.len() - number.len() + digits + 2,
        false => 0,
    }
}

/// Returns where the function at this level of the stack is, as the beginning of an error.
pub(super) fn position(lua: &Lua, level: usize) -> Vec<u8> {
    let at = lua.inspect_stack(level, |debug| {
        let line = debug.current_line().filter(|line| *line > 0)?;
        let source = debug.source().short_src?.into_owned();
        // A function of the sandbox stands for one that is not written in Lua, and has no lines.
        (source != SANDBOX).then(|| format!("{source}:{line}: ").into_bytes())
    });
    at.flatten().unwrap_or_default()
}
