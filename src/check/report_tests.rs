//! Reports of fixed input in every format, compared with reviewed snapshots (`snapshots/`;
//! `INSTA_UPDATE=always cargo test --lib check` rewrites them).

use crate::check::{self, Form, Replay};
use crate::rdb::file_window::FileWindow;
use crate::report::proof::rows::WayOutRow;
use crate::report::proof::text::{COLUMNS, COLUMNS_MIN, page};
use crate::report::proof::{EXIT_INPUT, EXIT_NOT_PROVEN, EXIT_VIOLATIONS};
use crate::report::proof::{html, json, junit, markdown, sarif};
use crate::report::{Baseline, Ended, Report, Source};
use crate::text::display::{Paint, width};
use insta::assert_snapshot;
use serde_json::Value;
use std::collections::BTreeSet;

/// The report of a file.
fn of(name: &str, text: &[u8], strict: bool) -> Report {
    let mut replay = Replay::new(3);
    let (mut from, mut progress) = (text, |_| ());
    let form = Form::of(text).expect("a certain form");
    let mut window = FileWindow::new(&mut from, &mut progress);
    let trouble = check::read(&mut window, &form, &mut replay, 2).trouble;
    let source = Source {
        name: name.to_owned(),
        format: form.format.name(),
        why: Some(form.why),
        bytes: text.len() as u64,
        trouble,
        gap: None,
    };
    let mut report = Report::of(&replay.found(), &[source], strict);
    // Snapshots outlive versions.
    report.version = "0.0.0";
    report
}

/// A shop whose keys do not share hashtags: each order takes from the stock and empties a basket.
fn shop() -> Report {
    let mut text = String::new();
    let mut at = 0;
    let mut send = |client: &str, command: &str| {
        at += 7;
        let words: Vec<String> = command.split(' ').map(|word| format!("\"{word}\"")).collect();
        text.push_str(&format!("1700000000.{at:03}000 [0 {client}] {}\n", words.join(" ")));
    };
    send("10.0.0.1:50", "client setname shop-1");
    for n in 1..=20 {
        send("10.0.0.1:50", &format!("watch basket:{n}"));
        send("10.0.0.2:50", &format!("sadd basket:{n} apple"));
        send("10.0.0.1:50", "multi");
        send("10.0.0.1:50", "exec");
        send("10.0.0.1:50", &format!("watch basket:{n}"));
        send("10.0.0.1:50", "multi");
        send("10.0.0.1:50", &format!("del basket:{n} basket:{n}:total"));
        send("10.0.0.1:50", &format!("rpush order:{n} apple"));
        send("10.0.0.1:50", "exec");
        send("10.0.0.2:50", &format!("mget {{user:{n}}}:name {{user:{n}}}:mail"));
        send("10.0.0.2:50", &format!("sinterstore hits tags:{n} news"));
    }
    send("10.0.0.3:50", "dbsize");
    of("shop.monitor", text.as_bytes(), false)
}

fn clean() -> Report {
    of("clean.txt", b"set {u:1}a 1 ; incr {u:1}b\nmget {u:2}a {u:2}b\n", false)
}

fn broken() -> Report {
    let rdb = include_bytes!("../../tests/data/check/dump.rdb");
    of("dump.rdb", &rdb[..rdb.len() / 2], false)
}

/// Two queues of bee-queue: one beginning for all keys of all groups, and more keys than a page of old
/// showed.
fn bees() -> Report {
    let text = "incr bq:paint:id ; hset bq:paint:jobs 1 x ; lpush bq:paint:waiting 1\n\
                rpoplpush bq:paint:waiting bq:paint:active\n\
                zadd bq:paint:delayed 1 1 ; hset bq:paint:jobs 1 x\n\
                lrem bq:paint:active 0 1 ; sadd bq:paint:succeeded 1 ; srem bq:paint:stalling 1\n\
                rpoplpush bq:mail:waiting bq:mail:active\n";
    of("bees.txt", text.as_bytes(), false)
}

/// Sessions whose identifiers change, beside keys with JSON in them.
fn sessions() -> Report {
    let id = |n: usize| format!("0f8fad5b-d9cb-469f-a165-7086772895{n:02}");
    let mut text = "sunionstore q:all q:jobs \"q:ts:{\\\"class\\\":\\\"add\\\"}\"\n".to_owned();
    for n in 0..9 {
        for kind in ["", "expires:"] {
            let key = |n| format!("spring:session:sessions:{kind}{}", id(n));
            text.push_str(&format!("rename {} {}\n", key(n), key(n + 1)));
        }
        text.push_str(&format!("sadd spring:session:expirations:{n}000000 x\n"));
    }
    of("sessions.txt", text.as_bytes(), false)
}

/// An application that ran beside `slotway run`, was refused XADD and sent what no server has: its
/// transaction breaks several rules, and is one violation.
fn lacking() -> Report {
    let text = "multi\nmset d 1 e 2\ndel f g\nset h 1\ndbsize\nexec\nkeys cart:7:*\n";
    let mut replay = Replay::new(3);
    let (mut from, mut progress) = (text.as_bytes(), |_| ());
    let mut window = FileWindow::new(&mut from, &mut progress);
    let form = Form::of(text.as_bytes()).expect("a certain form");
    check::read(&mut window, &form, &mut replay, 2);
    (0..3).for_each(|_| replay.ledger.refused.enter(b"xadd"));
    replay.ledger.unknown.enter(b"nosuch");
    let name = "npm test".to_owned();
    let bytes = text.len() as u64;
    let sources = [Source { name, format: "run", why: None, bytes, trouble: None, gap: None }];
    let mut report = Report::of_ended(
        &replay.found(),
        &sources,
        false,
        Some(Ended { code: 0, open_connections: 0 }),
    );
    report.version = "0.0.0";
    report
}

/// rsmq passes times as keys of its scripts: no hashtag mends that.
#[test]
fn keys_that_are_numbers_alone_are_worth_a_word() {
    let note = "a key that is a number alone";
    for (text, is_noted) in [
        ("evalsha s 2 rsmq:mail 1796014266434\n", true),
        ("mget rsmq:mail 1796014266434\n", true),
        ("mget 1796014266434 1796014266435\n", false),
        ("mget {a}1 {a}2\n", false),
    ] {
        let report = of("rsmq.txt", text.as_bytes(), false);
        let forms = [
            page(&report, &[], COLUMNS, Paint::Off),
            markdown::markdown(&report),
            html::html(&report),
        ];
        for form in forms {
            assert_eq!(form.contains(note), is_noted, "{text}: {form}");
        }
    }
}

#[test]
fn what_was_not_judged_is_not_proven() {
    let report = lacking();
    assert_eq!((report.exit_code, report.verdict().as_str()), (4, "1 violation, and not proven"));
    let refused = "Slotway has no XADD in this dialect: the application was refused 3 times and did something else";
    assert!(report.gaps[0].starts_with(refused), "{:?}", report.gaps);
    assert!(report.gaps[1].starts_with("no server that Slotway knows has NOSUCH"));
    let junit = junit::junit(&report);
    let passed = junit.matches("<testcase").count()
        - junit.matches("<failure").count()
        - junit.matches("<skipped").count();
    assert_eq!(passed, 0, "{junit}");
    // A known violation does not make it proven.
    let mut known = lacking();
    known.allow(&Baseline::of(known.violations.clone().iter()), "known.txt");
    assert_eq!(known.exit_code, 4);
}

/// The shop with a baseline: all but one of its violations are known, and one that is known is gone.
fn known() -> Report {
    let mut report = shop();
    let all = Baseline::of(report.violations.iter()).text();
    let known = all.lines().filter(|line| !line.contains(" sinterstore "));
    let known: Vec<&str> = known.chain(["cross-slot-command mget a b"]).collect();
    let baseline = Baseline::read(&known.join("\n")).expect("lines of a baseline");
    report.allow(&baseline, "known.txt");
    report
}

fn all() -> [(&'static str, Report); 7] {
    [
        ("shop", shop()),
        ("clean", clean()),
        ("broken", broken()),
        ("known", known()),
        ("lacking", lacking()),
        ("bees", bees()),
        ("sessions", sessions()),
    ]
}

#[test]
fn the_way_out_is_what_an_author_can_set() {
    let ways = |report: &Report| {
        let ways = report.way_out.iter();
        let way = |way: &WayOutRow| (way.kind, way.tags.join(" "), way.mends, way.of);
        ways.map(way).collect::<Vec<_>>()
    };
    let [bq, finer] = ["{bq}", "{bq:paint} {bq:mail}"].map(str::to_owned);
    assert_eq!(ways(&bees()), [("beginning", bq, 2, 2), ("part", finer, 2, 2)]);
    let bees = &bees().way_out[0];
    assert_eq!((bees.options[0].library, bees.options[0].option), ("bee-queue", "prefix"));
    assert_eq!(bees.key_price.as_ref().map(|price| price.one_slot), Some(1.0));
    let sessions = ways(&sessions());
    assert_eq!(sessions[0], ("beginning", "{spring:session} {q}".to_owned(), 3, 3));
    assert_eq!((sessions[1].0, sessions[1].2), ("part", 2));
    assert_eq!(
        ways(&shop()),
        [("mixed", "{<int>} {app}".to_owned(), 2, 2), ("prefix", "{app}".to_owned(), 2, 2),]
    );
    assert_eq!((ways(&clean()), ways(&broken())), (vec![], vec![]));
}

#[test]
fn what_is_known_passes_and_nothing_else() {
    let known = known();
    let baseline = known.baseline.as_ref().expect("it was asked for");
    assert_eq!((baseline.new, known.exit_code), (1, EXIT_VIOLATIONS));
    assert_eq!(baseline.gone, ["cross-slot-command mget a b"]);
    let mut report = shop();
    let all = Baseline::of(report.violations.iter());
    report.allow(&all, "known.txt");
    assert_eq!((report.exit_code, report.verdict().starts_with("nothing new: ")), (0, true));
    // Kinds that made room for others cannot be compared with the baseline.
    let mut report = shop();
    report.rules[0].count += 1;
    report.allow(&all, "known.txt");
    assert_eq!(report.exit_code, EXIT_VIOLATIONS);
    let mut unread = broken();
    unread.allow(&Baseline::of(unread.violations.clone().iter()), "known.txt");
    assert_eq!(unread.exit_code, EXIT_INPUT);
}

#[test]
fn what_a_page_leaves_out_of_a_group_is_counted() {
    let keys: Vec<String> = ('a'..='z').map(|name| format!("k:{name}")).collect();
    let text = format!("mget {}\nmget {}\n", keys[..16].join(" "), keys[10..].join(" "));
    let report = of("keys.txt", text.as_bytes(), false);
    let page = page(&report, &[], COLUMNS, Paint::Off);
    assert_eq!(page.matches(" to {k}:").count(), 12, "{page}");
    assert!(page.contains("… and 14 more in the JSON report"), "{page}");
    let markdown = markdown::markdown(&report);
    assert_eq!(markdown.matches("| `{k}:").count(), 20, "{markdown}");
    assert!(markdown.contains("… and 6 keys more."), "{markdown}");
    assert_eq!(html::html(&report).matches("<code>{k}:").count(), 26);
}

#[test]
fn pages() {
    for (name, report) in all() {
        assert_snapshot!(format!("page-{name}"), page(&report, &[], COLUMNS, Paint::Off));
    }
}

#[test]
fn a_page_keeps_to_its_columns() {
    for (name, report) in all() {
        for columns in [COLUMNS_MIN, COLUMNS, 120] {
            let page = page(&report, &["proof.html".to_owned()], columns, Paint::Off);
            for line in page.lines() {
                assert!(width(line) <= columns, "{name}, {columns}: {} {line}", width(line));
            }
        }
    }
}

#[test]
fn other_forms() {
    for (name, report) in all() {
        assert_snapshot!(format!("markdown-{name}"), markdown::markdown(&report));
        assert_snapshot!(format!("junit-{name}"), junit::junit(&report));
    }
    assert_snapshot!("json", pretty(&json::json(&shop())));
    assert_snapshot!(
        "sarif",
        pretty(&sarif::sarif(&shop()).replace(env!("CARGO_PKG_VERSION"), "0.0.0"))
    );
    let html = html::html(&broken()).replace(env!("CARGO_PKG_VERSION"), "0.0.0");
    let squares = html.matches("<rect").count();
    assert_eq!(squares, 1024, "a square for every 16 slots");
    let (start, end) = (html.find("<svg").expect("a map"), html.find("</svg>").expect("a map"));
    assert_snapshot!("html", format!("{}{}", &html[..start], &html[end..]));
}

fn pretty(text: &str) -> String {
    let value: Value = serde_json::from_str(text).expect("JSON");
    serde_json::to_string_pretty(&value).expect("JSON")
}

#[test]
fn exit_codes_follow_what_was_found() {
    let codes = all().map(|(_, report)| report.exit_code);
    let violations = EXIT_VIOLATIONS;
    let lacking = EXIT_NOT_PROVEN;
    assert_eq!(codes, [violations, 0, EXIT_INPUT, violations, lacking, violations, violations]);
    let scan = b"scan 0\nget x\n";
    assert_eq!(
        [of("h", scan, false), of("h", scan, true)].map(|r| r.exit_code),
        [0, EXIT_VIOLATIONS]
    );
}

/// Tags are closed in the order in which they were opened.
#[test]
fn html_and_junit_are_well_formed() {
    for (name, report) in all() {
        for text in [html::html(&report), junit::junit(&report)] {
            let mut open: Vec<&str> = Vec::new();
            let mut rest = text.as_str();
            while let Some(at) = rest.find('<') {
                let tag = &rest[at + 1..];
                let tag = &tag[..tag.find('>').expect("a tag ends")];
                rest = &rest[at + 1 + tag.len()..];
                let name_of = tag.split([' ', '/']).next().unwrap_or_default();
                match tag.as_bytes() {
                    [b'!' | b'?', ..] | [.., b'/'] => {}
                    [b'/', ..] => assert_eq!(open.pop(), tag.get(1..), "{name}"),
                    _ => open.push(name_of),
                }
            }
            assert_eq!(open, Vec::<&str>::new(), "{name}");
        }
    }
}

#[test]
fn hostile_keys_are_escaped_in_every_format() {
    let key = "<script>`|*[x](y)\\x1b[2J";
    let text = format!("1.000001 [0 a:1] \"mget\" \"{key}\" \"b&\\\"'\"\n");
    let report = of("<i>", text.as_bytes(), false);
    assert_eq!(report.totals.errors, 1);
    let page = page(&report, &[], COLUMNS, Paint::Off);
    let markdown = markdown::markdown(&report);
    let marked = html::html(&report) + &junit::junit(&report);
    for text in [&page, &markdown, &marked] {
        assert!(!text.contains('\x1b'), "{text}");
    }
    assert!(!marked.contains("<script>") && !marked.contains("<i>"));
}

/// Every path of the document: `violations[].count`.
fn paths(value: &Value, path: &str, into: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let dot = if path.is_empty() { "" } else { "." };
                paths(value, &format!("{path}{dot}{name}"), into);
            }
        }
        Value::Array(values) if values.iter().any(Value::is_object) => {
            values.iter().for_each(|value| paths(value, &format!("{path}[]"), into));
        }
        _ => drop(into.insert(path.to_owned())),
    }
}

/// Returns the documented paths; `a.{b,c}` in the table is `a.b` and `a.c`.
fn documented() -> BTreeSet<String> {
    let page = include_str!("../../docs/proof.md");
    let (_, page) = page.split_once("## The JSON document").expect("the chapter");
    let mut documented = BTreeSet::new();
    for line in page.lines().filter_map(|line| line.strip_prefix("| `")) {
        let Some((path, _)) = line.split_once('`') else { continue };
        match path.split_once('{') {
            Some((before, names)) => {
                let names = names.trim_end_matches('}').split(',');
                let plain =
                    |name: &str| format!("{before}{name}").trim_end_matches("[]").to_owned();
                documented.extend(names.map(plain));
            }
            None => drop(documented.insert(path.trim_end_matches("[]").to_owned())),
        }
    }
    documented
}

#[test]
fn the_document_is_as_promised() {
    let mut found = BTreeSet::new();
    for (_, report) in all() {
        let value: Value = serde_json::from_str(&json::json(&report)).expect("JSON");
        paths(&value, "", &mut found);
    }
    // A price is null where nothing was counted, and an object elsewhere; so are these.
    let is_price =
        |path: &String| ["_price", ".trouble", "baseline"].iter().any(|end| path.ends_with(end));
    let mut documented = documented();
    found.retain(|path| !is_price(path));
    documented.retain(|path| !is_price(path));
    let of =
        |a: &BTreeSet<String>, b: &BTreeSet<String>| a.difference(b).cloned().collect::<Vec<_>>();
    let missing: Vec<String> = of(&found, &documented)
        .into_iter()
        // A list that is empty in one of the reports.
        .filter(|path| !documented.iter().any(|other| other.starts_with(&format!("{path}[]"))))
        .collect();
    assert_eq!(missing, Vec::<String>::new(), "docs/proof.md lacks these");
    assert_eq!(
        of(&documented, &found),
        Vec::<String>::new(),
        "docs/proof.md has these, the documents do not"
    );
}
