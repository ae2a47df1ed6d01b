//! The context of a whole batch of requests: read once, when the batch begins.

use crate::command::Pace;
use crate::dialect::Product;
use crate::faults::ArmedFaults;
use crate::keyspace::{Limits, Millis};
use crate::state::Instrumentation;
use crate::topology::Port;
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

/// The time, the settings and the port of a batch.
#[derive(Clone, Copy, Debug)]
pub struct BatchContext {
    /// The time, in milliseconds since the epoch: read once per batch.
    pub now: Millis,
    /// Longest string that a command may make, in bytes (`proto-max-bulk-len`).
    pub string_len_max: u64,
    /// The limits of the small encodings of collections.
    pub limits: Limits,
    /// Whether keys that are used keep their access times (`CLIENT NO-TOUCH`).
    pub no_touch: bool,
    /// What is recorded of the commands.
    pub instrumentation: Instrumentation,
    /// The port that the batch was received at.
    pub port: Port,
    /// The server whose replies that port gives.
    pub product: &'static Product,
}

/// The state that the requests of one turn of a connection share. A [`super::Hold`] keeps a
/// reference to it.
#[derive(Clone)]
pub struct Turn<'t> {
    /// The context of the batch.
    pub batch: BatchContext,
    /// The faults that have to be looked up.
    pub armed: ArmedFaults,
    /// The runtime's side of the batch.
    pub pace: &'t dyn Pace,
    /// The versions of the settings that the batch's context was read from.
    pub settings: Cell<(u64, u64)>,
    /// Which turn this is; 0 if shards have to be prepared each time that they are held.
    number: Cell<u64>,
    /// The tick at which the last command ended, if the next one begins at once; else 0.
    pub(super) lap: Cell<u64>,
}

impl<'t> Turn<'t> {
    /// Returns a turn without faults.
    #[must_use]
    pub fn new(batch: BatchContext, pace: &'t dyn Pace) -> Self {
        Self::numbered(0, batch, ArmedFaults::default(), pace)
    }

    /// Returns the turn of this number: a shard that it holds again is prepared already, if no other
    /// turn held it in between.
    #[must_use]
    pub fn numbered(
        number: u64,
        batch: BatchContext,
        armed: ArmedFaults,
        pace: &'t dyn Pace,
    ) -> Self {
        Self {
            batch,
            armed,
            pace,
            number: Cell::new(number),
            lap: Cell::new(0),
            settings: Cell::default(),
        }
    }

    /// Has shards prepared anew from now: settings may have changed, or what was set in a shard.
    pub fn forget(&self) {
        self.number.set(0);
    }

    /// Sets the time of the next command apart from that of the last.
    pub fn reset_timer(&self) {
        self.lap.set(0);
    }

    /// Returns the number, if shards that it has prepared may be held as they are.
    #[inline]
    pub(super) fn number(&self) -> u64 {
        self.number.get()
    }
}

/// The turns that were begun with the buffers of this thread.
#[derive(Debug)]
pub(crate) struct TurnNumbers(u64);

/// The bits of a number that count the turns of a thread; the others are the thread's.
const TURN_BITS: u32 = 44;
static THREADS: AtomicU64 = AtomicU64::new(0);

impl Default for TurnNumbers {
    fn default() -> Self {
        Self(THREADS.fetch_add(1, Ordering::Relaxed) << TURN_BITS)
    }
}

impl TurnNumbers {
    /// Returns a number that no other turn has.
    #[inline]
    pub(crate) fn next(&mut self) -> u64 {
        self.0 += 1;
        self.0
    }
}
