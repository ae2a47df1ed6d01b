//! The charts of the page, from the numbers of the report.

use super::Page;
use crate::load::output::form::{self, percent, quantile, rate, tick_ns, time_ns, times};
use crate::load::output::svg::{self, Axis, Bar, Chart, Frame, HALF, Line, Share, WIDE};
use crate::load::report::{Latency, Point, Report, Series, SweepReport, ratio};

/// Bars of a histogram.
const BARS: usize = 48;
/// Most shards with a bar.
const SHARDS_SHOWN: usize = 64;

impl Page {
    pub(super) fn over_time(&mut self, series: &Series) {
        // The rate of a last point that covers only a fraction of the interval is not meaningful.
        let whole = |point: &&Point| point.width * 2 >= series.interval;
        let points: Vec<&Point> = series.points.iter().filter(whole).collect();
        if points.len() < 2 {
            return;
        }
        self.tag("h2", "Over time");
        let end = points.last().map_or(1.0, |point| (point.at + point.width).as_secs_f64());
        let x = Axis::exact(0.0, end, 8, |value| format!("{} s", shortest(value)));
        let per_second = |number: u64, point: &Point| {
            let width = point.width.as_secs_f64();
            if width > 0.0 { number as f64 / width } else { 0.0 }
        };
        let middle = |point: &Point| point.at.as_secs_f64() + point.width.as_secs_f64() / 2.0;
        let line = |name, class, value: &dyn Fn(&Point) -> Option<f64>| Line {
            name,
            class,
            points: points.iter().map(|point| (middle(point), value(point))).collect(),
            has_dots: false,
        };
        let hints: Vec<(f64, f64, String)> = points
            .iter()
            .map(|point| {
                let from = point.at.as_secs_f64();
                let latencies = if point.committed == 0 {
                    "nothing committed".to_owned()
                } else {
                    let [p50, p99, max] =
                        [point.p50_ns, point.p99_ns, point.max_ns].map(|ns| time_ns(ns as f64));
                    format!("p50 {p50}, p99 {p99}, max {max}")
                };
                let hint = format!(
                    "from {} s: {} commits/s, {} aborted, {latencies}",
                    shortest(from),
                    rate(per_second(point.committed, point)),
                    percent(ratio(point.aborted, point.attempts))
                );
                (from, from + point.width.as_secs_f64(), hint)
            })
            .collect();
        let warmup = points.iter().take_while(|point| point.is_warmup).last();
        let warmup = warmup.map(|point| (point.at + point.width).as_secs_f64());
        let draw = |y: &Axis, lines: &[Line], what: &str| {
            let mut chart = Chart::new(WIDE, &x, y, what);
            if let Some(end) = warmup {
                chart.shade(0.0, end, "warm-up");
            }
            lines.iter().for_each(|line| chart.line(line));
            chart.hints(&hints);
            chart.end()
        };

        let committed = line("committed/s", "c1", &|p| Some(per_second(p.committed, p)));
        let aborted = line("aborted/s", "c2", &|p| Some(per_second(p.aborted, p)));
        let lines = [committed, aborted];
        let y = Axis::linear(highest(&lines), 5, tick_rate);
        let chart = draw(&y, &lines, "commits and aborts per second over time");
        self.figure("Throughput", "per second", &keys(&lines), &chart);

        let latency = |ns: fn(&Point) -> u64| {
            move |point: &Point| (point.committed > 0).then(|| ns(point) as f64)
        };
        let lines = [
            line("p50", "c1", &latency(|p| p.p50_ns)),
            line("p99", "c2", &latency(|p| p.p99_ns)),
            line("p99.9", "c3", &latency(|p| p.p999_ns)),
        ];
        let y = Axis::log(lowest(&lines), highest(&lines), tick_ns);
        let chart = draw(&y, &lines, "latency of transactions over time");
        self.figure("Latency", "of a transaction, logarithmic", &keys(&lines), &chart);
    }

    pub(super) fn histogram(&mut self, latency: &Latency) {
        let histogram = &latency.histogram;
        let (min, max) = (histogram.min().max(1) as f64, histogram.max().max(1) as f64);
        let step = ((max * 1.001).ln() - min.ln()).max(0.01) / BARS as f64;
        let mut counts = [0_u64; BARS];
        for value in histogram.iter_recorded() {
            let at = ((value.value_iterated_to() as f64).max(min).ln() - min.ln()) / step;
            counts[(at as usize).min(BARS - 1)] += value.count_at_value();
        }
        let edge = |at: usize| (min.ln() + step * at as f64).exp();
        let bars: Vec<Bar> = counts
            .iter()
            .enumerate()
            .map(|(at, &number)| Bar {
                from: edge(at),
                to: edge(at + 1),
                height: ratio(number, latency.count()),
                hint: format!(
                    "{} to {}: {} transactions, {}",
                    time_ns(edge(at)),
                    time_ns(edge(at + 1)),
                    form::count(number),
                    percent(ratio(number, latency.count()))
                ),
            })
            .collect();
        let x = Axis::log(min, max, tick_ns);
        let y =
            Axis::linear(bars.iter().map(|bar| bar.height).fold(0.0, f64::max), 4, tick_percent);
        let mut chart = Chart::new(HALF, &x, &y, "histogram of the latency of transactions");
        chart.bars(&bars);
        for (row, (name, share)) in (0..).zip([("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)]) {
            chart.mark(latency.quantile_ns(share) as f64, name, row);
        }
        self.figure("Histogram", "share of transactions by latency", &[], &chart.end());
    }

    pub(super) fn percentiles(&mut self, report: &Report) {
        let nines = |share: f64| -(1.0 - share).log10();
        let line = |name, class, latency: &Latency| Line {
            name,
            class,
            points: latency
                .histogram
                .iter_quantiles(5)
                .map(|step| (step.quantile_iterated_to(), step.value_iterated_to()))
                .filter(|(share, _)| *share < 1.0)
                .map(|(share, value)| (nines(share), Some(value as f64)))
                .collect(),
            has_dots: false,
        };
        let lines = [
            line("transaction", "c1", &report.transaction_latency),
            line("attempt", "c2", &report.attempt_latency),
        ];
        let end = lines.iter().flat_map(|line| line.points.last()).map(|point| point.0);
        let end = end.fold(1.0, f64::max);
        let names = ["0 %", "90 %", "99 %", "99.9 %", "99.99 %", "99.999 %", "99.9999 %"];
        let ticks = names.iter().zip(0_u32..).map(|(name, at)| (f64::from(at), (*name).to_owned()));
        let x = Axis::exact(0.0, end, 4, |_| String::new())
            .with_ticks(ticks.take_while(|(at, _)| *at <= end).collect());
        let y = Axis::log(lowest(&lines), highest(&lines), tick_ns);
        let mut chart = Chart::new(HALF, &x, &y, "latency by percentile");
        lines.iter().for_each(|line| chart.line(line));
        self.figure("Percentiles", "", &keys(&lines), &chart.end());
    }

    pub(super) fn balance(&mut self, report: &Report) {
        let rows: Vec<Share> = report
            .shards
            .iter()
            .take(SHARDS_SHOWN)
            .map(|shard| Share {
                name: form::fit(&shard.name, 28),
                share: shard.share,
                fair: shard.fair,
                shown: format!(
                    "{}, {} of fair",
                    percent(shard.share),
                    times(shard.share / shard.fair)
                ),
            })
            .collect();
        self.tag("h2", "Balance of the shards");
        let chart = svg::shares(&rows, "share of the commits by shard");
        let what = "share of all commits; the mark is the fair share, that of the slots";
        self.figure("Per shard", what, &[], &chart);
    }

    pub(super) fn curve(&mut self, sweep: &SweepReport) {
        self.tag("h2", "Contention curve");
        let names = sweep.runs.iter().map(|(value, _)| form::plain(*value)).collect();
        let x = Axis::names(names);
        let line = |name, class, value: &dyn Fn(&Report) -> Option<f64>| Line {
            name,
            class,
            points: (0_u32..)
                .zip(&sweep.runs)
                .map(|(at, (_, report))| (f64::from(at), value(report)))
                .collect(),
            has_dots: true,
        };
        let hints: Vec<(f64, f64, String)> = (0_u32..)
            .zip(&sweep.runs)
            .map(|(at, (value, report))| {
                let hint = format!(
                    "{}={value}: {} commits/s, {} aborted, p99 {}",
                    sweep.axis.name(),
                    rate(report.committed_per_second()),
                    percent(report.totals.abort_rate()),
                    quantile(&report.transaction_latency, 0.99)
                );
                (f64::from(at) - 0.5, f64::from(at) + 0.5, hint)
            })
            .collect();
        let draw = |frame: Frame, y: &Axis, lines: &[Line], what: &str| {
            let mut chart = Chart::new(frame, &x, y, what);
            lines.iter().for_each(|line| chart.line(line));
            chart.hints(&hints);
            chart.end()
        };
        let by = format!("by {}", sweep.axis.name());

        let lines = [line("abort rate", "c2", &|report| Some(report.totals.abort_rate()))];
        let y = Axis::linear(highest(&lines).max(0.01), 5, tick_percent);
        let chart = draw(WIDE, &y, &lines, "abort rate by the parameter of the sweep");
        self.figure("Abort rate", &by, &[], &chart);

        self.push("<div class=\"pair\">");
        let quantile = |share: f64| {
            move |report: &Report| {
                let latency = &report.transaction_latency;
                (latency.count() > 0).then(|| latency.quantile_ns(share) as f64)
            }
        };
        let lines = [
            line("p50", "c1", &quantile(0.5)),
            line("p99", "c2", &quantile(0.99)),
            line("p99.9", "c3", &quantile(0.999)),
        ];
        let y = Axis::log(lowest(&lines), highest(&lines), tick_ns);
        let chart = draw(HALF, &y, &lines, "latency by the parameter of the sweep");
        self.figure("Latency", &by, &keys(&lines), &chart);

        let lines = [line("committed/s", "c1", &|report| Some(report.committed_per_second()))];
        let y = Axis::linear(highest(&lines), 5, tick_rate);
        let chart = draw(HALF, &y, &lines, "commits per second by the parameter of the sweep");
        self.figure("Committed per second", &by, &[], &chart);
        self.push("</div>\n");
    }
}

fn values(lines: &[Line]) -> impl Iterator<Item = f64> + '_ {
    lines.iter().flat_map(|line| &line.points).filter_map(|point| point.1)
}

fn highest(lines: &[Line]) -> f64 {
    values(lines).fold(0.0, f64::max)
}

/// The lowest value above zero; 1 if there is none.
fn lowest(lines: &[Line]) -> f64 {
    let lowest = values(lines).filter(|value| *value > 0.0).fold(f64::INFINITY, f64::min);
    if lowest.is_finite() { lowest } else { 1.0 }
}

fn keys(lines: &[Line]) -> Vec<(&str, &str)> {
    lines.iter().map(|line| (line.class, line.name)).collect()
}

fn tick_percent(share: f64) -> String {
    form::tick(&percent(share))
}

fn tick_rate(number: f64) -> String {
    form::tick(&rate(number))
}

/// A number of seconds without trailing zeros.
fn shortest(seconds: f64) -> String {
    format!("{}", (seconds * 1000.0).round() / 1000.0)
}
