//! The formats that can be read, and how each is detected by a file's first bytes.
//!
//! A file is read only if its form is certain, or named; the report says why it was taken. What matches
//! nothing is refused, with the formats that could be named.

use super::monitor::line::{MonitorLine, is_around, writer};
use super::text_shapes::{self, Lines};
use super::tokenizer::Words;
use crate::command::foreign;
use crate::rdb::file::is_rdb;
use crate::text::number::parse_i64;
use std::str::FromStr;

/// Bytes from the beginning of a file by which its format is detected.
pub(crate) const LOOK_LEN: usize = 1 << 20;
/// What some programs write before UTF-8.
pub(super) const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
/// Bytes of a file that a reason shows.
const SHOWN_MAX: usize = 12;

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
}

/// What a file is read as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Form {
    pub(crate) format: Format,
    /// Why it was taken, in a few words.
    pub(crate) why: String,
    /// Somebody named it: the lines need not look like it.
    pub(crate) is_named: bool,
}

/// Why no form is certain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unknown {
    why: String,
    /// What could be named.
    forms: &'static [Format],
    /// What to do.
    instead: Option<String>,
}

impl Form {
    /// A form that something other than the content says: `by` is what.
    pub(crate) fn named(format: Format, by: &str) -> Self {
        Self { format, why: format!("named by {by}"), is_named: true }
    }

    pub(super) fn seen(format: Format, why: impl Into<String>) -> Self {
        Self { format, why: why.into(), is_named: false }
    }

    /// Returns the form of a file that begins with `start`, at most [`LOOK_LEN`] bytes of it.
    ///
    /// # Errors
    /// None is certain.
    pub(crate) fn of(start: &[u8]) -> Result<Self, Unknown> {
        if start.trim_ascii().is_empty() {
            let why = if start.is_empty() { "it is empty" } else { "it has blank lines only" };
            let instead = "nothing in it to check; if that is right, name its form with --format";
            return Err(Unknown::instead(why, instead));
        }
        if let Some(found) = rdb_or_aof(start) {
            return found;
        }
        if let Some((what, instead)) = container(start) {
            return Err(Unknown::instead(what, instead));
        }
        text(start)
    }

    /// Returns the form of the base of an AOF in several files.
    ///
    /// # Errors
    /// It begins neither as an RDB file nor as an AOF.
    pub(crate) fn of_base(start: &[u8]) -> Result<Self, Unknown> {
        const BASE: &str = "the base of an AOF, by its manifest";
        match rdb_or_aof(start) {
            _ if start.is_empty() => Ok(Self::seen(Format::Aof, BASE)),
            Some(Ok(found)) => Ok(Self { why: format!("{BASE}; {}", found.why), ..found }),
            _ => Err(Unknown::of(
                format!(
                    "{BASE}, but it begins neither as an RDB file nor as an AOF ({})",
                    shown(start)
                ),
                &[],
            )),
        }
    }
}

impl Unknown {
    pub(super) fn of(why: impl Into<String>, forms: &'static [Format]) -> Self {
        Self { why: why.into(), forms, instead: None }
    }

    fn instead(why: impl Into<String>, instead: impl Into<String>) -> Self {
        Self { why: why.into(), forms: &[], instead: Some(instead.into()) }
    }

    /// The reason, and what to do.
    #[must_use]
    pub(crate) fn message(&self) -> String {
        let Self { why, forms, instead } = self;
        let names: Vec<&str> = forms.iter().map(|format| format.name()).collect();
        match (instead, &names[..]) {
            (Some(instead), _) => format!("{why}: {instead}"),
            (None, []) => why.clone(),
            (None, names) => {
                format!("its form is not certain: {why}; name it: --format {}", names.join(" or "))
            }
        }
    }
}

/// The two forms of Redis' own files.
fn rdb_or_aof(start: &[u8]) -> Option<Result<Form, Unknown>> {
    if is_rdb(start) {
        return Some(Ok(Form::seen(Format::Rdb, format!("begins with {}", shown(&start[..9])))));
    }
    let mut rest = start;
    while let Some(behind) = rest.strip_prefix(b"#TS:") {
        let digits = behind.iter().take_while(|byte| byte.is_ascii_digit()).count();
        match behind[digits..].strip_prefix(b"\r\n") {
            Some(behind) if digits > 0 => rest = behind,
            _ => return None,
        }
    }
    if rest.is_empty() {
        return Some(Ok(Form::seen(Format::Aof, "begins with the time of its commands")));
    }
    let is_annotated = rest.len() < start.len();
    match first_command(rest) {
        None if is_annotated => Some(Err(Unknown::of(
            "it begins with the time of an AOF's commands, but no command follows",
            &[Format::Aof],
        ))),
        None => None,
        Some(name) => {
            let mut words = Words::default();
            words.push(&name);
            let is_known = words.args().is_some_and(|args| foreign::find(args).is_some());
            // Commands of modules have a dot.
            if is_known || name.contains(&b'.') {
                let name = name.escape_ascii().to_string().to_uppercase();
                let why = format!("begins with a command in the protocol's form, {name}");
                return Some(Ok(Form::seen(Format::Aof, why)));
            }
            let why = format!(
                "it has the protocol's form, but {} is no command: replies, perhaps",
                shown(&name)
            );
            Some(Err(Unknown::of(why, &[Format::Aof])))
        }
    }
}

/// The name of the command that `text` begins with, in the protocol's form; its end may be cut off.
fn first_command(text: &[u8]) -> Option<Vec<u8>> {
    const NAME_LEN_MAX: usize = 64;
    const HEADER_LEN_MAX: usize = 24;
    let header = |text: &'_ [u8], mark: u8| -> Option<(usize, usize)> {
        let end = text.iter().take(HEADER_LEN_MAX).position(|&byte| byte == b'\r')?;
        let number = parse_i64(text.get(1..end)?)?;
        let is_good = text[0] == mark && text.get(end + 1) == Some(&b'\n');
        is_good.then_some((usize::try_from(number).ok()?, end + 2))
    };
    let (count, mut at) = header(text, b'*')?;
    let mut name = None;
    for _ in 0..count {
        let rest = &text[at..];
        let Some((len, behind)) = header(rest, b'$') else {
            // The rest of the command may be beyond the bytes at hand.
            let is_cut = rest.len() < HEADER_LEN_MAX
                && rest.iter().enumerate().all(|(at, byte)| match at {
                    0 => *byte == b'$',
                    _ => byte.is_ascii_digit() || *byte == b'\r',
                });
            return if is_cut { name } else { None };
        };
        let word = rest[behind..].get(..len);
        if name.is_none() {
            name = Some(word.filter(|word| word.len() <= NAME_LEN_MAX)?.to_vec());
        }
        let Some(after) = word.map(|_| at + behind + len).filter(|&after| after + 2 <= text.len())
        else {
            break;
        };
        if &text[after..after + 2] != b"\r\n" {
            return None;
        }
        at = after + 2;
    }
    name
}

/// Files that hold another one, and other binary ones: what they are, and what to do.
fn container(start: &[u8]) -> Option<(String, String)> {
    let pipe = |program: &str| format!("decompress it first: {program} FILE | slotway check -");
    let known: [(&[u8], &str, String); 13] = [
        (b"\xfd7zXZ\0", "it is compressed by xz", pipe("xz -dc")),
        (b"BZh", "it is compressed by bzip2", pipe("bzip2 -dc")),
        (b"\x04\x22\x4d\x18", "it is compressed by lz4", pipe("lz4 -dc")),
        (b"\xff\x06\0\0sNaPpY", "it is compressed by snappy", pipe("snzip -dc")),
        (b"LZIP", "it is compressed by lzip", pipe("lzip -dc")),
        (b"\x1f\x9d", "it is compressed by compress", pipe("gzip -dc")),
        (b"\x1f\x8b", "it is compressed by gzip, twice or not whole", pipe("gzip -dc")),
        (b"\x28\xb5\x2f\xfd", "it is compressed by zstd, twice or not whole", pipe("zstd -dc")),
        (b"PK\x03\x04", "it is a zip archive", pipe("unzip -p")),
        (b"7z\xbc\xaf\x27\x1c", "it is a 7z archive", pipe("7z x -so")),
        (b"\xff\xfe", "it is text in UTF-16", pipe("iconv -f UTF-16 -t UTF-8")),
        (b"\xfe\xff", "it is text in UTF-16", pipe("iconv -f UTF-16 -t UTF-8")),
        (b"SQLite format 3", "it is a database of SQLite", "there are no keys in it".to_owned()),
    ];
    if start.get(257..262) == Some(b"ustar") {
        let instead = "unpack it first, and check the files in it".to_owned();
        return Some(("it is a tar archive".to_owned(), instead));
    }
    known
        .into_iter()
        .find(|(magic, ..)| {
            start.starts_with(magic) && (*magic != b"BZh" || start.get(4) == Some(&b'1'))
        })
        .map(|(_, what, instead)| (what.to_owned(), instead))
}

fn text(start: &[u8]) -> Result<Form, Unknown> {
    let start = start.strip_prefix(BYTE_ORDER_MARK).unwrap_or(start);
    let lines = Lines::of(start, start.len() >= LOOK_LEN - BYTE_ORDER_MARK.len());
    if let Some(found) = monitor(&lines) {
        return found;
    }
    if start.contains(&0) {
        return Err(Unknown::of(
            format!("it is binary, begins with {}, and is no RDB file and no AOF", shown(start)),
            &[],
        ));
    }
    if lines.texts.is_empty() {
        return Err(Unknown::of("its only line is too long", &[Format::Keys, Format::Sets]));
    }
    text_shapes::shape(&lines)
}

/// Lines of MONITOR, if any is one.
fn monitor(lines: &Lines<'_>) -> Option<Result<Form, Unknown>> {
    let (mut shown, mut around, mut behind) = (0, 0, None);
    let mut first = None;
    for (&line, &number) in lines.texts.iter().zip(&lines.numbers) {
        if let Some(found) = MonitorLine::parse(line) {
            shown += 1;
            first.get_or_insert((number, found));
        } else if is_around(line) {
            around += 1;
        } else if behind.is_none() && has_monitor_inside(line) {
            behind = Some(number);
        }
    }
    let others = lines.texts.len() - shown - around;
    match first {
        Some((number, line)) if shown >= others => {
            let by = writer(line.prefix.shape);
            let by = by.map_or(String::new(), |by| format!(", behind the prefix of {by}"));
            let why = format!("line {number} has a time, a client and a command{by}");
            Some(Ok(Form::seen(Format::Monitor, why)))
        }
        Some(_) => Some(Err(Unknown::of(
            format!("only {shown} of {} lines are MONITOR's", shown + others),
            &[Format::Monitor],
        ))),
        None if behind.is_some() => Some(Err(Unknown::instead(
            format!("line {} is MONITOR's behind a prefix that is not known", behind.unwrap_or(0)),
            "cut the prefix off, as with sed -E 's/^.* ([0-9]+\\.[0-9]+ \\[)/\\1/'",
        ))),
        None if others == 0 => Some(Err(Unknown::instead(
            "MONITOR has recorded no command",
            "was the application connected to this server?",
        ))),
        None => None,
    }
}

/// Whether a line of MONITOR stands somewhere in a line.
fn has_monitor_inside(line: &[u8]) -> bool {
    let mark = line.windows(2).position(|two| two == b" [");
    let Some(mark) = mark.filter(|_| line.windows(3).any(|three| three == b"] \"")) else {
        return false;
    };
    // The time stands before one of the brackets.
    line[mark..].iter().enumerate().filter(|(_, byte)| **byte == b'[').any(|(at, _)| {
        let before = &line[..(mark + at).saturating_sub(1)];
        let digits = before.iter().rev().take_while(|b| b.is_ascii_digit() || **b == b'.').count();
        MonitorLine::parse(&line[before.len() - digits..]).is_some()
    })
}

fn shown(bytes: &[u8]) -> String {
    format!("\"{}\"", bytes[..bytes.len().min(SHOWN_MAX)].escape_ascii())
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
    use proptest::prelude::*;

    #[test]
    fn certain_forms() {
        use Format::{Aof, History, Keys, Monitor, Rdb, Sets, Transactions};
        for (start, format) in [
            ("REDIS0010\u{fa}", Rdb),
            ("*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n", Aof),
            ("*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n*3\r\n$3\r\nse", Aof),
            ("*3\r\n$3\r\nset\r\n$99", Aof),
            ("*3\r\n$8\r\nJSON.SET\r\n$1\r\na\r\n$1\r\n.\r\n", Aof),
            ("#TS:1628217470\r\n*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n", Aof),
            ("#TS:1628217470\r\n", Aof),
            // MONITOR, by redis-cli, telnet, docker compose.
            ("OK\n1795332580.764123 [0 127.0.0.1:5] \"get\" \"a\"\n", Monitor),
            (
                "Trying ::1...\nConnected to localhost.\nEscape character is '^]'.\nmonitor\r\n+OK\r\n+1.764123 [0 [::1]:5] \"get\" \"a\"\r\n",
                Monitor,
            ),
            ("redis-1  | OK\nredis-1  | 1.764123 [0 127.0.0.1:5] \"get\" \"a\"\n", Monitor),
            ("1795332580.764123 [0 127.0.0.1:5] \"get\" \"a", Monitor),
            ("1.764123 [0 a:5] \"get\" \"a\"\nError: Server closed the connection\n", Monitor),
            // What was typed.
            ("set a 1\nget a\nkeys *\n", History),
            ("set a 1\ngte a\nget a\nget b\nget c\nget d\n", History),
            (
                "help\n3 incr x\n:set hints\nclear\nconnect 127.0.0.1 7000\nget a\nhelp @string\nexit\n",
                History,
            ),
            ("PING\nINFO\nquit\n", History),
            ("set a 1 ; incr b\nget a\n", Transactions),
            (
                "multi ; set a 1 ; exec\njson.set a . 1 ; get b ; get c ; get d ; get e\n",
                Transactions,
            ),
            ("user:1 cart:1\nuser:2 cart:2\n", Sets),
            ("{u:1}a {u:1}b\nuser:7 cart:{7}\n", Sets),
            // Names.
            ("user:1\nuser:2\nget\n", Keys),
            ("user:1\r\nuser:2\r\n", Keys),
            ("user:1\nuser:2\nuser:3\nuser:4\nmy key\n", Keys),
            ("user:1\n17\nq\"t\nclé\nsession_4\nsession_5\n", Keys),
            (":1:views.cache\n:1:views.page\n{u}x\n", Keys),
            ("\"my key\"\n\"b\\xff\"\n", Keys),
            ("1) \"my key\"\n2) \"17\"\n", Keys),
            ("1) \"17\"\n2) 1) \"my key\"\n   2) \"a\"\n", Keys),
            ("(empty array)\n", Keys),
            ("\u{feff}user:1\nuser:2\n", Keys),
        ] {
            let found = Form::of(start.as_bytes());
            assert_eq!(found.as_ref().map(|form| form.format), Ok(format), "{start:?}: {found:?}");
        }
        assert_eq!("monitor".parse(), Ok(Monitor));
        assert!("monitors".parse::<Format>().is_err());
    }

    #[test]
    fn what_is_not_certain_is_refused_with_a_reason() {
        let compressed = |magic: &[u8]| [magic, &[7, 0, 255, 3]].concat();
        for (start, reason) in [
            (b"".to_vec(), "it is empty"),
            (b" \n\r\n".to_vec(), "blank lines only"),
            // Containers.
            (compressed(b"\xfd7zXZ\0"), "xz -dc"),
            (compressed(b"BZh91AY&SY"), "bzip2 -dc"),
            (compressed(b"\x04\x22\x4d\x18"), "lz4"),
            (compressed(b"PK\x03\x04"), "zip archive"),
            (compressed(b"\xff\xfea\0"), "UTF-16"),
            (compressed(b"\x1f\x8b"), "twice"),
            ([&[b'a'; 257][..], b"ustar\0"].concat(), "tar archive"),
            // Binary.
            (b"VALKEYx80\xfa\x09\0".to_vec(), "binary"),
            (b"\x7fELF\x02\x01\x01\0\0".to_vec(), "binary"),
            (b"user:1\nuser\x01\n".to_vec(), "line 2 has bytes that are not text"),
            (b"user:1\n\nb\xff\n".to_vec(), "line 3 has bytes that are not text"),
            // The protocol, but no AOF.
            (b"*2\r\n$3\r\nfoo\r\n$3\r\nbar\r\n".to_vec(), "replies, perhaps"),
            (b"*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n".to_vec(), "replies"),
            (b"*2\n$6\nSELECT\n$1\n0\n".to_vec(), "replies"),
            (b"$5\r\nhello\r\n:1\r\n".to_vec(), "replies"),
            (b"+PONG\r\n".to_vec(), "replies"),
            (b"#TS:1\r\nhello\r\n".to_vec(), "no command follows"),
            // Lines of redis-cli.
            (b"OK\n".to_vec(), "has recorded no command"),
            (b"17\nuser:1\nuser:2\n".to_vec(), "cursor of SCAN"),
            (b"127.0.0.1:6379> keys *\n1) \"a\"\n".to_vec(), "prompts included"),
            (b"1) 1) (integer) 14\n   2) (integer) 1309448221\n".to_vec(), "several words"),
            (b"\"a\",\"b\"\n".to_vec(), "--csv"),
            (b"# Server\r\nredis_version:7.0.15\r\nredis_mode:standalone\r\n".to_vec(), "INFO"),
            (
                b"file a.1.base.rdb seq 1 type b\nfile a.1.incr.aof seq 1 type i\n".to_vec(),
                "manifest",
            ),
            // MONITOR, but not certainly.
            (b"x y z 1795332580.764123 [0 127.0.0.1:5] \"get\" \"a\"\n".to_vec(), "prefix"),
            (b"a b\nc d\n1.764123 [0 a:5] \"get\" \"a\"\n".to_vec(), "only 1 of 3 lines"),
            // Text of other kinds.
            (
                b"set a 1\nhowdy there\nwhat is this\nget a\n".to_vec(),
                "only 2 of 4 lines are commands",
            ),
            (b"hello world\n".to_vec(), "several words"),
            (b"Set it up\nGet going\n".to_vec(), "several words"),
            (b"my key\nother key\nuser:1\n".to_vec(), "several words"),
            (b"user:1\n\nuser:2\n".to_vec(), "blank"),
            (b"id,name\n1,a\n2,b\n".to_vec(), "table"),
            (b"A=1\nB_C=2\n".to_vec(), "assignment"),
            (b"/usr/bin/a\n/usr/bin/b\n".to_vec(), "path"),
            (b"https://a/b\nhttps://c/d\n".to_vec(), "URL"),
            (b"root:x:0:0:root:/root:/bin/bash\nbin:x:2:2:bin:/bin:/x\n".to_vec(), "passwd"),
            (b"{\"a\": 1}\n{\"a\": 2}\n".to_vec(), "JSON"),
            (b"<a>\n<b/>\n</a>\n".to_vec(), "XML"),
            (b"int x = 1 ;\nint y = 2 ;\n".to_vec(), "several words"),
            (b"user:1 cart\nuser:2 cart\n".to_vec(), "several words"),
        ] {
            let shown = start.escape_ascii().to_string();
            let message = Form::of(&start).expect_err(&shown).message();
            assert!(message.contains(reason), "{shown}: {message}");
        }
        let message = Form::of(b"hello world\n").expect_err("prose").message();
        assert!(message.ends_with("--format keys or sets or history or transactions"), "{message}");
    }

    #[test]
    fn the_base_of_an_aof_is_rdb_or_aof() {
        for (start, format) in [
            (&b"REDIS0011\xfa"[..], Some(Format::Rdb)),
            (b"*1\r\n$5\r\nMULTI\r\n", Some(Format::Aof)),
            (b"", Some(Format::Aof)),
            (b"user:1\n", None),
            (b"VALKEYx80\xfa", None),
        ] {
            let found = Form::of_base(start).ok().map(|form| form.format);
            assert_eq!(found, format, "{}", start.escape_ascii());
        }
    }

    #[test]
    fn what_is_beyond_the_first_bytes_does_not_matter() {
        let names: String = (0..200_000).map(|n| format!("user:{n}\n")).collect();
        let found = Form::of(&names.as_bytes()[..LOOK_LEN]).expect("names");
        assert_eq!((found.format, &*found.why), (Format::Keys, "each line is one name"));
        let long = format!("1.764123 [0 a:5] \"get\" \"{}\"", "x".repeat(2 * LOOK_LEN));
        let found = Form::of(&long.as_bytes()[..LOOK_LEN]).expect("a line of MONITOR");
        assert_eq!(found.format, Format::Monitor);
        let long = format!("*2\r\n$3\r\nget\r\n${}\r\n{}", 2 * LOOK_LEN, "x".repeat(LOOK_LEN));
        assert_eq!(Form::of(&long.as_bytes()[..LOOK_LEN]).map(|form| form.format), Ok(Format::Aof));
    }

    proptest! {
        #[test]
        fn bytes_of_chance_are_no_keys(bytes in prop::collection::vec(any::<u8>(), 24..400)) {
            let found = Form::of(&bytes);
            let is_text = std::str::from_utf8(&bytes).is_ok();
            let is_list = found.is_ok_and(|form| matches!(form.format, Format::Keys | Format::Sets));
            prop_assert!(is_text || !is_list);
        }

        #[test]
        fn nothing_panics(bytes in prop::collection::vec(prop::sample::select(
            b"*$\r\n012#TS:+[] \"|;ab:{}get\xff\0()".to_vec()), 0..80))
        {
            let _any = (Form::of(&bytes), Form::of_base(&bytes));
        }
    }
}
