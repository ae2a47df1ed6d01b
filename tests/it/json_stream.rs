//! Random commands on JSON documents, sent to Redis Stack and to Slotway, with every pair of replies
//! compared to the last byte; paths of every kind, many of them malformed; and all documents from time
//! to time.
//!
//! One seed makes one stream: `SLOTWAY_SEED` repeats a run, `SLOTWAY_JSON_COMMANDS` sets its length.
//!
//! Left out: the order of members in a reply to several paths, which is random there, and what the server
//! cannot go on from.

use fastrand::Rng;
use slotway::TestCluster;
use std::net::SocketAddr;

use crate::env::{say, setting};
use crate::references::report_missing;
use crate::server_process::ServerProcess;
use crate::servers::{Product, Server};
use crate::wire::{Answer, Client, Reply, text};

/// The seed of a run that names none.
const SEED: u64 = 0x15_0A;
/// The default number of commands: some seconds in a debug build.
const COMMANDS: usize = 8_000;
/// All documents are compared after this many commands.
const AUDIT_EVERY: usize = 200;
/// One in so many commands runs while its key is watched.
const WATCHED: u32 = 8;
/// The commands before a difference that are shown.
const SHOWN: usize = 12;

const KEYS: [&str; 4] = ["{j}a", "{j}b", "{j}c", "{j}string"];
const NAMES: [&str; 7] = ["a", "b", "c", "ab", "a b", "k", "é"];

#[test]
fn random_commands_get_the_same_replies() {
    let number = |name: &str| setting(name).map(|n| n.parse::<u64>().expect(name));
    let seed = number("SLOTWAY_SEED").unwrap_or(SEED);
    let length = number("SLOTWAY_JSON_COMMANDS").map_or(COMMANDS, |n| n as usize);
    let stack = match Server::start(Product::Stack, &[]) {
        Ok(server) => server,
        Err(missing) => return report_missing(&missing),
    };
    let ours = ServerProcess::start(&["--modules".to_owned(), "json".to_owned()]);
    let open = |address| Client::connect(address).expect("both servers accept connections");
    // One pair speaks RESP3; the last watches.
    let mut pairs = [(); 3].map(|()| [open(stack.address), open(ours.address)]);
    pairs[1].iter_mut().for_each(|client| drop(client.call(&["HELLO", "3"])));
    pairs[0].iter_mut().for_each(|client| drop(client.call(&["SET", KEYS[3], "x"])));
    let mut rng = Rng::with_seed(seed);
    let mut history: Vec<String> = Vec::new();
    let (mut errors, mut matched, mut tripped) = (0, 0, 0);
    for step in 0..length {
        let command = draw(&mut rng);
        history.push(command.iter().map(|arg| format!("{arg:?} ")).collect());
        // When a run is repeated up to a difference, its document is shown.
        let before = match step + 1 == length {
            true => shown_answer(&pairs[0][1].call(&["JSON.GET", &command[1]])),
            false => String::new(),
        };
        let fail = |what: &str, theirs: &Answer, ours: &Answer| -> ! {
            let shown = &history[history.len().saturating_sub(SHOWN)..];
            panic!(
                "seed {seed}, step {step}, {what}:\n{}\nof        {before}\nreference {}\nours      {}\n\
                 Repeat: SLOTWAY_SEED={seed} SLOTWAY_JSON_COMMANDS={} cargo test --test it \
                 json_stream::",
                shown.join("\n"),
                shown_answer(theirs),
                shown_answer(ours),
                step + 1
            )
        };
        let mut both = |which: usize, argv: &[&str], what: &str| {
            let [theirs, ours] = pairs[which].each_mut().map(|client| client.call(argv));
            if theirs != ours || !matches!(theirs, Answer::Reply(_)) {
                fail(what, &theirs, &ours);
            }
            theirs
        };
        let argv: Vec<&str> = command.iter().map(String::as_str).collect();
        let is_watched = rng.u32(..WATCHED) == 0;
        if is_watched {
            both(2, &["WATCH", argv[1]], "WATCH");
        }
        let answer = both(usize::from(rng.u32(..4) == 0), &argv, "the reply");
        errors += usize::from(matches!(answer, Answer::Reply(Reply::Error(_))));
        matched += usize::from(!is_empty(&answer));
        if is_watched {
            both(2, &["MULTI"], "MULTI");
            both(2, &["PING"], "PING");
            let ran = both(2, &["EXEC"], "whether a WATCH was tripped");
            tripped += usize::from(ran == Answer::Reply(Reply::NullArray));
        }
        if step % AUDIT_EVERY == AUDIT_EVERY - 1 || step + 1 == length {
            for key in KEYS {
                both(0, &["JSON.GET", key], "a document");
            }
        }
    }
    say(&format!(
        "seed {seed}: {length} commands compared; {matched} with values, {errors} errors, {tripped} \
         watches tripped"
    ));
    if length >= COMMANDS {
        let is_lively =
            matched > length / 3 && errors > 100 && errors < length / 2 && tripped > 100;
        assert!(is_lively, "the stream is dull");
    }
}

/// Without the module its commands are unknown; with it, in a cluster that a test starts, at all ports.
#[test]
fn the_module_is_there_if_it_is_asked_for() {
    let reply = |port: SocketAddr| {
        Client::connect(port).expect("it accepts connections").ask(&["JSON.GET", "{j}nosuch"])
    };
    let without = TestCluster::builder().shards(1).start().expect("a cluster");
    let with = TestCluster::builder().shards(1).json().start().expect("a cluster");
    for port in [without.router(), without.nodes()[0].address] {
        let Reply::Error(error) = reply(port) else { panic!("it has no JSON.GET") };
        assert!(text(&error).contains("unknown command 'JSON.GET'"), "{}", text(&error));
    }
    for port in [with.router(), with.nodes()[0].address] {
        assert_eq!(reply(port), Reply::NullBulk);
    }
}

fn shown_answer(answer: &Answer) -> String {
    match answer {
        Answer::Reply(Reply::Bulk(bytes)) => text(bytes),
        other => format!("{other:?}"),
    }
}

/// Whether a reply has no value in it.
fn is_empty(answer: &Answer) -> bool {
    match answer {
        Answer::Reply(Reply::Array(all)) => all.is_empty(),
        Answer::Reply(Reply::Bulk(bytes)) => bytes == b"[]",
        Answer::Reply(Reply::Error(_) | Reply::NullBulk | Reply::Null | Reply::NullArray) => true,
        _ => false,
    }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

fn draw(rng: &mut Rng) -> Vec<String> {
    let key = if rng.u32(..30) == 0 { KEYS[3] } else { KEYS[rng.usize(..3)] };
    let path = &path(rng);
    let value = &value(rng, 2);
    // Values are set along paths that do not lead on to what they have changed.
    let flat = if path.contains("..") { "$.a.b" } else { path };
    match rng.u32(..46) {
        0..4 => words(&["JSON.SET", key, "$", &document(rng)]),
        4..8 => words(&["JSON.SET", key, flat, value]),
        8 => words(&["JSON.SET", key, flat, value, ["NX", "XX"][rng.usize(..2)]]),
        9..16 => words(&["JSON.GET", key, path]),
        16 => words(&["JSON.GET", key, "INDENT", "  ", "NEWLINE", "\n", "SPACE", " ", path]),
        17 => words(&["JSON.MGET", key, KEYS[rng.usize(..4)], path]),
        18 => words(&["JSON.MSET", key, flat, value, KEYS[rng.usize(..4)], "$", &document(rng)]),
        19 => words(&["JSON.MERGE", key, flat, value]),
        20 => words(&["JSON.MERGE", key, "$", &document(rng)]),
        21 => words(&["JSON.DEL", key, path]),
        22 => words(&["JSON.CLEAR", key, path]),
        23 => words(&["JSON.TYPE", key, path]),
        24 => words(&["JSON.STRLEN", key, path]),
        25 => words(&["JSON.STRAPPEND", key, path, value]),
        26 => words(&["JSON.STRAPPEND", key, path, "\"x\""]),
        27 => words(&["JSON.OBJKEYS", key, path]),
        28 => words(&["JSON.OBJLEN", key, path]),
        29 | 30 => words(&["JSON.ARRAPPEND", key, path, value, "null"]),
        31 => {
            // On a path that leads to one array, or to arrays that are not in each other.
            let path = ["$", "$.a", ".b", "$.c", "$[0]"][rng.usize(..5)];
            words(&["JSON.ARRINSERT", key, path, &rng.i32(-4..5).to_string(), value])
        }
        32 => words(&["JSON.ARRINDEX", key, path, value]),
        33 => words(&["JSON.ARRINDEX", key, path, &int(rng), &index(rng), &index(rng)]),
        34 => words(&["JSON.ARRLEN", key, path]),
        35 => words(&["JSON.ARRPOP", key, flat, &index(rng)]),
        36 => words(&["JSON.ARRPOP", key, flat]),
        37 => words(&["JSON.ARRTRIM", key, flat, &index(rng), &index(rng)]),
        38 | 39 => words(&["JSON.NUMINCRBY", key, path, &number(rng)]),
        40 => words(&["JSON.NUMMULTBY", key, path, &number(rng)]),
        41 => words(&["JSON.TOGGLE", key, path]),
        42 => words(&["JSON.RESP", key, path]),
        43 => words(&["JSON.FORGET", key]),
        44 => words(&["TYPE", key]),
        _ => words(&["JSON.GET", key]),
    }
}

fn pick<'a>(rng: &mut Rng, all: &[&'a str]) -> &'a str {
    all[rng.usize(..all.len())]
}

fn int(rng: &mut Rng) -> String {
    match rng.u32(..8) {
        0 => rng.i64(..).to_string(),
        1 => rng.i64(-100_000..100_000).to_string(),
        _ => rng.i64(-3..6).to_string(),
    }
}

fn index(rng: &mut Rng) -> String {
    rng.i64(-4..7).to_string()
}

fn number(rng: &mut Rng) -> String {
    match rng.u32(..6) {
        0 => pick(rng, &["1e3", "0.1", "-2.5", "1e308", "null", "x", "1 2", "-0"]).to_owned(),
        _ => int(rng),
    }
}

/// A value, nested so deep at most.
fn value(rng: &mut Rng, depth: u32) -> String {
    let kinds = if depth == 0 { 9 } else { 14 };
    match rng.u32(..kinds) {
        0..4 => int(rng),
        4 => pick(rng, &["1.5", "1.0", "-0.25", "1e20", "18446744073709551615"]).to_owned(),
        5 => pick(rng, &["true", "false", "null"]).to_owned(),
        6..9 => format!("\"{}\"", pick(rng, &["x", "a", "", "xy", "é\\n\\\"", "1"])),
        9..11 => {
            let all: Vec<_> = (0..rng.u32(..5)).map(|_| value(rng, depth - 1)).collect();
            format!("[{}]", all.join(","))
        }
        11..13 => {
            let mut member = || format!("\"{}\":{}", pick(rng, &NAMES), value(rng, depth - 1));
            let all: Vec<_> = (0..3).map(|_| member()).collect();
            format!("{{{}}}", all.join(","))
        }
        _ => pick(rng, &["{", "[1,", "tru", "{}", "[]", "1 2", "\"", "[[[]]]"]).to_owned(),
    }
}

/// A document of several levels.
fn document(rng: &mut Rng) -> String {
    let mut member = |name: &str| format!("\"{name}\":{}", value(rng, 3));
    format!("{{{},{},{}}}", member("a"), member("b"), member("c"))
}

fn path(rng: &mut Rng) -> String {
    if rng.u32(..12) == 0 {
        // Anything.
        let parts =
            ["$", ".", "..", "[", "]", "*", "a", "b", "1", "?", "(", ")", "@", "'", "\"", " "];
        let more = [",", ":", "-", "==", "<", "&&", "||", "=~", "!", "é", "\\", "null"];
        let all: String =
            (0..rng.u32(1..8)).map(|_| pick(rng, &[&parts[..], &more].concat())).collect();
        return if rng.bool() { all } else { format!("${all}") };
    }
    let mut path = pick(rng, &["$", "$", "$", "$", "", "."]).to_owned();
    for n in 0..rng.u32(..4) {
        let step = step(rng);
        // A legacy path may begin with a name.
        let bare = path.is_empty() && n == 0 && rng.bool();
        path.push_str(if bare { step.trim_start_matches('.') } else { &step });
    }
    path
}

fn step(rng: &mut Rng) -> String {
    let name = pick(rng, &NAMES[..4]);
    match rng.u32(..20) {
        0..6 => format!(".{name}"),
        6 => format!("[\"{}\"]", pick(rng, &NAMES)),
        7 => format!("['{}','{name}']", pick(rng, &NAMES)),
        8..10 => format!("[{}]", index(rng)),
        10 => format!("[{},{}]", index(rng), index(rng)),
        11 => format!("[{}:{}]", index(rng), index(rng)),
        12 => pick(rng, &["[:2]", "[1:]", "[::2]", "[-2:]", "[0:4:3]", "[:]"]).to_owned(),
        13 | 14 => pick(rng, &["[*]", ".*"]).to_owned(),
        15 => format!("..{name}"),
        16 => pick(rng, &["..*", "..[0]", "..[*]"]).to_owned(),
        _ => format!("[?({})]", filter(rng, 2)),
    }
}

fn filter(rng: &mut Rng, depth: u32) -> String {
    match rng.u32(..10) {
        0 if depth > 0 => format!("{} && {}", filter(rng, depth - 1), filter(rng, depth - 1)),
        1 if depth > 0 => format!("{}||{}", filter(rng, depth - 1), filter(rng, depth - 1)),
        2 if depth > 0 => format!("({})", filter(rng, depth - 1)),
        3 => term(rng),
        _ => {
            let comparison = pick(rng, &["==", "!=", "<", "<=", ">", ">=", "=~"]);
            format!("{}{comparison}{}", term(rng), term(rng))
        }
    }
}

fn term(rng: &mut Rng) -> String {
    match rng.u32(..10) {
        0..3 => format!("@.{}", pick(rng, &NAMES[..4])),
        3 => pick(rng, &["@", "@", "@[0]", "@.*", "@..a", "$.a", "$"]).to_owned(),
        4..7 => int(rng),
        7 => pick(rng, &["'x'", "\"a\"", "\".*\"", "'[xy]+'", "\"\\\\w\"", "\"é\""]).to_owned(),
        8 => pick(rng, &["true", "false", "null", "1.0", "1.5"]).to_owned(),
        _ => format!("@[\"{}\"]", pick(rng, &NAMES)),
    }
}
