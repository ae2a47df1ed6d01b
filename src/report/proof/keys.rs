//! Keys on the command line: the hashed part of each, its slot and shard, and whether they can be
//! used together.

use super::EXIT_VIOLATIONS;
use super::document::{self, key_row};
use super::rows::{KeyRow, accident, place};
use crate::ledger::key_groups::accidents;
use crate::ledger::violation::ExampleKey;
use crate::ledger::{common_part, hashtag};
use crate::slot::{Slot, hashed_part};
use crate::text::display::{Paint, fit, left, width};
use crate::topology::Topology;
use serde::Serialize;
use std::sync::Arc;

/// Some keys, and whether they share a slot.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Keys {
    pub schema: &'static str,
    pub version: &'static str,
    pub exit_code: u8,
    pub shards: usize,
    pub keys: Vec<KeyRow>,
    pub is_one_slot: bool,
    pub is_one_shard: bool,
    pub tag: Option<String>,
    pub kind: Option<&'static str>,
    pub rewritten: Vec<String>,
    pub other_tags: Vec<OtherTag>,
    pub accidental_tags: Vec<String>,
    /// By key: start and length of its hashed part, in characters.
    #[serde(skip)]
    marks: Vec<(usize, usize)>,
}

/// A further hashtag.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct OtherTag {
    pub kind: &'static str,
    pub tag: String,
    pub rewritten: Vec<String>,
}

impl Keys {
    /// Checks `keys` for so many shards.
    #[must_use]
    pub(crate) fn of(keys: &[Vec<u8>], shards: usize) -> Self {
        let topology = Topology::even(shards);
        let shard_of = |slot| topology.shard_of(slot);
        let slots: Vec<Slot> = keys.iter().map(|key| Slot::of(key)).collect();
        let all_one =
            |of: &dyn Fn(Slot) -> usize| slots.windows(2).all(|two| of(two[0]) == of(two[1]));
        let is_one_slot = all_one(&|slot| slot.index());
        // Each key is its own pattern here: only parts common to all of them count.
        let patterns: Vec<Arc<str>> = keys.iter().map(|_| Arc::from("")).collect();
        let set: common_part::Set = keys.iter().cloned().enumerate().collect();
        let choices = if is_one_slot { Vec::new() } else { hashtag::choices(&patterns, &[set]).0 };
        let mut choices = choices.into_iter().map(|tag| OtherTag {
            kind: tag.kind().name(),
            rewritten: keys
                .iter()
                .enumerate()
                .filter_map(|(of, key)| tag.write(of, key))
                .map(|key| ExampleKey::of(&key).key)
                .collect(),
            tag: tag.shown,
        });
        let (kind, tag, rewritten) = match choices.next() {
            Some(first) => (Some(first.kind), Some(first.tag), first.rewritten),
            None => (None, None, Vec::new()),
        };
        Self {
            schema: document::SCHEMA,
            version: env!("CARGO_PKG_VERSION"),
            exit_code: if is_one_slot { 0 } else { EXIT_VIOLATIONS },
            shards,
            keys: keys.iter().map(|key| key_row(&ExampleKey::of(key), &shard_of)).collect(),
            is_one_slot,
            is_one_shard: all_one(&shard_of),
            tag,
            kind,
            rewritten,
            other_tags: choices.collect(),
            accidental_tags: accidents(keys.iter().map(Vec::as_slice)),
            marks: keys.iter().map(|key| mark(key)).collect(),
        }
    }

    /// Returns one line of JSON.
    ///
    /// # Panics
    /// Never: all map keys are strings, and every number is finite.
    #[must_use]
    pub(crate) fn json(&self) -> String {
        serde_json::to_string(self).expect("names are strings")
    }

    /// Returns the page. The hashed part of each key is underlined.
    #[must_use]
    pub(crate) fn page(&self, columns: usize, paint: Paint) -> String {
        let mut text = String::new();
        let names = self.keys.iter().map(|key| width(&key.key)).max().unwrap_or(0);
        let names = names.min(columns.saturating_sub(24)).max(3);
        for (key, &(start, len)) in self.keys.iter().zip(&self.marks) {
            let space = " ".repeat(names.saturating_sub(width(&key.key)));
            let (shown, underline) = if width(&key.key) > names {
                (left(&fit(&key.key, names), names), None)
            } else if paint == Paint::On {
                (underlined(&key.key, start, len, paint) + &space, None)
            } else {
                (format!("{}{space}", key.key), Some(carets(&key.key, start, len)))
            };
            text.push_str(&format!("{shown}  slot {:>5}  shard {}\n", key.slot, key.shard));
            underline.iter().for_each(|line| text.push_str(&format!("{line}\n")));
        }
        text.push('\n');
        text.push_str(&self.verdict(paint));
        text.push('\n');
        if let Some(accident) = accident(&self.accidental_tags) {
            text.push_str(&format!("Note: {accident}.\n"));
        }
        if let (Some(tag), Some(kind)) = (&self.tag, self.kind) {
            let place = place(kind);
            text.push_str(&format!("With the hashtag {tag} {place} the keys they share a slot:\n"));
            self.rewritten.iter().for_each(|key| text.push_str(&format!("  {key}\n")));
        }
        for other in &self.other_tags {
            text.push_str(&format!("Or with {} {} the keys:\n", other.tag, place(other.kind)));
            other.rewritten.iter().for_each(|key| text.push_str(&format!("  {key}\n")));
        }
        if !self.is_one_slot {
            text.push_str("\nNext: slotway explain cross-slot-command\n");
        }
        text
    }

    fn verdict(&self, paint: Paint) -> String {
        match (self.is_one_slot, self.is_one_shard) {
            (true, _) if self.keys.len() == 1 => paint.good("One key is always in one slot."),
            (true, _) => paint.good("One slot: these keys can be used together."),
            (false, true) => paint.bad(
                "Different slots, even if one shard owns them all today: a cluster refuses these keys \
                 together.",
            ),
            (false, false) => {
                paint.bad("Different slots: a cluster refuses these keys together.")
            }
        }
    }
}

/// Splits a text into the characters before `start`, the `len` characters from there, and the rest.
fn parts(name: &str, start: usize, len: usize) -> [&str; 3] {
    let at = |chars: usize| name.char_indices().nth(chars).map_or(name.len(), |(at, _)| at);
    let (from, to) = (at(start), at(start.saturating_add(len)));
    [&name[..from], &name[from..to], &name[to..]]
}

/// A name with its hashed part underlined.
fn underlined(name: &str, start: usize, len: usize, paint: Paint) -> String {
    let [before, hashed, after] = parts(name, start, len);
    format!("{before}{}{after}", paint.with("4", hashed))
}

/// A line with a caret below each column of the hashed part.
fn carets(name: &str, start: usize, len: usize) -> String {
    let [before, hashed, _] = parts(name, start, len);
    format!("{}{}", " ".repeat(width(before)), "^".repeat(width(hashed)))
}

/// Start and length of the hashed part of a key as it is shown, in characters.
fn mark(key: &[u8]) -> (usize, usize) {
    let hashed = hashed_part(key);
    let chars = |bytes: &[u8]| crate::ledger::pattern::shown(bytes, usize::MAX).chars().count();
    if hashed.len() == key.len() {
        return (0, chars(key));
    }
    let open = key.iter().position(|&byte| byte == b'{').unwrap_or_default();
    (chars(&key[..=open]), chars(hashed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use insta::assert_snapshot;

    fn of(keys: &[&str]) -> Keys {
        let keys: Vec<Vec<u8>> = keys.iter().map(|key| key.as_bytes().to_vec()).collect();
        // Snapshots outlive versions.
        Keys { version: "0.0.0", ..Keys::of(&keys, 3) }
    }

    #[test]
    fn keys_of_one_slot() {
        let keys = of(&["{u}a", "{u}b", "u"]);
        assert_eq!((keys.exit_code, keys.is_one_slot), (0, true));
        assert_snapshot!(keys.page(80, Paint::Off));
    }

    #[test]
    fn the_hashed_part_of_a_wide_key_is_marked_where_it_stands() {
        let page = of(&["购物车:{用户:一}:总价", "{a}b"]).page(80, Paint::Off);
        let lines: Vec<&str> = page.lines().collect();
        assert!(lines[0].starts_with("购物车:{用户:一}:总价  slot"), "{page}");
        assert_eq!(lines[1], "        ^^^^^^^");
        assert!(lines[2].starts_with("{a}b                   slot"), "{page}");
        let painted = of(&["购物车:{用户:一}:总价"]).page(80, Paint::On);
        assert!(painted.starts_with("购物车:{\u{1b}[4m用户:一\u{1b}[0m}:总价  slot"), "{painted}");
    }

    #[test]
    fn keys_of_several_slots() {
        let keys = of(&["bull:q:wait", "bull:q:active", "x\u{1b}[2J:bull:q"]);
        assert_eq!((keys.exit_code, keys.tag.as_deref()), (EXIT_VIOLATIONS, Some("{bull:q}")));
        assert_snapshot!(keys.page(80, Paint::Off));
        assert_snapshot!(of(&["{u}a", "{v}b"]).page(80, Paint::On));
        assert_snapshot!(of(&["a", "b"]).json());
    }
}
