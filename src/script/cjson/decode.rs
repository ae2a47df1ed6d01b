//! JSON to values.

use super::super::nesting::deeper;
use super::super::raised::Raised;
use super::config::Config;
use mlua::{Lua, Value};

/// Deepest nesting that is read, whatever the setting: beyond it Redis' interpreter's stack ends.
const DEPTH_MAX: i32 = 2600;

/// Returns the value of a JSON text.
pub(super) fn decode(lua: &Lua, config: &Config, text: &[u8]) -> mlua::Result<Value> {
    if text.len() >= 2 && (text[0] == 0 || text[1] == 0) {
        return Err(Raised::text(lua, "JSON parser does not support UTF-16 or UTF-32"));
    }
    let mut decoding = Decoding { lua, config, text, at: 0, depth: 0 };
    let token = decoding.token();
    let value = decoding.value(token)?;
    let token = decoding.token();
    match token.kind {
        Kind::End => Ok(value),
        _ => Err(decoding.expected("the end", &token)),
    }
}

/// A token, and where it is.
struct Token {
    kind: Kind,
    at: usize,
}

enum Kind {
    ObjectBegin,
    ObjectEnd,
    ArrayBegin,
    ArrayEnd,
    String(Vec<u8>),
    Number(f64),
    Boolean(bool),
    Null,
    Colon,
    Comma,
    End,
    /// What is wrong.
    Error(&'static str),
}

impl Kind {
    /// Returns the name that errors have for it.
    fn name(&self) -> &'static str {
        match self {
            Self::ObjectBegin => "T_OBJ_BEGIN",
            Self::ObjectEnd => "T_OBJ_END",
            Self::ArrayBegin => "T_ARR_BEGIN",
            Self::ArrayEnd => "T_ARR_END",
            Self::String(_) => "T_STRING",
            Self::Number(_) => "T_NUMBER",
            Self::Boolean(_) => "T_BOOLEAN",
            Self::Null => "T_NULL",
            Self::Colon => "T_COLON",
            Self::Comma => "T_COMMA",
            Self::End => "T_END",
            Self::Error(what) => what,
        }
    }
}

struct Decoding<'d> {
    lua: &'d Lua,
    config: &'d Config,
    text: &'d [u8],
    at: usize,
    depth: i32,
}

impl Decoding<'_> {
    fn expected(&self, what: &str, found: &Token) -> mlua::Error {
        let (found, at) = (found.kind.name(), found.at + 1);
        Raised::text(self.lua, format!("Expected {what} but found {found} at character {at}"))
    }

    /// The byte at a position; 0 after the last.
    fn byte(&self, at: usize) -> u8 {
        self.text.get(at).copied().unwrap_or(0)
    }

    fn value(&mut self, token: Token) -> mlua::Result<Value> {
        Ok(match token.kind {
            Kind::String(text) => Value::String(self.lua.create_string(text)?),
            Kind::Number(number) => Value::Number(number),
            Kind::Boolean(value) => Value::Boolean(value),
            Kind::Null => Value::NULL,
            Kind::ObjectBegin => deeper(|| self.object())?,
            Kind::ArrayBegin => deeper(|| self.array())?,
            _ => return Err(self.expected("value", &token)),
        })
    }

    fn descend(&mut self) -> mlua::Result<()> {
        self.depth += 1;
        if self.depth > self.config.decode_depth_max.min(DEPTH_MAX) {
            let (depth, at) = (self.depth, self.at);
            let text = format!("Found too many nested data structures ({depth}) at character {at}");
            return Err(Raised::text(self.lua, text));
        }
        Ok(())
    }

    fn object(&mut self) -> mlua::Result<Value> {
        self.descend()?;
        let table = self.lua.create_table()?;
        let mut token = self.token();
        if !matches!(token.kind, Kind::ObjectEnd) {
            loop {
                let Kind::String(key) = &token.kind else {
                    return Err(self.expected("object key string", &token));
                };
                let key = self.lua.create_string(key)?;
                let colon = self.token();
                if !matches!(colon.kind, Kind::Colon) {
                    return Err(self.expected("colon", &colon));
                }
                let value = self.token();
                table.raw_set(key, self.value(value)?)?;
                let next = self.token();
                match next.kind {
                    Kind::ObjectEnd => break,
                    Kind::Comma => token = self.token(),
                    _ => return Err(self.expected("comma or object end", &next)),
                }
            }
        }
        self.depth -= 1;
        Ok(Value::Table(table))
    }

    fn array(&mut self) -> mlua::Result<Value> {
        self.descend()?;
        let table = self.lua.create_table()?;
        let mut token = self.token();
        if !matches!(token.kind, Kind::ArrayEnd) {
            for at in 1.. {
                table.raw_set(at, self.value(token)?)?;
                let next = self.token();
                match next.kind {
                    Kind::ArrayEnd => break,
                    Kind::Comma => token = self.token(),
                    _ => return Err(self.expected("comma or array end", &next)),
                }
            }
        }
        self.depth -= 1;
        Ok(Value::Table(table))
    }

    fn token(&mut self) -> Token {
        while matches!(self.byte(self.at), b' ' | b'\t' | b'\n' | b'\r') {
            self.at += 1;
        }
        let at = self.at;
        let single = match self.byte(at) {
            b'{' => Some(Kind::ObjectBegin),
            b'}' => Some(Kind::ObjectEnd),
            b'[' => Some(Kind::ArrayBegin),
            b']' => Some(Kind::ArrayEnd),
            b':' => Some(Kind::Colon),
            b',' => Some(Kind::Comma),
            0 => return Token { kind: Kind::End, at },
            _ => None,
        };
        if let Some(kind) = single {
            self.at += 1;
            return Token { kind, at };
        }
        match self.byte(at) {
            b'"' => self.string(),
            b'-' | b'0'..=b'9' => {
                if !self.config.decode_invalid && self.is_invalid_number() {
                    return Token { kind: Kind::Error("invalid number"), at };
                }
                self.number()
            }
            _ if self.skip(b"true") => Token { kind: Kind::Boolean(true), at },
            _ if self.skip(b"false") => Token { kind: Kind::Boolean(false), at },
            _ if self.skip(b"null") => Token { kind: Kind::Null, at },
            b'f' | b'i' | b'I' | b'n' | b'N' | b't' | b'+'
                if self.config.decode_invalid && self.is_invalid_number() =>
            {
                self.number()
            }
            _ => Token { kind: Kind::Error("invalid token"), at },
        }
    }

    fn skip(&mut self, word: &[u8]) -> bool {
        let found = self.text[self.at..].starts_with(word);
        self.at += if found { word.len() } else { 0 };
        found
    }

    /// Returns whether what begins here is a number that C reads and JSON has not.
    fn is_invalid_number(&self) -> bool {
        let mut at = self.at;
        if self.byte(at) == b'+' {
            return true;
        }
        at += usize::from(self.byte(at) == b'-');
        match self.byte(at) {
            b'0' => matches!(self.byte(at + 1), b'x' | b'X' | b'0'..=b'9'),
            ..=b'9' => false,
            _ => {
                let word: Vec<u8> =
                    (at..at + 3).map(|at| self.byte(at).to_ascii_lowercase()).collect();
                word == b"inf" || word == b"nan"
            }
        }
    }

    fn number(&mut self) -> Token {
        let at = self.at;
        match read_number(&self.text[at..]) {
            Some((number, len)) => {
                self.at += len;
                Token { kind: Kind::Number(number), at }
            }
            None => Token { kind: Kind::Error("invalid number"), at },
        }
    }

    fn string(&mut self) -> Token {
        let at = self.at;
        self.at += 1;
        let mut text = Vec::new();
        loop {
            let plain =
                self.text[self.at..].iter().position(|byte| matches!(byte, b'"' | b'\\' | 0));
            let plain = plain.unwrap_or(self.text.len() - self.at);
            text.extend_from_slice(&self.text[self.at..self.at + plain]);
            self.at += plain;
            match self.byte(self.at) {
                b'"' => break,
                b'\\' => {
                    if let Err(what) = self.escape(&mut text) {
                        return Token { kind: Kind::Error(what), at: self.at };
                    }
                }
                _ => return Token { kind: Kind::Error("unexpected end of string"), at: self.at },
            }
        }
        self.at += 1;
        Token { kind: Kind::String(text), at }
    }

    fn escape(&mut self, text: &mut Vec<u8>) -> Result<(), &'static str> {
        let byte = match self.byte(self.at + 1) {
            byte @ (b'"' | b'\\' | b'/') => byte,
            b'b' => 8,
            b't' => b'\t',
            b'n' => b'\n',
            b'f' => 12,
            b'r' => b'\r',
            b'u' => {
                let (character, len) = self.unicode().ok_or("invalid unicode escape code")?;
                text.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                self.at += len;
                return Ok(());
            }
            _ => return Err("invalid escape code"),
        };
        text.push(byte);
        self.at += 2;
        Ok(())
    }

    /// Reads `\uXXXX`, or the two of them that a character beyond 16 bits takes; returns it, and how
    /// many bytes it takes.
    fn unicode(&self) -> Option<(char, usize)> {
        let unit = |at: usize| {
            let digits = self.text.get(at + 2..at + 6)?;
            let is_hex = digits.iter().all(u8::is_ascii_hexdigit);
            let text = std::str::from_utf8(digits).ok().filter(|_| is_hex)?;
            u32::from_str_radix(text, 16).ok()
        };
        let first = unit(self.at)?;
        match first {
            0xD800..0xDC00 => {
                let at = self.at + 6;
                if self.byte(at) != b'\\' || self.byte(at + 1) != b'u' {
                    return None;
                }
                let second = unit(at).filter(|second| (0xDC00..0xE000).contains(second))?;
                let code = 0x1_0000 + ((first & 0x3FF) << 10 | second & 0x3FF);
                char::from_u32(code).map(|character| (character, 12))
            }
            _ => char::from_u32(first).map(|character| (character, 6)),
        }
    }
}

/// Returns the number that C's `strtod` reads at the beginning of a text, and its length.
fn read_number(text: &[u8]) -> Option<(f64, usize)> {
    let sign = usize::from(matches!(text.first(), Some(b'-' | b'+')));
    let is_negative = text.first() == Some(&b'-');
    let signed = |value: f64| if is_negative { -value } else { value };
    let rest = &text[sign..];
    let starts =
        |word: &[u8]| rest.len() >= word.len() && rest[..word.len()].eq_ignore_ascii_case(word);
    if starts(b"infinity") {
        return Some((signed(f64::INFINITY), sign + 8));
    }
    if starts(b"inf") {
        return Some((signed(f64::INFINITY), sign + 3));
    }
    if starts(b"nan") {
        let mut len = 3;
        if rest.get(3) == Some(&b'(') {
            let word = rest[4..].iter().take_while(|b| b.is_ascii_alphanumeric() || **b == b'_');
            let word = word.count();
            len += if rest.get(4 + word) == Some(&b')') { word + 2 } else { 0 };
        }
        return Some((signed(f64::NAN), sign + len));
    }
    if starts(b"0x")
        && let Some((value, len)) = read_hexadecimal(&rest[2..])
    {
        return Some((signed(value), sign + 2 + len));
    }
    let digits = |from: usize| {
        rest[from.min(rest.len())..].iter().take_while(|b| b.is_ascii_digit()).count()
    };
    let whole = digits(0);
    let mut len = whole;
    let mut fraction = 0;
    if rest.get(len) == Some(&b'.') {
        fraction = digits(len + 1);
        len += if whole + fraction > 0 { 1 + fraction } else { 0 };
    }
    if whole + fraction == 0 {
        return None;
    }
    if matches!(rest.get(len), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(rest.get(len + 1), Some(b'-' | b'+')));
        let exponent = digits(len + 1 + sign);
        len += if exponent > 0 { 1 + sign + exponent } else { 0 };
    }
    let value: f64 = std::str::from_utf8(&rest[..len]).ok()?.parse().ok()?;
    Some((signed(value), sign + len))
}

/// Returns the number that begins after `0x`, and its length.
fn read_hexadecimal(text: &[u8]) -> Option<(f64, usize)> {
    let (mut value, mut exponent, mut len) = (0_f64, 0_i32, 0);
    let (mut digits, mut is_fraction) = (0, false);
    while let Some(&byte) = text.get(len) {
        if byte == b'.' && !is_fraction {
            is_fraction = true;
        } else if let Some(digit) = char::from(byte).to_digit(16) {
            value = value * 16.0 + f64::from(digit);
            exponent -= if is_fraction { 4 } else { 0 };
            digits += 1;
        } else {
            break;
        }
        len += 1;
    }
    if digits == 0 {
        return None;
    }
    if matches!(text.get(len), Some(b'p' | b'P')) {
        let sign = usize::from(matches!(text.get(len + 1), Some(b'-' | b'+')));
        let number =
            text[(len + 1 + sign).min(text.len())..].iter().take_while(|b| b.is_ascii_digit());
        let count = number.clone().count();
        if count > 0 {
            let power = number.fold(0_i32, |power, digit| {
                power.saturating_mul(10).saturating_add(i32::from(digit - b'0'))
            });
            let is_negative = text.get(len + 1) == Some(&b'-');
            exponent = exponent.saturating_add(if is_negative { -power } else { power });
            len += 1 + sign + count;
        }
    }
    Some((value * 2_f64.powi(exponent), len))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_by_strtod() {
        for (text, value, len) in [
            ("1", 1.0, 1),
            ("-1.5e3x", -1500.0, 6),
            ("1e", 1.0, 1),
            ("1.", 1.0, 2),
            ("1.e2", 100.0, 4),
            ("0x1F", 31.0, 4),
            ("0x1.8p3", 12.0, 7),
            ("0x", 0.0, 1),
            ("inf", f64::INFINITY, 3),
            ("-Infinity", f64::NEG_INFINITY, 9),
            ("01", 1.0, 2),
        ] {
            assert_eq!(read_number(text.as_bytes()), Some((value, len)), "{text}");
        }
        assert_eq!(read_number(b"-"), None);
        assert_eq!(read_number(b"."), None);
        assert!(read_number(b"nan(12)").is_some_and(|(value, len)| value.is_nan() && len == 7));
    }
}
