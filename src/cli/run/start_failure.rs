//! What `slotway run` reports if its command cannot be started.

use super::super::Failure;
use std::ffi::OsStr;
use std::io;

/// Exit code if the command cannot be started.
const EXIT_NOT_EXECUTABLE: u8 = 126;
/// Exit code if the command does not exist.
const EXIT_NOT_FOUND: u8 = 127;

/// The failure to start a command.
pub(super) fn cannot_start(name: &OsStr, error: &io::Error) -> Failure {
    Failure {
        message: format!("cannot start {}: {error}", name.display()),
        code: match error.kind() {
            io::ErrorKind::NotFound => EXIT_NOT_FOUND,
            _ => EXIT_NOT_EXECUTABLE,
        },
    }
}
