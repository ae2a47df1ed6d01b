//! The addresses of nodes that clients get under each `--announce…` option, in every reply that has
//! them: MOVED, ASK, CLUSTER SLOTS, SHARDS and NODES, ROLE and INFO.
//!
//! A client connects to the address that it gets. If one reply differs from the others, the cluster
//! works on the machine where it was started and nowhere else.

use crate::nodes::{Shape, Stage};
use crate::notation::Node;
use crate::program::{Run, free_ports, slotway};
use crate::server_process::ServerProcess;
use crate::wire::{Answer, Client, Reply};

/// Arguments of `CONFIG SET`: names and values in turn.
type Settings = &'static [&'static str];

/// The cluster under test: n1, n2 the masters, r1 and r2 their replicas.
struct Announced {
    _server: ServerProcess,
    stage: Stage,
}

impl Announced {
    fn start(options: &str, settings: Settings) -> Self {
        let shape = Shape::parse("2 masters, 1 replica each").expect("a shape");
        let options: Vec<String> = options.split_whitespace().map(str::to_owned).collect();
        let (server, stage) = ServerProcess::start_cluster(shape, &options);
        let cluster = Self { _server: server, stage };
        if !settings.is_empty() {
            let words = [&["CONFIG", "SET"], settings].concat();
            // The router port's settings reach all nodes.
            assert_eq!(cluster.ask("router", &words), "+OK\n");
        }
        cluster
    }

    /// The reply of the node (or of `router`) in the notation of transcripts.
    fn ask(&self, node: &str, words: &[&str]) -> String {
        let address = self.stage.address_of(node).expect("a node");
        let mut client = Client::connect(address).expect("the node accepts connections");
        let answer = client.call(words);
        assert!(matches!(answer, Answer::Reply(_)), "{words:?} to {node}: {answer:?}");
        Node::of(&answer).to_string()
    }

    /// A bulk reply as text.
    fn text(&self, node: &str, words: &[&str]) -> String {
        text(Client::connect(self.stage.address_of(node).expect("a node")), words)
    }

    fn of(&self, name: &str) -> String {
        self.stage.value_of(name).expect("a node")
    }
}

fn text(client: std::io::Result<Client>, words: &[&str]) -> String {
    match client.expect("the node accepts connections").ask(words) {
        Reply::Bulk(text) => String::from_utf8(text).expect("text"),
        other => panic!("{words:?}: {other:?}"),
    }
}

/// The host in each reply, by options.
struct Case {
    options: &'static str,
    settings: Settings,
    /// In MOVED, ASK.
    redirected: &'static str,
    /// In CLUSTER SLOTS, as a line of a transcript.
    preferred: &'static str,
    /// In CLUSTER SHARDS the endpoint, as such a line.
    endpoint: &'static str,
    /// In CLUSTER NODES, in SHARDS the ip, in ROLE, in INFO.
    address: &'static str,
}

const CASES: &[Case] = &[
    Case {
        options: "",
        settings: &[],
        redirected: "127.0.0.1",
        preferred: "\"127.0.0.1\"",
        endpoint: "\"127.0.0.1\"",
        address: "127.0.0.1",
    },
    // The address that the client is connected to, of all that the server listens on.
    Case {
        options: "--announce nodes --bind 0.0.0.0",
        settings: &[],
        redirected: "127.0.0.1",
        preferred: "\"127.0.0.1\"",
        endpoint: "\"127.0.0.1\"",
        address: "127.0.0.1",
    },
    Case {
        options: "--announce-host redis.test",
        settings: &[],
        redirected: "redis.test",
        preferred: "\"redis.test\"",
        endpoint: "\"redis.test\"",
        address: "redis.test",
    },
    Case {
        options: "--announce nodes --announce-host 192.0.2.7",
        settings: &[],
        redirected: "192.0.2.7",
        preferred: "\"192.0.2.7\"",
        endpoint: "\"192.0.2.7\"",
        address: "192.0.2.7",
    },
    // What a node with an unknown endpoint says: clients keep the host that they connected to.
    Case {
        options: "",
        settings: &["cluster-preferred-endpoint-type", "unknown-endpoint"],
        redirected: "",
        preferred: "$-1",
        endpoint: "\"\"",
        address: "127.0.0.1",
    },
    // The hostname is preferred; the address that was given stands beside it.
    Case {
        options: "--announce-host 192.0.2.7",
        settings: &[
            "cluster-announce-hostname",
            "redis.test",
            "cluster-preferred-endpoint-type",
            "hostname",
        ],
        redirected: "redis.test",
        preferred: "\"redis.test\"",
        endpoint: "\"redis.test\"",
        address: "192.0.2.7",
    },
];

#[test]
fn every_reply_has_the_same_host() {
    for case in CASES {
        let cluster = Announced::start(case.options, case.settings);
        let (options, port) = (case.options, |name: &str| cluster.of(&format!("{name}.port")));
        let redirected = |node: &str| format!("{}:{}", case.redirected, port(node));
        assert_eq!(
            cluster.ask("n1", &["GET", "foo"]),
            format!("-MOVED 12182 {}\n", redirected("n2")),
            "{options}"
        );
        let n2 = cluster.of("n2.id");
        let setslot = ["CLUSTER", "SETSLOT", "5061", "MIGRATING", &n2];
        assert_eq!(cluster.ask("n1", &setslot), "+OK\n");
        assert_eq!(
            cluster.ask("n1", &["GET", "bar"]),
            format!("-ASK 5061 {}\n", redirected("n2")),
            "{options}"
        );
        // Every node gives the same.
        for node in ["n1", "r2"] {
            let slots = cluster.ask(node, &["CLUSTER", "SLOTS"]);
            for name in ["n1", "n2", "r1", "r2"] {
                let (host, port, id) =
                    (case.preferred, port(name), cluster.of(&format!("{name}.id")));
                let wanted = format!("      {host}\n      :{port}\n      \"{id}\"\n");
                assert!(slots.contains(&wanted), "{options}: {wanted} at {node}: {slots}");
            }
            let shards = cluster.ask(node, &["CLUSTER", "SHARDS"]);
            for name in ["n1", "n2", "r1", "r2"] {
                let line = [
                    format!("\"{}\"", cluster.of(&format!("{name}.id"))),
                    "\"port\"".to_owned(),
                    format!(":{}", port(name)),
                    "\"ip\"".to_owned(),
                    format!("\"{}\"", case.address),
                    "\"endpoint\"".to_owned(),
                    format!("{}\n", case.endpoint),
                ];
                let wanted = line.join("\n        ");
                assert!(shards.contains(&wanted), "{options}: {name} at {node}: {shards}");
            }
            let nodes = cluster.text(node, &["CLUSTER", "NODES"]);
            for name in ["n1", "n2", "r1", "r2"] {
                let (id, port, bus) =
                    (cluster.of(&format!("{name}.id")), port(name), format!("{name}.bus"));
                let wanted = format!("{id} {}:{port}@{}", case.address, cluster.of(&bus));
                assert!(nodes.contains(&wanted), "{options}: {wanted} at {node}: {nodes}");
            }
        }
        let (ip, master, replica) = (case.address, port("n1"), port("r1"));
        let role = cluster.ask("n1", &["ROLE"]);
        let wanted = format!("      \"{ip}\"\n      \"{replica}\"\n");
        assert!(role.contains(&wanted), "{options}: {role}");
        let info = cluster.text("n1", &["INFO", "replication"]);
        assert!(info.contains(&format!("slave0:ip={ip},port={replica},")), "{options}: {info}");
        let info = cluster.text("r1", &["INFO", "replication"]);
        let wanted = format!("master_host:{ip}\r\nmaster_port:{master}\r\n");
        assert!(info.contains(&wanted), "{options}: {info}");
    }
}

/// In RESP3 a host that is left out is that protocol's null.
#[test]
fn a_host_that_is_left_out_is_null_in_either_protocol() {
    let unknown = &["cluster-preferred-endpoint-type", "unknown-endpoint"];
    let cluster = Announced::start("", unknown);
    let address = cluster.stage.address_of("n1").expect("a node");
    let mut client = Client::connect(address).expect("the node accepts connections");
    client.ask(&["HELLO", "3"]);
    let slots = Node::of(&Answer::Reply(client.ask(&["CLUSTER", "SLOTS"]))).to_string();
    let wanted = format!("    *4\n      _\n      :{}\n", cluster.of("n1.port"));
    assert!(slots.contains(&wanted), "{slots}");
}

#[test]
fn announced_ports_follow_the_map() {
    // Another process may take the ports before the server binds them.
    let (run, first, ready) = (0..20)
        .find_map(|_| {
            let first = free_ports(3);
            let map = [(first, 17001), (first + 1, 17002), (first + 2, 17003)]
                .map(|(at, announced)| format!("{at}:{announced}"))
                .join(",");
            let mut run = Run::of(&mut slotway(&format!(
                "serve --port 0 --shards 2 --spare-nodes 1 --node-ports {first} --output json \
                 --announce-host redis.test --announce-map {map}"
            )));
            let ready = run.ready();
            (!ready.is_empty()).then_some((run, first, ready))
        })
        .expect("three ports in a row");
    let ready: serde_json::Value = serde_json::from_str(&ready).expect("JSON");
    let id = |at: usize| ready["nodes"][at]["id"].as_str().expect("an id").to_owned();
    let client = || Client::connect(([127, 0, 0, 1], first).into());
    let ask = |words: &[&str]| {
        let answer = client().expect("the node accepts connections").call(words);
        Node::of(&answer).to_string()
    };
    assert_eq!(ask(&["GET", "foo"]), "-MOVED 12182 redis.test:17002\n");
    assert_eq!(ask(&["CLUSTER", "SETSLOT", "5061", "MIGRATING", &id(1)]), "+OK\n");
    assert_eq!(ask(&["GET", "bar"]), "-ASK 5061 redis.test:17002\n");
    let slots = ask(&["CLUSTER", "SLOTS"]);
    for (at, port) in [(0, 17001), (1, 17002)] {
        let wanted = format!("      \"redis.test\"\n      :{port}\n      \"{}\"\n", id(at));
        assert!(slots.contains(&wanted), "{wanted} in {slots}");
    }
    let shards = ask(&["CLUSTER", "SHARDS"]);
    assert!(shards.contains("\"port\"\n        :17001\n"), "{shards}");
    let nodes = || text(client(), &["CLUSTER", "NODES"]);
    for (at, port) in [(0, 17001), (1, 17002)] {
        let wanted = format!("{} redis.test:{port}@{} ", id(at), port + 10_000);
        assert!(nodes().contains(&wanted), "{wanted} in {}", nodes());
    }
    // CLUSTER MEET takes an announced port, and introduces that node only.
    assert!(!nodes().contains(&id(2)), "{}", nodes());
    assert_eq!(ask(&["CLUSTER", "MEET", "127.0.0.1", "17003"]), "+OK\n");
    assert!(nodes().contains(&format!("{} redis.test:17003@27003 ", id(2))), "{}", nodes());
    run.signal(rustix::process::Signal::TERM);
    assert_eq!(run.end().code, Some(0));
}

#[test]
fn the_router_can_announce_itself_as_the_owner_of_all_slots() {
    let cluster = Announced::start("--announce router --announce-host redis.test", &[]);
    let address = cluster.stage.address_of("router").expect("a router");
    let (port, id) = (address.port(), cluster.of("n1.id"));
    assert_eq!(
        cluster.ask("router", &["CLUSTER", "SLOTS"]),
        format!(
            "*1\n  *3\n    :0\n    :16383\n    *4\n      \"redis.test\"\n      :{port}\n      \
             \"{id}\"\n      *0\n"
        )
    );
    let shards = cluster.ask("router", &["CLUSTER", "SHARDS"]);
    assert!(shards.starts_with("*1\n"), "{shards}");
    for wanted in [format!(":{port}\n"), "\"redis.test\"\n".to_owned(), ":16383\n".to_owned()] {
        assert!(shards.contains(&wanted), "{shards}");
    }
    let bus = u32::from(port) + 10_000;
    assert_eq!(
        cluster.text("router", &["CLUSTER", "NODES"]),
        format!("{id} redis.test:{port}@{bus} myself,master - 0 0 1 connected 0-16383\n")
    );
    assert_eq!(cluster.text("router", &["CLUSTER", "MYID"]), id);
    let info = cluster.text("router", &["CLUSTER", "INFO"]);
    for line in ["cluster_slots_ok:16384", "cluster_known_nodes:1", "cluster_size:1"] {
        assert!(info.contains(&format!("{line}\r\n")), "{line}: {info}");
    }
    let server = cluster.text("router", &["INFO", "server"]);
    assert!(server.contains("redis_mode:cluster"), "{server}");
    // It serves all of them.
    for key in ["bar", "foo"] {
        assert_eq!(cluster.ask("router", &["SET", key, "1"]), "+OK\n");
    }
    // The nodes still list the nodes.
    assert!(cluster.ask("n1", &["CLUSTER", "SLOTS"]).starts_with("*2\n"));
    let moved = format!("-MOVED 12182 redis.test:{}\n", cluster.of("n2.port"));
    assert_eq!(cluster.ask("n1", &["GET", "foo"]), moved);
}

#[test]
fn without_the_option_the_router_announces_no_cluster() {
    let cluster = Announced::start("", &[]);
    let server = cluster.text("router", &["INFO", "server"]);
    assert!(server.contains("redis_mode:standalone"), "{server}");
}
