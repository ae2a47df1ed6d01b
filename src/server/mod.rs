//! The edge: listeners, connections, and what happens by the clock. All I/O is below here.
//!
//! ```text
//! listener ─ accept ─► a seat in the registry ─► Connection::serve, a task each
//! cron     ─ ten times a second ─► expired keys, idle clients, abandoned watches
//! ```

mod clock;
mod connection;
mod cron;
mod listener;
mod pace;

pub use listener::{BACKLOG, Bound, bind};

use crate::router::Router;
use std::sync::Arc;

/// The wall clock, in milliseconds since the epoch.
#[must_use]
pub fn now() -> crate::keyspace::Millis {
    clock::now()
}

/// Serves `router` on `listeners` until `shutdown` completes; then accepts nothing more and
/// returns. What runs at that moment runs to its end when the runtime is dropped. Must be called
/// on tokio's multi-thread runtime.
pub async fn serve(router: Arc<Router>, listeners: Vec<Bound>, shutdown: impl Future<Output = ()>) {
    let mut tasks = tokio::task::JoinSet::new();
    for listener in listeners {
        tasks.spawn(listener::accept_all(listener, Arc::clone(&router)));
    }
    tasks.spawn(cron::run(Arc::clone(&router)));
    shutdown.await;
    tasks.shutdown().await;
}
