//! Sweeps and comparisons.

use slotway::internals::load::plan::{Axis, Kind, Sweep, Target};
use slotway::internals::load::{Progress, Results, compare, sweep, text};

use super::{must_commit, plan, url};
use crate::faulty_server::{Fault, FaultyServer};

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
