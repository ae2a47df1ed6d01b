//! The parameters of CONFIG beside those of the real servers: the same names, the same values at the
//! start, the same replies to CONFIG SET of values good and bad, at a node port and at the router port.
//! [`DIFFERENCES`] has what is different on purpose, and why.

use std::collections::BTreeMap;

use crate::nodes::Shape;
use crate::references::report_missing;
use crate::server_process::ServerProcess;
use crate::servers::{Product, Server};
use crate::wire::{Answer, Client, Reply, text};

/// How a parameter differs from that of the servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Differs {
    /// No server has it.
    Own,
    /// Slotway lacks it.
    Lacking,
    /// It is about this process, or the servers of the tests set it: only its name is compared.
    Name,
    /// It has another value at the start.
    Value,
    /// Some values are refused with a reason of our own.
    Refuses,
    /// It has another value, and some are refused.
    RefusesValue,
}

use Differs::{Lacking, Name, Own, Refuses, RefusesValue, Value};

const ALL: &[Product] = &[Product::Redis7, Product::Redis8, Product::Redis810, Product::Valkey9];
const REDIS: &[Product] = &[Product::Redis7, Product::Redis8, Product::Redis810];
const REDIS7: &[Product] = &[Product::Redis7];
const REDIS8: &[Product] = &[Product::Redis8, Product::Redis810];
const REDIS810: &[Product] = &[Product::Redis810];
const NEWER: &[Product] = &[Product::Redis8, Product::Redis810, Product::Valkey9];
const VALKEY: &[Product] = &[Product::Valkey9];

/// What differs on purpose from these servers, and why.
const DIFFERENCES: &[(&str, &[Product], Differs, &str)] = &[
    ("cross-slot", ALL, Own, "the router port's policy"),
    ("explain", ALL, Own, "CROSSSLOT names keys and slots"),
    ("replica-lag", ALL, Own, "the lag of replicas"),
    // The process.
    ("port", ALL, Name, "each has its own; Slotway cannot change it"),
    ("bind", ALL, Name, "Slotway cannot change it"),
    ("dir", ALL, Name, "each has its own"),
    ("logfile", ALL, Name, "the tests give the server one"),
    ("cluster-enabled", ALL, Name, "the router port says no"),
    (
        "enable-debug-command",
        ALL,
        Name,
        "the tests' server allows it to all, Slotway to local clients",
    ),
    ("tcp-backlog", ALL, Value, "it is 4096"),
    ("set-proc-title", ALL, Value, "the title of the process stays"),
    ("disable-thp", ALL, Value, "huge pages stay as they are"),
    ("oom-score-adj", ALL, Refuses, "the process leaves its score alone"),
    ("hz", ALL, Refuses, "what goes by the clock does so ten times a second"),
    ("dynamic-hz", REDIS, RefusesValue, "the same"),
    ("io-threads", VALKEY, Refuses, "there are no threads for I/O alone"),
    ("loglevel", ALL, Refuses, "it is chosen at the start"),
    ("log-format", VALKEY, Refuses, "the same"),
    ("log-timestamp-format", VALKEY, Refuses, "the same"),
    ("shutdown-on-sigint", ALL, Refuses, "nothing is saved, and no failover begins"),
    ("shutdown-on-sigterm", ALL, Refuses, "the same"),
    ("crash-log-enabled", ALL, Refuses, "a panic is always logged"),
    ("crash-memcheck-enabled", ALL, RefusesValue, "a panic is followed by no test of the memory"),
    ("extended-redis-compatibility", VALKEY, Refuses, "the dialect chooses the names in replies"),
    ("hide-user-data-from-log", REDIS8, RefusesValue, "no data of clients are logged"),
    ("hide-user-data-from-log", VALKEY, Refuses, "no data of clients are logged"),
    // Memory.
    ("maxmemory", ALL, Refuses, "there is no limit"),
    ("maxmemory-policy", ALL, Refuses, "nothing is evicted"),
    ("maxmemory-clients", ALL, Refuses, "there is no limit"),
    ("activedefrag", ALL, Refuses, "there is no defragmentation"),
    ("jemalloc-bg-thread", ALL, RefusesValue, "the allocator is mimalloc"),
    (
        "lazyfree-lazy-eviction",
        REDIS,
        RefusesValue,
        "what is slow to free is freed beside the shards",
    ),
    ("lazyfree-lazy-expire", REDIS, RefusesValue, "the same"),
    ("lazyfree-lazy-server-del", REDIS, RefusesValue, "the same"),
    ("lazyfree-lazy-user-del", REDIS, RefusesValue, "the same"),
    ("lazyfree-lazy-user-flush", REDIS, RefusesValue, "the same"),
    ("lazyfree-lazy-eviction", VALKEY, Refuses, "the same"),
    ("lazyfree-lazy-expire", VALKEY, Refuses, "the same"),
    ("lazyfree-lazy-server-del", VALKEY, Refuses, "the same"),
    ("lazyfree-lazy-user-del", VALKEY, Refuses, "the same"),
    ("lazyfree-lazy-user-flush", VALKEY, Refuses, "the same"),
    ("set-max-listpack-entries", NEWER, RefusesValue, "sets have no such encoding"),
    ("set-max-listpack-value", NEWER, RefusesValue, "sets have no such encoding"),
    // Files.
    ("save", ALL, Refuses, "nothing is written"),
    ("appendonly", ALL, Refuses, "nothing is written"),
    ("rdbcompression", ALL, RefusesValue, "DUMP does not compress"),
    ("sanitize-dump-payload", REDIS, RefusesValue, "RESTORE always checks its payload"),
    ("rdb-version-check", VALKEY, Refuses, "RESTORE always checks the version"),
    // Replicas.
    ("replica-announce-ip", ALL, Refuses, "nodes are announced as cluster-announce-ip says"),
    ("slave-announce-ip", ALL, Refuses, "the same"),
    ("replica-announce-port", ALL, Refuses, "the same"),
    ("slave-announce-port", ALL, Refuses, "the same"),
    ("replica-read-only", ALL, Refuses, "replicas take no writes"),
    ("slave-read-only", ALL, Refuses, "the same"),
    ("replica-serve-stale-data", ALL, Refuses, "replicas serve what they have"),
    ("slave-serve-stale-data", ALL, Refuses, "the same"),
    ("min-replicas-to-write", ALL, Refuses, "writes do not depend on replicas"),
    ("min-slaves-to-write", ALL, Refuses, "the same"),
    // No port speaks TLS; the newer servers here are built without it, and not asked.
    ("tls-port", REDIS7, Refuses, "no port speaks TLS"),
    ("tls-cluster", REDIS7, Refuses, "the same"),
    ("tls-replication", REDIS7, Refuses, "the same"),
    ("tls-port", NEWER, Name, "it is not set"),
    ("tls-cluster", NEWER, Name, "it is not set"),
    ("tls-replication", NEWER, Name, "it is not set"),
    // Not there yet.
    ("slowlog-entry-max-argc", REDIS810, Lacking, "32, as in earlier servers"),
    ("slowlog-entry-max-string-len", REDIS810, Lacking, "128, as in earlier servers"),
    ("array-slice-size", REDIS810, Lacking, "there are no arrays"),
    ("array-sparse-kmax", REDIS810, Lacking, "there are no arrays"),
    ("array-sparse-kmin", REDIS810, Lacking, "there are no arrays"),
    ("stream-idmp-duration", REDIS810, Lacking, "entries are added as often as they are sent"),
    ("stream-idmp-maxsize", REDIS810, Lacking, "the same"),
    ("key-memory-histograms", REDIS810, Refuses, "the sizes of values are not counted"),
    ("cluster-bus-port-protected-mode", REDIS810, Refuses, "nothing listens there"),
    (
        "slot-migration-max-failover-repl-bytes",
        VALKEY,
        Refuses,
        "-1, as a migration has nothing left to send",
    ),
    ("commandlog-request-larger-than", VALKEY, Value, "it costs, and is off until it is set"),
    ("commandlog-reply-larger-than", VALKEY, Value, "the same"),
    ("import-mode", VALKEY, Refuses, "no expired key is kept for an import"),
    ("notify-keyspace-events", REDIS8, Refuses, "the events overwritten and type_changed, o and c"),
];

#[test]
fn a_node_of_redis_has_the_parameters_of_redis() {
    compare(Product::Redis7, "redis7");
}

#[test]
fn a_node_of_redis_8_has_the_parameters_of_redis_8() {
    compare(Product::Redis8, "redis8");
}

#[test]
fn a_node_of_redis_8_10_has_the_parameters_of_redis_8_10() {
    compare(Product::Redis810, "redis8.10");
}

#[test]
fn a_node_of_valkey_has_the_parameters_of_valkey() {
    compare(Product::Valkey9, "valkey9");
}

/// Values for CONFIG SET: of no type, of every type, beyond every number, none; and words that some
/// parameter takes and Slotway refuses.
const PROBES: [&str; 18] = [
    "notavalue",
    "-1",
    "99999999999999999999",
    "",
    "1kb",
    "1",
    "2",
    "yes",
    "no",
    "900 1",
    "warning",
    "allkeys-lru",
    "json",
    "iso8601",
    "relaxed",
    "save",
    "failover",
    "NOW nosave",
];

fn compare(product: Product, dialect: &str) {
    let server = match Server::start(product, &["--cluster-enabled", "yes"]) {
        Ok(server) => server,
        Err(missing) => return report_missing(&missing),
    };
    let options = ["--dialect", dialect].map(str::to_owned);
    let shape = Shape { masters: 1, replicas: 0, spares: 0 };
    let (slotway, stage) = ServerProcess::start_cluster(shape, &options);
    let node = stage.address_of("n1").expect("there is a node");
    let mut node = Client::connect(node).expect("the node accepts connections");
    let mut wrong = differences(product, &mut server.client(), &mut node);
    let of_router = differences(product, &mut server.client(), &mut slotway.client());
    wrong.extend(of_router.into_iter().map(|line| format!("router port: {line}")));
    assert!(wrong.is_empty(), "{product:?}:\n{}", wrong.join("\n"));
}

/// The kinds of difference that are on purpose, by the parameter's name.
fn on_purpose(product: Product) -> BTreeMap<&'static str, Differs> {
    let rows = DIFFERENCES.iter().filter(|(_, of, ..)| of.contains(&product));
    let all: BTreeMap<_, _> = rows.clone().map(|&(name, _, differs, _)| (name, differs)).collect();
    assert_eq!(all.len(), rows.count(), "every name once");
    all
}

/// What differs and is not on purpose, or does not differ although it should.
fn differences(product: Product, theirs: &mut Client, ours: &mut Client) -> Vec<String> {
    let (their_values, our_values, known) = (values(theirs), values(ours), on_purpose(product));
    let mut wrong = Vec::new();
    for name in known.keys() {
        if !their_values.contains_key(*name) && !our_values.contains_key(*name) {
            wrong.push(format!("{name}: in DIFFERENCES, and nowhere else"));
        }
    }
    for (name, value) in &our_values {
        if (known.get(name.as_str()) == Some(&Own)) == their_values.contains_key(name) {
            wrong.push(format!("{name}: is ours alone, or is not; {value:?}"));
        }
    }
    for (name, value) in &their_values {
        let differs = known.get(name.as_str()).copied();
        match our_values.get(name) {
            None if differs == Some(Lacking) => {}
            None => wrong.push(format!("{name}: is lacking; {value:?}")),
            Some(_) if differs == Some(Lacking) => wrong.push(format!("{name}: is there")),
            Some(_) if differs == Some(Name) => {}
            Some(our_value) => {
                let what = compare_one(name, differs, (theirs, value), (ours, our_value));
                wrong.extend(what.into_iter().map(|what| format!("{name}: {what}")));
            }
        }
    }
    wrong
}

/// What differs of one parameter, which both have.
fn compare_one(
    name: &str,
    differs: Option<Differs>,
    (theirs, their_value): (&mut Client, &str),
    (ours, our_value): (&mut Client, &str),
) -> Vec<String> {
    let has_other_value = matches!(differs, Some(Value | RefusesValue));
    let may_refuse = matches!(differs, Some(Refuses | RefusesValue));
    let (mut wrong, mut has_refused) = (Vec::new(), false);
    if has_other_value == (their_value == our_value) {
        wrong.push(format!("value {our_value:?}, theirs {their_value:?}"));
    }
    for probe in PROBES.into_iter().chain([their_value]) {
        let (their_reply, our_reply) = (set(theirs, name, probe), set(ours, name, probe));
        // How Redis 8 refuses numbers below zero where it has no sign, and those that seem to be.
        let is_without_sign = their_reply == "argument must be greater or equal to 0"
            && our_reply.starts_with("argument must be between ");
        if is_without_sign {
            continue;
        }
        if their_reply == our_reply {
            let (shown, ours_shown) = (shown(theirs, name), shown(ours, name));
            if our_reply == "OK" && shown != ours_shown {
                wrong.push(format!("{probe:?} is shown as {ours_shown:?}, by them {shown:?}"));
            }
        } else if may_refuse && our_reply != "OK" {
            has_refused = true;
        } else {
            wrong.push(format!("SET {probe:?}: {our_reply:?}, theirs {their_reply:?}"));
        }
    }
    if may_refuse && !has_refused {
        wrong.push("refuses nothing".to_owned());
    }
    set(theirs, name, their_value);
    set(ours, name, our_value);
    wrong
}

/// All parameters and their values.
fn values(client: &mut Client) -> BTreeMap<String, String> {
    let Reply::Array(words) = client.ask(&["CONFIG", "GET", "*"]) else {
        panic!("CONFIG GET answers an array")
    };
    let pairs = words.chunks(2).map(|pair| (plain(&pair[0]), plain(&pair[1])));
    pairs.collect()
}

fn shown(client: &mut Client, name: &str) -> String {
    match client.ask(&["CONFIG", "GET", name]) {
        Reply::Array(words) if words.len() == 2 => plain(&words[1]),
        other => panic!("CONFIG GET {name} answers {other:?}"),
    }
}

/// The reply to CONFIG SET, an error without what all have in common.
fn set(client: &mut Client, name: &str, value: &str) -> String {
    match client.call(&["CONFIG", "SET", name, value]) {
        Answer::Reply(Reply::Simple(word)) => text(&word),
        Answer::Reply(Reply::Error(error)) => {
            let before =
                format!("ERR CONFIG SET failed (possibly related to argument '{name}') - ");
            text(&error).replace(&before, "")
        }
        other => panic!("CONFIG SET {name} {value} answers {other:?}"),
    }
}

fn plain(reply: &Reply) -> String {
    match reply {
        Reply::Bulk(bytes) => text(bytes),
        other => panic!("not a byte string: {other:?}"),
    }
}
