//! Servers with a fault are found out, with evidence; one that goes leaves what was measured.

use slotway::internals::load::plan::Kind;
use slotway::internals::load::{Ending, KeysEnding, Progress, Verdict, run};

use super::{carried_out, must_hold, plan};
use crate::env::poll;
use crate::faulty_server::{Fault, FaultyServer};
use crate::server_process::ServerProcess;
use crate::wire::{Answer, Client, Reply};

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
            assert_eq!(report.keys.ending, KeysEnding::Evidence);
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
    let KeysEnding::NotRemoved { why } = &report.keys.ending else { panic!("{:?}", report.keys) };
    assert!(why.contains(&server.address.to_string()), "{why}");
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
    // Room for those that write the keys and hold the claim, and for none of the load.
    let server = ServerProcess::start(&["--maxclients".to_owned(), "2".to_owned()]);
    let failure =
        run(&plan(Kind::Transfer, server.address), &Progress::default()).expect_err("room for two");
    assert!(failure.message.contains("max number of clients"), "{failure}");
    let size = poll(|| match Client::connect(server.address).ok()?.call(&["DBSIZE"]) {
        Answer::Reply(Reply::Int(size)) => Some(size),
        _ => None,
    });
    assert_eq!(size.expect("there is room again"), 0);
}
