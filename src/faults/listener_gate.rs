//! The gate of the nodes: whoever has a node stopped or started waits here until its listeners have
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
pub struct ListenerGate {
    requested: watch::Sender<u64>,
    /// By listener, the last change that it has seen to.
    acknowledged: Mutex<BTreeMap<u64, u64>>,
    last_number: AtomicU64,
    /// Tells those who wait that a listener has seen to something.
    progressed: Notify,
}

impl Default for ListenerGate {
    fn default() -> Self {
        Self {
            requested: watch::Sender::new(0),
            acknowledged: Mutex::default(),
            last_number: AtomicU64::new(0),
            progressed: Notify::new(),
        }
    }
}

impl ListenerGate {
    /// Has every listener look at what it is to do.
    pub fn request_update(&self) {
        self.requested.send_modify(|wanted| *wanted += 1);
    }

    /// Returns a listener's side.
    #[must_use]
    pub fn register(self: &Arc<Self>) -> GateListener {
        let requested = self.requested.subscribe();
        let number = self.last_number.fetch_add(1, Ordering::Relaxed);
        self.acknowledged.lock().insert(number, *requested.borrow());
        GateListener { gate: Arc::clone(self), requested, number }
    }

    /// Completes when every listener has seen to all that was wanted before.
    pub async fn all_acknowledged(&self) {
        let wanted = *self.requested.borrow();
        loop {
            let mut moved = pin!(self.progressed.notified());
            // From here on a move is not missed.
            moved.as_mut().enable();
            if self.acknowledged.lock().values().all(|&seen| seen >= wanted) {
                return;
            }
            moved.await;
        }
    }
}

/// One listener's side; who drops it is waited for no more.
#[derive(Debug)]
pub struct GateListener {
    gate: Arc<ListenerGate>,
    requested: watch::Receiver<u64>,
    number: u64,
}

impl GateListener {
    /// Completes when there is something to look at.
    pub async fn update_requested(&mut self) {
        if self.requested.changed().await.is_err() {
            // Nobody can want anything any more; never so while this holds the gate.
            std::future::pending::<()>().await;
        }
    }

    /// Says that what was wanted before this call has been seen to.
    pub fn acknowledge(&mut self, update: u64) {
        self.gate.acknowledged.lock().insert(self.number, update);
        self.gate.progressed.notify_waiters();
    }

    /// Returns which change is the latest: to be read before one looks at what to do.
    #[must_use]
    pub fn latest_update(&mut self) -> u64 {
        *self.requested.borrow_and_update()
    }
}

impl Drop for GateListener {
    fn drop(&mut self) {
        self.gate.acknowledged.lock().remove(&self.number);
        self.gate.progressed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::{Future, poll_fn};
    use std::task::Poll;

    #[tokio::test]
    async fn whoever_shifts_them_waits_for_all() {
        let gate = Arc::new(ListenerGate::default());
        gate.all_acknowledged().await;
        let (mut one, mut other) = (gate.register(), gate.register());
        gate.all_acknowledged().await;
        gate.request_update();
        one.update_requested().await;
        let latest = one.latest_update();
        let mut settled = pin!(gate.all_acknowledged());
        let mut now = async || poll_fn(|cx| Poll::Ready(settled.as_mut().poll(cx))).await;
        assert!(now().await.is_pending());
        one.acknowledge(latest);
        assert!(now().await.is_pending(), "the other has yet to look");
        let latest = other.latest_update();
        other.acknowledge(latest);
        assert!(now().await.is_ready());
        gate.request_update();
        drop((one, other));
        gate.all_acknowledged().await;
    }
}
