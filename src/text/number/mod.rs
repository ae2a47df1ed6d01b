//! Numbers as Redis reads them from arguments and prints them in replies.
//!
//! Three kinds, each with the one grammar that every command uses:
//!
//! ```text
//! i64        INCRBY, EXPIRE, SETRANGE ...   one spelling a number: no "+1", "01", "-0", " 1"
//! f64        ZADD, BLPOP timeouts ...       what C's strtod reads: "5.", "+.5", "0x1p3", "inf"
//! Extended   INCRBYFLOAT, HINCRBYFLOAT      what C's strtold reads, in 80-bit arithmetic
//! ```
//!
//! The float grammars are C's because the reference server calls the C library. All three refuse
//! spaces, an empty text and trailing bytes.

mod literal;
pub(crate) mod extended;

use std::io::Write;

use literal::{Format, Literal};

/// The longest decimal spelling of an `i64`, in bytes: `-9223372036854775808`.
pub(crate) const I64_BYTES_MAX: usize = 20;

/// IEEE doubles: 53 bits, down to 2^-1074, below 2^1024.
const DOUBLE: Format = Format { bits: 53, exponent_min: -1074, exponent_end: 1024 };

/// Reads an integer argument. Every number has exactly one accepted spelling, so that text and
/// integer can replace each other in storage: no sign `+`, no leading zero, no `-0`.
#[must_use]
pub(crate) fn parse_i64(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    match digits {
        b"0" if !negative => return Some(0),
        [b'1'..=b'9', ..] if text.len() <= I64_BYTES_MAX => {}
        _ => return None,
    }
    // Accumulated with its sign, because i64::MIN has no positive counterpart.
    let mut value = 0_i64;
    for &byte in digits {
        if !byte.is_ascii_digit() {
            return None;
        }
        let digit = i64::from(byte - b'0');
        value = value.checked_mul(10)?;
        value = if negative { value.checked_sub(digit)? } else { value.checked_add(digit)? };
    }
    Some(value)
}

/// `00` to `99`, so that [`write_i64`] divides once for two digits.
const PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[b'0'; 2]; 100];
    let mut number = 0;
    while number < 100 {
        pairs[number] = [b'0' + (number / 10) as u8, b'0' + (number % 10) as u8];
        number += 1;
    }
    pairs
};

/// Appends the decimal spelling of `value`, without a heap allocation of its own.
pub(crate) fn write_i64(out: &mut Vec<u8>, value: i64) {
    // Most numbers in replies are lengths and counts of one digit.
    if (0..10).contains(&value) {
        return out.push(b'0' + value as u8);
    }
    let mut text = [0_u8; I64_BYTES_MAX];
    let start = spell_i64(&mut text, value);
    out.extend_from_slice(&text[start..]);
}

/// Writes the decimal spelling of `value` to the end of `text`; returns where it starts.
#[must_use]
pub(crate) fn spell_i64(text: &mut [u8; I64_BYTES_MAX], value: i64) -> usize {
    let mut start = spell_u64(text, value.unsigned_abs());
    if value < 0 {
        start -= 1;
        text[start] = b'-';
    }
    start
}

/// Writes the decimal spelling of `value`, of up to 20 bytes, to the end of `text`; returns where it
/// starts.
#[must_use]
pub(crate) fn spell_u64(text: &mut [u8], value: u64) -> usize {
    let mut start = text.len();
    let mut rest = value;
    while rest >= 10 {
        start -= 2;
        text[start..start + 2].copy_from_slice(&PAIRS[(rest % 100) as usize]);
        rest /= 100;
    }
    // Either all digits were written in pairs, or the first one is left over; zero is always left
    // over.
    if rest > 0 || start == text.len() {
        start -= 1;
        text[start] = b'0' + rest as u8;
    }
    start
}

/// Reads a double argument: decimal or hexadecimal with optional fraction and exponent, or an
/// infinity. Refuses NaN, a number too large for a double, and a non-zero number so small that it
/// would round to zero.
#[must_use]
pub(crate) fn parse_f64(text: &[u8]) -> Option<f64> {
    // The standard parser accepts the same decimal spellings as C and rounds correctly; it does not
    // accept hexadecimal.
    match str::from_utf8(text).ok()?.parse::<f64>() {
        Ok(value) if value.is_nan() => None,
        Ok(value) if value.is_infinite() => {
            let overflowed = text.iter().any(u8::is_ascii_digit);
            (!overflowed).then_some(value)
        }
        Ok(value) if value == 0.0 => {
            let significand = text.iter().take_while(|byte| !matches!(byte, b'e' | b'E'));
            let underflowed = significand.into_iter().any(|byte| matches!(byte, b'1'..=b'9'));
            (!underflowed).then_some(value)
        }
        Ok(value) => Some(value),
        Err(_) => {
            let Literal::Finite { negative, magnitude } = Literal::hexadecimal(text)? else {
                return None;
            };
            let (significand, exponent) = magnitude.nearest(&DOUBLE)?;
            let value = compose(significand, exponent);
            Some(if negative { -value } else { value })
        }
    }
}

/// Returns the double `significand` × 2^`exponent`, which [`DOUBLE`] has already made exact.
fn compose(significand: u64, exponent: i64) -> f64 {
    // One power of two may be outside a double's range where the product is not, so the exponent is
    // applied in halves; neither multiplication rounds, because the smaller half is applied to a
    // number with room on both sides.
    let exponent = exponent as i32;
    let half = exponent / 2;
    significand as f64 * 2_f64.powi(half) * 2_f64.powi(exponent - half)
}

/// Appends a double as replies spell it: 17 significant digits without trailing zeros, in C's
/// `%.17g` style (`3.1000000000000001`, `1e+21`, `-0`, `inf`). The text of a RESP2 bulk and of a
/// RESP3 double is the same.
pub(crate) fn write_f64(out: &mut Vec<u8>, value: f64) {
    /// Digits that distinguish every double from its neighbours.
    const SIGNIFICANT: usize = 17;
    if value.is_nan() {
        out.extend_from_slice(b"nan");
        return;
    }
    if value.is_sign_negative() {
        out.push(b'-');
    }
    let value = value.abs();
    if value.is_infinite() {
        out.extend_from_slice(b"inf");
        return;
    }
    if value < 1e15 && value.fract() == 0.0 {
        write_i64(out, value as i64);
        return;
    }

    // "d.dddddddddddddddde-ddd": at most 24 bytes.
    let mut text = [0_u8; 32];
    let mut rest = &mut text[..];
    // Writing into an array fails only when it is full, and this one has room.
    let _ = write!(rest, "{value:.*e}", SIGNIFICANT - 1);
    let unused = rest.len();
    let text = &text[..text.len() - unused];

    let mut digits = [b'0'; SIGNIFICANT];
    digits[0] = text[0];
    digits[1..].copy_from_slice(&text[2..=SIGNIFICANT]);
    let exponent = parse_i64(&text[SIGNIFICANT + 2..]).unwrap_or(0);
    let zeros = digits.iter().rev().take_while(|&&digit| digit == b'0').count();
    let digits = &digits[..(SIGNIFICANT - zeros).max(1)];

    match usize::try_from(exponent) {
        Ok(exponent) if exponent < SIGNIFICANT => {
            let (whole, fraction) = digits.split_at(digits.len().min(exponent + 1));
            out.extend_from_slice(whole);
            out.resize(out.len() + exponent + 1 - whole.len(), b'0');
            if !fraction.is_empty() {
                out.push(b'.');
                out.extend_from_slice(fraction);
            }
        }
        Err(_) if exponent >= -4 => {
            out.extend_from_slice(&b"0.000"[..1 + exponent.unsigned_abs() as usize]);
            out.extend_from_slice(digits);
        }
        _ => {
            out.push(digits[0]);
            if digits.len() > 1 {
                out.push(b'.');
                out.extend_from_slice(&digits[1..]);
            }
            out.extend_from_slice(if exponent < 0 { b"e-" } else { b"e+" });
            if exponent.abs() < 10 {
                out.push(b'0');
            }
            write_i64(out, exponent.abs());
        }
    }
}

#[cfg(test)]
mod tests;
