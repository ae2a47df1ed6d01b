//! The section persistence: nothing is saved, so nothing of it ever changes.

use super::{Fields, InfoCx, servers};

pub(super) fn persistence(info: &InfoCx<'_, '_>, fields: &mut Fields<'_>) {
    fields.put_none_of(&[
        "loading",
        "async_loading",
        "current_cow_peak",
        "current_cow_size",
        "current_cow_size_age",
    ]);
    fields.put("current_fork_perc", "0.00");
    fields.put_none_of(&[
        "current_save_keys_processed",
        "current_save_keys_total",
        "rdb_changes_since_last_save",
        "rdb_bgsave_in_progress",
    ]);
    fields.put("rdb_last_save_time", info.cx.server.identity.started_at / 1000);
    fields.put("rdb_last_bgsave_status", "ok");
    fields.put("rdb_last_bgsave_time_sec", -1);
    fields.put("rdb_current_bgsave_time_sec", -1);
    fields.put_none_of(&[
        "rdb_saves",
        "rdb_last_cow_size",
        "rdb_last_load_keys_expired",
        "rdb_last_load_keys_loaded",
        "aof_enabled",
        "aof_rewrite_in_progress",
        "aof_rewrite_scheduled",
    ]);
    fields.put("aof_last_rewrite_time_sec", -1);
    fields.put("aof_current_rewrite_time_sec", -1);
    fields.put("aof_last_bgrewrite_status", "ok");
    fields.put_none_of(&["aof_rewrites", "aof_rewrites_consecutive_failures"]);
    fields.put("aof_last_write_status", "ok");
    fields.put_none_of(&[
        "aof_last_cow_size",
        "module_fork_in_progress",
        "module_fork_last_cow_size",
    ]);
    if info.is(servers::VALKEY9) {
        fields.put("slot_migration_fork_in_progress", 0);
    }
}
