//! What belongs to one node: its clients, settings, subscriptions, counters, slow log and pause.
//!
//! ```text
//! real cluster   a node is a process             CONFIG SET, CLIENT LIST, INFO … are that node's
//! here           a node is a NodeState           the same, by way of ServerState::node(port)
//! ```
//!
//! The router port is one more such server. Everything that a client's commands read or change goes
//! through the node that it speaks to, so that which parts nodes share is decided in one place,
//! [`NodeState::all`]: for now all of them share all parts. What is the process's stays with
//! [`super::ServerState`]: the topology, faults, replication streams, shutdown.

use super::clients::Clients;
use super::pubsub::PubSub;
use super::settings::Settings;
use super::{Observer, Pause, Stats};
use crate::topology::{NodeNumber, Port, Topology, View};
use std::sync::Arc;

/// The state of a node, or of the router port.
#[derive(Clone, Debug)]
pub struct NodeState {
    /// The port that its clients connect to.
    pub port: Port,
    /// The parameters of CONFIG.
    pub settings: Arc<Settings>,
    /// The connected clients.
    pub clients: Arc<Clients>,
    /// The subscriptions.
    pub pubsub: Arc<PubSub>,
    /// Connection and traffic counters.
    pub stats: Arc<Stats>,
    /// What observes commands as they run: slow log, latency monitor, MONITOR, commandstats.
    pub observer: Arc<Observer>,
    /// CLIENT PAUSE.
    pub pause: Arc<Pause>,
    /// The run id: 40 hexadecimal digits, different for each run.
    pub run_id: Arc<str>,
}

impl NodeState {
    /// The router port's state, then those of so many nodes, which share its parts.
    #[must_use]
    pub fn all(router: Self, nodes: usize) -> Box<[Arc<Self>]> {
        let of_node = |node: NodeNumber| Self { port: Port::Node(node), ..router.clone() };
        let nodes: Vec<Self> = (0..nodes).map(of_node).collect();
        std::iter::once(router).chain(nodes).map(Arc::new).collect()
    }

    /// The cluster as this node sees it.
    #[must_use]
    pub fn view(&self, topology: &Topology) -> View {
        match self.port {
            Port::Router => topology.view_of_router(),
            Port::Node(node) => topology.view(node),
        }
    }
}
