//! Invalidations as they are sent: a push of RESP3, or a message of a channel for a subscriber that
//! speaks RESP2.

use crate::resp::{Proto, Sink};

/// The channel whose messages invalidations are in RESP2.
const CHANNEL: &[u8] = b"__redis__:invalidate";

/// An invalidation, encoded once per protocol in use.
pub(super) struct Invalidation<'k> {
    /// The keys; `None` for all.
    keys: Option<Vec<&'k [u8]>>,
    push: Vec<u8>,
    message: Vec<u8>,
}

impl<'k> Invalidation<'k> {
    /// Returns that of one key.
    pub(super) fn of_key(key: &'k [u8]) -> Self {
        Self::of_keys([key].into_iter())
    }

    /// Returns that of these keys.
    pub(super) fn of_keys(keys: impl Iterator<Item = &'k [u8]>) -> Self {
        Self { keys: Some(keys.collect()), push: Vec::new(), message: Vec::new() }
    }

    /// Returns that of all keys.
    pub(super) fn of_all() -> Self {
        Self { keys: None, push: Vec::new(), message: Vec::new() }
    }

    /// Returns whether it is of no key.
    pub(super) fn is_empty(&self) -> bool {
        self.keys.as_ref().is_some_and(Vec::is_empty)
    }

    /// Returns it for a client that speaks `proto`; one that speaks RESP2 gets it only as a
    /// subscriber.
    pub(super) fn encoded(&mut self, proto: Proto, is_subscriber: bool) -> Option<&[u8]> {
        let encoded = match proto {
            Proto::Resp3 => &mut self.push,
            Proto::Resp2 if is_subscriber => &mut self.message,
            Proto::Resp2 => return None,
        };
        if encoded.is_empty() {
            let mut out = Sink::new(encoded, proto);
            match proto {
                Proto::Resp3 => {
                    out.push(2);
                    out.bulk(b"invalidate");
                }
                Proto::Resp2 => {
                    out.push(3);
                    out.bulk(b"message");
                    out.bulk(CHANNEL);
                }
            }
            match &self.keys {
                None => out.null(),
                Some(keys) => {
                    out.array(keys.len());
                    keys.iter().for_each(|key| out.bulk(key));
                }
            }
        }
        Some(encoded)
    }
}

/// Returns the push for a client whose invalidations should go to a client that is not there.
pub(super) fn redirect_broken(redirect: u64) -> Vec<u8> {
    let mut encoded = Vec::new();
    let mut out = Sink::new(&mut encoded, Proto::Resp3);
    out.push(2);
    out.bulk(b"tracking-redir-broken");
    out.int(redirect.cast_signed());
    encoded
}

/// Returns `message` for a client that speaks RESP3.
pub(super) fn if_resp3(proto: Proto, message: &[u8]) -> Option<&[u8]> {
    (proto == Proto::Resp3).then_some(message)
}
