//! The load generator: every workload against Slotway, Redis and a cluster of three; broken servers are
//! detected with evidence; a failure is reported together with what was measured.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use slotway::internals::load::plan::{
    Axis, Distribution, Kind, Plan, Policy, Protocol, Retry, Shape, Sweep, Target, Workload,
};
use slotway::internals::load::{Cause, Progress, compare, run, sweep};
use slotway::internals::load::{Ending, Report, Verdict};
use slotway::internals::load::{Results, text};

use crate::env::poll;
use crate::faulty_server::{Fault, FaultyServer};
use crate::nodes::{self, Stage};
use crate::oracle::{OracleCluster, Reference};
use crate::project_files;
use crate::references::{self, Lease};
use crate::server_process::ServerProcess;
use crate::wire::{Client, Reply};

/// A small load over few keys, so that transactions meet.
fn plan(kind: Kind, address: SocketAddr) -> Plan {
    Plan {
        workload: Workload { kind, ..Workload::default() },
        shape: Shape {
            connections: 8,
            groups: 3,
            keys_per_group: 3,
            pipeline: if kind.can_pipeline() { 4 } else { 1 },
            transactions: Some(600),
            ..Shape::default()
        },
        target: Target { url: Some(url(address)), patience_ms: 10_000, ..Target::default() },
        retry: Retry {
            attempts_max: 100_000,
            pause_us: 50,
            pause_max_us: 5000,
            ..Retry::default()
        },
        seed: 7,
    }
}

fn url(address: SocketAddr) -> slotway::internals::load::Url {
    address.to_string().parse().expect("an address")
}

fn carried_out(plan: &Plan) -> Report {
    run(plan, &Progress::default()).unwrap_or_else(|failure| panic!("{plan:?}: {failure}"))
}

/// Asserts that every transaction ran and every invariant held.
fn must_hold(report: &Report) {
    let name = report.plan.workload.kind.name();
    assert_eq!(report.ending, Ending::Finished, "{name}");
    let totals = &report.totals;
    assert_eq!(totals.committed + totals.declined, 600, "{name}: {totals:?} {:?}", report.refusals);
    assert_eq!(
        (totals.unknown, totals.malformed, totals.given_up),
        (0, 0, 0),
        "{name}: {totals:?}"
    );
    assert_eq!(totals.attempts, 600 + totals.aborted, "{name}: {totals:?}");
    for invariant in &report.invariants {
        assert!(matches!(invariant.verdict, Verdict::Held), "{name}: {invariant:?}");
        assert!(invariant.checks_during + invariant.checks_after > 0, "{name}: {invariant:?}");
    }
    assert_eq!(report.exit_code(), 0, "{name}");
    let of_slots: u64 = report.slots.iter().map(|slot| slot.committed).sum();
    assert_eq!(of_slots, totals.committed, "{name}");
    assert_eq!(report.transaction_latency.count(), totals.committed, "{name}");
    assert_eq!(report.attempts_per_commit.iter().sum::<u64>(), totals.committed, "{name}");
    let of_series: u64 = report.series.points.iter().map(|point| point.committed).sum();
    assert_eq!(of_series, totals.committed, "{name}");
}

/// A Redis without slots and data; `None` if it is not installed, which is reported.
fn redis() -> Option<Lease> {
    references::lease(&["--cluster-enabled".to_owned(), "no".to_owned()])
}

/// Three Redis masters; `None` if it is not installed, which is reported.
fn redis_cluster() -> Option<OracleCluster> {
    let options = ["--cluster-node-timeout".to_owned(), "20000".to_owned()];
    references::start_cluster(Reference::Redis, THREE_MASTERS, &options)
}

const THREE_MASTERS: nodes::Shape = nodes::Shape { masters: 3, replicas: 0, spares: 0 };

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
fn slotway_cluster() -> (ServerProcess, [SocketAddr; 3]) {
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

#[test]
fn a_server_without_a_fault_passes_and_each_fault_is_found() {
    use Kind::{Append, Counter, Incr, Lock, Multi, Order, Pipeline, Read, Transfer};
    let good = FaultyServer::start(Fault::None);
    for kind in Kind::BUILT_IN {
        must_hold(&carried_out(&plan(kind, good.address)));
    }
    for (fault, kinds, named) in [
        (Fault::IgnoresWatch, &[Counter, Transfer, Order, Append][..], ""),
        (Fault::HalfExec, &[Transfer, Order, Append, Multi], ""),
        (Fault::LosesWrite, &[Counter, Incr, Append], ""),
        (Fault::LiesAboutAborts, &[Counter, Append], ""),
        (Fault::GrantsTwice, &[Lock], "held it"),
        (Fault::MixesUp, &[Read, Pipeline], "never written"),
    ] {
        for &kind in kinds {
            let server = FaultyServer::start(fault);
            let mut plan = plan(kind, server.address);
            // Fewer transactions: where aborted ones run nevertheless, contention is high.
            (plan.shape.groups, plan.shape.pipeline, plan.shape.connections) = (1, 1, 4);
            plan.shape.transactions = Some(300);
            let report = carried_out(&plan);
            assert_eq!(report.exit_code(), 3, "{fault:?} {kind:?}: {:?}", report.invariants);
            let broken = report.invariants.iter().find_map(|invariant| match &invariant.verdict {
                Verdict::Broken { times, evidence } => Some((*times, evidence)),
                _ => None,
            });
            let (times, evidence) = broken.expect("the exit code says so");
            assert!(times > 0 && evidence.iter().any(|e| e.what.contains(named)), "{evidence:?}");
            assert!(
                evidence.iter().all(|e| !e.values.is_empty()),
                "{fault:?} {kind:?}: {evidence:?}"
            );
            assert!(evidence[0].values[0].0.starts_with("{bench:0}:"), "{evidence:?}");
            if !matches!(kind, Read | Pipeline | Lock) {
                let known = evidence.iter().flat_map(|e| &e.transactions).next();
                let known =
                    known.unwrap_or_else(|| panic!("{fault:?} {kind:?} names transactions"));
                assert!(!known.wrote.is_empty() && known.outcome == "committed", "{known:?}");
            }
            assert!(report.warnings.iter().any(|w| w.contains("left on the target")));
        }
    }
}

#[test]
fn a_server_that_dies_leaves_what_was_measured() {
    let server = FaultyServer::start(Fault::DiesAfter(900));
    let mut plan = plan(Kind::Incr, server.address);
    (plan.shape.transactions, plan.target.patience_ms) = (Some(1_000_000), 300);
    let report = carried_out(&plan);
    let Ending::TargetLost { why } = &report.ending else { panic!("{:?}", report.ending) };
    assert!(why.contains(&server.address.to_string()), "{why}");
    assert!(report.totals.committed > 100, "{:?}", report.totals);
    assert!(report.totals.unknown > 0, "what was under way: {:?}", report.totals);
    assert_eq!(report.exit_code(), 2);
    let undecided = |verdict: &Verdict| matches!(verdict, Verdict::Undecided { .. });
    assert!(report.invariants.iter().all(|i| undecided(&i.verdict)), "{:?}", report.invariants);
}

#[test]
fn a_server_that_hangs_is_lost_and_leaves_what_was_measured() {
    let server = FaultyServer::start(Fault::Hangs(900));
    let mut plan = plan(Kind::Incr, server.address);
    (plan.shape.transactions, plan.target.patience_ms) = (Some(1_000_000), 300);
    let report = carried_out(&plan);
    let Ending::TargetLost { why } = &report.ending else { panic!("{:?}", report.ending) };
    assert!(why.contains(&format!("{} has not answered", server.address)), "{why}");
    assert!(report.totals.committed > 100, "{:?}", report.totals);
    assert_eq!(report.totals.unknown, 8 * 4, "all that was under way: {:?}", report.totals);
    assert_eq!(report.exit_code(), 2);
}

#[test]
fn a_load_that_is_rejected_removes_its_keys() {
    let server = ServerProcess::start(&["--maxclients".to_owned(), "4".to_owned()]);
    let failure = run(&plan(Kind::Transfer, server.address), &Progress::default())
        .expect_err("room for four");
    assert!(failure.message.contains("max number of clients"), "{failure}");
    let mut client = Client::connect(server.address).expect("there is room again");
    assert_eq!(client.ask(&["DBSIZE"]), Reply::Int(0));
}

#[test]
fn several_runs_keep_what_they_have_when_a_target_goes() {
    // The keys of a run are 900 commands, its end as many again: the server dies in the second run.
    let server = FaultyServer::start(Fault::DiesAfter(3500));
    let mut plan = plan(Kind::Counter, server.address);
    (plan.shape.groups, plan.shape.transactions) = (300, Some(200));
    let over = "clients=1,1".parse::<Sweep>().expect("a sweep");
    let swept = sweep(&plan, &over, &Progress::default(), &mut |_, _| {}).expect("one run");
    assert_eq!(swept.runs.len(), 1);
    must_commit(&swept.runs[0].1, 200);
    let why = swept.cut_short.as_ref().expect("it went").message.clone();
    assert!(why.contains(&server.address.to_string()), "{why}");
    let results = Results::Sweep(swept);
    assert_eq!(results.exit_code(&[]), 2);
    assert!(text::page(&results, &[], &[], text::Paint::Off).contains("Not all runs took place"));

    // Of two targets, a missing one is reported before the other one is loaded.
    let there = FaultyServer::start(Fault::None);
    plan.target.url = Some(url(there.address));
    let gone = Target { url: Some(url(server.address)), ..plan.target.clone() };
    let failure = compare(&plan, &gone, 1, &Progress::default(), &mut |_, _| {});
    assert!(failure.is_err_and(|failure| failure.message.contains(&server.address.to_string())));
    assert!(there.commands() < 10, "{}", there.commands());
    // One that dies while it is prepared leaves the runs of the other.
    let going = FaultyServer::start(Fault::DiesAfter(500));
    plan.shape.connections = 1;
    let gone = Target { url: Some(url(going.address)), ..plan.target.clone() };
    let compared = compare(&plan, &gone, 3, &Progress::default(), &mut |_, _| {}).expect("a run");
    assert_eq!((compared.a.len(), compared.b.len()), (1, 0));
    let results = Results::Comparison(compared);
    assert_eq!(results.exit_code(&[]), 2);
    let page = text::page(&results, &[], &[], text::Paint::Off);
    assert!(page.contains("Nothing to compare with"), "{page}");
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

fn must_commit(report: &Report, count: u64) {
    assert_eq!(report.totals.committed, count, "{:?}", report.totals);
}

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

#[test]
fn a_workload_file_is_run_and_its_invariants_are_judged() {
    let path = std::env::temp_dir().join(format!("slotway-load-{}.toml", std::process::id()));
    std::fs::write(&path, FILE).expect("a temporary file");
    let plan = |address| {
        let mut plan = plan(Kind::Transfer, address);
        (plan.workload.kind, plan.workload.file) = (Kind::File, Some(path.clone()));
        plan
    };
    let server = ServerProcess::start(&[]);
    let report = carried_out(&plan(server.address));
    must_hold(&report);
    let names: Vec<&str> = report.kinds.iter().map(|kind| kind.name.as_str()).collect();
    assert_eq!(names, ["move", "look"]);
    assert!(report.kinds.iter().all(|kind| kind.committed > 0), "{:?}", report.kinds);
    assert!(report.invariants[0].checks_during > 0 || report.elapsed < Duration::from_millis(100));

    let server = FaultyServer::start(Fault::IgnoresWatch);
    let mut broken = plan(server.address);
    broken.shape.groups = 1;
    let report = carried_out(&broken);
    assert_eq!(report.exit_code(), 3, "{:?}", report.invariants);
    let Verdict::Broken { evidence, .. } = &report.invariants[0].verdict else {
        panic!("{:?}", report.invariants);
    };
    assert!(evidence[0].what.contains("sum == 100 * keys"), "{evidence:?}");
    let known = evidence[0].transactions.first().expect("transactions are named");
    assert!(known.wrote.iter().any(|(name, _)| name == "amount"), "{known:?}");
    std::fs::remove_file(&path).expect("removed");
    let failure = run(&plan(server.address), &Progress::default()).expect_err("the file is gone");
    assert!(
        failure.cause == Cause::Usage && failure.message.contains("workload file"),
        "{failure}"
    );
}

const FILE: &str = r#"
[[setup]]
command = "SET $tag:account:$key 100"
[[setup]]
each = "group"
command = "SET $tag:moves 0"

[[transaction]]
name = "move"
weight = 3
pick = { from = "key", to = "other key", amount = "1..10" }
watch = ["$tag:account:$from", "$tag:account:$to"]
read = { a = "GET $tag:account:$from", b = "GET $tag:account:$to" }
when = "a >= amount"
write = [
    "SET $tag:account:$from $(a - amount)",
    "SET $tag:account:$to $(b + amount)",
    "INCRBY $tag:moves $amount",
]
adds = "amount"

[[transaction]]
name = "look"
pick = { which = "key" }
read = { a = "GET $tag:account:$which" }

[[invariant]]
name = "the sum stays"
read = "GET $tag:account:$key"
expect = "sum == 100 * keys && min >= 0"
[[invariant]]
name = "what was moved"
each = "group"
read = "GET $tag:moves"
expect = "sum == added"
"#;

#[test]
fn sweeps_and_comparisons() {
    let server = FaultyServer::start(Fault::None);
    let mut plan = plan(Kind::Counter, server.address);
    plan.shape.transactions = Some(200);
    let over = "clients=1,8".parse::<Sweep>().expect("a sweep");
    assert_eq!((over.axis, over.values.as_slice()), (Axis::Clients, &[1.0, 8.0][..]));
    let mut values = Vec::new();
    let swept = sweep(&plan, &over, &Progress::default(), &mut |value, _| values.push(value));
    let swept = swept.expect("two runs");
    assert_eq!(values, [1.0, 8.0]);
    assert_eq!(swept.runs[0].1.totals.aborted, 0, "a single connection is alone");
    assert_eq!(swept.runs[1].1.plan.shape.connections, 8);

    let other = FaultyServer::start(Fault::None);
    let target = Target { url: Some(url(other.address)), ..plan.target.clone() };
    let mut order = Vec::new();
    let compared =
        compare(&plan, &target, 2, &Progress::default(), &mut |is_b, _| order.push(is_b));
    let compared = compared.expect("four runs");
    assert_eq!(order, [false, true, true, false]);
    assert_eq!((compared.a.len(), compared.b.len()), (2, 2));
    let speed = &compared.ratios[0];
    assert_eq!(speed.name, "committed/s");
    assert!(speed.min <= speed.median && speed.median <= speed.max && speed.min > 0.0, "{speed:?}");
}

/// A TLS proxy in front of a server.
fn with_tls(behind: SocketAddr) -> SocketAddr {
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let certificate = CertificateDer::from_pem_file(tls_file("cert.pem")).expect("a certificate");
    let key = PrivateKeyDer::from_pem_file(tls_file("key.pem")).expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .expect("they belong together");
    let config = Arc::new(config);
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let session = rustls::ServerConnection::new(Arc::clone(&config)).expect("a session");
            let server = TcpStream::connect(behind).expect("the server behind is up");
            std::thread::spawn(move || unwrap_tls(session, client, server));
        }
    });
    address
}

/// Serves one connection; requests and replies alternate, so that one thread suffices.
fn unwrap_tls(session: rustls::ServerConnection, client: TcpStream, mut server: TcpStream) {
    let mut client = rustls::StreamOwned::new(session, client);
    let mut piece = [0; 32 * 1024];
    // A reply arrives within this time, or there is none yet.
    server.set_read_timeout(Some(Duration::from_millis(5))).expect("a timeout");
    client.sock.set_read_timeout(Some(Duration::from_millis(5))).expect("a timeout");
    let is_silence = |error: &std::io::Error| {
        matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
    };
    loop {
        match client.read(&mut piece) {
            Ok(0) => return,
            Ok(len) => server.write_all(&piece[..len]).expect("the server behind is up"),
            Err(error) if is_silence(&error) => {}
            Err(_) => return,
        }
        match server.read(&mut piece) {
            Ok(0) => return,
            Ok(len) => {
                if client.write_all(&piece[..len]).and_then(|()| client.flush()).is_err() {
                    return;
                }
            }
            Err(error) if is_silence(&error) => {}
            Err(_) => return,
        }
    }
}

fn tls_file(name: &str) -> PathBuf {
    project_files::path("tests/data/tls").join(name)
}

#[test]
fn tls_targets_need_a_trusted_certificate() {
    let server = FaultyServer::start(Fault::None);
    let address = with_tls(server.address);
    let with = |change: fn(&mut Target)| {
        let mut plan = plan(Kind::Transfer, address);
        plan.target.url =
            Some(format!("rediss://localhost:{}", address.port()).parse().expect("a url"));
        (plan.shape.connections, plan.shape.transactions) = (4, Some(40));
        change(&mut plan.target);
        plan
    };
    for trusting in [with(|t| t.insecure = true), with(|t| t.cacert = Some(tls_file("cert.pem")))] {
        let report = carried_out(&trusting);
        assert_eq!(report.totals.committed + report.totals.declined, 40, "{:?}", report.totals);
        assert!(!report.is_broken(), "{:?}", report.invariants);
    }
    let failure = run(&with(|_| {}), &Progress::default()).expect_err("it is self-signed");
    assert!(failure.message.contains("certificate"), "{failure}");
    let failure = run(&with(|t| t.cacert = Some(tls_file("key.pem"))), &Progress::default());
    let failure = failure.expect_err("no certificate in it");
    assert!(failure.cause == Cause::Usage && failure.message.contains("--cacert"), "{failure}");
}
