//! The formats that can be read, and how each is detected by a file's first bytes.

use super::tokenizer::Words;
use crate::command::foreign;
use crate::rdb::file::is_rdb;
use std::str::FromStr;

/// Bytes from the beginning of a file by which its format is detected.
pub(crate) const LOOK_LEN: usize = 64 * 1024;
/// Lines that are examined.
const LINES_MAX: usize = 200;

/// The format of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// A key on each line.
    Keys,
    /// Keys that are used together on each line.
    Sets,
    /// A transaction on each line: commands with `;` between them.
    Transactions,
    /// A command on each line, all of one client, as redis-cli remembers them.
    History,
    /// What MONITOR shows.
    Monitor,
    /// An append-only file, or a part of one.
    Aof,
    /// An RDB file, perhaps with the commands of an AOF behind it.
    Rdb,
}

impl Format {
    /// All of them with their names.
    pub(crate) const NAMES: &[(Self, &'static str)] = &[
        (Self::Keys, "keys"),
        (Self::Sets, "sets"),
        (Self::Transactions, "transactions"),
        (Self::History, "history"),
        (Self::Monitor, "monitor"),
        (Self::Aof, "aof"),
        (Self::Rdb, "rdb"),
    ];

    /// Returns its name.
    #[must_use]
    pub(crate) fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(format, _)| *format == self).map_or("", |(_, name)| name)
    }

    /// Returns the format of a file that begins with `start`.
    #[must_use]
    pub(crate) fn of(start: &[u8]) -> Self {
        if is_rdb(start) {
            return Self::Rdb;
        }
        let is_aof = start.starts_with(b"#TS:")
            || start.starts_with(b"*") && start.get(1).is_some_and(u8::is_ascii_digit);
        if is_aof {
            return Self::Aof;
        }
        let mut lines: Vec<&[u8]> = start.split(|&byte| byte == b'\n').take(LINES_MAX).collect();
        // The last one may have been cut.
        if lines.len() > 1 {
            lines.pop();
        }
        let lines: Vec<&[u8]> =
            lines.into_iter().map(<[u8]>::trim_ascii).filter(|line| !line.is_empty()).collect();
        if lines.iter().any(|line| is_monitor(line)) {
            return Self::Monitor;
        }
        let mut words = Words::default();
        let (mut commands, mut sets, mut semicolons) = (0, 0, 0);
        for line in &lines {
            words.clear();
            let Some(args) = words.split(line).ok().and_then(|()| words.args()) else { continue };
            commands += usize::from(is_command(args));
            sets += usize::from(args.len() > 1);
            semicolons += usize::from(args.from(0).any(|word| word == b";"));
        }
        // A history may have a few typing errors.
        match lines.len() {
            _ if semicolons > 0 => Self::Transactions,
            all if commands > 0 && commands * 10 >= all * 8 => Self::History,
            _ if sets > 0 => Self::Sets,
            _ => Self::Keys,
        }
    }
}

fn is_command(args: crate::command::Args<'_>) -> bool {
    let plain = |spec: &crate::command::Spec| spec.arity.admits(args.len());
    foreign::find(args).is_some_and(|spec| plain(spec) || !spec.subcommands.is_empty())
}

/// `1339518083.107412 [0 127.0.0.1:60866] "keys" "*"`.
fn is_monitor(line: &[u8]) -> bool {
    super::text_formats::stamp(line).is_some()
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::NAMES.iter().find(|(_, name)| *name == text);
        found.map(|(format, _)| *format).ok_or_else(|| {
            let names: Vec<&str> = Self::NAMES.iter().map(|(_, name)| *name).collect();
            format!("must be one of {}", names.join(", "))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_detected_by_the_first_bytes() {
        for (start, format) in [
            ("REDIS0010\u{fa}", Format::Rdb),
            ("*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n", Format::Aof),
            ("#TS:1628217470\r\n*2\r\n", Format::Aof),
            ("OK\n1795332580.764123 [0 127.0.0.1:5] \"get\" \"a\"\n", Format::Monitor),
            ("set a 1\nget a\nkeys *\n", Format::History),
            ("set a 1\ngte a\nget a\nget b\nget c\nget d\n", Format::History),
            ("set a 1 ; incr b\nget a\n", Format::Transactions),
            ("user:1 cart:1\nuser:2 cart:2\n", Format::Sets),
            ("user:1\nuser:2\nget\n", Format::Keys),
            ("", Format::Keys),
        ] {
            assert_eq!(Format::of(start.as_bytes()), format, "{start:?}");
        }
        assert_eq!("monitor".parse(), Ok(Format::Monitor));
        assert!("monitors".parse::<Format>().is_err());
    }
}
