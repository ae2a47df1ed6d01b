//! The client's side: replies from bytes, RESP2 and RESP3, in any pieces.
//!
//! ```text
//! ReplyDecoder   finds where a reply ends; keeps its progress in an incomplete one
//! Reply          a view of those bytes: nothing is copied, elements are read on demand
//! ```
//!
//! Every reply that a [`ReplyDecoder`] accepts is well formed, so that reading a [`Reply`] cannot
//! fail. Memory follows the bytes received: a header that claims a billion elements reserves
//! nothing.

use super::LINE_LEN_MAX;
use crate::text::number::parse_i64;

/// Longest string of a reply, in bytes: what servers allow by default.
pub const REPLY_BULK_LEN_MAX: i64 = 512 * 1024 * 1024;
/// Most elements that one array may announce.
pub const REPLY_ELEMENTS_MAX: i64 = 1 << 30;
/// Deepest nesting of arrays.
pub const REPLY_DEPTH_MAX: usize = 64;

/// The server violated the protocol: the rest of the stream cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyError {
    /// A byte that begins no reply.
    Type(u8),
    /// A length or a number that is malformed or too large.
    Number,
    /// A line that is too long, or does not end in `\r\n`.
    Line,
    /// A string without `\r\n` after it.
    Bulk,
    /// Arrays nested too deep.
    Depth,
}

impl std::fmt::Display for ReplyError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Type(byte) => write!(f, "no reply begins with '{}'", byte.escape_ascii()),
            Self::Number => f.write_str("a reply with a malformed number"),
            Self::Line => f.write_str("a reply with an unterminated line"),
            Self::Bulk => f.write_str("a string without its terminator"),
            Self::Depth => f.write_str("a reply with arrays nested too deep"),
        }
    }
}

impl std::error::Error for ReplyError {}

/// Finds the ends of replies: keeps its position in an incomplete reply and nothing else.
#[derive(Clone, Debug, Default)]
pub struct ReplyDecoder {
    /// Offset of the first byte not yet decoded, from the start of the reply.
    at: usize,
    /// For each open array, how many elements it still lacks; every one at least 1.
    lacking: Vec<u64>,
}

impl ReplyDecoder {
    /// Returns where the reply that starts at `buf[0]` ends, or `None` while it is incomplete; the
    /// next call then needs the same bytes and more after them.
    ///
    /// # Errors
    /// The server violated the protocol.
    pub fn next(&mut self, buf: &[u8]) -> Result<Option<usize>, ReplyError> {
        loop {
            let Some((kind, text, after)) = line(buf, self.at)? else { return Ok(None) };
            let lacks = match kind {
                b'+' | b'-' | b',' => 0,
                b'_' if text.is_empty() => 0,
                b'#' if matches!(text, b"t" | b"f") => 0,
                b':' => number(text).map(|_| 0)?,
                b'(' if is_big(text) => 0,
                b'$' | b'!' | b'=' => match number(text)? {
                    -1 => 0,
                    len @ 0..=REPLY_BULK_LEN_MAX => {
                        let end = after + len as usize;
                        match buf.get(end..end + 2) {
                            None => return Ok(None),
                            Some(b"\r\n") => self.at = end + 2,
                            Some(_) => return Err(ReplyError::Bulk),
                        }
                        if self.close() {
                            return Ok(Some(self.finish()));
                        }
                        continue;
                    }
                    _ => return Err(ReplyError::Number),
                },
                b'*' | b'~' | b'>' | b'%' | b'|' => match (kind, number(text)?) {
                    (b'*', -1) => 0,
                    (b'%', n @ 0..=REPLY_ELEMENTS_MAX) => 2 * n as u64,
                    // An attribute precedes a reply and is part of it.
                    (b'|', n @ 0..=REPLY_ELEMENTS_MAX) => 2 * n as u64 + 1,
                    (b'*' | b'~' | b'>', n @ 0..=REPLY_ELEMENTS_MAX) => n as u64,
                    _ => return Err(ReplyError::Number),
                },
                b'_' | b'#' | b'(' => return Err(ReplyError::Number),
                other => return Err(ReplyError::Type(other)),
            };
            self.at = after;
            if lacks > 0 {
                if self.lacking.len() == REPLY_DEPTH_MAX {
                    return Err(ReplyError::Depth);
                }
                self.lacking.push(lacks);
            } else if self.close() {
                return Ok(Some(self.finish()));
            }
        }
    }

    /// Completes an element, and every array of which it is the last element; returns whether that
    /// completes the reply.
    fn close(&mut self) -> bool {
        while let Some(lacking) = self.lacking.last_mut() {
            *lacking -= 1;
            if *lacking > 0 {
                return false;
            }
            self.lacking.pop();
        }
        true
    }

    fn finish(&mut self) -> usize {
        std::mem::take(&mut self.at)
    }
}

/// A line: its first byte, the text after that, and where the next line starts.
type Line<'b> = (u8, &'b [u8], usize);

/// Returns the line that starts at `at`, if it is complete.
#[inline]
fn line(buf: &[u8], at: usize) -> Result<Option<Line<'_>>, ReplyError> {
    let Some(rest) = buf.get(at..).filter(|rest| !rest.is_empty()) else { return Ok(None) };
    let shown = &rest[..rest.len().min(LINE_LEN_MAX)];
    let Some(end) = shown.iter().position(|&byte| byte == b'\n') else {
        return if shown.len() == LINE_LEN_MAX { Err(ReplyError::Line) } else { Ok(None) };
    };
    match &shown[..end] {
        [kind, text @ .., b'\r'] => Ok(Some((*kind, text, at + end + 1))),
        _ => Err(ReplyError::Line),
    }
}

fn number(text: &[u8]) -> Result<i64, ReplyError> {
    // Servers write lengths and integers in their shortest form, the only one accepted here.
    parse_i64(text).ok_or(ReplyError::Number)
}

fn is_big(text: &[u8]) -> bool {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    !digits.is_empty() && digits.iter().all(u8::is_ascii_digit)
}

/// A complete reply, as a view of its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply<'a> {
    /// `+OK`.
    Simple(&'a [u8]),
    /// `-ERR …`, or RESP3's long form of it.
    Error(&'a [u8]),
    /// `:7`.
    Integer(i64),
    /// A string; also RESP3's verbatim string, without its format prefix.
    Bulk(&'a [u8]),
    /// Null: `$-1`, `*-1`, `_`.
    Null,
    /// An array, a set, or the pairs of a map one after the other.
    Array(Elements<'a>),
    /// A push message.
    Push(Elements<'a>),
    /// A double or a big number, as text.
    Number(&'a [u8]),
    /// `#t`, `#f`.
    Boolean(bool),
}

impl<'a> Reply<'a> {
    /// Returns the reply in `bytes`, from its first to its last, as delimited by a
    /// [`ReplyDecoder`]. Other bytes read as [`Reply::Null`].
    #[must_use]
    pub fn of(bytes: &'a [u8]) -> Self {
        let Ok(Some((kind, text, after))) = line(bytes, 0) else { return Self::Null };
        let many = |times: u64| {
            let left = parse_i64(text).and_then(|n| u64::try_from(n).ok());
            left.map(|n| Elements { left: n * times, bytes: &bytes[after..] })
        };
        let string = || {
            let len = usize::try_from(parse_i64(text)?).ok()?;
            bytes.get(after..after + len)
        };
        match kind {
            b'+' => Self::Simple(text),
            b'-' => Self::Error(text),
            b':' => parse_i64(text).map_or(Self::Null, Self::Integer),
            b',' | b'(' => Self::Number(text),
            b'#' => Self::Boolean(text == b"t"),
            b'$' => string().map_or(Self::Null, Self::Bulk),
            b'=' => string().map_or(Self::Null, |text| Self::Bulk(text.get(4..).unwrap_or(text))),
            b'!' => string().map_or(Self::Null, Self::Error),
            b'*' | b'~' => many(1).map_or(Self::Null, Self::Array),
            b'%' => many(2).map_or(Self::Null, Self::Array),
            b'>' => many(1).map_or(Self::Null, Self::Push),
            // Attributes are skipped: the reply is what comes last.
            b'|' => match many(2) {
                Some(mut pairs) => {
                    while pairs.next().is_some() {}
                    Self::of(pairs.bytes)
                }
                None => Self::Null,
            },
            _ => Self::Null,
        }
    }

    /// Returns the integer that this is, or that this string spells.
    #[must_use]
    pub fn integer(&self) -> Option<i64> {
        match *self {
            Self::Integer(n) => Some(n),
            Self::Bulk(text) => parse_i64(text),
            _ => None,
        }
    }

    /// Returns whether this is `+OK`.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        *self == Self::Simple(b"OK")
    }

    /// Returns whether this is `+QUEUED`.
    #[must_use]
    pub fn is_queued(&self) -> bool {
        *self == Self::Simple(b"QUEUED")
    }

    /// Returns the elements of an array.
    #[must_use]
    pub fn elements(&self) -> Option<Elements<'a>> {
        match *self {
            Self::Array(elements) => Some(elements),
            _ => None,
        }
    }
}

/// The elements of an array, read one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elements<'a> {
    left: u64,
    bytes: &'a [u8],
}

impl<'a> Iterator for Elements<'a> {
    type Item = Reply<'a>;

    fn next(&mut self) -> Option<Reply<'a>> {
        self.left = self.left.checked_sub(1)?;
        let end = ReplyDecoder::default().next(self.bytes).ok().flatten()?;
        let (element, rest) = self.bytes.split_at(end);
        self.bytes = rest;
        Some(Reply::of(element))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, usize::try_from(self.left).ok())
    }
}

impl Elements<'_> {
    /// Returns how many there are.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.left
    }

    /// Returns whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.left == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Shows a reply as a tree, to be compared.
    fn show(reply: Reply<'_>) -> String {
        match reply {
            Reply::Array(elements) => {
                format!("[{}]", elements.map(show).collect::<Vec<_>>().join(" "))
            }
            Reply::Push(elements) => {
                format!(">[{}]", elements.map(show).collect::<Vec<_>>().join(" "))
            }
            Reply::Simple(t) => format!("+{}", t.escape_ascii()),
            Reply::Error(t) => format!("-{}", t.escape_ascii()),
            Reply::Bulk(t) => format!("\"{}\"", t.escape_ascii()),
            Reply::Number(t) => t.escape_ascii().to_string(),
            Reply::Integer(n) => n.to_string(),
            Reply::Null => "null".to_owned(),
            Reply::Boolean(b) => b.to_string(),
        }
    }

    /// Reads a stream of replies in pieces that end at `cuts`.
    fn read(stream: &[u8], cuts: &[usize]) -> Result<Vec<String>, ReplyError> {
        let (mut decoder, mut shown, mut from) = (ReplyDecoder::default(), Vec::new(), 0);
        for end in cuts.iter().copied().chain([stream.len()]) {
            while let Some(len) = decoder.next(&stream[from..end.max(from)])? {
                shown.push(show(Reply::of(&stream[from..from + len])));
                from += len;
            }
        }
        Ok(shown)
    }

    #[test]
    fn every_kind_of_reply_is_read() {
        for (bytes, shown) in [
            ("+OK\r\n", "+OK"),
            ("-ERR no\r\n", "-ERR no"),
            ("!6\r\nERR no\r\n", "-ERR no"),
            (":-7\r\n", "-7"),
            ("$3\r\na\r\n\r\n", r#""a\r\n""#),
            ("$-1\r\n", "null"),
            ("*-1\r\n", "null"),
            ("_\r\n", "null"),
            ("*0\r\n", "[]"),
            ("*2\r\n*1\r\n:1\r\n$0\r\n\r\n", r#"[[1] ""]"#),
            ("%1\r\n+a\r\n#t\r\n", "[+a true]"),
            ("~1\r\n,1.5\r\n", "[1.5]"),
            (">2\r\n+x\r\n(123\r\n", ">[+x 123]"),
            ("=5\r\ntxt:x\r\n", r#""x""#),
            ("|1\r\n+ttl\r\n:3\r\n*1\r\n:9\r\n", "[9]"),
        ] {
            assert_eq!(read(bytes.as_bytes(), &[]), Ok(vec![shown.to_owned()]), "{bytes:?}");
        }
    }

    #[test]
    fn what_is_no_reply_is_refused_and_claims_reserve_nothing() {
        for (bytes, error) in [
            ("GET\r\n", ReplyError::Type(b'G')),
            (":x\r\n", ReplyError::Number),
            ("$-2\r\n", ReplyError::Number),
            ("$999999999999\r\n", ReplyError::Number),
            ("*999999999999\r\n", ReplyError::Number),
            ("#x\r\n", ReplyError::Number),
            ("$1\r\nabc", ReplyError::Bulk),
            ("+OK\n", ReplyError::Line),
        ] {
            assert_eq!(read(bytes.as_bytes(), &[]), Err(error), "{bytes:?}");
        }
        assert_eq!(read("*1\r\n".repeat(65).as_bytes(), &[]), Err(ReplyError::Depth));
        assert_eq!(read(&[b'+'; LINE_LEN_MAX], &[]), Err(ReplyError::Line));
        assert_eq!(read(b"*1073741824\r\n:1\r\n", &[]), Ok(vec![]));
    }

    fn any_reply() -> impl Strategy<Value = Vec<u8>> {
        let leaf = prop_oneof![
            "[a-z ]{0,5}".prop_map(|t| format!("+{t}\r\n").into_bytes()),
            any::<i64>().prop_map(|n| format!(":{n}\r\n").into_bytes()),
            Just(b"$-1\r\n".to_vec()),
            Just(b"_\r\n".to_vec()),
            prop::collection::vec(any::<u8>(), 0..9).prop_map(|text| {
                [format!("${}\r\n", text.len()).as_bytes(), &text, b"\r\n"].concat()
            }),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            (prop::sample::select(&b"*~>%|"[..]), prop::collection::vec(inner.clone(), 0..4), inner)
                .prop_map(|(kind, mut elements, last)| {
                    if matches!(kind, b'%' | b'|') && elements.len() % 2 == 1 {
                        elements.pop();
                    }
                    let count = elements.len() / if matches!(kind, b'%' | b'|') { 2 } else { 1 };
                    if kind == b'|' {
                        elements.push(last);
                    }
                    [format!("{}{count}\r\n", kind as char).into_bytes(), elements.concat()]
                        .concat()
                })
        })
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same(
            replies in prop::collection::vec(any_reply(), 1..5),
            mut cuts in prop::collection::vec(0usize..200, 0..12),
        ) {
            let stream = replies.concat();
            cuts.iter_mut().for_each(|cut| *cut = (*cut).min(stream.len()));
            cuts.sort_unstable();
            let whole = read(&stream, &[]);
            prop_assert_eq!(whole.as_ref().map(Vec::len), Ok(replies.len()));
            prop_assert_eq!(read(&stream, &cuts), whole.clone());
            let every = (0..stream.len()).collect::<Vec<_>>();
            prop_assert_eq!(read(&stream, &every), whole);
        }

        #[test]
        fn bytes_of_any_kind_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _either_way = read(&bytes, &[]);
            let _any = show(Reply::of(&bytes));
        }
    }
}
