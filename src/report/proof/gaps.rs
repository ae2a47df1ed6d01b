//! What keeps a report from being a proof: what was refused here although servers run it, what is not
//! known, what was not seen. A report with a gap is not clean, whatever else it found.

use super::document::{Found, Source};
use super::rows::CommandRow;
use crate::text::display::{plural, printable};

/// Names of commands in a sentence; the tables have more.
const NAMES_MAX: usize = 4;

/// How the command of `slotway run` ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    /// Its exit code, as in a shell.
    pub code: u8,
    /// Connections that were still open when it had ended.
    pub open_connections: usize,
}

/// Exit codes from here on say which signal ended a command, as in a shell.
const BY_SIGNAL: u8 = 128;

/// Returns the gaps, each a sentence without its full stop.
pub(super) fn gaps(
    found: &Found<'_>,
    sources: &[Source],
    refused: &[CommandRow],
    unknown: &[CommandRow],
    ended: Option<Ended>,
) -> Vec<String> {
    let ledger = found.ledger;
    let is_live = sources.iter().any(|source| matches!(source.format, "run" | "live"));
    let mut gaps = Vec::new();
    if let Some(Ended { code: code @ 1.., .. }) = ended {
        let how = match code.checked_sub(BY_SIGNAL) {
            Some(signal @ 1..) => format!("was ended by signal {signal}"),
            _ => format!("failed with exit code {code}"),
        };
        gaps.push(format!("the command {how}: what it did not get to do was not seen"));
    }
    if let Some(Ended { open_connections: open @ 1.., .. }) = ended {
        let connections = plural(open as u64, "connection");
        gaps.push(format!(
            "{connections} still open when the command had ended: what came over them later was not seen"
        ));
    }
    let is_run = sources.iter().any(|source| source.format == "run");
    let is_silent = ledger.counts.commands + ledger.counts.transactions == 0;
    if is_run && ledger.was_reset {
        gaps.push("the records were reset while the command ran".to_owned());
    } else if is_run && is_silent {
        gaps.push("the command sent nothing to the cluster: nothing was checked".to_owned());
    }
    let times = |count: u64| if count == 1 { "once".to_owned() } else { plural(count, "time") };
    if ledger.refused.total > 0 {
        gaps.push(format!(
            "Slotway has no {} in this dialect: the application was refused {} and did something else from there",
            names(refused),
            times(ledger.refused.total)
        ));
    }
    if ledger.unknown.total > 0 && is_live {
        gaps.push(format!(
            "no server that Slotway knows has {}: the application was refused {}, and the keys were not \
             checked",
            names(unknown),
            times(ledger.unknown.total)
        ));
    } else if ledger.unknown.total > 0 {
        let commands = plural(ledger.unknown.total, "command");
        gaps.push(format!(
            "no server that Slotway knows has {}: the keys of {commands} were not checked",
            names(unknown)
        ));
    }
    for source in sources {
        let gap = source.gap.as_ref();
        gaps.extend(gap.map(|gap| format!("{}: {gap}", printable(&source.name))));
    }
    if ledger.unjudged > 0 {
        let commands = plural(ledger.unjudged, "command");
        gaps.push(format!(
            "{commands} of transactions were too much to keep and were not judged together"
        ));
    }
    if ledger.dropped > 0 {
        let records = plural(ledger.dropped, "record");
        gaps.push(format!("{records} of violations or conflicts dropped: they came too fast"));
    }
    gaps
}

/// `JSON.SET, VADD and 3 more`.
fn names(rows: &[CommandRow]) -> String {
    let shown = rows.iter().take(NAMES_MAX);
    let shown: Vec<String> =
        shown.map(|row| printable(&row.command).to_uppercase().replace('|', " ")).collect();
    let more = rows.len().saturating_sub(NAMES_MAX);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{more}", shown.join(", "))
}
