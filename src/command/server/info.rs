//! INFO: the state and statistics of the server for monitoring, section by section.
//!
//! The fields are those of Redis, as far as they apply; the section `# Slotway` has our own. All
//! shards are held while it is written, so that the numbers of one reply are consistent.

use super::*;
use crate::command::numbered;
use crate::dialect::Product;
use crate::keyspace::Counts;
use crate::state::{CommandCounts, CommandStats, VERSION};
use crate::topology::ReplicationRole;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::Ordering;

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

/// A section.
struct Section {
    heading: &'static str,
    /// The argument that selects it, in lower case.
    word: &'static str,
    /// Which arguments select it together with others.
    part_of: PartOf,
    /// Appends its `name:value` lines.
    write: fn(&InfoCx<'_, '_>, &mut String) -> std::fmt::Result,
}

/// Which arguments select a section that is not named.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum PartOf {
    /// `default`, and no argument at all.
    Default,
    /// `all`.
    All,
    /// `everything`.
    Everything,
}

const fn section(
    heading: &'static str,
    word: &'static str,
    part_of: PartOf,
    write: fn(&InfoCx<'_, '_>, &mut String) -> std::fmt::Result,
) -> Section {
    Section { heading, word, part_of, write }
}

/// The sections in the order shown.
const SECTIONS: &[Section] = &[
    section("Server", "server", PartOf::Default, server),
    section("Clients", "clients", PartOf::Default, clients),
    section("Memory", "memory", PartOf::Default, memory),
    section("Persistence", "persistence", PartOf::Default, persistence),
    section("Stats", "stats", PartOf::Default, stats),
    section("Slotway", "slotway", PartOf::Default, slotway),
    section("Replication", "replication", PartOf::Default, replication),
    section("CPU", "cpu", PartOf::Default, cpu),
    section("Modules", "modules", PartOf::Everything, |_, _| Ok(())),
    section("Commandstats", "commandstats", PartOf::All, commandstats),
    section("Errorstats", "errorstats", PartOf::Default, errorstats),
    section("Latencystats", "latencystats", PartOf::All, latencystats),
    section("Cluster", "cluster", PartOf::Default, cluster),
    section("Keyspace", "keyspace", PartOf::Default, keyspace),
];

/// The sum of the command statistics of all shards and of the commands that run outside them.
pub(super) fn sum(cx: &ServerCx<'_>) -> CommandStats {
    let mut sum = CommandStats::default();
    cx.tallies.iter().for_each(|stats| sum.add(stats));
    for node in cx.covered() {
        node.observer.commandstats.each(|stats| sum.add(stats));
    }
    sum
}

fn info(cx: &mut ServerCx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let widest = |word: &[u8]| {
        let words = [
            ("default", PartOf::Default),
            ("all", PartOf::All),
            ("everything", PartOf::Everything),
        ];
        words.into_iter().find(|(name, _)| word.eq_ignore_ascii_case(name.as_bytes()))
    };
    let part = args.from(1).filter_map(widest).map(|(_, part)| part).max();
    let part = if args.len() == 1 { Some(PartOf::Default) } else { part };
    let info = InfoCx { cx, commands: &sum(cx) };
    let mut text = String::new();
    for Section { heading, word, part_of, write } in SECTIONS {
        let is_named = || args.from(1).any(|arg| arg.eq_ignore_ascii_case(word.as_bytes()));
        if part.is_some_and(|part| *part_of <= part) || is_named() {
            if !text.is_empty() {
                text.push_str("\r\n");
            }
            // Writing into memory does not fail.
            let _ = write!(text, "# {heading}\r\n");
            let _ = write(&info, &mut text);
        }
    }
    out.verbatim(*b"txt", text.as_bytes());
    Ok(())
}

fn server(InfoCx { cx, .. }: &InfoCx<'_, '_>, text: &mut String) -> std::fmt::Result {
    let it = &cx.server.identity;
    let uptime_s = (cx.now - it.started_at).max(0) / 1000;
    let mode = cx.server.mode(cx.port);
    write!(text, "redis_version:{}\r\n", cx.product.redis_version)?;
    match cx.product {
        Product { names_itself: true, name, version, .. } => write!(
            text,
            "server_name:{name}\r\n{name}_version:{version}\r\n{name}_release_stage:ga\r\nserver_mode:{mode}\r\n"
        )?,
        Product { names_itself: false, .. } => write!(text, "redis_mode:{mode}\r\n")?,
    }
    let multiplexing = if cfg!(target_os = "linux") { "epoll" } else { "kqueue" };
    write!(
        text,
        "os:{}\r\narch_bits:{}\r\nmultiplexing_api:{multiplexing}\r\n\
         process_id:{}\r\nprocess_supervised:no\r\nrun_id:{}\r\ntcp_port:{}\r\nserver_time_usec:{}\r\n\
         uptime_in_seconds:{uptime_s}\r\nuptime_in_days:{}\r\nhz:10\r\nconfigured_hz:10\r\nlru_clock:{}\r\n\
         executable:{}\r\nconfig_file:{}\r\nio_threads_active:0\r\n",
        it.os,
        usize::BITS,
        it.pid,
        cx.node.run_id,
        cx.own_port(),
        cx.now * 1000,
        uptime_s / 86_400,
        (cx.now / 1000) & 0x00FF_FFFF,
        it.executable,
        it.config_file,
    )
}

fn clients(InfoCx { cx, .. }: &InfoCx<'_, '_>, text: &mut String) -> std::fmt::Result {
    let all = cx.node.clients();
    let activity: Vec<_> = all.iter().map(|client| client.activity()).collect();
    let blocked = activity.iter().filter(|activity| activity.blocked).count();
    let widest = |bytes: fn(&crate::state::clients::Activity) -> usize| {
        activity.iter().map(bytes).max().unwrap_or(0)
    };
    write!(
        text,
        "connected_clients:{}\r\ncluster_connections:{}\r\nmaxclients:{}\r\nclient_recent_max_input_buffer:{}\r\n\
         client_recent_max_output_buffer:{}\r\nblocked_clients:{blocked}\r\ntracking_clients:0\r\n\
         clients_in_timeout_table:0\r\n",
        all.len(),
        cluster_connections(cx),
        cx.node.settings.clients_max(),
        widest(|activity| activity.unread + activity.unread_room),
        widest(|activity| activity.unsent),
    )
}

/// The links of a node with the others, of which a pair has two.
fn cluster_connections(cx: &ServerCx<'_>) -> usize {
    match cx.server.is_clustered(cx.port) {
        true => 2 * cx.node.view(&cx.server.topology).nodes.len().saturating_sub(1),
        false => 0,
    }
}

fn memory(InfoCx { cx, .. }: &InfoCx<'_, '_>, text: &mut String) -> std::fmt::Result {
    let usage = cx.server.usage();
    for (field, bytes) in [
        ("used_memory", usage.resident),
        ("used_memory_rss", usage.resident),
        ("used_memory_peak", usage.resident_peak),
        ("total_system_memory", usage.machine_memory),
        ("maxmemory", 0),
    ] {
        write!(text, "{field}:{bytes}\r\n{field}_human:{}\r\n", human(bytes))?;
    }
    let interpreters = cx.server.script_memory.load(Ordering::Relaxed);
    let (scripts, script_bytes) = cx.node.scripts.usage();
    let libraries = cx.node.functions.all();
    let functions: usize = libraries.iter().map(|library| library.functions.len()).sum();
    write!(
        text,
        "used_memory_lua:{interpreters}\r\nused_memory_vm_eval:{interpreters}\r\nused_memory_lua_human:{}\r\n\
         used_memory_scripts_eval:{script_bytes}\r\nnumber_of_cached_scripts:{scripts}\r\n\
         number_of_functions:{functions}\r\nnumber_of_libraries:{}\r\n\
         used_memory_vm_total:{interpreters}\r\nused_memory_vm_total_human:{}\r\n\
         used_memory_scripts:{script_bytes}\r\nused_memory_scripts_human:{}\r\n",
        human(interpreters),
        libraries.len(),
        human(interpreters),
        human(script_bytes as u64),
    )?;
    let share = 100.0 * usage.resident as f64 / usage.resident_peak.max(1) as f64;
    write!(
        text,
        "used_memory_peak_perc:{share:.2}%\r\nmaxmemory_policy:noeviction\r\nmem_fragmentation_ratio:1.00\r\n\
         mem_allocator:mimalloc\r\nactive_defrag_running:0\r\n"
    )
}

fn persistence(InfoCx { cx, .. }: &InfoCx<'_, '_>, text: &mut String) -> std::fmt::Result {
    write!(
        text,
        "loading:0\r\nasync_loading:0\r\nrdb_changes_since_last_save:0\r\nrdb_bgsave_in_progress:0\r\n\
         rdb_last_save_time:{}\r\nrdb_last_bgsave_status:ok\r\nrdb_last_bgsave_time_sec:-1\r\n\
         rdb_current_bgsave_time_sec:-1\r\nrdb_saves:0\r\naof_enabled:0\r\naof_rewrite_in_progress:0\r\n\
         aof_rewrite_scheduled:0\r\naof_last_rewrite_time_sec:-1\r\naof_current_rewrite_time_sec:-1\r\n\
         aof_last_bgrewrite_status:ok\r\naof_last_write_status:ok\r\n",
        cx.server.identity.started_at / 1000,
    )
}

fn stats(InfoCx { cx, commands }: &InfoCx<'_, '_>, text: &mut String) -> std::fmt::Result {
    let stats = &cx.node.stats;
    let rate = stats.rate();
    let sum = |count: fn(&Counts) -> u64| {
        cx.shards.iter().map(|shard| count(&shard.counts())).sum::<u64>()
    };
    let pubsub = cx.node.pubsub.counts(cx.port);
    let expired_fields = cx.product.field_counts.map_or(String::new(), |(name, _)| {
        format!("{name}:{}\r\n", sum(|counts| counts.expired_fields))
    });
    write!(
        text,
        "total_connections_received:{}\r\ntotal_commands_processed:{}\r\ninstantaneous_ops_per_sec:{:.0}\r\n\
         total_net_input_bytes:{}\r\ntotal_net_output_bytes:{}\r\ninstantaneous_input_kbps:{:.2}\r\n\
         instantaneous_output_kbps:{:.2}\r\nrejected_connections:{}\r\nsync_full:0\r\nsync_partial_ok:0\r\n\
         sync_partial_err:0\r\nexpired_keys:{}\r\n{}evicted_keys:0\r\nevicted_clients:0\r\nkeyspace_hits:{}\r\n\
         keyspace_misses:{}\r\npubsub_channels:{}\r\npubsub_patterns:{}\r\npubsubshard_channels:{}\r\n\
         latest_fork_usec:0\r\ntotal_forks:0\r\nmigrate_cached_sockets:0\r\ntracking_total_keys:0\r\n\
         unexpected_error_replies:0\r\ntotal_error_replies:{}\r\n",
        stats.connections_received.get(),
        commands.calls(),
        rate.requests,
        stats.bytes_in.get(),
        stats.bytes_out.get(),
        rate.bytes_in / 1024.0,
        rate.bytes_out / 1024.0,
        stats.connections_rejected.get(),
        sum(|counts| counts.expired),
        expired_fields,
        sum(|counts| counts.hits),
        sum(|counts| counts.misses),
        pubsub.channels,
        pubsub.patterns,
        pubsub.shard_channels,
        commands.errors_total(),
    )
}

fn is_exec(spec: &Spec) -> bool {
    matches!(spec.run, Run::Session(SessionCommand::Exec))
}

fn slotway(InfoCx { cx, commands }: &InfoCx<'_, '_>, text: &mut String) -> std::fmt::Result {
    let (it, stats) = (&cx.server.identity, &cx.node.stats);
    let execs = commands.counted().find(|(id, _)| numbered(*id).is_some_and(is_exec));
    let execs = execs.map(|(_, row)| row.clone()).unwrap_or_default();
    let lost = commands.execs_lost();
    write!(
        text,
        "slotway_version:{VERSION}\r\nshards:{}\r\nthreads:{}\r\nwatched_keys:{}\r\ncrossslot_refusals:{}\r\n\
         execs_run:{}\r\nexecs_lost:{lost}\r\nexecs_refused:{}\r\n",
        it.shards,
        it.threads,
        cx.shards.iter().map(|shard| shard.watched()).sum::<usize>(),
        stats.crossslot_refusals.get(),
        execs.calls.saturating_sub(execs.failed + lost),
        execs.failed + execs.rejected,
    )
}

fn replication(InfoCx { cx, .. }: &InfoCx<'_, '_>, text: &mut String) -> std::fmt::Result {
    let endpoint = |port| cx.server.announce.endpoint(port, cx.me.local);
    let standing = |node: &Node| standing(cx, node);
    let mut offset = own_standing(cx).applied as i64;
    match cx.server.topology.replication_role(cx.port) {
        ReplicationRole::Master(replicas) => {
            offset = master_offset(&replicas, standing);
            write!(text, "role:master\r\nconnected_slaves:{}\r\n", replicas.len())?;
            for (i, replica) in replicas.iter().enumerate() {
                let (host, port) = endpoint(replica.port);
                let ReplicaStatus { applied, behind_ms, .. } = standing(replica);
                let lag_s = behind_ms / 1000;
                let line =
                    format!("ip={host},port={port},state=online,offset={applied},lag={lag_s}");
                write!(text, "slave{i}:{line}\r\n")?;
            }
        }
        ReplicationRole::ReplicaOf(master) => {
            let (host, port) = endpoint(master.port);
            let status = if master.is_up { "up" } else { "down" };
            write!(
                text,
                "role:slave\r\nmaster_host:{host}\r\nmaster_port:{port}\r\nmaster_link_status:{status}\r\n\
                 master_last_io_seconds_ago:0\r\nmaster_sync_in_progress:0\r\nslave_read_repl_offset:{offset}\r\n\
                 slave_repl_offset:{offset}\r\nslave_priority:100\r\nslave_read_only:1\r\nreplica_announced:1\r\n\
                 connected_slaves:0\r\n",
            )?;
        }
    }
    // All nodes share one replication id, the id of this run.
    write!(
        text,
        "master_failover_state:no-failover\r\nmaster_replid:{}\r\n\
         master_replid2:{}\r\nmaster_repl_offset:{offset}\r\nsecond_repl_offset:-1\r\nrepl_backlog_active:0\r\n\
         repl_backlog_size:0\r\nrepl_backlog_first_byte_offset:0\r\nrepl_backlog_histlen:0\r\n",
        cx.node.run_id,
        "0".repeat(cx.node.run_id.len()),
    )
}

fn cpu(InfoCx { cx, .. }: &InfoCx<'_, '_>, text: &mut String) -> std::fmt::Result {
    let usage = cx.server.usage();
    write!(
        text,
        "used_cpu_sys:{:.6}\r\nused_cpu_user:{:.6}\r\nused_cpu_sys_children:0.000000\r\n\
         used_cpu_user_children:0.000000\r\n",
        usage.cpu_system.as_secs_f64(),
        usage.cpu_user.as_secs_f64(),
    )
}

/// The statistics that are not empty, each with the row of its command.
pub(super) fn rows(stats: &CommandStats) -> impl Iterator<Item = (&'static Spec, &CommandCounts)> {
    stats.counted().filter_map(|(id, row)| Some((numbered(id)?, row)))
}

fn commandstats(InfoCx { cx, commands }: &InfoCx<'_, '_>, text: &mut String) -> std::fmt::Result {
    for (spec, row) in rows(commands) {
        let usec = cx.node.observer.nanos(row.ticks) / 1000;
        let each = if row.calls == 0 { 0.0 } else { usec as f64 / row.calls as f64 };
        write!(
            text,
            "cmdstat_{}:calls={},usec={usec},usec_per_call={each:.2},rejected_calls={},failed_calls={}\r\n",
            spec.full_name(),
            row.calls,
            row.rejected,
            row.failed,
        )?;
    }
    Ok(())
}

fn errorstats(InfoCx { commands, .. }: &InfoCx<'_, '_>, text: &mut String) -> std::fmt::Result {
    commands.errors().try_for_each(|(code, count)| {
        write!(text, "errorstat_{}:count={count}\r\n", String::from_utf8_lossy(code))
    })
}

fn latencystats(InfoCx { cx, commands }: &InfoCx<'_, '_>, text: &mut String) -> std::fmt::Result {
    if !cx.node.settings.tracks_latency() {
        return Ok(());
    }
    let percentiles = cx.node.settings.percentiles();
    for (spec, row) in rows(commands) {
        let Some(times) = &row.times else { continue };
        write!(text, "latency_percentiles_usec_{}:", spec.full_name())?;
        for (i, &percent) in percentiles.iter().enumerate() {
            let micros = cx.node.observer.nanos(times.percentile(percent)) as f64 / 1000.0;
            let comma = if i == 0 { "" } else { "," };
            write!(text, "{comma}p{percent}={micros:.3}")?;
        }
        text.push_str("\r\n");
    }
    Ok(())
}

fn cluster(InfoCx { cx, .. }: &InfoCx<'_, '_>, text: &mut String) -> std::fmt::Result {
    write!(text, "cluster_enabled:{}\r\n", u8::from(cx.server.mode(cx.port) == "cluster"))
}

fn keyspace(InfoCx { cx, .. }: &InfoCx<'_, '_>, text: &mut String) -> std::fmt::Result {
    // Database 0 is on the shards of the topology; each shard after them is a database of its own.
    let shards = cx.server.topology.shards();
    let mut databases: BTreeMap<usize, (usize, usize, usize)> = BTreeMap::new();
    for (number, shard) in cx.view.iter().zip(&cx.shards) {
        let (keys, expires, with_ends) =
            databases.entry((number + 1).saturating_sub(shards)).or_default();
        *keys += shard.len();
        *expires += shard.volatile();
        *with_ends += shard.with_ends();
    }
    for (database, (keys, expires, with_ends)) in databases {
        if keys > 0 {
            write!(text, "db{database}:keys={keys},expires={expires},avg_ttl=0")?;
            if let Some((_, name)) = cx.product.field_counts {
                write!(text, ",{name}={with_ends}")?;
            }
            text.push_str("\r\n");
        }
    }
    Ok(())
}

/// Formats a number of bytes for people: `0B`, `7.60M`.
fn human(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["K", "M", "G", "T", "P"];
    if bytes < 1024 {
        return format!("{bytes}B");
    }
    let (mut size, mut unit) = (bytes as f64 / 1024.0, 0);
    while size >= 1024.0 && unit + 1 < UNITS.len() {
        size /= 1024.0;
        unit += 1;
    }
    format!("{size:.2}{}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::human;

    #[test]
    fn sizes_for_people() {
        for (bytes, text) in
            [(0, "0B"), (1023, "1023B"), (1024, "1.00K"), (7_970_816, "7.60M"), (1 << 40, "1.00T")]
        {
            assert_eq!(human(bytes), text);
        }
    }
}
