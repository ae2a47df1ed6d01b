//! The protocol state of a connection, and the predicates that every part of a session uses.

use super::transaction::{Transaction, Watched};
use super::{Reply, Step, Unit};
use crate::command::{Invocation, Queue, Refusal, Run, SessionCommand, Spec, flag};
use crate::dialect::Dialect;
use crate::keyspace::Millis;
use crate::resp::{Proto, Sink};
use crate::slot::Slot;
use crate::state::clients::{Client, Traffic};
use crate::state::pubsub::Subscriptions;
use crate::state::settings::CrossSlot;
use crate::state::{NodeState, TrackingSeat};
use crate::topology::{Port, RequestFlags};
use std::sync::Arc;

/// The replies that the client has asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReplyMode {
    On,
    /// The same for a client that tracks keys, or did: invalidations may come behind a reply.
    OnWithInvalidations,
    Off,
    /// The request after this one gets no reply.
    SkipNext,
    Skip,
}

/// The scope of an ASKING: it covers the request after it, or the transaction that begins there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asking {
    No,
    /// The request before this one.
    Next,
    /// This request, and if it begins a transaction, all of that.
    Now,
}

/// The scope of a CLIENT CACHING: it covers the request after it, or the transaction that begins there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Caching {
    No,
    /// The next request that is no CLIENT command.
    Next,
    /// This request, and if it begins a transaction, all of that.
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
    /// The client has sent READONLY: a replica may serve its reads.
    pub(super) reads_replicas: bool,
    /// The database that the client has chosen.
    pub(super) database: u32,
    pub(super) proto: Proto,
    pub(super) authenticated: bool,
    pub(super) reply_mode: ReplyMode,
    /// A WATCH was refused: EXEC must not run the commands that it was to guard.
    pub(super) watch_failed: bool,
    /// Present between MULTI and the end of the transaction.
    pub(super) transaction: Option<Box<Transaction>>,
    /// Present from the first WATCH until the watch ends.
    pub(super) watched: Option<Box<Watched>>,
    /// The client receives every command (MONITOR), and touches no keys.
    pub(super) monitors: bool,
    /// Present while the client has subscriptions.
    pub(super) subscriptions: Option<Box<Subscriptions>>,
    /// Present from the first CLIENT TRACKING ON.
    pub(super) tracking: Option<Box<TrackingSeat>>,
    pub(super) caching: Caching,
}

impl Session {
    /// Returns a new session of `client`, which is connected to `node`.
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
            tracking: None,
            caching: Caching::No,
        }
    }

    /// Returns the client that this session serves.
    #[must_use]
    pub fn client(&self) -> &Arc<Client> {
        &self.client
    }

    /// Returns the state of the node that the client is connected to.
    #[must_use]
    #[inline]
    pub fn node(&self) -> &NodeState {
        &self.node
    }

    /// Returns the port that the client has connected to.
    #[must_use]
    #[inline]
    pub fn port(&self) -> Port {
        self.port
    }

    /// Returns the protocol that replies are written in.
    #[must_use]
    pub fn proto(&self) -> Proto {
        self.proto
    }

    /// Returns whether the client may do more than authenticate.
    #[must_use]
    pub fn is_authenticated(&self) -> bool {
        self.authenticated
    }

    /// Returns whether admitting a command that runs on a shard has no effect on this session: then
    /// several may be admitted before the first has run.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.authenticated
            && self.transaction.is_none()
            && (self.hears_replies_only() || self.hears_replies_and_invalidations())
            && !self.monitors
            && self.asking == Asking::No
            && !self.reads_replicas
            && self.database == 0
    }

    /// Returns whether the session is plain, and its client hears replies only.
    #[must_use]
    #[inline]
    pub fn is_simple(&self) -> bool {
        self.hears_replies_only() && self.is_plain()
    }

    /// Returns the database that the client has chosen.
    #[must_use]
    pub fn database(&self) -> u32 {
        self.database
    }

    /// Returns whether messages from other clients may be sent to the client.
    #[must_use]
    #[inline]
    pub fn listens(&self) -> bool {
        self.subscriptions.is_some()
    }

    /// Returns whether the client may only use subscriptions: a RESP2 subscriber cannot distinguish
    /// messages from replies.
    pub(super) fn is_bound(&self) -> bool {
        self.listens() && self.proto == Proto::Resp2
    }

    /// Returns whether every reply is sent, with nothing else in between.
    #[must_use]
    #[inline]
    pub fn hears_replies_only(&self) -> bool {
        self.reply_mode == ReplyMode::On && !self.listens()
    }

    /// Returns whether every reply is sent, with nothing but invalidations in between, and CLIENT
    /// CACHING has no say in them.
    #[cold]
    fn hears_replies_and_invalidations(&self) -> bool {
        let by_choice = self.client.tracking().is_by_choice();
        self.reply_mode == ReplyMode::OnWithInvalidations && !self.listens() && !by_choice
    }

    /// Has every reply sent.
    pub(super) fn unmute(&mut self) {
        self.reply_mode = match self.tracks() {
            true => ReplyMode::OnWithInvalidations,
            false => ReplyMode::On,
        };
    }

    /// Returns whether the client may get invalidations of keys that it has read itself.
    #[must_use]
    #[inline]
    pub fn tracks(&self) -> bool {
        self.tracking.is_some()
    }

    /// Returns whether the reply to the present request is to be dropped.
    #[must_use]
    pub fn is_muted(&self) -> bool {
        matches!(self.reply_mode, ReplyMode::Off | ReplyMode::Skip)
    }

    /// Ends the present request, whose reply is written or dropped: advances CLIENT REPLY SKIP.
    pub fn end_request(&mut self) {
        match self.reply_mode {
            ReplyMode::SkipNext => self.reply_mode = ReplyMode::Skip,
            ReplyMode::Skip => self.unmute(),
            ReplyMode::On | ReplyMode::OnWithInvalidations | ReplyMode::Off => {}
        }
    }

    /// Returns the slot of the transaction that has begun, if there is one and it has keys.
    #[must_use]
    pub fn transaction_slot(&self) -> Option<Slot> {
        self.transaction.as_ref().and_then(|transaction| transaction.slot)
    }

    /// Records that the guard is filed, or about to be, on this shard for keys of `slot`; `None`
    /// for a database above number 0.
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

    /// Returns the flags of this request that count when its slot is routed, given all flags of
    /// what it would run.
    #[must_use]
    pub fn request_flags(&self, spec: &Spec, flags: u64) -> RequestFlags {
        let is_exec = matches!(spec.run, Run::Session(SessionCommand::Exec));
        RequestFlags {
            asking: self.asking == Asking::Now || spec.flags & flag::ASKING != 0,
            may_read_replica: self.reads_replicas,
            is_about_channels: spec.has_channels(),
            writes: flags & flag::WRITE != 0,
            is_exec,
            migrates: spec.flags & flag::MIGRATES != 0,
            keys_come_later: !is_exec
                && self.transaction.is_some()
                && self.dialect.redirects_at_exec,
        }
    }

    /// Returns the same for a unit; a transaction's were taken at EXEC.
    #[must_use]
    pub fn request_flags_of(&self, unit: &Unit<'_>) -> RequestFlags {
        match unit {
            Unit::Command(it) | Unit::Blocking(it) | Unit::Watch(it, _) => {
                self.request_flags(it.spec, it.spec.flags)
            }
            Unit::Exec(transaction) => transaction.request_flags,
        }
    }

    /// Returns whether an ASKING before this request covers it. An earlier one is spent, unless a
    /// transaction began there that has not ended.
    pub(super) fn advance_asking(&mut self) {
        self.asking = match self.asking {
            Asking::Next => Asking::Now,
            Asking::Now if self.transaction.is_none() => Asking::No,
            as_before => as_before,
        };
    }

    /// Returns whether keys of several slots may be used together here: as on one server without
    /// slots.
    pub(super) fn is_multi_slot(&self) -> bool {
        // A client that has chosen a database keeps it, even if the policy changes.
        self.database != 0
            || (self.port == Port::Router && self.node.settings.cross_slot() == CrossSlot::Audit)
    }

    /// Returns whether this request is to be split by slot.
    pub(super) fn splits(&self, invocation: &Invocation<'_>) -> bool {
        self.port == Port::Router
            && self.node.settings.cross_slot() == CrossSlot::Split
            && invocation.spec.merge_policy().is_some()
    }

    /// Refuses a request before it runs or is queued, which poisons the transaction it belongs to.
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

    /// Records that a WATCH was refused: where the dialect says so, EXEC will not run the commands
    /// that it was to guard.
    pub fn note_watch_refused(&mut self) {
        self.watch_failed = self.dialect.remembers_failed_watch;
    }

    /// Forgets the transaction and every WATCH.
    pub(super) fn end_transaction(&mut self) -> Option<Box<Transaction>> {
        self.watched = None;
        self.watch_failed = false;
        self.transaction.take()
    }

    /// Records the session's state in the registry, with `command` as its latest, and what was sent
    /// and received since the last time.
    pub fn note_activity(&self, now: Millis, command: Option<&'static Spec>, traffic: Traffic) {
        let queue = self.transaction.as_ref().map(|transaction| &transaction.queue);
        self.client.note_activity(|activity| {
            activity.last_active = now;
            if let Some(spec) = command {
                (activity.container, activity.command) = (spec.parent, spec.name);
            }
            activity.bytes_in += traffic.bytes_in;
            activity.bytes_out += traffic.bytes_out;
            activity.commands += traffic.commands;
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
