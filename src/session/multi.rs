//! MULTI's queue and WATCH's guard, with the slot rules of the router port.
//!
//! ```text
//!  event \ state      open                 queueing                    queueing, poisoned
//!  MULTI              → queueing           error, continues            error, continues
//!  command            runs                 +QUEUED, or refused → poisoned      refused or +QUEUED
//!  WATCH              guard armed          error, continues            error, continues
//!  EXEC               error                runs → open                 EXECABORT → open
//!  DISCARD            error                → open                      → open
//! ```
//!
//! A transaction belongs to one slot: that of its first command with keys, and on the router port the
//! watched one if anything is watched. There a command in another slot is refused when it is queued,
//! and EXEC then replies EXECABORT; on a node port EXEC itself refuses it ([`crate::dialect`]).
//! Commands without keys run where the transaction runs and pin nothing. Where keys of several slots
//! may be used together (`cross-slot audit`) nothing of this is refused.
//!
//! Once a guard is tripped the transaction is lost: EXEC replies nil, as every Redis does, and no
//! command is refused for its slot any more. What such a transaction breaks is recorded all the same.

use super::transaction::{Context, Crossing, Reach, Transaction, WATCHED_KEYS_MAX, Watched};
use super::{Reply, Scope, Session, Step, Unit, violations};
use crate::command::{
    self, Args, Commands, Invocation, Queue, Refusal, Run, SessionCommand, Spec, flag, foreign,
};
use crate::dialect::Tie;
use crate::keyspace::{Blob, Guard};
use crate::ledger::{Fate, Rule};
use crate::resp::Sink;
use crate::slot::{Footprint, Slot};
use crate::state::ServerState;
use crate::topology::Port;
use std::collections::BTreeSet;
use std::sync::Arc;

impl Session {
    /// Returns the refusal of a command that may not be in a transaction, if it is one. It comes
    /// before the check of its slots.
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

    pub(super) fn multi(&mut self, out: &mut Sink<'_>) -> Step<'static> {
        if self.transaction.is_some() {
            out.error("ERR MULTI calls can not be nested");
        } else {
            self.transaction = Some(Transaction::begin());
            out.ok();
        }
        Step::Replied(Reply::Done)
    }

    pub(super) fn discard(&mut self, out: &mut Sink<'_>) -> Step<'static> {
        if self.transaction.is_none() {
            out.error("ERR DISCARD without MULTI");
        } else {
            self.end_transaction();
            out.ok();
        }
        Step::Replied(Reply::Done)
    }

    pub(super) fn unwatch(&mut self, out: &mut Sink<'_>) -> Step<'static> {
        self.watched = None;
        self.watch_failed = false;
        out.ok();
        Step::Replied(Reply::Done)
    }

    /// `WATCH key [key ...]`: all keys must be in one slot, that of the keys watched before, unless
    /// several slots are allowed.
    pub(super) fn watch<'a>(
        &mut self,
        server: &ServerState,
        invocation: &'a Invocation<'a>,
        out: &mut Sink<'_>,
    ) -> Step<'a> {
        let &Invocation { spec, args, footprint, .. } = invocation;
        if self.transaction.is_some() {
            return self.watch_in_transaction(server, invocation, out);
        }
        let is_multi_slot = self.is_multi_slot();
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
            (Footprint::In(slot) | Footprint::Crossing { first: slot, .. }, _) => {
                return self.watch_keys(server, invocation, slot, out);
            }
            (Footprint::Anywhere, _) => None,
        };
        violations::watch(server, &self.client, invocation, self.watched.as_deref(), Fate::Refused);
        let refusal = crossing.map_or(Refusal::SYNTAX, |(first, other, first_key, at)| {
            let violating_key = spec.nth_key(args, at).unwrap_or_default();
            let (context, first_key) = (Context::Watch, &first_key[..]);
            let crossing = Crossing { context, first, other, first_key, violating_key };
            crossing.refusal(&self.node, self.dialect, spec)
        });
        self.reject(spec, &refusal, out)
    }

    /// WATCH between MULTI and EXEC: never allowed, but a node checks its slots first.
    fn watch_in_transaction(
        &mut self,
        server: &ServerState,
        invocation: &Invocation<'_>,
        out: &mut Sink<'_>,
    ) -> Step<'static> {
        let &Invocation { spec, args, footprint, .. } = invocation;
        if self.port != Port::Router
            && let Footprint::Crossing { first, other, at } = footprint
        {
            let violating_key = spec.nth_key(args, at).unwrap_or_default();
            let (context, first_key) = (Context::Watch, args.at(1));
            let crossing = Crossing { context, first, other, first_key, violating_key };
            violations::watch(server, &self.client, invocation, None, Fate::Refused);
            let refusal = crossing.refusal(&self.node, self.dialect, spec);
            return self.reject(spec, &refusal, out);
        }
        out.error("ERR WATCH inside MULTI is not allowed");
        Step::Replied(Reply::Done)
    }

    /// Watches keys, the first of which lives in `slot`.
    fn watch_keys<'a>(
        &mut self,
        server: &ServerState,
        invocation: &'a Invocation<'a>,
        slot: Slot,
        out: &mut Sink<'_>,
    ) -> Step<'a> {
        let (args, crosses) = (invocation.args, invocation.crosses());
        let has_another_slot = crosses || self.watched.as_ref().is_some_and(|w| w.slot != slot);
        if has_another_slot && self.is_multi_slot() {
            violations::watch(server, &self.client, invocation, self.watched.as_deref(), Fate::Ran);
        }
        let keys = self.watched.as_ref().map_or(0, |w| w.keys.len()) + args.len() - 1;
        if keys > WATCHED_KEYS_MAX {
            let refusal = Refusal::of("ERR too many watched keys");
            return self.reject(invocation.spec, &refusal, out);
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
        watched.crosses |= crosses || self.database != 0 || watched.slot != slot;
        watched.keys.extend(args.from(1).map(Blob::from));
        let scope = match self.database {
            0 if crosses => Scope::Slots,
            0 => Scope::Slot(Some(slot)),
            database => Scope::Database(database),
        };
        Step::Run(Unit::Watch(invocation, watched.guard.clone()), scope)
    }

    /// Keeps a command for EXEC.
    pub(super) fn enqueue(
        &mut self,
        server: &ServerState,
        invocation: &Invocation<'_>,
        out: &mut Sink<'_>,
    ) -> Step<'static> {
        let &Invocation { spec, args, .. } = invocation;
        let lost = self.watched.as_ref().is_some_and(|w| w.guard.is_tripped());
        let may_cross = self.is_multi_slot();
        let slots = match self.queued_slots(server, invocation, may_cross, lost) {
            Ok(slots) => slots,
            Err(refusal) => return self.reject(spec, &refusal, out),
        };
        let Some(transaction) = &mut self.transaction else {
            out.error(Refusal::impossible("a command is queued without MULTI"));
            return Step::Replied(Reply::Done);
        };
        if may_cross && (invocation.crosses() || spec.reads_unnamed(args)) {
            let within = Some(&**transaction);
            violations::across(server, &self.client, invocation, within, Fate::Ran);
        }
        violations::node_local(server, &self.client, self.port, invocation, Some(transaction));
        // After a refusal nothing will run. What has lost its guard, or lacks a command that Slotway has
        // not, will not either, but the proof judges it all the same, as far as there is room.
        if transaction.is_kept() {
            let is_full = transaction.queue.bytes_len() > self.node.settings.query_buffer_max()
                || !transaction.queue.push(invocation);
            let only_judged = lost || transaction.poisoned;
            if is_full && !only_judged {
                let refusal = Refusal::of("ERR transaction exceeds client-query-buffer-limit");
                return self.reject(spec, &refusal, out);
            }
            if !only_judged {
                transaction.slot = transaction.slot.or(slots.slot);
                transaction.crosses |= slots.crosses;
                transaction.is_multi_slot |= slots.is_multi_slot;
                transaction.selects |= may_cross && selects(spec);
                transaction.flags |= spec.flags;
                transaction.reach = transaction.reach.max(Reach::of(spec));
            }
        }
        out.raw(b"+QUEUED\r\n");
        Step::Replied(Reply::Queued)
    }

    /// Returns what a command adds to the slots of its transaction, or why it may not be queued.
    fn queued_slots(
        &mut self,
        server: &ServerState,
        invocation: &Invocation<'_>,
        may_cross: bool,
        lost: bool,
    ) -> Result<QueuedSlots, Refusal> {
        let &Invocation { spec, args, footprint, .. } = invocation;
        let tie = self.watched.as_ref().filter(|_| self.dialect.tie == Tie::AtQueue && !may_cross);
        let of_queue = self.transaction.as_ref().and_then(|transaction| transaction.slot);
        let pinned = of_queue.or(tie.map(|watched| watched.slot));
        let differs = |slot| pinned.is_some_and(|pinned| pinned != slot);
        let is_multi_slot = self.database != 0
            || (may_cross
                && (selects(spec)
                    || spec.reads_unnamed(args)
                    || matches!(spec.run, Run::Script(_))));
        let here = QueuedSlots { slot: invocation.slot(), crosses: false, is_multi_slot };
        match footprint {
            Footprint::In(slot) if may_cross && differs(slot) => {
                Ok(QueuedSlots { is_multi_slot: true, ..here })
            }
            Footprint::Crossing { first, .. }
                if may_cross
                    && (!matches!(spec.run, Run::Whole(_)) || spec.is_between_databases()) =>
            {
                Ok(QueuedSlots { slot: Some(first), is_multi_slot: true, ..here })
            }
            Footprint::In(slot) if differs(slot) && !self.dialect.crosses_at_queue => {
                Ok(QueuedSlots { crosses: true, ..here })
            }
            Footprint::In(slot) if differs(slot) => {
                let refusal = self.refuse_slot_of_queue(server, invocation, slot);
                // The conflict hides it from the client: EXEC answers nil.
                if lost { Ok(here) } else { Err(refusal) }
            }
            Footprint::Anywhere | Footprint::In(_) => Ok(here),
            Footprint::Crossing { first, other, at } => {
                let crossing = Crossing {
                    context: Context::Multi,
                    first,
                    other,
                    first_key: spec.nth_key(args, 0).unwrap_or_default(),
                    violating_key: spec.nth_key(args, at).unwrap_or_default(),
                };
                let (rule, within) = (Rule::CrossSlotCommand, self.transaction.as_deref());
                let fate = Fate::Refused;
                violations::command(server, &self.client, rule, invocation, within, fate);
                Err(crossing.refusal(&self.node, self.dialect, spec))
            }
        }
    }

    /// Returns the refusal of a command in another slot than that of its transaction or of the
    /// guard.
    fn refuse_slot_of_queue(
        &mut self,
        server: &ServerState,
        invocation: &Invocation<'_>,
        slot: Slot,
    ) -> Refusal {
        let Some(transaction) = &mut self.transaction else {
            return Refusal::impossible("a command is queued without MULTI");
        };
        let tie = self.watched.as_deref().filter(|_| self.dialect.tie == Tie::AtQueue);
        let first_key = match tie {
            Some(watched) => watched.keys.first().map(|key| key.to_vec()).unwrap_or_default(),
            None => transaction.first_key(),
        };
        let (rule, pinned) = match (transaction.slot, tie) {
            (Some(pinned), _) => (Rule::CrossSlotTransaction, pinned),
            (None, Some(watched)) => (Rule::WatchElsewhere, watched.slot),
            (None, None) => return Refusal::impossible("a transaction without a slot is crossed"),
        };
        let crossing = Crossing {
            context: Context::Multi,
            first: pinned,
            other: slot,
            first_key: &first_key,
            violating_key: invocation.spec.nth_key(invocation.args, 0).unwrap_or_default(),
        };
        let refusal = crossing.refusal(&self.node, self.dialect, invocation.spec);
        let (next, fate) = (Some(invocation), Fate::Refused);
        violations::transaction(server, &self.client, rule, transaction, tie, next, fate);
        refusal
    }

    /// Returns the refusal of a transaction that EXEC finds to cross slots: by a command of its
    /// own, or against its guard.
    #[must_use]
    pub fn crossing_at_exec(&self, transaction: &Transaction) -> Refusal {
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
        crossing.refusal(&self.node, self.dialect, it.spec)
    }

    /// EXEC: returns the transaction as a unit. Whether its guard is whole is checked where it
    /// runs.
    pub(super) fn exec(
        &mut self,
        server: &ServerState,
        spec: &Spec,
        out: &mut Sink<'_>,
    ) -> Step<'static> {
        let Some(flags) = self.transaction.as_ref().map(|transaction| transaction.flags) else {
            out.error("ERR EXEC without MULTI");
            return Step::Replied(Reply::Done);
        };
        let request_flags = self.request_flags(spec, flags);
        let watch_failed = self.watch_failed;
        let watched = self.watched.take();
        let Some(mut transaction) = self.end_transaction() else {
            out.error(Refusal::impossible("a transaction ends twice"));
            return Step::Replied(Reply::Done);
        };
        transaction.request_flags = request_flags;
        if watch_failed {
            let (rule, fate) = (Rule::ExecAfterFailedWatch, Fate::Refused);
            let client = &self.client;
            violations::transaction(server, client, rule, &mut transaction, None, None, fate);
            transaction.poison();
        }
        let on_node = self.port != Port::Router;
        let is_lost = watched.as_ref().is_some_and(|w| w.guard.is_tripped());
        if (transaction.poisoned || is_lost) && self.dialect.forgets_lost {
            if transaction.is_kept() {
                self.tie(&mut transaction, watched.as_deref());
                self.judge(server, &mut transaction, watched.as_deref());
            }
            transaction.forget_queue();
        }
        // A node checks the slots of the queued commands before anything else.
        let is_routed = on_node && transaction.slot.is_some();
        if transaction.poisoned && !is_routed {
            if transaction.is_lacking {
                self.judge(server, &mut transaction, watched.as_deref());
            }
            out.error(Refusal::EXEC_ABORT);
            return Step::Replied(Reply::Done);
        }
        if watched.is_none() && transaction.queue.is_empty() && !is_routed {
            out.array(0);
            return Step::Replied(Reply::Done);
        }
        self.tie(&mut transaction, watched.as_deref());
        self.judge(server, &mut transaction, watched.as_deref());
        transaction.watched = watched;
        let scope = match transaction.is_multi_slot {
            true => Scope::Slots,
            false => Scope::Slot(transaction.slot),
        };
        Step::Run(Unit::Exec(transaction), scope)
    }

    /// Records that a request fits no row, and judges a command that servers have and Slotway has not by
    /// its keys. Returns whether the transaction keeps it to be judged with the others.
    pub(super) fn keep_lacking(&mut self, server: &ServerState, args: Args<'_>) -> bool {
        let client = &self.client;
        let Some(spec) = foreign::find(args) else {
            if command::find(args.at(0)).is_none() {
                violations::unknown(server, client, args.at(0));
            }
            return false;
        };
        if spec.has(flag::LABELS_CLIENT) {
            command::label_client(client, args);
            return false;
        }
        let is_forbidden = self.transaction.is_some() && spec.has(flag::NO_MULTI);
        let commands = Commands::of(self.dialect.product);
        if commands.named(args).is_some() || !spec.arity.admits(args.len()) || is_forbidden {
            // Every server refuses that.
            return false;
        }
        let invocation = Invocation::new(spec, args);
        violations::lacking(server, client, &invocation, self.transaction.as_deref());
        let has_room = |queue: &Queue| queue.bytes_len() <= self.node.settings.query_buffer_max();
        self.transaction.as_mut().is_some_and(|transaction| {
            transaction.is_kept()
                && has_room(&transaction.queue)
                && transaction.queue.push(&invocation)
        })
    }

    /// Ties a transaction to the slots of its guard.
    fn tie(&self, transaction: &mut Transaction, watched: Option<&Watched>) {
        let Some(watched) = watched else { return };
        if self.port != Port::Router {
            transaction.crosses |= self.dialect.tie == Tie::AtExec
                && transaction.slot.is_some_and(|slot| watched.crosses || watched.slot != slot);
        } else {
            // They can conflict here only where keys of several slots may be watched.
            let tied_to = transaction.slot.unwrap_or(watched.slot);
            transaction.is_multi_slot |= watched.crosses || watched.slot != tied_to;
            transaction.slot = Some(tied_to);
        }
    }

    /// Records what a transaction that EXEC would run breaks.
    fn judge(
        &self,
        server: &ServerState,
        transaction: &mut Transaction,
        watched: Option<&Watched>,
    ) {
        violations::exec(server, &self.client, self.dialect, transaction, watched);
    }
}

/// The effect of a command on the slots of its transaction.
#[derive(Clone, Copy)]
struct QueuedSlots {
    /// The slot of its first key.
    slot: Option<Slot>,
    /// It is in another slot than the transaction, so EXEC will refuse the transaction.
    crosses: bool,
    /// It extends the transaction over several slots, where that is allowed.
    is_multi_slot: bool,
}

/// Returns whether this command chooses a database.
fn selects(spec: &Spec) -> bool {
    matches!(spec.run, Run::Session(SessionCommand::Select))
}
