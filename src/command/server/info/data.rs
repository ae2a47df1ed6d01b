//! The sections cluster and keyspace.

use super::super::super::cluster::info_lines;
use super::{Fields, InfoCx, servers};
use std::collections::BTreeMap;

pub(super) fn cluster(info: &InfoCx<'_, '_>, fields: &mut Fields<'_>) {
    let cx = info.cx;
    fields.put("cluster_enabled", u8::from(cx.server.mode(cx.port) == "cluster"));
}

/// What CLUSTER INFO says; nothing on a port without cluster support.
pub(super) fn cluster_info(info: &InfoCx<'_, '_>, fields: &mut Fields<'_>) {
    if info.cx.server.is_clustered(info.cx.port) {
        fields.put_lines(&info_lines(info.cx));
    }
}

pub(super) fn keyspace(info: &InfoCx<'_, '_>, fields: &mut Fields<'_>) {
    let cx = info.cx;
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
        if keys == 0 {
            continue;
        }
        let more = match () {
            () if info.is(servers::REDIS8) => format!(",subexpiry={with_ends}"),
            () if info.is(servers::VALKEY9) => format!(",keys_with_volatile_items={with_ends}"),
            () => String::new(),
        };
        let name = format!("db{database}");
        fields.put(&name, format_args!("keys={keys},expires={expires},avg_ttl=0{more}"));
    }
}
