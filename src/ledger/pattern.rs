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

use super::piece::{CLASSES, Class, careful, first, plain, split};
use hashbrown::Equivalent;
use std::fmt::Write;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

pub(crate) use super::piece::{Kind, Piece};

/// Pieces of a key that are distinguished, marks between them counted.
pub(crate) const PIECES_MAX: usize = 48;
/// Returns the pieces of a key in order, without gaps.
#[must_use]
pub(crate) fn pieces(key: &[u8]) -> Vec<Piece> {
    let mut pieces = Vec::with_capacity(8);
    cut(key, &mut pieces);
    pieces
}

/// Cuts a key into `pieces`, which are emptied first.
fn cut(key: &[u8], pieces: &mut Vec<Piece>) {
    pieces.clear();
    let mut at = 0;
    while at < key.len() {
        let (kind, len) = first(&key[at..]);
        if kind == Kind::Word {
            split(key, at, at + len, &mut |piece| pieces.push(piece));
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
}

/// Appends the pattern of `key`, piece by piece as they are recognised: no list of them is made.
pub(crate) fn write_pattern(key: &[u8], out: &mut String) {
    let mut short = ShortPattern::default();
    if let Some(text) = short.of(key).and_then(|text| std::str::from_utf8(text.0).ok()) {
        out.push_str(text);
        return;
    }
    let Ok(text) = std::str::from_utf8(key) else {
        return write_pieces(key, &pieces(key), out);
    };
    let mut at = 0;
    let mut pattern = PatternWriter { text, kept: out.len(), out, count: 0 };
    while at < key.len() && pattern.count <= PIECES_MAX {
        let (kind, len) = first(&key[at..]);
        match kind {
            Kind::Word => split(key, at, at + len, &mut |piece| pattern.add(piece)),
            kind => pattern.add(Piece { kind, start: at, end: at + len }),
        }
        at += len;
    }
    pattern.end();
}

/// The bytes of a pattern, to find a row by: that they are text is not looked at again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PatternBytes<'a>(pub(crate) &'a [u8]);

impl Hash for PatternBytes<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // As that of a `str`.
        state.write(self.0);
        state.write_u8(0xFF);
    }
}

impl Equivalent<Arc<str>> for PatternBytes<'_> {
    fn equivalent(&self, pattern: &Arc<str>) -> bool {
        self.0 == pattern.as_bytes()
    }
}

impl PatternBytes<'_> {
    /// Returns the pattern as it is kept.
    #[must_use]
    pub(crate) fn to_text(self) -> Arc<str> {
        String::from_utf8_lossy(self.0).into()
    }
}

/// Bytes of a pattern that is written in place.
const SHORT_LEN_MAX: usize = 128;

/// The pattern of a short key of ASCII characters, as nearly all are: written in one pass over its bytes.
pub(crate) struct ShortPattern {
    bytes: [u8; SHORT_LEN_MAX],
    len: usize,
}

impl Default for ShortPattern {
    fn default() -> Self {
        Self { bytes: [0; SHORT_LEN_MAX], len: 0 }
    }
}

impl ShortPattern {
    /// Returns the pattern of a key; `None` for a key that needs more care, or has a longer one.
    #[inline]
    pub(crate) fn of(&mut self, key: &[u8]) -> Option<PatternBytes<'_>> {
        let (mut at, mut pieces) = (0, 0);
        while at < key.len() {
            let rest = &key[at..];
            pieces += 1;
            match CLASSES[usize::from(rest[0])] {
                Class::Mark => {
                    self.push(rest[0])?;
                    at += 1;
                }
                Class::Other => return None,
                Class::Digit | Class::Letter => match plain(rest) {
                    Some((Kind::Word, len)) => {
                        self.extend(&rest[..len])?;
                        at += len;
                    }
                    Some((kind, len)) => {
                        self.extend(kind.sign()?.as_bytes())?;
                        at += len;
                    }
                    None => {
                        let (kind, len) = careful(rest);
                        match kind.sign() {
                            Some(sign) => self.extend(sign.as_bytes())?,
                            None => {
                                let mut fits = Some(());
                                split(key, at, at + len, &mut |piece: Piece| {
                                    pieces += 1;
                                    let text = &key[piece.start..piece.end];
                                    let text = piece.kind.sign().map_or(text, str::as_bytes);
                                    fits = fits.and_then(|()| self.extend(text));
                                });
                                fits?;
                            }
                        }
                        at += len;
                    }
                },
            }
        }
        // With so many pieces the rest may have to be left out.
        (pieces <= PIECES_MAX).then_some(PatternBytes(&self.bytes[..self.len]))
    }

    #[inline]
    fn push(&mut self, byte: u8) -> Option<()> {
        *self.bytes.get_mut(self.len)? = byte;
        self.len += 1;
        Some(())
    }

    #[inline]
    fn extend(&mut self, text: &[u8]) -> Option<()> {
        let to = self.bytes.get_mut(self.len..self.len + text.len())?;
        // Words are too short for a call to pay.
        to.iter_mut().zip(text).for_each(|(to, byte)| *to = *byte);
        self.len += text.len();
        Some(())
    }
}

/// Writes the pattern of a key that is text.
struct PatternWriter<'a> {
    text: &'a str,
    out: &'a mut String,
    /// Pieces so far.
    count: usize,
    /// The length of `out` before the piece in whose place the rest is shown if there are too many.
    kept: usize,
}

impl PatternWriter<'_> {
    #[inline]
    fn add(&mut self, Piece { kind, start, end }: Piece) {
        if self.count < PIECES_MAX {
            self.kept = self.out.len();
        }
        self.count += 1;
        self.out.push_str(match kind.sign() {
            Some(sign) => sign,
            // Pieces end at ASCII characters.
            None => self.text.get(start..end).unwrap_or_default(),
        });
    }

    fn end(self) {
        if self.count > PIECES_MAX {
            self.out.truncate(self.kept);
            self.out.push_str(Kind::Rest.sign().unwrap_or_default());
        }
    }
}

fn write_pieces(key: &[u8], pieces: &[Piece], out: &mut String) {
    let text = std::str::from_utf8(key).ok();
    for &Piece { kind, start, end } in pieces {
        match (kind.sign(), text.and_then(|text| text.get(start..end))) {
            (Some(sign), _) => out.push_str(sign),
            (None, Some(word)) => out.push_str(word),
            // A word is text, or it would be `<bin>`; but a mark may be half a character.
            (None, None) => out.push_str(&String::from_utf8_lossy(&key[start..end])),
        }
    }
}

/// The patterns of keys, each once, ascending; of no more than `patterns_max` kinds.
pub(crate) fn patterns<'k>(
    keys: impl IntoIterator<Item = &'k [u8]>,
    patterns_max: usize,
) -> Vec<Arc<str>> {
    // Keys that are used together are mostly of few kinds: only a new kind costs an allocation.
    let (mut pieces, mut text, mut found) = (Vec::new(), String::new(), Vec::<Arc<str>>::new());
    for key in keys {
        if found.len() >= patterns_max {
            break;
        }
        cut(key, &mut pieces);
        text.clear();
        write_pieces(key, &pieces, &mut text);
        if let Err(at) = found.binary_search_by(|known| (**known).cmp(&text)) {
            found.insert(at, Arc::from(&*text));
        }
    }
    found
}

/// Returns the pattern of `key`.
#[must_use]
pub(crate) fn pattern(key: &[u8]) -> String {
    let mut text = String::with_capacity(key.len() + 8);
    write_pattern(key, &mut text);
    text
}

/// Returns a key for display: text as it is, other bytes as `\x00`, at most `chars_max` characters.
#[must_use]
pub(crate) fn shown(key: &[u8], chars_max: usize) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_pattern_is_that_of_the_pieces(
            key in prop::collection::vec(prop::sample::select(
                b"aaabcdefZ0123456789::-_{}. \x00\x06\xc3\xa4\xff".to_vec()), 0..120)
        ) {
            let (mut plain, mut written) = (String::from("x"), String::from("x"));
            write_pieces(&key, &pieces(&key), &mut plain);
            write_pattern(&key, &mut written);
            prop_assert_eq!(written, plain);
        }
    }

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
