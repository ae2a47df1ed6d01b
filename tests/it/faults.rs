//! What the transcripts of SLOTWAY cannot show: ports that refuse, nodes that hang, late replies,
//! faults that end by time, scenarios and `slotway ctl`; and that nothing is lost or done twice while
//! the topology changes.

use crate::env::poll;
use crate::nodes::{Shape, Stage};
use crate::server_process::{ServerProcess, clients};
use crate::wire::{Answer, Client, Reply, command, text};
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

const PAIR: Shape = Shape { masters: 2, replicas: 1, spares: 0 };

fn cluster(shape: Shape) -> (ServerProcess, Stage) {
    ServerProcess::start_cluster(shape, &[])
}

fn at(stage: &Stage, node: &str) -> Client {
    Client::connect(stage.address_of(node).expect("a node")).expect("it takes connections")
}

fn refuses(stage: &Stage, node: &str) -> bool {
    Client::connect(stage.address_of(node).expect("a node")).is_err()
}

/// Sends a line of words; returns the reply.
fn ask(client: &mut Client, line: &str) -> Reply {
    client.ask(&line.split(' ').collect::<Vec<_>>())
}

fn ok() -> Reply {
    Reply::Simple(b"OK".to_vec())
}

fn bulk(text: &str) -> Reply {
    Reply::Bulk(text.as_bytes().to_vec())
}

fn error(reply: &Reply) -> String {
    if let Reply::Error(error) = reply { text(error) } else { panic!("{reply:?} is no error") }
}

/// Waits until no fault is armed.
fn all_over(observer: &mut Client) {
    let over = || (ask(observer, "SLOTWAY FAULTS") == Reply::Array(vec![])).then_some(());
    poll(over).expect("every fault ends by itself");
}

// ── nodes that stop ───────────────────────────────────────────────────────────────────────────────

#[test]
fn a_stopped_node_refuses_connections_and_comes_back_by_itself() {
    let (server, stage) = cluster(PAIR);
    let (mut router, mut victim, mut waits) = (server.client(), at(&stage, "n1"), at(&stage, "n1"));
    assert_eq!(ask(&mut router, "SET bar 1"), ok());
    waits.send(&command(&["BLPOP", "list{bar}", "0"]));
    assert_eq!(ask(&mut victim, "GET bar"), bulk("1"));
    assert_eq!(ask(&mut router, "SLOTWAY STOP 0 FOR 300"), Reply::Int(1));
    // Once the reply is there, the port refuses connections and those that it had are closed.
    assert!(refuses(&stage, "n1"));
    assert_eq!((victim.call(&["GET", "bar"]), waits.read()), (Answer::Closed, Answer::Closed));
    // The replica is promoted, and the router uses it.
    assert_eq!(ask(&mut at(&stage, "r1"), "GET bar"), bulk("1"));
    assert_eq!(ask(&mut router, "GET bar"), bulk("1"));
    poll(|| (!refuses(&stage, "n1")).then_some(())).expect("it comes back");
    all_over(&mut router);
    let moved = error(&ask(&mut at(&stage, "n1"), "GET bar"));
    assert!(moved.starts_with("MOVED 5061 "), "it is a replica now: {moved}");
}

#[test]
fn stop_of_the_clients_own_node_is_answered_first() {
    let (server, stage) = cluster(PAIR);
    let mut router = server.client();
    for id in 1..=20 {
        let mut client = at(&stage, "n2");
        assert_eq!(ask(&mut client, "SLOTWAY STOP 1"), Reply::Int(id));
        assert!(refuses(&stage, "n2"));
        assert_eq!(client.read(), Answer::Closed);
        assert_eq!(ask(&mut router, "SLOTWAY START 1"), ok());
    }
}

#[test]
fn a_hanging_node_takes_connections_and_answers_when_it_is_over() {
    let (server, stage) = cluster(PAIR);
    let (mut router, mut old) = (server.client(), at(&stage, "n1"));
    assert_eq!(ask(&mut router, "SET foo 1"), ok());
    assert_eq!(ask(&mut router, "SLOTWAY STOP 0 HANG PROMOTE NEVER"), Reply::Int(1));
    let mut new = at(&stage, "n1");
    old.send(b"PING one\r\n*2\r\n$4\r\nPING\r\n$3\r\ntwo\r\n*2\r\n$4\r\nPI");
    new.send(&command(&["PING", "three"]));
    let mut leaves = at(&stage, "n1");
    leaves.send(&command(&["PING", "unread"]));
    let mut other = at(&stage, "n2");
    let down = "CLUSTERDOWN The cluster is down";
    assert_eq!(error(&ask(&mut other, "GET foo")), down);
    assert_eq!(error(&ask(&mut router, "GET bar")), down);
    assert!(old.unread().is_empty() && new.unread().is_empty());
    // A connection that is closed while the node hangs is removed from its clients.
    poll(|| (clients(&mut router) == 5).then_some(())).expect("all are connected");
    drop(leaves);
    poll(|| (clients(&mut router) == 4).then_some(())).expect("it is closed");
    assert!(old.unread().is_empty() && new.unread().is_empty());
    assert_eq!(ask(&mut other, "SLOTWAY START 0"), ok());
    old.send(b"NG\r\n$5\r\nhalf!\r\n");
    for word in ["one", "two", "half!"] {
        assert_eq!(old.read(), Answer::Reply(bulk(word)));
    }
    assert_eq!(new.read(), Answer::Reply(bulk("three")));
    assert_eq!(ask(&mut other, "GET foo"), bulk("1"));
    // The same, ended by time.
    assert_eq!(ask(&mut other, "SLOTWAY STOP 0 HANG FOR 50 PROMOTE NEVER"), Reply::Int(2));
    assert_eq!(ask(&mut new, "PING"), Reply::Simple(b"PONG".to_vec()));
}

#[test]
fn a_replica_is_promoted_after_the_time_of_the_order() {
    let (server, stage) = cluster(PAIR);
    let mut router = server.client();
    assert_eq!(ask(&mut router, "SET bar 1"), ok());
    assert_eq!(ask(&mut router, "SLOTWAY STOP 0 PROMOTE AFTER 60000"), Reply::Int(1));
    assert_eq!(error(&ask(&mut router, "GET bar")), "CLUSTERDOWN The cluster is down");
    assert_eq!(ask(&mut router, "SLOTWAY START 0"), ok());
    assert_eq!(ask(&mut router, "SLOTWAY FAULTS"), Reply::Array(vec![]), "nor a promotion");
    assert_eq!(ask(&mut at(&stage, "n1"), "GET bar"), bulk("1"));
    assert_eq!(ask(&mut router, "SLOTWAY STOP 0 PROMOTE AFTER 100"), Reply::Int(3));
    poll(|| (ask(&mut router, "GET bar") == bulk("1")).then_some(())).expect("it is promoted");
    assert_eq!(ask(&mut at(&stage, "r1"), "GET bar"), bulk("1"));
    assert!(refuses(&stage, "n1"));
}

// ── ends by time ──────────────────────────────────────────────────────────────────────────────────

#[test]
fn every_fault_ends_by_time() {
    let (server, stage) = cluster(PAIR);
    let (mut router, mut n1, mut n2) = (server.client(), at(&stage, "n1"), at(&stage, "n2"));
    ask(&mut router, "SET foo 1");
    for order in [
        "DOWN FOR 100",
        "EXEC NIL FOR 100",
        "CONFLICT foo FOR 100",
        "LATENCY 1 5 FOR 100",
        "HOLD 12182 TO 0 FOR 100 KEYS foo",
    ] {
        assert!(matches!(ask(&mut router, &format!("SLOTWAY {order}")), Reply::Int(_)), "{order}");
    }
    all_over(&mut router);
    // The held migration is finished.
    assert_eq!(ask(&mut n1, "GET foo"), bulk("1"));
    assert!(error(&ask(&mut n2, "GET foo")).starts_with("MOVED 12182"));
    for line in ["WATCH foo", "MULTI", "GET foo"] {
        ask(&mut n1, line);
    }
    assert_eq!(ask(&mut n1, "EXEC"), Reply::Array(vec![bulk("1")]));
}

#[test]
fn the_number_of_faults_is_bounded() {
    let server = ServerProcess::start(&[]);
    let mut client = server.client();
    for id in 1..=256 {
        assert_eq!(ask(&mut client, "SLOTWAY EXEC NIL"), Reply::Int(id));
    }
    let full = "ERR as many faults are armed as there may be: CLEAR some";
    for order in ["EXEC NIL", "DOWN", "STOP 1", "HOLD 12182 TO 0", "CONFLICT foo"] {
        assert_eq!(error(&ask(&mut client, &format!("SLOTWAY {order}"))), full, "{order}");
    }
    assert_eq!(ask(&mut client, "GET foo"), Reply::NullBulk, "none of them has done anything");
    assert_eq!(ask(&mut client, "SLOTWAY CLEAR"), Reply::Int(256));
}

// ── late replies ──────────────────────────────────────────────────────────────────────────────────

#[test]
fn late_replies_delay_no_other_client() {
    let (server, stage) = cluster(PAIR);
    let (mut router, mut slow, mut quick) = (server.client(), at(&stage, "n1"), at(&stage, "n1"));
    assert_eq!(ask(&mut router, "SLOTWAY LATENCY SLOT 5061 1500 COUNT 1"), Reply::Int(1));
    slow.send(&command(&["INCR", "bar"]));
    all_over(&mut router);
    // It has run at once, and other clients see that; only its reply is late.
    assert_eq!(ask(&mut quick, "GET bar"), bulk("1"));
    assert_eq!(ask(&mut router, "GET bar"), bulk("1"));
    assert!(slow.unread().is_empty());
    assert_eq!(slow.read(), Answer::Reply(Reply::Int(1)));
}

#[test]
fn each_reply_of_a_pipeline_is_late_and_all_are_right() {
    let (server, stage) = cluster(PAIR);
    let (mut router, mut client) = (server.client(), at(&stage, "n1"));
    assert_eq!(ask(&mut router, "SLOTWAY LATENCY 0 1 COUNT 100"), Reply::Int(1));
    let mut pipeline = Vec::new();
    for n in 0..50 {
        pipeline.extend(command(&["INCR", "bar"]));
        pipeline.extend(format!("ECHO {n}\r\n").into_bytes());
    }
    for line in ["WATCH bar", "MULTI", "INCR bar", "NOSUCH", "EXEC"] {
        pipeline.extend(command(&line.split(' ').collect::<Vec<_>>()));
    }
    client.send(&pipeline);
    for n in 0..50 {
        assert_eq!(client.read(), Answer::Reply(Reply::Int(n + 1)));
        assert_eq!(client.read(), Answer::Reply(bulk(&n.to_string())));
    }
    assert_eq!(ask(&mut router, "SLOTWAY FAULTS"), Reply::Array(vec![]), "all are used up");
    assert_eq!((client.read(), client.read()), (Answer::Reply(ok()), Answer::Reply(ok())));
    assert_eq!(client.read(), Answer::Reply(Reply::Simple(b"QUEUED".to_vec())));
    for word in ["ERR unknown command", "EXECABORT"] {
        let Answer::Reply(reply) = client.read() else { panic!("no {word}") };
        assert!(error(&reply).starts_with(word));
    }
}

// ── nothing is lost ───────────────────────────────────────────────────────────────────────────────

/// Clients add to counters, in transactions with and without WATCH, while slots move, are held and
/// released, and replicas are promoted: each counter is the sum of the acknowledged additions.
#[test]
fn nothing_is_lost_or_done_twice_while_the_topology_changes() {
    const ROUNDS: usize = 60;
    const CLIENTS: usize = 4;
    let (server, _stage) = cluster(Shape { masters: 3, replicas: 1, spares: 0 });
    let is_over = AtomicBool::new(false);
    let (server, is_over) = (&server, &is_over);
    let added: i64 = thread::scope(|scope| {
        let adders: Vec<_> = (0..CLIENTS)
            .map(|number| {
                scope.spawn(move || {
                    let (mut client, mut added) = (server.client(), 0);
                    while !is_over.load(Ordering::Relaxed) {
                        if number % 2 == 0 {
                            ask(&mut client, "WATCH n{foo}");
                        }
                        for line in ["MULTI", "INCR n{foo}", "INCR m{foo}"] {
                            ask(&mut client, line);
                        }
                        match ask(&mut client, "EXEC") {
                            Reply::Array(both) => {
                                assert_eq!(both[0], both[1], "both or none");
                                added += 1;
                            }
                            Reply::NullArray if number % 2 == 0 => {}
                            other => panic!("EXEC answers {other:?}"),
                        }
                    }
                    added
                })
            })
            .collect();
        let mut mover = server.client();
        let mut order = |line: &str| ask(&mut mover, &format!("SLOTWAY {line}"));
        for round in 0..ROUNDS {
            // The owner is node 2, or the node of the round before.
            let (from, to) = ((round + 2) % 3, (round + 3) % 3);
            let reply = match round % 3 {
                0 => order(&format!("MOVE 12182 TO {to}")),
                1 => {
                    order(&format!("HOLD 12182 TO {to} KEYS n{{foo}}"));
                    order("FINISH 12182")
                }
                _ => {
                    order(&format!("HOLD 12182 TO {to}"));
                    order("REVERT 12182");
                    order(&format!("HOLD 12182 TO {to} KEYS m{{foo}}"));
                    order("FINISH 12182")
                }
            };
            assert_eq!(reply, ok(), "round {round}");
            // The old owner's replica is promoted and gives the slot back.
            order(&format!("FAILOVER {from}"));
            order(&format!("FAILOVER {from}"));
        }
        is_over.store(true, Ordering::Relaxed);
        adders.into_iter().map(|adder| adder.join().expect("an adder")).sum()
    });
    let mut router = server.client();
    assert!(added > 0);
    assert_eq!(ask(&mut router, "GET n{foo}"), bulk(&added.to_string()));
    assert_eq!(ask(&mut router, "GET m{foo}"), bulk(&added.to_string()));
}

// ── slotway ctl, scenarios ────────────────────────────────────────────────────────────────────────

fn slotway(words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_slotway"));
    command.env_clear().args(words).output().expect("the program runs")
}

/// Runs `slotway ctl` with these words; returns exit code, stdout, stderr.
fn ctl(server: &ServerProcess, words: &[&str]) -> (i32, String, String) {
    let port = server.address.port().to_string();
    outcome(slotway(&[&["ctl", "--port", &port], words].concat()))
}

fn outcome(output: Output) -> (i32, String, String) {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (output.status.code().expect("an exit code"), text(output.stdout), text(output.stderr))
}

struct File(PathBuf);

impl File {
    fn new(name: &str, contents: &str) -> Self {
        let name = format!("slotway-faults-{}-{name}.toml", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, contents).expect("the temporary directory is writable");
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().expect("the temporary directory has a plain name")
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn ctl_sends_orders_and_reports_the_outcome() {
    let (server, stage) = cluster(PAIR);
    let out = |text: &str| (0, text.to_owned(), String::new());
    assert_eq!(ctl(&server, &["hold", "12182", "to", "0", "keys", "foo"]), out("1\n"));
    assert!(error(&ask(&mut at(&stage, "n2"), "GET foo")).starts_with("ASK 12182 "));
    assert_eq!(ctl(&server, &["finish", "12182"]), out("OK\n"));
    let (code, shown, _) = ctl(&server, &["cluster"]);
    assert!(code == 0 && shown.contains("slots 0-8191 12182"), "{shown}");
    // A node port works as well, and so does a URL.
    let url = format!("redis://{}", stage.address_of("n1").expect("a node"));
    assert_eq!(outcome(slotway(&["ctl", "--url", &url, "faults"])), out(""));
    // A malformed order is not sent; an impossible one is refused by the server.
    let (code, _, why) = ctl(&server, &["stop"]);
    let form = "STOP node [HANG] [FOR ms] [PROMOTE AFTER ms|PROMOTE NEVER]";
    assert_eq!((code, why), (2, format!("slotway: the node is missing: {form}\n")));
    assert_eq!(ctl(&server, &["stop", "9"]).2, "slotway: Unknown node 9\n");
    assert_eq!(ctl(&server, &["stop", "9"]).0, 1);
    let (code, _, why) = outcome(slotway(&["ctl", "--port", "1", "up"]));
    assert!(code == 1 && why.contains("cannot reach 127.0.0.1:1"), "{why}");
    let (code, help, _) = outcome(slotway(&["ctl", "--help"]));
    assert!(code == 0 && help.contains(form) && help.contains("[[step]]"));
}

#[test]
fn ctl_logs_in() {
    let server = ServerProcess::start(&["--requirepass".into(), "sesame".into()]);
    let (code, _, why) = ctl(&server, &["faults"]);
    assert!(code == 1 && why.contains("NOAUTH"), "{why}");
    let url = format!("redis://:sesame@{}", server.address);
    assert_eq!(outcome(slotway(&["ctl", "--url", &url, "down"])).1, "1\n");
    assert_eq!(ctl(&server, &["--password", "sesame", "up"]).1, "OK\n");
    assert_eq!(ctl(&server, &["--password", "wrong", "up"]).0, 1);
}

#[test]
fn a_scenario_is_played_in_its_order() {
    let scenario = File::new(
        "good",
        "[[step]]\ndo = \"HOLD 12182 TO 0 KEYS foo\"\n\
         [[step]]\nafter = { execs = 2 }\ndo = \"FINISH 12182\"\n\
         [[step]]\nafter = { writes = 3 }\ndo = \"EXEC NIL\"\n\
         [[step]]\nafter = { time = \"5ms\" }\ndo = \"MOVE 12182 TO 0\"\n",
    );
    let options = ["--scenario".to_owned(), scenario.path().to_owned()];
    let (server, stage) = ServerProcess::start_cluster(PAIR, &options);
    let (mut router, mut n1) = (server.client(), at(&stage, "n1"));
    let mut done = |so_far: &str| {
        let report = || match ask(&mut router, "SLOTWAY SCENARIO") {
            Reply::Bulk(lines) => text(&lines).contains(so_far).then(|| text(&lines)),
            other => panic!("SLOTWAY SCENARIO answers {other:?}"),
        };
        poll(report).unwrap_or_else(|| panic!("it never reports {so_far}"))
    };
    done("1 of 4");
    for _ in 0..2 {
        assert!(error(&ask(&mut at(&stage, "n2"), "GET foo")).starts_with("ASK "));
        ask(&mut n1, "MULTI");
        ask(&mut n1, "EXEC");
    }
    done("2 of 4");
    for _ in 0..3 {
        assert_eq!(ask(&mut n1, "SET foo 1"), ok());
    }
    let end = done("4 of 4");
    assert_eq!(
        end,
        "done: 4 of 4 steps\\nline 11: ERR I'm already the owner of hash slot 12182\\n"
    );
    for line in ["MULTI", "GET foo"] {
        ask(&mut n1, line);
    }
    assert_eq!(ask(&mut n1, "EXEC"), Reply::NullArray);

    // The same by ctl, which waits for the end and reports a step that was refused.
    let again = File::new("again", "[[step]]\nat = \"20ms\"\ndo = \"DOWN FOR 20\"\n");
    let played = ctl(&server, &["run", "--wait", again.path()]);
    assert_eq!(played, (0, "done: 1 of 1 steps\n".to_owned(), String::new()));
    let refused = File::new("refused", "[[step]]\ndo = \"REVERT 5\"\n[[step]]\ndo = \"UP\"\n");
    let (code, _, why) = ctl(&server, &["run", "--wait", refused.path()]);
    assert!(code == 1 && why.contains("line 2: ERR slot 5 is not on the move"), "{why}");
}

#[test]
fn a_scenario_with_a_mistake_is_refused_before_anything_starts() {
    let server = ServerProcess::start(&[]);
    for (name, contents, why) in [
        (
            "words",
            "[[step]]\ndo = \"UP\"\n[[step]]\ndo = \"JUMP\"\n",
            "line 4: there is no order 'jump'",
        ),
        ("node", "[[step]]\nat = \"1s\"\ndo = \"STOP 9\"\n", "line 3: Unknown node 9"),
        ("toml", "[[step]]\ndo = \n", "line 2: "),
        ("field", "[[step]]\ndo = \"UP\"\nwhen = \"1s\"\n", "line 3: unknown field `when`"),
        ("slot", "[[step]]\ndo = \"HOLD 16384 TO 1\"\n", "line 2: Invalid or out of range slot"),
        ("empty", "", "line 1: there is no [[step]]"),
    ] {
        let file = File::new(name, contents);
        let why = format!("{}: {why}", file.path());
        let served = outcome(slotway(&["serve", "--port", "0", "--scenario", file.path()]));
        assert!(served.0 == 2 && served.1.is_empty() && served.2.contains(&why), "{served:?}");
        let played = ctl(&server, &["run", file.path()]);
        assert!(played.0 == 2 && played.2.contains(&why), "{played:?}");
    }
    let (code, _, why) = outcome(slotway(&["serve", "--port", "0", "--scenario", "/nosuch/file"]));
    assert!(code == 2 && why.contains("/nosuch/file: "), "{why}");
    assert_eq!(ask(&mut server.client(), "SLOTWAY SCENARIO"), bulk("no scenario\n"));
}

/// As on a cluster of processes: the others go on, a replica takes over, and the node can come back.
#[test]
fn shutdown_at_a_node_stops_that_node() {
    let (server, stage) = cluster(PAIR);
    let mut router = server.client();
    assert_eq!(ask(&mut router, "SET bar 1"), ok());
    let mut other = at(&stage, "n1");
    let mut client = at(&stage, "n1");
    assert_eq!(client.call(&["SHUTDOWN", "NOSAVE"]), Answer::Closed);
    assert_eq!(other.read(), Answer::Closed);
    let address = stage.address_of("n1").expect("a node");
    poll(|| Client::connect(address).is_err().then_some(())).expect("nothing listens there");
    let mut replica = at(&stage, "r1");
    assert_eq!(ask(&mut replica, "GET bar"), bulk("1"), "it has taken over");
    assert_eq!(ask(&mut router, "GET bar"), bulk("1"));
    assert_eq!(ask(&mut router, "SLOTWAY START 0"), ok());
    let mut back = poll(|| Client::connect(address).ok()).expect("it is back");
    let moved = format!("MOVED 5061 {}", stage.value_of("r1").expect("an address"));
    assert_eq!(error(&ask(&mut back, "GET bar")), moved);
}
