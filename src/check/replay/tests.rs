//! What the replay finds in short conversations.

use super::*;
use crate::check::tokenizer::Words;
use crate::ledger::Weight;
use crate::slot::Slot;

/// Lines `client: command`, `client lua: command`.
fn replayed(conversation: &str) -> Replay {
    let mut replay = Replay::new(3);
    for (at, line) in conversation.lines().enumerate() {
        let Some((client, command)) = line.trim().split_once(": ") else { continue };
        let mut words = Words::default();
        words.split(command.as_bytes()).expect("good words");
        replay.command(&SeenCommand {
            args: words.args().expect("a command"),
            client: client.trim_end_matches(" lua").as_bytes(),
            database: None,
            at_ms: Some(1000 * at as u64),
            spot: Spot::Line(at as u64 + 1),
            by_script: client.ends_with(" lua"),
            has_run: false,
        });
    }
    replay.end();
    replay
}

fn violations(conversation: &str) -> Vec<String> {
    let replay = replayed(conversation);
    let rows = replay.ledger.violations.rows();
    let shown = rows.iter().map(|(kind, row)| {
        let place = row.examples[0].place.map_or(String::new(), |at| format!(" at {at}"));
        format!("{} {} {}{place}", kind.rule.name(), kind.command, row.count)
    });
    shown.collect()
}

#[test]
fn what_a_cluster_would_refuse_is_entered() {
    let cases: &[(&str, &[&str])] = &[
        ("a: mget {x}1 {x}2", &[]),
        ("a: mget x y\na: mget x y", &["cross-slot-command mget 2"]),
        ("a: multi\na: set {x}1 1\na: incr {x}2\na: exec", &[]),
        (
            "a: multi\na: set x 1\na: incr y\na: exec",
            &["cross-slot-transaction multi: set, incr 1 at 2"],
        ),
        ("a: multi\na: ping\na: mset x 1 y 1\na: exec", &["cross-slot-command mset 1 at 2"]),
        ("a: multi\na: set x 1\na: incr y\na: discard\na: get y", &[]),
        ("a: multi\na: set x 1\nb: set y 1\na: exec", &[]),
        ("a: watch x y\na: unwatch", &["cross-slot-watch watch 1"]),
        ("a: watch x\na: watch y\na: multi\na: set x 1\na: exec", &["cross-slot-watch watch 1"]),
        ("a: watch x\na: unwatch\na: watch y", &[]),
        ("a: watch {x}1\na: watch {x}2", &[]),
        ("a: watch x\na: multi\na: set y 1\na: exec", &["watch-elsewhere multi: set 1"]),
        ("a: watch {x}1\na: multi\na: set {x}2 1\na: exec", &[]),
        ("a: watch x\na: unwatch\na: multi\na: set y 1\na: exec", &[]),
        (
            "a: dbsize\na: scan 0\na: lolwut",
            &["node-local-command dbsize 1", "node-local-command scan 1"],
        ),
        ("a: select 0\na: select 3", &["other-database select 1"]),
        ("a: sort l by nosort\na: sort l by w_*", &["sort-by-pattern sort 1"]),
        // foo and other are in different shards of three, foo and b{foo} in one slot.
        (
            "a: eval s 1 foo\na lua: get foo\na lua: get b{foo}\na lua: get bar",
            &["undeclared-script-key eval a0f1490a \"s\": get 1"],
        ),
        ("a: eval s 0\na lua: get foo", &["script-without-keys eval a0f1490a \"s\": get 1"]),
        ("a: eval s 0\na lua: ping\na lua: time", &[]),
        ("a: fcall_ro list 0 7\na lua: get user:7", &["script-without-keys fcall_ro list: get 1"]),
        ("a: move x 1", &["other-database move 1"]),
        ("a: swapdb 0 1", &["other-database swapdb 1"]),
        ("a: copy x {x} db 1", &["other-database copy 1"]),
        ("a: select x", &[]),
        ("a: multi\na: select 1\na: discard", &[]),
        ("a: multi\na: select 1\na: exec", &["other-database select 1"]),
        // A shard channel has a slot without being a key.
        ("a: ssubscribe x y", &["cross-slot-command ssubscribe 1"]),
        ("a: sunsubscribe x y", &["cross-slot-command sunsubscribe 1"]),
        ("a: multi\na: spublish x 1\na: set {x}1 1\na: exec", &[]),
        (
            "a: multi\na: set y 1\na: spublish x 1\na: exec",
            &["cross-slot-transaction multi: set, spublish 1 at 2"],
        ),
        // The hashtag that mends SSUBSCRIBE brings its channels together, and SET to them.
        (
            "a: multi\na: ssubscribe x y z\na: set z 1\na: exec",
            &["cross-slot-command ssubscribe 1 at 1"],
        ),
        (
            "a: eval s 1 foo\na lua: spublish foo 1\na lua: spublish bar 1",
            &["undeclared-script-key eval a0f1490a \"s\": spublish 1"],
        ),
        // Commands that the table does not have.
        ("a: hexpire x 1 fields 1 f\na: json.get x $", &[]),
        ("a: sunioncard 2 x y", &["cross-slot-command sunioncard 1"]),
        ("a: json.mset x $ 1 y $ 2", &["cross-slot-command json.mset 1"]),
        ("a: json.mget x y $\na: json.mget {x}1 {x}2 $", &["undeclared-key json.mget 1"]),
        ("a: msetex 2 x 1 y 2", &["cross-slot-command msetex 1"]),
        (
            "a: multi\na: vadd x values 1 1 e\na: ft.search y *\na: exec",
            &["cross-slot-transaction multi: vadd, ft.search 1 at 2"],
        ),
        ("a: multi\na: json.mget x y $\na: set x 1\na: exec", &["undeclared-key json.mget 1 at 1"]),
    ];
    for (conversation, expected) in cases {
        assert_eq!(violations(conversation), *expected, "{conversation}");
    }
}

#[test]
fn a_script_is_named_by_its_text_wherever_that_was_seen() {
    // The first client's script is that of the SHA-1 that the second one uses.
    let text = r"\n-- visits\nlocal n = redis.call('incr', 'visits:' .. ARGV[1])\nreturn n";
    let sha = "3a40a8596278073976b7f1ad131452707d3fdd3a";
    for (first, expected) in [
        (format!("script load \"{text}\""), "\"-- visits\" line 3: incr"),
        (format!("eval \"{text}\" 1 x"), "\"-- visits\" line 3: incr"),
        ("ping".to_owned(), ": incr"),
    ] {
        let found = violations(&format!("a: {first}\nb: evalsha {sha} 0 7\nb lua: incr visits:7"));
        let name = format!("script-without-keys evalsha {}", &sha[..8]);
        assert_eq!(found, [format!("{name} {expected} 1").replace(" :", ":")], "{first}");
    }
}

#[test]
fn the_argument_that_a_script_made_its_key_from_is_recorded() {
    let from = |conversation| {
        let replay = replayed(conversation);
        let rows = replay.ledger.violations.rows();
        rows[0].1.from.map(|from| (from.place, from.is_whole))
    };
    assert_eq!(from("a: eval s 0 x 7\na lua: get user:7"), Some((2, false)));
    assert_eq!(from("a: eval s 1 foo x user:7\na lua: get user:7"), Some((2, true)));
    assert_eq!(from("a: eval s 1 foo x\na lua: get user:7"), None);
}

#[test]
fn transactions_and_guards_end_as_in_redis() {
    let cases: &[(&str, &[&str])] = &[
        // A nested MULTI and a WATCH within MULTI change nothing.
        (
            "a: multi\na: set x 1\na: multi\na: incr y\na: exec",
            &["cross-slot-transaction multi: set, incr 1 at 2"],
        ),
        ("a: multi\na: watch x y\na: set x 1\na: exec", &[]),
        // EXEC and DISCARD without MULTI do not end a guard.
        ("a: watch x\na: exec\na: watch y", &["cross-slot-watch watch 1"]),
        ("a: watch x\na: discard\na: watch y", &["cross-slot-watch watch 1"]),
        ("a: watch x\na: exec now\na: watch y", &[]),
        ("a: watch x\na: reset\na: watch y", &[]),
        // What is refused spoils the transaction.
        ("a: multi\na: set x 1\na: incr y\na: set x\na: exec", &[]),
        ("a: multi\na: set x\na: mget x y\na: exec", &["cross-slot-command mget 1"]),
        ("a: watch\na: multi\na: set x 1\na: exec", &["exec-after-failed-watch multi: set 1"]),
        ("a: watch\na: unwatch\na: multi\na: set x 1\na: exec", &[]),
        // What no server has is refused by any that we know.
        ("a: multi\na: nosuch k\na: set x 1\na: incr y\na: exec", &[]),
    ];
    for (conversation, expected) in cases {
        assert_eq!(violations(conversation), *expected, "{conversation}");
    }
}

/// In a recording it has run: every command has a place, whether its keys are known or not.
#[test]
fn an_unknown_command_that_has_run_has_a_place() {
    let mut replay = Replay::new(3);
    for line in ["multi", "client setname n", "nosuch k", "set x 1", "incr y", "exec"] {
        let mut words = Words::default();
        words.split(line.as_bytes()).expect("good words");
        replay.command(&SeenCommand {
            args: words.args().expect("a command"),
            client: b"a",
            database: None,
            at_ms: None,
            spot: Spot::Live,
            by_script: false,
            has_run: true,
        });
    }
    let rows = replay.ledger.violations.rows();
    assert_eq!(&*rows[0].0.command, "multi: client|setname, nosuch, set, incr");
    assert_eq!((rows[0].1.examples[0].place, replay.ledger.unknown.total), (Some(4), 1));
}

#[test]
fn a_database_that_was_chosen_before_the_source_began_is_found_once() {
    let mut replay = Replay::new(3);
    for (database, line) in [(3, "get x"), (3, "get x"), (0, "select 0"), (5, "select 5")] {
        let mut words = Words::default();
        words.split(line.as_bytes()).expect("good words");
        replay.command(&SeenCommand {
            args: words.args().expect("a command"),
            client: b"a",
            database: Some(database),
            at_ms: None,
            spot: Spot::Live,
            by_script: false,
            has_run: true,
        });
    }
    let rows = replay.ledger.violations.rows();
    assert_eq!((rows.len(), &*rows[0].0.command, rows[0].1.count), (1, "select", 2));
}

#[test]
fn different_slots_of_one_shard_are_a_matter_of_luck() {
    let shard = |key: &str| Topology::even(3).shard_of(Slot::of(key.as_bytes()));
    let other = (0..).map(|n| format!("k{n}")).find(|k| shard(k) == shard("foo"));
    let other = other.expect("one of many");
    let found = violations(&format!("a: eval s 1 foo\na lua: get {other}"));
    assert_eq!(found, ["shared-shard eval a0f1490a \"s\": get 1"]);
}

#[test]
fn conflicts_name_the_key_and_the_winner() {
    // An aborted transaction is shown without its commands.
    let replay = replayed(
        "a: watch {s}1\nb: incr {s}1\na: multi\na: exec\na: watch {s}1\na: multi\na: set {s}1 5\na: exec",
    );
    let conflicts = &replay.ledger.conflicts;
    let rows = conflicts.rows();
    let (kind, row) = rows[0];
    assert_eq!((&*kind.pattern, &*kind.command, row.count, row.own), ("{s}<int>", "incr", 1, 0));
    assert_eq!((row.winner.address.as_str(), row.loser.address.as_str()), ("b", "a"));
    assert_eq!(conflicts.commits_by_attempts[..3], [0, 1, 0]);
}

/// What a server's WATCH does not notice is no conflict; what it does is one, whichever server runs it.
#[test]
fn writes_of_other_servers_are_conflicts_where_a_watch_notices_them() {
    for (write, expected) in [
        ("incr k", "incr"),
        ("hexpire k 9 fields 1 f", "hexpire"),
        ("json.set k $ 1", "json.set"),
        ("cms.merge k 1 {k}1", "cms.merge"),
        ("xgroup create k g $ mkstream", "xgroup|create"),
        ("pfcount k", "pfcount"),
        ("flushall", "flushall"),
        // It reads the key.
        ("cms.merge {k}1 1 k", ""),
        ("sunionstore {k}1 k {k}2", ""),
        ("json.get k $", ""),
        // Its keys cannot be read: the server refuses it.
        ("msetex 2 k 1", ""),
        // It writes, and touches no WATCH.
        ("cms.incrby k a 1", ""),
        ("xack k g 1-1", ""),
        ("function load x", ""),
    ] {
        let replay = replayed(&format!("a: watch k\nb: {write}\na: multi\na: exec"));
        let rows = replay.ledger.conflicts.rows();
        assert_eq!(rows.first().map_or("", |(kind, _)| &*kind.command), expected, "{write}");
    }
}

#[test]
fn clients_are_named_as_they_name_themselves() {
    let replay = replayed("a: client setname web\na: client setinfo lib-name lib\na: mget x y");
    let rows = replay.ledger.violations.rows();
    assert_eq!(rows[0].1.clients[0].0.shown(), "web lib a");
}

#[test]
fn an_example_names_each_key_once() {
    let replay = replayed("a: multi\na: set x 1\na: get x\na: incr y\na: get x\na: exec");
    let rows = replay.ledger.violations.rows();
    let example = &rows[0].1.examples[0];
    let keys: Vec<&str> = example.keys.iter().map(|key| key.key.as_str()).collect();
    assert_eq!((keys, example.place), (vec!["x", "y"], Some(3)));
}

/// The commands of these keys and of a transaction are all looked at, however many there are.
#[test]
fn nothing_stops_being_looked_at() {
    let mut many: String = (0..5000).map(|n| format!("a: set {{a}}{n} 1\n")).collect();
    many = format!("a: multi\n{many}a: set other 1\na: exec");
    assert_eq!(violations(&many), ["cross-slot-transaction multi: set 1 at 5001"]);
    let keys: String = (0..300_000).map(|n| format!(" {{a}}{n}")).collect();
    let replay = replayed(&format!("a: del{keys} other\na: watch{keys} other"));
    assert_eq!(replay.ledger.key_stats.uses, 300_001);
    let rows = replay.ledger.violations.rows();
    assert_eq!(rows.len(), 2);
    for (kind, row) in rows {
        let example = &row.examples[0];
        assert_eq!(example.keys.len() + example.keys_hidden, 300_001, "{}", kind.command);
        assert!(example.keys.iter().any(|key| key.key == "other"), "{}", kind.command);
    }
    assert_eq!(replay.ledger.unjudged, 0);
}

/// What is more than can be kept is counted, and room that was taken is given back.
#[test]
fn what_cannot_be_kept_is_counted() {
    let mut replay = replayed("a: multi");
    replay.kept_bytes = KEPT_BYTES_MAX;
    assert!(replay.has_room_for(&[b"x"]), "it was taken by nobody");
    let long = vec![b'x'; KEPT_BYTES_MAX];
    assert!(!replay.has_room_for(&[&long]));
    assert_eq!(replay.ledger.unjudged, 1);
    let before = replayed("a: get x").kept_bytes;
    let after = replayed("a: watch x\na: multi\na: set x 1\na: exec\na: watch y\na: unwatch");
    assert_eq!(before, 0);
    assert!(after.kept_bytes <= 2 * bytes_of(&[]), "{}", after.kept_bytes);
}

/// A transaction is one violation, whatever its commands break; so is a script.
#[test]
fn a_transaction_and_a_script_are_one_unit() {
    for (conversation, units, found) in [
        ("a: multi\na: mset d 1 e 2\na: expire d 60\na: expire e 60\na: exec", 1, 1),
        ("a: multi\na: mset d 1 e 2\na: del f g\na: set h 1\na: exec", 1, 3),
        ("a: mset d 1 e 2\na: mset d 1 e 2", 2, 2),
        ("a: multi\na: del d e\na: discard\na: multi\na: del d e\na: exec", 2, 2),
        ("a: eval s 2 d e\na lua: get foo\na lua: get bar\na: get x", 1, 3),
        ("a: watch d e\na: multi\na: set d 1\na: set e 1\na: exec", 2, 2),
    ] {
        let violations = replayed(conversation).ledger.violations;
        let seen = (violations.units(Weight::Error), violations.total);
        assert_eq!(seen, (units, found), "{conversation}");
    }
}

#[test]
fn unknown_commands_are_counted_by_name() {
    let replay = replayed("a: no.such x $ 1\na: NO.SUCH y $ 1\na: get x");
    let Ledger { unknown, counts, .. } = &replay.ledger;
    assert_eq!(unknown.rows(), [("no.such", 2)]);
    assert_eq!((counts.commands, unknown.total), (3, 2));
}
