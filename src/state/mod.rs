//! The process as its commands see it: its settings, its clients, its counters, and who it is.
//!
//! Everything that comes from outside, chance, the clock and the operating system, is handed in
//! through [`ServerConfig`]; [`process`] is what the program hands in.

pub mod settings;
mod histogram;
mod stats;
mod pause;
mod slowlog;
mod latency_monitor;
mod commandstats;
pub mod process;
pub mod clients;
pub mod pubsub;
mod monitor;
pub mod recorder;
mod observer;

pub use commandstats::{CommandStats, CommandStatsStripes, Row};
pub use histogram::Histogram;
pub use latency_monitor::{LatencyMonitor, LatencySpike, Sample};
pub use monitor::Monitors;
pub use observer::{Instrumentation, ObservedCommand, Observer};
pub use pause::{Pause, Paused};
pub use process::Usage;
pub use recorder::{About, Note, Recorder};
pub use slowlog::{SlowEntry, Slowlog};
pub use stats::{Counter, Rate, Stats};

pub use crate::ledger::KeyList as NoteKeys;

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

/// The Redis version whose clients we please: some choose what they send by it.
pub const REDIS_VERSION: &str = "7.2.4";
/// Our own version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The process.
#[derive(Debug)]
pub struct ServerState {
    /// What CONFIG reads and changes.
    pub settings: Arc<Settings>,
    /// Who is connected.
    pub clients: Arc<Clients>,
    /// Who is subscribed to what.
    pub pubsub: Arc<PubSub>,
    /// What was counted.
    pub stats: Stats,
    /// Who is told of commands as they run.
    pub observer: Arc<Observer>,
    /// What CLIENT PAUSE holds up.
    pub pause: Pause,
    /// Whether keys that nobody asks for are taken away when their time has come.
    pub expires_keys: AtomicBool,
    /// Tells the program to stop, once somebody has asked for it (`SHUTDOWN`).
    pub stop: Stop,
    /// Who owns which slot.
    pub topology: Arc<Topology>,
    /// Which shards follow others, late.
    pub feeds: ReplicationStreams,
    /// How nodes are told to clients.
    pub announce: Announce,
    /// What goes wrong on purpose.
    pub faults: Faults,
    /// Whether `SLOTWAY …` may change anything.
    pub admin_enabled: bool,
    /// What does not change while it runs.
    pub identity: Identity,
    /// 40 hexadecimal digits, different for each run.
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
    /// When it started.
    pub started_at: Millis,
    /// How many shards it has.
    pub shards: usize,
    /// How many threads run them.
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

/// All that makes a [`ServerState`].
#[derive(Debug)]
pub struct ServerConfig {
    /// Who it is.
    pub identity: Identity,
    /// Its settings at the start.
    pub settings: Settings,
    /// Its nodes and their slots.
    pub topology: Topology,
    /// How nodes are told to clients.
    pub announce: Announce,
    /// Whether `SLOTWAY …` may change anything.
    pub admin_enabled: bool,
    /// Chance, for the run's id.
    pub seed: u64,
    /// What the process uses of the machine, when asked.
    pub usage: fn() -> Usage,
    /// How many nanoseconds a tick of the clock has that commands are measured with.
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
    /// A process without clients.
    #[must_use]
    pub fn new(config: ServerConfig) -> Self {
        let mut chance = fastrand::Rng::with_seed(config.seed);
        let mut digit = || char::from_digit(chance.u32(..16), 16).unwrap_or('0');
        if let Some(lag_ms) = config.topology.replica_lag_ms() {
            config.settings.let_replicas_lag(lag_ms);
        }
        let (settings, clients) = (Arc::new(config.settings), Arc::<Clients>::default());
        let watched = (Arc::clone(&clients), Arc::clone(&settings));
        let server = Self {
            observer: Arc::new(Observer::new(watched.0, watched.1, config.tick_ns)),
            settings,
            clients,
            pause: Pause::default(),
            expires_keys: AtomicBool::new(true),
            stop: Stop::default(),
            pubsub: Arc::default(),
            stats: Stats::default(),
            topology: Arc::new(config.topology),
            feeds: ReplicationStreams::default(),
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

    /// Has the topology follow the settings that concern it.
    pub fn apply_settings(&self) {
        let settings = &self.settings;
        self.topology.set_rules(settings.needs_all_slots(), settings.reads_when_down());
    }

    /// Where a node that listens on `port` is told to be, to a client that has reached this process
    /// under `local`: host, empty for whatever the client dialled, and port.
    #[must_use]
    pub fn endpoint(&self, port: u16, local: SocketAddr) -> (String, u16) {
        let host = match self.settings.endpoint_type() {
            EndpointType::Ip => self.announce.host(local),
            EndpointType::Hostname => match self.settings.hostname() {
                // What Redis tells of a node whose name nobody has said.
                name if name.is_empty() => "?".to_owned(),
                name => name,
            },
            EndpointType::Unknown => String::new(),
        };
        (host, self.announce.port(port))
    }

    /// What clients of this port are to take the process for: `standalone` or `cluster`.
    #[must_use]
    pub fn mode(&self, port: Port) -> &'static str {
        match port {
            Port::Router if !self.announce.router_only => "standalone",
            Port::Router | Port::Node(_) => "cluster",
        }
    }

    /// What the process uses of the machine at this moment.
    #[must_use]
    pub fn usage(&self) -> Usage {
        (self.usage)()
    }
}

/// A wish that the process end, and whoever waits for it.
#[derive(Debug, Default)]
pub struct Stop {
    wished: Notify,
}

impl Stop {
    /// Wishes it. A wish that nobody waits for is kept.
    pub fn wish(&self) {
        self.wished.notify_one();
    }

    /// Completes when it was wished.
    pub async fn wished(&self) {
        self.wished.notified().await;
    }
}
