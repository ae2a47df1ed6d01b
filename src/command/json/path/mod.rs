//! JSONPath as RedisJSON 2.8 reads it, and its legacy paths.
//!
//! ```text
//! attempts   what a parser expected where it got furthest: the text of RedisJSON's errors
//! parse      a path into its elements
//! filter     the expressions of `[?…]`
//! walk       the values that a path matches, in order, with their places
//! ```
//!
//! It is a parser and an evaluator of its own, since no crate has RedisJSON's rules. Two dozen paths were
//! given to jsonpath-rust 1.0 and serde_json_path 0.7, which follow RFC 9535, to jsonpath_lib 0.3, which
//! has not been released since 2021, and to the server:
//!
//! | | RedisJSON 2.8 | RFC 9535 |
//! |---|---|---|
//! | `$.a-b`, `$.1`, `$.a/b`, `a.b` | names, a legacy path | errors |
//! | `$..*` | each value before its children | all children before theirs |
//! | `$[-9]` of four elements | the first | none |
//! | `$[::-1]`, `[?(!@)]`, `[?length(@)>1]` | errors | valid |
//! | `[?(@.*==1)]`, `=~` | valid: a path of one match, a regular expression | errors |
//! | `$.s[?(@)]` of a string | the string | none |
//!
//! jsonpath_lib differs in filters over arrays and objects, and in spaces. None has the texts of errors, gives
//! the places of matches in documents of another type, or bounds the work.

mod attempts;
mod parse;
mod filter;
mod walk;

pub(super) use parse::{Element, Path, PathText};
pub(super) use walk::{BY_NAME, Found, Walk};

/// How deep filters may be nested in a path. RedisJSON reads 10,000 parentheses, and 100,000 end its server;
/// its time doubles with each filter inside of brackets.
const NESTING_MAX: usize = 128;
/// How many values of a document a path may visit.
const STEPS_MAX: u64 = if cfg!(test) { 1_000_000 } else { 20_000_000 };
/// How many values a path may match: some match a value again and again.
const MATCHES_MAX: usize = 4_000_000;

#[cfg(test)]
mod tests;
