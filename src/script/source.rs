//! A script's text: its SHA-1, its shebang line and the flags in it.

use std::fmt;
use std::ops::{BitOr, BitOrAssign};

/// The SHA-1 of a script, 40 hexadecimal digits in lower case: its name.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ScriptSha([u8; Self::LEN]);

impl ScriptSha {
    /// Its length in bytes.
    pub(crate) const LEN: usize = 40;

    /// Returns the SHA-1 of a script's text.
    #[must_use]
    pub(crate) fn of(text: &[u8]) -> Self {
        Self(hex(&sha1_smol::Sha1::from(text).digest().bytes()))
    }

    /// Returns the SHA-1 that these digits write, in either case; `None` if their number differs.
    /// What is no digit is kept: no script has that name.
    #[must_use]
    pub(crate) fn parse(digits: &[u8]) -> Option<Self> {
        let mut sha: [u8; Self::LEN] = digits.try_into().ok()?;
        sha.make_ascii_lowercase();
        Some(Self(sha))
    }

    /// Returns its digits.
    #[must_use]
    pub(crate) fn digits(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for ScriptSha {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|digit| write!(f, "{}", char::from(*digit)))
    }
}

impl fmt::Debug for ScriptSha {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn hex(bytes: &[u8; 20]) -> [u8; ScriptSha::LEN] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    std::array::from_fn(|at| {
        let byte = bytes[at / 2];
        DIGITS[usize::from(if at % 2 == 0 { byte >> 4 } else { byte & 15 })]
    })
}

/// The flags of a script's shebang line, or of a function.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Flags(u8);

impl Flags {
    /// It writes nothing, so it may run where writes are refused.
    pub(crate) const NO_WRITES: Self = Self(1);
    /// It may run while memory is short.
    pub(crate) const ALLOW_OOM: Self = Self(1 << 1);
    /// It may run on a replica whose data may be old.
    pub(crate) const ALLOW_STALE: Self = Self(1 << 2);
    /// It does not run in a cluster.
    pub(crate) const NO_CLUSTER: Self = Self(1 << 3);
    /// It may use keys of several slots of its node.
    pub(crate) const ALLOW_CROSS_SLOT_KEYS: Self = Self(1 << 4);
    /// It has no shebang line: the rules of Redis before version 7 apply.
    pub(crate) const COMPATIBLE: Self = Self(1 << 5);

    /// The names, as they are written in a shebang line.
    const NAMES: [(&str, Self); 5] = [
        ("no-writes", Self::NO_WRITES),
        ("allow-oom", Self::ALLOW_OOM),
        ("allow-stale", Self::ALLOW_STALE),
        ("no-cluster", Self::NO_CLUSTER),
        ("allow-cross-slot-keys", Self::ALLOW_CROSS_SLOT_KEYS),
    ];

    /// Returns the flag of this name.
    #[must_use]
    pub(crate) fn named(name: &[u8]) -> Option<Self> {
        Self::NAMES.iter().find(|(known, _)| known.as_bytes() == name).map(|(_, flag)| *flag)
    }

    /// Returns the names of the flags that are set.
    pub(crate) fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES.iter().filter(move |(_, flag)| self.has(*flag)).map(|(name, _)| *name)
    }

    /// Returns whether any of these flags is set.
    #[must_use]
    pub(crate) const fn has(self, flags: Self) -> bool {
        self.0 & flags.0 != 0
    }
}

impl BitOr for Flags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for Flags {
    fn bitor_assign(&mut self, other: Self) {
        *self = *self | other;
    }
}

/// A script.
#[derive(Debug)]
pub(crate) struct Script {
    /// Its name.
    pub(crate) sha: ScriptSha,
    /// Its text.
    pub(crate) text: Box<[u8]>,
    /// The flags of its shebang line.
    pub(crate) flags: Flags,
    /// The length of the shebang line, without its end.
    shebang_len: usize,
}

impl Script {
    /// Returns the script with this text.
    ///
    /// # Errors
    /// The text of an error reply: its shebang line is malformed.
    pub(crate) fn new(text: &[u8]) -> Result<Self, Vec<u8>> {
        Self::named(ScriptSha::of(text), text)
    }

    /// Returns the script with this text, whose SHA-1 is known.
    ///
    /// # Errors
    /// As [`Script::new`].
    pub(crate) fn named(sha: ScriptSha, text: &[u8]) -> Result<Self, Vec<u8>> {
        let (flags, shebang_len) = shebang(text)?;
        Ok(Self { sha, text: text.into(), flags, shebang_len })
    }

    /// Returns the text that is compiled: the shebang line is left out, but not its end, so that
    /// lines keep their numbers.
    #[must_use]
    pub(crate) fn body(&self) -> &[u8] {
        &self.text[self.shebang_len..]
    }
}

/// Returns the flags of a script's shebang line, and the line's length.
fn shebang(text: &[u8]) -> Result<(Flags, usize), Vec<u8>> {
    if !text.starts_with(b"#!") {
        return Ok((Flags::COMPATIBLE, 0));
    }
    let Some(len) = text.iter().position(|byte| *byte == b'\n') else {
        return Err(b"ERR Invalid script shebang".to_vec());
    };
    let mut words = text[..len].split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let engine = words.next().unwrap_or_default();
    if engine != b"#!lua" {
        return Err([b"ERR Unexpected engine in script shebang: ", engine].concat());
    }
    let mut flags = Flags::default();
    for word in words {
        let Some(names) = word.strip_prefix(b"flags=") else {
            return Err([b"ERR Unknown lua shebang option: ", word].concat());
        };
        for name in names.split(|byte| *byte == b',').filter(|_| !names.is_empty()) {
            let Some(flag) = Flags::named(name) else {
                return Err([b"ERR Unexpected flag in script shebang: ", name].concat());
            };
            flags |= flag;
        }
    }
    Ok((flags, len))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_named_by_its_sha1() {
        let sha = ScriptSha::of(b"return 1");
        assert_eq!(sha.to_string(), "e0e1f9fabfc9d4800c877a703b823ac0578ff8db");
        let upper = sha.to_string().to_ascii_uppercase();
        assert_eq!(ScriptSha::parse(upper.as_bytes()), Some(sha));
        assert_eq!(ScriptSha::parse(b"e0e1"), None);
    }

    #[test]
    fn the_shebang_line_is_left_out_and_its_end_is_not() {
        let script = Script::new(b"#!lua flags=no-writes,allow-oom\nreturn 1").expect("valid");
        assert_eq!(script.body(), b"\nreturn 1");
        assert_eq!(script.flags, Flags::NO_WRITES | Flags::ALLOW_OOM);
        let plain = Script::new(b"return 1").expect("valid");
        assert_eq!((plain.body(), plain.flags), (&b"return 1"[..], Flags::COMPATIBLE));
    }
}
