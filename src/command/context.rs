//! What a command function works on: [`Cx`] for one of a shard, [`ServerCx`] for one of the
//! process.

use super::{Invocation, KeySlots, KnownKey, Outcome, Pace, Refusal};
use crate::dialect::Product;
use crate::keyspace::{Key, Keyspace, Millis, Text, Value, event};
use crate::replication::ReplicaWait;
use crate::resp::Sink;
use crate::slot::Slot;
use crate::state::clients::Client;
use crate::state::tracking::Origin;
use crate::state::{CommandStats, NodeState, ServerState};
use crate::topology::Port;
use std::sync::Arc;

/// What a command sees of its shard.
pub struct Cx<'a> {
    /// The shard's keys; its time is the batch's.
    pub keyspace: &'a mut Keyspace,
    /// The request.
    pub invocation: &'a Invocation<'a>,
    /// The slots of its keys, if there are several.
    pub slots: Option<&'a KeySlots<'a>>,
    /// Longest string that a command may make (`proto-max-bulk-len`), in bytes.
    pub string_len_max: u64,
    /// Called during long work.
    pub pace: &'a dyn Pace,
    /// The key that has woken this blocked command: the only one that it may take from now.
    pub ready: Option<&'a [u8]>,
    /// Whether this keyspace also holds the keys that the command reads without naming them.
    pub sees_all: bool,
    /// The server whose replies the client gets.
    pub product: &'static Product,
    /// Whether a script runs the command.
    pub in_script: bool,
}

impl<'a> Cx<'a> {
    /// Whether a blocking command may take from `key`: from any of its keys when it first runs, and
    /// only from the one that has woken it when it runs again.
    #[must_use]
    pub fn may_take_from(&self, key: &[u8]) -> bool {
        self.ready.is_none_or(|ready| ready == key)
    }

    /// Returns the slot of all keys of the request; `None` if they may be in several.
    #[must_use]
    pub fn slot(&self) -> Option<Slot> {
        self.invocation.slot()
    }

    /// Returns a key of the request as the keyspace takes it, with its slot and hash.
    #[must_use]
    #[inline]
    pub fn key<'k>(&self, bytes: &'k [u8]) -> Key<'k>
    where
        'a: 'k,
    {
        if let Some(KnownKey { key, .. }) = &self.invocation.known
            && std::ptr::eq(key.bytes, bytes)
        {
            return *key;
        }
        self.unknown_key(bytes)
    }

    fn unknown_key<'k>(&self, bytes: &'k [u8]) -> Key<'k> {
        let slot = match (self.slot(), self.slots) {
            (Some(slot), _) => slot,
            (None, Some(slots)) => slots.slot_of(bytes),
            (None, None) => Slot::of(bytes),
        };
        self.keyspace.key(slot, bytes)
    }

    /// The time of this batch, in milliseconds since the epoch.
    #[must_use]
    pub fn now(&self) -> Millis {
        self.keyspace.now()
    }

    /// Reads the string at `key` and counts a hit or a miss.
    ///
    /// # Errors
    /// WRONGTYPE if the key holds another type.
    pub fn text(&mut self, key: Key<'_>) -> Result<Option<Text<'_>>, Refusal> {
        let Some(value) = self.keyspace.read(key) else { return Ok(None) };
        value.as_text().map(Some).ok_or(Refusal::WRONG_TYPE)
    }

    /// Writes the string at `key`, or null, as the reply; counts a hit or a miss.
    ///
    /// # Errors
    /// WRONGTYPE if the key holds another type.
    #[inline]
    pub fn answer_text(&mut self, key: Key<'_>, out: &mut Sink<'_>) -> Outcome {
        match self.keyspace.read_whole(&key) {
            Some(Value::Str(bytes)) => {
                out.bulk(bytes);
                Ok(())
            }
            Some(value) => write_text(value, out),
            None => self.answer_other(key, out),
        }
    }

    #[inline(never)]
    fn answer_other(&mut self, key: Key<'_>, out: &mut Sink<'_>) -> Outcome {
        match self.keyspace.read(key) {
            Some(value) => write_text(value, out),
            None => {
                out.null();
                Ok(())
            }
        }
    }

    /// Publishes the event of a key that is gone because it was given an expiry in the past.
    pub fn note_past_expiry(&mut self, key: Key<'_>) {
        match self.product.expires_at_once {
            true => self.keyspace.note_expired(key.bytes),
            false => self.keyspace.notify_event(event::GENERIC, "del", key.bytes),
        }
    }

    /// Reads the value at `key` and counts a hit or a miss.
    pub fn value(&mut self, key: Key<'_>) -> Option<&Value> {
        self.keyspace.read(key)
    }
}

/// Writes a string.
///
/// # Errors
/// WRONGTYPE for another type.
#[inline(never)]
fn write_text(value: &Value, out: &mut Sink<'_>) -> Outcome {
    match value {
        Value::Str(bytes) => out.bulk(bytes),
        Value::Int(value) => out.bulk_int(*value),
        value => out.bulk(&value.as_text().ok_or(Refusal::WRONG_TYPE)?),
    }
    Ok(())
}

/// What a command sees that acts on the process, or on all shards in view.
pub struct ServerCx<'a> {
    /// The process: settings, clients, counters.
    pub server: &'a ServerState,
    /// What belongs to the node that the client speaks to.
    pub node: &'a NodeState,
    /// The client that has sent the command.
    pub me: &'a Arc<Client>,
    /// The port that it has connected to.
    pub port: Port,
    /// The server whose replies it gets.
    pub product: &'static Product,
    /// For [`Run::Cluster`](super::Run::Cluster): every shard in view of the port, held, in
    /// ascending order. For [`Run::Whole`](super::Run::Whole): every shard of the process. Else
    /// empty.
    pub shards: Vec<&'a mut Keyspace>,
    /// The numbers of these shards.
    pub view: Vec<usize>,
    /// The command statistics of each of them.
    pub tallies: Vec<&'a mut CommandStats>,
    /// The time of this batch, in milliseconds since the epoch.
    pub now: Millis,
    /// Called during long work.
    pub pace: &'a dyn Pace,
    /// Set by a command that has to wait for replicas: the reply is then the number of replicas
    /// that are up to date when the wait ends.
    pub replica_wait: Option<ReplicaWait>,
}

impl ServerCx<'_> {
    /// The port that the client has connected to, as the server listens on it.
    pub(super) fn own_port(&self) -> u16 {
        match self.port {
            Port::Router => self.server.identity.port,
            Port::Node(node) => self.server.topology.port_of(node),
        }
    }

    /// The states of the ports that the client's port covers, its own first.
    pub(super) fn covered(&self) -> &[Arc<NodeState>] {
        self.server.nodes.covered(self.port)
    }

    /// Publishes the keyspace events of the shard at this position now: those of several shards so
    /// keep their order.
    pub(super) fn publish_events(&mut self, at: usize) {
        let keyspace = &mut *self.shards[at];
        if keyspace.has_events() {
            let (events, from) = (keyspace.take_events(), Some(self.view[at]));
            let delivered = &mut |sleeper| self.pace.delivered(sleeper);
            let nodes = &self.server.nodes;
            let origin = Origin { port: self.port, client: self.me.id, in_script: false };
            let rest = nodes.publish_events(from, events, origin, self.now, delivered);
            keyspace.record_events(rest.into_iter());
        }
    }
}
