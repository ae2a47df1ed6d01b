//! Requests from bytes, a piece at a time.
//!
//! ```text
//! *2\r\n $3\r\nGET\r\n $3\r\nfoo\r\n      multibulk: header, then each bulk
//! GET foo\r\n                             inline: a line, split and unquoted in place
//! ```
//!
//! A partially received request keeps what was already parsed of it in the [`Decoder`], so that a
//! thousand arguments that arrive in a thousand reads are parsed once each. Memory follows the
//! bytes received: a header that claims a billion arguments reserves nothing.
//!
//! Which bytes are accepted and which refused was measured on Redis 7.0.15: for instance, the two
//! bytes after a bulk are skipped unread, and `*0` and `*-5` are empty requests.

use super::{
    LINE_LEN_MAX, REQUEST_ARGS_MAX, Span, UNAUTHENTICATED_ARGS_MAX, UNAUTHENTICATED_BULK_LEN_MAX,
};
use crate::text::number::parse_i64;

/// The decoder's limits; they depend on the connection and may change between two requests.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Longest argument in bytes (`proto-max-bulk-len`).
    pub bulk_len_max: u64,
    /// Whether the client has authenticated; before that it may send little.
    pub authenticated: bool,
}

/// What is at the front of the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decoded {
    /// A request; its spans were pushed, and the next one starts at `end`.
    Request {
        /// Offset of the first byte after it.
        end: usize,
    },
    /// An empty line or an empty multibulk, which gets no reply.
    Nothing {
        /// Offset of the first byte after it.
        end: usize,
    },
    /// The request is incomplete; at least `missing` more bytes are needed.
    Incomplete {
        /// How many bytes are missing at the least, from 1.
        missing: usize,
    },
}

/// The client violated the protocol: reply with this error, then close.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProtocolError {
    /// `*` without a number, or with one that is too large.
    MultibulkLength,
    /// `$` without a number, or with a negative or too large one.
    BulkLength,
    /// A byte other than `$` at the start of an argument.
    NotABulk(u8),
    /// More than [`LINE_LEN_MAX`] bytes of `*…` without a newline.
    MultibulkLine,
    /// More than [`LINE_LEN_MAX`] bytes of `$…` without a newline.
    BulkLine,
    /// More than [`LINE_LEN_MAX`] bytes of an inline request without a newline.
    InlineLine,
    /// An inline request with an unterminated quote, or text right after a closing quote.
    Quotes,
    /// Too many arguments before AUTH.
    UnauthenticatedMultibulk,
    /// Too long an argument before AUTH.
    UnauthenticatedBulk,
}

impl ProtocolError {
    /// Returns the error text, without its code. The byte that Redis shows is shown as received.
    #[must_use]
    pub fn text(&self) -> Vec<u8> {
        let text = match self {
            Self::MultibulkLength => "invalid multibulk length",
            Self::BulkLength => "invalid bulk length",
            Self::NotABulk(byte) => {
                return [b"Protocol error: expected '$', got '", &[*byte][..], b"'"].concat();
            }
            Self::MultibulkLine => "too big mbulk count string",
            Self::BulkLine => "too big bulk count string",
            Self::InlineLine => "too big inline request",
            Self::Quotes => "unbalanced quotes in request",
            Self::UnauthenticatedMultibulk => "unauthenticated multibulk length",
            Self::UnauthenticatedBulk => "unauthenticated bulk length",
        };
        [b"Protocol error: ", text.as_bytes()].concat()
    }
}

impl std::fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.text().escape_ascii())
    }
}

/// The parsed part of an incomplete multibulk request.
#[derive(Debug, Default)]
struct Half {
    /// Offset of the first unparsed byte, from the start of the request.
    at: usize,
    /// Arguments yet to come.
    args_left: i64,
    /// The length of the argument whose header was read but whose bytes are incomplete.
    bulk_len: Option<usize>,
    /// Complete arguments, relative to the start of the request.
    spans: Vec<Span>,
}

/// One connection's decoder: keeps an incomplete request and nothing else.
#[derive(Debug, Default)]
pub struct Decoder {
    half: Option<Box<Half>>,
}

impl Decoder {
    /// Decodes the request at `buf[from..]` and pushes its spans, relative to `buf`, to `spans`.
    /// After [`Decoded::Incomplete`] the next call needs the same bytes at the front of the unread
    /// part, and more after them. The buffer is mutable because inline requests are unquoted in
    /// place.
    ///
    /// # Errors
    /// The client violated the protocol; the rest of the buffer must not be read.
    pub fn next(
        &mut self,
        buf: &mut [u8],
        from: usize,
        limits: Limits,
        spans: &mut Vec<Span>,
    ) -> Result<Decoded, ProtocolError> {
        if self.is_midway() {
            return self.resume(buf, from, limits, spans);
        }
        match buf.get(from) {
            None => Ok(Decoded::Incomplete { missing: 1 }),
            Some(b'*') => self.multibulk(buf, from, limits, spans),
            Some(_) => inline(buf, from, spans),
        }
    }

    /// As [`Decoder::next`], of a request that has been parsed in part, which is never an inline one: the
    /// bytes need not be mutable. Of another request nothing is decoded.
    ///
    /// # Errors
    /// The client violated the protocol; the rest of the buffer must not be read.
    pub fn resume(
        &mut self,
        buf: &[u8],
        from: usize,
        limits: Limits,
        spans: &mut Vec<Span>,
    ) -> Result<Decoded, ProtocolError> {
        let Some(half) = self.half.take() else { return Ok(Decoded::Incomplete { missing: 1 }) };
        let first = spans.len();
        spans.extend(half.spans.iter().map(|span| span.shifted(from)));
        let state =
            State { at: from + half.at, args_left: half.args_left, bulk_len: half.bulk_len };
        self.bulks(buf, from, state, first, limits, spans)
    }

    /// Returns whether a request has been parsed in part.
    #[must_use]
    pub fn is_midway(&self) -> bool {
        self.half.is_some()
    }

    /// Drops the parsed part of an incomplete request: the next call begins at its first byte
    /// again.
    pub fn rewind(&mut self) {
        self.half = None;
    }

    fn multibulk(
        &mut self,
        buf: &[u8],
        from: usize,
        limits: Limits,
        spans: &mut Vec<Span>,
    ) -> Result<Decoded, ProtocolError> {
        let Some((line, at)) = header(buf, from) else {
            return incomplete_line(buf, from, ProtocolError::MultibulkLine);
        };
        let args_left = parse_i64(&line[1..])
            .filter(|&n| n <= REQUEST_ARGS_MAX)
            .ok_or(ProtocolError::MultibulkLength)?;
        if args_left > UNAUTHENTICATED_ARGS_MAX && !limits.authenticated {
            return Err(ProtocolError::UnauthenticatedMultibulk);
        }
        if args_left <= 0 {
            return Ok(Decoded::Nothing { end: at });
        }
        let state = State { at, args_left, bulk_len: None };
        self.bulks(buf, from, state, spans.len(), limits, spans)
    }

    /// Reads bulks until the request is complete or the bytes run out; in the latter case the
    /// arguments so far move from `spans[first..]` into the decoder.
    fn bulks(
        &mut self,
        buf: &[u8],
        from: usize,
        mut state: State,
        first: usize,
        limits: Limits,
        spans: &mut Vec<Span>,
    ) -> Result<Decoded, ProtocolError> {
        let missing = loop {
            let len = match state.bulk_len {
                Some(len) => len,
                None => {
                    let Some((line, at)) = header(buf, state.at) else {
                        match incomplete_line(buf, state.at, ProtocolError::BulkLine)? {
                            Decoded::Incomplete { missing } => break missing,
                            done => return Ok(done),
                        }
                    };
                    state.at = at;
                    bulk_len(line, limits)?
                }
            };
            // The two bytes after a bulk are taken for CRLF unread, as Redis does.
            let whole = len + 2;
            let here = buf.len() - state.at;
            if here < whole {
                state.bulk_len = Some(len);
                break whole - here;
            }
            spans.push(Span::new(state.at, len));
            state = State { at: state.at + whole, args_left: state.args_left - 1, bulk_len: None };
            if state.args_left == 0 {
                return Ok(Decoded::Request { end: state.at });
            }
        };
        let back = |span: &Span| Span { start: span.start - from as u32, len: span.len };
        self.half = Some(Box::new(Half {
            at: state.at - from,
            args_left: state.args_left,
            bulk_len: state.bulk_len,
            spans: spans[first..].iter().map(back).collect(),
        }));
        spans.truncate(first);
        Ok(Decoded::Incomplete { missing })
    }
}

/// The position in a multibulk request; offsets are into the buffer.
#[derive(Clone, Copy)]
struct State {
    at: usize,
    args_left: i64,
    bulk_len: Option<usize>,
}

/// Decodes a complete request with short headers, as nearly all are, of a client that has
/// authenticated; returns its end. `None` leaves the spans as they were, for [`Decoder::next`] to
/// decide.
#[inline(always)]
pub(crate) fn short_request(buf: &[u8], from: usize, spans: &mut Vec<Span>) -> Option<usize> {
    let (args, mut at) = short_header(buf, from, b'*').filter(|&(args, _)| args > 0)?;
    let first = spans.len();
    for _ in 0..args {
        match short_header(buf, at, b'$') {
            Some((len, start)) if start + len + 2 <= buf.len() => {
                spans.push(Span { start: start as u32, len: len as u32 });
                at = start + len + 2;
            }
            _ => {
                spans.truncate(first);
                return None;
            }
        }
    }
    Some(at)
}

/// Returns the number of a header of one to three digits behind its `kind`, as nearly all are, and
/// the offset after its line; `None` for any other or an incomplete header, for the general path to
/// decide.
#[inline(always)]
fn short_header(buf: &[u8], at: usize, kind: u8) -> Option<(usize, usize)> {
    let digit = |b: u8| usize::from(b.wrapping_sub(b'0'));
    // The shortest header that something follows has five bytes.
    let &[its, a, b, c, d] = buf.get(at..)?.first_chunk()?;
    if its != kind || digit(a) > 9 {
        return None;
    }
    if b == b'\r' {
        return Some((digit(a), at + 4));
    }
    if digit(a) == 0 || digit(b) > 9 {
        return None;
    }
    let two = digit(a) * 10 + digit(b);
    if c == b'\r' {
        return Some((two, at + 5));
    }
    (d == b'\r' && digit(c) < 10 && buf.len() > at + 5).then_some((two * 10 + digit(c), at + 6))
}

/// Returns the line from `at` up to its CR, and the offset after the byte that follows the CR.
fn header(buf: &[u8], at: usize) -> Option<(&[u8], usize)> {
    let rest = &buf[at..];
    // Headers are a few bytes long: a plain loop beats a call here.
    let len = match rest.iter().take(16).position(|&b| b == b'\r') {
        Some(len) => len,
        None => rest.iter().position(|&b| b == b'\r')?,
    };
    if len + 2 <= rest.len() { Some((&rest[..len], at + len + 2)) } else { None }
}

fn incomplete_line(
    buf: &[u8],
    at: usize,
    too_long: ProtocolError,
) -> Result<Decoded, ProtocolError> {
    let rest = &buf[at..];
    if rest.len() > LINE_LEN_MAX && !rest.contains(&b'\r') {
        return Err(too_long);
    }
    Ok(Decoded::Incomplete { missing: 1 })
}

fn bulk_len(line: &[u8], limits: Limits) -> Result<usize, ProtocolError> {
    match line.first() {
        Some(b'$') => {}
        other => return Err(ProtocolError::NotABulk(*other.unwrap_or(&b'\r'))),
    }
    let len = parse_i64(&line[1..])
        .filter(|&n| n >= 0 && n as u64 <= limits.bulk_len_max)
        .ok_or(ProtocolError::BulkLength)?;
    if len > UNAUTHENTICATED_BULK_LEN_MAX && !limits.authenticated {
        return Err(ProtocolError::UnauthenticatedBulk);
    }
    Ok(len as usize)
}

fn inline(buf: &mut [u8], from: usize, spans: &mut Vec<Span>) -> Result<Decoded, ProtocolError> {
    let Some(len) = buf[from..].iter().position(|&b| b == b'\n') else {
        if buf.len() - from > LINE_LEN_MAX {
            return Err(ProtocolError::InlineLine);
        }
        return Ok(Decoded::Incomplete { missing: 1 });
    };
    let line = &mut buf[from..from + len];
    let text_len = if line.last() == Some(&b'\r') { len - 1 } else { len };
    let first = spans.len();
    if unquote(&mut line[..text_len], from, spans).is_none() {
        spans.truncate(first);
        return Err(ProtocolError::Quotes);
    }
    let end = from + len + 1;
    Ok(if spans.len() == first { Decoded::Nothing { end } } else { Decoded::Request { end } })
}

/// Splits an inline request into arguments as Redis' `sdssplitargs` does: blanks separate, but a
/// vertical tab or a form feed within a word belongs to it; `"…"` understands `\n \r \t \b \a \xHH`
/// and takes any other escaped byte literally, `'…'` only `\'`; a closing quote must be followed by
/// a blank or the end. The unquoted bytes, never more than the quoted ones, overwrite the line from
/// its front. `None` when quotes are unbalanced.
fn unquote(line: &mut [u8], offset: usize, spans: &mut Vec<Span>) -> Option<()> {
    let is_blank = |b: u8| b.is_ascii_whitespace() || b == 0x0b;
    let ends_word = |b: u8| matches!(b, b' ' | b'\t' | b'\r' | b'\n' | 0);
    let (mut read, mut write) = (0, 0);
    loop {
        while read < line.len() && is_blank(line[read]) {
            read += 1;
        }
        if read == line.len() || line[read] == 0 {
            return Some(());
        }
        let start = write;
        // A quote may also open in the middle of a word: `a"b c"` is one argument.
        while read < line.len() && !ends_word(line[read]) {
            let quote = line[read];
            if quote != b'"' && quote != b'\'' {
                line[write] = line[read];
                (read, write) = (read + 1, write + 1);
                continue;
            }
            read += 1;
            loop {
                let byte = *line.get(read)?;
                read += 1;
                if byte == quote {
                    break;
                }
                let (byte, taken) = match (byte, quote) {
                    (b'\\', b'"') => escaped(&line[read..]),
                    (b'\\', _) if line.get(read) == Some(&b'\'') => (b'\'', 1),
                    _ => (byte, 0),
                };
                read += taken;
                line[write] = byte;
                write += 1;
            }
            if read < line.len() && !is_blank(line[read]) {
                return None;
            }
            break;
        }
        spans.push(Span::new(offset + start, write - start));
        if read < line.len() && line[read] == 0 {
            // Redis' C string ends here; the rest is not part of the request.
            return Some(());
        }
    }
}

/// Returns the byte that `\` + `rest` encodes inside double quotes, and how many bytes of `rest` it
/// uses.
fn escaped(rest: &[u8]) -> (u8, usize) {
    let hex = |b: u8| char::from(b).to_digit(16).map(|d| d as u8);
    match *rest {
        [b'x', high, low, ..] if hex(high).is_some() && hex(low).is_some() => {
            (hex(high).unwrap_or(0) << 4 | hex(low).unwrap_or(0), 3)
        }
        [b'n', ..] => (b'\n', 1),
        [b'r', ..] => (b'\r', 1),
        [b't', ..] => (b'\t', 1),
        [b'b', ..] => (0x08, 1),
        [b'a', ..] => (0x07, 1),
        [byte, ..] => (byte, 1),
        [] => (b'\\', 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMITS: Limits =
        Limits { bulk_len_max: super::super::BULK_LEN_MAX_DEFAULT, authenticated: true };

    type Requests = Vec<Vec<Vec<u8>>>;

    /// Feeds `pieces` one after the other, as a connection would.
    fn decode(pieces: &[&[u8]]) -> (Requests, Option<ProtocolError>) {
        let (mut buf, mut requests, mut decoder) = (Vec::new(), Vec::new(), Decoder::default());
        for piece in pieces {
            buf.extend_from_slice(piece);
            let (mut at, mut spans) = (0, Vec::new());
            loop {
                spans.clear();
                match decoder.next(&mut buf, at, LIMITS, &mut spans) {
                    Ok(Decoded::Request { end }) => {
                        requests.push(spans.iter().map(|s| s.of(&buf).to_vec()).collect());
                        at = end;
                    }
                    Ok(Decoded::Nothing { end }) => at = end,
                    Ok(Decoded::Incomplete { .. }) => break,
                    Err(error) => return (requests, Some(error)),
                }
            }
            buf.drain(..at);
        }
        (requests, None)
    }

    fn one(bytes: &[u8]) -> Result<Vec<Vec<u8>>, Option<ProtocolError>> {
        let (mut requests, error) = decode(&[bytes]);
        if requests.len() == 1 { Ok(requests.remove(0)) } else { Err(error) }
    }

    #[test]
    fn inline_requests_are_split_as_redis_does() {
        let args = |line: &str| one(format!("{line}\r\n").as_bytes());
        let is = |line: &str, want: &[&[u8]]| {
            assert_eq!(args(line), Ok(want.iter().map(|w| w.to_vec()).collect()), "{line}");
        };
        is("PING", &[b"PING"]);
        is("  set\tk   v ", &[b"set", b"k", b"v"]);
        is(r#""\x50ING" "a\n\t\q" 'it\'s' ''"#, &[b"PING", b"a\n\tq", b"it's", b""]);
        is(r#"a"b c""#, &[b"ab c"]);
        is(r#""\xzz""#, &[b"xzz"]);
        for bad in [r#""a"#, r#""a"b"#, "'a", r#"'a'b"#, r#""a\"#] {
            assert_eq!(args(bad), Err(Some(ProtocolError::Quotes)), "{bad}");
        }
    }

    #[test]
    fn headers_are_as_strict_as_redis() {
        for bad in [
            "*3000000000",
            "*2147483648",
            "*99999999999999999999",
            "*abc",
            "*+1",
            "*01",
            "*",
            "*1.0",
            "*-0",
        ] {
            let (_, error) = decode(&[format!("{bad}\r\n").as_bytes()]);
            assert_eq!(error, Some(ProtocolError::MultibulkLength), "{bad}");
        }
        for nothing in ["*0", "*-1", "*-10", "*-9223372036854775808"] {
            assert_eq!(
                one(format!("{nothing}\r\nPING\r\n").as_bytes()),
                Ok(vec![b"PING".to_vec()])
            );
        }
        for bad in ["$-1", "$536870913", "$abc", "$", "$+4", "$04", "$-0"] {
            let (_, error) = decode(&[format!("*1\r\n{bad}\r\n").as_bytes()]);
            assert_eq!(error, Some(ProtocolError::BulkLength), "{bad}");
        }
        for (bad, byte) in [(":4", b':'), ("+PING", b'+'), ("*1", b'*'), ("", b'\r')] {
            let (_, error) = decode(&[format!("*1\r\n{bad}\r\n").as_bytes()]);
            assert_eq!(error, Some(ProtocolError::NotABulk(byte)), "{bad}");
        }
    }

    #[test]
    fn long_lines_are_cut_off() {
        let long = vec![b'1'; LINE_LEN_MAX + 1];
        let error = |front: &[u8]| decode(&[&[front, &long].concat()]).1;
        assert_eq!(error(b"*"), Some(ProtocolError::MultibulkLine));
        assert_eq!(error(b"*1\r\n$"), Some(ProtocolError::BulkLine));
        assert_eq!(error(b"GET "), Some(ProtocolError::InlineLine));
    }

    #[test]
    fn the_two_bytes_behind_a_bulk_are_not_read() {
        assert_eq!(one(b"*1\r\n$4\r\nPINGXX"), Ok(vec![b"PING".to_vec()]));
    }

    #[test]
    fn a_claim_reserves_nothing() {
        let mut decoder = Decoder::default();
        let mut spans = Vec::new();
        let mut bytes = b"*2147483647\r\n$536870912\r\nx".to_vec();
        let decoded = decoder.next(&mut bytes, 0, LIMITS, &mut spans);
        assert_eq!(decoded, Ok(Decoded::Incomplete { missing: 536_870_913 }));
        assert!(spans.capacity() < 64 && decoder.is_midway());
    }

    fn request() -> impl Strategy<Value = Vec<u8>> {
        let arg = prop::collection::vec(any::<u8>(), 0..40);
        let multibulk = prop::collection::vec(arg, 0..5).prop_map(|args| {
            let mut bytes = format!("*{}\r\n", args.len()).into_bytes();
            for arg in args {
                bytes.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
                bytes.extend_from_slice(&arg);
                bytes.extend_from_slice(b"\r\n");
            }
            bytes
        });
        let inline = "[ -~]{0,30}\r?\n".prop_map(String::into_bytes);
        prop_oneof![4 => multibulk, 2 => inline, 1 => prop::collection::vec(any::<u8>(), 0..20)]
    }

    proptest! {
        #[test]
        fn any_split_of_the_bytes_gives_the_same_requests(
            requests in prop::collection::vec(request(), 1..8),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        ) {
            let bytes = requests.concat();
            let mut cuts: Vec<usize> = cuts.iter().map(|c| c.index(bytes.len() + 1)).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|w| &bytes[w[0]..w[1]]).collect();
            let singly: Vec<&[u8]> = bytes.chunks(1).collect();
            let whole = decode(&[&bytes]);
            prop_assert_eq!(&decode(&pieces), &whole);
            prop_assert_eq!(&decode(&singly), &whole);
        }
    }
}
