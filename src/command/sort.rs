//! SORT and SORT_RO: the elements of a list, a set or a sorted set in a given order.
//!
//! By number or, with ALPHA, by bytes. Elements of equal weight are in the order of their bytes, so
//! that the result does not depend on how they were stored. As on a node of a cluster, weights and
//! values from other keys (BY and GET with a pattern) are refused, because those keys may be in other
//! slots, unless the keyspace has all of them ([`Cx::sees_all`]), or the server lets those pass that
//! are all in the slot of the sorted key ([`Patterns`]).

use super::collection;
use super::pace::{Strides, units};
use super::spec::access::{ACCESS, OW, RO, UPDATE};
use super::spec::flag::{DENYOOM, MOVABLE_KEYS, READ, READS_UNNAMED, WRITE};
use super::spec::{Arity::AtLeast, BASE, Begin, Find, Keys, Run, Spec, acl, check};
use super::{Args, Cx, Outcome, Pace, Refusal};
use crate::keyspace::{
    Edited, End, Entry, Key, Keyspace, List, Member, PackLimits, PieceLimit, Text, Value,
    ZsetBuilder, event,
};
use crate::resp::{Sink, until_nul};
use crate::slot::{Slot, hashed_part};
use crate::text::number::parse_f64;
use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::ops::Range;

/// Defaults of the rows.
const SORT: Spec = Spec {
    acl: acl::SET | acl::SORTEDSET | acl::LIST | acl::DANGEROUS,
    arity: AtLeast(2),
    complexity: "O(N+M*log(M)) where N is the number of elements in the list or set to sort, and M \
                 the number of returned elements. When the elements are not sorted, complexity is \
                 O(N).",
    ..BASE
};

/// The key that is sorted, and those of BY and GET, which depend on its value.
const SORTED: [Keys; 2] = [
    Keys::at(RO | ACCESS, 1),
    found_by(RO | ACCESS, |_| None).noted(
        "For the optional BY/GET keyword. It is marked 'unknown' because the key names derive from \
         the content of the key we sort",
    ),
];

/// One key, at the argument that `find` finds.
const fn found_by(access: u16, find: fn(Args<'_>) -> Option<usize>) -> Keys {
    let here = Find::Range { last: 0, step: 1, limit: 0 };
    Keys { access, begin: Begin::Unknown(find), find: here, notes: "" }
}

pub(super) const ROWS: &[Spec] = &[
    Spec {
        name: "sort",
        flags: WRITE | DENYOOM | MOVABLE_KEYS | READS_UNNAMED,
        keys: &[
            SORTED[0],
            SORTED[1],
            found_by(OW | UPDATE, destination).noted(
                "For the optional STORE keyword. It is marked 'unknown' because the keyword can \
                 appear anywhere in the argument array",
            ),
        ],
        summary: "Sorts the elements of a list, set or sorted set; returns or stores the result.",
        run: Run::Shard(|cx, args, out| sort(cx, args, true, out)),
        ..SORT
    },
    Spec {
        name: "sort_ro",
        flags: READ | MOVABLE_KEYS | READS_UNNAMED,
        keys: &SORTED,
        since: "7.0.0",
        summary: "Sorts the elements of a list, set or sorted set and returns the result.",
        run: Run::Shard(|cx, args, out| sort(cx, args, false, out)),
        ..SORT
    },
];
const _: () = check(ROWS);

/// The argument after the last STORE, by the grammar of [`Options::of`]: the key that is written.
fn destination(args: Args<'_>) -> Option<usize> {
    let (mut i, mut found) = (2, None);
    while i < args.len() {
        let has_value = i + 1 < args.len();
        if args.is(i, "limit") {
            i += 2;
        } else if args.is(i, "by") || args.is(i, "get") {
            i += 1;
        } else if args.is(i, "store") && has_value {
            i += 1;
            found = Some(i);
        }
        i += 1;
    }
    found
}

/// Whether a node of a cluster refuses SORT with these arguments because of a pattern behind BY, or
/// because of GET.
pub(super) fn reads_by_pattern(args: Args<'_>, may_store: bool) -> bool {
    let refusal = Options::of(args, may_store, Patterns::None).err();
    refusal.is_some_and(|refusal| refusal.rule().is_some())
}

/// Which patterns BY and GET may have.
#[derive(Clone, Copy)]
enum Patterns {
    Any,
    /// Those of keys in this slot, and `#`.
    Within(Slot),
    /// None; GET has nothing else.
    None,
}

impl Patterns {
    /// Whether GET may have this pattern, or BY if it has a star.
    fn admit(self, pattern: &[u8]) -> bool {
        match self {
            Self::Any => true,
            Self::Within(slot) => {
                until_nul(pattern) == b"#" || slot_of_pattern(pattern) == Some(slot)
            }
            Self::None => false,
        }
    }

    fn refusal(self, option: &str) -> Refusal {
        let when = match self {
            Self::Within(_) => " when keys formed by the pattern may be in different slots",
            Self::Any | Self::None => "",
        };
        Refusal::new(format!("ERR {option} option of SORT denied in Cluster mode{when}."))
    }
}

/// The slot of all keys that a pattern stands for: `None` if no hashtag stands before its first
/// special character.
pub(super) fn slot_of_pattern(pattern: &[u8]) -> Option<Slot> {
    let tag = hashed_part(pattern);
    let tag_end = match tag.len() == pattern.len() {
        true => pattern.len(),
        // The tag is a part of the pattern.
        false => pattern.iter().position(|&byte| byte == b'{')? + 1 + tag.len(),
    };
    let is_special = |byte: &u8| matches!(byte, b'*' | b'?' | b'[' | b'\\');
    (!pattern[..tag_end].iter().any(is_special)).then(|| Slot::of(pattern))
}

/// SORT's options.
struct Options<'a> {
    is_descending: bool,
    /// By bytes, not by number.
    is_alphabetic: bool,
    /// BY with a text that is not a pattern: in the order in which the elements are stored.
    is_unsorted: bool,
    /// BY with a pattern: the weights.
    by: Option<&'a [u8]>,
    /// What is returned for each element; the element itself if empty.
    gets: Vec<&'a [u8]>,
    /// LIMIT: how many to skip, and how many to return, all if negative.
    limit: Option<(i64, i64)>,
    store: Option<&'a [u8]>,
}

impl<'a> Options<'a> {
    fn of(args: Args<'a>, may_store: bool, patterns: Patterns) -> Result<Self, Refusal> {
        let mut options = Self {
            is_descending: false,
            is_alphabetic: false,
            is_unsorted: false,
            by: None,
            gets: Vec::new(),
            limit: None,
            store: None,
        };
        let mut i = 2;
        while i < args.len() {
            let values = args.len() - i - 1;
            if args.is(i, "asc") {
                options.is_descending = false;
            } else if args.is(i, "desc") {
                options.is_descending = true;
            } else if args.is(i, "alpha") {
                options.is_alphabetic = true;
            } else if args.is(i, "limit") && values >= 2 {
                options.limit = Some((args.int(i + 1)?, args.int(i + 2)?));
                i += 2;
            } else if args.is(i, "store") && values >= 1 && may_store {
                options.store = Some(args.at(i + 1));
                i += 1;
            } else if args.is(i, "by") && values >= 1 {
                let is_pattern = until_nul(args.at(i + 1)).contains(&b'*');
                if is_pattern && !patterns.admit(args.at(i + 1)) {
                    return Err(patterns.refusal("BY"));
                }
                // A later BY with a pattern does not undo this, as in Redis.
                options.is_unsorted |= !is_pattern;
                options.by = Some(args.at(i + 1));
                i += 1;
            } else if args.is(i, "get") && values >= 1 {
                if !patterns.admit(args.at(i + 1)) {
                    return Err(patterns.refusal("GET"));
                }
                options.gets.push(args.at(i + 1));
                i += 1;
            } else {
                return Err(Refusal::SYNTAX);
            }
            i += 1;
        }
        Ok(options)
    }

    /// Which of `len` elements, in their new order, are returned.
    fn range(&self, len: usize) -> Range<usize> {
        let Some((start, count)) = self.limit else { return 0..len };
        let start = usize::try_from(start.max(0)).unwrap_or(usize::MAX).min(len);
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        start..start.saturating_add(count).min(len)
    }
}

/// SORT key [BY pattern] [LIMIT offset count] [ASC|DESC] [ALPHA] [STORE destination]
fn sort(cx: &mut Cx<'_>, args: Args<'_>, may_store: bool, out: &mut Sink<'_>) -> Outcome {
    let key = cx.key(args.at(1));
    let patterns = match (cx.sees_all, cx.product.sorts_within_slot) {
        (true, _) => Patterns::Any,
        (false, true) => Patterns::Within(key.slot),
        (false, false) => Patterns::None,
    };
    let mut options = Options::of(args, may_store, patterns)?;
    let store = options.store.map(|store| cx.key(store));
    let piece = PieceLimit::of(cx.keyspace.limits.list_piece);
    unpack(cx.keyspace, key);
    let mut strides = Strides::new(cx.pace);
    let is_set = matches!(cx.keyspace.read(key), Some(Value::Set(_)));
    if is_set && options.is_unsorted && options.store.is_some() {
        // A stored result must not depend on the internal order of a set.
        (options.is_unsorted, options.is_alphabetic, options.by) = (false, true, None);
    }
    let keyspace = &*cx.keyspace;
    let sorted = match keyspace.get(key) {
        None => Vec::new(),
        Some(value) => sorted(keyspace, value, &options, &mut strides)?,
    };
    let per_element = options.gets.len().max(1);
    let Some(store) = store else {
        out.array(sorted.len() * per_element);
        for element in &sorted {
            strides.step(units(element.len()));
            if options.gets.is_empty() {
                out.bulk(element);
            }
            for pattern in &options.gets {
                match lookup(keyspace, pattern, element) {
                    Some(found) => out.bulk(&found),
                    None => out.null(),
                }
            }
        }
        return Ok(());
    };
    let mut list = List::default();
    for element in &sorted {
        strides.step(units(element.len()));
        if options.gets.is_empty() {
            list.push(End::Back, element, piece);
        }
        for pattern in &options.gets {
            let found = lookup(keyspace, pattern, element);
            list.push(End::Back, found.as_deref().unwrap_or_default(), piece);
        }
    }
    collection::store(cx.keyspace, store, Value::List(list), event::LIST, "sortstore", out);
    Ok(())
}

/// Returns the elements of a collection within LIMIT, in the order that the options ask for.
fn sorted<'v>(
    keyspace: &Keyspace,
    value: &'v Value,
    options: &Options<'_>,
    strides: &mut Strides<'_>,
) -> Result<Vec<Text<'v>>, Refusal> {
    if options.is_unsorted {
        return as_stored(value, options, strides);
    }
    let elements = elements(value, strides)?;
    let by = |element: &Text<'v>| {
        options.by.map(|pattern| lookup(keyspace, pattern, element).map(|text| text.to_vec()))
    };
    if options.is_alphabetic {
        // An element without a weight comes first.
        let weighed: Vec<_> = elements.into_iter().map(|element| (by(&element), element)).collect();
        let order = |a: &(Option<Option<Vec<u8>>>, Text<'_>), b: &(_, Text<'_>)| {
            a.0.cmp(&b.0).then_with(|| (*a.1).cmp(&b.1))
        };
        let sorted = in_order(weighed, options, order, strides);
        return Ok(sorted.into_iter().map(|(_, element)| element).collect());
    }
    let scored: Option<Vec<_>> = elements
        .into_iter()
        .map(|element| {
            let score = match by(&element) {
                None => score_of(&element)?,
                Some(weight) => weight.map_or(Some(0.0), |text| score_of(&text))?,
            };
            Some((score, element))
        })
        .collect();
    let scored =
        scored.ok_or(Refusal::of("ERR One or more scores can't be converted into double"))?;
    // No score is NaN: `score_of` rejects it.
    let order = |a: &(f64, Text<'_>), b: &(f64, Text<'_>)| {
        a.0.partial_cmp(&b.0).unwrap_or(Ordering::Equal).then_with(|| (*a.1).cmp(&b.1))
    };
    let sorted = in_order(scored, options, order, strides);
    Ok(sorted.into_iter().map(|(_, element)| element).collect())
}

impl Spec {
    /// The slots of the keys that SORT reads without naming them, each once. `keyspace` has the key
    /// that is sorted; if its value cannot be sorted, no other key is read.
    #[must_use]
    pub fn unnamed_slots(
        &self,
        keyspace: &Keyspace,
        args: Args<'_>,
        pace: &dyn Pace,
    ) -> BTreeSet<Slot> {
        let mut slots = BTreeSet::new();
        let key = keyspace.key(Slot::of(args.at(1)), args.at(1));
        let mut strides = Strides::new(pace);
        let Some(value) = keyspace.get(key) else { return slots };
        let Ok(elements) = elements(value, &mut strides) else { return slots };
        // A value that looks like an option only adds a slot that is not read.
        let patterns = (2..args.len() - 1).filter(|&at| args.is(at, "by") || args.is(at, "get"));
        for pattern in patterns.map(|at| args.at(at + 1)) {
            for element in &elements {
                strides.step(1);
                slots.extend(expand(pattern, element).map(|(name, _)| Slot::of(&name)));
            }
        }
        slots
    }
}

/// Returns the string that a pattern refers to with the element in place of its `*`: the one at the
/// key, or in the field of the hash after `->`; for `#` the element itself.
fn lookup<'k>(keyspace: &'k Keyspace, pattern: &[u8], element: &'k [u8]) -> Option<Text<'k>> {
    if until_nul(pattern) == b"#" {
        return Some(Text::Bytes(element));
    }
    let (name, field) = expand(pattern, element)?;
    let value = keyspace.get(keyspace.key(Slot::of(&name), &name))?;
    match (field, value) {
        (Some(field), Value::Hash(hash)) => {
            let hasher = keyspace.hasher();
            let is_there = hash.end(field, hasher).is_none_or(|end| end >= keyspace.now());
            hash.get(field, hasher).filter(|_| is_there)
        }
        (Some(_), _) => None,
        (None, value) => value.as_text(),
    }
}

/// Returns the key that a pattern refers to, and the field if it has one. `None` without a `*`.
fn expand<'p>(pattern: &'p [u8], element: &[u8]) -> Option<(Vec<u8>, Option<&'p [u8]>)> {
    let pattern = until_nul(pattern);
    let star = pattern.iter().position(|&byte| byte == b'*')?;
    let (before, after) = (&pattern[..star], &pattern[star + 1..]);
    let arrow = after.windows(2).position(|pair| pair == b"->").filter(|at| at + 2 < after.len());
    let (behind, field) = match arrow {
        Some(at) => (&after[..at], Some(&after[at + 2..])),
        None => (after, None),
    };
    Some(([before, element, behind].concat(), field))
}

/// Converts a packed sorted set to its large form, as Redis does before it sorts it; OBJECT
/// ENCODING shows the difference.
fn unpack(keyspace: &mut Keyspace, key: Key<'_>) {
    let entry = keyspace.peek(key);
    if !matches!(entry.map(Entry::value), Some(Value::Zset(zset)) if zset.is_packed()) {
        return;
    }
    let hasher = keyspace.hasher().clone();
    keyspace.edit(key, |value| {
        if let Value::Zset(zset) = value {
            let mut builder = ZsetBuilder::default();
            zset.members().for_each(|(member, score)| builder.put(&member, score, &hasher, |s| s));
            *zset = builder.finish(PackLimits { entries_max: 0, value_len_max: 0 });
        }
        Edited::Kept(())
    });
}

/// Returns all elements of a collection.
fn elements<'v>(value: &'v Value, strides: &mut Strides<'_>) -> Result<Vec<Text<'v>>, Refusal> {
    if !matches!(value, Value::List(_) | Value::Set(_) | Value::Zset(_)) {
        return Err(Refusal::WRONG_TYPE);
    }
    let mut elements = Vec::with_capacity(value.len());
    let mut take = |element: Text<'v>| {
        strides.step(units(element.len()));
        elements.push(element);
    };
    match value {
        Value::List(list) => list.iter().for_each(take),
        Value::Set(set) => set.members().for_each(|member| take(member.text())),
        Value::Zset(zset) => zset.members().for_each(|(member, _)| take(member)),
        _ => return Err(Refusal::WRONG_TYPE),
    }
    Ok(elements)
}

/// Returns the elements within LIMIT in the order in which they are stored; reversed for DESC,
/// except for a set, which has no order.
fn as_stored<'v>(
    value: &'v Value,
    options: &Options<'_>,
    strides: &mut Strides<'_>,
) -> Result<Vec<Text<'v>>, Refusal> {
    let range = options.range(value.len());
    let mut found: Vec<Text<'v>> = match value {
        Value::List(list) => {
            let end = if options.is_descending { End::Back } else { End::Front };
            list.iter_from(end, range.start).take(range.len()).collect()
        }
        Value::Zset(zset) => {
            let len = zset.len();
            let ranks = match options.is_descending {
                true => len - range.end..len - range.start,
                false => range,
            };
            zset.range(ranks, options.is_descending).map(|(member, _)| member).collect()
        }
        Value::Set(set) => {
            let members = set.members().skip(range.start).take(range.len());
            members.map(Member::text).collect()
        }
        _ => return Err(Refusal::WRONG_TYPE),
    };
    found.shrink_to_fit();
    strides.step(found.len());
    Ok(found)
}

/// Returns the elements within LIMIT, sorted by `order`. If LIMIT ends before the last element,
/// only the elements up to there are sorted.
fn in_order<E>(
    mut elements: Vec<E>,
    options: &Options<'_>,
    order: impl Fn(&E, &E) -> Ordering,
    strides: &mut Strides<'_>,
) -> Vec<E> {
    let Range { start, end } = options.range(elements.len());
    if start >= end {
        return Vec::new();
    }
    let mut compare = |a: &E, b: &E| {
        strides.step(1);
        if options.is_descending { order(b, a) } else { order(a, b) }
    };
    if end < elements.len() {
        elements.select_nth_unstable_by(end - 1, &mut compare);
        elements.truncate(end);
    }
    elements.sort_unstable_by(&mut compare);
    elements.drain(..start);
    elements
}

/// Reads the number that an element is sorted by as C's `strtod` does: leading spaces are skipped,
/// the empty text is 0, a NUL ends it. `None` for other text, and for numbers out of range, among
/// them those that only a subnormal double can hold.
fn score_of(element: &[u8]) -> Option<f64> {
    let text = until_nul(element);
    if text.is_empty() {
        return Some(0.0);
    }
    let is_space = |b: &u8| matches!(b, b' ' | b'\t'..=b'\r');
    let start = text.iter().position(|b| !is_space(b))?;
    parse_f64(&text[start..]).filter(|score| !score.is_subnormal())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As observed on redis-server.
    #[test]
    fn scores_read_as_in_c() {
        let cases: [(&[u8], Option<f64>); 20] = [
            (b"", Some(0.0)),
            (b"\0x", Some(0.0)),
            (b"1\0x", Some(1.0)),
            (b" 1", Some(1.0)),
            (b"\t\n\x0b\x0c\r 1", Some(1.0)),
            (b" ", None),
            (b" \0", None),
            (b"1 ", None),
            (b"inf", Some(f64::INFINITY)),
            (b"-Infinity", Some(f64::NEG_INFINITY)),
            (b"nan", None),
            (b"0x10", Some(16.0)),
            (b"0x", None),
            (b"1e400", None),
            (b"1e-400", None),
            (b"1e-310", None),
            (b"0e-400", Some(0.0)),
            (b"5.", Some(5.0)),
            (b"+.5", Some(0.5)),
            (b"x", None),
        ];
        for (text, score) in cases {
            assert_eq!(score_of(text), score, "{}", text.escape_ascii());
        }
    }
}
