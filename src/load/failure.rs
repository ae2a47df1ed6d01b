//! The errors of a run: a message that says what to do, and an exit code for scripts.

use super::keys::shown;
use std::fmt;

/// Where the cause of a failure is. Each has an exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The command line or the workload file is wrong.
    Usage,
    /// The target cannot be reached, refused a request, or was lost during the run.
    Target,
    /// This machine does not allow it (files, threads, ports).
    Machine,
}

impl Cause {
    /// The program's exit code.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Usage | Self::Target => EXIT_FAILED,
            Self::Machine => 1,
        }
    }
}

/// Exit code of a run whose command line is wrong, whose target failed, or that proves nothing.
pub(crate) const EXIT_FAILED: u8 = 2;
/// Exit code of a run that broke an invariant.
pub(crate) const EXIT_BROKEN: u8 = 3;
/// Exit code of a run that exceeded a bound of `--fail-if`.
pub(crate) const EXIT_BOUND: u8 = 4;

/// Why there is no result, or only a partial one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Where the cause is.
    pub cause: Cause,
    /// What is wrong and what to do.
    pub message: String,
}

impl Failure {
    /// A failure because the command line or the workload file is wrong.
    #[must_use]
    pub fn usage(message: impl Into<String>) -> Self {
        Self { cause: Cause::Usage, message: message.into() }
    }

    /// A failure because the target cannot be reached, refused a request, or was lost.
    #[must_use]
    pub fn target(message: impl Into<String>) -> Self {
        Self { cause: Cause::Target, message: message.into() }
    }

    /// A failure because this machine does not allow it.
    #[must_use]
    pub fn machine(message: impl Into<String>) -> Self {
        Self { cause: Cause::Machine, message: message.into() }
    }
}

impl Failure {
    /// The failure that an error reply means if every later request would get the same one.
    #[must_use]
    pub fn of_error_reply(error: &[u8]) -> Option<Self> {
        let text = shown(error);
        Some(Self::target(match text.split(' ').next().unwrap_or_default() {
            "NOAUTH" => {
                format!("the target requires a password ({text}): redis://:password@host:port")
            }
            "NOPERM" => format!("the user has no permission for this command: {text}"),
            "WRONGTYPE" => {
                format!("a key already exists with another type ({text}): choose another --prefix")
            }
            "ERR" if text.starts_with("ERR unknown command") => {
                format!("the target does not have a command of this workload: {text}")
            }
            // Sent in place of the reply to the first request, and then the connection is closed.
            "ERR" if text.starts_with("ERR max number of clients") => {
                format!("the target refused a connection ({text}): use fewer --connections")
            }
            _ => return None,
        }))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}
