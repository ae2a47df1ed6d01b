//! What a reader should know before trusting the numbers, each with what to do about it. These
//! warnings follow from the report's other fields; those that only the run itself could see are in
//! `Report::warnings`.

use super::{Results, form};
use crate::load::plan::Policy;
use crate::load::report::{Ending, KeysEnding, Limit, Report, Verdict, ratio};
use std::time::Duration;

/// Shorter runs say little: caches, connections and timers have not settled.
const LENGTH_MIN: Duration = Duration::from_secs(3);
/// With fewer transactions p99 rests on fewer than ten of them.
const TRANSACTIONS_MIN: u64 = 1000;
/// The share of the intended starts of an open loop that may be missing without a warning.
const LATE_SHARE_MAX: f64 = 0.01;
/// The share of the transactions that may be given up without a warning.
const GIVEN_UP_SHARE_MAX: f64 = 0.001;
/// A shard with more than this many times its fair share limits what more shards could bring.
const IMBALANCE_MAX: f64 = 1.5;

/// The warnings of several runs: why there are fewer of them than planned, then of each run what
/// must not be missed, or else the most serious warning. Warnings that differ in their numbers only
/// are merged, with the numbers of the first.
pub(super) fn of_several(results: &Results) -> Vec<String> {
    let runs = results.runs();
    let kind = |text: &str| -> String {
        text.split(' ').filter(|word| !word.contains(|c: char| c.is_ascii_digit())).collect()
    };
    let mut merged: Vec<(String, Vec<&str>, bool)> = Vec::new();
    for run in &runs {
        let mut of_run = urgent(run.report);
        if of_run.is_empty() {
            of_run.extend(warnings(run.report).into_iter().next());
        }
        for warning in of_run {
            match merged.iter_mut().find(|(other, ..)| kind(other) == kind(&warning)) {
                Some((other, labels, is_same)) => {
                    labels.push(&run.label);
                    *is_same &= *other == warning;
                }
                None => merged.push((warning, vec![&run.label], true)),
            }
        }
    }
    let merged = merged.into_iter().map(|(warning, labels, is_same)| {
        let of = if is_same { String::new() } else { format!(" (numbers of {})", labels[0]) };
        if labels.len() == runs.len() {
            format!("In all runs{of}: {warning}")
        } else {
            format!("{}{of}: {warning}", labels.join(", "))
        }
    });
    let cut_short = results
        .cut_short()
        .map(|failure| format!("Not all runs took place: {}", form::printable(&failure.message)));
    cut_short.into_iter().chain(merged).collect()
}

/// The report's warnings, the most serious first.
#[must_use]
pub(crate) fn warnings(report: &Report) -> Vec<String> {
    let own = [
        limit(report),
        length(report),
        rate(report),
        malformed(report),
        unknown(report),
        given_up(report),
        imbalance(report),
    ];
    let seen = report.warnings.iter().map(|warning| form::printable(warning).into_owned());
    urgent(report).into_iter().chain(own.into_iter().flatten()).chain(seen).collect()
}

/// The warnings that must not be missed: whether the run proves anything, and keys that are not as
/// a run leaves them.
fn urgent(report: &Report) -> Vec<String> {
    let broken = report.is_broken().then(|| {
        "An invariant was broken: the target lost or mixed up writes. See the evidence under Invariants first."
            .to_owned()
    });
    let all = [broken, undecided(report), ending(report), old_keys(report), left_keys(report)];
    all.into_iter().flatten().collect()
}

/// The invariants that the run neither confirms nor refutes.
fn undecided(report: &Report) -> Option<String> {
    let why = |verdict: &Verdict| match verdict {
        Verdict::Undecided { why } => Some(form::printable(why).into_owned()),
        Verdict::Held | Verdict::Broken { .. } => None,
    };
    let mut whys = report.invariants.iter().filter_map(|invariant| why(&invariant.verdict));
    let first = whys.next()?;
    let (open, all) = (1 + whys.count() as u64, report.invariants.len());
    let verb = if open == 1 { "is" } else { "are" };
    Some(sentence(&format!(
        "{open} of {} {verb} undecided, so this run is no success: {first}",
        form::plural(all as u64, "invariant")
    )))
}

/// A text with one mark at its end.
fn sentence(text: &str) -> String {
    if text.ends_with(['.', '?', '!']) { text.to_owned() } else { format!("{text}.") }
}

fn old_keys(report: &Report) -> Option<String> {
    let keys = &report.keys;
    (keys.old > 0).then(|| {
        format!(
            "Old keys that begin with {} were on the target and were removed before this run: {}. An earlier run \
             leaves such keys if it is killed, breaks an invariant, or has --keep.",
            form::printable(&keys.begin_with),
            form::count(keys.old)
        )
    })
}

fn left_keys(report: &Report) -> Option<String> {
    let begin_with = form::printable(&report.keys.begin_with);
    match &report.keys.ending {
        KeysEnding::Removed | KeysEnding::Kept => None,
        KeysEnding::Evidence => Some(format!(
            "The keys were left on the target for you to inspect: they begin with {begin_with}."
        )),
        KeysEnding::NotRemoved { why } => Some(sentence(&format!(
            "The keys that begin with {begin_with} were not all removed: {}",
            form::printable(why)
        ))),
    }
}

/// The number of transactions with any outcome.
fn transactions(report: &Report) -> u64 {
    let totals = &report.totals;
    totals.committed + totals.declined + totals.given_up + totals.unknown
}

fn ending(report: &Report) -> Option<String> {
    let length = form::time(report.elapsed);
    match &report.ending {
        Ending::Finished => None,
        Ending::Stopped => {
            Some(format!("Stopped by the user: the numbers cover the first {length}."))
        }
        Ending::TargetLost { why } => Some(format!(
            "The target was lost; the numbers cover the {length} before: {}",
            form::printable(why)
        )),
    }
}

/// Whether the client or the machine, not the target, limited the throughput.
fn limit(report: &Report) -> Option<String> {
    let Report { client, plan, .. } = report;
    match client.limit {
        Limit::NotClient => None,
        Limit::Client => {
            let busiest = client.threads.iter().copied().fold(0.0, f64::max);
            let advice = if plan.shape.threads < client.processors {
                format!("use more --threads than {}", plan.shape.threads)
            } else {
                "run the client on a machine with more processors, or several clients".to_owned()
            };
            Some(format!(
                "The client was the limit, not the target: one of its threads was busy {} of the time. The target \
                 can do more than this; {advice}.",
                form::percent(busiest)
            ))
        }
        Limit::Machine if plan.target.url.is_none() => Some(
            "Client and cluster share this machine, and its processors were fully busy: neither shows what it can \
             do alone. Start `slotway serve` elsewhere and name it with --target."
                .to_owned(),
        ),
        Limit::Machine => Some(
            "The client had to wait for a processor that other processes on this machine used, perhaps the target: \
             neither shows what it can do alone. Run the client on another machine, or stop the other processes."
                .to_owned(),
        ),
    }
}

/// Whether there are too few transactions to measure anything.
fn length(report: &Report) -> Option<String> {
    let totals = &report.totals;
    if totals.committed == 0 && totals.attempts > 0 {
        let refusal = report.refusals.first().map(|refusal| form::printable(&refusal.example));
        let why = refusal.map_or(String::new(), |reply| format!(" The first error reply: {reply}"));
        return Some(format!("Nothing was committed.{why}"));
    }
    let is_short =
        report.elapsed < LENGTH_MIN || report.transaction_latency.count() < TRANSACTIONS_MIN;
    (report.ending == Ending::Finished && is_short).then(|| {
        format!(
            "The run was short: {} in {}. Rates and high percentiles of so few are chance; use --duration 10s or \
             longer.",
            form::plural(totals.committed, "commit"),
            form::time(report.elapsed)
        )
    })
}

/// Whether an open loop fell behind its rate.
fn rate(report: &Report) -> Option<String> {
    let wanted = report.plan.shape.rate?;
    let missing = report.totals.never_started;
    let late = ratio(missing, missing + transactions(report));
    (late > LATE_SHARE_MAX).then(|| {
        format!(
            "The rate of {}/s was not reached: {} of the transactions never started because every connection was \
             busy. Latencies count from the intended start and grow with the run; use more --connections or a lower \
             --rate.",
            form::rate(wanted),
            form::percent(late)
        )
    })
}

fn malformed(report: &Report) -> Option<String> {
    let replies = match report.totals.malformed {
        0 => return None,
        1 => "1 reply was".to_owned(),
        n => format!("{} replies were", form::count(n)),
    };
    Some(format!("{replies} malformed (wrong type, wrong number): is the target a Redis server?"))
}

fn unknown(report: &Report) -> Option<String> {
    (report.totals.unknown > 0).then(|| {
        format!(
            "The outcome of {} is unknown: no reply came after sending. None was sent again, and the \
             invariants allow for either outcome.",
            form::plural(report.totals.unknown, "transaction")
        )
    })
}

fn given_up(report: &Report) -> Option<String> {
    let (share, retry) = (ratio(report.totals.given_up, transactions(report)), &report.plan.retry);
    (share > GIVEN_UP_SHARE_MAX && retry.policy != Policy::None).then(|| {
        format!(
            "{} of the transactions were given up after {} attempts: use more --attempts or longer pauses (--pause, \
             --pause-max).",
            form::percent(share),
            retry.attempts_max
        )
    })
}

fn imbalance(report: &Report) -> Option<String> {
    (report.shards.len() > 1 && report.imbalance() > IMBALANCE_MAX).then(|| {
        format!(
            "The busiest shard committed {} its fair share: more --groups, or hashtags that are spread more evenly, \
             would balance the load.",
            form::times(report.imbalance())
        )
    })
}
