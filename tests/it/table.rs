//! The table of commands against the reference's: every row as COMMAND INFO and COMMAND DOCS return
//! it, and the keys that COMMAND GETKEYS finds. `docs/commands.md` is generated from the table.
//!
//! Without a `redis-server` the reference is its recorded replies, `tests/data/commands.txt`.
//! `UPDATE=1` in the environment writes both files anew.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use slotway::internals::command::{
    self, Arity, Begin, Find, Keys, Servers, Spec, access, flag, servers,
};

use crate::env::say;
use crate::project_files::{self, assert_fresh};
use crate::references::{self, report_missing};
use crate::server_process::ServerProcess;
use crate::servers::{Product, Server};
use crate::wire::{Answer, Client, Reply, text};

/// Requests for COMMAND GETKEYS.
const REQUESTS: &[&str] = &[
    "append k v",
    "bitfield k get u8 0",
    "bitop and d a b",
    "bitop and d",
    "blmove a b left left 0",
    "blmpop 0 2 a b left",
    "blpop a b 0",
    "command getkeys get k",
    "config get x",
    "copy a b db 0 replace",
    "copy a b",
    "del a a b",
    "dump k",
    "echo x",
    "exists a b",
    "expire k 1",
    "geoadd g 1 1 a",
    "georadius g 1 1 1 m asc",
    "georadius g 1 1 1 m store d storedist e",
    "georadius g 1 1 1 m store d",
    "georadius g 1 1 1 m store",
    "georadius_ro g 1 1 1 m store d",
    "georadiusbymember g a 1 m storedist d",
    "geosearchstore d g fromlonlat 1 1 byradius 1 m",
    "get a b",
    "get k",
    "getdel k",
    "getex k persist",
    "getset k v",
    "hdel h f g",
    "hgetall h",
    "hincrbyfloat h f 1.5",
    "hrandfield h 2 withvalues",
    "hscan h 0 match x",
    "hset h f v",
    "keys *",
    "lcs a b idx",
    "lcs a b",
    "lmove a b left left",
    "lmpop 2 a b left",
    "lmpop 3 a b left",
    "lmpop x a left",
    "lpush l a",
    "mget a b c",
    "mset a 1 b 2",
    "mset a 1 b",
    "mset a 1",
    "mset a",
    "msetnx a 1 b 2",
    "nosuch x",
    "object encoding",
    "object freq k",
    "object nosuch k",
    "pfadd k",
    "pfcount a b c",
    "pfdebug encoding k",
    "pfmerge d a b",
    "pfmerge d",
    "pfselftest",
    "ping x",
    "rename a b",
    "restore k 0 x",
    "scan 0",
    "set k GET",
    "set k v EX 10 GET",
    "set k v get",
    "set k v nx",
    "set k v",
    "set k",
    "setbit k 1 1",
    "setrange k 1 v",
    "sort a by store limit 0 store get store store b store c",
    "sort a store b",
    "sort_ro a store b",
    "touch a b",
    "type k",
    "unlink a",
    "watch a b",
];

/// The recorded replies of the reference.
const RECORDED: &str = "tests/data/commands.txt";

#[test]
fn every_row_equals_the_references() {
    let server = ServerProcess::start(&[]);
    let ours = rows_of(client_of(&server));
    let reference = match references::lease(&[]) {
        Some(oracle) => {
            let live = rows_of(
                Client::connect(oracle.address).expect("the reference accepts connections"),
            );
            let lines = live.iter().map(|(question, answer)| format!("{question}\t{answer}\n"));
            assert_fresh(RECORDED, &lines.collect::<String>(), "table");
            live
        }
        None => {
            say("no redis-server: the rows are compared with its recorded replies in tests/data");
            let lines = std::fs::read_to_string(project_files::path(RECORDED)).expect(RECORDED);
            let pair =
                |line: &str| line.split_once('\t').map(|(q, a)| (q.to_owned(), a.to_owned()));
            lines.lines().map(|line| pair(line).expect("a question and its answer")).collect()
        }
    };
    let mut differences = 0;
    for (question, our_answer) in &ours {
        let Some(answer) = reference.get(question) else {
            panic!("no answer to '{question}' in tests/data: run with UPDATE=1 and a redis-server");
        };
        let is_ours_only = question.starts_with("slotway");
        if answer != our_answer && !is_ours_only {
            differences += 1;
            say(&format!("{question}\n  reference {answer}\n  ours      {our_answer}"));
        }
    }
    assert_eq!(differences, 0, "rows differ from the reference's");
}

/// The rows as the other dialects show them, as their servers do.
#[test]
fn every_dialect_has_the_rows_of_its_server() {
    for (product, dialect) in [
        (Product::Redis8, "redis8"),
        (Product::Redis810, "redis8.10"),
        (Product::Valkey9, "valkey9"),
    ] {
        let reference = match Server::start(product, &[]) {
            Ok(server) => server,
            Err(missing) => {
                report_missing(&missing);
                continue;
            }
        };
        let ours = ServerProcess::start(&["--dialect".to_owned(), dialect.to_owned()]);
        let mut clients = [client_of(&ours), reference.client()];
        let mut differences = 0;
        for name in rows().map(Spec::full_name).filter(|name| !name.starts_with("slotway")) {
            let [ours, reference] = clients.each_mut().map(|client| info_of(client, &name));
            if ours != reference {
                differences += 1;
                say(&format!("{dialect} {name}\n  reference {reference}\n  ours      {ours}"));
            }
        }
        assert_eq!(differences, 0, "rows differ from those of {dialect}'s server");
    }
}

/// The rows of RedisJSON's commands, as Redis Stack has them.
#[test]
fn rows_of_a_module_equal_those_of_its_server() {
    let reference = match Server::start(Product::Stack, &[]) {
        Ok(server) => server,
        Err(missing) => return report_missing(&missing),
    };
    let ours = ServerProcess::start(&["--modules".to_owned(), "json".to_owned()]);
    let mut clients = [client_of(&ours), reference.client()];
    let names: Vec<_> =
        rows().filter(|spec| spec.servers == servers::JSON).map(Spec::full_name).collect();
    assert!(names.len() > 20, "the commands of RedisJSON: {names:?}");
    for name in &names {
        let [ours, reference] = clients.each_mut().map(|client| info_of(client, name));
        assert_eq!(ours, reference, "{name}");
    }
    let mut asked: Vec<Vec<&str>> = vec![vec!["COMMAND", "LIST", "FILTERBY", "MODULE", "ReJSON"]];
    for name in &names {
        asked.push(vec!["COMMAND", "DOCS", name]);
        for arguments in
            [&["a"][..], &["a", "b"], &["a", "b", "c"], &["a", "b", "c", "d", "e", "f"]]
        {
            asked.push([&["COMMAND", "GETKEYS", name][..], arguments].concat());
            asked.push([&["COMMAND", "GETKEYSANDFLAGS", name][..], arguments].concat());
        }
    }
    for request in asked {
        let [ours, reference] = clients.each_mut().map(|client| {
            let reply = ask(client, &request);
            match reply {
                Reply::Array(mut all) if request[1] == "LIST" => {
                    all.sort();
                    Reply::Array(all)
                }
                other => other,
            }
        });
        assert_eq!(line(&ours), line(&reference), "{request:?}");
    }
    // The module as it is listed, but for where it was loaded from.
    let [ours, reference] = clients.each_mut().map(|client| {
        let modules = elements(ask(client, &["MODULE", "LIST"]));
        let rejson = modules.iter().map(line).find(|module| module.contains("ReJSON"));
        let rejson = rejson.expect("RedisJSON is loaded");
        rejson.split(" \"path\"").next().map(str::to_owned)
    });
    assert_eq!(ours, reference);
}

/// What COMMAND INFO says of a command, on one line. Words of a set may come in any order.
fn info_of(client: &mut Client, name: &str) -> String {
    let info = elements(ask(client, &["COMMAND", "INFO", name]));
    let [Reply::Array(info)] = &info[..] else { return UNKNOWN.to_owned() };
    let sorted = |field: &Reply| match field {
        Reply::Array(words) => {
            let mut words: Vec<String> = words.iter().map(line).collect();
            words.sort();
            words.join(" ")
        }
        other => line(other),
    };
    // Subcommands, the last field, have lines of their own.
    info[..9].iter().map(sorted).collect::<Vec<_>>().join(" | ")
}

#[test]
fn docs_of_commands_are_fresh() {
    assert_fresh("docs/commands.md", &page(), "table");
}

// ── replies of a server ───────────────────────────────────────────────────────────────────────────

/// In place of the reply for a command that a server does not know.
const UNKNOWN: &str = "unknown";

/// A server's replies about every row of Slotway's table, and about every one of [`REQUESTS`].
fn rows_of(mut client: Client) -> BTreeMap<String, String> {
    let mut replies = BTreeMap::new();
    for name in rows().map(Spec::full_name) {
        let info = elements(ask(&mut client, &["COMMAND", "INFO", &name]));
        let docs = elements(ask(&mut client, &["COMMAND", "DOCS", &name]));
        let line = match (&info[..], &docs[..]) {
            ([Reply::Array(info)], [_, Reply::Array(docs)]) => {
                // Subcommands, the last field, have lines of their own.
                let info = Reply::Array(info[..9].to_vec());
                let field = |name: &str| {
                    let at = docs.chunks(2).find(|pair| plain(&pair[0]) == name);
                    at.map_or(String::new(), |pair| plain(&pair[1]))
                };
                let [since, group, complexity] = ["since", "group", "complexity"].map(field);
                format!("{} since {since} group {group} complexity {complexity}", line(&info))
            }
            _ => UNKNOWN.to_owned(),
        };
        replies.insert(name.into_owned(), line);
    }
    for request in REQUESTS {
        for question in ["COMMAND GETKEYS", "COMMAND GETKEYSANDFLAGS"] {
            let question = format!("{question} {request}");
            let answer = ask(&mut client, &question.split(' ').collect::<Vec<_>>());
            replies.insert(question, line(&answer));
        }
    }
    replies
}

fn client_of(server: &ServerProcess) -> Client {
    Client::connect(server.address).expect("the server accepts connections")
}

fn ask(client: &mut Client, argv: &[&str]) -> Reply {
    match client.call(argv) {
        Answer::Reply(reply) => reply,
        other => panic!("{argv:?} answers {other:?}"),
    }
}

fn elements(reply: Reply) -> Vec<Reply> {
    match reply {
        Reply::Array(elements) => elements,
        other => panic!("not an array: {other:?}"),
    }
}

fn plain(reply: &Reply) -> String {
    match reply {
        Reply::Bulk(bytes) => text(bytes),
        other => panic!("not a byte string: {other:?}"),
    }
}

/// A RESP2 reply on one line.
fn line(reply: &Reply) -> String {
    match reply {
        Reply::Simple(word) => format!("+{}", text(word)),
        Reply::Error(error) => format!("-{}", text(error)),
        Reply::Int(number) => number.to_string(),
        Reply::Bulk(bytes) => format!("\"{}\"", text(bytes)),
        Reply::Array(elements) => {
            format!("[{}]", elements.iter().map(line).collect::<Vec<_>>().join(" "))
        }
        other => format!("{other:?}"),
    }
}

// ── docs/commands.md ──────────────────────────────────────────────────────────────────────────────

/// The dialects by the servers that they are of.
const DIALECTS: &[(Servers, &str)] = &[
    (servers::REDIS7, "redis7"),
    (servers::REDIS8_2, "redis8"),
    (servers::REDIS8_10, "redis8.10"),
    (servers::VALKEY9, "valkey9"),
];

/// The page, from the table.
fn page() -> String {
    let mut page = String::from(
        "# Commands\n\n\
         What each command does, and how, is Redis': this page says which there are. It is written from the \
         table in `src/command` by `UPDATE=1 cargo test --test it docs`, and a test compares the table with a \
         real Redis.\n\n\
         *Arguments* counts the command's name; *keys* are counted from 1 behind it; *since* is the Redis version \
         that brought the command, and the dialects that have it if not all do.\n",
    );
    let mut groups: Vec<&str> = Vec::new();
    for group in command::all().map(|spec| spec.group.name()) {
        if !groups.contains(&group) {
            groups.push(group);
        }
    }
    for group in groups {
        let (first, rest) = group.split_at(1);
        let _ = write!(
            page,
            "\n## {}{rest}\n\n\
             | command | summary | arguments | keys | flags | running time | since |\n|---|---|---|---|---|---|---|\n",
            first.to_ascii_uppercase(),
        );
        let in_group = command::all().filter(|spec| spec.group.name() == group);
        for spec in in_group
            .flat_map(with_subcommands)
            .filter(|spec| spec.subcommands.is_empty() || spec.arity.admits(1))
        {
            page.push_str(&row(spec));
        }
    }
    page
}

fn row(spec: &Spec) -> String {
    let name = spec.full_name().replace('|', " ").to_ascii_uppercase();
    let arity = match spec.arity {
        Arity::Exactly(n) => n.to_string(),
        Arity::AtLeast(n) => format!("{n} or more"),
    };
    let is_key = |keys: &&Keys| keys.access & access::NOT_KEY == 0;
    let keys: Vec<_> = spec.keys.iter().filter(is_key).map(positions).collect();
    let flags: Vec<_> = flag::NAMES
        .iter()
        .filter(|(bit, _)| spec.flags & bit != 0)
        .map(|(_, name)| *name)
        .collect();
    // Redis' note on the running time may have several sentences; the first one suffices.
    let time = spec.complexity.split(". ").next().unwrap_or_default().trim_end_matches('.');
    let dialects: Vec<_> =
        DIALECTS.iter().filter(|(bit, _)| spec.servers & bit != 0).map(|(_, name)| *name).collect();
    let since = match spec.servers {
        servers::ALL => spec.since.to_owned(),
        _ => format!("{} ({})", spec.since, dialects.join(", ")),
    };
    let cells = [&name, spec.summary, &arity, &keys.join(", "), &flags.join(", "), time, &since];
    format!("| {} |\n", cells.map(|cell| cell.replace('|', "\\|")).join(" | "))
}

/// The positions of keys, in words.
fn positions(keys: &Keys) -> String {
    let from = match keys.begin {
        Begin::Index(at) => at.to_string(),
        Begin::Keyword(word, _) | Begin::KeywordFound(word, ..) => format!("behind {word}"),
        Begin::Unknown(_) => return "as its options say".to_owned(),
    };
    match keys.find {
        Find::Range { last: 0, .. } => from,
        Find::Range { last, step, .. } => {
            let every = if step == 1 { String::new() } else { format!(", one in {step}") };
            let to = match (last, keys.begin) {
                (-1, _) => "the last".to_owned(),
                (..0, _) => format!("the last but {}", last.unsigned_abs() - 1),
                (0.., Begin::Index(at)) => (i64::from(at) + i64::from(last)).to_string(),
                (0.., Begin::Keyword(..) | Begin::KeywordFound(..) | Begin::Unknown(_)) => {
                    format!("{last} behind it")
                }
            };
            format!("{from} to {to}{every}")
        }
        Find::Count { at, .. } => format!("as many as {from} + {at} says"),
    }
}

fn rows() -> impl Iterator<Item = &'static Spec> {
    command::all().flat_map(with_subcommands)
}

fn with_subcommands(spec: &'static Spec) -> impl Iterator<Item = &'static Spec> {
    std::iter::once(spec).chain(spec.subcommands)
}
