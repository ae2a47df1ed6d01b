//! The commands that MULTI has queued, the keys that WATCH guards, and the text of a crossed slot's
//! refusal.

use crate::command::{Queue, Refusal, Run, Spec};
use crate::dialect::Dialect;
use crate::keyspace::{Blob, Guard};
use crate::slot::Slot;
use crate::state::NodeState;
use crate::state::clients::Client;
use crate::topology::RequestFlags;
use std::cell::Cell;
use std::collections::BTreeSet;
use std::num::NonZeroU64;
use std::sync::Arc;

/// Most keys that one session may watch.
pub(crate) const WATCHED_KEYS_MAX: usize = 1 << 20;

/// The reach of a transaction beyond the shard that owns its slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// No state beyond that shard.
    #[default]
    Shard,
    /// The session or the process.
    Server,
    /// All shards in view.
    Cluster,
    /// All shards, for any client.
    Whole,
}

impl Reach {
    /// That of a command.
    #[must_use]
    pub(super) fn of(spec: &Spec) -> Self {
        match spec.run {
            Run::Shard(_) | Run::Blocks(_) | Run::Script(_) => Self::Shard,
            Run::Cluster(_) => Self::Cluster,
            Run::Whole(_) => Self::Whole,
            Run::Server(_) | Run::Session(_) | Run::Container => Self::Server,
        }
    }
}

/// A transaction that MULTI has begun.
#[derive(Debug, Default)]
pub struct Transaction {
    /// The queued commands.
    pub queue: Queue,
    /// The reach of the queued commands.
    pub reach: Reach,
    /// The slot that the transaction belongs to, once known.
    pub slot: Option<Slot>,
    /// A later command uses another slot; only for dialects that find this out at EXEC.
    pub crosses: bool,
    /// It uses several slots, or guards them, where that is allowed: it needs all shards.
    pub is_multi_slot: bool,
    /// It chooses a database, which was allowed when that was queued.
    pub selects: bool,
    /// The flags by which EXEC is routed to that slot.
    pub request_flags: RequestFlags,
    /// The guard that must still be whole when it runs.
    pub watched: Option<Box<Watched>>,
    /// The flags of its commands, all together.
    pub flags: u64,
    /// A command was refused: EXEC will not run the others.
    pub poisoned: bool,
    /// Nothing was refused but commands that servers have and Slotway has not. The queue holds them,
    /// too, so that the proof can judge the transaction as a server would run it.
    pub is_lacking: bool,
    /// Its crossing of slots has been recorded for the proof.
    pub is_noted: bool,
    /// Its number for the proof, which counts it once; `None` before it breaks a rule.
    pub unit: Cell<Option<NonZeroU64>>,
}

thread_local! {
    /// A transaction that has run, for the next one's memory: it belongs to the thread, as the
    /// read buffers do, so that idle connections own none.
    static SPARE: Cell<Option<Box<Transaction>>> = const { Cell::new(None) };
}

/// A transaction with more memory than this is not kept for the next, in bytes.
const SPARE_BYTES_MAX: usize = 64 * 1024;

impl Transaction {
    pub(super) fn begin() -> Box<Self> {
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

    /// Returns whether only the slot and the guard can still prevent it, and it runs on the slot's
    /// shard alone.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.reach == Reach::Shard && !self.poisoned && !self.crosses && !self.is_multi_slot
    }

    /// Makes EXEC refuse to run.
    pub(super) fn poison(&mut self) {
        (self.poisoned, self.is_lacking) = (true, false);
    }

    /// Returns whether the queue holds all commands so far, and is to hold the next.
    #[must_use]
    pub(super) fn is_kept(&self) -> bool {
        !self.poisoned || self.is_lacking
    }

    /// Forgets the queued commands, and where they would have run.
    pub(super) fn forget_queue(&mut self) {
        self.queue.clear();
        (self.slot, self.reach) = (None, Reach::Shard);
        (self.crosses, self.is_multi_slot) = (false, false);
    }

    /// Returns the first key that pinned the slot, for the explanation of a refusal.
    pub(super) fn first_key(&self) -> Vec<u8> {
        self.queue
            .iter()
            .find(|invocation| invocation.slot().is_some())
            .and_then(|invocation| invocation.spec.nth_key(invocation.args, 0))
            .unwrap_or_default()
            .to_vec()
    }
}

/// The keys that a session watches: those of one slot, except for clients of a node and under an
/// audit.
#[derive(Debug)]
pub struct Watched {
    /// The slot that the first key lives in.
    pub slot: Slot,
    /// A key lives in another slot: only where that is allowed.
    pub crosses: bool,
    /// The shards where the guard is filed.
    pub shards: Vec<usize>,
    /// For which slots of database 0 it is filed on which of them.
    pub places: Vec<(Slot, usize)>,
    /// The keys; never empty.
    pub keys: BTreeSet<Blob>,
    /// Trips when one of them is touched.
    pub guard: Guard,
    /// The client that watches.
    pub client: Arc<Client>,
}

/// The place where a slot was crossed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Context {
    Command,
    Watch,
    Multi,
}

/// A refusal that is being built: which key crossed which slot.
#[derive(Debug)]
pub(super) struct Crossing<'k> {
    pub(super) context: Context,
    pub(super) first: Slot,
    pub(super) other: Slot,
    pub(super) first_key: &'k [u8],
    pub(super) violating_key: &'k [u8],
}

impl Crossing<'_> {
    /// Returns the reply: the plain sentence that clients match, followed by the keys if asked for.
    pub(super) fn refusal(&self, node: &NodeState, dialect: &Dialect, spec: &Spec) -> Refusal {
        node.stats.add(|it| &it.crossslot_refusals, 1);
        if !node.settings.explain() && !dialect.explains {
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
