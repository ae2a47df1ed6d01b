//! Reads all clocks: the wall clock for times that clients see, and the processor's time stamp
//! counter for the duration of commands, which costs a third of a system call.

use crate::keyspace::Millis;
use quanta::Clock;
use std::sync::LazyLock;
use std::time::{SystemTime, UNIX_EPOCH};

/// Returns the milliseconds since the epoch. A clock set before 1970 reads as 0.
#[expect(clippy::disallowed_methods, reason = "the rim: time enters here")]
pub(crate) fn now() -> Millis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    // Without numbers of 128 bits.
    let seconds = Millis::try_from(since.as_secs()).unwrap_or(Millis::MAX);
    seconds.saturating_mul(1000).saturating_add(since.subsec_millis().into())
}

/// Calibrated when first used, within a millisecond or so.
static COUNTER: LazyLock<Clock> = LazyLock::new(Clock::new);

/// Returns a count that grows steadily; [`tick_ns`] gives its rate.
#[inline]
pub(super) fn ticks() -> u64 {
    COUNTER.raw()
}

/// Returns how many nanoseconds a tick has.
pub(super) fn tick_ns() -> f64 {
    const MANY: u64 = 1 << 32;
    COUNTER.delta_as_nanos(0, MANY) as f64 / MANY as f64
}
