//! A score in as few bytes as hold it, for packed sorted sets.
//!
//! ```text
//! 0vvvvvvv                an integer from 0 to 127
//! 1000wwww + w bytes      an integer of up to 53 bits, little-endian in two's complement
//! 1001wwww + w bytes      the first bytes of the double, big-endian; the omitted ones are 0
//! ```
//!
//! The shorter of the last two is taken. Redis stores the score's digits, or an integer if they
//! spell one: no score is as long here, and most fractions are much shorter. As there, the sign of
//! zero is lost.

/// Most bytes of a score.
pub(super) const SCORE_LEN_MAX: usize = 9;

const INTEGER: u8 = 0x80;
const DOUBLE: u8 = 0x90;
/// Integers up to here are exact in a double.
const EXACT_MAX: f64 = (1_u64 << 53) as f64;

/// An encoded score.
#[derive(Clone, Copy)]
pub(super) struct PackedScore {
    bytes: [u8; SCORE_LEN_MAX],
    len: u8,
}

impl PackedScore {
    pub(super) fn of(score: f64) -> Self {
        let mut bytes = [0; SCORE_LEN_MAX];
        let bits = score.to_bits();
        let double_width = 8 - (bits.trailing_zeros() as usize / 8).min(7);
        if score.fract() == 0.0 && score.abs() <= EXACT_MAX {
            let value = score as i64;
            if let Ok(small) = u8::try_from(value)
                && small < INTEGER
            {
                bytes[0] = small;
                return Self { bytes, len: 1 };
            }
            let magnitude_bits = 64 - (value ^ (value >> 63)).leading_zeros() as usize;
            let width = (magnitude_bits + 1).div_ceil(8);
            if width <= double_width {
                bytes[0] = INTEGER | width as u8;
                bytes[1..].copy_from_slice(&value.to_le_bytes());
                return Self { bytes, len: 1 + width as u8 };
            }
        }
        bytes[0] = DOUBLE | double_width as u8;
        bytes[1..].copy_from_slice(&bits.to_be_bytes());
        Self { bytes, len: 1 + double_width as u8 }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len as usize]
    }
}

/// Returns the length of the score that `pack` starts with.
pub(super) fn score_len(pack: &[u8]) -> usize {
    match pack[0] {
        0..INTEGER => 1,
        head => 1 + (head & 0x0F) as usize,
    }
}

/// Returns the score that `packed` encodes.
pub(super) fn score_of(packed: &[u8]) -> f64 {
    let mut bytes = [0; 8];
    match packed[0] {
        small @ 0..INTEGER => f64::from(small),
        INTEGER..DOUBLE => {
            // The bytes go to the top, so that the arithmetic shift extends the sign.
            let unused = 9 - packed.len();
            bytes[unused..].copy_from_slice(&packed[1..]);
            (i64::from_le_bytes(bytes) >> (8 * unused)) as f64
        }
        _ => {
            bytes[..packed.len() - 1].copy_from_slice(&packed[1..]);
            f64::from_be_bytes(bytes)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(score: f64) -> usize {
        let packed = PackedScore::of(score);
        assert_eq!(score_len(packed.bytes()), packed.bytes().len());
        // Equal to the last bit, but for the sign of zero.
        let back = score_of(packed.bytes());
        assert!(
            back.to_bits() == score.to_bits() || (back.to_bits() == 0 && score == 0.0),
            "{score}"
        );
        packed.bytes().len()
    }

    #[test]
    fn scores_are_short() {
        let lengths = [
            (0.0, 1),
            (127.0, 1),
            (-0.0, 1),
            (-1.0, 2),
            (128.0, 3),
            (1000.0, 3),
            (0.5, 3),
            (f64::INFINITY, 3),
            (f64::NEG_INFINITY, 3),
            (1_700_000_000.0, 5),
            (1_700_000_000_123.0, 7),
            (9_007_199_254_740_992.0, 3),
            (0.1, 9),
            (f64::MAX, 9),
            (f64::MIN_POSITIVE, 3),
        ];
        for (score, len) in lengths {
            assert_eq!(check(score), len, "{score}");
        }
    }

    proptest! {
        #[test]
        fn every_score_reads_back(bits in any::<u64>(), whole in any::<i64>(), shift in 0_u32..64) {
            let any = f64::from_bits(bits);
            if !any.is_nan() {
                check(any);
            }
            check((whole >> shift) as f64);
        }
    }
}
