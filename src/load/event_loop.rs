//! The rim: sockets and the clock. One thread, one poll, all of its connections.
//!
//! ```text
//! poll ─► read what came ─► crew.received ─► requests appear in the links' outputs ─► write them
//!    ▲                                                                                   │
//!    └──────── until the next due time, by a timer of the kernel's (timerfd) ◄───────────┘
//! ```
//!
//! Measured before chosen: CPU time of the client for a GET per round on 50 connections, redis-server
//! on the other core of a small virtual machine, several runs each. An empty loop of this kind, which
//! only sends and receives, took 10.0 to 11.8 µs an operation; a tokio task for each connection on one
//! thread 9.3 to 12.7 µs, so the two do not differ; redis-benchmark 17.6 to 26 µs. This one is
//! preferred for its plainness: time and order are in one place, and TLS is a state machine between
//! the socket and the crew, so that nothing needs to be async. The whole client takes 10.3 to 12.2 µs,
//! of which 1.0 to 1.3 µs are its own; the rest is the kernel's, most of it in `send`, which on the
//! loopback does the receiver's work too. Pipelined by 16 it takes 1.5 µs, as redis-benchmark does.

use super::failure::Failure;
use super::script::Nanos;
use super::setup_client::unreachable;
use super::tally::{Slice, Tally};
use super::target::{Endpoint, Node};
use super::tls;
use super::users::{Crew, Order};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Registry, Token};
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};
use std::time::{Duration, Instant};

/// Read at most this much at a time, in bytes.
const READ_LEN: usize = 64 * 1024;
/// Events taken from the kernel at a time.
const EVENTS_MAX: usize = 512;
/// The timer's token.
const TIMER: Token = Token(usize::MAX - 1);
/// However quiet it is, look at the flags this often.
const LOOK_EVERY: Nanos = 50_000_000;

/// When the parts of a run end, in nanoseconds from its start.
#[derive(Clone, Copy, Debug)]
pub struct Timetable {
    /// The end of the warm-up.
    pub warmup: Nanos,
    /// The end of the measured time; `None`: when all transactions have been run.
    pub end: Option<Nanos>,
    /// How long what is under way may take after that.
    pub drain: Nanos,
    /// The width of a slice of the time series.
    pub interval: Nanos,
}

/// What the threads of a run share.
pub struct Common<'a> {
    /// The way in.
    pub endpoint: &'a Endpoint,
    /// When.
    pub times: Timetable,
    /// Whether to end early.
    pub is_stopped: &'a (dyn Fn() -> bool + Sync),
}

/// How a thread and whoever started it talk.
pub struct Wire {
    /// What the thread tells.
    pub tell: Sender<Told>,
    /// The time at which the load began, for a thread that has told [`Told::Ready`]. Closed without
    /// it: there will be no load.
    pub start: Receiver<Instant>,
}

impl Wire {
    fn tell(&self, what: Told) {
        // Nobody listens only if the run is over already.
        let _nobody = self.tell.send(what);
    }
}

/// What a thread tells.
pub enum Told {
    /// A thread is connected and waits for the start.
    Ready,
    /// A slice of the time series is over.
    Slice(Box<Slice>),
    /// A thread could not go on: the others are to end too.
    Failed(Failure),
    /// A thread is done.
    Done(Box<Ended>),
}

/// How a thread ended.
pub struct Ended {
    /// What it counted.
    pub tally: Tally,
    /// The slice that was not over.
    pub last_slice: Slice,
    /// When the last thing happened, since the start.
    pub at: Nanos,
    /// The share of the measured time that it ran on a processor.
    pub busy: f64,
    /// The share of the measured time that it waited for one.
    pub waited: f64,
}

/// A socket, with TLS or without.
struct Socket {
    stream: TcpStream,
    session: Option<Box<rustls::ClientConnection>>,
    is_open: bool,
}

impl Socket {
    fn open(
        endpoint: &Endpoint,
        node: &Node,
        token: Token,
        registry: &Registry,
    ) -> Result<Self, Failure> {
        let cannot = |error: io::Error| unreachable(&node.to_string(), &error);
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

    /// Whether requests can be sent: the kernel has connected, and both sides agree on TLS.
    fn open_up(&mut self) -> io::Result<bool> {
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

    /// Reads once what is there. `Ok(None)`: nothing more is, for now; `Some(0)`: nothing for the
    /// crew, but there may be more.
    fn read(&mut self, into: &mut [u8]) -> io::Result<Option<usize>> {
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

    /// Writes what the socket takes of `out`, and removes that from it. How much it was.
    fn write(&mut self, out: &mut Vec<u8>) -> io::Result<usize> {
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
                // What the session has no room for stays, and is offered again when it is writable.
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

/// Waking up at a time. The kernel's poll counts in milliseconds, an open loop in microseconds.
struct Alarm {
    #[cfg(target_os = "linux")]
    timer: std::os::fd::OwnedFd,
    set_for: Option<Nanos>,
}

impl Alarm {
    #[cfg(target_os = "linux")]
    fn new(registry: &Registry) -> io::Result<Self> {
        use rustix::time::{TimerfdClockId, TimerfdFlags, timerfd_create};
        use std::os::fd::AsRawFd;
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        let raw = timer.as_raw_fd();
        registry.register(&mut mio::unix::SourceFd(&raw), TIMER, Interest::READABLE)?;
        Ok(Self { timer, set_for: None })
    }

    #[cfg(not(target_os = "linux"))]
    fn new(_registry: &Registry) -> io::Result<Self> {
        Ok(Self { set_for: None })
    }

    /// How long poll may sleep, so that it is awake at `due`.
    #[cfg(target_os = "linux")]
    fn set(&mut self, due: Nanos, now: Nanos) -> io::Result<Duration> {
        use rustix::time::{Itimerspec, TimerfdTimerFlags, Timespec, timerfd_settime};
        if due <= now {
            return Ok(Duration::ZERO);
        }
        if self.set_for.is_none_or(|set_for| set_for <= now || set_for > due) {
            let wait = due - now;
            let time = Timespec {
                tv_sec: (wait / 1_000_000_000) as i64,
                tv_nsec: (wait % 1_000_000_000) as _,
            };
            let once =
                Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: time };
            timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once)?;
            self.set_for = Some(due);
        }
        // The timer wakes us; this is for the case that it was set for earlier and has rung.
        Ok(Duration::from_nanos(due - now) + Duration::from_millis(1))
    }

    /// Without such a timer, poll sleeps whole milliseconds and the rest is spent awake.
    #[cfg(not(target_os = "linux"))]
    fn set(&mut self, due: Nanos, now: Nanos) -> io::Result<Duration> {
        self.set_for = Some(due);
        Ok(Duration::from_millis(due.saturating_sub(now) / 1_000_000))
    }
}

/// The clock.
#[expect(clippy::disallowed_methods, reason = "this is the rim: time enters here")]
pub fn clock() -> Instant {
    Instant::now()
}

/// How long this thread has run on a processor, and waited for one.
fn thread_times() -> (Duration, Duration) {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    let ran = Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0));
    // Linux tells: time on a processor, time in its queue, in nanoseconds.
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let waited = told.split(' ').nth(1).and_then(|text| text.parse().ok()).unwrap_or(0);
    (ran, Duration::from_nanos(waited))
}

/// How long this process has run on processors.
pub fn process_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Runs one thread's part of a load to its end, and tells about it.
pub fn drive(crew: Crew, common: &Common<'_>, wire: &Wire) {
    let mut driver = match Driver::new(crew, common, wire) {
        Ok(driver) => driver,
        Err(error) => {
            let cannot = format!("this machine gives no poll: {error}");
            return wire.tell(Told::Failed(Failure::machine(cannot)));
        }
    };
    if let Err(failure) = driver.connect() {
        return wire.tell(Told::Failed(failure));
    }
    wire.tell(Told::Ready);
    let Ok(start) = wire.start.recv() else { return };
    driver.start = start;
    let outcome = driver.run();
    let crew_failed = driver.crew.fatal().cloned();
    if let Some(failure) = outcome.err().or(crew_failed) {
        wire.tell(Told::Failed(failure));
    }
    wire.tell(Told::Done(Box::new(driver.end())));
}

struct Driver<'a> {
    crew: Crew,
    common: &'a Common<'a>,
    wire: &'a Wire,
    poll: Poll,
    alarm: Alarm,
    /// By link.
    sockets: Vec<Option<Socket>>,
    buffer: Box<[u8]>,
    start: Instant,
    /// Times of this thread at the start of the measured time, and when that was.
    before: (Duration, Duration, Nanos),
    /// The same at its end.
    after: Option<(Duration, Duration, Nanos)>,
    last: Nanos,
}

impl<'a> Driver<'a> {
    fn new(crew: Crew, common: &'a Common<'a>, wire: &'a Wire) -> io::Result<Self> {
        let poll = Poll::new()?;
        let alarm = Alarm::new(poll.registry())?;
        Ok(Self {
            crew,
            common,
            wire,
            poll,
            alarm,
            sockets: Vec::new(),
            buffer: vec![0; READ_LEN].into(),
            start: clock(),
            before: Default::default(),
            after: None,
            last: 0,
        })
    }

    fn now(&self) -> Nanos {
        u64::try_from(clock().saturating_duration_since(self.start).as_nanos()).unwrap_or(u64::MAX)
    }

    /// Opens every connection.
    fn connect(&mut self) -> Result<(), Failure> {
        let mut events = Events::with_capacity(EVENTS_MAX);
        let patience = self.common.endpoint.patience;
        self.crew.connect();
        while !self.crew.is_connected() {
            self.obey();
            self.flush();
            if let Some(failure) = self.crew.fatal() {
                return Err(failure.clone());
            }
            let now = self.now();
            if u128::from(now) > patience.as_nanos() {
                let url = &self.common.endpoint.url;
                return Err(Failure::target(format!(
                    "{url} did not take all connections within {patience:?}: fewer --connections, or a \
                     longer --patience"
                )));
            }
            self.wait(&mut events, Some(now + LOOK_EVERY), now)?;
            self.handle(&events);
        }
        Ok(())
    }

    fn run(&mut self) -> Result<(), Failure> {
        let mut events = Events::with_capacity(EVENTS_MAX);
        let times = self.common.times;
        let mut is_measuring = times.warmup == 0;
        if is_measuring {
            self.begin_measuring();
        }
        self.crew.start();
        let mut stopped_at = None;
        loop {
            self.obey();
            self.flush();
            let now = self.now();
            let next = self.crew.wake(now);
            self.obey();
            self.flush();
            if self.crew.fatal().is_some() {
                self.crew.abandon(now);
                return Ok(());
            }
            if !is_measuring && now >= times.warmup {
                is_measuring = true;
                self.begin_measuring();
            }
            while now >= (self.crew.slice_index() + 1) * times.interval {
                let slice = Box::new(self.crew.next_slice());
                self.wire.tell(Told::Slice(slice));
            }
            if stopped_at.is_none()
                && (times.end.is_some_and(|end| now >= end) || (self.common.is_stopped)())
            {
                self.end_measuring();
                self.crew.stop(times.end.map_or(now, |end| end.min(now)));
                stopped_at = Some(now);
            }
            if self.crew.is_done() {
                return Ok(());
            }
            if stopped_at.is_some_and(|at| now.saturating_sub(at) > times.drain) {
                self.crew.abandon(now);
                return Err(Failure::target(format!(
                    "{} did not answer all that was under way within {:?} after the end: is it overloaded? A longer \
                     --patience waits longer",
                    self.common.endpoint.url, self.common.endpoint.patience
                )));
            }
            let mut due = (self.crew.slice_index() + 1) * times.interval;
            due = due.min(now + LOOK_EVERY).min(next.unwrap_or(u64::MAX));
            if !is_measuring {
                due = due.min(times.warmup);
            }
            if stopped_at.is_none() {
                due = due.min(times.end.unwrap_or(u64::MAX));
            }
            self.wait(&mut events, Some(due), now)?;
            self.handle(&events);
        }
    }

    fn begin_measuring(&mut self) {
        self.crew.measure();
        let (ran, waited) = thread_times();
        self.before = (ran, waited, self.now());
    }

    fn end_measuring(&mut self) {
        if self.after.is_none() {
            let (ran, waited) = thread_times();
            self.after = Some((ran, waited, self.now()));
        }
    }

    fn end(mut self) -> Ended {
        self.end_measuring();
        let (ran, waited, at) = self.after.unwrap_or_default();
        let wall = Duration::from_nanos(at.saturating_sub(self.before.2)).as_secs_f64();
        let share =
            |time: Duration| if wall > 0.0 { (time.as_secs_f64() / wall).min(1.0) } else { 0.0 };
        Ended {
            last_slice: self.crew.next_slice(),
            at: self.last,
            busy: share(ran.saturating_sub(self.before.0)),
            waited: share(waited.saturating_sub(self.before.1)),
            tally: self.crew.into_tally(),
        }
    }

    fn wait(&mut self, events: &mut Events, due: Option<Nanos>, now: Nanos) -> Result<(), Failure> {
        let cannot =
            |error: io::Error| Failure::machine(format!("this machine's poll failed: {error}"));
        let timeout = due.map(|due| self.alarm.set(due, now)).transpose().map_err(cannot)?;
        match self.poll.poll(events, timeout) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(cannot(error)),
            _ => Ok(()),
        }
    }

    fn handle(&mut self, events: &Events) {
        for event in events {
            if event.token() == TIMER {
                self.alarm.set_for = None;
                continue;
            }
            let link = event.token().0 as u32;
            let Some(Some(socket)) = self.sockets.get_mut(link as usize) else { continue };
            if !socket.is_open {
                match socket.open_up() {
                    Ok(true) => {
                        let now = self.now();
                        self.crew.opened(link, now);
                    }
                    Ok(false) => continue,
                    Err(error) => {
                        let failure = unreachable(&self.crew.node(link).to_string(), &error);
                        self.lose(link, &failure.message);
                        continue;
                    }
                }
            }
            if event.is_readable() || event.is_read_closed() {
                self.read(link);
            }
            if event.is_writable() {
                self.write(link);
            }
            // Answers go out as soon as what they answer was read: the server has work while we
            // read on.
            self.flush();
        }
    }

    fn read(&mut self, link: u32) {
        loop {
            let Some(Some(socket)) = self.sockets.get_mut(link as usize) else { return };
            let is_plain = socket.session.is_none();
            match socket.read(&mut self.buffer) {
                Ok(None) => return,
                Ok(Some(0)) => self.write(link),
                Ok(Some(len)) => {
                    let now = self.now();
                    self.last = now;
                    self.crew.received(link, &self.buffer[..len], now);
                    // A read that does not fill the buffer has emptied the socket.
                    if is_plain && len < self.buffer.len() {
                        return;
                    }
                }
                Err(error) => {
                    let node = self.crew.node(link);
                    let why = match error.kind() {
                        io::ErrorKind::UnexpectedEof
                        | io::ErrorKind::ConnectionReset
                        | io::ErrorKind::BrokenPipe => format!("{node} closed the connection"),
                        _ => format!("the connection to {node} failed: {error}"),
                    };
                    return self.lose(link, &why);
                }
            }
        }
    }

    fn write(&mut self, link: u32) {
        let Some(Some(socket)) = self.sockets.get_mut(link as usize) else { return };
        if !socket.is_open {
            return;
        }
        match socket.write(self.crew.output(link)) {
            Ok(len) => self.crew.sent(len),
            Err(error) => {
                let why = format!("the connection to {} failed: {error}", self.crew.node(link));
                self.lose(link, &why);
            }
        }
    }

    fn lose(&mut self, link: u32, why: &str) {
        let now = self.now();
        self.crew.lost(link, why, now);
        self.obey();
    }

    fn flush(&mut self) {
        while let Some(link) = self.crew.next_dirty() {
            self.write(link);
        }
    }

    /// Opens and closes sockets as the crew says.
    fn obey(&mut self) {
        loop {
            let orders: Vec<Order> = self.crew.orders().collect();
            if orders.is_empty() {
                return;
            }
            for order in orders {
                match order {
                    Order::Close(link) => {
                        if let Some(place) = self.sockets.get_mut(link as usize) {
                            *place = None;
                        }
                    }
                    Order::Open(link) => {
                        let at = link as usize;
                        self.sockets.resize_with(self.sockets.len().max(at + 1), || None);
                        let node = self.crew.node(link).clone();
                        let registry = self.poll.registry();
                        match Socket::open(self.common.endpoint, &node, Token(at), registry) {
                            Ok(socket) => self.sockets[at] = Some(socket),
                            Err(failure) => {
                                let now = self.now();
                                self.crew.lost(link, &failure.message, now);
                            }
                        }
                    }
                }
            }
        }
    }
}
