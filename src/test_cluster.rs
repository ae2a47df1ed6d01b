//! A cluster for a test: in this process, on free ports, up in milliseconds.
//!
//! ```
//! use slotway::TestCluster;
//!
//! let cluster = TestCluster::builder().shards(3).replicas(1).start()?;
//! let client = redis::cluster::ClusterClient::new(cluster.node_urls())?;
//! let mut connection = client.get_connection()?;
//! let value: i64 = redis::cmd("INCR").arg("{user:7}:visits").query(&mut connection)?;
//! assert_eq!(value, 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Dropping it shuts it down. It has its own threads, so it can be started and dropped anywhere,
//! including in async code, and several can run side by side: the system chooses free ports.

use crate::dialect::Dialect;
use crate::keyspace::Millis;
use crate::resp::{Reply, ReplyDecoder};
use crate::server::{self, OpenError, Wanted};
use crate::state::ServerState;
use crate::state::settings::DATABASES_MAX;
use crate::topology::{Announce, Port, Role};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, thread};
use tokio::sync::oneshot;

/// Timeout of a command.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Builds a [`TestCluster`].
#[derive(Clone, Debug)]
pub struct TestClusterBuilder {
    wanted: Wanted,
}

/// A running cluster. Dropping it closes its connections and frees its ports.
#[derive(Debug)]
pub struct TestCluster {
    router: SocketAddr,
    nodes: Vec<TestNode>,
    server: Arc<ServerState>,
    /// Dropped to shut down.
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

/// A node of a [`TestCluster`], as it was at the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestNode {
    /// The address of its port.
    pub address: SocketAddr,
    /// Its id, as CLUSTER MYID returns it: 40 hexadecimal digits.
    pub id: String,
    /// The number of its master, if it is a replica.
    pub replica_of: Option<usize>,
}

/// Why a cluster cannot start, or a command failed.
#[derive(Debug)]
pub enum TestClusterError {
    /// Its ports cannot be opened, or a setting is refused.
    Open(OpenError),
    /// It cannot run, or not be reached.
    Io(io::Error),
    /// An impossible number of nodes, threads or databases, or lag.
    Plan(&'static str),
    /// The command was refused, with this error reply.
    Refused(String),
}

impl fmt::Display for TestClusterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open(error) => error.fmt(f),
            Self::Io(error) => error.fmt(f),
            Self::Plan(what) => f.write_str(what),
            Self::Refused(reply) => f.write_str(reply),
        }
    }
}

impl std::error::Error for TestClusterError {}

impl From<io::Error> for TestClusterError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl TestClusterBuilder {
    /// Sets the number of masters, which share the slots, from 1 [default: 3].
    #[must_use]
    pub fn shards(mut self, shards: usize) -> Self {
        self.wanted.plan.masters = shards;
        self
    }

    /// Sets the number of replicas of each master [default: 0].
    #[must_use]
    pub fn replicas(mut self, replicas: usize) -> Self {
        self.wanted.plan.replicas = replicas;
        self
    }

    /// Sets how long a write takes to reach the replicas, in whole milliseconds up to an hour:
    /// until then they reply with the previous values [default: no lag].
    #[must_use]
    pub fn replica_lag(mut self, lag: Duration) -> Self {
        let ms = i64::try_from(lag.as_millis()).unwrap_or(i64::MAX);
        self.wanted.plan.replica_lag_ms = Some(ms).filter(|&ms| ms > 0);
        self
    }

    /// Sets the number of spare nodes, which have met no other node and own no slots [default: 0].
    #[must_use]
    pub fn spare_nodes(mut self, spares: usize) -> Self {
        self.wanted.plan.spares = spares;
        self
    }

    /// Sets the seed of all randomness: equal seeds give equal node ids [default: 0].
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.wanted.plan.seed = seed;
        self
    }

    /// Sets the number of threads, from 1 [default: 1]. Only one serves connections in the order in
    /// which they send, as Redis does: a write is then seen by what is sent afterwards on another
    /// connection, even before the reply to the write.
    #[must_use]
    pub fn threads(mut self, threads: usize) -> Self {
        self.wanted.threads = threads;
        self
    }

    /// Sets the server whose rules the nodes follow [default: Redis 7].
    #[must_use]
    pub fn dialect(mut self, dialect: &'static Dialect) -> Self {
        self.wanted.dialect = dialect;
        self
    }

    /// Loads RedisJSON: the nodes have the commands `JSON.…` [default: not loaded]. Call it after
    /// [`Self::dialect`].
    #[cfg(feature = "json")]
    #[must_use]
    pub fn json(mut self) -> Self {
        self.wanted.dialect = self.wanted.dialect.with_json();
        self
    }

    /// Sets how nodes are announced to clients.
    #[must_use]
    pub fn announce(mut self, announce: Announce) -> Self {
        self.wanted.announce = announce;
        self
    }

    /// Sets the number of databases under `cross-slot audit`, from 1 [default: 1].
    #[must_use]
    pub fn databases(mut self, databases: usize) -> Self {
        self.wanted.databases = databases;
        self
    }

    /// Sets a parameter, as CONFIG SET does.
    #[must_use]
    pub fn setting(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.wanted.settings.push((name, value.into()));
        self
    }

    /// Starts the cluster, which accepts connections when this returns.
    ///
    /// # Errors
    /// The numbers are impossible, a setting is refused, or the machine has no ports or threads
    /// left.
    pub fn start(self) -> Result<TestCluster, TestClusterError> {
        let Wanted { plan, threads, databases, .. } = self.wanted;
        plan.check().map_err(TestClusterError::Plan)?;
        if threads == 0 {
            return Err(TestClusterError::Plan("a cluster needs at least one thread"));
        }
        if !(1..=DATABASES_MAX).contains(&databases) {
            return Err(TestClusterError::Plan("there are 1 to 1024 databases"));
        }
        let (router, bound) = self.wanted.open().map_err(TestClusterError::Open)?;
        let mut nodes = Vec::with_capacity(plan.nodes());
        let mut router_address = bound[0].address;
        for listener in &bound {
            match listener.port {
                Port::Router => router_address = listener.address,
                Port::Node(number) => {
                    let node = router.server.topology.node(number);
                    let replica_of = match node.role {
                        Role::ReplicaOf(master) => Some(master),
                        Role::Master => None,
                    };
                    nodes.push(TestNode { address: listener.address, id: node.id, replica_of });
                }
            }
        }
        let runtime = server::runtime(threads, "slotway-test")?;
        let (stop, stop_received) = oneshot::channel::<()>();
        let server = Arc::clone(&router.server);
        let thread = thread::Builder::new().name("slotway-test".to_owned()).spawn(move || {
            let stopped = async {
                // The sender is dropped, never used.
                let _dropped = stop_received.await;
            };
            runtime.block_on(server::serve(router, bound, stopped));
            runtime.shutdown_background();
        })?;
        let (stop, thread) = (Some(stop), Some(thread));
        Ok(TestCluster { router: router_address, nodes, server, stop, thread })
    }
}

impl TestCluster {
    /// Returns the builder of a cluster.
    #[must_use]
    pub fn builder() -> TestClusterBuilder {
        let wanted = Wanted { router: Some(0), ..Wanted::default() };
        TestClusterBuilder { wanted }
    }

    /// Returns the address of the router port, for clients that are not cluster-aware: all shards
    /// behind one port.
    #[must_use]
    pub fn router(&self) -> SocketAddr {
        self.router
    }

    /// Returns the router port as a URL.
    #[must_use]
    pub fn router_url(&self) -> String {
        format!("redis://{}", self.router)
    }

    /// Returns every node: the masters, then the first replica of each, the second, …, then the
    /// spares.
    #[must_use]
    pub fn nodes(&self) -> &[TestNode] {
        &self.nodes
    }

    /// Returns the URLs of the nodes, in their order, for a cluster client.
    #[must_use]
    pub fn node_urls(&self) -> Vec<String> {
        self.nodes.iter().map(|node| format!("redis://{}", node.address)).collect()
    }

    /// Sends a command to the router port; returns the reply as text, one line per element.
    ///
    /// # Errors
    /// The reply is an error, or there is none.
    pub fn command(&self, words: &[&str]) -> Result<String, TestClusterError> {
        send(self.router, words)
    }

    /// Carries out an order: the words of `slotway ctl`, separated by spaces (see
    /// `docs/faults.md`). Send a word that contains a space with [`TestCluster::command`], after
    /// `SLOTWAY`.
    ///
    /// ```
    /// # use slotway::TestCluster;
    /// let cluster = TestCluster::builder().start()?;
    /// cluster.order("hold 12182 to 0 keys foo")?;     // ASK and TRYAGAIN for slot 12182
    /// cluster.order("exec moved count 3")?;           // the next three EXECs answer MOVED
    /// cluster.order("stop 1 for 2000")?;              // a master dies, and comes back
    /// assert!(cluster.order("faults")?.contains("fault=STOP 1"), "what is armed is listed");
    /// cluster.order("finish 12182")?;
    /// let error = cluster.order("move 99999 to 1").expect_err("no such slot");
    /// assert!(error.to_string().contains("out of range slot"), "{error}");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`TestCluster::command`].
    pub fn order(&self, words: &str) -> Result<String, TestClusterError> {
        let words: Vec<&str> = ["SLOTWAY"].into_iter().chain(words.split_whitespace()).collect();
        self.command(&words)
    }

    /// Sends a command to a node; otherwise as [`TestCluster::command`].
    ///
    /// # Errors
    /// As [`TestCluster::command`].
    ///
    /// # Panics
    /// If there is no node of this number.
    pub fn command_at(&self, node: usize, words: &[&str]) -> Result<String, TestClusterError> {
        send(self.nodes[node].address, words)
    }
}

impl Drop for TestCluster {
    fn drop(&mut self) {
        drop(self.stop.take());
        // With one thread it would not learn of the end before that of a script.
        self.server.running_scripts.end_older(Millis::MAX);
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been printed.
            let _ended = thread.join();
        }
    }
}

/// Sends one command on a connection of its own.
fn send(address: SocketAddr, words: &[&str]) -> Result<String, TestClusterError> {
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    let mut request = format!("*{}\r\n", words.len());
    for word in words {
        request.push_str(&format!("${}\r\n{word}\r\n", word.len()));
    }
    stream.write_all(request.as_bytes())?;
    let (mut decoder, mut bytes, mut piece) = (ReplyDecoder::default(), Vec::new(), [0; 4096]);
    loop {
        let len = stream.read(&mut piece)?;
        if len == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        bytes.extend_from_slice(&piece[..len]);
        let end = decoder.next(&bytes).map_err(io::Error::other)?;
        if let Some(end) = end {
            let mut text = String::new();
            return match Reply::of(&bytes[..end]) {
                Reply::Error(reply) => {
                    Err(TestClusterError::Refused(String::from_utf8_lossy(reply).into_owned()))
                }
                reply => {
                    write_reply(reply, &mut text);
                    Ok(text.trim_end_matches('\n').to_owned())
                }
            };
        }
    }
}

/// Appends a reply as text, one line per element.
fn write_reply(reply: Reply<'_>, text: &mut String) {
    match reply {
        Reply::Simple(bytes) | Reply::Error(bytes) | Reply::Bulk(bytes) | Reply::Number(bytes) => {
            text.push_str(&String::from_utf8_lossy(bytes));
        }
        Reply::Integer(number) => text.push_str(&number.to_string()),
        Reply::Boolean(truth) => text.push_str(if truth { "true" } else { "false" }),
        Reply::Null => {}
        Reply::Array(elements) | Reply::Push(elements) => {
            for element in elements {
                write_reply(element, text);
            }
            return;
        }
    }
    text.push('\n');
}
