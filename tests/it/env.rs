//! The one place where the tests look at the clock and the environment.
#![expect(clippy::disallowed_methods, reason = "this is the rim of the tests")]

use std::time::{Duration, Instant};

use crate::wire::PATIENCE;

/// A setting for a test run, from the environment.
pub(crate) fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Stands still: a server of ours that is to be slow.
pub(crate) fn rest(time: Duration) {
    std::thread::sleep(time);
}

/// Asks until there is an answer, for as long as the tests have patience.
pub(crate) fn poll<T>(mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let started = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return Some(answer);
        }
        if started.elapsed() > PATIENCE {
            return None;
        }
        // Between two questions, so that asking is not all that the other side does.
        std::thread::sleep(Duration::from_millis(2));
    }
}
