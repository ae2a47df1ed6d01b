//! The row: all that is known about a command, beside the one function that runs it.
//!
//! ```text
//! Spec { name: "strlen", arity: Exactly(2), flags: READ | FAST, keys: &[Keys::at(RO, 1)],
//!        run: Run::Shard(strlen), summary: "…", ..STRING }
//!
//! spec/flag     properties, Redis' and internal ones      spec/keys     which arguments are keys
//! spec/acl      ACL categories                            spec/secrets  which are passwords
//! spec/access   what it does to a key                     spec/check    rejects malformed rows
//! spec/variant  what differs between servers
//! ```
//!
//! Everything else is a fold over the rows: dispatch, arity errors, key extraction, slots,
//! COMMAND and its subcommands, ACL categories, `docs/commands.md`. A malformed row does not
//! compile: see [`check`].

#[expect(missing_docs, reason = "their meaning is Redis'; see NAMES")]
pub mod access;
pub(crate) mod acl;
#[expect(missing_docs, reason = "their meaning is Redis'; see NAMES")]
pub mod flag;
mod keys;
mod secrets;
mod variant;
mod check;

pub(super) use check::check;
pub use keys::{Begin, Find, Keys};
pub(crate) use secrets::Secret;
pub(super) use variant::{
    BUSY_IN_VALKEY, IN_SCRIPTS_SINCE_7_2, LOADING_IN_NEWEST, LOADING_IN_REDIS8_10,
    LOADING_IN_VALKEY, LOADING_SINCE_7_2, ON_ALL_NODES_SINCE_7_2, SAME, Variant,
};

use super::{Args, Cx, Outcome, Refusal, ServerCx, Wait};
use crate::dialect::{Servers, servers};
use crate::resp::Sink;
use crate::state::pubsub::ChannelKind;
use std::borrow::Cow;

/// A command's row.
#[derive(Clone, Copy)]
pub struct Spec {
    /// The row's number in the table, from 1; statistics are kept by it. Assigned when the table is
    /// built, 0 before.
    pub id: u16,
    /// Lower case; a subcommand's own word only (`list`, not `client|list`).
    pub name: &'static str,
    /// A subcommand's container, else empty.
    pub parent: &'static str,
    /// How many arguments it takes, its name (and its subcommand's) included.
    pub arity: Arity,
    /// The servers that have it.
    pub servers: Servers,
    /// What differs in it on some of them; the row itself is that of Redis 7.0, or else of Redis 8.
    pub variants: &'static [Variant],
    /// Properties, from [`flag`].
    pub flags: u64,
    /// ACL categories, from `acl`, beyond those that follow from the flags.
    pub acl: u32,
    /// Where its keys are and what it does to them.
    pub keys: &'static [Keys],
    /// Which arguments are passwords, hidden from MONITOR and SLOWLOG.
    pub secrets: &'static [Secret],
    /// Hints for clients and proxies, as `COMMAND INFO` shows them.
    pub tips: &'static [&'static str],
    /// The family it belongs to.
    pub group: Group,
    /// The Redis version that introduced it.
    pub since: &'static str,
    /// Its time complexity, in Redis' words.
    pub complexity: &'static str,
    /// What it does, in a sentence of our own.
    pub summary: &'static str,
    /// What COMMAND DOCS says besides.
    pub doc: Doc,
    /// What runs it.
    pub run: Run,
    /// The rows of its subcommands, if it is a container.
    pub subcommands: &'static [Spec],
}

/// What COMMAND DOCS says of a command besides its summary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doc {
    /// Nothing.
    Plain,
    /// It is for the server itself and for those who work on it.
    System,
    /// Another command is to be used in its place.
    Deprecated {
        /// The servers that say so.
        servers: Servers,
        /// Since which version.
        since: &'static str,
        /// The other command.
        by: &'static str,
    },
}

impl Doc {
    /// Deprecated in Redis; Valkey does not say so.
    pub(super) const fn not_in_redis(since: &'static str, by: &'static str) -> Self {
        Self::Deprecated { servers: servers::REDIS7 | servers::REDIS8, since, by }
    }

    /// Deprecated in Redis 8.
    pub(super) const fn not_in_redis8(since: &'static str, by: &'static str) -> Self {
        Self::Deprecated { servers: servers::REDIS8, since, by }
    }

    /// Deprecated in every server.
    pub(super) const fn nowhere(since: &'static str, by: &'static str) -> Self {
        Self::Deprecated { servers: servers::ALL, since, by }
    }
}

/// How many arguments a command takes, its name included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arity {
    /// This many.
    Exactly(u8),
    /// This many or more.
    AtLeast(u8),
}

impl Arity {
    /// Whether a request of `len` arguments fits.
    #[must_use]
    pub const fn admits(self, len: usize) -> bool {
        match self {
            Self::Exactly(n) => len == n as usize,
            Self::AtLeast(n) => len >= n as usize,
        }
    }

    /// The fewest arguments that fit.
    #[must_use]
    pub const fn least(self) -> usize {
        match self {
            Self::Exactly(n) | Self::AtLeast(n) => n as usize,
        }
    }

    /// As `COMMAND INFO` shows it: negative for a minimum.
    #[must_use]
    pub const fn as_redis(self) -> i64 {
        match self {
            Self::Exactly(n) => n as i64,
            Self::AtLeast(n) => -(n as i64),
        }
    }
}

/// Runs a command on the shard that owns its slot.
pub(crate) type ShardFn = fn(&mut Cx<'_>, Args<'_>, &mut Sink<'_>) -> Outcome;
/// Runs a blocking command on the shard that owns its slot. Returns what it waits for if its keys
/// hold nothing for it; then it has written nothing.
pub(crate) type BlockFn = fn(&mut Cx<'_>, Args<'_>, &mut Sink<'_>) -> Result<Option<Wait>, Refusal>;
/// Runs a command on the process or on all shards in view.
pub(crate) type ServerFn = fn(&mut ServerCx<'_>, Args<'_>, &mut Sink<'_>) -> Outcome;

/// What runs a command.
#[derive(Clone, Copy)]
pub enum Run {
    /// A function of the shard that owns the command's slot, or of any shard if it has no keys.
    Shard(ShardFn),
    /// The same, for a command that may block on the keys of its first key specification.
    Blocks(BlockFn),
    /// A function of the process; it sees no keys.
    Server(ServerFn),
    /// A function of all shards in view of the port, which are held while it runs.
    Cluster(ServerFn),
    /// A function of all shards of the process, whatever the port: it moves slots or keys between
    /// them.
    Whole(ServerFn),
    /// The session itself: an arm of its exhaustive match.
    Session(SessionCommand),
    /// A script, on the shard that owns the command's slot: it runs other commands there.
    Script(ScriptCommand),
    /// Nothing: only its subcommands run. (A row with subcommands and a function runs the function
    /// when it is sent without a subcommand, as COMMAND is.)
    Container,
}

/// The commands that change the connection's own state; the session runs them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionCommand {
    Asking,
    Auth,
    ClientCaching,
    ClientReply,
    ClientTracking,
    Discard,
    Exec,
    Hello,
    Monitor,
    Multi,
    Quit,
    ReadOnly,
    ReadWrite,
    Reset,
    Select,
    Subscribe(ChannelKind),
    Unsubscribe(ChannelKind),
    Unwatch,
    Watch,
}

/// The commands that run scripts; the shard does (`shard/script.rs`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScriptCommand {
    /// The script is the first argument, or its SHA-1 is.
    Eval {
        /// It is named by its SHA-1.
        by_sha: bool,
        /// It may not write.
        reads_only: bool,
    },
    /// A function of a library.
    Fcall {
        /// It may not write.
        reads_only: bool,
    },
}

/// The families of commands, named as in `COMMAND DOCS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    Generic,
    String,
    Bitmap,
    HyperLogLog,
    List,
    Set,
    SortedSet,
    Geo,
    Hash,
    Stream,
    PubSub,
    Connection,
    Server,
    Transactions,
    Scripting,
    Cluster,
    Module,
    Slotway,
}

impl Group {
    /// The name in `COMMAND DOCS`, and the heading of `docs/commands.md`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Generic => "generic",
            Self::String => "string",
            Self::Bitmap => "bitmap",
            Self::HyperLogLog => "hyperloglog",
            Self::List => "list",
            Self::Set => "set",
            Self::SortedSet => "sorted-set",
            Self::Geo => "geo",
            Self::Stream => "stream",
            Self::PubSub => "pubsub",
            Self::Hash => "hash",
            Self::Connection => "connection",
            Self::Cluster => "cluster",
            Self::Module => "module",
            Self::Scripting => "scripting",
            Self::Server => "server",
            Self::Slotway => "slotway",
            Self::Transactions => "transactions",
        }
    }
}

/// An empty row, for others to be built on.
pub(super) const BASE: Spec = Spec {
    id: 0,
    name: "",
    parent: "",
    arity: Arity::AtLeast(1),
    servers: servers::ALL,
    variants: &[],
    flags: 0,
    acl: 0,
    keys: &[],
    secrets: &[],
    tips: &[],
    group: Group::Generic,
    since: "1.0.0",
    complexity: "O(1)",
    summary: "",
    doc: Doc::Plain,
    run: Run::Container,
    subcommands: &[],
};

impl Spec {
    /// An empty row, for others to be built on.
    pub const BASE: Self = BASE;

    /// The name as Redis shows it: `get`, `client|list`.
    #[must_use]
    pub fn full_name(&self) -> Cow<'static, str> {
        if self.parent.is_empty() {
            Cow::Borrowed(self.name)
        } else {
            Cow::Owned(format!("{}|{}", self.parent, self.name))
        }
    }

    /// Every ACL category of the command: its own and those that its flags imply, by the rule of
    /// Redis 7.
    #[must_use]
    pub const fn categories(&self) -> u32 {
        let mut all = self.acl;
        // Modules name their categories themselves.
        if self.has(flag::MODULE) {
            return all;
        }
        if self.has(flag::WRITE) {
            all |= acl::WRITE;
        }
        // In Redis a reading command is not @read when it belongs to scripting.
        if self.has(flag::READ) && self.acl & acl::SCRIPTING == 0 {
            all |= acl::READ;
        }
        if self.has(flag::ADMIN) {
            all |= acl::ADMIN | acl::DANGEROUS;
        }
        if self.has(flag::PUBSUB) {
            all |= acl::PUBSUB;
        }
        if self.has(flag::BLOCKING) {
            all |= acl::BLOCKING;
        }
        all | if self.has(flag::FAST) { acl::FAST } else { acl::SLOW }
    }

    /// Whether the row has a flag, or any of several.
    #[must_use]
    pub const fn has(&self, flags: u64) -> bool {
        self.flags & flags != 0
    }

    /// Whether the command runs on the shard of its keys' slot in every plain session.
    #[must_use]
    #[inline]
    pub const fn runs_directly(&self) -> bool {
        matches!(self.run, Run::Shard(_)) && !self.has(flag::READS_UNNAMED | flag::NAMES_DATABASE)
    }

    /// Whether the command may change keys.
    #[must_use]
    pub const fn writes(&self) -> bool {
        self.has(flag::WRITE)
    }

    /// Whether the command may trip a WATCH of the keys that it names, or of all if it names none.
    #[must_use]
    pub const fn trips_watch(&self) -> bool {
        (self.writes() || self.has(flag::CACHES)) && !self.has(flag::UNWATCHED)
    }

    /// Whether this row runs where there are databases, on the shards of two of them, so that the
    /// slots of its keys do not matter.
    #[must_use]
    pub const fn is_between_databases(&self) -> bool {
        self.has(flag::NAMES_DATABASE) && matches!(self.run, Run::Whole(_))
    }

    /// Whether MONITOR shows the command; administrative ones it does not.
    #[must_use]
    pub const fn is_shown(&self) -> bool {
        !self.has(flag::SKIP_MONITOR | flag::ADMIN)
    }

    /// Whether SLOWLOG may keep the command.
    #[must_use]
    pub const fn is_logged(&self) -> bool {
        !self.has(flag::SKIP_SLOWLOG | flag::SKIP_COMMANDLOG)
    }

    /// Whether this is PING, which a subscriber that speaks RESP2 gets answered with a message: the
    /// only command it may send that the session does not run.
    #[must_use]
    pub const fn is_ping(&self) -> bool {
        self.has(flag::WHILE_SUBSCRIBED) && !matches!(self.run, Run::Session(_))
    }
}

impl std::fmt::Debug for Spec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Spec({})", self.name)
    }
}
