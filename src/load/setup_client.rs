//! The blocking client that writes the first values before the load, and checks and removes the
//! keys after it. Requests are pipelined; nothing here is measured.

use super::failure::Failure;
use super::keys::shown;
use super::target::{Endpoint, Node, Redirect, SlotMap};
use super::tls;
use crate::resp::{Reply, ReplyDecoder};
use crate::slot::Slot;
use crate::text::number::write_i64;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

/// Most requests in flight.
const IN_FLIGHT_MAX: u64 = 256;
/// Most bytes of requests in flight.
const IN_FLIGHT_LEN_MAX: usize = 1 << 20;
/// Most redirections that one request follows.
const REDIRECTS_MAX: usize = 16;
/// Most bytes read at a time.
const READ_LEN: usize = 64 * 1024;

/// Writes requests into a buffer.
#[derive(Debug)]
pub(crate) struct RequestWriter<'a> {
    pub(super) out: &'a mut Vec<u8>,
}

impl RequestWriter<'_> {
    /// Writes a whole request.
    pub(crate) fn command(&mut self, args: &[&[u8]]) {
        self.begin(args.len());
        args.iter().for_each(|arg| self.argument(arg));
    }

    /// Begins a request of `args` arguments, which follow.
    pub(crate) fn begin(&mut self, args: usize) {
        self.out.push(b'*');
        write_i64(self.out, args as i64);
        self.out.extend_from_slice(b"\r\n");
    }

    /// Writes the next argument.
    pub(crate) fn argument(&mut self, arg: &[u8]) {
        self.out.push(b'$');
        write_i64(self.out, arg.len() as i64);
        self.out.extend_from_slice(b"\r\n");
        self.out.extend_from_slice(arg);
        self.out.extend_from_slice(b"\r\n");
    }
}

/// Accepts only `+OK`.
///
/// # Errors
/// The reply is another one.
pub(crate) fn expect_ok(reply: Reply<'_>) -> Result<(), Failure> {
    expect_no_error(reply)?;
    if reply.is_ok() {
        return Ok(());
    }
    Err(Failure::target("the target did not reply OK to SET"))
}

/// Returns the elements of an array, none of which is an error; with `len`, so many. `command`
/// names the request.
///
/// # Errors
/// The reply is another one: it says nothing about the keys.
pub(crate) fn expect_elements<'a>(
    reply: Reply<'a>,
    len: Option<u64>,
    command: &str,
) -> Result<impl Iterator<Item = Reply<'a>> + use<'a>, Failure> {
    expect_no_error(reply)?;
    let odd = || Failure::target(format!("the target did not reply to {command} with an array"));
    let elements = reply.elements().ok_or_else(odd)?;
    let there = elements.len();
    if len.is_some_and(|len| len != there) {
        let len = len.unwrap_or_default();
        return Err(Failure::target(format!(
            "the target replied to {command} with {there} elements instead of {len}"
        )));
    }
    // Proxies reply so for the keys of a server that they have lost.
    { elements }.try_for_each(expect_no_error)?;
    Ok(elements)
}

/// Accepts any reply that is not an error.
///
/// # Errors
/// The error reply, with what to do about it.
pub(crate) fn expect_no_error(reply: Reply<'_>) -> Result<(), Failure> {
    let Reply::Error(text) = reply else { return Ok(()) };
    Err(Failure::of_error_reply(text).unwrap_or_else(|| {
        let text = shown(text);
        Failure::target(match text.split(' ').next().unwrap_or_default() {
            "MOVED" => format!("the target is one node of a cluster ({text}): use --cluster"),
            "READONLY" => format!("the target is a read-only replica ({text}): name its primary"),
            _ => format!("the target replied: {text}"),
        })
    }))
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<rustls::StreamOwned<rustls::ClientConnection, TcpStream>>),
}

impl Stream {
    fn io(&mut self) -> &mut dyn ReadWrite {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => &mut **stream,
        }
    }
}

trait ReadWrite: Read + Write {}
impl<T: Read + Write> ReadWrite for T {}

/// A connection to one node.
struct NodeConnection {
    node: Node,
    stream: Stream,
    decoder: ReplyDecoder,
    /// Received bytes that have not been read as replies yet.
    input: Vec<u8>,
    /// Requests that have not been sent yet.
    output: Vec<u8>,
}

impl NodeConnection {
    fn open(endpoint: &Endpoint, node: &Node) -> Result<Self, Failure> {
        let stream =
            endpoint.connect(node).map_err(|error| connect_error(&node.to_string(), &error))?;
        let stream = match &endpoint.tls {
            None => Stream::Plain(stream),
            Some(config) => {
                let session =
                    rustls::ClientConnection::new(Arc::clone(config), tls::name(&node.host)?)
                        .map_err(|error| Failure::target(format!("{node}: TLS: {error}")))?;
                Stream::Tls(Box::new(rustls::StreamOwned::new(session, stream)))
            }
        };
        let (handshake, replies) = endpoint.handshake();
        let decoder = ReplyDecoder::default();
        let mut connection =
            Self { node: node.clone(), stream, decoder, input: Vec::new(), output: handshake };
        connection.send()?;
        for _ in 0..replies {
            connection.receive(&mut |reply| match reply {
                Reply::Error(text) => Err(endpoint.handshake_error(text)),
                _ => Ok(()),
            })?;
        }
        Ok(connection)
    }

    fn io_failure(&self, error: &io::Error) -> Failure {
        let node = &self.node;
        Failure::target(match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                format!(
                    "{node} does not answer: is it overloaded? A longer --patience waits longer"
                )
            }
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionAborted => {
                format!(
                    "{node} closed the connection; does it speak the protocol of the address (redis:// or rediss://)?"
                )
            }
            _ => format!("the connection to {node} failed: {error}"),
        })
    }

    fn send(&mut self) -> Result<(), Failure> {
        let output = std::mem::take(&mut self.output);
        let io = self.stream.io();
        let sent = io.write_all(&output).and_then(|()| io.flush());
        sent.map_err(|error| self.io_failure(&error))?;
        // The buffer is kept for the next requests.
        self.output = output;
        self.output.clear();
        Ok(())
    }

    /// Waits for the next reply and calls `on_reply` with it.
    fn receive(
        &mut self,
        on_reply: &mut dyn FnMut(Reply<'_>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        loop {
            let end = self.decoder.next(&self.input).map_err(|error| {
                Failure::target(format!("{} does not speak the Redis protocol: {error}", self.node))
            })?;
            if let Some(end) = end {
                let reply = Reply::of(&self.input[..end]);
                let is_push = matches!(reply, Reply::Push(_));
                let result = if is_push { Ok(()) } else { on_reply(reply) };
                self.input.drain(..end);
                if is_push {
                    continue;
                }
                return result;
            }
            let len = self.input.len();
            self.input.resize(len + READ_LEN, 0);
            let read = match self.stream.io().read(&mut self.input[len..]) {
                Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
                other => other,
            };
            self.input.truncate(len + *read.as_ref().unwrap_or(&0));
            read.map_err(|error| self.io_failure(&error))?;
        }
    }
}

/// The failure that an error of connecting to a node means.
pub(super) fn connect_error(node: &str, error: &io::Error) -> Failure {
    Failure::target(match error.kind() {
        io::ErrorKind::ConnectionRefused => {
            format!("connection refused by {node}: is the server running, is the port right?")
        }
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => {
            format!("{node} does not answer: is the address right, does a firewall block it?")
        }
        _ => format!("cannot connect to {node}: {error}"),
    })
}

/// A blocking client of all nodes of a target.
pub(crate) struct SetupClient {
    endpoint: Endpoint,
    slot_map: SlotMap,
    /// By node.
    connections: Vec<Option<NodeConnection>>,
    scratch: Vec<u8>,
    /// Whether the last request got no reply.
    is_lost: bool,
}

impl SetupClient {
    /// Connects to the target; with `--cluster`, requests its slot map.
    ///
    /// # Errors
    /// The target cannot be reached, refuses the login, or with `--cluster` is not a cluster.
    pub(crate) fn new(endpoint: Endpoint) -> Result<Self, Failure> {
        let node = Node { host: endpoint.url.host.clone(), port: endpoint.url.port };
        let connection = NodeConnection::open(&endpoint, &node)?;
        let mut client = Self {
            slot_map: SlotMap::single_node(node),
            connections: vec![Some(connection)],
            endpoint,
            scratch: Vec::new(),
            is_lost: false,
        };
        if client.endpoint.cluster {
            client.slot_map = client.cluster_slots()?.ok_or_else(|| {
                Failure::target(format!(
                    "{} is not a cluster: omit --cluster, or name a node of a cluster",
                    client.endpoint.url
                ))
            })?;
            client.connections.clear();
        }
        Ok(client)
    }

    /// Whether the last request got no reply, so that further ones may have to wait in vain.
    #[must_use]
    pub(crate) fn is_lost(&self) -> bool {
        self.is_lost
    }

    /// The owner of each slot.
    #[must_use]
    pub(crate) fn slot_map(&self) -> &SlotMap {
        &self.slot_map
    }

    /// Requests CLUSTER SLOTS. Returns `None` if the target does not support it.
    ///
    /// # Errors
    /// The target was lost, or requires a password.
    pub(crate) fn cluster_slots(&mut self) -> Result<Option<SlotMap>, Failure> {
        let asked = self.slot_map.nodes()[0].clone();
        let mut map = None;
        self.call(any_slot(), &[b"CLUSTER", b"SLOTS"], &mut |reply| {
            if let Reply::Error(text) = reply
                && (text.starts_with(b"NOAUTH") || text.starts_with(b"NOPERM"))
            {
                return expect_no_error(reply);
            }
            map = SlotMap::parse(reply, &asked);
            Ok(())
        })?;
        Ok(map)
    }

    /// Requests the name and version of the target: `redis 7.0.15 (cluster)`.
    ///
    /// # Errors
    /// The target was lost, or requires a password.
    pub(crate) fn server_identity(&mut self) -> Result<String, Failure> {
        let mut identity = "unknown server".to_owned();
        self.call(any_slot(), &[b"INFO", b"server"], &mut |reply| match reply {
            Reply::Bulk(text) => {
                let text = String::from_utf8_lossy(text);
                let field = |name: &str| {
                    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
                };
                let known = ["slotway", "valkey", "dragonfly", "redis"]
                    .into_iter()
                    .find_map(|name| Some((name, field(&format!("{name}_version"))?)));
                if let Some((name, version)) = known {
                    let mode = field("redis_mode").filter(|mode| *mode != "standalone");
                    let mode = mode.map(|mode| format!(" ({mode})")).unwrap_or_default();
                    identity = format!("{name} {version}{mode}");
                }
                Ok(())
            }
            Reply::Error(text) if text.starts_with(b"NOAUTH") => expect_no_error(reply),
            _ => Ok(()),
        })?;
        Ok(identity)
    }

    /// Sends one request to a node, given by its index in the slot map.
    ///
    /// # Errors
    /// The target was lost, or `on_reply` returned an error.
    pub(crate) fn call_node(
        &mut self,
        node: usize,
        args: &[&[u8]],
        on_reply: &mut dyn FnMut(Reply<'_>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let connection = self.connection(node)?;
        RequestWriter { out: &mut connection.output }.command(args);
        let mut refused = Ok(());
        let received = connection.send().and_then(|()| {
            connection.receive(&mut |reply| {
                refused = on_reply(reply);
                Ok(())
            })
        });
        self.is_lost = received.is_err();
        if self.is_lost {
            self.connections[node] = None;
        }
        received.and(refused)
    }

    /// Sends one request to the owner of a slot.
    ///
    /// # Errors
    /// The target was lost, or `on_reply` returned an error.
    pub(crate) fn call(
        &mut self,
        slot: Slot,
        args: &[&[u8]],
        on_reply: &mut dyn FnMut(Reply<'_>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        self.pipeline(
            1,
            &mut |_, request| {
                request.command(args);
                slot
            },
            &mut |_, reply| on_reply(reply),
        )
    }

    /// Sends requests number 0 to `count`. `write` writes one and returns its slot; it is called
    /// again for a redirected request and must then write the same. `on_reply` is called with each
    /// number and reply, in order for each node.
    ///
    /// A node that is lost does not keep the requests from the others. After an error the client can
    /// be used again: the replies in flight have been read, or the connections are opened anew.
    ///
    /// # Errors
    /// The target was lost, or `on_reply` returned an error.
    pub(crate) fn pipeline(
        &mut self,
        count: u64,
        write: &mut dyn FnMut(u64, &mut RequestWriter<'_>) -> Slot,
        on_reply: &mut dyn FnMut(u64, Reply<'_>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut refused = Ok(());
        let sent = self.try_pipeline(count, write, &mut |number, reply| {
            if refused.is_ok() {
                refused = on_reply(number, reply);
            }
            refused.is_ok()
        });
        self.is_lost = sent.is_err();
        if self.is_lost {
            // Some replies may not have been read.
            self.connections.clear();
        }
        refused.and(sent)
    }

    /// As [`SetupClient::pipeline`]; ends after the requests in flight once `on_reply` returns
    /// false.
    fn try_pipeline(
        &mut self,
        count: u64,
        write: &mut dyn FnMut(u64, &mut RequestWriter<'_>) -> Slot,
        on_reply: &mut dyn FnMut(u64, Reply<'_>) -> bool,
    ) -> Result<(), Failure> {
        let (mut next, mut goes_on) = (0, true);
        let mut lost: BTreeMap<usize, Failure> = BTreeMap::new();
        while next < count && goes_on && lost.len() < self.slot_map.nodes().len() {
            let mut sent: Vec<Vec<u64>> = Vec::new();
            let mut bytes = 0;
            for _ in 0..IN_FLIGHT_MAX {
                if next == count || bytes >= IN_FLIGHT_LEN_MAX {
                    break;
                }
                self.scratch.clear();
                let slot = write(next, &mut RequestWriter { out: &mut self.scratch });
                let node = self.slot_map.owner(slot) as usize;
                let request = std::mem::take(&mut self.scratch);
                if let Entry::Vacant(place) = lost.entry(node) {
                    match self.connection(node) {
                        Ok(connection) => {
                            bytes += request.len();
                            connection.output.extend_from_slice(&request);
                            sent.resize_with(sent.len().max(node + 1), Vec::new);
                            sent[node].push(next);
                        }
                        Err(failure) => {
                            place.insert(failure);
                        }
                    }
                }
                self.scratch = request;
                next += 1;
            }
            for (node, _) in sent.iter().enumerate().filter(|(_, numbers)| !numbers.is_empty()) {
                if let Err(failure) = self.connection(node).and_then(NodeConnection::send) {
                    lost.insert(node, failure);
                }
            }
            let mut redirected = Vec::new();
            for (node, numbers) in sent.iter().enumerate() {
                for &number in numbers {
                    if lost.contains_key(&node) {
                        break;
                    }
                    let follows = self.endpoint.cluster;
                    let mut read = |reply: Reply<'_>| {
                        match reply {
                            Reply::Error(text) if follows && Redirect::parse(text).is_some() => {
                                redirected.push((number, node, text.to_vec()));
                            }
                            reply => goes_on &= on_reply(number, reply),
                        }
                        Ok(())
                    };
                    let connection = self.connection(node);
                    if let Err(failure) = connection.and_then(|c| c.receive(&mut read)) {
                        lost.insert(node, failure);
                    }
                }
            }
            for (number, node, text) in redirected {
                goes_on &= self.follow_redirect(number, node, text, write, on_reply)?;
            }
        }
        lost.into_values().next().map_or(Ok(()), Err)
    }

    fn follow_redirect(
        &mut self,
        number: u64,
        mut node: usize,
        mut text: Vec<u8>,
        write: &mut dyn FnMut(u64, &mut RequestWriter<'_>) -> Slot,
        on_reply: &mut dyn FnMut(u64, Reply<'_>) -> bool,
    ) -> Result<bool, Failure> {
        for _ in 0..REDIRECTS_MAX {
            let Some(mut redirect) = Redirect::parse(&text) else { break };
            if redirect.node.host.is_empty() {
                redirect.node.host.clone_from(&self.slot_map.nodes()[node].host);
            }
            let too_many = || Failure::target("the cluster has too many nodes");
            let to = self.slot_map.node_index(redirect.node).ok_or_else(too_many)?;
            node = to as usize;
            self.scratch.clear();
            if redirect.ask {
                RequestWriter { out: &mut self.scratch }.command(&[b"ASKING"]);
            } else {
                self.slot_map.set_owner(redirect.slot, to);
            }
            write(number, &mut RequestWriter { out: &mut self.scratch });
            let request = std::mem::take(&mut self.scratch);
            let connection = self.connection(node)?;
            connection.output.extend_from_slice(&request);
            connection.send()?;
            if redirect.ask {
                connection.receive(&mut |_asking| Ok(()))?;
            }
            let (mut again, mut goes_on) = (None, true);
            connection.receive(&mut |reply| {
                match reply {
                    Reply::Error(text) if Redirect::parse(text).is_some() => {
                        again = Some(text.to_vec());
                    }
                    reply => goes_on = on_reply(number, reply),
                }
                Ok(())
            })?;
            self.scratch = request;
            match again {
                None => return Ok(goes_on),
                Some(next) => text = next,
            }
        }
        Err(Failure::target(format!("too many redirections, the last was: {}", shown(&text))))
    }

    fn connection(&mut self, node: usize) -> Result<&mut NodeConnection, Failure> {
        self.connections.resize_with(self.connections.len().max(node + 1), || None);
        let place = &mut self.connections[node];
        if place.is_none() {
            *place = Some(NodeConnection::open(&self.endpoint, &self.slot_map.nodes()[node])?);
        }
        Ok(place.as_mut().expect("opened above"))
    }
}

/// The slot of requests that any node can serve.
fn any_slot() -> Slot {
    Slot::of(b"")
}
