//! Replicas that lag. The whole path of a request runs as a function with the time as an argument, so
//! that the replies of a replica are known to the millisecond; then once more over sockets, where the
//! order of the replies suffices.

use crate::env::{poll, say};
use crate::nodes::Shape;
use crate::server_process::ServerProcess;
use crate::wire::{Client, Reply, command};
use proptest::prelude::*;
use slotway::internals::command::Immediate;
use slotway::internals::resp::Decoder;
use slotway::internals::router::{Input, Router, Scratch, TurnIo};
use slotway::internals::session::{Dialect, Session};
use slotway::internals::shard::{Outcome, WaitFor};
use slotway::internals::state::{ServerConfig, ServerState};
use slotway::internals::topology::{Plan, Port, Topology};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// The time at which a conversation begins.
const START: i64 = 1_700_000_000_000;
const LAG_MS: i64 = 50;

/// Two masters, whose nodes have the numbers 0 and 1, and a replica of each: 2 and 3.
const MASTERS: usize = 2;
/// The port of the first node; nothing listens at these ports.
const PORT: u16 = 7001;

struct Cluster {
    router: Router,
    now: i64,
    /// One for the router port, then one for each node; those at replicas have sent READONLY.
    sessions: Vec<Session>,
}

/// In [`Cluster::sessions`].
const ROUTER: usize = 0;

/// The session at a node.
fn at(node: usize) -> usize {
    node + 1
}

impl Cluster {
    fn new() -> Self {
        let lag = Some(LAG_MS);
        let plan = Plan { masters: MASTERS, replicas: 1, spares: 0, replica_lag_ms: lag, seed: 1 };
        let topology = Topology::new(plan);
        (0..plan.nodes()).for_each(|node| topology.set_port(node, PORT + node as u16));
        let config = ServerConfig { topology, ..ServerConfig::default() };
        let router = Router::new(ServerState::new(config), &Dialect::REDIS7, 7);
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        let ports = std::iter::once(Port::Router).chain((0..plan.nodes()).map(Port::Node));
        let sessions = ports.map(|port| {
            let clients = &router.server.router().clients;
            let seat = clients.register(address, address, port, 3, 0, 1).expect("a seat");
            router.session(Arc::clone(&seat), port)
        });
        let sessions = sessions.collect();
        let mut cluster = Self { router, now: START, sessions };
        for node in 0..plan.nodes() {
            assert_eq!(cluster.ask(at(node), &["READONLY"]), "+OK\r\n");
        }
        cluster
    }

    /// Sends one request; gives its reply, and why the router stopped.
    fn send(&mut self, session: usize, argv: &[&str]) -> (Vec<u8>, Outcome) {
        let (mut decoder, mut scratch) = (Decoder::default(), Scratch::default());
        let (mut input, mut output) = (command(argv), Vec::new());
        loop {
            let io = TurnIo {
                decoder: &mut decoder,
                input: Input::Own(&mut input),
                scratch: &mut scratch,
                out: &mut output,
            };
            let session = &mut self.sessions[session];
            let pace = Immediate(self.now);
            let (taken, outcome) = self.router.process(session, io, self.now, &pace);
            input.drain(..taken);
            match outcome {
                Outcome::Flush => {}
                outcome => return (output, outcome),
            }
        }
    }

    fn ask_bytes(&mut self, session: usize, argv: &[&str]) -> Vec<u8> {
        match self.send(session, argv) {
            (reply, Outcome::Drained { .. }) => reply,
            (_, other) => panic!("{argv:?} came to {other:?}"),
        }
    }

    fn ask(&mut self, session: usize, argv: &[&str]) -> String {
        String::from_utf8_lossy(&self.ask_bytes(session, argv)).into_owned()
    }

    fn id(&self, node: usize) -> String {
        self.router.server.topology.node(node).id
    }

    fn pass(&mut self, ms: i64) {
        self.now += ms;
    }
}

/// Keys of the first master's slots and of the second's.
const FIRST: &str = "{b}";
const SECOND: &str = "{a}";

fn bulk(text: &str) -> String {
    format!("${}\r\n{text}\r\n", text.len())
}

const NIL: &str = "$-1\r\n";

#[test]
fn a_replica_returns_what_its_master_had_a_lag_ago() {
    let mut cluster = Cluster::new();
    assert_eq!(cluster.ask(at(0), &["SET", FIRST, "1"]), "+OK\r\n");
    cluster.pass(LAG_MS - 1);
    assert_eq!(cluster.ask(at(2), &["GET", FIRST]), NIL);
    assert_eq!(cluster.ask(ROUTER, &["SET", FIRST, "2"]), "+OK\r\n");
    cluster.pass(1);
    assert_eq!(cluster.ask(at(2), &["GET", FIRST]), bulk("1"));
    assert_eq!(cluster.ask(at(2), &["DBSIZE"]), ":1\r\n");
    assert_eq!(cluster.ask(ROUTER, &["GET", FIRST]), bulk("2"), "the router reads at the master");
    assert_eq!(cluster.ask(ROUTER, &["DBSIZE"]), ":1\r\n", "and counts no key twice");
    cluster.pass(LAG_MS - 1);
    assert_eq!(cluster.ask(at(2), &["GET", FIRST]), bulk("2"));
    let moved = cluster.ask(at(3), &["GET", FIRST]);
    assert!(moved.starts_with("-MOVED"), "of the other master's keys it knows nothing: {moved}");
    assert!(cluster.ask(at(2), &["SET", FIRST, "3"]).starts_with("-MOVED"));
    assert!(cluster.ask(at(2), &["FLUSHALL"]).starts_with("-READONLY"));
    assert_eq!(cluster.ask(ROUTER, &["FLUSHALL"]), "+OK\r\n");
    assert_eq!(cluster.ask(at(2), &["DBSIZE"]), ":1\r\n");
    cluster.pass(LAG_MS);
    assert_eq!(cluster.ask(at(2), &["DBSIZE"]), ":0\r\n");
    assert_eq!(cluster.ask(ROUTER, &["CONFIG", "SET", "replica-lag", "0"]), "+OK\r\n");
    cluster.ask(ROUTER, &["SET", FIRST, "4"]);
    assert_eq!(cluster.ask(at(2), &["GET", FIRST]), bulk("4"));
}

#[test]
fn a_transaction_arrives_as_a_whole() {
    let mut cluster = Cluster::new();
    let keys = ["{b}1", "{b}2", "{b}3"];
    cluster.ask(at(0), &["MSET", keys[0], "0", keys[1], "0", keys[2], "0"]);
    cluster.pass(LAG_MS);
    for round in 1..5 {
        cluster.ask(at(0), &["MULTI"]);
        for key in keys {
            cluster.ask(at(0), &["INCR", key]);
            cluster.pass(7);
        }
        cluster.ask(at(0), &["EXEC"]);
        for ms in [0, LAG_MS - 1, 1] {
            cluster.pass(ms);
            let seen = cluster.ask(at(2), &["MGET", keys[0], keys[1], keys[2]]);
            let value = bulk(&(if ms == 1 { round } else { round - 1 }).to_string());
            assert_eq!(seen, format!("*3\r\n{}", value.repeat(3)));
        }
    }
}

#[test]
fn a_watch_on_a_replica_is_lost_when_the_change_arrives() {
    let mut cluster = Cluster::new();
    cluster.ask(ROUTER, &["SET", FIRST, "1"]);
    let transaction = |cluster: &mut Cluster, waits: i64| {
        cluster.ask(at(2), &["WATCH", FIRST]);
        cluster.pass(waits);
        cluster.ask(at(2), &["MULTI"]);
        cluster.ask(at(2), &["GET", FIRST]);
        cluster.ask(at(2), &["EXEC"])
    };
    assert_eq!(transaction(&mut cluster, LAG_MS - 1), format!("*1\r\n{NIL}"));
    assert_eq!(transaction(&mut cluster, 1), "*-1\r\n");
    assert_eq!(transaction(&mut cluster, 1000), format!("*1\r\n{}", bulk("1")));
}

/// Asserts that all nodes return the same value.
fn assert_agree(cluster: &mut Cluster, master: usize, key: &str, value: &str) {
    assert_eq!(cluster.ask(at(master), &["GET", key]), value);
    assert_eq!(cluster.ask(ROUTER, &["GET", key]), value);
}

#[test]
fn a_failover_that_waits_loses_nothing() {
    let mut cluster = Cluster::new();
    cluster.ask(ROUTER, &["SET", FIRST, "1"]);
    cluster.pass(LAG_MS);
    cluster.ask(ROUTER, &["SET", FIRST, "2"]);
    cluster.ask(ROUTER, &["SET", "{b}2", "2"]);
    assert_eq!(cluster.ask(at(2), &["CLUSTER", "FAILOVER"]), "+OK\r\n");
    assert_agree(&mut cluster, 2, FIRST, &bulk("2"));
    assert_agree(&mut cluster, 2, "{b}2", &bulk("2"));
    assert!(cluster.ask(at(0), &["SET", FIRST, "3"]).starts_with("-MOVED"));
    assert_eq!(cluster.ask(at(0), &["GET", FIRST]), bulk("2"), "it was brought up to date");
    assert_eq!(cluster.ask(at(2), &["SET", FIRST, "3"]), "+OK\r\n");
    assert_eq!(cluster.ask(at(0), &["GET", FIRST]), bulk("2"), "and lags from now on");
    cluster.pass(LAG_MS);
    assert_eq!(cluster.ask(at(0), &["GET", FIRST]), bulk("3"));
    assert_eq!(cluster.ask(ROUTER, &["DBSIZE"]), ":2\r\n");
}

#[test]
fn a_failover_by_force_loses_exactly_what_has_not_arrived() {
    for word in ["FORCE", "TAKEOVER"] {
        let mut cluster = Cluster::new();
        cluster.ask(ROUTER, &["MSET", FIRST, "1", "{b}2", "1"]);
        cluster.pass(1);
        cluster.ask(ROUTER, &["DEL", "{b}2"]);
        cluster.ask(ROUTER, &["SET", SECOND, "other"]);
        cluster.pass(LAG_MS - 1);
        cluster.ask(ROUTER, &["SET", FIRST, "2"]);
        cluster.ask(ROUTER, &["SET", "{b}3", "2"]);
        // A transaction at the old master that watches a key which the failover takes back.
        cluster.ask(at(0), &["WATCH", FIRST]);
        assert_eq!(cluster.ask(at(2), &["CLUSTER", "FAILOVER", word]), "+OK\r\n");
        assert_agree(&mut cluster, 2, FIRST, &bulk("1"));
        assert_agree(&mut cluster, 2, "{b}2", &bulk("1"));
        assert_agree(&mut cluster, 2, "{b}3", NIL);
        assert_agree(&mut cluster, 1, SECOND, &bulk("other"));
        for (key, value) in [(FIRST, &*bulk("1")), ("{b}2", &*bulk("1")), ("{b}3", NIL)] {
            assert_eq!(cluster.ask(at(0), &["GET", key]), value, "{key} at the old master");
        }
        cluster.ask(at(0), &["MULTI"]);
        cluster.ask(at(0), &["GET", FIRST]);
        assert_eq!(cluster.ask(at(0), &["EXEC"]), "*-1\r\n");
        cluster.pass(1000);
        assert_agree(&mut cluster, 2, FIRST, &bulk("1"));
        assert_eq!(cluster.ask(ROUTER, &["DBSIZE"]), ":3\r\n");
    }
}

#[test]
fn a_master_that_is_down_sends_nothing() {
    let mut cluster = Cluster::new();
    cluster.ask(ROUTER, &["SET", FIRST, "1"]);
    cluster.router.server.topology.set_up(0, false);
    // Any command that changes the topology has the links looked at.
    cluster.ask(at(1), &["CLUSTER", "SETSLOT", "16383", "STABLE"]);
    cluster.pass(1000);
    assert_eq!(
        cluster.ask(at(2), &["CLUSTER", "FAILOVER"]),
        "-ERR Master is down or failed, please use CLUSTER FAILOVER FORCE\r\n"
    );
    assert_eq!(cluster.ask(at(2), &["DBSIZE"]), ":0\r\n");
    assert_eq!(cluster.ask(at(2), &["CLUSTER", "FAILOVER", "FORCE"]), "+OK\r\n");
    assert_agree(&mut cluster, 2, FIRST, NIL);
}

#[test]
fn a_replica_publishes_events_when_the_change_arrives() {
    let mut cluster = Cluster::new();
    let events = &["CONFIG", "SET", "notify-keyspace-events", "EA"];
    assert_eq!(cluster.ask(at(2), events), "+OK\r\n");
    for session in [at(0), at(2)] {
        cluster.ask(session, &["HELLO", "3"]);
        cluster.ask(session, &["PSUBSCRIBE", "*"]);
    }
    let push = |name: &str| {
        let channel = bulk(&format!("__keyevent@0__:{name}"));
        format!(">4\r\n{}{}{channel}{}", bulk("pmessage"), bulk("*"), bulk(FIRST))
    };
    assert_eq!(cluster.ask(ROUTER, &["SET", FIRST, "1", "PX", "20000"]), "+OK\r\n");
    assert_eq!(cluster.ask(ROUTER, &["INCRBYFLOAT", FIRST, "1.5"]), bulk("2.5"));
    cluster.pass(LAG_MS - 1);
    assert_eq!(cluster.ask(at(2), &["GET", FIRST]), "_\r\n", "the change is under way");
    cluster.pass(1);
    // The sum with rounding is replicated as its result.
    let heard = ["set", "expire", "set"].map(push).concat();
    assert_eq!(cluster.ask(at(2), &["GET", FIRST]), heard + &bulk("2.5"));
    assert_eq!(cluster.ask(at(0), &["GET", FIRST]), bulk("2.5"), "its own setting is off");
}

#[test]
fn slots_that_move_leave_the_replicas_as_well() {
    let mut cluster = Cluster::new();
    let (zero, one) = (cluster.id(0), cluster.id(1));
    let slot = "3300";
    assert_eq!(cluster.ask(at(0), &["CLUSTER", "KEYSLOT", FIRST]), format!(":{slot}\r\n"));
    cluster.ask(ROUTER, &["MSET", "{b}1", "1", "{b}2", "2"]);
    cluster.pass(LAG_MS);
    assert_eq!(cluster.ask(at(1), &["CLUSTER", "SETSLOT", slot, "IMPORTING", &zero]), "+OK\r\n");
    assert_eq!(cluster.ask(at(0), &["CLUSTER", "SETSLOT", slot, "MIGRATING", &one]), "+OK\r\n");
    let port = (PORT + 1).to_string();
    let migrate = ["MIGRATE", "127.0.0.1", &port, "", "0", "100", "KEYS", "{b}1"];
    assert_eq!(cluster.ask(at(0), &migrate), "+OK\r\n");
    assert_eq!(cluster.ask(at(2), &["DBSIZE"]), ":2\r\n");
    assert_eq!(cluster.ask(at(3), &["DBSIZE"]), ":0\r\n");
    cluster.pass(LAG_MS);
    assert_eq!(cluster.ask(at(2), &["DBSIZE"]), ":1\r\n");
    assert_eq!(cluster.ask(at(3), &["DBSIZE"]), ":1\r\n");
    // The new owner claims the slot before the other key has left: that key is lost, as in Redis.
    assert_eq!(cluster.ask(at(1), &["CLUSTER", "SETSLOT", slot, "NODE", &one]), "+OK\r\n");
    assert_eq!(cluster.ask(at(0), &["DBSIZE"]), ":0\r\n");
    assert_eq!(cluster.ask(at(2), &["DBSIZE"]), ":1\r\n");
    cluster.pass(LAG_MS);
    assert_eq!(cluster.ask(at(2), &["DBSIZE"]), ":0\r\n");
    assert_eq!(cluster.ask(at(3), &["GET", "{b}1"]), bulk("1"));
}

#[test]
fn a_replica_of_another_master_gets_all_of_its_keys() {
    let mut cluster = Cluster::new();
    cluster.ask(ROUTER, &["SET", FIRST, "1"]);
    cluster.ask(ROUTER, &["SET", SECOND, "1"]);
    let one = cluster.id(1);
    assert_eq!(cluster.ask(at(2), &["CLUSTER", "REPLICATE", &one]), "+OK\r\n");
    assert_eq!(cluster.ask(at(2), &["GET", SECOND]), bulk("1"), "a copy of what was there");
    assert!(cluster.ask(at(2), &["GET", FIRST]).starts_with("-MOVED"));
    cluster.ask(ROUTER, &["SET", SECOND, "2"]);
    cluster.pass(LAG_MS);
    for replica in [2, 3] {
        assert_eq!(cluster.ask(at(replica), &["GET", SECOND]), bulk("2"));
        assert_eq!(cluster.ask(at(replica), &["DBSIZE"]), ":1\r\n");
    }
    // A replica that is reset to a master has nothing, not even what was in flight.
    cluster.ask(ROUTER, &["SET", SECOND, "3"]);
    assert_eq!(cluster.ask(at(3), &["CLUSTER", "RESET"]), "+OK\r\n");
    assert_eq!(cluster.ask(at(3), &["DBSIZE"]), ":0\r\n");
    cluster.pass(LAG_MS);
    assert_eq!(cluster.ask(at(3), &["DBSIZE"]), ":0\r\n");
    assert_eq!(cluster.ask(at(2), &["GET", SECOND]), bulk("3"));
}

#[test]
fn a_replica_reports_its_offset() {
    let mut cluster = Cluster::new();
    cluster.ask(ROUTER, &["MSET", "{b}1", "1", "{b}2", "2"]);
    let info = |cluster: &mut Cluster, node: usize, field: &str| {
        let info = cluster.ask(at(node), &["INFO", "replication"]);
        let line = info.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        line.unwrap_or_else(|| panic!("no {field} in {info}")).to_owned()
    };
    let replica = |offset| format!("ip=127.0.0.1,port=7003,state=online,offset={offset},lag=0");
    assert_eq!(info(&mut cluster, 0, "master_repl_offset"), "2");
    assert_eq!(info(&mut cluster, 0, "slave0"), replica(0));
    assert_eq!(info(&mut cluster, 2, "slave_repl_offset"), "0");
    cluster.pass(LAG_MS);
    assert_eq!(info(&mut cluster, 0, "slave0"), replica(2));
    assert_eq!(info(&mut cluster, 2, "slave_repl_offset"), "2");
    let role = cluster.ask(at(0), &["ROLE"]);
    assert!(
        role.starts_with("*3\r\n$6\r\nmaster\r\n:2\r\n") && role.ends_with("$1\r\n2\r\n"),
        "{role}"
    );
    assert!(cluster.ask(at(2), &["ROLE"]).ends_with("connected\r\n:2\r\n"));
}

#[test]
fn wait_waits_for_replicas() {
    let mut cluster = Cluster::new();
    assert_eq!(cluster.ask(at(0), &["WAIT", "1", "100"]), ":1\r\n", "there is nothing to wait for");
    cluster.ask(at(0), &["SET", FIRST, "1"]);
    assert_eq!(cluster.ask(at(0), &["WAIT", "0", "100"]), ":0\r\n");
    cluster.ask(at(0), &["MULTI"]);
    cluster.ask(at(0), &["WAIT", "1", "100"]);
    assert_eq!(cluster.ask(at(0), &["EXEC"]), "*1\r\n:0\r\n");
    let (start, lag) = (cluster.now, LAG_MS);
    for (wanted, timeout, ends, count) in
        [("1", "0", lag, 1), ("1", "1000", lag, 1), ("1", "20", 20, 0), ("2", "70", 70, 1)]
    {
        let (reply, progress) = cluster.send(at(0), &["WAIT", wanted, timeout]);
        let Outcome::Wait { wait: WaitFor::Replicas(vigil), muted: false } = progress else {
            panic!("WAIT {wanted} {timeout} came to {progress:?}");
        };
        assert!(reply.is_empty());
        let mut now = start;
        while let Some(next) = vigil.next_check(now) {
            assert!(next > now);
            now = next;
        }
        assert_eq!((now, vigil.count(now)), (start + ends, count), "WAIT {wanted} {timeout}");
    }
}

/// A command on some keys of one slot.
fn act() -> impl Strategy<Value = Vec<String>> {
    let key = || prop::sample::select(vec!["{b}1", "{b}2", "{b}3", "{b}4"]);
    let word = || prop::sample::select(vec!["1", "2", "x", "yy", "-3"]);
    let one = |name: &'static str| {
        (Just(name), key()).prop_map(|(n, k)| vec![n.to_owned(), k.to_owned()])
    };
    let two = |name: &'static str| {
        (Just(name), key(), word())
            .prop_map(|(n, k, w)| vec![n.to_owned(), k.to_owned(), w.to_owned()])
    };
    let three = |name: &'static str| {
        (Just(name), key(), word(), word())
            .prop_map(|(n, k, v, w)| vec![n.to_owned(), k.to_owned(), v.to_owned(), w.to_owned()])
    };
    let time = (key(), 1..90i64)
        .prop_map(|(k, ms)| vec!["PEXPIRE".to_owned(), k.to_owned(), ms.to_string()]);
    let plain = |name: &'static str| Just(vec![name.to_owned()]);
    prop_oneof![
        3 => two("SET"), 2 => two("APPEND"), 2 => one("INCR"), 3 => one("DEL"), 1 => one("PERSIST"),
        3 => two("RPUSH"), 1 => one("LPOP"), 3 => two("SADD"), 1 => one("SPOP"), 1 => two("SREM"),
        3 => three("HSET"), 1 => two("HDEL"), 3 => three("ZADD"), 1 => one("ZPOPMIN"),
        4 => time, 1 => one("GETDEL"), 1 => plain("FLUSHALL"), 1 => two("SETNX"),
        2 => plain("MULTI"), 2 => plain("EXEC"), 1 => plain("DISCARD"),
        1 => (key(), key()).prop_map(|(a, b)| vec!["RENAME".to_owned(), a.to_owned(), b.to_owned()]),
        1 => (key(), key()).prop_map(|(a, b)| vec!["COPY".to_owned(), a.to_owned(), b.to_owned()]),
    ]
}

/// The value and expiry of each key.
type Contents = Vec<(Vec<u8>, String)>;

fn contents(cluster: &mut Cluster, session: usize) -> Contents {
    let keys = ["{b}1", "{b}2", "{b}3", "{b}4"];
    let look = |key| {
        (cluster.ask_bytes(session, &["DUMP", key]), cluster.ask(session, &["PEXPIRETIME", key]))
    };
    keys.map(look).into()
}

/// What has not expired at `now`.
fn at_time(contents: &Contents, now: i64) -> Contents {
    let left =
        |(dump, until): &(Vec<u8>, String)| match until.trim().trim_start_matches(':').parse() {
            Ok(end) if (0..now).contains(&end) => (NIL.into(), ":-2\r\n".to_owned()),
            _ => (dump.clone(), until.clone()),
        };
    contents.iter().map(left).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// At every moment a replica has what its master had a lag ago, except for what has expired.
    #[test]
    fn a_replica_is_its_master_a_lag_ago(
        acts in prop::collection::vec((act(), 0..30i64), 1..60),
    ) {
        let mut cluster = Cluster::new();
        let (master, replica) = (at(0), at(2));
        // A second session, to read while the first is in a transaction.
        let observer = ROUTER;
        let mut history = vec![(i64::MIN, contents(&mut cluster, observer))];
        for (argv, ms) in &acts {
            cluster.pass(*ms);
            let argv: Vec<&str> = argv.iter().map(String::as_str).collect();
            cluster.ask_bytes(master, &argv);
            history.push((cluster.now, contents(&mut cluster, observer)));
            let then = cluster.now - LAG_MS;
            let (_, before) = history.iter().rfind(|(time, _)| *time <= then).expect("the first");
            let seen = contents(&mut cluster, replica);
            prop_assert_eq!(seen, at_time(before, cluster.now), "{}", cluster.now - START);
        }
        cluster.pass(LAG_MS);
        let (last, seen) = (contents(&mut cluster, observer), contents(&mut cluster, replica));
        prop_assert_eq!(last, seen);
        // Reading at the master deletes what has expired there; the replica learns of it a lag later.
        let size = cluster.ask(observer, &["DBSIZE"]);
        cluster.pass(LAG_MS);
        prop_assert_eq!(cluster.ask(replica, &["DBSIZE"]), size);
    }
}

// ── over sockets ──────────────────────────────────────────────────────────────────────────────

/// One master and its replica with this lag; and connections to master, replica and router.
fn pair(lag: &str) -> (ServerProcess, [Client; 3]) {
    let shape = Shape { masters: 1, replicas: 1, spares: 0 };
    let (server, stage) =
        ServerProcess::start_cluster(shape, &["--replica-lag".into(), lag.into()]);
    let connect = |name| {
        let address = stage.address_of(name).expect("a node");
        Client::connect(address).expect("it accepts connections")
    };
    let (mut master, mut replica) = (connect("n1"), connect("r1"));
    // Allows reads from each node in any role.
    for client in [&mut master, &mut replica] {
        assert_eq!(client.ask(&["READONLY"]), Reply::Simple(b"OK".into()));
    }
    let router = server.client();
    (server, [master, replica, router])
}

fn text(value: &str) -> Reply {
    Reply::Bulk(value.into())
}

#[test]
fn a_failover_over_sockets() {
    let ok = || Reply::Simple(b"OK".into());
    let (_server, [mut master, mut replica, mut router]) = pair("1h");
    assert_eq!(router.ask(&["SET", "k", "1"]), ok());
    assert_eq!(replica.ask(&["GET", "k"]), Reply::NullBulk);
    assert_eq!(replica.ask(&["CLUSTER", "FAILOVER"]), ok());
    for client in [&mut master, &mut replica, &mut router] {
        assert_eq!(client.ask(&["GET", "k"]), text("1"));
    }
    assert_eq!(router.ask(&["SET", "k", "2"]), ok());
    for (client, value) in [(&mut master, "1"), (&mut replica, "2"), (&mut router, "2")] {
        assert_eq!(client.ask(&["GET", "k"]), text(value));
    }
    assert_eq!(master.ask(&["CLUSTER", "FAILOVER", "TAKEOVER"]), ok());
    for client in [&mut master, &mut replica, &mut router] {
        assert_eq!(client.ask(&["GET", "k"]), text("1"), "the write that had not arrived is lost");
    }
}

/// Reads at a replica never see a counter go back, nor what is not yet written, and always at least
/// what a WAIT has confirmed.
#[test]
fn a_history_on_a_replica_goes_forward() {
    const WRITES: u64 = 3000;
    const WAITS_EVERY: u64 = 100;
    let (_server, [mut master, mut replica, _]) = pair("5ms");
    let (begun, waited, is_over) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
    let value = |reply: Reply| match reply {
        Reply::Bulk(text) => {
            String::from_utf8(text).expect("digits").parse::<u64>().expect("a number")
        }
        Reply::NullBulk => 0,
        other => panic!("GET answered {other:?}"),
    };
    let stale = std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 1..=WRITES {
                begun.store(n, Ordering::SeqCst);
                assert_eq!(master.ask(&["INCR", "n"]), Reply::Int(n as i64));
                if n % WAITS_EVERY == 0 {
                    assert_eq!(master.ask(&["WAIT", "1", "0"]), Reply::Int(1));
                    waited.store(n, Ordering::SeqCst);
                }
            }
            is_over.store(true, Ordering::SeqCst);
        });
        let (mut last, mut stale) = (0, 0);
        while !is_over.load(Ordering::SeqCst) {
            let (floor, written) = (waited.load(Ordering::SeqCst), begun.load(Ordering::SeqCst));
            let seen = value(replica.ask(&["GET", "n"]));
            let ceiling = begun.load(Ordering::SeqCst);
            assert!(seen >= floor, "{seen} after a WAIT for {floor}");
            assert!(seen <= ceiling, "{seen} before {ceiling} was begun");
            assert!(seen >= last, "{seen} after {last}");
            stale += u64::from(seen + 1 < written);
            last = seen;
        }
        stale
    });
    say(&format!("{stale} stale reads"));
    let last = poll(|| (value(replica.ask(&["GET", "n"])) == WRITES).then_some(()));
    assert!(last.is_some(), "it gets there");
}
