//! The scripts that run for so long that other clients of their shards are refused: BUSY, SCRIPT KILL.

use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

/// Others are refused: the script has run longer than `busy-reply-threshold`.
const BUSY: u8 = 1;
/// It has written.
const HAS_WRITTEN: u8 = 1 << 1;
/// It has to end.
const KILLED: u8 = 1 << 2;

/// The state of each shard's script.
#[derive(Debug)]
pub struct RunningScripts {
    shards: Box<[AtomicU8]>,
    /// How many shards are busy.
    busy: AtomicUsize,
}

/// The outcome of SCRIPT KILL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Killed {
    /// A script ends.
    Yes,
    /// It has written: ending it would leave its writes half done.
    HasWritten,
    /// None runs.
    NoneRuns,
}

impl RunningScripts {
    /// Returns the state of so many shards, none of which is busy.
    #[must_use]
    pub fn new(shards: usize) -> Self {
        let shards = (0..shards).map(|_| AtomicU8::new(0)).collect();
        Self { shards, busy: AtomicUsize::new(0) }
    }

    /// Returns whether any shard is busy.
    #[must_use]
    #[inline]
    pub fn any_busy(&self) -> bool {
        self.busy.load(Ordering::Relaxed) > 0
    }

    /// Returns whether a shard is busy.
    #[must_use]
    pub fn is_busy(&self, shard: usize) -> bool {
        self.any_busy() && self.get(shard) & BUSY != 0
    }

    fn get(&self, shard: usize) -> u8 {
        self.shards.get(shard).map_or(0, |state| state.load(Ordering::Acquire))
    }

    /// Makes a shard busy, and records whether its script has written. Returns whether the script
    /// has to end.
    pub fn keep_busy(&self, shard: usize, has_written: bool) -> bool {
        let Some(state) = self.shards.get(shard) else { return false };
        let bits = if has_written { BUSY | HAS_WRITTEN } else { BUSY };
        let before = state.fetch_or(bits, Ordering::AcqRel);
        if before & BUSY == 0 {
            self.busy.fetch_add(1, Ordering::Relaxed);
        }
        before & KILLED != 0
    }

    /// Ends the script of a shard.
    pub fn end(&self, shard: usize) {
        let Some(state) = self.shards.get(shard) else { return };
        if state.swap(0, Ordering::AcqRel) & BUSY != 0 {
            self.busy.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Ends the scripts of these shards that make others wait and have not written.
    pub fn kill(&self, shards: impl Iterator<Item = usize>) -> Killed {
        let mut outcome = Killed::NoneRuns;
        for state in shards.filter_map(|shard| self.shards.get(shard)) {
            let killed = state.fetch_update(Ordering::AcqRel, Ordering::Acquire, |bits| {
                (bits & BUSY != 0 && bits & HAS_WRITTEN == 0).then_some(bits | KILLED)
            });
            outcome = match killed {
                Ok(_) => Killed::Yes,
                Err(bits) if bits & BUSY != 0 && outcome == Killed::NoneRuns => Killed::HasWritten,
                Err(_) => outcome,
            };
        }
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_killed_unless_it_has_written() {
        let scripts = RunningScripts::new(2);
        assert_eq!(scripts.kill(0..2), Killed::NoneRuns);
        assert!(!scripts.keep_busy(1, false));
        assert!(scripts.any_busy() && scripts.is_busy(1) && !scripts.is_busy(0));
        assert_eq!(scripts.kill(0..1), Killed::NoneRuns);
        assert_eq!(scripts.kill(0..2), Killed::Yes);
        assert!(scripts.keep_busy(1, false));
        scripts.end(1);
        assert!(!scripts.any_busy());
        assert!(!scripts.keep_busy(0, true));
        assert_eq!(scripts.kill(0..2), Killed::HasWritten);
        scripts.end(0);
        assert_eq!(scripts.kill(0..2), Killed::NoneRuns);
    }
}
