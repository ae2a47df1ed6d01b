//! The edge: listeners, connections, and what happens by the clock. All I/O is below here.
//!
//! ```text
//! listener ─ accept ─► a seat in the registry ─► Connection::serve, a task each
//! cron     ─ ten times a second ─► expired keys, idle clients, abandoned watches
//! keeper   ─ when it is time ─► the ends of faults, the steps of a scenario
//! ```

mod clock;
mod connection;
mod waits;
mod serve;
mod cron;
mod fault_timer;
mod listener;
mod builder;
mod worker;

pub(crate) use builder::{OpenError, Wanted};
pub(crate) use listener::Bound;

use crate::router::Router;
use std::sync::Arc;
use std::time::Duration;

/// The wall clock, in milliseconds since the epoch.
#[must_use]
pub(crate) fn now() -> crate::keyspace::Millis {
    clock::now()
}

/// How many nanoseconds a tick has of the clock that commands are measured with.
#[must_use]
pub(crate) fn tick_ns() -> f64 {
    clock::tick_ns()
}

/// How long what runs gets to finish when the server is told to stop.
const FAREWELL: Duration = Duration::from_secs(10);
/// How often to see whether everybody has left.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Serves `router` on `listeners` until `shutdown` completes; then accepts nothing more, closes
/// every connection and returns. A batch that runs at that moment runs to its end and its replies
/// are sent, unless it takes longer than 10 seconds. Must be called on tokio's multi-thread runtime.
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
    if tokio::time::timeout(FAREWELL, all_left).await.is_err() {
        tracing::warn!(clients = clients.count(), "leaving what still runs unfinished");
    }
}
