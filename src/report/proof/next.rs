//! What to do after a report: the last sentence of a page, which ends with a command.

use super::document::Report;
use super::rows::ViolationRow;

/// What to do next: first what the report lacks, then what it found.
pub(super) fn next(report: &Report) -> String {
    if !report.is_whole() {
        return "repair or replace what could not be read (redis-check-aof, redis-check-rdb), and check \
                again"
            .to_owned();
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
        (false, true) => "run the application against it: slotway serve",
    }
    .to_owned()
}
