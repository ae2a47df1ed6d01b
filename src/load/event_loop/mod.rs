//! The event loop of one client thread: sockets and the clock, one poll for all its connections.
//!
//! ```text
//! poll ─► read sockets ─► Users::on_received ─► requests in connections' outputs ─► write sockets
//!   ▲                                                                                      │
//!   └──────── until the next due time, by a kernel timer (timerfd) ◄───────────────────────┘
//! ```
//!
//! Measured: CPU time of the client for a GET per round on 50 connections, redis-server on the
//! other core of a small virtual machine, several runs each. An empty loop of this kind, which only
//! sends and receives, took 10.0 to 11.8 µs per operation; a tokio task for each connection on one
//! thread 9.3 to 12.7 µs, so the two do not differ; redis-benchmark 17.6 to 26 µs. This design was
//! chosen because it is simple: time and order are in one place, and TLS is a state machine between
//! the socket and the users, so nothing needs to be async. The whole client takes 10.3 to 12.2 µs,
//! of which 1.0 to 1.3 µs are its own; the rest is the kernel's, most of it in `send`, which on the
//! loopback does the receiver's work too. Pipelined by 16 it takes 1.5 µs, as redis-benchmark does.

mod clock;
mod socket;
mod wake_timer;

pub(crate) use clock::{clock, process_time};

use super::failure::Failure;
use super::script::Nanos;
use super::setup_client::connect_error;
use super::tally::{Slice, Tally};
use super::target::Endpoint;
use super::users::{SocketAction, Users};
use clock::thread_times;
use mio::{Events, Poll, Token};
use socket::Socket;
use std::io;
use std::sync::mpsc::{Receiver, Sender};
use std::time::{Duration, Instant};
use wake_timer::WakeTimer;

/// Most bytes read at a time.
const READ_LEN: usize = 64 * 1024;
/// Most events taken from the kernel at a time.
const EVENTS_MAX: usize = 512;
/// The token of the wake timer.
const TIMER: Token = Token(usize::MAX - 1);
/// The stop flag and timeouts are checked at least this often.
const CHECK_INTERVAL: Nanos = 50_000_000;

/// When the parts of a run end, in nanoseconds from its start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timetable {
    /// The end of the warm-up.
    pub warmup: Nanos,
    /// The end of the measured time; `None`: when all transactions have run.
    pub end: Option<Nanos>,
    /// How long transactions in flight may take after that.
    pub drain: Nanos,
    /// The width of a slice of the time series.
    pub interval: Nanos,
}

/// What the threads of a run share.
pub(crate) struct ThreadContext<'a> {
    /// How to connect to the target.
    pub endpoint: &'a Endpoint,
    /// When the parts of the run end.
    pub times: Timetable,
    /// Whether to end early.
    pub is_stopped: &'a (dyn Fn() -> bool + Sync),
}

/// The channels between a client thread and the thread that started it.
pub(crate) struct ThreadChannels {
    /// Events from the client thread.
    pub events: Sender<ThreadEvent>,
    /// Brings the start time of the load after [`ThreadEvent::Ready`]. If it is closed without one,
    /// there will be no load.
    pub start: Receiver<Instant>,
}

impl ThreadChannels {
    fn send(&self, what: ThreadEvent) {
        // The receiver is gone only if the run is over.
        let _gone = self.events.send(what);
    }
}

/// What a client thread reports.
pub(crate) enum ThreadEvent {
    /// The thread is connected and waits for the start.
    Ready,
    /// An interval of the time series is over.
    Slice(Box<Slice>),
    /// The thread cannot go on; the others are stopped too.
    Failed(Failure),
    /// The thread is done.
    Done(Box<ThreadResult>),
}

/// The results of a thread.
pub(crate) struct ThreadResult {
    /// Its counts.
    pub tally: Tally,
    /// The interval that was not over.
    pub last_slice: Slice,
    /// When it last received something, since the start.
    pub at: Nanos,
    /// The share of the measured time that it ran on a processor, 0 to 1.
    pub busy: f64,
    /// The share of the measured time that it waited for a processor, 0 to 1.
    pub waited: f64,
}

/// Runs one thread's part of the load to its end and reports its events.
pub(crate) fn run_event_loop(users: Users, context: &ThreadContext<'_>, channels: &ThreadChannels) {
    let mut event_loop = match EventLoop::new(users, context, channels) {
        Ok(event_loop) => event_loop,
        Err(error) => {
            let cannot = format!("cannot create a poll: {error}");
            return channels.send(ThreadEvent::Failed(Failure::machine(cannot)));
        }
    };
    if let Err(failure) = event_loop.connect() {
        return channels.send(ThreadEvent::Failed(failure));
    }
    channels.send(ThreadEvent::Ready);
    let Ok(start) = channels.start.recv() else { return };
    event_loop.start = start;
    let outcome = event_loop.run();
    let fatal = event_loop.users.fatal().cloned();
    if let Some(failure) = outcome.err().or(fatal) {
        channels.send(ThreadEvent::Failed(failure));
    }
    channels.send(ThreadEvent::Done(Box::new(event_loop.into_result())));
}

struct EventLoop<'a> {
    users: Users,
    context: &'a ThreadContext<'a>,
    channels: &'a ThreadChannels,
    poll: Poll,
    wake_timer: WakeTimer,
    /// By connection.
    sockets: Vec<Option<Socket>>,
    buffer: Box<[u8]>,
    start: Instant,
    /// Processor times of this thread at the start of the measured time, and when that was.
    before: (Duration, Duration, Nanos),
    /// The same at its end.
    after: Option<(Duration, Duration, Nanos)>,
    last_read_at: Nanos,
}

impl<'a> EventLoop<'a> {
    fn new(
        users: Users,
        context: &'a ThreadContext<'a>,
        channels: &'a ThreadChannels,
    ) -> io::Result<Self> {
        let poll = Poll::new()?;
        let wake_timer = WakeTimer::new(poll.registry())?;
        Ok(Self {
            users,
            context,
            channels,
            poll,
            wake_timer,
            sockets: Vec::new(),
            buffer: vec![0; READ_LEN].into(),
            start: clock(),
            before: Default::default(),
            after: None,
            last_read_at: 0,
        })
    }

    fn now(&self) -> Nanos {
        u64::try_from(clock().saturating_duration_since(self.start).as_nanos()).unwrap_or(u64::MAX)
    }

    /// Opens every connection.
    fn connect(&mut self) -> Result<(), Failure> {
        let mut events = Events::with_capacity(EVENTS_MAX);
        let patience = self.context.endpoint.patience;
        self.users.connect();
        while !self.users.is_connected() {
            self.apply_socket_actions();
            self.write_dirty();
            if let Some(failure) = self.users.fatal() {
                return Err(failure.clone());
            }
            let now = self.now();
            if u128::from(now) > patience.as_nanos() {
                let url = &self.context.endpoint.url;
                return Err(Failure::target(format!(
                    "{url} did not accept all connections within {patience:?}: use fewer --connections or a \
                     longer --patience"
                )));
            }
            self.wait(&mut events, Some(now + CHECK_INTERVAL), now)?;
            self.handle_events(&events);
        }
        Ok(())
    }

    fn run(&mut self) -> Result<(), Failure> {
        let mut events = Events::with_capacity(EVENTS_MAX);
        let times = self.context.times;
        let mut is_measuring = times.warmup == 0;
        if is_measuring {
            self.begin_measuring();
        }
        self.users.start();
        let mut stopped_at = None;
        loop {
            self.apply_socket_actions();
            self.write_dirty();
            let now = self.now();
            let next = self.users.run_due(now);
            self.apply_socket_actions();
            self.write_dirty();
            if self.users.fatal().is_some() {
                self.users.abandon(now);
                return Ok(());
            }
            if !is_measuring && now >= times.warmup {
                is_measuring = true;
                self.begin_measuring();
            }
            while now >= (self.users.slice_index() + 1) * times.interval {
                let slice = Box::new(self.users.next_slice());
                self.channels.send(ThreadEvent::Slice(slice));
            }
            if stopped_at.is_none()
                && (times.end.is_some_and(|end| now >= end) || (self.context.is_stopped)())
            {
                self.end_measuring();
                self.users.stop(times.end.map_or(now, |end| end.min(now)));
                stopped_at = Some(now);
            }
            if self.users.is_done() {
                return Ok(());
            }
            if stopped_at.is_some_and(|at| now.saturating_sub(at) > times.drain) {
                self.users.abandon(now);
                return Err(Failure::target(format!(
                    "{} did not answer all requests in flight within {:?} after the end: is it overloaded? A longer \
                     --patience waits longer",
                    self.context.endpoint.url, self.context.endpoint.patience
                )));
            }
            let mut due = (self.users.slice_index() + 1) * times.interval;
            due = due.min(now + CHECK_INTERVAL).min(next.unwrap_or(u64::MAX));
            if !is_measuring {
                due = due.min(times.warmup);
            }
            if stopped_at.is_none() {
                due = due.min(times.end.unwrap_or(u64::MAX));
            }
            self.wait(&mut events, Some(due), now)?;
            self.handle_events(&events);
        }
    }

    fn begin_measuring(&mut self) {
        self.users.start_measuring();
        let (ran, waited) = thread_times();
        self.before = (ran, waited, self.now());
    }

    fn end_measuring(&mut self) {
        if self.after.is_none() {
            let (ran, waited) = thread_times();
            self.after = Some((ran, waited, self.now()));
        }
    }

    fn into_result(mut self) -> ThreadResult {
        self.end_measuring();
        let (ran, waited, at) = self.after.unwrap_or_default();
        let wall = Duration::from_nanos(at.saturating_sub(self.before.2)).as_secs_f64();
        let share =
            |time: Duration| if wall > 0.0 { (time.as_secs_f64() / wall).min(1.0) } else { 0.0 };
        ThreadResult {
            last_slice: self.users.next_slice(),
            at: self.last_read_at,
            busy: share(ran.saturating_sub(self.before.0)),
            waited: share(waited.saturating_sub(self.before.1)),
            tally: self.users.into_tally(),
        }
    }

    fn wait(&mut self, events: &mut Events, due: Option<Nanos>, now: Nanos) -> Result<(), Failure> {
        let cannot = |error: io::Error| Failure::machine(format!("poll failed: {error}"));
        let timeout = due.map(|due| self.wake_timer.set(due, now)).transpose().map_err(cannot)?;
        match self.poll.poll(events, timeout) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(cannot(error)),
            _ => Ok(()),
        }
    }

    fn handle_events(&mut self, events: &Events) {
        for event in events {
            if event.token() == TIMER {
                self.wake_timer.set_for = None;
                continue;
            }
            let connection = event.token().0 as u32;
            let Some(Some(socket)) = self.sockets.get_mut(connection as usize) else { continue };
            if !socket.is_open {
                match socket.finish_connect() {
                    Ok(true) => {
                        let now = self.now();
                        self.users.on_connected(connection, now);
                    }
                    Ok(false) => continue,
                    Err(error) => {
                        let failure =
                            connect_error(&self.users.node(connection).to_string(), &error);
                        self.disconnect(connection, &failure.message);
                        continue;
                    }
                }
            }
            if event.is_readable() || event.is_read_closed() {
                self.read(connection);
            }
            if event.is_writable() {
                self.write(connection);
            }
            // New requests are sent before the next socket is read, so that the server has work
            // meanwhile.
            self.write_dirty();
        }
    }

    fn read(&mut self, connection: u32) {
        loop {
            let Some(Some(socket)) = self.sockets.get_mut(connection as usize) else { return };
            let is_plain = socket.session.is_none();
            match socket.read(&mut self.buffer) {
                Ok(None) => return,
                Ok(Some(0)) => self.write(connection),
                Ok(Some(len)) => {
                    let now = self.now();
                    self.last_read_at = now;
                    self.users.on_received(connection, &self.buffer[..len], now);
                    // A read that does not fill the buffer has emptied the socket.
                    if is_plain && len < self.buffer.len() {
                        return;
                    }
                }
                Err(error) => {
                    let node = self.users.node(connection);
                    let why = match error.kind() {
                        io::ErrorKind::UnexpectedEof
                        | io::ErrorKind::ConnectionReset
                        | io::ErrorKind::BrokenPipe => format!("{node} closed the connection"),
                        _ => format!("the connection to {node} failed: {error}"),
                    };
                    return self.disconnect(connection, &why);
                }
            }
        }
    }

    fn write(&mut self, connection: u32) {
        let Some(Some(socket)) = self.sockets.get_mut(connection as usize) else { return };
        if !socket.is_open {
            return;
        }
        match socket.write(self.users.output(connection)) {
            Ok(len) => self.users.count_sent(len),
            Err(error) => {
                let why =
                    format!("the connection to {} failed: {error}", self.users.node(connection));
                self.disconnect(connection, &why);
            }
        }
    }

    fn disconnect(&mut self, connection: u32, why: &str) {
        let now = self.now();
        self.users.on_disconnected(connection, why, now);
        self.apply_socket_actions();
    }

    fn write_dirty(&mut self) {
        while let Some(connection) = self.users.next_dirty() {
            self.write(connection);
        }
    }

    /// Opens and closes sockets as the users request.
    fn apply_socket_actions(&mut self) {
        loop {
            let actions: Vec<SocketAction> = self.users.take_socket_actions().collect();
            if actions.is_empty() {
                return;
            }
            for action in actions {
                match action {
                    SocketAction::Close(connection) => {
                        if let Some(place) = self.sockets.get_mut(connection as usize) {
                            *place = None;
                        }
                    }
                    SocketAction::Open(connection) => {
                        let at = connection as usize;
                        self.sockets.resize_with(self.sockets.len().max(at + 1), || None);
                        let node = self.users.node(connection).clone();
                        let registry = self.poll.registry();
                        match Socket::open(self.context.endpoint, &node, Token(at), registry) {
                            Ok(socket) => self.sockets[at] = Some(socket),
                            Err(failure) => {
                                let now = self.now();
                                self.users.on_disconnected(connection, &failure.message, now);
                            }
                        }
                    }
                }
            }
        }
    }
}
