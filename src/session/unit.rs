//! A unit of work: what runs under one hold of the shards that it touches, with nothing in between.
//!
//! ```text
//! Command    one command that stands alone            GET a
//! Blocking   one command that may block its client    BLPOP a b 0
//! Watch      one WATCH: the guard is filed            WATCH a
//! Exec       a whole transaction                      MULTI … EXEC
//! ```
//!
//! A [`Unit`] borrows its arguments from the connection's buffer; an [`OwnedUnit`] is its copy for a
//! shard's queue, or for a connection that has to wait before it continues.

use super::Transaction;
use crate::command::{Invocation, Queue};
use crate::keyspace::Guard;
use crate::resp::{Proto, Sink};
use crate::slot::Slot;
use std::sync::Arc;

/// A unit of work.
#[derive(Debug)]
pub enum Unit<'a> {
    /// One command that stands alone.
    Command(&'a Invocation<'a>),
    /// One command that may block its client until a key has a value.
    Blocking(&'a Invocation<'a>),
    /// One WATCH, with the guard to be filed under its keys.
    Watch(&'a Invocation<'a>, Guard),
    /// A transaction.
    Exec(Box<Transaction>),
}

/// Where the keys of a unit may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// In this slot of database 0, or there are no keys.
    Slot(Option<Slot>),
    /// In several slots of database 0, where that is allowed.
    Slots,
    /// In another database, which has one shard and no slots.
    Database(u32),
}

/// A unit that owns its arguments.
#[derive(Debug)]
pub enum OwnedUnit {
    /// Commands that each stand alone: never empty until they have run.
    Commands(Queue),
    /// One command that may block its client.
    Blocking(Arc<Queue>),
    /// One WATCH, with its guard.
    Watch(Queue, Guard),
    /// A transaction.
    Exec(Box<Transaction>),
}

impl Unit<'_> {
    /// Returns the copy of this unit for a queue.
    #[must_use]
    pub fn into_owned(self) -> OwnedUnit {
        match self {
            Self::Command(invocation) => OwnedUnit::Commands(Queue::of(invocation)),
            Self::Blocking(invocation) => OwnedUnit::Blocking(Arc::new(Queue::of(invocation))),
            Self::Watch(invocation, guard) => OwnedUnit::Watch(Queue::of(invocation), guard),
            Self::Exec(transaction) => OwnedUnit::Exec(transaction),
        }
    }
}

impl OwnedUnit {
    /// Returns the slot that it uses; for several commands, that of the first.
    #[must_use]
    pub fn slot(&self) -> Option<Slot> {
        match self {
            Self::Exec(transaction) => transaction.slot,
            _ => self.first().and_then(|first| first.slot()),
        }
    }

    /// Returns where its keys may be, for a client that has chosen this database.
    #[must_use]
    pub fn scope(&self, database: u32) -> Scope {
        match self {
            Self::Exec(transaction) if transaction.is_multi_slot => Scope::Slots,
            _ if database != 0 => Scope::Database(database),
            Self::Blocking(_) if self.first().is_some_and(|first| first.crosses()) => Scope::Slots,
            _ => Scope::Slot(self.slot()),
        }
    }

    /// Returns the bytes for a server that runs this unit elsewhere: RESP arrays, one for each
    /// command; a transaction stands between MULTI and EXEC. All replies count, except those of
    /// MULTI and of the queued commands.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        match self {
            Self::Commands(queue) | Self::Watch(queue, _) => encode_all(queue, &mut bytes),
            Self::Blocking(queue) => encode_all(queue, &mut bytes),
            Self::Exec(transaction) => {
                encode(&[b"MULTI"], &mut bytes);
                encode_all(&transaction.queue, &mut bytes);
                encode(&[b"EXEC"], &mut bytes);
            }
        }
        bytes
    }

    fn first(&self) -> Option<Invocation<'_>> {
        match self {
            Self::Commands(queue) | Self::Watch(queue, _) => queue.iter().next(),
            Self::Blocking(queue) => queue.iter().next(),
            Self::Exec(transaction) => transaction.queue.iter().next(),
        }
    }
}

fn encode_all(queue: &Queue, bytes: &mut Vec<u8>) {
    for invocation in queue.iter() {
        encode(&invocation.args.from(0).collect::<Vec<_>>(), bytes);
    }
}

/// Appends one request as an array of bulk strings.
fn encode(args: &[&[u8]], bytes: &mut Vec<u8>) {
    let mut sink = Sink::new(bytes, Proto::Resp2);
    sink.array(args.len());
    args.iter().for_each(|arg| sink.bulk(arg));
}
