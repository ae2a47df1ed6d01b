//! Numbers as C's `printf` writes them, which decides how scripts see them.

use mlua::Value;
use std::io::Write;

/// Appends a number as `%.{digits}g` writes it.
pub(super) fn write_g(out: &mut Vec<u8>, value: f64, digits: usize) {
    if value.is_nan() {
        out.extend_from_slice(if value.is_sign_negative() { b"-nan" } else { b"nan" });
        return;
    }
    if value.is_infinite() {
        out.extend_from_slice(if value < 0.0 { b"-inf" } else { b"inf" });
        return;
    }
    // Integers of few digits are most of what scripts write.
    if value.fract() == 0.0
        && value.abs() < 1e14
        && digits >= 14
        && (value != 0.0 || value.is_sign_positive())
    {
        let _infallible = write!(out, "{}", value as i64);
        return;
    }
    let digits = digits.max(1);
    let scientific = format!("{value:.*e}", digits - 1);
    let Some((mantissa, exponent)) = scientific.split_once('e') else { return };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if exponent < -4 || exponent >= digits as i32 {
        let mantissa = without_zeros(mantissa);
        let sign = if exponent < 0 { '-' } else { '+' };
        let _infallible = write!(out, "{mantissa}e{sign}{:02}", exponent.abs());
    } else {
        let decimals = (digits as i32 - 1 - exponent).max(0) as usize;
        out.extend_from_slice(without_zeros(&format!("{value:.decimals$}")).as_bytes());
    }
}

/// Removes the zeros at the end of a fraction, and its point if nothing is left.
fn without_zeros(text: &str) -> &str {
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.'),
        false => text,
    }
}

/// Returns a value as a number, if it is one or a string that Lua converts to one.
pub(super) fn as_number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => Some(*number),
        Value::Integer(number) => Some(*number as f64),
        Value::String(text) => std::str::from_utf8(&text.as_bytes()).ok()?.trim().parse().ok(),
        _ => None,
    }
}

/// Returns a number as C converts it to a 64-bit integer on x86-64: what does not fit is the least.
pub(super) fn truncated(value: f64) -> i64 {
    // 2^63, exact.
    const END: f64 = 9_223_372_036_854_775_808.0;
    if (-END..END).contains(&value) { value as i64 } else { i64::MIN }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn g(value: f64, digits: usize) -> String {
        let mut out = Vec::new();
        write_g(&mut out, value, digits);
        String::from_utf8(out).expect("ASCII")
    }

    /// What glibc's printf writes.
    #[test]
    fn numbers_are_written_as_printf_does() {
        for (value, expected) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (0.1, "0.10000000000000001"),
            (1e15, "1000000000000000"),
            (1e16, "10000000000000000"),
            (1e17, "1e+17"),
            (1e100, "1e+100"),
            (-1.5e-7, "-1.4999999999999999e-07"),
            (0.0001, "0.0001"),
            (0.00001, "1.0000000000000001e-05"),
            (9_007_199_254_740_992.0, "9007199254740992"),
            (9_223_372_036_854_775_808.0, "9.2233720368547758e+18"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
            (123.456, "123.456"),
        ] {
            assert_eq!(g(value, 17), expected);
        }
        assert_eq!(g(1e15, 14), "1e+15");
        assert_eq!(g(9_007_199_254_740_992.0, 14), "9.007199254741e+15");
        assert_eq!(g(0.1, 14), "0.1");
        assert_eq!(g(99_999_999_999_999.9, 14), "1e+14");
        assert_eq!(g(1.0 / 3.0, 3), "0.333");
    }

    #[test]
    fn integers_are_cut_as_on_x86() {
        assert_eq!(truncated(3.99), 3);
        assert_eq!(truncated(-3.99), -3);
        for value in [1e20, -1e20, f64::NAN, f64::INFINITY, 9_223_372_036_854_775_808.0] {
            assert_eq!(truncated(value), i64::MIN);
        }
    }
}
