//! The tasks that run by the clock: keys that no command reads expire, replicas without readers
//! catch up, idle clients are closed, abandoned watches are removed, memory goes back to the system.

use super::clock;
use super::worker::WorkerPace;
use crate::keyspace::Millis;
use crate::router::Router;
use crate::shard::Turn;
use crate::state::NodeState;
use crate::topology::Port;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;
use tokio::time::MissedTickBehavior;

/// The interval of the ticks.
const EVERY: Duration = Duration::from_millis(100);
/// A tick takes the lock of a shard this many times at the most, each time for
/// [`ENTRIES_PER_HOLD`]: expiry has a bounded share of a tick, and never long at a stretch.
const HOLDS_MAX: usize = 64;
/// Entries looked at under one hold, so that no hold is long.
const ENTRIES_PER_HOLD: usize = 4096;
/// Expiry goes on within a tick while at least this share of what it looks at had expired.
const WORTHWHILE: f64 = 0.1;
/// What is allocated and freed to have the allocator look after what was freed before, in bytes.
const NUDGE_LEN: usize = 1 << 20;
/// Idle clients and abandoned watches are looked for once in so many ticks.
const TICKS_PER_SWEEP: u64 = 10;

/// Runs until it is dropped.
pub(super) async fn run(router: Arc<Router>) {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for tick in 0u64.. {
        ticks.tick().await;
        let now = clock::now();
        for port in router.server.nodes.covered(Port::Router) {
            port.stats.sample(now);
        }
        let shards = router.shards().len();
        let resting = router.server.nodes.resting_shards(shards, now);
        for shard in (0..shards).filter(|shard| !resting.contains(shard)) {
            expire(&router, shard, now).await;
        }
        bring_on(&router, now);
        if router.server.nodes.tracking_is_due() {
            router.server.nodes.settle_tracking(now, &mut |sleeper| {
                sleeper.into_iter().for_each(Waker::wake);
            });
        }
        if tick % TICKS_PER_SWEEP == 0 {
            sweep(&router, now);
            give_memory_back();
        }
    }
}

/// Has the allocator give back what was freed a second ago or more. It does that only when a page is
/// freed, and an idle server frees none: what was large would stay resident for as long as nothing else
/// is. The memory is never written to.
fn give_memory_back() {
    drop(std::hint::black_box(Vec::<u8>::with_capacity(NUDGE_LEN)));
}

/// What a cycle of expiry has done so far to a shard.
#[derive(Default)]
struct Cycle {
    /// Keys with an expiry before it.
    volatile: usize,
    removed: usize,
    ticks: u64,
}

/// Removes expired keys of a shard: few of them, or many if many have expired.
async fn expire(router: &Router, shard: usize, now: Millis) {
    let (mut cycle, mut goes_on) = (Cycle::default(), true);
    for _ in 0..HOLDS_MAX {
        goes_on = expire_once(router, shard, now, &mut cycle);
        if !goes_on {
            break;
        }
        tokio::task::yield_now().await;
    }
    note(router, shard, &cycle, goes_on);
}

/// Expires keys under one hold; returns whether enough have expired to continue.
fn expire_once(router: &Router, shard: usize, now: Millis, cycle: &mut Cycle) -> bool {
    // A shard that is busy now is looked at again in the next tick.
    let pace = WorkerPace::default();
    let turn = Turn::new(router.batch_context(Port::Router, now), &pace);
    let Some(mut hold) = router.shards()[shard].try_hold(&turn) else { return false };
    let keyspace = &mut hold.engine().keyspace;
    let (slots, began) = (keyspace.slots(), clock::ticks());
    cycle.volatile = cycle.volatile.max(keyspace.volatile());
    let (looked, removed) = keyspace.expire_some(slots, ENTRIES_PER_HOLD);
    cycle.removed += removed;
    cycle.ticks += clock::ticks().wrapping_sub(began);
    looked >= ENTRIES_PER_HOLD && removed as f64 >= looked as f64 * WORTHWHILE
}

/// Counts a cycle at the port that has the shard's keys: its master, or the router port for a database
/// above 0.
fn note(router: &Router, shard: usize, cycle: &Cycle, was_cut_short: bool) {
    if cycle.volatile == 0 {
        return;
    }
    let (server, topology) = (&router.server, &router.server.topology);
    let holders = topology.nodes_with_keys_of(shard);
    let master = holders.iter().find(|holder| !holder.is_replica);
    let node = match (topology.database_of_shard(shard), master) {
        (0, Some(master)) => server.node(Port::Node(master.node)),
        _ => server.node(Port::Router),
    };
    let nanos = node.observer.nanos(cycle.ticks);
    node.stats.note_expiry(cycle.volatile, cycle.removed, was_cut_short, nanos);
}

/// Applies the due changes to replicas that lag, so that none pile up where no client reads.
fn bring_on(router: &Router, now: Millis) {
    let pace = WorkerPace::default();
    let turn = Turn::new(router.batch_context(Port::Router, now), &pace);
    for shard in router.server.replication_streams.replica_shards() {
        // Holding it is enough, and its present holder has done so.
        drop(router.shards()[shard].try_hold(&turn));
    }
}

fn sweep(router: &Router, now: Millis) {
    let pace = WorkerPace::default();
    let turn = Turn::new(router.batch_context(Port::Router, now), &pace);
    for shard in router.shards() {
        if let Some(mut hold) = shard.try_hold(&turn) {
            hold.engine().keyspace.sweep_watchers();
            hold.engine().sweep_waiters();
        }
    }
    let server = &router.server;
    server.router().clients.check_output_limits(now);
    let with_timeout = |node: &Arc<NodeState>| node.settings.timeout_s().is_some();
    if server.nodes.covered(Port::Router).iter().any(with_timeout) {
        for client in server.router().clients.all() {
            let Some(timeout_s) = server.node(client.port).settings.timeout_s() else { continue };
            let activity = client.activity();
            // A client that waits for a key, for messages or for MONITOR output is silent with
            // reason.
            let waits =
                activity.blocked || activity.monitors || !client.subscription_counts().is_empty();
            if !waits && now - activity.last_active > i64::from(timeout_s) * 1000 {
                tracing::debug!(client = client.id, "closing an idle client");
                client.close();
            }
        }
    }
}
