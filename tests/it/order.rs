//! The order of arrival: what a client sends on one connection has run when what it sends afterwards
//! on another one runs, though it reads no reply in between. One thread keeps that order, always.
//!
//! Before most tries the client awaits a reply on a third connection. What arrives at a socket that
//! the server is sending on is delayed by the kernel; and Redis itself keeps the order only then: a
//! socket that it has served stays in the kernel's list until it asks for events once more, and is
//! ahead of others if input arrives before that.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::Stdio;

use slotway::TestCluster;

use crate::program::slotway;
use crate::server_process::ServerProcess;
use crate::servers::{Product, Server};
use crate::wire::{Answer, Client, Reply, command};

/// Tries of one kind.
const TRIES: usize = 1000;
/// Tries that open connections.
const TRIES_OF_NEW: usize = 300;
/// Tries that make the server sleep.
const TRIES_OF_SLEEP: usize = 10;
/// Connections that send one after the other.
const MANY: usize = 40;

/// The two addresses that a client is connected to.
type Ports = [SocketAddr; 2];

/// Counts the tries in which the second connection was served first.
type Count = fn(Ports) -> usize;

const KINDS: [(&str, Count); 8] = [
    ("SET, then GET at once", set_then_get_at_once),
    ("SET, then GET", set_then_get),
    ("SET, then GET on a new connection", set_then_get_on_a_new_connection),
    ("SET, then GET on a connection that was just accepted", set_then_get_on_one_just_accepted),
    ("SET on a new connection that was served, then GET", set_on_a_new_connection_then_get),
    ("SUBSCRIBE, then PUBLISH", subscribe_then_publish),
    ("BLPOP, then LPUSH", blpop_then_lpush),
    ("INCR on many connections", increments_of_many),
];

fn connect(address: SocketAddr) -> Client {
    Client::connect(address).expect("the server accepts connections")
}

fn reply(client: &mut Client) -> Reply {
    match client.read() {
        Answer::Reply(reply) => reply,
        other => panic!("a reply is due: {other:?}"),
    }
}

fn ok() -> Reply {
    Reply::Simple(b"OK".to_vec())
}

fn await_silence(third: &mut Client) {
    assert_eq!(third.ask(&["PING"]), Reply::Simple(b"PONG".to_vec()));
}

/// Sends both without a wait; returns whether the second saw the first.
fn is_seen(a: &mut Client, b: &mut Client, n: usize) -> bool {
    let value = n.to_string();
    a.send(&command(&["SET", "foo", &value]));
    b.send(&command(&["GET", "foo"]));
    assert_eq!(reply(a), ok());
    reply(b) == Reply::Bulk(value.into_bytes())
}

fn set_then_get_at_once([a, b]: Ports) -> usize {
    let (mut a, mut b) = (connect(a), connect(b));
    (0..TRIES).filter(|&n| !is_seen(&mut a, &mut b, n)).count()
}

fn set_then_get([a, b]: Ports) -> usize {
    let (mut a, mut b, mut third) = (connect(a), connect(b), connect(b));
    let is_missed = |&n: &usize| {
        await_silence(&mut third);
        !is_seen(&mut a, &mut b, n)
    };
    (0..TRIES).filter(is_missed).count()
}

fn set_then_get_on_a_new_connection([a, b]: Ports) -> usize {
    let mut a = connect(a);
    (0..TRIES_OF_NEW).filter(|&n| !is_seen(&mut a, &mut connect(b), n)).count()
}

/// What arrives while the server is busy, between accepting a connection and asking for its input.
fn set_then_get_on_one_just_accepted([a, b]: Ports) -> usize {
    let (mut a, mut third) = (connect(a), connect(b));
    let (mut before, mut after) = (connect(b), connect(b));
    let sleep = command(&["DEBUG", "SLEEP", "0.02"]);
    let is_missed = |&n: &usize| {
        await_silence(&mut third);
        // All of this is pending when the server wakes.
        before.send(&sleep);
        let mut b = connect(b);
        third.send(&command(&["PING"]));
        after.send(&sleep);
        // It has accepted the connection, and sleeps again.
        reply(&mut third);
        let is_missed = !is_seen(&mut a, &mut b, n);
        reply(&mut before);
        reply(&mut after);
        is_missed
    };
    (0..TRIES_OF_SLEEP).filter(is_missed).count()
}

fn set_on_a_new_connection_then_get([a, b]: Ports) -> usize {
    let (mut b, mut third) = (connect(b), connect(b));
    let is_missed = |&n: &usize| {
        let mut a = connect(a);
        await_silence(&mut a);
        await_silence(&mut third);
        !is_seen(&mut a, &mut b, n)
    };
    (0..TRIES_OF_NEW).filter(is_missed).count()
}

fn subscribe_then_publish([a, b]: Ports) -> usize {
    let (mut a, mut b, mut third) = (connect(a), connect(b), connect(b));
    let pong = Reply::Array(vec![Reply::Bulk(b"pong".to_vec()), Reply::Bulk(Vec::new())]);
    let is_missed = |n: &usize| {
        let channel = format!("news:{n}");
        await_silence(&mut third);
        a.send(&command(&["SUBSCRIBE", &channel]));
        b.send(&command(&["PUBLISH", &channel, "x"]));
        // A node counts its own subscribers only.
        reply(&mut b);
        a.send(&command(&["PING"]));
        reply(&mut a);
        let is_missed = reply(&mut a) == pong;
        if !is_missed {
            assert_eq!(reply(&mut a), pong);
        }
        is_missed
    };
    (0..TRIES).filter(is_missed).count()
}

fn blpop_then_lpush([a, b]: Ports) -> usize {
    let (mut a, mut b, mut third) = (connect(a), connect(b), connect(b));
    let push = [command(&["LPUSH", "{foo}q", "x"]), command(&["LLEN", "{foo}q"])].concat();
    let is_missed = |_: &usize| {
        await_silence(&mut third);
        a.send(&command(&["BLPOP", "{foo}q", "0"]));
        b.send(&push);
        assert_eq!(reply(&mut b), Reply::Int(1));
        let left = reply(&mut b);
        reply(&mut a);
        // A client that waits is served by LPUSH; one that comes later finds the element.
        left != Reply::Int(0)
    };
    (0..TRIES).filter(is_missed).count()
}

fn increments_of_many([a, b]: Ports) -> usize {
    let mut many: Vec<Client> = (0..MANY).map(|n| connect([a, b][n % 2])).collect();
    let mut third = connect(b);
    let mut random = fastrand::Rng::with_seed(1);
    let mut missed = 0;
    assert_eq!(third.ask(&["SET", "foo", "0"]), ok());
    for round in 0..TRIES / MANY {
        random.shuffle(&mut many);
        await_silence(&mut third);
        many.iter_mut().for_each(|client| client.send(&command(&["INCR", "foo"])));
        for (n, client) in many.iter_mut().enumerate() {
            let due = round * MANY + n + 1;
            missed += usize::from(reply(client) != Reply::Int(due as i64));
        }
    }
    missed
}

/// Counts each kind; the ports are those of one server.
fn assert_in_order(name: &str, ports: Ports) {
    for (kind, count) in KINDS {
        assert_eq!(count(ports), 0, "{name}: {kind}");
    }
}

/// The control: the tries themselves are in order.
#[test]
fn redis_serves_in_the_order_of_arrival() {
    let server = match Server::start(Product::Redis7, &[]) {
        Ok(server) => server,
        Err(missing) => return crate::references::report_missing(&missing),
    };
    for (kind, count) in &KINDS[1..] {
        // Not none, because the process may lose its core at the wrong moment.
        let missed = count([server.address; 2]);
        assert!(missed <= TRIES / 100, "{kind}: {missed}");
    }
}

#[test]
fn a_test_cluster_serves_in_the_order_of_arrival_at_all_ports() {
    let cluster = TestCluster::builder().start().expect("free ports");
    // It owns the slot of `foo`.
    let (router, node) = (cluster.router(), cluster.nodes()[2].address);
    for ports in [[router, router], [node, node], [router, node], [node, router]] {
        assert_in_order("TestCluster", ports);
    }
}

#[test]
fn a_server_of_one_thread_serves_in_the_order_of_arrival() {
    let server = ServerProcess::start(&["--threads", "1"].map(str::to_owned));
    assert_in_order("slotway serve --threads 1", [server.address; 2]);
}

#[test]
fn the_cluster_of_run_serves_in_the_order_of_arrival() {
    // It prints the address, and ends when its input does.
    let mut program = slotway("run");
    let script = "echo $REDIS_HOST:$REDIS_PORT; exec cat";
    program.args(["--", "sh", "-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = program.stderr(Stdio::null()).spawn().expect("the program starts");
    let mut line = String::new();
    let stdout = child.stdout.take().expect("stdout is piped");
    BufReader::new(stdout).read_line(&mut line).expect("stdout is readable");
    let tried = std::panic::catch_unwind(|| {
        let address = line.trim().parse().expect("the address of the router port");
        assert_in_order("slotway run", [address; 2]);
    });
    drop(child.stdin.take());
    child.wait().expect("a child of this process");
    if let Err(failure) = tried {
        std::panic::resume_unwind(failure);
    }
}
