//! The work of one call of a library: bounded in memory, and ended with its script.
//!
//! What a library writes is not the interpreter's memory, and no instruction of the script runs
//! meanwhile: a table that contains itself many times over, at few levels, would be written for hours.

use super::raised::Raised;
use super::raw::current;

/// Most bytes that one call writes.
const WRITTEN_MAX: usize = 512 << 20;
/// Values from one look at the server to the next.
const STEPS: u32 = 4096;
/// The error of a script that was killed.
pub(super) const KILLED: &str = "ERR Script killed by user with SCRIPT KILL...";
/// The interpreter's own error.
pub(super) const OUT_OF_MEMORY: &str = "not enough memory";

/// The work of a call.
#[derive(Debug, Default)]
pub(super) struct Work {
    steps: u32,
}

impl Work {
    /// Counts a value that is to be written behind so many bytes.
    ///
    /// # Errors
    /// They are too many, or the script has to end.
    #[inline]
    pub(super) fn step(&mut self, written: usize) -> mlua::Result<()> {
        if written > WRITTEN_MAX {
            return Err(Raised::bare(OUT_OF_MEMORY));
        }
        self.steps += 1;
        match self.steps % STEPS {
            0 => Self::look(),
            _ => Ok(()),
        }
    }

    #[cold]
    fn look() -> mlua::Result<()> {
        match current(|current| current.host.tick()) {
            Some(true) => Err(Raised::table(KILLED)),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_call_writes_is_bounded() {
        let mut work = Work::default();
        assert!((0..3 * STEPS).all(|_| work.step(WRITTEN_MAX).is_ok()));
        let error = work.step(WRITTEN_MAX + 1).expect_err("too much");
        assert!(error.to_string().contains(OUT_OF_MEMORY), "{error}");
    }
}
