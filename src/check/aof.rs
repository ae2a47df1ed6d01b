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
use crate::ledger::Spot;
use crate::rdb::file_window::FileWindow;
use crate::text::number::parse_i64;

/// Bytes of an argument that are kept: keys are shorter, and values do not matter.
pub const ARG_KEPT_MAX: u64 = 64 * 1024;
/// Bytes of a command that are kept.
pub const COMMAND_KEPT_MAX: usize = 64 << 20;
/// Longest line of a header.
const HEADER_LEN_MAX: usize = 64;
/// Longest annotation.
const ANNOTATION_LEN_MAX: usize = 1024;

/// Reads commands up to the end.
pub(super) fn read(window: &mut FileWindow<'_>, to: &mut Replay) -> Option<Trouble> {
    let mut words = Words::default();
    let mut at_ms = None;
    let mut start = window.offset();
    let why = loop {
        start = if to.is_queueing(b"") { start } else { window.offset() };
        let at = window.offset();
        match command(window, &mut words, &mut at_ms) {
            Ok(true) => {}
            Ok(false) if to.is_queueing(b"") => {
                break "the file ends in the middle of a transaction".to_owned();
            }
            Ok(false) => return None,
            Err(why) => {
                start = at;
                break why;
            }
        }
        if let Some(args) = words.args() {
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

/// Reads a command into `words`, or an annotation, which leaves them empty. Returns whether there was
/// one.
fn command(
    window: &mut FileWindow<'_>,
    words: &mut Words,
    at_ms: &mut Option<u64>,
) -> Result<bool, String> {
    words.clear();
    match window.more(1).first() {
        None => return Ok(false),
        Some(b'#') => {
            let line = line(window, ANNOTATION_LEN_MAX)?;
            if let Some(seconds) = line.strip_prefix(b"#TS:").and_then(parse_i64) {
                *at_ms = u64::try_from(seconds).ok().and_then(|s| s.checked_mul(1000));
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
        let len = header(window, b'$')?;
        let kept = len.min(ARG_KEPT_MAX);
        let kept = usize::try_from(kept).unwrap_or(0);
        if words.len() + kept > COMMAND_KEPT_MAX {
            return Err(format!("a command of more than {COMMAND_KEPT_MAX} bytes"));
        }
        let word = window.more(kept).get(..kept).ok_or_else(ended)?;
        words.push(word);
        window.take(kept);
        if !window.skip(len - kept as u64) {
            return Err(ended());
        }
        match window.more(2) {
            [b'\r', b'\n', ..] => window.take(2),
            [] | [b'\r'] => return Err(ended()),
            _ => return Err("an argument is longer than its length".to_owned()),
        };
    }
    Ok(true)
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

/// Returns the files that a manifest names, in the order in which they are to be read.
///
/// # Errors
/// The text is no manifest.
pub fn manifest(text: &str) -> Result<Vec<String>, String> {
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
        match kind {
            // The base comes first, wherever it is listed; history is about to be deleted.
            b"b" => files.insert(0, name.to_owned()),
            b"i" => files.push(name.to_owned()),
            b"h" => {}
            _ => return Err(wrong()),
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Format;
    use proptest::prelude::*;

    fn scan(format: Format, mut bytes: &[u8]) -> (Replay, Option<Trouble>) {
        let mut replay = Replay::new(3);
        let mut progress = |_| ();
        let trouble = crate::check::read(
            &mut FileWindow::new(&mut bytes, &mut progress),
            format,
            &mut replay,
        );
        (replay, trouble)
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
        let (replay, trouble) = scan(Format::of(MIXED), MIXED);
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
        let value = "v".repeat(ARG_KEPT_MAX as usize * 3);
        let mut bytes = b"#TS:1700000000\r\n".to_vec();
        bytes.extend(wire(&[&format!("mset x {value} y 2")]));
        let (replay, trouble) = scan(Format::Aof, &bytes);
        assert_eq!(trouble, None);
        let rows = replay.ledger.violations.rows();
        assert_eq!(rows[0].1.first_ms, Some(1_700_000_000_000));
    }

    #[test]
    fn manifests_name_the_parts_in_order() {
        let text = "file a.2.incr.aof seq 2 type i\n# note\nfile a.1.base.rdb seq 1 type b\nfile a.0.incr.aof seq 0 type h\nfile \"a 3\" seq 3 type i\n";
        assert_eq!(
            manifest(text),
            Ok(["a.1.base.rdb", "a.2.incr.aof", "a 3"].map(str::to_owned).into())
        );
        for bad in ["file ../x seq 1 type b", "file x seq 1 type q", "x", "file x type b"] {
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
