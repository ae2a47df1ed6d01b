//! Where clients are told that the nodes are, under each `--announce…` option, in every place that
//! tells it: MOVED, ASK, CLUSTER SLOTS, SHARDS and NODES, ROLE and INFO.
//!
//! A client follows what it is told, so one place that tells something else is a cluster that works
//! from where it was started and nowhere else.

use crate::nodes::{Shape, Stage};
use crate::notation::Node;
use crate::program::{Run, free_ports, slotway};
use crate::server_process::ServerProcess;
use crate::wire::{Answer, Client, Reply};

/// What to say for `CONFIG SET`, a pair each.
type Settings = &'static [&'static str];

/// The cluster under test: n1, n2 the masters, r1 and r2 their replicas.
struct Told {
    _ours: ServerProcess,
    stage: Stage,
}

impl Told {
    fn start(options: &str, settings: Settings) -> Self {
        let shape = Shape::parse("2 masters, 1 replica each").expect("a shape");
        let options: Vec<String> = options.split_whitespace().map(str::to_owned).collect();
        let (ours, stage) = ServerProcess::start_cluster(shape, &options);
        let told = Self { _ours: ours, stage };
        if !settings.is_empty() {
            let words = [&["CONFIG", "SET"], settings].concat();
            assert_eq!(told.ask("n1", &words), "+OK\n");
        }
        told
    }

    /// What the node (or `router`) answers, as a transcript would have it.
    fn ask(&self, node: &str, words: &[&str]) -> String {
        let address = self.stage.address_of(node).expect("a node");
        let mut client = Client::connect(address).expect("the node accepts connections");
        let answer = client.call(words);
        assert!(matches!(answer, Answer::Reply(_)), "{words:?} to {node}: {answer:?}");
        Node::of(&answer).to_string()
    }

    /// The text of a bulk.
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

/// What each option makes of the host.
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
    // Of all addresses that are listened on, the one that the client has reached.
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
    Case {
        options: "--announce dialled",
        settings: &[],
        redirected: "",
        preferred: "$-1",
        endpoint: "$-1",
        address: "",
    },
    // A name goes before the host that was given, which is told beside it.
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
fn every_place_tells_the_same_host() {
    for case in CASES {
        let told = Told::start(case.options, case.settings);
        let (options, port) = (case.options, |name: &str| told.of(&format!("{name}.port")));
        let redirected = |node: &str| format!("{}:{}", case.redirected, port(node));
        assert_eq!(
            told.ask("n1", &["GET", "foo"]),
            format!("-MOVED 12182 {}\n", redirected("n2")),
            "{options}"
        );
        let n2 = told.of("n2.id");
        let setslot = ["CLUSTER", "SETSLOT", "5061", "MIGRATING", &n2];
        assert_eq!(told.ask("n1", &setslot), "+OK\n");
        assert_eq!(
            told.ask("n1", &["GET", "bar"]),
            format!("-ASK 5061 {}\n", redirected("n2")),
            "{options}"
        );
        // The same wherever it is asked.
        for node in ["n1", "r2", "router"] {
            let slots = told.ask(node, &["CLUSTER", "SLOTS"]);
            for name in ["n1", "n2", "r1", "r2"] {
                let (host, port, id) = (case.preferred, port(name), told.of(&format!("{name}.id")));
                let wanted = format!("      {host}\n      :{port}\n      \"{id}\"\n");
                assert!(slots.contains(&wanted), "{options}: {wanted} at {node}: {slots}");
            }
            let shards = told.ask(node, &["CLUSTER", "SHARDS"]);
            for name in ["n1", "n2", "r1", "r2"] {
                let line = [
                    format!("\"{}\"", told.of(&format!("{name}.id"))),
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
            let nodes = told.text(node, &["CLUSTER", "NODES"]);
            for name in ["n1", "n2", "r1", "r2"] {
                let (id, port, bus) =
                    (told.of(&format!("{name}.id")), port(name), format!("{name}.bus"));
                let wanted = format!("{id} {}:{port}@{}", case.address, told.of(&bus));
                assert!(nodes.contains(&wanted), "{options}: {wanted} at {node}: {nodes}");
            }
        }
        let (ip, master, replica) = (case.address, port("n1"), port("r1"));
        let role = told.ask("n1", &["ROLE"]);
        let wanted = format!("      \"{ip}\"\n      \"{replica}\"\n");
        assert!(role.contains(&wanted), "{options}: {role}");
        let info = told.text("n1", &["INFO", "replication"]);
        assert!(info.contains(&format!("slave0:ip={ip},port={replica},")), "{options}: {info}");
        let info = told.text("r1", &["INFO", "replication"]);
        let wanted = format!("master_host:{ip}\r\nmaster_port:{master}\r\n");
        assert!(info.contains(&wanted), "{options}: {info}");
    }
}

/// In RESP3 the host that is not told is that protocol's null.
#[test]
fn a_host_that_is_not_told_is_null_in_either_protocol() {
    let told = Told::start("--announce dialled", &[]);
    let address = told.stage.address_of("n1").expect("a node");
    let mut client = Client::connect(address).expect("the node accepts connections");
    client.ask(&["HELLO", "3"]);
    let slots = Node::of(&Answer::Reply(client.ask(&["CLUSTER", "SLOTS"]))).to_string();
    let wanted = format!("    *4\n      _\n      :{}\n", told.of("n1.port"));
    assert!(slots.contains(&wanted), "{slots}");
}

#[test]
fn ports_are_told_as_they_are_mapped() {
    // Somebody may take the ports between our look and the server's.
    let (run, first, ready) = (0..20)
        .find_map(|_| {
            let first = free_ports(3);
            let map = [(first, 17001), (first + 1, 17002), (first + 2, 17003)]
                .map(|(at, told)| format!("{at}:{told}"))
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
    // Who is told a port may name it: to whom it leads, and that alone.
    assert!(!nodes().contains(&id(2)), "{}", nodes());
    assert_eq!(ask(&["CLUSTER", "MEET", "127.0.0.1", "17003"]), "+OK\n");
    assert!(nodes().contains(&format!("{} redis.test:17003@27003 ", id(2))), "{}", nodes());
    run.tell(rustix::process::Signal::TERM);
    assert_eq!(run.end().code, Some(0));
}

#[test]
fn the_router_can_pass_for_the_one_owner_of_all_slots() {
    let told = Told::start("--announce router --announce-host redis.test", &[]);
    let address = told.stage.address_of("router").expect("a router");
    let (port, id) = (address.port(), told.of("n1.id"));
    assert_eq!(
        told.ask("router", &["CLUSTER", "SLOTS"]),
        format!(
            "*1\n  *3\n    :0\n    :16383\n    *4\n      \"redis.test\"\n      :{port}\n      \
             \"{id}\"\n      *0\n"
        )
    );
    let shards = told.ask("router", &["CLUSTER", "SHARDS"]);
    assert!(shards.starts_with("*1\n"), "{shards}");
    for wanted in [format!(":{port}\n"), "\"redis.test\"\n".to_owned(), ":16383\n".to_owned()] {
        assert!(shards.contains(&wanted), "{shards}");
    }
    let bus = u32::from(port) + 10_000;
    assert_eq!(
        told.text("router", &["CLUSTER", "NODES"]),
        format!("{id} redis.test:{port}@{bus} myself,master - 0 0 1 connected 0-16383\n")
    );
    assert_eq!(told.text("router", &["CLUSTER", "MYID"]), id);
    let info = told.text("router", &["CLUSTER", "INFO"]);
    for line in ["cluster_slots_ok:16384", "cluster_known_nodes:1", "cluster_size:1"] {
        assert!(info.contains(&format!("{line}\r\n")), "{line}: {info}");
    }
    let server = told.text("router", &["INFO", "server"]);
    assert!(server.contains("redis_mode:cluster"), "{server}");
    // And it serves them all.
    for key in ["bar", "foo"] {
        assert_eq!(told.ask("router", &["SET", key, "1"]), "+OK\n");
    }
    // The nodes tell of the nodes, as ever.
    assert!(told.ask("n1", &["CLUSTER", "SLOTS"]).starts_with("*2\n"));
    let moved = format!("-MOVED 12182 redis.test:{}\n", told.of("n2.port"));
    assert_eq!(told.ask("n1", &["GET", "foo"]), moved);
}

#[test]
fn without_it_the_router_passes_for_no_cluster() {
    let told = Told::start("", &[]);
    let server = told.text("router", &["INFO", "server"]);
    assert!(server.contains("redis_mode:standalone"), "{server}");
}
