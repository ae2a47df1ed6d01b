//! The reference: a real Redis in cluster mode. [`Oracle`] is one that owns every slot, so that all
//! slot rules hold and nothing ever moves (or, with `--cluster-enabled no`, one without slots);
//! [`OracleCluster`] is several that share them. Tests get both from `references`, which shares them.
//!
//! `SLOTWAY_ORACLE=host:port` names a server that is already running, in place of the one that owns
//! every slot. Its data are flushed.

use std::net::{SocketAddr, ToSocketAddrs};

use crate::env::{poll, setting};
use crate::nodes::{Place, Shape, Stage};
use crate::notation::Node;
use crate::program::free_port;
use crate::servers::{Missing, Process, Product};
use crate::wire::{Answer, Client, Reply, text};

/// Whose answers a transcript holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Reference {
    Redis,
    // What the other dialects are measured against.
    Redis8,
    Redis810,
    Valkey,
    /// Redis Stack, with its modules.
    Stack,
}

impl Reference {
    /// The word in a transcript's header.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Redis => "redis",
            Self::Redis8 => "redis8",
            Self::Redis810 => "redis8.10",
            Self::Valkey => "valkey",
            Self::Stack => "stack",
        }
    }

    /// The reference of this word.
    pub(crate) fn of(word: &str) -> Option<Self> {
        let all = [Self::Redis, Self::Redis8, Self::Redis810, Self::Valkey, Self::Stack];
        all.into_iter().find(|one| one.word() == word)
    }

    fn product(self) -> Product {
        match self {
            Self::Redis => Product::Redis7,
            Self::Redis8 => Product::Redis8,
            Self::Redis810 => Product::Redis810,
            Self::Valkey => Product::Valkey9,
            Self::Stack => Product::Stack,
        }
    }

    /// The options that load its modules, and these.
    fn options(self, options: &[String]) -> Vec<String> {
        let modules = match self {
            Self::Stack => Product::Stack.modules(),
            Self::Redis | Self::Redis8 | Self::Redis810 | Self::Valkey => Vec::new(),
        };
        [&modules, options].concat()
    }
}

/// A reachable reference server; if this test started it, it ends when dropped.
pub(crate) struct Oracle {
    pub(crate) address: SocketAddr,
    password: Option<String>,
    process: Option<Process>,
}

/// Real nodes that form a cluster; they end when dropped.
pub(crate) struct OracleCluster {
    pub(crate) stage: Stage,
    _processes: Vec<Process>,
}

impl Oracle {
    /// Whether a server with these options is the one that `SLOTWAY_ORACLE` names.
    pub(crate) fn is_named(reference: Reference, options: &[String]) -> bool {
        reference == Reference::Redis && options.is_empty() && setting("SLOTWAY_ORACLE").is_some()
    }

    /// Starts a reference with these options beside the usual ones; or takes the one that is named,
    /// which has none.
    pub(crate) fn start(reference: Reference, options: &[String]) -> Result<Self, Missing> {
        let at = options.iter().position(|option| option == "--requirepass");
        let password = at.map(|at| options[at + 1].clone());
        if Self::is_named(reference, options) {
            let named = setting("SLOTWAY_ORACLE").unwrap_or_default();
            let address = named.to_socket_addrs().expect("SLOTWAY_ORACLE is host:port").next();
            let address = address.expect("SLOTWAY_ORACLE resolves");
            return Ok(Self { address, password, process: None });
        }
        // Another process may take a free port before Redis does: then it exits, and we try again.
        for _ in 0..20 {
            let port = free_port();
            let all = reference.options(options);
            let process = Process::spawn(reference.product().command(None), port, &all)?;
            let address = SocketAddr::from(([127, 0, 0, 1], port));
            let mut oracle = Self { address, password: password.clone(), process: Some(process) };
            if oracle.becomes_ready(options) {
                return Ok(oracle);
            }
        }
        panic!("{reference:?} is installed but does not come up with the options {options:?}");
    }

    /// A connection that may run every command.
    fn client(&self) -> std::io::Result<Client> {
        let mut client = Client::connect(self.address)?;
        if let Some(password) = &self.password {
            client.call(&["AUTH", password]);
        }
        Ok(client)
    }

    /// Deletes all data.
    pub(crate) fn empty(&self) {
        let mut client = self.client().expect("the reference accepts connections");
        let flushed = client.call(&["FLUSHALL"]);
        assert_eq!(flushed, Answer::Reply(Reply::Simple(b"OK".to_vec())), "FLUSHALL");
    }

    /// All settings, `name value` each, as CONFIG GET lists them.
    pub(crate) fn settings(&self) -> Vec<String> {
        let mut client = self.client().expect("the reference accepts connections");
        let Reply::Array(words) = client.ask(&["CONFIG", "GET", "*"]) else {
            panic!("CONFIG GET answers an array")
        };
        let word = |reply: &Reply| match reply {
            Reply::Bulk(bytes) => text(bytes),
            other => panic!("CONFIG GET lists {other:?}"),
        };
        words.chunks(2).map(|pair| pair.iter().map(word).collect::<Vec<_>>().join(" ")).collect()
    }

    /// Waits until the server takes part in a healthy cluster; false if it has exited.
    fn becomes_ready(&mut self, options: &[String]) -> bool {
        let has_slots = !options.windows(2).any(|pair| pair == ["--cluster-enabled", "no"]);
        let mut assigned = !has_slots;
        let ready = poll(|| {
            if self.process.as_mut().is_none_or(Process::has_ended) {
                return Some(false);
            }
            let mut client = self.client().ok()?;
            if !assigned {
                let answer = client.call(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]);
                assigned = answer == Answer::Reply(Reply::Simple(b"OK".to_vec()));
            }
            if !has_slots {
                let pong = Answer::Reply(Reply::Simple(b"PONG".to_vec()));
                return (client.call(&["PING"]) == pong).then_some(true);
            }
            let Answer::Reply(Reply::Bulk(info)) = client.call(&["CLUSTER", "INFO"]) else {
                return None;
            };
            String::from_utf8_lossy(&info).contains("cluster_state:ok").then_some(true)
        });
        ready == Some(true)
    }
}

impl OracleCluster {
    /// Starts nodes with these options and lets them meet: slots as `redis-cli --cluster create` deals
    /// them out, epochs 1, 2 … in the order of their names, replicas in sync, and the same view of the
    /// cluster at every node.
    pub(crate) fn start(
        reference: Reference,
        shape: Shape,
        options: &[String],
    ) -> Result<Self, Missing> {
        let product = reference.product();
        // A node counts as failed when it is silent; a test that shares two cores must not look so.
        let mut all = vec!["--cluster-node-timeout".to_owned(), "2000".to_owned()];
        // The rest is to be quick.
        let quick = ["--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1"];
        all.extend(quick.map(str::to_owned));
        all.extend(reference.options(options));
        for _ in 0..20 {
            let mut processes = Vec::new();
            let mut nodes = Vec::new();
            for name in shape.names() {
                let port = free_port();
                processes.push(Process::spawn(product.command(None), port, &all)?);
                let address = SocketAddr::from(([127, 0, 0, 1], port));
                nodes.push(Place { name, address, id: String::new() });
            }
            let forming = Forming { shape, nodes: &mut nodes, processes: &mut processes };
            if forming.all().is_some() {
                return Ok(Self { stage: Stage::cluster(None, nodes), _processes: processes });
            }
        }
        panic!("{product:?} is installed but forms no cluster with the options {options:?}");
    }
}

/// Nodes that form a cluster. Each step is `None` if a node has ended, as it does if another process
/// has taken its port.
struct Forming<'a> {
    shape: Shape,
    nodes: &'a mut [Place],
    processes: &'a mut [Process],
}

impl Forming<'_> {
    fn all(mut self) -> Option<()> {
        let Shape { masters, replicas, .. } = self.shape;
        let members = masters * (1 + replicas);
        for at in 0..self.nodes.len() {
            self.nodes[at].id = self.until(at, &["CLUSTER", "MYID"], |_| true)?;
        }
        let ids: Vec<_> = self.nodes.iter().map(|node| node.id.clone()).collect();
        for (at, (first, last)) in self.shape.slots().into_iter().enumerate() {
            let [first, last] = [first, last].map(|number| number.to_string());
            self.command(at, &["CLUSTER", "ADDSLOTSRANGE", &first, &last]);
        }
        // Nodes of the same epoch would change one of them at any time. `redis-cli` sets them too.
        for at in 0..members {
            self.command(at, &["CLUSTER", "SET-CONFIG-EPOCH", &(at + 1).to_string()]);
        }
        for (one, other) in (0..members).flat_map(|one| (0..one).map(move |other| (one, other))) {
            let port = self.nodes[other].address.port().to_string();
            self.command(one, &["CLUSTER", "MEET", "127.0.0.1", &port]);
        }
        for at in 0..members {
            self.until(at, &["CLUSTER", "NODES"], |text| {
                text.lines().count() == members && ids[..members].iter().all(|id| text.contains(id))
            })?;
        }
        for at in masters..members {
            let master = ids[(at - masters) / replicas].clone();
            self.command(at, &["CLUSTER", "REPLICATE", &master]);
        }
        for at in 0..members {
            let slots = self.shape.slots();
            self.until(at, &["CLUSTER", "NODES"], |text| {
                let row = |id: &String| text.lines().find(|row| row.starts_with(id));
                let is_listed = |(at, id)| {
                    row(id).is_some_and(|row| match slots.get(at) {
                        Some((first, last)) => {
                            row.ends_with(&format!(" {} connected {first}-{last}", at + 1))
                        }
                        None => row.contains(&format!("slave {}", ids[(at - masters) / replicas])),
                    })
                };
                ids[..members].iter().enumerate().all(is_listed)
            })?;
            // CLUSTER SLOTS lists a replica once its offset is known.
            self.until(at, &["CLUSTER", "SLOTS"], |text| {
                ids[..members].iter().all(|id| text.contains(id))
            })?;
            let epoch = format!("cluster_current_epoch:{members}\r\n");
            self.until(at, &["CLUSTER", "INFO"], |text| {
                text.contains("cluster_state:ok") && text.contains(&epoch)
            })?;
            let replication = match at < masters {
                true => format!("connected_slaves:{replicas}"),
                false => "master_link_status:up".to_owned(),
            };
            self.until(at, &["INFO", "replication"], |text| {
                text.contains(&replication) && !text.contains("state=wait")
            })?;
        }
        Some(())
    }

    fn command(&self, at: usize, argv: &[&str]) {
        let mut client = Client::connect(self.nodes[at].address).expect("the node accepts clients");
        let answer = client.call(argv);
        assert_eq!(answer, Answer::Reply(Reply::Simple(b"OK".to_vec())), "{argv:?}");
    }

    /// Repeats the command until the reply is the wanted one; returns it.
    fn until(&mut self, at: usize, argv: &[&str], is: impl Fn(&str) -> bool) -> Option<String> {
        let address = self.nodes[at].address;
        let reply = poll(|| {
            if self.processes[at].has_ended() {
                return Some(None);
            }
            let text = match Client::connect(address).ok()?.call(argv) {
                Answer::Reply(Reply::Bulk(text)) => String::from_utf8_lossy(&text).into_owned(),
                answer => Node::of(&answer).to_string(),
            };
            is(&text).then_some(Some(text))
        });
        reply.flatten()
    }
}
