//! Which argument of a script its key was made from: what the author has to declare instead.

use std::fmt;

/// Arguments of a script that a key is compared with: the first ones.
pub(crate) const ARGUMENTS_MAX: usize = 64;
/// Longer keys are not searched for arguments, in bytes.
const SEARCHED_LEN_MAX: usize = 1024;

/// The argument that a script's key is, or contains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FromArgument {
    /// Its place in ARGV, from 1.
    pub place: usize,
    /// The argument is the whole key.
    pub is_whole: bool,
}

impl FromArgument {
    /// Returns the argument that this key was made from, as far as that can be seen: the one that it
    /// equals, or else the longest one in it that letters and digits beside it do not continue.
    #[must_use]
    pub(crate) fn of<'a>(key: &[u8], arguments: impl Iterator<Item = &'a [u8]>) -> Option<Self> {
        let mut best: Option<(usize, Self)> = None;
        for (place, argument) in (1..).zip(arguments.take(ARGUMENTS_MAX)) {
            if argument == key {
                return Some(Self { place, is_whole: true });
            }
            let is_longer = best.is_none_or(|(len, _)| argument.len() > len);
            if is_longer && contains_word(key, argument) {
                best = Some((argument.len(), Self { place, is_whole: false }));
            }
        }
        best.map(|(_, one)| one)
    }
}

impl fmt::Display for FromArgument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = self.place;
        match self.is_whole {
            true => write!(f, "ARGV[{place}] is the key: pass it in KEYS"),
            false => {
                write!(f, "the script makes the key from ARGV[{place}]: pass the whole key in KEYS")
            }
        }
    }
}

/// Returns whether a text contains a word that is not a part of a longer word there.
fn contains_word(text: &[u8], word: &[u8]) -> bool {
    if word.is_empty() || word.len() >= text.len() || text.len() > SEARCHED_LEN_MAX {
        return false;
    }
    let goes_on = |a: Option<&u8>, b: Option<&u8>| {
        a.zip(b).is_some_and(|(a, b)| a.is_ascii_alphanumeric() && b.is_ascii_alphanumeric())
    };
    text.windows(word.len()).enumerate().any(|(at, window)| {
        let (before, after) = (&text[..at], &text[at + word.len()..]);
        window == word
            && !goes_on(before.last(), word.first())
            && !goes_on(word.last(), after.first())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_traced_to_the_argument_that_it_was_made_from() {
        for (key, arguments, expected) in [
            ("user:7", &["x", "user:7"][..], "ARGV[2] is the key: pass it in KEYS"),
            ("user:7", &["7"], "the script makes the key from ARGV[1]: pass the whole key in KEYS"),
            (
                "a:user:7:b",
                &["7", "user:7"],
                "the script makes the key from ARGV[2]: pass the whole key in KEYS",
            ),
            // A number within another one, a word within another one, and what is no part of it.
            ("user:17", &["7", "1", "ser", "", "user:171"], ""),
            ("counter", &[], ""),
            ("", &[""], "ARGV[1] is the key: pass it in KEYS"),
        ] {
            let arguments = arguments.iter().map(|argument| argument.as_bytes());
            let found = FromArgument::of(key.as_bytes(), arguments);
            assert_eq!(found.map_or(String::new(), |one| one.to_string()), expected, "{key}");
        }
        let long = vec![b':'; SEARCHED_LEN_MAX + 1];
        assert_eq!(FromArgument::of(&long, [&b":"[..]].into_iter()), None);
        let many = vec![&b"x"[..]; ARGUMENTS_MAX];
        let arguments = || many.iter().copied().chain([&b"y"[..]]);
        assert_eq!(FromArgument::of(b"y", arguments()), None);
    }
}
