//! The line on stdout that says that the server is ready.

use super::options::Output;
use crate::server::Bound;
use crate::topology::{Port, Role, Topology};
use serde::Serialize;
use std::net::{IpAddr, SocketAddr};

/// What a script or a person needs to connect.
#[derive(Debug, Serialize)]
pub(super) struct Ready {
    ready: bool,
    pid: u32,
    /// The router port's URL, to paste into a client.
    url: String,
    /// The router port's address.
    router: String,
    /// The nodes that listen, in the order of their ports; none while node ports are off.
    nodes: Vec<Node>,
    shards: usize,
    version: &'static str,
}

/// A node that listens.
#[derive(Debug, Serialize)]
struct Node {
    /// Its node port's address.
    address: String,
    /// Its id, as CLUSTER MYID returns it.
    id: String,
    /// `master`, `replica`, or `spare` for a node that has met no other.
    role: &'static str,
    /// Its shard, from 0.
    shard: usize,
}

impl Ready {
    pub(super) fn new(
        router: SocketAddr,
        shards: usize,
        has_password: bool,
        topology: &Topology,
        bound: &[Bound],
    ) -> Self {
        let mut nodes: Vec<Node> = Vec::new();
        for listener in bound {
            // Further addresses of a node have the same port.
            if let Port::Node(number) = listener.port
                && number == nodes.len()
            {
                let node = topology.node(number);
                let role = match node.role {
                    Role::ReplicaOf(_) => "replica",
                    Role::Master if number < topology.masters() => "master",
                    Role::Master => "spare",
                };
                let address = reachable(listener.address).to_string();
                nodes.push(Node { address, id: node.id, role, shard: node.shard });
            }
        }
        let router = reachable(router);
        // The password is not printed: this line ends up in logs.
        let login = if has_password { ":PASSWORD@" } else { "" };
        Self {
            ready: true,
            pid: std::process::id(),
            url: format!("redis://{login}{router}"),
            router: router.to_string(),
            nodes,
            shards,
            version: env!("CARGO_PKG_VERSION"),
        }
    }

    /// Prints the line.
    #[expect(clippy::print_stdout, reason = "this line is what stdout is for")]
    pub(super) fn print(&self, output: Output) {
        match output {
            Output::Json => println!("{}", serde_json::json!(self)),
            Output::Text => {
                let nodes = match (self.nodes.first(), self.nodes.last()) {
                    (Some(first), Some(last)) if self.nodes.len() > 1 => {
                        let last = last.address.rsplit(':').next().unwrap_or_default();
                        format!(", node ports {}-{last}", first.address)
                    }
                    (Some(only), _) => format!(", node port {}", only.address),
                    (None, _) => String::new(),
                };
                println!(
                    "slotway ready at {} ({} shards{nodes}, pid {}) - try: redis-cli -u {}",
                    self.url, self.shards, self.pid, self.url
                );
            }
        }
    }
}

/// Returns the address to connect to: for a wildcard, the loopback address.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => IpAddr::from([127, 0, 0, 1]),
            IpAddr::V6(_) => IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]),
        });
    }
    address
}
