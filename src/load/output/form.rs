//! Numbers in reports: those of [`crate::text::display`], and quantiles of a histogram.

pub(super) use crate::text::display::*;

use crate::load::report::Latency;

/// The latency that this share of a histogram does not exceed.
pub(super) fn quantile(latency: &Latency, share: f64) -> String {
    if latency.count() == 0 {
        return NOTHING.to_owned();
    }
    time_ns(latency.quantile_ns(share) as f64)
}
