//! A socket of the event loop, with TLS or without.

use crate::load::failure::Failure;
use crate::load::setup_client::connect_error;
use crate::load::target::{Endpoint, Node};
use crate::load::tls;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use std::io::{self, Read, Write};
use std::sync::Arc;

/// A socket, with TLS or without.
pub(super) struct Socket {
    stream: TcpStream,
    pub(super) session: Option<Box<rustls::ClientConnection>>,
    /// Whether it is connected and, with TLS, the handshake is done.
    pub(super) is_open: bool,
}

impl Socket {
    /// Starts to connect to a node.
    pub(super) fn open(
        endpoint: &Endpoint,
        node: &Node,
        token: Token,
        registry: &Registry,
    ) -> Result<Self, Failure> {
        let cannot = |error: io::Error| connect_error(&node.to_string(), &error);
        let address = endpoint.address(node).map_err(cannot)?;
        let mut stream = TcpStream::connect(address).map_err(cannot)?;
        let interest = Interest::READABLE | Interest::WRITABLE;
        registry.register(&mut stream, token, interest).map_err(cannot)?;
        let session = match &endpoint.tls {
            None => None,
            Some(config) => {
                let name = tls::name(&node.host)?;
                let session = rustls::ClientConnection::new(Arc::clone(config), name);
                let wrong = |error| Failure::target(format!("{node}: TLS: {error}"));
                Some(Box::new(session.map_err(wrong)?))
            }
        };
        Ok(Self { stream, session, is_open: false })
    }

    /// Goes on with the connect and the TLS handshake. Returns whether both are done.
    pub(super) fn finish_connect(&mut self) -> io::Result<bool> {
        if let Some(error) = self.stream.take_error()? {
            return Err(error);
        }
        match self.stream.peer_addr() {
            Ok(_) => self.stream.set_nodelay(true)?,
            Err(error) if error.kind() == io::ErrorKind::NotConnected => return Ok(false),
            Err(error) => return Err(error),
        }
        while let Some(session) = &mut self.session
            && (session.is_handshaking() || session.wants_write())
        {
            let step = if session.wants_write() {
                session.write_tls(&mut self.stream)
            } else {
                session.read_tls(&mut self.stream)
            };
            match step {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => {
                    session.process_new_packets().map_err(tls_error)?;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        self.is_open = true;
        Ok(true)
    }

    /// Reads once. Returns `None` if there is nothing to read for now, and `Some(0)` if nothing was
    /// decrypted yet but there may be more.
    pub(super) fn read(&mut self, into: &mut [u8]) -> io::Result<Option<usize>> {
        let Some(session) = &mut self.session else {
            return match self.stream.read(into) {
                Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(len) => Ok(Some(len)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
                Err(error) => Err(error),
            };
        };
        match session.reader().read(into) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(len) => return Ok(Some(len)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        match session.read_tls(&mut self.stream) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => {
                session.process_new_packets().map_err(tls_error)?;
                Ok(Some(0))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes as much of `out` as the socket takes and removes it from `out`. Returns its length.
    pub(super) fn write(&mut self, out: &mut Vec<u8>) -> io::Result<usize> {
        let taken = match &mut self.session {
            None => {
                let mut taken = 0;
                while taken < out.len() {
                    match self.stream.write(&out[taken..]) {
                        Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                        Ok(len) => taken += len,
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                        Err(error) => return Err(error),
                    }
                }
                taken
            }
            Some(session) => {
                // What does not fit into the session stays in `out` until the socket is writable.
                let taken = session.writer().write(out)?;
                while session.wants_write() {
                    match session.write_tls(&mut self.stream) {
                        Ok(_) => {}
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                        Err(error) => return Err(error),
                    }
                }
                taken
            }
        };
        if taken == out.len() {
            out.clear();
        } else {
            out.drain(..taken);
        }
        Ok(taken)
    }
}

fn tls_error(error: rustls::Error) -> io::Error {
    io::Error::other(format!("TLS: {error}"))
}
