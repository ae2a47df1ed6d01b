//! The section replication.

use super::super::{master_offset, own_standing, standing};
use super::{Fields, InfoCx, servers};
use crate::replication::ReplicaStatus;
use crate::topology::{Node, ReplicationRole};

pub(super) fn replication(info: &InfoCx<'_, '_>, fields: &mut Fields<'_>) {
    let cx = info.cx;
    let endpoint = |port| cx.server.announce.endpoint(port, cx.me.local);
    let standing = |node: &Node| standing(cx, node);
    let mut offset = own_standing(cx).applied as i64;
    match cx.server.topology.replication_role(cx.port) {
        ReplicationRole::Master(replicas) => {
            offset = master_offset(&replicas, standing);
            fields.put("role", "master");
            fields.put("connected_slaves", replicas.len());
            let kind = match () {
                () if info.is(servers::VALKEY9) => ",type=replica",
                // There are no threads for I/O alone.
                () if info.is(servers::REDIS8_10) => ",io-thread=0",
                () => "",
            };
            for (i, replica) in replicas.iter().enumerate() {
                let (host, port) = endpoint(replica.port);
                let ReplicaStatus { applied, behind_ms, .. } = standing(replica);
                let lag_s = behind_ms / 1000;
                fields.put(
                    &format!("slave{i}"),
                    format_args!(
                        "ip={host},port={port},state=online,offset={applied},lag={lag_s}{kind}"
                    ),
                );
            }
        }
        ReplicationRole::ReplicaOf(master) => {
            let (host, port) = endpoint(master.port);
            fields.put("role", "slave");
            fields.put("master_host", host);
            fields.put("master_port", port);
            fields.put("master_link_status", if master.is_up { "up" } else { "down" });
            link(info, master.is_up, offset, fields);
            let settings = &cx.node.settings;
            fields.put("slave_priority", settings.replica_priority());
            fields.put("slave_read_only", 1);
            fields.put("replica_announced", u8::from(settings.is_replica_announced()));
            fields.put("connected_slaves", 0);
        }
    }
    if info.is(servers::VALKEY9) {
        fields.put("replicas_waiting_psync", 0);
    }
    // All nodes share one replication id, the id of this run.
    fields.put("master_failover_state", "no-failover");
    fields.put("master_replid", &cx.node.run_id);
    fields.put("master_replid2", "0".repeat(cx.node.run_id.len()));
    fields.put("master_repl_offset", offset);
    fields.put("second_repl_offset", -1);
    // Nothing is kept for replicas that were away: none has a link that breaks.
    fields.put("repl_backlog_active", 0);
    fields.put("repl_backlog_size", cx.node.settings.backlog_size());
    fields.put_none_of(&["repl_backlog_first_byte_offset", "repl_backlog_histlen"]);
}

/// The link of a replica to its master.
fn link(info: &InfoCx<'_, '_>, is_up: bool, offset: i64, fields: &mut Fields<'_>) {
    fields.put("master_last_io_seconds_ago", if is_up { 0 } else { -1 });
    fields.put("master_sync_in_progress", 0);
    fields.put("slave_read_repl_offset", offset);
    fields.put("slave_repl_offset", offset);
    if info.is(servers::REDIS8) {
        fields.put_none_of(&[
            "replica_full_sync_buffer_size",
            "replica_full_sync_buffer_peak",
            "master_current_sync_attempts",
            "master_total_sync_attempts",
        ]);
    }
    if info.is(servers::VALKEY9) {
        fields.put_none_of(&["replicas_repl_buffer_size", "replicas_repl_buffer_peak"]);
    }
    if !is_up {
        // Since when is not known.
        fields.put("master_link_down_since_seconds", -1);
    }
    if info.is(servers::REDIS8) {
        fields.put("total_disconnect_time_sec", 0);
    }
}
