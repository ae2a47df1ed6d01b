//! Reads text files: keys, sets of keys, transactions, redis-cli's history.
//!
//! A line that is no text where the form was not named is reported with its number, and the lines behind
//! it are read all the same. In typed lines errors are ordinary; such lines are skipped, as redis-cli skips them.

use super::Outcome;
use super::detect::{Form, Format};
use super::lines::each_line;
use super::replay::{Replay, SeenCommand};
use super::replies::{self, ReplyLines};
use super::text_shapes::{ends_connection, is_own, is_text, repeat};
use super::tokenizer::Words;
use crate::command::{Args, foreign};
use crate::ledger::{CommandCounts, Spot};
use crate::rdb::file_window::FileWindow;
use crate::text::display::plural;

/// How often a typed command is taken that has a repeat count: more would find nothing else.
const REPEATS_MAX: u64 = 1000;
/// Mistyped names that are shown.
const NAMES_MAX: usize = 4;

/// Reads lines of this form.
pub(super) fn read(window: &mut FileWindow<'_>, form: &Form, to: &mut Replay) -> Outcome {
    let words = Words::default();
    let replies = ReplyLines::default();
    let mut reader = Reader { to, words, number: 0, replies, mistyped: CommandCounts::default() };
    let trouble = each_line(window, &mut |line, number, _| {
        if !form.is_named && !is_text(line) {
            return Err("bytes that are not text".to_owned());
        }
        reader.number = number;
        reader.line(form.format, line);
        Ok(())
    });
    reader.end();
    Outcome { trouble, gap: None, left_out: reader.mistyped() }
}

struct Reader<'t> {
    to: &'t mut Replay,
    words: Words,
    /// The line's number, counted from 1.
    number: u64,
    replies: ReplyLines,
    /// Typed names that no server has.
    mistyped: CommandCounts,
}

impl Reader<'_> {
    fn line(&mut self, format: Format, line: &[u8]) {
        if format == Format::Keys {
            return self.key(line);
        }
        self.words.clear();
        // redis-cli does not send such a line.
        if self.words.split(line).is_err() {
            return;
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

    /// Reads a key: a line of a reply as redis-cli prints it, or a plain one.
    fn key(&mut self, line: &[u8]) {
        match replies::parse(line) {
            Some(parsed) => {
                let (words, stats) = (&mut self.words, &mut self.to.ledger.key_stats);
                self.replies.take(parsed, &mut |text| {
                    words.clear();
                    if words.split(text).is_ok() {
                        words.iter().for_each(|key| stats.stored(key, 0, ""));
                    }
                });
            }
            None if line.is_empty() => {}
            None => {
                self.end();
                self.to.ledger.key_stats.stored(line, 0, "");
            }
        }
    }

    /// Says which lines were taken for typing errors.
    fn mistyped(&self) -> Option<String> {
        let rows = self.mistyped.rows();
        let names: Vec<&str> = rows.iter().take(NAMES_MAX).map(|(name, _)| *name).collect();
        let more = if rows.len() > NAMES_MAX { ", …" } else { "" };
        (!rows.is_empty()).then(|| {
            format!(
                "{} with a command that no server has, taken for typing errors: {}{more}",
                plural(self.mistyped.total, "line"),
                names.join(", ")
            )
        })
    }

    /// Takes what was held back.
    fn end(&mut self) {
        let (words, stats) = (&mut self.words, &mut self.to.ledger.key_stats);
        self.replies.end(&mut |text| {
            words.clear();
            if words.split(text).is_ok() {
                words.iter().for_each(|key| stats.stored(key, 0, ""));
            }
        });
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

    /// Reads a command as it was typed; a number before it is a repeat count. Words of redis-cli itself
    /// are not sent.
    fn typed(&mut self) {
        let (times, from) = repeat(&self.words);
        let mut command = Words::default();
        self.words.iter().skip(from).for_each(|word| command.push(word));
        let Some(args) = command.args() else { return };
        if ends_connection(args) {
            self.to.forget_client(b"");
        }
        if is_own(args) {
            return;
        }
        if foreign::find(args).is_none() && !self.to.is_queueing(b"") {
            // Most likely a typing error, which any server refuses.
            self.mistyped.enter(args.at(0));
        } else {
            (0..times.min(REPEATS_MAX)).for_each(|_| self.to.command(&self.seen(args, false)));
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Trouble;

    fn scan(format: Format, mut text: &[u8]) -> (Replay, Option<Trouble>) {
        let mut replay = Replay::new(3);
        let mut progress = |_| ();
        let mut window = FileWindow::new(&mut text, &mut progress);
        let form = Form::named(format, "the test");
        let outcome = crate::check::read(&mut window, &form, &mut replay, 1);
        (replay, outcome.trouble)
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
                r#"shared-shard eval d1574c28 "redis.call('set',KEYS[1],1); return redi…" line 1: get 1"#,
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

    #[test]
    fn what_people_type_into_redis_cli() {
        let of = |text: &str| {
            let (replay, trouble) = scan(Format::History, text.as_bytes());
            assert_eq!(trouble, None);
            (rows(&replay), replay.ledger.counts.commands, replay.ledger.unknown.total)
        };
        // Its own words are not sent.
        let own = "help\n? set\nhelp @string\nclear\n:set hints\nquit\nEXIT now\nconnect h 1\n";
        assert_eq!(of(own), (vec![], 0, 0));
        // These are, and no server has them: typing errors, which spoil a transaction.
        assert_eq!(of("clear all\nconnect h\n"), (Vec::new(), 0, 0));
        assert_eq!(of("multi\nclear all\nconnect h\n").2, 2);
        let crossing = "cross-slot-command mget";
        assert_eq!(of("3 mget x y\n"), (vec![format!("{crossing} 3")], 3, 0));
        assert_eq!(of("0 mget x y\n").1, 0);
        let most = REPEATS_MAX;
        assert_eq!(of("99999999 mget x y\n").0, [format!("{crossing} {most}")]);
        // Each of these begins another connection.
        for end in ["exit", "quit", "connect localhost 7000"] {
            assert_eq!(of(&format!("multi\nset x 1\n{end}\nset y 1\nexec\n")).0.len(), 0, "{end}");
        }
    }

    #[test]
    fn lines_that_do_not_fit_a_detected_form_are_reported() {
        let text = b"user:1\nuser:\x01\nuser:2\n";
        let (mut from, mut progress) = (&text[..], |_| ());
        let mut replay = Replay::new(3);
        let mut window = FileWindow::new(&mut from, &mut progress);
        let outcome = read(&mut window, &Form::seen(Format::Keys, "names"), &mut replay);
        let trouble = outcome.trouble.expect("a line is no text");
        assert_eq!((trouble.spot, trouble.lines), (Spot::Line(2), Some(1)));
        assert_eq!(replay.ledger.key_stats.keys, 2);
        let (replay, trouble) = scan(Format::Keys, text);
        assert_eq!((replay.ledger.key_stats.keys, trouble), (3, None));
    }

    #[test]
    fn replies_are_read_as_their_keys() {
        let text = b"\xef\xbb\xbf1) \"17\"\r\n2) 1) \"my key\"\r\n   2) \"b\\x00\"\r\n1) \"0\"\n2) (empty array)\n1) \"8\"";
        let (replay, trouble) = scan(Format::Keys, text);
        let mut keys: Vec<&[u8]> = replay.ledger.key_stats.sample_of_keys().collect();
        keys.sort_unstable();
        assert_eq!((keys, trouble), (vec![&b"8"[..], b"b\x00", b"my key"], None));
    }
}
