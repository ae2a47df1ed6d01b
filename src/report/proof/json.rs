//! The JSON document: the report, field by field.

use super::Report;

/// The document, in one line.
///
/// # Panics
/// Never: all map keys are strings, and every number is finite.
#[must_use]
pub(crate) fn json(report: &Report) -> String {
    serde_json::to_string(report).expect("names are strings")
}
