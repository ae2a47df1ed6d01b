//! Runs faults by the clock: undoes each one as soon as it is over, and does each step of a
//! scenario as soon as it is due.

use super::clock;
use super::worker::WorkerPace;
use crate::keyspace::Millis;
use crate::router::Router;
use std::sync::Arc;
use std::time::Duration;

/// Runs until it is dropped.
pub(super) async fn run(router: Arc<Router>) {
    let faults = &router.server.faults;
    loop {
        let next = faults.next_due();
        tokio::select! {
            () = at(next) => router.tend_faults(clock::now(), &WorkerPace::default()),
            () = faults.due_changed(next) => {}
        }
    }
}

/// Completes at that time, or never if `None`.
async fn at(time: Option<Millis>) {
    match time {
        None => std::future::pending().await,
        Some(time) => {
            let ms = (time - clock::now()).max(0).unsigned_abs();
            tokio::time::sleep(Duration::from_millis(ms)).await;
        }
    }
}
