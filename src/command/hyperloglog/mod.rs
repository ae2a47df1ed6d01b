//! HyperLogLogs: how many different elements were added, within a percent, in 12 KiB at most.
//!
//! ```text
//! hyperloglog            the rows; PFADD, PFCOUNT, PFMERGE
//! hyperloglog/murmur     the hash of an element
//! hyperloglog/registers  the registers, and their dense form
//! hyperloglog/sparse     their sparse form: runs of equal values
//! hyperloglog/estimate   the cardinality that they stand for
//! hyperloglog/sketch     a string as a HyperLogLog: header and registers
//! hyperloglog/debug      PFDEBUG, PFSELFTEST
//! ```

mod murmur;
mod registers;
mod sparse;
mod estimate;
mod sketch;
mod debug;

use self::registers::{REGISTERS, Registers};
use self::sketch::{Encoding, Sketch, SketchMut};
use super::pace::{Strides, units};
use super::spec::access::{ACCESS, INSERT, RO, RW};
use super::spec::flag::{ADMIN, CACHES, DENYOOM, FAST, MAY_REPLICATE, READ, UNWATCHED, WRITE};
use super::spec::{
    Arity::{AtLeast, Exactly},
    BASE, Doc, Group, Keys, Run, Spec, acl, check,
};
use super::{Args, Cx, Outcome, Refusal};
use crate::keyspace::{Edited, Key, Ttl, Value, event};
use crate::resp::Sink;

/// Defaults of the rows.
const HYPERLOGLOG: Spec =
    Spec { group: Group::HyperLogLog, acl: acl::HYPERLOGLOG, since: "2.8.9", ..BASE };

pub(super) const ROWS: &[Spec] = &[
    Spec {
        name: "pfadd",
        arity: AtLeast(2),
        flags: WRITE | DENYOOM | FAST,
        keys: &[Keys::at(RW | INSERT, 1)],
        complexity: "O(1) to add every element.",
        summary: "Adds elements to a HyperLogLog, which is created if it does not exist.",
        run: Run::Shard(pfadd),
        ..HYPERLOGLOG
    },
    Spec {
        name: "pfcount",
        arity: AtLeast(2),
        flags: READ | CACHES | MAY_REPLICATE,
        keys: &[Keys::range(RW | ACCESS, 1, -1, 1).noted(
            "RW because it may change the internal representation of the key, and propagate to \
             replicas",
        )],
        complexity: "O(1) with a very small average constant time when called with a single key. \
                     O(N) with N being the number of keys, and much bigger constant times, when \
                     called with multiple keys.",
        summary: "Returns about how many different elements HyperLogLogs have seen, all together.",
        run: Run::Shard(pfcount),
        ..HYPERLOGLOG
    },
    Spec {
        name: "pfdebug",
        doc: Doc::System,
        arity: Exactly(3),
        flags: WRITE | DENYOOM | ADMIN | UNWATCHED,
        keys: &[Keys::at(RW | ACCESS, 2)],
        complexity: "N/A",
        summary: "Shows the registers of a HyperLogLog, or converts them to their dense form.",
        run: Run::Shard(debug::pfdebug),
        ..HYPERLOGLOG
    },
    Spec {
        name: "pfmerge",
        arity: AtLeast(2),
        flags: WRITE | DENYOOM,
        keys: &[Keys::at(RW | ACCESS | INSERT, 1), Keys::range(RO | ACCESS, 2, -1, 1)],
        complexity: "O(N) to merge N HyperLogLogs, but with high constant times.",
        summary: "Merges HyperLogLogs into one.",
        run: Run::Shard(pfmerge),
        ..HYPERLOGLOG
    },
    Spec {
        name: "pfselftest",
        doc: Doc::System,
        arity: Exactly(1),
        flags: ADMIN,
        complexity: "N/A",
        summary: "Checks the registers and the estimates of HyperLogLogs.",
        run: Run::Shard(debug::pfselftest),
        ..HYPERLOGLOG
    },
];
const _: () = check(ROWS);

const NOT_ONE: Refusal = Refusal::of("WRONGTYPE Key is not a valid HyperLogLog string value.");
const CORRUPT: Refusal = Refusal::of("INVALIDOBJ Corrupted HLL object detected");

/// Returns the HyperLogLog that a value is.
fn sketch_of(value: &Value) -> Result<Sketch<'_>, Refusal> {
    let bytes: &[u8] = match value {
        Value::Raw(bytes) => bytes,
        Value::Str(bytes) => bytes,
        Value::Received(bytes) => bytes,
        Value::Int(_) => return Err(NOT_ONE),
        _ => return Err(Refusal::WRONG_TYPE),
    };
    Sketch::of(bytes).ok_or(NOT_ONE)
}

/// Changes the HyperLogLog at `key`; `None` if the key does not exist.
fn change<R>(
    cx: &mut Cx<'_>,
    key: Key<'_>,
    change: impl FnOnce(&mut SketchMut<'_>) -> Edited<Result<R, Refusal>>,
) -> Result<Option<R>, Refusal> {
    let sparse_len_max = cx.keyspace.limits.sparse_len_max;
    let changed = cx.keyspace.edit(key, |value| {
        if let Err(refusal) = sketch_of(value) {
            return Edited::Kept(Err(refusal));
        }
        match value.as_raw_mut().and_then(|bytes| SketchMut::of(bytes, sparse_len_max)) {
            Some(mut sketch) => change(&mut sketch),
            None => Edited::Kept(Err(NOT_ONE)),
        }
    });
    changed.transpose()
}

/// PFADD key [element ...]
fn pfadd(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let key = cx.key(args.at(1));
    let mut strides = Strides::new(cx.pace);
    let mut add_all = |sketch: &mut SketchMut<'_>| {
        let mut has_changed = false;
        for element in args.from(2) {
            has_changed |= sketch.add(element).map_err(|_| CORRUPT)?;
            strides.step(units(element.len()));
        }
        if has_changed {
            sketch.set_out_of_date();
        }
        Ok(has_changed)
    };
    let changed = change(cx, key, |sketch| match add_all(sketch) {
        Ok(true) => Edited::Changed(Ok(true)),
        other => Edited::Kept(other),
    })?;
    let changed = match changed {
        Some(changed) => changed,
        None => {
            let mut bytes = Vec::new();
            let mut sketch = SketchMut::new(&mut bytes, cx.keyspace.limits.sparse_len_max);
            add_all(&mut sketch)?;
            sketch.set_out_of_date();
            cx.keyspace.set(key, Value::Raw(Box::new(bytes)), Ttl::Clear);
            true
        }
    };
    if changed {
        cx.keyspace.notify_event(event::STRING, "pfadd", key.bytes);
    }
    out.int(i64::from(changed));
    Ok(())
}

/// Raises registers to those of the HyperLogLogs at the keys from argument `first` on. Returns whether
/// one of them is dense.
fn raise_to_keys(
    cx: &mut Cx<'_>,
    args: Args<'_>,
    registers: &mut Registers,
) -> Result<bool, Refusal> {
    let mut is_dense = false;
    for key in args.from(1) {
        let key = cx.key(key);
        let pace = cx.pace;
        let Some(value) = cx.keyspace.read(key) else { continue };
        let sketch = sketch_of(value)?;
        is_dense |= sketch.encoding() == Encoding::Dense;
        sketch.raise(registers).map_err(|_| CORRUPT)?;
        pace.step(units(REGISTERS));
    }
    Ok(is_dense)
}

/// PFCOUNT key [key ...]
fn pfcount(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    if args.len() > 2 {
        let mut registers = [0; REGISTERS];
        raise_to_keys(cx, args, &mut registers)?;
        out.int(estimate::estimate(&registers::histogram(&registers)) as i64);
        return Ok(());
    }
    let key = cx.key(args.at(1));
    let Some(value) = cx.keyspace.read(key) else {
        out.int(0);
        return Ok(());
    };
    let cached = sketch_of(value)?.cached();
    // A value that is read is kept as one that is changed, as in Redis.
    if let (Some(cardinality), Value::Raw(_)) = (cached, value) {
        out.int(cardinality as i64);
        return Ok(());
    }
    let cardinality = change(cx, key, |sketch| match (cached, sketch.view().estimate()) {
        (Some(cardinality), _) => Edited::Kept(Ok(cardinality)),
        (None, Ok(cardinality)) => {
            sketch.set_cached(cardinality);
            Edited::Changed(Ok(cardinality))
        }
        (None, Err(_)) => Edited::Kept(Err(CORRUPT)),
    })?;
    out.int(cardinality.unwrap_or_default() as i64);
    Ok(())
}

/// PFMERGE destination [source ...]
fn pfmerge(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let key = cx.key(args.at(1));
    let mut registers = [0; REGISTERS];
    let is_dense = raise_to_keys(cx, args, &mut registers)?;
    let merge =
        |sketch: &mut SketchMut<'_>| sketch.raise_all(&registers, is_dense).map_err(|_| CORRUPT);
    let merged = change(cx, key, |sketch| Edited::Changed(merge(sketch)))?;
    if merged.is_none() {
        let mut bytes = Vec::new();
        let mut sketch = SketchMut::new(&mut bytes, cx.keyspace.limits.sparse_len_max);
        merge(&mut sketch)?;
        cx.keyspace.set(key, Value::Raw(Box::new(bytes)), Ttl::Clear);
    }
    cx.keyspace.notify_event(event::STRING, "pfadd", key.bytes);
    out.ok();
    Ok(())
}
