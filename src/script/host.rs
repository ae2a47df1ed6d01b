//! The server that a script runs on, as the interpreter knows it.

use crate::resp::{Proto, Span};
use std::borrow::Cow;

/// Why a command was not run: the text of an error, code first.
pub(crate) type CallError = Cow<'static, [u8]>;

/// The server that a script runs on.
pub(crate) trait Host {
    /// Runs the command whose arguments are at `spans` in `bytes`, at least one, and appends its
    /// reply to `reply`. `line` returns the line of the script that calls it.
    ///
    /// # Errors
    /// Scripts may not run it.
    fn call(
        &mut self,
        bytes: &[u8],
        spans: &[Span],
        proto: Proto,
        line: &dyn Fn() -> Option<usize>,
        reply: &mut Vec<u8>,
    ) -> Result<(), CallError>;

    /// Returns whether there is a command of this name with so many arguments, for
    /// `redis.acl_check_cmd`; without ACLs every command is allowed.
    fn has_command(&mut self, bytes: &[u8], spans: &[Span]) -> bool;

    /// Called as a script goes on, every [`super::interpreter::STEPS`] instructions; returns whether
    /// it has to end.
    fn tick(&mut self) -> bool;
}
