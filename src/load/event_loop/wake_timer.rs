//! A timer that wakes the poll at an exact time.

use super::TIMER;
use crate::load::script::Nanos;
use mio::{Interest, Registry};
use std::io;
use std::time::Duration;

/// Wakes the poll at a given time. The timeout of poll is in milliseconds, the schedule of an open
/// loop in microseconds.
pub(super) struct WakeTimer {
    #[cfg(target_os = "linux")]
    timer: std::os::fd::OwnedFd,
    pub(super) set_for: Option<Nanos>,
}

impl WakeTimer {
    #[cfg(target_os = "linux")]
    pub(super) fn new(registry: &Registry) -> io::Result<Self> {
        use rustix::time::{TimerfdClockId, TimerfdFlags, timerfd_create};
        use std::os::fd::AsRawFd;
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        let raw = timer.as_raw_fd();
        registry.register(&mut mio::unix::SourceFd(&raw), TIMER, Interest::READABLE)?;
        Ok(Self { timer, set_for: None })
    }

    #[cfg(not(target_os = "linux"))]
    pub(super) fn new(_registry: &Registry) -> io::Result<Self> {
        Ok(Self { set_for: None })
    }

    /// Sets the timer. Returns the timeout with which poll wakes up at `due`.
    #[cfg(target_os = "linux")]
    pub(super) fn set(&mut self, due: Nanos, now: Nanos) -> io::Result<Duration> {
        use rustix::time::{Itimerspec, TimerfdTimerFlags, Timespec, timerfd_settime};
        if due <= now {
            return Ok(Duration::ZERO);
        }
        if self.set_for.is_none_or(|set_for| set_for <= now || set_for > due) {
            let wait = due - now;
            let time = Timespec {
                tv_sec: (wait / 1_000_000_000) as i64,
                tv_nsec: (wait % 1_000_000_000) as _,
            };
            let once =
                Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: time };
            timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once)?;
            self.set_for = Some(due);
        }
        // The timer wakes the poll; the timeout is for a timer that was set earlier and has fired.
        Ok(Duration::from_nanos(due - now) + Duration::from_millis(1))
    }

    /// Without timerfd, poll sleeps whole milliseconds and the loop spins for the rest.
    #[cfg(not(target_os = "linux"))]
    pub(super) fn set(&mut self, due: Nanos, now: Nanos) -> io::Result<Duration> {
        self.set_for = Some(due);
        Ok(Duration::from_millis(due.saturating_sub(now) / 1_000_000))
    }
}
