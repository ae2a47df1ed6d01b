//! The states of all ports, and where the keyspace events of a shard go.
//!
//! ```text
//! shard ─ events ─► its master's clients, as they are      ┐ those of each port whose
//!                 ─► its replicas' clients, as replicated  ├ notify-keyspace-events
//!                 ─► the router port's clients, as they are ┘ selects them
//! ```

use super::NodeState;
use crate::keyspace::{Event, EventClass, Millis, event};
use crate::slot::Slot;
use crate::state::pubsub::OnDelivery;
use crate::state::settings::SetError;
use crate::topology::{KeyHolder, NodeNumber, Port, Topology};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The states of the router port and of all nodes.
#[derive(Debug)]
pub struct Nodes {
    /// By [`Port::index`].
    all: Box<[Arc<NodeState>]>,
    topology: Arc<Topology>,
    /// Whether any port wants keyspace events.
    wants_events: AtomicBool,
}

impl Nodes {
    /// Puts together the states of the router port and of all nodes, in the order of
    /// [`Port::index`].
    #[must_use]
    pub(super) fn new(all: Box<[Arc<NodeState>]>, topology: Arc<Topology>) -> Self {
        let nodes = Self { all, topology, wants_events: AtomicBool::new(false) };
        nodes.apply_settings();
        nodes
    }

    /// Returns the state of the server that clients of `port` speak to.
    #[must_use]
    #[inline]
    pub fn at(&self, port: Port) -> &Arc<NodeState> {
        &self.all[port.index()]
    }

    /// Returns the states of the ports that `port` covers, its own first.
    #[must_use]
    pub fn covered(&self, port: Port) -> &[Arc<NodeState>] {
        match port {
            Port::Router => &self.all,
            Port::Node(_) => std::slice::from_ref(self.at(port)),
        }
    }

    /// Sets parameters of a port, all or none; those of the router port reach all nodes, but for
    /// those that are each port's own.
    ///
    /// # Errors
    /// As [`Settings::set`].
    pub fn set(&self, port: Port, pairs: &[(&[u8], &[u8])]) -> Result<(), SetError> {
        let chosen = self.at(port);
        chosen.settings.set(pairs)?;
        for node in &self.covered(port)[1..] {
            pairs.iter().for_each(|(name, _)| node.settings.adopt(&chosen.settings, name));
        }
        self.apply_settings();
        Ok(())
    }

    /// Applies those settings that are kept elsewhere too.
    fn apply_settings(&self) {
        for state in &self.all {
            if let Port::Node(node) = state.port {
                self.topology.set_down_rules(node, state.settings.down_rules());
            }
        }
        let wanted = self.all.iter().any(|state| state.settings.events_wanted() != 0);
        self.wants_events.store(wanted, Ordering::Relaxed);
    }

    /// Returns the shards, of so many, whose data are not to change at `now` by themselves: at their
    /// master, or, for a database above 0, at the router port, CLIENT PAUSE is on or DEBUG
    /// SET-ACTIVE-EXPIRE off.
    #[must_use]
    pub fn resting_shards(&self, shards: usize, now: Millis) -> BTreeSet<usize> {
        let rests = |port| {
            let state = self.at(port);
            state.pause.at(now).is_some() || !state.expires_keys.load(Ordering::Relaxed)
        };
        if !self.all.iter().any(|state| rests(state.port)) {
            return BTreeSet::new();
        }
        let resting = |&shard: &usize| {
            let holders = self.topology.nodes_with_keys_of(shard);
            match self.topology.database_of_shard(shard) {
                0 => holders.iter().any(|it| !it.is_replica && rests(Port::Node(it.node))),
                _ => rests(Port::Router),
            }
        };
        (0..shards).filter(resting).collect()
    }

    /// Returns the classes of keyspace events that are wanted of a shard, `None` for one that runs
    /// commands over several: by the router port, by the nodes that serve from it, by replicas that
    /// follow it.
    #[must_use]
    #[inline]
    pub fn events_wanted(&self, shard: Option<usize>) -> EventClass {
        if self.wants_events.load(Ordering::Relaxed) { self.events_wanted_by_any(shard) } else { 0 }
    }

    #[cold]
    fn events_wanted_by_any(&self, shard: Option<usize>) -> EventClass {
        let wanted = |port: Port| self.at(port).settings.events_wanted();
        let Some(shard) = shard else {
            return self.all.iter().fold(0, |all, state| all | wanted(state.port)) | event::ANY;
        };
        let nodes = self.topology.nodes_with_keys_of(shard).into_iter();
        let of_node = |KeyHolder { node, is_replica, .. }| match wanted(Port::Node(node)) {
            // A replica's event may have had another class with its master.
            classes if classes != 0 && is_replica => classes | event::ANY,
            classes => classes,
        };
        nodes.map(of_node).fold(wanted(Port::Router), |all, classes| all | classes)
    }

    /// Publishes the events of a shard, `None` for one that runs commands over several, to the
    /// clients of the ports that want them. Commands of `reader` have read keys that do not exist.
    /// Returns those that replicas publish which lag.
    pub fn publish_events(
        &self,
        shard: Option<usize>,
        events: Vec<Event>,
        reader: Port,
        now: Millis,
        delivered: OnDelivery<'_>,
    ) -> Vec<Event> {
        let mut for_lagging = Vec::new();
        let mut audience = shard.map(|shard| self.audience(shard));
        for event in events {
            if shard.is_none() {
                audience = Some(self.audience(self.topology.shard_of(Slot::of(&event.key))));
            }
            let Some(audience) = &audience else { continue };
            let database = shard.map_or(0, |shard| self.topology.database_of_shard(shard));
            self.publish_event(&event, audience, (database, reader), now, delivered);
            if audience.lagging {
                for_lagging.extend(event.on_replica());
            }
        }
        for_lagging
    }

    fn publish_event(
        &self,
        event: &Event,
        audience: &Audience,
        (database, reader): (usize, Port),
        now: Millis,
        delivered: OnDelivery<'_>,
    ) {
        let pubsub = &self.at(Port::Router).pubsub;
        let is_miss = event.class == event::MISS;
        pubsub.publish_event(event, database, now, delivered, |port, class| {
            self.wants(port, class)
                && match port {
                    Port::Router => true,
                    // A miss belongs to the node that was asked.
                    Port::Node(_) if is_miss && reader != Port::Router => port == reader,
                    Port::Node(node) => audience.masters.contains(&node),
                }
        });
        if audience.replicas.is_empty() {
            return;
        }
        for replicated in event.on_replica() {
            pubsub.publish_event(&replicated, database, now, delivered, |port, class| {
                matches!(port, Port::Node(node) if audience.replicas.contains(&node))
                    && self.wants(port, class)
            });
        }
    }

    /// Returns the nodes that publish a shard's events.
    fn audience(&self, shard: usize) -> Audience {
        let mut audience = Audience::default();
        for KeyHolder { node, is_replica, lags } in self.topology.nodes_with_keys_of(shard) {
            let wants = self.at(Port::Node(node)).settings.events_wanted() != 0;
            match (wants, lags, is_replica) {
                (false, ..) => {}
                (true, true, _) => audience.lagging = true,
                (true, false, true) => audience.replicas.push(node),
                (true, false, false) => audience.masters.push(node),
            }
        }
        audience
    }

    /// Returns whether all of these bits are in the port's `notify-keyspace-events`.
    fn wants(&self, port: Port, class: EventClass) -> bool {
        self.at(port).settings.events_wanted() & class == class
    }
}

/// The nodes whose clients may want a shard's events.
#[derive(Debug, Default)]
struct Audience {
    masters: Vec<NodeNumber>,
    /// Those that serve from the shard.
    replicas: Vec<NodeNumber>,
    /// Whether there are replicas that follow the shard with a lag.
    lagging: bool,
}
