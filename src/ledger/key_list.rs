//! The keys of one violation, copied into one piece of memory: each once, and not too many.

/// Keys of a list: the first ones of more.
pub(crate) const KEYS_MAX: usize = 128;
/// Bytes of all keys of a list: keys that do not fit are left out.
pub(crate) const BYTES_MAX: usize = 4 * 1024;

/// Memory that a list begins with, in bytes and in keys.
const FIRST_BYTES: usize = 256;
const FIRST_KEYS: usize = 16;

/// Different keys in the order in which they were added.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyList {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    hidden: usize,
}

impl KeyList {
    /// Adds a key that is not in the list yet. Beyond [`KEYS_MAX`] and [`BYTES_MAX`] it is only
    /// counted.
    pub fn add(&mut self, key: &[u8]) {
        if self.iter().any(|other| other == key) {
            return;
        }
        let fits = self.ends.len() < KEYS_MAX && self.bytes.len() + key.len() <= BYTES_MAX;
        if !fits {
            self.hidden += 1;
            return;
        }
        if self.bytes.is_empty() {
            // Room for a few keys, so that most lists grow but once.
            self.bytes.reserve(FIRST_BYTES.max(key.len()));
            self.ends.reserve(FIRST_KEYS);
        }
        self.bytes.extend_from_slice(key);
        self.ends.push(self.bytes.len());
    }

    /// Whether it has no keys.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// How many keys were left out.
    #[must_use]
    pub fn hidden(&self) -> usize {
        self.hidden
    }

    /// Counts keys that were left out elsewhere.
    pub fn hide(&mut self, count: usize) {
        self.hidden += count;
    }

    /// The keys.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.ends.iter().enumerate().map(|(at, &end)| {
            let from = if at == 0 { 0 } else { self.ends[at - 1] };
            &self.bytes[from..end]
        })
    }
}

impl<'k> FromIterator<&'k [u8]> for KeyList {
    fn from_iter<I: IntoIterator<Item = &'k [u8]>>(keys: I) -> Self {
        let mut all = Self::default();
        keys.into_iter().for_each(|key| all.add(key));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_bounded_and_has_each_key_once() {
        let long = vec![b'x'; BYTES_MAX + 1];
        let many: Vec<Vec<u8>> = (0..KEYS_MAX + 2).map(|n| n.to_string().into()).collect();
        let given = [&long[..], b"a", b"b", b"a"].into_iter();
        let keys: KeyList = given.chain(many.iter().map(Vec::as_slice)).collect();
        assert_eq!((keys.iter().count(), keys.hidden()), (KEYS_MAX, 5));
        assert_eq!(keys.iter().take(3).collect::<Vec<_>>(), [&b"a"[..], b"b", b"0"]);
    }
}
