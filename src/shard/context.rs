//! The context of a whole batch of requests: read once, when the batch begins.

use crate::command::Pace;
use crate::dialect::Product;
use crate::faults::ArmedFaults;
use crate::keyspace::{Limits, Millis};
use crate::state::Instrumentation;
use crate::topology::Port;

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
#[derive(Clone, Copy)]
pub struct Turn<'t> {
    /// The context of the batch.
    pub batch: BatchContext,
    /// The faults that have to be looked up.
    pub armed: ArmedFaults,
    /// The runtime's side of the batch.
    pub pace: &'t dyn Pace,
}

impl<'t> Turn<'t> {
    /// Returns a turn without faults.
    #[must_use]
    pub fn new(batch: BatchContext, pace: &'t dyn Pace) -> Self {
        Self { batch, armed: ArmedFaults::default(), pace }
    }
}
