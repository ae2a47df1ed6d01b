//! Ctrl-C while a check reads: the first one ends the reading, and what was read is reported; the
//! second one ends the program.
//!
//! Of `redis-cli monitor | slotway check -` both get the signal: redis-cli ends, and with it the
//! input, so that stdin needs no more than that the signal be survived.

use super::super::Failure;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::signal::unix::{SignalKind, signal};

/// Exit code of a program that was interrupted and could not finish.
const EXIT_INTERRUPTED: u8 = 130;

/// Does `work` on a thread of its own. It is told when it is to end, and gives what it has.
pub(super) fn watched<T: Send + 'static>(
    work: impl FnOnce(&AtomicBool) -> T + Send + 'static,
) -> Result<T, Failure> {
    let cannot = |error| Failure::machine(format!("cannot watch the reading: {error}"));
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(cannot)?;
    let stop = Arc::new(AtomicBool::new(false));
    let (say, mut done) = tokio::sync::oneshot::channel();
    let told = Arc::clone(&stop);
    let begun = runtime.block_on(async {
        // Signals are caught from here on, before the work begins.
        signal(SignalKind::interrupt())
    });
    let mut interrupt = begun.map_err(cannot)?;
    std::thread::Builder::new()
        .name("slotway-check".to_owned())
        .spawn(move || {
            // Nobody listens any more if the program was told to end.
            let _ = say.send(work(&told));
        })
        .map_err(cannot)?;
    runtime.block_on(async {
        loop {
            tokio::select! {
                outcome = &mut done => return outcome.map_err(|_| {
                    Failure::machine("the reading ended without a result: a bug, please report it")
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
