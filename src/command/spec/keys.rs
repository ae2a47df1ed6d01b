//! Which arguments of a request are keys: Redis 7's key specifications, read off the row.
//!
//! Nearly every command has its key at one position or in one plain range, so that the slot of a
//! request is found without a list; the general rule is [`each`].

use super::{Spec, access, flag};
use crate::command::{Args, Refusal};
use crate::slot::{Footprint, Slot};
use crate::text::number::parse_i64;
use std::ops::Range;

/// A key specification of Redis 7: where some of a command's keys are, and what it does to them.
#[derive(Clone, Copy, Debug)]
pub struct Keys {
    /// What the command does to the keys: from [`access`].
    pub access: u16,
    /// Where the keys begin.
    pub begin: Begin,
    /// Which arguments from there on are keys.
    pub find: Find,
    /// A note that `COMMAND INFO` shows, or empty.
    pub notes: &'static str,
}

/// Where the keys begin.
#[derive(Clone, Copy, Debug)]
pub enum Begin {
    /// At this argument; the command's name is argument 0.
    Index(u8),
    /// After this word, searched for from this argument on (backwards from the end if negative).
    Keyword(&'static str, i8),
    /// The same for COMMAND, but at the argument that this function finds: the word may also be the
    /// value of an option.
    KeywordFound(&'static str, i8, fn(Args<'_>) -> Option<usize>),
    /// At the argument that this function finds, if it finds one. COMMAND shows it as unknown.
    Unknown(fn(Args<'_>) -> Option<usize>),
}

/// Which arguments are keys, counted from the beginning that [`Begin`] says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Find {
    /// Every `step`-th up to `last`, counted from the beginning if it is 0 or more, else from the
    /// end of the request (-1 is its last argument); if `limit` is 2 or more, only in the first
    /// `1/limit` of what is left.
    Range {
        /// The last key.
        last: i8,
        /// The distance between keys, from 1.
        step: u8,
        /// 0 and 1 mean no limit.
        limit: u8,
    },
    /// As many as the argument `at` says; the first is at `first`, the others `step` apart.
    Count {
        /// The argument that is the number of keys.
        at: u8,
        /// The first key.
        first: u8,
        /// The distance between keys, from 1.
        step: u8,
    },
}

impl Keys {
    /// One key at argument `at`.
    #[must_use]
    pub const fn at(access: u16, at: u8) -> Self {
        Self::range(access, at, 0, 1)
    }

    /// Keys from argument `first` on, `step` apart, up to `last` (see [`Find::Range`]).
    #[must_use]
    pub const fn range(access: u16, first: u8, last: i8, step: u8) -> Self {
        let find = Find::Range { last, step, limit: 0 };
        Self { access, begin: Begin::Index(first), find, notes: "" }
    }

    /// The same with a note.
    #[must_use]
    pub const fn noted(mut self, notes: &'static str) -> Self {
        self.notes = notes;
        self
    }
}

/// Calls `found` with the position of each key of `args`, in the order of the specifications.
/// `Err(())` if the arguments contradict the row: a number of keys that is not a number, or more
/// keys than arguments.
fn each(
    spec: &Spec,
    args: Args<'_>,
    mut found: impl FnMut(usize, &'static Keys),
) -> Result<(), ()> {
    if spec.has(flag::MIGRATES) {
        let Some(keys) = spec.keys.first() else { return Ok(()) };
        migrated(args)?.for_each(|at| found(at, keys));
        return Ok(());
    }
    let mut is_complete = true;
    for keys in spec.keys {
        let Some(begin) = begin_of(keys, args) else {
            // A word may be missing, a position may not: PFMERGE without sources.
            let is_declared = keys.access & access::UNDECLARED == 0;
            is_complete &= !is_declared || !matches!(keys.begin, Begin::Index(_));
            continue;
        };
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
    if is_complete { Ok(()) } else { Err(()) }
}

/// The positions of the keys of MIGRATE: those after the option KEYS, if any follow, and then the key
/// argument has to be empty; else the key argument is the only one.
fn migrated(args: Args<'_>) -> Result<Range<usize>, ()> {
    const KEY: usize = 3;
    const OPTIONS: usize = 6;
    let mut at = OPTIONS;
    while at + 1 < args.len() {
        if args.is(at, "keys") {
            return if args.at(KEY).is_empty() { Ok(at + 1..args.len()) } else { Err(()) };
        }
        // A password may be any word.
        at += 1 + match () {
            () if args.is(at, "auth") => 1,
            () if args.is(at, "auth2") => 2,
            () => 0,
        };
    }
    if KEY < args.len() { Ok(KEY..KEY + 1) } else { Err(()) }
}

fn begin_of(keys: &Keys, args: Args<'_>) -> Option<usize> {
    match keys.begin {
        Begin::Index(at) => ((at as usize) < args.len()).then_some(at as usize),
        Begin::Unknown(find) | Begin::KeywordFound(_, _, find) => {
            find(args).filter(|&at| at < args.len())
        }
        Begin::Keyword(word, from) if from >= 0 => {
            (from as usize..args.len().saturating_sub(1)).find(|&i| args.is(i, word)).map(|i| i + 1)
        }
        Begin::Keyword(word, from) => {
            let last = args.len().checked_sub(from.unsigned_abs().into())?;
            (1..=last).rev().find(|&i| args.is(i, word)).map(|i| i + 1).filter(|&i| i < args.len())
        }
    }
}

impl Spec {
    /// The one argument that is always the command's only key; `None` if that depends on the
    /// request.
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

    /// Calls `found` with each key of `args`. If the arguments contradict the row, the keys before
    /// the contradiction count: the command itself answers with the error.
    pub fn each_key<'a>(&self, args: Args<'a>, mut found: impl FnMut(&'a [u8])) {
        let _contradiction = each(self, args, |at, keys| {
            if keys.access & access::NOT_KEY == 0 {
                found(args.at(at));
            }
        });
    }

    /// Calls `found` with each key of `args` that the command does more to than read it.
    pub fn each_written_key<'a>(&self, args: Args<'a>, mut found: impl FnMut(&'a [u8])) {
        let _contradiction = each(self, args, |at, keys| {
            if keys.access & (access::NOT_KEY | access::RO) == 0 {
                found(args.at(at));
            }
        });
    }

    /// The keys that a blocking command waits for: those of its first specification.
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

    /// The slots that `args` touch: those of its keys, or of the shard channels it names.
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

    /// Whether keys of several slots go unnoticed: those that the server's declaration leaves out
    /// ([`access::UNDECLARED`]) cross, the declared ones alone do not.
    #[must_use]
    pub fn crosses_undeclared(&self, args: Args<'_>) -> bool {
        if !self.keys.iter().any(|keys| keys.access & access::UNDECLARED != 0) {
            return false;
        }
        let mut declared = Vec::new();
        let _contradiction = each(self, args, |at, keys| {
            if keys.access & access::UNDECLARED == 0 {
                declared.push(args.at(at));
            }
        });
        let crosses = |footprint| matches!(footprint, Footprint::Crossing { .. });
        crosses(self.footprint(args)) && !crosses(Footprint::of(declared))
    }

    /// Calls `found` with all of `args` that has a slot: keys, and shard channels.
    pub fn each_with_slot<'a>(&self, args: Args<'a>, mut found: impl FnMut(&'a [u8])) {
        let _contradiction = each(self, args, |at, _| found(args.at(at)));
    }

    /// Whether the command reads keys that these arguments do not name: SORT with a pattern.
    #[must_use]
    pub fn reads_unnamed(&self, args: Args<'_>) -> bool {
        self.has(flag::READS_UNNAMED)
            && (2..args.len()).any(|at| args.is(at, "by") || args.is(at, "get"))
    }

    /// Whether the command names shard channels, which belong to slots without being keys. (The cursor of
    /// a command that reads keys is none.)
    #[must_use]
    pub fn has_channels(&self) -> bool {
        self.flags & flag::READ == 0
            && self.keys.first().is_some_and(|keys| keys.access & access::NOT_KEY != 0)
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
    /// Those of `COMMAND GETKEYS` for a command without keys or for arguments that do not fit.
    pub fn keys_with_access<'a>(&self, args: Args<'a>) -> Result<Vec<(&'a [u8], u16)>, Refusal> {
        if self.keys.iter().all(|keys| keys.access & access::NOT_KEY != 0) {
            return Err(Refusal::of("ERR The command has no key arguments"));
        }
        if !self.arity.admits(args.len()) {
            return Err(Refusal::of("ERR Invalid number of arguments specified for command"));
        }
        let mut found = Vec::new();
        let fits = each(self, args, |at, keys| {
            if keys.access & (access::NOT_KEY | access::UNDECLARED) == 0 {
                found.push((args.at(at), keys.access));
            }
        });
        match fits {
            Ok(()) if !found.is_empty() => Ok(found),
            _ => Err(Refusal::of("ERR Invalid arguments specified for command")),
        }
    }

    /// First key, last key and step, as the legacy fields of `COMMAND INFO` show them: the range
    /// that covers the plain ranges, by the rule of Redis 7.
    #[must_use]
    pub fn legacy_range(&self) -> (i64, i64, i64) {
        let declared = self.keys.iter().filter(|keys| keys.access & access::UNDECLARED == 0);
        let mut ranges = declared.filter_map(|keys| match (keys.begin, keys.find) {
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
