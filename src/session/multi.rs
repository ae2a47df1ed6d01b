//! MULTI's queue and WATCH's guard, with the slot rules of the router port.
//!
//! ```text
//!  event \ state      open                 queueing                    queueing, poisoned
//!  MULTI              → queueing           error, goes on              error, goes on
//!  command            runs                 +QUEUED, or refused → poisoned      refused or +QUEUED
//!  WATCH              guard armed          error, goes on              error, goes on
//!  EXEC               error                runs → open                 EXECABORT → open
//!  DISCARD            error                → open                      → open
//! ```
//!
//! A transaction belongs to one slot: that of the first command with keys, and on the router port
//! the watched one if anything is watched. There a command in another slot is refused when it is
//! queued, and EXEC then answers EXECABORT; on a node port EXEC itself refuses it ([`Dialect`]).
//! Commands without keys run where the transaction runs and pin nothing. Where keys of several slots
//! may be used together (`cross-slot audit`) nothing of this is refused: such a transaction `is_multi_slot` them.
//!
//! Once a guard is tripped the transaction is lost, so nothing is kept or judged any more: EXEC
//! answers nil, as every Redis does.

use super::{Dialect, Session, Step, Tie, violations};
use crate::command::{Invocation, Queue, Refusal, Run, SessionCommand, Spec, flag};
use crate::keyspace::{Blob, Guard};
use crate::ledger::{Fate, Rule};
use crate::resp::Sink;
use crate::slot::{Footprint, Slot};
use crate::state::clients::Client;
use crate::state::{CommandStats, ServerState};
use crate::topology::{Port, RequestFlags};
use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Most keys that one session may watch.
pub const WATCHED_KEYS_MAX: usize = 1 << 20;

/// What a transaction touches beyond the shard that owns its slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// Nothing.
    #[default]
    Shard,
    /// The session or the process.
    ServerState,
    /// All shards in view.
    Cluster,
    /// All shards, whoever asks.
    Whole,
}

/// What MULTI began.
#[derive(Debug, Default)]
pub struct Transaction {
    /// The commands so far.
    pub queue: Queue,
    /// What they touch.
    pub reach: Reach,
    /// The slot that the transaction belongs to, once known.
    pub slot: Option<Slot>,
    /// A later command asks for another slot: only where that is found out at EXEC.
    pub crosses: bool,
    /// It asks for several slots, or guards them, where that is allowed: it takes all shards.
    pub is_multi_slot: bool,
    /// It chooses a database, as it might when that was queued.
    pub selects: bool,
    /// How EXEC comes to that slot.
    pub request_flags: RequestFlags,
    /// The guard that must still be whole when it runs.
    pub watched: Option<Box<Watched>>,
    /// The flags of its commands, all together.
    pub flags: u32,
    /// A command was refused: EXEC will not run the others.
    pub poisoned: bool,
    /// That it crosses slots has been noted for the proof.
    pub is_noted: bool,
}

thread_local! {
    /// A transaction that has run, for the next one's memory: it belongs to the thread, as the
    /// read buffers do, so that idle connections own none.
    static SPARE: Cell<Option<Box<Transaction>>> = const { Cell::new(None) };
}

/// A transaction with more memory than this is not kept for the next, in bytes.
const SPARE_BYTES_MAX: usize = 64 * 1024;

impl Transaction {
    fn begin() -> Box<Self> {
        SPARE.take().unwrap_or_default()
    }

    /// Keeps the memory of a transaction that has run.
    pub fn recycle(mut self: Box<Self>) {
        if self.queue.memory() <= SPARE_BYTES_MAX {
            self.queue.clear();
            let queue = std::mem::take(&mut self.queue);
            *self = Self { queue, ..Self::default() };
            SPARE.set(Some(self));
        }
    }

    /// Whether nothing is against it but what the slot and the guard may say, and it runs on the
    /// slot's shard alone.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.reach == Reach::Shard && !self.poisoned && !self.crosses && !self.is_multi_slot
    }

    /// Makes EXEC refuse to run.
    pub(super) fn poison(&mut self) {
        self.poisoned = true;
    }

    /// The first key that pinned the slot, for the explanation of a refusal.
    fn first_key(&self) -> Vec<u8> {
        self.queue
            .iter()
            .find(|invocation| invocation.slot().is_some())
            .and_then(|invocation| invocation.spec.nth_key(invocation.args, 0))
            .unwrap_or_default()
            .to_vec()
    }
}

/// What a session watches: keys of one slot, but for clients of a node and under an audit.
#[derive(Debug)]
pub struct Watched {
    /// The slot that the first key lives in.
    pub slot: Slot,
    /// A key lives in another: only where that is allowed.
    pub crosses: bool,
    /// The shards where the guard is filed.
    pub shards: Vec<usize>,
    /// For which slots of database 0 it is filed on which of them.
    pub places: Vec<(Slot, usize)>,
    /// The keys; never empty.
    pub keys: BTreeSet<Blob>,
    /// Trips when one of them is touched.
    pub guard: Guard,
    /// Who watches.
    pub client: Arc<Client>,
}

/// Where a slot was crossed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Context {
    Command,
    Watch,
    Multi,
}

/// A refusal in the making: what crossed what.
#[derive(Debug)]
pub(super) struct Crossing<'k> {
    pub(super) context: Context,
    pub(super) first: Slot,
    pub(super) other: Slot,
    pub(super) first_key: &'k [u8],
    pub(super) violating_key: &'k [u8],
}

impl Crossing<'_> {
    /// The reply: the plain sentence that clients match, with the keys behind it if asked for.
    pub(super) fn refusal(&self, server: &ServerState, dialect: &Dialect, spec: &Spec) -> Refusal {
        server.stats.crossslot_refusals.add(1);
        if !server.settings.explain() && !dialect.explains {
            return Refusal::CROSS_SLOT;
        }
        let context = match self.context {
            Context::Command => "within one command",
            Context::Watch => "within WATCH",
            Context::Multi => "within MULTI",
        };
        let mut text = Refusal::CROSS_SLOT.text().to_vec();
        let (first, other) = (self.first.number(), self.other.number());
        let command = spec.full_name().to_ascii_uppercase();
        text.extend(
            format!(" (context='{context}', command='{command}', original-slot='{first}', wrong-slot='{other}'")
                .into_bytes(),
        );
        text.extend_from_slice(b", first-key='");
        text.extend_from_slice(self.first_key);
        text.extend_from_slice(b"', violating-key='");
        text.extend_from_slice(self.violating_key);
        text.extend_from_slice(b"')");
        Refusal::new(text)
    }
}

impl Session {
    /// What is said to a command that may not stand in a transaction, if there is one. It comes
    /// before its slots are looked at.
    pub(super) fn forbids(&self, spec: &Spec) -> Option<Refusal> {
        let by_name = self.dialect.forbids_by_name;
        let is_forbidden = match spec.run {
            Run::Session(
                SessionCommand::Multi | SessionCommand::Watch | SessionCommand::ClientReply,
            ) => by_name,
            _ => spec.flags & flag::NO_MULTI != 0,
        };
        if self.transaction.is_none() || !is_forbidden {
            return None;
        }
        let name = spec.full_name();
        Some(match by_name {
            true => Refusal::new(format!("ERR Command '{name}' not allowed inside a transaction")),
            false => Refusal::NOT_IN_MULTI,
        })
    }

    pub(super) fn multi(&mut self, out: &mut Sink<'_>) -> Step {
        if self.transaction.is_some() {
            out.error("ERR MULTI calls can not be nested");
        } else {
            self.transaction = Some(Transaction::begin());
            out.ok();
        }
        Step::Replied
    }

    pub(super) fn discard(&mut self, out: &mut Sink<'_>) -> Step {
        if self.transaction.is_none() {
            out.error("ERR DISCARD without MULTI");
        } else {
            self.end_transaction();
            out.ok();
        }
        Step::Replied
    }

    pub(super) fn unwatch(&mut self, out: &mut Sink<'_>) -> Step {
        self.watched = None;
        self.watch_failed = false;
        out.ok();
        Step::Replied
    }

    pub(super) fn watch(
        &mut self,
        server: &ServerState,
        invocation: &Invocation<'_>,
        out: &mut Sink<'_>,
    ) -> Step {
        if self.port != Port::Router
            && let Footprint::Crossing { first, other, at } = invocation.footprint
            && self.transaction.is_some()
        {
            // A node looks at the slots first.
            let crossing = Crossing {
                context: Context::Watch,
                first,
                other,
                first_key: invocation.args.at(1),
                violating_key: invocation.spec.nth_key(invocation.args, at).unwrap_or_default(),
            };
            violations::watch(server, &self.client, invocation, None, Fate::Refused);
            let refusal = crossing.refusal(server, self.dialect, invocation.spec);
            return self.reject(None, &refusal, out);
        }
        if self.transaction.is_some() {
            out.error("ERR WATCH inside MULTI is not allowed");
            return Step::Replied;
        }
        let &Invocation { spec, args, footprint, .. } = invocation;
        let is_multi_slot = self.is_multi_slot(server);
        let crossing = match (footprint, &self.watched) {
            (Footprint::In(slot), Some(watched))
                if watched.slot != slot && self.dialect.tie == Tie::AtQueue && !is_multi_slot =>
            {
                let first_key = watched.keys.first().map_or(&[][..], |key| &**key).to_vec();
                Some((watched.slot, slot, first_key, 0))
            }
            (Footprint::Crossing { first, other, at }, _) if !is_multi_slot => {
                Some((first, other, args.at(1).to_vec(), at))
            }
            (Footprint::In(slot) | Footprint::Crossing { first: slot, .. }, watched) => {
                let crosses = matches!(footprint, Footprint::Crossing { .. });
                if is_multi_slot && (crosses || watched.as_ref().is_some_and(|w| w.slot != slot)) {
                    violations::watch(
                        server,
                        &self.client,
                        invocation,
                        watched.as_deref(),
                        Fate::Ran,
                    );
                }
                let room = self.watched.as_ref().map_or(0, |w| w.keys.len()) + args.len() - 1;
                if room > WATCHED_KEYS_MAX {
                    let refusal = Refusal::of("ERR too many watched keys");
                    return self.reject(Some(SessionCommand::Watch), &refusal, out);
                }
                let watched = self.watched.get_or_insert_with(|| {
                    Box::new(Watched {
                        slot,
                        crosses: false,
                        shards: Vec::new(),
                        places: Vec::new(),
                        keys: BTreeSet::new(),
                        guard: Guard::default(),
                        client: Arc::clone(&self.client),
                    })
                });
                let reaches = crosses || self.database != 0;
                watched.crosses |= reaches || watched.slot != slot;
                watched.keys.extend(args.from(1).map(Blob::from));
                return if reaches { Step::WatchAcross } else { Step::Watch(slot) };
            }
            (Footprint::Anywhere, _) => None,
        };
        violations::watch(server, &self.client, invocation, self.watched.as_deref(), Fate::Refused);
        let refusal = crossing.map_or(Refusal::SYNTAX, |(first, other, first_key, at)| {
            let violating_key = spec.nth_key(args, at).unwrap_or_default();
            let context = Context::Watch;
            Crossing { context, first, other, first_key: &first_key, violating_key }.refusal(
                server,
                self.dialect,
                spec,
            )
        });
        self.reject(Some(SessionCommand::Watch), &refusal, out)
    }

    /// Keeps a command for EXEC.
    pub(super) fn enqueue(
        &mut self,
        server: &ServerState,
        invocation: &Invocation<'_>,
        out: &mut Sink<'_>,
    ) -> Step {
        let &Invocation { spec, args, footprint, .. } = invocation;
        let lost = self.watched.as_ref().is_some_and(|w| w.guard.is_tripped());
        let may_join = self.is_multi_slot(server);
        let Some(transaction) = &mut self.transaction else { return Step::Replied };
        let tied = self.watched.as_ref().filter(|_| self.dialect.tie == Tie::AtQueue && !may_join);
        let pinned = transaction.slot.or(tied.map(|w| w.slot));
        let (dialect, mut crosses) = (self.dialect, false);
        let selects = matches!(spec.run, Run::Session(SessionCommand::Select));
        let mut is_multi_slot =
            self.database != 0 || (may_join && (selects || spec.reads_unnamed(args)));
        let slot = match (footprint, pinned) {
            (Footprint::Anywhere, _) => None,
            (Footprint::In(slot), Some(pinned)) if may_join => {
                is_multi_slot |= slot != pinned;
                Some(slot)
            }
            (Footprint::Crossing { first, .. }, _)
                if may_join && !matches!(spec.run, Run::Whole(_)) =>
            {
                is_multi_slot = true;
                Some(first)
            }
            (Footprint::In(slot), Some(pinned)) if slot != pinned && !dialect.crosses_at_queue => {
                crosses = true;
                Some(slot)
            }
            (Footprint::In(slot), Some(pinned)) if slot != pinned && !lost => {
                let first_key = match tied {
                    Some(watched) => {
                        watched.keys.first().map(|key| key.to_vec()).unwrap_or_default()
                    }
                    None => transaction.first_key(),
                };
                let crossing = Crossing {
                    context: Context::Multi,
                    first: pinned,
                    other: slot,
                    first_key: &first_key,
                    violating_key: spec.nth_key(args, 0).unwrap_or_default(),
                };
                let refusal = crossing.refusal(server, dialect, spec);
                let rule = match transaction.slot {
                    Some(_) => Rule::CrossSlotTransaction,
                    None => Rule::WatchElsewhere,
                };
                let (next, fate) = (Some(invocation), Fate::Refused);
                violations::transaction(
                    server,
                    &self.client,
                    rule,
                    transaction,
                    tied.map(|w| &**w),
                    next,
                    fate,
                );
                return self.reject(None, &refusal, out);
            }
            (Footprint::In(slot), _) => Some(slot),
            (Footprint::Crossing { first, other, at }, _) => {
                let crossing = Crossing {
                    context: Context::Multi,
                    first,
                    other,
                    first_key: spec.nth_key(args, 0).unwrap_or_default(),
                    violating_key: spec.nth_key(args, at).unwrap_or_default(),
                };
                let refusal = crossing.refusal(server, dialect, spec);
                let (rule, within) = (Rule::CrossSlotCommand, Some(&**transaction));
                violations::command(server, &self.client, rule, invocation, within, Fate::Refused);
                return self.reject(None, &refusal, out);
            }
        };
        if may_join && (matches!(footprint, Footprint::Crossing { .. }) || spec.reads_unnamed(args))
        {
            violations::across(server, &self.client, invocation, Some(transaction));
        }
        violations::node_local(server, &self.client, self.port, invocation, Some(transaction));
        // What will not run need not be kept.
        if !lost && !transaction.poisoned {
            if transaction.queue.bytes_len() > server.settings.query_buffer_max()
                || !transaction.queue.push(invocation)
            {
                let refusal = Refusal::of("ERR transaction exceeds client-query-buffer-limit");
                return self.reject(None, &refusal, out);
            }
            transaction.slot = transaction.slot.or(slot);
            transaction.crosses |= crosses;
            transaction.is_multi_slot |= is_multi_slot;
            transaction.selects |= selects && may_join;
            transaction.flags |= spec.flags;
            transaction.reach = transaction.reach.max(match spec.run {
                Run::Shard(_) | Run::Blocks(_) => Reach::Shard,
                Run::Cluster(_) => Reach::Cluster,
                Run::Whole(_) => Reach::Whole,
                Run::Server(_) | Run::Session(_) | Run::Container => Reach::ServerState,
            });
        }
        out.raw(b"+QUEUED\r\n");
        Step::Queued
    }

    /// What EXEC says to a transaction that it finds to cross slots: by a command of its own, or
    /// against its guard.
    #[must_use]
    pub fn crossing_at_exec(&self, server: &ServerState, transaction: &Transaction) -> Refusal {
        let keyed = |crosses: fn(Slot, Slot) -> bool| {
            let mut keyed = transaction.queue.iter().filter_map(|it| Some((it.slot()?, it)));
            keyed.find(|&(slot, _)| transaction.slot.is_some_and(|first| crosses(slot, first)))
        };
        let key_of = |it: &Invocation<'_>| it.spec.nth_key(it.args, 0).unwrap_or_default().to_vec();
        let Some((slot, first)) = keyed(|slot, first| slot == first) else {
            return Refusal::CROSS_SLOT;
        };
        let (other, it, violating_key, context) = match keyed(|slot, first| slot != first) {
            Some((other, it)) => (other, it, key_of(&it), Context::Multi),
            None => {
                let mut watched = transaction.watched.iter().flat_map(|watched| &watched.keys);
                let Some(key) = watched.find(|key| Slot::of(key) != slot) else {
                    return Refusal::CROSS_SLOT;
                };
                (Slot::of(key), first, key.to_vec(), Context::Watch)
            }
        };
        let first_key = &key_of(&first);
        let crossing =
            Crossing { context, first: slot, other, first_key, violating_key: &violating_key };
        crossing.refusal(server, self.dialect, it.spec)
    }

    pub(super) fn exec(&mut self, server: &ServerState, spec: &Spec, out: &mut Sink<'_>) -> Step {
        let Some(flags) = self.transaction.as_ref().map(|transaction| transaction.flags) else {
            out.error("ERR EXEC without MULTI");
            return Step::Replied;
        };
        let request_flags = self.request_flags(spec, flags);
        let failed = self.watch_failed;
        let watched = self.watched.take();
        let Some(mut transaction) = self.end_transaction() else { return Step::Replied };
        if failed {
            let rule = Rule::ExecAfterFailedWatch;
            violations::transaction(
                server,
                &self.client,
                rule,
                &mut transaction,
                None,
                None,
                Fate::Refused,
            );
        }
        transaction.poisoned |= failed;
        transaction.request_flags = request_flags;
        let on_node = self.port != Port::Router;
        let is_lost = watched.as_ref().is_some_and(|w| w.guard.is_tripped());
        let is_forgotten = (transaction.poisoned || is_lost) && self.dialect.forgets_lost;
        if on_node && transaction.slot.is_some() && !is_forgotten {
            // A node looks at what was queued before it looks at anything else.
            transaction.crosses |= self.dialect.tie == Tie::AtExec
                && watched.as_ref().is_some_and(|w| w.crosses || Some(w.slot) != transaction.slot);
            violations::exec(
                server,
                &self.client,
                self.dialect,
                &mut transaction,
                watched.as_deref(),
            );
            transaction.watched = watched;
            return Step::Exec(transaction);
        }
        if transaction.poisoned {
            out.error(Refusal::SPOILED);
            return Step::Replied;
        }
        if is_lost {
            server.observer.commandstats.count(self.client.id, CommandStats::exec_lost);
            watched.inspect(|watched| watched.lose(&server.observer));
            out.null_array();
            return Step::Replied;
        }
        if watched.is_none() && transaction.queue.is_empty() {
            out.array(0);
            return Step::Replied;
        }
        if let Some(watched) = &watched
            && !on_node
        {
            // Only where keys of several slots may be watched can they be at odds here.
            let tied_to = transaction.slot.unwrap_or(watched.slot);
            transaction.is_multi_slot |= watched.crosses || watched.slot != tied_to;
        }
        if !on_node {
            transaction.slot = transaction.slot.or(watched.as_ref().map(|w| w.slot));
        }
        violations::exec(server, &self.client, self.dialect, &mut transaction, watched.as_deref());
        transaction.watched = watched;
        Step::Exec(transaction)
    }
}
