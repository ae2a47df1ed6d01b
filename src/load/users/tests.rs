//! The crew by hand: replies and times in, requests and orders out.

use super::*;
use crate::load::plan::{Kind, Shape, Target, Workload};
use crate::load::target::Layout;
use crate::load::workload;
use std::sync::Arc;

const OPENED: &str = "+OK\r\n$1\r\n5\r\n";

/// A crew of one connection whose links are open.
fn crew(kind: Kind, cluster: bool, shape: Shape) -> Crew {
    let plan = Plan {
        workload: Workload { kind, ..Workload::default() },
        shape: Shape { connections: 1, groups: 1, keys_per_group: 1, ..shape },
        target: Target { cluster, ..Target::default() },
        ..Plan::default()
    };
    let url = "127.0.0.1:1".parse().expect("an address");
    let endpoint = Endpoint::new(&plan.target, url).expect("no TLS");
    let map = Map::one(Node { host: "127.0.0.1".to_owned(), port: 1 });
    let (workload, _referee) = workload::make(&plan).expect("no file");
    let tally = Tally::new(&workload.kinds(), &Layout::of_map(&map));
    let script = |user| Arc::clone(&workload).script(user);
    let muster =
        Muster { plan: &plan, endpoint: &endpoint, map, script: &script, auditor: None, tally };
    let mut crew = Crew::new(muster, Part::all(&plan)[0]);
    crew.connect();
    open_all(&mut crew, 0);
    assert!(crew.is_connected());
    crew.measure();
    crew.start();
    crew
}

/// Carries out the orders; the links that were opened.
fn open_all(crew: &mut Crew, now: Nanos) -> Vec<u32> {
    let orders: Vec<Order> = crew.orders().collect();
    let links: Vec<u32> = orders
        .iter()
        .filter_map(|o| if let Order::Open(link) = o { Some(*link) } else { None })
        .collect();
    links.iter().for_each(|&link| crew.opened(link, now));
    links
}

/// What is sent on a link, as words.
fn sent(crew: &mut Crew, link: u32) -> String {
    while crew.next_dirty().is_some() {}
    let out = std::mem::take(crew.output(link));
    let text = String::from_utf8(out).expect("text");
    let words = text.split("\r\n").filter(|part| !part.starts_with(['*', '$']) && !part.is_empty());
    words.collect::<Vec<_>>().join(" ")
}

const READ: &str = "WATCH {bench:0}:counter:0 GET {bench:0}:counter:0";
const WRITE: &str = "MULTI SET {bench:0}:counter:0 6 EXEC";

#[test]
fn a_watch_loop_takes_two_rounds() {
    let mut crew = crew(Kind::Counter, false, Shape::default());
    assert_eq!(sent(&mut crew, 0), READ);
    // However the replies are cut.
    OPENED.bytes().enumerate().for_each(|(at, byte)| crew.received(0, &[byte], at as u64));
    assert_eq!(sent(&mut crew, 0), WRITE);
    crew.received(0, b"+OK\r\n+QUEUED\r\n*1\r\n+OK\r\n", 1000);
    assert_eq!(sent(&mut crew, 0), READ);
    crew.received(0, OPENED.as_bytes(), 2000);
    assert_eq!(sent(&mut crew, 0), WRITE);
    // Aborted: the same once more, at once the first time.
    crew.received(0, b"+OK\r\n+QUEUED\r\n*-1\r\n", 3000);
    assert_eq!(sent(&mut crew, 0), READ);
    let totals = crew.into_tally().totals;
    assert_eq!((totals.committed, totals.attempts, totals.aborted), (1, 2, 1));
}

#[test]
fn a_watch_that_was_left_behind_is_cleared() {
    let mut crew = crew(Kind::Counter, false, Shape::default());
    assert_eq!(sent(&mut crew, 0), READ);
    crew.received(0, b"+OK\r\n-LOADING not yet\r\n", 1000);
    assert_eq!(sent(&mut crew, 0), format!("UNWATCH {READ}"));
    crew.received(0, format!("+OK\r\n{OPENED}").as_bytes(), 2000);
    assert_eq!(sent(&mut crew, 0), WRITE);
    assert_eq!(crew.into_tally().totals.refused, 1);
}

#[test]
fn what_may_have_run_is_never_sent_again() {
    let shape = Shape { transactions: Some(2), ..Shape::default() };
    let mut crew = crew(Kind::Counter, false, shape);
    sent(&mut crew, 0);
    // Nothing has run yet: the same transaction is tried again once the link is back.
    crew.lost(0, "gone", 1000);
    let due = crew.wake(1000).expect("a pause before it is opened again");
    crew.wake(due);
    assert_eq!(open_all(&mut crew, due), [0]);
    assert_eq!(sent(&mut crew, 0), READ);
    crew.received(0, OPENED.as_bytes(), due);
    assert_eq!(sent(&mut crew, 0), WRITE);
    // Now it may have run: it is not sent again, and the second transaction is the last.
    crew.lost(0, "gone again", due);
    let due = crew.wake(due).expect("a pause");
    crew.wake(due);
    assert_eq!(open_all(&mut crew, due), [0]);
    assert_eq!(sent(&mut crew, 0), READ);
    crew.received(0, OPENED.as_bytes(), due);
    crew.received(0, b"+OK\r\n+QUEUED\r\n*1\r\n+OK\r\n", due);
    assert!(crew.is_done());
    let totals = crew.into_tally().totals;
    assert_eq!((totals.unknown, totals.committed, totals.reconnects), (1, 1, 2));
}

#[test]
fn redirections_are_followed_as_the_same_attempt() {
    let mut crew = crew(Kind::Counter, true, Shape::default());
    sent(&mut crew, 0);
    let slot = crate::slot::Slot::of(b"bench:0").number();
    let moved = format!("-MOVED {slot} 127.0.0.1:2\r\n");
    crew.received(0, moved.repeat(2).as_bytes(), 1000);
    assert_eq!(open_all(&mut crew, 2000), [1]);
    assert_eq!(crew.node(1).port, 2);
    assert_eq!(sent(&mut crew, 1), READ);
    crew.received(1, OPENED.as_bytes(), 3000);
    sent(&mut crew, 1);
    // In the middle of a migration: nothing ran, so the whole transaction goes where ASK says.
    let ask = format!("-ASK {slot} 127.0.0.1:3\r\n");
    let abort = "-EXECABORT Transaction discarded because of previous errors.\r\n";
    crew.received(1, format!("+OK\r\n{ask}{abort}").as_bytes(), 4000);
    assert_eq!(open_all(&mut crew, 5000), [2]);
    assert_eq!(
        sent(&mut crew, 2),
        READ.replace("WATCH", "ASKING WATCH").replace("GET", "ASKING GET")
    );
    crew.received(2, b"+OK\r\n+OK\r\n+OK\r\n$1\r\n5\r\n", 6000);
    assert_eq!(sent(&mut crew, 2), WRITE.replace("MULTI", "ASKING MULTI"));
    crew.received(2, b"+OK\r\n+OK\r\n+QUEUED\r\n*1\r\n+OK\r\n", 7000);
    // Asking was for once; the map says that the slot is at the second node, which has nothing left
    // to forget: EXEC did.
    assert_eq!(sent(&mut crew, 1), READ);
    let totals = crew.into_tally().totals;
    assert_eq!(
        (totals.committed, totals.attempts, totals.redirected, totals.refused),
        (1, 1, 2, 0)
    );
}

#[test]
fn exec_that_ran_after_an_error_is_no_commit() {
    let mut crew = crew(Kind::Counter, false, Shape::default());
    crew.received(0, OPENED.as_bytes(), 1);
    crew.received(0, b"+OK\r\n-ERR no\r\n*1\r\n+OK\r\n", 2);
    let totals = crew.into_tally().totals;
    assert_eq!((totals.committed, totals.malformed), (0, 1));
}

#[test]
fn an_open_loop_starts_when_it_is_time() {
    let shape = Shape { rate: Some(1000.0), transactions: Some(3), ..Shape::default() };
    let mut crew = crew(Kind::Incr, false, shape);
    let incr = "INCR {bench:0}:counter:0";
    assert_eq!(sent(&mut crew, 0), incr);
    crew.received(0, b":1\r\n", 400_000);
    assert_eq!((sent(&mut crew, 0).as_str(), crew.wake(400_000)), ("", Some(1_000_000)));
    crew.wake(1_000_000);
    assert_eq!(sent(&mut crew, 0), incr);
    // Late: the third was to start at 2 ms and starts at once, and its latency is 2 ms more.
    crew.received(0, b":2\r\n", 3_000_000);
    assert_eq!(sent(&mut crew, 0), incr);
    crew.received(0, b":3\r\n", 4_000_000);
    assert!(crew.is_done());
    let tally = crew.into_tally();
    let layout = Layout::of_map(&Map::one(Node { host: String::new(), port: 1 }));
    let latency = tally.told(&layout).transaction_latency.histogram;
    assert_eq!((latency.len(), latency.count_between(1_990_000, 2_010_000)), (3, 2));
}

#[test]
fn a_crew_that_is_stopped_ends_what_is_under_way() {
    let mut crew = crew(Kind::Counter, false, Shape::default());
    crew.received(0, OPENED.as_bytes(), 1);
    crew.stop(2);
    assert!(!crew.is_done());
    crew.received(0, b"+OK\r\n+QUEUED\r\n*-1\r\n", 3);
    assert!(crew.is_done(), "an aborted transaction is not tried again");
    assert_eq!(crew.into_tally().totals.aborted, 1);
}

#[test]
fn nonsense_ends_the_run() {
    for bytes in [&b"HTTP/1.1 400\r\n"[..], b":1\r\n:2\r\n", b"$-7\r\n"] {
        let mut crew = crew(Kind::Incr, false, Shape { transactions: Some(1), ..Shape::default() });
        crew.received(0, bytes, 1);
        assert!(crew.fatal().is_some(), "{}", bytes.escape_ascii());
    }
}
