//! The live line: the present state of a run.

use super::form::{NOTHING, percent, quantile, rate, time_ns};
use crate::load::plan::Plan;
use crate::load::report::Report;
use crate::load::{Phase, Snapshot};

/// The state of a run: `3 s  48,211 commits/s  12.4 % aborted  p99 1.84 ms`.
#[must_use]
pub(crate) fn line(glance: &Snapshot) -> String {
    let p99 = match glance.p99_ns {
        0 => NOTHING.to_owned(),
        ns => time_ns(ns as f64),
    };
    let numbers = format!(
        "{} s  {} commits/s  {} aborted  p99 {p99}",
        glance.elapsed_ms / 1000,
        rate(glance.committed_per_second as f64),
        percent(glance.abort_rate),
    );
    let broken =
        if glance.broken > 0 { format!("  {} BROKEN", glance.broken) } else { String::new() };
    match glance.phase {
        Phase::Preparing => "preparing the keys".to_owned(),
        Phase::WarmingUp => format!("warming up  {numbers}{broken}"),
        Phase::Running => format!("{numbers}{broken}"),
        Phase::Checking => format!("checking the invariants{broken}"),
        Phase::Finished => format!("done{broken}"),
    }
}

/// The progress of a run, 0 to 1; `None` while it is not known.
#[must_use]
pub(crate) fn part(glance: &Snapshot, plan: &Plan) -> Option<f64> {
    let by_time = plan.shape.duration().map(|duration| {
        let planned = duration.as_millis() as f64 + plan.shape.warmup_ms as f64;
        glance.elapsed_ms as f64 / planned.max(1.0)
    });
    let by_number = plan
        .shape
        .transactions
        .map(|transactions| glance.committed as f64 / transactions.max(1) as f64);
    let part = match (by_time, by_number) {
        (Some(time), Some(number)) => time.max(number),
        (time, number) => time.or(number)?,
    };
    match glance.phase {
        Phase::Preparing => None,
        Phase::WarmingUp | Phase::Running => Some(part.min(1.0)),
        Phase::Checking | Phase::Finished => Some(1.0),
    }
}

/// The result of one of several runs, in one line.
#[must_use]
pub(crate) fn step(label: &str, report: &Report) -> String {
    let verdict = if report.is_broken() {
        "  BROKEN"
    } else if report.is_undecided() {
        "  UNDECIDED"
    } else {
        ""
    };
    format!(
        "{label}  {} commits/s  {} aborted  p99 {}{verdict}",
        rate(report.committed_per_second()),
        percent(report.totals.abort_rate()),
        quantile(&report.transaction_latency, 0.99)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn glance(phase: Phase) -> Snapshot {
        Snapshot {
            phase,
            elapsed_ms: 3200,
            committed_per_second: 48_211,
            abort_rate: 0.1239,
            p99_ns: 1_840_000,
            committed: 250,
            broken: 0,
        }
    }

    #[test]
    fn the_line_shows_the_phase_and_the_numbers() {
        let numbers = "3 s  48,211 commits/s  12.4 % aborted  p99 1.84 ms";
        assert_eq!(line(&glance(Phase::Running)), numbers);
        assert_eq!(line(&glance(Phase::WarmingUp)), format!("warming up  {numbers}"));
        let broken = Snapshot { broken: 2, ..glance(Phase::Checking) };
        assert_eq!(line(&broken), "checking the invariants  2 BROKEN");
        let first = Snapshot { p99_ns: 0, committed_per_second: 0, ..glance(Phase::Running) };
        assert_eq!(line(&first), "3 s  0 commits/s  12.4 % aborted  p99 -");
    }

    #[test]
    fn progress_is_by_time_or_by_transactions() {
        let mut plan = Plan::default();
        plan.shape.warmup_ms = 6000;
        assert_eq!(part(&glance(Phase::Running), &plan), Some(0.2));
        plan.shape.transactions = Some(1000);
        assert_eq!(part(&glance(Phase::Running), &plan), Some(0.25));
        plan.shape.duration_ms = Some(10_000);
        assert_eq!(part(&glance(Phase::Running), &plan), Some(0.25));
        assert_eq!(part(&glance(Phase::Preparing), &plan), None);
        assert_eq!(part(&glance(Phase::Finished), &plan), Some(1.0));
    }
}
