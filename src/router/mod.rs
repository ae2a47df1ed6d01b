//! Runs requests and writes their replies: each unit runs on the shard that owns its slot.
//!
//! ```text
//! input ─ decode ahead ─► requests ─ admit ─► unit ─► its slot's shard, held: execute ─► output
//!                                              │       └ taken: into its queue, await the reply
//!                                              └ its slot moves, it has several … ─► place, execute
//! ```
//!
//! [`Router::process`] is the whole path of a request as a plain function: bytes in, bytes out, no
//! socket and no clock. Consecutive commands for one shard share one hold of it.
//!
//! A unit that needs several shards, or whose slot is not simply served by one, is placed: all that
//! it needs is held, in ascending order. If that involves waiting, the wait happens away from the
//! runtime's workers.

mod held;
mod redirect;
mod homes;
mod placement;
mod pipeline;
mod sampling;
mod multi_slot;
mod fault_hooks;
mod replica_links;
mod process_commands;
mod execution;
mod split;
mod gate;
mod orders;
mod admitted;
mod requests;
mod turn;
#[cfg(test)]
mod tests;

pub use pipeline::{Input, Scratch};
pub use turn::TurnIo;

use crate::dialect::Dialect;
use crate::keyspace::{KeyHasher, Keyspace, Millis};
use crate::session::Session;
use crate::shard::{BatchContext, Engine, RemoteShard, Shard};
use crate::state::ServerState;
use crate::state::clients::Client;
use crate::topology::{Port, Topology};
use multi_slot::ScratchShards;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Bytes of replies that a client may leave unread before it has authenticated.
pub(crate) const UNAUTHENTICATED_OUTPUT_MAX: usize = 17 * 1024;

/// All shards behind one endpoint.
#[derive(Debug)]
pub struct Router {
    /// Settings, clients, counters.
    pub server: Arc<ServerState>,
    topology: Arc<Topology>,
    /// The rules of node ports.
    dialect: &'static Dialect,
    /// The rules of the router port.
    router_dialect: &'static Dialect,
    /// The topology's shards, which make up database 0, then one for each database above.
    shards: Vec<Arc<Shard>>,
    /// The shards that run elsewhere, by number.
    remotes: BTreeMap<usize, Arc<dyn RemoteShard>>,
    /// The hash that every shard's tables use.
    hasher: KeyHasher,
    /// The scratch shards that commands over several slots run on.
    scratch: ScratchShards,
}

impl Router {
    /// Returns a router over new, empty shards, whose node ports follow `dialect`. All random
    /// choices derive from `seed`.
    #[must_use]
    pub fn new(server: ServerState, dialect: &'static Dialect, seed: u64) -> Self {
        let server = Arc::new(server);
        let topology = Arc::clone(&server.topology);
        let hasher = KeyHasher::new(seed);
        let (slotted, databases) = (topology.shards(), server.router().settings.databases());
        let mut engines: Vec<Engine> = (0..slotted + databases - 1)
            .map(|shard| {
                let seed = seed.wrapping_add(shard as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
                let slots = topology.slots_of(shard);
                let keyspace = Keyspace::new(slots, hasher.clone(), seed);
                let (topology, nodes) = (Arc::clone(&topology), Arc::clone(&server.nodes));
                let mut engine = Engine::new(keyspace, shard, topology, nodes);
                // A database above number 0 has one shard.
                engine.sees_all = shard >= slotted;
                engine.set_server(&server);
                engine
            })
            .collect();
        replica_links::link_replicas(&server, &mut engines.iter_mut().collect::<Vec<_>>());
        let shards = engines.into_iter().map(Shard::new).collect();
        let (remotes, scratch) = (BTreeMap::new(), ScratchShards::new(hasher.clone()));
        let router_dialect = Dialect::of_router(dialect.product);
        Self { server, topology, dialect, router_dialect, shards, remotes, hasher, scratch }
    }

    /// Makes `remote` run the units of the slots of shard `number`. Units that need it together
    /// with other shards are refused.
    #[must_use]
    pub fn with_remote(mut self, number: usize, remote: Arc<dyn RemoteShard>) -> Self {
        self.remotes.insert(number, remote);
        self
    }

    /// Returns a session for a client that has connected to `port`.
    #[must_use]
    pub fn session(&self, client: Arc<Client>, port: Port) -> Session {
        Session::new(client, self.server.node(port), self.dialect_of(port))
    }

    /// Returns the dialect of a port.
    #[inline]
    fn dialect_of(&self, port: Port) -> &'static Dialect {
        match port {
            Port::Router => self.router_dialect,
            Port::Node(_) => self.dialect,
        }
    }

    /// Returns the shards, in the order of the topology, then those of the databases above number
    /// 0.
    #[must_use]
    pub fn shards(&self) -> &[Arc<Shard>] {
        &self.shards
    }

    /// Returns the context of a batch of `port` that begins at `now`, by the current settings.
    #[must_use]
    pub fn batch_context(&self, port: Port, now: Millis) -> BatchContext {
        let (node, product) = (self.server.node(port), self.dialect_of(port).product);
        let settings = &node.settings;
        BatchContext {
            now,
            string_len_max: settings.bulk_len_max(),
            limits: settings.limits(),
            no_touch: false,
            instrumentation: node.observer.instrumentation(0),
            port,
            product,
        }
    }

    /// Returns the same for the requests of a session; what only settings decide is taken from
    /// `latest`, as far as that is of the same settings.
    #[inline]
    fn batch_of(&self, session: &Session, now: Millis, latest: &mut LatestContext) -> BatchContext {
        let (client, observer) = (session.client(), &session.node().observer);
        let versions = observer.settings_versions();
        let mut batch = match latest.0 {
            Some((of, batch)) if of == versions => batch,
            _ => {
                let batch = self.batch_context(session.port(), now);
                latest.0 = Some((versions, batch));
                batch
            }
        };
        (batch.now, batch.no_touch) = (now, client.no_touch());
        let (monitored, reader) = (observer.is_monitored(), client.constant_reader_number());
        batch.instrumentation.client = client.id;
        if monitored != batch.instrumentation.monitored || reader != 0 {
            batch.instrumentation.monitored = monitored;
            batch.instrumentation = batch.instrumentation.with_reader(reader);
        }
        batch
    }
}

/// The context of the latest batch, with the versions of the settings that it was read from. Versions
/// are never used twice, so that they stand for the port, too.
#[derive(Debug, Default)]
struct LatestContext(Option<((u64, u64), BatchContext)>);

impl LatestContext {
    /// Returns the versions.
    fn versions(&self) -> (u64, u64) {
        self.0.map_or((0, 0), |(versions, _)| versions)
    }
}
