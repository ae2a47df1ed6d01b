//! A cluster for the length of a test: in this process, on free ports, up in milliseconds.
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
//! It ends when it is dropped. It has threads of its own, so that it may be started and dropped
//! anywhere, in async code too, and as many as one likes side by side: ports are the system's
//! choice, and never collide.

use crate::resp::{Reply, ReplyDecoder};
use crate::server::{self, OpenError, Wanted};
use crate::session::Dialect;
use crate::state::settings::DATABASES_MAX;
use crate::topology::{Announce, Port, Role};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;
use std::{fmt, thread};
use tokio::sync::oneshot;

/// How long an answer to an order may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a [`TestCluster`] is to be.
#[derive(Clone, Debug)]
pub struct TestClusterBuilder {
    wanted: Wanted,
}

/// A running cluster. Dropping it ends it: connections are closed, ports are free again.
#[derive(Debug)]
pub struct TestCluster {
    router: SocketAddr,
    nodes: Vec<TestNode>,
    /// Dropped to stop.
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

/// A node of a [`TestCluster`], as it was when that began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestNode {
    /// Where its clients connect.
    pub address: SocketAddr,
    /// As CLUSTER MYID tells it: 40 hexadecimal digits.
    pub id: String,
    /// The number of its master, if it is a replica.
    pub replica_of: Option<usize>,
}

/// Why there is no cluster, or why an order was not carried out.
#[derive(Debug)]
pub enum TestClusterError {
    /// It cannot be opened.
    Open(OpenError),
    /// It cannot be run, or not be reached.
    Io(io::Error),
    /// More nodes, or other numbers of them, than there can be.
    Plan(&'static str),
    /// It was refused, with this reply.
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
    /// Returns how many masters share the slots, from 1 [default: 3].
    #[must_use]
    pub fn shards(mut self, shards: usize) -> Self {
        self.wanted.plan.masters = shards;
        self
    }

    /// Returns how many replicas each of them has [default: 0].
    #[must_use]
    pub fn replicas(mut self, replicas: usize) -> Self {
        self.wanted.plan.replicas = replicas;
        self
    }

    /// Returns how long a write takes to reach the replicas, in whole milliseconds up to an hour:
    /// until then they answer with what was before [default: they are always in step].
    #[must_use]
    pub fn replica_lag(mut self, lag: Duration) -> Self {
        let ms = i64::try_from(lag.as_millis()).unwrap_or(i64::MAX);
        self.wanted.plan.replica_lag_ms = Some(ms).filter(|&ms| ms > 0);
        self
    }

    /// Returns how many nodes there are besides, that have met nobody and own nothing [default: 0].
    #[must_use]
    pub fn spare_nodes(mut self, spares: usize) -> Self {
        self.wanted.plan.spares = spares;
        self
    }

    /// Returns what all chance comes from: the same seed, the same node ids [default: 0].
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.wanted.plan.seed = seed;
        self
    }

    /// Returns how many threads run it, from 1 [default: 1].
    #[must_use]
    pub fn threads(mut self, threads: usize) -> Self {
        self.wanted.threads = threads;
        self
    }

    /// Returns which server's rules its nodes follow [default: Redis 7's].
    #[must_use]
    pub fn dialect(mut self, dialect: &'static Dialect) -> Self {
        self.wanted.dialect = dialect;
        self
    }

    /// Returns how its nodes are told to clients.
    #[must_use]
    pub fn announce(mut self, announce: Announce) -> Self {
        self.wanted.announce = announce;
        self
    }

    /// Returns how many databases there are under `cross-slot audit`, from 1 [default: 1].
    #[must_use]
    pub fn databases(mut self, databases: usize) -> Self {
        self.wanted.databases = databases;
        self
    }

    /// Returns a setting, as CONFIG SET takes it.
    #[must_use]
    pub fn setting(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.wanted.settings.push((name, value.into()));
        self
    }

    /// Starts it; it takes connections when this returns.
    ///
    /// # Errors
    /// There cannot be so many nodes, a setting is refused, or the machine has no ports or threads.
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
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(threads)
            .thread_name("slotway-test")
            .enable_all()
            .build()?;
        let (stop, stop_received) = oneshot::channel::<()>();
        let thread = thread::Builder::new().name("slotway-test".to_owned()).spawn(move || {
            let stopped = async {
                // The sender is dropped, never used.
                let _dropped = stop_received.await;
            };
            runtime.block_on(server::serve(router, bound, stopped));
            runtime.shutdown_background();
        })?;
        Ok(TestCluster { router: router_address, nodes, stop: Some(stop), thread: Some(thread) })
    }
}

impl TestCluster {
    /// Returns a cluster that is not started yet.
    #[must_use]
    pub fn builder() -> TestClusterBuilder {
        let wanted = Wanted { router: Some(0), ..Wanted::default() };
        TestClusterBuilder { wanted }
    }

    /// Returns where clients connect that know nothing of clusters: all shards behind one port.
    #[must_use]
    pub fn router(&self) -> SocketAddr {
        self.router
    }

    /// Returns the same as a URL.
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

    /// Returns the URLs of the nodes, in their order: what a cluster client is given.
    #[must_use]
    pub fn node_urls(&self) -> Vec<String> {
        self.nodes.iter().map(|node| format!("redis://{}", node.address)).collect()
    }

    /// Sends a command to the router port; returns the reply as text, elements in lines.
    ///
    /// # Errors
    /// The reply is an error, or there is none.
    pub fn command(&self, words: &[&str]) -> Result<String, TestClusterError> {
        ask(self.router, words)
    }

    /// Gives an order: the words that `slotway ctl` takes, parted by spaces (`docs/faults.md` has them all).
    /// A word that contains a space goes by [`TestCluster::command`], behind `SLOTWAY`.
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

    /// Returns a command to a node; otherwise as [`TestCluster::command`].
    ///
    /// # Errors
    /// As [`TestCluster::command`].
    ///
    /// # Panics
    /// If there is no node of this number.
    pub fn command_at(&self, node: usize, words: &[&str]) -> Result<String, TestClusterError> {
        ask(self.nodes[node].address, words)
    }
}

impl Drop for TestCluster {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // If it panicked, the test has heard of it.
            let _ended = thread.join();
        }
    }
}

/// One command on a connection of its own.
fn ask(address: SocketAddr, words: &[&str]) -> Result<String, TestClusterError> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
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

/// A reply as text: what it holds, a line for each.
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
