//! Parameters about replicas. They are in the same process: there are no links to lose, and nothing is
//! sent over a network.

use super::super::row::{I32_MAX, I64_MAX, PORT, Row, SetRule, fixed, kept, never};
use super::super::value_type::{Value, ValueType};

/// The smallest backlog that Redis keeps, in bytes.
const BACKLOG_MIN: i128 = 16 << 10;

const ALWAYS_SERVES: &str = "replicas here serve whatever became of their master";
const NOT_AWAITED: &str = "writes do not depend on replicas: only 0 is possible";
const READS_ONLY: &str = "replicas here take no writes: only yes is possible";
const ONE_ADDRESS: &str = "replicas are announced as cluster-announce-ip and -port say";

pub(super) const ROWS: &[Row] = &[
    fixed!("replica-read-only", ValueType::YesNo, "yes", READS_ONLY),
    fixed!("slave-read-only", ValueType::YesNo, "yes", READS_ONLY),
    fixed!("replica-serve-stale-data", ValueType::YesNo, "yes", ALWAYS_SERVES),
    fixed!("slave-serve-stale-data", ValueType::YesNo, "yes", ALWAYS_SERVES),
    fixed!("min-replicas-to-write", ValueType::Int(0, I32_MAX), "0", NOT_AWAITED),
    fixed!("min-slaves-to-write", ValueType::Int(0, I32_MAX), "0", NOT_AWAITED),
    fixed!("replica-announce-ip", ValueType::Text, "", ONE_ADDRESS),
    fixed!("slave-announce-ip", ValueType::Text, "", ONE_ADDRESS),
    fixed!("replica-announce-port", PORT, "0", ONE_ADDRESS),
    fixed!("slave-announce-port", PORT, "0", ONE_ADDRESS),
    // INFO shows them; no replica is promoted by itself, and no Sentinel is at work.
    kept!("replica-priority", ValueType::Int(0, I32_MAX), "100"),
    kept!("slave-priority" as "replica-priority", ValueType::Int(0, I32_MAX), "100"),
    kept!("replica-announced", ValueType::YesNo, "yes"),
    // How the link of a replica would be, if it had one.
    kept!("min-replicas-max-lag", ValueType::Int(0, I32_MAX), "10"),
    kept!("min-slaves-max-lag" as "min-replicas-max-lag", ValueType::Int(0, I32_MAX), "10"),
    kept!("masterauth", ValueType::Text, ""),
    kept!("masteruser", ValueType::Text, ""),
    kept!("repl-backlog-ttl", ValueType::Int(0, I64_MAX), "3600"),
    kept!("repl-disable-tcp-nodelay", ValueType::YesNo, "no"),
    kept!("repl-diskless-sync", ValueType::YesNo, "yes"),
    kept!("repl-diskless-sync-delay", ValueType::Int(0, I32_MAX), "5"),
    kept!("repl-diskless-sync-max-replicas", ValueType::Int(0, I32_MAX), "0"),
    kept!("repl-ping-replica-period", ValueType::Int(1, I32_MAX), "10"),
    kept!("repl-ping-slave-period" as "repl-ping-replica-period", ValueType::Int(1, I32_MAX), "10"),
    kept!("repl-timeout", ValueType::Int(1, I32_MAX), "60"),
    kept!("replica-ignore-maxmemory", ValueType::YesNo, "yes"),
    kept!("slave-ignore-maxmemory" as "replica-ignore-maxmemory", ValueType::YesNo, "yes"),
    kept!("replica-ignore-disk-write-errors", ValueType::YesNo, "no"),
    kept!(
        "propagation-error-behavior",
        ValueType::OneOf(&["ignore", "panic", "panic-on-replicas"]),
        "ignore"
    ),
    never!("replicaof", ValueType::Text, ""),
    never!("slaveof", ValueType::Text, ""),
];

/// A row of `repl-backlog-size`: shown, while no backlog is kept.
macro_rules! backlog_size {
    ($default:literal) => {
        Row {
            name: BACKLOG_SIZE,
            value_type: ValueType::Memory(1, I64_MAX),
            get: |settings| {
                settings
                    .kept(BACKLOG_SIZE)
                    .unwrap_or_else(|| ValueType::Int(0, I64_MAX).constant($default))
            },
            set: SetRule::Freely(|settings, value| {
                let bytes = i128::from(value.number()).max(BACKLOG_MIN);
                settings.keep(BACKLOG_SIZE, Value::Number(bytes));
            }),
        }
    };
}
const BACKLOG_SIZE: &str = "repl-backlog-size";

/// What Redis has with other values than Valkey.
pub(super) const REDIS: &[Row] = &[
    backlog_size!("1048576"),
    kept!("replica-lazy-flush", ValueType::YesNo, "no"),
    kept!("slave-lazy-flush" as "replica-lazy-flush", ValueType::YesNo, "no"),
];

/// What Redis has with other values up to 8.2.
pub(super) const UP_TO_8_2: &[Row] = &[kept!(
    "repl-diskless-load",
    ValueType::OneOf(&["disabled", "on-empty-db", "swapdb"]),
    "disabled"
)];

/// What Redis 8.10 has with other values.
pub(super) const REDIS8_10: &[Row] = &[kept!(
    "repl-diskless-load",
    ValueType::OneOf(&["disabled", "on-empty-db", "swapdb", "flushdb"]),
    "disabled"
)];

/// What Redis 8 alone has.
pub(super) const REDIS8: &[Row] =
    &[kept!("replica-full-sync-buffer-limit", ValueType::Memory(0, I64_MAX), "0")];

/// What Valkey has alone, or with other values than Redis.
pub(super) const VALKEY: &[Row] = &[
    backlog_size!("10485760"),
    kept!("replica-lazy-flush", ValueType::YesNo, "yes"),
    kept!("slave-lazy-flush" as "replica-lazy-flush", ValueType::YesNo, "yes"),
    kept!(
        "repl-diskless-load",
        ValueType::OneOf(&["disabled", "on-empty-db", "swapdb", "flush-before-load"]),
        "disabled"
    ),
    kept!("primaryauth" as "masterauth", ValueType::Text, ""),
    kept!("primaryuser" as "masteruser", ValueType::Text, ""),
    kept!("dual-channel-replication-enabled", ValueType::YesNo, "no"),
    never!("repl-mptcp", ValueType::YesNo, "no"),
];
