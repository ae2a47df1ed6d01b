//! What goes wrong on purpose: faults that tests arm, each of which ends by itself.
//!
//! ```text
//! order     the words of `SLOTWAY …`, of `slotway ctl` and of a scenario
//! book      what is armed: until when, how many times more, how often it has struck
//! scenario  orders with their times, in a file
//! doors     waiting for the listeners of a node that was stopped or started
//! ```
//!
//! What changes who owns and serves what, stopping a node, a slot half-migrated, is done to the
//! [`crate::topology`] at once; the book only knows when that is to be undone. What concerns single
//! requests, late replies, false answers to EXEC, is looked up here as they come, by those who have
//! seen in [`Armed`] that there is something to look up: one relaxed load for a batch of requests.

mod registry;
mod listener_gate;
mod grammar;
mod scenario;

pub use grammar::{
    Answer, Bound, COUNT_MAX, KEY_LEN_MAX, LATENCY_MS_MAX, Name, Order, Place, Promote, RUNS_MAX,
    TIME_MS_DEFAULT, TIME_MS_MAX, Unclear, forms,
};
pub use listener_gate::{Door, Doors};
pub use registry::{FAULTS_MAX, Fault, What};
pub use scenario::{Event, Mistake, Progress, SCENARIO_LEN_MAX, STEPS_MAX, Scenario, Step, When};

use crate::keyspace::Millis;
use crate::slot::Slot;
use crate::topology::NodeNumber;
use parking_lot::Mutex;
use registry::Book;
use scenario::Play;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use tokio::sync::Notify;

/// What a batch of requests has to look up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Armed(u32);

impl Armed {
    const LATENCY: u32 = 1;
    const EXEC: u32 = 1 << 1;
    const HANG: u32 = 1 << 2;
    const COUNT: u32 = 1 << 3;

    /// Nothing.
    #[must_use]
    #[inline]
    pub fn is_nothing(self) -> bool {
        self.0 == 0
    }

    /// Whether each request is to be looked at: some replies come late, or somebody counts.
    #[must_use]
    #[inline]
    pub fn concerns_each(self) -> bool {
        self.0 & (Self::LATENCY | Self::COUNT) != 0
    }

    /// Whether some replies come late.
    #[must_use]
    pub fn slows(self) -> bool {
        self.0 & Self::LATENCY != 0
    }

    /// Whether a scenario waits for so many requests.
    #[must_use]
    pub fn counts(self) -> bool {
        self.0 & Self::COUNT != 0
    }

    /// Whether some EXECs do not run.
    #[must_use]
    #[inline]
    pub fn execs(self) -> bool {
        self.0 & Self::EXEC != 0
    }

    /// Whether a node does not answer.
    #[must_use]
    #[inline]
    pub fn hangs(self) -> bool {
        self.0 & Self::HANG != 0
    }

    fn by(what: &What) -> u32 {
        match what {
            What::Latency { .. } => Self::LATENCY,
            What::Exec { .. } | What::Conflict(_) => Self::EXEC,
            What::Stop { hangs: true, .. } => Self::HANG,
            What::Stop { .. } | What::Promotion(_) | What::Down | What::Hold { .. } => 0,
        }
    }
}

/// As many faults are armed as there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMany;

/// The faults of a process.
#[derive(Debug, Default)]
pub struct Faults {
    /// Agrees with the book whenever that is not locked.
    armed: AtomicU32,
    book: Mutex<Book>,
    /// Tells those who wait for an end, or for the next one.
    changed: Notify,
    /// Of the nodes' listeners.
    pub doors: Arc<Doors>,
}

impl Faults {
    /// What a batch that begins now has to look up.
    #[must_use]
    #[inline]
    pub fn armed(&self) -> Armed {
        Armed(self.armed.load(Ordering::Relaxed))
    }

    /// Arms a fault that ends at `until`, or when it has struck `count` times; gives its id.
    ///
    /// # Errors
    /// There are too many.
    pub fn arm(&self, what: What, until: Millis, count: Option<u32>) -> Result<u64, TooMany> {
        self.change(|book| book.arm(what, until, count)).ok_or(TooMany)
    }

    /// Whether one more can be armed.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.book.lock().all().len() < FAULTS_MAX
    }

    /// Every fault that is armed, in the order of their ids.
    #[must_use]
    pub fn all(&self) -> Vec<Fault> {
        self.book.lock().all().to_vec()
    }

    /// Takes out the faults that `ends` says, for the caller to undo what they did.
    pub fn take(&self, ends: impl FnMut(&Fault) -> bool) -> Vec<Fault> {
        self.change(|book| book.take(ends))
    }

    /// When there is something to be done next: a fault ends, or a step's time has come.
    #[must_use]
    pub fn due(&self) -> Option<Millis> {
        self.book.lock().due()
    }

    /// Begins to play a scenario at `now`, in place of any other.
    pub fn play(&self, scenario: Scenario, now: Millis) {
        self.change(|book| book.play = Some(Play::new(scenario, now)));
    }

    /// Ends the scenario, wherever it is.
    pub fn stop_play(&self) {
        self.change(|book| book.play = None);
    }

    /// The scenario's next step, if its time has come: it is for the caller to do.
    pub fn take_step(&self, now: Millis) -> Option<Step> {
        self.change(|book| book.play.as_mut()?.take(now))
    }

    /// The step that was taken is done, or was refused.
    pub fn end_step(&self, refused: Option<Mistake>) {
        if let Some(play) = &mut self.book.lock().play {
            play.end(refused);
        }
    }

    /// How far the scenario has come, if there was one.
    #[must_use]
    pub fn progress(&self) -> Option<Progress> {
        self.book.lock().play.as_ref().map(Play::progress)
    }

    /// Counts a request that is all of `events`.
    pub fn note(&self, events: &[Event]) {
        self.change(|book| {
            if let Some(play) = &mut book.play {
                play.note(events);
            }
        });
    }

    /// Whether this node was stopped; `Some(true)` if it hangs.
    #[must_use]
    pub fn stopped(&self, node: NodeNumber) -> Option<bool> {
        self.book.lock().all().iter().find_map(|fault| match fault.what {
            What::Stop { node: it, hangs } if it == node => Some(hangs),
            _ => None,
        })
    }

    /// By how much the reply to a request comes late that asks `node` for `slot`, in milliseconds.
    #[must_use]
    pub fn latency(
        &self,
        now: Millis,
        node: Option<NodeNumber>,
        slot: Option<Slot>,
    ) -> Option<Millis> {
        let struck = self.change(|book| {
            book.strike(now, false, |what| match *what {
                What::Latency { place, ms } if is_at(place, node, slot) => Some(ms),
                _ => None,
            })
        });
        (!struck.is_empty()).then(|| struck.into_iter().sum::<Millis>().min(LATENCY_MS_MAX))
    }

    /// The keys to be touched before an EXEC that would run; `watches` says whether it watches one.
    #[must_use]
    pub fn conflicts(&self, now: Millis, watches: impl Fn(&[u8]) -> bool) -> Vec<Vec<u8>> {
        self.change(|book| {
            book.strike(now, false, |what| match what {
                What::Conflict(key) if watches(key) => Some(key.clone()),
                _ => None,
            })
        })
    }

    /// What an EXEC at `node` in `slot`, which would run, answers instead.
    #[must_use]
    pub fn answer(
        &self,
        now: Millis,
        node: Option<NodeNumber>,
        slot: Option<Slot>,
    ) -> Option<Answer> {
        let answered = self.change(|book| {
            book.strike(now, true, |what| match *what {
                // Without a slot there is nothing that could have moved.
                What::Exec { answer: Answer::Moved, .. } if slot.is_none() => None,
                What::Exec { answer, place } if is_at(place, node, slot) => Some(answer),
                _ => None,
            })
        });
        answered.first().copied()
    }

    /// Completes when this node does not hang.
    pub async fn answers_again(&self, node: NodeNumber) {
        self.until(|| self.stopped(node) != Some(true)).await;
    }

    /// Completes when [`Faults::due`] is another time than `before`.
    pub async fn due_is_other(&self, before: Option<Millis>) {
        self.until(|| self.due() != before).await;
    }

    async fn until(&self, is_so: impl Fn() -> bool) {
        loop {
            let mut changed = pin!(self.changed.notified());
            // From here on a change is not missed.
            changed.as_mut().enable();
            if is_so() {
                return;
            }
            changed.await;
        }
    }

    fn change<R>(&self, change: impl FnOnce(&mut Book) -> R) -> R {
        let mut book = self.book.lock();
        let result = change(&mut book);
        let counts = book.play.as_ref().is_some_and(Play::counts);
        let begin = if counts { Armed::COUNT } else { 0 };
        let armed = book.all().iter().fold(begin, |armed, fault| armed | Armed::by(&fault.what));
        self.armed.store(armed, Ordering::Relaxed);
        drop(book);
        self.changed.notify_waiters();
        result
    }
}

fn is_at(place: Place<NodeNumber>, node: Option<NodeNumber>, slot: Option<Slot>) -> bool {
    match place {
        Place::Anywhere => true,
        Place::Slot(it) => slot == Some(it),
        Place::Node(it) => node == Some(it),
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
        assert!(faults.armed().is_nothing());
        let place = Place::Slot(slot(7));
        let what = What::Exec { answer: Answer::Nil, place };
        assert_eq!(faults.arm(what, 100, Some(2)), Ok(1));
        assert!(faults.armed().execs() && !faults.armed().slows());
        let answer = |slot| faults.answer(50, Some(0), slot);
        assert_eq!((answer(None), answer(Some(slot(8)))), (None, None));
        assert_eq!(answer(Some(slot(7))), Some(Answer::Nil));
        assert_eq!(faults.all()[0].line(60), "id=1 fired=1 left=1 ms=40 fault=EXEC NIL SLOT 7");
        assert_eq!(answer(Some(slot(7))), Some(Answer::Nil));
        assert_eq!(answer(Some(slot(7))), None);
        assert!(faults.armed().is_nothing() && faults.all().is_empty());
    }

    #[test]
    fn a_fault_ends_by_time_whether_or_not_it_was_taken_out() {
        let faults = Faults::default();
        let what = What::Latency { place: Place::Node(1), ms: 30 };
        faults.arm(what.clone(), 100, None).expect("room");
        faults.arm(What::Latency { place: Place::Anywhere, ms: 5 }, 200, Some(9)).expect("room");
        assert_eq!(faults.latency(99, Some(1), None), Some(35));
        assert_eq!(faults.latency(99, Some(0), None), Some(5));
        assert_eq!(faults.latency(100, Some(1), None), Some(5), "its time is over");
        assert_eq!(faults.due(), Some(100));
        let over = faults.take(|fault| fault.until <= 100);
        assert_eq!(over.iter().map(|fault| &fault.what).collect::<Vec<_>>(), [&what]);
        assert_eq!((over[0].fired, faults.all()[0].left), (1, Some(6)));
    }

    #[test]
    fn one_answer_at_a_time() {
        let faults = Faults::default();
        for answer in [Answer::Moved, Answer::TryAgain] {
            faults.arm(What::Exec { answer, place: Place::Anywhere }, 9, Some(1)).expect("room");
        }
        faults.arm(What::Conflict(b"k".to_vec()), 9, Some(1)).expect("room");
        assert!(faults.conflicts(1, |key| key == b"other").is_empty());
        assert_eq!(faults.conflicts(1, |key| key == b"k"), [b"k"]);
        assert!(faults.conflicts(1, |_| true).is_empty());
        assert_eq!(faults.answer(1, None, None), Some(Answer::TryAgain), "no slot, no MOVED");
        assert_eq!(faults.answer(1, None, Some(slot(0))), Some(Answer::Moved));
        assert_eq!(faults.answer(1, None, Some(slot(0))), None);
    }

    #[test]
    fn there_may_be_so_many_and_ids_are_not_given_twice() {
        let faults = Faults::default();
        for id in 1..=FAULTS_MAX as u64 {
            assert_eq!(faults.arm(What::Down, 9, None), Ok(id));
        }
        assert!(!faults.has_room());
        assert_eq!(faults.arm(What::Down, 9, None), Err(TooMany));
        faults.take(|fault| fault.id == FAULTS_MAX as u64);
        assert_eq!(faults.arm(What::Down, 9, None), Ok(FAULTS_MAX as u64 + 1));
    }

    #[tokio::test]
    async fn who_waits_for_a_node_is_told() {
        let faults = Faults::default();
        faults.answers_again(2).await;
        faults.arm(What::Stop { node: 2, hangs: true }, 9, None).expect("room");
        let mut again = pin!(faults.answers_again(2));
        let mut now = async || {
            std::future::poll_fn(|cx| std::task::Poll::Ready(again.as_mut().poll(cx))).await
        };
        assert!(now().await.is_pending());
        faults.take(|_| true);
        assert!(now().await.is_ready());
    }
}
