//! The judge: which rule of a cluster a request breaks, by which command and which keys.
//!
//! One pure module for the ledger of a running server (`session/violations.rs`) and for
//! `slotway check` (`check/replay`). Both describe what they see as [`Command`]s and record the
//! [`Finding`]s; neither has a rule of its own.
//!
//! ```text
//! a command is admitted   reach, scope    cross-slot-command, undeclared-key, sort-by-pattern, node-local,
//!                                         other-database
//! a command runs          choice          other-database
//! WATCH                   watch           cross-slot-watch
//! EXEC                    exec            cross-slot-transaction, watch-elsewhere, shared-shard,
//!                                         exec-after-failed-watch
//! a script calls          script          undeclared-script-key, script-without-keys, shared-shard
//! ```
//!
//! A command that crosses slots is a violation of its own, and so is a WATCH. Within a transaction
//! the slots of such a command count as one, because the hashtag that mends the command brings them
//! together: what is reported of the transaction is what would still cross then.

mod script;

pub(crate) use script::{Call, Declared, ScriptName, line_of, script};

use super::from_argument::FromArgument;
use super::key_list::KeyList;
use super::pattern::pattern;
use super::rule::Rule;
use crate::slot::{Footprint, Slot};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Reports show the first keys of a finding: one that shows why it is one is among so many.
const WITNESS_WITHIN: usize = 8;
/// Different commands in the name of a transaction; the others are shown as `…`.
pub(crate) const NAMES_MAX: usize = 4;

/// A command's properties that the rules are about, beside its slots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Traits {
    /// It reads keys whose names it makes from a pattern: SORT with BY or GET.
    pub reads_by_pattern: bool,
    /// Without naming a key it reads or writes all that there are, which on a node of a cluster are
    /// that node's: DBSIZE, FLUSHALL.
    pub is_node_local: bool,
    /// It works between databases: MOVE, SWAPDB.
    pub is_between_databases: bool,
    /// Its arguments choose a database other than number 0: `SELECT 1`, `COPY a b DB 1`.
    pub chooses_database: bool,
    /// It crosses slots by keys alone that the server's declaration leaves out, so that no server
    /// refuses it: JSON.MGET.
    pub crosses_undeclared: bool,
}

/// A command with its arguments, as the judge sees it.
pub(crate) trait Command {
    /// Its name as Redis shows it: `get`, `client|list`.
    fn name(&self) -> Cow<'_, str>;
    /// The slots that it asks for.
    fn footprint(&self) -> Footprint;
    /// Its properties.
    fn traits(&self) -> Traits;
    /// Calls `found` with each of its keys, in their order.
    fn each_key(&self, found: &mut dyn FnMut(&[u8]));
    /// Calls `found` with all that has a slot, in its order: keys, and shard channels.
    fn each_with_slot(&self, found: &mut dyn FnMut(&[u8]));
    /// The glob pattern of the keys that it asks for instead of naming them: KEYS, SCAN with MATCH.
    fn glob(&self) -> Option<Cow<'_, [u8]>> {
        None
    }
}

/// A violation: the rule, and what breaks it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// The rule that was broken.
    pub rule: Rule,
    /// The command that broke it, or `multi: ` and the commands of the transaction.
    pub command: String,
    /// The command's place in its transaction, from 1; `None` outside a transaction, and where the rule
    /// is about no single command.
    pub place: Option<usize>,
    /// Of a key that a script was not given: the argument that it was made from.
    pub from: Option<FromArgument>,
    /// The keys concerned.
    pub keys: KeyList,
}

/// How a server treats a guard (the keys of WATCH) in another slot than the transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GuardPolicy {
    /// As one server without slots does: under an audit, and in a recording of such a server. A WATCH of
    /// several slots has been reported by itself then.
    Standalone,
    /// EXEC refuses the transaction.
    Refused,
    /// EXEC runs it: the node guards all keys that it owns.
    Ignored,
}

/// Returns the rules that a command breaks by the keys that it names, or makes from a pattern.
pub(crate) fn reach(command: &impl Command) -> impl Iterator<Item = Rule> {
    let crosses = matches!(command.footprint(), Footprint::Crossing { .. });
    let Traits { crosses_undeclared, reads_by_pattern, .. } = command.traits();
    let rules = [
        (crosses && !crosses_undeclared).then_some(Rule::CrossSlotCommand),
        (crosses && crosses_undeclared).then_some(Rule::UndeclaredKey),
        reads_by_pattern.then_some(Rule::SortByPattern),
    ];
    rules.into_iter().flatten()
}

/// Returns the rules that a command breaks by its scope: all keys, or another database. Without
/// `has_databases` a command between databases is refused when it runs, and reported then.
pub(crate) fn scope(command: &impl Command, has_databases: bool) -> impl Iterator<Item = Rule> {
    let Traits { is_node_local, is_between_databases, .. } = command.traits();
    let rules = [
        is_node_local.then_some(Rule::NodeLocal),
        (is_between_databases && has_databases).then_some(Rule::OtherDatabase),
    ];
    rules.into_iter().flatten()
}

/// Returns the rule that a command breaks when it runs: it chooses another database.
#[must_use]
pub(crate) fn choice(command: &impl Command) -> Option<Rule> {
    command.traits().chooses_database.then_some(Rule::OtherDatabase)
}

/// Returns the place of a transaction's next command, after `kept` commands. After a refused command
/// (`is_spoilt`) the transaction keeps none, so that the place is not known.
#[must_use]
pub(crate) fn next_place(kept: usize, is_spoilt: bool) -> Option<usize> {
    (!is_spoilt).then_some(kept + 1)
}

/// Describes a command that breaks a rule by itself, perhaps at a place in a transaction.
#[must_use]
pub(crate) fn by_command(rule: Rule, command: &impl Command, place: Option<usize>) -> Finding {
    let keys = Witnessed::of(command).into_keys();
    let name = command.name();
    // `keys cart:<int>:*`: the keys that it asks for say where to mend it.
    let command = match command.glob().filter(|_| rule == Rule::NodeLocal) {
        Some(glob) => format!("{name} {}", pattern(&glob)),
        None => name.into_owned(),
    };
    Finding { rule, command, place, from: None, keys }
}

/// Describes the use of a database other than number 0, which the command of this name chose; `keys`
/// are in it.
#[must_use]
pub(crate) fn other_database(command: &str, keys: KeyList) -> Finding {
    Finding {
        rule: Rule::OtherDatabase,
        command: command.to_owned(),
        place: None,
        from: None,
        keys,
    }
}

/// Judges a WATCH, which must not cross slots by itself or together with the guard. `guard` is the
/// slot of the key that was watched first, and all keys watched so far in the order of their bytes.
#[must_use]
pub(crate) fn watch(guard: Option<(Slot, &[&[u8]])>, command: &impl Command) -> Option<Finding> {
    let crosses = match command.footprint() {
        Footprint::Anywhere => false,
        Footprint::In(slot) => guard.is_some_and(|(guarded, _)| guarded != slot),
        Footprint::Crossing { .. } => true,
    };
    let guarded = guard.map_or(&[][..], |(_, keys)| keys);
    crosses.then(|| {
        let mut keys = Witnessed::default();
        guarded.iter().for_each(|key| keys.add(key));
        command.each_key(&mut |key| keys.add(key));
        let (rule, command) = (Rule::CrossSlotWatch, command.name().into_owned());
        Finding { rule, command, place: None, from: None, keys: keys.into_keys() }
    })
}

/// Returns the rule that a transaction breaks at EXEC, by its commands and the keys of its guard.
#[must_use]
pub(crate) fn exec<C: Command>(queue: &[C], guard: &[&[u8]], policy: GuardPolicy) -> Option<Rule> {
    let home = first_slot(queue)?;
    let mut joined = JoinedSlots::of(queue);
    if elsewhere(queue, &mut joined).is_some() {
        return Some(Rule::CrossSlotTransaction);
    }
    let away = guard.iter().filter(|key| !joined.are_one(Slot::of(key), home)).count();
    match policy {
        // If only some are away, the WATCH itself crosses slots and is reported already.
        GuardPolicy::Standalone => {
            (away > 0 && away == guard.len()).then_some(Rule::WatchElsewhere)
        }
        GuardPolicy::Refused => (away > 0).then_some(Rule::WatchElsewhere),
        GuardPolicy::Ignored => (away > 0).then_some(Rule::SharedShard),
    }
}

/// Returns the rule that a transaction breaks after a WATCH that was refused: it would run without its
/// guard.
#[must_use]
pub(crate) fn unguarded(watch_failed: bool) -> Option<Rule> {
    watch_failed.then_some(Rule::ExecAfterFailedWatch)
}

/// Describes a transaction that breaks a rule: named after its commands, with the keys that the rule
/// is about.
#[must_use]
pub(crate) fn by_transaction<C: Command>(rule: Rule, queue: &[C], guard: &[&[u8]]) -> Finding {
    let is_about_guard = matches!(rule, Rule::WatchElsewhere | Rule::SharedShard);
    let place = match rule {
        Rule::CrossSlotTransaction => elsewhere(queue, &mut JoinedSlots::of(queue)),
        _ => None,
    };
    let mut keys = Witnessed::default();
    guard.iter().filter(|_| is_about_guard).for_each(|key| keys.add(key));
    for (at, command) in (1..).zip(queue) {
        if place == Some(at) {
            // What came before crosses by commands that are reported by themselves.
            keys.witness = None;
        }
        command.each_key(&mut |key| keys.add(key));
    }
    Finding { rule, command: transaction_name(queue), place, from: None, keys: keys.into_keys() }
}

/// Judges keys that are used together by commands which are not known.
#[must_use]
pub(crate) fn key_set(keys: &[&[u8]]) -> Option<Finding> {
    let crosses = matches!(Footprint::of(keys.iter().copied()), Footprint::Crossing { .. });
    crosses.then(|| Finding {
        rule: Rule::CrossSlotTransaction,
        command: String::new(),
        place: None,
        from: None,
        keys: keys.iter().copied().collect(),
    })
}

/// The keys of a finding, with the first one that is in another slot than the first.
#[derive(Debug, Default)]
struct Witnessed {
    keys: KeyList,
    home: Option<Slot>,
    witness: Option<Vec<u8>>,
}

impl Witnessed {
    fn of(command: &impl Command) -> Self {
        let mut keys = Self::default();
        command.each_key(&mut |key| keys.add(key));
        keys
    }

    fn add(&mut self, key: &[u8]) {
        self.keys.add(key);
        if self.witness.is_none() {
            let slot = Slot::of(key);
            if *self.home.get_or_insert(slot) != slot {
                self.witness = Some(key.to_vec());
            }
        }
    }

    /// Returns the keys in their order; a witness far behind comes second.
    fn into_keys(self) -> KeyList {
        let Self { keys, witness: Some(witness), .. } = self else { return self.keys };
        if keys.iter().take(WITNESS_WITHIN).any(|key| key == witness) {
            return keys;
        }
        let mut led: KeyList = keys.iter().take(1).chain([&*witness]).collect();
        keys.iter().skip(1).for_each(|key| led.add(key));
        let is_shown = keys.iter().any(|key| key == witness);
        led.hide(keys.hidden() - usize::from(!is_shown));
        led
    }
}

/// Returns `multi: decrby, incrby`: each name once.
fn transaction_name<C: Command>(queue: &[C]) -> String {
    let mut names: Vec<Cow<'_, str>> = Vec::new();
    for command in queue {
        let name = command.name();
        if names.contains(&name) {
            continue;
        }
        if names.len() == NAMES_MAX {
            names.push("…".into());
            break;
        }
        names.push(name);
    }
    format!("multi: {}", names.join(", "))
}

/// Returns the slot of the first command that has one.
fn first_slot<C: Command>(queue: &[C]) -> Option<Slot> {
    queue.iter().find_map(|command| slot_of(command.footprint()))
}

fn slot_of(footprint: Footprint) -> Option<Slot> {
    match footprint {
        Footprint::Anywhere => None,
        Footprint::In(slot) | Footprint::Crossing { first: slot, .. } => Some(slot),
    }
}

/// Returns the place, from 1, of the first command that is in another slot than the transaction.
fn elsewhere<C: Command>(queue: &[C], joined: &mut JoinedSlots) -> Option<usize> {
    let home = first_slot(queue)?;
    let is_away =
        |command: &C| slot_of(command.footprint()).is_some_and(|slot| !joined.are_one(slot, home));
    queue.iter().position(is_away).map(|at| at + 1)
}

/// Slots that count as one because a command of the transaction asks for both: union-find.
#[derive(Debug, Default)]
struct JoinedSlots {
    /// A root has no row.
    parents: BTreeMap<Slot, Slot>,
}

impl JoinedSlots {
    fn of<C: Command>(queue: &[C]) -> Self {
        let mut joined = Self::default();
        for command in queue {
            if let Footprint::Crossing { first, other, .. } = command.footprint() {
                joined.join(first, other);
                command.each_with_slot(&mut |key| joined.join(first, Slot::of(key)));
            }
        }
        joined
    }

    fn root(&mut self, mut slot: Slot) -> Slot {
        while let Some(&parent) = self.parents.get(&slot) {
            // Halves the path for the next search.
            if let Some(&next) = self.parents.get(&parent) {
                self.parents.insert(slot, next);
            }
            slot = parent;
        }
        slot
    }

    fn join(&mut self, a: Slot, b: Slot) {
        let (a, b) = (self.root(a), self.root(b));
        if a != b {
            self.parents.insert(b, a);
        }
    }

    fn are_one(&mut self, a: Slot, b: Slot) -> bool {
        self.root(a) == self.root(b)
    }
}

#[cfg(test)]
mod tests;
