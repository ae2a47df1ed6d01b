//! The state of the process, as its commands see it. Its children, from the leaves up:
//!
//! ```text
//! process          memory and CPU time, as the operating system reports them
//! histogram        command times in buckets
//! stats            counters of connections and traffic
//! commandstats     calls, times and errors by command
//! slowlog          SLOWLOG
//! latency_monitor  LATENCY
//! pause            CLIENT PAUSE
//! clients          the connected clients: CLIENT LIST, blocked clients, their outboxes
//! settings         CONFIG
//! pubsub           channels and their subscribers
//! monitor          MONITOR
//! recorder         the queue of notes on violations and conflicts, for the ledger
//! observer         what a command reports to when it is slow, monitored or refused
//! ```
//!
//! Randomness, clock and operating system are passed in through [`ServerConfig`]; nothing here
//! reads them by itself.

pub mod process;
mod histogram;
mod stats;
mod commandstats;
mod slowlog;
mod latency_monitor;
mod pause;
pub mod clients;
pub mod settings;
pub mod pubsub;
mod monitor;
pub mod recorder;
mod observer;

pub use commandstats::{CommandCounts, CommandStats, CommandStatsStripes};
pub use histogram::Histogram;
pub use latency_monitor::{LatencyMonitor, LatencySpike, Sample};
pub use monitor::Monitors;
pub use observer::{Instrumentation, ObservedCommand, Observer};
pub use pause::{Pause, Paused};
pub use process::Usage;
pub use recorder::{About, Keys as NoteKeys, Note, Recorder};
pub use slowlog::{SlowEntry, Slowlog};
pub use stats::{Counter, Rate, Stats};

use crate::faults::Faults;
use crate::keyspace::Millis;
use crate::replication::ReplicationStreams;
use crate::state::clients::Clients;
use crate::state::pubsub::PubSub;
use crate::state::settings::{EndpointType, Settings};
use crate::topology::{Announce, Port, Topology};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use tokio::sync::Notify;

/// The Redis version reported to clients: some choose their commands by it.
pub const REDIS_VERSION: &str = "7.2.4";
/// Slotway's own version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The state of the process.
#[derive(Debug)]
pub struct ServerState {
    /// The parameters of CONFIG.
    pub settings: Arc<Settings>,
    /// The connected clients.
    pub clients: Arc<Clients>,
    /// The subscriptions.
    pub pubsub: Arc<PubSub>,
    /// Connection and traffic counters.
    pub stats: Stats,
    /// What observes commands as they run: slow log, latency monitor, MONITOR.
    pub observer: Arc<Observer>,
    /// CLIENT PAUSE.
    pub pause: Pause,
    /// Whether expired keys are removed without being accessed (`DEBUG SET-ACTIVE-EXPIRE`).
    pub expires_keys: AtomicBool,
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
    /// Whether `SLOTWAY …` may change anything.
    pub admin_enabled: bool,
    /// What does not change while the process runs.
    pub identity: Identity,
    /// The run id: 40 hexadecimal digits, different for each run.
    pub run_id: String,
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
        let mut digit = || char::from_digit(chance.u32(..16), 16).unwrap_or('0');
        if let Some(lag_ms) = config.topology.replica_lag_ms() {
            config.settings.set_replica_lag(lag_ms);
        }
        let (settings, clients) = (Arc::new(config.settings), Arc::<Clients>::default());
        let watched = (Arc::clone(&clients), Arc::clone(&settings));
        let server = Self {
            observer: Arc::new(Observer::new(watched.0, watched.1, config.tick_ns)),
            settings,
            clients,
            pause: Pause::default(),
            expires_keys: AtomicBool::new(true),
            shutdown: Shutdown::default(),
            pubsub: Arc::default(),
            stats: Stats::default(),
            topology: Arc::new(config.topology),
            replication_streams: ReplicationStreams::default(),
            announce: config.announce,
            faults: Faults::default(),
            admin_enabled: config.admin_enabled,
            identity: config.identity,
            run_id: (0..40).map(|_| digit()).collect(),
            usage: config.usage,
        };
        server.apply_settings();
        server
    }

    /// Applies the settings that concern the topology.
    pub fn apply_settings(&self) {
        let settings = &self.settings;
        self.topology.set_rules(settings.needs_all_slots(), settings.reads_when_down());
    }

    /// Returns the host and port of a node that listens on `port`, for a client that reached this
    /// process under `local`. An empty host means the one that the client connected to.
    #[must_use]
    pub fn endpoint(&self, port: u16, local: SocketAddr) -> (String, u16) {
        let host = match self.settings.endpoint_type() {
            EndpointType::Ip => self.announce.host(local),
            EndpointType::Hostname => match self.settings.hostname() {
                // Redis' reply for a node whose hostname is not set.
                name if name.is_empty() => "?".to_owned(),
                name => name,
            },
            EndpointType::Unknown => String::new(),
        };
        (host, self.announce.advertised_port(port))
    }

    /// Returns the mode that `port` reports: `standalone` or `cluster`.
    #[must_use]
    pub fn mode(&self, port: Port) -> &'static str {
        match port {
            Port::Router if !self.announce.router_only => "standalone",
            Port::Router | Port::Node(_) => "cluster",
        }
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
