//! The sections of command, error and latency statistics.

use super::super::super::{ServerCx, Spec, numbered};
use super::{Fields, InfoCx};
use crate::state::{CommandCounts, CommandStats};

/// The sum of the command statistics of all shards and of the commands that run outside them.
pub(in crate::command::server) fn sum(cx: &ServerCx<'_>) -> CommandStats {
    let mut sum = CommandStats::default();
    cx.tallies.iter().for_each(|stats| sum.add(stats));
    for node in cx.covered() {
        node.observer.commandstats.each(|stats| sum.add(stats));
    }
    sum
}

/// The statistics that are not empty, each with the row of its command.
pub(in crate::command::server) fn rows(
    stats: &CommandStats,
) -> impl Iterator<Item = (&'static Spec, &CommandCounts)> {
    stats.counted().filter_map(|(id, row)| Some((numbered(id)?, row)))
}

pub(super) fn commandstats(info: &InfoCx<'_, '_>, fields: &mut Fields<'_>) {
    for (spec, row) in rows(info.commands) {
        let usec = info.cx.node.observer.nanos(row.ticks) / 1000;
        let each = if row.calls == 0 { 0.0 } else { usec as f64 / row.calls as f64 };
        let (calls, rejected, failed) = (row.calls, row.rejected, row.failed);
        fields.put(
            &format!("cmdstat_{}", spec.full_name()),
            format_args!(
                "calls={calls},usec={usec},usec_per_call={each:.2},rejected_calls={rejected},\
                 failed_calls={failed}"
            ),
        );
    }
}

pub(super) fn errorstats(info: &InfoCx<'_, '_>, fields: &mut Fields<'_>) {
    for (code, count) in info.commands.errors() {
        let name = format!("errorstat_{}", String::from_utf8_lossy(code));
        fields.put(&name, format_args!("count={count}"));
    }
}

pub(super) fn latencystats(info: &InfoCx<'_, '_>, fields: &mut Fields<'_>) {
    let (settings, observer) = (&info.cx.node.settings, &info.cx.node.observer);
    if !settings.tracks_latency() {
        return;
    }
    let percentiles = settings.percentiles();
    for (spec, row) in rows(info.commands) {
        let Some(times) = &row.times else { continue };
        let each = percentiles.iter().map(|&percent| {
            let micros = observer.nanos(times.percentile(percent)) as f64 / 1000.0;
            format!("p{percent}={micros:.3}")
        });
        let name = format!("latency_percentiles_usec_{}", spec.full_name());
        fields.put(&name, each.collect::<Vec<_>>().join(","));
    }
}
