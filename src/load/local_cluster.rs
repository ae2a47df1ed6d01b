//! A cluster of our own inside this process, for a load that names no target.

use super::failure::Failure;
use super::plan::Target;
use super::target::Layout;
use crate::server::{self, Wanted};
use crate::topology::Plan;
use std::net::SocketAddr;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

/// A running cluster; it ends when dropped.
pub struct Home {
    /// Where to go in: its router, or with `--cluster` the first of its nodes.
    pub address: SocketAddr,
    /// How it divides the slots.
    pub layout: Layout,
    /// How many threads it has.
    pub threads: usize,
    stop: Option<oneshot::Sender<()>>,
    serving: Option<tokio::task::JoinHandle<()>>,
    runtime: Option<Runtime>,
}

impl Home {
    /// Starts one on free ports, with the target's shards and threads (0: one per processor), for so
    /// many connections: behind one router port, or with `--cluster` a node port for each shard.
    ///
    /// # Errors
    /// The machine does not allow it.
    pub fn start(target: &Target, connections: usize, seed: u64) -> Result<Self, Failure> {
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
        let (router, bound) = wanted.open().map_err(|error| cannot("no port", &error))?;
        let address = bound[0].address;
        let layout = Layout::of_topology(&router.server.topology);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(threads)
            .thread_name("slotway")
            .enable_all()
            .build()
            .map_err(|error| cannot("threads", &error))?;
        let (stop, stopped) = oneshot::channel::<()>();
        let told_to_stop = async move {
            // An error is a sender that was dropped, which says the same.
            let _either_way = stopped.await;
        };
        let serving = runtime.spawn(server::serve(router, bound, told_to_stop));
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

impl Drop for Home {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            // An error is a server that has ended already.
            let _gone = stop.send(());
        }
        if let (Some(runtime), Some(serving)) = (self.runtime.take(), self.serving.take()) {
            let _ended = runtime.block_on(serving);
            runtime.shutdown_background();
        }
    }
}
