//! Long strings that stay in the buffer in which they were received: nothing is copied, and nothing is held
//! twice.
//!
//! ```text
//! buffer of one request    *3 $3 SET $3 key $200000000 [ the value ........................ ]
//!                                                       ^ a shared part of the buffer, kept as the value
//! ```
//!
//! A command gets its arguments as plain bytes, wherever they lie. While a connection executes a request that
//! has a buffer of its own, it lends that buffer to this thread; a value that nearly fills it keeps it.

use bytes::Bytes;
use std::cell::RefCell;

/// Requests from this length on get a buffer of their own, in bytes.
pub(crate) const LARGE_LEN_MIN: usize = 64 << 10;

thread_local! {
    /// The buffer of the request that is being executed, and how much memory it takes.
    static INPUT: RefCell<Option<(Bytes, usize)>> = const { RefCell::new(None) };
}

/// Runs `run`, in which values may keep `input`, whose memory takes `capacity` bytes.
pub(crate) fn lending<R>(input: &Bytes, capacity: usize, run: impl FnOnce() -> R) -> R {
    /// Takes the buffer back, also if the command panics.
    struct Lent;
    impl Drop for Lent {
        fn drop(&mut self) {
            INPUT.set(None);
        }
    }
    INPUT.set(Some((input.clone(), capacity)));
    let _lent = Lent;
    run()
}

/// Returns these bytes as a part of the buffer that is lent, if they are one and nearly fill it.
pub(super) fn kept(bytes: &[u8]) -> Option<Bytes> {
    INPUT.with_borrow(|input| {
        let (input, capacity) = input.as_ref()?;
        let (own, all) = (bytes.as_ptr_range(), input.as_ptr_range());
        let is_part = all.start <= own.start && own.end <= all.end;
        (is_part && bytes.len() >= capacity / 8 * 7).then(|| input.slice_ref(bytes))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyspace::Value;

    /// A request of this length, and a value of that length at its end.
    fn kept_of(request: usize, value: usize) -> (bool, usize) {
        let input = Bytes::from(vec![b'x'; request]);
        let at = input.len() - value;
        let stored = lending(&input, input.len(), || Value::string(&input[at..]));
        let text = stored.as_text().expect("a string");
        (std::ptr::eq(&*text, &input[at..]), text.len())
    }

    #[test]
    fn a_value_that_nearly_fills_its_request_stays_where_it_is() {
        let long = 4 * LARGE_LEN_MIN;
        assert_eq!(kept_of(long, long - 40), (true, long - 40));
        assert_eq!(kept_of(long, long / 2), (false, long / 2));
        assert_eq!(kept_of(LARGE_LEN_MIN, LARGE_LEN_MIN - 40), (false, LARGE_LEN_MIN - 40));
    }

    #[test]
    fn only_what_is_lent_is_kept() {
        let (input, other) = (Bytes::from(vec![b'x'; 1 << 20]), vec![b'x'; 1 << 20]);
        assert!(lending(&input, input.len(), || kept(&other)).is_none());
        assert!(lending(&input, input.len(), || kept(&input)).is_some());
        assert!(kept(&input).is_none());
    }

    #[test]
    fn a_kept_value_is_changed_and_copied_as_any_other() {
        let input = Bytes::from(vec![b'x'; 1 << 20]);
        let mut value = lending(&input, input.len(), || Value::string(&input[10..]));
        let copy = value.clone();
        assert_eq!((value.encoding(), value.type_name()), ("raw", "string"));
        assert!(value.memory() >= (1 << 20) - 10);
        value.as_raw_mut().expect("a string").extend_from_slice(b"end");
        assert!(value.as_text().expect("a string").ends_with(b"xend"));
        assert_eq!(copy.as_text().expect("a string").len(), (1 << 20) - 10);
    }
}
