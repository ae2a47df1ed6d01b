//! A lane: one transaction after the other, with their attempts, rounds, pauses and redirections.

use super::connection::LinkState;
use super::{Crew, Timer};
use crate::load::chance::Chance;
use crate::load::failure::Failure;
use crate::load::keys::shown;
use crate::load::plan::{Arrivals, Policy, Retry};
use crate::load::script::{Ask, Moment, Nanos, Next, Outcome, Script};
use crate::load::tally::Subject;
use crate::load::target::Redirect;
use crate::resp::Reply;
use std::cmp::Reverse;

/// Redirections that one transaction follows.
const HOPS_MAX: u32 = 16;
/// Between two looks of the auditor.
pub(super) const AUDIT_PAUSE: Nanos = 20_000_000;
/// Longest error reply that is remembered, in bytes.
const ERROR_LEN_MAX: usize = 256;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LaneState {
    /// Nothing to do until the schedule says so (open loop), or before the start.
    Idle,
    /// A pause between transactions or attempts; which of the two is for the timer to know.
    Thinking,
    Pausing,
    /// Waits for its link to open.
    Waiting,
    /// Waits for replies.
    Asked,
    /// Runs no more.
    Done,
}

pub(super) struct Lane {
    pub(super) script: Box<dyn Script>,
    pub(super) chance: Chance,
    pub(super) pauses: Chance,
    pub(super) user: u32,
    pub(super) link: u32,
    pub(super) state: LaneState,
    /// When the transaction began, or was to begin.
    pub(super) started: Nanos,
    pub(super) attempt_started: Nanos,
    /// What the transaction is.
    pub(super) subject: Subject,
    pub(super) attempts: u32,
    pub(super) hops: u32,
    /// The node that ASK named, for one attempt.
    pub(super) asking: Option<u16>,
    /// Whether the next round is the first of its attempt.
    pub(super) is_first_round: bool,
    /// Replies the round still waits for, and heard.
    pub(super) left: u32,
    pub(super) heard: u32,
    pub(super) changes: bool,
    pub(super) executes: bool,
    /// The round's first error reply that says why.
    pub(super) error: Option<Vec<u8>>,
    /// Whether EXEC gave an array in spite of an error before it.
    pub(super) ran_all_the_same: bool,
    pub(super) number: u64,
    /// Transactions yet to start; `None` is no limit.
    pub(super) quota: Option<u64>,
    pub(super) is_auditor: bool,
}

impl Lane {
    pub(super) fn moment(&self, at: Nanos) -> Moment {
        Moment { at, connection: self.user, number: self.number }
    }
}

/// When an open loop starts its transactions.
pub(super) struct Schedule {
    /// The next start.
    pub(super) next: f64,
    /// Nanoseconds between two of this thread.
    pub(super) interval: f64,
    pub(super) arrivals: Arrivals,
    pub(super) chance: Chance,
    /// Starts yet to come; `None` is no limit.
    pub(super) left: Option<u64>,
}

impl Schedule {
    pub(super) fn due(&self) -> Option<Nanos> {
        (self.left != Some(0)).then_some(self.next as Nanos)
    }

    /// One has started. Only what is `counted` is of the limit.
    pub(super) fn advance(&mut self, counted: bool) {
        self.next += match self.arrivals {
            Arrivals::Even => self.interval,
            // 1 - f64() is never 0.
            Arrivals::Poisson => -(1.0 - self.chance.f64()).ln() * self.interval,
        };
        self.left = self.left.map(|left| left.saturating_sub(u64::from(counted)));
    }
}
impl Crew {
    pub(super) fn next_transaction(&mut self, at: u32, started: Nanos, now: Nanos) {
        let lane = &mut self.lanes[at as usize];
        // A quota counts what is measured.
        if self.tally.is_measuring
            && let Some(quota) = &mut lane.quota
        {
            if *quota == 0 {
                return self.done(at);
            }
            *quota -= 1;
        }
        lane.script.choose(&mut lane.chance);
        let script = &lane.script;
        lane.subject =
            Subject { kind: script.kind(), slot: script.slot(), crosses: script.crosses() };
        (lane.started, lane.attempts, lane.hops, lane.asking) = (started, 0, 0, None);
        self.attempt(at, now);
    }

    pub(super) fn attempt(&mut self, at: u32, now: Nanos) {
        let lane = &mut self.lanes[at as usize];
        lane.attempts += 1;
        lane.attempt_started = now;
        lane.is_first_round = true;
        lane.script.rewind();
        self.round(at, now);
    }

    pub(super) fn round(&mut self, at: u32, now: Nanos) {
        let lane = &self.lanes[at as usize];
        let link = if lane.is_first_round {
            let node = lane.asking.unwrap_or_else(|| self.map.owner(lane.subject.slot));
            self.link(lane.user, node)
        } else {
            // WATCH belongs to the connection.
            lane.link
        };
        let lane = &mut self.lanes[at as usize];
        lane.link = link;
        let to = &mut self.links[link as usize];
        if to.state != LinkState::Open {
            lane.state = LaneState::Waiting;
            to.waiting.push(at);
            return self.open(link);
        }
        let moment = lane.moment(now);
        let before = to.expects.len();
        let mut ask = Ask {
            out: &mut to.out,
            expects: &mut to.expects,
            watching: &mut to.watching,
            lane: at,
            asking: lane.asking.is_some(),
            in_multi: false,
            changes: false,
            executes: false,
            replies: 0,
        };
        if lane.is_first_round {
            ask.clear_the_way();
        }
        lane.script.ask(&mut ask, &moment);
        (lane.changes, lane.executes) = (ask.changes, ask.executes);
        (lane.left, lane.heard) = (ask.replies, 0);
        (lane.error, lane.ran_all_the_same) = (None, false);
        lane.state = LaneState::Asked;
        lane.is_first_round = false;
        if self.tally.is_measuring {
            self.tally.totals.commands += (to.expects.len() - before) as u64;
        }
        self.soil(link);
    }

    pub(super) fn hear(&mut self, at: u32, reply: Reply<'_>, now: Nanos) {
        let lane = &mut self.lanes[at as usize];
        if lane.state != LaneState::Asked || lane.left == 0 {
            return;
        }
        if let Reply::Error(text) = reply {
            let text = &text[..text.len().min(ERROR_LEN_MAX)];
            // What was refused first is the cause; EXECABORT only follows.
            lane.error.get_or_insert_with(|| text.to_vec());
        }
        lane.script.hear(lane.heard as usize, reply);
        lane.heard += 1;
        lane.left -= 1;
        if lane.left > 0 {
            return;
        }
        lane.ran_all_the_same =
            lane.error.is_some() && lane.executes && matches!(reply, Reply::Array(_));
        self.conclude(at, now);
    }

    pub(super) fn conclude(&mut self, at: u32, now: Nanos) {
        let lane = &mut self.lanes[at as usize];
        let moment = lane.moment(now);
        let error = lane.error.take();
        if lane.is_auditor {
            if error.is_none() {
                let _never_commits = lane.script.conclude(&moment);
            }
            return self.rest(at, now);
        }
        let Some(error) = error else {
            match lane.script.conclude(&moment) {
                Next::Again => self.round(at, now),
                Next::Done(outcome) => self.ended(at, outcome, now),
            }
            return;
        };
        let unknown = lane.ran_all_the_same;
        lane.script.failed(unknown, &moment);
        if unknown {
            let what = format!("EXEC ran after {}", shown(&error));
            return self.ended(at, Outcome::Malformed(what), now);
        }
        self.refused(at, &error, now);
    }

    pub(super) fn ended(&mut self, at: u32, outcome: Outcome, now: Nanos) {
        let lane = &self.lanes[at as usize];
        let (subject, attempts) = (lane.subject, lane.attempts);
        let took = now.saturating_sub(lane.started);
        self.tally.attempt(subject, now.saturating_sub(lane.attempt_started));
        match outcome {
            Outcome::Committed => self.tally.committed(subject, took, attempts),
            Outcome::Declined => self.tally.declined(subject),
            Outcome::Malformed(what) => {
                tracing::debug!(%what, "a reply that should not be");
                if self.tally.is_measuring {
                    self.tally.totals.malformed += 1;
                }
            }
            Outcome::Aborted => {
                self.tally.aborted(subject);
                return self.retry(at, now);
            }
        }
        self.finish(at, now);
    }

    pub(super) fn refused(&mut self, at: u32, error: &[u8], now: Nanos) {
        let lane = &self.lanes[at as usize];
        let subject = lane.subject;
        let answered_by = lane.link;
        if !subject.crosses
            && let Some(redirect) = Redirect::read(error)
        {
            if !self.endpoint.cluster {
                return self.give_up(Failure::target(format!(
                    "the target is one node of a cluster ({}): use --cluster",
                    shown(error)
                )));
            }
            return self.follow(at, redirect, error, answered_by, now);
        }
        if let Some(failure) = hopeless(error) {
            return self.give_up(failure);
        }
        let took = now.saturating_sub(lane.attempt_started);
        self.tally.attempt(subject, took);
        self.tally.refused(subject, error);
        if subject.crosses {
            self.tally.given_up(subject);
            return self.finish(at, now);
        }
        let word = error.split(|&byte| byte == b' ').next().unwrap_or_default();
        if matches!(word, b"CLUSTERDOWN" | b"READONLY" | b"MASTERDOWN" | b"LOADING") {
            self.ask_map(now);
        }
        self.retry(at, now);
    }

    pub(super) fn follow(
        &mut self,
        at: u32,
        mut redirect: Redirect,
        error: &[u8],
        from: u32,
        now: Nanos,
    ) {
        if redirect.node.host.is_empty() {
            redirect.node.host.clone_from(&self.node(from).host);
        }
        let Some(node) = self.map.node(redirect.node) else {
            return self.give_up(Failure::target("the cluster names too many nodes"));
        };
        self.tally.redirected(error);
        let lane = &mut self.lanes[at as usize];
        lane.asking = redirect.ask.then_some(node);
        lane.hops += 1;
        if !redirect.ask {
            self.map.moved(redirect.slot, node);
        }
        if lane.hops > HOPS_MAX {
            return self.retry(at, now);
        }
        if self.is_stopping {
            return self.done(at);
        }
        // Nothing was done, so it is the same attempt still.
        lane.attempts -= 1;
        self.attempt(at, now);
    }

    pub(super) fn retry(&mut self, at: u32, now: Nanos) {
        if self.is_stopping {
            return self.done(at);
        }
        let lane = &mut self.lanes[at as usize];
        lane.asking = None;
        let Retry { policy, attempts_max, pause_us, pause_max_us } = self.retry;
        if policy == Policy::None || (attempts_max > 0 && lane.attempts >= attempts_max) {
            self.tally.given_up(lane.subject);
            return self.finish(at, now);
        }
        let pause_us = match policy {
            Policy::None => 0,
            Policy::Fixed => pause_us,
            Policy::Exponential if lane.attempts < 2 => 0,
            Policy::Exponential => {
                let doubled = pause_us.saturating_mul(1 << (lane.attempts - 2).min(32));
                lane.pauses.u64(0..=doubled.min(pause_max_us))
            }
        };
        if pause_us == 0 {
            return self.attempt(at, now);
        }
        self.set_timer(now.saturating_add(pause_us.saturating_mul(1000)), at, LaneState::Pausing);
    }

    pub(super) fn finish(&mut self, at: u32, now: Nanos) {
        let lane = &mut self.lanes[at as usize];
        lane.number += 1;
        if self.is_stopping {
            return self.done(at);
        }
        if let Some(schedule) = &mut self.schedule {
            match schedule.due() {
                Some(due) if due <= now => {
                    schedule.advance(self.tally.is_measuring);
                    self.next_transaction(at, due, now);
                }
                Some(_) => {
                    lane.state = LaneState::Idle;
                    self.idle.push(at);
                }
                None => self.done(at),
            }
        } else if self.think > 0 {
            self.set_timer(now + self.think, at, LaneState::Thinking);
        } else {
            self.next_transaction(at, now, now);
        }
    }

    /// The auditor's pause.
    pub(super) fn rest(&mut self, at: u32, now: Nanos) {
        if self.is_stopping {
            return self.done(at);
        }
        self.set_timer(now + AUDIT_PAUSE, at, LaneState::Thinking);
    }

    pub(super) fn done(&mut self, at: u32) {
        let lane = &mut self.lanes[at as usize];
        if std::mem::replace(&mut lane.state, LaneState::Done) != LaneState::Done
            && !lane.is_auditor
        {
            self.busy -= 1;
        }
    }

    pub(super) fn set_timer(&mut self, due: Nanos, at: u32, state: LaneState) {
        self.lanes[at as usize].state = state;
        self.timers.push(Reverse((due, Timer::Lane(at))));
    }

    pub(super) fn give_up(&mut self, failure: Failure) {
        self.fatal.get_or_insert(failure);
    }
}

/// Errors after which going on makes no sense.
fn hopeless(error: &[u8]) -> Option<Failure> {
    let text = shown(error);
    let word = text.split(' ').next().unwrap_or_default();
    Some(Failure::target(match word {
        "NOAUTH" => format!("the target wants a password ({text}): redis://:password@host:port"),
        "NOPERM" => format!("the target's user may not do this: {text}"),
        "WRONGTYPE" => {
            format!("a key of ours exists with another type ({text}): choose another --prefix")
        }
        "ERR" if text.starts_with("ERR unknown command") => {
            format!("the target lacks what this workload needs: {text}")
        }
        _ => return None,
    }))
}
