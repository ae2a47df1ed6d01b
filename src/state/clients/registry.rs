//! The registry of all connections, with a limit for each port.

use super::{Client, Ending};
use crate::keyspace::Millis;
use crate::topology::Port;
use dashmap::DashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Every connection of the process.
#[derive(Debug)]
pub struct Clients {
    /// No guard of it crosses an await: every method here is synchronous and returns clones.
    by_id: DashMap<u64, Arc<Client>>,
    /// The last id used.
    last_id: AtomicU64,
    /// Connected clients by [`Port::index`], all of them in the router port's place; at times more
    /// than `by_id` holds, never fewer.
    connected: Box<[AtomicUsize]>,
}

/// The most connections that there may be.
#[derive(Clone, Copy, Debug)]
pub struct ClientsMax {
    /// To the whole process.
    pub process: usize,
    /// To the port.
    pub port: usize,
}

impl From<usize> for ClientsMax {
    /// So many, whichever port they connect to.
    fn from(max: usize) -> Self {
        Self { process: max, port: max }
    }
}

/// The error for a connection beyond the limit of clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyClients;

/// A connection's entry in the registry; dropping it removes the client, however the connection
/// ended.
#[derive(Debug)]
pub struct RegisteredClient {
    clients: Arc<Clients>,
    client: Arc<Client>,
}

impl std::ops::Deref for RegisteredClient {
    type Target = Arc<Client>;

    fn deref(&self) -> &Arc<Client> {
        &self.client
    }
}

impl Drop for RegisteredClient {
    fn drop(&mut self) {
        self.clients.by_id.remove(&self.client.id);
        self.clients.release(self.client.port);
    }
}

impl Default for Clients {
    fn default() -> Self {
        Self::of_nodes(0)
    }
}

impl Clients {
    /// Makes an empty registry for the router port and so many nodes.
    #[must_use]
    pub fn of_nodes(nodes: usize) -> Self {
        let connected = (0..=nodes).map(|_| AtomicUsize::new(0)).collect();
        Self { by_id: DashMap::new(), last_id: AtomicU64::new(0), connected }
    }

    /// Registers a connection.
    ///
    /// # Errors
    /// There are as many connections as `max` allows.
    pub fn register(
        self: &Arc<Self>,
        peer: SocketAddr,
        local: SocketAddr,
        port: Port,
        fd: i32,
        now: Millis,
        max: impl Into<ClientsMax>,
    ) -> Result<RegisteredClient, TooManyClients> {
        let max = max.into();
        self.take(Port::Router, max.process)?;
        if port != Port::Router {
            self.take(port, max.port).inspect_err(|_| self.give_back(Port::Router))?;
        }
        let id = self.last_id.fetch_add(1, Ordering::Relaxed) + 1;
        let client = Arc::new(Client::new(id, peer, local, port, fd, now));
        self.by_id.insert(id, Arc::clone(&client));
        Ok(RegisteredClient { clients: Arc::clone(self), client })
    }

    /// Returns the client with this id.
    #[must_use]
    pub fn get(&self, id: u64) -> Option<Arc<Client>> {
        self.by_id.get(&id).map(|client| Arc::clone(&client))
    }

    /// Counts one more connection to a port that may have `max`.
    fn take(&self, port: Port, max: usize) -> Result<(), TooManyClients> {
        let taken = |connected| (connected < max).then_some(connected + 1);
        let count = &self.connected[port.index()];
        let before = count.fetch_update(Ordering::AcqRel, Ordering::Acquire, taken);
        before.map(|_| ()).map_err(|_| TooManyClients)
    }

    fn give_back(&self, port: Port) {
        self.connected[port.index()].fetch_sub(1, Ordering::AcqRel);
    }

    /// Counts one connection to `port` less.
    fn release(&self, port: Port) {
        if port != Port::Router {
            self.give_back(port);
        }
        self.give_back(Port::Router);
    }

    /// Returns the client with this id, if `port` covers it.
    #[must_use]
    pub fn covered(&self, port: Port, id: u64) -> Option<Arc<Client>> {
        self.get(id).filter(|client| port.covers(client.port))
    }

    /// Returns every client that `port` covers, in the order of their ids.
    #[must_use]
    pub fn of(&self, port: Port) -> Vec<Arc<Client>> {
        let covered = self.by_id.iter().filter(|client| port.covers(client.port));
        let mut all: Vec<_> = covered.map(|client| Arc::clone(&client)).collect();
        all.sort_unstable_by_key(|client| client.id);
        all
    }

    /// Returns every client, in the order of their ids.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Client>> {
        self.of(Port::Router)
    }

    /// Ends the waits of the blocked clients that `is_meant` selects.
    pub fn unblock_each(&self, is_meant: impl Fn(&Client) -> bool, ending: &Ending) {
        for client in self.by_id.iter().filter(|client| client.waits()) {
            if is_meant(&client) {
                client.unblock(ending.clone());
            }
        }
    }

    /// Closes the clients that exceed their output buffer limits.
    pub fn check_output_limits(&self, now: Millis) {
        self.by_id.iter().for_each(|client| client.check_output_limit(now));
    }

    /// Returns the number of connected clients that `port` covers.
    #[must_use]
    pub fn count_of(&self, port: Port) -> usize {
        self.connected[port.index()].load(Ordering::Acquire)
    }

    /// Returns the number of connected clients.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count_of(Port::Router)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn register(clients: &Arc<Clients>, max: usize) -> Result<RegisteredClient, TooManyClients> {
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        clients.register(address, address, Port::Router, 7, 0, max)
    }

    #[test]
    fn a_node_has_a_limit_of_its_own() {
        let clients = Arc::new(Clients::of_nodes(2));
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        let register = |port, process, of_port| {
            let max = ClientsMax { process, port: of_port };
            clients.register(address, address, port, 7, 0, max)
        };
        let counts = || [Port::Router, Port::Node(0), Port::Node(1)].map(|at| clients.count_of(at));
        let first = register(Port::Node(0), 3, 1).expect("room");
        assert_eq!(register(Port::Node(0), 3, 1).expect_err("the node is full"), TooManyClients);
        let second = register(Port::Node(1), 3, 1).expect("room");
        let third = register(Port::Router, 3, 0).expect("room");
        assert_eq!(counts(), [3, 1, 1]);
        assert_eq!(register(Port::Node(1), 3, 9).expect_err("all are full"), TooManyClients);
        assert_eq!(counts(), [3, 1, 1], "a refused client is counted nowhere");
        let ids = |port| clients.of(port).iter().map(|client| client.id).collect::<Vec<_>>();
        assert_eq!(ids(Port::Router), [first.id, second.id, third.id]);
        assert_eq!(ids(Port::Node(1)), [second.id]);
        assert!(clients.covered(Port::Node(1), first.id).is_none());
        assert!(clients.covered(Port::Router, first.id).is_some());
        drop((first, third));
        assert_eq!(counts(), [1, 0, 1]);
    }

    #[test]
    fn clients_are_registered_up_to_the_limit() {
        let clients = Arc::new(Clients::default());
        let first = register(&clients, 2).expect("room");
        let second = register(&clients, 2).expect("room");
        assert_eq!(register(&clients, 2).expect_err("full"), TooManyClients);
        drop(first);
        let third = register(&clients, 2).expect("room");
        let ids: Vec<_> = clients.all().iter().map(|client| client.id).collect();
        assert_eq!(ids, [second.id, third.id]);
        assert_eq!((ids[0], ids[1]), (2, 3), "ids count from 1 and a refused client takes none");
        assert!(clients.get(1).is_none() && clients.count() == 2);
    }
}
