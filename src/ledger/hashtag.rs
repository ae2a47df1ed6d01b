//! Finds the smallest hashtag that puts keys which are used together into one slot.
//!
//! ```text
//! sets seen together          bull:mail:wait   bull:mail:active        cart:7:items   user:7
//! what all keys have in common  ^^^^^^^^^         ^^^^^^^^^                 ^              ^
//! tag                         {bull:mail}:wait {bull:mail}:active      cart:{7}:items  user:{7}
//! ```
//!
//! The search is for a range of pieces, per pattern, whose text is the same in all keys of every set.
//! Of the ranges that fit, the one with the most different values is the smallest hashtag: it binds
//! the fewest keys together. Among equals the longest text is the clearest. The result is verified:
//! the keys are rewritten and their slots computed.

use super::pattern::{Kind, Piece, pattern, pieces, shown};
use crate::slot::{Slot, hashed_part};
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

/// Pairs without anything in common that are named.
pub const PAIRS_MAX: usize = 8;
/// Characters of a key that is named.
const KEY_CHARS_MAX: usize = 80;

/// Keys that were used together, each with the number of its pattern.
pub type Set = Vec<(usize, Vec<u8>)>;

/// A hashtag for a group: by pattern, the pieces of the bare keys (see [`bare`]) that it encloses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag {
    ranges: Vec<Range<usize>>,
    /// How many different tags the sets would have.
    pub values: usize,
    /// One of these tags with its braces, for display.
    pub shown: String,
}

/// Two keys that are used together and have nothing in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// Their patterns.
    pub patterns: [Arc<str>; 2],
    /// Two such keys.
    pub keys: [String; 2],
}

/// Returns a key without the braces of its hashtag, if it has one.
#[must_use]
pub fn bare(key: &[u8]) -> Vec<u8> {
    let tag = hashed_part(key);
    if tag.len() == key.len() {
        return key.to_vec();
    }
    let open = key.iter().position(|&byte| byte == b'{').unwrap_or_default();
    let close = open + 1 + tag.len();
    [&key[..open], tag, &key[close + 1..]].concat()
}

impl Tag {
    /// Returns a key of pattern number `of` with the tag. `None` if the key does not have the pieces of
    /// its pattern.
    #[must_use]
    pub fn write(&self, of: usize, key: &[u8]) -> Option<Vec<u8>> {
        written(key, self.ranges.get(of)?)
    }

    /// Returns the pattern of the pattern's keys with the tag.
    #[must_use]
    pub fn pattern(&self, of: usize, key: &[u8]) -> String {
        self.write(of, key).map_or_else(String::new, |key| pattern(&key))
    }
}

fn written(key: &[u8], range: &Range<usize>) -> Option<Vec<u8>> {
    let bare = bare(key);
    let span = span(&pieces(&bare), range)?;
    let (before, rest) = bare.split_at(span.start);
    let (tag, after) = rest.split_at(span.len());
    Some([before, b"{", tag, b"}", after].concat())
}

/// Returns the bytes of a range of pieces.
fn span(pieces: &[Piece], range: &Range<usize>) -> Option<Range<usize>> {
    let range = pieces.get(range.clone())?;
    Some(range.first()?.start..range.last()?.end)
}

/// A key with its pieces.
struct Part<'a> {
    of: usize,
    key: &'a [u8],
    bare: Vec<u8>,
    pieces: Vec<Piece>,
}

impl<'a> Part<'a> {
    fn new(of: usize, key: &'a [u8]) -> Self {
        let bare = bare(key);
        let pieces = pieces(&bare);
        Self { of, key, bare, pieces }
    }

    fn text(&self, range: &Range<usize>) -> Option<&[u8]> {
        self.bare.get(span(&self.pieces, range)?)
    }

    /// Returns every range that neither begins nor ends with a separator.
    fn ranges(&self) -> Vec<Range<usize>> {
        let may_end = |at: usize| !matches!(self.pieces[at].kind, Kind::Mark | Kind::Rest);
        let all = 0..self.pieces.len();
        let mut found = Vec::new();
        for start in all.clone().filter(|&at| may_end(at)) {
            for last in (start..all.end).take_while(|&at| self.pieces[at].kind != Kind::Rest) {
                if may_end(last) {
                    found.push(start..last + 1);
                }
            }
        }
        found
    }
}

/// Returns the smallest tag for these sets of keys of `patterns`.
///
/// # Errors
/// No common part puts every set into one slot: the pairs of patterns that have nothing in common, or
/// none, if each pair has a common part but all together have not.
pub fn find(patterns: &[Arc<str>], sets: &[Set]) -> Result<Tag, Vec<Pair>> {
    let parts: Vec<Vec<Part<'_>>> =
        sets.iter().map(|set| set.iter().map(|(of, key)| Part::new(*of, key)).collect()).collect();
    search(patterns.len(), &parts).ok_or_else(|| strangers(patterns, &parts))
}

fn search(patterns: usize, sets: &[Vec<Part<'_>>]) -> Option<Tag> {
    // The key with the fewest pieces has the fewest ranges to try.
    let base = sets.iter().flatten().min_by_key(|part| part.pieces.len())?;
    let mut best: Option<(usize, usize, Tag)> = None;
    for range in base.ranges() {
        let Some(ranges) = spread(patterns, sets, base.of, &range) else { continue };
        let Some(tags) = try_out(sets, &ranges) else { continue };
        let len = base.text(&range).map_or(0, <[u8]>::len);
        let rank = (tags.len(), len);
        if best.as_ref().is_none_or(|(values, len, _)| rank > (*values, *len)) {
            let shown = tags
                .first()
                .map_or_else(String::new, |tag| format!("{{{}}}", shown(tag, KEY_CHARS_MAX)));
            best = Some((rank.0, rank.1, Tag { ranges, values: tags.len(), shown }));
        }
    }
    best.map(|(_, _, tag)| tag)
}

/// Returns the range of each pattern, given that of `base`: the same text in all sets, found from
/// pattern to pattern.
fn spread(
    patterns: usize,
    sets: &[Vec<Part<'_>>],
    base: usize,
    range: &Range<usize>,
) -> Option<Vec<Range<usize>>> {
    let mut ranges: Vec<Option<Range<usize>>> = vec![None; patterns];
    ranges[base] = Some(range.clone());
    loop {
        let text = |ranges: &[Option<Range<usize>>], set: &[Part<'_>]| {
            set.iter().find_map(|part| {
                let range = ranges[part.of].as_ref()?;
                part.text(range).map(<[u8]>::to_vec)
            })
        };
        // A pattern without a range, in a set with one that has a range.
        let next = sets.iter().find_map(|set| {
            let text = text(&ranges, set)?;
            let part = set.iter().find(|part| ranges[part.of].is_none())?;
            Some((part, text))
        });
        let Some((part, wanted)) = next else { break };
        let fits = |range: &Range<usize>| {
            part.text(range) == Some(&wanted)
                && sets.iter().all(|set| {
                    let Some(text) = text(&ranges, set) else { return true };
                    let mut own = set.iter().filter(|other| other.of == part.of);
                    own.all(|other| other.text(range) == Some(&text))
                })
        };
        ranges[part.of] = Some(part.ranges().into_iter().find(fits)?);
    }
    ranges.into_iter().collect()
}

/// Rewrites the keys of all sets with tags in these ranges and computes their slots. Returns the
/// different tags if every set is in one slot.
fn try_out(sets: &[Vec<Part<'_>>], ranges: &[Range<usize>]) -> Option<BTreeSet<Vec<u8>>> {
    let mut tags = BTreeSet::new();
    for set in sets {
        let mut slot = None;
        for part in set {
            let key = written(part.key, &ranges[part.of])?;
            let its = Slot::of(&key);
            if *slot.get_or_insert(its) != its {
                return None;
            }
            tags.insert(hashed_part(&key).to_vec());
        }
    }
    Some(tags)
}

/// Returns the pairs of patterns that no tag would bring together.
fn strangers(patterns: &[Arc<str>], sets: &[Vec<Part<'_>>]) -> Vec<Pair> {
    let (mut tried, mut pairs) = (BTreeSet::new(), Vec::new());
    for set in sets {
        for (at, a) in set.iter().enumerate() {
            for b in &set[at + 1..] {
                if pairs.len() >= PAIRS_MAX {
                    return pairs;
                }
                let (low, high) = (a.of.min(b.of), a.of.max(b.of));
                if !tried.insert((low, high)) {
                    continue;
                }
                let both: Vec<Vec<Part<'_>>> = sets
                    .iter()
                    .filter(|set| [low, high].iter().all(|of| set.iter().any(|p| p.of == *of)))
                    .map(|set| {
                        let own = set.iter().filter(|part| [low, high].contains(&part.of));
                        // Renumbered: the pair is searched by itself.
                        own.map(|part| Part::new(usize::from(part.of != low), part.key)).collect()
                    })
                    .collect();
                if search(if low == high { 1 } else { 2 }, &both).is_none() {
                    pairs.push(Pair {
                        patterns: [a, b].map(|part| Arc::clone(&patterns[part.of])),
                        keys: [a, b].map(|part| shown(part.key, KEY_CHARS_MAX)),
                    });
                }
            }
        }
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tag of sets of keys, and the first set with it.
    fn tagged(sets: &[&[&str]]) -> Result<(usize, Vec<String>), Vec<[String; 2]>> {
        let mut patterns: Vec<Arc<str>> = Vec::new();
        let sets: Vec<Set> = sets
            .iter()
            .map(|set| {
                let keys = set.iter().map(|key| {
                    let text = pattern(key.as_bytes());
                    let of = patterns.iter().position(|p| **p == *text).unwrap_or_else(|| {
                        patterns.push(text.into());
                        patterns.len() - 1
                    });
                    (of, key.as_bytes().to_vec())
                });
                keys.collect()
            })
            .collect();
        let tag = find(&patterns, &sets)
            .map_err(|pairs| pairs.into_iter().map(|pair| pair.keys).collect::<Vec<_>>())?;
        let written = sets[0].iter().map(|(of, key)| {
            String::from_utf8(tag.write(*of, key).expect("made as its pattern")).expect("text")
        });
        Ok((tag.values, written.collect()))
    }

    fn good(sets: &[&[&str]], values: usize, first: &[&str]) {
        let first = first.iter().map(|key| (*key).to_owned()).collect();
        assert_eq!(tagged(sets), Ok((values, first)), "{sets:?}");
    }

    #[test]
    fn the_smallest_common_part_becomes_the_tag() {
        good(&[&["bull:q:wait", "bull:q:active"]], 1, &["{bull:q}:wait", "{bull:q}:active"]);
        good(
            &[&["cart:7:items", "cart:7:total"], &["cart:8:total", "cart:8:items"]],
            2,
            &["{cart:7}:items", "{cart:7}:total"],
        );
        good(
            &[&["cart:7:items", "user:7"], &["user:8", "cart:8:items"]],
            2,
            &["cart:{7}:items", "user:{7}"],
        );
        // A variable part binds fewer keys than a longer constant one.
        good(
            &[
                &["app:session:42", "app:session:index:42"],
                &["app:session:43", "app:session:index:43"],
            ],
            2,
            &["app:session:{42}", "app:session:index:{42}"],
        );
        // Two of a kind have only their kind in common.
        good(&[&["user:1", "user:2"]], 1, &["{user}:1", "{user}:2"]);
        good(&[&["celery", "_kombu.binding.celery"]], 1, &["{celery}", "_kombu.binding.{celery}"]);
    }

    #[test]
    fn tags_that_are_there_are_kept_or_moved() {
        good(&[&["{user:1}:a", "user:1:b"]], 1, &["{user:1}:a", "{user:1}:b"]);
        good(&[&["{a}:x:7", "{b}:y:7"], &["{a}:x:8", "{b}:y:8"]], 2, &["a:x:{7}", "b:y:{7}"]);
    }

    #[test]
    fn patterns_that_meet_only_by_way_of_another_share_its_tag() {
        good(&[&["a:7", "b:7:x"], &["b:8:x", "c:8"]], 2, &["a:{7}", "b:{7}:x"]);
    }

    #[test]
    fn what_has_nothing_in_common_is_named() {
        let pairs = tagged(&[&["order:77", "stock:3", "order:77:log"]]).expect_err("none");
        assert_eq!(
            pairs,
            [["order:77", "stock:3"], ["stock:3", "order:77:log"]].map(|p| p.map(str::to_owned))
        );
        assert_eq!(tagged(&[&["a:1", "b:1"], &["a:1", "b:2"]]).expect_err("none").len(), 1);
    }

    #[test]
    fn braces_that_are_no_tag_do_not_mislead() {
        // The first `{` decides, so a tag behind `{}` would not be one.
        assert!(tagged(&[&["{}a:7", "{}b:7"]]).is_err());
        assert_eq!(bare(b"x{a}y"), b"xay");
        assert_eq!(bare(b"{}a"), b"{}a");
    }
}
