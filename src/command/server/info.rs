//! INFO: what monitoring reads, section by section.
//!
//! The fields are Redis' where we have what they tell; `# Slotway` holds what only we have. All
//! shards are held while it is written, so that the numbers of one reply belong together.

use super::*;
use crate::host::{REDIS_VERSION, VERSION};
use crate::keyspace::Counts;
use std::fmt::Write;

pub(super) const ROW: Spec = Spec {
    name: "info",
    arity: AtLeast(1),
    flags: LOADING | STALE,
    acl: acl::DANGEROUS,
    tips: &["nondeterministic_output", "request_policy:all_shards", "response_policy:special"],
    summary: "Tells the state of the server and what it has counted, all of it or by section.",
    run: Run::Cluster(info),
    ..SERVER
};

/// Appends a section's `name:value` lines.
type Section = fn(&HostCx<'_>, &mut String) -> std::fmt::Result;

/// The sections in the order shown, with the heading each has.
const SECTIONS: &[(&str, Section)] = &[
    ("Server", server),
    ("Clients", clients),
    ("Memory", memory),
    ("Persistence", persistence),
    ("Stats", stats),
    ("Slotway", slotway),
    ("Replication", replication),
    ("CPU", cpu),
    ("Cluster", cluster),
    ("Keyspace", keyspace),
];

fn info(cx: &mut HostCx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let is_all = |word: &[u8]| {
        ["all", "everything", "default"].iter().any(|all| word.eq_ignore_ascii_case(all.as_bytes()))
    };
    let all = args.len() == 1 || args.from(1).any(is_all);
    let mut text = String::new();
    for &(heading, section) in SECTIONS {
        if all || args.from(1).any(|word| word.eq_ignore_ascii_case(heading.as_bytes())) {
            if !text.is_empty() {
                text.push_str("\r\n");
            }
            let _ = write!(text, "# {heading}\r\n");
            // Writing into memory does not fail.
            let _ = section(cx, &mut text);
        }
    }
    out.verbatim(*b"txt", text.as_bytes());
    Ok(())
}

fn server(cx: &HostCx<'_>, text: &mut String) -> std::fmt::Result {
    let it = &cx.host.identity;
    let uptime_s = (cx.now - it.started_at).max(0) / 1000;
    let multiplexing = if cfg!(target_os = "linux") { "epoll" } else { "kqueue" };
    write!(
        text,
        "redis_version:{REDIS_VERSION}\r\nredis_mode:{}\r\nos:{}\r\narch_bits:{}\r\nmultiplexing_api:{multiplexing}\r\n\
         process_id:{}\r\nrun_id:{}\r\ntcp_port:{}\r\nserver_time_usec:{}\r\nuptime_in_seconds:{uptime_s}\r\n\
         uptime_in_days:{}\r\nexecutable:{}\r\nconfig_file:{}\r\n",
        it.mode,
        it.os,
        usize::BITS,
        it.pid,
        cx.host.run_id,
        it.port,
        cx.now * 1000,
        uptime_s / 86_400,
        it.executable,
        it.config_file,
    )
}

fn clients(cx: &HostCx<'_>, text: &mut String) -> std::fmt::Result {
    let blocked = cx.host.clients.all().iter().filter(|client| client.activity().blocked).count();
    write!(
        text,
        "connected_clients:{}\r\nmaxclients:{}\r\nblocked_clients:{blocked}\r\n",
        cx.host.clients.count(),
        cx.host.settings.clients_max(),
    )
}

fn memory(cx: &HostCx<'_>, text: &mut String) -> std::fmt::Result {
    let usage = cx.host.usage();
    for (field, bytes) in [
        ("used_memory", usage.resident),
        ("used_memory_rss", usage.resident),
        ("used_memory_peak", usage.resident_peak),
        ("maxmemory", 0),
    ] {
        write!(text, "{field}:{bytes}\r\n{field}_human:{}\r\n", human(bytes))?;
    }
    write!(text, "maxmemory_policy:noeviction\r\nmem_allocator:mimalloc\r\n")
}

fn persistence(cx: &HostCx<'_>, text: &mut String) -> std::fmt::Result {
    write!(
        text,
        "loading:0\r\nasync_loading:0\r\nrdb_changes_since_last_save:0\r\nrdb_bgsave_in_progress:0\r\n\
         rdb_last_save_time:{}\r\nrdb_last_bgsave_status:ok\r\naof_enabled:0\r\naof_rewrite_in_progress:0\r\n",
        cx.host.identity.started_at / 1000,
    )
}

fn stats(cx: &HostCx<'_>, text: &mut String) -> std::fmt::Result {
    let stats = &cx.host.stats;
    let sum = |count: fn(&Counts) -> u64| {
        cx.shards.iter().map(|shard| count(&shard.counts())).sum::<u64>()
    };
    write!(
        text,
        "total_connections_received:{}\r\ntotal_commands_processed:{}\r\ntotal_net_input_bytes:{}\r\n\
         total_net_output_bytes:{}\r\nrejected_connections:{}\r\nexpired_keys:{}\r\nevicted_keys:0\r\n\
         keyspace_hits:{}\r\nkeyspace_misses:{}\r\npubsub_channels:0\r\npubsub_patterns:0\r\ntotal_error_replies:{}\r\n",
        stats.connections_received.get(),
        stats.commands.get(),
        stats.bytes_in.get(),
        stats.bytes_out.get(),
        stats.connections_rejected.get(),
        sum(|counts| counts.expired),
        sum(|counts| counts.hits),
        sum(|counts| counts.misses),
        stats.errors.get(),
    )
}

fn slotway(cx: &HostCx<'_>, text: &mut String) -> std::fmt::Result {
    let (it, stats) = (&cx.host.identity, &cx.host.stats);
    write!(
        text,
        "slotway_version:{VERSION}\r\nshards:{}\r\nthreads:{}\r\nwatched_keys:{}\r\ncrossslot_refusals:{}\r\n\
         execs_run:{}\r\nexecs_lost:{}\r\nexecs_refused:{}\r\n",
        it.shards,
        it.threads,
        cx.shards.iter().map(|shard| shard.watched()).sum::<usize>(),
        stats.crossslot_refusals.get(),
        stats.execs_run.get(),
        stats.execs_lost.get(),
        stats.execs_refused.get(),
    )
}

fn replication(cx: &HostCx<'_>, text: &mut String) -> std::fmt::Result {
    // A process without replicas has one history, named by its run.
    write!(
        text,
        "role:master\r\nconnected_slaves:0\r\nmaster_failover_state:no-failover\r\nmaster_replid:{}\r\n\
         master_repl_offset:0\r\n",
        cx.host.run_id,
    )
}

fn cpu(cx: &HostCx<'_>, text: &mut String) -> std::fmt::Result {
    let usage = cx.host.usage();
    write!(
        text,
        "used_cpu_sys:{:.6}\r\nused_cpu_user:{:.6}\r\n",
        usage.cpu_system.as_secs_f64(),
        usage.cpu_user.as_secs_f64(),
    )
}

fn cluster(cx: &HostCx<'_>, text: &mut String) -> std::fmt::Result {
    write!(text, "cluster_enabled:{}\r\n", u8::from(cx.host.identity.mode == "cluster"))
}

fn keyspace(cx: &HostCx<'_>, text: &mut String) -> std::fmt::Result {
    let keys: usize = cx.shards.iter().map(|shard| shard.len()).sum();
    let expires: usize = cx.shards.iter().map(|shard| shard.volatile()).sum();
    if keys == 0 {
        return Ok(());
    }
    write!(text, "db0:keys={keys},expires={expires},avg_ttl=0\r\n")
}

/// A number of bytes as people read it: `0B`, `7.60M`.
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
