//! What the recorded files say, read into rows.

use super::*;
use crate::command::args::with_words;
use crate::command::{self, Begin, Find, access, flag};

fn row(line: &str) -> Option<&'static Spec> {
    with_words(line, find)
}

fn keys(line: &str) -> String {
    with_words(line, |args| {
        let mut keys = Vec::new();
        find(args)
            .expect(line)
            .each_key(args, |key| keys.push(String::from_utf8_lossy(key).into_owned()));
        keys.join(" ")
    })
}

#[test]
fn every_line_is_well_formed() {
    assert!(COMMANDS.by_name.len() > 400, "the files were read");
    let rows = COMMANDS.by_name.values().copied();
    for row in rows.flat_map(|row| std::iter::once(row).chain(row.subcommands)) {
        let name = row.full_name();
        assert!(row.name.len() <= NAME_LEN_MAX && row.arity.least() > 0, "{name}");
        assert!(!servers(row).is_empty(), "{name}");
        let depth = usize::from(!row.parent.is_empty());
        for keys in row.keys {
            assert!(keys.access != 0, "{name}: what it does to its keys");
            if let Begin::Index(at) = keys.begin {
                assert!(usize::from(at) > depth, "{name}: a key is not the command's name");
            }
            assert!(
                !matches!(keys.begin, Begin::Keyword(word, _) if word.is_empty()),
                "{name}: keys behind a word"
            );
        }
    }
}

/// What the server cannot specify is a function in `amend`, unless the command is the table's own.
#[test]
fn no_keys_are_left_unspecified() {
    for (server, text) in SERVERS {
        for line in text.lines().filter(|line| line.contains(" unknown unknown")) {
            let name = line.split(' ').next().expect("a name");
            assert!(command::find(name.as_bytes()).is_some(), "{server}: {line}");
        }
    }
}

#[test]
fn malformed_lines_are_refused() {
    for line in [
        "",
        "get",
        "get x",
        "get 2",
        "GET 2 -",
        "get 2 nosuch",
        "get 2 fast fast",
        "get 2 fast | ",
        "get 2 fast | RO",
        "get 2 fast | RO at",
        "get 2 fast | RO at 256",
        "get 2 fast | NO at 1",
        "get 2 fast | RO at 1 by 0",
        "get 2 fast | RO at 1 count 0",
        "get 2 fast | RO at 1 count -1 first 1",
        "get 2 fast | RO at 1 to -1 x",
        "get 2 fast | RO behind X",
        "get 2 fast | RO behind X from",
    ] {
        assert!(Record::read(line, "a server").is_err(), "{line:?}");
    }
    let read = Record::read(
        "a|b -3 write,fast | RO,access at 2 | RW behind X from -2 to -1 by 2 limit 2",
        "s",
    );
    let Spec { name, parent, arity, flags, keys, .. } =
        read.unwrap_or_else(|_| panic!("a good line")).spec;
    assert_eq!((name, parent, arity), ("b", "a", command::Arity::AtLeast(3)));
    assert_eq!(flags, flag::WRITE | flag::FAST);
    assert_eq!(
        (keys[0].access, keys[0].find),
        (access::RO | access::ACCESS, Find::Range { last: 0, step: 1, limit: 0 })
    );
    assert!(matches!(keys[1].begin, Begin::Keyword("X", -2)));
    assert_eq!(keys[1].find, Find::Range { last: -1, step: 2, limit: 2 });
}

#[test]
fn the_tables_own_rows_come_first() {
    let own = row("get k").expect("GET");
    assert!(own.id > 0 && std::ptr::eq(own, command::find(b"get").expect("GET")));
    assert_eq!(servers(own).len(), SERVERS.len() - 1, "all but the module of one server");
    // A container of the table has subcommands elsewhere that it lacks.
    let sync = row("cluster syncslots x").expect("CLUSTER SYNCSLOTS");
    assert_eq!((&*sync.full_name(), sync.id, sync.keys.len()), ("cluster|syncslots", 0, 0));
    assert!(row("client nosuch").is_none() && row("nosuch").is_none());
    assert!(row(&"x".repeat(1000)).is_none());
    assert_eq!(row("XGROUP CREATE s g $").expect("it is known").full_name(), "xgroup|create");
}

#[test]
fn servers_are_named_for_each_command() {
    let of = |line| servers(row(line).expect(line)).join(", ");
    assert_eq!(of("delifeq k v"), "valkey 9.0, valkey 9.1");
    assert_eq!(of("msetex 1 k v"), "valkey 9.1, redis 8.10");
    assert_eq!(of("json.get j"), "redis stack 7.4");
    assert_eq!(of("graph.query g q"), "falkordb 4.16");
    assert_eq!(of("client import-source on"), "valkey 9.0, valkey 9.1");
}

/// An arity that servers do not share is the widest: only what all of them refuse is refused.
#[test]
fn what_one_server_accepts_is_accepted() {
    let arity = |line| row(line).expect(line).arity;
    assert_eq!(arity("vcard v"), command::Arity::AtLeast(1));
    assert_eq!(arity("delifeq k v"), command::Arity::Exactly(3));
}

#[test]
fn keys_that_a_server_leaves_out_are_found_and_marked() {
    for (request, expected, is_silent) in [
        ("json.mget a b c $", "a b c", true),
        ("json.mget a $", "a", false),
        ("json.mget {a}1 {a}2 $", "{a}1 {a}2", false),
        ("json.mset a $ 1 b $ 2", "a b", false),
        ("cms.merge a 2 b c weights 1 2", "a b c", true),
        ("tdigest.merge a 1 b override", "a b", true),
        ("ts.createrule a b aggregation avg 10", "a b", true),
        ("ts.deleterule a b", "a b", true),
        ("msetex 2 a 1 b 2 ex 10", "a b", false),
        ("msetex 1 a 1", "a", false),
        ("tfcall l.f 2 a b x", "a b", true),
        // A contradiction: the command itself answers with an error.
        ("msetex 3 a 1", "", false),
        ("xreadgroup count 1 group streams streams streams a b > >", "a b", false),
        ("xreadgroup group g c count 1", "", false),
        ("eval s 2 a b c", "a b", false),
    ] {
        assert_eq!(keys(request), expected, "{request}");
        let crosses =
            with_words(request, |args| find(args).expect("it is known").crosses_undeclared(args));
        assert_eq!(crosses, is_silent, "{request}");
    }
}

#[test]
fn amended_rows_exist() {
    for name in amend::names() {
        let line = name.replace('|', " ");
        let row = row(&line).expect(name);
        assert!(row.id == 0 && row.full_name() == name, "{name} is not another server's");
    }
}
