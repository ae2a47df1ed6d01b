//! Command statistics: calls, time and errors of each command, and errors by their code.
//!
//! Each shard has its own statistics, written by the holder of the shard: no atomics on a command's
//! way. Commands that run on no shard (CLIENT, MULTI, INFO) are counted in [`CommandStatsStripes`].
//! INFO adds them all up.

use super::Histogram;
use parking_lot::Mutex;
use std::collections::BTreeMap;

/// Error codes that are counted separately; further ones are only counted in total.
pub(super) const ERROR_KINDS_MAX: usize = 128;
/// Longest code, in bytes; longer ones are cut.
const CODE_LEN_MAX: usize = 64;

/// The statistics of one command.
#[derive(Clone, Debug, Default)]
pub struct CommandCounts {
    /// Calls.
    pub calls: u64,
    /// Time of all calls, in ticks.
    pub ticks: u64,
    /// Calls refused before they ran.
    pub rejected: u64,
    /// Calls that ran and replied with an error.
    pub failed: u64,
    /// Times of the calls; present from the first call with `latency-tracking` on.
    pub times: Option<Box<Histogram>>,
}

impl CommandCounts {
    /// Returns whether nothing was counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.calls == 0 && self.rejected == 0 && self.failed == 0
    }
}

/// Statistics of commands and errors.
#[derive(Clone, Debug, Default)]
pub struct CommandStats {
    /// By the command's number, up to the highest one counted so far.
    rows: Vec<CommandCounts>,
    errors: BTreeMap<Box<[u8]>, u64>,
    /// Errors of all codes, including those beyond [`ERROR_KINDS_MAX`].
    errors_total: u64,
    execs_lost: u64,
}

impl CommandStats {
    /// Counts a call that took so many ticks; `track` records its time in the histogram.
    #[inline]
    pub fn ran(&mut self, command: u16, ticks: u64, track: bool) {
        let row = self.row(command);
        row.calls += 1;
        row.ticks += ticks;
        if track {
            row.times.get_or_insert_default().record(ticks);
        }
    }

    /// Adds the ticks of a blocked call that has resumed.
    pub fn resumed(&mut self, command: u16, ticks: u64) {
        self.row(command).ticks += ticks;
    }

    /// Counts a call that replied with an error.
    #[cold]
    pub fn failed(&mut self, command: u16, error: &[u8]) {
        self.row(command).failed += 1;
        self.count_error(error);
    }

    /// Counts a call that was refused before it ran; 0 stands for an unknown command.
    #[cold]
    pub fn rejected(&mut self, command: u16, error: &[u8]) {
        if command > 0 {
            self.row(command).rejected += 1;
        }
        self.count_error(error);
    }

    /// Counts an EXEC that returned null because a watched key had changed.
    pub fn exec_lost(&mut self) {
        self.execs_lost += 1;
    }

    fn count_error(&mut self, error: &[u8]) {
        self.errors_total += 1;
        let code = error.split(|&byte| byte == b' ').next().unwrap_or_default();
        let code = &code[..code.len().min(CODE_LEN_MAX)];
        if let Some(count) = self.errors.get_mut(code) {
            *count += 1;
        } else if self.errors.len() < ERROR_KINDS_MAX {
            self.errors.insert(code.into(), 1);
        }
    }

    #[inline]
    fn row(&mut self, command: u16) -> &mut CommandCounts {
        let at = usize::from(command);
        if at >= self.rows.len() {
            self.grow(at);
        }
        &mut self.rows[at]
    }

    #[cold]
    fn grow(&mut self, at: usize) {
        self.rows.resize_with(at + 1, CommandCounts::default);
    }

    /// Adds the counts of `other`.
    pub fn add(&mut self, other: &Self) {
        for (command, more) in other.counted() {
            let row = self.row(command);
            row.calls += more.calls;
            row.ticks += more.ticks;
            row.rejected += more.rejected;
            row.failed += more.failed;
            if let Some(times) = &more.times {
                row.times.get_or_insert_default().add(times);
            }
        }
        for (code, count) in &other.errors {
            *self.errors.entry(code.clone()).or_default() += count;
        }
        self.errors_total += other.errors_total;
        self.execs_lost += other.execs_lost;
    }

    /// Returns the statistics of each command with any counts, by its number.
    pub fn counted(&self) -> impl Iterator<Item = (u16, &CommandCounts)> {
        let numbered = self.rows.iter().enumerate().map(|(at, row)| (at as u16, row));
        numbered.filter(|(_, row)| !row.is_empty())
    }

    /// Returns the number of errors by code.
    pub fn errors(&self) -> impl Iterator<Item = (&[u8], u64)> {
        self.errors.iter().map(|(code, &count)| (&**code, count))
    }

    /// Returns the number of errors.
    #[must_use]
    pub fn errors_total(&self) -> u64 {
        self.errors_total
    }

    /// Returns the number of EXECs that returned null.
    #[must_use]
    pub fn execs_lost(&self) -> u64 {
        self.execs_lost
    }

    /// Returns the number of calls.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.rows.iter().map(|row| row.calls).sum()
    }

    /// Resets the counts.
    pub fn reset(&mut self) {
        *self = Self::default();
    }
}

/// The number of stripes.
const STRIPES: usize = 16;

/// The statistics of commands that run on no shard, in stripes: a client always counts in the same
/// one, so that clients on different threads seldom wait for each other.
#[derive(Debug)]
pub struct CommandStatsStripes {
    stripes: [Mutex<CommandStats>; STRIPES],
}

impl Default for CommandStatsStripes {
    fn default() -> Self {
        Self { stripes: std::array::from_fn(|_| Mutex::default()) }
    }
}

impl CommandStatsStripes {
    /// Calls `count` with the statistics of a client's stripe.
    pub fn count(&self, client: u64, count: impl FnOnce(&mut CommandStats)) {
        count(&mut self.stripes[(client % STRIPES as u64) as usize].lock());
    }

    /// Calls `act` with the statistics of every stripe.
    pub fn each(&self, mut act: impl FnMut(&mut CommandStats)) {
        self.stripes.iter().for_each(|stripe| act(&mut stripe.lock()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_add_up() {
        let (mut one, mut other) = (CommandStats::default(), CommandStats::default());
        one.ran(3, 10, true);
        one.ran(3, 30, false);
        other.ran(3, 5, true);
        other.rejected(7, b"NOAUTH Authentication required.");
        other.failed(3, b"ERR x");
        one.rejected(0, b"ERR unknown");
        one.add(&other);
        let rows: Vec<_> = one
            .counted()
            .map(|(id, row)| (id, row.calls, row.ticks, row.rejected, row.failed))
            .collect();
        assert_eq!(rows, [(3, 3, 45, 0, 1), (7, 0, 0, 1, 0)]);
        let times = one.counted().next().and_then(|(_, row)| row.times.as_ref()).expect("timed");
        assert_eq!(times.count(), 2);
        assert_eq!(one.errors().collect::<Vec<_>>(), [(&b"ERR"[..], 2), (b"NOAUTH", 1)]);
        assert_eq!((one.calls(), one.errors_total()), (3, 3));
    }

    #[test]
    fn kinds_of_errors_are_bounded() {
        let mut stats = CommandStats::default();
        for kind in 0..2 * ERROR_KINDS_MAX {
            stats.rejected(0, format!("E{kind} text").as_bytes());
        }
        assert_eq!(stats.errors().count(), ERROR_KINDS_MAX);
        assert_eq!(stats.errors_total(), 2 * ERROR_KINDS_MAX as u64);
    }
}
