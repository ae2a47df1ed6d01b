//! What a reader should know before believing the numbers, each with what to do about it. These follow
//! from the report's other fields; what only the run itself could see stands in `Report::warnings`.

use super::{Results, form};
use crate::load::plan::Policy;
use crate::load::report::{Ending, Limit, Report, ratio};
use std::time::Duration;

/// A shorter run says little: caches, connections and timers have not settled.
const LENGTH_MIN: Duration = Duration::from_secs(3);
/// With fewer transactions p99 rests on fewer than ten of them.
const TRANSACTIONS_MIN: u64 = 1000;
/// A smaller part than this of the intended starts may be missing at the end of an open loop.
const LATE_SHARE_MAX: f64 = 0.01;
/// A larger part of the transactions given up is worth a word.
const GIVEN_UP_SHARE_MAX: f64 = 0.001;
/// Busier than this many times its share, a shard is the limit of what more shards could bring.
const IMBALANCE_MAX: f64 = 1.5;

/// What keeps runs from being all that was planned; then the gravest warning of each run. One that
/// differs only in its numbers is told once, with the first one's.
pub(super) fn of_several(results: &Results) -> Vec<String> {
    let runs = results.runs();
    let kind = |text: &str| -> String {
        text.split(' ').filter(|word| !word.contains(|c: char| c.is_ascii_digit())).collect()
    };
    let mut told: Vec<(String, Vec<&str>, bool)> = Vec::new();
    for run in &runs {
        let Some(warning) = warnings(run.report).into_iter().next() else { continue };
        match told.iter_mut().find(|(other, ..)| kind(other) == kind(&warning)) {
            Some((other, labels, is_same)) => {
                labels.push(&run.label);
                *is_same &= *other == warning;
            }
            None => told.push((warning, vec![&run.label], true)),
        }
    }
    let told = told.into_iter().map(|(warning, labels, is_same)| {
        let of = if is_same { String::new() } else { format!(", here of {}", labels[0]) };
        if labels.len() == runs.len() {
            format!("In all runs{of}: {warning}")
        } else {
            format!("{}{of}: {warning}", labels.join(", "))
        }
    });
    let cut_short = results
        .cut_short()
        .map(|failure| format!("Not all runs took place: {}", form::printable(&failure.message)));
    cut_short.into_iter().chain(told).collect()
}

/// The report's warnings, the gravest first.
#[must_use]
pub fn warnings(report: &Report) -> Vec<String> {
    let Report { totals, client, plan, .. } = report;
    let transactions = totals.committed + totals.declined + totals.given_up + totals.unknown;
    let mut all = Vec::new();
    if report.is_broken() {
        all.push(
            "An invariant was broken: the target lost or mixed up writes. See the evidence under Invariants before \
             anything else here."
                .to_owned(),
        );
    }
    match &report.ending {
        Ending::Finished => {}
        Ending::Stopped => all.push(format!(
            "Stopped by the user: the numbers are of the {} until then.",
            form::time(report.elapsed)
        )),
        Ending::TargetLost { why } => all.push(format!(
            "The target was lost, and the numbers are of the {} until then: {}",
            form::time(report.elapsed),
            form::printable(why)
        )),
    }
    match client.limit {
        Limit::NotClient => {}
        Limit::Client => {
            let busiest = client.threads.iter().copied().fold(0.0, f64::max);
            let advice = if plan.shape.threads < client.processors {
                format!("use more --threads than {}", plan.shape.threads)
            } else {
                "run the client on a machine with more processors, or several clients".to_owned()
            };
            all.push(format!(
                "The client was the limit, not the target: a thread of it was busy {} of the time. The target can \
                 do more than this; {advice}.",
                form::percent(busiest)
            ));
        }
        Limit::Machine if plan.target.url.is_none() => all.push(
            "Client and cluster share this machine, and it had no time left: neither shows what it can do alone. \
             Start `slotway serve` elsewhere and name it with --target."
                .to_owned(),
        ),
        Limit::Machine => all.push(
            "The client had to wait for a processor that others on this machine used, the target perhaps: neither \
             shows what it can do alone. Run the client on another machine, or end what else runs here."
                .to_owned(),
        ),
    }
    let seen = report.transaction_latency.count();
    if totals.committed == 0 && totals.attempts > 0 {
        let refusal = report.refusals.first().map(|refusal| form::printable(&refusal.example));
        let why = refusal.map_or(String::new(), |refusal| format!(" The first refusal: {refusal}"));
        all.push(format!("Nothing was committed.{why}"));
    } else if report.ending == Ending::Finished
        && (report.elapsed < LENGTH_MIN || seen < TRANSACTIONS_MIN)
    {
        all.push(format!(
            "The run was short: {} in {}. Rates and high percentiles of so little are chance; use --duration 10s \
             or longer.",
            form::plural(totals.committed, "commit"),
            form::time(report.elapsed)
        ));
    }
    if let Some(rate) = plan.shape.rate {
        let late = ratio(totals.never_started, totals.never_started + transactions);
        if late > LATE_SHARE_MAX {
            all.push(format!(
                "The rate of {}/s was not reached: {} of the transactions never started because every connection \
                 was busy. Latencies count from the intended start and grow with the run; use more --connections \
                 or a lower --rate.",
                form::rate(rate),
                form::percent(late)
            ));
        }
    }
    if totals.malformed > 0 {
        all.push(format!(
            "{} made no sense (wrong type, wrong number): is the target a Redis server?",
            form::plural(totals.malformed, "reply").replace("replys", "replies")
        ));
    }
    if totals.unknown > 0 {
        all.push(format!(
            "The outcome of {} is unknown, because no answer came after sending; none was sent again, and the \
             invariants allow for either outcome.",
            form::plural(totals.unknown, "transaction")
        ));
    }
    let given_up = ratio(totals.given_up, transactions);
    if given_up > GIVEN_UP_SHARE_MAX && plan.retry.policy != Policy::None {
        all.push(format!(
            "{} of the transactions were given up after {} attempts: use more --attempts or longer pauses (--pause, \
             --pause-max).",
            form::percent(given_up),
            plan.retry.attempts_max
        ));
    }
    if report.shards.len() > 1 && report.imbalance() > IMBALANCE_MAX {
        all.push(format!(
            "The busiest shard did {} of its fair share: more --groups, or hashtags that are chosen more evenly, \
             would spread the load.",
            form::times(report.imbalance())
        ));
    }
    all.extend(report.warnings.iter().map(|warning| form::printable(warning).into_owned()));
    all
}
