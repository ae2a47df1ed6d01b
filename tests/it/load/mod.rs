//! The load generator: every workload against Slotway, Redis and a cluster of three; broken servers are
//! detected with evidence; a failure is reported together with what was measured.

mod clusters;
mod faults;
mod file;
mod held;
mod keys;
mod refused;
mod several;
mod tls;
mod verdicts;

use std::net::SocketAddr;

use slotway::internals::load::plan::{Kind, Plan, Retry, Shape, Target, Workload};
use slotway::internals::load::{Ending, Progress, Report, Verdict, run};

use crate::program::Folder;
use crate::references::{self, Lease};

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

/// The same load with the workload file of this text, which is written into the folder.
fn file_plan(folder: &Folder, name: &str, text: &str, address: SocketAddr) -> Plan {
    let path = folder.file(name);
    std::fs::write(&path, text).expect("the temporary directory is writable");
    let mut plan = plan(Kind::Transfer, address);
    (plan.workload.kind, plan.workload.file) = (Kind::File, Some(path.into()));
    plan
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

fn must_commit(report: &Report, count: u64) {
    assert_eq!(report.totals.committed, count, "{:?}", report.totals);
}
