//! The value of a key.

use super::blob::Blob;
use super::hash::Hash;
#[cfg(feature = "json")]
use super::json::Json;
use super::large::{self, LARGE_LEN_MIN};
use super::list::List;
use super::set::Set;
use super::stream::Stream;
use super::text::{Digits, Text};
use super::zset::Zset;
use crate::text::number::parse_i64;
use bytes::Bytes;

/// Longest byte string that Redis would embed in its object (`OBJECT ENCODING` says `embstr`).
pub(crate) const EMBSTR_LEN_MAX: usize = 44;
/// Integers from 0 below this are shared objects in Redis, which `OBJECT REFCOUNT` shows.
pub(crate) const SHARED_INTEGERS: i64 = 10_000;

/// Values with more elements than this are freed after the shard is released.
pub(super) const LAZY_FREE_LEN: usize = 4096;

/// A value: 24 bytes in the entry, the rest on the heap.
#[derive(Clone, Debug)]
pub enum Value {
    /// A string whose bytes are exactly this integer's decimal digits.
    Int(i64),
    /// Any other string as it was set.
    Str(Blob),
    /// A string that was changed in place; it has spare capacity.
    #[expect(clippy::box_collection, reason = "one word keeps the value at 24 bytes")]
    Raw(Box<Vec<u8>>),
    /// A long string as it was set, in the buffer that it was received in.
    Received(Box<Bytes>),
    /// A hash; never empty.
    Hash(Hash),
    /// A list; never empty.
    List(List),
    /// A set; never empty.
    Set(Set),
    /// A sorted set; never empty.
    Zset(Zset),
    /// A stream; it may be empty.
    Stream(Box<Stream>),
    /// A JSON document.
    #[cfg(feature = "json")]
    Json(Box<Json>),
}

impl Value {
    /// Makes a string value: an integer if `bytes` are its decimal spelling.
    #[must_use]
    pub fn string(bytes: &[u8]) -> Self {
        // As Redis does, so that OBJECT ENCODING agrees: 20 digits at most.
        match bytes.first() {
            Some(b'-' | b'0'..=b'9') if bytes.len() <= 20 => {
                parse_i64(bytes).map_or_else(|| Self::Str(bytes.into()), Self::Int)
            }
            _ if bytes.len() < LARGE_LEN_MIN => Self::Str(bytes.into()),
            _ => Self::long_string(bytes),
        }
    }

    #[cold]
    fn long_string(bytes: &[u8]) -> Self {
        match large::kept(bytes) {
            Some(kept) => Self::Received(Box::new(kept)),
            None => Self::Str(bytes.into()),
        }
    }

    /// Returns the type as `TYPE` names it.
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Int(_) | Self::Str(_) | Self::Raw(_) | Self::Received(_) => "string",
            Self::Hash(_) => "hash",
            Self::List(_) => "list",
            Self::Set(_) => "set",
            Self::Zset(_) => "zset",
            Self::Stream(_) => "stream",
            #[cfg(feature = "json")]
            Self::Json(_) => "ReJSON-RL",
        }
    }

    /// Returns the encoding as `OBJECT ENCODING` names it.
    #[must_use]
    pub fn encoding(&self) -> &'static str {
        match self {
            Self::Int(_) => "int",
            Self::Str(bytes) if bytes.len() <= EMBSTR_LEN_MAX => "embstr",
            Self::Str(_) | Self::Raw(_) | Self::Received(_) => "raw",
            Self::Hash(hash) => hash.encoding(),
            Self::List(list) => list.encoding(),
            Self::Set(set) => set.encoding(),
            Self::Zset(zset) => zset.encoding(),
            Self::Stream(_) => "stream",
            // As of any value of a module.
            #[cfg(feature = "json")]
            Self::Json(_) => "raw",
        }
    }

    /// Returns the bytes of a string, or `None` for another type.
    #[must_use]
    pub fn as_text(&self) -> Option<Text<'_>> {
        match self {
            Self::Int(value) => Some(Text::Digits(Digits::of(*value))),
            Self::Str(bytes) => Some(Text::Bytes(bytes)),
            Self::Raw(bytes) => Some(Text::Bytes(bytes)),
            Self::Received(bytes) => Some(Text::Bytes(bytes)),
            Self::Hash(_) | Self::List(_) | Self::Set(_) | Self::Zset(_) | Self::Stream(_) => None,
            #[cfg(feature = "json")]
            Self::Json(_) => None,
        }
    }

    /// Returns whether it is a string that is freed at once.
    #[must_use]
    #[inline]
    pub fn is_simple_string(&self) -> bool {
        matches!(self, Self::Int(_) | Self::Str(_) | Self::Raw(_))
    }

    /// Returns the hash, or `None` for another type.
    #[must_use]
    #[inline]
    pub fn as_hash(&self) -> Option<&Hash> {
        if let Self::Hash(hash) = self { Some(hash) } else { None }
    }

    /// Returns the string as bytes that can be changed in place, or `None` for another type.
    pub fn as_raw_mut(&mut self) -> Option<&mut Vec<u8>> {
        if let Self::Received(bytes) = self {
            // Its memory is used on if nothing else needs it.
            *self = Self::Raw(Box::new(Vec::from(std::mem::take(&mut **bytes))));
        } else if !matches!(self, Self::Raw(_)) {
            let bytes = self.as_text()?.to_vec();
            *self = Self::Raw(Box::new(bytes));
        }
        match self {
            Self::Raw(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// Returns about how many bytes of memory it takes besides itself.
    #[must_use]
    pub fn memory(&self) -> usize {
        match self {
            Self::Int(_) => 0,
            Self::Str(bytes) => bytes.memory(),
            Self::Raw(bytes) => size_of::<Vec<u8>>() + bytes.capacity(),
            Self::Received(bytes) => size_of::<Bytes>() + bytes.len(),
            Self::Hash(hash) => hash.memory(),
            Self::List(list) => list.memory(),
            Self::Set(set) => set.memory(),
            Self::Zset(zset) => zset.memory(),
            Self::Stream(stream) => stream.memory(),
            #[cfg(feature = "json")]
            Self::Json(json) => size_of::<Json>() + json.memory(),
        }
    }

    /// Returns about how many steps copying it takes, in the unit of `Pace`.
    #[must_use]
    pub fn weight(&self) -> usize {
        match self {
            Self::Int(_) => 1,
            Self::Str(bytes) => 1 + bytes.len() / 100,
            Self::Raw(bytes) => 1 + bytes.len() / 100,
            Self::Received(bytes) => 1 + bytes.len() / 100,
            Self::Stream(stream) => 1 + stream.weight(),
            #[cfg(feature = "json")]
            Self::Json(json) => 1 + json.memory() / 100,
            _ => 1 + self.len(),
        }
    }

    /// Returns the number of elements of a collection; 1 for a string.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Int(_) | Self::Str(_) | Self::Raw(_) | Self::Received(_) => 1,
            Self::Hash(hash) => hash.len(),
            Self::List(list) => list.len(),
            Self::Set(set) => set.len(),
            Self::Zset(zset) => zset.len(),
            Self::Stream(stream) => usize::try_from(stream.log.len()).unwrap_or(usize::MAX),
            #[cfg(feature = "json")]
            Self::Json(_) => 1,
        }
    }

    /// Returns whether it is an empty collection, which no key ever holds, except a stream.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns whether freeing it takes so long that it is done after the shard is released.
    #[must_use]
    pub fn is_slow_to_free(&self) -> bool {
        match self {
            Self::Stream(stream) => stream.weight() > LAZY_FREE_LEN,
            #[cfg(feature = "json")]
            Self::Json(json) => json.is_slow_to_free(),
            Self::Received(_) => true,
            _ => self.len() > LAZY_FREE_LEN,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_three_words() {
        assert_eq!(size_of::<Value>(), 24);
    }

    #[test]
    fn strings_read_back_as_set() {
        for text in [
            "",
            "0",
            "-1",
            "-0",
            "01",
            "+1",
            "9223372036854775807",
            "9223372036854775808",
            "abc",
            " 1",
        ] {
            let value = Value::string(text.as_bytes());
            assert_eq!(&*value.as_text().expect("a string"), text.as_bytes());
            let is_int = text.parse::<i64>().is_ok_and(|n| n.to_string() == text);
            assert_eq!(value.encoding() == "int", is_int, "{text}");
        }
    }
}
