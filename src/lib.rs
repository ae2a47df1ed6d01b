//! Slotway: a cluster-aware hash-slot transaction router over in-process Redis shards.
//!
//! The modules stand in the order of dependence: each uses only those above it.

pub mod slot;
pub mod text;
pub mod ledger;
pub mod resp;
pub mod rdb;
pub mod keyspace;
pub mod topology;
pub mod report;
pub mod faults;
pub mod replication;
pub mod state;
pub mod command;
pub mod session;
pub mod shard;
pub mod router;
pub mod server;
pub mod test_cluster;
pub mod load;
pub mod check;
pub mod cli;

pub use test_cluster::{TestCluster, TestClusterBuilder, TestClusterError, TestNode};
