//! The pieces of a key: what is a word, a number, an identifier in it. `pattern` says what each stands
//! for.

/// Letters and digits before a control character are a name from this length on.
const NAME_LEN_MIN: usize = 4;

/// Digits of a year, which begins a date.
const YEAR_LEN: usize = 4;
/// Letters, digits and marks that an identifier has at least; a UUID has more.
const ID_LEN_MIN: usize = 20;
/// So many hexadecimal letters are no word.
const HEX_LETTERS_MIN: usize = 16;

/// The kind of a piece of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
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
    pub(crate) const fn sign(self) -> Option<&'static str> {
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
pub(crate) struct Piece {
    /// Its kind.
    pub kind: Kind,
    /// The index of its first byte.
    pub start: usize,
    /// The index of the first byte behind it.
    pub end: usize,
}

/// Whether a byte is part of words; the others separate them.
const fn is_inner(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte >= 0x80 || byte.is_ascii_control()
}

/// Returns the kind and the length of the first piece of a key's rest. A `Word` may contain numbers.
pub(super) fn first(rest: &[u8]) -> (Kind, usize) {
    if !is_inner(rest[0]) {
        return (Kind::Mark, 1);
    }
    plain(rest).unwrap_or_else(|| careful(rest))
}

/// The same for any token, by every rule.
pub(super) fn careful(rest: &[u8]) -> (Kind, usize) {
    if let Some(len) = uuid(rest) {
        return (Kind::Uuid, len);
    }
    if let Some(len) = time(rest) {
        return (Kind::Time, len);
    }
    if let Some(len) = chance_with_marks(rest) {
        return (Kind::Id, len);
    }
    let is_end = |byte: &u8| CLASSES[usize::from(*byte)] == Class::Mark;
    let len = rest.iter().position(is_end).unwrap_or(rest.len());
    if let Some(kind) = kind_of_letters_and_digits(&rest[..len]) {
        return (kind, len);
    }
    let text = rest[..len].iter().position(|byte| !byte.is_ascii_alphanumeric()).unwrap_or(len);
    // Some libraries put control characters between a name and its suffix.
    let len = match rest[..len].get(text).is_some_and(u8::is_ascii_control) && text >= NAME_LEN_MIN
    {
        true => text,
        false => len,
    };
    (kind(&rest[..len]), len)
}

/// The same for what most keys consist of, in one pass: only letters, or only digits, up to a mark.
/// Behind `-` and `_` it may go on as a date, a UUID or an identifier, which all are long.
#[inline]
pub(super) fn plain(rest: &[u8]) -> Option<(Kind, usize)> {
    let class = CLASSES[usize::from(rest[0])];
    let same = |byte: &u8| CLASSES[usize::from(*byte)] == class;
    let len = rest.iter().position(|byte| !same(byte)).unwrap_or(rest.len());
    let ends_here = match rest.get(len) {
        Some(b'-' | b'_') => {
            let is_year = class == Class::Digit && len == YEAR_LEN;
            !is_year && is_short(rest)
        }
        Some(&next) => CLASSES[usize::from(next)] == Class::Mark,
        None => true,
    };
    match class {
        _ if !ends_here => None,
        Class::Digit => Some((Kind::Int, len)),
        // Longer runs of letters may be hexadecimal.
        Class::Letter => (len < HEX_LETTERS_MIN).then_some((Kind::Word, len)),
        Class::Other | Class::Mark => None,
    }
}

/// Whether there are fewer letters, digits, `-` and `_` than a UUID or an identifier has.
fn is_short(rest: &[u8]) -> bool {
    rest.len() < ID_LEN_MIN || rest[..ID_LEN_MIN].iter().any(|byte| !is_part(byte))
}

/// Whether a byte can be part of an identifier with marks.
fn is_part(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}

/// The classes of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    Digit,
    Letter,
    /// Other bytes that are part of words.
    Other,
    Mark,
}

pub(super) const CLASSES: [Class; 256] = {
    let mut classes = [Class::Mark; 256];
    let mut byte = 0;
    while byte < 256 {
        classes[byte] = match byte as u8 {
            b'0'..=b'9' => Class::Digit,
            b'a'..=b'z' | b'A'..=b'Z' => Class::Letter,
            other if is_inner(other) => Class::Other,
            _ => Class::Mark,
        };
        byte += 1;
    }
    classes
};

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
    kind_of_letters_and_digits(token).unwrap_or(Kind::Word)
}

/// The same for a token of nothing but letters and digits, which are counted in one pass; `None` for others.
fn kind_of_letters_and_digits(token: &[u8]) -> Option<Kind> {
    let (mut sum, mut turns, mut was_digit) = (Counts::default(), 0, token[0].is_ascii_digit());
    for piece in token.chunks(COUNTED_MAX) {
        let mut counted = 0;
        for &byte in piece {
            counted += COUNTED[usize::from(byte)];
            let is_digit = byte.is_ascii_digit();
            turns += usize::from(is_digit != was_digit);
            was_digit = is_digit;
        }
        sum.add(counted);
    }
    let Counts { digits, lower, upper, hex } = sum;
    let len = token.len();
    if digits == len {
        return Some(Kind::Int);
    }
    if digits + lower + upper < len {
        return None;
    }
    let one_case = lower == 0 || upper == 0;
    let is_hex = one_case && hex == len;
    if is_hex && (len >= 8 && digits > 0 || len >= HEX_LETTERS_MIN) {
        return Some(Kind::Hex);
    }
    if one_case && is_ulid(token) && digits > 1 {
        return Some(Kind::Ulid);
    }
    Some(match len {
        6.. if turns >= 4 && is_hex => Kind::Hex,
        6.. if turns >= 4 => Kind::Id,
        8.. if digits > 1 && lower > 0 && upper > 1 && changes(token) * 5 >= len * 2 => Kind::Id,
        _ => Kind::Word,
    })
}

/// How many bytes of a token are of a kind.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    digits: usize,
    lower: usize,
    upper: usize,
    /// Hexadecimal digits of both cases.
    hex: usize,
}

/// What a byte adds to the counts, which are 16 bits each of one number.
const COUNTED: [u64; 256] = {
    let mut counted = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let is = byte as u8;
        counted[byte] = is.is_ascii_digit() as u64
            | (is.is_ascii_lowercase() as u64) << 16
            | (is.is_ascii_uppercase() as u64) << 32
            | (is.is_ascii_hexdigit() as u64) << 48;
        byte += 1;
    }
    counted
};
/// Bytes whose counts fit.
const COUNTED_MAX: usize = u16::MAX as usize;

impl Counts {
    fn add(&mut self, counted: u64) {
        let part = |at: u32| usize::from((counted >> at) as u16);
        self.digits += part(0);
        self.lower += part(16);
        self.upper += part(32);
        self.hex += part(48);
    }
}

/// Splits a word into its numbers and the text between them.
pub(super) fn split(key: &[u8], start: usize, end: usize, found: &mut impl FnMut(Piece)) {
    let mut at = start;
    while at < end {
        let is_number = key[at].is_ascii_digit();
        let len = key[at..end]
            .iter()
            .position(|byte| byte.is_ascii_digit() != is_number)
            .unwrap_or(end - at);
        let kind = if is_number { Kind::Int } else { Kind::Word };
        found(Piece { kind, start: at, end: at + len });
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
    let len = rest.iter().take_while(|byte| is_part(byte)).count();
    let token = &rest[..len];
    let has = |is: fn(&u8) -> bool| token.iter().any(is);
    let looks = len >= ID_LEN_MIN
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

    /// The kind of a token, each condition by itself.
    fn kind_by_each_rule(token: &[u8]) -> Kind {
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
        if is_hex && (token.len() >= 8 && digits > 0 || token.len() >= HEX_LETTERS_MIN) {
            return Kind::Hex;
        }
        if one_case && is_ulid(token) && digits > 1 {
            return Kind::Ulid;
        }
        let is_turn = |two: &&[u8]| two[0].is_ascii_digit() != two[1].is_ascii_digit();
        let turns = token.windows(2).filter(is_turn).count();
        match token.len() {
            6.. if turns >= 4 && is_hex => Kind::Hex,
            6.. if turns >= 4 => Kind::Id,
            8.. if digits > 1
                && lower > 0
                && upper > 1
                && changes(token) * 5 >= token.len() * 2 =>
            {
                Kind::Id
            }
            _ => Kind::Word,
        }
    }

    proptest! {
        #[test]
        fn the_short_way_finds_what_every_rule_finds(
            text in "[a-fA-F0-9xZ]{1,20}([-_:{}. ]?[0-9a-zB]{0,12}){0,4}"
        ) {
            let rest = text.as_bytes();
            if let Some(found) = plain(rest) {
                prop_assert_eq!(found, careful(rest));
            }
        }

        #[test]
        fn a_kind_is_found_in_one_pass(
            token in prop_oneof!["[0-9A-Z]{26}", "[0-9a-f]{1,40}", "[a-f0-9A-FxZ\u{e4}\\x06]{1,24}"]
        ) {
            prop_assert_eq!(kind(token.as_bytes()), kind_by_each_rule(token.as_bytes()));
        }

        #[test]
        fn dates_and_uuids_are_never_taken_for_words(
            text in "[0-9]{3,5}-[0-9]{2}-[0-9]{2}[T:_-]?[0-9:]{0,6}|[0-9a-f]{7,8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}:?"
        ) {
            let rest = text.as_bytes();
            if let Some(found) = plain(rest) {
                prop_assert_eq!(found, careful(rest));
            }
        }
    }
}
