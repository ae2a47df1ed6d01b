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

/// Reads commands up to the end.
pub(super) fn read(window: &mut FileWindow<'_>, to: &mut Replay) -> Option<Trouble> {
    let mut command = Command::default();
    let mut start = window.offset();
    // A command that could not be judged.
    let mut unjudged: Option<Trouble> = None;
    let why = loop {
        start = if to.is_queueing(b"") { start } else { window.offset() };
        let at = window.offset();
        match command.next(window) {
            Ok(true) => {}
            Ok(false) if to.is_queueing(b"") => {
                break "the file ends in the middle of a transaction".to_owned();
            }
            Ok(false) => return unjudged,
            Err(why) => {
                start = at;
                break why;
            }
        }
        let at_ms = command.at_ms;
        if let Some(args) = command.words.args() {
            if command.has_cut_key(args) {
                let why = "a key is too long to be judged".to_owned();
                unjudged.get_or_insert(Trouble { spot: Spot::Byte(at), why, lines: None });
                continue;
            }
            let spot = Spot::Byte(at);
            to.command(&SeenCommand {
                args,
                client: b"",
                database: None,
                at_ms,
                spot,
                by_script: false,
                has_run: true,
            });
        }
    };
    Some(Trouble { spot: Spot::Byte(start), why, lines: None })
}

/// A command.
#[derive(Default)]
struct Command {
    words: Words,
    /// The arguments of which only the beginning was kept.
    cut: Vec<usize>,
    /// The time of the last annotation.
    at_ms: Option<u64>,
}

impl Command {
    /// Reads the next command, or an annotation, which leaves no words. Returns whether there was one.
    fn next(&mut self, window: &mut FileWindow<'_>) -> Result<bool, String> {
        self.words.clear();
        self.cut.clear();
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
        for _ in 0..count {
            self.argument(window)?;
        }
        Ok(true)
    }

    fn argument(&mut self, window: &mut FileWindow<'_>) -> Result<(), String> {
        let len = header(window, b'$')?;
        let is_long = self.words.len() > COMMAND_FREE_MAX;
        let kept = len.min(if is_long { ARG_KEPT_MAX_THEN } else { ARG_KEPT_MAX });
        if kept < len {
            self.cut.push(self.words.iter().len());
        }
        let kept = usize::try_from(kept).unwrap_or(0);
        if self.words.len() + kept > COMMAND_KEPT_MAX {
            return Err(format!("a command of more than {COMMAND_KEPT_MAX} bytes"));
        }
        let word = window.more(kept).get(..kept).ok_or_else(ended)?;
        self.words.push(word);
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
        let outcome = crate::check::read(&mut window, &form, &mut replay);
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

    proptest! {
        #[test]
        fn nothing_panics(bytes in prop::collection::vec(prop::sample::select(b"*$\r\n0123GET#".to_vec()), 0..60)) {
            let _any = scan(Format::Aof, &bytes);
        }
    }
}
