//! The options of `serve`, from the command line, the environment, the configuration file and
//! defaults, in this order.

use super::Failure;
use super::bench::Time;
use crate::dialect::Dialect;
use crate::keyspace::Millis;
use crate::state::settings::{CrossSlot, DATABASES_DEFAULT, DATABASES_MAX};
use crate::topology::{Announce, AnnouncedHost, LAG_MS_MAX, NODES_MAX, Plan, SHARDS_MAX};
use clap::ValueEnum;
use serde::Deserialize;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The end of the help text.
pub(super) const PRECEDENCE: &str = "An option on the command line goes before its environment variable, \
that before the configuration file, that before the default.\n\n\
The configuration file is TOML with the options' names:  shards = 8";

/// The options of `serve`. Each can also be set in the configuration file under its name.
#[derive(clap::Args, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Options {
    /// Router port; 0 takes any free one [default: 7000]
    #[arg(long, env = "SLOTWAY_PORT")]
    pub port: Option<u16>,
    /// Address to listen on; may be given several times [default: 127.0.0.1]
    #[arg(long, env = "SLOTWAY_BIND", value_delimiter = ',')]
    pub bind: Option<Vec<IpAddr>>,
    /// Number of shards that share the 16384 slots [default: 3]
    #[arg(long, env = "SLOTWAY_SHARDS")]
    pub shards: Option<usize>,
    /// Threads that run connections and shards; only one serves connections in the order in which
    /// they send, as Redis does [default: one per processor]
    #[arg(long, env = "SLOTWAY_THREADS")]
    pub threads: Option<usize>,
    /// Password that clients must AUTH with [default: none]
    #[arg(long, env = "SLOTWAY_REQUIREPASS", hide_env_values = true)]
    pub requirepass: Option<String>,
    /// Most clients at a time [default: 10000]
    #[arg(long, env = "SLOTWAY_MAXCLIENTS")]
    pub maxclients: Option<usize>,
    /// First node port, one per node: 0 takes any free ones, `off` none [default: router port + 1]
    #[arg(long, env = "SLOTWAY_NODE_PORTS")]
    pub node_ports: Option<NodePorts>,
    /// Replicas of each shard, each with a node port [default: 0]
    #[arg(long, env = "SLOTWAY_REPLICAS")]
    pub replicas: Option<usize>,
    /// How long a write takes to reach the replicas, as 50ms: until then they reply with the
    /// previous values [default: no lag]
    #[arg(long, env = "SLOTWAY_REPLICA_LAG", value_name = "TIME")]
    pub replica_lag: Option<Time>,
    /// Spare nodes without slots, for `redis-cli --cluster add-node` [default: 0]
    #[arg(long, env = "SLOTWAY_SPARE_NODES")]
    pub spare_nodes: Option<usize>,
    /// Which server's rules the node ports follow [default: redis7]
    #[arg(long, env = "SLOTWAY_DIALECT")]
    pub dialect: Option<DialectName>,
    /// Modules that the server has loaded: json (RedisJSON 2.8) [default: none]
    #[cfg(feature = "json")]
    #[arg(long, env = "SLOTWAY_MODULES", value_delimiter = ',')]
    pub modules: Option<Vec<ModuleName>>,
    /// What is announced to cluster clients [default: nodes]
    #[arg(long, env = "SLOTWAY_ANNOUNCE")]
    pub announce: Option<AnnounceMode>,
    /// Host announced for the nodes [default: the address that is listened on]
    #[arg(long, env = "SLOTWAY_ANNOUNCE_HOST")]
    pub announce_host: Option<String>,
    /// A port announced in place of the one that is listened on, LISTENED:ANNOUNCED; may be given
    /// several times
    #[arg(long, env = "SLOTWAY_ANNOUNCE_MAP", value_delimiter = ',')]
    pub announce_map: Option<Vec<PortMapping>>,
    /// Name the keys and slots in every CROSSSLOT error
    #[arg(long, env = "SLOTWAY_EXPLAIN", num_args = 0..=1, default_missing_value = "true")]
    pub explain: Option<bool>,
    /// What the router port does with keys in several slots: reject them, audit them (run them as
    /// one server without slots would) or split commands that can be split by key [default: reject]
    #[arg(long, env = "SLOTWAY_CROSS_SLOT")]
    pub cross_slot: Option<Policy>,
    /// Number of databases for SELECT under --cross-slot audit [default: 16 if that is given, else
    /// 1]
    #[arg(long, env = "SLOTWAY_DATABASES")]
    pub databases: Option<usize>,
    /// Refuse SLOTWAY commands that change something
    #[arg(long, env = "SLOTWAY_NO_ADMIN", num_args = 0..=1, default_missing_value = "true")]
    pub no_admin: Option<bool>,
    /// Scenario to run from the start: a file of orders and their times (see slotway ctl --help)
    #[arg(long, env = "SLOTWAY_SCENARIO")]
    pub scenario: Option<PathBuf>,
    /// What to log, to stderr: error, warn, info, debug, trace, or filters such as slotway=debug
    /// [default: info]
    #[arg(long, env = "SLOTWAY_LOG")]
    pub log: Option<String>,
    /// Format of the line on stdout that says that the server is ready [default: text]
    #[arg(long, env = "SLOTWAY_OUTPUT")]
    pub output: Option<Output>,
    /// Seed of all randomness, for reproducible runs [default: from the system]
    #[arg(long, env = "SLOTWAY_SEED")]
    pub seed: Option<u64>,
    /// Configuration file
    #[arg(long, env = "SLOTWAY_CONFIG")]
    #[serde(skip)]
    pub config: Option<PathBuf>,
}

/// The first node port: a number, `0` for any free ones, or `off`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Word")]
pub(super) enum NodePorts {
    /// No node ports.
    Off,
    /// The first one; the others follow it, unless it is 0.
    From(u16),
}

/// A number or a word in TOML.
#[derive(Deserialize)]
#[serde(untagged)]
enum Word {
    Number(i64),
    Text(String),
}

impl TryFrom<Word> for NodePorts {
    type Error = String;

    fn try_from(word: Word) -> Result<Self, String> {
        match word {
            Word::Number(number) => number.to_string().parse(),
            Word::Text(text) => text.parse(),
        }
    }
}

impl FromStr for NodePorts {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Self::Off),
            _ => text
                .parse()
                .map(Self::From)
                .map_err(|_| "must be the first node port, 0 for any free ones, or off".to_owned()),
        }
    }
}

/// What the router port does with keys in several slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Policy {
    /// Reject them.
    Reject,
    /// Run everything as one server without slots would.
    Audit,
    /// Split commands that can be split by key.
    Split,
}

impl Policy {
    pub(super) fn rule(self) -> CrossSlot {
        match self {
            Self::Reject => CrossSlot::Reject,
            Self::Audit => CrossSlot::Audit,
            Self::Split => CrossSlot::Split,
        }
    }
}

/// The server whose rules the node ports follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::cli) enum DialectName {
    /// Redis 7.
    Redis7,
    /// Redis 8.2.
    Redis8,
    /// Redis 8.10.
    #[value(name = "redis8.10")]
    #[serde(rename = "redis8.10")]
    Redis8_10,
    /// Valkey 9.
    Valkey9,
    /// Redis Enterprise.
    Enterprise,
    /// ElastiCache Serverless.
    Serverless,
}

impl DialectName {
    /// Returns its rules.
    pub(in crate::cli) fn dialect(self) -> &'static Dialect {
        match self {
            Self::Redis7 => &Dialect::REDIS7,
            Self::Redis8 => &Dialect::REDIS8,
            Self::Redis8_10 => &Dialect::REDIS8_10,
            Self::Valkey9 => &Dialect::VALKEY9,
            Self::Enterprise => &Dialect::ENTERPRISE,
            Self::Serverless => &Dialect::SERVERLESS,
        }
    }
}

/// A module that can be loaded.
#[cfg(feature = "json")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum ModuleName {
    /// RedisJSON.
    Json,
}

/// Returns a dialect's rules with these modules loaded.
#[cfg(feature = "json")]
pub(in crate::cli) fn with_modules(
    dialect: &'static Dialect,
    modules: &[ModuleName],
) -> &'static Dialect {
    if modules.contains(&ModuleName::Json) { dialect.with_json() } else { dialect }
}

/// A listening port and the port announced for it, `listened:announced`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct PortMapping(pub u16, pub u16);

impl FromStr for PortMapping {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let ports = text.split_once(':').and_then(|(listened, advertised)| {
            Some(Self(listened.parse().ok()?, advertised.parse().ok()?))
        });
        ports.ok_or_else(|| "must be LISTENED:ANNOUNCED, two ports such as 7001:17001".to_owned())
    }
}

impl TryFrom<String> for PortMapping {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// What is announced to clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum AnnounceMode {
    /// The nodes, with the address that is listened on.
    Nodes,
    /// Retired: most clients need a host.
    #[value(hide = true)]
    Dialled,
    /// The router port alone, as the owner of all slots.
    Router,
}

/// The format of the output on stdout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Output {
    /// A line of text.
    Text,
    /// A line of JSON.
    Json,
}

impl Options {
    /// Returns these options, completed from the configuration file that they name.
    pub(super) fn with_file(self) -> Result<Self, Failure> {
        let Some(path) = self.config.clone() else { return Ok(self) };
        let file = Self::from_file(&path)?;
        Ok(Self {
            port: self.port.or(file.port),
            bind: self.bind.or(file.bind),
            shards: self.shards.or(file.shards),
            threads: self.threads.or(file.threads),
            requirepass: self.requirepass.or(file.requirepass),
            maxclients: self.maxclients.or(file.maxclients),
            node_ports: self.node_ports.or(file.node_ports),
            replicas: self.replicas.or(file.replicas),
            replica_lag: self.replica_lag.or(file.replica_lag),
            spare_nodes: self.spare_nodes.or(file.spare_nodes),
            dialect: self.dialect.or(file.dialect),
            #[cfg(feature = "json")]
            modules: self.modules.or(file.modules),
            announce: self.announce.or(file.announce),
            announce_host: self.announce_host.or(file.announce_host),
            announce_map: self.announce_map.or(file.announce_map),
            explain: self.explain.or(file.explain),
            cross_slot: self.cross_slot.or(file.cross_slot),
            databases: self.databases.or(file.databases),
            no_admin: self.no_admin.or(file.no_admin),
            scenario: self.scenario.or(file.scenario),
            log: self.log.or(file.log),
            output: self.output.or(file.output),
            seed: self.seed.or(file.seed),
            config: self.config,
        })
    }

    fn from_file(path: &Path) -> Result<Self, Failure> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| Failure::usage(format!("cannot read {}: {error}", path.display())))?;
        toml::from_str(&text)
            .map_err(|error| Failure::usage(format!("{}: {error}", path.display())))
    }

    /// Returns the rules of the server, with its modules.
    pub(super) fn rules(&self) -> &'static Dialect {
        let dialect = self.dialect.unwrap_or(DialectName::Redis7).dialect();
        #[cfg(feature = "json")]
        return with_modules(dialect, self.modules.as_deref().unwrap_or_default());
        #[cfg(not(feature = "json"))]
        dialect
    }

    /// Returns the number of databases.
    pub(super) fn databases(&self) -> usize {
        let by_default = match self.cross_slot {
            Some(Policy::Audit) => DATABASES_DEFAULT,
            _ => 1,
        };
        self.databases.unwrap_or(by_default)
    }

    /// Returns the plan of the nodes.
    pub(super) fn plan(&self, seed: u64) -> Plan {
        Plan {
            masters: self.shards.unwrap_or(SHARDS_DEFAULT),
            replicas: self.replicas.unwrap_or(0),
            spares: self.spare_nodes.unwrap_or(0),
            replica_lag_ms: self.replica_lag_ms().ok().flatten(),
            seed,
        }
    }

    /// Returns the replicas' lag in milliseconds, if they lag.
    fn replica_lag_ms(&self) -> Result<Option<Millis>, Failure> {
        let Some(lag) = self.replica_lag else { return Ok(None) };
        let ms = lag.ms("--replica-lag")?;
        let ms = Millis::try_from(ms).ok().filter(|&ms| ms <= LAG_MS_MAX);
        let ms = ms.ok_or_else(|| Failure::usage("--replica-lag: an hour (1h) at the most"))?;
        if self.replicas.unwrap_or(0) == 0 {
            return Err(Failure::usage("--replica-lag: there are no replicas; add --replicas 1"));
        }
        Ok(Some(ms).filter(|&ms| ms > 0))
    }

    /// Returns how nodes are announced to clients.
    pub(super) fn announce(&self) -> Announce {
        let given = self.announce_host.clone().map(AnnouncedHost::Given);
        let host = given.unwrap_or(AnnouncedHost::Listened);
        Announce {
            host,
            ports: self
                .announce_map
                .iter()
                .flatten()
                .map(|&PortMapping(listened, advertised)| (listened, advertised))
                .collect(),
            router_only: self.announce == Some(AnnounceMode::Router),
        }
    }

    /// Checks the options against their limits and each other.
    pub(super) fn check(&self) -> Result<(), Failure> {
        let within = |name: &str, value: Option<usize>, max: usize| match value {
            Some(value) if value < 1 || value > max => {
                Err(Failure::usage(format!("--{name} {value}: must be from 1 to {max}")))
            }
            _ => Ok(()),
        };
        within("shards", self.shards, SHARDS_MAX)?;
        within("threads", self.threads, THREADS_MAX)?;
        let plan = self.plan(0);
        if plan.nodes() > NODES_MAX {
            return Err(Failure::usage(format!(
                "--shards {} --replicas {} --spare-nodes {}: at most {NODES_MAX} nodes",
                plan.masters, plan.replicas, plan.spares
            )));
        }
        self.replica_lag_ms()?;
        let unnamed = self.announce_host.as_ref().is_some_and(|host| !is_host(host));
        if unnamed {
            return Err(Failure::usage("--announce-host: must be a host's name or address"));
        }
        if self.announce == Some(AnnounceMode::Dialled) {
            return Err(Failure::usage(
                "--announce dialled is gone: most clients cannot connect without a host; use \
                 --announce-host localhost, or the name under which clients reach this machine",
            ));
        }
        within("databases", self.databases, DATABASES_MAX)?;
        within("maxclients", self.maxclients, CLIENTS_MAX)?;
        if self.requirepass.as_ref().is_some_and(|p| p.len() > PASSWORD_LEN_MAX) {
            return Err(Failure::usage(format!("--requirepass: at most {PASSWORD_LEN_MAX} bytes")));
        }
        if self.bind.as_ref().is_some_and(Vec::is_empty) {
            return Err(Failure::usage("--bind: name at least one address"));
        }
        Ok(())
    }
}

/// Returns whether `text` can be announced as a host: in a reply of one line and in `host:port`.
fn is_host(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:".contains(&b))
}

/// Shards by default.
pub(super) const SHARDS_DEFAULT: usize = 3;
/// Most threads.
pub(super) const THREADS_MAX: usize = 1024;
/// Most clients.
const CLIENTS_MAX: usize = 10_000_000;
/// Longest password, in bytes: what an unauthenticated client may send in one argument.
const PASSWORD_LEN_MAX: usize = crate::resp::UNAUTHENTICATED_BULK_LEN_MAX as usize;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replicas_lag_by_whole_milliseconds_if_there_are_any() {
        let lag_of = |text: &str| toml::from_str::<Options>(text).expect("options");
        let options = lag_of("replicas = 1\nreplica-lag = \"2s\"\n");
        options.check().expect("a lag that can be");
        assert_eq!(options.plan(0).replica_lag_ms, Some(2000));
        assert_eq!(lag_of("replicas = 1\nreplica-lag = \"0s\"").plan(0).replica_lag_ms, None);
        for (text, said) in [
            ("replica-lag = \"50ms\"", "--replicas 1"),
            ("replicas = 1\nreplica-lag = \"500us\"", "1ms"),
            ("replicas = 1\nreplica-lag = \"61m\"", "1h"),
        ] {
            let failure = lag_of(text).check().expect_err(text);
            assert!(failure.message.contains(said) && failure.code == 2, "{}", failure.message);
        }
    }

    #[test]
    fn a_file_fills_in_what_was_not_given() {
        let dir = std::env::temp_dir().join(format!("slotway-options-{}", std::process::id()));
        std::fs::write(
            &dir,
            "port = 1\nshards = 8\nbind = [\"::1\"]\noutput = \"json\"\nnode-ports = \"off\"\n",
        )
        .expect("a temporary file");
        let given = Options { port: Some(2), config: Some(dir.clone()), ..Options::default() };
        let options = given.with_file().expect("a good file");
        assert_eq!(
            (options.port, options.shards, options.output),
            (Some(2), Some(8), Some(Output::Json))
        );
        std::fs::write(&dir, "sharts = 8\n").expect("a temporary file");
        let given = Options { config: Some(dir.clone()), ..Options::default() };
        let failure = given.with_file().expect_err("an unknown name");
        assert!(failure.message.contains("sharts") && failure.code == 2, "{}", failure.message);
        std::fs::remove_file(dir).expect("removed");
    }
}
