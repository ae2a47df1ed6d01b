//! Which arguments of a request are keys: Redis 7's key specifications, read off the row.
//!
//! Nearly every command has its key at one place or in one plain range, so that the slot of a
//! request is found without a list; the general rule is [`each`].

use super::spec::{Begin, Find, Keys, Spec, access, flag};
use super::{Args, Invocation, Refusal};
use crate::slot::{Footprint, Slot};
use crate::text::number::parse_i64;
use std::cell::Cell;

/// Calls `found` with the place of each key of `args`, in the order of the specifications.
/// `Err(())` if the arguments contradict the row: a number of keys that is no number, or more keys
/// than arguments.
pub(super) fn each(
    spec: &Spec,
    args: Args<'_>,
    mut found: impl FnMut(usize, &'static Keys),
) -> Result<(), ()> {
    for keys in spec.keys {
        let Some(begin) = beginning(keys, args) else { continue };
        if spec.flags & flag::MIGRATES != 0 && !is_migrated(keys, begin, args) {
            continue;
        }
        let (first, last, step) = match keys.find {
            Find::Range { last, step, limit } => {
                let last = if last >= 0 {
                    begin + last as usize
                } else if limit <= 1 {
                    args.len().saturating_sub(last.unsigned_abs().into())
                } else {
                    begin
                        + ((args.len() - begin) / limit as usize)
                            .saturating_sub(last.unsigned_abs().into())
                };
                (begin, last, step)
            }
            Find::Count { at, first, step } => {
                let count = args.get(begin + at as usize).and_then(parse_i64).ok_or(())?;
                let count = usize::try_from(count).map_err(drop)?;
                let first = begin + first as usize;
                if count == 0 {
                    continue;
                }
                let room = args.len().saturating_sub(first).div_ceil(step.into());
                if count > room {
                    return Err(());
                }
                (first, first + (count - 1) * step as usize, step)
            }
        };
        if last >= args.len() {
            return Err(());
        }
        for at in (first..=last).step_by(step.into()) {
            found(at, keys);
        }
    }
    Ok(())
}

/// Whether this is where MIGRATE has its keys: behind KEYS, if that stands there, and then the key
/// itself has to be empty; else it is the only one.
fn is_migrated(keys: &Keys, begin: usize, args: Args<'_>) -> bool {
    const KEY: usize = 3;
    const OPTIONS: usize = 6;
    let has_list = (OPTIONS..args.len()).any(|at| args.is(at, "keys"));
    match keys.begin {
        Begin::Index(_) => !has_list,
        _ => begin > OPTIONS && args.at(KEY).is_empty(),
    }
}

fn beginning(keys: &Keys, args: Args<'_>) -> Option<usize> {
    match keys.begin {
        Begin::Index(at) => ((at as usize) < args.len()).then_some(at as usize),
        Begin::Unknown(find) => find(args).filter(|&at| at < args.len()),
        Begin::Keyword(word, from) if from >= 0 => {
            (from as usize..args.len().saturating_sub(1)).find(|&i| args.is(i, word)).map(|i| i + 1)
        }
        Begin::Keyword(word, from) => {
            let last = args.len().checked_sub(from.unsigned_abs().into())?;
            (1..=last).rev().find(|&i| args.is(i, word)).map(|i| i + 1).filter(|&i| i < args.len())
        }
    }
}

/// The slots of a request's keys, for one that asks for several: each key is hashed once, here or in
/// the footprint.
#[derive(Debug)]
pub struct KeySlots<'a> {
    keys: Vec<(&'a [u8], Slot)>,
    /// Where the next key is likely to be asked for: commands take their keys in order.
    next: Cell<usize>,
}

impl<'a> KeySlots<'a> {
    /// Those of the keys of `invocation`, in their order.
    #[must_use]
    pub fn of(invocation: &Invocation<'a>) -> Self {
        let mut keys = Vec::with_capacity(invocation.args.len());
        invocation.spec.each_key(invocation.args, |key| {
            let slot = match invocation.footprint {
                Footprint::In(slot) => slot,
                Footprint::Crossing { first, at, .. } if keys.len() < at => first,
                Footprint::Crossing { other, at, .. } if keys.len() == at => other,
                Footprint::Crossing { .. } | Footprint::Anywhere => Slot::of(key),
            };
            keys.push((key, slot));
        });
        Self { keys, next: Cell::new(0) }
    }

    /// The keys with their slots, in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&'a [u8], Slot)> {
        self.keys.iter().copied()
    }

    /// The slot of one of these keys, or of another.
    #[must_use]
    pub fn slot_of(&self, key: &[u8]) -> Slot {
        let at = self.next.get();
        let is_it = |(known, _): &&(&[u8], Slot)| std::ptr::eq(*known, key) || *known == key;
        if let Some((_, slot)) = self.keys.get(at).filter(is_it) {
            self.next.set(at + 1);
            return *slot;
        }
        let found = self.keys.iter().position(|entry| is_it(&entry));
        self.next.set(found.map_or(at, |found| found + 1));
        found.map_or_else(|| Slot::of(key), |found| self.keys[found].1)
    }
}

impl Spec {
    /// The one argument that is this command's only key, if its row says so plainly.
    #[must_use]
    pub fn only_key(&self) -> Option<u8> {
        match self.keys {
            [Keys { begin: Begin::Index(at), find: Find::Range { last: 0, .. }, access, .. }]
                if access & access::NOT_KEY == 0 =>
            {
                Some(*at)
            }
            _ => None,
        }
    }

    /// Calls `found` with each key of `args`. Where the arguments contradict the row, what was
    /// found until then stands: the command itself will refuse them.
    pub fn each_key<'a>(&self, args: Args<'a>, mut found: impl FnMut(&'a [u8])) {
        let _contradiction = each(self, args, |at, keys| {
            if keys.access & access::NOT_KEY == 0 {
                found(args.at(at));
            }
        });
    }

    /// The keys that a command waits for if there is nothing in them: those of its first
    /// specification.
    #[must_use]
    pub fn awaited_keys<'a>(&self, args: Args<'a>) -> Vec<&'a [u8]> {
        let mut found = Vec::new();
        let _contradiction = each(self, args, |at, keys| {
            if self.keys.first().is_some_and(|first| std::ptr::eq(first, keys)) {
                found.push(args.at(at));
            }
        });
        found
    }

    /// The slots that `args` ask for: those of its keys, or of the shard channels it names.
    #[must_use]
    pub fn footprint(&self, args: Args<'_>) -> Footprint {
        if self.keys.is_empty() {
            return Footprint::Anywhere;
        }
        let (mut footprint, mut count) = (Footprint::Anywhere, 0);
        let _contradiction = each(self, args, |at, _| {
            // Once it crosses slots, the other keys need not be hashed.
            if !matches!(footprint, Footprint::Crossing { .. }) {
                footprint = footprint.and(Slot::of(args.at(at)), count);
            }
            count += 1;
        });
        footprint
    }

    /// Whether these arguments make it read keys that they do not name: SORT with a pattern.
    #[must_use]
    pub fn reads_unnamed(&self, args: Args<'_>) -> bool {
        self.flags & flag::READS_UNNAMED != 0
            && (2..args.len()).any(|at| args.is(at, "by") || args.is(at, "get"))
    }

    /// Whether it names shard channels, which live in slots without being keys.
    #[must_use]
    pub fn has_channels(&self) -> bool {
        self.keys.first().is_some_and(|keys| keys.access & access::NOT_KEY != 0)
    }

    /// Key number `n`, counted from 0 in the order of [`Spec::each_key`].
    #[must_use]
    pub fn nth_key<'a>(&self, args: Args<'a>, n: usize) -> Option<&'a [u8]> {
        let (mut count, mut nth) = (0, None);
        self.each_key(args, |key| {
            if count == n {
                nth = Some(key);
            }
            count += 1;
        });
        nth
    }

    /// The keys of `args` with what the command does to each, for `COMMAND GETKEYSANDFLAGS`.
    ///
    /// # Errors
    /// As `COMMAND GETKEYS` answers for a command without keys or for arguments that do not fit.
    pub fn keys_with_access<'a>(&self, args: Args<'a>) -> Result<Vec<(&'a [u8], u16)>, Refusal> {
        if self.keys.is_empty() {
            return Err(Refusal::of("ERR The command has no key arguments"));
        }
        if !self.arity.admits(args.len()) {
            return Err(Refusal::of("ERR Invalid number of arguments specified for command"));
        }
        let mut found = Vec::new();
        let fits = each(self, args, |at, keys| {
            if keys.access & access::NOT_KEY == 0 {
                found.push((args.at(at), keys.access));
            }
        });
        match fits {
            Ok(()) if !found.is_empty() => Ok(found),
            _ => Err(Refusal::of("ERR Invalid arguments specified for command")),
        }
    }

    /// First key, last key and step, as the legacy fields of `COMMAND INFO` show them: the range
    /// that contains what plain ranges say, by the rule of Redis 7.
    #[must_use]
    pub fn legacy_range(&self) -> (i64, i64, i64) {
        let mut ranges = self.keys.iter().filter_map(|keys| match (keys.begin, keys.find) {
            (Begin::Index(first), Find::Range { last, step, .. }) => {
                let last =
                    if last >= 0 { i64::from(first) + i64::from(last) } else { i64::from(last) };
                Some((i64::from(first), last, i64::from(step)))
            }
            _ => None,
        });
        let Some((mut first, mut last, step)) = ranges.next() else { return (0, 0, 0) };
        for (f, l, s) in ranges {
            if f != last + 1 && l != last || s != step {
                continue;
            }
            first = first.min(f);
            last = if l < 0 || last < 0 { last.min(l).max(-1) } else { last.max(l) };
        }
        (first, last, step)
    }
}
