//! BITCOUNT and BITPOS: the bits of a string, or of a range of its bytes or bits.

use super::words;
use crate::command::pace::units;
use crate::command::{Args, Cx, Outcome, Pace, Refusal};
use crate::dialect::Product;
use crate::resp::Sink;
use crate::text::number::parse_i64;

/// So many bytes are read before the pace is called.
const STRETCH: usize = 1 << 20;
/// So many bytes are read in the time in which one is copied otherwise.
const BYTES_AT_ONCE: usize = 8;

/// A range as the arguments give it: both ends included, negative ones counted from the end.
#[derive(Clone, Copy, Debug)]
struct Range {
    first: i64,
    last: i64,
    /// The ends are bits, not bytes.
    is_bits: bool,
}

impl Range {
    const ALL: Self = Self { first: 0, last: -1, is_bits: false };
    const NOTHING: Self = Self { first: 1, last: 0, is_bits: false };

    /// Reads BYTE or BIT, argument `at`, which may be missing.
    fn unit(args: Args<'_>, at: usize) -> Result<bool, Refusal> {
        match args.get(at) {
            None => Ok(false),
            Some(_) if args.is(at, "bit") => Ok(true),
            Some(_) if args.is(at, "byte") => Ok(false),
            Some(_) => Err(Refusal::SYNTAX),
        }
    }

    /// BITCOUNT's range.
    fn of_bitcount(args: Args<'_>, product: &Product) -> Result<Self, Refusal> {
        match args.len() {
            2 => Ok(Self::ALL),
            3 if product.has_open_bit_ranges => Ok(Self { first: args.int(2)?, ..Self::ALL }),
            4 | 5 => {
                let (first, last) = (args.int(2)?, args.int(3)?);
                // Cut to a short string, both ends could be its beginning.
                let is_empty = first < 0 && last < 0 && first > last;
                if is_empty && !product.reads_bit_range_first {
                    // Redis 7.0 does not read the unit of such a range.
                    return Ok(Self::NOTHING);
                }
                let is_bits = Self::unit(args, 4)?;
                Ok(if is_empty { Self::NOTHING } else { Self { first, last, is_bits } })
            }
            _ => Err(Refusal::SYNTAX),
        }
    }

    /// BITPOS' range.
    fn of_bitpos(args: Args<'_>) -> Result<Self, Refusal> {
        match args.len() {
            3 => Ok(Self::ALL),
            4 => Ok(Self { first: args.int(3)?, ..Self::ALL }),
            5 | 6 => {
                let first = args.int(3)?;
                let is_bits = Self::unit(args, 5)?;
                Ok(Self { first, last: args.int(4)?, is_bits })
            }
            _ => Err(Refusal::SYNTAX),
        }
    }

    /// Returns the range of bits in a string of `len` bytes; `None` if it is empty.
    fn bits(self, len: usize) -> Option<std::ops::Range<u64>> {
        let total = if self.is_bits { 8 * len as i64 } else { len as i64 };
        let position = |at: i64| if at < 0 { at.saturating_add(total).max(0) } else { at };
        let (first, last) = (position(self.first), position(self.last).min(total - 1));
        let (first, end) = (u64::try_from(first).ok()?, u64::try_from(last).ok()? + 1);
        let unit = if self.is_bits { 1 } else { 8 };
        // Whatever is behind the string is cut off before it is multiplied.
        (first < end).then(|| first * unit..end * unit)
    }
}

/// The bytes that hold a range of bits, with the bits outside of it replaced by `outside`: those of
/// the first byte, of the bytes that are whole, and of the last one.
struct Parts<'b> {
    first: Option<u8>,
    whole: &'b [u8],
    last: Option<u8>,
    /// The position of the first byte.
    start: u64,
}

impl<'b> Parts<'b> {
    fn of(bytes: &'b [u8], bits: &std::ops::Range<u64>, outside: bool) -> Self {
        let (start, end) = ((bits.start / 8) as usize, bits.end.div_ceil(8) as usize);
        let before = !(0xFF_u8 >> (bits.start % 8));
        let behind = match bits.end % 8 {
            0 => 0,
            bits => 0xFF_u8 >> bits,
        };
        let cut = |byte: u8, mask: u8| if outside { byte | mask } else { byte & !mask };
        let start_bit = 8 * start as u64;
        match &bytes[start..end] {
            [only] => Self {
                first: Some(cut(*only, before | behind)),
                whole: &[],
                last: None,
                start: start_bit,
            },
            [first, whole @ .., last] => Self {
                first: Some(cut(*first, before)),
                whole,
                last: Some(cut(*last, behind)),
                start: start_bit,
            },
            [] => Self { first: None, whole: &[], last: None, start: start_bit },
        }
    }

    fn count_ones(&self, pace: &dyn Pace) -> u64 {
        let ends = self.first.iter().chain(&self.last).map(|byte| u64::from(byte.count_ones()));
        let stretches = self.whole.chunks(STRETCH).map(|stretch| {
            pace.step(units(stretch.len() / BYTES_AT_ONCE));
            words::count_ones(stretch)
        });
        ends.sum::<u64>() + stretches.sum::<u64>()
    }

    /// Returns the position in the string of the first bit that is set, or clear.
    fn first_bit(&self, is_set: bool, pace: &dyn Pace) -> Option<u64> {
        let mut start = self.start;
        let ends = [self.first.as_slice(), self.last.as_slice()];
        let stretches =
            ends[0].chunks(1).chain(self.whole.chunks(STRETCH)).chain(ends[1].chunks(1));
        for stretch in stretches {
            if let Some(at) = words::first_bit(stretch, is_set) {
                return Some(start + at);
            }
            pace.step(units(stretch.len() / BYTES_AT_ONCE));
            start += 8 * stretch.len() as u64;
        }
        None
    }
}

/// BITCOUNT key [start end [BYTE | BIT]]
pub(super) fn bitcount(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let reads_first = cx.product.reads_bit_range_first;
    let mut range = Range::of_bitcount(args, cx.product);
    if reads_first {
        range = Ok(range?);
    }
    let (key, pace) = (cx.key(args.at(1)), cx.pace);
    let ones = match cx.text(key)? {
        None => 0,
        Some(bytes) => range?
            .bits(bytes.len())
            .map_or(0, |bits| Parts::of(&bytes, &bits, false).count_ones(pace)),
    };
    out.int(ones as i64);
    Ok(())
}

/// BITPOS key bit [start [end [BYTE | BIT]]]
pub(super) fn bitpos(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let is_set = match parse_i64(args.at(2)).ok_or(Refusal::NOT_AN_INTEGER)? {
        0 => false,
        1 => true,
        _ => return Err(Refusal::of("ERR The bit argument must be 1 or 0.")),
    };
    let mut range = Range::of_bitpos(args);
    if cx.product.reads_bit_range_first {
        range = Ok(range?);
    }
    let (key, pace) = (cx.key(args.at(1)), cx.pace);
    let position = match cx.text(key)? {
        // Zeros without end.
        None => (!is_set).then_some(0),
        Some(bytes) => range?.bits(bytes.len()).and_then(|bits| {
            let found = Parts::of(&bytes, &bits, !is_set).first_bit(is_set, pace);
            // A range without an end goes on behind the string, with zeros.
            let ends = args.len() > 4;
            found.or((!is_set && !ends).then_some(bits.end))
        }),
    };
    out.int(position.map_or(-1, |at| at as i64));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Immediate;
    use proptest::prelude::*;

    #[test]
    fn ranges_of_bits() {
        for (first, last, is_bits, expected) in [
            (0, -1, false, Some(0..40)),
            (0, -1, true, Some(0..40)),
            (1, 2, false, Some(8..24)),
            (3, 17, true, Some(3..18)),
            (-2, -1, true, Some(38..40)),
            (-1, -2, false, None),
            (1, 0, false, None),
            (-100, -50, false, Some(0..8)),
            (-50, -100, false, Some(0..8)),
            (5, 9, false, None),
            (4, 9, false, Some(32..40)),
            (i64::MIN, i64::MAX, true, Some(0..40)),
            (i64::MAX, i64::MAX, false, None),
            (i64::MAX, i64::MIN, true, None),
        ] {
            let range = Range { first, last, is_bits };
            assert_eq!(range.bits(5), expected, "{range:?}");
            assert_eq!(range.bits(0), None, "{range:?} of nothing");
        }
    }

    proptest! {
        #[test]
        fn parts_are_counted_and_searched_as_bit_by_bit(
            bytes in proptest::collection::vec(prop_oneof![Just(0_u8), Just(0xFF), any::<u8>()], 1..40),
            ends in (0_u64..320, 0_u64..320),
        ) {
            let total = 8 * bytes.len() as u64;
            let ends = (ends.0 % total, ends.1 % total);
            let (start, end) = (ends.0.min(ends.1), ends.0.max(ends.1) + 1);
            let bit = |at: u64| bytes[(at / 8) as usize] >> (7 - at % 8) & 1 == 1;
            let pace = Immediate(0);
            let parts = |outside| Parts::of(&bytes, &(start..end), outside);
            let ones = (start..end).filter(|&at| bit(at)).count() as u64;
            prop_assert_eq!(parts(false).count_ones(&pace), ones);
            for is_set in [false, true] {
                let first = (start..end).find(|&at| bit(at) == is_set);
                prop_assert_eq!(parts(!is_set).first_bit(is_set, &pace), first);
            }
        }
    }
}
