//! The sections memory and scripting engines.
//!
//! The allocator keeps no statistics, so all memory in use is what is resident, as with a Redis that is
//! built with such an allocator.

use super::super::memory::Usage;
use super::fields::human;
use super::{Fields, InfoCx, servers};
use std::sync::atomic::Ordering;

pub(super) fn memory(info: &InfoCx<'_, '_>, fields: &mut Fields<'_>) {
    let usage = Usage::of(info.cx);
    let share = |part: u64, of: u64| format!("{:.2}%", 100.0 * part as f64 / of.max(1) as f64);
    fields.put_bytes("used_memory", usage.resident);
    fields.put_bytes("used_memory_rss", usage.resident);
    fields.put_bytes("used_memory_peak", usage.peak);
    fields.put("used_memory_peak_perc", share(usage.resident, usage.peak));
    fields.put("used_memory_overhead", usage.overhead());
    fields.put("used_memory_startup", usage.startup);
    fields.put("used_memory_dataset", usage.data());
    let since_start = usage.resident.saturating_sub(usage.startup);
    fields.put("used_memory_dataset_perc", share(usage.data().min(since_start), since_start));
    for name in ["allocator_allocated", "allocator_active", "allocator_resident"] {
        fields.put(name, usage.resident);
    }
    if info.is(servers::SINCE_7_2) {
        fields.put("allocator_muzzy", 0);
    }
    fields.put_bytes("total_system_memory", usage.machine);
    scripts(info, &usage, fields);
    fields.put_bytes("maxmemory", 0);
    fields.put("maxmemory_policy", "noeviction");
    for name in ["allocator_frag", "allocator_rss", "rss_overhead", "mem_fragmentation"] {
        fields.put(&format!("{name}_ratio"), "1.00");
        fields.put(&format!("{name}_bytes"), 0);
    }
    fields.put("mem_not_counted_for_evict", 0);
    fields.put("mem_replication_backlog", usage.replication);
    fields.put("mem_total_replication_buffers", usage.replication);
    if info.is(servers::REDIS8) {
        fields.put("mem_replica_full_sync_buffer", 0);
    }
    if info.is(servers::VALKEY9) {
        fields.put("mem_replicas_repl_buffer", 0);
    }
    fields.put("mem_clients_slaves", 0);
    fields.put("mem_clients_normal", usage.clients);
    fields.put("mem_cluster_links", 0);
    if info.is(servers::VALKEY9) {
        fields.put_none_of(&["mem_cluster_slot_import", "mem_cluster_slot_export"]);
    }
    fields.put("mem_aof_buffer", 0);
    fields.put("mem_allocator", "mimalloc");
    if info.is(servers::SINCE_7_2) {
        fields.put("mem_overhead_db_hashtable_rehashing", 0);
    }
    fields.put("active_defrag_running", 0);
    // What is slow to free is freed when its shard is released, and INFO holds all shards.
    fields.put("lazyfree_pending_objects", 0);
    let freed: u64 = info.cx.shards.iter().map(|shard| shard.counts().freed_lazily).sum();
    fields.put("lazyfreed_objects", freed);
}

/// The interpreters run both scripts and functions; they count as those of scripts.
fn scripts(info: &InfoCx<'_, '_>, usage: &Usage, fields: &mut Fields<'_>) {
    let cx = info.cx;
    let interpreters = cx.server.script_memory.load(Ordering::Relaxed);
    let libraries = cx.node.functions.all();
    let functions: usize = libraries.iter().map(|library| library.functions.len()).sum();
    let kept = (usage.scripts + usage.functions) as u64;
    fields.put("used_memory_lua", interpreters);
    fields.put("used_memory_vm_eval", interpreters);
    fields.put("used_memory_lua_human", human(interpreters));
    fields.put("used_memory_scripts_eval", usage.scripts);
    fields.put("number_of_cached_scripts", cx.node.scripts.usage().0);
    fields.put("number_of_functions", functions);
    fields.put("number_of_libraries", libraries.len());
    fields.put("used_memory_vm_functions", 0);
    fields.put_bytes("used_memory_vm_total", interpreters);
    fields.put("used_memory_functions", usage.functions);
    fields.put_bytes("used_memory_scripts", kept);
}

pub(super) fn engines(info: &InfoCx<'_, '_>, fields: &mut Fields<'_>) {
    let bytes = info.cx.server.script_memory.load(Ordering::Relaxed);
    fields.put("engines_count", 1);
    fields.put("engines_total_used_memory", bytes);
    fields.put("engines_total_memory_overhead", 0);
    fields.put(
        "engine_0",
        format_args!(
            "name=LUA,module=built-in,abi_version=4,used_memory={bytes},memory_overhead=0"
        ),
    );
}
