//! One connection: reads the requests, runs them, writes the replies.
//!
//! ```text
//! socket ─read─► thread's buffer ─ process ─► thread's output ─write─► socket
//!                  │ half a request                │ what the socket did not take
//!                  ▼                               ▼
//!                carry                           unsent
//! ```
//!
//! The big buffers belong to the thread and are lent to a connection for the length of a turn; an
//! idle connection owns neither. A turn runs inside one poll without awaiting, so that the task's
//! own state stays a few words.
//!
//! The input of a client that does not read is not read either: while output is unsent, no request
//! is executed.

use super::clock;
use super::socket::ClientSocket;
use super::worker::WorkerPace;
use crate::command::ReplyDelay;
use crate::keyspace::Millis;
use crate::keyspace::large::{self, LARGE_LEN_MIN};
use crate::resp::Decoder;
use crate::router::{Input, Router, Scratch, TurnIo, UNAUTHENTICATED_OUTPUT_MAX};
use crate::session::{OwnedUnit, Session};
use crate::shard::{Outcome, WaitFor};
use crate::state::clients::RegisteredClient;
use crate::topology::Port;
use bytes::{Buf, Bytes, BytesMut};
use std::cell::RefCell;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

/// Read at most this much before executing it, in bytes.
const READ_LEN_MAX: usize = 64 * 1024;
/// Longest request for any value of `client-query-buffer-limit`: positions within it have 32 bits.
const CARRY_LEN_MAX: usize = u32::MAX as usize - READ_LEN_MAX;
/// The buffer of a large request is made at once for what the client has announced, up to so many bytes;
/// beyond, for as much again as it has sent. What is not sent is not resident: this bounds address space.
const ANNOUNCED_LEN_MAX: usize = 256 << 20;
/// Room behind an announced argument, in bytes: for the options that mostly follow it.
const BEHIND_ANNOUNCED: usize = 1024;
/// Turns that one connection takes before other connections get theirs.
const TURNS_MAX: usize = 16;
/// A thread keeps an output buffer of up to this size for the next turn, in bytes.
const OUTPUT_KEPT_MAX: usize = 256 * 1024;

/// The buffers that a thread lends to the connection whose turn it is.
struct Buffers {
    input: Box<[u8]>,
    output: Vec<u8>,
    scratch: Scratch,
}

thread_local! {
    static BUFFERS: RefCell<Buffers> = RefCell::new(Buffers {
        input: vec![0; READ_LEN_MAX].into_boxed_slice(),
        output: Vec::new(),
        scratch: Scratch::default(),
    });
}

/// A client's connection.
pub(super) struct Connection {
    stream: ClientSocket,
    /// The place in the registry, given up with the connection.
    _seat: RegisteredClient,
    pub(super) router: Arc<Router>,
    pub(super) session: Session,
    decoder: Decoder,
    /// Input that was read but not executed: the front of a request, or whole ones that must wait.
    carry: BytesMut,
    /// Whether `carry` may hold a whole request.
    carry_is_ready: bool,
    /// The unit that comes before `carry`, and is resumed once the replies so far are sent.
    pub(super) rest: Option<Rest>,
    /// When the unit that was resumed last stops waiting, if it was blocked before.
    pub(super) resumed_until: Option<Millis>,
    /// The least number of bytes that `carry` lacks, if it holds only the front of a request.
    missing: usize,
    /// Output that the socket has yet to take.
    unsent: BytesMut,
    /// The event that `unsent` has to wait for before it may be sent, if any.
    gate: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    /// Close once everything is sent.
    pub(super) is_closing: bool,
}

/// A unit that is resumed before anything else is executed.
pub(super) struct Rest {
    pub(super) unit: Box<OwnedUnit>,
    /// The client has muted the replies.
    pub(super) muted: bool,
    /// When it stops waiting, if it was blocked before.
    pub(super) until: Option<Millis>,
}

impl Connection {
    pub(super) fn new(
        stream: ClientSocket,
        router: Arc<Router>,
        port: Port,
        seat: RegisteredClient,
    ) -> Self {
        let session = router.session(Arc::clone(&seat), port);
        Self {
            stream,
            router,
            session,
            _seat: seat,
            decoder: Decoder::default(),
            carry: BytesMut::new(),
            carry_is_ready: false,
            rest: None,
            resumed_until: None,
            missing: 1,
            unsent: BytesMut::new(),
            gate: None,
            is_closing: false,
        }
    }

    /// Sends and reads while the client has to wait, and executes nothing: received input is kept
    /// for later. Ends with an error when the client has disconnected, or sends more than it may.
    pub(super) fn poll_aside(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.poll_flush(cx)?.is_pending() && self.is_too_slow() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        self.poll_pushes(cx)?;
        self.poll_more(cx)
    }

    /// Reads what the client sends, and keeps it for later. Ends with an error when the client has
    /// disconnected, or sends more than it may.
    pub(super) fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if self.has_sent_too_much() {
                return Poll::Ready(Err(io::ErrorKind::OutOfMemory.into()));
            }
            let read_len = BUFFERS.with_borrow_mut(|buffers| {
                let mut buf = ReadBuf::new(&mut buffers.input);
                ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buf))?;
                self.carry.extend_from_slice(buf.filled());
                Poll::Ready(io::Result::Ok(buf.filled().len()))
            });
            let read_len = ready!(read_len)?;
            if read_len == 0 {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            self.session.node().stats.note_read(read_len);
            self.carry_is_ready = true;
        }
    }

    pub(super) fn poll_turns(&mut self, cx: &mut Context<'_>) -> Poll<Outcome> {
        for _ in 0..TURNS_MAX {
            let flushed = self.poll_flush(cx);
            if flushed.is_pending() && self.is_too_slow() {
                tracing::debug!(
                    client = self.session.client().id,
                    "closing a client that does not read"
                );
                return Poll::Ready(Outcome::Sever);
            }
            if ready!(flushed).is_err() || self.is_closing {
                return Poll::Ready(Outcome::Sever);
            }
            let outcome = BUFFERS.with_borrow_mut(|buffers| self.poll_turn(cx, buffers));
            match ready!(outcome) {
                Ok(None) => {}
                Ok(Some(outcome)) => return Poll::Ready(outcome),
                Err(error) => {
                    tracing::debug!(client = self.session.client().id, %error, "connection lost");
                    return Poll::Ready(Outcome::Sever);
                }
            }
        }
        Poll::Ready(Outcome::Flush)
    }

    /// Sends the client its messages from other clients, and registers the task to be woken when
    /// there are more: messages do not wait for the event that the client waits for.
    pub(super) fn poll_pushes(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.session.client().outbox().is_none() || self.poll_flush(cx)?.is_pending() {
            return Ok(());
        }
        BUFFERS.with_borrow_mut(|Buffers { output, .. }| {
            self.take_pushes(cx, output);
            self.send(cx, output)
        })
    }

    /// Moves messages from other clients into `output`.
    fn take_pushes(&self, cx: &Context<'_>, output: &mut Vec<u8>) {
        if let Some(outbox) = self.session.client().outbox() {
            outbox.poll(cx.waker(), self.unsent.len(), output);
        }
    }

    /// Reads once if there is no request to execute, executes, and tries to write the replies.
    /// Messages from other clients stand before them, in the same write. Returns what is next if
    /// that is not another turn.
    fn poll_turn(
        &mut self,
        cx: &mut Context<'_>,
        buffers: &mut Buffers,
    ) -> Poll<io::Result<Option<Outcome>>> {
        if let Some(Rest { unit, muted, until }) = self.rest.take() {
            let (now, pace) = (clock::now(), &WorkerPace::default());
            let pending = self.router.resume(&mut self.session, *unit, now, pace);
            self.resumed_until = until;
            let wait = WaitFor::Shard(pending);
            return Poll::Ready(Ok(Some(Outcome::Wait { wait, muted })));
        }
        let Buffers { input, output, scratch } = buffers;
        // Drops leftovers of the connection that last borrowed this buffer.
        output.clear();
        let read_len = match self.carry_is_ready {
            true => 0,
            false => match ready!(self.poll_read(cx, input, output))? {
                0 => return Poll::Ready(Ok(Some(Outcome::Sever))),
                read_len => read_len,
            },
        };
        self.take_pushes(cx, output);
        let now = clock::now();
        if self.carry.len() >= LARGE_LEN_MIN.max(self.missing) && self.decoder.is_midway() {
            let next = self.run_large(read_len, (now, output, scratch));
            self.send(cx, output)?;
            return Poll::Ready(Ok(next));
        }
        let from_thread = self.carry.is_empty();
        let bytes = if from_thread { &mut input[..read_len] } else { &mut self.carry[..] };
        let pace = WorkerPace::default();
        let (taken, outcome) = if bytes.len() < self.missing {
            let missing = self.missing - bytes.len();
            self.note_life(now);
            (0, Outcome::Drained { missing })
        } else {
            let decoder = &mut self.decoder;
            let io = TurnIo { decoder, input: Input::Own(bytes), scratch, out: output };
            self.router.process(&mut self.session, io, now, &pace)
        };
        // After a large publish, yields so that subscribers can flush: their mailboxes are bounded.
        let has_published_much = pace.has_delivered() && read_len >= READ_LEN_MAX / 4;
        if let Some(why) = pace.take_reply_delay() {
            self.gate = Some(self.gate(why));
        }
        drop(pace);
        if from_thread {
            if taken < read_len {
                self.carry.extend_from_slice(&input[taken..read_len]);
            }
        } else {
            self.carry.advance(taken);
            if self.carry.is_empty() {
                // An idle connection owns no memory for input.
                self.carry = BytesMut::new();
            }
        }
        self.session.node().stats.note_read(read_len);
        let mut next = self.after_turn(outcome);
        // Unauthenticated clients get little output at a time, even if they do not read it; it is
        // still sent, as it contains the reason.
        let is_too_much =
            !self.session.is_authenticated() && output.len() > UNAUTHENTICATED_OUTPUT_MAX;
        self.send(cx, output)?;
        if is_too_much {
            next = Some(Outcome::Sever);
        }
        if has_published_much && next.is_none() {
            next = Some(Outcome::Flush);
        }
        Poll::Ready(Ok(next))
    }

    /// Executes a large request, whose bytes a value may keep.
    #[cold]
    fn run_large(
        &mut self,
        read_len: usize,
        (now, output, scratch): (Millis, &mut Vec<u8>, &mut Scratch),
    ) -> Option<Outcome> {
        let capacity = self.carry.capacity();
        let whole = std::mem::take(&mut self.carry).freeze();
        let pace = WorkerPace::default();
        let (taken, outcome) = large::lending(&whole, capacity, || {
            let io = TurnIo {
                decoder: &mut self.decoder,
                input: Input::Shared(&whole),
                scratch,
                out: output,
            };
            self.router.process(&mut self.session, io, now, &pace)
        });
        if let Some(why) = pace.take_reply_delay() {
            self.gate = Some(self.gate(why));
        }
        self.carry = match taken {
            // Nothing keeps it: it is used on.
            0 => whole.try_into_mut().unwrap_or_else(|whole| BytesMut::from(&whole[..])),
            taken => BytesMut::from(&whole[taken..]),
        };
        self.session.node().stats.note_read(read_len);
        let has_published = pace.has_delivered();
        drop(pace);
        let next = self.after_turn(outcome).or(has_published.then_some(Outcome::Flush));
        if taken > 0 && !self.carry.is_empty() {
            // What is behind the request has not been looked at.
            (self.carry_is_ready, self.missing) = (true, 1);
        }
        next
    }

    /// Reads what the client sends: into the thread's buffer, or behind the front of a request.
    /// While no input arrives, messages from other clients are sent.
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        input: &mut [u8],
        output: &mut Vec<u8>,
    ) -> Poll<io::Result<usize>> {
        let read = if self.carry.is_empty() {
            let mut buf = ReadBuf::new(input);
            let read = Pin::new(&mut self.stream).poll_read(cx, &mut buf)?;
            read.map(|()| Ok(buf.filled().len()))
        } else {
            self.make_room();
            pin!(self.stream.read_buf(&mut self.carry)).poll(cx)
        };
        if read.is_pending() {
            self.take_pushes(cx, output);
            if !output.is_empty() {
                self.send(cx, output)?;
            }
        }
        read
    }

    /// Makes room for what the client sends behind the front of a request: for a large argument at its
    /// final place, in memory that it will fill.
    fn make_room(&mut self) {
        let len = self.carry.len();
        if self.carry.capacity() > len {
            return;
        }
        let more = (self.missing + BEHIND_ANNOUNCED).saturating_sub(len);
        let mut bytes = Vec::new();
        // Where the system does not promise memory, it grows as it is filled.
        let is_made = len >= LARGE_LEN_MIN
            && bytes.try_reserve_exact(len + more.min(ANNOUNCED_LEN_MAX.max(len))).is_ok();
        if is_made {
            bytes.extend_from_slice(&self.carry);
            let bytes = Bytes::from(bytes);
            self.carry = bytes.try_into_mut().unwrap_or_else(|bytes| BytesMut::from(&bytes[..]));
        } else {
            self.carry.reserve(more.min(len).max(READ_LEN_MAX / 4));
        }
    }

    /// Prepares the next turn; returns what is due before it, if anything.
    fn after_turn(&mut self, outcome: Outcome) -> Option<Outcome> {
        self.carry_is_ready = !self.carry.is_empty();
        self.missing = 1;
        match outcome {
            Outcome::Drained { missing } => {
                self.carry_is_ready = false;
                // `missing` is counted from the end of the present input.
                self.missing = if self.carry.is_empty() { 1 } else { self.carry.len() + missing };
                self.has_sent_too_much().then_some(Outcome::Sever)
            }
            Outcome::Wait { wait: WaitFor::Resume(unit), muted } => {
                self.rest = Some(Rest { unit, muted, until: None });
                None
            }
            Outcome::Wait { wait: WaitFor::Pause(_) | WaitFor::Node(_), .. } => {
                self.carry_is_ready = true;
                Some(outcome)
            }
            Outcome::Wait { .. } | Outcome::Sever => Some(outcome),
            Outcome::Close => {
                self.is_closing = true;
                None
            }
            Outcome::Flush | Outcome::Replied => None,
        }
    }

    /// Returns the event that delayed replies wait for.
    #[cold]
    fn gate(&self, why: ReplyDelay) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        match why {
            ReplyDelay::For(time) => Box::pin(tokio::time::sleep(time)),
            ReplyDelay::Listeners => {
                let doors = Arc::clone(&self.router.server.faults.listener_gate);
                Box::pin(async move { doors.all_acknowledged().await })
            }
        }
    }

    /// Writes as much of `output` as the socket takes, keeps the rest, and empties it.
    fn send(&mut self, cx: &mut Context<'_>, output: &mut Vec<u8>) -> io::Result<()> {
        self.session.node().stats.note_write(output.len());
        let mut sent = 0;
        // Until the replies may be sent, all of them are kept.
        while self.gate.is_none() && sent < output.len() {
            match Pin::new(&mut self.stream).poll_write(cx, &output[sent..]) {
                Poll::Ready(Ok(0)) => {
                    output.clear();
                    return Err(io::ErrorKind::WriteZero.into());
                }
                Poll::Ready(Ok(n)) => sent += n,
                Poll::Ready(Err(error)) => {
                    output.clear();
                    return Err(error);
                }
                Poll::Pending => break,
            }
        }
        if sent < output.len() {
            if self.unsent.is_empty() && output.len() > OUTPUT_KEPT_MAX {
                // It is not copied: the thread gets a new one.
                let rest = Bytes::from(std::mem::take(output));
                self.unsent = rest.try_into_mut().unwrap_or_else(|rest| BytesMut::from(&rest[..]));
                self.unsent.advance(sent);
            } else {
                self.unsent.extend_from_slice(&output[sent..]);
            }
            self.note_unsent();
        }
        output.clear();
        if output.capacity() > OUTPUT_KEPT_MAX {
            *output = Vec::new();
        }
        Ok(())
    }

    /// Keeps replies from other threads to be sent next.
    pub(super) fn keep_unsent(&mut self, replies: &[u8]) {
        self.session.node().stats.note_write(replies.len());
        self.session.client().note_activity(|it| it.bytes_out += replies.len() as u64);
        self.unsent.extend_from_slice(replies);
        self.note_unsent();
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(gate) = &mut self.gate
            && !self.unsent.is_empty()
        {
            ready!(gate.as_mut().poll(cx));
            self.gate = None;
        }
        while !self.unsent.is_empty() {
            let sent = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.unsent))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.unsent.advance(sent);
            self.note_unsent();
            self.note_life(clock::now());
        }
        if self.unsent.capacity() > 0 {
            self.unsent = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }

    /// Records that the client sends or reads, though no request is executed: it is not idle.
    fn note_life(&self, now: Millis) {
        self.session.client().note_activity(|activity| activity.last_active = now);
    }

    /// Publishes how much the client has yet to read, for the clients that send to it.
    fn note_unsent(&self) {
        if let Some(outbox) = self.session.client().outbox() {
            outbox.note_unsent(self.unsent.len());
        }
    }

    /// Returns whether the client has left more unread than it may. Subscribers have other limits,
    /// which senders enforce.
    fn is_too_slow(&self) -> bool {
        let settings = &self.session.node().settings;
        let is_over = settings.output_max().is_some_and(|max| self.unsent.len() > max);
        let is_too_slow = is_over && !self.session.listens();
        if is_too_slow {
            settings.outbox_limits().count_closed();
        }
        is_too_slow
    }

    /// Returns whether the client has sent more that is not executed than it may.
    fn has_sent_too_much(&self) -> bool {
        let node = self.session.node();
        let limit = node.settings.query_buffer_max().min(CARRY_LEN_MAX);
        let is_too_much = self.carry.len() > limit;
        if is_too_much {
            node.stats.add(|it| &it.input_limit_closes, 1);
        }
        is_too_much
    }
}
