//! Parameters about slow commands and command times.

use super::super::number;
use super::super::row::{I64_MAX, Row, SetRule, number, yes_no};
use super::super::value_type::{Value, ValueType};
use std::sync::atomic::Ordering;

pub(super) const ROWS: &[Row] = &[
    number!("busy-reply-threshold", ValueType::Int(0, I64_MAX), busy_ms),
    // Its name before Redis 7.
    number!("lua-time-limit", ValueType::Int(0, I64_MAX), busy_ms),
    number!("slowlog-log-slower-than", ValueType::Int(-1, I64_MAX), slow_us),
    number!("slowlog-max-len", ValueType::Int(0, I64_MAX), slowlog_len_max),
    number!("latency-monitor-threshold", ValueType::Int(0, I64_MAX), spike_ms),
    yes_no!("latency-tracking", tracks_latency),
    Row {
        name: "latency-tracking-info-percentiles",
        value_type: ValueType::Percentiles,
        get: |settings| Value::Percentiles(settings.percentiles()),
        set: SetRule::Freely(|settings, value| {
            *settings.percentiles.lock() = value.into_percentiles();
        }),
    },
];

/// What Valkey alone has: the slow log's parameters by other names, and those of large requests and
/// replies.
pub(super) const VALKEY: &[Row] = &[
    number!("commandlog-execution-slower-than", ValueType::Int(-1, I64_MAX), slow_us),
    number!("commandlog-slow-execution-max-len", ValueType::Int(0, I64_MAX), slowlog_len_max),
    number!(
        "commandlog-request-larger-than",
        ValueType::Int(-1, I64_MAX),
        command_log.request_bytes
    ),
    number!("commandlog-reply-larger-than", ValueType::Int(-1, I64_MAX), command_log.reply_bytes),
    number!(
        "commandlog-large-request-max-len",
        ValueType::Int(0, I64_MAX),
        command_log.requests_max
    ),
    number!("commandlog-large-reply-max-len", ValueType::Int(0, I64_MAX), command_log.replies_max),
];
