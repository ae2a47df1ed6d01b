//! A verdict says no more than was seen: what could not be checked is no success, and what has
//! another cause is no fault of the target.

use std::net::SocketAddr;

use slotway::internals::load::plan::{Kind, Plan};
use slotway::internals::load::{KeysEnding, Progress, Report, Results, Verdict, run, text};

use super::{carried_out, file_plan, plan};
use crate::env::poll;
use crate::faulty_server::{Fault, FaultyServer};
use crate::program::Folder;
use crate::references;
use crate::server_process::ServerProcess;
use crate::wire::{Client, Reply};

/// Asserts that the report, its page and its exit code agree that no invariant was decided, for
/// this reason.
pub(super) fn must_be_undecided(report: &Report, why: &str) {
    assert_eq!(report.exit_code(), 2, "{:?}", report.invariants);
    assert!(!report.invariants.is_empty());
    for invariant in &report.invariants {
        let Verdict::Undecided { why: seen } = &invariant.verdict else { panic!("{invariant:?}") };
        assert!(seen.contains(why), "no {why:?} in {seen:?}");
    }
    let results = Results::Run(Box::new(report.clone()));
    let page = text::page(&results, &[], &[], text::Paint::Off);
    let first = page.lines().find(|line| line.contains("Note")).expect("a note");
    assert!(first.contains("undecided"), "it is said first: {page}");
    assert!(!page.contains("BROKEN") && !page.contains("  held"), "{page}");
    assert_eq!(results.exit_code(&[]), 2);
}

#[test]
fn what_the_target_does_not_reply_to_is_not_checked() {
    for (reply, why) in [
        (&b"-ERR unknown command 'MGET'\r\n"[..], "does not have a command"),
        (b"-NOPERM this user has no permissions\r\n", "no permission"),
        (b"+OK\r\n", "did not reply to MGET with an array"),
        (b"*1\r\n$1\r\n0\r\n", "1 elements instead of 3"),
        (b"*3\r\n$1\r\n0\r\n-ERR no upstream host\r\n$1\r\n0\r\n", "no upstream host"),
    ] {
        for kind in [Kind::Counter, Kind::Incr, Kind::Multi, Kind::Read] {
            let server = FaultyServer::start(Fault::Replies("MGET", reply));
            let report = carried_out(&plan(kind, server.address));
            must_be_undecided(&report, why);
            assert_eq!(report.keys.ending, KeysEnding::Removed, "{kind:?}");
        }
    }
    let server = FaultyServer::start(Fault::Replies("LRANGE", b"+OK\r\n"));
    must_be_undecided(&carried_out(&plan(Kind::Append, server.address)), "LRANGE");
}

#[test]
fn a_redis_without_the_command_is_no_success_and_keeps_no_keys() {
    let options = ["--cluster-enabled", "no", "--rename-command", "MGET", ""].map(str::to_owned);
    let Some(redis) = references::lease(&options) else { return };
    must_be_undecided(&carried_out(&plan(Kind::Counter, redis.address)), "MGET");
    let mut client = Client::connect(redis.address).expect("it is up");
    assert_eq!(client.ask(&["DBSIZE"]), Reply::Int(0));
}

#[test]
fn a_run_without_a_commit_proves_nothing() {
    let folder = Folder::new("load-nothing");
    let server = ServerProcess::start(&[]);
    let all_decline = "[[setup]]\ncommand = \"SET $tag:n:$key 5\"\n\
        [[transaction]]\npick = { k = \"key\" }\nread = { a = \"GET $tag:n:$k\" }\nwhen = \"a > 100\"\n\
        write = [\"INCR $tag:n:$k\"]\n[[invariant]]\nread = \"GET $tag:n:$key\"\nexpect = \"min == 5\"\n";
    let report = carried_out(&file_plan(&folder, "decline.toml", all_decline, server.address));
    assert_eq!(report.totals.declined, 600, "{:?}", report.totals);
    must_be_undecided(&report, "nothing was committed");

    // One that commits in the warm-up only is put to the test.
    let mut warm = plan(Kind::Incr, server.address);
    (warm.shape.warmup_ms, warm.shape.transactions) = (60_000, None);
    warm.shape.duration_ms = Some(60_000);
    let report = stopped(&warm, |_| {});
    assert_eq!((report.totals.committed, report.exit_code()), (0, 0), "{:?}", report.invariants);

    // Transactions that are refused on purpose are a test of their invariant.
    let mut crossing = plan(Kind::Transfer, server.address);
    crossing.workload.cross = 1.0;
    let report = carried_out(&crossing);
    assert_eq!((report.totals.committed, report.exit_code()), (0, 0), "{:?}", report.invariants);
}

#[test]
fn an_expectation_without_a_value_is_undecided() {
    let folder = Folder::new("load-no-value");
    let server = ServerProcess::start(&[]);
    for (name, read, expect, why) in [
        ("zero.toml", "GET $tag:missing", "commits / sum >= 0", "division by zero"),
        ("audited.toml", "GET $tag:missing", "count / sum >= 0", "division by zero"),
        ("list.toml", "LRANGE $tag:n 0 -1", "count == 1", "is not a number"),
        ("text.toml", "TYPE $tag:n", "count == 1", "is not a number"),
    ] {
        let text = format!(
            "[[transaction]]\nwrite = [\"RPUSH $tag:n 1\"]\n\
             [[invariant]]\neach = \"group\"\nread = \"{read}\"\nexpect = \"{expect}\"\n"
        );
        let report = carried_out(&file_plan(&folder, name, &text, server.address));
        must_be_undecided(&report, why);
    }
}

#[test]
fn a_target_that_evicts_keys_has_lost_none() {
    let options =
        ["--cluster-enabled", "no", "--maxmemory", "6mb", "--maxmemory-policy", "allkeys-lru"];
    let Some(redis) = references::lease(&options.map(str::to_owned)) else { return };
    let mut plan = plan(Kind::Read, redis.address);
    // Ten megabytes.
    (plan.shape.groups, plan.workload.value_len) = (333, 10_000);
    must_be_undecided(&carried_out(&plan), "evicted");
}

/// The report of a run that goes on until it is stopped; `meddle` acts while it runs.
pub(super) fn stopped(plan: &Plan, meddle: impl FnOnce(&mut Client)) -> Report {
    let progress = Progress::default();
    std::thread::scope(|scope| {
        let load = scope.spawn(|| run(plan, &progress));
        poll(|| (progress.snapshot().committed >= 100).then_some(())).expect("it is under way");
        let url = plan.target.url.as_ref().expect("a target");
        let address: SocketAddr = format!("{}:{}", url.host, url.port).parse().expect("a number");
        meddle(&mut Client::connect(address).expect("it is up"));
        progress.stop();
        load.join().expect("no panic").expect("a report")
    })
}

pub(super) fn endless(address: SocketAddr) -> Plan {
    let mut plan = plan(Kind::Transfer, address);
    (plan.shape.transactions, plan.shape.duration_ms) = (None, Some(600_000));
    plan
}

#[test]
fn keys_that_others_removed_are_no_fault_of_the_target() {
    let server = ServerProcess::start(&[]);
    let report = stopped(&endless(server.address), |client| {
        assert_eq!(client.ask(&["FLUSHALL"]), Reply::Simple(b"OK".to_vec()));
    });
    assert_eq!(report.exit_code(), 2, "{:?}", report.invariants);
    let why = format!("{:?}", report.invariants);
    assert!(why.contains("vanished meanwhile") && why.contains("FLUSHALL"), "{why}");

    // Without such a trace, a wrong sum is what the invariant is for.
    let report = stopped(&endless(server.address), |client| {
        assert_eq!(client.ask(&["SET", "{bench:0}:account:0", "5"]), Reply::Simple(b"OK".to_vec()));
    });
    assert_eq!(report.exit_code(), 3, "{:?}", report.invariants);
    assert_eq!(report.keys.ending, KeysEnding::Evidence);
}

#[test]
fn a_run_does_not_begin_with_keys_that_another_one_uses() {
    let server = ServerProcess::start(&[]);
    let report = stopped(&endless(server.address), |_| {
        let second = run(&plan(Kind::Counter, server.address), &Progress::default());
        let failure = second.expect_err("the keys are in use");
        assert_eq!(failure.cause.exit_code(), 2);
        for part in ["another run uses", "{bench:", "slotway bench, process", "--prefix", "ends in"]
        {
            assert!(failure.message.contains(part), "{part}: {failure}");
        }
        let mut elsewhere = plan(Kind::Counter, server.address);
        elsewhere.workload.prefix = "bench:other".to_owned();
        assert_eq!(carried_out(&elsewhere).exit_code(), 0);
    });
    assert_eq!((report.exit_code(), report.keys.ending), (0, KeysEnding::Removed));
    assert_eq!(server.client().ask(&["DBSIZE"]), Reply::Int(0), "the claim is given back");
}

#[test]
fn a_run_whose_keys_were_taken_accuses_nobody_and_leaves_them() {
    let server = ServerProcess::start(&[]);
    let other = "slotway bench, process 1 on elsewhere, run 1";
    let report = stopped(&endless(server.address), |client| {
        client.ask(&["SET", "{bench:0}:account:0", "5"]);
        client.ask(&["SET", "{bench:run}:claim", other]);
    });
    assert_eq!(report.exit_code(), 2, "{:?}", report.invariants);
    assert!(format!("{:?}", report.invariants).contains(other), "{:?}", report.invariants);
    let KeysEnding::NotRemoved { why } = &report.keys.ending else { panic!("{:?}", report.keys) };
    assert!(why.contains("another run has them"), "{why}");
    let mut client = server.client();
    let claim = client.ask(&["GET", "{bench:run}:claim"]);
    assert_eq!(claim, Reply::Bulk(other.as_bytes().to_vec()), "it stays the other run's");
}
