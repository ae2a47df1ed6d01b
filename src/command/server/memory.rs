//! MEMORY: the memory of keys and of the process.

use super::super::spec::access::RO;
use super::super::spec::flag::{LOADING, STALE};
use super::super::spec::{Keys, LOADING_IN_VALKEY};
use super::super::{Cx, help};
use super::*;

/// Defaults of the subcommands' rows.
const MEMORY: Spec = Spec { parent: "memory", arity: Exactly(2), since: "4.0.0", ..SERVER };

pub(super) const ROW: Spec = Spec {
    name: "memory",
    arity: AtLeast(2),
    since: "4.0.0",
    complexity: "Depends on subcommand.",
    summary: "Holds the commands about memory.",
    subcommands: &[
        Spec {
            name: "doctor",
            tips: &[
                "nondeterministic_output",
                "request_policy:all_shards",
                "response_policy:special",
            ],
            summary: "Returns a summary of the memory in use.",
            run: Run::Cluster(doctor),
            ..MEMORY
        },
        Spec {
            name: "help",
            flags: LOADING | STALE,
            summary: "Lists the subcommands.",
            run: Run::Server(|cx, _, out| {
                help(&ROW, cx.product, out);
                Ok(())
            }),
            ..MEMORY
        },
        Spec {
            name: "malloc-stats",
            variants: LOADING_IN_VALKEY,
            complexity: "Depends on how much memory is allocated, could be slow",
            tips: &[
                "nondeterministic_output",
                "request_policy:all_shards",
                "response_policy:special",
            ],
            summary: "Returns the allocator's statistics, of which this build has none.",
            run: Run::Server(|_, _, out| {
                out.verbatim(*b"txt", b"mimalloc is built without statistics\n");
                Ok(())
            }),
            ..MEMORY
        },
        Spec {
            name: "purge",
            variants: LOADING_IN_VALKEY,
            complexity: "Depends on how much memory is allocated, could be slow",
            tips: &["request_policy:all_shards", "response_policy:all_succeeded"],
            summary: "Does nothing: the allocator returns free memory by itself.",
            run: Run::Server(|_, _, out| {
                out.ok();
                Ok(())
            }),
            ..MEMORY
        },
        Spec {
            name: "stats",
            tips: &[
                "nondeterministic_output",
                "request_policy:all_shards",
                "response_policy:special",
            ],
            summary: "Returns the memory in use by purpose, in bytes.",
            run: Run::Cluster(stats),
            ..MEMORY
        },
        Spec {
            name: "usage",
            arity: AtLeast(3),
            flags: READ,
            keys: &[Keys::at(RO, 2)],
            complexity: "O(N) where N is the number of samples.",
            summary: "Returns the memory of a key and its value, in bytes.",
            run: Run::Shard(usage),
            ..MEMORY
        },
    ],
    ..SERVER
};

/// MEMORY USAGE key [SAMPLES count]: nothing is estimated from samples, so the count is only
/// checked.
fn usage(cx: &mut Cx<'_>, args: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    for at in (3..args.len()).step_by(2) {
        if !args.is(at, "samples") || at + 1 >= args.len() {
            return Err(Refusal::SYNTAX);
        }
        if args.int(at + 1)? < 0 {
            return Err(Refusal::SYNTAX);
        }
    }
    let key = cx.key(args.at(2));
    match cx.keyspace.peek(key) {
        None => out.null(),
        Some(entry) => {
            cx.pace.step(entry.value().weight());
            out.count(entry.memory());
        }
    }
    Ok(())
}

/// The memory of the process by purpose, in bytes.
pub(super) struct Usage {
    pub(super) resident: u64,
    pub(super) peak: u64,
    /// What was resident before the first client.
    pub(super) startup: u64,
    /// Of the machine.
    pub(super) machine: u64,
    pub(super) clients: usize,
    pub(super) scripts: usize,
    pub(super) functions: usize,
    /// Changes on their way to replicas.
    pub(super) replication: usize,
    /// The number of keys.
    keys: usize,
}

impl Usage {
    pub(super) fn of(cx: &ServerCx<'_>) -> Self {
        let usage = cx.server.usage();
        let libraries = cx.node.functions.all();
        Self {
            resident: usage.resident,
            peak: usage.resident_peak,
            startup: cx.server.startup_memory,
            machine: usage.machine_memory,
            clients: cx.node.clients().iter().map(|client| client.memory()).sum(),
            scripts: cx.node.scripts.usage().1,
            functions: libraries.iter().map(|library| library.code.len()).sum(),
            replication: cx.server.replication_streams.memory(),
            keys: cx.shards.iter().map(|shard| shard.len()).sum(),
        }
    }

    /// What is not keys and values, as far as it is counted.
    pub(super) fn overhead(&self) -> u64 {
        let counted = self.clients + self.scripts + self.functions + self.replication;
        self.startup + counted as u64
    }

    /// Keys and values, and what is not counted.
    pub(super) fn data(&self) -> u64 {
        self.resident.saturating_sub(self.overhead())
    }

    fn bytes_per_key(&self) -> u64 {
        self.resident.checked_div(self.keys as u64).unwrap_or(0)
    }

    fn peak_percentage(&self) -> f64 {
        if self.peak == 0 { 0.0 } else { 100.0 * self.resident as f64 / self.peak as f64 }
    }
}

/// MEMORY STATS. What Slotway does not have takes 0 bytes.
fn stats(cx: &mut ServerCx<'_>, _: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let usage = Usage::of(cx);
    let numbers = [
        ("peak.allocated", usage.peak),
        ("total.allocated", usage.resident),
        ("startup.allocated", usage.startup),
        ("replication.backlog", usage.replication as u64),
        ("clients.slaves", 0),
        ("clients.normal", usage.clients as u64),
        ("cluster.links", 0),
        ("aof.buffer", 0),
        ("lua.caches", usage.scripts as u64),
        ("functions.caches", usage.functions as u64),
        ("overhead.total", usage.overhead()),
        ("keys.count", usage.keys as u64),
        ("keys.bytes-per-key", usage.bytes_per_key()),
        ("dataset.bytes", usage.data()),
    ];
    out.map(numbers.len() + 1);
    for (name, number) in numbers {
        out.bulk(name.as_bytes());
        out.int(number.cast_signed());
    }
    out.bulk(b"peak.percentage");
    out.double(usage.peak_percentage());
    Ok(())
}

/// MEMORY DOCTOR
fn doctor(cx: &mut ServerCx<'_>, _: Args<'_>, out: &mut Sink<'_>) -> Outcome {
    let usage = Usage::of(cx);
    let text = format!(
        "{} bytes are resident, {:.0}% of the peak. {} keys, {} bytes per key on average, {} bytes of client \
         buffers. MEMORY USAGE shows the memory of one key.\n",
        usage.resident,
        usage.peak_percentage(),
        usage.keys,
        usage.bytes_per_key(),
        usage.clients,
    );
    out.verbatim(*b"txt", text.as_bytes());
    Ok(())
}
