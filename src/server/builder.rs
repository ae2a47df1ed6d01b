//! Opens a cluster: makes its listeners and its router from a description.

use super::listener::{Bound, bind};
use super::{now, tick_ns};
use crate::dialect::Dialect;
use crate::router::Router;
use crate::state::settings::{Settings, StartupSettings};
use crate::state::{Identity, ServerConfig, ServerState, Usage};
use crate::topology::{Announce, Plan, Port, Topology};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::{fmt, io};

/// The description of a cluster.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    /// The nodes.
    pub plan: Plan,
    /// The addresses to listen on; never empty.
    pub binds: Vec<IpAddr>,
    /// The router's port, 0 for any free one; `None` for no router port.
    pub router: Option<u16>,
    /// The first node's port; the others count up from it. 0 for any free ones; `None` for no node
    /// ports.
    pub nodes: Option<u16>,
    /// The dialect of the nodes.
    pub dialect: &'static Dialect,
    /// How the nodes' addresses are announced to clients.
    pub announce: Announce,
    /// Whether `SLOTWAY …` may change anything.
    pub admin_enabled: bool,
    /// How many databases there are under `cross-slot audit`, from 1.
    pub databases: usize,
    /// The number of threads that will run it.
    pub threads: usize,
    /// Settings that differ from their defaults, as CONFIG SET takes them.
    pub settings: Vec<(&'static str, String)>,
    /// The program's path.
    pub executable: String,
    /// The configuration file's path, or the empty string.
    pub config_file: String,
    /// The operating system, as INFO shows it.
    pub os: String,
    /// Reserves the file descriptors for so many clients; if they are too many, the error is how
    /// many clients are possible.
    pub reserve_files: fn(usize) -> Result<(), usize>,
}

impl Default for Wanted {
    /// Three masters on free ports of this machine, without a router port.
    fn default() -> Self {
        Self {
            plan: Plan::of_masters(3, 0),
            binds: vec![IpAddr::V4(Ipv4Addr::LOCALHOST)],
            router: None,
            nodes: Some(0),
            dialect: &Dialect::REDIS7,
            announce: Announce::default(),
            admin_enabled: true,
            databases: 1,
            threads: 1,
            settings: Vec::new(),
            executable: String::new(),
            config_file: String::new(),
            os: std::env::consts::OS.to_owned(),
            reserve_files: |_| Ok(()),
        }
    }
}

/// The reason why a cluster cannot be opened. No port is listened on any more.
#[derive(Debug)]
pub enum OpenError {
    /// An address cannot be listened on.
    Listen {
        /// The clients' port that the address is for.
        port: Port,
        /// The address.
        address: SocketAddr,
        /// The system's error.
        error: io::Error,
    },
    /// So many ports from the first one on would end above the last possible port.
    TooManyPorts {
        /// The first port.
        first: u16,
        /// The number of nodes, each of which needs a port.
        nodes: usize,
    },
    /// A setting was refused.
    Setting {
        /// The setting's name.
        name: &'static str,
        /// The reason, in the words of CONFIG SET.
        why: String,
    },
    /// Neither a router port nor a node port is asked for.
    NoPort,
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listen { address, error, .. } => write!(f, "cannot listen on {address}: {error}"),
            Self::TooManyPorts { first, nodes } => {
                write!(f, "{nodes} ports from {first} on end above {}", u16::MAX)
            }
            Self::Setting { name, why } => write!(f, "{name}: {why}"),
            Self::NoPort => f.write_str("there is no port to listen on"),
        }
    }
}

impl std::error::Error for OpenError {}

impl Wanted {
    /// Opens the listeners and makes the router; no client is served until [`super::serve`] is
    /// called.
    ///
    /// # Errors
    /// A port is not available, or a setting is refused.
    pub(crate) fn open(self) -> Result<(Arc<Router>, Vec<Bound>), OpenError> {
        let topology = Topology::new(self.plan);
        let mut bound = Vec::new();
        if let Some(port) = self.router {
            bound.extend(self.listen(port, Port::Router)?);
        }
        if let Some(first) = self.nodes {
            let nodes = topology.nodes();
            if first != 0 && usize::from(first) + nodes - 1 > usize::from(u16::MAX) {
                return Err(OpenError::TooManyPorts { first, nodes });
            }
            for node in 0..nodes {
                let port = if first == 0 { 0 } else { first + node as u16 };
                let listeners = self.listen(port, Port::Node(node))?;
                topology.set_port(node, listeners[0].address.port());
                bound.extend(listeners);
            }
        }
        let port = bound.first().ok_or(OpenError::NoPort)?.address.port();
        let bind = self.binds.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        let reserve_files = self.reserve_files;
        let databases = self.databases;
        let settings = Settings::new(StartupSettings {
            bind,
            port,
            dir: working_folder(),
            cluster_enabled: false,
            databases,
            product: self.dialect.product,
            reserve_files,
        });
        for (name, value) in &self.settings {
            settings.set(&[(name.as_bytes(), value.as_bytes())]).map_err(|error| {
                let why = String::from_utf8_lossy(&error.text()).into_owned();
                OpenError::Setting { name, why }
            })?;
        }
        let host = ServerState::new(ServerConfig {
            identity: Identity {
                pid: std::process::id(),
                port,
                executable: self.executable,
                config_file: self.config_file,
                os: self.os,
                started_at: now(),
                shards: self.plan.masters,
                threads: self.threads,
            },
            settings,
            product: self.dialect.product,
            topology,
            announce: self.announce,
            admin_enabled: self.admin_enabled,
            seed: self.plan.seed.rotate_left(32),
            usage: Usage::of_process,
            tick_ns: tick_ns(),
        });
        Ok((Arc::new(Router::new(host, self.dialect, self.plan.seed)), bound))
    }

    fn listen(&self, mut number: u16, port: Port) -> Result<Vec<Bound>, OpenError> {
        let mut bound = Vec::with_capacity(self.binds.len());
        for &ip in &self.binds {
            let address = SocketAddr::new(ip, number);
            let one =
                bind(address, port).map_err(|error| OpenError::Listen { port, address, error })?;
            // Further addresses get the port that was chosen for the first one.
            number = one.address.port();
            bound.push(one);
        }
        Ok(bound)
    }
}

/// Returns the working folder, or nothing if it is gone.
fn working_folder() -> String {
    std::env::current_dir().map(|path| path.to_string_lossy().into_owned()).unwrap_or_default()
}
