//! LATENCY: how long commands take, and the spikes among them.
//!
//! HISTOGRAM reports what `latency-tracking` has recorded for each command; the others report the
//! spikes above `latency-monitor-threshold`.

use super::super::spec::flag::{LOADING, STALE};
use super::super::spec::{SAME, Variant};
use super::super::{find, help};
use super::info::{rows, sum};
use super::*;
use crate::dialect::servers;
use crate::state::{Histogram, LatencySpike};
use std::fmt::Write;

/// Defaults of the subcommands' rows.
const LATENCY: Spec = Spec {
    parent: "latency",
    arity: Exactly(2),
    flags: ADMIN | NOSCRIPT | LOADING | STALE,
    since: "2.8.13",
    tips: &["nondeterministic_output", "request_policy:all_nodes", "response_policy:special"],
    ..SERVER
};

pub(super) const ROW: Spec = Spec {
    name: "latency",
    arity: AtLeast(2),
    since: "2.8.13",
    complexity: "Depends on subcommand.",
    summary: "Holds the commands about the latency of commands.",
    subcommands: &[
        Spec {
            name: "doctor",
            summary: "Returns a summary of the latency spikes.",
            run: Run::Server(doctor),
            ..LATENCY
        },
        Spec {
            name: "graph",
            arity: Exactly(3),
            summary: "Draws the latency spikes of an event.",
            run: Run::Server(graph),
            ..LATENCY
        },
        Spec {
            name: "help",
            flags: LOADING | STALE,
            tips: &[],
            summary: "Lists the subcommands.",
            run: Run::Server(|cx, _, out| {
                help(&ROW, cx.product, out);
                Ok(())
            }),
            ..LATENCY
        },
        Spec {
            name: "histogram",
            arity: AtLeast(2),
            since: "7.0.0",
            complexity: "O(N) where N is the number of commands with latency information being retrieved.",
            summary: "Returns a histogram of latencies in microseconds for each command.",
            flags: LATENCY.flags | ALL_DATABASES,
            run: Run::Cluster(histogram),
            ..LATENCY
        },
        Spec {
            name: "history",
            arity: Exactly(3),
            summary: "Returns the latency spikes of an event: Unix time and milliseconds.",
            run: Run::Server(history),
            ..LATENCY
        },
        Spec {
            name: "latest",
            summary: "Returns the latest and the longest spike of each event.",
            run: Run::Server(latest),
            ..LATENCY
        },
        Spec {
            name: "reset",
            arity: AtLeast(2),
            variants: &[Variant {
                servers: servers::SINCE_7_2,
                tips: Some(&["request_policy:all_nodes", "response_policy:agg_sum"]),
                ..SAME
            }],
            tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
            summary: "Removes the spikes, all or those of the named events.",
            run: Run::Server(|cx, args, out| {
                let ports = cx.covered().iter();
                let counts = ports.map(|port| port.observer.latency_monitor.reset(args.from(2)));
                let counts: Vec<usize> = counts.collect();
                out.count(counts[0]);
                Ok(())
            }),
            ..LATENCY
        },
    ],
    ..SERVER
};

/// LATENCY HISTOGRAM [command ...]: a container selects all its subcommands.
fn histogram(cx: &mut ServerCx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let stats = sum(cx);
    let timed: Vec<_> =
        rows(&stats).filter_map(|(spec, row)| Some((spec, row.times.as_deref()?))).collect();
    let mut shown = Vec::new();
    if args.len() == 2 {
        shown.extend(&timed);
    }
    for name in args.from(2) {
        let (container, sub) = match name.iter().position(|&byte| byte == b'|') {
            Some(at) => (&name[..at], Some(&name[at + 1..])),
            None => (name, None),
        };
        let Some(spec) = find(container) else { continue };
        let is_named = |other: &Spec| match sub {
            None => other.id == spec.id || other.parent == spec.name,
            Some(sub) => {
                other.parent == spec.name && sub.eq_ignore_ascii_case(other.name.as_bytes())
            }
        };
        shown.extend(timed.iter().filter(|(other, _)| is_named(other)));
    }
    out.map(shown.len());
    for (spec, times) in shown {
        out.bulk(spec.full_name().as_bytes());
        out.map(2);
        out.bulk(b"calls");
        out.int(times.count().cast_signed());
        out.bulk(b"histogram_usec");
        let steps = steps(times, |ticks| cx.node.observer.nanos(ticks));
        out.map(steps.len());
        for (micros, count) in steps {
            out.int(micros.cast_signed());
            out.int(count.cast_signed());
        }
    }
    Ok(())
}

/// Cumulative counts by upper bound in microseconds, for the bounds where the count grows. The
/// bounds double, and are those of Redis' histogram.
fn steps(times: &Histogram, nanos: impl Fn(u64) -> u64) -> Vec<(u64, u64)> {
    let bound = |step: u32| (1032 << step) - 1;
    let mut steps: Vec<(u64, u64)> = Vec::new();
    let (mut step, mut seen) = (0, 0);
    for (ticks, count) in times.buckets() {
        while bound(step) < nanos(ticks) {
            step += 1;
        }
        seen += count;
        let micros = bound(step) / 1000;
        match steps.last_mut() {
            Some((last, so_far)) if *last == micros => *so_far = seen,
            _ => steps.push((micros, seen)),
        }
    }
    steps
}

/// LATENCY HISTORY event
fn history(cx: &mut ServerCx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let spike = cx.node.observer.latency_monitor.get(args.at(2)).unwrap_or_default();
    out.array(spike.samples.len());
    for sample in &spike.samples {
        out.array(2);
        out.int(sample.at_s);
        out.int(sample.millis.cast_signed());
    }
    Ok(())
}

/// LATENCY LATEST
fn latest(cx: &mut ServerCx<'_>, _: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let all = cx.node.observer.latency_monitor.all();
    out.array(all.len());
    for (event, spike) in &all {
        let last = spike.samples.back().map_or((0, 0), |last| (last.at_s, last.millis));
        out.array(4);
        out.bulk(event.as_bytes());
        out.int(last.0);
        out.int(last.1.cast_signed());
        out.int(spike.millis_max.cast_signed());
    }
    Ok(())
}

/// LATENCY GRAPH event
fn graph(cx: &mut ServerCx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let event = args.at(2);
    let Some(spike) = cx.node.observer.latency_monitor.get(event) else {
        let before = b"ERR No samples available for event '";
        return Err(Refusal::new([before, until_nul(event), b"'"].concat()));
    };
    out.verbatim(*b"txt", draw(event, &spike, cx.now / 1000).as_bytes());
    Ok(())
}

/// Draws a column for each spike, the highest of them four lines high, with its age below.
fn draw(event: &[u8], spike: &LatencySpike, now_s: i64) -> String {
    const LINES: u64 = 4;
    const COLUMNS_MAX: usize = 80;
    let skipped = spike.samples.len().saturating_sub(COLUMNS_MAX);
    let samples: Vec<_> = spike.samples.iter().skip(skipped).collect();
    let millis = || samples.iter().map(|sample| sample.millis);
    let (high, low) = (millis().max().unwrap_or(0), millis().min().unwrap_or(0));
    let mut text = format!(
        "{} - high {high} ms, low {low} ms (all time high {} ms)\n{}\n",
        String::from_utf8_lossy(event),
        spike.millis_max,
        "-".repeat(COLUMNS_MAX),
    );
    for line in (0..LINES).rev() {
        let column = |millis: u64| match (millis * LINES).div_ceil(high.max(1)) {
            height if height > line + 1 => '|',
            height if height == line + 1 => '#',
            _ => ' ',
        };
        let drawn: String = millis().map(column).collect();
        // Writing into memory does not fail.
        let _ = writeln!(text, "{}", drawn.trim_end());
    }
    let ages: Vec<_> = samples.iter().map(|sample| age(now_s - sample.at_s)).collect();
    for line in 0..ages.iter().map(String::len).max().unwrap_or(0) {
        let drawn: String = ages.iter().map(|age| age.chars().nth(line).unwrap_or(' ')).collect();
        let _ = writeln!(text, "{}", drawn.trim_end());
    }
    text
}

/// Formats an age in its largest unit.
fn age(seconds: i64) -> String {
    match seconds.max(0) {
        seconds @ ..60 => format!("{seconds}s"),
        seconds @ ..3600 => format!("{}m", seconds / 60),
        seconds @ ..86_400 => format!("{}h", seconds / 3600),
        seconds => format!("{}d", seconds / 86_400),
    }
}

/// LATENCY DOCTOR
fn doctor(cx: &mut ServerCx<'_>, _: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let all = cx.node.observer.latency_monitor.all();
    let mut text = String::new();
    match cx.node.settings.spike_ms() {
        None => text.push_str(
            "Latency monitoring is off: CONFIG SET latency-monitor-threshold <milliseconds> turns it on.\n",
        ),
        Some(ms) if all.is_empty() => {
            let _ = writeln!(text, "No command has taken {ms} milliseconds or longer.");
        }
        Some(_) => {}
    }
    for (event, spike) in &all {
        let count = spike.samples.len();
        let total: u64 = spike.samples.iter().map(|sample| sample.millis).sum();
        let _ = writeln!(
            text,
            "{event}: {count} seconds with spikes, {} ms at the mean, {} ms at the most. See SLOWLOG GET for the \
             commands.",
            total / count.max(1) as u64,
            spike.millis_max,
        );
    }
    out.verbatim(*b"txt", text.as_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::Sample;

    #[test]
    fn bounds_are_those_of_redis() {
        let mut times = Histogram::default();
        for micros in [1, 1, 2, 30, 60, 1000, 2000] {
            times.record(micros * 1000);
        }
        let steps = steps(&times, |ticks| ticks);
        assert_eq!(steps, [(1, 2), (2, 3), (33, 4), (66, 5), (1056, 6), (2113, 7)]);
    }

    #[test]
    fn a_graph_has_a_column_for_each_spike() {
        let samples = [(10, 4), (11, 1), (70, 2)].map(|(at_s, millis)| Sample { at_s, millis });
        let spike = LatencySpike { samples: samples.into(), millis_max: 9 };
        let lines = draw(b"command", &spike, 75);
        let lines: Vec<_> = lines.lines().collect();
        assert_eq!(lines[0], "command - high 4 ms, low 1 ms (all time high 9 ms)");
        assert_eq!(lines[2..], ["#", "|", "| #", "|#|", "115", "mms"]);
    }
}
