//! What a run is to do: the workload, the shape of the load, the target, what to do after a refusal,
//! and the seed of all chance. Plain data; [`Plan::check`] says what cannot be.
//!
//! A plan can be written down as TOML (names in kebab-case, everything optional):
//!
//! ```toml
//! seed = 7
//! [workload]
//! kind = "transfer"
//! [shape]
//! connections = 50
//! groups = 16
//! duration-ms = 10000
//! [retry]
//! policy = "exponential"
//! ```

use super::failure::Failure;
use super::url::Url;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// Most connections of one run.
pub const CONNECTIONS_MAX: usize = 100_000;
/// Most client threads of one run.
pub const THREADS_MAX: usize = 256;
/// Most transactions in flight on one connection.
pub const PIPELINE_MAX: usize = 10_000;
/// Most keys of one run: groups times keys per group.
pub const KEYS_MAX: u64 = 10_000_000;
/// Most keys of one group: an invariant over a group is read with one atomic command.
pub const KEYS_PER_GROUP_MAX: usize = 1_000_000;
/// Longest value, in bytes.
pub const VALUE_LEN_MAX: usize = 1 << 20;
/// Most commands of a `multi` transaction.
pub const OPS_MAX: usize = 1000;
/// Most runs of one sweep or rounds of one comparison.
pub const RUNS_MAX: usize = 1000;

/// Everything that a run is to do.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Plan {
    /// Which transactions.
    pub workload: Workload,
    /// How many of them, from how many connections, over which keys.
    pub shape: Shape,
    /// Against whom.
    pub target: Target,
    /// What follows an attempt that did not commit.
    pub retry: Retry,
    /// Seed of all chance: with the same seed every connection makes the same sequence of choices.
    pub seed: u64,
}

/// Which transactions are run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Workload {
    /// The kind of transaction.
    pub kind: Kind,
    /// The file that describes the transactions, if `kind` is [`Kind::File`].
    pub file: Option<PathBuf>,
    /// Share of transactions that take keys of two slots on purpose, 0 to 1.
    pub cross: f64,
    /// Length of values in bytes, for `read` and `pipeline`; at least 32.
    pub value_len: usize,
    /// Commands in a transaction of `multi`.
    pub ops: usize,
    /// How long a lock of `lock` is granted for, in milliseconds.
    pub lock_ttl_ms: u64,
    /// Keys begin with `{PREFIX:GROUP}`.
    pub prefix: String,
    /// Leave the keys on the target after a good run. (After a broken invariant they always stay.)
    pub keep: bool,
}

impl Default for Workload {
    fn default() -> Self {
        Self {
            kind: Kind::Transfer,
            file: None,
            cross: 0.0,
            value_len: 64,
            ops: 3,
            lock_ttl_ms: 10_000,
            prefix: "bench".to_owned(),
            keep: false,
        }
    }
}

/// The kinds of transactions that are built in, and the one that a file describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// WATCH, GET, MULTI SET EXEC. The final value is the number of commits.
    Counter,
    /// Money from one account to another of its group. The sum stays, nobody falls below zero.
    Transfer,
    /// Stock, buyers' balances and a till. Goods and money are conserved.
    Order,
    /// An element to the ends of two lists. None lost, doubled, reordered or in one list only.
    Append,
    /// A lock with a token and a lease. Never two holders.
    Lock,
    /// INCR. The final value is the number of commits.
    Incr,
    /// MULTI, several INCR, EXEC. The final values are the numbers of commits.
    Multi,
    /// GET of values that are known.
    Read,
    /// GET and SET, several in flight. What is read was written to that key.
    Pipeline,
    /// As the workload file says.
    File,
}

impl Kind {
    /// All kinds that need no file.
    pub const BUILT_IN: [Self; 9] = [
        Self::Counter,
        Self::Transfer,
        Self::Order,
        Self::Append,
        Self::Lock,
        Self::Incr,
        Self::Multi,
        Self::Read,
        Self::Pipeline,
    ];

    /// Its name on the command line and in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Transfer => "transfer",
            Self::Order => "order",
            Self::Append => "append",
            Self::Lock => "lock",
            Self::Incr => "incr",
            Self::Multi => "multi",
            Self::Read => "read",
            Self::Pipeline => "pipeline",
            Self::File => "file",
        }
    }

    /// What its transactions do and what is checked, in one sentence.
    #[must_use]
    pub const fn summary(self) -> &'static str {
        match self {
            Self::Counter => {
                "WATCH, GET, then SET to one more in MULTI; the final value is the number of commits"
            }
            Self::Transfer => {
                "money between two accounts under WATCH; the sum stays and nobody falls below zero"
            }
            Self::Order => {
                "buy and return goods under WATCH; stock and money are conserved, none falls below zero"
            }
            Self::Append => {
                "append to two lists under WATCH; nothing lost, doubled, reordered or half done"
            }
            Self::Lock => {
                "SET NX PX, work, release by token; never two holders, no work of a holder lost"
            }
            Self::Incr => "INCR, no WATCH; the final value is the number of commits",
            Self::Multi => {
                "MULTI, INCRs, EXEC, no WATCH; the final values are the numbers of commits"
            }
            Self::Read => "GET; what is read is what was stored",
            Self::Pipeline => {
                "GET and SET, several in flight; what is read was written to that key"
            }
            Self::File => "transactions and invariants from a TOML file",
        }
    }

    /// Whether several transactions may be in flight on one connection. WATCH belongs to the
    /// connection, so those that use it go one at a time.
    #[must_use]
    pub const fn can_pipeline(self) -> bool {
        matches!(self, Self::Incr | Self::Multi | Self::Read | Self::Pipeline)
    }

    /// The fewest keys that a group must have.
    #[must_use]
    pub const fn keys_per_group_min(self) -> usize {
        match self {
            Self::Transfer | Self::Append => 2,
            _ => 1,
        }
    }
}

impl FromStr for Kind {
    type Err = Failure;

    fn from_str(name: &str) -> Result<Self, Failure> {
        Self::BUILT_IN.into_iter().find(|kind| kind.name() == name).ok_or_else(|| {
            let names = Self::BUILT_IN.map(Self::name).join(", ");
            Failure::usage(format!(
                "there is no workload {name:?}; choose one of {names}, or a file"
            ))
        })
    }
}

/// How much load, from where, over which keys.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Shape {
    /// Connections that run transactions at the same time.
    pub connections: usize,
    /// Client threads that share the connections.
    pub threads: usize,
    /// Transactions in flight on one connection, where the workload allows more than one.
    pub pipeline: usize,
    /// Groups of keys; the keys of a group share a hashtag, so a slot.
    pub groups: usize,
    /// Keys (accounts, items, lists, locks) in each group.
    pub keys_per_group: usize,
    /// How a transaction chooses its group and its keys.
    pub distribution: Distribution,
    /// Time from the end of a transaction to the start of the next one on the same connection, in
    /// microseconds. Closed loop only.
    pub think_us: u64,
    /// Transactions per second to start, over all connections, whatever becomes of them (open
    /// loop); latency then counts from the intended start. `None`: the next transaction starts when
    /// the one before it has ended (closed loop).
    pub rate: Option<f64>,
    /// How the starts of an open loop are spaced.
    pub arrivals: Arrivals,
    /// How long to measure, in milliseconds, after the warm-up; `None`: until `transactions` have
    /// been run.
    pub duration_ms: Option<u64>,
    /// How many transactions to run; each connection runs its share. `None`: until the time is up.
    pub transactions: Option<u64>,
    /// How long to run before measuring, in milliseconds.
    pub warmup_ms: u64,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            connections: 50,
            threads: 1,
            pipeline: 1,
            groups: 64,
            keys_per_group: 16,
            distribution: Distribution::Uniform,
            think_us: 0,
            rate: None,
            arrivals: Arrivals::Even,
            duration_ms: None,
            transactions: None,
            warmup_ms: 0,
        }
    }
}

impl Shape {
    /// How long a run measures if neither a time nor a number of transactions is given.
    pub const DURATION_DEFAULT: Duration = Duration::from_secs(10);

    /// How long to measure at most.
    #[must_use]
    pub fn duration(&self) -> Option<Duration> {
        match (self.duration_ms, self.transactions) {
            (Some(ms), _) => Some(Duration::from_millis(ms)),
            (None, Some(_)) => None,
            (None, None) => Some(Self::DURATION_DEFAULT),
        }
    }

    /// Groups times keys per group.
    #[must_use]
    pub fn keys(&self) -> u64 {
        self.groups as u64 * self.keys_per_group as u64
    }
}

/// How a transaction chooses its group, and its keys within the group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Distribution {
    /// All are equally likely.
    #[default]
    Uniform,
    /// The i-th most popular (from 1) is chosen in proportion to `1 / i^theta`; groups and keys
    /// alike. The popular ones are spread over the numbers, and so over the slots, by the seed.
    Zipfian {
        /// From 0 (uniform) up; 0.99 is customary.
        theta: f64,
    },
    /// This share of the transactions goes to the first group; the rest are uniform over the others.
    Hot {
        /// From 0 to 1.
        share: f64,
    },
}

/// How the starts of an open loop are spaced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Arrivals {
    /// At equal distances.
    #[default]
    Even,
    /// At random, as from many independent users (a Poisson process).
    Poisson,
}

/// Whom the load goes to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Target {
    /// The server's address; `None`: a cluster of our own inside this process.
    pub url: Option<Url>,
    /// Ask for the cluster's map (CLUSTER SLOTS), connect to its nodes, send every transaction to
    /// the node that owns its slot.
    pub cluster: bool,
    /// Which protocol to speak.
    pub protocol: Protocol,
    /// With `rediss://`: accept any certificate.
    pub insecure: bool,
    /// With `rediss://`: certificates (PEM) of the authorities to trust, instead of the usual ones.
    pub cacert: Option<PathBuf>,
    /// How long connecting, an answer, or coming back after a lost connection may take, in
    /// milliseconds, before the target counts as lost.
    pub patience_ms: u64,
    /// Shards of the cluster inside this process.
    pub shards: usize,
    /// Threads of the cluster inside this process; 0: one per processor.
    pub server_threads: usize,
}

impl Default for Target {
    fn default() -> Self {
        Self {
            url: None,
            cluster: false,
            protocol: Protocol::Resp2,
            insecure: false,
            cacert: None,
            patience_ms: 5000,
            shards: 3,
            server_threads: 0,
        }
    }
}

/// The protocol that the client speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// RESP2, without HELLO.
    #[default]
    Resp2,
    /// RESP3, by HELLO 3.
    Resp3,
}

/// What follows an attempt that was aborted or refused.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Retry {
    /// When to try again.
    pub policy: Policy,
    /// Most attempts of one transaction; after them it counts as given up. 0: no limit.
    pub attempts_max: u32,
    /// The (first) pause, in microseconds.
    pub pause_us: u64,
    /// The longest pause of the exponential policy, in microseconds.
    pub pause_max_us: u64,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            policy: Policy::Exponential,
            attempts_max: 100,
            pause_us: 100,
            pause_max_us: 100_000,
        }
    }
}

/// When to try again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// Never: every attempt is a transaction.
    None,
    /// After the same pause each time (0: at once).
    Fixed,
    /// At once the first time; then after a pause chosen at random between nothing and a bound
    /// that doubles each time.
    #[default]
    Exponential,
}

/// One run per value: the contention curve.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sweep {
    /// What varies.
    pub axis: Axis,
    /// Its values, in the order of the runs.
    pub values: Vec<f64>,
}

/// What a sweep varies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Axis {
    /// [`Shape::groups`].
    Groups,
    /// [`Shape::keys_per_group`].
    Keys,
    /// [`Shape::connections`].
    Clients,
    /// [`Shape::rate`].
    Rate,
    /// [`Distribution::Zipfian`]'s theta.
    Theta,
    /// [`Shape::pipeline`].
    Pipeline,
    /// [`Workload::cross`].
    Cross,
}

impl Axis {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Groups,
        Self::Keys,
        Self::Clients,
        Self::Rate,
        Self::Theta,
        Self::Pipeline,
        Self::Cross,
    ];

    /// Its name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Groups => "groups",
            Self::Keys => "keys",
            Self::Clients => "clients",
            Self::Rate => "rate",
            Self::Theta => "theta",
            Self::Pipeline => "pipeline",
            Self::Cross => "cross",
        }
    }

    fn is_whole(self) -> bool {
        matches!(self, Self::Groups | Self::Keys | Self::Clients | Self::Pipeline)
    }
}

impl FromStr for Sweep {
    type Err = Failure;

    /// Reads `groups=1,4,16,64`.
    fn from_str(text: &str) -> Result<Self, Failure> {
        let names = || Axis::ALL.map(Axis::name).join(", ");
        let (name, values) = text.split_once('=').ok_or_else(|| {
            Failure::usage(format!(
                "a sweep is NAME=VALUE,VALUE…, where NAME is one of {}",
                names()
            ))
        })?;
        let axis =
            Axis::ALL.into_iter().find(|axis| axis.name() == name.trim()).ok_or_else(|| {
                Failure::usage(format!("a sweep cannot vary {name:?}; it can vary {}", names()))
            })?;
        let number = |text: &str| {
            let number = text.trim().parse::<f64>().ok().filter(|n| n.is_finite() && *n >= 0.0);
            let number = number.filter(|n| !axis.is_whole() || (n.fract() == 0.0 && *n >= 1.0));
            number.ok_or_else(|| {
                Failure::usage(format!("{:?} is not a value for {}", text.trim(), axis.name()))
            })
        };
        let values = values.split(',').map(number).collect::<Result<Vec<_>, _>>()?;
        if values.len() > RUNS_MAX {
            return Err(Failure::usage(format!("a sweep has at most {RUNS_MAX} values")));
        }
        Ok(Self { axis, values })
    }
}

impl Sweep {
    /// The plan of the run with this value.
    #[must_use]
    pub fn apply(&self, plan: &Plan, value: f64) -> Plan {
        let mut plan = plan.clone();
        let shape = &mut plan.shape;
        // `from_str` has made sure that whole values are whole; a float's cast saturates.
        match self.axis {
            Axis::Groups => shape.groups = value as usize,
            Axis::Keys => shape.keys_per_group = value as usize,
            Axis::Clients => shape.connections = value as usize,
            Axis::Rate => shape.rate = Some(value),
            Axis::Theta => shape.distribution = Distribution::Zipfian { theta: value },
            Axis::Pipeline => shape.pipeline = value as usize,
            Axis::Cross => plan.workload.cross = value,
        }
        plan
    }
}

impl Plan {
    /// Refuses what cannot be, before anything is connected.
    ///
    /// # Errors
    /// A [`Failure`] of [`super::Blame::Usage`] that names the option and what it may be.
    pub fn check(&self) -> Result<(), Failure> {
        let Self { workload, shape, target, retry, seed: _ } = self;
        let kind = workload.kind;
        within("--connections", shape.connections, 1, CONNECTIONS_MAX)?;
        within("--threads", shape.threads, 1, THREADS_MAX)?;
        within("--pipeline", shape.pipeline, 1, PIPELINE_MAX)?;
        within("--groups", shape.groups, 1, KEYS_MAX as usize)?;
        let keys_min = kind.keys_per_group_min();
        if shape.keys_per_group < keys_min {
            return Err(Failure::usage(format!(
                "--keys-per-group {}: a transaction of {} needs at least {keys_min} keys of one group",
                shape.keys_per_group,
                kind.name()
            )));
        }
        within("--keys-per-group", shape.keys_per_group, keys_min, KEYS_PER_GROUP_MAX)?;
        if shape.keys() > KEYS_MAX {
            return Err(Failure::usage(format!(
                "{} groups of {} keys are too many: at most {KEYS_MAX} keys",
                shape.groups, shape.keys_per_group
            )));
        }
        if shape.pipeline > 1 && !kind.can_pipeline() {
            return Err(Failure::usage(format!(
                "--pipeline {}: {} watches keys, and WATCH belongs to the whole connection, so its transactions \
                 go one at a time; use more --connections, or one of incr, multi, read, pipeline",
                shape.pipeline,
                kind.name()
            )));
        }
        if shape.threads > shape.connections {
            return Err(Failure::usage(format!(
                "--threads {} are more than the {} connections that they would share",
                shape.threads, shape.connections
            )));
        }
        share("--cross", workload.cross)?;
        if workload.cross > 0.0 && shape.groups < 2 {
            return Err(Failure::usage("--cross needs at least two --groups to cross between"));
        }
        match shape.distribution {
            Distribution::Uniform => {}
            Distribution::Zipfian { theta } => {
                if !(0.0..=10.0).contains(&theta) {
                    return Err(Failure::usage(format!(
                        "zipfian theta {theta}: must be from 0 to 10"
                    )));
                }
            }
            Distribution::Hot { share: hot } => share("hot share", hot)?,
        }
        if let Some(rate) = shape.rate {
            if !(rate.is_finite() && rate > 0.0 && rate <= 1e9) {
                return Err(Failure::usage(format!(
                    "--rate {rate}: transactions per second, more than 0, at most a billion"
                )));
            }
            if shape.think_us > 0 {
                return Err(Failure::usage(
                    "--rate and --think contradict each other: a rate decides when transactions start",
                ));
            }
        }
        if shape.duration_ms == Some(0) {
            return Err(Failure::usage("--duration must be more than nothing"));
        }
        if shape.transactions == Some(0) {
            return Err(Failure::usage("--transactions must be at least 1"));
        }
        within("--value-size", workload.value_len, 32, VALUE_LEN_MAX)?;
        within("--ops", workload.ops, 1, OPS_MAX)?;
        if !(1..=86_400_000).contains(&workload.lock_ttl_ms) {
            return Err(Failure::usage("--lock-ttl must be from 1 ms to a day"));
        }
        if workload.prefix.is_empty() || workload.prefix.contains(['{', '}']) {
            return Err(Failure::usage("--prefix must not be empty and must not hold { or }"));
        }
        if (kind == Kind::File) != workload.file.is_some() {
            return Err(Failure::usage("a workload file goes with the kind \"file\""));
        }
        within("--shards", target.shards, 1, crate::topology::SHARDS_MAX)?;
        within("--server-threads", target.server_threads, 0, 1024)?;
        if target.patience_ms == 0 {
            return Err(Failure::usage("--patience must be more than nothing"));
        }
        if retry.policy == Policy::Exponential && retry.pause_us > retry.pause_max_us {
            return Err(Failure::usage("the first pause is longer than the longest one"));
        }
        Ok(())
    }
}

fn within(name: &str, value: usize, min: usize, max: usize) -> Result<(), Failure> {
    if (min..=max).contains(&value) {
        return Ok(());
    }
    Err(Failure::usage(format!("{name} {value}: must be from {min} to {max}")))
}

fn share(name: &str, value: f64) -> Result<(), Failure> {
    if (0.0..=1.0).contains(&value) {
        return Ok(());
    }
    Err(Failure::usage(format!("{name} {value}: a share is from 0 to 1")))
}
