//! Blocking errands before and after the load: the first values, the checks, the removal. Many
//! requests are under way at a time, in the nodes' order; nothing here is measured.

use super::failure::Failure;
use super::keys::shown;
use super::target::{Endpoint, Map, Node, Redirect};
use super::tls;
use crate::resp::{Reply, ReplyDecoder};
use crate::slot::Slot;
use crate::text::number::write_i64;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

/// Requests that may be under way.
const WINDOW: u64 = 256;
/// Bytes of requests that may be under way.
const WINDOW_LEN: usize = 1 << 20;
/// Redirections that one request follows.
const HOPS_MAX: usize = 16;
/// Read at most this much at a time, in bytes.
const READ_LEN: usize = 64 * 1024;

/// Writes a request.
#[derive(Debug)]
pub struct Request<'a> {
    pub(super) out: &'a mut Vec<u8>,
}

impl Request<'_> {
    /// A whole one.
    pub fn command(&mut self, args: &[&[u8]]) {
        self.begin(args.len());
        args.iter().for_each(|arg| self.argument(arg));
    }

    /// The head of one with so many arguments, which follow.
    pub fn begin(&mut self, args: usize) {
        self.out.push(b'*');
        write_i64(self.out, args as i64);
        self.out.extend_from_slice(b"\r\n");
    }

    /// The next argument.
    pub fn argument(&mut self, arg: &[u8]) {
        self.out.push(b'$');
        write_i64(self.out, arg.len() as i64);
        self.out.extend_from_slice(b"\r\n");
        self.out.extend_from_slice(arg);
        self.out.extend_from_slice(b"\r\n");
    }
}

/// Refuses any reply but `+OK`.
///
/// # Errors
/// That it is another.
pub fn must_be_ok(reply: Reply<'_>) -> Result<(), Failure> {
    must_not_be_error(reply)?;
    if reply.is_ok() {
        return Ok(());
    }
    Err(Failure::target("the target answered a SET with something else than OK"))
}

/// Refuses error replies.
///
/// # Errors
/// The error, with what to do about it.
pub fn must_not_be_error(reply: Reply<'_>) -> Result<(), Failure> {
    let Reply::Error(text) = reply else { return Ok(()) };
    let text = shown(text);
    Err(Failure::target(match text.split(' ').next().unwrap_or_default() {
        "NOAUTH" => format!("the target wants a password ({text}): redis://:password@host:port"),
        "NOPERM" => format!("the target's user may not do this: {text}"),
        "MOVED" => format!("the target is one node of a cluster ({text}): use --cluster"),
        "WRONGTYPE" => {
            format!("a key of ours exists with another type ({text}): choose another --prefix")
        }
        _ => format!("the target answered: {text}"),
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
struct Link {
    node: Node,
    stream: Stream,
    decoder: ReplyDecoder,
    /// Bytes of replies not yet taken.
    input: Vec<u8>,
    /// Requests not yet sent.
    output: Vec<u8>,
}

impl Link {
    fn open(endpoint: &Endpoint, node: &Node) -> Result<Self, Failure> {
        let stream =
            endpoint.connect(node).map_err(|error| unreachable(&node.to_string(), &error))?;
        let stream = match &endpoint.tls {
            None => Stream::Plain(stream),
            Some(config) => {
                let session =
                    rustls::ClientConnection::new(Arc::clone(config), tls::name(&node.host)?)
                        .map_err(|error| Failure::target(format!("{node}: TLS: {error}")))?;
                Stream::Tls(Box::new(rustls::StreamOwned::new(session, stream)))
            }
        };
        let (greeting, replies) = endpoint.greeting();
        let decoder = ReplyDecoder::default();
        let mut link =
            Self { node: node.clone(), stream, decoder, input: Vec::new(), output: greeting };
        link.send()?;
        for _ in 0..replies {
            link.receive(&mut |reply| match reply {
                Reply::Error(text) => Err(endpoint.refused(text)),
                _ => Ok(()),
            })?;
        }
        Ok(link)
    }

    fn lost(&self, error: &io::Error) -> Failure {
        let node = &self.node;
        Failure::target(match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                format!("{node} does not answer; is it busy? A longer --patience waits longer")
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
        sent.map_err(|error| self.lost(&error))?;
        // The room is kept for the next requests.
        self.output = output;
        self.output.clear();
        Ok(())
    }

    /// Waits for the next reply.
    fn receive(
        &mut self,
        hear: &mut dyn FnMut(Reply<'_>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        loop {
            let end = self.decoder.next(&self.input).map_err(|error| {
                Failure::target(format!("{} does not speak Redis' protocol: {error}", self.node))
            })?;
            if let Some(end) = end {
                let reply = Reply::of(&self.input[..end]);
                let is_push = matches!(reply, Reply::Push(_));
                let heard = if is_push { Ok(()) } else { hear(reply) };
                self.input.drain(..end);
                if is_push {
                    continue;
                }
                return heard;
            }
            let len = self.input.len();
            self.input.resize(len + READ_LEN, 0);
            let read = match self.stream.io().read(&mut self.input[len..]) {
                Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
                other => other,
            };
            self.input.truncate(len + *read.as_ref().unwrap_or(&0));
            read.map_err(|error| self.lost(&error))?;
        }
    }
}

/// What it means that a node cannot be connected to.
pub(super) fn unreachable(node: &str, error: &io::Error) -> Failure {
    Failure::target(match error.kind() {
        io::ErrorKind::ConnectionRefused => {
            format!("nobody listens at {node}: is the server running, is the port right?")
        }
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => {
            format!(
                "{node} does not answer: is the address right, does a firewall stand before it?"
            )
        }
        _ => format!("cannot connect to {node}: {error}"),
    })
}

/// Runs errands to the nodes of a target.
pub struct Courier {
    endpoint: Endpoint,
    map: Map,
    /// By node.
    links: Vec<Option<Link>>,
    scratch: Vec<u8>,
}

impl Courier {
    /// Connects; asks for the map of the cluster if the target is one.
    ///
    /// # Errors
    /// The target cannot be reached, does not let us in, or is no cluster though it should be.
    pub fn new(endpoint: Endpoint) -> Result<Self, Failure> {
        let node = Node { host: endpoint.url.host.clone(), port: endpoint.url.port };
        let link = Link::open(&endpoint, &node)?;
        let mut courier =
            Self { map: Map::one(node), links: vec![Some(link)], endpoint, scratch: Vec::new() };
        if courier.endpoint.cluster {
            courier.map = courier.layout()?.ok_or_else(|| {
                Failure::target(format!(
                    "{} is no cluster: leave --cluster out, or name a node of the cluster",
                    courier.endpoint.url
                ))
            })?;
            courier.links.clear();
        }
        Ok(courier)
    }

    /// Which node owns which slot.
    #[must_use]
    pub fn map(&self) -> &Map {
        &self.map
    }

    /// What CLUSTER SLOTS says, if it says anything.
    ///
    /// # Errors
    /// The target was lost, or wants a password.
    pub fn layout(&mut self) -> Result<Option<Map>, Failure> {
        let asked = self.map.nodes()[0].clone();
        let mut map = None;
        self.one(any_slot(), &[b"CLUSTER", b"SLOTS"], &mut |reply| {
            if let Reply::Error(text) = reply
                && (text.starts_with(b"NOAUTH") || text.starts_with(b"NOPERM"))
            {
                return must_not_be_error(reply);
            }
            map = Map::read(reply, &asked);
            Ok(())
        })?;
        Ok(map)
    }

    /// What the target says of itself: `redis 7.0.15 (cluster)`.
    ///
    /// # Errors
    /// The target was lost, or wants a password.
    pub fn identity(&mut self) -> Result<String, Failure> {
        let mut identity = "a server that does not say what it is".to_owned();
        self.one(any_slot(), &[b"INFO", b"server"], &mut |reply| match reply {
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
            Reply::Error(text) if text.starts_with(b"NOAUTH") => must_not_be_error(reply),
            _ => Ok(()),
        })?;
        Ok(identity)
    }

    /// One request to the owner of a slot.
    ///
    /// # Errors
    /// The target was lost, or what `hear` refuses.
    pub fn one(
        &mut self,
        slot: Slot,
        args: &[&[u8]],
        hear: &mut dyn FnMut(Reply<'_>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        self.all(
            1,
            &mut |_, request| {
                request.command(args);
                slot
            },
            &mut |_, reply| hear(reply),
        )
    }

    /// Requests number 0 to `count`: `write` writes one and says its slot (and must write the same
    /// again if asked again), `hear` hears its reply. Replies of one node come in order.
    ///
    /// # Errors
    /// The target was lost, or what `hear` refuses.
    pub fn all(
        &mut self,
        count: u64,
        write: &mut dyn FnMut(u64, &mut Request<'_>) -> Slot,
        hear: &mut dyn FnMut(u64, Reply<'_>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut next = 0;
        while next < count {
            let mut sent: Vec<Vec<u64>> = Vec::new();
            let mut bytes = 0;
            for _ in 0..WINDOW {
                if next == count || bytes >= WINDOW_LEN {
                    break;
                }
                self.scratch.clear();
                let slot = write(next, &mut Request { out: &mut self.scratch });
                let node = self.map.owner(slot) as usize;
                let request = std::mem::take(&mut self.scratch);
                bytes += request.len();
                self.link(node)?.output.extend_from_slice(&request);
                self.scratch = request;
                sent.resize_with(sent.len().max(node + 1), Vec::new);
                sent[node].push(next);
                next += 1;
            }
            for (node, _) in sent.iter().enumerate().filter(|(_, numbers)| !numbers.is_empty()) {
                self.link(node)?.send()?;
            }
            let mut redirected = Vec::new();
            for (node, numbers) in sent.iter().enumerate() {
                for &number in numbers {
                    let follows = self.endpoint.cluster;
                    self.link(node)?.receive(&mut |reply| match reply {
                        Reply::Error(text) if follows && Redirect::read(text).is_some() => {
                            redirected.push((number, node, text.to_vec()));
                            Ok(())
                        }
                        reply => hear(number, reply),
                    })?;
                }
            }
            for (number, node, text) in redirected {
                self.follow(number, node, text, write, hear)?;
            }
        }
        Ok(())
    }

    fn follow(
        &mut self,
        number: u64,
        mut node: usize,
        mut text: Vec<u8>,
        write: &mut dyn FnMut(u64, &mut Request<'_>) -> Slot,
        hear: &mut dyn FnMut(u64, Reply<'_>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        for _ in 0..HOPS_MAX {
            let Some(mut redirect) = Redirect::read(&text) else { break };
            if redirect.node.host.is_empty() {
                redirect.node.host.clone_from(&self.map.nodes()[node].host);
            }
            let too_many = || Failure::target("the cluster names too many nodes");
            let to = self.map.node(redirect.node).ok_or_else(too_many)?;
            node = to as usize;
            self.scratch.clear();
            if redirect.ask {
                Request { out: &mut self.scratch }.command(&[b"ASKING"]);
            } else {
                self.map.moved(redirect.slot, to);
            }
            write(number, &mut Request { out: &mut self.scratch });
            let request = std::mem::take(&mut self.scratch);
            let link = self.link(node)?;
            link.output.extend_from_slice(&request);
            link.send()?;
            if redirect.ask {
                link.receive(&mut |_asking| Ok(()))?;
            }
            let mut again = None;
            link.receive(&mut |reply| match reply {
                Reply::Error(text) if Redirect::read(text).is_some() => {
                    again = Some(text.to_vec());
                    Ok(())
                }
                reply => hear(number, reply),
            })?;
            self.scratch = request;
            match again {
                None => return Ok(()),
                Some(next) => text = next,
            }
        }
        Err(Failure::target(format!("the cluster sends us in circles: {}", shown(&text))))
    }

    fn link(&mut self, node: usize) -> Result<&mut Link, Failure> {
        self.links.resize_with(self.links.len().max(node + 1), || None);
        let place = &mut self.links[node];
        if place.is_none() {
            *place = Some(Link::open(&self.endpoint, &self.map.nodes()[node])?);
        }
        Ok(place.as_mut().expect("it was opened just now"))
    }
}

/// For what any node can answer.
fn any_slot() -> Slot {
    Slot::of(b"")
}
