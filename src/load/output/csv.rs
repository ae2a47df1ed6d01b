//! The time series: one row per run and interval. Times in seconds, latencies in milliseconds.

use super::Results;
use crate::load::report::ratio;
use std::fmt::Write;

/// The names of the columns in order.
pub(crate) const HEAD: [&str; 15] = [
    "run",
    "at_s",
    "width_s",
    "is_warmup",
    "committed",
    "committed_per_second",
    "attempts",
    "aborted",
    "abort_rate",
    "refused",
    "unknown",
    "p50_ms",
    "p99_ms",
    "p999_ms",
    "max_ms",
];

/// The rows below a head. No cell needs quoting: labels are our own.
#[must_use]
pub(crate) fn csv(results: &Results) -> String {
    let mut text = HEAD.join(",");
    text.push('\n');
    for run in results.runs() {
        for point in &run.report.series.points {
            let width = point.width.as_secs_f64();
            let per_second = if width > 0.0 { point.committed as f64 / width } else { 0.0 };
            // Without a commit there is no latency: an empty field, not zero.
            let ms = |ns: u64| {
                if point.committed == 0 { String::new() } else { format!("{:.6}", ns as f64 / 1e6) }
            };
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "{},{:.3},{:.3},{},{},{:.1},{},{},{:.6},{},{},{},{},{},{}",
                run.label,
                point.at.as_secs_f64(),
                width,
                u8::from(point.is_warmup),
                point.committed,
                per_second,
                point.attempts,
                point.aborted,
                ratio(point.aborted, point.attempts),
                point.refused,
                point.unknown,
                ms(point.p50_ns),
                ms(point.p99_ns),
                ms(point.p999_ns),
                ms(point.max_ns),
            );
        }
    }
    text
}
