//! The command: begun in our own process group, told of our signals, waited for.
//!
//! A terminal sends Ctrl-C to everybody in the foreground, so the command has it already; what comes
//! from elsewhere (`kill`, a CI runner) comes to us alone and is passed on.

use super::super::Failure;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use std::ffi::OsString;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus};
use tokio::signal::unix::{Signal as Stream, SignalKind, signal};
use tokio::sync::oneshot;

/// Exit code where the command cannot be started.
const EXIT_UNFIT: u8 = 126;
/// Exit code where there is no such command.
const EXIT_MISSING: u8 = 127;

/// Signals that are passed on.
pub(super) struct Signals {
    interrupt: Stream,
    quit: Stream,
    terminate: Stream,
    hangup: Stream,
}

impl Signals {
    /// Catches them from now on.
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

/// Starts the command.
pub(super) fn start(words: &[OsString], variables: &[(String, String)]) -> Result<Child, Failure> {
    let (name, arguments) = words.split_first().ok_or_else(|| Failure::usage("no command"))?;
    let variables = variables.iter().map(|(name, value)| (name, value));
    Command::new(name).args(arguments).envs(variables).spawn().map_err(|error| Failure {
        message: format!("cannot start {}: {error}", name.display()),
        code: match error.kind() {
            io::ErrorKind::NotFound => EXIT_MISSING,
            _ => EXIT_UNFIT,
        },
    })
}

/// Waits for its end, passing signals on until then.
pub(super) async fn wait(child: &mut Child, signals: &mut Signals) -> io::Result<ExitStatus> {
    let pid = Pid::from_child(child);
    let (say, mut ended) = oneshot::channel();
    std::thread::Builder::new().name("slotway-run".to_owned()).spawn(move || {
        // Looks, and leaves it there: until it is taken away its number is nobody else's, so that no
        // signal goes astray.
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        while let Err(rustix::io::Errno::INTR) = waitid(WaitId::Pid(pid), look) {}
        // Whoever waited has given up.
        let _ = say.send(());
    })?;
    loop {
        tokio::select! {
            _ = &mut ended => return child.wait(),
            signal = signals.next() => {
                let is_keyboard = signal == Signal::INT || signal == Signal::QUIT;
                if !(is_keyboard && is_in_foreground()) {
                    // It may have ended at this very moment.
                    let _ = kill_process(pid, signal);
                }
            }
        }
    }
}

/// Whether a terminal's keys reach us, and with us the command.
fn is_in_foreground() -> bool {
    let own = rustix::process::getpgrp();
    let foreground = [
        rustix::termios::tcgetpgrp(io::stdin()).ok(),
        rustix::termios::tcgetpgrp(io::stdout()).ok(),
        rustix::termios::tcgetpgrp(io::stderr()).ok(),
    ];
    foreground.contains(&Some(own))
}

/// The exit code of a command that has ended, as a shell tells it.
pub(super) fn code(status: ExitStatus) -> u8 {
    let signalled = || status.signal().map(|signal| 128 + signal);
    let code = status.code().or_else(signalled).unwrap_or(1);
    // What does not fit is no success.
    u8::try_from(code).unwrap_or(1)
}
