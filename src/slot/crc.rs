//! The checksum that slots are made of: CRC16/XMODEM (polynomial 0x1021, no reflection, no final XOR).
//!
//! ```text
//! short head │ word │ word │ …        the first word has what is over, so that the others are full
//! ```
//!
//! A word of eight bytes is taken at once: by a product without carries where the processor has the
//! instruction, else by a table for each of its bytes.

use crc16::{State, XMODEM};
use multiversion::multiversion;
use multiversion::target::match_target;
use std::sync::LazyLock;

/// The bits of a word.
const WORD: u32 = 64;
/// The polynomial, without its highest term, x^16.
const POLYNOMIAL: u64 = 0x1021;
/// The quotient of x^80 and the polynomial, without its highest term, x^64.
const QUOTIENT: u64 = quotient();

/// Divides x^80 by the polynomial, as one divides by hand.
const fn quotient() -> u64 {
    let divisor = 1 << 16 | POLYNOMIAL as u128;
    let (mut rest, mut quotient, mut power) = (1_u128 << 80, 0_u128, 64);
    loop {
        if rest >> (power + 16) & 1 == 1 {
            rest ^= divisor << power;
            quotient |= 1 << power;
        }
        if power == 0 {
            return quotient as u64;
        }
        power -= 1;
    }
}

/// Computes the checksum.
#[multiversion(targets("x86_64+pclmulqdq+sse4.1"))]
#[inline]
pub(super) fn crc(bytes: &[u8]) -> u16 {
    let (head, words) = bytes.as_rchunks::<8>();
    // Zeros before a message do not change its checksum.
    let first = short_word(head);
    let words = words.iter().map(|word| u64::from_be_bytes(*word));
    match_target! {
        "x86_64+pclmulqdq+sse4.1" => {
            let crc = if first == 0 { 0 } else { product::crc_on(0, first) };
            words.fold(crc, |crc, word| product::crc_on(crc, word))
        },
        _ => {
            let table = &*EIGHT;
            let crc = if first == 0 { 0 } else { crc_on(table, 0, first) };
            words.fold(crc, |crc, word| crc_on(table, crc, word))
        },
    }
}

/// Returns up to seven bytes as a number, the first of them highest.
#[inline(always)]
fn short_word(bytes: &[u8]) -> u64 {
    if let (Some(first), Some(last)) = (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        // Where they overlap they are the same.
        let (first, last) = (u32::from_be_bytes(*first), u32::from_be_bytes(*last));
        return u64::from(first) << (8 * (bytes.len() - 4)) | u64::from(last);
    }
    bytes.iter().fold(0, |word, &byte| word << 8 | u64::from(byte))
}

#[cfg(target_arch = "x86_64")]
mod product {
    //! With `PCLMULQDQ`.

    use super::{POLYNOMIAL, QUOTIENT, WORD};
    use std::arch::x86_64::{_mm_clmulepi64_si128, _mm_cvtsi64_si128, _mm_extract_epi64};

    /// Continues a checksum with a word, by Barrett's reduction: the word times x^16, divided by the
    /// polynomial, has as its quotient the upper half of the word times [`QUOTIENT`], and what is
    /// left are the lowest bits of that quotient times the polynomial. (Intel, "Fast CRC Computation
    /// for Generic Polynomials Using PCLMULQDQ Instruction", 2009.)
    #[inline]
    #[target_feature(enable = "pclmulqdq,sse4.1")]
    pub(super) fn crc_on(crc: u16, word: u64) -> u16 {
        const { assert!(POLYNOMIAL == 1 << 12 | 1 << 5 | 1) };
        let word = word ^ u64::from(crc) << (WORD - 16);
        let both = _mm_clmulepi64_si128::<0>(
            _mm_cvtsi64_si128(word as i64),
            _mm_cvtsi64_si128(QUOTIENT as i64),
        );
        // The highest term of QUOTIENT is not in the constant.
        let quotient = word ^ _mm_extract_epi64::<1>(both) as u64;
        (quotient ^ quotient << 5 ^ quotient << 12) as u16
    }
}

/// The checksum of every byte value followed by 0 to 7 zero bytes.
///
/// A CRC is linear: the checksum of eight bytes is the XOR of the checksums that each of them would
/// give alone, with the others zero. Eight independent look-ups replace eight that wait for each
/// other.
static EIGHT: LazyLock<[[u16; 256]; 8]> = LazyLock::new(|| {
    let mut message = [0; 8];
    std::array::from_fn(|zeros| {
        std::array::from_fn(|byte| {
            message[0] = byte as u8;
            State::<XMODEM>::calculate(&message[..=zeros])
        })
    })
});

/// Continues a checksum with a word, by the table.
#[inline]
fn crc_on(table: &[[u16; 256]; 8], crc: u16, word: u64) -> u16 {
    // The checksum so far combines with the first two bytes.
    let mixed = word ^ u64::from(crc) << (WORD - 16);
    (0..8).fold(0, |sum, i| sum ^ table[i][usize::from((mixed >> (8 * i)) as u8)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_word_at_a_time_is_the_same_checksum(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            prop_assert_eq!(crc(&bytes), State::<XMODEM>::calculate(&bytes));
        }

        #[test]
        fn the_table_gives_the_same(words in prop::collection::vec(any::<u64>(), 0..20)) {
            let message: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
            let crc = words.iter().fold(0, |crc, &word| crc_on(&EIGHT, crc, word));
            prop_assert_eq!(crc, State::<XMODEM>::calculate(&message));
        }
    }
}
