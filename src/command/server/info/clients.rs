//! The section clients.

use super::super::super::ServerCx;
use super::{Fields, InfoCx, servers};
use crate::state::Paused;
use crate::state::clients::Activity;
use crate::state::tracking::TrackingCounts;

pub(super) fn clients(info: &InfoCx<'_, '_>, fields: &mut Fields<'_>) {
    let cx = info.cx;
    let all = cx.node.clients();
    let activity: Vec<_> = all.iter().map(|client| client.activity()).collect();
    let count =
        |counts: fn(&Activity) -> bool| activity.iter().filter(|activity| counts(activity)).count();
    let widest =
        |bytes: fn(&Activity) -> usize| activity.iter().map(bytes).max().unwrap_or_default();
    fields.put("connected_clients", all.len());
    fields.put("cluster_connections", cluster_connections(cx));
    fields.put("maxclients", cx.node.settings.clients_max());
    fields.put("client_recent_max_input_buffer", widest(|it| it.unread + it.unread_room));
    fields.put("client_recent_max_output_buffer", widest(|it| it.unsent));
    fields.put("blocked_clients", count(|it| it.blocked));
    fields.put("tracking_clients", tracked(info.cx).clients);
    if info.is(servers::SINCE_7_2) {
        let listens = all.iter().filter(|client| !client.subscription_counts().is_empty());
        fields.put("pubsub_clients", listens.count());
        fields.put("watching_clients", count(|it| it.watched > 0));
    }
    fields.put("clients_in_timeout_table", count(|it| it.blocked && it.times_out));
    if info.is(servers::SINCE_7_2) {
        let watched: usize = cx.shards.iter().map(|shard| shard.watched()).sum();
        fields.put("total_watched_keys", watched);
    }
    if info.is(servers::VALKEY9) {
        pause(cx, fields);
    }
}

/// The links of a node with the others, of which a pair has two.
fn cluster_connections(cx: &ServerCx<'_>) -> usize {
    match cx.server.is_clustered(cx.port) {
        true => 2 * cx.node.view(&cx.server.topology).nodes.len().saturating_sub(1),
        false => 0,
    }
}

fn pause(cx: &ServerCx<'_>, fields: &mut Fields<'_>) {
    let (reason, actions, left_ms) = match cx.node.pause.at(cx.now) {
        Some((Paused::All, until)) => ("client_pause", "all", until - cx.now),
        Some((Paused::Writes, until)) => ("client_pause", "write", until - cx.now),
        None => ("none", "none", 0),
    };
    fields.put("paused_reason", reason);
    fields.put("paused_actions", actions);
    fields.put("paused_timeout_milliseconds", left_ms);
}

/// What is tracked at the ports that this one covers.
pub(super) fn tracked(cx: &ServerCx<'_>) -> TrackingCounts {
    cx.covered().iter().map(|node| node.tracking.counts()).fold(
        TrackingCounts::default(),
        |sum, counts| TrackingCounts {
            clients: sum.clients + counts.clients,
            keys: sum.keys + counts.keys,
            items: sum.items + counts.items,
            prefixes: sum.prefixes + counts.prefixes,
        },
    )
}
