//! Glob patterns of KEYS, SCAN, PSUBSCRIBE, CONFIG GET and ACL.
//!
//! ```text
//! *       any run of bytes            [abc] [a-z]   one byte of a class
//! ?       any one byte                [^abc]        one byte outside a class
//! \x      the byte x                  other         itself
//! ```
//!
//! A pattern is a sequence of elements. Every element except `*` matches exactly one byte of the
//! text, so a star never needs to be tried again once a later star has been reached: whatever the
//! later one cannot match, a longer earlier one cannot either. One position to backtrack to is
//! enough, and the time is at most pattern × text, whatever the pattern.
//!
//! The corner cases are the reference server's, measured:
//! - a class that is not closed ends with the pattern, and matches as if it were closed there;
//! - in a class, `]` closes even as the first byte, so `[]` matches nothing and `[^]` everything;
//! - in a class, `\x` is the byte x, never the start of a range, and never ignores case;
//! - the bounds of a range compare as *signed* bytes and may be in either order;
//! - a backslash that ends the pattern is itself;
//! - nothing but the empty pattern matches the empty text. (KEYS and SCAN do not call this for a
//!   lone `*`: to them it means no pattern.)

/// Returns whether `pattern` matches the whole of `text`.
#[must_use]
pub fn matches(pattern: &[u8], text: &[u8]) -> bool {
    run(pattern, text, |byte| byte)
}

/// As [`matches()`], ignoring the case of ASCII letters.
#[must_use]
pub fn matches_nocase(pattern: &[u8], text: &[u8]) -> bool {
    run(pattern, text, |byte| byte.to_ascii_lowercase())
}

/// Matches; `fold` maps bytes that count as equal to one byte.
fn run(pattern: &[u8], text: &[u8], fold: impl Fn(u8) -> u8 + Copy) -> bool {
    if text.is_empty() {
        return pattern.is_empty();
    }
    let mut pattern = pattern;
    let mut text = text;
    // The pattern after the last star, and the text from the byte where that star stopped growing.
    let mut retry: Option<(&[u8], &[u8])> = None;
    while let [byte, after_byte @ ..] = text {
        if let [b'*', after_star @ ..] = pattern {
            pattern = after_star;
            retry = Some((after_star, text));
            continue;
        }
        if let Some(after_element) = element(pattern, *byte, fold) {
            pattern = after_element;
            text = after_byte;
            continue;
        }
        // The last star takes one byte more.
        let Some((after_star, [_, shorter @ ..])) = retry else { return false };
        pattern = after_star;
        text = shorter;
        retry = Some((after_star, shorter));
    }
    pattern.iter().all(|&byte| byte == b'*')
}

/// Matches one byte against the first element of a pattern that does not start with a star; returns
/// what follows the element, or `None` when the byte does not match or the pattern is empty.
fn element(pattern: &[u8], byte: u8, fold: impl Fn(u8) -> u8 + Copy) -> Option<&[u8]> {
    let (matched, rest) = match pattern {
        [] => return None,
        [b'?', rest @ ..] => (true, rest),
        [b'[', b'^', rest @ ..] => {
            let (found, rest) = class(rest, byte, fold);
            (!found, rest)
        }
        [b'[', rest @ ..] => class(rest, byte, fold),
        [b'\\', literal, rest @ ..] | [literal, rest @ ..] => (fold(*literal) == fold(byte), rest),
    };
    matched.then_some(rest)
}

/// Looks a byte up in the class whose members start here; returns whether it was found, and what
/// follows the class.
fn class(members: &[u8], byte: u8, fold: impl Fn(u8) -> u8 + Copy) -> (bool, &[u8]) {
    let signed = |byte: u8| fold(byte).cast_signed();
    let mut found = false;
    let mut rest = members;
    loop {
        rest = match rest {
            [] => return (found, rest),
            [b'\\', member, rest @ ..] => {
                found |= *member == byte;
                rest
            }
            [b']', rest @ ..] => return (found, rest),
            [from, b'-', to, rest @ ..] => {
                // Ordered before case is folded: `[_-B]` is B to _, then b to _: empty.
                let (low, high) =
                    if from.cast_signed() > to.cast_signed() { (to, from) } else { (from, to) };
                found |= (signed(*low)..=signed(*high)).contains(&signed(byte));
                rest
            }
            [member, rest @ ..] => {
                found |= fold(*member) == fold(byte);
                rest
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Recorded from the reference server: KEYS with the pattern where the text is the one key.
    #[test]
    fn matches_as_the_reference_server() {
        let table: &[(&[u8], &[u8], bool)] = &[
            (b"", b"", true),
            (b"**", b"", false),
            (b"?", b"", false),
            (b"[^", b"", false),
            (b"h?llo", b"hello", true),
            (b"h?llo", b"hllo", false),
            (b"h*llo", b"hllo", true),
            (b"h*llo", b"heeeello", true),
            (b"h[ae]llo", b"hallo", true),
            (b"h[^e]llo", b"hello", false),
            (b"h[a-b]llo", b"hbllo", true),
            (b"a**", b"a", true),
            (b"*a*b", b"xaxxb", true),
            (b"*a*b", b"xaxxbx", false),
            (b"a\\*b", b"a*b", true),
            (b"a\\*b", b"axb", false),
            (b"a\\", b"a\\", true),
            (b"\\", b"\\", true),
            (b"[", b"[", false),
            (b"[a", b"a", true),
            (b"[a", b"]", false),
            (b"[^", b"x", true),
            (b"[^a", b"b", true),
            (b"[]", b"a", false),
            (b"[]a", b"]a", false),
            (b"[^]", b"x", true),
            (b"[^]a", b"xa", true),
            (b"[\\", b"\\", true),
            (b"[\\]]", b"]", true),
            (b"[z-a]", b"m", true),
            (b"[a-", b"-", true),
            (b"[a-", b"a", true),
            (b"[a-]", b"-", false),
            (b"[a-]", b"_", true),
            (b"[a-]]", b"]", true),
            (b"[\\a-c]", b"b", false),
            (b"[\\a-c]", b"-", true),
            (b"[a-\\c]", b"b", false),
            (b"[\x01-\xff]", b"a", false),
            (b"[\x01-\xff]", b"\x00", true),
            (b"[\x80-\xff]", b"\x90", true),
            (b"[a-\xff]", b"\xff", true),
            (b"[a-\xff]", b"z", false),
            (b"[a-\xff]", b"\x10", true),
        ];
        for &(pattern, text, expected) in table {
            let shown = (pattern.escape_ascii(), text.escape_ascii());
            assert_eq!(matches(pattern, text), expected, "{} on {}", shown.0, shown.1);
        }
    }

    /// Recorded from the reference server with CONFIG GET, whose patterns ignore case.
    #[test]
    fn case_is_ignored_except_behind_a_backslash_in_a_class() {
        assert!(matches_nocase(b"MAX[M-n]emory?", b"maxmemory2"));
        assert!(matches_nocase(b"\\Max*", b"maxmemory"));
        assert!(matches_nocase(b"[A-Z]*", b"maxmemory"));
        assert!(!matches_nocase(b"[\\M]ax*", b"maxmemory"));
        assert!(!matches(b"MAX*", b"maxmemory"));
        // B to _ is in order, b to _ is not: the range is empty.
        assert!(!matches_nocase(b"[_-B]*", b"maxmemory"));
    }

    /// An exponential matcher would never finish on these.
    #[test]
    fn many_stars_on_a_near_miss_end() {
        let text = b"a".repeat(2_000);
        assert!(!matches(
            &b"a*".repeat(25).iter().copied().chain(*b"b").collect::<Vec<_>>(),
            &text
        ));
        assert!(!matches(&[&b"*a".repeat(500)[..], b"[b"].concat(), &text));
        assert!(matches(&b"a*".repeat(2_000), &text));
    }

    proptest! {
        /// Matching with one position to backtrack to finds what trying everything finds.
        #[test]
        fn agrees_with_trying_everything(pattern in "[*?ab\\[\\]^\\\\-]{0,10}", text in "[ab\\]^-]{1,7}") {
            fn all(pattern: &[u8], text: &[u8]) -> bool {
                match (pattern, text) {
                    ([b'*', rest @ ..], _) => (0..=text.len()).any(|skip| all(rest, &text[skip..])),
                    (_, [byte, rest @ ..]) => {
                        element(pattern, *byte, |byte| byte).is_some_and(|after| all(after, rest))
                    }
                    (_, []) => pattern.is_empty(),
                }
            }
            let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
            prop_assert_eq!(matches(pattern, text), all(pattern, text));
        }

        #[test]
        fn an_escaped_text_matches_itself_alone(text: Vec<u8>, other: Vec<u8>) {
            let pattern: Vec<u8> = text.iter().flat_map(|&byte| [b'\\', byte]).collect();
            prop_assert!(matches(&pattern, &text));
            prop_assert_eq!(matches(&pattern, &other), text == other);
        }

        #[test]
        fn no_bytes_panic(pattern: Vec<u8>, text: Vec<u8>) {
            let strict = matches(&pattern, &text);
            // Without classes, folding case can only add matches.
            if !pattern.contains(&b'[') {
                prop_assert!(!strict || matches_nocase(&pattern, &text));
            }
        }
    }
}
