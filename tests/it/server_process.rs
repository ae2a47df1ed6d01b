//! Slotway as a child process: the built binary, not a library call, so that a transcript also covers
//! the command line, the listeners and the ready line.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use crate::env::poll;
use crate::nodes::{Place, Shape, Stage};
use crate::wire::{Client, Reply};

/// A running `slotway serve`; killed when dropped.
pub(crate) struct ServerProcess {
    child: Child,
    /// The router port.
    pub(crate) address: SocketAddr,
    /// The node ports; none while they are off.
    nodes: Vec<Node>,
}

/// A node port of the ready line: masters in the order of their slots, then replicas, then spares.
#[derive(serde::Deserialize)]
struct Node {
    address: SocketAddr,
    id: String,
}

/// Four shards behind one router port.
const ALONE: [&str; 4] = ["--node-ports", "off", "--shards", "4"];

#[derive(serde::Deserialize)]
struct Ready {
    router: SocketAddr,
    nodes: Vec<Node>,
}

impl ServerProcess {
    /// Starts the server on a free port and returns once it is ready.
    pub(crate) fn start(options: &[String]) -> Self {
        Self::launch(&mut Command::new(env!("CARGO_BIN_EXE_slotway")), &ALONE, options)
    }

    /// As [`ServerProcess::start`], with a cluster of node ports.
    pub(crate) fn start_cluster(shape: Shape, options: &[String]) -> (Self, Stage) {
        let Shape { masters, replicas, spares } = shape;
        let cluster = [
            ("--node-ports", 0),
            ("--shards", masters),
            ("--replicas", replicas),
            ("--spare-nodes", spares),
        ];
        let words = cluster.map(|(option, count)| [option.to_owned(), count.to_string()]);
        let words: Vec<_> = words.iter().flatten().map(String::as_str).collect();
        let server =
            Self::launch(&mut Command::new(env!("CARGO_BIN_EXE_slotway")), &words, options);
        let names = shape.names();
        assert_eq!(server.nodes.len(), names.len(), "the ready line lists {names:?}");
        let places = names.into_iter().zip(&server.nodes).map(|(name, node)| Place {
            name,
            address: node.address,
            id: node.id.clone(),
        });
        let stage = Stage::cluster(Some(server.address), places.collect());
        (server, stage)
    }

    /// As [`ServerProcess::start`], to measure memory: without huge pages only touched memory is resident,
    /// not the two megabytes around it.
    pub(crate) fn start_with_small_pages(options: &[String]) -> Self {
        Self::launch(
            Command::new(env!("CARGO_BIN_EXE_slotway")).env("MIMALLOC_ALLOW_THP", "0"),
            &ALONE,
            options,
        )
    }

    /// Lowers the number of files that the server may have open.
    #[cfg(target_os = "linux")]
    pub(crate) fn limit_files(&self, files_max: u64) {
        use rustix::process::{Pid, Resource, Rlimit, prlimit};
        let limit = Rlimit { current: Some(files_max), maximum: Some(files_max) };
        prlimit(Some(Pid::from_child(&self.child)), Resource::Nofile, limit)
            .expect("a child of this process");
    }

    fn launch(command: &mut Command, nodes: &[&str], options: &[String]) -> Self {
        let mut child = command
            .args(["serve", "--port", "0", "--output", "json"])
            .args(nodes)
            .args(options)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the built slotway starts");
        let stdout = child.stdout.take().expect("stdout is piped");
        let mut line = String::new();
        // A server that dies before it is ready closes its stdout, so this read always ends.
        BufReader::new(stdout).read_line(&mut line).expect("stdout is readable");
        // Made before the line is parsed, so that the child ends if the test fails here.
        let mut server =
            Self { child, address: SocketAddr::from(([127, 0, 0, 1], 0)), nodes: vec![] };
        match serde_json::from_str::<Ready>(&line) {
            Ok(ready) => (server.address, server.nodes) = (ready.router, ready.nodes),
            Err(error) => {
                panic!("`slotway serve {nodes:?} {options:?}` is ready with {line:?}: {error}")
            }
        }
        server
    }

    /// A new connection.
    pub(crate) fn client(&self) -> Client {
        Client::connect(self.address).expect("the server accepts connections")
    }

    /// Waits until the server has ended by itself; returns its exit code.
    pub(crate) fn exit_code(&mut self) -> Option<i32> {
        poll(|| self.child.try_wait().expect("a child of this process"))?.code()
    }

    /// The resident memory of the server in bytes; always 0 where the system does not have it.
    pub(crate) fn resident(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))
            .unwrap_or_default();
        let kilobytes =
            status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.strip_suffix("kB"));
        kilobytes.map_or(0, |kb| 1024 * kb.trim().parse::<usize>().expect("a number of kB"))
    }
}

/// The number of clients that the server of `observer` lists.
pub(crate) fn clients(observer: &mut Client) -> usize {
    match observer.ask(&["CLIENT", "LIST"]) {
        Reply::Bulk(list) => list.iter().filter(|&&byte| byte == b'\n').count(),
        other => panic!("CLIENT LIST answered {other:?}"),
    }
}

/// A number in INFO.
pub(crate) fn info(observer: &mut Client, field: &str) -> u64 {
    let Reply::Bulk(lines) = observer.ask(&["INFO"]) else { panic!("INFO is a bulk") };
    let lines = String::from_utf8(lines).expect("INFO is text");
    let value = lines.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    value
        .and_then(|value| value.parse().ok())
        .unwrap_or_else(|| panic!("no number {field} in {lines}"))
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        // Either fails only when the process is already gone.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
