//! SLOTWAY: topology and faults on command, for tests. No Redis has it.
//!
//! ```text
//! slotway        the rows: orders that change something, tellings that show it
//! slotway/act    orders carried out, and undone when their time is over
//! slotway/tell   the cluster, a slot and the faults, told for people
//! slotway/proof  what was noted of the applications: violations, conflicts, groups
//! ```
//!
//! An order's words are read by [`crate::faults::Order`], the same for a client's request, for
//! `slotway ctl` and for a scenario. It is carried out while all shards are held: nobody runs
//! anything while slots, roles and nodes change.

mod apply;
mod proof;
mod show;

pub use apply::{ClusterAccess, carry_out, check, check_all, do_what_is_due};

use super::spec::flag::{ADMIN, LOADING, NO_MULTI, NOSCRIPT, STALE};
use super::spec::{
    Arity::{AtLeast, Exactly},
    BASE, Group, Run, Spec, check as check_rows,
};
use super::{Args, Outcome, Refusal, ServerCx, help};
use crate::faults::{Order, Scenario, ScenarioError};
use crate::resp::Sink;

pub(super) const ROWS: &[Spec] = &[SLOTWAY];
const _: () = check_rows(ROWS);

const FLAGS: u32 = ADMIN | NOSCRIPT | LOADING | STALE;

/// What the rows share that change something. What an order lacks it says itself.
const ORDERS: Spec = Spec {
    parent: "slotway",
    arity: AtLeast(2),
    flags: FLAGS | NO_MULTI,
    group: Group::Slotway,
    since: "0.1.0",
    run: Run::Whole(order),
    ..BASE
};
/// What the rows share that only tell.
const TELLS: Spec = Spec { arity: Exactly(2), flags: FLAGS, ..ORDERS };
/// What the rows share that tell, or forget, what was noted for the proof.
const NOTED: Spec = Spec {
    arity: AtLeast(2),
    complexity: "O(N) where N is the number of rows, a few thousand at the most",
    ..TELLS
};

const SLOTWAY: Spec = Spec {
    name: "slotway",
    arity: AtLeast(2),
    flags: 0,
    parent: "",
    complexity: "Depends on subcommand.",
    summary: "Holds the commands that show and change the cluster and make faults, for tests.",
    run: Run::Container,
    subcommands: &[
        Spec {
            name: "check",
            flags: FLAGS,
            summary: "Says what is wrong with an order, which is not carried out.",
            run: Run::Server(|cx, args, out| {
                let words: Vec<&[u8]> = args.from(2).collect();
                let order = Order::of(&words).map_err(|error| Refusal::new(error.to_string()))?;
                check(cx.server, &order)?;
                out.ok();
                Ok(())
            }),
            ..ORDERS
        },
        Spec { name: "clear", summary: "Ends a fault, or all of them, before its time.", ..ORDERS },
        Spec {
            name: "cluster",
            summary: "Shows the nodes, their slots, what is on the move, and the faults.",
            run: Run::Whole(show::cluster),
            ..TELLS
        },
        Spec {
            name: "conflict",
            summary: "Touches a key right before the next EXECs that watch it.",
            ..ORDERS
        },
        Spec {
            name: "conflicts",
            summary: "Tells which watched keys made EXECs answer nil, and who had changed them, or forgets it.",
            run: Run::Server(proof::conflicts),
            ..NOTED
        },
        Spec { name: "down", summary: "Takes the whole cluster down.", ..ORDERS },
        Spec {
            name: "exec",
            summary: "Has the next EXECs answer an error, or nil, and run nothing.",
            ..ORDERS
        },
        Spec { name: "failover", summary: "Puts a replica in its master's place.", ..ORDERS },
        Spec {
            name: "faults",
            summary: "Lists the faults that are armed.",
            run: Run::Server(show::faults),
            ..TELLS
        },
        Spec {
            name: "finish",
            summary: "Ends a slot's move: all its keys, and the slot, are the new owner's.",
            ..ORDERS
        },
        Spec {
            name: "groups",
            summary: "Tells which keys are used together, and the hashtags they need, or forgets it.",
            run: Run::Server(proof::groups),
            ..NOTED
        },
        Spec {
            name: "help",
            flags: LOADING | STALE,
            summary: "Lists the subcommands.",
            run: Run::Server(|_, _, out| {
                help(&SLOTWAY, out);
                Ok(())
            }),
            ..TELLS
        },
        Spec {
            name: "hold",
            summary: "Begins a slot's move, with the named keys moved already, and leaves it at that.",
            ..ORDERS
        },
        Spec {
            name: "latency",
            summary: "Has the replies of a node, or about a slot, come late.",
            ..ORDERS
        },
        Spec {
            name: "move",
            complexity: "O(N) where N is the number of keys in the slots",
            summary: "Moves slots to another node, with their keys, at once.",
            ..ORDERS
        },
        Spec {
            name: "proof",
            arity: Exactly(2),
            summary: "Tells all that was noted of the applications' keys, as a document of JSON.",
            run: Run::Server(proof::proof),
            ..NOTED
        },
        Spec {
            name: "revert",
            summary: "Takes a slot's move back: all its keys are the old owner's again.",
            ..ORDERS
        },
        Spec {
            name: "scenario",
            arity: AtLeast(2),
            flags: FLAGS,
            summary: "Plays a scenario, a file of TOML, or tells how far the last one has come.",
            run: Run::Server(scenario),
            ..ORDERS
        },
        Spec {
            name: "show",
            summary: "Shows the nodes, their slots, what is on the move, and the faults.",
            run: Run::Whole(show::cluster),
            ..TELLS
        },
        Spec {
            name: "slot",
            arity: Exactly(3),
            summary: "Shows who owns a slot, where it goes, and how many keys it has.",
            run: Run::Whole(show::slot),
            ..TELLS
        },
        Spec { name: "start", summary: "Brings a node back that was stopped.", ..ORDERS },
        Spec {
            name: "stop",
            summary: "Has a node refuse connections, or take them and answer nothing.",
            ..ORDERS
        },
        Spec {
            name: "test",
            complexity: "O(1)",
            summary: "Says which test is running, whose everything is that is noted from now on; or that none is.",
            run: Run::Server(proof::test),
            ..NOTED
        },
        Spec { name: "up", summary: "Brings the cluster up again.", ..ORDERS },
        Spec {
            name: "violations",
            summary: "Tells what a cluster would have refused, or forgets it.",
            run: Run::Server(proof::violations),
            ..NOTED
        },
    ],
    ..ORDERS
};

/// Why orders are refused that are not wanted here.
const NO_ADMIN: Refusal = Refusal::of(
    "ERR SLOTWAY commands that change something are switched off: this server runs with --no-admin",
);

/// Carries out the order that a request is.
fn order(cx: &mut ServerCx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    if !cx.server.admin_enabled {
        return Err(NO_ADMIN);
    }
    let words: Vec<&[u8]> = args.from(1).collect();
    let order = Order::of(&words).map_err(|error| Refusal::new(error.to_string()))?;
    let ServerCx { server, me, shards, now, pace, .. } = cx;
    let mut access =
        ClusterAccess { server, me: Some(&**me), shards, now: *now, pace: &mut **pace };
    let delivered = carry_out(&order, &mut access)?;
    match delivered {
        None => out.ok(),
        Some(number) => out.int(number.cast_signed()),
    }
    Ok(())
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
    check_all(cx.server, &scenario).map_err(refused)?;
    let steps = scenario.steps.len();
    cx.server.faults.start_scenario(scenario, cx.now);
    out.count(steps);
    Ok(())
}
