//! What is counted of each command, and of errors by their code.
//!
//! Each shard has a tally of its own, which whoever holds the shard writes: no atomics on the way
//! of a command. What runs on no shard (CLIENT, MULTI, INFO) is counted in [`CommandStatsStripes`]. INFO adds
//! all of them up.

use super::Histogram;
use parking_lot::Mutex;
use std::collections::BTreeMap;

/// Kinds of errors that are told apart, by their codes; further ones are counted together only.
pub(super) const ERROR_KINDS_MAX: usize = 128;
/// A code is kept up to this many bytes.
const CODE_LEN_MAX: usize = 64;

/// What was counted of one command.
#[derive(Clone, Debug, Default)]
pub struct CommandCounts {
    /// How often it ran.
    pub calls: u64,
    /// How long that took, in ticks.
    pub ticks: u64,
    /// How often it was refused before it ran.
    pub rejected: u64,
    /// How often it ran and answered an error.
    pub failed: u64,
    /// How long each run took; made when it first runs with `latency-tracking` on.
    pub times: Option<Box<Histogram>>,
}

impl CommandCounts {
    /// Returns whether nothing was counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.calls == 0 && self.rejected == 0 && self.failed == 0
    }
}

/// Counts of commands and of errors.
#[derive(Clone, Debug, Default)]
pub struct CommandStats {
    /// By the command's number; as long as the highest number met so far asks for.
    rows: Vec<CommandCounts>,
    errors: BTreeMap<Box<[u8]>, u64>,
    /// Errors of every kind, those beyond [`ERROR_KINDS_MAX`] too.
    errors_total: u64,
    execs_lost: u64,
}

impl CommandStats {
    /// A command has run, in so many ticks.
    #[inline]
    pub fn ran(&mut self, command: u16, ticks: u64, track: bool) {
        let row = self.row(command);
        row.calls += 1;
        row.ticks += ticks;
        if track {
            row.times.get_or_insert_default().record(ticks);
        }
    }

    /// A command that had to wait has gone on for so many ticks.
    pub fn resumed(&mut self, command: u16, ticks: u64) {
        self.row(command).ticks += ticks;
    }

    /// A command has run and answered an error.
    #[cold]
    pub fn failed(&mut self, command: u16, error: &[u8]) {
        self.row(command).failed += 1;
        self.count_error(error);
    }

    /// A command was refused before it ran; 0 stands for one that is not known.
    #[cold]
    pub fn rejected(&mut self, command: u16, error: &[u8]) {
        if command > 0 {
            self.row(command).rejected += 1;
        }
        self.count_error(error);
    }

    /// An EXEC answered nil, as a key that it depended on had been touched.
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

    /// Adds what another has counted.
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

    /// Returns what was counted of each command of which anything was, by its number.
    pub fn counted(&self) -> impl Iterator<Item = (u16, &CommandCounts)> {
        let numbered = self.rows.iter().enumerate().map(|(at, row)| (at as u16, row));
        numbered.filter(|(_, row)| !row.is_empty())
    }

    /// Returns how many errors of each kind were answered, by their codes.
    pub fn errors(&self) -> impl Iterator<Item = (&[u8], u64)> {
        self.errors.iter().map(|(code, &count)| (&**code, count))
    }

    /// Returns how many errors were answered.
    #[must_use]
    pub fn errors_total(&self) -> u64 {
        self.errors_total
    }

    /// Returns how many EXECs answered nil.
    #[must_use]
    pub fn execs_lost(&self) -> u64 {
        self.execs_lost
    }

    /// Returns how many commands ran.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.rows.iter().map(|row| row.calls).sum()
    }

    /// Counts from zero again.
    pub fn reset(&mut self) {
        *self = Self::default();
    }
}

/// How many tallies share what runs on no shard.
const STRIPES: usize = 16;

/// The tallies of what runs on no shard: a client always counts in the same one, so that clients
/// on different threads seldom wait for each other.
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
    /// Counts something for a client.
    pub fn count(&self, client: u64, count: impl FnOnce(&mut CommandStats)) {
        count(&mut self.stripes[(client % STRIPES as u64) as usize].lock());
    }

    /// Does something with every tally.
    pub fn each(&self, mut act: impl FnMut(&mut CommandStats)) {
        self.stripes.iter().for_each(|stripe| act(&mut stripe.lock()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tallies_add_up() {
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
        let mut tally = CommandStats::default();
        for kind in 0..2 * ERROR_KINDS_MAX {
            tally.rejected(0, format!("E{kind} text").as_bytes());
        }
        assert_eq!(tally.errors().count(), ERROR_KINDS_MAX);
        assert_eq!(tally.errors_total(), 2 * ERROR_KINDS_MAX as u64);
    }
}
