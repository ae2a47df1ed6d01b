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

pub mod baseline;
pub mod document;
pub mod html;
pub mod json;
#[cfg(feature = "check")]
pub mod junit;
pub mod keys;
pub mod markdown;
mod next;
pub mod rows;
pub mod sarif;
mod tables;
pub mod text;

pub use baseline::Baseline;
pub use document::{Found, Report, Source, Trouble};
pub use rows::{ConflictRow, GroupRow, ViolationRow};

/// Exit code of a check that found a violation.
pub const EXIT_VIOLATIONS: u8 = 3;
/// Exit code of a check whose input could not be read, or not to its end.
pub const EXIT_INPUT: u8 = 2;
