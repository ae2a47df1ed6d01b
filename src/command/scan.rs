//! Iteration over all keys: KEYS, RANDOMKEY, SCAN; and the cursors and options of HSCAN, SSCAN,
//! ZSCAN.
//!
//! A cursor of SCAN is a position in the cluster's slots and names no shard, so that it stays valid
//! when slots move:
//!
//! ```text
//! cursor   least hash, 32 bits │ slot, 14 bits     slots ascend, and hashes within a slot
//! 0        the start: slot 0, all its keys; in a reply: the end
//! ```
//!
//! A key that exists during the whole scan is returned once, whatever else is added or removed.
//! Slots without keys cost nothing.

use super::pace::{Strides, units};
use super::spec::flag::{NODE_LOCAL, READ};
use super::spec::{
    Arity::{AtLeast, Exactly},
    BASE, Run, SAME, Spec, Variant, acl, check,
};
use super::{Args, Outcome, Pace, Refusal, ServerCx};
use crate::dialect::servers;
use crate::keyspace::{Entry, Keyed, Keyspace};
use crate::resp::Sink;
use crate::slot::{SLOTS, Slot};
use crate::text::glob;

/// Defaults of the rows.
const SCAN: Spec = Spec { flags: READ | NODE_LOCAL, acl: acl::KEYSPACE, ..BASE };

pub(super) const ROWS: &[Spec] = &[
    Spec {
        name: "keys",
        arity: Exactly(2),
        acl: acl::KEYSPACE | acl::DANGEROUS,
        tips: &["request_policy:all_shards", "nondeterministic_output_order"],
        complexity: "O(N) with N being the number of keys in the database, under the assumption that the key names in the database and the given pattern have limited length.",
        summary: "Lists the keys that match a pattern.",
        run: Run::Cluster(keys),
        ..SCAN
    },
    Spec {
        name: "randomkey",
        arity: Exactly(1),
        variants: RANDOMKEY_SINCE_7_2,
        tips: &["request_policy:all_shards", "nondeterministic_output"],
        summary: "Returns a random key.",
        run: Run::Cluster(randomkey),
        ..SCAN
    },
    Spec {
        name: "scan",
        arity: AtLeast(2),
        variants: SCAN_SINCE_7_2,
        tips: &["nondeterministic_output", "request_policy:special"],
        since: "2.8.0",
        complexity: "O(1) for every call. O(N) for a complete iteration, including enough command calls for the cursor to return back to 0. N is the number of elements inside the collection.",
        summary: "Iterates over the keys page by page.",
        run: Run::Cluster(scan),
        ..SCAN
    },
];
const _: () = check(ROWS);

/// Which says that the replies of the nodes cannot simply be put together.
const SCAN_SINCE_7_2: &[Variant] = &[Variant {
    servers: servers::SINCE_7_2,
    tips: Some(&["nondeterministic_output", "request_policy:special", "response_policy:special"]),
    ..SAME
}];
/// The same of RANDOMKEY.
const RANDOMKEY_SINCE_7_2: &[Variant] = &[Variant {
    servers: servers::SINCE_7_2,
    tips: Some(&[
        "request_policy:all_shards",
        "response_policy:special",
        "nondeterministic_output",
    ]),
    ..SAME
}];

/// The lowest bits of a cursor, which are the slot.
const SLOT_BITS: u32 = SLOTS.trailing_zeros();
/// How many keys a page visits if COUNT is not given.
const COUNT_DEFAULT: usize = 10;
/// After so many picks of expired keys RANDOMKEY searches for a live key.
const RANDOM_TRIES_MAX: usize = 100;

/// Which names KEYS, SCAN and HSCAN return.
#[derive(Clone, Copy, Debug)]
pub(super) enum Pattern<'a> {
    /// `*`, or no pattern: includes the empty name, which no glob but the empty one matches.
    All,
    Glob(&'a [u8]),
}

impl<'a> Pattern<'a> {
    fn of(glob: &'a [u8]) -> Self {
        if glob == b"*" { Self::All } else { Self::Glob(glob) }
    }

    pub(super) fn matches(self, name: &[u8]) -> bool {
        match self {
            Self::All => true,
            Self::Glob(glob) => glob::matches(glob, name),
        }
    }

    /// The cost of [`Pattern::matches`], in steps of the pace.
    pub(super) fn units(self, name: &[u8]) -> usize {
        match self {
            Self::All => 1,
            Self::Glob(glob) => units(glob.len() * name.len()),
        }
    }
}

/// The options of a scan: what a page contains.
#[derive(Clone, Copy, Debug)]
pub(super) struct Page<'a> {
    /// About how many elements to visit, from 1.
    pub(super) count: usize,
    /// Which of them to return.
    pub(super) pattern: Pattern<'a>,
    /// TYPE, an option of SCAN only: return only keys of this type.
    type_name: Option<&'a [u8]>,
    /// NOVALUES, an option of HSCAN only.
    pub(super) without_values: bool,
}

/// What a scan returns, which decides on its options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scanned {
    /// Keys: they have a type.
    Keys,
    /// Members of a set or of a sorted set.
    Members,
    /// Fields, whose values may be left out.
    Fields,
}

impl<'a> Page<'a> {
    /// Reads the options from argument `first` on.
    ///
    /// # Errors
    /// A syntax error, or COUNT is not an integer.
    pub(super) fn of(args: Args<'a>, first: usize, what: Scanned) -> Result<Self, Refusal> {
        let mut page = Self::DEFAULT;
        let mut i = first;
        while i < args.len() {
            if what == Scanned::Fields && args.is(i, "novalues") {
                page.without_values = true;
                i += 1;
                continue;
            }
            page.read(args, i, what)?;
            i += 2;
        }
        Ok(page)
    }

    /// What a scan without options returns.
    pub(super) const DEFAULT: Self = Self {
        count: COUNT_DEFAULT,
        pattern: Pattern::All,
        type_name: None,
        without_values: false,
    };

    /// Reads the option at argument `i`, which has a value.
    ///
    /// # Errors
    /// As [`Page::of`].
    pub(super) fn read(&mut self, args: Args<'a>, i: usize, what: Scanned) -> Result<(), Refusal> {
        let Some(value) = args.get(i + 1) else { return Err(Refusal::SYNTAX) };
        if args.is(i, "count") {
            let count = usize::try_from(args.int(i + 1)?).ok();
            self.count = count.filter(|&n| n > 0).ok_or(Refusal::SYNTAX)?;
        } else if args.is(i, "match") {
            self.pattern = Pattern::of(value);
        } else if what == Scanned::Keys && args.is(i, "type") {
            self.type_name = Some(value);
        } else {
            return Err(Refusal::SYNTAX);
        }
        Ok(())
    }

    /// Returns whether a page has this key, by its name and its type.
    pub(super) fn takes(&self, entry: &Entry) -> bool {
        let type_name = entry.value().type_name().as_bytes();
        self.type_name.is_none_or(|wanted| wanted.eq_ignore_ascii_case(type_name))
            && self.pattern.matches(entry.key())
    }
}

/// Reads a cursor as C's `strtoul` does, because Redis does: the empty text is 0, a minus sign
/// wraps, a NUL ends it.
///
/// # Errors
/// `ERR invalid cursor`.
pub(super) fn cursor(text: &[u8]) -> Result<u64, Refusal> {
    const INVALID: Refusal = Refusal::of("ERR invalid cursor");
    let text = text.split(|&b| b == 0).next().unwrap_or_default();
    if text.is_empty() {
        return Ok(0);
    }
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if digits.is_empty() {
        return Err(INVALID);
    }
    let mut value = 0u64;
    for &b in digits {
        if !b.is_ascii_digit() {
            return Err(INVALID);
        }
        let shifted = value.checked_mul(10).ok_or(INVALID)?;
        value = shifted.checked_add(u64::from(b - b'0')).ok_or(INVALID)?;
    }
    Ok(if negative { value.wrapping_neg() } else { value })
}

fn keys(cx: &mut ServerCx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let pattern = Pattern::of(args.at(1));
    let mut strides = Strides::new(cx.pace);
    let mut found: Vec<&[u8]> = Vec::new();
    for shard in &cx.shards {
        let mut from = Slot::new(0);
        while let Some(slot) = from.and_then(|from| shard.next_slot_with_keys(from)) {
            shard.walk_slot(slot, |entry| {
                strides.step(pattern.units(entry.key()));
                if pattern.matches(entry.key()) {
                    found.push(entry.key());
                }
                true
            });
            from = Slot::new(slot.number() + 1);
        }
    }
    out.array(found.len());
    for key in found {
        strides.step(units(key.len()));
        out.bulk(key);
    }
    Ok(())
}

fn randomkey(cx: &mut ServerCx<'_>, _args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    for _ in 0..RANDOM_TRIES_MAX {
        let total: usize = cx.shards.iter().map(|shard| shard.len()).sum();
        let Some(first) = cx.shards.first_mut() else { break };
        let mut at = ((u128::from(first.random()) * total as u128) >> 64) as usize;
        let here = |shard: &&mut &mut Keyspace| match at.checked_sub(shard.len()) {
            Some(beyond) => {
                at = beyond;
                false
            }
            None => true,
        };
        let Some(shard) = cx.shards.iter_mut().find(here) else { break };
        let Some(entry) = shard.random_key() else { break };
        if entry.expires_at().is_none_or(|at| cx.now <= at) {
            out.bulk(entry.key());
            return Ok(());
        }
        // A look-up removes an expired key.
        let bytes: Box<[u8]> = entry.key().into();
        shard.peek(shard.key(Slot::of(&bytes), &bytes));
    }
    let live = cx.shards.iter().find_map(|shard| first_live(shard, cx.pace));
    out.bulk_or_null(live);
    Ok(())
}

/// Returns the first key that has not expired, in a keyspace in which nearly all have.
fn first_live<'k>(shard: &'k Keyspace, pace: &dyn Pace) -> Option<&'k [u8]> {
    let mut from = Slot::new(0);
    let mut found = None;
    while let Some(slot) = from.and_then(|from| shard.next_slot_with_keys(from)) {
        pace.step(shard.slot_len(slot));
        shard.walk_slot(slot, |entry| {
            found = Some(entry.key());
            false
        });
        if found.is_some() {
            break;
        }
        from = Slot::new(slot.number() + 1);
    }
    found
}

fn scan(cx: &mut ServerCx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let cursor = cursor(args.at(1))?;
    let page = Page::of(args, 2, Scanned::Keys)?;
    let shards: Vec<&Keyspace> = cx.shards.iter().map(|shard| &**shard).collect();
    let (topology, view) = (&cx.server.topology, &cx.view);
    let holder = |slot| match view[..] {
        [_] => Some(0),
        _ if topology.is_stable(slot) => view.binary_search(&topology.shard_of(slot)).ok(),
        _ => None,
    };
    let (next, found) = scan_page(&shards, holder, cursor, &page, cx.pace);
    out.array(2);
    out.bulk(next.to_string().as_bytes());
    out.array(found.len());
    for key in found {
        out.bulk(key);
    }
    Ok(())
}

/// Returns the cursor of the next page and the keys of the page at `cursor`. `holder` returns the
/// shard that has all keys of a slot. A slot whose keys are on several shards, because it is being
/// migrated, makes a page of its own, whatever its number of keys.
fn scan_page<'k>(
    shards: &[&'k Keyspace],
    holder: impl Fn(Slot) -> Option<usize>,
    cursor: u64,
    page: &Page<'_>,
    pace: &dyn Pace,
) -> (u64, Vec<&'k [u8]>) {
    let mut strides = Strides::new(pace);
    let mut found = Vec::new();
    let mut visited = 0;
    let first = (cursor & u64::from(SLOTS - 1)) as u16;
    for slot in (first..SLOTS).filter_map(Slot::new) {
        let (holders, is_whole) = match holder(slot) {
            Some(at) => (&shards[at..=at], true),
            None => (shards, false),
        };
        if holders.iter().all(|shard| shard.slot_len(slot) == 0) {
            continue;
        }
        if visited >= page.count {
            return (slot.number().into(), found);
        }
        let (from, count) = match is_whole {
            true if slot.number() == first => (cursor >> SLOT_BITS, page.count - visited),
            true => (0, page.count - visited),
            false => (0, usize::MAX),
        };
        for shard in holders {
            let (entries, next) = shard.page_of_slot(slot, from, count);
            visited += entries.len();
            for entry in entries {
                strides.step(page.pattern.units(entry.key()));
                if page.takes(entry) {
                    found.push(entry.key());
                }
            }
            if next > 0 {
                return (next << SLOT_BITS | u64::from(slot.number()), found);
            }
        }
    }
    (0, found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Immediate;
    use crate::keyspace::{KeyHasher, Ttl, Value};
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn cursors_read_as_in_c() {
        let cases: [(&[u8], Option<u64>); 16] = [
            (b"", Some(0)),
            (b"\0", Some(0)),
            (b"0", Some(0)),
            (b"007", Some(7)),
            (b"12\0x", Some(12)),
            (b"+5", Some(5)),
            (b"-1", Some(u64::MAX)),
            (b"-18446744073709551615", Some(1)),
            (b"18446744073709551615", Some(u64::MAX)),
            (b"18446744073709551616", None),
            (b"-18446744073709551616", None),
            (b"-", None),
            (b"+-1", None),
            (b" 0", None),
            (b"0 ", None),
            (b"0x1", None),
        ];
        for (text, value) in cases {
            assert_eq!(cursor(text).ok(), value, "{}", text.escape_ascii());
        }
    }

    /// Keys that hash to few slots (so that pages end within them) or to many.
    fn name(n: u32) -> Vec<u8> {
        if n.is_multiple_of(3) { format!("{{{}}}{n}", n % 6) } else { n.to_string() }.into_bytes()
    }

    /// Which of `shards` shards holds a slot.
    fn holder(slot: Slot, shards: usize) -> usize {
        usize::from(slot.number()) / 100 % shards
    }

    fn flip(shards: &mut [Keyspace], n: u32, add: bool) {
        let bytes = name(n);
        let slot = Slot::of(&bytes);
        let at = holder(slot, shards.len());
        let shard = &mut shards[at];
        let key = shard.key(slot, &bytes);
        if add {
            shard.set(key, Value::string(b"v"), Ttl::Clear);
        } else {
            shard.delete(key);
        }
    }

    proptest! {
        // A case visits all slots once per page, which is slow without optimisation.
        #![proptest_config(ProptestConfig::with_cases(48))]

        /// A key that exists during the whole scan is returned once (Redis promises at least once),
        /// and one that never existed is not returned.
        #[test]
        fn a_scan_over_several_shards_returns_what_stays(
            stay in 0u32..300,
            shard_count in 1usize..5,
            count in 1usize..30,
            churn in prop::collection::vec((any::<bool>(), 0u32..300), 0..200),
        ) {
            let mut shards: Vec<Keyspace> = (0..shard_count)
                .map(|i| {
                    let holds = move |&slot: &Slot| holder(slot, shard_count) == i;
                    Keyspace::new(Slot::all().filter(holds), KeyHasher::new(3), 5)
                })
                .collect();
            (0..stay).for_each(|n| flip(&mut shards, n, true));
            (0..150).for_each(|n| flip(&mut shards, 1000 + 2 * n, true));
            let pattern = Pattern::All;
            let page = Page { count, pattern, type_name: None, without_values: false };
            let stays: BTreeSet<_> = (0..stay).map(name).collect();
            let (mut returned, mut at, mut churn) = (BTreeSet::new(), 0, churn.chunks(3));
            loop {
                let held: Vec<&Keyspace> = shards.iter().collect();
                let (next, found) = scan_page(&held, |slot| Some(holder(slot, shard_count)), at, &page, &Immediate(0));
                // Two more where keys of a slot have equal hashes.
                prop_assert!(found.len() <= count + 2);
                prop_assert!(next == 0 || !found.is_empty());
                for name in found.into_iter().map(<[u8]>::to_vec) {
                    let is_first = returned.insert(name.clone());
                    prop_assert!(is_first || !stays.contains(&name));
                }
                for &(add, n) in churn.next().unwrap_or_default() {
                    flip(&mut shards, 1000 + n, add);
                }
                at = next;
                if at == 0 { break; }
            }
            prop_assert!(returned.is_superset(&stays));
            let known: BTreeSet<_> = (0..stay).chain(1000..1300).map(name).collect();
            prop_assert!(returned.is_subset(&known));
        }
    }
}
