//! A client's socket, which takes its place in the order of arrival when input arrives.
//!
//! The kernel lists sockets in the order of their first event since they were last reported, and
//! the tasks of a runtime of one thread run in the order of that list. For a list in the order of
//! *input* a socket is registered for reading alone. Tokio's `TcpStream` registers for room to
//! write, too: a new connection is then listed at once, because there is room, and its first request
//! overtakes what arrived on other connections meanwhile. `TcpStream` also reads from an accepted
//! socket before the kernel has listed it.

use std::io::{self, Read, Write};
use std::net::TcpStream as StdStream;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

/// Memory that is not initialized is filled with zeros before input is read into it, up to so many
/// bytes at a time. Longer input is read as tokio does, without.
const ZEROED_LEN_MAX: usize = 64 * 1024;

/// A client's socket.
#[derive(Debug)]
pub(super) struct ClientSocket(Registration);

#[derive(Debug)]
enum Registration {
    Reading(AsyncFd<StdStream>),
    /// Once a client has not read its replies for a while, or sends an argument of a size that
    /// arrives in many parts: its requests are in order with those of others as soon as no event
    /// of this kind is pending.
    Both(TcpStream),
    /// It could not be registered again.
    Lost,
}

impl ClientSocket {
    /// Registers a socket that does not block; must be called on a runtime.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn new(stream: StdStream) -> io::Result<Self> {
        reading(stream).map(|stream| Self(Registration::Reading(stream)))
    }

    /// Registers the socket for room to write, too.
    #[cold]
    fn register_both(&mut self) -> io::Result<&mut TcpStream> {
        self.0 = match std::mem::replace(&mut self.0, Registration::Lost) {
            Registration::Reading(stream) => {
                Registration::Both(TcpStream::from_std(stream.into_inner())?)
            }
            other => other,
        };
        match &mut self.0 {
            Registration::Both(stream) => Ok(stream),
            _ => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}

/// Registers a socket or a listener for reading alone.
#[allow(
    deprecated,
    reason = "without `unsafe`; the descriptor is that of a type of std, which never exchanges it"
)]
pub(super) fn reading<T: std::os::fd::AsRawFd>(inner: T) -> io::Result<AsyncFd<T>> {
    AsyncFd::with_interest(inner, Interest::READABLE)
}

impl AsyncRead for ClientSocket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let is_initialized = buf.initialized().len() == buf.capacity();
        let Registration::Reading(stream) = &mut self.0 else {
            return Pin::new(self.register_both()?).poll_read(cx, buf);
        };
        if !is_initialized && buf.remaining() > ZEROED_LEN_MAX {
            return Pin::new(self.register_both()?).poll_read(cx, buf);
        }
        loop {
            let mut event = ready!(stream.poll_read_ready(cx))?;
            let unfilled = buf.initialize_unfilled();
            match event.get_inner().read(unfilled) {
                Ok(len) => {
                    // Nothing is left, and more input is a new event. If the client has closed its
                    // side, that stays known.
                    if 0 < len && len < unfilled.len() {
                        event.clear_ready();
                    }
                    buf.advance(len);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => event.clear_ready(),
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for ClientSocket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if let Registration::Reading(stream) = &self.0 {
            match stream.get_ref().write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    // Polled once more: the events of the old registration reach no one.
                    cx.waker().wake_by_ref();
                }
                written => return Poll::Ready(written),
            }
        }
        Pin::new(self.register_both()?).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
