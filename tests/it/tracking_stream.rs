//! Random batches of commands by clients that track keys in every mode, sent to the reference and to
//! Slotway. All that each client receives is compared, in order: replies, and the invalidations among
//! them.
//!
//! One seed makes one stream: `SLOTWAY_SEED` repeats a run, `SLOTWAY_TRACKING_BATCHES` sets its length.
//! A batch is sent in one write, and a transaction within one batch. After each, every client sends a
//! PING: what a client receives before the reply is due to the batches so far.
//!
//! Clients that get others' invalidations send nothing else: the reference would put some of them before
//! or into the reply to the command that causes them. What such a client gets for a single command is compared
//! in any order: the reference sends those of the writer itself last.
//!
//! Left out: prefixes that overlap behind the first of a command (the reference replies twice), and
//! whether the null of FLUSHALL is that of RESP2 or of RESP3 for a client that gets another's
//! invalidations (the reference sends the other's).

use std::collections::VecDeque;

use fastrand::Rng;

use crate::env::{say, setting};
use crate::notation::Node;
use crate::references;
use crate::server_process::ServerProcess;
use crate::wire::{Answer, Client, Reply, command};

/// The seed of a run that names none.
const SEED: u64 = 0x7A_C4_99;
/// The default number of batches: some seconds in a debug build.
const BATCHES: usize = 2_500;
/// The clients that send batches.
const ACTORS: usize = 4;
/// All clients: two more may be chosen to get the others' invalidations, one that speaks RESP3, and one
/// that speaks RESP2 and has subscribed.
const CLIENTS: usize = ACTORS + 2;
/// The batches before a difference that are shown.
const SHOWN: usize = 12;
/// Most commands in a batch.
const BATCH_MAX: usize = 5;

const KEYS: usize = 9;
const READS: &[&str] = &[
    "GET @",
    "GET @",
    "GET @",
    "MGET @ @",
    "EXISTS @ @",
    "TYPE @",
    "STRLEN @",
    "LRANGE @ 0 -1",
    "LLEN @",
    "SCARD @",
    "HLEN @",
    "HGET @ f1",
    "ZRANGE @ 0 -1",
    "ZCARD @",
    "GETRANGE @ 0 3",
    "BITCOUNT @",
    "OBJECT ENCODING @",
    "OBJECT FREQ @",
    "SORT_RO @ ALPHA",
    "XLEN @",
    "XRANGE @ - +",
    "TOUCH @",
    "LPOS @ a",
    "SINTERCARD 2 @ @",
    "PFCOUNT @",
    "BITFIELD_RO @ GET u8 0",
    "EXPIRETIME @",
    "SORT @ ALPHA",
    "GETEX @",
];
const WRITES: &[&str] = &[
    "SET @ #",
    "SET @ #",
    "SET @ # NX",
    "SET @ # XX",
    "SET @ # KEEPTTL",
    "SETNX @ #",
    "SETEX @ 1000 #",
    "MSET @ # @ #",
    "INCR @",
    "APPEND @ #",
    "SETRANGE @ 0 #",
    "SETRANGE @ 0 \"\"",
    "GETSET @ #",
    "GETDEL @",
    "DEL @",
    "DEL @ @",
    "UNLINK @",
    "RPUSH @ a b",
    "LPOP @",
    "LPOP @ 9",
    "LMOVE @ @ LEFT RIGHT",
    "LSET @ 0 #",
    "LREM @ 0 a",
    "LTRIM @ 0 0",
    "SADD @ a #",
    "SREM @ a b",
    "SMOVE @ @ a",
    "SINTERSTORE @ @ @",
    "HSET @ f1 # f2 #",
    "HDEL @ f1 f2",
    "HINCRBY @ f1 0",
    "ZADD @ # a",
    "ZADD @ NX 1 a",
    "ZREM @ a",
    "ZINCRBY @ 0 a",
    "ZUNIONSTORE @ 2 @ @",
    "EXPIRE @ 1000",
    "EXPIRE @ -1",
    "EXPIREAT @ 33000000000",
    "PERSIST @",
    "RENAME @ @",
    "RENAMENX @ @",
    "COPY @ @",
    "COPY @ @ REPLACE",
    "SETBIT @ 3 1",
    "BITOP OR @ @ @",
    "PFADD @ a #",
    "XADD @ 9-* f v",
    "XDEL @ 9-0",
    "XTRIM @ MAXLEN 1",
    "SORT @ ALPHA STORE @",
    "GETEX @ EX 1000",
    "GETEX @ PERSIST",
    "EVAL \"return redis.call('GET', KEYS[1])\" 1 @",
    "EVAL \"redis.call('GET', KEYS[1]) return redis.call('SET', KEYS[2], ARGV[1])\" 2 @ @ #",
    "EVAL \"redis.call('SET', KEYS[1], 1) return redis.call('EXISTS', KEYS[2])\" 2 @ @",
    "EVAL \"redis.call('DEL', KEYS[1]) return redis.call('SET', KEYS[1], 2)\" 1 @",
];
const OTHERS: &[&str] = &[
    "PING",
    "nosuch",
    "GET",
    "CLIENT GETNAME",
    "CLIENT CACHING YES",
    "CLIENT CACHING NO",
    "CLIENT CACHING YES",
    "CLIENT CACHING NO",
    "CLIENT TRACKINGINFO",
    "WATCH @",
    "UNWATCH",
    "ECHO x",
];
const MODES: &[&str] = &[
    "ON",
    "ON",
    "ON",
    "ON NOLOOP",
    "ON OPTIN",
    "ON OPTIN NOLOOP",
    "ON OPTOUT",
    "ON BCAST",
    "ON BCAST NOLOOP",
    "ON BCAST PREFIX {t}1",
    "ON BCAST PREFIX {t}2 PREFIX {t}3",
    "ON BCAST PREFIX x",
    "ON BCAST PREFIX {t} NOLOOP",
    "ON PREFIX x",
    "ON OPTIN OPTOUT",
    "ON BCAST OPTIN",
    "OFF",
    "OFF",
];

/// Chooses a command, with its keys and values.
fn choose(rng: &mut Rng, among: &[&str]) -> Vec<String> {
    let line = among[rng.usize(..among.len())];
    let (mut words, mut quoted) = (Vec::new(), None::<String>);
    for word in line.split(' ') {
        match (&mut quoted, word.strip_prefix('"')) {
            (None, Some("\"")) => words.push(String::new()),
            (None, Some(rest)) => quoted = Some(rest.to_owned()),
            (Some(text), _) => {
                text.push(' ');
                text.push_str(word);
            }
            (None, None) if word == "@" => words.push(format!("{{t}}{}", rng.usize(..KEYS))),
            (None, None) if word == "#" => words.push(rng.u8(..30).to_string()),
            (None, None) => words.push(word.to_owned()),
        }
        if let Some(text) = quoted.take_if(|text| text.ends_with('"')) {
            words.push(text[..text.len() - 1].to_owned());
        }
    }
    words
}

/// A batch of one client.
fn batch(rng: &mut Rng) -> Vec<Vec<String>> {
    let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
    match rng.u8(..100) {
        0 => return vec![words("FLUSHALL")],
        1..12 => {
            let mut all = words("CLIENT TRACKING");
            all.extend(choose(rng, MODES));
            if rng.u8(..4) == 0 {
                all.extend(["REDIRECT".to_owned(), format!("<{}>", rng.usize(ACTORS..CLIENTS))]);
            }
            return vec![all];
        }
        12 => return vec![words("HELLO 3")],
        13 => return vec![words("HELLO 2")],
        14 => return vec![words("RESET")],
        _ => {}
    }
    let mut all: Vec<Vec<String>> = (0..rng.usize(1..=BATCH_MAX))
        .map(|_| match rng.u8(..20) {
            0..9 => choose(rng, READS),
            9..18 => choose(rng, WRITES),
            _ => choose(rng, OTHERS),
        })
        .collect();
    if rng.u8(..5) == 0 {
        all.retain(|command| command[0] != "WATCH");
        all.insert(0, words("MULTI"));
        all.push(words(if rng.u8(..8) == 0 { "DISCARD" } else { "EXEC" }));
        if rng.u8(..4) == 0 {
            all.insert(0, words("CLIENT CACHING YES"));
        }
        if rng.u8(..4) == 0 {
            all.push(choose(rng, READS));
        }
    }
    all
}

/// The clients of one server, and their ids.
struct Side {
    clients: Vec<Client>,
    ids: Vec<i64>,
}

impl Side {
    fn new(address: std::net::SocketAddr) -> Self {
        let open = |_| Client::connect(address).expect("the server accepts connections");
        let mut clients: Vec<Client> = (0..CLIENTS).map(open).collect();
        drop(clients[0].ask(&["FLUSHALL"]));
        let id = |client: &mut Client| match client.ask(&["CLIENT", "ID"]) {
            Reply::Int(id) => id,
            other => panic!("CLIENT ID answers {other:?}"),
        };
        let ids = clients.iter_mut().map(id).collect();
        drop(clients[ACTORS].ask(&["HELLO", "3"]));
        drop(clients[ACTORS + 1].ask(&["SUBSCRIBE", "__redis__:invalidate"]));
        Self { clients, ids }
    }

    /// Sends a batch; returns what each client receives by the time that its PING is answered.
    fn play(&mut self, actor: usize, batch: &[Vec<String>], step: usize) -> Vec<Vec<Reply>> {
        let mut bytes = Vec::new();
        for words in batch {
            let resolved = words.iter().map(|word| {
                let named = word.strip_prefix('<').and_then(|word| word.strip_suffix('>'));
                let client = named.and_then(|number| number.parse::<usize>().ok());
                client.map_or(word.clone(), |client| self.ids[client].to_string())
            });
            bytes.extend_from_slice(&command(&resolved.collect::<Vec<_>>()));
        }
        self.clients[actor].send(&bytes);
        let mark = format!("mark-{step}");
        let mut received = vec![Vec::new(); CLIENTS];
        // A PING that is read together with the batch is answered before what is broadcast.
        let mut replies = 0;
        while replies < batch.len() {
            match self.clients[actor].read() {
                Answer::Reply(reply) => {
                    replies += usize::from(!matches!(reply, Reply::Push(_)));
                    received[actor].push(self.comparable(reply));
                }
                other => panic!("client {actor} at step {step}: {other:?}"),
            }
        }
        for (client, received) in received.iter_mut().enumerate() {
            self.clients[client].send(&command(&["PING", &mark]));
            loop {
                match self.clients[client].read() {
                    Answer::Reply(reply) if is_mark(&reply, &mark) => break,
                    Answer::Reply(reply) => received.push(self.comparable(reply)),
                    other => panic!("client {client} at step {step}: {other:?}"),
                }
            }
        }
        received[ACTORS..].iter_mut().for_each(|all| all.sort());
        received
    }

    /// Returns a reply without what differs from server to server.
    fn comparable(&self, reply: Reply) -> Reply {
        match reply {
            Reply::Array(all) => {
                let is_hello = all.first() == Some(&Reply::Bulk(b"server".to_vec()));
                match is_hello {
                    true => Reply::Null,
                    false => Reply::Array(self.each(all)),
                }
            }
            Reply::Map(all) if all.first() == Some(&Reply::Bulk(b"server".to_vec())) => Reply::Null,
            Reply::Map(all) => Reply::Map(self.each(all)),
            Reply::Push(all) => Reply::Push(self.each(all)),
            Reply::NullBulk => Reply::Null,
            other => other,
        }
    }

    fn each(&self, all: Vec<Reply>) -> Vec<Reply> {
        let is_before_id = |reply: &Reply| match reply {
            Reply::Bulk(word) => word == b"redirect" || word == b"tracking-redir-broken",
            _ => false,
        };
        let mut is_id = false;
        let mut compared = Vec::with_capacity(all.len());
        for one in all {
            let next_is_id = is_before_id(&one);
            compared.push(match one {
                Reply::Int(id) if is_id && self.ids.contains(&id) => Reply::Null,
                one => self.comparable(one),
            });
            is_id = next_is_id;
        }
        compared
    }
}

/// Whether this is the reply to the PING that ends a step.
fn is_mark(reply: &Reply, mark: &str) -> bool {
    let is = |reply: &Reply| matches!(reply, Reply::Bulk(bytes) if bytes == mark.as_bytes());
    match reply {
        Reply::Array(all) => all.len() == 2 && is(&all[1]),
        reply => is(reply),
    }
}

fn is_invalidation(reply: &Reply) -> bool {
    match reply {
        Reply::Push(all) => all.first() == Some(&Reply::Bulk(b"invalidate".to_vec())),
        Reply::Array(all) => all.get(1) == Some(&Reply::Bulk(b"__redis__:invalidate".to_vec())),
        _ => false,
    }
}

#[test]
fn clients_that_track_keys_receive_the_same() {
    let number = |name: &str| setting(name).map(|n| n.parse::<u64>().expect(name));
    let seed = number("SLOTWAY_SEED").unwrap_or(SEED);
    let length = number("SLOTWAY_TRACKING_BATCHES").map_or(BATCHES, |n| n as usize);
    let Some(oracle) = references::lease(&[]) else { return };
    let server = ServerProcess::start(&[]);
    let (mut theirs, mut ours) = (Side::new(oracle.address), Side::new(server.address));
    let mut rng = Rng::with_seed(seed);
    let mut shown = VecDeque::new();
    let mut invalidations = 0;
    for step in 0..length {
        let (actor, batch) = (rng.usize(..ACTORS), batch(&mut rng));
        if shown.len() == SHOWN {
            shown.pop_front();
        }
        let lines: Vec<String> = batch.iter().map(|words| words.join(" ")).collect();
        shown.push_back(format!("client {actor}: {}", lines.join(" | ")));
        let (wanted, got) = (theirs.play(actor, &batch, step), ours.play(actor, &batch, step));
        for client in 0..CLIENTS {
            invalidations += got[client].iter().filter(|reply| is_invalidation(reply)).count();
            assert!(
                wanted[client] == got[client],
                "seed {seed}, step {step}: client {client} receives\n{}\nand from the reference\n{}\n\
                 after\n{}\nRepeat: SLOTWAY_SEED={seed} SLOTWAY_TRACKING_BATCHES={} cargo test --test it tracking_stream",
                lines_of(&got[client]),
                lines_of(&wanted[client]),
                shown.iter().cloned().collect::<Vec<_>>().join("\n"),
                step + 1
            );
        }
    }
    say(&format!("seed {seed}: {length} batches, {invalidations} invalidations"));
    assert!(length < BATCHES || invalidations > length / 4, "the stream is dull: {invalidations}");
}

fn lines_of(replies: &[Reply]) -> String {
    replies.iter().map(|reply| Node::of(&Answer::Reply(reply.clone())).to_string()).collect()
}
