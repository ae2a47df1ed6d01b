//! The transactions of one user as a state machine without sockets: requests go out through a
//! [`RoundWriter`], replies come in, randomness and time are arguments.
//!
//! ```text
//! choose ─► begin_attempt ─► write_round ─► read_reply, … ─► finish_round ─► Next::Done(outcome)
//!   ▲           ▲                 ▲                               │
//!   │           │                 └────────── Next::Round ────────┘
//!   │           └── the same transaction once more (aborted, refused, redirected)
//!   └────────────── the next transaction
//! ```
//!
//! A *round* is what one `write_round` writes, in one piece, to one node: a WATCH loop takes two of
//! them. If the server answers a round with an error, or the connection breaks,
//! [`Script::fail_round`] is called instead of `finish_round`.

use super::random::Rng;
use crate::resp::Reply;
use crate::slot::Slot;
use crate::text::number::write_i64;
use std::collections::VecDeque;

/// Nanoseconds since the run began.
pub(crate) type Nanos = u64;

/// One user's transactions, one after the other.
pub(crate) trait Script: Send {
    /// Chooses the next transaction. All its random numbers are drawn here, so that the replies of
    /// the server cannot change the sequence of choices.
    fn choose(&mut self, rng: &mut Rng);

    /// The slot of the transaction's keys.
    fn slot(&self) -> Slot;

    /// The transaction's kind, as an index into the workload's kinds.
    fn kind(&self) -> usize {
        0
    }

    /// Whether it takes keys of two slots on purpose: then it is tried once, and never redirected.
    fn crosses(&self) -> bool {
        false
    }

    /// Starts an attempt: the next `write_round` writes the first round.
    fn begin_attempt(&mut self);

    /// Writes the requests of the current round, at least one. `moment` is when they are sent.
    fn write_round(&mut self, out: &mut RoundWriter<'_>, moment: &Moment);

    /// Reads the reply to the round's request number `at`, from 0.
    fn read_reply(&mut self, at: usize, reply: Reply<'_>);

    /// Called when all replies of the round have arrived and none was an error. Returns what
    /// follows.
    fn finish_round(&mut self, moment: &Moment) -> Next;

    /// Called when the round got an error reply or was interrupted. Unless `is_unknown`, nothing in
    /// it was done, except commands outside of MULTI before the one that was refused.
    fn fail_round(&mut self, is_unknown: bool, moment: &Moment) {
        if is_unknown {
            self.record(true, moment);
        }
    }

    /// Records for the invariants what the attempt changed: called when it committed and, with
    /// `is_unknown`, when it is not known whether it did.
    fn record(&mut self, is_unknown: bool, moment: &Moment) {
        let _ = (is_unknown, moment);
    }
}

/// When an event happens, and in which transaction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Moment {
    /// Since the run began.
    pub at: Nanos,
    /// The user, from 0.
    pub connection: u32,
    /// The transaction's number on its loop, from 0.
    pub number: u64,
}

/// What follows a round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Another round of the same attempt.
    Round,
    /// The attempt is over.
    Done(Outcome),
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The transaction is done.
    Committed,
    /// The values read left nothing to do.
    Declined,
    /// Another client changed a watched key or has the lock; nothing was done.
    Aborted,
    /// A reply has the wrong type or value; something may have been done.
    Malformed(String),
}

/// What the next reply on a connection belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expect {
    /// The script of this loop.
    Loop(u32),
    /// UNWATCH or ASKING before a request: the reply is ignored.
    Ignored,
    /// The handshake.
    Handshake,
    /// A request for the cluster's slot map.
    SlotMap,
}

/// Writes the requests of a round into a connection's output and records the replies to expect.
#[derive(Debug)]
pub(crate) struct RoundWriter<'a> {
    pub(super) out: &'a mut Vec<u8>,
    pub(super) expects: &'a mut VecDeque<Expect>,
    /// Whether WATCH is in force on the connection.
    pub(super) watching: &'a mut bool,
    pub(super) loop_index: u32,
    /// Whether each command is to be preceded by ASKING.
    pub(super) is_asking: bool,
    pub(super) in_multi: bool,
    /// Whether the round may change data.
    pub(super) may_change: bool,
    /// Whether EXEC is part of it.
    pub(super) has_exec: bool,
    /// Replies that the round waits for, ignored ones not counted.
    pub(super) replies: u32,
}

impl RoundWriter<'_> {
    /// Writes a command that changes nothing.
    pub(crate) fn read(&mut self, args: &[&[u8]]) {
        self.begin_command();
        self.array_header(args.len());
        args.iter().for_each(|arg| self.argument(arg));
    }

    /// Writes a command that may change data (inside MULTI only [`RoundWriter::exec`] does).
    pub(crate) fn change(&mut self, args: &[&[u8]]) {
        self.may_change |= !self.in_multi;
        self.read(args);
    }

    /// Writes a command that may change data and whose last argument is a number.
    pub(crate) fn change_by(&mut self, args: &[&[u8]], number: i64) {
        self.may_change |= !self.in_multi;
        self.begin_command();
        self.array_header(args.len() + 1);
        args.iter().for_each(|arg| self.argument(arg));
        let mut text = Vec::with_capacity(20);
        write_i64(&mut text, number);
        self.argument(&text);
    }

    /// Writes WATCH.
    pub(crate) fn watch(&mut self, keys: &[&[u8]]) {
        *self.watching = true;
        self.begin_command();
        self.array_header(1 + keys.len());
        self.argument(b"WATCH");
        keys.iter().for_each(|key| self.argument(key));
    }

    /// Writes UNWATCH.
    pub(crate) fn unwatch(&mut self) {
        *self.watching = false;
        self.expect_reply();
        self.out.extend_from_slice(b"*1\r\n$7\r\nUNWATCH\r\n");
    }

    /// Writes MULTI.
    pub(crate) fn multi(&mut self) {
        self.begin_command();
        self.in_multi = true;
        self.out.extend_from_slice(b"*1\r\n$5\r\nMULTI\r\n");
    }

    /// Writes EXEC.
    pub(crate) fn exec(&mut self) {
        self.in_multi = false;
        (self.may_change, self.has_exec) = (true, true);
        *self.watching = false;
        self.expect_reply();
        self.out.extend_from_slice(b"*1\r\n$4\r\nEXEC\r\n");
    }

    /// Begins a command of `args` arguments, which follow as [`RoundWriter::argument`]s.
    pub(crate) fn begin(&mut self, args: usize, may_change: bool) {
        self.may_change |= may_change && !self.in_multi;
        self.begin_command();
        self.array_header(args);
    }

    /// Writes the next argument of a command.
    #[inline]
    pub(crate) fn argument(&mut self, arg: &[u8]) {
        self.out.push(b'$');
        write_i64(self.out, arg.len() as i64);
        self.out.extend_from_slice(b"\r\n");
        self.out.extend_from_slice(arg);
        self.out.extend_from_slice(b"\r\n");
    }

    /// Writes UNWATCH if an earlier transaction left a WATCH in force on this connection.
    pub(super) fn unwatch_leftover(&mut self) {
        if std::mem::take(self.watching) {
            self.expects.push_back(Expect::Ignored);
            self.out.extend_from_slice(b"*1\r\n$7\r\nUNWATCH\r\n");
        }
    }

    fn array_header(&mut self, args: usize) {
        self.out.push(b'*');
        write_i64(self.out, args as i64);
        self.out.extend_from_slice(b"\r\n");
    }

    /// Writes ASKING where needed: it counts for one command, before MULTI for all up to EXEC.
    fn begin_command(&mut self) {
        if self.is_asking && !self.in_multi {
            self.expects.push_back(Expect::Ignored);
            self.out.extend_from_slice(b"*1\r\n$6\r\nASKING\r\n");
        }
        self.expect_reply();
    }

    fn expect_reply(&mut self) {
        self.expects.push_back(Expect::Loop(self.loop_index));
        self.replies += 1;
    }
}

/// The reply of EXEC.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Exec {
    /// No reply yet.
    #[default]
    NoReply,
    /// Nil: a watched key was changed.
    Nil,
    /// Any other reply, and what is wrong with it: an error in the array, a wrong length or type.
    Ran(Option<String>),
}

impl Exec {
    /// Reads EXEC's reply, which should have `len` elements; calls `each` with all of them.
    pub(crate) fn read(
        reply: Reply<'_>,
        len: usize,
        mut each: impl FnMut(usize, Reply<'_>),
    ) -> Self {
        match reply {
            Reply::Null => Self::Nil,
            Reply::Array(elements) => {
                let mut wrong = (elements.len() != len as u64)
                    .then(|| format!("EXEC of {len} commands returned {} replies", elements.len()));
                for (i, element) in elements.enumerate() {
                    if let Reply::Error(text) = element {
                        wrong.get_or_insert_with(|| super::keys::shown(text));
                    }
                    each(i, element);
                }
                Self::Ran(wrong)
            }
            other => Self::Ran(Some(format!("EXEC returned {other:?}"))),
        }
    }

    /// The outcome of the attempt.
    #[must_use]
    pub(crate) fn outcome(&self) -> Outcome {
        match self {
            Self::NoReply => Outcome::Malformed("no reply to EXEC".to_owned()),
            Self::Nil => Outcome::Aborted,
            Self::Ran(None) => Outcome::Committed,
            Self::Ran(Some(wrong)) => Outcome::Malformed(wrong.clone()),
        }
    }
}
