//! Parameters about the process: its ports, threads, log, title and end.

use super::super::row::{CHOSEN_AT_START, I32_MAX, PORT, Row, SetRule, fixed, kept, never};
use super::super::value_type::{Value, ValueType};
use super::super::{CrossSlot, Settings, TCP_BACKLOG, number};
use super::persistence::NOT_PERSISTENT;
use std::borrow::Cow;

pub(super) const ROWS: &[Row] = &[
    Row {
        name: "bind",
        value_type: ValueType::Text,
        get: |settings| Value::Text(settings.start.bind.as_bytes().into()),
        set: SetRule::Fixed(CHOSEN_AT_START),
    },
    Row {
        name: "port",
        value_type: PORT,
        get: |settings| Value::Number(number(&settings.port).into()),
        set: SetRule::Fixed(CHOSEN_AT_START),
    },
    Row {
        name: "tcp-backlog",
        value_type: ValueType::Int(0, I32_MAX),
        get: |_| Value::Number(TCP_BACKLOG.into()),
        set: SetRule::Never,
    },
    // No connection is opened from here.
    kept!("bind-source-addr", ValueType::Text, ""),
    never!("unixsocket", ValueType::Text, ""),
    never!("unixsocketperm", ValueType::Text, "0"),
    never!("socket-mark-id", ValueType::Text, "0"),
    never!("enable-debug-command", LOCALITY, "local"),
    never!("enable-module-command", LOCALITY, "no"),
    never!("enable-protected-configs", LOCALITY, "no"),
    fixed!("hz", ValueType::Int(0, I32_MAX), "10", "the clock's work is done ten times a second"),
    never!("daemonize", ValueType::YesNo, "no"),
    never!("supervised", ValueType::OneOf(&["no", "upstart", "systemd", "auto"]), "no"),
    never!("pidfile", ValueType::Text, ""),
    // The log goes to the standard error output.
    never!("logfile", ValueType::Text, ""),
    never!("always-show-logo", ValueType::YesNo, "no"),
    never!("syslog-enabled", ValueType::YesNo, "no"),
    never!("syslog-facility", ValueType::Text, "local0"),
    kept!("ignore-warnings", ValueType::Text, ""),
    fixed!("crash-log-enabled", ValueType::YesNo, "yes", "a panic is always logged"),
    fixed!(
        "crash-memcheck-enabled",
        ValueType::YesNo,
        "no",
        "no panic is followed by a test of the memory"
    ),
    // The process does not change its title, its place in the kernel's plans, or its pages.
    never!("set-proc-title", ValueType::YesNo, "no"),
    kept!(
        "proc-title-template",
        ValueType::Text,
        "{title} {listen-addr} {server-mode}",
        check_title
    ),
    never!("disable-thp", ValueType::YesNo, "no"),
    fixed!(
        "oom-score-adj",
        ValueType::OneOf(&["no", "yes", "relative", "absolute"]),
        "no",
        "the process leaves its score to the operating system"
    ),
    kept!("oom-score-adj-values", ValueType::OomScores, "0 200 800"),
    never!("server_cpulist", ValueType::Text, ""),
    never!("bio_cpulist", ValueType::Text, ""),
    never!("aof_rewrite_cpulist", ValueType::Text, ""),
    never!("bgsave_cpulist", ValueType::Text, ""),
    kept!("shutdown-timeout", ValueType::Int(0, I32_MAX), "10"),
];

/// What Redis 7 alone has, or with other values.
pub(super) const REDIS7: &[Row] = &[
    Row {
        // Without a choice of databases, a Redis 7 node of a cluster reports 16, and has number 0 only.
        name: "databases",
        value_type: ValueType::Int(1, I32_MAX),
        get: |settings| databases(settings, 16),
        set: SetRule::Never,
    },
    never!("io-threads-do-reads", ValueType::YesNo, "no"),
    fixed!(
        "loglevel",
        ValueType::OneOf(&["debug", "verbose", "notice", "warning"]),
        "notice",
        CHOSEN_AT_START
    ),
];

/// What Redis has, and Valkey has not, or otherwise.
pub(super) const REDIS: &[Row] = &[
    fixed!("dynamic-hz", ValueType::YesNo, "no", "hz is always 10"),
    never!("io-threads", ValueType::Int(1, 128), "1"),
    never!("syslog-ident", ValueType::Text, "redis"),
    kept!("shutdown-on-sigint", ENDINGS, "default", check_ending),
    kept!("shutdown-on-sigterm", ENDINGS, "default", check_ending),
];

/// What Redis 8 alone has, or with other values.
pub(super) const REDIS8: &[Row] = &[
    Row {
        name: "databases",
        value_type: ValueType::Int(1, I32_MAX),
        get: |settings| databases(settings, 1),
        set: SetRule::Never,
    },
    kept!("vset-force-single-threaded-execution", ValueType::YesNo, "no"),
];

/// What Redis 8 and Valkey have.
pub(super) const NEWER: &[Row] = &[
    fixed!(
        "loglevel",
        ValueType::OneOf(&["debug", "verbose", "notice", "warning", "nothing"]),
        "notice",
        CHOSEN_AT_START
    ),
    never!("server-cpulist", ValueType::Text, ""),
    never!("bio-cpulist", ValueType::Text, ""),
    never!("aof-rewrite-cpulist", ValueType::Text, ""),
    never!("bgsave-cpulist", ValueType::Text, ""),
    kept!("locale-collate", ValueType::Text, "", check_locale),
    // A panic's message has no data of clients.
    fixed!("hide-user-data-from-log", ValueType::YesNo, "yes", "no data of clients are logged"),
    kept!("max-new-connections-per-cycle", ValueType::Int(1, 1000), "10"),
];

/// What Valkey alone has, or with other values.
pub(super) const VALKEY: &[Row] = &[
    Row {
        name: "databases",
        value_type: ValueType::Int(1, I32_MAX),
        get: |settings| databases(settings, 16),
        set: SetRule::Never,
    },
    fixed!("io-threads", ValueType::Int(1, 256), "1", CHOSEN_AT_START),
    never!("syslog-ident", ValueType::Text, "valkey"),
    kept!("shutdown-on-sigint", VALKEY_ENDINGS, "default", check_ending),
    kept!("shutdown-on-sigterm", VALKEY_ENDINGS, "default", check_ending),
    fixed!(
        "extended-redis-compatibility",
        ValueType::YesNo,
        "no",
        "the dialect chooses the names in replies"
    ),
    // HELLO and INFO show it.
    kept!("availability-zone", ValueType::Text, ""),
    fixed!("import-mode", ValueType::YesNo, "no", "no expired key is kept for an import"),
    never!("hash-seed", ValueType::Text, ""),
    fixed!(
        "log-format",
        ValueType::OneOf(&["legacy", "logfmt", "json"]),
        "legacy",
        CHOSEN_AT_START
    ),
    fixed!(
        "log-timestamp-format",
        ValueType::OneOf(&["legacy", "iso8601", "milliseconds"]),
        "legacy",
        CHOSEN_AT_START
    ),
    never!("mptcp", ValueType::YesNo, "no"),
    kept!("prefetch-batch-max-size", ValueType::Int(0, 128), "16"),
    kept!("rdma-bind", ValueType::Text, "", |_, _| Err(NO_RDMA.into())),
    fixed!("rdma-port", PORT, "0", NO_RDMA),
    never!("rdma-completion-vector", ValueType::Int(-1, 1024), "-1"),
    never!("rdma-rx-size", ValueType::Int(0, I32_MAX), "1048576"),
    never!("unixsocketgroup", ValueType::Text, ""),
];

/// The number of databases; `shown` if none was chosen.
fn databases(settings: &Settings, shown: i128) -> Value {
    match settings.databases() {
        1 if settings.cross_slot() != CrossSlot::Audit => Value::Number(shown),
        databases => Value::Number(databases as i128),
    }
}

/// Who may use a command.
const LOCALITY: ValueType = ValueType::OneOf(&["no", "yes", "local"]);
/// How the process ends at a signal. Those that are possible are all the same here: nothing is saved,
/// and no replica is waited for.
const ENDINGS: ValueType = ValueType::SomeOf(&["default", "save", "nosave", "now", "force"]);
const VALKEY_ENDINGS: ValueType =
    ValueType::SomeOf(&["default", "save", "nosave", "now", "force", "safe", "failover"]);
const NO_RDMA: &str = "No RDMA building support.";

fn check_ending(_: &Settings, value: &Value) -> Result<(), Cow<'static, str>> {
    let text = value.text();
    let has = |word: &[u8]| text.split(|&byte| byte == b' ').any(|of| of == word);
    match (has(b"save"), has(b"nosave")) {
        (true, true) => Err("shutdown options SAVE and NOSAVE can't be used simultaneously".into()),
        (true, false) => Err(NOT_PERSISTENT.into()),
        _ if has(b"safe") || has(b"failover") => {
            Err("no failover begins because a node ends, and no node is kept by it".into())
        }
        _ => Ok(()),
    }
}

/// Checks the locale of `SORT … ALPHA`: texts are compared byte by byte.
fn check_locale(_: &Settings, value: &Value) -> Result<(), Cow<'static, str>> {
    match &*value.text() {
        b"" | b"C" | b"POSIX" => Ok(()),
        _ => Err("Invalid locale name".into()),
    }
}

/// The variables of `proc-title-template`.
const TITLE_VARIABLES: [&[u8]; 7] =
    [b"title", b"listen-addr", b"server-mode", b"port", b"tls-port", b"config-file", b"unixsocket"];

/// Checks the template of a process title: text with variables in braces, `{{` for a brace, and not
/// blank where the title of the program is.
fn check_title(_: &Settings, value: &Value) -> Result<(), Cow<'static, str>> {
    const INVALID: &str = "template format is invalid or contains unknown variables";
    let template = value.text();
    let (mut rest, mut is_blank) = (&template[..], true);
    while let Some((&byte, behind)) = rest.split_first() {
        rest = behind;
        if byte != b'{' || rest.first() == Some(&b'{') {
            is_blank &= byte == b' ';
            rest = rest.strip_prefix(b"{").filter(|_| byte == b'{').unwrap_or(rest);
            continue;
        }
        let end = rest.iter().position(|&byte| byte == b'}').ok_or(INVALID)?;
        let name = &rest[..end];
        if !TITLE_VARIABLES.contains(&name) {
            return Err(INVALID.into());
        }
        is_blank &= name == b"title";
        rest = &rest[end + 1..];
    }
    if is_blank { Err(INVALID.into()) } else { Ok(()) }
}
