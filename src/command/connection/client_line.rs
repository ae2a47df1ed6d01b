//! A client's line in CLIENT LIST and CLIENT INFO, with the fields of the server.

use super::tracking::redirection;
use crate::dialect::{Product, servers};
use crate::keyspace::Millis;
use crate::state::clients::{Client, Outbox, TrackingMode};
use std::fmt::Display;
use std::io::Write;

/// Appends a client's line of CLIENT LIST.
pub(super) fn describe(client: &Client, now: Millis, product: &Product, text: &mut Vec<u8>) {
    let Client { id, peer, local, fd, connected_at, .. } = client;
    let (at, labels, listening) =
        (client.activity(), client.labels(), client.subscription_counts());
    let is_of = |servers| product.servers & servers != 0;
    let seconds_since = |then: Millis| (now - then).max(0) / 1000;
    let unsent = client.outbox().map_or(at.unsent, Outbox::waiting);
    let command = match (at.container, at.command) {
        ("", "") => "NULL".to_owned(),
        ("", command) => command.to_owned(),
        (container, command) => format!("{container}|{command}"),
    };
    // Writing into memory does not fail. A field that is always 0 is for something that Slotway
    // does not have, such as buffers kept between batches.
    let _ = write!(text, "id={id} addr={peer} laddr={local} fd={fd} name=");
    text.extend(&*labels.name);
    let mut put = |name: &str, value: &dyn Display| {
        let _ = write!(text, " {name}={value}");
    };
    put("age", &seconds_since(*connected_at));
    put("idle", &seconds_since(at.last_active));
    put("flags", &flags_of(client));
    if is_of(servers::VALKEY9) {
        put("capa", &if client.understands_redirect() { "r" } else { "" });
    }
    put("db", &client.database());
    put("sub", &listening.channels);
    put("psub", &listening.patterns);
    put("ssub", &listening.shard_channels);
    put("multi", &at.queued.map_or(-1, i64::from));
    if is_of(servers::SINCE_7_2) {
        put("watch", &at.watched);
    }
    put("qbuf", &at.unread);
    put("qbuf-free", &at.unread_room);
    put("argv-mem", &0);
    put("multi-mem", &at.queued_bytes);
    put("rbs", &0);
    put("rbp", &0);
    put("obl", &unsent);
    put("oll", &0);
    put("omem", &unsent);
    put("tot-mem", &client.memory());
    put("events", &if unsent > 0 { "rw" } else { "r" });
    put("cmd", &command);
    put("user", &"default");
    put("redir", &redirection(client));
    put("resp", &at.resp);
    if is_of(servers::SINCE_7_2) {
        // Labels are printable.
        put("lib-name", &String::from_utf8_lossy(&labels.lib_name));
        put("lib-ver", &String::from_utf8_lossy(&labels.lib_ver));
        if is_of(servers::REDIS8) {
            put("io-thread", &0);
        }
        put("tot-net-in", &at.bytes_in);
        put("tot-net-out", &at.bytes_out);
        put("tot-cmds", &at.commands);
    }
    text.push(b'\n');
}

/// Returns the letters of a client's state; `N` for none.
pub(super) fn flags_of(client: &Client) -> String {
    let (at, listening) = (client.activity(), client.subscription_counts());
    let mode = client.tracking();
    let mut flags = String::new();
    for (letter, is_set) in [
        ('O', at.monitors),
        ('P', !listening.is_empty()),
        ('x', at.queued.is_some()),
        ('b', at.blocked),
        ('t', mode.has(TrackingMode::ON)),
        ('R', mode.has(TrackingMode::BROKEN)),
        ('B', mode.has(TrackingMode::BCAST)),
        ('d', at.dirty),
        ('c', client.is_closing()),
        ('r', client.reads_replicas()),
        ('e', client.no_evict()),
        ('T', client.no_touch()),
    ] {
        if is_set {
            flags.push(letter);
        }
    }
    if flags.is_empty() {
        flags.push('N');
    }
    flags
}
