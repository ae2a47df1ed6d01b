//! The plan of a run: the workload, the shape of the load, the target, retries, and the seed of all
//! random choices. Plain data; [`Plan::check`] refuses invalid settings.
//!
//! A plan can be written as TOML (names in kebab-case, everything optional):
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

mod check;
mod sweep;

pub use sweep::{Axis, Sweep};

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
/// Most runs of one sweep, and most rounds of one comparison.
pub const RUNS_MAX: usize = 1000;

/// All settings of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Plan {
    /// Which transactions.
    pub workload: Workload,
    /// How many of them, from how many connections, over which keys.
    pub shape: Shape,
    /// The server to load.
    pub target: Target,
    /// When an attempt that did not commit is retried.
    pub retry: Retry,
    /// The seed of all random choices: with the same seed every connection makes the same sequence.
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
    /// The prefix of keys: they begin with `{PREFIX:GROUP}`.
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
    /// Moves an amount between two accounts of a group. The sum stays the same, no account is below
    /// zero.
    Transfer,
    /// Stock, buyers' balances and a till. Stock and balances are conserved.
    Order,
    /// Appends an element to two lists. None is lost, duplicated, reordered or in one list only.
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
    /// Transactions from a workload file.
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

    /// What its transactions do and what is checked, in one line.
    #[must_use]
    pub const fn summary(self) -> &'static str {
        match self {
            Self::Counter => {
                "WATCH, GET, then SET to one more in MULTI; the final value is the number of commits"
            }
            Self::Transfer => {
                "move an amount between two accounts under WATCH; the sum stays, no account is below zero"
            }
            Self::Order => {
                "buy and return items under WATCH; stock and balances are conserved, none is below zero"
            }
            Self::Append => {
                "append to two lists under WATCH; nothing lost, duplicated, reordered or half done"
            }
            Self::Lock => {
                "SET NX PX, work, release by token; never two holders, no update under the lock lost"
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
            Failure::usage(format!("unknown workload {name:?}; choose one of {names}, or a file"))
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
    /// Transactions per second to start, over all connections, whether or not earlier ones have
    /// ended (open loop); latency then counts from the intended start. `None`: the next transaction
    /// starts when the one before it has ended (closed loop).
    pub rate: Option<f64>,
    /// How the starts of an open loop are spaced.
    pub arrivals: Arrivals,
    /// How long to measure after the warm-up, in milliseconds; `None`: until `transactions` have
    /// run.
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
    /// How long a run measures if neither a duration nor a number of transactions is set.
    pub const DURATION_DEFAULT: Duration = Duration::from_secs(10);

    /// How long to measure at most; `None` is no limit.
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
    /// This share of the transactions goes to the first group; the rest are uniform over the
    /// others.
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

/// The server to load.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Target {
    /// The server's address; `None`: a cluster inside this process.
    pub url: Option<Url>,
    /// Request the slot map (CLUSTER SLOTS), connect to all nodes, and send every transaction to
    /// the node that owns its slot.
    pub cluster: bool,
    /// The protocol version.
    pub protocol: Protocol,
    /// With `rediss://`: accept any certificate.
    pub insecure: bool,
    /// With `rediss://`: certificates (PEM) of the authorities to trust, instead of the usual ones.
    pub cacert: Option<PathBuf>,
    /// How long a connect, a reply or a reconnect may take before the target counts as lost, in
    /// milliseconds.
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

/// A protocol version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// RESP2, without HELLO.
    #[default]
    Resp2,
    /// RESP3, by HELLO 3.
    Resp3,
}

/// Retries of attempts that were aborted or refused.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Retry {
    /// When to retry.
    pub policy: Policy,
    /// Most attempts of one transaction, which then counts as given up; 0: no limit.
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

/// When to retry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// Never: every attempt is a transaction.
    None,
    /// After the same pause each time (0: at once).
    Fixed,
    /// At once the first time, then after a random pause between 0 and a bound that doubles each
    /// time.
    #[default]
    Exponential,
}
