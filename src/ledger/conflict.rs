//! Conflicts: transactions that lost because a watched key was changed, by pattern of key: by which
//! command, how long after the WATCH, and how many attempts it took until the next commit.

use super::lru::LruTable;
use super::pattern::{pattern, shown};
use super::violation::{Origin, TEXT_CHARS_MAX};
use std::sync::Arc;

/// Rows of conflicts that are kept.
pub const CONFLICTS_MAX: usize = 1024;
/// Classes of the ages of a WATCH: below 1 ms, 2, 4, … and the last without an end.
pub const AGES: usize = 16;
/// Classes of attempts: 1, 2, … and the last for that many or more.
pub const ATTEMPTS: usize = 10;

/// One lost attempt.
#[derive(Clone, Copy, Debug)]
pub struct LostExec<'a> {
    /// The watched key.
    pub key: &'a [u8],
    /// The command that changed it; empty if not known.
    pub command: &'a str,
    /// The client that sent that.
    pub winner: &'a Origin,
    /// The client that watched.
    pub loser: &'a Origin,
    /// How long before the change the key was watched, if known, in milliseconds.
    pub age_ms: Option<u64>,
    /// When, in milliseconds since the epoch.
    pub at_ms: Option<u64>,
}

/// The key of a row.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConflictKind {
    /// The pattern of the watched key.
    pub pattern: Arc<str>,
    /// The command that changed it.
    pub command: Arc<str>,
}

/// What is known of a kind of conflict.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conflict {
    /// How often it was seen.
    pub count: u64,
    /// How often the losing client itself changed the key.
    pub own: u64,
    /// By age of the WATCH in milliseconds: `ages[i]` counts ages below 2^i, and not below half of it.
    pub ages: [u64; AGES],
    /// A watched key, for display.
    pub example: String,
    /// When last, in milliseconds since the epoch.
    pub last_ms: Option<u64>,
    /// The client that lost last.
    pub loser: Origin,
    /// The client that changed the key then.
    pub winner: Origin,
}

/// The conflicts of an application.
#[derive(Clone, Debug)]
pub struct Conflicts {
    rows: LruTable<ConflictKind, Conflict>,
    /// All conflicts that were entered.
    pub total: u64,
    /// Commits of transactions with a WATCH, by the attempts that they took.
    pub commits_by_attempts: [u64; ATTEMPTS],
}

impl Default for Conflicts {
    fn default() -> Self {
        Self { rows: LruTable::new(CONFLICTS_MAX), total: 0, commits_by_attempts: [0; ATTEMPTS] }
    }
}

impl Conflicts {
    /// Enters a lost attempt.
    pub fn enter(&mut self, lost: &LostExec<'_>) {
        self.total += 1;
        let kind = ConflictKind { pattern: pattern(lost.key).into(), command: lost.command.into() };
        let row = self.rows.row(&kind, || kind.clone(), Conflict::default);
        row.count += 1;
        row.own += u64::from(lost.winner == lost.loser);
        if let Some(age) = lost.age_ms {
            let class = (u64::BITS - age.leading_zeros()) as usize;
            row.ages[class.min(AGES - 1)] += 1;
        }
        if row.example.is_empty() {
            row.example = shown(lost.key, TEXT_CHARS_MAX);
        }
        row.last_ms = row.last_ms.max(lost.at_ms);
        row.loser.clone_from(lost.loser);
        row.winner.clone_from(lost.winner);
    }

    /// Counts a commit of a transaction with a WATCH, by the attempts that it took, from 1.
    pub fn committed(&mut self, attempts: u64) {
        let class = usize::try_from(attempts.max(1) - 1).unwrap_or(usize::MAX);
        self.commits_by_attempts[class.min(ATTEMPTS - 1)] += 1;
    }

    /// Returns the rows, the more frequent first.
    #[must_use]
    pub fn rows(&self) -> Vec<(&ConflictKind, &Conflict)> {
        let mut rows: Vec<_> = self.rows.iter().collect();
        rows.sort_by(|(a, x), (b, y)| y.count.cmp(&x.count).then_with(|| a.cmp(b)));
        rows
    }

    /// Returns how many rows made room for others.
    #[must_use]
    pub fn forgotten(&self) -> u64 {
        self.rows.forgotten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conflicts_are_counted_by_pattern_and_age() {
        let mut conflicts = Conflicts::default();
        let [a, b] = ["a", "b"].map(|name| Origin { name: name.into(), ..Origin::default() });
        for (n, age_ms) in [(1, 0), (2, 1), (3, 3), (4, u64::MAX)] {
            conflicts.enter(&LostExec {
                key: format!("stock:{n}").as_bytes(),
                command: "decr",
                winner: if n == 4 { &a } else { &b },
                loser: &a,
                age_ms: Some(age_ms),
                at_ms: Some(n),
            });
        }
        for attempts in [1, 1, 2, 0, 1000] {
            conflicts.committed(attempts);
        }
        let rows = conflicts.rows();
        let (kind, row) = rows[0];
        assert_eq!((&*kind.pattern, &*kind.command, rows.len()), ("stock:<int>", "decr", 1));
        assert_eq!((row.count, row.own, row.last_ms), (4, 1, Some(4)));
        assert_eq!(row.ages, [1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(conflicts.commits_by_attempts, [3, 1, 0, 0, 0, 0, 0, 0, 0, 1]);
    }
}
