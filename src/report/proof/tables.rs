//! The tables of a report: terminal, Markdown and HTML show the same ones.

use super::Report;
use super::rows::CommandRow;
use crate::report::table::Table;
use crate::text::display::{bytes, count, percent};

/// Rows of each table; the JSON has more.
const ROWS_MAX: usize = 12;
/// The longest bar of a histogram, in characters.
const BAR: usize = 20;
/// Most shards shown.
const SHARDS_MAX: usize = 32;

/// The tables that are not empty.
pub(super) fn all(report: &Report) -> Vec<Table> {
    let of_keys = [patterns(report), shards(report), slots(report)];
    [conflicts(report), attempts(report), ages(report)]
        .into_iter()
        .chain(of_keys.into_iter().filter(|_| !report.is_small()))
        .chain([big(report), refused(report), unknown(report)])
        .filter(|table| !table.rows.is_empty())
        .map(without_empty_columns)
        .collect()
}

/// Leaves out columns that hold nothing but zeros.
fn without_empty_columns(mut table: Table) -> Table {
    for at in (1..table.head.len()).rev() {
        if table.rows.iter().all(|row| row[at].is_empty() || row[at] == "0" || row[at] == "0 B") {
            table.head.remove(at);
            table.rows.iter_mut().for_each(|row| drop(row.remove(at)));
        }
    }
    table
}

fn conflicts(report: &Report) -> Table {
    let rows = report.conflicts.iter().map(|row| {
        vec![row.pattern.clone(), row.command.clone(), count(row.count), age(&row.ages)]
    });
    let head = ["watched key", "changed by", "aborted", "age of WATCH"];
    Table::new("Conflicts", &head, rows.collect()).limited(ROWS_MAX)
}

/// How many attempts transactions with a WATCH took until they were committed.
fn attempts(report: &Report) -> Table {
    let all = &report.commits_by_attempts;
    let classes = all.iter().enumerate().map(|(at, &number)| {
        let more = if at + 1 == all.len() { " or more" } else { "" };
        (format!("{}{more}", at + 1), number)
    });
    // Without a conflict all of them took one.
    let classes = classes.filter(|_| !report.conflicts.is_empty()).collect();
    histogram("Attempts until commit", "attempts", "transactions", classes)
}

/// How old the WATCH was when its transaction was aborted.
fn ages(report: &Report) -> Table {
    let len = report.conflicts.iter().map(|row| row.ages.len()).max().unwrap_or(0);
    let class = |at: usize| report.conflicts.iter().filter_map(|row| row.ages.get(at)).sum::<u64>();
    let classes = (0..len).map(|at| (format!("< {} ms", count(1 << at)), class(at))).collect();
    histogram("Age of WATCH at abort", "age", "aborted", classes)
}

/// Classes in their order, up to the last one that is not empty, each with its share and a bar.
fn histogram(
    title: &'static str,
    class: &'static str,
    what: &'static str,
    mut classes: Vec<(String, u64)>,
) -> Table {
    let filled = classes.iter().rposition(|(_, number)| *number > 0).map_or(0, |last| last + 1);
    classes.truncate(filled);
    let all: u64 = classes.iter().map(|(_, number)| number).sum();
    let most = classes.iter().map(|(_, number)| *number).max().unwrap_or(0);
    let label = classes.iter().map(|(label, _)| label.len()).max().unwrap_or(0);
    let rows: Vec<Vec<String>> = classes
        .iter()
        .map(|(name, number)| {
            let bar = (*number as f64 / most as f64 * BAR as f64).ceil() as usize;
            let bar = format!("{name:<label$} {}", "#".repeat(bar));
            vec![bar.trim_end().to_owned(), count(*number), percent(*number as f64 / all as f64)]
        })
        .collect();
    Table::new(title, &[class, what, "share"], rows)
}

/// The upper bound of the class of the median age: `< 4 ms`.
fn age(ages: &[u64]) -> String {
    let all: u64 = ages.iter().sum();
    let mut sum = 0;
    let class = ages.iter().position(|count| {
        sum += count;
        sum > 0 && sum * 2 >= all
    });
    class.map_or_else(String::new, |class| format!("< {} ms", count(1 << class)))
}

fn patterns(report: &Report) -> Table {
    let rows = report.patterns.iter().map(|row| {
        vec![
            row.pattern.clone(),
            count(row.uses),
            count(row.keys),
            count(row.slots.into()),
            bytes(row.bytes),
            bytes(row.bytes_max),
        ]
    });
    let head = ["pattern", "uses", "keys", "slots", "bytes", "largest"];
    Table::new("Keys", &head, rows.collect()).limited(ROWS_MAX)
}

fn shards(report: &Report) -> Table {
    let all: u64 = report.map.iter().sum();
    let has_uses = report.totals.key_uses > 0;
    let rows = report.shards.iter().filter(|_| all > 0).map(|row| {
        let own = if has_uses { row.uses } else { row.keys };
        vec![
            format!("{}  {}-{}", row.shard, row.first_slot, row.last_slot),
            percent(own as f64 / all as f64),
            count(row.uses),
            count(row.keys),
            bytes(row.bytes),
        ]
    });
    Table::new("Shards", &["shard", "share", "uses", "keys", "bytes"], rows.collect())
        .limited(SHARDS_MAX)
}

fn slots(report: &Report) -> Table {
    let rows = report.hot_slots.iter().map(|row| {
        vec![
            format!("{} in shard {}", row.slot, row.shard),
            percent(row.share),
            count(row.uses),
            count(row.keys),
            bytes(row.bytes),
        ]
    });
    Table::new("Busiest slots", &["slot", "share", "uses", "keys", "bytes"], rows.collect())
        .limited(5)
}

fn big(report: &Report) -> Table {
    let rows = report
        .big_keys
        .iter()
        .map(|row| vec![row.key.clone(), row.kind.clone(), bytes(row.bytes), row.slot.to_string()]);
    Table::new("Largest keys", &["key", "kind", "bytes", "slot"], rows.collect()).limited(5)
}

fn refused(report: &Report) -> Table {
    commands("Refused commands", &report.refused_commands)
}

fn unknown(report: &Report) -> Table {
    commands("Unknown commands", &report.unknown_commands)
}

fn commands(title: &str, rows: &[CommandRow]) -> Table {
    let rows = rows.iter().map(|row| vec![row.command.clone(), count(row.count)]);
    Table::new(title, &["command", "times"], rows.collect()).limited(ROWS_MAX)
}
