//! redis-rs' cluster clients where the node ports can be reached through forwarded ports only, as from outside
//! a container. (Other clients: `tests/clients/forwarded`.)

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use redis::cluster::ClusterClient;
use redis::cluster_read_routing::RandomReplicaStrategy;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

use crate::program::{Run, free_ports, slotway};
use crate::wire::{Client, Reply};

/// Masters and replicas.
const NODES: u16 = 6;
/// Slots 5061, 866, 7365, 8157, 12182 and 15495: two of each master.
const KEYS: [&str; 6] = ["bar", "hello", "c", "z", "foo", "a"];

/// A cluster that announces `localhost` and forwarded ports.
struct Forwarded {
    runtime: Runtime,
    _run: Run,
    /// The first node's port.
    first: u16,
    /// The forwarded ports, by node.
    ports: Vec<u16>,
    /// How many connections each of them has passed on.
    passed: Vec<Arc<AtomicUsize>>,
}

impl Forwarded {
    fn start() -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let listeners: Vec<_> = (0..NODES)
            .map(|_| runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a free port"))
            .collect();
        let port = |it: &TcpListener| it.local_addr().expect("it is bound").port();
        let ports: Vec<u16> = listeners.iter().map(port).collect();
        // Another process may take the ports before the server binds them.
        let (run, first) = (0..20)
            .find_map(|_| {
                let first = free_ports(NODES);
                let pairs =
                    (first..).zip(&ports).map(|(at, announced)| format!("{at}:{announced}"));
                let map = pairs.collect::<Vec<_>>().join(",");
                let mut run = Run::of(&mut slotway(&format!(
                    "serve --port 0 --shards 3 --replicas 1 --node-ports {first} --output json \
                    --announce-host localhost --announce-map {map}"
                )));
                (!run.ready().is_empty()).then_some((run, first))
            })
            .expect("six ports in a row");
        let passed: Vec<_> = listeners.iter().map(|_| Arc::default()).collect();
        for ((listener, behind), count) in listeners.into_iter().zip(first..).zip(&passed) {
            runtime.spawn(forward(listener, behind, Arc::clone(count)));
        }
        Self { runtime, _run: run, first, ports, passed }
    }

    /// The URL of the first node, as it is known outside.
    fn client(&self) -> ClusterClient {
        let url = format!("redis://localhost:{}", self.ports[0]);
        let builder = ClusterClient::builder([url]).read_routing_strategy(RandomReplicaStrategy);
        builder.build().expect("settings")
    }

    /// Every connection that a node has had came through its forwarded port, and each master had one.
    fn assert_no_other_way(&self) {
        for (at, passed) in self.passed.iter().enumerate() {
            let address = ([127, 0, 0, 1], self.first + at as u16).into();
            let mut client = Client::connect(address).expect("the node accepts connections");
            let Reply::Bulk(stats) = client.ask(&["INFO", "stats"]) else {
                panic!("INFO is a text")
            };
            let stats = String::from_utf8(stats).expect("text");
            let received = stats
                .lines()
                .find_map(|line| line.strip_prefix("total_connections_received:")?.parse().ok());
            let passed = passed.load(Ordering::Relaxed);
            // This connection is one of them.
            assert_eq!(received, Some(passed + 1), "node {at}");
            assert!(passed > 0 || at >= 3, "no client came to node {at}");
        }
    }
}

/// Passes connections on.
async fn forward(listener: TcpListener, behind: u16, passed: Arc<AtomicUsize>) {
    while let Ok((mut outside, _)) = listener.accept().await {
        passed.fetch_add(1, Ordering::Relaxed);
        tokio::spawn(async move {
            let mut inside = TcpStream::connect(("127.0.0.1", behind)).await?;
            copy_bidirectional(&mut outside, &mut inside).await
        });
    }
}

#[test]
fn redis_rs_reaches_every_node() {
    let cluster = Forwarded::start();
    let mut connection = cluster.client().get_connection().expect("a connection");
    for key in KEYS {
        let () = redis::cmd("SET").arg(key).arg(key).query(&mut connection).expect("SET");
        // From a replica, too.
        for _ in 0..4 {
            let read: String = redis::cmd("GET").arg(key).query(&mut connection).expect("GET");
            assert_eq!(read, key);
        }
    }
    drop(connection);
    cluster.assert_no_other_way();
}

#[test]
fn redis_rs_async_reaches_every_node() {
    let cluster = Forwarded::start();
    cluster.runtime.block_on(async {
        let mut connection = cluster.client().get_async_connection().await.expect("a connection");
        for key in KEYS {
            let set = redis::cmd("SET").arg(key).arg(key).query_async(&mut connection).await;
            let () = set.expect("SET");
            for _ in 0..4 {
                let get = redis::cmd("GET").arg(key).query_async(&mut connection).await;
                let read: String = get.expect("GET");
                assert_eq!(read, key);
            }
        }
    });
    cluster.assert_no_other_way();
}
