//! The keys of a run: nothing of it stays, and what was there before has no effect on it.

use std::net::SocketAddr;

use slotway::internals::load::plan::Kind;
use slotway::internals::load::{Cause, KeysEnding, Progress, Results, run, text};

use super::clusters::slotway_cluster;
use super::verdicts::{endless, must_be_undecided, stopped};
use super::{carried_out, file_plan, must_hold, plan};
use crate::faulty_server::{Fault, FaultyServer};
use crate::program::Folder;
use crate::server_process::ServerProcess;
use crate::wire::{Client, Reply};

/// Transactions make keys that no setup names, by what they pick, by their user and number, and as
/// the second key of a command.
const FILE: &str = r#"
[[transaction]]
pick = { k = "key", a = "1..9" }
write = ["SET $tag:by:$user:$n 1", "INCRBY $tag:sum:$a 1", "RPUSH $tag:l $k", "LMOVE $tag:l $tag:m LEFT RIGHT", "INCR $tag:total"]

[[invariant]]
name = "the total is the number of commits"
each = "group"
read = "GET $tag:total"
expect = "sum == commits"
"#;

fn count(address: SocketAddr) -> Reply {
    Client::connect(address).expect("it is up").ask(&["DBSIZE"])
}

#[test]
fn keys_that_only_transactions_name_are_removed_and_old_ones_have_no_effect() {
    let folder = Folder::new("load-keys");
    let server = ServerProcess::start(&[]);
    let mut client = server.client();
    // Of other prefixes, and of nobody.
    let foreign = ["{bench:1:7}:total", "{benchmark:0}:total", "bench:0", "{bench:x}:total"];
    for key in foreign {
        client.ask(&["SET", key, "1"]);
    }
    let plan = file_plan(&folder, "keys.toml", FILE, server.address);
    let report = carried_out(&plan);
    must_hold(&report);
    assert_eq!((report.keys.old, report.keys.ending), (0, KeysEnding::Removed));
    assert_eq!(client.ask(&["DBSIZE"]), Reply::Int(4));

    // As a killed run leaves them, also in groups that this one does not use.
    client.ask(&["SET", "{bench:0}:total", "17"]);
    client.ask(&["SET", "{bench:99}:by:3:4", "1"]);
    let report = carried_out(&plan);
    must_hold(&report);
    assert_eq!((report.keys.old, &report.keys.ending), (2, &KeysEnding::Removed));
    let results = Results::Run(Box::new(report));
    let page = text::page(&results, &[], &[], text::Paint::Off);
    let page = page.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(page.contains("Old keys that begin with {bench: were on the target"), "{page}");
    assert!(page.contains("removed before this run: 2."), "{page}");
    for key in foreign {
        assert_eq!(client.ask(&["DEL", key]), Reply::Int(1), "{key}");
    }
    assert_eq!(client.ask(&["DBSIZE"]), Reply::Int(0));
}

#[test]
fn keys_on_all_nodes_of_a_cluster_are_found() {
    let folder = Folder::new("load-keys-cluster");
    let (_server, nodes) = slotway_cluster();
    let mut plan = file_plan(&folder, "keys.toml", FILE, nodes[0]);
    (plan.target.cluster, plan.shape.groups) = (true, 12);
    for keep in [true, false] {
        plan.workload.keep = keep;
        let report = carried_out(&plan);
        must_hold(&report);
        assert_eq!(report.keys.old > 0, !keep, "the second run finds those of the first");
    }
    assert_eq!(nodes.map(count), [Reply::Int(0), Reply::Int(0), Reply::Int(0)]);
}

#[test]
fn a_node_that_is_gone_leaves_the_invariants_undecided_and_no_keys_on_the_others() {
    let folder = Folder::new("load-keys-gone");
    let (_server, nodes) = slotway_cluster();
    // Else the others would refuse everything.
    let of_all = ["CONFIG", "SET", "cluster-require-full-coverage", "no"];
    for node in nodes {
        let set = Client::connect(node).expect("it is up").ask(&of_all);
        assert_eq!(set, Reply::Simple(b"OK".to_vec()));
    }
    let built_in = endless(nodes[0]);
    let mut of_file = file_plan(&folder, "keys.toml", FILE, nodes[0]);
    of_file.shape = built_in.shape.clone();
    for mut plan in [built_in, of_file] {
        (plan.target.cluster, plan.target.patience_ms, plan.shape.groups) = (true, 500, 12);
        let report = stopped(&plan, |client| {
            let stop = client.ask(&["SLOTWAY", "STOP", "2", "PROMOTE", "NEVER"]);
            assert!(matches!(stop, Reply::Int(_)), "{stop:?}");
        });
        let gone = nodes[2].to_string();
        must_be_undecided(&report, &gone);
        let KeysEnding::NotRemoved { why } = &report.keys.ending else {
            panic!("{:?}", report.keys);
        };
        assert!(why.contains(&gone), "{why}");
        assert_eq!([count(nodes[0]), count(nodes[1])], [Reply::Int(0), Reply::Int(0)]);
        let mut client = Client::connect(nodes[0]).expect("it is up");
        assert_eq!(client.ask(&["SLOTWAY", "START", "2"]), Reply::Simple(b"OK".to_vec()));
        Client::connect(nodes[2]).expect("it is up again").ask(&["FLUSHALL"]);
    }
}

#[test]
fn old_keys_of_built_in_workloads_are_replaced_whatever_their_type() {
    let server = ServerProcess::start(&[]);
    let mut client = server.client();
    for kind in Kind::BUILT_IN {
        let name = match kind {
            Kind::Transfer => "account",
            Kind::Order => "stock",
            Kind::Append => "list",
            Kind::Lock => "work",
            Kind::Read | Kind::Pipeline => "value",
            _ => "counter",
        };
        for key in 0..2 {
            client.ask(&["HSET", &format!("{{bench:1}}:{name}:{key}"), "a", "1"]);
        }
        let report = carried_out(&plan(kind, server.address));
        must_hold(&report);
        assert_eq!(report.keys.old, 2, "{kind:?}");
        assert_eq!(client.ask(&["DBSIZE"]), Reply::Int(0), "{kind:?}");
    }
}

#[test]
fn a_run_that_fails_while_it_writes_its_keys_removes_them() {
    let (_server, nodes) = slotway_cluster();
    let mut messages = Vec::new();
    for node in nodes {
        // A node accepts the groups of its own slots, until it refuses one.
        let mut plan = plan(Kind::Counter, node);
        plan.shape.groups = 50;
        let failure = run(&plan, &Progress::default()).expect_err("the slots of other nodes");
        assert!(failure.cause == Cause::Target, "{failure}");
        messages.push(failure.message);
        assert_eq!(count(node), Reply::Int(0));
    }
    assert!(messages.iter().all(|message| message.contains("--cluster")), "{messages:?}");
}

#[test]
fn keys_that_cannot_be_removed_are_named() {
    // It dies while the keys are written.
    let server = FaultyServer::start(Fault::DiesAfter(60));
    let mut plan = plan(Kind::Counter, server.address);
    (plan.shape.groups, plan.target.patience_ms) = (30, 300);
    let failure = run(&plan, &Progress::default()).expect_err("it died").message;
    assert!(failure.contains("keys that begin with {bench: could not be removed"), "{failure}");
    // One without DEL does not get any.
    let server = FaultyServer::start(Fault::Replies("DEL", b"-ERR unknown command 'DEL'\r\n"));
    let failure = run(&super::plan(Kind::Counter, server.address), &Progress::default());
    let message = failure.expect_err("nothing could be removed").message;
    assert!(message.contains("does not have a command"), "{message}");
}

#[test]
fn a_workload_file_needs_scan_and_keys_of_its_groups() {
    let folder = Folder::new("load-keys-refused");
    let no_scan = Fault::Replies("SCAN", b"-ERR unknown command 'SCAN'\r\n");
    let server = FaultyServer::start(no_scan);
    let plan = file_plan(&folder, "keys.toml", FILE, server.address);
    let failure = run(&plan, &Progress::default()).expect_err("it has no SCAN");
    assert!(failure.message.contains("SCAN"), "{failure}");
    for foreign in ["RENAME $tag:total gone:$k", "SORT $tag:l STORE gone", "MSET $tag:a 1 gone 2"] {
        let text = FILE.replace("INCR $tag:total", foreign);
        let plan = file_plan(&folder, "foreign.toml", &text, server.address);
        let failure = run(&plan, &Progress::default()).expect_err(foreign);
        assert!(failure.cause == Cause::Usage, "{failure}");
        assert!(failure.message.contains("must begin with $tag"), "{foreign}: {failure}");
    }
}
