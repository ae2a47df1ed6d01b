//! A link: what to send on a socket, what replies are waited for, and what follows when it breaks.

use super::transaction_loop::LaneState;
use super::{Crew, Order, Timer};
use crate::load::failure::{Blame, Failure};
use crate::load::keys::shown;
use crate::load::script::{Expect, Nanos};
use crate::load::target::Map;
use crate::resp::{Reply, ReplyDecoder};
use std::cmp::Reverse;
use std::collections::VecDeque;

/// The first pause before a lost link is opened again; it doubles up to [`REOPEN_MAX`].
const REOPEN_FIRST: Nanos = 5_000_000;
/// The longest pause before a lost link is opened again.
const REOPEN_MAX: Nanos = 200_000_000;
/// The least time between two questions for the cluster's map.
const MAP_EVERY: Nanos = 100_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LinkState {
    Closed,
    /// Lost; a timer opens it again.
    Resting,
    Opening,
    Greeting,
    Open,
}

/// The sockets' other half.
pub(super) struct Link {
    pub(super) user: u32,
    pub(super) node: u16,
    pub(super) state: LinkState,
    pub(super) out: Vec<u8>,
    pub(super) expects: VecDeque<Expect>,
    pub(super) decoder: ReplyDecoder,
    /// The front of a reply of which the rest has yet to come.
    pub(super) carry: Vec<u8>,
    pub(super) watching: bool,
    pub(super) is_dirty: bool,
    pub(super) was_open: bool,
    /// Since when it cannot be opened.
    pub(super) lost_since: Option<Nanos>,
    /// When it was first seen to wait for an answer, since the last one.
    pub(super) silent_since: Option<Nanos>,
    pub(super) pause: Nanos,
    /// Lanes that wait for it to open.
    pub(super) waiting: Vec<u32>,
}
impl Crew {
    pub(super) fn soil(&mut self, link: u32) {
        let at = &mut self.links[link as usize];
        if !std::mem::replace(&mut at.is_dirty, true) {
            self.dirty.push(link);
        }
    }

    pub(super) fn link(&mut self, user: u32, node: u16) -> u32 {
        let links = &mut self.link_of[(user - self.first_user) as usize];
        let node_at = node as usize;
        if links.len() <= node_at {
            links.resize(node_at + 1, None);
        }
        *links[node_at].get_or_insert_with(|| {
            self.links.push(Link {
                user,
                node,
                state: LinkState::Closed,
                out: Vec::new(),
                expects: VecDeque::new(),
                decoder: ReplyDecoder::default(),
                carry: Vec::new(),
                watching: false,
                is_dirty: false,
                was_open: false,
                lost_since: None,
                silent_since: None,
                pause: REOPEN_FIRST,
                waiting: Vec::new(),
            });
            self.links.len() as u32 - 1
        })
    }

    pub(super) fn open(&mut self, link: u32) {
        let at = &mut self.links[link as usize];
        // One that was lost is opened by its timer.
        if at.state == LinkState::Closed {
            at.state = LinkState::Opening;
            self.orders.push(Order::Open(link));
        }
    }

    /// The network has connected a link.
    pub fn opened(&mut self, link: u32, now: Nanos) {
        let (greeting, replies) = self.endpoint.greeting();
        let at = &mut self.links[link as usize];
        at.out.clear();
        at.state = LinkState::Greeting;
        if replies == 0 {
            return self.greeted(link, now);
        }
        at.out.extend_from_slice(&greeting);
        at.expects.extend((0..replies).map(|_| Expect::Handshake));
        self.soil(link);
    }

    pub(super) fn greeted(&mut self, link: u32, now: Nanos) {
        let at = &mut self.links[link as usize];
        at.state = LinkState::Open;
        (at.lost_since, at.pause) = (None, REOPEN_FIRST);
        if std::mem::replace(&mut at.was_open, true) && self.tally.is_measuring {
            self.tally.totals.reconnects += 1;
        }
        for lane in std::mem::take(&mut at.waiting) {
            if self.lanes[lane as usize].state == LaneState::Waiting {
                self.round(lane, now);
            }
        }
    }

    /// The network has lost a link, or could not connect it.
    pub fn lost(&mut self, link: u32, why: &str, now: Nanos) {
        let node = self.node(link).clone();
        let at = &mut self.links[link as usize];
        if matches!(at.state, LinkState::Closed | LinkState::Resting) {
            return;
        }
        (at.state, at.watching, at.silent_since) = (LinkState::Resting, false, None);
        at.out.clear();
        at.carry.clear();
        at.expects.clear();
        at.decoder = ReplyDecoder::default();
        self.orders.push(Order::Close(link));
        let since = *at.lost_since.get_or_insert(now);
        let user = at.user;
        if u128::from(now - since) >= self.endpoint.patience.as_nanos() || !self.has_started {
            return self.give_up(Failure { blame: Blame::Target, message: why.to_owned() });
        }
        tracing::debug!(%node, user, why, "a connection was lost");
        self.timers.push(Reverse((now + at.pause, Timer::Link(link))));
        at.pause = (at.pause * 2).min(REOPEN_MAX);
        self.ask_map(now);
        for lane in self.lanes_of(user) {
            let at = &self.lanes[lane as usize];
            if at.link == link && at.state == LaneState::Asked {
                self.cut_off(lane, now);
            }
        }
    }

    /// Gives the target up if it leaves a link without an answer for too long.
    pub(super) fn look_for_silence(&mut self, now: Nanos) {
        let patience = self.endpoint.patience;
        for link in 0..self.links.len() {
            let at = &mut self.links[link];
            let is_waiting = match at.state {
                LinkState::Closed | LinkState::Resting => false,
                LinkState::Opening | LinkState::Greeting => true,
                LinkState::Open => !at.expects.is_empty(),
            };
            if !is_waiting {
                at.silent_since = None;
            } else if u128::from(now - *at.silent_since.get_or_insert(now)) >= patience.as_nanos() {
                let node = self.node(link as u32);
                return self.give_up(Failure::target(format!(
                    "{node} has not answered for {patience:?}: does it hang? A longer --patience waits longer"
                )));
            }
        }
    }

    /// The lanes of a user; the auditor is a user with one lane behind all others.
    pub(super) fn lanes_of(&self, user: u32) -> std::ops::Range<u32> {
        let first = (user - self.first_user) * self.pipeline;
        first..(first + self.pipeline).min(self.lanes.len() as u32)
    }

    /// A lane whose link broke while it waited for replies.
    pub(super) fn cut_off(&mut self, at: u32, now: Nanos) {
        let lane = &mut self.lanes[at as usize];
        let (moment, unknown) = (lane.moment(now), lane.changes);
        if lane.is_auditor {
            return self.rest(at, now);
        }
        lane.script.failed(unknown, &moment);
        if unknown {
            self.tally.unknown();
            return self.finish(at, now);
        }
        if self.is_stopping {
            return self.done(at);
        }
        lane.attempts -= 1;
        self.attempt(at, now);
    }

    /// Asks some node for the cluster's map, not too often.
    pub(super) fn ask_map(&mut self, now: Nanos) {
        let too_soon = self.map_asked > 0 && now.saturating_sub(self.map_asked) < MAP_EVERY;
        if !self.endpoint.cluster || self.is_stopping || too_soon {
            return;
        }
        let Some(link) = self.links.iter().position(|link| link.state == LinkState::Open) else {
            return;
        };
        self.map_asked = now.max(1);
        let at = &mut self.links[link];
        at.out.extend_from_slice(b"*2\r\n$7\r\nCLUSTER\r\n$5\r\nSLOTS\r\n");
        at.expects.push_back(Expect::Map);
        self.soil(link as u32);
    }

    pub(super) fn learn(&mut self, link: u32, reply: Reply<'_>, now: Nanos) {
        let asked = self.node(link).clone();
        let Some(map) = Map::read(reply, &asked) else { return };
        self.map.learn(&map);
        // Who waits for a node that owns the slot no more goes to the one that does.
        for at in 0..self.lanes.len() as u32 {
            let lane = &self.lanes[at as usize];
            if lane.state == LaneState::Waiting && lane.is_first_round {
                let node = self.map.owner(lane.subject.slot);
                if self.links[lane.link as usize].node != node {
                    self.round(at, now);
                }
            }
        }
    }

    /// Bytes have come on a link.
    pub fn received(&mut self, link: u32, bytes: &[u8], now: Nanos) {
        if self.tally.is_measuring {
            self.tally.totals.bytes_received += bytes.len() as u64;
        }
        let at = &mut self.links[link as usize];
        at.silent_since = None;
        let mut decoder = std::mem::take(&mut at.decoder);
        let mut carry = std::mem::take(&mut at.carry);
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
                    if let Err(why) = self.take(link, Reply::of(reply), now) {
                        break Some(why);
                    }
                }
                Ok(None) => break None,
                Err(error) => break Some(format!("does not speak Redis' protocol: {error}")),
            }
        };
        let left = rest.len();
        if is_carried {
            let taken = carry.len() - left;
            carry.drain(..taken);
        } else {
            carry.extend_from_slice(&bytes[bytes.len() - left..]);
        }
        if carry.is_empty() && carry.capacity() > 64 * 1024 {
            carry = Vec::new();
        }
        let at = &mut self.links[link as usize];
        (at.decoder, at.carry) = (decoder, carry);
        if let Some(why) = broken {
            let why = format!("{} {why}", self.node(link));
            self.give_up(Failure::target(why));
        }
    }

    pub(super) fn take(&mut self, link: u32, reply: Reply<'_>, now: Nanos) -> Result<(), String> {
        if matches!(reply, Reply::Push(_)) {
            return Ok(());
        }
        match self.links[link as usize].expects.pop_front() {
            Some(Expect::Lane(lane)) => self.hear(lane, reply, now),
            Some(Expect::Way(_)) => {}
            Some(Expect::Map) => self.learn(link, reply, now),
            Some(Expect::Handshake) => match reply {
                Reply::Error(text) => self.give_up(self.endpoint.refused(text)),
                _ => self.greeted(link, now),
            },
            None => {
                if let Reply::Error(text) = reply {
                    return Err(format!("turned us away: {}", shown(text)));
                }
                return Err("answered what nobody asked".to_owned());
            }
        }
        Ok(())
    }
}
