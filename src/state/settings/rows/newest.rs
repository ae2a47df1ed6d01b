//! Parameters that Redis 8.10 alone has.

use super::super::row::{I32_MAX, I64_MAX, Row, SetRule, fixed, kept, never};
use super::super::value_type::ValueType;

/// A count, or a span of time.
const COUNT: ValueType = ValueType::Int(0, I64_MAX);

pub(super) const REDIS8_10: &[Row] = &[
    kept!("aof-load-corrupt-tail-max-size", COUNT, "0"),
    kept!("backup-sealed-ttl", COUNT, "0"),
    never!("backupdirname", ValueType::Text, "backupdir"),
    never!("preload-file", ValueType::Text, ""),
    kept!("lookahead", ValueType::Int(1, I32_MAX), "16"),
    fixed!("key-memory-histograms", ValueType::YesNo, "no", "the sizes of values are not counted"),
    // Hashes have no templates.
    kept!("hash-min-template-entries", COUNT, "0"),
    kept!("hash-max-template-entries", COUNT, "0"),
    kept!("hash-rdb-load-min-template-entries", COUNT, "0"),
    kept!("hash-rdb-load-max-template-entries", COUNT, "0"),
    kept!("hash-rdb-load-template-disassembly-threshold", COUNT, "0"),
    // There are no links between nodes.
    fixed!(
        "cluster-bus-port-protected-mode",
        ValueType::YesNo,
        "no",
        "nothing listens at the port of the cluster bus"
    ),
    kept!("cluster-slot-migration-handoff-max-lag-bytes", ValueType::Memory(0, I64_MAX), "1048576"),
    kept!("cluster-slot-migration-write-pause-timeout", COUNT, "10000"),
    // No port speaks TLS.
    kept!("tls-auth-clients-user", ValueType::OneOf(&["CN", "off"]), "off"),
    kept!("tls-expected-peer-name", ValueType::Text, ""),
];
