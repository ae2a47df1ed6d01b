//! Hash slots: the slot of a key, and whether a set of keys shares one.
//!
//! ```text
//! key      {user:7}:cart          slot = CRC16/XMODEM(hashed part) mod 16384
//! hashed    ^^^^^^                the bytes between the first `{` and the first `}` after it,
//!                                 if there is at least one; else the whole key
//! ```
//!
//! The rule is the Redis Cluster specification's ("Hash tags").

mod crc;

use crc::crc;

/// How many hash slots a cluster has.
pub const SLOTS: u16 = 16384;

/// A hash slot: always below [`SLOTS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(u16);

impl Slot {
    /// Slot number 0.
    pub const FIRST: Self = Self(0);

    /// Returns the slot with this number, or `None` from 16384 up.
    #[must_use]
    pub const fn new(number: u16) -> Option<Self> {
        if number < SLOTS { Some(Self(number)) } else { None }
    }

    /// Returns the slot that `key` hashes to.
    #[must_use]
    pub fn of(key: &[u8]) -> Self {
        Self(crc(hashed_part(key)) % SLOTS)
    }

    /// Returns the slot's number, `0..16384`.
    #[must_use]
    pub const fn number(self) -> u16 {
        self.0
    }

    /// Returns the slot's number as an index into a table of [`SLOTS`] places.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// Returns every slot in ascending order.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..SLOTS).map(Self)
    }
}

/// Returns the position of the first `byte`, searching eight bytes at a time: keys are too short
/// for a call to `memchr` to pay.
#[inline]
fn find(byte: u8, bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = u64::MAX / 255;
    let among = |eight: &[u8; 8]| {
        // Zero where the byte is; the lowest mark of a zero byte is always a true one.
        let differing = u64::from_le_bytes(*eight) ^ (ONES * u64::from(byte));
        let zeros = differing.wrapping_sub(ONES) & !differing & (ONES << 7);
        (zeros != 0).then(|| zeros.trailing_zeros() as usize / 8)
    };
    let (eights, rest) = bytes.as_chunks::<8>();
    for (i, eight) in eights.iter().enumerate() {
        if let Some(at) = among(eight) {
            return Some(8 * i + at);
        }
    }
    match bytes.last_chunk::<8>() {
        // Some of them for the second time.
        Some(last) if !rest.is_empty() => among(last).map(|at| bytes.len() - 8 + at),
        Some(_) => None,
        None => rest.iter().position(|&b| b == byte),
    }
}

/// Returns the part of `key` that is hashed: its hashtag if that is not empty, else the whole key.
#[must_use]
#[inline]
pub fn hashed_part(key: &[u8]) -> &[u8] {
    // Most tags begin a key.
    match key.first() == Some(&b'{') || has(b'{', key) {
        true => hashtag(key),
        false => key,
    }
}

/// Returns whether `bytes` have this byte. Sixteen are compared at once, and branched on once, so
/// that the compiler uses vector instructions.
#[inline]
fn has(byte: u8, bytes: &[u8]) -> bool {
    let (blocks, rest) = bytes.as_chunks::<16>();
    let among = |bytes: &[u8]| bytes.iter().fold(false, |any, &b| any | (b == byte));
    if blocks.iter().any(|block| among(block)) {
        return true;
    }
    match (blocks.is_empty(), rest.is_empty()) {
        (_, true) => false,
        // The last sixteen, some of them for the second time.
        (false, false) => bytes.last_chunk::<16>().is_some_and(|last| among(last)),
        (true, false) => match (rest.first_chunk::<8>(), rest.last_chunk::<8>()) {
            (Some(first), Some(last)) => among(first) | among(last),
            _ => rest.contains(&byte),
        },
    }
}

/// Returns the hashtag of a key in which there is a brace, or the key if it has none.
fn hashtag(key: &[u8]) -> &[u8] {
    let Some(open) = find(b'{', key) else { return key };
    let inside = &key[open + 1..];
    match find(b'}', inside) {
        Some(close) if close > 0 => &inside[..close],
        _ => key,
    }
}

/// The slots that the keys of a command or a transaction live in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Footprint {
    /// No keys: it may run on any shard.
    Anywhere,
    /// Every key is in this slot.
    In(Slot),
    /// The keys are in more than one slot.
    Crossing {
        /// The slot of the first key.
        first: Slot,
        /// The slot of the first key that is in another slot.
        other: Slot,
        /// That key's index among the keys, from 0 (so at least 1).
        at: usize,
    },
}

impl Footprint {
    /// Adds one more key, which has this slot and this index among the keys, from 0.
    #[must_use]
    pub fn and(self, slot: Slot, at: usize) -> Self {
        match self {
            Self::Anywhere => Self::In(slot),
            Self::In(first) if first != slot => Self::Crossing { first, other: slot, at },
            Self::In(_) | Self::Crossing { .. } => self,
        }
    }

    /// Returns the footprint of `keys` in their order.
    pub fn of<'k>(keys: impl IntoIterator<Item = &'k [u8]>) -> Self {
        let mut keys = keys.into_iter();
        let Some(first) = keys.next().map(Slot::of) else { return Self::Anywhere };
        for (i, key) in keys.enumerate() {
            let other = Slot::of(key);
            if other != first {
                return Self::Crossing { first, other, at: i + 1 };
            }
        }
        Self::In(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn slots_of_the_specification() {
        for (key, slot) in [
            (&b"foo"[..], 12182),
            (b"{user}a", 5474),
            (b"user", 5474),
            (b"foo{}{bar}", 8363),
            (b"foo{{bar}}zap", Slot::of(b"{bar").number()),
            (b"foo{{bar}}zap", 4015),
            (b"foo{bar}{zap}", 5061),
            (b"bar", 5061),
            (b"}{", 12793),
            (b"", 0),
            (b"123456789", 0x31C3 % SLOTS),
        ] {
            assert_eq!(Slot::of(key).number(), slot, "{}", String::from_utf8_lossy(key));
        }
    }

    proptest! {
        #[test]
        fn a_byte_is_found_where_it_is(bytes in prop::collection::vec(0u8..4, 0..40), byte in 0u8..4) {
            prop_assert_eq!(find(byte, &bytes), bytes.iter().position(|&b| b == byte));
            prop_assert_eq!(has(byte, &bytes), bytes.contains(&byte));
        }

    }

    #[test]
    fn hashed_parts() {
        for (key, part) in [
            (&b"plain"[..], &b"plain"[..]),
            (b"{a}b", b"a"),
            (b"x{a}{b}", b"a"),
            (b"{}a", b"{}a"),
            (b"{a", b"{a"),
            (b"a}b{c}", b"c"),
            (b"{{}}", b"{"),
        ] {
            assert_eq!(hashed_part(key), part);
        }
    }

    #[test]
    fn footprints() {
        let of = |keys: &[&'static str]| Footprint::of(keys.iter().map(|k| k.as_bytes()));
        assert_eq!(of(&[]), Footprint::Anywhere);
        assert_eq!(of(&["{a}1", "{a}2"]), Footprint::In(Slot::of(b"a")));
        let crossing = Footprint::Crossing { first: Slot::of(b"a"), other: Slot::of(b"b"), at: 2 };
        assert_eq!(of(&["{a}1", "{a}2", "{b}", "c"]), crossing);
    }
}
