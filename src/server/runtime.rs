//! The runtime that serves: of one thread, or of several.
//!
//! One thread serves sockets in the order in which their input arrived, as Redis does: what is
//! written on one connection is read on another, even by a client that does not await the reply in
//! between. Two properties make that hold: tasks run first in, first out, and the kernel is asked
//! for more input only when no task is ready, so that no task which was woken by something else is
//! ahead of input that arrived earlier. (Tasks that yield wait for the kernel's next events.)
//!
//! Several threads take connections from each other, and each runs the task that was woken last
//! first: requests that are sent on different connections at the same time run in any order. A
//! runtime of its own for each of two threads was measured: no less CPU time per GET, and of 1,000
//! reads about 100 instead of 320 overtook the write before; but still any may, and no thread could
//! take over from a slow command.

use std::io;
use tokio::runtime::{Builder, Handle, Runtime, RuntimeFlavor};
use tokio::task::block_in_place;

/// Makes a runtime of so many threads. That of one thread runs on the thread that waits on it.
///
/// # Errors
/// The system does not allow it.
pub(crate) fn runtime(threads: usize, name: &str) -> io::Result<Runtime> {
    let mut builder = match threads {
        1 => Builder::new_current_thread(),
        _ => Builder::new_multi_thread(),
    };
    match threads {
        1 => builder.event_interval(u32::MAX),
        _ => builder.worker_threads(threads),
    };
    builder.thread_name(name).enable_all().build()
}

/// Returns whether another thread can take over the present runtime worker.
pub(super) fn has_several_threads() -> bool {
    Handle::try_current().is_ok_and(|it| it.runtime_flavor() == RuntimeFlavor::MultiThread)
}

/// Runs work that may take long; other threads of the runtime, if there are any, go on meanwhile.
pub(super) fn aside<T>(work: impl FnOnce() -> T) -> T {
    if has_several_threads() { block_in_place(work) } else { work() }
}
