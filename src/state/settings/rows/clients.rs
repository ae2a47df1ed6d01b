//! Parameters about connections, and about what clients may ask for.

use super::super::row::{I32_MAX, I64_MAX, Row, SetRule, kept, never, number, yes_no};
use super::super::value_type::{Value, ValueType};
use super::super::{number, set_outbox_limits};
use std::sync::atomic::Ordering;

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
    number!("tracking-table-max-keys", ValueType::Int(0, I64_MAX), tracked_keys_max),
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
    yes_no!("protected-mode", protected),
    Row {
        name: "notify-keyspace-events",
        value_type: ValueType::Events,
        get: |settings| Value::Events(settings.events.load(Ordering::Relaxed)),
        set: SetRule::Freely(|settings, value| {
            settings.events.store(value.events(), Ordering::Relaxed);
        }),
    },
    // There are no users but the default one, and no ACL.
    kept!(
        "acl-pubsub-default",
        ValueType::OneOf(&["allchannels", "resetchannels"]),
        "resetchannels"
    ),
    kept!("acllog-max-len", ValueType::Int(0, I64_MAX), "128"),
    never!("aclfile", ValueType::Text, ""),
];
