//! The rows of a report: the JSON document field by field, as docs/proof.md promises it and a test
//! compares.
//!
//! Shares are 0 to 1; what is not known is null.

use crate::ledger::Rule;
use crate::text::display::{percent, plural};
use serde::Serialize;

/// A file that was read.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct SourceRow {
    pub name: String,
    pub format: &'static str,
    pub why: Option<String>,
    pub bytes: u64,
    pub trouble: Option<TroubleRow>,
}

/// Why a file was not read, or not to its end.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct TroubleRow {
    pub at: String,
    pub why: String,
    pub lines: Option<u64>,
}

/// Sums over everything that was read.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Totals {
    pub shards: usize,
    pub commands: u64,
    pub transactions: u64,
    pub scripts: u64,
    pub refused_commands: u64,
    pub foreign_commands: u64,
    pub divided_commands: u64,
    pub unknown_commands: u64,
    pub key_uses: u64,
    pub stored_keys: u64,
    pub stored_bytes: u64,
    pub different_keys: u64,
    pub is_exact: bool,
    pub is_sampled: bool,
    pub dropped: u64,
    pub errors: u64,
    pub warnings: u64,
    pub conflicts: u64,
    pub forgotten_rows: u64,
}

/// How often a rule was broken.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct RuleRow {
    pub rule: &'static str,
    pub weight: &'static str,
    pub count: u64,
    #[serde(skip)]
    pub of: Rule,
}

/// A kind of violation: rule, command and patterns of the keys.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ViolationRow {
    pub rule: &'static str,
    pub title: &'static str,
    pub weight: &'static str,
    pub command: String,
    pub patterns: Vec<String>,
    pub count: u64,
    /// Requests that it leads: transactions and scripts count once.
    pub units: u64,
    /// The row that leads the first unit that this one does not lead.
    pub within: Option<usize>,
    pub refused: u64,
    pub is_known: bool,
    pub first_ms: Option<u64>,
    pub last_ms: Option<u64>,
    pub clients: Vec<ClientRow>,
    pub other_clients: u64,
    pub examples: Vec<ExampleRow>,
    /// What to do about it beside the rule's own way out.
    pub advice: Option<String>,
    /// The group whose hashtag fixes it.
    pub group: Option<usize>,
    #[serde(skip)]
    pub of: Rule,
}

/// A client that caused a violation.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ClientRow {
    pub name: String,
    pub library: String,
    pub address: String,
    pub test: String,
    pub count: u64,
}

/// One occurrence of a violation.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ExampleRow {
    pub keys: Vec<KeyRow>,
    pub keys_hidden: usize,
    pub place: Option<usize>,
    pub client: String,
    pub at_ms: Option<u64>,
    pub spot: Option<String>,
    #[serde(skip)]
    pub line: Option<u64>,
    /// The client without its address.
    #[serde(skip)]
    pub label: String,
}

/// A key and where it belongs.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct KeyRow {
    pub key: String,
    /// Its bytes, if `key` does not show all of them as they are.
    pub hex: Option<String>,
    pub hashed: String,
    pub slot: u16,
    pub shard: usize,
}

/// A watched key, and the command that made transactions abort.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ConflictRow {
    pub pattern: String,
    pub command: String,
    pub count: u64,
    pub own: u64,
    pub ages: Vec<u64>,
    pub example: String,
    pub loser: String,
    pub winner: String,
}

/// Patterns of keys that are used together.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct GroupRow {
    pub patterns: Vec<String>,
    pub count: u64,
    pub crossing: u64,
    pub verdict: &'static str,
    /// `beginning`, `part` or `prefix`.
    pub kind: Option<&'static str>,
    pub tag: Option<String>,
    pub tag_values: Option<usize>,
    pub options: Vec<OptionRow>,
    pub rewritten: Vec<RewrittenRow>,
    pub key_price: Option<PriceRow>,
    pub use_price: Option<PriceRow>,
    pub other_tags: Vec<OtherTagRow>,
    pub accidental_tags: Vec<String>,
    pub strangers: Vec<StrangersRow>,
}

/// A further hashtag of a group.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct OtherTagRow {
    pub kind: &'static str,
    pub tag: String,
    pub tag_values: usize,
    pub rewritten: Vec<RewrittenRow>,
    pub key_price: Option<PriceRow>,
    pub use_price: Option<PriceRow>,
}

/// A library's option for the beginning of its keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct OptionRow {
    pub library: &'static str,
    pub option: &'static str,
}

/// A choice of hashtags for all groups that cross slots.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct WayOutRow {
    /// As that of a group, or `mixed`.
    pub kind: &'static str,
    pub tags: Vec<String>,
    /// Of so many groups that cross slots ...
    pub of: usize,
    /// ... so many are in one slot with it.
    pub mends: usize,
    pub options: Vec<OptionRow>,
    pub key_price: Option<PriceRow>,
    pub use_price: Option<PriceRow>,
}

/// A pattern with and without the hashtag of its group.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct RewrittenRow {
    pub pattern: String,
    pub key: String,
    pub new_pattern: String,
    pub new_key: String,
}

/// How a hashtag concentrates a group of keys: shares of 0 to 1.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct PriceRow {
    pub one_slot: f64,
    pub one_slot_now: f64,
    pub busiest_shard: f64,
    pub busiest_shard_now: f64,
}

/// Two keys of a group without a common part.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct StrangersRow {
    pub patterns: [String; 2],
    pub keys: [String; 2],
}

/// A kind of keys.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct PatternRow {
    pub pattern: String,
    pub uses: u64,
    pub keys: u64,
    pub bytes: u64,
    pub bytes_max: u64,
    pub slots: u32,
    pub example: String,
}

/// The load of a shard.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ShardRow {
    pub shard: usize,
    pub first_slot: u16,
    pub last_slot: u16,
    pub uses: u64,
    pub keys: u64,
    pub bytes: u64,
}

/// The load of a slot.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct SlotRow {
    pub slot: u16,
    pub shard: usize,
    pub uses: u64,
    pub keys: u64,
    pub bytes: u64,
    pub share: f64,
}

/// A large key.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct BigRow {
    pub key: String,
    pub kind: String,
    pub bytes: u64,
    pub slot: u16,
    pub shard: usize,
}

/// A command that was refused, or that is not known.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct CommandRow {
    pub command: String,
    pub count: u64,
}

/// How the violations compare with a baseline.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct BaselineRow {
    pub file: String,
    pub known: usize,
    pub new: usize,
    pub gone: Vec<String>,
}

/// Tags that a way out names; the groups have the others.
const TAGS_MAX: usize = 4;

impl WayOutRow {
    /// The tags to be named, and how many further ones there are.
    pub(super) fn named(&self) -> (Vec<String>, usize) {
        let named = self.tags.iter().take(TAGS_MAX).cloned().collect();
        (named, self.tags.len().saturating_sub(TAGS_MAX))
    }

    /// What follows the tags: where they belong, what that mends, how it is done, and its price.
    pub(super) fn shown(&self) -> String {
        let place = match self.kind {
            "mixed" => "group by group (see below)".to_owned(),
            "prefix" => format!("{} all keys", place(self.kind)),
            kind => format!("{} the keys", place(kind)),
        };
        let groups = match (self.mends, self.of) {
            (1, 1) => "the group of keys that crosses slots".to_owned(),
            (2, 2) => "both groups of keys that cross slots".to_owned(),
            (mends, of) if mends == of => format!("all {of} groups of keys that cross slots"),
            (mends, of) => format!("{mends} of {of} groups of keys that cross slots"),
        };
        let mend = if self.tags.len() == 1 { "mends" } else { "mend" };
        let mut text = format!("{place} {mend} {groups}");
        let effort = match (self.kind, options(&self.options)) {
            ("mixed", _) => None,
            ("part", _) => Some("finer, but written where the keys are built".to_owned()),
            (_, Some(options)) if self.tags.len() == 1 => Some(format!("set it by {options}")),
            // Of several, an option sets that of its library.
            (_, Some(options)) => Some(format!("use {options}")),
            _ => Some("a library may have an option for it".to_owned()),
        };
        effort.iter().for_each(|effort| text.push_str(&format!("; {effort}")));
        let price = price(&self.key_price, &self.use_price);
        price.iter().for_each(|price| text.push_str(&format!(". Price: {price}")));
        text
    }
}

/// `bee-queue's option prefix`; `None` if no library is known.
pub(super) fn options(options: &[OptionRow]) -> Option<String> {
    let each = options.iter().map(|of| match of.option {
        "" => format!("{}'s connection, before each key (it has no option)", of.library),
        option => format!("{}'s option {option}", of.library),
    });
    let all: Vec<String> = each.collect();
    (!all.is_empty()).then(|| all.join(" and "))
}

/// Where a hashtag of this kind is, to be followed by the keys.
pub(super) fn place(kind: &str) -> &'static str {
    match kind {
        "beginning" => "at the beginning of",
        "part" => "within",
        _ => "as a prefix of",
    }
}

/// The price by keys, or if there are none, by uses.
fn price(keys: &Option<PriceRow>, uses: &Option<PriceRow>) -> Option<String> {
    let keys = keys.as_ref().map(|price| price.shown("keys"));
    keys.or_else(|| Some(uses.as_ref()?.shown("uses")))
}

impl OtherTagRow {
    /// What follows the tag: where it belongs, and its price.
    pub(super) fn shown(&self) -> String {
        let price = price(&self.key_price, &self.use_price);
        let price = price.map_or_else(String::new, |price| format!(": {price}"));
        format!("{} the keys{price}", place(self.kind))
    }
}

impl GroupRow {
    /// Words on hashtags that are there by accident, and on keys that are perhaps none.
    pub(super) fn notes(&self) -> impl Iterator<Item = String> {
        let is_number = |pattern: &String| pattern == "<int>";
        let others = self.patterns.iter().any(|pattern| !is_number(pattern));
        let mixed = self.crossing > 0 && others && self.patterns.iter().any(is_number);
        let number = mixed.then(|| {
            "a key that is a number alone is often a value that a library passes as a key (a time): no \
             option of the library puts a hashtag into it"
                .to_owned()
        });
        accident(&self.accidental_tags).into_iter().chain(number)
    }
}

/// A word on hashtags that are there by accident: braces of JSON and the like.
pub(super) fn accident(tags: &[String]) -> Option<String> {
    (!tags.is_empty()).then(|| {
        format!(
            "these keys have a hashtag by accident: {}. Only what is in the first braces is hashed",
            tags.join(", ")
        )
    })
}

impl ClientRow {
    /// Whether it is the same client, whatever test was running.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        (&self.name, &self.library, &self.address) == (&other.name, &other.library, &other.address)
    }
}

impl ViolationRow {
    /// `3 times, in 1 transaction`.
    pub(super) fn often(&self) -> String {
        let times = plural(self.count, "time");
        if self.units == 0 || self.units == self.count {
            return times;
        }
        let in_multi = self.examples.iter().any(|example| example.place.is_some());
        let what = if in_multi { "transaction" } else { "request" };
        format!("{times}, in {}", plural(self.units, what))
    }
}

impl PriceRow {
    /// `12 % of the keys in one slot; the busiest shard has 45 % (now 35 %)`.
    pub(super) fn shown(&self, of: &str) -> String {
        format!(
            "{} of the {of} in one slot; the busiest shard has {} (now {})",
            percent(self.one_slot),
            percent(self.busiest_shard),
            percent(self.busiest_shard_now)
        )
    }
}
