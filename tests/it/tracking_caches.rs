//! Caches that follow the protocol of CLIENT TRACKING, while others write: none holds an old value once
//! it has handled all invalidations.
//!
//! Each key has one writer, which logs its operations before it sends them and counts those that were
//! replied to. A reader takes that count, sends a PING and handles what it receives before the reply.
//! What it has in its cache then must be the value after one of the operations from that count on; an
//! operation that was replied to before the PING has been notified before its reply.
//!
//! At the router port the slots of the keys move meanwhile, and so do keys that were read as missing.
//! The choices come from a seed, which is printed (SLOTWAY_SEED repeats it); the order in which requests
//! reach the server varies from run to run.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use fastrand::Rng;

use crate::env::{say, setting};
use crate::nodes::{ROUTER, Shape};
use crate::server_process::ServerProcess;
use crate::wire::{Answer, Client, Reply, command, text};

const KEYS: usize = 12;
const WRITERS: usize = 3;
/// Looks into the cache of each reader.
const CHECKS: usize = 400;
const MASTERS: usize = 3;

/// The value of a key: `None` if there is none.
type Value = Option<usize>;

/// The operations on a key by its writer.
#[derive(Default)]
struct History {
    /// The value after each operation, whether it was sent or not; a number that is new.
    values: Mutex<Vec<Value>>,
    /// How many of them were replied to.
    done: AtomicUsize,
}

impl History {
    /// Logs an operation that is about to be sent.
    fn begin(&self, value: Value) {
        self.values.lock().expect("no writer panics").push(value);
    }

    /// Returns whether `seen` was the value after `done` operations, or after one that came later.
    fn allows(&self, done: usize, seen: Value) -> Result<(), String> {
        let values = self.values.lock().expect("no writer panics");
        let at_least = if done == 0 { None } else { values[done - 1] };
        if at_least == seen || values[done..].contains(&seen) {
            return Ok(());
        }
        let from = done.saturating_sub(5);
        Err(format!(
            "{seen:?} after {done} operations; from number {from} on: {:?}",
            &values[from..]
        ))
    }
}

/// How a reader tracks keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Plain,
    OptIn,
    OptOut,
    Broadcast,
    /// Of half of the keys.
    Prefix,
    /// Invalidations come to another connection.
    Redirect,
}

const MODES: [Mode; 6] =
    [Mode::Plain, Mode::OptIn, Mode::OptOut, Mode::Broadcast, Mode::Prefix, Mode::Redirect];

/// A client with a cache.
struct Reader {
    mode: Mode,
    data: Client,
    /// The connection that gets the invalidations, if that is another.
    other: Option<Client>,
    cache: HashMap<usize, Value>,
    invalidations: usize,
}

fn name(key: usize) -> String {
    // Half of them begin with `a`.
    format!("{}{key}", if key.is_multiple_of(2) { "a" } else { "b" })
}

fn key_of(name: &[u8]) -> usize {
    text(name)[1..].parse().expect("a key of this test")
}

fn ask(client: &mut Client, line: &str) -> Reply {
    client.ask(&line.split(' ').collect::<Vec<_>>())
}

impl Reader {
    fn new(address: SocketAddr, mode: Mode) -> Self {
        let open = || {
            let mut client = Client::connect(address).expect("the server accepts connections");
            drop(ask(&mut client, "HELLO 3"));
            client
        };
        let (mut data, mut other) = (open(), None);
        let options = match mode {
            Mode::Plain => "ON".to_owned(),
            Mode::OptIn => "ON OPTIN".to_owned(),
            Mode::OptOut => "ON OPTOUT".to_owned(),
            Mode::Broadcast => "ON BCAST".to_owned(),
            Mode::Prefix => "ON BCAST PREFIX a".to_owned(),
            Mode::Redirect => {
                let chosen = other.insert(open());
                let Reply::Int(id) = ask(chosen, "CLIENT ID") else { panic!("no id") };
                format!("ON REDIRECT {id}")
            }
        };
        let switched = ask(&mut data, &format!("CLIENT TRACKING {options}"));
        assert_eq!(switched, Reply::Simple(b"OK".to_vec()), "{mode:?}");
        Self { mode, data, other, cache: HashMap::new(), invalidations: 0 }
    }

    /// Whether it may keep a key.
    fn caches(&self, key: usize) -> bool {
        self.mode != Mode::Prefix || name(key).starts_with('a')
    }

    fn handle(&mut self, push: &[Reply]) {
        assert_eq!(push[0], Reply::Bulk(b"invalidate".to_vec()), "{push:?}");
        self.invalidations += 1;
        match &push[1] {
            Reply::Null => self.cache.clear(),
            Reply::Array(keys) => keys.iter().for_each(|key| match key {
                Reply::Bulk(name) => _ = self.cache.remove(&key_of(name)),
                other => panic!("{other:?} is no key"),
            }),
            other => panic!("an invalidation of {other:?}"),
        }
    }

    /// Returns the next reply of a connection; handles the invalidations before it.
    fn next(&mut self, of_other: bool) -> Reply {
        loop {
            let client = if of_other { self.other.as_mut() } else { Some(&mut self.data) };
            match client.expect("it has another connection").read() {
                Answer::Reply(Reply::Push(push)) => self.handle(&push),
                Answer::Reply(reply) => return reply,
                other => panic!("{:?}: {other:?}", self.mode),
            }
        }
    }

    /// Handles all invalidations that were sent so far.
    fn catch_up(&mut self) {
        let of_other = self.other.is_some();
        let client = self.other.as_mut().unwrap_or(&mut self.data);
        client.send(&command(&["PING"]));
        assert_eq!(self.next(of_other), Reply::Simple(b"PONG".to_vec()));
    }

    /// Reads keys in one write and keeps them.
    fn read(&mut self, keys: &[usize]) {
        let mut bytes = Vec::new();
        for key in keys {
            if self.mode == Mode::OptIn {
                bytes.extend_from_slice(&command(&["CLIENT", "CACHING", "YES"]));
            }
            bytes.extend_from_slice(&command(&["GET", &name(*key)]));
        }
        self.data.send(&bytes);
        let mut read = Vec::new();
        for key in keys {
            if self.mode == Mode::OptIn {
                assert_eq!(self.next(false), Reply::Simple(b"OK".to_vec()));
            }
            let value = match self.next(false) {
                Reply::Null => None,
                Reply::Bulk(number) => Some(text(&number).parse().expect("a number")),
                other => panic!("GET answers {other:?}"),
            };
            self.cache.insert(*key, value);
            read.push(*key);
        }
        if self.other.is_some() {
            // An invalidation of what was just read may have come before the reply: the connections
            // are not ordered. What is invalidated meanwhile is not kept.
            self.catch_up();
        }
    }
}

/// Writes to the keys of one writer until the readers are done.
fn write(
    addresses: &[SocketAddr],
    own: &[usize],
    all: &[History],
    over: &AtomicBool,
    mut rng: Rng,
) {
    let open = |address: &SocketAddr| Client::connect(*address).expect("the server accepts");
    let mut clients: Vec<Client> = addresses.iter().map(open).collect();
    let mut number = 0;
    while !over.load(Ordering::Relaxed) {
        let key = own[rng.usize(..own.len())];
        let client = rng.usize(..clients.len());
        let client = &mut clients[client];
        number += 1;
        let (name, digits) = (name(key), number.to_string());
        let is_removed = rng.u8(..4) == 0;
        all[key].begin((!is_removed).then_some(number));
        let kind = rng.u8(..4);
        let set = "return redis.call('SET', KEYS[1], ARGV[1])";
        let lines: Vec<Vec<&str>> = match (is_removed, kind) {
            (true, 0) => vec![vec!["PEXPIRE", &name, "0"]],
            (true, _) => vec![vec!["DEL", &name]],
            (false, 0) => vec![vec!["MULTI"], vec!["SET", &name, &digits], vec!["EXEC"]],
            (false, 1) => vec![vec!["EVAL", set, "1", &name, &digits]],
            (false, 2) => vec![vec!["SET", &name, "old"], vec!["GETSET", &name, &digits]],
            (false, _) => vec![vec!["SET", &name, &digits]],
        };
        // What is between is never seen: `old` would be no number.
        let lines = if kind == 2 && !is_removed { lines[1..].to_vec() } else { lines };
        client.send(&lines.iter().flat_map(|line| command(line)).collect::<Vec<_>>());
        for line in &lines {
            match client.read() {
                Answer::Reply(Reply::Error(error)) => panic!("{line:?}: {}", text(&error)),
                Answer::Reply(_) => {}
                other => panic!("{line:?}: {other:?}"),
            }
        }
        all[key].done.fetch_add(1, Ordering::Release);
    }
}

/// Reads and checks.
fn check(mut reader: Reader, keys: &[usize], all: &[History], mut rng: Rng) -> (usize, usize) {
    let mut kept = 0;
    for _ in 0..CHECKS {
        let some: Vec<usize> =
            (0..rng.usize(1..6)).map(|_| keys[rng.usize(..keys.len())]).collect();
        let missing: Vec<usize> = some
            .into_iter()
            .filter(|key| !reader.cache.contains_key(key) && reader.caches(*key))
            .collect();
        reader.read(&missing);
        let key = keys[rng.usize(..keys.len())];
        let done = all[key].done.load(Ordering::Acquire);
        reader.catch_up();
        if let Some(&seen) = reader.cache.get(&key) {
            kept += 1;
            if let Err(what) = all[key].allows(done, seen) {
                panic!("a cache ({:?}) holds of {} the value {what}", reader.mode, name(key));
            }
        }
    }
    (kept, reader.invalidations)
}

/// Asks a node for the slot of a key.
fn slot_of(node: &mut Client, key: usize) -> usize {
    match ask(node, &format!("CLUSTER KEYSLOT {}", name(key))) {
        Reply::Int(slot) => slot as usize,
        other => panic!("CLUSTER KEYSLOT answers {other:?}"),
    }
}

/// Moves the slots of keys from node to node until the readers are done.
fn move_slots(node: SocketAddr, over: &AtomicBool, mut rng: Rng) {
    let mut client = Client::connect(node).expect("the server accepts connections");
    while !over.load(Ordering::Relaxed) {
        let slot = slot_of(&mut client, rng.usize(..KEYS));
        let moved = ask(&mut client, &format!("SLOTWAY MOVE {slot} TO {}", rng.usize(..MASTERS)));
        match moved {
            Reply::Error(error) if text(&error).contains("already the owner") => {}
            Reply::Error(error) => panic!("{}", text(&error)),
            _ => {}
        }
    }
}

fn seed() -> u64 {
    let seed =
        setting("SLOTWAY_SEED").and_then(|s| s.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
    say(&format!("SLOTWAY_SEED={seed}"));
    seed
}

/// Runs readers at these addresses, of these keys each, and writers at all addresses.
fn run(
    readers: &[(SocketAddr, Vec<usize>)],
    writers: &[Vec<SocketAddr>],
    moves_at: Option<SocketAddr>,
) {
    let mut rng = Rng::with_seed(seed());
    let all: Vec<History> = (0..KEYS).map(|_| History::default()).collect();
    let over = AtomicBool::new(false);
    let own = |writer| (writer..KEYS).step_by(WRITERS).collect::<Vec<_>>();
    let counts = thread::scope(|scope| {
        let (all, over) = (&all, &over);
        for (writer, addresses) in writers.iter().enumerate() {
            let (rng, own) = (rng.fork(), own(writer));
            scope.spawn(move || write(addresses, &own, all, over, rng));
        }
        if let Some(address) = moves_at {
            let rng = rng.fork();
            scope.spawn(move || move_slots(address, over, rng));
        }
        let started: Vec<_> = readers
            .iter()
            .zip(MODES.iter().cycle())
            .map(|((address, keys), &mode)| {
                let rng = rng.fork();
                scope.spawn(move || check(Reader::new(*address, mode), keys, all, rng))
            })
            .collect();
        let counts: Vec<_> = started.into_iter().map(thread::ScopedJoinHandle::join).collect();
        over.store(true, Ordering::Relaxed);
        counts
    });
    let counts: Vec<(usize, usize)> = counts
        .into_iter()
        .map(|count| count.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        .collect();
    let (kept, invalidations) =
        counts.iter().fold((0, 0), |(kept, sent), one| (kept + one.0, sent + one.1));
    say(&format!("{kept} values were checked, {invalidations} invalidations received"));
    assert!(kept > readers.len() * 10 && invalidations > readers.len() * 10, "{counts:?}");
}

#[test]
fn no_cache_at_the_router_port_holds_an_old_value_while_slots_move() {
    let shape = Shape { masters: MASTERS, replicas: 0, spares: 0 };
    let (_server, stage) = ServerProcess::start_cluster(shape, &[]);
    let router = stage.address_of(ROUTER).expect("it has a router port");
    let readers = vec![(router, (0..KEYS).collect()); MODES.len()];
    run(&readers, &vec![vec![router]; WRITERS], stage.address_of("n1"));
}

#[test]
fn no_cache_at_a_node_holds_an_old_value() {
    let shape = Shape { masters: MASTERS, replicas: 0, spares: 0 };
    let (_server, stage) = ServerProcess::start_cluster(shape, &[]);
    let router = stage.address_of(ROUTER).expect("it has a router port");
    let node = |n: usize| stage.address_of(&format!("n{}", n + 1)).expect("a node");
    let mut client = Client::connect(node(0)).expect("the server accepts connections");
    let slots = 16384_usize.div_ceil(MASTERS);
    let mut of_node = |n: usize| {
        let is_here = |key: &usize| slot_of(&mut client, *key) / slots == n;
        (0..KEYS).filter(is_here).collect::<Vec<_>>()
    };
    let keys: Vec<Vec<usize>> = (0..MASTERS).map(&mut of_node).collect();
    let readers: Vec<_> = (0..2 * MODES.len())
        .map(|reader| (reader / 2) % MASTERS)
        .filter(|&n| !keys[n].is_empty())
        .map(|n| (node(n), keys[n].clone()))
        .collect();
    run(&readers, &vec![vec![router]; WRITERS], None);
}
