//! A C floating-point literal, read exactly and rounded once.
//!
//! ```text
//! "-12.5e-3"  ->  negative, 125 × 10^-4  ->  numerator / denominator × 2^n  ->  nearest
//! "0x1.8p4"   ->  positive, 0x18 × 2^0   ->  numerator × 2^n                ->  nearest
//! ```
//!
//! Nothing is rounded on the way: a literal is held as a whole number times a power of two, and a
//! flag for a non-zero remainder. So the one rounding at the end is correct, as C's library
//! guarantees.

use num_bigint::BigUint;

/// A binary floating-point format, as far as rounding needs it.
pub(super) struct Format {
    /// Bits in the significand, at most 64.
    pub(super) bits: u64,
    /// The exponent of the smallest number above zero, 2^`exponent_min`.
    pub(super) exponent_min: i64,
    /// Every finite number lies below 2^`exponent_end`.
    pub(super) exponent_end: i64,
}

/// A non-negative number: (`whole` + rest) × 2^`exponent`, with 0 ≤ rest < 1.
pub(super) struct Magnitude {
    pub(super) whole: BigUint,
    /// Whether rest is above zero. If so, `whole` has more bits than any format keeps, so that the
    /// rest only decides ties.
    pub(super) inexact: bool,
    pub(super) exponent: i64,
}

impl Magnitude {
    /// Returns the nearest number of a format, ties to even, as (significand, exponent) of
    /// significand × 2^exponent. `None` when it overflows, or when it is above zero and rounds to
    /// zero: the two cases in which C's library sets `ERANGE` and Redis refuses the text.
    pub(super) fn nearest(&self, format: &Format) -> Option<(u64, i64)> {
        if !self.inexact && self.whole == BigUint::ZERO {
            return Some((0, 0));
        }
        let surplus = i64::try_from(self.whole.bits()).ok()? - format.bits as i64;
        let drop = surplus.max(format.exponent_min - self.exponent).max(0);
        let rounded = self.divided_by_power_of_two(drop as u64);
        let exponent = self.exponent + drop;
        let significant = rounded.bits();
        if significant == 0 || exponent + significant as i64 > format.exponent_end {
            return None;
        }
        // Rounding up may have carried into one bit more than the format has. That bit is then the
        // only one, so dropping a zero below it is exact.
        let carried = significant > format.bits;
        let rounded = if carried { rounded >> 1_u32 } else { rounded };
        let significand = rounded.iter_u64_digits().next()?;
        Some((significand, exponent + i64::from(carried)))
    }

    /// Returns the whole number nearest to (`whole` + rest) / 2^`drop`, ties to even.
    pub(super) fn divided_by_power_of_two(&self, drop: u64) -> BigUint {
        let Some(half) = drop.checked_sub(1) else { return self.whole.clone() };
        let kept = &self.whole >> drop;
        let above_half =
            self.inexact || self.whole.trailing_zeros().is_some_and(|zeros| zeros < half);
        let up = self.whole.bit(half) && (above_half || kept.bit(0));
        if up { kept + 1_u32 } else { kept }
    }

    /// `digits` × 10^`exponent`. None when that is far outside every format.
    fn decimal(digits: &[u8], exponent: i64) -> Option<Self> {
        /// Beyond every format at both ends (10^±4951), near enough to be cheap.
        const EXPONENT_MAX: i64 = 5_000;
        let leading = digits.iter().take_while(|&&digit| digit == 0).count();
        let trailing = digits[leading..].iter().rev().take_while(|&&digit| digit == 0).count();
        let significant = &digits[leading..digits.len() - trailing];
        if significant.is_empty() {
            return Some(Self { whole: BigUint::ZERO, inexact: false, exponent: 0 });
        }
        let exponent = exponent.saturating_add(trailing as i64);
        if exponent.saturating_add(significant.len() as i64).abs() > EXPONENT_MAX {
            return None;
        }
        let numerator = BigUint::from_radix_be(significant, 10)?;
        let power = BigUint::from(10_u32).pow(u32::try_from(exponent.unsigned_abs()).ok()?);
        if exponent >= 0 {
            return Some(Self { whole: numerator * power, inexact: false, exponent: 0 });
        }
        // Shifted so that the quotient has at least 65 bits: one more than the widest format.
        let shift = (power.bits() + 66).saturating_sub(numerator.bits());
        let numerator = numerator << shift;
        let whole = &numerator / &power;
        let inexact = &whole * &power != numerator;
        Some(Self { whole, inexact, exponent: -i64::try_from(shift).ok()? })
    }
}

/// The meaning of a text to C's `strtod` family, NaN excluded.
pub(super) enum Literal {
    /// `inf` or `infinity`, in any case, with or without a sign.
    Infinite,
    /// A number, not yet rounded to any format.
    Finite { negative: bool, magnitude: Magnitude },
}

impl Literal {
    /// Reads a whole text: `inf`, hexadecimal or decimal. `None` for anything else, for trailing
    /// bytes, for NaN, and for numbers far beyond every format.
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        let (negative, unsigned) = sign(text);
        if unsigned.eq_ignore_ascii_case(b"inf") || unsigned.eq_ignore_ascii_case(b"infinity") {
            return Some(Self::Infinite);
        }
        if let Some(literal) = Self::hexadecimal(text) {
            return Some(literal);
        }
        let (digits, exponent) = scan(unsigned, 10, b'e')?;
        Some(Self::Finite { negative, magnitude: Magnitude::decimal(&digits, exponent)? })
    }

    /// Reads a whole text as a hexadecimal number such as `-0x1.8p3`.
    pub(super) fn hexadecimal(text: &[u8]) -> Option<Self> {
        let (negative, unsigned) = sign(text);
        let Some([b'0', b'x' | b'X']) = unsigned.first_chunk() else { return None };
        let (digits, exponent) = scan(&unsigned[2..], 16, b'p')?;
        let whole = BigUint::from_radix_be(&digits, 16)?;
        // Clamped far from overflow, beyond what any number of digits could bring back into range.
        let exponent = exponent.clamp(i64::MIN / 4, i64::MAX / 4);
        Some(Self::Finite { negative, magnitude: Magnitude { whole, inexact: false, exponent } })
    }
}

/// Splits off an optional sign.
fn sign(text: &[u8]) -> (bool, &[u8]) {
    match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    }
}

/// Reads `digits[.digits][mark[sign]digits]` to its end: returns the values of the digits, at least
/// one, without the point, and the exponent, in steps of the mark (tens for `e`, twos for `p`).
fn scan(text: &[u8], radix: u32, mark: u8) -> Option<(Vec<u8>, i64)> {
    let mut digits = Vec::with_capacity(text.len());
    let mut fraction = None;
    let mut rest = text;
    while let [byte, after @ ..] = rest {
        if let Some(digit) = char::from(*byte).to_digit(radix) {
            digits.push(digit as u8);
        } else if *byte == b'.' && fraction.is_none() {
            fraction = Some(digits.len());
        } else {
            break;
        }
        rest = after;
    }
    if digits.is_empty() {
        return None;
    }
    let exponent = match rest {
        [] => 0,
        [byte, after @ ..] if byte.eq_ignore_ascii_case(&mark) => {
            let (negative, after) = sign(after);
            if after.is_empty() {
                return None;
            }
            let mut exponent = 0_i64;
            for byte in after {
                let digit = char::from(*byte).to_digit(10)?;
                exponent = exponent.saturating_mul(10).saturating_add(i64::from(digit));
            }
            if negative { -exponent } else { exponent }
        }
        _ => return None,
    };
    let behind_point = fraction.map_or(0, |point| (digits.len() - point) as i64);
    let steps = if radix == 16 { 4 } else { 1 };
    Some((digits, exponent.saturating_sub(behind_point * steps)))
}
