//! Parameters about files: Slotway keeps its data in memory only, and writes none.

use super::super::row::{I32_MAX, I64_MAX, Row, SetRule, fixed, kept, never};
use super::super::value_type::{Value, ValueType};

pub(super) const NOT_PERSISTENT: &str = "slotway keeps its data in memory only";

pub(super) const ROWS: &[Row] = &[
    fixed!("save", ValueType::SavePoints, "", NOT_PERSISTENT),
    fixed!("appendonly", ValueType::YesNo, "no", NOT_PERSISTENT),
    // How files would be written, if any were.
    kept!("appendfsync", ValueType::OneOf(&["everysec", "always", "no"]), "everysec"),
    kept!("no-appendfsync-on-rewrite", ValueType::YesNo, "no"),
    kept!("auto-aof-rewrite-percentage", ValueType::Int(0, I32_MAX), "100"),
    kept!("auto-aof-rewrite-min-size", ValueType::Memory(0, I64_MAX), "67108864"),
    kept!("aof-load-truncated", ValueType::YesNo, "yes"),
    kept!("aof-rewrite-incremental-fsync", ValueType::YesNo, "yes"),
    kept!("aof-timestamp-enabled", ValueType::YesNo, "no"),
    kept!("aof-use-rdb-preamble", ValueType::YesNo, "yes"),
    kept!("rdb-save-incremental-fsync", ValueType::YesNo, "yes"),
    kept!("rdb-del-sync-files", ValueType::YesNo, "no"),
    kept!("stop-writes-on-bgsave-error", ValueType::YesNo, "yes"),
    never!("appendfilename", ValueType::Text, "appendonly.aof"),
    never!("appenddirname", ValueType::Text, "appendonlydir"),
    Row {
        name: "dbfilename",
        value_type: ValueType::Text,
        get: |_| ValueType::Text.constant("dump.rdb"),
        set: SetRule::Protected,
    },
    Row {
        name: "dir",
        value_type: ValueType::Text,
        get: |settings| Value::Text(settings.start.dir.as_bytes().into()),
        set: SetRule::Protected,
    },
    // What DUMP and RESTORE do.
    fixed!("rdbcompression", ValueType::YesNo, "no", "values are dumped uncompressed"),
    never!("rdbchecksum", ValueType::YesNo, "yes"),
];

/// What Redis 7 alone has.
pub(super) const REDIS7: &[Row] = &[kept!("aof-disable-auto-gc", ValueType::YesNo, "no")];

/// What Redis has, and Valkey 9 has not.
pub(super) const REDIS: &[Row] = &[fixed!(
    "sanitize-dump-payload",
    ValueType::OneOf(&["no", "yes", "clients"]),
    "yes",
    "payloads of RESTORE are always checked"
)];

/// What Valkey alone has.
pub(super) const VALKEY: &[Row] = &[fixed!(
    "rdb-version-check",
    ValueType::OneOf(&["strict", "relaxed"]),
    "strict",
    "RESTORE always checks the version of a payload"
)];
