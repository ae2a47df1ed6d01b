//! The fields of INFO beside those of the real servers: the same sections, the same fields in the same
//! order, values of the same form, at a master, at its replica and at the router port. [`LACKING`] has
//! what Slotway does not show, and why.

use crate::nodes::{Shape, Stage};
use crate::oracle::Reference;
use crate::references::start_cluster;
use crate::server_process::ServerProcess;
use crate::wire::{Client, Reply};

/// A section of our own, at its place among the others.
const OWN: &str = "Slotway";

/// Fields, or whole sections, of these servers that Slotway does not show, and why.
const LACKING: &[(&[Reference], &str, &str)] = &[
    (
        NEWER,
        "module",
        "Valkey's interpreter and Redis' vector sets are modules; there are none here",
    ),
    (NEWER, "total_blocking_keys", "the keys that clients wait for are not counted"),
    (NEWER, "total_blocking_keys_on_nokey", "the same"),
    (REDIS8, "used_memory_peak_time", "when the peak was is not known"),
    (REDIS8, "master_link_up_since_seconds", "since when a link is up is not known"),
    (REDIS8, "# Keysizes", "the sizes of values are not counted"),
    (REDIS8, "db0_distrib_*", "the same"),
    (REDIS810, "active_clients", "the clients of the last seconds are not counted"),
    (REDIS810, "used_memory_hash_templates", "hashes have no templates"),
    (REDIS810, "hash_templates", "the same"),
    (REDIS810, "hash_template_keys", "the same"),
    (REDIS810, "mem_clients_normal_shared", "nothing is shared between output buffers"),
    (REDIS810, "mem_clients_normal_unshared", "the same"),
    (REDIS810, "mem_cluster_slot_migration_output_buffer", "slots move in one step"),
    (REDIS810, "mem_cluster_slot_migration_input_buffer", "the same"),
    (REDIS810, "mem_cluster_slot_migration_input_buffer_peak", "the same"),
    (REDIS810, "rdb_saves_consecutive_failures", "nothing is saved"),
    (REDIS810, "backup_in_progress", "there are no backups"),
    (REDIS810, "expired_subkeys_active", "how a field expired is not counted"),
    (REDIS810, "expired_keys_active", "the same of keys"),
    (REDIS810, "eventloop_cycles_with_clients_processing", "batches are not counted"),
    (REDIS810, "total_client_processing_events", "the same"),
    (REDIS810, "avg_pipeline_length_sum", "the same"),
    (REDIS810, "avg_pipeline_length_cnt", "the same"),
    (REDIS810, "avg_pipeline_length", "the same"),
    (REDIS810, "slowlog_commands_count", "slow commands are not summed up"),
    (REDIS810, "slowlog_commands_time_ms_max", "the same"),
    (REDIS810, "slowlog_commands_time_ms_sum", "the same"),
    (REDIS810, "acl_access_denied_tls_cert", "no port speaks TLS"),
    (REDIS810, "master_client_io_thread", "there are no threads for I/O alone"),
    (REDIS810, "# Hotkeys", "hot keys are not looked for"),
];

const NEWER: &[Reference] = &[Reference::Redis8, Reference::Redis810, Reference::Valkey];
const REDIS810: &[Reference] = &[Reference::Redis810];
const REDIS8: &[Reference] = &[Reference::Redis8, Reference::Redis810];

/// Fields that one server has and another of the same version may not have at that moment.
const TRANSIENT: &[&str] = &["master_link_down_since_seconds", "slave0", "db0"];

/// Fields that name the build of the server.
const OF_THE_BUILD: &[&str] = &["redis_git_sha1", "redis_build_id"];

#[test]
fn a_node_of_redis_shows_what_redis_shows() {
    compare(Reference::Redis, "redis7");
}

#[test]
fn a_node_of_redis_8_shows_what_redis_8_shows() {
    compare(Reference::Redis8, "redis8");
}

#[test]
fn a_node_of_redis_8_10_shows_what_redis_8_10_shows() {
    compare(Reference::Redis810, "redis8.10");
}

#[test]
fn a_node_of_valkey_shows_what_valkey_shows() {
    compare(Reference::Valkey, "valkey9");
}

fn compare(reference: Reference, dialect: &str) {
    let shape = Shape { masters: 1, replicas: 1, spares: 0 };
    let Some(cluster) = start_cluster(reference, shape, &[]) else { return };
    let options = ["--dialect", dialect].map(str::to_owned);
    let (slotway, stage) = ServerProcess::start_cluster(shape, &options);
    let mut wrong = Vec::new();
    for (ours, theirs) in [("n1", "n1"), ("r1", "r1"), ("router", "n1")] {
        let mut our_client = match ours {
            "router" => slotway.client(),
            node => client(&stage, node),
        };
        let their_fields = fields(&mut client(&cluster.stage, theirs));
        let our_fields = fields(&mut our_client);
        let lines = differences(reference, ours, &our_fields, &their_fields);
        wrong.extend(lines.into_iter().map(|line| format!("{ours}: {line}")));
    }
    assert!(wrong.is_empty(), "{reference:?}:\n{}", wrong.join("\n"));
}

fn client(stage: &Stage, node: &str) -> Client {
    let address = stage.address_of(node).expect("there is such a node");
    Client::connect(address).expect("the node accepts connections")
}

/// A line of INFO: a heading, or a field's name and value.
type Line = (String, String);

/// INFO of a server that has run a command of each kind. Fields whose names hold what was counted have
/// a star for that, and stand there once.
fn fields(client: &mut Client) -> Vec<Line> {
    client.call(&["CLIENT", "ID"]);
    client.call(&["SET", "k", "v"]);
    client.call(&["SET", "k"]);
    let Reply::Bulk(lines) = client.ask(&["INFO", "everything"]) else { panic!("INFO is a text") };
    let lines = String::from_utf8_lossy(&lines);
    let mut fields: Vec<Line> = Vec::new();
    for line in lines.split("\r\n").filter(|line| !line.is_empty()) {
        let (name, value) = match line.split_once(':') {
            Some((name, value)) if !line.starts_with('#') => (name, value),
            _ => (line, ""),
        };
        let counted = ["cmdstat_", "errorstat_", "latency_percentiles_usec_", "db0_distrib_"];
        let name = counted
            .into_iter()
            .find(|start| name.starts_with(start))
            .map_or_else(|| name.to_owned(), |start| format!("{start}*"));
        if fields.last().is_none_or(|(last, _)| *last != name) {
            fields.push((name, value.to_owned()));
        }
    }
    fields
}

fn differences(reference: Reference, port: &str, ours: &[Line], theirs: &[Line]) -> Vec<String> {
    let lacking =
        |name: &str| LACKING.iter().any(|(of, it, _)| of.contains(&reference) && *it == name);
    let mut wrong = Vec::new();
    let known: Vec<&Line> = theirs.iter().filter(|(name, _)| !is_transient(name)).collect();
    for (of, name, _) in LACKING {
        if of.contains(&reference) && ours.iter().any(|(it, _)| it == name) {
            wrong.push(format!("{name} is there, and in LACKING"));
        }
    }
    let known: Vec<&Line> = known.into_iter().filter(|(name, _)| !lacking(name)).collect();
    let shown: Vec<&Line> = without_own(ours).filter(|(name, _)| !is_transient(name)).collect();
    for (name, value) in theirs.iter().filter(|(name, _)| is_transient(name)) {
        if let Some((_, our_value)) = ours.iter().find(|(it, _)| it == name)
            && form(our_value) != form(value)
        {
            wrong.push(format!("{name}:{our_value}, theirs {value}"));
        }
    }
    let names = |lines: &[&Line]| lines.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    let (our_names, their_names) = (names(&shown), names(&known));
    // The router port is no node: it has no state of one to show.
    let their_names: Vec<String> = match port {
        "router" => without_section(&their_names, "# Cluster Info"),
        _ => their_names,
    };
    for name in &their_names {
        if !our_names.contains(name) {
            wrong.push(format!("{name} is lacking"));
        }
    }
    for name in &our_names {
        if !their_names.contains(name) {
            wrong.push(format!("{name} is ours alone"));
        }
    }
    if wrong.is_empty() && our_names != their_names {
        let first = our_names.iter().zip(&their_names).find(|(ours, theirs)| ours != theirs);
        wrong.push(format!("the order: {first:?}"));
    }
    for (name, value) in known {
        if let Some((_, our_value)) = shown.iter().find(|(it, _)| it == name)
            && form(our_value) != form(value)
            && !OF_THE_BUILD.contains(&name.as_str())
        {
            wrong.push(format!("{name}:{our_value}, theirs {value}"));
        }
    }
    wrong
}

fn is_transient(name: &str) -> bool {
    TRANSIENT.contains(&name)
}

/// The lines without the section that is our own.
fn without_own(lines: &[Line]) -> impl Iterator<Item = &Line> {
    let mut is_own = false;
    lines.iter().filter(move |(name, _)| {
        if let Some(heading) = name.strip_prefix("# ") {
            is_own = heading == OWN;
        }
        !is_own
    })
}

/// The names without those below a heading, which stays.
fn without_section(names: &[String], heading: &str) -> Vec<String> {
    let mut is_in = false;
    let keep = names.iter().filter(|name| {
        if name.starts_with("# ") {
            is_in = *name == heading;
            return true;
        }
        !is_in
    });
    keep.cloned().collect()
}

/// The form of a value: whole number, number with so many decimals, share, size for people, parts with
/// names, or text.
fn form(value: &str) -> String {
    let decimals = |number: &str| number.split_once('.').map(|(_, decimals)| decimals.len());
    if value.contains('=') {
        let parts = value.split(',').map(|part| part.split('=').next().unwrap_or_default());
        // Percentiles and addresses are as many as there are.
        return format!("parts {}", parts.collect::<Vec<_>>().join(" "));
    }
    if let Some(share) = value.strip_suffix('%') {
        return format!("share with {:?} decimals", decimals(share));
    }
    if value.parse::<f64>().is_ok() {
        return format!("number with {:?} decimals", decimals(value));
    }
    let size = value.trim_end_matches(['B', 'K', 'M', 'G']);
    if size != value && size.parse::<f64>().is_ok() {
        return "size".to_owned();
    }
    if value.is_empty() { "empty".to_owned() } else { "text".to_owned() }
}
