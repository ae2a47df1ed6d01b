//! Announced addresses: what clients can reach often differs from what is listened on.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

/// The endpoint that a connection was accepted on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Port {
    /// The router port: all shards behind one endpoint.
    #[default]
    Router,
    /// A node port.
    Node(super::NodeNumber),
}

impl Port {
    /// Returns whether what is at `other` belongs to this port: a node port has its own clients,
    /// settings and counters; the router port stands for the whole cluster and has those of all.
    #[must_use]
    pub fn covers(self, other: Self) -> bool {
        self == Self::Router || self == other
    }

    /// Returns the position of this port among all: the router port's is 0, then come the nodes'.
    #[must_use]
    #[inline]
    pub fn index(self) -> usize {
        match self {
            Self::Router => 0,
            Self::Node(node) => node + 1,
        }
    }
}

/// The host that clients are given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AnnouncedHost {
    /// The listening address, or, if that is a wildcard, the address under which the client reached
    /// this process.
    #[default]
    Listened,
    /// This one.
    Given(String),
}

/// How nodes are announced to clients.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Announce {
    /// Their host.
    pub host: AnnouncedHost,
    /// Announced ports by listening port, where they differ.
    pub ports: BTreeMap<u16, u16>,
    /// The router port announces itself as the owner of all slots, to clients that ask there.
    pub router_only: bool,
}

impl Announce {
    /// Returns the host announced to a client that reached this process under `local`.
    #[must_use]
    pub fn host(&self, local: SocketAddr) -> String {
        match &self.host {
            AnnouncedHost::Given(host) => host.clone(),
            AnnouncedHost::Listened => canonical(local.ip()).to_string(),
        }
    }

    /// Returns the announced host and port of a node that listens on `port`.
    #[must_use]
    pub fn endpoint(&self, port: u16, local: SocketAddr) -> (String, u16) {
        (self.host(local), self.advertised_port(port))
    }

    /// Returns the listening port behind the advertised port.
    #[must_use]
    pub fn listening_port(&self, advertised: u16) -> u16 {
        self.ports
            .iter()
            .find(|(_, port)| **port == advertised)
            .map_or(advertised, |(listened, _)| *listened)
    }

    /// Returns the port announced for the listening port `port`.
    #[must_use]
    pub fn advertised_port(&self, port: u16) -> u16 {
        self.ports.get(&port).copied().unwrap_or(port)
    }
}

fn canonical(ip: IpAddr) -> IpAddr {
    ip.to_canonical()
}
