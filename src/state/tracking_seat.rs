//! A session's part in CLIENT TRACKING.

use super::Nodes;
use super::clients::{Client, TrackingMode};
use super::tracking::Tracking;
use std::sync::Arc;

/// A session's part in the tracking of its port, from the first time that it switches tracking on;
/// dropping it switches tracking off.
#[derive(Debug)]
pub(crate) struct TrackingSeat {
    nodes: Arc<Nodes>,
    client: Arc<Client>,
}

impl TrackingSeat {
    /// Makes a client known to the tracking of its port; tracking is off until
    /// [`TrackingSeat::switch_on`].
    #[must_use]
    pub(crate) fn new(nodes: &Arc<Nodes>, client: &Arc<Client>) -> Self {
        let seat = Self { nodes: Arc::clone(nodes), client: Arc::clone(client) };
        seat.tracking().enter(client);
        nodes.want_changes(true);
        seat
    }

    fn tracking(&self) -> &Tracking {
        &self.nodes.at(self.client.port).tracking
    }

    /// Switches tracking on, or to another mode and client to notify. Prefixes are added to those
    /// that there are.
    pub(crate) fn switch_on<'p>(
        &self,
        mode: TrackingMode,
        redirect: u64,
        prefixes: impl Iterator<Item = &'p [u8]>,
    ) {
        self.tracking().switch_on(&self.client, mode, redirect, prefixes);
    }

    /// Switches tracking off. What the client has read stays in the table.
    pub(crate) fn switch_off(&self) {
        self.tracking().switch_off(&self.client);
    }
}

impl Drop for TrackingSeat {
    fn drop(&mut self) {
        self.switch_off();
        self.tracking().leave(&self.client);
        self.nodes.want_changes(false);
    }
}
