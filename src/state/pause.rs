//! CLIENT PAUSE: for some time nothing is begun that writes, or nothing at all.
//!
//! A connection asks once per batch of requests; what is held up stays in its buffer. A batch that
//! another thread has begun when the pause begins comes to its end.

use crate::keyspace::Millis;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use tokio::sync::Notify;

/// What a pause holds up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paused {
    /// What may change keys.
    Writes,
    /// Everything.
    All,
}

/// The pause, if there is one.
#[derive(Debug, Default)]
pub struct Pause {
    /// When it ends by itself; 0 while there is none.
    until: AtomicI64,
    /// Whether it holds up everything.
    all: AtomicBool,
    /// Tells those who wait that it has ended before its time.
    ended: Notify,
}

impl Pause {
    /// Begins a pause, or widens the one that there is: it lasts until the later end and holds up
    /// the more of both.
    pub fn begin(&self, now: Millis, until: Millis, paused: Paused) {
        let (until, all) = match self.at(now) {
            Some((before, end)) => (until.max(end), before == Paused::All || paused == Paused::All),
            None => (until, paused == Paused::All),
        };
        self.all.store(all, Ordering::Relaxed);
        self.until.store(until, Ordering::Release);
    }

    /// Ends it.
    pub fn end(&self) {
        self.until.store(0, Ordering::Release);
        self.ended.notify_waiters();
    }

    /// Returns what is held up at `now`, and until when.
    #[must_use]
    #[inline]
    pub fn at(&self, now: Millis) -> Option<(Paused, Millis)> {
        let until = self.until.load(Ordering::Acquire);
        if until <= now {
            return None;
        }
        let all = self.all.load(Ordering::Relaxed);
        Some((if all { Paused::All } else { Paused::Writes }, until))
    }

    /// Completes when the pause is ended before its time, or if there is none at `now`.
    pub async fn ended(&self, now: Millis) {
        let mut ended = std::pin::pin!(self.ended.notified());
        // From here on an end is not missed.
        ended.as_mut().enable();
        if self.at(now).is_some() {
            ended.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_later_end_and_the_wider_scope_hold() {
        let pause = Pause::default();
        assert_eq!(pause.at(5), None);
        pause.begin(5, 100, Paused::All);
        pause.begin(6, 50, Paused::Writes);
        assert_eq!(pause.at(99), Some((Paused::All, 100)));
        assert_eq!(pause.at(100), None);
        pause.begin(100, 150, Paused::Writes);
        assert_eq!(pause.at(100), Some((Paused::Writes, 150)), "the one before is over");
        pause.end();
        assert_eq!(pause.at(100), None);
    }

    #[tokio::test]
    async fn an_end_is_not_missed() {
        let pause = Pause::default();
        pause.ended(1).await;
        pause.begin(1, 100, Paused::All);
        let mut ended = Box::pin(pause.ended(1));
        let early = std::future::poll_fn(|cx| std::task::Poll::Ready(ended.as_mut().poll(cx)));
        assert!(early.await.is_pending());
        pause.end();
        ended.await;
    }
}
