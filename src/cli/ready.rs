//! The one line on stdout that says: come in.

use super::options::Output;
use serde::Serialize;
use std::net::{IpAddr, SocketAddr};

/// What a script or a person needs to connect.
#[derive(Debug, Serialize)]
pub(super) struct Ready {
    ready: bool,
    pid: u32,
    /// To paste into a client.
    url: String,
    /// The router port's address.
    router: String,
    /// The node ports' addresses, one per shard; none while node ports are off.
    nodes: Vec<String>,
    shards: usize,
    version: &'static str,
}

impl Ready {
    pub(super) fn new(router: SocketAddr, shards: usize, has_password: bool) -> Self {
        let router = reachable(router);
        // The password is not printed: this line ends up in logs.
        let login = if has_password { ":PASSWORD@" } else { "" };
        Self {
            ready: true,
            pid: std::process::id(),
            url: format!("redis://{login}{router}"),
            router: router.to_string(),
            nodes: Vec::new(),
            shards,
            version: env!("CARGO_PKG_VERSION"),
        }
    }

    /// Prints the line.
    #[expect(clippy::print_stdout, reason = "this line is what stdout is for")]
    pub(super) fn print(&self, output: Output) {
        match output {
            Output::Json => println!("{}", serde_json::json!(self)),
            Output::Text => println!(
                "slotway ready at {} ({} shards, pid {}) - try: redis-cli -u {}",
                self.url, self.shards, self.pid, self.url
            ),
        }
    }
}

/// An address to connect to: where every address is listened on, this machine's own.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => IpAddr::from([127, 0, 0, 1]),
            IpAddr::V6(_) => IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]),
        });
    }
    address
}
