//! One run from its plan to its report.

use super::custody::Custody;
use super::event_loop::{
    ThreadChannels, ThreadContext, ThreadEvent, ThreadResult, Timetable, clock, process_time,
    run_event_loop,
};
use super::failure::{Cause, Failure};
use super::local_cluster::LocalCluster;
use super::plan::Plan;
use super::report::{
    ClientUse, Ending, KeysEnding, Limit, Report, RunKeys, SERIES_POINTS_MAX, Series,
};
use super::setup_client::SetupClient;
use super::tally::{Slice, Tally};
use super::target::{Endpoint, Layout, SlotMap};
use super::url::Url;
use super::users::{ThreadPart, Users, UsersConfig};
use super::verifier::Verifier;
use super::workload::{self, Workload};
use super::{Phase, Progress};
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
/// File descriptors besides those of connections.
const FILES_RESERVED: u64 = 64;
/// How often the progress is updated and the stop flag checked.
const CHECK_INTERVAL: Duration = Duration::from_millis(50);

/// Runs a plan. Blocks until it is done, or until `progress` is stopped.
///
/// # Errors
/// The plan is wrong, or the target cannot be reached or used at all. A target that is lost during
/// the run is no error: the report says so and keeps what was measured.
pub fn run(plan: &Plan, progress: &Progress) -> Result<Report, Failure> {
    plan.check()?;
    progress.set_phase(Phase::Preparing);
    let cluster = match plan.target.url {
        Some(_) => None,
        None => {
            // Every user has one connection to each port.
            let ports = if plan.target.cluster { plan.target.shards } else { 1 };
            let connections = (plan.shape.connections + 8) * ports;
            allow_files(2 * connections)?;
            Some(LocalCluster::start(&plan.target, connections, plan.seed)?)
        }
    };
    let report = run_against(plan, cluster.as_ref(), progress);
    progress.set_phase(Phase::Finished);
    report
}

/// Runs a plan against its target, or against `cluster` if it names none.
fn run_against(
    plan: &Plan,
    cluster: Option<&LocalCluster>,
    progress: &Progress,
) -> Result<Report, Failure> {
    let endpoint = endpoint_of(plan, cluster)?;
    let (workload, verifier) = workload::make(plan)?;
    let mut client = SetupClient::new(endpoint.clone())?;
    let identity = identity(plan, cluster, &mut client)?;
    let layout = layout(cluster, &mut client, &endpoint)?;
    let sockets_per_connection = if cluster.is_some() { 2 } else { 1 };
    let nodes = client.slot_map().nodes().len();
    allow_files(plan.shape.connections * nodes * sockets_per_connection)?;
    let custody = Custody::begin(plan, endpoint.clone(), (&*workload, &verifier), &mut client)?;

    let times = timetable(plan);
    let kinds = workload.kinds();
    let users = users_of(plan, &endpoint, client.slot_map(), &workload, &layout);
    let started_at_ms = server::now().unsigned_abs();
    let loaded = load(users, &endpoint, times, &verifier, progress).and_then(Collected::usable);
    let collected = match loaded {
        Ok(collected) => collected,
        Err(failure) => return Err(custody.abandon(&mut client, failure)),
    };
    progress.set_phase(Phase::Checking);
    let ending = match &collected.failed {
        Some(failure) => Ending::TargetLost { why: failure.message.clone() },
        None if progress.is_stopped() => Ending::Stopped,
        None => Ending::Finished,
    };
    let (keys, warnings) = custody.end(collected.is_put_to_the_test(plan));
    let mut report = collected.report(plan, cluster.is_some(), (&kinds, &layout), times);
    report.target = identity;
    report.ending = ending;
    report.started_at_ms = started_at_ms;
    report.invariants = verifier.verdicts();
    report.keys = keys;
    report.warnings = warnings;
    Ok(report)
}

fn endpoint_of(plan: &Plan, cluster: Option<&LocalCluster>) -> Result<Endpoint, Failure> {
    let url = match (&plan.target.url, cluster) {
        (Some(url), _) => url.clone(),
        (None, Some(cluster)) => Url {
            tls: false,
            host: cluster.address.ip().to_string(),
            port: cluster.address.port(),
            username: None,
            password: None,
        },
        (None, None) => return Err(Failure::usage("no target")),
    };
    Endpoint::new(&plan.target, url)
}

/// What the target is, as the report names it.
fn identity(
    plan: &Plan,
    cluster: Option<&LocalCluster>,
    client: &mut SetupClient,
) -> Result<String, Failure> {
    let Some(cluster) = cluster else { return client.server_identity() };
    Ok(format!(
        "slotway {} in this process, {} {}, {} threads",
        crate::state::VERSION,
        plan.target.shards,
        if plan.target.cluster { "nodes" } else { "shards" },
        cluster.threads
    ))
}

/// The owners of the slots, for the report. A target without a slot map counts as one shard.
fn layout(
    cluster: Option<&LocalCluster>,
    client: &mut SetupClient,
    endpoint: &Endpoint,
) -> Result<Layout, Failure> {
    Ok(match cluster {
        _ if endpoint.cluster => Layout::of_slot_map(client.slot_map()),
        Some(cluster) => cluster.layout.clone(),
        None => Layout::of_slot_map(client.cluster_slots()?.as_ref().unwrap_or(client.slot_map())),
    })
}

/// Makes the users of every thread. The last thread has the auditor.
fn users_of(
    plan: &Plan,
    endpoint: &Endpoint,
    slot_map: &SlotMap,
    workload: &Arc<dyn Workload>,
    layout: &Layout,
) -> Vec<Users> {
    let kinds = workload.kinds();
    let parts = ThreadPart::all(plan);
    let mut auditor = Arc::clone(workload).auditor();
    let of_thread = |&part: &ThreadPart| {
        let config = UsersConfig {
            plan,
            endpoint,
            slot_map: slot_map.clone(),
            script: &|user| Arc::clone(workload).script(user),
            auditor: if part.thread + 1 == parts.len() { auditor.take() } else { None },
            tally: Tally::new(&kinds, layout),
        };
        Users::new(config, part)
    };
    parts.iter().map(of_thread).collect()
}

/// Runs the load, one thread for each element of `users`, from when all are connected until the
/// last thread is done.
fn load(
    users: Vec<Users>,
    endpoint: &Endpoint,
    times: Timetable,
    verifier: &Verifier,
    progress: &Progress,
) -> Result<Collected, Failure> {
    let is_failed = AtomicBool::new(false);
    let is_stopped = || progress.is_stopped() || is_failed.load(Ordering::Relaxed);
    let context = ThreadContext { endpoint, times, is_stopped: &is_stopped };
    let (sender, events) = channel();
    let interval = Duration::from_nanos(times.interval);
    let threads = users.len();
    let mut collected = Collected::default();
    std::thread::scope(|scope| {
        // Leaving this scope early drops these, and the threads end without a start.
        let mut starts = Vec::with_capacity(threads);
        for (thread, users) in users.into_iter().enumerate() {
            let (start, started) = channel();
            let (context, channels) =
                (&context, ThreadChannels { events: sender.clone(), start: started });
            std::thread::Builder::new()
                .name(format!("load {thread}"))
                .spawn_scoped(scope, move || run_event_loop(users, context, &channels))
                .map_err(|error| {
                    Failure::machine(format!(
                        "cannot start client thread {}: {error}; use fewer --threads",
                        thread + 1
                    ))
                })?;
            starts.push(start);
        }
        drop(sender);
        for _ in 0..threads {
            if let Ok(ThreadEvent::Failed(failure)) = events.recv() {
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
            match events.recv_timeout(CHECK_INTERVAL) {
                Ok(ThreadEvent::Slice(slice)) => {
                    collected.add_slice(*slice, threads, interval, progress);
                }
                Ok(ThreadEvent::Failed(failure)) => {
                    is_failed.store(true, Ordering::Relaxed);
                    collected.failed.get_or_insert(failure);
                }
                Ok(ThreadEvent::Done(result)) => {
                    running -= 1;
                    collected.results.push(*result);
                }
                Ok(ThreadEvent::Ready) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            let elapsed = clock().saturating_duration_since(began);
            let is_warm = elapsed.as_nanos() >= u128::from(times.warmup);
            progress.set_phase(if is_warm { Phase::Running } else { Phase::WarmingUp });
            progress.update_elapsed(elapsed, verifier.broken());
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

/// What the client threads have reported.
#[derive(Default)]
struct Collected {
    /// By number: the sum so far, and how many threads are in it.
    slices: BTreeMap<u64, (Slice, usize)>,
    results: Vec<ThreadResult>,
    failed: Option<Failure>,
    left_out: u64,
    committed: u64,
    process_before: Duration,
    process_after: Duration,
    wall: Duration,
}

impl Collected {
    /// Returns an error instead if this machine failed, or the target did before the first commit.
    fn usable(self) -> Result<Self, Failure> {
        let committed = |result: &ThreadResult| result.tally.totals.committed;
        match &self.failed {
            Some(failure)
                if failure.cause != Cause::Target
                    || self.results.iter().all(|e| committed(e) == 0) =>
            {
                Err(failure.clone())
            }
            _ => Ok(self),
        }
    }

    /// Whether the invariants had something to withstand: a commit, or transactions that crossed
    /// slots if there were no others.
    fn is_put_to_the_test(&self, plan: &Plan) -> bool {
        let is_crossing = plan.workload.cross >= 1.0;
        self.results.iter().any(|ThreadResult { tally, .. }| {
            tally.ever_committed > 0 || is_crossing && tally.totals.refused > 0
        })
    }

    fn add_slice(&mut self, slice: Slice, threads: usize, interval: Duration, progress: &Progress) {
        if slice.index >= SERIES_POINTS_MAX as u64 {
            self.left_out += 1;
            return;
        }
        let index = slice.index;
        let (sum, threads_in) = self.slices.entry(index).or_insert_with(|| (Slice::new(index), 0));
        sum.add(&slice);
        *threads_in += 1;
        if *threads_in == threads {
            let point = sum.point(interval, Duration::MAX, Duration::ZERO);
            self.committed += point.committed;
            progress.update_rates(&point, self.committed);
        }
    }

    fn report(
        mut self,
        plan: &Plan,
        is_local: bool,
        (kinds, layout): (&[String], &Layout),
        times: Timetable,
    ) -> Report {
        let interval = Duration::from_nanos(times.interval);
        let results = std::mem::take(&mut self.results);
        let last = results.iter().map(|result| result.at).max().unwrap_or(0);
        let planned = if self.failed.is_some() { None } else { times.end };
        let end =
            last.max(planned.filter(|&end| u128::from(end) <= self.wall.as_nanos()).unwrap_or(0));
        let mut sum = Tally::new(kinds, layout);
        let (mut threads, mut waited) = (Vec::new(), 0.0_f64);
        for result in results {
            sum.add(&result.tally);
            threads.push(result.busy);
            waited = waited.max(result.waited);
            if result.last_slice.index < SERIES_POINTS_MAX as u64 {
                let index = result.last_slice.index;
                let (of, _) = self.slices.entry(index).or_insert_with(|| (Slice::new(index), 0));
                of.add(&result.last_slice);
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
        let limit = if is_local && process >= BUSY
            || busiest < BUSY && busiest + waited >= BUSY && waited > 0.1
        {
            Limit::Machine
        } else if busiest >= BUSY {
            Limit::Client
        } else {
            Limit::NotClient
        };
        let summary = sum.into_summary(layout);
        Report {
            plan: plan.clone(),
            target: String::new(),
            ending: Ending::Finished,
            started_at_ms: 0,
            elapsed: end.saturating_sub(warmup),
            totals: summary.totals,
            transaction_latency: summary.transaction_latency,
            attempt_latency: summary.attempt_latency,
            kinds: summary.kinds,
            refusals: summary.refusals,
            attempts_per_commit: summary.attempts_per_commit,
            shards: summary.shards,
            slots: summary.slots,
            series: Series { interval, points, left_out: self.left_out },
            client: ClientUse { threads, process, processors, limit },
            invariants: Vec::new(),
            keys: RunKeys { begin_with: String::new(), old: 0, ending: KeysEnding::Removed },
            warnings: Vec::new(),
        }
    }
}

/// Raises the limit of file descriptors if `sockets` need more.
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
