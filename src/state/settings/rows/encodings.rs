//! Parameters about how values are stored.

use super::super::number;
use super::super::row::{I32_MAX, I64_MAX, Row, SetRule, fixed, kept, number};
use super::super::value_type::{Value, ValueType};
use std::sync::atomic::Ordering;

pub(super) const ROWS: &[Row] = &[
    number!("hash-max-listpack-entries", ValueType::Int(0, I64_MAX), pack_entries_max),
    number!("hash-max-ziplist-entries", ValueType::Int(0, I64_MAX), pack_entries_max),
    number!("hash-max-listpack-value", ValueType::Memory(0, I64_MAX), pack_value_len_max),
    number!("hash-max-ziplist-value", ValueType::Memory(0, I64_MAX), pack_value_len_max),
    number!("zset-max-listpack-entries", ValueType::Int(0, I64_MAX), zset_entries_max),
    number!("zset-max-ziplist-entries", ValueType::Int(0, I64_MAX), zset_entries_max),
    number!("zset-max-listpack-value", ValueType::Memory(0, I64_MAX), zset_value_len_max),
    number!("zset-max-ziplist-value", ValueType::Memory(0, I64_MAX), zset_value_len_max),
    number!("set-max-intset-entries", ValueType::Int(0, I64_MAX), intset_len_max),
    number!("list-max-listpack-size", ValueType::Int(i32::MIN as i128, I32_MAX), list_piece),
    number!("list-max-ziplist-size", ValueType::Int(i32::MIN as i128, I32_MAX), list_piece),
    number!("hll-sparse-max-bytes", ValueType::Memory(0, I64_MAX), sparse_len_max),
    number!("stream-node-max-entries", ValueType::Int(0, I64_MAX), stream_node_entries_max),
    number!("stream-node-max-bytes", ValueType::Memory(0, I64_MAX), stream_node_bytes_max),
    // Lists are kept uncompressed, and tables grow piece by piece, whatever these say: nothing that a
    // client sees depends on them.
    kept!("list-compress-depth", ValueType::Int(0, I32_MAX), "0"),
    kept!("activerehashing", ValueType::YesNo, "yes"),
];

/// What Redis 8 and Valkey have.
pub(super) const NEWER: &[Row] = &[
    fixed!("set-max-listpack-entries", ValueType::Int(0, I64_MAX), "0", NO_PACKED_SETS),
    fixed!("set-max-listpack-value", ValueType::Int(0, I64_MAX), "0", NO_PACKED_SETS),
];

const NO_PACKED_SETS: &str = "sets have no listpack encoding: only 0 is possible";
