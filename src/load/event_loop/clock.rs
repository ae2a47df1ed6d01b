//! The clocks: wall time, and processor time of a thread and of the process.

use std::time::{Duration, Instant};

/// Returns the current time.
#[expect(clippy::disallowed_methods, reason = "the load generator reads the clock here only")]
pub(crate) fn clock() -> Instant {
    Instant::now()
}

/// Returns how long this thread has run on a processor, and how long it has waited for one.
pub(super) fn thread_times() -> (Duration, Duration) {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    let ran = Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0));
    // On Linux: time on a processor and time in the run queue, in nanoseconds.
    let schedstat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let waited = schedstat.split(' ').nth(1).and_then(|text| text.parse().ok()).unwrap_or(0);
    (ran, Duration::from_nanos(waited))
}

/// Returns how long this process has run on processors.
pub(crate) fn process_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}
