//! A script that runs, as the server that its commands run on.

use super::executor::Executor;
use crate::command::{Args, ArgsFrom, Commands, Invocation, Refusal, flag};
use crate::keyspace::Millis;
use crate::ledger::judge::{self, Declared, ScriptName};
use crate::ledger::{Fate, FromArgument};
use crate::resp::{Proto, Sink, Span};
use crate::script::{CallError, Flags, Host};
use crate::session::{note_lacking_of_script, note_scope_of_script, note_stray_key};
use crate::slot::{Footprint, Slot};
use crate::state::{RunningFunction, ScriptKind, ServerState};
use crate::topology::Port;
use std::borrow::Cow;
use std::iter::Take;
use std::num::NonZeroU64;

/// Where the keys and arguments of a script begin.
pub(super) const KEYS_FROM: usize = 3;
/// How many steps of the pace are counted for each look at the server.
const STEPS_PER_TICK: usize = 1024;

const NON_LOCAL: Refusal =
    Refusal::of("ERR Script attempted to access a non local key in a cluster node");
const OTHER_SLOT: Refusal =
    Refusal::of("ERR Script attempted to access keys that do not hash to the same slot");

/// Most calls of one run of a script that are reported.
const JUDGED_MAX: usize = 8;

/// A script that runs, as the server that its commands run on.
pub(super) struct RunningScript<'x, E> {
    on: &'x mut E,
    /// Its command, its SHA-1 and its first line, for reports.
    name: ScriptName<'x>,
    /// The command that runs it.
    args: Args<'x>,
    /// The keys that it was given.
    declared: Take<ArgsFrom<'x>>,
    /// The slot of all of them.
    declared_slot: Option<Slot>,
    /// Its arguments that are no keys.
    arguments: ArgsFrom<'x>,
    /// How many of its calls were reported.
    judged: usize,
    /// The number of its unit in reports.
    unit: Option<NonZeroU64>,
    /// Of a script without keys, the first key that it was reported for.
    first_used: Option<Vec<u8>>,
    /// It has asked for the keys of its node.
    has_scanned: bool,
    flags: Flags,
    commands: &'static Commands,
    /// It may not write.
    reads_only: bool,
    /// It runs on a replica, which clients may not write to.
    is_replica: bool,
    has_written: bool,
    /// The time of its batch.
    began: Millis,
    /// After how many milliseconds others are refused.
    busy_ms: Option<i64>,
    /// The shards whose other clients are refused.
    busy: Vec<usize>,
    server: &'x ServerState,
    /// The slot of its keys; without any, that of the first key that it uses.
    slot: Option<Slot>,
}

impl<E: Executor> Host for RunningScript<'_, E> {
    fn call(
        &mut self,
        bytes: &[u8],
        spans: &[Span],
        proto: Proto,
        line: &dyn Fn() -> Option<usize>,
        reply: &mut Vec<u8>,
    ) -> Result<(), CallError> {
        let args = Args::new(bytes, spans);
        let invocation = match self.commands.resolve(args) {
            Ok(invocation) => invocation,
            Err(_) => return Err(self.refuse_unknown(args, line)),
        };
        let allowed = self.allows(&invocation);
        if !matches!(invocation.footprint, Footprint::Anywhere)
            && (invocation.slot().is_none() || invocation.slot() != self.declared_slot)
        {
            self.judge(&invocation, line, allowed.is_ok());
        }
        if invocation.spec.has(flag::NODE_LOCAL) {
            self.note_scope(&invocation);
        }
        if let Err(error) = allowed {
            self.on.stats().rejected(invocation.spec.id, error.text());
            return Err(error.into_text());
        }
        self.on.call_from_script(&invocation, &mut Sink::new(reply, proto));
        if invocation.spec.has(flag::READ) {
            self.on.remember_read_of_script(&invocation, &mut self.declared.clone());
        }
        Ok(())
    }

    fn has_command(&mut self, bytes: &[u8], spans: &[Span]) -> bool {
        self.commands.named(Args::new(bytes, spans)).is_some()
    }

    fn tick(&mut self) -> bool {
        let pace = self.on.pace();
        pace.step(STEPS_PER_TICK);
        let ran_ms = pace.now().saturating_sub(self.began);
        if self.server.running_scripts.has_to_end(self.began) {
            return true;
        }
        match self.busy_ms {
            Some(busy_ms) if ran_ms >= busy_ms => self.keep_busy(ran_ms),
            _ => false,
        }
    }
}

impl<'x, E: Executor> RunningScript<'x, E> {
    /// Returns a script of so many keys before it runs.
    pub(super) fn new(
        on: &'x mut E,
        name: ScriptName<'x>,
        (invocation, keys): (&Invocation<'x>, usize),
        (flags, reads_only): (Flags, bool),
        server: &'x ServerState,
    ) -> Self {
        let (port, began) = (on.port(), on.engine().keyspace.now());
        Self {
            on,
            name,
            args: invocation.args,
            declared: invocation.args.from(KEYS_FROM).take(keys),
            declared_slot: invocation.slot(),
            arguments: invocation.args.from(KEYS_FROM + keys),
            judged: 0,
            unit: None,
            first_used: None,
            has_scanned: false,
            flags,
            commands: Commands::of(server.product),
            reads_only: reads_only || flags.has(Flags::NO_WRITES),
            is_replica: server.topology.is_replica(port),
            has_written: false,
            began,
            busy_ms: server.node(port).settings.busy_ms(),
            busy: Vec::new(),
            server,
            slot: invocation.slot(),
        }
    }
}

impl<E> Drop for RunningScript<'_, E> {
    fn drop(&mut self) {
        self.busy.iter().for_each(|shard| self.server.running_scripts.end(*shard));
    }
}

impl<E: Executor> RunningScript<'_, E> {
    /// Returns the function as FUNCTION STATS shows it, if it is one.
    fn as_function(&self) -> Option<RunningFunction> {
        let ScriptName::Function { name, .. } = self.name else { return None };
        Some(RunningFunction::new(name, self.args.from(0), self.began))
    }

    /// Refuses the clients that wait for this script; returns whether it has to end.
    #[cold]
    fn keep_busy(&mut self, ran_ms: Millis) -> bool {
        let (running, has_written) = (&self.server.running_scripts, self.has_written);
        let kind = match self.name {
            ScriptName::Script { .. } => ScriptKind::Script,
            ScriptName::Function { .. } => ScriptKind::Function,
        };
        if self.busy.is_empty() {
            tracing::warn!(
                ran_ms,
                "a script runs for long; SCRIPT KILL or FUNCTION KILL ends it unless it has written"
            );
            self.busy = self.on.held_shards();
            running.begin(&self.busy, self.as_function());
        }
        let mut ends = false;
        for shard in &self.busy {
            ends |= running.keep_busy(*shard, has_written);
        }
        // Now that SCRIPT KILL finds the script.
        self.on.refuse_waiting(&Refusal::busy(kind));
        // With one thread no client can send it.
        ends || (self.on.pace().is_alone() && !has_written)
    }

    /// Records a key that the script was not given, in another slot than those that it was given.
    #[cold]
    fn judge(
        &mut self,
        invocation: &Invocation<'_>,
        line: &dyn Fn() -> Option<usize>,
        is_allowed: bool,
    ) {
        let port = self.on.port();
        // Such a script was sent to this node for the keys of this node.
        let is_of_node = self.has_scanned && self.declared_slot.is_none() && port != Port::Router;
        if self.judged == JUDGED_MAX || is_of_node && is_allowed {
            return;
        }
        let keys = self.declared.clone();
        let declared = Declared {
            first: keys.clone().next(),
            contains: &|key| keys.clone().any(|declared| declared == key),
            first_used: self.first_used.as_deref(),
            argument: &|key| FromArgument::of(key, self.arguments.clone()),
        };
        let call = judge::Call { script: self.name, line: line() };
        let shard_of = |slot| self.server.topology.shard_of(slot);
        let Some(finding) = judge::script(&call, declared, invocation, &shard_of) else { return };
        self.judged += 1;
        if self.first_used.is_none() {
            self.first_used = finding.keys.iter().next().map(<[u8]>::to_vec);
        }
        let fate = if is_allowed { Fate::Ran } else { Fate::Refused };
        let observer = &self.server.node(port).observer;
        let unit = *self.unit.get_or_insert_with(|| observer.recorder.unit());
        note_stray_key(observer, self.on.client(), finding, fate, unit);
    }

    /// Records a command whose scope is all keys: those of the node.
    #[cold]
    fn note_scope(&mut self, invocation: &Invocation<'_>) {
        self.has_scanned = true;
        if self.judged < JUDGED_MAX {
            self.judged += 1;
            note_scope_of_script(self.server, self.on.client(), self.on.port(), invocation);
        }
    }

    /// Records that a script called a command that Slotway does not have; its keys are judged all the same.
    #[cold]
    fn record_lacking(&mut self, args: Args<'_>, line: &dyn Fn() -> Option<usize>) {
        if self.judged == JUDGED_MAX {
            return;
        }
        self.judged += 1;
        let lacking = note_lacking_of_script(self.server, self.on.client(), args);
        if let Some(invocation) = lacking.filter(|one| one.slot() != self.declared_slot) {
            self.judge(&invocation, line, false);
        }
    }

    fn refuse_unknown(&mut self, args: Args<'_>, line: &dyn Fn() -> Option<usize>) -> CallError {
        let spec = self.commands.named(args);
        if spec.is_none() {
            self.record_lacking(args, line);
        }
        let error = match spec {
            Some(_) => "ERR Wrong number of args calling Redis command from script",
            None => "ERR Unknown Redis command called from script",
        };
        self.on.stats().rejected(spec.map_or(0, |spec| spec.id), error.as_bytes());
        Cow::Borrowed(error.as_bytes())
    }

    /// Checks whether a script may call this command.
    fn allows(&mut self, invocation: &Invocation<'_>) -> Result<(), Refusal> {
        let spec = invocation.spec;
        if spec.has(flag::NOSCRIPT) {
            return Err(Refusal::of("ERR This Redis command is not allowed from script"));
        }
        if self.reads_only && spec.has(flag::WRITE | flag::MAY_REPLICATE) {
            return Err(Refusal::of("ERR Write commands are not allowed from read-only scripts."));
        }
        if spec.writes() {
            if self.is_replica && !self.has_written {
                return Err(Refusal::READ_ONLY_REPLICA);
            }
            self.has_written = true;
        }
        self.reaches(invocation)
    }

    /// Checks whether the keys of a command are within a script's reach.
    fn reaches(&mut self, invocation: &Invocation<'_>) -> Result<(), Refusal> {
        let slot = match invocation.footprint {
            Footprint::Anywhere => return Ok(()),
            _ if self.on.reaches_all_slots() => return Ok(()),
            Footprint::Crossing { .. } => return Err(NON_LOCAL),
            Footprint::In(slot) => slot,
        };
        if !self.on.is_local(slot, invocation) {
            return Err(NON_LOCAL);
        }
        if !self.flags.has(Flags::COMPATIBLE | Flags::ALLOW_CROSS_SLOT_KEYS)
            && *self.slot.get_or_insert(slot) != slot
        {
            return Err(OTHER_SLOT);
        }
        Ok(())
    }
}
