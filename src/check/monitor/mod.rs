//! Reads what MONITOR shows: [`line`] takes a line apart, [`connections`] says whose it is.
//!
//! Lines behind different names (the services of docker compose, pods) come from different servers:
//! clients, scripts and watched keys of one have nothing to do with those of another. A line that cannot
//! be read means that something was lost: it is reported with its number, and the lines behind it are
//! read all the same.

mod connections;
pub(super) mod line;
#[cfg(test)]
mod plain_road;

use self::connections::{Connections, Shown};
use self::line::{MonitorLine, Shape, is_around};
use super::lines::{cut, each_line};
use super::pipeline::{self, Batch};
use super::replay::Replay;
use super::tokenizer::{Words, split_plain};
use super::{Outcome, Trouble};
use crate::ledger::Spot;
use crate::rdb::file_window::FileWindow;
use crate::resp::Span;
use std::mem::swap;

/// Servers whose lines are in one file.
const SERVERS_MAX: usize = 64;

/// Reads lines, all of one file: the lines on this core, what becomes of them on another one if there is.
pub(super) fn read(window: &mut FileWindow<'_>, to: &mut Replay, cores: usize) -> Outcome {
    let mut reader = Reader::new(to);
    let trouble = pipeline::run(
        cores,
        |batch| reader.take(batch),
        |pass| {
            let (mut lines, mut batch) = (Lines::default(), Batch::default());
            let trouble = each_line(window, &mut |line, number, is_cut| {
                lines.line(line, (number, is_cut), &mut batch)?;
                if batch.is_full() {
                    pass(&mut batch);
                }
                Ok(())
            });
            pass(&mut batch);
            trouble
        },
    );
    let trouble = both(trouble, reader.trouble.take());
    Outcome { trouble, gap: reader.end(), left_out: None }
}

/// The trouble of two sets of lines of one file.
fn both(a: Option<Trouble>, b: Option<Trouble>) -> Option<Trouble> {
    let (Some(a), Some(b)) = (&a, &b) else { return a.or(b) };
    let lines = a.lines.zip(b.lines).map(|(a, b)| a + b);
    let line = |trouble: &Trouble| match trouble.spot {
        Spot::Line(number) => number,
        _ => 0,
    };
    let first = if line(a) <= line(b) { a } else { b };
    Some(Trouble { lines, ..first.clone() })
}

/// A line in a batch, beside its words.
#[derive(Debug)]
struct Row {
    /// The name of the server.
    source: Span,
    client: Span,
    database: u64,
    at_us: u64,
    number: u64,
    /// The file ends in the middle of it.
    is_cut: bool,
}

/// Takes lines apart, all of one file.
#[derive(Default)]
struct Lines {
    /// The prefix of the lines so far.
    shape: Option<Shape>,
    words: Words,
}

impl Lines {
    /// Appends a line to a batch; an error says why it cannot be read.
    fn line(
        &mut self,
        line: &[u8],
        (number, is_cut): (u64, bool),
        to: &mut Batch<Row>,
    ) -> Result<(), String> {
        let line = line.trim_ascii();
        let Some(shown) = MonitorLine::parse(line) else {
            let is_other = || Err("not a line of MONITOR".to_owned());
            return if is_around(line) { Ok(()) } else { is_other() };
        };
        if *self.shape.get_or_insert(shown.prefix.shape) != shown.prefix.shape {
            return Err("another prefix than the lines before".to_owned());
        }
        let MonitorLine { prefix, at_us, database, client, command, client_and_command } = shown;
        let (first, start) = (to.spans.len(), to.bytes.len());
        let between = client_and_command.len() - command.len();
        let is_plain = split_plain(command, start + between, &mut to.spans);
        let client = if is_plain {
            // One copy has them all.
            to.add(client_and_command);
            Span::new(start, client.len())
        } else {
            to.spans.truncate(first);
            self.words.clear();
            self.words.split(command).map_err(|_| "unbalanced quotes")?;
            for word in self.words.iter() {
                let span = to.add(word);
                to.spans.push(span);
            }
            to.add(client)
        };
        if to.spans.len() == first {
            return Err("no command in the line".to_owned());
        }
        let source = match prefix.source {
            [] => Span::new(0, 0),
            name => to.add(name),
        };
        to.end_request(Row { source, client, database, at_us, number, is_cut });
        Ok(())
    }
}

/// Takes what [`Lines`] has read. [`Reader::end`] must follow.
struct Reader<'t> {
    to: &'t mut Replay,
    /// Each has a replay of its own; the ledger is lent to the one whose line was read last.
    servers: Vec<(Connections, Replay)>,
    lent_to: Option<usize>,
    /// The trouble with lines of more servers than are kept.
    trouble: Option<Trouble>,
}

impl<'t> Reader<'t> {
    fn new(to: &'t mut Replay) -> Self {
        Self { to, servers: Vec::new(), lent_to: None, trouble: None }
    }

    fn take(&mut self, batch: &Batch<Row>) {
        batch.each(|args, row| {
            let source = row.source.of(&batch.bytes);
            let shown = Shown {
                args,
                client: row.client.of(&batch.bytes),
                database: row.database,
                at_us: row.at_us,
                spot: Spot::Line(row.number),
            };
            if let Err(why) = self.see(source, &shown) {
                let why = if row.is_cut { cut(&why) } else { why };
                let first = || Trouble { spot: shown.spot, why, lines: Some(0) };
                let trouble = self.trouble.get_or_insert_with(first);
                trouble.lines = trouble.lines.map(|lines| lines + 1);
            }
        });
    }

    /// Takes a line of a server; an error says why it cannot be taken.
    fn see(&mut self, source: &[u8], shown: &Shown<'_>) -> Result<(), String> {
        let at = self.server(source)?;
        self.lend_to(Some(at));
        let (connections, replay) = &mut self.servers[at];
        connections.see(shown, replay);
        Ok(())
    }

    /// Ends what is open. Returns what could not be judged.
    fn end(mut self) -> Option<String> {
        for at in 0..self.servers.len() {
            self.lend_to(Some(at));
            let (connections, replay) = &mut self.servers[at];
            connections.end(replay);
            replay.end();
        }
        self.lend_to(None);
        let shared: u64 = self.servers.iter().map(|(connections, _)| connections.shared).sum();
        (shared > 0).then(|| {
            format!(
                "connections without an address of their own (Unix sockets) sent {shared} EXEC: which \
                 commands were theirs cannot be seen, so these were judged one by one"
            )
        })
    }

    fn server(&mut self, name: &[u8]) -> Result<usize, String> {
        // Mostly the one before.
        let is_it = |at: &usize| {
            let server = self.servers[*at].0.server();
            server.len() == name.len() && (name.is_empty() || server == name)
        };
        let before = self.lent_to.filter(is_it);
        let known = before.or_else(|| (0..self.servers.len()).find(is_it));
        if let Some(at) = known {
            return Ok(at);
        }
        if self.servers.len() >= SERVERS_MAX {
            return Err(format!("lines of more than {SERVERS_MAX} servers"));
        }
        self.servers.push((Connections::new(name), self.to.sibling()));
        Ok(self.servers.len() - 1)
    }

    /// Moves the ledger to a server, or back.
    fn lend_to(&mut self, at: Option<usize>) {
        if self.lent_to == at {
            return;
        }
        for place in [self.lent_to, at].into_iter().flatten() {
            swap(&mut self.to.ledger, &mut self.servers[place].1.ledger);
        }
        self.lent_to = at;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Replay, Option<String>, u64) {
        let (mut from, mut progress) = (text.as_bytes(), |_| ());
        let mut replay = Replay::new(3);
        let mut window = FileWindow::new(&mut from, &mut progress);
        let outcome = super::read(&mut window, &mut replay, 2);
        let wrong = outcome.trouble.and_then(|trouble| trouble.lines).unwrap_or(0);
        (replay, outcome.gap, wrong)
    }

    /// Lines `client: command`, 7 microseconds apart; `+5 client: command` comes 5 seconds later,
    /// `3/client: command` is in database 3.
    fn recorded(conversation: &str) -> (Vec<String>, Replay, Option<String>) {
        let mut at_us = 1_700_000_000_000_001_u64;
        let mut text = String::new();
        for line in conversation.lines() {
            let (client, command) = line.trim().split_once(": ").expect("client: command");
            let (wait, client) = client
                .strip_prefix('+')
                .and_then(|rest| rest.split_once(' '))
                .unwrap_or(("0", client));
            at_us += 7 + 1_000_000 * wait.parse::<u64>().expect("seconds");
            let (database, client) = client.split_once('/').unwrap_or(("0", client));
            let client = match client {
                "u" => "unix:/run/redis.sock",
                "lua" => "lua",
                other => &format!("10.0.0.1:{other}"),
            };
            let words: Vec<String> = command.split(' ').map(|word| format!("\"{word}\"")).collect();
            let (seconds, parts) = (at_us / 1_000_000, at_us % 1_000_000);
            let words = words.join(" ");
            text += &format!("{seconds}.{parts:06} [{database} {client}] {words}\n");
        }
        let (replay, unclear, wrong) = read(&text);
        assert_eq!(wrong, 0, "{text}");
        let rows = replay.ledger.violations.rows();
        let shown = rows.iter().map(|(kind, row)| {
            format!("{} {} {}", kind.rule.name(), kind.command, row.count).trim().to_owned()
        });
        (shown.collect(), replay, unclear)
    }

    const CROSSING: &str = "cross-slot-transaction multi: set 1";

    #[test]
    fn connections_from_one_port_are_kept_apart() {
        let cases: &[(&str, &[&str])] = &[
            ("1: multi\n1: set x 1\n1: set y 1\n1: exec", &[CROSSING]),
            ("1: multi\n2: get q\n1: set x 1\n1: set y 1\n1: exec\n2: get q", &[CROSSING]),
            // Its EXEC would show them directly before it: a new connection sent them.
            ("1: multi\n1: set x 1\n2: get q\n1: set y 1\n1: exec", &[]),
            ("1: multi\n1: set x 1\n1: multi\n1: set y 1\n1: exec", &[]),
            ("1: multi\n1: set x 1\n1: set y 1\n1: discard", &[]),
            ("1: multi\n1: set x 1\n1: set y 1", &[]),
            ("1: multi\n1: get x\n1: multi\n1: set x 1\n1: set y 1\n1: exec", &[CROSSING]),
            // A WATCH of the connection before guards nothing.
            ("1: watch x\n1: multi\n1: set y 1\n1: exec", &["watch-elsewhere multi: set 1"]),
            ("1: watch x\n1: hello 3\n1: multi\n1: set y 1\n1: exec", &[]),
            ("1: watch x\n1: auth (redacted)\n1: multi\n1: set y 1\n1: exec", &[]),
            ("1: watch x\n1: client setinfo lib-name a\n1: multi\n1: set y 1\n1: exec", &[]),
            ("1: watch x\n+61 1: multi\n1: set y 1\n1: exec", &[]),
            (
                "1: watch x\n+50 1: get x\n+50 1: multi\n1: set y 1\n1: exec",
                &["watch-elsewhere multi: set 1"],
            ),
            (
                "3/1: select 3\n3/1: watch x\n1: multi\n1: set y 1\n1: exec",
                &["other-database select 1"],
            ),
            ("1: watch x\n1: quit\n1: multi\n1: set y 1\n1: exec", &[]),
            ("1: watch x\n1: reset\n1: watch y", &[]),
            ("1: watch x\n1: watch y", &["cross-slot-watch watch 1"]),
            ("1: watch x\n1: hello 3\n1: watch y", &[]),
            // The WATCH came within a stale MULTI.
            (
                "1: multi\n1: watch x\n1: multi\n1: set y 1\n1: exec",
                &["watch-elsewhere multi: set 1"],
            ),
            ("1: watch x\n1: exec\n1: multi\n1: set y 1\n1: exec", &[]),
            // What scripts call stands within a transaction.
            (
                "1: multi\n1: eval s 1 x\nlua: get x\n1: set y 1\n1: exec",
                &["cross-slot-transaction multi: eval, set 1"],
            ),
        ];
        for (conversation, expected) in cases {
            let (found, replay, unclear) = recorded(conversation);
            assert_eq!(found, *expected, "{conversation}");
            assert_eq!(unclear, None);
            let lines = conversation.lines().count() as u64;
            let by_script = conversation.matches("lua:").count() as u64;
            assert_eq!(replay.ledger.counts.commands, lines, "{conversation} {by_script}");
        }
    }

    #[test]
    fn names_belong_to_one_connection() {
        let (_, replay, _) = recorded(
            "1: client setname a\n1: hello 3\n1: get q\n1: mget x y\n1: hello 3\n1: mget x y",
        );
        let rows = replay.ledger.violations.rows();
        let clients = format!("{:?}", rows[0].1);
        assert!(clients.contains("\"a\"") && clients.contains("\"\""), "{clients}");
    }

    #[test]
    fn connections_with_one_address_are_judged_by_command() {
        let text = "u: multi\nu: multi\nu: set x 1\nu: exec\nu: set y 1\nu: exec\nu: watch x\nu: watch y\nu: mget x y";
        let (found, replay, unclear) = recorded(text);
        assert_eq!(found, ["cross-slot-command mget 1"]);
        assert_eq!((replay.ledger.counts.commands, replay.ledger.counts.transactions), (9, 0));
        assert!(unclear.expect("it is said").contains("2 EXEC"));
    }

    /// Slotway's shards run side by side; its lines have the time of their batch, in milliseconds.
    #[test]
    fn a_transaction_has_the_time_of_its_exec() {
        let line = |ms: u32, client: u32, command: &str| {
            format!("1700000000.{ms:03}000 [0 a:{client}] {command}\n")
        };
        let whole = [
            line(1, 1, "\"multi\""),
            line(2, 1, "\"set\" \"x\" \"1\""),
            line(3, 2, "\"get\" \"q\""),
            line(2, 1, "\"set\" \"y\" \"1\""),
            line(2, 1, "\"exec\""),
        ];
        let (replay, ..) = read(&whole.concat());
        assert_eq!(replay.ledger.violations.total, 1);
        let other =
            [&whole[0], &whole[1], &whole[2], &line(4, 1, "\"set\" \"y\" \"1\""), &whole[4]];
        let (replay, ..) = read(&other.map(String::as_str).concat());
        assert_eq!((replay.ledger.violations.total, replay.ledger.counts.commands), (0, 5));
    }

    #[test]
    fn servers_are_kept_apart() {
        let text = r#"redis-1  | OK
redis-1  | 1.000001 [0 a:1] "watch" "x"
redis-2  | 1.000002 [0 a:1] "multi"
redis-2  | 1.000003 [0 a:1] "set" "y" "1"
redis-1  | 1.000004 [0 a:2] "get" "q"
redis-2  | 1.000005 [0 a:1] "set" "x" "1"
redis-2  | 1.000006 [0 a:1] "exec"
redis-1  | 1.000007 [0 a:1] "eval" "s" "1" "k"
redis-2  | 1.000008 [0 a:2] "eval" "s" "1" "l"
redis-1  | 1.000009 [0 lua] "get" "k"
redis-2  | 1.000010 [0 lua] "get" "l"
web-1    | GET /index.html
2026-11-30T03:00:00Z 1.000011 [0 a:2] "get" "k"
"#;
        let (replay, _, wrong) = read(text);
        assert_eq!((replay.ledger.counts.commands, wrong), (10, 2));
        let rows = replay.ledger.violations.rows();
        assert_eq!((rows.len(), &*rows[0].0.command), (1, "multi: set"));
        assert!(format!("{:?}", rows[0].1).contains("redis-2 a:1"));
    }

    #[test]
    fn servers_are_bounded() {
        let text: String =
            (0..=SERVERS_MAX).map(|n| format!("s{n} | 1.000001 [0 a:1] \"ping\"\n")).collect();
        let (replay, _, wrong) = read(&text);
        assert_eq!((replay.ledger.counts.commands, wrong), (SERVERS_MAX as u64, 1));
    }

    #[test]
    fn much_that_waits_is_taken_for_the_transaction() {
        let line = |n: u64, words: &str| format!("1.{n:06} [0 a:1] {words}\n");
        let mut text = line(1, "\"multi\"");
        (2..10_000).for_each(|n| text += &line(n, "\"set\" \"{a}\" \"1\""));
        let (replay, ..) = read(&(text.clone() + &line(10_000, "\"exec\"")));
        assert_eq!((replay.ledger.counts.commands, replay.ledger.counts.transactions), (10_000, 1));
        let (replay, ..) = read(&text);
        assert_eq!((replay.ledger.counts.commands, replay.ledger.counts.transactions), (9999, 0));
    }
}
