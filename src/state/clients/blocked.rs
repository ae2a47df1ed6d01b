//! Blocked clients: a wait for a key ends exactly once, whichever end comes first.
//!
//! ```text
//! connection ─awaits─► Waiting         WaitHandle ◄── the shard, when the key is set
//!     └ timeout, or disconnected ─────► │          ◄── CLIENT UNBLOCK
//! ```
//!
//! Taking the sender out of the handle decides how the wait ends, so an element is never popped for
//! a client that has timed out, and a served client never replies that it timed out.

use parking_lot::Mutex;
use std::sync::Arc;
use tokio::sync::oneshot;

/// How a wait ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Served, with this reply.
    Served(Vec<u8>),
    /// The timeout passed.
    TimedOut,
    /// `CLIENT UNBLOCK … ERROR`.
    Unblocked,
    /// The node that the client speaks to has become a replica: an error, and the connection is
    /// closed.
    Demoted,
    /// The key's slot is served elsewhere now: the request is routed again.
    Elsewhere,
}

/// The side that ends a wait.
#[derive(Debug)]
pub struct WaitHandle(Mutex<Option<oneshot::Sender<Ending>>>);

/// The exclusive right to end a wait.
#[derive(Debug)]
pub struct Claim(oneshot::Sender<Ending>);

/// The side that waits.
pub(crate) type Waiting = oneshot::Receiver<Ending>;

impl WaitHandle {
    /// Makes a handle and the receiver of its ending.
    #[must_use]
    pub fn new() -> (Arc<Self>, Waiting) {
        let (sender, waiting) = oneshot::channel();
        (Arc::new(Self(Mutex::new(Some(sender)))), waiting)
    }

    /// Takes the right to end the wait, unless it is taken or the client is gone.
    #[must_use]
    pub fn claim(&self) -> Option<Claim> {
        let sender = self.0.lock().take()?;
        (!sender.is_closed()).then_some(Claim(sender))
    }

    /// Ends the wait, unless it has ended; returns whether it did.
    pub fn end(&self, ending: Ending) -> bool {
        self.claim().is_some_and(|claim| claim.end(ending))
    }

    /// Returns whether the wait has ended, or its end is claimed.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.0.lock().as_ref().is_none_or(oneshot::Sender::is_closed)
    }
}

impl Claim {
    /// Ends the wait; returns whether the client was still waiting.
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
        let claim = handle.claim().expect("not claimed yet");
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
