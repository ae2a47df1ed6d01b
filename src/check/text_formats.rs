//! Reads text files: keys, sets of keys, transactions, redis-cli's history, MONITOR.
//!
//! A line of MONITOR that cannot be read means that something was lost: it is reported with its
//! number, and the lines behind it are read all the same. In typed lines errors are ordinary; such
//! lines are skipped, as redis-cli skips them.

use super::replay::{Replay, SeenCommand};
use super::tokenizer::Words;
use super::{Format, Trouble};
use crate::command::Args;
use crate::ledger::Spot;
use crate::rdb::file_window::{FileWindow, Line};

/// Reads lines of this format.
pub(super) fn read(
    window: &mut FileWindow<'_>,
    format: Format,
    to: &mut Replay,
) -> Option<Trouble> {
    let mut reader = Reader { to, words: Words::default(), number: 0 };
    let mut trouble: Option<Trouble> = None;
    while let Some(line) = window.line() {
        reader.number += 1;
        let outcome = match line {
            Line::TooLong => Err("the line is too long".to_owned()),
            Line::Whole(line) => reader.line(format, line.strip_suffix(b"\r").unwrap_or(line)),
            Line::Last(line) => {
                let outcome = reader.line(format, line);
                outcome.map_err(|why| format!("the file ends in the middle of a line: {why}"))
            }
        };
        if let Err(why) = outcome {
            let number = reader.number;
            let first = || Trouble { spot: Spot::Line(number), why, lines: Some(0) };
            let trouble = trouble.get_or_insert_with(first);
            trouble.lines = trouble.lines.map(|lines| lines + 1);
        }
    }
    trouble
}

struct Reader<'t> {
    to: &'t mut Replay,
    words: Words,
    /// The line's number, counted from 1.
    number: u64,
}

impl Reader<'_> {
    fn line(&mut self, format: Format, line: &[u8]) -> Result<(), String> {
        match format {
            Format::Keys => self.key(line),
            Format::Monitor => return self.monitor(line),
            _ => {
                self.words.clear();
                // redis-cli does not send such a line.
                if self.words.split(line).is_err() {
                    return Ok(());
                }
                match format {
                    Format::Sets => {
                        let keys: Vec<&[u8]> = self.words.iter().collect();
                        if !keys.is_empty() {
                            self.to.keys_together(&keys, Spot::Line(self.number));
                        }
                    }
                    Format::Transactions => self.transaction(),
                    _ => self.typed(),
                }
            }
        }
        Ok(())
    }

    /// Reads a key, plain or quoted, perhaps behind its number, as redis-cli shows replies.
    fn key(&mut self, line: &[u8]) {
        let number = line.trim_ascii_start().iter().take_while(|b| b.is_ascii_digit()).count();
        let rest = line.trim_ascii_start().get(number..).unwrap_or_default();
        let shown = match rest.strip_prefix(b") ") {
            Some(rest) if number > 0 => rest,
            _ => line,
        };
        self.words.clear();
        let is_quoted = shown.trim_ascii_start().starts_with(b"\"");
        if is_quoted && self.words.split(shown).is_ok() {
            self.words.iter().take(1).for_each(|key| self.to.ledger.key_stats.stored(key, 0, ""));
        } else if !shown.is_empty() {
            self.to.ledger.key_stats.stored(shown, 0, "");
        }
    }

    /// Returns a command of the only client, at the current line.
    fn seen<'a>(&self, args: Args<'a>, has_run: bool) -> SeenCommand<'a> {
        SeenCommand {
            args,
            client: b"",
            database: None,
            at_ms: None,
            spot: Spot::Line(self.number),
            by_script: false,
            has_run,
        }
    }

    /// Reads a command as it was typed; a number before it is a repeat count.
    fn typed(&mut self) {
        let Some(mut args) = self.words.args() else { return };
        let mut again = Words::default();
        if args.len() > 1 && args.at(0).iter().all(u8::is_ascii_digit) {
            args.from(1).for_each(|word| again.push(word));
            let Some(rest) = again.args() else { return };
            args = rest;
        }
        // A setting of redis-cli's own (`:set hints`) is not sent.
        if !args.at(0).starts_with(b":") {
            self.to.command(&self.seen(args, false));
        }
    }

    /// Reads commands with `;` between them: a transaction, unless it is one command or has a MULTI of
    /// its own.
    fn transaction(&mut self) {
        let words: Vec<&[u8]> = self.words.iter().collect();
        let commands: Vec<&[&[u8]]> =
            words.split(|word| *word == b";").filter(|command| !command.is_empty()).collect();
        let has_multi = commands.iter().any(|command| command[0].eq_ignore_ascii_case(b"multi"));
        let is_wrapped = commands.len() > 1 && !has_multi;
        let multi: &[&[u8]] = &[b"multi"];
        let exec: &[&[u8]] = &[b"exec"];
        let before = is_wrapped.then_some(multi);
        let behind = is_wrapped.then_some(exec);
        let mut one = Words::default();
        for command in before.into_iter().chain(commands).chain(behind) {
            one.clear();
            command.iter().for_each(|word| one.push(word));
            if let Some(args) = one.args() {
                // Written down for the check, perhaps without all arguments.
                self.to.command(&self.seen(args, true));
            }
        }
        self.to.forget_client(b"");
    }

    fn monitor(&mut self, line: &[u8]) -> Result<(), String> {
        let line = line.trim_ascii();
        if matches!(line, b"" | b"OK") {
            return Ok(());
        }
        let stamp = stamp(line).ok_or("not a line of MONITOR")?;
        self.words.clear();
        self.words.split(stamp.command).map_err(|_| "unbalanced quotes")?;
        let args = self.words.args().ok_or("no command in the line")?;
        self.to.command(&SeenCommand {
            args,
            client: stamp.client,
            database: Some(stamp.database),
            at_ms: Some(stamp.at_ms),
            spot: Spot::Line(self.number),
            by_script: stamp.client == b"lua",
            has_run: true,
        });
        Ok(())
    }
}

/// A line of MONITOR: the command, and what precedes it.
pub(super) struct Stamp<'a> {
    at_ms: u64,
    database: u64,
    client: &'a [u8],
    command: &'a [u8],
}

/// Parses a line of MONITOR: `1339518083.107412 [0 127.0.0.1:60866] "keys" "*"`.
pub(super) fn stamp(line: &[u8]) -> Option<Stamp<'_>> {
    const MS_DIGITS: usize = 3;
    let (time, rest) = cut(line, b' ')?;
    let (seconds, parts) = cut(time, b'.')?;
    let whole = |digits: &[u8]| std::str::from_utf8(digits).ok()?.parse::<u64>().ok();
    let at_ms = whole(seconds)?.checked_mul(1000)?.checked_add(whole(parts.get(..MS_DIGITS)?)?)?;
    let rest = rest.strip_prefix(b"[")?;
    let (database, rest) = cut(rest, b' ')?;
    let close = rest.windows(2).position(|two| two == b"] ")?;
    Some(Stamp {
        at_ms,
        database: whole(database)?,
        client: &rest[..close],
        command: &rest[close + 2..],
    })
}

fn cut(text: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let place = text.iter().position(|&byte| byte == at)?;
    Some((&text[..place], &text[place + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(format: Format, mut text: &[u8]) -> (Replay, Option<Trouble>) {
        let mut replay = Replay::new(3);
        let mut progress = |_| ();
        let trouble =
            crate::check::read(&mut FileWindow::new(&mut text, &mut progress), format, &mut replay);
        (replay, trouble)
    }

    fn rows(replay: &Replay) -> Vec<String> {
        let rows = replay.ledger.violations.rows();
        rows.iter()
            .map(|(t, row)| format!("{} {} {}", t.rule.name(), t.command, row.count))
            .collect()
    }

    /// Shown by redis-cli 7.0.15; see tests/data/check/README.md.
    const MONITOR: &[u8] = include_bytes!("../../tests/data/check/monitor.txt");

    #[test]
    fn what_monitor_shows() {
        let (replay, trouble) = scan(Format::Monitor, MONITOR);
        assert_eq!(trouble, None);
        assert_eq!(
            rows(&replay),
            [
                "cross-slot-command mset 1",
                "cross-slot-transaction multi: set 1",
                "cross-slot-watch watch 1",
                "other-database select 1",
                "shared-shard eval: get 1",
            ]
        );
        let conflicts = replay.ledger.conflicts.rows();
        assert_eq!((&*conflicts[0].0.pattern, conflicts[0].1.own), ("q", 1));
        let unknown = &replay.ledger.unknown;
        assert_eq!(unknown.total, 0, "{:?}", unknown.rows());
        let keys: Vec<&[u8]> = replay.ledger.key_stats.sample_of_keys().collect();
        assert!(keys.contains(&&b"b\x00\xff"[..]) && keys.contains(&&b"a key\"with\\x"[..]));
    }

    #[test]
    fn broken_lines_are_reported_and_skipped() {
        let good = "1.000001 [0 a:1] \"mget\" \"x\" \"y\"\n";
        let text =
            format!("{good}what\n{good}1.0000 [0 a:1] \"get\" \"x\n{good}1.000001 [0 a:1] \"ge");
        let (replay, trouble) = scan(Format::Monitor, text.as_bytes());
        assert_eq!(rows(&replay), ["cross-slot-command mget 3"]);
        let trouble = trouble.expect("trouble");
        assert_eq!((trouble.spot, trouble.lines), (Spot::Line(2), Some(3)));
        let (_, trouble) = scan(Format::Monitor, b"1.000001 [0 a:1] \"ge");
        assert!(trouble.expect("cut").why.contains("in the middle"));
    }

    #[test]
    fn keys_of_any_form() {
        let text = b"plain key\n1) \"quoted\\x00\"\n 2) \"b\"\n\n\"c\"\n7\n";
        let (replay, trouble) = scan(Format::Keys, text);
        let mut keys: Vec<&[u8]> = replay.ledger.key_stats.sample_of_keys().collect();
        keys.sort_unstable();
        assert_eq!(keys, [&b"7"[..], b"b", b"c", b"plain key", b"quoted\x00"]);
        assert_eq!((replay.ledger.key_stats.keys, trouble), (5, None));
    }

    #[test]
    fn transactions_sets_and_histories() {
        let (replay, _) = scan(
            Format::Transactions,
            b"set x 1 ; incr y\nwatch x ; multi ; set y 1 ; exec\nmget x y\nset x ';'\n",
        );
        assert_eq!(
            rows(&replay),
            [
                "cross-slot-command mget 1",
                "cross-slot-transaction multi: set, incr 1",
                "watch-elsewhere multi: set 1"
            ]
        );
        let (replay, _) = scan(Format::Sets, b"{a}1 {a}2\nx y\n\n");
        assert_eq!(
            (rows(&replay), replay.ledger.counts.transactions),
            (vec!["cross-slot-transaction  1".to_owned()], 2)
        );
        let (replay, trouble) =
            scan(Format::History, b"multi\n:set hints\n2 set x 1\nincr y\nbroken \"\nexec\n");
        assert_eq!(rows(&replay), ["cross-slot-transaction multi: set, incr 1"]);
        assert_eq!(trouble, None);
    }
}
