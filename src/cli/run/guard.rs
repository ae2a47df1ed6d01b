//! The guard: this program started again in order to become the command. It first asks the kernel
//! to kill it when its parent dies, which stays in force once it has become the command.
//!
//! ```text
//! slotway run ─ spawn ─► slotway __guard: PR_SET_PDEATHSIG ─ exec ─► the command
//!      ▲                                                      │ fails
//!      └───────── pipe: exit code, message ◄──────────────────┘
//! ```
//!
//! It is a program of its own because between fork and exec only unsafe code can run.
//! Source: prctl(2), PR_SET_PDEATHSIG.

use super::super::Failure;
use super::start_failure::cannot_start;
use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};
use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{PipeWriter, Write};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// The running program, even if its file has been replaced since it started.
const OWN_PROGRAM: &str = "/proc/self/exe";

/// The arguments of the guard.
#[derive(clap::Args, Debug)]
pub(in crate::cli) struct Options {
    /// The process that it must not outlive
    parent: i32,
    /// The number of that process's descriptor to which errors are written
    errors: i32,
    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<OsString>,
}

/// The command line of a guard that becomes `words`, or writes to `errors` why it cannot. The kernel
/// kills the command when the thread that starts the guard ends.
pub(super) fn command(words: &[OsString], errors: &PipeWriter) -> Command {
    let mut command = Command::new(OWN_PROGRAM);
    let numbers = [std::process::id().to_string(), errors.as_raw_fd().to_string()];
    command.arg("__guard").args(numbers).arg("--").args(words);
    command
}

/// Becomes the command; returns only if it cannot.
pub(in crate::cli) fn run(options: &Options) -> Failure {
    // Opened by name: it is closed when this process becomes the command.
    let errors = format!("/proc/{}/fd/{}", options.parent, options.errors);
    let errors = OpenOptions::new().write(true).open(errors);
    let failure = become_command(options);
    let bytes = [&[failure.code], failure.message.as_bytes()].concat();
    match errors.and_then(|mut errors| errors.write_all(&bytes)) {
        Ok(()) => Failure { message: String::new(), ..failure },
        Err(_) => failure,
    }
}

fn become_command(options: &Options) -> Failure {
    if let Err(error) = set_parent_process_death_signal(Some(Signal::KILL)) {
        return Failure::machine(format!("cannot bind the command to slotway: {error}"));
    }
    // It may have died before the call above.
    if getppid() != Pid::from_raw(options.parent) {
        return Failure::machine("slotway is gone");
    }
    let Some((name, arguments)) = options.command.split_first() else {
        return Failure::usage("no command");
    };
    cannot_start(name, &Command::new(name).args(arguments).exec())
}
