//! The pattern of a key, which it shares with all keys of its kind: `cart:9381:items` is one of
//! `cart:<int>:items`.
//!
//! ```text
//! key      {user:42}:sess:3f2a9c01e77b      pieces    { user : 42 } : sess : 3f2a9c01e77b
//! pattern  {user:<int>}:sess:<hex>                      word  int     word   hex
//! ```
//!
//! | shown    | what it stands for                                                                  |
//! |----------|-------------------------------------------------------------------------------------|
//! | `<int>`  | digits, also a Unix time; a number that ends a word too: `user42` is `user<int>`      |
//! | `<uuid>` | 8-4-4-4-12 hexadecimal digits                                                       |
//! | `<hex>`  | 8 hexadecimal digits or more of one case, digits and letters both                   |
//! | `<ulid>` | 26 digits of Crockford's base 32                                                    |
//! | `<time>` | a date, perhaps with a time of day: `2026-01-31`, `2026-01-31T23:59:07.123Z`         |
//! | `<id>`   | letters and digits that alternate as chance does: `V1StGXR8_Z5jdHi6B-myT`             |
//! | `<bin>`  | bytes that are no text                                                              |
//! | `…`      | the rest of a key of more than [`PIECES_MAX`] pieces                                |
//!
//! Everything else stays as it is, above all the braces of a hashtag. A guess may be wrong, because
//! only the key's text is known. Two kinds of keys in one row lose detail; one kind in many rows
//! takes rows, which are bounded.

use std::fmt::Write;

/// Pieces of a key that are distinguished, marks between them counted.
pub const PIECES_MAX: usize = 48;
/// Letters and digits before a control character are a name from this length on.
const NAME_LEN_MIN: usize = 4;

/// The kind of a piece of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "see the table at the top of the file")]
pub enum Kind {
    /// A separator: `:`, `{`, a space.
    Mark,
    /// Text that stays as it is.
    Word,
    Int,
    Uuid,
    Hex,
    Ulid,
    Time,
    Id,
    Bin,
    Rest,
}

impl Kind {
    /// The placeholder that is shown for it, if any.
    #[must_use]
    pub const fn sign(self) -> Option<&'static str> {
        match self {
            Self::Mark | Self::Word => None,
            Self::Int => Some("<int>"),
            Self::Uuid => Some("<uuid>"),
            Self::Hex => Some("<hex>"),
            Self::Ulid => Some("<ulid>"),
            Self::Time => Some("<time>"),
            Self::Id => Some("<id>"),
            Self::Bin => Some("<bin>"),
            Self::Rest => Some("…"),
        }
    }
}

/// A piece of a key: its kind and its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Its kind.
    pub kind: Kind,
    /// The index of its first byte.
    pub start: usize,
    /// The index of the first byte behind it.
    pub end: usize,
}

/// Returns the pieces of a key in order, without gaps.
#[must_use]
pub fn pieces(key: &[u8]) -> Vec<Piece> {
    let mut pieces = Vec::with_capacity(8);
    let mut at = 0;
    while at < key.len() {
        let (kind, len) = first(&key[at..]);
        if kind == Kind::Word {
            split(key, at, at + len, &mut pieces);
        } else {
            pieces.push(Piece { kind, start: at, end: at + len });
        }
        at += len;
        if pieces.len() > PIECES_MAX {
            pieces.truncate(PIECES_MAX - 1);
            let start = pieces.last().map_or(0, |piece| piece.end);
            pieces.push(Piece { kind: Kind::Rest, start, end: key.len() });
            break;
        }
    }
    pieces
}

/// Appends the pattern of `key`.
pub fn write_pattern(key: &[u8], out: &mut String) {
    for piece in pieces(key) {
        match piece.kind.sign() {
            Some(sign) => out.push_str(sign),
            // A word is text, or it would be `<bin>`.
            None => out.push_str(&String::from_utf8_lossy(&key[piece.start..piece.end])),
        }
    }
}

/// Returns the pattern of `key`.
#[must_use]
pub fn pattern(key: &[u8]) -> String {
    let mut text = String::with_capacity(key.len() + 8);
    write_pattern(key, &mut text);
    text
}

/// Returns a key for display: text as it is, other bytes as `\x00`, at most `chars_max` characters.
#[must_use]
pub fn shown(key: &[u8], chars_max: usize) -> String {
    let mut text = String::new();
    let mut left = chars_max;
    for chunk in key.utf8_chunks() {
        for c in chunk.valid().chars() {
            if left == 0 {
                text.push('…');
                return text;
            }
            left -= 1;
            match c {
                c if c.is_control() => {
                    let _infallible = write!(text, "{}", c.escape_default());
                }
                c => text.push(c),
            }
        }
        for byte in chunk.invalid() {
            left = left.saturating_sub(1);
            let _infallible = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

/// Whether a byte is part of words; the others separate them.
const fn is_inner(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte >= 0x80 || byte.is_ascii_control()
}

/// Returns the kind and the length of the first piece of a key's rest. A `Word` may contain numbers.
fn first(rest: &[u8]) -> (Kind, usize) {
    if !is_inner(rest[0]) {
        return (Kind::Mark, 1);
    }
    if let Some(len) = uuid(rest) {
        return (Kind::Uuid, len);
    }
    if let Some(len) = time(rest) {
        return (Kind::Time, len);
    }
    if let Some(len) = chance_with_marks(rest) {
        return (Kind::Id, len);
    }
    let len = rest.iter().position(|&byte| !is_inner(byte)).unwrap_or(rest.len());
    let text = rest[..len].iter().position(|byte| !byte.is_ascii_alphanumeric()).unwrap_or(len);
    // Some libraries put control characters between a name and its suffix.
    let len = match rest[..len].get(text).is_some_and(u8::is_ascii_control) && text >= NAME_LEN_MIN
    {
        true => text,
        false => len,
    };
    (kind(&rest[..len]), len)
}

/// Returns the kind of a token without separators.
fn kind(token: &[u8]) -> Kind {
    let count = |is: fn(&u8) -> bool| token.iter().filter(|byte| is(byte)).count();
    let digits = count(u8::is_ascii_digit);
    if digits == token.len() {
        return Kind::Int;
    }
    if token.iter().any(u8::is_ascii_control) || std::str::from_utf8(token).is_err() {
        return Kind::Bin;
    }
    let (lower, upper) = (count(u8::is_ascii_lowercase), count(u8::is_ascii_uppercase));
    if digits + lower + upper < token.len() {
        return Kind::Word;
    }
    let one_case = lower == 0 || upper == 0;
    let is_hex = one_case && token.iter().all(u8::is_ascii_hexdigit);
    if is_hex && (token.len() >= 8 && digits > 0 || token.len() >= 16) {
        return Kind::Hex;
    }
    if one_case && is_ulid(token) && digits > 1 {
        return Kind::Ulid;
    }
    let turns = token.windows(2).filter(|w| w[0].is_ascii_digit() != w[1].is_ascii_digit()).count();
    match token.len() {
        6.. if turns >= 4 && is_hex => Kind::Hex,
        6.. if turns >= 4 => Kind::Id,
        8.. if digits > 1 && lower > 0 && upper > 1 && changes(token) * 5 >= token.len() * 2 => {
            Kind::Id
        }
        _ => Kind::Word,
    }
}

/// Splits a word into its numbers and the text between them.
fn split(key: &[u8], start: usize, end: usize, pieces: &mut Vec<Piece>) {
    let mut at = start;
    while at < end {
        let is_number = key[at].is_ascii_digit();
        let len = key[at..end]
            .iter()
            .position(|byte| byte.is_ascii_digit() != is_number)
            .unwrap_or(end - at);
        let kind = if is_number { Kind::Int } else { Kind::Word };
        pieces.push(Piece { kind, start: at, end: at + len });
        at += len;
    }
}

/// Counts how often the class of characters changes (upper case, lower case, digit), separators
/// left out.
fn changes(token: &[u8]) -> usize {
    let class = |byte: u8| match byte {
        b'0'..=b'9' => 0,
        b'a'..=b'z' => 1,
        _ => 2,
    };
    let mut classes = token.iter().filter(|byte| byte.is_ascii_alphanumeric()).map(|&b| class(b));
    let mut before = classes.next();
    classes.filter(|&class| before.replace(class) != Some(class)).count()
}

fn is_ulid(token: &[u8]) -> bool {
    token.len() == 26
        && token[0] <= b'7'
        && token.iter().all(|byte| !matches!(byte.to_ascii_uppercase(), b'I' | b'L' | b'O' | b'U'))
}

/// Whether a word ends at `at`.
fn ends(rest: &[u8], at: usize) -> bool {
    rest.get(at).is_none_or(|&byte| !is_inner(byte) || byte.is_ascii_control())
}

fn uuid(rest: &[u8]) -> Option<usize> {
    const LEN: usize = 36;
    let text = rest.get(..LEN)?;
    let fits = text.iter().enumerate().all(|(at, byte)| match at {
        8 | 13 | 18 | 23 => *byte == b'-',
        _ => byte.is_ascii_hexdigit(),
    });
    (fits && ends(rest, LEN)).then_some(LEN)
}

/// Returns the length of a date with its time of day, if there is one.
fn time(rest: &[u8]) -> Option<usize> {
    const DATE: usize = 10;
    let fits = |from: usize, form: &[u8]| {
        let text = rest.get(from..from + form.len())?;
        let same = |(&byte, &wanted): (&u8, &u8)| match wanted {
            b'd' => byte.is_ascii_digit(),
            wanted => byte == wanted,
        };
        text.iter().zip(form).all(same).then_some(from + form.len())
    };
    let digits = |from: usize| rest[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let two = |from: usize| u32::from(rest[from] - b'0') * 10 + u32::from(rest[from + 1] - b'0');
    fits(0, b"dddd-dd-dd")?;
    if !(1..=12).contains(&two(5)) || !(1..=31).contains(&two(8)) {
        return None;
    }
    let mut end = DATE;
    if matches!(rest.get(DATE), Some(b'T' | b't' | b' ' | b'_'))
        && let Some(minutes) = fits(DATE + 1, b"dd:dd")
    {
        end = fits(minutes, b":dd").unwrap_or(minutes);
        if rest.get(end) == Some(&b'.') && digits(end + 1) > 0 {
            end += 1 + digits(end + 1);
        }
        end = match rest.get(end) {
            Some(b'Z' | b'z') => end + 1,
            Some(b'+' | b'-') => {
                fits(end + 1, b"dd:dd").or_else(|| fits(end + 1, b"dddd")).unwrap_or(end)
            }
            _ => end,
        };
    }
    ends(rest, end).then_some(end)
}

/// Returns the length of twenty or more letters, digits, `-` and `_` that look random, as URL-safe
/// identifiers do: words, even capitalised ones, change the class of characters less often.
fn chance_with_marks(rest: &[u8]) -> Option<usize> {
    const LEN_MIN: usize = 20;
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let len = rest.iter().take_while(|byte| is_part(byte)).count();
    let token = &rest[..len];
    let has = |is: fn(&u8) -> bool| token.iter().any(is);
    let looks = len >= LEN_MIN
        && has(u8::is_ascii_digit)
        && has(u8::is_ascii_lowercase)
        && has(u8::is_ascii_uppercase)
        && changes(token) * 5 >= len * 2;
    (looks && ends(rest, len)).then_some(len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn variable_parts_are_recognised() {
        for (key, expected) in [
            ("cart:9381:items", "cart:<int>:items"),
            ("{user:42}:cart", "{user:<int>}:cart"),
            ("user42", "user<int>"),
            ("bull:mail:wait", "bull:mail:wait"),
            ("celery-task-meta-0f8fad5b-d9cb-469f-a165-70867728950e", "celery-task-meta-<uuid>"),
            ("rq:job:0F8FAD5B-D9CB-469F-A165-70867728950E", "rq:job:<uuid>"),
            ("sess:3f2a9c01e77b", "sess:<hex>"),
            ("sess:d41d8cd98f00b204e9800998ecf8427e", "sess:<hex>"),
            ("commit:a1b2c3d", "commit:<hex>"),
            ("deadbeef:feedface", "deadbeef:feedface"),
            ("event:01ARZ3NDEKTSV4RRFFQ69G5FAV", "event:<ulid>"),
            ("stats:2026-01-31", "stats:<time>"),
            ("stats:2026-01-31T23:59:07.123Z:x", "stats:<time>:x"),
            ("stats:2026-01-31 23:59+01:00", "stats:<time>"),
            ("stats:2026-31-01", "stats:<int>-<int>-<int>"),
            ("at:1795332580764", "at:<int>"),
            ("nano:V1StGXR8_Z5jdHi6B-myT", "nano:<id>"),
            ("My-Long-Feature-Name-2", "My-Long-Feature-Name-<int>"),
            ("größe:1", "größe:<int>"),
            ("temp:-5.25", "temp:-<int>.<int>"),
            ("_kombu.binding.celery", "_kombu.binding.celery"),
            ("", ""),
        ] {
            assert_eq!(pattern(key.as_bytes()), expected, "{key}");
        }
        for (key, expected) in [
            (&b"b:\x00\xff:1"[..], "b:<bin>:<int>"),
            // A queue of Celery's by its priority.
            (b"celery\x06\x163", "celery<bin>"),
            (b"reply.0f8fad5b-d9cb-469f-a165-70867728950e\x06\x169", "reply.<uuid><bin>"),
            (b"abc\x00\x01", "<bin>"),
        ] {
            assert_eq!(pattern(key), expected, "{key:?}");
        }
        let long = "a:".repeat(100);
        let shown = pattern(long.as_bytes());
        assert!(shown.ends_with('…') && shown.len() < long.len(), "{shown}");
    }

    #[test]
    fn keys_are_shown_without_power_over_the_terminal() {
        assert_eq!(shown(b"a\x1b[2J\xff", 40), "a\\u{1b}[2J\\xff");
        assert_eq!(shown("größer".as_bytes(), 3), "grö…");
    }

    proptest! {
        #[test]
        fn pieces_leave_nothing_out(key in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut at = 0;
            for piece in pieces(&key) {
                prop_assert!(piece.start == at && piece.end > at);
                at = piece.end;
            }
            prop_assert_eq!(at, key.len());
            prop_assert!(pieces(&key).len() <= PIECES_MAX);
        }

        #[test]
        fn numbers_of_any_size_make_one_row(a: u64, b: u64) {
            let of = |n: u64| pattern(format!("cart:{n}:items").as_bytes());
            prop_assert_eq!(of(a), of(b));
        }
    }
}
