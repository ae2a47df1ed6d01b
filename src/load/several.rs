//! Several runs: sweeps and comparisons.

use super::Progress;
use super::failure::Failure;
use super::plan::{Plan, Sweep, Target};
use super::report::{Comparison, Ending, Ratio, Report, SweepReport};
use super::run::run;
use super::setup_client::SetupClient;
use super::target::Endpoint;

/// Runs the plan once for each value of the sweep; calls `each` after every run.
///
/// # Errors
/// As [`run`], of the first run. If a later one has no report, the sweep is cut short.
pub fn sweep(
    plan: &Plan,
    sweep: &Sweep,
    progress: &Progress,
    each: &mut dyn FnMut(f64, &Report),
) -> Result<SweepReport, Failure> {
    for &value in &sweep.values {
        sweep.apply(plan, value).check()?;
    }
    let (mut runs, mut cut_short) = (Vec::new(), None);
    for &value in &sweep.values {
        let report = match run(&sweep.apply(plan, value), progress) {
            Ok(report) => report,
            Err(failure) if runs.is_empty() => return Err(failure),
            Err(failure) => {
                cut_short = Some(failure);
                break;
            }
        };
        each(value, &report);
        let is_over = report.ending != Ending::Finished;
        runs.push((value, report));
        if is_over {
            break;
        }
    }
    Ok(SweepReport { axis: sweep.axis, runs, cut_short })
}

/// Runs the plan against its own target (a) and another one (b), `rounds` times each, in the order
/// a b b a a b …, so that drift affects both alike; calls `each` after every run, with whether it
/// was a run of b.
///
/// # Errors
/// As [`run`], of the first run, or one of the targets cannot be used at all. If a later run has no
/// report, the comparison is cut short.
pub fn compare(
    plan: &Plan,
    other: &Target,
    rounds: usize,
    progress: &Progress,
    each: &mut dyn FnMut(bool, &Report),
) -> Result<Comparison, Failure> {
    let plans = [plan.clone(), Plan { target: other.clone(), ..plan.clone() }];
    plans.iter().try_for_each(Plan::check)?;
    plans.iter().try_for_each(|plan| probe_target(&plan.target))?;
    let mut runs = [Vec::new(), Vec::new()];
    let mut cut_short = None;
    let order = (0..rounds).flat_map(|round| if round % 2 == 0 { [0, 1] } else { [1, 0] });
    for which in order {
        let report = match run(&plans[which], progress) {
            Ok(report) => report,
            Err(failure) if runs.iter().all(Vec::is_empty) => return Err(failure),
            Err(failure) => {
                cut_short = Some(failure);
                break;
            }
        };
        each(which == 1, &report);
        let is_over = report.ending != Ending::Finished;
        runs[which].push(report);
        if is_over {
            break;
        }
    }
    let [a, b] = runs;
    Ok(Comparison { ratios: ratios(&a, &b), a, b, cut_short })
}

/// Checks that a target can be used, so that a mistyped address does not cost a round.
fn probe_target(target: &Target) -> Result<(), Failure> {
    let Some(url) = &target.url else { return Ok(()) };
    SetupClient::new(Endpoint::new(target, url.clone())?)?.server_identity().map(|_| ())
}

fn ratios(a: &[Report], b: &[Report]) -> Vec<Ratio> {
    type Number = fn(&Report) -> f64;
    let numbers: [(&'static str, bool, Number); 5] = [
        ("committed/s", true, Report::committed_per_second),
        ("p50", false, |report| report.transaction_latency.quantile_ns(0.5) as f64),
        ("p99", false, |report| report.transaction_latency.quantile_ns(0.99) as f64),
        ("abort rate", false, |report| report.totals.abort_rate()),
        ("attempts per commit", false, |report| report.totals.attempts_per_commit()),
    ];
    // A run that was cut off is not comparable; it is used only if there is no whole one.
    let is_whole =
        |(a, b): &(&Report, &Report)| a.ending == Ending::Finished && b.ending == Ending::Finished;
    let mut rounds: Vec<(&Report, &Report)> = a.iter().zip(b).filter(is_whole).collect();
    if rounds.is_empty() {
        rounds = a.iter().zip(b).collect();
    }
    let of = |(name, more_is_better, number): (&'static str, bool, Number)| {
        let (of_a, of_b): (Vec<f64>, Vec<f64>) =
            rounds.iter().map(|(a, b)| (number(a), number(b))).unzip();
        let ratios: Vec<f64> =
            of_a.iter().zip(&of_b).map(|(a, b)| if *b == 0.0 { f64::NAN } else { a / b }).collect();
        Ratio {
            name,
            more_is_better,
            a: median(&of_a),
            b: median(&of_b),
            median: median(&ratios),
            min: ratios.iter().copied().fold(f64::NAN, f64::min),
            max: ratios.iter().copied().fold(f64::NAN, f64::max),
        }
    };
    numbers.into_iter().map(of).collect()
}

/// The median; NaN if there are no numbers.
fn median(numbers: &[f64]) -> f64 {
    let mut sorted: Vec<f64> = numbers.iter().copied().filter(|number| !number.is_nan()).collect();
    sorted.sort_by(f64::total_cmp);
    match (sorted.len(), sorted.len() / 2) {
        (0, _) => f64::NAN,
        (len, middle) if len % 2 == 1 => sorted[middle],
        (_, middle) => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert!(median(&[]).is_nan());
        assert_eq!((median(&[3.0, 1.0, 2.0]), median(&[4.0, 1.0])), (2.0, 2.5));
    }
}
