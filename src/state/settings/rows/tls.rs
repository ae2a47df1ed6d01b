//! Parameters about TLS: no port speaks it, and so what says how decides nothing.

use super::super::row::{I32_MAX, PORT, Row, SetRule, fixed, kept};
use super::super::value_type::ValueType;

const NO_TLS: &str = "no port here speaks TLS";

pub(super) const ROWS: &[Row] = &[
    fixed!("tls-port", PORT, "0", NO_TLS),
    fixed!("tls-cluster", ValueType::YesNo, "no", NO_TLS),
    fixed!("tls-replication", ValueType::YesNo, "no", NO_TLS),
    kept!("tls-auth-clients", ValueType::OneOf(&["no", "yes", "optional"]), "yes"),
    kept!("tls-ca-cert-dir", ValueType::Text, ""),
    kept!("tls-ca-cert-file", ValueType::Text, ""),
    kept!("tls-cert-file", ValueType::Text, ""),
    kept!("tls-ciphers", ValueType::Text, ""),
    kept!("tls-ciphersuites", ValueType::Text, ""),
    kept!("tls-client-cert-file", ValueType::Text, ""),
    kept!("tls-client-key-file", ValueType::Text, ""),
    kept!("tls-client-key-file-pass", ValueType::Text, ""),
    kept!("tls-dh-params-file", ValueType::Text, ""),
    kept!("tls-key-file", ValueType::Text, ""),
    kept!("tls-key-file-pass", ValueType::Text, ""),
    kept!("tls-prefer-server-ciphers", ValueType::YesNo, "no"),
    kept!("tls-protocols", ValueType::Text, ""),
    kept!("tls-session-cache-size", ValueType::Int(0, I32_MAX), "20480"),
    kept!("tls-session-cache-timeout", ValueType::Int(0, I32_MAX), "300"),
    kept!("tls-session-caching", ValueType::YesNo, "yes"),
];

/// What Redis 8 and Valkey have.
pub(super) const NEWER: &[Row] =
    &[kept!("max-new-tls-connections-per-cycle", ValueType::Int(1, 1000), "1")];

/// What Valkey alone has.
pub(super) const VALKEY: &[Row] = &[
    kept!("tls-auth-clients-user", ValueType::OneOf(&["CN", "URI", "off"]), "off"),
    kept!("tls-auto-reload-interval", ValueType::Int(0, I32_MAX), "0"),
];
