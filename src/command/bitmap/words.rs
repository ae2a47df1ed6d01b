//! Bits of long strings, many bytes at a time: the loops are such that the compiler makes vector
//! instructions of them.

use multiversion::multiversion;

/// Returns how many bits are set.
#[multiversion(targets(
    "x86_64+avx512f+avx512bw+avx512vl+avx512vpopcntdq+avx512bitalg",
    "x86_64+avx2+bmi1+bmi2+popcnt+lzcnt",
    "x86_64+sse4.2+popcnt"
))]
pub(super) fn count_ones(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let ones = |word: &[u8; 8]| u64::from(u64::from_ne_bytes(*word).count_ones());
    words.iter().map(ones).sum::<u64>()
        + rest.iter().map(|byte| u64::from(byte.count_ones())).sum::<u64>()
}

/// How many bytes are compared at once.
const BLOCK: usize = 128;

/// Returns the position of the first byte that is not `byte`.
#[multiversion(targets(
    "x86_64+avx512f+avx512bw+avx512vl",
    "x86_64+avx2+bmi1+bmi2",
    "x86_64+sse4.2"
))]
fn position_of_other(bytes: &[u8], byte: u8) -> Option<usize> {
    let (blocks, rest) = bytes.as_chunks::<BLOCK>();
    let equals = |block: &[u8; BLOCK]| {
        block.iter().fold(0, |different, other| different | (other ^ byte)) == 0
    };
    let start = match blocks.iter().position(|block| !equals(block)) {
        Some(block) => block * BLOCK,
        None => bytes.len() - rest.len(),
    };
    bytes[start..].iter().position(|&other| other != byte).map(|at| start + at)
}

/// Returns the position of the first bit that is set, or that is clear.
pub(super) fn first_bit(bytes: &[u8], is_set: bool) -> Option<u64> {
    let without = if is_set { 0 } else { 0xFF };
    let at = position_of_other(bytes, without)?;
    Some(8 * at as u64 + u64::from((bytes[at] ^ without).leading_zeros()))
}

/// An operation on two bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    And,
    Or,
    Xor,
}

/// Combines the bytes of `into` with those of `with`, which are as many.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2", "x86_64+sse4.2"))]
pub(super) fn combine(into: &mut [u8], with: &[u8], operation: Operation) {
    let pairs = into.iter_mut().zip(with);
    match operation {
        Operation::And => pairs.for_each(|(into, with)| *into &= with),
        Operation::Or => pairs.for_each(|(into, with)| *into |= with),
        Operation::Xor => pairs.for_each(|(into, with)| *into ^= with),
    }
}

/// Writes the bytes of `one` and `other` combined; all three are as long.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2", "x86_64+sse4.2"))]
pub(super) fn combine_two(into: &mut [u8], one: &[u8], other: &[u8], operation: Operation) {
    let all = into.iter_mut().zip(one).zip(other);
    match operation {
        Operation::And => all.for_each(|((into, one), other)| *into = one & other),
        Operation::Or => all.for_each(|((into, one), other)| *into = one | other),
        Operation::Xor => all.for_each(|((into, one), other)| *into = one ^ other),
    }
}

/// Writes bytes with every bit inverted; both are as long.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2", "x86_64+sse4.2"))]
pub(super) fn invert(into: &mut [u8], from: &[u8]) {
    into.iter_mut().zip(from).for_each(|(into, from)| *into = !from);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bit(bytes: &[u8], at: usize) -> bool {
        bytes[at / 8] >> (7 - at % 8) & 1 == 1
    }

    proptest! {
        #[test]
        fn as_bit_by_bit(
            fill in prop_oneof![Just(0_u8), Just(0xFF), any::<u8>()],
            len in 0_usize..700,
            marks in proptest::collection::vec((0_usize..700, any::<u8>()), 0..4),
            other in proptest::collection::vec(any::<u8>(), 700),
        ) {
            let mut bytes = vec![fill; len];
            for (at, byte) in marks.into_iter().filter(|&(at, _)| at < len) {
                bytes[at] = byte;
            }
            let bits = || 0..8 * len;
            let ones = bits().filter(|&at| bit(&bytes, at)).count();
            prop_assert_eq!(count_ones(&bytes), ones as u64);
            for is_set in [false, true] {
                let first = bits().find(|&at| bit(&bytes, at) == is_set).map(|at| at as u64);
                prop_assert_eq!(first_bit(&bytes, is_set), first);
            }
            for (operation, expected) in [
                (Operation::And, (|a, b| a & b) as fn(bool, bool) -> bool),
                (Operation::Or, |a, b| a | b),
                (Operation::Xor, |a, b| a ^ b),
            ] {
                let mut into = bytes.clone();
                combine(&mut into, &other[..len], operation);
                let mut of_two = vec![0xAB; len];
                combine_two(&mut of_two, &bytes, &other[..len], operation);
                prop_assert_eq!(&of_two, &into);
                for at in bits() {
                    prop_assert_eq!(bit(&into, at), expected(bit(&bytes, at), bit(&other, at)));
                }
            }
            let mut inverted = vec![0xAB; len];
            invert(&mut inverted, &bytes);
            for at in bits() {
                prop_assert_ne!(bit(&inverted, at), bit(&bytes, at));
            }
        }
    }
}
