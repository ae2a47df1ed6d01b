//! The listener gate: a command that stops or starts a node waits until the node's listeners have
//! followed, so that a client which receives `OK` finds the port closed or open.
//!
//! ```text
//! SLOTWAY STOP ─ request_update ─► requested: 7 ──► each listener closes or opens its port
//!     └─ the reply waits ── all_acknowledged ◄─── acknowledged: 7 ◄── acknowledge ──┘
//! ```

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::{Notify, watch};

/// The updates requested of the listeners, and those they have acknowledged.
#[derive(Debug)]
pub struct ListenerGate {
    requested: watch::Sender<u64>,
    /// By listener, the last update that it has acknowledged.
    acknowledged: Mutex<BTreeMap<u64, u64>>,
    last_number: AtomicU64,
    /// Wakes the waiting commands when a listener has acknowledged or is gone.
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
    /// Requests an update: every listener checks whether its node is up.
    pub fn request_update(&self) {
        self.requested.send_modify(|wanted| *wanted += 1);
    }

    /// Registers a listener.
    #[must_use]
    pub fn register(self: &Arc<Self>) -> GateListener {
        let requested = self.requested.subscribe();
        let number = self.last_number.fetch_add(1, Ordering::Relaxed);
        self.acknowledged.lock().insert(number, *requested.borrow());
        GateListener { gate: Arc::clone(self), requested, number }
    }

    /// Completes when every listener has acknowledged all updates requested before.
    pub async fn all_acknowledged(&self) {
        let wanted = *self.requested.borrow();
        loop {
            let mut moved = pin!(self.progressed.notified());
            // From here on no notification is missed.
            moved.as_mut().enable();
            if self.acknowledged.lock().values().all(|&seen| seen >= wanted) {
                return;
            }
            moved.await;
        }
    }
}

/// One listener's side; a dropped one is not waited for any more.
#[derive(Debug)]
pub struct GateListener {
    gate: Arc<ListenerGate>,
    requested: watch::Receiver<u64>,
    number: u64,
}

impl GateListener {
    /// Completes when an update was requested since [`GateListener::latest_update`].
    pub async fn update_requested(&mut self) {
        if self.requested.changed().await.is_err() {
            // The sender is gone, which cannot be while this holds the gate.
            std::future::pending::<()>().await;
        }
    }

    /// Acknowledges all updates up to `update`.
    pub fn acknowledge(&mut self, update: u64) {
        self.gate.acknowledged.lock().insert(self.number, update);
        self.gate.progressed.notify_waiters();
    }

    /// Returns the latest update: to be read before checking whether the node is up.
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
    async fn an_update_waits_for_all_listeners() {
        let gate = Arc::new(ListenerGate::default());
        gate.all_acknowledged().await;
        let (mut one, mut other) = (gate.register(), gate.register());
        gate.all_acknowledged().await;
        gate.request_update();
        one.update_requested().await;
        let latest = one.latest_update();
        let mut all = pin!(gate.all_acknowledged());
        let mut now = async || poll_fn(|cx| Poll::Ready(all.as_mut().poll(cx))).await;
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
