//! What to do after a report: the last sentence of a page, which ends with a command.

use super::document::{Report, UNREAD};
use super::rows::ViolationRow;
use crate::text::display::plural;

/// Commands that cluster clients divide by key.
const DIVISIBLE: [&str; 6] = ["mget", "mset", "del", "unlink", "exists", "touch"];

/// What is to be said if nothing but commands that divide by key crosses slots.
pub(super) fn division(report: &Report) -> Option<String> {
    let errors = || report.violations.iter().filter(|row| row.weight == "error");
    let divides = |row: &ViolationRow| {
        let is_lone = row.examples.iter().all(|example| example.place.is_none());
        is_lone && DIVISIBLE.contains(&&*row.command)
    };
    let mut names: Vec<String> = errors().map(|row| row.command.to_uppercase()).collect();
    names.sort();
    names.dedup();
    (!names.is_empty() && errors().all(divides)).then(|| {
        format!(
            "cluster clients divide {} by key: a cache with a cluster mode of its own needs no hashtag. Try \
             it: give it the nodes (REDIS_CLUSTER_NODES), or slotway run --cross-slot split. A clean page \
             through such a client does not show what the client emulates by itself",
            names.join(", ")
        )
    })
}

/// What is to be said of a run without violations whose commands were divided by slot.
pub(super) fn divided(report: &Report) -> Option<String> {
    let count = report.totals.divided_commands;
    (count > 0 && report.totals.errors == 0).then(|| {
        format!(
            "{} over slots divided by slot, as a cluster client does: the application's client must do \
             the same",
            plural(count, "command")
        )
    })
}

/// What to do next: first what the report lacks, then what it found.
pub(super) fn next(report: &Report) -> String {
    let mut unread = report.sources.iter().filter(|source| source.trouble.is_some()).peekable();
    if unread.peek().is_some() && unread.all(|source| source.format == UNREAD) {
        return "slotway check --format NAME FILE, if the form of what was not read is known"
            .to_owned();
    }
    if !report.is_whole() {
        return "repair or replace what could not be read (redis-check-aof, redis-check-rdb), and check \
                again"
            .to_owned();
    }
    if report.totals.refused_commands + report.totals.unknown_commands > 0 && report.is_run() {
        // Here the command cannot pass, or not as it would.
        return "check it beside a real server: redis-cli monitor | slotway check -".to_owned();
    }
    if report.has_failed() {
        return "make the command pass, and run it again".to_owned();
    }
    let is_new = |row: &&ViolationRow| !row.is_known;
    if let Some(row) = report.violations.iter().find(is_new).or(report.violations.first()) {
        return format!("slotway explain {}", row.rule);
    }
    let has_commands = report.totals.commands > 0 || report.totals.transactions > 0;
    match (report.is_run(), has_commands) {
        (true, false) => {
            "have the command connect to REDIS_URL or REDIS_CLUSTER_NODES, or set the variable that it \
             reads: slotway run --env NAME=TEMPLATE"
        }
        (true, true) => "keep it that way in CI: slotway run --report proof.xml -- COMMAND",
        (false, false) => {
            "check commands, too, for keys that are used together: redis-cli monitor | slotway check -"
        }
        (false, true) if report.totals.foreign_commands > 0 => {
            "check it again after a change: redis-cli monitor | slotway check -"
        }
        (false, true) => "run the application against it: slotway serve",
    }
    .to_owned()
}
