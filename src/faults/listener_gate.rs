//! The doors of the nodes: whoever has a node stopped or started waits here until its listeners have
//! seen to it, so that a client which is told `OK` finds the port as it was told.
//!
//! ```text
//! SLOTWAY STOP ─ shift ─► wanted: 7 ──► each listener closes or opens its port ─ saw ─► seen: 7
//!     └─ the reply waits ── settled ◄──────────────────────────────────────────────────┘
//! ```

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::{Notify, watch};

/// What listeners are told, and have seen to.
#[derive(Debug)]
pub struct Doors {
    wanted: watch::Sender<u64>,
    /// By listener, the last change that it has seen to.
    seen: Mutex<BTreeMap<u64, u64>>,
    last_door: AtomicU64,
    /// Tells those who wait that a listener has seen to something.
    moved: Notify,
}

impl Default for Doors {
    fn default() -> Self {
        Self {
            wanted: watch::Sender::new(0),
            seen: Mutex::default(),
            last_door: AtomicU64::new(0),
            moved: Notify::new(),
        }
    }
}

impl Doors {
    /// Has every listener look at what it is to do.
    pub fn shift(&self) {
        self.wanted.send_modify(|wanted| *wanted += 1);
    }

    /// A listener's side.
    #[must_use]
    pub fn join(self: &Arc<Self>) -> Door {
        let wanted = self.wanted.subscribe();
        let number = self.last_door.fetch_add(1, Ordering::Relaxed);
        self.seen.lock().insert(number, *wanted.borrow());
        Door { doors: Arc::clone(self), wanted, number }
    }

    /// Completes when every listener has seen to all that was wanted before.
    pub async fn settled(&self) {
        let wanted = *self.wanted.borrow();
        loop {
            let mut moved = pin!(self.moved.notified());
            // From here on a move is not missed.
            moved.as_mut().enable();
            if self.seen.lock().values().all(|&seen| seen >= wanted) {
                return;
            }
            moved.await;
        }
    }
}

/// One listener's side; who drops it is waited for no more.
#[derive(Debug)]
pub struct Door {
    doors: Arc<Doors>,
    wanted: watch::Receiver<u64>,
    number: u64,
}

impl Door {
    /// Completes when there is something to look at.
    pub async fn wanted(&mut self) {
        if self.wanted.changed().await.is_err() {
            // Nobody can want anything any more; never so while this holds the doors.
            std::future::pending::<()>().await;
        }
    }

    /// Says that what was wanted before this call has been seen to.
    pub fn saw(&mut self, wanted: u64) {
        self.doors.seen.lock().insert(self.number, wanted);
        self.doors.moved.notify_waiters();
    }

    /// Which change is the latest: to be read before one looks at what to do.
    #[must_use]
    pub fn latest(&mut self) -> u64 {
        *self.wanted.borrow_and_update()
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.doors.seen.lock().remove(&self.number);
        self.doors.moved.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::{Future, poll_fn};
    use std::task::Poll;

    #[tokio::test]
    async fn whoever_shifts_them_waits_for_all() {
        let doors = Arc::new(Doors::default());
        doors.settled().await;
        let (mut one, mut other) = (doors.join(), doors.join());
        doors.settled().await;
        doors.shift();
        one.wanted().await;
        let latest = one.latest();
        let mut settled = pin!(doors.settled());
        let mut now = async || poll_fn(|cx| Poll::Ready(settled.as_mut().poll(cx))).await;
        assert!(now().await.is_pending());
        one.saw(latest);
        assert!(now().await.is_pending(), "the other has yet to look");
        let latest = other.latest();
        other.saw(latest);
        assert!(now().await.is_ready());
        doors.shift();
        drop((one, other));
        doors.settled().await;
    }
}
