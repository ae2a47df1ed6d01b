//! What a session tells the record: which rule a request breaks, by what keys of the whole
//! transaction, and what became of an EXEC.
//!
//! One call at each place where a request is refused, or would be: it changes nothing there.

use super::{Dialect, Tie, Transaction, Watched};
use crate::command::{Invocation, Refusal, Spec, flag, numbered};
use crate::ledger::{Fate, Rule};
use crate::slot::{Footprint, Slot};
use crate::state::clients::Client;
use crate::state::settings::CrossSlot;
use crate::state::{About, Note, NoteKeys, Observer, ServerState};
use crate::topology::Port;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Names of commands in the name of a transaction.
const NAMES_MAX: usize = 4;

/// A command breaks a rule by itself; `transaction` is the one that it stands in.
pub(super) fn command(
    server: &ServerState,
    client: &Arc<Client>,
    rule: Rule,
    invocation: &Invocation<'_>,
    transaction: Option<&Transaction>,
    fate: Fate,
) {
    let mut keys = NoteKeys::default();
    invocation.spec.each_key(invocation.args, |key| keys.add(key));
    let place = transaction.map(|transaction| transaction.queue.len() + 1);
    let command = invocation.spec.full_name().into_owned();
    let about = About::Breach { rule, command, place, fate };
    server.node(client.port).observer.recorder.take(Note {
        client: Some(Arc::clone(client)),
        keys,
        about,
    });
}

/// A command runs over several slots, or by keys that it does not name, where that is allowed.
#[cold]
pub(super) fn across(
    server: &ServerState,
    client: &Arc<Client>,
    invocation: &Invocation<'_>,
    transaction: Option<&Transaction>,
) {
    if let Footprint::Crossing { .. } = invocation.footprint {
        command(server, client, Rule::CrossSlotCommand, invocation, transaction, Fate::Ran);
    }
    if invocation.spec.reads_unnamed(invocation.args) {
        command(server, client, Rule::SortByPattern, invocation, transaction, Fate::Ran);
    }
}

/// A WATCH crosses slots, by itself or with what is watched already.
pub(super) fn watch(
    server: &ServerState,
    client: &Arc<Client>,
    invocation: &Invocation<'_>,
    watched: Option<&Watched>,
    fate: Fate,
) {
    let mut keys = NoteKeys::default();
    watched.into_iter().flat_map(|w| &w.keys).for_each(|key| keys.add(key));
    invocation.spec.each_key(invocation.args, |key| keys.add(key));
    let (rule, command) = (Rule::CrossSlotWatch, "watch".to_owned());
    let about = About::Breach { rule, command, place: None, fate };
    server.node(client.port).observer.recorder.take(Note {
        client: Some(Arc::clone(client)),
        keys,
        about,
    });
}

/// A transaction breaks a rule: when `next` is to be queued, or when it is to be run. Each is told
/// once; of what is queued after that, the keys.
pub(super) fn transaction(
    server: &ServerState,
    client: &Arc<Client>,
    rule: Rule,
    transaction: &mut Transaction,
    watched: Option<&Watched>,
    next: Option<&Invocation<'_>>,
    fate: Fate,
) {
    let mut keys = NoteKeys::default();
    if rule != Rule::CrossSlotTransaction {
        watched.into_iter().flat_map(|w| &w.keys).for_each(|key| keys.add(key));
    }
    let (mut names, mut place, mut first) = (Vec::new(), None, None);
    for (at, it) in transaction.queue.iter().chain(next.copied()).enumerate() {
        it.spec.each_key(it.args, |key| keys.add(key));
        let name = it.spec.full_name();
        if names.len() <= NAMES_MAX && !names.contains(&name) {
            names.push(name);
        }
        if let Some(slot) = it.slot()
            && *first.get_or_insert(slot) != slot
        {
            place.get_or_insert(at + 1);
        }
    }
    if names.len() > NAMES_MAX {
        names[NAMES_MAX] = "…".into();
    }
    let command = format!("multi: {}", names.join(", "));
    let is_new = !std::mem::replace(&mut transaction.is_noted, true);
    let about = match is_new {
        true => About::Breach { rule, command, place, fate },
        false => About::More,
    };
    server.node(client.port).observer.recorder.take(Note {
        client: Some(Arc::clone(client)),
        keys,
        about,
    });
}

/// A transaction is to be run: it breaks a rule after all, or perhaps its keys are noted.
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
    let sampled = match transaction.poisoned {
        true => None,
        false => server.node(client.port).observer.recorder.transaction(),
    };
    if transaction.crosses || transaction.is_multi_slot || parts {
        apart(server, client, dialect, transaction, watched);
    } else if let Some(of) = sampled {
        let mut keys = NoteKeys::default();
        watched.into_iter().flat_map(|w| &w.keys).for_each(|key| keys.add(key));
        transaction.queue.iter().for_each(|it| it.spec.each_key(it.args, |key| keys.add(key)));
        let about = About::Transaction { of };
        server.node(client.port).observer.recorder.take(Note {
            client: Some(Arc::clone(client)),
            keys,
            about,
        });
    }
}

/// A transaction, with what it watches, lies in several slots: here a node refuses it only now, or
/// runs it, as all of it happens to be here; an audit runs it anyway.
#[cold]
fn apart(
    server: &ServerState,
    client: &Arc<Client>,
    dialect: &Dialect,
    ready: &mut Transaction,
    watched: Option<&Watched>,
) {
    let (mut slots, mut keyed) = (BTreeSet::new(), 0);
    for it in ready.queue.iter() {
        keyed += usize::from(it.footprint != Footprint::Anywhere);
        it.spec.each_key(it.args, |key| _ = slots.insert(Slot::of(key)));
    }
    let fate = if ready.is_multi_slot { Fate::Ran } else { Fate::Refused };
    let (rule, fate) = match watched {
        _ if slots.len() > 1 && keyed > 1 => (Rule::CrossSlotTransaction, fate),
        // A command of several slots, or a WATCH of several, has been noted by itself.
        None => return,
        Some(w) if ready.is_multi_slot && (w.crosses || Some(w.slot) == ready.slot) => return,
        Some(_) if ready.is_multi_slot || dialect.tie == Tie::AtExec => {
            (Rule::WatchElsewhere, fate)
        }
        Some(_) => (Rule::SharedShard, Fate::Ran),
    };
    transaction(server, client, rule, ready, watched, None, fate);
}

/// A command without keys reads or writes all there are: on a node of a cluster it would be that
/// node's. Who speaks to a node knows that.
#[inline]
pub(super) fn node_local(
    server: &ServerState,
    client: &Arc<Client>,
    port: Port,
    invocation: &Invocation<'_>,
    transaction: Option<&Transaction>,
) {
    let spec = invocation.spec;
    if port != Port::Router || !spec.has(flag::NODE_LOCAL | flag::OTHER_DATABASE) {
        return;
    }
    let rule = match spec.has(flag::OTHER_DATABASE) {
        // Where these are refused they say so themselves.
        true if server.node(client.port).settings.cross_slot() != CrossSlot::Audit => return,
        true => Rule::OtherDatabase,
        false => Rule::NodeLocal,
    };
    command(server, client, rule, invocation, transaction, Fate::Ran);
}

/// A client chooses another database than number 0, or would.
pub(super) fn other_database(server: &ServerState, client: &Arc<Client>, name: &str, fate: Fate) {
    let (rule, command, place) = (Rule::OtherDatabase, name.to_owned(), None);
    let about = About::Breach { rule, command, place, fate };
    let (of, keys) = (Some(Arc::clone(client)), NoteKeys::default());
    server.node(client.port).observer.recorder.take(Note { client: of, keys, about });
}

/// A command has refused what no cluster does: there is one database, and SORT reads its key alone.
pub fn note_failed(
    observer: &Observer,
    client: u64,
    invocation: &Invocation<'_>,
    refusal: &Refusal,
) {
    let Some(rule) = refusal.rule() else { return };
    let mut keys = NoteKeys::default();
    invocation.spec.each_key(invocation.args, |key| keys.add(key));
    let command = invocation.spec.full_name().into_owned();
    let about = About::Breach { rule, command, place: None, fate: Fate::Refused };
    observer.recorder.take(Note { client: observer.client(client), keys, about });
}

impl Watched {
    /// The EXEC that it guards was answered with nil.
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

    /// The transaction that it guards runs.
    pub fn keep(&self, observer: &Observer) {
        observer.recorder.committed(self.client.take_lost_execs() + 1);
    }
}
