//! What holds for a whole batch of requests: read once, when the batch begins.

use crate::keyspace::{EventClass, Limits, Millis};
use crate::state::Instrumentation;
use crate::topology::Port;

/// The time, the settings and the port of a batch.
#[derive(Clone, Copy, Debug)]
pub struct BatchContext {
    /// The time, in milliseconds since the epoch: read once per batch.
    pub now: Millis,
    /// Longest string that a command may make, in bytes (`proto-max-bulk-len`).
    pub string_len_max: u64,
    /// Up to where collections keep their small encodings.
    pub limits: Limits,
    /// The classes of keyspace events that are to be published.
    pub events_wanted: EventClass,
    /// Keys that are used keep their access times (`CLIENT NO-TOUCH`).
    pub no_touch: bool,
    /// What is recorded of the commands.
    pub instrumentation: Instrumentation,
    /// The port that the batch came in at.
    pub port: Port,
}
