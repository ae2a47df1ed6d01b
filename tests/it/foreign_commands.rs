//! The commands of other servers beside the servers themselves: each one's COMMAND is the recorded file
//! in `src/command/foreign/recorded`, each command's keys are those that its COMMAND GETKEYS finds, and
//! what writes trips a WATCH where the row says so.
//!
//! `UPDATE=1` in the environment writes the files anew. `RECORD=redis-8.10=host:port` takes a server that
//! is running already, besides those that `tests/run` installs; its data are flushed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{SocketAddr, ToSocketAddrs};

use slotway::internals::check::Words;
use slotway::internals::command::{Spec, access, flag, foreign};
use slotway::slot::Footprint;

use crate::command_calls::{calls, elements, fields, number, word};
use crate::env::{poll, say, setting};
use crate::project_files::{self, assert_fresh, path};
use crate::references::report_missing;
use crate::servers::{Product, Server};
use crate::wire::{Client, Reply, text};

const RECORDED: &str = "src/command/foreign/recorded";

/// The servers that `tests/run` installs, by the names of their files.
const PRODUCTS: [(Product, &str); 5] = [
    (Product::Redis7, "redis-7.0"),
    (Product::Redis8, "redis-8.2"),
    (Product::Redis810, "redis-8.10"),
    (Product::Stack, "redis-stack-7.4"),
    (Product::Valkey9, "valkey-9.1"),
];

/// Modules that come with a server and have a file of their own, by how their commands begin.
const MODULES: &[(&str, &str)] = &[("graph.", "falkordb-4.16")];

/// Commands that read or write more keys than their server's GETKEYS finds, or others, and why.
const MORE_KEYS: &[(&str, &str)] = &[
    ("json.mget", "Redis Stack declares the first key only"),
    ("cms.merge", "Redis Stack declares the first key only"),
    ("tdigest.merge", "Redis Stack declares the first key only"),
    ("ts.createrule", "Redis Stack declares the first key only"),
    ("ts.deleterule", "Redis Stack declares the first key only"),
    ("georadius", "of STORE and STOREDIST together, newer servers count the last"),
    ("georadiusbymember", "of STORE and STOREDIST together, newer servers count the last"),
    ("xreadgroup", "servers before Redis 8.10 take a group named STREAMS for the word"),
];

/// A server, by the name of its file.
struct Subject {
    name: String,
    address: SocketAddr,
    /// Started by this test, if it was.
    _server: Option<Server>,
}

impl Subject {
    fn client(&self) -> Client {
        Client::connect(self.address).expect("the server accepts connections")
    }

    /// Returns the file that a command of this server stands in.
    fn file_of(&self, command: &str) -> &str {
        let module = MODULES.iter().find(|(prefix, _)| command.starts_with(prefix));
        module.map_or(&self.name, |(_, file)| file)
    }
}

/// Every server that can be started, and the one that is named.
fn subjects() -> Vec<Subject> {
    let mut all = Vec::new();
    for (product, name) in PRODUCTS {
        match Server::start(product, &[]) {
            Ok(server) => {
                let (name, address) = (name.to_owned(), server.address);
                all.push(Subject { name, address, _server: Some(server) });
            }
            Err(missing) => report_missing(&missing),
        }
    }
    if let Some(named) = setting("RECORD") {
        let (name, address) = named.split_once('=').expect("RECORD is file=host:port");
        let address = address.to_socket_addrs().expect("RECORD names an address").next();
        let (name, address) = (name.to_owned(), address.expect("RECORD's address resolves"));
        all.push(Subject { name, address, _server: None });
    }
    all
}

/// What COMMAND says about a command or a subcommand.
struct Listed {
    name: String,
    line: String,
    has_keys: bool,
}

/// Everything in a server's reply to COMMAND, in the order of the names.
fn listed(client: &mut Client) -> Vec<Listed> {
    fn add(reply: &Reply, into: &mut Vec<Listed>) {
        let [name, arity, flags, _, _, _, _, _, keys, subcommands] = elements(reply) else {
            panic!("COMMAND has ten fields")
        };
        let name = word(name).to_ascii_lowercase();
        let shown: Vec<String> = elements(flags).iter().map(word).collect();
        // Whose command it is does not matter.
        let known =
            flag::NAMES.iter().filter(|(bit, _)| *bit != flag::MODULE).map(|(_, name)| *name);
        let flags: Vec<&str> = known.filter(|name| shown.iter().any(|own| own == name)).collect();
        let flags = if flags.is_empty() { "-".to_owned() } else { flags.join(",") };
        let mut line = format!("{name} {} {flags}", number(arity));
        for keys in elements(keys) {
            line.push_str(" | ");
            line.push_str(&specification(keys));
        }
        // A shard channel has a slot, and GETKEYS does not return it.
        let is_key = |keys: &Reply| !specification(keys).starts_with("not_key ");
        let has_keys = elements(keys).iter().any(is_key);
        into.push(Listed { name, line, has_keys });
        elements(subcommands).iter().for_each(|sub| add(sub, into));
    }
    let mut all = Vec::new();
    elements(&client.ask(&["COMMAND"])).iter().for_each(|row| add(row, &mut all));
    all.sort_by(|one, other| one.name.cmp(&other.name));
    all
}

/// A key specification in words: see `src/command/foreign/record.rs`.
fn specification(reply: &Reply) -> String {
    let all: BTreeMap<String, &Reply> = fields(reply).into_iter().collect();
    let of = |part: &str| {
        let part: BTreeMap<String, &Reply> = fields(all[part]).into_iter().collect();
        let kind = word(part["type"]);
        let numbers = match &*kind {
            "unknown" => BTreeMap::new(),
            _ => fields(part["spec"]).into_iter().collect(),
        };
        (kind, numbers)
    };
    let flags: Vec<String> = elements(all["flags"]).iter().map(word).collect();
    for flag in &flags {
        assert!(access::NAMES.iter().any(|(_, name)| name == flag), "{flag} is a new property");
    }
    let mut words = vec![flags.join(",")];
    let (kind, begin) = of("begin_search");
    words.push(match &*kind {
        "index" => format!("at {}", number(begin["index"])),
        "keyword" => {
            format!("behind {} from {}", word(begin["keyword"]), number(begin["startfrom"]))
        }
        _ => kind,
    });
    let (kind, find) = of("find_keys");
    let mut option = |word: &str, name: &str, usual: &[i64]| {
        let value = number(find[name]);
        if !usual.contains(&value) {
            words.push(format!("{word} {value}"));
        }
    };
    match &*kind {
        "range" => {
            option("to", "lastkey", &[0]);
            option("by", "keystep", &[1]);
            option("limit", "limit", &[0, 1]);
        }
        "keynum" => {
            option("count", "keynumidx", &[]);
            option("first", "firstkey", &[]);
            option("by", "keystep", &[1]);
        }
        _ => words.push(kind),
    }
    words.join(" ")
}

#[test]
fn files_are_what_the_servers_say() {
    for subject in subjects() {
        let mut files: BTreeMap<&str, String> = BTreeMap::new();
        for Listed { name, line, .. } in listed(&mut subject.client()) {
            *files.entry(subject.file_of(&name)).or_default() += &format!("{line}\n");
        }
        for (file, lines) in files {
            assert_fresh(&format!("{RECORDED}/{file}.txt"), &lines, "foreign_commands");
        }
    }
}

#[test]
fn every_file_is_read() {
    let sources = project_files::sources();
    let (_, text) = sources.iter().find(|(path, _)| path == "command/foreign/mod.rs").expect("it");
    let files = std::fs::read_dir(path(RECORDED)).expect("the recorded files");
    let names = files.map(|file| file.expect("a file").file_name().into_string().expect("a name"));
    let unread: Vec<String> = names.filter(|name| !text.contains(&format!("/{name}\""))).collect();
    assert_eq!(unread, [""; 0], "SERVERS lacks these");
}

// ── keys ──────────────────────────────────────────────────────────────────────────────────────────

/// Calls that the generator does not make, by command.
fn written_calls() -> BTreeMap<String, Vec<Vec<String>>> {
    let mut all: BTreeMap<String, Vec<Vec<String>>> = BTreeMap::new();
    let plain = lines("tests/data/foreign-calls.txt");
    for call in plain.iter().map(|line| split(line)).chain(writes().into_iter().map(|it| it.call)) {
        let row = row_of(&call).expect("a known command");
        all.entry(row.full_name().into_owned()).or_default().push(call);
    }
    all
}

/// All calls of a command: those that its server's description makes, and the written ones.
fn all_calls(
    client: &mut Client,
    name: &str,
    written: &BTreeMap<String, Vec<Vec<String>>>,
) -> Vec<Vec<String>> {
    let mut made = Vec::new();
    if let [_, docs] = elements(&client.ask(&["COMMAND", "DOCS", name])) {
        made.extend(calls(name, docs));
    }
    made.extend(written.get(name).into_iter().flatten().cloned());
    made
}

fn lines(file: &str) -> Vec<String> {
    let text = std::fs::read_to_string(path(file)).expect(file);
    text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
}

fn split(line: &str) -> Vec<String> {
    let mut words = Words::default();
    words.split(line.as_bytes()).expect("good quotes");
    words.iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect()
}

fn words_of(call: &[String]) -> Words {
    let mut words = Words::default();
    call.iter().for_each(|word| words.push(word.as_bytes()));
    words
}

/// The row of a call.
fn row_of(call: &[String]) -> Option<&'static Spec> {
    foreign::find(words_of(call).args().expect("a call"))
}

/// The keys that our row finds in a call.
fn our_keys(call: &[String]) -> Vec<String> {
    let words = words_of(call);
    let args = words.args().expect("a call");
    let mut keys = Vec::new();
    if let Some(row) = foreign::find(args) {
        row.each_key(args, |key| keys.push(text(key)));
    }
    keys
}

#[test]
fn keys_are_those_that_the_servers_find() {
    let written = written_calls();
    for subject in subjects() {
        let mut client = subject.client();
        let (mut compared, mut asked, mut wrong) = (0, BTreeSet::new(), Vec::new());
        let all = listed(&mut client);
        for Listed { name, has_keys, .. } in &all {
            let server = subject.file_of(name).replace('-', " ");
            let made = all_calls(&mut client, name, &written);
            let Some(first) = made.first() else {
                wrong.push(format!("{name}: no call"));
                continue;
            };
            match row_of(first) {
                Some(row) if foreign::servers(row).contains(&&*server) => {}
                _ => wrong.push(format!("{name}: no row")),
            }
            for call in made {
                let question = [&["COMMAND".to_owned(), "GETKEYS".to_owned()], &call[..]].concat();
                let keys = match client.ask(&question) {
                    Reply::Array(keys) => keys.iter().map(word).collect(),
                    Reply::Error(_) => Vec::new(),
                    other => panic!("{question:?} is answered {other:?}"),
                };
                if keys.is_empty() && *has_keys {
                    continue;
                }
                let ours = our_keys(&call);
                let has_more = MORE_KEYS.iter().any(|(known, _)| known == name);
                if ours == keys || has_more && keys.iter().all(|key| ours.contains(key)) {
                    compared += 1;
                    asked.insert(name);
                } else {
                    wrong.push(format!("{}: {keys:?}, ours {ours:?}", call.join(" ")));
                }
            }
            if *has_keys && !asked.contains(name) {
                wrong.push(format!("{name}: no call with keys"));
            }
        }
        let with_keys = all.iter().filter(|row| row.has_keys).count();
        say(&format!(
            "{}: {with_keys} commands with keys of {}, {compared} calls compared",
            subject.name,
            all.len()
        ));
        assert!(wrong.is_empty(), "{}:\n{}", subject.name, wrong.join("\n"));
    }
}

// ── slots ─────────────────────────────────────────────────────────────────────────────────────────

/// Commands that servers refuse over slots although one that has them does not: MSETEX, which Valkey 9.1
/// runs on any node.
const RUN_SOMEWHERE: &[&str] = &["msetex"];

/// Each call whose keys cross slots is sent to a cluster of one node: CROSSSLOT is the answer, except
/// where our row says that the keys are undeclared.
#[test]
fn what_crosses_slots_is_refused_unless_its_keys_are_undeclared() {
    let written = written_calls();
    for (product, name) in PRODUCTS {
        let server = match Server::start(product, &["--cluster-enabled", "yes"]) {
            Ok(server) => server,
            Err(missing) => {
                report_missing(&missing);
                continue;
            }
        };
        let mut client = server.client();
        client.ask(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]);
        let state = poll(|| {
            let Reply::Bulk(info) = client.ask(&["CLUSTER", "INFO"]) else { return None };
            text(&info).contains("cluster_state:ok").then_some(())
        });
        assert!(state.is_some(), "{name}: the cluster comes up");
        let (mut refused, mut silent, mut wrong) = (0, BTreeSet::new(), Vec::new());
        for Listed { name, .. } in listed(&mut client) {
            for call in all_calls(&mut client, &name, &written) {
                let words = words_of(&call);
                let args = words.args().expect("a call");
                let row = foreign::find(args).expect("a known command");
                // The shortest call may be too short, where one of several options is needed.
                let is_asked = row.arity.admits(call.len())
                    && matches!(row.footprint(args), Footprint::Crossing { .. });
                if !is_asked {
                    continue;
                }
                let is_refused = match client.ask(&call) {
                    Reply::Error(error) => error.starts_with(b"CROSSSLOT"),
                    _ => false,
                };
                match (is_refused, row.crosses_undeclared(args)) {
                    (true, false) => refused += 1,
                    (false, true) => drop(silent.insert(name.clone())),
                    (false, false) if RUN_SOMEWHERE.contains(&&*name) => {
                        silent.insert(name.clone());
                    }
                    _ => wrong.push(format!("{}: refused {is_refused}", call.join(" "))),
                }
            }
        }
        let silent: Vec<String> = silent.into_iter().collect();
        say(&format!("{name}: {refused} calls refused over slots; silent: {}", silent.join(", ")));
        assert!(wrong.is_empty(), "{name}:\n{}", wrong.join("\n"));
    }
}

// ── writes ────────────────────────────────────────────────────────────────────────────────────────

/// Commands that write and are not called: what they take is what another command has dumped, or their
/// server refuses it. They count as writers, as COMMAND says.
const NOT_CALLED: &[&str] = &[
    "bf.loadchunk",
    "cf.loadchunk",
    "ft.synadd",
    "graph.bulk",
    "graph.constraint",
    "graph.effect",
    "graph.restore",
];

/// A call that writes.
struct Write {
    before: Vec<Vec<String>>,
    call: Vec<String>,
    watched: String,
}

fn writes() -> Vec<Write> {
    let read = |line: String| {
        let (before, rest) = line.split_once("=> ").expect("what is done before");
        let (call, watched) = rest.split_once(" : ").expect("the watched key");
        let before = before.split(" ; ").map(str::trim).filter(|line| !line.is_empty());
        let before = before.map(split).collect();
        Write { before, call: split(call), watched: watched.to_owned() }
    };
    lines("tests/data/foreign-writes.txt").into_iter().map(read).collect()
}

#[test]
fn what_writes_trips_a_watch_where_the_servers_say_so() {
    for subject in subjects() {
        let (mut client, mut other) = (subject.client(), subject.client());
        let has: BTreeSet<String> = listed(&mut client).into_iter().map(|row| row.name).collect();
        let (mut tripping, mut count, mut wrong) = (0, 0, Vec::new());
        let called: BTreeSet<String> = writes()
            .iter()
            .filter_map(|it| Some(row_of(&it.call)?.full_name().into_owned()))
            .collect();
        for name in has.difference(&called).filter(|name| !NOT_CALLED.contains(&&***name)) {
            let row = row_of(&name.split('|').map(str::to_owned).collect::<Vec<_>>());
            let row = row.expect("a known command");
            // Those of the table run here, and other tests compare them.
            if row.id == 0 && row.writes() && !row.keys.is_empty() {
                wrong.push(format!("{name} writes, and is not called"));
            }
        }
        for Write { before, call, watched } in writes() {
            let words = words_of(&call);
            let args = words.args().expect("a call");
            let row = foreign::find(args).expect("a known command");
            if !has.contains(&*row.full_name()) {
                continue;
            }
            client.ask(&["FLUSHALL"]);
            for line in &before {
                let reply = other.ask(line);
                assert!(!matches!(reply, Reply::Error(_)), "{line:?} is answered {reply:?}");
            }
            client.ask(&["WATCH", &watched]);
            let reply = other.ask(&call);
            assert!(!matches!(reply, Reply::Error(_)), "{call:?} is answered {reply:?}");
            client.ask(&["MULTI"]);
            client.ask(&["PING"]);
            let is_tripped = !matches!(client.ask(&["EXEC"]), Reply::Array(_));
            let mut may_trip = false;
            row.each_written_key(args, |key| may_trip |= key == watched.as_bytes());
            may_trip &= row.trips_watch();
            // XGROUP CREATE trips it where it makes the stream.
            let depends = row.full_name() == "xgroup|create";
            if is_tripped != may_trip && !(may_trip && depends) {
                wrong.push(format!(
                    "{} trips {watched}: {is_tripped}, ours {may_trip}",
                    call.join(" ")
                ));
            }
            (tripping, count) = (tripping + usize::from(is_tripped), count + 1);
        }
        say(&format!("{}: {count} calls, {tripping} of them trip a WATCH", subject.name));
        assert!(wrong.is_empty(), "{}:\n{}", subject.name, wrong.join("\n"));
    }
}
