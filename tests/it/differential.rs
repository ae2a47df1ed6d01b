//! Random commands sent to the reference and to Slotway, with every pair of replies compared.
//!
//! One seed makes one stream: `SLOTWAY_SEED` repeats a run, `SLOTWAY_DIFF_COMMANDS` sets its length.
//! Commands go to both servers in lockstep, so that what three clients do to each other (WATCH!) has
//! one order. Only [`Looseness`], one row per command, leaves out of the comparison what is random.
//!
//! A second stream uses several slots at a time, in commands, transactions and WATCHes: there the
//! reference is one Redis without slots, and Slotway runs with `--cross-slot audit`.
//!
//! Left out of the streams: all that races with the clock (short expiries; relative ones are far apart,
//! so that comparing two of them never depends on a millisecond), and in the first one transactions
//! over several slots, which the router refuses by a rule of its own.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::fmt::Write as _;

use crate::env::{say, setting};
use crate::notation::Node;
use crate::oracle::Oracle;
use crate::references;
use crate::server_process::ServerProcess;
use crate::stream::{CLIENTS, Command, Stream};
use crate::wire::{Answer, Client, Reply, text};

/// The seed of a run that names none: the same commands every time, so that a failure stays.
const SEED: u64 = 0x51_07_3A_11;
/// The default number of commands: some seconds in a debug build.
const COMMANDS: usize = 20_000;
/// The whole keyspace is compared after this many commands.
const AUDIT_EVERY: usize = 2_000;
/// Commands per key in a report.
const HISTORY: usize = 12;

/// What of a reply may differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Looseness {
    /// Nothing.
    Exact,
    /// The order of a flat aggregate's elements.
    Order,
    /// The order of the pairs of names and values in a flat array (a map's pairs always).
    PairOrder,
    /// As `Order` or `PairOrder`, but only if the reference keeps the key in a hash table: the small
    /// encoding keeps the order of insertion.
    OrderIfTable,
    PairOrderIfTable,
    /// Nothing, unless the reference keeps the key in a hash table, which each server walks in its own
    /// steps: then all.
    AllIfTable,
    /// All but that it is no error.
    All,
    /// Which of the elements: only the type and the number of them count.
    Choice,
    /// An integer that moves with the clock, by this much at most.
    Clock(i64),
}

/// The table of all that is not compared byte for byte.
fn looseness(command: &Command) -> Looseness {
    use Looseness::{AllIfTable, Choice, Clock, Exact, Order, OrderIfTable, PairOrderIfTable};
    match command.name().as_str() {
        // Order is undefined.
        "keys" => Order,
        "hgetall" => PairOrderIfTable,
        "hkeys" | "hvals" | "smembers" => OrderIfTable,
        // A result that is no table has an order, but its encoding cannot be queried.
        "sinter" | "sunion" | "sdiff" | "spop" => Order,
        // The audit compares whole rounds.
        "hscan" | "sscan" | "zscan" => AllIfTable,
        // Random.
        "randomkey" | "hrandfield" | "srandmember" | "zrandmember" => Choice,
        // Both servers read their own clock; the replies may straddle a tick.
        "ttl" | "expiretime" => Clock(2),
        "pttl" | "pexpiretime" => Clock(2_000),
        // The payload is up to the server: transcripts restore it.
        "dump" => Choice,
        _ => Exact,
    }
}

#[test]
fn random_commands_get_the_same_replies() {
    compare(&[], &[], Stream::new, "random_commands");
}

/// As one server without slots: every command over several slots, MULTI, WATCH, SORT BY and GET.
#[test]
fn an_audit_answers_as_one_server_without_slots() {
    let alone = ["--cluster-enabled", "no", "--databases", "1"];
    compare(&alone, &["--cross-slot", "audit", "--databases", "1"], Stream::spread, "an_audit");
}

/// Plays a stream to a reference with some options and to Slotway with others.
fn compare(theirs: &[&str], ours: &[&str], stream: fn(u64) -> Stream, name: &str) {
    let number = |name: &str| setting(name).map(|n| n.parse::<u64>().expect(name));
    let seed = number("SLOTWAY_SEED").unwrap_or(SEED);
    let length = number("SLOTWAY_DIFF_COMMANDS").map_or(COMMANDS, |n| n as usize);
    let owned = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
    let Some(oracle) = references::lease(&owned(theirs)) else { return };
    let ours = ServerProcess::start(&owned(ours));
    let mut pair = Pair::new(&oracle, &ours);
    let mut stream = stream(seed);
    for step in 0..length {
        let (client, command) = stream.next();
        if let Err(difference) = pair.compare(client, &command) {
            panic!(
                "seed {seed}, step {step}: {difference}\nRepeat: SLOTWAY_SEED={seed} \
                 SLOTWAY_DIFF_COMMANDS={} cargo test --test it differential::{name}",
                step + 1
            );
        }
        let is_due = step % AUDIT_EVERY == AUDIT_EVERY - 1 || step == length - 1;
        if is_due && let Err(difference) = pair.audit() {
            panic!("seed {seed}, all keys after step {step}: {difference}");
        }
    }
    let Pair { compared, ran, kept, errors, .. } = pair;
    say(&format!(
        "seed {seed}: {compared} commands compared; {errors} errors, {ran} transactions run, {kept} \
         aborted by WATCH"
    ));
    assert_eq!(compared, length, "every step compares a reply");
    if length >= COMMANDS {
        assert!(
            ran > 100 && kept > 10 && errors > 100 && errors < length / 2,
            "the stream is dull"
        );
    }
}

/// The same clients on both servers.
struct Pair {
    theirs: Vec<Client>,
    ours: Vec<Client>,
    /// Connections that inspect the servers without disturbing the clients.
    probe: [Client; 2],
    /// Per client, what it has queued since MULTI.
    queued: Vec<Vec<Command>>,
    history: HashMap<Vec<u8>, VecDeque<String>>,
    compared: usize,
    /// How many transactions ran, how many were aborted by WATCH, and how many replies were errors: a
    /// stream that achieves nothing proves nothing.
    ran: usize,
    kept: usize,
    errors: usize,
}

impl Pair {
    fn new(oracle: &Oracle, ours: &ServerProcess) -> Self {
        let open = |address| Client::connect(address).expect("both servers accept connections");
        let mut pair = Self {
            theirs: (0..CLIENTS).map(|_| open(oracle.address)).collect(),
            ours: (0..CLIENTS).map(|_| open(ours.address)).collect(),
            probe: [open(oracle.address), open(ours.address)],
            queued: vec![vec![]; CLIENTS],
            history: HashMap::new(),
            compared: 0,
            ran: 0,
            kept: 0,
            errors: 0,
        };
        pair.probe[0].call(&["FLUSHALL"]);
        // One of the clients speaks RESP3. The handshake names the server, so it is not compared.
        for client in [&mut pair.theirs[1], &mut pair.ours[1]] {
            let hello = client.call(&["HELLO", "3"]);
            assert!(matches!(hello, Answer::Reply(Reply::Map(_))), "{hello:?}");
        }
        pair
    }

    fn compare(&mut self, client: usize, command: &Command) -> Result<(), String> {
        self.remember(client, command);
        let theirs = self.theirs[client].call(&command.argv);
        let ours = self.ours[client].call(&command.argv);
        self.compared += 1;
        let (Answer::Reply(their_reply), Answer::Reply(our_reply)) = (&theirs, &ours) else {
            return Err(self.difference(client, command, &theirs, &ours, &[]));
        };
        match their_reply {
            Reply::Error(_) => self.errors += 1,
            Reply::NullArray | Reply::Null if command.name() == "exec" => self.kept += 1,
            _ => {}
        }
        let is_queued = *their_reply == Reply::Simple(b"QUEUED".to_vec());
        if is_queued {
            self.queued[client].push(command.clone());
        }
        let transaction = match command.name().as_str() {
            "exec" | "discard" => std::mem::take(&mut self.queued[client]),
            _ => vec![],
        };
        let same = match (their_reply, our_reply) {
            (Reply::Array(theirs), Reply::Array(ours)) if command.name() == "exec" => {
                self.ran += 1;
                theirs.len() == ours.len()
                    && theirs.len() == transaction.len()
                    && transaction.iter().zip(theirs.iter().zip(ours)).all(
                        |(command, (theirs, ours))| {
                            // By now the encoding may be another than when the command ran.
                            let looseness = match looseness(command) {
                                Looseness::OrderIfTable => Looseness::Order,
                                Looseness::PairOrderIfTable => Looseness::PairOrder,
                                other => other,
                            };
                            is_same(theirs, ours, looseness)
                        },
                    )
            }
            _ => {
                let looseness =
                    if is_queued { Looseness::Exact } else { self.resolved_looseness(command) };
                is_same(their_reply, our_reply, looseness)
            }
        };
        if same {
            Ok(())
        } else {
            Err(self.difference(client, command, &theirs, &ours, &transaction))
        }
    }

    /// The looseness of a command that has just run; queries the reference for the key's encoding.
    fn resolved_looseness(&mut self, command: &Command) -> Looseness {
        let (table, other) = match looseness(command) {
            Looseness::OrderIfTable => (Looseness::Order, Looseness::Exact),
            Looseness::PairOrderIfTable => (Looseness::PairOrder, Looseness::Exact),
            Looseness::AllIfTable => (Looseness::All, Looseness::Exact),
            other => return other,
        };
        let Some(key) = command.argv.get(1) else { return other };
        let encoding = self.probe[0].call(&[&b"OBJECT"[..], b"ENCODING", key]);
        let is_table = |name: &[u8]| encoding == Answer::Reply(Reply::Bulk(name.to_vec()));
        if is_table(b"hashtable") || is_table(b"skiplist") { table } else { other }
    }

    /// Compares the whole keyspace: names, values, expiries.
    fn audit(&mut self) -> Result<(), String> {
        let [theirs, ours] = self.probe.each_mut().map(dump_all);
        for (key, value) in &theirs {
            if ours.get(key) != Some(value) {
                let of =
                    |value: Option<&String>| value.cloned().unwrap_or("(no such key)\n".to_owned());
                return Err(format!(
                    "the key {}\nreference:\n{}ours:\n{}{}",
                    text(key),
                    value,
                    of(ours.get(key)),
                    self.history_of(std::slice::from_ref(key))
                ));
            }
        }
        match ours.keys().find(|key| !theirs.contains_key(*key)) {
            Some(key) => Err(format!(
                "the key {} is only ours\n{}",
                text(key),
                self.history_of(std::slice::from_ref(key))
            )),
            None => Ok(()),
        }
    }

    fn remember(&mut self, client: usize, command: &Command) {
        let line = format!("{client}> {command}");
        for key in &command.keys {
            let lines = self.history.entry(key.clone()).or_default();
            if lines.len() == HISTORY {
                lines.pop_front();
            }
            lines.push_back(line.clone());
        }
    }

    fn history_of(&self, keys: &[Vec<u8>]) -> String {
        let mut out = String::new();
        for key in keys {
            let _ = writeln!(out, "last commands on {}:", text(key));
            for line in self.history.get(key).into_iter().flatten() {
                let _ = writeln!(out, "  {line}");
            }
        }
        out
    }

    fn difference(
        &self,
        client: usize,
        command: &Command,
        theirs: &Answer,
        ours: &Answer,
        transaction: &[Command],
    ) -> String {
        let mut keys: Vec<_> =
            transaction.iter().chain([command]).flat_map(|command| command.keys.clone()).collect();
        keys.sort();
        keys.dedup();
        let mut out = format!("{client}> {command}\n");
        for queued in transaction {
            let _ = writeln!(out, "  queued: {queued}");
        }
        let _ = write!(out, "reference:\n{}ours:\n{}", Node::of(theirs), Node::of(ours));
        out + &self.history_of(&keys)
    }
}

/// Every key with its value and expiry, as text; a hash with its fields sorted. A whole round of SCAN
/// or HSCAN has to return what KEYS or HGETALL does.
fn dump_all(client: &mut Client) -> BTreeMap<Vec<u8>, String> {
    let mut names = elements(&client.call(&["KEYS", "*"]), "KEYS");
    names.sort();
    let mut scanned = round(client, &[b"SCAN"]);
    scanned.sort();
    scanned.dedup();
    assert_eq!(names, scanned, "KEYS and a round of SCAN");
    let mut all = BTreeMap::new();
    for key in names {
        let key = key.as_slice();
        let Answer::Reply(Reply::Simple(kind)) = client.call(&[b"TYPE", key]) else {
            panic!("TYPE answers a word");
        };
        let value = match &kind[..] {
            b"hash" => {
                let mut pairs = pairs(elements(&client.call(&[b"HGETALL", key]), "HGETALL"));
                pairs.sort();
                let mut scanned = self::pairs(round(client, &[b"HSCAN", key]));
                scanned.sort();
                scanned.dedup();
                assert_eq!(pairs, scanned, "HGETALL and a round of HSCAN");
                let line =
                    |pair: &[Vec<u8>; 2]| format!("{} = {}\n", text(&pair[0]), text(&pair[1]));
                pairs.iter().map(line).collect()
            }
            b"list" => Node::of(&client.call(&[&b"LRANGE"[..], key, b"0", b"-1"])).to_string(),
            b"set" => {
                let mut members = elements(&client.call(&[b"SMEMBERS", key]), "SMEMBERS");
                members.sort();
                let mut scanned = round(client, &[b"SSCAN", key]);
                scanned.sort();
                scanned.dedup();
                assert_eq!(members, scanned, "SMEMBERS and a round of SSCAN");
                let encoding = Node::of(&client.call(&[&b"OBJECT"[..], b"ENCODING", key]));
                let line = |member: &Vec<u8>| format!("{}\n", text(member));
                members.iter().map(line).collect::<String>() + &encoding.to_string()
            }
            b"zset" => {
                let all = [&b"ZRANGE"[..], key, b"0", b"-1", b"WITHSCORES"];
                let members = pairs(elements(&client.call(&all), "ZRANGE"));
                let names = |pairs: &[[Vec<u8>; 2]]| {
                    pairs.iter().map(|[name, _]| name.clone()).collect::<BTreeSet<_>>()
                };
                let scanned = self::pairs(round(client, &[b"ZSCAN", key]));
                assert_eq!(names(&members), names(&scanned), "ZRANGE and a round of ZSCAN");
                let encoding = Node::of(&client.call(&[&b"OBJECT"[..], b"ENCODING", key]));
                let line =
                    |[name, score]: &[Vec<u8>; 2]| format!("{} = {}\n", text(name), text(score));
                members.iter().map(line).collect::<String>() + &encoding.to_string()
            }
            _ => Node::of(&client.call(&[b"GET", key])).to_string(),
        };
        let expiry = match client.call(&[b"PEXPIRETIME", key]) {
            // A relative expiry is counted from two clocks.
            Answer::Reply(Reply::Int(at)) if at > 0 => "expires",
            _ => "stays",
        };
        all.insert(key.to_vec(), format!("{value}{expiry}\n"));
    }
    all
}

/// All elements that a whole round of a SCAN command returns.
fn round(client: &mut Client, command: &[&[u8]]) -> Vec<Vec<u8>> {
    let mut cursor = b"0".to_vec();
    let mut found = Vec::new();
    for _ in 0..100_000 {
        let answer = client.call(&[command, &[&cursor]].concat());
        match &answer {
            Answer::Reply(Reply::Array(parts)) if parts.len() == 2 => {
                let Reply::Bulk(next) = &parts[0] else { panic!("a cursor {:?}", parts[0]) };
                cursor.clone_from(next);
                found.extend(elements(&Answer::Reply(parts[1].clone()), "SCAN"));
            }
            other => panic!("a SCAN command answers {other:?}"),
        }
        if cursor == b"0" {
            return found;
        }
    }
    panic!("a round of {:?} does not end", text(command[0]));
}

fn elements(answer: &Answer, what: &str) -> Vec<Vec<u8>> {
    let Answer::Reply(Reply::Array(elements)) = answer else { panic!("{what} answers {answer:?}") };
    let bytes = |element: &Reply| match element {
        Reply::Bulk(bytes) => bytes.clone(),
        other => panic!("{what} holds {other:?}"),
    };
    elements.iter().map(bytes).collect()
}

fn pairs(elements: Vec<Vec<u8>>) -> Vec<[Vec<u8>; 2]> {
    elements.chunks(2).map(|pair| [pair[0].clone(), pair[1].clone()]).collect()
}

fn is_same(theirs: &Reply, ours: &Reply, looseness: Looseness) -> bool {
    match (looseness, theirs, ours) {
        // A negative reply is a state, not a time.
        (Looseness::Clock(most), &Reply::Int(theirs), &Reply::Int(ours)) if theirs >= 0 => {
            ours >= 0 && theirs.abs_diff(ours) <= most.unsigned_abs()
        }
        (Looseness::All, Reply::Array(_), Reply::Array(_)) => true,
        (Looseness::Choice, Reply::Bulk(_), Reply::Bulk(_))
        | (Looseness::Choice, Reply::Double(_), Reply::Double(_)) => true,
        (Looseness::Choice, Reply::Array(theirs), Reply::Array(ours)) => {
            theirs.len() == ours.len()
                && theirs.iter().zip(ours).all(|(theirs, ours)| is_same(theirs, ours, looseness))
        }
        (Looseness::Order | Looseness::PairOrder, _, _) => {
            loosened(theirs.clone(), looseness) == loosened(ours.clone(), looseness)
        }
        _ => theirs == ours,
    }
}

/// The reply with its unordered elements sorted.
fn loosened(reply: Reply, looseness: Looseness) -> Reply {
    let sort = |elements: Vec<Reply>, group: usize| {
        let mut groups: Vec<_> = elements.chunks(group).map(<[_]>::to_vec).collect();
        groups.sort();
        groups.concat()
    };
    match (looseness, reply) {
        (Looseness::Order, Reply::Array(elements)) => Reply::Array(sort(elements, 1)),
        (Looseness::Order, Reply::Set(elements)) => Reply::Set(sort(elements, 1)),
        (Looseness::PairOrder, Reply::Array(elements)) => Reply::Array(sort(elements, 2)),
        (Looseness::PairOrder, Reply::Map(elements)) => Reply::Map(sort(elements, 2)),
        (_, reply) => reply,
    }
}
