//! `slotway check` on the RDB files that servers write: the number of keys and whether a file is sound
//! are compared with what the server's own tool says (`redis-check-rdb`, `valkey-check-rdb`), the
//! types of the largest keys with TYPE.
//!
//! The files are made here, by every server that is found, of every type that it has.

use serde_json::Value;
use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::env::poll;
use crate::program::{PROGRAM, Run};
use crate::references::report_missing;
use crate::servers::{Missing, Product, Server};
use crate::wire::{Client, Reply, text};

/// More elements than a collection has in its small form.
const MANY: usize = 600;

/// Options of a server, by what they change in its files.
const VARIANTS: [(&str, &[&str]); 3] = [
    ("as it comes", &[]),
    ("plain", &["--rdbcompression", "no", "--rdbchecksum", "no"]),
    ("cluster", &["--cluster-enabled", "yes"]),
];

/// What is stored beside a key, by this policy.
const POLICIES: [&str; 3] = ["noeviction", "allkeys-lru", "allkeys-lfu"];

#[test]
fn files_of_redis_7_0() {
    compare(Product::Redis7, &["string", "list", "set", "zset", "hash", "stream"]);
}

#[test]
fn files_of_redis_8_2() {
    compare(Product::Redis8, &["string", "hash", "stream", "vectorset", "graphdata"]);
}

#[test]
fn files_of_redis_stack() {
    let modules = [
        "ReJSON-RL",
        "TSDB-TYPE",
        "MBbloom--",
        "MBbloomCF",
        "CMSk-TYPE",
        "TopK-TYPE",
        "TDIS-TYPE",
        "trietype0",
    ];
    compare(Product::Stack, &modules);
}

#[test]
fn files_of_valkey_9_1() {
    compare(Product::Valkey9, &["string", "list", "set", "zset", "hash", "stream"]);
}

/// Compares every variant of a product's files; `kinds` are types that must have been met.
fn compare(product: Product, kinds: &[&str]) {
    let mut met = Vec::new();
    for (variant, options) in VARIANTS {
        if let Err(missing) = compare_variant(product, variant, options, &mut met) {
            return report_missing(&missing);
        }
    }
    for kind in kinds {
        assert!(met.iter().any(|met| met == kind), "{product:?}: no {kind} among {met:?}");
    }
}

fn compare_variant(
    product: Product,
    variant: &str,
    options: &[&str],
    met: &mut Vec<String>,
) -> Result<(), Missing> {
    let is_cluster = variant == "cluster";
    let mut all = options.to_vec();
    all.extend(["--repl-diskless-sync-delay", "0"]);
    let server = Server::start(product, &all)?;
    let mut client = server.client();
    if is_cluster {
        own_all_slots(&mut client);
    }
    fill(product, is_cluster, &mut client);
    met.extend(types(&mut client).into_values());
    let file = server.folder().join("dump.rdb");
    // Keys in other databases are a finding.
    let code = if is_cluster { 0 } else { 3 };
    for policy in POLICIES {
        ok(&mut client, &["CONFIG", "SET", "maxmemory-policy", policy]);
        ok(&mut client, &["SAVE"]);
        let place = format!("{product:?}, {variant}, {policy}");
        let (is_sound, keys) = tool(product, &file);
        assert!(is_sound && keys > 25, "{place}: {keys} keys");
        let report = Checked::file(&file);
        assert_eq!((report.code, report.keys(), report.trouble()), (code, keys, None), "{place}");
        for (key, kind) in types(&mut client) {
            if let Some(shown) = report.big(&key) {
                assert_eq!(shown, kind, "{place}, {key}");
            }
        }
        if policy == POLICIES[0] {
            cuts(&file, keys, &place);
            followed(&file, keys, code, &place);
        }
    }
    streamed(product, &server, &mut client, code, &format!("{product:?}, {variant}"));
    Ok(())
}

/// What `slotway check --json` found.
struct Checked {
    code: i32,
    report: Value,
}

impl Checked {
    fn of(args: &[&str], stdin: &[u8]) -> Self {
        let end = Run::fed(Command::new(PROGRAM).env_clear().args(args), stdin).end();
        let report = serde_json::from_str(&end.stdout);
        let report = report.unwrap_or_else(|error| panic!("{error}: {}", end.stderr));
        Self { code: end.code.expect("it ends by itself"), report }
    }

    fn file(path: &Path) -> Self {
        Self::of(&["check", path.to_str().expect("a plain name"), "--json"], b"")
    }

    fn keys(&self) -> u64 {
        self.report["totals"]["stored_keys"].as_u64().expect("a number")
    }

    fn trouble(&self) -> Option<&str> {
        self.report["sources"][0]["trouble"]["why"].as_str()
    }

    /// The type of a key, if it is one of the largest.
    fn big(&self, key: &str) -> Option<&str> {
        let mut all = self.report["big_keys"].as_array().expect("a list").iter();
        all.find(|big| big["key"] == key)?["kind"].as_str()
    }
}

/// Whether the server's own tool takes a file for sound, and how many keys it read.
fn tool(product: Product, file: &Path) -> (bool, u64) {
    let output = product.rdb_check(file.to_str().expect("a plain name")).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout);
    let keys =
        said.lines().find_map(|line| line.strip_prefix("[info] ")?.strip_suffix(" keys read"));
    let keys = keys.and_then(|keys| keys.parse().ok());
    (output.status.success(), keys.unwrap_or_else(|| panic!("no count of keys: {said}")))
}

/// A file that was cut says where, and how many keys came before.
fn cuts(file: &Path, keys: u64, place: &str) {
    let whole = fs::read(file).expect("the file");
    for part in [1, 3, 5, 7] {
        let len = whole.len() * part / 8;
        let report = Checked::of(&["check", "-", "--json"], &whole[..len]);
        let why = report.trouble().unwrap_or_else(|| panic!("{place}: {len} bytes are sound"));
        assert_eq!(report.code, 2, "{place}: {why}");
        let before = report.keys();
        assert!(before < keys, "{place}: {before} of {keys}");
        assert!(why.starts_with("the file ends here, in the "), "{place}: {why}");
        assert!(
            why.contains(&format!("; the count of {before} key")) && why.ends_with(" is partial"),
            "{place}: {why}"
        );
    }
}

/// What may be behind a sound file, and what may not.
fn followed(file: &Path, keys: u64, code: i32, place: &str) {
    let dump = fs::read(file).expect("the file");
    let command = b"*1\r\n$4\r\nPING\r\n";
    for (rest, code, commands) in [
        (&[b'0'; 40][..], code, 0),
        (&[b'0'; 41], 2, 0),
        (command, code, 1),
        (&command[..command.len() - 1], 2, 0),
    ] {
        let report = Checked::of(&["check", "-", "--json"], &[&dump, rest].concat());
        let found = report.report["totals"]["commands"].as_u64();
        let expected = (code, keys, Some(commands));
        assert_eq!((report.code, report.keys(), found), expected, "{place}: {rest:?}");
        assert_eq!(report.trouble().is_some(), code == 2, "{place}: {rest:?}");
    }
}

/// `redis-cli --rdb -` passes on what a replica gets, and the mark at its end.
fn streamed(product: Product, server: &Server, client: &mut Client, code: i32, place: &str) {
    if product == Product::Valkey9 {
        // It has no form for older replicas, as this redis-cli looks to it.
        run(client, "DEL ttl:small");
        run(client, "DEL ttl:large");
    }
    let output = Command::new("redis-cli")
        .args(["-p", &server.address.port().to_string(), "--rdb", "-"])
        .stdin(Stdio::null())
        .output()
        .expect("redis-cli runs");
    let dump = output.stdout;
    assert!(output.status.success(), "{place}: {}", text(&output.stderr));
    let mark = &dump[dump.len() - 40..];
    assert!(mark.iter().all(u8::is_ascii_hexdigit), "{place}: {}", mark.escape_ascii());
    let file = server.folder().join("streamed.rdb");
    fs::write(&file, &dump).expect("the folder of the server is writable");
    let (is_sound, keys) = tool(product, &file);
    assert!(is_sound, "{place}");
    let report = Checked::of(&["check", "-", "--json"], &dump);
    assert_eq!((report.code, report.keys(), report.trouble()), (code, keys, None), "{place}");
}

// ── data ──────────────────────────────────────────────────────────────────────────────────────────

fn ok<A: AsRef<[u8]>>(client: &mut Client, argv: &[A]) -> Reply {
    let reply = client.ask(argv);
    if let Reply::Error(error) = &reply {
        let words: Vec<_> = argv.iter().take(5).map(|word| text(word.as_ref())).collect();
        panic!("{words:?}: {}", text(error));
    }
    reply
}

/// Runs a command of words without spaces.
fn run(client: &mut Client, line: &str) {
    ok(client, &line.split(' ').collect::<Vec<_>>());
}

/// Runs a command that ends in `MANY` arguments or groups of them.
fn run_many(client: &mut Client, line: &str, argument: impl Fn(usize) -> String) {
    let mut argv: Vec<String> = line.split(' ').map(str::to_owned).collect();
    for number in 0..MANY {
        argv.extend(argument(number).split(' ').map(str::to_owned));
    }
    ok(client, &argv);
}

fn text_of(reply: Reply) -> String {
    match reply {
        Reply::Bulk(bytes) | Reply::Simple(bytes) | Reply::Verbatim(bytes) => {
            String::from_utf8_lossy(&bytes).into_owned()
        }
        other => panic!("no text: {other:?}"),
    }
}

/// The type of every key of database 0 whose name is a plain one.
fn types(client: &mut Client) -> HashMap<String, String> {
    let Reply::Array(keys) = ok(client, &["KEYS", "*:*"]) else { panic!("KEYS answers an array") };
    let mut all = HashMap::new();
    for key in keys {
        let key = text_of(key);
        let kind = text_of(ok(client, &["TYPE", &key]));
        all.insert(key, kind);
    }
    all
}

fn own_all_slots(client: &mut Client) {
    run(client, "CLUSTER ADDSLOTSRANGE 0 16383");
    let is_up = poll(|| {
        let info = text_of(client.ask(&["CLUSTER", "INFO"]));
        info.contains("cluster_state:ok").then_some(())
    });
    assert!(is_up.is_some(), "the cluster is up");
}

/// Stores a value of every type, small and large.
fn fill(product: Product, is_cluster: bool, client: &mut Client) {
    basic(client);
    streams(client);
    match product {
        Product::Redis7 => {}
        Product::Valkey9 => field_ttls(client),
        Product::Redis8 | Product::Redis810 => {
            field_ttls(client);
            redis8(client);
        }
        Product::Stack => {
            field_ttls(client);
            stack(client);
        }
    }
    let code = "#!lua name=library\nredis.register_function('f', function() return 1 end)";
    ok(client, &["FUNCTION", "LOAD", code]);
    if !is_cluster {
        run(client, "SELECT 3");
        run(client, "SET elsewhere:1 x");
        run(client, "SELECT 0");
    }
}

fn basic(client: &mut Client) {
    let long = "long text ".repeat(500);
    for (key, value) in [
        ("string:text", "hello"),
        ("string:8", "-7"),
        ("string:16", "12345"),
        ("string:32", "-2000000000"),
        ("string:64", "9223372036854775807"),
        ("string:long", &long),
        ("12345", "a key that is a number"),
        ("", "a key without a name"),
        (&"key:".repeat(100), "a key that is compressed"),
    ] {
        ok(client, &["SET", key, value]);
    }
    ok(client, &["SET".as_bytes(), b"binary\x00\xFF\r\n", b"\x00\xFF\r\n"]);
    run(client, "SET expires:s x EX 10000");
    run(client, "SET expires:ms x PX 10000000");
    run(client, "SETBIT string:bits 100000 1");
    run(client, "PFADD string:hll a b c");
    run(client, "CONFIG SET list-compress-depth 1");
    run(client, "RPUSH list:small a 1 -100 100000 12345678901");
    run_many(client, "RPUSH list:large", |n| format!("{n}-{}", "element".repeat(10)));
    ok(client, &["RPUSH", "list:wide", "a", &long.repeat(4), "b"]);
    run(client, "SADD set:integers 1 2 70000");
    run(client, "SADD set:small a b 1");
    run_many(client, "SADD set:large", |n| format!("member-{n}"));
    run(client, "ZADD zset:small 1 a 2.5 b -inf c inf d");
    run_many(client, "ZADD zset:large", |n| format!("{n}.25 member-{n}"));
    run(client, "HSET hash:small f v g 1");
    run_many(client, "HSET hash:large", |n| format!("field-{n} {n}"));
    run(client, "HSET hash:expires f v");
    run(client, "EXPIRE hash:expires 10000");
}

fn streams(client: &mut Client) {
    run(client, "XADD stream:small 1-1 f v");
    for n in 1..=MANY {
        run(client, &format!("XADD stream:large {n}-1 field-{} value", n % 7));
    }
    run(client, "XDEL stream:large 5-1 600-1");
    run(client, "XGROUP CREATE stream:large readers 0");
    run(client, "XGROUP CREATE stream:large idle $ ENTRIESREAD 5");
    run(client, "XREADGROUP GROUP readers one COUNT 100 STREAMS stream:large >");
    run(client, "XREADGROUP GROUP readers two COUNT 20 STREAMS stream:large >");
    run(client, "XACK stream:large readers 1-1 2-1");
    run(client, "XGROUP CREATECONSUMER stream:large idle waits");
    run(client, "XADD stream:empty 1-1 f v");
    run(client, "XTRIM stream:empty MAXLEN 0");
}

fn field_ttls(client: &mut Client) {
    run(client, "HSET ttl:small f v g w");
    run(client, "HPEXPIRE ttl:small 10000000 FIELDS 1 f");
    run_many(client, "HSET ttl:large", |n| format!("field-{n} value-{n}"));
    run(client, "HPEXPIRE ttl:large 10000000 FIELDS 2 field-1 field-2");
    run(client, "HPEXPIRE ttl:large 20000000 FIELDS 1 field-3");
    run(client, "HSET ttl:gone f v g w");
    run(client, "HPEXPIRE ttl:gone 10000000 FIELDS 1 f");
    run(client, "HPERSIST ttl:gone FIELDS 1 f");
}

fn redis8(client: &mut Client) {
    run(client, "VADD vector:small VALUES 3 0.1 0.2 0.3 a");
    run(client, "VADD vector:small VALUES 3 0.5 -0.2 0.3 b SETATTR {\"a\":1}");
    for n in 0..100 {
        run(client, &format!("VADD vector:large VALUES 4 0.{n} 1 {n} -{n} element-{n} Q8"));
    }
    run(client, "VADD vector:binary VALUES 4 1 2 3 4 a BIN");
    run(client, "XADD stream:given 1-1 f v");
    run(client, "XGROUP CREATE stream:given readers 0");
    run(client, "XREADGROUP GROUP readers one STREAMS stream:given >");
    run(client, "XACKDEL stream:given readers KEEPREF IDS 1 1-1");
    for query in [
        "CREATE (:Person {name: 'a', age: 1, height: 1.5})-[:KNOWS {since: 5}]->(:Person {name: 'b'})",
        "UNWIND range(1, 2000) AS n CREATE (:Node {n: n, tags: ['x', 'y']})",
        "CREATE INDEX FOR (p:Person) ON (p.name)",
    ] {
        ok(client, &["GRAPH.QUERY", "graph:1", query]);
    }
}

fn stack(client: &mut Client) {
    ok(
        client,
        &["JSON.SET", "json:small", "$", r#"{"a": [1, 2.5, null, true], "b": {"c": "text"}}"#],
    );
    let list = (0..MANY).map(|n| format!(r#"{{"n": {n}}}"#)).collect::<Vec<_>>().join(",");
    ok(client, &["JSON.SET", "json:large", "$", &format!("[{list}]")]);
    run(client, "TS.CREATE {ts:1}raw RETENTION 0 LABELS place here");
    run(client, "TS.CREATE {ts:1}mean ENCODING UNCOMPRESSED");
    run(client, "TS.CREATERULE {ts:1}raw {ts:1}mean AGGREGATION avg 10");
    for n in 1..=MANY {
        run(client, &format!("TS.ADD {{ts:1}}raw {n} {n}.5"));
    }
    run(client, "BF.RESERVE bloom:1 0.01 10");
    run_many(client, "BF.MADD bloom:1", |n| n.to_string());
    run(client, "CF.RESERVE cuckoo:1 1000");
    run_many(client, "CF.INSERT cuckoo:1 ITEMS", |n| n.to_string());
    run(client, "CMS.INITBYDIM cms:1 200 5");
    run(client, "CMS.INCRBY cms:1 a 5 b 7");
    run(client, "TOPK.RESERVE topk:1 5");
    run_many(client, "TOPK.ADD topk:1", |n| (n % 9).to_string());
    run(client, "TDIGEST.CREATE tdigest:1");
    run_many(client, "TDIGEST.ADD tdigest:1", |n| format!("{n}.5"));
    run(client, "FT.CREATE index ON HASH PREFIX 1 hash: SCHEMA f TEXT g NUMERIC");
    run(client, "FT.CREATE documents ON JSON PREFIX 1 json: SCHEMA $.b.c AS c TAG");
    run(client, "FT.SUGADD suggestions:1 hello 1 PAYLOAD p");
    run(client, "FT.DICTADD words a b c");
    run(client, "FT.SYNUPDATE index group a b");
    let code =
        "#!js api_version=1.0 name=scripts\nredis.registerFunction('f', function() { return 1; });";
    ok(client, &["TFUNCTION", "LOAD", code]);
}
