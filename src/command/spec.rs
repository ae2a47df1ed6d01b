//! The row: all that is known about a command, beside the one function that runs it.
//!
//! ```text
//! Spec { name: "strlen", arity: Exactly(2), flags: READ | FAST, keys: &[READS.at(1)],
//!        run: Run::Shard(strlen), summary: "…", ..STRING }
//! ```
//!
//! Everything else is a fold over the rows: dispatch, arity errors, key extraction, slots,
//! COMMAND and its subcommands, ACL categories, `docs/commands.md`. A malformed row does not
//! compile: see [`check`].

use super::{Cx, FAMILIES, Outcome, Refusal, ServerCx, Wait};
use crate::command::Args;
use crate::resp::Sink;
use crate::state::pubsub::Scope;
use std::borrow::Cow;

/// A command's row.
#[derive(Clone, Copy)]
pub struct Spec {
    /// The row's number in the table, from 1, by which what is counted of it is filed; given when
    /// the table is put together, 0 before.
    pub id: u16,
    /// Lower case; a subcommand's own word only (`list`, not `client|list`).
    pub name: &'static str,
    /// A subcommand's container, else nothing.
    pub parent: &'static str,
    /// How many arguments it takes, with its name (and its subcommand's) counted.
    pub arity: Arity,
    /// Properties, from [`flag`].
    pub flags: u32,
    /// ACL categories, from [`acl`], beyond those that follow from the flags.
    pub acl: u32,
    /// Where its keys stand and what it does to them.
    pub keys: &'static [Keys],
    /// Hints for clients and proxies, as `COMMAND INFO` shows them.
    pub tips: &'static [&'static str],
    /// The family it belongs to.
    pub group: Group,
    /// The Redis version that brought it.
    pub since: &'static str,
    /// Its running time.
    pub complexity: &'static str,
    /// What it does, in a sentence.
    pub summary: &'static str,
    /// What runs it.
    pub run: Run,
    /// The rows of its subcommands, if it is but their container.
    pub subcommands: &'static [Spec],
}

/// How many arguments a command takes, its name counted.
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
pub type ShardFn = fn(&mut Cx<'_>, Args<'_>, &mut Sink<'_>) -> Outcome;
/// Runs a command that may wait on the shard that owns its slot; gives what it waits for if there
/// is nothing for it yet, and has written nothing then.
pub type BlockFn = fn(&mut Cx<'_>, Args<'_>, &mut Sink<'_>) -> Result<Option<Wait>, Refusal>;
/// Runs a command that concerns the process or all shards in view.
pub type ServerFn = fn(&mut ServerCx<'_>, Args<'_>, &mut Sink<'_>) -> Outcome;

/// What runs a command.
#[derive(Clone, Copy)]
pub enum Run {
    /// A function of the shard that owns the command's slot, or of any if it has no keys.
    Shard(ShardFn),
    /// The same, for a command that may wait for the keys of its first key specification.
    Blocks(BlockFn),
    /// A function of the process; it sees no keys.
    Server(ServerFn),
    /// A function of all shards in view, which are held while it runs.
    Cluster(ServerFn),
    /// A function of all shards of the process, whoever asks: it moves slots or keys between them.
    Whole(ServerFn),
    /// The session itself: an arm of its exhaustive match.
    Session(SessionCommand),
    /// Nothing: only its subcommands run. (A row with subcommands and a function runs that when it
    /// stands alone, as COMMAND does.)
    Container,
}

/// The commands that steer the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the command of its name")]
pub enum SessionCommand {
    Asking,
    Auth,
    ClientReply,
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
    Subscribe(Scope),
    Unsubscribe(Scope),
    Unwatch,
    Watch,
}

/// A command's properties; the names are Redis'.
#[expect(missing_docs, reason = "their meaning is Redis'; see NAMES")]
pub mod flag {
    pub const WRITE: u32 = 1;
    pub const READ: u32 = 1 << 1;
    pub const DENYOOM: u32 = 1 << 2;
    pub const ADMIN: u32 = 1 << 3;
    pub const PUBSUB: u32 = 1 << 4;
    pub const NOSCRIPT: u32 = 1 << 5;
    pub const BLOCKING: u32 = 1 << 6;
    pub const LOADING: u32 = 1 << 7;
    pub const STALE: u32 = 1 << 8;
    pub const SKIP_MONITOR: u32 = 1 << 9;
    pub const SKIP_SLOWLOG: u32 = 1 << 10;
    pub const ASKING: u32 = 1 << 11;
    pub const FAST: u32 = 1 << 12;
    pub const NO_AUTH: u32 = 1 << 13;
    /// CLIENT PAUSE WRITE holds it up; COMMAND does not show it.
    pub const MAY_REPLICATE: u32 = 1 << 14;
    pub const NO_MANDATORY_KEYS: u32 = 1 << 15;
    pub const NO_ASYNC_LOADING: u32 = 1 << 16;
    pub const NO_MULTI: u32 = 1 << 17;
    pub const ALLOW_BUSY: u32 = 1 << 18;
    /// Its keys cannot all be found by the first-last-step rule.
    pub const MOVABLE_KEYS: u32 = 1 << 19;
    /// It works on keys that are on the move: MIGRATE. COMMAND does not show it.
    pub const MIGRATES: u32 = 1 << 20;
    /// It may read keys that it does not name ([`super::Spec::reads_unnamed`]): SORT. COMMAND does not show it.
    pub const READS_UNNAMED: u32 = 1 << 21;
    /// It is about all databases, not only the client's. COMMAND does not show it.
    pub const ALL_DATABASES: u32 = 1 << 22;
    /// It works between databases, of which a cluster has one: MOVE, SWAPDB. COMMAND does not show it.
    pub const OTHER_DATABASE: u32 = 1 << 23;
    /// Without naming a key it reads or writes all that there are, which on a node of a cluster are
    /// that node's: DBSIZE, FLUSHALL. COMMAND does not show it.
    pub const NODE_LOCAL: u32 = 1 << 24;

    /// Every flag that COMMAND shows, with its name there, in the order shown.
    pub const NAMES: &[(u32, &str)] = &[
        (WRITE, "write"),
        (READ, "readonly"),
        (DENYOOM, "denyoom"),
        (ADMIN, "admin"),
        (PUBSUB, "pubsub"),
        (NOSCRIPT, "noscript"),
        (BLOCKING, "blocking"),
        (LOADING, "loading"),
        (STALE, "stale"),
        (SKIP_MONITOR, "skip_monitor"),
        (SKIP_SLOWLOG, "skip_slowlog"),
        (ASKING, "asking"),
        (FAST, "fast"),
        (NO_AUTH, "no_auth"),
        (NO_MANDATORY_KEYS, "no_mandatory_keys"),
        (NO_ASYNC_LOADING, "no_async_loading"),
        (NO_MULTI, "no_multi"),
        (MOVABLE_KEYS, "movablekeys"),
        (ALLOW_BUSY, "allow_busy"),
    ];
}

/// ACL categories.
#[expect(missing_docs, reason = "their meaning is Redis'; see NAMES")]
pub mod acl {
    pub const KEYSPACE: u32 = 1;
    pub const READ: u32 = 1 << 1;
    pub const WRITE: u32 = 1 << 2;
    pub const SET: u32 = 1 << 3;
    pub const SORTEDSET: u32 = 1 << 4;
    pub const LIST: u32 = 1 << 5;
    pub const HASH: u32 = 1 << 6;
    pub const STRING: u32 = 1 << 7;
    pub const BITMAP: u32 = 1 << 8;
    pub const HYPERLOGLOG: u32 = 1 << 9;
    pub const GEO: u32 = 1 << 10;
    pub const STREAM: u32 = 1 << 11;
    pub const PUBSUB: u32 = 1 << 12;
    pub const ADMIN: u32 = 1 << 13;
    pub const FAST: u32 = 1 << 14;
    pub const SLOW: u32 = 1 << 15;
    pub const BLOCKING: u32 = 1 << 16;
    pub const DANGEROUS: u32 = 1 << 17;
    pub const CONNECTION: u32 = 1 << 18;
    pub const TRANSACTION: u32 = 1 << 19;
    pub const SCRIPTING: u32 = 1 << 20;

    /// Every category with its name, in the order that COMMAND shows them.
    pub const NAMES: &[(u32, &str)] = &[
        (KEYSPACE, "@keyspace"),
        (READ, "@read"),
        (WRITE, "@write"),
        (SET, "@set"),
        (SORTEDSET, "@sortedset"),
        (LIST, "@list"),
        (HASH, "@hash"),
        (STRING, "@string"),
        (BITMAP, "@bitmap"),
        (HYPERLOGLOG, "@hyperloglog"),
        (GEO, "@geo"),
        (STREAM, "@stream"),
        (PUBSUB, "@pubsub"),
        (ADMIN, "@admin"),
        (FAST, "@fast"),
        (SLOW, "@slow"),
        (BLOCKING, "@blocking"),
        (DANGEROUS, "@dangerous"),
        (CONNECTION, "@connection"),
        (TRANSACTION, "@transaction"),
        (SCRIPTING, "@scripting"),
    ];
}

/// The families, as `COMMAND DOCS` names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the family of its name")]
pub enum Group {
    Generic,
    String,
    List,
    Set,
    SortedSet,
    Hash,
    PubSub,
    Connection,
    Server,
    Transactions,
    Cluster,
    Slotway,
}

impl Group {
    /// The name in `COMMAND DOCS` and as a heading of `docs/commands.md`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Generic => "generic",
            Self::String => "string",
            Self::List => "list",
            Self::Set => "set",
            Self::SortedSet => "sorted-set",
            Self::PubSub => "pubsub",
            Self::Hash => "hash",
            Self::Connection => "connection",
            Self::Cluster => "cluster",
            Self::Server => "server",
            Self::Slotway => "slotway",
            Self::Transactions => "transactions",
        }
    }
}

/// Where some of a command's keys stand, and what the command does to them: a key specification
/// of Redis 7.
#[derive(Clone, Copy, Debug)]
pub struct Keys {
    /// What is done to the keys: from [`access`].
    pub access: u16,
    /// Where to begin.
    pub begin: Begin,
    /// How to go on from there.
    pub find: Find,
    /// A remark that `COMMAND INFO` shows, or nothing.
    pub notes: &'static str,
}

/// Where the keys begin.
#[derive(Clone, Copy, Debug)]
pub enum Begin {
    /// At this argument; the command's name is argument 0.
    Index(u8),
    /// Behind this word, sought from this argument on (backwards from the end if negative).
    Keyword(&'static str, i8),
    /// At the argument that this finds, if there is one. COMMAND says that it is unknown.
    Unknown(fn(Args<'_>) -> Option<usize>),
}

/// Which arguments from the beginning on are keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Find {
    /// Every `step`-th up to `last`, counted from the beginning if it is 0 or more, else from the
    /// end of the request (-1 is its last argument); if `limit` is 2 or more, only in the first
    /// `1/limit` of what is left.
    Range {
        /// The last place.
        last: i8,
        /// How far apart keys are, from 1.
        step: u8,
        /// 0 and 1 mean no limit.
        limit: u8,
    },
    /// The argument `at` (from the beginning) says how many; they start at `first`, `step` apart.
    Count {
        /// Where the number of keys stands.
        at: u8,
        /// Where the first key stands.
        first: u8,
        /// How far apart keys are, from 1.
        step: u8,
    },
}

/// What a command does to keys; the names are Redis'.
#[expect(missing_docs, reason = "their meaning is Redis'; see NAMES")]
pub mod access {
    /// Reads and writes the value.
    pub const RW: u16 = 1;
    pub const RO: u16 = 1 << 1;
    /// Overwrites the value unread.
    pub const OW: u16 = 1 << 2;
    /// Removes the key.
    pub const RM: u16 = 1 << 3;
    /// Gives the user data from the value.
    pub const ACCESS: u16 = 1 << 4;
    pub const UPDATE: u16 = 1 << 5;
    pub const INSERT: u16 = 1 << 6;
    pub const DELETE: u16 = 1 << 7;
    pub const NOT_KEY: u16 = 1 << 8;
    pub const INCOMPLETE: u16 = 1 << 9;
    pub const VARIABLE_FLAGS: u16 = 1 << 10;

    /// Every property with its name, in the order that COMMAND shows them.
    pub const NAMES: &[(u16, &str)] = &[
        (RW, "RW"),
        (RO, "RO"),
        (OW, "OW"),
        (RM, "RM"),
        (ACCESS, "access"),
        (UPDATE, "update"),
        (INSERT, "insert"),
        (DELETE, "delete"),
        (NOT_KEY, "not_key"),
        (INCOMPLETE, "incomplete"),
        (VARIABLE_FLAGS, "variable_flags"),
    ];
}

impl Keys {
    /// One key at argument `at`.
    #[must_use]
    pub const fn at(access: u16, at: u8) -> Self {
        Self::range(access, at, 0, 1)
    }

    /// Keys from argument `first` on, `step` apart, up to `last` (see [`Find::Range`]).
    #[must_use]
    pub const fn range(access: u16, first: u8, last: i8, step: u8) -> Self {
        let find = Find::Range { last, step, limit: 0 };
        Self { access, begin: Begin::Index(first), find, notes: "" }
    }

    /// The same with a remark.
    #[must_use]
    pub const fn noted(mut self, notes: &'static str) -> Self {
        self.notes = notes;
        self
    }
}

/// A row with nothing in it, for the others to be built on.
pub(super) const BASE: Spec = Spec {
    id: 0,
    name: "",
    parent: "",
    arity: Arity::AtLeast(1),
    flags: 0,
    acl: 0,
    keys: &[],
    tips: &[],
    group: Group::Generic,
    since: "1.0.0",
    complexity: "O(1)",
    summary: "",
    run: Run::Container,
    subcommands: &[],
};

impl Spec {
    /// A row with nothing in it, for others to be built on.
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
        if self.flags & flag::WRITE != 0 {
            all |= acl::WRITE;
        }
        // In Redis a reading command is not @read when it belongs to scripting.
        if self.flags & flag::READ != 0 && self.acl & acl::SCRIPTING == 0 {
            all |= acl::READ;
        }
        if self.flags & flag::ADMIN != 0 {
            all |= acl::ADMIN | acl::DANGEROUS;
        }
        if self.flags & flag::PUBSUB != 0 {
            all |= acl::PUBSUB;
        }
        if self.flags & flag::BLOCKING != 0 {
            all |= acl::BLOCKING;
        }
        all | if self.flags & flag::FAST != 0 { acl::FAST } else { acl::SLOW }
    }

    /// Whether MONITOR shows the command: not what administrates.
    #[must_use]
    pub const fn is_shown(&self) -> bool {
        self.flags & (flag::SKIP_MONITOR | flag::ADMIN) == 0
    }

    /// Whether SLOWLOG may keep the command.
    #[must_use]
    pub const fn is_logged(&self) -> bool {
        self.flags & flag::SKIP_SLOWLOG == 0
    }

    /// A request's arguments as others may see them: without passwords.
    #[must_use]
    pub fn without_secrets<'a>(&self, args: Args<'a>) -> Vec<&'a [u8]> {
        const HIDDEN: &[u8] = b"(redacted)";
        let mut shown: Vec<_> = args.from(0).collect();
        let is = |at: usize, word: &str| args.is(at, word);
        match (self.parent, self.name) {
            ("", "auth") => shown[1..].iter_mut().for_each(|arg| *arg = HIDDEN),
            ("", "hello") => {
                for at in (2..args.len()).filter(|&at| is(at, "auth") && at + 2 < args.len()) {
                    shown[at + 1..at + 3].fill(HIDDEN);
                }
            }
            ("config", "set") => {
                for at in (2..args.len()).step_by(2).filter(|&at| is(at, "requirepass")) {
                    shown[at + 1..].iter_mut().take(1).for_each(|arg| *arg = HIDDEN);
                }
            }
            _ => {}
        }
        shown
    }

    /// Whether the command may change keys.
    #[must_use]
    pub const fn writes(&self) -> bool {
        self.flags & flag::WRITE != 0
    }
}

impl std::fmt::Debug for Spec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Spec({})", self.name)
    }
}

/// How many commands there are, and how many subcommands.
const COUNTS: (usize, usize) = {
    let (mut commands, mut subcommands, mut f) = (0, 0, 0);
    while f < FAMILIES.len() {
        let mut i = 0;
        while i < FAMILIES[f].len() {
            subcommands += FAMILIES[f][i].subcommands.len();
            i += 1;
        }
        commands += FAMILIES[f].len();
        f += 1;
    }
    (commands, subcommands)
};

/// Every subcommand's row, numbered behind the commands, in their order.
pub(super) static SUBCOMMANDS: [Spec; COUNTS.1] = {
    let mut all = [BASE; COUNTS.1];
    let (mut next, mut f) = (0, 0);
    while f < FAMILIES.len() {
        let mut i = 0;
        while i < FAMILIES[f].len() {
            let subcommands = FAMILIES[f][i].subcommands;
            let mut s = 0;
            while s < subcommands.len() {
                all[next] = subcommands[s];
                all[next].id = (COUNTS.0 + next + 1) as u16;
                (next, s) = (next + 1, s + 1);
            }
            i += 1;
        }
        f += 1;
    }
    all
};

/// Every command's row, numbered, with its subcommands' numbered rows: the families are the text
/// that this table is made from.
pub(super) static COMMANDS: [Spec; COUNTS.0] = with_numbers(&SUBCOMMANDS);

const fn with_numbers(subcommands: &'static [Spec]) -> [Spec; COUNTS.0] {
    let mut all = [BASE; COUNTS.0];
    let (mut next, mut rest, mut f) = (0, subcommands, 0);
    while f < FAMILIES.len() {
        let mut i = 0;
        while i < FAMILIES[f].len() {
            all[next] = FAMILIES[f][i];
            all[next].id = (next + 1) as u16;
            (all[next].subcommands, rest) = rest.split_at(all[next].subcommands.len());
            (next, i) = (next + 1, i + 1);
        }
        f += 1;
    }
    all
}

/// Refuses, at compile time, rows that cannot be right: used as `const _: () = check(ROWS);`.
///
/// # Panics
/// When a row is malformed, which stops the build.
pub(super) const fn check(rows: &[Spec]) {
    check_below(rows, "", 0);
}

/// `depth` is how many words of the request stand before a row's own: 0 for commands.
const fn check_below(rows: &[Spec], parent: &str, depth: usize) {
    let mut i = 0;
    while i < rows.len() {
        let row = &rows[i];
        assert!(!row.name.is_empty(), "a row has a name");
        assert!(same(row.parent, parent), "a subcommand names its container");
        assert!(row.name.len() <= super::NAME_LEN_MAX, "a name fits the look-up buffer");
        let mut c = 0;
        while c < row.name.len() {
            assert!(!row.name.as_bytes()[c].is_ascii_uppercase(), "names are lower case");
            c += 1;
        }
        assert!(!row.summary.is_empty(), "a row has a summary");
        assert!(row.arity.least() > depth, "the arity counts the name");
        assert!(
            !(matches!(row.run, Run::Container) && row.subcommands.is_empty()),
            "a row has a function or subcommands"
        );
        let mut k = 0;
        while k < row.keys.len() {
            if let Begin::Index(first) = row.keys[k].begin {
                assert!(first as usize > depth, "a key is not the command's name");
                if let Find::Range { .. } = row.keys[k].find {
                    // What is no key nobody looks for by its place.
                    assert!(
                        (first as usize) < row.arity.least()
                            || row.keys[k].access & access::NOT_KEY != 0,
                        "the first key is within the arity"
                    );
                }
            }
            let (Find::Range { step, .. } | Find::Count { step, .. }) = row.keys[k].find;
            assert!(step > 0, "keys are apart");
            k += 1;
        }
        let mut j = 0;
        while j < i {
            assert!(!same(rows[j].name, row.name), "a name stands once");
            j += 1;
        }
        check_below(row.subcommands, row.name, depth + 1);
        i += 1;
    }
}

const fn same(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    if a.len() != b.len() {
        return false;
    }
    let mut i = 0;
    while i < a.len() {
        if a[i] != b[i] {
            return false;
        }
        i += 1;
    }
    true
}
