//! The users without a network: replies and times in, requests and socket actions out.

use super::*;
use crate::load::plan::{Kind, Shape, Target, Workload};
use crate::load::target::Layout;
use crate::load::workload;
use std::sync::Arc;

const OPENED: &str = "+OK\r\n$1\r\n5\r\n";

/// One user whose connections are open.
fn users(kind: Kind, cluster: bool, shape: Shape) -> Users {
    let plan = Plan {
        workload: Workload { kind, ..Workload::default() },
        shape: Shape { connections: 1, groups: 1, keys_per_group: 1, ..shape },
        target: Target { cluster, ..Target::default() },
        ..Plan::default()
    };
    let url = "127.0.0.1:1".parse().expect("an address");
    let endpoint = Endpoint::new(&plan.target, url).expect("no TLS");
    let map = SlotMap::single_node(Node { host: "127.0.0.1".to_owned(), port: 1 });
    let (workload, _verifier) = workload::make(&plan).expect("no file");
    let tally = Tally::new(&workload.kinds(), &Layout::of_slot_map(&map));
    let script = |user| Arc::clone(&workload).script(user);
    let config = UsersConfig {
        plan: &plan,
        endpoint: &endpoint,
        slot_map: map,
        script: &script,
        auditor: None,
        tally,
    };
    let mut users = Users::new(config, ThreadPart::all(&plan)[0]);
    users.connect();
    open_all(&mut users, 0);
    assert!(users.is_connected());
    users.start_measuring();
    users.start();
    users
}

/// Carries out the socket actions. Returns the connections that were opened.
fn open_all(users: &mut Users, now: Nanos) -> Vec<u32> {
    let socket_actions: Vec<SocketAction> = users.take_socket_actions().collect();
    let connections: Vec<u32> = socket_actions
        .iter()
        .filter_map(
            |o| if let SocketAction::Open(connection) = o { Some(*connection) } else { None },
        )
        .collect();
    connections.iter().for_each(|&connection| users.on_connected(connection, now));
    connections
}

/// Takes the output of a connection, as words.
fn sent(users: &mut Users, connection: u32) -> String {
    while users.next_dirty().is_some() {}
    let out = std::mem::take(users.output(connection));
    let text = String::from_utf8(out).expect("text");
    let words = text.split("\r\n").filter(|part| !part.starts_with(['*', '$']) && !part.is_empty());
    words.collect::<Vec<_>>().join(" ")
}

const READ: &str = "WATCH {bench:0}:counter:0 GET {bench:0}:counter:0";
const WRITE: &str = "MULTI SET {bench:0}:counter:0 6 EXEC";

#[test]
fn a_watch_loop_takes_two_rounds() {
    let mut users = users(Kind::Counter, false, Shape::default());
    assert_eq!(sent(&mut users, 0), READ);
    // Byte by byte: replies may be cut anywhere.
    OPENED.bytes().enumerate().for_each(|(at, byte)| users.on_received(0, &[byte], at as u64));
    assert_eq!(sent(&mut users, 0), WRITE);
    users.on_received(0, b"+OK\r\n+QUEUED\r\n*1\r\n+OK\r\n", 1000);
    assert_eq!(sent(&mut users, 0), READ);
    users.on_received(0, OPENED.as_bytes(), 2000);
    assert_eq!(sent(&mut users, 0), WRITE);
    // Aborted: the same transaction again, at once the first time.
    users.on_received(0, b"+OK\r\n+QUEUED\r\n*-1\r\n", 3000);
    assert_eq!(sent(&mut users, 0), READ);
    let totals = users.into_tally().totals;
    assert_eq!((totals.committed, totals.attempts, totals.aborted), (1, 2, 1));
}

#[test]
fn a_leftover_watch_is_cleared() {
    let mut users = users(Kind::Counter, false, Shape::default());
    assert_eq!(sent(&mut users, 0), READ);
    users.on_received(0, b"+OK\r\n-LOADING not yet\r\n", 1000);
    assert_eq!(sent(&mut users, 0), format!("UNWATCH {READ}"));
    users.on_received(0, format!("+OK\r\n{OPENED}").as_bytes(), 2000);
    assert_eq!(sent(&mut users, 0), WRITE);
    assert_eq!(users.into_tally().totals.refused, 1);
}

#[test]
fn a_request_that_may_have_run_is_never_sent_again() {
    let shape = Shape { transactions: Some(2), ..Shape::default() };
    let mut users = users(Kind::Counter, false, shape);
    sent(&mut users, 0);
    // Nothing has run yet: the same transaction is tried again once the connection is back.
    users.on_disconnected(0, "gone", 1000);
    let due = users.run_due(1000).expect("a pause before it is opened again");
    users.run_due(due);
    assert_eq!(open_all(&mut users, due), [0]);
    assert_eq!(sent(&mut users, 0), READ);
    users.on_received(0, OPENED.as_bytes(), due);
    assert_eq!(sent(&mut users, 0), WRITE);
    // Now it may have run: it is not sent again, and the second transaction is the last.
    users.on_disconnected(0, "gone again", due);
    let due = users.run_due(due).expect("a pause");
    users.run_due(due);
    assert_eq!(open_all(&mut users, due), [0]);
    assert_eq!(sent(&mut users, 0), READ);
    users.on_received(0, OPENED.as_bytes(), due);
    users.on_received(0, b"+OK\r\n+QUEUED\r\n*1\r\n+OK\r\n", due);
    assert!(users.is_done());
    let totals = users.into_tally().totals;
    assert_eq!((totals.unknown, totals.committed, totals.reconnects), (1, 1, 2));
}

#[test]
fn redirections_are_followed_as_the_same_attempt() {
    let mut users = users(Kind::Counter, true, Shape::default());
    sent(&mut users, 0);
    let slot = crate::slot::Slot::of(b"bench:0").number();
    let moved = format!("-MOVED {slot} 127.0.0.1:2\r\n");
    users.on_received(0, moved.repeat(2).as_bytes(), 1000);
    assert_eq!(open_all(&mut users, 2000), [1]);
    assert_eq!(users.node(1).port, 2);
    assert_eq!(sent(&mut users, 1), READ);
    users.on_received(1, OPENED.as_bytes(), 3000);
    sent(&mut users, 1);
    // During a migration: nothing ran, so the whole transaction goes to the node of ASK.
    let ask = format!("-ASK {slot} 127.0.0.1:3\r\n");
    let abort = "-EXECABORT Transaction discarded because of previous errors.\r\n";
    users.on_received(1, format!("+OK\r\n{ask}{abort}").as_bytes(), 4000);
    assert_eq!(open_all(&mut users, 5000), [2]);
    assert_eq!(
        sent(&mut users, 2),
        READ.replace("WATCH", "ASKING WATCH").replace("GET", "ASKING GET")
    );
    users.on_received(2, b"+OK\r\n+OK\r\n+OK\r\n$1\r\n5\r\n", 6000);
    assert_eq!(sent(&mut users, 2), WRITE.replace("MULTI", "ASKING MULTI"));
    users.on_received(2, b"+OK\r\n+OK\r\n+QUEUED\r\n*1\r\n+OK\r\n", 7000);
    // ASK is for one attempt; the owner of the slot is still the second node. Its connection needs
    // no UNWATCH: EXEC ended the WATCH.
    assert_eq!(sent(&mut users, 1), READ);
    let totals = users.into_tally().totals;
    assert_eq!(
        (totals.committed, totals.attempts, totals.redirected, totals.refused),
        (1, 1, 2, 0)
    );
}

#[test]
fn exec_that_ran_after_an_error_is_not_a_commit() {
    let mut users = users(Kind::Counter, false, Shape::default());
    users.on_received(0, OPENED.as_bytes(), 1);
    users.on_received(0, b"+OK\r\n-ERR no\r\n*1\r\n+OK\r\n", 2);
    let totals = users.into_tally().totals;
    assert_eq!((totals.committed, totals.malformed), (0, 1));
}

#[test]
fn an_open_loop_starts_on_schedule() {
    let shape = Shape { rate: Some(1000.0), transactions: Some(3), ..Shape::default() };
    let mut users = users(Kind::Incr, false, shape);
    let incr = "INCR {bench:0}:counter:0";
    assert_eq!(sent(&mut users, 0), incr);
    users.on_received(0, b":1\r\n", 400_000);
    assert_eq!((sent(&mut users, 0).as_str(), users.run_due(400_000)), ("", Some(1_000_000)));
    users.run_due(1_000_000);
    assert_eq!(sent(&mut users, 0), incr);
    // Late: the third was to start at 2 ms and starts at once, and its latency is 2 ms more.
    users.on_received(0, b":2\r\n", 3_000_000);
    assert_eq!(sent(&mut users, 0), incr);
    users.on_received(0, b":3\r\n", 4_000_000);
    assert!(users.is_done());
    let tally = users.into_tally();
    let layout = Layout::of_slot_map(&SlotMap::single_node(Node { host: String::new(), port: 1 }));
    let latency = tally.into_summary(&layout).transaction_latency.histogram;
    assert_eq!((latency.len(), latency.count_between(1_990_000, 2_010_000)), (3, 2));
}

#[test]
fn stopping_lets_transactions_in_flight_finish() {
    let mut users = users(Kind::Counter, false, Shape::default());
    users.on_received(0, OPENED.as_bytes(), 1);
    users.stop(2);
    assert!(!users.is_done());
    users.on_received(0, b"+OK\r\n+QUEUED\r\n*-1\r\n", 3);
    assert!(users.is_done(), "an aborted transaction is not tried again");
    assert_eq!(users.into_tally().totals.aborted, 1);
}

#[test]
fn invalid_replies_end_the_run() {
    for bytes in [&b"HTTP/1.1 400\r\n"[..], b":1\r\n:2\r\n", b"$-7\r\n"] {
        let mut users =
            users(Kind::Incr, false, Shape { transactions: Some(1), ..Shape::default() });
        users.on_received(0, bytes, 1);
        assert!(users.fatal().is_some(), "{}", bytes.escape_ascii());
    }
}
