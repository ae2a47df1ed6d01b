//! The process: the sections server, threads, TLS, CPU and modules.

use super::{Fields, InfoCx, servers};
use crate::dialect::Module;

pub(super) fn server(info: &InfoCx<'_, '_>, fields: &mut Fields<'_>) {
    let (cx, product) = (info.cx, info.cx.product);
    let it = &cx.server.identity;
    let uptime_s = (cx.now - it.started_at).max(0) / 1000;
    let mode = cx.server.mode(cx.port);
    fields.put("redis_version", product.redis_version);
    if product.names_itself {
        let name = product.name;
        fields.put("server_name", name);
        fields.put(&format!("{name}_version"), product.version);
        fields.put(&format!("{name}_release_stage"), "ga");
    }
    // Not of this program, which has a version in a section of its own.
    fields.put("redis_git_sha1", "00000000");
    fields.put("redis_git_dirty", 0);
    fields.put("redis_build_id", "0");
    fields.put(if product.names_itself { "server_mode" } else { "redis_mode" }, mode);
    fields.put("os", &it.os);
    fields.put("arch_bits", usize::BITS);
    fields.put("monotonic_clock", clock(info));
    fields.put("multiplexing_api", if cfg!(target_os = "linux") { "epoll" } else { "kqueue" });
    if !info.is(servers::VALKEY9) {
        fields.put("atomicvar_api", "rust-builtin");
    }
    // What a server says that was not compiled by it.
    fields.put("gcc_version", "0.0.0");
    fields.put("process_id", it.pid);
    fields.put("process_supervised", "no");
    fields.put("run_id", &cx.node.run_id);
    fields.put("tcp_port", cx.own_port());
    fields.put("server_time_usec", cx.now * 1000);
    fields.put("uptime_in_seconds", uptime_s);
    fields.put("uptime_in_days", uptime_s / 86_400);
    fields.put("hz", 10);
    fields.put("configured_hz", 10);
    if info.is(servers::VALKEY9) {
        fields.put("clients_hz", 10);
    }
    fields.put("lru_clock", (cx.now / 1000) & 0x00FF_FFFF);
    fields.put("executable", &it.executable);
    fields.put("config_file", &it.config_file);
    fields.put("io_threads_active", 0);
    if info.is(servers::VALKEY9) {
        let zone = cx.node.settings.availability_zone();
        fields.put("availability_zone", String::from_utf8_lossy(&zone));
    }
    if info.is(servers::SINCE_7_2) {
        let bind = cx.node.settings.bind();
        let addresses = bind.split(' ').map(|address| format!(",bind={address}"));
        let addresses = addresses.collect::<String>();
        fields.put("listener0", format_args!("name=tcp{addresses},port={}", cx.own_port()));
    }
}

/// Names the clock that commands are measured with.
fn clock(info: &InfoCx<'_, '_>) -> String {
    let ticks_per_us = 1e9 / info.cx.node.observer.nanos(1_000_000).max(1) as f64;
    match () {
        () if (999.9..1000.1).contains(&ticks_per_us) => "POSIX clock_gettime".to_owned(),
        () if cfg!(target_arch = "x86_64") => format!("X86 TSC @ {ticks_per_us:.0} ticks/us"),
        () => format!("ARM CNTVCT @ {ticks_per_us:.0} ticks/us"),
    }
}

/// There are no threads for input and output alone: the one that is shown stands for all.
pub(super) fn threads(info: &InfoCx<'_, '_>, fields: &mut Fields<'_>) {
    let stats = &info.cx.node.stats;
    let (clients, reads, writes) =
        (info.cx.node.clients().len(), stats.reads.get(), stats.writes.get());
    fields.put("io_thread_0", format_args!("clients={clients},reads={reads},writes={writes}"));
}

/// No port speaks TLS.
pub(super) fn tls(_: &InfoCx<'_, '_>, fields: &mut Fields<'_>) {
    for whose in ["server", "client", "ca"] {
        fields.put(&format!("tls_{whose}_cert_serial"), "none");
        fields.put(&format!("tls_{whose}_cert_expires_in_seconds"), 0);
    }
}

pub(super) fn cpu(info: &InfoCx<'_, '_>, fields: &mut Fields<'_>) {
    let usage = info.cx.server.usage();
    let mut put = |name, time: std::time::Duration| {
        fields.put(name, format_args!("{:.6}", time.as_secs_f64()));
    };
    put("used_cpu_sys", usage.cpu_system);
    put("used_cpu_user", usage.cpu_user);
    put("used_cpu_sys_children", std::time::Duration::ZERO);
    put("used_cpu_user_children", std::time::Duration::ZERO);
    put("used_cpu_sys_main_thread", usage.cpu_system_main);
    put("used_cpu_user_main_thread", usage.cpu_user_main);
    if info.is(servers::VALKEY9) {
        put("used_active_time_main_thread", usage.cpu_system_main + usage.cpu_user_main);
    }
}

pub(super) fn modules(info: &InfoCx<'_, '_>, fields: &mut Fields<'_>) {
    for Module { name, version } in info.cx.product.modules() {
        let rest = "api=1,filters=0,usedby=[],using=[],options=[handle-io-errors]";
        fields.put("module", format_args!("name={name},ver={version},{rest}"));
    }
}
