//! How servers differ: in the slot rules of a transaction ([`Dialect`]), and in the replies of a few
//! commands ([`Product`]). The differences are data, so that the same code serves all of them.
//!
//! Measured on two-node clusters of Redis 7.0.15, 7.2.6, 7.4.1, 8.2.3, 8.10.2 and Valkey 8.0.1, 9.1.2; the replies
//! of Redis Enterprise and ElastiCache Serverless follow their documentation.
//!
//! ```text
//! help/*.txt  what the servers reply to HELP, with their license
//! ```

use std::sync::{Mutex, OnceLock, PoisonError};

/// A set of servers, a bit each.
pub type Servers = u8;

/// The servers that differ in their commands.
pub mod servers {
    use super::Servers;

    /// Redis 7.0.
    pub const REDIS7: Servers = 1;
    /// Redis 8.2.
    pub const REDIS8_2: Servers = 1 << 1;
    /// Redis 8.10.
    pub const REDIS8_10: Servers = 1 << 4;
    /// Redis 8, of any version.
    pub const REDIS8: Servers = REDIS8_2 | REDIS8_10;
    /// Valkey 9.
    pub const VALKEY9: Servers = 1 << 2;
    /// All of them.
    pub const ALL: Servers = REDIS7 | REDIS8 | VALKEY9;
    /// What came with Redis 7.2, from which Valkey descends.
    pub const SINCE_7_2: Servers = REDIS8 | VALKEY9;
    /// A server that has loaded RedisJSON: never without one of the others.
    pub const JSON: Servers = 1 << 3;
    /// How many sets of them there are.
    pub const SETS: usize = 1 << 5;
}

/// The payloads of DUMP that a server writes and restores, with all older ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payloads {
    /// Up to Redis 7.0: version 10.
    Redis7,
    /// Up to Redis 8.2: version 12.
    Redis8,
    /// Up to Redis 8.10: version 15.
    Redis8_10,
    /// Up to Redis 7.2, and Valkey 9: versions 11 and 80.
    Valkey9,
}

/// How a server counts the entries that a group has read and those that it has not, where deleted entries
/// make its counters wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lags {
    /// Up to Redis 7.0.
    Redis7,
    /// Redis 8: a group that has read none of the entries that are left lags by all of them.
    Redis8,
    /// Valkey 9.
    Valkey9,
}

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

/// A server's replies apart from its slot rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Product {
    /// Which server it is.
    pub servers: Servers,
    /// Its name in HELLO.
    pub name: &'static str,
    /// The version in HELLO.
    pub version: &'static str,
    /// The version of Redis that it is, or that it says to be compatible with: clients choose their
    /// commands by it.
    pub redis_version: &'static str,
    /// INFO names the server and its version beside the version of Redis that it is like.
    pub names_itself: bool,
    /// CLUSTER INFO counts nodes that are down, and the bytes of the cluster bus.
    pub details_cluster: bool,
    /// The replies to HELP of its containers: a container's name in brackets, then its lines.
    pub help: &'static str,
    /// SORT takes BY and GET with patterns whose keys are all in the slot of the sorted key.
    pub sorts_within_slot: bool,
    /// An LTRIM that removes nothing changes nothing; its event is published all the same.
    pub keeps_untrimmed: bool,
    /// A key that is given an expiry in the past expires at once, and SET stores none; else it is
    /// deleted, and SET leaves it to expire.
    pub expires_at_once: bool,
    /// How many members that SPOP takes are one SREM for replicas.
    pub pops_per_removal: usize,
    /// BITCOUNT and BITPOS read their range before they look for the key.
    pub reads_bit_range_first: bool,
    /// BITCOUNT takes a range without an end.
    pub has_open_bit_ranges: bool,
    /// CLUSTER SHARDS has the ids of shards.
    pub shows_shard_ids: bool,
    /// A node of a cluster may have several databases: one that it has not is out of range, as elsewhere,
    /// and not forbidden.
    pub numbers_databases: bool,
    /// CONFIG has the parameters that only Valkey has of a cluster's node, `cluster-announce-client-port`
    /// and others.
    pub has_client_addresses: bool,
    /// Streams behave as they do since Redis 7.2: a command that reads or claims creates its consumer
    /// also if there is nothing for it, XINFO shows when a consumer was last active, a blocked command
    /// runs again as a whole when it is woken, XREAD takes `+` for the last entry.
    pub has_new_streams: bool,
    /// How far groups have read.
    pub lags: Lags,
    /// XREAD names the `+` among the ids that it takes.
    pub names_last_entry: bool,
    /// The commands for fields that expire are Valkey's: other errors, options that may be repeated, times
    /// in seconds that are rounded to the nearest. Redis rounds them up.
    pub has_valkey_field_options: bool,
    /// The payloads of DUMP and RESTORE.
    pub payloads: Payloads,
    /// For a client that tracks keys, the keys that a script's commands read are remembered; else
    /// those that the script was given, if one of its commands reads.
    pub tracks_reads_of_scripts: bool,
}

/// A module that a server has loaded.
#[derive(Debug)]
pub(crate) struct Module {
    /// Its name in MODULE LIST.
    pub(crate) name: &'static str,
    /// Its version there.
    pub(crate) version: i64,
}

/// RedisJSON 2.8.3, of Redis Stack 7.4.1.
const REJSON: Module = Module { name: "ReJSON", version: 20803 };

impl Product {
    /// Whether it is one of these servers.
    #[must_use]
    pub const fn is_of(&self, servers: Servers) -> bool {
        self.servers & servers != 0
    }

    /// Returns the modules that are loaded.
    #[must_use]
    pub(crate) fn modules(&self) -> &'static [Module] {
        if self.servers & servers::JSON == 0 { &[] } else { &[REJSON] }
    }

    /// Returns the same server with RedisJSON loaded.
    #[must_use]
    pub fn with_json(&'static self) -> &'static Self {
        static PRODUCTS: [OnceLock<Product>; servers::SETS] =
            [const { OnceLock::new() }; servers::SETS];
        let servers = self.servers | servers::JSON;
        PRODUCTS[usize::from(servers)].get_or_init(|| Self { servers, ..self.clone() })
    }

    /// Redis 7.0.
    pub const REDIS7: Self = Self {
        servers: servers::REDIS7,
        name: "redis",
        version: "7.0.15",
        redis_version: "7.0.15",
        names_itself: false,
        details_cluster: false,
        help: include_str!("help/redis-7.0.txt"),
        sorts_within_slot: false,
        keeps_untrimmed: false,
        expires_at_once: false,
        pops_per_removal: 1,
        reads_bit_range_first: false,
        has_open_bit_ranges: false,
        shows_shard_ids: false,
        numbers_databases: false,
        has_client_addresses: false,
        has_new_streams: false,
        lags: Lags::Redis7,
        names_last_entry: false,
        has_valkey_field_options: false,
        payloads: Payloads::Redis7,
        tracks_reads_of_scripts: false,
    };
    /// Redis 8.2.
    pub const REDIS8: Self = Self {
        servers: servers::REDIS8_2,
        version: "8.2.3",
        redis_version: "8.2.3",
        help: include_str!("help/redis-8.2.txt"),
        sorts_within_slot: true,
        shows_shard_ids: true,
        reads_bit_range_first: true,
        has_new_streams: true,
        lags: Lags::Redis8,
        names_last_entry: true,
        payloads: Payloads::Redis8,
        ..Self::REDIS7
    };
    /// Redis 8.10.
    pub const REDIS8_10: Self = Self {
        servers: servers::REDIS8_10,
        version: "8.10.2",
        redis_version: "8.10.2",
        help: include_str!("help/redis-8.10.txt"),
        payloads: Payloads::Redis8_10,
        ..Self::REDIS8
    };
    /// Valkey 9.1.
    pub const VALKEY9: Self = Self {
        servers: servers::VALKEY9,
        name: "valkey",
        version: "9.1.2",
        redis_version: "7.2.4",
        names_itself: true,
        details_cluster: true,
        help: include_str!("help/valkey-9.1.txt"),
        sorts_within_slot: true,
        keeps_untrimmed: true,
        expires_at_once: true,
        pops_per_removal: 1024,
        reads_bit_range_first: true,
        has_open_bit_ranges: true,
        shows_shard_ids: true,
        numbers_databases: true,
        has_client_addresses: true,
        has_new_streams: true,
        lags: Lags::Valkey9,
        names_last_entry: false,
        has_valkey_field_options: true,
        payloads: Payloads::Valkey9,
        tracks_reads_of_scripts: true,
    };
}

/// A server's rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dialect {
    /// The value of `--dialect`.
    pub name: &'static str,
    /// The server whose replies are given.
    pub product: &'static Product,
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
    /// The router port's, with the commands of this server: no transaction runs without the guard that
    /// it was to have.
    #[must_use]
    pub fn of_router(product: &'static Product) -> &'static Self {
        static ROUTERS: [OnceLock<Dialect>; servers::SETS] =
            [const { OnceLock::new() }; servers::SETS];
        ROUTERS[usize::from(product.servers)]
            .get_or_init(|| Self { product, ..Self::ROUTER_REDIS7 })
    }

    /// Returns the same dialect with RedisJSON loaded.
    #[must_use]
    pub fn with_json(&'static self) -> &'static Self {
        static DIALECTS: Mutex<Vec<&'static Dialect>> = Mutex::new(Vec::new());
        let with = Self { product: self.product.with_json(), ..self.clone() };
        let mut known = DIALECTS.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known.iter().find(|known| ***known == with) {
            return known;
        }
        // There are few dialects, and each is needed to the end of the process.
        let leaked: &'static Self = Box::leak(Box::new(with));
        known.push(leaked);
        leaked
    }

    const ROUTER_REDIS7: Self = Self {
        name: "router",
        product: &Product::REDIS7,
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
    /// Redis 8.
    pub const REDIS8: Self = Self { name: "redis8", product: &Product::REDIS8, ..Self::REDIS7 };
    /// Redis 8.10.
    pub const REDIS8_10: Self =
        Self { name: "redis8.10", product: &Product::REDIS8_10, ..Self::REDIS7 };
    /// Redis 7.
    pub const REDIS7: Self = Self {
        name: "redis7",
        product: &Product::REDIS7,
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
        product: &Product::VALKEY9,
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
    pub const SERVERLESS: Self =
        Self { name: "serverless", product: &Product::REDIS7, tie: Tie::AtExec, ..Self::VALKEY9 };

    /// The dialects that a node port can use.
    pub const OF_NODES: [&'static Self; 6] = [
        &Self::REDIS7,
        &Self::REDIS8,
        &Self::REDIS8_10,
        &Self::VALKEY9,
        &Self::ENTERPRISE,
        &Self::SERVERLESS,
    ];
}
