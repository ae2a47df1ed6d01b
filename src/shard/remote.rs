//! A shard that does not run in this process: units go out, replies come in.

use super::context::BatchContext;
use super::outcome::Pending;
use crate::resp::Proto;
use crate::session::OwnedUnit;
use crate::state::clients::Client;
use std::fmt::Debug;
use std::sync::Arc;

/// Runs the units of a shard elsewhere. [`OwnedUnit::encode`] is what it sends.
pub trait RemoteShard: Debug + Send + Sync {
    /// Begins to run a unit; the replies, in the client's protocol, arrive later. If the connection
    /// is lost, nothing ever arrives: then the client's connection is closed.
    fn submit(
        &self,
        client: &Arc<Client>,
        unit: OwnedUnit,
        proto: Proto,
        batch: &BatchContext,
    ) -> Pending;
}
