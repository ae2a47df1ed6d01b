//! The protocol state of a connection, and the questions that every part of a session asks of it.

use super::dialect::Dialect;
use super::transaction::{Transaction, Watched};
use super::{Reply, Step, Unit};
use crate::command::{Invocation, Queue, Refusal, Run, SessionCommand, Spec, flag};
use crate::keyspace::Millis;
use crate::resp::{Proto, Sink};
use crate::slot::Slot;
use crate::state::NodeState;
use crate::state::clients::Client;
use crate::state::pubsub::Subscriptions;
use crate::state::settings::CrossSlot;
use crate::topology::{Port, RequestFlags};
use std::sync::Arc;

/// Which replies the client wants to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReplyMode {
    On,
    Off,
    /// The request after this one is not answered.
    SkipNext,
    Skip,
}

/// Where an ASKING stands: it covers the request after it, or the transaction that begins there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asking {
    No,
    /// The request before this one.
    Next,
    /// This request, and if it begins a transaction, that.
    Now,
}

/// One connection's state.
#[derive(Debug)]
pub struct Session {
    pub(super) client: Arc<Client>,
    pub(super) node: Arc<NodeState>,
    pub(super) port: Port,
    pub(super) dialect: &'static Dialect,
    pub(super) asking: Asking,
    /// The client said READONLY: a replica may answer it.
    pub(super) reads_replicas: bool,
    /// The database that the client has chosen.
    pub(super) database: u32,
    pub(super) proto: Proto,
    pub(super) authenticated: bool,
    pub(super) reply_mode: ReplyMode,
    /// A WATCH was refused: EXEC must not run what the client meant to guard.
    pub(super) watch_failed: bool,
    /// Present between MULTI and what ends it.
    pub(super) transaction: Option<Box<Transaction>>,
    /// Present from the first WATCH to what ends it.
    pub(super) watched: Option<Box<Watched>>,
    /// The client sees every command, and touches no keys.
    pub(super) monitors: bool,
    /// Present while the client is subscribed to something.
    pub(super) subscriptions: Option<Box<Subscriptions>>,
}

impl Session {
    /// A fresh session of `client`, which speaks to `node`.
    #[must_use]
    pub fn new(client: Arc<Client>, node: &Arc<NodeState>, dialect: &'static Dialect) -> Self {
        let authenticated = !node.settings.needs_password();
        Self {
            client,
            node: Arc::clone(node),
            port: node.port,
            dialect,
            asking: Asking::No,
            reads_replicas: false,
            database: 0,
            proto: Proto::Resp2,
            authenticated,
            reply_mode: ReplyMode::On,
            watch_failed: false,
            transaction: None,
            watched: None,
            monitors: false,
            subscriptions: None,
        }
    }

    /// The client that this session serves.
    #[must_use]
    pub fn client(&self) -> &Arc<Client> {
        &self.client
    }

    /// What belongs to the node that the client speaks to.
    #[must_use]
    #[inline]
    pub fn node(&self) -> &NodeState {
        &self.node
    }

    /// The port that the client has connected to.
    #[must_use]
    #[inline]
    pub fn port(&self) -> Port {
        self.port
    }

    /// The protocol that replies are written in.
    #[must_use]
    pub fn proto(&self) -> Proto {
        self.proto
    }

    /// Whether the client may do more than authenticate.
    #[must_use]
    pub fn is_authenticated(&self) -> bool {
        self.authenticated
    }

    /// Whether admitting a command that runs on a shard has no effect on this session: then several
    /// may be admitted before the first has run.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.authenticated
            && self.transaction.is_none()
            && self.hears_replies_only()
            && !self.monitors
            && self.asking == Asking::No
            && !self.reads_replicas
            && self.database == 0
    }

    /// The database that the client has chosen.
    #[must_use]
    pub fn database(&self) -> u32 {
        self.database
    }

    /// Whether messages from others may be sent to the client.
    #[must_use]
    #[inline]
    pub fn listens(&self) -> bool {
        self.subscriptions.is_some()
    }

    /// Whether the client may only listen: a RESP2 subscriber cannot distinguish messages from replies.
    pub(super) fn is_bound(&self) -> bool {
        self.listens() && self.proto == Proto::Resp2
    }

    /// Whether every reply is wanted, and nothing else comes in between.
    #[must_use]
    #[inline]
    pub fn hears_replies_only(&self) -> bool {
        self.reply_mode == ReplyMode::On && !self.listens()
    }

    /// Whether the reply to the present request is to be dropped.
    #[must_use]
    pub fn is_muted(&self) -> bool {
        matches!(self.reply_mode, ReplyMode::Off | ReplyMode::Skip)
    }

    /// Ends the present request, whose reply is written or dropped: advances CLIENT REPLY SKIP.
    pub fn end_request(&mut self) {
        self.reply_mode = match self.reply_mode {
            ReplyMode::SkipNext => ReplyMode::Skip,
            ReplyMode::Skip => ReplyMode::On,
            mode => mode,
        };
    }

    /// The slot of the transaction that has begun, if there is one and it has keys.
    #[must_use]
    pub fn transaction_slot(&self) -> Option<Slot> {
        self.transaction.as_ref().and_then(|transaction| transaction.slot)
    }

    /// Notes that the guard is filed, or about to be, on this shard for keys of `slot`; `None` if that is a
    /// database of its own.
    pub fn note_guard_filed(&mut self, shard: usize, slot: Option<Slot>) {
        let Some(watched) = &mut self.watched else { return };
        if !watched.shards.contains(&shard) {
            watched.shards.push(shard);
        }
        if let Some(slot) = slot
            && watched.places.last() != Some(&(slot, shard))
        {
            watched.places.push((slot, shard));
        }
    }

    /// What counts of this request when its slot is routed, given all flags of what it would run.
    #[must_use]
    pub fn request_flags(&self, spec: &Spec, flags: u32) -> RequestFlags {
        RequestFlags {
            asking: self.asking == Asking::Now || spec.flags & flag::ASKING != 0,
            may_read_replica: self.reads_replicas,
            is_about_channels: spec.has_channels(),
            writes: flags & flag::WRITE != 0,
            is_exec: matches!(spec.run, Run::Session(SessionCommand::Exec)),
            migrates: spec.flags & flag::MIGRATES != 0,
        }
    }

    /// The same for a unit; a transaction's were taken when EXEC came.
    #[must_use]
    pub fn request_flags_of(&self, unit: &Unit<'_>) -> RequestFlags {
        match unit {
            Unit::Command(it) | Unit::Blocking(it) | Unit::Watch(it, _) => {
                self.request_flags(it.spec, it.spec.flags)
            }
            Unit::Exec(transaction) => transaction.request_flags,
        }
    }

    /// An ASKING before this request covers it; one before an earlier request is spent, unless a
    /// transaction began there that still goes on.
    pub(super) fn advance_asking(&mut self) {
        self.asking = match self.asking {
            Asking::Next => Asking::Now,
            Asking::Now if self.transaction.is_none() => Asking::No,
            as_before => as_before,
        };
    }

    /// Whether keys of several slots may be used together here: as on one server without slots.
    pub(super) fn is_multi_slot(&self) -> bool {
        // A client that has chosen a database stays there, whatever the policy has become.
        self.database != 0
            || (self.port == Port::Router && self.node.settings.cross_slot() == CrossSlot::Audit)
    }

    /// Whether this request is to be split by slot.
    pub(super) fn splits(&self, invocation: &Invocation<'_>) -> bool {
        self.port == Port::Router
            && self.node.settings.cross_slot() == CrossSlot::Split
            && invocation.spec.merge_policy().is_some()
    }

    /// Refuses a request before it runs or is queued, which spoils the transaction it belongs to.
    pub(super) fn reject(
        &mut self,
        spec: &Spec,
        refusal: &Refusal,
        out: &mut Sink<'_>,
    ) -> Step<'static> {
        match spec.run {
            Run::Session(SessionCommand::Exec) => {
                self.end_transaction();
                let because = refusal.text();
                let because = because.strip_prefix(b"ERR ").unwrap_or(because);
                out.error([b"EXECABORT Transaction discarded because of: ", because].concat());
                return Step::Replied(Reply::Refused);
            }
            Run::Session(SessionCommand::Watch) if self.transaction.is_none() => {
                self.note_watch_refused();
            }
            _ => {}
        }
        if let Some(transaction) = &mut self.transaction {
            transaction.poison();
        }
        out.error(refusal);
        Step::Replied(Reply::Refused)
    }

    /// Notes that a WATCH was refused: where the dialect says so, EXEC will not run what it was to
    /// guard.
    pub fn note_watch_refused(&mut self) {
        self.watch_failed = self.dialect.remembers_failed_watch;
    }

    /// Forgets the transaction and every WATCH.
    pub(super) fn end_transaction(&mut self) -> Option<Box<Transaction>> {
        self.watched = None;
        self.watch_failed = false;
        self.transaction.take()
    }

    /// Notes in the registry what the session is at, `command` being its latest.
    pub fn note_activity(&self, now: Millis, command: Option<&'static Spec>) {
        let queue = self.transaction.as_ref().map(|transaction| &transaction.queue);
        self.client.note_activity(|activity| {
            activity.last_active = now;
            if let Some(spec) = command {
                (activity.container, activity.command) = (spec.parent, spec.name);
            }
            activity.resp = self.proto.version();
            activity.queued = queue.map(|queue| queue.len() as u32);
            activity.queued_bytes = queue.map_or(0, Queue::bytes_len);
            activity.watched = self.watched.as_ref().map_or(0, |w| w.keys.len() as u32);
            activity.dirty = self.watched.as_ref().is_some_and(|w| w.guard.is_tripped());
            activity.monitors = self.monitors;
            activity.reply_off = self.reply_mode == ReplyMode::Off;
        });
    }
}
