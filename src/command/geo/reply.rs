//! How distances and coordinates are spelled.

use crate::resp::{Proto, Sink};
use crate::text::number::{I64_BYTES_MAX, spell_i64};
use std::io::Write;

/// The digits behind the point of a coordinate, at most, and of a distance.
const COORDINATE_DIGITS: u32 = 17;
const DISTANCE_DIGITS: u32 = 4;

/// Writes a distance: four digits behind the point, as a byte string in either protocol.
pub(super) fn distance(out: &mut Sink<'_>, distance: f64) {
    // A haversine beyond 1 has no arc sine; C spells what comes of it so.
    if distance.is_nan() {
        return out.bulk(b"-nan");
    }
    let mut text = Spelled::new();
    text.spell::<DISTANCE_DIGITS>(distance);
    out.bulk(text.bytes());
}

/// Writes a coordinate: 17 digits behind the point at most, as a byte string in RESP2.
pub(super) fn coordinate(out: &mut Sink<'_>, degrees: f64) {
    let mut text = Spelled::new();
    text.spell::<COORDINATE_DIGITS>(degrees);
    let text = text.bytes();
    let zeros = text.iter().rev().take_while(|&&digit| digit == b'0').count();
    let text = &text[..text.len() - zeros];
    let text = text.strip_suffix(b".").unwrap_or(text);
    let text = if text == b"-0" { b"0" } else { text };
    match out.proto {
        Proto::Resp2 => out.bulk(text),
        Proto::Resp3 => {
            out.raw(b",");
            out.raw(text);
            out.raw(b"\r\n");
        }
    }
}

/// The longest spelling: a sign, a number below 2^64, a point and 17 digits.
const LEN_MAX: usize = 40;

/// A number's spelling, without a heap allocation.
struct Spelled {
    bytes: [u8; LEN_MAX],
    len: usize,
}

impl Spelled {
    fn new() -> Self {
        Self { bytes: [0; LEN_MAX], len: 0 }
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// Spells a number with so many digits behind the point, rounded to the nearest, halves to the
    /// even one, as C's printf does.
    fn spell<const DIGITS: u32>(&mut self, value: f64) {
        if let Some((whole, fraction)) = rounded(value.abs(), 10_u64.pow(DIGITS)) {
            return self.put::<DIGITS>(value.is_sign_negative(), whole, fraction);
        }
        // Numbers that are no coordinates and no distances on earth: what does not fit is cut off.
        let mut rest = &mut self.bytes[..];
        let _fits = write!(rest, "{value:.0$}", DIGITS as usize);
        self.len = LEN_MAX - rest.len();
    }

    fn put<const DIGITS: u32>(&mut self, is_negative: bool, whole: u64, mut fraction: u64) {
        let mut digits = [0; I64_BYTES_MAX];
        let start = spell_i64(&mut digits, whole as i64);
        let whole = &digits[start..];
        let sign = usize::from(is_negative);
        self.bytes[0] = b'-';
        self.bytes[sign..sign + whole.len()].copy_from_slice(whole);
        let point = sign + whole.len();
        self.len = point + 1 + DIGITS as usize;
        self.bytes[point] = b'.';
        for digit in self.bytes[point + 1..self.len].iter_mut().rev() {
            *digit = b'0' + (fraction % 10) as u8;
            fraction /= 10;
        }
    }
}

/// Returns a number as its whole part and the rest in parts of `unit`, rounded; `None` if the number
/// is too large or too small for that.
fn rounded(value: f64, unit: u64) -> Option<(u64, u64)> {
    let bits = value.to_bits();
    let exponent = (bits >> 52) as i32 - 1075;
    if value == 0.0 {
        return Some((0, 0));
    }
    // The value is the integer `mantissa` divided by 2^shift.
    let shift = u32::try_from(-exponent).ok().filter(|shift| (1..=64).contains(shift))?;
    let mantissa = u128::from(bits & ((1 << 52) - 1) | 1 << 52);
    let (whole, rest) = (mantissa >> shift, mantissa & ((1 << shift) - 1));
    // Less than 2^64 · 10^17, which is below 2^121.
    let product = rest * u128::from(unit);
    let (parts, left) = (product >> shift, product & ((1 << shift) - 1));
    let half = 1_u128 << (shift - 1);
    let up = left > half || (left == half && parts & 1 == 1);
    let (whole, parts) = (whole as u64, parts as u64 + u64::from(up));
    Some(if parts == unit { (whole + 1, 0) } else { (whole, parts) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(proto: Proto, write: impl FnOnce(&mut Sink<'_>)) -> String {
        let mut out = Vec::new();
        write(&mut Sink::new(&mut out, proto));
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn numbers_are_spelled_as_c_does() {
        for (degrees, expected) in [
            (0.0, "0"),
            (-0.0, "0"),
            (180.0, "180"),
            (-180.0, "-180"),
            (13.361_389_338_970_184, "13.36138933897018433"),
            // Halfway between two: to the even one.
            (45.0 / 262_144.0, "0.0001716613769531"),
        ] {
            let resp3 = written(Proto::Resp3, |out| coordinate(out, degrees));
            assert!(resp3.starts_with(&format!(",{expected}")), "{resp3}");
        }
        assert_eq!(written(Proto::Resp2, |out| coordinate(out, 1.5)), "$3\r\n1.5\r\n");
        assert_eq!(written(Proto::Resp3, |out| distance(out, 2.000_06)), "$6\r\n2.0001\r\n");
        assert_eq!(written(Proto::Resp2, |out| distance(out, 0.0)), "$6\r\n0.0000\r\n");
        assert_eq!(written(Proto::Resp2, |out| distance(out, f64::NAN)), "$4\r\n-nan\r\n");
    }

    proptest! {
        #[test]
        fn every_number_is_spelled_as_by_the_standard_library(
            value in prop_oneof![
                -180.0..=180.0_f64,
                0.0..1e9_f64,
                -1e-6..1e-6_f64,
                // Multiples of a power of two, of which some are halfway between two spellings.
                (-100_000_000_i64..100_000_000, 0..40_i32).prop_map(|(n, e)| n as f64 * 2_f64.powi(-e)),
                any::<f64>().prop_filter("a short number", |value| value.abs() < 1e15),
            ],
        ) {
            let spelled = |text: &Spelled| String::from_utf8_lossy(text.bytes()).into_owned();
            let (mut short, mut long) = (Spelled::new(), Spelled::new());
            short.spell::<DISTANCE_DIGITS>(value);
            prop_assert_eq!(spelled(&short), format!("{value:.4}"));
            long.spell::<COORDINATE_DIGITS>(value);
            prop_assert_eq!(spelled(&long), format!("{value:.17}"));
        }
    }
}
