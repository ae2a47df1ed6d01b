//! Random orders to the three nodes of a cluster, sent to real nodes and to Slotway's, with every pair
//! of replies and of messages compared: what belongs to one node stays with that node.
//!
//! One seed makes one scenario: `SLOTWAY_SEED` repeats it, `SLOTWAY_NODE_ORDERS` sets its length. Both
//! clusters get each order before the next one. What real nodes pass on over their bus takes a moment:
//! messages are awaited, and after a change of the map or of an address the real nodes are asked until
//! all of them have it. Left out of a comparison is what [`crate::node_clients::shown`] leaves out.

use std::collections::BTreeMap;

use slotway::slot::Slot;

use crate::env::{poll, say, setting};
use crate::node_clients::Side;
use crate::nodes::Shape;
use crate::oracle::Reference;
use crate::references;
use crate::server_process::ServerProcess;

/// The seed of a run that names none: the same orders every time, so that a failure stays.
const SEED: u64 = 0x51_07_3A_11;
/// The default number of orders: a few seconds.
const ORDERS: usize = 500;
/// The id of no client of a real node.
const ID_OF_NONE: &str = "999999999";
const SHAPE: Shape = Shape { masters: 3, replicas: 0, spares: 0 };
/// Orders in a report.
const HISTORY: usize = 25;

/// The keys, three to a node as the slots are dealt out.
const KEYS: [&str; 9] = ["bar", "hello", "{bar}x", "c", "z", "{c}x", "foo", "a", "{foo}z"];

#[test]
fn nodes_are_as_separate_as_those_of_redis() {
    play(Reference::Redis, "redis7", "nodes_are_as_separate_as_those_of_redis");
}

#[test]
fn nodes_are_as_separate_as_those_of_valkey() {
    play(Reference::Valkey, "valkey9", "nodes_are_as_separate_as_those_of_valkey");
}

fn play(reference: Reference, dialect: &str, name: &str) {
    let number = |name: &str| setting(name).map(|n| n.parse::<u64>().expect(name));
    let seed = number("SLOTWAY_SEED").unwrap_or(SEED);
    let orders = number("SLOTWAY_NODE_ORDERS").map_or(ORDERS, |n| n as usize);
    let Some(real) = references::start_cluster(reference, SHAPE, &[]) else { return };
    let options = ["--dialect".to_owned(), dialect.to_owned()];
    let (_process, ours) = ServerProcess::start_cluster(SHAPE, &options);
    let mut scenario = Scenario::new(seed, reference, Side::new(&real.stage), Side::new(&ours));
    if let Err(difference) = scenario.begin() {
        panic!("at the beginning: {difference}");
    }
    for order in 0..orders {
        scenario.history.clear_old();
        if let Err(difference) = scenario.next() {
            panic!(
                "seed {seed}, order {order}: {difference}\nThe last of them:\n{}\nRepeat: SLOTWAY_SEED={seed} \
                 cargo test --test it node_scenarios::{name}",
                scenario.history
            );
        }
    }
    if let Err(difference) = scenario.end() {
        panic!("seed {seed}, at the end: {difference}\nThe last of them:\n{}", scenario.history);
    }
    let Scenario { exchanges, messages, settled, .. } = scenario;
    say(&format!(
        "seed {seed}: {exchanges} exchanges and {messages} messages compared, {settled} changes awaited"
    ));
    assert!(exchanges > orders / 2, "only {exchanges} exchanges");
}

/// The last orders and replies.
#[derive(Default)]
struct History(Vec<String>);

impl History {
    fn clear_old(&mut self) {
        let old = self.0.len().saturating_sub(HISTORY);
        self.0.drain(..old);
    }
}

impl std::fmt::Display for History {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|line| writeln!(f, "  {line}"))
    }
}

/// The orders and what they have to take into account.
struct Scenario<'a> {
    chance: fastrand::Rng,
    reference: Reference,
    real: Side<'a>,
    ours: Side<'a>,
    /// The nodes with CLIENT PAUSE, and whether a client has a write held there.
    paused: BTreeMap<usize, bool>,
    /// A slot without owner, and its last owner.
    given_up: Option<(&'static str, usize)>,
    /// By key: the node that owns its slot.
    owners: BTreeMap<&'static str, usize>,
    /// Values get a number of their own.
    count: usize,
    exchanges: usize,
    messages: usize,
    settled: usize,
    history: History,
}

/// What differs.
type Difference = String;
type Compared = Result<(), Difference>;

/// Makes an order of words.
fn words(order: &[&str]) -> Vec<String> {
    order.iter().map(|&word| word.to_owned()).collect()
}

impl<'a> Scenario<'a> {
    fn new(seed: u64, reference: Reference, real: Side<'a>, ours: Side<'a>) -> Self {
        Self {
            chance: fastrand::Rng::with_seed(seed),
            reference,
            real,
            ours,
            paused: BTreeMap::new(),
            given_up: None,
            owners: KEYS.iter().enumerate().map(|(at, &key)| (key, 1 + at / 3)).collect(),
            count: 0,
            exchanges: 0,
            messages: 0,
            settled: 0,
            history: History::default(),
        }
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.chance.usize(..of.len())]
    }

    fn node(&mut self) -> usize {
        self.chance.usize(1..=SHAPE.masters)
    }

    /// A client that sends orders to this node.
    fn client_of(&mut self, node: usize) -> String {
        format!("n{node}.{}", self.one(&["a", "b", "c"]))
    }

    /// The next order.
    fn next(&mut self) -> Compared {
        match self.chance.u32(..100) {
            0..36 => self.key(),
            36..50 => self.parameter(),
            50..62 => self.clients(),
            62..68 => self.pause(),
            68..76 => self.subscribe(),
            76..86 => self.publish(),
            86..92 => self.slow_log(),
            92..98 => self.show(),
            _ => self.slots(),
        }
    }

    /// A log of commands that took long would be up to the machine.
    fn begin(&mut self) -> Compared {
        for node in 1..=SHAPE.masters {
            let client = format!("n{node}.a");
            self.call(&client, &words(&["CONFIG", "SET", "slowlog-log-slower-than", "-1"]))?;
            // Each message is awaited at all nodes, so that none is under way when another subscribes.
            self.call(&format!("n{node}.all"), &words(&["SUBSCRIBE", "news"]))?;
        }
        self.settle()
    }

    /// What is left open is closed, and whatever is still under way arrives.
    fn end(&mut self) -> Compared {
        while let Some((&node, _)) = self.paused.first_key_value() {
            self.unpause(node)?;
        }
        for node in 1..=SHAPE.masters {
            self.call(&format!("n{node}.s"), &words(&["SUBSCRIBE", "end"]))?;
        }
        // A node passes messages on in order: behind this one there is no other.
        for node in 1..=SHAPE.masters {
            self.call(&format!("n{node}.a"), &words(&["PUBLISH", "end", &node.to_string()]))?;
        }
        self.show()?;
        self.settle()
    }

    // ── orders ────────────────────────────────────────────────────────────────────────────────────

    fn key(&mut self) -> Compared {
        let key = self.one(&KEYS);
        let node = if self.chance.bool() { self.owners[key] } else { self.node() };
        let client = self.client_of(node);
        self.count += 1;
        let value = self.count.to_string();
        let tag = key.trim_start_matches('{').split('}').next().unwrap_or(key);
        let hash = &*format!("{{{tag}}}hash");
        let order: &[&str] = match self.chance.u32(..11) {
            0..3 => &["SET", key, &value],
            3 => &["DEL", key],
            4 => &["EXPIRE", key, "1000"],
            5 => &["HSET", hash, &value, "v"],
            6 => &["OBJECT", "ENCODING", hash],
            7 => &["EXPIRE", key, "-1"],
            _ => &["GET", key],
        };
        let writes = !matches!(order[0], "GET" | "OBJECT");
        // A redirection and an error are replied at once in spite of CLIENT PAUSE.
        let is_down = self.given_up.is_some_and(|(_, owner)| owner == node);
        let is_held = writes && self.owners[key] == node && !is_down;
        if is_held && self.paused.contains_key(&node) {
            return self.hold(node, &words(order));
        }
        self.call(&client, &words(order))
    }

    /// A write at a node with CLIENT PAUSE gets no reply until the pause ends; one at a time.
    fn hold(&mut self, node: usize, order: &[String]) -> Compared {
        if self.paused.insert(node, true) == Some(true) {
            return Ok(());
        }
        let held = format!("n{node}.held");
        self.history.0.push(format!("{held}> {} (held)", order.join(" ")));
        self.real.send(&held, order);
        self.ours.send(&held, order);
        // Has the node read it? It reads clients in turn.
        self.call(&format!("n{node}.a"), &words(&["PING"]))?;
        self.call(&format!("n{node}.a"), &words(&["PING"]))?;
        for (whose, side) in [("theirs", &mut self.real), ("ours", &mut self.ours)] {
            if side.client(&held).has_input() {
                return Err(format!("{whose} answers {held} in spite of CLIENT PAUSE"));
            }
        }
        Ok(())
    }

    fn pause(&mut self) -> Compared {
        let node = self.node();
        if self.paused.contains_key(&node) {
            return self.unpause(node);
        }
        self.paused.insert(node, false);
        let client = self.client_of(node);
        self.call(&client, &words(&["CLIENT", "PAUSE", "600000", "WRITE"]))
    }

    fn unpause(&mut self, node: usize) -> Compared {
        let client = self.client_of(node);
        let has_held = self.paused.remove(&node) == Some(true);
        self.exchange(&client, &words(&["CLIENT", "UNPAUSE"]))?;
        if has_held {
            let held = format!("n{node}.held");
            let (theirs, ours) = (self.real.read(&held), self.ours.read(&held));
            self.compare(&held, "(the held write)", &theirs.to_string(), &ours.to_string())?;
        }
        self.hear()
    }

    fn parameter(&mut self) -> Compared {
        let node = self.node();
        let client = self.client_of(node);
        let names = [
            "hash-max-listpack-entries",
            "slowlog-max-len",
            "latency-monitor-threshold",
            "notify-keyspace-events",
            "cluster-migration-barrier",
        ];
        let name = self.one(&names);
        if self.chance.bool() {
            return self.call(&client, &words(&["CONFIG", "GET", name]));
        }
        let value = match name {
            "notify-keyspace-events" => self.one(&["", "KEA", "KEA", "Exg", "KE$n", "KEm$h"]),
            "slowlog-max-len" => self.one(&["2", "128"]),
            _ => self.one(&["0", "1", "7", "none"]),
        };
        self.call(&client, &words(&["CONFIG", "SET", name, value]))
    }

    fn clients(&mut self) -> Compared {
        let node = self.node();
        let client = self.client_of(node);
        let other = format!("n{node}.{}", self.one(&["a", "b", "c"]));
        match self.chance.u32(..9) {
            0 => {
                let name = format!("name-{}", self.count);
                self.call(&client, &words(&["CLIENT", "SETNAME", &name]))
            }
            1 => self.call(&client, &words(&["CLIENT", "GETNAME"])),
            2 => self.call(&client, &words(&["CLIENT", "LIST", "TYPE", "normal"])),
            3 => self.call(&client, &words(&["CLIENT", "LIST", "TYPE", "pubsub"])),
            4 => self.call(&client, &words(&["READONLY"])),
            5 => self.call(&client, &words(&["READWRITE"])),
            6 => self.call(&client, &words(&["CLIENT", "INFO"])),
            7 if other != client => self.kill(&client, &other, node),
            // That of another node is not found here.
            _ => {
                let stranger = format!("n{}.a", node % SHAPE.masters + 1);
                self.real.identify(&stranger);
                self.ours.identify(&stranger);
                // Real nodes count their clients each from 1: theirs may well have one of this id.
                self.real.ids.insert(stranger.clone(), ID_OF_NONE.to_owned());
                let id = format!("${{id of {stranger}}}");
                self.call(&client, &words(&["CLIENT", "KILL", "ID", &id]))
            }
        }
    }

    /// Closes a client by its id.
    fn kill(&mut self, client: &str, victim: &str, node: usize) -> Compared {
        for side in [&mut self.real, &mut self.ours] {
            side.client(client);
            side.identify(victim);
        }
        let id = format!("${{id of {victim}}}");
        self.call(client, &words(&["CLIENT", "KILL", "ID", &id]))?;
        // It is gone: what was sent is not answered.
        let (theirs, ours) = (self.real.read(victim), self.ours.read(victim));
        self.compare(victim, "(after its end)", &theirs.to_string(), &ours.to_string())?;
        self.call(&format!("n{node}.a"), &words(&["CLIENT", "LIST", "TYPE", "normal"]))
    }

    fn subscribe(&mut self) -> Compared {
        let node = self.node();
        let subscriber = format!("n{node}.s");
        let channel = self.one(&["news", "__keyevent@0__:set", "__keyspace@0__:foo"]);
        // Redis keeps a client's patterns, and the shard channels of a slot, in no order: no message is
        // for two of them.
        let pattern = self.one(&["n*", "__keyspace*", "__keyevent*"]);
        let key = self.one(&["bar", "c", "foo", "a"]);
        match self.chance.u32(..6) {
            0 | 1 => self.call(&subscriber, &words(&["SUBSCRIBE", channel])),
            2 => self.call(&subscriber, &words(&["PSUBSCRIBE", pattern])),
            3 => self.call(&subscriber, &words(&["UNSUBSCRIBE", channel])),
            4 => self.call(&subscriber, &words(&["PUNSUBSCRIBE", pattern])),
            _ => self.call(&subscriber, &words(&["SSUBSCRIBE", key])),
        }
    }

    fn publish(&mut self) -> Compared {
        let node = self.node();
        let client = self.client_of(node);
        let (key, is_paused) = (self.one(&KEYS), self.paused.contains_key(&node));
        self.count += 1;
        let text = self.count.to_string();
        match self.chance.u32(..6) {
            0 => self.call(&client, &words(&["PUBSUB", "NUMSUB", "news", "end"])),
            1 => self.call(&client, &words(&["PUBSUB", "NUMPAT"])),
            2 => self.call(&client, &words(&["PUBSUB", "SHARDNUMSUB", key])),
            // It is held as a write is.
            _ if is_paused => Ok(()),
            3 => self.call(&client, &words(&["SPUBLISH", key, &text])),
            _ => self.call(&client, &words(&["PUBLISH", "news", &text])),
        }
    }

    fn slow_log(&mut self) -> Compared {
        let node = self.node();
        let client = self.client_of(node);
        match self.chance.u32(..5) {
            0 => self.call(&client, &words(&["CONFIG", "SET", "slowlog-log-slower-than", "0"])),
            1 => self.call(&client, &words(&["CONFIG", "SET", "slowlog-log-slower-than", "-1"])),
            2 => self.call(&client, &words(&["SLOWLOG", "RESET"])),
            3 => self.call(&client, &words(&["SLOWLOG", "GET", "3"])),
            _ => self.call(&client, &words(&["SLOWLOG", "LEN"])),
        }
    }

    /// What nodes say of the cluster and count.
    fn show(&mut self) -> Compared {
        let node = self.node();
        let client = self.client_of(node);
        for order in [
            &["CLUSTER", "SLOTS"][..],
            &["CLUSTER", "INFO"],
            &["INFO", "stats"],
            &["INFO", "commandstats"],
            &["CONFIG", "GET", "cluster-announce-port"],
        ] {
            self.call(&client, &words(order))?;
        }
        Ok(())
    }

    /// Changes the map or an address.
    fn slots(&mut self) -> Compared {
        let node = self.node();
        if self.chance.bool() {
            let (host, port) = ("cluster-announce-client-ipv4", "cluster-announce-client-port");
            let changes: [&[&str]; 8] = [
                &["cluster-announce-port", "0"],
                &["cluster-announce-port", "7001"],
                &["cluster-announce-port", "7002"],
                &["cluster-announce-hostname", ""],
                &["cluster-announce-hostname", "a.test"],
                // What Valkey alone has.
                &[port, "7003"],
                &[port, "7004", host, "10.0.0.1"],
                &[port, "0", host, ""],
            ];
            let known = if self.reference == Reference::Valkey { 8 } else { 5 };
            let change = [&["CONFIG", "SET"][..], self.one(&changes[..known])].concat();
            let client = self.client_of(node);
            self.call(&client, &words(&change))?;
            return self.settle();
        }
        match self.given_up.take() {
            None => {
                let key = self.one(&KEYS);
                let owner = self.owners[key];
                let slot = slot_of(key);
                let client = self.client_of(owner);
                self.call(&client, &words(&["CLUSTER", "DELSLOTS", &slot]))?;
                self.given_up = Some((key, owner));
                self.settle()
            }
            Some((key, owner)) => {
                let slot = slot_of(key);
                // Each node drops it from its own map, unless its last owner takes it back.
                if node != owner {
                    for other in (1..=SHAPE.masters).filter(|&other| other != owner) {
                        let client = self.client_of(other);
                        self.call(&client, &words(&["CLUSTER", "DELSLOTS", &slot]))?;
                    }
                }
                let client = self.client_of(node);
                self.call(&client, &words(&["CLUSTER", "ADDSLOTS", &slot]))?;
                for (other, owner) in &mut self.owners {
                    if slot_of(other) == slot {
                        *owner = node;
                    }
                }
                self.settle()
            }
        }
    }

    // ── both sides ────────────────────────────────────────────────────────────────────────────────

    /// Sends an order to both, compares the replies, and what subscribers are sent.
    fn call(&mut self, client: &str, order: &[String]) -> Compared {
        self.exchange(client, order)?;
        self.hear()
    }

    /// Sends an order to both and compares the replies.
    fn exchange(&mut self, client: &str, order: &[String]) -> Compared {
        let theirs = self.real.call(client, order);
        let ours = self.ours.call(client, order);
        self.compare(client, &order.join(" "), &theirs, &ours)
    }

    fn compare(&mut self, client: &str, order: &str, theirs: &str, ours: &str) -> Compared {
        self.exchanges += 1;
        self.history.0.push(format!("{client}> {order}\n    {}", theirs.trim_end()));
        if theirs == ours {
            return Ok(());
        }
        Err(format!("{client}> {order}\nThe reference answers\n{theirs}Slotway answers\n{ours}"))
    }

    /// Compares what subscribers have been sent. Slotway has sent it all when the reply is there; what
    /// comes from another real node is awaited.
    fn hear(&mut self) -> Compared {
        let of_node = |node| [format!("n{node}.all"), format!("n{node}.s")];
        for name in (1..=SHAPE.masters).flat_map(of_node) {
            if !self.ours.clients.contains_key(&name) {
                continue;
            }
            self.count += 1;
            let ping = words(&["PING", &format!("end {}", self.count)]);
            self.ours.send(&name, &ping);
            let mut wanted = vec![];
            let pong = loop {
                let message = self.ours.read(&name).to_string();
                if message.contains(&ping[1]) || !self.ours.clients.contains_key(&name) {
                    break message;
                }
                wanted.push(message);
            };
            self.real_has(&name, &wanted, &ping, &pong)?;
        }
        Ok(())
    }

    /// Compares a real subscriber's messages with ours, and then its reply to PING.
    fn real_has(&mut self, name: &str, ours: &[String], ping: &[String], pong: &str) -> Compared {
        for message in ours {
            let theirs = self.real.read(name).to_string();
            self.compare(name, "(a message)", &theirs, message)?;
            self.messages += 1;
        }
        let theirs = self.real.call(name, ping);
        if theirs == pong {
            return Ok(());
        }
        Err(format!("{name} has one more message of the reference:\n{theirs}"))
    }

    /// Waits until all real nodes see the cluster as ours do, and are connected: a link is opened anew
    /// when the node behind it announces another address, and a message is lost meanwhile. Then slow logs
    /// and counters begin anew: how often the nodes were asked is left to chance.
    fn settle(&mut self) -> Compared {
        self.settled += 1;
        for node in 1..=SHAPE.masters {
            let client = format!("n{node}.a");
            for order in [&["CLUSTER", "SLOTS"], &["CLUSTER", "NODES"], &["CLUSTER", "INFO"]] {
                let order = words(order);
                let ours = self.ours.call(&client, &order);
                let mut theirs = String::new();
                let is_same = poll(|| {
                    theirs = self.real.call(&client, &order);
                    (theirs == ours).then_some(())
                });
                if is_same.is_none() {
                    let order = order.join(" ");
                    return Err(format!(
                        "{client}> {order}\nThe reference has settled on\n{theirs}Slotway answers\n{ours}"
                    ));
                }
            }
        }
        for node in 1..=SHAPE.masters {
            self.call(&format!("n{node}.a"), &words(&["SLOWLOG", "RESET"]))?;
            self.call(&format!("n{node}.a"), &words(&["CONFIG", "RESETSTAT"]))?;
        }
        self.hear()
    }
}

/// The slot of a key, as CLUSTER takes it.
fn slot_of(key: &str) -> String {
    Slot::of(key.as_bytes()).number().to_string()
}
