//! Parameters about memory: there is no limit of it, and nothing is evicted.

use super::super::row::{I32_MAX, I64_MAX, Row, SetRule, U64_MAX, fixed, kept};
use super::super::value_type::ValueType;

const NO_EVICTION: &str = "slotway does not limit its memory";
const POLICIES: &[&str] = &[
    "volatile-lru",
    "volatile-lfu",
    "volatile-random",
    "volatile-ttl",
    "allkeys-lru",
    "allkeys-lfu",
    "allkeys-random",
    "noeviction",
];

/// A row of `lazyfree-lazy-…`.
macro_rules! lazyfree {
    ($name:literal) => {
        fixed!(
            $name,
            ValueType::YesNo,
            "yes",
            "what is slow to free is always freed beside the shards"
        )
    };
}

pub(super) const ROWS: &[Row] = &[
    fixed!(
        "maxmemory",
        ValueType::Memory(0, U64_MAX),
        "0",
        "slotway does not limit its memory: only 0 is possible"
    ),
    fixed!(
        "maxmemory-policy",
        ValueType::OneOf(POLICIES),
        "noeviction",
        "slotway never evicts keys: only noeviction is possible"
    ),
    fixed!("maxmemory-clients", ValueType::MemoryOrPercent, "0", NO_EVICTION),
    // How keys would be chosen, if any were evicted.
    kept!("maxmemory-eviction-tenacity", ValueType::Int(0, 100), "10"),
    kept!("lfu-decay-time", ValueType::Int(0, I32_MAX), "1"),
    kept!("lfu-log-factor", ValueType::Int(0, I32_MAX), "10"),
    // Expired keys are looked for with the same effort whatever it says.
    kept!("active-expire-effort", ValueType::Int(1, 10), "1"),
    fixed!("activedefrag", ValueType::YesNo, "no", "the allocator needs no help against fragments"),
    // What it would do, if it were on.
    kept!("active-defrag-cycle-max", ValueType::Int(1, 99), "25"),
    kept!("active-defrag-cycle-min", ValueType::Int(1, 99), "1"),
    kept!("active-defrag-ignore-bytes", ValueType::Memory(1, I64_MAX), "104857600"),
    kept!("active-defrag-max-scan-fields", ValueType::Int(1, I64_MAX), "1000"),
    kept!("active-defrag-threshold-lower", ValueType::Int(0, 1000), "10"),
    kept!("active-defrag-threshold-upper", ValueType::Int(0, 1000), "100"),
    fixed!(
        "jemalloc-bg-thread",
        ValueType::YesNo,
        "no",
        "the allocator is mimalloc, which has no such thread"
    ),
    lazyfree!("lazyfree-lazy-eviction"),
    lazyfree!("lazyfree-lazy-expire"),
    lazyfree!("lazyfree-lazy-server-del"),
    lazyfree!("lazyfree-lazy-user-del"),
    lazyfree!("lazyfree-lazy-user-flush"),
];

/// What Redis 7 alone has so.
pub(super) const REDIS7: &[Row] = &[kept!("maxmemory-samples", ValueType::Int(1, I32_MAX), "5")];

/// What Redis 8 and Valkey have so.
pub(super) const NEWER: &[Row] = &[kept!("maxmemory-samples", ValueType::Int(1, 64), "5")];

/// What Valkey alone has.
pub(super) const VALKEY: &[Row] =
    &[kept!("active-defrag-cycle-us", ValueType::Int(0, 100_000), "500")];
