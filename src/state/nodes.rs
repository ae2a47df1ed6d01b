//! The states of all ports, and where the keyspace events of a shard go.
//!
//! ```text
//! shard ─ events ─► its master's clients, as they are      ┐ those of each port whose
//!                 ─► its replicas' clients, as replicated  ├ notify-keyspace-events
//!                 ─► the router port's clients, as they are ┘ selects them
//!       ─ changed keys ─► the clients that track keys: the router port's, and those of the nodes that
//!                         serve from the shard
//! ```

use super::NodeState;
use crate::keyspace::{Event, EventClass, Millis, event};
use crate::slot::Slot;
use crate::state::pubsub::OnDelivery;
use crate::state::settings::SetError;
use crate::state::tracking::{Origin, Tracking};
use crate::topology::{KeyHolder, NodeNumber, Port, Topology};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// The states of the router port and of all nodes.
#[derive(Debug)]
pub struct Nodes {
    /// By [`Port::index`].
    all: Box<[Arc<NodeState>]>,
    topology: Arc<Topology>,
    /// Whether any port wants keyspace events.
    wants_events: AtomicBool,
    /// How many want what happens to keys: the sessions that have switched tracking on, and one more
    /// while keyspace events are on.
    wanting: AtomicUsize,
    /// Keys have changed that clients in broadcast mode were not notified of, or more keys may be
    /// remembered than should be.
    tracking_is_due: AtomicBool,
}

impl Nodes {
    /// Puts together the states of the router port and of all nodes, in the order of
    /// [`Port::index`].
    #[must_use]
    pub(super) fn new(all: Box<[Arc<NodeState>]>, topology: Arc<Topology>) -> Self {
        let (wants_events, tracking_is_due) = (AtomicBool::new(false), AtomicBool::new(false));
        let wanting = AtomicUsize::new(0);
        let nodes = Self { all, topology, wants_events, wanting, tracking_is_due };
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
        // There may be a lower limit.
        self.tracking_is_due.store(true, Ordering::Release);
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
        if self.wants_events.swap(wanted, Ordering::AcqRel) != wanted {
            self.want_changes(wanted);
        }
    }

    /// Counts one more, or one less, who wants what happens to keys.
    pub(super) fn want_changes(&self, wants: bool) {
        match wants {
            true => self.wanting.fetch_add(1, Ordering::AcqRel),
            false => self.wanting.fetch_sub(1, Ordering::AcqRel),
        };
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
    /// follow it, by clients that track keys.
    #[must_use]
    #[inline]
    pub fn events_wanted(&self, shard: Option<usize>) -> EventClass {
        if self.wanting.load(Ordering::Relaxed) == 0 { 0 } else { self.all_wanted(shard) }
    }

    #[cold]
    fn all_wanted(&self, shard: Option<usize>) -> EventClass {
        let is_published = self.wants_events.load(Ordering::Relaxed);
        let published = if is_published { self.events_wanted_by_any(shard) } else { 0 };
        let seats = self.wanting.load(Ordering::Relaxed) > usize::from(is_published);
        // A key that changes while its slot is lent is noted at home.
        published | if seats && shard.is_some() { event::CHANGED } else { 0 }
    }

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
    /// clients of the ports that want them. Returns the events that replicas publish which lag.
    pub fn publish_events(
        &self,
        shard: Option<usize>,
        events: Vec<Event>,
        origin: Origin,
        now: Millis,
        delivered: OnDelivery<'_>,
    ) -> Vec<Event> {
        let mut for_lagging = Vec::new();
        let (mut audience, mut trackers) = (None, None);
        for event in events {
            if event.class == event::CHANGED {
                let Some(shard) = shard else { continue };
                let trackers = trackers.get_or_insert_with(|| self.trackers(shard));
                for tracking in trackers {
                    if event.name == event::EMPTIED {
                        tracking.note_emptied(now, delivered);
                    } else if tracking.note_change(&event.key, origin, now, delivered) {
                        self.tracking_is_due.store(true, Ordering::Release);
                    }
                }
                continue;
            }
            if audience.is_none() {
                audience = shard.map(|shard| self.audience(shard));
            }
            if shard.is_none() {
                audience = Some(self.audience(self.topology.shard_of(Slot::of(&event.key))));
            }
            let Some(audience) = &audience else { continue };
            let database = shard.map_or(0, |shard| self.topology.database_of_shard(shard));
            self.publish_event(&event, audience, (database, origin.port), now, delivered);
            if audience.lagging {
                for_lagging.extend(event.on_replica());
            }
        }
        for_lagging
    }

    /// Notifies the clients that track keys of these shards that any key may have changed.
    pub fn note_emptied(&self, shards: &[usize], now: Millis, delivered: OnDelivery<'_>) {
        let mut notified = BTreeSet::new();
        for tracking in shards.iter().flat_map(|&shard| self.trackers(shard)) {
            if notified.insert(tracking.port().index()) {
                tracking.note_emptied(now, delivered);
            }
        }
    }

    /// Returns whether there is something for [`Nodes::settle_tracking`].
    #[must_use]
    #[inline]
    pub fn tracking_is_due(&self) -> bool {
        self.tracking_is_due.load(Ordering::Relaxed)
    }

    /// Notifies the clients that track prefixes of the keys that have changed, and keeps the tables of
    /// keys within their limits: at the end of a turn, before its replies are sent.
    pub fn settle_tracking(&self, now: Millis, delivered: OnDelivery<'_>) {
        if !self.tracking_is_due.swap(false, Ordering::AcqRel) {
            return;
        }
        for NodeState { tracking, settings, .. } in self.all.iter().map(|state| &**state) {
            if tracking.settle(settings.tracked_keys_max(), now, delivered) {
                self.tracking_is_due.store(true, Ordering::Release);
            }
        }
    }

    /// Remembers that the client of this number of `port` has read the keys that `each_key` names.
    pub fn remember_read(
        &self,
        port: Port,
        each_key: impl FnOnce(&mut dyn FnMut(&[u8])),
        reader: u32,
        now: Millis,
        delivered: OnDelivery<'_>,
    ) {
        let NodeState { tracking, settings, .. } = &**self.at(port);
        if tracking.remember(each_key, reader, settings.tracked_keys_max(), now, delivered) {
            self.tracking_is_due.store(true, Ordering::Release);
        }
    }

    /// Returns the trackings of the ports whose clients see the keys of a shard.
    fn trackers(&self, shard: usize) -> Vec<&Tracking> {
        let holders = self.topology.nodes_with_keys_of(shard);
        let serves = |it: &&KeyHolder| !it.lags;
        // The router port does not read from replicas that lag.
        let is_routed = self.topology.database_of_shard(shard) > 0
            || holders.iter().filter(serves).any(|it| !it.is_replica);
        let router = is_routed.then_some(Port::Router);
        let nodes = holders.iter().filter(serves).map(|it| Port::Node(it.node));
        let all = router.into_iter().chain(nodes).map(|port| &*self.at(port).tracking);
        all.filter(|tracking| tracking.is_in_use()).collect()
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
