//! Under which addresses nodes are told to clients: what they can reach is often not what is
//! listened on.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

/// Who a connection speaks to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Port {
    /// All shards behind one endpoint.
    #[default]
    Router,
    /// One node.
    Node(super::NodeNumber),
}

/// Which host is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AnnouncedHost {
    /// The address that is listened on, or, where that is all of them, the one that the client
    /// reached this process under.
    #[default]
    Listened,
    /// This one.
    Given(String),
    /// None: clients take it that they are to use the one they dialled.
    Dialled,
}

/// How nodes are told to clients.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Announce {
    /// Their host.
    pub host: AnnouncedHost,
    /// The ports that are told for those that are listened on, where they differ.
    pub ports: BTreeMap<u16, u16>,
    /// The router port is told as the one owner of all slots, to those who ask there.
    pub router_only: bool,
}

impl Announce {
    /// Returns the host that is told to a client which reached this process under `local`; empty
    /// for the one it dialled.
    #[must_use]
    pub fn host(&self, local: SocketAddr) -> String {
        match &self.host {
            AnnouncedHost::Given(host) => host.clone(),
            AnnouncedHost::Dialled => String::new(),
            AnnouncedHost::Listened => canonical(local.ip()).to_string(),
        }
    }

    /// Returns where a node that listens on `port` is told to be.
    #[must_use]
    pub fn endpoint(&self, port: u16, local: SocketAddr) -> (String, u16) {
        (self.host(local), self.advertised_port(port))
    }

    /// Returns the port that is listened on where `told` is told.
    #[must_use]
    pub fn listening_port(&self, advertised: u16) -> u16 {
        self.ports
            .iter()
            .find(|(_, port)| **port == advertised)
            .map_or(advertised, |(listened, _)| *listened)
    }

    /// Returns the port that is told for `port`.
    #[must_use]
    pub fn advertised_port(&self, port: u16) -> u16 {
        self.ports.get(&port).copied().unwrap_or(port)
    }
}

fn canonical(ip: IpAddr) -> IpAddr {
    ip.to_canonical()
}
