//! JSONPath as RedisJSON 2.8 reads it, and its legacy paths.
//!
//! ```text
//! attempts   what a parser expected where it got furthest: the text of RedisJSON's errors
//! parse      a path into its elements
//! filter     the expressions of `[?…]`
//! walk       the values that a path matches, in order, with their places
//! ```
//!
//! It is a parser and an evaluator of its own, since no maintained crate has RedisJSON's rules. What was
//! compared (jsonpath-rust 1.0, serde_json_path 0.7, both of RFC 9535; jsonpath_lib 0.3, without a release
//! since 2021) differs in the syntax (names such as `$.a-b`, `$.1` and `$.a/b`, quotes in quotes, spaces,
//! no `!`, no functions, no step below 1), in the order of `..`, in what a filter makes of a path that
//! matches several values, in indices before the first element, which are the first, and in the texts of
//! errors. None gives the places of matches in a document of another type, or bounds the work.

mod attempts;
mod parse;
mod filter;
mod walk;

pub(super) use parse::{Element, Path, PathText};
pub(super) use walk::{BY_NAME, Found, Walk};

/// How deep filters may be nested in a path: beyond this RedisJSON's parser ends its server.
const NESTING_MAX: usize = 128;
/// How many values of a document a path may visit.
const STEPS_MAX: u64 = if cfg!(test) { 1_000_000 } else { 20_000_000 };
/// How many values a path may match: some match a value again and again.
const MATCHES_MAX: usize = 4_000_000;

#[cfg(test)]
mod tests;
