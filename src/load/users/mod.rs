//! The users of one client thread, without sockets and without a clock: bytes and times in, bytes and
//! orders out. `drive` carries them to the network.
//!
//! ```text
//! user    a connection as the plan counts it; with a cluster, a link to each node
//! lane    a transaction under way on a user; several of them if the plan pipelines
//! link    a socket's other half: what to send, what replies are waited for, half a reply
//! ```
//!
//! What may have run is never sent again: if a link breaks while a round that may change data is
//! under way, the transaction's outcome is unknown, and the lane goes on with the next one.

mod transaction_loop;
mod connection;
#[cfg(test)]
mod tests;

use super::chance::{self, Purpose};
use super::failure::Failure;
use super::plan::{Plan, Retry};
use super::script::{Nanos, Script};
use super::tally::{Slice, Subject, Tally};
use super::target::{Endpoint, Map, Node};
use crate::slot::Slot;
use connection::{Link, LinkState};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use transaction_loop::{AUDIT_PAUSE, Lane, LaneState, Schedule};

/// Between two looks for links that are silent: so much later than `--patience` says it may be noticed.
const LOOK_EVERY: Nanos = 50_000_000;

/// What the crew asks of the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Connect this link to its node.
    Open(u32),
    /// Close this link's socket, if there is one.
    Close(u32),
}

/// Which part of the load a thread has.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    /// The thread, from 0.
    pub thread: usize,
    /// The first of its connections.
    pub first: usize,
    /// How many connections it has.
    pub connections: usize,
}

impl Part {
    /// The parts of a plan's threads.
    #[must_use]
    pub fn all(plan: &Plan) -> Vec<Self> {
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

/// What a thread's users are made of.
pub struct Muster<'a> {
    /// What to do.
    pub plan: &'a Plan,
    /// The way in.
    pub endpoint: &'a Endpoint,
    /// Who owns which slot.
    pub map: Map,
    /// Makes a user's script.
    pub script: &'a dyn Fn(u32) -> Box<dyn Script>,
    /// Looks at the invariants; one thread has it.
    pub auditor: Option<Box<dyn Script>>,
    /// An empty one.
    pub tally: Tally,
}
/// The users of one thread.
pub struct Crew {
    endpoint: Endpoint,
    retry: Retry,
    think: Nanos,
    map: Map,
    lanes: Vec<Lane>,
    links: Vec<Link>,
    /// By user of this crew, and node.
    link_of: Vec<Vec<Option<u32>>>,
    first_user: u32,
    /// Lanes of a user.
    pipeline: u32,
    schedule: Option<Schedule>,
    idle: Vec<u32>,
    timers: BinaryHeap<Reverse<(Nanos, Timer)>>,
    orders: Vec<Order>,
    dirty: Vec<u32>,
    tally: Tally,
    /// Lanes that are not done, without the auditor's.
    busy: usize,
    is_stopping: bool,
    has_started: bool,
    map_asked: Nanos,
    /// When to look for links that are silent.
    look_at: Nanos,
    fatal: Option<Failure>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Lane(u32),
    Link(u32),
}

impl Crew {
    /// A crew for `part` of the load; nothing is connected yet.
    #[must_use]
    pub fn new(muster: Muster<'_>, part: Part) -> Self {
        let Muster { plan, endpoint, map, script, auditor, tally } = muster;
        let shape = &plan.shape;
        let pipeline = shape.pipeline;
        let lanes_in_all = (shape.connections * pipeline) as u64;
        let schedule = shape.rate.map(|rate| {
            let mine = part.connections as f64 / shape.connections as f64;
            let interval = 1e9 / (rate * mine);
            let before = part.first as u64;
            let upto = |connections: u64| {
                shape.transactions.map(|n| n * connections / shape.connections as u64)
            };
            let left = upto(before + part.connections as u64)
                .zip(upto(before))
                .map(|(end, start)| end - start);
            Schedule {
                // The threads take turns.
                next: interval * part.thread as f64 / shape.threads as f64,
                interval,
                arrivals: shape.arrivals,
                chance: chance::source(plan.seed, part.thread as u64, Purpose::Arrivals),
                left,
            }
        });
        let quota = |lane: u64| match (shape.rate, shape.transactions) {
            (None, Some(n)) => Some(n / lanes_in_all + u64::from(lane < n % lanes_in_all)),
            _ => None,
        };
        let lane = |user: u32, number: u64, script: Box<dyn Script>, is_auditor: bool| Lane {
            script,
            chance: chance::source(plan.seed, number, Purpose::Choices),
            pauses: chance::source(plan.seed, number, Purpose::Pauses),
            user,
            link: 0,
            state: LaneState::Idle,
            started: 0,
            attempt_started: 0,
            subject: Subject { kind: 0, slot: Slot::of(b""), crosses: false },
            attempts: 0,
            hops: 0,
            asking: None,
            is_first_round: true,
            left: 0,
            heard: 0,
            changes: false,
            executes: false,
            error: None,
            ran_all_the_same: false,
            number: 0,
            quota: if is_auditor { None } else { quota(number) },
            is_auditor,
        };
        let mut lanes = Vec::with_capacity(part.connections * pipeline + 1);
        for user in part.first..part.first + part.connections {
            for place in 0..pipeline {
                let number = (user * pipeline + place) as u64;
                lanes.push(lane(user as u32, number, script(number as u32), false));
            }
        }
        let busy = lanes.len();
        let mut users = part.connections;
        if let Some(auditor) = auditor {
            lanes.push(lane((part.first + users) as u32, u64::MAX, auditor, true));
            users += 1;
        }
        Self {
            endpoint: endpoint.clone(),
            retry: plan.retry,
            think: shape.think_us.saturating_mul(1000),
            map,
            lanes,
            links: Vec::new(),
            link_of: vec![Vec::new(); users],
            first_user: part.first as u32,
            pipeline: pipeline as u32,
            schedule,
            idle: Vec::new(),
            timers: BinaryHeap::new(),
            orders: Vec::new(),
            dirty: Vec::new(),
            tally,
            busy,
            is_stopping: false,
            has_started: false,
            map_asked: 0,
            look_at: 0,
            fatal: None,
        }
    }

    /// Orders every user's links to the nodes that are known.
    pub fn connect(&mut self) {
        for user in 0..self.link_of.len() as u32 {
            for node in 0..self.map.nodes().len() as u16 {
                let link = self.link(self.first_user + user, node);
                self.open(link);
            }
        }
    }

    /// Whether every link is open.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.links.iter().all(|link| link.state == LinkState::Open)
    }

    /// Starts the load. `now` is 0 by definition of the run's time.
    pub fn start(&mut self) {
        self.has_started = true;
        for lane in 0..self.lanes.len() as u32 {
            if self.lanes[lane as usize].is_auditor {
                self.set_timer(AUDIT_PAUSE, lane, LaneState::Thinking);
            } else if self.schedule.is_some() {
                self.idle.push(lane);
            } else {
                self.next_transaction(lane, 0, 0);
            }
        }
        // The first connection is to be the first to start.
        self.idle.reverse();
        self.wake(0);
    }

    /// The warm-up is over.
    pub fn measure(&mut self) {
        self.tally.is_measuring = true;
    }

    /// The time is up: what is under way may end, nothing new begins.
    pub fn stop(&mut self, at: Nanos) {
        if std::mem::replace(&mut self.is_stopping, true) {
            return;
        }
        if let Some(schedule) = &mut self.schedule {
            while schedule.due().is_some_and(|due| due < at) {
                self.tally.totals.never_started += 1;
                schedule.advance(true);
            }
        }
        for lane in 0..self.lanes.len() as u32 {
            if self.lanes[lane as usize].state != LaneState::Asked {
                self.done(lane);
            }
        }
    }

    /// Whether nothing is under way any more.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.busy == 0
    }

    /// What is still under way will not end: its outcome is unknown.
    pub fn abandon(&mut self, now: Nanos) {
        self.is_stopping = true;
        for at in 0..self.lanes.len() {
            let lane = &mut self.lanes[at];
            if lane.state == LaneState::Asked {
                let moment = lane.moment(now);
                lane.script.failed(lane.changes, &moment);
                if lane.changes && !lane.is_auditor {
                    self.tally.unknown();
                }
            }
            self.done(at as u32);
        }
    }

    /// Why the load cannot go on, if so.
    #[must_use]
    pub fn fatal(&self) -> Option<&Failure> {
        self.fatal.as_ref()
    }

    /// Its counts.
    #[must_use]
    pub fn into_tally(self) -> Tally {
        self.tally
    }

    /// The interval of the time series is over.
    pub fn next_slice(&mut self) -> Slice {
        self.tally.next_slice()
    }

    /// The number of the present interval.
    #[must_use]
    pub fn slice_index(&self) -> u64 {
        self.tally.slice_index()
    }

    /// What is asked of the network since the last time.
    pub fn orders(&mut self) -> std::vec::Drain<'_, Order> {
        self.orders.drain(..)
    }

    /// A link that has something to send since the last time.
    pub fn next_dirty(&mut self) -> Option<u32> {
        let link = self.dirty.pop()?;
        self.links[link as usize].is_dirty = false;
        Some(link)
    }

    /// What a link has to send; the network removes what it took.
    pub fn output(&mut self, link: u32) -> &mut Vec<u8> {
        &mut self.links[link as usize].out
    }

    /// The address of a link's node.
    #[must_use]
    pub fn node(&self, link: u32) -> &Node {
        &self.map.nodes()[self.links[link as usize].node as usize]
    }

    /// Counts bytes that were sent.
    pub fn sent(&mut self, bytes: usize) {
        if self.tally.is_measuring {
            self.tally.totals.bytes_sent += bytes as u64;
        }
    }

    /// Does what is due. Returns when there is something to do next, if there is.
    pub fn wake(&mut self, now: Nanos) -> Option<Nanos> {
        if now >= self.look_at {
            self.look_at = now + LOOK_EVERY;
            self.look_for_silence(now);
        }
        while let Some(&Reverse((due, timer))) = self.timers.peek() {
            if due > now {
                break;
            }
            self.timers.pop();
            match timer {
                Timer::Link(link) => {
                    self.links[link as usize].state = LinkState::Closed;
                    self.open(link);
                }
                Timer::Lane(lane) => match self.lanes[lane as usize].state {
                    LaneState::Thinking => self.next_transaction(lane, now, now),
                    LaneState::Pausing => self.attempt(lane, now),
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
                let Some(lane) = self.idle.pop() else { break };
                self.take_turn();
                self.next_transaction(lane, start, now);
            }
            if self.schedule.as_ref().is_some_and(|schedule| schedule.due().is_none()) {
                while let Some(lane) = self.idle.pop() {
                    self.done(lane);
                }
            }
        }
        due
    }

    fn take_turn(&mut self) {
        if let Some(schedule) = &mut self.schedule {
            schedule.advance(self.tally.is_measuring);
        }
    }
}
