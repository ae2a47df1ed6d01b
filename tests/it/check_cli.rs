//! `slotway check` and `slotway explain` from outside: the page, the files, the exit codes.

use crate::program::{End, Folder, PROGRAM, Run};
use serde_json::Value;
use std::fs;
use std::process::Command;

const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/check");

/// Runs the program to its end, with an empty environment.
fn slotway(args: &[&str], stdin: &[u8]) -> End {
    Run::fed(Command::new(PROGRAM).env_clear().args(args), stdin).end()
}

fn data(name: &str) -> String {
    format!("{DATA}/{name}")
}

fn json(args: &[&str]) -> (Option<i32>, Value) {
    let end = slotway(args, b"");
    (end.code, serde_json::from_str(&end.stdout).expect("JSON"))
}

#[test]
fn keys_on_the_command_line() {
    let one = slotway(&["check", "keys", "{u}a", "{u}b"], b"");
    assert_eq!((one.code, one.stderr.as_str()), (Some(0), ""));
    assert!(one.stdout.contains("One slot") && one.stdout.contains(" ^\n"), "{}", one.stdout);
    let two = slotway(&["check", "keys", "a:1", "b:1", "--shards", "2"], b"");
    assert_eq!(two.code, Some(3));
    assert!(two.stdout.contains("a:{1}"), "{}", two.stdout);
    let (code, document) = json(&["check", "keys", "--json", "a", "b"]);
    assert_eq!((code, &document["is_one_slot"]), (Some(3), &Value::Bool(false)));
    assert_eq!(slotway(&["check", "keys"], b"").code, Some(2));
    assert_eq!(slotway(&["check", "keys", "a", "--shards", "0"], b"").code, Some(2));
}

/// A file has passwords where a client sent them; no report has, whatever becomes of the line.
#[test]
fn no_report_has_a_password() {
    const LINES: [&str; 14] = [
        "AUTH s3cret",
        "AUHT s3cret",
        "AUTH user s3cret extra",
        "HELLO 3 AUTH user s3cret SETNAME x",
        "CONFIG SET requirepass s3cret",
        "CONFIG SET masterauth s3cret requirepass",
        "ACL SETUSER user >s3cret",
        "MIGRATE host 1 \"\" 0 100 AUTH s3cret KEYS a b",
        "MIGRATE host 1 \"\" 0 100 AUTH2 user s3cret KEYS a b",
        "MULTI",
        "CONFIG SET requirepass s3cret",
        "SET a 1",
        "SET b 2",
        "EXEC",
    ];
    let folder = Folder::new("check-passwords");
    let quoted = |word: &str| format!("\"{}\"", word.trim_matches('"'));
    let monitor = LINES.map(|line| {
        let words: Vec<String> = line.split(' ').map(quoted).collect();
        format!("1.000001 [0 127.0.0.1:1] {}\n", words.join(" "))
    });
    let history = LINES.map(|line| format!("{line}\n")).concat() + "AUTH \"s3cret\n";
    // In a history AUHT is a typing error, in MONITOR's output an unknown command.
    for (format, text, code) in [("history", history, 3), ("monitor", monitor.concat(), 4)] {
        let file = folder.written(format, &text);
        let names = ["proof.json", "proof.md", "proof.html", "proof.xml", "proof.sarif"];
        let mut args = vec!["check".to_owned(), file, "--format".to_owned(), format.to_owned()];
        for name in names {
            args.extend(["--report".to_owned(), folder.file(name)]);
        }
        let end = slotway(&args.iter().map(String::as_str).collect::<Vec<_>>(), b"");
        assert_eq!(end.code, Some(code), "{format}: {}{}", end.stdout, end.stderr);
        let mut pages = vec![end.stdout, end.stderr];
        pages.extend(names.map(|name| folder.read(name)));
        for page in &pages {
            assert!(!page.contains("s3cret"), "{format}: {page}");
        }
        assert!(pages[2].contains("cross-slot-command"), "it was read: {}", pages[2]);
    }
}

#[test]
fn formats_are_detected_by_the_first_bytes() {
    for (name, formats, code) in [
        ("monitor.txt", &["monitor"][..], 3),
        ("history.txt", &["history"], 3),
        ("dump.rdb", &["rdb"], 3),
        ("mixed.aof", &["rdb"], 3),
        ("appendonlydir", &["rdb", "aof"], 3),
        ("appendonlydir/appendonly.aof.manifest", &["rdb", "aof"], 3),
    ] {
        let (found, document) = json(&["check", &data(name), "--json"]);
        let sources = document["sources"].as_array().expect("a list").iter();
        let detected: Vec<&str> = sources.filter_map(|source| source["format"].as_str()).collect();
        assert_eq!((found, detected.as_slice()), (Some(code), formats), "{name}");
    }
}

#[test]
fn stdin_is_read_to_its_end() {
    let end = slotway(&["check", "-"], b"1.000001 [0 a:1] \"mget\" \"x\" \"y\"\n");
    assert_eq!(end.code, Some(3), "{}", end.stderr);
    assert!(end.stdout.contains("cross-slot-command"), "{}", end.stdout);
    let last = end.stdout.lines().last();
    assert_eq!(last, Some("Next: slotway explain cross-slot-command"));
    let clean = slotway(&["check", "-", "--format", "keys"], b"get x\n");
    assert_eq!(clean.code, Some(0), "{}", clean.stdout);
}

#[test]
fn unreadable_input_is_reported() {
    let folder = Folder::new("check-broken");
    let dump = fs::read(data("dump.rdb")).expect("a file");
    let cut = folder.file("cut.rdb");
    fs::write(&cut, &dump[..dump.len() / 2]).expect("written");
    let end = slotway(&["check", &cut], b"");
    assert_eq!(end.code, Some(2));
    assert!(end.stdout.contains("was read up to byte"), "{}", end.stdout);
    for (args, message) in [
        (&["check", "/nowhere/at/all"][..], "cannot read /nowhere/at/all"),
        (&["check", &folder.file("")], "without a manifest"),
        (&["check", &cut, "--report", "/nowhere/proof.md"], "cannot write /nowhere/proof.md"),
        (&["check", &cut, "--report", "proof.doc"], "must end with .json"),
        (&["check", &cut, "--format", "excel"], "must be one of keys"),
        (&["check"], "Usage"),
        (&["explain", "nosuch"], "there are cross-slot-command"),
    ] {
        let end = slotway(args, b"");
        assert_eq!((end.code, end.stdout.as_str()), (Some(2), ""), "{args:?}");
        assert!(end.stderr.contains(message), "{args:?}: {}", end.stderr);
    }
}

#[test]
fn reports_have_the_format_of_their_file_names() {
    let folder = Folder::new("check-reports");
    let names = ["proof.json", "proof.md", "proof.html", "proof.xml", "proof.sarif"];
    let paths = names.map(|name| folder.file(name));
    let monitor = data("monitor.txt");
    let mut args = vec!["check", &monitor];
    paths.iter().for_each(|path| args.extend(["--report", path]));
    let end = slotway(&args, b"");
    assert_eq!(end.code, Some(3), "{}", end.stderr);
    let starts = ["{\"schema\"", "## slotway", "<!DOCTYPE", "<?xml", "{"];
    for ((name, path), start) in names.iter().zip(&paths).zip(starts) {
        let text = folder.read(name);
        assert!(text.starts_with(start) && text.contains("cross-slot-command"), "{path}");
        assert!(end.stdout.contains(path.as_str()), "{}", end.stdout);
    }
}

#[test]
fn rules_are_explained() {
    let list = slotway(&["explain"], b"");
    assert_eq!(list.code, Some(0));
    for line in list.stdout.lines().take_while(|line| !line.is_empty()) {
        let rule = line.split(' ').next().expect("a name");
        let page = slotway(&["explain", rule], b"");
        assert!(page.code == Some(0) && page.stdout.contains("Fix:"), "{}", page.stdout);
    }
}
