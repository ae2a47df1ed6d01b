//! PFDEBUG and PFSELFTEST: the registers of a HyperLogLog, shown and tested.

use super::registers::{self, DENSE_LEN, REGISTERS};
use super::sketch::{Encoding, SketchMut};
use super::sparse::{self, Run};
use super::{CORRUPT, change, sketch_of};
use crate::command::pace::{Strides, units};
use crate::command::{Args, Cx, Outcome, Pace, Refusal};
use crate::keyspace::Edited;
use crate::resp::{Sink, until_nul};
use std::io::Write;

/// PFDEBUG GETREG | DECODE | ENCODING | TODENSE key
pub(super) fn pfdebug(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let key = cx.key(args.at(2));
    // For a write, as in Redis: neither a hit nor a miss.
    let encoding = change(cx, key, |sketch| Edited::Kept(Ok(sketch.encoding())))?;
    let encoding = encoding.ok_or(Refusal::of("ERR The specified key does not exist"))?;
    if args.is(1, "getreg") {
        make_dense(cx, args)?;
        let Some(value) = cx.keyspace.get(key) else { return Err(CORRUPT) };
        let dense = sketch_of(value)?.registers();
        out.array(REGISTERS);
        (0..REGISTERS).for_each(|index| out.int(registers::dense_get(dense, index).into()));
    } else if args.is(1, "decode") {
        if encoding != Encoding::Sparse {
            return Err(Refusal::of("ERR HLL encoding is not sparse"));
        }
        let (len_max, pace) = (cx.string_len_max, cx.pace);
        let Some(value) = cx.keyspace.get(key) else { return Err(CORRUPT) };
        out.bulk(&decoded(sketch_of(value)?.registers(), len_max, pace)?);
    } else if args.is(1, "encoding") {
        out.simple(if encoding == Encoding::Dense { "dense" } else { "sparse" });
    } else if args.is(1, "todense") {
        make_dense(cx, args)?;
        out.int(i64::from(encoding == Encoding::Sparse));
    } else {
        let mut text = b"ERR Unknown PFDEBUG subcommand '".to_vec();
        text.extend_from_slice(until_nul(args.at(1)));
        text.push(b'\'');
        return Err(Refusal::new(text));
    }
    Ok(())
}

/// Converts the HyperLogLog to its dense form. That trips no WATCH.
fn make_dense(cx: &mut Cx<'_>, args: Args<'_>) -> Outcome {
    let key = cx.key(args.at(2));
    let converted = change(cx, key, |sketch| {
        let was_sparse = sketch.encoding() == Encoding::Sparse;
        Edited::Kept(sketch.make_dense().map(|()| was_sparse).map_err(|_| CORRUPT))
    })?;
    if converted == Some(true) {
        cx.keyspace.record_unwatched(key.bytes);
    }
    Ok(())
}

/// Returns the runs in words, such as `Z:100 v:3,1 z:50`.
fn decoded(runs: &[u8], len_max: u64, pace: &dyn Pace) -> Result<Vec<u8>, Refusal> {
    let mut text = Vec::new();
    let mut strides = Strides::new(pace);
    for run in sparse::runs(runs) {
        let gap = if text.is_empty() { "" } else { " " };
        // Writing to memory does not fail.
        let _ = match run {
            Run { value: 0, len, is_wide } => {
                write!(text, "{gap}{}:{len}", if is_wide { 'Z' } else { 'z' })
            }
            Run { value, len, .. } => write!(text, "{gap}v:{value},{len}"),
        };
        if text.len() as u64 > len_max {
            return Err(Refusal::TOO_LONG);
        }
        strides.step(units(1));
    }
    Ok(text)
}

/// How many elements the test of estimates adds.
const TEST_ELEMENTS: u64 = 100_000;

/// PFSELFTEST
pub(super) fn pfselftest(cx: &mut Cx<'_>, _: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    test_registers(cx)?;
    test_estimates(cx)?;
    out.ok();
    Ok(())
}

/// Sets every register of the dense form and reads all of them.
fn test_registers(cx: &mut Cx<'_>) -> Outcome {
    let mut dense = vec![0; DENSE_LEN];
    let mut expected = [0; REGISTERS];
    for (index, value) in expected.iter_mut().enumerate() {
        *value = (cx.keyspace.random() % 64) as u8;
        registers::dense_raise(&mut dense, index, *value);
    }
    for (index, value) in expected.iter().enumerate() {
        if registers::dense_get(&dense, index) != *value {
            return Err(Refusal::new(format!("ERR TESTFAILED Register {index} is wrong")));
        }
    }
    cx.pace.step(units(REGISTERS));
    Ok(())
}

/// Adds elements to a sparse and to a dense HyperLogLog: both have the same registers, and their
/// estimates are near at 1, 10, 100 … elements.
fn test_estimates(cx: &mut Cx<'_>) -> Outcome {
    let seed = cx.keyspace.random();
    let (mut sparse, mut dense) = (Vec::new(), Vec::new());
    let len_max = cx.keyspace.limits.sparse_len_max;
    let mut sparse = SketchMut::new(&mut sparse, len_max);
    let mut dense = SketchMut::new(&mut dense, len_max);
    dense.make_dense().map_err(|_| CORRUPT)?;
    let mut strides = Strides::new(cx.pace);
    let mut checkpoint = 1;
    for count in 1..=TEST_ELEMENTS {
        let element = (seed ^ count).to_le_bytes();
        for sketch in [&mut sparse, &mut dense] {
            sketch.add(&element).map_err(|_| CORRUPT)?;
        }
        strides.step(2);
        if count < checkpoint {
            continue;
        }
        checkpoint *= 10;
        let [one, other] = [&sparse, &dense].map(|sketch| sketch.view().estimate());
        if one != other {
            return Err(Refusal::of("ERR TESTFAILED dense/sparse disagree"));
        }
        let error = other.map_err(|_| CORRUPT)?.abs_diff(count);
        // Six times the standard error of 1.04 / √16384, and a few elements.
        if error > 3 + count / 20 {
            return Err(Refusal::new(format!(
                "ERR TESTFAILED Too big error. card:{count} abserr:{error}"
            )));
        }
    }
    Ok(())
}
