//! One run from its plan to its report, and several of them: sweeps and comparisons.

use super::event_loop::{Common, Ended, Timetable, Told, Wire, clock, drive, process_time};
use super::failure::{Blame, Failure};
use super::local_cluster::Home;
use super::plan::{Plan, Sweep, Target};
use super::report::{
    ClientUse, Comparison, Ending, Limit, Ratio, Report, SERIES_POINTS_MAX, Series, SweepReport,
};
use super::setup_client::Courier;
use super::tally::{Slice, Tally};
use super::target::{Endpoint, Layout};
use super::url::Url;
use super::users::{Crew, Muster, Part};
use super::verifier::Referee;
use super::{Phase, Progress, workload};
use crate::server;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

/// A run planned shorter than this has a time series of tenths of a second.
const SHORT: Duration = Duration::from_secs(10);
/// A client thread that is busy (or waits for a processor) for this share of the time is the limit.
const BUSY: f64 = 0.95;
/// File descriptors besides the connections'.
const FILES_RESERVED: u64 = 64;
/// How often to see what is new.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Carries out a plan. Blocks until it is done, or until `progress` is told to stop.
///
/// # Errors
/// The plan is wrong, or the target cannot be reached or used at all. A target that is lost in
/// mid-run is no error: the report says so and keeps what was measured.
pub fn run(plan: &Plan, progress: &Progress) -> Result<Report, Failure> {
    plan.check()?;
    progress.enter(Phase::Preparing);
    let home = match plan.target.url {
        Some(_) => None,
        None => {
            // Every connection of the load is one to each port.
            let ports = if plan.target.cluster { plan.target.shards } else { 1 };
            let connections = (plan.shape.connections + 8) * ports;
            allow_files(2 * connections)?;
            Some(Home::start(&plan.target, connections, plan.seed)?)
        }
    };
    let report = run_at(plan, home.as_ref(), progress);
    progress.enter(Phase::Finished);
    report
}

fn run_at(plan: &Plan, home: Option<&Home>, progress: &Progress) -> Result<Report, Failure> {
    let url = match (&plan.target.url, home) {
        (Some(url), _) => url.clone(),
        (None, Some(home)) => Url {
            tls: false,
            host: home.address.ip().to_string(),
            port: home.address.port(),
            username: None,
            password: None,
        },
        (None, None) => return Err(Failure::usage("there is no target")),
    };
    let endpoint = Endpoint::new(&plan.target, url)?;
    let (workload, referee) = workload::make(plan)?;
    let mut courier = Courier::new(endpoint.clone())?;
    let identity = match home {
        Some(home) => format!(
            "slotway {} in this process, {} {}, {} threads",
            crate::state::VERSION,
            plan.target.shards,
            if plan.target.cluster { "nodes" } else { "shards" },
            home.threads
        ),
        None => courier.identity()?,
    };
    let layout = match home {
        _ if endpoint.cluster => Layout::of_map(courier.map()),
        Some(home) => home.layout.clone(),
        None => Layout::of_map(courier.layout()?.as_ref().unwrap_or(courier.map())),
    };
    allow_files(
        plan.shape.connections * courier.map().nodes().len() * if home.is_some() { 2 } else { 1 },
    )?;
    workload.prepare(&mut courier)?;

    let times = timetable(plan);
    let kinds = workload.kinds();
    let parts = Part::all(plan);
    let mut auditor = Arc::clone(&workload).auditor();
    let crews: Vec<Crew> = parts
        .iter()
        .map(|&part| {
            let muster = Muster {
                plan,
                endpoint: &endpoint,
                map: courier.map().clone(),
                script: &|user| Arc::clone(&workload).script(user),
                auditor: if part.thread + 1 == parts.len() { auditor.take() } else { None },
                tally: Tally::new(&kinds, &layout),
            };
            Crew::new(muster, part)
        })
        .collect();
    let started_at_ms = server::now().unsigned_abs();
    let loaded = load(crews, &endpoint, times, &referee, progress).and_then(Collected::usable);
    let collected = match loaded {
        Ok(collected) => collected,
        Err(failure) => {
            // Without a report nobody would look at the keys. If they cannot be removed either, the
            // failure that comes first is the one to tell.
            if !plan.workload.keep {
                let _told_below = workload.clean(&mut courier);
            }
            return Err(failure);
        }
    };
    progress.enter(Phase::Checking);
    let mut warnings = Vec::new();
    let ending = match &collected.failed {
        Some(failure) => Ending::TargetLost { why: failure.message.clone() },
        None if progress.is_stopped() => Ending::Stopped,
        None => Ending::Finished,
    };
    // What was broken while the load ran stays broken, whatever the check can still read.
    let checked = Courier::new(endpoint).and_then(|mut courier| {
        workload.check(&mut courier)?;
        Ok(courier)
    });
    match checked {
        Ok(mut courier) => {
            if referee.broken() > 0 {
                warnings.push(format!(
                    "The keys were left on the target for you to look at: they begin with {{{}:.",
                    plan.workload.prefix
                ));
            } else if !plan.workload.keep
                && let Err(failure) = workload.clean(&mut courier)
            {
                warnings.push(format!("The keys could not be removed: {failure}"));
            }
        }
        Err(failure) => referee.undecided(&failure.message),
    }
    drop(workload);
    let mut report = collected.report(plan, home.is_some(), (&kinds, &layout), times);
    report.target = identity;
    report.ending = ending;
    report.started_at_ms = started_at_ms;
    report.invariants = referee.verdicts();
    report.warnings = warnings;
    Ok(report)
}

/// Runs the crews, a thread each, from the time at which all are connected until the last is done.
fn load(
    crews: Vec<Crew>,
    endpoint: &Endpoint,
    times: Timetable,
    referee: &Referee,
    progress: &Progress,
) -> Result<Collected, Failure> {
    let is_failed = AtomicBool::new(false);
    let is_stopped = || progress.is_stopped() || is_failed.load(Ordering::Relaxed);
    let common = Common { endpoint, times, is_stopped: &is_stopped };
    let (tell, told) = channel();
    let interval = Duration::from_nanos(times.interval);
    let threads = crews.len();
    let mut collected = Collected::default();
    std::thread::scope(|scope| {
        // Whoever leaves this scope early drops these, which tells the threads that nothing starts.
        let mut starts = Vec::with_capacity(threads);
        for (thread, crew) in crews.into_iter().enumerate() {
            let (start, started) = channel();
            let (common, wire) = (&common, Wire { tell: tell.clone(), start: started });
            std::thread::Builder::new()
                .name(format!("load {thread}"))
                .spawn_scoped(scope, move || drive(crew, common, &wire))
                .map_err(|error| {
                    Failure::machine(format!(
                        "cannot start client thread {}: {error}; use fewer --threads",
                        thread + 1
                    ))
                })?;
            starts.push(start);
        }
        drop(tell);
        for _ in 0..threads {
            if let Ok(Told::Failed(failure)) = told.recv() {
                return Err(failure);
            }
        }
        collected.process_before = process_time();
        let began = clock();
        for start in starts {
            // An error is a thread that has panicked, which ends this scope with its panic.
            let _gone = start.send(began);
        }
        let mut running = threads;
        while running > 0 {
            match told.recv_timeout(LOOK_EVERY) {
                Ok(Told::Slice(slice)) => collected.slice(*slice, threads, interval, progress),
                Ok(Told::Failed(failure)) => {
                    is_failed.store(true, Ordering::Relaxed);
                    collected.failed.get_or_insert(failure);
                }
                Ok(Told::Done(ended)) => {
                    running -= 1;
                    collected.ended.push(*ended);
                }
                Ok(Told::Ready) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            let elapsed = clock().saturating_duration_since(began);
            let is_warm = elapsed.as_nanos() >= u128::from(times.warmup);
            progress.enter(if is_warm { Phase::Running } else { Phase::WarmingUp });
            progress.look(elapsed, referee.broken());
        }
        collected.process_after = process_time();
        collected.wall = clock().saturating_duration_since(began);
        Ok(())
    })?;
    Ok(collected)
}

fn timetable(plan: &Plan) -> Timetable {
    let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    let warmup = Duration::from_millis(plan.shape.warmup_ms);
    let whole = plan.shape.duration().map(|duration| duration + warmup);
    let interval = match whole {
        Some(whole) if whole < SHORT => Duration::from_millis(100),
        Some(whole) => {
            let most = SERIES_POINTS_MAX as u64 - 1;
            Duration::from_secs(whole.as_secs().div_ceil(most).max(1))
        }
        None => Duration::from_secs(1),
    };
    Timetable {
        warmup: nanos(warmup),
        end: whole.map(nanos),
        drain: plan.target.patience_ms.saturating_mul(1_000_000),
        interval: nanos(interval),
    }
}

/// What the threads told.
#[derive(Default)]
struct Collected {
    /// By number: the sum so far, and how many threads have told theirs.
    slices: BTreeMap<u64, (Slice, usize)>,
    ended: Vec<Ended>,
    failed: Option<Failure>,
    left_out: u64,
    committed: u64,
    process_before: Duration,
    process_after: Duration,
    wall: Duration,
}

impl Collected {
    /// Refuses what is no result: this machine failed, or nothing was committed before the target did.
    fn usable(self) -> Result<Self, Failure> {
        let committed = |ended: &Ended| ended.tally.totals.committed;
        match &self.failed {
            Some(failure)
                if failure.blame != Blame::Target
                    || self.ended.iter().all(|e| committed(e) == 0) =>
            {
                Err(failure.clone())
            }
            _ => Ok(self),
        }
    }

    fn slice(&mut self, slice: Slice, threads: usize, interval: Duration, progress: &Progress) {
        if slice.index >= SERIES_POINTS_MAX as u64 {
            self.left_out += 1;
            return;
        }
        let index = slice.index;
        let (sum, told) = self.slices.entry(index).or_insert_with(|| (Slice::new(index), 0));
        sum.add(&slice);
        *told += 1;
        if *told == threads {
            let point = sum.point(interval, Duration::MAX, Duration::ZERO);
            self.committed += point.committed;
            progress.show(&point, self.committed);
        }
    }

    fn report(
        mut self,
        plan: &Plan,
        is_home: bool,
        (kinds, layout): (&[String], &Layout),
        times: Timetable,
    ) -> Report {
        let interval = Duration::from_nanos(times.interval);
        let ended = std::mem::take(&mut self.ended);
        let last = ended.iter().map(|ended| ended.at).max().unwrap_or(0);
        let planned = if self.failed.is_some() { None } else { times.end };
        let end =
            last.max(planned.filter(|&end| u128::from(end) <= self.wall.as_nanos()).unwrap_or(0));
        let mut sum = Tally::new(kinds, layout);
        let (mut threads, mut waited) = (Vec::new(), 0.0_f64);
        for ended in ended {
            sum.add(&ended.tally);
            threads.push(ended.busy);
            waited = waited.max(ended.waited);
            if ended.last_slice.index < SERIES_POINTS_MAX as u64 {
                let index = ended.last_slice.index;
                let (of, _) = self.slices.entry(index).or_insert_with(|| (Slice::new(index), 0));
                of.add(&ended.last_slice);
            }
        }
        let (end, warmup) = (Duration::from_nanos(end), Duration::from_nanos(times.warmup));
        let points = self.slices.values().map(|(slice, _)| slice.point(interval, end, warmup));
        let points = points.filter(|point| !point.width.is_zero()).collect();
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let process = (self.process_after.saturating_sub(self.process_before)).as_secs_f64()
            / self.wall.as_secs_f64().max(1e-9)
            / processors as f64;
        let busiest = threads.iter().copied().fold(0.0, f64::max);
        let limit = if is_home && process >= BUSY
            || busiest < BUSY && busiest + waited >= BUSY && waited > 0.1
        {
            Limit::Machine
        } else if busiest >= BUSY {
            Limit::Client
        } else {
            Limit::NotClient
        };
        let told = sum.told(layout);
        Report {
            plan: plan.clone(),
            target: String::new(),
            ending: Ending::Finished,
            started_at_ms: 0,
            elapsed: end.saturating_sub(warmup),
            totals: told.totals,
            transaction_latency: told.transaction_latency,
            attempt_latency: told.attempt_latency,
            kinds: told.kinds,
            refusals: told.refusals,
            attempts_per_commit: told.attempts_per_commit,
            shards: told.shards,
            slots: told.slots,
            series: Series { interval, points, left_out: self.left_out },
            client: ClientUse { threads, process, processors, limit },
            invariants: Vec::new(),
            warnings: Vec::new(),
        }
    }
}

/// Makes sure that there are file descriptors for so many sockets.
fn allow_files(sockets: usize) -> Result<(), Failure> {
    let files = sockets as u64 + FILES_RESERVED;
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_none_or(|current| current >= files) {
        return Ok(());
    }
    let raised = maximum.map_or(files, |maximum| maximum.min(files));
    let limit = Rlimit { current: Some(raised), maximum };
    if raised >= files && setrlimit(Resource::Nofile, limit).is_ok() {
        return Ok(());
    }
    Err(Failure::machine(format!(
        "{sockets} sockets need {files} file descriptors: raise the limit (ulimit -n {files}) or use fewer --connections"
    )))
}

/// Runs the plan once for each value of the sweep; `each` hears of every run as it ends.
///
/// # Errors
/// As [`run`], of the first run. If a later one has no report, the sweep is cut short.
pub fn sweep(
    plan: &Plan,
    sweep: &Sweep,
    progress: &Progress,
    each: &mut dyn FnMut(f64, &Report),
) -> Result<SweepReport, Failure> {
    for &value in &sweep.values {
        sweep.apply(plan, value).check()?;
    }
    let (mut runs, mut cut_short) = (Vec::new(), None);
    for &value in &sweep.values {
        let report = match run(&sweep.apply(plan, value), progress) {
            Ok(report) => report,
            Err(failure) if runs.is_empty() => return Err(failure),
            Err(failure) => {
                cut_short = Some(failure);
                break;
            }
        };
        each(value, &report);
        let is_over = report.ending != Ending::Finished;
        runs.push((value, report));
        if is_over {
            break;
        }
    }
    Ok(SweepReport { axis: sweep.axis, runs, cut_short })
}

/// Runs the plan against its own target (a) and another one (b), `rounds` times each, in the order
/// a b b a a b …, so that what drifts meets both; `each` hears of every run as it ends, and whether
/// it was of b.
///
/// # Errors
/// As [`run`], of the first run, or one of the targets cannot be used to begin with. If a later run
/// has no report, the comparison is cut short.
pub fn compare(
    plan: &Plan,
    other: &Target,
    rounds: usize,
    progress: &Progress,
    each: &mut dyn FnMut(bool, &Report),
) -> Result<Comparison, Failure> {
    let plans = [plan.clone(), Plan { target: other.clone(), ..plan.clone() }];
    plans.iter().try_for_each(Plan::check)?;
    plans.iter().try_for_each(|plan| knock(&plan.target))?;
    let mut runs = [Vec::new(), Vec::new()];
    let mut cut_short = None;
    let order = (0..rounds).flat_map(|round| if round % 2 == 0 { [0, 1] } else { [1, 0] });
    for which in order {
        let report = match run(&plans[which], progress) {
            Ok(report) => report,
            Err(failure) if runs.iter().all(Vec::is_empty) => return Err(failure),
            Err(failure) => {
                cut_short = Some(failure);
                break;
            }
        };
        each(which == 1, &report);
        let is_over = report.ending != Ending::Finished;
        runs[which].push(report);
        if is_over {
            break;
        }
    }
    let [a, b] = runs;
    Ok(Comparison { ratios: ratios(&a, &b), a, b, cut_short })
}

/// Whether a target can be used at all, so that a mistyped address does not cost a round.
fn knock(target: &Target) -> Result<(), Failure> {
    let Some(url) = &target.url else { return Ok(()) };
    Courier::new(Endpoint::new(target, url.clone())?)?.identity().map(|_| ())
}

fn ratios(a: &[Report], b: &[Report]) -> Vec<Ratio> {
    type Number = fn(&Report) -> f64;
    let numbers: [(&'static str, bool, Number); 5] = [
        ("committed/s", true, Report::committed_per_second),
        ("p50", false, |report| report.transaction_latency.quantile_ns(0.5) as f64),
        ("p99", false, |report| report.transaction_latency.quantile_ns(0.99) as f64),
        ("abort rate", false, |report| report.totals.abort_rate()),
        ("attempts per commit", false, |report| report.totals.attempts_per_commit()),
    ];
    // A run that was cut off says nothing beside a whole one, unless there is no other.
    let is_whole =
        |(a, b): &(&Report, &Report)| a.ending == Ending::Finished && b.ending == Ending::Finished;
    let mut rounds: Vec<(&Report, &Report)> = a.iter().zip(b).filter(is_whole).collect();
    if rounds.is_empty() {
        rounds = a.iter().zip(b).collect();
    }
    let of = |(name, more_is_better, number): (&'static str, bool, Number)| {
        let (of_a, of_b): (Vec<f64>, Vec<f64>) =
            rounds.iter().map(|(a, b)| (number(a), number(b))).unzip();
        let ratios: Vec<f64> =
            of_a.iter().zip(&of_b).map(|(a, b)| if *b == 0.0 { f64::NAN } else { a / b }).collect();
        Ratio {
            name,
            more_is_better,
            a: median(&of_a),
            b: median(&of_b),
            median: median(&ratios),
            min: ratios.iter().copied().fold(f64::NAN, f64::min),
            max: ratios.iter().copied().fold(f64::NAN, f64::max),
        }
    };
    numbers.into_iter().map(of).collect()
}

/// The median; NaN of nothing.
fn median(numbers: &[f64]) -> f64 {
    let mut sorted: Vec<f64> = numbers.iter().copied().filter(|number| !number.is_nan()).collect();
    sorted.sort_by(f64::total_cmp);
    match (sorted.len(), sorted.len() / 2) {
        (0, _) => f64::NAN,
        (len, middle) if len % 2 == 1 => sorted[middle],
        (_, middle) => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert!(median(&[]).is_nan());
        assert_eq!((median(&[3.0, 1.0, 2.0]), median(&[4.0, 1.0])), (2.0, 2.5));
    }
}
