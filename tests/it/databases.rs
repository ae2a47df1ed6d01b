//! Random commands over several databases, sent to one redis-server and to Slotway with `--cross-slot
//! audit`: every pair of replies is compared, and every keyspace event with its database and its place.
//!
//! ```text
//! a command ─► both ─► reply = reply          PUBLISH of a marker ends the events of a command
//!                      events = events        the blocked clients that it served = those served here
//! ```
//!
//! Commands go out one at a time, so that the order is one. Left out is what depends on more than
//! that: keys that expire by themselves while other commands run (they expire in rounds of their own),
//! and SWAPDB while clients block on several keys (the reference serves them in the order of its hash).
//! Left out are intended differences, too: a transaction that fills several awaited keys of database
//! 0, a BLMOVE over slots (docs/policies.md), and awaited keys of another type that a command with
//! STORE overwrites (docs/differences.md). `SLOTWAY_SEED` repeats a run, `SLOTWAY_DIFF_COMMANDS` sets its length.

use crate::env::{poll, say, setting};
use crate::references;
use crate::server_process::ServerProcess;
use crate::wire::{Answer, Client, Reply, text};
use fastrand::Rng;
use std::collections::VecDeque;
use std::net::SocketAddr;

const SEED: u64 = 0xDB16;
const COMMANDS: usize = 6_000;
/// Everything is compared, and keys expire, after this many commands.
const AUDIT_EVERY: usize = 500;
/// Commands in a report.
const HISTORY: usize = 60;
const CLIENTS: usize = 5;
const DATABASES: &[&str] = &["0", "0", "0", "1", "1", "6", "6", "15"];
/// Each in a slot of its own, or two in one.
const NAMES: &[&str] = &["a", "b", "{a}2", "c"];

/// A weight, then a command: `$…` is drawn anew each time, `x|y` is one of the two, and an empty choice
/// leaves the argument out.
const COMMON: &[&str] = &[
    "12 SELECT $db",
    "1 SELECT 16|-1|x",
    "10 COPY $key $key DB $db |REPLACE",
    "4 COPY $key $key |REPLACE DB $db",
    "2 COPY $key $key DB $db DB $db",
    "3 COPY $key $key |REPLACE",
    "2 COPY sorted sorted DB $db |REPLACE",
    "2 COPY w_$digit w_$digit DB $db REPLACE",
    "1 COPY $key $key DB 16|-1|x|99999999999 |REPLACE",
    "1 COPY $key $key DB|FOO",
    "10 MOVE $key $db",
    "2 MOVE w_$digit|sorted $db",
    "1 MOVE $key 16|-1|x",
    "1 SWAPDB $db 16|-1|x",
    "6 SET s_$name $digit",
    "2 SET s_$name $digit EX 1000 |NX|XX",
    "3 INCR s_$name",
    "2 APPEND s_$name $digit",
    "4 GET s_$name",
    "3 MGET s_$name s_$name $key w_$digit",
    "3 MSET s_$name $digit s_$name $digit",
    "1 MSETNX s_$name $digit s_$name $digit",
    "5 DEL|UNLINK $key $key",
    "3 RENAME|RENAMENX $key $key",
    "3 EXPIRE $key 1000|2000 |NX|XX|GT",
    "1 EXPIRE $key -1",
    "2 PERSIST $key",
    "3 EXISTS|TOUCH $key $key",
    "3 TYPE $key",
    "3 TTL $key",
    "1 OBJECT ENCODING $key",
    "6 RPUSH|LPUSH l_$name $digit $digit",
    "3 LPOP|RPOP l_$name |2",
    "2 LRANGE l_$name 0 -1",
    "3 LMOVE l_$name l_$name LEFT|RIGHT LEFT|RIGHT",
    "4 SADD t_$name $digit $digit",
    "2 SREM t_$name $digit",
    "2 SMOVE t_$name t_$name $digit",
    "2 SUNIONSTORE|SINTERSTORE|SDIFFSTORE t_$name t_$name t_$name",
    "4 ZADD z_$name $digit m$digit $digit m$digit",
    "2 ZPOPMIN|ZPOPMAX z_$name",
    "2 ZUNIONSTORE z_$name 2 z_$name z_$name",
    "1 ZRANGESTORE z_$name z_$name 0 -1",
    "3 HSET h_$digit f $digit",
    "3 SET w_$digit $digit",
    "3 RPUSH sorted $digit $digit",
    "1 LTRIM sorted 0 8",
    "3 SORT|SORT_RO sorted BY w_* |DESC GET # GET h_*->f GET w_*",
    "4 SORT sorted |DESC BY w_* GET # GET w_* STORE l_$name",
    "2 SORT t_$name BY nosort|w_* STORE l_$name",
    "1 SORT t_$name |DESC STORE l_$name",
    "1 FLUSHDB",
    "4 DBSIZE",
    "2 RANDOMKEY",
    "2 KEYS *|l_*",
    "2 SCAN 0 COUNT 10000 |TYPE |list",
    "2 INFO keyspace",
];

/// Only outside a transaction: the first three begin one, or guard it.
const OUTSIDE: &[&str] = &[
    "14 MULTI",
    "8 WATCH $key $key",
    "4 WATCH $key",
    "1 UNWATCH",
    "5 SWAPDB $db $db",
    "1 RESET",
    "2 EXEC|DISCARD",
    "4 BLPOP|BRPOP l_$name l_$name 0",
    "4 BLPOP l_$name 0",
    "3 BLMOVE l_{x}1|l_{x}2 l_{x}2|l_{x}1|s_{x} LEFT RIGHT 0",
    "2 BLMPOP 0 2 l_$name l_$name LEFT COUNT 2",
    "2 BZPOPMIN|BZPOPMAX z_$name z_$name 0",
    "2 RPUSH l_{x}1|l_{x}2 $digit",
    "3 COPY l_$name l_{x}1|l_{x}2 DB $db REPLACE",
    "2 MOVE l_{x}1|l_{x}2 $db",
];

const INSIDE: &[&str] = &["40 EXEC", "5 DISCARD", "1 MULTI", "1 WATCH a", "1 NOSUCH x"];

/// A client on both servers.
struct Pair {
    theirs: Client,
    ours: Client,
    ids: [i64; 2],
    in_multi: bool,
    queued: Vec<Vec<String>>,
    /// The number of keys that it is blocked on.
    blocked_on: usize,
}

impl Pair {
    fn connect(theirs: SocketAddr, ours: SocketAddr) -> Self {
        let open = |address| Client::connect(address).expect("both servers accept connections");
        let mut pair = Self {
            theirs: open(theirs),
            ours: open(ours),
            ids: [0; 2],
            in_multi: false,
            queued: vec![],
            blocked_on: 0,
        };
        for (client, id) in [&mut pair.theirs, &mut pair.ours].into_iter().zip(&mut pair.ids) {
            let Reply::Int(its) = client.ask(&["CLIENT", "ID"]) else { panic!("CLIENT ID") };
            *id = its;
        }
        pair
    }

    fn both(&mut self) -> [&mut Client; 2] {
        [&mut self.theirs, &mut self.ours]
    }
}

/// What the comparison has seen.
#[derive(Debug, Default)]
struct Counts {
    replies: usize,
    errors: usize,
    events: usize,
    transactions: usize,
    lost: usize,
    served: usize,
    copies: usize,
    moves: usize,
    expired: usize,
}

struct Comparison {
    rng: Rng,
    clients: Vec<Pair>,
    /// Inspects both servers; its database is chosen for each question.
    probe: Pair,
    /// Subscribed to every keyspace event and the marker.
    listener: Pair,
    markers: u64,
    history: VecDeque<String>,
    counts: Counts,
    common: Vec<Vec<&'static str>>,
    outside: Vec<Vec<&'static str>>,
    inside: Vec<Vec<&'static str>>,
}

#[test]
fn random_commands_over_databases_get_the_same_replies_and_events() {
    let number = |name: &str| setting(name).map(|n| n.parse::<u64>().expect(name));
    let seed = number("SLOTWAY_SEED").unwrap_or(SEED);
    let length = number("SLOTWAY_DIFF_COMMANDS").map_or(COMMANDS, |n| n as usize);
    let alone = ["--cluster-enabled", "no", "--databases", "16"].map(str::to_owned);
    let Some(oracle) = references::lease(&alone) else { return };
    let ours = ServerProcess::start(&["--cross-slot", "audit"].map(str::to_owned));
    let mut comparison = Comparison::new(seed, oracle.address, ours.address);
    for step in 0..length {
        let mut outcome = comparison.step();
        if outcome.is_ok() && (step % AUDIT_EVERY == AUDIT_EVERY - 1 || step == length - 1) {
            outcome = comparison.audit().and_then(|()| comparison.expire());
        }
        if let Err(difference) = outcome {
            let lines: Vec<_> = comparison.history.iter().map(String::as_str).collect();
            panic!(
                "seed {seed}, step {step}: {difference}\nlast commands:\n{}\nRepeat: SLOTWAY_SEED={seed} \
                 SLOTWAY_DIFF_COMMANDS={} cargo test --test it databases",
                lines.join("\n"),
                step + 1
            );
        }
    }
    let counts = comparison.counts;
    say(&format!("seed {seed}: {counts:?}"));
    if length >= COMMANDS {
        let Counts { replies, errors, events, transactions, lost, served, copies, moves, expired } =
            counts;
        assert!(errors < replies / 2 && events > length / 3, "the stream is dull");
        let least = [transactions, lost, served, copies, moves, expired].into_iter().min();
        assert!(least > Some(20), "the stream is dull");
    }
    for client in &mut comparison.probe.both() {
        client.ask(&["CONFIG", "SET", "notify-keyspace-events", ""]);
        client.ask(&["FLUSHALL"]);
    }
}

impl Comparison {
    fn new(seed: u64, theirs: SocketAddr, ours: SocketAddr) -> Self {
        let mut comparison = Self {
            rng: Rng::with_seed(seed),
            clients: (0..CLIENTS).map(|_| Pair::connect(theirs, ours)).collect(),
            probe: Pair::connect(theirs, ours),
            listener: Pair::connect(theirs, ours),
            markers: 0,
            history: VecDeque::new(),
            counts: Counts::default(),
            common: weighted(COMMON),
            outside: weighted(OUTSIDE),
            inside: weighted(INSIDE),
        };
        for client in comparison.probe.both() {
            client.ask(&["FLUSHALL"]);
            client.ask(&["CONFIG", "SET", "notify-keyspace-events", "KEAn"]);
        }
        for client in comparison.listener.both() {
            client.ask(&["PSUBSCRIBE", "__key*@*__:*"]);
            client.ask(&["SUBSCRIBE", "marker"]);
        }
        comparison
    }

    /// Sends one command and compares all that follows from it.
    fn step(&mut self) -> Result<(), String> {
        let free: Vec<usize> =
            (0..CLIENTS).filter(|&client| self.clients[client].blocked_on == 0).collect();
        // Two stay free, so that what others wait for can happen.
        if free.len() <= 2 || (free.len() < CLIENTS && self.rng.u32(..60) == 0) {
            return self.unblock();
        }
        let client = free[self.rng.usize(..free.len())];
        let argv = self.draw(client);
        self.remember(format!("{client}> {}", argv.join(" ")));
        match argv[0].starts_with('B') {
            true => self.run_blocking(client, &argv)?,
            false => self.run(client, &argv)?,
        }
        self.compare_effects()
    }

    /// A command for this client that both servers promise to treat alike.
    fn draw(&mut self, client: usize) -> Vec<String> {
        let in_multi = self.clients[client].in_multi;
        let awaited: usize = self.clients.iter().map(|client| client.blocked_on).sum();
        loop {
            let special = self.rng.u32(..100) < 28;
            let templates = match (special, in_multi) {
                (false, _) => &self.common,
                (true, true) => &self.inside,
                (true, false) => &self.outside,
            };
            let template = templates[self.rng.usize(..templates.len())].clone();
            let argv: Vec<String> =
                template.into_iter().filter_map(|word| self.fill(word)).collect();
            if (["SWAPDB", "MULTI"].contains(&argv[0].as_str()) && awaited > 1)
                || (stores(&argv) && awaited > 0)
            {
                continue;
            }
            let queued = &self.clients[client].queued;
            if in_multi && (awaited > 1 || (awaited > 0 && queued.iter().any(|it| stores(it)))) {
                return vec!["DISCARD".to_owned()];
            }
            return argv;
        }
    }

    fn fill(&mut self, word: &str) -> Option<String> {
        let choices: Vec<&str> = word.split('|').collect();
        let mut word = choices[self.rng.usize(..choices.len())].to_owned();
        if word.is_empty() {
            return None;
        }
        if word == "$key" {
            word = self.pick(&["s_$name", "l_$name", "l_$name", "t_$name", "z_$name"]);
        }
        for (hole, values) in [("$db", DATABASES), ("$name", NAMES)] {
            if word.contains(hole) {
                word = word.replace(hole, &self.pick(values));
            }
        }
        if word.contains("$digit") {
            word = word.replace("$digit", &self.rng.u32(..6).to_string());
        }
        Some(word)
    }

    fn pick(&mut self, of: &[&str]) -> String {
        of[self.rng.usize(..of.len())].to_owned()
    }

    fn remember(&mut self, line: String) {
        if self.history.len() == HISTORY {
            self.history.pop_front();
        }
        self.history.push_back(line);
    }

    fn run(&mut self, client: usize, argv: &[String]) -> Result<(), String> {
        let pair = &mut self.clients[client];
        let theirs = pair.theirs.ask(argv);
        let ours = pair.ours.ask(argv);
        let mut queue = vec![];
        match argv[0].as_str() {
            _ if theirs == Reply::Simple(b"QUEUED".to_vec()) => pair.queued.push(argv.to_vec()),
            "MULTI" => pair.in_multi = true,
            "EXEC" | "DISCARD" | "RESET" => {
                pair.in_multi = false;
                queue = std::mem::take(&mut pair.queued);
            }
            _ => {}
        }
        let counts = &mut self.counts;
        counts.replies += 1;
        match (&theirs, argv[0].as_str()) {
            (Reply::Error(_), _) => counts.errors += 1,
            (Reply::NullArray, "EXEC") => counts.lost += 1,
            (Reply::Array(_), "EXEC") => counts.transactions += 1,
            (Reply::Int(1), "COPY") if argv.iter().any(|word| word == "DB") => counts.copies += 1,
            (Reply::Int(1), "MOVE") => counts.moves += 1,
            _ => {}
        }
        let same = match (&theirs, &ours) {
            (Reply::Array(theirs), Reply::Array(ours)) if argv[0] == "EXEC" => {
                counts.replies += theirs.len();
                theirs.len() == ours.len()
                    && queue
                        .iter()
                        .zip(theirs.iter().zip(ours))
                        .all(|(argv, (theirs, ours))| is_same(argv, theirs, ours))
            }
            _ => is_same(argv, &theirs, &ours),
        };
        let of_queue = queue.iter().map(|argv| format!("  {}\n", argv.join(" ")));
        match same {
            true => Ok(()),
            false => Err(format!(
                "{client}> {}\n{}reference: {theirs:?}\nours:      {ours:?}",
                argv.join(" "),
                of_queue.collect::<String>()
            )),
        }
    }

    /// A command that may block: both clients block, or both get the same reply.
    fn run_blocking(&mut self, client: usize, argv: &[String]) -> Result<(), String> {
        let Self { clients, probe, counts, .. } = self;
        let pair = &mut clients[client];
        let ids = pair.ids;
        let mut blocked = [false; 2];
        for (at, (client, probe)) in pair.both().into_iter().zip(probe.both()).enumerate() {
            client.send(&crate::wire::command(argv));
            let id = ids[at].to_string();
            let settled = poll(|| match client.has_input() {
                true => Some(false),
                false => is_blocked(probe, &id).then_some(true),
            });
            blocked[at] = settled.ok_or("a client neither blocks nor is answered")?;
        }
        if blocked[0] != blocked[1] {
            return Err(format!(
                "{client}> {}: blocked, reference and ours: {blocked:?}",
                argv.join(" ")
            ));
        }
        if blocked[0] {
            pair.blocked_on = argv
                .iter()
                .filter(|word| word.get(1..).unwrap_or_default().starts_with('_'))
                .count();
            return Ok(());
        }
        counts.replies += 1;
        compare(&argv.join(" "), &pair.theirs.read(), &pair.ours.read())
    }

    /// Ends the wait of one blocked client.
    fn unblock(&mut self) -> Result<(), String> {
        let blocked: Vec<usize> =
            (0..CLIENTS).filter(|&client| self.clients[client].blocked_on > 0).collect();
        let client = blocked[self.rng.usize(..blocked.len())];
        let how = self.pick(&["TIMEOUT", "ERROR"]);
        self.remember(format!("CLIENT UNBLOCK {client} {how}"));
        let ids = self.clients[client].ids;
        for (probe, id) in self.probe.both().into_iter().zip(ids) {
            let found = probe.ask(&["CLIENT", "UNBLOCK", &id.to_string(), &how]);
            assert_eq!(found, Reply::Int(1), "the client is blocked");
        }
        self.compare_effects()
    }

    /// Compares which blocked clients the last command served, with what, and the events of all.
    fn compare_effects(&mut self) -> Result<(), String> {
        self.markers += 1;
        let marker = self.markers.to_string();
        let theirs = events(&mut self.probe.theirs, &mut self.listener.theirs, &marker);
        for (number, client) in self.clients.iter_mut().enumerate() {
            if client.blocked_on == 0 {
                continue;
            }
            if client.theirs.has_input() {
                client.blocked_on = 0;
                self.counts.served += 1;
                let what = format!("the blocked client {number}");
                compare(&what, &client.theirs.read(), &client.ours.read())?;
            } else if client.ours.has_input() {
                return Err(format!(
                    "client {number} is served here only: {:?}",
                    client.ours.read()
                ));
            }
        }
        let ours = events(&mut self.probe.ours, &mut self.listener.ours, &marker);
        self.counts.events += theirs.len();
        match theirs == ours {
            true => Ok(()),
            false => Err(format!("events\nreference: {theirs:#?}\nours: {ours:#?}")),
        }
    }

    /// Compares all keys of all databases, by DUMP of the types whose payload is one of a kind.
    fn audit(&mut self) -> Result<(), String> {
        for database in 0..16 {
            let [theirs, ours] = self.probe.both().map(|client| contents(client, database));
            if theirs != ours {
                return Err(format!(
                    "database {database}\nreference: {theirs:#?}\nours: {ours:#?}"
                ));
            }
        }
        // The questions cause events of their own, which are the same, in the order of the keys.
        self.compare_effects()
    }

    /// Lets keys of several databases expire; each is then gone, with one event, and a guard of it
    /// holds only if it expired before the WATCH.
    fn expire(&mut self) -> Result<(), String> {
        const EXPIRING: [&str; 4] = ["0", "1", "6", "15"];
        let mut heard = [vec![], vec![]];
        for (at, (probe, listener)) in
            self.probe.both().into_iter().zip(self.listener.both()).enumerate()
        {
            for database in EXPIRING {
                probe.ask(&["SELECT", database]);
                probe.ask(&["SET", "{e}1", database]);
                probe.ask(&["SET", "e2", database]);
                let away = if database == "15" { "0" } else { "15" };
                probe.ask(&["COPY", "{e}1", &format!("x{database}"), "DB", away, "REPLACE"]);
                // Not 1: the reference reads its clock twice, and deletes what is past by then.
                probe.ask(&["PEXPIRE", "e2", "40"]);
                probe.ask(&["PEXPIRE", "{e}1", "30"]);
            }
            for database in EXPIRING {
                probe.ask(&["SELECT", database]);
                let gone =
                    poll(|| (probe.ask(&["EXISTS", "{e}1", "e2"]) == Reply::Int(0)).then_some(()));
                gone.ok_or("a key does not expire")?;
            }
            heard[at] = events(probe, listener, "expired");
            // Which key expires first depends on the clock.
            heard[at].sort();
        }
        let count = heard[0].iter().filter(|event| event[2] == "expired").count();
        self.counts.expired += count;
        match heard[0] == heard[1] && count == 2 * EXPIRING.len() {
            true => Ok(()),
            false => Err(format!("expiry\nreference: {:#?}\nours: {:#?}", heard[0], heard[1])),
        }
    }
}

/// Whether a command stores a result, perhaps over a value of another type.
fn stores(argv: &[String]) -> bool {
    argv.iter().any(|word| word.ends_with("STORE"))
}

fn weighted(templates: &[&'static str]) -> Vec<Vec<&'static str>> {
    let mut all = vec![];
    for template in templates {
        let mut words = template.split(' ');
        let weight = words.next().and_then(|word| word.parse().ok()).expect("a weight");
        all.extend(std::iter::repeat_n(words.collect::<Vec<_>>(), weight));
    }
    all
}

fn compare(what: &str, theirs: &Answer, ours: &Answer) -> Result<(), String> {
    match matches!(theirs, Answer::Reply(_)) && theirs == ours {
        true => Ok(()),
        false => Err(format!("{what}\nreference: {theirs:?}\nours:      {ours:?}")),
    }
}

/// Whether two replies are the same but for what is random, or moves with the clock.
fn is_same(argv: &[String], theirs: &Reply, ours: &Reply) -> bool {
    match (argv[0].as_str(), theirs, ours) {
        ("RANDOMKEY", Reply::Bulk(_), Reply::Bulk(_)) => true,
        ("TTL", &Reply::Int(theirs), &Reply::Int(ours)) if theirs > 0 => theirs.abs_diff(ours) <= 2,
        ("KEYS", _, _) => sorted(theirs) == sorted(ours),
        ("SCAN", Reply::Array(theirs), Reply::Array(ours)) => {
            theirs.len() == 2
                && ours.len() == 2
                && theirs[0] == ours[0]
                && sorted(&theirs[1]) == sorted(&ours[1])
        }
        ("INFO", Reply::Bulk(theirs), Reply::Bulk(ours)) => {
            without_ttl(theirs) == without_ttl(ours)
        }
        _ => theirs == ours,
    }
}

fn sorted(reply: &Reply) -> Reply {
    let mut reply = reply.clone();
    if let Reply::Array(elements) = &mut reply {
        elements.sort();
    }
    reply
}

/// INFO keyspace without the average of what is left of the expiries.
fn without_ttl(info: &[u8]) -> Vec<String> {
    let line = |line: &str| line.split(",avg_ttl").next().unwrap_or_default().to_owned();
    text(info).split("\\r\\n").map(line).collect()
}

fn is_blocked(probe: &mut Client, id: &str) -> bool {
    let Reply::Bulk(line) = probe.ask(&["CLIENT", "LIST", "ID", id]) else { panic!("CLIENT LIST") };
    let line = text(&line);
    line.split(' ').any(|field| field.strip_prefix("flags=").is_some_and(|it| it.contains('b')))
}

/// The events until this marker, each with its pattern, channel and message.
fn events(probe: &mut Client, listener: &mut Client, marker: &str) -> Vec<Vec<String>> {
    probe.ask(&["PUBLISH", "marker", marker]);
    let mut events = vec![];
    loop {
        let Answer::Reply(Reply::Array(parts)) = listener.read() else {
            panic!("a message, or the marker")
        };
        let words = parts.iter().map(|part| match part {
            Reply::Bulk(bytes) => text(bytes),
            other => panic!("a message holds {other:?}"),
        });
        let words: Vec<String> = words.collect();
        match words[0].as_str() {
            "pmessage" => events.push(words[1..].to_vec()),
            _ => {
                assert_eq!(words[2], marker, "messages keep their order");
                return events;
            }
        }
    }
}

/// All keys of a database with their values and whether they expire.
fn contents(client: &mut Client, database: usize) -> Vec<String> {
    client.ask(&["SELECT", &database.to_string()]);
    let Reply::Array(names) = sorted(&client.ask(&["KEYS", "*"])) else { panic!("KEYS") };
    let mut all = vec![format!("{:?}", client.ask(&["DBSIZE"]))];
    for name in names {
        let Reply::Bulk(key) = name else { panic!("KEYS holds names") };
        let key = text(&key);
        let Reply::Simple(kind) = client.ask(&["TYPE", &key]) else { panic!("TYPE") };
        let value = match &kind[..] {
            b"string" => client.ask(&["GET", &key]),
            b"list" => client.ask(&["LRANGE", &key, "0", "-1"]),
            b"set" => sorted(&client.ask(&["SMEMBERS", &key])),
            b"zset" => client.ask(&["ZRANGE", &key, "0", "-1", "WITHSCORES"]),
            _ => client.ask(&["HGETALL", &key]),
        };
        let expires = matches!(client.ask(&["PEXPIRETIME", &key]), Reply::Int(at) if at > 0);
        all.push(format!("{key} {value:?} {expires}"));
    }
    all
}
