//! Clusters of three nodes: every workload, slots that move, transactions that cross slots.

use std::net::SocketAddr;

use slotway::internals::load::plan::Kind;
use slotway::internals::load::{Cause, Ending, Progress, Verdict, run};

use super::{carried_out, must_hold, plan, redis};
use crate::env::poll;
use crate::nodes::{self, Stage};
use crate::oracle::{OracleCluster, Reference};
use crate::references;
use crate::server_process::ServerProcess;
use crate::wire::{Client, Reply};

/// Three Redis masters; `None` if it is not installed, which is reported.
fn redis_cluster() -> Option<OracleCluster> {
    let options = ["--cluster-node-timeout".to_owned(), "20000".to_owned()];
    references::start_cluster(Reference::Redis, THREE_MASTERS, &options)
}

const THREE_MASTERS: nodes::Shape = nodes::Shape { masters: 3, replicas: 0, spares: 0 };

#[test]
fn every_workload_holds_against_a_cluster() {
    let Some(cluster) = redis_cluster() else { return };
    every_workload_holds_in(addresses(&cluster.stage));
}

#[test]
fn every_workload_holds_against_slotways_nodes() {
    let (_server, nodes) = slotway_cluster();
    every_workload_holds_in(nodes);
}

fn addresses(stage: &Stage) -> [SocketAddr; 3] {
    ["n1", "n2", "n3"].map(|name| stage.address_of(name).expect("a node"))
}

/// Three nodes of Slotway.
pub(super) fn slotway_cluster() -> (ServerProcess, [SocketAddr; 3]) {
    let (server, stage) = ServerProcess::start_cluster(THREE_MASTERS, &[]);
    (server, addresses(&stage))
}

fn every_workload_holds_in(nodes: [SocketAddr; 3]) {
    for kind in Kind::BUILT_IN {
        let mut plan = plan(kind, nodes[1]);
        plan.target.cluster = true;
        plan.shape.groups = 12;
        let report = carried_out(&plan);
        must_hold(&report);
        assert_eq!(report.shards.len(), 3);
        assert!(report.shards.iter().all(|shard| shard.committed > 0), "{:?}", report.shards);
        assert_eq!(report.totals.redirected, 0);
    }
    // One node without --cluster: the error suggests the option.
    let mut plan = plan(Kind::Counter, nodes[0]);
    plan.shape.groups = 50;
    let failure = run(&plan, &Progress::default()).expect_err("a node refuses other nodes' slots");
    assert!(failure.message.contains("--cluster") && failure.cause == Cause::Target, "{failure}");
}

#[test]
fn a_slot_that_moves_is_followed_and_nothing_is_lost() {
    let (_server, nodes) = slotway_cluster();
    slot_moves_in(nodes);
    let Some(cluster) = redis_cluster() else { return };
    slot_moves_in(addresses(&cluster.stage));
}

fn slot_moves_in(nodes: [SocketAddr; 3]) {
    let slot = slotway::slot::Slot::of(b"bench:0").number();
    let from = usize::from(slot > 5460) + usize::from(slot > 10922);
    let to = (from + 1) % 3;
    let mut plan = plan(Kind::Transfer, nodes[0]);
    plan.target.cluster = true;
    (plan.shape.groups, plan.shape.transactions, plan.shape.duration_ms) = (1, None, Some(60_000));
    let progress = Progress::default();
    let report = std::thread::scope(|scope| {
        let load = scope.spawn(|| run(&plan, &progress));
        let under_way =
            |least: u64| poll(|| (progress.snapshot().committed >= least).then_some(()));
        assert!(under_way(100).is_some());
        move_slot(&nodes, slot, from, to);
        let before = progress.snapshot().committed;
        assert!(under_way(before + 100).is_some(), "it goes on at the new owner");
        progress.stop();
        load.join().expect("no panic").expect("a report")
    });
    assert_eq!(report.ending, Ending::Stopped);
    assert!(report.totals.redirected > 0, "{:?}", report.totals);
    for invariant in &report.invariants {
        assert!(matches!(invariant.verdict, Verdict::Held), "{invariant:?} {:?}", report.refusals);
    }
}

/// Moves a slot as redis-cli does: importing, migrating, its keys, then SETSLOT NODE at both nodes.
fn move_slot(nodes: &[SocketAddr], slot: u16, from: usize, to: usize) {
    let client = |at: usize| Client::connect(nodes[at]).expect("it is up");
    let (mut source, mut target) = (client(from), client(to));
    let id = |client: &mut Client| match client.ask(&["CLUSTER", "MYID"]) {
        Reply::Bulk(id) => String::from_utf8(id).expect("an id is text"),
        other => panic!("CLUSTER MYID answered {other:?}"),
    };
    let (source_id, target_id) = (id(&mut source), id(&mut target));
    let slot = slot.to_string();
    let ok = Reply::Simple(b"OK".to_vec());
    assert_eq!(target.ask(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &source_id]), ok);
    assert_eq!(source.ask(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &target_id]), ok);
    let port = nodes[to].port().to_string();
    loop {
        let Reply::Array(keys) = source.ask(&["CLUSTER", "GETKEYSINSLOT", &slot, "1"]) else {
            panic!("GETKEYSINSLOT answers an array");
        };
        let Some(Reply::Bulk(key)) = keys.first() else { break };
        let key = String::from_utf8(key.clone()).expect("our keys are text");
        source.ask(&["MIGRATE", "127.0.0.1", &port, &key, "0", "5000"]);
    }
    for client in [&mut target, &mut source] {
        assert_eq!(client.ask(&["CLUSTER", "SETSLOT", &slot, "NODE", &target_id]), ok);
    }
}

#[test]
fn transactions_that_cross_slots_are_refused_by_a_cluster_and_run_by_a_single_redis() {
    let crossing = |address| {
        let mut plan = plan(Kind::Transfer, address);
        plan.workload.cross = 0.3;
        plan
    };
    let server = ServerProcess::start(&[]);
    let report = carried_out(&crossing(server.address));
    let [transfers, crossings] = &report.kinds[..] else { panic!("two kinds: {:?}", report.kinds) };
    assert_eq!(crossings.name, "cross-slot");
    assert_eq!(transfers.committed + transfers.declined + crossings.given_up, 600);
    assert!(crossings.given_up > 100 && crossings.committed == 0, "{crossings:?}");
    let totals = &report.totals;
    assert_eq!(totals.attempts, transfers.attempts + crossings.given_up, "{totals:?}");
    assert_eq!(report.refusals.len(), 1, "{:?}", report.refusals);
    let refusal = &report.refusals[0];
    assert_eq!((refusal.kind.as_str(), refusal.expected), ("CROSSSLOT", true));
    assert_eq!(refusal.count, crossings.given_up);
    assert!(!report.is_broken(), "{:?}", report.invariants);
    let Some(redis) = redis() else { return };
    let report = carried_out(&crossing(redis.address));
    assert!(report.kinds[1].committed > 100 && report.refusals.is_empty(), "{:?}", report.kinds);
    assert!(report.totals.attempts_per_commit() >= 1.0, "{:?}", report.totals);
    assert!(!report.is_broken(), "{:?}", report.invariants);
}
