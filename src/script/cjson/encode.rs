//! Values to JSON.

use super::super::nesting::deeper;
use super::super::number::write_g;
use super::super::raised::{Raised, type_name};
use super::super::work::Work;
use super::config::{Config, Invalid};
use mlua::{Lua, Table, Value};

/// Deepest nesting that is written, whatever the setting: beyond it Redis' interpreter's stack ends.
const DEPTH_MAX: i32 = 2600;

/// Returns a value as JSON.
pub(super) fn encode(lua: &Lua, config: &Config, value: &Value) -> mlua::Result<Vec<u8>> {
    let mut encoding = Encoding { lua, config, out: Vec::new(), work: Work::default() };
    encoding.value(value, 0)?;
    Ok(encoding.out)
}

struct Encoding<'e> {
    lua: &'e Lua,
    config: &'e Config,
    out: Vec<u8>,
    work: Work,
}

impl Encoding<'_> {
    fn refuse(&self, value: &Value, why: &str) -> mlua::Error {
        Raised::text(self.lua, format!("Cannot serialise {}: {why}", type_name(value)))
    }

    fn value(&mut self, value: &Value, depth: i32) -> mlua::Result<()> {
        self.work.step(self.out.len())?;
        match value {
            Value::String(text) => write_string(&mut self.out, &text.as_bytes()),
            Value::Integer(number) => self.number(value, *number as f64)?,
            Value::Number(number) => self.number(value, *number)?,
            Value::Boolean(true) => self.out.extend_from_slice(b"true"),
            Value::Boolean(false) => self.out.extend_from_slice(b"false"),
            Value::Table(table) => deeper(|| self.table(table, depth + 1))?,
            Value::Nil => self.out.extend_from_slice(b"null"),
            Value::LightUserData(data) if data.0.is_null() => self.out.extend_from_slice(b"null"),
            other => return Err(self.refuse(other, "type not supported")),
        }
        Ok(())
    }

    fn number(&mut self, value: &Value, number: f64) -> mlua::Result<()> {
        match self.config.encode_invalid {
            _ if number.is_finite() => {}
            Invalid::Off => return Err(self.refuse(value, "must not be NaN or Inf")),
            Invalid::On if number.is_nan() => {
                self.out.extend_from_slice(b"nan");
                return Ok(());
            }
            Invalid::On => {}
            Invalid::Null => {
                self.out.extend_from_slice(b"null");
                return Ok(());
            }
        }
        write_g(&mut self.out, number, self.config.precision as usize);
        Ok(())
    }

    fn table(&mut self, table: &Table, depth: i32) -> mlua::Result<()> {
        if depth > self.config.encode_depth_max.min(DEPTH_MAX) {
            let text = format!("Cannot serialise, excessive nesting ({depth})");
            return Err(Raised::text(self.lua, text));
        }
        match self.array_len(table)? {
            Some(len) if len > 0 => self.array(table, len, depth),
            _ => self.object(table, depth),
        }
    }

    /// Returns the largest index of a table whose keys are all indices; `None` for an object.
    fn array_len(&self, table: &Table) -> mlua::Result<Option<i32>> {
        let (mut max, mut items) = (0_i32, 0_i32);
        for pair in table.pairs::<Value, Value>() {
            let key = match pair?.0 {
                Value::Number(number) => number,
                Value::Integer(number) => number as f64,
                _ => return Ok(None),
            };
            if key < 1.0 || key.fract() != 0.0 {
                return Ok(None);
            }
            // What does not fit is the least, as C converts it.
            let key = if key < 2_147_483_648.0 { key as i32 } else { i32::MIN };
            max = max.max(key);
            items += 1;
        }
        let Config { sparse_ratio: ratio, sparse_safe: safe, .. } = *self.config;
        if ratio > 0 && max > items.wrapping_mul(ratio) && max > safe {
            if !self.config.sparse_convert {
                let value = Value::Table(table.clone());
                return Err(self.refuse(&value, "excessively sparse array"));
            }
            return Ok(None);
        }
        // What is missing will be `null,`: no use to begin if there is no room for it.
        Work::default().step(max.saturating_sub(items).max(0) as usize * 5)?;
        Ok(Some(max))
    }

    fn array(&mut self, table: &Table, len: i32, depth: i32) -> mlua::Result<()> {
        self.out.push(b'[');
        for at in 1..=len {
            if at > 1 {
                self.out.push(b',');
            }
            self.value(&table.raw_get::<Value>(at)?, depth)?;
        }
        self.out.push(b']');
        Ok(())
    }

    fn object(&mut self, table: &Table, depth: i32) -> mlua::Result<()> {
        self.out.push(b'{');
        let mut is_first = true;
        for pair in table.pairs::<Value, Value>() {
            let (key, value) = pair?;
            if !std::mem::take(&mut is_first) {
                self.out.push(b',');
            }
            match &key {
                Value::String(text) => write_string(&mut self.out, &text.as_bytes()),
                Value::Number(_) | Value::Integer(_) => {
                    self.out.push(b'"');
                    self.value(&key, depth)?;
                    self.out.push(b'"');
                }
                other => return Err(self.refuse(other, "table key must be a number or string")),
            }
            self.out.push(b':');
            self.value(&value, depth)?;
        }
        self.out.push(b'}');
        Ok(())
    }
}

fn write_string(out: &mut Vec<u8>, text: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.reserve(text.len() + 2);
    out.push(b'"');
    for &byte in text {
        match byte {
            b'"' | b'\\' | b'/' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            8 => out.extend_from_slice(b"\\b"),
            12 => out.extend_from_slice(b"\\f"),
            0..32 | 127 => {
                out.extend_from_slice(b"\\u00");
                out.push(DIGITS[usize::from(byte >> 4)]);
                out.push(DIGITS[usize::from(byte & 15)]);
            }
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}
