//! CLIENT PAUSE: for some time no write command starts, or no command at all.
//!
//! A connection checks this once per batch of requests; paused requests stay in its buffer. A batch
//! that is running on another thread when the pause begins is completed.

use crate::keyspace::Millis;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use tokio::sync::Notify;

/// What a pause applies to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paused {
    /// Commands that may write.
    Writes,
    /// All commands.
    All,
}

/// The pause, if there is one.
#[derive(Debug, Default)]
pub struct Pause {
    /// When it ends; 0 while there is none.
    until: AtomicI64,
    /// Whether it applies to all commands.
    all: AtomicBool,
    /// Wakes paused connections when it is ended early.
    ended: Notify,
}

impl Pause {
    /// Begins a pause, or extends the present one: the later end and the wider scope win.
    pub fn begin(&self, now: Millis, until: Millis, paused: Paused) {
        let (until, all) = match self.at(now) {
            Some((before, end)) => (until.max(end), before == Paused::All || paused == Paused::All),
            None => (until, paused == Paused::All),
        };
        self.all.store(all, Ordering::Relaxed);
        self.until.store(until, Ordering::Release);
    }

    /// Ends the pause.
    pub fn end(&self) {
        self.until.store(0, Ordering::Release);
        self.ended.notify_waiters();
    }

    /// Returns what is paused at `now`, and until when.
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

    /// Completes when the pause is ended early, or at once if there is none at `now`.
    pub async fn ended(&self, now: Millis) {
        let mut ended = std::pin::pin!(self.ended.notified());
        // From here on no notification is missed.
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
