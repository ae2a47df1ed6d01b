//! The edge: listeners, connections, and timed tasks. All I/O is in this module.
//!
//! ```text
//! listener    ─ accept ─► a seat in the registry ─► Connection::serve, a task each
//! cron        ─ ten times a second ─► expired keys, idle clients, abandoned watches
//! fault_timer ─ when they are due ─► the ends of faults, the steps of a scenario
//! ```

mod clock;
mod runtime;
mod socket;
mod connection;
mod waits;
mod serve;
mod cron;
mod fault_timer;
mod listener;
mod builder;
mod worker;
mod signal_watch;

pub(crate) use builder::{OpenError, Wanted};
pub(crate) use listener::Bound;
pub(crate) use runtime::runtime;
pub(crate) use signal_watch::end_scripts_at_signals;

use crate::keyspace::Millis;
use crate::router::Router;
use signal_watch::SCRIPT_GRACE;
use std::sync::Arc;
use std::time::Duration;

/// Returns the wall clock's time, in milliseconds since the epoch.
#[must_use]
pub(crate) fn now() -> Millis {
    clock::now()
}

/// Returns how many nanoseconds a tick of the command timer has.
#[must_use]
pub(crate) fn tick_ns() -> f64 {
    clock::tick_ns()
}

/// The time that running batches get to finish when the server shuts down.
const FAREWELL: Duration = Duration::from_secs(10);
/// The interval at which the shutdown checks whether all clients have disconnected.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Serves `router` on `listeners` until `shutdown` completes; then accepts no more connections,
/// closes every connection and returns. A batch that runs at that moment runs to its end and its
/// replies are sent, unless it takes longer than 10 seconds, or 3 seconds if it is a script. Must be called on a runtime of tokio,
/// such as [`runtime()`] makes.
pub(crate) async fn serve(
    router: Arc<Router>,
    listeners: Vec<Bound>,
    shutdown: impl Future<Output = ()>,
) {
    let mut tasks = tokio::task::JoinSet::new();
    for listener in listeners {
        tasks.spawn(listener::accept_all(listener, Arc::clone(&router)));
    }
    tasks.spawn(cron::run(Arc::clone(&router)));
    tasks.spawn(fault_timer::run(Arc::clone(&router)));
    shutdown.await;
    tasks.shutdown().await;
    say_goodbye(&router).await;
}

/// Closes every connection: a closed one is dropped between two turns, never within one.
async fn say_goodbye(router: &Router) {
    let clients = &router.server.router().clients;
    clients.all().iter().for_each(|client| client.close());
    let all_left = async {
        while clients.count() > 0 {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    tokio::pin!(all_left);
    if tokio::time::timeout(SCRIPT_GRACE, &mut all_left).await.is_ok() {
        return;
    }
    router.server.running_scripts.end_older(Millis::MAX);
    if tokio::time::timeout(FAREWELL - SCRIPT_GRACE, all_left).await.is_err() {
        tracing::warn!(clients = clients.count(), "shutdown timed out; dropping running requests");
    }
}
