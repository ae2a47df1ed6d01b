//! The parameters of a node as a member of its cluster (`cluster-…`).

use super::{EndpointType, Settings};
use crate::topology::DownRules;
use parking_lot::RwLock;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, Ordering};

/// The bit of [`Settings::slot_metrics`] for their time.
pub(crate) const SLOT_TIME: u8 = 1;
/// The bit for the bytes of their requests and replies.
pub(crate) const SLOT_BYTES: u8 = 1 << 1;

/// What a node announces of itself, and how it behaves while others are down.
#[derive(Debug)]
pub(super) struct ClusterSettings {
    /// The announced host, or nothing.
    pub(super) ip: RwLock<Box<[u8]>>,
    /// The announced hostname, or nothing.
    pub(super) hostname: RwLock<Box<[u8]>>,
    /// The announced port; 0 for the one that is listened on, as the next two.
    pub(super) port: AtomicI64,
    /// Shown only: no port here speaks TLS.
    pub(super) tls_port: AtomicI64,
    pub(super) bus_port: AtomicI64,
    /// Index into [`EndpointType::ALL`].
    pub(super) endpoint_type: AtomicU8,
    pub(super) needs_all_slots: AtomicBool,
    pub(super) reads_when_down: AtomicBool,
    pub(super) channels_when_down: AtomicBool,
    // What follows decides nothing here: nodes fail and replicas are promoted by order only.
    /// In milliseconds.
    pub(super) node_timeout: AtomicI64,
    pub(super) validity_factor: AtomicI64,
    pub(super) migration_barrier: AtomicI64,
    pub(super) no_failover: AtomicBool,
    pub(super) replicas_migrate: AtomicBool,
    /// What is counted of the commands of each slot: [`SLOT_TIME`], [`SLOT_BYTES`].
    pub(super) slot_metrics: AtomicU8,
    /// What Valkey alone has.
    pub(super) valkey: ValkeyClusterSettings,
}

/// The parameters that only Valkey has of a node as a member of its cluster.
#[derive(Debug)]
pub(super) struct ValkeyClusterSettings {
    /// The host for clients that have connected by IPv4, or nothing.
    pub(super) client_ipv4: RwLock<Box<[u8]>>,
    /// The host for those that have connected by IPv6, or nothing.
    pub(super) client_ipv6: RwLock<Box<[u8]>>,
    /// The port for clients; 0 for the one that is announced to all.
    pub(super) client_port: AtomicI64,
    /// Shown only: no port here speaks TLS.
    pub(super) client_tls_port: AtomicI64,
    /// Shown only: Valkey has it in its log.
    pub(super) node_name: RwLock<Box<[u8]>>,
    pub(super) migration_log_len: AtomicI64,
    // What follows decides nothing here: a node is forgotten, and a replica promoted, at once; no
    // file is written.
    pub(super) blacklist_ttl_s: AtomicI64,
    pub(super) failover_timeout_ms: AtomicI64,
    /// Index into [`SAVE_WORDS`].
    pub(super) save_behavior: AtomicU8,
}

/// The values of `cluster-config-save-behavior`.
pub(super) const SAVE_WORDS: &[&str] = &["sync", "best-effort"];

impl Default for ValkeyClusterSettings {
    fn default() -> Self {
        Self {
            client_ipv4: RwLock::default(),
            client_ipv6: RwLock::default(),
            client_port: AtomicI64::new(0),
            client_tls_port: AtomicI64::new(0),
            node_name: RwLock::default(),
            blacklist_ttl_s: AtomicI64::new(60),
            failover_timeout_ms: AtomicI64::new(5000),
            save_behavior: AtomicU8::new(0),
            migration_log_len: AtomicI64::new(1000),
        }
    }
}

impl Default for ClusterSettings {
    fn default() -> Self {
        Self {
            ip: RwLock::default(),
            hostname: RwLock::default(),
            port: AtomicI64::new(0),
            tls_port: AtomicI64::new(0),
            bus_port: AtomicI64::new(0),
            endpoint_type: AtomicU8::new(0),
            needs_all_slots: AtomicBool::new(true),
            reads_when_down: AtomicBool::new(false),
            channels_when_down: AtomicBool::new(true),
            node_timeout: AtomicI64::new(15_000),
            validity_factor: AtomicI64::new(10),
            migration_barrier: AtomicI64::new(1),
            no_failover: AtomicBool::new(false),
            replicas_migrate: AtomicBool::new(true),
            slot_metrics: AtomicU8::new(0),
            valkey: ValkeyClusterSettings::default(),
        }
    }
}

impl Settings {
    /// Returns when the node serves although its cluster is down.
    #[must_use]
    pub fn down_rules(&self) -> DownRules {
        let is = |cell: &AtomicBool| cell.load(Ordering::Relaxed);
        DownRules {
            needs_all_slots: is(&self.cluster.needs_all_slots),
            reads_when_down: is(&self.cluster.reads_when_down),
            channels_when_down: is(&self.cluster.channels_when_down),
        }
    }

    /// Returns what clients are given to connect to.
    #[must_use]
    pub fn endpoint_type(&self) -> EndpointType {
        EndpointType::ALL[usize::from(self.cluster.endpoint_type.load(Ordering::Relaxed))]
    }

    /// Returns whether the node, as a replica, is never to be promoted by itself. No node here is;
    /// CLUSTER NODES shows it.
    #[must_use]
    pub fn refuses_failover(&self) -> bool {
        self.cluster.no_failover.load(Ordering::Relaxed)
    }

    /// Returns what is counted of the commands of each slot: [`SLOT_TIME`], [`SLOT_BYTES`].
    #[must_use]
    #[inline]
    pub fn slot_metrics(&self) -> u8 {
        self.cluster.slot_metrics.load(Ordering::Relaxed)
    }

    /// Returns how many migrations of slots that have ended the node's log keeps.
    #[must_use]
    pub fn slot_migrations_logged(&self) -> usize {
        usize::try_from(self.cluster.valkey.migration_log_len.load(Ordering::Relaxed)).unwrap_or(0)
    }

    /// Returns the announced hostname, or nothing.
    #[must_use]
    pub fn hostname(&self) -> String {
        String::from_utf8_lossy(&self.cluster.hostname.read()).into_owned()
    }

    /// Returns the host announced to clients that have connected to an address of this kind, if one
    /// is set.
    #[must_use]
    pub fn announced_host(&self, connected: IpAddr) -> Option<String> {
        let Self { cluster: ClusterSettings { ip, valkey, .. }, .. } = self;
        let for_clients = match connected.to_canonical() {
            IpAddr::V4(_) => &valkey.client_ipv4,
            IpAddr::V6(_) => &valkey.client_ipv6,
        };
        text_in(for_clients).or_else(|| text_in(ip))
    }

    /// Returns the port announced to clients, if one is set.
    #[must_use]
    pub fn announced_port(&self) -> Option<u16> {
        port_in(&self.cluster.valkey.client_port).or_else(|| port_in(&self.cluster.port))
    }

    /// Returns whether one of the announced ports is this.
    #[must_use]
    pub fn announces_port(&self, port: u16) -> bool {
        [&self.cluster.valkey.client_port, &self.cluster.port]
            .into_iter()
            .any(|cell| port_in(cell) == Some(port))
    }

    /// Returns the announced port of the cluster bus, if one is set.
    #[must_use]
    pub fn announced_bus_port(&self) -> Option<u16> {
        port_in(&self.cluster.bus_port)
    }
}

fn text_in(cell: &RwLock<Box<[u8]>>) -> Option<String> {
    let text = cell.read();
    (!text.is_empty()).then(|| String::from_utf8_lossy(&text).into_owned())
}

fn port_in(cell: &AtomicI64) -> Option<u16> {
    u16::try_from(cell.load(Ordering::Relaxed)).ok().filter(|&port| port != 0)
}
