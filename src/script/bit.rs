//! The library `bit`: operations on the lowest 32 bits of numbers.

use super::raised::Raised;
use mlua::{Lua, MultiValue, Table, Value};

/// Returns the table `bit`.
pub(super) fn table(lua: &Lua) -> mlua::Result<Table> {
    let bit = lua.create_table()?;
    let one = |name: &str, act: fn(i32) -> i32| -> mlua::Result<()> {
        bit.raw_set(
            name,
            lua.create_function(move |lua, args: MultiValue| Ok(act(int(lua, &args, 0)?)))?,
        )
    };
    one("tobit", |value| value)?;
    one("bnot", |value| !value)?;
    one("bswap", i32::swap_bytes)?;
    let fold = |name: &str, act: fn(i32, i32) -> i32| -> mlua::Result<()> {
        let function = lua.create_function(move |lua, args: MultiValue| {
            let first = int(lua, &args, 0)?;
            (1..args.len()).try_fold(first, |value, at| Ok(act(value, int(lua, &args, at)?)))
        })?;
        bit.raw_set(name, function)
    };
    fold("band", |a, b| a & b)?;
    fold("bor", |a, b| a | b)?;
    fold("bxor", |a, b| a ^ b)?;
    let shift = |name: &str, act: fn(i32, u32) -> i32| -> mlua::Result<()> {
        let function = lua.create_function(move |lua, args: MultiValue| {
            let value = int(lua, &args, 0)?;
            Ok(act(value, int(lua, &args, 1)? as u32 & 31))
        })?;
        bit.raw_set(name, function)
    };
    shift("lshift", |value, by| ((value as u32) << by) as i32)?;
    shift("rshift", |value, by| (value as u32 >> by) as i32)?;
    shift("arshift", |value, by| value >> by)?;
    shift("rol", i32::rotate_left)?;
    shift("ror", i32::rotate_right)?;
    let tohex = lua.create_function(|lua, args: MultiValue| {
        let value = int(lua, &args, 0)?;
        let digits = if args.len() < 2 { 8 } else { int(lua, &args, 1)? };
        lua.create_string(hex(value as u32, digits))
    })?;
    bit.raw_set("tohex", tohex)?;
    Ok(bit)
}

/// Returns the last digits of a number: as many as `digits`, at most 8, in upper case if it is
/// negative.
fn hex(value: u32, digits: i32) -> String {
    let all = match digits < 0 {
        true => format!("{value:08X}"),
        false => format!("{value:08x}"),
    };
    let len = digits.unsigned_abs().min(8) as usize;
    all[8 - len..].to_owned()
}

/// Returns an argument modulo 2^32: a number, or a string that is one.
fn int(lua: &Lua, args: &MultiValue, at: usize) -> mlua::Result<i32> {
    let number = match args.get(at) {
        Some(Value::Number(number)) => Some(*number),
        Some(Value::Integer(number)) => Some(*number as f64),
        Some(value @ Value::String(_)) => lua.coerce_number(value.clone())?,
        _ => None,
    };
    match number {
        Some(number) => Ok(low_bits(number)),
        None => Err(Raised::expected(lua, at + 1, "number", args.get(at))),
    }
}

/// Returns the lowest 32 bits of a number, rounded to the nearest integer, as adding 2^52 + 2^51 to
/// it leaves them there.
fn low_bits(number: f64) -> i32 {
    (number + 6_755_399_441_055_744.0).to_bits() as u32 as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_lose_what_is_above_32_bits() {
        assert_eq!(low_bits(4_294_967_296.0 + 5.0), 5);
        assert_eq!(low_bits(-1.0), -1);
        assert_eq!(low_bits(2_147_483_648.0), i32::MIN);
        assert_eq!((low_bits(0.5), low_bits(1.5), low_bits(-0.5)), (0, 2, 0));
    }

    #[test]
    fn digits_are_the_last_ones() {
        assert_eq!(hex(0xABCD_EF12, 8), "abcdef12");
        assert_eq!(hex(0xABCD_EF12, -4), "EF12");
        assert_eq!(hex(65535, i32::MIN), "0000FFFF");
        assert_eq!(hex(1, 0), "");
    }
}
