//! The JSON document: the report, field by field.

use super::Report;

/// The whole document, without a line break.
///
/// # Panics
/// Never: there is nothing in it that JSON cannot hold.
#[must_use]
pub fn json(report: &Report) -> String {
    serde_json::to_string(report).expect("names are strings")
}
