//! Short byte strings, as keys and many values are: a call of the C library costs more than what it
//! does for them.

/// Copies bytes to the front of `to`.
///
/// # Panics
/// They do not fit.
#[inline]
pub(crate) fn copy(from: &[u8], to: &mut [u8]) {
    let len = from.len();
    // The first and the last of some size: where they overlap they are the same.
    macro_rules! both_ends {
        ($size:literal) => {
            if let (Some(first), Some(last)) = (from.first_chunk::<$size>(), from.last_chunk()) {
                *to[..len].first_chunk_mut::<$size>().expect("as long as `from`") = *first;
                *to[..len].last_chunk_mut::<$size>().expect("as long as `from`") = *last;
            }
        };
    }
    match len {
        0 => {}
        1 => to[0] = from[0],
        2..4 => both_ends!(2),
        4..8 => both_ends!(4),
        8..16 => both_ends!(8),
        16..=32 => both_ends!(16),
        _ => to[..len].copy_from_slice(from),
    }
}

/// Returns whether two byte strings are equal.
#[inline]
pub(crate) fn are_equal(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    match a.len() {
        // The first and the last overlap, and are compared as words.
        8..=16 => (a.first_chunk::<8>(), a.last_chunk::<8>()) == (b.first_chunk(), b.last_chunk()),
        17..=32 => {
            (a.first_chunk::<16>(), a.last_chunk::<16>()) == (b.first_chunk(), b.last_chunk())
        }
        _ => a == b,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_byte_is_copied(bytes in prop::collection::vec(any::<u8>(), 0..50), more in 0usize..40) {
            let mut to = vec![0; bytes.len() + more];
            copy(&bytes, &mut to);
            prop_assert_eq!(&to[..bytes.len()], &bytes[..]);
            prop_assert!(to[bytes.len()..].iter().all(|&b| b == 0));
        }

        #[test]
        fn only_equal_bytes_are_equal(bytes in prop::collection::vec(any::<u8>(), 0..70), at in any::<prop::sample::Index>()) {
            let mut other = bytes.clone();
            prop_assert!(are_equal(&bytes, &other));
            prop_assert!(!are_equal(&bytes, &[&bytes[..], b"x"].concat()));
            if !bytes.is_empty() {
                other[at.index(bytes.len())] ^= 1;
                prop_assert!(!are_equal(&bytes, &other));
            }
        }
    }
}
