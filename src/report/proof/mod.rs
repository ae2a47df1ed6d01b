//! The proof: what a ledger has recorded, in the formats that people and programs read.
//!
//! ```text
//!                    ┌─ text       the page in the terminal
//!                    ├─ json       everything, by a numbered schema (docs/proof.md)
//! Found    ─► Report ┼─ markdown   for a comment on a change
//!                    ├─ junit      a test case per rule
//!                    ├─ sarif      results per kind of violation
//!                    └─ html       one file: slot map, groups, violations
//! ```

pub(crate) mod baseline;
pub(crate) mod document;
mod gaps;
mod groups;
pub(crate) mod html;
pub(crate) mod json;
#[cfg(feature = "check")]
pub(crate) mod junit;
pub(crate) mod keys;
pub(crate) mod markdown;
mod next;
pub(crate) mod rows;
pub(crate) mod sarif;
mod tables;
pub(crate) mod text;

pub(crate) use baseline::Baseline;
pub(crate) use document::{Found, Report, Source, Trouble, UNREAD};
pub(crate) use gaps::Ended;
pub(crate) use rows::{ConflictRow, GroupRow, ViolationRow};

/// Exit code of a check that found a violation.
pub(crate) const EXIT_VIOLATIONS: u8 = 3;
/// Exit code of a report with a gap: it found no violation, or not all of them.
pub(crate) const EXIT_NOT_PROVEN: u8 = 4;
/// Exit code of a check whose input could not be read, or not to its end.
pub(crate) const EXIT_INPUT: u8 = 2;
