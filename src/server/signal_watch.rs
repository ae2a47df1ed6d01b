//! Ends scripts that keep the only thread of a runtime from noticing a signal.
//!
//! A thread of its own waits for the same signals as the runtime. What still runs a while after a
//! signal, and began before it, ends: also a script that has written, which SCRIPT KILL would not end.
//! What cannot be ended, a search for a pattern that takes for ever, ends with the process.

use super::clock;
use crate::keyspace::Millis;
use crate::state::ServerState;
use std::io;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

/// How long a script may go on after the first signal; a second one ends it at once.
pub(super) const SCRIPT_GRACE: Duration = Duration::from_secs(3);

/// Starts the thread. If the signals end the process, it ends it if the runtime does not.
///
/// # Errors
/// The system allows no handler of these signals, or no thread.
pub(crate) fn end_scripts_at_signals(
    server: &Arc<ServerState>,
    kinds: &[SignalKind],
    end_process: bool,
) -> io::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let (sender, mut signals) = mpsc::unbounded_channel();
    {
        let _entered = runtime.enter();
        for kind in kinds {
            let (mut stream, sender) = (signal(*kind)?, sender.clone());
            runtime.spawn(async move {
                while stream.recv().await.is_some() && sender.send(clock::now()).is_ok() {}
            });
        }
    }
    let server: Weak<ServerState> = Arc::downgrade(server);
    std::thread::Builder::new().name("slotway-signals".to_owned()).spawn(move || {
        runtime.block_on(async {
            while let Some(at) = signals.recv().await {
                // Ended by a second signal as well.
                let _second = tokio::time::timeout(SCRIPT_GRACE, signals.recv()).await;
                let Some(server) = server.upgrade() else { return };
                server.running_scripts.end_older(if end_process { Millis::MAX } else { at });
                drop(server);
                if end_process {
                    tokio::time::sleep(super::FAREWELL).await;
                    tracing::warn!("shutdown timed out; dropping running requests");
                    exit();
                }
            }
        });
    })?;
    Ok(())
}

/// Ends the process although the runtime's thread does not return.
#[expect(
    clippy::disallowed_methods,
    reason = "no destructor can run: the thread that would is lost"
)]
fn exit() -> ! {
    std::process::exit(0)
}
