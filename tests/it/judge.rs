//! Tests that the ledger of a running server and `slotway check` agree: random conversations are
//! played to a router under `--cross-slot audit` and replayed by the check, and both report the same
//! rules, commands, keys and places.
//!
//! A failure prints the shortest conversation that proptest finds, one command a line.

use crate::conversation::play;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use slotway::internals::check::{Ledger, Replay, SeenCommand, Spot, Words};
use slotway::internals::command::{self, Spec, flag};
use slotway::internals::router::Router;
use slotway::internals::session::Dialect;
use slotway::internals::state::{ServerConfig, ServerState, Settings, StartupSettings};
use slotway::internals::topology::Topology;
use std::collections::BTreeMap;

/// Keys in three slots, two of which share a shard of four.
const KEYS: &[&str] = &["{a}1", "{a}2", "{b}1", "{b}2", "{e}1"];
/// Keys that are watched: some are written, so that transactions lose their guards, and are judged all
/// the same.
const WATCHED: &[&str] = &["{a}w", "{b}w", "{e}w", "{a}1", "{b}1", "{e}1"];

/// `KEY` stands for one of [`KEYS`], `GUARD` for one of [`WATCHED`]; `;` separates commands.
const CONTROL: &[&str] = &[
    "WATCH GUARD",
    "WATCH GUARD GUARD",
    "MULTI",
    "MULTI",
    "EXEC",
    "EXEC",
    "DISCARD",
    "UNWATCH",
    "RESET ; HELLO 3",
    "MULTI ; SET KEY 1 ; INCR KEY ; EXEC",
    "WATCH GUARD ; MULTI ; SET KEY 1 ; EXEC",
];
const COMMANDS: &[&str] = &[
    "GET KEY",
    "SET KEY 1",
    "MGET KEY KEY",
    "MSET KEY 1 KEY 2",
    "DEL KEY KEY",
    "RENAME KEY KEY",
    "COPY KEY KEY",
    "COPY KEY KEY DB 1",
    "COPY KEY KEY DB 0",
    "COPY KEY KEY DB 99",
    "COPY KEY KEY DB 1 FOO",
    "COPY KEY KEY DB 1 DB 0",
    "COPY KEY KEY REPLACE DB 0 DB 2",
    "COPY KEY KEY DB",
    "LMOVE KEY KEY LEFT RIGHT",
    "BLPOP KEY KEY 0.01",
    "SORT KEY BY w_*",
    "SORT KEY BY nosort",
    "SORT KEY GET #",
    "SORT KEY STORE KEY",
    "SORT KEY BY nosort GET x",
    "SORT KEY LIMIT 0 BY",
    "SORT KEY STORE get",
    "SORT KEY FOO BY w_*",
    "SORT_RO KEY BY x_*",
    "SORT_RO KEY STORE KEY BY x_*",
    "SINTERSTORE KEY KEY KEY",
    "ZUNION 2 KEY KEY",
    "ZUNION x KEY KEY",
    "OBJECT ENCODING KEY",
    "DBSIZE",
    "KEYS *",
    "SCAN 0",
    "RANDOMKEY",
    "FLUSHDB",
    "FLUSHALL",
    "LOLWUT",
    "PING",
    "SWAPDB 0 1",
    "MOVE KEY 1",
    "SELECT 0",
    "SELECT 1",
    "SELECT 99",
    "SELECT x",
    "SELECT -1",
    "SPUBLISH {a}c x",
    "SSUBSCRIBE {a}c",
    "SSUBSCRIBE {a}c {b}c",
    "SUNSUBSCRIBE {a}c {b}c",
    "CLIENT SETNAME n",
    "BITOP AND KEY KEY",
    "PFMERGE KEY KEY",
    "PFCOUNT KEY KEY",
    "GEOSEARCHSTORE KEY KEY FROMLONLAT 1 1 BYRADIUS 1 m",
    "GEORADIUS KEY 1 1 1 m STORE KEY",
    // Commands of other servers, and of none.
    "JSON.SET KEY $ 1",
    "JSON.SET KEY",
    "JSON.MSET KEY $ 1 KEY $ 1",
    "EVAL s 2 KEY KEY",
    "XADD KEY * f v",
    "JSON.MGET KEY KEY $",
    "CLIENT TRACKING ON",
    "CLIENT NOSUCH",
    "NOSUCH KEY",
];
/// Commands that any server refuses before they run or are queued.
const REFUSED: &[&str] = &[
    "GET",
    "RENAME KEY",
    "MULTI x",
    "EXEC x",
    "DISCARD x",
    "WATCH",
    "UNWATCH x",
    "CLIENT SETNAME",
];

/// Arguments, other than keys, of the requests that are generated from rows.
const WORDS: &[&str] =
    &["1", "2", "x", "by", "get", "store", "w_*", "nosort", "limit", "left", "0"];

/// Returns the rows of commands that have keys, and neither block nor connect to another server.
fn rows() -> Vec<&'static Spec> {
    let is_fit = |spec: &&Spec| {
        !spec.keys.is_empty()
            && spec.flags & (flag::BLOCKING | flag::MIGRATES) == 0
            && spec.flags & (flag::READ | flag::WRITE) != 0
    };
    command::all().filter(is_fit).collect()
}

/// Generates commands from templates.
fn templates(from: &'static [&'static str]) -> impl Strategy<Value = Vec<String>> {
    (select(from), prop::collection::vec(any::<Index>(), 8)).prop_map(|(template, picks)| {
        let mut picks = picks.into_iter().cycle();
        let mut pick = |from: &[&str]| match picks.next() {
            Some(index) => from[index.index(from.len())].to_owned(),
            None => String::new(),
        };
        let words = template.split(' ').map(|word| match word {
            "KEY" => pick(KEYS),
            "GUARD" => pick(WATCHED),
            word => word.to_owned(),
        });
        let line = words.collect::<Vec<_>>().join(" ");
        line.split(" ; ").map(str::to_owned).collect()
    })
}

/// Generates a command of any row, with as many arguments as it needs, or a few more.
fn from_a_row() -> impl Strategy<Value = Vec<String>> {
    let word = prop_oneof![3 => select(KEYS), 1 => select(WORDS)];
    (select(rows()), prop::collection::vec(word, 16), 0..4_usize).prop_map(|(spec, words, more)| {
        let count = spec.arity.least() - 1 + more;
        let line = [spec.name].into_iter().chain(words.into_iter().take(count));
        vec![line.collect::<Vec<_>>().join(" ")]
    })
}

fn conversation() -> impl Strategy<Value = Vec<String>> {
    let some = prop_oneof![
        6 => templates(CONTROL),
        6 => templates(COMMANDS),
        3 => from_a_row(),
        1 => templates(REFUSED),
    ];
    prop::collection::vec(some, 1..12).prop_map(|lines| lines.concat())
}

/// Returns a router with two databases.
fn router(policy: &[u8]) -> Router {
    let settings = Settings::new(StartupSettings { databases: 2, ..StartupSettings::default() });
    settings.set(&[(b"cross-slot", policy)]).expect("a setting");
    let config = ServerConfig { settings, topology: Topology::even(4), ..ServerConfig::default() };
    Router::new(ServerState::new(config), &Dialect::REDIS7, 7)
}

fn live(lines: &[String], policy: &[u8]) -> Ledger {
    let router = router(policy);
    let wire = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        let words: String =
            words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len())).collect();
        format!("*{}\r\n{words}", line.split(' ').count())
    };
    // With RESP3 a subscriber may send any command.
    let all: Vec<String> =
        ["HELLO 3"].into_iter().chain(lines.iter().map(String::as_str)).map(wire).collect();
    let pieces: Vec<&[u8]> = all.iter().map(String::as_bytes).collect();
    play(&router, &pieces);
    router.server.router().observer.recorder.ledger(&router.server.router().clients, 1)
}

/// Lines that begin with `lua ` are what a script calls.
fn replayed(lines: &[String]) -> Ledger {
    let mut replay = Replay::new(4);
    for (at, line) in lines.iter().enumerate() {
        let called = line.strip_prefix("lua ");
        let mut words = Words::default();
        called.unwrap_or(line).split(' ').for_each(|word| words.push(word.as_bytes()));
        replay.command(&SeenCommand {
            args: words.args().expect("a command"),
            client: b"",
            database: None,
            at_ms: None,
            spot: Spot::Line(at as u64 + 1),
            by_script: called.is_some(),
            has_run: false,
        });
    }
    replay.end();
    replay.ledger
}

/// The findings that both must agree on: for each kind of violation its count, the requests that it
/// leads, and the keys and the place of its examples.
type Found = BTreeMap<String, ((u64, u64), Vec<(Vec<String>, usize, Option<usize>)>)>;

fn found(ledger: &Ledger) -> Found {
    let rows = ledger.violations.rows().into_iter().map(|(kind, row)| {
        let examples = row.examples.iter().map(|example| {
            let keys = example.keys.iter().map(|key| key.key.clone()).collect();
            (keys, example.keys_hidden, example.place)
        });
        let name = format!("{} {} {:?}", kind.rule.name(), kind.command, kind.patterns);
        (name, ((row.count, row.units), examples.collect()))
    });
    rows.collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_audit_and_a_replay_report_the_same(lines in conversation()) {
        let (live, replayed) = (live(&lines, b"audit"), replayed(&lines));
        prop_assert_eq!(live.dropped, 0);
        prop_assert_eq!(found(&live), found(&replayed), "\nlive and replayed:\n{}", lines.join("\n"));
    }

    /// A server that refuses commands reports one of the rules that each of them breaks: the one
    /// that it was refused for.
    #[test]
    fn what_is_refused_is_reported_once(lines in prop::collection::vec(
        prop_oneof![3 => templates(COMMANDS), 1 => from_a_row()],
        1..8,
    )) {
        let lines = lines.concat();
        let (live, replayed) = (live(&lines, b"reject"), found(&replayed(&lines)));
        for (kind, ((count, _), _)) in found(&live) {
            let most = replayed.get(&kind).map_or(0, |((count, _), _)| *count);
            prop_assert!(count <= most, "{}: {} of {}\n{}", kind, count, most, lines.join("\n"));
        }
        let breaks_any = |line: &&String| self::replayed(&[(*line).clone()]).violations.total > 0;
        let expected = lines.iter().filter(breaks_any).count() as u64;
        prop_assert_eq!(live.violations.total, expected, "{}", lines.join("\n"));
    }
}

/// Conversations that were judged differently once.
#[test]
fn an_audit_and_a_replay_agree_on_what_they_once_did_not() {
    for (text, expected) in [
        (
            "WATCH x:0;MULTI;SINTERSTORE tmp x:0 y:0;RENAME tmp x:0;EXEC",
            &["cross-slot-command rename", "cross-slot-command sinterstore"][..],
        ),
        ("WATCH x;MULTI;RENAME tmp x;EXEC", &["cross-slot-command rename"]),
        ("MULTI;JSON.SET {a}1 $ 1;SELECT 1;SET {a}2 1;EXEC", &["other-database select"]),
        ("MULTI;MSET d 1 e 2;EXPIRE d 60;EXPIRE e 60;EXEC", &["cross-slot-command mset"]),
        ("WATCH a;SET a 1;MULTI;SET b 1;EXEC", &["watch-elsewhere multi: set"]),
        ("WATCH a;SET a 1;MULTI;SET a 1;SET b 1;EXEC", &["cross-slot-transaction multi: set"]),
    ] {
        let lines: Vec<String> = text.split(';').map(str::to_owned).collect();
        let (live, replayed) = (found(&live(&lines, b"audit")), found(&replayed(&lines)));
        assert_eq!(live, replayed, "{text}");
        let kinds: Vec<&str> =
            live.keys().map(|kind| &kind[..kind.find(" [").unwrap_or(0)]).collect();
        assert_eq!(kinds, expected, "{text}");
    }
}

/// Behind each script is what it calls, as MONITOR shows it.
#[test]
fn scripts_are_named_alike_by_an_audit_and_by_a_replay() {
    for (text, expected) in [
        (
            "EVAL redis.call('get','{b}1') 1 {a}1;lua get {b}1",
            &[r#"undeclared-script-key eval 4eb22600 "redis.call('get','{b}1')" line 1: get"#][..],
        ),
        ("EVAL redis.call('get',KEYS[1]) 1 {a}1;lua get {a}1", &[]),
        ("EVAL redis.call('ping') 0;lua ping", &[]),
        (
            "EVAL redis.call('incr','n:'..ARGV[1]) 0 7;lua incr n:7",
            &[
                r#"script-without-keys eval 5b61345a "redis.call('incr','n:'..ARGV[1])" line 1: incr"#,
            ],
        ),
        (
            "SCRIPT LOAD \nreturn(redis.call('SET',ARGV[1],1));EVALSHA dc17462c27a8978ff3eb5a4d5ef2d7313bb1f27d 0 n;lua set n 1",
            &[
                r#"script-without-keys evalsha dc17462c "return(redis.call('SET',ARGV[1],1))" line 2: set"#,
            ],
        ),
        (
            "EVAL redis.call('set','{a}1',1)redis.call('del','{b}1') 0;lua set {a}1 1;lua del {b}1",
            &[
                r#"script-without-keys eval 2c148d95 "redis.call('set','{a}1',1)redis.call('de…" line 1: del"#,
                r#"script-without-keys eval 2c148d95 "redis.call('set','{a}1',1)redis.call('de…" line 1: set"#,
            ],
        ),
    ] {
        let lines: Vec<String> = text.split(';').map(str::to_owned).collect();
        let sent: Vec<String> =
            lines.iter().filter(|line| !line.starts_with("lua ")).cloned().collect();
        let (live, replayed) = (found(&live(&sent, b"audit")), found(&replayed(&lines)));
        assert_eq!(live, replayed, "{text}");
        let kinds: Vec<&str> =
            live.keys().map(|kind| &kind[..kind.find(" [").unwrap_or(0)]).collect();
        assert_eq!(kinds, expected, "{text}");
    }
}

/// The generator reaches every rule that a conversation can break, so that agreement is evidence.
#[test]
fn conversations_break_every_rule() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for _ in 0..300 {
        let lines = conversation().new_tree(&mut runner).expect("a conversation").current();
        for (kind, row) in replayed(&lines).violations.rows() {
            *counts.entry(kind.rule.name()).or_default() += row.count;
        }
    }
    let expected = [
        "cross-slot-command",
        "cross-slot-transaction",
        "cross-slot-watch",
        "exec-after-failed-watch",
        "node-local-command",
        "other-database",
        "sort-by-pattern",
        "undeclared-key",
        "watch-elsewhere",
    ];
    assert_eq!(counts.keys().copied().collect::<Vec<_>>(), expected, "{counts:?}");
}
