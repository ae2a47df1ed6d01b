//! Our server as a child process: the built binary, not a library call, so that a transcript also
//! covers the command line, the listeners and the ready line.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

/// A running `slotway serve`; killed when dropped.
pub(crate) struct Ours {
    child: Child,
    /// The router port.
    pub(crate) address: SocketAddr,
}

impl Ours {
    /// Starts the server on a port of its own choosing and returns once it says that it is ready.
    pub(crate) fn start(options: &[String]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_slotway"))
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
}

impl Drop for Ours {
    fn drop(&mut self) {
        // Either fails only when the process is already gone.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
