//! The table of commands: a command is one row and one function in one file.
//!
//! ```text
//! refusal      the error that a command replies with
//! args         a request's arguments, borrowed
//! pace         what the runtime does for commands: time, yielding, waking
//! wait         what a blocked command waits for
//! context      what a command function works on: a shard, or the process
//! spec/        the row and its parts: flags, keys, secrets; the compile-time check of all rows
//! invocation   a request whose row is known; queue keeps many of them
//! split        which commands may run slot by slot, and how their replies are merged
//! string list set …    the families: one file or folder each, rows and functions
//! table        all rows, numbered
//! commands     those that a server has, and how a request finds its own
//! foreign/     commands of other servers, that do not run here: their keys alone
//! ```
//!
//! A command function sees its arguments, the keyspace of its shard and a sink for its reply. It
//! never sees a connection, a socket, another shard or the clock.

mod refusal;
mod args;
mod pace;
mod wait;
mod context;
mod spec;
mod invocation;
mod key_slots;
mod judged;
mod queue;
mod split;
// What several families share.
mod container;
mod collection;
mod conditions;
mod random;
// The families.
mod scan;
mod string;
mod bitmap;
mod hyperloglog;
mod hash;
mod list;
mod set;
mod zset;
mod geo;
mod stream;
#[cfg(feature = "json")]
mod json;
mod generic;
mod database;
mod sort;
mod expire;
mod object;
mod dump;
mod transaction;
mod script;
mod function;
mod pubsub;
mod connection;
mod server;
mod introspect;
pub(crate) mod slotway;
pub(crate) mod cluster;
// All of them.
mod table;
mod commands;
// Those of others.
pub mod foreign;

pub(crate) use args::{Args, ArgsFrom};
pub(crate) use connection::label_client;
pub(crate) use context::{Cx, ServerCx};
pub(crate) use invocation::{Invocation, KnownKey};
pub(crate) use key_slots::KeySlots;
pub use pace::Immediate;
pub(crate) use pace::{DeferredWork, Pace, ReplyDelay};
pub(crate) use queue::Queue;
pub(crate) use refusal::{Outcome, Refusal};
pub use spec::Arity;
pub use spec::Begin;
pub use spec::Find;
pub use spec::Keys;
pub use spec::Spec;
pub use spec::access;
pub use spec::flag;

#[cfg(test)]
pub(crate) use commands::resolve;
pub(crate) use commands::{Commands, find, find_in, named};
pub(crate) use spec::{Group, Run, ScriptCommand, Secret, ServerFn, SessionCommand};
pub(crate) use stream::ends_wait_for_stream;
pub use table::all;
pub(crate) use table::{between_databases, numbered};
pub(crate) use wait::{Wait, WaitKind};

use container::{help, too_many_arguments};

/// The longest name of a command or subcommand, in bytes.
pub(crate) const NAME_LEN_MAX: usize = 24;
