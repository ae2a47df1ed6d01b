//! The parameters of a node as a member of its cluster (`cluster-…`).

use super::{EndpointType, Settings};
use crate::topology::DownRules;
use parking_lot::RwLock;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, Ordering};

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
    /// In bytes; 0 for no limit.
    pub(super) link_buffer_max: AtomicI64,
    pub(super) no_failover: AtomicBool,
    pub(super) replicas_migrate: AtomicBool,
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
            link_buffer_max: AtomicI64::new(0),
            no_failover: AtomicBool::new(false),
            replicas_migrate: AtomicBool::new(true),
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

    /// Returns the announced hostname, or nothing.
    #[must_use]
    pub fn hostname(&self) -> String {
        String::from_utf8_lossy(&self.cluster.hostname.read()).into_owned()
    }

    /// Returns the announced host, if one is set.
    #[must_use]
    pub fn announced_host(&self) -> Option<String> {
        let ip = self.cluster.ip.read();
        (!ip.is_empty()).then(|| String::from_utf8_lossy(&ip).into_owned())
    }

    /// Returns the announced port, if one is set.
    #[must_use]
    pub fn announced_port(&self) -> Option<u16> {
        port_in(&self.cluster.port)
    }

    /// Returns the announced port of the cluster bus, if one is set.
    #[must_use]
    pub fn announced_bus_port(&self) -> Option<u16> {
        port_in(&self.cluster.bus_port)
    }
}

fn port_in(cell: &AtomicI64) -> Option<u16> {
    u16::try_from(cell.load(Ordering::Relaxed)).ok().filter(|&port| port != 0)
}
