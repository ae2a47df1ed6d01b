//! The reference: a real Redis in cluster mode that owns every slot, so that all slot rules hold and
//! nothing ever moves.
//!
//! `SLOTWAY_ORACLE=host:port` names a server that is already running. Its data are flushed.

use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::rim::{poll, setting};
use crate::wire::{Answer, Client, Reply};

/// A reachable reference server; if this test started it, it ends when dropped.
pub(crate) struct Oracle {
    pub(crate) address: SocketAddr,
    process: Option<Process>,
}

struct Process {
    child: Child,
    directory: PathBuf,
}

impl Oracle {
    /// Starts a reference with these options beside the usual ones. `None` if there is no
    /// `redis-server`, or if an external one is named and `options` ask for another.
    pub(crate) fn start(options: &[String]) -> Option<Self> {
        if let Some(named) = setting("SLOTWAY_ORACLE") {
            let address = named.to_socket_addrs().expect("SLOTWAY_ORACLE is host:port").next();
            let address = address.expect("SLOTWAY_ORACLE resolves");
            return options.is_empty().then_some(Self { address, process: None });
        }
        // Another process may take a free port before Redis does: then it exits, and we try again.
        for _ in 0..20 {
            let port = free_port()?;
            let process = Process::spawn(port, options)?;
            let mut oracle =
                Self { address: SocketAddr::from(([127, 0, 0, 1], port)), process: Some(process) };
            if oracle.becomes_ready(options) {
                return Some(oracle);
            }
        }
        panic!("redis-server is installed but does not come up with the options {options:?}");
    }

    /// Waits until the server takes part in a healthy cluster; false if it has exited.
    fn becomes_ready(&mut self, options: &[String]) -> bool {
        let mut assigned = false;
        let ready = poll(|| {
            if self.process.as_mut().is_none_or(|p| !matches!(p.child.try_wait(), Ok(None))) {
                return Some(false);
            }
            let mut client = Client::connect(self.address).ok()?;
            if let Some(at) = options.iter().position(|o| o == "--requirepass") {
                client.call(&["AUTH", &options[at + 1]]);
            }
            if !assigned {
                let answer = client.call(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]);
                assigned = answer == Answer::Reply(Reply::Simple(b"OK".to_vec()));
            }
            let Answer::Reply(Reply::Bulk(info)) = client.call(&["CLUSTER", "INFO"]) else {
                return None;
            };
            String::from_utf8_lossy(&info).contains("cluster_state:ok").then_some(true)
        });
        ready == Some(true)
    }
}

impl Process {
    fn spawn(port: u16, options: &[String]) -> Option<Self> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let directory =
            std::env::temp_dir().join(format!("slotway-oracle-{}-{count}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("the temporary directory is writable");
        let child = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""])
            .args(["--appendonly", "no", "--cluster-enabled", "yes"])
            .args(["--enable-debug-command", "yes", "--dir"])
            .arg(&directory)
            .args(options)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        match child {
            Ok(child) => Some(Self { child, directory }),
            Err(_) => {
                let _ = std::fs::remove_dir_all(&directory);
                None
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Each fails only when its work is already done.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// A port that is free now, and whose cluster bus port (10,000 above) is a port too.
fn free_port() -> Option<u16> {
    (0..1000).find_map(|_| {
        let listener = TcpListener::bind(("127.0.0.1", 0)).ok()?;
        let port = listener.local_addr().ok()?.port();
        let bus = port.checked_add(10_000)?;
        TcpListener::bind(("127.0.0.1", bus)).ok().map(|_| port)
    })
}
