//! What holds against servers without a fault.

use std::net::SocketAddr;
use std::time::Duration;

use slotway::internals::load::plan::{Distribution, Kind, Policy, Protocol, Target};

use super::{carried_out, must_commit, must_hold, plan, redis};
use crate::env::poll;
use crate::faulty_server::{Fault, FaultyServer};
use crate::server_process::ServerProcess;
use crate::wire::{Client, Reply};

#[test]
fn every_workload_holds_against_slotway() {
    let server = ServerProcess::start(&[]);
    for kind in Kind::BUILT_IN {
        let report = carried_out(&plan(kind, server.address));
        must_hold(&report);
    }
}

#[test]
fn every_workload_holds_in_the_cluster_inside_this_process() {
    for kind in [Kind::Transfer, Kind::Incr] {
        let mut plan = plan(kind, SocketAddr::from(([127, 0, 0, 1], 1)));
        plan.target = Target { url: None, shards: 5, server_threads: 2, ..Target::default() };
        for cluster in [false, true] {
            plan.target.cluster = cluster;
            let report = carried_out(&plan);
            must_hold(&report);
            assert_eq!(report.shards.len(), 5);
            assert_eq!(report.shards[0].name == "shard 0", !cluster, "{:?}", report.shards);
        }
    }
}

#[test]
fn every_workload_holds_against_redis() {
    let Some(redis) = redis() else { return };
    for (kind, protocol) in Kind::BUILT_IN
        .into_iter()
        .flat_map(|kind| [(kind, Protocol::Resp2), (kind, Protocol::Resp3)])
    {
        let mut plan = plan(kind, redis.address);
        plan.target.protocol = protocol;
        let report = carried_out(&plan);
        must_hold(&report);
        assert!(report.target.starts_with("redis "), "{}", report.target);
    }
    // Good runs leave nothing behind.
    let mut client = Client::connect(redis.address).expect("it is up");
    assert_eq!(client.ask(&["DBSIZE"]), Reply::Int(0));
}

#[test]
fn an_open_loop_counts_from_when_a_transaction_was_to_start() {
    let stall = Duration::from_millis(400);
    let server = FaultyServer::start(Fault::Stalls(500, stall));
    let mut plan = plan(Kind::Incr, server.address);
    (plan.shape.connections, plan.shape.pipeline) = (2, 1);
    (plan.shape.transactions, plan.shape.rate) = (Some(1000), Some(1000.0));
    let report = carried_out(&plan);
    assert_eq!(report.totals.committed, 1000, "{:?}", report.totals);
    // Two connections stood still; the hundreds that were to start meanwhile waited too.
    let waited = report.transaction_latency.histogram.count_between(100_000_000, u64::MAX);
    assert!(waited > 100, "{waited} waited");
}

#[test]
fn the_same_seed_makes_the_same_choices() {
    let asked = |seed| {
        let server = FaultyServer::start_recording();
        let mut plan = plan(Kind::Multi, server.address);
        plan.seed = seed;
        (plan.shape.transactions, plan.shape.pipeline) = (Some(200), 1);
        plan.shape.distribution = Distribution::Zipfian { theta: 0.9 };
        must_commit(&carried_out(&plan), 200);
        // The requests of a connection are recorded once it is closed.
        let of_users = poll(|| {
            let mut all = server.requests();
            all.retain(|requests| requests.first().is_some_and(|first| first == "MULTI"));
            (all.len() == 8).then_some(all)
        });
        let mut of_users = of_users.expect("eight connections");
        of_users.sort();
        of_users
    };
    let first = asked(7);
    assert!(first == asked(7), "the same seed, other choices");
    assert!(first != asked(8), "another seed, the same choices");
}

#[test]
fn without_retries_every_attempt_is_a_transaction() {
    let server = FaultyServer::start(Fault::None);
    let mut plan = plan(Kind::Counter, server.address);
    plan.retry.policy = Policy::None;
    (plan.shape.groups, plan.shape.keys_per_group) = (1, 1);
    let report = carried_out(&plan);
    let totals = &report.totals;
    assert_eq!((totals.attempts, totals.committed + totals.given_up), (600, 600), "{totals:?}");
    assert_eq!(totals.given_up, totals.aborted);
    assert!(totals.aborted > 0, "eight connections on one key meet");
    assert!(!report.is_broken(), "{:?}", report.invariants);
}
