//! The table of parameters: one row each.

use super::cluster::SAVE_WORDS;
use super::value_type::{Value, ValueType};
use super::{CrossSlot, EndpointType, SHARED_SHARDS, Settings, number, set_outbox_limits};
use crate::topology::LAG_MS_MAX;
use std::borrow::Cow;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;
use std::sync::atomic::Ordering;

/// A parameter.
pub(super) struct Row {
    /// In lower case.
    pub(super) name: &'static str,
    /// The type of its values.
    pub(super) value_type: ValueType,
    pub(super) get: fn(&Settings) -> Value,
    pub(super) set: SetRule,
}

/// How a parameter is changed.
#[derive(Clone, Copy)]
pub(super) enum SetRule {
    /// Sets any valid value.
    Freely(fn(&Settings, Value)),
    /// Sets a value that the first function accepts.
    Checked(fn(&Settings, &Value) -> Result<(), Cow<'static, str>>, fn(&Settings, Value)),
    /// Sets any valid value for this port alone: that of the router port is not that of the nodes.
    Own(fn(&Settings, Value)),
    /// Redis can change it, Slotway cannot, for this reason.
    Fixed(&'static str),
    /// Redis cannot change it either.
    Never,
}

/// Longest hostname, in bytes.
const HOSTNAME_LEN_MAX: usize = 255;

/// Bytes of a node's name that are neither letters nor digits, below 128, as Valkey allows them.
const NODE_NAME_MARKS: &[u8] = b"-./:_`";

fn check_node_name(name: &[u8]) -> Result<(), Cow<'static, str>> {
    let is_valid = |byte: &u8| {
        byte.is_ascii_alphanumeric() || !byte.is_ascii() || NODE_NAME_MARKS.contains(byte)
    };
    match name.iter().all(is_valid) {
        true => Ok(()),
        false => Err("Announced human node name contained invalid character".into()),
    }
}

/// Checks an address of this family; none is valid, too.
fn check_ip<A: FromStr>(text: &[u8], error: &'static str) -> Result<(), Cow<'static, str>> {
    let is_address = std::str::from_utf8(text).is_ok_and(|text| text.parse::<A>().is_ok());
    if text.is_empty() || is_address { Ok(()) } else { Err(error.into()) }
}

fn check_hostname(name: &[u8]) -> Result<(), Cow<'static, str>> {
    if name.len() > HOSTNAME_LEN_MAX {
        return Err("Hostnames must be less than 256 characters".into());
    }
    match name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(byte)) {
        true => Ok(()),
        false => Err("Hostnames may only contain alphanumeric characters, hyphens or dots".into()),
    }
}

/// A row for a number in an atomic of [`Settings`].
macro_rules! number {
    ($name:literal, $value_type:expr, $($cell:ident).+) => {
        number!($name, $value_type, $($cell).+, Freely)
    };
    ($name:literal, $value_type:expr, $($cell:ident).+, $rule:ident) => {
        Row {
            name: $name,
            value_type: $value_type,
            get: |settings| Value::Number(number(&settings.$($cell).+).into()),
            set: SetRule::$rule(|settings, value| {
                settings.$($cell).+.store(value.number(), Ordering::Relaxed)
            }),
        }
    };
}

/// A row for a boolean in an atomic of [`Settings`].
macro_rules! yes_no {
    ($name:literal, $($cell:ident).+) => {
        Row {
            name: $name,
            value_type: ValueType::YesNo,
            get: |settings| Value::Bool(settings.$($cell).+.load(Ordering::Relaxed)),
            set: SetRule::Freely(|settings, value| {
                settings.$($cell).+.store(value.is_yes(), Ordering::Relaxed)
            }),
        }
    };
}

/// A row with a constant value, which Redis could change and Slotway cannot.
macro_rules! fixed {
    ($name:literal, $value_type:expr, $value:expr, $why:expr) => {
        Row { name: $name, value_type: $value_type, get: |_| $value, set: SetRule::Fixed($why) }
    };
}

/// A row of `lazyfree-lazy-…`.
macro_rules! lazyfree {
    ($name:literal) => {
        fixed!(
            $name,
            ValueType::YesNo,
            Value::Bool(true),
            "what is slow to free is always freed beside the shards"
        )
    };
}

pub(super) const NOT_PERSISTENT: &str = "slotway keeps its data in memory only";
const NO_EVICTION: &str = "slotway does not limit its memory";
const CHOSEN_AT_START: &str = "it is chosen when the server starts";
const I32_MAX: i128 = i32::MAX as i128;
const I64_MAX: i128 = i64::MAX as i128;
const PORT: ValueType = ValueType::Int(0, u16::MAX as i128);

/// Every parameter but those of [`VALKEY_ROWS`].
pub(super) const ROWS: &[Row] = &[
    Row {
        name: "maxclients",
        value_type: ValueType::Int(1, u32::MAX as i128),
        get: |settings| Value::Number(number(&settings.clients_max).into()),
        set: SetRule::Checked(
            |settings, value| {
                (settings.start.reserve_files)(value.number() as usize).map_err(|possible| {
                    let sorry = "The operating system is not able to handle the specified number of clients";
                    format!("{sorry}, try with {possible}").into()
                })
            },
            |settings, value| settings.clients_max.store(value.number(), Ordering::Relaxed),
        ),
    },
    number!("timeout", ValueType::Int(0, I32_MAX), timeout),
    number!("tcp-keepalive", ValueType::Int(0, I32_MAX), tcp_keepalive),
    number!("proto-max-bulk-len", ValueType::Memory(1 << 20, I64_MAX), bulk_len_max),
    number!("client-query-buffer-limit", ValueType::Memory(1 << 20, I64_MAX), query_buffer_max),
    Row {
        name: "client-output-buffer-limit",
        value_type: ValueType::OutputLimits,
        get: |settings| Value::limits(&settings.output_limits.lock()),
        set: SetRule::Freely(|settings, value| {
            let mut limits = settings.output_limits.lock();
            value.put_limits(&mut limits);
            set_outbox_limits(&settings.outbox_limits, &limits);
        }),
    },
    Row {
        name: "requirepass",
        value_type: ValueType::Text,
        get: |settings| Value::Text(settings.password.read().clone()),
        set: SetRule::Freely(|settings, value| {
            let mut password = settings.password.write();
            *password = value.into_text();
            settings.has_password.store(!password.is_empty(), Ordering::Release);
        }),
    },
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
    number!("hll-sparse-max-bytes", ValueType::Memory(0, I64_MAX), sparse_len_max),
    number!("list-max-ziplist-size", ValueType::Int(i32::MIN as i128, I32_MAX), list_piece),
    number!("stream-node-max-entries", ValueType::Int(0, I64_MAX), stream_node_entries_max),
    number!("stream-node-max-bytes", ValueType::Memory(0, I64_MAX), stream_node_bytes_max),
    Row {
        name: "notify-keyspace-events",
        value_type: ValueType::Events,
        get: |settings| Value::Events(settings.events.load(Ordering::Relaxed)),
        set: SetRule::Freely(|settings, value| {
            settings.events.store(value.events(), Ordering::Relaxed);
        }),
    },
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
    yes_no!("protected-mode", protected),
    yes_no!("explain", explain),
    Row {
        name: "cross-slot",
        value_type: ValueType::OneOf(&CrossSlot::WORDS),
        get: |settings| Value::Word(settings.cross_slot().name()),
        set: SetRule::Freely(|settings, value| {
            let chosen = CrossSlot::WORDS.iter().position(|&word| value == Value::Word(word));
            settings.cross_slot.store(chosen.unwrap_or(0) as u8, Ordering::Relaxed);
        }),
    },
    yes_no!("cluster-require-full-coverage", cluster.needs_all_slots),
    yes_no!("cluster-allow-reads-when-down", cluster.reads_when_down),
    yes_no!("cluster-allow-pubsubshard-when-down", cluster.channels_when_down),
    Row {
        name: "cluster-preferred-endpoint-type",
        value_type: ValueType::OneOf(EndpointType::WORDS),
        get: |settings| Value::Word(EndpointType::WORDS[settings.endpoint_type() as usize]),
        set: SetRule::Freely(|settings, value| {
            let chosen = EndpointType::WORDS.iter().position(|&word| value == Value::Word(word));
            settings.cluster.endpoint_type.store(chosen.unwrap_or(0) as u8, Ordering::Relaxed);
        }),
    },
    Row {
        name: "cluster-announce-hostname",
        value_type: ValueType::Text,
        get: |settings| Value::Text(settings.cluster.hostname.read().clone()),
        set: SetRule::Checked(
            |_, value| check_hostname(&value.text()),
            |settings, value| *settings.cluster.hostname.write() = value.into_text(),
        ),
    },
    Row {
        name: "cluster-announce-ip",
        value_type: ValueType::Text,
        get: |settings| Value::Text(settings.cluster.ip.read().clone()),
        set: SetRule::Freely(|settings, value| *settings.cluster.ip.write() = value.into_text()),
    },
    number!("cluster-announce-port", PORT, cluster.port, Own),
    number!("cluster-announce-tls-port", PORT, cluster.tls_port, Own),
    number!("cluster-announce-bus-port", PORT, cluster.bus_port, Own),
    number!("cluster-node-timeout", ValueType::Int(0, I64_MAX), cluster.node_timeout),
    number!("cluster-replica-validity-factor", ValueType::Int(0, I32_MAX), cluster.validity_factor),
    number!("cluster-slave-validity-factor", ValueType::Int(0, I32_MAX), cluster.validity_factor),
    number!("cluster-migration-barrier", ValueType::Int(0, I32_MAX), cluster.migration_barrier),
    number!("cluster-link-sendbuf-limit", ValueType::Memory(0, I64_MAX), cluster.link_buffer_max),
    yes_no!("cluster-replica-no-failover", cluster.no_failover),
    yes_no!("cluster-slave-no-failover", cluster.no_failover),
    yes_no!("cluster-allow-replica-migration", cluster.replicas_migrate),
    Row {
        name: "bind",
        value_type: ValueType::Text,
        get: |settings| Value::Text(settings.start.bind.as_bytes().into()),
        set: SetRule::Fixed(CHOSEN_AT_START),
    },
    Row {
        name: "port",
        value_type: ValueType::Int(0, u16::MAX as i128),
        get: |settings| Value::Number(number(&settings.port).into()),
        set: SetRule::Fixed(CHOSEN_AT_START),
    },
    Row {
        name: "replica-lag",
        value_type: ValueType::Int(0, LAG_MS_MAX as i128),
        get: |settings| Value::Number(number(&settings.replica_lag).max(0).into()),
        set: SetRule::Checked(
            |settings, value| match number(&settings.replica_lag) {
                SHARED_SHARDS if value.number() != 0 => {
                    Err("replicas serve from their masters' shards: start with --replica-lag"
                        .into())
                }
                _ => Ok(()),
            },
            |settings, value| {
                if number(&settings.replica_lag) != SHARED_SHARDS {
                    settings.set_replica_lag(value.number());
                }
            },
        ),
    },
    Row {
        name: "replica-read-only",
        value_type: ValueType::YesNo,
        get: |_| Value::Bool(true),
        set: SetRule::Fixed("replicas here take no writes: only yes is possible"),
    },
    Row {
        name: "cluster-enabled",
        value_type: ValueType::YesNo,
        get: |settings| Value::Bool(settings.start.cluster_enabled),
        set: SetRule::Never,
    },
    Row {
        // The file and the port that Redis has by default. There is neither here.
        name: "cluster-config-file",
        value_type: ValueType::Text,
        get: |_| Value::Text((*b"nodes.conf").into()),
        set: SetRule::Never,
    },
    Row { name: "cluster-port", value_type: PORT, get: |_| Value::Number(0), set: SetRule::Never },
    Row {
        // Without a choice of databases, 16 is reported, as by a Redis node of a cluster, which
        // only has number 0.
        name: "databases",
        value_type: ValueType::Int(1, I32_MAX),
        get: |settings| match settings.databases() {
            1 if settings.cross_slot() != CrossSlot::Audit => Value::Number(16),
            databases => Value::Number(databases as i128),
        },
        set: SetRule::Never,
    },
    Row {
        name: "enable-debug-command",
        value_type: ValueType::OneOf(&["no", "yes", "local"]),
        get: |_| Value::Word("local"),
        set: SetRule::Never,
    },
    Row {
        name: "maxmemory",
        value_type: ValueType::Memory(0, u64::MAX as i128),
        get: |_| Value::Number(0),
        set: SetRule::Fixed("slotway does not limit its memory: only 0 is possible"),
    },
    Row {
        name: "maxmemory-policy",
        value_type: ValueType::OneOf(&[
            "volatile-lru",
            "volatile-lfu",
            "volatile-random",
            "volatile-ttl",
            "allkeys-lru",
            "allkeys-lfu",
            "allkeys-random",
            "noeviction",
        ]),
        get: |_| Value::Word("noeviction"),
        set: SetRule::Fixed("slotway never evicts keys: only noeviction is possible"),
    },
    Row {
        name: "save",
        value_type: ValueType::Text,
        get: |_| Value::Text(Box::default()),
        set: SetRule::Fixed(NOT_PERSISTENT),
    },
    fixed!("appendonly", ValueType::YesNo, Value::Bool(false), NOT_PERSISTENT),
    fixed!(
        "appendfsync",
        ValueType::OneOf(&["everysec", "always", "no"]),
        Value::Word("no"),
        NOT_PERSISTENT
    ),
    fixed!("maxmemory-clients", ValueType::Text, Value::Text((*b"0").into()), NO_EVICTION),
    fixed!("maxmemory-samples", ValueType::Int(1, I32_MAX), Value::Number(5), NO_EVICTION),
    fixed!(
        "hz",
        ValueType::Int(0, I32_MAX),
        Value::Number(10),
        "the clock's work is done ten times a second"
    ),
    fixed!("dynamic-hz", ValueType::YesNo, Value::Bool(false), "hz is always 10"),
    fixed!(
        "loglevel",
        ValueType::OneOf(&["debug", "verbose", "notice", "warning"]),
        Value::Word("notice"),
        CHOSEN_AT_START
    ),
    Row {
        name: "logfile",
        value_type: ValueType::Text,
        get: |_| Value::Text(Box::default()),
        set: SetRule::Never,
    },
    Row {
        name: "daemonize",
        value_type: ValueType::YesNo,
        get: |_| Value::Bool(false),
        set: SetRule::Never,
    },
    fixed!(
        "list-compress-depth",
        ValueType::Int(0, I32_MAX),
        Value::Number(0),
        "lists are kept uncompressed"
    ),
    fixed!(
        "activedefrag",
        ValueType::YesNo,
        Value::Bool(false),
        "the allocator needs no help against fragments"
    ),
    lazyfree!("lazyfree-lazy-eviction"),
    lazyfree!("lazyfree-lazy-expire"),
    lazyfree!("lazyfree-lazy-server-del"),
    lazyfree!("lazyfree-lazy-user-del"),
    lazyfree!("lazyfree-lazy-user-flush"),
];

/// The parameters that only Valkey has.
pub(super) const VALKEY_ROWS: &[Row] = &[
    Row {
        name: "cluster-announce-client-ipv4",
        value_type: ValueType::Text,
        get: |settings| Value::Text(settings.cluster.valkey.client_ipv4.read().clone()),
        set: SetRule::Checked(
            |_, value| check_ip::<Ipv4Addr>(&value.text(), "Invalid IPv4 address"),
            |settings, value| *settings.cluster.valkey.client_ipv4.write() = value.into_text(),
        ),
    },
    Row {
        name: "cluster-announce-client-ipv6",
        value_type: ValueType::Text,
        get: |settings| Value::Text(settings.cluster.valkey.client_ipv6.read().clone()),
        set: SetRule::Checked(
            |_, value| check_ip::<Ipv6Addr>(&value.text(), "Invalid IPv6 address"),
            |settings, value| *settings.cluster.valkey.client_ipv6.write() = value.into_text(),
        ),
    },
    number!("cluster-announce-client-port", PORT, cluster.valkey.client_port),
    number!("cluster-announce-client-tls-port", PORT, cluster.valkey.client_tls_port),
    Row {
        name: "cluster-announce-human-nodename",
        value_type: ValueType::Text,
        get: |settings| Value::Text(settings.cluster.valkey.node_name.read().clone()),
        set: SetRule::Checked(
            |_, value| check_node_name(&value.text()),
            |settings, value| *settings.cluster.valkey.node_name.write() = value.into_text(),
        ),
    },
    number!(
        "cluster-blacklist-ttl",
        ValueType::Int(i64::MIN as i128, I64_MAX),
        cluster.valkey.blacklist_ttl_s
    ),
    Row {
        name: "cluster-config-save-behavior",
        value_type: ValueType::OneOf(SAVE_WORDS),
        get: |settings| {
            let chosen = settings.cluster.valkey.save_behavior.load(Ordering::Relaxed);
            Value::Word(SAVE_WORDS[usize::from(chosen)])
        },
        set: SetRule::Freely(|settings, value| {
            let chosen = SAVE_WORDS.iter().position(|&word| value == Value::Word(word));
            let cell = &settings.cluster.valkey.save_behavior;
            cell.store(chosen.unwrap_or(0) as u8, Ordering::Relaxed);
        }),
    },
    Row {
        name: "cluster-databases",
        value_type: ValueType::Int(1, I32_MAX),
        get: |_| Value::Number(1),
        set: SetRule::Never,
    },
    number!(
        "cluster-manual-failover-timeout",
        ValueType::Int(1, I32_MAX),
        cluster.valkey.failover_timeout_ms
    ),
    number!(
        "cluster-slot-migration-log-max-len",
        ValueType::Int(0, I64_MAX),
        cluster.valkey.migration_log_len
    ),
    fixed!(
        "cluster-slot-stats-enabled",
        ValueType::YesNo,
        Value::Bool(false),
        "only the keys of a slot are counted"
    ),
];
