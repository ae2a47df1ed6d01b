//! Parameters about slow commands and command times.

use super::super::number;
use super::super::row::{I64_MAX, Row, SetRule, fixed, kept, number, yes_no};
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

/// What Valkey alone has: the slow log's parameters by other names, and those of logs that are not kept.
pub(super) const VALKEY: &[Row] = &[
    number!("commandlog-execution-slower-than", ValueType::Int(-1, I64_MAX), slow_us),
    number!("commandlog-slow-execution-max-len", ValueType::Int(0, I64_MAX), slowlog_len_max),
    fixed!("commandlog-request-larger-than", ValueType::Int(-1, I64_MAX), "-1", NO_LARGE),
    fixed!("commandlog-reply-larger-than", ValueType::Int(-1, I64_MAX), "-1", NO_LARGE),
    kept!("commandlog-large-request-max-len", ValueType::Int(0, I64_MAX), "128"),
    kept!("commandlog-large-reply-max-len", ValueType::Int(0, I64_MAX), "128"),
];

const NO_LARGE: &str = "large requests and replies are not logged: only -1 is possible";
