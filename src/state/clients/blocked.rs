//! How a client that waits for a key is called back: once, by whoever comes first.
//!
//! ```text
//! connection ─awaits─► Waiting         Call ◄── the shard, when the key has come to be
//!     └ its time is over, or it left ──► │  ◄── CLIENT UNBLOCK
//! ```
//!
//! Who takes the sender out of the handle has decided how the wait ends, so that an element is never
//! taken for a client that has given up, and a client that was served never answers that it gave
//! up.

use parking_lot::Mutex;
use std::sync::Arc;
use tokio::sync::oneshot;

/// How a wait ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With this reply.
    Served(Vec<u8>),
    /// There was nothing in time.
    TimedOut,
    /// `CLIENT UNBLOCK … ERROR`.
    Unblocked,
    /// The key's slot is served elsewhere from now on: the request is to be made again.
    Elsewhere,
}

/// The side that ends a wait.
#[derive(Debug)]
pub struct WaitHandle(Mutex<Option<oneshot::Sender<Ending>>>);

/// The right to end a wait: its holder is the only one.
#[derive(Debug)]
pub struct Claim(oneshot::Sender<Ending>);

/// The side that waits.
pub type Waiting = oneshot::Receiver<Ending>;

impl WaitHandle {
    /// Returns a handle and where its ending arrives.
    #[must_use]
    pub fn new() -> (Arc<Self>, Waiting) {
        let (sender, waiting) = oneshot::channel();
        (Arc::new(Self(Mutex::new(Some(sender)))), waiting)
    }

    /// Takes the right to end the wait, if nobody has it and the client is still there.
    #[must_use]
    pub fn claim(&self) -> Option<Claim> {
        let sender = self.0.lock().take()?;
        (!sender.is_closed()).then_some(Claim(sender))
    }

    /// Ends the wait in this way, if nobody else has; returns whether it did.
    pub fn end(&self, ending: Ending) -> bool {
        self.claim().is_some_and(|claim| claim.end(ending))
    }

    /// Returns whether the wait is over, or about to be.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.0.lock().as_ref().is_none_or(oneshot::Sender::is_closed)
    }
}

impl Claim {
    /// Ends the wait; returns whether the client was still there.
    pub fn end(self, ending: Ending) -> bool {
        self.0.send(ending).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_ends_once() {
        let (handle, mut waiting) = WaitHandle::new();
        assert!(!handle.is_over());
        let claim = handle.claim().expect("nobody has it");
        assert!(handle.is_over() && handle.claim().is_none() && !handle.end(Ending::TimedOut));
        assert!(claim.end(Ending::Served(b"x".into())));
        assert_eq!(waiting.try_recv(), Ok(Ending::Served(b"x".into())));
    }

    #[test]
    fn nothing_is_taken_for_a_client_that_left() {
        let (handle, waiting) = WaitHandle::new();
        drop(waiting);
        assert!(handle.is_over() && handle.claim().is_none());
    }
}
