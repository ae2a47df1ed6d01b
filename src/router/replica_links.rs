//! Updates which shard replicates which after a change of the topology: replicas that lag have
//! shards of their own.
//!
//! ```text
//! topology                   the shards' links
//! R follows M         ──     R follows M        continues; pauses while M is down
//! R is a master       ──     R follows M        the rest is brought, or lost if that was by force
//! M follows R         ──     (no link)          M drops its keys, and copies all of R
//! ```
//!
//! The links are made to fit the new topology, whatever changed it.

use super::Router;
use crate::command::cluster::{end_lost_migrations, forget_lost_slots};
use crate::replication::ReplicationStream;
use crate::shard::{Engine, Hold, Turn};
use crate::state::ServerState;
use crate::state::clients::{Client, Ending};
use crate::topology::Port;
use std::sync::Arc;

impl Router {
    /// Applies a changed topology to replication, blocked clients and subscriptions to shard
    /// channels. To change it, all shards are held.
    pub(super) fn apply_topology(&self, holds: &mut [(usize, Hold<'_>)], turn: &Turn<'_>) {
        if holds.len() == self.shards.len() {
            let mut engines: Vec<_> = holds.iter_mut().map(|(_, hold)| hold.engine()).collect();
            link_replicas(&self.server, &mut engines);
        }
        end_lost_migrations(&self.server, turn.batch.now);
        forget_lost_slots(&self.server);
        for (_, hold) in holds {
            hold.engine().unblock_moved(self.dialect);
        }
        if !self.dialect.keeps_blocked {
            // Who waits for no key: WAIT.
            let is_demoted = |client: &Client| self.topology.is_replica(client.port);
            self.server.router().clients.unblock_each(is_demoted, &Ending::Demoted);
        }
        // A node whose slots went to another drops their channels, though as its replica it could
        // serve them.
        let new_roles = self.topology.take_new_roles();
        let drops_all = |port| match port {
            Port::Node(node) if new_roles.contains(&node) => {
                self.topology.is_replica(port) || self.dialect.promotion_unsubscribes
            }
            _ => false,
        };
        let serves = |port, slot| !drops_all(port) && self.topology.serves_channel(slot, port);
        let delivered = &mut |sleeper| turn.pace.delivered(sleeper);
        self.server.node(turn.batch.port).pubsub.unsubscribe_moved(
            serves,
            turn.batch.now,
            delivered,
        );
    }
}

/// Makes the links of all shards match the topology. The shards are held and in the order of their
/// numbers.
pub(super) fn link_replicas(server: &ServerState, engines: &mut [&mut Engine]) {
    let topology = &server.topology;
    if topology.replicas_share_shards() {
        return;
    }
    let wanted = topology.desired_replica_links();
    let leader_of =
        |shard| wanted.iter().find(|link| link.shard == shard).map(|link| link.master_shard);
    // Writes up to this moment belong to the old links.
    engines.iter_mut().for_each(|engine| engine.propagate());
    for shard in 0..engines.len() {
        let Some(feed) = engines[shard].source().map(Arc::clone) else { continue };
        if leader_of(shard) != Some(feed.from()) {
            engines[shard].unfollow(!topology.loses_backlog(shard));
            engines[feed.from()].drop_follower(&feed);
        }
    }
    let mut feeds: Vec<(usize, Arc<ReplicationStream>)> = Vec::with_capacity(wanted.len());
    for link in &wanted {
        let feed = match engines[link.shard].source() {
            Some(feed) => Arc::clone(feed),
            None => {
                let Ok([follower, leader]) =
                    engines.get_disjoint_mut([link.shard, link.master_shard])
                else {
                    continue;
                };
                follower.follow(leader, &server.router().settings.replica_lag())
            }
        };
        feed.set_up(link.is_up);
        feeds.push((link.shard, feed));
    }
    server.replication_streams.set(feeds);
}
