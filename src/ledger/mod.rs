//! What an application does that a cluster would not do: kept by pattern of key, in bounded memory.
//!
//! ```text
//! a request was refused, or would be   ──► violations   rule, command, patterns of the keys
//! a watched key was changed            ──► conflicts    pattern of the key, command that changed it
//! keys were used together              ──► key groups   groups, and the hashtag that would mend them
//! a key was used, or is stored         ──► key stats    slots, patterns, what a hashtag would cost
//! ```
//!
//! Pure: no I/O, no clock, chance from a fixed seed, so that the same input gives the same ledger.
//! Whatever grows from outside has a bound with a name; what had to make room is counted
//! ([`Ledger::forgotten`]).

pub mod key_stats;
pub mod conflict;
pub mod pattern;
pub mod rule;
pub mod lru;
pub mod hashtag;
pub mod key_groups;
pub mod unknown;
pub mod violation;

pub use conflict::{Conflicts, LostExec};
pub use key_groups::{Group, KeyGroups, Share, Verdict};
pub use key_stats::KeyStats;
pub use rule::{Rule, Weight};
pub use unknown::Unknown;
pub use violation::{Breach, Fate, Origin, Spot, Violations};

/// What was said, in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Commands, those of scripts and transactions too.
    pub commands: u64,
    /// Transactions that were executed.
    pub transactions: u64,
    /// Scripts.
    pub scripts: u64,
}

/// Everything that is kept.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// What broke a rule.
    pub violations: Violations,
    /// Which transactions lost.
    pub conflicts: Conflicts,
    /// What was used together.
    pub key_groups: KeyGroups,
    /// What there is, and how it is used.
    pub key_stats: KeyStats,
    /// Commands that are not known.
    pub unknown: Unknown,
    /// How much there was.
    pub counts: Counts,
    /// What was used together and the key_stats are of a part of it, reckoned up to the whole.
    pub is_sampled: bool,
    /// What there was no time to enter.
    pub dropped: u64,
}

impl Ledger {
    /// Rows of all kinds that had to make room for others.
    #[must_use]
    pub fn forgotten(&self) -> u64 {
        self.violations.forgotten()
            + self.conflicts.forgotten()
            + self.key_groups.forgotten()
            + self.key_stats.forgotten()
    }
}
