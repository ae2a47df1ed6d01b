//! A cluster inside this process, for a run that names no target.

use super::failure::Failure;
use super::plan::Target;
use super::target::Layout;
use crate::server::{self, Wanted};
use crate::topology::Plan;
use std::net::SocketAddr;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

/// A running cluster; dropping it stops it.
pub(crate) struct LocalCluster {
    /// The address of its router or, with `--cluster`, of its first node.
    pub address: SocketAddr,
    /// The owners of its slots.
    pub layout: Layout,
    /// The number of its threads.
    pub threads: usize,
    stop: Option<oneshot::Sender<()>>,
    serving: Option<tokio::task::JoinHandle<()>>,
    runtime: Option<Runtime>,
}

impl LocalCluster {
    /// Starts a cluster on free ports, with the target's shards and threads (0: one per processor),
    /// that accepts `connections`: at one router port, or with `--cluster` at a node port per
    /// shard.
    ///
    /// # Errors
    /// The machine does not allow it.
    pub(crate) fn start(target: &Target, connections: usize, seed: u64) -> Result<Self, Failure> {
        let shards = target.shards;
        let threads = match target.server_threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            threads => threads,
        };
        let cannot = |what: &str, error: &dyn std::fmt::Display| {
            Failure::machine(format!("cannot start a cluster in this process: {what}: {error}"))
        };
        let (nodes, router) = if target.cluster { (Some(0), None) } else { (None, Some(0)) };
        let wanted = Wanted {
            plan: Plan::of_masters(shards, seed),
            router,
            nodes,
            threads,
            settings: vec![("maxclients", (connections + 64).to_string())],
            ..Wanted::default()
        };
        let (router, bound) = wanted.open().map_err(|error| cannot("ports", &error))?;
        let address = bound[0].address;
        let layout = Layout::of_topology(&router.server.topology);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(threads)
            .thread_name("slotway")
            .enable_all()
            .build()
            .map_err(|error| cannot("threads", &error))?;
        let (stop, stopped) = oneshot::channel::<()>();
        let stop_requested = async move {
            // An error is a dropped sender, which means the same.
            let _stopped = stopped.await;
        };
        let serving = runtime.spawn(server::serve(router, bound, stop_requested));
        Ok(Self {
            address,
            layout,
            threads,
            stop: Some(stop),
            serving: Some(serving),
            runtime: Some(runtime),
        })
    }
}

impl Drop for LocalCluster {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            // An error means that the server has ended already.
            let _gone = stop.send(());
        }
        if let (Some(runtime), Some(serving)) = (self.runtime.take(), self.serving.take()) {
            let _ended = runtime.block_on(serving);
            runtime.shutdown_background();
        }
    }
}
