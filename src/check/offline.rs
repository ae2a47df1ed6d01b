//! The offline check as a library: commands in, the report of `slotway check` out.

use super::replay::{Replay, SeenCommand};
use super::tokenizer::Words;
use crate::ledger::Spot;
use crate::report::proof::{json, text};
use crate::report::{Report, Source};
use crate::text::display::Paint;
use crate::topology::SHARDS_MAX;

/// Columns of a page for a test's output.
const COLUMNS: usize = 100;

/// Checks recorded commands and sets of keys: would a Redis Cluster run them?
///
/// ```
/// use slotway::OfflineCheck;
///
/// let mut check = OfflineCheck::new(3);
/// check.command("worker-1", &[b"MSET", b"cart:1:items", b"2", b"cart:1:total", b"9"]);
/// let report = check.finish();
/// assert_eq!(report.violations(), 1, "{}", report.text());
/// ```
#[derive(Debug)]
pub struct OfflineCheck {
    replay: Replay,
    words: Words,
    /// How many commands and sets came before: the line that a violation names.
    lines: u64,
    bytes: u64,
}

/// What an [`OfflineCheck`] has found.
#[derive(Clone, Debug)]
pub struct CheckReport(Report);

impl OfflineCheck {
    /// A check against a cluster of so many shards, 1 to 1,000: which keys share a shard depends on
    /// it, which keys share a slot does not.
    ///
    /// # Panics
    /// There are fewer or more shards.
    #[must_use]
    pub fn new(shards: usize) -> Self {
        assert!((1..=SHARDS_MAX).contains(&shards), "1 to {SHARDS_MAX} shards");
        Self { replay: Replay::new(shards), words: Words::default(), lines: 0, bytes: 0 }
    }

    /// Replays a command of a client, MULTI, EXEC and WATCH among them: its name, then its arguments.
    /// A command without a name is ignored.
    pub fn command(&mut self, client: &str, args: &[&[u8]]) {
        self.next_line(args);
        self.words.clear();
        args.iter().for_each(|word| self.words.push(word));
        let Some(args) = self.words.args() else { return };
        self.replay.command(&SeenCommand {
            args,
            client: client.as_bytes(),
            database: None,
            at_ms: None,
            spot: Spot::Line(self.lines),
            by_script: false,
            has_run: false,
        });
    }

    /// Checks keys that are to be used together, as in one transaction.
    pub fn keys(&mut self, keys: &[&[u8]]) {
        self.next_line(keys);
        self.replay.keys_together(keys, Spot::Line(self.lines));
    }

    /// The report of all that came.
    #[must_use]
    pub fn finish(mut self) -> CheckReport {
        self.replay.end();
        let (name, bytes) = ("recorded commands".to_owned(), self.bytes);
        let sources =
            [Source { name, format: "commands", why: None, bytes, trouble: None, gap: None }];
        CheckReport(Report::of(&self.replay.found(), &sources, false))
    }

    fn next_line(&mut self, words: &[&[u8]]) {
        self.lines += 1;
        self.bytes += words.iter().map(|word| word.len() as u64).sum::<u64>();
    }
}

impl CheckReport {
    /// How often something was found that a cluster refuses.
    #[must_use]
    pub fn violations(&self) -> u64 {
        self.0.totals.errors
    }

    /// The report as `slotway check --output json` prints it; docs/proof.md has its fields.
    #[must_use]
    pub fn json(&self) -> String {
        json::json(&self.0)
    }

    /// The report as a page for people, without colours: rules, commands, keys, slots, hashtags.
    #[must_use]
    pub fn text(&self) -> String {
        text::page(&self.0, &[], COLUMNS, Paint::Off)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transactions_of_clients_are_kept_apart() {
        let mut check = OfflineCheck::new(3);
        for (client, line) in [
            ("a", "MULTI"),
            ("a", "SET {x}1 1"),
            ("b", "SET {y}1 1"),
            ("a", "SET {x}2 1"),
            ("a", "EXEC"),
            ("b", "MULTI"),
            ("b", "SET {x}1 1"),
            ("b", "SET {y}1 1"),
            ("b", "EXEC"),
        ] {
            let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
            check.command(client, &words);
        }
        check.command("c", &[]);
        let report = check.finish();
        assert_eq!(report.violations(), 1);
        assert!(report.json().contains("\"cross-slot-transaction\""), "{}", report.json());
        assert!(report.text().contains("multi: set"), "{}", report.text());
    }

    #[test]
    fn keys_share_a_slot_or_do_not() {
        let violations = |keys: &[&[u8]]| {
            let mut check = OfflineCheck::new(1);
            check.keys(keys);
            check.finish().violations()
        };
        assert_eq!(violations(&[b"{u}a", b"{u}b"]), 0);
        assert_eq!(violations(&[b"u:a", b"u:b"]), 1);
    }
}
