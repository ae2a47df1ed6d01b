//! How servers differ in the slot rules of a transaction. The differences are data, so that the
//! same code serves all of them.
//!
//! Measured on two-node clusters of Redis 7.0.15, 7.2.6, 7.4.1 and Valkey 8.0.1, 9.1.2; the replies
//! of Redis Enterprise and ElastiCache Serverless follow their documentation.

/// When a WATCH in one slot and a transaction in another are found to conflict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tie {
    /// Never: a node guards any keys that it has.
    Never,
    /// When the command is queued, or the second key watched.
    AtQueue,
    /// At EXEC.
    AtExec,
}

/// A server's rules.
#[derive(Debug, PartialEq, Eq)]
pub struct Dialect {
    /// The value of `--dialect`.
    pub name: &'static str,
    /// A command in another slot than the transaction's is refused when it is queued; else EXEC
    /// refuses the transaction.
    pub crosses_at_queue: bool,
    /// CROSSSLOT always names keys and slots.
    pub explains: bool,
    /// When the watched slot is compared with that of the transaction.
    pub tie: Tie,
    /// A WATCH that was refused makes the next EXEC refuse to run what it was to guard.
    pub remembers_failed_watch: bool,
    /// A command that may not be in a transaction is refused by name, and poisons the transaction;
    /// so do a nested MULTI, WATCH and CLIENT REPLY.
    pub forbids_by_name: bool,
    /// Who is blocked at a node that becomes a replica is redirected, and stays connected.
    pub keeps_blocked: bool,
    /// A replica that is promoted ends the subscriptions to its shard channels.
    pub promotion_unsubscribes: bool,
    /// A transaction that is poisoned, or whose guard is tripped, is forgotten at once, so that
    /// EXEC finds no slots in it that could conflict.
    pub forgets_lost: bool,
    /// Which keys of a slot that moves are where, and so ASK and TRYAGAIN, is judged at EXEC alone; a
    /// command that is queued gets neither.
    pub redirects_at_exec: bool,
}

impl Dialect {
    /// The router port's: no transaction runs without the guard that it was to have.
    pub const ROUTER: Self = Self {
        name: "router",
        crosses_at_queue: true,
        explains: false,
        tie: Tie::AtQueue,
        remembers_failed_watch: true,
        forbids_by_name: false,
        keeps_blocked: false,
        promotion_unsubscribes: false,
        forgets_lost: false,
        redirects_at_exec: false,
    };
    /// Redis 7.
    pub const REDIS7: Self = Self {
        name: "redis7",
        crosses_at_queue: false,
        explains: false,
        tie: Tie::Never,
        remembers_failed_watch: false,
        forbids_by_name: false,
        keeps_blocked: false,
        promotion_unsubscribes: false,
        forgets_lost: false,
        redirects_at_exec: false,
    };
    /// Valkey 9.
    pub const VALKEY9: Self = Self {
        name: "valkey9",
        forbids_by_name: true,
        keeps_blocked: true,
        promotion_unsubscribes: true,
        forgets_lost: true,
        redirects_at_exec: true,
        ..Self::REDIS7
    };
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

    /// The dialects that a node port can use.
    pub const OF_NODES: [&'static Self; 4] =
        [&Self::REDIS7, &Self::VALKEY9, &Self::ENTERPRISE, &Self::SERVERLESS];
}
