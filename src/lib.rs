//! Slotway: a cluster-aware hash-slot transaction router over in-process Redis shards.
//!
//! As a library it is a Redis Cluster for tests, [`TestCluster`], and the arithmetic of slots and
//! hashtags, [`slot`]; with the feature `check` also the offline check of recorded commands,
//! `OfflineCheck`. Without default features it brings neither the command line nor the load
//! generator along:
//!
//! ```toml
//! [dev-dependencies]
//! slotway = { version = "0.1", default-features = false }
//! ```
//!
//! The modules stand in the order of dependence: each uses only those above it.

#![cfg_attr(
    not(feature = "cli"),
    allow(
        dead_code,
        unused_imports,
        unreachable_pub,
        reason = "the program uses more of the library than a test suite does"
    )
)]

pub mod slot;
mod text;
mod dialect;
mod ledger;
mod resp;
mod rdb;
mod keyspace;
mod topology;
mod report;
mod faults;
mod replication;
mod script;
mod state;
mod command;
mod session;
mod shard;
mod router;
mod server;
mod test_cluster;
#[cfg(feature = "bench")]
mod load;
#[cfg(feature = "check")]
mod check;
#[cfg(feature = "cli")]
mod cli;

#[cfg(feature = "check")]
pub use check::{CheckReport, OfflineCheck};
pub use dialect::Dialect;
pub use test_cluster::{TestCluster, TestClusterBuilder, TestClusterError, TestNode};
pub use topology::{Announce, AnnouncedHost};

/// For this project's own program, tests and fuzz target. No promise is made about anything in here.
#[doc(hidden)]
pub mod internals {
    #[cfg(feature = "cli")]
    pub use crate::cli::main;

    #[cfg(feature = "check")]
    pub mod check {
        pub use crate::check::tokenizer::Words;
        pub use crate::check::{Replay, SeenCommand};
        pub use crate::ledger::{Ledger, Spot};
    }
    pub mod command {
        pub use crate::command::{
            Arity, Begin, Find, Immediate, Keys, Spec, access, all, flag, foreign,
        };
        pub use crate::dialect::{Servers, servers};
    }
    pub mod resp {
        pub use crate::resp::{Decoded, Decoder, Limits, Sink, Span};
    }
    pub mod router {
        pub use crate::router::{Input, Router, Scratch, TurnIo};
    }
    pub mod session {
        pub use crate::dialect::Dialect;
        pub use crate::session::Session;
    }
    pub mod shard {
        pub use crate::shard::{Outcome, WaitFor};
    }
    pub mod state {
        pub use crate::state::settings::{Settings, StartupSettings};
        pub use crate::state::{ServerConfig, ServerState};
    }
    pub mod topology {
        pub use crate::topology::{Plan, Port, Topology};
    }
    #[cfg(feature = "bench")]
    pub mod load {
        pub use crate::load::output::{Results, text};
        pub use crate::load::report::{Ending, KeysEnding, Report, Verdict};
        pub use crate::load::{Cause, Progress, Url, compare, run, sweep};
        pub mod plan {
            pub use crate::load::plan::*;
        }
    }
}
