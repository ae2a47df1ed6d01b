//! Keys that somebody names: the hashed part of each, its slot and shard, and whether they can be
//! used together.

use super::document::{KeyRow, key_row};
use super::{EXIT_VIOLATIONS, document};
use crate::ledger::hashtag;
use crate::ledger::violation::ExampleKey;
use crate::slot::{Slot, hashed_part};
use crate::text::display::{self, Paint, width};
use crate::topology::Topology;
use serde::Serialize;
use std::sync::Arc;

/// What there is to say of some keys.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "docs/proof.md tells of each field")]
pub struct Keys {
    pub schema: &'static str,
    pub version: &'static str,
    pub exit_code: u8,
    pub shards: usize,
    pub keys: Vec<KeyRow>,
    pub is_one_slot: bool,
    pub is_one_shard: bool,
    pub tag: Option<String>,
    pub rewritten: Vec<String>,
    /// By key: where its hashed part stands, in characters.
    #[serde(skip)]
    marks: Vec<(usize, usize)>,
}

impl Keys {
    /// Judges `keys` for so many shards.
    #[must_use]
    pub fn of(keys: &[Vec<u8>], shards: usize) -> Self {
        let topology = Topology::even(shards);
        let shard_of = |slot| topology.shard_of(slot);
        let slots: Vec<Slot> = keys.iter().map(|key| Slot::of(key)).collect();
        let all_one =
            |of: &dyn Fn(Slot) -> usize| slots.windows(2).all(|two| of(two[0]) == of(two[1]));
        let is_one_slot = all_one(&|slot| slot.index());
        // Each key is of a kind of its own here: what they have in common is all that counts.
        let patterns: Vec<Arc<str>> = keys.iter().map(|_| Arc::from("")).collect();
        let set: hashtag::Set = keys.iter().cloned().enumerate().collect();
        let found = if is_one_slot { None } else { hashtag::find(&patterns, &[set]).ok() };
        let rewritten = found.iter().flat_map(|tag| {
            let written = keys.iter().enumerate().filter_map(|(of, key)| tag.write(of, key));
            written.map(|key| ExampleKey::of(&key).key)
        });
        Self {
            schema: document::SCHEMA,
            version: env!("CARGO_PKG_VERSION"),
            exit_code: if is_one_slot { 0 } else { EXIT_VIOLATIONS },
            shards,
            keys: keys.iter().map(|key| key_row(&ExampleKey::of(key), &shard_of)).collect(),
            is_one_slot,
            is_one_shard: all_one(&shard_of),
            rewritten: rewritten.collect(),
            tag: found.map(|tag| tag.shown),
            marks: keys.iter().map(|key| mark(key)).collect(),
        }
    }

    /// As one line of JSON.
    ///
    /// # Panics
    /// Never: there is nothing in it that JSON cannot hold.
    #[must_use]
    pub fn json(&self) -> String {
        serde_json::to_string(self).expect("names are strings")
    }

    /// The page: the hashed part of each key is underlined.
    #[must_use]
    pub fn page(&self, columns: usize, paint: Paint) -> String {
        let mut text = String::new();
        let names = self.keys.iter().map(|key| width(&key.key)).max().unwrap_or(0);
        let names = names.min(columns.saturating_sub(24)).max(3);
        for (key, (start, len)) in self.keys.iter().zip(&self.marks) {
            let name = display::fit(&key.key, names);
            let space = " ".repeat(names - width(&name));
            let is_whole = width(&key.key) <= names;
            let shown = if is_whole { self.underlined(&name, *start, *len, paint) } else { name };
            text.push_str(&format!("{shown}{space}  slot {:>5}  shard {}\n", key.slot, key.shard));
            if paint == Paint::Off && is_whole {
                let line = format!("{}{}", " ".repeat(*start), "^".repeat(*len));
                text.push_str(&format!("{line}\n"));
            }
        }
        text.push('\n');
        let verdict = match (self.is_one_slot, self.is_one_shard) {
            (true, _) if self.keys.len() == 1 => paint.good("One key is always in one slot."),
            (true, _) => paint.good("One slot: they can be used together."),
            (false, true) => paint.bad(
                "Several slots, though one shard owns them all today: a cluster refuses them together.",
            ),
            (false, false) => paint.bad("Several slots: a cluster refuses them together."),
        };
        text.push_str(&verdict);
        text.push('\n');
        if self.rewritten.is_empty() && !self.is_one_slot {
            text.push_str("They have nothing in common that could be their hashtag.\n");
        } else if let Some(tag) = &self.tag {
            text.push_str(&format!("With the hashtag {tag} they can:\n"));
            self.rewritten.iter().for_each(|key| text.push_str(&format!("  {key}\n")));
        }
        if !self.is_one_slot {
            text.push_str("\nNext: slotway explain cross-slot-command\n");
        }
        text
    }

    fn underlined(&self, name: &str, start: usize, len: usize, paint: Paint) -> String {
        let part = |from: usize, len: usize| name.chars().skip(from).take(len).collect::<String>();
        let rest = part(start + len, usize::MAX);
        format!("{}{}{rest}", part(0, start), paint.with("4", &part(start, len)))
    }
}

/// Where the hashed part of a key stands in what is shown of it.
fn mark(key: &[u8]) -> (usize, usize) {
    let hashed = hashed_part(key);
    let shown = |bytes: &[u8]| width(&crate::ledger::pattern::shown(bytes, usize::MAX));
    if hashed.len() == key.len() {
        return (0, shown(key));
    }
    let open = key.iter().position(|&byte| byte == b'{').unwrap_or_default();
    (shown(&key[..=open]), shown(hashed))
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
    fn keys_of_several_slots() {
        let keys = of(&["bull:q:wait", "bull:q:active", "x\u{1b}[2J:bull:q"]);
        assert_eq!((keys.exit_code, keys.tag.as_deref()), (EXIT_VIOLATIONS, Some("{bull:q}")));
        assert_snapshot!(keys.page(80, Paint::Off));
        assert_snapshot!(of(&["{u}a", "{v}b"]).page(80, Paint::On));
        assert_snapshot!(of(&["a", "b"]).json());
    }
}
