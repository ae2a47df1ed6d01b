//! One connection's state, and what it makes of a request. Pure: no I/O, no clock, no shard.
//!
//! ```text
//!                    ┌─ refused, or answered here ───────────────► Replied
//!  request ─ admit ──┼─ open: a batch of one ────────────────────► Run | Host
//!                    ├─ queueing: appended (copied), +QUEUED ────► Replied
//!                    └─ control: MULTI WATCH EXEC … steer ───────► Watch | Exec | Close …
//! ```
//!
//! The order of the checks is Redis': unknown command and arity, then authentication, then slots,
//! then the transaction. The slot rules of a transaction are the router port's: see
//! `transaction`.

mod dialect;
mod violations;
mod steer;
mod subscribe;
mod multi;

pub use dialect::{Dialect, Tie};
pub use multi::{Reach, Transaction, WATCHED_KEYS_MAX, Watched};
pub use violations::note_failed;

use crate::command::{self, Args, Invocation, Queue, Refusal, Run, SessionCommand, Spec, flag};
use crate::keyspace::Millis;
use crate::ledger::{Fate, Rule};
use crate::resp::{Proto, Sink};
use crate::slot::{Footprint, Slot};
use crate::state::clients::Client;
use crate::state::pubsub::Subscriptions;
use crate::state::settings::CrossSlot;
use crate::state::{Paused, ServerState};
use crate::topology::{Port, RequestFlags};
use std::sync::Arc;

/// What is to be done next with a request.
#[derive(Debug)]
pub enum Step {
    /// Nothing: the reply is written.
    Replied,
    /// Nothing: the reply says why it is not done.
    Refused,
    /// Nothing: it is kept for EXEC.
    Queued,
    /// Nothing: what is written goes out even if the client wants no replies.
    Told,
    /// Run this on the shard that owns its slot, or on any if it has no keys.
    Run,
    /// Run this on the shard that owns its slot; it may wait for its keys.
    Block,
    /// Run this over the several slots that it asks for.
    Across,
    /// Divide this by slot, run the parts one after the other and answer them as one.
    Split,
    /// Run this on the process or on all shards in view.
    ServerState,
    /// File the session's guard under these keys of `slot`, then answer OK.
    Watch(Slot),
    /// The same for keys of several slots.
    WatchAcross,
    /// Run the transaction as one.
    Exec(Box<Transaction>),
    /// Close once the output is written.
    Close,
    /// Close at once without a word: an attack, not a client.
    Sever,
}

impl Step {
    /// Whether a command that steers the connection has run, or will be run, by this step.
    #[must_use]
    pub fn has_run(&self) -> bool {
        !matches!(self, Self::Refused | Self::Queued | Self::Sever)
    }
}

/// Which replies the client wants to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ReplyMode {
    On,
    Off,
    /// The request after this one is not answered.
    SkipNext,
    Skip,
}

/// Where an ASKING stands: it covers the request after it, or the transaction that begins there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asking {
    No,
    /// The request before this one.
    Next,
    /// This request, and if it begins a transaction, that.
    Now,
}

/// Says what the slots have against a request, before it is run or queued: a node, for those that
/// are not its own; any port, for those that nobody serves.
pub trait Judge {
    /// `None` if nothing.
    fn judge(
        &mut self,
        invocation: &Invocation<'_>,
        request_flags: RequestFlags,
    ) -> Option<Refusal>;
}

/// One connection's state.
#[derive(Debug)]
pub struct Session {
    client: Arc<Client>,
    port: Port,
    dialect: &'static Dialect,
    asking: Asking,
    /// The client said READONLY: a replica may answer it.
    reads_replicas: bool,
    /// The database that the client has chosen.
    database: u32,
    proto: Proto,
    authenticated: bool,
    reply_mode: ReplyMode,
    /// A WATCH was refused: EXEC must not run what the client meant to guard.
    watch_failed: bool,
    /// Present between MULTI and what ends it.
    transaction: Option<Box<Transaction>>,
    /// Present from the first WATCH to what ends it.
    watched: Option<Box<Watched>>,
    /// The client sees every command, and touches no keys.
    monitors: bool,
    /// Present while the client is subscribed to something.
    subscriptions: Option<Box<Subscriptions>>,
}

impl Session {
    /// A fresh session of `client`, who speaks to `port`; `authenticated` if the server asks for no
    /// password.
    #[must_use]
    pub fn new(
        client: Arc<Client>,
        port: Port,
        dialect: &'static Dialect,
        authenticated: bool,
    ) -> Self {
        Self {
            client,
            port,
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

    /// Whom the client speaks to.
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
    /// may be looked at before the first has run.
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

    /// The present request is done with, its reply written or dropped.
    pub fn settle(&mut self) {
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

    /// The guard that a WATCH is filed with.
    #[must_use]
    pub fn watched(&self) -> Option<&Watched> {
        self.watched.as_deref()
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

    /// How this request comes to the slots it asks for, given all flags of what it would run.
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

    /// Takes a request in whose row was found. What may be run now is still to be judged by its
    /// slot, while that is held; what is to be kept for later is judged here.
    #[inline]
    pub fn admit(
        &mut self,
        server: &ServerState,
        invocation: &Invocation<'_>,
        judge: &mut dyn Judge,
        out: &mut Sink<'_>,
    ) -> Step {
        // What follows comes to the same for a plain session; most requests end here.
        if self.is_plain()
            && let Run::Shard(_) = invocation.spec.run
            && !matches!(invocation.footprint, Footprint::Crossing { .. })
            && invocation.spec.flags & flag::READS_UNNAMED == 0
        {
            return Step::Run;
        }
        self.admit_any(server, invocation, judge, out)
    }

    fn admit_any(
        &mut self,
        server: &ServerState,
        invocation: &Invocation<'_>,
        judge: &mut dyn Judge,
        out: &mut Sink<'_>,
    ) -> Step {
        self.go_on_asking();
        self.drop_moved_channels();
        let spec = invocation.spec;
        if !self.authenticated && spec.flags & flag::NO_AUTH == 0 {
            return self.reject(steer_of(spec), &Refusal::NO_AUTH, out);
        }
        if let Some(refusal) = self.forbids(spec) {
            return self.reject(None, &refusal, out);
        }
        let touches = flag::READ | flag::WRITE | flag::MAY_REPLICATE;
        if self.monitors && spec.flags & touches != 0 {
            let refusal = Refusal::of("ERR Replica can't interact with the keyspace");
            return self.reject(steer_of(spec), &refusal, out);
        }
        if let Some(refusal) = judge.judge(invocation, self.request_flags(spec, spec.flags)) {
            return self.reject(steer_of(spec), &refusal, out);
        }
        let crosses = matches!(invocation.footprint, Footprint::Crossing { .. });
        let is_multi_slot = self.is_multi_slot(server);
        let splits = crosses && self.splits(server, invocation);
        if self.is_bound() && (is_multi_slot || splits || !crosses) {
            if let Some(refusal) = Self::bound(spec) {
                return self.reject(steer_of(spec), &refusal, out);
            }
            if self.pong(invocation, out) {
                return Step::Replied;
            }
        }
        if self.transaction.is_some() {
            return match steer_of(spec) {
                Some(
                    steer @ (SessionCommand::Multi
                    | SessionCommand::Exec
                    | SessionCommand::Discard
                    | SessionCommand::Watch
                    | SessionCommand::Quit
                    | SessionCommand::Reset),
                ) => self.steer(server, steer, invocation, out),
                _ => self.enqueue(server, invocation, out),
            };
        }
        let runs_on_a_shard = matches!(spec.run, Run::Shard(_) | Run::Blocks(_));
        let reaches = || crosses || self.database != 0 || spec.reads_unnamed(invocation.args);
        if is_multi_slot && runs_on_a_shard && reaches() {
            violations::across(server, &self.client, invocation, None);
            return Step::Across;
        }
        if splits {
            return Step::Split;
        }
        if let Footprint::Crossing { first, other, at } = invocation.footprint
            && !matches!(spec.run, Run::Session(steer) if is_multi_slot || steer == SessionCommand::Watch)
        {
            let crossing = multi::Crossing {
                context: multi::Context::Command,
                first,
                other,
                first_key: spec.nth_key(invocation.args, 0).unwrap_or_default(),
                violating_key: spec.nth_key(invocation.args, at).unwrap_or_default(),
            };
            let refusal = crossing.refusal(server, self.dialect, spec);
            let rule = Rule::CrossSlotCommand;
            violations::command(server, &self.client, rule, invocation, None, Fate::Refused);
            return self.reject(None, &refusal, out);
        }
        violations::node_local(server, &self.client, self.port, invocation, None);
        match spec.run {
            Run::Shard(_) => Step::Run,
            Run::Blocks(_) => Step::Block,
            Run::Session(steer) => self.steer(server, steer, invocation, out),
            Run::Server(_) | Run::Cluster(_) | Run::Whole(_) | Run::Container => Step::ServerState,
        }
    }

    /// Whether keys of several slots may be used together here: as on one server without slots.
    fn is_multi_slot(&self, server: &ServerState) -> bool {
        // Who has chosen a database stays there, whatever the policy has become.
        self.database != 0
            || (self.port == Port::Router && server.settings.cross_slot() == CrossSlot::Audit)
    }

    /// Whether this request is to be divided by slot.
    fn splits(&self, server: &ServerState, invocation: &Invocation<'_>) -> bool {
        self.port == Port::Router
            && server.settings.cross_slot() == CrossSlot::Split
            && invocation.spec.merge().is_some()
    }

    /// An ASKING before this request covers it; one before an earlier request is spent, unless a
    /// transaction began there that still goes on.
    fn go_on_asking(&mut self) {
        self.asking = match self.asking {
            Asking::Next => Asking::Now,
            Asking::Now if self.transaction.is_none() => Asking::No,
            as_before => as_before,
        };
    }

    /// Whether a pause holds up this request: it would run or be queued, and do what is paused.
    #[must_use]
    pub fn is_held_up(
        &self,
        server: &ServerState,
        invocation: &Invocation<'_>,
        paused: Paused,
    ) -> bool {
        let Invocation { spec, footprint, .. } = invocation;
        let writes = |flags| flags & (flag::WRITE | flag::MAY_REPLICATE) != 0;
        let is_refused = (!self.authenticated && spec.flags & flag::NO_AUTH == 0)
            || (matches!(footprint, Footprint::Crossing { .. })
                && !self.is_multi_slot(server)
                && !(self.transaction.is_none() && self.splits(server, invocation)));
        let is_meant = match (paused, spec.run) {
            (Paused::All, _) => true,
            (Paused::Writes, Run::Session(SessionCommand::Exec)) => {
                self.transaction.as_ref().is_some_and(|transaction| writes(transaction.flags))
            }
            (Paused::Writes, _) => writes(spec.flags),
        };
        is_meant && !is_refused
    }

    /// Turns a request away that fits no row.
    pub fn turn_away(&mut self, args: Args<'_>, refusal: &Refusal, out: &mut Sink<'_>) -> Step {
        if is_attack(args.at(0)) {
            return Step::Sever;
        }
        self.go_on_asking();
        self.reject(command::find(args.at(0)).and_then(steer_of), refusal, out)
    }

    /// Refuses a request before it is run or queued, which spoils the transaction it belongs to.
    fn reject(
        &mut self,
        steer: Option<SessionCommand>,
        refusal: &Refusal,
        out: &mut Sink<'_>,
    ) -> Step {
        match steer {
            Some(SessionCommand::Exec) => {
                self.end_transaction();
                let because = refusal.text();
                let because = because.strip_prefix(b"ERR ").unwrap_or(because);
                out.error([b"EXECABORT Transaction discarded because of: ", because].concat());
                return Step::Refused;
            }
            Some(SessionCommand::Watch) if self.transaction.is_none() => {
                self.watch_failed = self.dialect.remembers_failed_watch;
            }
            _ => {}
        }
        if let Some(transaction) = &mut self.transaction {
            transaction.poison();
        }
        out.error(refusal);
        Step::Refused
    }

    /// Forgets the transaction and every WATCH.
    fn end_transaction(&mut self) -> Option<Box<Transaction>> {
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

fn steer_of(spec: &Spec) -> Option<SessionCommand> {
    if let Run::Session(steer) = spec.run { Some(steer) } else { None }
}

/// What a browser sends when a page was made to talk to this port: Redis hangs up, and so do we.
fn is_attack(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"post") || name.eq_ignore_ascii_case(b"host:")
}
