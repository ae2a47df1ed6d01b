//! One connection's protocol state, and what it makes of a request. Pure: no I/O, no clock, no shard.
//!
//! ```text
//!                    ┌─ refused, or answered here ──────────► Replied
//!  request ─ admit ──┼─ runs on shards: a unit ─────────────► Run
//!                    ├─ inside MULTI: copied, +QUEUED ──────► Replied
//!                    └─ of the process: CONFIG, INFO … ─────► Process
//! ```
//!
//! The order of the checks is Redis': unknown command and arity, then authentication, then slots,
//! then the transaction ([`admission`]). The slot rules of a transaction are in [`multi`].

mod dialect;
mod transaction;
mod unit;
mod violations;
mod admission;
mod subscribe;
mod multi;
mod commands;

pub use dialect::{Dialect, Tie};
pub use transaction::{Reach, Transaction, WATCHED_KEYS_MAX, Watched};
pub use unit::{OwnedUnit, Scope, Unit};
pub use violations::note_failed;

use crate::command::{self, Args, Invocation, Queue, Refusal, Run, SessionCommand, Spec, flag};
use crate::keyspace::Millis;
use crate::ledger::{Fate, Rule};
use crate::resp::{Proto, Sink};
use crate::slot::{Footprint, Slot};
use crate::state::clients::Client;
use crate::state::pubsub::Subscriptions;
use crate::state::{Paused, ServerState};
use crate::topology::{Port, RequestFlags};
use admission::Admission;
use std::sync::Arc;
use transaction::{Context, Crossing};

/// What is to be done next with a request.
#[derive(Debug)]
pub enum Step<'a> {
    /// Nothing: the reply is written.
    Replied(Reply),
    /// Run this unit, whose keys may be there.
    Run(Unit<'a>, Scope),
    /// Split this command by slot, run the parts one after the other and merge their replies.
    Split,
    /// Run this command of the process, which may see shards.
    Process,
    /// Nothing yet: CLIENT PAUSE holds the request up, which has changed nothing.
    Pause,
    /// Close once the output is written.
    Close,
    /// Close at once without a reply: an attack, not a client.
    Sever,
}

/// What the reply to a request that needs nothing more says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// That it is done, or why it cannot be.
    Done,
    /// That it was refused before it ran or was queued.
    Refused,
    /// That it is queued for EXEC.
    Queued,
    /// That of EXEC: messages from others already stand before it, and those that its own commands
    /// caused come after it.
    Exec,
    /// What is sent even if the client wants no replies: confirmations of subscriptions.
    Always,
}

impl Step<'_> {
    /// Whether a command of the session has run, or will be run, by this step.
    #[must_use]
    pub fn has_run(&self) -> bool {
        !matches!(self, Self::Replied(Reply::Refused | Reply::Queued) | Self::Sever)
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

/// Checks the slots of a request before it is queued or runs as a command of the session.
pub trait SlotGate {
    /// What a cluster, or this node, replies in place of running it; `None` if nothing.
    fn refuses(&mut self, invocation: &Invocation<'_>, flags: RequestFlags) -> Option<Refusal>;
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

    /// Whether a request runs on its slot's shard whatever this session's state is: most do.
    #[must_use]
    #[inline]
    pub fn runs_directly(&self, invocation: &Invocation<'_>) -> bool {
        self.is_plain()
            && matches!(invocation.spec.run, Run::Shard(_))
            && !invocation.crosses()
            && invocation.spec.flags & flag::READS_UNNAMED == 0
    }

    /// Takes a request whose row was found. If it runs on shards, its slots are looked at while they
    /// are held; what is kept for later, or runs here, is checked by `gate`.
    pub fn admit<'a>(
        &mut self,
        server: &ServerState,
        invocation: &'a Invocation<'a>,
        gate: &mut dyn SlotGate,
        paused: Option<Paused>,
        out: &mut Sink<'_>,
    ) -> Step<'a> {
        let asking = self.asking;
        self.advance_asking();
        self.see_to_losses();
        match self.admission(server, invocation, gate, paused) {
            Admission::Go => {}
            Admission::Pause => {
                self.asking = asking;
                return Step::Pause;
            }
            Admission::Refuse(refusal) => return self.reject(invocation.spec, &refusal, out),
        }
        if self.is_bound() && self.pong(invocation, out) {
            return Step::Replied(Reply::Done);
        }
        match invocation.spec.run {
            _ if self.transaction.is_none() => self.run_lone(server, invocation, out),
            Run::Session(
                command @ (SessionCommand::Multi
                | SessionCommand::Exec
                | SessionCommand::Discard
                | SessionCommand::Watch
                | SessionCommand::Quit
                | SessionCommand::Reset),
            ) => self.run_command(server, command, invocation, out),
            _ => self.enqueue(server, invocation, out),
        }
    }

    /// Finds out how a command that stands alone runs.
    fn run_lone<'a>(
        &mut self,
        server: &ServerState,
        invocation: &'a Invocation<'a>,
        out: &mut Sink<'_>,
    ) -> Step<'a> {
        let &Invocation { spec, args, footprint, .. } = invocation;
        let crosses = invocation.crosses();
        let is_multi_slot = self.is_multi_slot(server);
        let runs_on_a_shard = matches!(spec.run, Run::Shard(_) | Run::Blocks(_));
        let unit = || match spec.run {
            Run::Blocks(_) => Unit::Blocking(invocation),
            _ => Unit::Command(invocation),
        };
        if is_multi_slot
            && runs_on_a_shard
            && (crosses || self.database != 0 || spec.reads_unnamed(args))
        {
            violations::across(server, &self.client, invocation, None);
            let scope = match self.database {
                0 => Scope::Slots,
                database => Scope::Database(database),
            };
            return Step::Run(unit(), scope);
        }
        if crosses && self.splits(server, invocation) {
            return Step::Split;
        }
        if let Footprint::Crossing { first, other, at } = footprint
            && !matches!(spec.run, Run::Session(command)
                if is_multi_slot || command == SessionCommand::Watch)
        {
            let crossing = Crossing {
                context: Context::Command,
                first,
                other,
                first_key: spec.nth_key(args, 0).unwrap_or_default(),
                violating_key: spec.nth_key(args, at).unwrap_or_default(),
            };
            let refusal = crossing.refusal(server, self.dialect, spec);
            let rule = Rule::CrossSlotCommand;
            violations::command(server, &self.client, rule, invocation, None, Fate::Refused);
            out.error(&refusal);
            return Step::Replied(Reply::Refused);
        }
        violations::node_local(server, &self.client, self.port, invocation, None);
        match spec.run {
            Run::Shard(_) | Run::Blocks(_) => Step::Run(unit(), Scope::Slot(invocation.slot())),
            Run::Session(command) => self.run_command(server, command, invocation, out),
            Run::Server(_) | Run::Cluster(_) | Run::Whole(_) | Run::Container => Step::Process,
        }
    }

    /// An ASKING before this request covers it; one before an earlier request is spent, unless a
    /// transaction began there that still goes on.
    fn advance_asking(&mut self) {
        self.asking = match self.asking {
            Asking::Next => Asking::Now,
            Asking::Now if self.transaction.is_none() => Asking::No,
            as_before => as_before,
        };
    }

    /// Refuses a request that fits no row.
    pub fn refuse_unknown(
        &mut self,
        args: Args<'_>,
        refusal: &Refusal,
        out: &mut Sink<'_>,
    ) -> Step<'static> {
        if is_attack(args.at(0)) {
            return Step::Sever;
        }
        self.advance_asking();
        self.reject(command::find(args.at(0)).unwrap_or(&Spec::BASE), refusal, out)
    }

    /// Refuses a request before it runs or is queued, which spoils the transaction it belongs to.
    fn reject(&mut self, spec: &Spec, refusal: &Refusal, out: &mut Sink<'_>) -> Step<'static> {
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

/// What a browser sends when a page was made to talk to this port: Redis hangs up, and so do we.
fn is_attack(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"post") || name.eq_ignore_ascii_case(b"host:")
}
