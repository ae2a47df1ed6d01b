//! Replies become Lua values, and Lua values become replies, by the rules of Redis 7.0.

use super::nesting::deeper;
use super::number::{as_number, truncated, write_g};
use crate::resp::{Proto, Sink, until_nul};
use crate::text::number::{parse_f64, parse_i64};
use mlua::{Lua, Table, Value};

/// Most levels of tables in the value that a script returns. Redis stops where its interpreter's
/// stack ends.
const DEPTH_MAX: usize = 2000;

/// The names of the fields that make a table something else than an array. They are created once,
/// and so cost no look-up of their text.
#[derive(Clone, Debug)]
pub(super) struct FieldNames {
    err: mlua::String,
    ok: mlua::String,
    double: mlua::String,
    map: mlua::String,
    set: mlua::String,
    big_number: mlua::String,
    verbatim_string: mlua::String,
    format: mlua::String,
    string: mlua::String,
}

impl FieldNames {
    pub(super) fn new(lua: &Lua) -> mlua::Result<Self> {
        let name = |text: &str| lua.create_string(text);
        Ok(Self {
            err: name("err")?,
            ok: name("ok")?,
            double: name("double")?,
            map: name("map")?,
            set: name("set")?,
            big_number: name("big_number")?,
            verbatim_string: name("verbatim_string")?,
            format: name("format")?,
            string: name("string")?,
        })
    }

    /// Returns the table of an error.
    pub(super) fn error(&self, lua: &Lua, text: &[u8]) -> mlua::Result<Value> {
        let table = lua.create_table()?;
        table.raw_set(&self.err, lua.create_string(text)?)?;
        Ok(Value::Table(table))
    }

    /// Returns the table of a status.
    pub(super) fn status(&self, lua: &Lua, text: &[u8]) -> mlua::Result<Value> {
        self.one(lua, &self.ok, Value::String(lua.create_string(text)?))
    }

    fn one(&self, lua: &Lua, name: &mlua::String, value: Value) -> mlua::Result<Value> {
        let table = lua.create_table()?;
        table.raw_set(name, value)?;
        Ok(Value::Table(table))
    }
}

/// A value of Lua that holds no others.
pub(super) enum Plain<'a> {
    Nil,
    Boolean(bool),
    Number(f64),
    String(&'a [u8]),
}

/// A value of a reply, or the head of one that holds others.
pub(super) enum Token<'r> {
    Number(f64),
    Bulk(&'r [u8]),
    Status(&'r [u8]),
    Error(&'r [u8]),
    Nil,
    Boolean(bool),
    /// So many values follow.
    Array(usize),
    /// So many pairs of values follow.
    Map(usize),
    /// So many values follow.
    Set(usize),
    Double(f64),
    BigNumber(&'r [u8]),
    Verbatim {
        format: &'r [u8],
        text: &'r [u8],
    },
}

/// Reads a reply as the sink writes it. Replies are our own, so that none is malformed; what were
/// would be nil.
pub(super) struct ReplyReader<'r> {
    rest: &'r [u8],
}

impl<'r> ReplyReader<'r> {
    /// Returns a reader of this reply.
    pub(super) fn new(reply: &'r [u8]) -> Self {
        Self { rest: reply }
    }

    fn line(&mut self) -> &'r [u8] {
        let end = self.rest.iter().position(|byte| *byte == b'\r').unwrap_or(self.rest.len());
        let (line, rest) = self.rest.split_at_checked(end).unwrap_or_default();
        self.rest = rest.get(2..).unwrap_or_default();
        line
    }

    fn bytes(&mut self, len: usize) -> &'r [u8] {
        let (bytes, rest) = self.rest.split_at_checked(len).unwrap_or((self.rest, &[]));
        self.rest = rest.get(2..).unwrap_or_default();
        bytes
    }

    /// Reads what comes next. It does not panic.
    pub(super) fn token(&mut self) -> Token<'r> {
        let Some((kind, rest)) = self.rest.split_first() else { return Token::Nil };
        self.rest = rest;
        let line = self.line();
        let count = || usize::try_from(parse_i64(line).unwrap_or(-1)).ok();
        // A value is a byte long at least.
        let left = self.rest.len();
        match kind {
            b':' => Token::Number(parse_i64(line).unwrap_or(0) as f64),
            b'+' => Token::Status(line),
            b'-' => Token::Error(line),
            b'$' => count().map_or(Token::Boolean(false), |len| Token::Bulk(self.bytes(len))),
            b'*' | b'>' => match count() {
                Some(len) => Token::Array(len.min(left)),
                None => Token::Boolean(false),
            },
            b'#' => Token::Boolean(line == b"t"),
            b',' => Token::Double(parse_f64(line).unwrap_or(f64::NAN)),
            b'(' => Token::BigNumber(line),
            b'=' => {
                let bytes = self.bytes(count().unwrap_or(0));
                let (format, text) = bytes.split_at_checked(3).unwrap_or((bytes, &[]));
                Token::Verbatim { format, text: text.get(1..).unwrap_or_default() }
            }
            b'%' => Token::Map(count().unwrap_or(0).min(left)),
            b'~' => Token::Set(count().unwrap_or(0).min(left)),
            _ => Token::Nil,
        }
    }
}

/// Writes a plain value that a script returns as its reply; see [`to_resp`].
pub(super) fn plain_to_resp(value: Plain<'_>, proto: Proto, out: &mut Sink<'_>) {
    match value {
        Plain::String(text) => out.bulk(text),
        Plain::Number(number) => out.int(truncated(number)),
        Plain::Boolean(value) if proto == Proto::Resp3 => out.boolean(value),
        Plain::Boolean(true) => out.int(1),
        Plain::Boolean(false) | Plain::Nil => out.null(),
    }
}

/// Writes the value that a script returns as its reply. `proto` is what `redis.setresp` has chosen;
/// the sink knows what the client speaks.
pub(super) fn to_resp(
    names: &FieldNames,
    value: &Value,
    proto: Proto,
    out: &mut Sink<'_>,
) -> mlua::Result<()> {
    write(names, value, proto, 0, out)
}

fn write(
    names: &FieldNames,
    value: &Value,
    proto: Proto,
    depth: usize,
    out: &mut Sink<'_>,
) -> mlua::Result<()> {
    match value {
        Value::String(text) => plain_to_resp(Plain::String(&text.as_bytes()), proto, out),
        Value::Integer(number) => out.int(*number),
        Value::Number(number) => plain_to_resp(Plain::Number(*number), proto, out),
        Value::Boolean(value) => plain_to_resp(Plain::Boolean(*value), proto, out),
        Value::Table(_) if depth == DEPTH_MAX => out.error("ERR reached lua stack limit"),
        Value::Table(table) => return deeper(|| write_table(names, table, proto, depth, out)),
        _ => out.null(),
    }
    Ok(())
}

fn write_table(
    names: &FieldNames,
    table: &Table,
    proto: Proto,
    depth: usize,
    out: &mut Sink<'_>,
) -> mlua::Result<()> {
    if let Value::String(text) = table.raw_get::<Value>(&names.err)? {
        out.error(until_nul(&text.as_bytes()));
        return Ok(());
    }
    if let Value::String(text) = table.raw_get::<Value>(&names.ok)? {
        write_line(b'+', until_nul(&text.as_bytes()), out);
        return Ok(());
    }
    if let number @ (Value::Number(_) | Value::Integer(_)) =
        table.raw_get::<Value>(&names.double)?
    {
        write_double(as_number(&number).unwrap_or_default(), out);
        return Ok(());
    }
    if let Value::String(digits) = table.raw_get::<Value>(&names.big_number)? {
        match out.proto {
            Proto::Resp2 => out.bulk(&on_one_line(&digits.as_bytes())),
            Proto::Resp3 => write_line(b'(', &digits.as_bytes(), out),
        }
        return Ok(());
    }
    if let Value::Table(fields) = table.raw_get::<Value>(&names.verbatim_string)? {
        let format = fields.raw_get::<Value>(&names.format)?;
        let text = fields.raw_get::<Value>(&names.string)?;
        if let (Value::String(format), Value::String(text)) = (format, text) {
            // Shorter names are filled up, longer ones cut.
            let mut three = [b' '; 3];
            three.iter_mut().zip(&*format.as_bytes()).for_each(|(to, from)| *to = *from);
            out.verbatim(three, &text.as_bytes());
            return Ok(());
        }
    }
    if let Value::Table(map) = table.raw_get::<Value>(&names.map)? {
        return write_counted(out, Aggregate::Map, |out| {
            let mut count = 0;
            for pair in map.pairs::<Value, Value>() {
                let (key, value) = pair?;
                write(names, &key, proto, depth + 1, out)?;
                write(names, &value, proto, depth + 1, out)?;
                count += 1;
            }
            Ok(count)
        });
    }
    if let Value::Table(set) = table.raw_get::<Value>(&names.set)? {
        return write_counted(out, Aggregate::Set, |out| {
            let mut count = 0;
            for pair in set.pairs::<Value, Value>() {
                write(names, &pair?.0, proto, depth + 1, out)?;
                count += 1;
            }
            Ok(count)
        });
    }
    write_array(names, table, proto, depth, out)
}

/// Writes the elements 1, 2, 3 … up to the first that is nil.
fn write_array(
    names: &FieldNames,
    table: &Table,
    proto: Proto,
    depth: usize,
    out: &mut Sink<'_>,
) -> mlua::Result<()> {
    write_counted(out, Aggregate::Array, |out| {
        let mut count = 0;
        loop {
            let item = table.raw_get::<Value>(count + 1)?;
            if item.is_nil() {
                return Ok(count);
            }
            write(names, &item, proto, depth + 1, out)?;
            count += 1;
        }
    })
}

/// The kinds of replies that hold others.
#[derive(Clone, Copy)]
enum Aggregate {
    Array,
    Map,
    Set,
}

/// Writes elements with a head before them that says how many they are.
fn write_counted(
    out: &mut Sink<'_>,
    kind: Aggregate,
    elements: impl FnOnce(&mut Sink<'_>) -> mlua::Result<usize>,
) -> mlua::Result<()> {
    let from = out.len();
    let count = elements(out)?;
    let end = out.len();
    match kind {
        Aggregate::Array => out.array(count),
        Aggregate::Map => out.map(count),
        Aggregate::Set => out.set(count),
    }
    let head_len = out.len() - end;
    out.buffer()[from..].rotate_right(head_len);
    Ok(())
}

/// Writes a number as `%.17g` has it: a NaN has a sign there.
fn write_double(number: f64, out: &mut Sink<'_>) {
    let mut text = Vec::new();
    write_g(&mut text, number, 17);
    match out.proto {
        Proto::Resp2 => out.bulk(&text),
        Proto::Resp3 => write_line(b',', &text, out),
    }
}

/// Writes a reply of one line; breaks in it become spaces.
fn write_line(kind: u8, text: &[u8], out: &mut Sink<'_>) {
    out.raw(&[kind]);
    out.raw(&on_one_line(text));
    out.raw(b"\r\n");
}

fn on_one_line(text: &[u8]) -> Vec<u8> {
    text.iter().map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { *byte }).collect()
}
