//! One connection's protocol state, and the decision how a request runs. Pure: no I/O, no clock, no
//! shard.
//!
//! ```text
//!                    ┌─ refused, or replied here ───────────► Replied
//!  request ─ admit ──┼─ runs on shards: a unit ─────────────► Run
//!                    ├─ inside MULTI: copied, +QUEUED ──────► Replied
//!                    └─ of the process: CONFIG, INFO … ─────► Process
//! ```
//!
//! The order of the checks is Redis': unknown command and arity, then authentication, then slots,
//! then the transaction ([`admission`]). The slot rules of a transaction are in [`multi`].

mod transaction;
mod unit;
mod state;
mod violations;
mod admission;
mod subscribe;
mod tracking;
mod multi;
mod queueing;
mod commands;

pub use state::Session;
pub(crate) use transaction::{Reach, Transaction, Watched};
pub(crate) use unit::{OwnedUnit, Scope, Unit};
pub(crate) use violations::{
    note_choice, note_failed, note_lacking_of_script, note_scope_of_script, note_stray_key,
};

use crate::command::{self, Args, Invocation, Refusal, Run, SessionCommand, Spec, flag};
use crate::ledger::{Fate, Rule};
use crate::resp::Sink;
use crate::slot::Footprint;
use crate::state::{Paused, ServerState};
use crate::topology::RequestFlags;
use admission::Admission;
use state::Caching;
use transaction::{Context, Crossing};

/// The next action for a request.
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
    /// Do nothing yet: CLIENT PAUSE holds the request up, which has changed nothing.
    Pause,
    /// Close once the output is written.
    Close,
    /// Close at once without a reply: the request is an attack and not a client's.
    Sever,
}

/// The kind of a reply that completes a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The request is done, or cannot be done for the reason given.
    Done,
    /// The request was refused before it ran or was queued.
    Refused,
    /// The request is queued for EXEC.
    Queued,
    /// The reply to EXEC: messages from other clients already stand before it, and those that its
    /// own commands caused come after it.
    Exec,
    /// A reply that is sent even if the client has muted replies: confirmations of subscriptions.
    Always,
}

impl Step<'_> {
    /// Returns whether a command of the session has run, or will be run, by this step.
    #[must_use]
    pub fn has_run(&self) -> bool {
        !matches!(self, Self::Replied(Reply::Refused | Reply::Queued) | Self::Sever)
    }
}

/// Checks the slots of a request before it is queued or runs as a command of the session.
pub trait SlotGate {
    /// Returns the reply of a cluster, or of this node, in place of running the request; `None` if
    /// it may run.
    fn refuses(&mut self, invocation: &Invocation<'_>, flags: RequestFlags) -> Option<Refusal>;
}

impl Session {
    /// Returns the request as it runs in a session that has databases, if it names one of them.
    #[must_use]
    #[inline]
    pub fn between_databases<'a>(&self, invocation: &Invocation<'a>) -> Option<Invocation<'a>> {
        match invocation.spec.has(flag::NAMES_DATABASE) && self.is_multi_slot() {
            true => command::between_databases(invocation),
            false => None,
        }
    }

    /// Admits a request whose row was found. If it runs on shards, its slots are checked while they
    /// are held; if it is queued, or runs here, they are checked by `gate`.
    pub fn admit<'a>(
        &mut self,
        server: &ServerState,
        invocation: &'a Invocation<'a>,
        gate: &mut dyn SlotGate,
        paused: Option<Paused>,
        out: &mut Sink<'_>,
    ) -> Step<'a> {
        let (asking, caching) = (self.asking, self.caching);
        self.advance_asking();
        if caching != Caching::No {
            self.advance_caching(invocation.spec.has(flag::KEEPS_CACHING));
        }
        self.drop_moved_channels();
        match self.admission(server, invocation, gate, paused) {
            Admission::Go => {}
            Admission::Pause => {
                (self.asking, self.caching) = (asking, caching);
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

    /// Records a lone command that runs over several slots, or in another database than number 0,
    /// once nothing refuses it.
    pub(crate) fn note_over_slots(&self, server: &ServerState, invocation: &Invocation<'_>) {
        violations::across(server, &self.client, invocation, None, Fate::Ran);
    }

    /// Decides how a lone command runs.
    fn run_lone<'a>(
        &mut self,
        server: &ServerState,
        invocation: &'a Invocation<'a>,
        out: &mut Sink<'_>,
    ) -> Step<'a> {
        let &Invocation { spec, args, footprint, .. } = invocation;
        let crosses = invocation.crosses();
        let is_multi_slot = self.is_multi_slot();
        let runs_on_a_shard = matches!(spec.run, Run::Shard(_) | Run::Blocks(_) | Run::Script(_));
        // A script may use keys that it does not name.
        let reaches_any_key = spec.reads_unnamed(args) || matches!(spec.run, Run::Script(_));
        let unit = || match spec.run {
            Run::Blocks(_) => Unit::Blocking(invocation),
            _ => Unit::Command(invocation),
        };
        if is_multi_slot && runs_on_a_shard && (crosses || self.database != 0 || reaches_any_key) {
            let scope = match self.database {
                _ if matches!(spec.run, Run::Script(_)) => Scope::Slots,
                0 => Scope::Slots,
                database => Scope::Database(database),
            };
            return Step::Run(unit(), scope);
        }
        if crosses && self.splits(invocation) {
            return Step::Split;
        }
        let is_between_databases = spec.is_between_databases();
        if crosses && is_between_databases {
            self.note_over_slots(server, invocation);
        }
        if let Footprint::Crossing { first, other, at } = footprint
            && !is_between_databases
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
            let refusal = crossing.refusal(&self.node, self.dialect, spec);
            let rule = Rule::CrossSlotCommand;
            violations::command(server, &self.client, rule, invocation, None, Fate::Refused);
            out.error(&refusal);
            return Step::Replied(Reply::Refused);
        }
        violations::node_local(server, &self.client, self.port, invocation, None);
        match spec.run {
            Run::Shard(_) | Run::Blocks(_) | Run::Script(_) => {
                Step::Run(unit(), Scope::Slot(invocation.slot()))
            }
            Run::Session(command) => self.run_command(server, command, invocation, out),
            Run::Server(_) | Run::Cluster(_) | Run::Whole(_) | Run::Container => Step::Process,
        }
    }

    /// Refuses a request that fits no row.
    pub fn refuse_unknown(
        &mut self,
        server: &ServerState,
        args: Args<'_>,
        refusal: &Refusal,
        out: &mut Sink<'_>,
    ) -> Step<'static> {
        if is_attack(args.at(0)) {
            return Step::Sever;
        }
        self.advance_asking();
        let keeps = command::named(args).is_some_and(|spec| spec.has(flag::KEEPS_CACHING));
        self.advance_caching(keeps);
        let is_kept = self.keep_lacking(server, args);
        let step = self.reject(command::find(args.at(0)).unwrap_or(&Spec::BASE), refusal, out);
        if let Some(transaction) = self.transaction.as_mut().filter(|_| is_kept) {
            transaction.is_lacking = true;
        }
        step
    }
}

/// Returns whether a request comes from a browser whose page addresses this port: the connection is
/// then closed, as in Redis.
fn is_attack(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"post") || name.eq_ignore_ascii_case(b"host:")
}
