//! Lines of a reply as redis-cli prints it for a terminal: numbered, quoted, nested.
//!
//! ```text
//! 1) "a"        KEYS              1) "17"           SCAN: a cursor,
//! 2) "b"                          2) 1) "a"         and keys
//!                                    2) "b"
//! ```

use super::tokenizer::Words;

/// What a line of a list of keys holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReplyLine<'l> {
    /// `12) "a"`, with the quoted text.
    Item(u64, &'l [u8]),
    /// `2) 1) "a"`: the first key behind a cursor.
    FirstNested(&'l [u8]),
    /// `2) (empty array)`: no keys behind a cursor.
    NoneNested,
    /// `(empty array)`.
    Empty,
    /// `"a"`.
    Quoted(&'l [u8]),
}

/// Parses a line; `None` if no list of keys has such a line.
pub(super) fn parse(line: &[u8]) -> Option<ReplyLine<'_>> {
    let is_empty = |text: &[u8]| matches!(text, b"(empty array)" | b"(empty list or set)");
    let line = line.trim_ascii();
    let (outer, rest) = numbered(line);
    let (inner, text) = numbered(rest);
    match (outer, inner, text) {
        (None, None, text) if is_empty(text) => Some(ReplyLine::Empty),
        (None, None, text) if is_quoted(text) => Some(ReplyLine::Quoted(text)),
        (Some(2), None, text) if is_empty(text) => Some(ReplyLine::NoneNested),
        (Some(number), None, text) if is_quoted(text) => Some(ReplyLine::Item(number, text)),
        (Some(2), Some(1), text) if is_quoted(text) => Some(ReplyLine::FirstNested(text)),
        _ => None,
    }
}

/// Whether a quoted text is a cursor of SCAN.
pub(super) fn is_cursor(quoted: &[u8]) -> bool {
    matches!(quoted, [b'"', digits @ .., b'"']
        if !digits.is_empty() && digits.iter().all(u8::is_ascii_digit))
}

/// Takes `12) ` off.
fn numbered(text: &[u8]) -> (Option<u64>, &[u8]) {
    const DIGITS_MAX: usize = 18;
    let text = text.trim_ascii_start();
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    match text[digits..].strip_prefix(b") ") {
        Some(rest) if (1..=DIGITS_MAX).contains(&digits) => {
            let number = text[..digits].iter().fold(0, |n, digit| n * 10 + u64::from(digit - b'0'));
            (Some(number), rest.trim_ascii_start())
        }
        _ => (None, text),
    }
}

/// Whether a text is one word in double quotes.
fn is_quoted(text: &[u8]) -> bool {
    let mut words = Words::default();
    text.starts_with(b"\"") && words.split(text).is_ok() && words.iter().len() == 1
}

/// Follows the lines of lists: which of them are keys.
#[derive(Debug, Default)]
pub(super) struct ReplyLines {
    /// The number that the next item has, unless another list begins.
    next: u64,
    /// The list is nested: the one behind a cursor.
    is_nested: bool,
    /// A first item that is a cursor if keys follow one level below.
    held: Option<Vec<u8>>,
}

impl ReplyLines {
    /// Takes the next line, and passes quoted keys on. Returns whether the line fits those before it.
    pub(super) fn take(&mut self, line: ReplyLine<'_>, key: &mut dyn FnMut(&[u8])) -> bool {
        let held = self.held.take();
        match line {
            ReplyLine::FirstNested(text) => {
                (self.next, self.is_nested) = (2, true);
                key(text);
                return held.is_some();
            }
            ReplyLine::NoneNested => return held.is_some(),
            _ => held.iter().for_each(|text| key(text)),
        }
        match line {
            ReplyLine::Item(1, text) if is_cursor(text) => {
                (self.next, self.is_nested, self.held) = (2, false, Some(text.to_vec()));
                true
            }
            ReplyLine::Item(1, text) => {
                (self.next, self.is_nested) = (2, false);
                key(text);
                true
            }
            ReplyLine::Item(number, text) => {
                let fits = number == self.next;
                self.next = number.saturating_add(1);
                key(text);
                fits
            }
            ReplyLine::Quoted(text) => {
                self.next = 0;
                key(text);
                true
            }
            _ => true,
        }
    }

    /// Passes on what was held back.
    pub(super) fn end(&mut self, key: &mut dyn FnMut(&[u8])) {
        self.held.take().iter().for_each(|text| key(text));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(text: &str) -> Option<String> {
        let (mut lines, mut found) = (ReplyLines::default(), Vec::new());
        let mut key = |text: &[u8]| found.push(String::from_utf8_lossy(text).into_owned());
        for line in text.lines() {
            if !lines.take(parse(line.as_bytes())?, &mut key) {
                return None;
            }
        }
        lines.end(&mut key);
        Some(found.join(" "))
    }

    /// As redis-cli 7.0.15 prints them.
    #[test]
    fn keys_of_replies() {
        for (text, expected) in [
            ("1) \"a\"\n2) \"b c\"", Some("\"a\" \"b c\"")),
            ("1) \"17\"\n2) \"b\"", Some("\"17\" \"b\"")),
            ("1) \"17\"", Some("\"17\"")),
            ("1) \"0\"\n2) 1) \"a\"\n   2) \"b\"", Some("\"a\" \"b\"")),
            ("1) \"0\"\n2)  1) \"a\"\n    2) \"b\"", Some("\"a\" \"b\"")),
            ("1) \"9\"\n2) 1) \"a\"\n1) \"0\"\n2) (empty array)", Some("\"a\"")),
            ("(empty array)", Some("")),
            ("\"a\"\n\"b \\x00\"", Some("\"a\" \"b \\x00\"")),
            // Replies of other commands.
            ("1) 1) (integer) 14", None),
            ("1) \"a\"\n3) \"b\"", None),
            ("1) \"a\"\n2) 1) \"b\"", None),
            ("1) 1) \"a\"", None),
            ("1) (nil)", None),
            ("\"a\",\"b\"", None),
            ("1) a", None),
        ] {
            assert_eq!(keys(text).as_deref(), expected, "{text}");
        }
    }
}
