//! Our server as a child process: the built binary, not a library call, so that a transcript also
//! covers the command line, the listeners and the ready line.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use crate::rim::poll;
use crate::wire::{Client, Reply};

/// A running `slotway serve`; killed when dropped.
pub(crate) struct Ours {
    child: Child,
    /// The router port.
    pub(crate) address: SocketAddr,
}

impl Ours {
    /// Starts the server on a port of its own choosing and returns once it says that it is ready.
    pub(crate) fn start(options: &[String]) -> Self {
        Self::launch(&mut Command::new(env!("CARGO_BIN_EXE_slotway")), options)
    }

    /// As [`Ours::start`], where memory is to be measured: without huge pages what is resident is
    /// what was touched, and not the two megabytes around it.
    pub(crate) fn start_with_small_pages(options: &[String]) -> Self {
        Self::launch(
            Command::new(env!("CARGO_BIN_EXE_slotway")).env("MIMALLOC_ALLOW_THP", "0"),
            options,
        )
    }

    /// Lowers the number of files that the server may have open.
    #[cfg(target_os = "linux")]
    pub(crate) fn limit_files(&self, files_max: u64) {
        use rustix::process::{Pid, Resource, Rlimit, prlimit};
        let limit = Rlimit { current: Some(files_max), maximum: Some(files_max) };
        prlimit(Some(Pid::from_child(&self.child)), Resource::Nofile, limit)
            .expect("a child of ours");
    }

    fn launch(command: &mut Command, options: &[String]) -> Self {
        let mut child = command
            .args("serve --port 0 --node-ports off --shards 4 --output json".split(' '))
            .args(options)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the built slotway starts");
        let stdout = child.stdout.take().expect("stdout is piped");
        let mut line = String::new();
        // A server that dies before it is ready closes its stdout, so this read always ends.
        BufReader::new(stdout).read_line(&mut line).expect("stdout is readable");
        let mut ours = Self { child, address: SocketAddr::from(([127, 0, 0, 1], 0)) };
        let address = serde_json::from_str::<serde_json::Value>(&line)
            .ok()
            .and_then(|ready| ready["router"].as_str()?.parse().ok());
        match address {
            Some(address) => ours.address = address,
            None => panic!("no ready line from `slotway serve {options:?}`, but {line:?}"),
        }
        ours
    }

    /// A new connection.
    pub(crate) fn client(&self) -> Client {
        Client::connect(self.address).expect("the server accepts connections")
    }

    /// Waits until the server has ended by itself; gives its exit code.
    pub(crate) fn exit_code(&mut self) -> Option<i32> {
        poll(|| self.child.try_wait().expect("a child of ours"))?.code()
    }

    /// The bytes of memory that the server has resident; 0 where the system does not tell, so that
    /// nothing has grown there.
    pub(crate) fn resident(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))
            .unwrap_or_default();
        let kilobytes =
            status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.strip_suffix("kB"));
        kilobytes.map_or(0, |kb| 1024 * kb.trim().parse::<usize>().expect("a number of kB"))
    }
}

/// How many clients the server of `observer` lists.
pub(crate) fn clients(observer: &mut Client) -> usize {
    match observer.ask(&["CLIENT", "LIST"]) {
        Reply::Bulk(list) => list.iter().filter(|&&byte| byte == b'\n').count(),
        other => panic!("CLIENT LIST answered {other:?}"),
    }
}

/// A number in what INFO tells.
pub(crate) fn info(observer: &mut Client, field: &str) -> u64 {
    let Reply::Bulk(told) = observer.ask(&["INFO"]) else { panic!("INFO is a bulk") };
    let told = String::from_utf8(told).expect("INFO is text");
    let value = told.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    value
        .and_then(|value| value.parse().ok())
        .unwrap_or_else(|| panic!("no number {field} in {told}"))
}

impl Drop for Ours {
    fn drop(&mut self) {
        // Either fails only when the process is already gone.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
