//! The rows of a report: the JSON document field by field, as docs/proof.md promises it and a test
//! compares.
//!
//! Shares are 0 to 1; what is not known is null.

use crate::ledger::Rule;
use crate::text::display::percent;
use serde::Serialize;

/// A file that was read.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct SourceRow {
    pub name: String,
    pub format: &'static str,
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
    pub refused: u64,
    pub is_known: bool,
    pub first_ms: Option<u64>,
    pub last_ms: Option<u64>,
    pub clients: Vec<ClientRow>,
    pub other_clients: u64,
    pub examples: Vec<ExampleRow>,
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
}

/// A key and where it belongs.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct KeyRow {
    pub key: String,
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
    pub tag: Option<String>,
    pub tag_values: Option<usize>,
    pub rewritten: Vec<RewrittenRow>,
    pub key_price: Option<PriceRow>,
    pub use_price: Option<PriceRow>,
    pub strangers: Vec<StrangersRow>,
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
    pub kind: &'static str,
    pub bytes: u64,
    pub slot: u16,
    pub shard: usize,
}

/// A command that the check does not know.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct UnknownRow {
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
