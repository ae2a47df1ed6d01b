//! Parameters of a node as a member of its cluster (`cluster-…`).

use super::super::cluster::{SAVE_WORDS, SLOT_BYTES, SLOT_TIME};
use super::super::row::{
    I32_MAX, I64_MAX, PORT, Row, SetRule, U64_MAX, kept, never, number, yes_no,
};
use super::super::value_type::{Value, ValueType};
use super::super::{EndpointType, number};
use std::borrow::Cow;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;
use std::sync::atomic::Ordering;

/// Longest hostname, in bytes.
const HOSTNAME_LEN_MAX: usize = 255;

/// Bytes of a node's name or address that are neither letters nor digits, below 128, as Valkey allows
/// them.
const NAME_MARKS: &[u8] = b"-./:_`";

fn check_characters(name: &[u8], error: &'static str) -> Result<(), Cow<'static, str>> {
    let is_valid =
        |byte: &u8| byte.is_ascii_alphanumeric() || !byte.is_ascii() || NAME_MARKS.contains(byte);
    if name.iter().all(is_valid) { Ok(()) } else { Err(error.into()) }
}

/// Bytes that Redis 8 does not allow in a node's name.
const FORBIDDEN_MARKS: &[u8] = b"\0!#$%&()*+:;<>?@[]^{|}~";

fn check_without_marks(name: &[u8]) -> Result<(), Cow<'static, str>> {
    match name.iter().any(|byte| FORBIDDEN_MARKS.contains(byte)) {
        true => Err(INVALID_NODE_NAME.into()),
        false => Ok(()),
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

const INVALID_NODE_NAME: &str = "Announced human node name contained invalid character";

pub(super) const ROWS: &[Row] = &[
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
    number!("cluster-announce-port", PORT, cluster.port, Own),
    number!("cluster-announce-tls-port", PORT, cluster.tls_port, Own),
    number!("cluster-announce-bus-port", PORT, cluster.bus_port, Own),
    number!("cluster-node-timeout", ValueType::Int(0, I64_MAX), cluster.node_timeout),
    number!("cluster-replica-validity-factor", ValueType::Int(0, I32_MAX), cluster.validity_factor),
    number!("cluster-slave-validity-factor", ValueType::Int(0, I32_MAX), cluster.validity_factor),
    number!("cluster-migration-barrier", ValueType::Int(0, I32_MAX), cluster.migration_barrier),
    yes_no!("cluster-replica-no-failover", cluster.no_failover),
    yes_no!("cluster-slave-no-failover", cluster.no_failover),
    yes_no!("cluster-allow-replica-migration", cluster.replicas_migrate),
    Row {
        name: "cluster-enabled",
        value_type: ValueType::YesNo,
        get: |settings| Value::Bool(settings.start.cluster_enabled),
        set: SetRule::Never,
    },
    // The file and the port that Redis has by default. There is neither here.
    never!("cluster-config-file", ValueType::Text, "nodes.conf"),
    never!("cluster-port", PORT, "0"),
];

/// What Redis 7 alone has so.
pub(super) const REDIS7: &[Row] =
    &[kept!("cluster-link-sendbuf-limit", ValueType::Memory(0, U64_MAX), "0")];

/// What Redis takes as it comes up to 8.2.
pub(super) const UP_TO_8_2: &[Row] = &[Row {
    name: "cluster-announce-ip",
    value_type: ValueType::Text,
    get: |settings| Value::Text(settings.cluster.ip.read().clone()),
    set: SetRule::Freely(|settings, value| *settings.cluster.ip.write() = value.into_text()),
}];

/// What Redis 8.2 and Valkey have.
pub(super) const SLOT_STATS: &[Row] = &[Row {
    name: "cluster-slot-stats-enabled",
    value_type: ValueType::YesNo,
    get: |settings| Value::Bool(settings.slot_metrics() != 0),
    set: SetRule::Freely(|settings, value| {
        let metrics = if value.is_yes() { SLOT_TIME | SLOT_BYTES } else { 0 };
        settings.cluster.slot_metrics.store(metrics, Ordering::Relaxed);
    }),
}];

/// What Redis 8.2 and Valkey have with other values than Redis 7 and 8.10.
pub(super) const BOUNDED_LINKS: &[Row] =
    // There are no links between nodes.
    &[kept!("cluster-link-sendbuf-limit", ValueType::Memory(0, I64_MAX), "0")];

/// What Redis 8 alone has.
pub(super) const REDIS8: &[Row] =
    &[kept!("cluster-compatibility-sample-ratio", ValueType::Int(0, 100), "0")];

/// What Redis 8.2 has with other values.
pub(super) const REDIS8_2: &[Row] = &[Row {
    name: "cluster-announce-human-nodename",
    value_type: ValueType::Text,
    get: |settings| Value::Text(settings.cluster.valkey.node_name.read().clone()),
    set: SetRule::Checked(
        |_, value| check_without_marks(&value.text()),
        |settings, value| *settings.cluster.valkey.node_name.write() = value.into_text(),
    ),
}];

fn has_word(value: &Value, word: &[u8]) -> bool {
    value.text().split(|&byte| byte == b' ').any(|part| part == word)
}

/// What Redis 8.10 has with other values.
pub(super) const REDIS8_10: &[Row] = &[
    kept!("cluster-link-sendbuf-limit", ValueType::Memory(0, U64_MAX), "0"),
    Row {
        name: "cluster-slot-stats-enabled",
        value_type: ValueType::SomeOf(&["no", "yes", "cpu", "net", "mem"]),
        get: |settings| {
            let words = match settings.slot_metrics() {
                0 => "no",
                SLOT_TIME => "cpu",
                SLOT_BYTES => "net",
                _ => "cpu net",
            };
            Value::Text(words.as_bytes().into())
        },
        set: SetRule::Checked(
            |_, value| match has_word(value, b"yes") || has_word(value, b"mem") {
                true => Err("memory tracking cannot be enabled at runtime".into()),
                false => Ok(()),
            },
            |settings, value| {
                let time = if has_word(&value, b"cpu") { SLOT_TIME } else { 0 };
                let bytes = if has_word(&value, b"net") { SLOT_BYTES } else { 0 };
                settings.cluster.slot_metrics.store(time | bytes, Ordering::Relaxed);
            },
        ),
    },
    Row {
        name: "cluster-announce-human-nodename",
        value_type: ValueType::Text,
        get: |settings| Value::Text(settings.cluster.valkey.node_name.read().clone()),
        set: SetRule::Checked(
            |_, value| check_characters(&value.text(), INVALID_NODE_NAME),
            |settings, value| *settings.cluster.valkey.node_name.write() = value.into_text(),
        ),
    },
    Row {
        name: "cluster-announce-ip",
        value_type: ValueType::Text,
        get: |settings| Value::Text(settings.cluster.ip.read().clone()),
        set: SetRule::Checked(
            |_, value| check_hostname(&value.text()),
            |settings, value| *settings.cluster.ip.write() = value.into_text(),
        ),
    },
];

/// What Valkey alone has, or with other values.
pub(super) const VALKEY: &[Row] = &[
    Row {
        name: "cluster-announce-human-nodename",
        value_type: ValueType::Text,
        get: |settings| Value::Text(settings.cluster.valkey.node_name.read().clone()),
        set: SetRule::Checked(
            |_, value| check_characters(&value.text(), INVALID_NODE_NAME),
            |settings, value| *settings.cluster.valkey.node_name.write() = value.into_text(),
        ),
    },
    Row {
        name: "cluster-announce-ip",
        value_type: ValueType::Text,
        get: |settings| Value::Text(settings.cluster.ip.read().clone()),
        set: SetRule::Checked(
            |_, value| {
                check_characters(&value.text(), "cluster-announce-ip contains invalid character")
            },
            |settings, value| *settings.cluster.ip.write() = value.into_text(),
        ),
    },
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
    number!("cluster-announce-client-port", PORT, cluster.valkey.client_port, Own),
    number!("cluster-announce-client-tls-port", PORT, cluster.valkey.client_tls_port, Own),
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
    never!("cluster-databases", ValueType::Int(1, I32_MAX), "1"),
    // A migration of slots never waits for what is still to be sent.
    kept!("slot-migration-max-failover-repl-bytes", ValueType::Memory(-1, I64_MAX), "0"),
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
];
