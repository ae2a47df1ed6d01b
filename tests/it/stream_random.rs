//! Random commands on streams, sent to a reference and to Slotway in its dialect, with every pair of replies
//! compared; now and then whole streams with their groups, and their payloads in both directions.
//!
//! One seed makes one run: `SLOTWAY_SEED` repeats it, `SLOTWAY_STREAM_COMMANDS` sets its length. A run
//! is played with nodes of the usual size and with small ones.
//!
//! Left out beside Redis 8.2: XGROUP DESTROY. Once ACKED was used, that server goes on as if the group were
//! there that was furthest behind, up to a later XGROUP CREATE; Redis 8.10 does not.
//!
//! What depends on the clock is left out (`*` as an id) or compared loosely: times of delivery, idle
//! times. Minimum idle times are far from what a run lasts.

use fastrand::Rng;

use crate::env::{say, setting};
use crate::oracle::Reference;
use crate::references;
use crate::server_process::ServerProcess;
use crate::wire::{Answer, Client, Reply, text};

/// The seed of a run that names none.
const SEED: u64 = 0x57_2E_A3;
/// The default number of commands: some seconds in a debug build.
const COMMANDS: usize = 6_000;
/// All streams are compared after this many commands.
const AUDIT_EVERY: usize = 500;
/// A time in milliseconds since the epoch is greater than this, other numbers are not.
const TIME_MIN: i64 = 1_000_000_000_000;

const KEYS: &[&str] = &["{t}a", "{t}b", "{t}c", "{t}string"];
const GROUPS: &[&str] = &["g", "h", "7"];
const CONSUMERS: &[&str] = &["alice", "bob", "c", "12"];
const FIELDS: &[&str] = &["f", "name", "temperature", "1", "-77", "x y", ""];
const BAD: &[&str] = &[
    "",
    "x",
    "-1",
    "1-",
    "-",
    "+",
    "$",
    ">",
    "(",
    "(5",
    "5-*",
    "1.5",
    "9223372036854775807",
    "18446744073709551615",
    "18446744073709551616",
    "0-0",
    "0",
    "07-07",
    " 3",
    "\0",
    "MAXLEN",
    "COUNT",
];

/// Templates: a weight, then a command. `$…` is drawn anew each time; `a|b` is one of the two, and an
/// empty choice leaves the argument out.
const TEMPLATES: &[&str] = &[
    "30 XADD $key $new $pairs",
    "6 XADD $key $new $same",
    "4 XADD $key |NOMKSTREAM $id $pairs",
    "2 XADD $key $ms-* $pairs",
    "3 XADD $key |NOMKSTREAM MAXLEN |=|~ $number $new $pairs",
    "3 XADD $key MINID |=|~ $id $new $pairs",
    "2 XADD $key MAXLEN|MINID ~ $number LIMIT $number $new $pairs",
    "2 XLEN $key",
    "6 XRANGE|XREVRANGE $key $edge $edge",
    "4 XRANGE|XREVRANGE $key $edge $edge COUNT $number",
    "2 XRANGE $key - +",
    "1 XREVRANGE $key + - COUNT 1",
    "6 XDEL $key $id $id",
    "3 XDEL $key $id",
    "3 XTRIM $key MAXLEN |=|~ $number",
    "3 XTRIM $key MINID |=|~ $id",
    "1 XTRIM $key MAXLEN|MINID ~ $number LIMIT $number",
    "4 XREAD |COUNT $number STREAMS $key $id",
    "3 XREAD COUNT $number STREAMS $key $key $id $id",
    "1 XREAD BLOCK 1 STREAMS $key $key $ $",
    "1 XREAD STREAMS $key $key $ $id",
    "2 XSETID $key $id",
    "2 XSETID $key $id ENTRIESADDED $number MAXDELETEDID $id",
    "5 XGROUP CREATE $key $group $id|$|0 |MKSTREAM",
    "2 XGROUP CREATE $key $group $id ENTRIESREAD $number",
    "3 XGROUP SETID $key $group $id|$|0|-",
    "2 XGROUP SETID $key $group $id ENTRIESREAD $number",
    "1 XGROUP DESTROY $key $group",
    "2 XGROUP CREATECONSUMER|DELCONSUMER $key $group $consumer",
    "20 XREADGROUP GROUP $group $consumer STREAMS $key >",
    "6 XREADGROUP GROUP $group $consumer COUNT $number |NOACK STREAMS $key >",
    "5 XREADGROUP GROUP $group $consumer COUNT $number STREAMS $key $id|0",
    "2 XREADGROUP GROUP $group $consumer STREAMS $key $key > $id|>",
    "1 XREADGROUP GROUP $group $consumer BLOCK 1 STREAMS $key $key > >",
    "12 XACK $key $group $id $id $id",
    "3 XACK $key $group $id",
    "6 XPENDING $key $group",
    "4 XPENDING $key $group $edge $edge $number |$consumer",
    "2 XPENDING $key $group IDLE $idle - + $number |$consumer",
    "6 XCLAIM $key $group $consumer $idle $id $id",
    "3 XCLAIM $key $group $consumer $idle $id |JUSTID |FORCE |LASTID $id",
    "3 XCLAIM $key $group $consumer 0 $id $id IDLE 100000 RETRYCOUNT $number |FORCE",
    "2 XCLAIM $key $group $consumer 0 $id TIME $number |JUSTID",
    "5 XAUTOCLAIM $key $group $consumer $idle $edge",
    "4 XAUTOCLAIM $key $group $consumer $idle 0 COUNT $number |JUSTID",
    "3 XINFO STREAM $key",
    "3 XINFO STREAM $key FULL |COUNT $number",
    "3 XINFO GROUPS $key",
    "3 XINFO CONSUMERS $key $group",
    "1 COPY|RENAME $key $key",
    "1 COPY $key $key REPLACE",
    "1 DEL $key",
    "1 TYPE $key",
    "1 OBJECT ENCODING $key",
    "1 EXISTS $key $key",
    "1 SET {t}string v",
    "2 WATCH $key",
    "1 UNWATCH",
];

/// What Redis 8.2 has besides, in the same form; `$ids` is a number and that many ids.
const NEWER: &[&str] = &[
    "4 XDELEX $key |KEEPREF|DELREF|ACKED IDS $ids",
    "2 XDELEX $key IDS $ids KEEPREF|DELREF|ACKED",
    "4 XACKDEL $key $group |KEEPREF|DELREF|ACKED IDS $ids",
    "3 XTRIM $key MAXLEN|MINID |=|~ $number KEEPREF|DELREF|ACKED",
    "2 XTRIM $key KEEPREF|DELREF|ACKED MINID |= $id",
    "3 XADD $key |NOMKSTREAM KEEPREF|DELREF|ACKED MAXLEN |=|~ $number $new $pairs",
    "2 XADD $key MINID |=|~ $id KEEPREF|DELREF|ACKED $new $pairs",
    "1 XADD $key KEEPREF|DELREF|ACKED $new $pairs",
];

/// Nodes that are soon full.
const FEW_ENTRIES: &[(&str, &str)] = &[("stream-node-max-entries", "4")];

/// The generator of commands.
struct Commands {
    chance: Rng,
    templates: Vec<&'static str>,
    /// The time of the last id that was new.
    last_ms: u64,
}

impl Commands {
    fn new(seed: u64, reference: Reference) -> Self {
        let is_redis8 = matches!(reference, Reference::Redis8 | Reference::Redis810);
        let newer = if is_redis8 { NEWER } else { &[] };
        let templates = TEMPLATES.iter().chain(newer).flat_map(|line| {
            let (weight, template) = line.split_once(' ').expect("a weight");
            std::iter::repeat_n(template, weight.parse().expect("a weight"))
        });
        let is_there = |template: &&str| {
            reference != Reference::Redis8 || !template.starts_with("XGROUP DESTROY")
        };
        let templates = templates.filter(is_there);
        Self { chance: Rng::with_seed(seed), templates: templates.collect(), last_ms: 1 }
    }

    fn one_of<'a>(&mut self, all: &[&'a str]) -> &'a str {
        all[self.chance.usize(..all.len())]
    }

    /// An id that may exist.
    fn id(&mut self) -> String {
        let ms = self.last_ms.saturating_sub(self.chance.u64(..40));
        match self.chance.u32(..20) {
            0 => "0".to_owned(),
            1 => (self.last_ms + self.chance.u64(1..4)).to_string(),
            2 => ms.to_string(),
            _ => format!("{ms}-{}", self.chance.u32(..3)),
        }
    }

    fn pairs(&mut self, words: &mut Vec<String>) {
        for _ in 0..self.chance.usize(1..4) {
            let field = self.one_of(FIELDS).to_owned();
            let value = match self.chance.u32(..8) {
                0 => self.chance.i64(..).to_string(),
                1 => "v".repeat(self.chance.usize(..200)),
                2 => "long ".repeat(self.chance.usize(..1500)),
                3 => String::new(),
                _ => self.chance.i32(-300..5000).to_string(),
            };
            words.extend([field, value]);
        }
    }

    fn word(&mut self, word: &str, words: &mut Vec<String>) {
        let drawn = match word {
            "$key" if self.chance.u32(..40) == 0 => KEYS[3].to_owned(),
            "$key" => self.one_of(&KEYS[..3]).to_owned(),
            "$group" => self.one_of(GROUPS).to_owned(),
            "$consumer" => self.one_of(CONSUMERS).to_owned(),
            "$new" => {
                self.last_ms += self.chance.u64(..3);
                format!("{}-{}", self.last_ms, self.chance.u32(..3))
            }
            "$ms-*" => format!("{}-*", self.last_ms),
            "$id" => self.id(),
            "$edge" => match self.chance.u32(..8) {
                0 => "-".to_owned(),
                1 => "+".to_owned(),
                2 => format!("({}", self.id()),
                _ => self.id(),
            },
            "$number" => match self.chance.u32(..10) {
                0 => "0".to_owned(),
                1 => "-1".to_owned(),
                2 => "100".to_owned(),
                _ => self.chance.u32(1..12).to_string(),
            },
            "$ids" => {
                let count = self.chance.usize(1..5);
                words.push(count.to_string());
                return words.extend((0..count).map(|_| self.id()));
            }
            "$idle" => self.one_of(&["0", "0", "50000", "999999999", "-5"]).to_owned(),
            "$same" => {
                let value = self.chance.u32(..200).to_string();
                return words.extend(["f", &value, "name", "n"].map(str::to_owned));
            }
            "$pairs" => return self.pairs(words),
            other => other.to_owned(),
        };
        words.push(drawn);
    }

    fn next(&mut self) -> Vec<Vec<u8>> {
        let template = self.templates[self.chance.usize(..self.templates.len())];
        let mut words = Vec::new();
        for word in template.split(' ') {
            let choices: Vec<&str> = word.split('|').collect();
            let word = self.one_of(&choices);
            if !word.is_empty() {
                self.word(word, &mut words);
            } else if choices.len() > 1 && words.last().is_some_and(|last| last == "COUNT") {
                words.pop();
            }
        }
        // A WATCH of a key in another slot binds the router's transaction.
        let damage = if words[0] == "WATCH" { 3 } else { self.chance.u32(..60) };
        match damage {
            0 => {
                let at = self.chance.usize(1..=words.len().max(2) - 1).min(words.len() - 1);
                words[at] = self.one_of(BAD).to_owned();
            }
            1 if words.len() > 2 => drop(words.pop()),
            2 => words.push(self.one_of(BAD).to_owned()),
            _ => {}
        }
        words.into_iter().map(String::into_bytes).collect()
    }
}

/// What is not compared exactly.
#[derive(Clone, Copy)]
struct Loose {
    /// Where a row of XPENDING has an idle time.
    idle_at: Option<usize>,
    /// The names of numbers.
    names: &'static [&'static [u8]],
}

/// Returns whether replies are the same but for times.
fn is_same(theirs: &Reply, ours: &Reply, loose: Loose) -> bool {
    let all_same = |theirs: &[Reply], ours: &[Reply]| {
        let is_idle = |at: usize| {
            let named = at > 0 && loose.names.contains(&bulk(&theirs[at - 1]).unwrap_or_default());
            named
                || loose.idle_at == Some(at)
                    && theirs.len() == 4
                    && matches!(theirs[3], Reply::Int(_))
        };
        theirs.len() == ours.len()
            && theirs.iter().zip(ours).enumerate().all(|(at, (theirs, ours))| {
                is_idle(at) && is_near(theirs, ours) || is_same(theirs, ours, loose)
            })
    };
    match (theirs, ours) {
        (Reply::Int(theirs), Reply::Int(ours)) if *theirs > TIME_MIN => {
            theirs.abs_diff(*ours) < 20_000
        }
        (Reply::Array(theirs), Reply::Array(ours)) | (Reply::Map(theirs), Reply::Map(ours)) => {
            all_same(theirs, ours)
        }
        _ => theirs == ours,
    }
}

fn bulk(reply: &Reply) -> Option<&[u8]> {
    if let Reply::Bulk(bytes) = reply { Some(bytes) } else { None }
}

fn is_near(theirs: &Reply, ours: &Reply) -> bool {
    matches!((theirs, ours), (Reply::Int(a), Reply::Int(b)) if a.abs_diff(*b) < 20_000 && (*a < 0) == (*b < 0))
}

/// The same clients on both servers.
struct Pair {
    reference: Reference,
    theirs: [Client; 2],
    ours: [Client; 2],
    errors: usize,
}

impl Pair {
    fn both<A: AsRef<[u8]>>(&mut self, client: usize, argv: &[A]) -> (Answer, Answer) {
        (self.theirs[client].call(argv), self.ours[client].call(argv))
    }

    fn compare(&mut self, client: usize, argv: &[Vec<u8>]) -> Result<(), String> {
        let (theirs, ours) = self.both(client, argv);
        let idle_at = argv[0].eq_ignore_ascii_case(b"XPENDING").then_some(2);
        // How many nodes a tree has depends on what was deleted in Redis 8.10.
        let names: &[&[u8]] = match self.reference {
            Reference::Redis810 => &[b"idle", b"inactive", b"radix-tree-nodes"],
            _ => &[b"idle", b"inactive"],
        };
        let same = match (&theirs, &ours) {
            (Answer::Reply(theirs), Answer::Reply(ours)) => {
                self.errors += usize::from(matches!(theirs, Reply::Error(_)));
                is_same(theirs, ours, Loose { idle_at, names })
            }
            _ => false,
        };
        if same {
            return Ok(());
        }
        let words: Vec<String> = argv.iter().map(|word| format!("\"{}\"", text(word))).collect();
        Err(format!("{}\nreference: {theirs:?}\nours:      {ours:?}", words.join(" ")))
    }

    /// A transaction of one client, which may have watched a key.
    fn transact(&mut self, client: usize) -> Result<(), String> {
        for words in [&["MULTI"][..], &["PING"], &["EXEC"]] {
            let argv: Vec<Vec<u8>> = words.iter().map(|word| word.as_bytes().to_vec()).collect();
            self.compare(client, &argv)?;
        }
        Ok(())
    }

    /// Compares whole streams, and moves each to the other server and back.
    fn audit(&mut self) -> Result<(), String> {
        for key in &KEYS[..3] {
            for words in [
                &["XINFO", "STREAM", key, "FULL", "COUNT", "0"][..],
                &["XINFO", "STREAM", key],
                &["XREVRANGE", key, "+", "-"],
            ] {
                let argv: Vec<Vec<u8>> =
                    words.iter().map(|word| word.as_bytes().to_vec()).collect();
                self.compare(0, &argv)?;
            }
            let payload = |client: &mut Client| match client.call(&["DUMP", key]) {
                Answer::Reply(Reply::Bulk(bytes)) => Some(bytes),
                _ => None,
            };
            // Redis 8.10 has a form of its own, which is not read here, and reads ours.
            let has_own_form = self.reference == Reference::Redis810;
            for is_ours in [false, true] {
                if has_own_form && !is_ours {
                    continue;
                }
                let (from, to) = match is_ours {
                    false => (&mut self.theirs[0], &mut self.ours[0]),
                    true => (&mut self.ours[0], &mut self.theirs[0]),
                };
                let Some(sent) = payload(from) else { continue };
                let restore = [b"RESTORE", &b"{t}moved"[..], b"0", &sent, b"REPLACE"];
                let restored = to.call(&restore);
                if restored != Answer::Reply(Reply::Simple(b"OK".to_vec())) {
                    return Err(format!("{key}: {restored:?} for {}", text(&sent)));
                }
                let arrived = to.call(&["DUMP", "{t}moved"]);
                if !has_own_form && arrived != Answer::Reply(Reply::Bulk(sent.clone())) {
                    return Err(format!("{key}: sent {}, dumped again {arrived:?}", text(&sent)));
                }
            }
        }
        self.both(0, &["DEL", "{t}moved"]);
        Ok(())
    }
}

/// Plays a run beside a reference.
fn play(reference: Reference, settings: &[(&str, &str)], salt: u64, resp3: bool) {
    let number = |name: &str| setting(name).map(|n| n.parse::<u64>().expect(name));
    let seed = number("SLOTWAY_SEED").unwrap_or(SEED ^ salt);
    let length = number("SLOTWAY_STREAM_COMMANDS").map_or(COMMANDS, |n| n as usize);
    let theirs = [("rdbcompression", "no")].iter().chain(settings);
    let options = theirs.flat_map(|(name, value)| [format!("--{name}"), (*value).to_owned()]);
    let options = options.collect::<Vec<_>>();
    let Some(oracle) = references::lease_of(reference, &options) else { return };
    let dialect = match reference {
        Reference::Redis8 => "redis8",
        Reference::Redis810 => "redis8.10",
        Reference::Valkey => "valkey9",
        Reference::Redis | Reference::Stack => "redis7",
    };
    let server = ServerProcess::start(&["--dialect".to_owned(), dialect.to_owned()]);
    let open = |address| Client::connect(address).expect("both servers accept connections");
    let mut pair = Pair {
        reference,
        theirs: [open(oracle.address), open(oracle.address)],
        ours: [open(server.address), open(server.address)],
        errors: 0,
    };
    for (name, value) in settings {
        pair.ours[0].call(&["CONFIG", "SET", name, value]);
    }
    pair.theirs[0].call(&["FLUSHALL"]);
    if resp3 {
        pair.both(1, &["HELLO", "3"]);
    }
    let mut commands = Commands::new(seed, reference);
    for step in 0..length {
        let client = commands.chance.usize(..2);
        let compared = match commands.chance.u32(..25) {
            0 => pair.transact(client),
            _ => pair.compare(client, &commands.next()),
        };
        let is_due = step % AUDIT_EVERY == AUDIT_EVERY - 1 || step == length - 1;
        let audited = if is_due { compared.and_then(|()| pair.audit()) } else { compared };
        if let Err(difference) = audited {
            panic!(
                "{dialect}, seed {seed}, {settings:?}, step {step}: {difference}\nRepeat: SLOTWAY_SEED={seed} \
                 SLOTWAY_STREAM_COMMANDS={} cargo test --test it stream_random",
                step + 1
            );
        }
    }
    let Pair { errors, .. } = pair;
    say(&format!("seed {seed}: {length} commands on streams compared, {errors} errors"));
    assert!(errors * 2 < length, "the run is dull: {errors} errors");
}

#[test]
fn nodes_of_the_usual_size() {
    play(Reference::Redis, &[], 0, true);
}

#[test]
fn nodes_of_few_entries() {
    play(Reference::Redis, FEW_ENTRIES, 1, false);
}

#[test]
fn nodes_of_few_bytes() {
    let few_bytes = &[("stream-node-max-bytes", "300"), ("stream-node-max-entries", "0")];
    play(Reference::Redis, few_bytes, 2, false);
}

#[test]
fn streams_of_redis_8() {
    play(Reference::Redis8, FEW_ENTRIES, 3, true);
}

#[test]
fn streams_of_redis_8_10() {
    play(Reference::Redis810, FEW_ENTRIES, 5, false);
}

#[test]
fn streams_of_valkey() {
    play(Reference::Valkey, FEW_ENTRIES, 4, true);
}
