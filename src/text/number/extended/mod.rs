//! The 80-bit arithmetic of INCRBYFLOAT and HINCRBYFLOAT.
//!
//! On x86 the reference server adds in C's `long double`: 64 bits of significand, exponents to
//! ±16383. Clients see the difference (`0.1 + 0.2` prints `0.3`), so a double will not do. The
//! three steps are those of the server, each exact up to one rounding, half to even:
//!
//! ```text
//! parse        text  -> nearest Extended               as strtold
//! add          exact sum -> nearest Extended           as the x87 unit
//! write_human  nearest multiple of 10^-17 -> text      as "%.17Lf" without trailing zeros
//! ```

use std::cmp::Ordering;
use std::ops::Add;

use num_bigint::{BigInt, BigUint, Sign};

use super::literal::{Format, Literal, Magnitude};

/// Texts of this many bytes and more are refused, whatever they spell.
const TEXT_BYTES_END: usize = 5 * 1024;

/// Decimal places of the printed form, before trailing zeros are removed.
const DECIMALS: usize = 17;

/// The x87 extended format.
const EXTENDED: Format = Format { bits: 64, exponent_min: -16_445, exponent_end: 16_384 };

/// A number in x87 extended precision, or an infinity.
///
/// Everything that is not finite is one value: the server stores no such number, so neither its
/// sign nor the difference to NaN is ever visible.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extended(Option<Finite>);

/// The number ±`significand` × 2^`exponent`. The significand need not be normalised.
#[derive(Clone, Copy, Debug)]
struct Finite {
    negative: bool,
    significand: u64,
    /// Within [`EXTENDED`]: at least its `exponent_min`, unless the number is zero.
    exponent: i64,
}

impl Extended {
    /// Reads an argument or a stored value: decimal or hexadecimal with optional fraction and
    /// exponent, or an infinity. `None` for anything else, for NaN, for 5120 bytes and more, for a
    /// number too large, and for a non-zero number that would round to zero.
    #[must_use]
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        if text.len() >= TEXT_BYTES_END {
            return None;
        }
        match Literal::parse(text)? {
            Literal::Infinite => Some(Self(None)),
            Literal::Finite { negative, magnitude } => {
                let (significand, exponent) = magnitude.nearest(&EXTENDED)?;
                Some(Self(Some(Finite { negative, significand, exponent })))
            }
        }
    }

    /// Returns the number with the other sign.
    #[must_use]
    pub(crate) fn negated(self) -> Self {
        Self(self.0.map(|number| Finite { negative: !number.negative, ..number }))
    }

    /// Compares two numbers. What is not finite is equal to everything.
    #[must_use]
    pub(crate) fn compared(self, other: Self) -> Ordering {
        let (Some(a), Some(b)) = (self.0, other.0) else { return Ordering::Equal };
        let exponent = a.exponent.min(b.exponent);
        a.in_units_of(exponent).cmp(&b.in_units_of(exponent))
    }

    /// Returns whether this is a number that may be stored.
    #[must_use]
    pub(crate) fn is_finite(self) -> bool {
        self.0.is_some()
    }

    /// Appends the number rounded to 17 decimal places, without trailing zeros, without an exponent
    /// (so up to 4934 bytes), and never as `-0`. A value that is not finite prints as `inf`.
    pub(crate) fn write_human(self, out: &mut Vec<u8>) {
        let Some(Finite { negative, significand, exponent }) = self.0 else {
            out.extend_from_slice(b"inf");
            return;
        };
        let whole = BigUint::from(significand) * 10_u64.pow(DECIMALS as u32);
        let units = if exponent >= 0 {
            whole << exponent.unsigned_abs()
        } else {
            Magnitude { whole, inexact: false, exponent }
                .divided_by_power_of_two(exponent.unsigned_abs())
        };
        if negative && units != BigUint::ZERO {
            out.push(b'-');
        }
        let digits = format!("{units:0>width$}", width = DECIMALS + 1);
        let (whole, fraction) = digits.split_at(digits.len() - DECIMALS);
        out.extend_from_slice(whole.as_bytes());
        let fraction = fraction.trim_end_matches('0');
        if !fraction.is_empty() {
            out.push(b'.');
            out.extend_from_slice(fraction.as_bytes());
        }
    }
}

impl Add for Extended {
    type Output = Self;

    /// Returns the nearest extended number to the sum. Not finite when an operand is not, or when
    /// the sum overflows.
    fn add(self, other: Self) -> Self {
        let (Some(a), Some(b)) = (self.0, other.0) else { return Self(None) };
        let exponent = a.exponent.min(b.exponent);
        let (sign, whole) = (a.in_units_of(exponent) + b.in_units_of(exponent)).into_parts();
        let negative = sign == Sign::Minus;
        // A sum is a multiple of both operands' units, so it never rounds to zero: what has no
        // nearest number has overflowed.
        let nearest = Magnitude { whole, inexact: false, exponent }.nearest(&EXTENDED);
        Self(nearest.map(|(significand, exponent)| Finite { negative, significand, exponent }))
    }
}

impl Finite {
    /// This number as a multiple of 2^`exponent`, which is not above its own exponent.
    fn in_units_of(self, exponent: i64) -> BigInt {
        let sign = if self.negative { Sign::Minus } else { Sign::Plus };
        let magnitude =
            BigUint::from(self.significand) << (self.exponent - exponent).unsigned_abs();
        BigInt::from_biguint(sign, magnitude)
    }
}

#[cfg(test)]
mod tests;
