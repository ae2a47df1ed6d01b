//! One user's part of a workload, as a state machine without sockets: requests go out through an
//! [`Ask`], replies come in, chance and time are arguments.
//!
//! ```text
//!   choose ─► rewind ─► ask ─► hear, hear, … ─► conclude ─┬─► Next::Again   ─► ask …
//!     ▲         ▲                                         └─► Next::Done(outcome)
//!     │         └── the same transaction once more (aborted, refused, redirected)
//!     └──────────── the next transaction
//! ```
//!
//! A *round* is what one `ask` writes, in one piece, to one node: a WATCH loop takes two of them. If
//! the server answers a round with an error, or the connection breaks, the script is told so by
//! [`Script::failed`] instead of `conclude`.

use super::chance::Chance;
use crate::resp::Reply;
use crate::slot::Slot;
use crate::text::number::write_i64;
use std::collections::VecDeque;

/// Nanoseconds since the run began.
pub type Nanos = u64;

/// One user's transactions, one after the other.
pub trait Script: Send {
    /// Decides what the next transaction does: all its chance is drawn here, so that what the
    /// server answers cannot change the sequence of choices.
    fn choose(&mut self, chance: &mut Chance);

    /// The slot of the transaction's keys.
    fn slot(&self) -> Slot;

    /// Which of the workload's kinds the transaction is.
    fn kind(&self) -> usize {
        0
    }

    /// Whether it takes keys of two slots on purpose: then it is tried once, and never redirected.
    fn crosses(&self) -> bool {
        false
    }

    /// Starts an attempt: the next `ask` is the first round.
    fn rewind(&mut self);

    /// Writes the requests of the current round; at least one. `moment` is when they are sent.
    fn ask(&mut self, ask: &mut Ask<'_>, moment: &Moment);

    /// The reply to the round's request number `at`, from 0.
    fn hear(&mut self, at: usize, reply: Reply<'_>);

    /// All replies of the round are in and none of them was an error.
    fn conclude(&mut self, moment: &Moment) -> Next;

    /// The round was not answered as hoped. Unless `unknown`, nothing that it asked for was done,
    /// but for commands outside of MULTI before the one that was refused.
    fn failed(&mut self, unknown: bool, moment: &Moment) {
        let _ = (unknown, moment);
    }
}

/// When and where something happens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// Since the run began.
    pub at: Nanos,
    /// The connection, from 0.
    pub connection: u32,
    /// The transaction's number on that connection, from 0.
    pub number: u64,
}

/// What follows a round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Another round of the same attempt.
    Again,
    /// The attempt is over.
    Done(Outcome),
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// What was wanted is done.
    Committed,
    /// On what was read there was nothing to do.
    Declined,
    /// Somebody else was faster; nothing was done.
    Aborted,
    /// The server answered what it should not have; something may have been done.
    Malformed(String),
}

/// What a connection waits for, a reply each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// A reply for this lane.
    Lane(u32),
    /// A reply that only clears the way (UNWATCH, ASKING) for this lane.
    Way(u32),
    /// A reply of the handshake.
    Handshake,
    /// The cluster's map.
    Map,
}

/// Writes the requests of a round into a connection's output, and notes what they mean for it.
#[derive(Debug)]
pub struct Ask<'a> {
    pub(super) out: &'a mut Vec<u8>,
    pub(super) expects: &'a mut VecDeque<Expect>,
    /// Whether WATCH is in force on the connection.
    pub(super) watching: &'a mut bool,
    pub(super) lane: u32,
    /// Whether each command is to be preceded by ASKING.
    pub(super) asking: bool,
    pub(super) in_multi: bool,
    /// Whether the round may change data.
    pub(super) changes: bool,
    /// Whether EXEC is part of it.
    pub(super) executes: bool,
    /// Replies that the round waits for, those that clear the way not counted.
    pub(super) replies: u32,
}

impl Ask<'_> {
    /// A command that changes nothing.
    pub fn read(&mut self, args: &[&[u8]]) {
        self.before();
        self.head(args.len());
        args.iter().for_each(|arg| self.argument(arg));
    }

    /// A command that may change data (inside MULTI only [`Ask::exec`] does).
    pub fn change(&mut self, args: &[&[u8]]) {
        self.changes |= !self.in_multi;
        self.read(args);
    }

    /// A command whose last argument is a number.
    pub fn change_by(&mut self, args: &[&[u8]], number: i64) {
        self.changes |= !self.in_multi;
        self.before();
        self.head(args.len() + 1);
        args.iter().for_each(|arg| self.argument(arg));
        let mut text = Vec::with_capacity(20);
        write_i64(&mut text, number);
        self.argument(&text);
    }

    /// WATCH.
    pub fn watch(&mut self, keys: &[&[u8]]) {
        *self.watching = true;
        self.before();
        self.head(1 + keys.len());
        self.argument(b"WATCH");
        keys.iter().for_each(|key| self.argument(key));
    }

    /// UNWATCH.
    pub fn unwatch(&mut self) {
        *self.watching = false;
        self.expect();
        self.out.extend_from_slice(b"*1\r\n$7\r\nUNWATCH\r\n");
    }

    /// MULTI.
    pub fn multi(&mut self) {
        self.before();
        self.in_multi = true;
        self.out.extend_from_slice(b"*1\r\n$5\r\nMULTI\r\n");
    }

    /// EXEC.
    pub fn exec(&mut self) {
        self.in_multi = false;
        (self.changes, self.executes) = (true, true);
        *self.watching = false;
        self.expect();
        self.out.extend_from_slice(b"*1\r\n$4\r\nEXEC\r\n");
    }

    /// Begins a command of so many arguments, which follow as [`Ask::argument`]s.
    pub fn begin(&mut self, args: usize, changes: bool) {
        self.changes |= changes && !self.in_multi;
        self.before();
        self.head(args);
    }

    /// The next argument of a command.
    #[inline]
    pub fn argument(&mut self, arg: &[u8]) {
        self.out.push(b'$');
        write_i64(self.out, arg.len() as i64);
        self.out.extend_from_slice(b"\r\n");
        self.out.extend_from_slice(arg);
        self.out.extend_from_slice(b"\r\n");
    }

    /// Forgets what the transaction before has watched on this connection, if it has.
    pub(super) fn clear_the_way(&mut self) {
        if std::mem::take(self.watching) {
            self.expects.push_back(Expect::Way(self.lane));
            self.out.extend_from_slice(b"*1\r\n$7\r\nUNWATCH\r\n");
        }
    }

    fn head(&mut self, args: usize) {
        self.out.push(b'*');
        write_i64(self.out, args as i64);
        self.out.extend_from_slice(b"\r\n");
    }

    /// ASKING counts for one command, and before MULTI for the whole transaction.
    fn before(&mut self) {
        if self.asking && !self.in_multi {
            self.expects.push_back(Expect::Way(self.lane));
            self.out.extend_from_slice(b"*1\r\n$6\r\nASKING\r\n");
        }
        self.expect();
    }

    fn expect(&mut self) {
        self.expects.push_back(Expect::Lane(self.lane));
        self.replies += 1;
    }
}

/// Hears a round of `MULTI … EXEC`: what EXEC gave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Exec {
    /// Not heard of yet, or something else than an array or nil.
    #[default]
    Strange,
    /// Nil: a watched key was touched.
    Nil,
    /// The array, and what in it is an error, if anything is.
    Ran(Option<String>),
}

impl Exec {
    /// Reads EXEC's reply, which should have `len` elements; hands over each of them.
    pub fn of(reply: Reply<'_>, len: usize, mut each: impl FnMut(usize, Reply<'_>)) -> Self {
        match reply {
            Reply::Null => Self::Nil,
            Reply::Array(elements) => {
                let mut wrong = (elements.len() != len as u64)
                    .then(|| format!("EXEC of {len} commands answered {}", elements.len()));
                for (i, element) in elements.enumerate() {
                    if let Reply::Error(text) = element {
                        wrong.get_or_insert_with(|| super::keys::shown(text));
                    }
                    each(i, element);
                }
                Self::Ran(wrong)
            }
            other => Self::Ran(Some(format!("EXEC answered {other:?}"))),
        }
    }

    /// What this means for the attempt.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Strange => Outcome::Malformed("no reply of EXEC".to_owned()),
            Self::Nil => Outcome::Aborted,
            Self::Ran(None) => Outcome::Committed,
            Self::Ran(Some(wrong)) => Outcome::Malformed(wrong.clone()),
        }
    }
}
