//! The registers of a HyperLogLog, and their dense form: six bits each, lowest bits first.
//!
//! ```text
//! byte 0    byte 1    byte 2
//! 11000000  22221111  33333322     register 0, 1, 2, 3
//! ```

use super::murmur;

/// How many bits of a hash choose the register.
const INDEX_BITS: u32 = 14;
/// How many registers there are.
pub(super) const REGISTERS: usize = 1 << INDEX_BITS;
/// The highest value of a register: a run of all other bits of a hash, and one more.
pub(super) const VALUE_MAX: usize = 64 - INDEX_BITS as usize + 1;
/// The length of the dense form.
pub(super) const DENSE_LEN: usize = REGISTERS / 4 * 3;

/// All registers, a byte each.
pub(super) type Registers = [u8; REGISTERS];

/// How many registers there are of each value; the values have six bits.
pub(super) type Histogram = [u32; 64];

/// Returns the register that an element belongs to, and its value there: the number of zeros that
/// follow in its hash, and one more.
pub(super) fn place(element: &[u8]) -> (usize, u8) {
    let hash = murmur::hash(element);
    let index = hash as usize & (REGISTERS - 1);
    // The bit behind the highest ends the run.
    let rest = hash >> INDEX_BITS | 1 << (64 - INDEX_BITS);
    (index, rest.trailing_zeros() as u8 + 1)
}

/// Returns one register of the dense form.
pub(super) fn dense_get(dense: &[u8], index: usize) -> u8 {
    let (at, shift) = (index / 4 * 3 + index % 4 * 6 / 8, index % 4 * 6 % 8);
    let low = dense.get(at).copied().unwrap_or_default();
    let high = dense.get(at + 1).copied().unwrap_or_default();
    (u16::from_le_bytes([low, high]) >> shift) as u8 & 63
}

/// Raises one register of the dense form to a value; returns whether it was lower.
pub(super) fn dense_raise(dense: &mut [u8], index: usize, value: u8) -> bool {
    let (group, shift) = (index / 4 * 3, index % 4 * 6);
    let Some(bytes) = dense.get_mut(group..group + 3) else { return false };
    let four = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], 0]);
    if (four >> shift & 63) as u8 >= value {
        return false;
    }
    let four = four & !(63 << shift) | u32::from(value & 63) << shift;
    bytes.copy_from_slice(&four.to_le_bytes()[..3]);
    true
}

/// Calls `each` with every four registers of the dense form.
fn each_four(dense: &[u8], mut each: impl FnMut(usize, [u8; 4])) {
    let (groups, _) = dense.as_chunks::<3>();
    for (at, group) in groups.iter().take(REGISTERS / 4).enumerate() {
        let four = u32::from_le_bytes([group[0], group[1], group[2], 0]);
        // Each of the six bits to a byte of its own.
        let spread = (four & 0x3F)
            | (four << 2 & 0x3F00)
            | (four << 4 & 0x3F_0000)
            | (four << 6 & 0x3F00_0000);
        each(4 * at, spread.to_le_bytes());
    }
}

/// Raises registers to those of the dense form, where these are higher.
pub(super) fn raise_to_dense(registers: &mut Registers, dense: &[u8]) {
    each_four(dense, |at, four| {
        for (register, value) in registers[at..at + 4].iter_mut().zip(four) {
            *register = value.max(*register);
        }
    });
}

/// Writes registers in their dense form, in `DENSE_LEN` bytes.
pub(super) fn write_dense(registers: &Registers, dense: &mut [u8]) {
    let (fours, _) = registers.as_chunks::<4>();
    let (groups, _) = dense.as_chunks_mut::<3>();
    for (four, group) in fours.iter().zip(groups) {
        let spread = u32::from_le_bytes(*four);
        let four = (spread & 0x3F)
            | (spread >> 2 & 0xFC0)
            | (spread >> 4 & 0x3_F000)
            | (spread >> 6 & 0xFC_0000);
        group.copy_from_slice(&four.to_le_bytes()[..3]);
    }
}

/// Counts the values of the dense form.
pub(super) fn dense_histogram(dense: &[u8]) -> Histogram {
    // Four counters of each value, so that an addition need not wait for the one before.
    let mut counts = [[0_u32; 64]; 4];
    each_four(dense, |_, four| {
        for (counts, value) in counts.iter_mut().zip(four) {
            counts[usize::from(value & 63)] += 1;
        }
    });
    sum(&counts)
}

/// Counts the values of registers.
pub(super) fn histogram(registers: &Registers) -> Histogram {
    let mut counts = [[0_u32; 64]; 4];
    for four in registers.as_chunks::<4>().0 {
        for (counts, value) in counts.iter_mut().zip(four) {
            counts[usize::from(value & 63)] += 1;
        }
    }
    sum(&counts)
}

fn sum(counts: &[Histogram; 4]) -> Histogram {
    std::array::from_fn(|value| counts.iter().map(|counts| counts[value]).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dense_form_holds_every_register() {
        let mut rng = fastrand::Rng::with_seed(1);
        let mut registers = [0; REGISTERS];
        registers.fill_with(|| rng.u8(..64));
        let mut dense = vec![0; DENSE_LEN];
        write_dense(&registers, &mut dense);
        let mut back = [0; REGISTERS];
        raise_to_dense(&mut back, &dense);
        assert!(back == registers);
        assert!((0..REGISTERS).all(|index| dense_get(&dense, index) == registers[index]));
        assert_eq!(dense_histogram(&dense), histogram(&registers));
        assert_eq!(histogram(&registers).iter().sum::<u32>() as usize, REGISTERS);
        for _ in 0..10_000 {
            let (index, value) = (rng.usize(..REGISTERS), rng.u8(..64));
            assert_eq!(dense_raise(&mut dense, index, value), registers[index] < value);
            registers[index] = registers[index].max(value);
        }
        let mut again = vec![0; DENSE_LEN];
        write_dense(&registers, &mut again);
        assert!(again == dense);
    }

    #[test]
    fn what_is_cut_off_is_zero() {
        assert_eq!(dense_get(&[], 16383), 0);
        assert!(!dense_raise(&mut [0; 2], 0, 1));
    }
}
