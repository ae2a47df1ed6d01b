//! The state of the process, as its commands see it. Its children, from the leaves up:
//!
//! ```text
//! process          memory and CPU time, as the operating system reports them
//! histogram        command times in buckets
//! stats            counters of connections and traffic
//! commandstats     calls, times and errors by command
//! slowlog          SLOWLOG
//! slot_traffic     what the commands of each slot take: CLUSTER SLOT-STATS
//! latency_monitor  LATENCY
//! pause            CLIENT PAUSE
//! running_scripts  scripts that make others wait: BUSY, SCRIPT KILL, FUNCTION STATS
//! migration_end    how a migration of whole slots ends, in the servers' words
//! slot_migrations  slots that migrate as a whole: CLUSTER MIGRATESLOTS, CLUSTER MIGRATION
//! clients          the connected clients: CLIENT LIST, blocked clients, their outboxes
//! settings         CONFIG
//! pubsub           channels and their subscribers
//! tracking         CLIENT TRACKING: keys that clients have read, and their invalidations
//! monitor          MONITOR
//! recorder         the queue of notes on violations and conflicts, for the ledger
//! observer         what a command reports to when it is slow, monitored or refused
//! node             what belongs to one node: all of the above but process
//! nodes            all nodes' states, and which of them hear of a shard's events
//! tracking_seat    a session's part in CLIENT TRACKING
//! ```
//!
//! Randomness, clock and operating system are passed in through [`ServerConfig`]; nothing here
//! reads them by itself.

pub(crate) mod process;
mod histogram;
mod stats;
mod commandstats;
mod slowlog;
mod slot_traffic;
mod latency_monitor;
mod pause;
mod running_scripts;
mod migration_end;
mod slot_migrations;
pub(crate) mod clients;
pub(crate) mod settings;
pub(crate) mod pubsub;
pub(crate) mod tracking;
mod monitor;
pub(crate) mod recorder;
mod observer;
mod node;
mod nodes;
mod tracking_seat;

pub(crate) use commandstats::{CommandCounts, CommandStats, CommandStatsStripes};
pub(crate) use histogram::Histogram;
#[cfg(test)]
pub(crate) use latency_monitor::Sample;
pub(crate) use latency_monitor::{LatencyMonitor, LatencySpike};
pub(crate) use migration_end::{MigrationEnd, MigrationPart, MigrationState};
pub(crate) use monitor::Monitors;
pub(crate) use node::NodeState;
pub(crate) use nodes::Nodes;
pub(crate) use observer::{Instrumentation, ObservedCommand, Observer};
pub(crate) use pause::{Pause, Paused};
pub(crate) use process::Usage;
pub(crate) use recorder::{About, Note, Recorder};
pub(crate) use running_scripts::{Killed, RunningFunction, RunningScripts, ScriptKind};
pub(crate) use slot_migrations::{MigrationRecord, SlotMigrationJob, SlotMigrations, SlotRange};
pub(crate) use slot_traffic::{SlotTraffic, SlotUse};
pub(crate) use slowlog::Slowlog;
pub(crate) use stats::{Counter, Stats};
pub(crate) use tracking_seat::TrackingSeat;

pub(crate) use crate::ledger::KeyList as NoteKeys;

use crate::dialect::Product;
use crate::faults::Faults;
use crate::keyspace::Millis;
use crate::replication::ReplicationStreams;
use crate::state::settings::{EndpointType, Settings};
use crate::topology::{Announce, NodeNumber, Port, Topology};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use tokio::sync::Notify;

/// Slotway's own version.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The state of the process.
#[derive(Debug)]
pub struct ServerState {
    /// The router port's state, and each node's.
    pub nodes: Arc<Nodes>,
    /// Shuts the process down on request (`SHUTDOWN`).
    pub shutdown: Shutdown,
    /// Nodes and owners of slots.
    pub topology: Arc<Topology>,
    /// The streams of lagging replicas.
    pub replication_streams: ReplicationStreams,
    /// How nodes are announced to clients.
    pub announce: Announce,
    /// Injected faults.
    pub faults: Faults,
    /// Slots that migrate as a whole.
    pub slot_migrations: SlotMigrations,
    /// The scripts that make others wait.
    pub running_scripts: RunningScripts,
    /// The memory of the states that run scripts, in bytes.
    pub script_memory: AtomicU64,
    /// Whether `SLOTWAY …` may change anything.
    pub admin_enabled: bool,
    /// What does not change while the process runs.
    pub identity: Identity,
    /// The server whose commands and replies the process has.
    pub product: &'static Product,
    /// The resident memory when the process began to serve, in bytes.
    pub startup_memory: u64,
    usage: fn() -> Usage,
}

/// What does not change while a process runs.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The process's id.
    pub pid: u32,
    /// The router's port.
    pub port: u16,
    /// The program's path.
    pub executable: String,
    /// The configuration file's path, or nothing.
    pub config_file: String,
    /// The operating system, as `INFO` shows it.
    pub os: String,
    /// The time of its start.
    pub started_at: Millis,
    /// The number of shards.
    pub shards: usize,
    /// The number of threads.
    pub threads: usize,
}

impl Default for Identity {
    fn default() -> Self {
        Self {
            pid: 0,
            port: 0,
            executable: String::new(),
            config_file: String::new(),
            os: String::new(),
            started_at: 0,
            shards: 1,
            threads: 1,
        }
    }
}

/// The configuration of a [`ServerState`].
#[derive(Debug)]
pub struct ServerConfig {
    /// What does not change while the process runs.
    pub identity: Identity,
    /// The parameters at the start.
    pub settings: Settings,
    /// The server whose commands, replies and parameters the process has.
    pub product: &'static Product,
    /// Nodes and owners of slots.
    pub topology: Topology,
    /// How nodes are announced to clients.
    pub announce: Announce,
    /// Whether `SLOTWAY …` may change anything.
    pub admin_enabled: bool,
    /// Seed of the run id.
    pub seed: u64,
    /// Returns the process's use of memory and CPU time.
    pub usage: fn() -> Usage,
    /// Nanoseconds per tick of the clock that commands are measured with.
    pub tick_ns: f64,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            identity: Identity::default(),
            settings: Settings::default(),
            product: &Product::REDIS7,
            topology: Topology::even(1),
            announce: Announce::default(),
            admin_enabled: true,
            seed: 0,
            usage: Usage::default,
            tick_ns: 1.0,
        }
    }
}

impl ServerState {
    /// Makes the state of a process without clients.
    #[must_use]
    pub fn new(config: ServerConfig) -> Self {
        let mut chance = fastrand::Rng::with_seed(config.seed);
        if let Some(lag_ms) = config.topology.replica_lag_ms() {
            config.settings.set_replica_lag(lag_ms);
        }
        let (nodes, tick_ns) = (config.topology.nodes(), config.tick_ns);
        let router = NodeState::of_router(config.settings, nodes, tick_ns, &mut chance);
        let mut all = Vec::with_capacity(nodes + 1);
        for node in 0..nodes {
            let port = (Port::Node(node), config.topology.port_of(node));
            let product = config.product;
            all.push(Arc::new(NodeState::of_node(&router, product, port, &mut chance)));
        }
        all.insert(0, Arc::new(router));
        let topology = Arc::new(config.topology);
        Self {
            nodes: Arc::new(Nodes::new(all.into(), Arc::clone(&topology))),
            shutdown: Shutdown::default(),
            running_scripts: RunningScripts::new(topology.shards()),
            topology,
            replication_streams: ReplicationStreams::default(),
            announce: config.announce,
            faults: Faults::default(),
            slot_migrations: SlotMigrations::new(chance.u64(..)),
            script_memory: AtomicU64::new(0),
            admin_enabled: config.admin_enabled,
            identity: config.identity,
            product: config.product,
            startup_memory: (config.usage)().resident,
            usage: config.usage,
        }
    }

    /// The state of the node that clients of `port` speak to.
    #[must_use]
    #[inline]
    pub fn node(&self, port: Port) -> &Arc<NodeState> {
        self.nodes.at(port)
    }

    /// The state of the router port, for what no client has asked for.
    #[must_use]
    #[inline]
    pub fn router(&self) -> &NodeState {
        self.node(Port::Router)
    }

    /// Returns the address that a node, or the router port, announces to a client that reached this
    /// process under `local`: its host, empty for the one that the client connected to, and its
    /// port. A node without a port of its own is reached through the router's.
    #[must_use]
    pub fn address_of(&self, port: Port, local: SocketAddr) -> (String, u16) {
        let settings = &self.node(port).settings;
        let host = settings.announced_host(local.ip()).unwrap_or_else(|| self.announce.host(local));
        (host, settings.announced_port().unwrap_or_else(|| self.mapped_port(port)))
    }

    /// Returns the port that a node, or the router port, announces unless its settings have another.
    #[must_use]
    pub fn mapped_port(&self, port: Port) -> u16 {
        let own = match port {
            Port::Router => 0,
            Port::Node(node) => self.topology.port_of(node),
        };
        self.announce.advertised_port(if own == 0 { self.identity.port } else { own })
    }

    /// Returns the host and port, of a node or the router port, that a client of `asked` is given to
    /// connect to, by the settings of the port that it asks. An empty host means the one that the
    /// client connected to.
    #[must_use]
    pub fn endpoint(&self, asked: Port, of: Port, local: SocketAddr) -> (String, u16) {
        let (host, port) = self.address_of(of, local);
        let host = match self.node(asked).settings.endpoint_type() {
            EndpointType::Ip => host,
            EndpointType::Hostname => match self.node(of).settings.hostname() {
                // Redis' reply for a node whose hostname is not set.
                name if name.is_empty() => "?".to_owned(),
                name => name,
            },
            EndpointType::Unknown => String::new(),
        };
        (host, port)
    }

    /// Returns the node that announces this port.
    #[must_use]
    pub fn node_announced_at(&self, port: u16) -> Option<NodeNumber> {
        let announces =
            |&node: &NodeNumber| self.node(Port::Node(node)).settings.announces_port(port);
        let announcing = (0..self.topology.nodes()).find(announces);
        announcing.or_else(|| self.topology.node_at(self.announce.listening_port(port)))
    }

    /// Returns the mode that `port` reports: `standalone` or `cluster`.
    #[must_use]
    pub fn mode(&self, port: Port) -> &'static str {
        if self.is_clustered(port) { "cluster" } else { "standalone" }
    }

    /// Returns whether `port` is a cluster node to its clients: the router port is one only if it
    /// announces itself.
    #[must_use]
    pub fn is_clustered(&self, port: Port) -> bool {
        port != Port::Router || self.announce.router_only
    }

    /// Returns the process's use of memory and CPU time.
    #[must_use]
    pub fn usage(&self) -> Usage {
        (self.usage)()
    }
}

/// A request to shut the process down, and the task that waits for it.
#[derive(Debug, Default)]
pub struct Shutdown {
    requested: Notify,
}

impl Shutdown {
    /// Requests the shutdown. The request is kept until a task waits for it.
    pub fn request(&self) {
        self.requested.notify_one();
    }

    /// Completes when the shutdown was requested.
    pub async fn requested(&self) {
        self.requested.notified().await;
    }
}
