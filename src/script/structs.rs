//! The library `struct`: values to and from the bytes of C structures.
//!
//! ```text
//! < >   little or big end first     !n    align to n bytes        x     a zero byte
//! b h l i[n] T   integers, in upper case without sign      f d   floating point
//! c[n]  n bytes; c0: all, or as many as the integer before says      s  up to a zero byte
//! ```

use super::args::LuaArgs;
use super::number::truncated;
use super::raised::Raised;
use super::work::Work;
use mlua::{Lua, MultiValue, Table, Value};
use std::borrow::Cow;

/// The most bytes of an integer.
const INTEGER_SIZE_MAX: i32 = 32;
/// The alignment of `!` without a number.
const ALIGNMENT_MAX: i32 = 8;

/// Most values that are unpacked at once: what the interpreter's stack has room for.
const VALUES_MAX: usize = 7000;

/// Returns the table `struct`.
pub(super) fn table(lua: &Lua) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    let pack = lua.create_function(|lua, args: MultiValue| {
        let packed = pack(lua, &LuaArgs::new(lua, &args))?;
        lua.create_string(packed)
    })?;
    table.raw_set("pack", pack)?;
    let unpack =
        lua.create_function(|lua, args: MultiValue| unpack(lua, &LuaArgs::new(lua, &args)))?;
    table.raw_set("unpack", unpack)?;
    let size = lua.create_function(|lua, args: MultiValue| size(lua, &LuaArgs::new(lua, &args)))?;
    table.raw_set("size", size)?;
    Ok(table)
}

/// A format that is being read.
struct Format<'f> {
    lua: &'f Lua,
    rest: &'f [u8],
    is_big_endian: bool,
    alignment: usize,
}

/// An option of a format.
struct Item {
    option: u8,
    size: usize,
    /// How many bytes are skipped before it.
    padding: usize,
}

impl<'f> Format<'f> {
    fn new(lua: &'f Lua, text: &'f [u8]) -> Self {
        let end = text.iter().position(|byte| *byte == 0).unwrap_or(text.len());
        Self { lua, rest: &text[..end], is_big_endian: cfg!(target_endian = "big"), alignment: 1 }
    }

    /// Reads the next option, for the position `at`.
    fn next(&mut self, at: usize) -> mlua::Result<Option<Item>> {
        let Some((&option, rest)) = self.rest.split_first() else { return Ok(None) };
        self.rest = rest;
        let size = match option {
            b'b' | b'B' | b'x' => 1,
            b'h' | b'H' => 2,
            b'l' | b'L' | b'T' | b'd' => 8,
            b'f' => 4,
            b'c' => self.number(1)? as usize,
            b'i' | b'I' => match self.number(4)? {
                size if size > INTEGER_SIZE_MAX => {
                    return Err(Raised::text(
                        self.lua,
                        format!("integral size {size} is larger than limit of {INTEGER_SIZE_MAX}"),
                    ));
                }
                size => size as usize,
            },
            _ => 0,
        };
        let padding = match option {
            _ if size == 0 => 0,
            b'c' => 0,
            _ => {
                // As the original: sizes that are no power of two are taken as if they were.
                let to = size.min(self.alignment);
                to.wrapping_sub(at & (to - 1)) & (to - 1)
            }
        };
        Ok(Some(Item { option, size, padding }))
    }

    fn number(&mut self, default: i32) -> mlua::Result<i32> {
        let digits = self.rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if digits == 0 {
            return Ok(default);
        }
        let (digits, rest) = self.rest.split_at(digits);
        self.rest = rest;
        digits
            .iter()
            .try_fold(0_i32, |number, digit| {
                number.checked_mul(10)?.checked_add(i32::from(digit - b'0'))
            })
            .ok_or_else(|| Raised::text(self.lua, "integral size overflow"))
    }

    /// Applies an option that is no value.
    fn control(&mut self, option: u8) -> mlua::Result<()> {
        match option {
            b' ' => {}
            b'>' => self.is_big_endian = true,
            b'<' => self.is_big_endian = false,
            b'!' => {
                let alignment = self.number(ALIGNMENT_MAX)?;
                if alignment <= 0 || alignment & (alignment - 1) != 0 {
                    let why = format!("alignment {alignment} is not a power of 2");
                    return Err(Raised::text(self.lua, why));
                }
                self.alignment = alignment as usize;
            }
            other => {
                let mut why = b"bad argument #1 to '".to_vec();
                let name =
                    self.lua.inspect_stack(0, |debug| debug.names().name.map(Cow::into_owned));
                why.extend_from_slice(name.flatten().unwrap_or_else(|| "?".to_owned()).as_bytes());
                why.extend_from_slice(b"' (invalid format option '");
                why.push(other);
                why.extend_from_slice(b"')");
                return Err(Raised::text(self.lua, why));
            }
        }
        Ok(())
    }

    /// Returns bytes whose little end is first in the order of the format.
    fn ordered<const N: usize>(&self, mut bytes: [u8; N]) -> [u8; N] {
        if self.is_big_endian {
            bytes.reverse();
        }
        bytes
    }
}

fn pack(lua: &Lua, args: &LuaArgs<'_>) -> mlua::Result<Vec<u8>> {
    let text = args.bytes(1)?;
    let mut format = Format::new(lua, &text);
    let (mut out, mut total, mut arg) = (Vec::new(), 0_usize, 2);
    let mut work = Work::default();
    while let Some(Item { option, mut size, padding }) = format.next(total)? {
        work.step(out.len())?;
        total += padding;
        out.resize(out.len() + padding, 0);
        match option {
            b'b' | b'B' | b'h' | b'H' | b'l' | b'L' | b'T' | b'i' | b'I' => {
                let value = integer(args, arg)?;
                arg += 1;
                put_integer(&mut out, value, size, format.is_big_endian);
            }
            b'x' => out.push(0),
            b'f' => {
                let value = required(args, arg)? as f32;
                arg += 1;
                out.extend_from_slice(&format.ordered(value.to_le_bytes()));
            }
            b'd' => {
                let value = required(args, arg)?;
                arg += 1;
                out.extend_from_slice(&format.ordered(value.to_le_bytes()));
            }
            b'c' | b's' => {
                if args.get(arg).is_none() && arg == args.len() + 1 {
                    return Err(Raised::expected(lua, arg, "string", Some(&Value::Nil)));
                }
                let bytes = args.bytes(arg)?;
                arg += 1;
                if size == 0 {
                    size = bytes.len();
                }
                if bytes.len() < size {
                    return Err(args.bad(arg, "string too short"));
                }
                out.extend_from_slice(&bytes[..size]);
                if option == b's' {
                    out.push(0);
                    size += 1;
                }
            }
            other => format.control(other)?,
        }
        total += size;
    }
    Ok(out)
}

/// Returns a number; the first that is missing counts as nil.
fn required(args: &LuaArgs<'_>, number: usize) -> mlua::Result<f64> {
    if args.get(number).is_none() && number == args.len() + 1 {
        return Err(Raised::expected(args.lua(), number, "number", Some(&Value::Nil)));
    }
    args.number(number)
}

/// Returns the bits of an integer, as a conversion to 64 bits leaves them.
fn integer(args: &LuaArgs<'_>, number: usize) -> mlua::Result<u64> {
    /// 2^63.
    const HALF: f64 = 9_223_372_036_854_775_808.0;
    let value = required(args, number)?;
    Ok(match value {
        value if value >= HALF => (truncated(value - HALF) as u64) ^ (1 << 63),
        value => truncated(value) as u64,
    })
}

fn put_integer(out: &mut Vec<u8>, value: u64, size: usize, is_big_endian: bool) {
    let from = out.len();
    let bytes = value.to_le_bytes();
    out.extend((0..size).map(|at| bytes.get(at).copied().unwrap_or(0)));
    if is_big_endian {
        out[from..].reverse();
    }
}

fn take_integer(bytes: &[u8], is_signed: bool, is_big_endian: bool) -> f64 {
    let fold = |value: u64, byte: &u8| value << 8 | u64::from(*byte);
    let value = match is_big_endian {
        true => bytes.iter().fold(0, fold),
        false => bytes.iter().rev().fold(0, fold),
    };
    if !is_signed {
        return value as f64;
    }
    let sign = u64::MAX.wrapping_shl((bytes.len() as u32).wrapping_mul(8).wrapping_sub(1));
    let extended = if value & sign == 0 { value } else { value | sign };
    extended as i64 as f64
}

fn unpack(lua: &Lua, args: &LuaArgs<'_>) -> mlua::Result<MultiValue> {
    let text = args.bytes(1)?;
    let data = args.bytes(2)?;
    let from = if args.is_none(3) { 1 } else { args.integer(3)? };
    if from == 0 {
        return Err(args.bad(3, "offset must be 1 or greater"));
    }
    let mut at = (from as u64).wrapping_sub(1) as usize;
    let mut format = Format::new(lua, &text);
    let mut values: Vec<Value> = Vec::new();
    while let Some(Item { option, mut size, padding }) = format.next(at)? {
        at = at.wrapping_add(padding);
        if values.len() == VALUES_MAX {
            return Err(Raised::text(lua, "stack overflow (too many results)"));
        }
        let fits = |at: usize, size: usize| size <= data.len() && at <= data.len() - size;
        if !fits(at, size) {
            return Err(args.bad(2, "data string too short"));
        }
        match option {
            b'b' | b'B' | b'h' | b'H' | b'l' | b'L' | b'T' | b'i' | b'I' => {
                let bytes = &data[at..at + size];
                let is_signed = option.is_ascii_lowercase();
                let value = take_integer(bytes, is_signed, format.is_big_endian);
                values.push(Value::Number(value));
            }
            b'x' => {}
            b'f' => {
                let bytes = format.ordered(data[at..at + 4].try_into().unwrap_or_default());
                values.push(Value::Number(f32::from_le_bytes(bytes).into()));
            }
            b'd' => {
                let bytes = format.ordered(data[at..at + 8].try_into().unwrap_or_default());
                values.push(Value::Number(f64::from_le_bytes(bytes)));
            }
            b'c' => {
                if size == 0 {
                    let count = values.last().and_then(|value| match value {
                        Value::Number(number) => Some(*number),
                        value => lua.coerce_number(value.clone()).ok().flatten(),
                    });
                    let Some(count) = count else {
                        return Err(Raised::text(lua, "format 'c0' needs a previous size"));
                    };
                    values.pop();
                    size = truncated(count) as u64 as usize;
                    if !fits(at, size) {
                        return Err(args.bad(2, "data string too short"));
                    }
                }
                values.push(Value::String(lua.create_string(&data[at..at + size])?));
            }
            b's' => {
                let Some(len) = data[at..].iter().position(|byte| *byte == 0) else {
                    return Err(Raised::text(lua, "unfinished string in data"));
                };
                values.push(Value::String(lua.create_string(&data[at..at + len])?));
                size = len + 1;
            }
            other => format.control(other)?,
        }
        at += size;
    }
    values.push(Value::Number((at + 1) as f64));
    Ok(MultiValue::from_vec(values))
}

fn size(lua: &Lua, args: &LuaArgs<'_>) -> mlua::Result<f64> {
    let text = args.bytes(1)?;
    let mut format = Format::new(lua, &text);
    let mut at = 0_usize;
    while let Some(Item { option, size, padding }) = format.next(at)? {
        at = at.wrapping_add(padding);
        match option {
            b's' => return Err(args.bad(1, "option 's' has no fixed size")),
            b'c' if size == 0 => return Err(args.bad(1, "option 'c0' has no fixed size")),
            other if !other.is_ascii_alphanumeric() => format.control(other)?,
            _ => {}
        }
        at = at.wrapping_add(size);
    }
    Ok(at as f64)
}
