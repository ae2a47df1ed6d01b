//! What text certainly is: a form is taken only if the lines have nothing else to be.
//!
//! | form | when it is certain |
//! |---|---|
//! | keys | each line is one quoted word, or a numbered one as redis-cli prints replies; or four of five are one plain word, and the others are text |
//! | sets | four of five lines have several words, and every word has a hashtag or a colon between letters |
//! | transactions | ` ; ` between commands; four of five are known, with a number of arguments that they take |
//! | history | four of five lines are such commands, or words of redis-cli itself |
//!
//! Prose, configuration, source code, tables and logs fit none of these.

use super::detect::{Form, Format, Unknown};
use super::replies::{self, ReplyLines};
use super::tokenizer::Words;
use crate::command::foreign;
use crate::command::{Args, Spec};

/// The lines of a file's first bytes, without the blank ones.
pub(super) struct Lines<'t> {
    pub(super) texts: Vec<&'t [u8]>,
    /// The number of each, from 1.
    pub(super) numbers: Vec<usize>,
}

impl<'t> Lines<'t> {
    /// If the text is cut off, so is its last line, which is then left out, unless it is the only one.
    pub(super) fn of(text: &'t [u8], is_cut: bool) -> Self {
        let mut all: Vec<&[u8]> = text.split(|&byte| byte == b'\n').collect();
        if is_cut && all.len() > 1 {
            all.pop();
        }
        let lines = all.into_iter().map(<[u8]>::trim_ascii).zip(1..);
        let (texts, numbers) = lines.filter(|(line, _)| !line.is_empty()).unzip();
        Self { texts, numbers }
    }

    fn has_blank_ones(&self) -> bool {
        self.numbers
            .first()
            .zip(self.numbers.last())
            .is_some_and(|(first, last)| last - first + 1 != self.numbers.len())
    }
}

/// Returns the form of these lines.
pub(super) fn shape(all: &Lines<'_>) -> Result<Form, Unknown> {
    let lines = &all.texts[..];
    let has_blank_lines = all.has_blank_ones();
    if let Some(at) = lines.iter().position(|line| !is_text(line)) {
        let number = all.numbers[at];
        let why = format!("line {number} has bytes that are not text");
        return Err(Unknown::of(why, &[Format::Keys]));
    }
    if let Some(found) = reply(lines) {
        return Ok(found);
    }
    if let Some(what) = other(all) {
        return Err(Unknown::of(what, &[Format::Keys]));
    }
    let seen = Seen::of(lines);
    let all = lines.len();
    let most = |count: usize| count * 5 >= all * 4;
    let percent = |count: usize, all: usize| count * 100 / all.max(1);
    if seen.semicolons > 0 && seen.commands > 0 && seen.commands * 5 >= seen.parts * 4 {
        let why = format!("commands with ; between them, {} of {}", seen.commands, seen.parts);
        return Ok(Form::seen(Format::Transactions, why));
    }
    if seen.semicolons == 0 && seen.commands > 0 && most(seen.commands + seen.own) {
        let share = percent(seen.commands + seen.own, all);
        return Ok(Form::seen(Format::History, format!("{share} % of the lines are commands")));
    }
    if seen.semicolons == 0 && most(seen.several) && seen.is_all_keys {
        let why = "each line has several names with colons or hashtags".to_owned();
        return Ok(Form::seen(Format::Sets, why));
    }
    if most(seen.plain) {
        if has_blank_lines {
            let why = "its lines are names, but some are blank".to_owned();
            return Err(Unknown::of(why, &[Format::Keys]));
        }
        if is_number(lines[0]) {
            let why = "the first line is a number: a key, or the cursor of SCAN, which \
                       redis-cli --scan leaves out"
                .to_owned();
            return Err(Unknown::of(why, &[Format::Keys]));
        }
        if let Some(what) = table(lines) {
            return Err(Unknown::of(what, &[Format::Keys]));
        }
        let why = if seen.plain == all { "each line is one name" } else { "the lines are names" };
        return Ok(Form::seen(Format::Keys, why.to_owned()));
    }
    Err(seen.unknown(lines))
}

/// Whether a line is text: UTF-8 without control characters.
pub(super) fn is_text(line: &[u8]) -> bool {
    std::str::from_utf8(line).is_ok_and(|text| {
        !text.chars().any(|char| char.is_control() && char != '\t' && char != '\r')
    })
}

/// Whether a word names a key of redis-cli's own: it is not sent.
pub(super) fn is_own(args: Args<'_>) -> bool {
    let is = |word: &str| args.is(0, word);
    args.at(0).starts_with(b":")
        || is("help")
        || is("?")
        || ends_connection(args)
        || args.len() == 1 && (is("clear") || is("restart"))
}

/// Whether redis-cli ends its connection at this word of its own.
pub(super) fn ends_connection(args: Args<'_>) -> bool {
    args.is(0, "quit") || args.is(0, "exit") || args.len() == 3 && args.is(0, "connect")
}

/// Whether the words are a known command with a number of arguments that it takes, and are no sentence:
/// `Set it up`, `hello world`.
fn is_command(args: Args<'_>) -> bool {
    let is_word = matches!(args.at(0), [first, rest @ ..]
        if first.is_ascii_uppercase() && rest.iter().any(u8::is_ascii_lowercase));
    let takes_number = ["hello", "select", "wait"].iter().any(|name| args.is(0, name));
    let has_number = || args.get(1).is_none_or(is_number);
    let plain = |spec: &Spec| spec.arity.admits(args.len());
    !is_word
        && (!takes_number || has_number())
        && foreign::find(args).is_some_and(|spec| plain(spec) || !spec.subcommands.is_empty())
}

/// Splits a repeat count off, as redis-cli does: `3 incr x`.
pub(super) fn repeat(words: &Words) -> (u64, usize) {
    let count =
        words.iter().next().filter(|word| is_number(word)).filter(|_| words.iter().len() > 1);
    match count.and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok()) {
        Some(count) => (count, 1),
        None => (1, 0),
    }
}

fn is_number(word: &[u8]) -> bool {
    !word.is_empty() && word.iter().all(u8::is_ascii_digit)
}

/// What the lines have.
#[derive(Default)]
struct Seen {
    /// Lines, or parts of them between semicolons, that are commands.
    commands: usize,
    parts: usize,
    /// Lines with words of redis-cli's own.
    own: usize,
    semicolons: usize,
    /// Lines with several words; with one plain word.
    several: usize,
    plain: usize,
    /// Every word has a hashtag or a colon.
    is_all_keys: bool,
}

impl Seen {
    fn of(lines: &[&[u8]]) -> Self {
        let mut seen = Self { is_all_keys: true, ..Self::default() };
        let (mut words, mut part) = (Words::default(), Words::default());
        for line in lines {
            words.clear();
            let is_split = words.split(line).is_ok();
            let several = line.trim_ascii().iter().any(u8::is_ascii_whitespace);
            seen.several += usize::from(several);
            seen.plain += usize::from(!several && is_plain(line));
            seen.is_all_keys &= is_split && words.iter().all(is_key);
            if !is_split {
                seen.parts += 1;
                continue;
            }
            seen.semicolons += words.iter().filter(|word| *word == b";").count();
            let (_, from) = repeat(&words);
            let all: Vec<&[u8]> = words.iter().skip(from).collect();
            for words in all.split(|word| *word == b";").filter(|words| !words.is_empty()) {
                part.clear();
                words.iter().for_each(|word| part.push(word));
                let Some(args) = part.args() else { continue };
                seen.parts += 1;
                if is_own(args) {
                    seen.own += 1;
                } else {
                    seen.commands += usize::from(is_command(args));
                }
            }
        }
        seen
    }

    /// Why no form is certain, and which ones are near.
    fn unknown(&self, lines: &[&[u8]]) -> Unknown {
        let all = lines.len();
        let several = self.several;
        let (why, near): (String, &[Format]) = if self.semicolons > 0 && self.commands > 0 {
            let (commands, parts) = (self.commands, self.parts);
            let why = format!("only {commands} of {parts} parts between semicolons are commands");
            (why, &[Format::Transactions, Format::Keys])
        } else if self.commands * 2 >= all {
            let why = format!("only {} of {all} lines are commands", self.commands);
            (why, &[Format::History, Format::Keys])
        } else if several > 0 {
            let why = format!(
                "{several} of {all} lines have several words: names with blanks, keys that are used \
                 together, or other text"
            );
            (why, &[Format::Keys, Format::Sets, Format::History, Format::Transactions])
        } else {
            ("its lines are not plain names".to_owned(), &[Format::Keys])
        };
        Unknown::of(why, near)
    }
}

/// A list of replies as redis-cli prints it, or of quoted words.
fn reply(lines: &[&[u8]]) -> Option<Form> {
    let mut list = ReplyLines::default();
    let mut keys = 0;
    let mut is_numbered = false;
    for line in lines {
        let parsed = replies::parse(line)?;
        is_numbered |= !matches!(parsed, replies::ReplyLine::Quoted(_));
        if !list.take(parsed, &mut |_| keys += 1) {
            return None;
        }
    }
    let why = match is_numbered {
        true => "a numbered reply, as redis-cli prints it",
        false => "each line is one quoted name",
    };
    Some(Form::seen(Format::Keys, why.to_owned()))
}

/// Text that is known to be something else.
fn other(all: &Lines<'_>) -> Option<String> {
    const SECTIONS: [&[u8]; 5] =
        [b"# Server", b"# Keyspace", b"# Memory", b"# Clients", b"# Replication"];
    let lines = &all.texts[..];
    let begins = |starts: &[&[u8]]| {
        lines.iter().position(|line| starts.iter().any(|start| line.starts_with(start)))
    };
    let first = *lines.first()?;
    if SECTIONS.contains(&first) || begins(&[b"redis_version:", b"valkey_version:"]).is_some() {
        return Some("it is a reply of INFO".to_owned());
    }
    if let Some(at) = begins(&[b"#", b"//", b"/*", b"--", b"<!--"]) {
        return Some(format!(
            "line {} is a comment: lists of keys and commands have none",
            all.numbers[at]
        ));
    }
    let (mark, number) = first.split_at(1);
    let is_framed = b"$*:%~".contains(&mark[0]) && is_number(number);
    if is_framed || mark == b"+" || first.starts_with(b"-ERR") {
        return Some("it looks like replies in the protocol's form".to_owned());
    }
    if super::aof::manifest(&String::from_utf8_lossy(&lines.join(&b'\n'))).is_ok() {
        return Some("it is the manifest of an AOF: its name must end with .manifest".to_owned());
    }
    let is_json = first.starts_with(b"{\"") || first.starts_with(b"[") || matches!(first, b"{");
    if is_json {
        return Some("it looks like JSON, or a file with sections".to_owned());
    }
    if first.starts_with(b"\"") && first.windows(3).any(|three| three == b"\",\"") {
        return Some("it is a table, or what redis-cli --csv prints".to_owned());
    }
    if first.starts_with(b"<") {
        return Some("it looks like XML or HTML".to_owned());
    }
    // A copy of the terminal: `127.0.0.1:6379> get a`.
    let is_prompt = |line: &&[u8]| {
        let prompt = line.iter().position(|&byte| byte == b'>').map(|at| &line[..at]);
        prompt.is_some_and(|prompt| {
            let prompt = prompt.strip_suffix(b"(TX)").unwrap_or(prompt);
            let prompt = prompt.strip_suffix(b"]").unwrap_or(prompt);
            let is_address = prompt.last().is_some_and(u8::is_ascii_digit)
                && prompt.contains(&b':')
                && !prompt.iter().any(u8::is_ascii_whitespace);
            is_address || prompt == b"redis" || prompt == b"not connected"
        })
    };
    lines
        .iter()
        .any(is_prompt)
        .then(|| "it is a copy of redis-cli's terminal, prompts included".to_owned())
}

/// Lists of single words that are tables, files or something else than names.
fn table(lines: &[&[u8]]) -> Option<String> {
    let count = |byte: u8| {
        let counts = |line: &&[u8]| line.iter().filter(|&&other| other == byte).count();
        let first = counts(&lines[0]);
        (first > 0 && lines.len() > 1 && lines.iter().all(|line| counts(line) == first))
            .then_some(first)
    };
    if count(b',').is_some() || count(b';').is_some() || count(b'\t').is_some() {
        return Some("each line has as many separators: a table".to_owned());
    }
    if lines.iter().all(|line| is_assignment(line)) {
        return Some("each line is an assignment (name=value)".to_owned());
    }
    if lines.iter().all(|line| line.starts_with(b"/") || line.starts_with(b"./")) {
        return Some("each line is a path: names of files, or keys".to_owned());
    }
    if lines.iter().all(|line| line.windows(3).any(|three| three == b"://")) {
        return Some("each line is an address (URL)".to_owned());
    }
    // passwd(5), group(5): a name, a password, a number.
    let is_account = |line: &&[u8]| {
        let mut fields = line.split(|&byte| byte == b':').skip(1);
        fields.next().is_some_and(|field| matches!(field, b"x" | b"*" | b"!" | b""))
            && fields.next().is_some_and(is_number)
    };
    if lines.iter().all(is_account) {
        return Some("each line is an account, as in /etc/passwd".to_owned());
    }
    is_base64(lines).then(|| "it looks like base64".to_owned())
}

fn is_assignment(line: &[u8]) -> bool {
    let name = line.iter().position(|&byte| byte == b'=').map(|at| &line[..at]);
    name.is_some_and(|name| {
        name.first().is_some_and(|byte| byte.is_ascii_alphabetic() || *byte == b'_')
            && name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(byte))
    })
}

/// Lines of one length, the last one shorter or padded, of more than hexadecimal digits.
fn is_base64(lines: &[&[u8]]) -> bool {
    const LEN_MIN: usize = 60;
    let Some((last, before)) = lines.split_last() else { return false };
    let of_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/=".contains(byte);
    let len = lines[0].len();
    !before.is_empty()
        && len >= LEN_MIN
        && before.iter().all(|line| line.len() == len && line.iter().all(of_base64))
        && last.len() <= len
        && last.iter().all(of_base64)
        && !lines.iter().all(|line| line.iter().all(u8::is_ascii_hexdigit))
        && (last.len() < len || last.ends_with(b"="))
}

/// Whether a word looks like a key and like nothing else: a hashtag, or a colon between names, with a
/// letter.
fn is_key(word: &[u8]) -> bool {
    let open = word.iter().position(|&byte| byte == b'{');
    let close = word.iter().position(|&byte| byte == b'}');
    let has_tag = open.zip(close).is_some_and(|(open, close)| close > open + 1);
    let has_colon = word.contains(&b':')
        && word.split(|&byte| byte == b':').all(|part| !part.is_empty())
        && word.iter().any(|byte| byte.is_ascii_alphabetic() || !byte.is_ascii());
    (has_tag || has_colon) && is_plain(word)
}

/// Whether a word is a name: letters and digits, and marks that keys have.
fn is_plain(word: &[u8]) -> bool {
    const MARKS: &[u8] = b":_-./{}|@#+=~%$!*&?,^";
    const BEGINS: &[u8] = b"{:_@./$%~!*&|#";
    let is_of_name =
        |byte: &u8| byte.is_ascii_alphanumeric() || !byte.is_ascii() || MARKS.contains(byte);
    word.iter().all(is_of_name)
        && word.iter().any(|byte| byte.is_ascii_alphanumeric() || !byte.is_ascii())
        && word.first().is_some_and(|byte| {
            byte.is_ascii_alphanumeric() || !byte.is_ascii() || BEGINS.contains(byte)
        })
        && !matches!(word.last(), Some(b'{' | b','))
}
