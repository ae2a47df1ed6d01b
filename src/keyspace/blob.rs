//! A stored byte string: short ones in place, long ones on the heap.
//!
//! Most keys and many values are short; 22 bytes inside the entry save an allocation, its header
//! and a cache miss each. Its layout can change in this one file.

use crate::text::short;
use std::cmp::Ordering;
use std::ops::Deref;

/// Longest byte string that is stored in place.
pub(crate) const INLINE_LEN_MAX: usize = 22;

/// An owned, immutable byte string of 24 bytes, plus the heap for longer ones.
#[derive(Clone, PartialEq, Eq)]
pub struct Blob(Repr);

#[derive(Clone, PartialEq, Eq)]
enum Repr {
    /// Bytes from `len` on are zero, so that equality may compare all of them.
    Inline {
        len: u8,
        bytes: [u8; INLINE_LEN_MAX],
    },
    Heap(Box<[u8]>),
}

impl Deref for Blob {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Repr::Inline { len, bytes } => &bytes[..*len as usize],
            Repr::Heap(bytes) => bytes,
        }
    }
}

impl Blob {
    /// Returns the bytes for changes that keep the length.
    #[cfg(feature = "json")]
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        match &mut self.0 {
            Repr::Inline { len, bytes } => &mut bytes[..*len as usize],
            Repr::Heap(bytes) => bytes,
        }
    }

    /// Returns how many bytes of memory it takes besides itself.
    #[must_use]
    pub fn memory(&self) -> usize {
        match &self.0 {
            Repr::Inline { .. } => 0,
            Repr::Heap(bytes) => bytes.len(),
        }
    }
}

impl PartialOrd for Blob {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Blob {
    fn cmp(&self, other: &Self) -> Ordering {
        (**self).cmp(&**other)
    }
}

impl From<&[u8]> for Blob {
    #[inline]
    fn from(from: &[u8]) -> Self {
        if from.len() > INLINE_LEN_MAX {
            return Self(Repr::Heap(from.into()));
        }
        let (mut bytes, len) = ([0; INLINE_LEN_MAX], from.len());
        short::copy(from, &mut bytes);
        Self(Repr::Inline { len: len as u8, bytes })
    }
}

impl From<Vec<u8>> for Blob {
    fn from(from: Vec<u8>) -> Self {
        if from.len() > INLINE_LEN_MAX {
            Self(Repr::Heap(from.into_boxed_slice()))
        } else {
            Self::from(&from[..])
        }
    }
}

impl std::fmt::Debug for Blob {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "\"{}\"", self.escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_bytes_of_any_length() {
        for len in [0, 1, INLINE_LEN_MAX, INLINE_LEN_MAX + 1, 1000] {
            let bytes: Vec<u8> = (0..len).map(|i| i as u8).collect();
            assert_eq!(&*Blob::from(&bytes[..]), &bytes[..]);
            assert_eq!(Blob::from(bytes.clone()), Blob::from(&bytes[..]));
        }
    }

    #[test]
    fn is_three_words() {
        assert_eq!(size_of::<Blob>(), 24);
    }
}
