//! BITFIELD and BITFIELD_RO: integers of 1 to 64 bits at any bit of a string, highest bit first.
//!
//! An integer that does not fit its width wraps around, is cut to the nearest one that fits
//! (`OVERFLOW SAT`), or is not written at all (`OVERFLOW FAIL`): the reply is then null.

use super::{change_bytes, offset};
use crate::command::{Args, Cx, Outcome, Refusal};
use crate::keyspace::{Text, event};
use crate::resp::{Sink, until_nul};
use crate::text::number::parse_i64;

/// An integer's form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Form {
    is_signed: bool,
    /// 1 to 64; 63 at most without a sign.
    width: u32,
}

/// What becomes of an integer that does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Overflow {
    Wrap,
    Saturate,
    Fail,
}

/// One operation.
#[derive(Clone, Copy, Debug)]
struct Operation {
    form: Form,
    /// Its first bit.
    offset: u64,
    action: Action,
}

#[derive(Clone, Copy, Debug)]
enum Action {
    Get,
    Set(i64, Overflow),
    Increment(i64, Overflow),
}

impl Form {
    fn of(arg: &[u8]) -> Result<Self, Refusal> {
        const INVALID: Refusal = Refusal::of(
            "ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported \
             but i64 is.",
        );
        let (is_signed, digits) = match arg {
            [b'i', digits @ ..] => (true, digits),
            [b'u', digits @ ..] => (false, digits),
            _ => return Err(INVALID),
        };
        let width_max = if is_signed { 64 } else { 63 };
        let width = parse_i64(until_nul(digits)).filter(|width| (1..=width_max).contains(width));
        Ok(Self { is_signed, width: width.ok_or(INVALID)? as u32 })
    }

    /// Returns the integer in the lowest bits of `bits`.
    fn read(self, bits: u64) -> i64 {
        let unused = 64 - self.width;
        match self.is_signed {
            true => (bits << unused) as i64 >> unused,
            false => (bits << unused >> unused) as i64,
        }
    }

    /// Returns the lowest and the highest integer.
    fn limits(self) -> (i64, i64) {
        match self.is_signed {
            true => (i64::MIN >> (64 - self.width), i64::MAX >> (64 - self.width)),
            false => (0, i64::MAX >> (63 - self.width)),
        }
    }

    /// Returns the integer to write for `value` and `increment`; `None` if it does not fit and is
    /// not to be written.
    fn fit(self, value: i64, increment: i64, overflow: Overflow) -> Option<i64> {
        let (lowest, highest) = self.limits();
        // An unsigned integer's `value` may be any bits: a negative one is too high.
        let is_too_high = match self.is_signed {
            // Redis computes the distance to the highest integer in 64 bits, wrapped around, so that
            // with fewer bits an integer far below the lowest one counts as too high.
            true => {
                let room = highest.wrapping_sub(value);
                value > highest
                    || (self.width < 64 && increment > room)
                    || (value >= 0 && increment > 0 && increment > room)
            }
            false => {
                let room = highest.wrapping_sub(value);
                value as u64 > highest as u64 || (increment > 0 && increment > room)
            }
        };
        let is_too_low = !is_too_high
            && match self.is_signed {
                true => {
                    let room = lowest.wrapping_sub(value);
                    value < lowest
                        || (self.width < 64 && increment < room)
                        || (value < 0 && increment < 0 && increment < room)
                }
                false => increment < 0 && increment < value.wrapping_neg(),
            };
        match overflow {
            _ if !is_too_high && !is_too_low => Some(value.wrapping_add(increment)),
            Overflow::Wrap => Some(self.read(value.wrapping_add(increment) as u64)),
            Overflow::Saturate => Some(if is_too_high { highest } else { lowest }),
            Overflow::Fail => None,
        }
    }
}

/// Returns the `width` bits from `offset` on as the lowest of an integer; bits behind the end are 0.
fn load(bytes: &[u8], offset: u64, width: u32) -> u64 {
    let start = (offset >> 3) as usize;
    // Up to 64 bits that begin within a byte are in nine bytes.
    let mut window = [0; 16];
    if let Some(rest) = bytes.get(start..) {
        let len = rest.len().min(9);
        window[..len].copy_from_slice(&rest[..len]);
    }
    let shifted = u128::from_be_bytes(window) << (offset & 7);
    (shifted >> (128 - width)) as u64
}

/// Writes the lowest `width` bits of `bits` from `offset` on, all within `bytes`.
fn store(bytes: &mut [u8], offset: u64, width: u32, bits: u64) {
    let start = (offset >> 3) as usize;
    let used = ((offset & 7) as usize + width as usize).div_ceil(8);
    let mut window = [0; 16];
    window[..used].copy_from_slice(&bytes[start..start + used]);
    let shift = 128 - width - (offset & 7) as u32;
    let mask = (u128::MAX >> (128 - width)) << shift;
    let merged = u128::from_be_bytes(window) & !mask | u128::from(bits) << shift & mask;
    bytes[start..start + used].copy_from_slice(&merged.to_be_bytes()[..used]);
}

/// Reads the operations.
fn operations(args: Args<'_>, string_len_max: u64) -> Result<Vec<Operation>, Refusal> {
    let mut operations = Vec::with_capacity((args.len() - 2).div_ceil(4));
    let mut overflow = Overflow::Wrap;
    let mut i = 2;
    while i < args.len() {
        let left = args.len() - i - 1;
        if args.is(i, "overflow") && left >= 1 {
            overflow = match () {
                () if args.is(i + 1, "wrap") => Overflow::Wrap,
                () if args.is(i + 1, "sat") => Overflow::Saturate,
                () if args.is(i + 1, "fail") => Overflow::Fail,
                () => return Err(Refusal::of("ERR Invalid OVERFLOW type specified")),
            };
            i += 2;
            continue;
        }
        let action: fn(i64, Overflow) -> Action = match () {
            () if args.is(i, "get") && left >= 2 => |_, _| Action::Get,
            () if args.is(i, "set") && left >= 3 => Action::Set,
            () if args.is(i, "incrby") && left >= 3 => Action::Increment,
            () => return Err(Refusal::SYNTAX),
        };
        let form = Form::of(args.at(i + 1))?;
        let offset = offset(args.at(i + 2), Some(form.width), string_len_max)?;
        let mut action = action(0, overflow);
        if let Action::Set(number, _) | Action::Increment(number, _) = &mut action {
            *number = args.int(i + 3)?;
            i += 1;
        }
        operations.push(Operation { form, offset, action });
        i += 3;
    }
    Ok(operations)
}

impl Operation {
    fn writes(&self) -> bool {
        !matches!(self.action, Action::Get)
    }

    /// Runs an operation that writes. Returns its reply, `None` for null, and whether it has changed
    /// a bit.
    fn write(&self, bytes: &mut [u8]) -> (Option<i64>, bool) {
        let Self { form, offset, action } = *self;
        let old = form.read(load(bytes, offset, form.width));
        let (new, is_old_returned) = match action {
            Action::Get => return (Some(old), false),
            Action::Set(number, overflow) => (form.fit(number, 0, overflow), true),
            Action::Increment(by, overflow) => (form.fit(old, by, overflow), false),
        };
        let Some(new) = new else { return (None, false) };
        store(bytes, offset, form.width, new as u64);
        (Some(if is_old_returned { old } else { new }), new != old)
    }
}

/// BITFIELD key [GET type offset | [OVERFLOW WRAP | SAT | FAIL] SET type offset value | INCRBY type
/// offset increment ...]
pub(super) fn bitfield(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let operations = operations(args, cx.string_len_max)?;
    let writers = operations.iter().filter(|operation| operation.writes());
    let Some(last_bit) = writers.map(|one| one.offset + u64::from(one.form.width) - 1).max() else {
        return read(cx, args, &operations, out);
    };
    let key = cx.key(args.at(1));
    let len = (last_bit >> 3) as usize + 1;
    let (_, changed) = change_bytes(cx, key, len, |bytes, was_shorter| {
        out.array(operations.len());
        let mut changed = false;
        for operation in &operations {
            let (reply, has_changed) = operation.write(bytes);
            // What makes the string longer changes it, unless nothing could be written.
            changed |= has_changed || (was_shorter && operation.writes() && reply.is_some());
            match reply {
                Some(number) => out.int(number),
                None => out.null(),
            }
        }
        ((), changed)
    })?;
    if changed {
        cx.keyspace.notify_event(event::STRING, "setbit", key.bytes);
    }
    Ok(())
}

/// BITFIELD_RO key [GET type offset ...]
pub(super) fn bitfield_ro(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let operations = operations(args, cx.string_len_max)?;
    if operations.iter().any(Operation::writes) {
        return Err(Refusal::of("ERR BITFIELD_RO only supports the GET subcommand"));
    }
    read(cx, args, &operations, out)
}

fn read(cx: &mut Cx<'_>, args: Args<'_>, operations: &[Operation], out: &mut Sink<'_>) -> Outcome {
    let key = cx.key(args.at(1));
    let text: Option<Text<'_>> = cx.text(key)?;
    let bytes = text.as_deref().unwrap_or_default();
    out.array(operations.len());
    for Operation { form, offset, .. } in operations {
        out.int(form.read(load(bytes, *offset, form.width)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn forms() {
        for (arg, expected) in [
            ("u1", Some((false, 1))),
            ("u63", Some((false, 63))),
            ("i64", Some((true, 64))),
            ("i1", Some((true, 1))),
            ("u64", None),
            ("i65", None),
            ("u0", None),
            ("i-1", None),
            ("u08", None),
            ("U8", None),
            ("8", None),
            ("", None),
            ("i", None),
        ] {
            let form = Form::of(arg.as_bytes()).ok().map(|form| (form.is_signed, form.width));
            assert_eq!(form, expected, "{arg}");
        }
    }

    #[test]
    fn what_does_not_fit() {
        use Overflow::{Fail, Saturate, Wrap};
        let [u8, i8, i64, u63] =
            ["u8", "i8", "i64", "u63"].map(|form| Form::of(form.as_bytes()).expect(form));
        for (form, value, increment, overflow, expected) in [
            (u8, 250, 5, Wrap, Some(255)),
            (u8, 250, 10, Wrap, Some(4)),
            (u8, 250, 10, Saturate, Some(255)),
            (u8, 250, 10, Fail, None),
            (u8, 5, -10, Wrap, Some(251)),
            (u8, 5, -10, Saturate, Some(0)),
            (u8, -1, 0, Saturate, Some(255)),
            (u8, -1, 0, Wrap, Some(255)),
            (i8, 127, 1, Wrap, Some(-128)),
            (i8, 127, 1, Saturate, Some(127)),
            (i8, -128, -1, Saturate, Some(-128)),
            (i8, -128, -1, Fail, None),
            (i8, -129, 0, Saturate, Some(-128)),
            // As Redis.
            (i8, i64::MIN, 0, Saturate, Some(127)),
            (i64, i64::MAX, 1, Wrap, Some(i64::MIN)),
            (i64, i64::MAX, 1, Saturate, Some(i64::MAX)),
            (i64, i64::MIN, -1, Saturate, Some(i64::MIN)),
            (i64, i64::MIN, i64::MAX, Fail, Some(-1)),
            (u63, i64::MAX, 1, Wrap, Some(0)),
            (u63, i64::MAX, 1, Saturate, Some(i64::MAX)),
        ] {
            assert_eq!(
                form.fit(value, increment, overflow),
                expected,
                "{form:?} {value} {increment} {overflow:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn what_is_stored_is_loaded_and_nothing_else_changes(
            bytes in proptest::collection::vec(any::<u8>(), 20),
            offset in 0_u64..96,
            width in 1_u32..=64,
            bits: u64,
        ) {
            let mut changed = bytes.clone();
            store(&mut changed, offset, width, bits);
            prop_assert_eq!(load(&changed, offset, width), bits << (64 - width) >> (64 - width));
            let bit = |bytes: &[u8], at: u64| bytes[(at / 8) as usize] >> (7 - at % 8) & 1;
            for at in (0..160).filter(|at| !(offset..offset + u64::from(width)).contains(at)) {
                prop_assert_eq!(bit(&changed, at), bit(&bytes, at));
            }
            for n in 0..u64::from(width) {
                let expected = bits >> (u64::from(width) - 1 - n) & 1;
                prop_assert_eq!(u64::from(bit(&changed, offset + n)), expected);
            }
            let cut = &bytes[..(offset / 8) as usize];
            prop_assert_eq!(load(cut, offset, width), 0);
        }
    }
}
