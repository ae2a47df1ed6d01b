//! Ctrl-C while a check reads: the first one stops reading, and the report covers what was read;
//! the second one ends the program.
//!
//! In `redis-cli monitor | slotway check -` both processes get the signal: redis-cli ends, and with
//! it the input, so that a read from stdin need not be interrupted.

use super::super::Failure;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::signal::unix::{SignalKind, signal};

/// Exit code after the second Ctrl-C.
const EXIT_INTERRUPTED: u8 = 130;

/// Runs `work` on a thread of its own. Ctrl-C sets its flag; it then returns what it has so far.
pub(super) fn watched<T: Send + 'static>(
    work: impl FnOnce(&AtomicBool) -> T + Send + 'static,
) -> Result<T, Failure> {
    let cannot = |error| Failure::machine(format!("cannot start the reading thread: {error}"));
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(cannot)?;
    let stop = Arc::new(AtomicBool::new(false));
    let (sender, mut done) = tokio::sync::oneshot::channel();
    let flag = Arc::clone(&stop);
    let begun = runtime.block_on(async {
        // The handler is installed before the work begins.
        signal(SignalKind::interrupt())
    });
    let mut interrupt = begun.map_err(cannot)?;
    std::thread::Builder::new()
        .name("slotway-check".to_owned())
        .spawn(move || {
            // The receiver is gone after the second Ctrl-C.
            let _ = sender.send(work(&flag));
        })
        .map_err(cannot)?;
    runtime.block_on(async {
        loop {
            tokio::select! {
                outcome = &mut done => return outcome.map_err(|_| {
                    Failure::machine("the reading thread ended without a result: a bug, please report it")
                }),
                _ = interrupt.recv() => {
                    if stop.swap(true, Ordering::Relaxed) {
                        return Err(Failure {
                            message: "interrupted twice: ended without a report".to_owned(),
                            code: EXIT_INTERRUPTED,
                        });
                    }
                }
            }
        }
    })
}
