//! The sparse form of the registers: runs of equal values.
//!
//! ```text
//! 00nnnnnn             n + 1 registers that are zero: up to 64
//! 01nnnnnn nnnnnnnn    n + 1 registers that are zero: up to 16,384
//! 1vvvvvnn             n + 1 registers of the value v + 1: up to 4, and values up to 32
//! ```
//!
//! Bytes, not only registers, are the same as Redis': a value that is set splits its run in the same
//! way, and the same neighbours are merged. A client may have written any bytes, so that runs may be cut
//! off or be too many.

use super::registers::{Histogram, REGISTERS, Registers};

/// The highest value that a run can have.
pub(super) const VALUE_MAX: u8 = 32;
const VALUE_RUN_MAX: usize = 4;
const SHORT_ZEROS_MAX: usize = 64;
/// After a change so many runs are looked at to merge equal ones.
const MERGED_MAX: usize = 5;

/// The runs are not those of exactly all registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Corrupt;

/// One run, as its byte or two bytes say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    /// 0 for a run of zeros.
    pub(super) value: u8,
    /// How many registers it covers, at least one.
    pub(super) len: usize,
    /// In two bytes.
    pub(super) is_wide: bool,
}

impl Run {
    /// Returns the run at `at`, which is within `bytes`; a byte that is cut off counts as 0.
    #[inline]
    fn at(bytes: &[u8], at: usize) -> Self {
        let byte = bytes[at];
        match byte >> 6 {
            0 => Self { value: 0, len: usize::from(byte) + 1, is_wide: false },
            1 => {
                let low = bytes.get(at + 1).copied().unwrap_or_default();
                let len = usize::from(u16::from_be_bytes([byte & 63, low])) + 1;
                Self { value: 0, len, is_wide: true }
            }
            _ => {
                Self { value: (byte >> 2 & 31) + 1, len: usize::from(byte & 3) + 1, is_wide: false }
            }
        }
    }

    #[inline]
    fn width(self) -> usize {
        if self.is_wide { 2 } else { 1 }
    }

    const fn value(value: u8, len: usize) -> u8 {
        0x80 | (value - 1) << 2 | (len - 1) as u8
    }
}

/// The bytes of a few runs.
#[derive(Default)]
struct Written {
    bytes: [u8; 5],
    len: usize,
}

impl Written {
    fn push(&mut self, byte: u8) {
        self.bytes[self.len] = byte;
        self.len += 1;
    }

    fn zeros(&mut self, len: usize) {
        match len {
            0 => {}
            1..=SHORT_ZEROS_MAX => self.push((len - 1) as u8),
            _ => {
                let [high, low] = ((len - 1) as u16).to_be_bytes();
                self.push(0x40 | high);
                self.push(low);
            }
        }
    }

    fn values(&mut self, value: u8, len: usize) {
        if len > 0 {
            self.push(Run::value(value, len));
        }
    }
}

/// Returns all runs.
pub(super) fn runs(bytes: &[u8]) -> impl Iterator<Item = Run> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let run = (at < bytes.len()).then(|| Run::at(bytes, at))?;
        at += run.width();
        Some(run)
    })
}

/// Returns the bytes of registers that are all zero.
pub(super) fn zeros() -> [u8; 2] {
    let [high, low] = (REGISTERS as u16 - 1).to_be_bytes();
    [0x40 | high, low]
}

/// Calls `each` with the first register and the run, for every run of values; stops at the first run
/// that goes beyond the last register.
fn each_value(bytes: &[u8], mut each: impl FnMut(usize, Run)) -> Result<(), Corrupt> {
    let mut index = 0;
    for run in runs(bytes) {
        if index + run.len > REGISTERS {
            return Err(Corrupt);
        }
        if run.value > 0 {
            each(index, run);
        }
        index += run.len;
    }
    if index == REGISTERS { Ok(()) } else { Err(Corrupt) }
}

/// Raises registers to those of the sparse form, where these are higher. If it is corrupt, some may
/// be raised.
pub(super) fn raise(registers: &mut Registers, bytes: &[u8]) -> Result<(), Corrupt> {
    each_value(bytes, |index, run| {
        for register in &mut registers[index..index + run.len] {
            *register = run.value.max(*register);
        }
    })
}

/// Counts the values of the sparse form.
pub(super) fn histogram(bytes: &[u8]) -> Result<Histogram, Corrupt> {
    let mut counts = [0; 64];
    let mut values = 0;
    each_value(bytes, |_, run| {
        counts[usize::from(run.value)] += run.len as u32;
        values += run.len as u32;
    })?;
    counts[0] = REGISTERS as u32 - values;
    Ok(counts)
}

/// What became of a value that was to be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Raised {
    /// The register was not lower.
    No,
    Yes,
    /// It was lower, and there is no room: the dense form is needed.
    NeedsDense,
}

/// Where to look for a register: a run, and its first register.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hint {
    at: usize,
    first: usize,
}

impl Hint {
    /// The first run, at this byte.
    pub(super) fn start(at: usize) -> Self {
        Self { at, first: 0 }
    }
}

/// A run that was found.
struct Found {
    /// Where it is.
    at: usize,
    /// Its first register.
    first: usize,
    run: Run,
    /// Where the run before it is, and the first register of that.
    before: Option<Hint>,
}

/// Finds the run of a register, from a hint on.
#[inline]
fn find(bytes: &[u8], index: usize, from: Hint) -> Option<Found> {
    let Hint { mut at, mut first } = from;
    let mut before = None;
    while at < bytes.len() {
        let run = Run::at(bytes, at);
        if index < first + run.len {
            return Some(Found { at, first, run, before });
        }
        before = Some(Hint { at, first });
        at += run.width();
        first += run.len;
    }
    None
}

/// Raises one register to `value`, which is not 0. The runs begin at byte `start` of `bytes`, which
/// may become `len_max` long. Ascending registers are found faster if each search begins with the
/// hint that the last one left.
pub(super) fn raise_one(
    bytes: &mut Vec<u8>,
    start: usize,
    (index, value): (usize, u8),
    len_max: usize,
    hint: &mut Hint,
) -> Result<Raised, Corrupt> {
    if value > VALUE_MAX {
        return Ok(Raised::NeedsDense);
    }
    let mut found = find(bytes, index, *hint).ok_or(Corrupt)?;
    if found.before.is_none() && found.at != start {
        // The run before it is needed, too.
        found = find(bytes, index, Hint::start(start)).ok_or(Corrupt)?;
    }
    let Found { at, first, run, before } = found;
    *hint = before.unwrap_or(Hint::start(start));
    if run.value >= value {
        return Ok(Raised::No);
    }
    if run.len == 1 && !run.is_wide {
        bytes[at] = Run::value(value, 1);
    } else {
        let mut new = Written::default();
        let (left, right) = (index - first, first + run.len - 1 - index);
        if run.value == 0 {
            new.zeros(left);
            new.values(value, 1);
            new.zeros(right);
        } else {
            new.values(run.value, left);
            new.values(value, 1);
            new.values(run.value, right);
        }
        let len = bytes.len() + new.len - run.width();
        if new.len > run.width() && len > len_max {
            return Ok(Raised::NeedsDense);
        }
        make_room(bytes, len_max);
        let end = (at + run.width()).min(bytes.len());
        bytes.splice(at..end, new.bytes[..new.len].iter().copied());
        // A run whose second byte was cut off has taken one byte only.
        bytes.truncate(len);
    }
    merge(bytes, before.map_or(start, |before| before.at));
    Ok(Raised::Yes)
}

/// Reserves room for one more change, and a little to spare: less than an allocator rounds up to. No
/// more than `len_max`.
fn make_room(bytes: &mut Vec<u8>, len_max: usize) {
    /// What a change adds at most.
    const ADDED_MAX: usize = 3;
    if bytes.capacity() - bytes.len() < ADDED_MAX {
        let needed = bytes.len() + ADDED_MAX;
        let wanted = (needed + needed / 16).next_multiple_of(16).min(len_max).max(needed);
        bytes.reserve_exact(wanted - bytes.len());
    }
}

/// Merges runs of equal values among the next few from `at` on.
fn merge(bytes: &mut Vec<u8>, mut at: usize) {
    for _ in 0..MERGED_MAX {
        if at >= bytes.len() {
            return;
        }
        let run = Run::at(bytes, at);
        if run.value > 0 && at + 1 < bytes.len() {
            let next = Run::at(bytes, at + 1);
            if next.value == run.value && run.len + next.len <= VALUE_RUN_MAX {
                bytes[at + 1] = Run::value(run.value, run.len + next.len);
                bytes.remove(at);
                continue;
            }
        }
        at += run.width();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn runs_are_split_and_merged() {
        let mut bytes = zeros().to_vec();
        let mut raise = |index, value| {
            let result = raise_one(&mut bytes, 0, (index, value), 3000, &mut Hint::start(0));
            let runs: Vec<String> = runs(&bytes)
                .map(|run| match run {
                    Run { value: 0, len, is_wide: false } => format!("z:{len}"),
                    Run { value: 0, len, is_wide: true } => format!("Z:{len}"),
                    Run { value, len, .. } => format!("v:{value},{len}"),
                })
                .collect();
            (result.expect("valid"), runs.join(" "))
        };
        assert_eq!(raise(100, 3), (Raised::Yes, "Z:100 v:3,1 Z:16283".into()));
        assert_eq!(raise(100, 2).0, Raised::No);
        assert_eq!(raise(101, 3), (Raised::Yes, "Z:100 v:3,2 Z:16282".into()));
        assert_eq!(raise(0, 1), (Raised::Yes, "v:1,1 Z:99 v:3,2 Z:16282".into()));
        assert_eq!(raise(16383, 32), (Raised::Yes, "v:1,1 Z:99 v:3,2 Z:16281 v:32,1".into()));
        assert_eq!(raise(100, 4), (Raised::Yes, "v:1,1 Z:99 v:4,1 v:3,1 Z:16281 v:32,1".into()));
        assert_eq!(raise(50, 4).1, "v:1,1 z:49 v:4,1 z:49 v:4,1 v:3,1 Z:16281 v:32,1");
        assert_eq!(raise(7, 33).0, Raised::NeedsDense);
    }

    #[test]
    fn a_run_that_is_cut_off_or_missing() {
        for bytes in [&[][..], &[0], &[0x7F], &[0x7F, 0xFF, 0]] {
            assert_eq!(histogram(bytes), Err(Corrupt), "{bytes:?}");
            assert_eq!(raise(&mut [0; REGISTERS], bytes), Err(Corrupt), "{bytes:?}");
        }
        let mut cut = vec![0x40];
        assert_eq!(raise_one(&mut cut, 0, (0, 1), 3000, &mut Hint::start(0)), Ok(Raised::Yes));
        assert_eq!(raise_one(&mut cut, 0, (0, 1), 3000, &mut Hint::start(0)), Err(Corrupt));
    }

    proptest! {
        /// Whatever the order, with or without a hint, the registers are the highest values.
        #[test]
        fn registers_are_raised(changes in proptest::collection::vec((0..REGISTERS, 1..33_u8), 0..300)) {
            let mut expected = [0; REGISTERS];
            let mut bytes = zeros().to_vec();
            for &(index, value) in &changes {
                let raised = raise_one(&mut bytes, 0, (index, value), 3000, &mut Hint::start(0));
                let is_higher = expected[index] < value;
                prop_assert_eq!(raised, Ok(if is_higher { Raised::Yes } else { Raised::No }));
                expected[index] = expected[index].max(value);
            }
            let mut registers = [0; REGISTERS];
            prop_assert_eq!(super::raise(&mut registers, &bytes), Ok(()));
            prop_assert!(registers == expected);
            let counts = histogram(&bytes).expect("valid");
            prop_assert_eq!(counts, super::super::registers::histogram(&expected));

            // In ascending order, with the hint and without.
            let mut hint = Hint::start(0);
            let (mut fast, mut slow) = (zeros().to_vec(), zeros().to_vec());
            for (index, &value) in expected.iter().enumerate().filter(|&(_, &value)| value > 0) {
                let change = (index, value);
                let one = raise_one(&mut fast, 0, change, 3000, &mut hint);
                let other = raise_one(&mut slow, 0, change, 3000, &mut Hint::start(0));
                prop_assert_eq!(one, other);
            }
            prop_assert_eq!(fast, slow);
        }

        #[test]
        fn any_bytes_are_survived(
            mut bytes in proptest::collection::vec(any::<u8>(), 0..200),
            changes in proptest::collection::vec((0..REGISTERS, 1..65_u8), 0..50),
        ) {
            for change in changes {
                let _any = raise_one(&mut bytes, 0, change, 3000, &mut Hint::start(0));
                let _any = histogram(&bytes);
                let _any = super::raise(&mut [0; REGISTERS], &bytes);
                prop_assert!(runs(&bytes).count() <= bytes.len());
            }
        }
    }
}
