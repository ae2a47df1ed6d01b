//! What an application does that a cluster would refuse: counted by pattern of key, in bounded
//! memory.
//!
//! ```text
//! a request was refused, or would be   ──► violations   rule, command, patterns of the keys
//! a watched key was changed            ──► conflicts    pattern of the key, command that changed it
//! keys were used together              ──► key groups   groups, and the hashtag that would fix them
//! a key was used, or is stored         ──► key stats    slots, patterns, what a hashtag would cost
//! ```
//!
//! Pure: no I/O, no clock, chance from a fixed seed, so that the same input gives the same ledger.
//! Everything that grows with the input has a named bound; rows that made room are counted
//! ([`Ledger::forgotten`]).
//!
//! Which request breaks which rule is decided in [`judge`], for a running server and for files alike.

pub(crate) mod common_part;
pub(crate) mod conflict;
pub(crate) mod from_argument;
pub(crate) mod hashtag;
pub(crate) mod judge;
pub(crate) mod key_groups;
pub(crate) mod key_list;
pub(crate) mod key_stats;
pub(crate) mod lru;
pub(crate) mod namespace;
pub(crate) mod piece;
pub(crate) mod pattern;
pub(crate) mod price;
pub(crate) mod rule;
pub(crate) mod command_counts;
pub(crate) mod violation;

use key_groups::SET_KEYS_MAX;
use pattern::patterns;
use violation::PATTERNS_MAX;

pub(crate) use command_counts::CommandCounts;
pub(crate) use conflict::{Conflicts, LostExec};
pub(crate) use from_argument::FromArgument;
pub(crate) use key_groups::{Group, KeyGroups};
pub(crate) use key_list::KeyList;
pub(crate) use key_stats::KeyStats;
pub(crate) use rule::{Rule, Weight};
pub use violation::Spot;
pub(crate) use violation::{Breach, Fate, Origin, Violations};

/// How much was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Commands, those of scripts and transactions too.
    pub commands: u64,
    /// Transactions that were executed.
    pub transactions: u64,
    /// Scripts that were called.
    pub scripts: u64,
    /// Commands that ran on another server and that Slotway has not.
    pub foreign: u64,
    /// Commands that were divided by slot (`cross-slot split`).
    pub divided: u64,
}

/// The ledger.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// Requests that broke a rule.
    pub violations: Violations,
    /// Transactions that lost their guard.
    pub conflicts: Conflicts,
    /// Keys that were used together.
    pub key_groups: KeyGroups,
    /// Which keys there are, and how they are used.
    pub key_stats: KeyStats,
    /// Commands that were refused because they are not in the table, although servers run them. Their
    /// keys are judged.
    pub refused: CommandCounts,
    /// Commands that no server in the tables has: their keys cannot be found.
    pub unknown: CommandCounts,
    /// Commands of transactions that were too long to be kept, and so were not judged together.
    pub unjudged: u64,
    /// How much was seen.
    pub counts: Counts,
    /// The groups and the statistics of keys are estimates from a sample.
    pub is_sampled: bool,
    /// A part of it was reset: what it had until then is not in it.
    pub was_reset: bool,
    /// Notes that were dropped because the queue was full.
    pub dropped: u64,
}

impl Ledger {
    /// Enters a violation by keys that were used together. The pattern of each key is found once.
    pub(crate) fn enter_together(&mut self, breach: &Breach<'_>) {
        let keys = breach.keys;
        let kind = patterns(keys.iter().copied().take(SET_KEYS_MAX), SET_KEYS_MAX);
        self.key_groups.enter_of_kind(keys, &kind, 1);
        match keys.len() <= SET_KEYS_MAX && kind.len() <= PATTERNS_MAX {
            true => self.violations.enter_of_kind(breach, kind),
            false => self.violations.enter(breach),
        }
    }

    /// Returns how many rows of all kinds made room for others.
    #[must_use]
    pub fn forgotten(&self) -> u64 {
        self.violations.forgotten()
            + self.conflicts.forgotten()
            + self.key_groups.forgotten()
            + self.key_stats.forgotten()
    }
}
