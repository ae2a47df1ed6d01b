//! Fault injection: faults that tests arm, each of which ends by itself.
//!
//! ```text
//! grammar        the words of `SLOTWAY …`, of `slotway ctl` and of a scenario
//! scenario       orders with their times, in a file
//! registry       what is armed: until when, how many times more, how often it has fired
//! listener_gate  waiting for the listeners of a node that was stopped or started
//! ```
//!
//! Faults that change the topology, such as stopping a node or holding a slot half-migrated, are
//! applied to [`crate::topology`] at once; the registry only records when to undo them. Faults of
//! single requests, such as late replies and false answers to EXEC, are looked up here per request,
//! when [`ArmedFaults`] says that there are any: one relaxed load per batch of requests.

mod grammar;
mod scenario;
mod registry;
mod listener_gate;

pub(crate) use grammar::{
    ExecAnswer, FaultLimit, FaultScope, LATENCY_MS_MAX, NodeName, Order, Promote, TIME_MS_DEFAULT,
    forms,
};
pub(crate) use listener_gate::ListenerGate;
pub(crate) use registry::{FAULTS_MAX, Fault, FaultKind};
pub(crate) use scenario::{RequestKind, Scenario, ScenarioError, ScenarioProgress, ScenarioStep};

use crate::keyspace::Millis;
use crate::slot::Slot;
use crate::topology::NodeNumber;
use parking_lot::Mutex;
use registry::Registry;
use scenario::Playback;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use tokio::sync::Notify;

/// The kinds of faults that a batch of requests has to look up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ArmedFaults(u32);

impl ArmedFaults {
    const LATENCY: u32 = 1;
    const EXEC: u32 = 1 << 1;
    const HANG: u32 = 1 << 2;
    const COUNT: u32 = 1 << 3;

    /// Returns whether there are none.
    #[must_use]
    #[inline]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Returns whether each request has to be looked at: some replies are delayed, or a scenario
    /// counts requests.
    #[must_use]
    #[inline]
    pub fn affects_each_request(self) -> bool {
        self.0 & (Self::LATENCY | Self::COUNT) != 0
    }

    /// Returns whether some replies are delayed.
    #[must_use]
    pub fn delays_replies(self) -> bool {
        self.0 & Self::LATENCY != 0
    }

    /// Returns whether a scenario counts requests.
    #[must_use]
    pub fn counts_requests(self) -> bool {
        self.0 & Self::COUNT != 0
    }

    /// Returns whether some EXECs do not run.
    #[must_use]
    #[inline]
    pub fn affects_exec(self) -> bool {
        self.0 & Self::EXEC != 0
    }

    /// Returns whether a node hangs.
    #[must_use]
    #[inline]
    pub fn hangs_nodes(self) -> bool {
        self.0 & Self::HANG != 0
    }

    fn by(kind: &FaultKind) -> u32 {
        match kind {
            FaultKind::Latency { .. } => Self::LATENCY,
            FaultKind::Exec { .. } | FaultKind::Conflict(_) => Self::EXEC,
            FaultKind::Stop { hangs: true, .. } => Self::HANG,
            FaultKind::Stop { .. }
            | FaultKind::Promotion(_)
            | FaultKind::Down
            | FaultKind::Hold { .. }
            | FaultKind::HoldMigrations => 0,
        }
    }
}

/// The limit of armed faults is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyFaults;

/// The faults of a process.
#[derive(Debug, Default)]
pub struct Faults {
    /// Kept in agreement with the registry by [`Faults::change`].
    armed: AtomicU32,
    registry: Mutex<Registry>,
    /// Wakes the tasks that wait for a change of the registry.
    changed: Notify,
    /// Lets a command wait for the nodes' listeners.
    pub listener_gate: Arc<ListenerGate>,
}

impl Faults {
    /// Returns the kinds of faults that are armed now.
    #[must_use]
    #[inline]
    pub fn armed(&self) -> ArmedFaults {
        ArmedFaults(self.armed.load(Ordering::Relaxed))
    }

    /// Arms a fault that ends at `until`, or when it has fired `count` times; returns its id.
    ///
    /// # Errors
    /// The limit of armed faults is reached.
    pub fn arm(
        &self,
        kind: FaultKind,
        until: Millis,
        count: Option<u32>,
    ) -> Result<u64, TooManyFaults> {
        self.change(|registry| registry.arm(kind, until, count)).ok_or(TooManyFaults)
    }

    /// Returns whether one more can be armed.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.registry.lock().all().len() < FAULTS_MAX
    }

    /// Returns every fault that is armed, in the order of their ids.
    #[must_use]
    pub fn all(&self) -> Vec<Fault> {
        self.registry.lock().all().to_vec()
    }

    /// Removes the faults for which `ends` is true and returns them, for the caller to undo.
    pub fn take(&self, ends: impl FnMut(&Fault) -> bool) -> Vec<Fault> {
        self.change(|registry| registry.take(ends))
    }

    /// Returns when the next fault ends or the next step is due.
    #[must_use]
    pub fn next_due(&self) -> Option<Millis> {
        self.registry.lock().due()
    }

    /// Sets when something besides faults and scenarios is to be done by the clock, if anything is.
    pub fn set_work_due(&self, due: Option<Millis>) {
        self.change(|registry| registry.work_due = due);
    }

    /// Starts a scenario at `now`, in place of any other.
    pub fn start_scenario(&self, scenario: Scenario, now: Millis) {
        self.change(|registry| registry.playback = Some(Playback::new(scenario, now)));
    }

    /// Ends the scenario.
    pub fn stop_scenario(&self) {
        self.change(|registry| registry.playback = None);
    }

    /// Takes the scenario's next step, if it is due; the caller carries it out.
    pub fn take_step(&self, now: Millis) -> Option<ScenarioStep> {
        self.change(|registry| registry.playback.as_mut()?.take(now))
    }

    /// Ends the step that was taken: done, or refused with this error.
    pub fn end_step(&self, refused: Option<ScenarioError>) {
        if let Some(playback) = &mut self.registry.lock().playback {
            playback.end(refused);
        }
    }

    /// Returns the scenario's progress, if there is or was one.
    #[must_use]
    pub fn scenario_progress(&self) -> Option<ScenarioProgress> {
        self.registry.lock().playback.as_ref().map(Playback::progress)
    }

    /// Counts a request of these kinds.
    pub fn count_request(&self, events: &[RequestKind]) {
        self.change(|registry| {
            if let Some(playback) = &mut registry.playback {
                playback.note(events);
            }
        });
    }

    /// Returns whether this node was stopped; `Some(true)` if it hangs.
    #[must_use]
    pub fn stopped(&self, node: NodeNumber) -> Option<bool> {
        self.registry.lock().all().iter().find_map(|fault| match fault.kind {
            FaultKind::Stop { node: it, hangs } if it == node => Some(hangs),
            _ => None,
        })
    }

    /// Returns the delay of the reply to a request for `slot` at `node`, in milliseconds, and
    /// counts the faults as fired.
    #[must_use]
    pub fn latency(
        &self,
        now: Millis,
        node: Option<NodeNumber>,
        slot: Option<Slot>,
    ) -> Option<Millis> {
        let fired = self.change(|registry| {
            registry.fire(now, false, |kind| match *kind {
                FaultKind::Latency { scope, ms } if is_at(scope, node, slot) => Some(ms),
                _ => None,
            })
        });
        (!fired.is_empty()).then(|| fired.into_iter().sum::<Millis>().min(LATENCY_MS_MAX))
    }

    /// Returns the keys to touch before an EXEC that would run, and counts the faults as fired;
    /// `watches` tests whether the EXEC watches a key.
    #[must_use]
    pub fn conflicts(&self, now: Millis, watches: impl Fn(&[u8]) -> bool) -> Vec<Vec<u8>> {
        self.change(|registry| {
            registry.fire(now, false, |kind| match kind {
                FaultKind::Conflict(key) if watches(key) => Some(key.clone()),
                _ => None,
            })
        })
    }

    /// Returns the false answer of an EXEC at `node` in `slot` that would otherwise run, and counts
    /// the fault as fired.
    #[must_use]
    pub fn exec_answer(
        &self,
        now: Millis,
        node: Option<NodeNumber>,
        slot: Option<Slot>,
    ) -> Option<ExecAnswer> {
        let answered = self.change(|registry| {
            registry.fire(now, true, |kind| match *kind {
                // Without a slot nothing could have moved.
                FaultKind::Exec { answer: ExecAnswer::Moved, .. } if slot.is_none() => None,
                FaultKind::Exec { answer, scope } if is_at(scope, node, slot) => Some(answer),
                _ => None,
            })
        });
        answered.first().copied()
    }

    /// Completes when this node does not hang.
    pub async fn hang_ended(&self, node: NodeNumber) {
        self.until(|| self.stopped(node) != Some(true)).await;
    }

    /// Completes when [`Faults::next_due`] differs from `before`.
    pub async fn due_changed(&self, before: Option<Millis>) {
        self.until(|| self.next_due() != before).await;
    }

    async fn until(&self, is_so: impl Fn() -> bool) {
        loop {
            let mut changed = pin!(self.changed.notified());
            // From here on no notification is missed.
            changed.as_mut().enable();
            if is_so() {
                return;
            }
            changed.await;
        }
    }

    fn change<R>(&self, change: impl FnOnce(&mut Registry) -> R) -> R {
        let mut registry = self.registry.lock();
        let result = change(&mut registry);
        let counts = registry.playback.as_ref().is_some_and(Playback::counts);
        let begin = if counts { ArmedFaults::COUNT } else { 0 };
        let armed =
            registry.all().iter().fold(begin, |armed, fault| armed | ArmedFaults::by(&fault.kind));
        self.armed.store(armed, Ordering::Relaxed);
        drop(registry);
        self.changed.notify_waiters();
        result
    }
}

fn is_at(scope: FaultScope<NodeNumber>, node: Option<NodeNumber>, slot: Option<Slot>) -> bool {
    match scope {
        FaultScope::Anywhere => true,
        FaultScope::Slot(it) => slot == Some(it),
        FaultScope::Node(it) => node == Some(it),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(number: u16) -> Slot {
        Slot::new(number).expect("a slot")
    }

    #[test]
    fn a_fault_strikes_where_it_is_meant_to_and_ends_by_count() {
        let faults = Faults::default();
        assert!(faults.armed().is_empty());
        let scope = FaultScope::Slot(slot(7));
        let kind = FaultKind::Exec { answer: ExecAnswer::Nil, scope };
        assert_eq!(faults.arm(kind, 100, Some(2)), Ok(1));
        assert!(faults.armed().affects_exec() && !faults.armed().delays_replies());
        let answer = |slot| faults.exec_answer(50, Some(0), slot);
        assert_eq!((answer(None), answer(Some(slot(8)))), (None, None));
        assert_eq!(answer(Some(slot(7))), Some(ExecAnswer::Nil));
        assert_eq!(faults.all()[0].line(60), "id=1 fired=1 left=1 ms=40 fault=EXEC NIL SLOT 7");
        assert_eq!(answer(Some(slot(7))), Some(ExecAnswer::Nil));
        assert_eq!(answer(Some(slot(7))), None);
        assert!(faults.armed().is_empty() && faults.all().is_empty());
    }

    #[test]
    fn a_fault_ends_by_time_whether_or_not_it_was_taken_out() {
        let faults = Faults::default();
        let kind = FaultKind::Latency { scope: FaultScope::Node(1), ms: 30 };
        faults.arm(kind.clone(), 100, None).expect("room");
        faults
            .arm(FaultKind::Latency { scope: FaultScope::Anywhere, ms: 5 }, 200, Some(9))
            .expect("room");
        assert_eq!(faults.latency(99, Some(1), None), Some(35));
        assert_eq!(faults.latency(99, Some(0), None), Some(5));
        assert_eq!(faults.latency(100, Some(1), None), Some(5), "its time is over");
        assert_eq!(faults.next_due(), Some(100));
        let over = faults.take(|fault| fault.until <= 100);
        assert_eq!(over.iter().map(|fault| &fault.kind).collect::<Vec<_>>(), [&kind]);
        assert_eq!((over[0].fired, faults.all()[0].left), (1, Some(6)));
    }

    #[test]
    fn one_answer_at_a_time() {
        let faults = Faults::default();
        for answer in [ExecAnswer::Moved, ExecAnswer::TryAgain] {
            faults
                .arm(FaultKind::Exec { answer, scope: FaultScope::Anywhere }, 9, Some(1))
                .expect("room");
        }
        faults.arm(FaultKind::Conflict(b"k".to_vec()), 9, Some(1)).expect("room");
        assert!(faults.conflicts(1, |key| key == b"other").is_empty());
        assert_eq!(faults.conflicts(1, |key| key == b"k"), [b"k"]);
        assert!(faults.conflicts(1, |_| true).is_empty());
        assert_eq!(
            faults.exec_answer(1, None, None),
            Some(ExecAnswer::TryAgain),
            "no slot, no MOVED"
        );
        assert_eq!(faults.exec_answer(1, None, Some(slot(0))), Some(ExecAnswer::Moved));
        assert_eq!(faults.exec_answer(1, None, Some(slot(0))), None);
    }

    #[test]
    fn there_may_be_so_many_and_ids_are_not_given_twice() {
        let faults = Faults::default();
        for id in 1..=FAULTS_MAX as u64 {
            assert_eq!(faults.arm(FaultKind::Down, 9, None), Ok(id));
        }
        assert!(!faults.has_room());
        assert_eq!(faults.arm(FaultKind::Down, 9, None), Err(TooManyFaults));
        faults.take(|fault| fault.id == FAULTS_MAX as u64);
        assert_eq!(faults.arm(FaultKind::Down, 9, None), Ok(FAULTS_MAX as u64 + 1));
    }

    #[tokio::test]
    async fn the_end_of_a_hang_wakes_the_waiting_task() {
        let faults = Faults::default();
        faults.hang_ended(2).await;
        faults.arm(FaultKind::Stop { node: 2, hangs: true }, 9, None).expect("room");
        let mut again = pin!(faults.hang_ended(2));
        let mut now = async || {
            std::future::poll_fn(|cx| std::task::Poll::Ready(again.as_mut().poll(cx))).await
        };
        assert!(now().await.is_pending());
        faults.take(|_| true);
        assert!(now().await.is_ready());
    }
}
