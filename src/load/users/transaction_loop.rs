//! A transaction loop: one transaction after the other, with their attempts, rounds, pauses and
//! redirections.

use super::connection::ConnectionState;
use super::{ThreadPart, Timer, Users};
use crate::load::failure::Failure;
use crate::load::keys::shown;
use crate::load::plan::{Arrivals, Plan, Policy, Retry};
use crate::load::random::{self, Purpose, Rng};
use crate::load::script::{Moment, Nanos, Next, Outcome, RoundWriter, Script};
use crate::load::tally::Subject;
use crate::load::target::Redirect;
use crate::resp::Reply;
use crate::slot::Slot;
use std::cmp::Reverse;

/// Most redirections that one transaction follows.
const REDIRECTS_MAX: u32 = 16;
/// Time between two checks of the auditor.
pub(super) const AUDIT_PAUSE: Nanos = 20_000_000;
/// Longest part of an error reply that is kept, in bytes.
const ERROR_LEN_MAX: usize = 256;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LoopState {
    /// Nothing to do until the schedule starts a transaction (open loop), or before the start.
    Idle,
    /// Pauses between two transactions.
    Thinking,
    /// Pauses between two attempts.
    Pausing,
    /// Waits for its connection to open.
    AwaitingConnection,
    /// Waits for the replies of a round.
    AwaitingReplies,
    /// Runs no more.
    Stopped,
}

/// A loop and its current transaction.
pub(super) struct TransactionLoop {
    pub(super) script: Box<dyn Script>,
    pub(super) rng: Rng,
    pub(super) pauses: Rng,
    pub(super) user: u32,
    pub(super) connection: u32,
    pub(super) state: LoopState,
    /// When the transaction started or, in an open loop, should have.
    pub(super) started: Nanos,
    pub(super) attempt_started: Nanos,
    pub(super) subject: Subject,
    pub(super) attempts: u32,
    pub(super) redirects: u32,
    /// The node that ASK named, for one attempt.
    pub(super) ask_node: Option<u16>,
    /// Whether the next round is the first of its attempt.
    pub(super) is_first_round: bool,
    pub(super) replies_left: u32,
    pub(super) replies_read: u32,
    /// Whether the current round may change data.
    pub(super) may_change: bool,
    /// Whether the current round contains EXEC.
    pub(super) has_exec: bool,
    /// The round's first error reply, which is the cause of those after it.
    pub(super) error: Option<Vec<u8>>,
    /// Whether EXEC returned an array in spite of an error before it.
    pub(super) exec_ran_after_error: bool,
    /// The transaction's number on this loop.
    pub(super) number: u64,
    /// Transactions yet to start; `None` is no limit.
    pub(super) quota: Option<u64>,
    pub(super) is_auditor: bool,
}

impl TransactionLoop {
    /// Makes loop number `number` of the whole run.
    pub(super) fn new(plan: &Plan, user: u32, number: u64, script: Box<dyn Script>) -> Self {
        let loops = (plan.shape.connections * plan.shape.pipeline) as u64;
        let quota = match (plan.shape.rate, plan.shape.transactions) {
            (None, Some(n)) => Some(n / loops + u64::from(number < n % loops)),
            _ => None,
        };
        Self {
            script,
            rng: random::rng(plan.seed, number, Purpose::Choices),
            pauses: random::rng(plan.seed, number, Purpose::Pauses),
            user,
            connection: 0,
            state: LoopState::Idle,
            started: 0,
            attempt_started: 0,
            subject: Subject { kind: 0, slot: Slot::of(b""), crosses: false },
            attempts: 0,
            redirects: 0,
            ask_node: None,
            is_first_round: true,
            replies_left: 0,
            replies_read: 0,
            may_change: false,
            has_exec: false,
            error: None,
            exec_ran_after_error: false,
            number: 0,
            quota,
            is_auditor: false,
        }
    }

    /// Makes the loop that checks invariants during the run. It is not counted.
    pub(super) fn of_auditor(plan: &Plan, user: u32, script: Box<dyn Script>) -> Self {
        Self { quota: None, is_auditor: true, ..Self::new(plan, user, u64::MAX, script) }
    }

    pub(super) fn moment(&self, at: Nanos) -> Moment {
        Moment { at, connection: self.user, number: self.number }
    }
}

/// When an open loop starts its transactions.
pub(super) struct Schedule {
    /// The next start.
    next: f64,
    /// Mean time between two starts of this thread, in nanoseconds.
    interval: f64,
    arrivals: Arrivals,
    rng: Rng,
    /// Starts yet to come; `None` is no limit.
    left: Option<u64>,
}

impl Schedule {
    /// The schedule of one thread, which takes its share of `rate` and of the transactions.
    pub(super) fn new(plan: &Plan, rate: f64, part: ThreadPart) -> Self {
        let shape = &plan.shape;
        let share = part.connections as f64 / shape.connections as f64;
        let interval = 1e9 / (rate * share);
        let first = part.first as u64;
        let up_to = |connections: u64| {
            shape.transactions.map(|n| n * connections / shape.connections as u64)
        };
        let left = up_to(first + part.connections as u64).zip(up_to(first));
        Self {
            // The threads start in turn, not all at the same moment.
            next: interval * part.thread as f64 / shape.threads as f64,
            interval,
            arrivals: shape.arrivals,
            rng: random::rng(plan.seed, part.thread as u64, Purpose::Arrivals),
            left: left.map(|(end, start)| end - start),
        }
    }

    /// The time of the next start; `None` if all have been started.
    pub(super) fn due(&self) -> Option<Nanos> {
        (self.left != Some(0)).then_some(self.next as Nanos)
    }

    /// Moves on to the next start. Only starts that are `counted` use up the limit.
    pub(super) fn advance(&mut self, counted: bool) {
        self.next += match self.arrivals {
            Arrivals::Even => self.interval,
            // 1 - f64() is never 0.
            Arrivals::Poisson => -(1.0 - self.rng.f64()).ln() * self.interval,
        };
        self.left = self.left.map(|left| left.saturating_sub(u64::from(counted)));
    }
}

impl Users {
    pub(super) fn start_transaction(&mut self, at: u32, started: Nanos, now: Nanos) {
        let tx = &mut self.loops[at as usize];
        // The warm-up does not use up the quota.
        if self.tally.is_measuring
            && let Some(quota) = &mut tx.quota
        {
            if *quota == 0 {
                return self.stop_loop(at);
            }
            *quota -= 1;
        }
        tx.script.choose(&mut tx.rng);
        let script = &tx.script;
        tx.subject =
            Subject { kind: script.kind(), slot: script.slot(), crosses: script.crosses() };
        (tx.started, tx.attempts, tx.redirects, tx.ask_node) = (started, 0, 0, None);
        self.start_attempt(at, now);
    }

    pub(super) fn start_attempt(&mut self, at: u32, now: Nanos) {
        let tx = &mut self.loops[at as usize];
        tx.attempts += 1;
        tx.attempt_started = now;
        tx.is_first_round = true;
        tx.script.begin_attempt();
        self.send_round(at, now);
    }

    pub(super) fn send_round(&mut self, at: u32, now: Nanos) {
        let tx = &self.loops[at as usize];
        let connection = if tx.is_first_round {
            let node = tx.ask_node.unwrap_or_else(|| self.slot_map.owner(tx.subject.slot));
            self.connection_to(tx.user, node)
        } else {
            // WATCH belongs to the connection.
            tx.connection
        };
        let tx = &mut self.loops[at as usize];
        tx.connection = connection;
        let conn = &mut self.connections[connection as usize];
        if conn.state != ConnectionState::Open {
            tx.state = LoopState::AwaitingConnection;
            conn.waiting.push(at);
            return self.request_open(connection);
        }
        let moment = tx.moment(now);
        let before = conn.expects.len();
        let mut out = RoundWriter {
            out: &mut conn.out,
            expects: &mut conn.expects,
            watching: &mut conn.watching,
            loop_index: at,
            is_asking: tx.ask_node.is_some(),
            in_multi: false,
            may_change: false,
            has_exec: false,
            replies: 0,
        };
        if tx.is_first_round {
            out.unwatch_leftover();
        }
        tx.script.write_round(&mut out, &moment);
        (tx.may_change, tx.has_exec) = (out.may_change, out.has_exec);
        (tx.replies_left, tx.replies_read) = (out.replies, 0);
        (tx.error, tx.exec_ran_after_error) = (None, false);
        tx.state = LoopState::AwaitingReplies;
        tx.is_first_round = false;
        if self.tally.is_measuring {
            self.tally.totals.commands += (conn.expects.len() - before) as u64;
        }
        self.mark_dirty(connection);
    }

    pub(super) fn on_reply(&mut self, at: u32, reply: Reply<'_>, now: Nanos) {
        let tx = &mut self.loops[at as usize];
        if tx.state != LoopState::AwaitingReplies || tx.replies_left == 0 {
            return;
        }
        if let Reply::Error(text) = reply {
            let text = &text[..text.len().min(ERROR_LEN_MAX)];
            // The first error is the cause; EXECABORT only follows from it.
            tx.error.get_or_insert_with(|| text.to_vec());
        }
        tx.script.read_reply(tx.replies_read as usize, reply);
        tx.replies_read += 1;
        tx.replies_left -= 1;
        if tx.replies_left > 0 {
            return;
        }
        tx.exec_ran_after_error =
            tx.error.is_some() && tx.has_exec && matches!(reply, Reply::Array(_));
        self.finish_round(at, now);
    }

    fn finish_round(&mut self, at: u32, now: Nanos) {
        let tx = &mut self.loops[at as usize];
        let moment = tx.moment(now);
        let error = tx.error.take();
        if tx.is_auditor {
            if error.is_none() {
                let _never_commits = tx.script.finish_round(&moment);
            }
            return self.pause_auditor(at, now);
        }
        let Some(error) = error else {
            let Next::Done(outcome) = tx.script.finish_round(&moment) else {
                return self.send_round(at, now);
            };
            match outcome {
                Outcome::Committed => tx.script.record(false, &moment),
                Outcome::Malformed(_) if tx.may_change => tx.script.record(true, &moment),
                Outcome::Malformed(_) | Outcome::Declined | Outcome::Aborted => {}
            }
            return self.finish_attempt(at, outcome, now);
        };
        let is_unknown = tx.exec_ran_after_error;
        tx.script.fail_round(is_unknown, &moment);
        if is_unknown {
            let what = format!("EXEC ran after {}", shown(&error));
            return self.finish_attempt(at, Outcome::Malformed(what), now);
        }
        self.on_error_reply(at, &error, now);
    }

    fn finish_attempt(&mut self, at: u32, outcome: Outcome, now: Nanos) {
        let tx = &self.loops[at as usize];
        let (subject, attempts) = (tx.subject, tx.attempts);
        let took = now.saturating_sub(tx.started);
        self.tally.attempt(subject, now.saturating_sub(tx.attempt_started));
        match outcome {
            Outcome::Committed => self.tally.committed(subject, took, attempts),
            Outcome::Declined => self.tally.declined(subject),
            Outcome::Malformed(what) => {
                tracing::debug!(%what, "malformed reply");
                if self.tally.is_measuring {
                    self.tally.totals.malformed += 1;
                }
            }
            Outcome::Aborted => {
                self.tally.aborted(subject);
                return self.retry_or_give_up(at, now);
            }
        }
        self.finish_transaction(at, now);
    }

    fn on_error_reply(&mut self, at: u32, error: &[u8], now: Nanos) {
        let tx = &self.loops[at as usize];
        let subject = tx.subject;
        let connection = tx.connection;
        if !subject.crosses
            && let Some(redirect) = Redirect::parse(error)
        {
            if !self.endpoint.cluster {
                return self.fail(Failure::target(format!(
                    "the target is one node of a cluster ({}): use --cluster",
                    shown(error)
                )));
            }
            return self.follow_redirect(at, redirect, error, connection, now);
        }
        if let Some(failure) = Failure::of_error_reply(error) {
            return self.fail(failure);
        }
        let took = now.saturating_sub(tx.attempt_started);
        self.tally.attempt(subject, took);
        self.tally.refused(subject, error);
        if subject.crosses {
            self.tally.given_up(subject);
            return self.finish_transaction(at, now);
        }
        let word = error.split(|&byte| byte == b' ').next().unwrap_or_default();
        if matches!(word, b"CLUSTERDOWN" | b"READONLY" | b"MASTERDOWN" | b"LOADING") {
            self.request_slot_map(now);
        }
        self.retry_or_give_up(at, now);
    }

    fn follow_redirect(
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
        let Some(node) = self.slot_map.node_index(redirect.node) else {
            return self.fail(Failure::target("the cluster has too many nodes"));
        };
        self.tally.redirected(error);
        let tx = &mut self.loops[at as usize];
        tx.ask_node = redirect.ask.then_some(node);
        tx.redirects += 1;
        if !redirect.ask {
            self.slot_map.set_owner(redirect.slot, node);
        }
        if tx.redirects > REDIRECTS_MAX {
            return self.retry_or_give_up(at, now);
        }
        if self.is_stopping {
            return self.stop_loop(at);
        }
        // Nothing was done, so this is still the same attempt.
        tx.attempts -= 1;
        self.start_attempt(at, now);
    }

    fn retry_or_give_up(&mut self, at: u32, now: Nanos) {
        if self.is_stopping {
            return self.stop_loop(at);
        }
        let tx = &mut self.loops[at as usize];
        tx.ask_node = None;
        let Retry { policy, attempts_max, pause_us, pause_max_us } = self.retry;
        if policy == Policy::None || (attempts_max > 0 && tx.attempts >= attempts_max) {
            self.tally.given_up(tx.subject);
            return self.finish_transaction(at, now);
        }
        let pause_us = match policy {
            Policy::None => 0,
            Policy::Fixed => pause_us,
            Policy::Exponential if tx.attempts < 2 => 0,
            Policy::Exponential => {
                let doubled = pause_us.saturating_mul(1 << (tx.attempts - 2).min(32));
                tx.pauses.u64(0..=doubled.min(pause_max_us))
            }
        };
        if pause_us == 0 {
            return self.start_attempt(at, now);
        }
        self.set_timer(now.saturating_add(pause_us.saturating_mul(1000)), at, LoopState::Pausing);
    }

    pub(super) fn finish_transaction(&mut self, at: u32, now: Nanos) {
        let tx = &mut self.loops[at as usize];
        tx.number += 1;
        if self.is_stopping {
            return self.stop_loop(at);
        }
        if let Some(schedule) = &mut self.schedule {
            match schedule.due() {
                Some(due) if due <= now => {
                    schedule.advance(self.tally.is_measuring);
                    self.start_transaction(at, due, now);
                }
                Some(_) => {
                    tx.state = LoopState::Idle;
                    self.idle.push(at);
                }
                None => self.stop_loop(at),
            }
        } else if self.think > 0 {
            self.set_timer(now + self.think, at, LoopState::Thinking);
        } else {
            self.start_transaction(at, now, now);
        }
    }

    /// Starts the auditor's pause, after which it checks the next group.
    pub(super) fn pause_auditor(&mut self, at: u32, now: Nanos) {
        if self.is_stopping {
            return self.stop_loop(at);
        }
        self.set_timer(now + AUDIT_PAUSE, at, LoopState::Thinking);
    }

    pub(super) fn stop_loop(&mut self, at: u32) {
        let tx = &mut self.loops[at as usize];
        if std::mem::replace(&mut tx.state, LoopState::Stopped) != LoopState::Stopped
            && !tx.is_auditor
        {
            self.running -= 1;
        }
    }

    pub(super) fn set_timer(&mut self, due: Nanos, at: u32, state: LoopState) {
        self.loops[at as usize].state = state;
        self.timers.push(Reverse((due, Timer::Loop(at))));
    }

    /// Ends the run. The first failure is kept.
    pub(super) fn fail(&mut self, failure: Failure) {
        self.fatal.get_or_insert(failure);
    }
}
