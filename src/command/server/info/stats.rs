//! The section stats, and Slotway's own.

use super::super::super::{Run, SessionCommand, Spec, numbered};
use super::clients::tracked;
use super::{Fields, InfoCx, servers};
use crate::keyspace::Counts;
use crate::state::VERSION;

pub(super) fn stats(info: &InfoCx<'_, '_>, fields: &mut Fields<'_>) {
    let stats = &info.cx.node.stats;
    let rate = stats.rate();
    fields.put("total_connections_received", stats.connections_received.get());
    fields.put("total_commands_processed", info.commands.calls());
    fields.put("instantaneous_ops_per_sec", format_args!("{:.0}", rate.requests));
    fields.put("total_net_input_bytes", stats.bytes_in.get());
    fields.put("total_net_output_bytes", stats.bytes_out.get());
    // Replicas are in the same process.
    fields.put_none_of(&["total_net_repl_input_bytes", "total_net_repl_output_bytes"]);
    if info.is(servers::VALKEY9) {
        fields.put_none_of(&[
            "total_net_cluster_slot_import_bytes",
            "total_net_cluster_slot_export_bytes",
        ]);
    }
    fields.put("instantaneous_input_kbps", format_args!("{:.2}", rate.bytes_in / 1024.0));
    fields.put("instantaneous_output_kbps", format_args!("{:.2}", rate.bytes_out / 1024.0));
    fields.put("instantaneous_input_repl_kbps", "0.00");
    fields.put("instantaneous_output_repl_kbps", "0.00");
    fields.put("rejected_connections", stats.connections_rejected.get());
    fields.put_none_of(&["sync_full", "sync_partial_ok", "sync_partial_err"]);
    expiry(info, fields);
    fields.put_none_of(&["evicted_keys", "evicted_clients"]);
    if info.is(servers::SINCE_7_2) {
        fields.put("evicted_scripts", info.cx.node.scripts.forgotten());
    }
    fields.put_none_of(&["total_eviction_exceeded_time", "current_eviction_exceeded_time"]);
    keys_and_channels(info, fields);
    traffic(info, fields);
}

fn sum(info: &InfoCx<'_, '_>, count: fn(&Counts) -> u64) -> u64 {
    info.cx.shards.iter().map(|shard| count(&shard.counts())).sum()
}

fn expiry(info: &InfoCx<'_, '_>, fields: &mut Fields<'_>) {
    let cycle = info.cx.node.stats.expiry();
    if info.is(servers::REDIS8) {
        fields.put("expired_subkeys", sum(info, |counts| counts.expired_fields));
    }
    fields.put("expired_keys", sum(info, |counts| counts.expired));
    if info.is(servers::VALKEY9) {
        fields.put("expired_fields", sum(info, |counts| counts.expired_fields));
    }
    fields.put("expired_stale_perc", format_args!("{:.2}", cycle.stale_percent));
    if info.is(servers::VALKEY9) {
        fields.put("expired_keys_with_volatile_items_stale_perc", "0.00");
    }
    fields.put("expired_time_cap_reached_count", cycle.cut_short);
    fields.put("expire_cycle_cpu_milliseconds", cycle.nanos / 1_000_000);
}

fn keys_and_channels(info: &InfoCx<'_, '_>, fields: &mut Fields<'_>) {
    let pubsub = info.cx.node.pubsub.counts(info.cx.port);
    fields.put("keyspace_hits", sum(info, |counts| counts.hits));
    fields.put("keyspace_misses", sum(info, |counts| counts.misses));
    fields.put("pubsub_channels", pubsub.channels);
    fields.put("pubsub_patterns", pubsub.patterns);
    fields.put("pubsubshard_channels", pubsub.shard_channels);
    fields.put_none_of(&[
        "latest_fork_usec",
        "total_forks",
        "migrate_cached_sockets",
        "slave_expires_tracked_keys",
        "active_defrag_hits",
        "active_defrag_misses",
        "active_defrag_key_hits",
        "active_defrag_key_misses",
        "total_active_defrag_time",
        "current_active_defrag_time",
    ]);
    let tracked = tracked(info.cx);
    fields.put("tracking_total_keys", tracked.keys);
    fields.put("tracking_total_items", tracked.items);
    fields.put("tracking_total_prefixes", tracked.prefixes);
}

fn traffic(info: &InfoCx<'_, '_>, fields: &mut Fields<'_>) {
    let stats = &info.cx.node.stats;
    fields.put("unexpected_error_replies", 0);
    fields.put("total_error_replies", info.commands.errors_total());
    fields.put("dump_payload_sanitizations", sum(info, |counts| counts.payloads_checked));
    fields.put("total_reads_processed", stats.reads.get());
    fields.put("total_writes_processed", stats.writes.get());
    fields.put_none_of(&["io_threaded_reads_processed", "io_threaded_writes_processed"]);
    if info.is(servers::VALKEY9) {
        fields.put_none_of(&[
            "io_threaded_freed_objects",
            "io_threaded_accept_processed",
            "io_threaded_poll_processed",
        ]);
    }
    if info.is(servers::SINCE_7_2) {
        fields.put_none_of(&[
            "io_threaded_total_prefetch_batches",
            "io_threaded_total_prefetch_entries",
        ]);
        fields.put("client_query_buffer_limit_disconnections", stats.input_limit_closes.get());
        let closed = info.cx.covered().iter().map(|node| node.settings.outbox_limits().closed());
        fields.put("client_output_buffer_limit_disconnections", closed.sum::<u64>());
    }
    fields.put_none_of(&["reply_buffer_shrinks", "reply_buffer_expands"]);
    if info.is(servers::SINCE_7_2) {
        // There is no loop of events that all clients share.
        fields.put_none_of(&[
            "eventloop_cycles",
            "eventloop_duration_sum",
            "eventloop_duration_cmd_sum",
            "instantaneous_eventloop_cycles_per_sec",
            "instantaneous_eventloop_duration_usec",
        ]);
        let wrong_passwords = info.commands.errors().find(|(code, _)| *code == b"WRONGPASS");
        fields.put("acl_access_denied_auth", wrong_passwords.map_or(0, |(_, count)| count));
        fields.put_none_of(&[
            "acl_access_denied_cmd",
            "acl_access_denied_key",
            "acl_access_denied_channel",
        ]);
    }
    if info.is(servers::VALKEY9) {
        fields.put_none_of(&["acl_access_denied_tls_cert", "acl_access_denied_db"]);
    }
}

fn is_exec(spec: &Spec) -> bool {
    matches!(spec.run, Run::Session(SessionCommand::Exec))
}

pub(super) fn slotway(info: &InfoCx<'_, '_>, fields: &mut Fields<'_>) {
    let InfoCx { cx, commands } = info;
    let (it, stats) = (&cx.server.identity, &cx.node.stats);
    let execs = commands.counted().find(|(id, _)| numbered(*id).is_some_and(is_exec));
    let execs = execs.map(|(_, row)| row.clone()).unwrap_or_default();
    let lost = commands.execs_lost();
    fields.put("slotway_version", VERSION);
    fields.put("shards", it.shards);
    fields.put("threads", it.threads);
    fields.put("watched_keys", cx.shards.iter().map(|shard| shard.watched()).sum::<usize>());
    fields.put("crossslot_refusals", stats.crossslot_refusals.get());
    fields.put("execs_run", execs.calls.saturating_sub(execs.failed + lost));
    fields.put("execs_lost", lost);
    fields.put("execs_refused", execs.failed + execs.rejected);
}
