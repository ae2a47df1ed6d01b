//! INFO: the state and statistics of the server for monitoring, section by section.
//!
//! The fields are those of the server that the port is like, in its order: what is not counted here has
//! the value of a server that has none of it. The section `# Slotway` has our own. All shards are held
//! while it is written, so that the numbers of one reply are consistent.
//!
//! ```text
//! fields       the lines of a section, and numbers for people
//! process      server, threads, TLS, CPU, modules
//! clients      clients
//! memory       memory, scripting engines
//! persistence  persistence
//! stats        stats, and our own section
//! replication  replication
//! commands     command, error and latency statistics
//! data         cluster, keyspace
//! ```

mod fields;
mod process;
mod clients;
mod memory;
mod persistence;
mod stats;
mod replication;
mod commands;
mod data;

pub(super) use commands::{rows, sum};

use super::*;
use crate::dialect::{Servers, servers};
use crate::state::CommandStats;
use fields::Fields;

pub(super) const ROW: Spec = Spec {
    name: "info",
    arity: AtLeast(1),
    flags: LOADING | STALE | ALL_DATABASES,
    acl: acl::DANGEROUS,
    tips: &["nondeterministic_output", "request_policy:all_shards", "response_policy:special"],
    summary: "Returns the state and statistics of the server, by section.",
    run: Run::Cluster(info),
    ..SERVER
};

/// What the sections are written from.
struct InfoCx<'a, 'c> {
    cx: &'a ServerCx<'c>,
    /// The command statistics of all shards and of the commands that run outside them.
    commands: &'a CommandStats,
}

impl InfoCx<'_, '_> {
    /// Returns whether one of these servers is meant.
    fn is(&self, servers: Servers) -> bool {
        self.cx.product.servers & servers != 0
    }
}

/// Writes a section's lines.
type Write = fn(&InfoCx<'_, '_>, &mut Fields<'_>);

/// A section.
#[derive(Clone, Copy)]
struct Section {
    heading: &'static str,
    /// The argument that selects it, in lower case.
    word: &'static str,
    /// Which arguments select it together with others.
    part_of: PartOf,
    /// The servers that have it.
    servers: Servers,
    write: Write,
}

/// Which arguments select a section that is not named.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum PartOf {
    /// `default`, and no argument at all.
    Default,
    /// `all` and `everything`: modules, which would add to the latter, there are none.
    All,
}

/// A section that is shown by default and that all servers have.
const fn section(heading: &'static str, word: &'static str, write: Write) -> Section {
    Section { heading, word, part_of: PartOf::Default, servers: servers::ALL, write }
}

/// A section that `all` alone selects.
const fn rare(heading: &'static str, word: &'static str, write: Write) -> Section {
    Section { part_of: PartOf::All, ..section(heading, word, write) }
}

const fn of(servers: Servers, section: Section) -> Section {
    Section { servers, ..section }
}

/// The sections in the order shown.
const SECTIONS: &[Section] = &[
    section("Server", "server", process::server),
    of(servers::VALKEY9, rare("TLS", "tls", process::tls)),
    section("Clients", "clients", clients::clients),
    section("Memory", "memory", memory::memory),
    section("Persistence", "persistence", persistence::persistence),
    of(servers::REDIS8, section("Threads", "threads", process::threads)),
    section("Stats", "stats", stats::stats),
    section("Slotway", "slotway", stats::slotway),
    section("Replication", "replication", replication::replication),
    section("CPU", "cpu", process::cpu),
    section("Modules", "modules", process::modules),
    rare("Commandstats", "commandstats", commands::commandstats),
    section("Errorstats", "errorstats", commands::errorstats),
    rare("Latencystats", "latencystats", commands::latencystats),
    section("Cluster", "cluster", data::cluster),
    of(servers::VALKEY9, rare("Cluster Info", "cluster_info", data::cluster_info)),
    of(servers::VALKEY9, rare("Scripting Engines", "scriptingengines", memory::engines)),
    section("Keyspace", "keyspace", data::keyspace),
];

fn info(cx: &mut ServerCx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let widest = |word: &[u8]| {
        let words =
            [("default", PartOf::Default), ("all", PartOf::All), ("everything", PartOf::All)];
        words.into_iter().find(|(name, _)| word.eq_ignore_ascii_case(name.as_bytes()))
    };
    let part = args.from(1).filter_map(widest).map(|(_, part)| part).max();
    let part = if args.len() == 1 { Some(PartOf::Default) } else { part };
    let info = InfoCx { cx, commands: &sum(cx) };
    let mut text = String::new();
    for section in SECTIONS.iter().filter(|section| info.is(section.servers)) {
        let is_named = || args.from(1).any(|arg| arg.eq_ignore_ascii_case(section.word.as_bytes()));
        if part.is_some_and(|part| section.part_of <= part) || is_named() {
            if !text.is_empty() {
                text.push_str("\r\n");
            }
            let mut fields = Fields::under(section.heading, &mut text);
            (section.write)(&info, &mut fields);
        }
    }
    out.verbatim(*b"txt", text.as_bytes());
    Ok(())
}
