//! The tables of a report: the terminal and the HTML page show the same ones.

use super::form::{
    NOTHING, count, fit, percent, plain, plural, printable, quantile, rate, time_ns, times,
};
use crate::load::plan::{Kind, Plan, Shape};
use crate::load::report::{Comparison, KindTally, Latency, Ratio, Report, SweepReport, ratio};
use crate::report::table::Table;

/// Most slots in a table: the busiest.
const SLOTS_SHOWN: usize = 8;
/// Most shards in a table: the busiest.
const SHARDS_SHOWN: usize = 32;
/// Most kinds of error replies in a table.
const REFUSALS_SHOWN: usize = 12;
/// Fewer rounds than this are not conclusive.
const ROUNDS_MIN: usize = 3;
/// Columns of an example of an error reply.
const EXAMPLE_COLUMNS: usize = 42;

/// The tables of one run that are not empty, the most important first.
pub(super) fn of_run(report: &Report) -> Vec<Table> {
    let all = [
        Some(latency(report)),
        Some(outcomes(report)),
        kinds(report),
        refusals(report),
        shards(report),
        slots(report),
    ];
    all.into_iter().flatten().collect()
}

fn latency(report: &Report) -> Table {
    let row = |name: &str, latency: &Latency| {
        let mut row = vec![name.to_owned()];
        row.extend([0.5, 0.9, 0.99, 0.999, 0.9999].map(|share| quantile(latency, share)));
        row.push(quantile(latency, 1.0));
        row.push(if latency.count() == 0 {
            NOTHING.to_owned()
        } else {
            time_ns(latency.mean_ns())
        });
        row
    };
    let rows = vec![
        row("transaction", &report.transaction_latency),
        row("attempt", &report.attempt_latency),
    ];
    let head = ["", "p50", "p90", "p99", "p99.9", "p99.99", "max", "mean"];
    let table = Table::new("Latency", &head, rows);
    match report.plan.shape.rate {
        Some(_) => table.with_note("The latency of a transaction counts from its intended start."),
        None => table,
    }
}

fn outcomes(report: &Report) -> Table {
    let totals = &report.totals;
    let transactions = totals.committed + totals.declined + totals.given_up + totals.unknown;
    let mut rows = Vec::new();
    let mut row = |name: &str, number: u64, of: Option<(u64, &str)>, is_always: bool| {
        if number > 0 || is_always {
            let part = of.map_or(String::new(), |(whole, name)| {
                format!("{} of {name}", percent(ratio(number, whole)))
            });
            rows.push(vec![name.to_owned(), count(number), part]);
        }
    };
    let whole = Some((transactions, "transactions"));
    row("committed", totals.committed, whole, true);
    row("declined", totals.declined, whole, false);
    row("given up", totals.given_up, whole, false);
    row("outcome unknown", totals.unknown, whole, false);
    row("never started", totals.never_started, None, false);
    let attempts = Some((totals.attempts, "attempts"));
    row("attempts", totals.attempts, None, true);
    row("aborted", totals.aborted, attempts, true);
    row("refused", totals.refused, attempts, false);
    row("redirections followed", totals.redirected, None, false);
    row("reconnections", totals.reconnects, None, false);
    row("malformed replies", totals.malformed, None, false);
    let mut table = Table::new("Outcomes", &["", "number", "share"], rows);
    table.note = attempts_note(&report.attempts_per_commit);
    table
}

/// `Attempts per commit: 91.2 % took 1, 7.10 % took 2, 1.70 % took 3 or more.`
fn attempts_note(by_attempts: &[u64]) -> Option<String> {
    let whole: u64 = by_attempts.iter().sum();
    if by_attempts.iter().skip(1).sum::<u64>() == 0 {
        return None;
    }
    let shown = by_attempts.len().min(4);
    let mut parts: Vec<String> = (0..shown - 1)
        .map(|at| format!("{} took {}", percent(ratio(by_attempts[at], whole)), at + 1))
        .collect();
    let rest = by_attempts[shown - 1..].iter().sum();
    parts.push(format!("{} took {shown} or more", percent(ratio(rest, whole))));
    Some(format!("Attempts per commit: {}.", parts.join(", ")))
}

fn kinds(report: &Report) -> Option<Table> {
    let row = |kind: &KindTally| {
        vec![
            printable(&kind.name).into_owned(),
            count(kind.committed),
            percent(ratio(kind.aborted, kind.attempts)),
            percent(ratio(kind.refused, kind.attempts)),
            quantile(&kind.latency, 0.5),
            quantile(&kind.latency, 0.99),
        ]
    };
    let head = ["", "committed", "aborted", "refused", "p50", "p99"];
    (report.kinds.len() > 1)
        .then(|| Table::new("Kinds of transactions", &head, report.kinds.iter().map(row).collect()))
}

fn refusals(report: &Report) -> Option<Table> {
    let rows: Vec<Vec<String>> = report
        .refusals
        .iter()
        .map(|refusal| {
            vec![
                printable(&refusal.kind).into_owned(),
                count(refusal.count),
                if refusal.expected { "on purpose" } else { "" }.to_owned(),
                fit(&printable(&refusal.example), EXAMPLE_COLUMNS),
            ]
        })
        .collect();
    let head = ["", "number", "expected", "first reply"];
    let table = Table::new("Error replies", &head, rows).with_text_at(3).limited(REFUSALS_SHOWN);
    (!table.rows.is_empty()).then_some(table)
}

fn shards(report: &Report) -> Option<Table> {
    if report.shards.len() < 2 {
        return None;
    }
    let seconds = report.elapsed.as_secs_f64().max(f64::MIN_POSITIVE);
    let mut shown: Vec<usize> = (0..report.shards.len()).collect();
    if shown.len() > SHARDS_SHOWN {
        shown.sort_by_key(|&at| std::cmp::Reverse(report.shards[at].committed));
        shown.truncate(SHARDS_SHOWN);
    }
    let rows = shown
        .into_iter()
        .map(|at| {
            let shard = &report.shards[at];
            vec![
                printable(&shard.name).into_owned(),
                count(u64::from(shard.slots)),
                rate(shard.committed as f64 / seconds),
                percent(shard.share),
                times(shard.share / shard.fair),
                percent(ratio(shard.aborted, shard.attempts)),
                quantile(&shard.latency, 0.99),
            ]
        })
        .collect();
    let head = ["", "slots", "committed/s", "share", "of fair", "aborted", "p99"];
    let used = plural(report.slots.len() as u64, "slot");
    let busiest = times(report.imbalance());
    let note = format!("The busiest shard committed {busiest} its fair share; {used} in use.");
    Some(Table::new("Shards", &head, rows).with_note(note))
}

fn slots(report: &Report) -> Option<Table> {
    if report.slots.len() < 2 {
        return None;
    }
    let mut busiest: Vec<_> = report.slots.iter().collect();
    busiest.sort_by_key(|slot| (std::cmp::Reverse(slot.committed), slot.slot));
    let rows = busiest
        .into_iter()
        .take(SLOTS_SHOWN)
        .map(|slot| {
            let shard = report.shards.get(usize::from(slot.shard));
            vec![
                slot.slot.to_string(),
                shard.map_or(NOTHING.to_owned(), |shard| fit(&printable(&shard.name), 24)),
                count(slot.committed),
                percent(slot.share),
                percent(ratio(slot.aborted, slot.attempts)),
            ]
        })
        .collect();
    let head = ["", "shard", "committed", "share", "aborted"];
    Some(Table::new("Busiest slots", &head, rows).with_text_at(1))
}

/// The first and the last run of a sweep; a single run once.
pub(super) fn ends(sweep: &SweepReport) -> impl Iterator<Item = &(f64, Report)> {
    let last = if sweep.runs.len() > 1 { sweep.runs.last() } else { None };
    sweep.runs.first().into_iter().chain(last)
}

/// A row per run of a sweep.
pub(super) fn curve(sweep: &SweepReport) -> Table {
    let rows = sweep
        .runs
        .iter()
        .map(|(value, report)| {
            let latency = &report.transaction_latency;
            vec![
                plain(*value),
                rate(report.committed_per_second()),
                percent(report.totals.abort_rate()),
                rate(report.totals.attempts_per_commit()),
                quantile(latency, 0.5),
                quantile(latency, 0.99),
                quantile(latency, 0.999),
                percent(ratio(report.totals.refused, report.totals.attempts)),
            ]
        })
        .collect();
    let head =
        [sweep.axis.name(), "committed/s", "aborted", "attempts", "p50", "p99", "p99.9", "refused"];
    Table::new(format!("By {}", sweep.axis.name()), &head, rows).with_note("Attempts: per commit.")
}

/// A row per measure of a comparison of two targets.
pub(super) fn ratios(comparison: &Comparison) -> Table {
    let rows = comparison
        .ratios
        .iter()
        .map(|ratio| {
            vec![
                ratio.name.to_owned(),
                value(ratio, ratio.a),
                value(ratio, ratio.b),
                times(ratio.median),
                spread(ratio),
                winner(ratio, rounds(comparison)).to_owned(),
            ]
        })
        .collect();
    let head = ["", "a", "b", "a / b", "over the rounds", "better"];
    Table::new("Ratios", &head, rows).with_note("Medians over the rounds.")
}

/// The smallest and the largest ratio of a round.
pub(super) fn spread(ratio: &Ratio) -> String {
    if ratio.min.is_nan() {
        return NOTHING.to_owned();
    }
    format!("{} to {}", times(ratio.min), times(ratio.max))
}

/// The two ratios that lead: each number with what it means.
pub(super) fn verdicts(comparison: &Comparison) -> Vec<(String, String)> {
    let rounds = rounds(comparison);
    let verdict = |ratio: &Ratio| {
        let verdict = match winner(ratio, rounds) {
            "a" => "a is better in every round",
            "b" => "b is better in every round",
            _ if rounds < ROUNDS_MIN => "too few rounds to be sure",
            _ => "the rounds do not agree",
        };
        let (a, b) = (value(ratio, ratio.a), value(ratio, ratio.b));
        (times(ratio.median), format!("{}, a / b ({a} / {b}); {verdict}", ratio.name))
    };
    let named = |name| comparison.ratios.iter().find(|ratio| ratio.name == name);
    ["committed/s", "p99"].into_iter().filter_map(named).map(verdict).collect()
}

/// Rounds that both targets completed.
pub(super) fn rounds(comparison: &Comparison) -> usize {
    comparison.a.len().min(comparison.b.len())
}

/// The better target by a ratio, if all rounds agree and there are enough of them that chance is
/// unlikely.
pub(super) fn winner(ratio: &Ratio, rounds: usize) -> &'static str {
    if ratio.median.is_nan() {
        NOTHING
    } else if rounds < ROUNDS_MIN {
        "not clear"
    } else if ratio.min > 1.0 {
        if ratio.more_is_better { "a" } else { "b" }
    } else if ratio.max < 1.0 {
        if ratio.more_is_better { "b" } else { "a" }
    } else {
        "not clear"
    }
}

/// One side of a ratio in its unit.
pub(super) fn value(ratio: &Ratio, number: f64) -> String {
    match ratio.name {
        name if name.contains("rate") || name.contains("share") => percent(number),
        name if name.ends_with("/s") => rate(number),
        name if name.starts_with('p') || name == "max" || name == "mean" => time_ns(number),
        _ => rate(number),
    }
}

/// The load in one sentence: `50 connections on 1 thread, closed loop; 64 groups of 16 keys …`.
pub(super) fn load(plan: &Plan) -> String {
    let Shape { connections, threads, pipeline, groups, keys_per_group, .. } = plan.shape;
    let mut parts = vec![format!(
        "{} on {}",
        plural(connections as u64, "connection"),
        plural(threads as u64, "thread")
    )];
    if pipeline > 1 {
        parts.push(format!("{pipeline} in flight per connection"));
    }
    parts.push(match plan.shape.rate {
        Some(wanted) => format!("open loop at {}/s", rate(wanted)),
        None => "closed loop".to_owned(),
    });
    if plan.shape.think_us > 0 {
        parts.push(format!("think time {}", time_ns(plan.shape.think_us as f64 * 1e3)));
    }
    let keys =
        format!("{} of {}", plural(groups as u64, "group"), plural(keys_per_group as u64, "key"));
    let spread = super::command::distribution(&plan.shape.distribution);
    let mut text = format!("{}; {keys}, {spread}; seed {}", parts.join(", "), plan.seed);
    if plan.workload.cross > 0.0 {
        text.push_str(&format!("; {} cross slots on purpose", percent(plan.workload.cross)));
    }
    text
}

/// The name of the workload.
pub(super) fn workload(plan: &Plan) -> String {
    match (&plan.workload.file, plan.workload.kind) {
        (Some(file), Kind::File) => printable(&file.display().to_string()).into_owned(),
        (_, kind) => kind.name().to_owned(),
    }
}
