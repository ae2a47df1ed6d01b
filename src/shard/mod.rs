//! A shard: an engine behind a lock, and what runs on it.
//!
//! ```text
//! lock ─ hold ─► engine ─ execute(unit) ─► call, call … ─► replies ─► blocked clients are served
//!   └ taken: the unit goes into the queue, and its connection awaits what becomes of it
//! ```

mod context;
mod outcome;
mod waiters;
mod engine;
mod blocked;
mod execute;
mod lock;
mod remote;

pub use context::{BatchContext, Turn};
pub use engine::Engine;
pub use execute::{Executor, InjectedReply, Running, execute};
pub use lock::{Hold, OUTPUT_LEN_MAX, Shard};
pub use outcome::{Blocked, Outcome, Pending, Served, WaitFor};
pub use remote::RemoteShard;
pub use waiters::Serve;
