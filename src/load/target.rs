//! The target: how to connect and log in, its nodes, and the owners of its slots.

use super::failure::Failure;
use super::keys::shown;
use super::plan::{Protocol, Target};
use super::tls;
use super::url::Url;
use crate::resp::Reply;
use crate::slot::{SLOTS, Slot};
use crate::text::number::parse_i64;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

/// Most nodes of a slot map.
pub(crate) const NODES_MAX: usize = 1000;

/// How to connect to a target.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    /// The address given, with user and password.
    pub url: Url,
    /// The protocol version.
    pub protocol: Protocol,
    /// The TLS configuration for `rediss://`.
    pub tls: Option<Arc<rustls::ClientConfig>>,
    /// The timeout for connecting and for replies.
    pub patience: Duration,
    /// Whether MOVED and ASK are followed.
    pub cluster: bool,
    /// The address that accepted a connection, by node: a name may have several addresses.
    resolved: Arc<Mutex<HashMap<Node, SocketAddr>>>,
}

impl Endpoint {
    /// Makes the endpoint of the target at `url`.
    ///
    /// # Errors
    /// The file of `--cacert` cannot be read.
    pub(crate) fn new(target: &Target, url: Url) -> Result<Self, Failure> {
        let tls = if url.tls { Some(tls::config(target)?) } else { None };
        Ok(Self {
            tls,
            url,
            protocol: target.protocol,
            patience: Duration::from_millis(target.patience_ms),
            cluster: target.cluster,
            resolved: Arc::default(),
        })
    }

    /// Connects to a node at the first of its addresses that accepts, and keeps that address.
    ///
    /// # Errors
    /// None accepted.
    pub(crate) fn connect(&self, node: &Node) -> io::Result<TcpStream> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in (node.host.as_str(), node.port).to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, self.patience) {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    stream.set_read_timeout(Some(self.patience))?;
                    stream.set_write_timeout(Some(self.patience))?;
                    self.resolved.lock().insert(node.clone(), address);
                    return Ok(stream);
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// The address of a node: the one that accepted a connection, otherwise the first of its name.
    ///
    /// # Errors
    /// The name cannot be resolved.
    pub(crate) fn address(&self, node: &Node) -> io::Result<SocketAddr> {
        if let Some(address) = self.resolved.lock().get(node) {
            return Ok(*address);
        }
        let mut addresses = (node.host.as_str(), node.port).to_socket_addrs()?;
        let unknown = || io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        addresses.next().ok_or_else(unknown)
    }

    /// The requests that log in on a new connection, and how many replies they get.
    #[must_use]
    pub(crate) fn handshake(&self) -> (Vec<u8>, usize) {
        let Url { username, password, .. } = &self.url;
        let mut words: Vec<&[u8]> = Vec::new();
        if self.protocol == Protocol::Resp3 {
            words.extend([&b"HELLO"[..], b"3"]);
            if let Some(password) = password {
                let user = username.as_deref().unwrap_or("default");
                words.extend([&b"AUTH"[..], user.as_bytes(), password.as_bytes()]);
            }
        } else if let Some(password) = password {
            words.push(b"AUTH");
            words.extend(username.as_deref().map(str::as_bytes));
            words.push(password.as_bytes());
        }
        let mut bytes = Vec::new();
        if words.is_empty() {
            return (bytes, 0);
        }
        super::setup_client::RequestWriter { out: &mut bytes }.command(&words);
        (bytes, 1)
    }

    /// The failure that an error reply to the handshake means.
    #[must_use]
    pub(crate) fn handshake_error(&self, error: &[u8]) -> Failure {
        let text = shown(error);
        let url = &self.url;
        Failure::target(match text.split(' ').next().unwrap_or_default() {
            "WRONGPASS" | "NOAUTH" => format!(
                "{url} refused the login: {text}; give user and password as redis://user:password@host:port"
            ),
            "ERR" if text.contains("without any password configured") => {
                format!("{url} has no password configured: omit it from the address")
            }
            "ERR" if self.protocol == Protocol::Resp3 => {
                format!("{url} does not speak RESP3 ({text}); use RESP2")
            }
            _ => format!("{url} refused the connection: {text}"),
        })
    }
}

/// A node's address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Node {
    /// Name or address.
    pub host: String,
    /// Port.
    pub port: u16,
}

impl std::fmt::Display for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// The owner of each slot, as far as known.
#[derive(Clone, Debug)]
pub(crate) struct SlotMap {
    nodes: Vec<Node>,
    /// By slot, an index into `nodes`, which is never empty.
    owner: Box<[u16]>,
}

impl SlotMap {
    /// One node that owns all slots.
    #[must_use]
    pub(crate) fn single_node(node: Node) -> Self {
        Self { nodes: vec![node], owner: vec![0; SLOTS as usize].into() }
    }

    /// Reads the reply to CLUSTER SLOTS of the node `asked`. Slots without an owner go to the first
    /// node. Returns `None` if it is not such a reply or names no node.
    #[must_use]
    pub(crate) fn parse(reply: Reply<'_>, asked: &Node) -> Option<Self> {
        let mut map = Self { nodes: Vec::new(), owner: vec![0; SLOTS as usize].into() };
        for range in reply.elements()? {
            let mut parts = range.elements()?;
            let mut slot =
                || usize::try_from(parts.next()?.integer()?).ok().filter(|&s| s < SLOTS as usize);
            let (first, last) = (slot()?, slot()?);
            let mut master = parts.next()?.elements()?;
            let host = match master.next()? {
                Reply::Bulk(host) if !host.is_empty() && host != b"?" => {
                    String::from_utf8(host.to_vec()).ok()?
                }
                _ => asked.host.clone(),
            };
            let port = u16::try_from(master.next()?.integer()?).ok()?;
            let node = map.node_index(Node { host, port })?;
            map.owner.get_mut(first..=last)?.fill(node);
        }
        (!map.nodes.is_empty()).then_some(map)
    }

    /// The nodes. Nodes are added, never removed.
    #[must_use]
    pub(crate) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The node that owns a slot, as an index into [`SlotMap::nodes`].
    #[must_use]
    pub(crate) fn owner(&self, slot: Slot) -> u16 {
        self.owner[slot.index()]
    }

    /// The index of a node, which is added if it is new. Returns `None` if there are too many.
    pub(crate) fn node_index(&mut self, node: Node) -> Option<u16> {
        let at = self.nodes.iter().position(|known| *known == node).or_else(|| {
            (self.nodes.len() < NODES_MAX).then(|| {
                self.nodes.push(node);
                self.nodes.len() - 1
            })
        })?;
        u16::try_from(at).ok()
    }

    /// Sets the owner of a slot that has moved.
    pub(crate) fn set_owner(&mut self, slot: Slot, to: u16) {
        self.owner[slot.index()] = to;
    }

    /// Takes over the owners of another map; the indexes of the nodes stay the same.
    pub(crate) fn merge(&mut self, other: &Self) {
        let numbers: Vec<Option<u16>> =
            other.nodes.iter().map(|node| self.node_index(node.clone())).collect();
        for (mine, theirs) in self.owner.iter_mut().zip(&other.owner) {
            if let Some(number) = numbers[*theirs as usize] {
                *mine = number;
            }
        }
    }
}

/// A MOVED or ASK redirection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Redirect {
    /// Whether it is ASK, which is for one request only.
    pub ask: bool,
    /// The slot.
    pub slot: Slot,
    /// The node. An empty host means the host of the node that replied.
    pub node: Node,
}

impl Redirect {
    /// Reads `MOVED 3999 127.0.0.1:6381`.
    #[must_use]
    pub(crate) fn parse(error: &[u8]) -> Option<Self> {
        let mut words = error.split(|&byte| byte == b' ');
        let ask = match words.next()? {
            b"MOVED" => false,
            b"ASK" => true,
            _ => return None,
        };
        let slot = Slot::new(u16::try_from(parse_i64(words.next()?)?).ok()?)?;
        let place = std::str::from_utf8(words.next()?).ok()?;
        let (host, port) = place.rsplit_once(':')?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Some(Self { ask, slot, node: Node { host, port: port.parse().ok()? } })
    }
}

/// The shards of the target and the owners of its slots, for the report.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    /// The shards' names.
    pub names: Vec<String>,
    /// By slot, an index into `names`.
    pub owner: Box<[u16]>,
}

impl Layout {
    /// The layout of a slot map: a shard is a node.
    #[must_use]
    pub(crate) fn of_slot_map(map: &SlotMap) -> Self {
        Self {
            names: map.nodes.iter().map(ToString::to_string).collect(),
            owner: map.owner.clone(),
        }
    }

    /// The layout of a cluster in this process.
    #[must_use]
    pub(crate) fn of_topology(topology: &crate::topology::Topology) -> Self {
        Self {
            names: (0..topology.shards()).map(|shard| format!("shard {shard}")).collect(),
            owner: Slot::all().map(|slot| topology.shard_of(slot) as u16).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirections_are_parsed() {
        let read = |text: &str| Redirect::parse(text.as_bytes());
        let node = |host: &str| Node { host: host.to_owned(), port: 6381 };
        let slot = Slot::new(3999).expect("a slot");
        assert_eq!(
            read("MOVED 3999 127.0.0.1:6381"),
            Some(Redirect { ask: false, slot, node: node("127.0.0.1") })
        );
        assert_eq!(
            read("ASK 3999 ::1:6381"),
            Some(Redirect { ask: true, slot, node: node("::1") })
        );
        assert_eq!(read("MOVED 3999 :6381"), Some(Redirect { ask: false, slot, node: node("") }));
        for text in ["MOVED", "MOVED 16384 h:1", "MOVED 1 h", "MOVED x h:1", "ERR 1 h:1"] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn slot_maps_are_parsed() {
        let asked = Node { host: "me".to_owned(), port: 1 };
        let text = "*2\r\n*3\r\n:0\r\n:8191\r\n*2\r\n$1\r\na\r\n:7\r\n*3\r\n:8192\r\n:16383\r\n*2\r\n$-1\r\n:8\r\n";
        let map = SlotMap::parse(Reply::of(text.as_bytes()), &asked).expect("a map");
        assert_eq!(
            map.nodes().iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["a:7", "me:8"]
        );
        assert_eq!((map.owner[8191], map.owner[8192]), (0, 1));
        for text in [
            "*0\r\n",
            "-ERR\r\n",
            "*1\r\n*2\r\n:1\r\n:99999\r\n",
            "*1\r\n*3\r\n:5\r\n:1\r\n*2\r\n$1\r\na\r\n:7\r\n",
        ] {
            let read = SlotMap::parse(Reply::of(text.as_bytes()), &asked);
            assert!(read.is_none(), "{text:?}");
        }
    }
}
