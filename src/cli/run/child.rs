//! The child process: started in our own process group, sent our signals, waited for.
//!
//! A terminal sends Ctrl-C to the whole foreground group, so the child has it already; a signal
//! from elsewhere (`kill`, a CI runner) reaches this process only and is forwarded.

use super::super::Failure;
use super::start_failure::cannot_start;
use crate::server;
use crate::state::ServerState;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use std::ffi::{OsStr, OsString};
use std::io::{self, PipeReader, PipeWriter, Read};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::signal::unix::{Signal as Stream, SignalKind, signal};
use tokio::sync::oneshot;

/// How long a script may go on after the end of the command.
const SCRIPT_GRACE: Duration = Duration::from_secs(1);

/// Signals that are forwarded.
pub(super) struct Signals {
    interrupt: Stream,
    quit: Stream,
    terminate: Stream,
    hangup: Stream,
}

/// Returns the signals that are forwarded.
pub(super) fn kinds_of_signals() -> [SignalKind; 4] {
    [SignalKind::interrupt(), SignalKind::quit(), SignalKind::terminate(), SignalKind::hangup()]
}

impl Signals {
    /// Installs the handlers.
    pub(super) fn catch() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.interrupt.recv() => Signal::INT,
            _ = self.quit.recv() => Signal::QUIT,
            _ = self.terminate.recv() => Signal::TERM,
            _ = self.hangup.recv() => Signal::HUP,
        }
    }
}

/// The command, once it is started.
pub(super) struct Started {
    pub(super) process: Child,
    /// What the guard writes if it cannot become the command: exit code, message.
    errors: PipeReader,
}

/// Starts the command. On Linux it does not outlive this thread.
pub(super) fn start(
    words: &[OsString],
    variables: &[(String, String)],
) -> Result<Started, Failure> {
    let no_pipe = |error| Failure::machine(format!("cannot make a pipe: {error}"));
    let (errors, writer) = io::pipe().map_err(no_pipe)?;
    let variables = variables.iter().map(|(name, value)| (name, value));
    let spawned = command(words, &writer)?.envs(variables).spawn();
    let name = words.first().map_or(OsStr::new(""), OsString::as_os_str);
    Ok(Started { process: spawned.map_err(|error| cannot_start(name, &error))?, errors })
}

#[cfg(target_os = "linux")]
fn command(words: &[OsString], errors: &PipeWriter) -> Result<Command, Failure> {
    Ok(super::guard::command(words, errors))
}

#[cfg(not(target_os = "linux"))]
fn command(words: &[OsString], _: &PipeWriter) -> Result<Command, Failure> {
    let (name, arguments) = words.split_first().ok_or_else(|| Failure::usage("no command"))?;
    let mut command = Command::new(name);
    command.args(arguments);
    Ok(command)
}

impl Started {
    /// Returns why the guard, which has ended, could not become the command, if so.
    pub(super) fn failure(&mut self) -> Option<Failure> {
        let mut bytes = Vec::new();
        // The guard was the only writer: the command never has the pipe.
        self.errors.read_to_end(&mut bytes).ok()?;
        let (&code, message) = bytes.split_first()?;
        Some(Failure { message: String::from_utf8_lossy(message).into_owned(), code })
    }
}

/// Waits for the child to end, and forwards signals until then. Scripts that go on without the child
/// end soon after it.
pub(super) async fn wait(
    child: &mut Child,
    signals: &mut Signals,
    server: &Arc<ServerState>,
) -> io::Result<ExitStatus> {
    let server = Arc::downgrade(server);
    let pid = Pid::from_child(child);
    let (sender, mut ended) = oneshot::channel();
    std::thread::Builder::new().name("slotway-run".to_owned()).spawn(move || {
        // Without reaping it: until then its process id cannot be reused, so that no signal reaches
        // another process.
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        while let Err(rustix::io::Errno::INTR) = waitid(WaitId::Pid(pid), look) {}
        // The receiver is gone if the wait below was cancelled.
        let _ = sender.send(());
        end_scripts_later(&server);
    })?;
    loop {
        tokio::select! {
            _ = &mut ended => return child.wait(),
            signal = signals.next() => {
                let is_keyboard = signal == Signal::INT || signal == Signal::QUIT;
                if !(is_keyboard && is_in_foreground()) {
                    // Fails if the child has just ended.
                    let _ = kill_process(pid, signal);
                }
            }
        }
    }
}

/// Ends scripts that run for longer than [`SCRIPT_GRACE`], until the server is gone.
#[expect(clippy::disallowed_methods, reason = "a thread that nothing waits for")]
fn end_scripts_later(server: &Weak<ServerState>) {
    loop {
        let before = server::now();
        std::thread::sleep(SCRIPT_GRACE);
        match server.upgrade() {
            Some(server) => server.running_scripts.end_older(before),
            None => return,
        }
    }
}

/// Whether the terminal sends Ctrl-C to our process group, and so to the child.
fn is_in_foreground() -> bool {
    let own = rustix::process::getpgrp();
    let foreground = [
        rustix::termios::tcgetpgrp(io::stdin()).ok(),
        rustix::termios::tcgetpgrp(io::stdout()).ok(),
        rustix::termios::tcgetpgrp(io::stderr()).ok(),
    ];
    foreground.contains(&Some(own))
}

/// The exit code of an ended command, as in a shell.
pub(super) fn code(status: ExitStatus) -> u8 {
    let signalled = || status.signal().map(|signal| 128 + signal);
    let code = status.code().or_else(signalled).unwrap_or(1);
    // A code out of range must not become success.
    u8::try_from(code).unwrap_or(1)
}
