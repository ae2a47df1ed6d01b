//! What ends a run without a result, or spoils it: for its reader to mend, and for a script to tell
//! apart by the exit code.

use std::fmt;

/// Whose fault it is. Each has an exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// The command line or the workload file is wrong.
    Usage,
    /// The target cannot be reached, refuses us, or was lost during the run.
    Target,
    /// This machine does not allow it (files, threads, ports).
    Machine,
}

impl Blame {
    /// The program's exit code.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Usage | Self::Target => EXIT_FAILED,
            Self::Machine => 1,
        }
    }
}

/// Exit code of a run whose command line is wrong, or whose target failed.
pub const EXIT_FAILED: u8 = 2;
/// Exit code of a run that broke an invariant.
pub const EXIT_BROKEN: u8 = 3;
/// Exit code of a run that passed `--fail-if`'s bounds.
pub const EXIT_BOUND: u8 = 4;

/// Why there is no (whole) result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Whose fault it is.
    pub blame: Blame,
    /// What is wrong and what to do.
    pub message: String,
}

impl Failure {
    /// The command line or the workload file is wrong.
    #[must_use]
    pub fn usage(message: impl Into<String>) -> Self {
        Self { blame: Blame::Usage, message: message.into() }
    }

    /// The target cannot be reached, refuses us, or was lost.
    #[must_use]
    pub fn target(message: impl Into<String>) -> Self {
        Self { blame: Blame::Target, message: message.into() }
    }

    /// This machine does not allow it.
    #[must_use]
    pub fn machine(message: impl Into<String>) -> Self {
        Self { blame: Blame::Machine, message: message.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}
