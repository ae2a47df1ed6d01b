//! The options of `bench`, and the plan that they make: command line, environment, plan file, default.

use super::super::Failure;
use super::values::{TargetArg, Time, distribution, number, share, whole};
use crate::load::output::Bounds;
use crate::load::plan::{
    Arrivals, Distribution, Kind, Plan, Policy, Protocol, RUNS_MAX, Sweep, Target,
};
use clap::ValueEnum;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// How long each of several runs measures by default, in milliseconds.
const DURATION_OF_SEVERAL_MS: u64 = 3000;
/// Rounds of a comparison by default.
const ROUNDS_DEFAULT: usize = 5;

/// The options of `bench`.
#[derive(clap::Args, Debug, Default)]
pub(in crate::cli) struct Options {
    /// The workload: one of those below, or a workload file (TOML) [default: transfer]
    #[arg(env = "SLOTWAY_BENCH_WORKLOAD")]
    pub workload: Option<String>,

    /// Server to load, as redis:// or rediss:// (TLS) with user:password@ [default: a cluster in this process]
    #[arg(
        long,
        short,
        help_heading = "Target",
        env = "SLOTWAY_BENCH_TARGET",
        hide_env_values = true
    )]
    pub target: Option<TargetArg>,
    /// Connect to all nodes of the target's cluster and send each transaction to the owner of its slot
    #[arg(long, help_heading = "Target", env = "SLOTWAY_BENCH_CLUSTER")]
    pub cluster: bool,
    /// Speak RESP3
    #[arg(long, help_heading = "Target", env = "SLOTWAY_BENCH_RESP3")]
    pub resp3: bool,
    /// With rediss://, accept any certificate
    #[arg(long, help_heading = "Target", env = "SLOTWAY_BENCH_INSECURE")]
    pub insecure: bool,
    /// With rediss://, trust these root certificates (PEM) instead of the built-in ones
    #[arg(long, help_heading = "Target", value_name = "FILE", env = "SLOTWAY_BENCH_CACERT")]
    pub cacert: Option<PathBuf>,
    /// How long a reply or a reconnect may take before the target counts as lost [default: 5s]
    #[arg(long, help_heading = "Target", value_name = "TIME", env = "SLOTWAY_BENCH_PATIENCE")]
    pub patience: Option<Time>,
    /// Shards of the cluster in this process [default: 3]
    #[arg(long, help_heading = "Target", env = "SLOTWAY_BENCH_SHARDS")]
    pub shards: Option<usize>,
    /// Threads of the cluster in this process [default: one per processor]
    #[arg(long, help_heading = "Target", value_name = "N", env = "SLOTWAY_BENCH_SERVER_THREADS")]
    pub server_threads: Option<usize>,

    /// Connections that run transactions at the same time [default: 50]
    #[arg(
        long,
        short,
        help_heading = "Load",
        value_name = "N",
        visible_alias = "clients",
        env = "SLOTWAY_BENCH_CONNECTIONS"
    )]
    pub connections: Option<usize>,
    /// Client threads that share the connections [default: 1]
    #[arg(long, help_heading = "Load", value_name = "N", env = "SLOTWAY_BENCH_THREADS")]
    pub threads: Option<usize>,
    /// Transactions in flight on each connection, for workloads without WATCH [default: 1]
    #[arg(
        long,
        short = 'P',
        help_heading = "Load",
        value_name = "N",
        env = "SLOTWAY_BENCH_PIPELINE"
    )]
    pub pipeline: Option<usize>,
    /// Transactions per second to start, whether or not earlier ones have ended (open loop) [default: closed loop]
    #[arg(long, help_heading = "Load", value_name = "PER_SECOND", value_parser = number, env = "SLOTWAY_BENCH_RATE")]
    pub rate: Option<f64>,
    /// With --rate, start at random times (a Poisson process), as independent users would
    #[arg(long, help_heading = "Load", env = "SLOTWAY_BENCH_POISSON")]
    pub poisson: bool,
    /// Pause after each transaction [default: 0ms]
    #[arg(long, help_heading = "Load", value_name = "TIME", env = "SLOTWAY_BENCH_THINK")]
    pub think: Option<Time>,
    /// How long to measure [default: 10s; 3s for each run of --sweep and --compare]
    #[arg(long, short, help_heading = "Load", value_name = "TIME", env = "SLOTWAY_BENCH_DURATION")]
    pub duration: Option<Time>,
    /// How many transactions to run, instead of or in addition to --duration
    #[arg(long, short = 'n', help_heading = "Load", value_name = "N", value_parser = whole, env = "SLOTWAY_BENCH_TRANSACTIONS")]
    pub transactions: Option<u64>,
    /// How long to run before measuring [default: 0ms]
    #[arg(long, help_heading = "Load", value_name = "TIME", env = "SLOTWAY_BENCH_WARMUP")]
    pub warmup: Option<Time>,
    /// Seed of all random choices: the same seed makes the same choices [default: 0]
    #[arg(long, help_heading = "Load", env = "SLOTWAY_BENCH_SEED")]
    pub seed: Option<u64>,

    /// Groups of keys; the keys of a group share a hashtag, so a slot [default: 64]
    #[arg(long, short, help_heading = "Keys", value_name = "N", env = "SLOTWAY_BENCH_GROUPS")]
    pub groups: Option<usize>,
    /// Keys in each group [default: 16]
    #[arg(long, help_heading = "Keys", value_name = "N", env = "SLOTWAY_BENCH_KEYS_PER_GROUP")]
    pub keys_per_group: Option<usize>,
    /// How groups and keys are chosen: uniform, zipfian[:THETA], hot[:SHARE] [default: uniform]
    #[arg(long, help_heading = "Keys", value_name = "HOW", value_parser = distribution, env = "SLOTWAY_BENCH_DISTRIBUTION")]
    pub distribution: Option<Distribution>,
    /// Share of transactions that take keys of two slots on purpose, as 5% or 0.05 [default: 0]
    #[arg(long, help_heading = "Keys", value_name = "SHARE", value_parser = share, env = "SLOTWAY_BENCH_CROSS")]
    pub cross: Option<f64>,
    /// Length of values in bytes, for read and pipeline [default: 64]
    #[arg(long, help_heading = "Keys", value_name = "BYTES", env = "SLOTWAY_BENCH_VALUE_SIZE")]
    pub value_size: Option<usize>,
    /// Commands in each transaction of multi [default: 3]
    #[arg(long, help_heading = "Keys", value_name = "N", env = "SLOTWAY_BENCH_OPS")]
    pub ops: Option<usize>,
    /// How long a lock is granted for [default: 10s]
    #[arg(long, help_heading = "Keys", value_name = "TIME", env = "SLOTWAY_BENCH_LOCK_TTL")]
    pub lock_ttl: Option<Time>,
    /// Prefix of the keys, inside the hashtag [default: bench]
    #[arg(long, help_heading = "Keys", env = "SLOTWAY_BENCH_PREFIX")]
    pub prefix: Option<String>,
    /// Keep the keys on the target (after a broken invariant they are always kept)
    #[arg(long, help_heading = "Keys", env = "SLOTWAY_BENCH_KEEP")]
    pub keep: bool,

    /// When to retry an aborted transaction [default: exponential]
    #[arg(long, help_heading = "Retries", value_name = "POLICY", env = "SLOTWAY_BENCH_RETRY")]
    pub retry: Option<RetryPolicy>,
    /// Most attempts of a transaction; 0 for no limit [default: 100]
    #[arg(long, help_heading = "Retries", value_name = "N", env = "SLOTWAY_BENCH_ATTEMPTS")]
    pub attempts: Option<u32>,
    /// The (first) pause before another attempt [default: 100us]
    #[arg(long, help_heading = "Retries", value_name = "TIME", env = "SLOTWAY_BENCH_PAUSE")]
    pub pause: Option<Time>,
    /// The longest pause of the exponential policy [default: 100ms]
    #[arg(long, help_heading = "Retries", value_name = "TIME", env = "SLOTWAY_BENCH_PAUSE_MAX")]
    pub pause_max: Option<Time>,

    /// One run for each value: groups, keys, clients, rate, theta, pipeline or cross, as groups=1,4,16
    #[arg(
        long,
        help_heading = "Several runs",
        value_name = "NAME=VALUES",
        conflicts_with = "compare",
        env = "SLOTWAY_BENCH_SWEEP"
    )]
    pub sweep: Option<Sweep>,
    /// Two targets in alternating rounds; `own` is a cluster in this process
    #[arg(long, help_heading = "Several runs", num_args = 2, value_names = ["URL", "URL"], conflicts_with = "target")]
    pub compare: Option<Vec<TargetArg>>,
    /// Rounds of a comparison [default: 5]
    #[arg(
        long,
        help_heading = "Several runs",
        value_name = "N",
        requires = "compare",
        env = "SLOTWAY_BENCH_ROUNDS"
    )]
    pub rounds: Option<usize>,

    /// Print JSON instead of the page; with =FILE, write it there and print the page
    #[arg(long, help_heading = "Output", value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = "-", env = "SLOTWAY_BENCH_JSON")]
    pub json: Option<PathBuf>,
    /// Write a report with charts, all in one file
    #[arg(long, help_heading = "Output", value_name = "FILE", env = "SLOTWAY_BENCH_HTML")]
    pub html: Option<PathBuf>,
    /// Write the time series, a row per interval
    #[arg(long, help_heading = "Output", value_name = "FILE", env = "SLOTWAY_BENCH_CSV")]
    pub csv: Option<PathBuf>,
    /// Write the latency distribution for the tools of HdrHistogram
    #[arg(long, help_heading = "Output", value_name = "FILE", env = "SLOTWAY_BENCH_HGRM")]
    pub hgrm: Option<PathBuf>,
    /// Exit with 4 if one of these is true, as p99>5ms,abort>20%
    #[arg(long, help_heading = "Output", value_name = "BOUNDS", env = "SLOTWAY_BENCH_FAIL_IF")]
    pub fail_if: Option<Bounds>,
    /// Whether to use colours [default: auto]
    #[arg(long, help_heading = "Output", value_name = "WHEN", env = "SLOTWAY_BENCH_COLOR")]
    pub color: Option<Color>,
    /// The same as --color never; any text in NO_COLOR has this effect.
    #[arg(long, hide = true, env = "NO_COLOR", num_args = 0..=1, require_equals = true, default_missing_value = "1")]
    pub no_color: Option<OsString>,
    /// File with a plan (TOML), whose settings the other options override
    #[arg(long, help_heading = "Output", value_name = "FILE", env = "SLOTWAY_BENCH_PLAN")]
    pub plan: Option<PathBuf>,
}

/// When to use colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum Color {
    /// On a terminal, unless NO_COLOR is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// When to retry, as on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum RetryPolicy {
    /// Never
    None,
    /// After the same pause each time
    Fixed,
    /// At once, then after random pauses below a bound that doubles
    Exponential,
}

/// What to run.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::cli) enum Task {
    /// One run.
    Run(Plan),
    /// One run per value.
    Sweep(Plan, Sweep),
    /// The plan's target against this one, with this many rounds.
    Compare(Plan, Box<Target>, usize),
}

impl Task {
    /// The plan of the run, or of the first of several.
    pub(in crate::cli) const fn plan(&self) -> &Plan {
        match self {
            Self::Run(plan) | Self::Sweep(plan, _) | Self::Compare(plan, ..) => plan,
        }
    }

    /// Checks all plans before anything is connected.
    fn check(&self) -> Result<(), Failure> {
        match self {
            Self::Run(plan) => plan.check()?,
            Self::Sweep(plan, sweep) => {
                for value in &sweep.values {
                    sweep.apply(plan, *value).check()?;
                }
            }
            Self::Compare(plan, other, rounds) => {
                plan.check()?;
                Plan { target: (**other).clone(), ..plan.clone() }.check()?;
                if !(1..=RUNS_MAX).contains(rounds) {
                    return Err(Failure::usage(format!(
                        "--rounds {rounds}: must be from 1 to {RUNS_MAX}"
                    )));
                }
            }
        }
        Ok(())
    }
}

impl Options {
    /// Makes the task of these options.
    pub(in crate::cli) fn task(&self) -> Result<Task, Failure> {
        let mut plan = match &self.plan {
            Some(path) => plan_of(path)?,
            None => Plan::default(),
        };
        self.change_workload(&mut plan)?;
        self.change_target(&mut plan)?;
        self.change_load(&mut plan)?;
        self.change_retries(&mut plan)?;
        let is_several = self.sweep.is_some() || self.compare.is_some();
        let shape = &mut plan.shape;
        if is_several && shape.duration_ms.is_none() && shape.transactions.is_none() {
            shape.duration_ms = Some(DURATION_OF_SEVERAL_MS);
        }
        let task = match (&self.sweep, self.compare.as_deref()) {
            (Some(sweep), _) => Task::Sweep(plan, sweep.clone()),
            (None, Some([TargetArg(a), TargetArg(b)])) => {
                plan.target.url.clone_from(a);
                let other = Target { url: b.clone(), ..plan.target.clone() };
                Task::Compare(plan, Box::new(other), self.rounds.unwrap_or(ROUNDS_DEFAULT))
            }
            (None, _) => Task::Run(plan),
        };
        task.check()?;
        Ok(task)
    }

    fn change_workload(&self, plan: &mut Plan) -> Result<(), Failure> {
        let workload = &mut plan.workload;
        match self.workload.as_deref() {
            None => {}
            Some(name) if name.contains(['.', '/']) => {
                workload.kind = Kind::File;
                workload.file = Some(PathBuf::from(name));
            }
            Some(name) => {
                workload.kind = name.parse()?;
                workload.file = None;
            }
        }
        set(&mut workload.cross, self.cross);
        set(&mut workload.value_len, self.value_size);
        set(&mut workload.ops, self.ops);
        if let Some(time) = self.lock_ttl {
            workload.lock_ttl_ms = time.ms("--lock-ttl")?;
        }
        set(&mut workload.prefix, self.prefix.clone());
        workload.keep |= self.keep;
        Ok(())
    }

    fn change_target(&self, plan: &mut Plan) -> Result<(), Failure> {
        let target = &mut plan.target;
        if let Some(TargetArg(url)) = &self.target {
            target.url.clone_from(url);
        }
        target.cluster |= self.cluster;
        if self.resp3 {
            target.protocol = Protocol::Resp3;
        }
        target.insecure |= self.insecure;
        if self.cacert.is_some() {
            target.cacert.clone_from(&self.cacert);
        }
        if let Some(time) = self.patience {
            target.patience_ms = time.ms("--patience")?;
        }
        set(&mut target.shards, self.shards);
        set(&mut target.server_threads, self.server_threads);
        Ok(())
    }

    fn change_load(&self, plan: &mut Plan) -> Result<(), Failure> {
        let shape = &mut plan.shape;
        set(&mut shape.connections, self.connections);
        set(&mut shape.threads, self.threads);
        set(&mut shape.pipeline, self.pipeline);
        set(&mut shape.groups, self.groups);
        set(&mut shape.keys_per_group, self.keys_per_group);
        set(&mut shape.distribution, self.distribution);
        if let Some(time) = self.think {
            shape.think_us = time.us("--think")?;
        }
        shape.rate = self.rate.or(shape.rate);
        if self.poisson {
            shape.arrivals = Arrivals::Poisson;
        }
        if let Some(time) = self.duration {
            shape.duration_ms = Some(time.ms("--duration")?);
        }
        shape.transactions = self.transactions.or(shape.transactions);
        if let Some(time) = self.warmup {
            shape.warmup_ms = time.ms("--warmup")?;
        }
        set(&mut plan.seed, self.seed);
        Ok(())
    }

    fn change_retries(&self, plan: &mut Plan) -> Result<(), Failure> {
        let retry = &mut plan.retry;
        let policy = self.retry.map(|policy| match policy {
            RetryPolicy::None => Policy::None,
            RetryPolicy::Fixed => Policy::Fixed,
            RetryPolicy::Exponential => Policy::Exponential,
        });
        set(&mut retry.policy, policy);
        set(&mut retry.attempts_max, self.attempts);
        if let Some(time) = self.pause {
            retry.pause_us = time.us("--pause")?;
        }
        if let Some(time) = self.pause_max {
            retry.pause_max_us = time.us("--pause-max")?;
        }
        Ok(())
    }
}

fn set<T>(place: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *place = value;
    }
}

fn plan_of(path: &Path) -> Result<Plan, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::usage(format!("cannot read {}: {error}", path.display())))?;
    toml::from_str(&text).map_err(|error| Failure::usage(format!("{}: {error}", path.display())))
}

/// Returns the end of the help: workloads, exit codes, examples.
pub(in crate::cli) fn workloads() -> String {
    let rows: Vec<String> = Kind::BUILT_IN
        .iter()
        .map(|kind| format!("  {:<9} {}", kind.name(), kind.summary()))
        .collect();
    format!(
        "Workloads:\n{}\n  FILE.toml your own transactions and invariants\n\nExit codes: 0 success; 1 this machine \
         does not allow it; 2 the command line is wrong, the target failed, or an invariant is undecided; 3 an invariant \
         is broken; 4 a bound of --fail-if was exceeded; 130 interrupted twice.\n\nTry:  slotway bench\n      slotway bench counter --sweep \
         groups=1,4,16,64 --html curve.html\n      slotway bench --compare own redis://127.0.0.1:6379",
        rows.join("\n")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::output::command;
    use clap::Parser;
    use proptest::prelude::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    fn task(line: &[&str]) -> Result<Task, Failure> {
        let line = Line::try_parse_from(["bench"].iter().chain(line));
        line.map_err(|error| Failure::usage(error.to_string()))?.options.task()
    }

    fn plan(line: &[&str]) -> Plan {
        task(line).unwrap_or_else(|failure| panic!("{line:?}: {}", failure.message)).plan().clone()
    }

    #[test]
    fn nothing_is_a_plan_of_defaults() {
        assert_eq!(task(&[]).map_err(|f| f.message), Ok(Task::Run(Plan::default())));
    }

    #[test]
    fn several_runs_are_shorter_by_default() {
        let sweep = ["--sweep", "groups=1,4"];
        assert_eq!(plan(&sweep).shape.duration_ms, Some(DURATION_OF_SEVERAL_MS));
        assert_eq!(plan(&[&sweep[..], &["-n", "100"]].concat()).shape.duration_ms, None);
        assert_eq!(plan(&[&sweep[..], &["-d", "1s"]].concat()).shape.duration_ms, Some(1000));
        let compared = task(&["--compare", "own", "redis://h:1", "--shards", "2"]);
        let Ok(Task::Compare(plan, other, rounds)) = compared else { panic!("{compared:?}") };
        assert_eq!((plan.target.url, rounds), (None, ROUNDS_DEFAULT));
        assert_eq!(
            (other.url.map(|url| url.to_string()), other.shards),
            (Some("redis://h:1".into()), 2)
        );
    }

    #[test]
    fn invalid_options_are_refused_by_name() {
        for (line, part) in [
            (&["nosuch"][..], "choose one of"),
            (&["--duration", "10"], "10s"),
            (&["--duration", "0s"], "--duration"),
            (&["--think", "1ms", "--rate", "5"], "--think"),
            (&["--patience", "100us"], "multiple of 1ms"),
            (&["--distribution", "normal"], "zipfian:0.99"),
            (&["--cross", "2"], "from 0 to 1"),
            (&["--sweep", "groups=0"], "groups"),
            (&["--sweep", "shards=1"], "it can vary"),
            (&["--sweep", "pipeline=1,2"], "--pipeline 2"),
            (&["--sweep", "groups=1", "--compare", "own", "own"], "cannot be used with"),
            (&["--compare", "own"], "--compare"),
            (&["--compare", "own", "own", "--rounds", "0"], "--rounds 0"),
            (&["--rounds", "2"], "--compare"),
            (&["--fail-if", "speed>3"], "no measure"),
            (&["--plan", "/nonexistent/plan.toml"], "/nonexistent/plan.toml"),
            (&["--target", "http://h"], "http"),
            (&["--retry", "often"], "exponential"),
        ] {
            let failure = task(line).expect_err(&line.join(" "));
            assert!(failure.message.contains(part), "{line:?}: {}", failure.message);
            assert_eq!(failure.code, 2, "{line:?}");
        }
    }

    #[test]
    fn json_takes_its_file_behind_an_equals_sign() {
        let parse = |line: &[&str]| Line::try_parse_from(line).expect("good options").options;
        assert_eq!(parse(&["bench", "--json", "counter"]).json, Some(PathBuf::from("-")));
        assert_eq!(parse(&["bench", "--json=x.json"]).json, Some(PathBuf::from("x.json")));
    }

    #[test]
    fn the_help_is_well_formed() {
        use clap::CommandFactory;
        Line::command().debug_assert();
    }

    prop_compose! {
        fn any_plan()(
            kind in prop::sample::select(Kind::BUILT_IN.to_vec()),
            (connections, threads, groups, keys) in (4..500_usize, 1..4_usize, 2..99_usize, 2..99_usize),
            (rate, poisson, think_us) in (prop::option::of(1..99_999_u32), any::<bool>(), 0..5_000_u64),
            (duration, transactions, warmup) in (prop::option::of(1..99_999_u64), prop::option::of(1..u64::from(u32::MAX)), 0..9999_u64),
            distribution in prop_oneof![
                Just(Distribution::Uniform),
                (0.0..10.0).prop_map(|theta| Distribution::Zipfian { theta }),
                (0.0..1.0).prop_map(|share| Distribution::Hot { share }),
            ],
            (cross, prefix, keep, seed) in (0.0..1.0, "[a-z '$]{1,9}", any::<bool>(), any::<u64>()),
            (url, cluster, resp3, shards) in (prop::option::of(1..u16::MAX), any::<bool>(), any::<bool>(), 1..99_usize),
            (policy, attempts, pause) in (0..3_usize, 0..999_u32, 0..9_999_u64),
        ) -> Plan {
            let mut plan = Plan { seed, ..Plan::default() };
            plan.workload.kind = kind;
            plan.workload.cross = cross;
            plan.workload.prefix = prefix;
            plan.workload.keep = keep;
            plan.shape.connections = connections;
            plan.shape.threads = threads;
            plan.shape.groups = groups;
            plan.shape.keys_per_group = keys;
            plan.shape.rate = rate.map(f64::from);
            plan.shape.think_us = if rate.is_some() { 0 } else { think_us };
            if poisson {
                plan.shape.arrivals = Arrivals::Poisson;
            }
            plan.shape.duration_ms = duration;
            plan.shape.transactions = transactions;
            plan.shape.warmup_ms = warmup;
            plan.shape.distribution = distribution;
            plan.target.url = url.map(|port| format!("redis://me@[::1]:{port}").parse().expect("an address"));
            plan.target.cluster = cluster;
            if resp3 {
                plan.target.protocol = Protocol::Resp3;
            }
            plan.target.shards = shards;
            plan.retry.policy = [Policy::None, Policy::Fixed, Policy::Exponential][policy];
            plan.retry.attempts_max = attempts;
            plan.retry.pause_us = pause;
            plan
        }
    }

    proptest! {
        #[test]
        fn the_command_that_a_report_names_makes_the_same_plan(plan in any_plan()) {
            let words = command::words(&plan);
            let words: Vec<&str> = words[2..].iter().map(String::as_str).collect();
            let again = task(&words).map_err(|failure| failure.message);
            prop_assert_eq!(again, Ok(Task::Run(plan)), "{:?}", words);
        }
    }
}
