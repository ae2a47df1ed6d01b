//! A shard: an engine behind a lock, and the execution of units on it.
//!
//! ```text
//! lock ─ hold ─► engine ─ execute(unit) ─► call, call … ─► replies ─► blocked clients are served
//!   └ taken: the unit goes into the queue, and its connection awaits the outcome
//! ```

mod context;
mod outcome;
mod waiters;
mod tracking;
mod slot_use;
mod engine;
mod call;
mod script_calls;
mod blocked;
mod executor;
mod running_script;
mod script;
mod execute;
mod lock;
mod remote;

pub(crate) use context::{BatchContext, Turn, TurnNumbers};
pub(crate) use engine::Engine;
pub(crate) use execute::execute;
pub(crate) use executor::{Executor, InjectedReply};
pub(crate) use lock::{Hold, Look, OUTPUT_LEN_MAX, Shard};
pub use outcome::Outcome;
pub use outcome::WaitFor;
pub(crate) use outcome::{Blocked, Pending, Served};
pub(crate) use remote::RemoteShard;
pub(crate) use script::run as run_script;
pub(crate) use slot_use::count_request;
pub(crate) use waiters::Serve;
