//! Replays the commands of clients, one by one, and enters into the ledger what a cluster would have
//! refused: one standalone Redis ran them all, so that a recording has everything.
//!
//! ```text
//! WATCH a ─► guard ──┐
//! MULTI              │ EXEC: the commands of the queue, the keys of the guard ─► violations, groups
//! SET b ───► queue ──┘       a watched key that was written ──────────────────► conflicts
//! anything else ──────────────────────────────────────────────────────────────► violations, groups
//! ```
//!
//! The judge ([`judge`]) decides which rule is broken, as it does for a running server.

mod client;
mod keys;
mod script;
#[cfg(test)]
mod tests;

use self::client::{Change, ClientState, Guard, Queue, bytes_of};
use self::keys::Keys;
use self::script::{Script, ScriptTexts};
use crate::command::{self, Args, Invocation, Run, SessionCommand, Spec, flag, foreign};
use crate::ledger::judge::{self, Finding, GuardPolicy};
use crate::ledger::lru::{LruTable, Name};
use crate::ledger::{Breach, Fate, FromArgument, KeyList, Ledger, LostExec, Origin, Spot};
use crate::report::Found;
use crate::topology::Topology;
use std::collections::HashSet;

/// Clients whose state is kept.
pub(crate) const CLIENTS_MAX: usize = 16_384;
/// Clients with a WATCH whose keys are compared with what others write.
const WATCHING_MAX: usize = 256;
/// Memory that the open transactions and the watched keys of all clients take, in bytes, about. What
/// is beyond is not judged, which the report says.
const KEPT_BYTES_MAX: usize = 256 << 20;
/// Keys of a script that are kept to find its group.
const SCRIPT_KEYS_MAX: usize = 4096;

/// A command of a source, with what the source records about it.
#[derive(Clone, Copy, Debug)]
pub struct SeenCommand<'a> {
    /// Its words.
    pub args: Args<'a>,
    /// The client that sent it; empty if all commands are one client's.
    pub client: &'a [u8],
    /// The database that it ran in, if the source has that.
    pub database: Option<u64>,
    /// When, in milliseconds since the epoch.
    pub at_ms: Option<u64>,
    /// Its position in the source.
    pub spot: Spot,
    /// Whether a script called it.
    pub by_script: bool,
    /// Whether the source has only what a server accepted. Otherwise a command with a wrong number of
    /// arguments counts as refused.
    pub has_run: bool,
}

/// Replays what clients sent.
#[derive(Debug)]
pub struct Replay {
    /// The ledger that findings are entered into.
    pub ledger: Ledger,
    topology: Topology,
    clients: LruTable<Vec<u8>, ClientState>,
    /// The place of the client whose command is being taken.
    place: usize,
    /// The clients that watch keys, at most [`WATCHING_MAX`].
    watching: Vec<Vec<u8>>,
    script: Option<Script>,
    /// The texts of scripts that were seen.
    texts: ScriptTexts,
    /// Units that have a number: commands, transactions and scripts.
    units: u64,
    /// What counts for [`KEPT_BYTES_MAX`], or more: evicted clients are taken off when it is reached.
    kept_bytes: usize,
}

impl Replay {
    /// A replay for what would be a cluster with so many shards, at least one.
    #[must_use]
    pub fn new(shards: usize) -> Self {
        Self {
            ledger: Ledger::default(),
            topology: Topology::even(shards.max(1)),
            clients: LruTable::new(CLIENTS_MAX),
            place: 0,
            watching: Vec::new(),
            script: None,
            texts: ScriptTexts::default(),
            units: 0,
            kept_bytes: 0,
        }
    }

    /// Returns a replay for another server's clients, in what would be a cluster of the same shape.
    #[must_use]
    pub(crate) fn sibling(&self) -> Self {
        Self::new(self.topology.shards())
    }

    /// Returns what a report is made from.
    #[must_use]
    pub fn found(&self) -> Found<'_> {
        Found { ledger: &self.ledger, topology: &self.topology, title: "slotway check" }
    }

    /// Forgets a client with its transaction: the next line is another client's.
    pub fn forget_client(&mut self, client: &[u8]) {
        if let Some(mut state) = self.clients.remove(client) {
            let (queue, guard) = state.end_transaction();
            self.release(queue.as_ref());
            self.stop_watching(client, &guard);
        }
    }

    /// Whether a client is in the middle of a transaction.
    #[must_use]
    pub fn is_queueing(&self, client: &[u8]) -> bool {
        self.clients.get(&Name(client)).is_some_and(|state| state.queue.is_some())
    }

    /// Takes keys that are used together, without commands: a line of keys.
    pub fn keys_together(&mut self, keys: &[&[u8]], spot: Spot) {
        keys.iter().for_each(|key| self.ledger.key_stats.used(key));
        self.ledger.key_groups.enter(keys);
        self.ledger.counts.transactions += 1;
        if let Some(finding) = judge::key_set(keys) {
            self.enter(&finding, &Origin::default(), None, spot, None);
        }
    }

    /// Takes a key that is stored in a database other than number 0.
    pub fn key_in_other_database(&mut self, key: &[u8]) {
        let finding = judge::other_database("select", [key].into_iter().collect());
        self.enter(&finding, &Origin::default(), None, Spot::Live, None);
    }

    /// Takes a command.
    pub fn command(&mut self, seen: &SeenCommand<'_>) {
        self.ledger.counts.commands += 1;
        let args = seen.args;
        let Some(spec) = foreign::find(args) else {
            self.find_client(seen);
            return self.unknown(seen);
        };
        self.ledger.counts.foreign += u64::from(foreign::is_foreign(spec));
        let (keys, footprint) = Keys::of(spec, args);
        let (keys, slots) = (keys.keys(), keys.slots());
        let invocation = Invocation { spec, args, footprint, known: None };
        let control = match spec.run {
            Run::Session(command) => Some(command),
            _ => None,
        };
        if control != Some(SessionCommand::Watch) {
            let used = keys.iter().zip(slots);
            used.for_each(|(key, slot)| self.ledger.key_stats.used_in(*slot, key));
        }
        if seen.by_script {
            return self.by_script(seen, &invocation, keys);
        }
        self.end_script();
        self.find_client(seen);
        let is_queueing = self.state().queue.is_some();
        if is_refused(seen, spec, is_queueing) {
            return self.refuse(seen, control);
        }
        self.database(seen, &invocation);
        match control {
            // Within a transaction MULTI and WATCH are errors that change nothing.
            Some(SessionCommand::Multi | SessionCommand::Watch) if is_queueing => {}
            Some(SessionCommand::Exec | SessionCommand::Discard) if !is_queueing => {}
            Some(SessionCommand::Multi) => self.state().queue = Some(Queue::default()),
            Some(SessionCommand::Watch) => self.watch(seen, &invocation, keys),
            Some(SessionCommand::Exec) => self.exec(seen),
            Some(SessionCommand::Unwatch) if is_queueing => self.plain(seen, &invocation, keys),
            Some(SessionCommand::Unwatch) => {
                let state = self.state();
                let guard = std::mem::take(&mut state.guard);
                state.watch_failed = false;
                self.stop_watching(seen.client, &guard);
            }
            Some(SessionCommand::Discard | SessionCommand::Reset | SessionCommand::Quit) => {
                self.end_transaction(seen);
            }
            _ => {
                match (spec.parent, spec.name) {
                    ("client", _) | ("", "hello") => self.state().note_labels(&invocation),
                    ("script", "load") => drop(self.texts.add(args.get(2).unwrap_or_default())),
                    _ => {}
                }
                self.plain(seen, &invocation, keys);
            }
        }
    }

    /// Ends what the source leaves open.
    pub fn end(&mut self) {
        self.end_script();
    }

    /// Finds the client of a command: its state is that of [`Replay::state`] from here on.
    fn find_client(&mut self, seen: &SeenCommand<'_>) {
        let client = seen.client;
        self.place =
            self.clients.place(&Name(client), || client.to_vec(), || ClientState::new(client));
    }

    /// Returns the state of the client whose command is being taken.
    fn state(&mut self) -> &mut ClientState {
        self.clients.at(self.place)
    }

    /// Returns the number of the unit that a client's command is part of: its transaction, or itself.
    fn unit(&mut self) -> u64 {
        let next = self.units + 1;
        let queue = self.state().queue.as_mut();
        let unit = queue.map_or(next, |queue| *queue.unit.get_or_insert(next));
        self.units = self.units.max(unit);
        unit
    }

    /// Returns the transaction that a client has begun, or begins one.
    fn queue(&mut self) -> &mut Queue {
        self.state().queue.get_or_insert_default()
    }

    /// Ends a client's transaction and its guard.
    fn end_transaction(&mut self, seen: &SeenCommand<'_>) -> (Option<Queue>, Guard) {
        let (queue, guard) = self.state().end_transaction();
        self.release(queue.as_ref());
        self.stop_watching(seen.client, &guard);
        (queue, guard)
    }

    fn stop_watching(&mut self, client: &[u8], guard: &Guard) {
        self.kept_bytes = self.kept_bytes.saturating_sub(guard.bytes());
        self.watching.retain(|other| other != client);
    }

    fn release(&mut self, queue: Option<&Queue>) {
        self.kept_bytes = self.kept_bytes.saturating_sub(queue.map_or(0, |queue| queue.bytes));
    }

    /// Whether a command with these keys can be kept; if not, it is counted.
    fn has_room_for(&mut self, keys: &[&[u8]]) -> bool {
        let bytes = bytes_of(keys);
        if self.kept_bytes + bytes > KEPT_BYTES_MAX {
            let kept = self.clients.iter().map(|(_, state)| {
                state.guard.bytes() + state.queue.as_ref().map_or(0, |queue| queue.bytes)
            });
            self.kept_bytes = kept.sum();
        }
        let has_room = self.kept_bytes + bytes <= KEPT_BYTES_MAX;
        self.kept_bytes += if has_room { bytes } else { 0 };
        self.ledger.unjudged += u64::from(!has_room);
        has_room
    }

    /// Enters a finding about a client's command; `unit` is the number of the unit it is part of.
    fn record(&mut self, seen: &SeenCommand<'_>, finding: &Finding, unit: Option<u64>) {
        let origin = self.state().origin.clone();
        self.enter(finding, &origin, seen.at_ms, seen.spot, unit);
    }

    fn enter(
        &mut self,
        finding: &Finding,
        origin: &Origin,
        at_ms: Option<u64>,
        spot: Spot,
        unit: Option<u64>,
    ) {
        let Finding { rule, command, place, from, keys } = finding;
        let shown: Vec<&[u8]> = keys.iter().collect();
        self.ledger.violations.enter(&Breach {
            rule: *rule,
            command,
            keys: &shown,
            keys_hidden: keys.hidden(),
            place: *place,
            from: *from,
            origin,
            at_ms,
            spot,
            fate: Fate::Ran,
            unit,
        });
    }

    /// Takes a command that no server in the tables has. If it has run, its keys remain unknown.
    fn unknown(&mut self, seen: &SeenCommand<'_>) {
        let name = seen.args.at(0);
        // A subcommand that a known container lacks is an error on every server.
        if seen.has_run || command::find(name).is_none() {
            self.ledger.unknown.enter(name);
        }
        if self.state().queue.is_none() {
            return;
        }
        if !seen.has_run {
            self.queue().is_spoilt = true;
        } else if self.has_room_for(&[]) {
            self.queue().push_unknown(name);
        }
    }

    /// Takes a command that any server refuses before it runs or is queued, which spoils the transaction
    /// it belongs to.
    fn refuse(&mut self, seen: &SeenCommand<'_>, control: Option<SessionCommand>) {
        let state = self.state();
        match (control, &mut state.queue) {
            (Some(SessionCommand::Exec), _) => drop(self.end_transaction(seen)),
            (_, Some(queue)) => queue.is_spoilt = true,
            (Some(SessionCommand::Watch), None) => state.watch_failed = true,
            (_, None) => {}
        }
    }

    /// Records that a client works in another database than number 0, if its SELECT came before the
    /// source began.
    fn database(&mut self, seen: &SeenCommand<'_>, invocation: &Invocation<'_>) {
        if let Run::Session(SessionCommand::Select) = invocation.spec.run {
            // What it breaks is recorded when it runs.
            self.state().has_left_database |= judge::choice(invocation).is_some();
        } else if seen.database.is_some_and(|number| number != 0)
            && !std::mem::replace(&mut self.state().has_left_database, true)
        {
            self.record(seen, &judge::other_database("select", KeyList::default()), None);
        }
    }

    /// Takes a command that runs, or is queued.
    fn plain(&mut self, seen: &SeenCommand<'_>, invocation: &Invocation<'_>, keys: &[&[u8]]) {
        let spec = invocation.spec;
        let unit = self.unit();
        let queue = &self.state().queue;
        let place = queue.as_ref().and_then(Queue::next_place);
        let (is_queued, is_spoilt) = (queue.is_some(), queue.as_ref().is_some_and(|q| q.is_spoilt));
        if is_queued && self.has_room_for(keys) {
            self.queue().push(invocation, keys);
        }
        if invocation.may_break_rules() {
            for rule in judge::reach(invocation).chain(judge::scope(invocation, true)) {
                self.record(seen, &judge::by_command(rule, invocation, place), Some(unit));
            }
            // A database is chosen when the command runs: a unit by itself, as on a server.
            if let Some(rule) = judge::choice(invocation).filter(|_| !is_queued) {
                self.record(seen, &judge::by_command(rule, invocation, place), None);
            }
        }
        if foreign::is_script(spec) {
            self.ledger.counts.scripts += 1;
            let origin = self.state().origin.clone();
            let script = (spec, invocation.args);
            self.script = Some(Script::new(script, keys, origin, unit, &mut self.texts));
        } else if !is_queued {
            self.ledger.key_groups.enter(keys);
        }
        if spec.trips_watch() && !is_spoilt && !self.watching.is_empty() {
            let writer = self.state().origin.clone();
            self.changed(seen, &writer, invocation);
        }
    }

    /// Marks the watched keys that a command changes. FLUSHALL and its like change all.
    fn changed(&mut self, seen: &SeenCommand<'_>, writer: &Origin, invocation: &Invocation<'_>) {
        let Invocation { spec, args, .. } = *invocation;
        let command = spec.full_name();
        // A set: looking for each watched key among very many would take long.
        let mut written: HashSet<&[u8]> = HashSet::new();
        spec.each_written_key(args, |key| {
            written.insert(key);
        });
        let is_hit = |key: &[u8]| spec.keys.is_empty() || written.contains(key);
        for client in &self.watching {
            let Some(state) = self.clients.get_mut(client) else { continue };
            // Its own transaction changes what it watched, and that is no conflict.
            if state.queue.is_some() && client == seen.client {
                continue;
            }
            for (key, watched) in &mut state.guard.keys {
                if watched.change.is_none() && is_hit(key) {
                    let (command, writer, at_ms) = (command.clone(), writer.clone(), seen.at_ms);
                    watched.change = Some(Change { command, writer, at_ms });
                }
            }
        }
    }

    fn watch(&mut self, seen: &SeenCommand<'_>, invocation: &Invocation<'_>, keys: &[&[u8]]) {
        if let Some(finding) = self.state().guard.judge(invocation) {
            self.record(seen, &finding, None);
        }
        for key in keys {
            let is_new = !self.state().guard.keys.contains_key(*key);
            if is_new && self.has_room_for(&[key]) {
                self.state().guard.add(key, seen.at_ms);
            }
        }
        let is_known = self.watching.iter().any(|client| client == seen.client);
        if !is_known && self.watching.len() < WATCHING_MAX {
            self.watching.push(seen.client.to_vec());
        }
    }

    fn exec(&mut self, seen: &SeenCommand<'_>) {
        let unit = Some(self.unit());
        let unguarded = judge::unguarded(self.state().watch_failed);
        let (Some(queue), guard) = self.end_transaction(seen) else { return };
        let (commands, guarded) = (queue.commands, guard.keys());
        if let Some(rule) = unguarded {
            self.record(seen, &judge::by_transaction(rule, &commands, &[]), unit);
        }
        if queue.is_spoilt || unguarded.is_some() {
            return;
        }
        // An empty one, or, in MONITOR, one that was aborted: its commands are not shown.
        self.ledger.counts.transactions += u64::from(!commands.is_empty());
        let mut all: KeyList = guarded.iter().copied().collect();
        commands
            .iter()
            .for_each(|queued| judge::Command::each_key(queued, &mut |key| all.add(key)));
        self.ledger.key_groups.enter(&all.iter().collect::<Vec<_>>());
        for queued in &commands {
            if let Some(rule) = judge::choice(queued) {
                self.record(seen, &judge::by_command(rule, queued, None), None);
            }
        }
        if let Some(rule) = judge::exec(&commands, &guarded, GuardPolicy::Standalone) {
            self.record(seen, &judge::by_transaction(rule, &commands, &guarded), unit);
        }
        if guarded.is_empty() {
            return;
        }
        // What MONITOR shows of a transaction that was aborted is its EXEC alone.
        if commands.is_empty() {
            self.enter_lost_exec(seen, &guard);
        } else {
            let attempts = std::mem::take(&mut self.state().lost) + 1;
            self.ledger.conflicts.committed(attempts);
        }
    }

    /// Enters an EXEC that ran nothing: it lost if a watched key was changed.
    fn enter_lost_exec(&mut self, seen: &SeenCommand<'_>, guard: &Guard) {
        let loser = self.state().origin.clone();
        let mut is_lost = false;
        for (key, watched) in &guard.keys {
            let Some(change) = &watched.change else { continue };
            is_lost = true;
            let age_ms =
                change.at_ms.zip(watched.at_ms).map(|(end, start)| end.saturating_sub(start));
            self.ledger.conflicts.enter(&LostExec {
                key,
                command: &change.command,
                winner: &change.writer,
                loser: &loser,
                age_ms,
                at_ms: seen.at_ms,
            });
        }
        self.state().lost += u64::from(is_lost);
    }

    /// Takes a command that the running script calls.
    fn by_script(&mut self, seen: &SeenCommand<'_>, invocation: &Invocation<'_>, keys: &[&[u8]]) {
        let Some(script) = &mut self.script else { return };
        for key in keys {
            let has_room = script.together.len() < SCRIPT_KEYS_MAX;
            if has_room && !script.declared.contains(*key) && script.used.insert(key.to_vec()) {
                script.together.push(key.to_vec());
            }
        }
        let declared = judge::Declared {
            first: script.first.as_deref(),
            contains: &|key| script.declared.contains(key),
            first_used: script.together.first().map(Vec::as_slice),
            argument: &|key| FromArgument::of(key, script.arguments.iter().map(Vec::as_slice)),
        };
        let shard_of = |slot| self.topology.shard_of(slot);
        let name = invocation.spec.full_name();
        let call = script.call(&name, &self.texts);
        let finding = judge::script(&call, declared, invocation, &shard_of);
        let writes = invocation.spec.trips_watch() && !self.watching.is_empty();
        let unit = script.unit;
        if finding.is_none() && !writes {
            return;
        }
        let origin = script.origin.clone();
        if let Some(finding) = finding {
            self.enter(&finding, &origin, seen.at_ms, seen.spot, Some(unit));
        }
        if writes {
            self.changed(seen, &origin, invocation);
        }
    }

    /// Ends the script: the keys it was given and the keys it used are one group.
    fn end_script(&mut self) {
        if let Some(script) = self.script.take() {
            let keys: Vec<&[u8]> = script.together.iter().map(Vec::as_slice).collect();
            self.ledger.key_groups.enter(&keys);
        }
    }
}

/// Whether any server refuses a command, whatever its keys.
fn is_refused(seen: &SeenCommand<'_>, spec: &Spec, is_queueing: bool) -> bool {
    let is_forbidden = is_queueing
        && spec.flags & flag::NO_MULTI != 0
        && !matches!(spec.run, Run::Session(SessionCommand::Multi | SessionCommand::Watch));
    !seen.has_run && (is_forbidden || !spec.arity.admits(seen.args.len()))
}
