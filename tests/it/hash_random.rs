//! Random commands on hashes whose fields expire, sent to a reference and to Slotway in its dialect, with every
//! pair of replies compared; now and then whole hashes with the ends of their fields, and their payloads in
//! both directions.
//!
//! One seed makes one run: `SLOTWAY_SEED` repeats it, `SLOTWAY_HASH_COMMANDS` sets its length.
//!
//! No field expires by itself during a run: ends are far in the future, or in the past. Spans from now are
//! compared loosely, and not with conditions that compare ends. The order of fields is not compared, nor is
//! the encoding: Redis keeps the one for fields that expire when none does any more.

use std::collections::BTreeMap;

use fastrand::Rng;

use crate::env::{say, setting};
use crate::oracle::Reference;
use crate::references;
use crate::server_process::ServerProcess;
use crate::wire::{Answer, Client, Reply, text};

/// The seed of a run that names none.
const SEED: u64 = 0x4A_54_71;
/// The default number of commands: some seconds in a debug build.
const COMMANDS: usize = 6_000;
/// All hashes are compared after this many commands.
const AUDIT_EVERY: usize = 300;
/// Numbers beyond this are times or spans: two of them are the same if they differ by less than
/// [`NEAR`], more than a run takes.
const TIME_MIN: i64 = 1_000_000_000;
const NEAR: u64 = 10_000_000;

const KEYS: &[&str] = &["{t}a", "{t}b", "{t}string"];
const FIELDS: &[&str] = &["f", "g", "h", "1", "-7", "x y", ""];
const VALUES: &[&str] =
    &["v", "1", "2.5", "", "a value that is too long for the form of a small hash: more than 64"];

/// Templates: a weight, then a command. `$…` is drawn anew each time; `a|b` is one of the two, and an
/// empty choice leaves the argument out.
const TEMPLATES: &[&str] = &[
    "10 HSET $key $pairs",
    "2 HSETNX $key $field $value",
    "2 HINCRBY $key $field 1|-5|x",
    "1 HINCRBYFLOAT $key $field 1.5|x",
    "3 HDEL $key $names",
    "8 HEXPIREAT $key $second |NX|XX|GT|LT $fields",
    "8 HPEXPIREAT $key $ms |NX|XX|GT|LT $fields",
    "1 HEXPIREAT $key $second NX|XX|GT GT|LT|XX $fields",
    "3 HEXPIRE $key $span |NX|XX $fields",
    "3 HPEXPIRE $key $span000 |NX|XX $fields",
    "6 HTTL|HPTTL|HEXPIRETIME|HPEXPIRETIME $key $fields",
    "4 HPERSIST $key $fields",
    "5 HGETEX $key $fields",
    "6 HGETEX $key PERSIST|$until $fields",
    "2 HGETEX $key $fields PERSIST|$until",
    "1 HGETEX $key PERSIST|$until PERSIST|$until $fields",
    "4 HSETEX $key |FNX|FXX $fields-values",
    "6 HSETEX $key |FNX|FXX KEEPTTL|$until $fields-values",
    "2 HSETEX $key KEEPTTL|$until FNX|FXX|NX|XX $fields-values",
    "1 HSETEX $key KEEPTTL|$until KEEPTTL|FNX|XX|$until $fields-values",
    "1 HSETEX $key $fields-values KEEPTTL|FNX|$until",
    "6 HGETDEL $key $fields",
    "3 HMGET $key $names",
    "2 HGETALL|HKEYS|HVALS|HLEN $key",
    "2 HEXISTS|HSTRLEN|HGET $key $field",
    "2 EXISTS|TYPE|PERSIST $key",
    "1 EXPIREAT $key 33000000000",
    "1 COPY|RENAME $key $key",
    "1 COPY $key $key REPLACE",
    "1 HSCAN $key 0 COUNT 1000 |NOVALUES",
    "1 DEL|UNLINK $key",
    "1 SET {t}string v",
    "2 WATCH $key",
    "1 UNWATCH",
];

/// The generator of commands.
struct Commands {
    chance: Rng,
    templates: Vec<&'static str>,
}

impl Commands {
    fn new(seed: u64) -> Self {
        let templates = TEMPLATES.iter().flat_map(|line| {
            let (weight, template) = line.split_once(' ').expect("a weight");
            std::iter::repeat_n(template, weight.parse().expect("a weight"))
        });
        Self { chance: Rng::with_seed(seed), templates: templates.collect() }
    }

    fn one_of<'a>(&mut self, all: &[&'a str]) -> &'a str {
        all[self.chance.usize(..all.len())]
    }

    /// A number of fields, which may be wrong, and the fields.
    fn fields(&mut self, has_values: bool, words: &mut Vec<String>) {
        let count = self.chance.usize(1..5);
        let named = match self.chance.u32(..30) {
            0 => self.one_of(&["0", "-1", "x", "2147483648", "9223372036854775807"]).to_owned(),
            1 => (count + 1).to_string(),
            2 => (count - 1).to_string(),
            _ => count.to_string(),
        };
        words.extend(["FIELDS".to_owned(), named]);
        for _ in 0..count {
            words.push(self.one_of(FIELDS).to_owned());
            if has_values {
                words.push(self.one_of(VALUES).to_owned());
            }
        }
    }

    /// A time at which fields expire, in seconds.
    fn second(&mut self) -> String {
        let all = ["33000000000", "33000000001", "40000000000", "9999999999"];
        let odd =
            ["1", "1000", "0", "-1", "x", "", "70368744177", "70368744178", "9223372036854775807"];
        if self.chance.u32(..4) == 0 {
            self.one_of(&odd).to_owned()
        } else {
            self.one_of(&all).to_owned()
        }
    }

    fn word(&mut self, word: &str, words: &mut Vec<String>) {
        let drawn = match word {
            "$key" if self.chance.u32(..40) == 0 => KEYS[2].to_owned(),
            "$key" => self.one_of(&KEYS[..2]).to_owned(),
            "$field" => self.one_of(FIELDS).to_owned(),
            "$value" => self.one_of(VALUES).to_owned(),
            "$second" => self.second(),
            "$ms" => self.second() + self.one_of(&["000", "001", "999"]),
            "$span" | "$span000" => match self.chance.u32(..6) {
                0 => self.one_of(&["0", "-1", "x", "9223372036854775807"]).to_owned(),
                _ => self.one_of(&["2000000000", "3000000000"]).to_owned() + &word[5..],
            },
            "$until" => {
                let unit = self.one_of(&["EXAT", "PXAT", "EX", "PX"]);
                words.push(unit.to_owned());
                return self.word(
                    match unit {
                        "EXAT" => "$second",
                        "PXAT" => "$ms",
                        "EX" => "$span",
                        _ => "$span000",
                    },
                    words,
                );
            }
            "$names" => {
                for _ in 0..self.chance.usize(1..4) {
                    words.push(self.one_of(FIELDS).to_owned());
                }
                return;
            }
            "$pairs" => {
                for _ in 0..self.chance.usize(1..4) {
                    words.extend([FIELDS, VALUES].map(|all| self.one_of(all).to_owned()));
                }
                return;
            }
            "$fields" => return self.fields(false, words),
            "$fields-values" => return self.fields(true, words),
            other => other.to_owned(),
        };
        words.push(drawn);
    }

    fn next(&mut self) -> Vec<String> {
        let template = self.templates[self.chance.usize(..self.templates.len())];
        let mut words = Vec::new();
        for word in template.split(' ') {
            let choices: Vec<&str> = word.split('|').collect();
            let word = self.one_of(&choices);
            if !word.is_empty() {
                self.word(word, &mut words);
            }
        }
        // A WATCH of a key in another slot binds the router's transaction.
        let damage = if words[0] == "WATCH" { 2 } else { self.chance.u32(..50) };
        match damage {
            0 if words.len() > 2 => drop(words.pop()),
            1 => words.push(self.one_of(&["NX", "FIELDS", "f", "EX"]).to_owned()),
            _ => {}
        }
        words
    }
}

/// Puts what has no order into one: names and values in pairs, or elements.
fn in_order(name: &str, reply: Reply) -> Reply {
    let sorted = |elements: Vec<Reply>, width: usize| {
        let mut rows: Vec<&[Reply]> = elements.chunks(width).collect();
        rows.sort_by_key(|row| format!("{row:?}"));
        Reply::Array(rows.concat())
    };
    match (name, reply) {
        ("HKEYS" | "HVALS", Reply::Array(elements)) => sorted(elements, 1),
        ("HGETALL", Reply::Array(elements)) => sorted(elements, 2),
        // The elements of a page, with or without values.
        ("HSCAN", Reply::Array(mut page)) if page.len() == 2 => match page.pop() {
            Some(Reply::Array(elements)) => sorted(elements, 1),
            other => Reply::Array(page.into_iter().chain(other).collect()),
        },
        (_, reply) => reply,
    }
}

fn is_same(theirs: &Reply, ours: &Reply) -> bool {
    match (theirs, ours) {
        (Reply::Int(theirs), Reply::Int(ours)) if *theirs > TIME_MIN => {
            theirs.abs_diff(*ours) < NEAR
        }
        (Reply::Array(theirs), Reply::Array(ours)) => {
            theirs.len() == ours.len()
                && theirs.iter().zip(ours).all(|(theirs, ours)| is_same(theirs, ours))
        }
        _ => theirs == ours,
    }
}

/// The same clients on both servers.
struct Pair {
    theirs: [Client; 2],
    ours: [Client; 2],
    errors: usize,
}

impl Pair {
    fn compare(&mut self, client: usize, words: &[String]) -> Result<(), String> {
        let answers = (self.theirs[client].call(words), self.ours[client].call(words));
        let (Answer::Reply(theirs), Answer::Reply(ours)) = answers else {
            return Err(format!("{words:?}: {answers:?}"));
        };
        self.errors += usize::from(matches!(theirs, Reply::Error(_)));
        let (theirs, ours) = (in_order(&words[0], theirs), in_order(&words[0], ours));
        if is_same(&theirs, &ours) {
            return Ok(());
        }
        Err(format!("{words:?}\nreference: {theirs:?}\nours:      {ours:?}"))
    }

    fn transact(&mut self, client: usize) -> Result<(), String> {
        ["MULTI", "PING", "EXEC"]
            .iter()
            .try_for_each(|word| self.compare(client, &[(*word).to_owned()]))
    }

    /// Compares whole hashes, and moves each to the other server.
    fn audit(&mut self) -> Result<(), String> {
        for key in &KEYS[..2] {
            let [theirs, ours] =
                [&mut self.theirs[0], &mut self.ours[0]].map(|client| ends(client, key));
            if !same_ends(&theirs, &ours) {
                return Err(format!("{key}\nreference: {theirs:?}\nours:      {ours:?}"));
            }
            for is_ours in [false, true] {
                let (from, to) = match is_ours {
                    false => (&mut self.theirs[0], &mut self.ours[0]),
                    true => (&mut self.ours[0], &mut self.theirs[0]),
                };
                let Answer::Reply(Reply::Bulk(sent)) = from.call(&["DUMP", key]) else { continue };
                let sent_ends = ends(from, key);
                let restored = to.call(&[b"RESTORE", &b"{t}moved"[..], b"0", &sent, b"REPLACE"]);
                if restored != Answer::Reply(Reply::Simple(b"OK".to_vec())) {
                    return Err(format!("{key}: {restored:?} for {}", text(&sent)));
                }
                let arrived = ends(to, "{t}moved");
                if sent_ends != arrived {
                    return Err(format!("{key}: sent {sent_ends:?}\narrived {arrived:?}"));
                }
                to.call(&["DEL", "{t}moved"]);
            }
        }
        Ok(())
    }
}

/// The fields of a hash, with their values and their ends.
fn ends(client: &mut Client, key: &str) -> BTreeMap<Vec<u8>, (Vec<u8>, i64)> {
    let Reply::Array(elements) = client.ask(&["HGETALL", key]) else { return BTreeMap::new() };
    let mut all = BTreeMap::new();
    for pair in elements.chunks(2) {
        let [Reply::Bulk(name), Reply::Bulk(value)] = pair else { panic!("HGETALL: {pair:?}") };
        let question: [&[u8]; 5] = [b"HPEXPIRETIME", key.as_bytes(), b"FIELDS", b"1", name];
        let Reply::Array(end) = client.ask(&question) else { panic!("HPEXPIRETIME of {key}") };
        let [Reply::Int(end)] = end[..] else { panic!("HPEXPIRETIME: {end:?}") };
        all.insert(name.clone(), (value.clone(), end));
    }
    all
}

fn same_ends(
    theirs: &BTreeMap<Vec<u8>, (Vec<u8>, i64)>,
    ours: &BTreeMap<Vec<u8>, (Vec<u8>, i64)>,
) -> bool {
    theirs.len() == ours.len()
        && theirs.iter().zip(ours).all(
            |((name, (value, end)), (our_name, (our_value, our_end)))| {
                name == our_name
                    && value == our_value
                    && is_same(&Reply::Int(*end), &Reply::Int(*our_end))
            },
        )
}

/// Plays a run beside a reference.
fn play(reference: Reference, dialect: &str, salt: u64) {
    let number = |name: &str| setting(name).map(|n| n.parse::<u64>().expect(name));
    let seed = number("SLOTWAY_SEED").unwrap_or(SEED ^ salt);
    let length = number("SLOTWAY_HASH_COMMANDS").map_or(COMMANDS, |n| n as usize);
    let Some(oracle) = references::lease_of(reference, &[]) else { return };
    let server = ServerProcess::start(&["--dialect".to_owned(), dialect.to_owned()]);
    let open = |address| Client::connect(address).expect("both servers accept connections");
    let mut pair = Pair {
        theirs: [open(oracle.address), open(oracle.address)],
        ours: [open(server.address), open(server.address)],
        errors: 0,
    };
    let mut commands = Commands::new(seed);
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
                "{dialect}, seed {seed}, step {step}: {difference}\nRepeat: SLOTWAY_SEED={seed} \
                 SLOTWAY_HASH_COMMANDS={} cargo test --test it hash_random",
                step + 1
            );
        }
    }
    let Pair { errors, .. } = pair;
    say(&format!("{dialect}, seed {seed}: {length} commands on hashes compared, {errors} errors"));
    assert!(errors * 2 < length, "the run is dull: {errors} errors");
}

#[test]
fn fields_that_expire_in_redis_8() {
    play(Reference::Redis8, "redis8", 0);
}

#[test]
fn fields_that_expire_in_redis_8_10() {
    play(Reference::Redis810, "redis8.10", 2);
}

#[test]
fn fields_that_expire_in_valkey() {
    play(Reference::Valkey, "valkey9", 1);
}
