//! How a report writes its numbers: as everything here does, and what a histogram says.

pub(super) use crate::text::display::*;

use crate::load::report::Latency;

/// What this share of a histogram took at most.
pub(super) fn quantile(latency: &Latency, share: f64) -> String {
    if latency.count() == 0 {
        return NOTHING.to_owned();
    }
    time_ns(latency.quantile_ns(share) as f64)
}
