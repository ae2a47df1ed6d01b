//! The library `cmsgpack`: values to and from MessagePack.

use super::args::LuaArgs;
use super::nesting::deeper;
use super::raised::Raised;
use super::work::Work;
use mlua::{Lua, MultiValue, Table, Value};

/// Tables nested deeper than this are packed as nil.
const NESTING_MAX: usize = 16;
/// Deepest nesting that is unpacked. Redis stops where its interpreter's stack ends.
const UNPACKED_NESTING_MAX: usize = 1000;

/// Returns the table `cmsgpack`.
pub(super) fn table(lua: &Lua) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    let pack = lua.create_function(|lua, args: MultiValue| {
        if args.is_empty() {
            return Err(Raised::argument(lua, 0, "MessagePack pack needs input."));
        }
        let mut packing = Packing::default();
        for value in &args {
            packing.write(value, 0)?;
        }
        lua.create_string(packing.out)
    })?;
    table.raw_set("pack", pack)?;
    let unpack = lua.create_function(|lua, args: MultiValue| {
        let input = LuaArgs::new(lua, &args).bytes(1)?;
        unpack_from(lua, &input, 0, 0)
    })?;
    table.raw_set("unpack", unpack)?;
    let one = lua.create_function(|lua, args: MultiValue| {
        let args = LuaArgs::new(lua, &args);
        let offset = if args.is_none(2) { 0 } else { args.integer(2)? };
        unpack_from(lua, &args.bytes(1)?, 1, offset)
    })?;
    table.raw_set("unpack_one", one)?;
    let limit = lua.create_function(|lua, args: MultiValue| {
        let args = LuaArgs::new(lua, &args);
        let limit = args.integer(2)?;
        let offset = if args.is_none(3) { 0 } else { args.integer(3)? };
        unpack_from(lua, &args.bytes(1)?, limit, offset)
    })?;
    table.raw_set("unpack_limit", limit)?;
    table.raw_set("_NAME", "cmsgpack")?;
    table.raw_set("_VERSION", "lua-cmsgpack 0.4.0")?;
    table.raw_set("_COPYRIGHT", "Copyright (C) 2012, Salvatore Sanfilippo")?;
    table.raw_set("_DESCRIPTION", "MessagePack C implementation for Lua")?;
    Ok(table)
}

/// Values that are being packed.
#[derive(Default)]
struct Packing {
    out: Vec<u8>,
    work: Work,
}

impl Packing {
    fn write(&mut self, value: &Value, level: usize) -> mlua::Result<()> {
        self.work.step(self.out.len())?;
        let out = &mut self.out;
        match value {
            Value::String(text) => {
                let bytes = text.as_bytes();
                match bytes.len() {
                    len @ 0..32 => out.push(0xa0 | len as u8),
                    len @ 32..=0xff => out.extend_from_slice(&[0xd9, len as u8]),
                    len => write_len(out, len, [0xda, 0xdb]),
                }
                out.extend_from_slice(&bytes);
            }
            Value::Boolean(value) => out.push(if *value { 0xc3 } else { 0xc2 }),
            Value::Integer(number) => write_number(out, *number as f64),
            Value::Number(number) => write_number(out, *number),
            Value::Table(table) if level < NESTING_MAX => self.write_table(table, level)?,
            _ => out.push(0xc0),
        }
        Ok(())
    }

    fn write_table(&mut self, table: &Table, level: usize) -> mlua::Result<()> {
        if is_array(table)? {
            let len = table.raw_len();
            match len {
                0..16 => self.out.push(0x90 | len as u8),
                _ => write_len(&mut self.out, len, [0xdc, 0xdd]),
            }
            return (1..=len).try_for_each(|at| self.write(&table.get::<Value>(at)?, level + 1));
        }
        let head = self.out.len();
        let mut count = 0;
        table.for_each(|key: Value, value: Value| {
            count += 1;
            self.write(&key, level + 1)?;
            self.write(&value, level + 1)
        })?;
        let pairs = self.out.split_off(head);
        match count {
            0..16 => self.out.push(0x80 | count as u8),
            _ => write_len(&mut self.out, count, [0xde, 0xdf]),
        }
        self.out.extend_from_slice(&pairs);
        Ok(())
    }
}

/// Writes a length in 16 or 32 bits, after the byte that says so.
fn write_len(out: &mut Vec<u8>, len: usize, [short, long]: [u8; 2]) {
    match u16::try_from(len) {
        Ok(len) => {
            out.push(short);
            out.extend_from_slice(&len.to_be_bytes());
        }
        Err(_) => {
            out.push(long);
            out.extend_from_slice(&(len as u32).to_be_bytes());
        }
    }
}

fn write_number(out: &mut Vec<u8>, number: f64) {
    /// 2^63.
    const END: f64 = 9_223_372_036_854_775_808.0;
    if (-END..END).contains(&number) && number.fract() == 0.0 {
        return write_integer(out, number as i64);
    }
    let short = number as f32;
    if f64::from(short) == number {
        out.push(0xca);
        out.extend_from_slice(&short.to_be_bytes());
    } else {
        out.push(0xcb);
        out.extend_from_slice(&number.to_be_bytes());
    }
}

fn write_integer(out: &mut Vec<u8>, number: i64) {
    let mut put = |kind: u8, bytes: &[u8]| {
        out.push(kind);
        out.extend_from_slice(bytes);
    };
    match number {
        -32..=0x7f => out.push(number as u8),
        0x80..=0xff => put(0xcc, &[number as u8]),
        0x100..=0xffff => put(0xcd, &(number as u16).to_be_bytes()),
        0x1_0000..=0xffff_ffff => put(0xce, &(number as u32).to_be_bytes()),
        0x1_0000_0000.. => put(0xcf, &number.to_be_bytes()),
        -0x80..=-33 => put(0xd0, &[number as u8]),
        -0x8000..=-0x81 => put(0xd1, &(number as i16).to_be_bytes()),
        -0x8000_0000..=-0x8001 => put(0xd2, &(number as i32).to_be_bytes()),
        _ => put(0xd3, &number.to_be_bytes()),
    }
}

/// Returns whether a table's keys are 1, 2, 3 … without a gap.
fn is_array(table: &Table) -> mlua::Result<bool> {
    let (mut count, mut max) = (0_usize, 0_f64);
    for pair in table.pairs::<Value, Value>() {
        let key = match pair?.0 {
            Value::Number(number) => number,
            Value::Integer(number) => number as f64,
            _ => return Ok(false),
        };
        if key <= 0.0 || key.fract() != 0.0 || key > f64::from(i32::MAX) {
            return Ok(false);
        }
        max = max.max(key);
        count += 1;
    }
    Ok(max == count as f64)
}

/// Input that is being unpacked.
struct Input<'i> {
    lua: &'i Lua,
    rest: &'i [u8],
}

/// Unpacks up to `limit` values from `offset` on; all, if both are 0.
fn unpack_from(lua: &Lua, bytes: &[u8], limit: i64, offset: i64) -> mlua::Result<MultiValue> {
    // As conversions to C's int leave them.
    let (limit, offset) = (limit as i32, offset as i32);
    let takes_all = limit == 0 && offset == 0;
    if limit < 0 || offset < 0 {
        let len = bytes.len();
        return Err(Raised::text(
            lua,
            format!("Invalid request to unpack with offset of {offset} and limit of {len}."),
        ));
    }
    let Some(rest) = bytes.get(offset as usize..) else {
        let len = bytes.len();
        return Err(Raised::text(
            lua,
            format!("Start offset {offset} greater than input length {len}."),
        ));
    };
    let limit = if takes_all { usize::MAX } else { limit as usize };
    let (mut input, mut values) = (Input { lua, rest }, Vec::new());
    while !input.rest.is_empty() && values.len() < limit {
        /// Most values on the interpreter's stack.
        const VALUES_MAX: usize = 7000;
        if values.len() == VALUES_MAX {
            return Err(Raised::text(
                lua,
                "stack overflow (too many return values at once; use unpack_one or unpack_limit instead.)",
            ));
        }
        values.push(input.value(0)?);
    }
    if !takes_all {
        let next = match input.rest.len() {
            0 => -1.0,
            left => (bytes.len() - left) as f64,
        };
        values.insert(0, Value::Number(next));
    }
    Ok(MultiValue::from_vec(values))
}

impl Input<'_> {
    fn missing(&self) -> mlua::Error {
        Raised::text(self.lua, "Missing bytes in input.")
    }

    fn take<const N: usize>(&mut self) -> mlua::Result<[u8; N]> {
        let Some((bytes, rest)) = self.rest.split_first_chunk::<N>() else {
            return Err(self.missing());
        };
        self.rest = rest;
        Ok(*bytes)
    }

    fn len16(&mut self) -> mlua::Result<usize> {
        self.take().map(|bytes| u16::from_be_bytes(bytes).into())
    }

    fn len32(&mut self) -> mlua::Result<usize> {
        self.take().map(|bytes| u32::from_be_bytes(bytes) as usize)
    }

    fn value(&mut self, depth: usize) -> mlua::Result<Value> {
        let [kind] = self.take()?;
        let number = match kind {
            0x00..=0x7f => f64::from(kind),
            0xe0..=0xff => f64::from(kind as i8),
            0xcc => self.take().map(|[byte]| f64::from(byte))?,
            0xcd => u16::from_be_bytes(self.take()?).into(),
            0xce => u32::from_be_bytes(self.take()?).into(),
            0xd0 => self.take().map(|[byte]| f64::from(byte as i8))?,
            0xd1 => i16::from_be_bytes(self.take()?).into(),
            0xd2 => i32::from_be_bytes(self.take()?).into(),
            // Above 2^63 as well: the original takes both as signed.
            0xcf | 0xd3 => i64::from_be_bytes(self.take()?) as f64,
            0xca => f32::from_be_bytes(self.take()?).into(),
            0xcb => f64::from_be_bytes(self.take()?),
            0xc0 => return Ok(Value::Nil),
            0xc2 | 0xc3 => return Ok(Value::Boolean(kind == 0xc3)),
            0xa0..=0xbf => return self.string((kind & 31).into()),
            0xd9 => {
                let [len] = self.take()?;
                return self.string(len.into());
            }
            0xda => {
                let len = self.len16()?;
                return self.string(len);
            }
            0xdb => {
                let len = self.len32()?;
                return self.string(len);
            }
            0x90..=0x9f => return self.array((kind & 15).into(), depth),
            0xdc => {
                let len = self.len16()?;
                return self.array(len, depth);
            }
            0xdd => {
                let len = self.len32()?;
                return self.array(len, depth);
            }
            0x80..=0x8f => return self.map((kind & 15).into(), depth),
            0xde => {
                let len = self.len16()?;
                return self.map(len, depth);
            }
            0xdf => {
                let len = self.len32()?;
                return self.map(len, depth);
            }
            _ => return Err(Raised::text(self.lua, "Bad data format in input.")),
        };
        Ok(Value::Number(number))
    }

    fn string(&mut self, len: usize) -> mlua::Result<Value> {
        let Some((bytes, rest)) = self.rest.split_at_checked(len) else {
            return Err(self.missing());
        };
        self.rest = rest;
        Ok(Value::String(self.lua.create_string(bytes)?))
    }

    fn descend(&self, depth: usize, what: &str) -> mlua::Result<()> {
        match depth < UNPACKED_NESTING_MAX {
            true => Ok(()),
            false => Err(Raised::text(
                self.lua,
                format!("stack overflow (in function mp_decode_to_lua_{what})"),
            )),
        }
    }

    fn array(&mut self, len: usize, depth: usize) -> mlua::Result<Value> {
        self.descend(depth, "array")?;
        deeper(|| self.elements(len, depth))
    }

    fn elements(&mut self, len: usize, depth: usize) -> mlua::Result<Value> {
        let table = self.lua.create_table()?;
        for at in 1..=len {
            table.raw_set(at, self.value(depth + 1)?)?;
        }
        Ok(Value::Table(table))
    }

    fn map(&mut self, len: usize, depth: usize) -> mlua::Result<Value> {
        self.descend(depth, "hash")?;
        deeper(|| self.pairs(len, depth))
    }

    fn pairs(&mut self, len: usize, depth: usize) -> mlua::Result<Value> {
        let table = self.lua.create_table()?;
        for _ in 0..len {
            let key = self.value(depth + 1)?;
            let value = self.value(depth + 1)?;
            match &key {
                Value::Nil => return Err(Raised::bare("table index is nil")),
                Value::Number(number) if number.is_nan() => {
                    return Err(Raised::bare("table index is NaN"));
                }
                _ => table.raw_set(key, value)?,
            }
        }
        Ok(Value::Table(table))
    }
}
