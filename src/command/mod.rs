//! The table of commands: a command is one row and one function in one file.
//!
//! ```text
//! spec        the row, and the compile-time check of all rows
//! args        a request's arguments, borrowed
//! keys        which of them are keys: slots, CROSSSLOT, COMMAND GETKEYS
//! divide      which commands may be run slot by slot, and how
//! refusal     what a command answers when it does not do it
//! string hash list set | generic sort expire scan object dump                       the families: of keys,
//! connection server transaction introspect                            and of the process
//! ```
//!
//! A command function sees its arguments, the keyspace of its shard and a sink for its reply. It
//! never sees a connection, a socket, another shard or the clock.

mod args;
mod random;
mod cluster;
mod collection;
mod connection;
mod database;
mod split;
mod dump;
mod expire;
mod generic;
mod hash;
mod introspect;
mod judged;
mod keys;
mod list;
mod object;
mod pubsub;
mod queue;
mod refusal;
mod scan;
mod server;
mod set;
pub mod slotway;
mod sort;
mod spec;
mod string;
mod transaction;
mod wait;
mod zset;

pub use args::Args;
pub use queue::{QUEUE_BYTES_MAX, Queue};
pub use refusal::{Outcome, Refusal};
pub use spec::{
    Arity, Begin, BlockFn, Find, Group, Keys, Run, ServerFn, SessionCommand, ShardFn, Spec, access,
    acl, flag,
};
pub use split::{Merge, SplitCommand};
pub use wait::{Absent, Wait, WaitKind};

use crate::keyspace::{Key, Keyspace, Millis, Seen, Text, Value};
use crate::replication::ReplicaWait;
use crate::resp::{Sink, until_nul};
use crate::slot::{Footprint, Slot};
use crate::state::clients::Client;
use crate::state::{CommandStats, ServerState};
use crate::topology::Port;
use std::sync::{Arc, LazyLock};
use std::task::Waker;
use std::time::Duration;

/// Every family's rows, in the order of `docs/commands.md`.
const FAMILIES: &[&[Spec]] = &[
    string::ROWS,
    hash::ROWS,
    list::ROWS,
    set::ROWS,
    zset::ROWS,
    generic::ROWS,
    database::ROWS,
    sort::ROWS,
    expire::ROWS,
    scan::ROWS,
    object::ROWS,
    dump::ROWS,
    transaction::ROWS,
    pubsub::ROWS,
    connection::ROWS,
    server::ROWS,
    introspect::ROWS,
    cluster::ROWS,
    slotway::ROWS,
];

/// The longest name of a command or subcommand, in bytes.
pub const NAME_LEN_MAX: usize = 24;
/// An unknown command's name and its arguments are each shown up to this many bytes.
const UNKNOWN_SHOWN_MAX: usize = 128;

/// What the rim does for the middle while a batch runs: it knows threads, clocks and timers.
pub trait Pace {
    /// `units` cheap steps (an element visited, a hundred bytes compared) were made. Long work
    /// says so every thousand steps or so, and the rim gives the runtime its worker back.
    fn step(&mut self, units: usize);
    /// The time, in milliseconds since the epoch: for work that had to wait, since what its batch
    /// was told may be long past.
    fn now(&self) -> Millis;
    /// A count that grows steadily, for how long commands take; 0 where nobody measures that.
    fn ticks(&self) -> u64 {
        0
    }
    /// Waits, away from the runtime's workers.
    fn sleep(&mut self, time: Duration);
    /// Does `work`, which may block the thread, away from the runtime's workers.
    fn outside(&mut self, work: &mut dyn FnMut());
    /// Drops something that takes long to drop, on another thread.
    fn dispose(&mut self, dead: Box<dyn Send>);
    /// Keeps the replies of this turn back for a while; nobody else has to wait for that.
    fn delay_reply(&mut self, _: ReplyDelay) {}
    /// Does `work` soon, on its own.
    fn later(&mut self, work: DeferredWork);
    /// Another client was told something: a step, and perhaps its sleeping connection to be woken,
    /// soon after the batch is done at the latest.
    fn delivered(&mut self, sleeper: Option<Waker>) {
        self.step(1);
        if let Some(sleeper) = sleeper {
            sleeper.wake();
        }
    }
}

/// Why replies are kept back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyDelay {
    /// For this time, on purpose.
    For(Duration),
    /// Until the listeners have seen to what they were told.
    Doors,
}

/// Work for later, which brings its own pace along when it is done.
pub type DeferredWork = Box<dyn FnOnce(&mut dyn Pace) + Send>;

/// What a command sees of its shard.
pub struct Cx<'a> {
    /// The shard's keys; its time is the batch's.
    pub keyspace: &'a mut Keyspace,
    /// The slot that all keys of the request live in; `None` if they may live in several.
    pub slot: Option<Slot>,
    /// The request's only key, if it was already looked at.
    pub known: Option<Key<'a>>,
    /// Longest string that a command may make (`proto-max-bulk-len`), in bytes.
    pub string_len_max: u64,
    /// To be told of long work.
    pub pace: &'a mut dyn Pace,
    /// The one key that a command is to serve itself from which waited for it.
    pub ready: Option<&'a [u8]>,
    /// The keys that it reads without naming them lie in this keyspace, too.
    pub sees_all: bool,
}

impl<'a> Cx<'a> {
    /// Whether a command that may wait is to look at `key`: at any of its keys when it runs first,
    /// only at the one that has come to be when it runs again.
    #[must_use]
    pub fn serves(&self, key: &[u8]) -> bool {
        self.ready.is_none_or(|ready| ready == key)
    }

    /// Names a key of the request.
    #[must_use]
    #[inline]
    pub fn key<'k>(&self, bytes: &'k [u8]) -> Key<'k>
    where
        'a: 'k,
    {
        if let Some(known) = self.known
            && std::ptr::eq(known.bytes, bytes)
        {
            return known;
        }
        let slot = self.slot.unwrap_or_else(|| Slot::of(bytes));
        self.keyspace.key(slot, bytes)
    }

    /// The time of this batch, in milliseconds since the epoch.
    #[must_use]
    pub fn now(&self) -> Millis {
        self.keyspace.now()
    }

    /// Reads the string at `key`, as a read that counts.
    ///
    /// # Errors
    /// WRONGTYPE when the key holds something else.
    pub fn text(&mut self, key: Key<'_>) -> Result<Option<Text<'_>>, Refusal> {
        let Some(value) = self.keyspace.read(key) else { return Ok(None) };
        value.as_text().map(Some).ok_or(Refusal::WRONG_TYPE)
    }

    /// Answers the string at `key`, or null, as a read that counts.
    ///
    /// # Errors
    /// WRONGTYPE when the key holds something else.
    #[inline]
    pub fn answer_text(&mut self, key: Key<'_>, out: &mut Sink<'_>) -> Outcome {
        match self.keyspace.read(key) {
            None => out.null(),
            Some(Value::Str(bytes)) => out.bulk(bytes),
            Some(Value::Int(value)) => out.bulk_int(*value),
            Some(value) => out.bulk(&value.as_text().ok_or(Refusal::WRONG_TYPE)?),
        }
        Ok(())
    }

    /// Reads the value at `key`, as a read that counts.
    pub fn value(&mut self, key: Key<'_>) -> Option<&Value> {
        self.keyspace.read(key)
    }
}

/// What a command sees that concerns the process, or all shards in view.
pub struct ServerCx<'a> {
    /// The process: settings, clients, counters.
    pub server: &'a ServerState,
    /// The client that asks.
    pub me: &'a Arc<Client>,
    /// Whom it speaks to.
    pub port: Port,
    /// For [`Run::Cluster`]: every shard in view of the port, held, in ascending order; for
    /// [`Run::Whole`] every shard of the process. Else empty.
    pub shards: Vec<&'a mut Keyspace>,
    /// The numbers of these shards.
    pub view: Vec<usize>,
    /// What was counted on each of them.
    pub tallies: Vec<&'a mut CommandStats>,
    /// The time of this batch, in milliseconds since the epoch.
    pub now: Millis,
    /// To be told of long work.
    pub pace: &'a mut dyn Pace,
    /// What the command waits for before it is answered, if it does: how many replicas have come by
    /// then is the answer.
    pub replica_wait: Option<ReplicaWait>,
}

impl ServerCx<'_> {
    /// The port that the client has come to, as it is listened on.
    fn own_port(&self) -> u16 {
        match self.port {
            Port::Router => self.server.identity.port,
            Port::Node(node) => self.server.topology.port_of(node),
        }
    }
}

/// A request whose row was found and whose number of arguments fits.
#[derive(Clone, Copy, Debug)]
pub struct Invocation<'a> {
    /// The row of the command or, if it has them, of the subcommand.
    pub spec: &'static Spec,
    /// The arguments.
    pub args: Args<'a>,
    /// The slots that its keys live in.
    pub footprint: Footprint,
    /// The argument that is its only key, if the row says so plainly.
    pub only_key: Option<u8>,
    /// What a first look at that key found, if there was one.
    pub seen: Option<Seen>,
}

impl<'a> Invocation<'a> {
    fn new(spec: &'static Spec, args: Args<'a>) -> Self {
        let only_key = spec.only_key();
        let footprint = match only_key {
            Some(at) => Footprint::In(Slot::of(args.at(at.into()))),
            None => spec.footprint(args),
        };
        Self { spec, args, footprint, only_key, seen: None }
    }

    /// Its only key, if that was looked at before.
    #[must_use]
    #[inline]
    pub fn known(&self) -> Option<Key<'a>> {
        match (self.slot(), self.only_key, self.seen) {
            (Some(slot), Some(at), Some(seen)) => {
                Some(Key::seen(self.args.at(at.into()), slot, seen))
            }
            _ => None,
        }
    }

    /// The one slot that its keys live in; `None` without keys or if they cross slots.
    #[must_use]
    pub fn slot(&self) -> Option<Slot> {
        if let Footprint::In(slot) = self.footprint { Some(slot) } else { None }
    }
}

/// Every command's row in the order of the families, without subcommands.
pub fn all() -> impl Iterator<Item = &'static Spec> {
    spec::COMMANDS.iter()
}

/// The row that has this number, if any does.
#[must_use]
pub fn numbered(id: u16) -> Option<&'static Spec> {
    let at = usize::from(id.checked_sub(1)?);
    spec::COMMANDS.get(at).or_else(|| spec::SUBCOMMANDS.get(at - spec::COMMANDS.len()))
}

/// The command of this name, in any case.
#[must_use]
pub fn find(name: &[u8]) -> Option<&'static Spec> {
    INDEX.find(name)
}

/// The subcommand of this name, in any case.
#[must_use]
pub fn find_in(container: &'static Spec, name: &[u8]) -> Option<&'static Spec> {
    container.subcommands.iter().find(|sub| name.eq_ignore_ascii_case(sub.name.as_bytes()))
}

/// Finds the row for a request and checks the number of its arguments.
///
/// # Errors
/// The command or subcommand is not known, or takes another number of arguments.
pub fn resolve(args: Args<'_>) -> Result<Invocation<'_>, Refusal> {
    let spec = find(&args[0]).ok_or_else(|| unknown(args))?;
    if spec.subcommands.is_empty() {
        return if spec.arity.admits(args.len()) {
            Ok(Invocation::new(spec, args))
        } else {
            Err(Refusal::arity(&spec.full_name()))
        };
    }
    let Some(name) = args.get(1) else {
        // A container may itself be a command when it stands alone: COMMAND.
        return match spec.run {
            Run::Container => Err(Refusal::arity(spec.name)),
            _ => Ok(Invocation::new(spec, args)),
        };
    };
    let sub = find_in(spec, name).ok_or_else(|| unknown_subcommand(spec, name))?;
    if sub.arity.admits(args.len()) {
        Ok(Invocation::new(sub, args))
    } else {
        Err(Refusal::arity(&sub.full_name()))
    }
}

/// The row that a request names, however many arguments it has; `None` if there is none.
#[must_use]
pub fn named(args: Args<'_>) -> Option<&'static Spec> {
    let spec = find(args.at(0))?;
    match args.get(1) {
        Some(name) if !spec.subcommands.is_empty() => find_in(spec, name),
        _ => Some(spec),
    }
}

fn unknown(args: Args<'_>) -> Refusal {
    let shown = |arg, max| cut(until_nul(arg), max).to_vec();
    let mut text = b"ERR unknown command '".to_vec();
    text.extend(shown(&args[0], UNKNOWN_SHOWN_MAX));
    text.extend(b"', with args beginning with: ");
    let mut listed = Vec::new();
    for arg in args.from(1) {
        if listed.len() >= UNKNOWN_SHOWN_MAX {
            break;
        }
        listed.push(b'\'');
        listed.extend(shown(arg, UNKNOWN_SHOWN_MAX - (listed.len() - 1)));
        listed.extend(b"' ");
    }
    text.extend(listed);
    Refusal::new(text)
}

fn cut(text: &[u8], len_max: usize) -> &[u8] {
    &text[..text.len().min(len_max)]
}

fn unknown_subcommand(container: &Spec, name: &[u8]) -> Refusal {
    let mut text = b"ERR unknown subcommand '".to_vec();
    text.extend(cut(until_nul(name), UNKNOWN_SHOWN_MAX));
    text.extend(b"'. Try ");
    text.extend(container.name.to_ascii_uppercase().as_bytes());
    text.extend(b" HELP.");
    Refusal::new(text)
}

/// Commands by name: a small open-addressing table over the name's length and first eight bytes,
/// which nearly every command is told apart by; the rest of a name is compared only when they fit.
struct NameIndex {
    /// A power of two, at most half full: `word` and `len` place a command, the next free place
    /// takes it.
    places: Box<[Option<Named>]>,
}

/// A command in the index.
#[derive(Clone, Copy)]
struct Named {
    word: u64,
    /// Whether the word, with its length, says all there is to the name.
    says_all: bool,
    spec: &'static Spec,
}

static INDEX: LazyLock<NameIndex> = LazyLock::new(|| {
    let mut places = vec![None; (2 * all().count()).next_power_of_two()].into_boxed_slice();
    for spec in all() {
        // A letter with bit 0x20 set comes of a letter only, so that a word of letters says all.
        let says_all = spec.name.len() <= 8 && spec.name.bytes().all(|b| b.is_ascii_lowercase());
        let word = NameIndex::word(spec.name.as_bytes());
        let mut place = NameIndex::place(word, spec.name.len(), places.len());
        while places[place].is_some() {
            place = (place + 1) % places.len();
        }
        places[place] = Some(Named { word, says_all, spec });
    }
    NameIndex { places }
});

impl NameIndex {
    /// The name's first eight bytes, letters in lower case, zeros behind a shorter one.
    #[inline]
    fn word(name: &[u8]) -> u64 {
        // Setting this bit turns upper case into lower; other bytes it may confuse, which the
        // comparison of the whole name then sorts out.
        const LOWER: u64 = 0x2020_2020_2020_2020;
        let four = |at: usize| {
            u64::from(u32::from_le_bytes([name[at], name[at + 1], name[at + 2], name[at + 3]]))
        };
        LOWER
            | match *name {
                [] => 0,
                [a, b, c, d, e, f, g, h, ..] => u64::from_le_bytes([a, b, c, d, e, f, g, h]),
                [_, _, _, _, ..] => four(0) | four(name.len() - 4) << (8 * (name.len() - 4)),
                [a, ..] => {
                    let (middle, last) = (name[name.len() / 2], name[name.len() - 1]);
                    u64::from(a)
                        | u64::from(middle) << (8 * (name.len() / 2))
                        | u64::from(last) << (8 * (name.len() - 1))
                }
            }
    }

    #[inline]
    fn place(word: u64, len: usize, places: usize) -> usize {
        let mixed = (word ^ len as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        (mixed >> 40) as usize & (places - 1)
    }

    fn find(&self, name: &[u8]) -> Option<&'static Spec> {
        let word = Self::word(name);
        let mut place = Self::place(word, name.len(), self.places.len());
        while let Some(Named { word: its, says_all, spec }) = self.places[place] {
            let rest_fits = || says_all || name.eq_ignore_ascii_case(spec.name.as_bytes());
            if its == word && name.len() == spec.name.len() && rest_fits() {
                return Some(spec);
            }
            place = (place + 1) & (self.places.len() - 1);
        }
        None
    }
}

/// What a subcommand answers that has more arguments than it knows.
fn too_many_arguments(args: Args<'_>) -> Refusal {
    let before = b"ERR unknown subcommand or wrong number of arguments for '";
    let name = cut(until_nul(args.get(1).unwrap_or_default()), UNKNOWN_SHOWN_MAX);
    let container = args.at(0).to_ascii_uppercase();
    Refusal::new([before, name, b"'. Try ", &container, b" HELP."].concat())
}

/// Answers `HELP` of a container from its rows.
pub(crate) fn help(container: &Spec, out: &mut Sink<'_>) {
    out.array(1 + 2 * container.subcommands.len());
    out.simple(&format!(
        "{} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        container.name.to_ascii_uppercase()
    ));
    for sub in container.subcommands {
        out.simple(&sub.name.to_ascii_uppercase());
        out.simple(&format!("    {}", sub.summary));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_command_is_found_by_its_name_and_only_once() {
        let mut seen = HashSet::new();
        for spec in all() {
            assert!(seen.insert(spec.name), "{} stands twice", spec.name);
            for name in [spec.name.to_owned(), spec.name.to_ascii_uppercase()] {
                assert_eq!(find(name.as_bytes()).expect(&name).name, spec.name);
            }
        }
        assert!(
            find(b"").is_none()
                && find(b"nosuch").is_none()
                && find(b"sort\x7fro").is_none()
                && find(&[b'x'; 1000]).is_none()
        );
    }
}
