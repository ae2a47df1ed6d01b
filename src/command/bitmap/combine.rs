//! BITOP: strings combined bit by bit. Shorter strings, and missing keys, go on with zeros.

use super::words::{self, Operation};
use crate::command::pace::units;
use crate::command::{Args, Cx, Outcome, Refusal};
use crate::dialect::servers;
use crate::keyspace::{Edited, Key, Text, Ttl, Value, event};
use crate::resp::Sink;

/// So many bytes of the result are computed from all sources in turn: they stay in the cache.
const STRETCH: usize = 16 << 10;

/// What BITOP does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    /// NOT
    Invert,
    /// AND, OR, XOR
    Combine(Operation),
    /// Of Redis 8: see [`Choice`].
    Choose(Choice),
}

/// Operations in which the first source is apart, and the others count together, and one that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Choice {
    /// The bits of the first source that no other has.
    Diff,
    /// The bits of other sources that the first has not.
    Diff1,
    /// The bits of the first source that another has too.
    AndOr,
    /// The bits that exactly one source has.
    One,
}

impl What {
    fn of(args: Args<'_>, has_choices: bool) -> Result<Self, Refusal> {
        let what = match () {
            () if args.is(1, "and") => Self::Combine(Operation::And),
            () if args.is(1, "or") => Self::Combine(Operation::Or),
            () if args.is(1, "xor") => Self::Combine(Operation::Xor),
            () if args.is(1, "not") => Self::Invert,
            () if has_choices && args.is(1, "diff") => Self::Choose(Choice::Diff),
            () if has_choices && args.is(1, "diff1") => Self::Choose(Choice::Diff1),
            () if has_choices && args.is(1, "andor") => Self::Choose(Choice::AndOr),
            () if has_choices && args.is(1, "one") => Self::Choose(Choice::One),
            () => return Err(Refusal::SYNTAX),
        };
        match what {
            Self::Invert if args.len() > 4 => {
                Err(Refusal::of("ERR BITOP NOT must be called with a single source key."))
            }
            Self::Choose(choice) if choice != Choice::One && args.len() < 5 => {
                let name = String::from_utf8_lossy(args.at(1)).to_ascii_uppercase();
                let text =
                    format!("ERR BITOP {name} must be called with at least two source keys.");
                Err(Refusal::new(text))
            }
            _ => Ok(what),
        }
    }
}

/// BITOP AND | OR | XOR | NOT destination key [key ...]; DIFF, DIFF1, ANDOR and ONE of Redis 8
pub(super) fn bitop(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let what = What::of(args, cx.product.is_of(servers::REDIS8))?;
    let to = cx.key(args.at(2));
    let keys: Vec<Key<'_>> = args.from(3).map(|key| cx.key(key)).collect();
    for &key in &keys {
        cx.text(key)?;
    }
    let room = room_at(cx, to, &keys);
    let result = {
        let text = |key: &Key<'_>| cx.keyspace.get(*key).and_then(Value::as_text);
        let sources: Vec<Option<Text<'_>>> = keys.iter().map(text).collect();
        let sources: Vec<&[u8]> =
            sources.iter().map(|source| source.as_deref().unwrap_or_default()).collect();
        combined(room, &sources, what, |bytes| cx.pace.step(units(bytes)))
    };
    out.count(result.len());
    if !result.is_empty() {
        cx.keyspace.set(to, Value::Raw(Box::new(result)), Ttl::Clear);
        cx.keyspace.notify_event(event::STRING, "set", to.bytes);
    } else if cx.keyspace.delete(to) {
        cx.keyspace.notify_event(event::GENERIC, "del", to.bytes);
    }
    Ok(())
}

/// A result of this length and more goes where the destination's last value was.
const REUSED_LEN: usize = 64 << 10;

/// Takes the long string at the destination, unless it is also a source, so that the result can be
/// written over it: memory that is returned and allocated again has to be filled with zeros by the
/// system. The destination is written next, or removed.
fn room_at(cx: &mut Cx<'_>, to: Key<'_>, sources: &[Key<'_>]) -> Vec<u8> {
    if sources.iter().any(|source| source.bytes == to.bytes) {
        return Vec::new();
    }
    let taken = cx.keyspace.edit(to, |value| {
        Edited::Kept(match value {
            Value::Raw(bytes) if bytes.len() >= REUSED_LEN => std::mem::take(&mut **bytes),
            _ => Vec::new(),
        })
    });
    taken.unwrap_or_default()
}

/// Returns the sources, of which there is at least one, combined. The result is in `room`, if that is large enough and not far larger. Calls `step`
/// with numbers of bytes that were read.
fn combined(room: Vec<u8>, sources: &[&[u8]], what: What, step: impl Fn(usize)) -> Vec<u8> {
    let len = sources.iter().map(|source| source.len()).max().unwrap_or_default();
    let fits = (len..=len.saturating_mul(2)).contains(&room.capacity());
    // The zeros of a new vector are not written until they are touched.
    let mut result = if fits { room } else { vec![0; len] };
    result.resize(len, 0);
    let mut start = 0;
    for into in result.chunks_mut(STRETCH) {
        let end = start + into.len();
        let part = |source: &&'_ [u8]| start.min(source.len())..end.min(source.len());
        let mut parts = sources.iter().map(|source| &source[part(source)]);
        let first = parts.next().unwrap_or_default();
        let mut read = first.len();
        match what {
            What::Invert => words::invert(into, first),
            What::Choose(Choice::One) => {
                read += parts.clone().map(<[u8]>::len).sum::<usize>();
                in_one(into, std::iter::once(first).chain(parts));
            }
            What::Choose(choice) => {
                into.fill(0);
                for other in parts {
                    words::combine(&mut into[..other.len()], other, Operation::Or);
                    read += other.len();
                }
                choose(into, first, choice);
            }
            What::Combine(operation) => {
                let second = parts.next().unwrap_or(first_alone(operation, first));
                of_two(into, first, second, operation);
                read += second.len();
                for other in parts {
                    let (common, rest) = into.split_at_mut(other.len());
                    words::combine(common, other, operation);
                    if operation == Operation::And {
                        rest.fill(0);
                    }
                    read += other.len();
                }
            }
        }
        // The bytes are read many at a time.
        step(read / 8);
        start = end;
    }
    result
}

/// Writes the bits that exactly one source has.
fn in_one<'s>(into: &mut [u8], sources: impl Iterator<Item = &'s [u8]>) {
    into.fill(0);
    // The bits that several have.
    let mut more = vec![0_u8; into.len()];
    for source in sources {
        for ((any, more), byte) in into.iter_mut().zip(&mut more).zip(source) {
            *more |= *any & byte;
            *any |= byte;
        }
    }
    for (any, more) in into.iter_mut().zip(&more) {
        *any &= !more;
    }
}

/// Writes the choice from the first source and the others, whose bits are in `into`.
fn choose(into: &mut [u8], first: &[u8], choice: Choice) {
    let (both, rest) = into.split_at_mut(first.len());
    for (others, first) in both.iter_mut().zip(first) {
        *others = match choice {
            Choice::Diff => first & !*others,
            Choice::Diff1 => *others & !first,
            Choice::AndOr | Choice::One => *others & first,
        };
    }
    if choice != Choice::Diff1 {
        rest.fill(0);
    }
}

/// Returns what leaves `first` as it is.
fn first_alone(operation: Operation, first: &[u8]) -> &[u8] {
    if operation == Operation::And { first } else { &[] }
}

/// Writes two sources combined; what is behind the shorter one is combined with zeros.
fn of_two(into: &mut [u8], first: &[u8], second: &[u8], operation: Operation) {
    let common = first.len().min(second.len());
    let (both, rest) = into.split_at_mut(common);
    words::combine_two(both, &first[..common], &second[..common], operation);
    let longer = if first.len() > common { &first[common..] } else { &second[common..] };
    let copied = if operation == Operation::And { &[] } else { longer };
    rest[..copied.len()].copy_from_slice(copied);
    rest[copied.len()..].fill(0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn as_byte_by_byte(
            sources in proptest::collection::vec(
                (0_usize..3 * STRETCH, any::<u64>()),
                1..5,
            ),
        ) {
            let random = |&(len, seed): &(usize, u64)| {
                let mut rng = fastrand::Rng::with_seed(seed);
                // Lengths around the ends of stretches, and others.
                let len = if seed % 3 == 0 { len / STRETCH * STRETCH } else { len };
                (0..len).map(|_| rng.u8(..)).collect::<Vec<u8>>()
            };
            let sources: Vec<Vec<u8>> = sources.iter().map(random).collect();
            let slices: Vec<&[u8]> = sources.iter().map(Vec::as_slice).collect();
            let len = slices.iter().map(|source| source.len()).max().unwrap_or_default();
            // Of any former length, with anything in it.
            let room = |len: usize| vec![0xAB; len * (sources.len() % 3)];
            let at = |source: &[u8], at: usize| source.get(at).copied().unwrap_or_default();
            for (operation, of_two) in [
                (Operation::And, (|a, b| a & b) as fn(u8, u8) -> u8),
                (Operation::Or, |a, b| a | b),
                (Operation::Xor, |a, b| a ^ b),
            ] {
                let result = combined(room(len), &slices, What::Combine(operation), |_| ());
                let expected: Vec<u8> = (0..len)
                    .map(|i| slices.iter().map(|s| at(s, i)).reduce(of_two).unwrap_or_default())
                    .collect();
                prop_assert!(result == expected, "{:?}", operation);
            }
            for choice in [Choice::Diff, Choice::Diff1, Choice::AndOr, Choice::One] {
                let result = combined(room(len), &slices, What::Choose(choice), |_| ());
                let bit = |i: usize, bit: u32| {
                    let is_in = |source: &&[u8]| at(source, i) >> bit & 1 == 1;
                    let (first, others) = (is_in(&slices[0]), slices[1..].iter().any(is_in));
                    match choice {
                        Choice::Diff => first && !others,
                        Choice::Diff1 => !first && others,
                        Choice::AndOr => first && others,
                        Choice::One => slices.iter().filter(|source| is_in(source)).count() == 1,
                    }
                };
                let byte = |i| (0..8).fold(0, |byte, n| byte | u8::from(bit(i, n)) << n);
                prop_assert!(result == (0..len).map(byte).collect::<Vec<u8>>(), "{:?}", choice);
            }
            let inverted = combined(room(slices[0].len()), &slices[..1], What::Invert, |_| ());
            prop_assert!(inverted.iter().zip(slices[0]).all(|(a, b)| *a == !b));
            prop_assert_eq!(inverted.len(), slices[0].len());
        }
    }
}
