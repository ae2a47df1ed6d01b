//! Passes the requests of a session to the judge ([`judge`]) and records its findings: the rule
//! that a request breaks, the keys of the whole transaction, and whether an EXEC ran.
//!
//! There is one call at each place where a request is refused, or would be. The session does not
//! change here, and the rules are the judge's.

use super::{Transaction, Watched};
use crate::command::{
    Args, Invocation, NAME_LEN_MAX, Queue, Refusal, Spec, find, flag, foreign, numbered,
};
use crate::dialect::{Dialect, Tie};
use crate::ledger::judge::{self, Finding, GuardPolicy};
use crate::ledger::{Fate, Rule, Weight};
use crate::slot::Footprint;
use crate::state::clients::Client;
use crate::state::settings::CrossSlot;
use crate::state::{About, Note, NoteKeys, Observer, ServerState};
use crate::topology::Port;
use std::num::NonZeroU64;
use std::sync::Arc;

/// Records a finding; `unit` has the number of the unit that it is part of.
fn record(
    observer: &Observer,
    client: Option<Arc<Client>>,
    finding: Finding,
    fate: Fate,
    unit: Option<NonZeroU64>,
) {
    let Finding { rule, command, place, from, keys } = finding;
    let about = About::Breach { rule, command, place, from, fate, unit };
    observer.recorder.take(Note { client, keys, about });
}

/// Records a key that a script uses and was not given; the script is a unit of this number.
pub(crate) fn note_stray_key(
    observer: &Observer,
    client: &Arc<Client>,
    finding: Finding,
    fate: Fate,
    unit: NonZeroU64,
) {
    record(observer, Some(Arc::clone(client)), finding, fate, Some(unit));
}

/// Returns the number of a transaction's unit, which it gets with its first finding.
fn unit_of(observer: &Observer, transaction: &Transaction) -> NonZeroU64 {
    let unit = transaction.unit.get().unwrap_or_else(|| observer.recorder.unit());
    transaction.unit.set(Some(unit));
    unit
}

/// Records that a command breaks a rule by itself; `transaction` is the one that contains it.
pub(super) fn command(
    server: &ServerState,
    client: &Arc<Client>,
    rule: Rule,
    invocation: &Invocation<'_>,
    transaction: Option<&Transaction>,
    fate: Fate,
) {
    let observer = &server.node(client.port).observer;
    let unit = transaction.map(|transaction| unit_of(observer, transaction));
    by_command(observer, client, rule, invocation, transaction, fate, unit);
}

fn by_command(
    observer: &Observer,
    client: &Arc<Client>,
    rule: Rule,
    invocation: &Invocation<'_>,
    transaction: Option<&Transaction>,
    fate: Fate,
    unit: Option<NonZeroU64>,
) {
    let place = transaction.and_then(|it| judge::next_place(it.queue.len(), !it.is_kept()));
    let finding = judge::by_command(rule, invocation, place);
    record(observer, Some(Arc::clone(client)), finding, fate, unit);
}

/// Records a command that runs over several slots, or by keys that it does not name, where that is
/// allowed.
#[cold]
pub(super) fn across(
    server: &ServerState,
    client: &Arc<Client>,
    invocation: &Invocation<'_>,
    transaction: Option<&Transaction>,
    fate: Fate,
) {
    let observer = &server.node(client.port).observer;
    let rules: Vec<Rule> = judge::reach(invocation).collect();
    // Without a number a command is a unit by itself, which it is if it breaks one rule.
    let lone = || (rules.len() > 1).then(|| observer.recorder.unit());
    let unit = transaction.map_or_else(lone, |within| Some(unit_of(observer, within)));
    for rule in rules {
        by_command(observer, client, rule, invocation, transaction, fate, unit);
    }
}

/// Records a WATCH that crosses slots, by itself or with the keys watched already.
pub(super) fn watch(
    server: &ServerState,
    client: &Arc<Client>,
    invocation: &Invocation<'_>,
    watched: Option<&Watched>,
    fate: Fate,
) {
    let guard = guard(watched);
    let guard = watched.map(|watched| (watched.slot, &*guard));
    if let Some(finding) = judge::watch(guard, invocation) {
        let observer = &server.node(client.port).observer;
        record(observer, Some(Arc::clone(client)), finding, fate, None);
    }
}

/// Records a transaction that breaks a rule: when `next` is to be queued, or when it is to be run.
/// Each is recorded once; of later commands, only the keys are.
pub(super) fn transaction(
    server: &ServerState,
    client: &Arc<Client>,
    rule: Rule,
    transaction: &mut Transaction,
    watched: Option<&Watched>,
    next: Option<&Invocation<'_>>,
    fate: Fate,
) {
    let queue: Vec<Invocation<'_>> = transaction.queue.iter().chain(next.copied()).collect();
    let finding = judge::by_transaction(rule, &queue, &guard(watched));
    let (of, observer) = (Some(Arc::clone(client)), &server.node(client.port).observer);
    if std::mem::replace(&mut transaction.is_noted, true) {
        let (keys, about) = (finding.keys, About::More);
        observer.recorder.take(Note { client: of, keys, about });
    } else {
        let unit = Some(unit_of(observer, transaction));
        record(observer, of, finding, fate, unit);
    }
}

/// Records that a transaction which is to be run breaks a rule after all, or, if the sample
/// includes it, which keys it uses together.
#[inline]
pub(super) fn exec(
    server: &ServerState,
    client: &Arc<Client>,
    dialect: &Dialect,
    transaction: &mut Transaction,
    watched: Option<&Watched>,
) {
    let is_elsewhere = |w: &Watched| w.crosses || Some(w.slot) != transaction.slot;
    let parts = transaction.slot.is_some() && watched.is_some_and(is_elsewhere);
    let is_lost = watched.is_some_and(|watched| watched.guard.is_tripped());
    let only_judged = transaction.is_lacking || is_lost;
    if transaction.is_lacking && !is_lost {
        chosen(&server.node(client.port).observer, client, &transaction.queue);
    }
    let sampled = match transaction.poisoned || is_lost || transaction.queue.is_empty() {
        true => None,
        false => server.node(client.port).observer.recorder.transaction(),
    };
    if transaction.crosses || transaction.is_multi_slot || parts || only_judged {
        apart(server, client, dialect, transaction, watched, only_judged);
    } else if let Some(of) = sampled {
        let mut keys: NoteKeys = guard(watched).into_iter().collect();
        transaction.queue.iter().for_each(|it| it.spec.each_key(it.args, |key| keys.add(key)));
        let about = About::Transaction { of };
        server.node(client.port).observer.recorder.take(Note {
            client: Some(Arc::clone(client)),
            keys,
            about,
        });
    }
}

/// Records what commands of a transaction choose other databases, which a server that has all of its
/// commands would run.
#[cold]
fn chosen(observer: &Observer, client: &Arc<Client>, queue: &Queue) {
    for queued in queue.iter() {
        if let Some(rule) = judge::choice(&queued) {
            let finding = judge::by_command(rule, &queued, None);
            record(observer, Some(Arc::clone(client)), finding, Fate::Refused, None);
        }
    }
}

/// Records a transaction that may lie, with its watched keys, in several slots. A node refuses it
/// only now, or runs it because all keys happen to be there; an audit runs it anyway. What is only
/// judged does not run.
#[cold]
fn apart(
    server: &ServerState,
    client: &Arc<Client>,
    dialect: &Dialect,
    ready: &mut Transaction,
    watched: Option<&Watched>,
    only_judged: bool,
) {
    let policy = match dialect.tie {
        _ if ready.is_multi_slot || client.port == Port::Router => GuardPolicy::Standalone,
        Tie::AtExec => GuardPolicy::Refused,
        Tie::Never | Tie::AtQueue => GuardPolicy::Ignored,
    };
    let queue: Vec<Invocation<'_>> = ready.queue.iter().collect();
    let Some(rule) = judge::exec(&queue, &guard(watched), policy) else { return };
    // A node runs what is only a warning.
    let runs = ready.is_multi_slot || rule.weight() == Weight::Warning;
    let fate = match runs && !only_judged {
        true => Fate::Ran,
        false => Fate::Refused,
    };
    transaction(server, client, rule, ready, watched, None, fate);
}

/// Records that a command was refused which servers have and Slotway has not, and what it breaks.
#[cold]
pub(super) fn lacking(
    server: &ServerState,
    client: &Arc<Client>,
    invocation: &Invocation<'_>,
    transaction: Option<&Transaction>,
) {
    let name = invocation.spec.full_name().into_owned().into_bytes();
    refused(server, client, About::Refused(name.into()));
    // It counts like those that are taken for the sample: else its keys would seem to cost nothing.
    let mut keys = NoteKeys::default();
    judge::Command::each_key(invocation, &mut |key| keys.add(key));
    if !keys.is_empty() {
        let together = matches!(invocation.footprint, Footprint::In(_));
        let note = Note { client: None, keys, about: About::Request { of: 1, together } };
        server.node(client.port).observer.recorder.take(note);
    }
    across(server, client, invocation, transaction, Fate::Refused);
}

/// Records that a command was refused whose keys are not known.
#[cold]
pub(super) fn unknown(server: &ServerState, client: &Arc<Client>, name: &[u8]) {
    refused(server, client, About::Unknown(name[..name.len().min(NAME_LEN_MAX)].into()));
}

/// Records that a script called a command that Slotway does not have; returns it if a server has it.
#[cold]
pub(crate) fn note_lacking_of_script<'x>(
    server: &ServerState,
    client: &Arc<Client>,
    args: Args<'x>,
) -> Option<Invocation<'x>> {
    let Some(spec) = foreign::find(args) else {
        if find(args.at(0)).is_none() {
            unknown(server, client, args.at(0));
        }
        return None;
    };
    // Every server refuses the others.
    let is_lacking = spec.arity.admits(args.len()) && !spec.has(flag::NOSCRIPT);
    is_lacking.then(|| {
        refused(server, client, About::Refused(spec.full_name().into_owned().into_bytes().into()));
        Invocation::new(spec, args)
    })
}

fn refused(server: &ServerState, client: &Arc<Client>, about: About) {
    let note = Note { client: None, keys: NoteKeys::default(), about };
    server.node(client.port).observer.recorder.take(note);
}

/// Returns the watched keys, in the order of their bytes.
fn guard(watched: Option<&Watched>) -> Vec<&[u8]> {
    watched.into_iter().flat_map(|watched| &watched.keys).map(|key| &**key).collect()
}

/// Records a command whose scope is all keys, or another database: on a node of a cluster it would be
/// that node's keys. The clients of a node expect that, so only the router port records it.
#[inline]
pub(super) fn node_local(
    server: &ServerState,
    client: &Arc<Client>,
    port: Port,
    invocation: &Invocation<'_>,
    transaction: Option<&Transaction>,
) {
    let spec = invocation.spec;
    let is_judged = spec.flags & (flag::NODE_LOCAL | flag::OTHER_DATABASE) != 0;
    if port == Port::Router && (is_judged || spec.has_channels()) {
        unnamed(server, client, invocation, transaction);
    }
}

/// Records a command of a script whose scope is all keys: it sees those of its shard.
pub(crate) fn note_scope_of_script(
    server: &ServerState,
    client: &Arc<Client>,
    port: Port,
    invocation: &Invocation<'_>,
) {
    node_local(server, client, port, invocation, None);
}

#[cold]
fn unnamed(
    server: &ServerState,
    client: &Arc<Client>,
    invocation: &Invocation<'_>,
    transaction: Option<&Transaction>,
) {
    let is_audit = server.node(client.port).settings.cross_slot() == CrossSlot::Audit;
    for rule in judge::scope(invocation, is_audit || client.database() != 0) {
        command(server, client, rule, invocation, transaction, Fate::Ran);
    }
    // SSUBSCRIBE with channels of several slots: it runs in the session, so `across` has not seen it.
    if transaction.is_none() && matches!(invocation.footprint, Footprint::Crossing { .. }) {
        across(server, client, invocation, None, Fate::Ran);
    }
}

/// Records that a client chooses another database than number 0, or would.
pub(super) fn other_database(server: &ServerState, client: &Arc<Client>, name: &str, fate: Fate) {
    let finding = judge::other_database(name, NoteKeys::default());
    let observer = &server.node(client.port).observer;
    record(observer, Some(Arc::clone(client)), finding, fate, None);
}

/// Records that a command has refused itself, as in a cluster: there is one database, and SORT reads
/// its key alone.
pub(crate) fn note_failed(
    observer: &Observer,
    client: u64,
    invocation: &Invocation<'_>,
    refusal: &Refusal,
) {
    if let Some(parameter) = refusal.lacking_parameter() {
        // Servers have more parameters than Slotway.
        let name = invocation.spec.full_name();
        let name = [name.as_bytes(), b" ", parameter].concat();
        let about = About::Refused(name.into());
        observer.recorder.take(Note { client: None, keys: NoteKeys::default(), about });
    }
    let Some(rule) = refusal.rule() else { return };
    let finding = judge::by_command(rule, invocation, None);
    record(observer, observer.client(client), finding, Fate::Refused, None);
}

/// Records that a command has run that chooses a database other than number 0, where there are
/// databases.
#[inline]
pub(crate) fn note_choice(observer: &Observer, client: &Arc<Client>, invocation: &Invocation<'_>) {
    if invocation.spec.is_between_databases()
        && let Some(rule) = judge::choice(invocation)
    {
        let finding = judge::by_command(rule, invocation, None);
        record(observer, Some(Arc::clone(client)), finding, Fate::Ran, None);
    }
}

impl Watched {
    /// Records that the reply to the EXEC of this guard was nil.
    pub fn lose(&self, observer: &Observer) {
        self.client.note_lost_exec();
        let cause = self.guard.cause();
        let key = cause.as_ref().map(|cause| &*cause.key);
        let key = key.or_else(|| self.keys.first().map(|key| &**key)).unwrap_or_default();
        let writer = cause.and_then(|cause| cause.writer);
        let command = writer.and_then(|writer| numbered(writer.command)).map(Spec::full_name);
        let age_ms = cause.map(|cause| cause.at.saturating_sub(self.guard.since()));
        observer.recorder.take(Note {
            client: Some(Arc::clone(&self.client)),
            keys: [key].into_iter().collect(),
            about: About::Lost {
                command: command.unwrap_or_default().into_owned(),
                winner: writer.map_or(0, |writer| writer.client),
                age_ms: age_ms.and_then(|age| u64::try_from(age).ok()),
            },
        });
    }

    /// Records that the transaction of this guard runs.
    pub fn keep(&self, observer: &Observer) {
        observer.recorder.committed(self.client.take_lost_execs() + 1);
    }
}
