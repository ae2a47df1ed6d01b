//! Clients of the nodes of one cluster, named after them, and what is compared of the replies that they get.

use std::collections::HashMap;
use std::net::SocketAddr;

use crate::nodes::Stage;
use crate::notation::Node;
use crate::wire::{Answer, Client, Reply, command};

/// One of the two clusters.
pub(crate) struct Side<'a> {
    stage: &'a Stage,
    pub(crate) clients: HashMap<String, Client>,
    /// The ids of clients, by name.
    pub(crate) ids: HashMap<String, String>,
}

impl<'a> Side<'a> {
    pub(crate) fn new(stage: &'a Stage) -> Self {
        Self { stage, clients: HashMap::new(), ids: HashMap::new() }
    }

    fn address(&self, name: &str) -> SocketAddr {
        self.stage.address_of(name).expect("each client is named after a node")
    }

    pub(crate) fn client(&mut self, name: &str) -> &mut Client {
        if !self.clients.contains_key(name) {
            let client = Client::connect(self.address(name)).expect("the node accepts clients");
            self.clients.insert(name.to_owned(), client);
        }
        self.clients.get_mut(name).expect("it has just been entered")
    }

    /// The reply to an order, in which `${…}` stands for what this side has there.
    pub(crate) fn call(&mut self, name: &str, order: &[String]) -> String {
        self.send(name, order);
        shown(order, &self.read(name))
    }

    pub(crate) fn send(&mut self, name: &str, order: &[String]) {
        let words: Vec<_> = order.iter().map(|word| self.resolved(word)).collect();
        self.client(name).send(&command(&words));
    }

    pub(crate) fn read(&mut self, name: &str) -> Node {
        let answer = self.client(name).read();
        if answer == Answer::Closed {
            self.clients.remove(name);
        }
        self.stage.with_names(&Node::of(&answer))
    }

    fn resolved(&self, word: &str) -> String {
        match word.strip_prefix("${").and_then(|word| word.strip_suffix('}')) {
            Some(id) if id.starts_with("id of ") => self.ids[&id["id of ".len()..]].clone(),
            Some(name) => self.stage.value_of(name).expect("a node's"),
            None => word.to_owned(),
        }
    }

    /// Learns the id of a client.
    pub(crate) fn identify(&mut self, name: &str) {
        let Reply::Int(id) = self.client(name).ask(&["CLIENT", "ID"]) else {
            panic!("CLIENT ID answers a number")
        };
        self.ids.insert(name.to_owned(), id.to_string());
    }
}

/// What is compared of a reply: all but ids, times, addresses of clients, sizes, and counters of what
/// is not ordered here.
pub(crate) fn shown(order: &[String], reply: &Node) -> String {
    let word = |at: usize| order.get(at).map_or("", String::as_str);
    let text = reply.by_line().to_string();
    let lines = text.lines();
    let joined = |lines: Vec<String>| lines.join("\n") + "\n";
    match (word(0), word(1)) {
        ("CLIENT", "LIST" | "INFO") => {
            // Redis turns its list of clients round and round.
            let mut clients: Vec<_> = lines.map(|line| fields_of(line, CLIENT_FIELDS)).collect();
            clients.sort();
            joined(clients)
        }
        ("SLOWLOG", "GET") => {
            let is_own =
                |line: &&str| line.starts_with("    :") || line.starts_with("    \"127.0.0.1:");
            let mut is_id = false;
            let without_id = |line: &str| {
                let shown = if is_id { "      (an id)" } else { line };
                is_id = line.ends_with(" \"ID\"");
                shown.to_owned()
            };
            joined(lines.filter(|line| !is_own(line)).map(without_id).collect())
        }
        ("CLUSTER", "NODES") => {
            let mut rows: Vec<_> = lines.map(without_times).collect();
            rows.sort();
            joined(rows)
        }
        ("CLUSTER", "INFO") => joined(chosen(lines, CLUSTER_FIELDS)),
        ("INFO", "commandstats") => {
            let mut counts: Vec<_> = lines.skip(1).map(without_usec).collect();
            counts.sort();
            joined(counts)
        }
        ("INFO", _) => joined(chosen(lines, STATS_FIELDS)),
        _ => text,
    }
}

const CLIENT_FIELDS: &[&str] =
    &["name", "flags", "db", "sub", "psub", "ssub", "multi", "cmd", "user"];
const CLUSTER_FIELDS: &[&str] = &[
    "cluster_state",
    "cluster_slots_assigned",
    "cluster_slots_ok",
    "cluster_known_nodes",
    "cluster_size",
    "cluster_current_epoch",
    "cluster_my_epoch",
];
const STATS_FIELDS: &[&str] =
    &["keyspace_hits", "keyspace_misses", "expired_keys", "pubsub_channels", "pubsub_patterns"];

/// These fields of a line `name=value name=value`; the line itself if it has none.
fn fields_of(line: &str, names: &[&str]) -> String {
    let is_named =
        |field: &&str| field.split_once('=').is_some_and(|(name, _)| names.contains(&name));
    let fields: Vec<_> = line.split(' ').filter(is_named).collect();
    if fields.is_empty() { line.to_owned() } else { fields.join(" ") }
}

/// These of the lines `"name:value\r\n"`.
fn chosen<'a>(lines: impl Iterator<Item = &'a str>, names: &[&str]) -> Vec<String> {
    let name =
        |line: &str| line.trim_start_matches([' ', '"']).split(':').next().map(str::to_owned);
    let is_chosen = |line: &&str| name(line).is_some_and(|name| names.contains(&name.as_str()));
    lines.filter(is_chosen).map(str::to_owned).collect()
}

/// A row of CLUSTER NODES without the times of ping and pong.
fn without_times(row: &str) -> String {
    let fields = row.trim().split(' ').enumerate();
    let kept: Vec<_> = fields.filter(|(at, _)| !matches!(at, 4 | 5)).map(|(_, f)| f).collect();
    kept.join(" ")
}

/// A line `cmdstat_get:calls=1,usec=3,…` without the times.
fn without_usec(line: &str) -> String {
    let fields = line.trim_end_matches(['"', 'n', 'r', '\\']).split(',');
    fields.filter(|field| !field.starts_with("usec")).collect::<Vec<_>>().join(",")
}
