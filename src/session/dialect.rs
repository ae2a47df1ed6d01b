//! How servers differ in what they make of slots in a transaction: data, so that one road serves
//! them all.
//!
//! Measured on two-node clusters of Redis 7.0.15, 7.2.6, 7.4.1 and Valkey 8.0.1, 9.1.2; what
//! Redis Enterprise and ElastiCache Serverless answer is by their documentation.

/// When a WATCH in one slot and a transaction in another are found to be at odds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tie {
    /// Never: a node guards whatever keys it has.
    Never,
    /// When the command is queued, or the second key watched.
    AtQueue,
    /// At EXEC.
    AtExec,
}

/// A server's rules.
#[derive(Debug, PartialEq, Eq)]
pub struct Dialect {
    /// The word of `--dialect`.
    pub name: &'static str,
    /// A command in another slot than the transaction's is refused when it is queued; else EXEC
    /// refuses the transaction.
    pub crosses_at_queue: bool,
    /// CROSSSLOT always names keys and slots.
    pub explains: bool,
    /// Whether the watched slot is the transaction's.
    pub tie: Tie,
    /// A WATCH that was refused makes the next EXEC refuse to run what was meant to be guarded.
    pub remembers_failed_watch: bool,
    /// What may not stand in a transaction is refused by name, and spoils the transaction; a nested
    /// MULTI, WATCH and CLIENT REPLY too.
    pub forbids_by_name: bool,
    /// A transaction that is spoilt, or whose guard is tripped, is forgotten at once, so that EXEC
    /// finds nothing in it whose slots could be at odds.
    pub forgets_lost: bool,
}

impl Dialect {
    /// The router port's: nothing runs unguarded that was meant to be guarded.
    pub const ROUTER: Self = Self {
        name: "router",
        crosses_at_queue: true,
        explains: false,
        tie: Tie::AtQueue,
        remembers_failed_watch: true,
        forbids_by_name: false,
        forgets_lost: false,
    };
    /// Redis 7.
    pub const REDIS7: Self = Self {
        name: "redis7",
        crosses_at_queue: false,
        explains: false,
        tie: Tie::Never,
        remembers_failed_watch: false,
        forbids_by_name: false,
        forgets_lost: false,
    };
    /// Valkey 9.
    pub const VALKEY9: Self =
        Self { name: "valkey9", forbids_by_name: true, forgets_lost: true, ..Self::REDIS7 };
    /// Redis Enterprise.
    pub const ENTERPRISE: Self = Self {
        name: "enterprise",
        crosses_at_queue: true,
        explains: true,
        tie: Tie::AtQueue,
        ..Self::REDIS7
    };
    /// ElastiCache Serverless.
    pub const SERVERLESS: Self = Self { name: "serverless", tie: Tie::AtExec, ..Self::VALKEY9 };

    /// Those that a node port can speak.
    pub const OF_NODES: [&'static Self; 4] =
        [&Self::REDIS7, &Self::VALKEY9, &Self::ENTERPRISE, &Self::SERVERLESS];
}
