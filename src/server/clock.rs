//! The one place that reads clocks: the wall clock for what is told, and for how long commands take
//! the processor's time stamp counter, which costs a third of asking the system.

use crate::keyspace::Millis;
use quanta::Clock;
use std::sync::LazyLock;
use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since the epoch. A clock set before 1970 reads as 0.
#[expect(clippy::disallowed_methods, reason = "the rim: time enters here")]
pub(crate) fn now() -> Millis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Millis::try_from(since.as_millis()).unwrap_or(Millis::MAX)
}

/// Calibrated when first used, within a millisecond or so.
static COUNTER: LazyLock<Clock> = LazyLock::new(Clock::new);

/// A count that grows steadily; [`tick_ns`] says how fast.
#[inline]
pub(super) fn ticks() -> u64 {
    COUNTER.raw()
}

/// How many nanoseconds a tick has.
pub(super) fn tick_ns() -> f64 {
    const MANY: u64 = 1 << 32;
    COUNTER.delta_as_nanos(0, MANY) as f64 / MANY as f64
}
