//! Workload files.

use std::time::Duration;

use slotway::internals::load::plan::Kind;
use slotway::internals::load::{Cause, Progress, Verdict, run};

use super::{carried_out, must_hold, plan};
use crate::faulty_server::{Fault, FaultyServer};
use crate::server_process::ServerProcess;

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
