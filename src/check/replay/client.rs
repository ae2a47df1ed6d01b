//! What is known of a client while its commands are replayed: its transaction, its guard, its name.

use crate::command::Invocation;
use crate::ledger::Origin;
use crate::ledger::judge::{self, Traits};
use crate::ledger::pattern::shown;
use crate::slot::{Footprint, Slot};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// What a kept command, and a kept key, takes beside its bytes.
const COMMAND_BYTES: usize = size_of::<Queued>();
const KEY_BYTES: usize = 64;
/// Characters of a client's name that are kept.
const NAME_CHARS_MAX: usize = 80;

/// What is known of a client.
#[derive(Debug, Default)]
pub(super) struct ClientState {
    pub(super) origin: Origin,
    pub(super) guard: Guard,
    /// A WATCH was refused: a transaction from now on is not guarded as it was meant to be.
    pub(super) watch_failed: bool,
    /// Present from MULTI to what ends the transaction.
    pub(super) queue: Option<Queue>,
    /// Attempts that were lost since the last commit.
    pub(super) lost: u64,
    /// That it works in a database other than number 0 has been recorded.
    pub(super) has_left_database: bool,
}

impl ClientState {
    /// A client of which nothing but its address is known.
    pub(super) fn new(address: &[u8]) -> Self {
        Self { origin: Origin { address: text(address), ..Origin::default() }, ..Self::default() }
    }

    /// Ends the transaction and the guard, as EXEC, DISCARD and RESET do.
    pub(super) fn end_transaction(&mut self) -> (Option<Queue>, Guard) {
        self.watch_failed = false;
        (self.queue.take(), std::mem::take(&mut self.guard))
    }

    /// The client names itself or its library, by CLIENT SETNAME, CLIENT SETINFO or HELLO.
    pub(super) fn note_labels(&mut self, Invocation { spec, args, .. }: &Invocation<'_>) {
        let value = |at: usize| text(args.get(at).unwrap_or_default());
        match (spec.parent, spec.name) {
            ("client", "setname") => self.origin.name = value(2),
            ("client", "setinfo") if args.is(2, "lib-name") => self.origin.library = value(3),
            ("", "hello") => {
                if let Some(at) = (1..args.len()).find(|&at| args.is(at, "setname")) {
                    self.origin.name = value(at + 1);
                }
            }
            _ => {}
        }
    }
}

fn text(bytes: &[u8]) -> String {
    shown(bytes, NAME_CHARS_MAX)
}

/// The keys that a client watches.
#[derive(Debug, Default)]
pub(super) struct Guard {
    /// The slot of the key that was watched first.
    slot: Option<Slot>,
    pub(super) keys: BTreeMap<Vec<u8>, WatchedKey>,
}

/// A watched key.
#[derive(Debug)]
pub(super) struct WatchedKey {
    /// When it was watched.
    pub(super) at_ms: Option<u64>,
    /// What changed it first since then.
    pub(super) change: Option<Change>,
}

/// A change of a watched key: the command, the client that sent it, and when.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) command: Cow<'static, str>,
    pub(super) writer: Origin,
    pub(super) at_ms: Option<u64>,
}

impl Guard {
    /// The keys in the order of their bytes.
    pub(super) fn keys(&self) -> Vec<&[u8]> {
        self.keys.keys().map(Vec::as_slice).collect()
    }

    /// What a WATCH that adds these keys breaks, if it breaks a rule.
    pub(super) fn judge(&self, watch: &Invocation<'_>) -> Option<judge::Finding> {
        let keys = self.keys();
        judge::watch(self.slot.map(|slot| (slot, &*keys)), watch)
    }

    /// Watches a key, unless it is watched already.
    pub(super) fn add(&mut self, key: &[u8], at_ms: Option<u64>) {
        if !self.keys.contains_key(key) {
            self.slot.get_or_insert_with(|| Slot::of(key));
            self.keys.insert(key.to_vec(), WatchedKey { at_ms, change: None });
        }
    }

    /// The memory that it takes, about.
    pub(super) fn bytes(&self) -> usize {
        self.keys.keys().map(|key| key.len() + KEY_BYTES).sum()
    }
}

/// The memory that keys take once they are kept, about.
pub(super) fn bytes_of(keys: &[&[u8]]) -> usize {
    COMMAND_BYTES + keys.iter().map(|key| key.len() + KEY_BYTES).sum::<usize>()
}

/// The commands of a transaction.
#[derive(Debug, Default)]
pub(super) struct Queue {
    pub(super) commands: Vec<Queued>,
    /// A command was refused: EXEC runs nothing, and what follows is not kept.
    pub(super) is_spoilt: bool,
    /// The number of its unit; `None` before one is needed.
    pub(super) unit: Option<u64>,
    /// The memory that its commands take, about.
    pub(super) bytes: usize,
}

/// A command of a transaction, as far as the judge needs it.
#[derive(Debug)]
pub(super) struct Queued {
    name: Cow<'static, str>,
    footprint: Footprint,
    traits: Traits,
    keys: Vec<Vec<u8>>,
    /// Shard channels, which have slots and are no keys.
    channels: Vec<Vec<u8>>,
}

impl Queue {
    /// The place of the next command, if it is known.
    pub(super) fn next_place(&self) -> Option<usize> {
        judge::next_place(self.commands.len(), self.is_spoilt)
    }

    /// Keeps a command with its keys.
    pub(super) fn push(&mut self, invocation: &Invocation<'_>, keys: &[&[u8]]) {
        let Invocation { spec, args, .. } = *invocation;
        let mut channels = Vec::new();
        if spec.has_channels() {
            spec.each_with_slot(args, |name| channels.push(name.to_vec()));
        }
        self.bytes += bytes_of(keys) + channels.iter().map(Vec::len).sum::<usize>();
        self.push_as(Queued {
            name: invocation.spec.full_name(),
            footprint: invocation.footprint,
            traits: judge::Command::traits(invocation),
            keys: keys.iter().map(|key| key.to_vec()).collect(),
            channels,
        });
    }

    /// Keeps a command that is not known: it has a place and a name.
    pub(super) fn push_unknown(&mut self, name: &[u8]) {
        self.bytes += COMMAND_BYTES;
        self.push_as(Queued {
            name: text(name).to_lowercase().into(),
            footprint: Footprint::Anywhere,
            traits: Traits::default(),
            keys: Vec::new(),
            channels: Vec::new(),
        });
    }

    fn push_as(&mut self, queued: Queued) {
        if !self.is_spoilt {
            self.commands.push(queued);
        }
    }
}

impl judge::Command for Queued {
    fn name(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.name)
    }

    fn footprint(&self) -> Footprint {
        self.footprint
    }

    fn traits(&self) -> Traits {
        self.traits
    }

    fn each_key(&self, found: &mut dyn FnMut(&[u8])) {
        self.keys.iter().for_each(|key| found(key));
    }

    fn each_with_slot(&self, found: &mut dyn FnMut(&[u8])) {
        self.keys.iter().chain(&self.channels).for_each(|name| found(name));
    }
}
