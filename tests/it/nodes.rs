//! The nodes of a cluster as a transcript names them: `n1`, `n2` the masters in the order of their
//! slots, `r1`, `r2` the replicas, `s1` a spare node that has met no other.
//!
//! Addresses, ports and ids differ from run to run. In a file their names stand for them: `${n1}` is
//! `127.0.0.1:40001`, `${n1.port}` and `${n1.bus}` are its ports, `${n1.id}` its id. In commands the
//! names are resolved; in answers they replace what the server returned, so that one text fits every
//! run, and a server that names the wrong node fails.

use std::net::SocketAddr;

use crate::notation::Node;

/// `cluster: 2 masters, 1 replica each, 1 spare` in the header of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Shape {
    /// At least one. Together they own all slots, each a run of them.
    pub(crate) masters: usize,
    /// For each master.
    pub(crate) replicas: usize,
    pub(crate) spares: usize,
}

/// The client of a file with a cluster that connects to Slotway's router port.
pub(crate) const ROUTER: &str = "router";

impl Shape {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut shape = Self { masters: 0, replicas: 0, spares: 0 };
        for part in text.split(", ") {
            let (count, what) = part.split_once(' ').unwrap_or((part, ""));
            let place = match what {
                "master" | "masters" => &mut shape.masters,
                "replica each" | "replicas each" => &mut shape.replicas,
                "spare" | "spares" => &mut shape.spares,
                _ => return Err("a cluster is `2 masters, 1 replica each, 1 spare`".to_owned()),
            };
            *place = count.parse().map_err(|_| format!("{part}: how many?"))?;
        }
        if shape.masters == 0 { Err("a cluster has masters".to_owned()) } else { Ok(shape) }
    }

    /// The names of all nodes: masters, then their replicas (of `n1`, of `n2` …), then spares.
    pub(crate) fn names(self) -> Vec<String> {
        let row = |letter: char, count: usize| (1..=count).map(move |at| format!("{letter}{at}"));
        let replicas = self.masters * self.replicas;
        row('n', self.masters).chain(row('r', replicas)).chain(row('s', self.spares)).collect()
    }

    /// The first and last slot of each master: as even as can be, as `redis-cli --cluster create`
    /// assigns them.
    pub(crate) fn slots(self) -> Vec<(usize, usize)> {
        let end = |master: usize| (2 * 16384 * master + self.masters) / (2 * self.masters);
        (0..self.masters).map(|master| (end(master), end(master + 1) - 1)).collect()
    }
}

/// Where a transcript is played: one endpoint, or nodes, or both.
pub(crate) struct Stage {
    /// For clients that are not named after a node.
    endpoint: Option<SocketAddr>,
    nodes: Vec<Place>,
}

/// A node of a running cluster.
pub(crate) struct Place {
    pub(crate) name: String,
    pub(crate) address: SocketAddr,
    pub(crate) id: String,
}

impl Stage {
    /// A server for all clients.
    pub(crate) fn endpoint(address: SocketAddr) -> Self {
        Self { endpoint: Some(address), nodes: vec![] }
    }

    /// A cluster, with a router port before it if there is one.
    pub(crate) fn cluster(router: Option<SocketAddr>, nodes: Vec<Place>) -> Self {
        Self { endpoint: router, nodes }
    }

    /// The address for the client of this name; `n2.b` and `n2` connect to the node `n2`.
    pub(crate) fn address_of(&self, client: &str) -> Option<SocketAddr> {
        let node = node_of(client);
        let place = self.nodes.iter().find(|place| place.name == node);
        place.map(|place| place.address).or(self.endpoint)
    }

    /// What a name such as `n1` or `n1.id` stands for.
    pub(crate) fn value_of(&self, name: &str) -> Option<String> {
        let (node, what) = name.split_once('.').unwrap_or((name, ""));
        let Place { address, id, .. } = self.nodes.iter().find(|place| place.name == node)?;
        match what {
            "" => Some(address.to_string()),
            "port" => Some(address.port().to_string()),
            "bus" => Some(bus_port(*address).to_string()),
            "id" => Some(id.clone()),
            _ => None,
        }
    }

    /// The answer with the names of nodes in place of their addresses, ports and ids.
    pub(crate) fn with_names(&self, answer: &Node) -> Node {
        answer.rewritten(&|before, line| {
            let mut line = line.to_owned();
            // A port is recognized by the element before it.
            let is_port = matches!(before, Some("\"127.0.0.1\"" | "\"port\""));
            for Place { name, address, id } in &self.nodes {
                let (port, bus) = (address.port(), bus_port(*address));
                if line.contains(id) {
                    line = line.replace(id, &format!("${{{name}.id}}"));
                }
                let words = [
                    (address.to_string(), format!("${{{name}}}")),
                    (format!("@{bus}"), format!("@${{{name}.bus}}")),
                    // A node that has met no other does not know its own host.
                    (format!(":{port}@"), format!(":${{{name}.port}}@")),
                    (format!("port={port}"), format!("port=${{{name}.port}}")),
                    (format!("port:{port}"), format!("port:${{{name}.port}}")),
                ];
                for (actual, named) in words {
                    line = replace_word(&line, &actual, &named);
                }
                if is_port && line == format!(":{port}") {
                    line = format!(":${{{name}.port}}");
                } else if is_port && line == format!("\"{port}\"") {
                    line = format!("\"${{{name}.port}}\"");
                }
            }
            line
        })
    }
}

/// The node that a client connects to, by its name.
pub(crate) fn node_of(client: &str) -> &str {
    client.split('.').next().unwrap_or(client)
}

/// The port of the cluster bus: 10,000 above the clients' one.
fn bus_port(address: SocketAddr) -> u32 {
    u32::from(address.port()) + 10_000
}

/// Replaces `from` where no digit follows: `…:4000` is no part of `…:40001`.
fn replace_word(line: &str, from: &str, to: &str) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some((before, after)) = rest.split_once(from) {
        out.push_str(before);
        out.push_str(if after.starts_with(|c: char| c.is_ascii_digit()) { from } else { to });
        rest = after;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Answer, Reply};

    #[test]
    fn slots_are_assigned_as_redis_cli_does() {
        let shape = |text| Shape::parse(text).expect(text);
        assert_eq!(shape("1 master").slots(), [(0, 16383)]);
        assert_eq!(shape("2 masters").slots(), [(0, 8191), (8192, 16383)]);
        assert_eq!(shape("3 masters").slots(), [(0, 5460), (5461, 10922), (10923, 16383)]);
        assert_eq!(
            shape("2 masters, 1 replica each, 1 spare").names(),
            ["n1", "n2", "r1", "r2", "s1"]
        );
        for wrong in ["", "2", "0 masters", "x masters", "1 replica each", "2 masters, 3 cats"] {
            assert!(Shape::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn names_replace_exactly_their_node() {
        let place = |name: &str, port: u16, digit: &str| Place {
            name: name.to_owned(),
            address: SocketAddr::from(([127, 0, 0, 1], port)),
            id: digit.repeat(40),
        };
        let stage = Stage::cluster(None, vec![place("n1", 4000, "1"), place("n2", 40001, "2")]);
        let named = |reply: Reply| stage.with_names(&Node::of(&Answer::Reply(reply))).to_string();
        let bulk = |text: &str| Reply::Bulk(text.as_bytes().to_vec());
        let moved = Reply::Error(b"MOVED 1 127.0.0.1:40001".to_vec());
        assert_eq!(named(moved), "-MOVED 1 ${n2}\n");
        let line = format!("{} 127.0.0.1:4000@14000 port=40001,", "1".repeat(40));
        assert_eq!(named(bulk(&line)), "\"${n1.id} ${n1}@${n1.bus} port=${n2.port},\"\n");
        let pair = |host: &str| Reply::Array(vec![bulk(host), Reply::Int(4000)]);
        assert_eq!(named(pair("127.0.0.1")), "*2\n  \"127.0.0.1\"\n  :${n1.port}\n");
        assert_eq!(named(pair("other")), "*2\n  \"other\"\n  :4000\n");
        assert_eq!(stage.value_of("n2.bus").as_deref(), Some("50001"));
        assert_eq!(stage.value_of("n3"), None);
        assert_eq!(stage.address_of("n2.b").map(|address| address.port()), Some(40001));
        assert_eq!(stage.address_of("a"), None);
    }
}
