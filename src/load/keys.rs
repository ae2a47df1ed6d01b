//! The names of the keys: `{PREFIX:GROUP}:KIND:INDEX`. The keys of a group share the hashtag
//! `PREFIX:GROUP`, so they are in one slot. The claim of a run is `{PREFIX:run}:claim`.

use crate::slot::Slot;
use crate::text::number::{parse_i64, write_i64};

/// Writes the names of the keys of one run.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    /// `{PREFIX:`
    head: Box<[u8]>,
}

impl Keys {
    /// Keys with this prefix, which contains no brace.
    #[must_use]
    pub(crate) fn new(prefix: &str) -> Self {
        Self { head: format!("{{{prefix}:").into_bytes().into() }
    }

    /// Writes the hashtag of `group`, with its braces, into `out`, which it empties first.
    pub(crate) fn tag(&self, group: u64, out: &mut Vec<u8>) {
        out.clear();
        out.extend_from_slice(&self.head);
        write_i64(out, group as i64);
        out.push(b'}');
    }

    /// Writes the name of a key into `out`, which it empties first.
    pub(crate) fn write(&self, group: u64, kind: &str, index: u64, out: &mut Vec<u8>) {
        self.tag(group, out);
        out.push(b':');
        out.extend_from_slice(kind.as_bytes());
        out.push(b':');
        write_i64(out, index as i64);
    }

    /// The name of a key.
    #[must_use]
    pub(crate) fn name(&self, group: u64, kind: &str, index: u64) -> Vec<u8> {
        let mut name = Vec::with_capacity(40);
        self.write(group, kind, index, &mut name);
        name
    }

    /// How all of them begin, as messages name them.
    #[must_use]
    pub(crate) fn begin_with(&self) -> String {
        shown(&self.head)
    }

    /// The key of the run's claim; no group has it.
    #[must_use]
    pub(crate) fn claim(&self) -> Vec<u8> {
        [&self.head, &b"run}:claim"[..]].concat()
    }

    /// A pattern that all of them match (and keys of prefixes that begin with this one and `:`).
    #[must_use]
    pub(crate) fn pattern(&self) -> Vec<u8> {
        let mut pattern = Vec::with_capacity(self.head.len() + 8);
        for &byte in &self.head {
            if matches!(byte, b'*' | b'?' | b'[' | b']' | b'\\') {
                pattern.push(b'\\');
            }
            pattern.push(byte);
        }
        pattern.push(b'*');
        pattern
    }

    /// Whether a key belongs to a group of this prefix.
    #[must_use]
    pub(crate) fn is_of_a_group(&self, key: &[u8]) -> bool {
        let group = || {
            let rest = key.strip_prefix(&self.head[..])?;
            let end = rest.iter().position(|&byte| byte == b'}')?;
            parse_i64(&rest[..end])
        };
        group().is_some_and(|group| group >= 0)
    }

    /// The slot of a group's keys.
    #[must_use]
    pub(crate) fn slot(&self, group: u64) -> Slot {
        let mut tag = Vec::with_capacity(32);
        self.tag(group, &mut tag);
        Slot::of(&tag)
    }
}

/// A key or a value as text: at most 200 bytes, escaped if it is not printable.
#[must_use]
pub(crate) fn shown(bytes: &[u8]) -> String {
    const SHOWN_MAX: usize = 200;
    let cut = &bytes[..bytes.len().min(SHOWN_MAX)];
    let dots = if cut.len() < bytes.len() { "…" } else { "" };
    match std::str::from_utf8(cut) {
        Ok(text) if !text.chars().any(char::is_control) => format!("{text}{dots}"),
        _ => format!("{}{dots}", cut.escape_ascii()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_in_one_slot() {
        let keys = Keys::new("bench");
        let (a, b) = (keys.name(7, "account", 0), keys.name(7, "till", 12));
        assert_eq!(a, b"{bench:7}:account:0");
        assert_eq!((Slot::of(&a), Slot::of(&b)), (keys.slot(7), Slot::of(b"bench:7")));
    }

    #[test]
    fn keys_of_other_prefixes_are_not_taken_for_those_of_a_group() {
        let keys = Keys::new("a*[b");
        assert_eq!(keys.pattern(), br"{a\*\[b:*");
        assert!(keys.is_of_a_group(b"{a*[b:7}:account:0") && keys.is_of_a_group(b"{a*[b:0}"));
        for other in [
            &b"{a*[b:run}:claim"[..],
            b"{a*[b:1:7}:account:0",
            b"{a*[b:-1}:x",
            b"{a*[b:7",
            b"{a*[b:}",
            b"{axxb:7}:account:0",
        ] {
            assert!(!keys.is_of_a_group(other), "{}", shown(other));
        }
        assert_eq!(keys.claim(), b"{a*[b:run}:claim");
    }
}
