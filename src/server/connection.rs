//! One connection: read what is there, run it, write the replies.
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
//! A client that does not read is not read from: while output is unsent nothing more is executed.

use super::clock;
use super::worker::WorkerPace;
use crate::command::ReplyDelay;
use crate::keyspace::Millis;
use crate::replication::ReplicaWait;
use crate::resp::{Decoder, Sink};
use crate::router::{Progress, Router, Scratch, UNAUTHENTICATED_OUTPUT_MAX};
use crate::session::Session;
use crate::shard::engine::Blocked;
use crate::shard::{Pending, Served, Work};
use crate::state::clients::{Ending, RegisteredClient};
use crate::topology::{NodeNumber, Port};
use bytes::{Buf, BytesMut};
use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Read at most this much before executing it, in bytes.
const READ_LEN_MAX: usize = 64 * 1024;
/// Longest request whatever `client-query-buffer-limit` says: its places have 32 bits.
const CARRY_LEN_MAX: usize = u32::MAX as usize - READ_LEN_MAX;
/// Turns that one connection takes before others get theirs.
const TURNS_MAX: usize = 16;
/// A thread keeps an output buffer of up to this size for the next turn, in bytes.
const OUTPUT_KEPT_MAX: usize = 256 * 1024;

/// What a thread lends to the connection whose turn it is.
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
    stream: TcpStream,
    /// The place in the registry, given up with the connection.
    _seat: RegisteredClient,
    router: Arc<Router>,
    session: Session,
    decoder: Decoder,
    /// Input that was read but not executed: the front of a request, or whole ones that must wait.
    carry: BytesMut,
    /// Whether `carry` may hold a whole request.
    carry_is_ready: bool,
    /// What comes before `carry`, and waits until what was replied so far is sent.
    rest: Option<Rest>,
    /// How many bytes `carry` lacks at the least, if it holds but the front of a request.
    missing: usize,
    /// Output that the socket has yet to take.
    unsent: BytesMut,
    /// What `unsent` has to wait for before it may be sent, if it has to.
    gate: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    /// Close once everything is sent.
    is_closing: bool,
}

/// What is to be gone on with before anything else is executed.
struct Rest {
    work: Box<Work>,
    /// The client does not want to see the replies.
    muted: bool,
    /// When it has waited long enough, if it waited before.
    until: Option<Millis>,
}

/// Why a poll ended.
enum Event {
    /// It is the others' turn.
    Yield,
    /// A shard was taken; the replies come from whoever holds it. If it comes to waiting for a key,
    /// no longer than until then.
    Wait(Pending, bool, Option<Millis>),
    /// The client waits for a key.
    Block(Box<Blocked>, bool),
    /// The client waits for replicas.
    ReplicaWait(Box<ReplicaWait>, bool),
    /// What comes next is held up by CLIENT PAUSE, until then.
    Pause(Millis),
    /// The node does not answer for now.
    Hang(NodeNumber),
    /// The connection is over.
    Closed,
}

impl Connection {
    pub(super) fn new(
        stream: TcpStream,
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
            missing: 1,
            unsent: BytesMut::new(),
            gate: None,
            is_closing: false,
        }
    }

    /// Serves the client until either side closes.
    #[expect(
        clippy::manual_async_fn,
        reason = "an async fn would keep the connection in its task twice: as its argument, and as its own"
    )]
    pub(super) fn serve(mut self) -> impl Future<Output = ()> + Send {
        async move {
            loop {
                match poll_fn(|cx| self.poll_turns(cx)).await {
                    Event::Yield => tokio::task::yield_now().await,
                    Event::Wait(pending, muted, until) => match self.served(pending).await {
                        Some(served) => {
                            if !muted {
                                self.keep_unsent(&served.replies);
                            }
                            self.rest = served.rest.map(|work| Rest { work, muted, until });
                            if let Some(mut blocked) = served.blocked {
                                let ends = blocked.wait.until.into_iter().chain(until).min();
                                blocked.wait.until = ends;
                                if Box::pin(self.wait_for_key(blocked, muted)).await.is_err() {
                                    return;
                                }
                            }
                        }
                        None => return,
                    },
                    // Boxed: it takes room in the task only while it lasts.
                    Event::Block(blocked, muted) => {
                        if Box::pin(self.wait_for_key(blocked, muted)).await.is_err() {
                            return;
                        }
                    }
                    Event::ReplicaWait(replica_wait, muted) => {
                        if Box::pin(self.wait_for_replicas(&replica_wait, muted)).await.is_err() {
                            return;
                        }
                    }
                    Event::Pause(until) => {
                        if Box::pin(self.wait_for_pause(until)).await.is_err() {
                            return;
                        }
                    }
                    Event::Hang(node) => {
                        if Box::pin(self.wait_for_node(node)).await.is_err() {
                            return;
                        }
                    }
                    Event::Closed => return,
                }
            }
        }
    }

    /// Awaits the end of a hang. What the client sends meanwhile is kept for later; nothing is sent.
    async fn wait_for_node(&mut self, node: NodeNumber) -> io::Result<()> {
        let (client, router) = (Arc::clone(self.session.client()), Arc::clone(&self.router));
        client.note_activity(|activity| activity.blocked = true);
        let mut again = pin!(router.server.faults.hang_ended(node));
        let over = poll_fn(|cx| match again.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Ok(())),
            Poll::Pending => self.poll_more(cx),
        })
        .await;
        client.note_activity(|activity| activity.blocked = false);
        over
    }

    /// What came of a job; nothing if the client was closed or has left.
    async fn served(&mut self, mut pending: Pending) -> Option<Served> {
        poll_fn(|cx| {
            if let Poll::Ready(served) = Pin::new(&mut pending).poll(cx) {
                return Poll::Ready(served.ok());
            }
            if self.poll_mail(cx).is_err() { Poll::Ready(None) } else { Poll::Pending }
        })
        .await
    }

    /// Awaits the end of a pause, its own or an earlier one. What the client sends meanwhile is kept
    /// for later, with what is held up.
    async fn wait_for_pause(&mut self, until: Millis) -> io::Result<()> {
        let (client, router) = (Arc::clone(self.session.client()), Arc::clone(&self.router));
        client.note_activity(|activity| activity.blocked = true);
        let now = clock::now();
        let time_left = Duration::from_millis((until - now).max(0).unsigned_abs());
        let mut time_out = pin!(tokio::time::sleep(time_left));
        let mut ended = pin!(router.server.pause.ended(now));
        let over = poll_fn(|cx| {
            if ended.as_mut().poll(cx).is_ready() || time_out.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Ok(()));
            }
            match self.poll_aside(cx) {
                Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                Poll::Ready(Ok(())) | Poll::Pending => Poll::Pending,
            }
        })
        .await;
        client.note_activity(|activity| activity.blocked = false);
        over
    }

    /// Awaits the end of a wait for replicas and answers how many have come. What the client sends
    /// meanwhile is kept for later.
    async fn wait_for_replicas(
        &mut self,
        replica_wait: &ReplicaWait,
        muted: bool,
    ) -> io::Result<()> {
        let client = Arc::clone(self.session.client());
        client.note_activity(|activity| activity.blocked = true);
        let mut over = Ok(());
        while over.is_ok()
            && let now = clock::now()
            && let Some(at) = replica_wait.next_check(now)
        {
            let time_left = Duration::from_millis((at - now).max(0).unsigned_abs());
            let mut time_out = pin!(tokio::time::sleep(time_left));
            over = poll_fn(|cx| {
                if time_out.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(Ok(()));
                }
                match self.poll_aside(cx) {
                    Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                    Poll::Ready(Ok(())) | Poll::Pending => Poll::Pending,
                }
            })
            .await;
        }
        client.note_activity(|activity| activity.blocked = false);
        over?;
        if !muted {
            let mut reply = Vec::new();
            Sink::new(&mut reply, self.session.proto()).count(replica_wait.count(clock::now()));
            self.keep_unsent(&reply);
        }
        Ok(())
    }

    /// Awaits the end of a wait for a key and answers. What the client sends meanwhile is kept for
    /// later; if it leaves, the wait ends, and nothing is taken for it any more.
    async fn wait_for_key(&mut self, blocked: Box<Blocked>, muted: bool) -> io::Result<()> {
        let Blocked { call, mut waiting, wait, request } = *blocked;
        let client = Arc::clone(self.session.client());
        client.note_activity(|activity| activity.blocked = true);
        let time_left = wait.until.map(|until| (until - clock::now()).max(0).unsigned_abs());
        let mut time_out =
            time_left.map(|ms| Box::pin(tokio::time::sleep(Duration::from_millis(ms))));
        let ending = poll_fn(|cx| {
            if let Poll::Ready(ending) = Pin::new(&mut waiting).poll(cx) {
                // A claim that is dropped unused belongs to a client that is being closed, or to a
                // shard that failed: nothing was given.
                return Poll::Ready(Ok(ending.unwrap_or(Ending::TimedOut)));
            }
            if let Some(sleep) = &mut time_out
                && sleep.as_mut().poll(cx).is_ready()
            {
                time_out = None;
                // If this comes too late, somebody has just served the client.
                if call.end(Ending::TimedOut) {
                    return Poll::Ready(Ok(Ending::TimedOut));
                }
            }
            match self.poll_aside(cx) {
                Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                Poll::Ready(Ok(())) | Poll::Pending => Poll::Pending,
            }
        })
        .await;
        // A wait that ends because the client left must not be served any more.
        drop(waiting);
        client.end_wait();
        client.note_activity(|activity| activity.blocked = false);
        let mut reply = Vec::new();
        let mut out = Sink::new(&mut reply, self.session.proto());
        match ending? {
            Ending::Served(bytes) => reply = bytes,
            // Whatever the command answers where it cannot wait.
            Ending::TimedOut => out.null_array(),
            Ending::Unblocked => out.error("UNBLOCKED client unblocked via CLIENT UNBLOCK"),
            Ending::Elsewhere => {
                let work = Box::new(Work::Block(request));
                self.rest = Some(Rest { work, muted, until: wait.until });
                return Ok(());
            }
        }
        if !muted {
            self.keep_unsent(&reply);
        }
        Ok(())
    }

    /// Sends and reads while the client has to wait, and executes nothing: what comes is kept for
    /// later. Ends with an error when the client has left, or sends more than it may.
    fn poll_aside(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.poll_flush(cx)?.is_pending() && self.is_too_slow() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        self.poll_mail(cx)?;
        self.poll_more(cx)
    }

    /// Reads what the client sends, and keeps it for later. Ends with an error when the client has
    /// left, or sends more than it may.
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let limit = self.router.server.settings.query_buffer_max().min(CARRY_LEN_MAX);
            if self.carry.len() > limit {
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
            self.router.server.stats.bytes_in.add(read_len as u64);
            self.carry_is_ready = true;
        }
    }

    fn poll_turns(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        for _ in 0..TURNS_MAX {
            let flushed = self.poll_flush(cx);
            if flushed.is_pending() && self.is_too_slow() {
                tracing::debug!(
                    client = self.session.client().id,
                    "closing a client that does not read"
                );
                return Poll::Ready(Event::Closed);
            }
            if ready!(flushed).is_err() || self.is_closing {
                return Poll::Ready(Event::Closed);
            }
            let event = BUFFERS.with_borrow_mut(|buffers| self.poll_turn(cx, buffers));
            match ready!(event) {
                Ok(None) => {}
                Ok(Some(event)) => return Poll::Ready(event),
                Err(error) => {
                    tracing::debug!(client = self.session.client().id, %error, "connection lost");
                    return Poll::Ready(Event::Closed);
                }
            }
        }
        Poll::Ready(Event::Yield)
    }

    /// Sends what others have written to the client, and has the task woken when there is more:
    /// whatever the client waits for, its messages do not.
    fn poll_mail(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.session.client().outbox().is_none() || self.poll_flush(cx)?.is_pending() {
            return Ok(());
        }
        BUFFERS.with_borrow_mut(|Buffers { output, .. }| {
            self.take_mail(cx, output);
            self.send(cx, output)
        })
    }

    /// Moves what others have written into `output`.
    fn take_mail(&self, cx: &Context<'_>, output: &mut Vec<u8>) {
        if let Some(outbox) = self.session.client().outbox() {
            outbox.poll(cx.waker(), self.unsent.len(), output);
        }
    }

    /// Reads once if there is nothing to execute, executes, and tries to write the replies. What
    /// others have written to the client stands before them, in the same write.
    fn poll_turn(
        &mut self,
        cx: &mut Context<'_>,
        buffers: &mut Buffers,
    ) -> Poll<io::Result<Option<Event>>> {
        if let Some(Rest { work, muted, until }) = self.rest.take() {
            let (now, pace) = (clock::now(), &mut WorkerPace::default());
            let pending = self.router.resume(&mut self.session, *work, now, pace);
            return Poll::Ready(Ok(Some(Event::Wait(pending, muted, until))));
        }
        let Buffers { input, output, scratch } = buffers;
        // Whatever became of the connection that had it before: nothing of that is for this client.
        output.clear();
        let mut read_len = 0;
        if !self.carry_is_ready {
            let read = if self.carry.is_empty() {
                let mut buf = ReadBuf::new(input);
                let read = Pin::new(&mut self.stream).poll_read(cx, &mut buf)?;
                read.map(|()| Ok(buf.filled().len()))
            } else {
                // A big argument is read straight to where it stays, which grows with the bytes
                // that have come and not with those that were announced.
                self.carry.reserve(self.missing.min(self.carry.len()).max(READ_LEN_MAX / 4));
                pin!(self.stream.read_buf(&mut self.carry)).poll(cx)
            };
            if read.is_pending() {
                self.take_mail(cx, output);
                if !output.is_empty() {
                    self.send(cx, output)?;
                }
            }
            read_len = ready!(read)?;
            if read_len == 0 {
                return Poll::Ready(Ok(Some(Event::Closed)));
            }
        }
        self.take_mail(cx, output);
        let now = clock::now();
        let from_thread = self.carry.is_empty();
        let bytes = if from_thread { &mut input[..read_len] } else { &mut self.carry[..] };
        let mut pace = WorkerPace::default();
        let (taken, progress) = if bytes.len() < self.missing {
            let missing = self.missing - bytes.len();
            self.note_life(now);
            (0, Progress::Drained { missing })
        } else {
            self.router.process(
                &mut self.session,
                &mut self.decoder,
                bytes,
                scratch,
                output,
                now,
                &mut pace,
            )
        };
        // Who has much to say to others lets them hear it before he goes on: what they have yet to
        // send is limited.
        let has_told_much = pace.has_delivered() && read_len >= READ_LEN_MAX / 4;
        if let Some(why) = pace.delayed_reply() {
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
                // Nothing is owned while nothing is under way.
                self.carry = BytesMut::new();
            }
        }
        let stats = &self.router.server.stats;
        stats.bytes_in.add(read_len as u64);
        self.carry_is_ready = false;
        self.missing = 1;
        let mut event = None;
        match progress {
            Progress::Drained { missing } => {
                // `missing` is counted from the end of what is here.
                self.missing = if self.carry.is_empty() { 1 } else { self.carry.len() + missing };
                let limit = self.router.server.settings.query_buffer_max().min(CARRY_LEN_MAX);
                if self.carry.len() > limit {
                    event = Some(Event::Closed);
                }
            }
            Progress::Full => self.carry_is_ready = !self.carry.is_empty(),
            Progress::Wait { pending, muted } => {
                self.carry_is_ready = !self.carry.is_empty();
                event = Some(Event::Wait(pending, muted, None));
            }
            Progress::Block { blocked, muted } => {
                self.carry_is_ready = !self.carry.is_empty();
                event = Some(Event::Block(blocked, muted));
            }
            Progress::ReplicaWait { replica_wait, muted } => {
                self.carry_is_ready = !self.carry.is_empty();
                event = Some(Event::ReplicaWait(replica_wait, muted));
            }
            Progress::Paused { until } => {
                self.carry_is_ready = true;
                event = Some(Event::Pause(until));
            }
            Progress::Hang(node) => {
                self.carry_is_ready = true;
                event = Some(Event::Hang(node));
            }
            Progress::Rest(work, muted) => {
                self.carry_is_ready = !self.carry.is_empty();
                self.rest = Some(Rest { work, muted, until: None });
            }
            Progress::Close => self.is_closing = true,
            Progress::Sever => event = Some(Event::Closed),
        }
        // Strangers get little at a time, whether they read it or not; it is sent, to tell them why.
        let is_too_much =
            !self.session.is_authenticated() && output.len() > UNAUTHENTICATED_OUTPUT_MAX;
        self.send(cx, output)?;
        if is_too_much {
            event = Some(Event::Closed);
        }
        if has_told_much && event.is_none() {
            event = Some(Event::Yield);
        }
        Poll::Ready(Ok(event))
    }

    /// What replies wait for that are kept back.
    #[cold]
    fn gate(&self, why: ReplyDelay) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        match why {
            ReplyDelay::For(time) => Box::pin(tokio::time::sleep(time)),
            ReplyDelay::Doors => {
                let doors = Arc::clone(&self.router.server.faults.listener_gate);
                Box::pin(async move { doors.all_acknowledged().await })
            }
        }
    }

    /// Writes as much of `output` as the socket takes, keeps the rest, and empties it.
    fn send(&mut self, cx: &mut Context<'_>, output: &mut Vec<u8>) -> io::Result<()> {
        self.router.server.stats.bytes_out.add(output.len() as u64);
        let mut sent = 0;
        // Behind a gate everything is kept.
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
            self.unsent.extend_from_slice(&output[sent..]);
            self.note_unsent();
        }
        output.clear();
        if output.capacity() > OUTPUT_KEPT_MAX {
            *output = Vec::new();
        }
        Ok(())
    }

    /// Keeps replies that came aside to be sent next.
    fn keep_unsent(&mut self, replies: &[u8]) {
        self.router.server.stats.bytes_out.add(replies.len() as u64);
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

    /// Notes that the client sends or reads, though nothing is executed: it is not idle.
    fn note_life(&self, now: Millis) {
        self.session.client().note_activity(|activity| activity.last_active = now);
    }

    /// Tells those who write to the client how much it has yet to read.
    fn note_unsent(&self) {
        if let Some(outbox) = self.session.client().outbox() {
            outbox.note_unsent(self.unsent.len());
        }
    }

    /// Whether the client has left more unread than it may. Subscribers have other limits, and are
    /// closed by those who write to them.
    fn is_too_slow(&self) -> bool {
        let max = self.router.server.settings.output_max();
        max.is_some_and(|max| self.unsent.len() > max) && !self.session.listens()
    }
}
