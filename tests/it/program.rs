//! The built program as a child process: its output, its end, and signals to it.
//!
//! A thread reads each pipe all the time, so that the program never waits for a full one; a test takes
//! the lines that it wants while the program runs, and the rest at the end.

use crate::env::poll;
use crate::wire::PATIENCE;
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_slotway");

/// The program with these arguments and an empty environment.
pub(crate) fn slotway(line: &str) -> Command {
    let mut command = Command::new(PROGRAM);
    command.env_clear().args(line.split_whitespace());
    command
}

/// The end of a run.
pub(crate) struct End {
    /// `None` if a signal ended it.
    pub(crate) code: Option<i32>,
    /// What was not read before.
    pub(crate) stdout: String,
    /// The same.
    pub(crate) stderr: String,
}

/// A run of the program; killed when dropped.
pub(crate) struct Run {
    child: Child,
    stdout: Lines,
    pub(crate) stderr: Lines,
}

impl Run {
    pub(crate) fn of(command: &mut Command) -> Self {
        Self::spawn(command.stdin(Stdio::null()))
    }

    /// A run that reads these bytes from stdin.
    pub(crate) fn fed(command: &mut Command, stdin: &[u8]) -> Self {
        let mut run = Self::spawn(command.stdin(Stdio::piped()));
        // It may end without having read all of it.
        let _ = run.child.stdin.take().expect("stdin is piped").write_all(stdin);
        run
    }

    fn spawn(command: &mut Command) -> Self {
        let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let stdout = Lines::from(child.stdout.take().expect("stdout is piped"));
        let stderr = Lines::from(child.stderr.take().expect("stderr is piped"));
        Self { child, stdout, stderr }
    }

    /// Its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The ready line. A program that ends instead has an empty one.
    pub(crate) fn ready(&mut self) -> String {
        self.stdout.line()
    }

    /// The ready line of `--output json`.
    pub(crate) fn ready_json(&mut self) -> serde_json::Value {
        let line = self.ready();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("the program runs");
    }

    /// Whether the program has ended.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("a child of this process").is_some()
    }

    /// Waits for the end of the program.
    pub(crate) fn end(mut self) -> End {
        let status = poll(|| self.child.try_wait().expect("a child of this process"));
        let code = status.expect("the program ends").code();
        End { code, stdout: self.stdout.rest(), stderr: self.stderr.rest() }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        // Either fails only when the process is already gone.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the program writes to one pipe, by lines.
pub(crate) struct Lines(Receiver<String>);

impl Lines {
    fn from(pipe: impl Read + Send + 'static) -> Self {
        let (sender, receiver) = channel();
        std::thread::spawn(move || {
            let mut pipe = BufReader::new(pipe);
            loop {
                let mut line = String::new();
                let len = pipe.read_line(&mut line).expect("what is printed is text");
                // The test may have ended.
                if len == 0 || sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self(receiver)
    }

    /// Waits for the next line; an empty one if the program has closed the pipe.
    pub(crate) fn line(&mut self) -> String {
        match self.0.recv_timeout(PATIENCE) {
            Ok(line) => line,
            Err(RecvTimeoutError::Disconnected) => String::new(),
            Err(RecvTimeoutError::Timeout) => panic!("the program writes nothing"),
        }
    }

    /// All that is left, once the pipe is closed.
    fn rest(&mut self) -> String {
        self.0.iter().collect()
    }
}

/// A folder that is removed when dropped.
pub(crate) struct Folder(PathBuf);

impl Folder {
    /// An empty one; no two tests may use the same `name`.
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("slotway-it-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).expect("the temporary directory is writable");
        Self(path)
    }

    /// The path of a file in it.
    pub(crate) fn file(&self, name: &str) -> String {
        self.0.join(name).to_str().expect("the temporary directory has a plain name").to_owned()
    }

    /// The path of a file in it that now has these contents.
    pub(crate) fn written(&self, name: &str, contents: &str) -> String {
        let path = self.file(name);
        fs::write(&path, contents).expect("the temporary directory is writable");
        path
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.0.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // It fails only when the folder is already gone.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A free port; the one 10,000 above, the cluster bus of Redis, is free too.
pub(crate) fn free_port() -> u16 {
    free_ports(1)
}

/// Where ports are looked for: below those that the system gives to connections, of which thousands may
/// linger after they were closed. The bus ports are above, and below those too.
const PORTS: std::ops::Range<u16> = 12_000..22_000;

/// The first of so many free ports in a row, with their bus ports. No two callers get the same ones.
pub(crate) fn free_ports(count: u16) -> u16 {
    static GIVEN: Mutex<Vec<u16>> = Mutex::new(Vec::new());
    let mut given = GIVEN.lock().expect("nothing below panics");
    let mut chance = fastrand::Rng::new();
    let found = (0..1000).find_map(|_| {
        let first = chance.u16(PORTS);
        let last = first.checked_add(count - 1)?;
        let bus = first.checked_add(10_000)?..=last.checked_add(10_000)?;
        let all: Vec<u16> = (first..=last).chain(bus).collect();
        let is_free = |&port: &u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
        let are_free = !all.iter().any(|port| given.contains(port)) && all.iter().all(is_free);
        are_free.then(|| {
            given.extend(all);
            first
        })
    });
    found.expect("a free port")
}
