//! What belongs to one node: its settings, subscriptions, counters, slow log, run id and pause.
//!
//! ```text
//! real cluster   a node is a process             CONFIG SET, CLIENT LIST, INFO … are that node's
//! here           a node is a NodeState           the same, by way of Nodes::at(port)
//! ```
//!
//! The router port is one more such server, and stands for the whole cluster: its slow log, its
//! counters and its monitors see what all nodes' clients do, its CONFIG SET and CLIENT PAUSE reach
//! all nodes. [`Port::covers`] is that rule. What is the process's stays with
//! [`super::ServerState`]: the topology, faults, replication streams, shutdown.

use super::clients::{Client, Clients, ClientsMax};
use super::pubsub::PubSub;
use super::settings::Settings;
use super::tracking::Tracking;
use super::{Observer, Pause, Recorder, Stats};
use crate::dialect::Product;
use crate::script::{Functions, Scripts};
use crate::topology::{Port, Topology, View};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// The state of a node, or of the router port.
#[derive(Clone, Debug)]
pub struct NodeState {
    /// The port that its clients connect to.
    pub port: Port,
    /// The parameters of CONFIG.
    pub settings: Arc<Settings>,
    /// The connected clients of the process.
    pub clients: Arc<Clients>,
    /// The subscriptions of the process: the nodes of a cluster pass messages on to each other.
    pub pubsub: Arc<PubSub>,
    /// Connection and traffic counters.
    pub stats: Arc<Stats>,
    /// What observes commands as they run: slow log, latency monitor, MONITOR, commandstats.
    pub observer: Arc<Observer>,
    /// CLIENT TRACKING.
    pub tracking: Arc<Tracking>,
    /// CLIENT PAUSE.
    pub pause: Arc<Pause>,
    /// Whether expired keys are removed without being accessed (`DEBUG SET-ACTIVE-EXPIRE`).
    pub expires_keys: Arc<AtomicBool>,
    /// The scripts that EVALSHA finds.
    pub scripts: Arc<Scripts>,
    /// The libraries of functions.
    pub functions: Arc<Functions>,
    /// The run id: 40 hexadecimal digits, different for each run.
    pub run_id: Box<str>,
}

/// Length of a run id.
const RUN_ID_LEN: usize = 40;

impl NodeState {
    /// Makes the state of the router port.
    #[must_use]
    pub(super) fn of_router(
        settings: Settings,
        nodes: usize,
        tick_ns: f64,
        chance: &mut fastrand::Rng,
    ) -> Self {
        let (settings, clients) = (Arc::new(settings), Arc::new(Clients::of_nodes(nodes)));
        let watched = (Arc::clone(&clients), Arc::clone(&settings));
        let recorder = Arc::<Recorder>::default();
        let tracking = Tracking::new(Port::Router, Arc::clone(&clients), chance.u64(..));
        Self {
            port: Port::Router,
            tracking: Arc::new(tracking),
            observer: Arc::new(Observer::new(watched.0, watched.1, recorder, tick_ns)),
            settings,
            clients,
            pubsub: Arc::default(),
            stats: Arc::default(),
            pause: Arc::default(),
            expires_keys: Arc::new(AtomicBool::new(true)),
            scripts: Arc::default(),
            functions: Arc::default(),
            run_id: run_id(chance),
        }
    }

    /// Makes the state of a node, with the router port's settings and the product's parameters.
    #[must_use]
    pub(super) fn of_node(
        router: &Self,
        product: &'static Product,
        (port, listens_on): (Port, u16),
        chance: &mut fastrand::Rng,
    ) -> Self {
        let settings = Arc::new(router.settings.of_node(product));
        settings.set_port(listens_on);
        let tracking = Tracking::new(port, Arc::clone(&router.clients), chance.u64(..));
        Self {
            port,
            tracking: Arc::new(tracking),
            observer: Arc::new(Observer::of_node(&router.observer, Arc::clone(&settings))),
            settings,
            clients: Arc::clone(&router.clients),
            pubsub: Arc::clone(&router.pubsub),
            stats: Arc::new(Stats::of_node(&router.stats)),
            pause: Arc::default(),
            expires_keys: Arc::new(AtomicBool::new(true)),
            scripts: Arc::default(),
            functions: Arc::default(),
            run_id: run_id(chance),
        }
    }

    /// Returns the clients that this port lists, closes and unblocks, in the order of their ids.
    #[must_use]
    pub fn clients(&self) -> Vec<Arc<Client>> {
        self.clients.of(self.port)
    }

    /// Returns the client with this id, if it is one of [`NodeState::clients`].
    #[must_use]
    pub fn client(&self, id: u64) -> Option<Arc<Client>> {
        self.clients.covered(self.port, id)
    }

    /// Returns the most connections, of which the process may have `process`.
    #[must_use]
    pub fn clients_max(&self, process: usize) -> ClientsMax {
        ClientsMax { process, port: self.settings.clients_max() }
    }

    /// Returns the cluster as this node sees it.
    #[must_use]
    pub fn view(&self, topology: &Topology) -> View {
        match self.port {
            Port::Router => topology.view_of_router(),
            Port::Node(node) => topology.view(node),
        }
    }
}

fn run_id(chance: &mut fastrand::Rng) -> Box<str> {
    let digits = (0..RUN_ID_LEN).filter_map(|_| char::from_digit(chance.u32(..16), 16));
    digits.collect::<String>().into()
}
