//! Carries out orders that no client gives: those of scenarios, tests and faults that are due.

use super::Router;
use crate::command::cluster;
use crate::command::slotway::{self, ClusterAccess};
use crate::command::{Pace, Refusal};
use crate::faults::Order;
use crate::keyspace::{Keyspace, Millis};
use crate::shard::Turn;
use crate::topology::Port;

impl Router {
    /// Carries out an order; returns the id of the fault that it armed or, for CLEAR, how many it
    /// ended.
    ///
    /// # Errors
    /// The order is impossible; then nothing was changed.
    pub fn carry_out(
        &self,
        order: &Order,
        now: Millis,
        pace: &dyn Pace,
    ) -> Result<Option<u64>, Refusal> {
        self.with_cluster(now, pace, |access| slotway::apply(order, access))
    }

    /// Ends the faults that are over at `now`, takes the steps of a scenario that are due, and carries
    /// migrations of slots on.
    pub fn tend_faults(&self, now: Millis, pace: &dyn Pace) {
        self.with_cluster(now, pace, |access| {
            slotway::apply_due(access);
            cluster::advance_migrations(access);
        });
    }

    /// Lends the whole cluster to `work`: all shards are held meanwhile.
    fn with_cluster<R>(
        &self,
        now: Millis,
        pace: &dyn Pace,
        work: impl FnOnce(&mut ClusterAccess<'_, '_>) -> R,
    ) -> R {
        let turn = &Turn::new(self.batch_context(Port::Router, now), pace);
        let all: Vec<usize> = (0..self.shards.len()).collect();
        let mut held = self.hold_each(&all, turn);
        let version = self.topology.version();
        let mut shards: Vec<&mut Keyspace> =
            held.engines().map(|engine| &mut engine.keyspace).collect();
        let (server, shards) = (&self.server, &mut shards[..]);
        let result = work(&mut ClusterAccess { server, me: None, shards, now, pace });
        if self.topology.version() != version {
            self.apply_topology(&mut held.0, turn);
        }
        result
    }
}
