//! What cannot work is refused with a reason.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};

use slotway::internals::load::plan::{Distribution, Kind, Plan, Protocol, Sweep};
use slotway::internals::load::{Cause, Progress, run};

use super::{carried_out, must_hold, plan};
use crate::server_process::ServerProcess;

#[test]
fn an_unreachable_or_rejecting_target_is_reported() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let unused = listener.local_addr().expect("an address");
    drop(listener);
    let fails = |plan: &Plan| run(plan, &Progress::default()).expect_err("it cannot work");
    let failure = fails(&plan(Kind::Counter, unused));
    assert_eq!(failure.cause.exit_code(), 2);
    assert!(failure.message.contains(&format!("connection refused by {unused}")), "{failure}");

    let server = ServerProcess::start(&["--requirepass".to_owned(), "secret".to_owned()]);
    let with = |way_in: &str| {
        let mut plan = plan(Kind::Counter, server.address);
        plan.target.url =
            Some(format!("redis://{way_in}{}", server.address).parse().expect("a url"));
        plan
    };
    for (way_in, named) in [("", "password"), (":wrong@", "WRONGPASS")] {
        let failure = fails(&with(way_in));
        assert!(failure.message.contains(named) && failure.cause == Cause::Target, "{failure}");
        assert!(!failure.message.contains("wrong@"), "{failure}");
    }
    for protocol in [Protocol::Resp2, Protocol::Resp3] {
        let mut plan = with(":secret@");
        plan.target.protocol = protocol;
        must_hold(&carried_out(&plan));
    }

    // A server of another protocol.
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let address = listener.local_addr().expect("an address");
    let web = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        let _read = stream.read(&mut [0; 512]);
        let _sent = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    });
    let failure = fails(&plan(Kind::Counter, address));
    assert!(failure.message.contains("does not speak"), "{failure}");
    web.join().expect("no panic");
}

#[test]
fn an_impossible_plan_is_refused_before_anything_is_connected() {
    type Change = fn(&mut Plan);
    let changes: [(Change, &str); 10] = [
        (|plan| plan.shape.connections = 0, "--connections"),
        (|plan| plan.shape.threads = 9, "--threads"),
        (|plan| plan.shape.pipeline = 2, "--pipeline"),
        (|plan| plan.shape.keys_per_group = 1, "--keys-per-group"),
        (|plan| plan.shape.rate = Some(0.0), "--rate"),
        (|plan| plan.shape.duration_ms = Some(0), "--duration"),
        (|plan| plan.shape.transactions = Some(0), "--transactions"),
        (|plan| plan.workload.cross = 1.5, "--cross"),
        (|plan| plan.workload.prefix = "a{b".to_owned(), "--prefix"),
        (|plan| plan.shape.distribution = Distribution::Zipfian { theta: -1.0 }, "theta"),
    ];
    for (change, named) in changes {
        let mut plan = plan(Kind::Transfer, SocketAddr::from(([127, 0, 0, 1], 1)));
        change(&mut plan);
        let failure = run(&plan, &Progress::default()).expect_err(named);
        assert!(failure.cause == Cause::Usage && failure.message.contains(named), "{failure}");
    }
    for wrong in ["groups", "groups=", "groups=x", "groups=0", "groups=1.5", "colour=1"] {
        assert!(wrong.parse::<Sweep>().is_err(), "{wrong}");
    }
}
