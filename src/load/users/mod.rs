//! The users of one client thread, without sockets and without a clock: bytes and times in, bytes
//! and socket actions out. The event loop connects them to the network.
//!
//! ```text
//! user              one of the plan's `connections`: a simulated client
//! TransactionLoop   one transaction after the other for a user; several of them with `pipeline`
//! Connection        a user's connection to one node: output, expected replies, half a reply.
//!                   With `--cluster` a user has one per node, otherwise one
//! ```
//!
//! A request that may have run is never sent again: if a connection breaks during a round that may
//! change data, the outcome of the transaction is unknown and the loop starts the next one.

mod connection;
#[cfg(test)]
mod tests;
mod transaction_loop;

use super::failure::Failure;
use super::plan::{Plan, Retry};
use super::script::{Nanos, Script};
use super::tally::{Slice, Tally};
use super::target::{Endpoint, Node, SlotMap};
use connection::{Connection, ConnectionState};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use transaction_loop::{AUDIT_PAUSE, LoopState, Schedule, TransactionLoop};

/// How often connections are checked for overdue replies: a timeout is noticed at most this much
/// later than `--patience`.
const TIMEOUT_CHECK_INTERVAL: Nanos = 50_000_000;

/// What the event loop must do with a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SocketAction {
    /// Connect this connection to its node.
    Open(u32),
    /// Close this connection's socket, if it has one.
    Close(u32),
}

/// One thread's part of the load.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ThreadPart {
    /// The thread, from 0.
    pub thread: usize,
    /// The first of its users.
    pub first: usize,
    /// How many users it has.
    pub connections: usize,
}

impl ThreadPart {
    /// Divides a plan's connections evenly among its threads.
    #[must_use]
    pub(crate) fn all(plan: &Plan) -> Vec<Self> {
        let (threads, connections) = (plan.shape.threads, plan.shape.connections);
        let start = |thread: usize| thread * connections / threads;
        let part = |thread| Self {
            thread,
            first: start(thread),
            connections: start(thread + 1) - start(thread),
        };
        (0..threads).map(part).collect()
    }
}

/// What a thread's [`Users`] are made from.
pub(crate) struct UsersConfig<'a> {
    /// The plan of the run.
    pub plan: &'a Plan,
    /// How to connect to the target.
    pub endpoint: &'a Endpoint,
    /// The owner of each slot.
    pub slot_map: SlotMap,
    /// Makes the script of a loop, given its number in the whole run.
    pub script: &'a dyn Fn(u32) -> Box<dyn Script>,
    /// Checks invariants during the run; only one thread has it.
    pub auditor: Option<Box<dyn Script>>,
    /// An empty tally.
    pub tally: Tally,
}

/// The users of one thread.
pub(crate) struct Users {
    endpoint: Endpoint,
    retry: Retry,
    think: Nanos,
    slot_map: SlotMap,
    loops: Vec<TransactionLoop>,
    connections: Vec<Connection>,
    /// The index into `connections`, by user of this thread and by node.
    connection_of: Vec<Vec<Option<u32>>>,
    first_user: u32,
    /// Loops per user.
    pipeline: u32,
    schedule: Option<Schedule>,
    /// Loops that wait for the schedule.
    idle: Vec<u32>,
    timers: BinaryHeap<Reverse<(Nanos, Timer)>>,
    socket_actions: Vec<SocketAction>,
    /// Connections with output since the last call of [`Users::next_dirty`].
    dirty: Vec<u32>,
    tally: Tally,
    /// Loops that have not stopped, the auditor's not counted.
    running: usize,
    is_stopping: bool,
    has_started: bool,
    slot_map_requested_at: Nanos,
    next_timeout_check: Nanos,
    fatal: Option<Failure>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Loop(u32),
    Connection(u32),
}

impl Users {
    /// Makes the users of `part`; nothing is connected yet.
    #[must_use]
    pub(crate) fn new(config: UsersConfig<'_>, part: ThreadPart) -> Self {
        let UsersConfig { plan, endpoint, slot_map, script, auditor, tally } = config;
        let shape = &plan.shape;
        let mut loops = Vec::with_capacity(part.connections * shape.pipeline + 1);
        for user in part.first..part.first + part.connections {
            for place in 0..shape.pipeline {
                let number = (user * shape.pipeline + place) as u64;
                loops.push(TransactionLoop::new(plan, user as u32, number, script(number as u32)));
            }
        }
        let running = loops.len();
        let mut users = part.connections;
        if let Some(auditor) = auditor {
            loops.push(TransactionLoop::of_auditor(plan, (part.first + users) as u32, auditor));
            users += 1;
        }
        Self {
            endpoint: endpoint.clone(),
            retry: plan.retry,
            think: shape.think_us.saturating_mul(1000),
            slot_map,
            loops,
            connections: Vec::new(),
            connection_of: vec![Vec::new(); users],
            first_user: part.first as u32,
            pipeline: shape.pipeline as u32,
            schedule: shape.rate.map(|rate| Schedule::new(plan, rate, part)),
            idle: Vec::new(),
            timers: BinaryHeap::new(),
            socket_actions: Vec::new(),
            dirty: Vec::new(),
            tally,
            running,
            is_stopping: false,
            has_started: false,
            slot_map_requested_at: 0,
            next_timeout_check: 0,
            fatal: None,
        }
    }

    /// Requests a connection from every user to every known node.
    pub(crate) fn connect(&mut self) {
        for user in 0..self.connection_of.len() as u32 {
            for node in 0..self.slot_map.nodes().len() as u16 {
                let connection = self.connection_to(self.first_user + user, node);
                self.request_open(connection);
            }
        }
    }

    /// Whether every connection is open.
    #[must_use]
    pub(crate) fn is_connected(&self) -> bool {
        self.connections.iter().all(|connection| connection.state == ConnectionState::Open)
    }

    /// Starts the load. `now` is 0 by definition of the run's time.
    pub(crate) fn start(&mut self) {
        self.has_started = true;
        for index in 0..self.loops.len() as u32 {
            if self.loops[index as usize].is_auditor {
                self.set_timer(AUDIT_PAUSE, index, LoopState::Thinking);
            } else if self.schedule.is_some() {
                self.idle.push(index);
            } else {
                self.start_transaction(index, 0, 0);
            }
        }
        // `pop` takes from the end: the first user starts first.
        self.idle.reverse();
        self.run_due(0);
    }

    /// Starts to count: the warm-up is over.
    pub(crate) fn start_measuring(&mut self) {
        self.tally.is_measuring = true;
    }

    /// Starts nothing more after `at`, the end of the run; what is in flight may finish.
    pub(crate) fn stop(&mut self, at: Nanos) {
        if std::mem::replace(&mut self.is_stopping, true) {
            return;
        }
        if let Some(schedule) = &mut self.schedule {
            while schedule.due().is_some_and(|due| due < at) {
                self.tally.totals.never_started += 1;
                schedule.advance(true);
            }
        }
        for index in 0..self.loops.len() as u32 {
            if self.loops[index as usize].state != LoopState::AwaitingReplies {
                self.stop_loop(index);
            }
        }
    }

    /// Whether every loop has stopped.
    #[must_use]
    pub(crate) fn is_done(&self) -> bool {
        self.running == 0
    }

    /// Stops all loops at once; what is in flight has an unknown outcome.
    pub(crate) fn abandon(&mut self, now: Nanos) {
        self.is_stopping = true;
        for at in 0..self.loops.len() {
            let tx = &mut self.loops[at];
            if tx.state == LoopState::AwaitingReplies {
                let moment = tx.moment(now);
                tx.script.fail_round(tx.may_change, &moment);
                if tx.may_change && !tx.is_auditor {
                    self.tally.unknown();
                }
            }
            self.stop_loop(at as u32);
        }
    }

    /// The error that makes it impossible to go on, if there is one.
    #[must_use]
    pub(crate) fn fatal(&self) -> Option<&Failure> {
        self.fatal.as_ref()
    }

    /// Returns the counts.
    #[must_use]
    pub(crate) fn into_tally(self) -> Tally {
        self.tally
    }

    /// Ends the current interval of the time series and returns its counts.
    pub(crate) fn next_slice(&mut self) -> Slice {
        self.tally.next_slice()
    }

    /// The number of the current interval.
    #[must_use]
    pub(crate) fn slice_index(&self) -> u64 {
        self.tally.slice_index()
    }

    /// Takes the socket actions requested since the last call.
    pub(crate) fn take_socket_actions(&mut self) -> std::vec::Drain<'_, SocketAction> {
        self.socket_actions.drain(..)
    }

    /// Takes a connection that got output since it was last taken.
    pub(crate) fn next_dirty(&mut self) -> Option<u32> {
        let connection = self.dirty.pop()?;
        self.connections[connection as usize].is_dirty = false;
        Some(connection)
    }

    /// The output of a connection; the event loop removes what it has sent.
    pub(crate) fn output(&mut self, connection: u32) -> &mut Vec<u8> {
        &mut self.connections[connection as usize].out
    }

    /// The address of a connection's node.
    #[must_use]
    pub(crate) fn node(&self, connection: u32) -> &Node {
        &self.slot_map.nodes()[self.connections[connection as usize].node as usize]
    }

    /// Counts bytes that were sent.
    pub(crate) fn count_sent(&mut self, bytes: usize) {
        if self.tally.is_measuring {
            self.tally.totals.bytes_sent += bytes as u64;
        }
    }

    /// Runs everything that is due. Returns the time of the next thing to do, if there is one.
    pub(crate) fn run_due(&mut self, now: Nanos) -> Option<Nanos> {
        if now >= self.next_timeout_check {
            self.next_timeout_check = now + TIMEOUT_CHECK_INTERVAL;
            self.check_timeouts(now);
        }
        while let Some(&Reverse((due, timer))) = self.timers.peek() {
            if due > now {
                break;
            }
            self.timers.pop();
            match timer {
                Timer::Connection(connection) => {
                    self.connections[connection as usize].state = ConnectionState::Closed;
                    self.request_open(connection);
                }
                Timer::Loop(index) => match self.loops[index as usize].state {
                    LoopState::Thinking => self.start_transaction(index, now, now),
                    LoopState::Pausing => self.start_attempt(index, now),
                    _ => {}
                },
            }
        }
        let mut due = self.timers.peek().map(|Reverse((due, _))| *due);
        if self.has_started && !self.is_stopping {
            while let Some(start) = self.schedule.as_ref().and_then(Schedule::due) {
                if start > now {
                    due = Some(due.map_or(start, |due| due.min(start)));
                    break;
                }
                let Some(index) = self.idle.pop() else { break };
                self.advance_schedule();
                self.start_transaction(index, start, now);
            }
            if self.schedule.as_ref().is_some_and(|schedule| schedule.due().is_none()) {
                while let Some(index) = self.idle.pop() {
                    self.stop_loop(index);
                }
            }
        }
        due
    }

    fn advance_schedule(&mut self) {
        if let Some(schedule) = &mut self.schedule {
            schedule.advance(self.tally.is_measuring);
        }
    }
}
