//! The latency distribution of transactions in HdrHistogram's text format, which its plotter and
//! many scripts read: value in milliseconds, percentile, cumulative count, 1 / (1 - percentile).

use super::Results;
use crate::load::report::Latency;
use std::fmt::Write;

/// Steps per halving of the remaining percentiles: HdrHistogram's default.
const STEPS_PER_HALF: u32 = 5;
const NS_PER_MS: f64 = 1e6;

/// Returns the texts of all distributions, each with the suffix of its file name: none for a single
/// run, the value of a sweep (`groups-4`), the side of a comparison (`a`, `b`; all rounds
/// together).
#[must_use]
pub(crate) fn files(results: &Results) -> Vec<(String, String)> {
    match results {
        Results::Run(report) => vec![(String::new(), hgrm(&report.transaction_latency))],
        Results::Sweep(_) => results
            .runs()
            .iter()
            .map(|run| (run.label.replace('=', "-"), hgrm(&run.report.transaction_latency)))
            .collect(),
        Results::Comparison(comparison) => [("a", &comparison.a), ("b", &comparison.b)]
            .into_iter()
            .map(|(side, reports)| {
                let mut all = Latency::default();
                reports.iter().for_each(|report| all.add(&report.transaction_latency));
                (side.to_owned(), hgrm(&all))
            })
            .collect(),
    }
}

/// One distribution.
#[must_use]
pub(crate) fn hgrm(latency: &Latency) -> String {
    let histogram = &latency.histogram;
    let mut text = format!(
        "{:>12} {:>14} {:>10} {:>14}\n\n",
        "Value", "Percentile", "TotalCount", "1/(1-Percentile)"
    );
    let mut total = 0;
    // Writing to a string cannot fail.
    for step in histogram.iter_quantiles(STEPS_PER_HALF) {
        total += step.count_since_last_iteration();
        let value = step.value_iterated_to() as f64 / NS_PER_MS;
        let share = step.quantile_iterated_to();
        let _ = write!(text, "{value:>12.3} {share:>14.12} {total:>10}");
        let _ = if share < 1.0 {
            writeln!(text, " {:>14.2}", 1.0 / (1.0 - share))
        } else {
            writeln!(text)
        };
    }
    let _ = writeln!(
        text,
        "#[Mean    = {:>12.3}, StdDeviation   = {:>12.3}]\n#[Max     = {:>12.3}, Total count    = {:>12}]\n\
         #[Buckets = {:>12}, SubBuckets     = {:>12}]",
        histogram.mean() / NS_PER_MS,
        histogram.stdev() / NS_PER_MS,
        histogram.max() as f64 / NS_PER_MS,
        histogram.len(),
        histogram.buckets(),
        // As HdrHistogram computes it: twice the numbers of so many digits, up to a power of two.
        (2 * 10_u64.pow(u32::from(histogram.sigfig()))).next_power_of_two(),
    );
    text
}
