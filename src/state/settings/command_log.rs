//! The parameters of Valkey's COMMANDLOG about large requests and replies.

use super::Settings;
use std::sync::atomic::{AtomicI64, AtomicU8, Ordering};

/// The bit of [`Settings::looks_at`] for large requests and replies that are logged.
pub(crate) const SIZES: u8 = 1;
/// The bit for what the commands of each slot take.
pub(crate) const SLOTS: u8 = 1 << 1;

/// Which requests and replies are logged, and how many. Both are off at the start, as measuring them
/// takes every command the longer way.
#[derive(Debug)]
pub(super) struct CommandLogSettings {
    /// Bytes from which on a request is large; negative for never.
    pub(super) request_bytes: AtomicI64,
    /// Bytes from which on a reply is large; negative for never.
    pub(super) reply_bytes: AtomicI64,
    pub(super) requests_max: AtomicI64,
    pub(super) replies_max: AtomicI64,
    /// See [`Settings::looks_at`].
    pub(super) looks_at: AtomicU8,
}

impl Default for CommandLogSettings {
    fn default() -> Self {
        Self {
            request_bytes: AtomicI64::new(-1),
            reply_bytes: AtomicI64::new(-1),
            requests_max: AtomicI64::new(128),
            replies_max: AtomicI64::new(128),
            looks_at: AtomicU8::new(0),
        }
    }
}

impl Settings {
    /// Returns for what every command is to be looked at: [`SIZES`], [`SLOTS`]. Read once per batch.
    #[must_use]
    #[inline]
    pub fn looks_at(&self) -> u8 {
        self.command_log.looks_at.load(Ordering::Relaxed)
    }

    /// Brings [`Settings::looks_at`] up to date with the parameters.
    pub(super) fn note_looks_at(&self) {
        let has_sizes = self.large_request_bytes().or(self.large_reply_bytes()).is_some();
        let sizes = if has_sizes { SIZES } else { 0 };
        let slots = if self.slot_metrics() != 0 { SLOTS } else { 0 };
        self.command_log.looks_at.store(sizes | slots, Ordering::Relaxed);
    }

    /// Returns from how many bytes on a request is large; `None` for never.
    #[must_use]
    pub fn large_request_bytes(&self) -> Option<usize> {
        count(&self.command_log.request_bytes)
    }

    /// Returns from how many bytes on a reply is large; `None` for never.
    #[must_use]
    pub fn large_reply_bytes(&self) -> Option<usize> {
        count(&self.command_log.reply_bytes)
    }

    /// Returns the most large requests that are logged.
    #[must_use]
    pub fn large_requests_max(&self) -> usize {
        count(&self.command_log.requests_max).unwrap_or(usize::MAX)
    }

    /// Returns the most large replies that are logged.
    #[must_use]
    pub fn large_replies_max(&self) -> usize {
        count(&self.command_log.replies_max).unwrap_or(usize::MAX)
    }
}

/// Returns a count; `None` for a negative number.
fn count(cell: &AtomicI64) -> Option<usize> {
    usize::try_from(cell.load(Ordering::Relaxed)).ok()
}
