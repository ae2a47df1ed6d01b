//! The bytes of a HyperLogLog, which is a string: a header and the registers, dense or sparse.
//!
//! ```text
//! HYLL  encoding  000  cardinality, 8 bytes, lowest first   registers
//!       0 dense        the highest bit is set while it      12,288 bytes
//!       1 sparse       is out of date                       runs: see sparse
//! ```
//!
//! The bytes are Redis' own, so that GET, DUMP and SET carry them from one server to another. A client
//! may also have written any others: what the header does not rule out may still be corrupt.

use super::estimate::estimate;
use super::registers::{self, DENSE_LEN, Registers};
use super::sparse::{self, Corrupt, Hint, Raised};

/// The length of the header.
pub(super) const HEADER_LEN: usize = 16;
/// Room for an empty one, and a first element.
const EMPTY_CAPACITY: usize = HEADER_LEN + 8;
const MAGIC: &[u8] = b"HYLL";
const ENCODING_AT: usize = 4;
const CARDINALITY_AT: usize = 8;
const DENSE: u8 = 0;
const SPARSE: u8 = 1;
/// In the last byte of the cardinality.
const OUT_OF_DATE: u8 = 1 << 7;

/// How the registers are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    Dense,
    Sparse,
}

/// Returns the encoding of a HyperLogLog; `None` if the bytes are none.
pub(super) fn encoding(bytes: &[u8]) -> Option<Encoding> {
    if bytes.len() < HEADER_LEN || !bytes.starts_with(MAGIC) {
        return None;
    }
    match bytes[ENCODING_AT] {
        DENSE if bytes.len() == HEADER_LEN + DENSE_LEN => Some(Encoding::Dense),
        SPARSE => Some(Encoding::Sparse),
        _ => None,
    }
}

/// A HyperLogLog's bytes, whose header was checked.
#[derive(Clone, Copy)]
pub(super) struct Sketch<'b> {
    encoding: Encoding,
    bytes: &'b [u8],
}

impl<'b> Sketch<'b> {
    /// Returns the bytes as a HyperLogLog, if they are one.
    pub(super) fn of(bytes: &'b [u8]) -> Option<Self> {
        Some(Self { encoding: encoding(bytes)?, bytes })
    }

    pub(super) fn encoding(self) -> Encoding {
        self.encoding
    }

    /// Returns the registers' bytes.
    pub(super) fn registers(self) -> &'b [u8] {
        &self.bytes[HEADER_LEN..]
    }

    /// Returns the cardinality in the header, unless it is out of date.
    pub(super) fn cached(self) -> Option<u64> {
        let (_, bytes) = self.bytes[..HEADER_LEN].split_last_chunk::<8>()?;
        (bytes[7] & OUT_OF_DATE == 0).then_some(u64::from_le_bytes(*bytes))
    }

    /// Returns the cardinality that the registers stand for.
    pub(super) fn estimate(self) -> Result<u64, Corrupt> {
        let counts = match self.encoding {
            Encoding::Dense => registers::dense_histogram(self.registers()),
            Encoding::Sparse => sparse::histogram(self.registers())?,
        };
        Ok(estimate(&counts))
    }

    /// Raises registers to those of this HyperLogLog, where these are higher.
    pub(super) fn raise(self, into: &mut Registers) -> Result<(), Corrupt> {
        match self.encoding {
            Encoding::Dense => {
                registers::raise_to_dense(into, self.registers());
                Ok(())
            }
            Encoding::Sparse => sparse::raise(into, self.registers()),
        }
    }
}

/// Returns an empty HyperLogLog.
fn empty() -> Vec<u8> {
    let mut bytes = Vec::with_capacity(EMPTY_CAPACITY);
    bytes.resize(HEADER_LEN, 0);
    bytes[..MAGIC.len()].copy_from_slice(MAGIC);
    bytes[ENCODING_AT] = SPARSE;
    bytes.extend(sparse::zeros());
    bytes
}

/// A HyperLogLog's bytes, whose header was checked, to be changed.
pub(super) struct SketchMut<'b> {
    encoding: Encoding,
    bytes: &'b mut Vec<u8>,
    /// The longest sparse form (`hll-sparse-max-bytes`), header included.
    sparse_len_max: usize,
    hint: Hint,
}

impl<'b> SketchMut<'b> {
    /// Returns the bytes as a HyperLogLog, if they are one.
    pub(super) fn of(bytes: &'b mut Vec<u8>, sparse_len_max: usize) -> Option<Self> {
        let encoding = encoding(bytes)?;
        Some(Self { encoding, bytes, sparse_len_max, hint: Hint::start(HEADER_LEN) })
    }

    /// Makes the bytes an empty HyperLogLog.
    pub(super) fn new(bytes: &'b mut Vec<u8>, sparse_len_max: usize) -> Self {
        *bytes = empty();
        let hint = Hint::start(HEADER_LEN);
        Self { encoding: Encoding::Sparse, bytes, sparse_len_max, hint }
    }

    pub(super) fn encoding(&self) -> Encoding {
        self.encoding
    }

    pub(super) fn view(&self) -> Sketch<'_> {
        Sketch { encoding: self.encoding, bytes: self.bytes }
    }

    /// Adds an element; returns whether a register was raised.
    pub(super) fn add(&mut self, element: &[u8]) -> Result<bool, Corrupt> {
        self.hint = Hint::start(HEADER_LEN);
        self.raise_one(registers::place(element))
    }

    /// Raises one register to a value; returns whether it was lower. Each call is faster if the
    /// register comes after that of the call before.
    fn raise_one(&mut self, (index, value): (usize, u8)) -> Result<bool, Corrupt> {
        if self.encoding == Encoding::Sparse {
            let change = (index, value);
            let len_max = self.sparse_len_max;
            match sparse::raise_one(self.bytes, HEADER_LEN, change, len_max, &mut self.hint)? {
                Raised::No => return Ok(false),
                Raised::Yes => {
                    self.set_out_of_date();
                    return Ok(true);
                }
                Raised::NeedsDense => self.make_dense()?,
            }
        }
        Ok(registers::dense_raise(&mut self.bytes[HEADER_LEN..], index, value))
    }

    /// Marks the cardinality in the header as out of date.
    pub(super) fn set_out_of_date(&mut self) {
        self.bytes[HEADER_LEN - 1] |= OUT_OF_DATE;
    }

    /// Writes the cardinality into the header.
    pub(super) fn set_cached(&mut self, cardinality: u64) {
        self.bytes[CARDINALITY_AT..HEADER_LEN].copy_from_slice(&cardinality.to_le_bytes());
    }

    /// Stores the registers in their dense form, if they are not.
    pub(super) fn make_dense(&mut self) -> Result<(), Corrupt> {
        if self.encoding == Encoding::Dense {
            return Ok(());
        }
        let mut all = [0; registers::REGISTERS];
        self.view().raise(&mut all)?;
        self.write_dense(&all);
        Ok(())
    }

    /// Stores these registers in their dense form.
    fn write_dense(&mut self, registers: &Registers) {
        let mut dense = vec![0; HEADER_LEN + DENSE_LEN];
        dense[..HEADER_LEN].copy_from_slice(&self.bytes[..HEADER_LEN]);
        dense[ENCODING_AT] = DENSE;
        registers::write_dense(registers, &mut dense[HEADER_LEN..]);
        (*self.bytes, self.encoding) = (dense, Encoding::Dense);
    }

    /// Raises all registers to these, none of which is lower than the present one.
    pub(super) fn raise_all(
        &mut self,
        registers: &Registers,
        is_dense: bool,
    ) -> Result<(), Corrupt> {
        if self.encoding == Encoding::Sparse && !is_dense {
            self.hint = Hint::start(HEADER_LEN);
            for (index, &value) in registers.iter().enumerate().filter(|&(_, &value)| value > 0) {
                self.raise_one((index, value))?;
                if self.encoding == Encoding::Dense {
                    break;
                }
            }
        }
        if self.encoding == Encoding::Dense || is_dense {
            self.write_dense(registers);
        }
        self.set_out_of_date();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::registers::REGISTERS;
    use super::*;
    use proptest::prelude::*;

    const LEN_MAX: usize = 3000;

    fn sketch(bytes: &mut Vec<u8>) -> SketchMut<'_> {
        SketchMut::of(bytes, LEN_MAX).expect("a HyperLogLog")
    }

    #[test]
    fn the_header_is_checked() {
        let valid = empty();
        assert_eq!(encoding(&valid), Some(Encoding::Sparse));
        for (at, byte) in [(0, b'X'), (3, b'l'), (ENCODING_AT, 2), (ENCODING_AT, DENSE)] {
            let mut bytes = valid.clone();
            bytes[at] = byte;
            assert_eq!(encoding(&bytes), None, "{at} {byte}");
        }
        assert_eq!(encoding(&valid[..HEADER_LEN - 1]), None);
        assert_eq!(encoding(&valid[..HEADER_LEN]), Some(Encoding::Sparse));
    }

    #[test]
    fn estimates_are_near() {
        let mut bytes = empty();
        let mut sketch = sketch(&mut bytes);
        let mut next = 0_u64;
        for count in [1, 10, 100, 1000, 10_000, 100_000, 300_000] {
            while next < count {
                sketch.add(format!("element {next}").as_bytes()).expect("valid");
                next += 1;
            }
            let estimate = sketch.view().estimate().expect("valid");
            // Three times the standard error.
            let off = estimate.abs_diff(count) as f64 / count as f64;
            assert!(off < 0.0244, "{estimate} of {count}");
        }
        assert_eq!(sketch.encoding(), Encoding::Dense);
    }

    #[test]
    fn sparse_and_dense_have_the_same_registers() {
        let mut rng = fastrand::Rng::with_seed(7);
        let (mut sparse, mut dense) = (empty(), empty());
        sketch(&mut dense).make_dense().expect("valid");
        for _ in 0..800 {
            let element = rng.u64(..).to_le_bytes();
            let (one, other) =
                (sketch(&mut sparse).add(&element), sketch(&mut dense).add(&element));
            assert_eq!(one, other);
        }
        assert_eq!(sketch(&mut sparse).encoding(), Encoding::Sparse);
        let estimates = [&mut sparse, &mut dense].map(|bytes| sketch(bytes).view().estimate());
        assert_eq!(estimates[0], estimates[1]);
        sketch(&mut sparse).make_dense().expect("valid");
        assert_eq!(sparse[HEADER_LEN..], dense[HEADER_LEN..]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(
            mut tail in proptest::collection::vec(any::<u8>(), 0..300),
            is_dense: bool,
            head: [u8; 11],
            elements in proptest::collection::vec(any::<[u8; 3]>(), 0..20),
            len_max in 0_usize..400,
        ) {
            if is_dense {
                tail.resize(DENSE_LEN, 0xAB);
            }
            let mut bytes = b"HYLL".to_vec();
            bytes.push(if is_dense { DENSE } else { SPARSE });
            bytes.extend(head);
            bytes.extend(tail);
            let mut registers = [0; REGISTERS];
            let mut sketch = SketchMut::of(&mut bytes, len_max).expect("a header");
            let is_valid = sketch.view().raise(&mut registers).is_ok();
            prop_assert_eq!(sketch.view().estimate().is_ok(), is_valid);
            for element in elements {
                let added = sketch.add(&element);
                prop_assert!(added.is_ok() || !is_valid);
            }
            let _any = sketch.view().cached();
            if sketch.make_dense().is_ok() {
                prop_assert_eq!(sketch.encoding(), Encoding::Dense);
                let dense = sketch.view().registers();
                prop_assert!((0..REGISTERS).all(|at| registers::dense_get(dense, at) >= registers[at]));
            }
        }
    }
}
