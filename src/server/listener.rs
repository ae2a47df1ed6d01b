//! Accepts connections.

use super::clock;
use super::connection::Connection;
use super::socket::{ClientSocket, reading};
use crate::router::Router;
use crate::state::NodeState;
use crate::state::settings::TCP_BACKLOG;
use crate::topology::Port;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use std::future::poll_fn;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener as StdListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::unix::AsyncFd;

/// How long accepting rests when the process has run out of file descriptors.
const REST: Duration = Duration::from_millis(100);

/// A port that is listened on, before the runtime exists.
#[derive(Debug)]
pub(crate) struct Bound {
    listener: StdListener,
    /// The port that its clients are connected to.
    pub port: Port,
    /// The address, with the chosen port if port 0 was asked for.
    pub address: SocketAddr,
}

/// Listens on `address` for clients of `port`; port 0 of the address means any free one.
///
/// # Errors
/// The port is taken, or the address is not this machine's.
pub(crate) fn bind(address: SocketAddr, port: Port) -> io::Result<Bound> {
    let listener = open(reserve(address)?)?;
    let address = listener.local_addr()?;
    Ok(Bound { listener, port, address })
}

/// Accepts connections for as long as it runs: on the router port always, on a node's while that is
/// not stopped.
pub(super) async fn accept_all(bound: Bound, router: Arc<Router>) {
    let Bound { mut listener, port, address } = bound;
    let Port::Node(node) = port else {
        accept(listener, address, port, &router).await;
        return;
    };
    let faults = &router.server.faults;
    let mut door = faults.listener_gate.register();
    loop {
        // Until a node is stopped or started, which may be another one.
        let mut opened = Box::pin(accept(listener, address, port, &router));
        let latest = loop {
            tokio::select! {
                () = &mut opened => return,
                () = door.update_requested() => {}
            }
            let latest = door.latest_update();
            if faults.stopped(node) == Some(false) {
                break latest;
            }
            door.acknowledge(latest);
        };
        // Closes the listener: connection attempts are refused.
        drop(opened);
        let mut reserved = reserve(address);
        cut(&router, port);
        door.acknowledge(latest);
        listener = loop {
            door.update_requested().await;
            let latest = door.latest_update();
            if faults.stopped(node) == Some(false) {
                door.acknowledge(latest);
                continue;
            }
            let open = loop {
                match reserved.and_then(open) {
                    Ok(open) => break open,
                    Err(error) => {
                        tracing::warn!(%address, %error, "cannot listen again; trying shortly");
                        tokio::time::sleep(REST).await;
                        reserved = reserve(address);
                    }
                }
            };
            door.acknowledge(latest);
            break open;
        };
    }
}

/// Binds an address without listening on it, so that no other process gets it meanwhile.
fn reserve(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// Listens on an address that is already bound.
fn open(socket: Socket) -> io::Result<StdListener> {
    socket.listen(TCP_BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(StdListener::from(socket))
}

/// Disconnects all clients of a port, except those that are to get a last reply.
fn cut(router: &Router, port: Port) {
    let all = router.server.router().clients.all();
    let there = all.iter().filter(|client| client.port == port && !client.is_closing());
    there.for_each(|client| client.close());
}

async fn accept(listener: StdListener, address: SocketAddr, port: Port, router: &Arc<Router>) {
    let listener = match reading(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%address, %error, "cannot listen");
            return;
        }
    };
    loop {
        match next(&listener).await {
            Ok((stream, peer)) => welcome(stream, peer, router, port),
            Err(error) if is_lack_of_room(&error) => {
                // The connection stays in the backlog: without a rest this would spin.
                tracing::warn!(%error, "cannot accept a connection; trying again shortly");
                tokio::time::sleep(REST).await;
            }
            Err(error) => tracing::debug!(%error, "a connection was closed before it was accepted"),
        }
    }
}

/// Accepts a connection. As with Redis, what the client has sent already is read after the input that
/// has arrived on other connections.
async fn next(listener: &AsyncFd<StdListener>) -> io::Result<(TcpStream, SocketAddr)> {
    loop {
        let mut event = poll_fn(|cx| listener.poll_read_ready(cx)).await?;
        if let Ok(accepted) = event.try_io(|listener| listener.get_ref().accept()) {
            let (stream, peer) = accepted?;
            stream.set_nonblocking(true)?;
            return Ok((stream, peer));
        }
    }
}

fn is_lack_of_room(error: &io::Error) -> bool {
    !matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}

fn welcome(stream: TcpStream, peer: SocketAddr, router: &Arc<Router>, port: Port) {
    let server = &router.server;
    server.node(port).stats.add(|it| &it.connections_received, 1);
    let local = stream.local_addr().unwrap_or(peer);
    let settings = &server.node(port).settings;
    if settings.protected()
        && !settings.needs_password()
        && !is_loopback(local)
        && !peer.ip().is_loopback()
    {
        return turn_away(stream, server.node(port), DENIED);
    }
    let fd = stream.as_raw_fd();
    let max = server.node(port).clients_max(server.router().settings.clients_max());
    let clients = &server.node(port).clients;
    let Ok(seat) = clients.register(peer, local, port, fd, clock::now(), max) else {
        return turn_away(stream, server.node(port), b"-ERR max number of clients reached\r\n");
    };
    if let Err(error) = tune(&stream, settings.tcp_keepalive_s()) {
        tracing::debug!(%peer, %error, "cannot tune the socket");
    }
    let client = Arc::clone(&seat);
    let stream = match ClientSocket::new(stream) {
        Ok(stream) => stream,
        Err(error) => return tracing::warn!(%peer, %error, "cannot serve a connection"),
    };
    let task = tokio::spawn(Connection::new(stream, Arc::clone(router), port, seat).serve());
    client.attach(task.abort_handle());
}

/// The reply to clients from other machines while protected mode is on, as in Redis.
const DENIED: &[u8] = b"-DENIED Slotway is running in protected mode because protected mode is enabled and no \
password is set. Set one with --requirepass, or, if you mean to be open to this network, turn protected mode off \
from this machine with 'CONFIG SET protected-mode no'.\r\n";

fn is_loopback(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

fn turn_away(stream: TcpStream, node: &NodeState, why: &[u8]) {
    node.stats.add(|it| &it.connections_rejected, 1);
    // A new socket takes one line at once; if it does not, the client is not reading.
    let _unheard = (&stream).write(why);
}

fn tune(stream: &TcpStream, keepalive_s: Option<u32>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    if let Some(seconds) = keepalive_s {
        let time = Duration::from_secs(seconds.into());
        // As Redis: three probes in the time of one more interval.
        let keepalive = TcpKeepalive::new().with_time(time).with_interval(time / 3).with_retries(3);
        SockRef::from(stream).set_tcp_keepalive(&keepalive)?;
    }
    Ok(())
}
