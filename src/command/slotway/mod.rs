//! SLOTWAY: topology changes and faults on command, for tests. A command of our own.
//!
//! ```text
//! slotway        the rows: commands that change the cluster, and commands that report
//! slotway/apply  applying orders, and undoing faults when their time is over
//! slotway/show   the cluster, a slot and the faults as text for people
//! slotway/proof  what was recorded of the applications: violations, conflicts, groups
//! ```
//!
//! A command that changes the cluster or arms a fault is an order. [`crate::faults::Order`] parses
//! orders from requests, from `slotway ctl` and from scenarios alike. An order is applied while all
//! shards are held: no other command runs while slots, roles and nodes change.

mod apply;
mod show;
mod proof;

pub(crate) use apply::{ClusterAccess, apply, apply_due, check_order, check_scenario};

use super::spec::flag::{ADMIN, LOADING, NO_MULTI, NOSCRIPT, STALE};
use super::spec::{
    Arity::{AtLeast, Exactly},
    BASE, Group, Run, Spec, check,
};
use super::{Args, Outcome, Refusal, ServerCx, help};
use crate::faults::{NodeName, Order, Promote, Scenario, ScenarioError};
use crate::resp::Sink;
use crate::topology::NodeNumber;

pub(super) const ROWS: &[Spec] = &[SLOTWAY];
const _: () = check(ROWS);

const FLAGS: u64 = ADMIN | NOSCRIPT | LOADING | STALE;

/// Defaults of the rows that are orders. Their errors about missing arguments are the parser's.
const ORDER: Spec = Spec {
    parent: "slotway",
    arity: AtLeast(2),
    flags: FLAGS | NO_MULTI,
    group: Group::Slotway,
    since: "0.1.0",
    run: Run::Whole(order),
    ..BASE
};
/// Defaults of the rows that report the state of the cluster.
const SHOW: Spec = Spec { arity: Exactly(2), flags: FLAGS, ..ORDER };
/// Defaults of the rows that report, or reset, what was recorded of the applications.
const PROOF: Spec = Spec {
    arity: AtLeast(2),
    complexity: "O(N) where N is the number of rows, a few thousand at the most",
    ..SHOW
};

const SLOTWAY: Spec = Spec {
    name: "slotway",
    arity: AtLeast(2),
    flags: 0,
    parent: "",
    complexity: "Depends on subcommand.",
    summary: "Holds the commands that show and change the cluster and inject faults, for tests.",
    run: Run::Container,
    subcommands: &[
        Spec {
            name: "check",
            flags: FLAGS,
            summary: "Checks an order without applying it.",
            run: Run::Server(|cx, args, out| {
                let words: Vec<&[u8]> = args.from(2).collect();
                let order = Order::of(&words).map_err(|error| Refusal::new(error.to_string()))?;
                check_order(cx.server, &order)?;
                out.ok();
                Ok(())
            }),
            ..ORDER
        },
        Spec { name: "clear", summary: "Ends a fault, or all of them, now.", ..ORDER },
        Spec {
            name: "cluster",
            summary: "Shows the nodes, their slots, the migrations and the faults.",
            run: Run::Whole(show::cluster),
            ..SHOW
        },
        Spec {
            name: "conflict",
            summary: "Touches a key right before the next EXECs that watch it.",
            ..ORDER
        },
        Spec {
            name: "conflicts",
            summary: "Reports the watched keys that EXECs were lost to, with the writers; or resets that.",
            run: Run::Server(proof::conflicts),
            ..PROOF
        },
        Spec { name: "down", summary: "Takes the whole cluster down.", ..ORDER },
        Spec {
            name: "exec",
            summary: "Makes the next EXECs reply with an error or nil and run nothing.",
            ..ORDER
        },
        Spec { name: "failover", summary: "Promotes a replica to be the master.", ..ORDER },
        Spec {
            name: "faults",
            summary: "Lists the faults that are armed.",
            run: Run::Server(show::faults),
            ..SHOW
        },
        Spec {
            name: "finish",
            summary: "Finishes a slot's migration: the target gets the slot and all its keys.",
            ..ORDER
        },
        Spec {
            name: "groups",
            summary: "Reports the keys used together and the hashtags that they need; or resets that.",
            run: Run::Server(proof::groups),
            ..PROOF
        },
        Spec {
            name: "help",
            flags: LOADING | STALE,
            summary: "Lists the subcommands.",
            run: Run::Server(|cx, _, out| {
                help(&SLOTWAY, cx.product, out);
                Ok(())
            }),
            ..SHOW
        },
        Spec {
            name: "hold",
            summary: "Holds a slot half-migrated, with the named keys already at the target.",
            ..ORDER
        },
        Spec {
            name: "latency",
            summary: "Delays the replies of a node, or those about a slot.",
            ..ORDER
        },
        Spec {
            name: "move",
            complexity: "O(N) where N is the number of keys in the slots",
            summary: "Moves slots with their keys to another node, at once.",
            ..ORDER
        },
        Spec {
            name: "proof",
            arity: Exactly(2),
            summary: "Returns all that was recorded of the applications as a JSON document.",
            run: Run::Server(proof::proof),
            ..PROOF
        },
        Spec {
            name: "revert",
            summary: "Reverts a slot's migration: the owner gets all its keys back.",
            ..ORDER
        },
        Spec {
            name: "scenario",
            arity: AtLeast(2),
            flags: FLAGS,
            summary: "Plays a scenario, given as TOML, or reports the progress of the last one.",
            run: Run::Server(scenario),
            ..ORDER
        },
        Spec {
            name: "show",
            summary: "Shows the nodes, their slots, the migrations and the faults.",
            run: Run::Whole(show::cluster),
            ..SHOW
        },
        Spec {
            name: "slot",
            arity: Exactly(3),
            summary: "Shows the owner of a slot, its migration and the number of its keys.",
            run: Run::Whole(show::slot),
            ..SHOW
        },
        Spec { name: "start", summary: "Starts a node that was stopped.", ..ORDER },
        Spec {
            name: "stop",
            summary: "Stops a node: it refuses connections, or accepts them and hangs.",
            ..ORDER
        },
        Spec {
            name: "test",
            complexity: "O(1)",
            summary: "Sets the name of the running test, to which later records of clients with this client's name belong, or clears it.",
            run: Run::Server(proof::test),
            ..PROOF
        },
        Spec { name: "up", summary: "Brings the cluster up again.", ..ORDER },
        Spec {
            name: "violations",
            summary: "Reports what a cluster would have refused; or resets that.",
            run: Run::Server(proof::violations),
            ..PROOF
        },
    ],
    ..ORDER
};

/// The error for orders if they are switched off.
const NO_ADMIN: Refusal = Refusal::of(
    "ERR SLOTWAY commands that change something are switched off: this server runs with --no-admin",
);

/// Applies the order of a request.
fn order(cx: &mut ServerCx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    if !cx.server.admin_enabled {
        return Err(NO_ADMIN);
    }
    let words: Vec<&[u8]> = args.from(1).collect();
    let order = Order::of(&words).map_err(|error| Refusal::new(error.to_string()))?;
    let ServerCx { server, me, shards, now, pace, .. } = cx;
    let mut access = ClusterAccess { server, me: Some(&**me), shards, now: *now, pace: *pace };
    match apply(&order, &mut access)? {
        None => out.ok(),
        Some(number) => out.int(number.cast_signed()),
    }
    Ok(())
}

/// Stops a node as SLOTWAY STOP does: a replica takes its place.
pub(super) fn stop_node(cx: &mut ServerCx<'_>, node: NodeNumber) -> Result<(), Refusal> {
    let (node, promote) = (NodeName::Number(node), Promote::After(0));
    let order = Order::Stop { node, hangs: false, time: None, promote };
    let ServerCx { server, me, shards, now, pace, .. } = cx;
    let mut access = ClusterAccess { server, me: Some(&**me), shards, now: *now, pace: *pace };
    apply(&order, &mut access).map(drop)
}

/// SLOTWAY SCENARIO [text]
fn scenario(cx: &mut ServerCx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let Some(text) = args.get(2) else { return show::progress(cx, out) };
    if args.len() > 3 {
        return Err(Refusal::SYNTAX);
    }
    if !cx.server.admin_enabled {
        return Err(NO_ADMIN);
    }
    let refused = |mistake: ScenarioError| Refusal::new(format!("ERR {mistake}"));
    let text = std::str::from_utf8(text).map_err(|_| Refusal::of("ERR line 1: not UTF-8"))?;
    let scenario = Scenario::read(text).map_err(refused)?;
    check_scenario(cx.server, &scenario).map_err(refused)?;
    let steps = scenario.steps.len();
    cx.server.faults.start_scenario(scenario, cx.now);
    out.count(steps);
    Ok(())
}
