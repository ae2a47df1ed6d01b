//! Reads append-only files: the commands that changed something, in the form of the protocol.
//!
//! ```text
//! #TS:1628217470\r\n           an annotation with the time, since Redis 7.0
//! *2\r\n$6\r\nSELECT\r\n…       a command
//! MULTI … EXEC                 a transaction; a script that changed more than one thing looks the same
//! ```
//!
//! `appendonly.aof.manifest` names the parts of a file in several: a base, usually RDB, and the
//! commands since.

use super::Trouble;
use super::pipeline::{self, Batch};
use super::replay::{Replay, SeenCommand};
use super::tokenizer::Words;
use crate::command::Args;
use crate::command::foreign;
use crate::ledger::Spot;
use crate::rdb::file_window::FileWindow;
use crate::text::number::parse_i64;

/// Bytes of an argument that are kept: values do not matter, and a longer key is reported.
pub(crate) const ARG_KEPT_MAX: u64 = 16 << 20;
/// The same, once a command has [`COMMAND_FREE_MAX`] bytes.
const ARG_KEPT_MAX_THEN: u64 = 64 << 10;
const COMMAND_FREE_MAX: usize = 16 << 20;
/// Bytes of a command that are kept.
pub(crate) const COMMAND_KEPT_MAX: usize = 64 << 20;
/// Longest line of a header.
const HEADER_LEN_MAX: usize = 64;
/// Longest annotation.
const ANNOTATION_LEN_MAX: usize = 1024;

/// Reads commands up to the end: the bytes on this core, what becomes of them on another one if there is.
pub(super) fn read(window: &mut FileWindow<'_>, to: &mut Replay, cores: usize) -> Option<Trouble> {
    let mut taker = Taker { to, start: window.offset(), unjudged: None };
    let end = pipeline::run(
        cores,
        |batch| taker.take(batch),
        |pass| {
            let (mut commands, mut batch) = (Commands::default(), Batch::default());
            let end = loop {
                let at = window.offset();
                match commands.next(window, &mut batch) {
                    Ok(true) => {}
                    Ok(false) => break Ok(()),
                    Err(why) => {
                        break Err(Trouble { spot: Spot::Byte(at), why, lines: None });
                    }
                }
                if batch.is_full() {
                    pass(&mut batch);
                }
            };
            pass(&mut batch);
            end
        },
    );
    if end.is_ok() && taker.to.is_queueing(b"") {
        let why = "the file ends in the middle of a transaction".to_owned();
        return Some(Trouble { spot: Spot::Byte(taker.start), why, lines: None });
    }
    end.err().or(taker.unjudged)
}

/// A command in a batch, beside its words.
#[derive(Debug)]
struct Row {
    /// Where it begins in the file.
    at: u64,
    at_ms: Option<u64>,
    /// Only the beginning of one of its keys was kept.
    has_cut_key: bool,
}

/// Takes the commands that [`Commands`] has read.
struct Taker<'t> {
    to: &'t mut Replay,
    /// Where the latest command outside a transaction begins.
    start: u64,
    /// A command that could not be judged.
    unjudged: Option<Trouble>,
}

impl Taker<'_> {
    fn take(&mut self, batch: &Batch<Row>) {
        batch.each(|args, &Row { at, at_ms, has_cut_key }| {
            if !self.to.is_queueing(b"") {
                self.start = at;
            }
            let spot = Spot::Byte(at);
            if has_cut_key {
                let why = "a key is too long to be judged".to_owned();
                self.unjudged.get_or_insert(Trouble { spot, why, lines: None });
                return;
            }
            self.to.command(&SeenCommand {
                args,
                client: b"",
                database: None,
                at_ms,
                spot,
                by_script: false,
                has_run: true,
            });
        });
    }
}

/// Reads commands.
#[derive(Default)]
struct Commands {
    /// The arguments of a command of which only the beginning was kept.
    cut: Vec<usize>,
    /// The time of the last annotation.
    at_ms: Option<u64>,
}

impl Commands {
    /// Appends the next command to a batch, or reads an annotation. Returns whether there was one.
    fn next(&mut self, window: &mut FileWindow<'_>, to: &mut Batch<Row>) -> Result<bool, String> {
        let at = window.offset();
        match window.more(1).first() {
            None => return Ok(false),
            Some(b'#') => {
                let line = line(window, ANNOTATION_LEN_MAX)?;
                if let Some(seconds) = line.strip_prefix(b"#TS:").and_then(parse_i64) {
                    self.at_ms = u64::try_from(seconds).ok().and_then(|s| s.checked_mul(1000));
                }
                return Ok(true);
            }
            Some(_) => {}
        }
        let count = header(window, b'*')?;
        if count == 0 {
            return Err("a command without arguments".to_owned());
        }
        self.cut.clear();
        let (first, before) = (to.spans.len(), to.bytes.len());
        for _ in 0..count {
            self.argument(window, to, (first, before))?;
        }
        let args = Args::new(&to.bytes, &to.spans[first..]);
        let has_cut_key = self.has_cut_key(args);
        to.end_request(Row { at, at_ms: self.at_ms, has_cut_key });
        Ok(true)
    }

    /// Appends an argument of the command that begins at these lengths of the batch.
    fn argument(
        &mut self,
        window: &mut FileWindow<'_>,
        to: &mut Batch<Row>,
        (first, before): (usize, usize),
    ) -> Result<(), String> {
        let len = header(window, b'$')?;
        let used = to.bytes.len() - before;
        let kept = len.min(if used > COMMAND_FREE_MAX { ARG_KEPT_MAX_THEN } else { ARG_KEPT_MAX });
        if kept < len {
            self.cut.push(to.spans.len() - first);
        }
        let kept = usize::try_from(kept).unwrap_or(0);
        if used + kept > COMMAND_KEPT_MAX {
            return Err(format!("a command of more than {COMMAND_KEPT_MAX} bytes"));
        }
        let word = window.more(kept).get(..kept).ok_or_else(ended)?;
        let span = to.add(word);
        to.spans.push(span);
        window.take(kept);
        if !window.skip(len - kept as u64) {
            return Err(ended());
        }
        match window.more(2) {
            [b'\r', b'\n', ..] => window.take(2),
            [] | [b'\r'] => return Err(ended()),
            _ => return Err("an argument is longer than its length".to_owned()),
        };
        Ok(())
    }

    /// Whether only the beginning of a key was kept.
    fn has_cut_key(&self, args: Args<'_>) -> bool {
        let mut is_cut = false;
        if !self.cut.is_empty()
            && let Some(spec) = foreign::find(args)
        {
            spec.each_key(args, |key| {
                let is_key = |&at: &usize| args.get(at).is_some_and(|arg| std::ptr::eq(arg, key));
                is_cut |= self.cut.iter().any(is_key);
            });
        }
        is_cut
    }
}

fn ended() -> String {
    "the file ends here, in the middle of a command".to_owned()
}

/// `*3\r\n`, `$5\r\n`.
fn header(window: &mut FileWindow<'_>, mark: u8) -> Result<u64, String> {
    if let Some((number, len)) = short_header(window.more(1), mark) {
        window.take(len);
        return Ok(number);
    }
    let line = line(window, HEADER_LEN_MAX)?;
    let number = line.split_first().filter(|(first, _)| **first == mark);
    let number = number.and_then(|(_, digits)| parse_i64(digits));
    number.and_then(|number| u64::try_from(number).ok()).ok_or_else(|| {
        format!(
            "expected {} and a number, found {:?}",
            char::from(mark),
            line.escape_ascii().to_string()
        )
    })
}

/// Returns the number of a header that is at hand as a whole, as nearly all are, and its length; `None` if
/// it is to be looked at closely.
#[inline]
fn short_header(at_hand: &[u8], mark: u8) -> Option<(u64, usize)> {
    const DIGITS_MAX: usize = 9;
    let digits = at_hand.strip_prefix(&[mark])?;
    let len = digits.iter().take(DIGITS_MAX).take_while(|byte| byte.is_ascii_digit()).count();
    let is_plain = digits[..len] == *b"0" || digits.first().is_some_and(|digit| *digit != b'0');
    (len > 0 && is_plain && digits[len..].starts_with(b"\r\n")).then(|| {
        let number = digits[..len].iter().fold(0, |n, digit| n * 10 + u64::from(digit - b'0'));
        (number, len + 3)
    })
}

fn line<'f>(window: &'f mut FileWindow<'_>, len_max: usize) -> Result<&'f [u8], String> {
    // Nearly all lines are short, and asking for more would wait for bytes that may never come.
    let mut want = 16;
    let len = loop {
        let at_hand = window.more(want);
        let have = at_hand.len();
        match at_hand.iter().take(len_max).position(|&byte| byte == b'\n') {
            Some(len) => break len,
            None if have >= len_max => return Err("not a command: the line is too long".to_owned()),
            None if have < want => return Err(ended()),
            None => want = have + 1,
        }
    };
    let line = &window.take(len + 1)[..len];
    Ok(line.strip_suffix(b"\r").unwrap_or(line))
}

/// A file that a manifest names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ManifestFile {
    /// In the folder of the manifest.
    pub(crate) name: String,
    /// RDB or AOF; the others are AOF.
    pub(crate) is_base: bool,
}

/// Returns the files that a manifest names, in the order in which they are to be read; at least one.
///
/// # Errors
/// The text is no manifest.
pub(crate) fn manifest(text: &str) -> Result<Vec<ManifestFile>, String> {
    let mut files = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let mut words = Words::default();
        let wrong = || format!("line {}: expected file NAME seq NUMBER type b|i|h", at + 1);
        words.split(line.as_bytes()).map_err(|_| wrong())?;
        let words: Vec<&[u8]> = words.iter().collect();
        let field = |name: &[u8]| {
            let pairs = words.chunks_exact(2);
            pairs.filter(|pair| pair[0] == name).map(|pair| pair[1]).next()
        };
        let name = field(b"file").and_then(|name| std::str::from_utf8(name).ok());
        let (Some(name), Some(_), Some(kind)) = (name, field(b"seq"), field(b"type")) else {
            return Err(wrong());
        };
        if name.contains('/') || name.is_empty() {
            return Err(format!("line {}: a file in another folder: {name}", at + 1));
        }
        let file = |is_base| ManifestFile { name: name.to_owned(), is_base };
        match kind {
            // The base comes first, wherever it is listed; history is about to be deleted.
            b"b" => files.insert(0, file(true)),
            b"i" => files.push(file(false)),
            b"h" => {}
            _ => return Err(wrong()),
        }
    }
    if files.is_empty() {
        return Err("a manifest that names no file".to_owned());
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{Form, Format};
    use proptest::prelude::*;

    fn scan(format: Format, mut bytes: &[u8]) -> (Replay, Option<Trouble>) {
        let mut replay = Replay::new(3);
        let mut progress = |_| ();
        let mut window = FileWindow::new(&mut bytes, &mut progress);
        let form = Form::named(format, "the test");
        let outcome = crate::check::read(&mut window, &form, &mut replay, 2);
        (replay, outcome.trouble)
    }

    fn wire(commands: &[&str]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for command in commands {
            let words: Vec<&str> = command.split(' ').collect();
            bytes.extend(format!("*{}\r\n", words.len()).bytes());
            words.iter().for_each(|w| bytes.extend(format!("${}\r\n{w}\r\n", w.len()).bytes()));
        }
        bytes
    }

    /// Written by redis-server 7.0.15; see tests/data/check/README.md.
    const MIXED: &[u8] = include_bytes!("../../tests/data/check/mixed.aof");

    #[test]
    fn a_preamble_and_commands_in_one_file() {
        let (replay, trouble) = scan(Form::of(MIXED).expect("certain").format, MIXED);
        assert_eq!(trouble, None);
        let key_stats = &replay.ledger.key_stats;
        assert_eq!((key_stats.keys, key_stats.uses, replay.ledger.counts.transactions), (2, 3, 1));
        assert_eq!(replay.ledger.violations.total, 1);
    }

    #[test]
    fn a_file_that_ends_early_says_where() {
        let whole = wire(&["set a 1", "mset x 1 y 2"]);
        let first = wire(&["set a 1"]).len();
        for len in 1..whole.len() {
            let (replay, trouble) = scan(Format::Aof, &whole[..len]);
            if len == first {
                assert_eq!(trouble, None);
                continue;
            }
            let expected = Spot::Byte(if len < first { 0 } else { first as u64 });
            let trouble = trouble.expect("cut");
            assert_eq!(
                (trouble.spot, replay.ledger.counts.commands),
                (expected, u64::from(len > first)),
                "{len}"
            );
            assert!(trouble.why.contains("the file ends"), "{}", trouble.why);
        }
        let open = wire(&["set a 1", "multi", "set b 1"]);
        let (_, trouble) = scan(Format::Aof, &open);
        assert!(trouble.expect("open").why.contains("transaction"));
    }

    #[test]
    fn reading_stops_where_no_command_is() {
        for (bytes, why) in [
            (&b"*1\r\n$4\r\nPINGXX"[..], "longer than its length"),
            (b"*1\r\n:4\r\n", "expected"),
            (b"*x\r\n", "expected"),
            (b"*0\r\n", "without arguments"),
            (&[b'*'; 100], "not a command"),
        ] {
            let (_, trouble) = scan(Format::Aof, bytes);
            let trouble = trouble.expect(why);
            assert!(trouble.why.contains(why), "{}", trouble.why);
        }
    }

    #[test]
    fn long_values_are_skipped_and_annotations_have_the_time() {
        let value = "v".repeat(ARG_KEPT_MAX as usize + 3);
        let mut bytes = b"#TS:1700000000\r\n".to_vec();
        bytes.extend(wire(&[&format!("mset x {value} y {value}")]));
        let (replay, trouble) = scan(Format::Aof, &bytes);
        assert_eq!(trouble, None);
        let rows = replay.ledger.violations.rows();
        assert_eq!(rows[0].1.first_ms, Some(1_700_000_000_000));
    }

    #[test]
    fn keys_of_any_length_are_judged_or_reported() {
        let long = "k".repeat(1 << 20);
        let (replay, trouble) =
            scan(Format::Aof, &wire(&[&format!("mset {{a}}{long} 1 {{a}}x 2")]));
        assert_eq!((replay.ledger.violations.total, trouble), (0, None));
        let (replay, _) = scan(Format::Aof, &wire(&[&format!("mset {long}x 1 {long}y 2")]));
        assert_eq!(replay.ledger.violations.total, 1);
        let longer = "k".repeat(ARG_KEPT_MAX as usize + 3);
        let first = wire(&["get a"]).len();
        let bytes = wire(&["get a", &format!("mset {longer} 1 x 2"), "mset x 1 y 2"]);
        let (replay, trouble) = scan(Format::Aof, &bytes);
        assert_eq!((replay.ledger.violations.total, replay.ledger.counts.commands), (1, 2));
        let trouble = trouble.expect("a key was not judged");
        assert_eq!(
            (trouble.spot, &*trouble.why),
            (Spot::Byte(first as u64), "a key is too long to be judged")
        );
    }

    #[test]
    fn manifests_name_the_parts_in_order() {
        let text = "file a.2.incr.aof seq 2 type i\n# note\nfile a.1.base.rdb seq 1 type b\nfile a.0.incr.aof seq 0 type h\nfile \"a 3\" seq 3 type i\n";
        let files = manifest(text).expect("a manifest");
        let files: Vec<_> = files.iter().map(|file| (&*file.name, file.is_base)).collect();
        assert_eq!(files, [("a.1.base.rdb", true), ("a.2.incr.aof", false), ("a 3", false)]);
        for bad in ["file ../x seq 1 type b", "file x seq 1 type q", "x", "file x type b", "# note"]
        {
            assert!(manifest(bad).is_err(), "{bad}");
        }
    }

    /// Commands fed one after the other, as they are read plainly: what the file's report must be.
    fn report(replay: &Replay) -> String {
        crate::report::proof::json::json(&crate::report::Report::of(&replay.found(), &[], false))
    }

    fn command() -> impl Strategy<Value = Vec<String>> {
        let key = prop_oneof!["[a-c]:[0-9]{1,3}", "\\{[ab]\\}:[a-z]{1,4}", "s:[0-9a-f]{12}"];
        (0..9, key.clone(), key, "[a-z\r\n]{0,40}").prop_map(|(of, key, other, value)| {
            let words: &[&str] = match of {
                0..3 => &["SET", &key, &value],
                3 => &["MSET", &key, &value, &other, &value],
                4 => &["MULTI"],
                5 => &["EXEC"],
                6 => &["SELECT", "1"],
                7 => &["DEL", &key, &other],
                _ => &["nosuch", &key],
            };
            words.iter().map(|word| (*word).to_owned()).collect()
        })
    }

    proptest! {
        #[test]
        fn both_roads_lead_to_one_report(commands in prop::collection::vec(command(), 0..60)) {
            let (mut bytes, mut plain) = (Vec::new(), Replay::new(3));
            for command in &commands {
                let mut words = Words::default();
                command.iter().for_each(|word| words.push(word.as_bytes()));
                plain.command(&SeenCommand {
                    args: words.args().expect("words"),
                    client: b"",
                    database: None,
                    at_ms: None,
                    spot: Spot::Byte(bytes.len() as u64),
                    by_script: false,
                    has_run: true,
                });
                bytes.extend(format!("*{}\r\n", command.len()).bytes());
                command.iter().for_each(|w| bytes.extend(format!("${}\r\n{w}\r\n", w.len()).bytes()));
            }
            plain.end();
            for cores in [1, 2] {
                let (mut from, mut progress) = (&bytes[..], |_| ());
                let mut replay = Replay::new(3);
                let mut window = FileWindow::new(&mut from, &mut progress);
                let trouble = read(&mut window, &mut replay, cores);
                replay.end();
                prop_assert_eq!(trouble.is_some(), plain.is_queueing(b""));
                prop_assert_eq!(report(&replay), report(&plain));
            }
        }

        #[test]
        fn nothing_panics(bytes in prop::collection::vec(prop::sample::select(b"*$\r\n0123GET#".to_vec()), 0..60)) {
            let _any = scan(Format::Aof, &bytes);
        }
    }
}
