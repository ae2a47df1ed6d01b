//! A connection of a user to a node: its output, the replies it expects, and reopening when it
//! breaks.

use super::transaction_loop::LoopState;
use super::{SocketAction, Timer, Users};
use crate::load::failure::Failure;
use crate::load::keys::shown;
use crate::load::script::{Expect, Nanos};
use crate::load::target::SlotMap;
use crate::resp::{Reply, ReplyDecoder};
use std::cmp::Reverse;
use std::collections::VecDeque;

/// The first delay before a lost connection is opened again; it doubles up to
/// [`REOPEN_DELAY_MAX`].
const REOPEN_DELAY_FIRST: Nanos = 5_000_000;
/// The longest delay before a lost connection is opened again.
const REOPEN_DELAY_MAX: Nanos = 200_000_000;
/// The least time between two requests for the cluster's slot map.
const SLOT_MAP_INTERVAL: Nanos = 100_000_000;
/// The largest carry buffer that is kept once it is empty, in bytes.
const CARRY_KEPT_MAX: usize = 64 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ConnectionState {
    Closed,
    /// Lost; a timer opens it again.
    Backoff,
    Opening,
    Handshake,
    Open,
}

/// A connection without its socket, which the event loop has.
pub(super) struct Connection {
    pub(super) user: u32,
    pub(super) node: u16,
    pub(super) state: ConnectionState,
    pub(super) out: Vec<u8>,
    pub(super) expects: VecDeque<Expect>,
    pub(super) decoder: ReplyDecoder,
    /// The first part of a reply whose rest has not arrived yet.
    pub(super) carry: Vec<u8>,
    /// Whether WATCH is in force.
    pub(super) watching: bool,
    pub(super) is_dirty: bool,
    pub(super) was_open: bool,
    /// When it was lost, if it has not been open since.
    pub(super) lost_since: Option<Nanos>,
    /// When it was first seen waiting for the current reply.
    pub(super) silent_since: Option<Nanos>,
    pub(super) reopen_delay: Nanos,
    /// Loops that wait for it to open.
    pub(super) waiting: Vec<u32>,
}

impl Connection {
    fn new(user: u32, node: u16) -> Self {
        Self {
            user,
            node,
            state: ConnectionState::Closed,
            out: Vec::new(),
            expects: VecDeque::new(),
            decoder: ReplyDecoder::default(),
            carry: Vec::new(),
            watching: false,
            is_dirty: false,
            was_open: false,
            lost_since: None,
            silent_since: None,
            reopen_delay: REOPEN_DELAY_FIRST,
            waiting: Vec::new(),
        }
    }
}

impl Users {
    pub(super) fn mark_dirty(&mut self, connection: u32) {
        let conn = &mut self.connections[connection as usize];
        if !std::mem::replace(&mut conn.is_dirty, true) {
            self.dirty.push(connection);
        }
    }

    /// Returns the index of a user's connection to a node, which is made if there is none.
    pub(super) fn connection_to(&mut self, user: u32, node: u16) -> u32 {
        let of_user = &mut self.connection_of[(user - self.first_user) as usize];
        let node_at = node as usize;
        if of_user.len() <= node_at {
            of_user.resize(node_at + 1, None);
        }
        *of_user[node_at].get_or_insert_with(|| {
            self.connections.push(Connection::new(user, node));
            self.connections.len() as u32 - 1
        })
    }

    pub(super) fn request_open(&mut self, connection: u32) {
        let conn = &mut self.connections[connection as usize];
        // One in backoff is opened by its timer.
        if conn.state == ConnectionState::Closed {
            conn.state = ConnectionState::Opening;
            self.socket_actions.push(SocketAction::Open(connection));
        }
    }

    /// Notes that the socket of a connection is connected; begins the handshake.
    pub(crate) fn on_connected(&mut self, connection: u32, now: Nanos) {
        let (handshake, replies) = self.endpoint.handshake();
        let conn = &mut self.connections[connection as usize];
        conn.out.clear();
        conn.state = ConnectionState::Handshake;
        if replies == 0 {
            return self.finish_handshake(connection, now);
        }
        conn.out.extend_from_slice(&handshake);
        conn.expects.extend((0..replies).map(|_| Expect::Handshake));
        self.mark_dirty(connection);
    }

    fn finish_handshake(&mut self, connection: u32, now: Nanos) {
        let conn = &mut self.connections[connection as usize];
        conn.state = ConnectionState::Open;
        (conn.lost_since, conn.reopen_delay) = (None, REOPEN_DELAY_FIRST);
        if std::mem::replace(&mut conn.was_open, true) && self.tally.is_measuring {
            self.tally.totals.reconnects += 1;
        }
        for index in std::mem::take(&mut conn.waiting) {
            if self.loops[index as usize].state == LoopState::AwaitingConnection {
                self.send_round(index, now);
            }
        }
    }

    /// Notes that a connection was lost or could not be opened. It is opened again after a delay,
    /// unless the target has been unreachable for longer than `--patience`.
    pub(crate) fn on_disconnected(&mut self, connection: u32, why: &str, now: Nanos) {
        let node = self.node(connection).clone();
        let conn = &mut self.connections[connection as usize];
        if matches!(conn.state, ConnectionState::Closed | ConnectionState::Backoff) {
            return;
        }
        (conn.state, conn.watching, conn.silent_since) = (ConnectionState::Backoff, false, None);
        conn.out.clear();
        conn.carry.clear();
        conn.expects.clear();
        conn.decoder = ReplyDecoder::default();
        self.socket_actions.push(SocketAction::Close(connection));
        let since = *conn.lost_since.get_or_insert(now);
        let user = conn.user;
        if u128::from(now - since) >= self.endpoint.patience.as_nanos() || !self.has_started {
            return self.fail(Failure::target(why));
        }
        tracing::debug!(%node, user, why, "connection lost");
        self.timers.push(Reverse((now + conn.reopen_delay, Timer::Connection(connection))));
        conn.reopen_delay = (conn.reopen_delay * 2).min(REOPEN_DELAY_MAX);
        self.request_slot_map(now);
        for index in self.loops_of(user) {
            let tx = &self.loops[index as usize];
            if tx.connection == connection && tx.state == LoopState::AwaitingReplies {
                self.interrupt_round(index, now);
            }
        }
    }

    /// Fails the run if a connection has been without its next reply for longer than `--patience`.
    pub(super) fn check_timeouts(&mut self, now: Nanos) {
        let patience = self.endpoint.patience;
        for connection in 0..self.connections.len() {
            let conn = &mut self.connections[connection];
            let is_waiting = match conn.state {
                ConnectionState::Closed | ConnectionState::Backoff => false,
                ConnectionState::Opening | ConnectionState::Handshake => true,
                ConnectionState::Open => !conn.expects.is_empty(),
            };
            if !is_waiting {
                conn.silent_since = None;
                continue;
            }
            let since = *conn.silent_since.get_or_insert(now);
            if u128::from(now - since) >= patience.as_nanos() {
                let node = self.node(connection as u32);
                return self.fail(Failure::target(format!(
                    "{node} has not answered for {patience:?}: is it overloaded or stopped? A longer --patience \
                     waits longer"
                )));
            }
        }
    }

    /// The loops of a user. The auditor is the last user and has one loop.
    fn loops_of(&self, user: u32) -> std::ops::Range<u32> {
        let first = (user - self.first_user) * self.pipeline;
        first..(first + self.pipeline).min(self.loops.len() as u32)
    }

    /// Ends the round of a loop whose connection broke before all replies had arrived.
    fn interrupt_round(&mut self, at: u32, now: Nanos) {
        let tx = &mut self.loops[at as usize];
        let (moment, is_unknown) = (tx.moment(now), tx.may_change);
        if tx.is_auditor {
            return self.pause_auditor(at, now);
        }
        tx.script.fail_round(is_unknown, &moment);
        if is_unknown {
            self.tally.unknown();
            return self.finish_transaction(at, now);
        }
        if self.is_stopping {
            return self.stop_loop(at);
        }
        tx.attempts -= 1;
        self.start_attempt(at, now);
    }

    /// Requests the cluster's slot map from any node, at most once per [`SLOT_MAP_INTERVAL`].
    pub(super) fn request_slot_map(&mut self, now: Nanos) {
        let last = self.slot_map_requested_at;
        let is_too_soon = last > 0 && now.saturating_sub(last) < SLOT_MAP_INTERVAL;
        if !self.endpoint.cluster || self.is_stopping || is_too_soon {
            return;
        }
        let is_open = |conn: &Connection| conn.state == ConnectionState::Open;
        let Some(connection) = self.connections.iter().position(is_open) else { return };
        self.slot_map_requested_at = now.max(1);
        let conn = &mut self.connections[connection];
        conn.out.extend_from_slice(b"*2\r\n$7\r\nCLUSTER\r\n$5\r\nSLOTS\r\n");
        conn.expects.push_back(Expect::SlotMap);
        self.mark_dirty(connection as u32);
    }

    fn apply_slot_map(&mut self, connection: u32, reply: Reply<'_>, now: Nanos) {
        let asked = self.node(connection).clone();
        let Some(map) = SlotMap::parse(reply, &asked) else { return };
        self.slot_map.merge(&map);
        // Loops that wait for a node which no longer owns the slot go on at its new owner.
        for at in 0..self.loops.len() as u32 {
            let tx = &self.loops[at as usize];
            if tx.state == LoopState::AwaitingConnection && tx.is_first_round {
                let node = self.slot_map.owner(tx.subject.slot);
                if self.connections[tx.connection as usize].node != node {
                    self.send_round(at, now);
                }
            }
        }
    }

    /// Handles bytes received on a connection.
    pub(crate) fn on_received(&mut self, connection: u32, bytes: &[u8], now: Nanos) {
        if self.tally.is_measuring {
            self.tally.totals.bytes_received += bytes.len() as u64;
        }
        let conn = &mut self.connections[connection as usize];
        conn.silent_since = None;
        let mut decoder = std::mem::take(&mut conn.decoder);
        let mut carry = std::mem::take(&mut conn.carry);
        let is_carried = !carry.is_empty();
        if is_carried {
            carry.extend_from_slice(bytes);
        }
        let mut rest = if is_carried { &carry[..] } else { bytes };
        let broken = loop {
            match decoder.next(rest) {
                Ok(Some(end)) => {
                    let (reply, behind) = rest.split_at(end);
                    rest = behind;
                    if let Err(why) = self.dispatch_reply(connection, Reply::of(reply), now) {
                        break Some(why);
                    }
                }
                Ok(None) => break None,
                Err(error) => break Some(format!("does not speak the Redis protocol: {error}")),
            }
        };
        let left = rest.len();
        if is_carried {
            let taken = carry.len() - left;
            carry.drain(..taken);
        } else {
            carry.extend_from_slice(&bytes[bytes.len() - left..]);
        }
        if carry.is_empty() && carry.capacity() > CARRY_KEPT_MAX {
            carry = Vec::new();
        }
        let conn = &mut self.connections[connection as usize];
        (conn.decoder, conn.carry) = (decoder, carry);
        if let Some(why) = broken {
            let why = format!("{} {why}", self.node(connection));
            self.fail(Failure::target(why));
        }
    }

    fn dispatch_reply(
        &mut self,
        connection: u32,
        reply: Reply<'_>,
        now: Nanos,
    ) -> Result<(), String> {
        if matches!(reply, Reply::Push(_)) {
            return Ok(());
        }
        match self.connections[connection as usize].expects.pop_front() {
            Some(Expect::Loop(index)) => self.on_reply(index, reply, now),
            Some(Expect::Ignored) => {}
            Some(Expect::SlotMap) => self.apply_slot_map(connection, reply, now),
            Some(Expect::Handshake) => match reply {
                Reply::Error(text) => self.fail(self.endpoint.handshake_error(text)),
                _ => self.finish_handshake(connection, now),
            },
            None => {
                if let Reply::Error(text) = reply {
                    return Err(format!("refused the connection: {}", shown(text)));
                }
                return Err("sent a reply that no request was waiting for".to_owned());
            }
        }
        Ok(())
    }
}
